"""What was acknowledged is there afterwards, once; what certainly failed is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chaos.checkers.evidence import (
    LOAD_PHASES,
    NS_PER_S,
    blind_spots,
    fault_doubt,
    fault_doubts,
    fault_text,
    load_window,
    longest_gap,
    lost_records,
    moment,
)
from chaos.checkers.ledger import Id, Ledger, Reading, Write, keep_ledger, read_back
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json
from chaos.operations import Ints

EXAMPLES_MAX = 5
"""How many writes of each kind a verdict spells out."""

CRASHES = {
    "kill_pod": "the death of a process (pod)",
    "kill_all_pods": "the death of a process (pod)",
    "rolling_update": "the death of a process (pod)",
    "scale": "the death of a process (pod)",
    "drain_node": "the loss of a node's processes",
    "pause_node": "the loss of a node's processes",
    "stop_node": "the loss of a node's processes",
}
"""The crash that each fault is, by the fault's name."""

NO_POWER_LOSS = "no loss of power was tried: the host's page cache lived on, so a write never synced may look durable"


@dataclass(frozen=True)
class Durability:
    """No acknowledged write is lost; see :func:`durability`."""

    min_acknowledged: int
    stale_ok: bool = False

    def __post_init__(self) -> None:
        if self.min_acknowledged < 1:
            raise ValueError(f"min_acknowledged must be at least 1, or nothing would pass: {self.min_acknowledged}")

    @property
    def name(self) -> str:
        """The guarantee's name."""
        return "durability"

    def check(self, history: History) -> Verdict:
        """INVALID where a write's fate is wrong, UNKNOWN where too little was written, disturbed or read back."""
        window = load_window(history)
        if window is None:
            return Verdict(self.name, Outcome.UNKNOWN, "the history has none of the load's phases")
        orphans = history.operations.orphans
        reading = read_back(history)
        ledger = keep_ledger(history.operations, reading)
        untold = lost_records(history, "op")
        untold += blind_spots(history, history.sources_of("op"), *window)
        untold += [f"{orphans} operations ended without an invocation that was open"] if orphans else []
        findings = _findings(history, ledger, bool(untold), self.stale_ok)
        survived = _survived(history)
        gap_ns, gap_from_ns = _write_gap(ledger, window)
        evidence = self._evidence(history, ledger, reading) | {
            "longest_write_gap_s": gap_ns / NS_PER_S,
            "longest_write_gap_from": moment(history, gap_from_ns),
            "survived": survived,
        }
        crash = f"; the crash: {survived}; {NO_POWER_LOSS}" if survived else ""
        if findings:
            text = _counts(history, ledger) + crash
            return Verdict(self.name, Outcome.INVALID, text, evidence, tuple(findings))
        doubts = list(dict.fromkeys(reading.flaws + self._too_little(history, ledger, bool(reading.flaws)) + untold))
        doubts += fault_doubts(history)
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence)
        summary = (
            f"all {len(ledger.acknowledged_ns)} acknowledged writes were read back once, {_before(history, ledger)} of "
            f"them acknowledged before the fault; of {ledger.indeterminate} indeterminate ones {ledger.recovered} are "
            f"there; {_looked_up(ledger)}; the longest time without an acknowledged write was "
            f"{gap_ns / NS_PER_S:.2f} s, from {moment(history, gap_from_ns)} on{crash}"
        )
        return Verdict(self.name, Outcome.VALID, summary, evidence)

    def _too_little(self, history: History, ledger: Ledger, flawed: bool) -> list[str]:
        """Which least evidence is missing."""
        missing = []
        if len(ledger.acknowledged_ns) < self.min_acknowledged:
            missing.append(
                f"only {len(ledger.acknowledged_ns)} writes were acknowledged, "
                f"at least {self.min_acknowledged} are needed"
            )
        if not _before(history, ledger):
            missing.append("no write was acknowledged before the fault")
        if ledger.reused:
            missing.append(f"{len(ledger.reused)} ids were written more than once, such as {_ids(ledger.reused)}")
        if len(ledger.never_read) and not flawed:
            missing.append(
                f"{len(ledger.never_read)} writes were acknowledged after the verifying read began and are not in it"
            )
        if ledger.unexpected:
            missing.append(f"{len(ledger.unexpected)} ids were read that no record says were written")
        return missing

    def _evidence(self, history: History, ledger: Ledger, reading: Reading) -> dict[str, Json]:
        return {
            "min_acknowledged": self.min_acknowledged,
            "acknowledged": len(ledger.acknowledged_ns),
            "acknowledged_before_fault": _before(history, ledger),
            "stable": ledger.stable,
            "lookups": ledger.lookups,
            "stale": len(ledger.stale),
            "stale_ok": self.stale_ok,
            "lost": len(ledger.lost),
            "lost_by_phase": _by_phase(history, ledger.ends_ns(ledger.lost)),
            "lost_first": [_row(history, write) for write in ledger.writes(ledger.lost, EXAMPLES_MAX)],
            "lost_last": [_row(history, write) for write in ledger.writes(ledger.lost[-1:], 1)],
            "duplicated": len(ledger.duplicated),
            "never_read": len(ledger.never_read),
            "failed": ledger.failed,
            "resurrected": len(ledger.resurrected),
            "indeterminate": ledger.indeterminate,
            "indeterminate_recovered": ledger.recovered,
            "indeterminate_not_recovered": ledger.indeterminate - ledger.recovered,
            "unexpected": len(ledger.unexpected),
            "read_ids": reading.total,
            "read_pages": len(reading.pages),
            "read_took_s": (reading.end_ns - reading.begin_ns) / NS_PER_S,
        }


