"""What a checker is and what it says."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Protocol

from chaos.history import History, Json


class Outcome(StrEnum):
    """The three values of a verdict; only VALID passes. INVALID > UNKNOWN > VALID when they are combined."""

    VALID = "VALID"
    UNKNOWN = "UNKNOWN"
    INVALID = "INVALID"


_SEVERITY = {Outcome.VALID: 0, Outcome.UNKNOWN: 1, Outcome.INVALID: 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One checker's judgement of one history.

    ``summary`` is a sentence for a person that names the culprit; ``evidence`` holds the counts and figures the
    judgement rests on, units in the names; ``findings`` are the offending operations or objects, a sentence each.
    """

    checker: str
    outcome: Outcome
    summary: str
    evidence: dict[str, Json] = field(default_factory=dict)
    findings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The verdict as plain JSON values."""
        return asdict(self) | {"outcome": str(self.outcome), "findings": list(self.findings)}


class Checker(Protocol):
    """Judges one guarantee: a pure function of a history."""

    @property
    def name(self) -> str:
        """The guarantee's name, as in the report."""

    def check(self, history: History) -> Verdict:
        """The verdict on a whole history."""


def worst(verdicts: Iterable[Verdict]) -> Outcome:
    """The verdicts combined; no verdict at all is UNKNOWN."""
    return max((v.outcome for v in verdicts), key=_SEVERITY.__getitem__, default=Outcome.UNKNOWN)


def judge(history: History, checkers: Iterable[Checker]) -> list[Verdict]:
    """What each checker says. A cut-off history can only be INVALID or UNKNOWN; a checker that crashes says UNKNOWN."""
    cut_off = history.cut_off()
    verdicts = []
    for checker in checkers:
        try:
            verdict = checker.check(history)
        except Exception as error:  # noqa: BLE001 - a checker's defect must neither pass nor hide the other verdicts
            trace = "".join(traceback.format_exception(error))
            verdict = Verdict(checker.name, Outcome.UNKNOWN, f"the checker crashed: {error!r}", {"traceback": trace})
        if cut_off and verdict.outcome is Outcome.VALID:
            verdict = Verdict(
                verdict.checker,
                Outcome.UNKNOWN,
                f"the history is not whole ({'; '.join(cut_off)}); what is there says: {verdict.summary}",
                verdict.evidence,
                verdict.findings,
            )
        verdicts.append(verdict)
    return verdicts
