"""at_most_one: two pods of one identity never run at once, as the nodes tell; what nobody can tell is UNKNOWN."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Self

import pytest
from histories import NAMESPACE, Story, ns
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chaos.checkers import Outcome, Verdict, at_most_one
from chaos.checkers.run_intervals import FOREVER, Run
from chaos.history import History, Json, Record

NODES = ("w1", "w2")


class Runs(Story):
    """A story in which the nodes' witnesses tell who ran."""

    def __init__(self) -> None:
        super().__init__()
        self.phases().fact("experiment", {"namespace": NAMESPACE}).fact("completed", True)
        self.fact("cluster", {"nodes": list(NODES)}).fault()
        for source in (*(f"node:{node}" for node in NODES), "engine"):
            self.tell(0, source, "clock", wall_ns=0).tell(41.5, source, "clock", wall_ns=0).ends(42, source)

    def pod(self, at_s: float, name: str, uid: str, verb: str = "modified", **state: Json) -> Self:  # type: ignore[override]
        """As any story's, on a node of these."""
        return super().pod(at_s, name, uid, verb, **({"node": "w1"} | state))

    def told(
        self, at_s: float, event: str, uid: str, node: str = "w1", pod: str | None = "web-1", **more: Json
    ) -> Self:
        """One record of a witness; the container's id is made of the pod's UID and the container's name."""
        name = more.pop("container", "app")
        data = {
            "event": event, "namespace": NAMESPACE, "pod": pod, "pod_uid": uid, "container": name, "pid": 7,
            "container_id": more.pop("container_id", f"{uid}/{name}"), "created_ns": None, "exit_status": None,
            "wall_ns": 0, "error_ns": 100_000,
        }  # fmt: skip
        return self.tell(at_s, f"node:{node}", "runtime", **(data | more))

    def ran(self, uid: str, begin_s: float, end_s: float | None, node: str = "w1", pod: str = "web-1") -> Self:
        """A pod with one container, which the API told of as well."""
        app = [{"name": "app", "state": "running"}]
        self.pod(begin_s - 0.2, pod, uid, "added", node=node, containers=[], ready=False)
        self.pod(begin_s + 0.1, pod, uid, node=node, containers=app).told(begin_s, "start", uid, node, pod)
        if end_s is not None:
            self.told(end_s, "exit", uid, node, pod, exit_status=0)
            self.pod(end_s + 0.1, pod, uid, "deleted", node=node, containers=app, ready=False)
        return self

    def engine(self, at_s: float, event: str, node: str = "w1") -> Self:
        """The engine tells something of a node."""
        return self.tell(at_s, "engine", "engine", event=event, node=node, wall_ns=0, error_ns=1000)

    def node_gap(self, from_s: float, to_s: float, node: str = "w1", **more: Json) -> Self:
        """A witness may have missed something."""
        span = {"from_ns": ns(from_s), "to_ns": ns(to_s)}
        return self.tell(to_s, f"node:{node}", "gap", what="the witness did not run", **span, **more)


def killed(again_s: float = 22.0) -> Runs:
    """web-1 is killed at 20 s and gone at 21 s; its second incarnation starts at ``again_s``."""
    return Runs().ran("a", 5, 21).ran("b", again_s, None)


def judged(story: Story, **by: str) -> Verdict:
    """What it says of web-*, unless it is asked about something else."""
    checker = at_most_one(**by) if by else at_most_one("web-*")
    return checker.check(story.history())


# ---- by hand: valid


def test_one_after_the_other_is_valid() -> None:
    """It says how far they were apart, and how far off the clocks may be."""
    verdict = judged(killed())
    assert verdict.outcome is Outcome.VALID
    assert "1.00 s apart at least (web-1)" in verdict.summary
    assert "clock error 0.10 ms" in verdict.summary
    assert [row["uid"] for row in verdict.evidence["identities"]["web-1"]] == ["a", "b"]


def test_a_restart_in_place_is_no_overlap() -> None:
    """Nor are several containers of one pod."""
    story = killed()
    story.told(10, "exit", "a").told(12, "start", "a", container_id="a/app/2").told(
        20.9, "exit", "a", container_id="a/app/2"
    )
    story.told(5.5, "start", "b", container="app2").without(lambda r: r.get("container") == "app2")
    assert judged(story).outcome is Outcome.VALID


