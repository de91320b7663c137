"""One experiment as the figure draws it: plain JSON in seconds around the first fault's injection."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.history import FaultWindow, History, Json
from chaos.report.lanes import Lane, dns_lanes, endpoint_steps, pod_lanes
from chaos.report.traffic import Bins, bins_of, requests_of

MAX_LANES = 60
"""How many lanes of one kind are drawn; the figure says how many it leaves out."""

_LOAD_PHASES = ("before", "fault", "recover", "after")
_EDGES = ("inject", "injected", "effect", "no_effect", "heal", "healed", "failed")


def timeline(history: History) -> dict[str, Json]:
    """What the figure needs, thinned so that its size depends on neither the load nor the duration.

    ``zero``: what second 0 is. ``extent`` and ``view``: [from, to], all there is and what is shown first (the load's
    window). ``wall_ms``: the wall clock at 0, in ms since the epoch, or None. ``phases``: {name, from, to}. ``faults``:
    {label, name, target, spans: [{from, to, open, marks: [{edge, at}], detail}]}. ``load``: see :func:`_load`, or None.
    ``pods`` and ``dns``: {label, segments: [{from, to, state, ...facts}], moments: [{at, text}]}. ``endpoints``:
    {label, end, steps: [[at, ready]]}. ``gaps``: {what, from, to}. ``omitted``: lanes left out, by kind.
    """
    axis = _Axis(history)
    bins = bins_of(requests_of(history), axis.zero_ns)
    namespace = (history.fact("experiment") or {}).get("namespace")
    heard = history.last_heard
    end_ns = max((heard[record.source] for record in history.objects("EndpointSlice")), default=0)
    pods, names = pod_lanes(history, namespace), dns_lanes(history)
    services = endpoint_steps(history, namespace)
    faults = _fault_lanes(history, axis)
    endpoints = [
        {"label": service, "end": axis.s(end_ns), "steps": [[axis.s(at), count] for at, count in steps]}
        for service, steps in services.items()
    ]
    kinds: dict[str, Sequence[Json]] = {"faults": faults, "pods": pods, "dns": names, "endpoints": endpoints}
    return {
        "zero": axis.zero,
        "extent": axis.extent,
        "view": axis.view(history),
        "wall_ms": axis.wall_ms(history),
        "phases": _phases(history, axis),
        "faults": faults[:MAX_LANES],
        "load": _load(bins, axis) if bins else None,
        "pods": [_lane(lane, axis) for lane in pods[:MAX_LANES]],
        "endpoints": endpoints[:MAX_LANES],
        "dns": [_lane(lane, axis) for lane in names[:MAX_LANES]],
        "gaps": [
            {"what": r["what"], "from": axis.s(r["from_ns"]), "to": axis.s(r["to_ns"])} for r in history.of("gap")
        ],
        "omitted": {kind: len(lanes) - MAX_LANES for kind, lanes in kinds.items() if len(lanes) > MAX_LANES},
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
