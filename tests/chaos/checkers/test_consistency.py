"""Consistency: no read goes back, none makes anything up; what was asked too little of is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from histories import Story, ns
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.checkers import Outcome, Verdict, consistency
from chaos.history import Record


class Keys:
    """A story of versioned keys."""

    def __init__(self, story: Story | None = None) -> None:
        self.story = story if story is not None else Story().phases().fault()
        self._ops = 0

    def write(self, at_s: float, who: str, key: Any, version: int, fate: str = "ok", took_s: float = 0.01) -> None:
        """Add a write; ``open``: it never ends."""
        self._add(at_s, who, "write", {"key": key, "version": version}, {"key": key, "version": version}, fate, took_s)

    def read(
        self, at_s: float, who: str, key: Any, version: int | None, fate: str = "ok", took_s: float = 0.01
    ) -> None:
        """Add a read and what it found."""
        self._add(at_s, who, "read", {"key": key}, {"key": key, "version": version}, fate, took_s)

    def _add(self, at_s: float, who: str, f: str, asked: Any, told: Any, fate: str, took_s: float) -> None:
        self._ops += 1
        common = {"process": who, "op": self._ops, "f": f}
        self.story.tell(at_s, "load", "op", type="invoke", intended_ns=ns(at_s), value=asked, **common)
        if fate != "open":
            error = None if fate == "ok" else "refused"
            self.story.tell(at_s + took_s, "load", "op", type=fate, value=told, error=error, **common)

    def judged(self, **options: Any) -> Verdict:
        """The verdict on it."""
        return consistency(**options).check(self.story.history())


def sound() -> Keys:
    """Two writers of a key each over the whole load; each reads its own key and the other's after every write."""
    keys = Keys()
    for step in range(120):
        at_s = 10.1 + step / 4
        for number, (who, other) in enumerate((("a", "b"), ("b", "a"))):
            keys.write(at_s + number / 20, who, who, step)
            keys.read(at_s + number / 20 + 0.02, who, who, step)
            keys.read(at_s + number / 20 + 0.1, who, other, step)
    return keys


def test_a_version_that_was_sent_while_it_was_read_is_no_fiction() -> None:
    """A read may show a write that began after it did, as long as that was before its answer."""
    keys = sound()
    keys.read(30.09, "b", "a", 80, took_s=0.05)
    verdict = keys.judged()
    assert verdict.outcome is Outcome.VALID, verdict.summary


def test_what_was_acknowledged_as_a_read_began_is_not_owed() -> None:
    """At the very same time nothing was before it."""
    keys = sound()
    keys.write(39.95, "a", "a", 120)
    keys.read(39.96, "a", "a", 119)
    assert keys.judged().outcome is Outcome.VALID
    keys.read(39.97, "a", "a", 119)
    assert keys.judged().outcome is Outcome.INVALID


def test_reads_that_never_go_back_are_valid_and_counted() -> None:
    """VALID, with how many reads could have gone back."""
    verdict = sound().judged()
    assert verdict.outcome is Outcome.VALID
    assert (verdict.evidence["keys"], verdict.evidence["writes"], verdict.evidence["reads"]) == (2, 240, 480)
    assert verdict.evidence["reads_owing"] == 480
    assert verdict.evidence["reads_of_own_writes"] == 240
    assert verdict.evidence["reads_again"] == 480 - 4
    assert verdict.summary.startswith("of 480 reads that an older answer would have betrayed none went back: 240 of ")
    assert "the longest lag was 0.000 s" in verdict.summary


@pytest.mark.parametrize(
    ("slip", "told"),
    [
        (
            lambda k: k.read(30.001, "a", "a", 5),
            "read version 5 of 'a' 10.00 s after the injection of kill_pod on Pod we",
        ),
        (lambda k: k.read(30.001, "a", "a", None), "a read nothing of 'a'"),
        (lambda k: k.read(30.001, "b", "a", 5), "it had read version"),
        (lambda k: k.read(30.001, "b", "a", 119), "were of a version that was not sent yet"),
        (lambda k: k.read(30.001, "b", "a", 4000), "were of a version that was never written"),
        (lambda k: k.read(30.001, "b", "nobody's", 1), "of which no write that could have happened is known"),
    ],
)
def test_a_single_wrong_answer_is_invalid_and_named(slip: Callable[[Keys], None], told: str) -> None:
    """One read in hundreds: who read what of which key, when, and what it should have known."""
    keys = sound()
    slip(keys)
    verdict = keys.judged()
    assert verdict.outcome is Outcome.INVALID
    assert told in verdict.summary
    assert verdict.findings
    assert "after the injection" in verdict.findings[0]


