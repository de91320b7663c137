"""One experiment from deployment to sealed history, on one screen: the only place that puts the parts together."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from chaos import diagnostics, interrupts, journal, steady_state
from chaos.cluster import Cluster, scratch
from chaos.errors import ClusterError, HarnessError, SteadyStateError
from chaos.history import History, HistoryWriter, Json, Segments
from chaos.history import seal as seal_history
from chaos.kind import PROBE_PORT
from chaos.logs import LogKeeper
from chaos.nemesis import Fault, Nemesis, Scene
from chaos.probes import inside as probes
from chaos.probes import questions
from chaos.probes.cadence import Cadence
from chaos.probes.inside import Inside
from chaos.probes.volumes import Volumes, mounts
from chaos.recorder import Recorder
from chaos.redact import Redactor
from chaos.secret_values import secrets_in
from chaos.stack import RUN_LABEL, Stack
from chaos.steady_state import Condition, View
from chaos.waiting import poll
from chaos.witness import Witnesses

BEFORE_S = 5.0
AFTER_S = 5.0
FIRST_OPERATION_S = 30
GONE_S = 180
VERIFY_S = 60


class Workload(Protocol):
    """What the clients do; the experiment only passes it on."""

    @property
    def port(self) -> int | None:
        """The NodePort it wants, None for the stack's own."""

    @property
    def scheme(self) -> str:
        """What its clients speak: the scheme of the address they are given."""

    @property
    def verify(self) -> bool:
        """Whether everything written is read back after the load."""

    def as_fact(self) -> dict[str, Json]:
        """What a history keeps of it."""


class Load(Protocol):
    """Carries a workload out in a process of its own."""

    def prepare(self, workload: Any, target: str, segment: Path, log: Path) -> None:
        """Do what takes its time and sends nothing yet."""

    def start(self, workload: Any, target: str, segment: Path, log: Path) -> None:
        """Start; returns once it records."""

    def first_invocation(self, timeout_s: float) -> int:
        """Wait for the first operation."""

    def stop(self, timeout_s: float = 30) -> None:
        """Stop in order what was started, once; raises LoadError where its record is not whole."""


class Verifier(Protocol):
    """Reads back everything a workload wrote, in a process of its own."""

    def verify(self, workload: Any, target: str, segment: Path, log: Path, timeout_s: float) -> None:
        """Record one verifying read within the time; that it failed is recorded, not raised."""


@dataclass(frozen=True)
class Plan:
    """What one experiment is to do."""

    scenario: str
    stack: Stack
    workload: Workload
    faults: Sequence[Fault]
    seed: int
    directory: Path
    probe_image: str
    steady: Sequence[Condition] = steady_state.STEADY
    before_s: float = BEFORE_S
    after_s: float = AFTER_S
    images: dict[str, str] = field(default_factory=dict)
    redactor: Redactor = field(default_factory=Redactor)


class Held:
    """Given to :func:`run`, it leaves the stack where it is, for people to look at, until :meth:`end` is called.

    The history is sealed and on disk all the same; what it does not tell of yet is the removal and the baseline after.
    """

    def __init__(self) -> None:
        self.experiment: _Experiment | None = None
        """None until there is a namespace to remove."""

    def end(self) -> History:
        """Remove the stack, read the baseline, and seal the history again with both; returns it, on disk by then."""
        begun, self.experiment = self.experiment, None
        assert begun is not None  # noqa: S101 - who asks has seen that there is one
        history, segment = begun.plan.directory / "history.jsonl", begun.plan.directory / "end.jsonl"
        clean = begun.plan.redactor.value
        try:
            with HistoryWriter(segment, "end", redact=clean) as begun.writer, ExitStack() as undo:
                undo.callback(begun._read_baseline_after)
                undo.callback(begun._remove)
        finally:
            whole = seal_history([history, segment], history, clean)
            segment.unlink()
        return whole


