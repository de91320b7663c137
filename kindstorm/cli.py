"""The command line: look at this machine, set it up, see and clean up what runs on it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chaos import cluster as clusters
from chaos import journal, provision, undo
from chaos.errors import ClusterError, HarnessError, ImageError, machine_told
from images import cache, engine, inventory, team
from images import catalogue as catalogues
from images import doctor as doctors
from images import registry as registries
from images import setup as setups
from images.engine import docker
from kindstorm import reports

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
images = typer.Typer(no_args_is_help=True, help="The images that clusters and stacks are made of.")
app.add_typer(images, name="images")
app.add_typer(reports.app, name="report")
console = Console(highlight=False)

DEFECT = 70
"""The exit code of a defect of ours (EX_SOFTWARE of sysexits.h)."""
INTERRUPTED = 130
"""The exit code after Ctrl-C."""

Kubernetes = Annotated[list[str] | None, typer.Option("--kubernetes", help="A line of Kubernetes, such as 1.37.")]
RegistryName = Annotated[
    str | None,
    typer.Option(
        "--registry",
        envvar=registries.VARIABLE,
        metavar="HOST[:PORT][/PATH]",
        help="Take all images from this registry and build none.",
    ),
]

CatalogueFile = Annotated[Path | None, typer.Option("--catalogue", help="A catalogue (TOML) of images of your own.")]


@app.callback()
def kindstorm() -> None:
    """Tests and chaos on real kind clusters, with verdicts that can be red."""


@app.command()
def setup(
    kubernetes: Kubernetes = None,
    registry: RegistryName = None,
    kind_bin: Annotated[Path | None, typer.Option(help="Take this kind instead of compiling one.")] = None,
    catalogue_file: CatalogueFile = None,
) -> None:
    """Pull or build whatever is missing to run scenarios on this machine."""
    catalogue = team.load(catalogue_file)
    lines = [catalogue.line(name) for name in kubernetes or [catalogue.default_line]]
    setups.set_up(catalogue, lines, console, registries.named(registry), kind_bin)


@app.command()
def doctor(kubernetes: Kubernetes = None, registry: RegistryName = None) -> None:
    """Say what this machine has and lacks, and what set-up would do about it; changes nothing."""
    catalogue = catalogues.load()
    lines = [catalogue.line(name) for name in kubernetes or [catalogue.default_line]]
    findings = doctors.examine(catalogue, lines, registries.named(registry))
    _show(doctors.render(findings))
    advice = doctors.advice(findings)
    if advice is not None:
        raise ClusterError(advice)
    if not all(finding.ok for finding in findings):
        flags = "".join(f" --kubernetes {name}" for name in kubernetes or [])
        flags += f" --registry {registry}" if registry else ""
        console.print(f"`kindstorm setup{flags}` does what is said there", markup=False)


@images.command("list")
def list_images(
    kubernetes: Kubernetes = None,
    names: Annotated[bool, typer.Option("--names", help="Only the names that run here, for `docker save`.")] = False,
    catalogue_file: CatalogueFile = None,
) -> None:
    """Say where every image came from: pulled, built, a stand-in, or missing."""
    catalogue = team.load(catalogue_file)
    lines = [catalogue.line(name) for name in kubernetes or [catalogue.default_line]]
    _require_engine()
    if names:
        for name in inventory.names(catalogue, lines):
            print(name)  # noqa: T201 - for another command to read
    else:
        _show(inventory.render(inventory.rows(catalogue, lines)))


@images.command("push")
def push_images(
    registry: Annotated[str, typer.Argument(envvar=registries.VARIABLE, metavar="HOST[:PORT][/PATH]")],
    kubernetes: Kubernetes = None,
    catalogue_file: CatalogueFile = None,
) -> None:
    """Fill a registry from what this machine pulled or built; other machines set up with `--registry` build nothing."""
    catalogue = team.load(catalogue_file)
    lines = [catalogue.line(name) for name in kubernetes or [catalogue.default_line]]
    there = registries.named(registry)
    if there is None:
        raise ImageError("no registry was named; write HOST, HOST:PORT or HOST:PORT/PATH")
    _require_engine()
    registries.push_all(catalogue, lines, there, console)
    flags = "".join(f" --kubernetes {name}" for name in kubernetes or [])
    flags += f" --catalogue {catalogue_file}" if catalogue_file else ""
    console.print(f"elsewhere: kindstorm setup{flags} --registry {there.address}", markup=False)


def _require_engine() -> None:
    if not engine.answers():
        raise ClusterError("no Docker engine answers, so no image can be seen; `kindstorm doctor` says what to do")


@app.command("clusters")
def list_clusters(
    remove: Annotated[bool, typer.Option("--remove", help="Remove those that no session uses.")] = False,
) -> None:
    """Show the clusters that carry our mark; no other is ever listed or touched."""
    if not engine.answers():
        console.print("no engine answers, so no cluster runs")
        return
    if remove:
        command = setups.kind_command(catalogues.load())
        for name in provision.sweep(
            provision.driver(command, cache.folder("logs") / "clusters.log"), keep=False, looked_at=True
        ):
            for entry in journal.pending(name):
                journal.done(entry)
            console.print(f"removed {name}", markup=False)
    table = Table("cluster", "nodes", "held", "to undo", "kubeconfig")
    states: dict[str, list[str]] = {}
    for node in clusters.node_containers().values():
        states.setdefault(node["cluster"], []).append(node["state"])
    for name, found in sorted(states.items()):
        with clusters.leased(name) as free:
            looked_at = provision.held(name)
            held = "by a session" if not free else f"for looking at {looked_at}" if looked_at else "no"
        running = f"{found.count('running')} of {len(found)} running"
        table.add_row(name, running, held, str(len(journal.pending(name))), str(clusters.folder(name) / "kubeconfig"))
    _show(table) if states else console.print("no cluster of ours")


@app.command("undo")
def undo_pending() -> None:
    """Undo what interrupted sessions left in the journal; what cannot be undone now holds nothing else up."""
    pending = journal.pending()[::-1]  # the last done is the first undone
    if pending and not engine.answers():
        raise ClusterError("no engine answers, so nothing can be undone yet; start it and run this again")
    living = {node["cluster"] for node in clusters.node_containers().values()} if pending else set()
    left: list[str] = []
    for entry in pending:
        try:
            console.print(_undone(entry, living), markup=False)
        except HarnessError as error:
            left.append(str(error))
    if left:
        raise ClusterError("; ".join(dict.fromkeys(left)))
    if not pending:
        console.print("nothing to undo")


def _undone(entry: journal.Entry, living: set[str]) -> str:
    if entry.cluster not in living:
        journal.done(entry)
        return f"{entry.cluster} is gone, and {entry.verb} with it"
    with clusters.leased(entry.cluster) as free:
        if not free:
            raise ClusterError(f"a session holds {entry.cluster}; it undoes its own faults, or stop it first")
        kube = clusters.connect(entry.cluster)
        clusters.require_mark(kube, entry.cluster)
        return f"{entry.cluster}: {undo.undo(kube, entry)}"


@app.command("stop-engine", hidden=True)
def stop_engine() -> None:
    """Stop the engine where kindstorm started it and no container of anybody's runs in it."""
    if engine.started_by_us() and engine.answers() and not docker("ps", "--quiet"):
        engine.stop()


