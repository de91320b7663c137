"""Names mean who is ready: each name's answers follow the ready pods within a bound, and name nobody who is gone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from chaos.checkers.answers import Asked, Name, names_asked
from chaos.checkers.corefile import cached_s
from chaos.checkers.evidence import (
    NS_PER_S,
    blind_spots,
    fault_doubts,
    load_window,
    lost_records,
    moment,
    no_window,
    stack_end,
)
from chaos.checkers.ready_sets import Life, certain_throughout, lives
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json

PROPAGATION_S = 5.0
"""How long a change of a pod may take to get to the DNS by EndpointSlices: the controller that writes them, and the
watch of the server that reads them. Kubernetes promises no figure. On two cores with a load of 20 to 40 the first right
answer came 0.1 to 2.3 s after a change was published, in 24 changes; this is twice that."""

FINDINGS_MAX = 20


@dataclass(frozen=True)
class Dns:
    """Every name that was asked follows the ready pods; see :func:`dns`."""

    settle_s_max: float | None

    def __post_init__(self) -> None:
        if self.settle_s_max is not None and self.settle_s_max <= 0:
            raise ValueError(f"settle_s_max must be above 0, no answer comes at once: {self.settle_s_max}")

    @property
    def name(self) -> str:
        """The guarantee's name."""
        return "dns"

    def check(self, history: History) -> Verdict:
        """INVALID where a name gave a wrong answer after the bound, UNKNOWN where too little was asked or seen."""
        window = load_window(history)
        if window is None:
            return Verdict(self.name, Outcome.UNKNOWN, no_window(history))
        settle_s, cache_s = self._bound(history)
        settle_ns = round(settle_s * NS_PER_S)
        end = stack_end(history)
        pods = lives(history, "Pod")
        names, unjudged = names_asked(history, pods, end)
        cases = [_Case(history, name, settle_ns, pods) for name in names]
        findings = [text for case in cases for text in case.judge()]
        evidence: dict[str, Json] = {
            "settle_s_max": settle_s,
            "cached_s": cache_s,
            "names": {case.name.target: case.row for case in cases},
            "not_judged": unjudged,
        }
        blind = self._blind(history, end)
        if findings and not blind:
            said = tuple(findings[:FINDINGS_MAX])
            return Verdict(self.name, Outcome.INVALID, "; ".join(findings[:3]), evidence, said)
        doubts = blind + [text for case in cases for text in case.doubts(window, end)]
        doubts += [] if cases else ["no name was asked whose answers are known: no stable name and no Service"]
        doubts += fault_doubts(history)
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts[:5]), evidence, tuple(findings[:FINDINGS_MAX]))
        readings = sum(case.answered for case in cases)
        changes = sum(case.changes for case in cases)
        summary = (
            f"{len(cases)} names gave the right addresses in {readings} answers, and followed {changes} changes of "
            f"their pods within {settle_s:g} s"
        )
        return Verdict(self.name, Outcome.VALID, summary, evidence)

    def _bound(self, history: History) -> tuple[float, int]:
        """(the bound, what of it the cache of the live DNS may take), both in seconds."""
        cache_s = cached_s(str((history.fact("cluster") or {}).get("corefile") or ""))
        return (cache_s + PROPAGATION_S if self.settle_s_max is None else self.settle_s_max), cache_s

    @staticmethod
    def _blind(history: History, end: int) -> list[str]:
        """Why what is known of pods and services is not all there was."""
        sources = {r.source for r in history.of("object") if r["object"] in ("Pod", "Service")}
        probing = {r.source for r in history.probes("dns")}
        lost = lost_records(history, "object", sources) + lost_records(history, "probe", probing)
        return lost + blind_spots(history, sources, history.begin_ns, end, late=False)


def dns(settle_s_max: float | None = None) -> Dns:
    """Within a bound after any change, each name gives the addresses of the pods that are ready, and no others.

    A stable name (``web-1.web``) means its pod, whatever a Service selects; a headless Service means all ready pods
    that it selects, and where it publishes addresses that are not ready, others of its pods are tolerated too; any
    other Service means its own address. A name that is not there is an answer: nobody. No answer at all for longer than
    the bound is a finding where the question was asked, and a doubt where it could not be.

    Args:
        settle_s_max: seconds after a change until which other answers are allowed; None: what the live DNS may keep in
            its cache, and 5 s for the change to get there.
    """
    return Dns(settle_s_max)


