"""The process that reads back everything the load wrote: ``python -m load.reader <target> <timeout_s>``.

It is a client of its own that saw nothing of the load. A failed attempt is recorded as ``info``, and another one
follows while there is time; the ids of the first whole answer are recorded in pages, so that no line becomes too long.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from chaos.history import HistoryWriter
from load.documents import read_ids, told
from load.driver import PARENT_VARIABLE, SEGMENT_VARIABLE, WORKLOAD_VARIABLE
from load.profiles import Workload
from load.tether import end_with

SOURCE = "verify"
PROCESS = "verifier"
PAGE_IDS = 10_000
ANSWER_S = 10.0
"""How long a single answer of the server may take, and at most a quarter of the whole time; a read has several."""

_PAUSE_S = 0.5

Ids = list[int | str]


def read_all(
    writer: HistoryWriter, fetch: Callable[[], Ids], explain: Callable[[Exception], str], timeout_s: float
) -> None:
    """Fetch everything and record it, or record within ``timeout_s`` that it could not be had."""
    deadline = time.monotonic() + timeout_s
    for op in range(1 + int(timeout_s / _PAUSE_S)):
        _write(writer, "invoke", op, {"page": 0})
        found = _within(fetch, deadline - time.monotonic())
        if isinstance(found, list):
            _write_pages(writer, found, op)
            return
        _write(writer, "info", op, {"page": 0}, explain(found))
        if deadline - time.monotonic() <= _PAUSE_S:
            return
        threading.Event().wait(_PAUSE_S)


def _within(fetch: Callable[[], Ids], timeout_s: float) -> Ids | Exception:
    """What was fetched, or why it was not; a fetch that outlasts the time is left behind."""
    answers: SimpleQueue[Ids | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(fetch())
        except Exception as error:  # noqa: BLE001 - whatever it is, the read failed and is to be recorded so
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=max(0.0, timeout_s))
    except Empty:
        return TimeoutError("no whole answer came in time")


def _write_pages(writer: HistoryWriter, ids: Ids, op: int) -> None:
    """Record the ids; the first page answers the operation ``op`` that asked for them."""
    starts = range(0, max(1, len(ids)), PAGE_IDS)
    for page, start in enumerate(starts):
        if page:
            _write(writer, "invoke", op + page, {"page": page})
        part = ids[start : start + PAGE_IDS]
        _write(writer, "ok", op + page, {"page": page, "ids": part, "last": page == len(starts) - 1})


def _write(writer: HistoryWriter, kind: str, op: int, value: dict[str, object], error: str | None = None) -> None:
    intended = {"intended_ns": time.monotonic_ns()} if kind == "invoke" else {}
    writer.write("op", type=kind, process=PROCESS, op=op, f="read_all", value=value, error=error, **intended)


def main() -> None:
    """Read what the environment and the arguments say and close the records."""
    end_with(int(os.environ[PARENT_VARIABLE]))
    workload = Workload.from_json(os.environ[WORKLOAD_VARIABLE])
    target, timeout_s = sys.argv[1], float(sys.argv[2])
    with HistoryWriter(Path(os.environ[SEGMENT_VARIABLE]), SOURCE) as writer:
        writer.clock()
        answer_s = min(ANSWER_S, timeout_s / 4)
        read_all(writer, lambda: read_ids(target, workload, answer_s), lambda error: told(error, workload), timeout_s)
        writer.clock()


if __name__ == "__main__":
    main()
