"""An engine that dies and a disk that fills up, each under an experiment: slow, and for real."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_engine import (
    REPOSITORY,
    engine,
    fill,
    short_folder,
    small_disk,
)

from chaos import experiment, journal
from chaos.cluster import Cluster
from chaos.errors import HistoryError
from chaos.experiment import Plan
from chaos.stack import STACKS, Stack
from chaos.waiting import poll
from images import build, cache, catalogue
from images.catalogue import short_reference
from images.engine import docker
from kindstorm.faults import scale
from kindstorm.profiles import HTTP_READS
from load.driver import LocustLoad
from load.verifier import DocumentVerifier

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk and starting an engine need root"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the test's own."""
    with short_folder() as made:
        yield made


@pytest.mark.full
def test_the_disk_of_the_runs_is_full_under_an_experiment(cluster: Cluster, folder: Path) -> None:
    """A sentence on the history; the fault is healed, the load stopped, the namespace gone, the cluster as it was."""
    loads: list[LocustLoad] = []

    def load() -> LocustLoad:
        loads.append(LocustLoad())
        return loads[-1]

    def full_at_the_fault(phase: str) -> None:
        if phase == "fault":
            fill(disk)

    with small_disk(folder, 8) as disk:
        stack, faults = Stack.load(STACKS / "nginx.yaml"), [scale("nginx-deployment", 4)]
        probe = cluster.spec.probe_image
        plan = Plan("a::b", stack, HTTP_READS, faults, 7, disk / "run", probe, before_s=2, after_s=2)
        with pytest.raises(HistoryError, match="cannot be written: no space left on device; make room there"):
            experiment.run(plan, cluster, load, DocumentVerifier, full_at_the_fault)
    assert [made.running() for made in loads] == [False]
    assert journal.pending(cluster.name) == []
    assert cluster.settle(60) == []


@pytest.fixture
def apart() -> Iterator[tuple[str, ...]]:
    """A network of its own: what is put before a command to run it there."""
    name = f"ks{uuid.uuid4().hex[:6]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield ("nsenter", f"--net=/run/netns/{name}")
    subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.full
def test_the_engine_dies_under_an_experiment(apart: tuple[str, ...], folder: Path) -> None:
    """The session ends soon and says so, nothing of it runs on, and the engine's next life begins by clearing up.

    The engine is one of the test's own, in a network of its own, so that its death is nobody else's.
    """
    known, cache_folder = catalogue.load(), folder / "cache"
    cache_folder.mkdir()
    (cache_folder / "programs").symlink_to(cache.folder("programs"))
    needed = known.needed(known.line())
    names = [short_reference(image.runs_as(build.image_state(known, image))) for image in needed]
    docker("save", "--output", str(folder / "images.tar"), *names, timeout_s=600)
    given = {"KINDSTORM_CACHE": str(cache_folder), "DOCKER_HOST": f"unix://{folder}/docker.sock"}
    environment = {**os.environ, "COLUMNS": "1000", "PYTHONPATH": str(REPOSITORY), **given}
    scenario = ("scenarios/test_self_healing.py", "-p", "no:cacheprovider", "--kindstorm-runs", str(folder / "runs"))
    with engine(folder, folder / "data", prefix=apart) as first:
        first.docker("load", "--input", str(folder / "images.tar"))
        (folder / "images.tar").unlink()
        session = subprocess.Popen(
            [*apart, sys.executable, "-m", "pytest", *scenario],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        poll(
            lambda: [path for path in folder.glob("runs/*/*/load.jsonl") if path.stat().st_size],
            bool,
            timeout_s=400,
            what="the load runs",
        )
        first.process.kill()
        said, _ = session.communicate(timeout=120)
    assert session.returncode == 1, said
    assert "the container engine went away under the cluster" in said
    assert "could not be removed" in said
    assert "Traceback" not in said
    (report,) = folder.glob("runs/*/report.html")
    assert "VALID" not in (report.parent / "results.json").read_text()
    assert not [path for path in Path("/proc").glob("[0-9]*/environ") if str(folder / "runs").encode() in read(path)]
    with engine(folder, folder / "data", prefix=apart) as second:
        assert second.docker("ps", "--all", "--quiet") != ""
        command = [*apart, sys.executable, "-c", "from kindstorm.cli import main; main()", "clusters", "--remove"]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240)
        assert second.docker("ps", "--all", "--quiet") == ""
        assert "kindstorm" not in second.docker("network", "ls", "--format", "{{.Name}}").split()


def read(path: Path) -> bytes:
    """What a file of /proc says, nothing where its process has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
