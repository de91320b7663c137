"""Ordering: sets that keep the order, sets that do not, and histories in which nothing had to wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from histories import NAMESPACE
from hypothesis import given
from hypothesis import strategies as st
from stateful_sets import ORDERED, PARALLEL, SLIPS, SimulatedPod, SimulatedSet

from chaos.checkers import Outcome, Verdict, judge, ordering
from chaos.history import History, Record


def judged(simulated: SimulatedSet, **promised: Any) -> Verdict:
    """The verdict on what the watches told of a simulated set."""
    return ordering("web", **promised).check(simulated.story.history())


def whole_life(policy: str = ORDERED, slip: str | None = None, partition: int = 0) -> SimulatedSet:
    """Three come up, become five, are updated, become two, and the two are killed at once."""
    web = SimulatedSet(policy, slip, partition).scale(3).settle(1).scale(5).settle(1).wait(6).update().settle(1)
    return web.wait(6).scale(2).settle(1).wait(6).kill(1).wait(1).kill(0).progress(1).settle(1).wait(6)


def kinds(verdict: Verdict) -> dict[str, tuple[int, int]]:
    """By kind how many were seen, and by how many a slip would have shown."""
    return {kind: (row["seen"], row["tested"]) for kind, row in verdict.evidence["kinds"].items()}


def test_a_set_that_keeps_its_order_is_valid() -> None:
    """All of the order was seen: up, down, update and halt, each with something to wait for."""
    verdict = judged(whole_life(), kinds=("up", "down", "update", "halt"))
    assert verdict.outcome is Outcome.VALID, verdict.summary
    # Up: web-1, web-2 and web-4 had one to wait for; so had web-1 after web-0 was killed, and four of five updates.
    assert kinds(verdict) == {"up": (9, 4), "down": (3, 2), "update": (5, 4), "halt": (1, 1)}
    assert verdict.evidence["by_others"] == 2
    assert verdict.summary == (
        "web went by OrderedReady: 4 of 9 creations waited, 2 of 3 deletions waited, 4 of 5 updates waited for "
        "another pod, 1 of them for a pod that was unhealthy"
    )


def test_what_was_not_seen_is_told() -> None:
    """VALID speaks of what was seen to wait only."""
    verdict = judged(SimulatedSet().scale(2).settle())
    assert verdict.outcome is Outcome.VALID
    assert verdict.summary.endswith("nothing is said of down and update")


@pytest.mark.parametrize(
    ("slip", "partition", "finding"),
    [
        ("eager up", 0, "web-1 (u2) was created while web-0 (u1) was not ready, which it was 1.00 s later, 36."),
        ("eager down", 0, "web-3 (u7) was deleted while web-4 (u6) was still there"),
        ("lowest goes first", 0, "web-2 (u8) was deleted while web-4 (u6) was still there"),
        ("updates forward", 0, "web-0 (u1) was updated before web-4 (u5)"),
        ("eager update", 0, "web-3 (u4) was updated while web-4 (u5) was on its way out"),
        ("passes the partition", 2, "web-1 (u2) was updated, though updates end at ordinal 2"),
    ],
)
def test_each_slip_of_a_controller_is_invalid_and_named(slip: str, partition: int, finding: str) -> None:
    """Who did not wait, for whom, and when."""
    verdict = judged(whole_life(slip=slip, partition=partition))
    assert verdict.outcome is Outcome.INVALID
    assert any(text.startswith(finding) for text in verdict.findings), verdict.findings
    assert verdict.findings[0] in verdict.summary
    assert "the injection of kill_pod on Pod web-1" in verdict.findings[0]


def test_a_partition_that_is_kept_is_valid() -> None:
    """What is below it keeps its revision, also where it is killed; a promise of another partition is broken."""
    web = whole_life(partition=2)
    assert judged(web, kinds=("update",)).outcome is Outcome.VALID
    assert judged(web, kinds=("update",)).evidence["kinds"]["update"] == {
        "seen": 3, "tested": 2, "longest_wait_s": pytest.approx(2),
    }  # fmt: skip
    verdict = judged(web, partition=3)
    assert verdict.outcome is Outcome.INVALID
    assert verdict.findings[0].startswith("web-2 (u3) was updated, though updates end at ordinal 3")


def test_a_killed_pod_below_the_partition_comes_back_as_it_was() -> None:
    """One that comes back updated was updated too, though it was the fault that deleted it."""
    web = SimulatedSet(partition=2).scale(3).settle().update().settle()
    web.partition = 1
    verdict = judged(web.kill(1).settle(), partition=2)
    assert verdict.outcome is Outcome.INVALID
    assert "web-1 (u5) came back updated, as r2, though updates end at ordinal 2" in verdict.summary


def test_parallel_where_order_was_promised_is_invalid() -> None:
    """The promise is the author's: whatever policy the object has, and the other way round."""
    parallel = whole_life(PARALLEL)
    assert judged(parallel).outcome is Outcome.INVALID
    verdict = judged(parallel, policy=PARALLEL)
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.summary == (
        "web went by Parallel: 4 of 9 creations did not wait, 2 of 3 deletions did not wait, 4 of 5 updates waited for "
        "another pod"
    )


