"""The recorder writes every change, wakes who waits on one, and hides no defect of a watch."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import NAMESPACE, FakeKube, ScriptedWatch, node, pod

from chaos.errors import ClusterError, WaitTimeout
from chaos.history import Record, Segments, read_records, seal
from chaos.kube import Change, Seen
from chaos.recorder import GLOBAL, NAMESPACED, Recorder

LONG_S = 20.0


@pytest.fixture
def kube() -> FakeKube:
    """An API whose watches tell what a test feeds them."""
    return FakeKube()


@pytest.fixture
def writers(tmp_path: Path) -> Segments:
    """Where the records go."""
    return Segments(tmp_path)


@pytest.fixture
def recorder(kube: FakeKube, writers: Segments) -> Iterator[Recorder]:
    """A recorder that runs; stopped after the test where the test did not."""
    fake: Any = kube
    running = Recorder(fake, NAMESPACE, writers).start()
    yield running
    if any(thread.is_alive() for thread in running._threads):
        with contextlib.suppress(KeyError, ValueError):  # what a test let a watch crash with
            running.stop()


def records(writers: Segments, kind: str) -> list[Record]:
    """What was written of one kind."""
    writers.close()
    return [r for path in writers.paths for r in read_records(path) if r.kind == kind]


def there(name: str) -> Any:
    """Looks for a pod."""
    return lambda recorder: recorder.get("Pod", name)


def test_a_change_wakes_the_wait(kube: FakeKube, recorder: Recorder) -> None:
    """It looks at once, then once more after the one change that comes: nothing is polled."""
    looks: list[Seen | None] = []

    def look(now: Recorder) -> Seen | None:
        if not looks:
            kube.watches["Pod"].feed(Change("added", 5, pod("web-0")))
        looks.append(now.get("Pod", "web-0"))
        return looks[-1]

    assert recorder.wait(look, LONG_S, "web-0 is there").name == "web-0"
    assert len(looks) == 2


def test_a_wait_that_times_out_says_what_it_saw(kube: FakeKube, recorder: Recorder) -> None:
    """The message has what was waited for, the bound, and the pods as they are."""
    with pytest.raises(WaitTimeout, match="no such: not within 0 s; last seen: no pods"):
        recorder.wait(lambda _: None, 0, "no such")
    kube.watches["Pod"].feed(Change("added", 5, pod("a")), Change("added", 6, pod("b", ready=False, phase="Pending")))
    recorder.wait(there("b"), LONG_S, "b is there")
    with pytest.raises(WaitTimeout, match=r"^c is there: not within 0 s; last seen: a Running, b Pending not ready$"):
        recorder.wait(there("c"), 0, "c is there")


def test_the_picture_follows_the_changes(kube: FakeKube, recorder: Recorder) -> None:
    """Objects are kept by UID and given by name; the deleted are gone, their successors of the same name are not."""
    feed = kube.watches["Pod"].feed
    feed(Change("seen", 1, pod("b")), Change("seen", 2, pod("a", "a-1")), Change("added", 3, pod("a", "a-2")))
    feed(Change("deleted", 4, pod("a", "a-1")), Change("modified", 5, pod("b", ready=False)))
    recorder.wait(lambda r: r.get("Pod", "b") and not r.get("Pod", "b").state["ready"], LONG_S, "b is not ready")
    assert [(p.name, p.uid) for p in recorder.objects("Pod")] == [("a", "a-2"), ("b", "b-a")]
    assert recorder.objects("Node") == []
    assert recorder.get("Pod", "c") is None


def test_the_start_waits_for_every_first_list(
    kube: FakeKube, writers: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch that never lists keeps the start from returning."""
    kube.mute = {"Node"}
    monkeypatch.setattr("chaos.recorder.SYNC_S", 0.2)
    fake: Any = kube
    broken = Recorder(fake, NAMESPACE, writers)
    with pytest.raises(WaitTimeout, match="first lists of all watches"):
        broken.start()
    broken.stop()


