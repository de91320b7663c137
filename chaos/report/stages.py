"""The recovery table: how far each fault's recovery had come when, stage by stage, each an interval with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.history import Json
from chaos.report.evidence import cell, words
from chaos.report.figures import recovery_stages
from chaos.report.noise import Interval


@dataclass(frozen=True, slots=True)
class Cell:
    """One stage of one fault. ``left`` and ``width`` place it on the fault's own scale, in percent."""

    text: str
    source: str
    share: str
    left: float
    width: float
    open: bool


@dataclass(frozen=True, slots=True)
class StageTable:
    """Rows are stages, in the order in which they are told; columns are faults. ``budgets`` has a text for each."""

    faults: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    budgets: tuple[str, ...]


def stage_table(evidence: Mapping[str, Json]) -> StageTable | None:
    """The table of a recovery's evidence; None where it tells of no stage.

    Read of each of ``faults``: ``fault``, ``stages_ms`` and what :data:`chaos.report.figures.WHOLE` names; if there,
    ``stages_from`` {stage: source} and ``budget_s`` {since: inject | heal, part: seconds, total}, ``budget_lacks`` and
    ``used_percent``. Where none was derived the shares are of ``after_fault_s_max``.
    """
    told = evidence.get("faults")
    faults = [fault for fault in told if isinstance(fault, Mapping)] if isinstance(told, (list, tuple)) else []
    stages = [recovery_stages(fault) for fault in faults]
    names = list(dict.fromkeys(name for one in stages for name in one))
    if not names:
        return None
    columns = [_column(fault, one, evidence) for fault, one in zip(faults, stages, strict=True)]
    return StageTable(
        tuple(str(fault.get("fault", "fault")) for fault in faults),
        tuple((name.replace("_", " "), tuple(column.get(name) for column in columns)) for name in names),
        tuple(_budget(fault, evidence) for fault in faults),
    )


def _column(fault: Mapping[str, Json], stages: Mapping[str, Interval], evidence: Mapping[str, Json]) -> dict[str, Cell]:
    sources = _map(fault.get("stages_from"))
    budget_s = _budget_s(fault, evidence)
    end = max((part for one in stages.values() for part in one if part is not None), default=0.0) or 1.0
    cells = {}
    for name, (lower, upper) in stages.items():
        until = end if upper is None else upper
        cells[name] = Cell(
            duration(lower, upper),
            str(sources.get(name, "")),
            _share(lower, upper, budget_s) if "healing" not in name else "",
            round(100 * max(0.0, lower) / end, 2),
            round(100 * max(0.0, until - max(0.0, lower)) / end, 2),
            upper is None,
        )
    return cells


def duration(lower: float, upper: float | None) -> str:
    """An interval in ms as a person reads it: in one unit, and with digits enough to tell its ends apart."""
    scale, unit = (1000, "s") if max(lower, upper or 0) >= 1000 else (1, "ms")
    if upper is None:
        return f"never seen, not by {lower / scale:.{2 if scale > 1 else 0}f} {unit}"
    narrow = upper - lower < scale / 10 or (unit == "ms" and upper - lower < 10)
    digits = (2 if scale > 1 else 0) + narrow
    return f"{lower / scale:.{digits}f} to {upper / scale:.{digits}f} {unit}"


def _budget_s(fault: Mapping[str, Json], evidence: Mapping[str, Json]) -> float | None:
    """What stages, which run from the injection, are a share of; None where the budget runs from the healing."""
    derived = _map(fault.get("budget_s"))
    value = evidence.get("after_fault_s_max")
    if value is None and derived.get("since") == "inject":
        value = derived.get("total")
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def _share(lower: float, upper: float | None, budget_s: float | None) -> str:
    if budget_s is None:
        return ""
    ends = [None if part is None else round(part / 10 / budget_s) for part in (lower, upper)]
    if ends[1] is None:
        return f"over {ends[0]} % of budget"
    return f"{ends[1]} % of budget" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]} % of budget"


def _budget(fault: Mapping[str, Json], evidence: Mapping[str, Json]) -> str:
    """The budget and how it is made up, and how much of it was used."""
    given = [
        f"{cell(value)} s {words}"
        for key, words in (("after_fault_s_max", "from the injection"), ("after_heal_s_max", "from the healing"))
        if (value := evidence.get(key)) is not None
    ]
    derived = _map(fault.get("budget_s"))
    parts = {str(k): v for k, v in derived.items() if k not in ("since", "total") and isinstance(v, (int, float))}
    if derived.get("total") is not None:
        since = "the healing" if derived.get("since") == "heal" else "the injection"
        made_of = " + ".join(f"{words(name)[0]} {cell(value)}" for name, value in parts.items())
        given.append(f"{cell(derived['total'])} s from {since} by the cluster's settings: {made_of}")
    lacks = fault.get("budget_lacks")
    if isinstance(lacks, Sequence) and not isinstance(lacks, str) and lacks:
        given.append(f"none could be derived: {', '.join(map(str, lacks))} not known")
    used = fault.get("used_percent")
    if isinstance(used, (list, tuple)) and len(used) == 2 and used[0] is not None:
        given.append(f"used: {cell(used[0])} to {'never seen' if used[1] is None else cell(used[1])} %")
    return "; ".join(given)


def _map(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}
