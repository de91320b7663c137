"""Targets resolve to live pods of the stack, the same ones for the same seed, or to a clear refusal."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cluster_fakes import Picture, node, pod
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.errors import FaultError
from chaos.kind import ENTRY
from chaos.kube import Seen
from chaos.targets import CONTROL_PLANE, NodeTarget, Target, node_of, node_running, one, ordinal, victims
from chaos.targets import node as named_node
from chaos.targets import pod as named

PROBE = pod("kindstorm-probe", labels={"kindstorm.dev/probe": "true"})


def hit(target: Target, *pods: Seen, seed: int = 1) -> Seen:
    """What a target means in this picture."""
    recorder: Any = Picture(*pods)
    return target.resolve(recorder, random.Random(seed))  # noqa: S311


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.permutations([f"web-{n}" for n in range(6)]))
def test_one_is_the_same_for_the_same_seed(seed: int, names: list[str]) -> None:
    """The order in which pods were seen does not matter, only which there are and the seed."""
    pods = [pod(name) for name in names]
    assert hit(one("web"), *pods, seed=seed) == hit(one("web"), *sorted(pods, key=lambda p: p.name), seed=seed)


def test_one_may_be_any() -> None:
    """Over many seeds every candidate is hit."""
    pods = [pod(f"web-{n}") for n in range(3)]
    assert {hit(one(), *pods, seed=seed).name for seed in range(50)} == {"web-0", "web-1", "web-2"}


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31))
def test_one_never_hits_what_is_no_victim(seed: int) -> None:
    """Neither the harness's probe, nor a pod that goes already, nor one that is not ready, nor another's."""
    others = (PROBE, pod("web-1", deleting=True), pod("web-2", ready=False), pod("db-0"))
    assert hit(one("web"), *others, pod("web-0"), seed=seed).name == "web-0"
    assert hit(one(), PROBE, pod("web-0"), seed=seed).name == "web-0"


@pytest.mark.parametrize("pods", [(), (PROBE,), (pod("web-0", ready=False),), (pod("web-0", deleting=True),)])
def test_one_without_a_candidate(pods: tuple[Seen, ...]) -> None:
    """No candidate is a fault error that names the prefix."""
    with pytest.raises(FaultError, match="no ready pod whose name begins with 'web'; the fault has no target"):
        hit(one("web"), *pods)


def test_named_is_exactly_that_pod() -> None:
    """Not one that begins so; a pod that is not ready can be hit by name."""
    assert hit(named("web-1"), pod("web-10"), pod("web-1", ready=False)).name == "web-1"
    assert hit(ordinal("web", 0), pod("web-1"), pod("web-0")).name == "web-0"


@pytest.mark.parametrize("pods", [(), (pod("web-10"),), (pod("web-1", deleting=True),)])
def test_named_that_is_not_there(pods: tuple[Seen, ...]) -> None:
    """A pod that is gone or going is a fault error with its name."""
    with pytest.raises(FaultError, match="there is no pod web-1; the fault has no target"):
        hit(named("web-1"), *pods)


def test_the_probe_cannot_be_named() -> None:
    """The harness does not shoot its own eyes."""
    with pytest.raises(FaultError, match="there is no pod kindstorm-probe"):
        hit(named("kindstorm-probe"), PROBE)


def test_victims_may_be_unready() -> None:
    """Alive is not ready."""
    recorder: Any = Picture(pod("a", ready=False), pod("b", deleting=True), PROBE)
    assert [p.name for p in victims(recorder)] == ["a"]


def hit_node(target: NodeTarget, *objects: Seen, seed: int = 1) -> Seen:
    """What a node target means in this picture."""
    recorder: Any = Picture(*objects)
    return target.resolve_node(recorder, random.Random(seed))  # noqa: S311


@pytest.mark.parametrize("target", [node_of("web-1"), node_of(one("web-1")), named_node("w2")], ids=str)
def test_a_node_is_found_when_it_is_asked_for(target: NodeTarget) -> None:
    """By a pod's name, by any pod target, or by its own name: it is where the pod runs now."""
    for place in ("w2", "w1"):
        nodes = (node("w1"), node("w2"))
        expected = "w2" if target == named_node("w2") else place
        assert hit_node(target, *nodes, pod("web-0", node="w1"), pod("web-1", node=place)).name == expected


@pytest.mark.parametrize(
    ("label", "reason"), [(CONTROL_PLANE, "is a control plane"), (ENTRY, "is the entry worker, through which")]
)
def test_only_workers_of_the_stack_may_be_hit(label: str, reason: str) -> None:
    """Neither by its name nor by a pod that runs there: a sentence says why not."""
    there = (node("w1", {label: "true"}), pod("web-1", node="w1"))
    for target in (named_node("w1"), node_of("web-1")):
        with pytest.raises(FaultError, match=f"the node w1 {reason}"):
            hit_node(target, *there)


def test_a_node_that_is_not_there() -> None:
    """Neither a node that nobody has seen nor the node of a pod that has none yet is a target."""
    with pytest.raises(FaultError, match="there is no node w9; the fault has no target"):
        hit_node(named_node("w9"), node("w1"))
    with pytest.raises(FaultError, match="the pod web-1 runs on no node yet; the fault has no target"):
        hit_node(node_of("web-1"), node("w1"), pod("web-1", node=None))
    with pytest.raises(FaultError, match="there is no pod web-1"):
        hit_node(node_of("web-1"), node("w1"))


def test_a_node_that_runs_enough_of_them() -> None:
    """Pods that are not ready, go already or have another beginning do not count; the seed chooses among the rest."""
    nodes = tuple(node(f"w{n}") for n in range(1, 5))
    pods = [pod(f"web-{place}-{number}", node=place) for place in ("w1", "w2") for number in range(2)]
    pods += [pod("web-5", node="w3"), pod("db-1", node="w3"), pod("web-6", node="w4")]
    pods += [pod("web-7", node="w4", ready=False), pod("web-8", node="w4", deleting=True)]
    found = {hit_node(node_running("web", at_least=2), *nodes, *pods, seed=seed).name for seed in range(30)}
    assert found == {"w1", "w2"}
    with pytest.raises(FaultError, match="no node runs 3 ready pods whose names begin with 'web'"):
        hit_node(node_running("web", at_least=3), *nodes, *pods)