def run(
    plan: Plan,
    cluster: Cluster,
    load_factory: Callable[[], Load],
    verifier_factory: Callable[[], Verifier],
    say: Callable[[str], None],
    held: Held | None = None,
) -> History:
    """Run the plan and return its sealed history, which is on disk by then.

    Whatever happens, faults are healed, the load is stopped, the namespace is removed (or left to
    ``held``) and the history is sealed; an error or an interrupt goes on afterwards. Raises SteadyStateError where
    the stack was not sound to begin with.
    """
    (plan.directory / "logs").mkdir(parents=True, exist_ok=True)
    clean = plan.redactor
    clean.spare({*plan.stack.names(), plan.scenario.partition("[")[0]})  # by its scenario it is found and judged again
    clean.learn(secrets_in(plan.stack.documents))
    writers = Segments(plan.directory, clean.value)
    histories: list[History] = []
    with ExitStack() as cleaning:
        # What other processes write is without secrets only once it has passed through here.
        private = scratch(cluster.name)
        clients = Path(private.name)
        try:
            _Experiment(plan, cluster, load_factory, verifier_factory, writers, clients, say).run(cleaning, held)
            if not interrupts.waiting():
                writers["harness"].write("fact", name="completed", value=True)
        except BaseException as error:
            if _interrupted(error):  # what failed while cleaning up must not hide that somebody wanted to stop
                raise KeyboardInterrupt from error
            raise
        finally:
            # A writer whose disk is full keeps neither the others nor the seal from being tried.
            with ExitStack() as end:
                end.callback(private.cleanup)
                end.callback(lambda: histories.append(_seal(plan, writers, clients)))
                end.callback(writers.close)
    return histories[0]


def _seal(plan: Plan, writers: Segments, clients: Path) -> History:
    """One history of all segments; of the clients' files only what is without secrets gets into the directory."""
    clean, segments = plan.redactor, writers.paths
    everything = [*segments, *clients.glob("*.jsonl")]
    history = seal_history(everything, plan.directory / "history.jsonl", clean.value)
    for segment in segments:
        segment.unlink()
    for log in clients.glob("*.log"):
        kept = plan.directory / "logs" / log.name
        kept.write_text(clean.text(log.read_text("utf-8", "replace")), "utf-8", "replace")
    return history


def _interrupted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


