"""What a run hands to its reports, and how an experiment stands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from chaos.checkers.verdict import Outcome, Verdict, worst
from chaos.history import History, Json


class Standing(StrEnum):
    """How an experiment counts, with what was expected of it taken into account."""

    VALID = "valid"
    EXPECTED = "as expected"
    UNKNOWN = "unknown"
    ERROR = "error"
    INVALID = "invalid"
    MISSED = "not as expected"

    @property
    def passes(self) -> bool:
        """True for what may be green: a promise kept, or a known-bad stack seen through."""
        return self in (Standing.VALID, Standing.EXPECTED)


SYMBOLS: dict[str, str] = {
    Outcome.VALID: "✓",
    Outcome.UNKNOWN: "?",
    Outcome.INVALID: "✗",
    Standing.VALID: "✓",
    Standing.EXPECTED: "≡",
    Standing.UNKNOWN: "?",
    Standing.ERROR: "!",
    Standing.INVALID: "✗",
    Standing.MISSED: "✗",
}
"""What stands beside an outcome's or a standing's word, for those who see no colour."""


@dataclass(frozen=True)
class ExperimentResult:
    """One experiment of a run: what was promised, what was judged, and what it was judged on.

    ``scenario`` is the pytest node id, ``title`` the first line of its docstring, ``experiment`` the name of its
    directory, ``directory`` where its history lies. ``expected`` is set for a known-bad stack only. ``error`` is the
    harness's own failure; the history may then be empty. ``diagnostics`` is the index of what was collected after a
    failure. ``named`` are the checkers that the scenario named (None: all
    that judged): what is expected of a known-bad stack is expected of them, not of the guarantees judged always.
    ``departures`` say where a single one of them is not as it was declared, a sentence each.
    """

    scenario: str
    title: str
    experiment: str
    seed: int
    directory: Path
    expected: Outcome | None
    verdicts: tuple[Verdict, ...]
    history: History
    error: str | None = None
    named: tuple[str, ...] | None = None
    diagnostics: Path | None = None
    departures: tuple[str, ...] = ()

    @property
    def judged(self) -> Outcome:
        """What the named checkers come to together."""
        return worst(v for v in self.verdicts if self.named is None or v.checker in self.named)

    @property
    def besides(self) -> Outcome:
        """What the checkers come to that nobody named; VALID where there are none."""
        others = [v for v in self.verdicts if self.named is not None and v.checker not in self.named]
        return worst(others) if others else Outcome.VALID

    @property
    def run_again(self) -> str:
        """The command that runs it again: the same seed, and the Kubernetes and clocks its history tells of."""
        cluster = self.history.fact("cluster") or {}
        chosen = {"--kindstorm-kubernetes": cluster.get("line"), "--kindstorm-clocks": cluster.get("clocks")}
        options = [word for name, value in chosen.items() if value for word in (name, str(value))]
        return shlex.join(["pytest", self.scenario, "--kindstorm-seed", str(self.seed), *options])

    @property
    def judge_again(self) -> str:
        """The command that judges the stored history again, without a cluster.

        It names the run's directory, not the experiment's: a test with several experiments finds all of them there.
        """
        return shlex.join(["pytest", self.scenario, "--kindstorm-rejudge", str(self.directory.parent)])


@dataclass(frozen=True)
class RunInfo:
    """One run: when, how and where, and what became of every test.

    ``images`` holds {name, origin, version, digest} each; an origin begins with pulled, built or stand-in, and has more
    words where there is more to say. ``notes`` are sentences for people; ``tests`` holds (node id, pytest's outcome,
    seconds, message) each.
    """

    run_id: str
    started_at: str
    command: str
    kubernetes: str
    clocks: str
    host: dict[str, Json] = field(default_factory=dict)
    images: Sequence[dict[str, Json]] = ()
    notes: Sequence[str] = ()
    tests: Sequence[tuple[str, str, float, str]] = ()


def standing(result: ExperimentResult) -> Standing:
    """How an experiment counts: the one rule for what the test does and for what the reports say.

    A harness error outweighs the verdicts, unless one of them is a finding. A known-bad stack must be judged exactly as
    expected by the named checkers, and what nobody named must hold; only where UNKNOWN is expected may it be UNKNOWN.
    """
    outcome, expected = worst(result.verdicts), result.expected
    if result.error is not None:
        return Standing.INVALID if outcome is Outcome.INVALID and expected is None else Standing.ERROR
    if result.departures:
        return Standing.MISSED
    if expected is None or expected is Outcome.VALID:
        return Standing[outcome.name]
    if result.judged is not expected:
        return Standing.MISSED
    tolerated = (Outcome.VALID, Outcome.UNKNOWN) if expected is Outcome.UNKNOWN else (Outcome.VALID,)
    return Standing.EXPECTED if result.besides in tolerated else Standing[result.besides.name]


def culprit(result: ExperimentResult) -> str:
    """One sentence on why an experiment stands as it does; empty for a plain VALID."""
    place = standing(result)
    if place is Standing.ERROR:
        return result.error or ""
    if not result.verdicts:
        return "no checker judged it"
    named = [v for v in result.verdicts if result.named is None or v.checker in result.named]
    if place is Standing.MISSED and result.departures:
        return "; ".join(result.departures)
    if place is Standing.MISSED:
        why = "the checkers did not see it" if result.judged is Outcome.VALID else _worst_of(named)
        return f"expected {result.expected}, judged {result.judged}: {why}"
    if place is Standing.EXPECTED:
        return _worst_of(named)
    if result.expected in (None, Outcome.VALID):
        return "" if place is Standing.VALID else _worst_of(result.verdicts)
    return _worst_of([v for v in result.verdicts if v not in named])


def _worst_of(verdicts: Sequence[Verdict]) -> str:
    outcome = worst(verdicts)
    return next(f"{v.checker}: {v.summary}" for v in verdicts if v.outcome is outcome)


def put_in_place(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # runs that end at once write the same index
    partial.write_bytes(content)
    partial.replace(path)
