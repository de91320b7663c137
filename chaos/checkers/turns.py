"""Whether each pod of a StatefulSet waited its turn: its creation, its deletion, its update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.checkers.evidence import NS_PER_S
from chaos.checkers.ordinals import BEGINNING, Moment, OrdinalPod, Ordinals, in_store_order, ordinal_of
from chaos.checkers.spans import Span, overlaps
from chaos.history import FaultWindow, Json, Record

ORDERED, PARALLEL = "OrderedReady", "Parallel"
UP, DOWN, UPDATE, HALT = "up", "down", "update", "halt"

LAG_NS = 5 * NS_PER_S
"""For how long a controller may act on what was so before: its own watch may be behind the store. Kubernetes promises
no bound; its watches tell within milliseconds, so that this is ample."""
WAIT_NS = 5 * NS_PER_S
"""A wait that long is one: a controller that need not wait acts within milliseconds."""
SETTLE_NS = NS_PER_S
"""How much later than the pods' watch the StatefulSet's may tell, where no versions say what came first."""
AFTER_NODE_NS = 60 * NS_PER_S
"""How long after a node was healed a pod of it may still be deleted for what happened to the node."""


@dataclass(frozen=True, slots=True)
class Slip:
    """A pod that did not wait its turn, or waited though it need not."""

    at_ns: int
    text: str
    is_certain: bool
    awaited: OrdinalPod | None = None
    """The pod that should have been ready first."""


@dataclass
class Tally:
    """What was seen of one kind: how many, and how many of them by which a slip would have shown."""

    seen: int = 0
    tested: int = 0
    longest_wait_ns: int = 0

    def count(self, waited_ns: int | None) -> None:
        """Take in one; None: it had nothing to wait for."""
        self.seen += 1
        if waited_ns is not None:
            self.tested += 1
            self.longest_wait_ns = max(self.longest_wait_ns, waited_ns)


@dataclass
class _Left:
    """A wanted pod that was deleted by nobody known: an update, if its successor is of another revision."""

    pod: OrdinalPod
    waited_ns: int | None
    slips: list[Slip]
    usurping: Slip | None


@dataclass
class Turns:
    """Follows the two watches and collects slips and what they would have shown in."""

    stateful_set: str
    policy: str
    partition: int | None
    gaps: list[Span]
    late: list[Span]
    """When the watch told of what happened only afterwards: the order is right, the times are not."""
    faults: Sequence[FaultWindow]
    slips: list[Slip] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=lambda: {kind: Tally() for kind in (UP, DOWN, UPDATE, HALT)})
    others: int = 0
    unclear: int = 0

    def __post_init__(self) -> None:
        self.now = Ordinals()
        self._left: dict[int, _Left] = {}
        self._updated = BEGINNING
        self._taken: set[str] = set()
        self._outages: dict[str, list[tuple[int, int]]] = {}
        for fault in self.faults:
            evicted = fault.detail("injected").get("evicted") or []
            self._taken |= {str(pod["uid"]) for pod in (*fault.pods, *evicted) if pod.get("uid")}
            if fault.target.get("kind") == "Node":
                span = (fault.records[0].time_ns, fault.records[-1].time_ns + AFTER_NODE_NS)
                self._outages.setdefault(str(fault.target.get("name")), []).append(span)

    def follow(self, pods: list[Record], sets: list[Record]) -> None:
        """Go through the records of both watches."""
        for place, record in enumerate(in_store_order(pods, sets, SETTLE_NS)):
            at = Moment(place, record.time_ns)
            state = record.get("state") or {}
            if record["object"] == "StatefulSet":
                if record["verb"] != "deleted":
                    self.now.want(state, at)
                continue
            ordinal = ordinal_of(str(record["name"]), self.stateful_set)
            assert ordinal is not None  # noqa: S101 - who gives the records has looked
            before = self.now.pods.get(ordinal)
            pod, is_new, leaves = self.now.see(ordinal, record, at)
            unordered = record["verb"] == "seen" or overlaps(self.gaps, at.time_ns, at.time_ns)
            self.unclear += unordered and (is_new or leaves)
            if is_new:
                self._resolve(ordinal, pod)
                if not unordered:
                    self._created(pod, before, at)
            if leaves and not unordered:
                self._leaves(pod, record, at)
        for left in self._left.values():
            self._not_updated(left)

    def _slip(self, at: Moment, text: str, is_certain: bool = True, awaited: OrdinalPod | None = None) -> Slip:
        return Slip(at.time_ns, text, is_certain and not overlaps(self.gaps, at.time_ns - LAG_NS, at.time_ns), awaited)

    def _may_not_know(self, last_good: Moment | None, blocker: OrdinalPod | None, since: Moment, at: Moment) -> bool:
        """Whether all was well a moment ago, so that a controller may have acted on that.

        It knows what it did itself: of the blocker, that it has created it, and of what it answers to since when.
        """
        if last_good is None or blocker is None or last_good.place <= max(blocker.created.place, since.place):
            return False
        return at.time_ns - last_good.time_ns <= LAG_NS

    def _state(self, ordinal: int) -> str:
        pod = self.now.pods.get(ordinal)
        if pod is None or pod.gone is not None:
            return f"{self.stateful_set}-{ordinal} did not exist"
        return f"{pod} was {'on its way out' if pod.leaving else 'not ready'}"

    def _created(self, pod: OrdinalPod, before: OrdinalPod | None, at: Moment) -> None:
        """A pod came: all before it are to be up, and if they were not from the beginning, it has waited for them."""
        now, ordinal = self.now, pod.ordinal
        if before is not None and ordinal < self._lowest_updated() and pod.revision != before.revision:
            text = f"{pod} came back updated, as {pod.revision}, though updates end at ordinal {self._lowest_updated()}"
            self.slips.append(self._slip(at, text))
        if not now.wanted(ordinal) or ordinal == now.first:
            return
        gone = BEGINNING if before is None else before.gone or at
        since = max(now.since[ordinal], gone, key=lambda moment: moment.place)
        is_early = now.missing.lowest < ordinal
        below = now.missing.last_below(ordinal)
        waited_ns = _waited(below, since)
        if self.policy == PARALLEL:
            self._need_not_wait(UP, is_early, waited_ns, f"{pod} was created only once all before it were ready", at)
            return
        if is_early:
            blocker = now.pods.get(int(now.missing.lowest))
            stale = self._may_not_know(now.missing.last_not_below(ordinal), blocker, gone, at)
            text = f"{pod} was created while {self._state(int(now.missing.lowest))}"
            self.slips.append(self._slip(at, text, not stale, blocker))
        self.tallies[UP].count(0 if is_early else waited_ns)
        if below is not None and waited_ns is not None and now.fell.get(int(below[0])):
            self.tallies[HALT].count(waited_ns)

    def _leaves(self, pod: OrdinalPod, record: Record, at: Moment) -> None:
        """A pod begins to go: by a fault, because it is not wanted any more, or to be updated."""
        state = record.get("state") or {}
        outages = self._outages.get(str(state.get("node")), [])
        by_fault = pod.uid in self._taken or any(begin <= at.time_ns <= end for begin, end in outages)
        if by_fault or state.get("phase") in ("Failed", "Succeeded"):
            self.others += 1
        elif self.now.wanted(pod.ordinal):
            self._may_be_updated(pod, at)
        else:
            self._goes(pod, at)

    def _goes(self, pod: OrdinalPod, at: Moment) -> None:
        """An ordinal that is not wanted goes: none above it is to be there, and all that stay are to be up."""
        now = self.now
        since = now.since.get(pod.ordinal, BEGINNING)
        highest = -now.present_downward.lowest
        waited_ns = _waited(now.present_downward.last_below(-pod.ordinal), since)
        is_early = highest > pod.ordinal
        if self.policy == PARALLEL:
            self._need_not_wait(DOWN, is_early, waited_ns, f"{pod} was deleted only once all after it were gone", at)
            return
        if is_early:
            above = now.pods[int(highest)]
            text = f"{pod} was deleted while {above} was still there"
            self.slips.append(self._slip(at, text, at.time_ns - above.created.time_ns > LAG_NS))
        elif now.missing.lowest < now.end:
            blocker = now.pods.get(int(now.missing.lowest))
            stale = self._may_not_know(now.missing.last_not_below(now.end), blocker, BEGINNING, at)
            text = f"{pod} was deleted while {self._state(int(now.missing.lowest))}"
            self.slips.append(self._slip(at, text, not stale, blocker))
        is_too_early = is_early or now.missing.lowest < now.end
        self.tallies[DOWN].count(0 if is_too_early else waited_ns)
        halted_ns = _waited(now.missing.last_below(now.end), since)
        if halted_ns is not None and not is_too_early:
            self.tallies[HALT].count(halted_ns)

    def _lowest_updated(self) -> int:
        return self.now.partition if self.partition is None else self.partition

    def _may_be_updated(self, pod: OrdinalPod, at: Moment) -> None:
        """A wanted pod goes: if that is an update, all above it are to be updated and up."""
        now, ordinal, slips = self.now, pod.ordinal, []
        if ordinal < self._lowest_updated():
            slips.append(self._slip(at, f"{pod} was updated, though updates end at ordinal {self._lowest_updated()}"))
        missing, older = -now.missing_downward.lowest, -now.of_revision[pod.revision].lowest
        if ordinal < older < now.end:
            slips.append(self._slip(at, f"{pod} was updated before {now.pods[int(older)]}"))
        elif missing > ordinal:
            blocker = now.pods.get(int(missing))
            stale = self._may_not_know(now.missing_downward.last_not_below(-ordinal), blocker, self._updated, at)
            text = f"{pod} was updated while {self._state(int(missing))}"
            slips.append(self._slip(at, text, not stale, blocker))
        waited_ns = _waited(now.missing_downward.last_below(-ordinal), self._updated)
        highest = -now.present_downward.lowest
        surplus = now.pods[int(highest)] if highest >= now.end and self.policy == ORDERED else None
        usurping = None if surplus is None else self._slip(at, f"{pod} was deleted, and {surplus} was to go")
        self._left[ordinal] = _Left(pod, 0 if slips else waited_ns, slips, usurping)
        self._updated = at

    def _resolve(self, ordinal: int, successor: OrdinalPod) -> None:
        left = self._left.pop(ordinal, None)
        if left is None:
            return
        if successor.revision == left.pod.revision:
            self._not_updated(left)
        else:
            self.tallies[UPDATE].count(left.waited_ns)
            self.slips += left.slips

    def _not_updated(self, left: _Left) -> None:
        self.others += 1
        if left.usurping is not None:
            self.slips.append(left.usurping)

    def _need_not_wait(self, kind: str, is_early: bool, waited_ns: int | None, text: str, at: Moment) -> None:
        """Under Parallel: one that is early shows it; one that came after a long wait shows the contrary."""
        if waited_ns is not None and waited_ns >= WAIT_NS and not is_early:
            is_timed = not overlaps(self.late, at.time_ns - 2 * waited_ns, at.time_ns)
            late_s = waited_ns / NS_PER_S
            self.slips.append(self._slip(at, f"{text}, {late_s:.2f} s after it could have been", is_timed))
        self.tallies[kind].count(0 if is_early else None)

    def summary(self) -> str:
        """What was seen to wait its turn, or under Parallel not to."""
        verb = "waited" if self.policy == ORDERED else "did not wait"
        words = {UP: ("creations", verb), DOWN: ("deletions", verb), UPDATE: ("updates", "waited")}
        seen = {kind: tally for kind, tally in self.tallies.items() if tally.seen and kind in words}
        parts = [f"{tally.tested} of {tally.seen} {' '.join(words[kind])}" for kind, tally in seen.items()]
        halts = self.tallies[HALT].tested
        halted = f", {halts} of them for a pod that was unhealthy" if halts else ""
        unseen = [kind for kind in words if not self.tallies[kind].tested]
        only = f"; nothing is said of {' and '.join(unseen)}" if unseen else ""
        return f"{self.stateful_set} went by {self.policy}: {', '.join(parts)} for another pod{halted}{only}"

    def evidence(self) -> dict[str, Json]:
        """The counts by kind."""
        return {
            "kinds": {
                kind: {"seen": t.seen, "tested": t.tested, "longest_wait_s": t.longest_wait_ns / NS_PER_S}
                for kind, t in self.tallies.items()
            },
            "by_others": self.others,
            "out_of_order": self.unclear,
        }


def _waited(below: tuple[float, Moment] | None, since: Moment) -> int | None:
    """How long something stood in the way since a moment, in ns; None where nothing did."""
    if below is None or below[1].place <= since.place:
        return None
    return max(0, below[1].time_ns - since.time_ns)
