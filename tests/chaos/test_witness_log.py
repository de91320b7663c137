"""What a node's witness wrote becomes records: placed in time, with its gaps, and nothing that it did not say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import witness_log
from chaos.history import Json

WALL_S = 1_795_286_400
"""The wall clock's seconds when the monotonic clock of these tests is at 0."""

DATE = "2026-11-21"


def ns(at_s: float) -> int:
    """Seconds as ns."""
    return round(at_s * 1e9)


def wall(at_s: float) -> int:
    """The wall clock at a time of the monotonic one, in ns."""
    return WALL_S * 10**9 + ns(at_s)


class Log:
    """What a witness writes, told in seconds of the monotonic clock."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self.lines: list[str] = []
        self.skew_s = skew_s

    def line(self, word: str, at_s: float, *words: object) -> Log:
        """Any line."""
        self.lines.append(" ".join(map(str, (word, ns(at_s), *words))))
        return self

    def clock(self, at_s: float, width_us: int = 100, error_ns: int = 1) -> Log:
        """A pair; the monotonic clock was read in the middle of it."""
        wall_us = round((WALL_S + at_s + self.skew_s) * 1e6)
        return self.line("clock", at_s, error_ns, wall_us - width_us // 2, wall_us + width_us // 2)

    def clocks(self, begin_s: float, end_s: float) -> Log:
        """Pairs, two a second."""
        for half in range(round(begin_s * 2), round(end_s * 2)):
            self.clock(half / 2)
        return self

    def began(self, at_s: float, init_s: float = 0.0) -> Log:
        """A witness begins."""
        return self.line("began", at_s, round(init_s * 100)).clock(at_s)

    def heard(self, at_s: float, count: int = 0) -> Log:
        """The runtime's events are heard."""
        return self.line("open", at_s, 1).line("listed", at_s, count)

    def task(self, word: str, at_s: float, name: str, when: str = "- -", created_s: float | None = None) -> Log:
        """A container runs."""
        ticks = "-" if created_s is None else round(created_s * 100)
        return self.line(word, at_s, when, f"id-{name}", 77, ticks, "run-1", name, f"uid-{name}", "app")

    def start(self, at_s: float, name: str, heard_s: float = 0.001) -> Log:
        """A container starts, and it is heard of a little later."""
        seconds, rest = divmod(wall(at_s + self.skew_s), 10**9)
        when = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") + f".{rest:09}".rstrip("0").rstrip(
            "."
        )
        return self.task("start", at_s + heard_s, name, when, at_s - 0.1)

    def exit(self, at_s: float, name: str, status: int = 137, heard_s: float = 0.001) -> Log:
        """A container's process ends."""
        wall_ns = wall(at_s + self.skew_s)
        told: dict[str, Any] = {"container_id": f"id-{name}", "id": f"id-{name}", "pid": 77, "exit_status": status}
        told["exited_at"] = {"seconds": wall_ns // 10**9, "nanos": wall_ns % 10**9}
        if not status:
            del told["exit_status"]
        text = f"{DATE} 18:40:00 +0000 UTC k8s.io /tasks/exit {json.dumps(told)}"
        return self.line("exit", at_s + heard_s, text)

    @property
    def text(self) -> str:
        """The file."""
        return "".join(line + "\n" for line in self.lines)

    def rows(self, kind: str, begin_s: float = 0.0) -> list[tuple[int, dict[str, Json]]]:
        """The records of a kind."""
        rows = witness_log.read(self.text, ns(begin_s))
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        return [(time_ns, data) for time_ns, what, data in rows if what == kind]

    def events(self, begin_s: float = 0.0) -> list[tuple[str, str, float]]:
        """The runtime's records: (event, pod, seconds)."""
        return [(d["event"], d["pod"], round(t / 1e9, 3)) for t, d in self.rows("runtime", begin_s)]

    def gaps(self, begin_s: float = 0.0) -> list[tuple[str, float, float]]:
        """The gaps: (what, from, to) in seconds."""
        return [(d["what"], d["from_ns"] / 1e9, d["to_ns"] / 1e9) for _, d in self.rows("gap", begin_s)]


def test_a_start_and_an_exit_are_placed_with_their_error() -> None:
    """By containerd's wall times, not by when they were heard of; the error is half of a pair's width."""
    log = Log().began(1).heard(1.5).clocks(2, 10).start(10.2, "web-1", heard_s=0.2).clocks(10.5, 14)
    log.exit(14.25, "web-1", heard_s=0.1).clocks(14.5, 20)
    (at, start), (end, gone) = log.rows("runtime", 2)
    assert abs(at - ns(10.2)) <= start["error_ns"] <= 100_000
    assert abs(end - ns(14.25)) <= gone["error_ns"] <= 100_000
    assert start == {
        "event": "start", "namespace": "run-1", "pod": "web-1", "pod_uid": "uid-web-1", "container": "app",
        "container_id": "id-web-1", "pid": 77, "created_ns": ns(10.1), "exit_status": None,
        "wall_ns": wall(10.2), "error_ns": start["error_ns"],
    }  # fmt: skip
    assert (gone["event"], gone["exit_status"], gone["wall_ns"]) == ("exit", 137, wall(14.25))
    assert log.gaps(2) == []


def test_an_exit_without_a_status_is_a_good_one() -> None:
    """The runtime leaves a zero out."""
    log = Log().began(1).heard(1).clocks(1, 3).start(3.1, "a").exit(3.2, "a", status=0).clocks(3.5, 5)
    assert [data["exit_status"] for _, data in log.rows("runtime", 2)] == [None, 0]


def test_a_wall_clock_that_was_set_makes_the_error_as_large_as_its_step() -> None:
    """Nobody can tell on which side of the step the event was."""
    log = Log().began(1).heard(1).clocks(1, 10)
    log.start(10.2, "a")
    log.skew_s = 3.0
    log.clocks(10.5, 12)
    ((at, data),) = log.rows("runtime", 2)
    assert ns(1.4) < data["error_ns"] < ns(1.6)
    assert abs(at - ns(10.2)) <= data["error_ns"]


def test_beyond_the_last_pair_the_clocks_may_drift() -> None:
    """As fast as the kernel lets them: two seconds after it that is a millisecond."""
    log = Log().began(1).heard(1).clocks(1, 10).exit(11.5, "a").task("seen", 9, "a")
    log.lines.sort(key=lambda line: int(line.split()[1]))
    (gone,) = [data for _, data in log.rows("runtime", 2) if data["event"] == "exit"]
    assert gone["error_ns"] > 1_000_000


@given(
    st.floats(0.001, 3.0), st.integers(2, 2000), st.sampled_from([1, 10_000_000]), st.floats(-3e-4, 3e-4), st.booleans()
)
def test_the_true_time_is_within_the_error(
    late_s: float, width_us: int, error_ns: int, drift: float, frozen: bool
) -> None:
    """However late it was heard of, however the wall clock drifts (up to what the kernel allows), paused or not."""
    log = Log()
    for half in range(2, 60):
        at_s = half / 2
        if frozen and 10.5 <= at_s <= 10.5 + late_s:
            continue  # the whole node stood still: no pairs, and the exit is heard of afterwards
        log.skew_s = drift * at_s
        wall_us = int((WALL_S + at_s + log.skew_s) * 1e6)
        log.line("clock", at_s, error_ns, wall_us - width_us // 3, wall_us + width_us)
        if half == 20:
            log.task("seen", 10, "a").heard(10)
    log.skew_s = drift * 10.3
    log.exit(10.3, "a", heard_s=late_s)
    log.lines.sort(key=lambda line: int(line.split()[1]))
    ((at, data),) = [row for row in log.rows("runtime", 9) if row[1]["event"] == "exit"]
    assert abs(at - ns(10.3)) <= data["error_ns"] + 2000


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_what_is_heard_of_long_after_the_clock_was_set_is_not_placed_by_the_new_one(step_s: float) -> None:
    """Nothing is heard of before it happened."""
    log = Log().began(1).heard(1).clocks(1, 5).start(5, "a").clocks(5, 10)
    log.skew_s = step_s
    log.clocks(10, 11.5)
    log.skew_s = 0
    log.exit(9.9, "a", heard_s=1.3)
    log.skew_s = step_s
    log.clocks(11.5, 13)
    ((at, gone),) = [row for row in log.rows("runtime") if row[1]["event"] == "exit"]
    assert abs(at - ns(9.9)) <= gone["error_ns"]


def test_what_ran_at_the_begin_is_seen_then_and_what_was_over_is_left_out() -> None:
    """Also where it was heard to start long before; its exit is told later."""
    log = Log().began(1).task("seen", 1.5, "old").heard(1.5, 1).clocks(2, 4).start(4.2, "gone").start(4.3, "stays")
    log.clocks(4.5, 6).exit(6.1, "gone").clocks(6.5, 30).exit(30.1, "stays").clocks(30.5, 31)
    assert log.events(20) == [("seen", "old", 20), ("seen", "stays", 20), ("exit", "stays", 30.1)]
    assert [t for t, _ in log.rows("clock", 20)] == [*(ns(at) for at in range(20, 30)), ns(30.5)]


def test_before_it_began_nothing_is_known() -> None:
    """A witness that began within the time leaves a gap from its begin on, and says what ran when it had looked."""
    log = Log().began(5).task("seen", 5.25, "a").line("listed", 5.25, 1).line("open", 5.5, 1).line("listed", 5.5, 1)
    log.clocks(6, 9)
    assert log.gaps(2) == [
        ("the witness did not run", 2, 5.25),
        ("the runtime's events were not heard", 5.25, 5.5),
    ]
    assert log.events(2) == [("seen", "a", 5.25)]


def restart() -> Log:
    """The runtime's events were not heard from 9.5 to 11 s; a and b ran before, b and c after it."""
    log = Log().began(1).heard(1).clocks(1, 3).start(3.1, "a").start(3.2, "b").clocks(3.5, 10)
    log.line("lost", 9.9).clock(10).line("listed", 10, 2).line("gone", 10.4, ns(10), "id-a").line("listed", 10.4, 2)
    log.task("seen", 10.8, "c", created_s=10.7).line("listed", 10.8, 2).line("open", 11, 1).line("listed", 11, 2)
    return log.clocks(11.5, 20)


def test_without_the_events_it_looks_at_the_processes() -> None:
    """The gap says how often it looked; an exit lies between two looks, a start is seen at the next."""
    log = restart()
    assert log.gaps(2) == [("the runtime's events were not heard", 9.5, 11)]
    ((_, gap),) = log.rows("gap", 2)
    assert gap["looked_every_ns"] == ns(0.5)
    assert log.events(5) == [("seen", "a", 5), ("seen", "b", 5), ("exit", "a", 10.2), ("seen", "c", 10.8)]
    (gone,) = [data for _, data in log.rows("runtime", 5) if data["event"] == "exit"]
    assert (gone["error_ns"], gone["exit_status"], gone["wall_ns"]) == (ns(0.2), None, None)


def test_what_the_runtime_told_late_is_better_than_a_look() -> None:
    """The exit that came with its own time replaces the bounds."""
    log = restart().exit(10.15, "a", heard_s=10)
    (gone,) = [(t, data) for t, data in log.rows("runtime", 5) if data["event"] == "exit"]
    assert abs(gone[0] - ns(10.15)) <= gone[1]["error_ns"] < ns(0.01)
    assert gone[1]["exit_status"] == 137


def test_events_that_are_never_heard_again_leave_a_gap_to_the_end() -> None:
    """It looks on, and the file ends in between."""
    log = Log().began(1).heard(1).clocks(1, 5).line("lost", 5.1).clock(5.25).line("listed", 5.25, 0)
    assert log.gaps(2) == [("the runtime's events were not heard", 4.5, 5.25)]


def test_a_witness_that_died_leaves_a_gap_that_task_states_bound() -> None:
    """What ran before and is not on the next list ended in between; what is still on it ran through."""
    log = Log().began(1).heard(1).clocks(1, 3).start(3.1, "a").start(3.2, "b").clocks(3.5, 10.5).began(12)
    log.task("seen", 12.5, "b").line("listed", 12.5, 1).line("open", 12.75, 1).line("listed", 12.75, 1).clocks(13, 15)
    assert log.gaps(5) == [
        ("the witness did not run", 10, 12.5),
        ("the runtime's events were not heard", 12.5, 12.75),
    ]
    assert log.events(5) == [("seen", "a", 5), ("seen", "b", 5), ("exit", "a", 11.25), ("seen", "b", 12.5)]
    (gone,) = [data for _, data in log.rows("runtime", 5) if data["event"] == "exit"]
    assert gone["error_ns"] == ns(1.25)


@pytest.mark.parametrize("count", [0, 1])
def test_a_node_that_began_anew_ran_nothing_before_its_first_process(count: int) -> None:
    """Where no task has a folder at the first look the gap ends with the node's begin; otherwise with the look."""
    log = Log().began(1).heard(1).clocks(1, 3).start(3.1, "a").clocks(3.5, 10.5).began(15, init_s=14.5)
    log.line("listed", 15.25, count).line("open", 15.5, 1).line("listed", 15.5, count).clocks(16, 17)
    until = 15.25 if count else 14.5
    assert log.gaps(5)[0] == ("the witness did not run", 10, until)
    assert log.gaps(5)[1] == ("the runtime's events were not heard", 15.25, 15.5)
    assert log.events(5) == [("seen", "a", 5), ("exit", "a", round((10 + until) / 2, 3))]


def test_a_disk_that_was_full_leaves_a_gap_and_a_new_list() -> None:
    """From the first line that was not written on."""
    log = Log().began(1).heard(1).clocks(1, 3).start(3.1, "a").start(3.2, "b").clocks(3.5, 10.5)
    log.line("unwritten", 10.2).clock(14).task("seen", 14.1, "b").line("listed", 14.1, 1).clocks(14.5, 16)
    assert log.gaps(5) == [("the node's disk took nothing", 10, 14.1)]
    assert log.events(5)[2:] == [("exit", "a", 12.05), ("seen", "b", 14.1)]


@pytest.mark.parametrize("again", ["began", "unwritten"])
def test_a_gap_that_begins_anew_before_its_list_is_one_gap(again: str) -> None:
    """A witness that dies before it could list what runs, or whose disk is full then, hides nothing from before."""
    log = Log().began(1).heard(1).clocks(1, 3).start(3.1, "a").clocks(3.5, 10.5).began(15, init_s=14.5)
    log = log.began(20, init_s=19.5) if again == "began" else log.line("unwritten", 15).clock(20)
    log.line("listed", 20.25, 1).line("open", 20.5, 1).line("listed", 20.5, 1).clocks(21, 22)
    (_, begin_s, end_s), *_ = log.gaps(5)
    assert (begin_s, end_s) == (10, 20.25)
    assert log.events(5) == [("seen", "a", 5), ("exit", "a", 15.125)]


def test_without_a_pair_of_clocks_nothing_is_placed() -> None:
    """A disk that took none of them leaves a gap, and no time that nobody knows."""
    log = Log().line("began", 1, 0).heard(1.5).start(3, "a").exit(4, "a")
    assert log.events() == []
    assert log.gaps() == [("the witness wrote no pair of clocks", 0, 4.001)]


@pytest.mark.parametrize("torn", ["clock 1050", "exit 10500000000 nonsense", "no line", "start 10500000000 x"])
def test_a_line_that_cannot_be_read_leaves_a_gap(torn: str) -> None:
    """Between its neighbours."""
    log = Log().began(1).heard(1).clocks(1, 10.5)
    log.lines.append(torn)
    log.clocks(11, 12)
    assert log.gaps(2) == [("a line of the witness cannot be read", 10, 11)]


def test_the_last_line_may_be_half_written() -> None:
    """It is not there yet."""
    log = Log().began(1).heard(1).clocks(1, 5)
    text = log.text + "clock 5000000000 1 17952864"
    assert witness_log.read(text, 0) == witness_log.read(log.text, 0)
    assert witness_log.last_ns(text) == ns(4.5)
    assert witness_log.last_ns("") == witness_log.last_ns("began") == 0


def test_two_files_are_one_text_where_the_second_goes_on_where_the_first_ends() -> None:
    """With a list of what runs between them, which tells nothing new."""
    old = Log().began(1).heard(1).clocks(1, 3).start(3.1, "a").clocks(3.5, 5).line("turned", 5)
    new = Log().line("cut", 5).clock(5).task("seen", 5, "a").line("listed", 5, 1).clocks(5.5, 6).exit(6.1, "a")
    new.clocks(6.5, 8)
    both = Log()
    text = witness_log.whole(old.text, new.text)
    assert text is not None
    both.lines = text.splitlines()
    assert both.events(2) == [("start", "a", 3.1), ("exit", "a", 6.1)]
    assert both.gaps(2) == []
    assert both.events(4) == [("seen", "a", 4), ("exit", "a", 6.1)]


def test_a_file_by_itself_says_what_was_thrown_away() -> None:
    """What is before it is a gap; what ran at its begin is seen then."""
    new = Log().line("cut", 5).clock(5).task("seen", 5, "a").line("listed", 5, 1).clocks(5.5, 8)
    assert witness_log.whole("", new.text) == new.text
    assert new.gaps(2) == [("what the witness wrote before was thrown away", 2, 5)]
    assert new.events(2) == [("seen", "a", 5)]
    assert new.gaps(6) == []


@pytest.mark.parametrize("last", ["turned 4000000000", "clock 1 1 1 1", ""])
def test_files_that_were_turned_while_they_were_copied_are_no_text(last: str) -> None:
    """They are to be copied again."""
    assert witness_log.whole(f"began 1 1\n{last}\n", "cut 5000000000\n") is None
    assert witness_log.whole("began 1 1\n", "began 1 1\n") is None


def test_pairs_of_long_ago_are_passed_over_and_change_nothing() -> None:
    """A witness that has run for a day is read in no time; what is told of the end stays the same."""
    log = Log().began(1).heard(1).clocks(1, 3).start(3.1, "a").clocks(3.5, 9000).start(9000.1, "b").clocks(9000.5, 9002)
    shorter = Log().began(1).heard(1).clocks(1, 3).start(3.1, "a").clocks(8700, 9000).start(9000.1, "b")
    shorter.clocks(9000.5, 9002)
    assert log.rows("clock", 8990) == shorter.rows("clock", 8990)
    assert log.events(8990) == [("seen", "a", 8990), ("start", "b", 9000.1)]
    assert log.rows("runtime", 8990)[1] == shorter.rows("runtime", 8990)[1]
    assert log.gaps(8990) == []


def test_a_container_that_nobody_can_name_is_told_all_the_same() -> None:
    """Its folder was gone before it could be read."""
    log = Log().began(1).heard(1).clocks(1, 3)
    log.line("start", 3.1, f"{DATE} 04:00:00.5", "id-x", 5, "-", "-", "-", "-", "-").clocks(3.5, 4)
    (told,) = [data for _, data in log.rows("runtime", 2)]
    assert (told["pod"], told["pod_uid"], told["container_id"], told["created_ns"]) == (None, None, "id-x", None)
