"""Sound histories, each with one thing made wrong: every checker must notice, whatever the records then still say.

A mutated history is closed and sealed anew, so that it is whole: a checker must see what is wrong, and not only that
records are missing. What a history comes to from which one was taken is the last test's business.
"""

from __future__ import annotations

import pytest
import test_at_most_one
import test_dns
import test_load_balance
import test_placement
from histories import BASELINE, NAMESPACE, Story, edge, killed_pod, ns
from mutating import (
    Change,
    all_of,
    answered,
    asked,
    both,
    everything,
    fact,
    gap,
    key,
    of,
    op,
    page,
    ran,
    reading,
    shifted,
    swapped,
    told,
    twice,
    with_state,
    without,
    write,
)
from stateful_sets import SimulatedSet
from test_consistency import sound as sound_keys

import kindstorm.checkers
from chaos.checkers import (
    Checker,
    Outcome,
    at_most_one,
    availability,
    consistency,
    disruption_budget,
    dns,
    durability,
    identity,
    judge,
    load_balance,
    ordering,
    placement,
    quiescence,
    recovery,
    rescheduling,
)
from chaos.history import History

INVALID, UNKNOWN, VALID = Outcome.INVALID, Outcome.UNKNOWN, Outcome.VALID
DRAINED = {"kind": "Node", "name": "worker"}


# The sound histories


def killed() -> Story:
    """web-1 of three is killed and comes back; clients read all the time, and write what is read back at the end."""
    story = killed_pod()
    for number in range(60):
        common = {"process": "user-0", "op": f"w{number}", "f": "insert", "value": number}
        at_s = 10.1 + number / 2
        story.tell(at_s, "load", "op", type="invoke", intended_ns=ns(at_s), **common)
        story.tell(at_s + 0.02, "load", "op", type="ok", error=None, **common)
    for number, ids in enumerate((range(40), range(40, 60))):
        common = {"process": "verifier", "op": number, "f": "read_all"}
        at_s = 40.5 + number / 10
        story.tell(at_s, "verify", "op", type="invoke", intended_ns=ns(at_s), value={"page": number}, **common)
        answer = {"page": number, "ids": list(ids), "last": number == 1}
        story.tell(at_s + 0.05, "verify", "op", type="ok", value=answer, error=None, **common)
    return story


def drained() -> Story:
    """A node with two of four pods is drained under a budget of one: the second waits for the first one's successor."""
    budget = {"name": "shop", "selector": {"matchLabels": {"app": "shop"}}, "max_unavailable": 1, "min_available": None}
    workloads = [{"kind": "Deployment", "name": "shop", "replicas": 4}]
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).fact("completed", True).load()
    story.fact("stack", {"name": "shop", "workloads": workloads, "disruption_budgets": [budget]})
    story.fault("drain_node", DRAINED, effect={"unschedulable": True})
    told = [{"namespace": NAMESPACE, "name": f"shop-{uid}", "uid": uid} for uid in "ab"]
    next(filter(edge("injected"), story.records)).data["detail"] = {"evicted": told, "refused_evictions": 1, "left": {}}
    steps = [(2, uid, "added", {}) for uid in "abcd"] + [(22, "x", "added", {}), (24, "y", "added", {})]
    steps += [(at_s, uid, "modified", {"deleting": True}) for at_s, uid in ((20.1, "a"), (22.1, "b"))]
    steps += [(at_s, uid, "deleted", {"ready": False}) for at_s, uid in ((20.4, "a"), (22.4, "b"))]
    for at_s, uid, verb, state in steps:
        labels = {"labels": {"app": "shop"}}
        story.pod(at_s, f"shop-{uid}", uid, verb, "ReplicaSet/shop-7db6d8ff4d", **labels, **state)
    return story.clocks("api:Pod")


