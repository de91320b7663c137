"""Readings are what was answered, or that nothing was; every one is recorded with both its times."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import WaitTimeout
from chaos.history import HistoryWriter, Record, read_records
from chaos.probes import answers, cadence, inside, questions
from chaos.probes.cadence import Cadence, Lane
from chaos.probes.inside import Inside, Reading, manifest
from chaos.stack import Stack

WAIT_S = 20
STACKS = Path(__file__).parents[2] / "manifests" / "stacks"
DIG = """#!/bin/bash
for name in "$@"; do
  case $name in
    web-*) status=NOERROR ;;
    gone-*) status=NXDOMAIN ;;
    silent-*) echo ';; communications error to 10.96.0.10#53: timed out'
      echo ';; no servers could be reached'; continue ;;
    *) continue ;;
  esac
  printf ';; Got answer:\n;; ->>HEADER<<- opcode: QUERY, status: %s, id: 1\n;; flags: qr aa rd; QUERY: 1\n\n' $status
  printf ';; QUESTION SECTION:\n;%s.\t\tIN\tA\n\n' $name
  [ $status = NOERROR ] || continue
  printf ';; ANSWER SECTION:\n%s.\t5\tIN\tA\t10.244.1.9\n%s. 5 IN A 10.244.1.10\n\n' $name $name
done
exit 0
"""
CURL = """#!/bin/bash
url=${!#}
case $url in
  *identity) printf 'web-0 uid\n\n200' ;;
  *missing) printf '\n404' ;;
  *long) printf 'x%.0s' {1..9000}; printf '\n200' ;;
  *back*) printf '%s\n\n200' 'C:\\new' ;;
  *refused) printf '\n000'; exit 7 ;;
  *hangs) sleep 60 ;;
  *) exit 1 ;;
esac
"""


class Pod(ThreadingHTTPServer):
    """A probe pod on this machine: it runs each command with a dig and a curl of ours, or answers as it is told."""

    def __init__(self, programs: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
        self.outputs: list[bytes | str] = []
        self.commands: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def output(self, command: str) -> bytes | str:
        """What it answers: the listed outputs in turn, the last for ever, or else what the command says."""
        self.commands.append(command)
        if self.outputs:
            return self.outputs.pop(0) if len(self.outputs) > 1 else self.outputs[0]
        done = subprocess.run(["/bin/sh", "-c", command], env=self.environment, stdout=-1, stderr=-2, check=False)
        return done.stdout.decode()


class _Handler(BaseHTTPRequestHandler):
    server: Pod

    def do_GET(self) -> None:
        output = self.server.output(parse_qs(urlsplit(self.path).query)["cmd"][0])
        text = output if isinstance(output, bytes) else orjson.dumps({"output": output})
        self.send_response(500 if output == b"500" else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    """See Pod."""
    for name, text in (("dig", DIG), ("curl", CURL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    server = Pod(tmp_path)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_names_are_answered_each_for_itself(pod: Pod) -> None:
    """Addresses and return code of each, four at a time; that there is no such name is an answer, silence none."""
    names = ["web-0.web", "silent-1.web", "gone-2.web", "web-3.web", "web-4.web", "silent-5.web"]
    readings = Inside(pod.url).ask("dns", names)
    assert list(readings) == names
    addresses = {"answers": ["10.244.1.10", "10.244.1.9"], "rcode": "NOERROR"}
    silence = (None, "the cluster's DNS did not answer")
    told = [(readings[name].value, readings[name].error) for name in names]
    none = ({"answers": [], "rcode": "NXDOMAIN"}, None)
    assert told == [(addresses, None), silence, none, (addresses, None), (addresses, None), silence]
    assert all(reading.asked and reading.send_ns < reading.receive_ns for reading in readings.values())
    assert len(pod.commands) == 1


@pytest.mark.parametrize(
    ("url", "value", "error"),
    [
        ("http://web-0/identity", {"status": 200, "body": "web-0 uid\n"}, None),
        ("http://web-0/missing", {"status": 404, "body": ""}, None),
        ("http://web-0/long", {"status": 200, "body": ""}, None),
        ("http://web-0/back\\slash", {"status": 200, "body": "C:\\new\n"}, None),
        ("http://web-0/refused", None, "no HTTP answer"),
        ("http://web-0/other", None, "no HTTP answer"),
    ],
    ids=["answered", "not found", "long", "line ends and backslashes", "no connection", "nothing"],
)
def test_http_readings(pod: Pod, url: str, value: Any, error: str | None) -> None:
    """Status and the body's beginning; a status that says no is an answer, no connection is none."""
    reading = Inside(pod.url).http(url)
    assert (reading.value, reading.error, reading.asked) == (value, error, True)


