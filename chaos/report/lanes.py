"""What was true of one name over time, as segments: pods, DNS answers, and ready endpoints as steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from chaos.history import History, Json, Record

MAX_SEGMENTS = 400
"""About how many segments or steps one lane may have; a lane that changes more often is thinned."""

MIXED = "mixed"
"""The state of a stretch in which so much changed that it is drawn as one."""

_MAX_TEXT = 140
_HTTP_ERROR = 400

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """One state that held from ``from_ns`` to ``to_ns``, with what else is known of it."""

    from_ns: int
    to_ns: int
    state: str
    facts: Facts = ()


@dataclass(frozen=True, slots=True)
class Lane:
    """Everything that is drawn in one row: segments, and single moments (ns, what happened)."""

    label: str
    segments: Sequence[Segment]
    moments: Sequence[tuple[int, str]] = field(default_factory=tuple)


Step = tuple[int, int, str]
"""From this moment (ns) on so many pods are ready, and which."""

Change = tuple[int, tuple[str, Facts] | None]
"""From this moment (ns) on this state holds; None: there is nothing."""


def segments_of(changes: Iterable[Change], end_ns: int) -> list[Segment]:
    """Changes in time order as segments, the last one until ``end_ns``; equal neighbours are one."""
    segments: list[Segment] = []
    for (at, value), (until, _) in pairwise([*changes, (end_ns, None)]):
        if value is None or until <= at:
            continue
        last = segments[-1] if segments else None
        if last and last.to_ns == at and (last.state, last.facts) == value:
            segments[-1] = replace(last, to_ns=until)
        else:
            segments.append(Segment(at, until, *value))
    return segments


def thin(segments: Sequence[Segment], limit: int = MAX_SEGMENTS) -> list[Segment]:
    """Join neighbours too short to be drawn where there are more than ``limit``; the states that were stay named."""
    if len(segments) <= limit:
        return list(segments)
    origin = segments[0].from_ns
    width = max(1, (segments[-1].to_ns - origin) // limit)
    thinned: list[Segment] = []
    group: list[Segment] = []
    for segment in segments:
        short = segment.to_ns - segment.from_ns < width
        if group and (not short or (segment.from_ns - origin) // width != (group[0].from_ns - origin) // width):
            thinned.append(_joined(group))
            group = []
        if short:
            group.append(segment)
        else:
            thinned.append(segment)
    return [*thinned, _joined(group)] if group else thinned


def _joined(group: Sequence[Segment]) -> Segment:
    if len(group) == 1:
        return group[0]
    states = ", ".join(sorted({segment.state for segment in group}))
    facts = (("changes", str(len(group))), ("states", states))
    return Segment(group[0].from_ns, group[-1].to_ns, MIXED, facts)


def pod_lanes(history: History, namespace: str | None) -> list[Lane]:
    """One lane for each pod name, by owner, then ordinal or first sight; a segment has one UID and one state."""
    by_name: dict[tuple[str, str], list[Record]] = {}
    for record in history.objects("Pod"):
        if namespace in (None, record.get("namespace")):
            by_name.setdefault((str(record.get("namespace")), record["name"]), []).append(record)
    ends = history.last_heard
    several = len({space for space, _ in by_name}) > 1
    lanes = []
    for (space, name), records in sorted(by_name.items(), key=lambda item: _pod_order(item[0], item[1])):
        segments = segments_of(_pod_changes(records), max(ends[r.source] for r in records))
        lanes.append(Lane(f"{space}/{name}" if several else name, thin(segments), _restarts(records)))
    return lanes


def _pod_order(key: tuple[str, str], records: Sequence[Record]) -> tuple[Json, ...]:
    owner = next((o for r in records if (o := (r.get("state") or {}).get("owner"))), None) or {}
    ordinal = natural(key[1]) if owner.get("kind") == "StatefulSet" else []
    return key[0], str(owner.get("name", "")), ordinal, records[0].time_ns, key[1]


def natural(name: str) -> list[tuple[int, str]]:
    """Orders worker2 before worker10, and a worker without a number before both."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _pod_changes(records: Sequence[Record]) -> Iterable[Change]:
    uid = None
    for record in records:
        if record["verb"] == "deleted":
            if uid in (None, record["uid"]):
                yield record.time_ns, None
            continue
        uid = record["uid"]
        state = record.get("state") or {}
        facts = tuple((name, str(value)) for name in ("node", "ip") if (value := state.get(name)))
        yield record.time_ns, (pod_state(state), (("uid", str(uid)), *facts))


def pod_state(state: dict[str, Json]) -> str:
    """pending, running (not ready), ready, terminating or ended."""
    if state.get("deleting"):
        return "terminating"
    if state.get("phase") == "Running":
        return "ready" if state.get("ready") else "running"
    return "ended" if state.get("phase") in ("Succeeded", "Failed") else "pending"