def moved() -> Story:
    """web-1's node is drained for twenty seconds; web-1 is ready on another one four seconds into that."""
    phases = {"fault": (20, 40), "recover": (40, 46), "after": (46, 50), "verify": (50, 51), "remove": (51, 55)}
    story = Story().phases(**phases).fact("experiment", {"namespace": NAMESPACE}).fact("completed", True)
    story.fault("drain_node", DRAINED, heal_s=39)
    for at_s, cordoned in ((0, False), (20.02, True), (39.05, False)):
        story.seen(at_s, "Node", "worker", "node-a", {"unschedulable": cordoned})
    story.pod(1, "web-1", "web-1-a", "added", ready=False).pod(2, "web-1", "web-1-a")
    story.pod(20.1, "web-1", "web-1-a", deleting=True).pod(20.15, "web-1", "web-1-a", "deleted", ready=False)
    story.pod(20.16, "web-1", "web-1-b", "added", ready=False, node=None)
    story.pod(20.17, "web-1", "web-1-b", ready=False, node="worker2").pod(24, "web-1", "web-1-b", node="worker2")
    story.pod(52, "web-1", "web-1-b", "deleted", ready=False, node="worker2")
    return story.clocks("api:Pod", end_s=55).clocks("api:Node", end_s=55)


def in_order() -> Story:
    """Web comes up to three, loses web-1 and is scaled down to one, a step each half second; then it is removed."""
    web = SimulatedSet(versioned=False).scale(3).settle().wait(8).kill(1).settle().wait(8).scale(1).settle()
    return web.story.fact("completed", True)


HISTORIES = {
    "killed": killed,
    "drained": drained,
    "moved": moved,
    "in_order": in_order,
    "keys": lambda: sound_keys().story,
    "seen by nodes": test_at_most_one.killed,
    "asked for names": test_dns.whole,
    "balanced": lambda: test_load_balance.killed().fact("completed", True),
    "spread": lambda: test_placement.spread_out().fact("completed", True),
}
CHECKERS: dict[str, tuple[str, Checker]] = {
    "availability": ("killed", availability(error_ratio_max=0.05, gap_s_max=2)),
    "durability": ("killed", durability()),
    "identity": ("killed", identity("web-*", dns_s_max=5)),
    "quiescence": ("killed", quiescence()),
    "recovery": ("killed", recovery(after_fault_s_max=5)),
    "disruption_budget": ("drained", disruption_budget()),
    "consistency": ("keys", consistency(lag_s_max=0)),
    "ordering": ("in_order", ordering("web", kinds=("up", "down"))),
    "at_most_one": ("seen by nodes", at_most_one("web-*")),
    "dns": ("asked for names", dns()),
    "load_balance": ("balanced", load_balance()),
    "placement": ("spread", placement("shop", per_node_max=1)),
    "rescheduling": ("moved", rescheduling("web-1", moves=True)),
}


ANSWERS = op("read", "ok", 20, 23)
EVERYTHING = op("read_all")
STABLE, HEADLESS = test_dns.STABLE, test_dns.HEADLESS
OTHERS_NAME = {"answers": ["ip-web-1-a"], "rcode": "NOERROR"}
OTHERS_MARKER = {"status": 200, "body": "born as web-2"}

