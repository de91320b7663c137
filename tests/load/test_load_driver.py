"""The Locust process starts, ends and fails in order, and never outlives its harness."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from local_service import WAIT_S, WORKLOAD, Service, await_end, ops, run, sealed

from chaos.errors import LoadError
from chaos.history import Record
from chaos.waiting import poll
from load.driver import LocustLoad, SegmentTail

ROOT = Path(__file__).resolve().parents[2]


def test_the_run_time_ends_the_load(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """A load that nobody stops ends at max_s, with its records closed."""
    history = run(load, WORKLOAD.with_(max_s=1.0), service.target, tmp_path)
    assert history.cut_off() == []
    assert 0 < len(ops(history, "ok")) == len(ops(history, "invoke")) == service.requests["/read"] < 1000


@pytest.mark.parametrize(
    "target",
    [
        "http://192.0.2.1:80",
        "http://example.org:80",
        "http://127.0.0.1",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:80@192.0.2.1:80",
        "http://127.0.0.1:80/x",
        "https://127.0.0.1:443",
        "http://127.0.0.1:80\n",
    ],
)
def test_another_machine_is_refused(tmp_path: Path, target: str) -> None:
    """Load goes to this machine only; nothing is started or written otherwise."""
    load = LocustLoad()
    with pytest.raises(LoadError, match=re.escape("127.0.0.1:<port> only")):
        load.start(WORKLOAD, target, tmp_path / "load.jsonl", tmp_path / "load.log")
    assert not load.running()
    assert list(tmp_path.iterdir()) == []


def test_a_prepared_load_sends_nothing_before_it_is_started(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """It comes up and waits; once it is started its schedule begins."""
    told = (WORKLOAD.with_(max_requests=5), service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    load.prepare(*told)
    poll(lambda: (tmp_path / "load.jsonl").exists(), bool, timeout_s=WAIT_S, what="the load is up")
    assert load.running()
    assert service.connections == 0
    begun_ns = time.monotonic_ns()
    load.start(*told)
    assert await_end(load.pid)
    load.stop()
    history = sealed(tmp_path)
    assert len(ops(history, "ok")) == 5
    assert min(record["intended_ns"] for record in ops(history, "invoke")) > begun_ns
    with pytest.raises(LoadError, match="already holds records"):
        load.start(*told)


def test_a_prepared_load_that_is_never_started_leaves_nothing(
    service: Service, load: LocustLoad, tmp_path: Path
) -> None:
    """Stopping it ends its process, and its segment goes with it."""
    told = (WORKLOAD, service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    load.prepare(*told)
    poll(lambda: (tmp_path / "load.jsonl").exists(), bool, timeout_s=WAIT_S, what="the load is up")
    load.stop()
    assert not load.running()
    assert not (tmp_path / "load.jsonl").exists()
    assert service.connections == 0


def test_a_segment_is_not_written_twice(tmp_path: Path) -> None:
    """Appending to another run's records would mix two runs."""
    (tmp_path / "load.jsonl").write_text("{}\n")
    with pytest.raises(LoadError, match="already holds records"):
        LocustLoad().start(WORKLOAD, "http://127.0.0.1:1", tmp_path / "load.jsonl", tmp_path / "load.log")


