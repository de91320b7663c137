"""pause_node, stop_node: a worker's container stands still, or is stopped, until the API calls the node not ready."""

from __future__ import annotations

from dataclasses import dataclass

from chaos import cluster as clusters
from chaos import journal
from chaos.errors import FaultError
from chaos.history import Json
from chaos.journal import Entry
from chaos.kube import Seen
from chaos.nemesis import Scene
from chaos.recorder import Recorder
from chaos.targets import NodeTarget, victims

EFFECT_S = 120
"""Kubernetes calls a silent node not ready after 50 s (node-monitor-grace-period), after 12 s with the fast clocks."""
HEARD_S = 60
OUTAGE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


@dataclass(frozen=True)
class NodeOutage:
    """Takes the target's node out with docker's ``verb``: pause or stop."""

    verb: str
    target: NodeTarget
    hold_s: float = 0.0

    @property
    def name(self) -> str:
        """See Fault."""
        return f"{self.verb}_node"

    def aim(self, scene: Scene) -> LostNode:
        """See Fault."""
        node = self.target.resolve_node(scene.recorder, scene.rng)
        if not node.state["ready"]:
            raise FaultError(f"the node {node.name} is not ready already; its outage would not be the fault's")
        if not any(pod.state["node"] == node.name for pod in victims(scene.recorder)):
            raise FaultError(f"no pod of the stack runs on the node {node.name}; its outage is no fault")
        arguments = {"cluster": scene.cluster, "node": node.name}
        return LostNode(scene, self.verb, node, Entry(scene.cluster, clusters.OUTAGES[self.verb], arguments))


@dataclass(frozen=True)
class LostNode:
    """See Disturbance."""

    scene: Scene
    verb: str
    node: Seen
    entry: Entry

    @property
    def target(self) -> dict[str, Json]:
        """The node as it was."""
        return {"kind": "Node", "name": self.node.name, "uid": self.node.uid}

    def inject(self) -> dict[str, Json]:
        """Pause or stop the container, once it was seen to carry our label for this cluster."""
        journal.plan(self.entry)
        if not clusters.switch_node(self.scene.cluster, self.node.name, self.verb):
            raise FaultError(f"the container {self.node.name} was not running before it could be hit")
        return {"container": self.node.name}

    def effect(self) -> dict[str, Json]:
        """The API says that the node is not ready."""

        def lost(recorder: Recorder) -> bool:
            seen = recorder.get("Node", self.node.name)
            return seen is not None and not seen.state["ready"]

        self.scene.recorder.wait(lost, EFFECT_S, f"the node {self.node.name} is not ready")
        return {"ready": False}

    def heal(self) -> dict[str, Json]:
        """Bring it back, and wait until it is ready and pods may stay on it."""
        name = self.node.name

        def back(recorder: Recorder) -> bool:
            seen = recorder.get("Node", name)
            return seen is not None and seen.state["ready"] and not any(
                taint.startswith(OUTAGE_TAINTS) for taint in seen.state["taints"]
            )  # fmt: skip

        clusters.resume_node(self.scene.kube, self.scene.cluster, name, self.entry.verb)
        self.scene.recorder.wait(back, HEARD_S, f"the node {name} is ready again")
        journal.done(self.entry)
        return {"ready": True}


def pause_node(target: NodeTarget, hold_s: float = 0.0) -> NodeOutage:
    """Freeze every process of a worker, as a hung machine; ``hold_s`` counts from when the API calls it not ready."""
    return NodeOutage("pause", target, hold_s)


def stop_node(target: NodeTarget, hold_s: float = 0.0) -> NodeOutage:
    """Shut a worker down, as a lost machine, and start it again ``hold_s`` seconds after the API calls it not ready."""
    return NodeOutage("stop", target, hold_s)
