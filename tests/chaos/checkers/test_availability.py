"""Availability: budgets that hold, budgets that break, and runs that show neither."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from histories import Story, edge, killed_pod
from hypothesis import given
from hypothesis import strategies as st

from chaos.checkers import Outcome, Verdict, availability, no_request_lost
from chaos.history import History


def judged(story: Story, error_ratio_max: float = 0.01, gap_s_max: float = 1, min_ok: int = 20) -> Verdict:
    """The verdict on a story."""
    return availability(error_ratio_max, gap_s_max, min_ok=min_ok).check(story.history())


def run(*loads: tuple[float, float, str]) -> Story:
    """Phases, a fault at 20 s and ten operations a second in each (begin_s, end_s, type)."""
    story = Story().phases().fault()
    for begin_s, end_s, kind in loads:
        story.load(begin_s, end_s, kind)
    return story


def test_an_answered_load_is_valid_and_counted() -> None:
    """Every operation answered: VALID, with the counts of each phase and the latencies beside it."""
    verdict = judged(run((10, 40, "ok")))
    assert verdict.outcome is Outcome.VALID
    tallies = verdict.evidence["tallies"]
    assert {part: tally["ok"] for part, tally in tallies.items()} == {
        "total": 300, "before": 100, "fault": 50, "recover": 50, "after": 100,
    }  # fmt: skip
    assert verdict.evidence["longest_gap_s"] == pytest.approx(0.1)
    assert (verdict.evidence["latency_p50_ms"], verdict.evidence["latency_p99_ms"]) == pytest.approx((20, 20))
    assert "300 of 300" in verdict.summary


@pytest.mark.parametrize(("kind", "count"), [("fail", "fail"), ("info", "info"), ("open", "info")])
def test_too_many_errors_are_invalid_and_named(kind: str, count: str) -> None:
    """Refused, timed out or still open: not answered; the phase, the error and the time are told."""
    verdict = judged(run((10, 21, "ok"), (21, 22, kind), (22, 40, "ok")), gap_s_max=5)
    assert verdict.outcome is Outcome.INVALID
    assert "10 of 300 operations were not answered" in verdict.summary
    assert "in phase fault" in verdict.summary
    assert verdict.evidence["tallies"]["fault"][count] == 10
    assert "1.01 s after the injection of kill_pod on Pod web-1" in verdict.findings[0]
    assert "the first was asked 1.01 s after the injection of kill_pod on Pod web-1" in verdict.summary


def test_errors_are_counted_and_the_first_ones_spelt_out() -> None:
    """Each kind of error with its count; no more than five operations in words."""
    verdict = judged(
        run((10, 21, "ok"), (21, 22, "fail"), (22, 40, "ok")).op(23, "info", error="timed out").op(24, "open")
    )
    assert verdict.evidence["errors"] == {"fail: refused": 10, "info: timed out": 1, "still open at the end": 1}
    assert "10 x fail: refused, 1 x info: timed out" in verdict.summary
    assert len(verdict.findings) == 5


def test_the_gap_may_reach_its_budget_but_not_pass_it() -> None:
    """Dark for exactly two slots: a budget of two seconds is kept, a little less is not."""
    story = run((10, 21, "ok"), (21, 23, "fail"), (23, 40, "ok")).op(20.5, took_s=1.5).op(20.5, took_s=0.9)
    assert judged(story, error_ratio_max=0.1, gap_s_max=2).outcome is Outcome.VALID
    assert judged(story, error_ratio_max=0.1, gap_s_max=1.99).outcome is Outcome.INVALID


def test_the_ratio_may_reach_its_budget_but_not_pass_it() -> None:
    """Three of 300 unanswered are one in a hundred: allowed; a fourth is not."""
    loads = [(10.0, 21.0, "ok"), (21.0, 21.3, "fail"), (21.3, 40.0, "ok")]
    assert judged(run(*loads)).outcome is Outcome.VALID
    loads[1:] = [(21.0, 21.4, "fail"), (21.4, 40.0, "ok")]
    assert judged(run(*loads)).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("loads", "phase", "since"),
    [
        ([(10, 21, "ok"), (23.5, 40, "ok")], "fault", "0.93 s after the injection"),
        ([(13, 40, "ok")], "before", "10.00 s before the injection"),
        ([(10, 37, "ok")], "after", "16.93 s after the injection"),
    ],
)
def test_a_gap_is_invalid_wherever_it_lies(loads: list[tuple[float, float, str]], phase: str, since: str) -> None:
    """In the middle, at the window's begin and at its end: a stretch without an answer counts although nobody asked."""
    verdict = judged(run(*loads))
    assert verdict.outcome is Outcome.INVALID
    assert "nothing was answered for" in verdict.summary
    assert f"in phase {phase}" in verdict.summary
    assert since in verdict.summary


