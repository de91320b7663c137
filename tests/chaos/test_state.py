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
        "labels": {"app": "web", "apps.kubernetes.io/pod-index": "0"},
        "ownerReferences": [
            {"kind": "Other", "name": "no", "uid": "1"},
            {"kind": "StatefulSet", "name": "web", "uid": "2", "controller": True, "apiVersion": "apps/v1"},
        ],
    },
    "spec": {
        "nodeName": "worker",
        "terminationGracePeriodSeconds": 30,
        "tolerations": [
            {
                "key": "node.kubernetes.io/not-ready",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 5,
            },
        ],
        "containers": [{"name": "nginx", "readinessProbe": {"periodSeconds": 2}}, {"name": "side"}],
        "volumes": [
            {"name": "conf", "configMap": {"name": "c"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}},
        ],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.1.1.1",
        "conditions": [
            {"type": "Initialized", "status": "True"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z", "reason": "R"},
        ],
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
        "labels": {"app": "web", "apps.kubernetes.io/pod-index": "0"},
        "pod_index": 0,
        "conditions": {
            "Initialized": {"status": "True", "reason": None, "since": None},
            "Ready": {"status": "True", "reason": "R", "since": "2026-01-01T00:00:02Z"},
        },
        "grace_s": 30,
        "tolerations_s": {"not-ready": 5},
        "readiness": [
            {
                "container": "nginx",
                "initial_delay_s": 0,
                "period_s": 2,
                "timeout_s": 1,
                "successes": 1,
                "failures": 3,
            }
        ],
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
    assert (state["pod_index"], state["grace_s"], state["readiness"]) == (None, None, [])
    assert state["conditions"] == state["tolerations_s"] == {}


@pytest.mark.parametrize(
    ("tolerations", "kept"),
    [
        ([{"operator": "Exists"}], {"not-ready": None, "unreachable": None}),
        ([{"operator": "Exists", "effect": "NoSchedule"}], {}),
        ([{"key": "node.kubernetes.io/unreachable", "value": "x"}], {}),
        ([{"key": "node.kubernetes.io/unreachable", "tolerationSeconds": -1}], {"unreachable": 0}),
        (
            [
                {"operator": "Exists", "tolerationSeconds": 9},
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 3},
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists"},
            ],
            {"not-ready": 3, "unreachable": 9},
        ),
    ],
    ids=["all for ever", "another effect", "another value", "at once", "the shortest of several"],
)
def test_how_long_a_lost_node_is_borne(tolerations: list[dict[str, Any]], kept: dict[str, Any]) -> None:
    """As Kubernetes matches them: a missing key is every taint, a missing effect every effect."""
    raw = pod_json("web-0") | {"spec": {"tolerations": tolerations}}
    assert state_of("Pod", raw)["tolerations_s"] == kept


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
    spec = {"volumeName": "pv-1", "storageClassName": "standard"}
    bound = {"metadata": {"deletionTimestamp": "t"}, "spec": spec, "status": {"phase": "Bound"}}
    kept = {"phase": "Bound", "volume": "pv-1", "storage_class": "standard", "deleting": True}
    assert state_of("PersistentVolumeClaim", bound) == kept
    assert state_of("PersistentVolumeClaim", {"metadata": {}}) == dict.fromkeys(kept) | {"deleting": False}


def test_a_volume() -> None:
    """The claim that it is bound to, by UID, and the one node that it can be used on."""
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["worker"]}]}]
    spec = {
        "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "ns", "name": "data-web-0", "uid": "u"},
        "storageClassName": "standard",
        "persistentVolumeReclaimPolicy": "Delete",
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
    }
    kept = {
        "phase": "Bound",
        "claim": {"namespace": "ns", "name": "data-web-0", "uid": "u"},
        "storage_class": "standard",
        "node": "worker",
        "reclaim": "Delete",
        "deleting": False,
    }
    assert state_of("PersistentVolume", {"metadata": {}, "spec": spec, "status": {"phase": "Bound"}}) == kept
    assert state_of("PersistentVolume", {"metadata": {}}) == dict.fromkeys(kept) | {"deleting": False}


@pytest.mark.parametrize("change", [{"values": ["a", "b"]}, {"operator": "NotIn"}, {"key": "zone"}])
def test_a_volume_that_several_nodes_can_use_is_tied_to_none(change: dict[str, Any]) -> None:
    """Only a hostname, and only one, ties it; another term beside it opens it again."""
    only = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["worker"]}
    for terms in ([{"matchExpressions": [only | change]}], [{"matchExpressions": [only]}, {}]):
        raw = {"metadata": {}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}
        assert state_of("PersistentVolume", raw)["node"] is None


