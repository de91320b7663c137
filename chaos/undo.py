"""Undoes what the journal still holds. Each verb may be carried out twice: the second time changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from chaos import journal
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


_VERBS: dict[str, Callable[..., str]] = {"scale": _scale, "uncordon": _uncordon}


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
