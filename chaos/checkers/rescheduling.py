"""A pod whose node is drained goes where its volume lets it: to another node, or to none until its own is back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from chaos.checkers.evidence import (
    NS_PER_S,
    blind_spots,
    fault_doubt,
    fault_doubts,
    fault_text,
    load_window,
    lost_records,
    moment,
    no_window,
    stack_namespace,
)
from chaos.checkers.seats import takes_pods
from chaos.checkers.stack_watch import is_ready
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import FaultWindow, History, Json, Record

LEAST_WAIT_S = 10.0
"""How long a pod must be seen refused by the scheduler: longer than that waits at most before it looks again at a pod
for which something has changed (podMaxBackoffSeconds of kube-scheduler's configuration, 10 s)."""

NO_ROOM = re.compile(r"Insufficient|Too many pods|free ports")
"""How the scheduler says that a node has no room (kube-scheduler's plugins NodeResourcesFit and NodePorts)."""


@dataclass(frozen=True)
class Rescheduling:
    """The pod leaves a drained node, or waits for it; see :func:`rescheduling`."""

    pod: str
    moves: bool

    def __post_init__(self) -> None:
        if not self.pod:
            raise ValueError("rescheduling needs the name of a pod")

    @property
    def name(self) -> str:
        """The guarantee's name and whose it is."""
        return f"rescheduling({self.pod})"

    def check(self, history: History) -> Verdict:
        """INVALID where the pod was seen to do the contrary, UNKNOWN where too little was seen of it or its node."""
        window = load_window(history)
        if window is None:
            return Verdict(self.name, Outcome.UNKNOWN, no_window(history))
        drains = [fault for fault in history.faults() if fault.name == "drain_node"]
        sound = [fault for fault in drains if fault_doubt(fault, window) is None]
        cases = [_Case(self, history, fault, _end(history, fault, window[1])) for fault in sound]
        cases = [case for case in cases if case.old is not None]
        for case in cases:
            case.judge()
        findings = [text for case in cases for text in case.findings]
        doubts = fault_doubts(history) + [text for case in cases for text in case.doubts]
        if not cases:
            doubts.append(f"{self.pod} was not seen ready on a node that was then drained")
        evidence: dict[str, Json] = {"moves": self.moves, "drains": [case.evidence for case in cases]}
        if findings:
            return Verdict(self.name, Outcome.INVALID, "; ".join(findings[:3]), evidence, tuple(findings))
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence)
        return Verdict(self.name, Outcome.VALID, "; ".join(case.summary for case in cases), evidence)


def rescheduling(pod: str, moves: bool) -> Rescheduling:
    """A StatefulSet's pod whose node is drained moves, or it waits, as its volume allows.

    With ``moves`` it becomes ready on another node while its own is still cordoned, and stays there; where it does not,
    that is INVALID if another node was open and the scheduler did not say that a node has no room. Without, the
    scheduler refuses it, for ten seconds at least, until its node is open again, and it becomes ready there. ValueError
    without a name.

    Args:
        pod: its name, such as web-1. What counts are the drains of a node on which it was ready.
        moves: whether its volume may be used on another node.
    """
    return Rescheduling(pod, moves)


def _end(history: History, fault: FaultWindow, end_ns: int) -> int:
    """A drain is looked at until another fault is injected after it, in ns."""
    over = max(record.time_ns for record in fault.records)
    later = [at for other in history.faults() if (at := other.at("inject")) is not None and at >= over]
    return min([*later, end_ns])


