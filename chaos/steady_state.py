"""The steady state: what must hold before a fault and again after it. It failing before is a set-up error."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import requests

from chaos.errors import HarnessError, SteadyStateError, WaitTimeout
from chaos.probes.inside import Inside
from chaos.recorder import Recorder
from chaos.stack import Stack
from chaos.waiting import poll

HOLD_S = 120
ANSWERS_IN_A_ROW = 5


@dataclass(frozen=True)
class View:
    """Where the probes of a steady state look."""

    stack: Stack
    namespace: str
    recorder: Recorder
    inside: Inside
    address: str | None
    scheme: str = "http"


@dataclass(frozen=True)
class Condition:
    """One thing that must hold: ``wait`` waits, bounded, until it does, and raises a HarnessError where it does not."""

    name: str
    wait: Callable[[View, float], object]


def _workloads_ready(view: View, timeout_s: float) -> None:
    view.stack.wait_ready(view.recorder, timeout_s)


def _names_resolve(view: View, timeout_s: float) -> None:
    for pod, service in view.stack.identities().items():
        name = f"{pod}.{service}.{view.namespace}.svc.cluster.local"

        def right(answers: list[str], pod: str = pod) -> bool:
            seen = view.recorder.get("Pod", pod)
            return seen is not None and answers == [seen.state["ip"]]

        def ask(name: str = name) -> list[str]:
            reading = view.inside.dns(name)
            return list(reading.value["answers"]) if reading.value else []

        what = f"{name} resolves to its pod's address"
        poll(ask, right, timeout_s=timeout_s, what=what, check=view.recorder.check)


def _entry_answers(view: View, timeout_s: float) -> None:
    if view.address is None or view.scheme != "http":  # a port always accepts: only an application's answer would count
        return
    address = view.address

    def row() -> int:
        session = requests.Session()
        session.trust_env = False
        for number in range(ANSWERS_IN_A_ROW):
            try:
                if session.get(address, timeout=1, headers={"Connection": "close"}).status_code != 200:
                    return number
            except requests.RequestException:
                return number
        return ANSWERS_IN_A_ROW

    what = f"{address} answers {ANSWERS_IN_A_ROW} times in a row"
    enough = partial(operator.eq, ANSWERS_IN_A_ROW)
    poll(row, enough, timeout_s=timeout_s, what=what, check=view.recorder.check)


WORKLOADS_READY = Condition("all workloads are ready", _workloads_ready)
NAMES_RESOLVE = Condition("every stable name resolves to its pod", _names_resolve)
ENTRY_ANSWERS = Condition("the entry answers", _entry_answers)
STEADY = (WORKLOADS_READY, NAMES_RESOLVE, ENTRY_ANSWERS)
"""What holds of every sound stack."""


def hold(conditions: Sequence[Condition], view: View, timeout_s: float = HOLD_S) -> None:
    """Wait for all conditions, one after the other; raises SteadyStateError naming the first that does not hold."""
    for condition in conditions:
        try:
            condition.wait(view, timeout_s)
        except (WaitTimeout, HarnessError) as error:
            raise SteadyStateError(f"not steady: {condition.name}: {error}") from error
