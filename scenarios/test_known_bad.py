"""Stacks and environments that are broken on purpose: each must be seen through, and for the right reason.

Each test says what every checker makes of the broken one: INVALID or UNKNOWN, with words that name the culprit, or
VALID. A checker that it does not name has nothing to judge there and must be UNKNOWN. The sound twin, under the same
fault, must be VALID by all that are named.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from kindstorm.checkers import (
    UNKNOWN,
    availability,
    consistency,
    disruption_budget,
    durability,
    identity,
    no_request_lost,
    ordering,
    quiescence,
    recovery,
    rescheduling,
)
from kindstorm.faults import drain_node, kill_all_pods, kill_pod, rolling_update, scale
from kindstorm.profiles import DOCUMENT_WRITES, HTTP_KEYS, HTTP_READS
from kindstorm.steady import ENTRY_ANSWERS, WORKLOADS_READY
from kindstorm.targets import node_of, node_running, one, ordinal, pod

ANSWERS = availability(error_ratio_max=0.1, gap_s_max=2.0)
RECOVERS = recovery(after_fault_s_max=60)
KEEPS_IDENTITY = identity("web-*", dns_s_max=10)
IN_ORDER = ordering("web")
EVERY = (
    ANSWERS, RECOVERS, KEEPS_IDENTITY, IN_ORDER, consistency(), disruption_budget(), durability(),
    rescheduling("web-1", moves=True),
)  # fmt: skip

WRITES = DOCUMENT_WRITES.with_(port=30082, username="username", password="password")  # noqa: S106 - the documented one
KNOWN_BAD = Path(__file__).parent.parent / "manifests" / "stacks" / "known-bad"

POD = "spec/template/spec"
CONTAINER = "spec/template/spec/containers/0"
BROKEN_ENTRY = (WORKLOADS_READY,)
BROKEN_NAMES = (WORKLOADS_READY, ENTRY_ANSWERS)


@pytest.fixture
def trial(experiment):
    """Run the sound and the broken one of two twins under the same load, and hold every checker to its declaration."""

    def run(sound, broken, faults, broken_faults=None, invalid=None, unknown=None, valid=(), **options):
        named = [*(invalid or {}), *(unknown or {}), *valid]
        others = [checker for checker in EVERY if type(checker) not in map(type, named)]
        options = {"workload": HTTP_READS, "before_s": 3, "after_s": 3} | options

        twin = experiment(stack=sound, faults=faults, **options)
        twin.judge(*named)
        bad = experiment(stack=broken.plus(name=f"broken-{sound.name}"), faults=broken_faults or faults, **options)
        bad.judge_each(invalid, unknown, valid)
        for checker in others:
            for each in (twin, bad):
                verdict = checker.check(each.history)
                assert verdict.outcome is UNKNOWN, f"{verdict.checker} has nothing to judge, but says {verdict}"

    return run


def edit(stack, kind, changes):
    """A copy with these values at these paths, in every document of the ``Kind``, or in the one ``Kind/name``."""
    kind, _, name = kind.partition("/")

    def change(document):
        if document["kind"] == kind and name in ("", document["metadata"]["name"]):
            for path, value in changes.items():
                *way, last = (int(step) if step.isdigit() else step for step in path.split("/"))
                place = document
                for step in way:
                    place = place[step] if isinstance(step, int) else place.setdefault(step, {})
                place[last] = value

    return stack.patched(change)


def starts_slowly(stack, seconds):
    """A copy whose nginx listens so many seconds after its container has started."""
    return edit(
        stack, "Deployment", {f"{CONTAINER}/command": ["sh", "-c", f"sleep {seconds}; exec nginx -g 'daemon off;'"]}
    )


# Services and probes


@pytest.mark.smoke
def test_a_service_that_selects_nothing(trial, stacks):
    """A Service whose selector matches no pod: nobody is answered, while the Deployment itself is as whole as ever."""
    trial(
        sound=stacks.nginx(),
        broken=edit(stacks.nginx(), "Service", {"spec/selector": {"app": "nobody"}}),
        faults=[kill_pod(one("nginx"))],
        steady=BROKEN_ENTRY,
        invalid={ANSWERS: "nothing was answered for"},
        valid=[RECOVERS],
    )


@pytest.mark.full
def test_a_readiness_probe_that_lies(trial, stacks):
    """A probe that always succeeds lets clients in eight seconds before the server listens."""
    honest = starts_slowly(stacks.nginx(), 8)
    trial(
        sound=honest,
        broken=edit(honest, "Deployment", {f"{CONTAINER}/readinessProbe": {"exec": {"command": ["true"]}}}),
        faults=[kill_pod(one("nginx"))],
        after_s=10,
        invalid={ANSWERS: "operations were not answered"},
        valid=[RECOVERS],
    )


@pytest.mark.full
def test_a_rolling_update_without_readiness(trial, stacks):
    """Without a probe a pod is ready once it runs: the update stops the last old one before a new one listens."""
    probed = starts_slowly(stacks.nginx(), 6)
    trial(
        sound=probed,
        broken=edit(probed, "Deployment", {f"{CONTAINER}/readinessProbe": None}),
        faults=[rolling_update("nginx-deployment")],
        after_s=10,
        invalid={ANSWERS: "after the injection of rolling_update on Deployment nginx-deployment"},
        valid=[RECOVERS],
    )


@pytest.mark.full
def test_a_liveness_probe_that_kills_for_ever(trial, stacks):
    """A probe that wants the pod to be the one that the volume began with kills every later one, again and again."""
    patient = edit(stacks.web(), "StatefulSet", {f"{CONTAINER}/readinessProbe/initialDelaySeconds": 4})
    original = {
        "exec": {"command": ["sh", "-c", 'grep "$POD_UID" /data/identity']},
        "periodSeconds": 1,
        "failureThreshold": 1,
    }
    trial(
        sound=patient,
        broken=edit(patient, "StatefulSet", {f"{CONTAINER}/livenessProbe": original}),
        faults=[kill_pod(ordinal("web", 1))],
        steady=(ENTRY_ANSWERS,),
        after_s=25,
        invalid={recovery(after_fault_s_max=20): "StatefulSet/web had 2 ready, 3 before the fault"},
        unknown={KEEPS_IDENTITY: "no time after the fault is known at which the marker was read (web-1)"},
        valid=[ANSWERS, IN_ORDER],
    )


@pytest.mark.full
def test_requests_that_are_cut_off(trial, stacks):
    """A pod that has one second to stop in breaks off answers that take two; one that may finish them does not."""
    slow = """
        server {
            listen 8080;
            location / { limit_rate 1000; return 200 "%s"; }
            location /ready { return 200; }
        }
    """ % ("x" * 3000)
    polite = edit(stacks.nginx(), "ConfigMap", {"data/default.conf": slow})
    polite = edit(polite, "Deployment", {
        f"{CONTAINER}/readinessProbe/httpGet/path": "/ready",
        f"{CONTAINER}/lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    })  # fmt: skip
    hasty = {f"{CONTAINER}/lifecycle": None, f"{POD}/terminationGracePeriodSeconds": 1}
    trial(
        sound=polite,
        broken=edit(polite, "Deployment", hasty),
        workload=HTTP_READS.with_(timeout_s=5, users=100),
        faults=[kill_pod(one("nginx"))],
        steady=BROKEN_ENTRY,
        invalid={no_request_lost(): "more expected"},
        valid=[RECOVERS],
    )


# Too few pods, or too many of them gone


@pytest.mark.full
def test_a_single_replica(trial, stacks):
    """One pod and nobody beside it: its death is an outage, however quickly it is replaced."""
    pair = starts_slowly(stacks.nginx(), 4)
    trial(
        sound=pair,
        broken=edit(pair, "Deployment", {"spec/replicas": 1}),
        faults=[kill_pod(one("nginx"))],
        invalid={ANSWERS: "nothing was answered for"},
        valid=[RECOVERS],
    )


@pytest.mark.full
def test_a_disruption_budget_that_lets_all_go(trial, stacks):
    """Both pods are on one node, and a drain may take both of them at once."""
    beside = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "nginx"}}}
    crowded = edit(starts_slowly(stacks.nginx(), 6), "Deployment", {
        f"{POD}/topologySpreadConstraints/0/topologyKey": "kubernetes.io/os",
        f"{POD}/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 100, "podAffinityTerm": beside}],
    })  # fmt: skip

    def budget(most):
        spec = {"maxUnavailable": most, "selector": {"matchLabels": {"app": "nginx"}}}
        return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "nginx"}, "spec": spec}

    trial(
        sound=crowded.plus(budget(1)),
        broken=crowded.plus(budget(2)),
        faults=[drain_node(node_running("nginx", at_least=2))],
        invalid={ANSWERS: "after the injection of drain_node on Node"},
        unknown={
            disruption_budget(): "2 evictions could not break the budget nginx: 2 pods were ready, its floor is 0"
        },
        valid=[RECOVERS],
    )


# Order, names and volumes of a StatefulSet


@pytest.mark.full
def test_parallel_where_order_was_promised(trial, stacks):
    """All pods of web are started at once, though each was to wait for the one before it."""
    trial(
        sound=stacks.web(),
        broken=edit(stacks.web(), "StatefulSet", {"spec/podManagementPolicy": "Parallel"}),
        faults=[kill_pod(ordinal("web", 1))],
        invalid={IN_ORDER: "web-1"},
        valid=[ANSWERS, RECOVERS, KEEPS_IDENTITY],
    )


@pytest.mark.full
def test_no_headless_service(trial, stacks):
    """A StatefulSet that names a Service which is not there: its pods run, and have no names."""
    trial(
        sound=stacks.web(),
        broken=edit(stacks.web(), "StatefulSet", {"spec/serviceName": "wbe"}),
        faults=[kill_pod(ordinal("web", 1))],
        steady=BROKEN_NAMES,
        after_s=12,
        invalid={KEEPS_IDENTITY: "the DNS name of web-0 still gave NXDOMAIN"},
        valid=[ANSWERS, RECOVERS, IN_ORDER],
    )


@pytest.mark.full
def test_a_name_that_leads_to_a_dead_address(trial, stacks):
    """Somebody's EndpointSlice adds an address to web-1's name that nobody has."""
    dead = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-leftover", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.99.99"], "hostname": "web-1", "conditions": {"ready": True}}],
        "ports": [{"port": 80}],
    }
    trial(
        sound=stacks.web(),
        broken=stacks.web().plus(dead),
        faults=[kill_pod(ordinal("web", 1))],
        steady=BROKEN_NAMES,
        after_s=12,
        invalid={KEEPS_IDENTITY: "the DNS name of web-1 still gave"},
        valid=[ANSWERS, RECOVERS, IN_ORDER],
    )


def data_on(stack, volume):
    """A copy of web whose pods keep their data on this volume instead of on a claim of their own."""
    volumes = [{"name": "conf", "configMap": {"name": "web-conf"}}, {"name": "data"} | volume]
    return edit(stack, "StatefulSet", {"spec/volumeClaimTemplates": [], f"{POD}/volumes": volumes})


@pytest.mark.full
def test_a_volume_that_dies_with_its_pod(trial, stacks):
    """Each pod of web keeps its data in itself, where the next one of its name does not find it."""
    trial(
        sound=stacks.web(),
        broken=data_on(stacks.web(), {"emptyDir": {}}),
        faults=[kill_pod(ordinal("web", 1))],
        invalid={KEEPS_IDENTITY: "the volume of web-1 held 'web-1 "},
        valid=[ANSWERS, RECOVERS, IN_ORDER],
    )


POOL = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "pool"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "16Mi"}}},
}


@pytest.mark.full
def test_a_volume_that_all_share(trial, stacks):
    """The three pods of web write into one claim, each as if it were its own."""
    trial(
        sound=stacks.web("shared"),
        broken=data_on(stacks.web(), {"persistentVolumeClaim": {"claimName": "pool"}}).plus(POOL).stored_on("shared"),
        faults=[kill_pod(ordinal("web", 1))],
        invalid={KEEPS_IDENTITY: "web-0 and web-1 and web-2 hold the same marker"},
        valid=[ANSWERS, RECOVERS, IN_ORDER],
    )


@pytest.mark.full
def test_a_volume_that_goes_to_another_ordinal(trial, stacks):
    """Each pod takes the next of three folders when it starts, so that web-1's second pod gets web-0's data."""
    takes_the_next = """
        n=$(cat /pool/starts || echo 0); echo $((n + 1)) > /pool/starts
        mkdir -p /pool/$((n % 3)); ln -s /pool/$((n % 3)) /data
        [ -s /data/identity ] || echo "$POD_NAME $POD_UID" > /data/identity
        exec nginx -g 'daemon off;'
    """
    pooled = data_on(stacks.web(), {"persistentVolumeClaim": {"claimName": "pool"}})
    takes = {f"{CONTAINER}/command": ["sh", "-c", takes_the_next], f"{CONTAINER}/volumeMounts/1/mountPath": "/pool"}
    trial(
        sound=stacks.web("shared"),
        broken=edit(pooled, "StatefulSet", takes).plus(POOL).stored_on("shared"),
        faults=[kill_pod(ordinal("web", 1))],
        invalid={KEEPS_IDENTITY: "the volume of web-1 held 'web-1 "},
        valid=[ANSWERS, RECOVERS, IN_ORDER],
    )


@pytest.mark.full
def test_a_claim_that_goes_with_its_replica(trial, stacks):
    """Claims that are deleted when their pods are scaled away: those that come back find nothing of theirs."""
    trial(
        sound=stacks.web(),
        broken=edit(
            stacks.web(), "StatefulSet", {"spec/persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}
        ),
        faults=[scale("StatefulSet/web", 1, hold_s=5)],
        invalid={KEEPS_IDENTITY: "the claim data-web-1 of web-1 was replaced"},
        valid=[ANSWERS, IN_ORDER, recovery(after_heal_s_max=60)],
    )


# Writes


@pytest.mark.smoke
def test_a_database_without_a_volume(trial, stacks):
    """The documents live in the database's pod and die with it, acknowledged or not."""
    trial(
        sound=stacks.mongo(),
        broken=edit(stacks.mongo(), "Deployment/mongodb-depl", {f"{POD}/volumes": [{"name": "data", "emptyDir": {}}]}),
        workload=WRITES,
        faults=[kill_all_pods("mongodb")],
        before_s=5,
        invalid={durability(): "acknowledged writes are lost"},
        valid=[availability(error_ratio_max=0.9, gap_s_max=30), RECOVERS],
    )


