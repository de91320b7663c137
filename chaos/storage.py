"""Storage by two names: ``local`` belongs to one node, ``shared`` is outside every node and outlives them all.

``local`` is what a cluster has anyway. ``shared`` is one folder of this machine that every node mounts, and a second
provisioner whose volumes are tied to no node. Nothing is attached to a node and nothing is fenced: a pod on a node
that nobody hears of any more goes on writing, and ReadWriteOnce holds no second pod on another node back.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from chaos.errors import ClusterError
from images.engine import docker

CLASSES = {"local": "standard", "shared": "shared"}
"""The StorageClass of each storage; ``standard`` is kind's own, and the default one."""

DEFAULT = "local"
"""What a claim gets that asks for nothing."""

MANIFEST = Path(__file__).parent.parent / "manifests" / "system" / "shared-storage.yaml"
NAMESPACE = "kindstorm-storage"
PROVISIONER = "shared-storage"
MOUNT = "/kindstorm/shared"
"""What the manifest calls its namespace and its Deployment, and where it finds the folder in every node."""

_FOLDER = "shared"


def mount(home: Path) -> dict[str, Any]:
    """The folder of a cluster that is kept in ``home``, made, as kind wants it for each node."""
    folder = home / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return {"hostPath": str(folder), "containerPath": MOUNT}


@cache
def _text() -> str:
    return MANIFEST.read_text("utf-8")


def documents() -> list[dict[str, Any]]:
    """What a cluster is given for its shared storage, in order."""
    return list(yaml.safe_load_all(_text()))


def images() -> list[str]:
    """What runs on the control plane for it: the provisioner, and the helper that makes and removes folders."""
    found = {d["kind"]: d for d in documents()}
    helper = yaml.safe_load(found["ConfigMap"]["data"]["helperPod.yaml"])
    specs = (found["Deployment"]["spec"]["template"]["spec"], helper["spec"])
    return [container["image"] for spec in specs for container in spec["containers"]]


def remove(home: Path) -> None:
    """Remove all that is kept of a cluster, with what its pods wrote as root; raises ClusterError where it stays."""
    shutil.rmtree(home, ignore_errors=True)
    if not home.exists():
        return
    image = next(iter(docker("images", "kindstorm/node", "--format", "{{.Repository}}:{{.Tag}}").splitlines()), None)
    if image is not None:
        bind = f"type=bind,source={home},target=/home"
        remover = ("--entrypoint", "rm", image, "-rf", f"/home/{_FOLDER}")
        docker("run", "--rm", "--network", "none", "--mount", bind, *remover)
        shutil.rmtree(home, ignore_errors=True)
    if home.exists():
        raise ClusterError(f"{home} holds files of root that cannot be removed; remove it as root")