def test_a_failed_write_that_is_read_is_invalid() -> None:
    """A definite failure is a promise too; the write nobody knows of may be read, and may not be."""
    for fate, expected in (("fail", Outcome.INVALID), ("info", Outcome.VALID), ("open", Outcome.VALID)):
        keys = sound()
        keys.write(40.02, "a", "a", 500, fate, took_s=0.001)
        keys.read(40.05, "b", "a", 500)
        assert keys.judged().outcome is expected, fate
        forgotten = sound()
        forgotten.write(40.02, "a", "a", 500, fate, took_s=0.001)
        forgotten.read(40.05, "b", "a", 119)
        assert forgotten.judged().outcome is Outcome.VALID, fate


def test_what_was_read_once_stays() -> None:
    """Also where nobody knows whether the write was acknowledged."""
    keys = sound()
    keys.write(40.02, "a", "a", 500, "open")
    keys.read(40.05, "b", "a", 500)
    keys.read(40.07, "b", "a", 119)
    verdict = keys.judged()
    assert verdict.outcome is Outcome.INVALID
    assert "b read version 119 of 'a'" in verdict.findings[0]
    assert "it had read version 500 before" in verdict.findings[0]


def stale() -> Keys:
    """A third session reads a's key for the first time 0.4 s after version 60 came, and finds version 58."""
    keys = sound()
    keys.read(10.1 + 60 / 4 + 0.01 + 0.2, "c", "a", 59)
    return keys


def test_a_lag_is_measured_and_bounded() -> None:
    """Whoever reads for the first time may be behind as far as was promised, and no further."""
    assert stale().judged().outcome is Outcome.VALID
    assert stale().judged().evidence["longest_lag_ms"] == pytest.approx(200)
    assert stale().judged(lag_s_max=0.25).outcome is Outcome.VALID
    verdict = stale().judged(lag_s_max=0.15)
    assert verdict.outcome is Outcome.INVALID
    assert "c read version 59 of 'a'" in verdict.summary
    assert "a newer one had been acknowledged 0.200 s before, by then version 60" in verdict.summary
    assert stale().judged(lag_s_max=0).outcome is Outcome.INVALID


def only(**wanted: str) -> Keys:
    """The sound story with some of its operations only."""
    keys = sound()

    def unwanted(record: Record) -> bool:
        return record.kind == "op" and any(record[name] != value for name, value in wanted.items())

    keys.story.without(unwanted)
    return keys


def test_too_little_is_unknown() -> None:
    """No operations, only writes, only reads, reads by writers only, too few, no fault: never VALID."""
    cases = {
        "only 0 reads could have shown": Keys(),
        "only 0 reads could": only(f="write"),
        "only 12 reads could": Keys(),
        "no such read began after the first injection": Keys(),
        "no fault was injected": Keys(Story().phases()),
    }
    for step in range(4):
        cases["only 12 reads could"].write(21 + step, "a", "a", step)
        for more in range(3):
            cases["only 12 reads could"].read(21.2 + step + more / 10, "a", "a", step)
    for keys in (cases["no such read began after the first injection"], cases["no fault was injected"]):
        for step in range(30):
            keys.write(10.1 + step / 4, "a", "a", step)
            keys.read(10.2 + step / 4, "a", "a", step)
    for told, keys in cases.items():
        verdict = keys.judged()
        assert verdict.outcome is Outcome.UNKNOWN, told
        assert told in verdict.summary


def test_reads_by_others_only_say_nothing_of_a_writers_own() -> None:
    """Each of the session guarantees needs reads of its own."""
    keys = Keys()
    for step in range(60):
        keys.write(10.1 + step / 4, "a", "a", step)
        keys.read(10.2 + step / 4, "b", "a", step)
    assert keys.judged().outcome is Outcome.UNKNOWN
    assert "no read of a key by its own writer could have gone back" in keys.judged().summary


def test_keys_without_an_order_are_unknown() -> None:
    """Two writers of one key, or a version twice: which one is newer is not known."""
    keys = sound()
    keys.write(39.9, "b", "a", 700)
    assert keys.judged().outcome is Outcome.UNKNOWN
    assert "more than one session wrote 'a'" in keys.judged().summary
    keys = sound()
    keys.write(39.95, "a", "a", 7)
    assert keys.judged().outcome is Outcome.UNKNOWN
    assert "the versions did not rise with every write of 'a'" in keys.judged().summary


