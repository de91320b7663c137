"""Shared storage: the manifest and the code speak of the same folder, and what pods wrote goes with the cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chaos import storage
from chaos.errors import ClusterError

DOCUMENTS = {d["kind"]: d for d in storage.documents()}


def test_the_manifest_keeps_its_names() -> None:
    """The folder is where the nodes have it, the class is the one that stacks ask for, the pods where we look."""
    config = DOCUMENTS["ConfigMap"]["data"]
    assert json.loads(config["config.json"]) == {"sharedFileSystemPath": storage.MOUNT}
    assert DOCUMENTS["StorageClass"]["metadata"]["name"] == storage.CLASSES["shared"]
    assert DOCUMENTS["Namespace"]["metadata"]["name"] == storage.NAMESPACE
    assert DOCUMENTS["Deployment"]["metadata"]["name"] == storage.PROVISIONER
    command = DOCUMENTS["Deployment"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert f"--provisioner-name={DOCUMENTS['StorageClass']['provisioner']}" in command
    assert len(storage.images()) == 2
    assert {d["metadata"]["namespace"] for d in storage.documents() if "namespace" in d["metadata"]} == {
        storage.NAMESPACE
    }


def test_a_clusters_folder_is_made_for_its_nodes(tmp_path: Path) -> None:
    """Below what is kept of the cluster, so that it goes with that; an engine would make it as root."""
    mounted = storage.mount(tmp_path / "clusters" / "a")
    assert mounted == {"hostPath": str(tmp_path / "clusters" / "a" / "shared"), "containerPath": storage.MOUNT}
    assert Path(mounted["hostPath"]).is_dir()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What is kept of a cluster, with a file in its shared storage."""
    written = Path(storage.mount(tmp_path / "home")["hostPath"]) / "volume" / "words"
    written.parent.mkdir()
    written.write_text("words")
    return tmp_path / "home"


@pytest.mark.parametrize("there", [True, False])
def test_what_we_may_remove_needs_no_engine(home: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """Also where there is nothing to remove."""
    monkeypatch.setattr(storage, "docker", lambda *_: pytest.fail("the engine was asked"))
    if not there:
        shutil.rmtree(home)
    storage.remove(home)
    assert not home.exists()


@pytest.mark.parametrize(
    ("images", "works"), [("kindstorm/node:a\nkindstorm/node:b", True), ("kindstorm/node:a", False), ("", False)]
)
def test_files_of_root_are_left_to_the_engine(
    home: Path, monkeypatch: pytest.MonkeyPatch, images: str, works: bool
) -> None:
    """A container removes them, and the rest goes after it; what stays in spite of that is one sentence."""
    real, asked = shutil.rmtree, []

    def docker(*args: str) -> str:
        if args[0] == "images":
            return images
        asked.append(args)
        if works:
            real(home / "shared")
        return ""

    def not_of_root(path: Path, **options: Any) -> None:
        if not (home / "shared").exists():
            real(path, **options)

    monkeypatch.setattr(storage, "docker", docker)
    monkeypatch.setattr(storage.shutil, "rmtree", not_of_root)
    if works:
        storage.remove(home)
    else:
        with pytest.raises(ClusterError, match=f"{home} holds files of root that cannot be removed"):
            storage.remove(home)
    assert home.exists() is not works
    wanted = [("run", "--rm", "--network", "none", "--mount", f"type=bind,source={home},target=/home",
               "--entrypoint", "rm", "kindstorm/node:a", "-rf", "/home/shared")]  # fmt: skip
    assert asked == (wanted if images else [])
