"""The verifying read records what is there, or that nobody knows; it never hangs and never outlives its harness."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from document_server import DocumentServer
from local_service import await_end

from chaos.errors import LoadError
from chaos.history import History, HistoryWriter, Record, seal
from load import reader
from load.documents import read_ids
from load.profiles import DOCUMENT_WRITES
from load.verifier import DocumentVerifier

ROOT = Path(__file__).resolve().parents[2]
WORKLOAD = DOCUMENT_WRITES.with_(password="s3cret-pass")  # noqa: S106 - planted
REFUSED = {"ok": 0.0, "code": 13, "errmsg": "not for s3cret-pass", "codeName": "Unauthorized"}


@pytest.fixture
def store() -> Iterator[DocumentServer]:
    """A fresh store."""
    server = DocumentServer()
    yield server
    server.stop()


def verify(target: str, directory: Path, timeout_s: float = 20) -> History:
    """One verifying read, sealed."""
    segment = directory / "verify.jsonl"
    DocumentVerifier().verify(WORKLOAD, target, segment, directory / "verify.log", timeout_s)
    return seal([segment], directory / "history.jsonl")


def steps(history: History) -> list[tuple[str, int]]:
    """Type and page of each operation's record."""
    assert {(r.source, r["f"], r["process"]) for r in history.of("op")} == {("verify", "read_all", "verifier")}
    return [(r["type"], r["value"]["page"]) for r in history.of("op")]


def test_everything_that_is_there_is_recorded(store: DocumentServer, tmp_path: Path) -> None:
    """One invocation, one answer with every id as it is, and a closed segment."""
    store.documents = {name: {} for name in ("a-1", "a-2", 7)}
    history = verify(store.target, tmp_path)
    assert history.cut_off() == []
    assert steps(history) == [("invoke", 0), ("ok", 0)]
    assert history.of("op")[1]["value"] == {"page": 0, "ids": ["a-1", "a-2", 7], "last": True}
    assert len(history.clock_pairs("verify")) == 2


def test_an_empty_store_was_read_too(store: DocumentServer, tmp_path: Path) -> None:
    """Nothing there is an answer, not a failure."""
    history = verify(store.target, tmp_path)
    assert history.of("op")[1]["value"] == {"page": 0, "ids": [], "last": True}


@pytest.mark.parametrize(
    ("on", "error"),
    [
        ({"find": "close"}, "AutoReconnect"),
        ({"find": "hang"}, "NetworkTimeout"),
        ({"find": REFUSED}, r"OperationFailure: not for \(redacted\)"),
        ({"connect": "close"}, "ServerSelectionTimeoutError"),
        ({"connect": "hang"}, "ServerSelectionTimeoutError"),
    ],
)
def test_a_read_that_fails_is_unknown_and_ends_in_time(
    store: DocumentServer, tmp_path: Path, on: dict[str, Any], error: str
) -> None:
    """Each attempt is an operation that ended as info; it raises nothing and closes its records."""
    store.on.update(on)
    history = verify(store.target, tmp_path, timeout_s=2)
    assert history.cut_off() == []
    assert {kind for kind, _ in steps(history)} == {"invoke", "info"}
    assert any(re.match(error, r["error"]) for r in history.of("op") if r["type"] == "info")
    assert b"s3cret-pass" not in (tmp_path / "history.jsonl").read_bytes() + (tmp_path / "verify.log").read_bytes()


def test_a_refused_connection_is_unknown(store: DocumentServer, tmp_path: Path) -> None:
    """Nobody listens: the read failed, nothing more."""
    store.stop()
    history = verify(store.target, tmp_path, timeout_s=1)
    assert {kind for kind, _ in steps(history)} == {"invoke", "info"}


def test_a_reader_that_cannot_begin_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its process dies before it records, the failed read is recorded in its place, with what the log says."""
    monkeypatch.setattr("load.verifier.sys.executable", "/bin/false")
    history = verify("mongodb://127.0.0.1:1", tmp_path, timeout_s=1)
    assert history.cut_off() == []
    assert steps(history) == [("invoke", 0), ("info", 0)]
    assert history.of("op")[1]["error"] == "the reader ended with status 1: "


def test_half_a_password_is_not_told_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken out of the log before the end of that is cut off."""
    dying = tmp_path / "python"
    dying.write_text(f"#!/bin/sh\necho s3cret-pass{'x' * 495}\n")
    dying.chmod(0o755)
    monkeypatch.setattr("load.verifier.sys.executable", str(dying))
    told = verify("mongodb://127.0.0.1:1", tmp_path, timeout_s=1).of("op")[1]["error"]
    assert told.endswith("x" * 495)
    assert "pass" not in told


