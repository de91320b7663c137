"""After a fault the stack is whole again in time: as many ready pods and endpoints as before, keyed by UID."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from chaos.checkers.evidence import (
    NS_PER_MS,
    NS_PER_S,
    blind_spots,
    fault_doubt,
    fault_doubts,
    fault_text,
    load_window,
    lost_records,
    no_window,
)
from chaos.checkers.stack_watch import StackWatch, watch_stack
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import FaultWindow, History, Json, Record
from chaos.operations import OK, OPEN

Interval = tuple[float, float | None]
"""Not yet at the first figure, reached at the second (None: never seen); ms."""


@dataclass(frozen=True)
class Recovery:
    """The stack is whole again in time; see :func:`recovery`."""

    after_fault_s_max: float | None
    after_heal_s_max: float | None

    def __post_init__(self) -> None:
        budgets = [budget for budget in (self.after_fault_s_max, self.after_heal_s_max) if budget is not None]
        if not budgets or min(budgets) <= 0:
            raise ValueError("recovery needs after_fault_s_max or after_heal_s_max or both, in seconds above 0")

    @property
    def name(self) -> str:
        """The guarantee's name."""
        return "recovery"

    def check(self, history: History) -> Verdict:
        """INVALID where it certainly took too long, UNKNOWN where the records do not decide it."""
        window = load_window(history)
        if window is None:
            return Verdict(self.name, Outcome.UNKNOWN, no_window(history))
        if not history.fact("stack"):
            return Verdict(self.name, Outcome.UNKNOWN, "no fact says which workloads the stack has")
        watch = watch_stack(history, window[1])
        cases = self._cases(history, watch, window)
        for case in cases:
            case.measure()
            case.judge(self)
        too_slow = [text for case in cases for text in case.findings]
        doubts = fault_doubts(history) + [text for case in cases for text in case.doubts]
        evidence: dict[str, Json] = {
            "after_fault_s_max": self.after_fault_s_max,
            "after_heal_s_max": self.after_heal_s_max,
            "faults": [case.to_json() for case in cases],
        }
        if too_slow:
            return Verdict(self.name, Outcome.INVALID, "; ".join(too_slow), evidence, tuple(too_slow))
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence)
        return Verdict(self.name, Outcome.VALID, "; ".join(case.summary() for case in cases), evidence)

    def _cases(self, history: History, watch: StackWatch, window: tuple[int, int]) -> list[_Case]:
        """One case for each fault that took effect; it lasts until a fault is injected after it was healed."""
        faults = [fault for fault in history.faults() if fault_doubt(fault, window) is None]
        injections = sorted(at for fault in history.faults() if (at := fault.at("inject")) is not None)
        wanted = watch.ready_at(injections[0]) if injections else {}
        clients = _Clients(history)
        cases: list[_Case] = []
        for fault in faults:
            over = max(record.time_ns for record in fault.records)
            later = bisect_right(injections, over)
            end = injections[later] if later < len(injections) else window[1]
            taken = {new for case in cases for new in case.replacements.values()}
            case = _Case(history, watch, fault, wanted, end, clients)
            for old in case.killed:
                case.replacements[old] = case.find_replacement(old, taken | set(case.replacements.values()))
            cases.append(case)
        return cases


def recovery(after_fault_s_max: float | None = None, after_heal_s_max: float | None = None) -> Recovery:
    """After each fault the stack is whole again within these budgets; ValueError where none is given.

    Whole again means that every workload has as many ready pods, and every service as many ready endpoints backed by
    such pods, as before the first fault, and keeps them until the next fault or the load's end. When it was reached is
    an interval: the watch that told of it last was heard at its lower end and had not told of it yet. INVALID where the
    lower end is beyond a budget, UNKNOWN where the budget lies inside the interval.

    Args:
        after_fault_s_max: time from the injection, in seconds.
        after_heal_s_max: time from the healing, in seconds. The healing takes effect somewhere between its edges
            ``heal`` and ``healed``; the interval contains that.
    """
    return Recovery(after_fault_s_max, after_heal_s_max)


class _Clients:
    """When clients were answered and when they were not."""

    def __init__(self, history: History) -> None:
        ops = history.operations
        ended = ops.end_ns != OPEN
        self.ok_ns = np.sort(ops.end_ns[ended & (ops.fate == OK)])
        self.lost_ns = np.sort(ops.end_ns[ended & (ops.fate != OK)])

    def recovered(self, begin: int, end: int) -> Json:
        """[last failure, first success after it] in ms from ``begin``; words where there was no failure."""
        place = int(np.searchsorted(self.lost_ns, end)) - 1
        if place < 0 or self.lost_ns[place] < begin:
            return "no interruption seen"
        last = int(self.lost_ns[place])
        later = int(np.searchsorted(self.ok_ns, last, side="right"))
        first = int(self.ok_ns[later]) if later < len(self.ok_ns) and self.ok_ns[later] < end else None
        return [(last - begin) / NS_PER_MS, None if first is None else (first - begin) / NS_PER_MS]


