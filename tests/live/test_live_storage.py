"""Storage on a real cluster: `local` belongs to a node, `shared` to none, and neither outlives its namespace."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from chaos import storage
from chaos.cluster import Cluster, folder
from chaos.waiting import poll

pytestmark = pytest.mark.live

IMAGE = "nginx:1.22.1"


def claim(name: str) -> dict[str, Any]:
    """A claim of this storage, under its name."""
    resources = {"requests": {"storage": "1Mi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": storage.CLASSES[name], "resources": resources}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def run_on(cluster: Cluster, namespace: str, node: str, script: str, claims: list[str]) -> str:
    """Run a script on one node, with these claims at /local and /shared, to its good end; returns what it said."""
    name = f"on-{node[-8:].strip('-')}"
    volumes = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]
    mounts = [{"name": each, "mountPath": f"/{each}"} for each in claims]
    container = {"name": "script", "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mounts}
    selector = {"kubernetes.io/hostname": node}
    spec = {"restartPolicy": "Never", "nodeSelector": selector, "containers": [container], "volumes": volumes}
    cluster.kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, namespace)

    def phase() -> Any:
        seen = cluster.kube.get("Pod", name, namespace)
        return seen and seen.state["phase"]

    ended = poll(phase, lambda p: p in ("Succeeded", "Failed"), timeout_s=90, what=f"{name} has ended")
    said = cluster.kube.logs(name, namespace, "script")
    assert ended == "Succeeded", said
    return said


def volume_of(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """The volume that a claim is bound to."""
    seen = cluster.kube.get("PersistentVolumeClaim", name, namespace)
    assert seen is not None
    assert seen.state["phase"] == "Bound"
    raw = cluster.kube.raw("PersistentVolume", seen.state["volume"])
    assert raw is not None
    return raw


def test_shared_belongs_to_no_node_and_local_to_one(cluster: Cluster, namespace: str) -> None:
    """What one worker wrote another reads; only the local volume is tied; both are gone with the namespace."""
    writer, reader = cluster.workers()[:2]
    cluster.provide([IMAGE], [writer, reader])
    for name in storage.CLASSES:
        cluster.kube.apply(claim(name), namespace)
    run_on(cluster, namespace, writer, "echo $HOSTNAME was here | tee /local/words /shared/words", ["local", "shared"])
    volumes = {name: volume_of(cluster, namespace, name) for name in storage.CLASSES}
    assert writer in str(volumes["local"]["spec"]["nodeAffinity"])
    assert volumes["shared"]["spec"].get("nodeAffinity") is None
    assert run_on(cluster, namespace, reader, "cat /shared/words", ["shared"]).endswith(" was here\n")

    def on_host() -> list[Path]:
        return list((folder(cluster.name) / "shared").glob(f"*_{namespace}_shared"))

    def left() -> list[str]:
        names = {raw["metadata"]["name"] for raw in volumes.values()}
        kept = [seen.name for seen in cluster.kube.list("PersistentVolume") if seen.name in names]
        return kept + [str(path) for path in on_host()]

    assert [sorted(path.name for path in each.iterdir()) for each in on_host()] == [["words"]]
    assert len(left()) == 3
    cluster.kube.delete("Namespace", namespace)
    assert poll(left, lambda found: not found, timeout_s=120, what="both volumes and the folder are gone") == []


@pytest.mark.usefixtures("cluster")
def test_files_of_root_are_removed_by_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where we may not remove what pods wrote, a container does."""
    home = tmp_path / "home"
    written = Path(storage.mount(home)["hostPath"]) / "volume" / "words"
    written.parent.mkdir()
    written.write_text("of root")
    (home / "kubeconfig").touch()
    real = shutil.rmtree

    def not_of_root(path: Path, **options: Any) -> None:
        if not written.exists():
            real(path, **options)

    monkeypatch.setattr(storage.shutil, "rmtree", not_of_root)
    storage.remove(home)
    assert not home.exists()
