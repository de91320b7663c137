"""Real kind clusters that are ours: made, marked, sealed, checked against their baseline, removed.

The ownership mark is threefold: a label of every node's image (so of every node), a file in every node, and a
ConfigMap in the cluster. A cluster without it is never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from pytest_kind import KindCluster  # noqa: TID251 - this is the one place

from chaos import seal
from chaos.errors import ClusterError, WaitTimeout
from chaos.history import Json
from chaos.kube import Kube
from chaos.waiting import poll
from images import cache, engine, node
from images.catalogue import Catalogue, Line, short_reference
from images.engine import docker
from images.setup import kind_command

SHAPES = Path(__file__).parent.parent / "manifests" / "kind"
NODE_PORTS = (30000, 30010, 30080, 30081, 30082, 30083)
PROBE_PORT = 30090
"""The NodePorts that lead from 127.0.0.1 into a cluster: the documented ones, a pool, and the probe's own."""

CONFIG_LABEL = "dev.kindstorm.config"
MARK = "kindstorm-mark"
READY_S = 180
ENTRY = "kindstorm.dev/entry"

FAST_CLOCKS = {
    "apiServer": {"default-not-ready-toleration-seconds": "5", "default-unreachable-toleration-seconds": "5"},
    "controllerManager": {"node-monitor-grace-period": "12s", "node-monitor-period": "2s"},
}
"""The `fast` profile; `stock` leaves Kubernetes' own (300 s, 300 s, 50 s, 5 s) alone."""


