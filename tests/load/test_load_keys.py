"""Versioned keys: what is written and read, and what an error leaves certain of a write."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from local_service import Service, ops, run

from load.driver import LocustLoad
from load.profiles import HTTP_KEYS

BRIEF = HTTP_KEYS.with_(users=20, rate_per_s=20.0, max_requests=120)


def test_each_user_writes_its_own_key_and_reads_its_neighbours_too(
    service: Service, load: LocustLoad, tmp_path: Path
) -> None:
    """Six turns of twenty users: three versions of each key, and every read says what was there."""
    history = run(load, BRIEF, service.target, tmp_path)
    asked = {record["op"]: record for record in ops(history, "invoke")}
    told = {record["op"]: record for record in ops(history, "ok")}
    assert asked.keys() == told.keys() == set(range(120))
    assert Counter(record["f"] for record in asked.values()) == {"write": 60, "read": 60}
    for slot, record in asked.items():
        user, turn = slot % 20, slot // 20
        if turn % 2 == 0:
            assert record["value"] == told[slot]["value"] == {"key": f"key-{user}", "version": turn // 2 + 1}
            continue
        key = f"key-{user if turn != 3 else (user + 1) % 20}"
        assert record["value"] == {"key": key}
        assert told[slot]["value"] == {"key": key, "version": turn // 2 + 1}
    assert service.kept == {f"/keys/key-{user}": b"3" for user in range(20)}


def test_a_key_that_is_not_there_is_an_answer(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """A service that forgets what it acknowledged is told word for word."""
    service.kept = Forgetful()
    history = run(load, BRIEF.with_(max_requests=40), service.target, tmp_path)
    found = [record["value"] for record in ops(history, "ok") if record["f"] == "read"]
    assert found == [{"key": f"key-{user}", "version": None} for user in range(20)]


class Forgetful(dict[str, bytes]):
    """Keeps nothing."""

    def __setitem__(self, name: str, body: bytes) -> None:
        """Let it go."""


def test_an_answer_that_is_no_version_is_not_quoted(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """Part of it could be half a secret, which nobody would know for one."""
    service.kept = Garbling()
    history = run(load, BRIEF.with_(max_requests=40), service.target, tmp_path)
    errors = {record["error"] for record in ops(history, "fail") if record["f"] == "read"}
    assert errors == {"answered 200 with 52 bytes that are no version"}


class Garbling(dict[str, bytes]):
    """Keeps something else."""

    def __setitem__(self, name: str, body: bytes) -> None:
        """Of 52 bytes."""
        super().__setitem__(name, b"token=" + b"0123456789abcdefghijklm" * 2)


@pytest.mark.parametrize(
    ("status", "write", "error"), [(403, "fail", "answered 403"), (500, "info", "answered 500"), (302, "info", "")]
)
def test_a_refusal_is_definite_and_a_servers_error_is_not(
    service: Service, load: LocustLoad, tmp_path: Path, status: int, write: str, error: str
) -> None:
    """Of a write that was refused it is known that it did not happen; of any other answer it is not."""
    service.status = status
    history = run(load, BRIEF.with_(max_requests=40), service.target, tmp_path)
    assert Counter((r["f"], r["type"]) for r in history.of("op") if r["type"] != "invoke") == {
        ("write", write): 20,
        ("read", "fail"): 20,
    }
    assert all(record["error"].startswith(error) for record in ops(history, write) if record["f"] == "write")


def test_a_write_that_was_never_sent_failed(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """Nobody listens: nothing was written, nothing read."""
    service.stop()
    history = run(load, BRIEF.with_(max_requests=40), service.target, tmp_path)
    assert Counter(r["type"] for r in history.of("op")) == {"invoke": 40, "fail": 40}


@pytest.mark.parametrize("how", ["mute", "hanging"])
def test_a_write_without_an_answer_is_unknown(service: Service, load: LocustLoad, tmp_path: Path, how: str) -> None:
    """It was sent, and it happened: only nobody was told."""
    setattr(service, how, True)
    history = run(load, BRIEF.with_(max_requests=20, timeout_s=0.5), service.target, tmp_path)
    assert Counter(r["type"] for r in history.of("op")) == {"invoke": 20, "info": 20}
    assert len(service.kept) == 20