@pytest.mark.full
def test_a_proxy_that_forgets_what_it_has_acknowledged(trial, stacks):
    """Of five hundred writes one is acknowledged by a proxy in front of the database, and goes no further."""
    proxied = stacks.mongo().plus(*stacks.load(KNOWN_BAD / "write-proxy.yaml").documents)
    proxied = edit(proxied, "Service/mongodb-external", {"spec/selector": {"app": "write-proxy"}})
    trial(
        sound=proxied,
        broken=edit(proxied, "Deployment/write-proxy", {f"{CONTAINER}/env/0/value": "500"}),
        workload=WRITES.with_(rate_per_s=100, users=100),
        faults=[kill_pod(one("mongodb"))],
        after_s=10,
        invalid={durability(): "acknowledged writes are lost"},
        valid=[availability(error_ratio_max=0.9, gap_s_max=30), RECOVERS],
    )


@pytest.mark.full
def test_a_replica_that_serves_stale_data(trial, stacks):
    """Both pods of keys remember the files that they have served, for a minute, whatever the other one stores."""
    (conf,) = [each["data"]["default.conf"] for each in stacks.keys().documents if each["kind"] == "ConfigMap"]
    remembers = {"data/default.conf": f"open_file_cache max=1000; {conf}"}
    trial(
        sound=stacks.keys(),
        broken=edit(stacks.keys(), "ConfigMap", remembers),
        workload=HTTP_KEYS,
        faults=[kill_pod(one("keys"))],
        invalid={consistency(lag_s_max=0): "a newer one had been acknowledged"},
        valid=[ANSWERS, RECOVERS],
    )


