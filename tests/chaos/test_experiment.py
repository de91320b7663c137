"""One experiment with everything around it made up: the order, and what holds however it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import FakeKube, pod, workload

from chaos import diagnostics, experiment, journal
from chaos.cluster import folder
from chaos.errors import ClusterError, HistoryError, LoadError, StackError, SteadyStateError
from chaos.experiment import Held, Plan
from chaos.faults import kill_pod, scale
from chaos.history import History, HistoryWriter, Json
from chaos.history import seal as seal_history
from chaos.kube import ApiRefusal, Change, Seen
from chaos.probes.inside import Reading
from chaos.recorder import GLOBAL, NAMESPACED
from chaos.stack import Stack
from chaos.steady_state import WORKLOADS_READY, Condition
from chaos.targets import one
from chaos.targets import pod as named
from images import cache

SECRET = "known-4-long"  # noqa: S105 - nobody's
STACK = Stack(
    "nginx",
    (
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "nginx"},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}},
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": SECRET}},
    ),
    node_port=30080,
)
PHASES = ["deploy", "steady", "before", "fault", "recover", "after", "remove"]


class Log:
    """A log that stays open where it is followed, until it is closed."""

    def __init__(self, parts: list[bytes], follow: bool) -> None:
        self._parts = parts
        self._closed = threading.Event()
        self.ended = False
        if not follow:
            self._closed.set()

    def __iter__(self) -> Iterator[bytes]:
        """See LogStream."""
        yield from self._parts
        self._closed.wait()

    def close(self) -> None:
        """See LogStream."""
        self._closed.set()


class StackKube(FakeKube):
    """An API on which a Deployment is ready as soon as it is applied, and a killed pod is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.namespaces: list[str] = []
        self.done: list[str] = []
        self.refuse: Exception | BaseException | None = None
        self.lost: Exception | None = None

    def apply(self, document: dict[str, Any], namespace: str | None = None) -> None:
        """See Kube."""
        kind, name = document["kind"], document["metadata"]["name"]
        self.done.append(f"apply {kind} {name.partition('-')[0] if kind == 'Namespace' else name}")
        if kind == "Namespace":
            self.namespaces.append(name)
            return
        assert namespace == self.namespaces[-1]
        if kind == "Deployment":
            if self.refuse is not None:
                raise self.refuse
            self.wanted[kind, name] = 1
            self.watches[kind].feed(Change("added", 1, workload(kind, name, 1)))
            self._pod("added", "a")

    def _pod(self, verb: str, uid: str) -> None:
        seen = pod(f"nginx-5f-{uid}", uid, owner="ReplicaSet/nginx-5f")
        self.watches["Pod"].feed(Change(verb, 1, seen))

    def delete(
        self, kind: str, name: str, _namespace: str | None = None, *, uid: str | None = None, force: bool = False
    ) -> bool:
        """See Kube."""
        assert not force
        assert (uid is None) == (kind == "Namespace")
        assert not force
        self.done.append(f"delete {kind}")
        if kind == "Namespace":
            self.namespaces.remove(name)
        else:
            self._pod("deleted", "a")
            self._pod("added", "b")
        return True

    def get(self, _kind: str, name: str) -> Seen | None:
        """See Kube."""
        assert name not in self.namespaces
        return None

    def log(self, pod_name: str, _namespace: str, container: str, _timeout_s: float, **options: str) -> Log:
        """See Kube."""
        return Log([f"2026-11-21T15:00:00.0Z {pod_name} {container} said {SECRET}\n".encode()], "follow" in options)

    def secrets(self, _namespace: str) -> list[dict[str, Any]]:
        """See Kube."""
        return [{"kind": "Secret", "data": {"made-by-the-stack": "bGVhcm50LWxhdGUtMQ=="}}]

    def documents(self, namespace: str, _timeout_s: float) -> list[dict[str, Any]]:
        """See Kube."""
        assert namespace in self.namespaces, "it was removed before it was written down"
        if self.lost is not None:
            raise self.lost
        metadata = {"name": "kept", "managedFields": ["noise"]}
        return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"copied": SECRET}}]

    def replicas(self, kind: str, name: str, namespace: str) -> int | None:
        """See Kube."""
        assert namespace in self.namespaces
        return self.wanted.get((kind, name))

    def scale(self, kind: str, name: str, namespace: str, replicas: int) -> None:
        """See Kube."""
        super().scale(kind, name, namespace, replicas)
        self.watches[kind].feed(Change("modified", 1, workload(kind, name, replicas)))


