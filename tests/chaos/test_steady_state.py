"""A steady state holds when each condition holds in turn; the first that does not is named."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cluster_fakes import NAMESPACE, Picture, pod, workload

from chaos import steady_state
from chaos.errors import ClusterError, SteadyStateError
from chaos.probes.inside import Reading
from chaos.stack import Stack
from chaos.steady_state import ENTRY_ANSWERS, NAMES_RESOLVE, WORKLOADS_READY, Condition, View, hold

WEB = Stack(
    "web",
    (
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "web"},
            "spec": {"replicas": 2, "serviceName": "web"},
        },
    ),
)
PODS = (pod("web-0", ip="10.0.0.1"), pod("web-1", ip="10.0.0.2"))
RIGHT = {f"web-{n}.web.{NAMESPACE}.svc.cluster.local": [[f"10.0.0.{n + 1}"]] for n in (0, 1)}


class Names:
    """Stands in for the questions asked inside: each name has its answers in turn, the last one for ever."""

    def __init__(self, answers: dict[str, list[list[str] | None]]) -> None:
        self.answers = {name: list(rows) for name, rows in answers.items()}
        self.asked: list[str] = []

    def dns(self, name: str) -> Reading:
        """See Inside; an answer of None is none at all."""
        self.asked.append(name)
        rows = self.answers[name]
        row = rows.pop(0) if len(rows) > 1 else rows[0]
        return Reading(1, 2, None, "no answer") if row is None else Reading(1, 2, {"answers": row, "rcode": "NOERROR"})


def view(picture: Picture, names: Names | None = None, address: str | None = None) -> View:
    """A view of these parts."""
    parts: list[Any] = [picture, names or Names(RIGHT)]
    return View(WEB, NAMESPACE, parts[0], parts[1], address)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls do not pause."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)


@pytest.fixture
def entry() -> Iterator[Any]:
    """A server on this machine that answers with the statuses a test lists, then 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.headers["Connection"])
            self.send_response(server.statuses.pop(0) if server.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.statuses, server.asked = [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_conditions_hold_in_order() -> None:
    """Each is waited for once, with the time given."""
    seen: list[tuple[str, float]] = []
    conditions = [Condition(name, lambda _, s, name=name: seen.append((name, s))) for name in ("a", "b")]
    hold(conditions, view(Picture()), 7)
    assert seen == [("a", 7), ("b", 7)]


def test_the_first_that_does_not_hold_is_named() -> None:
    """Its name and its own words; those after it are not asked."""

    def fail(*_: object) -> None:
        raise ClusterError("the API server does not answer")

    never: list[object] = []
    conditions = [Condition("it stands", fail), Condition("never", lambda *_: never.append(1))]
    with pytest.raises(SteadyStateError, match=r"^not steady: it stands: the API server does not answer$"):
        hold(conditions, view(Picture()))
    assert never == []


def test_workloads_ready() -> None:
    """It holds once the stack is ready, and not before."""
    sound = (workload("StatefulSet", "web", 2), *PODS)
    picture = Picture(steps=[lambda p: p.all.extend(sound)])
    hold([WORKLOADS_READY], view(picture), 5)
    assert picture.steps == []
    with pytest.raises(SteadyStateError, match="all workloads are ready: stack web is ready: not within 5 s"):
        hold([WORKLOADS_READY], view(Picture(*PODS)), 5)


def test_names_resolve() -> None:
    """Every identity is asked for by its full name until the answer is its pod's present address and nothing else."""
    first, second = RIGHT
    names = Names({first: [None, [], ["10.0.0.9"], ["10.0.0.1", "10.0.0.9"], ["10.0.0.1"]], second: [["10.0.0.2"]]})
    hold([NAMES_RESOLVE], view(Picture(*PODS), names), 30)
    assert names.asked == [first] * 5 + [second]


@pytest.mark.parametrize("answer", [None, [], ["10.0.0.9"], ["10.0.0.1", "10.0.0.2"]])
def test_names_that_do_not_resolve(answer: list[str] | None) -> None:
    """No answer, an empty one, an old address, and one address too many do not hold."""
    first, second = RIGHT
    names = Names({first: [["10.0.0.1"]], second: [answer]})
    with pytest.raises(SteadyStateError, match=f"stable name resolves to its pod: {second} resolves to its pod's"):
        hold([NAMES_RESOLVE], view(Picture(*PODS), names), 0.01)


def test_a_name_of_a_pod_that_is_not_there() -> None:
    """An answer for a pod that nobody has seen is not right."""
    with pytest.raises(SteadyStateError, match="not within"):
        hold([NAMES_RESOLVE], view(Picture(PODS[0])), 0.01)


def test_the_entry_answers_in_a_row(entry: Any) -> None:
    """An answer that is not 200 begins the row anew; each is asked on a connection of its own."""
    entry.statuses = [200, 200, 503, 200]
    hold([ENTRY_ANSWERS], view(Picture(), address=entry.url), 30)
    assert len(entry.asked) == 3 + 5
    assert set(entry.asked) == {"close"}


def test_an_entry_that_does_not_answer(entry: Any) -> None:
    """Neither errors nor a closed port hold."""
    entry.statuses = [503] * 10_000
    with pytest.raises(SteadyStateError, match=r"the entry answers: .* answers 5 times in a row: .* last seen: 0"):
        hold([ENTRY_ANSWERS], view(Picture(), address=entry.url), 0.01)
    entry.server_close()
    with pytest.raises(SteadyStateError, match="last seen: 0"):
        hold([ENTRY_ANSWERS], view(Picture(), address=entry.url), 0.01)


def test_no_entry_no_question() -> None:
    """A stack without a way in has nothing to answer."""
    hold([ENTRY_ANSWERS], view(Picture(), address=None), 0)


def test_the_usual_conditions() -> None:
    """What holds of every sound stack is all three."""
    assert (WORKLOADS_READY, NAMES_RESOLVE, ENTRY_ANSWERS) == steady_state.STEADY
