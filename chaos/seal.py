"""Nothing a cluster does may leave the machine.

Traffic to a Service address that nothing answers for follows the default route out of the node, out of the
engine's bridge and into whatever network the machine is in. A chaos harness makes such traffic all the time. So:

- on every node, what is for the Service range and was not translated is rejected;
- on the host, what would be forwarded from our bridge to anywhere else is rejected, and what gets past that is
  counted: the count belongs to every scenario's evidence and must stay zero;
- the cluster's DNS has no upstream: names of the outside do not exist.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

from chaos.errors import ClusterError
from chaos.kube import Kube
from images.engine import docker

NETWORK = "kindstorm"
BRIDGE = "kindstorm0"
OWNER_LABEL = "dev.kindstorm.owner"
_BRIDGE_OPTION = "com.docker.network.bridge.name"
SERVICE_RANGE = "10.96.0.0/16"
"""kind's default range of Service addresses."""

REJECT = ("-i", BRIDGE, "!", "-o", BRIDGE, "-m", "comment", "--comment", "kindstorm seal", "-j", "REJECT")
_NODE_RULES = (
    ("FORWARD", f"-d {SERVICE_RANGE} -j REJECT"),
    ("OUTPUT", f"-d {SERVICE_RANGE} -m conntrack ! --ctstate DNAT -j REJECT"),
)
_NODE_SCRIPT = f"""#!/bin/sh
# Rejects what is for the Service range and no Service translated: it would leave the node by its default route.
set -eu
rule() {{
  chain=$1
  shift
  iptables -w -C "$chain" "$@" 2>/dev/null || iptables -w -I "$chain" "$@"
}}
{chr(10).join(f"rule {chain} {rule}" for chain, rule in _NODE_RULES)}
"""
_NODE_UNIT = """[Unit]
Description=Rejects untranslated Service traffic
Before=kubelet.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/kindstorm-seal
[Install]
WantedBy=multi-user.target
"""
_FORWARD = re.compile(r"^[ \t]*forward[ \t][^\n{]*(\{[^}]*\})?[ \t]*\n", re.MULTILINE)
_OWN_ZONES = re.compile(r"^ *kubernetes +([^\n{]+?) *(?:\{|$)", re.MULTILINE)
_NO_SUCH_NAME = ".:53 {\n    errors\n    template ANY ANY {\n        rcode NXDOMAIN\n    }\n}\n"


def make_network(owner: str) -> None:
    """Make the network of our clusters, on a bridge with a name of its own, unless it is there."""
    known = docker("network", "ls", "--filter", f"name=^{NETWORK}$", "--format", "{{.Name}}")
    if NETWORK not in known.split():
        bridge = f"{_BRIDGE_OPTION}={BRIDGE}"
        docker("network", "create", "--driver", "bridge", "--opt", bridge, "--label", f"{OWNER_LABEL}={owner}", NETWORK)
    require_network(owner)


def require_network(owner: str) -> None:
    """Raise ClusterError unless the network is ours and on the bridge that the seal's rules name."""
    found = json.loads(docker("network", "inspect", NETWORK))[0]
    if (found.get("Labels") or {}).get(OWNER_LABEL) != owner:
        raise ClusterError(
            f"the engine's network {NETWORK} belongs to somebody else; wait until they are done, or remove it with "
            f"`docker network rm {NETWORK}` if nobody uses it"
        )
    if (found.get("Options") or {}).get(_BRIDGE_OPTION) != BRIDGE:
        raise ClusterError(f"the engine's network {NETWORK} is not on the bridge {BRIDGE}; remove it and try again")


def seal_host(image: str) -> None:
    """Reject and count on the host what leaves our bridge; idempotent. ``image`` is a node image that has iptables."""
    _once(image, ("filter", "DOCKER-USER"), REJECT)
    _once(image, ("mangle", "POSTROUTING"), counter())


def unseal_host(image: str, owner: str) -> None:
    """Remove the network and then what :func:`seal_host` set. A network in use, or not ours, keeps its seal."""
    try:
        require_network(owner)
        rules = ((("filter", "DOCKER-USER"), REJECT), (("mangle", "POSTROUTING"), counter()))
        docker("network", "rm", NETWORK)
    except ClusterError:
        return
    for (table, chain), rule in rules:
        while _iptables(image, "-t", table, "-C", chain, *rule, check=False):
            _iptables(image, "-t", table, "-D", chain, *rule)


