"""drain_node: what it evicts, how it takes a budget's refusal, what it calls an effect, and how it is healed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import NAMESPACE, Picture, node, pod, scene

from chaos import journal
from chaos.errors import ClusterError, FaultError, WaitTimeout
from chaos.faults import drain_node
from chaos.faults.drain_node import Drained
from chaos.kube import ApiRefusal, BudgetRefusal, Seen
from chaos.targets import node as named
from images import cache

BUDGET = BudgetRefusal("The disruption budget b needs 2 healthy pods and has 2 currently", 429)


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, for the journal, and a clock that a wait moves on by itself."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    clock = [0.0]
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    monkeypatch.setattr("tenacity.time.monotonic", lambda: clock[0])


class Nodes:
    """A cluster of two workers: an API that evicts as it is told, and the picture of it."""

    def __init__(self, *pods: Seen) -> None:
        self.picture = Picture(node("w1"), node("w2"), *pods)
        self.calls: list[str] = []
        self.answers: dict[str, list[Exception]] = {}
        self.stays: set[str] = set()
        self.after: Callable[[], None] = lambda: None
        self.planned: list[int] = []

    def list(self, kind: str) -> list[Seen]:
        """See Kube."""
        return self.picture.objects(kind)

    def evict(self, name: str, namespace: str, *, uid: str) -> bool:
        """See Kube."""
        self.calls.append(f"evict {namespace}/{name}")
        there = next((p for p in self.list("Pod") if p.uid == uid), None)
        if self.answers.get(name):
            raise self.answers[name].pop(0)
        if there is None:
            return False
        if name not in self.stays:
            self.picture.all.remove(there)
        self.after()
        return True

    def cordon(self, name: str) -> None:
        """See Kube."""
        self.planned.append(len(journal.pending("kindstorm-test")))
        self._set(name, True)

    def uncordon(self, name: str) -> bool:
        """See Kube."""
        return self._set(name, False)

    def _set(self, name: str, closed: bool) -> bool:
        self.calls.append(f"{'cordon' if closed else 'uncordon'} {name}")
        found = self.picture.get("Node", name)
        if found is None:
            return False
        self.picture.all.remove(found)
        self.picture.all.append(node(name, unschedulable=closed))
        return True


def drained(nodes: Nodes, **options: Any) -> Drained:
    """The drain of w1, aimed."""
    return drain_node(named("w1"), **options).aim(scene(nodes, nodes.picture))


WEB, OTHER = pod("web-0", node="w1"), pod("web-1", node="w2")


def elsewhere(name: str, owner: str) -> Seen:
    """A pod of another namespace on w1."""
    return dataclasses.replace(pod(name, owner=owner, node="w1"), namespace="kube-system")


def test_a_drain_cordons_and_evicts_what_can_leave() -> None:
    """Pods of every namespace go; a DaemonSet's, mirrors and those on other nodes stay; its undoing is planned."""
    stay = (elsewhere("proxy-x", "DaemonSet/proxy"), elsewhere("etcd-w1", "Node/w1"))
    nodes = Nodes(WEB, OTHER, elsewhere("dns-x", "ReplicaSet/dns"), *stay)
    drain = drained(nodes)
    assert journal.pending() == []
    told = drain.inject()
    assert nodes.calls == ["cordon w1", "evict kube-system/dns-x", f"evict {NAMESPACE}/web-0"]
    assert nodes.planned == [1]
    assert [p["name"] for p in told["evicted"]] == ["dns-x", "web-0"]
    assert (told["refused_evictions"], told["left"]) == (0, {})
    assert drain.effect() == {"unschedulable": True, "evicted_pods": 2}
    assert drain.target == {"kind": "Node", "name": "w1", "uid": "w1-a"}


def test_a_bare_pod_and_one_that_goes_already() -> None:
    """A pod without an owner is evicted too; one on its way out is left to go, and the drain waits for it."""
    goes = pod("web-2", node="w1", deleting=True)
    nodes = Nodes(WEB, pod("bare", node="w1", owner="/"), goes)
    drain = drained(nodes)
    assert [p["name"] for p in drain.inject()["evicted"]] == ["bare", "web-0"]
    with pytest.raises(WaitTimeout, match=r"no pod that can be evicted is on w1: .*\['web-2'\]"):
        drain.effect()
    nodes.picture.all.remove(goes)
    drain.effect()


def test_a_refused_eviction_is_tried_again() -> None:
    """The budget's refusals are counted; what is evicted already is not evicted again."""
    nodes = Nodes(WEB, pod("web-2", node="w1"))
    nodes.answers["web-2"] = [BUDGET, BUDGET]
    told = drained(nodes).inject()
    assert (told["refused_evictions"], told["left"]) == (2, {})
    assert nodes.calls.count(f"evict {NAMESPACE}/web-0") == 1
    assert nodes.calls.count(f"evict {NAMESPACE}/web-2") == 3


