"""How verdicts count in pytest, seen from outside: whole sessions with a scenario whose experiment is made up."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from stored_runs import store

from chaos import errors, experiment
from chaos.history import History
from images import cache
from kindstorm.session import Session

pytest_plugins = ["pytester"]

SOUND_CLUSTER = Session.sound_cluster
PLUGINS = ["-p", "no:locust", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
"""The inner sessions do without what would only make them slow."""

SCENARIO = '''
"""A scenario."""
import pytest
from chaos.checkers import Verdict
from chaos import errors
from kindstorm.checkers import INVALID, UNKNOWN, VALID
from kindstorm.faults import kill_pod
from kindstorm.profiles import HTTP_READS
from kindstorm.targets import one

class Says:
    name = "promise"
    def __init__(self, outcome):
        self.outcome = outcome
    def check(self, history):
        return Verdict(self.name, self.outcome, "web-1 is to blame", {}, ("web-1 broke it",))

def test_a(experiment, stacks):
    """Pods come back."""
    run = experiment(stack=stacks.nginx(), workload=HTTP_READS, faults=[kill_pod(one())], MORE)
    run.judge(Says(OUTCOME), expect=EXPECTED)
'''


@pytest.fixture(autouse=True)
def no_cluster(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experiments are stored by hand; a session that would make a cluster fails."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(Session, "sound_cluster", lambda _: None)
    monkeypatch.setattr(experiment, "run", lambda plan, *_: store(plan.directory))


def write(pytester: pytest.Pytester, outcome: str = "VALID", expected: str = "VALID", more: str = "") -> Path:
    """Put the scenario into the inner session's directory."""
    text = SCENARIO.replace("OUTCOME", outcome).replace("EXPECTED", expected).replace("MORE", more)
    return pytester.makepyfile(test_scenario=text)


