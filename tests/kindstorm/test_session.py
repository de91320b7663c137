"""A session: seeds, names, stored runs, and one cluster that is sound or made anew."""

from __future__ import annotations

import contextlib
import errno
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from stored_runs import Says, store

from chaos import cluster as clusters
from chaos import experiment, journal, provision
from chaos.cluster import ClusterSpec
from chaos.errors import (
    ClusterError,
    FaultError,
    HistoryError,
    ImageError,
    LoadError,
    MachineError,
    StackError,
    Unsupported,
)
from chaos.history import History
from chaos.journal import Entry
from chaos.kind import Kind
from chaos.report import standing
from chaos.stack import STACKS, Stack
from images import cache, engine, registry, setup
from kindstorm import session as session_module
from kindstorm.checkers import INVALID, UNKNOWN, VALID, Outcome, Verdict
from kindstorm.profiles import HTTP_READS
from kindstorm.run import Run, UnknownVerdictError
from kindstorm.scenario import Asked
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
        self.spec: Any = None
        self.kubeconfig = Path("kubeconfig")
        self.kube: Any = None
        self.kubeconfig = Path(f"/{name}/kubeconfig")

    def containers(self) -> list[str]:
        """See Cluster."""
        return []

    def require_mark(self) -> None:
        """See Cluster."""
        if not self.marked:
            raise ClusterError("it does not carry our mark")

    def settle(self, _timeout_s: float) -> list[str]:
        """See Cluster."""
        assert journal.pending(self.name) == [], "what is to be undone was not undone yet"
        return self.found


