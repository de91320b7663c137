"""Nothing a cluster does leaves the machine: shown against an outside of our own that the seal alone keeps it from."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest

from chaos import seal
from chaos.cluster import Cluster
from chaos.kind import PROBE_PORT
from chaos.kube import Kube
from chaos.probes import inside as probes
from chaos.probes.inside import Inside
from images.engine import docker

pytestmark = pytest.mark.live

OUTSIDE = "198.51.100.2"  # TEST-NET-2 (RFC 5737): nowhere on any network, and here only in a namespace of ours
HOST_SIDE = "198.51.100.1"


def ip(*args: str) -> str:
    """Run iproute2 on the host."""
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def outside() -> Iterator[str]:
    """A host outside the cluster: a network namespace behind the machine, with an address in it."""
    name, link = f"ks{uuid.uuid4().hex[:6]}", f"ks{uuid.uuid4().hex[:6]}"
    ip("netns", "add", name)
    try:
        ip("link", "add", link, "type", "veth", "peer", "name", "out0", "netns", name)
        ip("address", "add", f"{HOST_SIDE}/24", "dev", link)
        ip("link", "set", link, "up")
        for command in (("address", "add", f"{OUTSIDE}/24", "dev", "out0"), ("link", "set", "out0", "up")):
            ip("-n", name, *command)
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "route", "add", "default", "via", HOST_SIDE)
        yield OUTSIDE
    finally:
        ip("netns", "delete", name)


def host_rejections() -> int:
    """How many packets the host's seal has rejected so far."""
    text = subprocess.run(["iptables", "-w", "-nvxL", "DOCKER-USER"], check=True, capture_output=True, text=True).stdout
    return sum(int(line.split()[0]) for line in text.splitlines() if "kindstorm seal" in line)


def test_no_packet_leaves_and_without_the_seal_they_would(cluster: Cluster, outside: str) -> None:
    """A node's packets to the outside are rejected and counted as not escaped; with the seal off they do escape."""
    node = cluster.workers()[0]
    before, rejections = seal.escaped_packets(cluster.node_image), host_rejections()
    docker("exec", node, "sh", "-c", f"curl --silent --max-time 2 http://{outside}:9/ || true")
    assert host_rejections() > rejections
    assert seal.escaped_packets(cluster.node_image) == before
    subprocess.run(["iptables", "-w", "-D", "DOCKER-USER", *seal.REJECT], check=True)
    try:
        docker("exec", node, "sh", "-c", f"curl --silent --max-time 2 http://{outside}:9/ || true")
        assert seal.escaped_packets(cluster.node_image) > before
    finally:
        subprocess.run(["iptables", "-w", "-t", "mangle", "-D", "POSTROUTING", *seal.counter()], check=True)
        seal.seal_host(cluster.node_image)
    assert seal.escaped_packets(cluster.node_image) == 0


@pytest.fixture
def inside(cluster: Cluster, namespace: str) -> Inside:
    """The probe, answering."""
    for document in probes.manifest(cluster.spec.probe_image, PROBE_PORT):
        cluster.kube.apply(document, namespace)
    asked = Inside(cluster.address(PROBE_PORT))
    asked.ready()
    return asked


def test_names_of_the_outside_do_not_exist(inside: Inside) -> None:
    """The cluster's DNS denies an outside name at once, and still knows its own."""
    outside = inside.dns("example.org")
    assert outside.value == {"answers": [], "rcode": "NXDOMAIN"}
    own = inside.dns("kubernetes.default.svc.cluster.local")
    assert own.value is not None
    assert own.value["answers"] == ["10.96.0.1"]


def test_a_service_that_is_gone_is_refused_in_the_node(cluster: Cluster, inside: Inside) -> None:
    """Traffic to a Service address that nothing answers for ends in the node and does not reach the host's seal."""
    rejections, escaped = host_rejections(), seal.escaped_packets(cluster.node_image)
    address = "10.96.255.254"
    assert all(s != address for s in service_addresses(cluster.kube))
    reading = inside.http(f"http://{address}/")
    assert reading.error == "no HTTP answer"
    assert host_rejections() == rejections
    assert seal.escaped_packets(cluster.node_image) == escaped


def service_addresses(kube: Kube) -> list[str]:
    """The addresses of all Services."""
    names = [(s.name, s.namespace) for s in kube.list("Service")]
    found = [kube.raw("Service", name, space) for name, space in names]
    return [str(raw["spec"].get("clusterIP")) for raw in found if raw]
