"""Made-up clusters of which the truth is known: what was published when, and what a recorder told of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from histories import NAMESPACE, Story, ns
from hypothesis import strategies as st

from chaos.history import History, Json

WATCH_MS_MAX = 700
READ_MS_MAX = 300
EVERY_MS_MAX = 400


@dataclass(frozen=True)
class Published:
    """A change as it truly was: when (ms), its revision, what a watch says of it, and when the watch says it."""

    true_ms: int
    version: int
    told_ms: int
    data: dict[str, Json]


@dataclass
class World:
    """Changes in the order of their revisions, and reads (sent, answered, found) in ms."""

    changes: list[Published] = field(default_factory=list)
    reads: list[tuple[int, int, int]] = field(default_factory=list)

    def tell(self, story: Story) -> History:
        """The history of it, on top of a story that has its phases, facts and faults."""
        for change in self.changes:
            source = f"api:{change.data['object']}"
            story.tell(change.told_ms / 1000, source, "object", version=change.version, **change.data)
        for sent, answered, revision in self.reads:
            times = {"send_ns": ns(sent / 1000), "receive_ns": ns(answered / 1000)}
            story.tell(answered / 1000, "api:revision", "revision", revision=revision, **times)
        return story.history()


def pod(name: str, uid: str, ready: bool, verb: str = "modified") -> dict[str, Json]:
    """What a watch says of a pod of StatefulSet web."""
    state = {"ready": ready, "deleting": False, "owner": {"kind": "StatefulSet", "name": "web", "uid": "u"}}
    return {"verb": verb, "object": "Pod", "namespace": NAMESPACE, "name": name, "uid": uid, "state": state}


def endpoints(uids: list[str]) -> dict[str, Json]:
    """What a watch says of the endpoints of service web."""
    state = {"service": "web", "endpoints": [{"pod_uid": uid, "ready": True} for uid in uids]}
    told = {"verb": "modified", "object": "EndpointSlice", "namespace": NAMESPACE, "name": "web-x", "uid": "s"}
    return told | {"state": state}


@st.composite
def worlds(draw: st.DrawFn, steps: Callable[[st.DrawFn], list[tuple[int, dict[str, Json]]]], end_ms: int) -> World:
    """A world of these (true ms, what is said); each watch keeps its order and is late as it likes, so are reads."""
    chance = random.Random(draw(st.integers(0, 1 << 32)))  # noqa: S311 - what is drawn one by one takes minutes
    world, heard, version = World(), dict[str, int](), 100
    for true_ms, data in steps(draw):
        version += chance.randint(1, 3)
        delay = chance.choice((chance.randint(0, 20), chance.randint(0, WATCH_MS_MAX)))
        told_ms = max(true_ms + delay, heard.get(data["object"], 0))
        heard[data["object"]] = told_ms
        world.changes.append(Published(true_ms, version, told_ms, data))
    at = chance.randint(0, EVERY_MS_MAX)
    while at < end_ms:
        took = chance.choice((3, chance.randint(0, READ_MS_MAX)))
        moment = chance.randint(at, at + took)
        found = max((c.version for c in world.changes if c.true_ms <= moment), default=100)
        world.reads.append((at, at + took, found))
        at += took + chance.choice((20, chance.randint(0, EVERY_MS_MAX)))
    return world
