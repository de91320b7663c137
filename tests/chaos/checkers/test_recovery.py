"""Recovery: intervals that lie within a budget, beyond it, or across it, and recoveries that nobody saw."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from histories import NAMESPACE, Story, edge, killed_pod

from chaos.checkers import Outcome, Verdict, recovery


def judged(story: Story, after_fault_s_max: float | None = 5, after_heal_s_max: float | None = None) -> Verdict:
    """The verdict on a story."""
    return recovery(after_fault_s_max, after_heal_s_max).check(story.history())


def scaled(back_s: float | None, after: int = 1, before: int = 3) -> Story:
    """A whole run in which StatefulSet web is scaled at 20 s, and back at 24.9 s; whole at ``back_s`` (None: never)."""
    workload = {"kind": "StatefulSet", "name": "web", "replicas": before}
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).load()
    story.fact("stack", {"name": "web", "workloads": [workload], "services": []})
    target = {"kind": "StatefulSet", "name": "web"}
    story.fault("scale", target, injected={"replicas_before": before, "replicas_after": after}, effect={"ready": after})
    for number in range(max(before, after)):
        small, name = min(before, after), f"web-{number}"
        if number < small:
            story.pod(2, name, f"{name}-a", "added")
        elif before > after:
            story.pod(2, name, f"{name}-a", "added").pod(21, name, f"{name}-a", "deleted", ready=False)
            if back_s is not None:
                story.pod(back_s, name, f"{name}-b", "added")
        else:
            story.pod(22, name, f"{name}-a", "added")
            if back_s is not None:
                story.pod(back_s, name, f"{name}-a", "deleted", ready=False)
    return story.clocks("api:Pod")


def rolled(owner: str = "ReplicaSet/shop-7db6d8ff4d") -> Story:
    """A whole run in which one of two pods of Deployment shop is killed and replaced under another name."""
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).load()
    story.fact("stack", {"name": "shop", "workloads": [{"kind": "Deployment", "name": "shop", "replicas": 2}]})
    story.fault(target={"kind": "Pod", "name": "shop-a", "uid": "a"}, effect={"uid_before": "a", "uid_after": "c"})
    story.pod(2, "shop-a", "a", "added", owner).pod(2, "shop-b", "b", "added", owner)
    story.pod(20.1, "shop-a", "a", "modified", owner, deleting=True)
    story.pod(20.2, "shop-c", "c", "added", owner, ready=False).pod(22, "shop-c", "c", "modified", owner)
    return story.pod(22.3, "shop-a", "a", "deleted", owner, ready=False).clocks("api:Pod")


def test_a_quick_recovery_is_valid_with_its_stages() -> None:
    """Within the budget: VALID; every stage of the replacement is an interval from the injection."""
    verdict = judged(killed_pod(), 5, 5)
    assert verdict.outcome is Outcome.VALID
    (told,) = verdict.evidence["faults"]
    assert (told["uid_before"], told["uid_after"]) == ("web-1-a", "web-1-b")
    assert told["stages_ms"] == {
        "gone": [0, 100],
        "created": [200, 300],
        "scheduled": [300, 400],
        "started": [500, 1500],
        "ready": [1500, 2000],
        "endpoint": [1500, 2100],
    }
    assert told["whole_after_fault_ms"] == [1500, 2100]
    assert told["whole_after_heal_ms"] == [0, 0]
    assert told["ready_before"] == {"StatefulSet/web": 3, "Service/web": 3}
    assert told["client_ms"] == "no interruption seen"


def test_clients_come_back_between_the_last_failure_and_the_first_success() -> None:
    """The first success after the last failure bounds when clients were served again."""
    story = killed_pod().without(lambda record: record.kind == "op").load(10, 21).load(21, 22, "fail").load(22, 40)
    (told,) = judged(story).evidence["faults"]
    assert told["client_ms"] == [pytest.approx(1930), pytest.approx(2030)]
    story.without(lambda record: record.kind == "op" and record.time_ns > 22e9)
    (told,) = judged(story).evidence["faults"]
    assert told["client_ms"] == [pytest.approx(1930), None]


@pytest.mark.parametrize(
    ("budget_s", "outcome"),
    [(1.49, Outcome.INVALID), (1.5, Outcome.UNKNOWN), (2.09, Outcome.UNKNOWN), (2.1, Outcome.VALID)],
)
def test_the_interval_decides(budget_s: float, outcome: Outcome) -> None:
    """Whole again between 1.5 and 2.1 s: a budget in between is neither kept nor broken for certain."""
    assert judged(killed_pod(), budget_s).outcome is outcome


def test_a_slow_recovery_is_invalid_and_says_how_slow() -> None:
    """The lower end of the interval beyond the budget: certainly too slow."""
    verdict = judged(killed_pod(ready_s=29), 5)
    assert verdict.outcome is Outcome.INVALID
    assert "after kill_pod on Pod web-1 the stack was whole again only between 8.50 and 9.10 s after the injection" in (
        verdict.summary
    )


@pytest.mark.parametrize(("budget_s", "outcome"), [(3.4, Outcome.INVALID), (4, Outcome.UNKNOWN), (4.2, Outcome.VALID)])
def test_the_time_since_the_healing_contains_the_healing(budget_s: float, outcome: Outcome) -> None:
    """Healing takes from 24.9 to 25 s, the stack is whole between 28.5 and 29.1 s: 3.5 to 4.2 s later."""
    assert judged(killed_pod(ready_s=29), None, budget_s).outcome is outcome


def test_a_stack_that_is_never_whole_again_is_invalid() -> None:
    """Still broken when the load ends, long after the budget: what is missing is named."""
    verdict = judged(killed_pod(ready_s=99))
    assert verdict.outcome is Outcome.INVALID
    assert "Service/web had 2 ready, 3 before the fault, StatefulSet/web had 2 ready, 3 before" in verdict.summary
    assert verdict.evidence["faults"][0]["whole_after_fault_ms"] == [19500, None]


def test_a_stack_that_breaks_again_is_not_whole() -> None:
    """A replacement that fails later, before the load ends, is no recovery."""
    assert judged(killed_pod().pod(30, "web-1", "web-1-b", ready=False)).outcome is Outcome.INVALID


def test_a_service_that_still_names_the_old_pod_is_not_whole() -> None:
    """Three endpoints are not enough when one of them is a pod that is gone: it goes by UID, not by name or count."""
    story = killed_pod().without(lambda record: record.get("object") == "EndpointSlice")
    verdict = judged(story.endpoints(4, "web-0-a", "web-1-a", "web-2-a"))
    assert verdict.outcome is Outcome.INVALID
    assert "Service/web had 2 ready" in verdict.summary


@pytest.mark.parametrize(
    ("mutate", "reason"),
    [
        (lambda s: s.without(edge("effect")), "not seen to take effect"),
        (
            lambda s: s.without(lambda r: r.kind == "phase"),
            "lacks these of the load's phases: before, fault, recover, after",
        ),
        (lambda s: s.without(lambda r: r.get("name") == "stack"), "no fact says which workloads"),
        (lambda s: s.without(lambda r: r.kind == "object"), "no ready pod of the stack was seen before the fault"),
        (
            lambda s: s.without(lambda r: r.kind == "fault").fault(effect={"uid_before": "x"}),
            "no replacement of x was seen",
        ),
        (
            lambda s: s.without(lambda r: r.get("uid") == "web-0-a"),
            "StatefulSet/web had 2 ready pods before the fault, not 3",
        ),
        (lambda s: s.gap("api:Pod", 21, 21.5), "api:Pod may have missed something from 1.00 s after the injection"),
        (lambda s: s.gap("api:EndpointSlice", 19, None), "api:EndpointSlice may have missed something"),
        (lambda s: s.without(edge("heal")).without(edge("healed")), "has no record of its healing"),
        (
            lambda s: s.without(lambda r: r.kind == "object" and r.time_ns > 20e9),
            "the stack was never seen broken after kill_pod on Pod web-1",
        ),
    ],
)
def test_a_recovery_nobody_saw_is_unknown(mutate: Callable[[Story], Story], reason: str) -> None:
    """Each piece of evidence, taken away on its own, makes the verdict UNKNOWN and is named in it."""
    verdict = judged(mutate(killed_pod()), 5, 5)
    assert verdict.outcome is Outcome.UNKNOWN
    assert reason in verdict.summary


def test_a_gap_before_the_fault_or_after_the_recovery_does_no_harm() -> None:
    """Only what is needed must have been watched."""
    assert judged(killed_pod().gap("api:Pod", 11, 12).gap("api:Pod", 33, 34)).outcome is Outcome.VALID


def test_a_gap_decides_nothing_about_a_slow_recovery() -> None:
    """Where the watch may have missed the recovery, it is not certain that it came late."""
    assert judged(killed_pod(ready_s=29).gap("api:Pod", 21, 28)).outcome is Outcome.UNKNOWN


def test_a_watch_that_was_cut_off_shows_no_lasting_damage() -> None:
    """When a watch's records end early, what they last said is not how it stayed."""
    story = killed_pod(ready_s=99)
    assert recovery(5).check(story.history(unclosed=["api:Pod"])).outcome is Outcome.UNKNOWN


