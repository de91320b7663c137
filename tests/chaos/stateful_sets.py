"""A StatefulSet's controller and its kubelets in a few lines, right or with a slip, as the watches tell of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from histories import NAMESPACE, Story

ORDERED, PARALLEL = "OrderedReady", "Parallel"
SLIPS = ("eager up", "eager down", "lowest goes first", "updates forward", "eager update", "passes the partition")
"""What a controller may do wrong where order was promised."""
LONG = {
    "deploy": (0.0, 0.01),
    "steady": (0.01, 0.02),
    "before": (0.02, 0.03),
    "fault": (0.03, 4000.0),
    "recover": (4000.0, 4001.0),
    "after": (4001.0, 4002.0),
    "verify": (4002.0, 4003.0),
    "remove": (4003.0, 4004.0),
}


@dataclass
class SimulatedPod:
    """One pod of the set."""

    uid: str
    revision: str
    ready: bool = False
    leaving: bool = False


@dataclass
class SimulatedSet:
    """A StatefulSet ``web``: things are done to it, and its controller answers at once."""

    policy: str = ORDERED
    slip: str | None = None
    partition: int = 0
    wanted: int = 0
    revision: str = "r1"
    now_s: float = 1.0
    versioned: bool = True
    pods: dict[int, SimulatedPod] = field(default_factory=dict)
    story: Story = field(default_factory=lambda: Story().phases(**LONG).fact("experiment", {"namespace": NAMESPACE}))
    version: int = 100
    uids: int = 0

    def scale(self, wanted: int) -> SimulatedSet:
        """Ask for another number of pods."""
        self.wanted = wanted
        return self._spec()

    def update(self) -> SimulatedSet:
        """Ask for another revision."""
        self.revision = f"r{int(self.revision[1:]) + 1}"
        return self._spec()

    def kill(self, ordinal: int) -> SimulatedSet:
        """A fault deletes a pod."""
        pod = self.pods.get(ordinal)
        if pod is not None and not pod.leaving:
            target = {"kind": "Pod", "name": f"web-{ordinal}", "uid": pod.uid, "namespace": NAMESPACE}
            self.story.fault("kill_pod", target, inject_s=self.now_s, heal_s=self.now_s + 0.3)
            self._delete(ordinal)
        return self._sync()

    def unready(self, ordinal: int) -> SimulatedSet:
        """A pod falls ill."""
        pod = self.pods.get(ordinal)
        if pod is not None and pod.ready and not pod.leaving:
            pod.ready = False
            self._tell(ordinal)
        return self._sync()

    def progress(self, ordinal: int) -> SimulatedSet:
        """The node does what it has to: a pod that leaves is gone, any other one is ready."""
        pod = self.pods.get(ordinal)
        if pod is not None and pod.leaving:
            self._tell(ordinal, "deleted")
            del self.pods[ordinal]
        elif pod is not None and not pod.ready:
            pod.ready = True
            self._tell(ordinal)
        return self._sync()

    def settle(self, step_s: float = 0.5) -> SimulatedSet:
        """Let all nodes do all they have to, one pod after the other."""
        while unsettled := [n for n, pod in self.pods.items() if pod.leaving or not pod.ready]:
            self.wait(step_s).progress(min(unsettled))
        return self

    def wait(self, seconds: float) -> SimulatedSet:
        """Let time go by."""
        self.now_s += seconds
        return self

    def _sync(self) -> SimulatedSet:
        while self._step():
            pass
        return self

    def _step(self) -> bool:
        """Do one thing; False where there is none to be done now. The order is that of Kubernetes' own controller."""
        monotonic = self.policy == ORDERED
        if self.slip == "eager update" and self._update_one():
            return True
        for ordinal in range(self.wanted):
            pod = self.pods.get(ordinal)
            if pod is None:
                self._create(ordinal)
                return True
            if monotonic and self.slip != "eager up" and (pod.leaving or not pod.ready):
                return False
        doomed = sorted((n for n in self.pods if n >= self.wanted), reverse=self.slip != "lowest goes first")
        for ordinal in doomed:
            if not self.pods[ordinal].leaving:
                self._delete(ordinal)
                return True
            if monotonic and self.slip != "eager down":
                return False
        if doomed and monotonic:
            return False
        return self._update_one()

    def _update_one(self) -> bool:
        lowest = 0 if self.slip == "passes the partition" else self.partition
        forward = self.slip == "updates forward"
        for ordinal in sorted(range(lowest, self.wanted), reverse=not forward):
            pod = self.pods.get(ordinal)
            if pod is None:
                continue
            if pod.revision != self.revision and not pod.leaving:
                self._delete(ordinal)
                return True
            if self.slip != "eager update" and (pod.leaving or not pod.ready):
                return False
        return False

    def _create(self, ordinal: int) -> None:
        self.uids += 1
        revision = self.revision if ordinal >= self.partition or self.slip == "passes the partition" else "r1"
        self.pods[ordinal] = SimulatedPod(f"u{self.uids}", revision)
        self._tell(ordinal, "added")

    def _delete(self, ordinal: int) -> None:
        self.pods[ordinal].leaving = True
        self._tell(ordinal)

    def _spec(self) -> SimulatedSet:
        state = {"replicas": self.wanted, "partition": self.partition}
        self._record("StatefulSet", "web", "set", "modified", state)
        return self._sync()

    def _tell(self, ordinal: int, verb: str = "modified") -> None:
        pod = self.pods[ordinal]
        state = {
            "phase": "Running" if pod.ready else "Pending",
            "ready": pod.ready,
            "deleting": pod.leaving,
            "node": "worker",
            "owner": {"kind": "StatefulSet", "name": "web", "uid": "set"},
            "labels": {"controller-revision-hash": pod.revision},
        }
        self._record("Pod", f"web-{ordinal}", pod.uid, verb, state)

    def _record(self, kind: str, name: str, uid: str, verb: str, state: dict[str, object]) -> None:
        self.version += 1
        version = {"version": self.version} if self.versioned else {}
        self.story.tell(self.now_s, f"api:{kind}", "object", verb=verb, object=kind, namespace=NAMESPACE, name=name,
                        uid=uid, state=state, **version)  # fmt: skip
