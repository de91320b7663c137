"""The revision clock: reads of the store's revision that bound when each watched change was published.

A watch tells a change some time after it happened, and nothing it says bounds how long after. A read of the store's
revision does: a change of a higher version came after the read was sent, any other before it was answered. Reads
follow each other, so between the last one that lacks a change and the first that has it lies little more than a period.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chaos.errors import ClusterError
from chaos.history import HistoryWriter

SOURCE = "api:revision"
CLOSE_S = 0.02
"""From one read to the next while recovery is measured: this and a read's own time are most of an interval's width.

Measured on two busy cores: 42 reads a second cost the API server 9 % of a core, etcd 4 % and the harness 4 %; four a
second 2 % in all.
"""
WIDE_S = 0.25


class RevisionClock:
    """Reads the revision again and again in a thread of its own, from start to stop, and records each answer.

    A read that is not answered leaves no record: the interval of what was published meanwhile is wider for it.
    """

    def __init__(self, read: Callable[[], int], writer: HistoryWriter, fail: Callable[[BaseException], None]) -> None:
        self._read = read
        self._writer = writer
        self._fail = fail
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._close = threading.Event()
        self._sent: list[int] = []
        self._revisions: list[int] = []
        self.thread = threading.Thread(target=self._run, name="revision", daemon=True)

    def stop(self) -> None:
        """End it; its thread ends with the read that is under way."""
        self._stop.set()
        self._hurry.set()

    @contextmanager
    def closely(self) -> Iterator[None]:
        """Read every CLOSE_S for the body, and at once when it begins."""
        self._close.set()
        self._hurry.set()
        try:
            yield
        finally:
            self._close.clear()

    def unpublished_ns(self, version: int) -> int | None:
        """A time in monotonic ns, the last known, at which nothing above this version had been published."""
        place = bisect_right(self._revisions, version)
        return self._sent[place - 1] if place else None

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                begin = time.monotonic()
                self._once()
                took = time.monotonic() - begin
                self._hurry.wait((CLOSE_S if self._close.is_set() else WIDE_S) - took)
                self._hurry.clear()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits on the recorder
            self._fail(error)

    def _once(self) -> None:
        send_ns = time.monotonic_ns()
        try:
            revision = self._read()
        except ClusterError:
            return
        receive_ns = time.monotonic_ns()
        self._writer.write("revision", time_ns=receive_ns, send_ns=send_ns, receive_ns=receive_ns, revision=revision)
        self._sent.append(send_ns)
        self._revisions.append(revision)
