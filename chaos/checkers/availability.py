"""Clients are answered: few errors, and no long stretch without an answer."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from chaos.checkers.evidence import (
    LOAD_PHASES,
    NS_PER_MS,
    NS_PER_S,
    blind_spots,
    fault_doubts,
    load_window,
    longest_gap,
    lost_records,
    moment,
    no_window,
)
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json
from chaos.operations import FATES, OK, Ints, Operations

DEFAULT_LATE_S = 5.0
"""After how many seconds an answer is late where neither the author nor the fact ``workload`` says."""

DEFAULT_SLOW_S = 0.5
"""After how many seconds an answer is slow where the author does not say."""

RESET = re.compile(r"reset by peer|ConnectionReset|RemoteDisconnected|Connection aborted|BrokenPipe|connection closed")
"""What the errors of our clients say where a connection that was open was cut (requests, urllib3, pymongo, CPython)."""

ANY_GAP_S = 86_400.0
"""A budget for gaps that no load exceeds: what is answered at all is not a matter of gaps."""

EXAMPLES_MAX = 5
"""How many unanswered operations and dark slots a verdict spells out."""


@dataclass(frozen=True)
class Availability:
    """At most ``error_ratio_max`` of the operations unanswered and never ``gap_s_max`` seconds without an answer."""

    error_ratio_max: float
    gap_s_max: float
    slot_s: float
    min_ok: int
    late_s: float | None = None
    slow_s: float = DEFAULT_SLOW_S
    slow_ratio_max: float | None = None
    resets_max: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.error_ratio_max <= 1:
            raise ValueError(f"error_ratio_max is a ratio from 0 to 1, not {self.error_ratio_max}")
        if self.gap_s_max < 0 or self.slot_s <= 0:
            raise ValueError(f"gap_s_max must not be negative and slot_s be positive: {self.gap_s_max}, {self.slot_s}")
        if self.min_ok < 1:
            raise ValueError(f"min_ok must be at least 1, or nothing at all would pass: {self.min_ok}")
        if self.late_s is not None and self.late_s <= 0:
            raise ValueError(f"late_s must be above 0, or every answer would be late: {self.late_s}")
        if self.slow_s <= 0 or not 0 <= (self.slow_ratio_max or 0) <= 1:
            raise ValueError(f"slow_s is above 0 and slow_ratio_max from 0 to 1: {self.slow_s}, {self.slow_ratio_max}")
        if (self.resets_max or 0) < 0:
            raise ValueError(f"resets_max is a number of connections, 0 or more, not {self.resets_max}")

    @property
    def name(self) -> str:
        """The guarantee's name."""
        return "availability"

    def check(self, history: History) -> Verdict:
        """INVALID beyond a budget, UNKNOWN without enough answers or without a fault that took effect."""
        window = load_window(history)
        if window is None:
            return Verdict(self.name, Outcome.UNKNOWN, no_window(history))
        late_s = self._late_s(history)
        measured = _measure(history, window, round(self.slot_s * NS_PER_S), late_s, self.slow_s)
        evidence = self._evidence(history, measured) | {"late_s": late_s}
        untold = self._untold(history, measured, window)
        broken = self._broken(history, measured)
        total = measured.tallies["total"]
        if broken and not untold and total.invoked >= self.min_ok:
            return Verdict(self.name, Outcome.INVALID, "; ".join(broken), evidence, _examples(history, measured))
        doubts = untold + self._too_little(measured) + _unasked(history, window) + fault_doubts(history)
        if doubts:
            findings = (*broken, *_examples(history, measured))
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence, findings)
        longest_s = measured.gap_ns / NS_PER_S
        summary = (
            f"{total.ok} of {total.invoked} operations were answered (error ratio {total.error_ratio:.4f}, budget "
            f"{self.error_ratio_max:g}), the longest gap was {longest_s:.2f} s (budget {self.gap_s_max:g} s), "
            f"{moment(history, measured.gap_from_ns)}; {total.slow} answers took longer than {self.slow_s:g} s, "
            f"{total.reset} connections were reset"
        )
        return Verdict(self.name, Outcome.VALID, summary, evidence)

    def _late_s(self, history: History) -> float:
        """The seconds after which an answer is late: the author's, else the workload's timeout."""
        if self.late_s is not None:
            return self.late_s
        return float((history.fact("workload") or {}).get("timeout_s", DEFAULT_LATE_S))

    def _broken(self, history: History, measured: _Measured) -> list[str]:
        """The budgets that do not hold, a sentence each."""
        total = measured.tallies["total"]
        broken = []
        if total.error_ratio > self.error_ratio_max:
            phase = max(LOAD_PHASES, key=lambda name: measured.tallies[name].unanswered)
            worst = measured.tallies[phase]
            errors = ", ".join(f"{count} x {error}" for error, count in measured.errors.most_common(3))
            first = moment(history, int(measured.operations.invoke_ns[measured.examples[0][0]]))
            broken.append(
                f"{total.unanswered} of {total.invoked} operations were not answered (error ratio "
                f"{total.error_ratio:.4f}, budget {self.error_ratio_max:g}), {worst.unanswered} of them in phase "
                f"{phase}: {errors}; the first was asked {first}"
            )
        if measured.gap_ns > self.gap_s_max * NS_PER_S:
            broken.append(
                f"nothing was answered for {measured.gap_ns / NS_PER_S:.2f} s (budget {self.gap_s_max:g} s), from "
                f"{moment(history, measured.gap_from_ns)}, in phase {measured.phase_of(measured.gap_from_ns)}"
            )
        if measured.dark_ns > self.gap_s_max * NS_PER_S:
            broken.append(
                f"of what was to be asked during {measured.dark_ns / NS_PER_S:.2f} s nothing was answered (budget "
                f"{self.gap_s_max:g} s), from {moment(history, measured.dark_from_ns)}, in phase "
                f"{measured.phase_of(measured.dark_from_ns)}"
            )
        if self.slow_ratio_max is not None and total.slow > self.slow_ratio_max * total.invoked:
            phase = max(LOAD_PHASES, key=lambda name: measured.tallies[name].slow)
            broken.append(
                f"{total.slow} of {total.invoked} operations took longer than {self.slow_s:g} s (budget: a share of "
                f"{self.slow_ratio_max:g}), {measured.tallies[phase].slow} of them in phase {phase}"
            )
        if self.resets_max is not None and total.reset > self.resets_max:
            phase = max(LOAD_PHASES, key=lambda name: measured.tallies[name].reset)
            broken.append(
                f"{total.reset} connections were reset (budget {self.resets_max}), {measured.tallies[phase].reset} of "
                f"them in phase {phase}"
            )
        return broken

    def _untold(self, history: History, measured: _Measured, window: tuple[int, int]) -> list[str]:
        """Why the operations' records are not all there: then neither a success nor a gap can be concluded."""
        untold = lost_records(history, "op")
        untold += blind_spots(history, history.sources_of("op"), *window)
        if measured.operations.orphans:
            untold.append(f"{measured.operations.orphans} operations ended without an invocation that was open")
        return untold

    def _too_little(self, measured: _Measured) -> list[str]:
        """Which least evidence is missing."""
        tallies = measured.tallies
        missing = [
            f"only {tallies[part].ok} operations were answered in {where}, at least {self.min_ok} are needed"
            for part, where in (("total", "the whole load"), ("before", "the phase before the fault"))
            if tallies[part].ok < self.min_ok
        ]
        if not tallies["fault"].invoked + tallies["recover"].invoked:
            missing.append("nothing was asked between the injection and the recovery")
        return missing

    def _evidence(self, history: History, measured: _Measured) -> dict[str, Json]:
        return {
            "error_ratio_max": self.error_ratio_max,
            "gap_s_max": self.gap_s_max,
            "slow_s": self.slow_s,
            "slow_ratio_max": self.slow_ratio_max,
            "resets_max": self.resets_max,
            "slot_s": self.slot_s,
            "min_ok": self.min_ok,
            "tallies": {part: tally.to_json() for part, tally in measured.tallies.items()},
            "errors": dict(measured.errors.most_common(10)),
            "unanswered_first": list(_examples(history, measured)),
            "longest_gap_s": measured.gap_ns / NS_PER_S,
            "longest_gap_from": moment(history, measured.gap_from_ns),
            "longest_dark_s": measured.dark_ns / NS_PER_S,
            "dark_slots": len(measured.dark_slots),
            "dark_slots_first": [moment(history, slot_ns) for slot_ns in measured.dark_slots[: 4 * EXAMPLES_MAX]],
            "latency_p50_ms": _nearest_rank_ms(measured.latencies_ns, 0.50),
            "latency_p99_ms": _nearest_rank_ms(measured.latencies_ns, 0.99),
        }


