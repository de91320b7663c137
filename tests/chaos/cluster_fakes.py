"""Stand-ins for a cluster: its objects, the picture a recorder gives of them, and an API that notes what is asked."""

from __future__ import annotations

import itertools
import queue
import random
from collections.abc import Callable, Iterator
from typing import Any

from chaos.errors import WaitTimeout
from chaos.history import Json
from chaos.kube import Change, Seen
from chaos.nemesis import Scene
from chaos.recorder import GLOBAL, NAMESPACED

NAMESPACE = "run-1"


def pod_json(name: str, uid: str = "", version: str = "1", **meta: Json) -> dict[str, Any]:
    """A pod as the API tells it, with nothing but its metadata."""
    metadata = {"name": name, "namespace": NAMESPACE, "uid": uid or f"{name}-a", "resourceVersion": version}
    return {"metadata": metadata | meta}


def seen(kind: str, name: str, uid: str = "", labels: dict[str, str] | None = None, **state: Json) -> Seen:
    """One object as a watch hands it out."""
    return Seen(kind, NAMESPACE, name, uid or f"{name}-a", "1", labels or {}, state)


def pod(name: str, uid: str = "", owner: str = "StatefulSet/web", labels: dict[str, str] | None = None, **state: Json):
    """A ready pod of a workload, unless ``state`` says otherwise."""
    kind, _, owner_name = owner.partition("/")
    whole: dict[str, Json] = {
        "phase": "Running",
        "ready": True,
        "ip": "10.0.0.1",
        "node": "worker",
        "owner": {"kind": kind, "name": owner_name, "uid": "owner"},
        "deleting": False,
        "containers": [{"name": "app", "state": "running", "restarts": 0, "id": f"containerd://{uid or name}"}],
    }
    return seen("Pod", name, uid, labels, **(whole | state))


def workload(kind: str, name: str, replicas: int, **state: Json) -> Seen:
    """A workload whose controller has caught up, unless ``state`` says otherwise."""
    whole = {
        "replicas": replicas,
        "ready_replicas": replicas,
        "updated_replicas": replicas,
        "generation": 1,
        "observed_generation": 1,
    }
    return seen(kind, name, **(whole | state))


def node(name: str, labels: dict[str, str] | None = None, **state: Json) -> Seen:
    """A ready worker, unless ``state`` or its labels say otherwise."""
    whole: dict[str, Json] = {"ready": True, "unschedulable": False, "taints": []}
    return seen("Node", name, labels=labels, **(whole | state))


class Picture:
    """Stands in for the recorder: a wait that finds nothing takes the next step, and times out when none is left."""

    def __init__(self, *objects: Seen, steps: list[Callable[[Picture], None]] | None = None) -> None:
        self.all = list(objects)
        self.steps = steps or []

    def objects(self, kind: str) -> list[Seen]:
        """See Recorder."""
        return sorted((o for o in self.all if o.kind == kind), key=lambda o: o.name)

    def get(self, kind: str, name: str) -> Seen | None:
        """See Recorder."""
        return next((o for o in self.objects(kind) if o.name == name), None)

    def check(self) -> None:
        """See Recorder."""

    def wait(self, look: Callable[[Any], Any], timeout_s: float, what: str) -> Any:
        """See Recorder."""
        while not (found := look(self)):
            if not self.steps:
                raise WaitTimeout(f"{what}: not within {timeout_s:g} s; last seen: as it was")
            self.steps.pop(0)(self)
        return found


class ScriptedWatch:
    """A watch that yields what it is fed, raises the errors it is fed, and ends when it is closed."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.closed = False
        self.told_ns = self.told = 0
        self.there: dict[str, Seen] = {}
        self._queue: queue.Queue[Change | BaseException | None] = queue.Queue()

    def feed(self, *changes: Change | BaseException) -> None:
        """Give the iteration something more."""
        for change in changes:
            if isinstance(change, Change) and change.seen is not None:
                self.there.pop(change.seen.uid, None)
                if change.verb != "deleted":
                    self.there[change.seen.uid] = change.seen
            self._queue.put(change)

    def close(self) -> None:
        """See Watch."""
        self.closed = True
        self._queue.put(None)

    def __iter__(self) -> Iterator[Change]:
        """See Watch."""
        while (change := self._queue.get()) is not None:
            if isinstance(change, BaseException):
                raise change
            yield change


class FakeKube:
    """An API that notes every call that changes something; ``wanted`` holds replicas by kind and name."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.wanted: dict[tuple[str, str], int] = {}
        self.gone: set[str] = set()
        self.watches: dict[str, ScriptedWatch] = {}
        self.mute: set[str] = set()
        self.untold: list[Seen] = []
        self.without_namespace: set[str] = set()
        self.before_change: Callable[[str], None] = lambda _: None
        self.revisions = itertools.count(1000)

    def revision(self) -> int:
        """Another one each time."""
        return next(self.revisions)

    def watch(self, kind: str, namespace: str | None = None) -> ScriptedWatch:
        """A scripted watch that has listed nothing; of a kind in ``mute`` it never says so."""
        assert (namespace is None) == (kind in GLOBAL)
        assert kind in (*NAMESPACED, *GLOBAL)
        self.watches[kind] = ScriptedWatch(kind)
        if kind not in self.mute:
            self.watches[kind].feed(Change("synced", 1))
        return self.watches[kind]

    def list(self, kind: str, namespace: str | None = None) -> list[Seen]:
        """What its watch was fed of a kind, and what is in ``untold``, which no watch tells."""
        assert (namespace is None) == (kind in GLOBAL)
        return [*self.watches[kind].there.values(), *(seen for seen in self.untold if seen.kind == kind)]

    def is_namespaced(self, kind: str, _api_version: str) -> bool:
        """See Kube."""
        return kind not in self.without_namespace

    def replicas(self, kind: str, name: str, namespace: str) -> int | None:
        """See Kube."""
        assert namespace == NAMESPACE
        return self.wanted.get((kind, name))

    def scale(self, kind: str, name: str, namespace: str, replicas: int) -> None:
        """See Kube."""
        self.before_change("scale")
        self.calls.append(("scale", kind, name, namespace, replicas))
        self.wanted[kind, name] = replicas

    def patch(self, kind: str, name: str, body: dict[str, Any], namespace: str | None = None) -> None:
        """See Kube."""
        self.before_change("patch")
        self.calls.append(("patch", kind, name, namespace, body))

    def delete(
        self, kind: str, name: str, namespace: str | None = None, *, uid: str | None = None, force: bool = False
    ) -> bool:
        """See Kube."""
        self.before_change("delete")
        self.calls.append(("force" if force else "delete", kind, name, namespace, uid))
        return name not in self.gone


def scene(kube: Any = None, picture: Picture | None = None, require_mark: Callable[[], None] = lambda: None) -> Scene:
    """A scene of these parts."""
    recorder: Any = picture or Picture()
    return Scene("kindstorm-test", kube or FakeKube(), NAMESPACE, recorder, random.Random(7), require_mark)  # noqa: S311
