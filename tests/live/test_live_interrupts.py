"""A session that is interrupted undoes what it did, keeps what it saw, and passes nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inner_session import InnerSession

from chaos import cluster as clusters
from chaos import journal, provision
from chaos.cluster import Cluster
from chaos.waiting import poll
from kindstorm.plugin import SESSION

pytestmark = pytest.mark.live

SCALED = """
from kindstorm.checkers import availability
from kindstorm.faults import scale
from kindstorm.profiles import HTTP_READS

def test_inner(experiment, stacks):
    '''It is scaled.'''
    run = experiment(
        stack=stacks.nginx(), workload=HTTP_READS, faults=[scale("nginx-deployment", 3, hold_s=HOLD)],
        before_s=BEFORE, after_s=AFTER,
    )
    JUDGE
    run.judge(availability(error_ratio_max=0.1, gap_s_max=2.0))
"""
WRITES = """
from kindstorm.checkers import durability
from kindstorm.profiles import DOCUMENT_WRITES

def test_inner(experiment, stacks):
    '''It is written to.'''
    workload = DOCUMENT_WRITES.with_(port=30082, username="username", password="password")
    run = experiment(stack=stacks.mongo(), workload=workload, faults=[])
    run.judge(durability())
"""
BLOCKS = (
    "import threading; print('JUDGING', file=__import__('sys').__stderr__, flush=True); threading.Event().wait(200)"
)


def scaled(hold_s: float = 200, before_s: float = 1, after_s: float = 1, judge: str = "") -> str:
    """The scenario with its times and what it does before it judges."""
    values = {"HOLD": hold_s, "BEFORE": before_s, "AFTER": after_s, "JUDGE": judge}
    text = SCALED
    for name, value in values.items():
        text = text.replace(name, str(value))
    return text


@pytest.fixture
def lent(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Cluster]:
    """The session's cluster, let go for the time of the test so that another session can take it up."""
    session = request.config.stash[SESSION]
    provision.remember(cluster)
    session._lease.close()
    yield cluster

    def held() -> bool:
        return bool(session._lease.enter_context(clusters.leased(cluster.name)))

    poll(held, bool, timeout_s=60, what=f"{cluster.name} is ours again")


@pytest.fixture
def start(request: pytest.FixtureRequest, lent: Cluster, tmp_path: Path) -> Iterator[Callable[..., InnerSession]]:
    """Starts a session on the lent cluster."""
    started: list[InnerSession] = []
    line = request.config.getoption("--kindstorm-kubernetes")
    options = ["--kubeconfig", str(lent.kubeconfig), *(["--kindstorm-kubernetes", line] if line else [])]

    def begin(text: str, *args: str, conftest: str = "") -> InnerSession:
        folder = tmp_path / f"inner-{len(started)}"
        started.append(InnerSession(folder, text, *(args or options), conftest=conftest))
        return started[-1]

    yield begin
    for session in started:
        session.end()


def is_let_go(cluster: Cluster, inner: InnerSession) -> None:
    """No process, namespace or entry is left of it, and the cluster is nobody's."""
    assert inner.left_behind() == []
    assert journal.pending(cluster.name) == []
    assert [space.name for space in cluster.kube.list("Namespace") if space.name.startswith("ks-")] == []
    with clusters.leased(cluster.name) as free:
        assert free


def is_unknown(inner: InnerSession, tmp_path: Path) -> None:
    """Its history is whole as a file, says that it was aborted, and is UNKNOWN when judged again."""
    history = inner.history()
    assert history.cut_off() == ["the experiment did not come to its end"]
    (told,) = inner.verdicts()["experiments"]
    assert (told["error"], told["standing"], told["outcome"]) == ("interrupted", "error", "UNKNOWN")
    assert "interrupted" in (inner.directory / "report.html").read_text()
    text = (inner.folder / "test_inner.py").read_text()
    again = InnerSession(tmp_path / "again", text, "--kindstorm-rejudge", str(inner.directory))
    assert again.end() == pytest.ExitCode.TESTS_FAILED
    (verdict,) = again.verdicts()["experiments"]
    assert verdict["outcome"] == "UNKNOWN"