class World:
    """What a session asks of the module that makes clusters, noted in order; its lease is looked for each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.made: list[FakeCluster] = []
        self.kept: FakeCluster | None = None
        self.held: list[str] = []
        self.swept: list[str] = []
        self.errors: dict[str, BaseException] = {}
        self.missing: set[str] = set()
        self.kinds: set[Path] = set()
        for name in ("create", "delete", "remember", "reusable", "attach", "sweep", "name_in", "new_name", "hold"):
            monkeypatch.setattr(provision, name, getattr(self, name))
        monkeypatch.setattr(provision, "keys_in", lambda _: ["its-client-key"])
        monkeypatch.setattr(engine, "ensure", lambda: None)
        monkeypatch.setattr(engine, "inspect_image", lambda name: None if name in self.missing else {"Id": name})
        self.refused = ""
        monkeypatch.setattr(engine, "docker", self.docker)
        monkeypatch.setattr(setup, "require", lambda *_: {})
        monkeypatch.setattr(setup, "kind_command", lambda _: Path("/our/kind"))

    def docker(self, *_: str, timeout_s: float) -> str:
        """Pull an image, or refuse to."""
        assert timeout_s > 0
        if self.refused:
            raise ClusterError(self.refused)
        return ""

    def step(self, verb: str, name: str) -> None:
        """Note it, which only the holder of the lease may do, or fail at it."""
        assert leased_by_us(name), f"{verb} {name} without its lease"
        self.log.append(f"{verb} {name}")
        if verb in self.errors:
            raise self.errors[verb]

    def new_name(self) -> str:
        """See chaos.provision."""
        return f"kindstorm-{len(self.made)}"

    def create(self, driver: Kind, spec: ClusterSpec, name: str) -> FakeCluster:
        """See chaos.provision."""
        self.kinds.add(driver.command)
        self.step("create", name)
        self.made.append(FakeCluster(name))
        self.made[-1].spec = spec
        return self.made[-1]

    def delete(self, _kind: object, name: str) -> None:
        """See chaos.provision."""
        self.step("delete", name)

    def remember(self, cluster: FakeCluster) -> None:
        """See chaos.provision."""
        self.step("remember", cluster.name)

    def hold(self, cluster: FakeCluster, namespace: str) -> None:
        """See chaos.provision."""
        self.step("hold", f"{cluster.name}")
        assert namespace == "ks-nginx"

    def reusable(self, _spec: object) -> list[str]:
        """See chaos.provision."""
        return [*self.held, *([self.kept.name] if self.kept else [])]

    def name_in(self, kubeconfig: Path) -> str:
        """See chaos.provision."""
        return kubeconfig.stem

    def attach(self, _spec: object, name: str) -> FakeCluster:
        """See chaos.provision."""
        self.step("attach", name)
        assert self.kept is not None
        return self.kept

    def sweep(self, _kind: object, *, keep: bool, looked_at: bool = False) -> list[str]:
        """See chaos.provision."""
        self.log.append(f"sweep keep={keep}{' looked_at' if looked_at else ''}")
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
    return session.experiment(scenario, "A title.", Asked(stack or Stack.load(STACKS / "nginx.yaml"), HTTP_READS, []))


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
    names = [SCENARIO, SCENARIO, f"{SCENARIO}[x:1/2]", f"{SCENARIO}[x*1/2]"]
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
    indices = [r.diagnostics for r in session.results]
    assert indices[2] is None, "where nothing was written there is nothing to find out about"
    for index in filter(None, indices):
        told = index.read_text()
        assert "harness.txt" in told
        assert "kind         not whole: `kind export logs` cannot be run" in told
    assert "LoadError: no load" in (session.directory / "test_a" / "diagnostics" / "harness.txt").read_text()
    assert world.log[-1] == "create kindstorm-0"


def with_image(**container: str) -> Stack:
    """A stack of one pod."""
    spec = {"containers": [{"name": "c", **container}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    ports = [{"port": 80, "nodePort": 30080}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}}
    return Stack("odd", (pod, service), 30080)


@pytest.mark.parametrize(
    ("stack", "error", "complaint"),
    [
        (
            with_image(image="nobody/knows:1"),
            ImageError,
            r"stack odd: nobody has the image nobody/knows:1: this machine's engine has none, its registry gives none "
            r"\(no such host\), kindstorm's catalogue does not know it, and no catalogue of your own was given",
        ),
        (with_image(image="nginx:1.22.1", imagePullPolicy="Always"), StackError, "imagePullPolicy for nginx:1.22.1 is"),
        (with_image(image="shop/cart"), StackError, "imagePullPolicy for shop/cart is Always, also where it is left"),
        (with_image(image="shop/cart@sha256:12"), StackError, "is named by its digest"),
    ],
)
def test_an_image_that_no_pod_could_get(
    session: Session, world: World, stack: Stack, error: type[Exception], complaint: str
) -> None:
    """It is refused before a cluster is made, and stands in the results."""
    world.missing.add("nobody/knows:1")
    world.refused = "no such host"
    with pytest.raises(error, match=complaint):
        run(session, stack)
    assert world.log == []
    assert re.search(complaint, str(session.results[0].error))


def test_an_image_that_only_the_engine_has(session: Session, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs, and the history and the report say that it is local."""
    plans: list[Any] = []
    monkeypatch.setattr(experiment, "run", lambda plan, *_: plans.append(plan) or store(plan.directory))
    run(session, with_image(image="shop/cart:dev"))
    assert plans[0].images == {"shop/cart:dev": "local"}
    told = {image["name"]: (image["origin"], image["version"]) for image in session.run_info().images}
    assert told == {"shop/cart:dev": ("local", "dev")}
    assert world.made


def test_a_wrong_catalogue_is_one_sentence(tmp_path: Path) -> None:
    """When the session begins."""
    with pytest.raises(ImageError, match=r"ours\.toml cannot be read"):
        Session(replace(OPTIONS, catalogue=tmp_path / "ours.toml"))


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
    said = "there is no directory .*nowhere;" if given == "nowhere" else f"{given} holds no stored run of test_a;"
    with pytest.raises(HistoryError, match=f"{said} name the directory"):
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
    """The old one is removed and let go of, and the report says why."""
    first: Any = session.sound_cluster()
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
    """A dead cluster of an earlier session is told of, and its journal is forgotten."""
    world.swept = ["kindstorm-dead"]
    for name in ("kindstorm-dead", "another"):
        journal.plan(Entry(name, "scale", {}))
    session.sound_cluster()
    assert [e.cluster for e in journal.pending()] == ["another"]
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