@dataclass
class World:
    """The cluster, the load and what the harness said, with what each was asked in order."""

    directory: Path
    kube: StackKube = field(default_factory=StackKube)
    said: list[str] = field(default_factory=list)
    load_log: list[str] = field(default_factory=list)
    load_errors: dict[str, BaseException] = field(default_factory=dict)
    marked: bool = True
    engine: bool = True
    engine_error: Exception | None = None
    name: str = "kindstorm-test"
    writer: HistoryWriter | None = None
    threads: set[threading.Thread] = field(default_factory=lambda: set(threading.enumerate()))

    def require_mark(self) -> None:
        """See Cluster."""
        if not self.marked:
            raise ClusterError("not ours")

    def require_engine(self) -> None:
        """See Cluster."""
        if not self.engine:
            raise ClusterError("the engine went away")

    def facts(self) -> dict[str, Json]:
        """See Cluster."""
        return {"name": self.name}

    def read_baseline(self) -> dict[str, Json]:
        """See Cluster."""
        return {"nodes": {"worker": {"ready": True}}, "namespaces": sorted(self.kube.namespaces)}

    def settle(self) -> list[str]:
        """See Cluster."""
        return []

    def containers(self) -> list[str]:
        """See Cluster."""
        return ["ks-worker", "ks-control-plane"]

    def workers(self) -> list[str]:
        """See Cluster."""
        return ["worker"]

    def provide(self, references: list[str], nodes: list[str]) -> None:
        """See Cluster."""
        self.kube.done.append(f"provide {references} {nodes}")

    def address(self, port: int) -> str:
        """See Cluster."""
        return f"http://127.0.0.1:{port}"

    # ---- the load

    def start(self, _workload: Any, target: str, segment: Path, log: Path) -> None:
        """See Load."""
        self._step(f"start {target}")
        log.write_text(f"locust said {SECRET} and learnt-late-1\n")
        assert self.directory not in log.parents
        assert self.directory not in segment.parents
        assert folder(self.name) in segment.parents, "what a killed harness leaves there goes with the cluster"
        self.writer = HistoryWriter(segment, "load")
        self.writer.write("op", type="invoke", process=0, op=1, f="read", value=SECRET)

    def prepare(self, _workload: Any, target: str, _segment: Path, _log: Path) -> None:
        """See Load."""
        self._step(f"prepare {target}")

    def first_invocation(self, _timeout_s: float) -> int:
        """See Load."""
        self._step("first")
        return 1

    def stop(self, _timeout_s: float = 30) -> None:
        """See Load."""
        if "stop" in self.load_log:
            return
        if self.writer is not None:
            self.writer.close()
        self._step("stop")

    def _step(self, step: str) -> None:
        self.load_log.append(step)
        if step.split()[0] in self.load_errors:
            raise self.load_errors[step.split()[0]]

    def verify(self, _workload: Any, target: str, segment: Path, _log: Path, timeout_s: float) -> None:
        """See Verifier."""
        assert self.kube.namespaces
        assert 0 < timeout_s <= 120
        with HistoryWriter(segment, "verify") as writer:
            for step in ("invoke", "info"):
                writer.write("op", type=step, process=0, op=0, f="read_all", error="no answer")
        self._step(f"verify {target}")

    # ---- the run

    def run(
        self,
        *faults: Any,
        stack: Stack = STACK,
        steady: tuple[Condition, ...] = (WORKLOADS_READY,),
        clients: Clients | None = None,
        held: Held | None = None,
        scenario: str = "a::b",
    ) -> History:
        """Run an experiment here."""
        plan = Plan(
            scenario,
            stack,
            clients or Clients(),
            faults,
            7,
            self.directory,
            "agnhost:1",
            steady,
            0,
            0,
            {"nginx:1": "built"},
        )
        cluster: Any = self
        return experiment.run(plan, cluster, lambda: self, lambda: self, self.said.append, held)

    def stored(self, *, completed: bool = True) -> History:
        """What is on disk: sealed, all sources whole, said to be aborted unless completed; nothing is left anywhere."""
        history = History.load(self.directory / "history.jsonl")
        assert history.cut_off() == ([] if completed else ["the experiment did not come to its end"])
        assert (history.fact("completed") is True) is completed
        assert self.kube.namespaces == []
        assert journal.pending() == []
        assert [p.name for p in self.directory.glob("*.jsonl")] == ["history.jsonl"]
        assert set(threading.enumerate()) <= self.threads
        return history