def inner(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run the inner session in this process."""
    return pytester.runpytest_inprocess(*PLUGINS, *args)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every experiment end with this."""

    def run(*_: object) -> History:
        raise error

    monkeypatch.setattr(experiment, "run", run)


def junit_of(pytester: pytest.Pytester) -> ElementTree.Element:
    """The test case of pytest's own junit.xml."""
    case = ElementTree.parse(pytester.path / "pytest.xml").getroot().find(".//testcase")  # noqa: S314 - written here
    assert case is not None
    return case


def run_directory(pytester: pytest.Pytester) -> Path:
    """The directory of the one session that ran."""
    (directory,) = (path for path in (pytester.path / "runs").iterdir() if path.is_dir())
    return directory


def test_valid_passes(pytester: pytest.Pytester) -> None:
    """Exit code 0, a table of verdicts, and a report whose path is said."""
    write(pytester)
    result = inner(pytester)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    assert (run_directory(pytester) / "report.html").exists()
    assert str(run_directory(pytester) / "report.html") in result.stdout.str().replace("\n", "")


def test_invalid_is_a_failure(pytester: pytest.Pytester) -> None:
    """Counted as failed, with the culprit and the commands in the terminal and in junit.xml."""
    write(pytester, "INVALID")
    result = inner(pytester, "--junitxml=pytest.xml", "--kindstorm-seed=7")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*INVALID promise: web-1 is to blame*", "*judge again: pytest *--kindstorm-rejudge *"])
    case = junit_of(pytester)
    assert case.find("failure") is not None
    assert case.find("error") is None


def test_unknown_is_an_error(pytester: pytest.Pytester) -> None:
    """Neither passed nor failed: an error, exit code 1, and an <error> for whoever reads junit.xml."""
    write(pytester, "UNKNOWN")
    result = inner(pytester, "--junitxml=pytest.xml", "-v")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*test_a: *UNKNOWN*", "*UNKNOWN promise: web-1 is to blame*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    case = junit_of(pytester)
    error = case.find("error")
    assert error is not None
    assert "nobody can tell" in str(error.text)
    assert case.find("failure") is None
    ours = ElementTree.parse(run_directory(pytester) / "junit.xml")  # noqa: S314 - written here
    assert ours.find(".//error") is not None


def test_a_known_bad_stack_passes_only_when_seen_through(pytester: pytest.Pytester) -> None:
    """An expected INVALID passes; a VALID in its place is a failure."""
    write(pytester, "INVALID", "INVALID")
    inner(pytester).assert_outcomes(passed=1)
    write(pytester, "VALID", "INVALID")
    inner(pytester).assert_outcomes(failed=1)


def test_our_own_failure_is_one_sentence(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, not a failure; what went wrong and no traceback; the reports are written all the same."""
    failing(monkeypatch, errors.LoadError("Locust is not there; install it"))
    write(pytester)
    result = inner(pytester, "--junitxml=pytest.xml")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["Locust is not there; install it"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*test_scenario.py:*: LoadError*")
    assert junit_of(pytester).find("error") is not None
    assert "Locust is not there" in (run_directory(pytester) / "report.html").read_text()


def test_our_own_failure_in_a_fixture_is_one_sentence(pytester: pytest.Pytester) -> None:
    """Before or after the test it counts the same."""
    pytester.makepyfile(
        """
        import pytest
        from chaos.errors import ClusterError

        @pytest.fixture
        def before():
            raise ClusterError("no cluster before")

        @pytest.fixture
        def after():
            yield
            raise ClusterError("no cluster after")

        def test_before(before): pass
        def test_after(after): pass
        """
    )
    result = inner(pytester)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["no cluster before", "no cluster after"])


def test_unsupported_is_a_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine cannot do is skipped with its reason, which the summary shows."""
    failing(monkeypatch, errors.Unsupported("this kernel has no netem"))
    write(pytester)
    result = inner(pytester, "-rs")
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["SKIPPED*this kernel has no netem*"])


def test_a_defect_is_a_failure_with_its_traceback(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no error of the harness is shown whole."""
    failing(monkeypatch, ZeroDivisionError("a defect"))
    write(pytester)
    result = inner(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError: a defect*"])


def test_an_interrupt_still_writes_the_report(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the session as an interrupt, and what was seen is reported."""
    failing(monkeypatch, KeyboardInterrupt())
    write(pytester)
    result = pytester.runpytest_inprocess(*PLUGINS, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "interrupted" in (run_directory(pytester) / "report.html").read_text()


@pytest.mark.parametrize(
    ("outcome", "counts"), [("VALID", {"passed": 1}), ("INVALID", {"failed": 1}), ("UNKNOWN", {"errors": 1})]
)
def test_a_stored_run_is_judged_without_a_cluster(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, outcome: str, counts: dict[str, int]
) -> None:
    """The scenario's own checkers judge it; there is a report, and nothing is run."""
    failing(monkeypatch, AssertionError("an experiment was run"))
    monkeypatch.setattr(Session, "sound_cluster", lambda _: pytest.fail("a cluster was asked for"))
    store(pytester.path / "old" / "test_a", scenario="test_scenario.py::test_a")
    write(pytester, outcome)
    result = inner(pytester, "--kindstorm-rejudge=old/test_a")
    result.assert_outcomes(**counts)
    if outcome != "VALID":
        result.stdout.fnmatch_lines([f"*{outcome} promise: web-1 is to blame*"])
    assert "web-1 is to blame" in (run_directory(pytester) / "results.json").read_text()


UNREADABLE = {
    "missing": "there is no directory old/test_a; name the directory of a run*",
    "empty": "old/test_a holds no stored run of test_a;*",
    "unfinished": "old/test_a was cut short before its history was sealed;*",
    "truncated": "*history.jsonl, last line: this is no line of a history*",
    "unsealed": "*history.jsonl does not end with its seal*",
    "changed": "*history.jsonl was changed after it was sealed*",
    "newer": "*history.jsonl has schema *; a newer kindstorm wrote it*",
}


@pytest.mark.parametrize("state", UNREADABLE)
def test_a_stored_run_that_cannot_be_read(pytester: pytest.Pytester, state: str) -> None:
    """One sentence that names it, as an error and never a verdict."""
    path = pytester.path / "old" / "test_a" / "history.jsonl"
    if state != "missing":
        store(path.parent, scenario="test_scenario.py::test_a")
        text = path.read_bytes()
        changed = {
            "truncated": text[:1000],
            "unsealed": text[: text[:-1].rfind(b"\n") + 1],
            "changed": text.replace(b'"healed"', b'"heaved"'),
            "newer": text.replace(b'"schema":', b'"schema":9'),
        }
        path.write_bytes(changed.get(state, text))
    if state in ("empty", "unfinished"):
        path.rename(path.with_name("harness.jsonl" if state == "unfinished" else "other"))
    write(pytester)
    result = inner(pytester, "--kindstorm-rejudge=old/test_a")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([UNREADABLE[state]])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_run_that_nobody_judged_is_an_error(pytester: pytest.Pytester) -> None:
    """A scenario without a verdict proves nothing: no pass, and the sentence says which run and what to do."""
    path = write(pytester)
    path.write_text(path.read_text().replace("run.judge(Says(VALID), expect=VALID)", "pass"))
    result = inner(pytester)
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["test_a was never judged; call judge() with the checkers it must pass"])
    assert (run_directory(pytester) / "test_a" / "diagnostics" / "index.txt").exists()
    result.stdout.no_fnmatch_line("*Traceback*")


def test_an_interrupt_before_the_verdict_waits_for_no_diagnostics(pytester: pytest.Pytester) -> None:
    """They may take a minute; the run is in the report as one that nobody judged."""
    path = write(pytester)
    path.write_text(path.read_text().replace("run.judge(Says(VALID), expect=VALID)", "raise KeyboardInterrupt"))
    result = pytester.runpytest_inprocess(*PLUGINS, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not (run_directory(pytester) / "test_a" / "diagnostics").exists()
    assert "its test ended before it was judged" in (run_directory(pytester) / "results.json").read_text()


def test_each_of_two_runs_must_be_judged(pytester: pytest.Pytester) -> None:
    """The one that was judged does not speak for the other; a failure of the test itself is not covered up."""
    path = write(pytester)
    once = path.read_text()
    again = "\n    experiment(stack=stacks.nginx(), workload=HTTP_READS, faults=[])\n"
    path.write_text(once + again)
    result = inner(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["test_a-2 was never judged; *"])
    path.write_text(once + again + "    assert 1 == 2\n")
    inner(pytester).assert_outcomes(failed=1)


def test_judging_again_skips_what_needs_a_cluster(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its reason; the stored run is judged."""
    monkeypatch.setattr(Session, "sound_cluster", SOUND_CLUSTER)
    store(pytester.path / "old" / "test_a", scenario="test_scenario.py::test_a")
    path = write(pytester)
    path.write_text(path.read_text() + "\ndef test_b(cluster): pass\n")
    result = inner(pytester, "--kindstorm-rejudge=old", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*stored runs are judged again without a cluster*"])


@pytest.mark.parametrize("error", [errors.ClusterError("kind is stuck [x]"), OSError("disk full [x]")])
def test_an_end_that_fails_is_no_pass(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """Every test passed, and still exit code 1 and one sentence at the end, without a traceback."""

    def fail(_: Session) -> None:
        raise error

    monkeypatch.setattr(Session, "finish", fail)
    write(pytester)
    result = inner(pytester)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert f"kindstorm: at the end: {error}" in result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_an_interrupt_at_the_end_is_an_interrupt(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the reports are written: they are there and their path is told, and the exit code is no pass."""
    finish = Session.finish

    def interrupted(session: Session) -> Path | None:
        finish(session)
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "finish", interrupted)
    write(pytester)
    result = inner(pytester)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "kindstorm: at the end: interrupted" in result.stderr.str()
    assert str(run_directory(pytester) / "report.html") in result.stdout.str().replace("\n", "")


def test_an_end_that_fails_hides_no_other_end(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted session is an interrupted one; one without tests is no success."""

    def fail(_: Session) -> None:
        raise errors.ClusterError("kind is stuck")

    monkeypatch.setattr(Session, "finish", fail)
    assert inner(pytester).ret == pytest.ExitCode.TESTS_FAILED
    failing(monkeypatch, KeyboardInterrupt())
    write(pytester)
    result = pytester.runpytest_inprocess(*PLUGINS, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "kind is stuck" in result.stderr.str()


def test_the_table_comes_last(pytester: pytest.Pytester) -> None:
    """After pytest's own last line, so that the report's path is what one sees."""
    write(pytester, "INVALID")
    text = inner(pytester).stdout.str()
    assert text.index("1 failed") < text.rindex("report.html")


def test_options_of_pytest_kind_are_read(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a session that names its cluster; pytest-kind's default name is nobody's choice."""
    seen: list[Any] = []
    monkeypatch.setattr(Session, "sound_cluster", lambda session: seen.append(session.options))
    write(pytester)
    inner(pytester)
    given = ["--kubeconfig=k", "--kind-bin=b", "--cluster-name=mine", "--kind-image=i", "--keep-cluster"]
    inner(pytester, *given)
    none, all_ = [(o.kubeconfig, o.kind, o.cluster_name, o.node_image, o.keep) for o in seen]
    assert none == (None, None, None, None, False)
    assert all_ == (Path("k"), Path("b"), "mine", "i", True)


def test_an_unknown_kubernetes_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """Exit code 4, with the lines there are, before anything is collected."""
    write(pytester)
    result = inner(pytester, "--kindstorm-kubernetes=1.2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: kindstorm: Kubernetes 1.2 is not in the catalogue; choose one of *1.37*"])
    assert not (pytester.path / "runs").exists()


SLIPS = {
    "faluts=[]": "experiment() takes no faluts; it takes stack, workload, faults, and may take steady, before_s, *",
    "before=3": "experiment() takes no before; it takes stack, workload, *",
    "before_s=-1": "experiment(): before_s is 0 or more seconds, not -1",
    "after_s='5'": "experiment(): after_s is 0 or more seconds, not '5'",
    "after_s=float('inf')": "experiment(): after_s is 0 or more seconds, not inf",
    "before_s=1799": "the workload http-reads ends after max_s=1800, and before_s, * come to 1804 s: *",
    "steady=WORKLOADS_READY": "experiment(): steady is a tuple of conditions, () for none, not Condition(*",
    "steady=(1,)": "experiment(): steady holds conditions of kindstorm.steady, not 1",
}
INSTEAD = {
    ("faults=[kill_pod(one())],", ""): "experiment() lacks faults; it takes *",
    (
        "faults=[kill_pod(one())]",
        "faults=kill_pod(one())",
    ): "experiment(): faults is a list, * for none, not KillPod*",
    ("faults=[kill_pod(one())]", "faults=[one()]"): "experiment(): faults holds faults, such as *, not One(*",
    (
        "faults=[kill_pod(one())]",
        "faults=[kill_pod(one(), hold_s=-3)]",
    ): "*hold_s of kill_pod is 0 or more seconds, not -3",
    ("stack=stacks.nginx()", "stack='nginx'"): "experiment(): stack is one of the fixture stacks, *, not 'nginx'",
    ("workload=HTTP_READS", "workload=20"): "experiment(): workload is one such as HTTP_READS, not 20",
    (
        "workload=HTTP_READS",
        "workload=HTTP_READS.with_(rate=3)",
    ): "a workload has no rate; it has name, user, users, rate_*",
    (
        "workload=HTTP_READS",
        "workload=HTTP_READS.with_(users=0)",
    ): "a workload's users is a whole number from 1 to 200, *",
    (
        "workload=HTTP_READS",
        "workload=HTTP_READS.with_(port=30081)",
    ): "*asks port 30081, no nodePort of stack nginx: it has 30080",
    (
        "stack=stacks.nginx()",
        "stack=stacks.load('own.yaml')",
    ): "own.yaml, line 7: nodePort 31000 is not mapped out of *",
    (
        "stack=stacks.nginx()",
        "stack=stacks.load('inner.yaml')",
    ): "stack inner has no nodePort where its clients could *",
    ("run.judge(Says", "run.judge(Says, Says"): "judge() takes checkers of kindstorm.checkers, *, not <class *",
    (
        "expect=VALID",
        "expect='VALID'",
    ): "judge(): expect is VALID, INVALID or UNKNOWN of kindstorm.checkers, not 'VALID'",
}
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports:\n  - port: 80\n"


def is_one_sentence(pytester: pytest.Pytester, said: str) -> None:
    """The inner session ends with this error, without a traceback, and no experiment was begun."""
    result = inner(pytester)
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    assert result.parseoutcomes().get("errors") == 1
    result.stdout.fnmatch_lines([said])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*test_scenario.py:[0-9]*")


@pytest.mark.parametrize("more", SLIPS)
def test_an_option_that_is_none_is_one_sentence(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    """A misspelt or impossible option is named with those there are, before a cluster is asked for."""
    monkeypatch.setattr(Session, "sound_cluster", lambda _: pytest.fail("a cluster was asked for"))
    path = write(pytester, more=more)
    path.write_text("from kindstorm.steady import WORKLOADS_READY\n" + path.read_text())
    is_one_sentence(pytester, SLIPS[more])


@pytest.mark.parametrize("change", INSTEAD, ids=lambda change: change[1] or "lacking")
def test_something_else_in_its_place_is_one_sentence(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]
) -> None:
    """What is no stack, workload, fault or checker, and what does not go together."""
    judged = change[0] in ("run.judge(Says", "expect=VALID")
    if not judged:
        monkeypatch.setattr(Session, "sound_cluster", lambda _: pytest.fail("a cluster was asked for"))
    (pytester.path / "own.yaml").write_text(SERVICE + "    nodePort: 31000\n")
    (pytester.path / "inner.yaml").write_text(SERVICE)
    path = write(pytester)
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    is_one_sentence(pytester, INSTEAD[change])


def test_a_slip_while_a_module_is_imported_is_one_sentence(pytester: pytest.Pytester) -> None:
    """As one in a test: no traceback, and not a pass."""
    path = write(pytester)
    path.write_text(path.read_text() + "\nWRITES = HTTP_READS.with_(rate=3)\n")
    is_one_sentence(pytester, "a workload has no rate; it has name, *")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--kindstorm-sed=3", "*unrecognized arguments: --kindstorm-sed=3*"),
        ("--kindstorm-seed=three", "*argument --kindstorm-seed: invalid int value: 'three'*"),
        ("--kindstorm-clocks=slow", "*argument --kindstorm-clocks: invalid choice: 'slow'*"),
        ("--kindstorm-runs=afile", "ERROR: kindstorm: --kindstorm-runs: afile is a file; name a folder"),
    ],
)
def test_a_wrong_option_is_a_usage_error(pytester: pytest.Pytester, option: str, said: str) -> None:
    """Exit code 4 and a sentence, before anything is collected."""
    (pytester.path / "afile").write_text("")
    result = inner(pytester, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def test_options_reach_the_experiment(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed, the run directory, the docstring's first line, and the seconds of load."""
    plans: list[Any] = []
    monkeypatch.setattr(experiment, "run", lambda plan, *_: plans.append(plan) or store(plan.directory))
    write(pytester, more="before_s=1.5, after_s=2.5")
    inner(pytester, "--kindstorm-seed=42", "--kindstorm-runs=elsewhere").assert_outcomes(passed=1)
    (plan,) = plans
    assert (plan.seed, plan.before_s, plan.after_s) == (42, 1.5, 2.5)
    assert plan.scenario == "test_scenario.py::test_a"
    assert plan.directory.parent.parent == pytester.path / "elsewhere"
    assert not (pytester.path / "runs").exists()


def test_a_session_without_a_scenario_leaves_nothing(pytester: pytest.Pytester) -> None:
    """Other people's tests are not disturbed, and no run directory is made."""
    pytester.makepyfile("def test_a(): pass\ndef test_b(): assert 0")
    inner(pytester).assert_outcomes(passed=1, failed=1)
    assert not (pytester.path / "runs").exists()


def test_pytest_never_imports_locust(pytester: pytest.Pytester) -> None:
    """A process of its own, with everything a scenario imports: neither locust nor gevent is among its modules."""
    store(pytester.path / "old" / "test_a", scenario="test_scenario.py::test_a")
    path = write(pytester)
    path.write_text(
        path.read_text() + "\n    import sys, threading, socket\n"
        "    assert not {'locust', 'gevent', 'geventhttpclient'} & set(sys.modules)\n"
        "    assert 'load.driver' in sys.modules\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:locust", "--kindstorm-rejudge=old")
    result.assert_outcomes(passed=1)
    assert "locust" not in sys.modules


@pytest.mark.parametrize("first", ["locust", "kindstorm"])
def test_locusts_own_fixtures_are_refused_whichever_plugin_came_first(pytester: pytest.Pytester, first: str) -> None:
    """Nobody says -p no:locust, and its fixture `session`, which would patch the process, never gets to it."""
    pytester.makepyfile(
        "import sys\n"
        "def test_a(session): pass\n"
        "def test_b(): assert not {'locust', 'gevent'} & set(sys.modules) and 'pytest_locust.plugin' in sys.modules\n"
    )
    result = pytester.runpytest_subprocess("-p", first, "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["the fixture session is Locust's and patches*pytest -p no:kindstorm*"])


def test_a_patched_process_is_refused(pytester: pytest.Pytester) -> None:
    """A conftest that patches as Locust does: what needs a cluster is an error that says so, the rest goes its way."""
    pytester.makeconftest("from gevent import monkey\nmonkey.patch_all()")
    write(pytester)
    pytester.makepyfile(test_more="def test_cluster(cluster): pass\ndef test_plain(): pass")
    result = pytester.runpytest_subprocess(*PLUGINS, "--kindstorm-rejudge=old")
    result.assert_outcomes(passed=1, errors=2)
    said = [line for line in result.outlines if "gevent has patched" in line and "take `import locust` out" in line]
    assert len(said) >= 2


def test_a_folder_of_the_user_that_hides_a_package_of_ours_is_named(pytester: pytest.Pytester) -> None:
    """`python -m pytest` puts the user's folder first, a `load` in it too: one sentence says which, and what to do."""
    pytester.mkpydir("load")
    pytester.makepyfile("def test_a(): pass")
    result = pytester.runpytest_subprocess()
    assert result.ret != pytest.ExitCode.OK
    result.stderr.fnmatch_lines([f"*needs its own package load and finds {pytester.path}/load/*python -m pytest*"])


def test_no_fixture_has_two_makers(pytester: pytest.Pytester) -> None:
    """Ours, pytest-kind's and Locust's are there side by side, and none hides another's."""
    result = pytester.runpytest_subprocess("--fixtures")
    names = [line.partition(" ")[0] for line in result.outlines if " -- " in line and not line.startswith(" ")]
    assert {"experiment", "stacks", "cluster", "kind_cluster"} <= set(names)
    assert len(names) == len(set(names))


def test_a_session_that_holds_stops_there(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that nobody judged is held like one that failed; no other test begins, and the way to look is told last."""

    def held(self: Session, *, passed: bool) -> None:
        if not passed and self.directory.exists():
            self.looked_at = "ks-nginx"

    monkeypatch.setattr(Session, "settle", held)
    monkeypatch.setattr(Session, "finish", lambda self: self.directory / "report.html")
    monkeypatch.setattr(Session, "print_summary", lambda self, _: sys.stdout.write(f"look at {self.looked_at}\n"))
    path = write(pytester)
    path.write_text(path.read_text().replace("    run.judge", "    return\n    run.judge") + "\ndef test_b(): pass\n")
    result = inner(pytester, "--kindstorm-hold")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*the cluster is held for looking at, so nothing more runs on it*", "look at ks-nginx"]
    )
