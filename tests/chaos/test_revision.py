"""The revision clock records each answer with both its times, hurries where it is asked to, and invents nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from chaos.errors import ClusterError
from chaos.history import HistoryWriter, Record, read_records
from chaos.revision import SOURCE, RevisionClock

LONG_S = 20.0


class Store:
    """A store of which a test knows the revision; each read is counted, and some are refused."""

    def __init__(self) -> None:
        self.revision = 10
        self.reads = 0
        self.refused: set[int] = set()
        self.times: list[tuple[int, int]] = []
        self._more = threading.Condition()

    def read(self) -> int:
        """Kube.revision."""
        with self._more:
            begin, self.reads = time.monotonic_ns(), self.reads + 1
            self.times.append((begin, time.monotonic_ns()))
            self._more.notify_all()
            if self.reads in self.refused:
                raise ClusterError("the API server does not answer")
            return self.revision

    def wait(self, reads: int) -> None:
        """Until so many reads were made."""
        with self._more:
            assert self._more.wait_for(lambda: self.reads >= reads, LONG_S)


@pytest.fixture
def store() -> Store:
    """One that changes as a test says."""
    return Store()


@pytest.fixture
def started(store: Store, tmp_path: Path) -> Iterator[Callable[[], RevisionClock]]:
    """Starts a clock; it ends with the test."""
    begun: list[RevisionClock] = []

    def start(
        read: Callable[[], int] = store.read, fail: Callable[[BaseException], None] = pytest.fail
    ) -> RevisionClock:
        begun.append(RevisionClock(read, HistoryWriter(tmp_path / "revision.jsonl", SOURCE), fail))
        begun[0].thread.start()
        return begun[0]

    yield start
    for clock in begun:
        ended(clock)


def ended(clock: RevisionClock) -> None:
    """Stop it, and see that it ends."""
    clock.stop()
    clock.thread.join(LONG_S)
    assert not clock.thread.is_alive()


def written(clock: RevisionClock) -> list[Record]:
    """Its records, once it has ended."""
    ended(clock)
    clock._writer.close()
    return [r for r in read_records(clock._writer.path) if r.kind == "revision"]


def test_an_answer_is_recorded_around_its_read(store: Store, started: Callable[[], RevisionClock]) -> None:
    """The store was read between the two times, whatever the clock did besides; the record's time is the answer's."""
    clock = started()
    store.wait(2)
    records = written(clock)
    assert len(records) == store.reads >= 2
    for record, (begin, end) in zip(records, store.times, strict=True):
        assert record["send_ns"] <= begin <= end <= record["receive_ns"] == record.time_ns
        assert record["revision"] == 10
    assert all(a["receive_ns"] <= b["send_ns"] for a, b in pairwise(records))


def test_a_read_that_fails_is_no_record(store: Store, started: Callable[[], RevisionClock]) -> None:
    """An API server that is away tells nothing; the clock goes on asking."""
    store.refused = {2, 3}
    clock = started()
    with clock.closely():
        store.wait(5)
    assert len(written(clock)) == store.reads - 2


def test_closely_hurries_at_once(
    store: Store, started: Callable[[], RevisionClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that would sleep for ever reads as soon as it is needed, goes on, and sleeps again afterwards."""
    monkeypatch.setattr("chaos.revision.WIDE_S", 3600)
    clock = started()
    store.wait(1)
    with clock.closely():
        store.wait(4)
    reads = store.reads
    assert clock.unpublished_ns(10) is not None
    assert reads >= 4


def test_when_a_version_was_not_yet_there(store: Store, started: Callable[[], RevisionClock]) -> None:
    """The last read that did not have it was sent at a time when nothing above it had been published."""
    clock = started()
    with clock.closely():
        store.wait(3)
        store.revision = 20
        store.wait(store.reads + 3)
    records = written(clock)
    last_old = max(r["send_ns"] for r in records if r["revision"] == 10)
    last_new = max(r["send_ns"] for r in records if r["revision"] == 20)
    assert clock.unpublished_ns(9) is None
    assert clock.unpublished_ns(10) == clock.unpublished_ns(19) == last_old
    assert clock.unpublished_ns(20) == clock.unpublished_ns(99) == last_new


def test_a_defect_is_handed_on(started: Callable[..., RevisionClock]) -> None:
    """What is no refusal of the API server is not passed over."""
    failures: list[BaseException] = []

    def crash() -> int:
        raise ValueError("no number")

    clock = started(crash, failures.append)
    clock.thread.join(LONG_S)
    assert [str(error) for error in failures] == ["no number"]
