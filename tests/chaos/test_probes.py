"""Readings are what was answered, or that nothing was; every one is recorded with both its times."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from chaos.errors import WaitTimeout
from chaos.history import HistoryWriter, read_records
from chaos.probes import inside
from chaos.probes.inside import Cadence, Inside, Reading, manifest

ANSWERED = """;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1
;; flags: qr aa rd; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1

;; ANSWER SECTION:
web-0.web.run-1.svc.cluster.local. 30 IN A 10.244.1.9
web-0.web.run-1.svc.cluster.local. 30 IN A 10.244.1.10
"""
REFUSED = ";; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 1\n"
SILENT = ";; connection timed out; no servers could be reached\n"


@pytest.fixture
def shell() -> Iterator[Any]:
    """A probe pod on this machine: it notes each command and answers with the listed outputs, the last for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.commands += parse_qs(urlsplit(self.path).query)["cmd"]
            output = server.outputs.pop(0) if len(server.outputs) > 1 else server.outputs[0]
            text = output if isinstance(output, bytes) else orjson.dumps({"output": output})
            self.send_response(500 if output == b"500" else 200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.outputs, server.commands = [""], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("output", "value", "error"),
    [
        (ANSWERED, {"answers": ["10.244.1.10", "10.244.1.9"], "rcode": "NOERROR"}, None),
        (REFUSED, {"answers": [], "rcode": "NXDOMAIN"}, None),
        (SILENT, None, "the cluster's DNS did not answer"),
        ("", None, "the cluster's DNS did not answer"),
    ],
    ids=["answered", "no such name", "no answer", "nothing"],
)
def test_dns_readings(shell: Any, output: str, value: Any, error: str | None) -> None:
    """Addresses and return code; that there is no such name is an answer, silence is none."""
    shell.outputs = [output]
    reading = Inside(shell.url).dns("web-0.web")
    assert (reading.value, reading.error) == (value, error)
    assert reading.send_ns < reading.receive_ns
    assert shell.commands[0].startswith("dig ")
    assert shell.commands[0].endswith(" web-0.web A")


@pytest.mark.parametrize(
    ("output", "value", "error"),
    [
        ("web-0 uid\n\n200", {"status": 200, "body": "web-0 uid\n"}, None),
        ("\n404", {"status": 404, "body": ""}, None),
        ("x" * 300 + "\n200", {"status": 200, "body": "x" * 256}, None),
        ("\n000", None, "no HTTP answer"),
        ("", None, "no HTTP answer"),
    ],
    ids=["answered", "not found", "long", "no connection", "nothing"],
)
def test_http_readings(shell: Any, output: str, value: Any, error: str | None) -> None:
    """Status and the body's beginning; a status that says no is an answer, no connection is none."""
    shell.outputs = [output]
    reading = Inside(shell.url).http("http://web-0/identity")
    assert (reading.value, reading.error) == (value, error)


@pytest.mark.parametrize("output", [b"500", b"no json"])
def test_a_probe_pod_that_does_not_answer(shell: Any, output: bytes) -> None:
    """The reading says whose silence it was: not the DNS's, the probe's."""
    shell.outputs = [output]
    reading = Inside(shell.url).dns("a")
    assert reading.value is None
    assert reading.error is not None
    assert reading.error.startswith("the probe pod does not answer: ")


def test_what_is_asked_is_quoted(shell: Any) -> None:
    """A name goes to the shell as one word, whatever it holds."""
    shell.outputs = [REFUSED]
    Inside(shell.url).dns("a; reboot")
    Inside(shell.url).http("http://a/?b=1&c='")
    assert "'a; reboot'" in shell.commands[0]
    assert shell.commands[1].endswith("""'http://a/?b=1&c='"'"''""")


