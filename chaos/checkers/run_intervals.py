"""When each pod ran, and where, as the nodes' witnesses and the engine tell it: intervals, and what is not certain.

A pod's run is from the start of its first app container to the exit of its last one; a restart in place is part of it.
A frozen container runs. What a node ran ended at the latest when the engine says that the node died.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace

from chaos.checkers.evidence import NS_PER_S, stack_namespace
from chaos.history import History, Json, Record

FOREVER = 2**63 - 1
NODE = "node:"
LOOK_NS = NS_PER_S
"""A gap in which the processes were looked at this often hides no run that matters; it takes longer to start a pod."""


@dataclass(frozen=True)
class Run:
    """One pod's run; all times in monotonic ns, ``FOREVER`` and its negative where there is no bound."""

    uid: str
    pod: str
    node: str
    start: tuple[int, int]
    """The earliest and the latest it can have begun; never (``FOREVER``) at the latest where it may not have run."""
    end: tuple[int, int]

    def overlap(self, other: Run) -> tuple[int, int]:
        """The least and the greatest time (ns) that both ran at once; 0 and less: they need not have, or did not."""
        least = min(self.end[0], other.end[0]) - max(self.start[1], other.start[1])
        return least, min(self.end[1], other.end[1]) - max(self.start[0], other.start[0])


@dataclass
class Told:
    """What the API told of one pod."""

    name: str
    first_ns: int
    node: str | None = None
    deleted_ns: int | None = None
    running_ns: int | None = None
    """When a container of it was first said to run."""
    claims: set[str] = field(default_factory=set)
    roles: dict[str, str] = field(default_factory=dict)
    """``app`` or ``init`` by the container's name; a sidecar that is an init container is ``init``."""


@dataclass
class _Container:
    uid: str
    pod: str
    node: str
    name: str
    start: tuple[int, int]
    seen_ns: int
    """When the witness last said that it ran."""
    end: tuple[int, int] | None = None


def pods_told(history: History) -> dict[str, Told]:
    """The stack's pods by UID, as the API told of them."""
    namespace = stack_namespace(history)
    pods: dict[str, Told] = {}
    for record in history.objects("Pod"):
        if namespace not in (None, record.get("namespace")):
            continue
        told = pods.setdefault(str(record["uid"]), Told(str(record["name"]), record.time_ns))
        state = record.get("state") or {}
        told.node = state.get("node") or told.node
        told.claims.update(state.get("claims") or ())
        for role, names in (("app", "containers"), ("init", "init_containers")):
            told.roles.update({str(container["name"]): role for container in state.get(names) or ()})
        if told.running_ns is None and any(c.get("state") == "running" for c in state.get("containers") or ()):
            told.running_ns = record.time_ns
        if record["verb"] == "deleted":
            told.deleted_ns = record.time_ns
    return pods


