"""Without a budget of the author's, recovery is judged by what the live settings allow, and by nothing else."""

from __future__ import annotations

import pytest
from histories import NAMESPACE, Story

from chaos.checkers import Outcome, Verdict, recovery
from chaos.history import Json

TIMINGS = {"node_monitor_period": 2, "node_status_update": 3, "dns_ttl": 30, "dns_cache": 0}
PROBE = {"container": "app", "initial_delay_s": 1, "period_s": 2, "timeout_s": 1, "successes": 2, "failures": 3}


def story(
    kind: str = "StatefulSet",
    fault: str = "kill_pod",
    ready_s: float = 24,
    inject_s: float = 20,
    probes: list[Json] | None = None,
    grace_s: float = 10,
    target: dict[str, Json] | None = None,
    injected: dict[str, Json] | None = None,
) -> Story:
    """A whole run in which the one pod of a workload is lost at 20.1 s and replaced; ready at ``ready_s``."""
    owner = "StatefulSet/web" if kind == "StatefulSet" else "ReplicaSet/web-6d4cf56db6"
    kept = {"readiness": [PROBE] if probes is None else probes, "grace_s": grace_s}
    told = Story().phases(after=(30, 80), verify=(80, 82), remove=(82, 83)).load(10, 80).revisions(0.05, 83)
    told.fact("experiment", {"namespace": NAMESPACE}).fact("cluster", {"timings_s": TIMINGS})
    told.fact("stack", {"name": "web", "workloads": [{"kind": kind, "name": "web", "replicas": 1}]})
    target = target or {"kind": "Pod", "name": "web-0", "uid": "a"}
    told.fault(fault, target, inject_s=inject_s, injected=injected, effect={"uid_before": "a"})
    told.pod(2, "web-0", "a", "added", owner, **kept)
    told.pod(20.1, "web-0", "a", "deleted", owner, ready=False, **kept)
    told.pod(20.2, "web-0", "b", "added", owner, ready=False, **kept)
    return told.pod(ready_s, "web-0", "b", "modified", owner, **kept)


def judged(told: Story) -> Verdict:
    """The verdict without a budget of the author's."""
    return recovery().check(told.history())


def budget(told: Story) -> dict[str, Json]:
    """What was derived."""
    (fault,) = judged(told).evidence["faults"]
    return dict(fault["budget_s"])


def test_a_stateful_sets_pod_waits_for_the_old_one() -> None:
    """Its grace, the start, and the slowest probe: 10 + 1, 5, 1 + 2 x 2 + 1 + 1, and 1 for the endpoints."""
    parts = {"since": "inject", "exit": 11, "start": 5, "ready": 7, "endpoint": 1, "total": 24}
    assert budget(story()) == parts
    slower = [PROBE, PROBE | {"initial_delay_s": 9}]
    assert budget(story(probes=slower))["ready"] == 15
    assert budget(story(probes=[]))["ready"] == 1


def test_a_replica_sets_pod_waits_for_nobody() -> None:
    """A new one comes while the old one ends: its grace takes no time."""
    assert budget(story("Deployment")) == {"since": "inject", "start": 5, "ready": 7, "endpoint": 1, "total": 13}


def test_a_pod_killed_by_force_has_no_grace() -> None:
    """It is gone at once."""
    assert "exit" not in budget(story(injected={"grace": "none: it is gone from the API at once"}))


@pytest.mark.parametrize(
    ("ready_s", "outcome"), [(43, Outcome.VALID), (44.02, Outcome.UNKNOWN), (44.2, Outcome.INVALID)]
)
def test_the_derived_budget_judges(ready_s: float, outcome: Outcome) -> None:
    """24 s: kept, between two reads of the revision, or broken; the finding says by how much it was missed."""
    verdict = judged(story(ready_s=ready_s))
    assert verdict.outcome is outcome, verdict.summary
    if outcome is Outcome.INVALID:
        assert "whole again only between 24.15 and 24.20 s after the injection (budget 24 s)" in verdict.summary


def test_how_much_of_it_was_used_is_told() -> None:
    """In percent, as an interval."""
    (fault,) = judged(story(ready_s=32)).evidence["faults"]
    assert fault["used_percent"] == [49.8, 50.0]