def test_one_that_hangs_costs_the_others_nothing(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended in time, with what it started; the others' answers have their own times, all within the request's."""
    monkeypatch.setitem(inside._BOUND_S, "http", 1)
    begin = time.monotonic_ns()
    readings = Inside(pod.url).ask("http", ["http://a/hangs", "http://a/identity"])
    hung, answered = readings["http://a/hangs"], readings["http://a/identity"]
    assert (hung.value, hung.error, hung.asked) == (None, "no HTTP answer", True)
    assert answered.value == {"status": 200, "body": "web-0 uid\n"}
    assert begin <= hung.send_ns <= answered.send_ns < answered.receive_ns < hung.receive_ns <= time.monotonic_ns()
    assert hung.receive_ns - hung.send_ns >= 1_000_000_000 > answered.receive_ns - answered.send_ns
    left = subprocess.run(["pgrep", "-f", "^sleep 60$"], capture_output=True, text=True, check=False).stdout.split()
    assert not [pid for pid in left if pid_of_parent(pid) == 1]


def pid_of_parent(pid: str) -> int:
    """The parent of a process; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket that listens on 127.0.0.1."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        yield listener


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def test_connections_are_made_refused_or_time_out(pod: Pod, listening: socket.socket) -> None:
    """All three are told apart, with the time it took; a name that does not exist is none of them."""
    full = listening.getsockname()[1]
    with socket.socket() as other, socket.socket() as first, socket.socket() as second:
        other.bind(("127.0.0.1", 0))
        other.listen(9)
        for client in (first, second):  # its queue is full then, and what comes after gets no answer
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", full))
        targets = [f"127.0.0.1:{other.getsockname()[1]}", f"127.0.0.1:{free_port()}", f"127.0.0.1:{full}"]
        readings = Inside(pod.url).ask("tcp", [*targets, "nobody.invalid:80"])
    connected, refused, full_queue, nobody = readings.values()
    assert connected.value["outcome"] == "connected"
    assert refused.value["outcome"] == "refused"
    for reading in (connected, refused):
        took_ns = reading.value["took_ms"] * 1e6
        assert 0 < took_ns <= reading.receive_ns - reading.send_ns
    assert (full_queue.value, full_queue.error) == (None, "timeout: no connection in time")
    assert nobody.value is None
    assert str(nobody.error).startswith("no connection: ")
    assert all(reading.asked for reading in readings.values())


@pytest.mark.parametrize("output", [b"500", b"no json", b"[]", "0 1.000000 1.000001 connected\n", ""])
def test_a_probe_pod_that_does_not_answer(pod: Pod, output: bytes | str) -> None:
    """Nobody knows what was asked, also where the pod was broken off: that is told apart from a stack's silence."""
    pod.outputs = [output]
    for reading in (Inside(pod.url).dns("a"), Inside(pod.url).tcp("a:80")):
        assert reading.value is None
        assert reading.error
        assert not reading.asked


def test_nobody_there_to_ask() -> None:
    """The entry node does not answer at all: not asked, and said so."""
    reading = Inside(f"http://127.0.0.1:{free_port()}").dns("a")
    assert not reading.asked
    assert str(reading.error).startswith(f"{inside.NOT_ASKED}: ConnectionRefusedError")


@pytest.mark.parametrize("output", [b"500", b"no json", b"[]"])
def test_an_error_does_not_repeat_what_was_asked(pod: Pod, output: bytes) -> None:
    """Each target of each round has one: with the request's address, which is a whole script, that would be much."""
    pod.outputs = [output]
    for address in (pod.url, f"http://127.0.0.1:{free_port()}"):
        error = str(Inside(address).dns("a").error)
        assert error.startswith(inside.NOT_ASKED)
        assert "cmd=" not in error
        assert len(error) < 120


def test_a_body_is_not_cut_within_a_word() -> None:
    """Half a secret is one that nobody would know for one."""
    body = "x" * 240 + " token=0123456789abcdefghij"
    assert answers.understand("http", "u", f"{body}\n200", None, None) == ({"status": 200, "body": "x" * 240}, None)
    exact = body[:256]
    assert answers.understand("http", "u", f"{exact}\n200", None, None) == ({"status": 200, "body": exact}, None)


def test_what_is_asked_is_quoted(pod: Pod, tmp_path: Path) -> None:
    """A target is one word to the shell, whatever it holds."""
    marks = [tmp_path / f"mark-{number}" for number in range(4)]
    asked = Inside(pod.url)
    asked.dns(f"a; touch {marks[0]}")
    asked.http(f"http://a/?b=1&c='; touch {marks[1]}")
    asked.http(f"$(touch {marks[2]})")
    asked.tcp(f"a:$(touch {marks[3]})")
    assert not [mark for mark in marks if mark.exists()]


@pytest.mark.parametrize("apart_s", [-3600, 0, 3600])
def test_another_clock_in_the_pod_is_noticed(pod: Pod, monkeypatch: pytest.MonkeyPatch, apart_s: int) -> None:
    """Where the pod's wall clock is this machine's, an answer's times are its own; else they are the request's."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + apart_s * 10**9)
    pod.outputs = ["sleeps"]
    pod.output = lambda _: slow_answer()  # type: ignore[method-assign]
    begin = time.monotonic_ns()
    reading = Inside(pod.url).tcp("a:80")
    end = time.monotonic_ns()
    assert begin <= reading.send_ns <= reading.receive_ns <= end
    took_s = (reading.receive_ns - reading.send_ns) / 1e9
    assert took_s < 0.1 if apart_s == 0 else took_s > 0.2


def slow_answer() -> str:
    """An answer of the pod that was had long before it is handed over."""
    wall_us = time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000
    threading.Event().wait(0.2)
    stamp = f"{wall_us // 10**6}.{wall_us % 10**6:06d}"
    return f"0 {stamp} {stamp} connected\nasked\n"


@given(st.text(alphabet=st.sampled_from("ab\\n\n 0"), max_size=30))
def test_what_was_said_survives_its_line(text: str) -> None:
    """Line ends and backslashes are written so that they are read back as they were."""
    line = text.replace("\\", "\\\\").replace("\n", "\\n")
    assert answers.split(f"3 1.000001 2.000002 {line}\nasked\n")[3] == (1_000_001, 2_000_002, text)


def test_ready_waits_for_the_probe(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks until there is an answer, and says whom it waited for when there is none."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    pod.outputs = [b"500", "", "ready\n"]
    Inside(pod.url).ready()
    assert len(pod.commands) == 3
    monkeypatch.setattr(inside, "READY_S", 0.01)
    pod.outputs = [""]
    with pytest.raises(WaitTimeout, match="the probe pod answers: not within"):
        Inside(pod.url).ready()


class Rounds:
    """Answers each round after ``work``; ``enough`` is set once as many as wanted were begun."""

    def __init__(self, wanted: int, work: Callable[[], object] = lambda: None) -> None:
        self.begun_s: list[float] = []
        self.wanted = wanted
        self.work = work
        self.enough = threading.Event()

    def ask(self) -> dict[str, Reading]:
        """See Lane."""
        self.begun_s.append(time.monotonic())
        number = len(self.begun_s)
        if number >= self.wanted:
            self.enough.set()
        self.work()
        value = {"answers": ["10.0.0.1"], "rcode": "NOERROR"}
        return {"a": Reading(number, number + 1, value), "b": Reading(number, number + 1, None, "silence", asked=False)}


def lane(rounds: Rounds, period_s: float = 0.01, probe: str = "dns") -> Lane:
    """A lane that asks these rounds."""
    return Lane(probe, period_s, rounds.ask, bound_s=WAIT_S)


def ran(tmp_path: Path, *rounds: Rounds, period_s: float = 0.01, until: Callable[[], object] | None = None) -> Any:
    """The records of a cadence with a lane for each of these, stopped once all have begun enough."""
    with HistoryWriter(tmp_path / "probe.jsonl", "probe") as writer:
        asking = Cadence(writer, [lane(each, period_s, f"probe-{n}") for n, each in enumerate(rounds)])
        asking.start()
        for each in rounds:
            assert each.enough.wait(WAIT_S)
        if until is not None:
            until()
        asking.stop()
    return list(read_records(writer.path))


def of(records: list[Record], kind: str) -> list[Record]:
    """The records of a kind."""
    return [record for record in records if record.kind == kind]


def test_the_cadence_records_every_reading(tmp_path: Path) -> None:
    """All targets of each round, each a record at the time of its answer; a round under way is finished at the end."""
    rounds = Rounds(5)
    records = of(ran(tmp_path, rounds), "probe")
    assert len(records) == 2 * len(rounds.begun_s) >= 10
    first, second = sorted(records, key=lambda r: (r["send_ns"], r["target"]))[:2]
    assert (first.time_ns, first["send_ns"], first["receive_ns"]) == (2, 1, 2)
    assert (first["probe"], first["target"], first["asked"]) == ("probe-0", "a", True)
    assert (first["value"], first["error"]) == ({"answers": ["10.0.0.1"], "rcode": "NOERROR"}, None)
    assert (second["target"], second["value"], second["error"], second["asked"]) == ("b", None, "silence", False)


def test_a_slow_answer_delays_no_other_question(tmp_path: Path) -> None:
    """Five rounds are begun while the first one waits for its answer, in its own lane and in the other."""
    release = threading.Event()
    slow, other = Rounds(5, lambda: release.wait(WAIT_S)), Rounds(5)
    records = ran(tmp_path, slow, other, until=release.set)
    assert {r["probe"] for r in of(records, "probe")} == {"probe-0", "probe-1"}


def test_rounds_keep_to_the_schedule(tmp_path: Path) -> None:
    """No round begins before it is due: each at its own multiple of the period after the first, none drifting away."""
    rounds = Rounds(6, lambda: threading.Event().wait(0.03))
    ran(tmp_path, rounds, period_s=0.05)
    begun = rounds.begun_s
    assert all(at >= begun[0] + number * 0.05 - 0.049 for number, at in enumerate(begun))
    assert all(later - earlier > 0 for earlier, later in itertools.pairwise(begun))


def test_a_lane_that_falls_behind_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once too many rounds are unanswered the next are left out: a gap, with how many, from when the first was due."""
    release, left_out = threading.Event(), threading.Event()
    rounds = Rounds(cadence.UNDER_WAY_MAX, lambda: release.wait(WAIT_S))
    add, end, in_a_row = cadence._Skipped.add, cadence._Skipped.end, [0]

    def left(skipped: Any, count: int, due_s: float) -> None:
        add(skipped, count, due_s)
        in_a_row[0] += 1
        if in_a_row[0] >= 5:
            left_out.set()

    def begun(skipped: Any) -> None:
        end(skipped)
        in_a_row[0] = 0

    def skip_some() -> None:
        assert left_out.wait(WAIT_S)
        release.set()

    monkeypatch.setattr(cadence._Skipped, "add", left)
    monkeypatch.setattr(cadence._Skipped, "end", begun)
    gaps = of(ran(tmp_path, rounds, period_s=0.05, until=skip_some), "gap")
    last = max(gaps, key=lambda gap: int(gap["skipped"]))
    assert last["what"] == "probe probe-0"
    assert last["skipped"] >= 5
    assert (last["to_ns"] - last["from_ns"]) / 1e9 >= (last["skipped"] - 1) * 0.05


def test_a_pacer_that_comes_too_late_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was due while this process did not run is a gap, not a burst and not silence."""
    real, ahead_s = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead_s[0])
    rounds = Rounds(3)
    again = threading.Event()

    def sleep_an_hour() -> None:
        ahead_s[0] = 3600.0
        rounds.wanted, rounds.enough = len(rounds.begun_s) + 3, again
        assert again.wait(WAIT_S)

    with HistoryWriter(tmp_path / "probe.jsonl", "probe") as writer:
        asking = Cadence(writer, [lane(rounds, 0.05)])
        asking.start()
        assert rounds.enough.wait(WAIT_S)
        sleep_an_hour()
        ahead_s[0] = 0.0
        asking._stop.set()
        asking.stop()
    gaps = of(list(read_records(writer.path)), "gap")
    assert gaps
    assert gaps[0]["skipped"] == pytest.approx(3600 / 0.05, rel=0.01)


def test_what_was_due_before_the_end_and_never_asked_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that did not run at all until it was stopped has left rounds out as well."""
    real, ahead_s = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead_s[0])
    with HistoryWriter(tmp_path / "probe.jsonl", "probe") as writer:
        rounds = Rounds(1)
        asking = Cadence(writer, [lane(rounds, 1800.0)])
        asking.start()
        assert rounds.enough.wait(WAIT_S)
        ahead_s[0] = 3 * 3600.0
        asking._stop.set()
        for thread in asking._threads:
            thread.join(WAIT_S)
        ahead_s[0] = 0.0
        asking.stop()
    (gap,) = of(list(read_records(writer.path)), "gap")
    assert gap["skipped"] == 5


