"""The user all workloads build on: keeps the schedule, records every operation, ends at the cap."""

from __future__ import annotations

import itertools
import time

import gevent
from locust import User, task  # noqa: TID251 - this module runs in the Locust process only
from locust.env import Environment  # noqa: TID251
from locust.exception import StopUser  # noqa: TID251

from chaos.history import Json
from load.profiles import Workload
from load.recorder import LoadRecorder, Outcome, fatal
from load.schedule import UserSchedule


class PacedUser(User):
    """Sends one operation per slot of its schedule and waits in between. The locustfile sets the class's two fields.

    A kind of client overrides :meth:`describe` and :meth:`carry_out` and records nothing itself.
    """

    abstract = True
    workload: Workload
    recorder: LoadRecorder

    _numbers = itertools.count()
    _finished = 0

    @fatal
    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        number = next(PacedUser._numbers)
        self.process = f"user-{number}"
        work = self.workload
        self._schedule = UserSchedule(
            number, work.users, work.rate_per_s, work.max_requests, start_ns=self.recorder.start_ns
        )

    def describe(self, slot: int) -> tuple[str, Json]:
        """What is asked in this slot: the operation's ``f`` and the value sent."""
        raise NotImplementedError

    def carry_out(self, slot: int, value: Json) -> Outcome:
        """Do it once, within the workload's timeout. An error raised here is a defect and ends the process."""
        raise NotImplementedError

    @fatal
    def wait_time(self) -> float:
        """Seconds until the next slot is due; ends this user when none is left."""
        skipped = self._schedule.skip_backlog(time.monotonic_ns(), self.workload.max_behind_s)
        if skipped:
            self._note_skipped(skipped)
        if self._schedule.exhausted:
            self._finish()
        return max(0.0, (self._schedule.due_ns - time.monotonic_ns()) / 1e9)

    @task
    @fatal
    def operate(self) -> None:
        """Carry out the slot that is due. Nothing happens before its time: Locust calls once without waiting."""
        due_ns = self._schedule.due_ns
        if self.recorder.ending or self._schedule.exhausted or time.monotonic_ns() < due_ns:
            return
        slot = self._schedule.slot
        self._schedule.advance()
        self.send(slot, due_ns)

    def send(self, slot: int, due_ns: int) -> None:
        """Carry out one slot and record it, before it is sent and after it has ended."""
        f, value = self.describe(slot)
        self.recorder.invoke(slot, self.process, f, value, intended_ns=due_ns)
        outcome = self.carry_out(slot, value)
        self.recorder.complete(slot, outcome)
        self.environment.events.request.fire(
            request_type=self.workload.user,
            name=f,
            response_time=(time.monotonic_ns() - due_ns) / 1e6,
            response_length=0,
            exception=outcome.error,
            context={},
        )

    def _note_skipped(self, slots: range) -> None:
        self.recorder.note(
            f"{self.process} fell too far behind: {len(slots)} requests, slots {slots[0]} to {slots[-1]} in steps of"
            f" {slots.step}, were never sent",
            process=self.process,
            skipped=len(slots),
        )

    def _finish(self) -> None:
        PacedUser._finished += 1
        if PacedUser._finished == self.workload.users:
            self.recorder.note(f"every slot up to the cap of {self.workload.max_requests} requests has been used")
            gevent.spawn(self.environment.runner.quit)
        raise StopUser