class Intervals:
    """The runs of a history's pods, and what limits them."""

    def __init__(self, history: History) -> None:
        self.pods = pods_told(history)
        self.error_ns = 0
        self.unnamed: list[Record] = []
        """Starts of containers of which nobody knows whose they are."""
        self.closed = {r.source.removeprefix(NODE): r.time_ns for r in history.of("closing") if _is_node(r)}
        """Up to when each node's witness told what it knows."""
        self._deaths = _engine_times(history, "die")
        self._starts = _engine_times(history, "start")
        self._heard = _times_by_node(history)
        gaps = [gap for gap in history.of("gap") if _is_node(gap)]
        self._gaps = [(_node(g), int(g["from_ns"]), _until(g), g.get("looked_every_ns") is not None) for g in gaps]
        self.blind = [part for g in gaps if not _looked(g) for part in self._alive_parts(_node(g), g)]
        """(node, from, to): stretches in which a container can have come and gone without being seen."""
        self._containers: dict[str, _Container] = {}
        namespace = stack_namespace(history)
        for record in history.of("runtime"):
            if namespace in (None, record.get("namespace")) or record.get("pod") is None:
                self._take(record)

    def _take(self, record: Record) -> None:
        error, created = int(record["error_ns"]), record.get("created_ns")
        self.error_ns = max(self.error_ns, error if record.get("wall_ns") is not None else 0)
        if record.get("pod") is None:
            self.unnamed.append(record)
            return
        identifier, known = str(record["container_id"]), self._containers.get(str(record["container_id"]))
        span = (record.time_ns - error, record.time_ns + error)
        if record["event"] == "exit":
            if known is not None:
                known.end = span
        elif known is not None:
            known.seen_ns = record.time_ns
        else:
            unseen = -FOREVER if record["event"] == "seen" else span[0]
            earliest = unseen if created is None else min(int(created) - error, span[0])
            uid, pod, name = (str(record[key]) for key in ("pod_uid", "pod", "container"))
            self._containers[identifier] = _Container(
                uid, pod, _node(record), name, (earliest, span[1]), record.time_ns
            )

    def _alive_parts(self, node: str, gap: Record) -> list[tuple[str, int, int]]:
        """A gap without the time in which the node was dead: from its death to its start, as the engine says."""
        begin, end = int(gap["from_ns"]), _until(gap)
        died = next((at for at in self._deaths.get(node, ()) if begin <= at <= end), None)
        if died is None:
            return [(node, begin, end)]
        back = next((at for at in self._starts.get(node, ()) if at > died), FOREVER)
        return [(node, begin, died), *([(node, back, end)] if back < end else [])]

    def _alive_until(self, node: str, time_ns: int, seen_ns: int) -> int:
        """Up to when a container without an exit certainly ran: the last the node was heard of, before any gap.

        A gap in which its processes were looked at hides no exit, nor does one in or after which it was seen again.
        """
        heard = self._heard.get(node, [])
        at = bisect_right(heard, time_ns)
        last = heard[at - 1] if at else -FOREVER
        hidden = [
            begin
            for name, begin, end, looked in self._gaps
            if name == node and begin < last and (last <= end or (seen_ns <= begin and not looked))
        ]
        return min([last, *hidden])

    def _end(self, container: _Container) -> tuple[int, int]:
        node, begun = container.node, container.start[1]
        died = next((at for at in self._deaths.get(node, ()) if at >= begun), FOREVER)
        if container.end is not None:
            return min(container.end[0], died), min(container.end[1], died)
        last = self._alive_until(node, min(died, self.closed.get(node, FOREVER)), container.seen_ns)
        return max(begun, last), died

    def runs(self) -> list[Run]:
        """Every pod's run; one that may have run unseen, in a gap, as one that need not have begun."""
        by_uid: dict[str, list[_Container]] = {}
        for container in self._containers.values():
            by_uid.setdefault(container.uid, []).append(container)
        found = [run for uid, containers in by_uid.items() if (run := self._run(uid, containers)) is not None]
        found = [self._with_unseen(run) for run in found]
        return found + [run for uid, told in self.pods.items() if uid not in by_uid for run in self._unseen(uid, told)]

    def unwitnessed(self) -> list[tuple[str, Told]]:
        """(UID, what the API told) of pods that ran, of which their node's witness says nothing, without a gap."""
        seen = {container.uid for container in self._containers.values()}
        return [
            (uid, told)
            for uid, told in self.pods.items()
            if uid not in seen
            and told.running_ns is not None
            and told.running_ns < self.closed.get(str(told.node), -FOREVER)
            and not self._unseen(uid, told)
        ]

    def _run(self, uid: str, containers: list[_Container]) -> Run | None:
        told = self.pods.get(uid)
        roles = {c.name: "" if told is None else told.roles.get(c.name, "") for c in containers}
        possible = [c for c in containers if roles[c.name] != "init"]
        certain = [c for c in possible if roles[c.name] == "app"]
        if not possible:
            return None
        start = min(c.start[0] for c in possible), min((c.start[1] for c in certain), default=FOREVER)
        ends = [self._end(c) for c in possible]
        sure = max((self._end(c)[0] for c in certain), default=-FOREVER)
        return Run(uid, containers[0].pod, containers[0].node, start, (sure, max(end[1] for end in ends)))

    def _with_unseen(self, run: Run) -> Run:
        """A container of the pod may have come and gone in a gap, before the first one or after the last."""
        told = self.pods.get(run.uid)
        for node, begin, end in self.blind:
            if node != run.node or (told is not None and not _there(told, begin, end)):
                continue
            first, last = run.start[0], run.end[1]
            run = replace(run, start=(min(first, max(begin, _first(told))), run.start[1]))
            run = replace(run, end=(run.end[0], max(last, end)))
        return run

    def _unseen(self, uid: str, told: Told) -> list[Run]:
        return [
            Run(uid, told.name, node, (max(begin, told.first_ns), FOREVER), (-FOREVER, end))
            for node, begin, end in self.blind
            if node == told.node and _there(told, begin, end)
        ]


def _first(told: Told | None) -> int:
    return -FOREVER if told is None else told.first_ns


def _there(told: Told, begin: int, end: int) -> bool:
    return told.first_ns <= end and (told.deleted_ns is None or told.deleted_ns >= begin)


def _is_node(record: Record) -> bool:
    return record.source.startswith(NODE)


def _node(record: Record) -> str:
    return record.source.removeprefix(NODE)


def _until(gap: Record) -> int:
    until: Json = gap.get("to_ns")
    return FOREVER if until is None else int(until)


def _looked(gap: Record) -> bool:
    every = gap.get("looked_every_ns")
    return every is not None and every <= LOOK_NS


def _engine_times(history: History, event: str) -> dict[str, list[int]]:
    """When the engine told of this event, by node, each at the latest it can have been."""
    found: dict[str, list[int]] = {}
    for record in history.of("engine"):
        if record["event"] == event:
            found.setdefault(str(record["node"]), []).append(record.time_ns + int(record.get("error_ns") or 0))
    return found


def _times_by_node(history: History) -> dict[str, list[int]]:
    """When each witness was heard of, in order."""
    found: dict[str, list[int]] = {}
    for record in [*history.of("runtime"), *history.of("clock"), *history.of("closing")]:
        if _is_node(record):
            found.setdefault(_node(record), []).append(record.time_ns)
    return {node: sorted(times) for node, times in found.items()}