def test_a_reader_that_does_not_end_is_killed(store: DocumentServer, tmp_path: Path) -> None:
    """One that outlasts its bound is gone afterwards, and the read counts as failed."""
    store.on["find"] = "hang"
    DocumentVerifier(grace_s=-60).verify(
        WORKLOAD, store.target, tmp_path / "verify.jsonl", tmp_path / "verify.log", 60.5
    )
    history = seal([tmp_path / "verify.jsonl"], tmp_path / "history.jsonl")
    assert history.of("op")[-1]["error"].startswith("the reader ended with status -9")


@pytest.mark.parametrize("target", ["mongodb://192.0.2.1:27017", "http://127.0.0.1:80", "mongodb://127.0.0.1"])
def test_another_machine_is_refused(tmp_path: Path, target: str) -> None:
    """A verifying read goes where the load may go, in the workload's own scheme."""
    with pytest.raises(LoadError, match=re.escape("mongodb://127.0.0.1:<port> only")):
        verify(target, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_segment_is_not_written_twice(tmp_path: Path) -> None:
    """Two reads in one segment would be one that answers twice."""
    (tmp_path / "verify.jsonl").write_text("{}\n")
    with pytest.raises(LoadError, match="already holds records"):
        verify("mongodb://127.0.0.1:1", tmp_path)


def test_the_reader_dies_with_its_harness(store: DocumentServer, tmp_path: Path) -> None:
    """A harness that is killed leaves no reader behind."""
    store.on["find"] = "hang"
    script = (
        "import sys; from pathlib import Path; from load.verifier import DocumentVerifier;"
        "from load.profiles import DOCUMENT_WRITES; here = Path(sys.argv[2]);"
        "DocumentVerifier().verify(DOCUMENT_WRITES, sys.argv[1], here / 'verify.jsonl', here / 'verify.log', 60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, store.target, str(tmp_path)], cwd=ROOT) as harness:
        store.await_command("find")
        children = Path(f"/proc/{harness.pid}/task/{harness.pid}/children").read_text().split()
        harness.kill()
        assert len(children) == 1
        assert await_end(int(children[0]))


def test_the_reader_never_imports_locust() -> None:
    """Neither the verifier, which pytest imports, nor the reader's process is patched by gevent."""
    script = "import sys, load.verifier, load.reader; print(sorted({'locust', 'gevent'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def recorded(directory: Path, fetch: Callable[[], list[int | str]], timeout_s: float) -> list[Record]:
    """What one read records."""
    with HistoryWriter(directory / "verify.jsonl", "verify") as writer:
        reader.read_all(writer, fetch, repr, timeout_s)
    return seal([directory / "verify.jsonl"], directory / "history.jsonl").of("op")


@pytest.mark.parametrize("extra", [0, 1])
def test_many_ids_are_recorded_in_pages(tmp_path: Path, extra: int) -> None:
    """Each page is an operation of its own; together they hold all ids once, and only the last says so."""
    ids: list[int | str] = list(range(2 * reader.PAGE_IDS + extra))
    records = recorded(tmp_path, lambda: ids, 5)
    answers = [r["value"] for r in records if r["type"] == "ok"]
    assert [name for value in answers for name in value["ids"]] == ids
    assert [(value["page"], value["last"]) for value in answers] == [
        (page, page == 1 + extra) for page in range(2 + extra)
    ]
    assert [r["op"] for r in records if r["type"] == "invoke"] == [r["op"] for r in records if r["type"] == "ok"]


def test_a_failed_attempt_is_followed_by_another(tmp_path: Path) -> None:
    """While there is time; whatever the first one died of."""
    attempts = iter([KeyError("a defect"), OSError("gone"), None])

    def fetch() -> list[int | str]:
        error = next(attempts)
        if error is not None:
            raise error
        return [1]

    records = recorded(tmp_path, fetch, 20)
    assert [(r["type"], r["op"]) for r in records] == [
        ("invoke", 0), ("info", 0), ("invoke", 1), ("info", 1), ("invoke", 2), ("ok", 2),
    ]  # fmt: skip
    assert records[1]["error"] == "KeyError('a defect')"


def test_a_fetch_that_never_ends_is_left_behind(tmp_path: Path, store: DocumentServer) -> None:
    """The time is over: info, and the record is closed."""
    records = recorded(tmp_path, lambda: [store.released.wait()], 0.1)
    assert [(r["type"], r["op"]) for r in records] == [("invoke", 0), ("info", 0)]
    assert records[1]["error"] == "TimeoutError('no whole answer came in time')"
    assert records[1].time_ns - records[0].time_ns < 10_000_000_000


def test_an_id_that_is_no_number_or_text_is_told_as_it_is(store: DocumentServer) -> None:
    """A document that somebody else wrote must not break the read."""
    store.documents = {name: {} for name in (1.5, True, "x", os.getpid())}
    assert read_ids(store.target, WORKLOAD, 5) == ["1.5", "True", "x", os.getpid()]