def test_a_load_that_ends_within_the_budget_decides_nothing() -> None:
    """Not whole yet, but the budget was not over either."""
    verdict = judged(killed_pod(ready_s=99), 60)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "before its budget of 60 s was over" in verdict.summary


def test_a_deployments_pod_is_replaced_under_another_name() -> None:
    """A ReplicaSet's new pod has a new name: it is found by its owner; a pod on its way out does not count."""
    verdict = judged(rolled())
    assert verdict.outcome is Outcome.VALID
    (told,) = verdict.evidence["faults"]
    assert (told["uid_after"], told["whole_after_fault_ms"]) == ("c", [1500, 2000])


def test_a_replaced_replica_set_still_belongs_to_its_deployment() -> None:
    """The new pod of a new ReplicaSet replaces the killed one."""
    story = rolled().without(lambda record: record.get("uid") == "c")
    story.pod(20.2, "shop-d-c", "c", "added", "ReplicaSet/shop-x2bcdx", ready=True)
    assert judged(story).evidence["faults"][0]["uid_after"] == "c"
    stranger = rolled("ReplicaSet/other-7db6d8ff4d")
    assert judged(stranger).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3)])
@pytest.mark.parametrize(
    ("back_s", "outcome"),
    [(27.2, Outcome.VALID), (36, Outcome.INVALID), (None, Outcome.INVALID), (30, Outcome.UNKNOWN)],
)
def test_a_scaled_workload_is_whole_at_its_old_size(
    before: int, after: int, back_s: float | None, outcome: Outcome
) -> None:
    """Scaled down or up, it is whole when healing has brought back exactly the old number, in time or not."""
    assert judged(scaled(back_s, after, before), None, 5).outcome is outcome


