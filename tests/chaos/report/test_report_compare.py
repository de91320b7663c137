"""Two sides compared: what changed is told, noise is not, and one run is no sample."""

from pathlib import Path

import pytest
from rich.console import Console
from stored_sides import outage, store, store_side
from synthetic_runs import result, valid

from chaos.checkers.verdict import Outcome, Verdict
from chaos.errors import HistoryError
from chaos.report import compare, render_comparison, runs_at, write_comparison
from chaos.report.compare import STANDS, Comparison, Finding
from chaos.report.compare_page import amount, headline

SOON = [0.30, 0.35, 0.40, 0.45, 0.5, 0.55]
LATE = [2.0, 2.1, 2.2, 2.3, 2.4, 2.5]


def sides(before: Path, after: Path) -> Comparison:
    """What the command does with two paths."""
    return compare((before.name, after.name), runs_at(before), runs_at(after))


def findings(comparison: Comparison) -> dict[str, Finding]:
    """What was found of each figure of the only scenario."""
    (pair,) = comparison.pairs
    return {one.name: one.finding for one in (pair.stands, *pair.figures)}


def test_several_runs_tell_a_longer_outage_from_noise(tmp_path: Path) -> None:
    """Outage, error ratio and recovery are worse; latencies, which are the same, are not; swapped, better."""
    before, after = store_side(tmp_path / "before", SOON), store_side(tmp_path / "after", LATE)
    found = findings(sides(before, after))
    assert {name for name, one in found.items() if one is Finding.WORSE} == {
        "error ratio", "longest gap", "kill_pod on Pod web-1: ready",
    }  # fmt: skip
    assert found["latency, median"] is Finding.NOISE
    assert found[STANDS] is Finding.NOISE
    assert findings(sides(after, before))["longest gap"] is Finding.BETTER


def test_the_same_spread_on_both_sides_is_noise(tmp_path: Path) -> None:
    """Runs that differ among themselves as much as from the others are no finding."""
    before, after = store_side(tmp_path / "before", SOON), store_side(tmp_path / "after", SOON[::-1])
    assert set(findings(sides(before, after)).values()) == {Finding.NOISE}


def test_a_verdict_that_turned_everywhere_is_told(tmp_path: Path) -> None:
    """Six of six runs that passed and six of six that did not are more than noise."""
    before = store_side(tmp_path / "before", SOON)
    after = store_side(tmp_path / "after", SOON, Outcome.INVALID)
    comparison = sides(before, after)
    assert findings(comparison)[STANDS] is Finding.WORSE
    assert headline(comparison).startswith("1 of 1 scenarios does not stand the same in every run.")


def test_one_run_on_each_side_is_no_sample(tmp_path: Path) -> None:
    """Intervals that do not overlap are apart, others overlap; nothing is called worse or better."""
    before, after = store_side(tmp_path / "before", SOON[:1]), store_side(tmp_path / "after", LATE[:1])
    comparison = sides(before, after)
    found = findings(comparison)
    assert set(found.values()) == {Finding.APART, Finding.OVERLAP}
    assert found["longest gap"] is Finding.APART
    assert found["latency, median"] is Finding.OVERLAP
    assert "One run on each side is no sample" in comparison.basis


def test_a_few_errors_more_in_one_run_are_not_apart(tmp_path: Path) -> None:
    """Eight unanswered requests of 400 against six: so few say nothing."""
    before, after = store_side(tmp_path / "before", [0.30]), store_side(tmp_path / "after", [0.40])
    assert findings(sides(before, after))["error ratio"] is Finding.OVERLAP


def test_three_runs_on_a_side_are_too_few(tmp_path: Path) -> None:
    """Whatever they are, 3 against 3 could not be told from noise, and that is said."""
    before, after = store_side(tmp_path / "before", SOON[:3]), store_side(tmp_path / "after", LATE[:3])
    comparison = sides(before, after)
    assert set(findings(comparison).values()) == {Finding.FEW}
    assert "3 against 3 runs cannot show that" in comparison.basis
    assert headline(comparison).endswith("Too few runs: none of 5 figures can be told from noise.")


def test_what_is_on_one_side_only_is_missing(tmp_path: Path) -> None:
    """A scenario that was not run, and a figure that was not recorded, are not compared."""
    before = store(tmp_path / "before", result(outage(0.3), [valid()], scenario="a.py::t"))
    after = store(tmp_path / "after", result(verdicts=[valid()], scenario="a.py::t"),
                  result(outage(0.3), [valid()], scenario="b.py::t"))  # fmt: skip
    first, second = sides(before, after).pairs
    assert {one.finding for one in first.figures} == {Finding.MISSING}
    assert second.stands.finding is Finding.MISSING


def test_several_experiments_of_a_test_are_told_apart(tmp_path: Path) -> None:
    """The second of a test is compared with the second."""
    two = [result(outage(0.3), [valid()], scenario="a.py::t"), result(outage(2), [valid()], scenario="a.py::t")]
    comparison = sides(store(tmp_path / "before", *two), store(tmp_path / "after", *two))
    assert [pair.scenario for pair in comparison.pairs] == ["a.py::t", "a.py::t (experiment 2)"]
    assert {one.finding for pair in comparison.pairs for one in pair.figures} == {Finding.OVERLAP}


def test_what_the_sides_ran_on_is_told(tmp_path: Path) -> None:
    """Another Kubernetes is named; what is the same is not."""
    one = result(outage(0.3), [valid()])
    before, after = store(tmp_path / "a", one), store(tmp_path / "b", one, kubernetes="v1.37.0")
    assert sides(before, after).settings == (("Kubernetes", "v1.36.1", "v1.37.0"),)


def test_a_directory_without_runs_is_refused(tmp_path: Path) -> None:
    """With a sentence that says what to name."""
    with pytest.raises(HistoryError, match="name a run's directory, or one of several"):
        runs_at(tmp_path)
    with pytest.raises(HistoryError, match=r"holds no run: there is no results\.json"):
        runs_at(tmp_path / "nowhere")
    store(tmp_path / "run", result())
    (tmp_path / "run" / "results.json").write_text("{}")
    with pytest.raises(HistoryError, match="is not what kindstorm writes"):
        runs_at(tmp_path)


def test_page_and_terminal_say_the_same(tmp_path: Path) -> None:
    """Each finding's word with its sign, and a hostile title as text."""
    hostile = "<script>alert(1)</script>"
    bad = Verdict("availability", Outcome.INVALID, "too long a gap")
    before = store(tmp_path / "before", result(outage(0.3), [valid()], title=hostile))
    after = store(tmp_path / "after", result(outage(2.5), [bad], title=hostile))
    comparison = sides(before, after)
    write_comparison(comparison, tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text()
    console = Console(width=200, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115 - the console's own
    console.print(render_comparison(comparison))
    text = console.export_text()
    for said in (headline(comparison), "longest gap", "before", "after"):
        assert said in page
        assert said in text
    assert "≠ apart" in text
    assert '<span aria-hidden="true">≠</span> apart' in page
    assert hostile not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0123, "", "1.23%"), (0.5, "", "50.0%"), (0.0, "", "0.0%"), (12.345, "ms", "12.3 ms"), (2345.0, "ms", "2.35 s"),
     (0.5, "s", "0.50 s")],
)  # fmt: skip
def test_amounts_read_as_a_person_writes_them(value: float, unit: str, text: str) -> None:
    """Shares in percent, long times in seconds."""
    assert amount(value, unit) == text
