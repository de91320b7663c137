"""One experiment as the figure draws it: plain JSON in seconds around the first fault's injection."""

from __future__ import annotations

from chaos.history import FaultWindow, History, Json, Record
from chaos.report.container_runs import ContainerRun, container_runs
from chaos.report.happenings import event_lanes
from chaos.report.lanes import Lane, dns_lanes, endpoint_steps, pod_lanes, probe_lanes
from chaos.report.nodes import node_lanes
from chaos.report.traffic import Bins, bins_of, requests_of

MAX_LANES = 60
"""How many lanes of one kind are drawn; the figure says how many it leaves out."""

_LOAD_PHASES = ("before", "fault", "recover", "after")
_EDGES = ("inject", "injected", "effect", "no_effect", "heal", "healed", "failed")


def timeline(history: History) -> dict[str, Json]:
    """What the figure needs, thinned so that its size depends on neither the load nor the duration.

    ``zero``: what second 0 is. ``namespace``: the stack's, or None. ``extent`` and ``view``: [from, to], all there is
    and what is shown first (the load's window). ``wall_ms``: the wall clock at 0, in ms since the epoch, or None.
    ``phases``: {name, from, to}. ``faults``: {label, name, target, spans: [{from, to, open, marks: [{edge, at}],
    detail}]}. ``load``: see :func:`_load`, or None. ``nodes``, ``pods``, ``dns``, ``probes`` and ``events``: {label,
    segments: [{from, to, state, ...facts}], moments: [{at, text}]}; a pod also has ``runs``: [{from, to, row, begun,
    ended, node, container, uid, exit, error_ms}].
    ``endpoints``: {label, end, steps: [[at, ready, which]]}. ``gaps``: {what, from, to, where, late}: what was not seen
    there, or only told of later; ``where`` holds the parts of the figure that it is about. ``omitted``: lanes left out.
    """
    axis = _Axis(history)
    bins = bins_of(requests_of(history), axis.zero_ns)
    namespace = (history.fact("experiment") or {}).get("namespace")
    runs = container_runs(history, namespace)
    pods = pod_lanes(history, namespace)
    pods += [Lane(name, ()) for name in sorted(runs.keys() - {lane.label for lane in pods})]
    lanes = {"nodes": node_lanes(history), "pods": pods, "dns": dns_lanes(history), "probes": probe_lanes(history),
             "events": event_lanes(history, namespace)}  # fmt: skip
    faults, endpoints = _fault_lanes(history, axis), _endpoints(history, namespace, axis)
    counts = {kind: len(one) for kind, one in lanes.items()} | {"faults": len(faults), "endpoints": len(endpoints)}
    drawn = {kind: [_lane(lane, axis) for lane in one[:MAX_LANES]] for kind, one in lanes.items()}
    for lane in drawn["pods"]:
        lane["runs"] = [_run(run, axis) for run in runs.get(lane["label"], ())]
    return {
        "zero": axis.zero,
        "extent": axis.extent,
        "view": axis.view(history),
        "wall_ms": axis.wall_ms(history),
        "namespace": namespace,
        "phases": _phases(history, axis),
        "faults": faults[:MAX_LANES],
        "load": _load(bins, axis) if bins else None,
        **drawn,
        "endpoints": endpoints[:MAX_LANES],
        "gaps": _gaps(history, axis),
        "omitted": {kind: count - MAX_LANES for kind, count in counts.items() if count > MAX_LANES},
    }


class _Axis:
    """Second 0 and what lies around it."""

    def __init__(self, history: History) -> None:
        injections = [at for window in history.faults() if (at := window.at("inject")) is not None]
        load = [window for name in _LOAD_PHASES if (window := history.phase(name))]
        if injections:
            self.zero, self.zero_ns = "the first fault's injection", min(injections)
        elif load:
            self.zero, self.zero_ns = "the start of the load", min(begin for begin, _ in load)
        else:
            self.zero, self.zero_ns = "the first record", history.begin_ns
        self.extent = [self.s(history.begin_ns), self.s(history.end_ns)]
        if self.extent[1] <= self.extent[0]:
            self.extent[1] = self.extent[0] + 1

    def s(self, time_ns: int) -> float:
        """Seconds from 0, to the millisecond."""
        return round((time_ns - self.zero_ns) / 1e9, 3)

    def view(self, history: History) -> list[float]:
        """The load's window and a little more; all there is where there was no load."""
        windows = [window for name in _LOAD_PHASES if (window := history.phase(name))]
        if not windows:
            return self.extent
        begin, end = self.s(min(w[0] for w in windows)), self.s(max(w[1] for w in windows))
        margin = 0.03 * (end - begin)
        return [max(self.extent[0], round(begin - margin, 3)), min(self.extent[1], round(end + margin, 3))]

    def wall_ms(self, history: History) -> float | None:
        """The wall clock at 0, from the nearest clock record; None without one."""
        clocks = history.of("clock")
        if not clocks:
            return None
        near = min(clocks, key=lambda record: abs(record.time_ns - self.zero_ns))
        return round((int(near["wall_ns"]) + self.zero_ns - near.time_ns) / 1e6, 1)


def _phases(history: History, axis: _Axis) -> list[dict[str, Json]]:
    begun: dict[str, int] = {}
    phases = []
    for record in history.of("phase"):
        if record["edge"] == "begin":
            begun[record["name"]] = record.time_ns
        elif record["name"] in begun:
            begin = begun.pop(record["name"])
            phases.append({"name": record["name"], "from": axis.s(begin), "to": axis.s(record.time_ns)})
    phases += [{"name": name, "from": axis.s(begin), "to": axis.extent[1]} for name, begin in begun.items()]
    return phases


