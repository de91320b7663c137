"""What a client was told stays so: reads of one key never go back in time, and lag at most as far as was promised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaos.checkers.evidence import (
    NS_PER_MS,
    NS_PER_S,
    blind_spots,
    fault_doubts,
    load_window,
    lost_records,
    moment,
    no_window,
)
from chaos.checkers.registers import (
    ABSENT,
    Registers,
    foreign_keys,
    lag_ns,
    owed,
    registers_of,
    seen_before,
    unordered_keys,
    unwritten,
)
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json
from chaos.operations import Ints, Mask

EXAMPLES_MAX = 5
"""How many offending reads of each kind a verdict spells out."""


@dataclass(frozen=True)
class Consistency:
    """Reads of versioned keys keep the session guarantees; see :func:`consistency`."""

    lag_s_max: float | None
    min_reads: int

    def __post_init__(self) -> None:
        if self.lag_s_max is not None and self.lag_s_max < 0:
            raise ValueError(f"lag_s_max is a time in seconds, 0 or more, not {self.lag_s_max}")
        if self.min_reads < 1:
            raise ValueError(f"min_reads must be at least 1, or nothing would pass: {self.min_reads}")

    @property
    def name(self) -> str:
        """The guarantee's name."""
        return "consistency"

    def check(self, history: History) -> Verdict:
        """INVALID where a read contradicts what was acknowledged or read before, UNKNOWN where too little was asked."""
        window = load_window(history)
        if window is None:
            return Verdict(self.name, Outcome.UNKNOWN, no_window(history))
        case = _Case(history, registers_of(history.operations), self.lag_s_max)
        sources = history.sources_of("op")
        untold = lost_records(history, "op", sources) + blind_spots(history, sources, *window)
        if history.operations.orphans:
            untold.append(f"{history.operations.orphans} operations ended without an invocation that was open")
        findings = case.findings(complete=not untold)
        evidence = case.evidence() | {"lag_s_max": self.lag_s_max, "min_reads": self.min_reads}
        if findings:
            return Verdict(self.name, Outcome.INVALID, case.counts(), evidence, tuple(findings))
        doubts = case.doubts() + self._too_little(history, case) + untold + fault_doubts(history)
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence)
        bound = "" if self.lag_s_max is None else f" (bound {self.lag_s_max:g} s)"
        summary = (
            f"of {evidence['reads_owing']} reads that an older answer would have betrayed none went back: "
            f"{evidence['reads_of_own_writes']} of them by the key's writer, {evidence['reads_again']} by a session "
            f"that had read the key; the longest lag was {case.longest_lag_s():.3f} s{bound}"
        )
        return Verdict(self.name, Outcome.VALID, summary, evidence)

    def _too_little(self, history: History, case: _Case) -> list[str]:
        """Which least evidence is missing."""
        missing = []
        if case.owing.sum() < self.min_reads:
            missing.append(
                f"only {case.owing.sum()} reads could have shown an older version than was acknowledged, "
                f"at least {self.min_reads} are needed"
            )
        for what, mask in (
            ("of a key by its own writer", case.own),
            ("of a key by a session that had read it", case.again),
        ):
            if not mask.any():
                missing.append(f"no read {what} could have gone back")
        injections = [at for fault in history.faults() if (at := fault.at("inject")) is not None]
        if injections and not (case.owing & (case.found.began_ns >= min(injections))).any():
            missing.append("no such read began after the first injection")
        return missing


def consistency(lag_s_max: float | None = None, min_reads: int = 20) -> Consistency:
    """Reads of versioned keys never go back in time, nor make anything up.

    The session guarantees of Terry et al., "Session guarantees for weakly consistent replicated data" (1994), for
    keys of one writer each: a writer reads its own acknowledged writes, and nobody who has read a version reads
    an older one later; as a writer's versions are in the order of its writes, that holds monotonic writes too. Also
    INVALID: a version that was never written, that was read before it was sent, or whose write certainly failed.
    A write that nobody knows the end of may be read, and need not be.

    Args:
        lag_s_max: how long after its acknowledgement a version may be missing from anybody's reads, in seconds; 0: not
            at all. None: only reported.
        min_reads: reads needed of keys that had an acknowledged version, so that going back would have shown.
    """
    return Consistency(lag_s_max, min_reads)


