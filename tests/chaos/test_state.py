"""The API's own JSON becomes the shapes that chaos.history promises."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_fakes import pod_json

from chaos.state import state_of

RUNNING_POD: dict[str, Any] = {
    "metadata": {
        "name": "web-0",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": "web"},
        "ownerReferences": [
            {"kind": "Other", "name": "no", "uid": "1"},
            {"kind": "StatefulSet", "name": "web", "uid": "2", "controller": True, "apiVersion": "apps/v1"},
        ],
    },
    "spec": {
        "nodeName": "worker",
        "volumes": [
            {"name": "conf", "configMap": {"name": "c"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}},
        ],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.1.1.1",
        "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {
                "name": "nginx",
                "containerID": "containerd://1",
                "restartCount": 2,
                "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}},
            }
        ],
    },
}


def test_a_running_pod() -> None:
    """Every field of the documented shape, with the controlling owner and the claims only."""
    assert state_of("Pod", RUNNING_POD) == {
        "phase": "Running",
        "ready": True,
        "ip": "10.1.1.1",
        "node": "worker",
        "unschedulable": False,
        "claims": ["data-web-0"],
        "owner": {"kind": "StatefulSet", "name": "web", "uid": "2"},
        "deleting": False,
        "created_at": "2026-01-01T00:00:00Z",
        "labels": {"app": "web"},
        "containers": [
            {
                "name": "nginx",
                "id": "containerd://1",
                "restarts": 2,
                "state": "running",
                "started_at": "2026-01-01T00:00:01Z",
                "exit_code": None,
                "reason": None,
            }
        ],
        "init_containers": [],
    }


def test_a_pod_of_which_nothing_is_known_yet() -> None:
    """No spec, no status, no owner: not ready, on no node, in no phase."""
    state = state_of("Pod", pod_json("web-0"))
    assert state["ready"] is False
    assert state["deleting"] is False
    assert [state[key] for key in ("phase", "ip", "node", "owner", "created_at")] == [None] * 5
    assert (state["claims"], state["containers"], state["labels"]) == ([], [], {})


def test_an_owner_that_does_not_control_is_none() -> None:
    """Only the controller counts as the owner."""
    assert state_of("Pod", pod_json("a", ownerReferences=[{"kind": "X", "name": "x", "uid": "1"}]))["owner"] is None


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_only_true_is_ready(status: str) -> None:
    """A condition that is False, or of which nobody knows, is not ready."""
    raw = pod_json("web-0") | {"status": {"conditions": [{"type": "Ready", "status": status}]}}
    assert state_of("Pod", raw)["ready"] is False


@pytest.mark.parametrize(
    ("condition", "unschedulable"),
    [
        ({"status": "False", "reason": "Unschedulable"}, True),
        ({"status": "False", "reason": "SchedulingGated"}, False),
        ({"status": "False"}, False),
        ({"status": "True"}, False),
    ],
)
def test_only_what_the_scheduler_refused_is_unschedulable(condition: dict[str, str], unschedulable: bool) -> None:
    """A pod that it has not looked at yet, or not been allowed to, is only without a node."""
    raw = pod_json("web-0") | {"status": {"conditions": [{"type": "PodScheduled", **condition}]}}
    assert state_of("Pod", raw)["unschedulable"] is unschedulable


def test_a_terminating_pod() -> None:
    """A deletion timestamp is what makes a pod deleting, though it may still be ready."""
    raw = {**RUNNING_POD, "metadata": {**RUNNING_POD["metadata"], "deletionTimestamp": "2026-01-01T00:01:00Z"}}
    state = state_of("Pod", raw)
    assert (state["deleting"], state["ready"]) == (True, True)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"waiting": {"reason": "ImagePullBackOff"}}, ("waiting", None, None, "ImagePullBackOff")),
        ({"terminated": {"exitCode": 0, "startedAt": "t", "reason": "Completed"}}, ("terminated", "t", 0, "Completed")),
        ({"running": None, "waiting": {"reason": "r"}}, ("waiting", None, None, "r")),
        ({"running": {}}, ("running", None, None, None)),
        ({}, ("waiting", None, None, None)),
        (None, ("waiting", None, None, None)),
    ],
)
def test_container_states(state: dict[str, Any] | None, told: tuple[Any, ...]) -> None:
    """Each state with what it tells; no state at all is waiting, as the API says; an exit code of 0 stays 0."""
    raw = pod_json("a") | {"status": {"containerStatuses": [{"name": "c", "state": state}]}}
    kept = state_of("Pod", raw)["containers"][0]
    assert (kept["state"], kept["started_at"], kept["exit_code"], kept["reason"]) == told
    assert (kept["id"], kept["restarts"]) == (None, 0)


def test_a_claim() -> None:
    """Bound to its volume, and before that to none."""
    bound = {"metadata": {}, "spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}}
    assert state_of("PersistentVolumeClaim", bound) == {"phase": "Bound", "volume": "pv-1"}
    assert state_of("PersistentVolumeClaim", {"metadata": {}}) == {"phase": None, "volume": None}


def test_a_node() -> None:
    """Taints in one order whatever the API's, with an empty value where there is none."""
    taints = [{"key": "z", "effect": "NoExecute"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]
    conditions = [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}]
    raw = {"metadata": {}, "spec": {"unschedulable": True, "taints": taints}, "status": {"conditions": conditions}}
    kept = {"ready": True, "unschedulable": True, "taints": ["a=b:NoSchedule", "z=:NoExecute"]}
    assert state_of("Node", raw) == kept
    assert state_of("Node", {"metadata": {}}) == {"ready": False, "unschedulable": False, "taints": []}


