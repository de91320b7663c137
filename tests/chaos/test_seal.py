"""Nothing leaves the machine: the Corefile loses its upstream, and the nodes' script is one a shell takes."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from typing import Any

import pytest
from cluster_fakes import seen
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import seal
from chaos.errors import ClusterError
from chaos.seal import without_upstream

KUBEADM = """.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""
"""What kubeadm writes today."""
ONE_LINE = KUBEADM.replace(
    "forward . /etc/resolv.conf {\n       max_concurrent 1000\n    }", "forward . /etc/resolv.conf"
)


def servers(corefile: str) -> list[str]:
    """The lines that begin a server, in order; braces must pair."""
    assert corefile.count("{") == corefile.count("}")
    return [line for line in corefile.splitlines() if line.endswith("{") and not line.startswith(" ")]


@pytest.mark.parametrize("corefile", [KUBEADM, ONE_LINE], ids=["with a block", "on one line"])
def test_no_upstream_is_left(corefile: str) -> None:
    """No forward and nothing of its block; every other plugin stays; names of the outside do not exist."""
    assert "forward" in corefile
    sealed = without_upstream(corefile)
    assert "forward" not in sealed
    assert "resolv.conf" not in sealed
    assert "max_concurrent" not in sealed
    assert "rcode NXDOMAIN" in sealed
    for kept in ("lameduck 5s", "ready", "pods insecure", "prometheus :9153", "cache 30 {", "loop", "loadbalance"):
        assert kept in sealed


def test_the_clusters_own_zones_are_still_served() -> None:
    """The kubernetes plugin answers for its zones, in a server of their own; all the rest is the other's."""
    first, rest = servers(without_upstream(KUBEADM))
    assert first == "cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {"
    assert rest == ".:53 {"
    own, _, other = without_upstream(KUBEADM).partition("\n.:53 {")
    assert "kubernetes cluster.local" in own
    assert "NXDOMAIN" not in own
    assert "NXDOMAIN" in other
    assert "kubernetes" not in other


@pytest.mark.parametrize("corefile", [KUBEADM, ONE_LINE])
def test_sealing_twice_is_sealing_once(corefile: str) -> None:
    """A sealed Corefile is left as it is."""
    sealed = without_upstream(corefile)
    assert without_upstream(sealed) == sealed


@pytest.mark.parametrize(
    "corefile",
    [
        KUBEADM.replace("kubernetes cluster", "other cluster"),
        KUBEADM.replace(".:53 {", "example.org:53 {"),
        KUBEADM + KUBEADM,
    ],
    ids=["no zones", "another server", "two servers"],
)
def test_a_corefile_of_another_shape_is_refused(corefile: str) -> None:
    """What it does not understand it does not call sealed."""
    with pytest.raises(ClusterError, match="cannot be sealed"):
        without_upstream(corefile)


@pytest.mark.parametrize(
    "forward",
    [
        "forward . /etc/resolv.conf",
        "\tforward . 8.8.8.8",
        "forward . 1.1.1.1 {\n       max_concurrent 1000\n    }  ",
        "    forward  .  8.8.8.8   ",
        "    forward . 8.8.8.8 {\n    }\n    forward example.org 9.9.9.9",
    ],
)
def test_however_it_is_written_none_is_left(forward: str) -> None:
    """Tabs, trailing blanks and a second forward: sealed or refused, never passed over."""
    corefile = ONE_LINE.replace("    forward . /etc/resolv.conf", forward)
    assert forward in corefile
    try:
        sealed = without_upstream(corefile)
    except ClusterError:
        return
    assert "forward" not in sealed


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 5000), st.sampled_from(["", " {\n       max_concurrent 9\n       prefer_udp\n    }"]))
def test_options_of_forward_do_not_matter(seconds: int, block: str) -> None:
    """The sealed text is the same whatever the upstream was."""
    corefile = ONE_LINE.replace("/etc/resolv.conf", f"10.0.0.{seconds}{block}")
    assert without_upstream(corefile) == without_upstream(KUBEADM)


