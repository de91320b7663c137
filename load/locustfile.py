"""What Locust is started with: binds the user module that the workload names to its recorder.

Locust puts this file's directory in front of the import path while it loads it. That is why the file is not among
the user modules: ``users/http.py`` would stand in for the standard library's ``http``.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from pathlib import Path

from load.driver import PARENT_VARIABLE, SEGMENT_VARIABLE, WORKLOAD_VARIABLE
from load.profiles import Workload
from load.recorder import LoadRecorder

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Have the kernel kill this process when the one that started it dies, however it dies (prctl(2)).

    Asked for here and not between fork and exec, where code in a process with threads may deadlock. A parent that
    died before this was asked for is noticed by the changed parent id.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:
        sys.exit("the process that started this load is gone")


end_with(int(os.environ[PARENT_VARIABLE]))
_workload = Workload.from_json(os.environ[WORKLOAD_VARIABLE])
_recorder = LoadRecorder(Path(os.environ[SEGMENT_VARIABLE]))
_recorder.attach()


class RecordedUser(importlib.import_module(f"load.users.{_workload.user}").WorkloadUser):  # type: ignore[misc]
    """The user that Locust spawns."""

    abstract = False
    workload = _workload
    recorder = _recorder
