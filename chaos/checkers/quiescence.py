"""Nothing is left behind: the cluster is as it was, every fault is healed, every client has stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from chaos.checkers.evidence import fault_doubts, fault_text, lost_records, moment
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import FaultWindow, History, Json, without_generated_suffix


@dataclass(frozen=True)
class Quiescence:
    """The cluster after the run is the cluster before it; see :func:`quiescence`."""

    @property
    def name(self) -> str:
        """The guarantee's name."""
        return "quiescence"

    def check(self, history: History) -> Verdict:
        """INVALID where something differs or was not healed, UNKNOWN where a baseline or a source's end is missing."""
        before, after = history.fact("baseline"), history.fact("baseline_after")
        missing = [
            f"the baseline {when} was not read"
            for when, baseline in (("before the run", before), ("after the run", after))
            if not baseline or not baseline.get("nodes")
        ]
        findings = [] if missing else differences(before, after)
        uncounted = [] if missing else _uncounted(before, after)
        untold = lost_records(history, "fault")
        findings += [
            f"{fault_text(fault)} was never healed{_begun(history, fault)}"
            for fault in history.faults()
            if fault.at("inject") is not None and fault.at("healed") is None and not untold
        ]
        load = history.sources_of("op")
        doubts = (
            missing + _read_too_early(history) + uncounted + untold + _unclosed(history, load) + fault_doubts(history)
        )
        evidence: dict[str, Json] = {
            "load_processes": sorted(load),
            "faults": len(history.faults()),
            **{f"{part}_before": len((before or {}).get(part, ())) for part in PARTS},
            **{f"{part}_after": len((after or {}).get(part, ())) for part in PARTS},
        }
        if findings:
            return Verdict(self.name, Outcome.INVALID, "; ".join(findings[:3]), evidence, tuple(findings))
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence)
        summary = (
            f"{len(before['nodes'])} nodes, {len(before['namespaces'])} namespaces, {len(before['volumes'])} volumes "
            f"and {len(before['system_pods'])} system pods are as before; {evidence['faults']} faults are healed"
        )
        return Verdict(self.name, Outcome.VALID, summary, evidence)


def quiescence() -> Quiescence:
    """After the stack was removed the cluster is at its baseline, every fault healed and every load process closed.

    A system pod that a controller replaced under a generated name counts as the same pod.
    """
    return Quiescence()


def _read_too_early(history: History) -> list[str]:
    """Why the baseline after the run says nothing: a fault or the stack was still there when it was read."""
    read = [record.time_ns for record in history.of("fact") if record.get("name") == "baseline_after"]
    removal = [r.time_ns for r in history.of("phase") if (r["name"], r["edge"]) == ("remove", "begin")]
    if not read or (removal and read[-1] >= max(removal) and all(read[-1] >= _over(f) for f in history.faults())):
        return []
    return ["the baseline after the run was not read after the last fault's healing and the stack's removal"]


def _begun(history: History, fault: FaultWindow) -> str:
    load = history.phase("before")
    return "" if load is None else f"; it was injected {(fault.records[0].time_ns - load[0]) / 1e9:.1f} s into the load"


def _over(fault: FaultWindow) -> int:
    return fault.records[-1].time_ns


def _uncounted(before: dict[str, Json], after: dict[str, Json]) -> list[str]:
    """Why nobody can tell whether packets left the machine; empty where they were counted throughout."""
    old, new = before.get("escaped_packets"), after.get("escaped_packets")
    if old is None or new is None:
        return ["the packets that leave the cluster were not counted before and after the run"]
    if new < old:
        return [f"the count of packets that left the cluster went down from {old} to {new}: it began anew in between"]
    return []


PARTS = ("nodes", "namespaces", "volumes", "objects", "system_pods")


def _unclosed(history: History, load: set[str]) -> list[str]:
    """Which ends were not recorded: of load processes and of gaps."""
    closed = {record.source for record in history.of("closing")}
    unclosed = [f"{source} did not say that it stopped" for source in sorted(load - closed)]
    unclosed += [
        f"{gap.source} saw nothing ({gap.get('what')}) from {moment(history, gap['from_ns'])} on, with no end recorded"
        for gap in history.of("gap")
        if gap.get("to_ns") is None
    ]
    return unclosed if load else ["no load process was recorded", *unclosed]


def differences(before: dict[str, Json], after: dict[str, Json]) -> list[str]:
    """How a cluster is not as it was, a sentence for each object; both as the fact ``baseline`` of chaos.history."""
    found = _set_differences("node", before["nodes"], after["nodes"])
    for name in sorted(before["nodes"].keys() & after["nodes"].keys()):
        old, new = before["nodes"][name], after["nodes"][name]
        found += [
            f"node {name}: {aspect} was {was}, now it is {now}"
            for aspect in ("ready", "unschedulable", "taints")
            if (was := _plain(old.get(aspect))) != (now := _plain(new.get(aspect)))
        ]
    found += _set_differences("namespace", before["namespaces"], after["namespaces"])
    found += _set_differences("volume", before["volumes"], after["volumes"])
    if "objects" in before and "objects" in after:  # they are not in older baselines
        found += _set_differences("the cluster's", before["objects"], after["objects"])
    found += _pod_differences(before["system_pods"], after["system_pods"])
    escaped = (after.get("escaped_packets") or 0) - (before.get("escaped_packets") or 0)
    counted = before.get("escaped_packets") is not None
    return (
        [*found, f"{escaped} packets left the machine: the cluster is not sealed"] if counted and escaped > 0 else found
    )


def _set_differences(what: str, before: Iterable[str], after: Iterable[str]) -> list[str]:
    old, new = set(before), set(after)
    left_over = [f"{what} {name} was left behind" for name in sorted(new - old)]
    return [f"{what} {name} is gone" for name in sorted(old - new)] + left_over


def _pod_differences(before: dict[str, Json], after: dict[str, Json]) -> list[str]:
    """Compare the system pods by what their controllers keep: the name without its generated end, and readiness."""

    def kept(pods: dict[str, Json]) -> Counter[tuple[str, bool]]:
        return Counter((without_generated_suffix(name), bool(ready)) for name, ready in pods.items())

    old, new = kept(before), kept(after)
    return [
        f"system pod {name}: {new[name, ready]} {'ready' if ready else 'not ready'} now, {old[name, ready]} before"
        for name, ready in sorted(old.keys() | new.keys())
        if old[name, ready] != new[name, ready]
    ]


def _plain(value: Json) -> Json:
    return sorted(value) if isinstance(value, list) else value