@pytest.mark.parametrize("role", ["init_containers", "sandbox"])
def test_init_containers_do_not_count(role: str) -> None:
    """A sidecar that is one may outlive the app, and the next pod's may run before it is gone: no overlap."""
    app, side = [{"name": "app", "state": "running"}], [{"name": "side", "state": "running"}]
    story = killed().told(4, "start", "a", container="side").told(23, "exit", "a", container="side")
    story.told(20.5, "start", "b", container="side")
    if role == "init_containers":
        for uid in "ab":
            story.pod(22.5, "web-1", uid, node="w1", containers=app, init_containers=side)
        assert judged(story).outcome is Outcome.VALID
    else:  # of a container that the API did not tell of nobody can say what it is
        assert judged(story).outcome is Outcome.UNKNOWN


def test_other_names_and_other_namespaces_do_not_count() -> None:
    """web-0 and web-2 run beside it; somebody else's web-1 too."""
    story = killed().ran("x", 5, None, pod="web-0").ran("y", 5, None, "w2", pod="web-2")
    story.told(6, "start", "z", namespace="another")
    assert judged(story).outcome is Outcome.VALID


def test_a_node_that_died_ended_all_it_ran() -> None:
    """At the engine's word, whatever its witness still thought."""
    story = Runs().ran("a", 5, None).ran("b", 22, None, "w2").engine(20.5, "die")
    assert judged(story).outcome is Outcome.VALID
    assert judged(story.without(lambda r: r.kind == "engine")).outcome is Outcome.INVALID


def test_a_node_that_was_stopped_and_started_ran_nothing_in_between() -> None:
    """The gap of its witness lasts over its death; the exit that it infers lies at the death at the latest."""
    story = Runs().ran("a", 5, None).ran("b", 22, None, "w2").engine(20.5, "die").engine(29, "start")
    story.node_gap(20.3, 28.9).told(24.6, "exit", "a", wall_ns=None, error_ns=ns(4.3))
    assert judged(story).outcome is Outcome.VALID
    assert judged(story.without(lambda r: r.kind == "engine")).outcome is Outcome.UNKNOWN


# ---- by hand: invalid


def test_two_at_once_are_invalid() -> None:
    """It names the identity, both UIDs, the nodes, how long and when."""
    verdict = judged(Runs().ran("a", 5, 24).ran("b", 21.5, None, "w2"))
    assert verdict.outcome is Outcome.INVALID
    assert verdict.summary == (
        "web-1 ran twice at once for 2.50 s, 1.50 s after the injection of kill_pod on Pod web-1: "
        "web-1 (a) on w1 and web-1 (b) on w2"
    )
    assert verdict.findings == (verdict.summary,)


def test_a_frozen_pod_runs() -> None:
    """Its node was paused when the second one started: it is said so."""
    story = Runs().ran("a", 5, 31).ran("b", 24, None, "w2").engine(20.1, "pause").engine(30, "unpause")
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert "for 7.00 s" in verdict.summary
    assert verdict.summary.endswith("(w1 was paused, and what is frozen still runs)")


def test_a_run_that_never_ended_overlaps_whatever_comes() -> None:
    """Up to where its node was heard of last, at least."""
    verdict = judged(Runs().ran("a", 5, None).ran("b", 22, None, "w2"))
    assert verdict.outcome is Outcome.INVALID
    assert "for 20.00 s at least" in verdict.summary


def test_what_ran_when_the_witness_began_has_an_open_beginning() -> None:
    """It overlaps what certainly ran with it; before it was seen nobody knows, unless its process says since when."""
    both = Runs().ran("b", 22, None).pod(21, "web-1", "a", containers=[{"name": "app"}])
    both.told(23, "seen", "a").told(26, "exit", "a")
    assert judged(both).outcome is Outcome.INVALID
    before = Runs().ran("b", 15, 21).pod(5, "web-1", "a", node="w2", containers=[{"name": "app"}]).ran("c", 30, None)
    assert judged(before.told(23, "seen", "a", "w2").told(26, "exit", "a", "w2")).outcome is Outcome.UNKNOWN
    known = before.without(lambda r: r.get("event") == "seen").told(23, "seen", "a", "w2", created_ns=ns(22.5))
    assert judged(known).outcome is Outcome.VALID


