"""A comparison on a page and on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chaos.history import Json
from chaos.report.compare import STANDS, Comparison, Finding, Pair, Sides
from chaos.report.noise import Interval
from chaos.report.page import write_page
from chaos.report.terminal import STYLES

SIGNS = {
    Finding.WORSE: ("▲", "bold red"),
    Finding.BETTER: ("▼", "green"),
    Finding.NOISE: ("=", "dim"),
    Finding.FEW: ("?", "yellow"),
    Finding.APART: ("≠", "yellow"),
    Finding.OVERLAP: ("≈", "dim"),
    Finding.MISSING: ("-", "dim"),
}
"""A sign for each finding, for those who see no colour, and its colour on a terminal."""

_NEVER = "never seen"
_WIDTH = 220


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write the page of a comparison."""
    write_page(
        "compare.html.j2",
        path,
        comparison=comparison,
        headline=headline(comparison),
        told=[{"pair": pair, "row": _row(sides)} for pair, sides in comparison.told],
        pairs=[_section(pair) for pair in comparison.pairs],
    )


def headline(comparison: Comparison) -> str:
    """What the comparison comes to, in a sentence or two."""
    both = [pair for pair in comparison.pairs if pair.before and pair.after]
    if not both:
        return "The two sides have no scenario in common."
    changed = sum(pair.changed for pair in both)
    verb = "does" if changed == 1 else "do"
    stands = f"{changed} of {len(both)} scenarios {verb} not stand the same in every run."
    if not changed:
        stands = f"Every scenario stands as before ({len(both)})."
    return f"{stands} {_of_figures(comparison)}"


def _of_figures(comparison: Comparison) -> str:
    findings = Counter(sides.finding for pair in comparison.pairs for sides in pair.figures)
    compared = sum(count for finding, count in findings.items() if finding is not Finding.MISSING)
    if comparison.runs == (1, 1):
        return f"{findings[Finding.APART]} of {compared} figures lie apart in these two runs."
    if not comparison.sampled:
        return f"Too few runs: none of {compared} figures can be told from noise."
    worse, better = findings[Finding.WORSE], findings[Finding.BETTER]
    return f"Beyond noise, {worse} of {compared} figures are worse and {better} better."


def render_comparison(comparison: Comparison) -> RenderableType:
    """The comparison for a terminal: the sentence, what differs, the standings and figures by scenario."""
    before, after = comparison.names
    lines: list[RenderableType] = [
        Text(headline(comparison), "bold"),
        Text(f"before: {before} ({_runs(comparison.runs[0])})\nafter:  {after} ({_runs(comparison.runs[1])})"),
    ]
    lines += [Text(f"  {what}: {left} -> {right}", "dim") for what, left, right in comparison.settings]
    for pair in comparison.pairs:
        table = Table("", "figure", "before", "after", "difference", "", box=None, pad_edge=False)
        for sides in (pair.stands, *pair.figures):
            row = _row(sides)
            sign, style = SIGNS[sides.finding]
            cells = [Text(f"{sign} {sides.finding}", style), row["name"], row["before"], row["after"]]
            table.add_row(*cells, row["difference"], row["chance"])
        stood = Text.assemble(("\n" + pair.scenario + "\n", "bold"), *_stood(pair))
        lines += [stood, table]
    lines.append(Text("\n" + comparison.basis, "dim"))
    return Group(*lines)


def _stood(pair: Pair) -> list[Text]:
    words: list[Text] = []
    for side, places in (("before", pair.before), ("after", pair.after)):
        words.append(Text(f"{side}: "))
        for place, count in Counter(places).items():
            words.append(Text(f"{count} x {place} ", next((s for p, s in STYLES.items() if p == place), "")))
        words.append(Text("" if places else "not run "))
    return words


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"


def _section(pair: Pair) -> dict[str, Json]:
    return {
        "pair": pair,
        "before": Counter(pair.before).most_common(),
        "after": Counter(pair.after).most_common(),
        "rows": [_row(sides) for sides in (pair.stands, *pair.figures)],
    }


def _row(sides: Sides) -> dict[str, Json]:
    left, right = sides.middles
    return {
        "name": sides.name,
        "finding": sides.finding,
        "sign": SIGNS[sides.finding][0],
        "before": _side(sides.before, left, sides.unit),
        "after": _side(sides.after, right, sides.unit),
        "difference": _difference(sides),
        "chance": "" if sides.chance is None else f"(p {max(sides.chance, 0.0001):.2g})",
        "drawing": _drawing(sides),
    }


def _side(side: Sequence[Interval], middle: float | None, unit: str) -> str:
    """One run's interval, or the median of several."""
    if not side:
        return "\N{EN DASH}"
    if len(side) > 1:
        return _NEVER if middle is None else amount(middle, unit)
    lower, upper = side[0]
    if upper is None:
        return f"{_NEVER}, not by {amount(lower, unit)}"
    ends = amount(lower, unit), amount(upper, unit)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def amount(value: float, unit: str) -> str:
    """A figure as a person writes it: shares in percent, times in ms or s."""
    if unit == "ms" and abs(value) >= 1000:
        value, unit = value / 1000, "s"
    if unit == "":
        return f"{value:.2%}" if value and abs(value) < 0.1 else f"{value:.1%}"
    digits = 2 if abs(value) < 10 else 1
    return f"{value:.{digits}f} {unit}"


def _difference(sides: Sides) -> str:
    left, right = sides.middles
    if left is None or right is None or sides.difference is None:
        return ""
    sign = "+" if sides.difference > 0 else "\N{MINUS SIGN}" if sides.difference < 0 else "±"
    part = f", {abs(sides.difference) / left:.0%}" if left > 0 and sides.name != STANDS and sides.unit else ""
    points = " points" if sides.unit == "" else ""
    return f"{sign}{amount(abs(sides.difference), sides.unit)}{points}{part}".replace("%" + " points", " points")


def _drawing(sides: Sides) -> list[dict[str, Json]]:
    """A mark for each run, before above after: {side, x, width, open} in a box of 220 by 22; none without both."""
    known = [part for one in (*sides.before, *sides.after) for part in one if part is not None]
    if not known or sides.finding is Finding.MISSING:
        return []
    low, high = min(known), max(known)
    scale = (_WIDTH - 16) / ((high - low) or 1.0)
    marks = []
    for side, intervals in (("before", sides.before), ("after", sides.after)):
        for lower, upper in intervals:
            x = 8 + (lower - low) * scale
            width = (_WIDTH - 2 - x) if upper is None else (upper - lower) * scale
            marks.append({"side": side, "x": round(x, 1), "width": round(width, 1), "open": upper is None})
    return marks
