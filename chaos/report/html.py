"""report.html: one file that needs nothing else, neither a network nor a server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import Json
from chaos.report.evidence import MAX_ROWS, lay_out
from chaos.report.page import packaged, script_json, write_page
from chaos.report.promises import promise
from chaos.report.results import ExperimentResult, RunInfo, Standing, culprit, standing
from chaos.report.stages import stage_table
from chaos.report.timeline import timeline

SCRIPTS = ("timeline_words.js", "timeline_frame.js", "timeline_panels.js", "timeline_lanes.js", "timeline.js")
"""The figure's script in the order in which its parts build on one another."""


FINDINGS = 8
"""How many findings of a verdict are seen at once; up to MAX_ROWS can be unfolded."""

_WORST_FIRST = (Outcome.INVALID, Outcome.UNKNOWN, Outcome.VALID)


def write_report(run: RunInfo, results: Sequence[ExperimentResult], path: Path) -> None:
    """Write the report of a run; linear in its histories' sizes, while the file's size depends on neither of them."""
    sections = [_section(number, result, path.parent) for number, result in enumerate(results, start=1)]
    write_page(
        "report.html.j2",
        path,
        run=run,
        sections=sections,
        failed_first=sorted(sections, key=lambda section: section["standing"].passes),
        counts=_counts(results),
        stand_ins=[image["name"] for image in run.images if str(image.get("origin")).startswith("stand-in")],
        other_tests=_tests_without(run, results),
        script=packaged(*SCRIPTS),
    )


def _section(number: int, result: ExperimentResult, folder: Path) -> dict[str, Json]:
    verdicts = [_verdict(verdict) for verdict in result.verdicts]
    drawable = any(counts.keys() - {"seal", "closing"} for counts in result.history.counts.values())
    return {
        "number": number,
        "result": result,
        "standing": standing(result),
        "culprit": culprit(result),
        "verdicts": sorted(verdicts, key=lambda v: _WORST_FIRST.index(v["outcome"])),
        "stages": [table for v in result.verdicts if (table := stage_table(v.evidence))],
        "timeline": script_json(timeline(result.history)) if drawable else None,
        "records": len(result.history),
        "cluster": result.history.fact("cluster") or {},
        "cut_off": result.history.cut_off() if drawable else [],
        "files": _files(result, folder),
        "notes": [record["text"] for record in result.history.of("note")][:MAX_ROWS],
    }


FILES = {
    "diagnostics/index.txt": "diagnostics: where to look after this failure",
    "describe.txt": "describe",
    "objects.yaml": "objects",
    "events.txt": "events",
    "logs": "logs",
    "history.jsonl": "history",
}


def _files(result: ExperimentResult, folder: Path) -> list[tuple[str, str]]:
    """(link, words) for each file of the experiment that is there, as seen from the report."""
    there = [(result.directory / name, words) for name, words in FILES.items() if (result.directory / name).exists()]
    return [(quote(os.path.relpath(path, folder)), words) for path, words in there]


def _verdict(verdict: Verdict) -> dict[str, Json]:
    return {
        "checker": verdict.checker,
        "promised": promise(verdict.checker, verdict.evidence),
        "outcome": verdict.outcome,
        "summary": verdict.summary,
        "evidence": lay_out(verdict.evidence),
        "findings": verdict.findings[:FINDINGS],
        "more_findings": verdict.findings[FINDINGS:MAX_ROWS],
        "findings_left": max(0, len(verdict.findings) - MAX_ROWS),
    }


def _counts(results: Sequence[ExperimentResult]) -> list[tuple[Standing, int]]:
    places = [standing(result) for result in results]
    worst_first = (
        Standing.MISSED, Standing.INVALID, Standing.ERROR, Standing.UNKNOWN, Standing.VALID, Standing.EXPECTED,
    )  # fmt: skip
    return [(place, places.count(place)) for place in worst_first if place in places]


def _tests_without(run: RunInfo, results: Sequence[ExperimentResult]) -> list[tuple[str, str, float, str]]:
    """Tests that left no experiment: skipped, failed in their set-up, or not about a cluster."""
    shown = {result.scenario for result in results}
    return [test for test in run.tests if test[0] not in shown]
