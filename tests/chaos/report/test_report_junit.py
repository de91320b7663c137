"""junit.xml says what a machine may take for passed."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from synthetic_runs import a_run, result, valid, whole_run

from chaos.checkers.verdict import Outcome, Verdict
from chaos.report import ExperimentResult, write_junit

BAD = Verdict("durability", Outcome.INVALID, "write 41 is gone\x00", {"lost": 1}, ("write 41",))
UNSURE = Verdict("identity", Outcome.UNKNOWN, "no pod was seen")
NODE = "scenarios/test_x.py::test_y"


def cases(path: Path, outcome: str, *results: ExperimentResult) -> ET.Element:
    """The suite of a run of one test."""
    write_junit(a_run([(NODE, outcome, 1.5, "said so")]), results, path / "junit.xml")
    suite = ET.parse(path / "junit.xml").getroot().find("testsuite")  # noqa: S314 - we wrote it just now
    assert suite is not None
    return suite


@pytest.mark.parametrize(
    ("outcome", "results", "tag"),
    [
        ("passed", [result(scenario=NODE, verdicts=[valid()])], None),
        ("passed", [result(scenario=NODE, verdicts=[BAD], expected=Outcome.INVALID)], None),
        ("failed", [result(scenario=NODE, verdicts=[BAD])], "failure"),
        ("passed", [result(scenario=NODE, verdicts=[BAD])], "failure"),
        ("failed", [result(scenario=NODE, verdicts=[UNSURE])], "error"),
        ("failed", [result(scenario=NODE, verdicts=[UNSURE]), result(scenario=NODE, verdicts=[BAD])], "failure"),
        ("passed", [result(scenario=NODE, verdicts=[valid()], expected=Outcome.INVALID)], "failure"),
        ("failed", [result(scenario=NODE, error="no cluster")], "error"),
        ("skipped", [result(scenario=NODE, error="this machine has no second node image")], "skipped"),
        ("skipped", [result(scenario=NODE, verdicts=[UNSURE])], "error"),
        ("failed", [result(scenario=NODE, verdicts=[valid()])], "failure"),
        ("passed", [], None),
        ("skipped", [], "skipped"),
        ("error", [], "error"),
        ("failed", [], "failure"),
    ],
)
def test_mapping(tmp_path: Path, outcome: str, results: list[ExperimentResult], tag: str | None) -> None:
    """INVALID is a failure, UNKNOWN an error, UNSUPPORTED a skip; a verdict outweighs pytest's own word."""
    suite = cases(tmp_path, outcome, *results)
    (case,) = suite.iter("testcase")
    assert [one.tag for one in case if one.tag != "properties"] == ([tag] if tag else [])
    counted = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    assert {name: suite.get(name) for name in counted.values()} == {
        name: str(int(one == tag)) for one, name in counted.items()
    }
    assert (suite.get("tests"), case.get("classname"), case.get("name")) == ("1", "scenarios.test_x", "test_y")


def test_cases_carry_verdicts_findings_and_commands(tmp_path: Path) -> None:
    """Who reads only junit.xml still learns what was found and how to judge it again; control characters are out."""
    (case,) = cases(tmp_path, "failed", result(scenario=NODE, verdicts=[BAD])).iter("testcase")
    facts = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert facts["self-healing-0.durability"] == "INVALID: write 41 is gone\ufffd"
    assert facts["self-healing-0.durability.evidence"] == '{"lost":1}'
    text = case.findtext("failure") or ""
    assert "durability: write 41" in text
    assert "--kindstorm-rejudge" in text


def test_an_experiment_without_a_test_gets_a_case(tmp_path: Path) -> None:
    """What pytest lost is not lost here."""
    suite = cases(tmp_path, "passed", result(scenario="other.py::gone", verdicts=[BAD]))
    assert [(c.get("name"), c.find("failure") is not None) for c in suite.iter("testcase")] == [
        ("test_y", False),
        ("gone", True),
    ]


def test_a_whole_run_adds_up(tmp_path: Path) -> None:
    """Every standing at once: the counts are those of the cases."""
    run, results = whole_run()
    write_junit(run, results, tmp_path / "junit.xml")
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]  # noqa: S314 - we wrote it just now
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["6", "2", "1", "1"]
