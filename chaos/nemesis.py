"""The nemesis: carries out faults one after the other, records them, proves their effect, and always heals."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chaos import interrupts
from chaos.errors import FaultError, HarnessError
from chaos.history import HistoryWriter, Json
from chaos.kube import Kube
from chaos.recorder import Recorder


@dataclass(frozen=True)
class Scene:
    """What a fault may reach: one cluster of ours, one namespace, and the run's own random numbers."""

    cluster: str
    kube: Kube
    namespace: str
    recorder: Recorder
    rng: random.Random
    require_mark: Callable[[], None]


class Disturbance(Protocol):
    """A fault that has found its target."""

    @property
    def target(self) -> dict[str, Json]:
        """What is hit: kind, name, uid, ..."""

    def inject(self) -> dict[str, Json]:
        """Do it; what must be undone is on the journal before. Returns the detail to record."""

    def effect(self) -> dict[str, Json]:
        """Wait, bounded, for the observation that proves it; raises WaitTimeout where there is none."""

    def heal(self) -> dict[str, Json]:
        """Undo it; harmless when there is nothing (left) to undo."""


class Fault(Protocol):
    """One kind of disturbance and what it is aimed at."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""

    @property
    def hold_s(self) -> float:
        """How long it lasts after its effect was seen."""

    def aim(self, scene: Scene) -> Disturbance:
        """Resolve the target; raises FaultError where there is none."""


class Nemesis:
    """Runs a list of faults against one scene."""

    def __init__(self, scene: Scene, writer: HistoryWriter) -> None:
        self._scene = scene
        self._writer = writer
        self._hold = threading.Event()

    def run(self, faults: Sequence[Fault]) -> None:
        """Carry the faults out in order. A fault that fails or shows no effect is recorded so; it never passes."""
        for number, fault in enumerate(faults):
            self._scene.require_mark()
            self._run_one(fault, f"{fault.name}-{number}")

    def _run_one(self, fault: Fault, fault_id: str) -> None:
        def record(edge: str, target: dict[str, Json], **detail: Json) -> None:
            self._writer.write("fault", fault=fault.name, id=fault_id, edge=edge, target=target, detail=detail)

        try:
            disturbance = fault.aim(self._scene)
        except FaultError as error:
            record("failed", {}, error=str(error))
            return
        target = disturbance.target
        record("inject", target)
        try:
            record("injected", target, **disturbance.inject())
            try:
                record("effect", target, **disturbance.effect())
            except HarnessError as error:
                record("no_effect", target, error=str(error))
            self._hold.wait(fault.hold_s)
        except HarnessError as error:
            record("failed", target, error=str(error))
        finally:
            with interrupts.held():
                record("heal", target)
                record("healed", target, **disturbance.heal())
