"""Puts images into nodes: into the node image while it is built, and into the nodes of a running cluster."""

from __future__ import annotations

import hashlib
import json
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chaos.errors import ClusterError, ImageError
from images import cache, engine
from images.engine import docker

_IMPORT = ("ctr", "--namespace", "k8s.io", "images", "import", "--all-platforms")
_ASSEMBLY = "kindstorm-assembly-"
_WAIT = "for i in $(seq 100); do ctr version >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1"
IMPORT_S = 600


def save(references: list[str]) -> Path:
    """The images as one archive, kept in the cache under their names and ids: saved once, imported many times.

    An archive carries names: that of an image under one name is of no use to who asks for it under another.
    """
    ids = "".join(f"{reference} {(engine.inspect_image(reference) or {}).get('Id')}\n" for reference in references)
    path = cache.folder("archives") / f"{hashlib.sha256(ids.encode()).hexdigest()[:16]}.tar"
    if not path.exists():
        partial = cache.partial(path)
        try:
            docker("save", "--output", str(partial), *references, timeout_s=IMPORT_S)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def import_images(container: str, archive: Path, *, unpack: bool = True) -> None:
    """Stream an archive of images into the container runtime of one node; raises ImageError when that fails."""
    command = ["docker", "exec", "--interactive", container, *_IMPORT, *([] if unpack else ["--no-unpack"]), "-"]
    with archive.open("rb") as images:
        try:
            done = subprocess.run(command, stdin=images, capture_output=True, timeout=IMPORT_S, check=False)
        except subprocess.TimeoutExpired:
            raise ImageError(f"images were not imported into {container} within {IMPORT_S} s; try again") from None
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise ImageError(f"images cannot be imported into {container}: {reason[0]}")


def import_everywhere(containers: list[str], references: list[str]) -> None:
    """Import images into several nodes at once."""
    if not references:
        return
    archive = save(references)
    with ThreadPoolExecutor(max_workers=2) as pool:
        for done in [pool.submit(import_images, container, archive) for container in containers]:
            done.result()


def sweep() -> None:
    """Remove containers in which an interrupted set-up was putting a node image together."""
    for container in docker("ps", "--all", "--quiet", "--filter", f"name=^{_ASSEMBLY}").split():
        docker("rm", "--force", container)


def import_contents(image: str, references: list[str]) -> None:
    """Give a freshly built node image the images it contains, under the same name and settings."""
    container = f"{_ASSEMBLY}{uuid.uuid4().hex[:8]}"
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
        archive = save(references)
        import_images(container, archive, unpack=False)
        archive.unlink()
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
