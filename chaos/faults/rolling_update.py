"""rolling_update: a workload's pods are replaced by those of a new revision, as its own update strategy says."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.errors import FaultError
from chaos.history import Json
from chaos.nemesis import Scene
from chaos.recorder import Recorder
from chaos.stack import belongs

EFFECT_S = 120
MARK = "kindstorm.dev/revision"
"""The annotation of the pod template that tells revisions apart; nothing else of the pods changes."""


@dataclass(frozen=True)
class RollingUpdate:
    """Gives ``kind/name`` a new revision; its controller replaces the pods."""

    kind: str
    workload: str
    hold_s: float = 0.0
    name: str = "rolling_update"

    def aim(self, scene: Scene) -> Updated:
        """See Fault."""
        pods = [p for p in scene.recorder.objects("Pod") if belongs(p.state, self._as_told())]
        if not pods:
            raise FaultError(f"there is no pod of {self.kind} {self.workload}; the fault has no target")
        return Updated(scene, self, frozenset(pod.uid for pod in pods))

    def _as_told(self) -> dict[str, Json]:
        return {"kind": self.kind, "name": self.workload}


@dataclass(frozen=True)
class Updated:
    """See Disturbance."""

    scene: Scene
    fault: RollingUpdate
    old: frozenset[str]
    """The UIDs of the pods of the revision before."""

    @property
    def target(self) -> dict[str, Json]:
        """The workload."""
        return {"kind": self.fault.kind, "name": self.fault.workload, "namespace": self.scene.namespace}

    def inject(self) -> dict[str, Json]:
        """Annotate the pod template, as `kubectl rollout restart` does."""
        revision = f"{self.scene.rng.getrandbits(32):08x}"
        body = {"spec": {"template": {"metadata": {"annotations": {MARK: revision}}}}}
        self.scene.kube.patch(self.fault.kind, self.fault.workload, body, self.scene.namespace)
        return {"revision": revision, "pods_before": len(self.old)}

    def effect(self) -> dict[str, Json]:
        """The update is under way: a pod of the new revision is there. When it is done is for checkers to judge."""
        workload = {"kind": self.fault.kind, "name": self.fault.workload}

        def begun(recorder: Recorder) -> str | None:
            new = (p for p in recorder.objects("Pod") if p.uid not in self.old and belongs(p.state, workload))
            return next((pod.name for pod in new), None)

        what = f"a pod of the new revision of {self.fault.kind} {self.fault.workload} is there"
        return {"first_new_pod": self.scene.recorder.wait(begun, EFFECT_S, what)}

    def heal(self) -> dict[str, Json]:
        """Nothing to undo: the new revision differs from the old one by a note."""
        return {}


def rolling_update(workload: str, hold_s: float = 0.0) -> RollingUpdate:
    """Update ``Kind/name`` (or a Deployment's name alone) to a revision that differs by an annotation only.

    The fault is in effect once the first new pod is there; the update goes on while the load does.
    """
    kind, slash, name = workload.partition("/")
    return RollingUpdate(kind, name, hold_s) if slash else RollingUpdate("Deployment", workload, hold_s)