def test_a_drain_that_stays_blocked_has_no_effect_and_says_why() -> None:
    """After the time for it the pods that are left and their budget are named, and the node can be opened again."""
    nodes = Nodes(WEB, pod("web-2", node="w1"))
    nodes.answers["web-2"] = [BUDGET] * 99
    drain = drained(nodes, retry_s=5)
    told = drain.inject()
    assert told["refused_evictions"] == 6
    assert told["left"] == {f"{NAMESPACE}/web-2": str(BUDGET)}
    with pytest.raises(
        FaultError, match=r"the drain of w1 is blocked: after 6 refused evictions in 5 s 1 pods"
    ) as said:
        drain.effect()
    assert f"({NAMESPACE}/web-2: {BUDGET})" in str(said.value)
    drain.heal()
    assert nodes.calls[-1] == "uncordon w1"


def test_another_refusal_is_a_failure() -> None:
    """It is not tried again, and goes up."""
    nodes = Nodes(WEB)
    nodes.answers["web-0"] = [ApiRefusal("evict web-0: 500: two budgets", 500)]
    with pytest.raises(ApiRefusal, match="two budgets"):
        drained(nodes).inject()
    assert nodes.calls == ["cordon w1", f"evict {NAMESPACE}/web-0"]


def test_a_pod_that_came_meanwhile_is_evicted_too() -> None:
    """What the scheduler had bound before it knew of the cordon is found when the rest is tried again."""
    late = pod("web-3", node="w1")
    nodes = Nodes(WEB, pod("web-2", node="w1"))
    nodes.answers["web-2"] = [BUDGET]
    nodes.after = lambda: nodes.picture.all.append(late) if "evict run-1/web-3" not in nodes.calls else None
    told = drained(nodes).inject()
    assert [p["name"] for p in told["evicted"]] == ["web-0", "web-2", "web-3"]


def test_a_pod_that_was_gone_was_not_evicted() -> None:
    """Its death is not the drain's."""
    nodes = Nodes(WEB)
    drain = drained(nodes)
    nodes.evict = lambda *_, **__: False  # type: ignore[method-assign]
    assert drain.inject()["evicted"] == []


@pytest.mark.parametrize("open_node", [True, False], ids=["not cordoned", "pod not gone"])
def test_without_both_there_is_no_effect(open_node: bool) -> None:
    """A node that is not seen cordoned, and a pod that is not seen gone, are each a wait that timed out."""
    nodes = Nodes(WEB)
    if not open_node:
        nodes.stays.add("web-0")
    drain = drained(nodes)
    drain.inject()
    if open_node:
        nodes.uncordon("w1")
    with pytest.raises(WaitTimeout, match="the node w1 is cordoned and its pods are gone: not within 90 s"):
        drain.effect()


def test_healing_waits_until_pods_may_come_again() -> None:
    """The taint must be seen gone as well; only then the entry goes off, and healing again changes nothing."""
    nodes = Nodes(WEB)
    drain = drained(nodes)
    drain.inject()
    tainted = node("w1", taints=["node.kubernetes.io/unschedulable=:NoSchedule"])
    views = [tainted, node("w1")]
    nodes.uncordon = lambda _: True  # type: ignore[method-assign]
    nodes.picture.steps = [lambda p, view=view: setattr(p, "all", [view]) for view in views]
    drain.heal()
    assert nodes.picture.steps == []
    assert journal.pending() == []
    assert drain.heal() == {"unschedulable": False}


def test_a_node_that_stays_cordoned_stays_on_the_journal() -> None:
    """Neither an API that does not answer nor a node that is not seen open counts as healed."""
    nodes = Nodes(WEB)
    drain = drained(nodes)
    drain.inject()
    nodes.uncordon = lambda _: True  # type: ignore[method-assign]
    with pytest.raises(WaitTimeout, match="pods may go to node w1 again: not within 30 s"):
        drain.heal()

    def away(_: str) -> bool:
        raise ClusterError("the API server does not answer")

    nodes.uncordon = away  # type: ignore[method-assign]
    with pytest.raises(ClusterError):
        drain.heal()
    assert [e.arguments for e in journal.pending("kindstorm-test")] == [{"node": "w1"}]


def test_a_node_that_is_gone_needs_no_healing() -> None:
    """Nothing is waited for."""
    nodes = Nodes(WEB)
    drain = drained(nodes)
    drain.inject()
    nodes.picture.all.clear()
    drain.heal()
    assert journal.pending() == []


def test_what_is_no_drain_is_refused() -> None:
    """A node that is cordoned already, and one that nothing of the stack would leave: nothing is done to either."""
    cordoned = Nodes(WEB)
    cordoned.picture.all[0] = node("w1", unschedulable=True)
    empty = Nodes(OTHER, elsewhere("dns-x", "ReplicaSet/dns"), pod("agent-x", owner="DaemonSet/agent", node="w1"))
    for nodes, reason in ((cordoned, "w1 is cordoned already"), (empty, "would have to leave the node w1")):
        with pytest.raises(FaultError, match=reason):
            drained(nodes)
        assert nodes.calls == []
    assert journal.pending() == []
