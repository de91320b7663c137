"""Steps are numbered, failures show the end of what failed, and the log has all of it."""

from __future__ import annotations

import io
import re
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from chaos.errors import ImageError
from images.progress import TAIL_LINES, Steps


def test_steps_are_numbered_and_timed(steps: Steps, screen: io.StringIO) -> None:
    """Each step is k of n with its time, on the screen and in the log."""
    steps.total = 2
    for what in ("compile kind", "build the node [image]"):
        with steps.step(what):
            pass
    shown = screen.getvalue().splitlines()
    assert re.fullmatch(r"\[1/2\] compile kind: \d+\.\d s", shown[0])
    assert re.fullmatch(r"\[2/2\] build the node \[image\]: \d+\.\d s", shown[1])
    assert "=== [2/2] build the node [image]\n" in steps.log.read_text()


def test_more_steps_than_announced_stay_sensible(steps: Steps, screen: io.StringIO) -> None:
    """The total is never below the step's own number."""
    with steps.step("start the engine"):
        pass
    assert screen.getvalue().startswith("[1/1] start the engine: ")


def test_a_failed_step_is_said_to_have_failed(steps: Steps, screen: io.StringIO) -> None:
    """A step that raises shows as failed, and what it raised goes on."""
    with pytest.raises(ValueError, match="reason"), steps.step("compile"):
        raise ValueError("reason")
    assert re.fullmatch(r"\[1/1\] compile: failed after \d+ s\n", screen.getvalue())


def test_long_steps_show_that_they_live(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal a line comes now and then while a step runs."""
    shown = threading.Event()

    class Screen(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("[1/1] compile: 0 s so far"):
                shown.set()
            return len(text)

    monkeypatch.setattr("images.progress.HEARTBEAT_S", 0.01)
    monkeypatch.setattr(steps, "console", Console(file=Screen(), width=400))
    with steps.step("compile"):
        assert shown.wait(30)


def test_output_goes_to_the_log_only(steps: Steps, screen: io.StringIO, tmp_path: Path) -> None:
    """A command that succeeds is in the log with both its outputs, run where and as it was told."""
    (tmp_path / "work").mkdir()
    steps.run(["sh", "-c", "pwd; echo $NAME >&2"], cwd=tmp_path / "work", env={"NAME": "from the environment"})
    assert screen.getvalue() == ""
    text = steps.log.read_text()
    assert text.startswith("$ sh -c pwd")
    assert f"{tmp_path}/work\nfrom the environment\n" in text


def test_a_failing_command_shows_its_end(steps: Steps, screen: io.StringIO) -> None:
    """The error has the exit code, the last line and the log's path; the screen has the end and not the beginning."""
    steps.run(["sh", "-c", "echo of another command"])
    with pytest.raises(ImageError) as raised:
        steps.run(["sh", "-c", "for i in $(seq 100); do echo line $i; done; echo 'no [space] left' >&2; echo; exit 7"])
    message = str(raised.value)
    assert message.startswith("`sh -c ")
    assert "exit code 7 (no [space] left)" in message
    assert message.endswith(str(steps.log))
    shown = screen.getvalue().splitlines()
    assert len(shown) == TAIL_LINES
    assert shown[-2:] == ["no [space] left", ""]
    assert "line 10" not in shown
    assert "another" not in screen.getvalue()
    assert "line 1\n" in steps.log.read_text()


def test_a_silent_failure_says_so(steps: Steps) -> None:
    """A command that says nothing does not break the sentence, and shows nothing of the command before it."""
    steps.run(["echo", "fine"])
    with pytest.raises(ImageError, match=r"exit code 3 \(no output\)"):
        steps.run(["sh", "-c", "exit 3"])


def test_a_missing_tool_is_one_sentence(steps: Steps) -> None:
    """What to install is named."""
    with pytest.raises(ImageError, match=r"^no-such-tool is not on this machine's PATH; install it"):
        steps.run(["no-such-tool", "--version"])


def test_a_command_that_never_ends_is_ended(steps: Steps) -> None:
    """The time allowed is in the sentence, and so is the log."""
    with pytest.raises(ImageError, match=r"did not end within 0 s; see .*log$"):
        steps.run([sys.executable, "-c", "import signal; signal.pause()"], timeout_s=0.1)


def test_what_is_said_is_logged(steps: Steps, screen: io.StringIO) -> None:
    """A plain line is shown as it is, brackets and all."""
    steps.say("pulled x [y]")
    assert screen.getvalue() == "pulled x [y]\n"
    assert steps.log.read_text() == "pulled x [y]\n"