def _fault_lanes(history: History, axis: _Axis) -> list[dict[str, Json]]:
    """One lane for each fault and target; repeated injections share it."""
    lanes: dict[tuple[str, str], list[dict[str, Json]]] = {}
    for window in history.faults():
        target = str(window.target.get("name") or window.target.get("kind") or "")
        lanes.setdefault((window.name, target), []).append(_span(window, axis))
    return [
        {"label": f"{name} {target}".strip(), "name": name, "target": target, "spans": spans}
        for (name, target), spans in lanes.items()
    ]


def _span(window: FaultWindow, axis: _Axis) -> dict[str, Json]:
    begin = window.records[0].time_ns
    ends = [at for edge in ("healed", "failed") if (at := window.at(edge)) is not None]
    detail = {edge: found for edge in _EDGES if (found := window.detail(edge))}
    return {
        "from": axis.s(begin),
        "to": axis.s(max(ends)) if ends else axis.extent[1],
        "open": not ends,
        "marks": [{"edge": r["edge"], "at": axis.s(r.time_ns)} for r in window.records],
        "detail": [f"{edge}: {_sentence(found)}" for edge, found in detail.items()],
    }


def _sentence(detail: Json) -> str:
    if isinstance(detail, dict):
        return ", ".join(f"{key} {value}" for key, value in detail.items())[:300]
    return str(detail)[:300]


def _load(bins: Bins, axis: _Axis) -> dict[str, Json]:
    """``start`` and ``width`` in s; a count per bin and fate; latencies in ms, null where nothing was answered."""
    ok, fail, info = bins.counts.tolist()
    return {
        "start": axis.s(bins.start_ns),
        "width": bins.width_ns / 1e9,
        "ok": ok,
        "fail": fail,
        "info": info,
        "p50": _milliseconds(bins.p50_ns.tolist()),
        "p99": _milliseconds(bins.p99_ns.tolist()),
        "max": _milliseconds(bins.max_ns.tolist()),
        "errors": {str(index): text for index, text in bins.errors.items()},
    }


def _endpoints(history: History, namespace: str | None, axis: _Axis) -> list[dict[str, Json]]:
    told = history.objects("EndpointSlice")
    end_ns = max((history.last_heard[record.source] for record in told), default=0)
    return [
        {"label": service, "end": axis.s(end_ns), "steps": [[axis.s(at), count, names] for at, count, names in steps]}
        for service, steps in endpoint_steps(history, namespace).items()
    ]


_ABOUT = {
    "api": ["nodes", "pods", "endpoints", "events"],
    "api:Pod": ["pods"],
    "api:Node": ["nodes"],
    "api:EndpointSlice": ["endpoints"],
    "api:Event": ["events"],
    "engine": ["nodes"],
}
"""Which parts of the figure a source is seen in; a watch that is in none of them is told of at the top."""

_EVERYWHERE = ["phases", "load", "nodes", "pods", "endpoints", "dns", "probes", "events"]


MAX_GAPS = 400
"""Of how many gaps of one source each is drawn; of more, those that nearly touch are drawn as one."""


def _gaps(history: History, axis: _Axis) -> list[dict[str, Json]]:
    """Gaps, and stretches of which a source told only afterwards, each with the parts of the figure it is about."""
    by_source: dict[tuple[str, str], list[Record]] = {}
    for record in [*history.of("gap"), *history.of("resumed")]:
        by_source.setdefault((record.source, record.kind), []).append(record)
    found = []
    for (source, kind), records in by_source.items():
        where = _parts(history, source)
        joined: list[dict[str, Json]] = []
        least_s = (axis.extent[1] - axis.extent[0]) / MAX_GAPS if len(records) > MAX_GAPS else 0.0
        for record in sorted(records, key=lambda one: int(one["from_ns"])):
            begin, until = axis.s(record["from_ns"]), record.get("to_ns")
            end = axis.extent[1] if until is None else axis.s(until)
            if least_s and joined and begin - joined[-1]["to"] < least_s:
                joined[-1]["to"] = max(joined[-1]["to"], end)
                continue
            what = f"{source}: {record['what']}"
            joined.append({"what": what, "from": begin, "to": end, "where": where, "late": kind == "resumed"})
        found += joined
    return found


def _parts(history: History, source: str) -> list[str]:
    if source.startswith("node:"):
        return ["pods"]
    if source in history.operations.sources:
        return ["load"]
    probes = {str(record["probe"]) for record in history.of("probe") if record.source == source}
    if probes:
        return [part for part, seen in (("dns", "dns" in probes), ("probes", bool(probes - {"dns"}))) if seen]
    return ["phases"] if source.startswith("api:") and source not in _ABOUT else _ABOUT.get(source, _EVERYWHERE)


def _run(run: ContainerRun, axis: _Axis) -> dict[str, Json]:
    return {
        "from": axis.s(run.from_ns),
        "to": axis.s(run.to_ns),
        "row": run.row,
        "begun": run.begun,
        "ended": run.ended,
        "node": run.node,
        "container": run.container,
        "uid": run.pod_uid,
        "exit": run.exit_status,
        "error_ms": round(run.error_ns / 1e6, 2),
    }


def _milliseconds(column_ns: list[int]) -> list[float | None]:
    return [None if value < 0 else round(value / 1e6, 2) for value in column_ns]


def _lane(lane: Lane, axis: _Axis) -> dict[str, Json]:
    return {
        "label": lane.label,
        "segments": [
            {"from": axis.s(s.from_ns), "to": axis.s(s.to_ns), "state": s.state, **dict(s.facts)} for s in lane.segments
        ],
        "moments": [{"at": axis.s(at), "text": text} for at, text in lane.moments],
    }
