"""The witness of a node, its script run here with a runtime that is made up; and how what it wrote is fetched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos import witness, witness_log
from chaos.errors import ClusterError
from chaos.history import Json, Record, read_records
from chaos.waiting import poll

CTR = r"""#!/bin/bash
# Tells as events what is written into a file, until there is no runtime; a label that is set is an event.
case "$*" in
  *" events") [[ -e {down} ]] && exit 1; exec tail -n 0 -F {events} --pid $(cat {runtime}) -s 0.02 2>/dev/null ;;
  *label*) [[ -e {down} ]] && exit 1; mark=${{@: -1}}
    told="{{\"name\":\"kindstorm\",\"labels\":{{\"mark\":\"${{mark##*=}}\"}}}}"
    echo "2026-11-21 18:38:24.7 +0000 UTC kindstorm /namespaces/update $told" >> {events} ;;
esac
"""


class Node:
    """A node with nothing on it but the witness: tasks are folders with a sleeping process each."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder, self.tasks, self.down = home / "witness", home / "tasks", home / "down"
        self.events, self.programs = home / "events", home / "programs"
        for path in (self.tasks, self.programs):
            path.mkdir()
        self.events.touch()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.runtime: subprocess.Popen[bytes] | None = None
        self.up()
        words = {"down": self.down, "events": self.events, "runtime": home / "runtime"}
        (self.programs / "ctr").write_text(CTR.format(**words))
        (self.programs / "ctr").chmod(0o755)
        self.witness: subprocess.Popen[bytes] | None = None
        self.most_bytes = 1 << 20

    def up(self) -> None:
        """Let there be a runtime."""
        self.down.unlink(missing_ok=True)
        self.runtime = subprocess.Popen(["sleep", "600"])
        (self.home / "runtime").write_text(str(self.runtime.pid))

    def lose_runtime(self) -> None:
        """Let it be gone: its events end, and it takes no command."""
        assert self.runtime is not None
        self.down.touch()
        self.runtime.kill()
        self.runtime.wait()

    def begin(self) -> None:
        """Start a witness and wait until it hears the events."""
        environment = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"}
        opened = len(self.lines("open"))
        command = ["bash", str(witness.SCRIPT), str(self.folder), str(self.tasks), "/proc", str(self.most_bytes)]
        self.witness = subprocess.Popen(command, env=environment, start_new_session=True)
        self.until(lambda: len(self.lines("open")) > opened)

    def kill(self) -> None:
        """End the witness and all it started, as systemd does."""
        if self.witness is not None:
            os.killpg(self.witness.pid, signal.SIGKILL)
            self.witness.wait()
            self.witness = None

    def end(self) -> None:
        """Leave nothing behind."""
        self.kill()
        for process in [*self.processes.values(), self.runtime]:
            if process is not None:
                process.kill()
                process.wait()

    def make(self, name: str, kind: str = "container", start: bool = True) -> None:
        """Make a task and start it."""
        self.processes[name] = process = subprocess.Popen(["sleep", "600"])
        annotations = {
            "io.kubernetes.cri.container-type": kind,
            "io.kubernetes.cri.sandbox-name": f"pod-{name}",
            "io.kubernetes.cri.sandbox-namespace": "run-1",
            "io.kubernetes.cri.sandbox-uid": f"uid-{name}",
        } | ({"io.kubernetes.cri.container-name": "app"} if kind == "container" else {})
        environment = ['ENV="io.kubernetes.cri.sandbox-name":"a lie"']
        bundle = self.tasks / name
        bundle.mkdir()
        content = {"process": {"env": environment}, "annotations": annotations}
        (bundle / "config.json").write_text(json.dumps(content, separators=(",", ":")))
        (bundle / "init.pid").write_text(str(process.pid))
        self.tell("create", container_id=name, pid=process.pid)
        if start:
            self.tell("start", container_id=name, pid=process.pid)

    def stop(self, name: str, *, told: bool = True) -> None:
        """End a task's process."""
        self.processes[name].kill()
        self.processes[name].wait()
        if told:
            seconds, nanos = divmod(time.time_ns(), 10**9)
            at = {"seconds": seconds, "nanos": nanos}
            pid = self.processes[name].pid
            self.tell("exit", container_id=name, id=name, pid=pid, exit_status=137, exited_at=at)
            self.tell("delete", container_id=name, id=name, pid=pid)
            shutil.rmtree(self.tasks / name)

    def tell(self, topic: str, **told: Json) -> None:
        """Let the runtime tell something."""
        seconds, nanos = divmod(time.time_ns(), 10**9)
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) + f".{nanos:09}"
        text = json.dumps(told, separators=(",", ":"))
        with self.events.open("a") as file:
            file.write(f"{when} +0000 UTC k8s.io /tasks/{topic} {text}\n")

    @property
    def text(self) -> str:
        """What was written."""
        files = (self.folder / name for name in ("log.1", "log"))
        old, new = (file.read_text() if file.exists() else "" for file in files)
        return witness_log.whole(old, new) or ""

    def lines(self, word: str) -> list[str]:
        """The lines that begin with a word."""
        return [line for line in self.text.splitlines() if line.split(" ")[0] == word]

    def rows(self, kind: str) -> list[tuple[int, dict[str, Json]]]:
        """What becomes of it."""
        rows = witness_log.read(self.text, 0, witness._ahead_of_monotonic())
        return [(time_ns, data) for time_ns, what, data in rows if what == kind]

    def told(self) -> list[tuple[str, str]]:
        """(event, pod) of each record of a container."""
        return [(data["event"], data["pod"]) for _, data in self.rows("runtime")]

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for it."""
        poll(true, bool, timeout_s=20, what=f"the witness has it; it wrote {self.text[-2000:]}", interval_s=0.02)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node, with no witness yet."""
    made = Node(tmp_path)
    yield made
    made.end()


