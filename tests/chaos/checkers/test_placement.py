"""Placement: replicas where they were promised, elsewhere, and where they could not have been elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from histories import NAMESPACE, Story, ns
from hypothesis import given
from hypothesis import strategies as st

from chaos.checkers import Outcome, Verdict, judge, placement
from chaos.checkers.seats import Levels
from chaos.checkers.spans import merged, outside, overlaps
from chaos.history import History, Json

WORKERS = ("worker", "worker2", "worker3")
OWNER = {"kind": "ReplicaSet", "name": "shop-5d8f"}


def node(story: Story, at_s: float, name: str, verb: str = "modified", **state: Json) -> Story:
    """Add what a watch told of a node: ready, open and in a zone of its own, unless ``state`` says otherwise."""
    labels = {"zone": "a" if name == "worker" else "b", "kubernetes.io/hostname": name}
    whole = {"ready": True, "unschedulable": False, "taints": [], "labels": labels} | state
    return story.tell(at_s, "api:Node", "object", verb=verb, object="Node", namespace=None, name=name, uid=name,
                      state=whole)  # fmt: skip


def put(story: Story, at_s: float, uid: str, where: str | None, verb: str = "modified", **state: Json) -> Story:
    """Add what a watch told of a pod of shop, on this node."""
    return story.pod(at_s, f"shop-5d8f-{uid}", uid, verb, **({"owner": "ReplicaSet/shop-5d8f", "node": where} | state))


def cluster(**places: str) -> Story:
    """Three workers and a control plane from 0 s; these pods are put there a second later. A fault at 20 s."""
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).fault()
    for name in WORKERS:
        node(story, 0, name, "seen")
    node(story, 0, "control-plane", "seen", taints=["node-role.kubernetes.io/control-plane=:NoSchedule"])
    for uid, where in places.items():
        put(story, 1, uid, None, "added", ready=False)
        put(story, 1.1, uid, where)
    return story


def spread_out() -> Story:
    """One of three replicas on each worker."""
    return cluster(a="worker", b="worker2", c="worker3")


def judged(story: Story, **promised: Any) -> Verdict:
    """The verdict on a story."""
    return placement("shop", **promised).check(story.history())


@pytest.mark.parametrize(
    ("promised", "summary"),
    [
        ({"per_node_max": 1}, "of up to 3 replicas of Deployment/shop no node had more than 1 for 36.0 s"),
        ({"per_node_max": 1, "settle_s": None}, "no node had more than 1 for 41.0 s"),
        ({"spread": 1}, "they were spread over 3 within 1"),
        ({"spread": 1, "topology": "zone"}, "they were spread over 2 within 1"),
        ({"on": "worker*", "per_node_max": 1, "spread": 1}, "no node had more than 1 and they were spread over 3"),
    ],
)  # fmt: skip
def test_replicas_where_they_were_promised_are_valid(promised: dict[str, Any], summary: str) -> None:
    """One on each of three nodes keeps each of these promises; what was looked at, and for how long, is told."""
    story = node(spread_out(), 0, "other", "seen", unschedulable=False) if "on" in promised else spread_out()
    verdict = judged(story, **({"settle_s": 0} | promised))
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert summary in verdict.summary


@pytest.mark.parametrize(
    ("story", "promised", "finding"),
    [
        (cluster(a="worker", b="worker"), {"per_node_max": 1},
         "worker had 2 replicas of Deployment/shop (shop-5d8f-a, shop-5d8f-b), where 1 may be, for 1"),
        (cluster(a="worker", b="worker", c="worker2"), {"spread": 1},
         "worker had 2 replicas of Deployment/shop and worker3 0, though no more than 1 may lie between them, for 1"),
        (cluster(a="worker2", b="worker3"), {"spread": 1, "topology": "zone"}, "b had 2 replicas of Deployment"),
        (spread_out(), {"on": "worker2"}, "shop-5d8f-a (a) was on worker, which is not worker2, for 40.9 s"),
        (spread_out(), {"on": {"zone": "b"}}, "shop-5d8f-a (a) was on worker, which is not zone=b, for 40.9 s"),
        (put(spread_out(), 15, "d", "worker"), {"per_node_max": 1}, "from 5.00 s before the injection of kill_pod"),
        (node(spread_out(), 30, "worker4"), {"spread": 1, "per_node_max": 1}, ""),
    ],
)  # fmt: skip
def test_replicas_elsewhere_are_invalid_and_named(story: Story, promised: dict[str, Any], finding: str) -> None:
    """Who was where, how long, and from when on."""
    verdict = judged(story, **promised)
    if not finding:
        assert verdict.outcome is Outcome.VALID, verdict.summary  # a new node may be empty: one is within the spread
        return
    assert verdict.outcome is Outcome.INVALID, verdict.summary
    assert finding in verdict.findings[0]
    assert verdict.summary.startswith(verdict.findings[0])


def moved_together(back_s: float) -> Story:
    """One leaves its node at 21 s for a's, and is on its own again at ``back_s``."""
    story = put(put(spread_out(), 21, "b", "worker2", deleting=True), 21.1, "b", "worker2", "deleted")
    put(put(story, 21.2, "d", "worker", "added"), back_s, "d", "worker", "deleted")
    return put(story, back_s + 0.1, "e", "worker2", "added")