@dataclass(frozen=True)
class ClusterSpec:
    """What a cluster is to be. Two equal specs may share a kept cluster."""

    line: Line
    clocks: str = "fast"
    shape: str = "default"
    probe_image: str = ""
    node_image: str = ""

    @property
    def digest(self) -> str:
        """A digest of the configuration; the node image counts by its id."""
        image = engine.inspect_image(short_reference(self.line.node)) or {}
        text = repr((self, image.get("Id"), (SHAPES / f"{self.shape}.yaml").read_text()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def owner() -> str:
    """Who we are on this engine: the mark's value, made once for each cache."""
    path = cache.root() / "owner"
    with cache.lock("owner", 10, f"the lock of {path} is not released; remove it if nobody holds it"):
        if not path.exists():
            path.write_text(uuid.uuid4().hex)
        return path.read_text().strip()


@dataclass
class Cluster:
    """A running cluster of ours."""

    name: str
    spec: ClusterSpec
    kubeconfig: Path
    ports: dict[int, int]
    kube: Kube
    corefile: str = ""
    baseline: dict[str, Json] = field(default_factory=dict)
    loaded: dict[str, list[str]] = field(default_factory=dict)

    @property
    def node_image(self) -> str:
        """The marked image its nodes run."""
        return f"kindstorm/node:{self.spec.digest}"

    def containers(self) -> list[str]:
        """The names of its node containers, running or not."""
        return sorted(node_containers(self.name))

    def address(self, node_port: int) -> str:
        """Where a NodePort is reached from this machine, as http://127.0.0.1:<port>."""
        if node_port not in self.ports:
            raise ClusterError(
                f"NodePort {node_port} is not mapped; use one of {', '.join(map(str, sorted(self.ports)))}"
            )
        return f"http://127.0.0.1:{self.ports[node_port]}"

    def entry(self) -> str:
        """The container of the entry worker."""
        names = [node.name for node in self.kube.list("Node", labels=f"{ENTRY}=true")]
        if len(names) != 1:
            raise ClusterError(f"the cluster {self.name} has {len(names)} entry workers, it must have one")
        return names[0]

    def provide(self, references: Iterable[str], nodes: Iterable[str]) -> None:
        """Import images into nodes that do not have them yet: nodes never pull."""
        for container in nodes:
            self.loaded.setdefault(container, [])
        for reference in references:
            lacking = [container for container in nodes if reference not in self.loaded[container]]
            node.import_everywhere(lacking, [short_reference(reference)])
            for container in lacking:
                self.loaded[container].append(reference)

    def workers(self) -> list[str]:
        """The containers that run stacks: neither control planes nor the entry."""
        entry = self.entry()
        return [c for c in self.containers() if c != entry and "control-plane" not in c]

    def require_mark(self) -> None:
        """Raise ClusterError unless all three parts of the ownership mark are there."""
        mark = self.kube.raw("ConfigMap", MARK, "kube-system")
        if mark is None or mark.get("data", {}).get("owner") != owner():
            raise ClusterError(
                f"the cluster {self.name} does not carry our mark; kindstorm touches only clusters it made"
            )
        containers = self.containers()
        if not containers:
            raise ClusterError(f"no node of {self.name} carries our label; kindstorm touches only clusters it made")
        for container in containers:
            if docker("exec", container, "cat", f"/{MARK}") != owner():
                raise ClusterError(
                    f"the node {container} does not carry our mark; kindstorm touches only clusters it made"
                )

    def read_baseline(self) -> dict[str, Json]:
        """What must be the same before and after every scenario (shape: the fact ``baseline`` in chaos.history)."""
        nodes = {node.name: node.state for node in self.kube.list("Node")}
        namespaces = sorted(item.name for item in self.kube.list("Namespace"))
        volumes = sorted(item.name for item in self.kube.list("PersistentVolume"))
        pods = [p for space in ("kube-system", "local-path-storage") for p in self.kube.list("Pod", space)]
        system = {
            f"{p.namespace}/{_workload_of(p.name, p.state)}": bool(p.state["ready"]) for p in sorted(pods, key=_by_name)
        }
        escaped = seal.escaped_packets(self.node_image)
        return {
            "nodes": nodes,
            "namespaces": namespaces,
            "system_pods": system,
            "volumes": volumes,
            "escaped_packets": escaped,
        }

    def deviations(self, now: dict[str, Json] | None = None) -> list[str]:
        """How the cluster differs from its baseline, a sentence each; empty when it does not."""
        now = now or self.read_baseline()
        found = []
        for what in ("nodes", "system_pods"):
            for name in sorted(self.baseline[what].keys() | now[what].keys()):
                before, after = self.baseline[what].get(name), now[what].get(name)
                if before != after:
                    found.append(f"{what.rstrip('s').replace('_', ' ')} {name}: {after}, was {before}")
        for what in ("namespaces", "volumes"):
            odd = sorted(set(now[what]) ^ set(self.baseline[what]))
            found += [f"{what.rstrip('s')} {name}: {'left over' if name in now[what] else 'gone'}" for name in odd]
        if now["escaped_packets"] > self.baseline["escaped_packets"]:
            found.append(f"{now['escaped_packets'] - self.baseline['escaped_packets']} packets left the machine")
        return found

    def settle(self, timeout_s: float = 60) -> list[str]:
        """Wait until the cluster is at its baseline; returns what still differs at the end."""
        with contextlib.suppress(WaitTimeout):
            poll(self.deviations, lambda found: not found, timeout_s=timeout_s, what=f"{self.name} at its baseline")
        return self.deviations()

    def facts(self) -> dict[str, Json]:
        """What a history keeps of the cluster."""
        return {
            "name": self.name,
            "kubernetes": self.spec.line.version,
            "clocks": self.spec.clocks,
            "nodes": sorted(self.baseline.get("nodes", {})),
            "settings": FAST_CLOCKS if self.spec.clocks == "fast" else {},
            "corefile": self.corefile,
        }


def _by_name(pod: Any) -> str:
    return str(pod.name)


def _workload_of(name: str, state: dict[str, Json]) -> str:
    """A pod's name without what changes when it is replaced; its node tells the pods of one DaemonSet apart."""
    pod_owner = state.get("owner") or {}
    if pod_owner.get("kind") == "DaemonSet":
        return f"{pod_owner['name']}@{state.get('node')}"
    return str(pod_owner["name"]) if pod_owner.get("kind") == "ReplicaSet" else name


def node_containers(cluster: str | None = None) -> dict[str, dict[str, str]]:
    """Node containers that carry our label, by name: {cluster, state, config}."""
    label = f"label={seal.OWNER_LABEL}={owner()}"
    out = docker("ps", "--all", "--filter", label, "--format", "{{json .}}")
    found = {}
    for line in out.splitlines():
        entry = json.loads(line)
        labels = dict(part.split("=", 1) for part in entry["Labels"].split(",") if "=" in part)
        name = labels.get("io.x-k8s.kind.cluster")
        if name and cluster in (None, name):
            found[entry["Names"]] = {"cluster": name, "state": entry["State"], "config": labels.get(CONFIG_LABEL, "")}
    return found


def folder(name: str) -> Path:
    """Where what we know of a cluster is kept."""
    return cache.folder("clusters") / name


@contextlib.contextmanager
def leased(name: str) -> Iterator[bool]:
    """Hold a cluster's lease for the body; yields False where somebody else holds it."""
    lock = FileLock(cache.folder("clusters") / f"{name}.lease")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def create(catalogue: Catalogue, spec: ClusterSpec, log: Path) -> Cluster:
    """Make a cluster, mark it, seal it, give it its images and record its baseline; on failure nothing stays."""
    engine.ensure()
    name = f"kindstorm-{uuid.uuid4().hex[:8]}"
    seal.make_network(owner())
    image = _marked_image(spec)
    seal.seal_host(image)
    home = folder(name)
    home.mkdir(parents=True)
    ports = {port: free_port() for port in (*NODE_PORTS, PROBE_PORT)}
    config = home / "kind.yaml"
    config.write_text(yaml.safe_dump(kind_config(spec, ports), sort_keys=False))
    try:
        _kind(catalogue, name, image, log).create(config)
        cluster = Cluster(name, spec, home / "kubeconfig", ports, Kube(home / "kubeconfig"))
        _prepare(cluster)
    except BaseException as error:
        delete(catalogue, name, log)
        if isinstance(error, subprocess.CalledProcessError):
            raise ClusterError(f"kind could not make the cluster ({_last_error(log)}); all it said: {log}") from error
        raise
    remember(cluster)
    return cluster


def remember(cluster: Cluster) -> None:
    """Keep what is known of a cluster for who takes it up later."""
    record = {"ports": cluster.ports, "corefile": cluster.corefile, "baseline": cluster.baseline}
    (folder(cluster.name) / "cluster.json").write_text(json.dumps(record | {"loaded": cluster.loaded}))


def _prepare(cluster: Cluster) -> None:
    containers = cluster.containers()
    with ThreadPoolExecutor(max_workers=4) as pool:
        sealed = [pool.submit(seal.seal_node, container) for container in containers]
        dns = pool.submit(seal.seal_dns, cluster.kube)
        images = pool.submit(cluster.provide, [cluster.spec.probe_image], [cluster.entry()])
        for done in (*sealed, images):
            done.result()
        cluster.corefile = dns.result()
    for container in containers:
        docker("exec", "--interactive", container, "sh", "-c", f"cat > /{MARK}", stdin=owner().encode())
    mark = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MARK}, "data": {"owner": owner()}}
    cluster.kube.apply(mark, "kube-system")
    poll(
        cluster.read_baseline,
        _healthy,
        timeout_s=READY_S,
        what=f"all nodes and system pods of {cluster.name} are ready",
    )
    cluster.baseline = cluster.read_baseline()


