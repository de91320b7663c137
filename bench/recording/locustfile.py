"""Users that ask as fast as they are answered, with the recorder or without it: what bench/recording.py starts."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

from locust.exception import StopUser  # noqa: TID251 - this file is Locust's own

from load.driver import SEGMENT_VARIABLE, WORKLOAD_VARIABLE
from load.profiles import Workload
from load.recorder import LoadRecorder, Outcome
from load.users import http


class Unrecorded(LoadRecorder):
    """Knows when the load ends and writes nothing down."""

    def invoke(self, op: int, process: str, f: str, value: object, intended_ns: int) -> None:
        """Write nothing."""

    def complete(self, op: int, outcome: Outcome) -> None:
        """Write nothing."""


_recorder = (LoadRecorder if os.environ["KINDSTORM_BENCH_RECORDS"] == "yes" else Unrecorded)(
    Path(os.environ[SEGMENT_VARIABLE])
)
_recorder.attach()
_slots = itertools.count()


class FastUser(http.WorkloadUser):
    """Never waits."""

    abstract = False
    workload = Workload.from_json(os.environ[WORKLOAD_VARIABLE])
    recorder = _recorder

    def wait_time(self) -> float:
        """Nothing between two requests."""
        return 0.0

    def operate(self) -> None:
        """One request, recorded as every load's are."""
        if self.recorder.ending:
            raise StopUser
        self.send(next(_slots), time.monotonic_ns())


FastUser.tasks = [FastUser.operate]  # Locust would add it to the inherited one
