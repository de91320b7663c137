"""Has everything that a load wrote read back, by a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from chaos.history import HistoryWriter
from load.driver import environment, refuse
from load.profiles import Workload

GRACE_S = 15.0
"""How much longer than the read's own time its process may take to start and to end."""

_LOG_TAIL_CHARS = 500


class DocumentVerifier:
    """The verifying read of a document store."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s

    def verify(self, workload: Workload, target: str, segment: Path, log: Path, timeout_s: float) -> None:
        """Read everything once and record it in ``segment`` under the source ``verify``, within ``timeout_s``.

        A read that fails is an operation that ended as ``info``; it does not raise. A reader that had to be killed
        leaves its segment without a closing record. Raises LoadError where the target is another machine or the
        segment another run's.
        """
        refuse(workload, target, segment)
        segment, log = segment.resolve(), log.resolve()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "load.reader", target, str(timeout_s)],
                env=environment(workload, segment),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # as the load's: Ctrl-C must reach the harness only
            )
        try:
            process.wait(timeout_s + self._grace_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
        if not segment.exists() or segment.stat().st_size == 0:
            _record_crash(segment, f"the reader ended with status {process.returncode}: {_tail(log, workload)}")


def _record_crash(segment: Path, error: str) -> None:
    """Say in the reader's place that there was no read: it died before it could."""
    with HistoryWriter(segment, "verify") as writer:
        for kind, text in (("invoke", None), ("info", error)):
            writer.write(
                "op", type=kind, process="verifier", op=0, f="read_all", value={"page": 0}, error=text,
                intended_ns=time.monotonic_ns(),
            )  # fmt: skip


def _tail(log: Path, workload: Workload) -> str:
    text = log.read_text("utf-8", "replace").strip()
    text = text.replace(workload.password, "(redacted)") if workload.password else text
    return text[-_LOG_TAIL_CHARS:]  # after that: half a password is not found any more