def test_an_endpoint_slice() -> None:
    """Each endpoint with its pod and the three conditions; without a target it has no pod."""
    told = {
        "addresses": ["10.1.1.1"],
        "conditions": {"ready": False, "serving": True, "terminating": True},
        "targetRef": {"kind": "Pod", "name": "web-0", "uid": "u"},
    }
    raw = {"metadata": {"labels": {"kubernetes.io/service-name": "web"}}, "endpoints": [told, {"addresses": []}]}
    first, second = state_of("EndpointSlice", raw)["endpoints"]
    assert first == {
        "ip": "10.1.1.1",
        "pod": "web-0",
        "pod_uid": "u",
        "ready": False,
        "serving": True,
        "terminating": True,
    }
    assert (second["ip"], second["pod"], second["terminating"]) == (None, None, False)
    assert state_of("EndpointSlice", raw)["service"] == "web"
    assert state_of("EndpointSlice", {"metadata": {}, "endpoints": None}) == {"service": None, "endpoints": []}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet"])
def test_a_workload(kind: str) -> None:
    """Counts that the API leaves out are 0; what its controller has not observed yet is None."""
    status = {"readyReplicas": 2, "updatedReplicas": 1, "observedGeneration": 4}
    kept = {"replicas": 3, "ready_replicas": 2, "updated_replicas": 1, "generation": 5, "observed_generation": 4}
    assert state_of(kind, {"metadata": {"generation": 5}, "spec": {"replicas": 3}, "status": status}) == kept
    fresh = state_of(kind, {"metadata": {"generation": 1}, "spec": {"replicas": 0}})
    assert fresh == dict.fromkeys(kept, 0) | {"generation": 1, "observed_generation": None}


def test_a_daemon_set() -> None:
    """A DaemonSet has no replicas of its own: what is scheduled is what is wanted."""
    status = {"desiredNumberScheduled": 3, "numberReady": 2, "updatedNumberScheduled": 3, "observedGeneration": 1}
    kept = state_of("DaemonSet", {"metadata": {"generation": 1}, "status": status})
    assert (kept["replicas"], kept["ready_replicas"], kept["updated_replicas"]) == (3, 2, 3)


def test_an_event() -> None:
    """What it is about and how often; an event without a count happened once."""
    about = {"kind": "Pod", "name": "web-0", "uid": "u"}
    raw = {"metadata": {}, "reason": "Failed", "message": "no image", "type": "Warning", "involvedObject": about}
    kept = state_of("Event", raw)
    assert kept["about"] == {"kind": "Pod", "name": "web-0"}
    assert (kept["reason"], kept["message"], kept["type"], kept["count"]) == ("Failed", "no image", "Warning", 1)


def test_a_kind_that_nobody_judges() -> None:
    """Nothing is kept but the phase."""
    assert state_of("Namespace", {"metadata": {"name": "a"}, "status": {"phase": "Active"}}) == {"phase": "Active"}
    assert state_of("ConfigMap", {"metadata": {"name": "a"}}) == {"phase": None}
