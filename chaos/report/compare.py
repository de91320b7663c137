"""The same scenarios before and after a change: what became of them, and which figures differ by more than noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from chaos.history import Json
from chaos.report.noise import LEVEL, Interval, adjusted, chance, least_chance, surely_below
from chaos.report.results_file import StoredRun

STANDS = "runs that did not pass"
"""The figure that the verdicts themselves are: 0 for a run in which the experiment passed, 1 for one in which not."""


class Finding(StrEnum):
    """What can be said of a difference."""

    WORSE = "worse"
    BETTER = "better"
    NOISE = "within noise"
    FEW = "too few runs"
    APART = "apart"
    OVERLAP = "overlap"
    MISSING = "one side only"


@dataclass(frozen=True, slots=True)
class Sides:
    """One figure on both sides, an interval for each run that has it, and what the difference amounts to.

    ``chance`` is adjusted for how many figures are compared; None where nothing could be tested.
    """

    name: str
    unit: str
    before: tuple[Interval, ...]
    after: tuple[Interval, ...]
    finding: Finding
    chance: float | None = None

    @property
    def middles(self) -> tuple[float | None, float | None]:
        """The median run of each side, by the middle of its interval; None where most runs never got there."""
        return _middle(self.before), _middle(self.after)

    @property
    def difference(self) -> float | None:
        """After less before; None where either side has no middle."""
        before, after = self.middles
        return None if before is None or after is None else after - before


@dataclass(frozen=True, slots=True)
class Pair:
    """One experiment of a scenario on both sides: how it stood in each run, and its figures."""

    scenario: str
    title: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    stands: Sides
    figures: tuple[Sides, ...]

    @property
    def changed(self) -> bool:
        """True where it did not stand the same way in every run."""
        return bool(self.before and self.after) and len({*self.before, *self.after}) > 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides, pair by pair. ``settings`` holds what the sides ran on where it differs: (what, before, after)."""

    names: tuple[str, str]
    runs: tuple[int, int]
    settings: tuple[tuple[str, str, str], ...]
    pairs: tuple[Pair, ...]

    @property
    def told(self) -> list[tuple[Pair, Sides]]:
        """The figures that are worse or better by more than noise, worse ones first."""
        both = [(pair, sides) for pair in self.pairs for sides in (pair.stands, *pair.figures)]
        return [one for finding in (Finding.WORSE, Finding.BETTER) for one in both if one[1].finding is finding]

    @property
    def sampled(self) -> bool:
        """True where each side has so many runs that a difference can be told from noise at all."""
        return least_chance(*self.runs) <= LEVEL

    @property
    def basis(self) -> str:
        """How the differences were judged, in a sentence or two."""
        if self.runs == (1, 1):
            return (
                "One run on each side is no sample: nobody knows how far two runs of the same would lie apart. Figures "
                "whose intervals do not overlap are called apart, and no more is claimed. With four runs on each side "
                "noise can be told."
            )
        some = (
            f"A difference counts as more than noise where runs dealt to the sides at random would show one as large "
            f"in at most {LEVEL:.0%} of the cases (exact permutation of Gehan's scores, which for points is the test "
            "of Mann and Whitney; adjusted for the number of figures after Benjamini and Hochberg)."
        )
        if self.sampled:
            return some
        return f"{some} {self.runs[0]} against {self.runs[1]} runs cannot show that, whatever they are: run it again."


def compare(names: tuple[str, str], before: Sequence[StoredRun], after: Sequence[StoredRun]) -> Comparison:
    """Compare the runs of two sides; experiments are matched by their test and their place in it."""
    left, right = _by_place(before), _by_place(after)
    pairs = [_pair(key, left.get(key, []), right.get(key, [])) for key in dict.fromkeys([*left, *right])]
    return Comparison(names, (len(before), len(after)), _settings(before, after), _adjust(pairs))


def _by_place(runs: Sequence[StoredRun]) -> dict[tuple[str, int], list[dict[str, Json]]]:
    found: dict[tuple[str, int], list[dict[str, Json]]] = {}
    for run in runs:
        places: Counter[str] = Counter()
        for experiment in run.experiments:
            scenario = experiment["scenario"]
            found.setdefault((scenario, places[scenario]), []).append(experiment)
            places[scenario] += 1
    return found