def availability(
    error_ratio_max: float,
    gap_s_max: float,
    slot_s: float = 1.0,
    min_ok: int = 20,
    late_s: float | None = None,
    slow_s: float = DEFAULT_SLOW_S,
    slow_ratio_max: float | None = None,
    resets_max: int | None = None,
) -> Availability:
    """Clients are answered within these budgets; ValueError where a budget makes no sense.

    An answer that comes later than ``late_s`` after its request was due counts as no answer: a client that falls behind
    during an outage and catches up after it would otherwise hide the outage ("coordinated omission", Gil Tene, "How NOT
    to Measure Latency", 2013).

    Args:
        error_ratio_max: share of the load's operations that may fail or stay unanswered, 0 to 1.
        gap_s_max: longest stretch without a success that is allowed, in seconds; also for what was to be asked in it.
        slot_s: width of the time slots in which the schedule's wishes are compared with the answers, in seconds.
        min_ok: answers needed in the whole load and before the fault, so that the figures mean something.
        late_s: seconds after its due time at which an answer is late; None: the timeout of the history's workload.
        slow_s: seconds after its due time at which an answer is slow; slow ones are counted, late ones with them.
        slow_ratio_max: share of the load's operations that may be slow, 0 to 1; None: only reported.
        resets_max: connections that may be cut under a client; None: only reported.
    """
    return Availability(error_ratio_max, gap_s_max, slot_s, min_ok, late_s, slow_s, slow_ratio_max, resets_max)


