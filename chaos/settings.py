"""The live cluster's own clocks: what its controllers, kubelets and DNS are set to, as they run now."""

from __future__ import annotations

import re
from typing import Any

import yaml

from chaos.errors import ClusterError
from chaos.kube import Kube

SYSTEM = "kube-system"

DEFAULTS_S: dict[str, float] = {
    "node_monitor_grace": 50,
    "node_monitor_period": 5,
    "not_ready_toleration": 300,
    "unreachable_toleration": 300,
    "node_status_update": 10,
    "node_lease": 40,
    "dns_ttl": 5,
    "dns_cache": 0,
}
"""What holds where nothing is set, in 1.36 and 1.37: pkg/controller/nodelifecycle/config/v1alpha1/defaults.go,
cmd/kube-controller-manager/app/options, plugin/pkg/admission/defaulttolerationseconds and
pkg/kubelet/apis/config/v1beta1/defaults.go in k8s.io/kubernetes; plugin/kubernetes in CoreDNS."""

_FLAGS = {
    "kube-controller-manager": {
        "--node-monitor-grace-period": "node_monitor_grace",
        "--node-monitor-period": "node_monitor_period",
    },
    "kube-apiserver": {
        "--default-not-ready-toleration-seconds": "not_ready_toleration",
        "--default-unreachable-toleration-seconds": "unreachable_toleration",
    },
}
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([\d.]+)(h|ms|us|µs|ns|m|s)")


def timings_s(kube: Kube) -> dict[str, float]:
    """The settings by name (those of DEFAULTS_S), in seconds; raises ClusterError where the cluster does not tell."""
    found = dict(DEFAULTS_S)
    for component, flags in _FLAGS.items():
        pods = kube.list("Pod", SYSTEM, labels=f"component={component}")
        raw = kube.raw("Pod", pods[0].name, SYSTEM) if pods else None
        if raw is None:
            raise ClusterError(f"the cluster has no pod of {component}; its settings cannot be told")
        container = raw["spec"]["containers"][0]
        for word in [*(container.get("command") or []), *(container.get("args") or [])]:
            flag, _, value = str(word).partition("=")
            if flag in flags:
                found[flags[flag]] = duration_s(value)
    kubelet = yaml.safe_load(_data(kube, "kubelet-config", "kubelet")) or {}
    # Zero stands for the default there.
    found["node_status_update"] = (
        duration_s(kubelet.get("nodeStatusUpdateFrequency") or 0) or found["node_status_update"]
    )
    found["node_lease"] = float(kubelet.get("nodeLeaseDurationSeconds") or found["node_lease"])
    return found | dns_s(_data(kube, "coredns", "Corefile"))


def _data(kube: Kube, name: str, key: str) -> str:
    raw: dict[str, Any] | None = kube.raw("ConfigMap", name, SYSTEM)
    text = ((raw or {}).get("data") or {}).get(key)
    if text is None:
        raise ClusterError(f"the cluster has no ConfigMap {name} with {key}; its settings cannot be told")
    return str(text)


def duration_s(text: str | float) -> float:
    """Go's way to write a duration (1m30s), or plain seconds, in seconds; raises ClusterError for anything else."""
    parts = _PART.findall(str(text))
    if "".join(number + unit for number, unit in parts) == str(text) and parts:
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    try:
        return float(text)
    except ValueError:
        raise ClusterError(f"{text!r} is no duration") from None


def dns_s(corefile: str) -> dict[str, float]:
    """How long an answer for a name of the cluster may be old: the TTL it is given, and CoreDNS' own cache of it.

    The cache holds nothing of a zone for which both kinds of answers are switched off, as kubeadm does.
    """
    lines = [line.split("#")[0].split() for line in corefile.splitlines()]
    ttl = next((words[1] for words in lines if words[:1] == ["ttl"] and len(words) > 1), DEFAULTS_S["dns_ttl"])
    cache = next((words for words in lines if words[:1] == ["cache"]), None)
    off = {words[1] for words in lines if words[:1] == ["disable"] and "cluster.local" in words[2:]}
    if cache is None or off >= {"success", "denial"}:
        return {"dns_ttl": float(ttl), "dns_cache": 0.0}
    longest = next((word for word in cache[1:] if word.isdecimal()), "3600")
    return {"dns_ttl": float(ttl), "dns_cache": float(longest)}