def test_a_history_with_holes_is_never_valid() -> None:
    """An unclosed source, a gap, an end of nothing; what was never written may then have been."""
    made_up = sound()
    made_up.read(30.001, "b", "new", 4)
    assert made_up.judged().outcome is Outcome.INVALID
    made_up.story.gap("load", 20, 21)
    assert made_up.judged().outcome is Outcome.UNKNOWN
    keys = sound()
    verdict = consistency().check(keys.story.history(unclosed=["load"]))
    assert (verdict.outcome, "load did not close its records" in verdict.summary) == (Outcome.UNKNOWN, True)
    keys.story.tell(30, "load", "op", type="ok", process="a", op="stray", f="read", value=None)
    assert "1 operations ended without" in keys.judged().summary
    assert consistency().check(Story().history()).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("options", [{"lag_s_max": -1}, {"min_reads": 0}])
def test_senseless_arguments_are_refused(options: dict[str, Any]) -> None:
    """A bound below nothing, or a promise that anything would keep."""
    with pytest.raises(ValueError, match=next(iter(options))):
        consistency(**options)


@dataclass
class Event:
    """One operation of a generated history, in ns."""

    who: str
    f: str
    key: str
    version: int | None
    begin: int
    end: int
    fate: str


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from(["write", "read"]), st.sampled_from("abc"), st.integers(-1, 9),
        st.integers(1, 3), st.integers(0, 3), st.sampled_from(["ok", "ok", "ok", "fail", "info", "open"]),
    ),
    max_size=25,
)  # fmt: skip


def generated(steps: list[tuple[str, str, str, int, int, int, str]]) -> list[Event]:
    """Each session one operation after another; a write is of the session's own key and the key's next version."""
    clock = dict.fromkeys("abc", ns(22))
    versions = dict.fromkeys("abc", 0)
    events = []
    for who, f, key, version, took, pause, fate in steps:
        begin = clock[who] + pause
        clock[who] = begin + took
        if f == "write":
            versions[who] += 1
            events.append(Event(who, f, who, versions[who], begin, begin + took, fate))
        else:
            events.append(Event(who, f, key, None if version < 0 else version, begin, begin + took, fate))
    return events


def wrong(events: list[Event], lag: int | None) -> set[int]:
    """Which reads are wrong: every read beside every other operation, by the words of the promise."""
    bad = set()
    writes = [e for e in events if e.f == "write"]
    for place, read in enumerate(events):
        if read.f != "read" or read.fate != "ok":
            continue
        got = -1 if read.version is None else read.version
        for write in writes:
            newer_acknowledged = write.key == read.key and write.fate == "ok" and write.version > got
            if (
                newer_acknowledged
                and write.end < read.begin
                and (write.who == read.who or (lag is not None and read.begin - write.end > lag))
            ):
                bad.add(place)
        for other in events:
            same = other.f == "read" and other.fate == "ok" and (other.who, other.key) == (read.who, read.key)
            if same and other.end < read.begin and (-1 if other.version is None else other.version) > got:
                bad.add(place)
        if got >= 0:
            mine = [w for w in writes if (w.key, w.version) == (read.key, got)]
            if not mine or mine[0].begin > read.end or mine[0].fate == "fail":
                bad.add(place)
    return bad


@settings(max_examples=400, deadline=None)
@given(EVENTS, st.none() | st.integers(0, 6))
def test_the_verdict_is_the_slow_ones(steps: list[tuple[str, str, str, int, int, int, str]], lag: int | None) -> None:
    """INVALID exactly where comparing every read with everything finds a wrong one, and the same number of them."""
    events = generated(steps)
    keys = Keys()
    for event in events:
        took_s = (event.end - event.begin) / 1e9
        add = keys.write if event.f == "write" else keys.read
        add(event.begin / 1e9, event.who, event.key, event.version, event.fate, took_s)  # type: ignore[arg-type]
    verdict = consistency(lag_s_max=None if lag is None else lag / 1e9).check(keys.story.history())
    assert (verdict.outcome is Outcome.INVALID) == bool(wrong(events, lag))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_answer_put_back_is_caught(data: st.DataObject) -> None:
    """Take any read of a sound history and let it answer what the key was a version ago."""
    keys = sound()
    answers = [
        place for place, record in enumerate(keys.story.records)
        if record.kind == "op" and record["f"] == "read" and record["type"] == "ok" and record["value"]["version"] > 0
        and (record["process"] == record["value"]["key"] or record["value"]["version"] > 1)
    ]  # fmt: skip
    place = data.draw(st.sampled_from(answers))
    old = keys.story.records[place]
    back = old["value"] | {"version": old["value"]["version"] - (1 if old["process"] == old["value"]["key"] else 2)}
    keys.story.records[place] = Record(old.time_ns, old.source, old.kind, old.data | {"value": back})
    assert keys.judged().outcome is Outcome.INVALID
