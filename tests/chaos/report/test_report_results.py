"""What counts as passed, results.json, and the summary on the terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest
from rich.console import Console
from synthetic_runs import a_run, result, self_healing, valid, whole_run

from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Record
from chaos.report import ExperimentResult, Standing, render_summary, standing, write_results
from chaos.report.evidence import cell, lay_out, words
from chaos.report.results import culprit
from chaos.report.results_file import schema

BAD = Verdict("durability", Outcome.INVALID, "write 41 is gone", {"lost": 1}, ("write 41 is gone",))
UNSURE = Verdict("identity", Outcome.UNKNOWN, "no pod was seen")
LEFT = Verdict("quiescence", Outcome.INVALID, "volume pv-1 was left behind")
NOT_READ = Verdict("quiescence", Outcome.UNKNOWN, "the baseline was not read")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (result(verdicts=[valid()]), Standing.VALID),
        (result(verdicts=[valid(), UNSURE]), Standing.UNKNOWN),
        (result(verdicts=[UNSURE, BAD]), Standing.INVALID),
        (result(), Standing.UNKNOWN),
        (result(error="no cluster"), Standing.ERROR),
        (result(verdicts=[valid()], error="the removal failed"), Standing.ERROR),
        (result(verdicts=[BAD], error="the removal failed"), Standing.INVALID),
        (result(verdicts=[BAD, valid()], expected=Outcome.INVALID), Standing.EXPECTED),
        (result(verdicts=[valid()], expected=Outcome.INVALID), Standing.MISSED),
        (result(verdicts=[UNSURE], expected=Outcome.INVALID), Standing.MISSED),
        (result(verdicts=[valid()], expected=Outcome.UNKNOWN), Standing.MISSED),
        (result(verdicts=[BAD], expected=Outcome.UNKNOWN), Standing.MISSED),
        (result(verdicts=[UNSURE], expected=Outcome.UNKNOWN), Standing.EXPECTED),
        (result(expected=Outcome.INVALID), Standing.MISSED),
        (result(verdicts=[valid(), BAD], expected=Outcome.INVALID, named=("availability",)), Standing.MISSED),
        (result(verdicts=[BAD, valid()], expected=Outcome.INVALID, named=("durability",)), Standing.EXPECTED),
        (result(verdicts=[BAD, LEFT], expected=Outcome.INVALID, named=("durability",)), Standing.INVALID),
        (result(verdicts=[BAD, UNSURE], expected=Outcome.INVALID, named=("durability",)), Standing.UNKNOWN),
        (result(verdicts=[UNSURE, NOT_READ], expected=Outcome.UNKNOWN, named=("identity",)), Standing.EXPECTED),
        (result(verdicts=[UNSURE, LEFT], expected=Outcome.UNKNOWN, named=("identity",)), Standing.INVALID),
        (result(verdicts=[valid(), LEFT], named=("availability",)), Standing.INVALID),
        (result(verdicts=[valid(), NOT_READ], named=("availability",)), Standing.UNKNOWN),
        (result(verdicts=[BAD], expected=Outcome.INVALID, error="cut off"), Standing.ERROR),
        (result(verdicts=[BAD], expected=Outcome.VALID), Standing.INVALID),
    ],
)
def test_standing(one: ExperimentResult, expected: Standing) -> None:
    """Only a kept promise and a known-bad stack seen through may be green."""
    assert standing(one) is expected
    assert standing(one).passes == (expected in (Standing.VALID, Standing.EXPECTED))


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (result(verdicts=[valid()]), ""),
        (result(verdicts=[valid(), UNSURE]), "identity: no pod was seen"),
        (result(), "no checker judged it"),
        (result(verdicts=[BAD], error="no cluster", expected=Outcome.INVALID), "no cluster"),
        (
            result(verdicts=[valid(), LEFT], expected=Outcome.INVALID, named=("availability",)),
            "expected INVALID, judged VALID: the checkers did not see it",
        ),
        (
            result(verdicts=[UNSURE], expected=Outcome.INVALID),
            "expected INVALID, judged UNKNOWN: identity: no pod was seen",
        ),
        (
            result(verdicts=[UNSURE, LEFT], expected=Outcome.INVALID, named=("identity",)),
            "expected INVALID, judged UNKNOWN: identity: no pod was seen",
        ),
        (result(expected=Outcome.INVALID), "no checker judged it"),
        (
            result(verdicts=[valid()], expected=Outcome.UNKNOWN),
            "expected UNKNOWN, judged VALID: the checkers did not see it",
        ),
        (
            result(verdicts=[BAD, LEFT], expected=Outcome.INVALID, named=("durability",)),
            "quiescence: volume pv-1 was left behind",
        ),
        (result(verdicts=[BAD], expected=Outcome.INVALID), "durability: write 41 is gone"),
    ],
)
def test_the_culprit_is_named(one: ExperimentResult, sentence: str) -> None:
    """One sentence that says why it stands as it does: of the named checkers, or of what nobody named."""
    assert culprit(one) == sentence


def written(tmp_path: Path, *results: ExperimentResult) -> dict[str, Any]:
    """What results.json holds after it was written."""
    write_results(whole_run()[0], results, tmp_path / "results.json")
    return dict(orjson.loads((tmp_path / "results.json").read_bytes()))


def test_the_results_file_is_as_its_schema_says(tmp_path: Path) -> None:
    """Every standing there is, a figure from numpy, a path and one that is no number: all of it validates."""
    odd = result(self_healing(5), [valid(path=Path("x"), ratio=float("nan"), count=np.int64(3))], error="x",
                 named=("durability",))  # fmt: skip
    document = written(tmp_path, *whole_run()[1], odd)
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(document, schema(), cls=jsonschema.Draft202012Validator)
    assert [e["outcome"] for e in document["experiments"]] == [
        "VALID", "INVALID", "INVALID", "VALID", "UNKNOWN", "VALID",
    ]  # fmt: skip
    assert document["experiments"][0]["records"]["op"] == 6000
    assert [f["name"] for f in document["experiments"][0]["figures"]][:2] == ["error ratio", "longest gap"]
    assert document["tests"][-1]["outcome"] == "skipped"
    assert not list(tmp_path.glob("*.partial"))


def test_the_schema_documents_every_key(tmp_path: Path) -> None:
    """No key is written that the schema does not name, and it demands each of them."""
    document, told = written(tmp_path, *whole_run()[1]), schema()
    parts = told["$defs"]
    for found, shape in (
        (document, told), (document["images"][0], parts["image"]), (document["tests"][0], parts["test"]),
        (document["experiments"][0], parts["experiment"]),
        (document["experiments"][0]["verdicts"][0], parts["verdict"]),
        (document["experiments"][0]["figures"][0], parts["figure"]),
    ):  # fmt: skip
        assert set(found) == set(shape["properties"]) == set(shape["required"])
    assert {place.value for place in Standing} == set(parts["standing"]["enum"])
    assert {outcome.value for outcome in Outcome} == set(parts["outcome"]["enum"])


@pytest.mark.parametrize(
    "break_it",
    [
        lambda document: document.update(version=1),
        lambda document: document["experiments"][0].update(standing="fine"),
        lambda document: document["experiments"][0]["figures"][0].update(measured=[None, 1]),
        lambda document: document["experiments"][0].pop("seed"),
    ],
)
def test_the_schema_refuses_what_is_not_so(tmp_path: Path, break_it: Callable[[dict[str, Any]], None]) -> None:
    """A schema that allows anything would document nothing."""
    document = written(tmp_path, *whole_run()[1])
    break_it(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema(), cls=jsonschema.Draft202012Validator)


def test_commands_quote_what_a_shell_would_read() -> None:
    """A parametrized node id can be pasted into a shell."""
    one = result(scenario="scenarios/test_x.py::test_y[a b]")
    assert one.run_again == "pytest 'scenarios/test_x.py::test_y[a b]' --kindstorm-seed 7"
    assert one.judge_again == "pytest 'scenarios/test_x.py::test_y[a b]' --kindstorm-rejudge runs/20261121-1"


def test_the_command_to_run_again_chooses_the_same_kubernetes() -> None:
    """The line and the clocks of the history's cluster are on it, as far as they are known."""
    seeded = "pytest a.py::t --kindstorm-seed 7"
    for cluster, options in (
        ({"line": "1.36", "clocks": "stock"}, " --kindstorm-kubernetes 1.36 --kindstorm-clocks stock"),
        ({"clocks": "fast"}, " --kindstorm-clocks fast"),
        ({}, ""),
    ):
        history = History([Record(0, "harness", "fact", {"name": "cluster", "value": cluster})])
        assert result(history, scenario="a.py::t").run_again == seeded + options


