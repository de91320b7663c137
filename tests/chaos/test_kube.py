"""Watches against a server on this machine that speaks the list and watch protocol, and breaks it as told."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from cluster_fakes import pod_json
from kubernetes.client.exceptions import ApiException  # noqa: TID251 - what chaos.kube is handed

from chaos.kube import ApiRefusal, BudgetRefusal, Change, Kube, Seen, Watch

LONG_S = 20.0


@dataclass
class Stream:
    """One answer to a watch: events, then raw parts of lines, then its end (done | cut | hold | refuse)."""

    events: list[dict[str, Any]] = field(default_factory=list)
    end: str = "done"
    status: int = 200
    parts: tuple[bytes, ...] = ()
    late: bool = False


class ApiServer:
    """Answers with the next scripted list or stream; streams that nobody scripted stay open until the test ends."""

    def __init__(self) -> None:
        self.lists: list[tuple[int, dict[str, Any]]] = []
        self.streams: list[Stream] = []
        self.asked: list[str] = []
        self.arrived = threading.Event()
        self.go = threading.Event()
        self.holding = threading.Event()
        self.released = threading.Event()
        self.refused = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"api": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/v1/pods"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def listing(self, version: str, *items: dict[str, Any], status: int = 200) -> None:
        """Answer the next list with this."""
        self.lists.append((status, {"metadata": {"resourceVersion": version}, "items": list(items)}))

    def stop(self) -> None:
        """Let go of all streams and close."""
        self.released.set()
        self.go.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers one connection as the server it belongs to is told."""

    protocol_version = "HTTP/1.1"
    api: ApiServer

    def do_GET(self) -> None:
        """A list, or a watch."""
        query = parse_qs(urlsplit(self.path).query)
        if "watch" not in query:
            self.api.asked.append("list")
            self._list(*self.api.lists.pop(0))
            return
        self.api.asked.append(query["resourceVersion"][0])
        assert query["allowWatchBookmarks"] == ["true"]
        self._stream(self.api.streams.pop(0) if self.api.streams else Stream(end="hold"))

    def _list(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, stream: Stream) -> None:
        self.api.arrived.set()
        if stream.end == "refuse":
            self.api.refused.set()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if stream.late:
            self.api.go.wait(LONG_S)
        self.send_response(stream.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for text in (*(json.dumps(event).encode() + b"\n" for event in stream.events), *stream.parts):
            self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        if stream.end == "hold":
            self.api.holding.set()
            self.api.released.wait(LONG_S)
        if stream.end == "cut":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            with contextlib.suppress(OSError):  # the watch was closed meanwhile
                self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Reading:
    """Iterates over a watch in a thread of its own."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.changes: list[Change] = []
        self.error: BaseException | None = None
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for change in self.watch:
                with self._more:
                    self.changes.append(change)
                    self._more.notify_all()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.error = error

    def first(self, count: int) -> list[Change]:
        """The first changes, as many as named, once they are there."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.changes) >= count, LONG_S), self.changes
        return self.changes[:count]

    def ended(self, within_s: float) -> bool:
        """Whether the iteration ends by itself in this time."""
        self._thread.join(within_s)
        return not self._thread.is_alive()


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """A server of the test's own."""
    server = ApiServer()
    yield server
    server.stop()


@pytest.fixture
def reading(api: ApiServer) -> Iterator[Any]:
    """Begins a watch on the server, ends it after the test, and shows what it crashed with."""
    begun: list[Reading] = []

    def begin() -> Reading:
        begun.append(Reading(Watch("Pod", api.url, urllib3.PoolManager())))
        return begun[0]

    yield begin
    for one in begun:
        one.watch.close()
        assert one.ended(LONG_S)
        assert one.error is None


def event(kind: str, name: str, version: str, uid: str = "") -> dict[str, Any]:
    """One line of a watch about a pod."""
    return {"type": kind, "object": pod_json(name, uid, version)}


EXPIRED = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}


def told(changes: list[Change]) -> list[str]:
    """The changes as words."""
    return [f"{c.verb} {c.seen.name}@{c.seen.version}" if c.seen else c.verb for c in changes]


