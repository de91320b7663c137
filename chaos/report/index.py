"""index.html of a directory of runs: what became of each scenario, run by run, and the way to every report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from chaos.history import Json
from chaos.report.page import write_page
from chaos.report.results_file import StoredRun, runs_in

MAX_RUNS = 200
"""How many of the newest runs are listed; the page says how many it leaves out."""

MAX_COLUMNS = 16
"""How many of the newest runs with an experiment stand beside one another."""

_WORST_FIRST = ("not as expected", "invalid", "error", "unknown", "valid", "as expected")


def write_index(directory: Path) -> Path:
    """Write index.html of the runs in a directory; HistoryError where it cannot be read."""
    runs, unreadable = runs_in(directory)
    shown = runs[:MAX_RUNS]
    columns = [run for run in shown if run.experiments][:MAX_COLUMNS]
    path = directory / "index.html"
    write_page(
        "index.html.j2",
        path,
        directory=directory.resolve().name,
        runs=[_row(run, directory) for run in shown],
        omitted=len(runs) - len(shown),
        columns=[_row(run, directory) for run in columns],
        scenarios=_scenarios(columns, directory),
        unreadable=unreadable,
    )
    return path


def _row(run: StoredRun, directory: Path) -> dict[str, Json]:
    document = run.document
    counts = Counter(str(one["standing"]) for one in run.experiments)
    others = {one["scenario"] for one in run.experiments}
    tests = Counter(str(test["outcome"]) for test in document["tests"] if test["node_id"] not in others)
    return {
        "link": _link(run, directory),
        "run_id": document["run_id"],
        "day": str(document["started_at"])[:10],
        "time": str(document["started_at"])[11:16],
        "command": document["command"],
        "kubernetes": document["kubernetes"],
        "clocks": document["clocks"],
        "passed": run.passed,
        "counts": [(word, counts[word]) for word in _WORST_FIRST if counts[word]],
        "tests": sorted(tests.items()),
        "minutes": sum(test["duration_s"] for test in document["tests"]) / 60,
    }


def _scenarios(columns: Sequence[StoredRun], directory: Path) -> list[dict[str, Json]]:
    """A row for each scenario, a cell for each run: the standings of its experiments, with links; None: not run."""
    names = sorted({one["scenario"] for run in columns for one in run.experiments})
    titles = {one["scenario"]: one["title"] for run in reversed(columns) for one in run.experiments}
    rows = []
    for name in names:
        cells = [
            [
                {"standing": one["standing"], "culprit": one["culprit"], "link": f"{_link(run, directory)}#e{number}"}
                for number, one in enumerate(run.experiments, start=1)
                if one["scenario"] == name
            ]
            for run in columns
        ]
        rows.append({"scenario": name, "title": titles[name], "cells": cells})
    return rows


def _link(run: StoredRun, directory: Path) -> str:
    return quote(os.path.relpath(run.directory / "report.html", directory))
