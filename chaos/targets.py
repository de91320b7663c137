"""Targets: what a fault hits, said as a spec and resolved only when the fault is injected."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from chaos.errors import FaultError
from chaos.kind import ENTRY
from chaos.kube import Seen
from chaos.recorder import Recorder

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
"""The label that kubeadm gives to control planes."""


class Target(Protocol):
    """Resolves to one pod, with the run's own random numbers."""

    def resolve(self, recorder: Recorder, rng: random.Random) -> Seen:
        """The pod this means now; raises FaultError where there is none."""


class NodeTarget(Protocol):
    """Resolves to one worker that may be hit."""

    def resolve_node(self, recorder: Recorder, rng: random.Random) -> Seen:
        """The node this means now; raises FaultError where there is none, or none that may be hit."""


def victims(recorder: Recorder) -> list[Seen]:
    """The stack's pods that are alive: the harness's own probe is never one."""
    pods = recorder.objects("Pod")
    return [p for p in pods if not p.state["deleting"] and "kindstorm.dev/probe" not in p.labels]


@dataclass(frozen=True)
class One:
    """Any one ready pod whose name begins with ``prefix``, chosen by the run's seed."""

    prefix: str = ""

    def resolve(self, recorder: Recorder, rng: random.Random) -> Seen:
        """See Target."""
        pods = [p for p in victims(recorder) if p.name.startswith(self.prefix) and p.state["ready"]]
        if not pods:
            raise FaultError(f"no ready pod whose name begins with {self.prefix!r}; the fault has no target")
        return rng.choice(pods)


@dataclass(frozen=True)
class Named:
    """The pod of exactly this name."""

    name: str

    def resolve(self, recorder: Recorder, rng: random.Random) -> Seen:  # noqa: ARG002 - a name leaves nothing to chance
        """See Target."""
        pod = next((p for p in victims(recorder) if p.name == self.name), None)
        if pod is None:
            raise FaultError(f"there is no pod {self.name}; the fault has no target")
        return pod


@dataclass(frozen=True)
class NodeOf:
    """The node that a pod runs on."""

    pod: Target

    def resolve_node(self, recorder: Recorder, rng: random.Random) -> Seen:
        """See NodeTarget."""
        found = self.pod.resolve(recorder, rng)
        if not found.state["node"]:
            raise FaultError(f"the pod {found.name} runs on no node yet; the fault has no target")
        return _worker(recorder, str(found.state["node"]))


@dataclass(frozen=True)
class NodeRunning:
    """Any one worker that runs at least so many ready pods whose names begin with ``prefix``, chosen by the seed."""

    prefix: str
    at_least: int

    def resolve_node(self, recorder: Recorder, rng: random.Random) -> Seen:
        """See NodeTarget."""
        pods = [p for p in victims(recorder) if p.name.startswith(self.prefix) and p.state["ready"]]
        counted = Counter(str(p.state["node"]) for p in pods)
        nodes = sorted(name for name, count in counted.items() if count >= self.at_least)
        if not nodes:
            what = f"{self.at_least} ready pods whose names begin with {self.prefix!r}"
            raise FaultError(f"no node runs {what}; the fault has no target")
        return _worker(recorder, rng.choice(nodes))


@dataclass(frozen=True)
class NamedNode:
    """The node of exactly this name."""

    name: str

    def resolve_node(self, recorder: Recorder, rng: random.Random) -> Seen:  # noqa: ARG002 - as in Named
        """See NodeTarget."""
        return _worker(recorder, self.name)


def _worker(recorder: Recorder, name: str) -> Seen:
    """A node that may be hit: its loss must be the stack's trouble, not the cluster's or the clients'."""
    found = recorder.get("Node", name)
    if found is None:
        raise FaultError(f"there is no node {name}; the fault has no target")
    if CONTROL_PLANE in found.labels:
        raise FaultError(f"the node {name} is a control plane; a fault may hit workers only")
    if ENTRY in found.labels:
        raise FaultError(f"the node {name} is the entry worker, through which all clients come; it is never a target")
    return found


def one(prefix: str = "") -> One:
    """One ready pod (whose name begins with ``prefix``), chosen by the seed."""
    return One(prefix)


def pod(name: str) -> Named:
    """The pod of this name, such as web-1."""
    return Named(name)


def ordinal(statefulset: str, number: int) -> Named:
    """A StatefulSet's pod by its ordinal."""
    return Named(f"{statefulset}-{number}")


def node(name: str) -> NamedNode:
    """The worker of this name."""
    return NamedNode(name)


def node_of(target: str | Target) -> NodeOf:
    """The worker that a pod runs on when the fault is injected; a pod's name, or any pod target."""
    return NodeOf(Named(target) if isinstance(target, str) else target)


def node_running(prefix: str, at_least: int = 1) -> NodeRunning:
    """A worker that runs at least so many ready pods whose names begin with ``prefix``, chosen by the seed."""
    return NodeRunning(prefix, at_least)
