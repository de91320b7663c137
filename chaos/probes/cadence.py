"""Asks the same questions over and over at times that are fixed in advance, and records every reading."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from chaos.errors import WaitTimeout
from chaos.history import HistoryWriter
from chaos.probes.inside import ASK_S, Reading

UNDER_WAY_MAX = 16
"""How many rounds of one lane may be unanswered at a time before the next one is left out."""
_CLOCK_S = 1.0

Ask = Callable[[], dict[str, Reading]]


@dataclass(frozen=True)
class Lane:
    """One probe's questions: ``ask`` asks all of them once and returns the reading of each target."""

    probe: str
    period_s: float
    ask: Ask
    bound_s: float = ASK_S
    """How long one round can take at most."""


class Cadence:
    """Asks each lane's questions every ``period_s`` and records the readings (kind ``probe``).

    When a round is due is fixed at the start: a slow answer delays no other question. A round that cannot be begun,
    for too many are unanswered or this process came too late, is a ``gap`` with the number of rounds ``skipped``.
    """

    def __init__(self, writer: HistoryWriter, lanes: Iterable[Lane]) -> None:
        self._writer = writer
        self._lanes = list(lanes)
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._pace, lane, number), name=f"probe-{lane.probe}")
            for number, lane in enumerate(self._lanes)
        ]
        self._threads.append(threading.Thread(target=self._guarded, args=(self._tick,), name="probe-clock"))
        for thread in self._threads:
            thread.daemon = True

    def start(self) -> None:
        """Begin asking."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the rounds under way and end; raises what went wrong in between."""
        self._stop.set()
        bound_s = max((lane.bound_s for lane in self._lanes), default=0.0) + 5
        deadline = time.monotonic() + bound_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            raise WaitTimeout("the probes did not end their last round")
        if self._failed is not None:
            raise self._failed

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised by stop()
            self._failed = self._failed or error

    def _tick(self) -> None:
        while not self._stop.wait(_CLOCK_S):
            self._writer.clock()
            self._writer.flush()

    def _pace(self, lane: Lane, number: int) -> None:
        """Begin the lane's rounds when they are due; the lanes' own begins are apart, so that they do not meet."""
        start = time.monotonic() + lane.period_s * number / len(self._lanes)
        skipped = _Skipped(self._writer, lane.probe)
        under_way: set[Future[None]] = set()
        due = 0
        with ThreadPoolExecutor(UNDER_WAY_MAX, thread_name_prefix=f"ask-{lane.probe}") as pool:
            while not self._stop.wait(max(0.0, start + due * lane.period_s - time.monotonic())):
                under_way = {future for future in under_way if not future.done()}
                due += skipped.until_now(start, due, lane.period_s)
                if len(under_way) < UNDER_WAY_MAX:
                    skipped.end()
                    under_way.add(pool.submit(self._guarded, self._round, lane))
                else:
                    skipped.add(1, start + due * lane.period_s)
                due += 1
            skipped.until_now(start, due, lane.period_s)
        skipped.end()

    def _round(self, lane: Lane) -> None:
        for target, reading in lane.ask().items():
            record(self._writer, lane.probe, target, reading)


def record(writer: HistoryWriter, probe: str, target: str, reading: Reading) -> None:
    """Write one reading; its time is that of the answer."""
    writer.write(
        "probe",
        time_ns=reading.receive_ns,
        probe=probe,
        target=target,
        send_ns=reading.send_ns,
        receive_ns=reading.receive_ns,
        value=reading.value,
        error=reading.error,
        asked=reading.asked,
    )


class _Skipped:
    """The rounds of a lane that were left out in a row."""

    def __init__(self, writer: HistoryWriter, probe: str) -> None:
        self._writer = writer
        self._probe = probe
        self._count = 0
        self._from_ns = 0

    def until_now(self, start_s: float, due: int, period_s: float) -> int:
        """Add the rounds from ``due`` on that are more than a period late, and return how many."""
        missed = max(0, int((time.monotonic() - start_s) / period_s) - due)
        if missed:
            self.add(missed, start_s + due * period_s)
        return missed

    def add(self, count: int, due_s: float) -> None:
        if not self._count:
            self._from_ns = round(due_s * 1e9)
        self._count += count

    def end(self) -> None:
        """Asking goes on: what was left out until now is a gap."""
        if self._count:
            now = time.monotonic_ns()
            what = f"probe {self._probe}"
            self._writer.write("gap", what=what, from_ns=self._from_ns, to_ns=now, skipped=self._count)
            self._count = 0
