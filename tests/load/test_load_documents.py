"""What the document user's records say is what a store saw, and a failure is certain only where it is."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from document_server import DocumentServer
from local_service import WAIT_S, await_op, ops, run, sealed
from pymongo.errors import AutoReconnect, DuplicateKeyError, ServerSelectionTimeoutError, WriteConcernError

from load import documents
from load.driver import LocustLoad
from load.profiles import DOCUMENT_WRITES

ROOT = Path(__file__).resolve().parents[2]
WORKLOAD = DOCUMENT_WRITES.with_(users=10, rate_per_s=5.0, timeout_s=2.0, max_requests=15, max_s=20.0)
BRIEF = WORKLOAD.with_(timeout_s=0.4, max_requests=4)
ALONE = WORKLOAD.with_(users=1, rate_per_s=1.0, timeout_s=1.0, max_requests=1000)
REFUSED = {"ok": 0.0, "code": 13, "errmsg": "not for s3cret-pass", "codeName": "Unauthorized"}
DUPLICATE = {"ok": 1.0, "n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "E11000 duplicate key"}]}
UNSURE = {"ok": 1.0, "n": 1, "writeConcernError": {"code": 64, "errmsg": "waiting timed out"}}


@pytest.fixture
def store() -> Iterator[DocumentServer]:
    """A fresh store."""
    server = DocumentServer()
    yield server
    server.stop()


def test_every_insert_is_recorded_and_stored_once(store: DocumentServer, load: LocustLoad, tmp_path: Path) -> None:
    """The store holds what the history says was acknowledged, under ids that are all different."""
    history = run(load, WORKLOAD, store.target, tmp_path)
    assert history.cut_off() == []
    invoked = [record["value"] for record in ops(history, "invoke")]
    assert len(set(invoked)) == len(store.named("insert")) == 15
    assert set(invoked) == {record["value"] for record in ops(history, "ok")} == store.documents.keys()
    assert {record["f"] for record in history.of("op")} == {"insert"}
    writers = Counter(document["process"] for document in store.documents.values())
    assert writers == {f"user-{number}": 2 if number < 5 else 1 for number in range(10)}


def test_every_fourth_time_the_last_acknowledged_document_is_looked_up(
    store: DocumentServer, load: LocustLoad, tmp_path: Path
) -> None:
    """Each user asks in its fourth turn for what it wrote in its third; what is gone is not found."""
    workload = WORKLOAD.with_(users=5, rate_per_s=25.0, timeout_s=0.2, max_requests=40)
    history = run(load, workload, store.target, tmp_path)
    asked = {record["op"]: record["value"] for record in ops(history, "invoke")}
    found = {record["op"]: record["value"] for record in ops(history, "ok") if record["f"] == "lookup"}
    assert found == {slot: {"found": True} for slot in (*range(15, 20), *range(35, 40))}
    assert all(asked[slot] == asked[slot - 5] for slot in found)
    assert len(store.named("insert")) == len(store.documents) == 30
    (tmp_path / "again").mkdir()
    store.on["find"] = {"cursor": {"id": bson.Int64(0), "ns": "kindstorm.writes", "firstBatch": []}, "ok": 1.0}
    history = run(LocustLoad(), workload.with_(max_requests=20), store.target, tmp_path / "again")
    assert [r["value"] for r in ops(history, "ok") if r["f"] == "lookup"] == [{"found": False}] * 5


def test_a_lookup_that_fails_is_no_write(store: DocumentServer, load: LocustLoad, tmp_path: Path) -> None:
    """A read has no effect: it failed, or nobody knows what it would have said."""
    store.on["find"] = REFUSED
    workload = WORKLOAD.with_(users=5, rate_per_s=25.0, timeout_s=0.2, max_requests=20)
    history = run(load, workload, store.target, tmp_path)
    assert Counter((r["f"], r["type"]) for r in history.of("op") if r["type"] != "invoke") == {
        ("insert", "ok"): 15,
        ("lookup", "fail"): 5,
    }


def test_a_user_has_one_connection_for_its_writes(store: DocumentServer, load: LocustLoad, tmp_path: Path) -> None:
    """Beside it there is only the driver's own, which watches the server."""
    run(load, WORKLOAD, store.target, tmp_path)
    assert len(store.named("insert")) > WORKLOAD.users
    assert store.connections == 2 * WORKLOAD.users