@pytest.mark.parametrize("by", [{"workload": "db"}, {"claim": "data"}])
def test_pods_of_one_workload_or_claim_are_one_identity(by: dict[str, str]) -> None:
    """Under names of their own, which are named; another workload's pods are none of it."""
    names = {"a": "db-7d4f9c-x2bcd", "b": "db-7d4f9c-zzzzz"}
    story = Runs()
    for uid, begin_s, end_s in (("a", 5, 24.0), ("b", 21.5, None)):
        story.ran(uid, begin_s, end_s, pod=names[uid])
        story.pod(begin_s, names[uid], uid, containers=[{"name": "app"}], claims=["data"])
    story.ran("c", 5, None, pod="other-7d4f9c-x2bcd")
    verdict = judged(story, **by)
    assert verdict.outcome is Outcome.INVALID
    assert "db-7d4f9c-x2bcd (a) on w1 and db-7d4f9c-zzzzz (b) on w1" in verdict.summary
    assert len(verdict.findings) == 1


# ---- by hand: unknown


@pytest.mark.parametrize("replicas", [1, 2, None])
def test_pods_of_a_workload_of_several_are_no_one_identity(replicas: int | None) -> None:
    """That two of them run at once is nothing to find."""
    story = Runs().ran("a", 5, 24, pod="db-7d4f9c-x2bcd").ran("b", 21.5, None, pod="db-7d4f9c-zzzzz")
    story.fact("stack", {"workloads": [{"kind": "Deployment", "name": "db", "replicas": replicas}]})
    verdict = judged(story, workload="db")
    assert verdict.outcome is (Outcome.UNKNOWN if replicas == 2 else Outcome.INVALID)
    assert ("db is to have 2 replicas" in verdict.summary) is (replicas == 2)


def test_an_overlap_within_the_clocks_error_is_unknown() -> None:
    """Beyond it, either way, it is not."""

    def shifted(by_s: float) -> Outcome:
        story = killed(again_s=21 + by_s)
        for record in story.records:
            if record.kind == "runtime":
                record.data["error_ns"] = ns(0.005)
        return judged(story).outcome

    assert shifted(0.011) is Outcome.VALID
    assert shifted(0.009) is shifted(0) is shifted(-0.009) is Outcome.UNKNOWN
    assert shifted(-0.011) is Outcome.INVALID


def test_a_process_that_was_made_earlier_may_have_run_since() -> None:
    """The runtime tells of a start when it is done."""
    story = killed(again_s=21.03).without(lambda r: r.get("event") == "start" and r["pod_uid"] == "b")
    story.told(21.03, "start", "b", created_ns=ns(20.98))
    assert judged(story).outcome is Outcome.UNKNOWN


def test_a_gap_is_bounded_by_what_ran_before_and_after() -> None:
    """An exit within it: UNKNOWN where the next one started before the gap's end, VALID where after it."""

    def gap(again_s: float, **more: Json) -> Outcome:
        story = Runs().ran("a", 5, None).ran("b", again_s, None, "w2").node_gap(20.5, 23, **more)
        story.told(21.75, "exit", "a", wall_ns=None, error_ns=ns(1.25))
        return judged(story.pod(20.9, "web-1", "a", "deleted", containers=[{"name": "app"}])).outcome

    assert gap(22) is Outcome.UNKNOWN
    assert gap(23.5) is Outcome.VALID
    assert gap(23.5, looked_every_ns=ns(0.3)) is Outcome.VALID


def test_an_exit_may_have_been_missed_in_a_gap() -> None:
    """What was not seen again after it may have ended in it; what was seen again, or looked at meanwhile, ran on."""

    def gap(**more: Json) -> Runs:
        return Runs().ran("a", 5, None).ran("b", 30, None, "w2").node_gap(21, 22, **more)

    assert judged(gap()).outcome is Outcome.UNKNOWN
    assert judged(gap().told(21.9, "seen", "a")).outcome is Outcome.INVALID
    assert judged(gap().told(10, "seen", "a")).outcome is Outcome.UNKNOWN
    assert judged(gap(looked_every_ns=ns(0.5))).outcome is Outcome.INVALID


