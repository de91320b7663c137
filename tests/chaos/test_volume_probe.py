"""Volumes are written, synced and read back from outside, and what could not be asked is told apart."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.kube import Seen
from chaos.probes import volumes
from chaos.probes.volumes import Mount, Volumes, mounts
from chaos.stack import Stack
from chaos.waiting import poll

STACKS = Path(__file__).parents[2] / "manifests" / "stacks"
TASK = str(re.findall(r"\w+", Path("/proc/self/cgroup").read_text())[0])
"""What stands in this process's cgroup, as a container's id does in its own."""


class World:
    """One node that is this machine, with a container that is this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks = folder / "tasks"
        self.volume = folder / "volume"
        self.volume.mkdir()
        self.started: list[str] = []
        self.command = ["bash", "-c", f"tasks={self.tasks}\n{volumes._SHELL}"]
        self.pods = [pod("web-0")]
        self.task(os.getpid())

    def task(self, pid: int) -> None:
        """Say which process the container's first one is."""
        (self.tasks / TASK).mkdir(parents=True, exist_ok=True)
        (self.tasks / TASK / "init.pid").write_text(str(pid))

    def start(self, node: str) -> subprocess.Popen[bytes]:
        """A shell on the node."""
        self.started.append(node)
        return subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def ask(self, probe: Volumes) -> Any:
        """The reading of the only volume."""
        (reading,) = probe.ask().values()
        return reading


def pod(name: str, uid: str = "u", **state: Any) -> Seen:
    """A pod of StatefulSet web, ready on node worker, unless ``state`` says otherwise."""
    whole = {
        "ready": True,
        "node": "worker",
        "owner": {"kind": "StatefulSet", "name": "web"},
        "containers": [{"name": "app", "state": "running", "id": f"containerd://{TASK}"}],
    } | state
    return Seen("Pod", "run-1", name, uid, "1", {}, whole)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """See World."""
    return World(tmp_path)


@pytest.fixture
def probe(world: World) -> Iterator[Volumes]:
    """A probe of the volume that StatefulSet web's container app has."""
    made = Volumes([Mount("StatefulSet", "web", "app", str(world.volume))], lambda: world.pods, world.start)
    yield made
    made.close()


def test_what_was_written_is_found_the_next_time(world: World, probe: Volumes) -> None:
    """A number that grows, in a file of its own for each pod, with the time it took; one shell serves all."""
    first, second = world.ask(probe), world.ask(probe)
    assert first.asked
    assert first.error is None
    assert (first.value["wrote"], first.value["found"], first.value["pod_uid"]) == (1, None, "u")
    assert (second.value["wrote"], second.value["found"]) == (2, 1)
    assert 0 < second.value["took_ms"] * 1e6 <= second.receive_ns - second.send_ns
    assert (world.volume / ".kindstorm-probe-web-0").read_text() == "000000000002"
    assert world.started == ["worker"]


def test_the_next_incarnation_finds_what_the_last_one_had(world: World, probe: Volumes) -> None:
    """The file is the name's: a new pod on the old volume finds the old number, on an empty one none."""
    world.ask(probe)
    world.pods = [pod("web-0", "v")]
    assert world.ask(probe).value == {"pod_uid": "v", "wrote": 2, "found": 1} | {"took_ms": pytest.approx(0, abs=1e5)}
    (world.volume / ".kindstorm-probe-web-0").unlink()
    assert world.ask(probe).value["found"] is None


def test_a_volume_that_takes_no_write_answers_so(world: World, probe: Volumes) -> None:
    """It was asked, and the error is what the system said."""
    (world.volume / ".kindstorm-probe-web-0").mkdir()
    reading = world.ask(probe)
    assert (reading.value, reading.asked) == (None, True)
    assert "Is a directory" in str(reading.error)


def test_a_symbolic_link_is_not_followed(world: World, probe: Volumes) -> None:
    """It would lead out of the container, to a file of the node."""
    victim = world.folder / "victim"
    victim.write_text("mine")
    (world.volume / ".kindstorm-probe-web-0").symlink_to(victim)
    reading = world.ask(probe)
    assert reading.value is None
    assert victim.read_text() == "mine"