def no_request_lost(min_ok: int = 20, late_s: float | None = None) -> Availability:
    """Every single request of the load is answered in time, and no connection is cut; arguments as in availability."""
    return availability(error_ratio_max=0, gap_s_max=ANY_GAP_S, min_ok=min_ok, late_s=late_s, resets_max=0)


@dataclass
class _Tally:
    """How the operations of one part of the load ended."""

    ok: int = 0
    fail: int = 0
    info: int = 0
    late: int = 0
    slow: int = 0
    """Answers, late ones with them, that took longer than ``slow_s``."""
    reset: int = 0
    """Unanswered, because the connection was cut."""

    @property
    def invoked(self) -> int:
        return self.ok + self.unanswered

    @property
    def unanswered(self) -> int:
        return self.fail + self.info + self.late

    @property
    def error_ratio(self) -> float:
        return self.unanswered / self.invoked if self.invoked else 0.0

    def to_json(self) -> dict[str, Json]:
        return {"invoked": self.invoked, **vars(self), "error_ratio": round(self.error_ratio, 6)}


@dataclass
class _Measured:
    """What the operations invoked in the window give."""

    spans: list[tuple[str, int, int]]
    tallies: dict[str, _Tally]
    operations: Operations
    errors: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[int, str]] = field(default_factory=list)
    """The first that were not answered: row, and how it ended."""
    latencies_ns: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of those that were answered, also too late, in order of length."""
    gap_ns: int = 0
    gap_from_ns: int = 0
    dark_ns: int = 0
    dark_from_ns: int = 0
    dark_slots: list[int] = field(default_factory=list)

    def phase_of(self, time_ns: int) -> str:
        """The load's phase at a time; a time in no phase belongs to the one before it."""
        return self.spans[max(0, bisect_right(self.spans, time_ns, key=lambda span: span[1]) - 1)][0]


_LATE = len(FATES)
"""Beside the fates of an operation: answered, but too late."""


