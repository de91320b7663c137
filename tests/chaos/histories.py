"""Histories made by hand, told in seconds, for the tests of what judges them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection
from typing import Self

from chaos.history import SCHEMA, History, Json, Record

NAMESPACE = "run-1"
PHASES = {
    "deploy": (0, 5),
    "steady": (5, 10),
    "before": (10, 20),
    "fault": (20, 25),
    "recover": (25, 30),
    "after": (30, 40),
    "verify": (40, 42),
    "remove": (42, 45),
}
BASELINE: dict[str, Json] = {
    "nodes": {"worker": {"ready": True, "unschedulable": False, "taints": ["a=b:NoSchedule", "c=d:NoExecute"]}},
    "namespaces": ["default", "kube-system"],
    "system_pods": {"kube-system/coredns-7db6d8ff4d-x2bcd": True, "kube-system/etcd-control-plane": True},
    "volumes": [],
    "objects": ["StorageClass standard"],
    "escaped_packets": 7,
}


class Story:
    """A history in the making. Each source closes its records unless the end of the story says otherwise."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._operations = 0
        self._reads_s: list[float] | None = None
        self._ends: dict[str, int] = {}

    def tell(self, at_s: float, source: str, kind: str, **data: Json) -> Self:
        """Add any record."""
        self.records.append(Record(ns(at_s), source, kind, data))
        return self

    def phases(self, **other: tuple[float, float]) -> Self:
        """Add the usual phases; ``other`` moves some."""
        for name, (begin_s, end_s) in (PHASES | other).items():
            self.tell(begin_s, "harness", "phase", name=name, edge="begin")
            self.tell(end_s, "harness", "phase", name=name, edge="end")
        return self

    def fact(self, name: str, value: Json) -> Self:
        """Add a fact, told at the beginning; only the baseline after the run is told at its end."""
        return self.tell(45 if name == "baseline_after" else 0, "harness", "fact", name=name, value=value)

    def op(
        self,
        at_s: float,
        kind: str = "ok",
        took_s: float = 0.02,
        intended_s: float | None = None,
        error: str = "refused",
    ) -> Self:
        """Add one operation of the load; ``open``: it never ends."""
        self._operations += 1
        name = self._operations
        intended_ns = ns(at_s if intended_s is None else intended_s)
        self.tell(at_s, "load", "op", type="invoke", process=0, op=name, f="read", intended_ns=intended_ns)
        if kind != "open":
            told = None if kind == "ok" else error
            self.tell(at_s + took_s, "load", "op", type=kind, process=0, op=name, f="read", error=told)
        return self

    def load(self, begin_s: float = 10, end_s: float = 40, kind: str = "ok") -> Self:
        """Add ten operations a second."""
        for tenth in range(round(begin_s * 10), round(end_s * 10)):
            self.op(tenth / 10 + 0.01, kind)
        return self

    def fault(
        self,
        name: str = "kill_pod",
        target: dict[str, Json] | None = None,
        inject_s: float = 20,
        heal_s: float = 24.9,
        injected: dict[str, Json] | None = None,
        effect: dict[str, Json] | None = None,
    ) -> Self:
        """Add a fault that takes effect and is healed."""
        edges = {
            "inject": 0.0,
            "injected": 0.05,
            "effect": 0.2,
            "heal": heal_s - inject_s,
            "healed": heal_s - inject_s + 0.1,
        }
        target = target or {"kind": "Pod", "name": "web-1", "uid": "web-1-a", "namespace": NAMESPACE}
        details = {"injected": injected or {}, "effect": effect or {"uid_before": "web-1-a", "gone": True}}
        for edge, after_s in edges.items():
            detail = details.get(edge, {})
            at_s = inject_s + after_s
            identifier = f"{name}@{inject_s}"
            self.tell(at_s, "harness", "fault", fault=name, id=identifier, edge=edge, target=target, detail=detail)
        return self

    def pod(
        self, at_s: float, name: str, uid: str, verb: str = "modified", owner: str = "StatefulSet/web", **state: Json
    ) -> Self:
        """Add what a watch told of a pod; ready on node worker, unless ``state`` says otherwise."""
        kind, _, owner_name = owner.partition("/")
        whole = {
            "phase": "Running",
            "ready": True,
            "ip": f"ip-{uid}",
            "node": "worker",
            "claims": [f"data-{name}"],
            "owner": {"kind": kind, "name": owner_name, "uid": f"{owner_name}-uid"},
            "deleting": False,
            "containers": [{"name": "app", "state": "running" if state.get("ready", True) else "waiting"}],
        } | state
        return self.seen(at_s, "Pod", name, uid, whole, verb)

    def seen(self, at_s: float, kind: str, name: str, uid: str, state: dict[str, Json], verb: str = "modified") -> Self:
        """Add what a watch told of any object in the stack's namespace."""
        source = f"api:{kind}"
        return self.tell(
            at_s, source, "object", verb=verb, object=kind, namespace=NAMESPACE, name=name, uid=uid, state=state
        )

    def endpoints(self, at_s: float, *uids: str) -> Self:
        """Add the EndpointSlice of service web with these pods as ready endpoints."""
        endpoints = [{"ip": f"ip-{uid}", "pod": uid[:-2], "pod_uid": uid, "ready": True} for uid in uids]
        return self.seen(at_s, "EndpointSlice", "web-x", "slice", {"service": "web", "endpoints": endpoints})

    def dns(self, at_s: float, pod: str, *ips: str, rcode: str = "NOERROR") -> Self:
        """Add an answer to the question for a pod's DNS name."""
        return self._probe(at_s, "dns", f"{pod}.web.{NAMESPACE}.svc", {"answers": list(ips), "rcode": rcode})

    def marker(self, at_s: float, pod: str, body: str, status: int = 200) -> Self:
        """Add a reading of what a pod's volume holds."""
        return self._probe(at_s, "http", f"http://{pod}.web:80/marker", {"status": status, "body": body})

    def clocks(self, source: str, begin_s: int = 0, end_s: int = 45) -> Self:
        """Add a source's signs of life, one a second."""
        for at_s in range(begin_s, end_s):
            self.tell(at_s + 0.5, source, "clock", wall_ns=ns(at_s))
        return self

    def revisions(self, begin_s: float = 0.05, end_s: float = 45, period_s: float = 0.1) -> Self:
        """Read the store's revision now and then; every object of the story is told at once when it changes then."""
        count = round((end_s - begin_s) / period_s)
        self._reads_s = [begin_s + number * period_s for number in range(count)]
        return self

    def gap(self, source: str, from_s: float, to_s: float | None) -> Self:
        """Add that a source may have missed something."""
        end_ns = None if to_s is None else ns(to_s)
        return self.tell(
            from_s if to_s is None else to_s, source, "gap", what="watch", from_ns=ns(from_s), to_ns=end_ns
        )

    def ends(self, at_s: float, source: str) -> Self:
        """Let a source close its records at a time; the others close at the story's end."""
        self._ends[source] = ns(at_s)
        return self

    def without(self, unwanted: Callable[[Record], bool]) -> Self:
        """Take records out of the story."""
        self.records = [record for record in self.records if not unwanted(record)]
        return self

    def history(self, unclosed: Collection[str] = ()) -> History:
        """The story as a sealed history; the ``unclosed`` sources were cut off."""
        return History(self.sealed(unclosed))

    def sealed(self, unclosed: Collection[str] = ()) -> list[Record]:
        """The same as the lines of its file."""
        records = self._numbered(sorted(self.records, key=lambda record: record.time_ns))
        end = records[-1].time_ns if records else 0
        counts: dict[str, Counter[str]] = {}
        for record in records:
            counts.setdefault(record.source, Counter())[record.kind] += 1
        for source in sorted(counts.keys() - set(unclosed)):
            records.append(Record(self._ends.get(source, end), source, "closing", {"records": dict(counts[source])}))
        records.sort(key=lambda record: record.time_ns)
        mark = {"schema": SCHEMA, "records": len(records), "sources": sorted(counts)}
        return [*records, Record(end, "harness", "seal", mark)]

    def _numbered(self, records: list[Record]) -> list[Record]:
        """The records with a version for each object that has none, and with the reads of the revision."""
        if self._reads_s is None:
            return records
        numbered, times = [], []
        for place, record in enumerate(records):
            version = {"version": 100 + place} if record.kind == "object" and "version" not in record.data else {}
            numbered.append(Record(record.time_ns, record.source, record.kind, record.data | version))
            times.append(record.time_ns)
        for at in map(ns, self._reads_s):
            told = {"send_ns": at, "receive_ns": at, "revision": 99 + bisect_right(times, at)}
            numbered.append(Record(at, "api:revision", "revision", told))
        return sorted(numbered, key=lambda record: record.time_ns)

    def _probe(self, at_s: float, probe: str, target: str, value: Json) -> Self:
        send_ns, receive_ns = ns(at_s) - 1_000_000, ns(at_s)
        return self.tell(
            at_s, "probe", "probe", probe=probe, target=target, send_ns=send_ns, receive_ns=receive_ns, value=value,
            error=None,
        )  # fmt: skip