def test_list_then_changes(api: ApiServer, reading: Any) -> None:
    """What is there is seen, then comes synced, then each change in order; the watch goes on from the list."""
    api.listing("10", pod_json("a"), pod_json("b"))
    api.streams = [
        Stream([event("ADDED", "c", "11"), event("MODIFIED", "a", "12"), event("DELETED", "b", "13")], "hold")
    ]
    changes = reading().first(6)
    assert told(changes) == ["seen a@1", "seen b@1", "synced", "added c@11", "modified a@12", "deleted b@13"]
    assert api.asked == ["list", "10"]
    times = [c.time_ns for c in changes]
    assert times == sorted(times)


def test_a_stream_that_ends_in_order_is_resumed(api: ApiServer, reading: Any) -> None:
    """The watch goes on after the last change it has, with no list, no gap and nothing told twice."""
    api.listing("10")
    api.streams = [Stream([event("ADDED", "a", "11")]), Stream([event("MODIFIED", "a", "12")], "hold")]
    assert told(reading().first(3)) == ["synced", "added a@11", "modified a@12"]
    assert api.asked == ["list", "10", "11"]


def test_a_stream_that_breaks_is_resumed(api: ApiServer, reading: Any) -> None:
    """It goes on with no list and misses nothing; how long it was blind is told before what it tells late."""
    api.listing("10")
    api.streams = [Stream([event("ADDED", "a", "11")], "cut"), Stream([event("MODIFIED", "a", "12")], "hold")]
    changes = reading().first(4)
    assert told(changes) == ["synced", "added a@11", "resumed", "modified a@12"]
    assert changes[1].time_ns == changes[2].from_ns < changes[2].time_ns <= changes[3].time_ns
    assert api.asked == ["list", "10", "11"]


def test_a_break_that_lasts_is_one(api: ApiServer, reading: Any) -> None:
    """However often it fails to come back, it was blind from its last sign of life on, which is told once."""
    api.listing("10")
    api.streams = [Stream([event("ADDED", "a", "11")], "cut"), Stream(end="refuse"), Stream(end="refuse")]
    api.streams.append(Stream([event("MODIFIED", "a", "12")], "hold"))
    changes = reading().first(4)
    assert told(changes) == ["synced", "added a@11", "resumed", "modified a@12"]
    assert changes[2].from_ns == changes[1].time_ns


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503, 504])
def test_a_refusal_is_no_gap(api: ApiServer, reading: Any, status: int) -> None:
    """A server that has just started may refuse for a while, in words or in a stream: the version still holds."""
    api.listing("10")
    said = {"type": "ERROR", "object": {"kind": "Status", "code": status}}
    api.streams = [Stream([event("ADDED", "a", "11")], "cut"), Stream(status=status), Stream([said])]
    api.streams.append(Stream([event("MODIFIED", "a", "12")], "hold"))
    changes = reading().first(5)
    assert told(changes) == ["synced", "added a@11", "resumed", "resumed", "modified a@12"]
    assert api.asked == ["list", "10", "11", "11", "11"]


def test_a_watch_that_never_comes_back_ends_with_its_gap(api: ApiServer, reading: Any) -> None:
    """Closed while it is broken: the gap reaches to the close."""
    api.listing("10")
    api.streams = [Stream([event("ADDED", "a", "11")], "cut"), *(Stream(end="refuse") for _ in range(99))]
    running = reading()
    running.first(2)
    assert api.refused.wait(LONG_S)
    running.watch.close()
    assert running.ended(5)
    assert told(running.changes) == ["synced", "added a@11", "gap"]
    assert running.changes[2].from_ns == running.changes[1].time_ns < running.changes[2].time_ns
    assert running.changes[2].version == 11


def test_a_close_is_no_gap(api: ApiServer, reading: Any) -> None:
    """The end that was asked for hides nothing."""
    api.listing("10")
    api.streams = [Stream([event("ADDED", "a", "11")], "hold")]
    running = reading()
    running.first(2)
    assert api.holding.wait(LONG_S)
    running.watch.close()
    assert running.ended(5)
    assert told(running.changes) == ["synced", "added a@11"]


def test_a_first_stream_that_fails_is_taken_up_from_the_list(api: ApiServer, reading: Any) -> None:
    """What changed between the list and the stream is told, late."""
    api.listing("10", pod_json("a"))
    api.streams = [Stream(end="refuse"), Stream([event("MODIFIED", "a", "11")], "hold")]
    changes = reading().first(4)
    assert told(changes) == ["seen a@1", "synced", "resumed", "modified a@11"]
    assert changes[0].time_ns == changes[2].from_ns < changes[2].time_ns


