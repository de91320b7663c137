"""What each checker holds a stack to, in words: a verdict is read by people who did not write its scenario."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.history import Json
from chaos.report.evidence import cell, words

PROMISES = {
    "availability": "Clients are answered throughout: few errors, and no long stretch without an answer.",
    "at_most_one": "No two containers of one identity ever run at the same time.",
    "consistency": "Reads of a key never go back in time, and a client sees its own writes.",
    "disruption_budget": "No eviction leaves fewer ready pods than the disruption budgets demand.",
    "dns": "Each name leads to the ready pods behind it and to no dead address, soon after every change.",
    "durability": "Every write that was acknowledged is read back, once; none that failed turns up.",
    "identity": "A replaced pod keeps its name, its DNS name and its volume; its UID is new; the others are untouched.",
    "load_balance": "Requests are spread over the ready pods, and none goes to one that is not ready.",
    "no_request_lost": "Every request is answered, in time and without an error.",
    "ordering": "Pods are made, updated and removed in the order that their controller promises.",
    "placement": "Pods stand on the nodes that their constraints allow, and on each where one is due.",
    "quiescence": "Afterwards the cluster is as it was: every fault is healed, nothing runs on, no packet got out.",
    "recovery": "After each fault the stack is whole again in time.",
    "rescheduling": "A pod leaves a drained node, or waits for it, as its volume allows.",
}
"""By the checker's name, without what it was given in parentheses."""

_BOUNDS = {"_max": "at most", "_min": "at least"}


def promise(checker: str, evidence: Mapping[str, Json]) -> str:
    """What a checker holds the stack to, with the bounds that its evidence names; empty for an unknown one."""
    sentence = PROMISES.get(checker.partition("(")[0].strip(), "")
    bounds = "; ".join(bound for key, value in evidence.items() if (bound := _bound(str(key), value)))
    return f"{sentence} {bounds[:1].upper()}{bounds[1:]}.".strip() if bounds else sentence


def _bound(key: str, value: Json) -> str:
    limit = next((words for suffix, words in _BOUNDS.items() if key.endswith(suffix)), None)
    if limit is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    name, unit = words(key[: -len("_max")])
    return f"{name.replace('dns', 'DNS')} {limit} {cell(value)} {unit}".strip()
