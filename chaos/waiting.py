"""Every wait of the harness goes through here: bounded, and it says the last value it saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

from chaos.errors import HarnessError, WaitTimeout

Value = TypeVar("Value")

INTERVAL_S = 0.2


def poll(
    read: Callable[[], Value],
    good: Callable[[Value], bool],
    *,
    timeout_s: float,
    what: str,
    interval_s: float = INTERVAL_S,
    passing: tuple[type[Exception], ...] = (HarnessError,),
    check: Callable[[], None] = lambda: None,
) -> Value:
    """Read until the value is good and return it.

    Only for what cannot be watched. Errors of the ``passing`` classes count as readings that are not good.
    Raises WaitTimeout, with ``what`` and the last value or error, after ``timeout_s`` seconds; ``check`` is called
    before each reading, and what it raises ends the wait at once.
    """
    last: object = "nothing was read"

    def attempt() -> Value:
        nonlocal last
        try:
            check()
        except Exception as error:
            raise _Hopeless from error
        value = read()
        last = value
        if not good(value):
            raise _NotYet
        return value

    def remember(state: tenacity.RetryCallState) -> None:
        nonlocal last
        error = state.outcome.exception() if state.outcome else None
        if error is not None and not isinstance(error, _NotYet):
            last = error

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(timeout_s),
        wait=tenacity.wait_fixed(interval_s),
        retry=tenacity.retry_if_exception_type((_NotYet, *passing)),
        after=remember,
    )
    try:
        return retrying(attempt)
    except tenacity.RetryError:
        raise WaitTimeout(f"{what}: not within {timeout_s:g} s; last seen: {last}") from None
    except _Hopeless as hopeless:
        raise (hopeless.__cause__ or hopeless) from None


class _NotYet(Exception):
    """A reading that is not good."""


class _Hopeless(BaseException):
    """The check failed: there is no use in waiting on."""