def test_a_scaled_workload_of_another_size_is_unknown() -> None:
    """Where the fault found another number of replicas than were ready, the stack was not steady."""
    story = scaled(27)
    story.without(lambda record: record.get("uid") == "web-2-a")
    verdict = judged(story, None, 5)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "StatefulSet/web had 2 ready pods before the fault, not 3" in verdict.summary


def test_each_fault_has_its_own_recovery() -> None:
    """A second pod killed later is measured from its own injection; the slow one of the two is named."""
    story = killed_pod().fault(target={"kind": "Pod", "name": "web-2"}, inject_s=32, heal_s=33, effect={
        "uid_before": "web-2-a",
    })  # fmt: skip
    story.pod(32.1, "web-2", "web-2-a", "deleted", ready=False).pod(38, "web-2", "web-2-b", "added")
    story.endpoints(38.1, "web-0-a", "web-1-b", "web-2-b")
    first, second = judged(story, 10).evidence["faults"]
    assert (first["whole_after_fault_ms"], second["whole_after_fault_ms"]) == ([1500, 2100], [5500, 6100])
    assert judged(story, 10).outcome is Outcome.VALID
    verdict = judged(story, 4)
    assert verdict.outcome is Outcome.INVALID
    assert len(verdict.findings) == 1
    assert "kill_pod on Pod web-2" in verdict.findings[0]


def test_two_pods_killed_at_once_have_two_replacements() -> None:
    """No new pod replaces two: each fault has one of its own, and strangers replace nobody."""
    story, owner = rolled(), "ReplicaSet/shop-7db6d8ff4d"
    story.fault(target={"kind": "Pod", "name": "shop-b", "uid": "b"}, inject_s=20.01, heal_s=25, effect={"gone": True})
    story.pod(20.05, "other-x", "x", "added", "ReplicaSet/other-7db6d8ff4d")
    story.pod(20.1, "shop-b", "b", "deleted", owner).pod(23, "shop-d", "d", "added", owner)
    first, second = judged(story).evidence["faults"]
    assert [(told["uid_before"], told["uid_after"]) for told in (first, second)] == [("a", "c"), ("b", "d")]
    assert second["stages_ms"]["gone"][1] == pytest.approx(90)


