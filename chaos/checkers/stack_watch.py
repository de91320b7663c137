"""What the watches show of a stack: which pods of its workloads are ready and which endpoints its services have."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from chaos.checkers.evidence import stack_namespace
from chaos.history import History, Json, Record


@dataclass(frozen=True)
class Step:
    """What the stack looked like after one record: how many are ready, by ``kind/name``."""

    record: Record
    ready: dict[str, int]


@dataclass
class StackWatch:
    """The stack's pods and endpoints over a run, as the watches told it, in time order."""

    steps: list[Step] = field(default_factory=list)
    pods: dict[str, list[Record]] = field(default_factory=dict)
    """Every pod's records by UID, in the order in which the UIDs were first seen."""
    workload_of: dict[str, str] = field(default_factory=dict)
    """UID of a pod: its workload as ``kind/name``."""
    endpoint_of: dict[str, list[Record]] = field(default_factory=dict)
    """UID of a pod: the records that show it as a ready endpoint."""
    heard: dict[str, list[int]] = field(default_factory=dict)
    """When each watching source was heard (objects and clocks), in ns."""

    def last_heard(self, source: str, before_ns: int, not_before_ns: int) -> int:
        """The last time before ``before_ns`` at which a source was heard, in ns; at least ``not_before_ns``.

        A watch tells changes in their order and owns up to what it missed by a ``gap``. So at every sign of life it
        gave before it told of a change, it had not seen that change yet.
        """
        times = self.heard.get(source, [])
        place = bisect_left(times, before_ns)
        return max(times[place - 1], not_before_ns) if place else not_before_ns

    def ready_at(self, time_ns: int) -> dict[str, int]:
        """How many were ready at a time, by ``kind/name``."""
        place = bisect_left(self.steps, time_ns, key=lambda step: step.record.time_ns)
        return self.steps[place - 1].ready if place else {}

    def steps_between(self, begin_ns: int, end_ns: int) -> list[Step]:
        """The steps from ``begin_ns`` up to but not at ``end_ns``."""
        first = bisect_left(self.steps, begin_ns, key=lambda step: step.record.time_ns)
        return self.steps[first : bisect_left(self.steps, end_ns, key=lambda step: step.record.time_ns)]


def watch_stack(history: History, end_ns: int) -> StackWatch:
    """Follow the stack's workloads and services until ``end_ns``; needs the fact ``stack``."""
    watch, now = StackWatch(), _Now({_key(workload) for workload in history.fact("stack", {}).get("workloads", [])})
    namespace = stack_namespace(history)
    for record in history.of("object"):
        if record.time_ns >= end_ns:
            break
        if namespace not in (None, record.get("namespace")) or record["object"] not in ("Pod", "EndpointSlice"):
            continue
        state = record.get("state") or {}
        if record["object"] == "Pod":
            uid, workload = str(record["uid"]), workload_of(record)
            if workload is not None:
                watch.workload_of.setdefault(uid, workload)
            if watch.workload_of.get(uid) not in now.workloads:
                continue
            watch.pods.setdefault(uid, []).append(record)
            now.pod(uid, watch.workload_of[uid], is_ready(record))
        else:
            gone = record["verb"] == "deleted"
            uids = [] if gone else [str(e.get("pod_uid")) for e in state.get("endpoints", []) if e.get("ready")]
            for uid in uids:
                watch.endpoint_of.setdefault(uid, []).append(record)
            now.slice(str(record["name"]), str(state.get("service")), uids)
        watch.steps.append(Step(record, now.counted()))
    watching = {step.record.source for step in watch.steps}
    for record in sorted((*history.of("object"), *history.of("clock")), key=lambda r: r.time_ns):
        if record.source in watching:
            watch.heard.setdefault(record.source, []).append(record.time_ns)
    return watch


def workload_of(pod: Record) -> str | None:
    """The workload a pod record names as its owner, as ``kind/name``; None where it names none.

    A Deployment owns its pods through a ReplicaSet that has the Deployment's name and a hash.
    """
    owner = (pod.get("state") or {}).get("owner") or {}
    if not owner:
        return None
    if owner["kind"] == "ReplicaSet":
        return f"Deployment/{str(owner['name']).rpartition('-')[0]}"
    return f"{owner['kind']}/{owner['name']}"


def is_ready(pod: Record) -> bool:
    """True where a pod record shows a pod that is ready and not on its way out."""
    state = pod.get("state") or {}
    return pod["verb"] != "deleted" and bool(state.get("ready")) and not state.get("deleting")


@dataclass
class _Now:
    """The stack's state while the records go by."""

    workloads: set[str]
    ready: dict[str, str] = field(default_factory=dict)
    slices: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    def pod(self, uid: str, workload: str, good: bool) -> None:
        if good:
            self.ready[uid] = workload
        else:
            self.ready.pop(uid, None)

    def slice(self, name: str, service: str, uids: list[str]) -> None:
        if uids:
            self.slices[name] = (service, uids)
        else:
            self.slices.pop(name, None)

    def counted(self) -> dict[str, int]:
        """Ready pods by workload, and endpoints by service as far as a ready pod of the stack stands behind them."""
        behind = {(service, uid) for service, uids in self.slices.values() for uid in uids if uid in self.ready}
        return {**Counter(self.ready.values()), **Counter(f"Service/{service}" for service, _ in behind)}


def _key(workload: dict[str, Json]) -> str:
    return f"{workload['kind']}/{workload['name']}"
