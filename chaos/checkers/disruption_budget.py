"""Evictions leave each PodDisruptionBudget its pods: the floor that it sets is never broken by one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from chaos.checkers.evidence import (
    NS_PER_S,
    blind_spots,
    fault_doubts,
    lost_records,
    moment,
    stack_end,
    stack_namespace,
)
from chaos.checkers.spans import overlaps, spans_told
from chaos.checkers.stack_watch import is_ready, workload_of
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json, Record

LAG_S = 5.0
"""How long after another pod's death an eviction is in doubt: the controller that keeps the budgets may not have heard
of it. Kubernetes promises no bound; its watches tell within milliseconds, so that this is ample."""


@dataclass(frozen=True)
class DisruptionBudgets:
    """Every budget of the stack is respected; see :func:`disruption_budget`."""

    @property
    def name(self) -> str:
        """The guarantee's name."""
        return "disruption_budget"

    def check(self, history: History) -> Verdict:
        """INVALID where an eviction broke a floor, UNKNOWN without a budget, or without evictions that could have."""
        written = (history.fact("stack") or {}).get("disruption_budgets") or []
        budgets = [_Budget(history, budget) for budget in written]
        for budget in budgets:
            budget.follow()
        sources = {record.source for record in history.objects("Pod")}
        lost = lost_records(history, "object")
        blind = lost + blind_spots(history, sources, history.begin_ns, stack_end(history))
        findings = [text for budget in budgets for text in budget.findings]
        doubts = blind + fault_doubts(history) + [text for budget in budgets for text in budget.doubts()]
        if not budgets:
            doubts.append("the stack has no PodDisruptionBudget")
        refused = sum(int(fault.detail("injected").get("refused_evictions") or 0) for fault in history.faults())
        evidence: dict[str, Json] = {"refused_evictions": refused, "budgets": [budget.to_json() for budget in budgets]}
        if findings and not lost:
            return Verdict(self.name, Outcome.INVALID, "; ".join(findings[:3]), evidence, tuple(findings))
        if doubts:
            findings += [text for budget in budgets for text in budget.uncertain]
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence, tuple(findings))
        summary = "; ".join(budget.summary() for budget in budgets) + f"; {refused} evictions were refused"
        return Verdict(self.name, Outcome.VALID, summary, evidence)


def disruption_budget() -> DisruptionBudgets:
    """No eviction takes a PodDisruptionBudget of the stack below its floor of ready pods.

    A pod is lost to an eviction where its UID is among those that a fault's record says it evicted, and it was ready
    until it was seen on its way out. Only at such a loss the ready pods are counted. What dies otherwise, or becomes
    unready where it is, breaks no promise, but it uses up the budget: an eviction after it, below the floor, is
    INVALID, and for five seconds UNKNOWN, because the controller may not have heard of it.

    UNKNOWN as well where the evictions could not have broken the floor: of each budget one fault must have evicted more
    pods than were ready above its floor when that fault began.
    """
    return DisruptionBudgets()


