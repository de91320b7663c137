"""Targets: what a fault hits, said as a spec and resolved only when the fault is injected."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from chaos.errors import FaultError
from chaos.kube import Seen
from chaos.recorder import Recorder


class Target(Protocol):
    """Resolves to one pod, with the run's own random numbers."""

    def resolve(self, recorder: Recorder, rng: random.Random) -> Seen:
        """The pod this means now; raises FaultError where there is none."""


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


def one(prefix: str = "") -> One:
    """One ready pod (whose name begins with ``prefix``), chosen by the seed."""
    return One(prefix)


def pod(name: str) -> Named:
    """The pod of this name, such as web-1."""
    return Named(name)


def ordinal(statefulset: str, number: int) -> Named:
    """A StatefulSet's pod by its ordinal."""
    return Named(f"{statefulset}-{number}")
