"""The history: the one thing that crosses from running to judging.

A history is a JSON Lines file. Each line is one :class:`Record`: when it happened, who says so, what kind
of record it is, and the kind's own fields. Times are ``time.monotonic_ns()``, which all processes of one
Linux host share. The kinds and their fields:

``fact``      ``name``, ``value``: what a checker needs to know (seed, live settings, baseline, images, ...).
              Names in use: ``experiment`` {scenario, stack, namespace, seed, load_s}, ``stack`` {name, workloads:
              [{kind, name, replicas}], services: [...], node_port, identities: [pod name, ...], storage: [local |
              shared | a StorageClass, ...]}, ``cluster`` {name, kubernetes, clocks, nodes, settings}, ``images``,
              ``workload`` (see load.profiles); also of the stack, ``disruption_budgets``: [{name, selector,
              min_available, max_unavailable}], as they are written,
              ``baseline`` and ``baseline_after``, the cluster before the deployment and after the removal: {nodes:
              {name: {ready, unschedulable, taints}}, namespaces: [...], system_pods: {"namespace/name": ready},
              volumes: [name, ...], escaped_packets: how many have left the cluster's bridge since it was sealed};
              ``completed`` true, the last act of an experiment that came to its end.
``clock``     ``wall_ns``: the source's wall clock at ``time_ns``; once a second.
``phase``     ``name``, ``edge`` (begin | end). In order: deploy, steady, before, fault, recover, after, verify,
              remove. ``before``, ``fault``, ``recover`` and ``after`` lie inside the load's window and adjoin.
``op``        one step of one client operation: ``type`` (invoke | ok | fail | info), ``process``, ``op`` (an id
              unique in the source), ``f`` (what was asked), ``value``, ``error``; an invocation also has
              ``intended_ns``, when the schedule wanted it. ``info``: nobody knows whether it happened.
              Two ``f`` have a fixed shape. ``insert``, a write: value its unique id, an int or a str. ``read_all``,
              the verifying read, in phase verify: an operation for each page, invoked with value {page: from 0},
              answered with value {page, ids: [id, ...], last: bool}, or with {ids} where there is but one.
``fault``     ``fault`` (its name), ``id``, ``edge`` (inject | injected | effect | no_effect | heal | healed | failed),
              ``target`` {kind, name, uid, ...}, ``detail``. Several pods hit at once are a target of kind Pods, with
              ``pods``: [{name, uid, node}].
``object``    a watched Kubernetes object changed: ``verb`` (seen | added | modified | deleted), ``object`` (Pod, Node,
              ...), ``namespace``, ``name``, ``uid``, ``state``, by kind:
              Pod {phase, ready, ip, node, unschedulable (the scheduler looked for a node and found none), claims:
              [name], owner: {kind, name, uid}, deleting, created_at, labels,
              containers: [{name, id, restarts, state (waiting | running | terminated), started_at, exit_code}],
              init_containers: the same};
              PersistentVolumeClaim {phase, volume}; Node {ready, unschedulable, taints: ["key=value:effect"]};
              EndpointSlice {service, endpoints: [{ip, pod, pod_uid, ready, serving, terminating}]};
              Deployment, StatefulSet, ReplicaSet {replicas, ready_replicas, updated_replicas, generation,
              observed_generation}; Event {reason, message, type, count, at, about: {kind, name}}, ``at`` the last
              time in the cluster's own wall clock.
``probe``     one reading: ``probe``, ``target``, ``send_ns``, ``receive_ns``, ``value``, ``error`` (None where it was
              answered). ``dns``, asked inside the cluster: target a name, value {answers: [ip, ...], rcode};
              ``http``, asked inside the cluster: target a URL, value {status, body}.
``gap``       ``what``, ``from_ns``, ``to_ns``: the source may have missed something in between.
``note``      ``text``: for people; ``skipped``, where the load says so: how many requests it never sent.
``closing``   the last record of a source: ``records``, how many it wrote before this one, by kind.
``seal``      the last record of a history: ``schema``, ``records``, how many stand before it, ``sources``, and
              ``sha256``, a digest of all lines before it and of its own other fields. A stack that was held was judged
              on a history that ended with its first seal; source ``end`` tells of the removal after it.

Texts in a history are without secrets, which chaos.redact takes out as they are written: a marker stands for each. The
words of the format itself are never touched.

A source that has no closing record, or whose count does not match, was cut off: what it would have said is
unknown. A history without a seal is not a whole history, and neither is one with an ``experiment`` and without
``completed``: an experiment that was aborted closes and seals its records all the same.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from chaos.errors import HistoryError, of_machine

SCHEMA = 2
"""Version of the record format; a history of another version is refused."""

Json = Any
"""What JSON can hold: None, bool, int, float, str, lists and str-keyed dicts of these."""

Redact = Callable[[Json], Json]
"""Takes the secrets out of a JSON value."""

_OWN_WORDS = frozenset({"edge", "f", "fault", "id", "object", "op", "probe", "process", "type", "uid", "verb"})
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


def read_records(path: Path) -> Iterator[Record]:
    """The records of one file, in file order; raises HistoryError naming the file and line where it is broken."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            yield _record_of(path, number, line)