def _healthy(baseline: dict[str, Json]) -> bool:
    nodes, pods = baseline["nodes"].values(), baseline["system_pods"]
    served = {name.partition("/")[2].rpartition("-")[0] for name in pods}
    return all(n["ready"] for n in nodes) and all(pods.values()) and "coredns" in served


def attach(spec: ClusterSpec, name: str) -> Cluster:
    """Take up a cluster of ours that was kept; raises ClusterError where it is not as it was recorded."""
    home = folder(name)
    try:
        record = json.loads((home / "cluster.json").read_text())
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"nothing is known of the cluster {name}; remove it with `kindstorm clusters --remove`"
        ) from error
    ports = {int(k): v for k, v in record["ports"].items()}
    kube = Kube(home / "kubeconfig")
    known = (record["corefile"], record["baseline"], record["loaded"])
    cluster = Cluster(name, spec, home / "kubeconfig", ports, kube, *known)
    cluster.require_mark()
    seal.seal_host(cluster.node_image)
    return cluster


def delete(catalogue: Catalogue, name: str, log: Path) -> None:
    """Remove a cluster of ours and all we know of it; with the last one the host's seal goes too."""
    strangers = [c for c in _all_nodes(name) if c not in node_containers(name)]
    if strangers:
        raise ClusterError(f"the cluster {name} has nodes without our mark ({', '.join(strangers)}); it is left alone")
    image = next(iter(docker("images", "kindstorm/node", "--format", "{{.Repository}}:{{.Tag}}").splitlines()), "")
    try:
        _kind(catalogue, name, None, log).delete()
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"kind could not remove the cluster {name} ({_last_error(log)}); see {log}") from error
    home = folder(name)
    for path in home.glob("*") if home.exists() else ():
        path.unlink()
    home.rmdir() if home.exists() else None
    (cache.folder("clusters") / f"{name}.lease").unlink(missing_ok=True)
    if not node_containers() and image:
        with contextlib.suppress(ClusterError):  # the network is still in use, or gone already
            seal.unseal_host(image)


def _all_nodes(name: str) -> list[str]:
    return docker("ps", "--all", "--filter", f"label=io.x-k8s.kind.cluster={name}", "--format", "{{.Names}}").split()


