"""A session: seeds, names, stored runs, and one cluster that is sound or made anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stored_runs import Says, store

from chaos import cluster as clusters
from chaos import experiment, journal
from chaos.errors import ClusterError, HistoryError, ImageError, LoadError, StackError
from chaos.history import History
from chaos.journal import Entry
from chaos.stack import STACKS, Stack
from images import cache, engine, setup
from kindstorm.checkers import VALID
from kindstorm.profiles import HTTP_READS
from kindstorm.run import Run
from kindstorm.session import Options, Session

OPTIONS = Options(
    line=None, clocks="fast", seed=7, runs=Path("runs"), rejudge=None, keep=False, kubeconfig=None, node_image=None
)
SCENARIO = "scenarios/test_a.py::test_a"


class FakeCluster:
    """A cluster that deviates as it is told."""

    def __init__(self, name: str = "kindstorm-one") -> None:
        self.name = name
        self.found: list[str] = []
        self.marked = True
        self.kube: Any = None

    def require_mark(self) -> None:
        """See Cluster."""
        if not self.marked:
            raise ClusterError("it does not carry our mark")

    def settle(self, _timeout_s: float) -> list[str]:
        """See Cluster."""
        return self.found


class World:
    """What a session asks of the module that makes clusters, noted in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.made: list[FakeCluster] = []
        self.kept: FakeCluster | None = None
        self.swept: list[str] = []
        for name in ("create", "delete", "remember", "reusable", "attach", "sweep"):
            monkeypatch.setattr(clusters, name, getattr(self, name))
        monkeypatch.setattr(engine, "ensure", lambda: None)
        monkeypatch.setattr(engine, "inspect_image", lambda _: None)
        monkeypatch.setattr(setup, "require", lambda *_: {})

    def create(self, *_: object) -> FakeCluster:
        """See chaos.cluster."""
        self.made.append(FakeCluster(f"kindstorm-{len(self.made)}"))
        self.log.append(f"create {self.made[-1].name}")
        return self.made[-1]

    def delete(self, _catalogue: object, name: str, _log: Path) -> None:
        """See chaos.cluster."""
        self.log.append(f"delete {name}")

    def remember(self, cluster: FakeCluster) -> None:
        """See chaos.cluster."""
        self.log.append(f"remember {cluster.name}")

    def reusable(self, _spec: object) -> str | None:
        """See chaos.cluster."""
        return self.kept.name if self.kept else None

    def attach(self, _spec: object, name: str) -> FakeCluster:
        """See chaos.cluster."""
        assert self.kept is not None
        self.log.append(f"attach {name}")
        return self.kept

    def sweep(self, _catalogue: object, _log: Path, *, keep: bool) -> list[str]:
        """See chaos.cluster."""
        self.log.append(f"sweep keep={keep}")
        return self.swept


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """No cluster, but one that can be made."""
    return World(monkeypatch)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session with a run directory of the test's own."""
    return Session(replace(OPTIONS, runs=tmp_path / "runs"))


def run(session: Session, stack: Stack | None = None, scenario: str = SCENARIO) -> Run:
    """One experiment of the session."""
    return session.experiment(scenario, "A title.", stack or Stack.load(STACKS / "nginx.yaml"), HTTP_READS, [])


def leased_by_us(name: str) -> bool:
    """Whether somebody holds this cluster's lease."""
    with clusters.leased(name) as free:
        return not free


def test_a_seed_is_drawn_or_taken(tmp_path: Path) -> None:
    """The one that is given, 0 included; otherwise another for each session."""
    assert Session(replace(OPTIONS, seed=0)).seed == 0
    drawn = {Session(replace(OPTIONS, seed=None)).seed for _ in range(5)}
    assert len(drawn) > 1
    assert not (tmp_path / "runs").exists()


def test_an_unknown_line_is_one_sentence() -> None:
    """With the lines there are."""
    with pytest.raises(ImageError, match=r"Kubernetes 1\.2 is not in the catalogue; choose one of"):
        Session(replace(OPTIONS, line="1.2"))


