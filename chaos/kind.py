"""kind itself: pytest-kind's cluster driven by our kind, and the configuration it is given."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pytest_kind import KindCluster  # noqa: TID251 - this is the one place

from chaos import seal
from chaos.errors import ClusterError
from images import engine
from images.catalogue import Line

SHAPES = Path(__file__).parent.parent / "manifests" / "kind"
ENTRY = "kindstorm.dev/entry"
NODE_PORTS = (30000, 30010, 30080, 30081, 30082, 30083)
PROBE_PORT = 30090
"""The NodePorts that lead from 127.0.0.1 into a cluster: the documented ones, a pool, and the probe's own."""

FAST_CLOCKS = {
    "apiServer": {"default-not-ready-toleration-seconds": "5", "default-unreachable-toleration-seconds": "5"},
    "controllerManager": {"node-monitor-grace-period": "12s", "node-monitor-period": "2s"},
}
"""The `fast` profile; `stock` leaves Kubernetes' own (300 s, 300 s, 50 s, 5 s) alone."""


_TAKEN = re.compile(r"address already in use|port is already allocated", re.I)
"""How Docker says that a port of the host is somebody else's."""


def config(line: Line, clocks: str, shape: str, ports: dict[int, int], mounts: list[dict[str, Any]]) -> dict[str, Any]:
    """The shape's configuration with ports, mounts for every node, clocks and what the host's cgroups ask for."""
    path = SHAPES / f"{shape}.yaml"
    filled: dict[str, Any] = yaml.safe_load(path.read_text())
    entries = [n for n in filled["nodes"] if (n.get("labels") or {}).get(ENTRY)]
    if len(entries) != 1:
        raise ClusterError(f"{path} must have exactly one node labelled {ENTRY}")
    entries[0]["extraPortMappings"] = [
        {"containerPort": inside, "hostPort": outside, "listenAddress": "127.0.0.1"}
        for inside, outside in ports.items()
    ]
    for node in filled["nodes"]:
        node["extraMounts"] = mounts
    kubelet: dict[str, Any] = {"kind": "KubeletConfiguration"}
    if engine.info().get("CgroupVersion") == "1":
        kubelet["failCgroupV1"] = False
    if clocks == "fast":
        kubelet["nodeStatusUpdateFrequency"] = "2s"
        operations = [
            {"op": "add", "path": f"/{part}/extraArgs/-", "value": {"name": name, "value": value}}
            for part, arguments in FAST_CLOCKS.items()
            for name, value in arguments.items()
        ]
        patch = {"group": "kubeadm.k8s.io", "version": line.config_api, "kind": "ClusterConfiguration"}
        filled["kubeadmConfigPatchesJSON6902"] = [patch | {"patch": json.dumps(operations)}]
    elif clocks != "stock":
        raise ClusterError(f"there is no clock profile {clocks}; choose fast or stock")
    filled["kubeadmConfigPatches"] = [yaml.safe_dump(kubelet)]
    return filled


def free_ports() -> dict[int, int]:
    """A port of 127.0.0.1 for each NodePort, all different and free a moment ago."""
    with contextlib.ExitStack() as held:
        ports = {}
        for node_port in (*NODE_PORTS, PROBE_PORT):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports[node_port] = int(probe.getsockname()[1])
        return ports


class PortTaken(ClusterError):
    """A port that was free a moment ago was another program's when a node wanted it."""


@dataclass(frozen=True)
class Kind:
    """Makes and removes clusters. ``log`` takes all that is said, cleaned by ``redact``.

    In ``home`` pytest-kind may leave a folder.
    """

    command: Path
    log: Path
    home: Path
    redact: Callable[[str], str] = str

    def create(self, name: str, image: str, configuration: Path, kubeconfig: Path) -> None:
        """Make a cluster; raises ClusterError with kind's own last error."""
        with self._speaking(f"could not make the cluster {name}"):
            self._cluster(name, image, kubeconfig).create(configuration)

    def delete(self, name: str, kubeconfig: Path) -> None:
        """Remove a cluster, also a half-made one; raises ClusterError with kind's own last error."""
        with self._speaking(f"could not remove the cluster {name}"):
            self._cluster(name, None, kubeconfig).delete()

    def export_logs(self, name: str, folder: Path, timeout_s: float) -> None:
        """Have kind collect its nodes' logs in a folder; raises ClusterError where it cannot, or not in time."""
        command = [str(self.command), "export", "logs", f"--name={name}", str(folder)]
        with _environment():
            environment = dict(os.environ)
        try:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(f"`kind export logs` did not end within {timeout_s:.0f} s") from None
        except OSError as error:
            raise ClusterError(f"`kind export logs` cannot be run: {error}") from error
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
            raise ClusterError(f"`kind export logs` failed: {said[-1][:200]}")

    def _cluster(self, name: str, image: str | None, kubeconfig: Path) -> KindCluster:
        with contextlib.chdir(self.home):
            return KindCluster(name, kubeconfig, image=image, kind_path=self.command, kubectl_path=self.command)

    @contextlib.contextmanager
    def _speaking(self, failure: str) -> Iterator[None]:
        begin = self.log.stat().st_size if self.log.exists() else 0
        try:
            with _output_to(self.log, self.redact), _environment():
                yield
        except (subprocess.CalledProcessError, OSError) as error:
            with self.log.open("rb") as log:
                log.seek(begin)
                text = log.read().decode(errors="replace")
            if _TAKEN.search(text):
                raise PortTaken(f"kind {failure}: a port was taken meanwhile; all it said: {self.log}") from error
            said = [line for line in text.splitlines() if line.startswith("ERROR")]
            raise ClusterError(f"kind {failure}: {said[-1] if said else error}; all it said: {self.log}") from error


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Our network, and none of the machine's proxies: kind would hand them to the nodes, which need no way out."""
    saved = dict(os.environ)
    for variable in list(os.environ):
        if variable.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
            del os.environ[variable]
    os.environ["KIND_EXPERIMENTAL_DOCKER_NETWORK"] = seal.NETWORK
    os.environ["KIND_EXPERIMENTAL_PROVIDER"] = "docker"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


@contextlib.contextmanager
def _output_to(log: Path, redact: Callable[[str], str]) -> Iterator[None]:
    """Send what child processes write to standard output and error into a file, by way of one that nobody else sees."""
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as file:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
        finally:
            for target, source in ((1, saved[0]), (2, saved[1])):
                os.dup2(source, target)
                os.close(source)
            file.seek(0)
            with log.open("a", encoding="utf-8") as kept:
                kept.write(redact(file.read().decode(errors="replace")))
