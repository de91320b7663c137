"""The run's verdicts on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chaos.checkers.verdict import Outcome
from chaos.report.results import ExperimentResult, RunInfo, Standing, culprit, standing

SYMBOLS = {Outcome.VALID: "✓", Outcome.UNKNOWN: "?", Outcome.INVALID: "✗"}

_STYLES = {
    Standing.VALID: ("✓", "green"),
    Standing.EXPECTED: ("≡", "cyan"),
    Standing.UNKNOWN: ("?", "yellow"),
    Standing.ERROR: ("!", "yellow"),
    Standing.INVALID: ("✗", "bold red"),
    Standing.MISSED: ("✗", "bold red"),
}


def render_summary(run: RunInfo, results: Sequence[ExperimentResult], report: Path | None = None) -> RenderableType:
    """A table of verdicts, a sentence for each experiment that is not plainly VALID, and the report's path last.

    ``report`` defaults to report.html beside the experiments' directories.
    """
    table = Table(title=f"kindstorm {run.run_id}", title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("scenario", overflow="fold")
    table.add_column("verdicts", overflow="fold")
    for result in results:
        symbol, style = _STYLES[standing(result)]
        verdicts = "  ".join(f"{SYMBOLS[v.outcome]} {v.checker} {v.outcome}" for v in result.verdicts) or "not judged"
        table.add_row(Text(f"{symbol} {standing(result)}", style), Text(result.title), Text(verdicts))
    lines: list[RenderableType] = [table]
    for result in results:
        sentence = culprit(result)
        if sentence:
            symbol, style = _STYLES[standing(result)]
            lines.append(Text.assemble(("\n" + symbol + " ", style), (result.scenario, "bold"), "\n  ", sentence))
            if not standing(result).passes:
                if result.diagnostics:
                    lines.append(Text(f"  diagnostics: {result.diagnostics}", "dim"))
                lines.append(Text(f"  again: {result.run_again}\n  judge: {result.judge_again}", "dim"))
    lines.extend(Text(f"note: {note}", "dim") for note in run.notes)
    where = report or (results[0].directory.parent / "report.html" if results else None)
    if where is not None:
        lines.append(Text(f"\nreport: {where}"))
    return Group(*lines)