def test_a_budget_of_the_authors_outweighs_it() -> None:
    """The derived one is shown all the same."""
    verdict = recovery(after_fault_s_max=3).check(story(ready_s=24).history())
    assert verdict.outcome is Outcome.INVALID
    assert verdict.evidence["faults"][0]["budget_s"]["total"] == 24


def lost_node(**other: Json) -> Story:
    """The node of the pod is stopped."""
    return story(fault="stop_node", target={"kind": "Node", "name": "worker"}, **other)


def test_a_lost_node_is_counted_from_its_healing() -> None:
    """Its kubelet tells of itself every 3 s, the controller looks every 2 s, and then the pod comes back."""
    told = lost_node(ready_s=28)
    assert budget(told) == {"since": "heal", "node": 6, "exit": 11, "start": 5, "ready": 7, "endpoint": 1, "total": 30}
    assert judged(told).outcome is Outcome.VALID
    assert judged(lost_node(ready_s=56)).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("told", "lacks"),
    [
        (lost_node().without(lambda r: r.get("name") == "cluster"), "the cluster's node_status_update"),
        (story().without(lambda r: r.get("uid") == "a"), "no pod that it met was seen"),
    ],
)
def test_without_the_settings_nobody_can_tell(told: Story, lacks: str) -> None:
    """UNKNOWN, with what is lacking: no constant takes its place."""
    verdict = judged(told)
    assert verdict.outcome is Outcome.UNKNOWN
    assert lacks in verdict.evidence["faults"][0]["budget_lacks"][0]


def test_older_histories_lack_the_pods_settings() -> None:
    """Their pods have no readiness probes on record."""
    told = story()
    for record in told.records:
        if record.get("object") == "Pod":
            del record["state"]["readiness"]
    verdict = judged(told)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "no budget can be derived for kill_pod on Pod web-0, for lack of: the pods' grace" in verdict.summary


def several(policy: str, fault: str = "kill_all_pods", **injected: Json) -> Story:
    """Three pods of a StatefulSet are lost at once and come back."""
    told = Story().phases(after=(30, 200), verify=(200, 202), remove=(202, 203)).load(10, 12).revisions(0.05, 203)
    told.fact("experiment", {"namespace": NAMESPACE}).fact("cluster", {"timings_s": TIMINGS})
    told.fact("stack", {"name": "web", "workloads": [{"kind": "StatefulSet", "name": "web", "replicas": 3}]})
    names = [f"web-{number}" for number in range(3)]
    target = {"kind": "Pods", "name": "web-*", "pods": [{"name": name, "uid": f"{name}-a"} for name in names]}
    if fault != "kill_all_pods":
        target = {"kind": "StatefulSet", "name": "web"}
    told.fault(fault, target, injected=injected, effect={"gone": True})
    told.seen(1, "StatefulSet", "web", "web-uid", {"pod_management_policy": policy})
    for place, name in enumerate(names):
        kept = {"readiness": [], "grace_s": 2}
        told.pod(2, name, f"{name}-a", "added", **kept).pod(20.1, name, f"{name}-a", "deleted", ready=False, **kept)
        told.pod(22 + place, name, f"{name}-b", "added", **kept)
    return told


def test_pods_in_order_come_back_one_after_the_other() -> None:
    """Three times as long as in parallel."""
    assert budget(several("OrderedReady")) == {
        "since": "inject", "exit": 7, "start": 15, "ready": 3, "endpoint": 1, "total": 26,
    }  # fmt: skip
    assert budget(several("Parallel"))["total"] == 3 + 5 + 1 + 1


def test_a_scaled_workload_has_as_many_steps_as_replicas() -> None:
    """Counted from the healing, which gives them back."""
    scaled = budget(several("OrderedReady", "scale", replicas_before=3, replicas_after=1))
    assert (scaled["since"], scaled["start"]) == ("heal", 10)


def test_a_rolling_update_goes_pod_by_pod() -> None:
    """Each ends and starts in its turn, and nothing is healed."""
    rolled = budget(several("Parallel", "rolling_update", pods_before=3))
    assert (rolled["since"], rolled["exit"], rolled["start"]) == ("inject", 7, 15)