def scaled_up(cluster: Cluster) -> None:
    """Wait until the fault is in: three replicas are wanted, and two are on the journal."""

    def wanted() -> list[int]:
        found = cluster.kube.list("Deployment")
        return [seen.state["replicas"] for seen in found if seen.name == "nginx-deployment"]

    poll(wanted, lambda found: found == [3], timeout_s=60, what="three replicas")
    assert "scale" in {entry.verb for entry in journal.pending(cluster.name)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_under_a_fault_heals_it(
    lent: Cluster, start: Callable[..., InnerSession], tmp_path: Path, number: int
) -> None:
    """Ctrl-C, or a CI system's SIGTERM, while a workload is scaled: healed, removed, sealed, UNKNOWN, exit code 2."""
    inner = start(scaled())
    inner.until(" fault")
    scaled_up(lent)
    inner.interrupt(number)
    assert inner.end() == pytest.ExitCode.INTERRUPTED
    is_let_go(lent, inner)
    is_unknown(inner, tmp_path)
    (fault,) = inner.history().faults()
    assert fault.at("healed") is not None
    states = [r["state"]["replicas"] for r in inner.history().objects("Deployment", "nginx-deployment")]
    assert 3 in states
    assert states[-1] == 2


@pytest.mark.full
@pytest.mark.parametrize("phase", ["deploy", "steady", "before", "recover", "after", "verify", "remove"])
def test_an_interrupt_in_any_phase(
    lent: Cluster, start: Callable[..., InnerSession], tmp_path: Path, phase: str
) -> None:
    """Wherever it comes, also in the clean-up itself, which is finished first."""
    inner = start(WRITES if phase == "verify" else scaled(hold_s=1, before_s=3, after_s=3))
    inner.until(f" {phase}")
    inner.interrupt()
    assert inner.end() == pytest.ExitCode.INTERRUPTED
    is_let_go(lent, inner)
    is_unknown(inner, tmp_path)


@pytest.mark.full
def test_an_interrupt_before_it_is_judged(lent: Cluster, start: Callable[..., InnerSession]) -> None:
    """The experiment came to its end and nobody judged it: in the report as such, and no pass."""
    inner = start(scaled(hold_s=0, judge=BLOCKS), "--kubeconfig", str(lent.kubeconfig), "--capture=no")
    inner.until("JUDGING")
    inner.interrupt()
    assert inner.end() == pytest.ExitCode.INTERRUPTED
    is_let_go(lent, inner)
    (told,) = inner.verdicts()["experiments"]
    assert (told["error"], told["outcome"]) == ("its test ended before it was judged", "UNKNOWN")


SLOW_REPORT = """
import sys
import threading
from chaos import interrupts, report

write = report.write_report

def slowly(*args):
    print("REPORTING", file=sys.__stderr__, flush=True)
    while not interrupts.waiting():
        threading.Event().wait(0.05)
    write(*args)

report.write_report = slowly
"""


@pytest.mark.full
def test_an_interrupt_while_the_report_is_written(lent: Cluster, start: Callable[..., InnerSession]) -> None:
    """It is written to its end; the session is an interrupted one, whatever its tests came to."""
    inner = start(scaled(hold_s=0), conftest=SLOW_REPORT)
    inner.until("REPORTING")
    inner.interrupt()
    assert inner.end() == pytest.ExitCode.INTERRUPTED
    is_let_go(lent, inner)
    (told,) = inner.verdicts()["experiments"]
    assert told["error"] is None
    assert (inner.directory / "report.html").exists()


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_a_cluster_is_made(start: Callable[..., InnerSession], number: int) -> None:
    """Of the half-made one nothing is left: no node, no folder, no lease."""
    before = set(clusters.node_containers())
    folders = set(clusters.folder("x").parent.iterdir())
    inner = start(scaled(), "--keep-cluster", "--kindstorm-clocks", "stock")
    inner.until("making a cluster")
    nodes = poll(
        lambda: set(clusters.node_containers()) - before, bool, timeout_s=120, what="the first node", interval_s=0.05
    )
    inner.interrupt(number)
    assert inner.end() == pytest.ExitCode.INTERRUPTED
    assert nodes.isdisjoint(clusters.node_containers())
    assert set(clusters.node_containers()) <= before
    assert {path for path in clusters.folder("x").parent.iterdir() if path.is_dir()} <= folders
    assert inner.left_behind() == []
    (told,) = inner.verdicts()["experiments"]
    assert told["error"] == "interrupted"


@pytest.mark.full
def test_what_a_second_interrupt_leaves_the_next_session_undoes(
    lent: Cluster, start: Callable[..., InnerSession]
) -> None:
    """It stands in the journal; a session that takes the cluster up removes it, and need not make another."""
    inner = start(scaled())
    inner.until(" fault")
    scaled_up(lent)
    inner.interrupt()
    inner.until(" remove")
    inner.interrupt()
    assert inner.end() == pytest.ExitCode.INTERRUPTED
    assert inner.left_behind() == []
    assert [entry.verb for entry in journal.pending(lent.name)] == ["remove_namespace"]
    after = start("def test_inner(cluster):\n    assert cluster.name == " + repr(lent.name), "--keep-cluster")
    assert after.end() == pytest.ExitCode.OK, after.text
    is_let_go(lent, after)
