"""What was seen of each name of a StatefulSet: incarnations, readiness, claims, DNS answers and markers."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from chaos.checkers.evidence import stack_end, stack_namespace
from chaos.checkers.ordinals import REVISION_LABEL
from chaos.checkers.publication import published
from chaos.history import FaultWindow, History, Json, Record

WATCHED = ("Pod", "PersistentVolumeClaim", "PersistentVolume")
"""The kinds of objects that identities are followed by; older histories have no PersistentVolumes."""

DNS_ANSWERS = ("NOERROR", "NXDOMAIN", 0, 3, None)
"""Response codes that say which addresses a name has; with any other the server could not tell (RFC 1035, 4.1.1)."""


@dataclass
class Incarnation:
    """One UID of a name."""

    uid: str
    first_ns: int
    claims: frozenset[str]
    revision: str | None = None
    ips: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    ready: list[tuple[int, int | None, str]] = field(default_factory=list)
    """Stretches in which it certainly was ready: from, to (None: to the end), the pod's IP; ns."""
    deleted_ns: int | None = None

    def see(self, record: Record, state: dict[str, Json], lower_ns: int) -> None:
        """Take in one record of this UID, which was published at ``lower_ns`` or after."""
        for known, value in ((self.ips, state.get("ip")), (self.nodes, state.get("node"))):
            if value and value not in known:
                known.append(value)
        if record["verb"] == "deleted":
            self.deleted_ns = record.time_ns
        good = record["verb"] != "deleted" and bool(state.get("ready")) and not state.get("deleting")
        ip = str(state.get("ip"))
        is_open = bool(self.ready) and self.ready[-1][1] is None
        if is_open and (not good or self.ready[-1][2] != ip):  # a node that was stopped gives its pods other addresses
            self.ready[-1] = (self.ready[-1][0], max(self.ready[-1][0], lower_ns), self.ready[-1][2])
            is_open = False
        if good and not is_open:
            self.ready.append((record.time_ns, None, ip))


@dataclass
class Volume:
    """One PersistentVolume's name: the UIDs it had, and the claims it was bound to, each once and in time order."""

    uids: list[str] = field(default_factory=list)
    claims: list[tuple[int, str, str]] = field(default_factory=list)
    """(time in ns, the claim as namespace/name, its UID)."""


@dataclass
class Life:
    """Everything seen of one name."""

    name: str
    owner: str
    incarnations: list[Incarnation] = field(default_factory=list)
    overlaps: list[tuple[int, str, str]] = field(default_factory=list)
    """Times (ns) at which a UID was seen although another one of the name was not gone."""
    claim_uids: dict[str, list[str]] = field(default_factory=dict)
    bindings: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """By claim the volumes that it named, each when it was first named (ns)."""
    dns: list[Record] = field(default_factory=list)
    markers: dict[str, list[tuple[Record, str | None]]] = field(default_factory=dict)
    """Readings by what follows the pod's name in the URL; None: the marker was not found."""
    dns_delays_ms: list[list[float]] = field(default_factory=list)

    def touched_by(self, fault: FaultWindow) -> bool:
        """True where the fault's target is this pod, its StatefulSet, or the node it was on while the fault lasted."""
        kind, name = fault.target.get("kind"), fault.target.get("name")
        if kind == "Node":
            begin, end = fault.records[0].time_ns, fault.records[-1].time_ns
            there = [i for i in self.incarnations if i.first_ns <= end and not (i.deleted_ns or end) < begin]
            return any(name in incarnation.nodes for incarnation in there)
        if kind == "StatefulSet":
            return bool(name == self.owner)
        return any(pod.get("name") == self.name for pod in fault.pods)

    def explains(self, fault: FaultWindow, old: Incarnation, new: Incarnation) -> bool:
        """True where the fault hit this very incarnation, so that the next one may take its place."""
        if fault.records[0].time_ns > new.first_ns or not self.touched_by(fault):
            return False
        if fault.target.get("kind") == "Node":
            begin, end = fault.records[0].time_ns, fault.records[-1].time_ns
            lived = old.first_ns <= end and not (old.deleted_ns or end) < begin
            return lived and fault.target.get("name") in old.nodes
        hit = {pod.get("uid") for pod in fault.pods if pod.get("name") == self.name}
        return not hit or None in hit or old.uid in hit

    def to_json(self) -> dict[str, Json]:
        """The row of the evidence's table."""
        return {
            "uids": [incarnation.uid for incarnation in self.incarnations],
            "ips": [incarnation.ips for incarnation in self.incarnations],
            "nodes": [incarnation.nodes for incarnation in self.incarnations],
            "claim_uids": self.claim_uids,
            "volumes": {claim: [volume for _, volume in seen] for claim, seen in self.bindings.items()},
            "dns_readings": len(self.dns),
            "dns_delay_ms": self.dns_delays_ms,
            "marker_readings": sum(len(readings) for readings in self.markers.values()),
            "markers": {path: sorted({str(m)[:80] for _, m in seen}) for path, seen in self.markers.items()},
        }


