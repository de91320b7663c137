"""The nemesis records every step of a fault in order, never passes over a failure, and always heals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import scene
from histories import Story, ns

from chaos.checkers import Outcome, Verdict, availability, quiescence
from chaos.errors import ClusterError, FaultError, WaitTimeout
from chaos.history import History, HistoryWriter, Json, Record, read_records
from chaos.nemesis import Nemesis

TARGET = {"kind": "Pod", "name": "web-1", "uid": "web-1-a"}


@dataclass
class Broken:
    """A fault that is also its disturbance; each part does what a test tells it, and ``did`` keeps the order."""

    name: str = "break_it"
    hold_s: float = 0.0
    did: list[str] = field(default_factory=list)
    target: dict[str, Json] = field(default_factory=lambda: TARGET)
    parts: dict[str, Exception | BaseException] = field(default_factory=dict)

    def aim(self, _: object) -> Broken:
        """See Fault."""
        self._do("aim")
        return self

    def inject(self) -> dict[str, Json]:
        """See Disturbance."""
        self._do("inject")
        return {"how": "hard"}

    def effect(self) -> dict[str, Json]:
        """See Disturbance."""
        self._do("effect")
        return {"gone": True}

    def heal(self) -> dict[str, Json]:
        """See Disturbance."""
        self._do("heal")
        return {"whole": True}

    def _do(self, part: str) -> None:
        self.did.append(part)
        if part in self.parts:
            raise self.parts[part]


class Stage:
    """A nemesis that writes its records at 21 s, 21.01 s, ... of a story."""

    def __init__(self, folder: Path) -> None:
        times = (ns(21 + step / 100) for step in itertools.count())
        self.writer = HistoryWriter(folder / "harness.jsonl", "harness", now=times.__next__)
        self.marks: list[str] = []

    def nemesis(self, require_mark: Callable[[], None] | None = None) -> Nemesis:
        """The nemesis."""
        return Nemesis(scene(require_mark=require_mark or (lambda: self.marks.append("mark"))), self.writer)

    def records(self) -> list[Record]:
        """What it has written."""
        self.writer.flush()
        return list(read_records(self.writer.path))

    def edges(self) -> list[str]:
        """The edges it has written."""
        return [r["edge"] for r in self.records()]

    def history(self) -> History:
        """Its records within a load that was answered all along."""
        story = Story().phases().load()
        baseline = {"nodes": {"worker": {"ready": True}}, "namespaces": [], "system_pods": {}, "volumes": []}
        story.fact("baseline", baseline).fact("baseline_after", baseline)
        story.records += self.records()
        return story.history()

    def judged(self) -> Verdict:
        """Availability's verdict on that."""
        return availability(error_ratio_max=0.05, gap_s_max=2).check(self.history())


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage of the test's own."""
    return Stage(tmp_path)


def test_a_good_fault_has_all_edges_in_order(stage: Stage) -> None:
    """Inject, injected, effect, heal, healed: done in that order, with target and details; VALID is possible."""
    fault = Broken()
    stage.nemesis().run([fault])
    assert fault.did == ["aim", "inject", "effect", "heal"]
    records = stage.records()
    assert stage.edges() == ["inject", "injected", "effect", "heal", "healed"]
    assert {(r.kind, r["fault"], r["id"]) for r in records} == {("fault", "break_it", "break_it-0")}
    assert all(r["target"] == TARGET for r in records)
    assert [r["detail"] for r in records] == [{}, {"how": "hard"}, {"gone": True}, {}, {"whole": True}]
    assert stage.judged().outcome is Outcome.VALID


def test_faults_run_one_after_the_other(stage: Stage) -> None:
    """The second begins when the first is healed; equal faults have ids of their own; the mark is asked for each."""
    stage.nemesis().run([Broken(), Broken()])
    assert [r["id"] for r in stage.records()] == ["break_it-0"] * 5 + ["break_it-1"] * 5
    assert stage.marks == ["mark", "mark"]


def test_no_mark_no_fault(stage: Stage) -> None:
    """A cluster that is not ours is not aimed at, and the refusal goes up."""

    def refuse() -> None:
        raise ClusterError("not ours")

    fault = Broken()
    with pytest.raises(ClusterError, match="not ours"):
        stage.nemesis(refuse).run([fault])
    assert fault.did == []
    assert stage.edges() == []


