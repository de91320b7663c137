"""Stacks and environments that are broken on purpose: each must be seen through, and for the right reason.

Each test says what every checker makes of the broken one: INVALID or UNKNOWN, with words that name the culprit, or
VALID. A checker that it does not name has nothing to judge there and must be UNKNOWN. The sound twin, under the same
fault, must be VALID by all that are named.
"""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from kindstorm import checkers
from kindstorm.checkers import (
    UNKNOWN,
    VALID,
    at_most_one,
    availability,
    consistency,
    disruption_budget,
    dns,
    durability,
    identity,
    load_balance,
    no_request_lost,
    ordering,
    placement,
    quiescence,
    recovery,
    rescheduling,
)
from kindstorm.faults import drain_node, kill_all_pods, kill_pod, pause_node, rolling_update, scale
from kindstorm.profiles import DOCUMENT_WRITES, HTTP_KEYS, HTTP_READS
from kindstorm.steady import ENTRY_ANSWERS, WORKLOADS_READY
from kindstorm.targets import node_of, node_running, one, ordinal, pod

ANSWERS = availability(error_ratio_max=0.1, gap_s_max=2.0)
RECOVERS = recovery(after_fault_s_max=60)
SPREAD = placement("nginx-deployment", spread=1)
KEEPS_IDENTITY = identity("web-*", dns_s_max=10)
IN_ORDER = ordering("web")
ONE_AT_A_TIME = at_most_one("web-*")
NAMES = dns()
BALANCED = load_balance()
NGINX = (ANSWERS, RECOVERS, NAMES, SPREAD)
WEB = (ANSWERS, RECOVERS, NAMES, KEEPS_IDENTITY, IN_ORDER, ONE_AT_A_TIME)
EVERY = (
    *NGINX, *WEB, BALANCED, consistency(), disruption_budget(), durability(), rescheduling("web-1", moves=True)
)  # fmt: skip

WRITES = DOCUMENT_WRITES.with_(port=30082, username="username", password="password")  # noqa: S106 - the documented one
KNOWN_BAD = Path(__file__).parent.parent / "manifests" / "stacks" / "known-bad"

POD = "spec/template/spec"
CONTAINER = "spec/template/spec/containers/0"
BROKEN_ENTRY = (WORKLOADS_READY,)
BROKEN_NAMES = (WORKLOADS_READY, ENTRY_ANSWERS)


@pytest.fixture
def trial(experiment):
    """Run two twins, the sound one first, and hold every checker to what is declared of it.

    What ``promises`` holds, and neither ``invalid`` nor ``unknown`` names, must be VALID of the broken one as well.
    ``besides`` are promises that neither twin keeps. Chance decides whether load_balance, where it is not named, has
    seen enough to be VALID.
    """

    def run(sound, broken, promises, faults, *, broken_faults=None, invalid=None, unknown=None, besides=(), **options):
        red = {**(invalid or {}), **(unknown or {})}
        named = dict.fromkeys((*red, *promises))
        kinds = {type(checker) for checker in (*named, *besides)}
        options = {"workload": HTTP_READS, "before_s": 3, "after_s": 3} | options

        twin = experiment(stack=sound, faults=faults, **options)
        twin.judge(*named)
        bad = experiment(stack=broken.plus(name=f"broken-{sound.name}"), faults=broken_faults or faults, **options)
        bad.judge_each(invalid, unknown, valid=[checker for checker in named if checker not in red])
        for checker in EVERY:
            for each in (twin, bad) if type(checker) not in kinds else ():
                verdict = checker.check(each.history)
                may_be = (UNKNOWN, VALID) if checker is BALANCED else (UNKNOWN,)
                assert verdict.outcome in may_be, f"{verdict.checker} has nothing to judge, but says {verdict}"

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


class Altered:
    """A fault of which a part is done otherwise: by a function of the scene and the fault's own disturbance."""

    def __init__(self, fault, **parts):
        self.name, self.hold_s = fault.name, fault.hold_s
        self._fault, self._parts = fault, parts

    def aim(self, scene):
        """The fault's own disturbance but for these parts."""
        own = self._fault.aim(scene)
        parts = {"target": own.target, "inject": own.inject, "effect": own.effect, "heal": own.heal}
        return SimpleNamespace(**parts | {name: partial(part, scene, own) for name, part in self._parts.items()})


@pytest.mark.smoke
def test_every_checker_is_held_to_something():
    """A checker that this file does not know of could say anything of the stacks below."""
    declared = {checker.name.partition("(")[0] for checker in EVERY} | {"quiescence", "no_request_lost"}
    assert declared == {name for name in checkers.__all__ if name.islower()}


