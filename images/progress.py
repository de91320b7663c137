"""Long work that shows itself: step k of n, how long so far, and what failed with the end of its output."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rich.console import Console

from chaos.errors import ImageError
from images import cache

HEARTBEAT_S = 30
TAIL_LINES = 25
ROOM_BYTES = 1 << 16
"""With less than this on its disk a command cannot even say in the log that the disk is full."""
_NOT_FOUND = 127
"""What setpriv(1) ends with where there is no such command."""


def engine_root() -> Path | None:
    """Where the engine keeps its data, None where it does not say."""
    command = ["docker", "info", "--format", "{{.DockerRootDir}}"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(said) if said.startswith("/") else None


def _tethered(command: list[str]) -> list[str]:
    """The command as one that the kernel kills when we die (prctl(2), PR_SET_PDEATHSIG), where setpriv is there.

    Not so apt-get: a package that is half installed would be worse than one that is installed by nobody's wish.
    """
    setpriv = shutil.which("setpriv")
    return command if setpriv is None or command[0] == "apt-get" else [setpriv, "--pdeathsig", "KILL", *command]


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

    def _note(self, text: str) -> None:
        with suppress(OSError):  # a disk with no room for the log fails the step itself, and that says more
            self._file.write(text.encode())

    def say(self, text: str) -> None:
        """Show a line and log it."""
        self._note(f"{text}\n")
        self.console.print(text, markup=False, highlight=False)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show one step while its body runs: a live clock on a terminal, a line every half minute elsewhere."""
        self.done += 1
        self.total = max(self.total, self.done)
        label = f"[{self.done}/{self.total}] {what}"
        self._note(f"\n=== {label}\n")
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
        """Run a command with its output in the log; raises ImageError with the end of it when it fails.

        It dies with us, however we die: what goes on alone would work in folders that the next set-up clears away.
        """
        self._note(f"$ {' '.join(command)}\n")
        begin = self.log.stat().st_size
        environment = {**os.environ, **(env or {})}
        try:
            code = subprocess.run(
                _tethered(command),
                cwd=cwd,
                env=environment,
                stdin=stdin,
                stdout=self._file,
                stderr=self._file,
                timeout=timeout_s,
                check=False,
            ).returncode
            if code == _NOT_FOUND and shutil.which(command[0]) is None:
                raise FileNotFoundError
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
            said = next((line for line in reversed(tail) if cache.full_disk(line)), "")
            full = cache.full_disk(said, engine_root() if said and command[0] == "docker" else None)
            if full is None and shutil.disk_usage(self.log).free < ROOM_BYTES:
                full = cache.full_disk(f"{self.log}: no space left on device")
            if full is not None:
                raise ImageError(f"`{' '.join(command[:4])} ...` failed; {full}")
            raise ImageError(
                f"`{' '.join(command[:4])} ...` failed with exit code {code} ({reason}); all of it: {self.log}"
            )
