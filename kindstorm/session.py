"""One pytest session: its run directory, its one leased cluster, its results and reports."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from chaos import cluster as clusters
from chaos import diagnostics, experiment, interrupts, journal, provision, report, undo
from chaos.cluster import Cluster, ClusterSpec
from chaos.errors import (
    ClusterError,
    HarnessError,
    HistoryError,
    ImageError,
    StackError,
    Unsupported,
    machine_told,
)
from chaos.experiment import Held
from chaos.history import History
from chaos.kind import Kind
from chaos.redact import Redactor
from chaos.report import ExperimentResult, RunInfo
from chaos.stack import Stack
from images import engine, registry, setup, stand_ins, team
from images.catalogue import short_reference
from kindstorm.run import Run
from kindstorm.scenario import Asked
from load.driver import LocustLoad
from load.verifier import DocumentVerifier

STILL_S = 10
TAKE_UP_S = 30
"""How long a cluster may take to be at its baseline: the session's own between experiments, and one of another's."""
UNDONE_S = 120
"""How long a cluster may take to its baseline once something was undone: a namespace goes with all its pods."""


@dataclass(frozen=True)
class Options:
    """What the command line chose."""

    line: str | None
    clocks: str
    seed: int | None
    runs: Path
    rejudge: Path | None
    keep: bool
    kubeconfig: Path | None
    node_image: str | None
    kind: Path | None = None
    cluster_name: str | None = None
    hold: bool = False
    catalogue: Path | None = None


@dataclass
class Session:
    """Everything that outlives a single scenario."""

    options: Options
    results: list[ExperimentResult] = field(default_factory=list)
    tests: list[tuple[str, str, float, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    say: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.started_at = datetime.now(UTC)
        self.seed = self.options.seed if self.options.seed is not None else random.SystemRandom().randrange(2**31)
        self.run_id = self.started_at.strftime("%Y%m%dT%H%M%S") + f"-{os.getpid()}"
        self.directory = (self.options.runs / self.run_id).absolute()
        self.catalogue = team.load(self.options.catalogue)
        self._others = team.Others()
        self.line = self.catalogue.line(self.options.line)
        self.states: dict[str, str] = {}
        self.images: list[tuple[str, str, str]] = []
        self.redactor = Redactor()
        self._cluster: Cluster | None = None
        self._lease = contextlib.ExitStack()
        self._counts: dict[str, int] = {}
        self._standing: Held | None = None
        self.looked_at: str | None = None
        self._runs: list[Run] = []
        self._told: RunInfo | None = None  # the table at the end asks no engine, which may be gone by then

    # ---- experiments

    def experiment(self, scenario: str, title: str, asked: Asked) -> Run:
        """Run one experiment, or take its stored history where the session only judges again."""
        name, stack = self._name(scenario), asked.stack
        if self.options.rejudge is not None:
            return self._stored(scenario, title, name, stack)
        directory = self.directory / name
        held = Held() if self.options.hold else None
        cluster, since_s = None, time.time()
        self.redactor.learn(filter(None, [asked.workload.password]))
        try:
            self.settle(passed=True)  # what its test has not judged before it runs another
            self._require_images(stack)
            cluster = self.sound_cluster()
            stack = self._with_stand_ins(stack)
            self.images = self._images()  # now: at the end there may be no engine to ask
            plan = experiment.Plan(
                scenario,
                stack,
                asked.workload,
                asked.faults,
                self.seed,
                directory,
                self.catalogue.probe,
                asked.steady,
                asked.before_s,
                asked.after_s,
                {name: origin for name, origin, _ in self.images},
                self.redactor,
            )
            self.say(f"{name}: ")
            with machine_told():
                history = experiment.run(plan, cluster, LocustLoad, DocumentVerifier, self.say, held)
        except BaseException as error:
            history = History(())
            with contextlib.suppress(HarnessError):
                history = History.load(directory / "history.jsonl")
            sentence = self.redactor.text(_sentence(error))
            result = ExperimentResult(scenario, title, name, self.seed, directory, None, (), history, error=sentence)
            try:
                result = replace(result, diagnostics=self._diagnose(cluster, history, since_s, directory, error))
            finally:  # also where somebody does not want to wait for them
                self._record(result)
                self._standing = held
                try:
                    self.settle(passed=not isinstance(error, Exception))  # who interrupts does not want to look
                except HarnessError as left:
                    error.add_note(str(left))
            raise

        def diagnose() -> Path | None:
            return self._diagnose(cluster, history, since_s, directory)

        run = self._made(Run(scenario, title, name, self.seed, directory, history, self._record, diagnose))
        if held is not None:
            self._standing = held
            run.settle = lambda passed: self._settled(held, directory, passed)
        return run

    def _settled(self, held: Held, directory: Path, passed: bool) -> History:
        if self._standing is held:
            self.settle(passed=passed)
        return History.load(directory / "history.jsonl")

    def settle(self, *, passed: bool) -> None:
        """Remove the stack that still stands, or where it did not pass hold the cluster for people to look at it."""
        standing, self._standing = self._standing, None
        if standing is None or standing.experiment is None or self._cluster is None:
            return
        if passed:
            with interrupts.held():
                standing.end()
            return
        namespace = standing.experiment.namespace
        provision.hold(self._cluster, namespace)
        journal.done(standing.experiment.left)  # a fault that could not be healed stays on the journal
        self.looked_at = namespace
        self.notes.append(
            f"the cluster {self._cluster.name} is held for looking at, its stack still in the namespace {namespace}; "
            "`kindstorm clusters --remove` removes it"
        )

    def _made(self, run: Run) -> Run:
        self._runs.append(run)
        return run

    def _diagnose(
        self,
        cluster: Cluster | None,
        history: History,
        since_s: float,
        directory: Path,
        error: BaseException | None = None,
    ) -> Path | None:
        """Collect what is needed to find out why it failed; where that fails, the reports say so."""
        if not directory.exists():  # it failed before there was anything to find out about
            return None
        self.say("collecting diagnostics")
        # Who interrupts wants an end: then only what is quickly had.
        budget_s = diagnostics.INTERRUPTED_S if isinstance(error, KeyboardInterrupt) else diagnostics.BUDGET_S
        still = cluster if cluster is self._cluster else None
        try:
            case = diagnostics.Case(still, self._kind, history, since_s, directory, self.redactor, error)
            return diagnostics.collect(case, budget_s)
        except (HarnessError, OSError) as failed:
            self.notes.append(self.redactor.text(f"no diagnostics of {directory.name}: {failed}"))
            return None

    def _name(self, scenario: str) -> str:
        short = re.sub(r"[^\w.-]+", "-", scenario.rpartition("::")[2]).strip("-")
        self._counts[short] = self._counts.get(short, 0) + 1
        return short if self._counts[short] == 1 else f"{short}-{self._counts[short]}"

    def _record(self, result: ExperimentResult) -> None:
        self.results.append(result)

    def _stored(self, scenario: str, title: str, name: str, stack: Stack) -> Run:
        given = self.options.rejudge
        assert given is not None  # noqa: S101 - the caller asked
        directory = next((d for d in (given / name, given) if (d / "history.jsonl").exists() and d.name == name), None)
        if directory is None:
            raise HistoryError(_nothing_stored(given, name))
        history = History.load(directory / "history.jsonl")
        facts = history.fact("experiment")
        if not isinstance(facts, dict):
            raise HistoryError(
                f"{directory} holds a history of no experiment; name the directory of a run that has one"
            )
        if (facts.get("scenario"), facts.get("stack")) != (scenario, stack.name):
            told = f"{facts.get('scenario')} on stack {facts.get('stack')}"
            raise HistoryError(
                f"{directory} holds {told}, not {scenario} on stack {stack.name}; judge that test instead"
            )
        return self._made(Run(scenario, title, name, facts.get("seed", 0), directory, history, self._record))

    def _require_images(self, stack: Stack) -> None:
        """Name an image that no pod could ever get before anything is deployed."""
        for reference, place in stack.always_pulled().items():
            raise StackError(
                f"{place}: imagePullPolicy for {reference} is Always, also where it is left out and the tag is latest; "
                "nodes never pull: images are given to them, so say IfNotPresent"
            )
        for reference, place in stack.image_places().items():
            if "@" in reference:
                raise StackError(f"{place}: {reference} is named by its digest; images are given by tag: name that one")
            if not self.catalogue.has(reference) or not self.catalogue.image(reference).workload:
                self._require_other(reference, place)

    def _require_other(self, reference: str, place: str) -> None:
        """An image that no catalogue has: the engine's own, or pulled now."""
        engine.ensure()
        self.say(f"looking for the image {reference}: ")
        reason = self._others.obtain(reference)
        if reason is not None:
            given = self.options.catalogue
            own = f"nor {given}" if given else "and no catalogue of your own was given (--kindstorm-catalogue FILE)"
            raise ImageError(
                f"{place}: nobody has the image {reference}: this machine's engine has none, its registry gives none "
                f"({reason}), kindstorm's catalogue does not know it, {own}"
            )
        self.say(f"{self._others.origins[reference]}\n")

    def _with_stand_ins(self, stack: Stack) -> Stack:
        """The stack as this machine can run it; what is not genuine in it stands in its facts."""
        documents, put_in = stand_ins.put_in(self.catalogue, stack.documents, self.states)
        return replace(stack, documents=tuple(documents), stand_ins={**stack.stand_ins, **put_in})

    # ---- the cluster

    @machine_told()
    def sound_cluster(self) -> Cluster:
        """The session's cluster at its baseline; one that is not is put aside, remade, and the report says so."""
        if self.options.rejudge is not None:
            raise Unsupported("stored runs are judged again without a cluster, and this test needs one")
        if self.looked_at is not None:
            raise ClusterError("this session's cluster is held for looking at, so nothing more runs on it")
        interrupts.answer()
        if self._cluster is not None:
            found = self._deviations(self._cluster, STILL_S)
            if not found:
                return self._cluster
            if self.options.kubeconfig is not None:
                raise self._not_ours_to_remove(self._cluster.name, found)
            self._put_aside(self._cluster.name, found)
            self._drop()
        try:
            self._cluster = self._lease_cluster()
            self.redactor.learn(provision.keys_in(self._cluster.kubeconfig))
        except BaseException:
            self._lease.close()
            raise
        return self._cluster

    @staticmethod
    def _deviations(cluster: Cluster, timeout_s: float) -> list[str]:
        try:
            cluster.require_mark()
            left = journal.pending(cluster.name)
            for entry in reversed(left):
                undo.undo(cluster.kube, entry)
            return cluster.settle(UNDONE_S if left else timeout_s)
        except HarnessError as error:
            return [str(error)]

    def _put_aside(self, name: str, found: list[str]) -> None:
        self.notes.append(f"cluster {name} was not at its baseline and was made anew: {'; '.join(found)}")

    def _kind(self) -> Kind:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = self.options.kind or setup.kind_command(self.catalogue)
        return provision.driver(command, self.directory / "kind.log", self.redactor.text)

    def _lease_cluster(self) -> Cluster:
        handed = None if self.options.kubeconfig is None else provision.name_in(self.options.kubeconfig)
        engine.ensure()
        self.states = setup.require(self.catalogue, self.line, self.options.kind)
        self.images = self._images()
        image = self.options.node_image or ""
        spec = ClusterSpec(self.line, self.options.clocks, probe_image=self.catalogue.probe, node_image=image)
        if engine.inspect_image(spec.base_image) is None:
            raise ImageError(f"the engine has no image {spec.base_image}; pull it, or leave --kind-image out")
        hold = self.options.hold and handed is None
        for name in provision.sweep(self._kind(), keep=self.options.keep or handed is not None, looked_at=hold):
            self._forget(name)
            self.notes.append(
                f"a {'dead, stale or held' if hold else 'dead or stale'} cluster of ours was removed: {name}"
            )
        if handed is not None:
            return self._handed(spec, handed)
        kept = self._kept(spec) if self.options.keep else None
        return kept or self._make(spec)

    def _handed(self, spec: ClusterSpec, name: str) -> Cluster:
        """The cluster that --kubeconfig leads to, at its baseline; whatever it is like, it is never removed."""
        self._hold(name)
        cluster = provision.attach(spec, name)
        found = self._deviations(cluster, TAKE_UP_S)
        if found:
            raise self._not_ours_to_remove(name, found)
        return cluster

    @staticmethod
    def _not_ours_to_remove(name: str, found: list[str]) -> ClusterError:
        return ClusterError(
            f"the cluster {name} of --kubeconfig is not at its baseline: {'; '.join(found)}; it was left as it is: "
            "put that right, or leave --kubeconfig out for a new cluster"
        )

    def _kept(self, spec: ClusterSpec) -> Cluster | None:
        """A kept cluster of this configuration at its baseline; one that is not is removed, and the report says so."""
        free = (name for name in provision.reusable(spec) if self._lease.enter_context(clusters.leased(name)))
        name = next(free, None)
        if name is None:
            return None
        try:
            cluster = provision.attach(spec, name)
            found = self._deviations(cluster, TAKE_UP_S)
        except HarnessError as error:
            found = [str(error)]
        else:
            if not found:
                return cluster
        self._put_aside(name, found)
        provision.delete(self._kind(), name)
        self._forget(name)
        self._lease.close()
        return None

    def _make(self, spec: ClusterSpec) -> Cluster:
        self.say("making a cluster: ")
        begin = time.monotonic()
        name = self.options.cluster_name or provision.new_name()
        self._hold(name)
        cluster = provision.create(self._kind(), spec, name)
        self.say(f"{time.monotonic() - begin:.0f} s\n")
        return cluster

    def _hold(self, name: str) -> None:
        if not self._lease.enter_context(clusters.leased(name)):
            raise ClusterError(f"another session holds the cluster {name}; wait for it, or leave --keep-cluster out")

    @staticmethod
    def _forget(name: str) -> None:
        for entry in journal.pending(name):
            journal.done(entry)

    def _drop(self) -> None:
        if self._cluster is None:
            return
        name, self._cluster = self._cluster.name, None
        with interrupts.held():
            try:
                provision.delete(self._kind(), name)
                self._forget(name)
            except ClusterError as error:
                raise ClusterError(
                    f"the cluster {name} could not be removed ({error}); the next session removes it, "
                    "or `kindstorm clusters --remove`"
                ) from error
            finally:
                self._lease.close()

    # ---- the end

    @machine_told()
    def finish(self) -> Path | None:
        """Write the reports and let go of the cluster; returns the report's path where there was an experiment."""
        try:
            with interrupts.held():
                return self._finish()
        finally:
            interrupts.rest()

    def _finish(self) -> Path | None:
        try:
            self.settle(passed=True)  # an interrupt came before anybody judged it
        except HarnessError as error:
            self.notes.append(f"the stack that still stood at the end was not removed: {error}")
        for run in self._runs:
            if not run.judged:
                self._record(run.unjudged())
        try:
            return self._write_reports() if self.results or self.directory.exists() else None
        finally:
            if self._cluster is not None and (self.options.keep or self.options.kubeconfig or self.looked_at):
                provision.remember(self._cluster)
                self._lease.close()
            else:
                self._drop()

    def _write_reports(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        run = self._told = self.run_info()
        report.write_results(run, self.results, self.directory / "results.json")
        report.write_junit(run, self.results, self.directory / "junit.xml")
        report.write_report(run, self.results, self.directory / "report.html")
        report.write_index(self.directory.parent)
        return self.directory / "report.html"

    def run_info(self) -> RunInfo:
        """What the reports say of the run as a whole."""
        images = [
            {"name": name, "origin": origin, "version": name.rpartition(":")[2], "digest": digest}
            for name, origin, digest in self.images
        ]
        host = {"system": platform.platform(), "processors": os.cpu_count(), "python": platform.python_version()}
        return RunInfo(
            self.run_id,
            self.started_at.isoformat(timespec="seconds"),
            self.redactor.text(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
            self.line.version,
            self.options.clocks,
            host,
            images,
            [self.redactor.text(note) for note in self.notes],
            [(test, outcome, seconds, self.redactor.text(said)) for test, outcome, seconds, said in self.tests],
        )

    def _images(self) -> list[tuple[str, str, str]]:
        """What runs for each image that the line or a stack needs: its name, its origin, and its id cut short."""
        known = [(self.catalogue.image(name), state) for name, state in self.states.items()]
        origins = [(image.runs_as(state), registry.origin(image, state)) for image, state in known]
        found = []
        for reference, origin in [*origins, *self._others.origins.items()]:
            entry = engine.inspect_image(short_reference(reference)) or {}
            found.append((reference, origin, str(entry.get("Id"))[7:19]))
        return found

    def print_summary(self, path: Path) -> None:
        """The table of verdicts, and last the report's path."""
        Console().print(report.render_summary(self._told or self.run_info(), self.results, path))
        if self.looked_at is not None and self._cluster is not None:
            text = _ways_to_look(self._cluster, self.looked_at)
            Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _ways_to_look(cluster: Cluster, namespace: str) -> str:
    """How a person gets at a held stack; the node's own kubectl is always there, this machine's may not be."""
    inside = [
        "docker",
        "exec",
        f"{cluster.name}-control-plane",
        "kubectl",
        "--kubeconfig",
        "/etc/kubernetes/admin.conf",
    ]
    here = ["kubectl", "--kubeconfig", str(cluster.kubeconfig)]
    ways = [here, inside] if shutil.which("kubectl") else [inside]
    questions = (["get", "all,endpointslices,events"], ["describe", "pods"])
    look = [shlex.join([*way, "--namespace", namespace, *question]) for way in ways for question in questions]
    return "\n    ".join(
        [
            f"\nheld: the cluster {cluster.name}; the stack is in the namespace {namespace}, as the experiment left it",
            f"kubeconfig: {cluster.kubeconfig}",
            *(f"look:       {command}" for command in look),
            "remove:     kindstorm clusters --remove",
        ]
    )


def _nothing_stored(given: Path, name: str) -> str:
    if not given.is_dir():
        return f"there is no directory {given}; name the directory of a run, such as runs/<run>"
    unsealed = next((d for d in (given / name, given) if d.name == name and (d / "harness.jsonl").exists()), None)
    if unsealed is not None:
        return f"{unsealed} was cut short before its history was sealed; there is nothing whole to judge: run it again"
    return f"{given} holds no stored run of {name}; name the directory of a run that has one"


def _sentence(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or repr(error)