def _pair(key: tuple[str, int], before: list[dict[str, Json]], after: list[dict[str, Json]]) -> Pair:
    first = (before or after)[0]
    left, right = _figures(before), _figures(after)
    figures = [
        _sides(name, unit, left.get((name, unit), []), right.get((name, unit), []))
        for name, unit in dict.fromkeys([*left, *right])
    ]
    return Pair(
        key[0] + (f" (experiment {key[1] + 1})" if key[1] else ""),
        str(first["title"]),
        tuple(str(one["standing"]) for one in before),
        tuple(str(one["standing"]) for one in after),
        _sides(STANDS, "", [_missed(one) for one in before], [_missed(one) for one in after]),
        tuple(figures),
    )


def _missed(experiment: dict[str, Json]) -> dict[str, Json]:
    value = 0.0 if experiment["standing"] in ("valid", "as expected") else 1.0
    return {"measured": (value, value), "plausible": (value, value)}


def _figures(experiments: Sequence[dict[str, Json]]) -> dict[tuple[str, str], list[dict[str, Json]]]:
    found: dict[tuple[str, str], list[dict[str, Json]]] = {}
    for experiment in experiments:
        for figure in experiment["figures"]:
            found.setdefault((figure["name"], figure["unit"]), []).append(figure)
    return found


def _sides(name: str, unit: str, before: Sequence[dict[str, Json]], after: Sequence[dict[str, Json]]) -> Sides:
    """One run on each side is judged by plausible intervals, several by how the measured ones lie."""
    single = len(before) == len(after) == 1
    which = "plausible" if single else "measured"
    left, right = (tuple((float(f[which][0]), f[which][1]) for f in side) for side in (before, after))
    if not left or not right:
        return Sides(name, unit, left, right, Finding.MISSING)
    if single:
        apart = surely_below(left[0], right[0]) or surely_below(right[0], left[0])
        return Sides(name, unit, left, right, Finding.APART if apart else Finding.OVERLAP)
    if least_chance(len(left), len(right)) > LEVEL:
        return Sides(name, unit, left, right, Finding.FEW)
    return Sides(name, unit, left, right, Finding.NOISE, chance(left, right))


def _adjust(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs with chances adjusted for their number, and what they then amount to."""
    tested = [sides for pair in pairs for sides in (pair.stands, *pair.figures) if sides.chance is not None]
    chances = iter(adjusted([sides.chance for sides in tested if sides.chance is not None]))

    def settle(sides: Sides) -> Sides:
        if sides.chance is None:
            return sides
        found = next(chances)
        if found > LEVEL:
            return replace(sides, chance=found)
        return replace(sides, chance=found, finding=Finding.WORSE if _rises(sides) else Finding.BETTER)

    return tuple(
        replace(pair, stands=settle(pair.stands), figures=tuple(settle(sides) for sides in pair.figures))
        for pair in pairs
    )


def _rises(sides: Sides) -> bool:
    """True where more pairs of runs have the later one surely above the earlier one than the other way round."""
    pairs = [(one, other) for one in sides.before for other in sides.after]
    return sum(surely_below(*pair) for pair in pairs) > sum(surely_below(other, one) for one, other in pairs)


def _middle(side: Sequence[Interval]) -> float | None:
    middles = [float("inf") if upper is None else (lower + upper) / 2 for lower, upper in side]
    found = median(middles) if middles else float("inf")
    return None if found == float("inf") else found


def _settings(before: Sequence[StoredRun], after: Sequence[StoredRun]) -> tuple[tuple[str, str, str], ...]:
    """What the runs of the two sides ran on, where it is not the same."""
    left, right = _told(before), _told(after)
    rows = [(what, left.get(what, "none"), right.get(what, "none")) for what in dict.fromkeys([*left, *right])]
    return tuple(row for row in rows if row[1] != row[2])


def _told(runs: Sequence[StoredRun]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for run in runs:
        document = run.document
        facts = {"Kubernetes": document["kubernetes"], "clocks": document["clocks"]}
        facts |= {str(key).replace("_", " "): str(value) for key, value in document["host"].items()}
        facts |= {f"image {i['name']}": f"{i['digest']} ({i['origin']})" for i in document["images"]}
        for what, value in facts.items():
            found.setdefault(what, set()).add(str(value))
    return {what: ", ".join(sorted(values)) for what, values in found.items()}
