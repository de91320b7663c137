"""Watches the cluster into the history, and keeps the present picture for whoever waits on it.

One thread a kind, and one for the revision clock. A wait is woken by the change it waits for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Self, TypeVar

from chaos.errors import WaitTimeout
from chaos.history import Segments
from chaos.kube import Change, Kube, Seen, Watch
from chaos.revision import SOURCE as REVISION
from chaos.revision import RevisionClock
from chaos.waiting import poll

Value = TypeVar("Value")

NAMESPACED = (
    "Pod",
    "PersistentVolumeClaim",
    "Service",
    "EndpointSlice",
    "StatefulSet",
    "Deployment",
    "DaemonSet",
    "ReplicaSet",
    "Job",
    "Event",
)
GLOBAL = ("Node", "PersistentVolume", "Lease")
"""Watched everywhere: leases are the nodes' and those of Kubernetes' own leaders."""
SYNC_S = 30
CONFIRM_S = 10
CLOCK_S = 1.0
ENGINE_S = 5.0
"""How soon it is noticed that the engine is gone; every wait on a watch ends then."""


class Recorder:
    """Records every change of the watched kinds in one namespace, and of what belongs to none, from start to stop.

    Each watch is a source of its own, ``api:<kind>``; so is the revision clock.
    """

    def __init__(
        self, kube: Kube, namespace: str, writers: Segments, require_engine: Callable[[], None] = lambda: None
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._writers = writers
        self._objects: dict[tuple[str, str], Seen] = {}
        self._changed = threading.Condition()
        self._synced: set[str] = set()
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._watches: list[Watch] = [kube.watch(kind, namespace) for kind in NAMESPACED]
        self._watches += [kube.watch(kind) for kind in GLOBAL]
        self._listeners: list[Callable[[Change], None]] = []
        self._threads = [
            threading.Thread(target=self._record, args=(watch,), name=f"watch-{watch.kind}", daemon=True)
            for watch in self._watches
        ]
        self._revisions = RevisionClock(kube.revision, writers[REVISION], self._fail)
        self._threads.append(self._revisions.thread)
        self._threads.append(threading.Thread(target=self._tick, name="clock", daemon=True))
        self._require_engine = require_engine
        self._threads.append(threading.Thread(target=self._ask_for_engine, name="engine", daemon=True))

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call this with every change, in the thread of its watch, which it must not hold up; before the start."""
        self._listeners.append(listener)

    def closely(self) -> AbstractContextManager[None]:
        """While this lasts, changes are placed in time as narrowly as the revision clock can."""
        return self._revisions.closely()

    def start(self) -> Self:
        """Start all watches and return once each has listed what is there."""
        for thread in self._threads:
            thread.start()
        wanted = {watch.kind for watch in self._watches}
        self.wait(lambda _: wanted <= self._synced, SYNC_S, "the first lists of all watches")
        return self

    def stop(self) -> None:
        """End all watches; a defect in one of them is raised here at the latest.

        Before, each watch must have seen what the API server says is there now: a watch that fell silent leaves a
        gap from when it last told something, so that nobody takes its silence for peace.
        """
        try:
            if self._failed is None:
                with ThreadPoolExecutor(len(self._watches)) as pool:  # side by side: a dead API server confirms none
                    list(pool.map(self._confirm, self._watches))
        finally:
            self._end()
        self.check()
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        if alive:
            raise WaitTimeout(f"{', '.join(alive)} did not end within {SYNC_S} s")

    def _end(self) -> None:
        self._stop.set()
        self._revisions.stop()
        for watch in self._watches:
            watch.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=SYNC_S)

    def _confirm(self, watch: Watch) -> None:
        namespace = None if watch.kind in GLOBAL else self._namespace

        def differing() -> set[tuple[str, str]]:
            there = {(seen.uid, seen.version) for seen in self._kube.list(watch.kind, namespace)}
            return there ^ {(seen.uid, seen.version) for seen in self.objects(watch.kind)}

        try:
            what = f"the watch on {watch.kind} has seen all there is"
            poll(differing, lambda found: not found, timeout_s=CONFIRM_S, what=what)
        except WaitTimeout:
            now = time.monotonic_ns()
            self._write(watch.kind, Change("gap", now, version=watch.told, from_ns=watch.told_ns or now))

    def check(self) -> None:
        """Raise what has gone wrong with the watching, for who waits on something else meanwhile."""
        if self._failed is not None:
            raise self._failed

    def objects(self, kind: str) -> list[Seen]:
        """The objects of a kind as last seen, by name."""
        with self._changed:
            found = [seen for (k, _), seen in self._objects.items() if k == kind]
        return sorted(found, key=lambda seen: seen.name)

    def get(self, kind: str, name: str) -> Seen | None:
        """One object as last seen, None where it is gone or never was."""
        return next((seen for seen in self.objects(kind) if seen.name == name), None)

    def wait(self, look: Callable[[Recorder], Value | None], timeout_s: float, what: str) -> Value:
        """Look after every change until something truthy is found; raises WaitTimeout with the last sight of it."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                self.check()
                found = look(self)
                if found:
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    raise WaitTimeout(f"{what}: not within {timeout_s:g} s; last seen: {self._sight()}")
                self._changed.wait(left)

    def _sight(self) -> str:
        pods = [f"{p.name} {p.state['phase']}{'' if p.state['ready'] else ' not ready'}" for p in self.objects("Pod")]
        return ", ".join(pods) or "no pods"

    def _record(self, watch: Watch) -> None:
        try:
            for change in watch:
                self._write(watch.kind, change)
                self._note(watch.kind, change)
                for listener in self._listeners:
                    listener(change)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits, and to stop()
            self._fail(error)

    def _write(self, kind: str, change: Change) -> None:
        writer, seen = self._writers[f"api:{kind}"], change.seen
        if change.verb in ("gap", "resumed"):
            known = self._revisions.unpublished_ns(change.version) if change.verb == "gap" else None
            from_ns = min(known or change.from_ns, change.time_ns)
            writer.write(
                change.verb, time_ns=change.time_ns, what=f"watch {kind}", from_ns=from_ns, to_ns=change.time_ns
            )
        elif seen is not None:
            version = {"version": change.version} if change.version else {}
            writer.write(
                "object",
                time_ns=change.time_ns,
                verb=change.verb,
                object=kind,
                namespace=seen.namespace,
                name=seen.name,
                uid=seen.uid,
                **version,
                state=seen.state,
            )

    def _note(self, kind: str, change: Change) -> None:
        with self._changed:
            if change.verb == "synced":
                self._synced.add(kind)
            elif change.seen is not None:
                key = (kind, change.seen.uid)
                if change.verb == "deleted":
                    self._objects.pop(key, None)
                else:
                    self._objects[key] = change.seen
            self._changed.notify_all()

    def _tick(self) -> None:
        try:
            while not self._stop.wait(CLOCK_S):
                self._writers[REVISION].clock()
                self._writers.flush()
        except BaseException as error:  # noqa: BLE001 - as in _record
            self._fail(error)

    def _ask_for_engine(self) -> None:
        try:
            while not self._stop.wait(ENGINE_S):
                self._require_engine()
        except BaseException as error:  # noqa: BLE001 - as in _record
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failed = self._failed or error
            self._changed.notify_all()
