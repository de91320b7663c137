"""What was true of each node over time, as Kubernetes told it and as it was seen from outside."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.history import History, Json, Record
from chaos.report.lanes import Change, Lane, natural, segments_of, thin

_OUTSIDE: dict[str, str | None] = {
    "die": "stopped", "stop": "stopped", "destroy": "stopped", "pause": "paused",
    "unpause": None, "start": None, "restart": None,
}  # fmt: skip
"""What a node is after an event of the engine; None: it runs. A signal (kill) alone changes nothing."""

_ROLES = ("node-role.kubernetes.io/", "kindstorm.dev/")
"""Taints that say what a node is for, not how it is."""


def node_lanes(history: History) -> list[Lane]:
    """One lane for each node; what the engine told of it outweighs what Kubernetes still believes.

    States: ready, cordoned, not-ready, paused, stopped. While a node is out, the fact ``kubernetes`` holds what
    Kubernetes says of it.
    """
    by_name: dict[str, list[Record]] = {}
    for record in history.objects("Node"):
        by_name.setdefault(str(record["name"]), []).append(record)
    for record in history.of("engine"):
        by_name.setdefault(str(record["node"]), []).append(record)
    lanes = []
    for name in sorted(by_name, key=natural):
        records = sorted(by_name[name], key=lambda record: record.time_ns)
        end_ns = max(history.last_heard[record.source] for record in records)
        segments = segments_of(_changes(records), end_ns)
        moments = [(r.time_ns, f"engine: {r['event']}") for r in records if r.kind == "engine"]
        lanes.append(Lane(name, thin(segments), moments))
    return lanes


def _changes(records: Iterable[Record]) -> Iterable[Change]:
    outside: str | None = None
    told: dict[str, Json] | None = None
    for record in records:
        if record.kind == "engine":
            outside = _OUTSIDE.get(str(record["event"]), outside)
        else:
            told = None if record["verb"] == "deleted" else record.get("state") or {}
        if told is None:
            yield record.time_ns, ((outside, ()) if outside else None)
            continue
        state = _state(told)
        taints = ", ".join(t for t in map(str, told.get("taints") or ()) if not t.startswith(_ROLES))
        facts = (("taints", taints),) if taints else ()
        yield record.time_ns, ((outside, (("kubernetes", state), *facts)) if outside else (state, facts))


def _state(told: dict[str, Json]) -> str:
    if not told.get("ready"):
        return "not-ready"
    return "cordoned" if told.get("unschedulable") else "ready"