def test_experiments_have_directories_of_their_own(
    session: Session, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second experiment of one test, and the variants of a parametrized one, do not meet; the cluster is shared."""
    plans: list[Any] = []
    monkeypatch.setattr(experiment, "run", lambda plan, *_: plans.append(plan) or store(plan.directory))
    names = [SCENARIO, SCENARIO, f"{SCENARIO}[x-1/2]", f"{SCENARIO}[x-1/2]"]
    runs = [run(session, scenario=name) for name in names]
    assert [r.experiment for r in runs] == ["test_a", "test_a-2", "test_a-x-1-2", "test_a-x-1-2-2"]
    assert [r.directory for r in runs] == [session.directory / r.experiment for r in runs]
    assert {plan.seed for plan in plans} == {7}
    assert [line for line in world.log if line.startswith("create")] == ["create kindstorm-0"]


def test_an_experiment_that_fails_is_a_result(session: Session, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes up, and the report gets its sentence and whatever history there is; also of an interrupt."""
    failures: list[BaseException] = [LoadError("no load"), KeyboardInterrupt(), ClusterError("no cluster")]

    def fail(plan: Any, *_: object) -> History:
        if len(failures) > 1:
            store(plan.directory)
        raise failures.pop(0)

    monkeypatch.setattr(experiment, "run", fail)
    for raised in (LoadError, KeyboardInterrupt, ClusterError):
        with pytest.raises(raised):
            run(session)
    assert [r.error for r in session.results] == ["no load", "interrupted", "no cluster"]
    assert [bool(r.history.records) for r in session.results] == [True, True, False]
    assert all(r.verdicts == () for r in session.results)
    assert world.log[-1] == "create kindstorm-0"


def with_image(**container: str) -> Stack:
    """A stack of one pod."""
    spec = {"containers": [{"name": "c", **container}]}
    return Stack("odd", ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec},))


@pytest.mark.parametrize(
    ("stack", "error", "complaint"),
    [
        (with_image(image="nobody/knows:1"), ImageError, "stack odd names the image nobody/knows:1"),
        (with_image(image="nginx:1.22.1", imagePullPolicy="Always"), StackError, "imagePullPolicy Always for nginx"),
    ],
)
def test_an_image_that_no_pod_could_get(
    session: Session, world: World, stack: Stack, error: type[Exception], complaint: str
) -> None:
    """It is refused before a cluster is made, and stands in the results."""
    with pytest.raises(error, match=complaint):
        run(session, stack)
    assert world.log == []
    assert complaint in str(session.results[0].error)


def test_a_stored_run_is_taken(tmp_path: Path, world: World) -> None:
    """By its own directory or by that of its session, with its own seed; no cluster, no new directory."""
    stored = store(tmp_path / "old" / "test_a", seed=99)
    for given in (tmp_path / "old" / "test_a", tmp_path / "old"):
        judging = Session(replace(OPTIONS, runs=tmp_path / "runs", rejudge=given))
        taken = run(judging)
        assert taken.history.records == stored.records
        assert (taken.seed, taken.directory, taken.experiment) == (99, tmp_path / "old" / "test_a", "test_a")
    assert world.log == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("given", ["old", "old/test_b", "nowhere", "old/test_a-2"])
def test_a_stored_run_that_is_not_there(tmp_path: Path, given: str) -> None:
    """Another scenario's run, an unknown directory: one sentence that names both."""
    store(tmp_path / "old" / "test_b")
    store(tmp_path / "old" / "test_a-2")
    with pytest.raises(HistoryError, match=f"{given} holds no stored run of test_a; name the directory"):
        run(Session(replace(OPTIONS, rejudge=tmp_path / given)))


def test_a_truncated_run_is_refused(tmp_path: Path) -> None:
    """Whether lines are missing at the end or one is cut, nothing is judged on it."""
    path = tmp_path / "test_a" / "history.jsonl"
    store(path.parent)
    whole = path.read_bytes()
    for rest, complaint in ((whole[: len(whole) // 2], "line"), (whole[: whole[:-1].rfind(b"\n") + 1], "its seal")):
        path.write_bytes(rest)
        with pytest.raises(HistoryError, match=complaint) as refused:
            run(Session(replace(OPTIONS, rejudge=path.parent)))
        assert str(path) in str(refused.value)


def test_a_sound_cluster_is_kept(session: Session, world: World) -> None:
    """It is made once, and leased as long as the session lives."""
    assert session.sound_cluster() is session.sound_cluster()
    assert world.log == ["sweep keep=False", "create kindstorm-0"]
    assert leased_by_us("kindstorm-0")
    assert session.notes == []


@pytest.mark.parametrize("how", ["deviates", "lost its mark"])
def test_an_unsound_cluster_is_made_anew(session: Session, world: World, how: str) -> None:
    """The old one is removed and let go of, its journal with it, and the report says why."""
    first: Any = session.sound_cluster()
    journal.plan(Entry(first.name, "scale", {}))
    journal.plan(Entry("another", "scale", {}))
    first.found, first.marked = (["volume pv: left over"], True) if how == "deviates" else ([], False)
    assert session.sound_cluster() is world.made[1]
    assert world.log[2:] == ["delete kindstorm-0", "sweep keep=False", "create kindstorm-1"]
    assert not leased_by_us("kindstorm-0")
    assert [e.cluster for e in journal.pending()] == ["another"]
    (note,) = session.notes
    why = "volume pv: left over" if how == "deviates" else "it does not carry our mark"
    assert note == f"cluster kindstorm-0 was not at its baseline and was made anew: {why}"


def test_what_was_swept_is_noted(session: Session, world: World) -> None:
    """A dead cluster of an earlier session is told of."""
    world.swept = ["kindstorm-dead"]
    session.sound_cluster()
    assert session.notes == ["a dead or stale cluster of ours was removed: kindstorm-dead"]


def kept_session(tmp_path: Path) -> Session:
    """A session with --keep-cluster."""
    return Session(replace(OPTIONS, runs=tmp_path / "runs", keep=True))


def test_a_kept_cluster_is_taken_up(tmp_path: Path, world: World) -> None:
    """With --keep-cluster nothing is made where one is there, and at the end it is kept again, and let go of."""
    world.kept = FakeCluster("kindstorm-kept")
    session = kept_session(tmp_path)
    assert session.sound_cluster() is world.kept
    assert leased_by_us("kindstorm-kept")
    session.finish()
    assert world.log == ["sweep keep=True", "attach kindstorm-kept", "remember kindstorm-kept"]
    assert not leased_by_us("kindstorm-kept")


def test_a_kept_cluster_that_deviates_is_made_anew(tmp_path: Path, world: World) -> None:
    """It is removed, and the note says why."""
    world.kept = FakeCluster("kindstorm-kept")
    world.kept.found = ["node worker: gone"]
    session = kept_session(tmp_path)
    assert session.sound_cluster() is world.made[0]
    assert world.log[2:] == ["delete kindstorm-kept", "create kindstorm-0"]
    assert "node worker: gone" in session.notes[0]
    assert leased_by_us("kindstorm-0")


def test_what_a_dead_session_left_is_undone(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept cluster's journal is undone before it is used, another's is not."""
    undone: list[Entry] = []
    monkeypatch.setattr("kindstorm.session.undo.undo", lambda _kube, entry: undone.append(entry))
    world.kept = FakeCluster("kindstorm-kept")
    journal.plan(Entry("kindstorm-kept", "scale", {}))
    journal.plan(Entry("another", "scale", {}))
    kept_session(tmp_path).sound_cluster()
    assert [e.cluster for e in undone] == ["kindstorm-kept"]


def test_the_end_writes_reports_and_removes_the_cluster(
    session: Session, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three reports say what was judged; the cluster goes, its lease too."""
    monkeypatch.setattr(experiment, "run", lambda plan, *_: store(plan.directory))
    run(session).judge(Says(VALID))
    path = session.finish()
    assert path == session.directory / "report.html"
    assert path.read_text().lstrip().startswith("<!")
    verdicts = json.loads((session.directory / "verdicts.json").read_text())
    assert [(e["experiment"], e["outcome"]) for e in verdicts["experiments"]] == [("test_a", "VALID")]
    assert (session.directory / "junit.xml").exists()
    assert world.log[-1] == "delete kindstorm-0"
    assert not leased_by_us("kindstorm-0")


def test_an_end_without_an_experiment_leaves_nothing(session: Session, world: World) -> None:
    """No report, no directory, nothing removed."""
    assert session.finish() is None
    assert not session.directory.exists()
    assert world.log == []


def test_a_report_that_cannot_be_written_does_not_keep_the_cluster(
    session: Session, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error goes up, and the cluster is gone all the same."""

    def fail(*_: object) -> None:
        raise OSError("disk full")

    session.sound_cluster()
    monkeypatch.setattr("kindstorm.session.report.write_verdicts", fail)
    with pytest.raises(OSError, match="disk full"):
        session.finish()
    assert world.log[-1] == "delete kindstorm-0"