def test_ids_are_never_those_of_another_run(store: DocumentServer, tmp_path: Path) -> None:
    """Two runs against one store overwrite nothing."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run(LocustLoad(), WORKLOAD.with_(max_requests=5), store.target, tmp_path / name)
    assert len(store.documents) == len(store.named("insert")) == 10


def test_a_write_asks_for_the_journal_and_is_never_retried(
    store: DocumentServer, load: LocustLoad, tmp_path: Path
) -> None:
    """w=1 and j=true in each command, and no transaction number, with which the driver would send it again."""
    run(load, WORKLOAD.with_(max_requests=2), store.target, tmp_path)
    assert [given["writeConcern"] for given in store.named("insert")] == [{"w": 1, "j": True}] * 2
    assert not [given for given in store.named("insert") if "txnNumber" in given]


@pytest.mark.parametrize(
    ("answer", "kind", "error"),
    [
        ("close", "info", "AutoReconnect: 127.0.0.1:"),
        ("hang", "info", "no answer within 0.4 s"),
        (DUPLICATE, "fail", "DuplicateKeyError: E11000 duplicate key"),
        (UNSURE, "info", "WriteConcernError: waiting timed out"),
        (REFUSED, "info", "OperationFailure: not for (redacted)"),
    ],
    ids=["closed", "hanging", "duplicate", "unsure", "refused"],
)
def test_what_was_sent_is_known_only_by_its_answer(
    store: DocumentServer, load: LocustLoad, tmp_path: Path, answer: Any, kind: str, error: str
) -> None:
    """After the first byte was sent, nobody knows: but for a key that was there already, which nobody else has."""
    store.on["insert"] = answer
    timeout_s = 0.4 if answer == "hang" else 2.0
    workload = BRIEF.with_(password="s3cret-pass", timeout_s=timeout_s)  # noqa: S106 - planted
    history = run(load, workload, store.target, tmp_path)
    assert Counter(r["type"] for r in history.of("op")) == {"invoke": 4, kind: 4}
    assert all(record["error"].startswith(error) for record in ops(history, kind))
    assert len(store.named("insert")) == 4
    assert b"s3cret-pass" not in (tmp_path / "history.jsonl").read_bytes() + (tmp_path / "load.log").read_bytes()


@pytest.mark.parametrize("on", ["close", "hang"])
def test_a_port_that_only_accepts_takes_no_write(
    store: DocumentServer, load: LocustLoad, tmp_path: Path, on: str
) -> None:
    """A published port accepts for a service that is gone: nothing was sent, so nothing happened."""
    store.on["connect"] = on
    history = run(load, BRIEF, store.target, tmp_path)
    assert Counter(r["type"] for r in history.of("op")) == {"invoke": 4, "fail": 4}
    assert store.commands == [] or {next(iter(given)) for given in store.commands} <= {"ismaster", "hello"}


def test_a_refused_password_is_a_failure(store: DocumentServer, load: LocustLoad, tmp_path: Path) -> None:
    """Commands before the insert are not the insert: nothing happened."""
    store.on["saslStart"] = REFUSED
    workload = BRIEF.with_(username="root", password="s3cret-pass", timeout_s=2.0)  # noqa: S106 - planted
    history = run(load, workload, store.target, tmp_path)
    assert {r["error"] for r in ops(history, "fail")} == {"OperationFailure: not for (redacted)"}
    assert Counter(r["type"] for r in history.of("op")) == {"invoke": 4, "fail": 4}
    assert len(store.named("saslStart")) == 4


def test_a_refused_connection_is_a_failure(store: DocumentServer, load: LocustLoad, tmp_path: Path) -> None:
    """Nobody listens: no write was sent, and the error is the same for each."""
    store.stop()
    history = run(load, BRIEF, store.target, tmp_path)
    assert Counter(r["type"] for r in history.of("op")) == {"invoke": 4, "fail": 4}
    assert store.commands == []


def test_a_connection_that_breaks_is_made_again(store: DocumentServer, load: LocustLoad, tmp_path: Path) -> None:
    """One write nobody knows the end of; when the store answers again, so do the writes."""
    store.on["insert"] = "close"
    load.start(ALONE, store.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    broken = await_op(load, "info", 0)
    store.on.clear()
    await_op(load, "ok", broken.time_ns)
    load.stop()
    history = sealed(tmp_path)
    assert history.cut_off() == []
    assert {r["value"] for r in ops(history, "ok")} <= store.documents.keys()


def test_a_write_that_was_sent_says_nothing_of_the_next(
    store: DocumentServer, load: LocustLoad, tmp_path: Path
) -> None:
    """The first one is unknown; those that found no way to the store failed."""
    store.on["insert"] = "close"
    load.start(ALONE, store.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    sent = await_op(load, "info", 0)
    store.on["connect"] = "close"
    assert await_op(load, "fail", sent.time_ns)["error"]
    load.stop()


def test_stopping_leaves_what_is_open_unknown(store: DocumentServer, load: LocustLoad, tmp_path: Path) -> None:
    """A store that hangs does not keep the load from ending."""
    store.on["insert"] = "hang"
    load.start(WORKLOAD.with_(timeout_s=1.0), store.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    load.first_invocation(WAIT_S)
    load.stop()
    history = sealed(tmp_path)
    assert history.cut_off() == []
    assert len(ops(history, "info")) == len(ops(history, "invoke"))


@pytest.mark.parametrize(
    ("error", "begun", "fate"),
    [
        (ServerSelectionTimeoutError("x"), False, "fail"),
        (AutoReconnect("x"), False, "fail"),
        (AutoReconnect("x"), True, "info"),
        (TimeoutError("x"), True, "info"),
        (WriteConcernError("x"), True, "info"),
        (DuplicateKeyError("x"), True, "fail"),
    ],
)
def test_the_fate_of_an_insert(error: Exception, begun: bool, fate: str) -> None:
    """Certain only where nothing was sent, or the key was there."""
    assert documents.fate(error, begun) == fate


def test_errors_are_told_alike_and_without_the_password() -> None:
    """What differs from one error to the next, and what nobody may see, is left out."""
    workload = DOCUMENT_WRITES.with_(password="hunter2")  # noqa: S106 - planted
    text = "127.0.0.1:1:\n hunter2 refused (configured timeouts: 2 ms), Timeout: 2s, Topology Description: <x 7f>"
    told = documents.told(AutoReconnect(text), workload)
    assert told == "AutoReconnect: 127.0.0.1:1: (redacted) refused"
    assert len(documents.told(AutoReconnect("x" * 1000), workload)) == 200


def test_every_step_of_the_driver_is_bounded() -> None:
    """By the workload's timeout; one connection, one server, nothing sent again."""
    collection = documents.connect("mongodb://127.0.0.1:1", DOCUMENT_WRITES, 1.5)
    with collection.database.client as client:
        pool = client.options.pool_options
        assert client.options.server_selection_timeout == 1.5
        assert (pool.connect_timeout, pool.socket_timeout, pool.wait_queue_timeout) == (1.5, 1.5, 1.5)
        assert (pool.max_pool_size, client.options.direct_connection) == (1, True)
        assert client.options.server_monitoring_mode == "poll"  # else a second connection to watch the server
        assert (client.options.retry_writes, client.options.retry_reads) == (False, False)
        assert collection.write_concern.document == {"w": 1, "j": True}


