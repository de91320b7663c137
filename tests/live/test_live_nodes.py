"""Faults on nodes of a real cluster: they took effect, and they are undone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chaos import cluster as clusters
from chaos import journal, provision, seal, undo
from chaos.cluster import Cluster
from chaos.errors import FaultError
from chaos.kube import Seen
from chaos.nemesis import Scene
from chaos.recorder import Recorder
from chaos.waiting import poll
from images.engine import docker
from kindstorm.faults import drain_node, pause_node, stop_node
from kindstorm.targets import node, node_of, one

pytestmark = pytest.mark.live


def is_open(scene: Scene, name: str) -> bool:
    """Whether pods may be scheduled onto a node, as the API says now."""
    seen = scene.kube.get("Node", name)
    assert seen is not None
    return not seen.state["unschedulable"]


def pods_on(scene: Scene, name: str) -> list[Seen]:
    """The stack's pods on a node, as the API says now."""
    return [pod for pod in scene.kube.list("Pod", scene.namespace) if pod.state["node"] == name]


def test_a_drained_node_is_empty_and_cordoned_until_healed(scene: Scene) -> None:
    """The stack's pod has left, a DaemonSet's pod has not; uncordoning twice over gives the node back."""
    drained = drain_node(node_of(one("nginx"))).aim(scene)
    name, others = drained.target["name"], [p for p in scene.kube.list("Pod") if p.namespace != scene.namespace]
    (before,) = pods_on(scene, name)
    told = drained.inject()
    assert before.uid in {pod["uid"] for pod in told["evicted"]}
    assert (told["refused_evictions"], told["left"]) == (0, {})
    assert [entry.verb for entry in journal.pending(scene.cluster)] == ["uncordon"]
    assert drained.effect()["unschedulable"] is True
    assert pods_on(scene, name) == []
    assert not is_open(scene, name)
    bound = {p.uid for p in others if p.state["node"] == name and p.state["owner"]["kind"] == "DaemonSet"}
    assert bound
    assert bound <= {p.uid for p in scene.kube.list("Pod")}
    for _ in range(2):
        drained.heal()
        assert is_open(scene, name)
        assert journal.pending(scene.cluster) == []


def budget(scene: Scene, **limit: Any) -> None:
    """Give nginx a PodDisruptionBudget."""
    spec = {"selector": {"matchLabels": {"app": "nginx"}}, **limit}
    document = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "nginx"}, "spec": spec}
    scene.kube.apply(document, scene.namespace)


def test_a_drain_that_a_budget_blocks_says_so_and_is_undone(scene: Scene) -> None:
    """With no disruption allowed nothing is evicted; the reason names budget and pod, and the node is opened."""
    budget(scene, maxUnavailable=0)
    drained = drain_node(node_of(one("nginx")), retry_s=3).aim(scene)
    name = drained.target["name"]
    (before,) = pods_on(scene, name)
    assert drained.inject()["refused_evictions"] >= 2
    with pytest.raises(FaultError, match="blocked") as blocked:
        drained.effect()
    assert f"{scene.namespace}/{before.name}: The disruption budget nginx" in str(blocked.value)
    assert [pod.uid for pod in pods_on(scene, name)] == [before.uid]
    assert not is_open(scene, name)
    drained.heal()
    assert is_open(scene, name)
    assert journal.pending(scene.cluster) == []


def test_neither_the_entry_nor_a_control_plane_is_a_target(scene: Scene, cluster: Cluster) -> None:
    """The clients' way in and the API server's node are refused before anything is done to them."""
    for name in cluster.containers():
        if name not in cluster.workers():
            with pytest.raises(FaultError, match=f"the node {name} is"):
                drain_node(node(name)).aim(scene)
    assert journal.pending(scene.cluster) == []


KILLED = """
import os, random, signal, sys
from pathlib import Path
from chaos.cluster import connect
from chaos.history import Segments
from chaos.nemesis import Scene
from chaos.recorder import Recorder
from kindstorm import faults
from kindstorm.targets import node_of, one

fault, cluster, namespace, log = sys.argv[1:]
kube = connect(cluster)
recorder = Recorder(kube, namespace, Segments(Path(log))).start()
scene = Scene(cluster, kube, namespace, recorder, random.Random(0), lambda: None)
aimed = getattr(faults, fault)(node_of(one("nginx"))).aim(scene)
print(aimed.target["name"], flush=True)
aimed.inject()
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_after(fault: str, scene: Scene, log: Path) -> str:
    """Let another process inject a fault into the node of an nginx pod and die of SIGKILL; returns the node."""
    command = [sys.executable, "-c", KILLED, fault, scene.cluster, scene.namespace, str(log)]
    died = subprocess.run(command, cwd=Path(__file__).parents[2], check=False, stdout=subprocess.PIPE, text=True)
    assert died.returncode == -9
    return died.stdout.strip()


def test_a_drain_whose_harness_died_is_undone_by_another(scene: Scene, tmp_path: Path) -> None:
    """What SIGKILL left cordoned is opened by the journal's entry, and a second time changes nothing."""
    name = killed_after("drain_node", scene, tmp_path)
    assert not is_open(scene, name)
    (entry,) = journal.pending(scene.cluster)
    for _ in range(2):
        assert undo.undo(scene.kube, entry) == f"pods may go to node {name} again"
        assert is_open(scene, name)
        assert journal.pending(scene.cluster) == []


