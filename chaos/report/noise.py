"""Whether two sets of runs differ by more than runs differ among themselves.

Each run gives an interval for a figure: not below the first number, not above the second (None: never reached). One
run comes before another only where their intervals do not overlap; otherwise the two are tied. Counting, for every run,
those surely below it less those surely above it gives Gehan's scores (E. A. Gehan, "A generalized Wilcoxon test for
comparing arbitrarily singly-censored samples", Biometrika 52, 1965); where every interval is a point it is the test of
Mann and Whitney (1947). The chance of a sum of scores at least as far from zero is counted over all ways of
dealing the runs to the two sides, so that it is exact for few runs and for ties. Where several figures are compared the
chances are adjusted so that of the differences told, at most the share ``LEVEL`` is expected to be false (Y. Benjamini,
Y. Hochberg, "Controlling the false discovery rate", JRSS B 57, 1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float | None]
"""Not below the first, not above the second; None: it was never seen to end."""

LEVEL = 0.05
"""The share of told differences that may be false."""


def surely_below(one: Interval, other: Interval) -> bool:
    """True where every value of ``one`` is less than every value of ``other``."""
    return one[1] is not None and one[1] < other[0]


def scores(pool: Sequence[Interval]) -> list[int]:
    """For each run, how many others are surely below it less how many are surely above it; they add up to 0."""
    return [sum(surely_below(other, one) for other in pool) - sum(surely_below(one, other) for other in pool)
            for one in pool]  # fmt: skip


def chance(before: Sequence[Interval], after: Sequence[Interval]) -> float:
    """The two-sided chance of a difference at least this large if the sides did not differ; 1 where one is empty."""
    if not before or not after:
        return 1.0
    pool = scores([*before, *after])
    seen = abs(sum(pool[len(before) :]))
    sums, ways = _sums(pool, len(after))
    return float(ways[np.abs(sums) >= seen].sum() / ways.sum())


def _sums(pool: Sequence[int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every sum that ``size`` of the scores can have, and in how many ways; cost: runs x size x range of the sums."""
    reach = sum(sorted(map(abs, pool), reverse=True)[:size])
    ways = np.zeros((size + 1, 2 * reach + 1))
    ways[0, reach] = 1
    for score in pool:
        for taken in range(size, 0, -1):  # downwards, so that no run is taken twice
            shifted = np.roll(ways[taken - 1], score)
            ways[taken] += shifted
    return np.arange(-reach, reach + 1), ways[size]


def least_chance(before: int, after: int) -> float:
    """The smallest chance that so many runs can show: if it is above LEVEL no outcome could be told from noise."""
    return min(1.0, 2 / math.comb(before + after, after)) if before and after else 1.0


def adjusted(chances: Sequence[float]) -> list[float]:
    """Chances adjusted for their number, by Benjamini and Hochberg: told are those at or below LEVEL."""
    order = sorted(range(len(chances)), key=lambda place: chances[place], reverse=True)
    result = [1.0] * len(chances)
    least = 1.0
    for rank, place in zip(range(len(chances), 0, -1), order, strict=True):
        least = min(least, chances[place] * len(chances) / rank)
        result[place] = least
    return result
