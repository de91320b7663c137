"""What a real Locust process did against a small server is what its records say."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from local_service import WAIT_S, WORKLOAD, Service, await_end, await_op, ops, run, sealed

from chaos.errors import WaitTimeout
from chaos.history import read_records
from load.driver import LocustLoad

ROOT = Path(__file__).resolve().parents[2]


def test_every_request_is_recorded_up_to_the_cap(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """The server counted what the history says, each invocation precedes its outcome, the count closes it."""
    history = run(load, WORKLOAD.with_(max_requests=40), service.target, tmp_path)
    assert history.cut_off() == []
    assert service.requests == {"/read": 40}
    assert service.connections == 40
    invoked = {record["op"]: record for record in ops(history, "invoke")}
    answered = {record["op"]: record for record in ops(history, "ok")}
    assert sorted(invoked) == sorted(answered) == list(range(40))
    assert len(history.of("op")) == 80
    for op, outcome in answered.items():
        assert invoked[op]["intended_ns"] <= invoked[op].time_ns < outcome.time_ns
        assert invoked[op]["process"] == outcome["process"] == f"user-{op % WORKLOAD.users}"
        assert (outcome["f"], outcome["error"]) == ("GET /read", None)
        assert outcome["value"] == {"status": 200}
    closing = history.of("closing")[0]
    assert closing["records"] == {kind: len(history.of(kind)) for kind in ("clock", "op", "note")}
    assert "cap of 40 requests" in history.of("note")[-1]["text"]
    assert len(history.clock_pairs("load")) >= 1


def test_the_schedule_has_the_rate(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """Requests are due 1/rate apart over all users, whenever they were sent."""
    history = run(
        load, WORKLOAD.with_(users=80, rate_per_s=80.0, timeout_s=1.0, max_requests=60), service.target, tmp_path
    )
    due = sorted(record["intended_ns"] for record in ops(history, "invoke"))
    assert len(due) == 60
    assert {round((later - earlier) / 1e3) for earlier, later in itertools.pairwise(due)} == {12_500}


def test_a_kept_connection_is_one_per_user(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """With keep_alive each user stays on its one connection; the header names who answered."""
    service.headers = {"X-Served-By": "pod-" + "x" * 300}
    workload = WORKLOAD.with_(users=16, rate_per_s=16.0, timeout_s=1.0, max_requests=48, keep_alive=True)
    history = run(load, workload, service.target, tmp_path)
    assert (service.requests["/read"], service.connections) == (48, 16)
    assert {record["value"]["pod"] for record in ops(history, "ok")} == {"pod-" + "x" * 249}


@pytest.mark.parametrize(("status", "headers"), [(503, {}), (302, {"Location": "/elsewhere"})])
def test_another_status_is_a_failure(
    service: Service, load: LocustLoad, tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    """Neither an error nor a redirect is a success, and neither is asked twice."""
    service.status, service.headers = status, headers
    history = run(load, WORKLOAD.with_(max_requests=10), service.target, tmp_path)
    assert service.requests == {"/read": 10}
    assert Counter(r["type"] for r in history.of("op")) == {"invoke": 10, "fail": 10}
    assert {r["error"] for r in ops(history, "fail")} == {f"answered {status}, expected 200"}
    assert history.cut_off() == []


def test_no_answer_is_unknown(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """A server that hangs gives info; what is open when the load is stopped becomes info as well."""
    service.hanging = True
    load.start(WORKLOAD.with_(timeout_s=0.3), service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    assert load.first_invocation(WAIT_S) < await_op(load, "info", 0).time_ns
    with pytest.raises(WaitTimeout, match=r"a successful operation within 0 s; it recorded .*invoke"):
        load.first_success(0)
    load.stop()
    history = sealed(tmp_path)
    assert history.cut_off() == []
    assert {r["type"] for r in history.of("op")} == {"invoke", "info"}
    assert len(ops(history, "info")) == len(ops(history, "invoke"))
    assert {r["error"] for r in ops(history, "info")} == {"no answer within 0.3 s"}


def test_an_invocation_is_recorded_before_its_answer(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """While the server still holds the answer back, the segment already says what was sent."""
    service.hanging = True
    patient = WORKLOAD.with_(timeout_s=60.0, rate_per_s=1.0)
    load.start(patient, service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    sent_ns = load.first_invocation(WAIT_S)
    told = [record["type"] for record in read_records(tmp_path / "load.jsonl") if record.kind == "op"]
    assert set(told) == {"invoke"}
    service.release.set()
    assert await_op(load, "fail", 0).time_ns > sent_ns


RECORDER_SCRIPT = """
import sys
from pathlib import Path
from load.recorder import LoadRecorder
recorder = LoadRecorder(Path(sys.argv[1]))
recorder.invoke(7, "user-0", "PUT /x", "v7", intended_ns=1)
recorder._close()
recorder._close()
recorder.note("too late")
"""


def test_what_is_open_at_the_end_is_unknown(tmp_path: Path) -> None:
    """An operation without an outcome closes as info; a record after the end ends the process."""
    command = [sys.executable, "-c", RECORDER_SCRIPT, str(tmp_path / "load.jsonl")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "the history of load is closed" in done.stderr
    history = sealed(tmp_path)
    assert history.cut_off() == []
    assert [(r["type"], r["op"], r["value"]) for r in history.of("op")] == [("invoke", 7, "v7"), ("info", 7, "v7")]
    assert ops(history, "info")[0]["error"] == "still open when the load ended"


def test_a_trickle_does_not_outlast_the_timeout(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """The time limit is on the whole request: a server that sends a byte now and then gives info too."""
    service.trickle_s = 0.1
    history = run(load, WORKLOAD.with_(max_requests=4, timeout_s=0.4), service.target, tmp_path)
    assert Counter(r["type"] for r in history.of("op")) == {"invoke": 4, "info": 4}


def test_a_connection_closed_without_an_answer_is_a_failure(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """A published port accepts for a service that is gone: to connect is no success."""
    service.mute = True
    history = run(load, WORKLOAD.with_(max_requests=6), service.target, tmp_path)
    assert Counter(r["type"] for r in history.of("op")) == {"invoke": 6, "fail": 6}
    assert {r["error"] for r in ops(history, "fail")} == {
        "RemoteDisconnected: Remote end closed connection without response"
    }


def hold_up(load: LocustLoad, service: Service, behind_s: float) -> None:
    """Freeze the load until its schedule is at least this far ahead of it, then let it go on."""
    load.first_success(WAIT_S)
    os.kill(load.pid, signal.SIGSTOP)
    service.release.wait(behind_s)  # the time that passes is what is wanted
    os.kill(load.pid, signal.SIGCONT)


def test_a_load_that_was_held_up_sends_late_but_all(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """A process that had no processor for a while sends what was due meanwhile; its due times stay as they were."""
    load.start(WORKLOAD.with_(max_requests=40), service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    hold_up(load, service, 0.6)
    assert await_end(load.pid)
    sent = ops(sealed(tmp_path), "invoke")
    due = sorted(record["intended_ns"] for record in sent)
    assert service.requests == {"/read": 40}
    assert {later - earlier for earlier, later in itertools.pairwise(due)} == {40_000_000}
    assert max(record.time_ns - record["intended_ns"] for record in sent) > 400_000_000


def test_a_skipped_backlog_is_noted(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """What is left out because the load is too late is counted: requests and notes add up to the cap."""
    workload = WORKLOAD.with_(max_requests=40, max_behind_s=0.2, users=10, timeout_s=0.4)
    load.start(workload, service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    hold_up(load, service, 1.0)
    assert await_end(load.pid)
    history = sealed(tmp_path)
    skipped = [r["skipped"] for r in history.of("note") if r.get("skipped")]
    assert skipped
    assert len(ops(history, "invoke")) + sum(skipped) == 40
    assert history.cut_off() == []


def test_an_outage_and_its_end_are_seen(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """A stopped server refuses, which is a definite failure; when it is back, requests succeed again."""
    load.start(WORKLOAD, service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    up_ns = load.first_success(WAIT_S)
    service.stop()
    down = await_op(load, "fail", up_ns)
    service.start()
    back = await_op(load, "ok", down.time_ns)
    assert load.running()
    load.stop()
    assert not load.running()
    history = sealed(tmp_path)
    assert history.cut_off() == []
    assert back.time_ns > down.time_ns > up_ns
    refused = [r for r in ops(history, "fail") if "refused" in r["error"]]
    assert refused
    assert len(ops(history, "invoke")) == len(history.of("op")) / 2