class _Experiment:
    def __init__(
        self,
        plan: Plan,
        cluster: Cluster,
        load_factory: Callable[[], Load],
        verifier_factory: Callable[[], Verifier],
        writers: Segments,
        clients: Path,
        say: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.cluster = cluster
        self.kube = cluster.kube
        self.load_factory = load_factory
        self.verifier_factory = verifier_factory
        self.writer = writers["harness"]
        self.writers = writers
        self.clients = clients
        self.say = say
        self.rng = random.Random(plan.seed)  # noqa: S311 - a seed that replays, not a secret
        self.namespace = f"ks-{plan.stack.name}-{plan.seed & 0xFFFF:04x}-{time.time_ns() // 10**6 % 10**6:06d}"[:63]
        self.left = journal.Entry(cluster.name, "remove_namespace", {"name": self.namespace})
        self.pause = threading.Event()

    def run(self, cleaning: ExitStack, held: Held | None) -> None:
        """Run it and clean up; from there on ``cleaning`` holds a first interrupt back."""
        self.cluster.require_mark()
        self._write_facts()
        with ExitStack() as undo:
            try:
                self._run(undo, held)
            finally:
                cleaning.enter_context(interrupts.held())

    def _run(self, undo: ExitStack, held: Held | None) -> None:
        target, load = self._target(), self.load_factory()
        if held is not None:
            held.experiment = self
        else:
            undo.callback(self._read_baseline_after)
            undo.callback(self._remove)
        self._make_namespace()
        witnesses = Witnesses(self.cluster.containers(), self.clients)
        undo.callback(witnesses.stop)
        witnesses.start()
        recorder = Recorder(self.kube, self.namespace, self.writers, self.cluster.require_engine)
        keeper = LogKeeper(self.kube, self.namespace, self.plan.directory / "logs", self.plan.redactor, self._learn)
        recorder.listen(keeper.see)
        undo.callback(recorder.stop)
        undo.callback(self._keep_what_there_is, recorder, keeper)
        recorder.start()
        undo.callback(load.stop)  # first: an interrupt may come between the start and what follows it
        load.prepare(*self._clients_of(target))
        view = self._deploy(recorder)
        volumes = Volumes(mounts(self.plan.stack.documents), lambda: recorder.objects("Pod"))
        undo.callback(volumes.close)
        cadence = Cadence(self.writers["probe"], [*self._questions().lanes(view.inside), *volumes.lanes()])
        undo.callback(cadence.stop)
        cadence.start()
        with self.phase("steady"):
            steady_state.hold(self.plan.steady, view)
        self._disturb(recorder, view, load, target)
        if self.plan.workload.verify:
            self._verify(target)

    def _address(self) -> str | None:
        """Where the clients find the stack; None where it has no way in."""
        port = self.plan.workload.port or self.plan.stack.node_port
        return self.cluster.address(port) if port else None

    def _target(self) -> str:
        """What the clients are pointed at."""
        address = self._address()
        if address is None:
            raise ClusterError(f"stack {self.plan.stack.name} has no NodePort for its clients; give its Service one")
        return f"{self.plan.workload.scheme}://{address.partition('://')[2]}"

    def _clients_of(self, target: str) -> tuple[Any, str, Path, Path]:
        return self.plan.workload, target, self.clients / "load.jsonl", self.clients / "locust.log"

    def _verify(self, target: str) -> None:
        """One read of everything written, by a client that saw nothing of the load."""
        plan = self.plan
        with self.phase("verify"):
            segment, log = self.clients / "verify.jsonl", self.clients / "verify.log"
            self.verifier_factory().verify(plan.workload, target, segment, log, VERIFY_S)

    def _disturb(self, recorder: Recorder, view: View, load: Load, target: str) -> None:
        """The part under load: before, fault, recover, after."""
        plan = self.plan
        with ExitStack() as undo:
            undo.callback(load.stop)
            load.start(*self._clients_of(target))
            load.first_invocation(FIRST_OPERATION_S)
            with self.phase("before"):
                self.pause.wait(plan.before_s)
            scene = Scene(self.cluster.name, self.kube, self.namespace, recorder, self.rng, self.cluster.require_mark)
            with recorder.closely():
                with self.phase("fault"):
                    Nemesis(scene, self.writer).run(plan.faults)
                with self.phase("recover"):
                    try:
                        steady_state.hold(plan.steady, view)
                    except SteadyStateError as error:  # after the fault this is for the checkers to judge
                        self.note(f"after the fault: {error}")
            with self.phase("after"):
                self.pause.wait(plan.after_s)

    def _write_facts(self) -> None:
        plan = self.plan
        experiment = {
            "scenario": plan.scenario,
            "stack": plan.stack.name,
            "namespace": self.namespace,
            "seed": plan.seed,
            "load_s": {"before": plan.before_s, "after": plan.after_s},
        }
        facts = {
            "experiment": experiment,
            "stack": plan.stack.facts(),
            "cluster": self.cluster.facts(),
            "workload": plan.workload.as_fact(),
            "images": plan.images,
            "baseline": self.cluster.read_baseline(),
        }
        for name, value in facts.items():
            self.writer.write("fact", name=name, value=value)
        self.writer.clock()

    def _make_namespace(self) -> None:
        labels = {RUN_LABEL: str(self.plan.seed)}
        journal.plan(self.left)
        self.kube.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        )

    def _deploy(self, recorder: Recorder) -> View:
        plan = self.plan
        with self.phase("deploy"):
            self.cluster.provide(plan.stack.images(), self.cluster.workers())
            for document in probes.manifest(plan.probe_image, PROBE_PORT):
                self.kube.apply(document, self.namespace)
            plan.stack.deploy(self.kube, self.namespace, recorder, clean=plan.redactor.text)
            inside = Inside(self.cluster.address(PROBE_PORT))
            inside.ready()
        return View(plan.stack, self.namespace, recorder, inside, self._address(), plan.workload.scheme)

    def _questions(self) -> questions.Questions:
        """What is asked of the stack from inside all along."""
        return questions.of_stack(self.plan.stack.documents, self.plan.stack.identities(), self.namespace)

    def _learn(self) -> None:
        """The Secrets that the stack, or something in it, has made by now."""
        with suppress(HarnessError):
            self.plan.redactor.learn(secrets_in(self.kube.secrets(self.namespace)))

    def _keep_what_there_is(self, recorder: Recorder, keeper: LogKeeper) -> None:
        """Whatever a person could ask for once the stack is gone; what cannot be had is a note."""
        plan = self.plan
        self._learn()
        for missing in (
            *keeper.stop(),
            *diagnostics.snapshot(self.cluster, self.namespace, recorder, plan.directory, plan.redactor),
        ):
            self.note(f"not kept: {missing}")

    def _remove(self) -> None:
        with self.phase("remove"):
            if self.kube.delete("Namespace", self.namespace):
                what = f"the namespace {self.namespace} is gone"
                poll(
                    lambda: self.kube.get("Namespace", self.namespace), lambda n: n is None, timeout_s=GONE_S, what=what
                )
            journal.done(self.left)

    def _read_baseline_after(self) -> None:
        self.cluster.require_engine()  # without one nothing settles
        self.cluster.settle()
        self.writer.write("fact", name="baseline_after", value=self.cluster.read_baseline())
        self.writer.clock()

    def note(self, text: str) -> None:
        self.writer.write("note", text=text)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.say(name)
        self.writer.write("phase", name=name, edge="begin")
        try:
            yield
        finally:
            self.writer.write("phase", name=name, edge="end")