def test_while_a_fault_is_on_it_may_be_otherwise() -> None:
    """For as long as is stated, and the verdict says so; what goes on after that is a breach."""
    verdict = judged(moved_together(26), per_node_max=1, spread=1, settle_s=5)
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert "no node had more than 1 and" in verdict.summary
    assert "not counting worker had 2 replicas" in verdict.summary
    assert "for 4.8 s, from 1.20 s after the injection" in verdict.evidence["tolerated"][0]
    assert verdict.evidence["tolerated_while"] == ["kill_pod on Pod web-1"]
    verdict = judged(moved_together(34), per_node_max=1, settle_s=5)
    assert verdict.outcome is Outcome.INVALID
    assert "for 4.0 s, from 10.00 s after the injection" in verdict.summary
    assert judged(moved_together(26), per_node_max=1, settle_s=None).outcome is Outcome.INVALID


def test_where_it_must_be_no_fault_excuses_it() -> None:
    """A replica on a forbidden node is one at any time."""
    assert judged(moved_together(26), on="worker[23]").outcome is Outcome.INVALID


def test_pods_on_their_way_out_and_pods_without_a_node_do_not_count() -> None:
    """An update puts the new one beside the old one that leaves."""
    story = put(spread_out(), 14, "a", "worker", deleting=True)
    put(put(story, 14.1, "d", None, "added"), 14.2, "d", "worker")
    put(put(story, 15, "a", "worker", "deleted"), 16, "e", None, "added")
    put(story, 16, "f", "worker", "added", phase="Failed")
    assert judged(story, per_node_max=1, spread=1).outcome is Outcome.VALID


def test_nodes_that_take_no_pods_are_no_place_to_spread_to() -> None:
    """A cordoned node, one that is not ready, one with a taint; one that is open for a second was hardly there."""
    story = cluster(a="worker", b="worker", c="worker2", d="worker2")
    for state in ({"unschedulable": True}, {"ready": False}, {"taints": ["a=b:NoExecute"]}):
        node(story, 0.5, "worker3", **state)
        assert judged(story, spread=1).outcome is Outcome.VALID
    node(node(story, 12, "worker3"), 12.9, "worker3", ready=False)
    assert judged(story, spread=1).outcome is Outcome.VALID
    node(node(story, 13, "worker3"), 14.1, "worker3", ready=False)
    assert judged(story, spread=1).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("story", "promised", "reason"),
    [
        (cluster(), {"per_node_max": 1}, "no replica of Deployment/shop was seen on a node while no fault was on"),
        (cluster(a="worker"), {"per_node_max": 1}, "1 replicas cannot be more than 1 on a node"),
        (spread_out(), {"per_node_max": 3}, "3 replicas cannot be more than 3 on a node"),
        (cluster(a="worker"), {"spread": 1}, "1 replicas on 3 nodes cannot differ by more than 1"),
        (spread_out(), {"on": "*"}, "no other node than * could have taken a replica"),
        (put(put(cluster(a="worker"), 21, "b", "worker2", "added"), 22, "b", "worker2", "deleted"), {"per_node_max": 1},
         "1 replicas cannot be more than 1 on a node"),
        (put(cluster(), 19.9, "a", "worker", "added"), {"per_node_max": 1, "settle_s": 60}, "1 replicas cannot be"),
        (put(cluster(), 20.1, "a", "worker", "added"), {"per_node_max": 1, "settle_s": 60}, "while no fault was on"),
        (spread_out().gap("api:Node", 12, 13), {"per_node_max": 1}, "api:Node may have missed something"),
        (spread_out().without(lambda r: r.kind == "fault" and r["edge"] == "effect"), {"spread": 1}, "to take effect"),
        (put(spread_out(), 15, "d", "worker").gap("api:Pod", 14, None), {"per_node_max": 1}, "it is not certain that"),
    ],
)  # fmt: skip
def test_what_could_not_have_been_red_is_unknown(story: Story, promised: dict[str, Any], reason: str) -> None:
    """Too few replicas or nodes, no node to be wrong on, only while a fault was on, a gap, no effect."""
    verdict = judged(story, **promised)
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert reason in verdict.summary


