"""Durability: every fate of a write, what each one needs to be believed, and which crash was survived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from histories import Story, edge, ns
from hypothesis import given
from hypothesis import strategies as st

from chaos.checkers import Outcome, Verdict, durability, judge
from chaos.history import History

NODE = {"kind": "Node", "name": "worker-1"}


def insert(
    story: Story, name: Any, at_s: float, fate: str = "ok", took_s: float = 0.02, process: str = "user-0"
) -> None:
    """Add a write under an id; ``open``: it never ends."""
    common = {"process": process, "op": f"w{len(story.records)}", "f": "insert", "value": name}
    story.tell(at_s, "load", "op", type="invoke", intended_ns=ns(at_s), **common)
    if fate != "open":
        error = None if fate == "ok" else "no answer"
        story.tell(at_s + took_s, "load", "op", type=fate, error=error, **common)


def read(story: Story, *pages: Sequence[Any], at_s: float = 40.5, last: int | None = -1, kind: str = "ok") -> Story:
    """Add the verifying read; the page with index ``last`` says that it is the last one."""
    for page, ids in enumerate(pages):
        common = {"process": "verifier", "op": 1000 * round(at_s) + page, "f": "read_all"}
        asked_s = at_s + page / 100
        story.tell(asked_s, "verify", "op", type="invoke", intended_ns=ns(asked_s), value={"page": page}, **common)
        is_last = last is not None and page == range(len(pages))[last]
        value = {"page": page, "ids": list(ids), "last": is_last} if kind == "ok" else {"page": page}
        error = None if kind == "ok" else "refused"
        story.tell(asked_s + 0.005, "verify", "op", type=kind, value=value, error=error, **common)
    return story


def written(writes: int = 60, begin_s: float = 10, **other: tuple[float, float]) -> Story:
    """Phases, a killed pod at 20 s, and two writes a second whose ids are their numbers; nothing read yet."""
    story = Story().phases(**other).fault()
    for number in range(writes):
        insert(story, number, begin_s + number / 2 + 0.1, process=f"user-{number % 4}")
    return story


def whole(extra: Iterable[Any] = (), without: Iterable[Any] = ()) -> Story:
    """Sixty acknowledged writes, all of them read back, and ``extra`` ones."""
    return read(written(), [number for number in range(60) if number not in set(without)] + list(extra))


def judged(story: Story, min_acknowledged: int = 50) -> Verdict:
    """The verdict on a story."""
    return durability(min_acknowledged).check(story.history())


def test_everything_read_back_is_valid_and_counted() -> None:
    """All acknowledged writes there once: VALID, with the counts, the gap, the crash and what it was not."""
    verdict = judged(whole())
    assert verdict.outcome is Outcome.VALID
    assert verdict.summary.startswith("all 60 acknowledged writes were read back once, 20 of them acknowledged before")
    assert "the death of a process (pod), by kill_pod on Pod web-1" in verdict.summary
    assert "no loss of power was tried" in verdict.summary
    assert verdict.findings == ()
    counts = ("acknowledged", "stable", "lost", "duplicated", "resurrected", "never_read", "unexpected", "read_ids")
    assert [verdict.evidence[name] for name in counts] == [60, 60, 0, 0, 0, 0, 0, 60]
    assert verdict.evidence["longest_write_gap_s"] == pytest.approx(0.5)


def test_lost_writes_are_named_with_their_time_and_process() -> None:
    """Acknowledged and not there: INVALID; the first ones are told, and the phases they were acknowledged in."""
    verdict = judged(whole(without=[19, 20, 21, 40]))
    assert verdict.outcome is Outcome.INVALID
    assert (
        "4 of 60 acknowledged writes are lost: the first, 19, was acknowledged 0.38 s before the inj" in verdict.summary
    )
    assert "the last, 40, 10.12 s after the injection of kill_pod on Pod web-1" in verdict.summary
    assert "no loss of power was tried" in verdict.summary
    assert verdict.findings[1] == (
        "20 is lost: user-0 had it acknowledged 0.12 s after the injection of kill_pod on Pod web-1"
    )
    assert verdict.evidence["lost_by_phase"] == {"before": 1, "fault": 2, "recover": 0, "after": 1}
    assert [row["id"] for row in verdict.evidence["lost_first"]] == [19, 20, 21, 40]
    assert [row["process"] for row in verdict.evidence["lost_last"]] == ["user-0"]
    assert (verdict.evidence["stable"], verdict.evidence["lost"]) == (56, 4)


def test_only_the_first_lost_writes_are_spelt_out() -> None:
    """Of many, five in words and all in the count."""
    verdict = judged(whole(without=range(60)))
    assert "60 of 60" in verdict.summary
    assert len(verdict.findings) == 5


def look_up(story: Story, name: Any, at_s: float, found: bool, kind: str = "ok") -> Story:
    """Add a read of one write in between."""
    common = {"process": "user-9", "op": f"l{len(story.records)}", "f": "lookup"}
    story.tell(at_s, "load", "op", type="invoke", intended_ns=ns(at_s), value=name, **common)
    value = {"found": found} if kind == "ok" else None
    return story.tell(at_s + 0.01, "load", "op", type=kind, value=value, error=None, **common)


def test_a_stale_read_is_invalid_and_named() -> None:
    """Acknowledged, then not found, then there again: a promise was broken for a while, unless that was allowed."""
    story = look_up(look_up(look_up(whole(), 30, 26, found=True), 20, 22, found=False), 20, 23, found=False)
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert "1 ids were not found by a read that came after their acknowledgement" in verdict.summary
    told = "20 was not found 2.00 s after the injection of kill_pod on Pod web-1, although user-0 had it acknowledged "
    assert verdict.findings == (told + "1.88 s before",)
    assert [verdict.evidence[name] for name in ("lookups", "stale", "stable", "lost")] == [3, 1, 59, 0]
    allowed = durability(stale_ok=True).check(story.history())
    assert allowed.outcome is Outcome.VALID
    assert "3 reads in between asked for one of them (1 writes were missed for a while)" in allowed.summary


def test_a_lookup_says_nothing_of_what_was_not_acknowledged_yet() -> None:
    """Before the acknowledgement, of an unknown or failed write, or without an answer: nothing was owed."""
    story = whole()
    insert(story, "open", 21, "open")
    insert(story, "failed", 21, "fail")
    look_up(story, 20, 20.11, found=False)
    look_up(story, "open", 22, found=False)
    look_up(story, "failed", 22, found=False)
    look_up(story, "never", 22, found=False)
    look_up(story, 20, 22, found=False, kind="fail")
    verdict = judged(story)
    assert verdict.outcome is Outcome.VALID
    assert (verdict.evidence["lookups"], verdict.evidence["stale"]) == (0, 0)


def test_what_was_acknowledged_during_a_read_need_not_be_in_it() -> None:
    """A lookup that did not find it, and a verifying read without it, may both have looked before."""
    story = whole(extra=["late"])
    insert(story, "late", 22, took_s=0.005)
    verdict = judged(look_up(story, "late", 22.001, found=False))
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.evidence["lookups"] == 0
    story = whole()
    insert(story, "late", 40.4, took_s=0.102)
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN
    assert (verdict.evidence["never_read"], verdict.evidence["lost"]) == (1, 0)


def test_a_lost_write_that_a_lookup_missed_is_lost() -> None:
    """Not stale: it never came back. With a flawed verifying read it is known at least that it was missing once."""
    verdict = judged(look_up(whole(without=[20]), 20, 22, found=False))
    assert (verdict.evidence["lost"], verdict.evidence["stale"]) == (1, 0)
    verdict = judged(look_up(read(written(), range(60), kind="fail"), 20, 22, found=False))
    assert verdict.outcome is Outcome.INVALID
    assert (verdict.evidence["lost"], verdict.evidence["stale"]) == (0, 1)


def test_a_duplicate_is_invalid() -> None:
    """Once written, twice there."""
    verdict = judged(whole(extra=[7]))
    assert verdict.outcome is Outcome.INVALID
    assert "1 ids were read more than once" in verdict.summary
    assert verdict.findings == ("7 was read more than once",)
    assert (verdict.evidence["stable"], verdict.evidence["duplicated"]) == (59, 1)


def test_a_duplicate_over_two_pages_is_invalid() -> None:
    """It does not matter where the second one stands."""
    verdict = judged(read(written(), range(40), range(39, 60)))
    assert (verdict.outcome, verdict.findings) == (Outcome.INVALID, ("39 was read more than once",))


def test_a_failed_write_that_is_there_is_invalid() -> None:
    """A definite failure is a promise too."""
    story = whole(extra=["x"])
    insert(story, "x", 21, "fail")
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert "1 ids are there although they failed" in verdict.summary
    assert verdict.findings == (
        "'x' is there although its write failed 1.02 s after the injection of kill_pod on Pod web-1 (user-0)",
    )


def test_an_id_nobody_wrote_is_invalid() -> None:
    """A number is not the text that looks like it."""
    verdict = judged(whole(extra=["7"]))
    assert (verdict.outcome, verdict.findings) == (Outcome.INVALID, ("'7' was read, but never written",))


@pytest.mark.parametrize("fate", ["info", "open"])
@pytest.mark.parametrize(("there", "counts"), [(True, (1, 1, 0)), (False, (1, 0, 1))])
def test_an_indeterminate_write_counts_neither_way(fate: str, there: bool, counts: tuple[int, int, int]) -> None:
    """Whether it is there or not, the verdict is the same, and the evidence says which."""
    story = whole(extra=["x"] if there else [])
    insert(story, "x", 21, fate)
    verdict = judged(story)
    assert verdict.outcome is Outcome.VALID
    names = ("indeterminate", "indeterminate_recovered", "indeterminate_not_recovered")
    assert tuple(verdict.evidence[name] for name in names) == counts


def test_an_indeterminate_write_there_twice_is_a_duplicate() -> None:
    """Once or not at all is allowed; twice is not."""
    story = whole(extra=["x", "x"])
    insert(story, "x", 21, "info")
    assert judged(story).outcome is Outcome.INVALID


def test_a_write_of_the_load_that_failed_and_is_not_there_is_fine() -> None:
    """It is counted, no more."""
    story = whole()
    insert(story, "x", 21, "fail")
    verdict = judged(story)
    assert (verdict.outcome, verdict.evidence["failed"]) == (Outcome.VALID, 1)


def test_an_acknowledgement_after_the_read_began_is_never_read() -> None:
    """The read need not show it: neither lost nor valid; one that it shows is stable."""
    story = whole()
    insert(story, "late", 40.4, took_s=0.3)
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.summary == "1 writes were acknowledged after the verifying read began and are not in it"
    assert (verdict.evidence["never_read"], verdict.evidence["lost"]) == (1, 0)
    story = whole(extra=["late"])
    insert(story, "late", 40.4, took_s=0.3)
    assert judged(story).outcome is Outcome.VALID


def test_pages_in_any_order_are_one_read() -> None:
    """Three pages, the middle one empty."""
    verdict = judged(read(written(), range(30), [], range(30, 60)))
    assert (verdict.outcome, verdict.evidence["read_pages"]) == (Outcome.VALID, 3)


def test_a_read_of_one_page_needs_no_number() -> None:
    """The short form: only the ids."""
    story = written()
    common = {"process": "verifier", "op": 0, "f": "read_all"}
    story.tell(40.5, "verify", "op", type="invoke", value=None, **common)
    story.tell(40.6, "verify", "op", type="ok", value={"ids": list(range(60))}, **common)
    assert judged(story).outcome is Outcome.VALID


def test_an_attempt_that_failed_before_the_read_is_forgiven() -> None:
    """The last attempt was whole."""
    story = read(written(), [], at_s=40.1, kind="info")
    assert judged(read(story, range(60), at_s=41)).outcome is Outcome.VALID


def failed_read() -> Story:
    """Everything acknowledged, and the verifying read failed."""
    return read(written(), [], kind="info")


def open_read() -> Story:
    """The verifying read was never answered."""
    return failed_read().without(lambda r: r.source == "verify" and r["type"] == "info")


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (whole().without(lambda r: r.kind == "phase"), "the history has none of the load's phases"),
        (Story().phases().fault(), "no verifying read was made in the phase verify"),
        (read(Story().phases().fault(), []), "only 0 writes were acknowledged, at least 50 are needed"),
        (written(), "no verifying read was made in the phase verify"),
        (whole().without(lambda r: r.get("name") == "verify"), "no verifying read was made in the phase verify"),
        (read(written(), range(60), at_s=39), "no verifying read was made in the phase verify"),
        (failed_read(), "the verifying read failed: refused"),
        (open_read(), "the verifying read failed: it was never answered"),
        (read(written(), range(30), range(30, 60), last=None), "the verifying read is not whole"),
        (read(written(), range(30), range(30, 60), last=0), "the verifying read is not whole"),
        (
            read(written(), range(30), range(30, 60)).without(
                lambda r: r.source == "verify" and r["value"].get("page") == 0
            ),
            "the verifying read is not whole: its pages are 1",
        ),
        (
            read(written(), range(30), [], range(30, 60), [], last=2).without(
                lambda r: r.source == "verify" and r["value"].get("page") == 1
            ),
            "the verifying read is not whole: its pages are 0, 2, 3, and the last of all is [2]",
        ),
        (read(whole(), range(60), at_s=41), "page 0 of the verifying read was answered twice"),
        (whole().gap("verify", 40, 41), "verify may have missed something"),
        (read(written(49), range(49)), "only 49 writes were acknowledged, at least 50 are needed"),
        (read(written(begin_s=20), range(60)), "no write was acknowledged before the fault"),
        (whole().without(lambda r: r.kind == "fault"), "no fault was injected"),
        (whole().without(edge("effect")), "was not seen to take effect"),
        (whole().without(edge("healed")), "kill_pod on Pod web-1 was not healed when the verifying read began"),
        (
            read(written().fault(inject_s=39, heal_s=41.5), range(60)),
            "kill_pod on Pod web-1 was not healed when the verifying read began",
        ),
        (whole().gap("load", 22, 23), "load may have missed something from 2.00 s after the injection"),
        (
            whole().without(lambda r: r.get("type") == "invoke" and r.get("value") == 7),
            "1 operations ended without an invocation that was open; ",
        ),
        (read(written(59), range(60)).tell(30, "load", "gap", what="x", from_ns=1, to_ns=None), "read that no record"),
    ],
)
def test_too_little_evidence_is_unknown(story: Story, reason: str) -> None:
    """Each kind of least evidence, taken away on its own, makes the verdict UNKNOWN and is named in it."""
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN
    assert reason in f"{verdict.summary}; "


@pytest.mark.parametrize(
    "story",
    [
        failed_read(),
        read(written(), range(30), last=None),
        read(written(), range(30), range(30, 59), range(59, 60)).without(
            lambda r: (r.get("value") or 0) == {"page": 1}
        ),
        read(whole(without=[7]), range(60), at_s=41),
        whole(without=[7]).gap("verify", 40, 41),
        whole(without=[7]).without(edge("healed")),
        read(written().fault(inject_s=39, heal_s=41.5), range(59)),
        whole(without=[7]).without(lambda r: r.get("name") == "verify"),
    ],
)
def test_an_unsound_read_loses_nothing(story: Story) -> None:
    """What a failed, partial, doubtful or early read does not show may be there all the same."""
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.evidence["lost"] == 0


@pytest.mark.parametrize(
    "mutate",
    [
        lambda story: story.without(lambda r: r.kind == "fault"),
        lambda story: story.without(edge("effect")),
        lambda story: story.gap("load", 22, 23),
    ],
)
def test_a_loss_needs_no_fault_to_be_one(mutate: Callable[[Story], Story]) -> None:
    """A write that is lost without a reason, or beside records that are missing, is lost."""
    assert judged(mutate(whole(without=[7]))).outcome is Outcome.INVALID
    assert judged(mutate(whole())).outcome is Outcome.UNKNOWN


def test_one_lost_write_of_few_is_enough() -> None:
    """Least evidence protects from a vacuous VALID, not from a finding."""
    assert judged(read(written(10), range(9))).outcome is Outcome.INVALID


@pytest.mark.parametrize("source", ["load", "verify"])
def test_a_source_that_was_cut_off_is_never_valid(source: str) -> None:
    """Without its closing record: UNKNOWN, and what the reader did not show is not lost."""
    verdict = durability().check(whole().history(unclosed=[source]))
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.summary == f"{source} did not close its records"
    lossy = durability().check(whole(without=[7]).history(unclosed=[source]))
    assert lossy.outcome is (Outcome.INVALID if source == "load" else Outcome.UNKNOWN)


def test_an_id_written_more_than_once_decides_nothing() -> None:
    """The ledger needs unique ids; a reused one is neither lost, doubled nor unexpected."""
    for story in (whole(extra=["x", "x"]), whole()):
        for at_s in (12, 13, 14):
            insert(story, "x", at_s)
        verdict = judged(story)
        assert verdict.outcome is Outcome.UNKNOWN
        assert verdict.summary == "1 ids were written more than once, such as 'x'"


def test_a_missing_invocation_makes_no_id_unexpected() -> None:
    """Where the load's records are not whole, an unknown id may have been written."""
    history = read(written(59), range(60)).history(unclosed=["load"])
    verdict = durability().check(history)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "1 ids were read that no record says were written" in verdict.summary


