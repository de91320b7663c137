"""What a scenario asks for, looked at before any cluster is made: a slip is one sentence that names what there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chaos import experiment
from chaos.errors import ScenarioError
from chaos.kind import NODE_PORTS
from chaos.nemesis import Fault
from chaos.stack import Stack
from chaos.steady_state import STEADY, Condition
from load.profiles import Workload

NEEDED = ("stack", "workload", "faults")
OPTIONAL = ("steady", "before_s", "after_s")


@dataclass(frozen=True)
class Asked:
    """The options of ``experiment``, checked."""

    stack: Stack
    workload: Workload
    faults: Sequence[Fault]
    steady: Sequence[Condition] = STEADY
    before_s: float = experiment.BEFORE_S
    after_s: float = experiment.AFTER_S

    def __post_init__(self) -> None:
        _is(self.stack, isinstance(self.stack, Stack), "stack is one of the fixture stacks, such as stacks.nginx()")
        _is(self.workload, isinstance(self.workload, Workload), "workload is one such as HTTP_READS")
        _is(self.faults, isinstance(self.faults, list | tuple), "faults is a list, [] for none")
        for fault in self.faults:
            sound = all(hasattr(fault, name) for name in ("name", "aim", "hold_s"))
            _is(fault, sound, "faults holds faults, such as kill_pod(one('nginx'))")
            _is(fault.hold_s, _seconds(fault.hold_s), f"hold_s of {fault.name} is 0 or more seconds")
        _is(self.steady, isinstance(self.steady, list | tuple), "steady is a tuple of conditions, () for none")
        for condition in self.steady:
            _is(condition, isinstance(condition, Condition), "steady holds conditions of kindstorm.steady")
        _is(self.before_s, _seconds(self.before_s), "before_s is 0 or more seconds")
        _is(self.after_s, _seconds(self.after_s), "after_s is 0 or more seconds")
        self._fit()

    def _fit(self) -> None:
        """Refuse what cannot go together, each being sound by itself."""
        least_s = self.before_s + self.after_s + sum(fault.hold_s for fault in self.faults)
        if least_s > self.workload.max_s:
            raise ScenarioError(
                f"the workload {self.workload.name} ends after max_s={self.workload.max_s:g}, and before_s, hold_s and "
                f"after_s come to {least_s:g} s: nobody would ask at the end; say with_(max_s=...) or shorten them"
            )
        given, own = self.workload.port, self.stack.node_ports()
        mapped = ", ".join(map(str, NODE_PORTS))
        if given is not None and given not in own:
            known = f"it has {', '.join(map(str, own))}" if own else "it has none"
            raise ScenarioError(
                f"the workload {self.workload.name} asks port {given}, no nodePort of stack {self.stack.name}: {known}"
            )
        port = given or self.stack.node_port
        if port is None:
            raise ScenarioError(
                f"stack {self.stack.name} has no nodePort where its clients could come in; "
                f"give a Service of type NodePort one of {mapped}"
            )
        if port not in NODE_PORTS:
            place = own.get(port, f"stack {self.stack.name}")
            raise ScenarioError(f"{place}: nodePort {port} is not mapped out of the cluster; use one of {mapped}")


def asked(given: dict[str, Any]) -> Asked:
    """The options that a scenario gave; raises ScenarioError naming one that is unknown, missing or wrong."""
    unknown = [name for name in given if name not in (*NEEDED, *OPTIONAL)]
    known = f"it takes {', '.join(NEEDED)}, and may take {', '.join(OPTIONAL)}"
    if unknown:
        raise ScenarioError(f"experiment() takes no {', '.join(unknown)}; {known}")
    missing = [name for name in NEEDED if name not in given]
    if missing:
        raise ScenarioError(f"experiment() lacks {', '.join(missing)}; {known}")
    return Asked(**given)


def _is(value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise ScenarioError(f"experiment(): {rule}, not {repr(value)[:80]}")


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