@dataclass
class Clients:
    """A workload that the experiment only passes on."""

    port: int | None = None
    scheme: str = "http"
    verify: bool = False

    def as_fact(self) -> dict[str, Json]:
        """See Workload."""
        return {"name": "reads"}


class Questions:
    """Stands in for the probe pod."""

    def __init__(self, address: str) -> None:
        assert address == "http://127.0.0.1:30090"

    def ready(self) -> None:
        """See Inside."""

    def dns(self, _name: str) -> Reading:
        """See Inside."""
        return Reading(1, 2, {"answers": [], "rcode": "NOERROR"})

    def ask(self, _probe: str, targets: Sequence[str]) -> dict[str, Reading]:
        """See Inside."""
        return {target: Reading(1, 2, None, "nobody answers") for target in targets}


class Witnesses:
    """Stands in for the nodes and the engine: one of them tells that it was there."""

    def __init__(self, world: World, nodes: list[str], folder: Path) -> None:
        assert nodes == ["ks-worker", "ks-control-plane"]
        self.world = world
        self.folder = folder
        self.told: list[str] = []

    def start(self) -> None:
        """See chaos.witness."""
        assert not any("Deployment" in done for done in self.world.kube.done), "it must be there before the stack is"
        self.told.append("begin")

    def stop(self) -> None:
        """See chaos.witness."""
        assert self.world.kube.namespaces, "the stack was removed before it was written down who ran"
        with HistoryWriter(self.folder / "node:ks-worker.jsonl", "node:ks-worker") as writer:
            for event in [*self.told, "end"]:
                writer.write("runtime", event=event)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster that is not there."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(experiment, "Inside", Questions)
    made = World(tmp_path / "run")
    monkeypatch.setattr(experiment, "Witnesses", lambda nodes, folder: Witnesses(made, nodes, folder))

    def docker(*command: str, timeout_s: float) -> str:
        assert timeout_s <= 20
        assert command[:2] == ("exec", "ks-control-plane")
        assert made.kube.namespaces, "the stack was removed before it was described"
        if made.engine_error is not None:
            raise made.engine_error
        return f"Name: described by {command[-1].split('describe ')[1]} with {SECRET}"

    monkeypatch.setattr(diagnostics, "docker", docker)
    return made