def test_in_a_gap_a_container_may_have_come_and_gone() -> None:
    """A pod that was still there may have run once more; unless its processes were looked at all the time."""

    def gap(deleted_s: float, **more: Json) -> Outcome:
        story = killed(again_s=23).node_gap(21.5, 24, **more).without(lambda r: r.get("verb") == "deleted")
        return judged(story.pod(deleted_s, "web-1", "a", "deleted", containers=[{"name": "app"}])).outcome

    assert gap(deleted_s=25) is Outcome.UNKNOWN
    assert gap(deleted_s=25, looked_every_ns=ns(0.5)) is Outcome.VALID
    assert gap(deleted_s=25, looked_every_ns=ns(2)) is Outcome.UNKNOWN
    assert gap(deleted_s=21.2) is Outcome.VALID


def test_a_witness_that_fell_silent_says_nothing_of_what_ran_on() -> None:
    """What ran when it was heard of last may have ended since; had it been heard of, it would be INVALID."""
    story = Runs().ran("a", 5, None).ran("b", 22, None, "w2").node_gap(20.5, 42)
    assert judged(story).outcome is Outcome.UNKNOWN
    assert judged(story.without(lambda record: record.kind == "gap")).outcome is Outcome.INVALID


def test_a_record_that_is_missing_is_missed() -> None:
    """The witness closed with one more than there are, whatever it was."""
    story = killed().ran("x", 5, None, "w2", pod="web-0")
    verdict = mutated(story.history(), lambda records: [r for r in records if r.get("pod_uid") != "x"])
    assert verdict.outcome is Outcome.UNKNOWN
    assert "runtime records of node:w2 are missing" in verdict.summary


def test_a_pod_that_ran_in_a_gap_only_may_have_run() -> None:
    """The API says that it was put on that node."""
    story = killed().pod(21.6, "web-1", "c", "added", node="w2", containers=[])
    assert judged(story).outcome is Outcome.VALID
    assert judged(story.node_gap(21.5, 24, node="w2")).outcome is Outcome.UNKNOWN


def test_a_run_that_only_the_api_tells_of_is_a_doubt() -> None:
    """A witness that says nothing of a pod that ran on its node cannot show that it ran alone."""
    story = killed().ran("x", 5, 21, "w2", "web-0").ran("y", 22, None, "w2", "web-0").ran("z", 5, None, "w2", "api-0")
    assert judged(story).outcome is Outcome.VALID
    silent = story.without(lambda r: r.kind == "runtime" and r["pod_uid"] in ("b", "z"))
    verdict = judged(silent)
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.summary == "the API saw web-1 (b) run on w1, and its witness told nothing of it"


def test_neither_node_nor_api_is_a_doubt() -> None:
    """Where both have a gap at one time, a pod may have been there that nobody knows."""
    story = killed().gap("api:Pod", 30, 33)
    assert judged(story).outcome is Outcome.VALID
    assert "neither w2 nor the API" in judged(story.node_gap(31, 32, node="w2")).summary


def without_source(source: str) -> Callable[[Story], Story]:
    """Nothing of it is there."""
    return lambda story: story.without(lambda record: record.source == source)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (without_source("node:w2"), "the witness of w2 told nothing"),
        (without_source("engine"), "the engine's events are missing"),
        (lambda story: story.ends(35, "node:w2"), "the witness of w2 told nothing after"),
        (lambda story: story.gap("engine", 3, 33), "engine may have missed something"),
        (lambda story: story.told(30, "start", "?", "w2", pod=None), "nobody can tell whose container began on w2"),
        (lambda story: story.without(lambda r: r.kind == "fault"), "no fault was injected"),
        (lambda story: story.without(lambda r: r.get("edge") == "effect"), "was not seen to take effect"),
        (lambda story: story.without(lambda r: r.get("pod_uid") == "b"), "no second incarnation of web-*"),
        (lambda story: story.without(lambda r: r.kind == "runtime"), "no container of web-* was seen to run"),
        (lambda story: story.without(lambda r: r.get("name") == "recover"), "lacks these of the load's phases"),
        (lambda story: story.without(lambda r: r.kind == "object"), "no container of web-* was seen to run"),
    ],
    ids=["node", "engine", "early", "engine gap", "unnamed", "no fault", "no effect", "one", "none", "phase", "api"],
)  # fmt: skip
def test_too_little_is_unknown(spoil: Callable[[Story], Story], why: str) -> None:
    """Who is missing, or what did not happen, is said."""
    verdict = judged(spoil(killed()))
    assert verdict.outcome is Outcome.UNKNOWN
    assert why in verdict.summary


