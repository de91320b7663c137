"""After a fault the stack is whole again in time: as many ready pods and endpoints as before, keyed by UID."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass

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
from chaos.checkers.recovery_budget import Budget, derive
from chaos.checkers.recovery_stages import KILLS, Sightings, Stage, affected, stayed, unreplaced
from chaos.checkers.stack_watch import StackWatch, watch_stack
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import FaultWindow, History, Json

Interval = tuple[float, float | None]
"""Not yet at the first figure, reached at the second (None: never seen); ms."""


@dataclass(frozen=True)
class Recovery:
    """The stack is whole again in time; see :func:`recovery`."""

    after_fault_s_max: float | None
    after_heal_s_max: float | None

    def __post_init__(self) -> None:
        budgets = [budget for budget in (self.after_fault_s_max, self.after_heal_s_max) if budget is not None]
        if any(budget <= 0 for budget in budgets):
            raise ValueError("recovery needs after_fault_s_max and after_heal_s_max in seconds above 0, or neither")

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
        seen = Sightings(history, watch)
        cases: list[_Case] = []
        for fault in faults:
            over = max(record.time_ns for record in fault.records)
            later = bisect_right(injections, over)
            end = injections[later] if later < len(injections) else window[1]
            case = _Case(history, seen, fault, wanted, end)
            case.find_replacements({new for case in cases for new in case.replacements.values()})
            cases.append(case)
        return cases


def recovery(after_fault_s_max: float | None = None, after_heal_s_max: float | None = None) -> Recovery:
    """After each fault the stack is whole again within these budgets, or else within what its own settings allow.

    Whole again means that every workload has as many ready pods, and every service as many ready endpoints backed by
    such pods, as before the first fault, and keeps them until the next fault or the load's end. When it was reached is
    an interval: the change that completed it was published between two reads of the store's revision. INVALID where
    the lower end is beyond a budget, UNKNOWN where the budget lies inside the interval.

    Args:
        after_fault_s_max: time from the injection, in seconds.
        after_heal_s_max: time from the healing, in seconds. The healing takes effect somewhere between its edges
            ``heal`` and ``healed``; the interval contains that. Where neither is given, the budget is derived from the
            settings that the history holds (chaos.checkers.recovery_budget): of the cluster, the pods and their probes.
    """
    return Recovery(after_fault_s_max, after_heal_s_max)


class _Case:
    """One fault and how the stack came back from it."""

    def __init__(self, history: History, seen: Sightings, fault: FaultWindow, wanted: dict[str, int], end: int) -> None:
        self.history = history
        self.seen = seen
        self.watch = seen.watch
        self.fault = fault
        self.wanted = wanted
        self.end = end
        self.inject = fault.at("inject") or 0
        self.doubts: list[str] = []
        self.findings: list[str] = []
        self.stages: dict[str, Stage] = {}
        self.whole: tuple[int, int | None] | None = None
        self.replacements: dict[str, str | None] = {}
        """The UIDs of the pods that the fault met, and of those that came for them: of one that stayed its own."""
        self.budget = Budget("inject", lacking=("nothing was measured",))

    def find_replacements(self, taken: set[str | None]) -> None:
        """See who came for the pods that the fault met, not counting who came for others."""
        for old in affected(self.watch, self.fault):
            if stayed(self.watch, old, self.inject, self.end) and self.fault.name not in KILLS:
                self.replacements[old] = old
            else:
                self.replacements[old] = self._replacement(old, taken | set(self.replacements.values()))

    def _replacement(self, old: str, taken: set[str | None]) -> str | None:
        """The UID of the first new pod of the old one's workload (of a StatefulSet: with its name) or None."""
        workload = self.watch.workload_of.get(old)
        if workload is None or old not in self.watch.pods:
            return None
        stateful = workload.startswith("StatefulSet/")
        name = self.watch.pods[old][0].record["name"] if stateful else None
        for uid, changes in self.watch.pods.items():
            new = self.inject <= changes[0].upper_ns < self.end and uid not in taken
            if new and self.watch.workload_of[uid] == workload and name in (None, changes[0].record["name"]):
                return uid
        return None

    def measure(self) -> None:
        """Find the stages, when the stack was whole again, and what that may have taken."""
        self.stages = self.seen.of(self.fault, self.replacements, self.end)
        self.budget = derive(self.history, self.watch, self.fault, list(self.replacements), self.end)
        if self.fault.name in KILLS:
            lost = [old for old, new in self.replacements.items() if new is None]
            self.doubts += [unreplaced(self.fault, old) for old in lost]
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
            self.whole = (self._told_until(), None)
            return
        change = steps[broken[-1] + 1].change
        self.whole = (max(self.inject, change.lower_ns), change.upper_ns)

    def _told_until(self) -> int:
        """Until when it is certain that the watches told everything: their end, where they came to it in order.

        A recorder stops only once each watch has told what the API server says is there; a change that was published
        before the case's end would then have been told.
        """
        closed = {record.source: record.time_ns for record in self.history.of("closing")}
        return max(self.inject, min(self.end, *(closed.get(source, self.inject) for source in self.watch.sources)))

    def _unsteady(self) -> list[str]:
        """Which workloads did not have what they should have had before the fault, a sentence each."""
        target = f"{self.fault.target.get('kind')}/{self.fault.target.get('name')}"
        should = {
            f"{w['kind']}/{w['name']}": w.get("replicas") for w in self.history.fact("stack").get("workloads", [])
        }
        should[target] = self.fault.detail("injected").get("replicas_before", should.get(target))
        had = {key: self.wanted.get(key, 0) for key in should}
        unsteady = [
            f"{key} had {had[key]} ready pods before the fault, not {replicas}"
            for key, replicas in should.items()
            if replicas is not None and had[key] != replicas
        ]
        return unsteady if any(had.values()) else ["no ready pod of the stack was seen before the fault", *unsteady]

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
        blind += blind_spots(self.history, self.watch.sources, self.inject, until, late=False)
        if blind:
            self.doubts += blind
            return
        given = ((checker.after_fault_s_max, "inject"), (checker.after_heal_s_max, "heal"))
        for budget_s, edge in given:
            if budget_s is not None and self.whole is not None:
                self._compare(budget_s, edge)
        if all(budget_s is None for budget_s, _ in given):
            total_s = self.budget.total_s
            if total_s is None:
                lacking = ", ".join(self.budget.lacking)
                self.doubts.append(f"no budget can be derived for {fault_text(self.fault)}, for lack of: {lacking}")
            elif self.whole is not None:
                self._compare(total_s, self.budget.edge)

    def _compare(self, budget_s: float, edge: str) -> None:
        interval, what = self.after(edge), fault_text(self.fault)
        since = "the injection" if edge == "inject" else "the healing"
        if interval is None:
            self.doubts.append(f"{what} has no record of its healing")
            return
        lower, upper, budget = interval[0], interval[1], budget_s * NS_PER_S / NS_PER_MS
        watched = (self.end - (self.fault.at("healed" if edge == "heal" else "inject") or 0)) / NS_PER_MS
        if upper is None and lower > budget:
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

    def _ms(self, stage: Stage) -> list[float | None]:
        """A stage's interval from the injection on."""
        ends = (stage.lower_ns, stage.upper_ns)
        return [None if end is None else (end - self.inject) / NS_PER_MS for end in ends]

    def to_json(self) -> dict[str, Json]:
        """The fault's row in the evidence."""
        client = self.stages.get("client")
        return {
            "fault": fault_text(self.fault),
            "uid_before": _one_or_all(self.replacements),
            "uid_after": _one_or_all(self.replacements.values()),
            "ready_before": self.wanted,
            "stages_ms": {name: self._ms(stage) for name, stage in self.stages.items()},
            "stages_from": {name: stage.source for name, stage in self.stages.items()},
            "whole_after_fault_ms": _listed(self.after("inject")),
            "whole_after_heal_ms": _listed(self.after("heal")),
            "client_ms": self._ms(client) if client else "no interruption seen",
            "budget_s": self.budget.to_json(),
            "budget_lacks": list(self.budget.lacking),
            "used_percent": self._used(),
        }

    def _used(self) -> list[float | None] | None:
        """How much of the derived budget it took."""
        total_s, interval = self.budget.total_s, self.after(self.budget.edge)
        if not total_s or interval is None:
            return None
        return [None if end is None else round(end / 10 / total_s, 1) for end in interval]


def _one_or_all(uids: Collection[str | None]) -> Json:
    return list(uids) if len(uids) > 1 else next(iter(uids), None)


def _listed(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else list(interval)


def _text(interval: Interval) -> str:
    lower, upper = interval
    return f"between {lower / 1000:.2f} and {(upper or 0) / 1000:.2f} s"