def slow(policy: str, ready_s: float) -> SimulatedSet:
    """Two pods of which the first takes so long."""
    web = SimulatedSet(policy).scale(2).wait(ready_s).progress(0)
    return web.wait(1).progress(1)


def test_order_where_parallel_was_promised_is_invalid() -> None:
    """A wait of five seconds is one; a shorter one may be chance."""
    verdict = judged(slow(ORDERED, 6), policy=PARALLEL)
    assert verdict.outcome is Outcome.INVALID
    assert verdict.summary.startswith(
        "web-1 (u2) was created only once all before it were ready, 6.00 s after it could have been"
    )
    verdict = judged(slow(ORDERED, 3), policy=PARALLEL)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "no pod was seen to come before another one was ready that it might have waited for" in verdict.summary
    web = SimulatedSet(PARALLEL).scale(3).settle()
    web.policy = ORDERED
    verdict = judged(web.scale(1).wait(6).progress(2).settle(), policy=PARALLEL)
    assert verdict.outcome is Outcome.INVALID
    assert verdict.summary.startswith("web-1 (u2) was deleted only once all after it were gone, 6.00 s after")


def test_a_wait_that_was_told_of_too_late_is_no_wait() -> None:
    """While a watch has no connection the times are those of its return."""
    web = slow(ORDERED, 6)
    web.story.tell(7.5, "api:Pod", "resumed", what="watch Pod", from_ns=2_000_000_000, to_ns=7_500_000_000)
    verdict = judged(web, policy=PARALLEL)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "it is not certain that web-1 (u2) was created only once" in verdict.summary


def test_scaling_goes_before_other_deletions() -> None:
    """A pod that is to stay is deleted by nobody known while another one is to go: the wrong one went."""
    web = SimulatedSet().scale(3).settle()
    web.wait(9)._delete(0)
    web.wanted = 2
    web._record("StatefulSet", "web", "set", "modified", {"replicas": 2})
    web.wait(1).progress(0).settle()
    assert judged(web).outcome is Outcome.VALID  # it went before anything was to go
    web = SimulatedSet().scale(3).settle()
    web.wanted = 2
    web._record("StatefulSet", "web", "set", "modified", {"replicas": 2})
    web.wait(9)._delete(0)
    verdict = judged(web.wait(1).progress(0).settle())
    assert verdict.outcome is Outcome.INVALID
    assert verdict.findings[0].startswith("web-0 (u1) was deleted, and web-2 (u3) was to go")