def test_other_pods_do_not_count() -> None:
    """Another workload's, another namespace's, and what comes after the removal."""
    story = spread_out().pod(12, "x", "x", owner="ReplicaSet/other-5d8f", node="worker")
    put(story, 42.5, "z", "worker")
    story.tell(12, "api:Pod", "object", verb="added", object="Pod", namespace="elsewhere", name="y", uid="y",
               state={"owner": OWNER, "node": "worker"})  # fmt: skip
    assert judged(story, per_node_max=1).outcome is Outcome.VALID


def unlabelled(story: Story) -> Story:
    """The story as an older recorder would have told it: without the nodes' labels."""
    for record in story.records:
        if record.kind == "object" and record["object"] == "Node":
            record["state"].pop("labels", None)
    return story


@pytest.mark.parametrize("promised", [{"on": {"zone": "a"}}, {"on": "*", "spread": 1, "topology": "zone"}])
def test_labels_that_were_not_recorded_are_unknown(promised: dict[str, Any]) -> None:
    """Nobody can tell whether a node has a label of which no record says anything."""
    verdict = judged(unlabelled(spread_out()), **promised)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "the labels of control-plane, worker, worker2, worker3 were not recorded" in verdict.summary


def test_what_was_told_late_is_in_doubt() -> None:
    """A watch that told of a pod's end only afterwards: how long it was there nobody knows."""
    story = put(put(spread_out(), 12, "d", "worker"), 18, "d", "worker", "deleted")
    assert judged(story, per_node_max=1).outcome is Outcome.INVALID
    story.tell(18, "api:Pod", "resumed", what="watch Pod", from_ns=ns(12), to_ns=ns(18))
    assert judged(story, per_node_max=1).outcome is Outcome.UNKNOWN


# --- DaemonSets -----------------------------------------------------------------------------------------------------


def agent(story: Story, at_s: float, where: str, verb: str = "modified", generation: str = "a", **state: Json) -> Story:
    """Add what a watch told of the DaemonSet's pod on a node."""
    uid = f"agent-{where}-{generation}"
    return story.pod(at_s, uid, uid, verb, **({"owner": "DaemonSet/agent", "node": where} | state))


def everywhere() -> Story:
    """One is ready on each worker three seconds after the first was made; worker2 is out from 21 to 28 s."""
    story = cluster()
    for number, name in enumerate(WORKERS):
        agent(story, 1, name, "added", ready=False)
        agent(story, 2 + number, name)
    agent(node(story, 21, "worker2", ready=False), 21, "worker2", ready=False)
    return agent(node(story, 28, "worker2"), 30, "worker2")


def complete(story: Story, within_s: float = 5, on: Any = None) -> Verdict:
    """The verdict on a story."""
    return placement(daemon_set="agent", within_s=within_s, on=on).check(story.history())


def test_a_complete_daemon_set_is_valid() -> None:
    """On every node without an owner's taint, also on one that came back."""
    verdict = complete(everywhere())
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.summary == (
        "agent was on each of 3 nodes, 1 of which came or came back; the longest wait was 3.0 s, for worker3 "
        "(bound 5 s)"
    )
    assert complete(everywhere(), on={"zone": "b"}).evidence["nodes"] == ["worker2", "worker3"]


