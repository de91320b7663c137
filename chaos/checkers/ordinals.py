"""A StatefulSet's ordinals while the records of one watch go by: which are there, which are up, and since when."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from chaos.checkers.spans import Span, overlaps
from chaos.history import Json, Record

REVISION_LABEL = "controller-revision-hash"
"""The label by which the StatefulSet controller says of which revision a pod is (k8s.io/api/apps/v1)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in the watch: how many records came before it, and its time in monotonic ns."""

    place: int
    time_ns: int


BEGINNING = Moment(-1, 0)


class Extreme:
    """The lowest of a changing set of numbers, and when it last was so high or so low. Each change in log time."""

    def __init__(self) -> None:
        self.lowest = math.inf
        self._members: set[int] = set()
        self._heap: list[int] = []
        self._highs: list[tuple[float, Moment]] = []
        """Past values with their ends, each lower than the one before: of those as low only the latest is kept."""
        self._lows: list[tuple[float, Moment]] = []

    def put(self, number: int, belongs: bool, at: Moment) -> None:
        """Let a number belong to the set from now on, or no more."""
        if belongs == (number in self._members):
            return
        if belongs:
            self._members.add(number)
            heapq.heappush(self._heap, number)
        else:
            self._members.discard(number)
        while self._heap and self._heap[0] not in self._members:
            heapq.heappop(self._heap)
        before, self.lowest = self.lowest, self._heap[0] if self._heap else math.inf
        if before != self.lowest:
            while self._highs and self._highs[-1][0] <= before:
                self._highs.pop()
            while self._lows and self._lows[-1][0] >= before:
                self._lows.pop()
            self._highs.append((before, at))
            self._lows.append((before, at))

    def last_not_below(self, number: float) -> Moment | None:
        """The end of the last stretch before the present value in which the lowest was at least this."""
        place = bisect_right(self._highs, -number, key=lambda past: -past[0])
        return self._highs[place - 1][1] if place else None

    def last_below(self, number: float) -> tuple[float, Moment] | None:
        """The last value before the present one that was below this, and when it ended."""
        place = bisect_left(self._lows, number, key=lambda past: past[0])
        return self._lows[place - 1] if place else None


@dataclass
class OrdinalPod:
    """One incarnation of an ordinal."""

    ordinal: int
    name: str
    uid: str
    revision: str | None
    created: Moment
    is_up: bool = False
    """Running and Ready and not on its way out, which is what its controller waits for."""
    first_up_ns: int | None = None
    leaving: Moment | None = None
    gone: Moment | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.uid})"


@dataclass
class Ordinals:
    """The pods of one StatefulSet by ordinal, as the watch has told of them so far."""

    pods: dict[int, OrdinalPod] = field(default_factory=dict)
    """The latest incarnation of each ordinal, also one that is gone."""
    uids: set[str] = field(default_factory=set)
    first: int = 0
    end: int = 0
    """The ordinals that are wanted: from ``first`` up to but not ``end``."""
    partition: int = 0
    since: dict[int, Moment] = field(default_factory=dict)
    """When an ordinal was last begun or ceased to be wanted."""
    fell: dict[int, bool] = field(default_factory=dict)
    """Of an ordinal that was up and ceased to be: whether it was wanted then, so that it fell ill or was taken."""
    missing: Extreme = field(default_factory=Extreme)
    """The wanted ordinals that are not up."""
    missing_downward: Extreme = field(default_factory=Extreme)
    """The same, as negative numbers: its lowest is the highest of them."""
    present_downward: Extreme = field(default_factory=Extreme)
    """The ordinals that have a pod, as negative numbers."""
    of_revision: dict[str | None, Extreme] = field(default_factory=dict)
    """The ordinals that have a pod of a revision and are not on their way out, as negative numbers."""

    def want(self, state: dict[str, Json], at: Moment) -> None:
        """Take in how many pods the StatefulSet is to have."""
        first = int(state.get("first_ordinal") or 0)
        end = first + int(state.get("replicas") or 0)
        self.partition = int(state.get("partition") or 0)
        old, self.first, self.end = (self.first, self.end), first, end
        for low, high in (sorted((old[0], first)), sorted((old[1], end))):
            for ordinal in range(low, high):
                self.since[ordinal] = at
                self._count(ordinal, at)

    def wanted(self, ordinal: int) -> bool:
        """Whether an ordinal is to have a pod."""
        return self.first <= ordinal < self.end

    def see(self, ordinal: int, record: Record, at: Moment) -> tuple[OrdinalPod, bool, bool]:
        """Take in a record of an ordinal's pod: (the pod, whether it is new, whether it begins to leave now).

        What is told of a UID that another one has followed changes nothing.
        """
        state, uid = record.get("state") or {}, str(record["uid"])
        pod = self.pods.get(ordinal)
        is_new = uid not in self.uids
        if pod is not None and pod.uid != uid and not is_new:
            return pod, False, False
        if pod is None or is_new:
            self.uids.add(uid)
            if pod is not None:  # of one name there is never more than one: the other is gone, though none told of it
                self._leave(pod, at)
            revision = (state.get("labels") or {}).get(REVISION_LABEL)
            pod = self.pods[ordinal] = OrdinalPod(ordinal, str(record["name"]), uid, revision, at)
            self.of_revision.setdefault(revision, Extreme()).put(-ordinal, True, at)
        is_gone = record["verb"] == "deleted"
        begins_to_leave = pod.leaving is None and (is_gone or bool(state.get("deleting")))
        if begins_to_leave:
            self._leave(pod, at)
        if is_gone and pod.gone is None:
            pod.gone = at
        was_up = pod.is_up
        pod.is_up = pod.leaving is None and bool(state.get("ready")) and state.get("phase") == "Running"
        if pod.is_up and pod.first_up_ns is None:
            pod.first_up_ns = at.time_ns
        if was_up and not pod.is_up:
            self.fell[ordinal] = self.wanted(ordinal)
        self.present_downward.put(-ordinal, pod.gone is None, at)
        self._count(ordinal, at)
        return pod, is_new, begins_to_leave

    def _leave(self, pod: OrdinalPod, at: Moment) -> None:
        pod.leaving = pod.leaving or at
        self.of_revision[pod.revision].put(-pod.ordinal, False, at)

    def _count(self, ordinal: int, at: Moment) -> None:
        pod = self.pods.get(ordinal)
        is_missing = self.wanted(ordinal) and not (pod is not None and pod.is_up)
        self.missing.put(ordinal, is_missing, at)
        self.missing_downward.put(-ordinal, is_missing, at)


def ordinal_of(pod_name: str, stateful_set: str) -> int | None:
    """The ordinal in a pod's name; None where it is no pod of this StatefulSet."""
    prefix, _, number = pod_name.rpartition("-")
    return int(number) if prefix == stateful_set and number.isascii() and number.isdigit() else None