def test_the_credentials_reach_the_driver() -> None:
    """A store with users is given the workload's."""
    workload = DOCUMENT_WRITES.with_(username="root", password="hunter2")  # noqa: S106 - planted
    collection = documents.connect("mongodb://127.0.0.1:1", workload, 1.0)
    with collection.database.client as client:
        credentials = client.options.pool_options._credentials
        assert credentials is not None
        assert (credentials.username, credentials.password, credentials.source) == ("root", "hunter2", "admin")


def test_the_driver_runs_on_patched_sockets(store: DocumentServer) -> None:
    """Under gevent's patching a waiting driver lets other greenlets go on, and a gevent timeout interrupts it."""
    store.on["insert"] = "hang"
    script = (
        "import gevent.monkey; gevent.monkey.patch_all(); import gevent, sys;"
        "from load.documents import Sending, connect; from load.profiles import DOCUMENT_WRITES;"
        "turns = []; gevent.spawn(lambda: [turns.append(gevent.sleep(0.01)) for _ in range(20)]);"
        "sending = Sending(); documents = connect(sys.argv[1], DOCUMENT_WRITES, 20.0, sending);\n"
        "try:\n    with gevent.Timeout(1): documents.insert_one({'_id': 1})\n"
        "except gevent.Timeout: print('interrupted', len(turns), sending.begun)"
    )
    command = [sys.executable, "-c", script, store.target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "interrupted 20 True"
