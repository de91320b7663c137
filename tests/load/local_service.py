"""What the load's tests run against: a small server on this machine, and waits for what the load records."""

from __future__ import annotations

import os
import select
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from chaos.history import History, Record, seal
from load.driver import LocustLoad
from load.profiles import Workload

WAIT_S = 20.0
WORKLOAD = Workload(
    name="test", user="http", users=100, rate_per_s=25.0, timeout_s=4.0, max_requests=1000, max_s=20.0, path="/read"
)


class Service:
    """A server on 127.0.0.1 that counts its requests and answers as told; it can stop and come back on its port."""

    def __init__(self) -> None:
        self.status = 200
        self.hanging = False
        self.mute = False
        self.delay_s = 0.0
        self.trickle_s = 0.0
        self.headers: dict[str, str] = {}
        self.body = b"replica-1\nmore"
        self.kept: dict[str, bytes] = {}
        """What was put under each path; a GET of /keys/... gives it back."""
        self.requests: Counter[str] = Counter()
        self.connections = 0
        self.release = threading.Event()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen: on a port the kernel chooses, later on the same one."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port: whoever connects now is refused."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)

    @property
    def target(self) -> str:
        """What the load is pointed at."""
        return f"http://127.0.0.1:{self.port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                service.connections += 1
                super().setup()

            def do_PUT(self) -> None:
                service.requests["PUT"] += 1
                service.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def do_GET(self) -> None:
                service.requests[self.path] += 1
                if service.hanging:
                    service.release.wait(WAIT_S)
                if service.hanging or service.mute:
                    self.close_connection = True
                    return
                service.release.wait(service.delay_s)
                is_key = self.path.startswith("/keys/")
                body = service.kept.get(self.path, b"") if is_key else service.body
                self.send_response(404 if is_key and not body and service.status == 200 else service.status)
                for name, value in service.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    service.release.wait(service.trickle_s)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def run(load: LocustLoad, workload: Workload, target: str, directory: Path) -> History:
    """Run a workload to its own end."""
    load.start(workload, target, directory / "load.jsonl", directory / "load.log")
    assert await_end(load.pid)
    load.stop()
    return sealed(directory)


def sealed(directory: Path) -> History:
    """The segment as a sealed history."""
    return seal([directory / "load.jsonl"], directory / "history.jsonl")


def ops(history: History, kind: str) -> list[Record]:
    """The operations' records of one type."""
    return [record for record in history.of("op") if record["type"] == kind]


def await_end(pid: int) -> bool:
    """Wait until a process has ended, reaped or not; False where it is still there after WAIT_S."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(WAIT_S * 1000))
    finally:
        os.close(handle)


def await_op(load: LocustLoad, kind: str, after_ns: int) -> Record:
    """Wait for an operation's record of one type that is later than a moment."""
    found: list[Record] = []

    def wanted(record: Record) -> bool:
        if record.kind == "op" and record["type"] == kind and record.time_ns > after_ns:
            found.append(record)
        return bool(found)

    load.wait_for(wanted, WAIT_S, f"{kind} after {after_ns}")
    return found[0]
