"""The users' schedules together are one evenly spaced, bounded schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.checkers import Outcome, availability
from chaos.history import SCHEMA, History, Record
from load.profiles import HTTP_READS
from load.schedule import UserSchedule

START_NS = 1_000_000_000_000
MAX_BEHIND_S = 10.0


def all_slots(schedule: UserSchedule) -> list[tuple[int, int]]:
    """Every (slot, due ns) of one user."""
    slots = []
    while not schedule.exhausted:
        slots.append((schedule.slot, schedule.due_ns))
        schedule.advance()
    return slots


@given(st.integers(1, 10), st.floats(0.1, 1000), st.integers(1, 200))
def test_users_share_all_slots_up_to_the_cap(users: int, rate_per_s: float, max_requests: int) -> None:
    """Each slot below the cap belongs to exactly one user, and slots are 1/rate apart."""
    slots: list[tuple[int, int]] = []
    for user in range(users):
        slots += all_slots(UserSchedule(user, users, rate_per_s, max_requests, START_NS))
    slots.sort()
    assert [slot for slot, _ in slots] == list(range(max_requests))
    for slot, due_ns in slots:
        assert abs(due_ns - START_NS - slot * 1e9 / rate_per_s) <= 1


@given(st.integers(0, 4), st.floats(0.5, 100), st.floats(0, 60))
def test_a_backlog_is_skipped_only_beyond_its_bound(user: int, rate_per_s: float, late_s: float) -> None:
    """Up to MAX_BEHIND_S nothing is skipped; beyond, exactly the slots that were due before now."""
    schedule = UserSchedule(user, 5, rate_per_s, 100_000, START_NS)
    plain = UserSchedule(user, 5, rate_per_s, 100_000, START_NS)
    now_ns = schedule.due_ns + int(late_s * 1e9)
    skipped = schedule.skip_backlog(now_ns, MAX_BEHIND_S)
    if now_ns - plain.due_ns <= MAX_BEHIND_S * 1e9:
        assert (len(skipped), schedule.slot) == (0, user)
    else:
        assert schedule.due_ns >= now_ns
        passed = []
        while plain.due_ns < now_ns:
            passed.append(plain.slot)
            plain.advance()
        assert list(skipped) == passed
        assert schedule.slot == plain.slot


def test_skipping_ends_at_the_cap() -> None:
    """A user far beyond its last slot has none left, and says how many it lost."""
    schedule = UserSchedule(1, 2, 10.0, 7, START_NS)
    assert list(schedule.skip_backlog(START_NS + 3_600_000_000_000, MAX_BEHIND_S)) == [1, 3, 5]
    assert schedule.exhausted


Sent = tuple[int, int, int, int, bool]
"""(slot, due, sent, ended, answered) of one request; times in ns."""


def carried_out(
    users: int, rate_per_s: float, requests: int, took_ns: Callable[[int, int], tuple[int, bool]]
) -> list[Sent]:
    """What users that wait for their answers do with their schedules; ``took_ns``: (slot, sent) -> (ns, answered)."""
    sent: list[Sent] = []
    for user in range(users):
        free_ns = START_NS
        for slot, due_ns in all_slots(UserSchedule(user, users, rate_per_s, requests, START_NS)):
            sent_ns = max(due_ns, free_ns)
            took, answered = took_ns(slot, sent_ns)
            free_ns = sent_ns + took
            sent.append((slot, due_ns, sent_ns, free_ns, answered))
    return sent


@given(st.floats(0.5, 200), st.floats(0.05, 10), st.integers(1, 200))
def test_with_enough_users_a_hanging_service_delays_nothing(rate_per_s: float, timeout_s: float, requests: int) -> None:
    """With rate * timeout users every request is sent when it is due, although each runs into its timeout."""
    users = math.ceil(rate_per_s * timeout_s)
    timeout_ns = int(timeout_s * 1e9)
    sent = carried_out(users, rate_per_s, requests, lambda _slot, _sent: (timeout_ns, False))
    assert max(sent_ns - due_ns for _, due_ns, sent_ns, _, _ in sent) <= 1


@pytest.mark.parametrize("users", [4, HTTP_READS.users])
def test_half_an_outage_breaks_its_budget(users: int) -> None:
    """Every other request times out for 14 of 60 s: far beyond 5 %, also where too few users catch up afterwards."""
    begin_ns, end_ns = (START_NS + second * 10**9 for second in (23, 37))

    def took_ns(slot: int, sent_ns: int) -> tuple[int, bool]:
        hangs = begin_ns <= sent_ns < end_ns and (slot // users + slot) % 2 == 0
        return (int(HTTP_READS.timeout_s * 1e9), False) if hangs else (20_000_000, True)

    sent = carried_out(users, HTTP_READS.rate_per_s, 60 * 20, took_ns)
    verdict = availability(0.05, 60).check(told(sent))
    assert verdict.outcome is Outcome.INVALID
    assert "operations were not answered" in verdict.summary
    unanswered = verdict.evidence["tallies"]["total"]["invoked"] - verdict.evidence["tallies"]["total"]["ok"]
    assert unanswered >= 0.45 * 14 * HTTP_READS.rate_per_s


def told(sent: list[Sent]) -> History:
    """The history of a run of 60 s in which this was sent, with a pod killed in it."""
    marks = {"before": (0, 20), "fault": (20, 40), "recover": (40, 45), "after": (45, 60)}
    records = [Record(START_NS, "harness", "fact", {"name": "workload", "value": HTTP_READS.as_fact()})]
    for name, edges in marks.items():
        for edge, second in zip(("begin", "end"), edges, strict=True):
            records.append(Record(START_NS + second * 10**9, "harness", "phase", {"name": name, "edge": edge}))
    for edge in ("inject", "injected", "effect", "heal", "healed"):
        fault = {"fault": "kill_pod", "id": "1", "edge": edge, "target": {}, "detail": {}}
        records.append(Record(START_NS + 22 * 10**9, "harness", "fault", fault))
    for slot, due_ns, sent_ns, ended_ns, answered in sent:
        op = {"process": 0, "op": slot, "f": "GET /", "value": None}
        records.append(Record(sent_ns, "load", "op", {**op, "type": "invoke", "intended_ns": due_ns}))
        how = {"type": "ok", "error": None} if answered else {"type": "info", "error": "timed out"}
        records.append(Record(ended_ns, "load", "op", op | how))
    records.append(Record(START_NS + 70 * 10**9, "load", "closing", {"records": {"op": 2 * len(sent)}}))
    kinds = {"fact": 1, "phase": 8, "fault": 5}
    records.append(Record(START_NS + 70 * 10**9, "harness", "closing", {"records": kinds}))
    records.sort(key=lambda record: record.time_ns)
    mark = {"schema": SCHEMA, "records": len(records), "sources": ["harness", "load"]}
    return History([*records, Record(records[-1].time_ns, "harness", "seal", mark)])
