"""What the machine can do to us: one sentence on what is wrong and what to do, a non-zero exit, nothing left behind.

Each trouble is a real one: a user who may nothing, a disk that is full, an engine that is gone. The table of them for
users is docs/when-something-is-wrong.md.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from chaos import cluster as clusters
from chaos import kube, provision
from chaos.cluster import Cluster
from chaos.errors import ClusterError
from images import catalogue
from images.engine import docker
from images.setup import kind_command
from kindstorm import session as sessions
from kindstorm.session import Options, Session

pytestmark = pytest.mark.live

REPOSITORY = Path(__file__).parents[2]
NOBODY = "65534"
CLI = ("-c", "from kindstorm.cli import main; main()")
NOWHERE = "unix:///nowhere/docker.sock"

Ended = subprocess.CompletedProcess[str]


def run(*args: str, timeout_s: float = 120, **environment: str) -> Ended:
    """Run our Python with these arguments in the repository, its output unfolded."""
    env = {**os.environ, "COLUMNS": "1000", "PYTHONPATH": str(REPOSITORY), **environment}
    command = [sys.executable, *args]
    return subprocess.run(
        command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def scenario(folder: Path, *args: str) -> tuple[str, ...]:
    """The arguments of a pytest session with the quickest scenario, its runs kept in this folder."""
    ours = ("-m", "pytest", "scenarios/test_self_healing.py", "-p", "no:cacheprovider")
    return (*ours, "--kindstorm-runs", str(folder / "runs"), *args)


def sentence(ended: Ended) -> str:
    """The one sentence of a command or a session that failed; anything else is no proper end."""
    assert ended.returncode not in (0, 70, -9), ended
    assert "Traceback" not in ended.stdout + ended.stderr, ended
    told = [line for line in ended.stderr.splitlines() if line.startswith("kindstorm: ")]
    told += [line.partition(" - ")[2] for line in ended.stdout.splitlines() if line.startswith("ERROR ")]
    assert len(set(told)) == 1, ended
    return told[0]


# ---- no root and no engine


@pytest.fixture
def as_nobody() -> Iterator[Callable[..., Ended]]:
    """Runs our Python as a user with no rights, who sees this Python and this repository but no one's home."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    place = Path(tempfile.mkdtemp(prefix="kindstorm-nobody-"))
    place.chmod(0o755)
    seen = {"python": sys.base_prefix, "packages": sysconfig.get_path("purelib"), "repository": str(REPOSITORY)}
    for name in (*seen, "home"):
        (place / name).mkdir(mode=0o755)
    os.chown(place / "home", int(NOBODY), int(NOBODY))
    mounts = " && ".join(f"mount --bind '{there}' '{place / name}'" for name, there in seen.items())
    become = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --no-new-privs"
    python = place / "python" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"

    def run_as_nobody(*args: str, **environment: str) -> Ended:
        env = {
            "HOME": str(place / "home"),
            "PATH": f"{Path(shutil.which('docker') or '/usr/bin/docker').parent}:/usr/bin:/bin",
            "PYTHONPATH": f"{place / 'repository'}:{place / 'packages'}",
            "LD_LIBRARY_PATH": str(place / "python" / "lib"),
            "COLUMNS": "1000",
            **environment,
        }
        given = " ".join(f"{name}='{value}'" for name, value in env.items())
        script = f'{mounts} && cd "{place / "repository"}" && exec {become} env -i {given} "{python}" -B "$@"'
        command = ["unshare", "--mount", "sh", "-ec", script, "sh", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    yield run_as_nobody
    for name in seen:
        (place / name).rmdir()  # never what is mounted there: that is mounted for that user only
    shutil.rmtree(place)


NO_ENGINE = {
    "DOCKER_HOST": ({"DOCKER_HOST": NOWHERE}, f"DOCKER_HOST={NOWHERE}", "unset DOCKER_HOST"),
    "no docker": ({"PATH": "/nowhere"}, "engine", "install Docker 26 or later"),
}


@pytest.mark.parametrize("engine", NO_ENGINE)
@pytest.mark.parametrize("command", ["setup", "doctor"])
def test_no_root_and_no_engine(as_nobody: Callable[..., Ended], command: str, engine: str) -> None:
    """Set-up and doctor say that no engine answers and what such a user can do about it."""
    environment, what, remedy = NO_ENGINE[engine]
    told = sentence(as_nobody(*CLI, command, **environment))
    assert what in told
    assert remedy in told


def test_no_root_no_engine_and_a_scenario(as_nobody: Callable[..., Ended]) -> None:
    """A session says the same of its scenario, as an error: it is neither passed nor failed."""
    told = sentence(as_nobody(*scenario(Path("../home")), DOCKER_HOST=NOWHERE))
    assert f"no Docker engine answers at DOCKER_HOST={NOWHERE}" in told


def test_no_root_and_no_home(as_nobody: Callable[..., Ended]) -> None:
    """Without a folder that can be written the cache is named, and the variable that moves it."""
    told = sentence(as_nobody(*CLI, "setup", HOME="/nowhere", DOCKER_HOST=NOWHERE))
    assert "/nowhere/.cache/kindstorm cannot be made" in told
    assert "KINDSTORM_CACHE" in told


# ---- a kubeconfig that leads nowhere, or to somebody else


def kubeconfig(path: Path, server: str) -> Path:
    """A kubeconfig that leads to this server."""
    named = {"clusters": {"server": server}, "contexts": {"cluster": "a", "user": "a"}, "users": {"token": "t"}}
    data = {name: [{"name": "a", name[:-1]: value}] for name, value in named.items()}
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "a", **data}))
    return path


