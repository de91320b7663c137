"""What the live tests share: a stack on the session's cluster, seen through a recorder."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import cluster as clusters
from chaos import provision
from chaos.cluster import Cluster
from chaos.history import Segments
from chaos.nemesis import Scene
from chaos.recorder import Recorder
from chaos.stack import STACKS, Stack
from chaos.waiting import poll
from kindstorm.plugin import SESSION


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace, gone again after the test."""
    name = f"ks-live-{uuid.uuid4().hex[:8]}"
    cluster.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    cluster.kube.delete("Namespace", name)
    poll(lambda: cluster.kube.get("Namespace", name), lambda n: n is None, timeout_s=120, what=f"{name} is gone")


@pytest.fixture
def scene(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    """The nginx stack, ready, as faults see it."""
    stack = Stack.load(STACKS / "nginx.yaml")
    cluster.provide(stack.images(), cluster.workers())
    with Segments(tmp_path) as writers:
        recorder = Recorder(cluster.kube, namespace, writers).start()
        try:
            stack.deploy(cluster.kube, namespace, recorder)
            rng = random.Random(1)  # noqa: S311 - a seed that replays
            yield Scene(cluster.name, cluster.kube, namespace, recorder, rng, cluster.require_mark)
        finally:
            recorder.stop()


@pytest.fixture
def lent(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The session's cluster, kept and let go of, so that another session can take it up; taken up again afterwards."""
    session = request.config.stash[SESSION]
    provision.remember(cluster)
    session._lease.close()
    try:
        yield cluster
    finally:
        session._cluster = None
        if session._lease.enter_context(clusters.leased(cluster.name)) and cluster.containers():
            session._cluster = provision.attach(cluster.spec, cluster.name)