def escaped_packets(image: str) -> int:
    """How many packets have left our bridge for anywhere else since the seal was set."""
    text = _iptables(image, "-t", "mangle", "-nvxL", "POSTROUTING")
    counts = [int(line.split()[0]) for line in str(text).splitlines() if "kindstorm escaped" in line]
    if not counts:
        raise ClusterError(
            "the seal's packet counter is gone from the host's mangle table; remove the cluster and make it anew"
        )
    return sum(counts)


def counter() -> tuple[str, ...]:
    """The rule that counts what leaves our bridge, as iptables wants it."""
    subnet = docker("network", "inspect", NETWORK, "--format", "{{(index .IPAM.Config 0).Subnet}}")
    return ("-s", subnet, "!", "-o", BRIDGE, "-m", "comment", "--comment", "kindstorm escaped")


def _once(image: str, place: tuple[str, str], rule: tuple[str, ...]) -> None:
    table, chain = place
    if not _iptables(image, "-t", table, "-C", chain, *rule, check=False):
        _iptables(image, "-t", table, "-I", chain, *rule)


def _iptables(image: str, *args: str, check: bool = True) -> str | bool:
    """Run iptables in the host's network: directly as root, through a container otherwise."""
    if os.geteuid() == 0 and shutil.which("iptables"):
        command = ["iptables", "-w", *args]
    else:
        run = ["docker", "run", "--rm", "--privileged", "--network", "host", "--entrypoint", "iptables"]
        command = [*run, image, "-w", *args]
    try:
        # Ctrl-C at a terminal is not for it, as in images.engine.docker
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, process_group=0)
    except subprocess.TimeoutExpired:
        raise ClusterError("the cluster cannot be sealed: iptables did not end within 60 s") from None
    if not check:
        return done.returncode == 0
    if done.returncode != 0:
        raise ClusterError(f"the cluster cannot be sealed: iptables says: {done.stderr.strip()}")
    return done.stdout


def seal_node(container: str) -> None:
    """Seal one node, now and at each of its later starts."""
    install = (
        "cat > /usr/local/sbin/kindstorm-seal && chmod +x /usr/local/sbin/kindstorm-seal && kindstorm-seal",
        "cat > /etc/systemd/system/kindstorm-seal.service && systemctl enable --quiet kindstorm-seal.service",
    )
    for command, text in zip(install, (_NODE_SCRIPT, _NODE_UNIT), strict=True):
        docker("exec", "--interactive", container, "sh", "-c", command, stdin=text.encode())


def require_node(container: str) -> None:
    """Raise ClusterError unless the node rejects what is for the Service range, as its script set it."""
    for chain, rule in _NODE_RULES:
        try:
            docker("exec", container, "iptables", "-w", "-C", chain, *rule.split())
        except ClusterError as error:
            raise ClusterError(
                f"the node {container} is not sealed any more; make the cluster anew ({error})"
            ) from error


def seal_dns(kube: Kube) -> str:
    """Take the upstream away from the cluster's DNS; returns the Corefile that is in force then."""
    config = kube.raw("ConfigMap", "coredns", "kube-system")
    if config is None:
        raise ClusterError("the cluster has no ConfigMap coredns in kube-system; its DNS cannot be sealed")
    corefile = str(config["data"]["Corefile"])
    sealed = without_upstream(corefile)
    if sealed != corefile:
        kube.patch("ConfigMap", "coredns", {"data": {"Corefile": sealed}}, "kube-system")
        for pod in kube.list("Pod", "kube-system", "k8s-app=kube-dns"):
            kube.delete("Pod", pod.name, "kube-system", uid=pod.uid)
    return sealed


def without_upstream(corefile: str) -> str:
    """The Corefile without ``forward``: its server answers for the cluster's own zones, and no other name exists.

    Raises ClusterError where it is not of the shape that kubeadm writes: one server for everything.
    """
    if not _FORWARD.search(corefile):
        return corefile
    zones = _OWN_ZONES.search(corefile)
    if zones is None or corefile.count(".:53 {") != 1:
        raise ClusterError("the cluster's Corefile has another shape than kubeadm's; its DNS cannot be sealed")
    head = " ".join(f"{zone}:53" for zone in zones[1].split())
    return _FORWARD.sub("", corefile).replace(".:53 {", f"{head} {{") + _NO_SUCH_NAME
