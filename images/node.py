"""Puts images into nodes: into the node image while it is built, and into the nodes of a running cluster."""

from __future__ import annotations

import json
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

from chaos.errors import ClusterError, ImageError
from images.engine import docker

_IMPORT = ("ctr", "--namespace", "k8s.io", "images", "import", "--all-platforms")
_WAIT = "for i in $(seq 100); do ctr version >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1"
IMPORT_S = 600


def import_images(container: str, references: list[str], *, unpack: bool = True) -> None:
    """Stream images from the engine into the container runtime of one node; raises ImageError when that fails."""
    save = subprocess.Popen(["docker", "save", *references], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command = ["docker", "exec", "--interactive", container, *_IMPORT]
    if not unpack:
        command.append("--no-unpack")
    try:
        load = subprocess.run([*command, "-"], stdin=save.stdout, capture_output=True, timeout=IMPORT_S, check=False)
    finally:
        save.kill()
        _, saved = save.communicate()
    if load.returncode != 0:
        reason = (load.stderr or saved).decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise ImageError(f"the images {', '.join(references)} cannot be imported into {container}: {reason[0]}")


def import_everywhere(containers: list[str], references: list[str]) -> None:
    """Import images into several nodes at once."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        for done in [pool.submit(import_images, container, references) for container in containers]:
            done.result()


def import_contents(image: str, references: list[str]) -> None:
    """Give a freshly built node image the images it contains, under the same name and settings."""
    container = f"kindstorm-assembly-{uuid.uuid4().hex[:8]}"
    docker(
        "run",
        "--detach",
        "--privileged",
        "--network",
        "none",
        "--name",
        container,
        "--entrypoint",
        "sleep",
        image,
        "3600",
    )
    try:
        docker("exec", "--detach", container, "containerd")
        docker("exec", container, "sh", "-c", _WAIT)
        import_images(container, references, unpack=False)
        docker("exec", container, "pkill", "--exact", "containerd")
        docker(
            "exec", container, "sh", "-c", "while pgrep --exact containerd >/dev/null; do sleep 0.1; done", timeout_s=30
        )
        config = json.loads(docker("image", "inspect", image))[0]["Config"]
        change = f"ENTRYPOINT {json.dumps(config['Entrypoint'])}"
        docker("commit", "--change", change, "--change", "CMD []", container, image, timeout_s=600)
    except ClusterError as error:
        raise ImageError(f"the node image {image} cannot be put together: {error}") from error
    finally:
        docker("rm", "--force", container)