def test_ready_waits_for_the_probe(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks until there is an answer, and says whom it waited for when there is none."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    shell.outputs = [b"500", "", "ready\n"]
    Inside(shell.url).ready()
    assert len(shell.commands) == 3
    monkeypatch.setattr(inside, "READY_S", 0.01)
    shell.outputs = [""]
    with pytest.raises(WaitTimeout, match="the probe pod answers: not within"):
        Inside(shell.url).ready()


class Questions:
    """Answers at once; ``asked`` is set once as many questions as wanted came."""

    def __init__(self, wanted: int) -> None:
        self.seen: list[str] = []
        self.wanted = wanted
        self.asked = threading.Event()

    def dns(self, name: str) -> Reading:
        """See Inside."""
        return self._answer(name, {"answers": ["10.0.0.1"], "rcode": "NOERROR"}, None)

    def http(self, url: str) -> Reading:
        """See Inside."""
        return self._answer(url, None, "no HTTP answer")

    def _answer(self, what: str, value: Any, error: str | None) -> Reading:
        self.seen.append(what)
        if len(self.seen) >= self.wanted:
            self.asked.set()
        return Reading(len(self.seen), len(self.seen) + 1, value, error)


def test_the_cadence_records_every_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All questions in each round, each a record at the time of its answer; a whole round is finished at the end."""
    monkeypatch.setattr(inside, "CADENCE_S", 0)
    writer, questions = HistoryWriter(tmp_path / "probe.jsonl", "probe"), Questions(wanted=5)
    asking: Any = questions
    cadence = Cadence(asking, writer, ["web-0"], ["http://web-0"])
    cadence.start()
    assert questions.asked.wait(20)
    cadence.stop()
    writer.close()
    records = [r for r in read_records(writer.path) if r.kind == "probe"]
    assert len(records) == len(questions.seen) >= 6
    assert len(records) % 2 == 0
    assert [(r["probe"], r["target"]) for r in records[:2]] == [("dns", "web-0"), ("http", "http://web-0")]
    dns, http = records[:2]
    assert (dns.time_ns, dns["send_ns"], dns["receive_ns"]) == (2, 1, 2)
    assert (dns["value"], dns["error"]) == ({"answers": ["10.0.0.1"], "rcode": "NOERROR"}, None)
    assert (http["value"], http["error"]) == (None, "no HTTP answer")


def test_a_cadence_that_never_began_can_be_stopped(tmp_path: Path) -> None:
    """Stopping is harmless before the start."""
    asking: Any = Questions(1)
    with HistoryWriter(tmp_path / "probe.jsonl", "probe") as writer:
        Cadence(asking, writer, ["a"], []).stop()
    assert asking.seen == []


def test_a_cadence_that_crashed_says_so_at_its_stop(tmp_path: Path) -> None:
    """A defect on its thread is not lost: nobody takes the silence after it for peace."""

    class Broken(Questions):
        def _answer(self, *_: Any) -> Reading:
            self.asked.set()
            raise ZeroDivisionError("a defect")

    questions = Broken(1)
    asking: Any = questions
    with HistoryWriter(tmp_path / "probe.jsonl", "probe") as writer:
        cadence = Cadence(asking, writer, ["a"], [])
        cadence.start()
        assert questions.asked.wait(20)
        with pytest.raises(ZeroDivisionError, match="a defect"):
            cadence.stop()


def test_the_probe_runs_on_the_entry_only() -> None:
    """Its pod is bound to the entry worker and labelled so that no fault hits it; its port is served by that node."""
    pod, service = manifest("agnhost:1", 30090)
    assert pod["spec"]["nodeSelector"] == {"kindstorm.dev/entry": "true"}
    assert pod["metadata"]["labels"] == service["spec"]["selector"] == {"kindstorm.dev/probe": "true"}
    assert pod["spec"]["containers"][0]["image"] == "agnhost:1"
    assert service["spec"]["ports"][0]["nodePort"] == 30090
    assert service["spec"]["externalTrafficPolicy"] == "Local"
