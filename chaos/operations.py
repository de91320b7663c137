"""The clients' operations of a history as columns: a row each, in the order of their invocation.

A run of half an hour has a million of them. A row of columns costs a tenth of what two records do, and a checker goes
over all of them in a moment.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

OK, FAIL, INFO = 0, 1, 2
FATES = ("ok", "fail", "info")
"""How an operation may end; a column ``fate`` holds the place in here."""

OPEN = -1
"""``end_ns`` of an operation that never ended."""

_SHARED_MAX = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Operations:
    """All operations; every column has a row for each. Times are monotonic ns.

    ``fate`` is one of OK, FAIL, INFO; what never ended is INFO, and its ``end_ns`` is OPEN. ``intended_ns`` is when the
    schedule wanted it, or else when it was invoked. ``source``, ``process`` and ``f`` are places in ``sources``,
    ``processes`` and ``fs``. ``values`` is what was sent, ``results`` what the end said (equal ones are one object, not
    to be changed), ``errors`` the error by row. ``orphans``: how many records fit no operation: ends of what was not
    open, and invocations under an id that was taken.
    """

    invoke_ns: Ints
    end_ns: Ints
    intended_ns: Ints
    fate: npt.NDArray[np.int8]
    source: npt.NDArray[np.int32]
    process: npt.NDArray[np.int32]
    f: npt.NDArray[np.int32]
    sources: tuple[str, ...]
    processes: tuple[Any, ...]
    fs: tuple[str, ...]
    ids: list[Any]
    values: list[Any]
    results: list[Any]
    errors: dict[int, str]
    orphans: int

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, f: str) -> Ints:
        """The rows that asked for ``f``, in order."""
        return np.flatnonzero(self.asks(f))

    def asks(self, f: str) -> Mask:
        """True where a row asked for ``f``."""
        return np.equal(self.f, self.fs.index(f) if f in self.fs else -1)

    def error(self, row: int) -> str:
        """How an operation that was not answered ended, in words."""
        if self.end_ns[row] == OPEN:
            return "still open at the end"
        return f"{FATES[self.fate[row]]}: {self.errors.get(row)}"

    def name(self, row: int) -> str:
        """An operation as a verdict names it."""
        process = self.processes[self.process[row]]
        return (
            f"{self.fs[self.f[row]]} (operation {self.ids[row]} of {self.sources[self.source[row]]}, process {process})"
        )

    def steps(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """(time, source, fields) of each invocation and each end, in time order, as they were recorded."""
        ends = np.flatnonzero(self.end_ns != OPEN)
        rows = np.concatenate([np.arange(len(self)), ends])
        times = np.concatenate([self.invoke_ns, self.end_ns[ends]])
        for place in np.argsort(times, kind="stable").tolist():
            row, is_end = int(rows[place]), place >= len(self)
            fields = {
                "process": self.processes[self.process[row]],
                "op": self.ids[row],
                "f": self.fs[self.f[row]],
            }
            if is_end:
                kind = FATES[self.fate[row]]
                fields = {"type": kind, **fields, "value": self.results[row], "error": self.errors.get(row)}
            else:
                intended = int(self.intended_ns[row])
                fields = {"type": "invoke", **fields, "value": self.values[row], "intended_ns": intended}
            yield int(times[place]), self.sources[self.source[row]], fields


class OperationsBuilder:
    """Takes operations' records in file order and joins each end to its invocation."""

    def __init__(self) -> None:
        self._invoke, self._end, self._intended = array("q"), array("q"), array("q")
        self._fate, self._source, self._process, self._f = array("b"), array("i"), array("i"), array("i")
        self._sources: dict[Any, int] = {}
        self._processes: dict[Any, int] = {}
        self._fs: dict[Any, int] = {}
        self._ids: list[Any] = []
        self._values: list[Any] = []
        self._results: list[Any] = []
        self._errors: dict[int, str] = {}
        self._open: dict[tuple[str, Any], int] = {}
        self._shared: dict[bytes, Any] = {}
        self._texts: dict[str, str] = {}
        self._orphans = 0

    def add(self, time_ns: int, source: str, data: dict[str, Any]) -> None:
        """Take in one record of kind ``op``; KeyError or TypeError where its fields are none of an operation."""
        step, op = data["type"], data["op"]
        key = (source, op)
        if step == "invoke":
            row = len(self._values)
            self._open[key] = row
            intended = data.get("intended_ns")
            self._invoke.append(time_ns)
            self._end.append(OPEN)
            self._intended.append(time_ns if intended is None else intended)
            self._fate.append(INFO)
            self._source.append(self._sources.setdefault(source, len(self._sources)))
            process = data.get("process")
            self._process.append(self._processes.setdefault(process, len(self._processes)))
            f = data.get("f")
            self._f.append(self._fs.setdefault(f, len(self._fs)))
            self._ids.append(op)
            self._values.append(self._one(data.get("value")))
            self._results.append(None)
            return
        place = self._open.pop(key, None)
        if place is None:
            self._orphans += 1
            return
        self._fate[place] = _FATE[step]
        self._end[place] = time_ns
        value = data.get("value")
        self._results[place] = self._values[place] if value == self._values[place] else self._one(value)
        error = data.get("error")
        if error is not None:
            self._errors[place] = self._texts.setdefault(str(error), str(error))

    def done(self) -> Operations:
        """The columns; the builder is not to be used any more."""
        self._open.clear()
        self._shared.clear()
        return Operations(
            _column(self._invoke, np.int64),
            _column(self._end, np.int64),
            _column(self._intended, np.int64),
            _column(self._fate, np.int8),
            _column(self._source, np.int32),
            _column(self._process, np.int32),
            _column(self._f, np.int32),
            tuple(self._sources),
            tuple(self._processes),
            tuple(self._fs),
            self._ids,
            self._values,
            self._results,
            self._errors,
            self._orphans + self._taken_ids(),
        )

    def _taken_ids(self) -> int:
        """How many invocations came under an id that another one of their source had."""
        if not all(type(op) is int for op in self._ids):
            return len(self._ids) - len(set(zip(self._source, self._ids, strict=True)))
        ids, source = np.array(self._ids, dtype=np.int64), np.array(self._source, dtype=np.int32)
        order = np.lexsort((ids, source))
        return int(np.count_nonzero((np.diff(ids[order]) == 0) & (np.diff(source[order]) == 0)))

    def _one(self, value: Any) -> Any:
        """The one object for all lists or objects that are equal; long ones and too many are not looked for."""
        if not isinstance(value, dict | list):
            return value
        text = orjson.dumps(value)
        found = self._shared.get(text)
        if found is None:
            if len(text) > 200 or len(self._shared) >= _SHARED_MAX:
                return value
            found = self._shared[text] = value
        return found


_FATE = {name: place for place, name in enumerate(FATES)}


def _column(values: array[int], kind: type[Scalar]) -> npt.NDArray[Scalar]:
    column = np.array(values, dtype=kind)
    column.flags.writeable = False
    return column