def sweep(catalogue: Catalogue, log: Path, *, keep: bool) -> list[str]:
    """Remove our clusters that nobody holds: dead ones, and unless ``keep`` the living too. Returns their names."""
    removed = []
    clusters: dict[str, list[str]] = {}
    for entry in node_containers().values():
        clusters.setdefault(entry["cluster"], []).append(entry["state"])
    for name, states in clusters.items():
        with leased(name) as free:
            whole = (folder(name) / "cluster.json").exists() and set(states) == {"running"}
            if free and not (keep and whole):
                delete(catalogue, name, log)
                removed.append(name)
    return removed


def reusable(spec: ClusterSpec) -> str | None:
    """The name of a kept cluster of ours with this configuration that nobody holds, or None."""
    for entry in node_containers().values():
        if entry["config"] == spec.digest and entry["state"] == "running":
            with leased(entry["cluster"]) as free:
                if free:
                    return entry["cluster"]
    return None


def _marked_image(spec: ClusterSpec) -> str:
    tag = f"kindstorm/node:{spec.digest}"
    found = engine.inspect_image(tag)
    labels = {} if found is None else found["Config"].get("Labels") or {}
    if labels.get(seal.OWNER_LABEL) != owner():
        base = spec.node_image or short_reference(spec.line.node)
        text = f"FROM {base}\nLABEL {seal.OWNER_LABEL}={owner()} {CONFIG_LABEL}={spec.digest}\n"
        command = ["docker", "build", "--tag", tag, "-"]
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(command, input=text.encode(), capture_output=True, env=environment, check=False)
        if done.returncode != 0:
            raise ClusterError(f"the node image cannot be marked: {done.stderr.decode().strip()}")
    return tag


def _kind(catalogue: Catalogue, name: str, image: str | None, log: Path) -> KindCluster:
    """pytest-kind's cluster with our kind. It makes a folder where it stands: that is our own."""
    with contextlib.chdir(cache.folder("clusters")):
        return _LoggedKind(name, folder(name) / "kubeconfig", image, kind_command(catalogue), log)


class _LoggedKind(KindCluster):  # type: ignore[misc]
    """pytest-kind's cluster, with kind's output in a file, on our network, and without the machine's proxies."""

    def __init__(self, name: str, kubeconfig: Path, image: str | None, kind: Path, log: Path) -> None:
        super().__init__(name, kubeconfig, image=image, kind_path=kind, kubectl_path=kind)
        self._log = log

    def create(self, config_file: Path | None = None) -> None:
        with _output_to(self._log), _kind_environment():
            super().create(config_file)

    def delete(self) -> None:
        with _output_to(self._log), _kind_environment():
            super().delete()


@contextlib.contextmanager
def _kind_environment() -> Iterator[None]:
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
def _output_to(log: Path) -> Iterator[None]:
    """Send what child processes write to standard output and error into a file."""
    saved = [os.dup(1), os.dup(2)]
    with log.open("ab") as file:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
        finally:
            for target, source in ((1, saved[0]), (2, saved[1])):
                os.dup2(source, target)
                os.close(source)


def _last_error(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("ERROR")]
    return lines[-1] if lines else "no error line"


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kind_config(spec: ClusterSpec, ports: dict[int, int]) -> dict[str, Any]:
    """The shape's configuration with ports, clocks and what this host's cgroups ask for filled in."""
    path = SHAPES / f"{spec.shape}.yaml"
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    entries = [n for n in config["nodes"] if (n.get("labels") or {}).get(ENTRY)]
    if len(entries) != 1:
        raise ClusterError(f"{path} must have exactly one node labelled {ENTRY}")
    entries[0]["extraPortMappings"] = [
        {"containerPort": inside, "hostPort": outside, "listenAddress": "127.0.0.1"}
        for inside, outside in ports.items()
    ]
    kubelet: dict[str, Any] = {"kind": "KubeletConfiguration"}
    if engine.info().get("CgroupVersion") == "1":
        kubelet["failCgroupV1"] = False
    if spec.clocks == "fast":
        kubelet["nodeStatusUpdateFrequency"] = "2s"
        operations = [
            {"op": "add", "path": f"/{part}/extraArgs/-", "value": {"name": name, "value": value}}
            for part, arguments in FAST_CLOCKS.items()
            for name, value in arguments.items()
        ]
        patch = {"group": "kubeadm.k8s.io", "version": spec.line.config_api, "kind": "ClusterConfiguration"}
        config["kubeadmConfigPatchesJSON6902"] = [patch | {"patch": json.dumps(operations)}]
    elif spec.clocks != "stock":
        raise ClusterError(f"there is no clock profile {spec.clocks}; choose fast or stock")
    config["kubeadmConfigPatches"] = [yaml.safe_dump(kubelet)]
    return config
