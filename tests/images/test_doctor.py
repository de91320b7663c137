"""Each need that is missing is reported with its remedy, and blocks only where set-up cannot provide it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from chaos.errors import ClusterError
from images import build, cache, doctor, engine, registry, setup
from images.catalogue import Catalogue, Image
from images.doctor import Finding
from images.registry import Registry

GIB = 2**30


class Machine:
    """A machine that has everything; a test takes something away."""

    def __init__(self) -> None:
        self.system = "Linux"
        self.processor = "x86_64"
        self.user = 0
        self.answers = True
        self.installed = True
        self.can_install = True
        self.info: dict[str, Any] = {"ServerVersion": "26.1.5", "CgroupVersion": "2", "DockerRootDir": "/"}
        self.privileged: str | None = None
        self.states: dict[str, str | None] = {}
        self.kind = True
        self.go: list[str] | None = ["/usr/bin/go"]
        self.pip = True
        self.apt = True
        self.packages: list[str] = []
        self.inotify: dict[str, int] = {}
        self.memory_kib = 8 * 2**20
        self.disk_gib: dict[str, float] = {}
        self.runs: list[tuple[str, ...]] = []

    def image_state(self, _: Catalogue, image: Image) -> str | None:
        """What the engine has of an image."""
        return self.states.get(image.name, "built")

    def inspect_image(self, reference: str) -> dict[str, Any] | None:
        """Only built images are there."""
        gone = {
            name.removeprefix("docker.io/").removeprefix("library/") for name, s in self.states.items() if s is None
        }
        return None if reference in gone else {"Id": "sha256:1"}

    def docker(self, *args: str) -> str:
        """The one command that the doctor runs."""
        self.runs.append(args)
        if self.privileged is not None:
            raise ClusterError(self.privileged)
        return ""

    def disk_usage(self, path: Path) -> SimpleNamespace:
        """How much is free."""
        return SimpleNamespace(free=self.disk_gib.get(str(path), 100.0) * GIB)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine that the doctor sees, and nothing of the real one."""
    made = Machine()
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(doctor, "MEMINFO", meminfo)
    monkeypatch.setattr(doctor, "_memory", _with_meminfo(made, meminfo, doctor._memory))
    monkeypatch.setattr("platform.system", lambda: made.system)
    monkeypatch.setattr("platform.machine", lambda: made.processor)
    monkeypatch.setattr("os.geteuid", lambda: made.user)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: made.pip or None)
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/usr/bin/{name}" if made.apt else None)
    monkeypatch.setattr("shutil.disk_usage", made.disk_usage)
    monkeypatch.setattr(engine, "answers", lambda: made.answers)
    monkeypatch.setattr(engine, "installed", lambda: made.installed)
    monkeypatch.setattr(engine, "can_install", lambda: made.can_install)
    monkeypatch.setattr(engine, "info", lambda: made.info)
    monkeypatch.setattr(engine, "docker", made.docker)
    monkeypatch.setattr(engine, "inspect_image", made.inspect_image)
    monkeypatch.setattr(build, "image_state", made.image_state)
    monkeypatch.setattr(build, "executable", lambda *_: Path("/kind") if made.kind else None)
    monkeypatch.setattr(build, "go_command", lambda _: made.go)
    monkeypatch.setattr(setup, "packages_missing", lambda _: made.packages)
    monkeypatch.setattr(setup, "inotify_below", lambda: made.inotify)
    return made


def _with_meminfo(machine: Machine, file: Path, memory: Callable[[], Finding]) -> Callable[[], Finding]:
    def read() -> Finding:
        file.write_text(f"MemTotal:       99999999 kB\nMemFree:  1 kB\nMemAvailable:  {machine.memory_kib} kB\n")
        return memory()

    return read


