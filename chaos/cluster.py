"""Clusters that are ours: their ownership mark, their ports, images and baseline, and who holds them.

The ownership mark is threefold: a label of every node's image (so of every node), a file in every node, and a
ConfigMap in the cluster. A cluster without it is never touched. chaos.provision makes and removes clusters.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from chaos import kind, seal, settings, storage, witness
from chaos.checkers.quiescence import differences
from chaos.errors import ClusterError, ImageError, WaitTimeout
from chaos.history import Json
from chaos.kube import Kube
from chaos.waiting import poll
from images import cache, engine, node
from images.catalogue import Line, short_reference
from images.engine import docker

CONFIG_LABEL = "dev.kindstorm.config"
CLUSTER_LABEL = "io.x-k8s.kind.cluster"
MARK = "kindstorm-mark"
OUTSIDE_NAMESPACES = (
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
)
"""Kinds of which a stack may make some that do not go with its namespace, besides volumes."""
SYSTEM_NAMESPACES = ("kube-system", "local-path-storage", storage.NAMESPACE)


@dataclass(frozen=True)
class ClusterSpec:
    """What a cluster is to be. Two equal specs may share a kept cluster."""

    line: Line
    clocks: str = "fast"
    shape: str = "default"
    probe_image: str = ""
    node_image: str = ""

    @property
    def base_image(self) -> str:
        """The node image it is made from, as the engine names it: the line's, unless another was asked for."""
        return self.node_image or short_reference(self.line.node)

    @property
    def digest(self) -> str:
        """A digest of the configuration; the node image counts by its id."""
        image = engine.inspect_image(self.base_image) or {}
        files = (kind.SHAPES / f"{self.shape}.yaml", storage.MANIFEST, witness.SCRIPT, witness.UNIT)
        text = repr((self, image.get("Id"), *(path.read_text() for path in files)))
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
    loaded: dict[str, dict[str, str]] = field(default_factory=dict)

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
        names = [node.name for node in self.kube.list("Node", labels=f"{kind.ENTRY}=true")]
        if len(names) != 1:
            raise ClusterError(f"the cluster {self.name} has {len(names)} entry workers, it must have one")
        return names[0]

    def provide(self, references: Sequence[str], nodes: Sequence[str]) -> None:
        """Import images into nodes that do not have them as they are in the engine now: nodes never pull."""
        for reference in references:
            name = short_reference(reference)
            image = engine.inspect_image(name)
            if image is None:
                raise ImageError(f"the engine has no image {reference}; run `kindstorm setup`")
            lacking = [c for c in nodes if self.loaded.get(c, {}).get(reference) != image["Id"]]
            node.import_everywhere(lacking, [name])
            for container in lacking:
                self.loaded.setdefault(container, {})[reference] = image["Id"]

    def control_planes(self) -> list[str]:
        """The containers that run Kubernetes itself."""
        return [c for c in self.containers() if "control-plane" in c]

    def workers(self) -> list[str]:
        """The containers that run stacks: neither control planes nor the entry."""
        entry = self.entry()
        return [c for c in self.containers() if c != entry and "control-plane" not in c]

    def require_mark(self) -> None:
        """Raise ClusterError unless all three parts of the ownership mark are there."""
        require_mark(self.kube, self.name)

    def require_engine(self) -> None:
        """Raise ClusterError where the engine is gone, and with it every node; one that is only slow is there."""
        if engine.gone():
            raise ClusterError(
                f"the container engine went away under the cluster {self.name}; have it started again "
                "(`kindstorm setup`) and run this again: what is left of the cluster is removed then"
            )

    def read_baseline(self) -> dict[str, Json]:
        """What must be the same before and after every scenario (shape: the fact ``baseline`` in chaos.history)."""
        pods = [pod for space in SYSTEM_NAMESPACES for pod in self.kube.list("Pod", space)]
        return {
            "nodes": {node.name: node.state for node in self.kube.list("Node")},
            "namespaces": sorted(item.name for item in self.kube.list("Namespace")),
            "system_pods": {f"{pod.namespace}/{pod.name}": bool(pod.state["ready"]) for pod in pods},
            "volumes": sorted(item.name for item in self.kube.list("PersistentVolume")),
            "objects": sorted(f"{kind} {each.name}" for kind in OUTSIDE_NAMESPACES for each in self.kube.list(kind)),
            "escaped_packets": seal.escaped_packets(self.node_image),
        }

    def deviations(self) -> list[str]:
        """How the cluster differs from its baseline now, a sentence each; empty when it does not."""
        return differences(self.baseline, self.read_baseline())

    def settle(self, timeout_s: float = 60) -> list[str]:
        """Wait until the cluster is at its baseline; returns what still differs at the end."""
        with contextlib.suppress(WaitTimeout):
            poll(self.deviations, lambda found: not found, timeout_s=timeout_s, what=f"{self.name} at its baseline")
        return self.deviations()

    def facts(self) -> dict[str, Json]:
        """What a history keeps of the cluster."""
        return {
            "name": self.name,
            "kubernetes": self.kube.server_version(),
            "line": self.spec.line.name,
            "clocks": self.spec.clocks,
            "nodes": sorted(self.baseline.get("nodes", {})),
            "settings": kind.FAST_CLOCKS if self.spec.clocks == "fast" else {},
            "timings_s": settings.timings_s(self.kube),
            "corefile": self.corefile,
        }


