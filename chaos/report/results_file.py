"""The report for programs: results.json, written for a run and read again for the pages about several runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import orjson

from chaos.checkers.verdict import worst
from chaos.errors import HistoryError
from chaos.history import Json
from chaos.report.figures import figures_of
from chaos.report.results import ExperimentResult, RunInfo, culprit, put_in_place, standing

NAME = "results.json"
SCHEMA = "kindstorm/results"
VERSION = 2
"""Version of the shape; it rises when a field changes its meaning or goes away."""


def write_results(run: RunInfo, results: Sequence[ExperimentResult], path: Path) -> None:
    """Write results.json, for programs; results.schema.json beside this module documents each of its keys."""
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "run_id": run.run_id,
        "started_at": run.started_at,
        "command": run.command,
        "kubernetes": run.kubernetes,
        "clocks": run.clocks,
        "host": run.host,
        "images": list(run.images),
        "notes": list(run.notes),
        "tests": [
            {"node_id": node_id, "outcome": outcome, "duration_s": seconds, "message": message}
            for node_id, outcome, seconds, message in run.tests
        ],
        "experiments": [_experiment(result) for result in results],
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    put_in_place(path, orjson.dumps(document, default=str, option=options))


def _experiment(result: ExperimentResult) -> dict[str, Json]:
    return {
        "scenario": result.scenario,
        "title": result.title,
        "experiment": result.experiment,
        "seed": result.seed,
        "directory": str(result.directory),
        "expected": result.expected,
        "outcome": worst(result.verdicts),
        "judged": result.judged,
        "standing": standing(result),
        "culprit": culprit(result),
        "departures": list(result.departures),
        "error": result.error,
        "diagnostics": None if result.diagnostics is None else str(result.diagnostics),
        "records": sum(result.history.counts.values(), Counter()),
        "figures": [figure.to_json() for figure in figures_of(result.history, result.verdicts)],
        "run_again": result.run_again,
        "judge_again": result.judge_again,
        "verdicts": [verdict.to_json() for verdict in result.verdicts],
    }


@dataclass(frozen=True)
class StoredRun:
    """A run as its results.json tells of it."""

    directory: Path
    document: dict[str, Json]

    @property
    def experiments(self) -> list[dict[str, Json]]:
        """What became of each experiment; see the schema."""
        return list(self.document["experiments"])

    @property
    def passed(self) -> bool:
        """True where every experiment and every test passed, and there was one at least."""
        tests = [test["outcome"] in ("passed", "skipped", "xfailed") for test in self.document["tests"]]
        stands = [one["standing"] in ("valid", "as expected") for one in self.experiments]
        return all(tests + stands) and bool(tests + stands)


def read_run(directory: Path) -> StoredRun:
    """The stored run in a directory; HistoryError where there is none, or one of another version."""
    path = directory / NAME
    try:
        document = orjson.loads(path.read_bytes())
        found = (document["schema"], document["version"])
    except (FileNotFoundError, NotADirectoryError):
        raise HistoryError(f"{directory} holds no run: there is no {NAME} in it") from None
    except OSError as error:
        raise HistoryError(f"{path} cannot be read: {error.strerror}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise HistoryError(f"{path} is not what kindstorm writes; take a whole copy of it") from None
    if found != (SCHEMA, VERSION):
        raise HistoryError(f"{path} is {found[0]} {found[1]}, not {SCHEMA} {VERSION}; judge the run again")
    lacking = _lacking(document)
    if lacking:
        raise HistoryError(f"{path} lacks {', '.join(lacking)}; take a whole copy of it")
    return StoredRun(directory, document)


def schema() -> dict[str, Json]:
    """The JSON Schema of results.json."""
    text = resources.files("chaos.report").joinpath("results.schema.json").read_bytes()
    return dict(orjson.loads(text))


def _lacking(document: dict[str, Json]) -> list[str]:
    """Which required fields of the run or of one of its experiments are not there."""
    required = schema()
    of_each = required["$defs"]["experiment"]["required"]
    lacking = [name for name in required["required"] if name not in document]
    experiments = document.get("experiments") or []
    return lacking + sorted({f"an experiment's {name}" for one in experiments for name in of_each if name not in one})


def runs_in(directory: Path) -> tuple[list[StoredRun], list[str]]:
    """The runs in a directory's folders, newest first, and a sentence for each that cannot be read."""
    try:
        folders = sorted(path for path in directory.iterdir() if (path / NAME).exists())
    except OSError as error:
        raise HistoryError(f"{directory} cannot be read: {error.strerror}") from error
    runs, unreadable = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except HistoryError as error:
            unreadable.append(str(error))
    runs.sort(key=lambda run: (run.document["started_at"], run.document["run_id"]), reverse=True)
    return runs, unreadable


def runs_at(path: Path) -> list[StoredRun]:
    """The run in a directory, or all of those in its folders; HistoryError where there is none or one is unreadable."""
    if (path / NAME).exists() or not path.is_dir():
        return [read_run(path)]
    runs, unreadable = runs_in(path)
    if unreadable:
        raise HistoryError("; ".join(unreadable))
    if not runs:
        raise HistoryError(f"neither {path} nor a folder in it holds a run: name a run's directory, or one of several")
    return runs
