"""Logs of containers: from their start on, resumed without a line twice, bounded in size, number and time."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import NAMESPACE, pod
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import logs
from chaos.errors import ClusterError
from chaos.kube import ApiRefusal, Change
from chaos.logs import Bounded, LogKeeper, Place, lines_of, shortened
from chaos.redact import Redactor

UID = "0123456789ab"


def line(second: int, text: str) -> str:
    """One line as the API gives it."""
    return f"2026-11-21T15:00:{second:02}.000000000Z {text}\n"


class Script:
    """An API server whose logs are what a test says: for each connection a list of lines, or an error."""

    def __init__(self, *connections: list[str] | Exception) -> None:
        self.connections = list(connections)
        self.asked: list[dict[str, str]] = []
        self.silent = False
        self.ends = False
        self.opened = threading.Event()

    def log(self, pod: str, namespace: str, container: str, timeout_s: float, **options: str) -> Any:
        """See Kube."""
        assert (pod, namespace, container) == ("web-0", NAMESPACE, "app")
        assert timeout_s <= 30
        self.asked.append(options)
        found = self.connections.pop(0) if self.connections else []
        if isinstance(found, Exception):
            raise found
        self.opened.set()
        return Stream(found, self.silent and "follow" in options, ended=self.ends)


class Stream:
    """The lines of one connection; a silent one stays open until it is closed."""

    def __init__(self, lines: list[str], silent: bool = False, ended: bool = False) -> None:
        self._lines = lines
        self.ended = ended
        self._closed = threading.Event()
        if not silent:
            self._closed.set()

    def __iter__(self) -> Iterator[bytes]:
        """See LogStream."""
        yield from (text.encode() for text in self._lines)
        self._closed.wait()

    def close(self) -> None:
        """See LogStream."""
        self._closed.set()


def change(state: str, restarts: int = 0, verb: str = "modified", **container: Any) -> Change:
    """A change of the one pod that shows its container so."""
    told = {"name": "app", "state": state, "restarts": restarts, "id": "containerd://1"} | container
    return Change(verb, 1, pod("web-0", UID, containers=[told]))


def keeper(script: Script, folder: Path, *values: str) -> LogKeeper:
    """A keeper of this API's logs."""
    kube: Any = script
    redactor = Redactor()
    redactor.learn(values)
    return LogKeeper(kube, NAMESPACE, folder, redactor)