def test_terminal_names_the_culprit_and_ends_with_the_report() -> None:
    """Each verdict has a word, what is not VALID a sentence, and the report's path comes last."""
    run, results = whole_run()
    console = Console(width=160, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115 - the console's own
    console.print(render_summary(run, results))
    text = console.export_text()
    assert "durability: 312 acknowledged writes are gone" in text
    assert "≡ as expected" in text
    assert "judged VALID: the checkers did not see it" in text
    assert text.strip().endswith("report: runs/20261121-1/report.html")


def test_terminal_prints_brackets_as_they_are() -> None:
    """A node id's brackets are no markup."""
    console = Console(width=160, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115 - the console's own
    console.print(render_summary(a_run(), [result(scenario="a.py::t[red]", verdicts=[BAD])]))
    assert "a.py::t[red]" in console.export_text()


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("longest_gap_s", ("longest gap", "s")),
        ("gap_s_max", ("gap max", "s")),
        ("operations", ("operations", "")),
        ("s", ("s", "")),
    ],
)
def test_units_come_from_the_names_end(key: str, expected: tuple[str, str]) -> None:
    """Units last in names; a limit may follow."""
    assert words(key) == expected


def test_evidence_of_any_shape_is_laid_out() -> None:
    """Single values, maps, maps of maps, lists of maps and of lists, and long texts each find their place."""
    laid = lay_out({
        "count": 1_234_567, "by_phase": {"before": 1}, "parts": {"a": {"ok": 1}, "b": {"fail": 2}},
        "rows": [[1, 2], [3]], "many": [{"n": n} for n in range(30)], "traceback": "a\nb", "nothing": None, "none": [],
    })  # fmt: skip
    assert [(figure.name, figure.value) for figure in laid.figures] == [
        ("count", "1\u202f234\u202f567"), ("nothing", "\u2013"), ("none", "none"),
    ]  # fmt: skip
    assert laid.texts == (("traceback", "a\nb"),)
    tables = {table.name: table for table in laid.tables}
    assert tables["parts"].columns == ("", "ok", "fail")
    assert tables["rows"].rows == (("1", "2"), ("3", ""))
    assert (len(tables["many"].rows), tables["many"].omitted) == (20, 10)


def test_wide_rows_are_turned_and_intervals_read_as_such() -> None:
    """A recovery's many stages stand below one another, with what was never seen in words."""
    stages = {name: [0.5, 12.25] for name in "abcdefgh"} | {"endpoint": [3.0, None]}
    (table,) = lay_out({"faults": [{"fault": "kill_pod", "stages_ms": stages}]}).tables
    assert table.columns == ("fault", "kill_pod")
    assert ("stages a (ms)", "0.5 to 12.25") in table.rows
    assert ("stages endpoint (ms)", "3 to never seen") in table.rows


def test_lists_read_as_lists() -> None:
    """Lists in lists are told apart, and a list of sentences has a row for each."""
    assert cell([["10.0.0.1", "10.0.0.2"], ["10.0.0.3"]]) == "10.0.0.1, 10.0.0.2; 10.0.0.3"
    laid = lay_out(
        {"first": ["a sentence that goes on for quite a while, and then some more"] * 2, "short": ["a", "b"]}
    )
    assert [len(table.rows) for table in laid.tables] == [2]
    assert laid.figures[0].value == "a, b"


def test_a_long_cell_is_cut() -> None:
    """A cell never pushes the table off the page."""
    assert len(cell({"x": "y" * 1000})) == 240
