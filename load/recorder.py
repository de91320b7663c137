"""Writes what the workload does into the history's segment, from inside the Locust process.

Locust's own request event comes only after a request, and Locust logs and swallows whatever an event listener
raises. So the users call the recorder themselves, before and after each request, and an error while recording ends
the process at once: a history with a hole must not look like a whole one.
"""

from __future__ import annotations

import functools
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn, ParamSpec, TypeVar

import gevent
from locust import events  # noqa: TID251 - this module runs in the Locust process only
from locust.exception import StopUser  # noqa: TID251

from chaos.history import HistoryWriter, Json

SOURCE = "load"
RECORDING_FAILED = 70
"""The exit status of a process that could not record (EX_SOFTWARE of sysexits.h)."""

_FLUSH_S = 0.1
_CLOCK_S = 1.0

P = ParamSpec("P")
R = TypeVar("R")


class Outcome(NamedTuple):
    """How an operation ended: ``type`` is ok, fail or info; ``error`` is None where it is ok."""

    type: str
    value: Json = None
    error: str | None = None


def end_process(error: BaseException) -> NoReturn:
    """Report the error in the log and leave, past everything that could swallow it."""
    try:
        traceback.print_exception(error)
        sys.stderr.flush()
    finally:
        os._exit(RECORDING_FAILED)


def fatal(function: Callable[P, R]) -> Callable[P, R]:
    """Make every error of a function end the process; a user may still stop or be killed."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except StopUser:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the records are no longer to be trusted
            end_process(error)

    return guarded


class LoadRecorder:
    """The one writer of the load's segment. Every method that records ends the process where it cannot.

    ``ending`` is True from when Locust begins to stop: a user that it finds waiting is killed, even where it has
    just woken up, so that a request begun then would never get its answer.
    """

    @fatal
    def __init__(self, segment: Path) -> None:
        self._writer = HistoryWriter(segment, SOURCE)
        self._open: dict[int, tuple[str, str, Json]] = {}
        self._closed = False
        self.ending = False
        self.start_ns = 0

    def attach(self) -> None:
        """Begin when Locust begins, and close once its users have ended (by SIGTERM, run time or cap)."""
        events.test_start.add_listener(self._begin)  # type: ignore[no-untyped-call]
        events.test_stopping.add_listener(self._end)  # type: ignore[no-untyped-call]
        events.quit.add_listener(self._close)  # type: ignore[no-untyped-call]

    @fatal
    def invoke(self, op: int, process: str, f: str, value: Json, intended_ns: int) -> None:
        """Record that an operation is about to be sent."""
        self._open[op] = (process, f, value)
        self._writer.write("op", type="invoke", process=process, op=op, f=f, value=value, intended_ns=intended_ns)

    @fatal
    def complete(self, op: int, outcome: Outcome) -> None:
        """Record how an operation ended; only once for each invocation."""
        process, f, _ = self._open.pop(op)
        self._writer.write(
            "op", type=outcome.type, process=process, op=op, f=f, value=outcome.value, error=outcome.error
        )

    @fatal
    def note(self, text: str, **data: Json) -> None:
        """Record a remark for people, with figures beside it."""
        self._writer.write("note", text=text, **data)

    @fatal
    def _begin(self, **_: object) -> None:
        self.start_ns = time.monotonic_ns()
        self._writer.clock()
        self._writer.flush()
        gevent.spawn(self._every, _CLOCK_S, self._writer.clock)
        gevent.spawn(self._every, _FLUSH_S, self._writer.flush)

    @fatal
    def _end(self, **_: object) -> None:
        self.ending = True

    @fatal
    def _every(self, period_s: float, action: Callable[[], None]) -> None:
        while not self._closed:
            action()
            gevent.sleep(period_s)

    @fatal
    def _close(self, **_: object) -> None:
        self._closed = True
        for op, (_process, _f, value) in list(self._open.items()):
            self.complete(op, Outcome("info", value, "still open when the load ended"))
        self._writer.close()
