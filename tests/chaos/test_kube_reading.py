"""Logs and whole namespaces, read from a server on this machine that says what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from cluster_fakes import pod_json

from chaos.errors import ClusterError
from chaos.kube import ApiRefusal, Kube, LogStream, Watch


class Server:
    """Paths and what is found there; a path in ``silent`` never answers, a log in ``open`` never ends."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.queries: list[dict[str, list[str]]] = []
        self.silent: set[str] = set()
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Answer, or not."""
                url = urlsplit(self.path)
                outer.queries.append(parse_qs(url.query))
                if url.path in outer.silent:
                    outer.released.wait(30)
                body = outer.found.get(url.path)
                text = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(404 if body is None else 200)
                self.close_connection = True
                self.send_header("Connection", "close")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
                if "follow" in outer.queries[-1]:
                    outer.released.wait(30)
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Let go of all that wait, and close."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    """One that knows the kinds of two groups."""
    made = Server()
    kinds = [
        {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["get", "list"]},
        {"name": "pods/log", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
        {"name": "nodes", "kind": "Node", "namespaced": False, "verbs": ["list"]},
        {"name": "bindings", "kind": "Binding", "namespaced": True, "verbs": ["create"]},
    ]
    sets = [{"name": "statefulsets", "kind": "StatefulSet", "namespaced": True, "verbs": ["list"]}]
    made.found = {
        "/apis": {"groups": [{"preferredVersion": {"groupVersion": "apps/v1"}}]},
        "/api/v1": {"resources": kinds},
        "/apis/apps/v1": {"resources": sets},
        "/api/v1/namespaces/ns/pods": {"items": [{"metadata": {"name": "web-0"}}]},
        "/apis/apps/v1/namespaces/ns/statefulsets": {"items": [{"metadata": {"name": "web"}}]},
        "/api/v1/namespaces/ns/secrets": {"items": [{"data": {"k": "dg=="}}]},
        "/api/v1/namespaces/ns/pods/web-0/log": b"one\ntwo\n",
    }
    yield made
    made.stop()


@pytest.fixture
def kube(server: Server, tmp_path: Path) -> Kube:
    """A connection to it."""
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    return Kube(tmp_path / "kubeconfig")


def test_all_objects_of_a_namespace(kube: Kube) -> None:
    """Of every kind that can be listed there, each with its version and kind, which a list leaves out."""
    assert list(kube.documents("ns")) == [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0"}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}},
    ]


def test_secrets_of_a_namespace(kube: Kube) -> None:
    """As they are, their data too."""
    assert [secret["data"] for secret in kube.secrets("ns")] == [{"k": "dg=="}]


@pytest.mark.parametrize("silent", ["/apis", "/api/v1", "/api/v1/namespaces/ns/pods"])
def test_a_server_that_falls_silent_holds_nothing_up(server: Server, kube: Kube, silent: str) -> None:
    """Whichever answer does not come, the whole of it is bounded."""
    server.silent.add(silent)
    with pytest.raises(ClusterError, match=f"get {silent}: the API server does not answer"):
        list(kube.documents("ns", timeout_s=0.3))


def test_what_is_refused_is_said(server: Server, kube: Kube) -> None:
    """With its path and status."""
    del server.found["/api/v1/namespaces/ns/secrets"]
    with pytest.raises(ApiRefusal, match="get /api/v1/namespaces/ns/secrets: status 404"):
        list(kube.secrets("ns"))


def test_the_stores_revision(server: Server, kube: Kube) -> None:
    """It is that of a list of the one uncached kind, for the moment of asking, where there is nothing to list."""
    path = "/api/v1/namespaces/kindstorm-nowhere/events"
    server.found[path] = {"metadata": {"resourceVersion": "4711"}, "items": []}
    assert kube.revision() == 4711
    assert server.queries[-1] == {"limit": ["1"]}
    del server.found[path]
    with pytest.raises(ApiRefusal):
        kube.revision()


def test_a_log_is_read_with_times_and_options(server: Server, kube: Kube) -> None:
    """To its end, where the server ends it."""
    stream = kube.log("web-0", "ns", "app", 5, previous="true", sinceTime="T1")
    assert b"".join(stream) == b"one\ntwo\n"
    assert stream.ended
    expected = {"container": ["app"], "timestamps": ["true"], "previous": ["true"], "sinceTime": ["T1"]}
    assert server.queries[-1] == expected


def test_a_followed_log_ends_when_it_is_closed(kube: Kube) -> None:
    """From another thread, and at once; what came before is there."""
    stream = kube.log("web-0", "ns", "app", 30, follow="true")
    got: list[bytes] = []
    first = threading.Event()

    def read() -> None:
        for part in stream:
            got.append(part)
            first.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert first.wait(10)
    stream.close()
    reader.join(10)
    assert not reader.is_alive()
    assert not stream.ended
    assert b"".join(got) == b"one\ntwo\n"


class Undeciphered:
    """An answer over TLS: what is read after its socket was shut down is not what the server said."""

    status = 200

    def __init__(self, first: bytes) -> None:
        self.first = first
        self.shut_down = threading.Event()

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        """See urllib3."""
        yield self.first
        assert self.shut_down.wait(10)
        yield b"\x17\x03\x03\xff\n"

    def shutdown(self) -> None:
        """See urllib3."""
        self.shut_down.set()

    def close(self) -> None:
        """See urllib3."""

    def request(self, *_: object, **__: object) -> Undeciphered:
        """Stands in for the pool of connections, too."""
        return self


def test_a_closed_log_gives_nothing_undeciphered() -> None:
    """What arrives once it was closed is no log."""
    stream = LogStream(Undeciphered(b"one\n"))
    parts = iter(stream)
    assert next(parts) == b"one\n"
    stream.close()
    assert list(parts) == []
    assert not stream.ended


def test_a_closed_watch_takes_nothing_undeciphered_for_a_change() -> None:
    """It ends in peace, with what it had."""
    told = json.dumps({"type": "ADDED", "object": pod_json("web-0")}).encode() + b"\n"
    watch = Watch("Pod", "http://127.0.0.1:1", Undeciphered(told))
    watch._version = "1"
    changes = iter(watch)
    assert next(changes).verb == "added"
    watch.close()
    assert [change.verb for change in changes] == []


def test_a_silent_log_is_not_waited_for(kube: Kube) -> None:
    """The stream ends by itself after its time; whoever wants more opens it anew."""
    stream = kube.log("web-0", "ns", "app", 0.2, follow="true")
    assert b"".join(stream) == b"one\ntwo\n"
    assert not stream.ended


def test_a_log_that_is_gone(server: Server, kube: Kube) -> None:
    """A refusal with its status, and a server that does not answer, are told apart."""
    with pytest.raises(ApiRefusal, match="log of web-1/app: status 404"):
        kube.log("web-1", "ns", "app", 5)
    server.silent.add("/api/v1/namespaces/ns/pods/web-0/log")
    with pytest.raises(ClusterError, match="log of web-0: the API server does not answer"):
        kube.log("web-0", "ns", "app", 0.2)