MUTATIONS: dict[str, list[tuple[str, Change, Outcome, str]]] = {
    "durability": [
        ("an acknowledged write is not there", page(1, range(41, 60)), INVALID, "40 is lost"),
        ("a write is there twice", page(1, [*range(40, 60), 7]), INVALID, "7 was read more than once"),
        ("a failed write is there", told(write(9, "ok"), type="fail"), INVALID, "9 is there although its write failed"),
        ("nobody wrote what is there", without(write(9)), INVALID, "9 was read, but never written"),
        ("two writes are mixed up", told(write(9), value=8), INVALID, "9 was read, but never written"),
        (
            "one id for two writes",
            both(told(write(9), value=8), page(0, [*range(9), *range(10, 40)])),
            UNKNOWN,
            "1 ids were written more than once, such as 8",
        ),
        ("an answer without a question", without(write(9, "invoke")), UNKNOWN, "without an invocation that was open"),
        ("an answer before its question", shifted(write(9, "ok"), -0.05), UNKNOWN, "without an invocation that was op"),
        ("a page was not read", without(lambda r: EVERYTHING(r) and r["op"] == 1), UNKNOWN, "its pages are 0, and the"),
        ("the last page came first", swapped(op("read_all", "ok"), op("read_all", "ok", 40.6)), UNKNOWN, "invocation"),
        (
            "the read came too early",
            both(page(1, range(40, 59)), shifted(EVERYTHING, -1)),
            UNKNOWN,
            "no verifying read",
        ),
        ("the fault came to nothing", without(edge("effect")), UNKNOWN, "was not seen to take effect"),
        (
            "the fault was never healed",
            without(edge("healed")),
            UNKNOWN,
            "was not healed when the verifying read began",
        ),
    ],
    "availability": [
        ("answers are missing", without(ANSWERS), INVALID, "of them in phase fault: 30 x still open at the end"),
        ("answers came late", shifted(ANSWERS, 6), INVALID, "late: answered more than 5 s after it was due"),
        ("answers became errors", told(ANSWERS, type="fail"), INVALID, "of them in phase fault: 30 x fail"),
        ("nobody asked", without(op(None, None, 20, 23)), INVALID, "nothing was answered for 3."),
        ("nobody asked at the end", without(op(None, None, 37, 40)), INVALID, "nothing was answered for"),
        ("answers without questions", without(op("read", "invoke", 20, 20.2)), UNKNOWN, "ended without an invocation"),
        (
            "answers before their questions",
            shifted(op("read", "ok", 20, 20.1), -0.05),
            UNKNOWN,
            "without an invocation",
        ),
        ("the fault came to nothing", without(edge("effect")), UNKNOWN, "was not seen to take effect"),
        (
            "the load's phases are mixed up",
            without(lambda r: r.kind == "phase" and r["name"] == "recover"),
            UNKNOWN,
            "the history lacks these of the load's phases: recover",
        ),
        ("a gap in what was recorded", gap("load", 21, 22), UNKNOWN, "load may have missed something"),
    ],
    "identity": [
        (
            "the old pod runs on beside the new one",
            twice(of("web-1-a", "modified", 20), 3),
            INVALID,
            "two UIDs at once",
        ),
        ("the old pod never went", without(of("web-1-a", "deleted")), INVALID, "web-1 had two UIDs at once"),
        (
            "the new pod came before the old one went",
            swapped(of("web-1-a", "deleted"), of("web-1-b", "added")),
            INVALID,
            "web-1 had two UIDs at once",
        ),
        (
            "a gap hides whether the old one went",
            both(gap("api:Pod", 20, 22), without(of("web-1-a", "deleted"))),
            UNKNOWN,
            "may have missed something",
        ),
        ("no new pod came", without(of("web-1-b")), INVALID, "web-1 was not replaced after kill_pod"),
        (
            "another pod was replaced",
            twice(of("web-2-a", "modified"), 20, uid="web-2-b"),
            INVALID,
            "web-2 was no target of a fault, yet it was replaced",
        ),
        (
            "the name still meant the old pod",
            told(reading("dns", "web-1", 22), value=OTHERS_NAME),
            INVALID,
            "the DNS name of web-1 still gave ip-web-1-a instead of ip-web-1-b",
        ),
        (
            "nobody asked for the name",
            without(reading("dns", "web-1", 22)),
            UNKNOWN,
            "no answer shows that the DNS name of web-1 followed",
        ),
        (
            "the volume is another's",
            told(reading("http", "web-1", 22), value=OTHERS_MARKER),
            INVALID,
            "web-1 and web-2 hold the same marker",
        ),
        (
            "the volume was emptied",
            told(reading("http", "web-1", 22), value={"status": 404, "body": ""}),
            INVALID,
            "the volume of web-1 held 'born as web-1' at first",
        ),
        ("nobody read the volume", without(reading("http", "web-1", 22)), UNKNOWN, "the marker was read (web-1)"),
        (
            "the claim is another one",
            twice(of("claim-1"), 20, uid="claim-9"),
            INVALID,
            "the claim data-web-1 of web-1 was",
        ),
        ("the pod took another claim", with_state(of("web-1-b"), claims=["data-web-2"]), INVALID, "web-1 claimed"),
    ],
    "recovery": [
        (
            "the new pod was never ready",
            with_state(of("web-1-b"), ready=False),
            INVALID,
            "StatefulSet/web had 2 ready, 3",
        ),
        (
            "it was ready too late",
            shifted(of("web-1-b", "modified", 22), 7),
            INVALID,
            "was whole again only between 8.95 and 9.",
        ),
        (
            "the endpoint came too late",
            shifted(all_of("EndpointSlice", 22), 7),
            INVALID,
            "was whole again only between 9.05 and 9.",
        ),
        (
            "the endpoint never came",
            without(all_of("EndpointSlice", 22)),
            INVALID,
            "Service/web had 2 ready, 3 before the fault",
        ),
        ("another pod went in the end", twice(of("web-2-a", "deleted"), -5), INVALID, "StatefulSet/web had 2 ready, 3"),
        (
            "nothing was seen to break",
            without(lambda r: r.kind == "object" and ns(20) <= r.time_ns < ns(30)),
            UNKNOWN,
            "the stack was never seen broken",
        ),
        ("it was broken before", with_state(of("web-2-a"), ready=False), UNKNOWN, "had 2 ready pods before the fault"),
        ("the watch was blind", gap("api:Pod", 20, 22), UNKNOWN, "may have missed something"),
        (
            "the budget lies between two reads of the revision",
            shifted(of("web-1-b", "modified", 22), 3.02),
            UNKNOWN,
            "the budget of 5 s lies in between",
        ),
    ],
    "quiescence": [
        ("a fault was never healed", without(edge("healed")), INVALID, "was never healed"),
        (
            "a volume was left behind",
            told(fact("baseline_after"), value=BASELINE | {"volumes": ["v"]}),
            INVALID,
            "volume v",
        ),
        (
            "packets got out",
            told(fact("baseline_after"), value=BASELINE | {"escaped_packets": 8}),
            INVALID,
            "1 packets left",
        ),
        (
            "the baseline was not read",
            without(fact("baseline_after")),
            UNKNOWN,
            "the baseline after the run was not read",
        ),
        ("no client was there", without(op(None)), UNKNOWN, "no load process was recorded"),
    ],
    "disruption_budget": [
        (
            "the second eviction did not wait",
            swapped(of("x"), of("b", "modified")),
            INVALID,
            "the eviction of shop-b (b) left shop 2 ready pods, its floor is 3",
        ),
        (
            "the successor was not ready",
            with_state(of("x"), ready=False),
            INVALID,
            "left shop 2 ready pods, its floor is",
        ),
        (
            "one eviction is all there was",
            without(of("b", begin_s=20)),
            UNKNOWN,
            "1 evictions could not break the budget",
        ),
        (
            "nobody wrote down who was evicted",
            without(edge("injected")),
            UNKNOWN,
            "no ready pod of the budget shop was evi",
        ),
    ],
    "ordering": [
        ("web-1 came before web-0 was ready", shifted(of("u2", "added"), -0.3), INVALID, "web-1"),
        ("web-0 was never ready", with_state(of("u1"), ready=False), INVALID, "web-0"),
        (
            "web-1 was asked to go before web-2",
            swapped(of("u3", "modified", 19), of("u4", "modified", 19)),
            INVALID,
            "web-1",
        ),
        ("web-2 never went", without(of("u3", "deleted")), INVALID, "web-2"),
        ("web-1 was not there when web-2 came", without(of("u2", end_s=3)), INVALID, "web-2"),
        ("the StatefulSet was not seen", without(all_of("StatefulSet")), UNKNOWN, "were not seen"),
        ("nobody asked for fewer", without(all_of("StatefulSet", 19)), UNKNOWN, "web"),
        ("nothing went", without(all_of("Pod", 19)), UNKNOWN, "no pod was seen to go that had to wait"),
        ("a gap in the watch", gap("api:Pod", 1.2, 1.8), UNKNOWN, "may have missed something"),
    ],
    "consistency": [
        (
            "a read went back",
            told(key("a", 60, "read"), value={"key": "a", "version": 59}),
            INVALID,
            "a newer one had been acknowledged",
        ),
        (
            "a read found nothing",
            told(key("a", 60, "read"), value={"key": "a", "version": None}),
            INVALID,
            "read nothing",
        ),
        (
            "two reads in each other's place",
            swapped(key("a", 60, "read"), key("a", 62, "read")),
            UNKNOWN,
            "without an invocation",
        ),
        ("nobody wrote what was read", without(key("a", 60, "write", None)), INVALID, "of which no write"),
        ("a failed write was read", told(key("a", 60, "write"), type="fail"), INVALID, "of which no write"),
        ("a write was sent after it was read", shifted(key("a", 60, "write", None), 0.2), INVALID, "of which no write"),
        ("one key, two writers", told(key("a", 60, "write", None), process="b"), UNKNOWN, "a"),
        ("an answer without its question", without(key("a", 60, "write", "invoke")), UNKNOWN, "without an invocation"),
        ("nobody read", without(op("read")), UNKNOWN, "only 0 reads could have shown an older version"),
        ("nobody read after the fault", without(op("read", None, 20)), UNKNOWN, "after the first injection"),
    ],
    "at_most_one": [
        (
            "a run twice, under another UID",
            twice(everything("b"), -1.5, uid="c", pod_uid="c", container_id="c/app"),
            INVALID,
            "web-1 (a) on w1 and web-1 (c) on w1",
        ),
        (
            "a run twice, of a pod that nobody else saw",
            twice(ran("b", "start"), -1.5, pod_uid="c", container_id="c/app"),
            UNKNOWN,
            "web-1 may have run twice at once",
        ),
        ("the first one ended later", shifted(ran("a", "exit"), 2), INVALID, "web-1"),
        ("the second one began earlier", shifted(ran("b", "start"), -2), INVALID, "web-1"),
        ("an end and a start in each other's place", swapped(ran("a", "exit"), ran("b", "start")), INVALID, "web-1"),
        ("the first one never ended", without(ran("a", "exit")), INVALID, "web-1"),
        ("the witness was blind meanwhile", gap("node:w1", 20.5, 22.5), UNKNOWN, "w1"),
        ("there was no second one", without(everything("b")), UNKNOWN, "web-"),
        ("the nodes told nothing", without(lambda r: r.kind == "runtime"), UNKNOWN, "w"),
    ],
    "dns": [
        (
            "an answer names the dead",
            told(asked(STABLE, 30, 31), value=OTHERS_NAME),
            INVALID,
            "gave ip-web-1-a, the addr",
        ),
        (
            "the dead were named for long",
            told(asked(STABLE, 22), value=OTHERS_NAME),
            INVALID,
            "gave ip-web-1-a, the addr",
        ),
        (
            "the name was not there",
            told(asked(STABLE, 30), value={"answers": [], "rcode": "NXDOMAIN"}),
            INVALID,
            "web-1.web",
        ),
        (
            "a pod was left out",
            told(asked(HEADLESS, 30), value={"answers": ["ip-web-0-a"], "rcode": "NOERROR"}),
            INVALID,
            "without ip-web-1-b",
        ),
        ("nobody asked", without(lambda r: r.kind == "probe"), UNKNOWN, "no name"),
        ("nobody asked any more", without(lambda r: r.kind == "probe" and r.time_ns >= ns(20)), UNKNOWN, "web"),
        ("the watch was blind", gap("api:Pod", 20, 40), UNKNOWN, "may have missed something"),
    ],
    "load_balance": [
        (
            "one gets nothing",
            told(answered("shop-x"), value={"status": 200, "pod": "shop-a"}),
            INVALID,
            "shop-x answered 0",
        ),
        ("the dead answer", told(answered("shop-c", 35), value={"status": 200, "pod": "shop-b"}), INVALID, "shop-b"),
        ("nobody names himself", told(op("GET /", "ok"), value={"status": 200}), UNKNOWN, "pod"),
        ("connections were kept", told(fact("workload"), value={"keep_alive": True}), UNKNOWN, "connection"),
        ("the fault came to nothing", without(edge("effect")), UNKNOWN, "was not seen to take effect"),
        ("the watch was blind", gap("api:Pod", 20, 40), UNKNOWN, "may have missed something"),
    ],
    "placement": [
        ("two on one node", with_state(of("c"), node="worker"), INVALID, "worker had 2 replicas of Deployment/shop"),
        ("one more came there", twice(of("c"), 10, uid="d", name="shop-5d8f-d"), INVALID, "worker3 had 2 replicas"),
        ("nobody was seen", without(all_of("Pod")), UNKNOWN, "no replica of Deployment/shop was seen"),
        ("one was all there was", without(lambda r: r.get("uid") in ("b", "c")), UNKNOWN, "1"),
        ("the watch was blind", gap("api:Pod", 12, 14), UNKNOWN, "may have missed something"),
    ],
    "rescheduling": [
        (
            "it was ready only after its node was open",
            shifted(of("web-1-b", begin_s=24, end_s=30), 19),
            UNKNOWN,
            "hold it",
        ),
        (
            "it went back to its old node",
            with_state(of("web-1-b", begin_s=20.165), node="worker"),
            INVALID,
            "was put on worker while that was cordoned",
        ),
        (
            "it was never ready",
            with_state(of("web-1-b"), ready=False),
            UNKNOWN,
            "not seen ready there while worker was",
        ),
        ("its node was never cordoned", with_state(all_of("Node"), unschedulable=False), UNKNOWN, "cordoned"),
        ("the watch was blind", gap("api:Pod", 20, 30), UNKNOWN, "may have missed something"),
    ],
}


