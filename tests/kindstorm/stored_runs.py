"""Stored runs made by hand: a load that was answered, a pod that was killed, and a cluster left as it was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from chaos.checkers import Outcome, Verdict
from chaos.history import History, HistoryWriter, seal

BASELINE = {
    "nodes": {"worker": {"ready": True, "unschedulable": False, "taints": []}},
    "namespaces": ["default"],
    "system_pods": {"kube-system/coredns": True},
    "volumes": [],
    "escaped_packets": 0,
}
SECOND = 10**9


def store(
    directory: Path,
    *,
    left_over: tuple[str, ...] = (),
    seed: int = 7,
    fault: bool = True,
    completed: bool = True,
    scenario: str = "scenarios/test_a.py::test_a",
    stack: str = "nginx",
) -> History:
    """Put a whole history into a run's directory; ``left_over`` are volumes that were not there before."""
    directory.mkdir(parents=True, exist_ok=True)
    harness, load = directory / "harness.jsonl", directory / "load.jsonl"
    with HistoryWriter(harness, "harness", now=lambda: 50 * SECOND) as writer:
        experiment = {"scenario": scenario, "stack": stack, "seed": seed, "namespace": "ks"}
        writer.write("fact", time_ns=0, name="experiment", value=experiment)
        writer.write("fact", time_ns=0, name="baseline", value=BASELINE)
        for number, name in enumerate(("before", "fault", "recover", "after"), start=1):
            writer.write("phase", time_ns=number * 10 * SECOND, name=name, edge="begin")
            writer.write("phase", time_ns=(number + 1) * 10 * SECOND, name=name, edge="end")
        writer.write("phase", time_ns=50 * SECOND, name="remove", edge="begin")
        for step, edge in enumerate(("inject", "injected", "effect", "heal", "healed") if fault else ()):
            target = {"kind": "Pod", "name": "web-1"}
            writer.write(
                "fault", time_ns=21 * SECOND + step, fault="kill_pod", id="0", edge=edge, target=target, detail={}
            )
        after = BASELINE | {"volumes": list(left_over)}
        writer.write("fact", time_ns=50 * SECOND, name="baseline_after", value=after)
        if completed:
            writer.write("fact", time_ns=50 * SECOND, name="completed", value=True)
    with HistoryWriter(load, "load", now=lambda: 50 * SECOND) as writer:
        for tenth in range(100, 500):
            at = tenth * SECOND // 10 + 1
            writer.write("op", time_ns=at, type="invoke", process=0, op=tenth, f="read", intended_ns=at)
            writer.write("op", time_ns=at + 1, type="ok", process=0, op=tenth, f="read", error=None)
    history = seal([harness, load], directory / "history.jsonl")
    harness.unlink()
    load.unlink()
    return history


@dataclass(frozen=True)
class Says:
    """A checker that says what it is told to."""

    outcome: Outcome
    name: str = "promise"
    findings: tuple[str, ...] = field(default=("web-1 broke it",))

    def check(self, _: History) -> Verdict:
        """See Checker."""
        return Verdict(self.name, self.outcome, f"the {self.name} is {self.outcome.lower()}", {}, self.findings)