def test_a_killed_load_leaves_a_history_that_says_so(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """Without its closing record the source counts as cut off, and stopping raises."""
    load.start(WORKLOAD, service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    load.first_success(WAIT_S)
    os.kill(load.pid, signal.SIGKILL)
    assert await_end(load.pid)
    with pytest.raises(LoadError, match="status -9"):
        load.stop()
    assert sealed(tmp_path).cut_off() == ["load has no closing record"]


def test_a_recording_failure_ends_the_load(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """When the segment cannot grow, Locust must not go on unrecorded: it ends with a status and a reason."""
    segment = tmp_path / "load.jsonl"
    load.start(
        WORKLOAD.with_(rate_per_s=200.0, timeout_s=1.0, users=200), service.target, segment, tmp_path / "load.log"
    )
    load.first_success(WAIT_S)
    resource.prlimit(load.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    assert await_end(load.pid)
    with pytest.raises(LoadError, match=r"(?s)status 70.*File too large"):
        load.stop()
    assert sealed(tmp_path).cut_off() == ["load has no closing record"]


def test_a_crash_before_the_first_record_is_told(tmp_path: Path) -> None:
    """Where Locust cannot even open its segment, start raises with what the log says."""
    (tmp_path / "load.jsonl").symlink_to(tmp_path / "missing" / "load.jsonl")
    load = LocustLoad()
    with pytest.raises(LoadError, match=r"(?s)status 70 before a first record.*No such file"):
        load.start(WORKLOAD, "http://127.0.0.1:1", tmp_path / "load.jsonl", tmp_path / "load.log")
    assert not load.running()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "(empty)"),
        ("short\n", "short"),
        ("x" * 1995 + " hunter2hunter2\nthe end\n" + "y" * 1985 + "\n", "the end\n" + "y" * 1985),
        ("z" * 3000, "(one line, too long to be told)"),
    ],
)
def test_whole_lines_of_its_log_are_told(tmp_path: Path, text: str, told: str) -> None:
    """Half a line may be half a secret, which nobody finds any more."""
    load = LocustLoad()
    load._log = tmp_path / "load.log"
    load._log.write_text(text)
    assert load._with_log("m") == f"m. The end of its log, load.log:\n{told}"


def test_a_load_that_was_never_started_has_nothing_to_stop() -> None:
    """Whoever cleans up need not know how far it came; its process id cannot be asked for."""
    load = LocustLoad()
    load.stop()
    with pytest.raises(LoadError, match="never started"):
        print(load.pid)  # noqa: T201


def test_a_load_that_does_not_stop_is_killed(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """A frozen process cannot obey SIGTERM; the bound holds, and the error says that it was killed."""
    load.start(WORKLOAD, service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    os.kill(load.pid, signal.SIGSTOP)
    with pytest.raises(LoadError, match=r"within 0\.2 s and was killed"):
        load.stop(0.2)
    assert not load.running()


def test_the_load_dies_with_its_harness(service: Service, tmp_path: Path) -> None:
    """A harness that is killed cannot stop its load; the kernel does."""
    script = (
        "import signal, sys; from pathlib import Path; from load.driver import LocustLoad;"
        "from load.profiles import Workload; load = LocustLoad(); here = Path(sys.argv[3]);"
        "load.start(Workload.from_json(sys.argv[1]), sys.argv[2], here / 'load.jsonl', here / 'load.log');"
        "print(load.pid, flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", script, WORKLOAD.to_json(), service.target, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        pid = int(harness.stdout.readline())
        os.kill(pid, 0)
        harness.kill()
        assert await_end(pid)
    assert sealed(tmp_path).cut_off() == ["load has no closing record"]


def test_settings_around_the_harness_do_not_reach_locust(
    service: Service, load: LocustLoad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither Locust's own variables and settings file nor a proxy change what a run does."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".locust.conf").write_text("tags = another\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCUST_TAGS", "another")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    history = run(load, WORKLOAD.with_(max_requests=10), service.target, tmp_path)
    assert len(ops(history, "ok")) == 10


def test_the_terminal_cannot_interrupt_the_load(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """Ctrl-C goes to the terminal's process group; the load is in a session of its own, to be stopped in order."""
    load.start(WORKLOAD, service.target, tmp_path / "load.jsonl", tmp_path / "load.log")
    assert os.getsid(load.pid) == os.getpgid(load.pid) == load.pid
    load.stop()


def raise_under_load(load: LocustLoad, target: str, directory: Path) -> None:
    """A scenario that fails while its load runs."""
    with load:
        load.start(WORKLOAD, target, directory / "load.jsonl", directory / "load.log")
        load.first_success(WAIT_S)
        raise RuntimeError("the scenario's own")


def test_leaving_the_context_stops_the_load(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """The context manager ends the run in order, also where the block raised."""
    with pytest.raises(RuntimeError, match="the scenario's own"):
        raise_under_load(load, service.target, tmp_path)
    assert not load.running()
    assert sealed(tmp_path).cut_off() == []


def kill_inside(load: LocustLoad, target: str, directory: Path, error: Exception | None) -> None:
    """A scenario whose load is killed while it runs, and which may fail itself."""
    with load:
        load.start(WORKLOAD, target, directory / "load.jsonl", directory / "load.log")
        os.kill(load.pid, signal.SIGKILL)
        if error is not None:
            raise error


def test_leaving_the_context_hides_no_error(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """The scenario's own error comes first, with the load's beside it."""
    with pytest.raises(RuntimeError, match="the scenario's own") as caught:
        kill_inside(load, service.target, tmp_path, RuntimeError("the scenario's own"))
    assert "status -9" in caught.value.__notes__[0]


def test_leaving_the_context_tells_of_a_crash(service: Service, load: LocustLoad, tmp_path: Path) -> None:
    """A load that died while the scenario was content is an error by itself."""
    with pytest.raises(LoadError, match="status -9"):
        kill_inside(load, service.target, tmp_path, None)


def test_the_harness_never_imports_locust() -> None:
    """Importing the driver and the profiles leaves the standard library unpatched."""
    script = "import sys, load.driver, load.profiles; print(sorted({'locust', 'gevent'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not {"locust", "gevent"} & set(sys.modules)


def test_a_torn_line_waits_for_its_rest(tmp_path: Path) -> None:
    """The tail hands out whole lines only, each once."""
    path = tmp_path / "load.jsonl"
    tail = SegmentTail(path)
    assert tail.read() == []
    line = Record(1, "load", "note", {"text": "x"}).to_json()
    path.write_bytes(line + line[:9])
    assert [record.time_ns for record in tail.read()] == [1]
    path.write_bytes(line + line)
    assert [record.time_ns for record in tail.read()] == [1]
    assert tail.read() == []
