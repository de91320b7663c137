"""Stretches of time, as (from, to) in monotonic ns; to is infinite where nobody saw the end."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable

from chaos.history import Record

Span = tuple[float, float]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The spans in time order, those that touch as one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def spans_told(records: Iterable[Record], sources: Collection[str]) -> list[Span]:
    """What records with ``from_ns`` and ``to_ns`` of these sources tell of: gaps, say."""
    return merged(
        (record["from_ns"], math.inf if record.get("to_ns") is None else record["to_ns"])
        for record in records
        if record.source in sources
    )


def overlaps(spans: list[Span], begin_ns: float, end_ns: float) -> bool:
    """Whether one of the merged spans has a moment from ``begin_ns`` to ``end_ns``, both included."""
    place = bisect_right(spans, (end_ns, math.inf))
    return place > 0 and spans[place - 1][1] >= begin_ns


def outside(span: Span, others: list[Span]) -> list[Span]:
    """What is left of a span without the merged others."""
    begin, end = span
    left = []
    for other_begin, other_end in others[max(0, bisect_right(others, (begin, math.inf)) - 1) :]:
        if other_begin >= end:
            break
        if other_begin > begin:
            left.append((begin, other_begin))
        begin = max(begin, other_end)
    return [*left, (begin, end)] if begin < end else left


def length_s(spans: Iterable[Span]) -> float:
    """How long the spans are together, in seconds."""
    return sum(end - begin for begin, end in spans) / 1e9
