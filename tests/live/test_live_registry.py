"""The path of those who have a registry: a real one is filled, an engine without the images pulls, nothing is built."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from chaos.errors import ImageError
from chaos.history import History
from chaos.waiting import poll
from images import build, cache, engine, registry, setup
from images import catalogue as catalogues
from images.catalogue import LABEL_ORIGIN, LABEL_RECIPE, Catalogue, Image, short_reference
from images.engine import docker
from images.progress import Steps
from images.registry import Registry

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
PACKAGE = "docker-registry"
"""Debian's; the tests' need and no user's. It is unpacked and not installed, so that no service of it is started."""
CONFIG = """
version: 0.1
storage:
  filesystem:
    rootdirectory: {data}
http:
  addr: 127.0.0.1:{port}
"""


@dataclass
class Server:
    """A registry that runs, and what it was asked."""

    registry: Registry
    log: Path

    def asked(self) -> list[str]:
        """The requests that it answered with what they asked for, in order."""
        return re.findall(r'"((?:GET|HEAD|PUT) /v2/\S+) HTTP/1\.1" 20\d', self.log.read_text())


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry's executable: the machine's, or the one in Debian's package."""
    if (found := shutil.which(PACKAGE)) is not None:
        return Path(found)
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip(f"there is no {PACKAGE} on the PATH, and no apt to get it with")
    folder = tmp_path_factory.mktemp("registry")
    fetch = ["apt-get", "download", PACKAGE]
    if subprocess.run(fetch, cwd=folder, capture_output=True, check=False).returncode != 0:
        if os.geteuid() != 0:
            pytest.skip(f"apt has no {PACKAGE}, and its lists are root's to update")
        subprocess.run(["apt-get", "update"], capture_output=True, check=True)
        subprocess.run(fetch, cwd=folder, capture_output=True, check=True)
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg", "--extract", str(package), str(folder)], check=True)
    return folder / "usr/bin" / PACKAGE


@contextmanager
def serving(executable: Path, folder: Path) -> Iterator[Server]:
    """An empty registry on a free port of 127.0.0.1; what it was given goes with it."""
    config, log, data = folder / "registry.yml", folder / "registry.log", folder / "registry"
    port = free_port()
    config.write_text(CONFIG.format(data=data, port=port))
    with log.open("wb") as output:
        process = subprocess.Popen([executable, "serve", config], stdout=output, stderr=output)
    try:
        made = Server(Registry(f"127.0.0.1:{port}"), log)
        poll(lambda: registry.ask(made.registry), lambda found: found[0], timeout_s=30, what="the registry answers")
        yield made
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def server(executable: Path, tmp_path: Path) -> Iterator[Server]:
    """An empty registry."""
    with serving(executable, tmp_path) as made:
        yield made


def tags() -> list[str]:
    """Every name that the engine has an image by."""
    return docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- the pull path, with images of a few bytes -----------------------------------------------------------------------


@dataclass
class Shelf:
    """A catalogue of one image with names of this test's own, so that the engine's other images are left alone."""

    catalogue: Catalogue
    image: Image
    steps: Steps

    def make(self, reference: str, recipe: str | None = None) -> str:
        """Give the engine an image of new contents, with a recipe's label where one is named; returns its id."""
        content = uuid.uuid4().hex.encode()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("content")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        labels = {LABEL_RECIPE: recipe, LABEL_ORIGIN: self.image.origin} if recipe else {}
        changes = [word for name, value in labels.items() for word in ("--change", f"LABEL {name}={value}")]
        return docker("import", *changes, "-", short_reference(reference), stdin=archive.getvalue())

    def move(self, reference: str, there: Registry, recipe: str | None = None) -> str:
        """Make an image and let only the registry have it."""
        made = self.make(reference, recipe)
        registry._push(reference, there, self.steps)
        docker("rmi", short_reference(reference))
        assert engine.inspect_image(made) is None
        return made

    def pull(self, there: Registry) -> None:
        """What set-up does about images that the engine lacks."""
        assert build.image_state(self.catalogue, self.image) is None
        registry.pull_all(self.catalogue, [self.image], there, self.steps)

    def origin(self) -> str:
        """What the lists and reports say of it."""
        return registry.origin(self.image, str(build.image_state(self.catalogue, self.image)))


