"""Workloads are always bounded, and mean the same in every process."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.profiles import DOCUMENT_WRITES, HTTP_READS, Workload

rates = st.tuples(st.floats(0.01, 1000), st.floats(0.01, 60)).filter(lambda pair: pair[0] * pair[1] <= 200)


def with_enough_users(rate_and_timeout: tuple[float, float]) -> st.SearchStrategy[Workload]:
    """Workloads of one rate and timeout, with as many users as they need or more."""
    rate_per_s, timeout_s = rate_and_timeout
    return st.builds(
        Workload,
        users=st.integers(max(1, math.ceil(rate_per_s * timeout_s)), 200),
        rate_per_s=st.just(rate_per_s),
        timeout_s=st.just(timeout_s),
        **OTHER_FIELDS,
    )


OTHER_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
    "user": st.just("http"),
    "max_requests": st.integers(1, 1_000_000),
    "max_s": st.floats(0.01, 7200),
    "path": st.from_regex(r"/[!-~]{0,20}", fullmatch=True),
    "port": st.none() | st.integers(1, 65535),
    "expect_status": st.integers(100, 599),
    "keep_alive": st.booleans(),
    "verify": st.booleans(),
    "username": st.none() | st.text(min_size=1),
    "password": st.none() | st.text(min_size=1),
}

workloads = rates.flatmap(with_enough_users)


@given(workloads)
def test_json_keeps_every_field(workload: Workload) -> None:
    """What crosses to the Locust process is what was asked for."""
    assert Workload.from_json(workload.to_json()) == workload


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_requests", 0),
        ("max_requests", -1),
        ("max_requests", 1_000_001),
        ("max_requests", 2.5),
        ("max_requests", None),
        ("max_requests", True),
        ("max_s", 0),
        ("max_s", float("inf")),
        ("max_s", float("nan")),
        ("max_s", 7201),
        ("users", 0),
        ("users", 201),
        ("rate_per_s", 0.0),
        ("rate_per_s", 1001.0),
        ("timeout_s", 0),
        ("timeout_s", 61),
        ("timeout_s", "1"),
        ("max_behind_s", 0),
        ("name", ""),
        ("name", "Two words"),
        ("user", "../http"),
        ("user", "http.client"),
        ("path", "@example.org/"),
        ("path", "/a b"),
        ("port", 0),
        ("port", 65536),
        ("expect_status", 99),
        ("expect_status", 600),
        ("keep_alive", 1),
        ("verify", 1),
        ("username", ""),
        ("username", 7),
        ("password", ""),
        ("password", b"x"),
    ],
)
def test_an_unbounded_or_senseless_workload_is_refused(field: str, value: Any) -> None:
    """One sentence names the field that is wrong."""
    with pytest.raises(ValueError, match=f"a workload's {field} "):
        HTTP_READS.with_(**{field: value})


@pytest.mark.parametrize(
    ("changes", "needed"),
    [({"users": 19}, 20), ({"rate_per_s": 50.0}, 50), ({"timeout_s": 2.0}, 40), ({"rate_per_s": 24.01}, 25)],
)
def test_too_few_users_for_an_open_loop_are_refused(changes: dict[str, Any], needed: int) -> None:
    """The sentence names the number that is needed, and that number is enough."""
    with pytest.raises(ValueError, match=rf"users is at least rate_per_s \* timeout_s, here {needed}, .* not "):
        HTTP_READS.with_(**changes)
    assert HTTP_READS.with_(**{**changes, "users": needed}).users == needed


def test_with_changes_only_what_it_names() -> None:
    """A changed workload is a new one; the ready profile stays as it is."""
    changed = HTTP_READS.with_(path="/healthz")
    assert changed.path == "/healthz"
    assert changed.with_(path=HTTP_READS.path) == HTTP_READS
    assert HTTP_READS.path == "/"


def test_an_unknown_field_is_refused() -> None:
    """A misspelt field must not be silently without effect."""
    with pytest.raises(ValueError, match="a workload has no max_seconds; it has name, user, users, rate_per_s, "):
        HTTP_READS.with_(max_seconds=3)
    with pytest.raises(ValueError, match="not a workload"):
        Workload.from_json('{"name": "x"}')


def test_the_ready_profile_says_its_rate() -> None:
    """HTTP_READS is documented as twenty requests a second for at most half an hour."""
    assert (HTTP_READS.rate_per_s, HTTP_READS.max_requests, HTTP_READS.max_s) == (20.0, 36_000, 1800.0)


def test_a_password_is_only_where_it_is_needed() -> None:
    """The load's own processes get it; the history's fact, the repr and the errors do not."""
    workload = DOCUMENT_WRITES.with_(username="root", password="s3cret-pass")  # noqa: S106 - planted
    assert Workload.from_json(workload.to_json()).password == "s3cret-pass"  # noqa: S105 - planted
    assert (workload.as_fact()["username"], workload.as_fact()["password"]) == ("root", "redacted")
    assert DOCUMENT_WRITES.as_fact()["password"] is None
    assert "s3cret-pass" not in f"{workload!r} {workload} {workload.as_fact()}"
    with pytest.raises(ValueError, match="not a workload") as caught:
        Workload.from_json('{"password": "s3cret-pass", "colour": 1}')
    assert "s3cret-pass" not in str(caught.value)
    with pytest.raises(ValueError, match="a workload's password") as caught:
        workload.with_(password=["s3cret-pass"])
    assert "s3cret-pass" not in str(caught.value)


def test_the_scheme_is_that_of_the_user() -> None:
    """Documents go over the store's own protocol, all else over HTTP."""
    assert (HTTP_READS.scheme, DOCUMENT_WRITES.scheme) == ("http", "mongodb")


def test_only_what_writes_is_verified() -> None:
    """DOCUMENT_WRITES is documented as twenty inserts a second that are read back."""
    assert (DOCUMENT_WRITES.rate_per_s, DOCUMENT_WRITES.verify, HTTP_READS.verify) == (20.0, True, False)
