"""What Locust is started with: binds the user module that the workload names to its recorder.

Locust puts this file's directory in front of the import path while it loads it. That is why the file is not among
the user modules: ``users/http.py`` would stand in for the standard library's ``http``.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from load.driver import PARENT_VARIABLE, SEGMENT_VARIABLE, WORKLOAD_VARIABLE
from load.profiles import Workload
from load.recorder import LoadRecorder
from load.tether import end_with

end_with(int(os.environ[PARENT_VARIABLE]))
_workload = Workload.from_json(os.environ[WORKLOAD_VARIABLE])
_recorder = LoadRecorder(Path(os.environ[SEGMENT_VARIABLE]))
_recorder.attach()
if (
    not sys.stdin.buffer.readline()
):  # everything is imported; whoever started this says when it is to begin, or has died
    sys.exit("nobody is left to begin")


class RecordedUser(importlib.import_module(f"load.users.{_workload.user}").WorkloadUser):  # type: ignore[misc]
    """The user that Locust spawns."""

    abstract = False
    workload = _workload
    recorder = _recorder
