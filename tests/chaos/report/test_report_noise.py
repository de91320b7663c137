"""Whether a difference is more than noise: exact, the same as counting by hand, and never claimed from one run."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.report.noise import Interval, adjusted, chance, least_chance, scores, surely_below


def interval(lower: int, width: int | None) -> Interval:
    """From lower on; no width: never seen to end."""
    return float(lower), None if width is None else float(lower + width)


intervals = st.builds(interval, st.integers(0, 9), st.one_of(st.none(), st.integers(0, 4)))
sides = st.lists(intervals, min_size=1, max_size=5)


def counted(before: list[Interval], after: list[Interval]) -> float:
    """The chance by dealing the runs to the two sides in every way there is."""
    pool = [*before, *after]

    def beats(chosen: tuple[int, ...]) -> int:
        rest = [place for place in range(len(pool)) if place not in chosen]
        pairs = [(pool[mine], pool[other]) for mine in chosen for other in rest]
        return sum(surely_below(other, mine) for mine, other in pairs) - sum(surely_below(*pair) for pair in pairs)

    seen = abs(beats(tuple(range(len(before), len(pool)))))
    every = [abs(beats(chosen)) for chosen in combinations(range(len(pool)), len(after))]
    return sum(other >= seen for other in every) / len(every)


@given(sides, sides)
def test_the_chance_is_exact(before: list[Interval], after: list[Interval]) -> None:
    """Counted by sums of scores it is what dealing in every way gives, with ties and open intervals."""
    assert chance(before, after) == pytest.approx(counted(before, after))


@given(sides, sides)
def test_which_side_is_first_changes_nothing(before: list[Interval], after: list[Interval]) -> None:
    """The test is two-sided."""
    assert chance(before, after) == pytest.approx(chance(after, before))


@given(st.lists(intervals, max_size=8))
def test_scores_add_up_to_nothing(pool: list[Interval]) -> None:
    """Whoever is above somebody has somebody below."""
    assert sum(scores(pool)) == 0


@pytest.mark.parametrize(("runs", "expected"), [(1, 1.0), (3, 2 / 20), (4, 2 / 70), (20, 2 / 137846528820)])
def test_complete_separation_is_the_least_chance(runs: int, expected: float) -> None:
    """As in the tables of Mann and Whitney; with three runs on a side nothing can be told at 5 %."""
    before, after = [(float(n), float(n)) for n in range(runs)], [(100.0 + n, 100.0 + n) for n in range(runs)]
    assert chance(before, after) == pytest.approx(expected)
    assert least_chance(runs, runs) == pytest.approx(expected)


def test_overlapping_intervals_are_no_difference() -> None:
    """Ten runs a side whose intervals all overlap differ in nothing, whatever their middles."""
    assert chance([(0.0, 10.0)] * 10, [(9.0, 12.0)] * 10) == 1.0


def test_what_was_never_reached_is_above_what_was() -> None:
    """An open interval counts as later than one that ended before it began, and as tied with another open one."""
    never, soon = (30.0, None), (1.0, 2.0)
    assert chance([soon] * 4, [never] * 4) == pytest.approx(2 / 70)
    assert chance([never] * 4, [never] * 4) == 1.0


def test_many_comparisons_ask_more_of_each() -> None:
    """The example of Benjamini and Hochberg (1995, section 4): of fifteen chances the four smallest are told."""
    chances = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
               0.7590, 1.000]  # fmt: skip
    assert [place for place, found in enumerate(adjusted(chances)) if found <= 0.05] == [0, 1, 2, 3]
    assert adjusted(chances[::-1]) == adjusted(chances)[::-1]
    assert adjusted([]) == []