def phases(history: History) -> list[str]:
    """The phases in the order of their begin; each must end before the next begins."""
    edges = [(r["name"], r["edge"]) for r in history.of("phase")]
    assert [edge for _, edge in edges] == ["begin", "end"] * (len(edges) // 2)
    assert [name for name, _ in edges[::2]] == [name for name, _ in edges[1::2]]
    return [name for name, _ in edges[::2]]


def raiser(error: BaseException) -> Callable[..., None]:
    """Raises it."""

    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_whole_experiment(world: World) -> None:
    """All phases in the documented order; the history returned is the one on disk, with all facts and sources."""
    history = world.run(kill_pod(one("nginx")))
    stored = world.stored()
    assert stored.records == history.records
    assert phases(stored) == world.said == PHASES
    watches = {f"api:{kind}" for kind in (*NAMESPACED, *GLOBAL)}
    assert {r.source for r in stored.records} == {
        "harness",
        "api:revision",
        "probe",
        "load",
        "node:ks-worker",
        *watches,
    }
    assert [r["event"] for r in stored.of("runtime")] == ["begin", "end"]
    assert [r["edge"] for r in stored.of("fault")] == ["inject", "injected", "effect", "heal", "healed"]
    fault, window = stored.faults()[0], stored.phase("fault")
    assert window is not None
    assert all(window[0] <= r.time_ns <= window[1] for r in fault.records)
    names = {"experiment", "stack", "cluster", "workload", "images", "baseline", "baseline_after", "completed"}
    assert {r["name"] for r in stored.of("fact")} == names
    assert stored.fact("experiment")["seed"] == 7
    assert stored.fact("baseline") == stored.fact("baseline_after")
    assert stored.fact("images") == {"nginx:1": "built"}


def test_the_order_of_what_is_done(world: World) -> None:
    """Namespace, images, probe, stack; the load around the fault only; the namespace last."""
    world.run(kill_pod(one("nginx")))
    assert world.kube.done == [
        "apply Namespace ks",
        "provide ['nginx:1'] ['worker']",
        "apply Pod kindstorm-probe",
        "apply Service kindstorm-probe",
        "apply Deployment nginx",
        "apply Secret s",
        "delete Pod",
        "delete Namespace",
    ]
    target = "http://127.0.0.1:30080"
    assert world.load_log == [f"prepare {target}", f"start {target}", "first", "stop"]


def test_what_a_person_asks_for_next_is_kept(world: World) -> None:
    """Each container's log, the deleted one's too, the load's, and the namespace as it stood; no secret in any."""
    world.run(kill_pod(one("nginx")))
    texts = {str(p.relative_to(world.directory)): p.read_text() for p in world.directory.rglob("*") if p.is_file()}
    for uid in "ab":
        assert texts[f"logs/nginx-5f-{uid}.{uid}.app.0.log"].count(f"nginx-5f-{uid} app said (redacted-") == 1
    assert texts["logs/locust.log"].startswith("locust said (redacted-")
    assert "described by --namespace=ks-nginx" in texts["describe.txt"]
    assert "described by nodes" in texts["describe.txt"]
    assert "kind: ConfigMap" in texts["objects.yaml"]
    assert "noise" not in texts["objects.yaml"]
    assert texts["events.txt"] == ""
    assert [name for name, text in texts.items() if SECRET in text or "learnt-late-1" in text] == []
    assert world.stored().of("note") == []


def test_no_secret_is_on_disk_while_it_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only the sealed history is clean: a harness that is killed leaves none in its segments either."""
    texts: list[str] = []

    def seal(segments: list[Path], *rest: Any) -> History:
        texts.extend(path.read_text() for path in segments if world.directory in path.parents)
        return seal_history(segments, *rest)

    def tell(*_: object) -> None:
        about = {"kind": "Pod", "name": "a"}
        told = Seen("Event", "ns", "e", "e", "1", {}, {"message": f"it said {SECRET}", "at": "", "about": about})
        told.state.update(type="Normal", reason="Said", count=1)
        world.kube.watches["Event"].feed(Change("added", 1, told))

    monkeypatch.setattr(experiment, "seal_history", seal)
    world.run(steady=(Condition("it is told", tell),))
    assert any("it said (redacted-" in text for text in texts)
    assert [text for text in texts if SECRET in text] == []
    assert "it said (redacted-" in (world.directory / "events.txt").read_text()


def test_a_scenario_keeps_its_name(world: World) -> None:
    """A secret that is a word of it does not keep a run from being judged again; in brackets one is taken out."""
    named = "scenarios/test_db.py::test_hunter2-users[hunter2-and-more]"
    told = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "t"}}
    stack = STACK.plus(told | {"stringData": {"a": "hunter2-users", "b": "hunter2-and-more"}})
    scenario = world.run(stack=stack, scenario=named).fact("experiment")["scenario"]
    assert scenario.startswith("scenarios/test_db.py::test_hunter2-users[(redacted-")
    assert "hunter2-and-more" not in (world.directory / "history.jsonl").read_text()


def test_what_cannot_be_kept_is_a_note(world: World) -> None:
    """Without the API server and the engine the run is what it was, and says what is missing."""
    world.kube.lost = ClusterError(f"get /apis: no answer about {SECRET}")
    world.engine_error = ClusterError("the engine is gone")
    world.run(kill_pod(one("nginx")))
    stored = world.stored()
    notes = [note["text"] for note in stored.of("note")]
    assert [note.partition(": ")[2].partition(":")[0] for note in notes] == ["objects.yaml", "describe.txt"]
    assert SECRET not in " ".join(notes)
    assert (world.directory / "events.txt").exists()


def test_a_scaled_workload_is_given_back(world: World) -> None:
    """Nothing is on the journal afterwards."""
    world.run(scale("nginx", 0))
    assert world.kube.wanted["Deployment", "nginx"] == 1
    assert [r["edge"] for r in world.stored().of("fault")][-1] == "healed"


def test_the_same_seed_names_the_same_run(world: World, tmp_path: Path) -> None:
    """The seed is in the facts, and a stack's name in its namespace."""
    namespace = world.run().fact("experiment")["namespace"]
    assert namespace.startswith("ks-nginx-0007-")
    assert len(namespace) <= 63
    assert (tmp_path / "run").is_dir()


def test_not_our_cluster(world: World) -> None:
    """Nothing at all is done to it; the history says as much as there is."""
    world.marked = False
    with pytest.raises(ClusterError, match="not ours"):
        world.run(kill_pod(one()))
    assert world.kube.done == []
    assert History.load(world.directory / "history.jsonl").of("fact") == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [(ApiRefusal("apply: 400: bad", 400), StackError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["refused", "interrupt"],
)
def test_a_deployment_that_fails(world: World, error: BaseException, raised: type[BaseException]) -> None:
    """It goes up, the load never began, the namespace is gone, and what was seen is sealed and on disk."""
    world.kube.refuse = error
    with pytest.raises(raised):
        world.run(kill_pod(one()))
    stored = world.stored(completed=False)
    assert phases(stored) == ["deploy", "remove"]
    assert stored.fact("baseline_after") is not None
    assert world.load_log == ["prepare http://127.0.0.1:30080", "stop"]


def test_a_stack_that_is_not_steady(world: World) -> None:
    """It is a set-up error: no load, no fault."""
    unsteady = Condition("it stands", raiser(ClusterError("it lies")))
    with pytest.raises(SteadyStateError, match="not steady: it stands: it lies"):
        world.run(kill_pod(one()), steady=(unsteady,))
    stored = world.stored(completed=False)
    assert phases(stored) == ["deploy", "steady", "remove"]
    assert stored.of("fault") == []
    assert world.load_log == ["prepare http://127.0.0.1:30080", "stop"]


def test_a_stack_that_is_not_steady_afterwards(world: World) -> None:
    """After the fault it is for the checkers: the run goes on, and a note says so."""
    times = iter([None, ClusterError("it lies")])

    def stands(*_: object) -> None:
        error = next(times)
        if error is not None:
            raise error

    world.run(kill_pod(one("nginx")), steady=(Condition("it stands", stands),))
    stored = world.stored()
    assert phases(stored) == PHASES
    assert [n["text"] for n in stored.of("note")] == ["after the fault: not steady: it stands: it lies"]


def test_a_stack_without_a_way_in(world: World) -> None:
    """Clients have nowhere to go: said, and cleaned up."""
    with pytest.raises(ClusterError, match="stack nginx has no NodePort for its clients"):
        world.run(stack=Stack("nginx", STACK.documents))
    assert phases(world.stored(completed=False)) == []
    assert world.load_log == []


@pytest.mark.parametrize("step", ["prepare", "start", "first", "stop"])
def test_a_load_that_fails(world: World, step: str) -> None:
    """It goes up; the load is stopped in any case, and the rest is cleaned up and sealed."""
    world.load_errors = {step: LoadError("no load")}
    with pytest.raises(LoadError, match="no load"):
        world.run(kill_pod(one("nginx")))
    stored = world.stored(completed=False)
    begun = {"prepare": ["remove"], "stop": PHASES}
    assert phases(stored) == begun.get(step, ["deploy", "steady", "remove"])
    assert world.load_log[-1] == "stop"
    assert bool(stored.of("op")) is (step in ("first", "stop"))


WRITERS = Clients(scheme="mongodb", verify=True)


def test_what_was_written_is_read_back(world: World) -> None:
    """Once the load has stopped and before the stack is gone, in the clients' own scheme; it is in the history."""
    world.run(kill_pod(one("nginx")), clients=WRITERS)
    stored = world.stored()
    assert phases(stored) == world.said == [*PHASES[:-1], "verify", "remove"]
    target = "mongodb://127.0.0.1:30080"
    assert world.load_log == [f"prepare {target}", f"start {target}", "first", "stop", f"verify {target}"]
    verify, after = stored.phase("verify"), stored.phase("after")
    assert verify is not None
    assert after is not None
    assert [verify[0] <= r.time_ns <= verify[1] for r in stored.of("op") if r.source == "verify"] == [True, True]
    assert after[1] <= verify[0]


def test_a_verifying_read_that_cannot_be_made(world: World) -> None:
    """It goes up; everything is cleaned up and what there is is sealed."""
    world.load_errors = {"verify": LoadError("no reader")}
    with pytest.raises(LoadError, match="no reader"):
        world.run(clients=WRITERS)
    assert phases(world.stored(completed=False)) == [*PHASES[:-1], "verify", "remove"]


def test_a_load_that_did_not_stop_is_not_read_back(world: World) -> None:
    """While it may still write, a read of everything says nothing."""
    world.load_errors = {"stop": LoadError("still there")}
    with pytest.raises(LoadError, match="still there"):
        world.run(clients=WRITERS)
    assert phases(world.stored(completed=False)) == PHASES
    assert world.load_log[-1] == "stop"


@dataclass(frozen=True)
class Interrupted:
    """A scale that is interrupted while its effect is waited for."""

    fault: Any
    name: str = "scale"
    hold_s: float = 0

    def aim(self, scene: Any) -> Any:
        """See Fault."""
        aimed = self.fault.aim(scene)

        class Cut:
            target, inject, heal = aimed.target, aimed.inject, aimed.heal
            effect = staticmethod(raiser(KeyboardInterrupt()))

        return Cut()


def test_an_interrupt_under_a_fault(world: World) -> None:
    """Ctrl-C heals, stops the load, removes the namespace, seals the history, and only then goes on up."""
    with pytest.raises(KeyboardInterrupt):
        world.run(Interrupted(scale("nginx", 0)))
    stored = world.stored(completed=False)
    assert [r["edge"] for r in stored.of("fault")] == ["inject", "injected", "heal", "healed"]
    assert world.kube.wanted["Deployment", "nginx"] == 1
    assert world.load_log[-1] == "stop"
    assert phases(stored) == ["deploy", "steady", "before", "fault", "remove"]


def test_a_fault_that_cannot_be_injected(world: World) -> None:
    """The run goes on to its end: what it is worth is for the checkers."""
    world.run(kill_pod(named("nobody")))
    stored = world.stored()
    assert phases(stored) == PHASES
    assert [r["edge"] for r in stored.of("fault")] == ["failed"]


def test_a_defect_of_a_watch_is_not_lost(world: World) -> None:
    """A watch that crashed makes the run an error, though everything else went well."""

    def crash(*_: object) -> None:
        world.kube.watches["Event"].feed(ValueError("a defect"))

    with pytest.raises(ValueError, match="a defect"):
        world.run(steady=(Condition("crash", crash),))
    world.stored(completed=False)


def test_a_second_failure_does_not_hide_an_interrupt(world: World) -> None:
    """A load that cannot be stopped, after a Ctrl-C, is an interrupt still, and the history is sealed all the same."""
    world.load_errors = {"stop": LoadError("killed")}
    broken = Interrupted(scale("nginx", 0))
    with pytest.raises(KeyboardInterrupt):
        world.run(broken)
    assert world.stored(completed=False).of("fault")


def test_a_mark_that_is_lost_under_way(world: World) -> None:
    """No fault is injected any more, and everything is cleaned up."""

    def lose(*_: object) -> None:
        world.marked = False

    with pytest.raises(ClusterError, match="not ours"):
        world.run(kill_pod(one("nginx")), steady=(Condition("lose", lose),))
    assert "delete Pod" not in world.kube.done
    assert phases(world.stored(completed=False)) == ["deploy", "steady", "before", "fault", "remove"]


def test_a_stack_that_is_held_stands_until_it_is_ended(world: World) -> None:
    """The history is whole and on disk before, without a removal; afterwards it has both, and nothing stands."""
    held = Held()
    first = world.run(kill_pod(one("nginx")), held=held)
    assert held.experiment is not None
    assert world.kube.namespaces == [held.experiment.namespace]
    assert History.load(world.directory / "history.jsonl").records == first.records
    assert (first.cut_off(), phases(first)) == ([], PHASES[:-1])
    assert first.fact("baseline_after") is None
    assert set(threading.enumerate()) <= world.threads
    ended = held.end()
    stored = world.stored()
    assert stored.records == ended.records
    assert stored.records[: len(first.records)] == first.records
    assert phases(stored) == world.said == PHASES
    assert stored.fact("baseline_after") == stored.fact("baseline")
    assert held.experiment is None


def test_a_stack_that_never_got_ready_is_held_as_well(world: World) -> None:
    """Its error goes up with the history on disk, and its namespace is there until it is ended."""
    world.kube.refuse = ApiRefusal("apply: 400: bad", 400)
    held = Held()
    with pytest.raises(StackError):
        world.run(held=held)
    assert len(world.kube.namespaces) == 1
    assert History.load(world.directory / "history.jsonl").cut_off() == ["the experiment did not come to its end"]
    held.end()
    assert phases(world.stored(completed=False)) == ["deploy", "remove"]


def test_of_a_cluster_that_is_not_ours_nothing_is_held(world: World) -> None:
    """Nothing was deployed on it, so there is nothing to look at."""
    world.marked = False
    held = Held()
    with pytest.raises(ClusterError, match="not ours"):
        world.run(held=held)
    assert held.experiment is None


def test_a_held_stack_that_cannot_be_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes up; the baseline is read all the same, and all of it is sealed."""
    held = Held()
    world.run(held=held)
    monkeypatch.setattr(world.kube, "delete", raiser(ClusterError("it stays")))
    with pytest.raises(ClusterError, match="it stays"):
        held.end()
    stored = History.load(world.directory / "history.jsonl")
    assert phases(stored) == PHASES
    assert stored.fact("baseline_after")["namespaces"] == world.kube.namespaces != []
    assert [p.name for p in world.directory.glob("*.jsonl")] == ["history.jsonl"]


def test_an_engine_that_goes_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment ends with that sentence, does not wait for a cluster to settle, and seals what it saw."""
    monkeypatch.setattr("chaos.recorder.ENGINE_S", 0.01)
    monkeypatch.setattr(world, "settle", lambda: pytest.fail("nothing settles without an engine"))

    def leave(view: Any, _timeout_s: float) -> None:
        world.engine = False
        view.recorder.wait(lambda _: None, 60, "never")

    with pytest.raises(ClusterError, match="the engine went away"):
        world.run(steady=(Condition("it stays", leave),))
    world.stored(completed=False)


def test_a_disk_that_is_full_under_an_experiment(world: World) -> None:
    """It ends with a sentence on the history, and all is healed, stopped and removed all the same."""
    world.directory.mkdir()
    segment = world.directory / "harness.jsonl"
    segment.symlink_to("/dev/full")

    def let_go(_view: object, _timeout_s: float) -> None:
        segment.unlink()  # the writer has it open; who reads /dev/full reads for ever
        segment.touch()

    steady = (WORKLOADS_READY, Condition("the disk is full", let_go))
    with pytest.raises(HistoryError, match=r"harness\.jsonl cannot be written: no space left on device; make room"):
        world.run(scale("nginx", 3), steady=steady)
    assert world.kube.wanted["Deployment", "nginx"] == 1
    assert world.kube.namespaces == []
    assert journal.pending() == []
    assert world.load_log[-1] == "stop"
    assert History.load(world.directory / "history.jsonl").cut_off()
    assert set(threading.enumerate()) <= world.threads