@pytest.mark.parametrize(
    ("story", "on", "finding"),
    [
        (everywhere().without(lambda r: r.get("uid") == "agent-worker-a" and r.time_ns > 1.5e9), None,
         "worker was without a ready pod of agent for 41.0 s (bound 5 s), from 19.00 s before the injection"),
        (everywhere().without(lambda r: r.get("uid") == "agent-worker2-a" and r.time_ns > 25e9), None,
         "worker2 was without a ready pod of agent for 14.0 s (bound 5 s), from 8.00 s after the injection"),
        (node(everywhere(), 32, "worker4", "added"), None, "worker4 was without a ready pod of agent for 10.0 s"),
        (agent(agent(everywhere(), 31, "worker", "deleted"), 38, "worker", "added", "b"), None, "for 7.0 s"),
        (everywhere(), "worker?",
         "agent-worker-a (agent-worker-a) was on worker, which is not worker?, from 19.00 s before the injection"),
        (everywhere(), "*", "control-plane was without a ready pod of agent for 41.0 s"),
    ],
)  # fmt: skip
def test_a_node_without_it_is_invalid_and_named(story: Story, on: str | None, finding: str) -> None:
    """One that never got it, one that came back, a new one, one that lost it, and one where it should not be."""
    verdict = complete(story, on=on)
    assert verdict.outcome is Outcome.INVALID, verdict.summary
    assert any(finding in text for text in verdict.findings), verdict.findings


def test_a_daemon_set_on_nodes_whose_labels_were_not_recorded_is_unknown() -> None:
    """Where it should be is said by labels that no record has."""
    verdict = complete(unlabelled(everywhere()), on={"zone": "b"})
    assert verdict.outcome is Outcome.UNKNOWN
    assert "the labels of control-plane, worker, worker2, worker3 were not recorded" in verdict.summary


def test_a_daemon_set_that_was_told_late_is_in_doubt() -> None:
    """Its pod was ready before the watch told of it."""
    story = agent(everywhere().without(lambda r: r.get("uid") == "agent-worker2-a" and r.time_ns > 25e9), 38, "worker2")
    assert complete(story).outcome is Outcome.INVALID
    story.tell(38, "api:Pod", "resumed", what="watch Pod", from_ns=ns(29), to_ns=ns(38))
    assert complete(story).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("story", "within_s", "reason"),
    [
        (cluster(), 5, "no pod of the DaemonSet agent was seen"),
        (agent(cluster().without(lambda r: r.get("object") == "Node"), 1, "worker"), 5, "no node was seen where agent"),
        (everywhere(), 2.5, "it is not certain that worker3 was without a ready pod of agent for 3.0 s"),
        (node(everywhere(), 38, "worker4", "added"), 5, "worker4 was without a ready pod of agent for 4.0 s"),
        (everywhere().gap("api:Pod", 12, 13), 5, "api:Pod may have missed something"),
        (everywhere().gap("api:Pod", 1.5, 3.9), 2, "it is not certain that worker3 was without"),
    ],
)  # fmt: skip
def test_too_little_seen_of_it_is_unknown(story: Story, within_s: float, reason: str) -> None:
    """No pod, no node, a wait as long as the bound, one that the end cuts short, a gap."""
    verdict = complete(story, within_s)
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert reason in verdict.summary


@pytest.mark.parametrize(
    "promised",
    [
        {}, {"workload": "a", "daemon_set": "b"}, {"workload": "a"}, {"workload": "a", "spread": 0},
        {"workload": "a", "per_node_max": 0}, {"workload": "a", "spread": 1, "settle_s": -1},
        {"daemon_set": "a", "spread": 1}, {"daemon_set": "a", "within_s": 0},
    ],
)  # fmt: skip
def test_senseless_promises_are_refused(promised: dict[str, Any]) -> None:
    """They are the author's mistake."""
    with pytest.raises(ValueError, match=r"placement needs|can be promised|or more"):
        placement(**promised)


# --- generated histories against oracles, and mutations -------------------------------------------------------------

MOVES = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from([*WORKERS, None]), st.booleans()), min_size=1, max_size=30
)