def _show(table: Table) -> None:
    """Show a table; a file or a pipe, whose width nobody knows, gets it unfolded."""
    (console if console.is_terminal else Console(width=300)).print(table)


def main() -> None:
    """Entry point: what goes wrong is one sentence and an exit code; a defect of ours keeps its traceback in a file."""
    try:
        with machine_told():
            app()
    except HarnessError as error:
        _complain(str(error))
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _complain("interrupted; what was finished stays, what was half made is cleared away at the next start")
        raise
    except Exception as error:  # noqa: BLE001 - whatever is left is a defect, and its traceback is kept
        _complain(f"this is a defect of kindstorm ({type(error).__name__}: {error}); {_kept_traceback(error)}")
        sys.exit(DEFECT)


def _complain(sentence: str) -> None:
    Console(stderr=True).print(f"kindstorm: {sentence}", style="red", markup=False, highlight=False)


def _kept_traceback(error: Exception) -> str:
    """Keep it in a file of the cache, or on the terminal where there can be none; says where it is."""
    text = "".join(traceback.format_exception(error))
    try:
        path = cache.folder("logs") / f"defect-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
        path.write_text(text)
    except (HarnessError, OSError):
        sys.stderr.write(text)
        return "its traceback stands above"
    return f"please report it with its traceback, {path}"