@pytest.mark.parametrize(
    ("name", "target", "crash"),
    [
        ("kill_pod", None, "the death of a process (pod)"),
        ("kill_all_pods", None, "the death of a process (pod)"),
        ("scale", None, "the death of a process (pod)"),
        ("drain_node", NODE, "the loss of a node's processes"),
        ("pause_node", NODE, "the loss of a node's processes"),
        ("stop_node", NODE, "the loss of a node's processes"),
        ("cut_network", NODE, "no crash known to this checker"),
    ],
)
def test_the_crash_is_named_and_is_never_power(name: str, target: dict[str, Any] | None, crash: str) -> None:
    """Valid or not, the verdict says what was survived."""
    for without, outcome in (((), Outcome.VALID), ((7,), Outcome.INVALID)):
        story = whole(without=without).without(lambda r: r.kind == "fault").fault(name, target)
        verdict = judged(story)
        assert verdict.outcome is outcome
        assert f"{crash}, by {name} on " in verdict.summary
        assert "no loss of power was tried: the host's page cache lived on" in verdict.summary


def test_all_crashes_are_named() -> None:
    """Of two faults, both; of one without effect, nothing."""
    verdict = judged(whole().fault("drain_node", NODE, inject_s=26, heal_s=28))
    assert "the death of a process (pod), by kill_pod" in verdict.evidence["survived"]
    assert "the loss of a node's processes, by drain_node on Node worker-1" in verdict.evidence["survived"]
    assert judged(whole().without(edge("effect"))).evidence["survived"] == ""


