"""The run's verdicts on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chaos.checkers.verdict import Outcome
from chaos.report.results import SYMBOLS, ExperimentResult, RunInfo, Standing, culprit, standing

STYLES = {
    Standing.VALID: "green",
    Standing.EXPECTED: "cyan",
    Standing.UNKNOWN: "yellow",
    Standing.ERROR: "yellow",
    Standing.INVALID: "bold red",
    Standing.MISSED: "bold red",
}

MAX_FINDINGS = 3
"""How many offending operations or objects of an experiment are named."""


def render_summary(run: RunInfo, results: Sequence[ExperimentResult], report: Path | None = None) -> RenderableType:
    """A table of verdicts, a sentence for each experiment that is not plainly VALID, and the report's path last.

    ``report`` defaults to report.html beside the experiments' directories.
    """
    table = Table(title=f"kindstorm {run.run_id}", title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("scenario", overflow="fold")
    table.add_column("verdicts", overflow="fold")
    for result in results:
        verdicts = "  ".join(f"{SYMBOLS[v.outcome]} {v.checker} {v.outcome}" for v in result.verdicts) or "not judged"
        table.add_row(_stands(result), Text(result.title), Text(verdicts))
    lines: list[RenderableType] = [table]
    for result in results:
        lines += _told(result)
    lines.extend(Text(f"note: {note}", "dim") for note in run.notes)
    where = report or (results[0].directory.parent / "report.html" if results else None)
    if where is not None:
        lines.append(Text(f"\nreport: {where}"))
    return Group(*lines)


def _stands(result: ExperimentResult) -> Text:
    place = standing(result)
    return Text(f"{SYMBOLS[place]} {place}", STYLES[place])


def _told(result: ExperimentResult) -> list[RenderableType]:
    """What was promised, what happened and how to go on, for an experiment that is not plainly VALID."""
    sentence = culprit(result)
    if not sentence:
        return []
    lines: list[RenderableType] = [Text.assemble("\n", _stands(result), "  ", (result.scenario, "bold"))]
    if standing(result).passes:
        return [*lines, Text(f"  {sentence}")]
    lines += [Text(f"  promised: {result.title}")] if result.title else []
    lines.append(Text(f"  happened: {sentence}"))
    offending = [finding for v in result.verdicts if v.outcome is Outcome.INVALID for finding in v.findings]
    lines += [Text(f"    - {finding}") for finding in offending[:MAX_FINDINGS]]
    if len(offending) > MAX_FINDINGS:
        lines.append(Text(f"    and {len(offending) - MAX_FINDINGS} more, in the report", "dim"))
    if result.diagnostics:
        lines.append(Text(f"  diagnostics: {result.diagnostics}", "dim"))
    return [*lines, Text(f"  again: {result.run_again}\n  judge: {result.judge_again}", "dim")]