# Services and probes


@pytest.mark.smoke
def test_a_service_that_selects_nothing(trial, stacks):
    """A Service whose selector matches no pod: nobody is answered, while the Deployment itself is as whole as ever."""
    trial(
        sound=stacks.nginx(),
        broken=edit(stacks.nginx(), "Service", {"spec/selector": {"app": "nobody"}}),
        faults=[kill_pod(one("nginx"))],
        steady=BROKEN_ENTRY,
        promises=NGINX,
        invalid={ANSWERS: "nothing was answered for"},
    )


@pytest.mark.full
def test_a_service_that_always_asks_the_same_pod(trial, stacks):
    """A Service with session affinity sends everything that comes through one node to one of its pods."""
    patient = starts_slowly(stacks.nginx(), 8)
    trial(
        sound=patient,
        broken=edit(patient, "Service", {"spec/sessionAffinity": "ClientIP"}),
        faults=[kill_pod(one("nginx"))],
        before_s=6,
        after_s=8,
        promises=(*NGINX, BALANCED),
        invalid={BALANCED: "nginx-deployment"},
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
        promises=NGINX,
        invalid={ANSWERS: "operations were not answered"},
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
        promises=NGINX,
        invalid={ANSWERS: "after the injection of rolling_update on Deployment nginx-deployment"},
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
        after_s=35,
        promises=(ANSWERS, NAMES, IN_ORDER, ONE_AT_A_TIME),
        invalid={recovery(after_fault_s_max=30): "StatefulSet/web had 2 ready, 3 before the fault"},
        unknown={KEEPS_IDENTITY: "no time after the fault is known at which the marker was read (web-1)"},
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
        promises=(RECOVERS, NAMES, SPREAD),
        invalid={no_request_lost(): "more expected"},
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
        promises=NGINX,
        invalid={ANSWERS: "nothing was answered for"},
        unknown={SPREAD: "1 replicas on 3 nodes cannot differ"},
    )


def beside_each_other(stack):
    """A copy whose pods go to one node where they can."""
    same_node = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "nginx"}}}
    wish = [{"weight": 100, "podAffinityTerm": same_node}]
    return edit(stack, "Deployment", {
        f"{POD}/topologySpreadConstraints/0/topologyKey": "kubernetes.io/os",
        f"{POD}/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution": wish,
    })  # fmt: skip


@pytest.mark.full
def test_replicas_on_one_node(trial, stacks):
    """Both pods are on one node, where a spread was promised: nothing happens to them, but it might have."""
    trial(
        sound=stacks.nginx(),
        broken=beside_each_other(stacks.nginx()),
        faults=[kill_pod(one("nginx"))],
        promises=NGINX,
        invalid={SPREAD: "had 2 replicas of Deployment/nginx-deployment"},
    )


@pytest.mark.full
def test_a_disruption_budget_that_lets_all_go(trial, stacks):
    """Both pods are on one node, and a drain may take both of them at once."""
    crowded = beside_each_other(starts_slowly(stacks.nginx(), 6))

    def budget(most):
        spec = {"maxUnavailable": most, "selector": {"matchLabels": {"app": "nginx"}}}
        return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "nginx"}, "spec": spec}

    trial(
        sound=crowded.plus(budget(1)),
        broken=crowded.plus(budget(2)),
        faults=[drain_node(node_running("nginx", at_least=2))],
        promises=(ANSWERS, RECOVERS, NAMES),
        besides=[SPREAD],
        invalid={ANSWERS: "after the injection of drain_node on Node"},
        unknown={
            disruption_budget(): "2 evictions could not break the budget nginx: 2 pods were ready, its floor is 0"
        },
    )


# Order, names and volumes of a StatefulSet


@pytest.mark.full
def test_parallel_where_order_was_promised(trial, stacks):
    """All pods of web are started at once, though each was to wait for the one before it."""
    trial(
        sound=stacks.web(),
        broken=edit(stacks.web(), "StatefulSet", {"spec/podManagementPolicy": "Parallel"}),
        faults=[kill_pod(ordinal("web", 1))],
        promises=WEB,
        invalid={IN_ORDER: "was created while web-0"},
    )