def test_the_longest_write_gap_is_told() -> None:
    """Unacknowledged writes do not fill it; the window's edges bound it."""
    story = Story().phases().fault()
    for tenth in range(300):
        insert(story, tenth, 10 + tenth / 10, "ok" if tenth < 110 or tenth >= 135 else "info")
    verdict = judged(read(story, range(300)))
    assert verdict.evidence["longest_write_gap_s"] == pytest.approx(2.6)
    assert "2.60 s, from 0.92 s after the injection" in verdict.summary


def test_what_was_written_around_the_load_makes_no_gap() -> None:
    """An acknowledgement before the window or after it neither begins nor ends a gap of it."""
    story = whole(extra=["early", "late"])
    insert(story, "early", 7)
    insert(story, "late", 40.2)
    verdict = judged(story)
    assert (verdict.outcome, verdict.evidence["acknowledged"]) == (Outcome.VALID, 62)
    assert verdict.evidence["longest_write_gap_s"] == pytest.approx(0.5)


def test_without_a_fault_nothing_was_written_before_it() -> None:
    """There is no before."""
    verdict = judged(whole().without(lambda r: r.kind == "fault"))
    assert verdict.evidence["acknowledged_before_fault"] == 0
    assert "no write was acknowledged before the fault" in verdict.summary


