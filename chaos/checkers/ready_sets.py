"""Who belonged to a set, and when: what certainly did, and what may have, as the watches' published changes allow.

A change is known to have been published between two times (:mod:`chaos.checkers.publication`). So of each membership
there are two spans: the one in which it certainly held, and the wider one in which it may have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.checkers.evidence import stack_namespace
from chaos.checkers.publication import published
from chaos.history import History, Json

FOR_EVER = 2**63 - 1

State = dict[str, Json]
KeyOf = Callable[[str, State], str | None]
"""The member that a pod of this name in this state is; None: it is none."""


@dataclass(frozen=True, slots=True)
class Span:
    """A member of a set from one time to another, both in ns and both included."""

    begin_ns: int
    end_ns: int
    member: str


@dataclass(frozen=True, slots=True)
class Step:
    """One published state of an object; None: it is gone."""

    lower_ns: int
    upper_ns: int
    state: State | None


@dataclass
class Life:
    """One UID of a watched kind."""

    uid: str
    name: str
    steps: list[Step] = field(default_factory=list)


def lives(history: History, kind: str) -> list[Life]:
    """Every object of a kind in the stack's namespace, in the order in which they came."""
    namespace = stack_namespace(history)
    found: dict[str, Life] = {}
    for change in published(history, (kind,)):
        record = change.record
        if namespace not in (None, record.get("namespace")):
            continue
        life = found.setdefault(str(record["uid"]), Life(str(record["uid"]), str(record["name"])))
        state = None if record["verb"] == "deleted" else record.get("state") or {}
        life.steps.append(Step(change.lower_ns, change.upper_ns, state))
    return list(found.values())


def serves(_name: str, state: State) -> bool:
    """Whether a Service counts a pod in this state among its ready endpoints, were it selected."""
    return bool(state.get("ready")) and not state.get("deleting") and bool(state.get("ip"))


def exists(_name: str, state: State) -> bool:
    """Whether a Service that publishes what is not ready may name a pod in this state, were it selected."""
    return bool(state.get("ip")) and state.get("phase") not in ("Succeeded", "Failed")


@dataclass
class Members:
    """The members of one set over time."""

    certain: list[Span]
    possible: dict[str, list[Span]]

    def may_hold(self, member: str, begin_ns: int, end_ns: int) -> bool:
        """Whether it may have been a member at any time between the two."""
        return any(span.begin_ns <= end_ns and begin_ns <= span.end_ns for span in self.possible.get(member, ()))


def members(pods: Iterable[Life], must: KeyOf, may: KeyOf) -> Members:
    """The set of what ``must`` says of the pods; ``may`` says what is tolerated in it besides."""
    pods = list(pods)
    certain = [span for pod in pods for span in _spans(pod, must, certain=True)]
    possible: dict[str, list[Span]] = {}
    for pod in pods:
        for span in _spans(pod, may, certain=False):
            possible.setdefault(span.member, []).append(span)
    return Members(sorted(certain, key=lambda span: span.begin_ns), possible)


def _spans(pod: Life, key_of: KeyOf, *, certain: bool) -> Iterator[Span]:
    """One span for each stretch of the same member; what is certain begins late and ends early."""
    since: Step | None = None
    member: str | None = None
    for step in pod.steps:
        now = None if step.state is None else key_of(pod.name, step.state)
        if now == member:
            continue
        if since is not None and member is not None:
            begin, end = (since.upper_ns, step.lower_ns) if certain else (since.lower_ns, step.upper_ns)
            if begin <= end:
                yield Span(begin, end, member)
        since, member = step, now
    if since is not None and member is not None:
        yield Span(since.upper_ns if certain else since.lower_ns, FOR_EVER, member)


def certain_throughout(
    certain: Collection[Span], windows: Iterable[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], set[str]]]:
    """Each window (begin, end) with those who were certainly members all the while. Linear: windows by their begin."""
    waiting = sorted(certain, key=lambda span: span.begin_ns, reverse=True)
    active: list[Span] = []
    for begin, end in windows:
        while waiting and waiting[-1].begin_ns <= begin:
            active.append(waiting.pop())
        active = [span for span in active if span.end_ns >= begin]
        yield (begin, end), {span.member for span in active if span.end_ns >= end}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which nothing joined or left a set: from the upper end of one change to the lower end of the next."""

    begin_ns: int
    end_ns: int
    members: tuple[str, ...]
    joined: tuple[tuple[str, int, int], ...]
    """Everyone who had joined by then and was not there at the stretch before: (member, lower, upper)."""
    left_ns: int
    """The upper end of the last time anyone left; 0 where nobody has."""


def stretches(pods: Iterable[Life], member_of: KeyOf, begin_ns: int, end_ns: int) -> list[Stretch]:
    """The stretches of constant membership that lie in a window, in order."""
    changes = sorted(_changes(pods, member_of), key=lambda change: (change[0], change[1]))
    count: dict[str, int] = {}
    found: list[Stretch] = []
    joined: list[tuple[str, int, int]] = []
    left, latest = 0, begin_ns
    for number, (lower, upper, member, step) in enumerate(changes):
        count[member] = count.get(member, 0) + step
        latest = max(latest, upper)
        if step > 0:
            joined.append((member, lower, upper))
        else:
            left = max(left, upper)
        until = min(changes[number + 1][0] if number + 1 < len(changes) else FOR_EVER, end_ns)
        if until > latest:
            there = tuple(sorted(name for name, times in count.items() if times > 0))
            found.append(Stretch(latest, until, there, tuple(joined), left))
            joined = []
    return found


def _changes(pods: Iterable[Life], member_of: KeyOf) -> Iterator[tuple[int, int, str, int]]:
    """(lower, upper, member, +1 or -1) of every joining and leaving."""
    for pod in pods:
        members_in_turn = [None if s.state is None else member_of(pod.name, s.state) for s in pod.steps]
        for (before, now), step in zip(pairwise([None, *members_in_turn]), pod.steps, strict=True):
            if before == now:
                continue
            if before is not None:
                yield step.lower_ns, step.upper_ns, before, -1
            if now is not None:
                yield step.lower_ns, step.upper_ns, now, 1


def selects(selector: Mapping[str, Json] | None, labels: Mapping[str, Json]) -> bool:
    """Whether a Service's selector, plain labels, takes a pod with these labels; one that is empty takes none."""
    return bool(selector) and all(labels.get(key) == value for key, value in (selector or {}).items())
