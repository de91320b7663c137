"""kill_all_pods: every pod of the stack, or of one of its workloads, is deleted at once, gracefully."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.errors import FaultError
from chaos.faults.kill_pod import EFFECT_S
from chaos.history import Json
from chaos.kube import Seen
from chaos.nemesis import Scene
from chaos.recorder import Recorder
from chaos.targets import victims


@dataclass(frozen=True)
class KillAllPods:
    """Deletes all pods whose names begin with ``prefix``; their controllers replace them."""

    prefix: str = ""
    hold_s: float = 0.0
    name: str = "kill_all_pods"

    def aim(self, scene: Scene) -> KilledPods:
        """See Fault."""
        pods = [pod for pod in victims(scene.recorder) if pod.name.startswith(self.prefix)]
        if not pods:
            raise FaultError(f"no pod whose name begins with {self.prefix!r}; the fault has no target")
        return KilledPods(scene, self.prefix, tuple(pods))


@dataclass(frozen=True)
class KilledPods:
    """See Disturbance."""

    scene: Scene
    prefix: str
    pods: tuple[Seen, ...]

    @property
    def target(self) -> dict[str, Json]:
        """The pods as they were."""
        pods = [{"name": pod.name, "uid": pod.uid, "node": pod.state["node"]} for pod in self.pods]
        return {"kind": "Pods", "name": f"{self.prefix}*", "namespace": self.scene.namespace, "pods": pods}

    def inject(self) -> dict[str, Json]:
        """Delete each pod of these very UIDs; raises FaultError where one was gone, once the others are deleted."""
        kube, namespace = self.scene.kube, self.scene.namespace
        gone = [pod.name for pod in self.pods if not kube.delete("Pod", pod.name, namespace, uid=pod.uid)]
        if gone:
            raise FaultError(f"not all pods were there to be killed: {', '.join(gone)} had gone before")
        return {"grace": "the pods' own", "killed": len(self.pods)}

    def effect(self) -> dict[str, Json]:
        """All pods of these UIDs are gone."""
        uids = {pod.uid for pod in self.pods}

        def gone(recorder: Recorder) -> bool:
            return not any(pod.uid in uids for pod in recorder.objects("Pod"))

        self.scene.recorder.wait(gone, EFFECT_S, f"the {len(uids)} pods {self.prefix}* of these UIDs are gone")
        return {"uids_before": sorted(uids), "gone": True}

    def heal(self) -> dict[str, Json]:
        """Nothing to undo."""
        return {}


def kill_all_pods(prefix: str = "", hold_s: float = 0.0) -> KillAllPods:
    """Delete all of the stack's pods whose names begin with ``prefix``, at once; ``hold_s`` is as for kill_pod."""
    return KillAllPods(prefix, hold_s)
