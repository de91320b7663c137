"""A disk that fills up, an engine that dies, a set-up that is killed: one sentence each, and the next start is clean.

Everything here breaks an engine, a disk and a cache of its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from own_engine import (
    ALONE,
    Ended,
    Engine,
    SmallSetup,
    engine,
    fill,
    short_folder,
    small_catalogue,
    small_disk,
)

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk and starting an engine need root"),
]

ONLY_KIND = """
FROM scratch
COPY bin/kind /
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the test's own."""
    with short_folder() as made:
        yield made


@pytest.fixture
def builder(folder: Path) -> Iterator[Engine]:
    """An engine that builds, and is empty."""
    with engine(folder, folder / "data", *ALONE) as started:
        yield started


def sentence(ended: Ended) -> str:
    """The one sentence on the standard error of a set-up that failed."""
    assert ended.returncode == 1, ended
    assert ended.stderr.startswith("kindstorm: "), ended
    assert ended.stderr.count("\n") == 1, ended
    return ended.stderr


def test_the_disk_is_full_while_a_program_is_compiled(builder: Engine, folder: Path) -> None:
    """The sentence names the folder and the disk, nothing half made stays, and with room again it goes on."""
    with small_disk(folder, 32) as disk:
        given = SmallSetup(small_catalogue(folder, ONLY_KIND), disk / "cache", builder.host)
        filler = fill(disk, leave_bytes=4 << 20)
        told = sentence(given.run())
        assert f"is full: make room in {disk}, or set KINDSTORM_CACHE to a folder with room" in told
        assert f"the disk of {given.cache}" in told
        assert given.left() == []
        filler.unlink()
        ended = given.run()
        assert ended.returncode == 0, ended
        assert [path.name.partition("-")[0] for path in (given.cache / "programs").iterdir()] == ["kind"]
        assert given.left() == []


def test_the_engines_disk_is_full_while_an_image_is_built(folder: Path) -> None:
    """The sentence names the engine's folder; what was compiled stays, and no container or half an image does."""
    with small_disk(folder, 48) as disk, engine(folder, disk / "data", *ALONE) as small:
        given = SmallSetup(small_catalogue(folder, ONLY_KIND), folder / "cache", small.host)
        fill(disk, leave_bytes=8 << 20)
        told = sentence(given.run())
        assert f"is full: make room in {disk} and try again" in told
        assert given.left() == []
        assert small.docker("ps", "--all", "--quiet") == ""
        (disk / "filler").unlink()
        ended = given.run()
        assert ended.returncode == 0, ended
        assert small.docker("images", "--quiet", "kindstorm/small:1") != ""
        assert small.docker("images", "--quiet", "--filter", "dangling=true") == ""


def test_a_setup_killed_while_it_compiles(builder: Engine, folder: Path) -> None:
    """The compiler dies with it, and the next one finishes and leaves nothing of the first."""
    given = SmallSetup(small_catalogue(folder, ONLY_KIND), folder / "cache", builder.host)
    given.kill_once(lambda: list(given.cache.glob("programs/.kind-*")), "kind is being compiled")
    assert given.left() != []
    assert list(given.cache.glob("programs/.kind-*/*")) == [], "the compiler went on alone"
    finishes(given, builder)


WAITS = """
ARG BASE
FROM ${BASE}
COPY bin/kind /
COPY containerd ctr pkill pgrep /usr/local/bin/
ARG PORT
RUN bash -c "until exec 3<>/dev/tcp/127.0.0.1/${PORT}; do sleep 0.1; done"
ENTRYPOINT ["/kind"]
"""
TOOLS = {"containerd": "exit 0", "ctr": "cat >/dev/null & sleep 3", "pkill": "exit 0", "pgrep": "exit 1"}
"""What a node image must have to be given images, as far as it matters here: importing takes its time."""


def finishes(given: SmallSetup, builder: Engine) -> None:
    """The next set-up ends well, and nothing half made is left in the cache or in the engine."""
    ended = given.run()
    assert ended.returncode == 0, ended
    assert given.left() == []
    assert [path.name.partition("-")[0] for path in (given.cache / "programs").iterdir()] == ["kind"]
    assert builder.docker("ps", "--all", "--quiet") == ""
    assert builder.docker("images", "--quiet", "--filter", "dangling=true") == ""
    assert builder.docker("images", "--quiet", "kindstorm/small:1") != ""


def shell() -> set[str]:
    """The files of this machine that make a shell, for an image to run one."""
    files = {f"/bin/{name}" for name in ("bash", "sh", "sleep", "cat")}
    said = subprocess.run(["ldd", *files], check=True, capture_output=True, text=True).stdout
    return files | {word for word in said.split() if word.startswith("/") and not word.endswith(":")}


@pytest.fixture
def long_build(builder: Engine, folder: Path) -> Iterator[tuple[SmallSetup, Callable[[], None]]]:
    """A set-up whose image waits for a port of this machine; calling the second value lets it go on."""
    base = folder / "base.tar"
    subprocess.run(["tar", "--dereference", "-cPf", str(base), *shell()], check=True)
    builder.docker("import", str(base), "kindstorm/base:1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        more = f"""
        base = "docker.io/kindstorm/base:1"
        contains = ["docker.io/kindstorm/base:1"]
        args.PORT = "{port}"
        """
        recipes = small_catalogue(folder, WAITS, more)
        for name, does in TOOLS.items():
            (recipes / "small" / name).write_text(f"#!/bin/sh\n{does}\n")
            (recipes / "small" / name).chmod(0o755)
        yield SmallSetup(recipes, folder / "cache", builder.host), server.listen


def test_a_setup_killed_while_it_builds_an_image(
    builder: Engine, long_build: tuple[SmallSetup, Callable[[], None]]
) -> None:
    """First in the build itself, then while the image gets its contents: each time the next one clears that away."""
    given, go_on = long_build
    given.kill_once(lambda: builder.docker("ps", "--quiet"), "a step of the image runs")
    assert given.left() != []
    go_on()
    assembly = ("ps", "--quiet", "--filter", "name=kindstorm-assembly-")
    given.kill_once(lambda: builder.docker(*assembly), "the image gets its contents")
    assert builder.docker(*assembly) != ""
    finishes(given, builder)