def test_a_kept_cluster_that_another_session_holds_is_left_alone(tmp_path: Path, world: World) -> None:
    """It is neither taken up nor removed: another kept one is, and where there is none a new one is made."""
    world.held = ["kindstorm-held"]
    world.kept = FakeCluster("kindstorm-kept")
    with clusters.leased("kindstorm-held"):
        session = kept_session(tmp_path)
        assert session.sound_cluster() is world.kept
        with clusters.leased("kindstorm-kept") as free:
            assert not free
        assert kept_session(tmp_path).sound_cluster() is world.made[0]
        session.finish()
    assert world.log[:2] == ["sweep keep=True", "attach kindstorm-kept"]
    assert world.log[2:4] == ["sweep keep=True", "create kindstorm-0"]


def test_a_kept_cluster_that_cannot_be_taken_up_is_made_anew(tmp_path: Path, world: World) -> None:
    """It lost its mark, or nothing is known of it."""
    world.kept = FakeCluster("kindstorm-kept")
    world.errors["attach"] = ClusterError("nothing is known of it")
    session = kept_session(tmp_path)
    assert session.sound_cluster() is world.made[0]
    assert world.log[1:] == ["attach kindstorm-kept", "delete kindstorm-kept", "create kindstorm-0"]
    assert "nothing is known of it" in session.notes[0]
    assert not leased_by_us("kindstorm-kept")


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """What was undone, in order."""
    entries: list[Entry] = []

    def undo(_kube: object, entry: Entry) -> str:
        entries.append(entry)
        journal.done(entry)
        return ""

    monkeypatch.setattr("kindstorm.session.undo.undo", undo)
    return entries


def test_what_a_dead_session_left_is_undone(tmp_path: Path, world: World, undone: list[Entry]) -> None:
    """The kept cluster's journal is undone before it is looked at, another's is not."""
    world.kept = FakeCluster("kindstorm-kept")
    journal.plan(Entry("kindstorm-kept", "scale", {}))
    journal.plan(Entry("another", "scale", {}))
    kept_session(tmp_path).sound_cluster()
    assert [e.cluster for e in undone] == ["kindstorm-kept"]


@pytest.mark.usefixtures("world")
def test_what_a_failed_experiment_left_is_undone(session: Session, undone: list[Entry]) -> None:
    """The next one begins on a cluster without it, and the cluster need not be made anew."""
    first = session.sound_cluster()
    journal.plan(Entry(first.name, "scale", {}))
    assert session.sound_cluster() is first
    assert [e.cluster for e in undone] == [first.name]