def kept(folder: Path) -> dict[str, str]:
    """The files there are."""
    return {path.name.removeprefix("web-0.01234567.app."): path.read_text() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that end are made anew at once."""
    monkeypatch.setattr(logs, "RETRY_S", 0.0)


def test_a_deleted_pods_log_is_whole(tmp_path: Path) -> None:
    """It was followed while the pod was there, and nothing of it is lost when it is gone."""
    script = Script([line(1, "hello"), line(2, "bye")], ApiRefusal("gone", 404))
    under_test = keeper(script, tmp_path)
    under_test.see(change("running"))
    under_test.see(change("running", verb="deleted"))
    assert under_test.stop() == []
    assert kept(tmp_path) == {"0.log": line(1, "hello") + line(2, "bye")}


def test_a_crashed_containers_earlier_start_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Also where the first was over before anybody saw it."""
    script = Script()

    def log(*_: Any, **options: str) -> Stream:
        return Stream([line(1, "first" if "previous" in options else "second")])

    script.log = log  # type: ignore[method-assign, assignment]
    under_test = keeper(script, tmp_path)
    under_test.see(change("waiting", id=None))
    under_test.see(change("terminated", restarts=1))
    assert under_test.stop() == []
    assert kept(tmp_path) == {"0.log": line(1, "first"), "1.log": line(1, "second")}


def test_a_log_that_ended_is_not_asked_for_again(tmp_path: Path) -> None:
    """Where the API tells late of a container's end, asking again would give the words of its next start."""
    script = Script([line(1, "first")], [line(2, "second")])
    script.ends = True
    under_test = keeper(script, tmp_path)
    under_test.see(change("running"))
    assert script.opened.wait(10)
    under_test.see(change("terminated"))
    (thread,) = under_test._threads.values()
    thread.join(10)
    assert kept(tmp_path) == {"0.log": line(1, "first")}
    under_test.see(change("running", restarts=1))
    assert under_test.stop() == []
    assert kept(tmp_path) == {"0.log": line(1, "first"), "1.log": line(2, "second")}


def test_a_log_that_ended_too_early_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its container goes on running for all the API says, the end was none."""
    monkeypatch.setattr(logs, "STATUS_S", 0.01)
    script = Script([line(1, "a")], [line(1, "a"), line(2, "b")])
    script.ends = True
    under_test = keeper(script, tmp_path)
    under_test.see(change("running"))
    while len(script.asked) < 3:
        script.opened.clear()
        assert script.opened.wait(10)
    assert under_test.stop() == []
    assert kept(tmp_path) == {"0.log": line(1, "a") + line(2, "b")}


def test_a_broken_connection_goes_on_where_it_was(tmp_path: Path) -> None:
    """Not a line is there twice, not even those of the moment at which it broke; an API that is away is asked again."""
    script = Script(
        [line(1, "a"), line(2, "b"), line(2, "b")],
        ClusterError("away"),
        [line(2, "b"), line(2, "b"), line(2, "b"), line(3, "c")],
    )
    under_test = keeper(script, tmp_path)
    finished = threading.Event()
    log = script.log

    def until_done(*args: Any, **options: str) -> Any:
        if not script.connections:
            finished.set()
        return log(*args, **options)

    script.log = until_done  # type: ignore[method-assign]
    under_test.see(change("running"))
    assert finished.wait(10)
    assert under_test.stop() == []
    assert kept(tmp_path) == {"0.log": "".join([line(1, "a"), *[line(2, "b")] * 3, line(3, "c")])}
    assert script.asked[2] == {"follow": "true", "sinceTime": "2026-11-21T15:00:02.000000000Z"}


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=30).map(sorted), st.lists(st.integers(0, 30), max_size=5))
def test_any_number_of_breaks_loses_nothing_and_doubles_nothing(seconds: list[int], breaks: list[int]) -> None:
    """The API gives again all of the second it is asked from."""
    whole = [line(second, f"line {number}") for number, second in enumerate(seconds)]
    place, got = Place(), []
    for end in [*sorted(breaks), len(whole)]:
        again = [text for text in whole[:end] if text[:19] >= place.time[:19]]
        got += list(place.new(iter(again)))
    assert got == whole


def test_stopping_ends_silent_streams_after_a_last_look(tmp_path: Path) -> None:
    """What was said since the stream's last words is there; the threads are gone."""
    script = Script([line(1, "hello")], [line(1, "hello"), line(2, "and bye")])
    script.silent = True
    before = set(threading.enumerate())
    under_test = keeper(script, tmp_path)
    under_test.see(change("running"))
    assert script.opened.wait(10)
    assert under_test.stop() == []
    assert kept(tmp_path)["0.log"].endswith(line(2, "and bye"))
    assert kept(tmp_path)["0.log"].count("hello") == 1
    assert set(threading.enumerate()) <= before
    under_test.see(change("running", restarts=1))
    assert set(threading.enumerate()) <= before, "nothing is begun after the end"


def test_an_api_that_never_answers_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """The end comes in its time, and says whose log is not whole."""
    asked, released = threading.Event(), threading.Event()
    script = Script()

    def log(*_: Any, **__: Any) -> Any:
        asked.set()
        released.wait(60)
        raise ClusterError("too late")

    script.log = log  # type: ignore[method-assign, assignment]
    under_test = keeper(script, tmp_path)
    under_test.see(change("running"))
    assert asked.wait(10)
    assert under_test.stop(0.05) == ["web-0.01234567.app.0.log: its log was not read to the end within 0.05 s"]
    released.set()


def test_no_secret_is_in_a_log_even_where_it_was_told_of_late(tmp_path: Path) -> None:
    """What was known is taken out as it comes, the rest at the end."""
    script = Script([line(1, "known-4-long and late-4-long")])
    under_test = keeper(script, tmp_path, "known-4-long")
    under_test.see(change("terminated"))
    under_test._redactor.learn(["late-4-long"])
    assert under_test.stop() == []
    (text,) = kept(tmp_path).values()
    assert "4-long" not in text
    assert text.count("(redacted-") == 2


def test_secrets_are_learnt_before_the_first_word(tmp_path: Path) -> None:
    """A container starts only once its Secrets are there, so that they can be known."""
    steps: list[str] = []
    script = Script()
    log = script.log

    def noted(*args: Any, **options: str) -> Any:
        steps.append("log")
        return log(*args, **options)

    script.log = noted  # type: ignore[method-assign]
    kube: Any = script
    under_test = LogKeeper(kube, NAMESPACE, tmp_path, Redactor(), lambda: steps.append("learn"))
    under_test.see(change("terminated"))
    under_test.stop()
    assert steps == ["learn", "log"]


def test_too_many_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there is room for, and how many more there were, each counted once."""
    monkeypatch.setattr(logs, "MOST_FILES", 1)
    under_test = keeper(Script([line(1, "a")]), tmp_path)
    for _ in range(2):
        under_test.see(change("terminated", restarts=0))
        under_test.see(change("terminated", restarts=1))
    assert under_test.stop() == ["1 more logs: there were too many"]
    assert list(kept(tmp_path)) == ["0.log"]


def test_init_containers_and_other_kinds(tmp_path: Path) -> None:
    """The first have logs too; a change that is not a pod's has none."""
    under_test = keeper(Script([line(1, "set up")]), tmp_path)
    told = {"name": "app", "state": "terminated", "restarts": 0, "id": "containerd://1"}
    under_test.see(Change("synced", 1))
    under_test.see(Change("added", 1, pod("web-0", UID, containers=[], init_containers=[told])))
    assert under_test.stop() == []
    assert kept(tmp_path) == {"0.log": line(1, "set up")}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text("ab\n", max_size=30)), st.integers(0, 60), st.integers(1, 60))