def test_dark_slots_are_found_although_late_answers_fill_the_gap() -> None:
    """Answers to what was asked earlier hide an outage from the gap; what was intended in it stays unanswered."""
    story = run((10, 21, "ok"), (21, 23, "fail"), (23, 40, "ok"))
    for tenth in range(20):
        story.op(20.5, took_s=0.5 + tenth / 10)
    verdict = judged(story, error_ratio_max=0.1)
    assert verdict.evidence["longest_gap_s"] < 0.2
    assert verdict.outcome is Outcome.INVALID
    assert "of what was to be asked during 2.00 s nothing was answered" in verdict.summary
    assert verdict.evidence["dark_slots"] == 2
    assert "1.00 s after the injection" in verdict.evidence["dark_slots_first"][0]


def test_latency_counts_from_the_intended_start() -> None:
    """A request that was sent late because others blocked it was late for its client."""
    story = run((10, 40, "ok"))
    for _ in range(10):
        story.op(22, intended_s=21)
    assert judged(story).evidence["latency_p99_ms"] == pytest.approx(1020)


def test_a_late_answer_is_no_answer() -> None:
    """It counts against the budget, apart from the others, lights no slot and ends no gap; in time, it is an answer."""
    story = run((10, 21, "ok"), (23, 40, "ok")).fact("workload", {"timeout_s": 1.0})
    for tenth in range(20):
        story.op(21.05 + tenth / 10, took_s=1.5)
    verdict = judged(story, error_ratio_max=0.05, gap_s_max=1.5)
    assert verdict.outcome is Outcome.INVALID
    assert "20 of 300 operations were not answered" in verdict.summary
    assert "20 x late: answered more than 1 s after it was due" in verdict.summary
    assert "nothing was answered for 2.10 s" in verdict.summary
    assert "of what was to be asked during 2.00 s nothing was answered" in verdict.summary
    total = verdict.evidence["tallies"]["total"]
    assert (total["ok"], total["late"], total["fail"], total["info"]) == (280, 20, 0, 0)
    assert verdict.evidence["latency_p99_ms"] == pytest.approx(1500)
    patient = availability(0.05, 2, late_s=1.5).check(story.history())
    assert (patient.outcome, patient.evidence["late_s"]) == (Outcome.VALID, 1.5)


def test_without_a_workload_an_answer_may_take_five_seconds() -> None:
    """Where neither the author nor a fact sets the bound: five seconds after it was due, and not a moment more."""
    story = run((10, 40, "ok")).op(22, took_s=5)
    assert judged(story).evidence["tallies"]["total"]["late"] == 0
    assert judged(story.op(22, took_s=5.001)).evidence["tallies"]["total"]["late"] == 1


def test_a_broken_budget_is_invalid_although_some_was_never_asked() -> None:
    """Skipped requests and an early end hide no outage that was seen before."""
    story = run((10, 21, "ok"), (21, 25, "fail"), (25, 33, "ok")).tell(26, "load", "note", text="behind", skipped=5)
    verdict = availability(0.01, 5).check(story.ends(33, "load").history())
    assert verdict.outcome is Outcome.INVALID
    assert verdict.evidence["longest_gap_s"] == pytest.approx(4.1)


def test_no_answer_at_all_is_invalid() -> None:
    """A load that asked and never heard anything shows an outage, not a lack of evidence."""
    verdict = judged(run((10, 40, "fail")))
    assert verdict.outcome is Outcome.INVALID
    assert "nothing was answered for 30.00 s" in verdict.summary


def test_a_broken_budget_is_invalid_without_a_fault() -> None:
    """Who breaks the budget before anything was done to it breaks it."""
    verdict = judged(run((10, 40, "fail")).without(lambda record: record.kind == "fault"))
    assert verdict.outcome is Outcome.INVALID
    assert "after the load's begin" in verdict.summary


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (Story().load().fault(), "lacks these of the load's phases: before, fault, recover, after"),
        (
            run((10, 40, "ok")).without(lambda r: r.kind == "phase" and r["name"] == "recover"),
            "lacks these of the load's phases: recover",
        ),
        (
            run((10, 40, "ok"))
            .tell(30, "load", "note", text="fell behind", skipped=12)
            .tell(31, "load", "note", text="fell behind", skipped=3),
            "15 requests were never sent",
        ),
        (
            run((10, 33, "ok")).ends(33, "load"),
            "load ended 13.00 s after the injection of kill_pod on Pod web-1, before the window did",
        ),
        (Story().phases().fault(), "only 0 operations were answered in the whole load"),
        (run((10, 11, "fail")), "only 0 operations"),
        (run((18.5, 40, "ok")), "only 15 operations were answered in the phase before the fault"),
        (run((10, 20, "ok"), (30, 40, "ok")), "nothing was asked between the injection and the recovery"),
        (run((10, 40, "ok")).without(edge("effect")), "not seen to take effect"),
        (run((10, 40, "ok")).without(lambda record: record.kind == "fault"), "no fault was injected"),
        (run((10, 40, "ok")).gap("load", 22, 23), "load may have missed something from 2.00 s after the injection"),
        (
            run((10, 40, "ok")).without(lambda r: r.get("type") == "invoke" and r["op"] == 7),
            "1 operations ended without an invocation",
        ),
        (
            run((10, 40, "ok")).tell(39.9, "load", "op", type="fail", process=0, op=7, f="read", error="again"),
            "1 operations ended without an invocation",
        ),
    ],
)
def test_too_little_evidence_is_unknown(story: Story, reason: str) -> None:
    """Each kind of least evidence, taken away on its own, makes the verdict UNKNOWN and is named in it."""
    verdict = judged(story, gap_s_max=30, min_ok=20)
    assert verdict.outcome is Outcome.UNKNOWN
    assert reason in verdict.summary


