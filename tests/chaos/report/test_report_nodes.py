"""Nodes, what ran on them, and Kubernetes' events: as they were told, and by whom."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import START_NS, S, Story, identity

from chaos.history import Json
from chaos.report.container_runs import MAX_ROWS, ContainerRun, container_runs
from chaos.report.happenings import MAX_MARKS, event_lanes
from chaos.report.lanes import Lane, probe_lanes
from chaos.report.nodes import node_lanes
from chaos.report.timeline import timeline


def told(lane: Lane) -> list[tuple[str, float, float]]:
    """States and seconds."""
    return [(s.state, (s.from_ns - START_NS) / S, (s.to_ns - START_NS) / S) for s in lane.segments]


def runs_of(story: Story) -> dict[str, list[ContainerRun]]:
    """The runs of a story, whatever its namespace."""
    return container_runs(story.history(), None)


def test_the_engine_outweighs_what_kubernetes_still_believes() -> None:
    """A node that is paused is paused from that moment on, though Kubernetes finds out later; both are told."""
    story = Story()
    story.node(0, "n1")
    story.engine(5, "pause", "n1")
    story.node(9, "n1", False, "node.kubernetes.io/unreachable=:NoExecute")
    story.engine(12, "unpause", "n1")
    story.node(13, "n1", True, cordoned=True)
    story.node(20, "n1")
    (lane,) = node_lanes(story.history())
    assert told(lane) == [
        ("ready", 0, 5), ("paused", 5, 9), ("paused", 9, 12), ("not-ready", 12, 13), ("cordoned", 13, 20),
    ]  # fmt: skip
    assert dict(lane.segments[1].facts) == {"kubernetes": "ready"}
    assert dict(lane.segments[2].facts) == {
        "kubernetes": "not-ready", "taints": "node.kubernetes.io/unreachable=:NoExecute",
    }  # fmt: skip
    assert [text for _, text in lane.moments] == ["engine: pause", "engine: unpause"]


def test_a_node_that_died_is_stopped_until_it_starts() -> None:
    """A signal alone stops nothing; the taints that say what a node is for are no news."""
    story = Story()
    story.node(0, "n1", True, "node-role.kubernetes.io/control-plane=:NoSchedule")
    for at, event in ((3, "kill"), (4, "die"), (4.1, "stop"), (8, "start")):
        story.engine(at, event, "n1")
    story.node(9, "n1", True)
    (lane,) = node_lanes(story.history())
    assert told(lane) == [("ready", 0, 4), ("stopped", 4, 8), ("ready", 8, 9)]
    assert lane.segments[0].facts == ()


def test_nodes_are_in_order_of_their_numbers() -> None:
    """Worker2 comes before worker10."""
    story = Story()
    for name in ("k-worker10", "k-worker2", "k-worker", "k-control-plane"):
        story.node(1, name)
        story.node(2, name, cordoned=True)
    assert [lane.label for lane in node_lanes(story.history())] == [
        "k-control-plane", "k-worker", "k-worker2", "k-worker10",
    ]  # fmt: skip


def test_two_copies_of_one_identity_are_seen_to_overlap() -> None:
    """Runs at the same time stand below one another; later ones take the first row again."""
    story = Story()
    story.ran(1, "start", "web-1", "old", "n1")
    story.ran(5, "start", "web-1", "new", "n2")
    story.ran(8, "exit", "web-1", "old", "n1", 137)
    story.ran(9, "start", "web-1", "third", "n1")
    story.at(10, "clock", "node:n2", wall_ns=0)
    old, new, third = runs_of(story)["web-1"]
    assert [(run.row, run.pod_uid, run.begun, run.ended, run.exit_status) for run in (old, new, third)] == [
        (0, "old", True, True, 137), (1, "new", True, False, None), (0, "third", True, False, None),
    ]  # fmt: skip
    assert (new.to_ns - START_NS) / S == 10, "until its node's witness said its last word"


def test_an_exit_without_a_beginning_is_not_hidden() -> None:
    """It is a run of no length."""
    story = Story()
    story.ran(4, "exit", "web-1", "old", "n1", 1)
    (run,) = runs_of(story)["web-1"]
    assert (run.from_ns, run.begun, run.ended) == (run.to_ns, False, True)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=30))
def test_rows_never_hide_one_run_behind_another(spans: list[tuple[int, int]]) -> None:
    """Runs of one row do not overlap, but in the last row, which takes what is left."""
    story = Story()
    for number, (begin, length) in enumerate(spans):
        story.ran(begin, "start", "p", f"u{number}", "n1")
        story.ran(begin + length, "exit", "p", f"u{number}", "n1", 0)
    runs = runs_of(story).get("p", [])
    assert len(runs) == len(spans)
    for row in range(MAX_ROWS - 1):
        mine = [run for run in runs if run.row == row]
        assert all(one.to_ns <= other.from_ns for one, other in pairwise(mine))


def test_events_tell_who_and_what() -> None:
    """Warnings apart from the others; those of other namespaces are left out."""
    warnings, others = event_lanes(identity(), "kindstorm-a1")
    assert (warnings.label, others.label) == ("Warning", "Normal")
    assert [text for _, text in warnings.moments] == [
        "NodeNotReady Pod/web-1: Node is not ready",
        "Unhealthy Pod/web-1 (x3): Readiness probe failed: connection refused",
    ]
    assert event_lanes(identity(), "another") == []


def test_a_storm_of_events_is_told_by_reason() -> None:
    """Ten thousand are a bounded number of marks that together count all; a single one among them is not lost."""
    story = Story()
    for number in range(10_000):
        story.event(number / 10, f"Reason{number % 9}", "p", "again", "Warning")
    story.event(500.05, "OOMKilling", "p", "out of memory", "Warning")
    (lane,) = event_lanes(story.history(), None)
    assert len(lane.moments) <= MAX_MARKS
    assert any("OOMKilling" in text for _, text in lane.moments)
    more = [int(text.split("(and ")[1].split()[0]) for _, text in lane.moments if "(and " in text]
    assert sum(more) + len(lane.moments) == 10_001
    assert lane.moments[-1][0] > START_NS + 950 * S, "also the late ones"


def test_other_probes_have_lanes() -> None:
    """An answer, a refusal and silence are told apart."""
    (lane,) = probe_lanes(identity())
    assert lane.label == "http://web.kindstorm-a1/"
    assert [s.state for s in lane.segments] == ["answer", "unanswered", "answer", "negative", "answer"]
    assert dict(lane.segments[3].facts) == {"status": "503"}


def where(story: Story) -> list[tuple[str, bool]]:
    """The parts in which each gap is drawn, and whether it is only late."""
    return [(part, gap["late"]) for gap in timeline(story.history())["gaps"] for part in gap["where"]]


def test_a_gap_is_drawn_where_something_may_be_missing() -> None:
    """A pod watch's with the pods, another watch's at the top, an unknown source's everywhere."""
    expected: dict[str, list[tuple[str, bool]]] = {
        "api:Pod": [("pods", False)], "api:Lease": [("phases", False)], "node:n1": [("pods", False)],
        "load-0": [("load", False)], "dns": [("dns", False)], "probe": [("probes", False)],
        "engine": [("nodes", False)],
    }  # fmt: skip
    found: dict[str, list[tuple[str, bool]]] = {}
    span: dict[str, Json] = {"what": "x", "from_ns": START_NS, "to_ns": None}
    for source in [*expected, "somebody"]:
        story = Story()
        story.request(1, "ok", 0.1)
        story.dns(1, "web-0", "1")
        story.http(1, "http://x", 200)
        story.at(2, "gap", source, **span)
        found[source] = where(story)
    assert len(found.pop("somebody")) == 8
    assert found == expected
    story = Story()
    story.at(2, "resumed", "api:Pod", **{**span, "to_ns": START_NS + S})
    assert where(story) == [("pods", True)]