def _measure(history: History, window: tuple[int, int], slot_ns: int, late_s: float, slow_s: float) -> _Measured:
    """Count, and find the longest gap, the dark slots and the latencies of what was invoked in the window."""
    begin, end = window
    ops = history.operations
    spans = [(name, *span) for name in LOAD_PHASES if (span := history.phase(name)) is not None]
    measured = _Measured(spans, {}, ops)
    rows = np.flatnonzero((begin <= ops.invoke_ns) & (ops.invoke_ns < end))
    invoked, intended, ended = ops.invoke_ns[rows], ops.intended_ns[rows], ops.end_ns[rows]
    answered = ops.fate[rows] == OK
    waited = ended - intended
    fate = np.where(answered & (waited > late_s * NS_PER_S), _LATE, ops.fate[rows])
    slow = answered & (waited > slow_s * NS_PER_S)
    reset = np.isin(rows, [row for row, text in ops.errors.items() if RESET.search(text)])
    measured.latencies_ns = np.sort(waited[answered])
    phase = np.searchsorted([span[2] for span in spans[:-1]], invoked, side="right")
    counts = np.bincount(phase * (_LATE + 1) + fate, minlength=len(spans) * (_LATE + 1)).reshape(-1, _LATE + 1)
    marks = [np.bincount(phase, weights=mask, minlength=len(spans)).astype(np.int64) for mask in (slow, reset)]
    counts = np.column_stack([counts, *marks])
    measured.tallies = {"total": _Tally(*counts.sum(axis=0).tolist())}
    measured.tallies |= {span[0]: _Tally(*row.tolist()) for span, row in zip(spans, counts, strict=True)}
    good = fate == OK
    bad = rows[~good].tolist()
    errors = [_error(ops, row, late_s) for row in bad]
    measured.errors.update(errors)
    measured.examples = list(zip(bad, errors, strict=True))[:EXAMPLES_MAX]
    silent_ns = max(begin, min(end, max(_ends_of_load(history).values(), default=end)))
    measured.gap_ns, measured.gap_from_ns = longest_gap(ended[good], begin, silent_ns)
    within = (begin <= intended) & (intended < end)
    slots, place = np.unique((intended[within] - begin) // slot_ns, return_inverse=True)
    lit = np.bincount(place, weights=good[within], minlength=len(slots)) > 0
    measured.dark_slots = (begin + slots[~lit] * slot_ns).tolist()
    by_slot = dict(zip(slots.tolist(), lit.tolist(), strict=True))
    measured.dark_ns, measured.dark_from_ns = _longest_dark(by_slot, begin, end, slot_ns)
    return measured


def _ends_of_load(history: History) -> dict[str, int]:
    """When each source of operations closed its records, in ns."""
    load = history.sources_of("op")
    return {record.source: record.time_ns for record in history.of("closing") if record.source in load}


def _unasked(history: History, window: tuple[int, int]) -> list[str]:
    """What the load left out: an answer that nobody asked for proves nothing either way."""
    skipped = [(note.source, int(note["skipped"])) for note in history.of("note") if note.get("skipped")]
    unasked = (
        [f"{sum(count for _, count in skipped)} requests were never sent: the load fell behind"] if skipped else []
    )
    return unasked + [
        f"{source} ended {moment(history, at)}, before the window did; nobody asked after that"
        for source, at in sorted(_ends_of_load(history).items())
        if at < window[1]
    ]


def _longest_dark(lit: dict[int, bool], begin: int, end: int, slot_ns: int) -> tuple[int, int]:
    """(length, start) in ns of the longest run from one dark slot to another with no lit slot in between."""
    longest, start_of_longest = 0, begin
    start: int | None = None
    for slot in sorted(lit):
        if lit[slot]:
            start = None
            continue
        start = slot if start is None else start
        length = min(end, begin + (slot + 1) * slot_ns) - (begin + start * slot_ns)
        if length > longest:
            longest, start_of_longest = length, begin + start * slot_ns
    return longest, start_of_longest


def _nearest_rank_ms(ordered_ns: Ints, quantile: float) -> float | None:
    """The quantile by nearest rank, in ms: the smallest value that at least this share does not exceed."""
    return float(ordered_ns[math.ceil(quantile * len(ordered_ns)) - 1] / NS_PER_MS) if len(ordered_ns) else None


def _error(ops: Operations, row: int, late_s: float) -> str:
    if ops.fate[row] == OK:
        return f"late: answered more than {late_s:g} s after it was due"
    return ops.error(row)


def _examples(history: History, measured: _Measured) -> tuple[str, ...]:
    ops = measured.operations
    return tuple(
        f"{ops.name(row)} {moment(history, int(ops.invoke_ns[row]))}, in phase "
        f"{measured.phase_of(int(ops.invoke_ns[row]))}: {error}"
        for row, error in measured.examples
    )
