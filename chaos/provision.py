"""Makes clusters of ours and removes them: marked, sealed, with their images, at a recorded baseline.

Whoever calls these holds the cluster's lease; sweeping touches only what nobody holds.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import yaml

from chaos import cluster as clusters
from chaos import interrupts, journal, kind, seal, storage, witness
from chaos.cluster import CLUSTER_LABEL, CONFIG_LABEL, MARK, Cluster, ClusterSpec, folder, owner
from chaos.errors import ClusterError, WaitTimeout
from chaos.history import Json
from chaos.kind import Kind, PortTaken
from chaos.kube import Kube
from chaos.waiting import poll
from images import cache, engine
from images.engine import docker

READY_S = 180
HELD = "held.json"
HOST_S = 600
MAKERS_S = 60
PORT_TRIES = 3


def new_name() -> str:
    """A name that no cluster has had."""
    return f"kindstorm-{uuid.uuid4().hex[:8]}"


def driver(command: Path, log: Path, redact: Callable[[str], str] = str) -> Kind:
    """The kind at this path, speaking into this log, which gets what ``redact`` leaves of it."""
    return Kind(command, log, cache.folder("clusters"), redact)


def keys_in(kubeconfig: Path) -> list[str]:
    """What in a kubeconfig must be in no file of a run."""
    users = (yaml.safe_load(kubeconfig.read_text()) or {}).get("users") or []
    secret = ("client-key-data", "token", "password")
    found = [str(value) for user in users for key, value in (user.get("user") or {}).items() if key in secret]
    return found + [text for text in map(_from_base64, found) if text]


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""


def create(kind_driver: Kind, spec: ClusterSpec, name: str) -> Cluster:
    """Make a cluster, mark it, seal it, give it its probe and record its baseline; on failure nothing stays."""
    home = folder(name)
    if _all_nodes(name):
        raise ClusterError(f"there is a cluster {name} already; choose another --cluster-name, or remove it first")
    try:
        with _host():
            seal.make_network(owner())
            image = _marked_image(spec)
            seal.seal_host(image)
            home.mkdir(parents=True, exist_ok=True)
            ports = _create_on_free_ports(kind_driver, spec, name, image)
            seal.require_network(owner())
        cluster = Cluster(name, spec, home / "kubeconfig", ports, clusters.connect(name))
        _prepare(cluster)
        remember(cluster)
    except BaseException as error:
        with interrupts.held():
            try:
                _await_makers(name)
                delete(kind_driver, name)
            except (ClusterError, WaitTimeout) as left:
                error.add_note(f"what was made of it could not be removed: {left}")
        raise
    return cluster


def _await_makers(name: str) -> None:
    what = f"no `docker run` makes nodes of {name} any more"
    poll(lambda: _makers(name), lambda found: not found, timeout_s=MAKERS_S, what=what)


def _makers(name: str) -> list[str]:
    """The ids of `docker run` processes that make nodes of this cluster: they outlive a kind that was killed."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it may end while one looks
            words = path.read_bytes().split(b"\0")
            if words[1:2] == [b"run"] and f"{CLUSTER_LABEL}={name}".encode() in words:
                found.append(path.parent.name)
    return found


def _create_on_free_ports(kind_driver: Kind, spec: ClusterSpec, name: str, image: str) -> dict[int, int]:
    """Have kind make it on ports that nobody has; one that is taken in between costs a try, not the cluster."""
    home = folder(name)
    configuration = home / "kind.yaml"
    for _ in range(PORT_TRIES):
        ports = kind.free_ports()
        filled = kind.config(spec.line, spec.clocks, spec.shape, ports, [storage.mount(home)])
        configuration.write_text(yaml.safe_dump(filled, sort_keys=False))
        try:
            kind_driver.create(name, image, configuration, home / "kubeconfig")
        except PortTaken:
            _await_makers(name)
            kind_driver.delete(name, home / "kubeconfig")
        else:
            return ports
    raise ClusterError(
        f"the cluster {name} could not be made: {PORT_TRIES} times another program took one of its ports of 127.0.0.1 "
        f"before its nodes had them; end what takes ports there and try again"
    )


