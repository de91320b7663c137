"""A team that is not us: the wheel in an environment of their own, their manifest, their scenarios, nothing else."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from chaos import cluster as clusters
from chaos import provision
from chaos.kube import Kube
from chaos.waiting import poll

pytestmark = pytest.mark.live

CHECKOUT = Path(__file__).parents[2]

MANIFEST = """
apiVersion: v1
kind: Service
metadata:
  name: echo
spec:
  type: NodePort
  selector: {app: SELECTED}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: echo
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      containers:
      - name: echo
        image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
        args: [netexec, --http-port=8080]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
"""

SCENARIO = '''
"""Our echo service."""

from pathlib import Path

from kindstorm.checkers import availability, recovery
from kindstorm.faults import kill_pod
from kindstorm.profiles import HTTP_READS
from kindstorm.steady import WORKLOADS_READY
from kindstorm.targets import one

HERE = Path(__file__).parent


def test_echo(experiment, stacks):
    """One of two pods dies; the service goes on answering."""
    run = experiment(stack=stacks.load(HERE / "echo.yaml"), workload=HTTP_READS, faults=[kill_pod(one("echo"))])
    run.judge(availability(error_ratio_max=0.1, gap_s_max=2.0), recovery(after_fault_s_max=60))


def test_deaf(experiment, stacks):
    """A Service that selects nobody."""
    stack = stacks.load(HERE / "deaf.yaml")
    run = experiment(stack=stack, workload=HTTP_READS, faults=[], steady=(WORKLOADS_READY,), before_s=4, after_s=4)
    run.judge(availability(error_ratio_max=0.1, gap_s_max=2.0))


def test_never():
    """Comes after what is held."""
    raise NotImplementedError
'''


def wanted(name: str, extras: frozenset[str] = frozenset()) -> dict[str, Distribution]:
    """The distributions that this one says it needs, and those that they need, by name; itself not among them."""
    found: dict[str, Distribution] = {}
    left = [(name, extras)]
    seen = set()
    while left:
        here = left.pop()
        if here in seen:
            continue
        seen.add(here)
        for text in distribution(here[0]).requires or []:
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*here[1], "")):
                found[need.name] = distribution(need.name)
                left.append((need.name, frozenset(need.extras)))
    return found


def lay_out(needed: Distribution, site: Path) -> None:
    """Put an installed distribution into another environment, as pip would, but without fetching it once more."""
    for file in needed.files or []:
        source, place = Path(str(needed.locate_file(file))), site / file
        if not source.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if ".." in file.parts and source.read_bytes()[:2] == b"#!":
            script = source.read_text().partition("\n")[2]
            place.write_text(f"#!{site.parents[2] / 'bin' / 'python'}\n{script}")
            place.chmod(0o755)
        elif not place.exists():
            shutil.copy2(source, place)


class Team:
    """A team's directory and environment; what it runs sees nothing of this checkout."""

    def __init__(self, home: Path, environment: Path) -> None:
        self.home = home
        self.bin = environment / "bin"
        ours = ("PYTHON", "PYTEST", "VIRTUAL_ENV", "COV")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.env |= {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "300"}

    def run(self, *command: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command in the directory."""
        words = [str(self.bin / command[0]), *command[1:]]
        return subprocess.run(
            words, cwd=self.home, env=self.env, timeout=timeout_s, capture_output=True, text=True, check=False
        )

    def last_run(self) -> Path:
        """The newest run's directory."""
        return max(
            (path for path in (self.home / "runs").iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime_ns
        )


def verdicts(run: Path) -> dict[str, Any]:
    """The one experiment of a run's results.json."""
    (experiment,) = json.loads((run / "results.json").read_text())["experiments"]
    return dict(experiment)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel of this checkout and what the wheel says it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("outside")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(CHECKOUT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    made = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    (site,) = made.glob("lib/python*/site-packages")
    for needed in wanted("kindstorm").values():
        lay_out(needed, site)
    there = [*pip, "--python", str(made / "bin" / "python")]
    subprocess.run([*there, "install", "--no-index", str(wheel)], check=True)
    return made


@pytest.fixture
def team(environment: Path, tmp_path: Path) -> Team:
    """Their directory: two manifests, one file of scenarios, no conftest and no configuration of pytest."""
    (tmp_path / "echo.yaml").write_text(MANIFEST.replace("SELECTED", "echo"))
    (tmp_path / "deaf.yaml").write_text(MANIFEST.replace("SELECTED", "nobody"))
    (tmp_path / "test_echo.py").write_text(SCENARIO)
    return Team(tmp_path, environment)


def test_the_environment_sees_nothing_of_the_checkout(team: Team) -> None:
    """All five packages come from the wheel, what it needs is there in versions that fit, and the command runs."""
    shown = "import sys, chaos, images, kindstorm, load; print(*sys.path, chaos.__file__, load.__file__, sep='\\n')"
    looked = team.run("python", "-c", shown)
    assert looked.returncode == 0, looked.stderr
    assert str(CHECKOUT) not in looked.stdout
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(team.bin / "python"), "check"]
    checked = subprocess.run(pip, capture_output=True, text=True, check=False, env=team.env)
    assert checked.returncode == 0, checked.stdout
    doctor = team.run("kindstorm", "doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "Docker" in doctor.stdout
    listed = team.run("kindstorm", "images", "list")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert "kindest/node" in listed.stdout
    assert "missing" not in listed.stdout, "an image built from this checkout's recipes is the wheel's as well"


@pytest.mark.usefixtures("lent")
def test_a_team_gets_its_verdict(team: Team) -> None:
    """Their own stack is VALID on real evidence, with all three reports, on the cluster that was kept."""
    done = team.run("pytest", "test_echo.py::test_echo", "--keep-cluster")
    assert done.returncode == 0, done.stdout + done.stderr
    run = team.last_run()
    assert str(run / "report.html") in done.stdout
    assert re.search(r"^plugins: .*locust", done.stdout, re.M), "Locust's plugin is there, and nobody switched it off"
    result = verdicts(run)
    assert result["outcome"] == "VALID"
    by_name = {verdict["checker"]: verdict for verdict in result["verdicts"]}
    assert set(by_name) == {"availability", "recovery", "quiescence"}
    tally = by_name["availability"]["evidence"]["tallies"]["total"]
    assert tally["ok"] > 100
    assert result["records"]["op"] >= 2 * tally["invoked"]
    assert "echo" in (run / "report.html").read_text()
    junit = ElementTree.parse(run / "junit.xml").getroot()  # noqa: S314 - written by ourselves a moment ago
    (case,) = junit.iter("testcase")
    assert (case.get("name"), case.find("failure"), case.find("error")) == ("test_echo", None, None)


@pytest.fixture
def looked_at() -> Iterator[dict[str, str]]:
    """Held clusters and what they are held for, as the test finds out; made ordinary kept ones again afterwards."""
    found: dict[str, str] = {}
    yield found
    for name, namespace in found.items():
        with clusters.leased(name) as free:
            assert free
            (clusters.folder(name) / provision.HELD).unlink()
            kube = Kube(clusters.folder(name) / "kubeconfig")
            kube.delete("Namespace", namespace)
            gone = f"{namespace} is gone"
            poll(lambda k=kube, n=namespace: k.get("Namespace", n), lambda n: n is None, timeout_s=120, what=gone)


@pytest.mark.usefixtures("lent")
def test_a_team_is_told_what_is_broken_and_may_look_at_it(team: Team, looked_at: dict[str, str]) -> None:
    """A Service that selects nobody is INVALID; the message names all one needs, and the held stack is there to see."""
    done = team.run("pytest", "test_echo.py", "-k", "deaf or never", "--keep-cluster", "--kindstorm-hold")
    held = re.search(r"held: the cluster (\S+); the stack is in the namespace (\S+),", done.stdout)
    assert held is not None, done.stdout + done.stderr
    looked_at[held[1]] = held[2]
    assert done.returncode == 1
    assert "NotImplementedError" not in done.stdout
    run = team.last_run()
    assert verdicts(run)["outcome"] == "INVALID"
    assert re.search(r"INVALID availability: \S+", done.stdout)
    assert f"everything of it: {run / 'test_deaf'}" in done.stdout
    assert held[1] in (run / "report.html").read_text()

    again = re.search(r"judge again: (pytest .*)", done.stdout)
    assert again is not None
    judged = team.run(*shlex.split(again[1]), timeout_s=60)
    assert judged.returncode == 1
    assert re.search(r"INVALID availability: \S+", judged.stdout)

    kubeconfig = re.search(r"kubeconfig: (.+)", done.stdout)
    assert kubeconfig is not None
    assert Path(kubeconfig[1]).is_file()
    ways = re.findall(r"look: +(.+)", done.stdout)
    assert any(way.startswith("docker exec ") for way in ways)
    for way in ways:
        seen = subprocess.run(shlex.split(way), capture_output=True, text=True, check=False, timeout=60)
        assert seen.returncode == 0, seen.stderr
        assert len(set(re.findall(r"echo-\w+-\w{5}\b", seen.stdout))) == 2, "both pods are still there"
    listed = team.run("kindstorm", "clusters")
    assert re.search(rf"{held[1]}.*for looking at {held[2]}", listed.stdout), listed.stdout


@pytest.mark.full
def test_a_plain_pip_install_of_the_wheel(environment: Path, tmp_path: Path) -> None:
    """Everything from the package index, as a user does it: the command runs and pytest knows the fixtures."""
    (wheel,) = environment.parent.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    team = Team(tmp_path, tmp_path / "venv")
    installed = team.run("python", "-m", "pip", "install", "--quiet", str(wheel), timeout_s=600)
    assert installed.returncode == 0, installed.stderr
    assert team.run("kindstorm", "doctor").returncode == 0
    shown = team.run("pytest", "--fixtures")
    assert {"experiment", "stacks"} <= set(re.findall(r"^(\w+) --", shown.stdout, re.M))
