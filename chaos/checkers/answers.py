"""What the cluster's DNS was asked, and who each name should have meant at the time."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.checkers.evidence import NS_PER_S, stack_namespace
from chaos.checkers.incarnations import DNS_ANSWERS
from chaos.checkers.ready_sets import (
    KeyOf,
    Life,
    Members,
    State,
    exists,
    lives,
    members,
    selects,
    serves,
    stretches,
)
from chaos.history import History, Json, Record

_NOT_ASKED = "the probe pod does not answer"
"""How older histories, which do not say whether a question was asked, begin the error of one that was not."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One reading; ``addresses`` None: no answer that says which the name has."""

    send_ns: int
    receive_ns: int
    addresses: frozenset[str] | None
    rcode: str
    asked: bool


@dataclass
class Name:
    """One name with its readings, by the time they were sent, and who it should have meant."""

    target: str
    kind: str
    readings: list[Asked]
    members: Members
    pods: list[Life]
    key: KeyOf

    def changes(self, end_ns: int) -> list[tuple[int, int, frozenset[str]]]:
        """(from when, until when, who it means) after each change of its pods that its readings can have seen."""
        if not self.readings or not self.pods:
            return []
        first = self.readings[0].send_ns
        found = stretches(self.pods, self.key, first, end_ns)
        return [(s.begin_ns, s.end_ns, frozenset(s.members)) for s in found if s.begin_ns > first]

    def whose(self, address: str, reading: Asked, pods: list[Life]) -> str:
        """Whose address this is or was, in words."""
        if not self.pods and self.members.may_hold(address, 0, reading.receive_ns):
            return "its own address"
        told = ""
        for pod in pods:
            steps = [step for step in pod.steps if step.lower_ns <= reading.receive_ns]
            if not any(step.state is not None and step.state.get("ip") == address for step in steps):
                continue
            last = steps[-1]
            who = f"the address of {pod.name} ({pod.uid})"
            if last.state is None:
                ago_s = max(0.0, (reading.send_ns - last.upper_ns) / NS_PER_S)
                told = f"{who}, which was gone {ago_s:.1f} s before"
            elif serves(pod.name, last.state):
                return f"{who}, which was ready"
            else:
                told = f"{who}, which was not ready"
        return told or "which no pod of the stack ever had"


def names_asked(history: History, pods: list[Life], end_ns: int) -> tuple[list[Name], dict[str, str]]:
    """Every name asked before ``end_ns``; and those of which nobody can say whom they should mean, with the reason."""
    readings: dict[str, list[Asked]] = {}
    for record in history.probes("dns"):
        if record["receive_ns"] < end_ns:
            readings.setdefault(str(record["target"]), []).append(_asked(record))
    services = {life.name: life for life in lives(history, "Service")}
    namespace = stack_namespace(history)
    found, unjudged = [], {}
    for target in sorted(readings):
        told = sorted(readings[target], key=lambda reading: reading.send_ns)
        name = _name(target, told, pods, services, namespace)
        if isinstance(name, str):
            unjudged[target] = name
        else:
            found.append(name)
    return found, unjudged


def _asked(record: Record) -> Asked:
    value, error = record.get("value") or {}, record.get("error")
    asked = record.get("asked")
    if asked is None:
        asked = not str(error or "").startswith(_NOT_ASKED)
    rcode = value.get("rcode")
    told = error is None and bool(value) and rcode in DNS_ANSWERS
    addresses = frozenset(map(str, value.get("answers") or ())) if told else None
    return Asked(int(record["send_ns"]), int(record["receive_ns"]), addresses, str(rcode), bool(asked))


def _name(
    target: str, readings: list[Asked], pods: list[Life], services: dict[str, Life], namespace: str | None
) -> Name | str:
    """What the name is and should mean; a sentence where nobody can tell."""
    labels = target.split(".")
    if namespace is not None and ".svc" in target and f".{namespace}.svc" not in target:
        return "it is a name of another namespace than the stack's"
    if len(labels) > 3 and labels[3] == "svc":
        pod, service = labels[0], services.get(labels[1])
        published = service is not None and _publishes(service)
        mine = [life for life in pods if life.name == pod]
        return Name(target, "stable name", readings, *_meaning(mine, None, published=published))
    service = services.get(labels[0])
    if service is None:
        return "no Service of this name was seen"
    states = [step.state for step in service.steps if step.state is not None]
    meant = {repr([state.get(key) for key in ("cluster_ip", "selector", "publish_not_ready")]) for state in states}
    if len(meant) != 1:
        return "the Service was changed meanwhile"
    state = states[0]
    if state.get("type") == "ExternalName":
        return "the Service stands for a name of somewhere else"
    if state.get("cluster_ip"):
        own = members([service], _own_address, _own_address)
        return Name(target, "Service", readings, own, [], _own_address)
    if not state.get("selector"):
        return "the Service selects no pods, its endpoints are somebody else's"
    return Name(target, "headless Service", readings, *_meaning(pods, state["selector"], published=_publishes(service)))


def _publishes(service: Life) -> bool:
    return any(bool(step.state and step.state.get("publish_not_ready")) for step in service.steps)


def _own_address(_name: str, state: State) -> str | None:
    return str(state["cluster_ip"]) if state.get("cluster_ip") else None


def _meaning(
    pods: list[Life], selector: dict[str, Json] | None, *, published: bool
) -> tuple[Members, list[Life], KeyOf]:
    """Who is meant of these pods: those who are ready, and who besides is tolerated where all are published."""

    def ready(name: str, state: State) -> str | None:
        chosen = selector is None or selects(selector, state.get("labels") or {})
        return str(state["ip"]) if chosen and serves(name, state) else None

    def there(name: str, state: State) -> str | None:
        chosen = selector is None or selects(selector, state.get("labels") or {})
        return str(state["ip"]) if chosen and exists(name, state) else None

    return members(pods, ready, there if published else ready), pods, ready