def lives_of(history: History, pattern: str) -> dict[str, Life]:
    """Every matching name with what was seen of it until the stack was removed."""
    end, namespace = stack_end(history), stack_namespace(history)
    lives: dict[str, Life] = {}
    known: dict[str, Incarnation] = {}
    living: dict[str, set[str]] = {}
    lower_ns = {id(change.record): change.lower_ns for change in published(history, ("Pod",))}
    for record in history.objects("Pod"):
        state = record.get("state") or {}
        owner, uid, name = state.get("owner") or {}, str(record["uid"]), str(record["name"])
        ours = owner.get("kind") == "StatefulSet" and fnmatchcase(name, pattern)
        if record.time_ns >= end or namespace not in (None, record.get("namespace")) or not (ours or uid in known):
            continue
        life = lives.setdefault(name, Life(name, str(owner.get("name"))))
        if uid not in known:
            revision = (state.get("labels") or {}).get(REVISION_LABEL)
            known[uid] = Incarnation(uid, record.time_ns, frozenset(state.get("claims") or ()), revision)
            life.incarnations.append(known[uid])
        known[uid].see(record, state, lower_ns[id(record)])
        alive = living.setdefault(name, set())
        (alive.discard if record["verb"] == "deleted" else alive.add)(uid)
        if len(alive) > 1:
            one, other = sorted(alive)[:2]
            life.overlaps.append((record.time_ns, one, other))
            alive.intersection_update({uid})
    _add_claims(history, lives, end, namespace)
    _add_readings(history, lives, end)
    return lives


def _add_claims(history: History, lives: dict[str, Life], end: int, namespace: str | None) -> None:
    """Give each name the UIDs that its claims had."""
    owners: dict[str, list[Life]] = {}
    for life in lives.values():
        for claim in sorted({claim for incarnation in life.incarnations for claim in incarnation.claims}):
            life.claim_uids[claim], life.bindings[claim] = [], []
            owners.setdefault(claim, []).append(life)
    for record in history.objects("PersistentVolumeClaim"):
        if record.time_ns < end and namespace in (None, record.get("namespace")):
            for life in owners.get(str(record["name"]), []):
                uids = life.claim_uids[str(record["name"])]
                if record["uid"] not in uids:
                    uids.append(str(record["uid"]))
                volume, bound = (record.get("state") or {}).get("volume"), life.bindings[str(record["name"])]
                if volume and volume not in (name for _, name in bound):
                    bound.append((record.time_ns, str(volume)))


def volumes_of(history: History) -> dict[str, Volume]:
    """Every PersistentVolume by name, as it was seen until the stack was removed; none in older histories."""
    end = stack_end(history)
    volumes: dict[str, Volume] = {}
    for record in history.objects("PersistentVolume"):
        if record.time_ns >= end:
            break
        volume = volumes.setdefault(str(record["name"]), Volume())
        if record["uid"] not in volume.uids:
            volume.uids.append(str(record["uid"]))
        claim = (record.get("state") or {}).get("claim") or {}
        bound = (f"{claim.get('namespace')}/{claim.get('name')}", str(claim.get("uid")))
        if claim.get("uid") and (not volume.claims or volume.claims[-1][1:] != bound):
            volume.claims.append((record.time_ns, *bound))
    return volumes


def _add_readings(history: History, lives: dict[str, Life], end: int) -> None:
    """Give each name the answered readings of its DNS name and its marker, in the order they were asked."""
    answered = (r for r in history.of("probe") if r.get("error") is None and r["receive_ns"] < end)
    for record in sorted(answered, key=lambda reading: int(reading["send_ns"])):
        target = str(record["target"])
        if record["probe"] == "dns" and target.split(".")[2:3] == ["svc"]:
            continue  # a Service's name, which may be called as a pod is
        if record["probe"] == "dns" and (life := lives.get(target.partition(".")[0])):
            if record["value"].get("rcode") in DNS_ANSWERS:
                life.dns.append(record)
        elif record["probe"] == "http":
            pod, _, path = target.partition("//")[2].partition(".")
            status = record["value"]["status"]
            if pod in lives and status in (200, 404):
                text = str(record["value"].get("body") or "").strip() if status == 200 else ""
                lives[pod].markers.setdefault(path, []).append((record, text or None))