def _record_of(path: Path, number: int, line: bytes) -> Record:
    try:
        return Record.from_json(line)
    except HistoryError as error:
        raise HistoryError(f"{path}, line {number}: {error}") from error


def _seal_of(path: Path, lines: list[bytes]) -> Record:
    """The last record, which must be a seal of this format; asked first, for another format has other lines."""
    mark = _record_of(path, len(lines), lines[-1]) if lines else None
    if mark is None or mark.kind != "seal":
        raise HistoryError(f"{path} does not end with its seal: the run was cut short, or the file was")
    schema = mark.get("schema")
    if schema != SCHEMA:
        advice = "; a newer kindstorm wrote it: use that one" if isinstance(schema, int) and schema > SCHEMA else ""
        raise HistoryError(f"{path} has schema {schema}, this kindstorm reads schema {SCHEMA}{advice}")
    return mark


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
    records: list[Record] = []
    silent = set()
    for segment in segments:
        readable = list(_readable_prefix(segment))
        records.extend(_cleaned(record, redact) for record in readable)
        if not readable:
            silent.add(segment.stem)  # its disk took nothing of it: named, so that it counts as cut off
    records.sort(key=lambda record: record.time_ns)
    end = records[-1].time_ns if records else 0
    sources = sorted({record.source for record in records} | silent)
    mark = Record(end, "harness", "seal", {"schema": SCHEMA, "records": len(records), "sources": sources})
    partial = destination.with_suffix(".partial")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as file:
            for record in records:
                line = record.to_json()
                digest.update(line)
                file.write(line)
            mark = _with_digest(mark, digest)
            file.write(mark.to_json())
        partial.replace(destination)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _unwritten(destination, error) from error
    return History((*records, mark))


def _with_digest(mark: Record, before: hashlib._Hash) -> Record:
    """The seal with a digest of all lines before it and of its own other fields."""
    before.update(mark.to_json())
    return Record(mark.time_ns, mark.source, mark.kind, mark.data | {"sha256": before.hexdigest()})


def _readable_prefix(path: Path) -> Iterator[Record]:
    try:
        yield from read_records(path)
    except HistoryError:
        return


class History:
    """A whole history in memory, in time order. Immutable; what is asked often is indexed by kind."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records: tuple[Record, ...] = tuple(records)
        self._by_kind: dict[str, list[Record]] = {}
        for record in self.records:
            self._by_kind.setdefault(record.kind, []).append(record)

    @classmethod
    def load(cls, path: Path) -> History:
        """Read a stored history; raises HistoryError where it is missing, cut short, of another format or changed."""
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise HistoryError(f"there is no history at {path}; name the directory of a run that has one") from None
        except OSError as error:
            raise HistoryError(f"{path} cannot be read: {error.strerror}") from error
        mark = _seal_of(path, lines)
        history = cls(_record_of(path, number, line) for number, line in enumerate(lines, start=1))
        if mark.get("records") != len(lines) - 1:
            raise HistoryError(
                f"{path} has {len(lines) - 1} records, its seal says {mark.get('records')}: lines are missing"
            )
        digest = hashlib.sha256(b"".join(lines[:-1]))
        bare = Record(mark.time_ns, mark.source, mark.kind, {k: v for k, v in mark.data.items() if k != "sha256"})
        if _with_digest(bare, digest).to_json() != lines[-1]:
            raise HistoryError(
                f"{path} was changed after it was sealed: its digest is another; take a whole copy of it"
            )
        return history

    def of(self, kind: str) -> list[Record]:
        """All records of a kind, in time order."""
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

    def cut_off(self) -> list[str]:
        """Why the history is not whole, a sentence for each source or experiment cut off; empty when it is whole."""
        if not self.of("seal"):
            return ["the history has no seal"]
        written: dict[str, Counter[str]] = {}
        closed: dict[str, dict[str, int]] = {}
        for record in self.records:
            if record.kind == "closing":
                closed[record.source] = record.get("records", {})
            elif record.kind != "seal":
                written.setdefault(record.source, Counter())[record.kind] += 1
        aborted = self.fact("experiment") is not None and self.fact("completed") is not True
        reasons = ["the experiment did not come to its end"] if aborted else []
        sources = written.keys() | set(self.of("seal")[-1].get("sources") or [])
        reasons += [f"{source} has no closing record" for source in sorted(sources - closed.keys())]
        for source in sorted(closed):
            found = dict(written.get(source, {}))
            if closed[source] != found:
                reasons.append(f"{source} closed with {closed[source]} records, {found} are here")
        return reasons

    def clock_pairs(self, source: str) -> list[tuple[int, int]]:
        """(monotonic ns, wall ns) pairs that a source recorded, in time order."""
        return [(r.time_ns, r["wall_ns"]) for r in self.of("clock") if r.source == source]


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
