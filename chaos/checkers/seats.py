"""Which node each replica of a workload sits on while the records go by, and which promise is broken meanwhile."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from chaos.checkers.evidence import stack_end, stack_namespace
from chaos.checkers.spans import Span, outside
from chaos.checkers.stack_watch import workload_of
from chaos.history import History, Json, Record

KEEPS_AWAY = ("NoSchedule", "NoExecute")
OF_THE_NODE = "node.kubernetes.io/"
"""Taints of this prefix say how a node is (kubernetes.io, "Well-Known Labels"); others are its owner's."""


@dataclass(frozen=True)
class Where:
    """The nodes that are meant, by name or labels, and the label that says which of them belong together."""

    on: str | dict[str, str] | None = None
    topology: str | None = None

    def means(self, name: str, state: dict[str, Json]) -> bool:
        """Whether a node is meant; all are where no ``on`` is given."""
        if self.on is None or isinstance(self.on, str):
            return self.on is None or fnmatchcase(name, self.on)
        labels = state.get("labels") or {}
        return all(labels.get(key) == value for key, value in self.on.items())

    def domain(self, name: str, state: dict[str, Json]) -> str | None:
        """What a node belongs to: itself, or the value of its topology label, None without one."""
        return name if self.topology is None else (state.get("labels") or {}).get(self.topology)

    def __str__(self) -> str:
        if self.on is None or isinstance(self.on, str):
            return self.on or "any node"
        return ", ".join(f"{key}={value}" for key, value in self.on.items())


def owners_taints(state: dict[str, Json]) -> list[str]:
    """The taints that keep pods away and that the node's owner has set."""
    taints = [str(taint) for taint in state.get("taints") or []]
    return [t for t in taints if t.rpartition(":")[2] in KEEPS_AWAY and not t.startswith(OF_THE_NODE)]


def takes_pods(state: dict[str, Json]) -> bool:
    """Whether the scheduler may put a pod without tolerations there."""
    keeping = any(str(taint).rpartition(":")[2] in KEEPS_AWAY for taint in state.get("taints") or [])
    return bool(state.get("ready")) and not state.get("unschedulable") and not keeping


def placed_records(history: History, workload: str) -> tuple[list[Record], list[Record]]:
    """What was seen of a workload's pods and of all nodes until the stack was removed."""
    end, namespace = stack_end(history), stack_namespace(history)
    nodes = [record for record in history.objects("Node") if record.time_ns < end]
    pods = []
    for record in history.objects("Pod"):
        ours = namespace in (None, record.get("namespace")) and workload_of(record) == workload
        if ours and record.time_ns < end:
            pods.append(record)
    return pods, nodes


def unlabelled(where: Where, nodes: list[Record]) -> list[str]:
    """Of which nodes no record says what labels they have, where that matters; older histories have none."""
    if not isinstance(where.on, dict) and where.topology is None:
        return []
    silent = {str(r["name"]) for r in nodes if r["verb"] != "deleted" and "labels" not in (r.get("state") or {})}
    return [f"the labels of {', '.join(sorted(silent))} were not recorded"] if silent else []


