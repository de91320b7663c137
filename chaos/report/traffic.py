"""The load in bins: how many requests met which fate when, and how long they took.

A request stands where the schedule wanted it (``intended_ns``), not where its answer came: an outage then shows where
it was, and latency contains the wait for a free connection (otherwise a stalled client hides the stall: Gil Tene,
"How NOT to Measure Latency", coordinated omission).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chaos.history import History
from chaos.operations import FATES, OPEN, Ints

MAX_BINS = 1800
_LEAST_PER_BIN = 10
_FEWEST_BINS = 20
_MAX_TEXT = 140
_WIDTHS_MS = (100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000)


@dataclass(frozen=True)
class Requests:
    """Columns of a history's requests: wanted when (ns), ended how (an index of FATES), after how long (ns; -1: never).

    ``errors`` maps a request's row to its error's text.
    """

    wanted_ns: Ints
    fate: npt.NDArray[np.int8]
    latency_ns: Ints
    errors: dict[int, str]


def requests_of(history: History) -> Requests:
    """A history's operations. One that was never answered is ``info``."""
    ops = history.operations
    latency = np.where(ops.end_ns == OPEN, -1, np.maximum(0, ops.end_ns - ops.intended_ns))
    errors = {row: text[:_MAX_TEXT] for row, text in ops.errors.items() if text}
    return Requests(ops.intended_ns, ops.fate, latency, errors)


@dataclass(frozen=True)
class Bins:
    """Requests in bins of ``width_ns`` from ``start_ns`` on.

    ``counts`` has a row for each of FATES; the latencies (ns) are of ``ok`` requests, -1 where a bin has none.
    ``errors`` maps a bin to its commonest error.
    """

    start_ns: int
    width_ns: int
    counts: Ints
    p50_ns: Ints
    p99_ns: Ints
    max_ns: Ints
    errors: dict[int, str]


def bin_width_ns(extent_ns: int, requests: int) -> int:
    """The narrowest round width with at most MAX_BINS bins and about ten requests in each, so a quantile means much."""
    per_request = extent_ns / max(1, requests)
    wanted = max(extent_ns / (MAX_BINS - 2), min(per_request * _LEAST_PER_BIN, extent_ns / _FEWEST_BINS))
    for width_ms in _WIDTHS_MS:
        if width_ms * 1_000_000 >= wanted:
            return width_ms * 1_000_000
    return int(wanted) + 1


def bins_of(requests: Requests, zero_ns: int) -> Bins | None:
    """The requests in bins whose edges include ``zero_ns``; None where there is no request. Sorts once: O(n log n)."""
    total = len(requests.wanted_ns)
    if not total:
        return None
    first, last = int(requests.wanted_ns.min()), int(requests.wanted_ns.max())
    width = bin_width_ns(last - first, total)
    start = zero_ns + (first - zero_ns) // width * width
    size = (last - start) // width + 1
    place = (requests.wanted_ns - start) // width
    counts = np.stack([np.bincount(place[requests.fate == fate], minlength=size) for fate in range(len(FATES))])
    answered = (requests.fate == 0) & (requests.latency_ns >= 0)
    p50, p99, most = _quantiles(place[answered], requests.latency_ns[answered], size)
    return Bins(start, width, counts, p50, p99, most, _commonest(requests.errors, place))


def _quantiles(place: Ints, latency_ns: Ints, size: int) -> tuple[Ints, Ints, Ints]:
    """Median, 99th percentile and maximum of each bin, by the nearest-rank definition: always a latency that was."""
    order = np.lexsort((latency_ns, place))
    ordered = latency_ns[order]
    count = np.bincount(place, minlength=size)
    end = np.cumsum(count)
    begin = end - count
    columns = []
    for quantile in (0.5, 0.99, 1.0):
        rank = np.ceil(quantile * count).astype(np.int64) - 1
        column = np.full(size, -1, np.int64)
        full = count > 0
        column[full] = ordered[(begin + rank)[full]]
        columns.append(column)
    return columns[0], columns[1], columns[2]


def _commonest(errors: dict[int, str], place: Ints) -> dict[int, str]:
    by_bin: dict[int, Counter[str]] = {}
    for row, text in errors.items():
        by_bin.setdefault(int(place[row]), Counter())[text] += 1
    return {index: counter.most_common(1)[0][0] for index, counter in by_bin.items()}
