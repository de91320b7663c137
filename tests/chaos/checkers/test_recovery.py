"""Recovery: intervals that lie within a budget, beyond it, or across it, and recoveries that nobody saw."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from histories import NAMESPACE, Story, edge, killed_pod, ns

from chaos.checkers import Outcome, Verdict, identity, recovery
from chaos.history import History, Json, Record


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
    return story.revisions()


def rolled(owner: str = "ReplicaSet/shop-7db6d8ff4d") -> Story:
    """A whole run in which one of two pods of Deployment shop is killed and replaced under another name."""
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).load()
    story.fact("stack", {"name": "shop", "workloads": [{"kind": "Deployment", "name": "shop", "replicas": 2}]})
    story.fault(target={"kind": "Pod", "name": "shop-a", "uid": "a"}, effect={"uid_before": "a", "uid_after": "c"})
    story.pod(2, "shop-a", "a", "added", owner).pod(2, "shop-b", "b", "added", owner)
    story.pod(20.1, "shop-a", "a", "modified", owner, deleting=True)
    story.pod(20.2, "shop-c", "c", "added", owner, ready=False).pod(22, "shop-c", "c", "modified", owner)
    return story.pod(22.3, "shop-a", "a", "deleted", owner, ready=False).revisions()


def test_a_quick_recovery_is_valid_with_its_stages() -> None:
    """Within the budget: VALID; every stage of the replacement is an interval from the injection."""
    verdict = judged(killed_pod(), 5, 5)
    assert verdict.outcome is Outcome.VALID
    (told,) = verdict.evidence["faults"]
    assert (told["uid_before"], told["uid_after"]) == ("web-1-a", "web-1-b")
    assert told["stages_ms"] == {
        "detected": [50, 100],
        "evicted": [50, 100],
        "gone": [150, 200],
        "created": [250, 300],
        "scheduled": [350, 400],
        "started": [350, 1500],
        "ready": [1950, 2000],
        "endpoint": [2050, 2100],
        "dns": [2009, 2510],
    }
    assert set(told["stages_from"].values()) == {"api:Pod", "api:EndpointSlice", "probe"}
    assert told["whole_after_fault_ms"] == [2050, 2100]
    assert told["whole_after_heal_ms"] == [0, 0]
    assert told["ready_before"] == {"StatefulSet/web": 3, "Service/web": 3}
    assert told["client_ms"] == "no interruption seen"


def test_clients_come_back_between_the_last_failure_and_the_first_success() -> None:
    """From the sending of the last request that failed to the first answer after it."""
    story = killed_pod().without(lambda record: record.kind == "op").load(10, 21).load(21, 22, "fail").load(22, 40)
    (told,) = judged(story).evidence["faults"]
    assert told["client_ms"] == told["stages_ms"]["client"] == [pytest.approx(1910), pytest.approx(2030)]
    assert told["stages_from"]["client"] == "load"
    story.without(lambda record: record.kind == "op" and record.time_ns > 22e9)
    (told,) = judged(story).evidence["faults"]
    assert told["client_ms"] == [pytest.approx(1910), None]


def test_a_request_that_runs_into_its_timeout_does_not_hide_when_clients_came_back() -> None:
    """It fails a second later; what was sent after it has been answered by then."""
    story = killed_pod().without(lambda record: record.kind == "op").load(10, 21).load(21, 21.9, "fail").load(22, 40)
    story.op(21.91, "info", took_s=1.0)
    (told,) = judged(story).evidence["faults"]
    assert told["client_ms"] == [pytest.approx(1910), pytest.approx(2030)]


@pytest.mark.parametrize(
    ("budget_s", "outcome"),
    [(2.04, Outcome.INVALID), (2.06, Outcome.UNKNOWN), (2.09, Outcome.UNKNOWN), (2.1, Outcome.VALID)],
)
def test_the_interval_decides(budget_s: float, outcome: Outcome) -> None:
    """Whole again between 2.05 and 2.1 s: a budget in between is neither kept nor broken for certain."""
    assert judged(killed_pod(), budget_s).outcome is outcome


def test_a_slow_recovery_is_invalid_and_says_how_slow() -> None:
    """The lower end of the interval beyond the budget: certainly too slow."""
    verdict = judged(killed_pod(ready_s=29), 5)
    assert verdict.outcome is Outcome.INVALID
    assert "after kill_pod on Pod web-1 the stack was whole again only between 9.05 and 9.10 s after the injection" in (
        verdict.summary
    )


@pytest.mark.parametrize(("budget_s", "outcome"), [(4, Outcome.INVALID), (4.1, Outcome.UNKNOWN), (4.2, Outcome.VALID)])
def test_the_time_since_the_healing_contains_the_healing(budget_s: float, outcome: Outcome) -> None:
    """Healing takes from 24.9 to 25 s, the stack is whole between 29.05 and 29.1 s: 4.05 to 4.2 s later."""
    assert judged(killed_pod(ready_s=29), None, budget_s).outcome is outcome


def test_a_stack_that_is_never_whole_again_is_invalid() -> None:
    """Still broken when the load ends, long after the budget: what is missing is named."""
    verdict = judged(killed_pod(ready_s=99))
    assert verdict.outcome is Outcome.INVALID
    assert "Service/web had 2 ready, 3 before the fault, StatefulSet/web had 2 ready, 3 before" in verdict.summary
    assert verdict.evidence["faults"][0]["whole_after_fault_ms"] == [20000, None]


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
    assert (told["uid_after"], told["whole_after_fault_ms"]) == ("c", [1950, 2000])


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
    assert (first["whole_after_fault_ms"], second["whole_after_fault_ms"]) == ([2050, 2100], [6050, 6100])
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
    return story.revisions()


def test_pods_killed_by_one_fault_have_a_replacement_each() -> None:
    """The row tells all of them, and a stage counts as reached once the last one has reached it."""
    verdict = judged(killed_together())
    assert verdict.outcome is Outcome.VALID
    (told,) = verdict.evidence["faults"]
    assert (told["uid_before"], told["uid_after"]) == (["a", "b"], ["c", "d"])
    assert told["stages_ms"]["created"] == [250, 300]
    assert told["stages_ms"]["ready"] == [3950, 4000]
    assert told["whole_after_fault_ms"] == [3950, 4000]
    (told,) = judged(killed_together(b_ready_s=21)).evidence["faults"]
    assert told["stages_ms"]["ready"] == [1950, 2000]


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
    """A pod that tells of no container yet, or of one that waits beside one that runs, is not told as started."""
    story = killed_pod().pod(20.5, "web-1", "web-1-b", ready=False, containers=[])
    mixed = [{"name": "app", "state": "running"}, {"name": "side", "state": "waiting"}]
    story.pod(20.6, "web-1", "web-1-b", ready=False, containers=mixed)
    assert judged(story).evidence["faults"][0]["stages_ms"]["started"] == [350, 1500]


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


def test_without_versions_the_watchs_record_before_is_the_lower_end() -> None:
    """An older history has wider intervals: a change came after what its watch had told before."""
    story = killed_pod()
    story._reads_s = None
    (told,) = judged(story).evidence["faults"]
    assert told["stages_ms"]["ready"] == [1500, 2000]
    assert told["stages_ms"]["endpoint"] == [150, 2100]
    assert told["whole_after_fault_ms"] == [150, 2100]
    assert judged(story, 1).outcome is Outcome.UNKNOWN


def test_a_clock_tick_is_no_sign_of_a_watch() -> None:
    """The recorder's clock goes on while a watch is silent: it narrows nothing."""
    story = killed_pod()
    story._reads_s = None
    plain = judged(story).evidence["faults"]
    assert judged(story.clocks("api:Pod").clocks("api:EndpointSlice", 21, 22)).evidence["faults"] == plain


