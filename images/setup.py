"""Set-up: whatever is missing is pulled or built, in numbered steps; a second run finds nothing to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from chaos.errors import HarnessError, ImageError
from images import build, cache, engine, node
from images import registry as registries
from images.catalogue import Catalogue, Image, Line, Program
from images.progress import Steps
from images.registry import Registry

LOCK_S = 3600
INOTIFY = {"fs.inotify.max_user_watches": 524288, "fs.inotify.max_user_instances": 512}
"""What several nodes' kubelets and systemds need: kind's documented values."""


@dataclass(frozen=True)
class Task:
    """One thing to do, in the words of its progress line."""

    what: str
    run: Callable[[], object]


def set_up(
    catalogue: Catalogue,
    lines: list[Line],
    console: Console,
    registry: Registry | None = None,
    kind: Path | None = None,
) -> None:
    """Make this machine able to run clusters of these lines; raises ImageError or ClusterError otherwise.

    With a ``registry`` all images come from it and none is built; ``kind`` is an executable to take instead of
    compiling one.
    """
    with cache.lock("setup", LOCK_S, "another set-up is still running after an hour; stop it or wait for it"):
        cache.sweep()
        log = cache.folder("logs") / f"setup-{time.strftime('%Y%m%dT%H%M%S')}.log"
        steps = Steps(console, log)
        try:
            _ensure_engine(catalogue, steps)
            node.sweep()
            raise_inotify(steps)
            if kind is not None:
                _take_kind(catalogue, kind, steps)
            tasks = _plan(catalogue, lines, steps, registry)
            steps.total = steps.done + len(tasks)
            for task in tasks:
                with steps.step(task.what):
                    task.run()
        except (HarnessError, OSError):
            console.print(f"the set-up stopped; what is done stays done. Full log: {log}", markup=False)
            raise
        finally:
            steps.close()
        console.print(
            f"set up: Kubernetes {', '.join(line.version for line in lines)}, {steps.done} steps", markup=False
        )


def _ensure_engine(catalogue: Catalogue, steps: Steps) -> None:
    if engine.answers():
        return
    engine.require_ours()
    if not engine.installed():
        with steps.step("install the container engine"):
            engine.install(catalogue, steps)
    with steps.step("start the container engine"):
        engine.ensure()


def inotify_below() -> dict[str, int]:
    """The inotify limits of this machine that are too low, with their present values."""
    below = {}
    for name, wanted in INOTIFY.items():
        present = int(Path("/proc/sys", *name.split(".")).read_text())
        if present < wanted:
            below[name] = present
    return below


def raise_inotify(steps: Steps) -> None:
    """Raise inotify limits that are too low, where we may."""
    for name in inotify_below():
        if os.geteuid() == 0:
            steps.run(["sysctl", "-w", f"{name}={INOTIFY[name]}"])
        else:
            steps.console.print(f"{name} is low; ask root for: sysctl -w {name}={INOTIFY[name]}", markup=False)


def _plan(catalogue: Catalogue, lines: list[Line], steps: Steps, registry: Registry | None = None) -> list[Task]:
    """What is left to do, each after what it needs; asks the registries for what the engine does not have."""
    needed = catalogue.needed_by(lines)
    if registry is None:
        builds = _pull_or_build(catalogue, needed, steps)
    else:
        lacking = [image for image in needed if build.image_state(catalogue, image) is None]
        registries.pull_all(catalogue, lacking, registry, steps)
        builds = []
    names = dict.fromkeys(name for image in builds for name in image.programs)
    programs = [catalogue.programs[name] for name in ("kind", *names)]
    programs = [program for program in programs if not build.program_folder(program).exists()]
    tasks = _toolchain(catalogue, builds, programs, steps)
    tasks += [_program_task(catalogue, program, steps) for program in programs]
    return tasks + [_image_task(catalogue, image, steps) for image in builds]


def _pull_or_build(catalogue: Catalogue, needed: list[Image], steps: Steps) -> list[Image]:
    """Pull what upstream's registries give; returns what is left to build, each after what it needs."""
    dark: set[str] = set()
    order = [image for image in catalogue.build_order(needed) if build.image_state(catalogue, image) is None]
    # What is wanted itself is pulled first: a pulled node image makes all that a built one contains needless.
    to_build = [image for image in needed if image in order and not _pulled(image, dark, steps)]
    missing = [image for image in catalogue.build_order(to_build) if image in order]
    return [image for image in missing if image in to_build or not _pulled(image, dark, steps)]