class _Case:
    """One name before the judge."""

    def __init__(self, history: History, name: Name, settle_ns: int, pods: list[Life]) -> None:
        self.history = history
        self.name = name
        self.settle_ns = settle_ns
        self.pods = pods
        self.answered = sum(reading.addresses is not None for reading in name.readings)
        self.changes = 0
        self.row: dict[str, Json] = {}

    def judge(self) -> list[str]:
        """What was wrong, a sentence for each address, and for the longest silence."""
        answered = [reading for reading in self.name.readings if reading.addresses is not None]
        wrong: dict[tuple[str, str], list[Asked]] = {}
        windows = [(reading.send_ns - self.settle_ns, reading.receive_ns) for reading in answered]
        sure = certain_throughout(self.name.members.certain, windows)
        for reading, (window, expected) in zip(answered, sure, strict=True):
            addresses = reading.addresses or frozenset()
            for address in addresses:
                if not self.name.members.may_hold(address, *window):
                    wrong.setdefault(("gave", address), []).append(reading)
            for address in expected - addresses:
                wrong.setdefault(("lacked", address), []).append(reading)
        silent = self._silences(asked=True)
        self._fill_row(wrong)
        return [self._sentence(*key, readings) for key, readings in sorted(wrong.items())] + silent

    def doubts(self, window: tuple[int, int], end: int) -> list[str]:
        """What was not asked, or not answered, so that nobody knows."""
        answered = [reading for reading in self.name.readings if reading.addresses is not None]
        faults = [at for fault in self.history.faults() if (at := fault.at("effect")) is not None]
        first, last = min(faults, default=window[0]), max(faults, default=window[0])
        found = [] if self.name.members.certain else [f"{self.name.target} never had a pod or an address to mean"]
        if not any(reading.receive_ns < first for reading in answered):
            found.append(f"{self.name.target} was not answered before the fault")
        if not any(reading.send_ns > last for reading in answered):
            found.append(f"{self.name.target} was not answered after the fault")
        marks = [window[0], *(r.send_ns for r in self.name.readings if r.asked and r.send_ns >= window[0])]
        marks.append(min(window[1], end))
        gap, since = max((later - earlier, earlier) for earlier, later in pairwise(marks))
        if gap > self.settle_ns:
            found.append(
                f"{self.name.target} was not asked for {gap / NS_PER_S:.1f} s, from {moment(self.history, since)}"
            )
        return found + self._silences(asked=False) + self._unfollowed(answered, end)

    def _unfollowed(self, answered: list[Asked], end: int) -> list[str]:
        """The changes after which no right answer was seen although there was time for one."""
        found = []
        changes = self.name.changes(end)
        self.changes = len(changes)
        for upper, until, expected in changes:
            if until - upper <= self.settle_ns:
                continue
            inside = [r for r in answered if r.send_ns >= upper and r.receive_ns <= until]
            if not any(self._is_right(reading, expected) for reading in inside):
                who = ", ".join(sorted(expected)) or "nobody"
                found.append(f"no answer shows that {self.name.target} came to mean {who} {self._when(upper)}")
        return found

    def _is_right(self, reading: Asked, expected: frozenset[str]) -> bool:
        """Whether it names all of them and nobody who was certainly none of them when it was given."""
        given = reading.addresses or frozenset()
        meant = self.name.members
        return expected <= given and all(meant.may_hold(ip, reading.send_ns, reading.receive_ns) for ip in given)

    def _silences(self, *, asked: bool) -> list[str]:
        """The longest stretch of unanswered questions beyond the bound: all asked in vain, or some not even asked."""
        longest, since, count, lacking = 0, 0, 0, 0
        start: int | None = None
        run, unasked = 0, 0
        for reading in self.name.readings:
            if reading.addresses is not None or (asked and not reading.asked):
                start, run, unasked = None, 0, 0
                continue
            start, run = reading.send_ns if start is None else start, run + 1
            unasked += not reading.asked
            if reading.send_ns - start > longest and (asked or unasked):
                longest, since, count, lacking = reading.send_ns - start, start, run, unasked
        if longest <= self.settle_ns:
            return []
        how = "had no answer or could not be asked"
        if lacking in (0, count):
            how = "could not be asked, which is the probe's own failure," if lacking else "had no answer"
        return [f"{self.name.target} {how} for {longest / NS_PER_S:.1f} s ({count} readings), from {self._when(since)}"]

    def _sentence(self, verb: str, address: str, readings: list[Asked]) -> str:
        first, last = readings[0], readings[-1]
        lasted = f"to {self._when(last.receive_ns)}" if len(readings) > 1 else ""
        when = f"{self._when(first.receive_ns)} {lasted}".strip()
        bound = f"bound {self.settle_ns / NS_PER_S:g} s"
        whose = self.name.whose(address, first, self.pods)
        if verb == "gave":
            return f"{self.name.target} gave {address}, {whose}, in {len(readings)} answers, {when} ({bound})"
        given = ", ".join(sorted(first.addresses or ())) or first.rcode
        return (
            f"{self.name.target} gave {given} without {address}, {whose}, in {len(readings)} answers, {when} ({bound})"
        )

    def _fill_row(self, wrong: dict[tuple[str, str], list[Asked]]) -> None:
        readings = self.name.readings
        self.row = {
            "kind": self.name.kind,
            "answered": self.answered,
            "unanswered": sum(r.asked and r.addresses is None for r in readings),
            "not_asked": sum(not r.asked for r in readings),
            "wrong": {f"{verb} {address}": len(found) for (verb, address), found in wrong.items()},
        }

    def _when(self, time_ns: int) -> str:
        return moment(self.history, time_ns)
