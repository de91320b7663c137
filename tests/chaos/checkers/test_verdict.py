"""Judging: what is combined, what a crash and a cut-off history may say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from histories import Story, edge, killed_pod, ns

from chaos.checkers import Checker, Outcome, Verdict, availability, identity, judge, quiescence, recovery, worst
from chaos.history import History, Record

CHECKERS: list[Checker] = [
    availability(error_ratio_max=0.01, gap_s_max=1),
    identity("web-*"),
    recovery(after_fault_s_max=10, after_heal_s_max=10),
    quiescence(),
]


class Says:
    """A checker that has made up its mind, or crashes."""

    name = "says"

    def __init__(self, outcome: Outcome | None) -> None:
        self.outcome = outcome

    def check(self, history: History) -> Verdict:
        """Its fixed outcome."""
        if self.outcome is None:
            raise KeyError(f"no such thing among {len(history.records)}")
        return Verdict(self.name, self.outcome, "as told")


def outcomes(history: History) -> dict[str, Outcome]:
    """What the four checkers say."""
    return {verdict.checker: verdict.outcome for verdict in judge(history, CHECKERS)}


@pytest.mark.parametrize(
    ("said", "combined"),
    [
        ([], Outcome.UNKNOWN),
        ([Outcome.VALID], Outcome.VALID),
        ([Outcome.VALID, Outcome.UNKNOWN, Outcome.VALID], Outcome.UNKNOWN),
        ([Outcome.UNKNOWN, Outcome.INVALID, Outcome.VALID], Outcome.INVALID),
    ],
)
def test_the_worst_verdict_stands(said: list[Outcome], combined: Outcome) -> None:
    """INVALID outranks UNKNOWN outranks VALID; nothing said is UNKNOWN."""
    assert worst(Verdict("any", outcome, "") for outcome in said) is combined


def test_a_crashed_checker_says_unknown_and_hides_no_other() -> None:
    """A defect of a checker never passes, and the checkers after it are still asked."""
    crashed, after = judge(killed_pod().history(), [Says(None), Says(Outcome.VALID)])
    assert (crashed.outcome, after.outcome) == (Outcome.UNKNOWN, Outcome.VALID)
    assert "KeyError" in crashed.summary
    assert "Traceback" in crashed.evidence["traceback"]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_cut_off_history_is_never_valid(outcome: Outcome) -> None:
    """Without its seal a history takes VALID down to UNKNOWN and leaves the rest."""
    (verdict,) = judge(History(killed_pod().history().records[:-1]), [Says(outcome)])
    assert verdict.outcome is (Outcome.UNKNOWN if outcome is Outcome.VALID else outcome)


def test_a_verdict_becomes_plain_json() -> None:
    """The outcome is a word and the findings are a list."""
    told = Verdict("any", Outcome.INVALID, "why", {"count": 1}, ("one",)).to_json()
    assert told == {
        "checker": "any", "outcome": "INVALID", "summary": "why", "evidence": {"count": 1}, "findings": ["one"],
    }  # fmt: skip


def test_the_whole_run_is_valid_for_all() -> None:
    """The run that the mutations below start from passes every checker."""
    assert set(outcomes(killed_pod().history()).values()) == {Outcome.VALID}


@pytest.mark.parametrize("source", ["load", "harness", "api:Pod", "api:EndpointSlice", "probe"])
def test_a_dropped_closing_record_makes_all_unknown(source: str) -> None:
    """A source that was cut off leaves no checker sure."""
    assert set(outcomes(killed_pod().history(unclosed=[source])).values()) == {Outcome.UNKNOWN}


@pytest.mark.parametrize(
    "mutate",
    [
        lambda story: story.without(edge("effect")),
        lambda story: story.without(edge("inject")),
        lambda story: story.without(edge("effect")).tell(21, "harness", "fault", **_edge("no_effect")),
        lambda story: story.without(edge("effect")).tell(19, "harness", "fault", **_edge("effect")),
        lambda story: story.without(edge("effect")).tell(24.95, "harness", "fault", **_edge("effect")),
        lambda story: story.tell(24, "harness", "fault", **_edge("failed")),
    ],
    ids=["no effect edge", "no injection", "no effect", "effect before", "effect after the healing", "failed"],
)
def test_a_fault_that_did_not_work_makes_all_unknown(mutate: Callable[[Story], Story]) -> None:
    """Nothing is concluded from a fault that was not seen to take effect between its injection and its healing."""
    assert set(outcomes(mutate(killed_pod()).history()).values()) == {Outcome.UNKNOWN}


def test_without_a_fault_none_is_valid() -> None:
    """A run in which nothing was injected shows nothing; a pod that was replaced all the same is a finding."""
    told = outcomes(killed_pod().without(lambda record: record.kind == "fault").history())
    assert told.pop("identity(web-*)") is Outcome.INVALID
    assert set(told.values()) == {Outcome.UNKNOWN}


@pytest.mark.parametrize("inject_s", [7.0, 40.5])
def test_a_fault_outside_of_the_load_makes_all_unknown(inject_s: float) -> None:
    """A fault that no client could feel proves nothing."""
    story = killed_pod().without(lambda record: record.kind == "fault").fault(inject_s=inject_s, heal_s=inject_s + 1)
    assert Outcome.VALID not in outcomes(story.history()).values()


def test_an_empty_history_is_unknown() -> None:
    """No evidence at all: no checker passes."""
    assert set(outcomes(Story().history()).values()) == {Outcome.UNKNOWN}


@pytest.mark.parametrize("pair", [("inject", "effect"), ("effect", "heal"), ("inject", "healed")])
def test_swapped_edges_make_all_unknown(pair: tuple[str, str]) -> None:
    """Two edges of the fault with each other's times: an order that cannot have been proves nothing."""
    story = killed_pod()
    times = {record["edge"]: record.time_ns for record in story.records if record.kind == "fault"}
    swapped = times | {pair[0]: times[pair[1]], pair[1]: times[pair[0]]}
    story.records = [
        Record(swapped[record["edge"]], record.source, record.kind, record.data) if record.kind == "fault" else record
        for record in story.records
    ]
    assert set(outcomes(story.history()).values()) == {Outcome.UNKNOWN}


def _edge(name: str) -> dict[str, object]:
    target = {"kind": "Pod", "name": "web-1", "uid": "web-1-a"}
    return {"fault": "kill_pod", "id": "kill_pod@20", "edge": name, "target": target, "detail": {"seen": ns(0)}}