def test_what_a_fault_deletes_is_not_the_controllers_doing() -> None:
    """A pod that is to go, but not yet, is killed, or is evicted from its node."""
    for hit, outcome in (("pod", Outcome.VALID), ("node", Outcome.VALID), ("nothing", Outcome.INVALID)):
        web = SimulatedSet().scale(4).settle().wait(9).scale(1).wait(1)
        if hit == "pod":
            web.kill(1)
        else:
            if hit == "node":
                target = {"kind": "Node", "name": "worker"}
                web.story.fault("pause_node", target, inject_s=web.now_s - 0.5, heal_s=web.now_s + 3)
            web._delete(1)
        assert judged(web.settle()).outcome is outcome


def test_ordinals_may_begin_elsewhere() -> None:
    """Of a set that starts at 5 nobody waits for an ordinal 4."""
    for ready_first, outcome in ((True, Outcome.VALID), (False, Outcome.INVALID)):
        web = SimulatedSet()
        web.pods = {5: SimulatedPod("u5", "r1"), 6: SimulatedPod("u6", "r1")}
        web._record("StatefulSet", "web", "set", "added", {"replicas": 2, "first_ordinal": 5})
        web._tell(5, "added")
        web.wait(1).pods[5].ready = ready_first
        web._tell(5)
        web.wait(1)._tell(6, "added")
        assert judged(web).outcome is outcome


NOTHING = SimulatedSet


@pytest.mark.parametrize(
    ("simulated", "promised", "reason"),
    [
        (NOTHING, {}, "the StatefulSet web and its pods were not seen"),
        (lambda: SimulatedSet().scale(1).settle(), {}, "no pod was seen to come that had to wait for one before it"),
        (lambda: SimulatedSet().scale(3).settle(), {"kinds": ("down",)}, "no pod was seen to go that had to wait"),
        (lambda: SimulatedSet().scale(3).settle(), {"kinds": ("update",)}, "had to wait with its update for one after"),
        (lambda: SimulatedSet().scale(3).settle().kill(2).settle(), {"kinds": ("halt",)}, "no unhealthy pod was seen"),
        (lambda: SimulatedSet().scale(2).settle().scale(0).settle().scale(2).settle(), {"kinds": ("halt",)}, "no un"),
        (lambda: SimulatedSet().scale(3).settle().wait(6).scale(2).settle(), {"kinds": ("down",)}, "was seen to go"),
        (lambda: SimulatedSet(PARALLEL).scale(1).settle().scale(2).settle().update().settle(), {"policy": PARALLEL},
         "no pod was seen to come before another one was ready"),
    ],
)  # fmt: skip
def test_what_could_not_have_been_red_is_unknown(
    simulated: Callable[[], SimulatedSet], promised: dict[str, Any], reason: str
) -> None:
    """One pod alone, one that goes alone, a successor whose predecessors were ready all along: nothing had to wait."""
    verdict = judged(simulated(), **promised)
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert reason in verdict.summary


def test_a_gap_leaves_what_fell_into_it_unknown() -> None:
    """A slip within it, or soon after it, is not certain; one long after it is."""
    for from_s, to_s, outcome in ((1.5, 1.8, Outcome.UNKNOWN), (900, 901, Outcome.INVALID)):
        web = SimulatedSet(PARALLEL).wait(1).scale(3).settle()
        web.story.gap("api:Pod", from_s, to_s)
        assert judged(web).outcome is outcome
    web = SimulatedSet().scale(3).settle()
    web.story.gap("api:Pod", 900, 901)
    verdict = judged(web)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "api:Pod may have missed something" in verdict.summary


def test_what_a_list_told_has_no_order() -> None:
    """After a gap a list tells what is there: who came first is not to be seen in it."""
    web = SimulatedSet(PARALLEL).scale(3).settle()
    for record in web.story.records:
        if record.get("object") == "Pod" and record["verb"] == "added":
            record.data["verb"] = "seen"
    verdict = judged(web)
    assert verdict.outcome is Outcome.UNKNOWN
    assert (verdict.findings, verdict.evidence["out_of_order"]) == ((), 3)


def flapped(seconds: float, versioned: bool = True) -> SimulatedSet:
    """web-0 falls ill, and so long afterwards web-2 is created all the same."""
    web = SimulatedSet(versioned=versioned).scale(2).settle().wait(20)
    web.slip = "eager up"
    return web.unready(0).wait(seconds).scale(3).progress(0).settle()