def test_starts_and_exits_are_written_with_who_it_was(node: Node) -> None:
    """Placed within a millisecond of when they were; sandboxes and commands run in a container are none."""
    node.begin()
    begin = time.monotonic_ns()
    node.make("a")
    node.until(lambda: node.told() == [("start", "pod-a")])
    node.make("pause", kind="sandbox")
    started = time.monotonic_ns()
    node.tell("exit", container_id="a", id="a-probe", pid=1, exited_at={"seconds": 1})
    node.stop("a")
    ended = time.monotonic_ns()
    node.stop("pause")
    node.until(lambda: len(node.told()) == 2)
    (start_ns, start), (exit_ns, gone) = node.rows("runtime")
    names = ("namespace", "pod", "pod_uid", "container", "container_id")
    assert [start[name] for name in names] == ["run-1", "pod-a", "uid-a", "app", "a"]
    assert [gone[name] for name in names] == ["run-1", "pod-a", "uid-a", "app", "a"]
    error = max(start["error_ns"], gone["error_ns"])
    assert begin - error <= start_ns <= started + error
    assert started - error <= exit_ns <= ended + error
    assert start["pid"] == node.processes["a"].pid
    assert begin - 10_000_000 <= start["created_ns"] <= start_ns
    assert (gone["event"], gone["exit_status"]) == ("exit", 137)


def test_it_writes_what_ran_before_it_began(node: Node) -> None:
    """Not a sandbox, nor a task whose process has ended."""
    for name in "ab":
        node.make(name)
    node.make("pause", kind="sandbox")
    node.stop("b", told=False)
    node.begin()
    assert node.told() == [("seen", "pod-a")]
    ((_, data),) = node.rows("runtime")
    assert data["pid"] == node.processes["a"].pid
    assert data["created_ns"] is not None


