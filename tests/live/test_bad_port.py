"""A port that another program takes between the choice and the cluster."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from chaos import cluster as clusters
from chaos import kind, provision
from chaos.cluster import ClusterSpec
from images import catalogue
from images.setup import kind_command

pytestmark = pytest.mark.live


@pytest.mark.full
def test_a_port_that_is_taken_between_the_choice_and_the_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Other ports are tried and the cluster is made; nothing is left of the first try."""
    known = catalogue.load()
    driver = provision.driver(kind_command(known), tmp_path / "kind.log")
    name, free = provision.new_name(), kind.free_ports
    with socket.create_server(("127.0.0.1", 0)) as listens, clusters.leased(name):
        port = listens.getsockname()[1]
        chosen = [free() | {30080: port}]
        monkeypatch.setattr(kind, "free_ports", lambda: chosen.pop() if chosen else free())
        made = provision.create(driver, ClusterSpec(known.line(), probe_image=known.probe), name)
        try:
            assert f"127.0.0.1:{port}" in driver.log.read_text()
            assert made.ports[30080] != port
            assert len(made.containers()) == len(made.kube.list("Node"))
        finally:
            provision.delete(driver, name)
    assert clusters.node_containers(name) == {}
