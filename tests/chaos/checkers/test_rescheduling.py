"""Rescheduling: pods that left a drained node, pods that waited for it, and drains of which too little was seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from histories import NAMESPACE, Story, edge

from chaos.checkers import Outcome, Verdict, rescheduling
from chaos.history import Record

DRAINED = {"kind": "Node", "name": "worker"}
LONG = {"fault": (20, 40), "recover": (40, 46), "after": (46, 50), "verify": (50, 51), "remove": (51, 55)}


def drain(heal_s: float = 39) -> Story:
    """A run in which worker, where web-1 is, is drained at 20 s and opened again at ``heal_s``."""
    story = Story().phases(**LONG).fact("experiment", {"namespace": NAMESPACE}).fact("completed", True)
    story.fault("drain_node", DRAINED, heal_s=heal_s)
    for at_s, cordoned in ((0, False), (20.02, True), (heal_s + 0.05, False)):
        story.seen(at_s, "Node", "worker", "node-a", {"unschedulable": cordoned})
    for at_s, name, taints in ((0, "worker2", []), (0, "entry", ["kindstorm.dev/entry=:NoSchedule"])):
        story.seen(at_s, "Node", name, name, {"ready": True, "unschedulable": False, "taints": taints})
    story.pod(1, "web-1", "web-1-a", "added", ready=False).pod(2, "web-1", "web-1-a")
    story.pod(20.1, "web-1", "web-1-a", deleting=True).pod(20.15, "web-1", "web-1-a", "deleted", ready=False)
    return story.clocks("api:Pod", end_s=55).clocks("api:Node", end_s=55)


def moved(ready_s: float = 24, node: str = "worker2", heal_s: float = 39) -> Story:
    """web-1 is put on another node at once and ready there at ``ready_s``."""
    story = drain(heal_s).pod(20.16, "web-1", "web-1-b", "added", ready=False, node=None)
    story.pod(20.17, "web-1", "web-1-b", ready=False, node=node).pod(ready_s, "web-1", "web-1-b", node=node)
    return story.pod(52, "web-1", "web-1-b", "deleted", ready=False, node=node)


CONFLICT = "0/3 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity"


def said(story: Story, message: str, pod: str = "web-1", at_s: float = 20.3) -> Story:
    """Add what the scheduler said of a pod."""
    state = {"reason": "FailedScheduling", "message": message, "about": {"kind": "Pod", "name": pod}}
    return story.seen(at_s, "Event", f"{pod}.{at_s}", f"e{at_s}{pod}", state)


def waited(put_s: float = 39.3, node: str = "worker", heal_s: float = 39, message: str = CONFLICT) -> Story:
    """web-1 is refused at 20.3 s, put on ``node`` at ``put_s`` and ready there two seconds later."""
    story = drain(heal_s).pod(20.16, "web-1", "web-1-b", "added", ready=False, node=None)
    story.pod(20.3, "web-1", "web-1-b", ready=False, node=None, unschedulable=True)
    if message:
        said(story, message)
    story.pod(put_s, "web-1", "web-1-b", ready=False, node=node).pod(put_s + 2, "web-1", "web-1-b", node=node)
    return story.pod(52, "web-1", "web-1-b", "deleted", ready=False, node=node)


def judged(story: Story, moves: bool) -> Verdict:
    """The verdict on a story."""
    return rescheduling("web-1", moves).check(story.history())


def of_node(record: Record) -> bool:
    """Picks what was seen of the drained node."""
    return record.kind == "object" and record["name"] == "worker"


def other(story: Story, at_s: float, verb: str = "modified", **state: object) -> Story:
    """Add what became of the other node."""
    whole = {"ready": True, "unschedulable": False, "taints": []} | state
    return story.seen(at_s, "Node", "worker2", "worker2", whole, verb)


def since(at_s: float) -> Callable[[Record], bool]:
    """Picks what was seen of the new pod from a time on, up to the removal."""
    return lambda r: r.get("uid") == "web-1-b" and at_s <= r.time_ns / 1e9 < 52


def test_a_pod_that_moved_is_valid() -> None:
    """It is ready on another node while its own is cordoned; when, and how long before, is in the verdict."""
    verdict = judged(moved(), moves=True)
    assert verdict.outcome is Outcome.VALID
    assert "web-1 was put on worker2 0.17 s after" in verdict.summary
    assert "ready there 15.0 s before worker was opened again" in verdict.summary
    (row,) = verdict.evidence["drains"]
    assert (row["uids"], row["node"], row["put_on"]) == (["web-1-a", "web-1-b"], "worker", "worker2")


@pytest.mark.parametrize("put_on", ["worker2", "worker3"])
def test_an_outage_of_its_new_node_is_no_drain(put_on: str) -> None:
    """A node that hangs later is not cordoned, and a pod may go or stay: it says nothing about the drain before."""
    story = moved(heal_s=35).fault("pause_node", {"kind": "Node", "name": "worker2"}, inject_s=36, heal_s=39)
    story.pod(36.5, "web-1", "web-1-b", node="worker2", ready=False, deleting=True)
    story.pod(37, "web-1", "web-1-c", "added", node=put_on, ready=False).pod(38, "web-1", "web-1-c", node=put_on)
    verdict = judged(story, moves=True)
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert len(verdict.evidence["drains"]) == 1


def test_a_pod_that_waited_is_valid() -> None:
    """It is refused until its node is open again, and then ready there."""
    verdict = judged(waited(), moves=False)
    assert verdict.outcome is Outcome.VALID
    assert "refused by the scheduler for 18.7 s, until worker was opened again, and was ready there 2.3 s" in (
        verdict.summary
    )
    assert verdict.evidence["drains"][0]["refused_s"] == pytest.approx(18.7)


@pytest.mark.parametrize(
    ("story", "moves", "finding"),
    [
        (moved(), False, "web-1 was put on worker2 0.17 s after the injection of drain_node on Node worker, though it"),
        (waited(45, "worker2"), False, "web-1 was put on worker2 25.00 s after"),
        (waited(30), False, "web-1 was put on worker while that was cordoned"),
        (waited(30), True, "web-1 was put on worker while that was cordoned"),
        (waited(), True, "web-1 was refused by the scheduler for 18.7 s and did not move"),
        (waited().without(since(39)), True, "web-1 was refused by the scheduler for 18.7 s and did not move"),
        (waited(), True, f"though worker2 could take pods; it said: {CONFLICT}"),
        (said(waited(), "Insufficient", "web-2"), True, "though worker2 could take pods"),
        (said(waited(), "Insufficient", at_s=10), True, "though worker2 could take pods"),
        (moved().pod(47, "web-1", "web-1-c", "added"), True, "web-1 was replaced once more, 27.00 s after"),
        (waited().pod(47, "web-1", "web-1-c", "added"), False, "web-1 was replaced once more"),
        (moved().gap("api:Pod", 30, 31), False, "web-1 was put on worker2"),
        (moved().without(of_node), False, "web-1 was put on worker2"),
    ],
)
def test_the_contrary_is_invalid_and_named(story: Story, moves: bool, finding: str) -> None:
    """What was seen to happen is certain, with or without a gap."""
    verdict = judged(story, moves)
    assert verdict.outcome is Outcome.INVALID
    assert finding in verdict.findings[0]
    assert verdict.summary.startswith(verdict.findings[0])


@pytest.mark.parametrize(
    ("story", "moves", "doubt"),
    [
        (Story().phases(**LONG), True, "no fault was injected"),
        (Story().phases(**LONG).fault(), True, "web-1 was not seen ready on a node that was then drained"),
        (moved().without(lambda r: r.kind == "fault").fault("scale", DRAINED | {"kind": "Deployment"}, heal_s=39), True,
         "web-1 was not seen ready on a node that was then drained"),
        (moved().without(edge("effect")), True, "was not seen to take effect"),
        (waited().without(edge("effect")), True, "was not seen to take effect"),
        (moved().without(edge("effect")), False, "was not seen to take effect"),
        (moved().without(lambda r: r.get("uid") == "web-1-a"), True, "not seen ready on a node that was then drained"),
        (moved().pod(15, "web-1", "web-1-a", ready=False), True, "not seen ready on a node that was then drained"),
        (moved().pod(15, "web-1", "web-1-a", node="worker2"), True, "not seen ready on a node that was then drained"),
        (moved().without(lambda r: r.get("uid") == "web-1-b"), True, "no new pod web-1 was seen after drain_node"),
        (waited().without(lambda r: r.get("uid") == "web-1-b"), False, "no new pod web-1 was seen after drain_node"),
        (moved(ready_s=39.2), True, "not seen ready there while worker was cordoned: hold it longer"),
        (moved().without(since(24)), True, "not seen ready there while worker was cordoned: hold it longer"),
        (waited(25.5, heal_s=25), False, "refused by the scheduler for 4.7 s, which must be 10 s to tell"),
        (waited(25.5, heal_s=25), True, "refused by the scheduler for 4.7 s, which must be 10 s to tell"),
        (waited().without(lambda r: bool((r.get("state") or {}).get("unschedulable")) and r.get("uid") == "web-1-b"),
         False, "refused by the scheduler for 0.0 s"),
        (waited().without(lambda r: r.get("name") == "worker2"), True, "no other node was open to it all that time"),
        (other(waited(), 30, ready=False), True, "no other node was open to it all that time"),
        (other(waited(), 30, unschedulable=True), True, "no other node was open to it all that time"),
        (other(waited(), 10, taints=["a=b:NoExecute"]), True, "no other node was open to it all that time"),
        (other(waited(), 10, "deleted"), True, "no other node was open to it all that time"),
        (waited().without(lambda r: r.get("name") == "worker2").seen(30, "Node", "worker4", "n", {"ready": True}), True,
         "no other node was open to it all that time"),
        (waited(message=""), True, "and why was not seen: the nodes may have had no room"),
        (waited(message="0/3 nodes are available: 1 Insufficient cpu"), True, "a node may have had no room: 0/3"),
        (said(waited(), "1 Too many pods", at_s=30), True, "a node may have had no room: 1 Too many pods"),
        (waited().without(since(39)), False, "web-1 was not seen ready on worker again"),
        (waited().without(since(41)), False, "web-1 was not seen ready on worker again"),
        (moved().gap("api:Pod", 30, 31), True, "api:Pod may have missed something"),
        (moved().gap("api:Node", 30, 31), True, "api:Node may have missed something"),
        (waited().gap("api:Pod", 30, 31), False, "api:Pod may have missed something"),
        (waited().gap("api:Node", 45, None), False, "api:Node may have missed something"),
        (waited().gap("api:Pod", 30, 31), True, "api:Pod may have missed something"),
        (waited(30).gap("api:Node", 29, 31), False, "api:Node may have missed something"),
        (moved().without(of_node), True, "worker was not seen cordoned from the effect"),
        (moved().without(lambda r: of_node(r) and r.time_ns > 30e9), True, "worker was not seen open again"),
        (waited(31).seen(30, "Node", "worker", "node-a", {"unschedulable": False}), False, "worker was not seen"),
        (waited().seen(30, "Node", "worker", "node-a", {"unschedulable": False}), True, "worker was not seen cordoned"),
        (moved().without(lambda r: r.kind == "phase" and r["name"] == "after"), True, "lacks these of the load's"),
    ],
)  # fmt: skip
def test_too_little_evidence_is_unknown(story: Story, moves: bool, doubt: str) -> None:
    """No effect, no sight of the pod or its node, a gap in either, or too short a drain."""
    verdict = judged(story, moves)
    assert (verdict.outcome, verdict.findings) == (Outcome.UNKNOWN, ())
    assert doubt in verdict.summary


def test_records_that_are_missing_are_unknown() -> None:
    """A watch that was cut off showed an unknown part."""
    for story, moves in ((moved(), True), (waited(), False), (waited(), True)):
        verdict = rescheduling("web-1", moves).check(story.history(unclosed=["api:Pod"]))
        assert (verdict.outcome, verdict.findings) == (Outcome.UNKNOWN, ())
        assert "api:Pod did not close its records" in verdict.summary


def test_what_comes_after_another_fault_is_that_faults() -> None:
    """The pod that a later fault kills has not been rescheduled once more; the removal of the stack is none either."""
    story = moved().fault(target={"kind": "Pod", "name": "web-1", "uid": "web-1-b"}, inject_s=44, heal_s=45)
    story.pod(44.1, "web-1", "web-1-b", "deleted", node="worker2").pod(44.2, "web-1", "web-1-c", "added")
    assert judged(story, moves=True).outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        ({"kind": "Pod", "name": "web-1", "uid": "web-1-b"}, Outcome.UNKNOWN),
        ({"kind": "Node", "name": "worker2"}, Outcome.UNKNOWN),
        ({"kind": "Pod", "name": "web-0", "uid": "web-0-a"}, Outcome.INVALID),
    ],
)
def test_a_fault_during_the_drain_may_have_replaced_it(target: dict[str, object], outcome: Outcome) -> None:
    """One that hit the new pod, or its node, is no doing of the drain; one that hit another pod explains nothing."""
    story = moved().fault("other", target, inject_s=30, heal_s=31)
    story.pod(30.1, "web-1", "web-1-b", "deleted", node="worker2").pod(30.2, "web-1", "web-1-c", "added", node=None)
    verdict = judged(story, moves=True)
    assert verdict.outcome is outcome
    assert "web-1 was replaced once more, 0.20 s after the injection of other on" in verdict.summary


def test_other_namespaces_pods_are_no_sight_of_it() -> None:
    """A namesake elsewhere neither moves nor waits for our pod."""
    state = {"ready": True, "node": "worker3"}
    story = waited().tell(30, "api:Pod", "object", verb="added", object="Pod", namespace="other", name="web-1", uid="z",
                          state=state)  # fmt: skip
    assert judged(story, moves=False).outcome is Outcome.VALID


def test_a_pod_without_a_name_is_refused() -> None:
    """There is none to judge."""
    with pytest.raises(ValueError, match="needs the name of a pod"):
        rescheduling("", moves=True)
