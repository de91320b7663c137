"""drain_node: a worker is cordoned, and its pods are evicted within what their disruption budgets allow."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from chaos import journal
from chaos.errors import FaultError, WaitTimeout
from chaos.history import Json
from chaos.journal import Entry
from chaos.kube import BudgetRefusal, Seen
from chaos.nemesis import Scene
from chaos.recorder import Recorder
from chaos.targets import NodeTarget
from chaos.waiting import poll

EFFECT_S = 90
"""Longer than Kubernetes' default terminationGracePeriodSeconds of 30 s."""
HEARD_S = 30
ROUND_S = 1.0
"""Between two tries of a refused eviction; `kubectl drain` waits 5 s, which under load says no more."""


@dataclass(frozen=True)
class DrainNode:
    """Drains the target's node; an eviction that a budget refuses is tried again for ``retry_s`` seconds."""

    target: NodeTarget
    hold_s: float = 0.0
    retry_s: float = 60.0
    name: str = "drain_node"

    def aim(self, scene: Scene) -> Drained:
        """See Fault."""
        node = self.target.resolve_node(scene.recorder, scene.rng)
        if node.state["unschedulable"]:
            raise FaultError(f"the node {node.name} is cordoned already; draining it would not be undone")
        drained = Drained(scene, self, node, Entry(scene.cluster, "uncordon", {"node": node.name}))
        if not any(pod.namespace == scene.namespace for pod in drained.evictable()):
            raise FaultError(f"no pod of the stack would have to leave the node {node.name}; draining it is no fault")
        return drained


@dataclass
class Drained:
    """See Disturbance."""

    scene: Scene
    fault: DrainNode
    node: Seen
    entry: Entry
    evicted: dict[str, Seen] = field(default_factory=dict)
    """The pods whose eviction was accepted, by UID."""
    refused: int = 0
    left: dict[str, str] = field(default_factory=dict)
    """Pods whose eviction was refused to the end: namespace/name, and what the server says of the budget."""

    @property
    def target(self) -> dict[str, Json]:
        """The node as it was."""
        return {"kind": "Node", "name": self.node.name, "uid": self.node.uid}

    def evictable(self) -> list[Seen]:
        """The pods of all namespaces that a drain moves away, as `kubectl drain` tells them.

        A DaemonSet would put its pod back at once, and a static pod's mirror, whose owner is the node, cannot leave.
        """
        here = [pod for pod in self.scene.kube.list("Pod") if pod.state["node"] == self.node.name]
        return [pod for pod in here if (pod.state["owner"] or {}).get("kind") not in ("DaemonSet", "Node")]

    def inject(self) -> dict[str, Json]:
        """Cordon the node, then evict until nothing is left to evict or the time for refused evictions is over."""
        journal.plan(self.entry)
        self.scene.kube.cordon(self.node.name)
        with contextlib.suppress(WaitTimeout):  # what is left then is the effect's to tell
            what = f"the pods of {self.node.name} are evicted"
            poll(self._round, lambda left: not left, timeout_s=self.fault.retry_s, what=what, interval_s=ROUND_S,
                 passing=())  # fmt: skip
        return {
            "evicted": [{"namespace": p.namespace, "name": p.name, "uid": p.uid} for p in self.evicted.values()],
            "refused_evictions": self.refused,
            "left": self.left,
        }

    def _round(self) -> dict[str, str]:
        """Try to evict each pod that is still there; returns what was refused."""
        self.left = {}
        for pod in self.evictable():
            if pod.state["deleting"]:  # what was evicted, and what goes anyway
                continue
            try:
                if self.scene.kube.evict(pod.name, str(pod.namespace), uid=pod.uid):
                    self.evicted[pod.uid] = pod
            except BudgetRefusal as refusal:
                self.refused += 1
                self.left[f"{pod.namespace}/{pod.name}"] = str(refusal)
        return self.left

    def effect(self) -> dict[str, Json]:
        """The node is seen cordoned, and no pod that had to leave is on it any more."""
        if self.left:
            said = "; ".join(f"{pod}: {budget}" for pod, budget in self.left.items())
            tries = f"{self.refused} refused evictions in {self.fault.retry_s:g} s"
            raise FaultError(
                f"the drain of {self.node.name} is blocked: after {tries} {len(self.left)} pods are left ({said})"
            )

        def off(recorder: Recorder) -> bool:
            seen = recorder.get("Node", self.node.name)
            cordoned = seen is not None and bool(seen.state["unschedulable"])
            return cordoned and not any(pod.uid in self.evicted for pod in recorder.objects("Pod"))

        self.scene.recorder.wait(off, EFFECT_S, f"the node {self.node.name} is cordoned and its pods are gone")
        what = f"no pod that can be evicted is on {self.node.name}"
        poll(lambda: [p.name for p in self.evictable()], lambda names: not names, timeout_s=EFFECT_S, what=what)
        return {"unschedulable": True, "evicted_pods": len(self.evicted)}

    def heal(self) -> dict[str, Json]:
        """Uncordon it; the pods that left stay where they are."""
        name = self.node.name

        def open_again(recorder: Recorder) -> bool:
            seen = recorder.get("Node", name)
            return seen is None or not (
                seen.state["unschedulable"] or any("/unschedulable" in t for t in seen.state["taints"])
            )

        self.scene.kube.uncordon(name)
        self.scene.recorder.wait(open_again, HEARD_S, f"pods may go to node {name} again")
        journal.done(self.entry)
        return {"unschedulable": False}


def drain_node(target: NodeTarget, hold_s: float = 0.0, retry_s: float = 60.0) -> DrainNode:
    """Cordon a worker and evict its pods, as `kubectl drain --ignore-daemonsets --delete-emptydir-data --force` does.

    A drain that a disruption budget still blocks after ``retry_s`` seconds has no effect, and says so. The node stays
    cordoned for ``hold_s`` seconds after the last pod is gone.
    """
    return DrainNode(target, hold_s, retry_s)