def test_what_cannot_be_undone_costs_the_cluster(
    session: Session, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made anew, and its journal is forgotten with it, nobody else's."""

    def fail(*_: object) -> str:
        raise FaultError("nobody knows how")

    monkeypatch.setattr("kindstorm.session.undo.undo", fail)
    for name in (session.sound_cluster().name, "another"):
        journal.plan(Entry(name, "odd", {}))
    assert session.sound_cluster() is world.made[1]
    assert "nobody knows how" in session.notes[0]
    assert [e.cluster for e in journal.pending()] == ["another"]


def test_a_foreign_cluster_has_nothing_undone(tmp_path: Path, world: World, undone: list[Entry]) -> None:
    """Without the mark it may be anybody's."""
    world.kept = FakeCluster("kindstorm-kept")
    world.kept.marked = False
    journal.plan(Entry("kindstorm-kept", "scale", {}))
    kept_session(tmp_path).sound_cluster()
    assert undone == []


def test_a_cluster_that_cannot_be_made_is_let_go_of(session: Session, world: World) -> None:
    """The next test may try again."""
    world.errors["create"] = ClusterError("no room")
    for _ in range(2):
        with pytest.raises(ClusterError, match="no room"):
            session.sound_cluster()
    assert not leased_by_us("kindstorm-0")
    del world.errors["create"]
    assert session.sound_cluster() is world.made[0]


def test_a_cluster_that_cannot_be_removed_is_let_go_of(session: Session, world: World) -> None:
    """The error goes up, and whoever sweeps later may have it."""
    session.sound_cluster()
    world.errors["delete"] = ClusterError("kind is stuck")
    with pytest.raises(ClusterError, match="kind is stuck"):
        session.finish()
    assert not leased_by_us("kindstorm-0")


def test_a_kubeconfig_leads_to_the_cluster(tmp_path: Path, world: World) -> None:
    """The one it names is taken up, no living one is swept, and at the end it is kept."""
    world.kept = FakeCluster("kindstorm-mine")
    session = Session(replace(OPTIONS, runs=tmp_path / "runs", kubeconfig=Path("kindstorm-mine.yaml")))
    assert session.sound_cluster() is world.kept
    session.finish()
    assert world.log == ["sweep keep=True", "attach kindstorm-mine", "remember kindstorm-mine"]
    assert not leased_by_us("kindstorm-mine")


def test_a_kubeconfig_of_a_stranger_touches_nothing(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before anything is swept, started or asked for."""

    def stranger(_: Path) -> str:
        raise ClusterError("not ours")

    monkeypatch.setattr(provision, "name_in", stranger)
    monkeypatch.setattr(engine, "ensure", lambda: world.log.append("ensure"))
    session = Session(replace(OPTIONS, runs=tmp_path / "runs", kubeconfig=Path("kindstorm-mine.yaml")))
    with pytest.raises(ClusterError, match="not ours"):
        session.sound_cluster()
    session.finish()
    assert world.log == []


@pytest.mark.parametrize("when", ["taken up", "later"])
def test_a_handed_cluster_off_its_baseline_is_left_as_it_is(tmp_path: Path, world: World, when: str) -> None:
    """It is refused and never removed, and its lease is given back."""
    world.kept = FakeCluster("kindstorm-mine")
    session = Session(replace(OPTIONS, runs=tmp_path / "runs", kubeconfig=Path("kindstorm-mine.yaml")))
    if when == "later":
        session.sound_cluster()
    world.kept.found = ["node worker was ready"]
    for _ in range(2):
        with pytest.raises(ClusterError, match=r"kindstorm-mine of --kubeconfig .* node worker was ready; .* as it is"):
            session.sound_cluster()
    session.finish()
    assert not [line for line in world.log if line.startswith(("delete", "create"))]
    assert not leased_by_us("kindstorm-mine")


def test_a_refusal_of_the_machine_is_a_sentence(
    session: Session, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk under an experiment is told as one, and stands so in the results; a defect stays what it is."""
    errors: list[BaseException] = [OSError(errno.ENOSPC, "No space left on device", "/runs/a"), FileNotFoundError("b")]

    def fail(*_: object) -> History:
        raise errors.pop(0)

    monkeypatch.setattr(experiment, "run", fail)
    with pytest.raises(MachineError, match=r"^/runs/a: no space left on device; make room there"):
        run(session)
    with pytest.raises(FileNotFoundError):
        run(session)
    assert [str(r.error)[:7] for r in session.results] == ["/runs/a", "b"]
    assert world.log[-1].startswith("create")


def test_a_kubeconfig_that_fails_fails_the_same_way_again(tmp_path: Path, world: World) -> None:
    """The second test is told the reason, not that the first one holds the cluster; none is made in its place."""
    world.errors["attach"] = ClusterError("nothing is known of it")
    session = Session(replace(OPTIONS, runs=tmp_path / "runs", kubeconfig=Path("kindstorm-mine.yaml")))
    for _ in range(2):
        with pytest.raises(ClusterError, match="nothing is known of it"):
            session.sound_cluster()
    assert world.made == []
    assert not leased_by_us("kindstorm-mine")


def test_where_images_came_from_is_in_history_and_report(
    session: Session, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror, a build and a stand-in are told apart, each under the name of what runs."""
    mongo, express = "docker.io/library/mongo:7.0", "docker.io/kindstorm/mongo-express:1.1.0-rc-4"
    states = {session.line.node: "built", "docker.io/kindstorm/ferretdb:v1.24.2": "pulled", express: "stand-in"}
    plans: list[Any] = []
    monkeypatch.setattr(setup, "require", lambda *_: states)
    monkeypatch.setattr(registry, "source", lambda name: "127.0.0.1:5000" if name != mongo else None)
    monkeypatch.setattr(experiment, "run", lambda plan, *_: plans.append(plan) or store(plan.directory))
    run(session)
    words = {
        session.line.node: "pulled from 127.0.0.1:5000 (built)",
        mongo: "pulled",
        express: f"stand-in: {session.catalogue.image(express).stand_in}; pulled from 127.0.0.1:5000",
    }
    assert plans[0].images == words
    assert {image["name"]: image["origin"] for image in session.run_info().images} == words
    assert [image["version"] for image in session.run_info().images] == ["v1.37.0", "7.0", "1.1.0-rc-4"]
    assert session.run_info().images[1]["digest"] == "mongo:7.0"[7:19]
    assert world.made


def test_the_users_kind_is_enough(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names a kind need not have one set up."""
    asked: list[object] = []
    monkeypatch.setattr(setup, "require", lambda *words: asked.append(words[2]) or {})
    Session(replace(OPTIONS, runs=tmp_path, kind=Path("/my/kind"))).sound_cluster()
    assert asked == [Path("/my/kind")]
    assert world.made


def test_options_of_pytest_kind_reach_the_cluster(tmp_path: Path, world: World) -> None:
    """Its name, its node image and the kind that makes it."""
    chosen = replace(OPTIONS, runs=tmp_path, cluster_name="mine", node_image="node:1", kind=Path("/my/kind"))
    made: Any = Session(chosen).sound_cluster()
    assert (made.name, made.spec.node_image, world.kinds) == ("mine", "node:1", {Path("/my/kind")})


def test_without_options_our_own_kind_makes_it(session: Session, world: World) -> None:
    """Of the line's own image, under a new name."""
    made: Any = session.sound_cluster()
    assert (made.name, made.spec.node_image, world.kinds) == ("kindstorm-0", "", {Path("/our/kind")})


def test_a_node_image_that_is_not_there_is_one_sentence(tmp_path: Path, world: World) -> None:
    """Before anything is swept or made."""
    world.missing = {"node:1"}
    with pytest.raises(ImageError, match="the engine has no image node:1; pull it, or leave --kind-image out"):
        Session(replace(OPTIONS, runs=tmp_path, node_image="node:1")).sound_cluster()
    assert world.log == []


def test_judging_again_gives_no_cluster(tmp_path: Path, world: World) -> None:
    """A test that needs one is skipped with that reason."""
    with pytest.raises(Unsupported, match="stored runs are judged again without a cluster"):
        Session(replace(OPTIONS, rejudge=tmp_path)).sound_cluster()
    assert world.log == []


@pytest.mark.parametrize("other", [{"scenario": "scenarios/test_b.py::test_a"}, {"stack": "web"}], ids=str)
def test_a_stored_run_of_another_test_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    """Its directory has the right name, but it shows something else."""
    store(tmp_path / "test_a", **other)
    with pytest.raises(HistoryError, match=r"holds .* on stack \w+, not scenarios/test_a\.py::test_a on stack nginx"):
        run(Session(replace(OPTIONS, rejudge=tmp_path)))


def test_the_end_writes_reports_and_removes_the_cluster(
    session: Session, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three reports say what was judged, the index of runs leads to them; the cluster goes, its lease too."""
    monkeypatch.setattr(experiment, "run", lambda plan, *_: store(plan.directory))
    run(session).judge(Says(VALID))
    path = session.finish()
    assert path == session.directory / "report.html"
    assert path.read_text().lstrip().startswith("<!")
    verdicts = json.loads((session.directory / "results.json").read_text())
    assert [(e["experiment"], e["outcome"]) for e in verdicts["experiments"]] == [("test_a", "VALID")]
    assert (session.directory / "junit.xml").exists()
    assert f'href="{session.directory.name}/report.html#e1"' in (session.directory.parent / "index.html").read_text()
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
    monkeypatch.setattr("kindstorm.session.report.write_results", fail)
    with pytest.raises(OSError, match="disk full"):
        session.finish()
    assert world.log[-1] == "delete kindstorm-0"


class Standing:
    """An experiment whose stack stands: what is asked of it once it was run, noted in the world's log."""

    namespace = "ks-nginx"

    def __init__(self, world: World, plan: Any, held: Any) -> None:
        self.world, self.directory, self.held = world, plan.directory, held
        held.experiment = self
        held.end = self.end
        self.world.log.append(f"run {plan.directory.name}")
        self.left = Entry("kindstorm-0", "remove_namespace", {"name": self.namespace})
        journal.plan(self.left)
        self.fails: BaseException | None = None

    def end(self) -> History:
        """See chaos.experiment."""
        self.held.experiment = None
        journal.done(self.left)
        self.world.log.append(f"end {self.directory.name}")
        if self.fails is not None:
            raise self.fails
        return store(self.directory)


@pytest.fixture
def holding(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session with --kindstorm-hold whose experiments leave their stacks standing, as they are asked."""

    def run_one(plan: Any, _cluster: Any, _load: Any, _verifier: Any, _say: Any, held: Any) -> History:
        Standing(world, plan, held)
        if world.errors.get("run"):
            raise world.errors["run"]
        return store(plan.directory)

    monkeypatch.setattr(experiment, "run", run_one)
    return Session(replace(OPTIONS, runs=tmp_path / "runs", hold=True))


def test_a_stack_that_passed_is_not_held(holding: Session, world: World) -> None:
    """It is ended once, and the session goes on and ends as without the option."""
    for _ in range(2):
        run(holding).judge(Says(VALID))
    holding.finish()
    assert holding.looked_at is None
    steps = ["run test_a", "end test_a", "run test_a-2", "end test_a-2", "delete kindstorm-0"]
    assert world.log == ["sweep keep=False looked_at", "create kindstorm-0", *steps]
    assert all("held" not in note for note in holding.notes)


@pytest.mark.parametrize(("says", "expect"), [(INVALID, VALID), (UNKNOWN, VALID), (VALID, INVALID)])
def test_a_stack_that_did_not_pass_is_held(holding: Session, world: World, says: Outcome, expect: Outcome) -> None:
    """Nothing is ended or deleted, nothing more runs; the cluster is let go of, and the report says so."""
    journal.plan(Entry("kindstorm-0", "scale", {}))
    made = run(holding)
    with pytest.raises((AssertionError, UnknownVerdictError)):
        made.judge(Says(says), expect=expect)
    with pytest.raises(ClusterError, match="held for looking at"):
        holding.sound_cluster()
    holding.finish()
    assert world.log[2:] == ["run test_a", "hold kindstorm-0", "remember kindstorm-0"]
    assert holding.looked_at == "ks-nginx"
    assert not leased_by_us("kindstorm-0")
    left = [entry.verb for entry in journal.pending("kindstorm-0")]
    assert left == ["scale"], "`kindstorm undo` mends what could not be healed, and leaves the stack that is looked at"
    (note,) = holding.notes
    assert "kindstorm-0 is held" in note
    assert "ks-nginx" in note


def test_a_broken_stack_that_is_seen_through_is_not_held(holding: Session, world: World) -> None:
    """What was expected is no failure."""
    run(holding).judge(Says(INVALID), expect=INVALID)
    assert world.log[-1] == "end test_a"


@dataclass(frozen=True)
class AfterRemoval:
    """Stands in for quiescence: nothing is known of the cluster before the stack was removed."""

    log: list[str]
    name: str = "quiescence"

    def check(self, _: History) -> Verdict:
        """See Checker."""
        return Verdict(self.name, VALID if any(line.startswith("end") for line in self.log) else UNKNOWN, "it is so")


@pytest.mark.parametrize(
    ("says", "expect", "last"),
    [(None, VALID, "end"), (VALID, VALID, "end"), (INVALID, VALID, "hold"), (VALID, INVALID, "end")],
)
def test_quiescence_that_is_named_is_judged_after_the_removal(
    holding: Session, world: World, says: Outcome | None, expect: Outcome, last: str
) -> None:
    """It cannot be VALID before, so that it holds no stack; what the others find does."""
    checkers: list[Any] = [AfterRemoval(world.log), *([] if says is None else [Says(says)])]
    with contextlib.nullcontext() if says in (None, expect) else pytest.raises(AssertionError):
        run(holding).judge(*checkers, expect=expect)
    assert world.log[-1].split()[0] == last


@pytest.mark.parametrize(
    ("error", "last"), [(StackError("never ready"), "hold kindstorm-0"), (KeyboardInterrupt(), "end test_a")]
)
def test_an_experiment_that_failed_is_held(holding: Session, world: World, error: BaseException, last: str) -> None:
    """A stack that never got ready is what one wants to look at; who interrupts does not."""
    world.errors["run"] = error
    with pytest.raises(type(error)):
        run(holding)
    assert world.log[-1] == last
    assert len(holding.results) == 1


def test_what_was_never_judged(holding: Session, world: World) -> None:
    """Another experiment of the test, or the session's end after an interrupt, ends it; its own history is judged."""
    first, second = run(holding), run(holding)
    with pytest.raises(AssertionError):
        first.judge(Says(INVALID))
    assert holding.looked_at is None, "what stands now is not what failed"
    second.judge(Says(VALID))
    run(holding)
    holding.finish()
    assert [line for line in world.log if line.startswith(("end", "hold", "delete"))] == [
        "end test_a",
        "end test_a-2",
        "end test_a-3",
        "delete kindstorm-0",
    ]


def test_a_held_stack_that_cannot_be_removed_is_an_error(holding: Session) -> None:
    """The report has the verdicts and the sentence, and it does not pass."""
    made = run(holding)
    assert holding._standing is not None
    holding._standing.experiment.fails = ClusterError("it stays")  # type: ignore[union-attr]
    with pytest.raises(ClusterError, match="it stays"):
        made.judge(Says(VALID))
    (result,) = holding.results
    assert (result.error, [v.outcome for v in result.verdicts]) == ("it stays", [VALID])
    assert not standing(result).passes


def test_how_to_look(holding: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The kubeconfig, the node's own kubectl always, this machine's where there is one, and how to remove it."""
    with pytest.raises(AssertionError):
        run(holding).judge(Says(INVALID))
    for path, count in (("/bin/kubectl", 2), (None, 0)):
        monkeypatch.setattr(session_module.shutil, "which", lambda _, path=path: path)
        holding.print_summary(Path("report.html"))
        said = capsys.readouterr().out
        assert "kubeconfig: /kindstorm-0/kubeconfig\n" in said
        assert said.count("docker exec kindstorm-0-control-plane kubectl --kubeconfig /etc/kubernetes/admin.conf") == 2
        assert said.count(" kubectl --kubeconfig /kindstorm-0/kubeconfig --namespace ks-nginx ") == count
        assert "kindstorm clusters --remove" in said
