"""The command line: look at this machine, set it up, see and clean up what runs on it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from chaos.errors import HarnessError
from images import catalogue as catalogues
from images import setup as setups

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
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


def main() -> None:
    """Entry point: the harness's own errors become one sentence and exit code 1."""
    try:
        app()
    except HarnessError as error:
        Console(stderr=True).print(f"kindstorm: {error}", style="red", markup=False)
        sys.exit(1)