def test_a_pod_that_only_its_node_knew_has_a_lane() -> None:
    """What ran without the API server's knowledge is drawn."""
    story = Story()
    story.at(0, "fact", name="experiment", value={"namespace": "kindstorm-a1"})
    story.pod(1, "web-0", "u0")
    story.ran(2, "start", "web-9", "u9", "n1")
    pods = timeline(story.history())["pods"]
    assert [(lane["label"], len(lane["runs"])) for lane in pods] == [("web-0", 0), ("web-9", 1)]


def test_very_many_gaps_are_drawn_as_few() -> None:
    """Those that nearly touch are one; all that was not seen stays covered, and a far one stays apart."""
    story = Story()
    for number in range(5_000):
        begin = START_NS + number * S // 10
        story.at(number / 10 + 0.05, "gap", "probe", what="late", from_ns=begin, to_ns=begin + S // 20)
    story.at(900, "gap", "probe", what="late", from_ns=START_NS + 890 * S, to_ns=None)
    gaps = timeline(story.history())["gaps"]
    assert len(gaps) < 1_000
    assert gaps[-1]["to"] - gaps[-1]["from"] == 10
    for number in range(0, 5_000, 50):
        at = number / 10 - 0.05
        assert any(gap["from"] <= at + 0.05 and at + 0.1 <= gap["to"] for gap in gaps), number