def test_a_second_incarnation_from_before_the_fault_is_not_one_under_it() -> None:
    """It had come before anything was disturbed."""
    verdict = judged(Runs().ran("a", 2, 4).ran("b", 6, None))
    assert verdict.outcome is Outcome.UNKNOWN
    assert "no second incarnation" in verdict.summary


def test_a_source_that_was_cut_off_is_unknown() -> None:
    """What it would have said nobody knows."""
    story = killed()
    verdict = at_most_one("web-*").check(story.history(unclosed=["node:w1"]))
    assert verdict.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("by", [{}, {"names": "web-*", "workload": "web"}, {"names": ""}])
def test_it_wants_one_identity(by: Any) -> None:
    """None, or two, is an error."""
    with pytest.raises(ValueError, match="one of"):
        at_most_one(**by)


def test_its_name_says_whose() -> None:
    """As in the report."""
    names = [at_most_one("web-*").name, at_most_one(workload="db").name, at_most_one(claim="data").name]
    assert names == ["at_most_one(web-*)", "at_most_one(workload=db)", "at_most_one(claim=data)"]


# ---- against an oracle


@dataclasses.dataclass(frozen=True)
class Life:
    """A pod's run for the oracle: in tenths of a second."""

    begin: int
    end: int | None
    node: str


LIVES = st.lists(
    st.builds(Life, st.integers(60, 390), st.one_of(st.none(), st.integers(61, 410)), st.sampled_from(NODES)),
    min_size=2,
    max_size=5,
).map(lambda lives: [life for life in lives if life.end is None or life.end > life.begin])


def story_of(lives: list[Life], error_tenths: int, died: int | None) -> Runs:
    """The lives as the witnesses tell them; w1 may die."""
    story = Runs()
    for number, life in enumerate(lives):
        end = None if life.end is None else life.end / 10
        story.ran(f"u{number}", life.begin / 10, end, life.node)
    for record in story.records:
        if record.kind == "runtime":
            record.data["error_ns"] = ns(error_tenths / 10)
    if died is not None:
        story.tell(died / 10, "engine", "engine", event="die", node="w1", wall_ns=0, error_ns=0)
        story.ends(42, "node:w1")
    return story


def oracle(lives: list[Life], error: int, died: int | None) -> Outcome:
    """Every pair, every true time within the error that is on a grid of half tenths."""
    spans = []
    for life in lives:
        begins = range(2 * (life.begin - error), 2 * (life.begin + error) + 1)
        if life.end is not None:
            ends: Any = range(2 * (life.end - error), 2 * (life.end + error) + 1)
        elif died is not None and life.node == "w1" and died >= life.begin + error:
            ends = [2 * died]
        else:
            ends = [10**6]
        spans.append((begins, ends))
    outcome = Outcome.VALID
    for (begins, ends), (others, other_ends) in itertools.combinations(spans, 2):
        corners = itertools.product(
            {begins[0], begins[-1]}, {ends[0], ends[-1]}, {others[0], others[-1]}, {other_ends[0], other_ends[-1]}
        )
        overlaps = {min(end, other_end) > max(begin, other) for begin, end, other, other_end in corners}
        if overlaps == {True}:
            return Outcome.INVALID
        if True in overlaps:
            outcome = Outcome.UNKNOWN
    return outcome