def test_every_checker_has_histories_to_be_mutated() -> None:
    """no_request_lost is availability with no error allowed."""
    offered = {name for name in kindstorm.checkers.__all__ if name.islower()} - {"no_request_lost"}
    assert offered == CHECKERS.keys() == MUTATIONS.keys()


@pytest.mark.parametrize("name", CHECKERS)
def test_the_history_is_sound_before_it_is_mutated(name: str) -> None:
    """Otherwise what is found in a mutated one would show nothing."""
    history, checker = CHECKERS[name]
    (verdict,) = judge(HISTORIES[history]().history(), [checker])
    assert verdict.outcome is Outcome.VALID, verdict.summary


@pytest.mark.parametrize(
    ("name", "change", "outcome", "words"),
    [pytest.param(name, *rest, id=f"{name}: {what}") for name, rows in MUTATIONS.items() for what, *rest in rows],
)
def test_a_mutation_is_caught(name: str, change: Change, outcome: Outcome, words: str) -> None:
    """INVALID where something is wrong, UNKNOWN where nobody can tell; the verdict names it."""
    history, checker = CHECKERS[name]
    story = HISTORIES[history]()
    before = list(story.records)
    story.records = change(story.records)
    assert story.records != before, "the mutation changes nothing"
    (verdict,) = judge(story.history(), [checker])
    assert verdict.outcome is outcome, verdict
    assert words in "; ".join((verdict.summary, *verdict.findings))