class _Case:
    """The reads of one history, sorted by what is wrong with them."""

    def __init__(self, history: History, found: Registers, lag_s_max: float | None) -> None:
        self.history = history
        self.found = found
        self.owed = owed(found)
        self.seen = seen_before(found)
        self.lag_ns = lag_ns(found)
        self.owing: Mask = self.owed != ABSENT
        """Reads that an answer without what was acknowledged would have betrayed."""
        self.own: Mask = self.owing & self._by_writer()
        self.again: Mask = self.seen != ABSENT
        late = np.zeros_like(self.owing) if lag_s_max is None else self.lag_ns > lag_s_max * NS_PER_S
        never, early, failed = unwritten(found)
        self.kinds: dict[str, Mask] = {
            "did not read their own acknowledged write": self.own & (found.read_version < self.owed),
            "went back to an older version than the same session had read": found.read_version < self.seen,
            "lacked a version longer than allowed after its acknowledgement": late,
            "were of a version that was not sent yet": early,
            "were of a version whose write had failed": failed,
            "were of a version that was never written": never,
        }

    def _by_writer(self) -> Mask:
        """Reads by the session that writes the key."""
        writer = np.full(len(self.found.keys), -1, np.int64)
        writer[self.found.write_key] = self.found.write_session
        return np.equal(writer[self.found.read_key], self.found.read_session)

    def doubts(self) -> list[str]:
        """Why the versions' order says nothing, a sentence each."""
        doubts = []
        for keys, why in (
            (foreign_keys(self.found), "more than one session wrote"),
            (unordered_keys(self.found), "the versions did not rise with every write of"),
        ):
            if keys:
                doubts.append(f"{why} {', '.join(map(repr, keys[:EXAMPLES_MAX]))}, so their order is not known")
        return doubts

    def findings(self, *, complete: bool) -> list[str]:
        """The offending reads, the first of each kind in words; none where the versions' order is not known."""
        if self.doubts():
            return []
        if not complete:  # a write that was not recorded may have been sent all the same
            self.kinds.pop("were of a version that was never written")
        return [self._text(place) for mask in self.kinds.values() for place in np.flatnonzero(mask)[:EXAMPLES_MAX]]

    def counts(self) -> str:
        """How many reads were wrong in which way, and the first of all of them."""
        parts = [f"{np.count_nonzero(mask)} reads {text}" for text, mask in self.kinds.items() if mask.any()]
        first = int(np.flatnonzero(np.logical_or.reduce(list(self.kinds.values())))[0])
        return f"{'; '.join(parts)}; the first: {self._text(first)}"

    def _text(self, place: int) -> str:
        found, ops = self.found, self.found.operations
        row = int(found.read_rows[place])
        process = ops.processes[ops.process[row]]
        should = int(max(self.owed[place], self.seen[place]))
        read = int(found.read_version[place])
        told = "nothing" if read == ABSENT else f"version {read}"
        why = []
        if self.owed[place] > read:
            late_s = self.lag_ns[place] / NS_PER_S
            why.append(f"a newer one had been acknowledged {late_s:.3f} s before, by then version {self.owed[place]}")
        if self.seen[place] > read:
            why.append(f"it had read version {self.seen[place]} before")
        if should <= read:
            why.append("of which no write that could have happened is known")
        key = found.keys[int(found.read_key[place])]
        at = moment(self.history, int(ops.invoke_ns[row]))
        return f"{process} read {told} of {key!r} {at}: {', and '.join(why)}"

    def longest_lag_s(self) -> float:
        """The longest time by which an answer was behind what was acknowledged."""
        return float(self.lag_ns.max() / NS_PER_S) if len(self.lag_ns) else 0.0

    def evidence(self) -> dict[str, Json]:
        """The counts."""
        found = self.found
        behind: Ints = np.sort(self.lag_ns[self.lag_ns > 0])
        return {
            "keys": len(found.keys),
            "writes": len(found.write_rows),
            "writes_acknowledged": int(found.acknowledged.sum()),
            "reads": len(found.read_rows),
            "reads_owing": int(self.owing.sum()),
            "reads_of_own_writes": int(self.own.sum()),
            "reads_again": int(self.again.sum()),
            "reads_behind": len(behind),
            "longest_lag_ms": float(behind[-1] / NS_PER_MS) if len(behind) else 0.0,
        }
