"""What an experiment hands back to its scenario: a stored history, and the judging of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chaos.checkers import Checker, Outcome, Verdict, judge, quiescence, worst
from chaos.history import History
from chaos.report import ExperimentResult

MOST_FINDINGS = 5


class UnknownVerdictError(Exception):
    """Nobody can tell whether the promise was kept: an error in the report, never a pass."""


@dataclass
class Run:
    """One experiment's history, on disk in ``directory`` before this object exists."""

    scenario: str
    title: str
    experiment: str
    seed: int
    directory: Path
    history: History
    record: Callable[[ExperimentResult], None]

    def judge(self, *checkers: Checker, expect: Outcome = Outcome.VALID) -> list[Verdict]:
        """Judge the history; quiescence is always judged with it. Returns all verdicts.

        Raises AssertionError where a guarantee is broken and UnknownVerdictError where nobody can tell. A known-bad
        stack says ``expect=INVALID``: then the named checkers together must come to exactly that.
        """
        named = judge(self.history, checkers)
        always = [] if any(v.checker == "quiescence" for v in named) else judge(self.history, [quiescence()])
        verdicts = [*named, *always]
        known_bad = None if expect is Outcome.VALID else expect
        result = ExperimentResult(
            self.scenario,
            self.title,
            self.experiment,
            self.seed,
            self.directory,
            known_bad,
            tuple(verdicts),
            self.history,
        )
        self.record(result)
        outcome = worst(named)
        if known_bad is not None:
            assert outcome is expect, self._say(f"expected {expect}, judged {outcome}", verdicts, result)  # noqa: S101
            outcome = Outcome.INVALID if worst(always) is Outcome.INVALID else Outcome.VALID
        else:
            outcome = worst(verdicts)
        if outcome is Outcome.INVALID:
            raise AssertionError(self._say("a promise is broken", verdicts, result))
        if outcome is Outcome.UNKNOWN:
            raise UnknownVerdictError(self._say("nobody can tell", verdicts, result))
        return verdicts

    def _say(self, headline: str, verdicts: list[Verdict], result: ExperimentResult) -> str:
        lines = [f"{self.experiment}: {headline}"]
        for verdict in verdicts:
            lines.append(f"  {verdict.outcome} {verdict.checker}: {verdict.summary}")
            if verdict.outcome is not Outcome.VALID:
                lines += [f"      - {finding}" for finding in verdict.findings[:MOST_FINDINGS]]
        lines += [
            f"  seed {self.seed}; everything of it: {self.directory}",
            f"  judge again: {result.judge_again}",
            f"  run again:   {result.run_again}",
        ]
        return "\n".join(lines)