@settings(max_examples=300, deadline=None)
@given(LIVES, st.integers(0, 5), st.one_of(st.none(), st.integers(200, 400)))
def test_it_agrees_with_a_slow_oracle(lives: list[Life], error: int, died: int | None) -> None:
    """Whatever ran, wherever, however far off the clocks are, whether a node died or not."""
    assume(len(lives) > 1)
    # What nobody can tell of an exit that never came is how long it went on before the death; the oracle knows no such.
    assume(
        died is None or all(life.end is not None or life.node != "w1" or life.begin + error > died for life in lives)
    )
    assume(died is None or all(life.node != "w1" or (life.end or 0) + error < died for life in lives))
    verdict = judged(story_of(lives, error, died))
    expected = oracle(lives, error, died)
    if expected is Outcome.VALID and "no second incarnation" in verdict.summary:
        assert max(life.begin + error for life in lives) <= 200
    else:
        assert verdict.outcome is expected, (verdict.summary, lives)


RUN = st.builds(
    lambda a, b, c, d, uid: Run(uid, "web-1", "w1", (min(a, b), max(a, b)), (min(c, d), max(c, d))),
    *[st.integers(0, 40)] * 4,
    st.uuids().map(str),
)


@settings(max_examples=300)
@given(st.lists(RUN, max_size=6))
def test_one_comparison_for_each_finds_what_all_pairs_show(runs: list[Run]) -> None:
    """Looking at each run and the longest before it is enough: where any pair overlaps, one is found."""
    from chaos.checkers.at_most_one import _pairs

    pairs = [one.overlap(other) for one, other in itertools.combinations(runs, 2)]
    assert bool(_pairs(runs, sure=True)) is any(least > 0 for least, _ in pairs)
    if not any(least > 0 for least, _ in pairs):
        assert bool(_pairs(runs, sure=False)) is any(most > 0 for _, most in pairs)


# ---- mutated


def mutated(history: History, change: Callable[[list[Record]], list[Record]]) -> Verdict:
    """What it says of a history that was changed."""
    return at_most_one("web-*").check(History(sorted(change(list(history.records)), key=lambda r: r.time_ns)))


@given(st.integers(0, 1), st.floats(0.5, 6))
def test_a_run_that_is_doubled_is_caught(which: int, shift_s: float) -> None:
    """The same interval a second time, by another pod of the name on another node: INVALID every time."""

    def double(records: list[Record]) -> list[Record]:
        uid = "ab"[which]
        more = []
        for record in records:
            data = dict(record.data)
            if record.kind == "runtime" and data["pod_uid"] == uid:
                data |= {"pod_uid": "twin", "container_id": "twin"}
                more.append(Record(record.time_ns + ns(shift_s), "node:w2", "runtime", data))
            elif record.kind == "object" and data["uid"] == uid and data["verb"] != "deleted":
                more.append(Record(record.time_ns, record.source, "object", data | {"uid": "twin"}))
        return records + more

    assert mutated(killed().history(), double).outcome is Outcome.INVALID


@given(st.floats(1.01, 15), st.booleans())
def test_a_run_that_is_shifted_onto_another_is_caught(by_s: float, later: bool) -> None:
    """The first one by more than a second later, or the second one earlier: INVALID every time."""

    def shift(records: list[Record]) -> list[Record]:
        uid, by_ns = ("a", ns(by_s)) if later else ("b", -ns(by_s))
        return [
            Record(r.time_ns + by_ns, r.source, r.kind, r.data) if r.kind == "runtime" and r["pod_uid"] == uid else r
            for r in records
        ]

    assert mutated(killed().history(), shift).outcome is Outcome.INVALID


@pytest.mark.parametrize("event", ["start", "exit"])
def test_an_event_that_is_taken_out_is_never_valid(event: str) -> None:
    """Without the first one's exit it went on; without the second one's start there was none."""
    uid = {"start": "b", "exit": "a"}[event]
    verdict = mutated(
        killed().history(),
        lambda records: [
            r for r in records if not (r.kind == "runtime" and r["event"] == event and r["pod_uid"] == uid)
        ],
    )
    assert verdict.outcome is {"start": Outcome.UNKNOWN, "exit": Outcome.INVALID}[event]


def test_bounds_that_are_not_known_are_told_as_such() -> None:
    """The evidence has no numbers that nobody measured."""
    rows = judged(Runs().ran("a", 5, None).ran("b", 22, None)).evidence["identities"]["web-1"]
    assert [row["ended_before_ns"] for row in rows] == [None, None]
    assert rows[0]["ended_after_ns"] == ns(42)
    assert FOREVER not in {value for row in rows for value in row.values()}