@pytest.mark.parametrize(("least", "outcome"), [(60, Outcome.VALID), (61, Outcome.UNKNOWN)])
def test_the_least_number_of_writes(least: int, outcome: Outcome) -> None:
    """Exactly as many as are needed are enough."""
    assert judged(whole(), least).outcome is outcome


def test_a_senseless_least_is_refused() -> None:
    """No write needed would pass on nothing."""
    with pytest.raises(ValueError, match="at least 1"):
        durability(0)


def test_a_history_with_a_broken_count_is_not_valid() -> None:
    """A record taken out behind the closing record's back shows."""
    history = whole().history()
    dropped = [r for r in history.records if not (r.kind == "op" and r["type"] == "ok" and r["value"] == 7)]
    assert durability().check(History(dropped)).outcome is Outcome.UNKNOWN
    assert judge(history, [durability()])[0].outcome is Outcome.VALID


FATES = st.lists(
    st.tuples(st.sampled_from(["ok", "ok", "ok", "fail", "info", "open"]), st.integers(0, 300), st.integers(0, 2)),
    max_size=25,
)


@given(FATES, st.integers(1, 30), st.booleans(), st.lists(st.integers(100, 102), max_size=2), st.integers(0, 3))
def test_the_verdict_is_that_of_a_plain_count(
    fates: list[tuple[str, int, int]], least: int, is_whole: bool, strangers: list[int], cut: int
) -> None:
    """Over writes of every fate, read back so many times, the checker says what counting by hand says."""
    story, present = Story().phases().fault(), []
    for number, (fate, tenth, times) in enumerate(fates):
        insert(story, number, 10 + tenth / 10, fate, took_s=0.05)
        present += [number] * times
    present += strangers
    place = min(cut, len(present))
    verdict = judged(read(story, present[:place], present[place:], last=-1 if is_whole else None), least)
    seen = Counter(present)
    oks = [(number, 10 + tenth / 10 + 0.05) for number, (fate, tenth, _) in enumerate(fates) if fate == "ok"]
    lost = {number for number, _ in oks if is_whole and seen[number] == 0}
    twice = {number for number in range(len(fates)) if seen[number] > 1}
    back = {number for number, (fate, *_) in enumerate(fates) if fate == "fail" and seen[number]}
    assert verdict.evidence["lost"] == len(lost)
    assert verdict.evidence["duplicated"] == len(twice)
    assert verdict.evidence["resurrected"] == len(back)
    assert verdict.evidence["unexpected"] == len(set(strangers))
    if lost or twice or back or strangers:
        assert verdict.outcome is Outcome.INVALID
    elif is_whole and len(oks) >= least and any(end_s < 20 for _, end_s in oks):
        assert verdict.outcome is Outcome.VALID
    else:
        assert verdict.outcome is Outcome.UNKNOWN
