"""Versioned keys over HTTP, which the checker ``consistency`` judges: a PUT keeps a version, a GET asks for it.

Each user writes a key of its own, the next version each time, and nobody else writes it. In between it reads its own
key and its neighbour's. ``write`` has the value {key, version}, ``read`` {key} and the result {key, version}, None
where the key was not there.
"""

from __future__ import annotations

import gevent
import requests
from urllib3.exceptions import NewConnectionError

from chaos.history import Json
from load.recorder import Outcome
from load.users import http

_KEPT = (200, 201, 204)
_ABSENT = 404
_REFUSED = range(400, 500)


class WorkloadUser(http.WorkloadUser):
    """Writes its own key every other time and reads its own, then its neighbour's."""

    abstract = True
    _version = 0

    def describe(self, slot: int) -> tuple[str, Json]:
        """``write`` and the key's next version, or ``read`` and a key."""
        users = self.workload.users
        number, turn = slot % users, slot // users
        if turn % 2 == 0:
            self._version += 1
            return "write", {"key": f"key-{number}", "version": self._version}
        return "read", {"key": f"key-{number if turn % 4 == 1 else (number + 1) % users}"}

    def carry_out(self, slot: int, value: Json) -> Outcome:  # noqa: ARG002 - the value says it all
        """One PUT or GET, sent once."""
        path = f"{self.workload.path}{value['key']}"
        writes = "version" in value
        try:
            if writes:
                return _kept(value, self.ask("PUT", path, b"%d" % value["version"]))
            return _found(value, self.ask("GET", path))
        except gevent.Timeout:
            return Outcome("info", None, f"no answer within {self.workload.timeout_s:g} s")
        except requests.RequestException as error:
            return Outcome("info" if writes and _sent(error) else "fail", None, http.root(error))


def _kept(value: Json, answer: requests.Response) -> Outcome:
    """A refusal says that nothing was written; a server's own error says nothing."""
    if answer.status_code in _KEPT:
        return Outcome("ok", value)
    refused = answer.status_code in _REFUSED
    return Outcome("fail" if refused else "info", None, f"answered {answer.status_code}")


def _found(value: Json, answer: requests.Response) -> Outcome:
    if answer.status_code == _ABSENT:
        return Outcome("ok", {"key": value["key"], "version": None})
    if answer.status_code == requests.codes.ok and answer.content.isdigit():
        return Outcome("ok", {"key": value["key"], "version": int(answer.content)})
    return Outcome("fail", None, _no_version(answer))


def _no_version(answer: requests.Response) -> str:
    """Nothing of the answer itself: part of it could be half a secret, which nobody would know for one."""
    if answer.status_code != requests.codes.ok:
        return f"answered {answer.status_code}"
    return f"answered {answer.status_code} with {len(answer.content)} bytes that are no version"


def _sent(error: BaseException | None) -> bool:
    """False only where no connection was made: then nothing can have been written."""
    while error is not None:
        if isinstance(error, NewConnectionError):
            return False
        if isinstance(error, requests.RequestException) and error.args and hasattr(error.args[0], "reason"):
            error = error.args[0].reason
        else:
            error = error.__cause__ or error.__context__
    return True