def test_a_cadence_that_never_began_can_be_stopped(tmp_path: Path) -> None:
    """Stopping is harmless before the start."""
    rounds = Rounds(1)
    with HistoryWriter(tmp_path / "probe.jsonl", "probe") as writer:
        Cadence(writer, [lane(rounds)]).stop()
    assert rounds.begun_s == []


def test_a_cadence_that_crashed_says_so_at_its_stop(tmp_path: Path) -> None:
    """A defect on its thread is not lost: nobody takes the silence after it for peace."""

    def crash() -> None:
        raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError, match="a defect"):
        ran(tmp_path, Rounds(1, crash))


def test_all_names_and_ports_of_a_stack_are_asked() -> None:
    """Stable names and services by DNS, their ports by TCP, and what each volume holds by HTTP."""
    stack = Stack.load(STACKS / "web.yaml")
    asked = questions.of_stack(stack.documents, stack.identities(), "run-1")
    stable = [f"web-{number}.web.run-1.svc.cluster.local" for number in range(3)]
    services = [f"{service}.run-1.svc.cluster.local" for service in ("web", "web-external")]
    assert list(asked.names) == [*stable, *services]
    assert list(asked.ports) == [f"{name}:80" for name in (*stable, *services)]
    assert list(asked.urls) == [f"http://{name}/identity" for name in stable]
    lanes = asked.lanes(Inside("http://127.0.0.1:1"))
    assert [each.probe for each in lanes] == ["dns", "http", "tcp"]


