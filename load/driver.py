"""Runs a workload in a Locust process of its own and reads its segment from outside.

Importing Locust patches the standard library for gevent, so neither pytest nor the harness may import it.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import site
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos.errors import HistoryError, LoadError, WaitTimeout
from chaos.history import Record
from load.profiles import Workload

WORKLOAD_VARIABLE = "KINDSTORM_WORKLOAD"
SEGMENT_VARIABLE = "KINDSTORM_LOAD_SEGMENT"
PARENT_VARIABLE = "KINDSTORM_LOAD_PARENT"

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0

_PACKAGE = Path(__file__).resolve().parent
_TARGET = re.compile(r"([a-z]+)://127\.0\.0\.1:([0-9]{1,5})")
_POLL_S = 0.05
_LOG_TAIL_CHARS = 2000
_TAIL_BYTES = 1 << 16


class SegmentTail:
    """Reads the whole lines that another process appends to a segment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[Record]:
        """The records that came since the last call; a line still being written waits for the next one."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [Record.from_json(line) for line in whole.splitlines()]


class LocustLoad:
    """One run of one workload. As a context manager it stops the run on leaving.

    Start it from a thread that lives as long as the load: the kernel ties the child to the thread that made it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._segment = Path()
        self._log = Path()
        self._released = False
        self._stopped = False

    @property
    def pid(self) -> int:
        """The Locust process's id; raises LoadError before the start."""
        return self._started().pid

    def prepare(self, workload: Workload, target: str, segment: Path, log: Path) -> None:
        """Start the process, which takes seconds, but let it send nothing before ``start``; raises as that does."""
        self._refuse(workload, target, segment)
        segment, log = segment.resolve(), log.resolve()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                _command(workload, target),
                env=environment(workload, segment),
                cwd="/",  # Locust imports from its working directory and reads its settings there
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal must reach the harness only, which then stops in order
            )
        self._segment, self._log = segment, log

    def start(self, workload: Workload, target: str, segment: Path, log: Path) -> None:
        """Start the workload against ``target`` (<its scheme>://127.0.0.1:<port>) and wait until it records.

        The operations go to ``segment``, which must not hold anything yet, what Locust prints goes to ``log``. Where it
        is prepared the arguments are those it was prepared with. Raises LoadError where the target is another machine
        or Locust does not come up within START_TIMEOUT_S.
        """
        if self._process is None or self._released:
            self.prepare(workload, target, segment, log)
        self._released = True
        try:
            self._release()
            self.wait_for(lambda _: True, START_TIMEOUT_S, "a first record")
        except BaseException:
            self._kill()
            raise

    def _release(self) -> None:
        """Let the process begin; one that has ended by now is found by whoever waits for its first record."""
        stdin = self._started().stdin
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError), stdin:
                stdin.write(b"\n")

    def running(self) -> bool:
        """True while the Locust process lives; it ends by itself at the workload's bounds."""
        return self._process is not None and self._process.poll() is None

    def first_success(self, timeout_s: float) -> int:
        """Wait for the first acknowledged operation; returns its time in monotonic ns.

        Raises WaitTimeout, or LoadError where the load has ended without one.
        """
        return self.wait_for(lambda r: r.kind == "op" and r["type"] == "ok", timeout_s, "a successful operation")

    def first_invocation(self, timeout_s: float) -> int:
        """Wait for the first operation that was sent, whatever became of it; returns and raises as first_success."""
        return self.wait_for(lambda r: r.kind == "op" and r["type"] == "invoke", timeout_s, "an invocation")

    def wait_for(self, wanted: Callable[[Record], bool], timeout_s: float, what: str) -> int:
        """Wait for a record of the segment, from its beginning on; returns its time and raises as first_success."""
        process = self._started()
        tail = SegmentTail(self._segment)
        seen: Counter[str] = Counter()
        deadline = time.monotonic() + timeout_s
        while True:
            ended = process.poll() is not None  # asked before reading: what a process wrote, it wrote before it ended
            for record in tail.read():
                if wanted(record):
                    return record.time_ns
                seen[record.get("type", record.kind)] += 1
            counts = ", ".join(f"{count} {name}" for name, count in sorted(seen.items())) or "nothing"
            if ended:
                message = f"Locust ended with status {process.returncode} before {what}; it recorded {counts}"
                raise LoadError(self._with_log(message))
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise WaitTimeout(f"the load did not record {what} within {timeout_s:g} s; it recorded {counts}")
            try:
                process.wait(min(_POLL_S, remaining_s))
            except subprocess.TimeoutExpired:
                continue

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the load and check that it ended well; a second call, or one before a start, does nothing.

        SIGTERM lets it finish what is open and close its records; after ``timeout_s`` it is killed. Raises LoadError
        with the end of its log where it crashed, had to be killed, or left its records unclosed.
        """
        if self._process is None or self._stopped:
            return
        process = self._process
        if not self._released:
            self._kill()
            self._segment.unlink(missing_ok=True)  # nothing was sent, so it holds nothing
            return
        self._stopped = True
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._kill()
            raise LoadError(self._with_log(f"Locust did not stop within {timeout_s:g} s and was killed")) from None
        except BaseException:  # an interrupt: nobody waits for it any more
            self._kill()
            raise
        if status != 0:
            raise LoadError(self._with_log(f"Locust ended with status {status}; its records are not whole"))
        try:
            last = _last_record(self._segment)
        except HistoryError as error:
            raise LoadError(self._with_log(f"the load's segment {self._segment} is broken: {error}")) from error
        if last is None or last.kind != "closing":
            raise LoadError(self._with_log(f"Locust ended without closing its records in {self._segment}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        try:
            self.stop()
        except LoadError as failure:
            if error is None:
                raise
            error.add_note(str(failure))

    def _refuse(self, workload: Workload, target: str, segment: Path) -> None:
        refuse(workload, target, segment)
        if self._process is not None:
            raise LoadError("this load was started before; make a new LocustLoad for another run")
        if not (_PACKAGE / "users" / f"{workload.user}.py").is_file():
            raise LoadError(f"there is no module {workload.user!r} under load/users; name one that is there")

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LoadError("the load was never started")
        return self._process

    def _kill(self) -> None:
        process = self._started()
        self._stopped = True
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def _with_log(self, message: str) -> str:
        text = self._log.read_text("utf-8", "replace") if self._log.is_file() else ""
        end = text.strip() or "(empty)"
        if len(end) > _LOG_TAIL_CHARS:  # whole lines: half a line may be half a secret
            end = end[-_LOG_TAIL_CHARS:].partition("\n")[2] or "(one line, too long to be told)"
        return f"{message}. The end of its log, {self._log.name}:\n{end}"


def _last_record(segment: Path) -> Record | None:
    """The record of the last line; a long segment is not read for it, and what is broken before it the seal sees."""
    if not segment.exists():
        return None
    with segment.open("rb") as file:
        file.seek(max(0, segment.stat().st_size - _TAIL_BYTES))
        lines = file.read().splitlines(keepends=True)
    return Record.from_json(lines[-1]) if lines else None


def refuse(workload: Workload, target: str, segment: Path) -> None:
    """Raise LoadError where the target is not this machine, or the segment is another run's."""
    match = _TARGET.fullmatch(target)
    if match is None or match[1] != workload.scheme or not 1 <= int(match[2]) <= 65535:
        raise LoadError(f"load goes to {workload.scheme}://127.0.0.1:<port> only, never to {target!r}")
    if segment.exists() and segment.stat().st_size > 0:
        raise LoadError(f"{segment} already holds records; give each run a segment of its own")


def _command(workload: Workload, target: str) -> list[str]:
    options = {
        "--locustfile": str(_PACKAGE / "locustfile.py"),
        "--users": str(workload.users),
        "--spawn-rate": str(workload.users),
        "--run-time": f"{math.ceil(workload.max_s)}s",
        "--stop-timeout": f"{math.ceil(workload.timeout_s) + 1}s",
        "--host": target,
        "--exit-code-on-error": "0",  # failed requests are findings, not failures of the load
    }
    return [sys.executable, "-m", "locust", "--headless", "--only-summary", *_flat(options)]


def _flat(options: dict[str, str]) -> list[str]:
    return [word for option in options.items() for word in option]


def environment(workload: Workload, segment: Path) -> dict[str, str]:
    """Ours, less what would configure Locust: its variables, and the settings it reads from the home directory."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST")}
    imports = [str(_PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return inherited | {
        "PYTHONPATH": os.pathsep.join(imports),
        "PYTHONUSERBASE": site.getuserbase(),
        "HOME": str(segment.parent),
        WORKLOAD_VARIABLE: workload.to_json(),
        SEGMENT_VARIABLE: str(segment),
        PARENT_VARIABLE: str(os.getpid()),
    }
