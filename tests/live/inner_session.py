"""A pytest session in a process of its own, as a person or a CI system starts it, and interrupts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from chaos.history import History

ROOT = Path(__file__).parents[2]
TEST = "test_inner.py::test_inner"


class InnerSession:
    """Runs ``text`` as test_inner.py in ``folder`` and reads along what it prints."""

    def __init__(self, folder: Path, text: str, *args: str, conftest: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test_inner.py").write_text(text)
        (folder / "conftest.py").write_text(conftest)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:locust",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
        ]
        self._process = subprocess.Popen(
            [*command, "--rootdir=.", "test_inner.py", *args],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.text = ""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while piece := os.read(self._process.stdout.fileno(), 1 << 12):
            with self._more:
                self.text += piece.decode(errors="replace")
                self._more.notify_all()

    def until(self, said: str, timeout_s: float = 180) -> None:
        """Wait until it has printed this."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while said not in self.text:
                alive = self._more.wait(1) or self._process.poll() is None
                assert alive, f"it ended without saying {said!r}:\n{self.text}"
                assert time.monotonic() < deadline, f"it did not say {said!r}:\n{self.text}"

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Ctrl-C goes to the whole group in the foreground; SIGTERM to the process that was started."""
        if number == signal.SIGINT:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def end(self, timeout_s: float = 240) -> int:
        """Wait for its end; the exit code."""
        try:
            code = self._process.wait(timeout_s)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._reader.join(10)
        assert "Traceback" not in self.text, self.text
        return code

    @property
    def directory(self) -> Path:
        """The run's directory."""
        (directory,) = (path for path in (self.folder / "runs").iterdir() if path.is_dir())
        return directory

    def verdicts(self) -> dict[str, Any]:
        """What results.json says."""
        return dict(json.loads((self.directory / "results.json").read_text()))

    def history(self) -> History:
        """The history of its one experiment."""
        return History.load(self.directory / "test_inner" / "history.jsonl")

    def left_behind(self) -> list[str]:
        """The processes that are there on its account: they know its folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            except OSError:  # it ended, or is the kernel's
                continue
            if str(self.folder).encode() in words:
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return found
