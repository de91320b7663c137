"""What a history keeps of each kind of Kubernetes object (the shapes stand in chaos.history)."""

from __future__ import annotations

from typing import Any

from chaos.history import Json


def state_of(kind: str, raw: dict[str, Any]) -> dict[str, Json]:
    """The kept fields of one object; of a kind nobody judges, nothing but its phase."""
    keep = _KEEP.get(kind)
    return keep(raw) if keep else {"phase": (raw.get("status") or {}).get("phase")}


def _pod(raw: dict[str, Any]) -> dict[str, Json]:
    meta, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    reasons = {c["type"]: c.get("reason") for c in status.get("conditions") or []}
    labels = meta.get("labels") or {}
    owner = next((o for o in meta.get("ownerReferences") or [] if o.get("controller")), None)
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in spec.get("volumes") or []
        if volume.get("persistentVolumeClaim")
    ]
    return {
        "phase": status.get("phase"),
        "ready": conditions.get("Ready") == "True",
        "ip": status.get("podIP"),
        "node": spec.get("nodeName"),
        "unschedulable": conditions.get("PodScheduled") == "False" and reasons["PodScheduled"] == "Unschedulable",
        "claims": claims,
        "owner": {key: owner[key] for key in ("kind", "name", "uid")} if owner else None,
        "deleting": meta.get("deletionTimestamp") is not None,
        "created_at": meta.get("creationTimestamp"),
        "labels": labels,
        "pod_index": int(index) if (index := labels.get("apps.kubernetes.io/pod-index", "")).isdecimal() else None,
        "conditions": _conditions(status),
        "grace_s": spec.get("terminationGracePeriodSeconds"),
        "tolerations_s": _tolerations(spec.get("tolerations") or []),
        "readiness": [_readiness(c) for c in spec.get("containers") or [] if c.get("readinessProbe")],
        "containers": [_container(c) for c in status.get("containerStatuses") or []],
        "init_containers": [_container(c) for c in status.get("initContainerStatuses") or []],
    }


def _conditions(status: dict[str, Any]) -> dict[str, Json]:
    return {
        c["type"]: {"status": c["status"], "reason": c.get("reason"), "since": c.get("lastTransitionTime")}
        for c in status.get("conditions") or []
    }


def _tolerations(tolerations: list[dict[str, Any]]) -> dict[str, Json]:
    """How long the taints of a lost node are borne, in seconds (None: for ever); a taint that is not borne is missing.

    Of several tolerations of one taint the shortest counts (getMinTolerationTime of Kubernetes' taint eviction).
    """
    found: dict[str, Json] = {}
    for taint in ("not-ready", "unreachable"):
        bearing = [t.get("tolerationSeconds") for t in tolerations if _bears(t, f"node.kubernetes.io/{taint}")]
        if bearing:
            found[taint] = min((max(0, s) for s in bearing if s is not None), default=None)
    return found


def _bears(toleration: dict[str, Any], taint: str) -> bool:
    key, exists = toleration.get("key") or "", toleration.get("operator") == "Exists"
    same = key == taint or (not key and exists)
    return same and (exists or not toleration.get("value")) and toleration.get("effect") in (None, "", "NoExecute")


def _readiness(container: dict[str, Any]) -> dict[str, Json]:
    """A readiness probe's settings; where they are not written, the API server's defaults stand in the object."""
    probe = container["readinessProbe"]
    return {
        "container": container["name"],
        "initial_delay_s": probe.get("initialDelaySeconds", 0),
        "period_s": probe.get("periodSeconds", 10),
        "timeout_s": probe.get("timeoutSeconds", 1),
        "successes": probe.get("successThreshold", 1),
        "failures": probe.get("failureThreshold", 3),
    }


def _container(status: dict[str, Any]) -> dict[str, Json]:
    states: dict[str, dict[str, Any]] = {k: v for k, v in (status.get("state") or {}).items() if v is not None}
    state, detail = next(iter(states.items()), ("waiting", {}))
    return {
        "name": status["name"],
        "id": status.get("containerID"),
        "restarts": status.get("restartCount", 0),
        "state": state,
        "started_at": detail.get("startedAt"),
        "exit_code": detail.get("exitCode"),
        "reason": detail.get("reason"),
    }


def _claim(raw: dict[str, Any]) -> dict[str, Json]:
    spec = raw.get("spec") or {}
    return {
        "phase": (raw.get("status") or {}).get("phase"),
        "volume": spec.get("volumeName"),
        "storage_class": spec.get("storageClassName"),
        "deleting": raw["metadata"].get("deletionTimestamp") is not None,
    }


def _volume(raw: dict[str, Any]) -> dict[str, Json]:
    spec = raw.get("spec") or {}
    claim = spec.get("claimRef")
    return {
        "phase": (raw.get("status") or {}).get("phase"),
        "claim": {key: claim.get(key) for key in ("namespace", "name", "uid")} if claim else None,
        "storage_class": spec.get("storageClassName"),
        "node": _only_node(spec),
        "reclaim": spec.get("persistentVolumeReclaimPolicy"),
        "deleting": raw["metadata"].get("deletionTimestamp") is not None,
    }


def _only_node(spec: dict[str, Any]) -> str | None:
    """The one host that a volume can be used on; None where it may be used on others, too."""
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or []
    hosts = [
        expression.get("values") or []
        for term in terms
        for expression in term.get("matchExpressions") or []
        if (expression["key"], expression["operator"]) == ("kubernetes.io/hostname", "In")
    ]
    return str(hosts[0][0]) if len(terms) == len(hosts) == 1 and len(hosts[0]) == 1 else None