def test_a_line_that_is_no_json_is_a_defect(api: ApiServer) -> None:
    """It is not taken for a broken connection: it would come again for ever."""
    api.listing("10")
    api.streams = [Stream(end="hold", parts=(b"{no json}\n",))]
    running = Reading(Watch("Pod", api.url, urllib3.PoolManager()))
    assert running.ended(LONG_S)
    assert isinstance(running.error, ValueError)


def test_half_a_line_is_asked_for_again(api: ApiServer, reading: Any) -> None:
    """A line cut in its middle is nothing yet: the watch resumes before it."""
    api.listing("10")
    half = json.dumps(event("ADDED", "b", "12")).encode()[:40]
    api.streams = [
        Stream([event("ADDED", "a", "11")], "cut", parts=(half,)),
        Stream([event("ADDED", "b", "12")], "hold"),
    ]
    assert told(reading().first(4)) == ["synced", "added a@11", "resumed", "added b@12"]
    assert api.asked == ["list", "10", "11"]


def test_a_line_may_come_in_parts(api: ApiServer, reading: Any) -> None:
    """Parts of a line that arrive apart are one change."""
    api.listing("10")
    text = json.dumps(event("ADDED", "a", "11")).encode()
    api.streams = [Stream(end="hold", parts=(text[:30], text[30:60], text[60:] + b"\n"))]
    assert told(reading().first(2)) == ["synced", "added a@11"]


@pytest.mark.parametrize("how", [Stream([EXPIRED]), Stream(status=410)], ids=["in the stream", "as the status"])
def test_an_expired_version_is_a_gap(api: ApiServer, reading: Any, how: Stream) -> None:
    """It lists anew: a gap since it last told something, then what is new or changed is seen, what vanished deleted.

    Which revision deleted it nobody knows.
    """
    api.listing("10", pod_json("same"), pod_json("changed"), pod_json("vanished"))
    api.listing("20", pod_json("same"), pod_json("changed", version="15"), pod_json("new", version="16"))
    known = [event("ADDED", "brief", "11"), event("DELETED", "brief", "12"), event("ADDED", "late", "13")]
    api.streams = [Stream(known), how, Stream([event("MODIFIED", "new", "21")], "hold")]
    changes = reading().first(14)
    assert told(changes[:4]) == ["seen same@1", "seen changed@1", "seen vanished@1", "synced"]
    assert told(changes[4:7]) == ["added brief@11", "deleted brief@12", "added late@13"]
    assert sorted(told(changes[8:12])) == ["deleted late@13", "deleted vanished@1", "seen changed@15", "seen new@16"]
    assert {c.seen.name: c.version for c in changes[8:12] if c.seen} == {
        "late": 0, "vanished": 0, "changed": 15, "new": 16,
    }  # fmt: skip
    assert told(changes[7:8]) + told(changes[12:]) == ["gap", "synced", "resumed"]
    gap = changes[7]
    assert changes[6].time_ns == gap.from_ns < gap.time_ns == changes[8].time_ns
    assert gap.version == 13
    assert api.asked[:4] == ["list", "10", "13", "list"]


def test_the_same_name_with_another_uid(api: ApiServer, reading: Any) -> None:
    """After a gap a replaced pod is two objects: the old one deleted, the new one seen."""
    api.listing("10", pod_json("web-0", "old"))
    api.listing("20", pod_json("web-0", "new", version="15"))
    api.streams = [Stream([EXPIRED])]
    changes = reading().first(5)
    assert {(c.verb, c.seen.uid) for c in changes[3:] if isinstance(c.seen, Seen)} == {
        ("deleted", "old"),
        ("seen", "new"),
    }


def test_a_bookmark_moves_the_version(api: ApiServer, reading: Any) -> None:
    """A bookmark is no change, but the watch resumes from it."""
    api.listing("10")
    bookmark = {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "50"}}}
    api.streams = [Stream([bookmark]), Stream([event("ADDED", "a", "51")], "hold")]
    assert told(reading().first(2)) == ["synced", "added a@51"]
    assert api.asked == ["list", "10", "50"]


def test_a_refused_list_is_asked_again(api: ApiServer, reading: Any) -> None:
    """Right after its start an API server may refuse; nothing was seen before, so nothing is a gap."""
    api.listing("0", status=403)
    api.listing("10", pod_json("a"))
    api.streams = [Stream([event("MODIFIED", "a", "11")], "hold")]
    assert told(reading().first(3)) == ["seen a@1", "synced", "modified a@11"]
    assert api.asked[:2] == ["list", "list"]


