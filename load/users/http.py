"""Reads over HTTP: one GET per slot, no retry, no redirect followed, no proxy.

Only an application's answer with the expected status is ``ok``. A refused or reset connection, and any other answer,
is a definite ``fail``; a request whose time ran out is ``info``. The result is {status, pod}: ``pod`` is who
answered by the answer's header X-Served-By, and is not there where an answer has none.
"""

from __future__ import annotations

import gevent
import requests

from chaos.history import Json
from load.recorder import Outcome
from load.users.paced import PacedUser

_SERVED_BY = "X-Served-By"
_NAME_CHARS = 253
"""The longest name that a pod can have (a DNS subdomain, RFC 1123)."""


class WorkloadUser(PacedUser):
    """Asks the workload's path once per slot, by default over a new connection each time."""

    abstract = True
    _kept: requests.Session | None = None

    def describe(self, slot: int) -> tuple[str, Json]:  # noqa: ARG002 - every slot asks the same
        """``GET`` and the path; a read sends no value."""
        return f"GET {self.workload.path}", None

    def carry_out(self, slot: int, value: Json) -> Outcome:  # noqa: ARG002 - every slot asks the same
        """One GET. The time limit is on the whole of it: requests' own is per read, and a trickle would outlast it."""
        try:
            return self._judge(self.ask("GET", self.workload.path))
        except (gevent.Timeout, requests.Timeout):
            return Outcome("info", None, f"no answer within {self.workload.timeout_s:g} s")
        except requests.RequestException as error:
            return Outcome("fail", None, root(error))

    def ask(self, method: str, path: str, body: bytes | None = None) -> requests.Response:
        """One request within the workload's timeout; raises gevent.Timeout or RequestException without an answer."""
        timeout_s = self.workload.timeout_s
        session = self._session()
        url = f"{self.host}{path}"
        try:
            with gevent.Timeout(timeout_s):
                return session.request(method, url, data=body, allow_redirects=False, timeout=timeout_s + 1)
        except (gevent.Timeout, requests.RequestException):
            self._kept = None
            session.close()
            raise
        finally:
            if not self.workload.keep_alive:
                session.close()

    def _judge(self, answer: requests.Response) -> Outcome:
        value: dict[str, Json] = {"status": answer.status_code}
        if _SERVED_BY in answer.headers:
            value["pod"] = answer.headers[_SERVED_BY][:_NAME_CHARS]
        expected = self.workload.expect_status
        if answer.status_code == expected:
            return Outcome("ok", value)
        return Outcome("fail", value, f"answered {answer.status_code}, expected {expected}")

    def _session(self) -> requests.Session:
        if self._kept is not None:
            return self._kept
        session = requests.Session()
        session.trust_env = False
        if self.workload.keep_alive:
            self._kept = session
        return session


def root(error: BaseException) -> str:
    """The innermost cause: requests wraps what the socket said three layers deep."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"
