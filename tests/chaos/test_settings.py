"""What a live cluster is set to, from where Kubernetes keeps it."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_fakes import seen

from chaos.errors import ClusterError
from chaos.settings import DEFAULTS_S, dns_s, duration_s, timings_s

KUBEADM = """.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       ttl 30
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
}
"""


class Cluster:
    """A control plane of these flags, and the ConfigMaps that kubeadm writes."""

    def __init__(self) -> None:
        self.flags = {"kube-controller-manager": [], "kube-apiserver": []}  # type: dict[str, list[str]]
        self.maps = {"kubelet-config": {"kubelet": "kind: KubeletConfiguration\n"}, "coredns": {"Corefile": KUBEADM}}

    def list(self, kind: str, namespace: str, labels: str) -> list[Any]:
        """See Kube."""
        assert (kind, namespace) == ("Pod", "kube-system")
        component = labels.removeprefix("component=")
        return [seen("Pod", component)] if component in self.flags else []

    def raw(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """See Kube."""
        assert namespace == "kube-system"
        if kind == "Pod":
            return {"spec": {"containers": [{"command": [name, *self.flags[name]]}]}}
        return {"data": self.maps[name]} if name in self.maps else None


def told(cluster: Any) -> dict[str, float]:
    """What is made of it."""
    return timings_s(cluster)


def test_what_is_not_set_is_the_default() -> None:
    """Of every setting there is one; CoreDNS keeps nothing of the cluster's names where kubeadm says so."""
    assert told(Cluster()) == DEFAULTS_S | {"dns_ttl": 30}


def test_what_is_set_counts() -> None:
    """From the flags of the processes that run and the kubelets' own file; zero stands for the default there."""
    cluster = Cluster()
    cluster.flags["kube-controller-manager"] = ["--node-monitor-grace-period=12s", "--node-monitor-period=1m2s"]
    cluster.flags["kube-apiserver"] = ["--default-not-ready-toleration-seconds=5", "--v=2"]
    cluster.maps["kubelet-config"] = {"kubelet": "nodeStatusUpdateFrequency: 2s\nnodeLeaseDurationSeconds: 0\n"}
    assert told(cluster) == DEFAULTS_S | {
        "node_monitor_grace": 12,
        "node_monitor_period": 62,
        "not_ready_toleration": 5,
        "node_status_update": 2,
        "dns_ttl": 30,
    }
    cluster.maps["kubelet-config"] = {"kubelet": "nodeStatusUpdateFrequency: 0s\n"}
    assert told(cluster)["node_status_update"] == 10


@pytest.mark.parametrize("lost", ["kube-apiserver", "kubelet-config", "coredns"])
def test_a_cluster_that_does_not_tell_is_named(lost: str) -> None:
    """Nothing is guessed in its place."""
    cluster = Cluster()
    cluster.flags.pop(lost, None)
    cluster.maps.pop(lost, None)
    with pytest.raises(ClusterError, match=lost):
        told(cluster)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1h1m1.5s", 3661.5), ("250ms", 0.25), ("5", 5), (7, 7), ("0s", 0)]
)
def test_durations(text: str | float, seconds: float) -> None:
    """As Go writes them, and plain numbers."""
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5 s", "1d"])
def test_no_duration(text: str) -> None:
    """What is none is refused."""
    with pytest.raises(ClusterError, match="no duration"):
        duration_s(text)


@pytest.mark.parametrize(
    ("corefile", "ttl", "cache"),
    [
        (KUBEADM, 30, 0),
        (KUBEADM.replace("       disable denial cluster.local\n", ""), 30, 30),
        (KUBEADM.replace("       ttl 30\n", ""), 5, 0),
        (".:53 {\n  kubernetes cluster.local\n  cache\n}", 5, 3600),
        (".:53 {\n  kubernetes cluster.local\n}", 5, 0),
    ],
    ids=["kubeadm's", "denials are kept", "no ttl", "the cache's own default", "no cache"],
)
def test_how_old_an_answer_may_be(corefile: str, ttl: float, cache: float) -> None:
    """By the live Corefile."""
    assert dns_s(corefile) == {"dns_ttl": ttl, "dns_cache": cache}
