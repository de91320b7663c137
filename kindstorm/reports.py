"""`kindstorm report`: the pages about several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from chaos import report

app = typer.Typer(no_args_is_help=True, help="Pages about several runs.")

Side = Annotated[Path, typer.Argument(help="A run's directory, or a directory with several runs.")]


@app.command()
def index(runs: Annotated[Path, typer.Argument(help="The directory that holds the runs.")] = Path("runs")) -> None:
    """Write index.html of a directory of runs; every run does so by itself at its end."""
    typer.echo(report.write_index(runs))


@app.command()
def compare(
    before: Side,
    after: Side,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page.")] = None,
) -> None:
    """Compare the same scenarios before and after a change, and say which differences are more than noise."""
    found = report.compare((str(before), str(after)), report.runs_at(before), report.runs_at(after))
    console = Console(highlight=False)
    console.print(report.render_comparison(found))
    if html is not None:
        report.write_comparison(found, html)
        console.print(f"page: {html}", markup=False)
