"""How far a recovery has come, stage by stage and pod by pod, each as an interval with the name of who says so.

The stages, in their usual order: ``detected`` (the first sign that Kubernetes knows: of a node fault the node's own
state, else the pod's), ``exited`` (the old containers, by the node), ``evicted`` (the old pod's deletion began),
``gone`` (it is deleted), ``created``, ``scheduled``, ``started``, ``ready`` and ``endpoint`` (of its replacement, or
of itself where it stayed), ``dns`` (its own name leads to it), ``client`` (clients are answered again). Of several pods
a stage is reached once the last one has reached it. A stage that nobody could see is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from chaos.checkers.evidence import fault_text
from chaos.checkers.incarnations import DNS_ANSWERS
from chaos.checkers.publication import Published, published
from chaos.checkers.stack_watch import StackWatch, is_ready
from chaos.history import FaultWindow, History, Json, Record
from chaos.operations import OK, OPEN

KILLS = ("kill_pod", "kill_all_pods")


@dataclass(frozen=True, slots=True)
class Stage:
    """Not yet reached at ``lower_ns``, reached at ``upper_ns`` (None: never seen), says ``source``."""

    lower_ns: int
    upper_ns: int | None
    source: str

    def and_then(self, other: Stage | None) -> Stage:
        """Both of them: reached once the later one is."""
        if other is None:
            return self
        ends = (self.upper_ns, other.upper_ns)
        upper = None if ends[0] is None or ends[1] is None else max(ends[0], ends[1])
        sources = sorted({*self.source.split(", "), *other.source.split(", ")})
        return Stage(max(self.lower_ns, other.lower_ns), upper, ", ".join(sources))


class Sightings:
    """What a history says of stages, in the order of asking."""

    def __init__(self, history: History, watch: StackWatch) -> None:
        self.watch = watch
        self.clients = Clients(history)
        self._runtime: dict[str, list[Record]] = {}
        self._dns: dict[str, list[Record]] = {}
        self._nodes: dict[str, list[Published]] = {}
        self._gaps: dict[str, list[tuple[int, int | None]]] = {}
        for record in history.of("runtime"):
            self._runtime.setdefault(str(record.get("pod_uid")), []).append(record)
        for record in history.probes("dns"):
            if record.get("error") is None and record["value"].get("rcode") in DNS_ANSWERS:
                self._dns.setdefault(str(record["target"]).partition(".")[0], []).append(record)
        for change in published(history, ("Node",)):
            self._nodes.setdefault(str(change.record["name"]), []).append(change)
        for gap in history.of("gap"):
            self._gaps.setdefault(gap.source, []).append((gap["from_ns"], gap.get("to_ns")))

    def of(self, fault: FaultWindow, replacements: dict[str, str | None], end_ns: int) -> dict[str, Stage]:
        """The stages of a fault's recovery up to ``end_ns``; ``replacements``: who came for which pod, by UID."""
        begin = fault.at("inject") or 0
        found: dict[str, Stage] = {}
        for old, new in replacements.items():
            one = _OnePod(self, old, new, begin, end_ns)
            for name, stage in one.stages():
                found[name] = stage.and_then(found.get(name))
        if fault.target.get("kind") == "Node":
            known = _first(self._nodes.get(str(fault.target.get("name")), []), begin, end_ns, _is_lost)
            found.pop("detected", None)
            found = {**({"detected": known} if known else {}), **found}
        client = self.clients.again(begin, end_ns)
        return {**found, **({"client": client} if client else {})}

    def runtime(self, uid: str, event: str, containers: set[str], begin: int, end: int) -> Stage | None:
        """When a node saw the last of these containers of a pod start or exit; None where it cannot tell."""
        events: dict[str, Record] = {}
        for record in self._runtime.get(uid, []):
            if record["event"] == event and record["container"] in containers and begin <= record.time_ns < end:
                events.setdefault(record["container"], record)
        if not containers or set(events) != containers:
            return None
        error = [int(record.get("error_ns") or 0) for record in events.values()]
        times = [record.time_ns for record in events.values()]
        upper = max(at + wide for at, wide in zip(times, error, strict=True))
        source = next(iter(events.values())).source
        if any(since <= upper and (until is None or until >= begin) for since, until in self._gaps.get(source, [])):
            return None  # an earlier one may have been missed
        return Stage(max(begin, *(at - wide for at, wide in zip(times, error, strict=True))), upper, source)

    def dns(self, pod: str, ip: str | None, begin: int, end: int) -> Stage | None:
        """The first right answer for a pod's own name after the last wrong one; None where nobody asked."""
        asked = [r for r in self._dns.get(pod, []) if begin <= r["send_ns"] and r["receive_ns"] < end]
        right = [ip is not None and r["value"].get("answers") == [ip] for r in asked]
        wrong = max((place for place, good in enumerate(right) if not good), default=-1)
        if not asked:
            return None
        lower = begin if wrong < 0 else asked[wrong]["send_ns"]
        upper = asked[wrong + 1]["receive_ns"] if wrong + 1 < len(asked) else None
        return Stage(lower, upper, asked[0].source)