def test_a_crash_is_raised_to_who_waits(kube: FakeKube, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that is under way is woken by the defect itself; each later one raises it, and so does the stop."""
    woken: list[bool] = []
    sleep = recorder._changed.wait
    monkeypatch.setattr(recorder._changed, "wait", lambda seconds: woken.append(sleep(seconds)))

    def look(_: Recorder) -> None:
        kube.watches["Node"].feed(KeyError("defect"))

    with pytest.raises(KeyError, match="defect"):
        recorder.wait(look, LONG_S, "never")
    assert woken == [True]
    with pytest.raises(KeyError, match="defect"):
        recorder.wait(lambda _: True, LONG_S, "found at once")
    with pytest.raises(KeyError, match="defect"):
        recorder.stop()


def test_a_crash_that_nobody_waited_on_is_raised_by_stop(kube: FakeKube, recorder: Recorder) -> None:
    """At the latest the stop tells of it, and all watches are closed all the same."""
    kube.watches["Event"].feed(ValueError("defect"))
    with pytest.raises(ValueError, match="defect"):
        recorder.stop()
    assert all(watch.closed for watch in kube.watches.values())


def test_changes_are_written(kube: FakeKube, recorder: Recorder, writers: Segments) -> None:
    """Each change is a record with its own time; synced is none."""
    kube.watches["Pod"].feed(Change("seen", 11, pod("web-0")), Change("deleted", 12, pod("web-0")))
    recorder.stop()
    seen, deleted = records(writers, "object")
    assert (seen.time_ns, deleted.time_ns) == (11, 12)
    assert (seen["verb"], deleted["verb"]) == ("seen", "deleted")
    assert (seen["object"], seen["namespace"], seen["name"], seen["uid"]) == ("Pod", NAMESPACE, "web-0", "web-0-a")
    assert seen["state"] == pod("web-0").state


def test_each_watch_is_a_source_of_its_own(
    kube: FakeKube, recorder: Recorder, writers: Segments, tmp_path: Path
) -> None:
    """A record says which watch told it and which revision made it; all of them close, also those that told nothing."""
    kube.watches["Pod"].feed(Change("added", 11, pod("web-0"), version=7), Change("deleted", 12, pod("web-0")))
    kube.watches["Node"].feed(Change("added", 13, node("worker"), version=8))
    recorder.stop()
    writers.close()
    history = seal(writers.paths, tmp_path / "history.jsonl")
    told = [(r.source, r["verb"], r.get("version")) for r in history.of("object")]
    assert told == [("api:Pod", "added", 7), ("api:Pod", "deleted", None), ("api:Node", "added", 8)]
    watches = {f"api:{kind}" for kind in (*NAMESPACED, *GLOBAL)}
    assert {r.source for r in history.of("closing")} == {*watches, "api:revision"}
    assert history.cut_off() == []


def test_a_blind_stretch_is_written(kube: FakeKube, recorder: Recorder, writers: Segments) -> None:
    """A watch that was taken up again missed nothing: it says how long it was blind, and has no gap."""
    kube.watches["Node"].feed(Change("resumed", 20, from_ns=15))
    recorder.stop()
    assert records(writers, "gap") == []
    (resumed,) = records(writers, "resumed")
    assert (resumed.time_ns, resumed["what"], resumed["from_ns"], resumed["to_ns"]) == (20, "watch Node", 15, 20)


def test_the_revision_clock_bounds_a_gap(kube: FakeKube, recorder: Recorder, writers: Segments) -> None:
    """It begins where the last version that was told was certainly still the last, whenever the watch told it."""

    def read(_: Recorder) -> int | None:
        return recorder._revisions.unpublished_ns(1_000_000)

    deadline = threading.Event()
    while not (known := read(recorder)):
        assert not deadline.wait(0.01)
    recorder._revisions.stop()
    recorder._revisions.thread.join(LONG_S)
    known = read(recorder)
    assert known is not None
    kube.watches["Node"].feed(Change("gap", known + 50, version=1_000_000, from_ns=known - 40))
    kube.watches["Pod"].feed(Change("gap", known + 50, version=999, from_ns=known - 40))
    recorder.stop()
    assert {gap["what"]: gap["from_ns"] - known for gap in records(writers, "gap")} == {
        "watch Node": 0,
        "watch Pod": -40,
    }


def test_a_gap_is_written(kube: FakeKube, recorder: Recorder, writers: Segments) -> None:
    """What a watch may have missed is a gap record with both ends and the watch's name."""
    kube.watches["Node"].feed(Change("gap", 20, from_ns=15))
    recorder.stop()
    (gap,) = records(writers, "gap")
    assert (gap.time_ns, gap["what"], gap["from_ns"], gap["to_ns"]) == (20, "watch Node", 15, 20)


@pytest.mark.parametrize("told_ns", [0, 77])
def test_a_watch_that_fell_silent_is_a_gap(
    kube: FakeKube, recorder: Recorder, writers: Segments, monkeypatch: pytest.MonkeyPatch, told_ns: int
) -> None:
    """What the API server has and the watch never told is a gap from its last sign of life to now."""
    monkeypatch.setattr("chaos.recorder.CONFIRM_S", 0)
    kube.untold = [pod("web-0")]
    kube.watches["Pod"].told_ns = told_ns
    recorder.stop()
    (gap,) = records(writers, "gap")
    assert gap["what"] == "watch Pod"
    assert gap["from_ns"] == (told_ns or gap["to_ns"]) <= gap["to_ns"] <= gap.time_ns


@pytest.mark.parametrize("change", ["older version", "still there"])
def test_a_watch_that_lags_is_a_gap(
    kube: FakeKube, recorder: Recorder, writers: Segments, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Another version, or an object that is gone from the API server, differs as well."""
    monkeypatch.setattr("chaos.recorder.CONFIRM_S", 0)
    kube.watches["Pod"].feed(Change("seen", 1, pod("web-0")))
    recorder.wait(there("web-0"), LONG_S, "web-0 is there")
    newer = [replace(pod("web-0"), version="2")] if change == "older version" else []
    kube.watches["Pod"].there = {seen.uid: seen for seen in newer}
    recorder.stop()
    assert [gap["what"] for gap in records(writers, "gap")] == ["watch Pod"]


def test_a_watch_that_catches_up_is_no_gap(
    kube: FakeKube, recorder: Recorder, writers: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop waits for what is under way, and its record is in the history."""
    listed = kube.list
    asked: list[str] = []

    def late(kind: str, namespace: str | None = None) -> list[Seen]:
        asked.append(kind)
        if kind == "Pod":
            if asked.count("Pod") == 2:
                kube.watches["Pod"].feed(Change("added", 5, pod("web-0")))
            return [pod("web-0")]
        return listed(kind, namespace)

    monkeypatch.setattr(kube, "list", late)
    recorder.stop()
    assert asked.count("Pod") >= 2
    assert set(asked) == {*NAMESPACED, *GLOBAL}
    assert [r["name"] for r in records(writers, "object")] == ["web-0"]
    assert records(writers, "gap") == []


def test_an_api_server_that_is_gone_confirms_nothing(
    kube: FakeKube, recorder: Recorder, writers: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every watch has a gap then, and the stop ends all of them."""

    def away(*_: object) -> list[Seen]:
        raise ClusterError("the API server does not answer")

    monkeypatch.setattr("chaos.recorder.CONFIRM_S", 0)
    monkeypatch.setattr(kube, "list", away)
    recorder.stop()
    assert {gap["what"] for gap in records(writers, "gap")} == {f"watch {kind}" for kind in (*NAMESPACED, *GLOBAL)}
    assert all(watch.closed for watch in kube.watches.values())


def test_a_crash_of_the_last_look_leaves_no_watch_behind(
    kube: FakeKube, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor an interrupt: it goes on, and whatever watched has ended."""

    def crash(*_: object) -> list[Seen]:
        raise KeyError("metadata")

    monkeypatch.setattr(kube, "list", crash)
    with pytest.raises(KeyError, match="metadata"):
        recorder.stop()
    assert not [thread.name for thread in recorder._threads if thread.is_alive()]
    assert all(watch.closed for watch in kube.watches.values())


def test_a_thread_that_does_not_end_is_told(
    kube: FakeKube, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch that ignores its end would write into a closed history: the stop names it."""
    monkeypatch.setattr("chaos.recorder.SYNC_S", 0.1)
    monkeypatch.setattr(kube.watches["Event"], "close", lambda: None)
    with pytest.raises(WaitTimeout, match=r"^watch-Event did not end within 0\.1 s$"):
        recorder.stop()
    ScriptedWatch.close(kube.watches["Event"])


def test_a_crash_of_the_clock_is_raised(kube: FakeKube, writers: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk under the clock's records wakes who waits, and the stop raises it."""

    def full() -> None:
        raise OSError("disk full")

    monkeypatch.setattr("chaos.recorder.CLOCK_S", 0.01)
    fake: Any = kube
    running = Recorder(fake, NAMESPACE, writers).start()
    monkeypatch.setattr(writers["api:revision"], "clock", full)
    with pytest.raises(OSError, match="disk full"):
        running.wait(lambda _: None, LONG_S, "never")
    with pytest.raises(OSError, match="disk full"):
        running.stop()


def test_it_watches_what_the_history_promises() -> None:
    """All kinds of the history's contract are watched."""
    workloads = {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}
    promised = {"Pod", "PersistentVolumeClaim", "PersistentVolume", "Node", "Lease", "Job", "EndpointSlice", "Event"}
    promised |= {"Service"}
    assert promised | workloads == {*NAMESPACED, *GLOBAL}


def test_stop_closes_all_watches(kube: FakeKube, recorder: Recorder, writers: Segments) -> None:
    """After the stop no thread writes any more: the writer can be closed."""
    recorder.stop()
    assert all(watch.closed for watch in kube.watches.values())
    assert not [t for t in recorder._threads if t.is_alive()]
    writers.close()


def test_an_engine_that_is_gone_ends_every_wait(
    kube: FakeKube, writers: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait under way is woken, a wait on something else can ask, and the stop confirms nothing any more."""
    monkeypatch.setattr("chaos.recorder.ENGINE_S", 0.01)
    gone = threading.Event()

    def require() -> None:
        if gone.is_set():
            raise ClusterError("the engine is gone")

    fake: Any = kube
    running = Recorder(fake, NAMESPACE, writers, require).start()
    running.check()
    gone.set()
    with pytest.raises(ClusterError, match="the engine is gone"):
        running.wait(lambda _: None, LONG_S, "never")
    with pytest.raises(ClusterError, match="the engine is gone"):
        running.check()
    monkeypatch.setattr(kube, "list", lambda *_: pytest.fail("it asked an API server that is gone"))
    with pytest.raises(ClusterError, match="the engine is gone"):
        running.stop()
    assert all(watch.closed for watch in kube.watches.values())


def test_all_watches_are_confirmed_at_once(kube: FakeKube, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is asked while all others are: what none can confirm costs the time of one."""
    together = threading.Barrier(len(NAMESPACED) + len(GLOBAL), timeout=LONG_S)

    def listed(*_: object) -> list[Seen]:
        together.wait()
        return []

    monkeypatch.setattr(kube, "list", listed)
    recorder.stop()
    assert not together.broken
