"""Waits are bounded, say what they saw last, and hide no error they were not told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from chaos.errors import ClusterError, WaitTimeout
from chaos.waiting import poll


def reader(*readings: int | Exception) -> Callable[[], int]:
    """Gives one reading after the other, the last one for ever."""
    left: Iterator[int | Exception] = iter(readings)
    last: list[int | Exception] = []

    def read() -> int:
        value = next(left, None)
        last.append(last[-1] if value is None else value)
        if isinstance(last[-1], Exception):
            raise last[-1]
        return last[-1]

    return read


def test_the_first_good_value_is_returned() -> None:
    """Readings that are not good are passed over; nothing is read after a good one."""
    assert poll(reader(1, 2, 3, 4), lambda v: v >= 3, timeout_s=30, what="three", interval_s=0) == 3


def test_a_good_value_may_be_falsy() -> None:
    """What is good is for ``good`` to say, not for the value's truth."""
    assert poll(reader(1, 0), lambda v: v == 0, timeout_s=30, what="none left", interval_s=0) == 0


def test_it_reads_once_even_without_time() -> None:
    """A wait of no length still looks."""
    assert poll(reader(1), lambda v: v == 1, timeout_s=0, what="one", interval_s=0) == 1


def test_the_end_names_what_and_the_last_value() -> None:
    """The message has what was waited for, the bound and the value that was not good."""
    with pytest.raises(WaitTimeout, match=r"^two pods: not within 0\.01 s; last seen: 1$"):
        poll(reader(0, 1), lambda v: v == 2, timeout_s=0.01, what="two pods", interval_s=0)


def test_the_end_names_the_last_error() -> None:
    """An error that came after a value is what was seen last; a value that came after an error likewise."""
    with pytest.raises(WaitTimeout, match="last seen: no answer"):
        poll(reader(1, ClusterError("no answer")), lambda v: v == 2, timeout_s=0.01, what="two", interval_s=0)
    with pytest.raises(WaitTimeout, match="last seen: 1"):
        poll(reader(ClusterError("no answer"), 1), lambda v: v == 2, timeout_s=0.01, what="two", interval_s=0)


def test_passing_errors_are_readings() -> None:
    """The harness's own errors count as not good yet; so does another class that is named."""
    assert poll(reader(ClusterError("x"), 5), lambda v: v == 5, timeout_s=30, what="five", interval_s=0) == 5
    five = reader(OSError("x"), 5)
    assert poll(five, lambda v: v == 5, timeout_s=30, what="five", interval_s=0, passing=(OSError,)) == 5


def test_other_errors_come_through_at_once() -> None:
    """What is not in ``passing`` is raised as it is, after a single reading; also out of ``good``."""
    read = reader(KeyError("defect"), 5)
    with pytest.raises(KeyError, match="defect"):
        poll(read, lambda v: v == 5, timeout_s=30, what="five", interval_s=0)
    assert read() == 5
    with pytest.raises(ZeroDivisionError):
        poll(reader(0), lambda v: 1 / v > 0, timeout_s=30, what="five", interval_s=0)


def test_it_pauses_between_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval is kept between readings, and there is none after the last."""
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    poll(reader(1, 2, 3), lambda v: v == 3, timeout_s=30, what="three", interval_s=0.5)
    assert slept == [0.5, 0.5]


def test_a_check_that_fails_ends_the_wait() -> None:
    """At once and as it is, though its class would pass as a reading; nothing is read any more."""

    def check() -> None:
        raise ClusterError("the engine is gone")

    read = reader(1, 2)
    with pytest.raises(ClusterError, match="the engine is gone"):
        poll(read, lambda v: v == 5, timeout_s=30, what="five", check=check)
    assert read() == 1