def test_a_read_that_was_not_answered_widens() -> None:
    """While the API server is away nothing narrows: the interval begins with the last read that came back."""
    story = killed_pod()
    assert story._reads_s is not None
    story._reads_s = [at for at in story._reads_s if not 21 < at < 22]
    (told,) = judged(story).evidence["faults"]
    assert told["stages_ms"]["ready"] == [950, 2000]
    assert told["whole_after_fault_ms"] == [2050, 2100]


def test_a_watch_that_tells_late_is_placed_by_the_revision() -> None:
    """Endpoints published at 22.1 s and told at 31 s, after a break: whole by the first read that has them."""
    story = killed_pod().revisions()
    whole = story.history()
    late = [
        Record(ns(31), r.source, r.kind, r.data) if r.kind == "object" and r.time_ns == ns(22.1) else r
        for r in whole.records
    ]
    told = recovery(5).check(History(sorted(late, key=lambda record: record.time_ns)))
    assert told.outcome is Outcome.VALID
    assert told.evidence["faults"][0]["whole_after_fault_ms"] == [2050, 2150]


def test_a_watch_that_was_taken_up_again_decides_as_before() -> None:
    """It missed nothing, and what it told late is placed by the revision; who goes by its times is in doubt."""
    story = killed_pod()
    blind = {"what": "watch Pod", "from_ns": ns(20.5), "to_ns": ns(21.5)}
    story.tell(21.5, "api:Pod", "resumed", **blind)
    assert judged(story).outcome is Outcome.VALID
    by_time = identity("web-*", dns_s_max=5).check(story.history())
    assert by_time.outcome is Outcome.UNKNOWN
    assert (
        "api:Pod told late what happened from 0.50 s after the injection of kill_pod on Pod web-1 on, for 1.00 s"
        in (by_time.summary)
    )