def test_a_runtime_that_is_away_is_replaced_by_looking(node: Node) -> None:
    """What ends meanwhile is seen to be gone between two looks, what runs on is not; a gap says how often it looked."""
    node.begin()
    for name in "ab":
        node.make(name)
    node.until(lambda: len(node.told()) == 2)
    node.lose_runtime()
    node.until(lambda: bool(node.lines("lost")))
    before = time.monotonic_ns()
    node.stop("a", told=False)
    after = time.monotonic_ns()
    node.until(lambda: bool(node.lines("gone")))
    opened = len(node.lines("open"))
    node.up()
    node.until(lambda: len(node.lines("open")) > opened)
    node.make("c")
    node.until(lambda: ("start", "pod-c") in node.told())
    assert node.told() == [("start", "pod-a"), ("start", "pod-b"), ("exit", "pod-a"), ("start", "pod-c")]
    ((at, gone),) = [row for row in node.rows("runtime") if row[1]["event"] == "exit"]
    assert at - gone["error_ns"] <= after
    assert at + gone["error_ns"] >= before
    *_, (_, gap) = node.rows("gap")
    assert gap["what"] == "the runtime's events were not heard"
    assert 0 < gap["looked_every_ns"] < gap["to_ns"] - gap["from_ns"]


def test_a_killed_witness_leaves_a_gap_and_a_list(node: Node) -> None:
    """SIGKILL at any time, in the middle of a line as well: the next one ends the line and says what runs."""
    node.begin()
    for name in "ab":
        node.make(name)
    node.until(lambda: len(node.told()) == 2)
    node.kill()
    with (node.folder / "log").open("a") as file:
        file.write("clock 123")
    node.stop("a")
    node.begin()
    assert node.told() == [("start", "pod-a"), ("start", "pod-b"), ("exit", "pod-a"), ("seen", "pod-b")]
    gaps = [data["what"] for _, data in node.rows("gap")]
    assert gaps[2:] == ["the witness did not run", "the runtime's events were not heard"]


def test_there_is_one_at_most(node: Node) -> None:
    """A second one ends at once, and the first one's file stays as it was."""
    node.begin()
    command = ["bash", str(witness.SCRIPT), str(node.folder), str(node.tasks)]
    assert subprocess.run(command, timeout=20, check=False).returncode == 0
    assert len(node.lines("began")) == 1


def test_what_it_writes_is_bounded(node: Node) -> None:
    """Two files at most; each says by itself what runs, and the reader what was thrown away."""
    node.most_bytes = 2000
    node.begin()
    node.make("a")
    before = ""
    for number in range(2):
        for name in (f"{number}-{letter}" for letter in "bcdef"):
            node.make(name)
            node.stop(name)
        node.until(lambda: (node.folder / "log.1").exists() and (node.folder / "log.1").read_text() != before)  # noqa: B023
        before = (node.folder / "log.1").read_text()
    node.until(lambda: node.told()[:1] == [("seen", "pod-a")])
    assert ("start", "pod-0-b") not in node.told()
    assert sum(file.stat().st_size for file in node.folder.iterdir()) < 15_000
    assert [data["what"] for _, data in node.rows("gap")] == ["what the witness wrote before was thrown away"]


def test_without_the_kernels_own_word_the_uptime_will_do(node: Node) -> None:
    """Its error is that of its hundredths of a second."""
    text = witness.SCRIPT.read_text().replace("$proc/timer_list", "$proc/nothing-here")
    script = node.home / "script.sh"
    script.write_text(text)
    node.folder.mkdir()
    command = ["bash", str(script), str(node.folder), str(node.tasks)]
    environment = {**os.environ, "PATH": f"{node.programs}:{os.environ['PATH']}"}
    node.witness = subprocess.Popen(command, env=environment, start_new_session=True)
    node.until(lambda: len(node.lines("clock")) > 2)
    word, mono, error, *_ = node.lines("clock")[-1].split()
    assert (word, error) == ("clock", "10000000")
    assert 0 <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) - int(mono) < 10**9


