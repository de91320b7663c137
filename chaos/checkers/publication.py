"""When what the watches told was published: between two reads of the store's revision.

A record's time is when its watch told it. The change itself was made at its ``version``, and a read of the revision
that was sent when the store had not come so far proves that it came later; one that was answered when it had, that it
came before (chaos.revision). Versions also order the changes of all watches among each other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from chaos.history import History, Record
from chaos.operations import Ints


@dataclass(frozen=True, slots=True)
class Published:
    """What a watch told, and the times in ns between which it was published."""

    record: Record
    lower_ns: int
    upper_ns: int


def published(history: History, kinds: Collection[str]) -> list[Published]:
    """Every record of objects of these kinds in the order of publication; upper ends never fall.

    Where a record has no version, as in older histories, the order is that of arrival and the lower end the watch's
    record before, which is sound but for the delay of the watch. Of what was found deleted after a gap it is known
    that it was there at the record before, and gone when it was told.
    """
    records = [record for record in history.of("object") if record["object"] in kinds]
    versions = [record.get("version") for record in records]
    if any(v is None and r["verb"] != "deleted" for v, r in zip(versions, records, strict=True)):
        return _as_told(history, records)
    told: Ints = np.maximum.accumulate(np.array([version or 0 for version in versions], np.int64))
    known = np.array([told[i] if v is None else v for i, v in enumerate(versions)], np.int64)
    order = np.argsort(known, kind="stable")
    exact = np.array([versions[i] is not None for i in order], bool)
    lower, upper = _between(history, records, order, known[order])
    # What came later was not published earlier: each interval narrows its neighbours'.
    upper[exact] = np.minimum.accumulate(upper[exact][::-1])[::-1]
    lower[exact] = np.maximum.accumulate(lower[exact])
    upper = np.maximum.accumulate(upper)
    return [Published(records[i], int(lower[p]), int(upper[p])) for p, i in enumerate(order)]


def _between(history: History, records: list[Record], order: Ints, versions: Ints) -> tuple[Ints, Ints]:
    """The ends of each record's interval by the reads alone; a record without a version has its own of the watch."""
    reads = history.of("revision")
    revisions = np.array([read["revision"] for read in reads], np.int64)
    if np.any(np.diff(revisions) < 0):  # the store was put back: its count orders nothing
        revisions, reads = revisions[:0], []
    first = np.searchsorted(revisions, versions)
    sent = np.array([history.begin_ns, *(read["send_ns"] for read in reads)], np.int64)
    answered = np.array([*(read["receive_ns"] for read in reads), np.iinfo(np.int64).max], np.int64)
    times = np.array([record.time_ns for record in records], np.int64)[order]
    lower, upper = np.minimum(sent[first], times), np.minimum(times, answered[first])
    before = _record_before(history, records)
    for place, index in enumerate(order):
        if records[index].get("version") is None:
            lower[place], upper[place] = before[index], times[place]
    return lower, upper


def _as_told(history: History, records: list[Record]) -> list[Published]:
    before = _record_before(history, records)
    return [Published(r, at, r.time_ns) for r, at in zip(records, before, strict=True)]


def _record_before(history: History, records: list[Record]) -> list[int]:
    """When each record's watch told something before; the history's begin where it had told nothing."""
    last: dict[str, tuple[int, int]] = {}
    found = []
    for record in records:
        earlier, latest = last.get(record.source, (history.begin_ns, history.begin_ns))
        if record.time_ns > latest:
            earlier, latest = latest, record.time_ns
        last[record.source] = (earlier, latest)
        found.append(earlier)
    return found