def _program_task(catalogue: Catalogue, program: Program, steps: Steps) -> Task:
    def compile_it() -> None:
        try:
            build.build_program(catalogue, program, steps)
        except ImageError as error:
            hint = f"; or bring a kind {program.version}: `kindstorm setup --kind-bin PATH`"
            raise ImageError(f"{error}{hint if program.name == 'kind' else ''}") from error

    return Task(f"compile {program.name} {program.version}", compile_it)


def _image_task(catalogue: Catalogue, image: Image, steps: Steps) -> Task:
    return Task(f"build {image.name}", lambda: build.build_image(catalogue, image, steps))


def _pulled(image: Image, dark: set[str], steps: Steps) -> bool:
    """Try to pull an image; a registry that cannot be reached is not asked again."""
    name, own = image.upstream[0], image.stand_in or "it"
    registry = name.partition("/")[0]
    if image.team and image.recipe:
        return False  # what a registry has under this name need not be theirs
    if image.team:
        return _pulled_for_team(image, steps)
    if registry in dark or any("/kindstorm/" in reference for reference in image.upstream):
        return False
    begin = time.monotonic()
    reason = build.pull(image)
    if reason is None:
        registries.forget(image.upstream)
        steps.say(f"pulled {name}: {time.monotonic() - begin:.1f} s")
    elif registries.UNREACHABLE.search(reason):
        dark.add(registry)
        steps.say(f"{registry} does not answer; its images are built here")
    else:
        steps.say(f"{name} cannot be pulled ({reason}); {own} is built here")
    return reason is None


def _pulled_for_team(image: Image, steps: Steps) -> bool:
    reason = build.pull(image)
    if reason is not None:
        raise ImageError(
            f"{image.team} names the image {image.name}, and it cannot be pulled ({reason}); "
            f"have the engine have it, or give it a recipe to build it from"
        )
    registries.forget(image.upstream)
    steps.say(f"pulled {image.name}")
    return True


def _toolchain(catalogue: Catalogue, builds: list[Image], programs: list[Program], steps: Steps) -> list[Task]:
    tasks = []
    c_needed = any(program.cgo or program.source for program in programs)
    root_needed = any(image.recipe == "debian" for image in builds)
    if (c_needed or root_needed) and packages_missing(catalogue):
        tasks.append(Task("install what builds (Debian packages)", lambda: _install_packages(catalogue, steps)))
    if programs and build.go_command(catalogue) is None:
        tasks.append(Task(f"fetch Go {catalogue.toolchain['go']}", lambda: build.install_go(catalogue, steps)))
    return tasks


def packages_missing(catalogue: Catalogue) -> list[str]:
    """The Debian packages that building needs and this machine lacks; all of them where it is no Debian."""
    wanted = list(catalogue.toolchain["packages"])
    if shutil.which("dpkg-query") is None:
        return wanted
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Package}\n", *wanted]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [name for name in wanted if not re.search(rf"^ii +{re.escape(name)}$", text, re.MULTILINE)]


def _install_packages(catalogue: Catalogue, steps: Steps) -> None:
    missing = packages_missing(catalogue)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ImageError(f"no registry answers, and building needs root and the Debian packages {', '.join(missing)}")
    steps.run(["apt-get", "update"])
    steps.run(["apt-get", "install", "-y", "--no-install-recommends", *missing], env=engine.QUIET)


def _take_kind(catalogue: Catalogue, given: Path, steps: Steps) -> None:
    """Put a kind that somebody brought into the cache; raises ImageError where it is not the catalogue's version."""
    program = catalogue.programs["kind"]
    try:
        done = subprocess.run(
            [str(given.absolute()), "version"], capture_output=True, text=True, timeout=30, check=False
        )
        said = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if said.split()[:2] != ["kind", program.version]:
        raise ImageError(f"{given} is not kind {program.version} ({said or 'it says nothing'}); name one that is")
    with cache.whole(build.program_folder(program)) as partial:
        shutil.copy(given, partial / "kind")
    steps.say(f"kind {program.version} taken from {given}")


def kind_command(catalogue: Catalogue) -> Path:
    """The kind that set-up built; raises ImageError where it is missing."""
    path = build.executable(catalogue.programs["kind"], "kind")
    if path is None:
        raise ImageError("kind is not set up; run `kindstorm setup`")
    return path


def require(catalogue: Catalogue, line: Line, kind: Path | None = None) -> dict[str, str]:
    """The state of every image the line needs; raises ImageError naming what `kindstorm setup` has yet to provide.

    Where the user named a ``kind`` none needs to be set up.
    """
    if kind is None:
        kind_command(catalogue)
    return {image.name: state for image, state in build.ready(catalogue, [line])}