def test_a_load_that_was_cut_off_shows_no_outage() -> None:
    """When the load's records end early, silence after that is not the stack's."""
    story = run((10, 25, "ok"))
    assert judged(story).outcome is Outcome.INVALID
    verdict = availability(0.01, 1).check(story.history(unclosed=["load"]))
    assert verdict.outcome is Outcome.UNKNOWN
    assert "load did not close its records" in verdict.summary


def test_what_is_asked_outside_of_the_window_does_not_count() -> None:
    """The verifying read after the load is not the load's."""
    verdict = judged(killed_pod().load(40, 42, "fail"))
    assert verdict.outcome is Outcome.VALID
    assert verdict.evidence["tallies"]["total"]["invoked"] == 300


@pytest.mark.parametrize(
    "make",
    [
        lambda: availability(1.1, 1),
        lambda: availability(-0.1, 1),
        lambda: availability(0.1, -1),
        lambda: availability(0.1, 1, slot_s=0),
        lambda: availability(0.1, 1, min_ok=0),
        lambda: availability(0.1, 1, late_s=0),
    ],
)
def test_senseless_budgets_are_refused(make: Callable[[], object]) -> None:
    """A budget that nothing or everything would pass is the author's mistake."""
    with pytest.raises(ValueError, match=r"must|ratio"):
        make()


OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 320).map(lambda tenth: 9 + tenth / 10),
        st.sampled_from(["ok", "ok", "ok", "fail", "info", "open"]),
        st.integers(0, 30).map(lambda tenth: tenth / 10),
    ),
    max_size=60,
)


