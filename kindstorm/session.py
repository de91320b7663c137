"""One pytest session: its run directory, its one leased cluster, its results and reports."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from chaos import cluster as clusters
from chaos import experiment, journal, report, undo
from chaos.cluster import Cluster, ClusterSpec
from chaos.errors import ClusterError, HistoryError, ImageError, StackError
from chaos.history import History
from chaos.nemesis import Fault
from chaos.report import ExperimentResult, RunInfo
from chaos.stack import Stack
from chaos.steady_state import STEADY, Condition
from images import catalogue as catalogues
from images import engine, setup
from images.catalogue import short_reference
from kindstorm.run import Run
from load.driver import LocustLoad
from load.profiles import Workload
from load.verifier import DocumentVerifier


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
        self.catalogue = catalogues.load()
        self.line = self.catalogue.line(self.options.line)
        self.origins: dict[str, str] = {}
        self._cluster: Cluster | None = None
        self._lease = contextlib.ExitStack()
        self._counts: dict[str, int] = {}

    # ---- experiments

    def experiment(
        self,
        scenario: str,
        title: str,
        stack: Stack,
        workload: Workload,
        faults: list[Fault],
        steady: tuple[Condition, ...] = STEADY,
        before_s: float = experiment.BEFORE_S,
        after_s: float = experiment.AFTER_S,
    ) -> Run:
        """Run one experiment, or take its stored history where the session only judges again."""
        name = self._name(scenario)
        if self.options.rejudge is not None:
            return self._stored(scenario, title, name)
        directory = self.directory / name
        try:
            self._require_images(stack)
            cluster = self.sound_cluster()
            plan = experiment.Plan(
                scenario,
                stack,
                workload,
                faults,
                self.seed,
                directory,
                self.catalogue.probe,
                steady,
                before_s,
                after_s,
                self.origins,
            )
            self.say(f"{name}: ")
            history = experiment.run(plan, cluster, LocustLoad, DocumentVerifier, self.say)
        except BaseException as error:
            path = directory / "history.jsonl"
            history = History.load(path) if path.exists() else History(())
            self._record(
                ExperimentResult(scenario, title, name, self.seed, directory, None, (), history, _sentence(error))
            )
            raise
        return Run(scenario, title, name, self.seed, directory, history, self._record)

    def _name(self, scenario: str) -> str:
        short = scenario.rpartition("::")[2].replace("[", "-").replace("]", "").replace("/", "-")
        self._counts[short] = self._counts.get(short, 0) + 1
        return short if self._counts[short] == 1 else f"{short}-{self._counts[short]}"

    def _record(self, result: ExperimentResult) -> None:
        self.results.append(result)

    def _stored(self, scenario: str, title: str, name: str) -> Run:
        given = self.options.rejudge
        assert given is not None  # noqa: S101 - the caller asked
        directory = next((d for d in (given / name, given) if (d / "history.jsonl").exists() and d.name == name), None)
        if directory is None:
            raise HistoryError(f"{given} holds no stored run of {name}; name the directory of a run that has one")
        history = History.load(directory / "history.jsonl")
        seed = (history.fact("experiment") or {}).get("seed", 0)
        return Run(scenario, title, name, seed, directory, history, self._record)

    def _require_images(self, stack: Stack) -> None:
        """Name an image that no pod could ever get before anything is deployed."""
        if stack.always_pulled():
            raise StackError(
                f"stack {stack.name} says imagePullPolicy Always for {', '.join(stack.always_pulled())}; "
                "nodes never pull: images are given to them, so say IfNotPresent"
            )
        for reference in stack.images():
            if not self.catalogue.has(reference) or not self.catalogue.image(reference).workload:
                raise ImageError(
                    f"stack {stack.name} names the image {reference}, which is no workload image of the catalogue; "
                    "a pod would wait for it for ever: add it there"
                )

    # ---- the cluster

    def sound_cluster(self) -> Cluster:
        """The session's cluster at its baseline; one that is not is put aside, remade, and the report says so."""
        if self._cluster is not None:
            found = self._deviations(self._cluster)
            if not found:
                return self._cluster
            self.notes.append(
                f"cluster {self._cluster.name} was not at its baseline and was made anew: {'; '.join(found)}"
            )
            self._drop()
        self._cluster = self._lease_cluster()
        return self._cluster

    @staticmethod
    def _deviations(cluster: Cluster) -> list[str]:
        try:
            cluster.require_mark()
            return cluster.settle(10)
        except ClusterError as error:
            return [str(error)]

    def _log(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        return self.directory / "kind.log"

    def _lease_cluster(self) -> Cluster:
        engine.ensure()
        self.origins = setup.require(self.catalogue, self.line)
        spec = ClusterSpec(
            self.line, self.options.clocks, probe_image=self.catalogue.probe, node_image=self.options.node_image or ""
        )
        for name in clusters.sweep(self.catalogue, self._log(), keep=self.options.keep):
            self.notes.append(f"a dead or stale cluster of ours was removed: {name}")
        kept = clusters.reusable(spec) if self.options.keep else None
        if kept is not None:
            self._lease.enter_context(clusters.leased(kept))
            cluster = clusters.attach(spec, kept)
            found = cluster.settle(30)
            if not found:
                self._undo_left_over(cluster)
                return cluster
            self.notes.append(f"kept cluster {kept} was not at its baseline and was made anew: {'; '.join(found)}")
            self._lease.close()
            clusters.delete(self.catalogue, kept, self._log())
        self.say("making a cluster: ")
        begin = time.monotonic()
        cluster = clusters.create(self.catalogue, spec, self._log())
        self._lease.enter_context(clusters.leased(cluster.name))
        self.say(f"{time.monotonic() - begin:.0f} s\n")
        return cluster

    @staticmethod
    def _undo_left_over(cluster: Cluster) -> None:
        for entry in journal.pending(cluster.name):
            undo.undo(cluster.kube, entry)

    def _drop(self) -> None:
        if self._cluster is None:
            return
        name, self._cluster = self._cluster.name, None
        self._lease.close()
        clusters.delete(self.catalogue, name, self._log())
        for entry in journal.pending(name):
            journal.done(entry)

    # ---- the end

    def finish(self) -> Path | None:
        """Write the reports and let go of the cluster; returns the report's path where there was an experiment."""
        try:
            return self._write_reports() if self.results or self.directory.exists() else None
        finally:
            if self.options.keep and self._cluster is not None:
                clusters.remember(self._cluster)
                self._lease.close()
            else:
                self._drop()

    def _write_reports(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        run = self.run_info()
        report.write_verdicts(run, self.results, self.directory / "verdicts.json")
        report.write_junit(run, self.results, self.directory / "junit.xml")
        report.write_report(run, self.results, self.directory / "report.html")
        return self.directory / "report.html"

    def run_info(self) -> RunInfo:
        """What the reports say of the run as a whole."""
        images = []
        for name, origin in self.origins.items():
            image = self.catalogue.image(name)
            found = engine.inspect_image(short_reference(name)) or {}
            shown = f"stand-in ({image.stand_in})" if origin == "stand-in" else origin
            images.append(
                {"name": name, "origin": shown, "version": image.version, "digest": str(found.get("Id"))[7:19]}
            )
        host = {"system": platform.platform(), "processors": os.cpu_count(), "python": platform.python_version()}
        return RunInfo(
            self.run_id,
            self.started_at.isoformat(timespec="seconds"),
            shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            self.line.version,
            self.options.clocks,
            host,
            images,
            self.notes,
            self.tests,
        )

    def print_summary(self, path: Path) -> None:
        """The table of verdicts, and last the report's path."""
        Console().print(report.render_summary(self.run_info(), self.results, path))


def _sentence(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or repr(error)
