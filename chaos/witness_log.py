"""Reads what the witness of a node wrote (manifests/system/witness.sh says how) into records of a history.

The witness has containerd's wall times, and pairs of both clocks beside them. A time is placed on the monotonic clock
by the pairs around it: the difference between what they say, and how long each took to read, is the time's error.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from calendar import timegm
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from chaos.history import Json

NS_PER_TICK = 10_000_000
"""Times of processes in /proc are in hundredths of a second on x86 and ARM (USER_HZ)."""

DRIFT = 5e-4
"""How fast the kernel lets a wall clock that is being set run off, at most (ntp_adjtime: 500 ppm)."""

SPARSE_NS = 60 * 10**9
"""Long before the begin one pair in so much time is enough; a witness that has run for hours has many."""

Row = tuple[int, str, dict[str, Json]]
"""A record that is to be written: its time in monotonic ns, its kind and its fields."""


@dataclass
class _Run:
    """One container's process: when it began, as far as is known, and when it ended."""

    identity: dict[str, Json]
    pid: int | None
    created_ns: int | None
    start: tuple[int, int] | None
    """(wall time, when it was heard of); None where it ran already."""
    seen_ns: list[int] = field(default_factory=list)
    alive_ns: int = 0
    exit: tuple[int, int] | None = None
    """As ``start``; None where none was told."""
    status: int | None = None
    gone: tuple[int, int] | None = None
    """Between which two looks it ended."""


