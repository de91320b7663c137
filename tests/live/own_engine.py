"""A container engine of a test's own, a small disk, and a set-up with little to do: what may be broken on purpose."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos.waiting import poll
from images import catalogue

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 120
Ended = subprocess.CompletedProcess[str]

SETUP = """
import sys
from pathlib import Path
from images import build, catalogue

recipes = Path(sys.argv.pop(1))
catalogue.RECIPES = build.RECIPES = recipes
small = catalogue.load(recipes / "catalogue.toml")
catalogue.load = lambda: small

from kindstorm.cli import main
main()
"""
"""`kindstorm` with another catalogue and other recipes: nothing else of it is changed."""


@dataclass(frozen=True)
class Engine:
    """A dockerd that only the test knows, with nothing in it."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> str:
        """What DOCKER_HOST must be to reach it."""
        return f"unix://{self.folder}/docker.sock"

    def docker(self, *args: str, stdin: int | None = None) -> str:
        """Ask it; what is wrong fails the test."""
        command = ["docker", "--host", self.host, *args]
        return subprocess.run(command, stdin=stdin, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def engine(folder: Path, data: Path, *options: str, prefix: tuple[str, ...] = ()) -> Iterator[Engine]:
    """Start an engine with its data here; it is gone afterwards, whatever became of it."""
    places = {"--data-root": data, "--exec-root": folder / "exec", "--pidfile": folder / "pid"}
    words = [str(word) for place in places.items() for word in place]
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    before = set(mounts())
    with (folder / "dockerd.log").open("ab") as log:
        process = subprocess.Popen(
            [*prefix, "dockerd", "--host", f"unix://{folder}/docker.sock", *words, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PATH": path, "TMPDIR": str(data)},
        )
    started = Engine(folder, process)
    try:
        poll(
            lambda: started.docker("version"),
            bool,
            timeout_s=WAIT_S,
            what="the engine of our own answers",
            passing=(subprocess.CalledProcessError,),
        )
        yield started
    finally:
        process.terminate()
        process.wait(WAIT_S)
        for place in reversed(mounts()):  # one that was killed takes its mounts down no more
            if place not in before and place.is_relative_to(folder):
                subprocess.run(["umount", str(place)], check=True)


def mounts() -> list[Path]:
    """Where something is mounted, in the order of mounting."""
    return [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]


ALONE = ("--bridge", "none", "--iptables=false", "--ip6tables=false")
"""An engine that only builds: it leaves the machine's network alone."""


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """An ext4 file system of this size in a file, mounted while the body runs."""
    disk, place = folder / f"disk{size_mb}", folder / f"mounted{size_mb}"
    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(size_mb << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(disk)], check=True)
    subprocess.run(["mount", "-o", "loop", str(disk), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path, leave_bytes: int = 0) -> Path:
    """Take all of a disk but so much; removing the file gives it back."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        try:
            while (free := shutil.disk_usage(disk).free) > leave_bytes:
                file.write(b"\0" * min(free - leave_bytes, 1 << 20))
                file.flush()
        except OSError:
            pass
    return filler


@contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose name leaves room for a socket's."""
    folder = Path(tempfile.mkdtemp(prefix="ks-"))
    yield folder
    shutil.rmtree(folder)


@dataclass(frozen=True)
class SmallSetup:
    """`kindstorm setup` that compiles kind and builds one image, against an engine and a cache of the test's own."""

    recipes: Path
    cache: Path
    host: str

    def command(self) -> list[str]:
        """The command line."""
        return [sys.executable, "-c", SETUP, str(self.recipes), "setup"]

    def environment(self) -> dict[str, str]:
        """Its environment: the Go build cache stays the machine's."""
        given = {"KINDSTORM_CACHE": str(self.cache), "DOCKER_HOST": self.host, "COLUMNS": "1000"}
        return {**os.environ, "PYTHONPATH": str(REPOSITORY), **given}

    def run(self) -> Ended:
        """Run it to its end."""
        return subprocess.run(
            self.command(), env=self.environment(), capture_output=True, text=True, timeout=300, check=False
        )

    def kill_once(self, reached: object, what: str) -> None:
        """Start it, kill it with SIGKILL once ``reached`` is true, and wait until nothing of it runs any more."""
        assert callable(reached)
        process = subprocess.Popen(
            self.command(), env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            poll(reached, bool, timeout_s=WAIT_S, interval_s=0.01, what=what)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        poll(self.running, lambda found: not found, timeout_s=30, what="nothing of the killed set-up runs")

    def running(self) -> list[str]:
        """The command lines that name our cache or our recipes."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.cache) in line or str(self.recipes) in line:
                found.append(line)
        return found

    def left(self) -> list[str]:
        """What is half made in the cache."""
        made = (".go-*", "programs/.*", "downloads/*", "archives/*.partial-*", "archives/.*")
        return sorted(str(path.relative_to(self.cache)) for pattern in made for path in self.cache.glob(pattern))


def small_catalogue(folder: Path, dockerfile: str, image: str = "") -> Path:
    """Recipes and a catalogue with kind and one image that is built by this Dockerfile, from what it has in bin/."""
    recipes = folder / "recipes"
    (recipes / "small").mkdir(parents=True)
    (recipes / "kind").symlink_to(catalogue.RECIPES / "kind")
    (recipes / "small" / "Dockerfile").write_text(textwrap.dedent(dockerfile))
    kind = catalogue.load().programs["kind"]
    (recipes / "catalogue.toml").write_text(
        textwrap.dedent(f"""
        kubernetes = "9.9"
        probe = "docker.io/kindstorm/small:1"
        [engine]
        [toolchain]
        packages = []
        go = "{catalogue.load().toolchain["go"]}"
        [line."9.9"]
        version = "v9.9.0"
        node = "docker.io/kindstorm/small:1"
        config_api = "v1beta4"
        [program.kind]
        folder = "kind"
        module = "{kind.module}"
        version = "{kind.version}"
        packages = ["{kind.packages[0]}"]
        [[image]]
        references = ["docker.io/kindstorm/base:1"]
        recipe = "base"
        [[image]]
        references = ["docker.io/kindstorm/small:1"]
        recipe = "small"
        programs = ["kind"]
        workload = true
        """)
        + textwrap.dedent(image)
    )
    return recipes
