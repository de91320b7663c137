"""Who ran when, told by the nodes themselves and by the engine, however the API server and the network fare.

Each node has a witness (manifests/system/witness.sh): a script that writes down what the container runtime starts and
what exits, on the node's own disk. The engine tells from outside when a node was paused, stopped, died or started. What
both say of an experiment's time goes into its history: sources ``node:<node>`` and ``engine``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from chaos import witness_log
from chaos.errors import ClusterError, HarnessError, WaitTimeout
from chaos.history import HistoryWriter, Json
from chaos.waiting import poll
from images.engine import docker

SCRIPT = Path(__file__).parent.parent / "manifests" / "system" / "witness.sh"
UNIT = SCRIPT.with_suffix(".service")
UNIT_NAME = "kindstorm-witness.service"
FOLDER = "/kindstorm-witness"
ENGINE = "engine"
EVENTS = ("start", "restart", "pause", "unpause", "kill", "stop", "die", "oom", "destroy")
"""What the engine is asked for about the nodes; with the commands that are run in them there would be too much."""

FETCH_S = 20
FRESH_S = 5.0
"""How long to wait for a sign of life of a witness from after the question; it gives one every half second."""


def source_of(node: str) -> str:
    """What a history calls the witness of a node."""
    return f"node:{node}"


def install(container: str) -> None:
    """Give a node its witness, now and at each of its later starts; one that runs begins anew."""
    enable = "systemctl daemon-reload && systemctl enable --quiet {0} && systemctl restart {0}"
    steps = (
        ("cat > /usr/local/sbin/kindstorm-witness", SCRIPT),
        (f"cat > /etc/systemd/system/{UNIT_NAME} && {enable.format(UNIT_NAME)}", UNIT),
    )
    for command, file in steps:
        docker("exec", "--interactive", container, "sh", "-c", command, stdin=file.read_bytes())


class Witnesses:
    """What nodes and engine tell from ``start`` to ``stop``, which writes a segment for each into ``folder``."""

    def __init__(self, nodes: Sequence[str], folder: Path) -> None:
        self._nodes = tuple(nodes)
        self._folder = folder
        self._engine: subprocess.Popen[bytes] | None = None
        self._begin = _clocks()

    def start(self) -> None:
        """From now on the engine is listened to; the nodes' witnesses have been at it since the cluster was made."""
        self._begin = _clocks()
        with (self._folder / "engine.events").open("wb") as out:
            self._engine = self._ask(out)

    def stop(self) -> None:
        """Write what was told since the start; who tells nothing leaves a gap. Raises HistoryError on a full disk."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            written = [pool.submit(self._write_node, node) for node in self._nodes]
            written.append(pool.submit(self._write_engine))
        for done in written:
            done.result()

    # ---- nodes

    def _write_node(self, node: str) -> None:
        asked_ns, begin_ns = time.monotonic_ns(), self._begin[0]
        text, why = _fetched(node, asked_ns, self._folder)
        heard_ns = witness_log.last_ns(text)
        rows = witness_log.read(text, begin_ns, _ahead_of_monotonic())
        covered_ns = heard_ns if heard_ns >= asked_ns else asked_ns
        # What is told ends with the last line: the closing record says when that was.
        with HistoryWriter(self._folder / f"{source_of(node)}.jsonl", source_of(node), lambda: covered_ns) as writer:
            for time_ns, kind, data in rows:
                writer.write(kind, time_ns=time_ns, **data)
            if heard_ns < asked_ns:
                from_ns = max(begin_ns, heard_ns)
                what = why or "the witness has stopped writing"
                writer.write("gap", time_ns=asked_ns, what=what, from_ns=from_ns, to_ns=asked_ns)

    # ---- the engine

    def _ask(self, out: IO[bytes] | int, *until: str) -> subprocess.Popen[bytes]:
        filters = [*(f"container={node}" for node in self._nodes), *(f"event={event}" for event in EVENTS)]
        words = [word for each in filters for word in ("--filter", each)]
        command = ["docker", "events", "--since", _seconds(self._begin[1]), *until, *words, "--format", "{{json .}}"]
        # A harness that is killed takes it along, where util-linux can tell the kernel so; one that died before it was
        # told is not the parent any more.
        alive = ["sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid())]
        tether = ["setpriv", "--pdeathsig", "KILL", "--", *alive] if shutil.which("setpriv") else []
        # Ctrl-C at a terminal is not for it, as in images.engine.docker.
        return subprocess.Popen([*tether, *command], stdout=out, stderr=subprocess.DEVNULL, process_group=0)

    def _write_engine(self) -> None:
        path, gap = self._folder / "engine.events", None
        if self._engine is None:
            return
        if self._engine.poll() is not None:
            gap = "the engine's events ended before their time"
        self._engine.kill()  # an engine that hangs must not keep it; what it had not yet told is asked for below
        self._engine.wait()
        end = _clocks()
        lines = path.read_text("utf-8", "replace").splitlines()
        try:  # the engine keeps the last events, so what was still on its way is had by asking once more
            last = self._ask(subprocess.PIPE, "--until", _seconds(end[1]))
            out, _ = last.communicate(timeout=FETCH_S)
            lines += out.decode("utf-8", "replace").splitlines()
            gap = gap or ("the engine did not answer" if last.returncode else None)
        except subprocess.TimeoutExpired:
            last.kill()
            last.wait()
            gap = "the engine did not answer"
        with HistoryWriter(self._folder / f"{ENGINE}.jsonl", ENGINE, lambda: end[0]) as writer:
            for at in (self._begin, end):
                writer.write("clock", time_ns=at[0], wall_ns=at[1])
            for time_ns, data in engine_rows(lines, self._begin, end):
                writer.write("engine", time_ns=time_ns, **data)
            if gap is not None:
                writer.write("gap", time_ns=end[0], what=gap, from_ns=self._begin[0], to_ns=end[0])
        path.unlink()


def engine_rows(
    lines: Sequence[str], begin: tuple[int, int], end: tuple[int, int]
) -> list[tuple[int, dict[str, Json]]]:
    """The engine's events, each once, as (monotonic ns, fields of an ``engine`` record), in time order.

    ``begin`` and ``end`` are pairs of the monotonic and the wall clock, which the engine shares; what their offsets
    differ by is the times' error.
    """
    offsets = sorted((begin[0] - begin[1], end[0] - end[1]))
    offset, error_ns = sum(offsets) // 2, (offsets[1] - offsets[0] + 1) // 2 + 1000
    found: dict[tuple[int, str, str], dict[str, Json]] = {}
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # the last line was being written when it was ended
            told = json.loads(line)
            wall_ns, event, node = int(told["timeNano"]), str(told["Action"]), str(told["Actor"]["Attributes"]["name"])
            found[wall_ns, event, node] = {"event": event, "node": node, "wall_ns": wall_ns, "error_ns": error_ns}
    return [(wall_ns + offset, data) for (wall_ns, _, _), data in sorted(found.items())]


def _fetched(node: str, asked_ns: int, folder: Path) -> tuple[str, str | None]:
    """What a witness wrote, up to the question if it runs; or as much as there is, and why it is not more."""
    text = ""

    def fetch() -> int:
        nonlocal text
        text = _copied(node, folder) or text
        return witness_log.last_ns(text)

    try:
        if _is_running(node):
            what = f"the witness of {node} writes"
            poll(fetch, lambda heard: heard >= asked_ns, timeout_s=FRESH_S, what=what, interval_s=0.1)
        else:
            fetch()
    except WaitTimeout as error:
        return text, str(error)
    except HarnessError as error:
        return text, f"the node cannot be read: {error}"
    return text, None


def _is_running(node: str) -> bool:
    return docker("inspect", "--format", "{{.State.Status}}", node, timeout_s=FETCH_S) == "running"


def _copied(node: str, folder: Path) -> str | None:
    """Both files of a witness, by way of the engine: a node that is paused or stopped can be read like any other.

    Through ``folder``: what a harness that was killed leaves there is taken away with it.
    """
    with tempfile.TemporaryDirectory(prefix="copied-", dir=folder) as name:
        docker("cp", f"{node}:{FOLDER}", name, timeout_s=FETCH_S)
        files = [Path(name) / Path(FOLDER).name / part for part in ("log.1", "log")]
        try:
            old, new = (path.read_text("utf-8", "replace") if path.exists() else "" for path in files)
        except OSError as error:
            raise ClusterError(f"what the witness of {node} wrote cannot be read: {error.strerror}") from error
    return witness_log.whole(old, new)


def _clocks() -> tuple[int, int]:
    """Both clocks at one moment: the narrowest of several readings, for the processor may be lost within one."""
    readings = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(5)]
    before, wall, _ = min(readings, key=lambda reading: reading[2] - reading[0])
    return before, wall


def _seconds(wall_ns: int) -> str:
    return f"{wall_ns // 10**9}.{wall_ns % 10**9:09d}"


def _ahead_of_monotonic() -> int:
    """How far the clock that counts since the boot is ahead of the monotonic one, which stands still in a sleep."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