def examined(catalogue: Catalogue) -> dict[str, Finding]:
    """The findings for the default line, by need."""
    findings = doctor.examine(catalogue, [catalogue.line()])
    assert len({finding.need for finding in findings}) == len(findings)
    return {finding.need: finding for finding in findings}


def unmet(catalogue: Catalogue) -> dict[str, Finding]:
    """The findings that are not all right."""
    return {need: finding for need, finding in examined(catalogue).items() if not finding.ok}


@pytest.mark.usefixtures("machine")
def test_a_machine_that_has_everything(catalogue: Catalogue) -> None:
    """Every need is met, nothing is to be done, and each need has its line."""
    findings = examined(catalogue)
    assert all(finding.ok and not finding.blocking for finding in findings.values())
    assert {finding.remedy for finding in findings.values()} == {doctor.NOTHING}
    images = [need for need in findings if "image " in need]
    assert len(images) == len(catalogue.needed(catalogue.line()))
    assert list(findings)[:5] == ["platform", "container engine", "privileged containers", "cgroups", "kind"]
    assert list(findings)[-5:] == ["building tools", "inotify limits", "memory", "disk", "ports"]
    assert findings["container engine"].found == "Docker 26.1.5"
    assert doctor.advice(list(findings.values())) is None


@pytest.mark.parametrize(("system", "processor"), [("Darwin", "x86_64"), ("Linux", "aarch64")])
def test_another_platform_is_not_supported(machine: Machine, catalogue: Catalogue, system: str, processor: str) -> None:
    """It is said, it blocks, and nothing else is looked at, which may not even exist there."""
    machine.system, machine.processor = system, processor
    findings = examined(catalogue)
    assert list(findings) == ["platform"]
    assert findings["platform"].blocking
    assert "not supported" in findings["platform"].remedy
    assert f"{system} {processor}" in findings["platform"].found


@pytest.mark.parametrize(
    ("installed", "user", "can_install", "remedy", "blocking"),
    [
        (True, 0, True, "setup starts it", False),
        (True, 1000, False, "start Docker, or add yourself to the docker group, or run as root", True),
        (False, 0, True, "setup installs docker.io of Debian trixie", False),
        (False, 0, False, "install Docker 26 or later and start it", True),
    ],
)
def test_an_engine_that_does_not_answer(
    machine: Machine,
    catalogue: Catalogue,
    installed: bool,
    user: int,
    can_install: bool,
    remedy: str,
    blocking: bool,
) -> None:
    """Set-up starts or installs what it can; otherwise a person is told. Images cannot be seen meanwhile."""
    machine.answers, machine.installed, machine.user, machine.can_install = False, installed, user, can_install
    machine.states = {image.name: "built" for image in catalogue.images}
    findings = examined(catalogue)
    assert findings["container engine"].remedy == remedy
    assert findings["container engine"].blocking is blocking
    assert not findings["container engine"].ok
    assert "privileged containers" not in findings
    assert machine.runs == []
    images = [finding for need, finding in findings.items() if "image " in need]
    assert {finding.found for finding in images} == {"unknown while no engine answers"}


def test_privileged_containers_are_really_run(machine: Machine, catalogue: Catalogue) -> None:
    """One is run, of an image that is there, without network and never pulled."""
    examined(catalogue)
    assert len(machine.runs) == 1
    words = list(machine.runs[0])
    assert words[0] == "run"
    assert {"--rm", "--privileged"} <= set(words)
    assert words[words.index("--network") + 1] == "none"
    assert words[words.index("--pull") + 1] == "never"
    assert words[-1] == catalogue.line().node.removeprefix("docker.io/")


def test_an_engine_that_cannot_run_privileged_containers(machine: Machine, catalogue: Catalogue) -> None:
    """It blocks, with the engine's own reason."""
    machine.privileged = "`docker run` failed: unable to apply caps"
    finding = unmet(catalogue)["privileged containers"]
    assert finding.blocking
    assert "unable to apply caps" in finding.found
    assert "Docker 26" in finding.remedy