@given(OPERATIONS, st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.sampled_from([2.0, 5.0, 10.0, 30.0]))
def test_it_agrees_with_a_slow_oracle(
    operations: list[tuple[float, str, float]], ratio_max: float, gap_max: float
) -> None:
    """The figures and the outcome are those of a judge that looks at every tenth of a second by hand."""
    story = Story().phases().fault()
    for at_s, kind, took_s in operations:
        story.op(at_s, kind, took_s)
    verdict = availability(ratio_max, gap_max, min_ok=1).check(story.history())
    inside = [(round(at * 10), kind, round(took * 10)) for at, kind, took in operations if 10 <= at < 40]
    unanswered = sum(kind != "ok" for _, kind, _ in inside)
    ratio = unanswered / len(inside) if inside else 0
    answers = {at + took for at, kind, took in inside if kind == "ok"}
    gap, silent_since = 0, 100
    for tenth in range(100, 401):
        gap = max(gap, tenth - silent_since)
        silent_since = tenth if tenth in answers else silent_since
    dark = 0
    for first in range(10, 40):
        for last in range(first, 40):
            asked = {slot: [k for at, k, _ in inside if at // 10 == slot] for slot in range(first, last + 1)}
            nothing = not any("ok" in kinds for kinds in asked.values()) and asked[first] and asked[last]
            dark = max(dark, last + 1 - first) if nothing else dark
    assert verdict.evidence["tallies"]["total"]["error_ratio"] == pytest.approx(ratio, abs=1e-6)
    assert verdict.evidence["longest_gap_s"] == pytest.approx(gap / 10)
    assert verdict.evidence["longest_dark_s"] == pytest.approx(dark)
    broken = ratio > ratio_max or gap / 10 > gap_max or dark > gap_max
    enough = any(k == "ok" and at < 200 for at, k, _ in inside) and any(200 <= at < 300 for at, _, _ in inside)
    expected = Outcome.INVALID if broken and inside else Outcome.VALID if enough else Outcome.UNKNOWN
    assert verdict.outcome is expected


def test_a_history_is_judged_without_being_changed() -> None:
    """Judging twice says the same: a checker is pure."""
    history: History = killed_pod().history()
    assert availability(0.01, 1).check(history) == availability(0.01, 1).check(history)


def test_slow_answers_are_counted_and_can_be_bounded() -> None:
    """By phase; an answer that is late is slow as well."""
    story = run((10, 40, "ok"))
    for at_s in (21, 22, 23):
        story.op(at_s, took_s=0.8)
    assert judged(story.op(26, took_s=5.5)).evidence["tallies"]["fault"]["slow"] == 3
    assert judged(story).evidence["tallies"]["total"]["slow"] == 4
    history = story.history()
    assert availability(0.01, 1, slow_s=0.9).check(history).evidence["tallies"]["total"]["slow"] == 1
    assert availability(0.01, 1, slow_ratio_max=0.02).check(history).outcome is Outcome.VALID
    verdict = availability(0.01, 1, slow_ratio_max=0.01).check(history)
    assert verdict.outcome is Outcome.INVALID
    told = "4 of 304 operations took longer than 0.5 s (budget: a share of 0.01), 3 of them in phase fault"
    assert told in verdict.summary


@pytest.mark.parametrize(
    "error",
    [
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        "RemoteDisconnected: Remote end closed connection without response",
        "BrokenPipeError: [Errno 32] Broken pipe",
        "AutoReconnect: 127.0.0.1:30082: connection closed",
    ],
)
def test_cut_connections_are_counted_and_can_be_bounded(error: str) -> None:
    """A connection that was open is not a port that refuses."""
    story = run((10, 40, "ok")).op(21.005, "fail", error=error).op(22.005, "fail", error="refused")
    verdict = availability(0.1, 1, resets_max=0).check(story.history())
    assert verdict.outcome is Outcome.INVALID
    assert "1 connections were reset (budget 0), 1 of them in phase fault" in verdict.summary
    assert availability(0.1, 1, resets_max=1).check(story.history()).outcome is Outcome.VALID
    assert "1 connections were reset" in availability(0.1, 1).check(story.history()).summary


def test_no_request_lost_is_red_for_a_single_one() -> None:
    """One failure, one request nobody knows of, one late answer; a long gap between answers is none of its matter."""
    sound = run((10, 40, "ok"))
    assert no_request_lost().check(sound.history()).outcome is Outcome.VALID
    for kind in ("fail", "info", "open"):
        story = run((10, 40, "ok")).op(21.005, kind)
        assert no_request_lost().check(story.history()).outcome is Outcome.INVALID, kind
    late = run((10, 40, "ok")).op(21.005, took_s=1.2)
    assert no_request_lost(late_s=1).check(late.history()).outcome is Outcome.INVALID
    assert no_request_lost(late_s=2).check(late.history()).outcome is Outcome.VALID
    seldom = run((10, 21, "ok"), (27, 40, "ok")).op(24)
    assert no_request_lost().check(seldom.history()).outcome is Outcome.VALID
    assert no_request_lost().check(Story().phases().fault().history()).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("options", [{"slow_s": 0}, {"slow_ratio_max": 1.5}, {"resets_max": -1}])
def test_senseless_bounds_of_the_rest_are_refused(options: dict[str, float]) -> None:
    """Each is named."""
    with pytest.raises(ValueError, match=next(iter(options))):
        availability(0.1, 1, **options)  # type: ignore[arg-type]


OPS = st.lists(
    st.tuples(
        st.floats(9, 41), st.sampled_from(["ok", "fail", "info", "open"]), st.sampled_from([0.01, 0.6, 6.0]),
        st.sampled_from(["refused", "Connection reset by peer"]),
    ),
    max_size=30,
)  # fmt: skip


@given(OPS)
def test_the_tallies_are_those_of_a_slow_count(steps: list[tuple[float, str, float, str]]) -> None:
    """Each operation looked at by itself: phase by phase the same counts."""
    story = Story().phases().fault()
    for at_s, kind, took_s, error in steps:
        story.op(at_s, kind, took_s, error=error)
    spans = {"before": (10, 20), "fault": (20, 25), "recover": (25, 30), "after": (30, 40)}
    counted = {part: dict.fromkeys(("ok", "fail", "info", "late", "slow", "reset"), 0) for part in ("total", *spans)}
    for at_s, kind, took_s, error in steps:
        phase = next((name for name, (begin, end) in spans.items() if begin <= round(at_s * 1e9) / 1e9 < end), None)
        if phase is None:
            continue
        fate = "info" if kind == "open" else kind
        for part in ("total", phase):
            counted[part]["late" if fate == "ok" and took_s > 5 else fate] += 1
            counted[part]["slow"] += kind == "ok" and took_s > 0.5
            counted[part]["reset"] += kind in ("fail", "info") and error.endswith("peer")
    tallies = judged(story).evidence["tallies"]
    assert {part: {name: tally[name] for name in counted[part]} for part, tally in tallies.items()} == counted
