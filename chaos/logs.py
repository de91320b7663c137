"""Keeps every container's log from its start on, so that deleted pods and crashed containers can still be read.

One thread follows each container that the recorder's watch shows; each time it was started anew is a file of its own.
Everything is bounded: a file in size, the files in number, and the end of it all in time.
"""

from __future__ import annotations

import codecs
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import ClusterError
from chaos.kube import Change, Kube, LogStream
from chaos.redact import Redactor

HEAD_CHARS = 1 << 19
TAIL_CHARS = 1 << 18
MOST_FILES = 200
MOST_LINE_CHARS = 1 << 16
FOLLOW_S = 30.0
"""How long a silent stream is trusted; then it is opened anew, from where it was."""
LAST_S = 3.0
RETRY_S = 1.0
STATUS_S = 10.0
"""How long the API may take to tell of a container's end once its log has ended. Whoever asked again before that
could be given the log of its next start."""
STOP_S = 10.0

Key = tuple[str, str, int]
"""A container's start: the pod's UID, the container's name, how often it had been restarted."""


class Bounded:
    """A text file that keeps its beginning and its end, and says what was left out between them."""

    def __init__(self, path: Path, head_chars: int = HEAD_CHARS, tail_chars: int = TAIL_CHARS) -> None:
        self._file = path.open("w", encoding="utf-8", errors="replace")
        self._room = head_chars
        self._most = tail_chars
        self._tail: deque[str] = deque()
        self._size = 0
        self._cut = [0, 0]

    def write(self, text: str) -> None:
        """Append; what is beyond the room for the beginning is kept in memory, the last of it only."""
        if not self._tail and len(text) <= self._room:
            self._room -= len(text)
            self._file.write(text)
            self._file.flush()
            return
        for line in text.splitlines(keepends=True):
            self._tail.append(line)
            self._size += len(line)
        while self._size > self._most and len(self._tail) > 1:
            gone = self._tail.popleft()
            self._size -= len(gone)
            self._cut = [self._cut[0] + 1, self._cut[1] + len(gone)]

    def close(self) -> None:
        """Write the end and close the file."""
        if self._cut[0]:
            self._file.write(f"\n(kindstorm: {self._cut[0]} lines, {self._cut[1]} characters are left out here)\n\n")
        self._file.writelines(self._tail)
        self._file.close()


def shortened(text: str, head_chars: int = HEAD_CHARS, tail_chars: int = TAIL_CHARS) -> str:
    """The whole lines at the beginning and the end of a text that is too long: half a line may be half a secret."""
    if len(text) <= head_chars + tail_chars:
        return text
    head = text.rfind("\n", 0, head_chars) + 1
    tail = (text.find("\n", len(text) - tail_chars) + 1) or len(text)
    cut = text[head:tail]
    left_out = f"\n(kindstorm: {cut.count(chr(10))} lines, {len(cut)} characters are left out here)\n\n"
    return text[:head] + left_out + text[tail:]


@dataclass
class Place:
    """Where a log was read up to: the last line's time, and how many lines had that time."""

    time: str = ""
    lines: int = 0
    found: bool = False
    ended: bool = False

    def new(self, lines: Iterator[str]) -> Iterator[str]:
        """Those lines of a log, read again from that time's second on, that were not there before."""
        resumed_at, to_skip, fresh = self.time, self.lines, True
        for line in lines:
            stamp = line.partition(" ")[0]
            if not _is_time(stamp):  # the rest of a very long line
                if fresh:
                    yield line
                continue
            fresh = stamp > resumed_at or (stamp == resumed_at and to_skip <= 0)
            to_skip -= stamp == resumed_at
            if fresh:
                self.lines = self.lines + 1 if stamp == self.time else 1
                self.time = stamp
                yield line


def _is_time(word: str) -> bool:
    return len(word) >= 20 and word[4] == word[7] == "-" and word[10] == "T"