def witnessed(story: Story, at_s: float, error_s: float = 0.002, **other: Json) -> Story:
    """Add that a node saw the replacement's container start."""
    event = {"event": "start", "namespace": NAMESPACE, "pod": "web-1", "pod_uid": "web-1-b", "container": "app"}
    return story.tell(at_s, "node:worker", "runtime", **(event | {"error_ns": ns(error_s)} | other))


def test_what_a_node_saw_outweighs_the_api() -> None:
    """The start of a container is told by its node, with its clock's error; the first one, of this very pod."""
    story = witnessed(killed_pod(), 20.9)
    witnessed(witnessed(story, 21.3), 20.7, pod_uid="web-0-a")
    story.tell(20.15, "node:worker", "runtime", event="exit", pod_uid="web-1-a", container="app", error_ns=ns(0.001))
    (told,) = judged(story).evidence["faults"]
    assert told["stages_ms"]["started"] == [pytest.approx(898), pytest.approx(902)]
    assert told["stages_ms"]["exited"] == [pytest.approx(149), pytest.approx(151)]
    assert (told["stages_from"]["started"], told["stages_from"]["ready"]) == ("node:worker", "api:Pod")


@pytest.mark.parametrize(
    "story",
    [witnessed(killed_pod(), 20.9, container="side"), witnessed(killed_pod(), 20.9).gap("node:worker", 20.5, 20.6)],
    ids=["another container", "a gap before it"],
)
def test_a_node_that_cannot_tell_leaves_it_to_the_api(story: Story) -> None:
    """Where it may have missed the first start, or saw none of these containers, the API's interval stands."""
    (told,) = judged(story).evidence["faults"]
    assert told["stages_ms"]["started"] == [350, 1500]


def node_lost(back_s: float = 26.0, evicted: bool = False) -> Story:
    """A whole run in which node-1, with web-1 on it, is paused from 20 to 24.9 s; web-1 is ready again then."""
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).load().revisions()
    story.fact("stack", {"name": "web", "workloads": [{"kind": "StatefulSet", "name": "web", "replicas": 2}]})
    story.fault("pause_node", {"kind": "Node", "name": "node-1"}, effect={"ready": False})
    story.pod(2, "web-0", "web-0-a", "added").pod(2, "web-1", "web-1-a", "added", node="node-1")
    story.pod(2, "web-2", "elsewhere", "added", "StatefulSet/other", node="node-1")
    story.seen(2, "Node", "node-1", "n", {"ready": True, "unschedulable": False, "taints": []}, "added")
    story.seen(22, "Node", "node-1", "n", {"ready": False, "unschedulable": False, "taints": []})
    story.pod(22.2, "web-1", "web-1-a", ready=False, node="node-1")
    if evicted:
        story.pod(23, "web-1", "web-1-a", ready=False, node="node-1", deleting=True)
        story.pod(25.2, "web-1", "web-1-a", "deleted", ready=False, node="node-1", deleting=True)
        story.pod(25.3, "web-1", "web-1-b", "added", ready=False).pod(back_s, "web-1", "web-1-b")
    else:
        story.pod(back_s, "web-1", "web-1-a", node="node-1")
    return story.seen(25.1, "Node", "node-1", "n", {"ready": True, "unschedulable": False, "taints": []})


def test_a_node_that_hangs_has_the_stages_of_the_pod_that_stays() -> None:
    """Kubernetes knows it by the node's own state; the pod keeps its UID, is ready again, and has no other stage."""
    verdict = judged(node_lost(), None, 5)
    assert verdict.outcome is Outcome.VALID
    (told,) = verdict.evidence["faults"]
    assert (told["uid_before"], told["uid_after"]) == ("web-1-a", "web-1-a")
    assert told["stages_ms"] == {"detected": [1950, 2000], "ready": [5950, 6000]}
    assert told["stages_from"] == {"detected": "api:Node", "ready": "api:Pod"}


def test_a_node_that_loses_its_pod_has_the_stages_of_a_replacement() -> None:
    """Evicted while the node was out, gone once it was back, and replaced."""
    (told,) = judged(node_lost(27, evicted=True), None, 5).evidence["faults"]
    stages = told["stages_ms"]
    assert told["uid_after"] == "web-1-b"
    assert (stages["detected"], stages["evicted"], stages["gone"]) == ([1950, 2000], [2950, 3000], [5150, 5200])
    assert (stages["created"], stages["ready"]) == ([5250, 5300], [6950, 7000])


@pytest.mark.parametrize("budgets", [(0, None), (5, -1)])
def test_senseless_budgets_are_refused(budgets: tuple[float | None, float | None]) -> None:
    """A budget that nothing could keep judges nothing."""
    with pytest.raises(ValueError, match="recovery needs"):
        recovery(*budgets)
