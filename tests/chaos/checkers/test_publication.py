"""Whatever the delays of watches and reads, an interval contains when the change was truly published."""

from __future__ import annotations

from typing import Any

from histories import Story, ns
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import EVERY_MS_MAX, READ_MS_MAX, World, endpoints, pod, worlds

from chaos.checkers.publication import published
from chaos.history import Json


def steps(draw: st.DrawFn) -> list[tuple[int, dict[str, Json]]]:
    """Changes of two kinds at any times."""
    times = sorted(draw(st.lists(st.integers(1_000, 6_000), max_size=12)))
    saying = st.sampled_from([pod("web-0", "a", True), pod("web-1", "b", False), endpoints(["a"])])
    return [(at, draw(saying)) for at in times]


KINDS = ("Pod", "EndpointSlice")


@given(worlds(steps, 8_000))
@settings(max_examples=60, deadline=None)
def test_the_truth_lies_in_the_interval(world: World) -> None:
    """In the order of publication, with ends that never fall, and no wider than two reads and what lies between."""
    found = published(world.tell(Story().tell(0, "harness", "note", text="")), KINDS)
    assert [change.record["version"] for change in found] == [change.version for change in world.changes]
    for change, true in zip(found, world.changes, strict=True):
        assert change.lower_ns <= ns(true.true_ms / 1000) <= change.upper_ns <= change.record.time_ns
        if true.true_ms > EVERY_MS_MAX + READ_MS_MAX:
            assert change.upper_ns - change.lower_ns <= ns((2 * READ_MS_MAX + EVERY_MS_MAX) / 1000)
    assert [c.upper_ns for c in found] == sorted(c.upper_ns for c in found)
    assert [c.lower_ns for c in found] == sorted(c.lower_ns for c in found)


@given(worlds(steps, 8_000), st.data())
@settings(max_examples=60, deadline=None)
def test_without_versions_it_is_the_order_of_arrival(world: World, data: Any) -> None:
    """One record without a version is enough: nothing is ordered by others' versions then."""
    story = Story().tell(0, "harness", "note", text="")
    history = world.tell(story)
    objects = history.of("object")
    if not objects:
        return
    del data.draw(st.sampled_from(objects)).data["version"]
    found = published(history, KINDS)
    assert [change.record for change in found] == objects
    assert all(change.lower_ns < change.upper_ns == change.record.time_ns for change in found)


def test_what_was_found_deleted_after_a_gap() -> None:
    """Nobody knows the revision that deleted it: it was there at its watch's record before, and gone when told."""
    story = Story().tell(0, "harness", "note", text="").revisions(0.05, 9)
    story.seen(1, "Pod", "a", "a", {}).seen(2, "Pod", "b", "b", {}).seen(5, "EndpointSlice", "s", "s", {})
    story.tell(4, "api:Pod", "object", verb="deleted", object="Pod", name="a", uid="a", version=None, state={})
    story.seen(6, "Pod", "b", "b", {})
    found = published(story.history(), KINDS)
    deleted = next(change for change in found if change.record["verb"] == "deleted")
    assert (deleted.lower_ns, deleted.upper_ns) == (ns(2), ns(4))
    assert [change.record.time_ns for change in found] == [ns(at) for at in (1, 2, 4, 5, 6)]
    assert (found[3].lower_ns, found[3].upper_ns) == (ns(4.95), ns(5))


def test_a_store_that_was_put_back_orders_nothing() -> None:
    """Where the revision fell, reads narrow no interval: only the watch and the begin are left."""
    story = Story().tell(0, "harness", "note", text="").revisions(0.05, 9).seen(1, "Pod", "a", "a", {})
    story.tell(0.5, "api:revision", "revision", send_ns=ns(0.5), receive_ns=ns(0.5), revision=9999)
    (found,) = published(story.history(), KINDS)
    assert (found.lower_ns, found.upper_ns) == (0, ns(1))


def test_nothing_to_place() -> None:
    """A history without objects has no changes."""
    assert published(Story().history(), KINDS) == []
