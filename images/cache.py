"""Where built programs, logs and locks are kept: outside the checkout, so that a fresh clone builds nothing again."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from chaos.errors import ImageError

VARIABLE = "KINDSTORM_CACHE"


def root() -> Path:
    """The cache's folder (KINDSTORM_CACHE, or ~/.cache/kindstorm), made where it is missing."""
    path = Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "kindstorm").expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(
            f"the cache {path} cannot be made ({error.strerror}); set {VARIABLE} to a writable folder"
        ) from error
    return path


def folder(name: str) -> Path:
    """A folder of the cache by name, made where it is missing."""
    path = root() / name
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def whole(destination: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``destination`` at once on success and vanishes on failure."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    made.chmod(0o755)
    try:
        yield made
        if destination.exists():
            shutil.rmtree(destination)
        made.rename(destination)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def context() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder for one image's build, under a name that ``sweep`` knows."""
    return tempfile.TemporaryDirectory(prefix="context-", dir=folder("downloads"))


@contextmanager
def lock(name: str, wait_s: float, busy: str) -> Iterator[None]:
    """Hold the lock of this name; raises ImageError with the sentence ``busy`` when it is not free in time."""
    try:
        with FileLock(root() / f"{name}.lock", timeout=wait_s):
            yield
    except Timeout:
        raise ImageError(busy) from None


def partial(destination: Path) -> Path:
    """A name beside ``destination`` for what is not whole yet, by which ``sweep`` knows whose it is."""
    return destination.with_suffix(f".partial-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def full_disk(reason: str, engine_root: Path | None = None) -> str | None:
    """What to do where a command says that a disk is full, by the path that it names; None where it is not that.

    What the engine's builder names is a path in the image; its disk is that of ``engine_root``.
    """
    if _FULL.search(reason) is None:
        return None
    named = [Path(path) for path in re.findall(r"(?<![\w.])/[^\s:'\"]+", reason)]
    places = (root(), Path(tempfile.gettempdir()))
    path = engine_root or (named[-1] if named else min(places, key=lambda place: shutil.disk_usage(place).free))
    there = next(p for p in (path, *path.parents) if p.exists())
    mount = next(p for p in (there, *there.parents) if p.is_mount())
    move = f", or set {VARIABLE} to a folder with room," if there.is_relative_to(root()) else ""
    return f"the disk of {there} is full: make room in {mount}{move} and try again"


_FULL = re.compile(r"no space left on device|disk quota exceeded", re.I)


def sweep() -> None:
    """Remove what interrupted set-ups left half made. Call with the set-up lock held."""
    # Named closely: the cache may be a folder with other things in it.
    for where, made in ((root(), ".go-*"), (folder("programs"), ".*-*"), (folder("downloads"), "context-*")):
        for left in where.glob(made):
            shutil.rmtree(left, ignore_errors=True)
    for left in folder("archives").glob("*.partial-*"):  # sessions make these too, so those of the living stay
        if not Path("/proc", left.suffix.split("-")[1]).exists():
            left.unlink(missing_ok=True)