# What is left behind, and what never was


@pytest.mark.full
def test_something_is_left_behind(trial, stacks, cluster, request):
    """A stack that makes something outside its namespace leaves it in the cluster."""
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "left-over"},
        "spec": {"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/mnt"}},
    }
    request.addfinalizer(lambda: cluster.kube.delete("PersistentVolume", "left-over"))
    trial(
        sound=stacks.nginx(),
        broken=stacks.nginx().plus(volume),
        faults=[kill_pod(one("nginx"))],
        invalid={quiescence(): "volume left-over was left behind"},
        valid=[ANSWERS, RECOVERS],
    )


@dataclass(frozen=True)
class Forgetful:
    """A fault whose healing says that all is well, and undoes nothing. The journal has it undone later."""

    fault: object

    def __getattr__(self, name):
        return getattr(self.fault, name)

    def aim(self, scene):
        """The fault's own disturbance, but for its healing."""
        disturbance = self.fault.aim(scene)
        disturbance.heal = lambda: {"unschedulable": False}
        return disturbance


@pytest.mark.full
def test_a_node_left_cordoned(trial, stacks):
    """A drain that is told to be healed while its node still takes no pod."""
    drain = drain_node(node_of(one("nginx")))
    trial(
        sound=stacks.nginx(),
        broken=stacks.nginx(),
        faults=[drain],
        broken_faults=[Forgetful(drain)],
        invalid={quiescence(): "unschedulable was False, now it is True"},
        valid=[ANSWERS, RECOVERS],
    )


@pytest.mark.smoke
def test_a_fault_without_a_target(trial, stacks):
    """A fault on a pod that does not exist leaves a sound stack UNKNOWN: nothing was put to the test."""
    nothing = "there is no pod nginx-nobody; the fault has no target"
    trial(
        sound=stacks.nginx(),
        broken=stacks.nginx(),
        faults=[kill_pod(one("nginx"))],
        broken_faults=[kill_pod(pod("nginx-nobody"))],
        unknown={ANSWERS: nothing, RECOVERS: nothing, quiescence(): nothing},
    )
