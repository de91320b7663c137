"""Undoes what the journal still holds. Each verb may be carried out twice: the second time changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from chaos import journal
from chaos.cluster import OUTAGES, resume_node
from chaos.errors import FaultError
from chaos.journal import Entry
from chaos.kube import Kube


def _scale(kube: Kube, kind: str, name: str, namespace: str, replicas: int) -> str:
    if kube.replicas(kind, name, namespace) is None:
        return f"{kind} {name} is gone"
    kube.scale(kind, name, namespace, replicas)
    return f"{kind} {name} wants {replicas} replicas again"


def _uncordon(kube: Kube, node: str) -> str:
    return f"pods may go to node {node} again" if kube.uncordon(node) else f"node {node} is gone"


def _remove_namespace(kube: Kube, name: str) -> str:
    return f"namespace {name} is removed" if kube.delete("Namespace", name) else f"namespace {name} is gone"


def _resume(verb: str) -> Callable[..., str]:
    def resumed(kube: Kube, cluster: str, node: str) -> str:
        resume_node(kube, cluster, node, verb)
        return f"node {node} is ready again"

    return resumed


_VERBS: dict[str, Callable[..., str]] = {
    "remove_namespace": _remove_namespace,
    "scale": _scale,
    "uncordon": _uncordon,
    **{verb: _resume(verb) for verb in OUTAGES.values()},
}


def undo(kube: Kube, entry: Entry) -> str:
    """Undo one entry, take it off the journal and say what was done; raises FaultError for an unknown verb."""
    verb = _VERBS.get(entry.verb)
    if verb is None:
        raise FaultError(
            f"nobody knows how to undo {entry.verb!r} ({entry.path}); a newer kindstorm may have written it"
        )
    said = verb(kube, **entry.arguments)
    journal.done(entry)
    return said
