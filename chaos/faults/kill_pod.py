"""kill_pod: one pod is deleted through the API, gracefully, as an eviction or a person would, or by force."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.errors import FaultError
from chaos.history import Json
from chaos.kube import Seen
from chaos.nemesis import Scene
from chaos.recorder import Recorder
from chaos.targets import Target

EFFECT_S = 90
"""Longer than Kubernetes' default terminationGracePeriodSeconds of 30 s."""


@dataclass(frozen=True)
class KillPod:
    """Deletes the target's pod; a pod needs no undoing, its controller replaces it."""

    target: Target
    hold_s: float = 0.0
    force: bool = False
    name: str = "kill_pod"

    def aim(self, scene: Scene) -> KilledPod:
        """See Fault."""
        return KilledPod(scene, self.target.resolve(scene.recorder, scene.rng), self.force)


@dataclass(frozen=True)
class KilledPod:
    """See Disturbance."""

    scene: Scene
    pod: Seen
    force: bool

    @property
    def target(self) -> dict[str, Json]:
        """The pod as it was."""
        pod = self.pod
        return {
            "kind": "Pod",
            "name": pod.name,
            "uid": pod.uid,
            "namespace": pod.namespace,
            "node": pod.state["node"],
            "ip": pod.state["ip"],
        }

    def inject(self) -> dict[str, Json]:
        """Delete the pod of this very UID."""
        kube, name, namespace = self.scene.kube, self.pod.name, self.scene.namespace
        if not kube.delete("Pod", name, namespace, uid=self.pod.uid, force=self.force):
            raise FaultError(f"the pod {name} was gone before it could be killed")
        return {"grace": "none: it is gone from the API at once" if self.force else "the pod's own"}

    def effect(self) -> dict[str, Json]:
        """The pod of this UID is gone; under its name there is nothing, or a pod of another UID."""
        uid, name = self.pod.uid, self.pod.name

        def gone(recorder: Recorder) -> bool:
            return all(pod.uid != uid for pod in recorder.objects("Pod"))

        self.scene.recorder.wait(gone, EFFECT_S, f"the pod {name} with UID {uid} is gone")
        now = self.scene.recorder.get("Pod", name)
        return {"uid_before": uid, "uid_after": now.uid if now else None, "gone": True}

    def heal(self) -> dict[str, Json]:
        """Nothing to undo."""
        return {}


def kill_pod(target: Target, hold_s: float = 0.0, force: bool = False) -> KillPod:
    """Delete one pod; ``hold_s`` seconds pass after it is gone before the fault counts as healed.

    With ``force`` the API forgets it at once, and nobody waits until it has stopped. That gives up the promise that a
    StatefulSet has one pod of a name at most (kubernetes.io, "Force Delete StatefulSet Pods"); it is for those who want
    to see what becomes of their stack then.
    """
    return KillPod(target, hold_s, force)
