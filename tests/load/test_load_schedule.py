"""The users' schedules together are one evenly spaced, bounded schedule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
