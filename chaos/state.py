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
        "labels": meta.get("labels") or {},
        "containers": [_container(c) for c in status.get("containerStatuses") or []],
        "init_containers": [_container(c) for c in status.get("initContainerStatuses") or []],
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
    return {"phase": (raw.get("status") or {}).get("phase"), "volume": (raw.get("spec") or {}).get("volumeName")}


def _node(raw: dict[str, Any]) -> dict[str, Json]:
    spec, status = raw.get("spec") or {}, raw.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    taints = spec.get("taints") or []
    return {
        "ready": conditions.get("Ready") == "True",
        "unschedulable": bool(spec.get("unschedulable")),
        "taints": sorted(f"{t['key']}={t.get('value') or ''}:{t['effect']}" for t in taints),
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
    "Deployment": _workload,
    "EndpointSlice": _endpoint_slice,
    "Event": _event,
    "Node": _node,
    "PersistentVolumeClaim": _claim,
    "Pod": _pod,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
}
