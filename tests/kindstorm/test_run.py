"""Judging a run: only VALID passes, a known-bad stack must be seen through, and the cluster is judged always."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from stored_runs import Says, store

from chaos.history import History
from chaos.report import ExperimentResult, Standing, standing
from kindstorm.checkers import INVALID, UNKNOWN, VALID, Outcome, quiescence
from kindstorm.run import Run, UnknownVerdictError

RESULTS: list[ExperimentResult] = []


@pytest.fixture(autouse=True)
def no_results() -> None:
    """Each test counts its own."""
    RESULTS.clear()


def a_run(directory: Path, history: History | None = None, *left_over: str, fault: bool = True) -> Run:
    """A run whose cluster was left with these volumes."""
    stored = store(directory, left_over=left_over, fault=fault)
    scenario = "scenarios/test_a.py::test_a[x y]"
    return Run(scenario, "A title.", "test_a-x y", 7, directory, history or stored, RESULTS.append)


def test_valid_passes(tmp_path: Path) -> None:
    """All verdicts come back, quiescence among them, and the result is recorded once."""
    verdicts = a_run(tmp_path).judge(Says(VALID), Says(VALID, "other"))
    assert [(v.checker, v.outcome) for v in verdicts] == [
        ("promise", VALID),
        ("other", VALID),
        ("quiescence", VALID),
    ]
    (result,) = RESULTS
    assert (result.verdicts, result.expected, result.error) == (tuple(verdicts), None, None)


def test_invalid_is_an_assertion_that_says_all(tmp_path: Path) -> None:
    """The culprit, what was found, the seed, the directory, and both commands, ready to be pasted."""
    with pytest.raises(AssertionError) as failed:
        a_run(tmp_path).judge(Says(VALID, "fine"), Says(INVALID))
    text = str(failed.value)
    assert text.startswith("test_a-x y: a promise is broken\n")
    assert "INVALID promise: the promise is invalid" in text
    assert "- web-1 broke it" in text
    assert f"seed 7; everything of it: {tmp_path}" in text
    assert f"judge again: pytest 'scenarios/test_a.py::test_a[x y]' --kindstorm-rejudge {tmp_path.parent}" in text
    assert "run again:   pytest 'scenarios/test_a.py::test_a[x y]' --kindstorm-seed 7" in text
    assert "VALID fine: the fine is valid" in text
    assert text.count("web-1 broke it") == 1
    assert len(RESULTS) == 1


def test_only_the_first_findings_are_spelled_out(tmp_path: Path) -> None:
    """A thousand findings are for the report, not for the terminal."""
    findings = tuple(f"finding {number};" for number in range(1000))
    with pytest.raises(AssertionError) as failed:
        a_run(tmp_path).judge(Says(INVALID, findings=findings))
    assert "finding 4;" in str(failed.value)
    assert "finding 5;" not in str(failed.value)


def test_unknown_is_an_error_of_its_own(tmp_path: Path) -> None:
    """It is no assertion, so it counts as an error; it says as much as a failure does."""
    with pytest.raises(UnknownVerdictError) as failed:
        a_run(tmp_path).judge(Says(VALID, "fine"), Says(UNKNOWN))
    text = str(failed.value)
    assert "nobody can tell" in text
    assert "UNKNOWN promise: the promise is unknown" in text
    assert "--kindstorm-rejudge" in text
    assert "--kindstorm-seed 7" in text


def test_invalid_outranks_unknown(tmp_path: Path) -> None:
    """A broken promise is a failure, whatever else nobody knows."""
    with pytest.raises(AssertionError):
        a_run(tmp_path).judge(Says(UNKNOWN), Says(INVALID, "other"))


def test_a_history_that_was_cut_off_is_unknown(tmp_path: Path) -> None:
    """What every checker calls VALID on half a history is not known."""
    whole = store(tmp_path / "whole")
    half = History(r for r in whole.records if not (r.kind == "closing" and r.source == "load"))
    with pytest.raises(UnknownVerdictError, match="the history is not whole"):
        a_run(tmp_path / "half", half).judge(Says(VALID))


def test_a_checker_that_crashes_is_unknown(tmp_path: Path) -> None:
    """Its defect neither passes nor fails the system."""

    class Crashes:
        name = "crash"

        def check(self, _: History) -> None:
            raise ZeroDivisionError("a defect")

    with pytest.raises(UnknownVerdictError, match="the checker crashed"):
        a_run(tmp_path).judge(Crashes())


def test_each_checker_is_held_to_what_is_declared_of_it(tmp_path: Path) -> None:
    """All three outcomes side by side; the report calls it as expected."""
    a_run(tmp_path).judge_each(
        invalid={Says(INVALID): "web-1 broke it"},
        unknown={Says(UNKNOWN, "other"): "the other is unknown"},
        valid=[Says(VALID, "third")],
    )
    assert (RESULTS[0].expected, standing(RESULTS[0]), RESULTS[0].departures) == (INVALID, Standing.EXPECTED, ())


@pytest.mark.parametrize(
    ("said", "words", "sentence"),
    [
        (VALID, "unknown", "other was to be UNKNOWN and is VALID: the other is valid"),
        (INVALID, "unknown", "other was to be UNKNOWN and is INVALID: the other is invalid"),
        (UNKNOWN, "a gap", "other is UNKNOWN, but does not say 'a gap': the other is unknown"),
    ],
)
def test_a_single_checker_that_departs_fails(tmp_path: Path, said: Outcome, words: str, sentence: str) -> None:
    """Also where all together come to what was expected; the report says it too."""
    with pytest.raises(AssertionError, match=f"test_a-x y: {sentence}\n"):
        a_run(tmp_path).judge_each(invalid={Says(INVALID): "broke"}, unknown={Says(said, "other"): words})
    assert (standing(RESULTS[0]), RESULTS[0].departures) == (Standing.MISSED, (sentence,))


def test_a_stack_of_which_only_valid_is_declared_must_be_valid(tmp_path: Path) -> None:
    """And quiescence is judged beside it, as always."""
    with pytest.raises(UnknownVerdictError):
        a_run(tmp_path, None, fault=False).judge_each(valid=[Says(VALID)])
    with pytest.raises(AssertionError, match="volume pvc-1 was left behind"):
        a_run(tmp_path, None, "pvc-1").judge_each(invalid={Says(INVALID): "web-1"})


@pytest.mark.parametrize("expected", [INVALID, UNKNOWN])
def test_what_is_expected_passes(tmp_path: Path, expected: Outcome) -> None:
    """A known-bad stack that is judged so is as it should be, and the result says what was expected."""
    a_run(tmp_path).judge(Says(expected), expect=expected)
    assert RESULTS[0].expected is expected


@pytest.mark.parametrize(
    ("expected", "judged"), [(INVALID, VALID), (INVALID, UNKNOWN), (UNKNOWN, VALID), (UNKNOWN, INVALID)]
)
def test_what_is_not_as_expected_fails(tmp_path: Path, expected: Outcome, judged: Outcome) -> None:
    """Exactly the expected outcome, nothing near it."""
    with pytest.raises(AssertionError, match=f"expected {expected}, judged {judged}"):
        a_run(tmp_path).judge(Says(judged), expect=expected)


def test_named_checkers_count_together(tmp_path: Path) -> None:
    """One of them INVALID is the expected INVALID."""
    a_run(tmp_path / "a").judge(Says(VALID), Says(INVALID, "other"), expect=INVALID)
    assert RESULTS[0].judged is INVALID


@pytest.mark.parametrize("expected", [VALID, INVALID, UNKNOWN])
def test_a_checker_must_be_named(tmp_path: Path, expected: Outcome) -> None:
    """That the cluster was left clean is no promise kept: nothing is recorded, and the run stays unjudged."""
    run = a_run(tmp_path)
    with pytest.raises(ValueError, match="name at least one checker"):
        run.judge(expect=expected)
    assert (run.judged, RESULTS) == (False, [])


@pytest.mark.parametrize("outcome", [VALID, INVALID, UNKNOWN])
def test_a_run_knows_that_it_was_judged(tmp_path: Path, outcome: Outcome) -> None:
    """Whatever the verdict; a run nobody judged says so."""
    run = a_run(tmp_path)
    assert not run.judged
    with contextlib.suppress(AssertionError, UnknownVerdictError):
        run.judge(Says(outcome))
    assert run.judged


@pytest.mark.parametrize("named", [VALID, INVALID, UNKNOWN])
@pytest.mark.parametrize("expected", [VALID, INVALID, UNKNOWN])
@pytest.mark.parametrize("left_over", [(), ("pv-1",)])
@pytest.mark.parametrize("fault", [True, False])
def test_the_report_says_what_the_test_does(
    tmp_path: Path, named: Outcome, expected: Outcome, left_over: tuple[str, ...], fault: bool
) -> None:
    """A test passes if, and only if, its result is one that may be green."""
    try:
        a_run(tmp_path, None, *left_over, fault=fault).judge(Says(named), expect=expected)
        passed = True
    except (AssertionError, UnknownVerdictError):
        passed = False
    clean = not left_over and (fault or expected is UNKNOWN)
    assert passed == (named is expected and clean)
    assert standing(RESULTS[0]).passes == passed


def test_a_left_over_is_not_the_expected_finding(tmp_path: Path) -> None:
    """A known-bad stack that nobody saw through stays unseen, although its cluster was left dirty."""
    with pytest.raises(AssertionError, match="expected INVALID, judged VALID"):
        a_run(tmp_path, None, "pv-1").judge(Says(VALID), expect=INVALID)
    assert standing(RESULTS[0]) is Standing.MISSED


def test_an_aborted_experiment_is_not_known(tmp_path: Path) -> None:
    """Its sealed history has no last word, so nothing in it is VALID; also not for a known-bad stack."""
    for expected, name in ((VALID, "a"), (INVALID, "b")):
        aborted = store(tmp_path / name, completed=False)
        with pytest.raises(UnknownVerdictError, match="the experiment did not come to its end"):
            a_run(tmp_path / f"{name}-run", aborted).judge(Says(expected), expect=expected)


@pytest.mark.parametrize("outcome", [VALID, INVALID, UNKNOWN])
def test_what_is_left_behind_fails_every_run(tmp_path: Path, outcome: Outcome) -> None:
    """Also one whose broken promise was expected: nobody expected this."""
    with pytest.raises(AssertionError, match="a promise is broken") as failed:
        a_run(tmp_path, None, "pv-1").judge(Says(outcome), expect=outcome)
    assert "volume pv-1 was left behind" in str(failed.value)


def test_an_unknown_quiescence_is_unknown(tmp_path: Path) -> None:
    """A sound promise on a cluster of which nobody knows is not VALID."""
    with pytest.raises(UnknownVerdictError, match="UNKNOWN quiescence"):
        a_run(tmp_path, fault=False).judge(Says(VALID))


def test_a_fault_that_could_not_be_is_as_expected(tmp_path: Path) -> None:
    """Where UNKNOWN is expected, quiescence may say it too."""
    a_run(tmp_path, fault=False).judge(Says(UNKNOWN), expect=UNKNOWN)


def test_a_verdict_outlives_an_interrupt_of_its_diagnostics(tmp_path: Path) -> None:
    """Who does not want to wait for them finds the broken promise in the report all the same."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    made = a_run(tmp_path)
    made.diagnose = interrupted
    with pytest.raises(KeyboardInterrupt):
        made.judge(Says(INVALID))
    (result,) = RESULTS
    assert standing(result) is Standing.INVALID


def test_quiescence_can_be_named(tmp_path: Path) -> None:
    """It is judged once, and its finding can be the expected one."""
    assert [v.checker for v in a_run(tmp_path / "a").judge(quiescence())] == ["quiescence"]
    a_run(tmp_path / "b", None, "pv-1").judge(quiescence(), expect=INVALID)
    with pytest.raises(AssertionError, match="a promise is broken"):
        a_run(tmp_path / "c", None, "pv-1").judge(quiescence())
