"""Runs in directories, as sessions leave them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from synthetic_runs import Story, a_run, result, valid

from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History
from chaos.report import ExperimentResult, write_results


def outage(outage_s: float, requests: int = 400) -> History:
    """A load of 20 requests a second with one outage in it."""
    story = Story()
    for number in range(requests):
        down = 5 <= number / 20 < 5 + outage_s
        story.request(number / 20, "fail" if down else "ok", 0.01 + number % 7 / 1000, "refused" if down else None)
    return story.history()


def recovered(ready_ms: float) -> Verdict:
    """A recovery with one stage."""
    faults = [{"fault": "kill_pod on Pod web-1", "stages_ms": {"ready": [ready_ms, ready_ms + 10]}}]
    return Verdict("recovery", Outcome.VALID, "in time", {"faults": faults})


def store(directory: Path, *results: ExperimentResult, started_at: str = "2026-11-21T12:13:00+00:00",
          kubernetes: str = "v1.36.1") -> Path:  # fmt: skip
    """Write a run's results.json; returns the run's directory."""
    directory.mkdir(parents=True)
    run = replace(a_run(), run_id=directory.name, started_at=started_at, kubernetes=kubernetes)
    write_results(run, results, directory / "results.json")
    return directory


def store_side(directory: Path, outages_s: list[float], outcome: Outcome = Outcome.VALID) -> Path:
    """Write a run for each outage into a directory of runs; returns that directory."""
    for number, outage_s in enumerate(outages_s):
        verdict = valid() if outcome is Outcome.VALID else Verdict("availability", outcome, "too long a gap")
        store(directory / f"run-{number}", result(outage(outage_s), [verdict, recovered(1000 + 1000 * outage_s)]))
    return directory