def require_mark(kube: Kube, name: str) -> None:
    """Raise ClusterError unless all three parts of the ownership mark are there: nothing is touched without them."""
    stranger = "kindstorm touches only clusters it made"
    mark = kube.raw("ConfigMap", MARK, "kube-system")
    if mark is None or mark.get("data", {}).get("owner") != owner():
        raise ClusterError(f"the cluster {name} does not carry our mark; {stranger}")
    containers = sorted((container, known["state"]) for container, known in node_containers(name).items())
    if not containers:
        raise ClusterError(f"no node of {name} carries our label; {stranger}")
    for container, state in containers:
        if _marked_by(container, state) != owner():
            raise ClusterError(f"the node {container} does not carry our mark; {stranger}")


def _marked_by(container: str, state: str) -> str:
    """What the mark's file holds. A node that is paused or stopped runs nothing, but its files can be read."""
    if state == "running":
        return docker("exec", container, "cat", f"/{MARK}")
    with tempfile.TemporaryDirectory(prefix="kindstorm-mark-") as folder:
        docker("cp", f"{container}:/{MARK}", folder)
        return (Path(folder) / MARK).read_text()


def node_containers(cluster: str | None = None) -> dict[str, dict[str, str]]:
    """Node containers that carry our label, by name: {cluster, state, config}."""
    label = f"label={seal.OWNER_LABEL}={owner()}"
    out = docker("ps", "--all", "--filter", label, "--format", "{{json .}}")
    found = {}
    for line in out.splitlines():
        entry = json.loads(line)
        labels = dict(part.split("=", 1) for part in entry["Labels"].split(",") if "=" in part)
        name = labels.get(CLUSTER_LABEL)
        if name and cluster in (None, name):
            found[entry["Names"]] = {"cluster": name, "state": entry["State"], "config": labels.get(CONFIG_LABEL, "")}
    return found


OUTAGES = {"pause": "unpause", "stop": "start"}
"""What takes a node out, and what brings it back: docker's verbs, and the journal's."""
_FROM = {"pause": "running", "unpause": "paused", "stop": "running", "start": "exited"}
RESUME_S = 120


def switch_node(cluster: str, node: str, verb: str) -> bool:
    """Pause, unpause, stop or start a node; False where its state asks for nothing. Raises where it is not ours."""
    container = node_containers(cluster).get(node)
    if container is None:
        raise ClusterError(f"the container {node} does not carry our label for {cluster}; it is left alone")
    if container["state"] != _FROM[verb]:
        return False
    docker(verb, node)
    return True


def resume_node(kube: Kube, cluster: str, node: str, verb: str) -> None:
    """Bring a paused or stopped node back, and wait until it is ready and sealed; harmless where it is already.

    A node that has just started may still be told as ready from before; only its renewed lease is a sign of life. One
    whose stopping was broken off goes on stopping for a while, and can be started only then: so it is tried again.
    """
    since = datetime.now(UTC)
    switch_node(cluster, node, verb)

    def sign_of_life() -> tuple[datetime, bool]:
        nonlocal since
        if switch_node(cluster, node, verb):
            since = datetime.now(UTC)
        lease, seen = kube.raw("Lease", node, "kube-node-lease"), kube.get("Node", node)
        if lease is None or seen is None:
            raise ClusterError(f"the cluster {cluster} knows no node {node}")
        return datetime.fromisoformat(lease["spec"]["renewTime"]), bool(seen.state["ready"])

    what = f"the node {node} renews its lease and is ready"
    poll(sign_of_life, lambda told: told[0] > since and told[1], timeout_s=RESUME_S, what=what)
    seal.require_node(node)


_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
"""What kind takes for a cluster's name and docker for the beginning of a container's."""


def is_name(name: str) -> bool:
    """Whether a cluster can be called so."""
    return _NAME.fullmatch(name) is not None


def folder(name: str) -> Path:
    """Where what we know of a cluster is kept; raises ClusterError for a name that could lead anywhere else."""
    if not is_name(name):
        raise ClusterError(
            f"{name!r} is no name for a cluster; take letters a-z, digits, '.' and '-', a letter or a digit first"
        )
    return cache.folder("clusters") / name


def connect(name: str) -> Kube:
    """A connection to a cluster of ours; what the client keeps on disk for it lies with the cluster."""
    return Kube(folder(name) / "kubeconfig", folder(name))


def scratch(name: str) -> tempfile.TemporaryDirectory[str]:
    """A folder for what is not yet without secrets; where nobody lives to take it away, it goes with the cluster."""
    home = folder(name)
    home.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="scratch-", dir=home, ignore_cleanup_errors=True)


@contextlib.contextmanager
def leased(name: str) -> Iterator[bool]:
    """Hold a cluster's lease for the body; yields False where somebody else holds it."""
    path = folder(name).with_name(f"{name}.lease")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        if not folder(name).exists():
            path.unlink(missing_ok=True)  # the cluster is gone, and nobody will ask for its name again
        lock.release()