UNDO = """
import sys
from pathlib import Path
from chaos import cluster, journal, undo

name = sys.argv[1]
kube = cluster.connect(name)
cluster.require_mark(kube, name)
for entry in journal.pending(name):
    print(undo.undo(kube, entry))
"""
OUTAGES = pytest.mark.parametrize(
    ("fault", "state"), [(pause_node, "paused"), (stop_node, "exited")], ids=["pause", "stop"]
)


@pytest.mark.full
@OUTAGES
def test_an_outage_is_seen_and_healed(scene: Scene, cluster: Cluster, fault: Any, state: str) -> None:
    """The API calls the node not ready; healed twice over it is ready, sealed, and the cluster at its baseline."""
    lost = fault(node_of(one("nginx"))).aim(scene)
    name = lost.target["name"]
    lost.inject()
    assert clusters.node_containers(cluster.name)[name]["state"] == state
    assert [entry.arguments for entry in journal.pending(cluster.name)] == [{"cluster": cluster.name, "node": name}]
    cluster.require_mark()
    assert lost.effect() == {"ready": False}
    for _ in range(2):
        lost.heal()
        assert is_ready(scene, name)
        assert journal.pending(cluster.name) == []
    seal.require_node(name)
    settled(scene, cluster)


def settled(scene: Scene, cluster: Cluster) -> None:
    """Wait until nothing of the cluster differs from its baseline but the test's own namespace."""

    def differing() -> list[str]:
        return [found for found in cluster.deviations() if scene.namespace not in found]

    poll(differing, lambda found: not found, timeout_s=90, what="the cluster is at its baseline")


@pytest.mark.full
def test_a_stopped_node_may_come_back_with_another_address(scene: Scene, cluster: Cluster) -> None:
    """Somebody takes its address meanwhile: it is ready and sealed all the same, and its pods are reached."""
    lost = stop_node(node_of(one("nginx"))).aim(scene)
    name = lost.target["name"]
    before = address(scene, name)
    lost.inject()
    lost.effect()
    squatter = f"{name}-squatter"
    place = ("--network", seal.NETWORK, "--entrypoint", "sleep", cluster.node_image, "600")
    docker("run", "--detach", "--rm", "--name", squatter, *place)
    try:
        lost.heal()
        taken = docker("inspect", "--format", '{{(index .NetworkSettings.Networks "kindstorm").IPAddress}}', squatter)
    finally:
        docker("rm", "--force", squatter)
    assert taken == before
    assert address(scene, name) != before
    settled(scene, cluster)
    container = {"name": "nginx", "image": "nginx:1.22.1"}
    spec = {"nodeName": name, "terminationGracePeriodSeconds": 0, "containers": [container]}
    scene.kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "there"}, "spec": spec}, scene.namespace)

    def place_of(recorder: Recorder) -> str | None:
        pod = recorder.get("Pod", "there")
        return str(pod.state["ip"]) if pod is not None and pod.state["ready"] else None

    ip = scene.recorder.wait(place_of, 60, "a pod runs on the node")
    docker("exec", cluster.entry(), "curl", "--silent", "--max-time", "5", "--output", "/dev/null", f"http://{ip}/")


def address(scene: Scene, name: str) -> str:
    """A node's address, as the API says now."""
    raw = scene.kube.raw("Node", name)
    assert raw is not None
    return next(str(a["address"]) for a in raw["status"]["addresses"] if a["type"] == "InternalIP")


@pytest.mark.full
@OUTAGES
def test_an_outage_whose_harness_died_is_undone(
    scene: Scene, cluster: Cluster, fault: Any, state: str, tmp_path: Path
) -> None:
    """A node that SIGKILL left paused or stopped makes no dead cluster, hides no mark, and another process mends it."""
    name = killed_after(f"{fault('x').verb}_node", scene, tmp_path)
    assert clusters.node_containers(cluster.name)[name]["state"] == state
    assert provision.is_whole(cluster.name)
    assert provision.attach(cluster.spec, cluster.name).name == cluster.name
    command = [sys.executable, "-c", UNDO, cluster.name]
    for again in (False, True):
        done = subprocess.run(command, cwd=Path(__file__).parents[2], check=True, stdout=subprocess.PIPE, text=True)
        assert done.stdout == ("" if again else f"node {name} is ready again\n")
        assert clusters.node_containers(cluster.name)[name]["state"] == "running"
        assert is_ready(scene, name)
        assert journal.pending(cluster.name) == []


def is_ready(scene: Scene, name: str) -> bool:
    """Whether a node is ready, as the API says now."""
    seen = scene.kube.get("Node", name)
    assert seen is not None
    return bool(seen.state["ready"])