def missing(path: Path) -> Path:
    """There is no such file."""
    return path


def not_yaml(path: Path) -> Path:
    """The file is something else."""
    path.write_text("clusters: [\0")
    return path


def no_kubeconfig(path: Path) -> Path:
    """The file is YAML, but says nothing of clusters."""
    path.write_text("- nginx\n- web\n")
    return path


def nobody_answers(path: Path) -> Path:
    """Its server is not there."""
    return kubeconfig(path, "http://127.0.0.1:9")


KUBECONFIGS = {missing: "cannot be read", not_yaml: "is not a kubeconfig", no_kubeconfig: "is not a kubeconfig"}
KUBECONFIGS[nobody_answers] = "the API server does not answer"


@pytest.mark.parametrize("write", KUBECONFIGS, ids=lambda write: write.__name__)
def test_a_kubeconfig_that_leads_nowhere(write: Callable[[Path], Path], tmp_path: Path) -> None:
    """One sentence says why."""
    with pytest.raises(ClusterError, match=f"cannot be taken up: .*{KUBECONFIGS[write]}.*leave --kubeconfig out"):
        provision.name_in(write(tmp_path / "kubeconfig"))


def test_a_session_with_a_kubeconfig_that_leads_nowhere(tmp_path: Path) -> None:
    """It ends as an error with that sentence, before an engine was asked for anything."""
    told = sentence(run(*scenario(tmp_path, "--kubeconfig", str(tmp_path / "none")), DOCKER_HOST=NOWHERE))
    assert "none cannot be read: No such file or directory" in told


def test_a_kubeconfig_whose_server_accepts_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for without end."""
    monkeypatch.setattr(kube, "REQUEST_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given = kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ClusterError, match=r"cannot be taken up.*the API server does not answer"):
            provision.name_in(given)


@pytest.fixture
def without_mark(cluster: Cluster) -> Iterator[Cluster]:
    """The session's cluster, as if it were somebody else's."""
    change = {"data": {"owner": "somebody"}}
    cluster.kube.patch("ConfigMap", clusters.MARK, change, "kube-system")
    yield cluster
    cluster.kube.patch("ConfigMap", clusters.MARK, {"data": {"owner": clusters.owner()}}, "kube-system")


def test_a_kubeconfig_of_a_cluster_without_our_mark(without_mark: Cluster, tmp_path: Path) -> None:
    """It is refused, and no container, namespace or object of it was touched: its newest change is older."""
    before = docker("ps", "--all", "--format", "{{.ID}} {{.Names}} {{.State}}"), without_mark.read_baseline()
    told = sentence(run(*scenario(tmp_path, "--kubeconfig", str(without_mark.kubeconfig)), DOCKER_HOST=NOWHERE))
    assert "does not carry our mark" in told
    assert "leave --kubeconfig out" in told
    assert (docker("ps", "--all", "--format", "{{.ID}} {{.Names}} {{.State}}"), without_mark.read_baseline()) == before


def test_a_cluster_that_was_handed_over_is_never_removed(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off its baseline it is refused, between experiments and when it is taken up, and stays as it is."""
    monkeypatch.setattr(sessions, "STILL_S", 1)
    monkeypatch.setattr(sessions, "TAKE_UP_S", 1)
    monkeypatch.setattr(Session, "_hold", lambda *_: None)  # the session around this test holds it
    options = Options(None, "fast", 1, tmp_path, rejudge=None, keep=False, kubeconfig=cluster.kubeconfig, node_image="")
    taken, late = Session(options), Session(options)
    assert taken.sound_cluster().name == cluster.name
    nodes = cluster.containers()
    cluster.kube.patch("Node", cluster.workers()[0], {"spec": {"unschedulable": True}})
    try:
        for session in (taken, late):
            with pytest.raises(ClusterError, match=f"{cluster.name} of --kubeconfig is not at its baseline.*as it is"):
                session.sound_cluster()
            session.finish()
        assert cluster.containers() == nodes
        assert cluster.kube.list("Node")
    finally:
        cluster.kube.patch("Node", cluster.workers()[0], {"spec": {"unschedulable": None}})
    assert cluster.settle(60) == []


# ---- clusters of an earlier life


def test_a_dead_cluster_is_cleared_at_the_next_start(cluster: Cluster, tmp_path: Path) -> None:
    """A node that ended with its engine is removed with all we know of it; what runs is left alone."""
    name = f"kindstorm-dead-{uuid.uuid4().hex[:6]}"
    node = f"{name}-control-plane"
    label = f"{clusters.CLUSTER_LABEL}={name}"
    ended = ("--entrypoint", "true", cluster.node_image)
    docker("run", "--network", "none", "--name", node, "--label", label, *ended)
    clusters.folder(name).mkdir()
    assert clusters.node_containers(name)[node]["state"] == "exited"
    removed = provision.sweep(provision.driver(kind_command(catalogue.load()), tmp_path / "kind.log"), keep=True)
    assert name in removed
    assert clusters.node_containers(name) == {}
    assert not clusters.folder(name).exists()
    assert cluster.settle(60) == []
