"""Stacks that are broken on purpose, and faults that cannot be: what must never be judged VALID."""

import pytest

from kindstorm.checkers import INVALID, UNKNOWN, availability, durability
from kindstorm.faults import kill_all_pods, kill_pod
from kindstorm.profiles import DOCUMENT_WRITES, HTTP_READS
from kindstorm.steady import WORKLOADS_READY
from kindstorm.targets import one, pod

BUDGET = {"error_ratio_max": 0.1, "gap_s_max": 2.0}


def selects_nothing(document):
    """Edit a Service so that its selector matches no pod."""
    if document["kind"] == "Service":
        document["spec"]["selector"] = {"app": "nobody"}


@pytest.mark.smoke
def test_a_service_that_selects_nothing_is_invalid(experiment, stacks):
    """A Service whose selector matches nothing is INVALID by availability; its sound twin is VALID."""
    broken = stacks.nginx().patched(selects_nothing, name="nginx-selects-nothing")
    for stack, expected in ((broken, INVALID), (stacks.nginx(), None)):
        run = experiment(
            stack=stack,
            workload=HTTP_READS,
            faults=[kill_pod(one("nginx"))],
            steady=(WORKLOADS_READY,),
        )
        run.judge(availability(**BUDGET), **({"expect": expected} if expected else {}))


def keeps_nothing(document):
    """Edit mongodb's Deployment so that its documents live in the pod and die with it."""
    if document["metadata"]["name"] == "mongodb-depl":
        document["spec"]["template"]["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}]


@pytest.mark.smoke
def test_a_database_without_a_volume_is_invalid(experiment, stacks):
    """All its pods die and take the acknowledged documents along; with a volume, under the same fault, they survive."""
    workload = DOCUMENT_WRITES.with_(port=30082, username="username", password="password")  # noqa: S106 - documented
    broken = stacks.mongo().patched(keeps_nothing, name="mongo-keeps-nothing")
    for stack, expected in ((broken, INVALID), (stacks.mongo(), None)):
        run = experiment(stack=stack, workload=workload, faults=[kill_all_pods("mongodb")])
        run.judge(durability(), **({"expect": expected} if expected else {}))


@pytest.mark.smoke
def test_a_fault_without_a_target_is_never_valid(experiment, stacks):
    """A fault on a pod that does not exist leaves a sound stack UNKNOWN: nothing was put to the test."""
    run = experiment(stack=stacks.nginx(), workload=HTTP_READS, faults=[kill_pod(pod("nginx-nobody"))])
    run.judge(availability(**BUDGET), expect=UNKNOWN)
