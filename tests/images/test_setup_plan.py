"""The plan of a set-up: nothing that is there, nothing twice, everything after what it needs."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chaos.errors import ClusterError, ImageError
from images import build, cache, engine, registry, setup
from images.catalogue import LABEL_ORIGIN, LABEL_RECIPE, Catalogue, Image, short_reference
from images.progress import Steps
from images.registry import Registry

NO_REGISTRY = "`docker pull --quiet` failed: dial tcp: lookup registry on 10.0.0.1:53: no such host"


class Machine:
    """An engine and registries that are only pretended: what is there, and who was asked for what."""

    def __init__(self) -> None:
        self.there: dict[str, str] = {}
        self.registries: dict[str, str | None] = {}
        self.asked: list[str] = []

    def image_state(self, _: Catalogue, image: Image) -> str | None:
        """What the engine has of an image."""
        return self.there.get(image.name)

    def pull(self, image: Image) -> str | None:
        """Pull an image where its registry answers (None), or give the reason why not."""
        self.asked.append(image.name)
        reason = self.registries.get(image.name, self.registries.get(image.name.partition("/")[0], NO_REGISTRY))
        if reason is None:
            self.there[image.name] = "pulled"
        return reason


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """An engine with no image, no registry, and every building tool."""
    made = Machine()
    monkeypatch.setattr(build, "image_state", made.image_state)
    monkeypatch.setattr(build, "pull", made.pull)
    monkeypatch.setattr(registry, "forget", lambda _: None)
    monkeypatch.setattr(build, "go_command", lambda _: ["go"])
    monkeypatch.setattr(setup, "packages_missing", lambda _: [])
    return made


def plan(catalogue: Catalogue, steps: Steps, *lines: str) -> list[str]:
    """What a set-up of these lines (the default one) would do, in its own words."""
    return [task.what for task in setup._plan(catalogue, [catalogue.line(name) for name in lines or [""]], steps)]


def compile_all(catalogue: Catalogue) -> None:
    """Put every program into the cache."""
    for program in catalogue.programs.values():
        build.program_folder(program).mkdir()


def test_where_all_is_there_nothing_is_done(machine: Machine, catalogue: Catalogue, steps: Steps) -> None:
    """A second set-up has no tasks and asks no registry."""
    machine.there = {image.name: "built" for image in catalogue.images}
    compile_all(catalogue)
    assert plan(catalogue, steps) == []
    assert machine.asked == []


@pytest.mark.usefixtures("machine")
def test_without_a_registry_all_is_built_in_order(catalogue: Catalogue, steps: Steps) -> None:
    """Programs before images, each image after its base and contents, all once, nothing of another line."""
    tasks = plan(catalogue, steps, "1.37")
    assert len(tasks) == len(set(tasks))
    kinds = [task.partition(" ")[0] for task in tasks]
    assert kinds == sorted(kinds, key=["compile", "build"].index)
    order = [catalogue.image(task.removeprefix("build ")) for task in tasks if task.startswith("build ")]
    assert {image.name for image in order} >= {image.name for image in catalogue.needed(catalogue.line("1.37"))}
    compiled = {task.split(" ")[1] for task in tasks if task.startswith("compile ")}
    assert compiled == {"kind", *(program for image in order for program in image.programs)}
    for position, image in enumerate(order):
        before = {each.name for each in order[:position]}
        assert {*image.contains, *([image.base] if image.base else [])} <= before
    assert not [task for task in tasks if "1.36" in task]


def test_two_lines_share_what_they_share(machine: Machine, catalogue: Catalogue, steps: Steps) -> None:
    """A plan for both lines is both plans, with nothing twice and nothing asked for twice."""
    both = plan(catalogue, steps, "1.37", "1.36")
    assert len(both) == len(set(both))
    assert set(both) == {*plan(catalogue, steps, "1.37"), *plan(catalogue, steps, "1.36")}
    machine.registries = {"docker.io": "not found", "registry.k8s.io": "not found"}
    machine.asked = []
    plan(catalogue, steps, "1.37", "1.36")
    assert len(machine.asked) == len(set(machine.asked))


@pytest.mark.parametrize(
    "reason",
    [
        NO_REGISTRY,
        "dial tcp 34.1.2.3:443: connect: connection refused",
        "Get https://registry/v2/: net/http: request canceled while waiting for connection (Client.Timeout exceeded)",
        "lookup registry: Temporary failure in name resolution",
        "`docker pull --quiet` did not end within 1800 s",
    ],
)
def test_a_dark_registry_is_asked_once(
    machine: Machine, catalogue: Catalogue, steps: Steps, screen: io.StringIO, reason: str
) -> None:
    """A registry that cannot be reached is said to be so once, and left alone; another is still asked."""
    machine.registries = {"docker.io": reason, "registry.k8s.io": None}
    plan(catalogue, steps)
    asked = [name for name in machine.asked if name.startswith("docker.io/")]
    assert len(asked) == 1
    assert screen.getvalue().count("docker.io does not answer; its images are built here") == 1
    assert any(name.startswith("registry.k8s.io/") for name in machine.asked)


def test_an_image_that_a_registry_lacks_is_built(
    machine: Machine, catalogue: Catalogue, steps: Steps, screen: io.StringIO
) -> None:
    """A registry that answers is asked for the rest, and only what it lacks is built."""
    machine.registries = {"docker.io": None, "registry.k8s.io": None, "docker.io/library/nginx:1.22.1": "not found"}
    assert plan(catalogue, steps) == ["compile kind v0.33.0", "build docker.io/library/nginx:1.22.1"]
    assert "docker.io/library/nginx:1.22.1 cannot be pulled (not found); it is built here\n" in screen.getvalue()
    assert machine.there["docker.io/library/debian:bookworm-slim"] == "pulled"


def test_what_is_built_instead_is_said(
    machine: Machine, catalogue: Catalogue, steps: Steps, screen: io.StringIO
) -> None:
    """Where upstream's image cannot be had, the set-up names it, and what takes its place, before it builds that."""
    stand_in = "docker.io/kindstorm/ferretdb:v1.24.2"
    machine.registries = {"docker.io": None, "registry.k8s.io": None, stand_in: "not found"}
    assert plan(catalogue, steps)[1:] == ["compile ferretdb v1.24.2", f"build {stand_in}"]
    said = "docker.io/library/mongo:7.0 cannot be pulled (not found); FerretDB 1.24.2 (SQLite) for mongod is built here"
    assert said in screen.getvalue()


