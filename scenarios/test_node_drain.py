"""B14: a pod whose node is drained goes where its volume lets it: to another node, or to none until its own is back.

And a drain waits where a PodDisruptionBudget tells it to.
"""

import pytest

from kindstorm.checkers import INVALID, UNKNOWN, availability, disruption_budget, identity, recovery, rescheduling
from kindstorm.faults import drain_node
from kindstorm.profiles import HTTP_READS
from kindstorm.targets import node_of, node_running, one

# How long the node stays drained: what rescheduling needs to see. On local storage ten seconds of refusals, on shared
# storage a new pod that is ready, which takes a busy machine of two cores longer than the two or three seconds of an
# idle one.
HOLD_S = {"local": 15, "shared": 30}


@pytest.mark.smoke
@pytest.mark.parametrize("storage", ["local", "shared"])
def test_node_drain(experiment, stacks, storage):
    """web-1's node is drained: web-1 moves with its data on shared storage, and waits for its node on local storage."""
    moves = storage == "shared"
    run = experiment(
        stack=stacks.web(storage=storage),
        workload=HTTP_READS,
        faults=[drain_node(node_of("web-1"), hold_s=HOLD_S[storage])],
    )
    run.judge(rescheduling("web-1", moves=moves), identity("web-*", dns_s_max=30), recovery(after_heal_s_max=60))
    # Each storage is the other's broken twin: by the contrary promise the same run must be red.
    assert rescheduling("web-1", moves=not moves).check(run.history).outcome is INVALID


def four_nginx(document):
    """Edit nginx's Deployment so that one of three workers runs two of its pods."""
    if document["kind"] == "Deployment":
        document["spec"]["replicas"] = 4


def budget(max_unavailable):
    """A PodDisruptionBudget for nginx."""
    spec = {"maxUnavailable": max_unavailable, "selector": {"matchLabels": {"app": "nginx"}}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "nginx"}, "spec": spec}


@pytest.mark.smoke
def test_a_drain_respects_a_disruption_budget(experiment, stacks):
    """Two of four nginx pods must leave and one may be missing: the second eviction is refused until it may go."""
    run = experiment(
        stack=stacks.nginx().patched(four_nginx, name="nginx-budget").plus(budget(1)),
        workload=HTTP_READS,
        faults=[drain_node(node_running("nginx", at_least=2), hold_s=5)],
    )
    # The floor is the API server's own to keep, so no manifest breaks it; broken ones are in the checker's unit tests.
    run.judge(disruption_budget(), availability(error_ratio_max=0.1, gap_s_max=2.0), recovery(after_heal_s_max=60))
    (drain,) = run.history.faults()
    assert drain.detail("injected")["refused_evictions"] >= 1


@pytest.mark.smoke
def test_a_blocked_drain_is_unknown(experiment, stacks):
    """A budget that allows no disruption blocks the drain: nothing was put to the test, and the reason is told."""
    run = experiment(
        stack=stacks.nginx().plus(budget(0), name="nginx-no-disruption"),
        workload=HTTP_READS,
        faults=[drain_node(node_of(one("nginx")), retry_s=5)],
    )
    verdicts = run.judge(
        disruption_budget(), availability(error_ratio_max=0.1, gap_s_max=2.0), recovery(after_heal_s_max=60),
        expect=UNKNOWN,
    )  # fmt: skip
    assert all("is blocked" in verdict.summary and "disruption budget nginx" in verdict.summary for verdict in verdicts)