class _Clocks:
    """Pairs of both clocks, in the order they were read: (monotonic, least offset, greatest offset), in ns."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int, int]] = []

    def add(self, mono: int, error: int, before_us: int, after_us: int) -> None:
        """One reading: the monotonic clock was read between two readings of the wall clock."""
        self.pairs.append((mono, mono - (after_us + 1) * 1000, mono + error - before_us * 1000))

    def place(self, wall_ns: int, received_ns: int) -> tuple[int, int]:
        """(monotonic time, error) of a wall time, which was heard of at ``received_ns``."""
        after = bisect_right(self.pairs, received_ns, key=lambda pair: pair[0])
        first = max(0, after - 1)
        while first > 0 and not self._reaches(self.pairs[first], wall_ns, received_ns):
            first -= 1
        around = self.pairs[first : after + 1]
        least, greatest = min(pair[1] for pair in around), max(pair[2] for pair in around)
        placed = wall_ns + (least + greatest) // 2
        outside = max(around[0][0] - placed, placed - around[-1][0], 0)
        return placed, (greatest - least + 1) // 2 + round(outside * DRIFT)

    @staticmethod
    def _reaches(pair: tuple[int, int, int], wall_ns: int, received_ns: int) -> bool:
        """Whether the pair is before the wall time and can be of its clock: nothing is heard of before it happens."""
        mono, least, greatest = pair
        return mono <= wall_ns + least <= received_ns + greatest - least

    def wall(self, mono: int) -> int:
        """The wall time of a monotonic time."""
        at = max(0, bisect_right(self.pairs, mono, key=lambda pair: pair[0]) - 1)
        return mono - (self.pairs[at][1] + self.pairs[at][2]) // 2


def whole(old: str, new: str) -> str | None:
    """Both files of a witness as one text; None where the second does not go on where the first ends.

    That is so where the first was thrown away, or where they were copied just as one took the place of the other.
    """
    if not old:
        return new
    begin = next((line.split() for line in new.splitlines() if line), [])
    last = old.rstrip("\n").rpartition("\n")[2].split()
    goes_on = begin[:1] == ["cut"] and last == ["turned", *begin[1:]]
    return old + new if goes_on else None


def last_ns(text: str) -> int:
    """When the witness last wrote a whole line, by the monotonic clock; 0 where it never did."""
    lines = text[: text.rfind("\n") + 1].splitlines()
    return next((int(w[1]) for w in map(str.split, reversed(lines)) if len(w) > 1 and w[1].isdigit()), 0)


def read(text: str, begin_ns: int, boot_ns: int = 0) -> list[Row]:
    """What is in a witness's text since ``begin_ns``, as records in time order.

    What ran at ``begin_ns`` already is ``seen`` then. ``boot_ns`` is how far the clock that counts since the boot, and
    also while the machine sleeps, is ahead of the monotonic one.
    """
    reader = _Reader(boot_ns)
    skipped = 0
    for line in text[: text.rfind("\n") + 1].splitlines():
        if line.startswith("clock ") and begin_ns - skipped > 2 * SPARSE_NS:
            at = line[6 : line.find(" ", 6)]
            if at.isdigit() and skipped < int(at) < skipped + SPARSE_NS:
                reader.hear_of(int(at))
                continue
            skipped = int(at) if at.isdigit() else skipped
        reader.take(line)
    if not reader.clocks.pairs:
        heard = last_ns(text)
        gap = {"what": "the witness wrote no pair of clocks", "from_ns": begin_ns, "to_ns": heard}
        return [(heard, "gap", gap)] if heard > begin_ns else []
    rows = [*_clock_rows(reader.clocks, begin_ns), *reader.gap_rows(begin_ns), *reader.run_rows(begin_ns)]
    return sorted(rows, key=lambda row: row[0])


def _clock_rows(clocks: _Clocks, begin_ns: int) -> list[Row]:
    """The pairs since the begin, one a second."""
    rows: list[Row] = []
    for mono, least, greatest in clocks.pairs:
        if mono >= begin_ns and (not rows or mono - rows[-1][0] >= 900_000_000 or mono == clocks.pairs[-1][0]):
            rows.append((mono, "clock", {"wall_ns": mono - (least + greatest) // 2}))
    return rows


class _Reader:
    """Takes in one line after the other."""

    def __init__(self, boot_ns: int) -> None:
        self.clocks = _Clocks()
        self.runs: dict[str, _Run] = {}
        self.gaps: list[tuple[int, int, dict[str, Json]]] = []
        self._boot_ns = boot_ns
        self._last = 0
        self._init: int | None = None
        self._blind: tuple[int, str, int | None] | None = None
        """Since when nothing is known, why, and when the node's first process started where that is another one."""
        self._looks: list[int] | None = None
        """When it looked at the processes since it has not heard the events."""
        self._torn = False

    def take(self, line: str) -> None:
        """One line; what is no line of a witness's leaves a gap between its neighbours."""
        words = line.split(" ")
        take = getattr(self, f"_take_{words[0]}", None) if words[0].isalpha() else None
        if not line:
            return
        try:
            if take is None:
                raise ValueError(words[0])
            mono = int(words[1])
            if self._torn and words[0] != "began":
                self._gap(self._last, mono, "a line of the witness cannot be read")
            self._torn = False
            take(mono, words)
        except (ValueError, IndexError, KeyError):
            self._torn = True
            return
        self._last = max(self._last, mono)

    def hear_of(self, mono: int) -> None:
        """A sign of life that says nothing else."""
        self._last = mono

    def _gap(self, from_ns: int, to_ns: int, what: str, **more: Json) -> None:
        self.gaps.append((from_ns, to_ns, {"what": what, **more}))

    def _is_blind(self, since: int, why: str, init: int | None) -> None:
        """Until the next list; where there was none since it was blind before, it has been so all along."""
        if self._blind is not None:
            since, why = min(since, self._blind[0]), self._blind[1]
        self._blind = (since, why, init)

    def _take_clock(self, mono: int, words: list[str]) -> None:
        self.clocks.add(mono, int(words[2]), int(words[3]), int(words[4]))

    def _take_began(self, _mono: int, words: list[str]) -> None:
        init = None if words[2] == "-" else int(words[2])
        other = init if init != self._init else None
        if self._looks is not None:
            self._gap_of_looks(self._last)
        self._is_blind(self._last, "the witness did not run", other)
        self._looks, self._init = [], init

    def _take_cut(self, _mono: int, _words: list[str]) -> None:
        if not self._last:
            self._is_blind(0, "what the witness wrote before was thrown away", None)

    def _take_turned(self, _mono: int, _words: list[str]) -> None:
        """What follows says it all again."""

    def _take_unwritten(self, mono: int, _words: list[str]) -> None:
        self._is_blind(min(mono, self._last), "the node's disk took nothing", None)

    def _take_lost(self, mono: int, _words: list[str]) -> None:
        self._looks = [self._last or mono]

    def _take_open(self, mono: int, _words: list[str]) -> None:
        if self._looks is not None:
            self._gap_of_looks(mono)

    def _take_listed(self, mono: int, words: list[str]) -> None:
        """The list is whole: what ran before and is not on it has ended in between."""
        if self._blind is not None:
            since, why, init = self._blind
            until = mono
            # Folders of tasks do not outlive their node, and the witness looks before there is a runtime.
            if init is not None and words[2] == "0" and since < init * NS_PER_TICK - self._boot_ns < mono:
                until = init * NS_PER_TICK - self._boot_ns
            self._gap(since, until, why)
            for run in self.runs.values():
                if run.exit is None and run.gone is None and run.alive_ns <= since:
                    run.gone = (since, until)
            self._blind = None
            if self._looks is not None:
                self._looks = [mono]
        if self._looks is not None:
            self._looks.append(mono)

    def _gap_of_looks(self, until: int) -> None:
        looks = [*(self._looks or []), until]
        if looks[0] < until:
            longest = max(later - earlier for earlier, later in pairwise(looks))
            self._gap(looks[0], until, "the runtime's events were not heard", looked_every_ns=longest)
        self._looks = None

    def _take_start(self, mono: int, words: list[str]) -> None:
        self.runs[words[4]] = self._run(words, (_wall_ns(words[2], words[3]), mono), mono)

    def _take_seen(self, mono: int, words: list[str]) -> None:
        run = self.runs.get(words[4])
        if run is None:
            run = self.runs[words[4]] = self._run(words, None, mono)
        run.alive_ns = mono
        if self._blind is not None or not run.start:
            run.seen_ns.append(mono)

    def _run(self, words: list[str], start: tuple[int, int] | None, mono: int) -> _Run:
        pid, ticks, namespace, pod, uid, container = (None if word == "-" else word for word in words[5:11])
        names = {"namespace": namespace, "pod": pod, "pod_uid": uid, "container": container, "container_id": words[4]}
        created = None if ticks is None else int(ticks) * NS_PER_TICK - self._boot_ns
        return _Run(names, None if pid is None else int(pid), created, start, alive_ns=mono)

    def _take_exit(self, mono: int, words: list[str]) -> None:
        told = json.loads(" ".join(words[words.index("/tasks/exit") + 1 :]))
        at = told["exited_at"]
        wall = int(at["seconds"]) * 10**9 + int(at.get("nanos", 0))
        run = self.runs.get(told["container_id"])
        if run is not None:
            run.exit, run.status = (wall, mono), int(told.get("exit_status", 0))

    def _take_gone(self, mono: int, words: list[str]) -> None:
        self.runs[words[3]].gone = (int(words[2]), mono)

    def gap_rows(self, begin_ns: int) -> list[Row]:
        """The gaps that last beyond the begin."""
        gaps = list(self.gaps)
        if self._blind is not None:
            gaps.append((self._blind[0], self._last, {"what": self._blind[1]}))
        elif self._looks:
            self._gap_of_looks(self._last)
            gaps = list(self.gaps)
        return [
            (to_ns, "gap", {**told, "from_ns": max(from_ns, begin_ns), "to_ns": to_ns})
            for from_ns, to_ns, told in gaps
            if to_ns > begin_ns
        ]

    def run_rows(self, begin_ns: int) -> list[Row]:
        """Starts, exits and sightings since the begin; what ran then is seen then."""
        rows: list[Row] = []
        for run in self.runs.values():
            end = self._end(run)
            if end is not None and end[0] + end[1] < begin_ns:
                continue
            sightings = [at for at in run.seen_ns if at >= begin_ns]
            first = (run.seen_ns[0], 0) if run.start is None else self.clocks.place(*run.start)
            if first[0] < begin_ns:
                sightings.insert(0, begin_ns)
            elif run.start is not None:
                rows.append(_row(run, "start", *first, run.start[0]))
            rows += [_row(run, "seen", at, 0, self.clocks.wall(at)) for at in sightings]
            if end is not None:
                rows.append(_row(run, "exit", *end, run.exit and run.exit[0], run.status))
        return rows

    def _end(self, run: _Run) -> tuple[int, int] | None:
        """(time, error) of its exit: as the runtime told it, or else in the middle between two looks."""
        if run.exit is not None:
            return self.clocks.place(*run.exit)
        return run.gone and (sum(run.gone) // 2, (run.gone[1] - run.gone[0] + 1) // 2)


def _row(run: _Run, event: str, time_ns: int, error_ns: int, wall_ns: int | None, status: int | None = None) -> Row:
    told = {"event": event, **run.identity, "pid": run.pid, "created_ns": run.created_ns, "exit_status": status}
    return time_ns, "runtime", {**told, "wall_ns": wall_ns, "error_ns": error_ns}


def _wall_ns(date: str, clock: str) -> int:
    """A time as Go prints it, up to ns, UTC."""
    whole_s, _, fraction = clock.partition(".")
    moment = datetime.strptime(f"{date} {whole_s}", "%Y-%m-%d %H:%M:%S")
    return timegm(moment.timetuple()) * 10**9 + int(fraction.ljust(9, "0") or 0)