def test_with_registries_only_kind_is_compiled(machine: Machine, catalogue: Catalogue, steps: Steps) -> None:
    """A pulled node image has its contents inside: none of them is pulled or built."""
    machine.registries = {"docker.io": None, "registry.k8s.io": None}
    assert plan(catalogue, steps) == ["compile kind v0.33.0"]
    assert machine.asked == [image.name for image in catalogue.needed(catalogue.line())]


def test_our_own_images_are_not_asked_for(machine: Machine, catalogue: Catalogue, steps: Steps) -> None:
    """An image that carries one of our own names is in no registry."""
    machine.registries = {catalogue.line().node: "not found", "docker.io": None, "registry.k8s.io": None}
    tasks = plan(catalogue, steps)
    kubernetes = f"registry.k8s.io/kube-apiserver:{catalogue.line().version}"
    assert f"build {kubernetes}" in tasks
    assert kubernetes not in machine.asked


def test_missing_tools_come_first(
    machine: Machine, catalogue: Catalogue, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What builds is provided before anything is built, and only where something is."""
    monkeypatch.setattr(build, "go_command", lambda _: None)
    monkeypatch.setattr(setup, "packages_missing", lambda _: ["gcc"])
    assert plan(catalogue, steps)[:2] == ["install what builds (Debian packages)", "fetch Go 1.26"]
    machine.registries = {"docker.io": None, "registry.k8s.io": None}
    assert plan(catalogue, steps) == ["fetch Go 1.26", "compile kind v0.33.0"]
    compile_all(catalogue)
    assert plan(catalogue, steps) == []


def test_a_program_of_another_key_is_compiled_again(machine: Machine, catalogue: Catalogue, steps: Steps) -> None:
    """What an older recipe gave does not count."""
    machine.there = {image.name: "built" for image in catalogue.images}
    folder = build.program_folder(catalogue.programs["kind"])
    folder.with_name(f"{folder.name}0").mkdir()
    assert plan(catalogue, steps) == ["compile kind v0.33.0"]


# ---- a registry that the user names ----------------------------------------------------------------------------------

SITE = Registry("127.0.0.1:5000")


@pytest.fixture
def asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that the named registry is asked for; it has all of them."""
    names: list[str] = []

    def pull_all(_: Catalogue, images: list[Image], there: Registry, __: Steps) -> None:
        assert there is SITE
        names.extend(image.name for image in images)
        machine.there |= {image.name: "built" for image in images}

    monkeypatch.setattr(registry, "pull_all", pull_all)
    return names


def plan_at_the_site(catalogue: Catalogue, steps: Steps) -> list[str]:
    """What a set-up from the named registry would do besides pulling."""
    return [task.what for task in setup._plan(catalogue, [catalogue.line()], steps, SITE)]


def test_with_a_registry_of_ones_own_nothing_is_built(
    machine: Machine, asked: list[str], catalogue: Catalogue, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for what runs and for no part of it, nobody else is asked, and only kind is compiled."""
    monkeypatch.setattr(setup, "packages_missing", lambda _: ["gcc"])
    machine.there = {"docker.io/library/nginx:1.22.1": "pulled"}
    assert plan_at_the_site(catalogue, steps) == ["compile kind v0.33.0"]
    wanted = [image.name for image in catalogue.needed(catalogue.line())]
    assert asked == [name for name in wanted if name != "docker.io/library/nginx:1.22.1"]
    assert machine.asked == []


def test_what_the_registry_lacks_is_not_built_either(
    machine: Machine, catalogue: Catalogue, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error ends the set-up before anything is compiled."""

    def pull_all(*_: object) -> None:
        raise ImageError("it does not give all")

    monkeypatch.setattr(registry, "pull_all", pull_all)
    with pytest.raises(ImageError, match="it does not give all"):
        plan_at_the_site(catalogue, steps)
    assert machine.asked == []


# ---- a kind that was brought -----------------------------------------------------------------------------------------


def a_kind(folder: Path, says: str) -> Path:
    """An executable that says this of itself."""
    path = folder / "kind"
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)
    return path


def test_a_kind_that_was_brought_is_not_compiled(
    machine: Machine, asked: list[str], catalogue: Catalogue, steps: Steps, tmp_path: Path
) -> None:
    """It is copied into the cache, where every later command finds it."""
    given = a_kind(tmp_path, '[ "$1" = version ] && echo "kind v0.33.0 go1.26.8 linux/amd64"')
    setup._take_kind(catalogue, given, steps)
    given.unlink()
    assert setup.kind_command(catalogue).stat().st_mode & 0o111
    assert plan_at_the_site(catalogue, steps) == []
    assert asked
    assert machine.asked == []


@pytest.mark.parametrize("says", ["echo kind v0.32.0 go1.26", "echo something", "exit 1", None])
def test_another_version_of_kind_is_refused(
    catalogue: Catalogue, steps: Steps, tmp_path: Path, says: str | None
) -> None:
    """What it says of itself is in the sentence, and the cache stays without a kind."""
    given = tmp_path / "kind" if says is None else a_kind(tmp_path, says)
    with pytest.raises(ImageError, match=r"/kind is not kind v0\.33\.0 \(.+\); name one that is$"):
        setup._take_kind(catalogue, given, steps)
    with pytest.raises(ImageError, match="kind is not set up"):
        setup.kind_command(catalogue)


def test_a_kind_that_cannot_be_compiled_may_be_brought(
    machine: Machine, catalogue: Catalogue, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site without Go modules is told the way out; another program has none."""

    def fail(*_: object) -> None:
        raise ImageError("no such module")

    monkeypatch.setattr(build, "build_program", fail)
    for name, end in (
        ("kind", r"no such module; or bring a kind v0\.33\.0: .*--kind-bin PATH`$"),
        ("runc", "^no such module$"),
    ):
        with pytest.raises(ImageError, match=end):
            setup._program_task(catalogue, catalogue.programs[name], steps).run()
    assert machine.asked == []


# ---- what the engine has, judged by its labels -----------------------------------------------------------------------


class Engine:
    """An engine's images with their labels."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.labels = {
            reference: {LABEL_RECIPE: catalogue.key(image), LABEL_ORIGIN: image.origin}
            for image in catalogue.images
            for reference in image.references
        }

    def inspect(self, reference: str) -> dict[str, Any] | None:
        """What docker says of an image."""
        for name, labels in self.labels.items():
            if short_reference(name) == reference:
                return {"Config": {"Labels": labels or None}}
        return None


@pytest.fixture
def labelled(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine with every image as it was built, every program compiled, and no registry."""
    made = Engine(catalogue)
    monkeypatch.setattr(engine, "inspect_image", made.inspect)
    monkeypatch.setattr(build, "pull", lambda _: NO_REGISTRY)
    monkeypatch.setattr(build, "go_command", lambda _: ["go"])
    monkeypatch.setattr(setup, "packages_missing", lambda _: [])
    compile_all(catalogue)
    return made


def test_a_stale_image_is_built_again(labelled: Engine, catalogue: Catalogue, steps: Steps) -> None:
    """An image of an older recipe is built again, and nothing else."""
    assert plan(catalogue, steps) == []
    labelled.labels["docker.io/library/nginx:1.22.1"] = {LABEL_RECIPE: "old", LABEL_ORIGIN: "built"}
    assert plan(catalogue, steps) == ["build docker.io/library/nginx:1.22.1"]


@pytest.mark.parametrize("last", [None, "old"])
def test_a_build_that_was_interrupted_between_its_tags(
    labelled: Engine, catalogue: Catalogue, last: str | None
) -> None:
    """Where one of an image's names is missing, or is still the image before, the image does not count as there."""
    kubernetes = next(image for image in catalogue.images if len(image.references) > 1)
    reference = kubernetes.references[-1]
    assert build.image_state(catalogue, kubernetes) == "built"
    if last is None:
        del labelled.labels[reference]
    else:
        labelled.labels[reference] = {LABEL_RECIPE: last, LABEL_ORIGIN: "built"}
    assert build.image_state(catalogue, kubernetes) is None


def test_an_image_without_our_label_was_pulled(labelled: Engine, catalogue: Catalogue) -> None:
    """The engine's own labels, or none, mean that somebody pulled it."""
    nginx = catalogue.image("nginx:1.22.1")
    for labels in ({}, {"maintainer": "upstream"}):
        labelled.labels[nginx.name] = labels
        assert build.image_state(catalogue, nginx) == "pulled"


def test_a_pull_that_stopped_between_its_names(labelled: Engine, catalogue: Catalogue) -> None:
    """An image of several names is pulled when all of them are."""
    image = Image(("docker.io/library/nginx:1.22.1", "docker.io/library/nginx:1"), "nginx")
    labelled.labels = {image.references[0]: {}}
    assert build.image_state(catalogue, image) is None
    labelled.labels[image.references[1]] = {}
    assert build.image_state(catalogue, image) == "pulled"


def test_what_is_required_is_named(labelled: Engine, catalogue: Catalogue) -> None:
    """A scenario that starts on an unfinished set-up says which image and which command; else it gets the origins."""
    kind = build.program_folder(catalogue.programs["kind"])
    with pytest.raises(ImageError, match="kind is not set up; run `kindstorm setup`"):
        setup.require(catalogue, catalogue.line())
    assert setup.require(catalogue, catalogue.line(), Path("/a/kind/of/the/users"))
    (kind / "kind").touch()
    origins = setup.require(catalogue, catalogue.line())
    assert origins == {image.name: image.origin for image in catalogue.needed(catalogue.line())}
    del labelled.labels[catalogue.line("1.36").node]
    with pytest.raises(ImageError, match=r"^not set up yet: docker\.io/kindest/node:\S+; .*setup --kubernetes 1\.36`$"):
        setup.require(catalogue, catalogue.line("1.36"))


# ---- the whole set-up ------------------------------------------------------------------------------------------------


@pytest.fixture
def console(screen: io.StringIO) -> Console:
    """A console that shows on ``screen``."""
    return Console(file=screen, width=400)


def test_a_set_up_does_its_plan_once(
    machine: Machine, catalogue: Catalogue, console: Console, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first set-up builds in numbered steps, the second has nothing to do."""

    def build_image(_: Catalogue, image: Image, __: Steps) -> None:
        machine.there[image.name] = "built"

    monkeypatch.setattr(engine, "answers", lambda: True)
    monkeypatch.setattr(setup, "inotify_below", dict)
    monkeypatch.setattr(setup.node, "sweep", lambda: None)
    monkeypatch.setattr(build, "build_image", build_image)
    monkeypatch.setattr(build, "build_program", lambda _, program, __: build.program_folder(program).mkdir())
    planned = len(plan(catalogue, Steps(Console(file=io.StringIO()), cache.root() / "log")))
    setup.set_up(catalogue, [catalogue.line()], console)
    numbers = re.findall(r"^\[(\d+)/(\d+)\]", screen.getvalue(), re.MULTILINE)
    assert numbers == [(str(k), str(planned)) for k in range(1, planned + 1)]
    screen.truncate(0)
    screen.seek(0)
    setup.set_up(catalogue, [catalogue.line()], console)
    assert screen.getvalue() == f"set up: Kubernetes {catalogue.line().version}, 0 steps\n"


@pytest.mark.parametrize("installed", [True, False])
def test_an_engine_that_does_not_answer_is_provided(
    steps: Steps, catalogue: Catalogue, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    """An installed engine is started; a missing one is installed first."""
    done: list[str] = []
    monkeypatch.setattr(engine, "answers", lambda: False)
    monkeypatch.setattr(engine, "installed", lambda: installed)
    monkeypatch.setattr(engine, "install", lambda *_: done.append("install"))
    monkeypatch.setattr(engine, "ensure", lambda: done.append("ensure"))
    setup._ensure_engine(catalogue, steps)
    assert done == (["ensure"] if installed else ["install", "ensure"])
    assert ("install the container engine" in screen.getvalue()) is not installed


@pytest.mark.parametrize("error", [ClusterError("dockerd does not start"), ImageError("no Go")])
def test_a_set_up_that_stops_names_its_log(
    catalogue: Catalogue,
    console: Console,
    screen: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    cache_root: Path,
    error: Exception,
) -> None:
    """Whatever stops it, the log's path is shown, the error goes on, and the lock is free again."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(setup, "_ensure_engine", fail)
    for _ in range(2):
        with pytest.raises(type(error)):
            setup.set_up(catalogue, [catalogue.line()], console)
    assert f"what is done stays done. Full log: {cache_root}/logs/setup-" in screen.getvalue()


@pytest.mark.parametrize("root", [True, False])
def test_low_inotify_limits_are_raised_or_said(
    steps: Steps, screen: io.StringIO, tools: Path, monkeypatch: pytest.MonkeyPatch, root: bool
) -> None:
    """Root raises exactly the low limits; anybody else is told the command."""
    (tools / "sysctl").write_text('#!/bin/sh\necho "did $*"\n')
    (tools / "sysctl").chmod(0o755)
    monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(setup, "inotify_below", lambda: {"fs.inotify.max_user_instances": 128})
    setup.raise_inotify(steps)
    assert ("did -w fs.inotify.max_user_instances=512\n" in steps.log.read_text()) is root
    assert ("ask root for: sysctl -w fs.inotify.max_user_instances=512" in screen.getvalue()) is not root