def _prepare(cluster: Cluster) -> None:
    containers = cluster.containers()
    with ThreadPoolExecutor(max_workers=4) as pool:
        sealed = [pool.submit(seal.seal_node, container) for container in containers]
        watched = [pool.submit(witness.install, container) for container in containers]
        dns = pool.submit(seal.seal_dns, cluster.kube)
        given = pool.submit(_give_images, cluster)
        for done in (*sealed, *watched, given):
            done.result()
        cluster.corefile = dns.result()
    for container in containers:
        docker("exec", "--interactive", container, "sh", "-c", f"cat > /{MARK}", stdin=owner().encode())
    mark = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MARK}, "data": {"owner": owner()}}
    cluster.kube.apply(mark, "kube-system")
    for document in storage.documents():
        cluster.kube.apply(document, storage.NAMESPACE)
    what = f"all nodes and system pods of {cluster.name} are ready"
    cluster.baseline = poll(cluster.read_baseline, _healthy, timeout_s=READY_S, what=what)


def _give_images(cluster: Cluster) -> None:
    cluster.provide([cluster.spec.probe_image], [cluster.entry()])
    cluster.provide(storage.images(), cluster.control_planes())


def _healthy(baseline: dict[str, Json]) -> bool:
    nodes, pods = baseline["nodes"].values(), baseline["system_pods"]
    # Two of each Deployment's pods may be seen while one is being replaced, none before its controller has looked: a
    # baseline has none to spare and lacks none.
    whole = all(len([name for name in pods if name.startswith(of)]) == n for of, n in REPLICAS.items())
    return all(n["ready"] for n in nodes) and all(pods.values()) and whole


REPLICAS = {"kube-system/coredns-": 2, f"{storage.NAMESPACE}/{storage.PROVISIONER}-": 1}
"""How many pods kubeadm gives CoreDNS, and we the provisioner of the shared storage."""


def remember(cluster: Cluster) -> None:
    """Keep what is known of a cluster for who takes it up later."""
    record = {"ports": cluster.ports, "corefile": cluster.corefile, "baseline": cluster.baseline}
    (folder(cluster.name) / "cluster.json").write_text(json.dumps(record | {"loaded": cluster.loaded}))


def hold(cluster: Cluster, namespace: str) -> None:
    """Keep a cluster for people to look at what is in the namespace: no session takes it up or sweeps it away."""
    (folder(cluster.name) / HELD).write_text(json.dumps({"namespace": namespace}))


def held(name: str) -> str | None:
    """The namespace that a cluster is held to be looked at for; None where it is not held."""
    try:
        return str(json.loads((folder(name) / HELD).read_text())["namespace"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):  # the disk was full, say: it was to be held all the same
        return "a namespace that could not be noted"


def attach(spec: ClusterSpec, name: str) -> Cluster:
    """Take up a cluster of ours that was kept; raises ClusterError where it is not as it was recorded."""
    home = folder(name)
    try:
        record = json.loads((home / "cluster.json").read_text())
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"nothing is known of the cluster {name}; `kindstorm clusters --remove` removes it"
        ) from error
    ports = {int(inside): outside for inside, outside in record["ports"].items()}
    known = (record["corefile"], record["baseline"], record["loaded"])
    cluster = Cluster(name, spec, home / "kubeconfig", ports, clusters.connect(name), *known)
    cluster.require_mark()
    seal.seal_host(cluster.node_image)
    return cluster


def name_in(kubeconfig: Path) -> str:
    """The name of our cluster that a kubeconfig leads to; raises ClusterError where it is none of ours."""
    try:
        mark = Kube(kubeconfig).raw("ConfigMap", MARK, "kube-system")
    except ClusterError as error:
        raise ClusterError(
            f"the cluster of --kubeconfig cannot be taken up: {error}; name a kubeconfig of a kept cluster that "
            "runs (`kindstorm clusters` shows them), or leave --kubeconfig out"
        ) from error
    if mark is None or mark.get("data", {}).get("owner") != owner():
        raise ClusterError(
            f"the cluster of {kubeconfig} does not carry our mark; kindstorm makes its own and touches no other: "
            "leave --kubeconfig out"
        )
    context = yaml.safe_load(kubeconfig.read_text()).get("current-context", "")
    return str(context).removeprefix("kind-")