def test_the_nodes_script_is_a_shells() -> None:
    """The shell takes it, and each rule is looked for before it is set."""
    checked = subprocess.run(["sh", "-n"], input=seal._NODE_SCRIPT, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_nodes_script_is_idempotent(tmp_path: Any) -> None:
    """Run twice with an iptables that remembers, it sets each rule once, both for the Service range."""
    rules = tmp_path / "rules"
    rules.touch()
    iptables = tmp_path / "iptables"
    iptables.write_text(
        "#!/bin/sh\nshift\nverb=$1\nshift\n"
        f'if [ "$verb" = -C ]; then grep -qxF -e "$*" {rules}; else echo "$*" >> {rules}; fi\n'
    )
    iptables.chmod(0o755)
    grep = shutil.which("grep")
    assert grep is not None
    (tmp_path / "grep").symlink_to(grep)
    for _ in range(2):
        subprocess.run(["/bin/sh", "-s"], input=seal._NODE_SCRIPT, text=True, env={"PATH": str(tmp_path)}, check=True)
    assert rules.read_text().splitlines() == [
        "FORWARD -d 10.96.0.0/16 -j REJECT",
        "OUTPUT -d 10.96.0.0/16 -m conntrack ! --ctstate DNAT -j REJECT",
    ]


class Dns:
    """The cluster's DNS: its ConfigMap and one pod."""

    def __init__(self, corefile: str | None) -> None:
        self.corefile = corefile
        self.deleted: list[tuple[str, str | None]] = []

    def raw(self, *_: str) -> dict[str, Any] | None:
        """See Kube."""
        return None if self.corefile is None else {"data": {"Corefile": self.corefile}}

    def patch(self, _kind: str, _name: str, body: dict[str, Any], _namespace: str) -> None:
        """See Kube."""
        self.corefile = body["data"]["Corefile"]

    def list(self, *_: str) -> list[Any]:
        """See Kube."""
        return [seen("Pod", "coredns-1", "u1")]

    def delete(self, _kind: str, name: str, _namespace: str, *, uid: str | None = None) -> bool:
        """See Kube."""
        self.deleted.append((name, uid))
        return True


def test_the_dns_is_sealed_once() -> None:
    """The first time its text changes and its pods begin anew with it; the second time nothing happens."""
    dns: Any = Dns(KUBEADM)
    sealed = seal.seal_dns(dns)
    assert sealed == dns.corefile == without_upstream(KUBEADM)
    assert dns.deleted == [("coredns-1", "u1")]
    assert seal.seal_dns(dns) == sealed
    assert len(dns.deleted) == 1


def test_a_cluster_without_a_corefile_cannot_be_sealed() -> None:
    """It is said, not passed over."""
    dns: Any = Dns(None)
    with pytest.raises(ClusterError, match="no ConfigMap coredns"):
        seal.seal_dns(dns)


def test_escaped_packets_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over our counters; a counter that is gone is an error, never zero packets."""
    table = (
        "Chain POSTROUTING (policy ACCEPT 0 packets, 0 bytes)\n    pkts      bytes target\n"
        "       3      180            all  --  *      !kindstorm0  172.18.0.0/16  0.0.0.0/0  /* kindstorm escaped */\n"
        "      99     9000 MASQUERADE all  --  *      !docker0  172.17.0.0/16  0.0.0.0/0\n"
    )
    monkeypatch.setattr(seal, "_iptables", lambda *_, **__: table)
    assert seal.escaped_packets("image") == 3
    monkeypatch.setattr(seal, "_iptables", lambda *_, **__: table.replace("kindstorm escaped", ""))
    with pytest.raises(ClusterError, match="packet counter is gone"):
        seal.escaped_packets("image")


def test_a_node_is_sealed_as_its_script_seals_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule that the script sets is looked for in the node; one that is missing is an error that names the node."""
    asked: list[str] = []
    missing: list[str] = []

    def docker(*args: str) -> str:
        assert args[:5] == ("exec", "w1", "iptables", "-w", "-C")
        asked.append(" ".join(args[5:]))
        if asked[-1] in missing:
            raise ClusterError("Bad rule")
        return ""

    monkeypatch.setattr(seal, "docker", docker)
    seal.require_node("w1")
    script = [line.removeprefix("rule ") for line in seal._NODE_SCRIPT.splitlines() if line.startswith("rule ")]
    assert asked == script
    assert len(script) == 2
    for missing[:] in [[rule] for rule in script]:
        with pytest.raises(ClusterError, match=r"the node w1 is not sealed any more.*Bad rule"):
            seal.require_node("w1")


class Engine:
    """An engine with at most the one network, and a host with rules; notes what is done in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network: dict[str, Any] | None = None
        self.in_use = False
        self.rules: set[tuple[str, ...]] = set()
        self.log: list[str] = []
        monkeypatch.setattr(seal, "docker", self.docker)
        monkeypatch.setattr(seal, "_iptables", self.iptables)

    def docker(self, *args: str) -> str:
        """See images.engine."""
        assert args[0] == "network"
        verb = args[1]
        if verb == "ls":
            return "kindstorm" if self.network else ""
        if verb == "create":
            options = dict(itertools.pairwise(args))
            self.network = {name: dict([options[flag].split("=", 1)]) for name, flag in FLAGS.items()}
        elif self.network is None:
            raise ClusterError("no such network")
        elif verb == "inspect":
            return "172.18.0.0/16" if "--format" in args else json.dumps([self.network])
        elif self.in_use:
            raise ClusterError("network kindstorm has active endpoints")
        else:
            self.network = None
        self.log.append(f"network {verb}")
        return ""

    def iptables(self, _image: str, *args: str, check: bool = True) -> str | bool:
        """See chaos.seal."""
        _, table, verb, chain, *rule = args
        key = (table, chain, *rule)
        if verb == "-C":
            assert not check
            return key in self.rules
        (self.rules.add if verb == "-I" else self.rules.remove)(key)
        self.log.append(f"iptables {verb} {chain}")
        return ""


FLAGS = {"Labels": "--label", "Options": "--opt"}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Neither network nor rules."""
    return Engine(monkeypatch)


def test_the_network_is_made_once(engine: Engine) -> None:
    """Labelled as ours, on the bridge that the rules name; one that is there is taken."""
    for _ in range(2):
        seal.make_network("us")
    assert engine.log == ["network create"]
    assert engine.network == {
        "Labels": {seal.OWNER_LABEL: "us"},
        "Options": {"com.docker.network.bridge.name": seal.BRIDGE},
    }


@pytest.mark.parametrize("check", [seal.make_network, seal.require_network])
@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        ({"Labels": {}}, "belongs to somebody else"),
        ({"Labels": None}, "belongs to somebody else"),
        ({"Labels": {seal.OWNER_LABEL: "them"}}, "belongs to somebody else"),
        ({"Options": {}}, "is not on the bridge kindstorm0"),
        ({"Options": None}, "is not on the bridge kindstorm0"),
        ({"Options": {"com.docker.network.bridge.name": "br-1"}}, "is not on the bridge kindstorm0"),
    ],
)
def test_another_network_is_refused(engine: Engine, check: Any, part: dict[str, Any], complaint: str) -> None:
    """A network of our name that is not ours, or past the seal, has no cluster put on it."""
    seal.make_network("us")
    assert engine.network is not None
    engine.network |= part
    with pytest.raises(ClusterError, match=complaint):
        check("us")