def in_store_order(pods: list[Record], sets: list[Record], settle_ns: int) -> Iterator[Record]:
    """The records of both watches, each in its own order, a StatefulSet's before the pods it had to do with.

    With versions the order between the two is the store's. Without, a record of the StatefulSet counts as early as
    ``settle_ns`` before it was seen: its controller knew of it before it acted, whichever watch told first.
    """
    waiting = 0
    for pod in pods:
        while waiting < len(sets) and _precedes(sets[waiting], pod, settle_ns):
            yield sets[waiting]
            waiting += 1
        yield pod
    yield from sets[waiting:]


def _precedes(of_set: Record, pod: Record, settle_ns: int) -> bool:
    one, other = of_set.get("version"), pod.get("version")
    if one is None or other is None:
        return of_set.time_ns <= pod.time_ns + settle_ns
    return int(one) < int(other)


def disordered(records: list[Record], gaps: list[Span]) -> Record | None:
    """The first record of a watch that is older than one before it; None where all are in the store's order.

    What a list told (verb seen) and what was told within a gap has no order.
    """
    last, last_uid = -1, ""
    for record in records:
        version = record.get("version")
        if version is None or record["verb"] == "seen" or overlaps(gaps, record.time_ns, record.time_ns):
            continue
        if int(version) < last or (int(version) == last and record["uid"] != last_uid):
            return record
        last, last_uid = int(version), str(record["uid"])
    return None
