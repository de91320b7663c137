"""A control plane whose API server is killed: what its watches told is whole, or a gap says where it is not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from chaos.cluster import Cluster
from chaos.errors import ClusterError
from chaos.history import History, Segments, seal
from chaos.recorder import Recorder
from chaos.waiting import poll
from images.engine import docker

pytestmark = [pytest.mark.live, pytest.mark.full]

BACK_S = 180


class Writing:
    """Makes, changes and deletes leases one after the other, and keeps what the API server acknowledged."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._kube = cluster.kube
        self._namespace = namespace
        self._stop = threading.Event()
        self.changes: list[tuple[int, int, str, int]] = []
        """Sent, acknowledged (ns), UID, version; 0 for a deletion."""
        self.refused: list[int] = []
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            for holder in ("a", "b", None):
                sent = time.monotonic_ns()
                try:
                    uid, version = self._one(f"lease-{number}", holder)
                except ClusterError:
                    self.refused.append(sent)
                    break
                self.changes.append((sent, time.monotonic_ns(), uid, version))

    def _one(self, name: str, holder: str | None) -> tuple[str, int]:
        if holder is None:
            uid = self.changes[-1][2]
            self._kube.delete("Lease", name, self._namespace, uid=uid)
            return uid, 0
        meta = {"name": name, "namespace": self._namespace}
        document = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
        seen = self._kube.apply(document | {"spec": {"holderIdentity": holder}}, self._namespace)
        return seen.uid, int(seen.version)

    def stop(self) -> None:
        """End with the change that is under way."""
        self._stop.set()
        self.thread.join(60)


def untold(history: History, writing: Writing) -> list[tuple[int, int, str, int]]:
    """The acknowledged changes that no record tells and that lie in no gap of their watch."""
    told = {(r["uid"], r.get("version") or 0) for r in history.objects("Lease")}
    told |= {(r["uid"], 0) for r in history.objects("Lease") if r["verb"] == "deleted"}
    gaps = [(gap["from_ns"], gap["to_ns"]) for gap in history.of("gap") if gap.source == "api:Lease"]
    return [
        change
        for change in writing.changes
        if (change[2], change[3]) not in told
        and not any(begin <= change[1] and change[0] <= end for begin, end in gaps)
    ]


def test_an_api_server_that_is_killed_hides_nothing(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Killed while objects change: each change that was acknowledged is told, or its watch owns up to a gap there."""
    (node,) = cluster.control_planes()
    with Segments(tmp_path) as writers:
        recorder = Recorder(cluster.kube, namespace, writers).start()
        writing = Writing(cluster, namespace)
        try:
            writing.thread.start()
            with recorder.closely():
                poll(lambda: len(writing.changes), lambda n: n > 60, timeout_s=60, what="twenty leases came and went")
                before = docker("exec", node, "pidof", "kube-apiserver")
                killed_ns = time.monotonic_ns()
                docker("exec", node, "kill", "-KILL", before)
                what = "objects change again after the API server's death"
                poll(
                    lambda: [c for c in writing.changes if writing.refused and c[0] > writing.refused[-1]],
                    lambda since: len(since) > 60,
                    timeout_s=BACK_S,
                    what=what,
                )
                assert docker("exec", node, "pidof", "kube-apiserver") != before
        finally:
            writing.stop()
            recorder.stop()
    history = seal(writers.paths, tmp_path / "history.jsonl")
    assert history.cut_off() == []
    blind = [r for r in (*history.of("resumed"), *history.of("gap")) if r.source == "api:Lease"]
    assert any(r["to_ns"] > killed_ns for r in blind), "the watch does not know that it was blind"
    assert [change for change in writing.changes if change[1] < killed_ns], "nothing changed before"
    assert untold(history, writing) == []
    revisions = [read["revision"] for read in history.of("revision")]
    assert revisions == sorted(revisions), "a linearizable read never goes back"
    settled = poll(cluster.deviations, lambda found: all(namespace in f for f in found), timeout_s=120, what="baseline")
    assert all(namespace in found for found in settled)