def test_a_network_that_is_gone_is_an_error(engine: Engine) -> None:
    """It is not made again behind a cluster's back."""
    with pytest.raises(ClusterError, match="no such network"):
        seal.require_network("us")
    assert engine.log == []


def test_the_host_is_sealed_once_and_unsealed(engine: Engine) -> None:
    """Both rules are set once; they go after the network, so that nothing is ever on it unsealed."""
    seal.make_network("us")
    for _ in range(2):
        seal.seal_host("image")
    assert len(engine.rules) == 2
    engine.log.clear()
    seal.unseal_host("image", "us")
    assert engine.log == ["network rm", "iptables -D DOCKER-USER", "iptables -D POSTROUTING"]
    assert (engine.rules, engine.network) == (set(), None)


@pytest.mark.parametrize("why", ["in use", "not ours", "gone"])
def test_a_network_that_stays_keeps_its_seal(engine: Engine, why: str) -> None:
    """One that is in use, or somebody else's, is left as it is with all rules; so is a host without any."""
    seal.make_network("us")
    seal.seal_host("image")
    engine.in_use = why == "in use"
    if why == "gone":
        engine.network = None
    engine.log.clear()
    seal.unseal_host("image", "them" if why == "not ours" else "us")
    assert engine.log == []
    assert len(engine.rules) == 2
    assert (engine.network is None) is (why == "gone")
