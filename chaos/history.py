"""The history: the one thing that crosses from running to judging.

A history is a JSON Lines file. Each line is one :class:`Record`: when it happened, who says so, what kind
of record it is, and the kind's own fields. Times are ``time.monotonic_ns()``, which all processes of one
Linux host share. The kinds and their fields:

``fact``      ``name``, ``value``: what a checker needs to know (seed, live settings, baseline, images, ...).
              Names in use: ``experiment`` {scenario, stack, namespace, seed, load_s}, ``stack`` {name, workloads:
              [{kind, name, replicas}], services: [...], node_port, identities: [pod name, ...], storage: [local |
              shared | a StorageClass, ...]}, ``cluster`` {name, kubernetes, clocks, nodes, settings,
              timings_s: the live cluster's own (chaos.settings), corefile}, ``images``,
              ``workload`` (see load.profiles); also of the stack, ``disruption_budgets``: [{name, selector,
              min_available, max_unavailable}], as they are written,
              ``baseline`` and ``baseline_after``, the cluster before the deployment and after the removal: {nodes:
              {name: {ready, unschedulable, taints}}, namespaces: [...], system_pods: {"namespace/name": ready},
              volumes: [name, ...], objects: what else is outside namespaces, ["Kind name", ...], escaped_packets: how
              many have left the cluster's bridge since it was sealed};
              ``completed`` true, the last act of an experiment that came to its end.
``clock``     ``wall_ns``: the source's wall clock at ``time_ns``; once a second, by one source of each process.
``phase``     ``name``, ``edge`` (begin | end). In order: deploy, steady, before, fault, recover, after, verify,
              remove. ``before``, ``fault``, ``recover`` and ``after`` lie inside the load's window and adjoin.
``op``        one step of one client operation: ``type`` (invoke | ok | fail | info), ``process``, ``op`` (an id
              unique in the source), ``f`` (what was asked), ``value``, ``error``; an invocation also has
              ``intended_ns``, when the schedule wanted it. ``info``: nobody knows whether it happened.
              Some ``f`` have a fixed shape. ``insert``, a write: value its unique id, an int or a str. ``read_all``,
              the verifying read, in phase verify: an operation for each page, invoked with value {page: from 0},
              answered with value {page, ids: [id, ...], last: bool}, or with {ids} where there is but one. ``lookup``,
              a read in between: value an id that was acknowledged before, answered with {found: bool}. ``write`` and
              ``read`` of a versioned key that one process writes: value {key, version} and {key}, a read is answered
              with {key, version}, None where there is no such key.
``fault``     ``fault`` (its name), ``id``, ``edge`` (inject | injected | effect | no_effect | heal | healed | failed),
              ``target`` {kind, name, uid, ...}, ``detail``. Several pods hit at once are a target of kind Pods, with
              ``pods``: [{name, uid, node}].
``object``    a watched Kubernetes object changed: ``verb`` (seen | added | modified | deleted), ``object`` (Pod, Node,
              ...), ``namespace``, ``name``, ``uid``, ``version``, the store's revision that the change made (None in
              older histories, and of what was found deleted after a gap), ``state``, by kind. Its time is when the
              watch told of it. The source is the watch, ``api:<kind>``.
              Pod {phase, ready, ip, node, unschedulable (the scheduler looked for a node and found none), claims:
              [name], owner: {kind, name, uid}, deleting, created_at, labels,
              containers: [{name, id, restarts, state (waiting | running | terminated), started_at, exit_code}],
              init_containers: the same, pod_index: a StatefulSet's ordinal, conditions: {type: {status (True | False |
              Unknown), reason, since, in the cluster's wall clock}}, grace_s, tolerations_s: {not-ready: seconds or
              None for ever, unreachable: the same}, what is not tolerated missing, readiness: [{container,
              initial_delay_s, period_s, timeout_s, successes, failures}]};
              PersistentVolumeClaim {phase, volume, storage_class, deleting};
              PersistentVolume {phase, claim: {namespace, name, uid}, storage_class, node (the only one it can be used
              on, or None), reclaim, deleting}; Lease {holder, renewed_at, transitions}; Job {completions, active,
              succeeded, failed, ended (Complete | Failed | None)};
              Node {ready, unschedulable, taints: ["key=value:effect"], labels};
              Service {type, cluster_ip (None: headless), selector, publish_not_ready, affinity (None | ClientIP)};
              EndpointSlice {service, endpoints: [{ip, pod, pod_uid, ready, serving, terminating}]};
              Deployment, StatefulSet, DaemonSet, ReplicaSet {replicas, ready_replicas, updated_replicas, generation,
              observed_generation, selector, as it is written}; also Deployment {strategy: {type, max_surge,
              max_unavailable}, min_ready_s}, StatefulSet {pod_management_policy, update_strategy, partition,
              first_ordinal, max_unavailable, current_revision, update_revision, service_name, min_ready_s};
              Event {reason, message, type, count, at, about: {kind, name}}, ``at`` the last time in the cluster's own
              wall clock.
``probe``     one reading, sent and answered between ``send_ns`` and ``receive_ns``: ``probe``, ``target``, ``value``,
              ``error`` (None where it was answered), ``asked``: False where the question never got to what it is about,
              the probe's own silence (absent in older histories). Asked inside the cluster: ``dns``, target a name,
              value {answers: [ip, ...], rcode}; ``http``, target a URL, value {status, body: its first 256 characters,
              in whole words}; ``tcp``, target host:port, value {outcome: connected | refused, took_ms}.
              ``storage``, asked from the pod's node: target pod:path, where a claim is mounted; value {pod_uid, wrote:
              a number, synced; found: what was there before, None where nothing was; took_ms}.
``revision``  ``send_ns``, ``receive_ns``, ``revision``: a linearizable read of the store, sent and answered then. An
              object of a higher version was published after ``send_ns``, any other before ``receive_ns``. Source
              ``api:revision``.
``runtime``   of source ``node:<node>``: what the node's own witness says of a container of a pod: ``event`` (start |
              exit | seen: it ran then, at the beginning of the record or after a gap), ``namespace``, ``pod``,
              ``pod_uid``, ``container`` (None: not to be had), ``container_id``, ``pid``, ``created_ns`` (when its
              process was made, at most 10 ms too early; None: not known), ``exit_status`` (None: not known),
              ``wall_ns``, ``error_ns`` (the event lies at most so far from ``time_ns``; an exit that was found between
              two looks lies in their middle). Sandboxes are left out, init containers are not.
``engine``    of source ``engine``: what happened to a node's container: ``event`` (start | die | pause | unpause |
              kill | stop | restart | oom | destroy), ``node``, ``wall_ns``, ``error_ns``. ``die`` comes after it.
``gap``       ``what``, ``from_ns``, ``to_ns``: the source may have missed something in between. Of a probe also
              ``skipped``: how many rounds of questions were left out. A witness that did not hear the runtime's events,
              but looked at the processes, says ``looked_every_ns``: the longest between two looks. What ran for less
              than that may have been missed, and nothing else.
``resumed``   ``what``, ``from_ns``, ``to_ns``: a watch had no connection in between and went on where it had stopped.
              It missed nothing, but what happened then it told of only afterwards.
``note``      ``text``: for people; ``skipped``, where the load says so: how many requests it never sent.
``closing``   the last record of a source: ``records``, how many it wrote before this one, by kind.
``seal``      the last record of a history: ``schema``, ``records``, how many stand before it, ``sources``, and
              ``sha256``, a digest of all lines before it and of its own other fields. A stack that was held was judged
              on a history that ended with its first seal; source ``end`` tells of the removal after it.

Texts in a history are without secrets, which chaos.redact takes out as they are written: a marker stands for each. The
words of the format itself are never touched.

Operations are many, and in memory they are columns (chaos.operations).

A source that has no closing record, or whose count does not match, was cut off: what it would have said is
unknown. A history without a seal is not a whole history, and neither is one with an ``experiment`` and without
``completed``: an experiment that was aborted closes and seals its records all the same.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from os import SEEK_END
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import orjson

from chaos.errors import HistoryError, of_machine
from chaos.operations import Operations, OperationsBuilder

_READ_BYTES = 1 << 22
_TAIL_BYTES = 1 << 12

SCHEMA = 2
"""Version of the record format; a history of another version is refused."""

Json = Any
"""What JSON can hold: None, bool, int, float, str, lists and str-keyed dicts of these."""

Redact = Callable[[Json], Json]
"""Takes the secrets out of a JSON value."""

_OWN_WORDS = frozenset(
    {"edge", "f", "fault", "id", "object", "op", "probe", "process", "type", "uid", "verb"}
    | {"container_id", "event", "pod_uid"}
)
"""Fields whose values are words of the format, or made by Kubernetes or by us; no secret is ever one."""

_GENERATED_SUFFIX = re.compile(r"(-[bcdfghjklmnpqrstvwxz2456789]{6,10})?-[bcdfghjklmnpqrstvwxz2456789]{5}$")


def without_generated_suffix(name: str) -> str:
    """A pod's name without what its controller appended; a name that was given stays as it is.

    Kubernetes draws generated ends from these letters (no vowels, no 0, 1, 3): five of them, after a Deployment's
    template hash of six to ten.
    """
    return _GENERATED_SUFFIX.sub("", name)


@dataclass(frozen=True, slots=True)
class Record:
    """One timed line of a history. ``data`` holds the fields of its ``kind``."""

    time_ns: int
    source: str
    kind: str
    data: dict[str, Json] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Json:
        return self.data[name]

    def get(self, name: str, default: Json = None) -> Json:
        """The field ``name``, or ``default`` where the record does not have it."""
        return self.data.get(name, default)

    def to_json(self) -> bytes:
        """One line of the file, newline included."""
        line = {"t": self.time_ns, "source": self.source, "kind": self.kind, **self.data}
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, line: bytes) -> Record:
        """The record of one line; raises HistoryError where it is not one."""
        try:
            data = orjson.loads(line)
            record = cls(data.pop("t"), data.pop("source"), data.pop("kind"), data)
        except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
            raise HistoryError(f"this is no line of a history: {line[:80]!r}") from error
        if type(record.time_ns) is not int or not isinstance(record.source, str) or not isinstance(record.kind, str):
            raise HistoryError(f"this is no line of a history: {line[:80]!r}")
        return record


class HistoryWriter:
    """Appends one source's records to a file of its own, cleaned by ``redact``. Safe to call from several threads.

    Where the disk refuses a record ``write`` does not raise: who undoes a fault records that, and must not be stopped
    by it. ``flush`` and ``close`` raise HistoryError then, nothing more is written, and without its closing record the
    source counts as cut off.
    """

    def __init__(
        self, path: Path, source: str, now: Callable[[], int] = time.monotonic_ns, redact: Redact | None = None
    ) -> None:
        self.path = path
        self.source = source
        self._now = now
        self._redact = redact
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._file = path.open("ab", buffering=1 << 16)
        self._closed = False
        self._refusal: OSError | None = None

    def write(self, kind: str, *, time_ns: int | None = None, **data: Json) -> int:
        """Append a record; returns its time in monotonic ns. A writer that is closed drops nothing: it raises."""
        with self._lock:
            if self._closed:
                raise HistoryError(f"the history of {self.source} is closed; a {kind} record came after its end")
            stamp = self._now() if time_ns is None else time_ns
            line = _cleaned(Record(stamp, self.source, kind, data), self._redact).to_json()
            self._try(lambda: self._file.write(line))
            self._counts[kind] += 1
            return stamp

    def clock(self) -> None:
        """Append a pair of this moment's monotonic and wall clocks."""
        self.write("clock", wall_ns=time.time_ns())

    def flush(self) -> None:
        """Hand what is buffered to the operating system; raises HistoryError where it refuses, or has before."""
        with self._lock:
            if not self._closed:
                self._try(self._file.flush)
                self._raise_refusal()

    def close(self) -> None:
        """Append the closing record and close the file; a second call does nothing. Raises as ``flush`` does."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            line = Record(self._now(), self.source, "closing", {"records": dict(self._counts)}).to_json()
            self._try(lambda: self._file.write(line))
            try:
                self._file.close()
            except OSError as error:
                self._refusal = self._refusal or error
            self._raise_refusal()

    def _try(self, append: Callable[[], object]) -> None:
        """Append, unless something was refused before: what came after a hole would hide it."""
        if self._refusal is None:
            try:
                append()
            except OSError as error:
                self._refusal = error

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise _unwritten(self.path, self._refusal) from self._refusal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Segments:
    """The writers of one process: each source's file, made when it is first asked for, in one folder."""

    def __init__(self, folder: Path, redact: Redact | None = None) -> None:
        self._folder = folder
        self._redact = redact
        self._lock = threading.Lock()
        self._writers: dict[str, HistoryWriter] = {}

    def __getitem__(self, source: str) -> HistoryWriter:
        with self._lock:
            if source not in self._writers:
                path = self._folder / f"{source.replace(':', _COLON)}.jsonl"
                self._writers[source] = HistoryWriter(path, source, redact=self._redact)
            return self._writers[source]

    @property
    def paths(self) -> list[Path]:
        """The files there are."""
        with self._lock:
            return [writer.path for writer in self._writers.values()]

    def flush(self) -> None:
        """Flush all; raises HistoryError as a writer does."""
        with self._lock:
            writers = list(self._writers.values())
        for writer in writers:
            writer.flush()

    def close(self) -> None:
        """Close all, also after one that raises HistoryError."""
        with ExitStack() as end:
            for writer in self._writers.values():
                end.callback(writer.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_COLON = "+"
"""Stands for the colon of a source in the name of its file: not every file system and archive takes one."""


def source_of(segment: Path) -> str:
    """The source whose file this is."""
    return segment.stem.replace(_COLON, ":")


def read_records(path: Path) -> Iterator[Record]:
    """The records of one file, in file order; raises HistoryError naming the file and line where it is broken."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield Record.from_json(line)
            except HistoryError as error:
                raise HistoryError(f"{path}, line {number}: {error}") from error


def _seal_of(path: Path, file: BinaryIO) -> tuple[Record, bytes]:
    """The last record, which must be a seal of this format, and its line; read first: other formats' lines differ."""
    end = file.seek(0, SEEK_END)
    tail, at = b"", end
    while at and b"\n" not in tail[:-1]:
        at = max(0, at - _TAIL_BYTES)
        file.seek(at)
        tail = file.read(end - at)
    line = tail[tail.rfind(b"\n", 0, -1) + 1 :]
    try:
        mark = Record.from_json(line) if line else None
    except HistoryError as error:
        raise HistoryError(f"{path}, last line: {error}") from error
    if mark is None or mark.kind != "seal":
        raise HistoryError(f"{path} does not end with its seal: the run was cut short, or the file was")
    schema = mark.get("schema")
    if schema != SCHEMA:
        advice = "; a newer kindstorm wrote it: use that one" if isinstance(schema, int) and schema > SCHEMA else ""
        raise HistoryError(f"{path} has schema {schema}, this kindstorm reads schema {SCHEMA}{advice}")
    return mark, line


def _unwritten(path: Path, error: OSError) -> HistoryError:
    reason = of_machine(error) or error.strerror or error
    return HistoryError(f"the history {path} cannot be written: {reason}")


def _cleaned(record: Record, redact: Redact | None) -> Record:
    """The record with its texts redacted; what the format itself says is kept."""
    if redact is None or record.kind in ("clock", "closing", "seal"):
        return record
    own = _OWN_WORDS | {"name"} if record.kind in ("fact", "phase") else _OWN_WORDS
    data = {key: value if key in own else redact(value) for key, value in record.data.items()}
    return Record(record.time_ns, record.source, record.kind, data)


def seal(segments: Iterable[Path], destination: Path, redact: Redact | None = None) -> History:
    """Merge the sources' files into one history in time order, seal it, put it in place whole, and return it.

    ``redact`` takes out of every record what its writer did not know to be secret.

    A segment's torn last line (its writer was killed) is left out; the missing closing record shows it. Raises
    HistoryError where it cannot be written; the segments hold what there is then.
    """
    told = _Told()
    partial = destination.with_suffix(".partial")
    digest = hashlib.sha256()
    with ExitStack() as files:
        opened = [_Segment(files, segment) for segment in segments]
        order = _in_time(opened)
        try:
            with partial.open("wb") as file:
                for number, at in order:
                    record = _cleaned(opened[number].record(at), redact)
                    told.add(record)
                    line = record.to_json()
                    digest.update(line)
                    file.write(line)
                # A segment whose disk took nothing of it is named, so that it counts as cut off.
                sources = sorted(told.sources | {source_of(each.path) for each in opened if not each.offsets})
                content = {"schema": SCHEMA, "records": sum(len(each.offsets) for each in opened), "sources": sources}
                mark = _with_digest(Record(told.end_ns, "harness", "seal", content), digest)
                told.add(mark)
                file.write(mark.to_json())
            partial.replace(destination)
        except OSError as error:
            raise _unwritten(destination, error) from error
        finally:
            partial.unlink(missing_ok=True)
    return History._of(told)


def _with_digest(mark: Record, before: hashlib._Hash) -> Record:
    """The seal with a digest of all lines before it and of its own other fields."""
    before.update(mark.to_json())
    return Record(mark.time_ns, mark.source, mark.kind, mark.data | {"sha256": before.hexdigest()})


def _in_time(segments: Sequence[_Segment]) -> Iterator[tuple[int, int]]:
    """(segment's number, offset) of all lines in time order; at one time the segments' and the files' order holds."""
    numbers = np.repeat(np.arange(len(segments)), [len(each.offsets) for each in segments])
    times = np.concatenate([np.array(each.times, np.int64) for each in segments] or [np.zeros(0, np.int64)])
    offsets = np.concatenate([np.array(each.offsets, np.int64) for each in segments] or [np.zeros(0, np.int64)])
    for place in np.argsort(times, kind="stable"):
        yield int(numbers[place]), int(offsets[place])


class _Segment:
    """One source's file while it is merged: ``times`` and ``offsets`` of its lines up to the first broken one."""

    def __init__(self, files: ExitStack, path: Path) -> None:
        self.path = path
        self._file = files.enter_context(path.open("rb"))
        self.times, self.offsets = array("q"), array("q")
        at = 0
        for line in self._file:
            try:
                self.times.append(Record.from_json(line).time_ns)
            except HistoryError:
                break
            self.offsets.append(at)
            at += len(line)

    def record(self, at: int) -> Record:
        """The record of the line at an offset."""
        self._file.seek(at)
        return Record.from_json(self._file.readline())


class _Told:
    """What a history is made of, one record after another."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.operations = OperationsBuilder()
        self.counts: dict[str, Counter[str]] = {}
        self.last_heard: dict[str, int] = {}
        self.begin_ns: int | None = None
        self.end_ns = 0

    @property
    def sources(self) -> set[str]:
        return set(self.counts)

    def add(self, record: Record) -> None:
        """Take in the next record; HistoryError where it says it is an operation and is none."""
        if record.kind == "op":
            try:
                self.operations.add(record.time_ns, record.source, record.data)
            except (KeyError, TypeError, OverflowError) as error:
                raise HistoryError(f"this is no operation: {record.data}") from error
        else:
            self.records.append(record)
        counts = self.counts.get(record.source)
        if counts is None:
            counts = self.counts[record.source] = Counter()
        counts[record.kind] += 1
        self.last_heard[record.source] = self.end_ns = record.time_ns
        if self.begin_ns is None:
            self.begin_ns = record.time_ns


class History:
    """A whole history in memory, in time order. Immutable; what is asked often is indexed by kind.

    ``records`` are all but the operations, which are columns: ``operations``. ``counts``: how many records of each
    kind each source wrote. ``begin_ns`` and ``end_ns`` are the times of the first and the last record, ``last_heard``
    that of each source's last one.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        told = _Told()
        for record in records:
            told.add(record)
        self._take(told)

    def _take(self, told: _Told) -> None:
        self.records: tuple[Record, ...] = tuple(told.records)
        self.operations: Operations = told.operations.done()
        self.counts: dict[str, Counter[str]] = told.counts
        self.last_heard: dict[str, int] = told.last_heard
        self.begin_ns: int = told.begin_ns or 0
        self.end_ns: int = told.end_ns
        self._by_kind: dict[str, list[Record]] = {}
        for record in self.records:
            self._by_kind.setdefault(record.kind, []).append(record)

    @classmethod
    def _of(cls, told: _Told) -> History:
        history = cls.__new__(cls)
        history._take(told)
        return history

    def __len__(self) -> int:
        """How many records there are, the operations' included."""
        return sum(counts.total() for counts in self.counts.values())

    @classmethod
    def load(cls, path: Path) -> History:
        """Read a stored history; raises HistoryError where it is missing, cut short, of another format or changed."""
        try:
            with path.open("rb") as file:
                return cls._of(_loaded(path, file))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise HistoryError(f"there is no history at {path}; name the directory of a run that has one") from None
        except OSError as error:
            raise HistoryError(f"{path} cannot be read: {error.strerror}") from error

    def of(self, kind: str) -> list[Record]:
        """All records of a kind, in time order. Those of operations are made anew from their columns, which is slow."""
        if kind == "op":
            return [Record(time_ns, source, "op", data) for time_ns, source, data in self.operations.steps()]
        return self._by_kind.get(kind, [])

    def fact(self, name: str, default: Json = None) -> Json:
        """The value of the last fact with this name, or ``default``."""
        for record in reversed(self.of("fact")):
            if record.get("name") == name:
                return record.get("value", default)
        return default

    def phase(self, name: str) -> tuple[int, int] | None:
        """(begin, end) of a phase in monotonic ns; None unless both edges are there."""
        edges = {r["edge"]: r.time_ns for r in self.of("phase") if r["name"] == name}
        return (edges["begin"], edges["end"]) if {"begin", "end"} <= edges.keys() else None

    def faults(self) -> list[FaultWindow]:
        """The faults that were injected, in the order of their injection."""
        windows: dict[str, list[Record]] = {}
        for record in self.of("fault"):
            windows.setdefault(record["id"], []).append(record)
        return [FaultWindow(tuple(records)) for records in windows.values()]

    def objects(self, kind: str, name: str | None = None) -> list[Record]:
        """What was watched of one kind of Kubernetes object (and of one name), in time order."""
        return [r for r in self.of("object") if r["object"] == kind and name in (None, r["name"])]

    def probes(self, probe: str, target: str | None = None) -> list[Record]:
        """Readings of one probe (and of one target), in time order of their arrival."""
        return [r for r in self.of("probe") if r["probe"] == probe and target in (None, r["target"])]

    def sources_of(self, kind: str) -> set[str]:
        """The sources that wrote records of a kind."""
        return {source for source, counts in self.counts.items() if counts[kind]}

    def cut_off(self) -> list[str]:
        """Why the history is not whole, a sentence for each source or experiment cut off; empty when it is whole."""
        if not self.of("seal"):
            return ["the history has no seal"]
        closed = {record.source: record.get("records", {}) for record in self.of("closing")}
        aborted = self.fact("experiment") is not None and self.fact("completed") is not True
        reasons = ["the experiment did not come to its end"] if aborted else []
        written = {source: _without_marks(counts) for source, counts in self.counts.items()}
        sources = {source for source, counts in written.items() if counts} | set(
            self.of("seal")[-1].get("sources") or []
        )
        reasons += [f"{source} has no closing record" for source in sorted(sources - closed.keys())]
        for source in sorted(closed):
            found = written.get(source, {})
            if closed[source] != found:
                reasons.append(f"{source} closed with {closed[source]} records, {found} are here")
        return reasons

    def clock_pairs(self, source: str) -> list[tuple[int, int]]:
        """(monotonic ns, wall ns) pairs that a source recorded, in time order."""
        return [(r.time_ns, r["wall_ns"]) for r in self.of("clock") if r.source == source]


def _without_marks(counts: Counter[str]) -> dict[str, int]:
    return {kind: count for kind, count in counts.items() if kind not in ("closing", "seal")}


def _loaded(path: Path, file: BinaryIO) -> _Told:
    """All records of a stored history, read in parts and checked against its seal."""
    mark, last = _seal_of(path, file)
    before = file.tell() - len(last)
    told, digest, number = _Told(), hashlib.sha256(), 0
    file.seek(0)
    while file.tell() < before:
        lines = file.readlines(min(_READ_BYTES, before - file.tell()) - 1)  # it stops once there is more than that
        for line in lines:
            number += 1
            try:
                told.add(Record.from_json(line))
            except HistoryError as error:
                raise HistoryError(f"{path}, line {number}: {error}") from error
        digest.update(b"".join(lines))
    if mark.get("records") != number:
        raise HistoryError(f"{path} has {number} records, its seal says {mark.get('records')}: lines are missing")
    bare = Record(mark.time_ns, mark.source, mark.kind, {k: v for k, v in mark.data.items() if k != "sha256"})
    if _with_digest(bare, digest).to_json() != last:
        raise HistoryError(f"{path} was changed after it was sealed: its digest is another; take a whole copy of it")
    told.add(mark)
    return told


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """All records of one injected fault."""

    records: tuple[Record, ...]

    @property
    def name(self) -> str:
        """The fault's name, such as kill_pod."""
        return str(self.records[0]["fault"])

    @property
    def target(self) -> dict[str, Json]:
        """What it was injected into: kind, name and what else identifies it."""
        return next((r["target"] for r in self.records if r.get("target")), {})

    @property
    def pods(self) -> list[dict[str, Json]]:
        """The pods it was injected into, {name, uid, ...}; none where its target is no pod."""
        target = self.target
        if target.get("kind") == "Pods":
            return list(target["pods"])
        return [target] if target.get("kind") == "Pod" else []

    def at(self, edge: str) -> int | None:
        """When the fault reached an edge, in monotonic ns; None where it did not."""
        return next((r.time_ns for r in self.records if r["edge"] == edge), None)

    def detail(self, edge: str) -> dict[str, Json]:
        """What was recorded at an edge."""
        return next((r.get("detail") or {} for r in self.records if r["edge"] == edge), {})

    @property
    def took_effect(self) -> bool:
        """True when the effect was observed."""
        return self.at("effect") is not None
