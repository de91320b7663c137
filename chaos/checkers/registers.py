"""Reads and writes of versioned keys as columns, and what each read should have known.

A key is written by one process, one version after another, so that versions and time agree. Then a read's answer can be
placed in time: it shows the version it names, and every version acknowledged before the read began is owed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chaos.operations import FAIL, OK, OPEN, Ints, Mask, Operations

ABSENT = -1
"""The version of a key that a read did not find, or that nothing was acknowledged of."""


@dataclass(frozen=True)
class Registers:
    """Answered reads and all writes of versioned keys: columns; times in ns, ``rows`` are those of the operations.

    ``session`` is whose operation it is, a code for each (source, process). ``key`` is a place in ``keys``.
    """

    operations: Operations
    keys: list[Any]
    read_rows: Ints
    read_key: Ints
    read_version: Ints
    read_session: Ints
    write_rows: Ints
    write_key: Ints
    write_version: Ints
    write_session: Ints

    @property
    def began_ns(self) -> Ints:
        """When each read began."""
        return self.operations.invoke_ns[self.read_rows]

    @property
    def acknowledged(self) -> Mask:
        """Which writes were acknowledged."""
        return np.equal(self.operations.fate[self.write_rows], OK)


def registers_of(operations: Operations) -> Registers:
    """The versioned reads and writes among the operations; other operations, and reads not answered, are left out."""
    codes: dict[Any, int] = {}
    reads = _columns(operations, operations.rows("read"), operations.results, codes, only_ok=True)
    writes = _columns(operations, operations.rows("write"), operations.values, codes, only_ok=False)
    sessions = operations.source.astype(np.int64) * max(1, len(operations.processes)) + operations.process
    return Registers(operations, list(codes), *reads, sessions[reads[0]], *writes, sessions[writes[0]])


def _columns(
    ops: Operations, rows: Ints, told: list[Any], codes: dict[Any, int], *, only_ok: bool
) -> tuple[Ints, Ints, Ints]:
    """(rows, key codes, versions) of the rows whose value tells a key."""
    if only_ok:
        rows = rows[ops.fate[rows] == OK]
    kept, keys, versions = [], [], []
    for row in rows.tolist():
        value = told[row]
        if isinstance(value, dict) and "key" in value:
            kept.append(row)
            keys.append(codes.setdefault(value["key"], len(codes)))
            version = value.get("version")
            versions.append(ABSENT if version is None else version)
    return np.array(kept, np.int64), np.array(keys, np.int64), np.array(versions, np.int64)


def foreign_keys(found: Registers) -> list[Any]:
    """Keys that more than one session wrote: nothing can be said of their versions' order."""
    pairs = np.unique(np.stack([found.write_key, found.write_session]), axis=1)
    owners = np.bincount(pairs[0], minlength=len(found.keys))
    return [found.keys[code] for code in np.flatnonzero(owners > 1).tolist()]


def unordered_keys(found: Registers) -> list[Any]:
    """Keys whose versions did not rise with every write."""
    order = np.lexsort((found.operations.invoke_ns[found.write_rows], found.write_key))
    key, version = found.write_key[order], found.write_version[order]
    bad = (np.diff(key) == 0) & (np.diff(version) <= 0)
    return [found.keys[code] for code in np.unique(key[1:][bad]).tolist()]


def owed(found: Registers) -> Ints:
    """For each read the highest version of its key that was acknowledged before it began, or ABSENT."""
    done = found.acknowledged
    return _latest_before(
        found.write_key[done],
        found.operations.end_ns[found.write_rows][done],
        found.write_version[done],
        found.read_key,
        found.began_ns,
    )


def seen_before(found: Registers) -> Ints:
    """For each read the highest version of its key that its own session had read before it began, or ABSENT."""
    _, lane = np.unique(found.read_session * max(1, len(found.keys)) + found.read_key, return_inverse=True)
    ends = found.operations.end_ns[found.read_rows]
    return _latest_before(lane, ends, found.read_version, lane, found.began_ns)


def lag_ns(found: Registers) -> Ints:
    """For each read how long before it a version newer than its answer was first acknowledged; 0 where none was."""
    done = np.flatnonzero(found.acknowledged)
    order = done[np.lexsort((found.write_version[done], found.write_key[done]))]
    ended = found.operations.end_ns[found.write_rows][order]
    span = _span(found.write_version, found.read_version)
    place = np.searchsorted(
        found.write_key[order] * span + found.write_version[order],
        found.read_key * span + found.read_version,
        side="right",
    )
    inside = place < len(order)
    at = np.minimum(place, max(0, len(order) - 1))
    if not len(order):
        return np.zeros(len(found.read_rows), np.int64)
    newer = inside & (found.write_key[order][at] == found.read_key)
    return np.where(newer, np.maximum(0, found.began_ns - ended[at]), 0)


def first_told(found: Registers, version_of: Ints) -> Ints:
    """The place among the writes of each read's key and this version; -1 where there is no such write."""
    order = np.lexsort((found.write_version, found.write_key))
    span = _span(found.write_version, version_of)
    names = found.write_key[order] * span + found.write_version[order]
    wanted = found.read_key * span + version_of
    place = np.searchsorted(names, wanted)
    at = np.minimum(place, max(0, len(order) - 1))
    if not len(order):
        return np.full(len(wanted), -1, np.int64)
    return np.where((place < len(order)) & (names[at] == wanted), order[at], -1)


def unwritten(found: Registers) -> tuple[Mask, Mask, Mask]:
    """Reads of what was never written; of what had not been sent when they ended; of what had certainly failed."""
    write = first_told(found, found.read_version)
    there = found.read_version != ABSENT
    never = there & (write < 0)
    if not len(found.write_rows):
        return never, np.zeros_like(never), np.zeros_like(never)
    ops = found.operations
    row = found.write_rows[np.maximum(write, 0)]
    early = there & ~never & (ops.invoke_ns[row] > ops.end_ns[found.read_rows])
    failed = there & ~never & (ops.fate[row] == FAIL) & (ops.end_ns[row] != OPEN)
    return never, early, failed


def _latest_before(lane: Ints, at_ns: Ints, version: Ints, asked_lane: Ints, asked_ns: Ints) -> Ints:
    """For each question the highest version of its lane with a time before the question's; ABSENT where none has."""
    lanes = np.concatenate([lane, asked_lane])
    times = np.concatenate([at_ns, asked_ns])
    is_answer = np.concatenate([np.ones(len(lane), np.int64), np.zeros(len(asked_lane), np.int64)])
    order = np.lexsort((is_answer, times, lanes))  # at the same time a question comes first: nothing was before it
    span = _span(version)
    told = np.concatenate([version, np.full(len(asked_lane), ABSENT, np.int64)])
    highest = np.maximum.accumulate((lanes * span + told)[order]) if len(order) else np.zeros(0, np.int64)
    known = np.empty(len(order), np.int64)
    known[order] = highest - lanes[order] * span
    return known[len(lane) :]


def _span(*versions: Ints) -> int:
    """More than any two versions differ by, so that (key, version) becomes one number that sorts like the pair."""
    return 3 + max((int(each.max()) for each in versions if len(each)), default=0)