def lines_of(parts: Iterator[bytes]) -> Iterator[str]:
    """Bytes as lines, each with its end; one that is far too long comes in pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    for part in parts:
        *whole, rest = (rest + decoder.decode(part)).split("\n")
        yield from (line + "\n" for line in whole)
        if len(rest) > MOST_LINE_CHARS:
            yield rest
            rest = ""
    if rest:
        yield rest + "\n"


class LogKeeper:
    """Keeps the logs of one namespace's pods in ``folder``; ``see`` is to be told of every change of a pod.

    ``learn`` is called before a container's log is opened: its Secrets are there by then, and must not be in its file.
    """

    def __init__(
        self, kube: Kube, namespace: str, folder: Path, redactor: Redactor, learn: Callable[[], None] = lambda: None
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._folder = folder
        self._redactor = redactor
        self._learn = learn
        self._lock = threading.Condition()
        self._ending = threading.Event()
        self._threads: dict[Key, threading.Thread] = {}
        self._open: set[LogStream] = set()
        self._running: dict[tuple[str, str], tuple[int, bool]] = {}
        self.left_out: set[Key] = set()
        """Logs that are not kept, because there were too many."""

    def see(self, change: Change) -> None:
        """Follow the containers that a change of a pod shows to have started."""
        pod = change.seen
        if pod is None or pod.kind != "Pod":
            return
        with self._lock:
            for container in [*pod.state.get("init_containers", []), *pod.state["containers"]]:
                name, restarts = container["name"], container["restarts"]
                running = container["state"] == "running" and change.verb != "deleted"
                self._running[pod.uid, name] = (restarts, running)
                if container.get("id"):
                    for number in range(max(0, restarts - 1), restarts + 1):
                        self._start(pod.name, (pod.uid, name, number))
            self._lock.notify_all()

    def _start(self, pod: str, key: Key) -> None:
        if key in self._threads or self._ending.is_set():
            return
        if len(self._threads) >= MOST_FILES:
            self.left_out.add(key)
            return
        uid, container, restarts = key
        path = self._folder / f"{pod}.{uid[:8]}.{container}.{restarts}.log"
        self._threads[key] = threading.Thread(target=self._keep, args=(pod, key, path), name=path.name, daemon=True)
        self._threads[key].start()

    def stop(self, timeout_s: float = STOP_S) -> list[str]:
        """Read all logs to their present ends and clean them once more; returns a sentence for each that is not whole.

        Once more, because a log may say something before anybody knows that it is a secret.
        """
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self._ending.set()
            self._lock.notify_all()
            streams, threads = list(self._open), list(self._threads.values())
        for stream in streams:
            stream.close()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        late = {thread.name for thread in threads if thread.is_alive()}
        for path in (self._folder / thread.name for thread in threads if thread.name not in late):
            with contextlib.suppress(FileNotFoundError):
                text = path.read_text("utf-8")
                if (clean := self._redactor.text(text)) != text:
                    path.write_text(clean, "utf-8")
        missing = [f"{name}: its log was not read to the end within {timeout_s:g} s" for name in sorted(late)]
        return missing + ([f"{len(self.left_out)} more logs: there were too many"] if self.left_out else [])

    def _keep(self, pod: str, key: Key, path: Path) -> None:
        self._learn()
        place, file, clean = Place(), Bounded(path), self._redactor.stream()
        try:
            while True:
                last = self._ending.is_set() or not self._is_running(key)  # asked before reading: then all is there
                for line in place.new(lines_of(self._read(pod, key, place, follow=not last))):
                    file.write(clean.feed(line))
                if last or (place.ended and self._has_stopped(key)):
                    break
                self._ending.wait(RETRY_S)
        finally:
            file.write(clean.end())
            file.close()
            if not place.found:  # there was no such log: an empty file would say that it was silent
                path.unlink(missing_ok=True)

    def _is_running(self, key: Key) -> bool:
        with self._lock:
            return self._running[key[:2]] == (key[2], True)

    def _has_stopped(self, key: Key) -> bool:
        """Wait for the API to say so; False where it does not, or the end has come and a last look is due."""
        with self._lock:
            self._lock.wait_for(lambda: self._ending.is_set() or not self._is_running(key), STATUS_S)
            return not self._is_running(key)

    def _read(self, pod: str, key: Key, place: Place, *, follow: bool) -> Iterator[bytes]:
        """What the API has of it from the last time on; nothing where the pod or that start of it is gone."""
        _, container, restarts = key
        with self._lock:
            now = self._running[key[:2]][0]
        if restarts < now - 1:
            return
        options = {"follow": "true"} if follow else {}
        options |= {"previous": "true"} if restarts < now else {}
        options |= {"sinceTime": place.time} if place.time else {}
        try:
            stream = self._kube.log(pod, self._namespace, container, FOLLOW_S if follow else LAST_S, **options)
        except ClusterError:
            return  # gone, or the API server is away: then the next reading goes on from here
        place.found = True
        with self._lock:
            self._open.add(stream)
            late = follow and self._ending.is_set()
        if late:  # opened just as the end was called: nobody else would end it
            stream.close()
        try:
            yield from stream
            place.ended = follow and stream.ended
        finally:
            with self._lock:
                self._open.discard(stream)
