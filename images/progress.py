"""Long work that shows itself: step k of n, how long so far, and what failed with the end of its output."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console

from chaos.errors import ImageError

HEARTBEAT_S = 30
TAIL_LINES = 25


class Steps:
    """Numbers the steps of one job. ``log`` receives the full output of every command run in them."""

    def __init__(self, console: Console, log: Path, total: int = 0) -> None:
        self.console = console
        self.log = log
        self.total = total
        self.done = 0
        self._file: IO[bytes] = log.open("ab", buffering=0)

    def close(self) -> None:
        """Close the log."""
        self._file.close()

    def say(self, text: str) -> None:
        """Show a line and log it."""
        self._file.write(f"{text}\n".encode())
        self.console.print(text, markup=False, highlight=False)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show one step while its body runs: a live clock on a terminal, a line every half minute elsewhere."""
        self.done += 1
        self.total = max(self.total, self.done)
        label = f"[{self.done}/{self.total}] {what}"
        self._file.write(f"\n=== {label}\n".encode())
        start = time.monotonic()
        ended = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(label, start, ended), daemon=True)
        ticker.start()
        try:
            yield
        except BaseException:
            ended.set()
            ticker.join()
            self.console.print(f"{label}: failed after {time.monotonic() - start:.0f} s", style="red", markup=False)
            raise
        ended.set()
        ticker.join()
        self.console.print(f"{label}: {time.monotonic() - start:.1f} s", markup=False, highlight=False)

    def _tick(self, label: str, start: float, ended: threading.Event) -> None:
        if self.console.is_terminal:
            with self.console.status(label) as status:
                while not ended.wait(1):
                    status.update(f"{label}: {time.monotonic() - start:.0f} s")
            return
        while not ended.wait(HEARTBEAT_S):
            self.console.print(f"{label}: {time.monotonic() - start:.0f} s so far", markup=False, highlight=False)

    def run(
        self,
        command: list[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 3600,
        stdin: IO[bytes] | int | None = subprocess.DEVNULL,
    ) -> None:
        """Run a command with its output in the log; raises ImageError with the end of it when it fails."""
        self._file.write(f"$ {' '.join(command)}\n".encode())
        begin = self.log.stat().st_size
        environment = {**os.environ, **(env or {})}
        try:
            code = subprocess.run(
                command,
                cwd=cwd,
                env=environment,
                stdin=stdin,
                stdout=self._file,
                stderr=self._file,
                timeout=timeout_s,
                check=False,
            ).returncode
        except FileNotFoundError:
            raise ImageError(
                f"{command[0]} is not on this machine's PATH; install it and run the set-up again"
            ) from None
        except subprocess.TimeoutExpired:
            raise ImageError(
                f"`{' '.join(command[:4])} ...` did not end within {timeout_s:.0f} s; see {self.log}"
            ) from None
        if code != 0:
            with self.log.open("rb") as log:
                log.seek(begin)
                tail = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
            self.console.print("\n".join(tail), style="dim", markup=False, highlight=False)
            reason = next((line for line in reversed(tail) if line.strip()), "no output")
            raise ImageError(
                f"`{' '.join(command[:4])} ...` failed with exit code {code} ({reason}); all of it: {self.log}"
            )