def test_privileged_containers_are_not_claimed_untried(machine: Machine, catalogue: Catalogue) -> None:
    """Without any image nothing can be tried: not met, but set-up brings one."""
    machine.states = {image.name: None for image in catalogue.images}
    finding = unmet(catalogue)["privileged containers"]
    assert machine.runs == []
    assert not finding.blocking
    assert finding.remedy == "look again after setup"


@pytest.mark.parametrize("reported", ["1", None])
def test_the_older_cgroups_say_what_follows(
    machine: Machine, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: str | None
) -> None:
    """Version 1 is met, with what it means for Kubernetes; without an engine the machine is asked itself."""
    monkeypatch.setattr(doctor, "CGROUP_V2", tmp_path / "cgroup.controllers")
    machine.info["CgroupVersion"] = reported
    machine.answers = reported is not None
    finding = examined(catalogue)["cgroups"]
    assert (finding.found, finding.ok) == ("v1", True)
    assert "failCgroupV1: false" in finding.remedy
    (tmp_path / "cgroup.controllers").touch()
    machine.answers = False
    assert examined(catalogue)["cgroups"].found == "v2"


def test_a_missing_kind_is_compiled(machine: Machine, catalogue: Catalogue) -> None:
    """Set-up provides it, with the tools that takes."""
    machine.kind, machine.go = False, None
    findings = unmet(catalogue)
    assert findings["kind"].remedy == "setup compiles v0.33.0"
    assert findings["Go"].remedy == "setup fetches Go 1.26 with pip"
    assert set(findings) == {"kind", "Go"}
    assert not any(finding.blocking for finding in findings.values())


def test_missing_images_are_pulled_or_built(machine: Machine, catalogue: Catalogue) -> None:
    """The node image of each line and each workload image is named, with the registry that is asked first."""
    machine.states = {image.name: None for image in catalogue.needed(catalogue.line())}
    findings = unmet(catalogue)
    node = findings[f"node image {catalogue.line().node.removeprefix('docker.io/')}"]
    assert node.remedy == "setup pulls it, or builds it where docker.io does not answer"
    probe = findings[f"image {catalogue.probe}"]
    assert probe.remedy == "setup pulls it, or builds it where registry.k8s.io does not answer"
    assert not any(finding.blocking for finding in findings.values())


SITE = Registry("mirror.site:5000")


@pytest.mark.parametrize(
    ("answer", "lacking", "ok", "remedy"),
    [
        ((True, "answers"), True, True, doctor.NOTHING),
        ((True, "answers without TLS"), True, True, "the engine takes that only where its insecure-registries name it"),
        ((False, "does not answer"), True, False, "start it, or name no registry"),
        ((False, "does not answer"), False, False, "not needed now: all images are here"),
    ],
)
def test_a_named_registry_is_asked(
    machine: Machine,
    catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[bool, str],
    lacking: bool,
    ok: bool,
    remedy: str,
) -> None:
    """It blocks only where images are lacking, which nobody else may give then."""
    machine.states = {catalogue.probe: None} if lacking else {}
    monkeypatch.setattr(registry, "ask", lambda there: answer if there is SITE else pytest.fail("another was asked"))
    findings = {finding.need: finding for finding in doctor.examine(catalogue, [catalogue.line()], SITE)}
    assert findings["registry mirror.site:5000"] == Finding(
        "registry mirror.site:5000", answer[1], ok, remedy, lacking and not ok
    )
    assert all(finding.ok for need, finding in findings.items() if "image " not in need and "registry" not in need)


