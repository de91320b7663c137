"""What an experiment hands back to its scenario: a stored history, and the judging of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chaos.checkers import Checker, Outcome, Verdict, judge, quiescence
from chaos.errors import HarnessError, ScenarioError
from chaos.history import History
from chaos.report import ExperimentResult, Standing, standing

MOST_FINDINGS = 5

Declared = Sequence[tuple[Outcome, str]]
"""What each named checker, in their order, is to come to, and words that it must say; empty where that is open."""


class UnknownVerdictError(Exception):
    """Nobody can tell whether the promise was kept: an error in the report, never a pass."""


@dataclass
class Run:
    """One experiment's history, on disk in ``directory`` before this object exists.

    ``judged`` is True once somebody asked for a verdict; a run of which nobody did shows nothing. ``diagnose`` collects
    what is needed to find out why a run failed, and says where it is. Where its stack was left standing, ``settle`` is
    told whether the named checkers passed, and gives the history as it is after that.
    """

    scenario: str
    title: str
    experiment: str
    seed: int
    directory: Path
    history: History
    record: Callable[[ExperimentResult], None]
    diagnose: Callable[[], Path | None] = lambda: None
    judged: bool = False
    settle: Callable[[bool], History] | None = None

    def judge(self, *checkers: Checker, expect: Outcome = Outcome.VALID) -> list[Verdict]:
        """Judge the history; quiescence is always judged with it. Returns all verdicts.

        Raises AssertionError where a guarantee is broken and UnknownVerdictError where nobody can tell. A known-bad
        stack says ``expect=INVALID``: then the named checkers together must come to exactly that. What is no checker,
        and none at all, is a ScenarioError.
        """
        _require(checkers, expect)
        return self._judge(checkers, expect)

    def judge_each(
        self,
        invalid: Mapping[Checker, str] | None = None,
        unknown: Mapping[Checker, str] | None = None,
        valid: Iterable[Checker] = (),
    ) -> list[Verdict]:
        """Judge a known-bad stack, each checker by what is declared of it; quiescence must be VALID where it is not.

        A checker that is to be ``invalid`` or ``unknown`` must also say the words beside it, in its summary or in a
        finding: it is to be red for the right reason. Raises AssertionError with a sentence for each that is not so.
        """
        invalid, unknown = invalid or {}, unknown or {}
        declared = [(checker, Outcome.INVALID, words) for checker, words in invalid.items()]
        declared += [(checker, Outcome.UNKNOWN, words) for checker, words in unknown.items()]
        declared += [(checker, Outcome.VALID, "") for checker in valid]
        checkers = tuple(checker for checker, _, _ in declared)
        expect = Outcome.INVALID if invalid else Outcome.UNKNOWN if unknown else Outcome.VALID
        _require(checkers, expect)
        return self._judge(checkers, expect, [(outcome, words) for _, outcome, words in declared])

    def _judge(self, checkers: tuple[Checker, ...], expect: Outcome, declared: Declared = ()) -> list[Verdict]:
        named = judge(self.history, checkers)
        if self.settle is not None:
            settle, self.settle = self.settle, None
            before = self._result(named, named, expect, declared)
            try:
                self.history = settle(self._passed_so_far(named, expect, declared))
            except HarnessError as error:
                self.record(replace(before, error=str(error), diagnostics=self.diagnose()))
                self.judged = True
                raise
            named = judge(self.history, checkers)
        always = [] if any(v.checker == "quiescence" for v in named) else judge(self.history, [quiescence()])
        verdicts = [*named, *always]
        result = self._result(named, verdicts, expect, declared)
        self.judged = True
        place = standing(result)
        try:
            if not place.passes:
                result = replace(result, diagnostics=self.diagnose())
        finally:  # also where somebody does not want to wait for them
            self.record(result)
        if place is Standing.MISSED:
            missed = "; ".join(result.departures) or f"expected {expect}, judged {result.judged}"
            raise AssertionError(self._say(missed, verdicts, result))
        if place is Standing.INVALID:
            raise AssertionError(self._say("a promise is broken", verdicts, result))
        if not place.passes:
            raise UnknownVerdictError(self._say("nobody can tell", verdicts, result))
        return verdicts

    def _passed_so_far(self, named: list[Verdict], expect: Outcome, declared: Declared) -> bool:
        """Whether a stack that stands may go: quiescence, which is about its removal, can be judged only after it."""
        early = [verdict for verdict in named if verdict.checker != "quiescence"]
        if not early or (len(early) < len(named) and expect is not Outcome.VALID):
            return True
        return standing(self._result(early, early, expect, declared)).passes

    def _result(
        self, named: list[Verdict], verdicts: list[Verdict], expect: Outcome, declared: Declared
    ) -> ExperimentResult:
        return ExperimentResult(
            self.scenario,
            self.title,
            self.experiment,
            self.seed,
            self.directory,
            None if expect is Outcome.VALID else expect,
            tuple(verdicts),
            self.history,
            named=tuple(verdict.checker for verdict in named),
            departures=tuple(
                text for verdict, due in zip(named, declared, strict=False) for text in _departs(verdict, *due)
            ),
        )

    def unjudged(self) -> ExperimentResult:
        """What the report says of it where its test ended before it was judged, by an error or an interrupt."""
        error = "its test ended before it was judged"
        return ExperimentResult(
            self.scenario, self.title, self.experiment, self.seed, self.directory, None, (), self.history, error=error
        )

    def _say(self, headline: str, verdicts: list[Verdict], result: ExperimentResult) -> str:
        lines = [f"{self.experiment}: {headline}"]
        for verdict in verdicts:
            lines.append(f"  {verdict.outcome} {verdict.checker}: {verdict.summary}")
            if verdict.outcome is not Outcome.VALID:
                lines += [f"      - {finding}" for finding in verdict.findings[:MOST_FINDINGS]]
        lines += [
            f"  seed {self.seed}; everything of it: {self.directory}",
            *([f"  diagnostics: {result.diagnostics}"] if result.diagnostics else []),
            f"  judge again: {result.judge_again}",
            f"  run again:   {result.run_again}",
        ]
        return "\n".join(lines)


def _departs(verdict: Verdict, outcome: Outcome, words: str) -> list[str]:
    """How a verdict is not what was declared, as no or one sentence."""
    if verdict.outcome is not outcome:
        return [f"{verdict.checker} was to be {outcome} and is {verdict.outcome}: {verdict.summary}"]
    if words not in "; ".join((verdict.summary, *verdict.findings)):
        return [f"{verdict.checker} is {outcome}, but does not say {words!r}: {verdict.summary}"]
    return []


def _require(checkers: tuple[Checker, ...], expect: Outcome) -> None:
    if not checkers:
        raise ScenarioError("a run is judged by what it promises: name at least one checker")
    for checker in checkers:
        if isinstance(checker, type) or not (hasattr(checker, "name") and hasattr(checker, "check")):
            raise ScenarioError(f"judge() takes checkers of kindstorm.checkers, such as recovery(...), not {checker!r}")
    if not isinstance(expect, Outcome):
        raise ScenarioError(f"judge(): expect is VALID, INVALID or UNKNOWN of kindstorm.checkers, not {expect!r}")
