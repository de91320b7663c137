"""Kubernetes' own events, as marks."""

from __future__ import annotations

from chaos.history import History, Record
from chaos.report.lanes import Lane

MAX_MARKS = 400
"""About how many marks one lane may have; where there are more, neighbours of one reason are told as one."""

_MAX_TEXT = 200


def event_lanes(history: History, namespace: str | None) -> list[Lane]:
    """A lane of warnings and one of the other events, each mark at the moment when the watch told of it."""
    by_type: dict[str, list[Record]] = {"Warning": [], "Normal": []}
    for record in history.objects("Event"):
        if record["verb"] == "deleted" or namespace not in (None, record.get("namespace")):
            continue
        kind = str((record.get("state") or {}).get("type"))
        by_type["Warning" if kind == "Warning" else "Normal"].append(record)
    return [Lane(name, (), _marks(records)) for name, records in by_type.items() if records]


def _marks(records: list[Record]) -> list[tuple[int, str]]:
    """One mark for each event, or for each stretch of time and reason where there are too many."""
    if len(records) <= MAX_MARKS:
        return [(record.time_ns, _text(record)) for record in records]
    begin = records[0].time_ns
    stretches = max(1, MAX_MARKS // len({_reason(record) for record in records}))
    stretch_ns = (records[-1].time_ns - begin) // stretches + 1
    groups: dict[tuple[int, str], list[Record]] = {}
    for record in records:
        groups.setdefault(((record.time_ns - begin) // stretch_ns, _reason(record)), []).append(record)
    return sorted((group[0].time_ns, _text(group[0]) + _more(group)) for group in groups.values())


def _more(group: list[Record]) -> str:
    return f" (and {len(group) - 1} more of {_reason(group[0])})" if group[1:] else ""


def _reason(record: Record) -> str:
    return str((record.get("state") or {}).get("reason"))


def _text(record: Record) -> str:
    state = record.get("state") or {}
    about = state.get("about") or {}
    times = f" (x{state['count']})" if (state.get("count") or 1) > 1 else ""
    text = f"{state.get('reason')} {about.get('kind', '')}/{about.get('name', '')}{times}: {state.get('message')}"
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
