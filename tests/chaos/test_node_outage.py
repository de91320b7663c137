"""pause_node, stop_node: planned before done, proved by what the API says of the node, and healed to the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import Picture, node, pod, scene

from chaos import journal
from chaos.errors import ClusterError, FaultError, WaitTimeout
from chaos.faults import node_outage, pause_node, stop_node
from chaos.faults.node_outage import LostNode
from chaos.kube import Seen
from chaos.targets import node as named
from images import cache

UNREACHABLE = "node.kubernetes.io/unreachable=:NoSchedule"
BOTH = pytest.mark.parametrize(("verb", "back"), [("pause", "unpause"), ("stop", "start")])


class Engine:
    """Stands in for what switches node containers; notes each step with how many entries were planned by then."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.fail: Exception | None = None
        self.running = True

    def switch_node(self, cluster: str, name: str, verb: str) -> bool:
        """See chaos.cluster."""
        assert (cluster, name) == ("kindstorm-test", "w1")
        self.steps.append((verb, len(journal.pending(cluster))))
        return self.running

    def resume_node(self, _kube: object, cluster: str, name: str, verb: str) -> None:
        """See chaos.cluster."""
        self.switch_node(cluster, name, verb)
        if self.fail:
            raise self.fail


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine of the test's own, and a cache for the journal."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    engine = Engine()
    monkeypatch.setattr(node_outage.clusters, "switch_node", engine.switch_node)
    monkeypatch.setattr(node_outage.clusters, "resume_node", engine.resume_node)
    return engine


def lost(verb: str, picture: Picture, **options: Any) -> LostNode:
    """The outage of w1, aimed."""
    fault = {"pause": pause_node, "stop": stop_node}[verb](named("w1"), **options)
    assert fault.name == f"{verb}_node"
    return fault.aim(scene(picture=picture))


def picture(*views: Seen) -> Picture:
    """A node with a pod of the stack, and how the node looks at each later step."""
    steps = [lambda p, view=view: setattr(p, "all", [view]) for view in views]
    return Picture(node("w1"), pod("web-0", node="w1"), steps=steps)


@BOTH
def test_an_outage_is_planned_done_seen_and_healed(engine: Engine, verb: str, back: str) -> None:
    """The entry is there before docker is asked; not ready is the effect; back is ready without the taints."""
    away = node("w1", ready=False, taints=[UNREACHABLE])
    seen = picture(node("w1"), away, node("w1", taints=[UNREACHABLE]), node("w1"))
    outage = lost(verb, seen, hold_s=3)
    assert outage.target == {"kind": "Node", "name": "w1", "uid": "w1-a"}
    assert journal.pending() == []
    assert outage.inject() == {"container": "w1"}
    (entry,) = journal.pending("kindstorm-test")
    assert (entry.verb, entry.arguments) == (back, {"cluster": "kindstorm-test", "node": "w1"})
    assert outage.effect() == {"ready": False}
    assert outage.heal() == outage.heal() == {"ready": True}
    assert seen.steps == []
    assert engine.steps == [(verb, 1), (back, 1), (back, 0)]
    assert journal.pending() == []


@BOTH
def test_a_node_that_stays_ready_is_no_outage(engine: Engine, verb: str, back: str) -> None:
    """The container may stand still: without the API saying so there was no effect."""
    assert engine.running
    assert back
    outage = lost(verb, picture())
    outage.inject()
    with pytest.raises(WaitTimeout, match="the node w1 is not ready: not within 120 s"):
        outage.effect()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "last", [node("w1", ready=False), node("w1", taints=[UNREACHABLE]), node("w2")], ids=["away", "tainted", "gone"]
)
def test_what_is_not_seen_back_stays_on_the_journal(last: Seen) -> None:
    """Not ready, still tainted, or not there: not healed."""
    outage = lost("pause", picture(last))
    outage.inject()
    outage.scene.recorder.steps.pop()(outage.scene.recorder)  # type: ignore[attr-defined]
    with pytest.raises(WaitTimeout, match="the node w1 is ready again"):
        outage.heal()
    assert len(journal.pending()) == 1


def test_what_cannot_be_brought_back_stays_on_the_journal(engine: Engine) -> None:
    """An engine that refuses, or a node that lost its seal, leaves the entry for a later try."""
    outage = lost("stop", picture())
    outage.inject()
    engine.fail = ClusterError("the node w1 is not sealed any more")
    with pytest.raises(ClusterError, match="not sealed"):
        outage.heal()
    assert len(journal.pending()) == 1


def test_a_container_that_did_not_run_was_not_hit(engine: Engine) -> None:
    """Nothing was injected, and it says so."""
    engine.running = False
    with pytest.raises(FaultError, match="w1 was not running before it could be hit"):
        lost("stop", picture()).inject()


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ((node("w1", ready=False), pod("web-0", node="w1")), "w1 is not ready already"),
        ((node("w1"), pod("web-0", node="w2")), "no pod of the stack runs on the node w1"),
        ((node("w1"), pod("web-0", node="w1", deleting=True)), "no pod of the stack runs on the node w1"),
    ],
)
def test_what_is_no_outage_is_refused(engine: Engine, there: tuple[Seen, ...], reason: str) -> None:
    """A node that is lost already, and one without a pod of the stack."""
    with pytest.raises(FaultError, match=reason):
        lost("pause", Picture(*there))
    assert engine.steps == []