@dataclass
class _Case:
    """One drain and what became of the pod."""

    checker: Rescheduling
    history: History
    fault: FaultWindow
    end: int
    findings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    evidence: dict[str, Json] = field(default_factory=dict)
    summary: str = ""

    def __post_init__(self) -> None:
        self.pod, self.node = self.checker.pod, str(self.fault.target.get("name"))
        self.inject, self.effect = self.fault.at("inject") or 0, self.fault.at("effect") or 0
        self.heal = self.fault.at("heal") or self.end
        namespace = stack_namespace(self.history)
        self.seen: dict[str, list[Record]] = {}
        for record in self.history.objects("Pod", self.pod):
            if record.time_ns < self.end and namespace in (None, record.get("namespace")):
                self.seen.setdefault(str(record["uid"]), []).append(record)
        self.old = next((uid for uid in self.seen if self._was_here(uid)), None)
        self.newer = [uid for uid, records in self.seen.items() if records[0].time_ns >= self.inject]
        self.nodes = [r for r in self.history.objects("Node", self.node) if r.time_ns < self.end]

    def _was_here(self, uid: str) -> bool:
        """Whether the pod of this UID was ready on the node when that was drained."""
        before = [record for record in self.seen[uid] if record.time_ns < self.inject]
        return bool(before) and is_ready(before[-1]) and _node(before[-1]) == self.node

    def judge(self) -> None:
        """Collect what is certain and what is in doubt. A gap leaves sightings as they are, and shows no absence."""
        self.evidence |= {"fault": fault_text(self.fault), "uids": [self.old, *self.newer]}
        sources = {record.source for record in (*self.nodes, *self.history.objects("Pod", self.pod))}
        self.doubts += lost_records(self.history, "object")
        self.doubts += blind_spots(self.history, sources, self.inject, self.end)
        self.doubts += self._open_or_closed()
        if not self.newer:
            self.doubts.append(f"no new pod {self.pod} was seen after {fault_text(self.fault)}")
            return
        if len(self.newer) > 1:
            again = moment(self.history, self.seen[self.newer[1]][0].time_ns)
            told = self.doubts if self._is_met_again() else self.findings
            told.append(f"{self.pod} was replaced once more, {again}")
        self._judge_stay(self.seen[self.newer[0]])

    def _is_met_again(self) -> bool:
        """Whether another fault that began during the drain was aimed at the new pod, or at no pod."""
        others = [f for f in self.history.faults() if self.inject < f.records[0].time_ns < self.end]
        return any(not f.pods or any(pod.get("name") == self.pod for pod in f.pods) for f in others)

    def _open_or_closed(self) -> list[str]:
        """Why the node was not certainly cordoned from the effect to the healing, and open after it."""
        before = [record for record in self.nodes if record.time_ns <= self.effect]
        held = [record for record in self.nodes if self.effect < record.time_ns < self.heal]
        doubts = []
        if not before or not all(_cordoned(record) for record in (before[-1], *held)):
            doubts.append(
                f"{self.node} was not seen cordoned from the effect of {fault_text(self.fault)} to its healing"
            )
        if all(_cordoned(record) for record in self.nodes if record.time_ns >= self.heal):
            doubts.append(f"{self.node} was not seen open again after {fault_text(self.fault)}")
        return doubts

    def _judge_stay(self, new: list[Record]) -> None:
        """Judge where the new pod was until the healing and after it."""
        placed = next((record for record in new if _node(record)), None)
        refused = next((record for record in new if (record.get("state") or {}).get("unschedulable")), None)
        until = self.heal if placed is None else min(self.heal, placed.time_ns)
        waited_s = 0.0 if refused is None else max(0, until - max(refused.time_ns, self.effect)) / NS_PER_S
        ready = next((record for record in new if is_ready(record) and _node(record)), None)
        ready_s = None if ready is None else (ready.time_ns - self.heal) / NS_PER_S
        node = None if placed is None else _node(placed)
        self.evidence |= {"node": self.node, "put_on": node, "refused_s": waited_s, "ready_after_heal_s": ready_s}
        if placed is not None and node != self.node:
            where = f"{self.pod} was put on {node} {moment(self.history, placed.time_ns)}"
            self._elsewhere(where, ready_s)
        else:
            self._waiting(placed, waited_s, ready_s, until)

    def _elsewhere(self, where: str, ready_s: float | None) -> None:
        if not self.checker.moves:
            self.findings.append(f"{where}, though it was to wait for {self.node}")
        elif ready_s is None or ready_s >= 0:
            self.doubts.append(f"{where}, and was not seen ready there while {self.node} was cordoned: hold it longer")
        else:
            self.summary = f"{where} and was ready there {-ready_s:.1f} s before {self.node} was opened again"

    def _waiting(self, placed: Record | None, waited_s: float, ready_s: float | None, until: int) -> None:
        """The pod was put on no node, or on its old one."""
        refused = f"{self.pod} was refused by the scheduler for {waited_s:.1f} s"
        if placed is not None and placed.time_ns < self.heal and not self.doubts:
            self.findings.append(f"{self.pod} was put on {self.node} while that was cordoned")
        elif waited_s < LEAST_WAIT_S:
            self.doubts.append(f"{refused}, which must be {LEAST_WAIT_S:g} s to tell: hold the drain longer")
        elif self.checker.moves and not self.doubts:
            self._judge_room(refused, until)
        elif ready_s is None:
            self.doubts.append(f"{self.pod} was not seen ready on {self.node} again")
        else:
            self.summary = f"{refused}, until {self.node} was opened again, and was ready there {ready_s:.1f} s later"

    def _judge_room(self, refused: str, until: int) -> None:
        """A pod that was to move and did not: its stack's doing only where another node was open and had room."""
        told = [
            str((record.get("state") or {}).get("message"))
            for record in self.history.objects("Event")
            if self.inject <= record.time_ns <= until and _refuses(record, self.pod)
        ]
        nodes = self._open_nodes(until)
        self.evidence |= {"open_nodes": nodes, "scheduler_said": told[-1] if told else None}
        if not nodes:
            self.doubts.append(f"{refused}, and no other node was open to it all that time")
        elif not told:
            self.doubts.append(f"{refused}, and why was not seen: the nodes may have had no room")
        elif full := next((text for text in told if NO_ROOM.search(text)), None):
            self.doubts.append(f"{refused}, and a node may have had no room: {full}")
        else:
            where = " and ".join(nodes)
            self.findings.append(f"{refused} and did not move, though {where} could take pods; it said: {told[-1]}")

    def _open_nodes(self, until: int) -> list[str]:
        """The other nodes that took pods from the effect of the drain until then."""
        able: dict[str, bool] = {}
        for record in self.history.objects("Node"):
            name, takes = str(record["name"]), record["verb"] != "deleted" and takes_pods(record.get("state") or {})
            if record.time_ns <= self.effect:
                able[name] = takes
            elif record.time_ns <= until:
                able[name] = able.get(name, False) and takes
        return sorted(name for name, is_able in able.items() if is_able and name != self.node)


def _refuses(event: Record, pod: str) -> bool:
    """Whether an event tells that the scheduler found no node for a pod."""
    state = event.get("state") or {}
    about = state.get("about") or {}
    return state.get("reason") == "FailedScheduling" and (about.get("kind"), about.get("name")) == ("Pod", pod)


def _node(pod: Record) -> str | None:
    return (pod.get("state") or {}).get("node")


def _cordoned(node: Record) -> bool:
    return bool((node.get("state") or {}).get("unschedulable"))
