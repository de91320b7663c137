"""Each fault on a real cluster: it took effect, and it is undone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import journal, undo
from chaos.errors import FaultError
from chaos.nemesis import Scene
from kindstorm.faults import kill_pod, scale
from kindstorm.targets import one

pytestmark = pytest.mark.live


def ready(scene: Scene) -> int:
    """How many replicas of the Deployment are ready, as the API says now."""
    seen = scene.kube.get("Deployment", "nginx-deployment", scene.namespace)
    assert seen is not None
    return int(seen.state["ready_replicas"])


def test_kill_pod_removes_this_very_pod_and_is_replaced(scene: Scene) -> None:
    """The UID that was aimed at is gone from the API, and the Deployment has its two pods again."""
    killed = kill_pod(one("nginx")).aim(scene)
    uid = killed.target["uid"]
    killed.inject()
    detail = killed.effect()
    assert detail["uid_before"] == uid
    assert uid not in {pod.uid for pod in scene.kube.list("Pod", scene.namespace)}
    assert killed.heal() == {}

    def whole(_: object) -> bool:
        return len([p for p in scene.recorder.objects("Pod") if p.state["ready"]]) == 2

    assert scene.recorder.wait(whole, 60, "two ready pods")
    with pytest.raises(FaultError, match="gone before"):
        killed.inject()


def test_scale_takes_effect_and_is_undone_twice_over(scene: Scene) -> None:
    """Four replicas are ready while it holds; healing gives two back, healing again changes nothing."""
    scaled = scale("nginx-deployment", 4).aim(scene)
    scaled.inject()
    assert [entry.verb for entry in journal.pending(scene.cluster)] == ["scale"]
    scaled.effect()
    assert ready(scene) == 4
    for _ in range(2):
        scaled.heal()
        assert scene.kube.replicas("Deployment", "nginx-deployment", scene.namespace) == 2
        assert journal.pending(scene.cluster) == []
    assert scene.recorder.wait(lambda _: ready(scene) == 2, 60, "two ready replicas")


KILLED = """
import os, random, signal, sys
from chaos.cluster import connect
from chaos.nemesis import Scene
from kindstorm.faults import scale

cluster, namespace = sys.argv[1:]
scene = Scene(cluster, connect(cluster), namespace, None, random.Random(0), lambda: None)
scale("nginx-deployment", 3).aim(scene).inject()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_undo_survives_the_death_of_the_harness(scene: Scene, tmp_path: Path) -> None:
    """Killed with SIGKILL in the middle of a fault it leaves what undoes that, and nowhere the key to the cluster."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-c", KILLED, scene.cluster, scene.namespace]
    died = subprocess.run(
        command, cwd=Path(__file__).parents[2], env={**os.environ, "TMPDIR": str(temporary)}, check=False
    )
    assert list(temporary.iterdir()) == []
    assert died.returncode == -9
    assert scene.kube.replicas("Deployment", "nginx-deployment", scene.namespace) == 3
    (entry,) = journal.pending(scene.cluster)
    assert "2 replicas" in undo.undo(scene.kube, entry)
    assert scene.kube.replicas("Deployment", "nginx-deployment", scene.namespace) == 2
    assert journal.pending(scene.cluster) == []