class Clients:
    """When clients were answered and when they were not."""

    def __init__(self, history: History) -> None:
        ops = history.operations
        ended = ops.end_ns != OPEN
        lost = ended & (ops.fate != OK)
        order = np.argsort(ops.end_ns[lost], kind="stable")
        good = np.flatnonzero(ended & (ops.fate == OK))
        good = good[np.argsort(ops.invoke_ns[good], kind="stable")]
        self._ok_since_ns = ops.invoke_ns[good]
        self._first_ok_ns = np.minimum.accumulate(ops.end_ns[good][::-1])[::-1]
        self._lost_ns = ops.end_ns[lost][order]
        self._lost_since_ns = ops.invoke_ns[lost][order]
        self._source = ", ".join(sorted(history.sources_of("op")))

    def again(self, begin: int, end: int) -> Stage | None:
        """From the last request that failed, when it was sent, to the first answer to a later one; None: none failed.

        A request that runs into its timeout fails long after the service is back, so when it ended says nothing.
        """
        first, past = np.searchsorted(self._lost_ns, (begin, end))
        if first == past:
            return None
        lower = max(begin, int(self._lost_since_ns[first:past].max()))
        later = int(np.searchsorted(self._ok_since_ns, lower, side="right"))
        answered = later < len(self._first_ok_ns) and self._first_ok_ns[later] < end
        return Stage(lower, int(self._first_ok_ns[later]) if answered else None, self._source)


