"""The ledger of a run's writes: what was acknowledged, what was read back, and each element's fate.

The fates are those of Jepsen's set checker: an element is stable, lost or never read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from chaos.checkers.evidence import blind_spots, fault_text, lost_records
from chaos.history import History, Json, Record

Id = int | str
Operation = tuple[Record, Record | None]
"""An invocation and its end; None where it stayed open."""


class Write(NamedTuple):
    """One insert: what became of it (ok | fail | info), when (ns; of an open one: its invocation), and by whom."""

    id: Id
    fate: str
    end_ns: int
    process: str


@dataclass
class Reading:
    """The verifying read. ``flaws`` say why what it did not show may be there all the same, a sentence each."""

    begin_ns: int = 0
    end_ns: int = 0
    pages: dict[int, list[Id]] = field(default_factory=dict)
    times: Counter[Id] = field(default_factory=Counter)
    """How often each id was read."""
    flaws: list[str] = field(default_factory=list)


@dataclass
class Ledger:
    """Every write by its fate. An acknowledged one is stable, lost, never read, or duplicated."""

    acknowledged: list[Write] = field(default_factory=list)
    failed: int = 0
    stable: int = 0
    lost: list[Write] = field(default_factory=list)
    never_read: list[Write] = field(default_factory=list)
    duplicated: list[Write] = field(default_factory=list)
    resurrected: list[Write] = field(default_factory=list)
    indeterminate: int = 0
    recovered: int = 0
    """Indeterminate writes that were read back; they count neither way."""
    unexpected: list[Id] = field(default_factory=list)
    reused: set[Id] = field(default_factory=set)
    """Ids that were written more than once; nothing can be said of them."""


def read_back(history: History, operations: Iterable[Operation]) -> Reading:
    """The verifying read among the operations: those of phase verify that ask for everything."""
    reading, span = Reading(), history.phase("verify")
    asked = [(i, e) for i, e in operations if i["f"] == "read_all" and span and span[0] <= i.time_ns <= span[1]]
    answered = [(invoked, ended) for invoked, ended in asked if ended is not None and ended["type"] == "ok"]
    if not answered:
        errors = dict.fromkeys("it was never answered" if e is None else str(e.get("error")) for _, e in asked)
        reading.flaws.append(
            f"the verifying read failed: {', '.join(errors)}"
            if asked
            else "no verifying read was made in the phase verify"
        )
        return reading
    reading.begin_ns = min(invoked.time_ns for invoked, _ in answered)
    reading.end_ns = max(ended.time_ns for _, ended in answered)
    last: list[int] = []
    for _, ended in answered:
        page = int(ended["value"].get("page", 0))
        if page in reading.pages:
            reading.flaws.append(f"page {page} of the verifying read was answered twice")
            continue
        reading.pages[page] = ended["value"]["ids"]
        reading.times.update(ended["value"]["ids"])
        if ended["value"].get("last", "page" not in ended["value"]):
            last.append(page)
    if sorted(reading.pages) != list(range(len(reading.pages))) or last != [len(reading.pages) - 1]:
        pages = ", ".join(map(str, sorted(reading.pages)))
        reading.flaws.append(f"the verifying read is not whole: its pages are {pages}, and the last of all is {last}")
    readers = {invoked.source for invoked, _ in asked}
    reading.flaws += lost_records(history, "op", readers)
    reading.flaws += blind_spots(history, readers, reading.begin_ns, reading.end_ns)
    reading.flaws += _unhealed(history, reading.begin_ns)
    return reading


def keep_ledger(operations: Iterable[Operation], reading: Reading) -> Ledger:
    """Sort all writes by what the verifying read says of them.

    A write is lost only where the read has no flaw and began after the acknowledgement; otherwise it was never read.
    """
    ledger = Ledger()
    writes = _writes(operations, ledger.reused)
    for write in writes.values():
        times = reading.times[write.id]
        if write.fate == "ok":
            ledger.acknowledged.append(write)
            if times == 1:
                ledger.stable += 1
            elif times == 0:
                judged = not reading.flaws and write.end_ns < reading.begin_ns
                (ledger.lost if judged else ledger.never_read).append(write)
        elif write.fate == "fail":
            ledger.failed += 1
            if times:
                ledger.resurrected.append(write)
        else:
            ledger.indeterminate += 1
            ledger.recovered += times > 0
        if times > 1:
            ledger.duplicated.append(write)
    ledger.unexpected = [name for name in reading.times if name not in writes and name not in ledger.reused]
    for found in (ledger.acknowledged, ledger.lost, ledger.never_read, ledger.duplicated, ledger.resurrected):
        found.sort(key=lambda write: write.end_ns)
    return ledger


def _writes(operations: Iterable[Operation], reused: set[Id]) -> dict[Id, Write]:
    """The inserts by id, without those of ids that were ``reused``."""
    writes: dict[Id, Write] = {}
    for invoked, ended in operations:
        asked = invoked.data
        if asked["f"] != "insert":
            continue
        name: Json = asked["value"]
        if name in writes or name in reused:
            reused.add(name)
            writes.pop(name, None)
            continue
        fate, last = ("info", invoked) if ended is None else (str(ended.data["type"]), ended)
        writes[name] = Write(name, fate, last.time_ns, str(asked.get("process")))
    return writes


def _unhealed(history: History, begin_ns: int) -> list[str]:
    """Which faults were not healed when the verifying read began, a sentence each."""
    return [
        f"{fault_text(fault)} was not healed when the verifying read began"
        for fault in history.faults()
        if fault.at("inject") is not None and (fault.at("healed") or math.inf) > begin_ns
    ]
