"""No two pods run at once under one identity: a StatefulSet's name, a workload of one, or a claim."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

from chaos.checkers.evidence import (
    NS_PER_MS,
    NS_PER_S,
    blind_spots,
    fault_doubts,
    load_window,
    lost_records,
    moment,
    no_window,
    stack_end,
)
from chaos.checkers.run_intervals import FOREVER, NODE, Intervals, Run, Told
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json, without_generated_suffix

ENGINE = "engine"


@dataclass(frozen=True)
class AtMostOne:
    """Runs of one identity never overlap; see :func:`at_most_one`."""

    names: str | None = None
    workload: str | None = None
    claim: str | None = None

    def __post_init__(self) -> None:
        if len([given for given in (self.names, self.workload, self.claim) if given]) != 1:
            raise ValueError("at_most_one needs one of: names of pods, a workload, a claim")

    @property
    def name(self) -> str:
        """The guarantee's name and whose it is."""
        by = {"workload": self.workload, "claim": self.claim}
        return f"at_most_one({self.names or next(f'{key}={value}' for key, value in by.items() if value)})"

    def check(self, history: History) -> Verdict:
        """INVALID where two certainly ran at once, UNKNOWN where they may have or where too little is known."""
        window = load_window(history)
        if window is None:
            return Verdict(self.name, Outcome.UNKNOWN, no_window(history))
        if self.workload is not None and (several := _replicas(history, self.workload)) > 1:
            why = f"{self.workload} is to have {several} replicas, so its pods are no one identity"
            return Verdict(self.name, Outcome.UNKNOWN, why)
        intervals = Intervals(history)
        runs = self._by_identity(intervals)
        certain, possible = [], []
        for identity, own in runs.items():
            certain += [_told(history, identity, *pair, sure=True) for pair in _pairs(own, sure=True)]
            possible += [_told(history, identity, *pair, sure=False) for pair in _pairs(own, sure=False)]
        error_ms = intervals.error_ns / NS_PER_MS
        evidence: dict[str, Json] = {
            "identities": {identity: [_row(run) for run in own] for identity, own in sorted(runs.items())},
            "clock_error_ms": round(error_ms, 3),
        }
        if certain:
            return Verdict(self.name, Outcome.INVALID, "; ".join(certain[:3]), evidence, tuple(certain))
        doubts = [*_source_doubts(history, intervals, window), *self._too_little(history, runs), *possible]
        doubts += [
            f"the API saw {told.name} ({uid}) run on {told.node}, and its witness told nothing of it"
            for uid, told in intervals.unwitnessed()
            if self._identity(told.name, told) is not None
        ]
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts[:5]), evidence, tuple(possible))
        return Verdict(self.name, Outcome.VALID, f"{_summary(runs)} (clock error {error_ms:.2f} ms)", evidence)

    def _by_identity(self, intervals: Intervals) -> dict[str, list[Run]]:
        found: dict[str, list[Run]] = {}
        for run in intervals.runs():
            identity = self._identity(run.pod, intervals.pods.get(run.uid))
            if identity is not None:
                found.setdefault(identity, []).append(run)
        return found

    def _identity(self, pod: str, told: Told | None) -> str | None:
        """Whose runs a pod's are; None: none of those that are asked about."""
        if self.names is not None:
            return pod if fnmatchcase(pod, self.names) else None
        if self.workload is not None:
            return self.workload if without_generated_suffix(pod) == self.workload else None
        # of a pod that the API did not tell of, nobody knows the claims
        return self.claim if told is None or self.claim in told.claims else None

    def _too_little(self, history: History, runs: dict[str, list[Run]]) -> list[str]:
        """Why nothing could have overlapped, or nobody would have seen it."""
        doubts = fault_doubts(history)
        what = self.names or self.workload or f"a pod with the claim {self.claim}"
        if not any(run.start[1] < FOREVER for own in runs.values() for run in own):
            return [*doubts, f"no container of {what} was seen to run"]
        injected = [at for fault in history.faults() if (at := fault.at("inject")) is not None]
        if injected and not any(_is_second(own, min(injected)) for own in runs.values()):
            doubts.append(f"no second incarnation of {what} ran under a fault, so there was nothing to overlap")
        return doubts


def at_most_one(names: str | None = None, *, workload: str | None = None, claim: str | None = None) -> AtMostOne:
    """Two pods of one identity never run at once, as the nodes themselves tell it, whatever the API server says.

    A pod runs from the start of its first app container to the exit of its last; a frozen one runs; what a node ran
    ends when the node dies. Where the clocks' error, or a gap in what a node told, leaves it open it is UNKNOWN, as it
    is where no second incarnation ran under a fault. ValueError unless one of these is given:

    Args:
        names: pattern of names that are identities, such as ``web-*`` of a StatefulSet.
        workload: a Deployment of one replica: all its pods are one identity.
        claim: a PersistentVolumeClaim: all pods with it are one identity.
    """
    return AtMostOne(names, workload, claim)


def _replicas(history: History, workload: str) -> int:
    """How many replicas the stack asks for under this name; 1 where it does not say."""
    workloads = (history.fact("stack") or {}).get("workloads") or ()
    return max((int(w.get("replicas") or 1) for w in workloads if w["name"] == workload), default=1)