@pytest.mark.parametrize(
    ("seconds", "outcome"), [(0.1, Outcome.UNKNOWN), (4.9, Outcome.UNKNOWN), (5.1, Outcome.INVALID)]
)
def test_a_controller_may_not_know_yet(seconds: float, outcome: Outcome) -> None:
    """It acts on what its own watch has told it, which may be a moment old."""
    verdict = judged(flapped(seconds))
    assert verdict.outcome is outcome, verdict.summary
    assert "web-2 (u3) was created while web-0 (u1) was not ready" in verdict.summary


def test_a_controller_knows_what_it_answers_to() -> None:
    """It has seen the end of the pod that it replaces, and so all that was before that: no excuse, however soon."""
    web = SimulatedSet().scale(2).settle().wait(20).unready(0)
    web.slip = "eager up"
    verdict = judged(web.kill(1).wait(0.1).progress(1).settle())
    assert verdict.outcome is Outcome.INVALID
    assert verdict.summary.startswith("web-1 (u3) was created while web-0 (u1) was not ready")


def test_other_sets_and_namespaces_do_not_count() -> None:
    """A pod of another set, of another namespace, without an ordinal, or of the removal."""
    web = whole_life()
    state = {"owner": {"kind": "StatefulSet", "name": "web"}, "ready": False}
    for name, namespace, owner, at_s in (
        ("web-9", "elsewhere", "web", 3), ("web-9", NAMESPACE, "other", 3), ("web-x", NAMESPACE, "web", 3),
        ("web-9", NAMESPACE, "web", 4003.5),
    ):  # fmt: skip
        other = {**state, "owner": {"kind": "StatefulSet", "name": owner}}
        web.story.tell(at_s, "api:Pod", "object", verb="added", object="Pod", namespace=namespace, name=name,
                       uid=f"{name}{namespace}{owner}", state=other)  # fmt: skip
    assert kinds(judged(web)) == kinds(judged(whole_life()))


def test_a_fault_that_was_not_seen_to_take_effect_is_unknown() -> None:
    """What was seen is told as far as it goes."""
    web = whole_life()
    web.story.without(lambda r: r.kind == "fault" and r["edge"] == "effect")
    assert judged(web).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"stateful_set": ""}, "a StatefulSet's name"),
        ({"policy": "Random"}, "OrderedReady or Parallel"),
        ({"kinds": ("sideways",)}, "not sideways"),
        ({"policy": PARALLEL, "kinds": ("halt",)}, "nothing halts under Parallel"),
    ],
)
def test_senseless_promises_are_refused(given_: dict[str, Any], message: str) -> None:
    """They are the author's mistake."""
    with pytest.raises(ValueError, match=message):
        ordering(**({"stateful_set": "web"} | given_))


# --- generated histories against an oracle -------------------------------------------------------------------------


@dataclass
class Snapshot:
    """All that is so after one record."""

    pods: dict[int, dict[str, Any]]
    wanted: int

    def is_up(self, ordinal: int) -> bool:
        """Running, Ready and not on its way out."""
        pod = self.pods.get(ordinal, {})
        return bool(pod.get("ready")) and not pod["deleting"]

    def all_up(self, ordinals: range) -> bool:
        """Whether all of these are."""
        return all(self.is_up(ordinal) for ordinal in ordinals)


