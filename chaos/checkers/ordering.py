"""A StatefulSet's pods come, go and are updated in the order of their ordinals, each one waiting its turn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from chaos.checkers.evidence import (
    NS_PER_S,
    blind_spots,
    fault_doubt,
    load_window,
    lost_records,
    moment,
    stack_end,
    stack_namespace,
)
from chaos.checkers.ordinals import disordered, ordinal_of
from chaos.checkers.spans import spans_told
from chaos.checkers.turns import DOWN, HALT, ORDERED, PARALLEL, UP, UPDATE, Slip, Turns
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Record

KINDS = (UP, DOWN, UPDATE, HALT)
MOST_FINDINGS = 100
"""So many are spelled out; the evidence has the count of all."""

_UNSEEN = {
    (ORDERED, UP): "no pod was seen to come that had to wait for one before it",
    (ORDERED, DOWN): "no pod was seen to go that had to wait for one after it",
    (ORDERED, HALT): "no unhealthy pod was seen that another one had to wait for",
    (PARALLEL, UP): "no pod was seen to come before another one was ready that it might have waited for",
    (PARALLEL, DOWN): "no pod was seen to go before another one was gone that it might have waited for",
}
_NO_UPDATE = "no pod was seen that had to wait with its update for one after it"


@dataclass(frozen=True)
class Ordering:
    """The order that was promised of one StatefulSet; see :func:`ordering`."""

    stateful_set: str
    policy: str
    kinds: tuple[str, ...]
    partition: int | None

    def __post_init__(self) -> None:
        if not self.stateful_set or self.policy not in (ORDERED, PARALLEL):
            raise ValueError(f"ordering needs a StatefulSet's name and {ORDERED} or {PARALLEL}, not {self.policy!r}")
        strange = [str(kind) for kind in self.kinds if kind not in KINDS]
        if strange:
            raise ValueError(f"ordering knows the kinds {', '.join(KINDS)}, not {', '.join(strange)}")
        if self.policy == PARALLEL and HALT in self.kinds:
            raise ValueError(f"nothing halts under {PARALLEL}: leave out the kind {HALT}")

    @property
    def name(self) -> str:
        """The guarantee's name and whose it is."""
        return f"ordering({self.stateful_set})"

    def check(self, history: History) -> Verdict:
        """INVALID where a pod did not wait its turn, UNKNOWN where none was seen that had to."""
        pods, sets = _records(history, self.stateful_set)
        watch = {record.source for record in pods}
        gaps, late = (spans_told(history.of(kind), watch) for kind in ("gap", "resumed"))
        lost = lost_records(history, "object")
        strange = disordered(pods, gaps)
        if strange is not None:
            when = moment(history, strange.time_ns)
            lost.append(f"{strange.source} told of {strange['name']} out of its order, {when}")
        turns = Turns(self.stateful_set, self.policy, self.partition, gaps, late, history.faults())
        turns.follow(pods, sets)
        certain = [slip for slip in turns.slips if slip.is_certain and not lost]
        findings = [_told(history, slip) for slip in (certain or turns.slips)[:MOST_FINDINGS]]
        evidence = {"policy": self.policy, "slips": len(turns.slips), **turns.evidence()}
        if certain:
            return Verdict(self.name, Outcome.INVALID, "; ".join(findings[:3]), evidence, tuple(findings))
        sources = {record.source for record in (*pods, *sets)}
        doubts = [f"it is not certain that {text}" for text in findings[:3]]
        doubts += lost + blind_spots(history, sources, 0, stack_end(history)) + self._too_little(turns, pods, sets)
        doubts += [text for fault in history.faults() if (text := fault_doubt(fault, load_window(history)))]
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence, tuple(findings))
        return Verdict(self.name, Outcome.VALID, turns.summary(), evidence)

    def _too_little(self, turns: Turns, pods: list[Record], sets: list[Record]) -> list[str]:
        """Which of the evidence is missing that a verdict needs."""
        if not pods or not sets:
            return [f"the StatefulSet {self.stateful_set} and its pods were not seen"]
        telling = (UP, DOWN) if self.policy == PARALLEL else (UP, DOWN, UPDATE)
        needed = self.kinds or (() if any(turns.tallies[kind].tested for kind in telling) else telling)
        return [
            f"{_UNSEEN.get((self.policy, kind), _NO_UPDATE)} ({self.stateful_set})"
            for kind in needed
            if not turns.tallies[kind].tested
        ]


def ordering(
    stateful_set: str, policy: str = ORDERED, kinds: Collection[str] = (), partition: int | None = None
) -> Ordering:
    """A StatefulSet's pods follow the order that was promised, from the deployment to the removal.

    OrderedReady: a pod is created only when all before it are Running and Ready, so that an unhealthy one halts
    what comes after it; of those that are to go the highest ordinal goes first, each once the one after it is gone and
    all that stay are Running and Ready. Parallel: none of that is waited for, and a pod that was created, or deleted,
    only after five seconds of such a wait is INVALID. Under either an update goes from the highest ordinal to the
    partition, each pod once all after it are of the new revision, Running and Ready (kubernetes.io, "StatefulSets").

    What a fault deleted is not judged; what takes its place is. All orders are those of one watch. A controller may
    act on what was so five seconds before, unless it must have known better: then the verdict is UNKNOWN. It is so as
    well where no pod was seen that had to wait (under Parallel: that did not), for each of ``kinds``.

    Args:
        stateful_set: its name, such as web.
        policy: the podManagementPolicy that was promised, OrderedReady or Parallel, whatever its manifest says.
        kinds: what must have been seen: up, down, update, halt (an unhealthy pod that was waited for). Without them
            any one of these is enough, and VALID speaks of those that were seen.
        partition: the lowest ordinal that updates may touch; without it the StatefulSet's own at that time.
    """
    return Ordering(stateful_set, policy, tuple(kinds), partition)


def _records(history: History, stateful_set: str) -> tuple[list[Record], list[Record]]:
    """What was seen of the StatefulSet's pods and of itself until it was removed."""
    end, namespace = stack_end(history), stack_namespace(history)

    def ours(record: Record) -> bool:
        return record.time_ns < end and namespace in (None, record.get("namespace"))

    sets = [record for record in history.objects("StatefulSet", stateful_set) if ours(record)]
    pods = []
    for record in history.objects("Pod"):
        owner = (record.get("state") or {}).get("owner") or {}
        of_it = (owner.get("kind"), owner.get("name")) == ("StatefulSet", stateful_set)
        if of_it and ours(record) and ordinal_of(str(record["name"]), stateful_set) is not None:
            pods.append(record)
    return pods, sets


def _told(history: History, slip: Slip) -> str:
    """A slip in a sentence: who, what, and when."""
    ready_ns = None if slip.awaited is None else slip.awaited.first_up_ns
    is_later = ready_ns is not None and ready_ns > slip.at_ns
    which = f", which it was {((ready_ns or 0) - slip.at_ns) / NS_PER_S:.2f} s later" if is_later else ""
    return f"{slip.text}{which}, {moment(history, slip.at_ns)}"
