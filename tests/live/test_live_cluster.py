"""Ownership and baseline on real clusters: what is not ours is left alone, what is disturbed is noticed."""

from __future__ import annotations

import gc
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import cluster as clusters
from chaos import provision
from chaos.cluster import Cluster
from chaos.errors import ClusterError
from chaos.kube import Kube
from images import catalogue
from images.engine import docker
from images.setup import kind_command

pytestmark = pytest.mark.live


@pytest.fixture
def stranger() -> Iterator[str]:
    """A container that looks like a node of a kind cluster, but carries no mark of ours."""
    name = f"stranger-{uuid.uuid4().hex[:6]}"
    image = catalogue.load().line().node.removeprefix("docker.io/")
    label = f"io.x-k8s.kind.cluster={name}"
    command = ("--entrypoint", "sleep", image, "600")
    docker("run", "--detach", "--network", "none", "--name", f"{name}-control-plane", "--label", label, *command)
    yield name
    docker("rm", "--force", f"{name}-control-plane")


def test_a_cluster_without_our_mark_is_neither_listed_nor_removed(stranger: str, tmp_path) -> None:
    """Somebody else's cluster is not among ours, and asked to remove it we refuse and it stays."""
    assert f"{stranger}-control-plane" not in clusters.node_containers()
    with pytest.raises(ClusterError, match="without our mark"):
        provision.delete(provision.driver(kind_command(catalogue.load()), tmp_path / "kind.log"), stranger)
    assert docker("inspect", "--format", "{{.State.Running}}", f"{stranger}-control-plane") == "true"


def test_the_mark_is_threefold_and_each_part_is_needed(cluster: Cluster) -> None:
    """Without the file in one node, or with another owner in the ConfigMap, the cluster counts as foreign."""
    cluster.require_mark()
    node = cluster.containers()[-1]
    docker("exec", node, "mv", f"/{clusters.MARK}", "/moved")
    try:
        with pytest.raises(ClusterError, match=node):
            cluster.require_mark()
    finally:
        docker("exec", node, "mv", "/moved", f"/{clusters.MARK}")
    cluster.kube.patch("ConfigMap", clusters.MARK, {"data": {"owner": "somebody"}}, "kube-system")
    try:
        with pytest.raises(ClusterError, match="does not carry our mark"):
            cluster.require_mark()
    finally:
        cluster.kube.patch("ConfigMap", clusters.MARK, {"data": {"owner": clusters.owner()}}, "kube-system")
    cluster.require_mark()


def test_a_disturbed_cluster_differs_from_its_baseline(cluster: Cluster) -> None:
    """A cordoned node and a stray namespace are each named; put right, nothing differs."""
    node = cluster.workers()[0]
    stray = f"stray-{uuid.uuid4().hex[:6]}"
    cluster.kube.patch("Node", node, {"spec": {"unschedulable": True}})
    cluster.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stray}})
    try:
        found = cluster.deviations()
        assert any(node in sentence for sentence in found)
        assert f"namespace {stray} was left behind" in found
    finally:
        cluster.kube.patch("Node", node, {"spec": {"unschedulable": None}})
        cluster.kube.delete("Namespace", stray)
    assert cluster.settle(60) == []


def test_all_ports_lead_to_the_entry_worker_from_this_machine_only(cluster: Cluster) -> None:
    """Every mapped port is bound on 127.0.0.1, and on the entry worker's container only."""
    entry = cluster.entry()
    for container in cluster.containers():
        mapped = [line for line in docker("port", container).splitlines() if "6443" not in line]
        assert all("-> 127.0.0.1:" in line for line in mapped)
        assert len(mapped) == (len(cluster.ports) if container == entry else 0)


@pytest.mark.full
def test_a_cluster_off_its_baseline_is_made_anew_and_the_report_says_so(cluster: Cluster, request) -> None:
    """The session gives out another cluster after somebody tainted a node of this one."""
    from kindstorm.plugin import SESSION

    session = request.config.stash[SESSION]
    taint = {"key": "somebody", "value": "was", "effect": "NoSchedule"}
    cluster.kube.patch("Node", cluster.workers()[0], {"spec": {"taints": [taint]}})
    fresh = session.sound_cluster()
    assert fresh.name != cluster.name
    assert cluster.name not in {entry["cluster"] for entry in clusters.node_containers().values()}
    assert any(cluster.name in note and "somebody" in note for note in session.notes)


def test_speaking_to_a_cluster_leaves_no_file_behind(cluster: Cluster) -> None:
    """What the client keeps of the cluster's kinds goes with the connection, not into the temporary folder for ever."""
    temporary = Path(tempfile.gettempdir())
    before = set(temporary.glob("osrcp-*"))
    kube = Kube(cluster.kubeconfig)
    assert kube.list("Node")
    scratch = Path(kube._scratch.name)
    assert (scratch / "kinds.json").exists()
    del kube
    gc.collect()
    assert not scratch.exists()
    assert set(temporary.glob("osrcp-*")) == before