def _lease(raw: dict[str, Any]) -> dict[str, Json]:
    spec = raw.get("spec") or {}
    return {
        "holder": spec.get("holderIdentity"),
        "renewed_at": spec.get("renewTime"),
        "transitions": spec.get("leaseTransitions") or 0,
    }


def _job(raw: dict[str, Any]) -> dict[str, Json]:
    status = raw.get("status") or {}
    done = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
    return {
        "completions": (raw.get("spec") or {}).get("completions"),
        "active": status.get("active") or 0,
        "succeeded": status.get("succeeded") or 0,
        "failed": status.get("failed") or 0,
        "ended": next((end for end in ("Complete", "Failed") if end in done), None),
    }


def _node(raw: dict[str, Any]) -> dict[str, Json]:
    spec, status = raw.get("spec") or {}, raw.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    taints = spec.get("taints") or []
    return {
        "ready": conditions.get("Ready") == "True",
        "unschedulable": bool(spec.get("unschedulable")),
        "taints": sorted(f"{t['key']}={t.get('value') or ''}:{t['effect']}" for t in taints),
        "labels": (raw.get("metadata") or {}).get("labels") or {},
    }


def _service(raw: dict[str, Any]) -> dict[str, Json]:
    spec = raw.get("spec") or {}
    address = spec.get("clusterIP")
    return {
        "type": spec.get("type"),
        "cluster_ip": None if address in (None, "", "None") else address,
        "selector": spec.get("selector"),
        "publish_not_ready": bool(spec.get("publishNotReadyAddresses")),
        "affinity": spec.get("sessionAffinity"),
    }


def _endpoint_slice(raw: dict[str, Any]) -> dict[str, Json]:
    labels = raw["metadata"].get("labels") or {}
    return {
        "service": labels.get("kubernetes.io/service-name"),
        "endpoints": [_endpoint(e) for e in raw.get("endpoints") or []],
    }


def _endpoint(endpoint: dict[str, Any]) -> dict[str, Json]:
    conditions, target = endpoint.get("conditions") or {}, endpoint.get("targetRef") or {}
    return {
        "ip": (endpoint.get("addresses") or [None])[0],
        "pod": target.get("name"),
        "pod_uid": target.get("uid"),
        "ready": bool(conditions.get("ready")),
        "serving": bool(conditions.get("serving")),
        "terminating": bool(conditions.get("terminating")),
    }


def _workload(raw: dict[str, Any]) -> dict[str, Json]:
    status = raw.get("status") or {}
    return {
        "replicas": (raw.get("spec") or {}).get("replicas"),
        "ready_replicas": status.get("readyReplicas") or 0,
        "updated_replicas": status.get("updatedReplicas") or 0,
        "generation": raw["metadata"].get("generation"),
        "observed_generation": status.get("observedGeneration"),
        "selector": (raw.get("spec") or {}).get("selector"),
    }


def _deployment(raw: dict[str, Any]) -> dict[str, Json]:
    spec = raw.get("spec") or {}
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    return _workload(raw) | {
        "strategy": {
            "type": strategy.get("type"),
            "max_surge": rolling.get("maxSurge"),
            "max_unavailable": rolling.get("maxUnavailable"),
        },
        "min_ready_s": spec.get("minReadySeconds") or 0,
    }


def _stateful_set(raw: dict[str, Any]) -> dict[str, Json]:
    spec, status = raw.get("spec") or {}, raw.get("status") or {}
    strategy = spec.get("updateStrategy") or {}
    return _workload(raw) | {
        "pod_management_policy": spec.get("podManagementPolicy"),
        "first_ordinal": (spec.get("ordinals") or {}).get("start") or 0,
        "update_strategy": strategy.get("type"),
        "partition": (strategy.get("rollingUpdate") or {}).get("partition") or 0,
        "max_unavailable": (strategy.get("rollingUpdate") or {}).get("maxUnavailable"),
        "current_revision": status.get("currentRevision"),
        "update_revision": status.get("updateRevision"),
        "service_name": spec.get("serviceName"),
        "min_ready_s": spec.get("minReadySeconds") or 0,
    }


def _daemon_set(raw: dict[str, Any]) -> dict[str, Json]:
    status = raw.get("status") or {}
    return _workload(raw) | {
        "replicas": status.get("desiredNumberScheduled"),
        "ready_replicas": status.get("numberReady") or 0,
        "updated_replicas": status.get("updatedNumberScheduled") or 0,
    }


def _event(raw: dict[str, Any]) -> dict[str, Json]:
    about = raw.get("involvedObject") or {}
    last = (raw.get("series") or {}).get("lastObservedTime") or raw.get("lastTimestamp") or raw.get("eventTime")
    return {
        "reason": raw.get("reason"),
        "message": raw.get("message"),
        "type": raw.get("type"),
        "count": raw.get("count") or 1,
        "at": last or raw["metadata"].get("creationTimestamp"),
        "about": {"kind": about.get("kind"), "name": about.get("name")},
    }


_KEEP = {
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "EndpointSlice": _endpoint_slice,
    "Event": _event,
    "Job": _job,
    "Lease": _lease,
    "Node": _node,
    "PersistentVolume": _volume,
    "PersistentVolumeClaim": _claim,
    "Pod": _pod,
    "ReplicaSet": _workload,
    "Service": _service,
    "StatefulSet": _stateful_set,
}