def durability(min_acknowledged: int = 50, stale_ok: bool = False) -> Durability:
    """Every write acknowledged before the verifying read is in it once, and no write that failed; see the evidence.

    Deletes do not exist yet. A write that nobody knows the end of counts neither way. The verdict names the crash that
    was survived, which is never a loss of power. A failed or partial verifying read is UNKNOWN, never a loss.

    Args:
        min_acknowledged: acknowledged writes needed in all, so that none lost means something.
        stale_ok: an acknowledged write may be missing from a later read and come back, as replicas may have it.
    """
    return Durability(min_acknowledged, stale_ok)


def _findings(history: History, ledger: Ledger, untold: bool, stale_ok: bool) -> list[str]:
    """What is wrong, the first writes of each kind in words; what was never invoked, only where all was recorded."""
    found = [
        f"{write.id!r} is lost: {write.process} had it acknowledged {moment(history, write.end_ns)}"
        for write in ledger.writes(ledger.lost, EXAMPLES_MAX)
    ]
    if not stale_ok:
        found += _stale(history, ledger)
    found += [f"{write.id!r} was read more than once" for write in ledger.writes(ledger.duplicated, EXAMPLES_MAX)]
    found += [
        f"{write.id!r} is there although its write failed {moment(history, write.end_ns)} ({write.process})"
        for write in ledger.writes(ledger.resurrected, EXAMPLES_MAX)
    ]
    if not untold:
        found += [f"{name!r} was read, but never written" for name in ledger.unexpected[:EXAMPLES_MAX]]
    return found


def _stale(history: History, ledger: Ledger) -> list[str]:
    """The first writes that a later read did not find, a sentence each."""
    ops = ledger.operations
    return [
        f"{write.id!r} was not found {moment(history, int(ops.invoke_ns[lookup]))}, although {write.process} had it "
        f"acknowledged {(int(ops.invoke_ns[lookup]) - write.end_ns) / NS_PER_S:.2f} s before"
        for write, lookup in zip(ledger.writes(ledger.stale, EXAMPLES_MAX), ledger.missed.tolist(), strict=False)
    ]


def _looked_up(ledger: Ledger) -> str:
    missed = f" ({len(ledger.stale)} writes were missed for a while)" if len(ledger.stale) else ""
    return f"{ledger.lookups} reads in between asked for one of them{missed}"


def _counts(history: History, ledger: Ledger) -> str:
    """The wrong fates counted, and when the first lost write was acknowledged."""
    parts = []
    if len(ledger.lost):
        first, last = ledger.writes(ledger.lost[[0, -1]], 2)
        parts.append(
            f"{len(ledger.lost)} of {len(ledger.acknowledged_ns)} acknowledged writes are lost: the first, "
            f"{first.id!r}, was acknowledged {moment(history, first.end_ns)}, the last, {last.id!r}, "
            f"{moment(history, last.end_ns)}"
        )
    for count, text in (
        (len(ledger.stale), "were not found by a read that came after their acknowledgement"),
        (len(ledger.duplicated), "were read more than once"),
        (len(ledger.resurrected), "are there although they failed"),
        (len(ledger.unexpected), "were read but never written"),
    ):
        if count:
            parts.append(f"{count} ids {text}")
    return "; ".join(parts)


def _before(history: History, ledger: Ledger) -> int:
    """How many writes were acknowledged before the first injection."""
    injections = [at for fault in history.faults() if (at := fault.at("inject")) is not None]
    return int(np.searchsorted(ledger.acknowledged_ns, min(injections))) if injections else 0


def _survived(history: History) -> str:
    """The crashes that took effect, in words; empty where none did."""
    window = load_window(history)
    hit = [fault for fault in history.faults() if fault_doubt(fault, window) is None]
    kinds: dict[str, list[str]] = {}
    for fault in hit:
        kinds.setdefault(CRASHES.get(fault.name, "no crash known to this checker"), []).append(fault_text(fault))
    return "; ".join(f"{crash}, by {', '.join(texts)}" for crash, texts in kinds.items())


def _write_gap(ledger: Ledger, window: tuple[int, int]) -> tuple[int, int]:
    begin, end = window
    ended = ledger.acknowledged_ns
    return longest_gap(ended[(begin <= ended) & (ended <= end)], begin, end)


def _by_phase(history: History, ends_ns: Ints) -> dict[str, Json]:
    """How many of these times, in order, lie in each of the load's phases."""
    spans = {name: span for name in LOAD_PHASES if (span := history.phase(name)) is not None}
    return {
        name: int(np.searchsorted(ends_ns, end) - np.searchsorted(ends_ns, begin))
        for name, (begin, end) in spans.items()
    }


def _row(history: History, write: Write) -> dict[str, Json]:
    return {"id": write.id, "acknowledged": moment(history, write.end_ns), "process": write.process}


def _ids(names: set[Id]) -> str:
    return ", ".join(sorted(map(repr, names))[:EXAMPLES_MAX])
