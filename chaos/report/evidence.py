"""A verdict's evidence, whatever its shape, as figures, small tables and texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.history import Json

MAX_ROWS = 20
"""Rows of a table or findings of a verdict that are shown; the rest is in results.json."""

_MAX_CELL = 240
_NONE = "\N{EN DASH}"
_LIMITS = ("max", "min")
_WIDEST = 8
_LONG_LIST = 100
_UNITS = {"s": "s", "ms": "ms", "us": "µs", "ns": "ns", "bytes": "bytes", "percent": "%", "rps": "/s"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One named value with its unit, taken from the name's last word."""

    name: str
    value: str
    unit: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; ``omitted`` rows are not shown."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    omitted: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence ready to be laid out."""

    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    texts: tuple[tuple[str, str], ...]


def lay_out(evidence: Mapping[str, Json]) -> Evidence:
    """Single values become figures, lists and maps of maps tables, other maps tables of two columns."""
    figures, tables, texts = [], [], []
    for key, value in evidence.items():
        name, unit = words(str(key))
        if isinstance(value, str) and ("\n" in value or len(value) > _MAX_CELL):
            texts.append((name, value))
        elif isinstance(value, Mapping) and value:
            tables.append(_table_of_map(name, unit, value))
        elif isinstance(value, (list, tuple)) and _needs_rows(value):
            tables.append(_table_of_list(name, value))
        else:
            figures.append(Figure(name, cell(value), unit if value is not None else ""))
    return Evidence(tuple(figures), tuple(tables), tuple(texts))


def _needs_rows(items: Sequence[Json]) -> bool:
    nested = any(isinstance(item, (Mapping, list, tuple)) for item in items)
    return nested or (all(isinstance(item, str) for item in items) and sum(map(len, items)) > _LONG_LIST)


def words(key: str) -> tuple[str, str]:
    """A key as words and its unit: longest_gap_s is ("longest gap", "s"), gap_s_max ("gap max", "s")."""
    parts = key.split("_")
    limit = [parts.pop()] if len(parts) > 2 and parts[-1] in _LIMITS and parts[-2] in _UNITS else []
    unit = _UNITS[parts.pop()] if len(parts) > 1 and parts[-1] in _UNITS else ""
    return " ".join([*parts, *limit]), unit


def cell(value: Json) -> str:
    """A value in a table's cell."""
    if value is None:
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _spaced(f"{value:,.3f}".rstrip("0").rstrip(".")) if abs(value) >= 0.001 or value == 0 else f"{value:.3g}"
    if isinstance(value, int):
        return _spaced(f"{value:,}")
    if isinstance(value, str):
        text = value
    elif _is_interval(value):
        text = f"{cell(value[0])} to {'never seen' if value[1] is None else cell(value[1])}"
    elif isinstance(value, (list, tuple)):
        nested = any(isinstance(item, (Mapping, list, tuple)) for item in value)
        text = ("; " if nested else ", ").join(map(cell, value)) or "none"
    else:
        text = json.dumps(value, default=str, ensure_ascii=False) if value else "none"
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "…"


def _spaced(number: str) -> str:
    return number.replace(",", "\N{NARROW NO-BREAK SPACE}")


def _is_interval(value: Json) -> bool:
    """Two figures of which one at least is a fraction, or the second is open: from here to there."""
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not isinstance(value[0], float):
        return False
    return value[1] is None or isinstance(value[1], float)


def _table_of_map(name: str, unit: str, value: Mapping[str, Json]) -> Table:
    if all(isinstance(item, Mapping) for item in value.values()):
        return _table_of_list(name, [{"": key, **item} for key, item in value.items()])
    rows = tuple((str(key), cell(item)) for key, item in list(value.items())[:MAX_ROWS])
    return Table(name, ("", unit or "value"), rows, max(0, len(value) - MAX_ROWS))


def _table_of_list(name: str, items: Sequence[Json]) -> Table:
    shown = items[:MAX_ROWS]
    if not all(isinstance(item, Mapping) for item in shown):
        lists = [item if isinstance(item, (list, tuple)) else [item] for item in shown]
        width = max((len(item) for item in lists), default=0)
        rows = tuple(tuple(cell(part) for part in item) + ("",) * (width - len(item)) for item in lists)
        return Table(name, ("",) * width, rows, len(items) - len(shown))
    flat = [_flat(item) for item in shown]
    head = tuple(dict.fromkeys(key for item in flat for key in item))
    rows = tuple(tuple(item.get(key, _NONE) for key in head) for item in flat)
    if len(head) > _WIDEST and len(rows) <= _WIDEST:
        columns = tuple(zip(head, *rows, strict=True))
        return Table(name, columns[0], columns[1:], len(items) - len(shown))
    return Table(name, head, rows, len(items) - len(shown))


def _flat(item: Mapping[str, Json]) -> dict[str, str]:
    """A row by its columns' titles; a map in it gives a column for each of its keys."""
    row: dict[str, str] = {}
    for key, value in item.items():
        name, unit = words(str(key))
        inner = {f"{name} {part}": one for part, one in value.items()} if isinstance(value, Mapping) else {name: value}
        row |= {f"{title} ({unit})" if unit else title: cell(one) for title, one in inner.items()}
    return row
