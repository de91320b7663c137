"""Where built programs, logs and locks are kept: outside the checkout, so that a fresh clone builds nothing again."""

from __future__ import annotations

import os
import shutil
import tempfile
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
    partial = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    partial.chmod(0o755)
    try:
        yield partial
        if destination.exists():
            shutil.rmtree(destination)
        partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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


def sweep() -> None:
    """Remove what interrupted set-ups left half made. Call with the set-up lock held."""
    # Named closely: the cache may be a folder with other things in it.
    for where, made in ((root(), ".go-*"), (folder("programs"), ".*-*"), (folder("downloads"), "context-*")):
        for partial in where.glob(made):
            shutil.rmtree(partial, ignore_errors=True)
