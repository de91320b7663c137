"""What the tests of the images share: a cache of their own, and the real catalogue."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from images import cache
from images import catalogue as catalogues
from images.catalogue import Catalogue
from images.progress import Steps


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache: no test sees or touches the user's."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def catalogue() -> Catalogue:
    """The catalogue as it is shipped."""
    return catalogues.load()


@pytest.fixture
def screen() -> io.StringIO:
    """What the steps show."""
    return io.StringIO()


@pytest.fixture
def steps(tmp_path: Path, screen: io.StringIO) -> Iterator[Steps]:
    """Steps that show on ``screen``, wide enough that nothing is folded."""
    made = Steps(Console(file=screen, width=400), tmp_path / "log")
    yield made
    made.close()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH; empty until a test puts scripts there."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder
