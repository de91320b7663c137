"""load_balance: requests that are spread evenly, pods that get too few, and pods that should not have answered."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from histories import NAMESPACE, Story, edge, ns
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.checkers import Outcome, Verdict, load_balance
from chaos.checkers.binomial import at_least, at_most
from chaos.checkers.ready_sets import Life, Span, Step, stretches
from chaos.checkers.shares import Answers, outside
from chaos.history import Json, Record

OWNER = "ReplicaSet/shop-7db6d8ff4d"
TARGET = {"kind": "Pod", "name": "shop-b", "uid": "b"}


def judged(story: Story, **options: Any) -> Verdict:
    """The verdict on a story."""
    return load_balance(**options).check(story.history())


def seen(story: Story, at_s: float, uid: str, verb: str = "modified", **state: Json) -> Story:
    """Add what a watch told of a pod of shop."""
    return story.pod(at_s, f"shop-{uid}", uid, verb, OWNER, **state)


def asked(story: Story, at_s: float, pod: str | None, kind: str = "ok") -> Story:
    """Add a request and who answered it."""
    name = f"r{len(story.records)}"
    common = {"process": "user-0", "op": name, "f": "GET /"}
    story.tell(at_s, "load", "op", type="invoke", intended_ns=ns(at_s), value=None, **common)
    value = {"status": 200} | ({} if pod is None else {"pod": pod})
    told = {"value": value, "error": None} if kind == "ok" else {"value": None, "error": "refused"}
    return story.tell(at_s + 0.02, "load", "op", type=kind, **told, **common)


def ready_at(at_s: float) -> list[str]:
    """Who serves in a sound run of :func:`killed`."""
    return ["a", "b", "c"] if at_s < 20.3 else ["a", "c"] if at_s < 23 else ["a", "c", "x"]


def killed(choose: Callable[[float], Sequence[str | None]] = ready_at, seed: int = 1, rate: int = 20) -> Story:
    """A whole run in which b of three pods is killed at 20 s and x takes its place, ready from 22 s on.

    ``choose`` says who may answer at a time; each of them is as likely to.
    """
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).fault(target=TARGET)
    story.fact("stack", {"name": "shop", "workloads": [{"kind": "Deployment", "name": "shop", "replicas": 3}]})
    story.fact("workload", {"keep_alive": False})
    for uid in "abc":
        seen(seen(story, 2, uid, "added", ready=False), 3, uid)
    seen(story, 20.1, "b", ready=True, deleting=True)
    seen(story, 20.4, "b", "deleted", ready=False, deleting=True)
    seen(seen(story, 20.2, "x", "added", ready=False), 22, "x")
    rng = random.Random(seed)  # noqa: S311 - a story that is told the same way again
    for tick in range(10 * rate, 40 * rate):
        at_s = tick / rate + 0.001
        who = rng.choice(choose(at_s))
        asked(story, at_s, None if who is None else f"shop-{who}")
    return story.revisions()


def test_even_spreading_is_valid() -> None:
    """VALID, with how many answers each pod gave and the false-alarm rate."""
    verdict = judged(killed())
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.summary.startswith("600 answers were spread over the ready pods (shop-a ")
    assert "(false alarms at most 1e-06)" in verdict.summary
    first, last = verdict.evidence["stretches"]
    assert set(first["served"]) == {"shop-a", "shop-b", "shop-c"}
    assert set(last["served"]) == {"shop-a", "shop-c", "shop-x"}
    assert sum(verdict.evidence["served"].values()) == 600


@pytest.mark.parametrize("seed", range(20))
def test_even_spreading_raises_no_alarm(seed: int) -> None:
    """Whatever chance draws: never INVALID."""
    assert judged(killed(seed=seed)).outcome is Outcome.VALID


def test_an_answer_counts_for_the_stretch_in_which_it_was_asked_for() -> None:
    """A pod that was frozen answers what it was asked before when it is thawed, and has then been not ready."""
    story = killed()
    mine = [r for r in story.records if r.kind == "op" and r["type"] == "ok" and r["value"].get("pod") == "shop-c"]
    late = [r for r in mine if ns(26) < r.time_ns < ns(36)]
    story.records = [r for r in story.records if r not in late]
    story.records += [Record(ns(37), r.source, r.kind, r.data) for r in late]
    seen(seen(story, 36, "c", ready=False), 36.5, "c")
    assert judged(story).outcome is Outcome.VALID


def test_a_ready_pod_that_gets_nothing_is_invalid_and_named() -> None:
    """After x is ready the clients still get to the two others only."""
    verdict = judged(killed(lambda at_s: [who for who in ready_at(at_s) if who != "x"]))
    assert verdict.outcome is Outcome.INVALID
    (finding,) = [text for text in verdict.findings if text.startswith("shop-x")]
    assert finding.startswith(
        "shop-x answered 0 of 260 requests where 3 pods were ready and each was due 87 (likelihood "
    )
    assert "from 7.00 s after the injection of kill_pod on Pod shop-b" in finding


def test_a_pod_that_gets_too_much_is_invalid() -> None:
    """One of three gets half of all: the others are not starved, and yet it is not even."""
    verdict = judged(killed(lambda at_s: [*ready_at(at_s), "a"]), false_alarm_max=1e-3)
    assert verdict.outcome is Outcome.INVALID
    assert any(text.startswith("shop-a answered") for text in verdict.findings)


def test_an_answer_of_a_pod_that_is_gone_is_invalid_and_named() -> None:
    """Within the bound the rules may still be the old ones; beyond it nobody may answer who is gone."""
    story = killed()
    assert judged(asked(story, 25.05, "shop-b")).outcome is Outcome.VALID
    verdict = judged(asked(story, 25.3, "shop-b"))
    assert verdict.outcome is Outcome.INVALID
    (finding,) = verdict.findings
    assert finding.startswith("shop-b had not been ready for 5.2 s and yet answered GET / (operation r")
    assert finding.endswith("5.30 s after the injection of kill_pod on Pod shop-b, 1 requests in all (bound 5 s)")


def test_an_answer_of_a_pod_that_is_not_ready_is_invalid() -> None:
    """It runs, and a Service that publishes what is not ready sends requests to it."""
    story = seen(killed(), 28, "c", ready=False)
    story = seen(story, 36, "c").revisions()
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert "shop-c had not been ready for 5.3 s and yet answered" in verdict.summary


def test_a_pod_that_answers_before_it_is_ready_is_invalid() -> None:
    """Long before, for a change is known within an interval only."""
    verdict = judged(asked(killed(), 21, "shop-x"))
    assert verdict.outcome is Outcome.INVALID
    assert "shop-x was not ready and yet answered" in verdict.summary


def test_the_last_ones_may_serve_on_their_way_out() -> None:
    """Where nobody is ready, kube-proxy asks pods that are terminating and still serve; else it must not."""
    story = killed(lambda at_s: ready_at(at_s) if at_s < 27 else ["a"] if at_s < 35 else ["aa", "cc", "xx"])
    for uid in "acx":
        seen(story, 27, uid, deleting=True)
    for uid in "acx":
        seen(story, 35, uid, ready=False, deleting=True)
        seen(story, 35.2, f"{uid}{uid}", "added")
    nobody = story.revisions()
    assert not [text for text in judged(nobody).findings if text.startswith("shop-a had not")]
    somebody = seen(nobody, 26, "d", "added").revisions()
    assert [text for text in judged(somebody).findings if text.startswith("shop-a had not been ready")]


def test_requests_without_an_answer_count_as_is_best_for_the_pod() -> None:
    """A pod that hangs is starved of answers, not of requests: its share may be among what had no answer."""
    story = killed(lambda at_s: [who for who in ready_at(at_s) if who != "x"])
    for tick in range(150):
        asked(story, 27 + tick / 15, None, "info")
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "a pod that got none of them would not have been noticed" in verdict.summary


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (lambda: killed(lambda _: [None]), "none of 600 requests had an answer that names its pod"),
        (lambda: killed().fact("workload", {"keep_alive": True}), "the clients keep their connections"),
        (lambda: killed().fact("stack", {"workloads": []}), "the stack has not one workload but none"),
        (lambda: killed(rate=1), "a pod that got none of them would not have been noticed"),
        (lambda: killed().without(edge("effect")), "was not seen to take effect"),
        (lambda: killed().without(lambda r: r.kind == "fault"), "no fault was injected"),
        (lambda: killed().without(lambda r: r.kind == "phase"), "lacks these of the load's phases"),
        (lambda: killed().gap("api:Pod", 21, 21.5), "api:Pod may have missed something"),
        (lambda: killed().gap("load", 21, 21.5), "load may have missed something"),
        (lambda: asked(killed(), 30, "gateway"), "answers name gateway, which is no pod of the stack"),
        (lambda: killed().without(gone).revisions(), "nothing was answered while a pod had not been ready"),
        (lambda: killed().without(lambda r: r.kind == "op"), "none of 0 requests had an answer"),
    ],
)
def test_too_little_shown_is_unknown(story: Callable[[], Story], reason: str) -> None:
    """No names, kept connections, too few requests, no fault, a gap, nobody out: each is UNKNOWN and named."""
    verdict = judged(story())
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert reason in verdict.summary


def gone(record: Record) -> bool:
    """Picks what tells that b went and x came, and b's answers from then on."""
    if record.kind == "object":
        return record.time_ns > ns(20) and record["uid"] in ("b", "x")
    answer = record.get("value") if record.kind == "op" else None
    return bool(answer) and answer.get("pod") == "shop-x"


def test_a_watch_that_told_late_leaves_no_doubt() -> None:
    """Changes are placed by the store's revision, not by when a watch told of them."""
    story = killed().tell(24, "api:Pod", "resumed", what="watch Pod", from_ns=ns(23), to_ns=ns(24))
    assert judged(story).outcome is Outcome.VALID


def test_findings_in_a_gap_are_not_certain() -> None:
    """What was missed may explain it."""
    verdict = judged(asked(killed(), 26, "shop-b").gap("api:Pod", 25, 25.5))
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.findings


def test_the_author_may_say_whose_pods_answer() -> None:
    """With more than one workload it must be said; who answers and is none of them is a finding."""
    two = [{"kind": "Deployment", "name": name, "replicas": 3} for name in ("shop", "other")]
    story = killed().fact("stack", {"workloads": two})
    assert judged(story).outcome is Outcome.UNKNOWN
    assert judged(story, pods="shop-*").outcome is Outcome.VALID
    verdict = judged(story, pods="shop-[acx]")
    assert verdict.outcome is Outcome.INVALID
    assert "shop-b is none of the pods that are to share the requests and yet answered" in verdict.summary


@pytest.mark.parametrize("owner", ["StatefulSet/shop", "ReplicaSet/shop-7db6d8ff4d", "StatefulSet/other"])
@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment"])
def test_whose_pods_are_meant_follows_from_their_owner(owner: str, kind: str) -> None:
    """A Deployment's pods are its ReplicaSets', a StatefulSet's are its own."""
    story = killed().fact("stack", {"workloads": [{"kind": kind, "name": "shop", "replicas": 3}]})
    owner_kind, _, owner_name = owner.partition("/")
    for record in story.records:
        if record.kind == "object":
            record["state"]["owner"] = {"kind": owner_kind, "name": owner_name, "uid": "o"}
    ours = (kind, owner) in (("StatefulSet", "StatefulSet/shop"), ("Deployment", "ReplicaSet/shop-7db6d8ff4d"))
    assert (judged(story).outcome is Outcome.VALID) is ours


@pytest.mark.parametrize(
    "options", [{"settle_s_max": 0}, {"false_alarm_max": 0}, {"false_alarm_max": 1}, {"false_alarm_max": -0.1}]
)
def test_bounds_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    """They would let everything pass, or nothing."""
    with pytest.raises(ValueError, match=r"must be above 0|is a probability"):
        load_balance(**options)


# Slow oracles


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.5, 1 / 3, 0.2, 0.9]))
def test_tails_are_what_summing_up_gives(count: int, trials: int, chance: float) -> None:
    """Below the mean, and above it, the exact sum of the binomial's terms; on the other side of it 1."""
    terms = [math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(trials + 1)]
    few, many = at_most(count, trials, chance), at_least(count, trials, chance)
    if count <= trials:
        assert few == (pytest.approx(math.fsum(terms[: count + 1])) if count < trials * chance else 1.0)
        below = trials - count < trials * (1 - chance)
        assert many == (pytest.approx(math.fsum(terms[count:])) if below else 1.0)


def test_tails_of_a_million_requests() -> None:
    """The normal approximation, four deviations out, where it is good to a few percent; and no overflow."""
    trials, chance = 1_000_000, 1 / 3
    deviation = math.sqrt(trials * chance * (1 - chance))
    assert at_most(int(trials * chance - 4 * deviation), trials, chance) == pytest.approx(3.17e-5, rel=0.05)
    assert at_most(0, trials, chance) == 0.0