def test_with_a_named_registry_nothing_is_to_be_built(
    machine: Machine, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images come from there or not at all, so neither packages nor the room to build are wanted; kind is compiled."""
    monkeypatch.setattr(registry, "ask", lambda _: (True, "answers without TLS"))
    machine.states = {image.name: None for image in catalogue.needed(catalogue.line())}
    machine.kind, machine.go, machine.packages, machine.disk_gib = False, None, ["gcc"], {"/": 10.0}
    findings = {each.need: each for each in doctor.examine(catalogue, [catalogue.line()], Registry("127.0.0.1:5000"))}
    assert findings["registry 127.0.0.1:5000"].remedy == doctor.NOTHING
    assert findings[f"image {catalogue.probe}"].remedy == "setup pulls it from 127.0.0.1:5000 and builds nothing"
    assert findings["image mongo:7.0"].remedy == (
        "setup pulls it, or FerretDB 1.24.2 (SQLite) for mongod, from 127.0.0.1:5000 and builds nothing"
    )
    assert findings["Go"].remedy == "setup fetches Go 1.26 with pip"
    assert "building tools" not in findings
    assert findings["disk"].ok
    assert not any(finding.blocking for finding in findings.values())


@pytest.mark.usefixtures("machine")
def test_every_line_has_its_node_image(catalogue: Catalogue) -> None:
    """Two lines: two node images, everything else once."""
    findings = doctor.examine(catalogue, list(catalogue.lines.values()))
    needs = [finding.need for finding in findings]
    assert len(needs) == len(set(needs))
    assert sum(need.startswith("node image ") for need in needs) == len(catalogue.lines)


def test_a_stand_in_says_what_for(machine: Machine, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The origin of an image that is there is shown; a stand-in is never shown as the real thing."""
    real = catalogue.image("nginx:1.22.1")
    entry = Image(real.references, "nginx", stand_in="a larger nginx", workload=True)
    monkeypatch.setattr(catalogue, "needed", lambda _: [entry])
    machine.states = {entry.name: "stand-in"}
    assert examined(catalogue)["image nginx:1.22.1"].found == "stand-in: a larger nginx"
    machine.states = {entry.name: "pulled"}
    assert examined(catalogue)["image nginx:1.22.1"].found == "pulled"


@pytest.mark.parametrize(
    ("user", "apt", "remedy"),
    [
        (0, True, "setup installs them where it builds"),
        (0, False, "images can only be pulled here: building them needs Debian"),
        (1000, True, "images can only be pulled here: building them needs root"),
    ],
)
def test_missing_building_tools(machine: Machine, catalogue: Catalogue, user: int, apt: bool, remedy: str) -> None:
    """They matter only where something must be built; a registry may still make them needless, so they do not block."""
    machine.packages, machine.user, machine.apt = ["debootstrap", "gcc"], user, apt
    assert unmet(catalogue) == {}
    machine.states = {catalogue.line().node: None}
    finding = unmet(catalogue)["building tools"]
    assert finding.remedy.startswith(remedy)
    assert not finding.blocking
    assert "Go" in examined(catalogue)


def test_without_go_and_pip_a_person_must_help(machine: Machine, catalogue: Catalogue) -> None:
    """Set-up fetches Go with pip; where both are missing kind cannot be had."""
    machine.kind, machine.go, machine.pip = False, None, False
    finding = unmet(catalogue)["Go"]
    assert finding.blocking
    assert finding.remedy.startswith("install Go 1.26 or later, or pip")


@pytest.mark.parametrize("user", [0, 1000])
def test_low_inotify_limits(machine: Machine, catalogue: Catalogue, user: int) -> None:
    """Root's set-up raises them; anybody else is given the command for root."""
    machine.inotify, machine.user = {"fs.inotify.max_user_instances": 128}, user
    finding = unmet(catalogue)["inotify limits"]
    assert finding.found == "fs.inotify.max_user_instances 128"
    wanted = "setup raises them" if user == 0 else "ask root for: sysctl -w fs.inotify.max_user_instances=512"
    assert (finding.remedy, finding.blocking) == (wanted, user != 0)


def test_too_little_memory(machine: Machine, catalogue: Catalogue) -> None:
    """What is available counts, not what is free; the limit itself is enough."""
    machine.memory_kib = 4 * 2**20
    assert examined(catalogue)["memory"].ok
    machine.memory_kib -= 1
    finding = unmet(catalogue)["memory"]
    assert finding.blocking
    assert finding.found == "4.0 GiB available, 4 needed"


def test_building_needs_more_room(machine: Machine, catalogue: Catalogue) -> None:
    """10 GiB are enough to run and too little to build; where both live on one file system it is said once."""
    machine.disk_gib = {"/": 10.0}
    machine.info["DockerRootDir"] = "/"
    assert examined(catalogue)["disk"].found == "10.0 GiB free in /, 5 needed"
    machine.kind = False
    finding = unmet(catalogue)["disk"]
    assert finding.blocking
    assert finding.found == "10.0 GiB free in /, 15 needed"
    assert "the engine's data" in finding.remedy


def test_two_file_systems_are_two_findings(
    machine: Machine, catalogue: Catalogue, cache_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's root and the cache are both looked at; a folder still to be made counts as its parent."""
    monkeypatch.setattr(doctor, "_device", lambda path: str(path))
    machine.info["DockerRootDir"] = "/no-such-folder/docker"
    machine.disk_gib = {"/": 50.0, str(cache_root): 1.0}
    findings = [f for f in doctor.examine(catalogue, [catalogue.line()]) if f.need == "disk"]
    assert [(f.found, f.blocking) for f in findings] == [
        ("50.0 GiB free in /, 5 needed", False),
        (f"1.0 GiB free in {cache_root}, 5 needed", True),
    ]


@pytest.mark.usefixtures("machine")
def test_a_cache_that_cannot_be_made(catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It blocks like any other need instead of ending the examination."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "cache"))
    finding = unmet(catalogue)["cache"]
    assert finding.blocking
    assert cache.VARIABLE in finding.remedy
    assert {"container engine", "memory", "ports"} <= set(examined(catalogue))


@pytest.mark.usefixtures("machine")
def test_without_loopback_there_are_no_ports(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters publish their ports on 127.0.0.1."""

    class Socket:
        def __enter__(self) -> Socket:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def bind(self, _: object) -> None:
            raise OSError(99, "Cannot assign requested address")

    assert examined(catalogue)["ports"].ok
    monkeypatch.setattr("socket.socket", Socket)
    finding = unmet(catalogue)["ports"]
    assert finding.blocking
    assert "Cannot assign requested address" in finding.found


def test_only_what_blocks_is_advised() -> None:
    """The sentence names every blocking need with its remedy, and no other; without one there is no sentence."""
    fine = Finding("memory", "8 GiB", ok=True)
    provided = Finding("kind", "missing", False, "setup compiles it")
    blocking = Finding("platform", "Plan 9", False, "use Linux", True)
    also = Finding("ports", "none", False, "bring lo up", True)
    assert doctor.advice([]) is None
    assert doctor.advice([fine, provided]) is None
    assert doctor.advice([fine, provided, blocking, also]) == (
        "clusters cannot run here yet; platform: use Linux; ports: bring lo up"
    )


def test_the_table_shows_every_finding() -> None:
    """Marks tell met, provided and blocking apart without colour, and brackets are shown as they are."""
    screen = io.StringIO()
    findings = [
        Finding("memory", "8 GiB", ok=True),
        Finding("kind", "missing [red]", False, "setup compiles it"),
        Finding("platform", "Plan 9", False, "use Linux", True),
    ]
    Console(file=screen, width=120).print(doctor.render(findings))
    lines = [line.split() for line in screen.getvalue().splitlines() if line.strip()]
    assert lines[-3:] == [
        ["ok", "memory", "8", "GiB", "nothing", "to", "do"],
        ["-", "kind", "missing", "[red]", "setup", "compiles", "it"],
        ["no", "platform", "Plan", "9", "use", "Linux"],
    ]
