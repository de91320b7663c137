"""Lanes tell what was true of a pod, a name or a service, and for how long."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import START_NS, S, Story, identity, self_healing

from chaos.report.lanes import (
    MAX_SEGMENTS,
    MIXED,
    Segment,
    dns_lanes,
    endpoint_steps,
    pod_lanes,
    segments_of,
    thin,
    thin_steps,
)


def states(segments: list[Segment]) -> list[str]:
    """The states in order."""
    return [segment.state for segment in segments]


def test_a_replaced_identity_shows_both_uids() -> None:
    """web-1 was ready, not ready, terminating, gone, and came back under a new UID."""
    lane = {lane.label: lane for lane in pod_lanes(identity(), None)}["web-1"]
    assert states(list(lane.segments)) == [
        "pending", "running", "ready", "running", "terminating", "pending", "running", "ready",
    ]  # fmt: skip
    assert list(dict.fromkeys(dict(s.facts)["uid"] for s in lane.segments)) == ["1a7e41b1-11", "e66f0c92-22"]


def test_a_deleted_pod_leaves_its_lane_empty() -> None:
    """The killed pod's lane ends with its deletion, the replacement has a lane of its own, in order of first sight."""
    lanes = pod_lanes(self_healing(), "kindstorm-a1")
    assert [lane.label[-5:] for lane in lanes] == ["kx2vq", "m8zrt", "w5h7p"]
    assert lanes[0].segments[-1].to_ns == START_NS + 34 * S
    assert states(list(lanes[2].segments)) == ["pending", "running", "ready"]


def test_a_late_deletion_of_the_old_uid_ends_nothing() -> None:
    """The deletion of the former pod, told after its successor was seen, leaves the successor alive."""
    story = Story()
    story.pod(1, "web-0", "old", "added")
    story.pod(2, "web-0", "new", "added")
    story.pod(3, "web-0", "old", "deleted")
    story.pod(4, "web-0", "new")
    story.at(9, "note", "watch", text="end")
    assert [dict(s.facts)["uid"] for s in pod_lanes(story.history(), None)[0].segments] == ["old", "new"]


def test_pods_of_other_namespaces_are_left_out() -> None:
    """Only the experiment's namespace is drawn where it is known."""
    assert pod_lanes(self_healing(), "elsewhere") == []


def test_statefulset_pods_are_in_order_of_their_ordinals() -> None:
    """web-10 comes after web-2, whichever was seen first."""
    story = Story()
    owner = {"kind": "StatefulSet", "name": "web", "uid": "s"}
    for at, ordinal in enumerate((10, 2, 0)):
        story.pod(at, f"web-{ordinal}", str(ordinal), "added", owner=owner)
    story.at(9, "note", "watch", text="end")
    assert [lane.label for lane in pod_lanes(story.history(), None)] == ["web-0", "web-2", "web-10"]


def test_a_container_restart_is_a_moment() -> None:
    """A restart under the same UID is marked; the first count that is seen is none."""
    lane = {lane.label: lane for lane in pod_lanes(identity(), None)}["web-2"]
    assert lane.moments == [(START_NS + 66 * S, "nginx restarted (1)")]


def test_dns_tells_answers_from_negatives_and_silence() -> None:
    """A name that was there, denied, not answered, and moved: four segments."""
    lanes = dns_lanes(identity())
    assert [lane.label.split(".")[0] for lane in lanes] == ["web-0", "web-1", "web-2"]
    assert states(list(lanes[1].segments)) == ["answer", "negative", "unanswered", "answer"]
    assert [dict(s.facts).get("ip") for s in lanes[1].segments] == ["10.244.2.5", None, None, "10.244.4.8"]


def test_names_are_in_order_of_their_numbers() -> None:
    """web-2 stands before web-10."""
    story = Story()
    for name in ("web-10.web", "web-2.web", "web.web"):
        story.dns(1, name, "10.0.0.1")
    assert [lane.label for lane in dns_lanes(story.history())] == ["web-2.web", "web-10.web", "web.web"]


def test_an_empty_answer_is_negative() -> None:
    """NOERROR without an address is no answer that a client can use."""
    story = Story()
    story.dns(1, "web", rcode="NOERROR")
    assert states(list(dns_lanes(story.history())[0].segments)) == ["negative"]


def test_endpoints_of_all_slices_are_counted_once() -> None:
    """Two slices with one IP in common have three ready endpoints; a deleted slice takes its own along."""
    story = Story()
    for at, name, ips in ((1, "a", "12"), (2, "b", "23"), (3, "a", "")):
        endpoints = [{"ip": ip, "ready": True} for ip in ips] + [{"ip": "9", "ready": False}]
        story.at(at, "object", verb="modified" if ips else "deleted", object="EndpointSlice", namespace="n", name=name,
                 uid=name, state={"service": "web", "endpoints": endpoints})  # fmt: skip
    steps = endpoint_steps(story.history(), None)["web"]
    assert [step[1:] for step in steps] == [(2, "1, 2"), (3, "1, 2, 3"), (2, "2, 3")]


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from("abc")), max_size=200))
def test_segments_never_overlap_and_cover_all(changes: list[tuple[int, str]]) -> None:
    """From the first change to the end every moment lies in exactly one segment, and neighbours differ."""
    changes.sort(key=lambda change: change[0])
    segments = segments_of([(at, (state, ())) for at, state in changes], 10_001)
    assert sum(s.to_ns - s.from_ns for s in segments) == (10_001 - changes[0][0] if changes else 0)
    for left, right in pairwise(segments):
        assert left.to_ns == right.from_ns
        assert left.state != right.state


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=400), st.integers(1, 50))
def test_thinning_keeps_the_time_and_the_long_segments(durations: list[int], limit: int) -> None:
    """A thinned lane is short, covers the same time, and leaves what is long enough to see as it was."""
    segments, at = [], 0
    for number, duration in enumerate(durations):
        segments.append(Segment(at, at + duration, "ab"[number % 2]))
        at += duration
    thinned = thin(segments, limit)
    assert len(thinned) <= max(3 * limit + 3, 1)
    assert sum(s.to_ns - s.from_ns for s in thinned) == at
    assert {s for s in segments if s.to_ns - s.from_ns >= max(1, at // limit)} <= set(thinned)
    joined = sum(int(dict(s.facts)["changes"]) for s in thinned if s.state == MIXED)
    assert joined + sum(s.state != MIXED for s in thinned) == len(segments)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=200))
def test_thinned_steps_keep_ends_and_extremes(counts: list[int]) -> None:
    """The first, the last, the lowest and the highest count survive, in order, in bounded number."""
    thinned = thin_steps([(at, count, "") for at, count in enumerate(counts)], 5)
    values = [step[1] for step in thinned]
    assert (values[0], values[-1], min(values), max(values)) == (counts[0], counts[-1], min(counts), max(counts))
    assert len(thinned) <= 20
    assert thinned == sorted(thinned)


def test_a_flapping_pod_is_thinned() -> None:
    """A pod that changes ten thousand times does not blow up its lane."""
    story = Story()
    for number in range(10_000):
        story.pod(number / 100, "web-0", "u", ready=bool(number % 2))
    assert len(pod_lanes(story.history(), None)[0].segments) <= 3 * MAX_SEGMENTS