SPANS = st.builds(lambda begin, took: Span(begin, begin + took, "x"), st.integers(0, 20), st.integers(0, 5))


@given(st.lists(SPANS, max_size=5), st.lists(st.tuples(st.integers(0, 25), st.integers(0, 4)), max_size=6))
def test_outside_is_what_looking_at_each_gives(spans: list[Span], windows: list[tuple[int, int]]) -> None:
    """A window is outside where it meets none of the spans, ends included."""
    begins = np.array([begin for begin, _ in windows], np.int64)
    ends = np.array([begin + took for begin, took in windows], np.int64)
    slow = [
        not any(span.begin_ns <= e and b <= span.end_ns for span in spans) for b, e in zip(begins, ends, strict=True)
    ]
    assert outside(spans, begins, ends).tolist() == slow


@st.composite
def pod_lives(draw: st.DrawFn) -> Life:
    """A pod that changes between ready and not at known intervals."""
    number = draw(st.integers(0, 4))
    bounds = sorted(draw(st.lists(st.integers(0, 30), min_size=2 * number, max_size=2 * number)))
    steps = [
        Step(lower, upper, {"ready": draw(st.booleans())} if draw(st.integers(0, 3)) else None)
        for lower, upper in zip(bounds[::2], bounds[1::2], strict=True)
    ]
    return Life("u", draw(st.sampled_from("xyz")), steps)


@settings(max_examples=300)
@given(st.lists(pod_lives(), max_size=3), st.integers(0, 10), st.integers(11, 31))
def test_stretches_are_where_nothing_may_have_changed(pods: list[Life], begin: int, end: int) -> None:
    """At every half moment within one, each pod is certainly ready or certainly not, and the ready ones are named."""

    def ready(name: str, state: dict[str, Any]) -> str | None:
        return name if state["ready"] else None

    def may_be(pod: Life, at: float) -> set[bool]:
        states = [Step(-99, -99, None), *pod.steps, Step(99, 99, None)]
        inside = (one.state for one, then in pairwise(states) if one.lower_ns < at < then.upper_ns)
        return {bool(state and state["ready"]) for state in inside}

    found = stretches(pods, ready, begin, end)
    for stretch in found:
        assert begin <= stretch.begin_ns < stretch.end_ns <= end
        for half in range(2 * stretch.begin_ns + 1, 2 * stretch.end_ns, 2):
            for pod in pods:
                assert len(may_be(pod, half / 2)) <= 1
            names = {pod.name for pod in pods if may_be(pod, half / 2) == {True}}
            assert set(stretch.members) == names
    assert all(one.end_ns <= then.begin_ns for one, then in pairwise(found))
    changes = [
        (step.lower_ns, step.upper_ns)
        for pod in pods
        for before, step in pairwise([Step(0, 0, None), *pod.steps])
        if bool(before.state and before.state["ready"]) != bool(step.state and step.state["ready"])
    ]
    for at in range(begin, end):
        known = any(upper <= at for _, upper in changes)
        quiet = not any(lower <= at + 1 and at <= upper for lower, upper in changes)
        if known and quiet:
            assert any(stretch.begin_ns <= at and at + 1 <= stretch.end_ns for stretch in found)


def test_the_first_answer_of_a_pod_is_found() -> None:
    """Of requests sent since then, by its name; of others none."""
    story = Story()
    for at_s, who in ((1, "a"), (2, "b"), (3, "a")):
        asked(story, at_s, who)
    answers = Answers.of(story.history().operations, (0, ns(9)))
    assert answers.first_by("a", ns(1)) == ns(1.02)
    assert answers.first_by("a", ns(1.5)) == ns(3.02)
    assert answers.first_by("a", ns(4)) is None
    assert answers.first_by("z", 0) is None
    assert answers.served() == {"a": 2, "b": 1}


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["b", "nobody"]), st.floats(25.4, 39))
def test_one_answer_by_the_wrong_pod_is_caught_wherever_it_lies(wrong: str, at_s: float) -> None:
    """A sound history with one more answer is not VALID: by a pod that is gone INVALID, by a stranger UNKNOWN."""
    outcome = judged(asked(killed(rate=20), at_s, f"shop-{wrong}")).outcome
    assert outcome is (Outcome.INVALID if wrong == "b" else Outcome.UNKNOWN)
