"""Tails of the binomial distribution: how likely it is that chance alone gave so few, or so many."""

from __future__ import annotations

import math

_ENOUGH = 1e-17
"""Terms below this share of what is summed up already change nothing in double precision."""


def at_most(count: int, trials: int, chance: float) -> float:
    """P(X <= count) for X successes in as many trials, each with this chance; 1.0 where count is not below the mean."""
    if count < 0:
        return 0.0
    if count >= trials * chance:
        return 1.0
    term = _log_term(count, trials, chance)
    total, ratio, odds = 1.0, 1.0, (1 - chance) / chance
    for k in range(count, 0, -1):  # below the mean each term is smaller than the one above it
        ratio *= k / (trials - k + 1) * odds
        total += ratio
        if ratio < total * _ENOUGH:
            break
    return min(1.0, math.exp(term + math.log(total)))


def at_least(count: int, trials: int, chance: float) -> float:
    """P(X >= count), likewise; 1.0 where count is not above the mean."""
    return at_most(trials - count, trials, 1 - chance)


def _log_term(count: int, trials: int, chance: float) -> float:
    """The logarithm of P(X = count)."""
    ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return ways + count * math.log(chance) + (trials - count) * math.log1p(-chance)
