"""The pytest plugin: options, fixtures, and how verdicts count. Installed with the package, it needs no conftest."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chaos.cluster import Cluster
from chaos.errors import HarnessError, Unsupported
from kindstorm.run import Run, UnknownVerdictError
from kindstorm.scenario import asked
from kindstorm.session import Options, Session
from kindstorm.stacks import Stacks

SESSION = pytest.StashKey[Session]()
PYTEST_KIND_NAME = "pytest-kind"
"""pytest-kind's default for --cluster-name; it says that nobody chose one."""
REPORT = pytest.StashKey[Path | None]()
FAILURE = pytest.StashKey[str]()
RUNS = pytest.StashKey[list[Run]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our options; --keep-cluster, --kubeconfig, --kind-image are pytest-kind's own and are read."""
    group = parser.getgroup("kindstorm", "kindstorm: chaos on real kind clusters")
    group.addoption("--kindstorm-kubernetes", metavar="LINE", help="the line of Kubernetes, such as 1.37")
    group.addoption(
        "--kindstorm-clocks",
        choices=("fast", "stock"),
        default="fast",
        help="Kubernetes' own clocks: shortened for a laptop (fast, the default) or untouched (stock)",
    )
    group.addoption("--kindstorm-seed", type=int, metavar="N", help="replay the targets of the run with this seed")
    group.addoption("--kindstorm-runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept")
    group.addoption("--kindstorm-catalogue", type=Path, metavar="FILE", help="a catalogue (TOML) of images of your own")
    group.addoption(
        "--kindstorm-rejudge", type=Path, metavar="RUN_DIR", help="judge a stored run again, with no cluster"
    )
    group.addoption(
        "--kindstorm-hold",
        action="store_true",
        help="stop at the first experiment that does not pass, and leave its cluster with the stack to be looked at",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take note of the options; nothing is made before a scenario asks for it."""
    option = config.getoption
    kubeconfig = option("kubeconfig", None)
    options = Options(
        line=option("--kindstorm-kubernetes"),
        clocks=option("--kindstorm-clocks"),
        seed=option("--kindstorm-seed"),
        runs=option("--kindstorm-runs"),
        rejudge=option("--kindstorm-rejudge"),
        hold=option("--kindstorm-hold"),
        keep=bool(option("keep_cluster", False)),
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        node_image=option("kind_image", None),
        kind=Path(option("kind_bin")) if option("kind_bin", None) else None,
        catalogue=option("--kindstorm-catalogue"),
        cluster_name=None if option("cluster_name", None) == PYTEST_KIND_NAME else option("cluster_name", None),
    )
    if options.runs.is_file():
        raise pytest.UsageError(f"kindstorm: --kindstorm-runs: {options.runs} is a file; name a folder")
    try:
        session = Session(options)
    except HarnessError as error:
        raise pytest.UsageError(f"kindstorm: {error}") from error

    def say(text: str) -> None:
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        capture: Any = config.pluginmanager.getplugin("capturemanager")
        if reporter is None:
            return
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.write(f" {text}" if not text.endswith("\n") else text, flush=True)

    session.say = say
    config.stash[SESSION] = session


@pytest.fixture
def stacks() -> Stacks:
    """The documented stacks by name, and any other manifest by its path."""
    return Stacks()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> None:
    """Refuse the fixtures of Locust's own pytest plugin before they import Locust, which patches this process.

    That plugin comes along with Locust and loads by itself, before or after this one; loading it patches nothing yet.
    """
    if fixturedef.func.__module__.partition(".")[0] in ("pytest_locust", "locust"):
        raise HarnessError(
            f"the fixture {fixturedef.argname} is Locust's and patches the process it runs in, which kindstorm cannot "
            "bear; run the tests that use it by themselves, with `pytest -p no:kindstorm`"
        )


def _require_real_threads() -> None:
    """Refuse a process whose threads and sockets gevent has replaced: a watch that blocks would block the others."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and any(map(monkey.is_module_patched, ("thread", "socket", "select", "time"))):
        raise HarnessError(
            "gevent has patched this pytest's threads and sockets, as importing Locust does, and kindstorm needs the "
            "real ones: take `import locust` out of conftest.py and the tests, or run those by themselves, with "
            "`pytest -p no:kindstorm`"
        )


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The session's cluster at its baseline, for tests that need no experiment."""
    _require_real_threads()
    return request.config.stash[SESSION].sound_cluster()


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> Callable[..., Run]:
    """Run one experiment on the session's cluster and get its stored history to judge.

    ``experiment(stack=..., workload=..., faults=[...])``; optional: ``steady`` (conditions), ``before_s`` and
    ``after_s`` (seconds of load before the fault and after the recovery): see kindstorm.scenario.
    """
    session = request.config.stash[SESSION]
    scenario = request.node.nodeid
    title = (inspect.getdoc(request.function) or request.node.name).splitlines()[0]

    def run(**options: Any) -> Run:
        _require_real_threads()
        made = session.experiment(scenario, title, asked(options))
        runs.append(made)
        return made

    runs = request.node.stash.setdefault(RUNS, [])
    return run


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """A scenario that forgets to judge what it ran has proved nothing; one that fails before it does needs a reason."""
    unjudged: list[str] = []
    interrupted = False
    try:
        result = yield
    except KeyboardInterrupt:  # who wants an end is not kept waiting for diagnostics
        interrupted = True
        raise
    finally:
        for run in pyfuncitem.stash.get(RUNS, []):
            if not run.judged and not interrupted:
                run.diagnose()
                unjudged.append(run.experiment)
    if unjudged:
        raise UnknownVerdictError(
            f"{', '.join(unjudged)} was never judged; call judge() with the checkers it must pass"
        )
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A broken promise is a failure; an unknown verdict or our own failure is an error; unsupported is a skip."""
    if call.excinfo is not None and call.excinfo.errisinstance(Unsupported):
        skipped = pytest.skip.Exception(str(call.excinfo.value)).with_traceback(call.excinfo.tb)
        call.excinfo = pytest.ExceptionInfo.from_exception(skipped)
    outcome: Any = yield
    report: pytest.TestReport = outcome
    if call.excinfo is not None and call.excinfo.errisinstance((UnknownVerdictError, HarnessError)):
        # pytest counts every failure outside "call" as an error
        unknown = call.excinfo.errisinstance(UnknownVerdictError)
        report.when = "verdict" if unknown else "harness"  # type: ignore[assignment]
        report.longrepr = item.config.stash[SESSION].redactor.text(str(call.excinfo.value))
    session = item.config.stash[SESSION]
    if "experiment" in getattr(item, "fixturenames", ()):
        _note_test(session, report)
    if call.when == "call":
        session.settle(passed=False)  # what still stands was never judged
    if session.looked_at is not None:
        item.session.shouldfail = "the cluster is held for looking at, so nothing more runs on it"
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """A slip that shows while a test's module is imported is its sentence too."""
    report: Any = yield
    call = getattr(report, "call", None)
    if call is not None and call.excinfo is not None and call.excinfo.errisinstance(HarnessError):
        report.longrepr = str(call.excinfo.value)
    return report


def _note_test(session: Session, report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        message = str(report.longrepr) if report.longrepr else ""
        session.tests.append((report.nodeid, outcome, report.duration, message))


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show what is not known as an error, never as a failure or a pass."""
    words = {"verdict": "UNKNOWN", "harness": "ERROR"}
    when = getattr(report, "when", None)
    return ("error", "E", words[when]) if report.failed and when in words else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the reports and let go of the cluster, also after an interrupt. What fails here is told, and is no pass."""
    ours = session.config.stash.get(SESSION, None)
    if ours is None:
        return
    try:
        session.config.stash[REPORT] = ours.finish()
    except KeyboardInterrupt:
        session.config.stash[FAILURE] = "interrupted"
        written = ours.directory / "report.html"
        session.config.stash[REPORT] = written if written.exists() else None
        session.exitstatus = pytest.ExitCode.INTERRUPTED
    except (HarnessError, OSError) as error:
        session.config.stash[FAILURE] = str(error)
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """The table of verdicts and the path of the report, after all that pytest itself has to say."""
    path = config.stash.get(REPORT, None)
    if path is not None:
        config.stash[SESSION].print_summary(path)
    if FAILURE in config.stash:
        Console(stderr=True).print(f"kindstorm: at the end: {config.stash[FAILURE]}", style="red", markup=False)
