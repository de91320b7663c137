"""The commands about several runs write their pages and say what is wrong in a sentence."""

from pathlib import Path

import pytest

from chaos.history import History
from chaos.report import ExperimentResult, RunInfo, write_results
from kindstorm import cli


def store(directory: Path) -> Path:
    """A run with one experiment."""
    directory.mkdir(parents=True)
    one = ExperimentResult("a.py::t", "A promise.", "t", 1, directory / "t", None, (), History(()))
    run = RunInfo(directory.name, "2026-11-21T12:00:00+00:00", "pytest", "v1.37.0", "fast")
    write_results(run, [one], directory / "results.json")
    return directory


def command(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """The exit code of `kindstorm report ...`."""
    monkeypatch.setattr("sys.argv", ["kindstorm", "report", *args])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_an_index_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its path is all that is said."""
    store(tmp_path / "runs" / "one")
    assert command(monkeypatch, "index", str(tmp_path / "runs")) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "runs" / "index.html")
    assert "A promise." in (tmp_path / "runs" / "index.html").read_text()


def test_two_runs_are_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the terminal always, as a page where one is asked for."""
    before, after = str(store(tmp_path / "a")), str(store(tmp_path / "b"))
    assert command(monkeypatch, "compare", before, after) == 0
    assert "Every scenario stands as before (1)." in capsys.readouterr().out
    assert not list(tmp_path.glob("*.html"))
    assert command(monkeypatch, "compare", before, after, "--html", str(tmp_path / "c.html")) == 0
    assert "Every scenario stands as before (1)." in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize("args", [["compare", "nowhere", "nowhere"], ["index", "nowhere"]])
def test_what_holds_no_run_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and exit code 1."""
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *args) == 1
    told = capsys.readouterr().err
    assert told.startswith("kindstorm: nowhere ")
    assert told.count("\n") == 1