def _pairs(runs: list[Run], *, sure: bool) -> list[tuple[Run, Run]]:
    """Runs that certainly overlap one before them (or, not ``sure``: may), each with the one that lasts longest.

    In the order of their starts, so that each need be compared with one only. What is sure is left out of what may be.
    """
    which = 1 if sure else 0
    ordered = sorted(runs, key=lambda run: run.start[which])
    found: list[tuple[Run, Run]] = []
    longest: Run | None = None
    for run in ordered:
        if longest is not None:
            least, most = longest.overlap(run)
            if least > 0 if sure else least <= 0 < most:
                found.append((longest, run))
        if longest is None or run.end[1 - which] > longest.end[1 - which]:
            longest = run
    return found


def _is_second(runs: list[Run], fault_ns: int) -> bool:
    """Whether one of these certainly began after the fault was injected, and after another one."""
    certain = sorted(run.start[1] for run in runs if run.start[1] < FOREVER)
    return len(certain) > 1 and certain[-1] > fault_ns


def _source_doubts(history: History, intervals: Intervals, window: tuple[int, int]) -> list[str]:
    """Which of those who should tell did not, or not of all the time."""
    nodes = {str(name) for name in (history.fact("cluster") or {}).get("nodes") or ()}
    nodes |= {told.node for told in intervals.pods.values() if told.node}
    doubts = [f"the witness of {node} told nothing" for node in sorted(nodes - intervals.closed.keys())]
    doubts += [
        f"the witness of {node} told nothing after {moment(history, at)}"
        for node, at in sorted(intervals.closed.items())
        if at < window[1]
    ]
    closed = {record.source for record in history.of("closing")}
    doubts += [] if ENGINE in closed else ["the engine's events are missing"]
    doubts += lost_records(history, "runtime") + lost_records(history, "engine") + lost_records(history, "object")
    doubts += blind_spots(history, {ENGINE}, 0, stack_end(history))
    doubts += [
        f"nobody can tell whose container began on {record.source.removeprefix(NODE)} {moment(history, record.time_ns)}"
        for record in intervals.unnamed
        if record["event"] != "exit"
    ]
    watched = history.sources_of("object")
    for node, begin, end in intervals.blind:
        if blind_spots(history, watched, begin, end):
            doubts.append(f"neither {node} nor the API tells of all that was there {moment(history, begin)}")
    return doubts


def _told(history: History, identity: str, one: Run, other: Run, *, sure: bool) -> str:
    """The overlap as a person would say it."""
    least, most = one.overlap(other)
    begin = max(one.start[1], other.start[1]) if sure else max(one.start[0], other.start[0])
    length = f"for {least / NS_PER_S:.2f} s" if sure else f"for up to {most / NS_PER_S:.2f} s"
    if most > FOREVER // 2:
        length = f"for {least / NS_PER_S:.2f} s at least" if sure else "from then on"
    ran = "ran twice at once" if sure else "may have run twice at once"
    both = " and ".join(f"{run.pod} ({run.uid}) on {run.node}" for run in (one, other))
    frozen = _frozen(history, begin, begin + most, one, other)
    return f"{identity} {ran} {length}, {moment(history, begin)}: {both}{frozen}"


def _frozen(history: History, begin: int, end: int, *runs: Run) -> str:
    """Which of the nodes stood still meanwhile."""
    paused: dict[str, list[tuple[int, str]]] = {}
    for record in history.of("engine"):
        if record["event"] in ("pause", "unpause"):
            paused.setdefault(str(record["node"]), []).append((record.time_ns, str(record["event"])))
    found = []
    for node in sorted({run.node for run in runs}):
        switches = [*paused.get(node, []), (FOREVER, "unpause")]
        spans = [(at, switches[i + 1][0]) for i, (at, event) in enumerate(switches) if event == "pause"]
        if any(at < end and until > begin for at, until in spans):
            found.append(f"{node} was paused, and what is frozen still runs")
    return f" ({'; '.join(found)})" if found else ""


def _summary(runs: dict[str, list[Run]]) -> str:
    """Who came after whom, and how long between them at least."""
    gaps = []
    for identity, own in runs.items():
        ordered = sorted(own, key=lambda run: run.start[0])
        gaps += [(late.start[0] - early.end[1], identity) for early, late in pairwise(ordered)]
    shortest, identity = min(gaps)
    several = f"{len(gaps)} times one incarnation came after another" if len(gaps) > 1 else "one came after the other"
    return f"{several}, {shortest / NS_PER_S:.2f} s apart at least ({identity}), and no two ran at once"


def _row(run: Run) -> dict[str, Json]:
    """The row of the evidence's table; None: not known."""

    def known(at: int) -> int | None:
        return at if abs(at) < FOREVER else None

    bounds = {
        "started_after_ns": run.start[0],
        "started_before_ns": run.start[1],
        "ended_after_ns": run.end[0],
        "ended_before_ns": run.end[1],
    }
    return {"uid": run.uid, "pod": run.pod, "node": run.node} | {key: known(at) for key, at in bounds.items()}