@pytest.mark.full
def test_two_pods_under_one_name(trial, stacks):
    """A node hangs and somebody deletes its web-1 by force: the next one runs elsewhere while the first may go on."""
    hang = pause_node(node_of("web-1"), hold_s=10)
    two_thirds_answer = availability(error_ratio_max=0.4, gap_s_max=5)

    def deleted_by_force(scene, outage):
        seen = outage.effect()
        scene.kube.delete("Pod", "web-1", scene.namespace, force=True)
        return seen

    trial(
        sound=stacks.web("shared"),
        broken=stacks.web("shared"),
        faults=[hang],
        broken_faults=[Altered(hang, effect=deleted_by_force)],
        promises=(two_thirds_answer, RECOVERS, NAMES, KEEPS_IDENTITY, IN_ORDER, ONE_AT_A_TIME),
        invalid={ONE_AT_A_TIME: "web-1 ran twice at once"},
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
        promises=WEB,
        invalid={KEEPS_IDENTITY: "the DNS name of web-0 still gave NXDOMAIN", NAMES: "web-0.wbe"},
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
        promises=WEB,
        invalid={KEEPS_IDENTITY: "the DNS name of web-1 still gave", NAMES: "10.244.99.99"},
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
        promises=WEB,
        invalid={KEEPS_IDENTITY: "the volume of web-1 held 'web-1 "},
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
        promises=WEB,
        invalid={KEEPS_IDENTITY: "web-0 and web-1 and web-2 hold the same marker"},
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
        promises=WEB,
        invalid={KEEPS_IDENTITY: "the volume of web-1 held 'web-1 "},
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
        promises=(ANSWERS, NAMES, KEEPS_IDENTITY, IN_ORDER, ONE_AT_A_TIME, recovery(after_heal_s_max=60)),
        invalid={KEEPS_IDENTITY: "the claim data-web-1 of web-1 was replaced"},
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
        promises=(availability(error_ratio_max=0.9, gap_s_max=30), RECOVERS, NAMES),
        invalid={durability(): "acknowledged writes are lost"},
    )


@pytest.mark.full
def test_a_proxy_that_forgets_what_it_has_acknowledged(trial, stacks):
    """Of a hundred writes one is acknowledged by a proxy in front of the database, and goes no further."""
    proxied = stacks.mongo().plus(*stacks.load(KNOWN_BAD / "write-proxy.yaml").documents)
    proxied = edit(proxied, "Service/mongodb-external", {"spec/selector": {"app": "write-proxy"}})
    trial(
        sound=proxied,
        broken=edit(proxied, "Deployment/write-proxy", {f"{CONTAINER}/env/0/value": "100"}),
        workload=WRITES,
        faults=[kill_pod(one("mongodb"))],
        before_s=5,
        after_s=10,
        promises=(availability(error_ratio_max=0.9, gap_s_max=30), RECOVERS, NAMES),
        invalid={durability(): "acknowledged writes are lost"},
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
        promises=(ANSWERS, RECOVERS, NAMES),
        invalid={consistency(lag_s_max=0): "a newer one had been acknowledged"},
    )


# What is left behind, and what never was


DRAIN = drain_node(node_of(one("nginx")))


@pytest.mark.full
def test_a_node_left_cordoned(trial, stacks):
    """A fault that says that it is healed, and has undone nothing."""
    trial(
        sound=stacks.nginx(),
        broken=stacks.nginx(),
        faults=[DRAIN],
        broken_faults=[Altered(DRAIN, heal=lambda *_: {})],
        promises=NGINX,
        invalid={quiescence(): "unschedulable was False, now it is True"},
    )


@pytest.mark.full
def test_something_is_left_behind(trial, stacks, cluster, request):
    """A fault that leaves something in the cluster when it goes, outside the stack's namespace."""
    thing = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "thing"}, "value": 1}
    request.addfinalizer(lambda: cluster.kube.delete("PriorityClass", "thing"))

    def litters(scene, drain):
        scene.kube.apply(thing)
        return drain.heal()

    trial(
        sound=stacks.nginx(),
        broken=stacks.nginx(),
        faults=[DRAIN],
        broken_faults=[Altered(DRAIN, heal=litters)],
        promises=NGINX,
        invalid={quiescence(): "the cluster's PriorityClass thing was left behind"},
    )


@pytest.mark.smoke
def test_a_fault_without_a_target(experiment, stacks):
    """A pod that is to be killed and is not there: nothing was put to the test. Its twin is the first one above."""
    options = {"workload": HTTP_READS, "faults": [kill_pod(pod("nginx-nobody"))], "before_s": 3, "after_s": 3}
    run = experiment(stack=stacks.nginx(), **options)
    run.judge_each(
        unknown=dict.fromkeys((*NGINX, quiescence()), "there is no pod nginx-nobody; the fault has no target")
    )