class _Case:
    """One fault and how the stack came back from it."""

    def __init__(
        self,
        history: History,
        watch: StackWatch,
        fault: FaultWindow,
        wanted: dict[str, int],
        end: int,
        clients: _Clients,
    ) -> None:
        self.history = history
        self.watch = watch
        self.fault = fault
        self.wanted = wanted
        self.end = end
        self.clients = clients
        self.inject = fault.at("inject") or 0
        self.doubts: list[str] = []
        self.findings: list[str] = []
        self.stages: dict[str, Interval] = {}
        """When a killed pod's replacement got so far; of several pods, when the last one did."""
        self.whole: tuple[int, int | None] | None = None
        self.replacements: dict[str, str | None] = {}
        """The UIDs of the killed pods, and of those that came for them."""

    @property
    def killed(self) -> list[str]:
        """The UIDs of the pods that were killed; none for a fault of another kind."""
        if self.fault.name not in ("kill_pod", "kill_all_pods"):
            return []
        seen = self.fault.detail("effect").get("uid_before")
        uids = [pod.get("uid") for pod in self.fault.pods] if seen is None else [seen]
        return [str(uid) for uid in uids if uid is not None]

    def find_replacement(self, old: str, taken: set[str | None]) -> str | None:
        """The UID of the first new pod of the killed one's workload (of a StatefulSet: with its name) or None."""
        workload = self.watch.workload_of.get(old)
        if workload is None or old not in self.watch.pods:
            return None
        name = self.watch.pods[old][0]["name"] if workload.startswith("StatefulSet/") else None
        for uid, records in self.watch.pods.items():
            new = self.inject <= records[0].time_ns < self.end and uid not in taken
            if new and self.watch.workload_of[uid] == workload and name in (None, records[0]["name"]):
                return uid
        return None

    def measure(self) -> None:
        """Find the stages of a killed pod's replacement, and when the stack was whole again."""
        for old, new in self.replacements.items():
            self._stages(old, new)
        steps = self.watch.steps_between(self.inject, self.end)
        unsteady = self._unsteady()
        if unsteady:
            self.doubts += unsteady
            return
        broken = [place for place, step in enumerate(steps) if step.ready != self.wanted]
        if not broken:
            self.doubts.append(f"the stack was never seen broken after {fault_text(self.fault)}")
            return
        if broken[-1] + 1 == len(steps):
            heard = [self.watch.last_heard(source, self.end, self.inject) for source in self.watch.heard]
            self.whole = (max(heard, default=self.inject), None)
            return
        record = steps[broken[-1] + 1].record
        self.whole = (self.watch.last_heard(record.source, record.time_ns, self.inject), record.time_ns)

    def _unsteady(self) -> list[str]:
        """Which workloads did not have what they should have had before the fault, a sentence each."""
        target = f"{self.fault.target.get('kind')}/{self.fault.target.get('name')}"
        should = {
            f"{w['kind']}/{w['name']}": w.get("replicas") for w in self.history.fact("stack").get("workloads", [])
        }
        should[target] = self.fault.detail("inject").get("replicas_before", should.get(target))
        had = {key: self.wanted.get(key, 0) for key in should}
        unsteady = [
            f"{key} had {had[key]} ready pods before the fault, not {replicas}"
            for key, replicas in should.items()
            if replicas is not None and had[key] != replicas
        ]
        return unsteady if any(had.values()) else ["no ready pod of the stack was seen before the fault", *unsteady]

    def _stages(self, old: str, replacement: str | None) -> None:
        records = self.watch.pods.get(old, [])
        new = self.watch.pods.get(replacement or "", [])
        self._stage("gone", records, lambda r: r["verb"] == "deleted" or not _state(r).get("ready"))
        self._stage("created", new, lambda _: True)
        self._stage("scheduled", new, lambda r: bool(_state(r).get("node")))
        self._stage("started", new, _running)
        self._stage("ready", new, lambda r: bool(_state(r).get("ready")))
        self._stage("endpoint", self.watch.endpoint_of.get(replacement or "", []), lambda _: True)
        if replacement is None:
            self.doubts.append(f"no replacement of {old} was seen after {fault_text(self.fault)}")

    def _stage(self, name: str, records: list[Record], reached: Callable[[Record], bool]) -> None:
        first = next((r for r in records if self.inject <= r.time_ns < self.end and reached(r)), None)
        lower, upper = self.stages.get(name, (0.0, 0.0))
        if first is None or upper is None:
            self.stages[name] = (lower, None)
            return
        heard = self.watch.last_heard(first.source, first.time_ns, self.inject)
        self.stages[name] = (
            max(lower, (heard - self.inject) / NS_PER_MS),
            max(upper, (first.time_ns - self.inject) / NS_PER_MS),
        )

    def after(self, edge: str) -> Interval | None:
        """The interval in which the stack was whole again, from the ``inject`` or the ``heal`` edge on, in ms."""
        begin, surely = self.fault.at(edge), self.fault.at("healed") if edge == "heal" else self.inject
        if self.whole is None or begin is None or surely is None:
            return None
        lower, upper = self.whole
        return (
            max(0, lower - surely) / NS_PER_MS,
            None if upper is None else max(0, upper - begin) / NS_PER_MS,
        )

    def judge(self, checker: Recovery) -> None:
        """Compare with the budgets. A watch that may have missed something decides nothing."""
        until = self.end if self.whole is None or self.whole[1] is None else self.whole[1]
        blind = lost_records(self.history, "object")
        blind += blind_spots(self.history, self.watch.heard.keys(), self.inject, until)
        if blind:
            self.doubts += blind
            return
        for budget_s, edge in ((checker.after_fault_s_max, "inject"), (checker.after_heal_s_max, "heal")):
            if budget_s is not None and self.whole is not None:
                self._compare(budget_s, edge)

    def _compare(self, budget_s: float, edge: str) -> None:
        interval, what = self.after(edge), fault_text(self.fault)
        since = "the injection" if edge == "inject" else "the healing"
        if interval is None:
            self.doubts.append(f"{what} has no record of its healing")
            return
        lower, upper, budget = interval[0], interval[1], budget_s * NS_PER_S / NS_PER_MS
        watched = (self.end - (self.fault.at("healed" if edge == "heal" else "inject") or 0)) / NS_PER_MS
        if upper is None and watched > budget:
            self.findings.append(
                f"after {what} the stack was not whole again when it was last seen, {lower / 1000:.1f} s after {since} "
                f"(budget {budget_s:g} s): {self._missing()}"
            )
        elif upper is None:
            self.doubts.append(
                f"the stack was not whole again {watched / 1000:.1f} s after {since} of {what}, when the load ended or "
                f"another fault came, before its budget of {budget_s:g} s was over"
            )
        elif lower > budget:
            self.findings.append(
                f"after {what} the stack was whole again only {_text(interval)} after {since} (budget {budget_s:g} s)"
            )
        elif upper > budget:
            self.doubts.append(
                f"the stack was whole again {_text(interval)} after {since} of {what}: the budget of {budget_s:g} s "
                f"lies in between"
            )

    def _missing(self) -> str:
        last = self.watch.ready_at(self.end)
        keys = sorted(self.wanted.keys() | last.keys())
        return ", ".join(
            f"{key} had {last.get(key, 0)} ready, {self.wanted.get(key, 0)} before the fault"
            for key in keys
            if last.get(key, 0) != self.wanted.get(key, 0)
        )

    def summary(self) -> str:
        """A sentence on how long it took."""
        interval = self.after("inject")
        return f"the stack was whole again {_text(interval)} after {fault_text(self.fault)}" if interval else ""

    def to_json(self) -> dict[str, Json]:
        """The fault's row in the evidence."""
        return {
            "fault": fault_text(self.fault),
            "uid_before": _one_or_all(self.replacements),
            "uid_after": _one_or_all(self.replacements.values()),
            "ready_before": self.wanted,
            "stages_ms": {name: list(interval) for name, interval in self.stages.items()},
            "whole_after_fault_ms": _listed(self.after("inject")),
            "whole_after_heal_ms": _listed(self.after("heal")),
            "client_ms": self.clients.recovered(self.inject, self.end),
        }


def _one_or_all(uids: Collection[str | None]) -> Json:
    return list(uids) if len(uids) > 1 else next(iter(uids), None)


def _state(pod: Record) -> dict[str, Json]:
    return pod.get("state") or {}


def _running(pod: Record) -> bool:
    containers = _state(pod).get("containers") or []
    return bool(containers) and all(container["state"] == "running" for container in containers)


def _listed(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else list(interval)


def _text(interval: Interval) -> str:
    lower, upper = interval
    return f"between {lower / 1000:.2f} and {(upper or 0) / 1000:.2f} s"