def killed_together(new_b: str | None = "d", b_ready_s: float = 24) -> Story:
    """A whole run in which both pods of Deployment shop are killed by one fault; the second one's successor is late."""
    owner = "ReplicaSet/shop-7db6d8ff4d"
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).load()
    story.fact("stack", {"name": "shop", "workloads": [{"kind": "Deployment", "name": "shop", "replicas": 2}]})
    pods = [{"name": f"shop-{uid}", "uid": uid} for uid in "ab"]
    story.fault("kill_all_pods", {"kind": "Pods", "name": "shop*", "pods": pods}, effect={"uids_before": ["a", "b"]})
    for uid in "ab":
        story.pod(2, f"shop-{uid}", uid, "added", owner).pod(20.1, f"shop-{uid}", uid, "deleted", owner, ready=False)
    story.pod(20.2, "shop-c", "c", "added", owner, ready=False).pod(22, "shop-c", "c", "modified", owner)
    if new_b:
        story.pod(20.3, "shop-d", new_b, "added", owner, ready=False).pod(b_ready_s, "shop-d", new_b, owner=owner)
    return story.clocks("api:Pod")


def test_pods_killed_by_one_fault_have_a_replacement_each() -> None:
    """The row tells all of them, and a stage counts as reached once the last one has reached it."""
    verdict = judged(killed_together())
    assert verdict.outcome is Outcome.VALID
    (told,) = verdict.evidence["faults"]
    assert (told["uid_before"], told["uid_after"]) == (["a", "b"], ["c", "d"])
    assert told["stages_ms"]["created"] == [200, 300]
    assert told["stages_ms"]["ready"] == [3500, 4000]
    assert told["whole_after_fault_ms"] == [3500, 4000]
    (told,) = judged(killed_together(b_ready_s=21)).evidence["faults"]
    assert told["stages_ms"]["ready"] == [1500, 2000]


def test_one_of_several_that_is_not_replaced_is_not_forgotten() -> None:
    """One replacement of two: INVALID by the budget, and the pod that none came for is in doubt, its stages open."""
    story = killed_together(new_b=None)
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert "Deployment/shop had 1 ready, 2 before" in verdict.summary
    (told,) = verdict.evidence["faults"]
    assert (told["uid_after"], told["stages_ms"]["ready"][1]) == (["c", None], None)
    assert "no replacement of b was seen after kill_all_pods on Pods shop*" in judged(story, 60).summary


def test_one_of_several_that_comes_back_late_is_too_late() -> None:
    """The budget is for all of them."""
    assert judged(killed_together(b_ready_s=28), 5).outcome is Outcome.INVALID
    assert judged(killed_together(b_ready_s=28), 9).outcome is Outcome.VALID


def test_a_stateful_sets_pod_is_replaced_by_its_name() -> None:
    """A new pod of the same StatefulSet with another ordinal replaces nobody."""
    story = killed_pod().pod(20.25, "web-3", "web-3-a", "added", ready=False).pod(30, "web-3", "web-3-a", "deleted")
    assert judged(story).evidence["faults"][0]["uid_after"] == "web-1-b"


def test_a_pod_without_running_containers_has_not_started() -> None:
    """A pod that tells of no container yet, or of one that waits beside one that runs, has not started."""
    story = killed_pod().pod(20.5, "web-1", "web-1-b", ready=False, containers=[])
    mixed = [{"name": "app", "state": "running"}, {"name": "side", "state": "waiting"}]
    story.pod(20.6, "web-1", "web-1-b", ready=False, containers=mixed)
    assert judged(story).evidence["faults"][0]["stages_ms"]["started"] == [600, 1500]


@pytest.mark.parametrize(("budget_s", "outcome"), [(14.9, Outcome.INVALID), (15.1, Outcome.UNKNOWN)])
def test_the_budget_after_the_healing_runs_from_the_healing(budget_s: float, outcome: Outcome) -> None:
    """Healed at 25 s, the load over at 40 s: never whole is INVALID only where the budget was over by then."""
    assert judged(killed_pod(ready_s=99), None, budget_s).outcome is outcome


def test_other_namespaces_and_other_objects_are_left_out() -> None:
    """What happens elsewhere, and to objects of other kinds, neither breaks the stack nor mends it."""
    story = killed_pod()
    elsewhere = {"ready": False, "owner": {"kind": "StatefulSet", "name": "web"}}
    story.tell(39, "api:Pod", "object", verb="added", object="Pod", namespace="x", name="web-0", uid="web-0-a",
               state=elsewhere)  # fmt: skip
    story.seen(39.1, "StatefulSet", "web", "web-x", {"replicas": 3, "ready_replicas": 0})
    assert judged(story).outcome is Outcome.VALID


@pytest.mark.parametrize("budgets", [(None, None), (0, None), (5, -1)])
def test_senseless_budgets_are_refused(budgets: tuple[float | None, float | None]) -> None:
    """Without a budget there is nothing to judge."""
    with pytest.raises(ValueError, match="recovery needs"):
        recovery(*budgets)