# ---- fetching


class Engine:
    """An engine with one node, whose witness wrote some text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.home = home
        self.texts: list[dict[str, str]] = []
        self.state = "running"
        self.error: ClusterError | None = None
        monkeypatch.setattr(witness, "docker", self.docker)
        monkeypatch.setattr(witness, "FRESH_S", 0.5)

    def docker(self, verb: str, *args: str, timeout_s: float) -> str:
        """See images.engine."""
        assert timeout_s <= 20
        if self.error is not None:
            raise self.error
        if verb == "inspect":
            return self.state
        assert (verb, args[0]) == ("cp", "w1:/kindstorm-witness")
        assert self.home in Path(args[1]).parents  # where what a killed harness left is taken away
        folder = Path(args[1]) / "kindstorm-witness"
        folder.mkdir()
        for name, text in (self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]).items():
            (folder / name).write_text(text)
        return ""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    """See Engine."""
    return Engine(monkeypatch, tmp_path)


def clocks(*at_ns: int) -> str:
    """Signs of life."""
    return "".join(f"clock {at} 1 {at // 1000} {at // 1000 + 9}\n" for at in at_ns)


def fetched(folder: Path) -> list[Record]:
    """The records of the node's segment, which is whole."""
    watch = witness.Witnesses(["w1"], folder)
    watch.stop()
    records = list(read_records(folder / "node:w1.jsonl"))
    assert records[-1].kind == "closing"
    assert {record.source for record in records} == {"node:w1"}
    assert sum(records[-1]["records"].values()) == len(records) - 1
    return records


def test_a_living_witness_is_waited_for(engine: Engine, tmp_path: Path) -> None:
    """Until it has written something after the question; there is no gap then, and the record ends with that."""
    old, now = time.monotonic_ns() - 10**9, time.monotonic_ns() + 10**9
    began = f"began {old} 1\nopen {old} 1\nlisted {old} 0\n"
    engine.texts = [{"log": began + clocks(old)}, {"log": began + clocks(old, now)}]
    records = fetched(tmp_path)
    assert [record.kind for record in records] == ["clock", "closing"]
    assert records[-1].time_ns == now


@pytest.mark.parametrize("state", ["running", "paused", "exited"])
def test_what_is_not_told_any_more_is_a_gap(engine: Engine, tmp_path: Path, state: str) -> None:
    """From the last line on, or from the begin where that was before; a node that does not run is not waited for."""
    old = time.monotonic_ns() - 10**9
    engine.texts = [{"log": f"began {old} 1\nopen {old} 1\nlisted {old} 0\n" + clocks(old)}]
    engine.state = state
    records = fetched(tmp_path)
    assert [record.kind for record in records] == ["gap", "closing"]
    gap = records[0]
    assert old < gap["from_ns"] <= gap["to_ns"] == records[-1].time_ns
    assert ("the witness of w1 writes: not within" in gap["what"]) is (state == "running")


def test_a_node_that_cannot_be_read_is_a_gap(engine: Engine, tmp_path: Path) -> None:
    """Over all the time, and it says why."""
    engine.error = ClusterError("no such container")
    gap, closing = fetched(tmp_path)
    assert gap["what"] == "the node cannot be read: no such container"
    assert gap["to_ns"] == closing.time_ns


def test_files_that_were_turned_meanwhile_are_copied_again(engine: Engine, tmp_path: Path) -> None:
    """What does not go together is not taken for a record."""
    now = time.monotonic_ns() + 10**9
    good = {"log.1": f"began 5 1\nopen 5 1\nlisted 5 0\n{clocks(5)}turned {now}\n", "log": f"cut {now}\n{clocks(now)}"}
    engine.texts = [{"log.1": "began 5 1\n", "log": "cut 9\n"}, good]
    assert [record.kind for record in fetched(tmp_path)] == ["clock", "closing"]