@pytest.mark.parametrize("name", CHECKERS)
def test_no_record_can_be_taken_out_of_a_closed_history(name: str) -> None:
    """Whichever it is: of each kind of each source the first and the last one, the closing records and the seal too."""
    history, checker = CHECKERS[name]
    records = HISTORIES[history]().sealed()
    places = {(r.source, r.kind): i for i, r in enumerate(records)} | {
        (r.source, r.kind, "first"): i for i, r in reversed(list(enumerate(records)))
    }
    for place in sorted(set(places.values())):
        (verdict,) = judge(History(records[:place] + records[place + 1 :]), [checker])
        assert verdict.outcome is not Outcome.VALID, f"without {records[place]}: {verdict.summary}"


@pytest.mark.parametrize("name", [name for name in CHECKERS if name != "identity"])
def test_a_fault_that_found_no_target_shows_nothing(name: str) -> None:
    """UNKNOWN, and why it was never injected is told; a pod that no fault replaced is identity's own finding."""
    history, checker = CHECKERS[name]
    story = HISTORIES[history]()
    story.without(lambda r: r.kind == "fault")
    failed = {"fault": "kill_pod", "id": "0", "edge": "failed", "target": {}, "detail": {"error": "there is no pod x"}}
    (verdict,) = judge(story.tell(20, "harness", "fault", **failed).history(), [checker])
    assert verdict.outcome is UNKNOWN, verdict
    assert "kill_pod was never injected: there is no pod x" in verdict.summary
