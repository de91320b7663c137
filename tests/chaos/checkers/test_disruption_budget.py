"""disruption_budget: floors that evictions leave alone, floors that they break, and evictions that show nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from histories import NAMESPACE, Story, edge
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.checkers import Outcome, Verdict, disruption_budget
from chaos.checkers.disruption_budget import selects
from chaos.history import Json

OWNER = "ReplicaSet/shop-7db6d8ff4d"
SELECTOR = {"matchLabels": {"app": "shop"}}


def judged(story: Story) -> Verdict:
    """The verdict on a story."""
    return disruption_budget().check(story.history())


def drained(*evicted: str, selector: Json = SELECTOR, pods: int = 4, least: Json = None, most: Json = 1) -> Story:
    """A whole run that drains a node of these pods of Deployment shop at 20 s; what became of the pods is not told."""
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).load()
    budget = {"name": "shop", "selector": selector, "min_available": least, "max_unavailable": most}
    workloads = [{"kind": "Deployment", "name": "shop", "replicas": pods}]
    story.fact("stack", {"name": "shop", "workloads": workloads, "disruption_budgets": [budget]})
    for uid in "abcdefgh"[:pods]:
        seen(story, 2, uid, "added")
    told = [{"namespace": NAMESPACE, "name": f"shop-{uid}", "uid": uid} for uid in evicted]
    target = {"kind": "Node", "name": "worker"}
    story.fault("drain_node", target, effect={"unschedulable": True})
    for record in story.records:
        if edge("injected")(record):
            record["detail"].update({"evicted": told, "refused_evictions": 3, "left": {}})
    return story.clocks("api:Pod")


def seen(story: Story, at_s: float, uid: str, verb: str = "modified", **state: Json) -> Story:
    """Add what a watch told of a pod of shop."""
    return story.pod(at_s, f"shop-{uid}", uid, verb, OWNER, **({"labels": {"app": "shop"}} | state))


def goes(story: Story, at_s: float, uid: str) -> Story:
    """Let a pod be on its way out, and be gone a little later."""
    seen(story, at_s, uid, deleting=True)
    return seen(story, at_s + 0.3, uid, "deleted", ready=False, deleting=True)


def respected(**other: Json) -> Story:
    """Two of four are evicted, the second only once the first one's successor is ready: floor 3 is kept."""
    story = drained("a", "b", **other)
    goes(story, 20.1, "a")
    seen(story, 22, "x", "added")
    return goes(story, 22.1, "b")


def test_evictions_that_wait_for_a_successor_are_valid() -> None:
    """VALID, with the floor, the least that was ready, and how many evictions were refused."""
    verdict = judged(respected())
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.summary == "shop kept 3 ready pods (floor 3) while 2 were evicted; 3 evictions were refused"
    (row,) = verdict.evidence["budgets"]
    assert row == {"budget": "shop", "floor": 3, "ready_before": 4, "ready_least": 3, "evicted": 2}


def test_an_eviction_below_the_floor_is_invalid_and_named() -> None:
    """The second one came before the first one's successor was ready."""
    story = goes(goes(drained("a", "b"), 20.1, "a"), 21, "b")
    seen(story, 22, "x", "added")
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert verdict.findings == (
        "the eviction of shop-b (b) left shop 2 ready pods, its floor is 3, "
        "1.00 s after the injection of drain_node on Node worker",
    )


def test_a_successor_that_is_not_ready_does_not_count() -> None:
    """It is there, and it serves nobody yet."""
    story = goes(drained("a", "b"), 20.1, "a")
    seen(story, 20.5, "x", "added", ready=False)
    assert judged(goes(story, 21, "b")).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("least", "most", "floor"),
    [(3, None, 3), (None, 1, 3), ("75%", None, 3), ("70%", None, 3), (None, "25%", 3), (None, "1%", 3), (None, 0, 4),
     (None, "50%", 2), (None, 9, 0), (None, None, 1)],
)  # fmt: skip
def test_the_floor_is_as_kubernetes_counts_it(least: Json, most: Json, floor: int) -> None:
    """A number or a percentage of what the workload wants, rounded up in either field."""
    assert judged(respected(least=least, most=most)).evidence["budgets"][0]["floor"] == floor


