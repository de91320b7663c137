"""The page about a directory of runs: every run, every scenario, and no run that could break it."""

import re
from dataclasses import replace
from pathlib import Path

from stored_sides import store
from synthetic_runs import a_run, result, valid

from chaos.checkers.verdict import Outcome, Verdict
from chaos.report import write_index, write_results
from chaos.report.index import MAX_COLUMNS

BAD = Verdict("durability", Outcome.INVALID, "write 41 is gone")


def test_runs_stand_newest_first_and_lead_to_their_reports(tmp_path: Path) -> None:
    """A scenario's row holds what became of it in each run, with a link to that experiment."""
    store(tmp_path / "old", result(verdicts=[valid()], scenario="a.py::t"), started_at="2026-11-20T08:00:00+00:00")
    store(tmp_path / "new one", result(verdicts=[valid()], scenario="b.py::t"),
          result(verdicts=[BAD], scenario="a.py::t"), started_at="2026-11-21T09:00:00+00:00")  # fmt: skip
    page = write_index(tmp_path).read_text()
    assert page.index("11-21<br>09:00") < page.index("11-20<br>08:00")
    (row,) = [row for row in re.findall(r"<tr>.*?</tr>", page, re.S) if "a.py::t" in row]
    assert re.findall(r'class="mark ([a-z-]+)" href="([^"]*)"', row) == [
        ("invalid", "new%20one/report.html#e2"), ("valid", "old/report.html#e1"),
    ]  # fmt: skip
    assert "durability: write 41 is gone" in row
    assert "default-src 'none'" in page


def test_no_runs_at_all(tmp_path: Path) -> None:
    """An empty directory has an empty page."""
    page = write_index(tmp_path).read_text()
    assert "There is no run yet." in page
    assert "No run has an experiment." in page


def test_a_run_that_cannot_be_read_is_told_and_hides_no_other(tmp_path: Path) -> None:
    """Another version, a torn file, and one that lacks what it should have each get a sentence."""
    store(tmp_path / "good", result(verdicts=[valid()]))
    for name, text in (("torn", '{"schema": '), ("older", '{"schema": "kindstorm/verdicts", "version": 1}'),
                       ("empty", '{"schema": "kindstorm/results", "version": 2}')):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(text)
    page = write_index(tmp_path).read_text()
    assert page.count('class="callout unknown"') == 3
    assert "lacks version" not in page
    assert "lacks run_id" in page
    assert 'href="good/report.html#e1"' in page


def test_a_run_passes_only_as_a_whole(tmp_path: Path) -> None:
    """An experiment that does not pass, a failed test without one, and a run of nothing are each not passed."""
    skipped, failed = ("a.py::s", "skipped", 0.1, ""), ("a.py::f", "failed", 0.1, "")
    for name, tests, verdicts in (
        ("good", [skipped], [valid()]), ("bad", [skipped], [BAD]), ("failed", [failed], [valid()]), ("none", [], None),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        results = [] if verdicts is None else [result(verdicts=verdicts)]
        write_results(replace(a_run(tests), run_id=name), results, tmp_path / name / "results.json")
    rows = re.findall(
        r'aria-label="((?:not )?passed)".*?<code class="node">(\w+)', write_index(tmp_path).read_text(), re.S
    )
    assert {run: said for said, run in rows} == {
        "good": "passed", "bad": "not passed", "failed": "not passed", "none": "not passed",
    }  # fmt: skip


def test_many_runs_stay_readable(tmp_path: Path) -> None:
    """Only the newest stand beside one another; all are listed below."""
    for number in range(MAX_COLUMNS + 3):
        store(tmp_path / f"r{number:02}", result(verdicts=[valid()]), started_at=f"2026-11-{number + 1:02}T00:00:00Z")
    page = write_index(tmp_path).read_text()
    assert page.count('class="mark valid" href') == MAX_COLUMNS
    assert page.count('<code class="node">r') == MAX_COLUMNS + 3
    assert 'href="r00/report.html#e1"' not in page