def test_close_ends_a_waiting_iteration(api: ApiServer, reading: Any) -> None:
    """Another thread ends the watch while the server says nothing and holds the stream open."""
    api.listing("10")
    running = reading()
    assert api.holding.wait(LONG_S)
    running.watch.close()
    assert running.ended(5)
    assert not api.released.is_set()


def test_close_before_the_answer_ends_the_iteration(api: ApiServer, reading: Any) -> None:
    """A watch that is closed while its request is under way does not wait on the stream it then gets."""
    api.listing("10")
    api.streams = [Stream(end="hold", late=True)]
    running = reading()
    assert api.arrived.wait(LONG_S)
    running.watch.close()
    api.go.set()
    assert running.ended(5)
    assert not api.released.is_set()


def test_close_before_the_start() -> None:
    """A watch that was closed asks nothing."""
    watch = Watch("Pod", "http://127.0.0.1:9/nobody", urllib3.PoolManager())
    watch.close()
    assert list(watch) == []


class Asked:
    """A resource that notes what it is asked and answers each time with the next error, or with nothing."""

    def __init__(self, *errors: ApiException) -> None:
        self.errors = list(errors)
        self.bodies: list[dict[str, Any]] = []
        self.subresources = {"eviction": self}

    def create(self, body: dict[str, Any], name: str, namespace: str, **_: object) -> None:
        """See kubernetes.dynamic."""
        assert body["metadata"] == {"name": name, "namespace": namespace}
        self._answer(body)

    def patch(self, body: dict[str, Any], **_: object) -> Any:
        """See kubernetes.dynamic."""
        self._answer(body)
        meta = {"name": "w1", "uid": "u", "resourceVersion": "1"}
        return type("Patched", (), {"to_dict": lambda _: {"metadata": meta}})()

    def _answer(self, body: dict[str, Any]) -> None:
        self.bodies.append(body)
        if self.errors:
            raise self.errors.pop(0)


def asking(resource: Asked) -> Kube:
    """A connection to that resource alone."""
    kube = Kube.__new__(Kube)
    kube._resource = lambda *_: resource  # type: ignore[method-assign]
    return kube


def refused(status: int, **body: Any) -> ApiException:
    """What the client raises of an answer."""
    error = ApiException(status=status, reason="as it says")
    error.body = json.dumps({"message": "no", **body}).encode()
    return error


def test_an_eviction_is_of_this_very_pod() -> None:
    """It asks for the UID; a pod that is gone, or has another UID by now, is not evicted and no error."""
    resource = Asked()
    assert asking(resource).evict("web-1", "ns", uid="u")
    assert resource.bodies[0]["deleteOptions"] == {"preconditions": {"uid": "u"}}
    for status in (404, 409):
        assert not asking(Asked(refused(status))).evict("web-1", "ns", uid="u")


def test_only_a_budgets_refusal_is_one() -> None:
    """A 429 with a budget among its causes says the budget's words; any other refusal is just that."""
    cause = {"reason": "DisruptionBudget", "message": "The disruption budget b needs 2 healthy pods and has 2"}
    with pytest.raises(BudgetRefusal, match=r"^The disruption budget b needs 2"):
        asking(Asked(refused(429, details={"causes": [{"reason": "x"}, cause]}))).evict("web-1", "ns", uid="u")
    for body in ({}, {"details": None}, {"details": {"causes": [{"reason": "x"}]}}, {"details": {"causes": ["x"]}}):
        with pytest.raises(ApiRefusal, match="evict ns/web-1: 429: no") as told:
            asking(Asked(refused(429, **body))).evict("web-1", "ns", uid="u")
        assert not isinstance(told.value, BudgetRefusal)


def test_a_node_is_cordoned_and_opened() -> None:
    """A node that is gone needs no opening; another refusal goes up."""
    resource = Asked()
    kube = asking(resource)
    kube.cordon("w1")
    assert kube.uncordon("w1")
    assert [body["spec"]["unschedulable"] for body in resource.bodies] == [True, None]
    assert not asking(Asked(refused(404))).uncordon("w1")
    with pytest.raises(ApiRefusal):
        asking(Asked(refused(403))).uncordon("w1")