def test_the_floor_follows_what_the_workload_wants() -> None:
    """The number that was watched before the fault outweighs the manifest's."""
    story = respected()
    story.seen(3, "Deployment", "shop", "d", {"replicas": 9})
    story.seen(30, "Deployment", "shop", "d", {"replicas": 1})
    assert judged(story).evidence["budgets"][0]["floor"] == 8


def test_other_deaths_break_no_promise() -> None:
    """A pod that nobody evicted dies and takes the budget below its floor: that is not the drain's doing."""
    story = goes(goes(respected(), 24, "c"), 24.1, "d")
    verdict = judged(story)
    assert verdict.outcome is Outcome.VALID
    assert verdict.evidence["budgets"][0]["ready_least"] == 1


@pytest.mark.parametrize(
    ("died_s", "outcome"), [(14.9, Outcome.INVALID), (15.2, Outcome.UNKNOWN), (20.05, Outcome.UNKNOWN)]
)
def test_a_death_uses_up_the_budget(died_s: float, outcome: Outcome) -> None:
    """An eviction after it is one too many; right after it the controller may not have known."""
    story = goes(goes(drained("a", "b"), died_s, "d"), 20.1, "a")
    verdict = judged(story)
    assert verdict.outcome is outcome
    if outcome is Outcome.UNKNOWN:
        assert "another pod had died shortly before" in verdict.summary


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (lambda: respected().fact("stack", {"disruption_budgets": []}), "the stack has no PodDisruptionBudget"),
        (lambda: respected().fact("stack", {}), "the stack has no PodDisruptionBudget"),
        (lambda: respected(selector={"matchLabels": {"app": "x"}}), "no ready pod of the budget shop was evicted"),
        (lambda: respected(selector=None), "no ready pod of the budget shop was evicted"),
        (lambda: goes(drained("a"), 20.1, "a"), "1 evictions could not break the budget shop: 4 pods were ready, its"),
        (lambda: respected(most=2), "2 evictions could not break the budget shop: 4 pods were ready, its floor is 2"),
        (lambda: respected().gap("api:Pod", 21, 21.5), "api:Pod may have missed something"),
        (lambda: respected().without(edge("effect")), "was not seen to take effect"),
        (lambda: respected().without(lambda r: r.kind == "fault"), "no fault was injected"),
        (lambda: goes(goes(drained(), 20.1, "a"), 21, "b"), "no ready pod of the budget shop was evicted"),
    ],
)
def test_too_little_shown_is_unknown(story: Callable[[], Story], reason: str) -> None:
    """No budget, no eviction, none that could have broken it, a gap, no effect: each is UNKNOWN and named."""
    verdict = judged(story())
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert reason in verdict.summary


def test_a_broken_floor_in_a_gap_is_not_certain() -> None:
    """A successor may have become ready unseen: UNKNOWN, and the finding is told."""
    story = goes(goes(drained("a", "b"), 20.1, "a"), 21, "b").gap("api:Pod", 20.5, 20.8)
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN
    assert len(verdict.findings) == 1


@pytest.mark.parametrize("gap", [(12, 13), (30, 31)])
def test_a_gap_elsewhere_leaves_a_broken_floor_as_it_is(gap: tuple[float, float]) -> None:
    """What was seen long after it, or before it, is certain."""
    story = goes(goes(drained("a", "b"), 20.1, "a"), 21, "b").gap("api:Pod", *gap)
    assert judged(story).outcome is Outcome.INVALID


def test_the_floor_is_that_of_each_drain() -> None:
    """A workload that was made smaller between two drains has another floor in the second one."""
    story = twice(24, 24.5).seen(3, "Deployment", "shop", "d", {"replicas": 4})
    assert judged(story).outcome is Outcome.INVALID
    story.seen(22, "Deployment", "shop", "d", {"replicas": 3})
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert "1 evictions could not break the budget shop: 3 pods were ready, its floor is 2" in verdict.summary