def test_a_volume_that_hangs_is_told_from_a_node_that_does(
    world: World, probe: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked, and no answer; the next ones are asked all the same. Of a node that says nothing nobody knows."""
    os.mkfifo(world.volume / ".kindstorm-probe-web-0")
    monkeypatch.setattr(volumes, "ASK_S", 0.5)
    for _ in range(2):
        reading = world.ask(probe)
        assert (reading.value, reading.error) == (None, "timeout: the volume did not answer in time")
        assert reading.asked
    world.command = ["sleep", "60"]
    silent = Volumes([Mount("StatefulSet", "web", "app", str(world.volume))], lambda: world.pods, world.start)
    reading = world.ask(silent)
    assert (reading.value, reading.error, reading.asked) == (None, "the node could not be asked", False)
    silent.close()


@pytest.mark.parametrize("pid", [1, 2**22 + 1])
def test_a_container_that_has_ended_is_not_asked(world: World, probe: Volumes, pid: int) -> None:
    """Its process is gone, or has become another one, whose files are none of ours."""
    (world.tasks / "gone-task").mkdir()
    (world.tasks / "gone-task" / "init.pid").write_text(str(pid))
    world.pods = [pod("web-0", containers=[{"name": "app", "state": "running", "id": "containerd://gone-task"}])]
    reading = world.ask(probe)
    assert (reading.value, reading.asked) == (None, False)
    assert not list(world.volume.iterdir())


def test_a_node_that_went_away_is_asked_anew(world: World, probe: Volumes) -> None:
    """What is asked while it is gone was not asked; once it is back there is a new shell."""
    world.ask(probe)
    good, world.command = world.command, ["false"]
    probe.close()
    assert not world.ask(probe).asked
    world.command = good
    readings = [world.ask(probe) for _ in range(3)]
    assert readings[-1].value["found"] is not None
    assert len(world.started) >= 3


def test_only_pods_that_were_ready_once_are_asked(world: World, probe: Volumes) -> None:
    """What a program finds at its very first start is its own; later its volume is asked whether it is ready or not."""
    world.pods = [pod("web-0", ready=False)]
    assert probe.ask() == {}
    world.pods = [pod("web-0")]
    assert len(probe.ask()) == 1
    world.pods = [pod("web-0", ready=False)]
    assert len(probe.ask()) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"owner": {"kind": "StatefulSet", "name": "shop"}},
        {"owner": None},
        {"owner": {"kind": "ReplicaSet", "name": "web-5d4"}},
        {"node": None},
        {"containers": [{"name": "app", "state": "waiting", "id": None}]},
        {"containers": [{"name": "side", "state": "running", "id": f"containerd://{TASK}"}]},
    ],
)
def test_what_has_no_such_volume_is_not_asked(world: World, probe: Volumes, other: dict[str, Any]) -> None:
    """Another workload's pod, one without a node or a running container, and one without this mount."""
    world.pods = [pod("web-0", **other)]
    assert probe.ask() == {}
    assert world.started == []


def test_a_deployments_pods_are_its_replica_sets(world: World) -> None:
    """By the name without the template's hash."""
    probe = Volumes([Mount("Deployment", "web", "app", str(world.volume))], lambda: world.pods, world.start)
    world.pods = [pod("web-5d4-x", owner={"kind": "ReplicaSet", "name": "web-5d4"})]
    assert list(probe.ask()) == [f"web-5d4-x:{world.volume}"]
    probe.close()


def test_several_rounds_may_be_under_way(world: World, probe: Volumes) -> None:
    """Each gets its own answers."""
    found: list[int] = []
    lock = threading.Lock()

    def ask() -> None:
        value = world.ask(probe).value
        with lock:
            found.append(value["wrote"])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2, 3, 4, 5, 6]


def test_what_a_node_comes_to_too_late_is_not_done(
    world: World, probe: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it any more: a node that was paused does not do at once all that it was asked meanwhile."""
    monkeypatch.setattr(volumes, "ASK_S", -5)
    assert not world.ask(probe).asked
    poll(lambda: probe._nodes["worker"]._open, lambda left: not left, timeout_s=20, what="it is answered")
    assert not list(world.volume.iterdir())
    monkeypatch.setattr(volumes, "ASK_S", 20)
    assert (world.ask(probe).value["wrote"], world.ask(probe).value["found"]) == (2, 2)


def test_a_node_that_says_nothing_is_not_asked_for_ever(
    world: World, probe: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to it would fill the pipe, and then hold up every other question."""
    world.command = ["sleep", "60"]
    monkeypatch.setattr(volumes, "ASK_S", 0)
    monkeypatch.setattr(volumes, "OPEN_MAX", 2)
    readings = [world.ask(probe) for _ in range(5)]
    assert not any(reading.asked for reading in readings)
    assert len(probe._nodes["worker"]._open) == 2


def test_a_mount_path_may_hold_spaces(world: World) -> None:
    """The file is in that folder, and in no other."""
    folder = world.folder / "my volume"
    folder.mkdir()
    spaced = Volumes([Mount("StatefulSet", "web", "app", str(folder))], lambda: world.pods, world.start)
    reading = world.ask(spaced)
    spaced.close()
    assert reading.error is None
    assert (folder / ".kindstorm-probe-web-0").read_text() == "000000000001"


def test_which_mounts_are_asked() -> None:
    """Claims of a StatefulSet and of a Deployment; no configuration, nothing read only, nothing that says no."""
    assert mounts(Stack.load(STACKS / "web.yaml").documents) == [Mount("StatefulSet", "web", "nginx", "/data")]
    assert [mount.path for mount in mounts(Stack.load(STACKS / "mongo.yaml").documents)] == ["/data/db"]
    assert mounts(Stack.load(STACKS / "nginx.yaml").documents) == []


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (lambda _: None, 1),
        (lambda d: d["spec"]["template"].update(metadata={"annotations": {volumes.ANNOTATION: "off"}}), 0),
        (lambda d: d["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0].update(readOnly=True), 0),
        (lambda d: d.update(kind="Job"), 0),
        (lambda d: d["spec"]["template"]["spec"].update(volumes=[{"name": "data", "emptyDir": {}}]), 0),
    ],
)
def test_whose_volumes_are_left_alone(change: Callable[[Any], None], asked: int) -> None:
    """What a template's annotation says, what is read only, what is no claim, and what ends by itself."""
    text = """
    kind: Deployment
    metadata: {name: a}
    spec: {template: {spec: {volumes: [{name: data, persistentVolumeClaim: {claimName: a}}],
      containers: [{name: app, image: a, volumeMounts: [{name: data, mountPath: /data}]}]}}}
    """
    document = yaml.safe_load(text)
    change(document)
    assert len(mounts([document])) == asked
    assert len(Volumes(mounts([document]), list).lanes()) == asked
