"""What a user installs: the wheel holds every file of the packages and the licence, and so does the source archive."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("kindstorm", "chaos", "load", "images", "manifests")


def build(source: Path, destination: Path, *what: str) -> Path:
    """Build an sdist or a wheel with the build backend that pyproject.toml names; returns the file."""
    command = [sys.executable, "-m", "hatchling", "build", *what, "--directory", str(destination)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    (made,) = destination.iterdir()
    return made


def tracked(*folders: str) -> set[str]:
    """The files of these folders that belong to the checkout: what git knows, and what it would if it were added."""
    command = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout, so nobody can say which files belong to it")
    return {name for name in listed.stdout.split("\0") if name and (CHECKOUT / name).exists()}


def contents(wheel: Path) -> tuple[set[str], set[str]]:
    """The names in a wheel: those of the packages, and those about them."""
    names = set(zipfile.ZipFile(wheel).namelist())
    about = {name for name in names if ".dist-info/" in name}
    return names - about, about


def test_the_wheel_holds_what_git_holds_of_the_packages(tmp_path: Path) -> None:
    """Manifests, recipes, the catalogue and the report's templates too; and the text of the licence."""
    wheel = build(CHECKOUT, tmp_path, "--target", "wheel")
    files, about = contents(wheel)
    assert files == tracked(*PACKAGES)
    (licence,) = [name for name in about if name.endswith("/LICENSE")]
    assert zipfile.ZipFile(wheel).read(licence) == (CHECKOUT / "LICENSE").read_bytes()


def test_the_source_archive_builds_the_same_wheel(tmp_path: Path) -> None:
    """Unpacked somewhere else it holds every file of the checkout, and its wheel is byte for byte the checkout's."""
    archive = build(CHECKOUT, tmp_path / "sdist", "--target", "sdist")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (root,) = (tmp_path / "unpacked").iterdir()
    assert {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} == tracked() | {"PKG-INFO"}
    here = build(CHECKOUT, tmp_path / "here", "--target", "wheel")
    there = build(root, tmp_path / "there", "--target", "wheel")
    first, second = zipfile.ZipFile(here), zipfile.ZipFile(there)
    assert {n: first.read(n) for n in first.namelist()} == {n: second.read(n) for n in second.namelist()}
