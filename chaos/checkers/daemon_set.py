"""A DaemonSet is complete: it has a ready pod on every node where it should be, soon after that is ready."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from chaos.checkers.evidence import blind_spots, fault_doubt, load_window, lost_records, moment, stack_end
from chaos.checkers.seats import Where, owners_taints, placed_records, unlabelled
from chaos.checkers.spans import Span, length_s, outside, spans_told
from chaos.checkers.stack_watch import is_ready
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json, Record

DOUBT_S = 1.0
"""So much later than the bound a pod may come: pods and nodes are told of by two watches, either a moment late."""


@dataclass(frozen=True)
class DaemonSetPlacement:
    """One DaemonSet, and where it should be; see chaos.checkers.placement."""

    daemon_set: str
    where: Where
    within_s: float

    @property
    def name(self) -> str:
        """The guarantee's name and whose it is."""
        return f"placement(DaemonSet/{self.daemon_set})"

    def check(self, history: History) -> Verdict:
        """INVALID where a node was without it for too long, UNKNOWN where too little was seen of nodes or pods."""
        pods, nodes = placed_records(history, f"DaemonSet/{self.daemon_set}")
        end = stack_end(history)
        cover = _Cover(self.where)
        cover.follow(pods, nodes, end)
        sources = {record.source for record in (*pods, *nodes)}
        unseen = spans_told((*history.of("gap"), *history.of("resumed")), sources)
        lost = lost_records(history, "object") + unlabelled(self.where, nodes)
        findings, doubts = [], []
        for lack in cover.lacks:
            lasted_s = length_s([lack.span])
            text = f"{lack.node} was without a ready pod of {self.daemon_set} for {lasted_s:.1f} s"
            text += f" (bound {self.within_s:g} s), from {moment(history, int(lack.span[0]))} on"
            if length_s(outside(lack.span, unseen)) > self.within_s + DOUBT_S and not lost:
                findings.append(text)
            elif lasted_s > self.within_s:
                doubts.append(f"it is not certain that {text}")
            elif lack.span[1] >= end:
                doubts.append(f"{text}, up to the end")
        findings += [
            f"{pod} was on {node}, which is not {self.where}, from {moment(history, at)} on"
            for pod, node, at in cover.strays
            if not lost
        ]
        doubts += lost + blind_spots(history, sources, 0, end)
        if not pods:
            doubts.append(f"no pod of the DaemonSet {self.daemon_set} was seen")
        elif not cover.covered:
            doubts.append(f"no node was seen where {self.daemon_set} should be")
        doubts += [doubt for fault in history.faults() if (doubt := fault_doubt(fault, load_window(history)))]
        waits = {lack.node: length_s([lack.span]) for lack in sorted(cover.lacks, key=lambda lack: lack.span[1])}
        longest = max(cover.lacks, key=lambda lack: length_s([lack.span]), default=None)
        evidence: dict[str, Json] = {
            "nodes": sorted(cover.covered),
            "came_back": sorted(cover.came_back),
            "last_wait_s": waits,
            "longest_wait_s": 0.0 if longest is None else length_s([longest.span]),
        }
        if findings:
            return Verdict(self.name, Outcome.INVALID, "; ".join(findings[:3]), evidence, tuple(findings[:100]))
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence)
        back = f", {len(cover.came_back)} of which came or came back" if cover.came_back else ""
        wait = (
            "" if longest is None else f"; the longest wait was {evidence['longest_wait_s']:.1f} s, for {longest.node}"
        )
        summary = f"{self.daemon_set} was on each of {len(cover.covered)} nodes{back}{wait} (bound {self.within_s:g} s)"
        return Verdict(self.name, Outcome.VALID, summary, evidence)


@dataclass
class _Lack:
    """A node that should have had a ready pod and had none."""

    node: str
    span: Span


@dataclass
class _Cover:
    """The nodes where a pod is due and the ready pods there, while the records go by."""

    where: Where
    lacks: list[_Lack] = field(default_factory=list)
    strays: list[tuple[str, str, int]] = field(default_factory=list)
    """Pods that were put where none should be: (pod, node, when in ns)."""
    covered: set[str] = field(default_factory=set)
    came_back: set[str] = field(default_factory=set)
    """Nodes that were due again, or first, once a pod had been ready somewhere."""

    def __post_init__(self) -> None:
        self._nodes: dict[str, dict[str, Json]] = {}
        self._due: set[str] = set()
        self._ready: dict[str, set[str]] = {}
        self._seat: dict[str, str] = {}
        self._since: dict[str, int] = {}
        self._begun = False

    def follow(self, pods: list[Record], nodes: list[Record], end_ns: int) -> None:
        """Go through both watches in time order, from the first pod on."""
        for record in heapq.merge(nodes, pods, key=lambda record: record.time_ns):
            if record["object"] == "Node":
                self._see_node(record)
            else:
                self._see_pod(record)
        for node, since in self._since.items():
            self.lacks.append(_Lack(node, (since, end_ns)))

    def _see_node(self, record: Record) -> None:
        name, state = str(record["name"]), record.get("state") or {}
        self._nodes[name] = state = {} if record["verb"] == "deleted" else state
        due = bool(state.get("ready")) and self._meant(name)
        if due and name not in self._due and self.covered:
            self.came_back.add(name)
        (self._due.add if due else self._due.discard)(name)
        self._judge(name, record.time_ns)

    def _meant(self, node: str) -> bool:
        """Whether a pod should be there: where the author says, or else where no taint of the owner keeps it away."""
        state = self._nodes.get(node) or {}
        return self.where.means(node, state) and (self.where.on is not None or not owners_taints(state))

    def _see_pod(self, record: Record) -> None:
        uid, node = str(record["uid"]), (record.get("state") or {}).get("node")
        if not self._begun:
            self._begun = True
            for due in self._due:
                self._judge(due, record.time_ns)
        if node is None:
            return
        if uid not in self._seat:
            self._seat[uid] = node
            if self.where.on is not None and not self.where.means(node, self._nodes.get(node) or {}):
                self.strays.append((f"{record['name']} ({uid})", node, record.time_ns))
        there = self._ready.setdefault(node, set())
        (there.add if is_ready(record) else there.discard)(uid)
        self._judge(node, record.time_ns)

    def _judge(self, node: str, at_ns: int) -> None:
        if not self._begun:
            return
        has = bool(self._ready.get(node))
        if node in self._due and has:
            self.covered.add(node)
        lacks = node in self._due and not has
        if lacks:
            self._since.setdefault(node, at_ns)
        elif node in self._since:
            since = self._since.pop(node)
            self.lacks.append(_Lack(node, (since, at_ns)))