def _restarts(records: Sequence[Record]) -> list[tuple[int, str]]:
    moments = []
    seen: dict[tuple[Json, str], int] = {}
    for record in records:
        for container in (record.get("state") or {}).get("containers") or ():
            key = (record["uid"], str(container.get("name")))
            count = container.get("restarts") or 0
            if count > seen.get(key, count):
                moments.append((record.time_ns, f"{key[1]} restarted ({count})"))
            seen[key] = count
    return moments[:MAX_SEGMENTS]


def dns_lanes(history: History) -> list[Lane]:
    """One lane for each name that was asked: an answer holds from the reading that first gave it to the next other."""
    return _probe_lanes(history.probes("dns"), _answer)


def probe_lanes(history: History) -> list[Lane]:
    """One lane for each target of every other probe; what it said holds until it said something else."""
    return _probe_lanes([record for record in history.of("probe") if record["probe"] != "dns"], _reading)


def _probe_lanes(readings: Iterable[Record], said: Callable[[Record], tuple[str, Facts]]) -> list[Lane]:
    by_target: dict[tuple[str, str], list[Record]] = {}
    for record in readings:
        by_target.setdefault((str(record["probe"]), str(record["target"])), []).append(record)
    lanes = []
    for (probe, target), records in sorted(by_target.items(), key=lambda item: (item[0][0], natural(item[0][1]))):
        segments = segments_of([(r.time_ns, said(r)) for r in records], records[-1].time_ns + 1)
        lanes.append(Lane(target if probe in ("dns", "http") else f"{probe} {target}", thin(segments)))
    return lanes


def _answer(record: Record) -> tuple[str, Facts]:
    value = record.get("value") or {}
    if record.get("error") or not value:
        return "unanswered", (("error", str(record.get("error") or "no value")[:140]),)
    answers = sorted(map(str, value.get("answers") or ()))
    if value.get("rcode", "NOERROR") != "NOERROR" or not answers:
        return "negative", (("rcode", str(value.get("rcode"))),)
    return "answer", (("ip", ", ".join(answers)),)


def _reading(record: Record) -> tuple[str, Facts]:
    value = record.get("value")
    if record.get("error") or value is None:
        return "unanswered", (("error", str(record.get("error") or "no value")[:140]),)
    facts = value if isinstance(value, dict) else {"value": value}
    told = tuple((str(key), str(one).strip()[:_MAX_TEXT]) for key, one in facts.items() if one not in (None, ""))
    refused = isinstance(value, dict) and int(value.get("status") or 0) >= _HTTP_ERROR
    return ("negative" if refused else "answer"), told


def endpoint_steps(history: History, namespace: str | None) -> dict[str, list[Step]]:
    """Ready endpoints of each Service, all its slices together, each IP once."""
    slices: dict[str, dict[str, dict[str, str]]] = {}
    steps: dict[str, list[Step]] = {}
    for record in history.objects("EndpointSlice"):
        if namespace not in (None, record.get("namespace")):
            continue
        state = record.get("state") or {}
        service = str(state.get("service"))
        mine = slices.setdefault(service, {})
        ready = [e for e in state.get("endpoints") or () if e.get("ready")]
        if record["verb"] == "deleted":
            mine.pop(record["name"], None)
        else:
            mine[record["name"]] = {str(e.get("ip")): str(e.get("pod") or e.get("ip")) for e in ready}
        behind = {ip: pod for one in mine.values() for ip, pod in one.items()}
        names = ", ".join(sorted(behind.values()))[:_MAX_TEXT]
        series = steps.setdefault(service, [])
        if not series or series[-1][1:] != (len(behind), names):
            series.append((record.time_ns, len(behind), names))
    return {service: thin_steps(steps[service]) for service in sorted(steps)}


def thin_steps(steps: Sequence[Step], limit: int = MAX_SEGMENTS) -> list[Step]:
    """Of more than ``limit`` steps keep the first, lowest, highest and last of each of ``limit`` stretches of time."""
    if len(steps) <= limit:
        return list(steps)
    width = max(1, (steps[-1][0] - steps[0][0]) // limit + 1)
    stretches: dict[int, list[int]] = {}
    for index, step in enumerate(steps):
        stretches.setdefault((step[0] - steps[0][0]) // width, []).append(index)
    kept: list[Step] = []
    for group in stretches.values():
        lowest, highest = min(group, key=lambda i: steps[i][1]), max(group, key=lambda i: steps[i][1])
        kept.extend(steps[i] for i in sorted({group[0], lowest, highest, group[-1]}))
    return kept