class Oracle:
    """Slips and waits by kind, by looking at every moment again for every pod; without gaps and partitions."""

    def __init__(self, records: list[Record], policy: str) -> None:
        self.policy = policy
        self.slips: Counter[str] = Counter()
        self.tested: Counter[str] = Counter()
        killed = {r["target"]["uid"] for r in records if r.kind == "fault"}
        records = sorted((r for r in records if r.kind == "object"), key=lambda r: int(r["version"]))
        self.after = [Snapshot({}, 0)]
        for record in records:
            self.after.append(following(self.after[-1], record))
        for place, record in enumerate(records, start=1):
            if record["object"] == "Pod":
                ordinal = int(record["name"][4:])
                old, new = (self.after[p].pods.get(ordinal) for p in (place - 1, place))
                if old is None and ordinal:
                    self.created(place, ordinal)
                elif old and new and new["deleting"] and not old["deleting"] and record["uid"] not in killed:
                    (self.goes if ordinal >= self.after[place].wanted else self.updated)(place, ordinal)

    def count(self, kind: str, was_free: list[bool]) -> None:
        """``was_free``: for each moment in which its turn might have been, whether nothing stood in the way."""
        if self.policy == ORDERED:
            self.slips[kind] += not was_free[-1]
            self.tested[kind] += not all(was_free)
        else:
            self.tested[kind] += not was_free[-1]

    def created(self, place: int, ordinal: int) -> None:
        """All before it were to be up."""
        since = place - 1
        while since >= 0 and ordinal not in self.after[since].pods and ordinal < self.after[since].wanted:
            since -= 1
        self.count("up", [snapshot.all_up(range(ordinal)) for snapshot in self.after[since + 1 : place]])

    def goes(self, place: int, ordinal: int) -> None:
        """It was to be the highest, and all that stay were to be up."""
        now, since = self.after[place], place - 1
        while since >= 0 and ordinal >= self.after[since].wanted and ordinal in self.after[since].pods:
            since -= 1
        alone = [max(snapshot.pods) == ordinal for snapshot in self.after[since + 1 : place]]
        is_free = alone[-1] and now.all_up(range(now.wanted))
        self.count("down", [*alone[:-1], is_free] if self.policy == ORDERED else alone)

    def updated(self, place: int, ordinal: int) -> None:
        """If its successor is of another revision: all above it were to be up, and of another one too."""
        now = self.after[place]
        old = now.pods[ordinal]
        later = (snapshot.pods.get(ordinal, old) for snapshot in self.after[place:])
        successor = next((pod for pod in later if pod["uid"] != old["uid"]), old)
        if successor["revision"] != old["revision"]:
            above = range(ordinal + 1, now.wanted)
            self.slips["update"] += not (
                now.all_up(above) and all(now.pods[n]["revision"] != old["revision"] for n in above)
            )


def following(before: Snapshot, record: Record) -> Snapshot:
    """What is so after one more record."""
    pods, wanted = dict(before.pods), before.wanted
    if record["object"] == "StatefulSet":
        wanted = record["state"]["replicas"]
    elif record["verb"] == "deleted":
        pods.pop(int(record["name"][4:]))
    else:
        revision = record["state"]["labels"]["controller-revision-hash"]
        pods[int(record["name"][4:])] = record["state"] | {"uid": record["uid"], "revision": revision}
    return Snapshot(pods, wanted)


STEPS = st.one_of(
    st.tuples(st.just("scale"), st.integers(0, 5)),
    st.tuples(st.just("update"), st.just(0)),
    st.tuples(st.sampled_from(["kill", "unready"]), st.integers(0, 4)),
    st.tuples(st.just("progress"), st.integers(0, 4)),
    st.tuples(st.just("progress"), st.integers(0, 4)),
    st.tuples(st.just("settle"), st.just(0)),
)


def simulated(policy: str, slip: str | None, steps: list[tuple[str, int]], versioned: bool = True) -> SimulatedSet:
    """What comes of these steps, ten seconds apart and in the end settled."""
    web = SimulatedSet(policy, slip, versioned=versioned)
    for what, number in steps:
        web.wait(10)
        (web.update if what == "update" else web.settle)() if what in ("update", "settle") else getattr(web, what)(
            number
        )
    return web.wait(10).settle()