SHOP = """
{apiVersion: v1, kind: Service, metadata: {name: shop}, spec: {clusterIP: None, ports: [{port: 80, targetPort: web}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: front}, spec: {ports: [{port: 80, targetPort: web}, {port: 443}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: talk}, spec: {ports: [{port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: away}, spec: {type: ExternalName, externalName: example.org}}
---
{apiVersion: v1, kind: Service, metadata: {name: odd}, spec: {clusterIP: None, ports: [{port: 9, targetPort: none}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: shop}
spec:
  template: {spec: {containers: [{image: a}, {image: b, ports: [{containerPort: 7}, {containerPort: 8, name: web}]}]}}
"""


def test_ports_are_those_that_a_client_connects_to() -> None:
    """A headless Service remaps none, so its pods' own are asked; UDP and what is elsewhere are not."""
    documents = list(yaml.safe_load_all(SHOP))
    asked = questions.of_stack(documents, {"shop-0": "shop", "lost-0": "nowhere"}, "n")
    hosts = {name: f"{name}.n.svc.cluster.local" for name in ("shop", "front", "talk", "odd")}
    stable = ["shop-0.shop.n.svc.cluster.local", "lost-0.nowhere.n.svc.cluster.local"]
    assert list(asked.names) == [*stable, *hosts.values()]
    ports = [f"{stable[0]}:8", f"{hosts['shop']}:8", f"{hosts['front']}:80", f"{hosts['front']}:443"]
    assert list(asked.ports) == ports


def test_a_stack_without_services_is_not_asked() -> None:
    """Nothing to ask is no lane."""
    assert questions.of_stack([], {}, "n").lanes(Inside("http://127.0.0.1:1")) == []


def test_the_probe_runs_on_the_entry_only() -> None:
    """Its pod is bound to the entry worker and labelled so that no fault hits it; its port is served by that node."""
    pod, service = manifest("agnhost:1", 30090)
    assert pod["spec"]["nodeSelector"] == {"kindstorm.dev/entry": "true"}
    assert pod["metadata"]["labels"] == service["spec"]["selector"] == {"kindstorm.dev/probe": "true"}
    assert pod["spec"]["containers"][0]["image"] == "agnhost:1"
    assert service["spec"]["ports"][0]["nodePort"] == 30090
    assert service["spec"]["externalTrafficPolicy"] == "Local"