def test_a_lease() -> None:
    """Who holds it, since when, and how often it changed hands."""
    spec = {"holderIdentity": "worker", "renewTime": "t", "leaseTransitions": 2}
    assert state_of("Lease", {"metadata": {}, "spec": spec}) == {
        "holder": "worker",
        "renewed_at": "t",
        "transitions": 2,
    }
    assert state_of("Lease", {"metadata": {}}) == {"holder": None, "renewed_at": None, "transitions": 0}


@pytest.mark.parametrize(("end", "status"), [("Complete", "True"), ("Failed", "True"), (None, "False")])
def test_a_job(end: str | None, status: str) -> None:
    """What it did so far, and how it ended, which only a condition that is true says."""
    conditions = [{"type": "Suspended", "status": "True"}, {"type": end or "Complete", "status": status}]
    raw = {"metadata": {}, "spec": {"completions": 3}, "status": {"succeeded": 2, "conditions": conditions}}
    kept = {"completions": 3, "active": 0, "succeeded": 2, "failed": 0, "ended": end}
    assert state_of("Job", raw) == kept


def test_a_node() -> None:
    """Taints in one order whatever the API's, with an empty value where there is none."""
    taints = [{"key": "z", "effect": "NoExecute"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]
    conditions = [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}]
    spec, labels = {"unschedulable": True, "taints": taints}, {"zone": "a"}
    raw = {"metadata": {"labels": labels}, "spec": spec, "status": {"conditions": conditions}}
    kept = {"ready": True, "unschedulable": True, "taints": ["a=b:NoSchedule", "z=:NoExecute"], "labels": labels}
    assert state_of("Node", raw) == kept
    assert state_of("Node", {"metadata": {}}) == {"ready": False, "unschedulable": False, "taints": [], "labels": {}}


def test_services() -> None:
    """A headless one has no address; what is not published says so; one without a selector has none."""
    spec = {"type": "ClusterIP", "clusterIP": "10.96.0.9", "selector": {"app": "web"}, "sessionAffinity": "None"}
    whole = {"type": "ClusterIP", "cluster_ip": "10.96.0.9", "selector": {"app": "web"}, "affinity": "None"}
    assert state_of("Service", {"metadata": {}, "spec": spec}) == whole | {"publish_not_ready": False}
    headless = spec | {"clusterIP": "None", "publishNotReadyAddresses": True}
    kept = whole | {"cluster_ip": None, "publish_not_ready": True}
    assert state_of("Service", {"metadata": {}, "spec": headless}) == kept
    nothing = {"type": None, "cluster_ip": None, "selector": None, "publish_not_ready": False, "affinity": None}
    assert state_of("Service", {"metadata": {}}) == nothing


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
    kept |= {"selector": {"matchLabels": {"app": "web"}}}
    spec = {"replicas": 3, "selector": kept["selector"]}
    state = state_of(kind, {"metadata": {"generation": 5}, "spec": spec, "status": status})
    assert {key: state[key] for key in kept} == kept
    fresh = state_of(kind, {"metadata": {"generation": 1}, "spec": {"replicas": 0}})
    nothing = dict.fromkeys(kept, 0) | {"generation": 1, "observed_generation": None, "selector": None}
    assert {key: fresh[key] for key in kept} == nothing


def test_how_a_deployment_is_rolled() -> None:
    """Its strategy as it is written."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}
    kept = state_of("Deployment", {"metadata": {}, "spec": {"strategy": rolling, "minReadySeconds": 4}})
    assert kept["strategy"] == {"type": "RollingUpdate", "max_surge": "25%", "max_unavailable": 0}
    assert kept["min_ready_s"] == 4
    bare = state_of("Deployment", {"metadata": {}, "spec": {"strategy": {"type": "Recreate"}}})
    assert bare["strategy"] == {"type": "Recreate", "max_surge": None, "max_unavailable": None}


def test_how_a_stateful_set_orders_its_pods() -> None:
    """Its policy, its update with the partition, and which revision is which."""
    update = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    spec = {"podManagementPolicy": "OrderedReady", "updateStrategy": update, "serviceName": "web"}
    status = {"currentRevision": "web-1", "updateRevision": "web-2"}
    state = state_of("StatefulSet", {"metadata": {}, "spec": spec, "status": status})
    kept = {
        "pod_management_policy": "OrderedReady",
        "update_strategy": "RollingUpdate",
        "partition": 2,
        "first_ordinal": 0,
        "max_unavailable": None,
        "current_revision": "web-1",
        "update_revision": "web-2",
        "service_name": "web",
        "min_ready_s": 0,
    }
    assert {key: state[key] for key in kept} == kept
    assert state_of("StatefulSet", {"metadata": {}})["partition"] == 0
    assert state_of("StatefulSet", {"metadata": {}})["first_ordinal"] == 0
    assert state_of("StatefulSet", {"metadata": {}, "spec": {"ordinals": {"start": 5}}})["first_ordinal"] == 5


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