def test_what_happens_elsewhere_or_later_does_not_count() -> None:
    """Another namespace's pods are not the budget's, and the removal of the stack is no eviction."""
    story = respected()
    state = {"labels": {"app": "shop"}, "ready": True, "deleting": False}
    story.tell(3, "api:Pod", "object", verb="added", object="Pod", namespace="x", name="shop-z", uid="z", state=state)
    for uid in "cdx":
        goes(story, 43, uid)
    verdict = judged(story)
    assert verdict.outcome is Outcome.VALID
    (row,) = verdict.evidence["budgets"]
    assert (row["ready_before"], row["ready_least"]) == (4, 3)


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "shop"}}, True),
        ({"matchLabels": {"app": "shop", "tier": "x"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["shop", "y"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["y"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["shop"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["shop"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"app": "shop"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
    ],
)
def test_selectors(selector: Json, matches: bool) -> None:
    """Labels and expressions must all hold; none at all selects nothing."""
    assert selects(selector, {"app": "shop"}) is matches


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=4, unique=True), st.integers(0, 4))
def test_evictions_with_no_successor_break_exactly_what_is_beyond_the_budget(evicted: list[str], most: int) -> None:
    """However many are evicted one after the other: each one beyond what the budget allows is a finding."""
    story = drained(*evicted, most=most)
    for number, uid in enumerate(evicted):
        goes(story, 20.1 + number, uid)
    verdict = judged(story)
    assert len(verdict.findings) == max(0, len(evicted) - most)
    assert (verdict.outcome is Outcome.INVALID) is (len(evicted) > most)


def test_a_pod_that_flaps_before_it_is_evicted_is_not_lost_to_the_eviction() -> None:
    """It was unready where it was, below the floor, and ready again before its turn came: no eviction did that."""
    story = goes(drained("a", "b"), 20.1, "a")
    seen(story, 20.5, "b", ready=False)
    seen(story, 21, "b")
    seen(story, 22, "x", "added")
    verdict = judged(goes(story, 27, "b"))
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.evidence["budgets"][0] | {"ready_least": 2, "evicted": 2} == verdict.evidence["budgets"][0]


def test_a_pod_that_was_unready_when_it_was_evicted_shows_nothing() -> None:
    """Nobody lost it to the eviction, so the one other eviction could not have broken the floor."""
    story = goes(drained("a", "b"), 20.1, "a")
    seen(story, 20.5, "b", ready=False)
    verdict = judged(goes(story, 27, "b"))
    assert verdict.outcome is Outcome.UNKNOWN
    assert "1 evictions could not break the budget shop" in verdict.summary


def twice(second_s: float, successor_s: float) -> Story:
    """A drain evicts one of four at 20 s, another drain another one; the successor is ready at ``successor_s``."""
    story = goes(drained("a"), 20.1, "a")
    target = {"kind": "Node", "name": "worker2"}
    begun = len(story.records)
    story.fault("drain_node", target, second_s, second_s + 1, effect={"unschedulable": True})
    for record in story.records[begun:]:
        if edge("injected")(record):
            evicted = [{"namespace": NAMESPACE, "name": "shop-b", "uid": "b"}]
            record["detail"].update({"evicted": evicted, "refused_evictions": 0, "left": {}})
    seen(story, successor_s, "x", "added")
    return goes(story, second_s + 0.1, "b")


def test_each_drain_must_be_able_to_break_the_floor_by_itself() -> None:
    """One eviction each, the second once all were ready again: both together say no more than either."""
    verdict = judged(twice(30, 28))
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert verdict.summary.count("1 evictions could not break the budget shop: 4 pods were ready, its floor is 3") == 2


def test_a_drain_that_begins_at_the_floor_can_break_it() -> None:
    """One eviction is enough where nothing is left above the floor: kept by waiting, broken by not waiting."""
    kept, broken = judged(twice(24, 24.05)), judged(twice(24, 24.5))
    assert kept.outcome is Outcome.VALID, kept.summary
    assert broken.outcome is Outcome.INVALID