def moving(moves: list[tuple[str, str | None, bool]]) -> tuple[Story, list[Counter[str]]]:
    """Replicas that are put on nodes, or go, a second and a half apart; and how many were where after each move."""
    story, seats, after = cluster().phases(after=(30, 100), verify=(100, 101), remove=(101, 102)), {}, []
    story.records = [r for r in story.records if r.kind != "fault" and not (r.kind == "phase" and r.time_ns == ns(42))]
    story.without(lambda r: r.kind == "phase" and r["name"] in ("after", "verify", "remove") and r.time_ns < ns(100))
    story.tell(30, "harness", "phase", name="after", edge="begin")
    for number, (uid, where, gone) in enumerate(moves):
        if where is not None and uid not in seats:
            seats[uid] = where
            put(story, 31 + 1.5 * number, f"{uid}{number}", where, "added")
            seats[uid] = (where, f"{uid}{number}")  # type: ignore[assignment]
        elif gone and uid in seats:
            _, name = seats.pop(uid)
            put(story, 31 + 1.5 * number, name, None, "deleted")
        after.append(Counter(where for where, _ in seats.values()))
    return story, after


@given(MOVES, st.integers(1, 3))
def test_it_agrees_with_a_slow_oracle(moves: list[tuple[str, str | None, bool]], bound: int) -> None:
    """Counting all replicas anew after each move finds the same breaches."""
    story, after = moving(moves)
    crowded = any(count > bound for counts in after for count in counts.values())
    uneven = any(max(c[w] for w in WORKERS) - min(c[w] for w in WORKERS) > bound for c in after)
    most = max(counts.total() for counts in after)
    crowd, skew = judged(story, per_node_max=bound), judged(story, spread=bound)
    assert crowd.outcome is (Outcome.INVALID if crowded else Outcome.VALID if most > bound else Outcome.UNKNOWN)
    assert skew.outcome is (Outcome.INVALID if uneven else Outcome.VALID if most > bound else Outcome.UNKNOWN)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 5)), max_size=30))
def test_levels_are_the_extremes(puts: list[tuple[str, int | None]]) -> None:
    """The highest and lowest count of what is there."""
    levels, there = Levels(), {}
    for name, count in puts:
        levels.put(name, count)
        there.pop(name, None)
        if count is not None:
            there[name] = count
        assert len(levels) == len(there)
        if there:
            assert (levels.highest, levels.lowest) == (max(there.values()), min(there.values()))
            assert levels.one_with(levels.highest) == min(n for n, c in there.items() if c == levels.highest)


SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)).map(lambda s: (s[0], s[0] + s[1])), max_size=6)


@given(st.tuples(st.integers(0, 20), st.integers(1, 10)), SPANS)
def test_spans_are_sets_of_moments(span: tuple[int, int], others: list[tuple[int, int]]) -> None:
    """What is left of a span, and whether it is touched, second by second."""
    begin, end = span[0], span[0] + span[1]
    left = {half for b, e in outside((begin, end), merged(others)) for half in range(2 * int(b) + 1, 2 * int(e), 2)}
    taken = {half for b, e in others for half in range(2 * b + 1, 2 * e, 2)}
    assert left == set(range(2 * begin + 1, 2 * end, 2)) - taken
    assert overlaps(merged(others), begin, end) == any(b <= end and e >= begin for b, e in others)


@pytest.mark.parametrize("checker", [placement("shop", per_node_max=1, spread=1), placement(daemon_set="agent")])
@given(data=st.data())
def test_a_dropped_record_is_caught(checker: Any, data: st.DataObject) -> None:
    """The watch's closing count tells; nothing is certain then."""
    both = Story()
    both.records = [*spread_out().records, *(r for r in everywhere().records if "agent" in str(r.get("uid")))]
    records = list(both.history().records)
    places = [place for place, record in enumerate(records) if record.kind == "object"]
    del records[places[data.draw(st.integers(0, len(places) - 1))]]
    (verdict,) = judge(History(records), [checker])
    assert verdict.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("make", "promised"), [(spread_out, {"per_node_max": 1, "spread": 1}), (everywhere, {})])
def test_a_repeated_record_changes_nothing(make: Callable[[], Story], promised: dict[str, Any]) -> None:
    """Each record told twice."""
    story = make()
    once = judged(make(), **promised) if promised else complete(make())
    story.records = [r for record in story.records for r in ([record] * (2 if record.kind == "object" else 1))]
    assert (judged(story, **promised) if promised else complete(story)) == once
