"""The command line: look at this machine, set it up, see and clean up what runs on it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chaos.errors import ClusterError, HarnessError
from images import catalogue as catalogues
from images import doctor as doctors
from images import engine, inventory
from images import setup as setups

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
images = typer.Typer(no_args_is_help=True, help="The images that clusters and stacks are made of.")
app.add_typer(images, name="images")
console = Console(highlight=False)

Kubernetes = Annotated[list[str] | None, typer.Option("--kubernetes", help="A line of Kubernetes, such as 1.37.")]


@app.callback()
def kindstorm() -> None:
    """Tests and chaos on real kind clusters, with verdicts that can be red."""


@app.command()
def setup(kubernetes: Kubernetes = None) -> None:
    """Pull or build whatever is missing to run scenarios on this machine."""
    catalogue = catalogues.load()
    setups.set_up(catalogue, [catalogue.line(name) for name in kubernetes or [catalogue.default_line]], console)


@app.command()
def doctor(kubernetes: Kubernetes = None) -> None:
    """Say what this machine has and lacks, and what set-up would do about it; changes nothing."""
    catalogue = catalogues.load()
    findings = doctors.examine(catalogue, [catalogue.line(name) for name in kubernetes or [catalogue.default_line]])
    _show(doctors.render(findings))
    advice = doctors.advice(findings)
    if advice is not None:
        raise ClusterError(advice)
    if not all(finding.ok for finding in findings):
        flags = "".join(f" --kubernetes {name}" for name in kubernetes or [])
        console.print(f"`kindstorm setup{flags}` does what is said there", markup=False)


@images.command("list")
def list_images(kubernetes: Kubernetes = None) -> None:
    """Say where every image came from: pulled, built, a stand-in, or missing."""
    catalogue = catalogues.load()
    lines = [catalogue.line(name) for name in kubernetes or [catalogue.default_line]]
    if not engine.answers():
        raise ClusterError("no Docker engine answers, so no image can be seen; `kindstorm doctor` says what to do")
    _show(inventory.render(inventory.rows(catalogue, lines)))


def _show(table: Table) -> None:
    """Show a table; a file or a pipe, whose width nobody knows, gets it unfolded."""
    (console if console.is_terminal else Console(width=200)).print(table)


def main() -> None:
    """Entry point: the harness's own errors become one sentence and exit code 1."""
    try:
        app()
    except HarnessError as error:
        Console(stderr=True).print(f"kindstorm: {error}", style="red", markup=False)
        sys.exit(1)