@given(st.lists(STEPS, max_size=25), st.sampled_from([None, *SLIPS]))
def test_it_agrees_with_a_slow_oracle(steps: list[tuple[str, int]], slip: str | None) -> None:
    """The same slips and the same waits are found in whatever a controller, right or wrong, may have done."""
    web = simulated(ORDERED, slip, steps)
    truth, verdict = Oracle(web.story.records, ORDERED), judged(web)
    assert verdict.evidence["slips"] == truth.slips.total()
    assert {kind: kinds(verdict)[kind][1] for kind in ("up", "down")} == {k: truth.tested[k] for k in ("up", "down")}
    assert (verdict.outcome is Outcome.INVALID) == (truth.slips.total() > 0)
    if slip is None:
        assert not truth.slips.total()


@given(st.lists(STEPS, max_size=25))
def test_it_agrees_with_the_oracle_on_parallel(steps: list[tuple[str, int]]) -> None:
    """A controller that need not wait does not, and what shows it is counted."""
    web = simulated(PARALLEL, None, steps)
    truth, verdict = Oracle(web.story.records, PARALLEL), judged(web, policy=PARALLEL)
    assert verdict.outcome is not Outcome.INVALID, verdict.findings
    assert {kind: kinds(verdict)[kind][1] for kind in ("up", "down")} == {k: truth.tested[k] for k in ("up", "down")}
    assert not truth.slips.total()


@given(st.lists(STEPS, max_size=25), st.sampled_from([None, *SLIPS]))
def test_without_versions_it_is_the_same_in_time_order(steps: list[tuple[str, int]], slip: str | None) -> None:
    """Older histories tell no versions; a second between the two watches is allowed for."""
    old, new = judged(simulated(ORDERED, slip, steps, versioned=False)), judged(simulated(ORDERED, slip, steps))
    assert (old.outcome, old.evidence["slips"]) == (new.outcome, new.evidence["slips"])


# --- mutations ------------------------------------------------------------------------------------------------------


def mutated(change: Callable[[list[Record]], None], web: SimulatedSet) -> Verdict:
    """The verdict on a sealed history of which the records were changed afterwards."""
    records = list(web.story.history().records)
    change(records)
    (verdict,) = judge(History(records), [ordering("web")])
    return verdict


def pod_places(records: list[Record]) -> list[int]:
    """Where the records of pods are."""
    return [place for place, record in enumerate(records) if record.get("object") == "Pod"]


@given(st.data())
def test_two_swapped_events_are_caught(data: st.DataObject) -> None:
    """A watch tells versions in their order: one that does not is not believed, neither for good nor for ill."""

    def swap(records: list[Record]) -> None:
        places = pod_places(records)
        one = data.draw(st.integers(0, len(places) - 2))
        other = data.draw(st.integers(one + 1, len(places) - 1))
        a, b = records[places[one]], records[places[other]]
        records[places[one]] = Record(a.time_ns, b.source, b.kind, b.data)
        records[places[other]] = Record(b.time_ns, a.source, a.kind, a.data)

    verdict = mutated(swap, whole_life())
    assert verdict.outcome is Outcome.UNKNOWN
    assert "out of its order" in verdict.summary


@given(st.data(), st.sampled_from([None, *SLIPS]))
def test_a_dropped_event_is_caught(data: st.DataObject, slip: str | None) -> None:
    """The watch's closing count tells; nothing is certain then."""

    def drop(records: list[Record]) -> None:
        places = pod_places(records)
        del records[places[data.draw(st.integers(0, len(places) - 1))]]

    assert mutated(drop, whole_life(slip=slip)).outcome is Outcome.UNKNOWN


@given(st.data(), st.sampled_from([None, *SLIPS]))
def test_a_repeated_event_changes_nothing(data: st.DataObject, slip: str | None) -> None:
    """Told twice at once, or an old incarnation's end told once more, counted by the watch: the verdict is the same."""
    web, whole = whole_life(slip=slip), whole_life(slip=slip)
    told = [record for record in web.story.records if record.get("object") == "Pod"]
    again = data.draw(st.sampled_from(told))
    web.story.records.insert(web.story.records.index(again) + 1, again)
    assert judged(web) == judged(whole)