def event(action: str, wall_ns: int, node: str = "w1") -> str:
    """What `docker events` prints."""
    return json.dumps({"Action": action, "timeNano": wall_ns, "Actor": {"Attributes": {"name": node}}})


def test_the_engines_events_are_told_once_and_in_order() -> None:
    """From two askings; a line that was cut off is none. The clocks' drift is the error."""
    lines = [event("pause", 1_005), event("die", 1_003, "w2"), event("pause", 1_005), event("unp", 1_007)[:-9]]
    rows = witness.engine_rows(lines, (100, 1_000), (210, 1_100))
    assert rows == [
        (108, {"event": "die", "node": "w2", "wall_ns": 1_003, "error_ns": 1_005}),
        (110, {"event": "pause", "node": "w1", "wall_ns": 1_005, "error_ns": 1_005}),
    ]


def test_both_clocks_are_read_at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process loses the processor between the two the reading is not the one that is taken."""
    now = [0]

    def stalled() -> int:
        now[0] += 5_000_000 if now[0] < 4_000_000 else 100
        return now[0] + 10**18

    def ticking() -> int:
        now[0] += 100
        return now[0]

    monkeypatch.setattr(time, "monotonic_ns", ticking)
    monkeypatch.setattr(time, "time_ns", stalled)
    mono, wall = witness._clocks()
    assert 0 <= wall - 10**18 - mono <= 100


class Docker:
    """A docker command that tells of events: what it says at first, and when it is asked again up to now."""

    def __init__(self, folder: Path, first: list[str], last: list[str], ends: bool = False) -> None:
        (folder / "first").write_text("".join(line + "\n" for line in first))
        (folder / "last").write_text("".join(line + "\n" for line in last))
        docker = folder / "docker"
        stays = "exit 0" if ends else "trap '' TERM; exec sleep 600"  # an engine that hangs is not asked to end
        docker.write_text(
            f'#!/bin/sh\ncase "$*" in *--until*) exec cat {folder}/last;; esac\ncat {folder}/first; {stays}\n'
        )
        docker.chmod(0o755)


KILLED = """
import os, signal, sys
from pathlib import Path
from chaos.witness import Witnesses

witnesses = Witnesses([], Path(sys.argv[1]))
witnesses.start()
print(witnesses._engine.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_listens_to_the_engine_ends_with_the_harness(tmp_path: Path) -> None:
    """A harness that was killed cannot end it any more; the kernel does."""
    Docker(tmp_path, [], [])
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    root = Path(witness.__file__).parents[1]
    died = subprocess.run(command, cwd=root, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    assert died.returncode == -signal.SIGKILL
    listener = Path("/proc") / died.stdout.strip()

    def ended() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return "(zombie)" in (listener / "status").read_text()  # nobody here need collect it
        return True

    poll(ended, bool, timeout_s=20, what="the listener has ended")


@pytest.mark.parametrize("ends", [False, True])
def test_the_engine_is_listened_to_and_asked_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """What was still on its way is had as well; a stream that ended before its time is a gap."""
    begin = time.time_ns()
    first, last = [event("pause", begin + 10)], [event("pause", begin + 10), event("unpause", begin + 20)]
    Docker(tmp_path, first, last, ends)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    watch = witness.Witnesses([], tmp_path)
    watch.start()
    heard: Any = tmp_path / "engine.events"
    poll(heard.read_text, bool, timeout_s=20, what="the first event was heard")
    assert watch._engine is not None
    if ends:
        watch._engine.wait()
    watch.stop()
    records = list(read_records(tmp_path / "engine.jsonl"))
    kinds = ["clock", "clock", "engine", "engine", *(["gap"] if ends else []), "closing"]
    assert [record.kind for record in records] == kinds
    assert [r["event"] for r in records if r.kind == "engine"] == ["pause", "unpause"]
    assert watch._engine.poll() is not None
    assert not heard.exists()