def ns(at_s: float) -> int:
    """Seconds of a story as monotonic ns."""
    return round(at_s * 1e9)


def edge(name: str) -> Callable[[Record], bool]:
    """Picks the records of one edge of a fault."""
    return lambda record: record.kind == "fault" and record["edge"] == name


def killed_pod(ready_s: float = 22, dns_s: float = 22.5, new_marker: str = "born as web-1") -> Story:
    """A whole run in which web-1 of three is killed at 20 s, ready again at ``ready_s`` and resolved at ``dns_s``."""
    story = Story().phases().fact("experiment", {"namespace": NAMESPACE}).fact("baseline", BASELINE)
    workload = {"kind": "StatefulSet", "name": "web", "replicas": 3}
    names = ["web-0", "web-1", "web-2"]
    story.fact("stack", {"name": "web", "workloads": [workload], "services": ["web"], "identities": names})
    story.fact("baseline_after", BASELINE).fact("completed", True).load().fault()
    for number, name in enumerate(names):
        story.pod(1 + number, name, f"{name}-a", "added", ready=False)
        story.pod(1.5 + number, name, f"{name}-a")
        story.seen(1 + number, "PersistentVolumeClaim", f"data-{name}", f"claim-{number}", {"phase": "Bound"})
    story.endpoints(4, *(f"{name}-a" for name in names)).endpoints(20.15, "web-0-a", "web-2-a")
    story.pod(20.1, "web-1", "web-1-a", ready=False, deleting=True)
    story.pod(20.2, "web-1", "web-1-a", "deleted", ready=False, deleting=True)
    story.pod(20.3, "web-1", "web-1-b", "added", ready=False, node=None, ip=None)
    story.pod(20.4, "web-1", "web-1-b", ready=False, ip=None)
    if ready_s < 45:
        story.pod(ready_s - 0.5, "web-1", "web-1-b", ready=False, containers=[{"name": "app", "state": "running"}])
        story.pod(ready_s, "web-1", "web-1-b").endpoints(ready_s + 0.1, "web-0-a", "web-1-b", "web-2-a")
    for half in range(12, 82):
        at_s = half / 2 + 0.01
        for name in names:
            replaced = name == "web-1" and at_s > 20
            story.dns(at_s, name, f"ip-{name}-b" if replaced and at_s > dns_s else f"ip-{name}-a")
            if not replaced:
                story.marker(at_s, name, f"born as {name}")
            elif at_s > ready_s:
                story.marker(at_s, name, new_marker)
    for number, name in enumerate(names):
        story.pod(43 + number / 10, name, f"{name}-{'b' if name == 'web-1' else 'a'}", "deleted", ready=False)
    return story.clocks("api:Pod").clocks("api:EndpointSlice").revisions()
