"""The ledger of a run's writes: what was acknowledged, what was read back, and each element's fate.

The fates are those of Jepsen's set checkers: an element is stable, lost, stale or never read.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np

from chaos.checkers.evidence import blind_spots, fault_text, lost_records
from chaos.history import History
from chaos.operations import FAIL, INFO, OK, OPEN, Ints, Mask, Operations

Id = int | str


class Write(NamedTuple):
    """One insert: its id, when it ended (ns; of an open one: its invocation), and by whom."""

    id: Id
    end_ns: int
    process: str


@dataclass
class Reading:
    """The verifying read. ``flaws`` say why what it did not show may be there all the same, a sentence each."""

    begin_ns: int = 0
    end_ns: int = 0
    pages: dict[int, list[Id]] = field(default_factory=dict)
    flaws: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many ids it holds, each as often as it was read."""
        return sum(map(len, self.pages.values()))


@dataclass
class Ledger:
    """Every write by its fate. An acknowledged one is stable, stale, lost, never read, or duplicated.

    Where a fate has its rows, they are rows of the operations in the order of their ends.
    """

    operations: Operations
    acknowledged_ns: Ints
    """When each acknowledged write was, in order."""
    stable: int
    stale: Ints
    """Acknowledged, not found by a later lookup, and not lost: it was there again, or the verifying read is flawed."""
    missed: Ints
    """The first lookup that did not find it, for each of ``stale``."""
    lookups: int
    """Answered lookups of what had been acknowledged before; each could have missed it."""
    lost: Ints
    never_read: Ints
    duplicated: Ints
    resurrected: Ints
    failed: int
    indeterminate: int
    recovered: int
    """Indeterminate writes that were read back; they count neither way."""
    unexpected: list[Id]
    reused: set[Id]
    """Ids that were written more than once; nothing can be said of them."""

    def writes(self, rows: Ints, most: int) -> list[Write]:
        """The first writes of these rows."""
        ops = self.operations
        return [
            Write(ops.values[row], int(_ended_ns(ops, row)), str(ops.processes[ops.process[row]]))
            for row in rows[:most].tolist()
        ]

    def ends_ns(self, rows: Ints) -> Ints:
        """When the writes of these rows ended, in ns."""
        return _ended_ns(self.operations, rows)


def read_back(history: History) -> Reading:
    """The verifying read among the operations: those of phase verify that ask for everything."""
    reading, span, ops = Reading(), history.phase("verify"), history.operations
    asked = [row for row in ops.rows("read_all").tolist() if span and span[0] <= ops.invoke_ns[row] <= span[1]]
    answered = [row for row in asked if ops.end_ns[row] != OPEN and ops.fate[row] == OK]
    if not answered:
        errors = dict.fromkeys(_unanswered(ops, row) for row in asked)
        reading.flaws.append(
            f"the verifying read failed: {', '.join(errors)}"
            if asked
            else "no verifying read was made in the phase verify"
        )
        return reading
    reading.begin_ns = int(ops.invoke_ns[answered].min())
    reading.end_ns = int(ops.end_ns[answered].max())
    last: list[int] = []
    for value in (ops.results[row] for row in answered):
        page = int(value.get("page", 0))
        if page in reading.pages:
            reading.flaws.append(f"page {page} of the verifying read was answered twice")
            continue
        reading.pages[page] = value["ids"]
        if value.get("last", "page" not in value):
            last.append(page)
    if sorted(reading.pages) != list(range(len(reading.pages))) or last != [len(reading.pages) - 1]:
        pages = ", ".join(map(str, sorted(reading.pages)))
        reading.flaws.append(f"the verifying read is not whole: its pages are {pages}, and the last of all is {last}")
    readers = {ops.sources[ops.source[row]] for row in asked}
    reading.flaws += lost_records(history, "op", readers)
    reading.flaws += blind_spots(history, readers, reading.begin_ns, reading.end_ns)
    reading.flaws += _unhealed(history, reading.begin_ns)
    return reading


def keep_ledger(operations: Operations, reading: Reading) -> Ledger:
    """Sort all writes by what the verifying read says of them.

    A write is lost only where the read has no flaw and began after the acknowledgement; otherwise it was never read.
    """
    rows = operations.rows("insert")
    names = [operations.values[row] for row in rows.tolist()]
    place = dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))
    reused = {name for name, count in Counter(names).items() if count > 1} if len(place) < len(names) else set()
    found = [(name, place.get(name)) for name in chain.from_iterable(reading.pages.values())]
    times = np.bincount(np.array([at for _, at in found if at is not None], np.int64), minlength=len(names))
    once = np.array([name not in reused for name in names], bool) if reused else np.ones(len(names), bool)
    ends = operations.end_ns[rows]
    fate = np.where(ends == OPEN, INFO, operations.fate[rows])
    ends = np.where(ends == OPEN, operations.invoke_ns[rows], ends)
    ok, failed, info = (once & (fate == kind) for kind in (OK, FAIL, INFO))
    unread = ok & (times == 0)
    judged = (ends < reading.begin_ns) & (not reading.flaws)

    def those(mask: Mask) -> Ints:
        return rows[mask][np.argsort(ends[mask], kind="stable")]

    looked, missed = _lookups(operations, place, ok, ends)
    first_miss = dict(reversed(missed))
    stale = np.zeros(len(names), bool)
    stale[list(first_miss)] = True
    stale &= ~(unread & judged)
    stale_rows = those(stale)
    at_row = {int(rows[at]): lookup for at, lookup in first_miss.items()}
    return Ledger(
        operations,
        np.sort(ends[ok]),
        int(np.count_nonzero(ok & (times == 1) & ~stale)),
        stale_rows,
        np.array([at_row[row] for row in stale_rows.tolist()], np.int64),
        looked,
        those(unread & judged),
        those(unread & ~judged),
        those(once & (times > 1)),
        those(failed & (times > 0)),
        int(np.count_nonzero(failed)),
        int(np.count_nonzero(info)),
        int(np.count_nonzero(info & (times > 0))),
        list(dict.fromkeys(name for name, at in found if at is None)),
        reused,
    )


def _lookups(ops: Operations, place: dict[Id, int], ok: Mask, ends: Ints) -> tuple[int, list[tuple[int, int]]]:
    """How many lookups were owed their element, and (place of the write, row of the lookup) of those that missed it."""
    owed, missed = 0, []
    for row in ops.rows("lookup").tolist():
        at = place.get(ops.values[row])
        if at is None or ops.fate[row] != OK or not ok[at] or ends[at] >= ops.invoke_ns[row]:
            continue
        owed += 1
        if not ops.results[row]["found"]:
            missed.append((at, row))
    return owed, missed


def _ended_ns(ops: Operations, rows: Ints | int) -> Ints:
    return np.where(ops.end_ns[rows] == OPEN, ops.invoke_ns[rows], ops.end_ns[rows])


def _unanswered(ops: Operations, row: int) -> str:
    return "it was never answered" if ops.end_ns[row] == OPEN else str(ops.errors.get(row))


def _unhealed(history: History, begin_ns: int) -> list[str]:
    """Which faults were not healed when the verifying read began, a sentence each."""
    return [
        f"{fault_text(fault)} was not healed when the verifying read began"
        for fault in history.faults()
        if fault.at("inject") is not None and (fault.at("healed") or math.inf) > begin_ns
    ]
