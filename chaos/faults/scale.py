"""scale: a workload is given another number of replicas, and its own back afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from chaos import journal
from chaos.errors import FaultError
from chaos.history import Json
from chaos.journal import Entry
from chaos.nemesis import Scene
from chaos.recorder import Recorder

EFFECT_S = 120
HEARD_S = 30


@dataclass(frozen=True)
class Scale:
    """Scales ``kind/name`` through ``through`` to ``replicas``, and keeps it there for ``hold_s`` seconds."""

    kind: str
    workload: str
    replicas: int
    hold_s: float = 0.0
    through: tuple[int, ...] = ()
    name: str = "scale"

    def aim(self, scene: Scene) -> Scaled:
        """See Fault."""
        before = scene.kube.replicas(self.kind, self.workload, scene.namespace)
        if before is None:
            raise FaultError(f"there is no {self.kind} {self.workload}; the fault has no target")
        if before == self.replicas and not self.through:
            raise FaultError(f"{self.kind} {self.workload} has {before} replicas already; scaling to that is no fault")
        arguments = {"kind": self.kind, "name": self.workload, "namespace": scene.namespace, "replicas": before}
        return Scaled(scene, self, before, Entry(scene.cluster, "scale", arguments))


@dataclass(frozen=True)
class Scaled:
    """See Disturbance."""

    scene: Scene
    fault: Scale
    before: int
    entry: Entry

    @property
    def target(self) -> dict[str, Json]:
        """The workload."""
        return {"kind": self.fault.kind, "name": self.fault.workload, "namespace": self.scene.namespace}

    def inject(self) -> dict[str, Json]:
        """Set the number of replicas; of several each once the one before is reached, waiting as an effect is."""
        journal.plan(self.entry)
        fault = self.fault
        for replicas in fault.through:
            self._scale(replicas)
            self._reach(replicas)
        self._scale(fault.replicas)
        through = {"replicas_through": list(fault.through)} if fault.through else {}
        return {"replicas_before": self.before, "replicas_after": fault.replicas, **through}

    def _scale(self, replicas: int) -> None:
        self.scene.kube.scale(self.fault.kind, self.fault.workload, self.scene.namespace, replicas)

    def effect(self) -> dict[str, Json]:
        """Exactly so many replicas are ready."""
        self._reach(self.fault.replicas)
        return {"ready_replicas": self.fault.replicas}

    def _reach(self, wanted: int) -> None:
        def reached(recorder: Recorder) -> bool:
            seen = recorder.get(self.fault.kind, self.fault.workload)
            return seen is not None and seen.state["replicas"] == wanted == seen.state["ready_replicas"]

        what = f"{self.fault.kind} {self.fault.workload} has {wanted} ready replicas"
        self.scene.recorder.wait(reached, EFFECT_S, what)

    def heal(self) -> dict[str, Json]:
        """Give it back its own number of replicas."""
        kind, name = self.fault.kind, self.fault.workload
        if self.scene.kube.replicas(kind, name, self.scene.namespace) is not None:
            self.scene.kube.scale(kind, name, self.scene.namespace, self.before)
            self.scene.recorder.wait(self._heard, HEARD_S, f"{kind} {name} wants {self.before} replicas again")
        journal.done(self.entry)
        return {"replicas": self.before}

    def _heard(self, recorder: Recorder) -> bool:
        """Its controller has taken the old number up, so that nobody mistakes the scaled state for the old one."""
        seen = recorder.get(self.fault.kind, self.fault.workload)
        if seen is None:
            return True
        state = seen.state
        return bool(state["replicas"] == self.before and state["observed_generation"] == state["generation"])


def scale(workload: str, *replicas: int, hold_s: float = 0.0) -> Scale:
    """Scale ``Kind/name`` (or a Deployment's name alone) to ``replicas``, and back after ``hold_s`` seconds.

    Of several numbers each is reached before the next one is asked for. ValueError without a number.
    """
    if not replicas or not all(isinstance(number, int) and number >= 0 for number in replicas):
        raise ValueError(f"scale needs whole numbers of replicas, not {replicas}")
    kind, slash, name = workload.partition("/")
    kind, name = (kind, name) if slash else ("Deployment", workload)
    return Scale(kind, name, replicas[-1], hold_s, replicas[:-1])