def test_a_bounded_file_has_its_beginning_and_its_end(texts: list[str], head: int, tail: int) -> None:
    """Whole where there is room; otherwise both ends and the number of lines between them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        file = Bounded(path, head, tail)
        lines = [text.replace("\n", "") + "\n" for text in texts]
        for text in lines:
            file.write(text)
        file.close()
        written = path.read_text()
    whole = "".join(lines)
    if len(whole) <= head:
        assert written == whole
    if "left out" in written:
        begin, _, end = written.partition("\n(kindstorm: ")
        count, _, end = end.partition(" lines, ")
        assert whole.startswith(begin)
        rest = end.partition("here)\n\n")[2]
        assert whole.endswith(rest)
        assert int(count) == len(lines) - begin.count("\n") - rest.count("\n")
        assert len(begin) <= head
        assert len(rest) <= max(tail, 31)
    else:
        assert written == whole


@settings(deadline=None)
@given(st.text("ab\n"), st.integers(0, 40), st.integers(0, 40))
def test_a_shortened_text_is_cut_between_lines(text: str, head: int, tail: int) -> None:
    """No half line, which could be half a secret."""
    short = shortened(text, head, tail)
    if len(text) <= head + tail:
        assert short == text
    else:
        begin, _, rest = short.partition("\n(kindstorm: ")
        end = rest.partition("here)\n\n")[2]
        assert begin == "" or begin.endswith("\n")
        assert end == "" or text[: len(text) - len(end)].endswith("\n")
        assert text.startswith(begin)
        assert text.endswith(end)
        assert (len(begin) <= head, len(end) <= tail) == (True, True)


def test_bytes_become_lines() -> None:
    """Whatever the pieces, also within a character; a line without an end gets one, a far too long one is cut."""
    text = "zwölf\nélan\nrest"
    raw = text.encode()
    for size in range(1, len(raw)):
        pieces = [raw[n : n + size] for n in range(0, len(raw), size)]
        assert list(lines_of(iter(pieces))) == ["zwölf\n", "élan\n", "rest\n"]
    long = [b"x" * logs.MOST_LINE_CHARS, b"yy\n"]
    assert "".join(lines_of(iter(long))) == "x" * logs.MOST_LINE_CHARS + "yy\n"
