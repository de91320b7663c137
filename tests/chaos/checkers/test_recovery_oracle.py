"""Recovery against clusters of which the truth is known: what it says is true, and it says something where it can."""

from __future__ import annotations

from histories import NAMESPACE, Story, ns
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import EVERY_MS_MAX, READ_MS_MAX, World, endpoints, pod, worlds

from chaos.checkers import Outcome, recovery
from chaos.history import Json

INJECT_MS, END_MS = 20_000, 40_000
SLACK_MS = 2 * READ_MS_MAX + EVERY_MS_MAX
Said = list[tuple[int, dict[str, Json]]]


def steps(draw: st.DrawFn) -> Said:
    """Two pods and their endpoints, steady at first; web-1 dies, and both come and go as they like afterwards."""
    said: Said = [(1000, pod("web-0", "a", True, "added")), (1100, pod("web-1", "b", True, "added"))]
    said.append((1200, endpoints(["a", "b"])))
    said += [(INJECT_MS + 100, endpoints(["a"])), (INJECT_MS + 200, pod("web-1", "b", False, "deleted"))]
    said.append((INJECT_MS + 300, pod("web-1", "c", False, "added")))
    times = sorted(draw(st.lists(st.integers(INJECT_MS + 400, END_MS - 2 * SLACK_MS), max_size=8, unique=True)))
    can = st.sampled_from(
        [
            pod("web-1", "c", True), pod("web-1", "c", False), pod("web-0", "a", True), pod("web-0", "a", False),
            endpoints(["a", "c"]), endpoints(["a", "c"]), endpoints(["a"]), endpoints(["a", "b"]),
        ]
    )  # fmt: skip
    return said + [(at, draw(can)) for at in times]


def whole_since(world: World) -> int | None:
    """The oracle: play the changes one by one; since when (ms) the stack is whole in the end, None where it is not."""
    ready: set[str] = set()
    served: set[str] = set()
    since = None
    for change in world.changes:
        data = change.data
        if data["object"] == "EndpointSlice":
            served = {endpoint["pod_uid"] for endpoint in data["state"]["endpoints"]}
        elif data["verb"] == "deleted" or not data["state"]["ready"]:
            ready.discard(data["uid"])
        else:
            ready.add(data["uid"])
        is_whole = len(ready) == 2 and len(served & ready) == 2
        since = (change.true_ms if since is None else since) if is_whole else None
    return since


def told() -> Story:
    """The phases, facts and the fault around it."""
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).load(10, 12)
    story.fact("stack", {"name": "web", "workloads": [{"kind": "StatefulSet", "name": "web", "replicas": 2}]})
    return story.fault(target={"kind": "Pod", "name": "web-1", "uid": "b"}, effect={"uid_before": "b"})


@given(worlds(steps, 45_000), st.integers(1, 25))
@settings(max_examples=120, deadline=None)
def test_it_says_the_truth(world: World, budget_s: int) -> None:
    """The interval holds the true moment, VALID and INVALID are so, and UNKNOWN is only said near the budget."""
    verdict = recovery(after_fault_s_max=budget_s).check(world.tell(told()))
    (fault,) = verdict.evidence["faults"]
    since = whole_since(world)
    lower, upper = fault["whole_after_fault_ms"]
    if since is None:
        assert upper is None
        assert verdict.outcome is (Outcome.INVALID if budget_s * 1000 < END_MS - INJECT_MS else Outcome.UNKNOWN)
        return
    took = since - INJECT_MS
    assert lower <= took <= upper <= lower + SLACK_MS
    if verdict.outcome is Outcome.VALID:
        assert took <= budget_s * 1000
    elif verdict.outcome is Outcome.INVALID:
        assert took > budget_s * 1000
    else:
        assert abs(took - budget_s * 1000) <= SLACK_MS


@given(worlds(steps, 45_000))
@settings(max_examples=60, deadline=None)
def test_every_stage_holds_its_true_moment(world: World) -> None:
    """Of what the API tells: gone and created, and where they come, ready and endpoint of the replacement."""
    verdict = recovery(after_fault_s_max=60).check(world.tell(told()))
    (fault,) = verdict.evidence["faults"]
    true = {"gone": INJECT_MS + 200, "created": INJECT_MS + 300}
    after = [change for change in world.changes if change.true_ms >= INJECT_MS]
    for change in reversed(after):
        if change.data["uid"] == "c" and change.data["state"]["ready"]:
            true["ready"] = change.true_ms
        if any(endpoint["pod_uid"] == "c" for endpoint in change.data["state"].get("endpoints", [])):
            true["endpoint"] = change.true_ms
    for name in ("gone", "created", "ready", "endpoint"):
        lower, upper = fault["stages_ms"][name]
        if name not in true:
            assert upper is None
        else:
            assert lower <= (ns(true[name] / 1000) - ns(INJECT_MS / 1000)) / 1e6 <= upper
