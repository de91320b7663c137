"""What the watches show of a stack: which pods of its workloads are ready and which endpoints its services have."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from chaos.checkers.evidence import stack_namespace
from chaos.checkers.publication import Published, published
from chaos.history import History, Json, Record

WATCHED = ("Pod", "EndpointSlice")
"""The kinds of objects that a stack is followed by."""


@dataclass(frozen=True)
class Step:
    """What the stack looked like after one change: how many are ready, by ``kind/name``."""

    change: Published
    ready: dict[str, int]


@dataclass
class StackWatch:
    """The stack's pods and endpoints over a run, in the order in which their changes were published."""

    steps: list[Step] = field(default_factory=list)
    pods: dict[str, list[Published]] = field(default_factory=dict)
    """Every pod's changes by UID, in the order in which the UIDs were first seen."""
    workload_of: dict[str, str] = field(default_factory=dict)
    """UID of a pod: its workload as ``kind/name``."""
    endpoint_of: dict[str, list[tuple[Published, bool]]] = field(default_factory=dict)
    """UID of a pod: the changes by which it became a ready endpoint of a service, or ceased to be one of any."""
    sources: set[str] = field(default_factory=set)
    """The watches that told of it."""

    def ready_at(self, time_ns: int) -> dict[str, int]:
        """How many were certainly ready by a time, by ``kind/name``."""
        place = bisect_left(self.steps, time_ns, key=lambda step: step.change.upper_ns)
        return self.steps[place - 1].ready if place else {}

    def steps_between(self, begin_ns: int, end_ns: int) -> list[Step]:
        """The steps from ``begin_ns`` up to but not at ``end_ns``, by the latest time each can have been taken."""
        first = bisect_left(self.steps, begin_ns, key=lambda step: step.change.upper_ns)
        return self.steps[first : bisect_left(self.steps, end_ns, key=lambda step: step.change.upper_ns)]


def watch_stack(history: History, end_ns: int) -> StackWatch:
    """Follow the stack's workloads and services until ``end_ns``; needs the fact ``stack``."""
    watch, now = StackWatch(), _Now({_key(workload) for workload in history.fact("stack", {}).get("workloads", [])})
    namespace = stack_namespace(history)
    for change in published(history, WATCHED):
        record = change.record
        if change.upper_ns >= end_ns or namespace not in (None, record.get("namespace")):
            continue
        if record["object"] == "Pod":
            uid, workload = str(record["uid"]), workload_of(record)
            if workload is not None:
                watch.workload_of.setdefault(uid, workload)
            if watch.workload_of.get(uid) not in now.workloads:
                continue
            watch.pods.setdefault(uid, []).append(change)
            now.pod(uid, watch.workload_of[uid], is_ready(record))
        else:
            for uid, there in now.slice(record):
                watch.endpoint_of.setdefault(uid, []).append((change, there))
        watch.sources.add(record.source)
        watch.steps.append(Step(change, now.counted()))
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

    def slice(self, record: Record) -> list[tuple[str, bool]]:
        """Take in a slice; returns the pods that became an endpoint by it (True) or ceased to be any (False)."""
        name, state = str(record["name"]), record.get("state") or {}
        before = self._behind()
        listed = [] if record["verb"] == "deleted" else state.get("endpoints", [])
        uids = [str(endpoint.get("pod_uid")) for endpoint in listed if endpoint.get("ready")]
        if uids:
            self.slices[name] = (str(state.get("service")), uids)
        else:
            self.slices.pop(name, None)
        after = self._behind()
        return [(uid, uid in after) for uid in sorted(before ^ after)]

    def _behind(self) -> set[str]:
        return {uid for _, uids in self.slices.values() for uid in uids}

    def counted(self) -> dict[str, int]:
        """Ready pods by workload, and endpoints by service as far as a ready pod of the stack stands behind them."""
        behind = {(service, uid) for service, uids in self.slices.values() for uid in uids if uid in self.ready}
        return {**Counter(self.ready.values()), **Counter(f"Service/{service}" for service, _ in behind)}


def _key(workload: dict[str, Json]) -> str:
    return f"{workload['kind']}/{workload['name']}"