class Levels:
    """How many of a set of things have how many replicas; each change takes constant time for each step it makes."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._having: Counter[int] = Counter()
        self.highest = 0
        self.lowest = 0

    def put(self, name: str, count: int | None) -> None:
        """Give a thing this count, or take it out."""
        old = self._counts.pop(name, None)
        if old is not None:
            self._having[old] -= 1
        if count is not None:
            self._counts[name] = count
            self._having[count] += 1
            self.highest, self.lowest = max(self.highest, count), min(self.lowest, count)
        while self.highest > 0 and not self._having[self.highest]:
            self.highest -= 1
        while self.lowest < self.highest and not self._having[self.lowest]:
            self.lowest += 1

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def extremes(self) -> list[int]:
        """The highest and the lowest count."""
        return [self.highest, self.lowest]

    def count(self, name: str) -> int | None:
        """How many a thing has."""
        return self._counts.get(name)

    def one_with(self, count: int) -> str:
        """The first by name of those that have so many."""
        return min((name for name, there in self._counts.items() if there == count), default="")


@dataclass
class Breach:
    """A promise that was broken for a stretch of time."""

    kind: str
    text: str
    span: Span


@dataclass
class Seats:
    """The replicas by node, and what is wrong with that."""

    workload: str
    where: Where
    spread: int | None
    per_node_max: int | None
    breaches: list[Breach] = field(default_factory=list)
    first_ns: int | None = None
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """From when on how many replicas were on nodes."""
    most_nodes: int = 0
    most_on_one: int = 0
    worst_skew: int = 0
    was_tempted: bool = False
    """Whether a pod was put somewhere while a node took pods that is not one of those meant."""

    def __post_init__(self) -> None:
        self._node: dict[str, dict[str, Json]] = {}
        self._seat: dict[str, tuple[str, str | None]] = {}
        self._names: dict[str, str] = {}
        self._on: dict[str, set[str]] = {}
        self._in: Counter[str] = Counter()
        self._open: dict[tuple[str, str], Breach] = {}
        self._levels = Levels()
        self._named: list[str] = []
        self._able: dict[str, set[str]] = {}
        self._others: set[str] = set()

    def follow(self, pods: list[Record], nodes: list[Record], end_ns: int) -> None:
        """Go through both watches in time order; what is wrong at the end was so until then."""
        for record in heapq.merge(nodes, pods, key=lambda record: record.time_ns):
            if record["object"] == "Node":
                self._see_node(record)
            else:
                self._see_pod(record)
        for breach in self._open.values():
            breach.span = (breach.span[0], end_ns)

    def _see_node(self, record: Record) -> None:
        name, state = str(record["name"]), record.get("state") or {}
        old = self._node.get(name, {})
        self._node[name] = state = {} if record["verb"] == "deleted" else state
        is_meant = self.where.means(name, state)
        able = takes_pods(state) and is_meant
        (self._others.add if takes_pods(state) and not is_meant else self._others.discard)(name)
        before, domain = self.where.domain(name, old), self.where.domain(name, state)
        if before is not None and (before != domain or not able):
            self._able.get(before, set()).discard(name)
            self._level(before)
        if domain is not None and able:
            self._able.setdefault(domain, set()).add(name)
            self._level(domain)
        self._judge_spread(record.time_ns)

    def _level(self, domain: str) -> None:
        """Count a domain that can take replicas or has some."""
        counts = self._able.get(domain) or self._in[domain]
        self._levels.put(domain, self._in[domain] if counts else None)

    def _see_pod(self, record: Record) -> None:
        state, uid, at = record.get("state") or {}, str(record["uid"]), record.time_ns
        is_over = record["verb"] == "deleted" or state.get("deleting") or state.get("phase") in ("Failed", "Succeeded")
        node = None if is_over else state.get("node")
        if self.first_ns is None:
            self.first_ns = at
        old, domain = self._seat.get(uid, (None, None))
        if node == old:
            return
        self._names[uid] = str(record["name"])
        if old is not None:
            del self._seat[uid]
            self._on[old].discard(uid)
            self._close("on", uid, at)
            self._count(old, domain, -1, at)
        if node is not None:
            seat = self._seat[uid] = (node, self.where.domain(node, self._node.get(node, {})))
            self._on.setdefault(node, set()).add(uid)
            self._sits(uid, node, at)
            self._count(*seat, 1, at)
        self._judge_spread(at)
        self.sizes.append((at, len(self._seat)))

    def _count(self, node: str, domain: str | None, step: int, at: int) -> None:
        self._judge_node(node, at)
        if domain is not None:
            self._in[domain] += step
            self._level(domain)

    def _sits(self, uid: str, node: str, at: int) -> None:
        """A replica was put on a node."""
        self.was_tempted |= bool(self._others)
        if self.where.on is not None and not self.where.means(node, self._node.get(node, {})):
            self._begin("on", uid, f"{self._names[uid]} ({uid}) was on {node}, which is not {self.where},", at)

    def _judge_node(self, node: str, at: int) -> None:
        there = self._on.get(node, set())
        self.most_on_one = max(self.most_on_one, len(there))
        if self.per_node_max is None:
            return
        if len(there) <= self.per_node_max:
            self._close("per_node", node, at)
        elif ("per_node", node) not in self._open:
            names = ", ".join(sorted(self._names[uid] for uid in there))
            text = f"{node} had {len(there)} replicas of {self.workload} ({names}), where {self.per_node_max} may be,"
            self._begin("per_node", node, text, at)

    def _judge_spread(self, at: int) -> None:
        self.most_nodes = max(self.most_nodes, len(self._levels))
        skew = self._levels.highest - self._levels.lowest if len(self._levels) > 1 else 0
        self.worst_skew = max(self.worst_skew, skew)
        if self.spread is None:
            return
        if skew <= self.spread:
            self._close("spread", "", at)
            return
        breach = self._open.get(("spread", ""))
        if breach is None or [self._levels.count(name) for name in self._named] != self._levels.extremes:
            high, low = self._named = [self._levels.one_with(count) for count in self._levels.extremes]
            text = (
                f"{high} had {self._levels.highest} replicas of {self.workload} and {low} {self._levels.lowest}, "
                f"though no more than {self.spread} may lie between them,"
            )
            if breach is None:
                self._begin("spread", "", text, at)
            else:
                breach.text = text

    def _begin(self, kind: str, what: str, text: str, at: int) -> None:
        breach = self._open[kind, what] = Breach(kind, text, (at, math.inf))
        self.breaches.append(breach)

    def _close(self, kind: str, what: str, at: int) -> None:
        breach = self._open.pop((kind, what), None)
        if breach is not None:
            breach.span = (breach.span[0], at)

    def most(self, end_ns: int, excused: list[Span]) -> int:
        """How many replicas there were at most at once while nothing excused them."""
        until = [at for at, _ in self.sizes[1:]] + [end_ns]
        spans = zip(self.sizes, until, strict=False)
        return max((count for (at, count), end in spans if outside((at, end), excused)), default=0)

    def too_little(self, most: int) -> list[str]:
        """Why a promise could not have been broken with so many replicas, a sentence each."""
        doubts = []
        if not most:
            return [f"no replica of {self.workload} was seen on a node while no fault was on"]
        if self.per_node_max is not None and most <= self.per_node_max:
            doubts.append(f"{most} replicas cannot be more than {self.per_node_max} on a node")
        if self.spread is not None and (most <= self.spread or self.most_nodes < 2):
            doubts.append(f"{most} replicas on {self.most_nodes} nodes cannot differ by more than {self.spread}")
        if self.where.on is not None and not self.was_tempted:
            doubts.append(f"no other node than {self.where} could have taken a replica")
        return doubts

    def summary(self, most: int) -> str:
        """A sentence on what was kept."""
        kept = [f"no node had more than {self.per_node_max}"] if self.per_node_max is not None else []
        if self.spread is not None:
            kept.append(f"they were spread over {self.most_nodes} within {self.spread}")
        if self.where.on is not None:
            kept.append(f"all were on {self.where}")
        return f"of up to {most} replicas of {self.workload} {' and '.join(kept)}"

    def evidence(self) -> dict[str, Json]:
        """The figures."""
        return {
            "replicas_most": max((count for _, count in self.sizes), default=0),
            "nodes_most": self.most_nodes,
            "on_one_node_most": self.most_on_one,
            "skew_most": self.worst_skew,
            "last": {node: len(there) for node, there in sorted(self._on.items()) if there},
        }
