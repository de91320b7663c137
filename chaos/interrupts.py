"""Ctrl-C and SIGTERM: the first stops what runs and then lets the clean-up be; a second one breaks into that too.

Both are a KeyboardInterrupt in the main thread. What a second one keeps from being undone stands in the journal.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class _State:
    """What has been asked of this process; only its main thread changes it."""

    before: dict[signal.Signals, Any] = field(default_factory=dict)
    asked: int = 0
    holds: int = 0
    waiting: bool = False


_state = _State()


def answer() -> None:
    """Answer both signals from now on; a second call does nothing. In any other thread than the main one neither."""
    if _state.before or threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        _state.before[number] = signal.signal(number, _on_signal)


def rest() -> None:
    """Give both signals back to who had them before."""
    for number, handler in _state.before.items():
        signal.signal(number, handler)
    _state.before.clear()
    _state.asked, _state.waiting = 0, False


def waiting() -> bool:
    """Whether one came and is held back until the clean-up is done."""
    return _state.waiting


@contextmanager
def held() -> Iterator[None]:
    """For a clean-up: a first interrupt that comes within waits for its end and is raised there. Main thread only."""
    _state.holds += 1
    try:
        yield
    finally:
        _state.holds -= 1
        if _state.waiting and not _state.holds:
            _state.waiting = False
            raise KeyboardInterrupt


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    _state.asked += 1
    if _state.holds and _state.asked == 1:
        _state.waiting = True
        return
    raise KeyboardInterrupt