@pytest.fixture(params=["genuine"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """A catalogue with one image, or with one stand-in; whatever the engine got under its names goes again."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    name = f"kindstorm-test/{uuid.uuid4().hex[:12]}"
    entry = {"references": [f"docker.io/{name}:1"], "recipe": "pause", "workload": True}
    if request.param == "stand-in":
        entry |= {"stand_in": "ours", "stands_in_for": f"docker.io/{name}-upstream:1"}
    line = {"version": "v1", "node": f"docker.io/{name}:1", "config_api": "v1"}
    head = {"kubernetes": "1", "probe": "", "engine": {}, "toolchain": {}, "line": {"1": line}, "program": {}}
    catalogue = Catalogue({**head, "image": [entry]})
    steps = Steps(Console(file=io.StringIO(), width=400), tmp_path / "steps.log")
    yield Shelf(catalogue, catalogue.images[0], steps)
    steps.close()
    for found in tags():
        if name in found:
            docker("rmi", found)


STAND_IN = pytest.mark.parametrize("shelf", ["stand-in"], indirect=True)


@pytest.mark.parametrize("built", [True, False])
def test_what_is_pushed_is_pulled_again(shelf: Shelf, server: Server, built: bool) -> None:
    """The very image comes back, under the name that manifests use; a mirror's build is told from upstream's image."""
    there, address = server.registry, server.registry.address
    made = shelf.make(shelf.image.name, shelf.catalogue.key(shelf.image) if built else None)
    before = shelf.origin()
    screen = io.StringIO()
    registry.push_all(shelf.catalogue, [shelf.catalogue.line()], there, Console(file=screen, width=400))
    assert f"push {there.reference(shelf.image.name)} ({before})" in screen.getvalue()
    assert (before, shelf.origin()) == (("built", "built") if built else ("pulled", "pulled"))
    assert engine.inspect_image(there.reference(shelf.image.name)) is None
    docker("rmi", short_reference(shelf.image.name))
    assert engine.inspect_image(made) is None
    shelf.pull(there)
    assert (engine.inspect_image(short_reference(shelf.image.name)) or {})["Id"] == made
    assert shelf.origin() == (f"pulled from {address} (built)" if built else f"pulled from {address}")
    assert any(request.startswith("GET") and "/blobs/" in request for request in server.asked())


def test_what_a_registry_lacks_is_named(shelf: Shelf, server: Server) -> None:
    """An engine's own words for it are understood, and the sentence says what to push where."""
    wanted = rf"does not give {shelf.image.name} \(not there\); .*`kindstorm images push {server.registry.address}`"
    with pytest.raises(ImageError, match=wanted):
        shelf.pull(server.registry)


def test_a_registry_that_is_not_there_is_no_missing_image(shelf: Shelf) -> None:
    """Nobody listens: then nothing is said of what it has."""
    nobody = Registry(f"127.0.0.1:{free_port()}")
    assert registry.ask(nobody) == (False, "does not answer")
    with pytest.raises(ImageError, match=rf"^{nobody.address} does not answer "):
        shelf.pull(nobody)


def test_another_versions_build_is_refused(shelf: Shelf, server: Server) -> None:
    """A mirror that was filled by another version is told so, and the engine does not keep what it gave."""
    made = shelf.move(shelf.image.name, server.registry, recipe="old")
    with pytest.raises(ImageError, match="made by another version of kindstorm; push it again"):
        shelf.pull(server.registry)
    assert engine.inspect_image(made) is None
    assert build.image_state(shelf.catalogue, shelf.image) is None


@STAND_IN
def test_a_stand_in_comes_under_its_own_name(shelf: Shelf, server: Server) -> None:
    """Where the registry has no image of upstream's but a build by that name, the stand-in is pulled and named."""
    image, there, key = shelf.image, server.registry, shelf.catalogue.key(shelf.image)
    shelf.move(str(image.stands_in_for), there, recipe=key)
    shelf.move(image.name, there, recipe=key)
    shelf.pull(there)
    assert engine.inspect_image(short_reference(str(image.stands_in_for))) is None
    assert shelf.origin() == f"stand-in: ours; pulled from {there.address}"
    assert shelf.catalogue.resolve(str(image.stands_in_for), {image.name: "stand-in"})[0] == image.name


@STAND_IN
def test_upstreams_image_comes_before_its_stand_in(shelf: Shelf, server: Server) -> None:
    """A mirror that has both gives upstream's."""
    image, there = shelf.image, server.registry
    shelf.move(image.name, there, recipe=shelf.catalogue.key(image))
    made = shelf.move(str(image.stands_in_for), there)
    shelf.pull(there)
    assert (engine.inspect_image(short_reference(image.runs_as("pulled"))) or {})["Id"] == made
    assert engine.inspect_image(short_reference(image.name)) is None
    assert shelf.origin() == f"pulled from {there.address}"


# ---- the whole of it: minutes, and the second takes the engine's images away for a while -----------------------------


def kindstorm(*args: str, **environment: str) -> str:
    """What a command of ours prints; it must succeed."""
    command = [sys.executable, "-c", "from kindstorm.cli import main; main()", *args]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400", **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Site:
    """A registry that has all of the default line, from this machine's engine, and what a machine there must get."""

    server: Server
    origins: dict[str, str]

    @property
    def address(self) -> str:
        """The registry's."""
        return self.server.registry.address

    def expected(self) -> list[str]:
        """Where the images of a machine that was set up from here came from, by the words of lists and reports."""
        words = {"pulled": f"pulled from {self.address}", "built": f"pulled from {self.address} (built)"}
        return sorted(words.get(each, f"{each}; pulled from {self.address}") for each in self.origins.values())

    def require_pulled(self, said: str, before: int) -> None:
        """A set-up pulled all from here, by its own word and the registry's since then, and built nothing."""
        names = [self.server.registry.reference(name) for name in self.origins]
        assert sorted(re.findall(r"^pulled (\S+)", said, re.MULTILINE)) == sorted(names)
        assert not re.search(r"\b(build|compile|install)\b", said)
        assert said.endswith(", 0 steps\n")
        asked = {request.partition(" ")[2] for request in self.server.asked()[before:]}
        for name in names:
            repository, _, tag = name.removeprefix(f"{self.address}/").rpartition(":")
            assert f"/v2/{repository}/manifests/{tag}" in asked


@pytest.fixture(scope="module")
def site(executable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A registry that `kindstorm images push` has filled."""
    catalogue = catalogues.load()
    origins = {
        reference: registry.origin(image, state)
        for image, state in build.ready(catalogue, [catalogue.line()])
        for reference in image.held_as(state)
    }
    with serving(executable, tmp_path_factory.mktemp("site")) as server:
        kindstorm("images", "push", server.registry.address)
        yield Site(server, origins)


@pytest.fixture
def empty_engine(tmp_path: Path) -> Iterator[str]:
    """A second engine with nothing in it, for pulling only: no network, and no rules of the machine's touched."""
    if os.geteuid() != 0:
        pytest.skip("a second engine needs root")
    host = f"unix://{tmp_path}/docker.sock"
    places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
    flags = [word for name, place in places.items() for word in (f"--{name}", str(tmp_path / place))]
    with (tmp_path / "dockerd.log").open("wb") as log:
        command = ["dockerd", *flags, "--host", host, "--bridge", "none", "--iptables=false"]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "dockerd.log").read_text()[-500:]
        return subprocess.run(["docker", "--host", host, "version"], capture_output=True, check=False).returncode == 0

    try:
        poll(answers, bool, timeout_s=60, what="the second engine answers")
        yield host
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        shutil.rmtree(tmp_path / "data")


@pytest.mark.full
def test_a_machine_with_nothing_is_set_up_from_a_registry(site: Site, empty_engine: str, tmp_path: Path) -> None:
    """An engine and a cache with nothing in them: all is pulled, nothing is built, and the list says from where."""
    machine = {"DOCKER_HOST": empty_engine, cache.VARIABLE: str(tmp_path / "cache")}
    flags, before = ["--registry", site.address], len(site.server.asked())
    assert re.search(rf"registry {site.address} +answers without TLS", kindstorm("doctor", *flags, **machine))
    kind = setup.kind_command(catalogues.load())
    site.require_pulled(kindstorm("setup", *flags, "--kind-bin", str(kind), **machine), before)
    assert any("/blobs/" in request for request in site.server.asked()[before:])
    assert kindstorm("setup", *flags, **machine).splitlines() == [kindstorm("setup", **machine).rstrip()]
    listed = kindstorm("images", "list", **machine)
    found = re.findall(rf"\S+(?: \S+)* {site.address}(?: \(\w+\))?", listed)
    assert sorted(found) == site.expected()
    assert "missing" not in listed
    names = [short_reference(name) for name in site.origins]
    assert kindstorm("images", "list", "--names", **machine).split() == names


@pytest.mark.full
def test_a_machine_with_nothing_is_set_up_from_an_archive(empty_engine: str, tmp_path: Path) -> None:
    """`docker save` and `docker load` of what `images list --names` says: nothing is left to pull or build."""
    names, archive = kindstorm("images", "list", "--names").split(), tmp_path / "images.tar"
    docker("save", "--output", str(archive), *names, timeout_s=600)
    load = ["docker", "--host", empty_engine, "load", "--quiet", "--input", str(archive)]
    subprocess.run(load, capture_output=True, check=True)
    archive.unlink()
    machine = {"DOCKER_HOST": empty_engine, cache.VARIABLE: str(tmp_path / "cache")}
    said = kindstorm("setup", "--kind-bin", str(setup.kind_command(catalogues.load())), **machine)
    assert re.fullmatch(r"kind \S+ taken from \S+\nset up: Kubernetes \S+, 0 steps\n", said)
    assert kindstorm("images", "list", "--names", **machine).split() == names


KEPT = "kindstorm-kept/"


@contextmanager
def put_aside(names: list[str], there: Registry) -> Iterator[None]:
    """The engine has no image of these names meanwhile; under others they outlive even a kill of this.

    What was pulled from ``there`` is forgotten at the end: nothing has changed for whoever comes next.
    """
    put_back()
    sources = {name: registry.source(name) for name in names}
    for name in names:
        docker("tag", name, KEPT + name)
    try:
        for name in names:
            docker("rmi", name)
        yield
    finally:
        put_back()
        registry.forget(tuple(names))
        for name, given in sources.items():
            if given is not None:
                registry._note(engine.inspect_image(name) or {}).write_text(given)
        for name in tags():
            if name.startswith(f"{there.address}/"):
                docker("rmi", name)


def put_back() -> None:
    """Give images that were put aside, now or by an earlier run that was killed, their names again."""
    for kept in tags():
        if kept.startswith(KEPT):
            docker("tag", kept, kept.removeprefix(KEPT))
            docker("rmi", kept)


@pytest.mark.full
def test_smoke_scenarios_pass_on_pulled_images(
    site: Site, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that only a registry gives make a cluster, pass the smoke scenarios, and are named so in every history."""
    monkeypatch.setenv(registry.VARIABLE, site.address)
    before = len(site.server.asked())
    with put_aside([short_reference(name) for name in site.origins], site.server.registry):
        site.require_pulled(kindstorm("setup"), before)
        command = [sys.executable, "-m", "pytest", "scenarios", "-m", "smoke and not full", "-p", "no:cacheprovider"]
        command += ["--kindstorm-runs", str(tmp_path / "runs")]
        if request.config.getoption("keep_cluster"):
            command.append("--keep-cluster")
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    (verdicts,) = (tmp_path / "runs").glob("*/results.json")
    assert sorted(image["origin"] for image in json.loads(verdicts.read_text())["images"]) == site.expected()
    histories = [History.load(path) for path in (tmp_path / "runs").glob("*/*/history.jsonl")]
    assert len(histories) >= 3
    assert {tuple(sorted((history.fact("images") or {}).values())) for history in histories} == {tuple(site.expected())}
