"""Inserts into a document store: one document per slot under an id that no other run has, each sent once.

``ok`` is the server's acknowledgement. ``fail`` is an insert that certainly did not happen, ``info`` everything else.
Every fourth time a user instead looks up the document that it had acknowledged last.
"""

from __future__ import annotations

import secrets

import gevent
from locust.env import Environment  # noqa: TID251 - this module runs in the Locust process only
from pymongo.errors import PyMongoError

from chaos.history import Json
from load.documents import Sending, connect, fate, told
from load.recorder import Outcome, fatal
from load.users.paced import PacedUser

_LOOKUP_EVERY = 4
_RUN = secrets.token_hex(6)


class WorkloadUser(PacedUser):
    """Inserts one document per slot over a connection that it keeps."""

    abstract = True

    @fatal
    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._sending = Sending()
        self._acknowledged: list[str] = []
        self._documents = connect(str(self.host), self.workload, self.workload.timeout_s, self._sending)

    def describe(self, slot: int) -> tuple[str, Json]:
        """``insert`` and the id: this process's own part, and the slot, which only one user has. Or ``lookup``."""
        if self._acknowledged and slot // self.workload.users % _LOOKUP_EVERY == _LOOKUP_EVERY - 1:
            return "lookup", self._acknowledged.pop()
        return "insert", f"{_RUN}-{slot}"

    def carry_out(self, slot: int, value: Json) -> Outcome:
        """One insert or lookup. The time limit is on the whole of it; the driver's own are on each step."""
        if value != f"{_RUN}-{slot}":
            return self._look_up(value)
        outcome = self._insert(slot, value)
        if outcome.type == "ok":
            self._acknowledged.append(value)
        return outcome

    def _look_up(self, value: Json) -> Outcome:
        try:
            with gevent.Timeout(self.workload.timeout_s):
                found = self._documents.find_one({"_id": value}, {"_id": True})
            return Outcome("ok", {"found": found is not None})
        except gevent.Timeout:
            return Outcome("info", None, f"no answer within {self.workload.timeout_s:g} s")
        except (PyMongoError, OSError) as error:
            return Outcome("fail", None, told(error, self.workload))

    def _insert(self, slot: int, value: Json) -> Outcome:
        timeout_s = self.workload.timeout_s
        self._sending.begun = False
        try:
            with gevent.Timeout(timeout_s):
                self._documents.insert_one({"_id": value, "process": self.process, "slot": slot})
            return Outcome("ok", value)
        except gevent.Timeout as error:
            begun = self._sending.begun
            text = f"no answer within {timeout_s:g} s" if begun else f"no connection within {timeout_s:g} s"
            return Outcome(fate(error, begun), value, text)
        except (PyMongoError, OSError) as error:
            return Outcome(fate(error, self._sending.begun), value, told(error, self.workload))

    @fatal
    def on_stop(self) -> None:
        """Let go of the connection."""
        self._documents.database.client.close()