def delete(kind_driver: Kind, name: str) -> None:
    """Remove a cluster of ours and all we know of it; with the last one the network and the host's seal go too."""
    ours = clusters.node_containers(name)
    strangers = [container for container in _all_nodes(name) if container not in ours]
    if strangers:
        raise ClusterError(f"the cluster {name} has nodes without our mark ({', '.join(strangers)}); it is left alone")
    if ours:
        kind_driver.delete(name, folder(name) / "kubeconfig")
    shutil.rmtree(cache.folder("clusters") / ".pytest-kind" / name, ignore_errors=True)
    try:
        storage.remove(folder(name))
    finally:
        _unseal_if_last()


def _all_nodes(name: str) -> list[str]:
    return docker("ps", "--all", "--filter", f"label={CLUSTER_LABEL}={name}", "--format", "{{.Names}}").split()


def _unseal_if_last() -> None:
    images = docker("images", "kindstorm/node", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    with _host():
        if images and not clusters.node_containers():
            seal.unseal_host(images[0], owner())


def _host() -> AbstractContextManager[None]:
    """One at a time changes the network and the host's rules, or relies on both while its nodes are made."""
    return cache.lock(
        "host", HOST_S, "another session has been making a cluster for ten minutes; stop it or wait for it"
    )


def sweep(kind_driver: Kind, *, keep: bool, looked_at: bool = False) -> list[str]:
    """Remove our clusters that nobody holds: dead ones, and unless ``keep`` the living too. Returns their names.

    Of a cluster whose nodes are gone, or were never made, there may still be a folder. One that is held to be looked at
    stays, dead or living, while it has nodes, unless those that are ``looked_at`` are meant as well.
    """
    removed = []
    names = {path.name for path in cache.folder("clusters").glob("*/") if clusters.is_name(path.name)}
    names |= {node["cluster"] for node in clusters.node_containers().values()}
    for name in sorted(names):
        with clusters.leased(name) as free:
            seen = held(name) is not None and bool(clusters.node_containers(name))
            spared = not looked_at if seen else keep and is_whole(name)
            if free and not spared:
                delete(kind_driver, name)
                removed.append(name)
    if not names:
        _unseal_if_last()
    return removed


def is_whole(name: str) -> bool:
    """Whether a cluster can be taken up: it is known, and a node that does not run is one that undoing brings back."""
    nodes = clusters.node_containers(name)
    lost = {node for node, known in nodes.items() if known["state"] != "running"}
    undoing = clusters.OUTAGES.values()
    mendable = {entry.arguments["node"] for entry in journal.pending(name) if entry.verb in undoing}
    return bool(nodes) and (folder(name) / "cluster.json").exists() and lost <= mendable


def reusable(spec: ClusterSpec) -> list[str]:
    """The names of kept clusters of ours with this configuration, whoever's lease they are; none that is looked at."""
    nodes = clusters.node_containers().values()
    found = {n["cluster"] for n in nodes if n["config"] == spec.digest and n["state"] == "running"}
    return sorted(name for name in found if held(name) is None)


def _marked_image(spec: ClusterSpec) -> str:
    tag = f"kindstorm/node:{spec.digest}"
    found = engine.inspect_image(tag)
    labels = {} if found is None else found["Config"].get("Labels") or {}
    if labels.get(seal.OWNER_LABEL) != owner():
        text = f"FROM {spec.base_image}\nLABEL {seal.OWNER_LABEL}={owner()} {CONFIG_LABEL}={spec.digest}\n"
        command = ["docker", "build", "--tag", tag, "-"]
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(command, input=text.encode(), capture_output=True, env=environment, check=False)
        if done.returncode != 0:
            raise ClusterError(f"the node image cannot be marked: {done.stderr.decode().strip()}")
    return tag
