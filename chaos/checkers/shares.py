"""Which pods answered the clients, and how often while the same pods were ready."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from chaos.checkers.binomial import at_least, at_most
from chaos.checkers.evidence import moment
from chaos.checkers.ready_sets import FOR_EVER, Span, Stretch
from chaos.history import History, Json
from chaos.operations import OK, Ints, Mask, Operations


@dataclass(frozen=True, eq=False)
class Answers:
    """What clients asked in a window, in the order of asking; ``who`` and ``rows`` are of the answers with a name."""

    operations: Operations
    asked_ns: Ints
    nameless_ns: Ints
    """When each request was sent that nobody answered as he should, or without saying who he was."""
    rows: Ints
    who: Ints
    names: list[str]

    @classmethod
    def of(cls, operations: Operations, window: tuple[int, int]) -> Self:
        """The operations that were invoked in the window."""
        inside = np.flatnonzero((operations.invoke_ns >= window[0]) & (operations.invoke_ns < window[1]))
        inside = inside[np.argsort(operations.invoke_ns[inside], kind="stable")]
        codes: dict[str, int] = {}
        who = np.full(len(inside), -1, np.int64)
        for place in np.flatnonzero(operations.fate[inside] == OK).tolist():
            result = operations.results[inside[place]]
            name = result.get("pod") if isinstance(result, dict) else None
            if name is not None:
                who[place] = codes.setdefault(str(name), len(codes))
        named = who >= 0
        asked = operations.invoke_ns[inside]
        return cls(operations, asked, asked[~named], inside[named], who[named], list(codes))

    @property
    def sent_ns(self) -> Ints:
        """When each answer with a name was asked for."""
        return self.operations.invoke_ns[self.rows]

    @property
    def had_ns(self) -> Ints:
        """When it was there."""
        return self.operations.end_ns[self.rows]

    def first_by(self, name: str, since_ns: int) -> int | None:
        """When the first answer of a pod to a request sent since then was there; None where there is none."""
        if name not in self.names:
            return None
        mine = (self.who == self.names.index(name)) & (self.sent_ns >= since_ns)
        place = int(np.argmax(mine)) if mine.any() else -1
        return None if place < 0 else int(self.had_ns[place])

    def served(self) -> dict[str, int]:
        """How many answers each pod gave."""
        counts = np.bincount(self.who, minlength=len(self.names))
        return {name: int(counts[code]) for code, name in enumerate(self.names)}


def outside(spans: Iterable[Span], begin_ns: Ints, end_ns: Ints) -> Mask:
    """True for each window (begin, end) that meets none of the spans."""
    ordered = sorted(spans, key=lambda span: span.begin_ns)
    begins = np.array([span.begin_ns for span in ordered], np.int64)
    latest = np.concatenate([[-1], np.maximum.accumulate(np.array([span.end_ns for span in ordered], np.int64))])
    met: Mask = latest[np.searchsorted(begins, end_ns, side="right")] < begin_ns
    return met


@dataclass(frozen=True)
class Share:
    """How often each of the ready pods answered in a stretch; of ``unknown`` requests nobody knows who had them."""

    start_ns: int
    end_ns: int
    served: dict[str, int]
    unknown: int

    @property
    def asked(self) -> int:
        """Requests that went to one of these pods: by the Service's rules, for nobody else was there."""
        return sum(self.served.values()) + self.unknown

    def likelihood(self, name: str) -> tuple[float, float]:
        """How likely chance gives this pod so few, and so many, were every request as likely to go to each.

        The requests that nobody knows of are counted as is best for the pod: whoever had them, it was no likelier.
        """
        mine, chance = self.served[name], 1 / len(self.served)
        return at_most(mine + self.unknown, self.asked, chance), at_least(mine, self.asked, chance)

    def can_tell(self, limit: float) -> bool:
        """Whether a pod that got nothing would have been noticed."""
        return len(self.served) > 1 and at_most(self.unknown, self.asked, 1 / len(self.served)) <= limit

    def to_json(self, history: History) -> dict[str, Json]:
        """The row of the evidence."""
        return {
            "from": moment(history, self.start_ns),
            "lasted_s": round((self.end_ns - self.start_ns) / 1e9, 3),
            "served": dict(sorted(self.served.items())),
            "unknown": self.unknown,
        }


def shares(found: Iterable[Stretch], answers: Answers, settle_ns: int) -> list[Share]:
    """What was served in each stretch once its rules were in force.

    They are so for a pod that joined when it has answered for the first time, or else after the bound; for one that
    left after the bound, or when one that joined later has answered, for both stand in the same EndpointSlices. A
    first answer is a stopping time: what is drawn after it is as independent of it as before.
    """
    kept, in_force = [], 0
    answered: list[tuple[int, int]] = []
    for stretch in found:
        for name, lower, upper in stretch.joined:
            first = answers.first_by(name, lower)
            if first is not None:
                answered.append((lower, first + 1))
            in_force = max(in_force, min(upper + settle_ns, FOR_EVER if first is None else first + 1))
        known = [since for lower, since in answered if lower >= stretch.left_ns]
        left = min([stretch.left_ns + settle_ns, *known]) if stretch.left_ns else 0
        start = max(stretch.begin_ns, in_force, left)
        if start < stretch.end_ns:
            kept.append(_share(stretch, answers, start))
    return kept


def _share(stretch: Stretch, answers: Answers, start: int) -> Share:
    first, last = np.searchsorted(answers.sent_ns, [start, stretch.end_ns])
    counts = np.bincount(answers.who[first:last], minlength=len(answers.names))
    code = {name: place for place, name in enumerate(answers.names)}
    served = {name: int(counts[code[name]]) if name in code else 0 for name in stretch.members}
    unknown = int(np.diff(np.searchsorted(answers.nameless_ns, [start, stretch.end_ns]))[0])
    return Share(start, stretch.end_ns, served, unknown)