def test_the_mark_is_required_before_each_fault(stage: Stage) -> None:
    """A cluster that loses its mark after the first fault is spared the second."""
    marks = iter([None, ClusterError("not ours any more")])

    def require() -> None:
        error = next(marks)
        if error is not None:
            raise error

    first, second = Broken(), Broken()
    with pytest.raises(ClusterError, match="any more"):
        stage.nemesis(require).run([first, second])
    assert (first.did[-1], second.did) == ("heal", [])


def test_a_fault_without_a_target_is_only_failed(stage: Stage) -> None:
    """Nothing is injected, nothing healed; it is UNKNOWN to both judges, and the next fault runs all the same."""
    missing = Broken(parts={"aim": FaultError("there is no pod web-9; the fault has no target")})
    stage.nemesis().run([missing])
    assert missing.did == ["aim"]
    (record,) = stage.records()
    assert (record["edge"], record["target"]) == ("failed", {})
    assert record["detail"] == {"error": "there is no pod web-9; the fault has no target"}
    assert stage.judged().outcome is Outcome.UNKNOWN
    assert quiescence().check(stage.history()).outcome is Outcome.UNKNOWN
    stage.nemesis().run([Broken()])
    assert stage.edges()[1:] == ["inject", "injected", "effect", "heal", "healed"]


def test_a_fault_without_an_effect_is_healed(stage: Stage) -> None:
    """What was not seen is recorded as no effect with the wait's words; then it is healed, and never VALID."""
    fault = Broken(parts={"effect": WaitTimeout("web-1 is gone: not within 90 s")})
    stage.nemesis().run([fault])
    assert stage.edges() == ["inject", "injected", "no_effect", "heal", "healed"]
    assert stage.records()[2]["detail"] == {"error": "web-1 is gone: not within 90 s"}
    verdict = stage.judged()
    assert verdict.outcome is Outcome.UNKNOWN
    assert "not seen to take effect" in verdict.summary


def test_an_injection_that_fails_is_healed(stage: Stage) -> None:
    """Half done may still be done: it is healed, its effect is not waited for, and it is never VALID."""
    fault = Broken(parts={"inject": FaultError("gone before it could be killed")})
    stage.nemesis().run([fault])
    assert fault.did == ["aim", "inject", "heal"]
    assert stage.edges() == ["inject", "failed", "heal", "healed"]
    assert stage.judged().outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("part", ["inject", "effect"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), KeyError("defect")], ids=["interrupt", "defect"])
def test_whatever_is_raised_is_healed_and_goes_up(stage: Stage, part: str, error: BaseException) -> None:
    """Neither an interrupt nor a defect leaves a fault behind, and neither is swallowed."""
    fault, never = Broken(parts={part: error}), Broken()
    with pytest.raises(type(error)):
        stage.nemesis().run([fault, never])
    assert fault.did[-1] == "heal"
    assert stage.edges()[-2:] == ["heal", "healed"]
    assert never.did == []


def test_an_interrupt_while_it_holds_is_healed(stage: Stage) -> None:
    """Ctrl-C in the long part heals, records it and goes on up; the effect that was seen stays recorded."""
    nemesis: Any = stage.nemesis()
    held: list[float] = []

    class Hold:
        def wait(self, seconds: float) -> None:
            held.append(seconds)
            raise KeyboardInterrupt

    nemesis._hold = Hold()
    fault = Broken(hold_s=30.0)
    with pytest.raises(KeyboardInterrupt):
        nemesis.run([fault])
    assert held == [30.0]
    assert fault.did[-1] == "heal"
    assert stage.edges() == ["inject", "injected", "effect", "heal", "healed"]


def test_a_healing_that_fails_goes_up_and_is_invalid(stage: Stage) -> None:
    """There is no healed record, so nobody can think that it was: quiescence finds it."""
    fault = Broken(parts={"heal": ClusterError("the API server does not answer")})
    with pytest.raises(ClusterError):
        stage.nemesis().run([fault])
    assert stage.edges() == ["inject", "injected", "effect", "heal"]
    verdict = quiescence().check(stage.history())
    assert verdict.outcome is Outcome.INVALID
    assert "was never healed" in verdict.summary
