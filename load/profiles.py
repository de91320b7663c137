"""What a workload is: who asks for what, how often, and when it ends. Every workload is bounded.

This module is imported by pytest and by the Locust process alike, so it must not import Locust.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Self

from chaos.errors import ScenarioError
from chaos.history import Json

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_MODULE = re.compile(r"[a-z][a-z0-9_]*")
_PATH = re.compile(r"/[!-~]*")

_CAPS: dict[str, float] = {
    "users": 200,
    "rate_per_s": 1000,
    "timeout_s": 60,
    "max_requests": 1_000_000,
    "max_s": 7200,
    "max_behind_s": 60,
}
_COUNTS = ("users", "max_requests")
_SCHEMES = {"documents": "mongodb"}


@dataclass(frozen=True, slots=True)
class Workload:
    """One bounded workload; raises ScenarioError on creation where a field is out of its range.

    ``user`` names the module under load/users that sends the requests; ``scheme`` follows from it. ``rate_per_s`` is
    the total of all users, who share it evenly. ``timeout_s`` bounds one request as a whole. The run ends at
    ``max_requests`` or after ``max_s``, whichever is first. ``port`` is the published port to ask, None for the
    stack's own. ``keep_alive`` False opens a connection for each request: a kept one stays with one pod and hides what
    happens to the others; users whose driver has a pool of its own keep theirs. A user that is more than
    ``max_behind_s`` late leaves its backlog out, and says so in a note: a longer one would say more about itself than
    about the service. With ``verify`` everything written is read back after the load.
    ``username`` and ``password`` are the service's; the password is in no history and no repr.
    There are at least ``rate_per_s * timeout_s`` users. Then each is done with one request before its next is due, even
    where every request runs into its timeout, and a service that hangs cannot thin out the load (an open loop).
    """

    name: str
    user: str
    users: int
    rate_per_s: float
    timeout_s: float
    max_requests: int
    max_s: float
    path: str = "/"
    port: int | None = None
    expect_status: int = 200
    keep_alive: bool = False
    max_behind_s: float = 10.0
    verify: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check(_matches(_NAME, self.name), "name is lower-case letters, digits and dashes", self.name)
        _check(_matches(_MODULE, self.user), "user names a module under load/users, such as 'http'", self.user)
        _check(_matches(_PATH, self.path), "path begins with / and holds no blanks", self.path)
        _check(type(self.keep_alive) is bool, "keep_alive is True or False", self.keep_alive)
        _check(type(self.verify) is bool, "verify is True or False", self.verify)
        _check(self.username is None or _is_text(self.username), "username is None or text", self.username)
        _check(self.password is None or _is_text(self.password), "password is None or text", "this one")
        _check(self.port is None or _whole(self.port, 1, 65535), "port is None or from 1 to 65535", self.port)
        _check(_whole(self.expect_status, 100, 599), "expect_status is from 100 to 599", self.expect_status)
        for name, cap in _CAPS.items():
            value = getattr(self, name)
            if name in _COUNTS:
                _check(_whole(value, 1, int(cap)), f"{name} is a whole number from 1 to {cap:g}", value)
            else:
                number = isinstance(value, int | float) and not isinstance(value, bool)
                _check(number and 0 < value <= cap, f"{name} is above 0 and at most {cap:g}", value)
        needed = math.ceil(round(self.rate_per_s * self.timeout_s, 6))
        rule = f"users is at least rate_per_s * timeout_s, here {needed}, or requests that time out delay the others"
        _check(self.users >= needed, rule, self.users)

    @property
    def scheme(self) -> str:
        """The scheme of the target, ``http`` or another that the user's driver speaks."""
        return _SCHEMES.get(self.user, "http")

    def with_(self, **changes: Any) -> Self:
        """The same workload with some fields changed; raises ScenarioError as on creation."""
        try:
            return dataclasses.replace(self, **changes)
        except TypeError as error:
            known = [each.name for each in dataclasses.fields(self)]
            unknown = [name for name in changes if name not in known]
            raise ScenarioError(f"a workload has no {', '.join(unknown)}; it has {', '.join(known)}") from error

    def as_fact(self) -> dict[str, Json]:
        """All fields by name: the value of the history's ``workload`` fact, where a password is only ``redacted``."""
        return dataclasses.asdict(self) | {"password": None if self.password is None else "redacted"}

    def to_json(self) -> str:
        """All fields as one line of JSON, the password with them: for the load's own processes only."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Workload:
        """The workload of :meth:`to_json`; raises ScenarioError where it is not one."""
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ScenarioError(f"this is not a workload: {error}") from error


def _check(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ScenarioError(f"a workload's {rule}, not {value!r}")


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _matches(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


HTTP_READS = Workload(
    name="http-reads",
    user="http",
    users=24,
    rate_per_s=20.0,
    timeout_s=1.0,
    max_requests=36_000,
    max_s=1800.0,
)
"""Twenty GET requests a second over 24 users, for at most half an hour."""

HTTP_KEYS = Workload(
    name="http-keys",
    user="keys",
    users=24,
    rate_per_s=20.0,
    timeout_s=1.0,
    max_requests=36_000,
    max_s=1800.0,
    path="/keys/",
)
"""Twenty PUT and GET requests a second of a key for each of 24 users, for at most half an hour."""

DOCUMENT_WRITES = Workload(
    name="document-writes",
    user="documents",
    users=24,
    rate_per_s=20.0,
    timeout_s=1.0,
    max_requests=36_000,
    max_s=1800.0,
    keep_alive=True,
    verify=True,
)
"""Twenty inserts a second over 24 users, for at most half an hour, and a verifying read of all of them."""