@dataclass(frozen=True)
class _OnePod:
    """A pod that a fault met, and who came for it: another one, itself (None in ``stayed``), or nobody."""

    seen: Sightings
    old: str
    new: str | None
    begin: int
    end: int

    def stages(self) -> Iterable[tuple[str, Stage]]:
        """Those that can be told, by name."""
        before = self.seen.watch.pods.get(self.old, [])
        found: dict[str, Stage | None] = {"detected": self._first(before, lambda r: not is_ready(r))}
        if self.new == self.old:
            found["ready"] = self._again([(change, is_ready(change.record)) for change in before])
            found["endpoint"] = self._again(self.seen.watch.endpoint_of.get(self.old, []))
        else:
            containers = _containers(before)
            found["exited"] = self.seen.runtime(self.old, "exit", containers, self.begin, self.end)
            found["evicted"] = self._first(before, lambda r: r["verb"] == "deleted" or _state(r).get("deleting"))
            found["gone"] = self._reached(before, lambda r: r["verb"] == "deleted")
            found |= self._of_the_new(self.seen.watch.pods.get(self.new or "", []))
        return ((name, stage) for name, stage in found.items() if stage is not None)

    def _of_the_new(self, changes: list[Published]) -> dict[str, Stage | None]:
        created = self._reached(changes, lambda _: True)
        scheduled = self._reached(changes, lambda r: bool(_state(r).get("node")))
        told = self._reached(changes, _running)
        started = self.seen.runtime(self.new or "", "start", _containers(changes), self.begin, self.end)
        # The API tells of a start after it: not before the pod had a node.
        started = started or Stage(min(scheduled.lower_ns, told.lower_ns), told.upper_ns, told.source)
        shown = [change for change, there in self.seen.watch.endpoint_of.get(self.new or "", []) if there]
        found: dict[str, Stage | None] = {
            "created": created,
            "scheduled": scheduled,
            "started": started,
            "ready": self._reached(changes, lambda r: bool(_state(r).get("ready"))),
            "endpoint": self._reached(shown, lambda _: True, "api:EndpointSlice"),
        }
        if self.seen.watch.workload_of.get(self.old, "").startswith("StatefulSet/"):
            name = str(self.seen.watch.pods[self.old][0].record["name"])
            ip = next((ip for change in reversed(changes) if (ip := _state(change.record).get("ip"))), None)
            found["dns"] = self.seen.dns(name, ip, self.begin, self.end)
        return found

    def _first(self, changes: list[Published], reached: Callable[[Record], Json]) -> Stage | None:
        return _first(changes, self.begin, self.end, reached)

    def _reached(self, changes: list[Published], reached: Callable[[Record], Json], source: str = "api:Pod") -> Stage:
        return self._first(changes, reached) or Stage(self.begin, None, source)

    def _again(self, changes: list[tuple[Published, bool]]) -> Stage | None:
        """When it was good again after the last time it was not; None where it never ceased to be."""
        inside = [(change, good) for change, good in changes if self.begin <= change.upper_ns < self.end]
        bad = max((place for place, (_, good) in enumerate(inside) if not good), default=None)
        if bad is None:
            return None
        if bad + 1 < len(inside):
            return _stage(inside[bad + 1][0], self.begin)
        return Stage(max(self.begin, inside[bad][0].lower_ns), None, inside[bad][0].record.source)


def affected(watch: StackWatch, fault: FaultWindow) -> list[str]:
    """The UIDs of the stack's pods that a fault met: those that it killed, or that were ready on the node it hit."""
    if fault.name in KILLS:
        seen = fault.detail("effect").get("uid_before")
        uids = [pod.get("uid") for pod in fault.pods] if seen is None else [seen]
        return [str(uid) for uid in uids if uid is not None]
    if fault.target.get("kind") != "Node":
        return []
    begin, found = fault.at("inject") or 0, []
    for uid, changes in watch.pods.items():
        last = next((change.record for change in reversed(changes) if change.upper_ns < begin), None)
        if last is not None and is_ready(last) and _state(last).get("node") == fault.target.get("name"):
            found.append(uid)
    return found


def stayed(watch: StackWatch, uid: str, begin: int, end: int) -> bool:
    """True where a pod was neither deleted nor on its way out in a stretch of time."""
    inside = [change.record for change in watch.pods.get(uid, []) if begin <= change.upper_ns < end]
    return not any(r["verb"] == "deleted" or _state(r).get("deleting") for r in inside)


def unreplaced(fault: FaultWindow, old: str) -> str:
    """The sentence for a killed pod that nobody came for."""
    return f"no replacement of {old} was seen after {fault_text(fault)}"


def _first(changes: list[Published], begin: int, end: int, reached: Callable[[Record], Json]) -> Stage | None:
    found = next((c for c in changes if begin <= c.upper_ns < end and reached(c.record)), None)
    return _stage(found, begin) if found else None


def _stage(change: Published, begin: int) -> Stage:
    return Stage(max(begin, change.lower_ns), change.upper_ns, change.record.source)


def _state(record: Record) -> dict[str, Json]:
    return record.get("state") or {}


def _is_lost(node: Record) -> bool:
    state = _state(node)
    return not state.get("ready") or bool(state.get("unschedulable"))


def _containers(changes: list[Published]) -> set[str]:
    return {str(one["name"]) for change in changes for one in _state(change.record).get("containers") or []}


def _running(pod: Record) -> bool:
    containers = _state(pod).get("containers") or []
    return bool(containers) and all(container["state"] == "running" for container in containers)