class _Budget:
    """One budget and what happened to its pods."""

    def __init__(self, history: History, written: dict[str, Json]) -> None:
        self.history = history
        self.written = written
        self.name = str(written["name"])
        self.findings: list[str] = []
        self.uncertain: list[str] = []
        self.picture = _Picture()
        self.least: int | None = None
        self.drains: list[_Drain] = []
        self.gaps = spans_told(history.of("gap"), {record.source for record in history.objects("Pod")})

    def follow(self) -> None:
        """Go through the pods' records in their order, and count the ready ones at each eviction."""
        faults = [fault for fault in self.history.faults() if "evicted" in fault.detail("injected")]
        begins = [fault.records[0].time_ns for fault in faults]
        drain_of = {str(p["uid"]): place for place, f in enumerate(faults) for p in f.detail("injected")["evicted"]}
        end, namespace, other_ns = stack_end(self.history), stack_namespace(self.history), -math.inf
        for record in self.history.objects("Pod"):
            if record.time_ns >= end or namespace not in (None, record.get("namespace")):
                continue
            if not selects(self.written.get("selector"), (record.get("state") or {}).get("labels") or {}):
                continue
            while len(self.drains) < len(begins) and record.time_ns >= begins[len(self.drains)]:
                self._begin(begins[len(self.drains)])
            uid = str(record["uid"])
            lost = self.picture.see(record)
            ready = len(self.picture.ready)
            if self.drains:
                self.least = ready if self.least is None else min(self.least, ready)
            if lost and drain_of.get(uid, len(begins)) < len(self.drains) and _leaves(record):
                self.drains[drain_of[uid]].evicted += 1
                self._judge(record, ready, self.drains[-1].floor, other_ns)
            elif lost:
                other_ns = record.time_ns

    def _begin(self, at_ns: int) -> None:
        wanted = sum(self._wanted(workload, at_ns) for workload in self.picture.workloads)
        self.drains.append(_Drain(len(self.picture.ready), self._floor(wanted)))

    def _wanted(self, workload: str, at_ns: int) -> int:
        """How many pods a workload was to have then."""
        kind, _, name = workload.partition("/")
        seen = [r for r in self.history.objects(kind, name) if r.time_ns < at_ns]
        if seen:
            return int((seen[-1].get("state") or {}).get("replicas") or 0)
        listed = (self.history.fact("stack") or {}).get("workloads", [])
        return next((int(w["replicas"] or 0) for w in listed if f"{w['kind']}/{w['name']}" == workload), 0)

    def _floor(self, expected: int) -> int:
        """How many must stay ready. Percentages are rounded up, of either field (kubernetes.io, "Specifying a PDB")."""
        least, most = self.written.get("min_available"), self.written.get("max_unavailable")
        if least is None and most is None:
            least = 1  # what the API server takes where neither is written
        return _part(least, expected) if least is not None else max(0, expected - _part(most, expected))

    def _judge(self, record: Record, ready: int, floor: int, other_ns: float) -> None:
        if ready >= floor:
            return
        at, lag_ns = record.time_ns, LAG_S * NS_PER_S
        text = (
            f"the eviction of {record['name']} ({record['uid']}) left {self.name} {ready} ready pods, its floor is "
            f"{floor}, {moment(self.history, at)}"
        )
        if at - other_ns <= lag_ns:
            self.uncertain.append(f"{text}; another pod had died shortly before")
        elif overlaps(self.gaps, at - lag_ns, at):
            self.uncertain.append(f"{text}; the watch may have missed a pod that became ready shortly before")
        else:
            self.findings.append(text)

    def doubts(self) -> list[str]:
        """Why this budget was not put to the test, or not clearly."""
        tried = [drain for drain in self.drains if drain.evicted]
        if not tried:
            return [*self.uncertain, f"no ready pod of the budget {self.name} was evicted"]
        if any(drain.evicted > drain.before - drain.floor for drain in tried):
            return self.uncertain
        weak = [
            f"{drain.evicted} evictions could not break the budget {self.name}: {drain.before} pods were ready, "
            f"its floor is {drain.floor}"
            for drain in tried
        ]
        return [*self.uncertain, *weak]

    @property
    def _evicted(self) -> int:
        return sum(drain.evicted for drain in self.drains)

    def summary(self) -> str:
        """A sentence on what was left of it."""
        floors = ", then ".join(dict.fromkeys(str(drain.floor) for drain in self.drains))
        return f"{self.name} kept {self.least} ready pods (floor {floors}) while {self._evicted} were evicted"

    def to_json(self) -> dict[str, Json]:
        """The budget's row in the evidence."""
        return {
            "budget": self.name,
            "floor": self.drains[-1].floor if self.drains else None,
            "ready_before": self.drains[0].before if self.drains else 0,
            "ready_least": self.least,
            "evicted": self._evicted,
        }


@dataclass
class _Drain:
    """One fault that evicts: how many of the budget's pods were ready, how many had to stay, how many it took."""

    before: int
    floor: int
    evicted: int = 0


@dataclass
class _Picture:
    """A budget's pods while their records go by."""

    ready: set[str] = field(default_factory=set)
    workloads: set[str] = field(default_factory=set)

    def see(self, record: Record) -> bool:
        """Take a record in; True where a pod that was ready is so no more."""
        uid, workload = str(record["uid"]), workload_of(record)
        if workload is not None:
            self.workloads.add(workload)
        was = uid in self.ready
        (self.ready.add if is_ready(record) else self.ready.discard)(uid)
        return was and uid not in self.ready


def selects(selector: dict[str, Json] | None, labels: dict[str, str]) -> bool:
    """Whether a label selector means a pod with these labels; an empty one means all, none at all means none."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _satisfies(labels.get(rule["key"]), str(rule["operator"]), rule.get("values") or [])
        for rule in selector.get("matchExpressions") or []
    )


def _satisfies(value: str | None, operator: str, values: list[str]) -> bool:
    return {
        "In": value is not None and value in values,
        "NotIn": value is None or value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[operator]


def _leaves(pod: Record) -> bool:
    """Whether a pod is on its way out; an eviction shows so first, before its containers hear of it."""
    return pod["verb"] == "deleted" or bool((pod.get("state") or {}).get("deleting"))


def _part(amount: Json, whole: int) -> int:
    """A number, or a percentage of the whole, rounded up."""
    text = str(amount)
    return math.ceil(int(text[:-1]) * whole / 100) if text.endswith("%") else int(text)
