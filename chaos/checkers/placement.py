"""Replicas are where their author promised: so many on a node, spread evenly, on these nodes, on every node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from chaos.checkers.daemon_set import DaemonSetPlacement
from chaos.checkers.evidence import (
    NS_PER_S,
    blind_spots,
    fault_doubt,
    fault_text,
    load_window,
    lost_records,
    moment,
    stack_end,
)
from chaos.checkers.seats import Breach, Seats, Where, placed_records, unlabelled
from chaos.checkers.spans import Span, length_s, merged, outside, spans_told
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json

SETTLE_S = 30.0
"""How long after a fault its consequences may go on: evictions, new pods, their scheduling."""
UNEVEN_S = 1.0
"""An imbalance must last longer: of pods and nodes two watches tell, one of them a moment before the other."""


@dataclass(frozen=True)
class Placement:
    """Where the replicas of one workload are; see :func:`placement`."""

    workload: str
    where: Where
    spread: int | None
    per_node_max: int | None
    settle_s: float | None

    @property
    def name(self) -> str:
        """The guarantee's name and whose it is."""
        return f"placement({self.workload})"

    def check(self, history: History) -> Verdict:
        """INVALID where the replicas were elsewhere and no fault was on, UNKNOWN where they could not have been."""
        pods, nodes = placed_records(history, self.workload)
        seats = Seats(self.workload, self.where, self.spread, self.per_node_max)
        end = stack_end(history)
        seats.follow(pods, nodes, end)
        excused = self._excused(history)
        sources = {record.source for record in chain(pods, nodes)}
        unseen = spans_told((*history.of("gap"), *history.of("resumed")), sources)
        lost = lost_records(history, "object") + unlabelled(self.where, nodes)
        findings, doubted, tolerated = [], [], []
        for breach in seats.breaches:
            judged = outside(breach.span, [] if breach.kind == "on" else excused)
            certain = [span for part in judged for span in outside(part, unseen)]
            least_s = UNEVEN_S if breach.kind == "spread" else 0.0
            if length_s(certain) > least_s and not lost:
                findings.append(_told(history, breach, certain))
            elif length_s(judged) > least_s:
                doubted.append(_told(history, breach, judged))
            elif length_s([breach.span]) > least_s:
                tolerated.append(_told(history, breach, [breach.span]))
        free_s = length_s(outside((seats.first_ns or end, end), merged([*excused, *unseen])))
        most = seats.most(end, excused)
        evidence: dict[str, Json] = {
            **seats.evidence(),
            "judged_s": free_s,
            "tolerated": tolerated[:20],
            "tolerated_while": [fault_text(fault) for fault in history.faults()] if excused else [],
        }
        if findings:
            return Verdict(self.name, Outcome.INVALID, "; ".join(findings[:3]), evidence, tuple(findings[:100]))
        doubts = [f"it is not certain that {text}" for text in doubted[:3]]
        doubts += lost + blind_spots(history, sources, 0, end)
        doubts += seats.too_little(most)
        doubts += [text for fault in history.faults() if (text := fault_doubt(fault, load_window(history)))]
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence, tuple(doubted[:100]))
        except_for = f", not counting {tolerated[0]}" if tolerated else ""
        return Verdict(self.name, Outcome.VALID, f"{seats.summary(most)} for {free_s:.1f} s{except_for}", evidence)

    def _excused(self, history: History) -> list[Span]:
        """When a fault was on, or had been so lately."""
        if self.settle_s is None:
            return []
        lag_ns = self.settle_s * NS_PER_S
        return merged((f.records[0].time_ns, f.records[-1].time_ns + lag_ns) for f in history.faults())


def placement(
    workload: str | None = None,
    *,
    spread: int | None = None,
    per_node_max: int | None = None,
    on: str | Mapping[str, str] | None = None,
    topology: str | None = None,
    settle_s: float | None = SETTLE_S,
    daemon_set: str | None = None,
    within_s: float = 60.0,
) -> Placement | DaemonSetPlacement:
    """Replicas are where was promised, at every moment from the first pod to the removal.

    Pods on their way out do not count, nor those that are on no node. While a fault is on and for ``settle_s`` after it
    ``spread`` and ``per_node_max`` may be broken, and the verdict says for how long; ``on`` never. UNKNOWN where the
    promise could not have been broken: too few replicas or nodes, none that is forbidden, or a fault all the time.

    Args:
        workload: ``Kind/name``, or a Deployment's name alone.
        spread: how many replicas more one node may have than another one that could take them (maxSkew).
        per_node_max: how many replicas one node may have (1: anti-affinity).
        on: the nodes they must be on: their names, with shell wildcards, or labels {key: value}. Without it those count
            as able to take them that are ready, not cordoned, and without a taint that keeps pods away.
        topology: the node label whose values are spread over, such as topology.kubernetes.io/zone; else single nodes.
        settle_s: None where a fault excuses nothing.
        daemon_set: instead of a workload, a DaemonSet: of it a ready pod must be on each ready node of ``on``,
            without it on each that has no taint but those that Kubernetes sets itself.
        within_s: so soon after the node became ready, or lost its pod, also a node that comes back.

    ValueError without exactly one of workload and daemon_set, or with nothing promised.
    """
    if (workload is None) == (daemon_set is None):
        raise ValueError("placement needs a workload, or a daemon_set, and not both")
    where = Where(on if on is None or isinstance(on, str) else dict(on), topology)
    if daemon_set is not None:
        if spread is not None or per_node_max is not None or topology is not None or within_s <= 0:
            raise ValueError("of a daemon_set only on and a positive within_s can be promised")
        return DaemonSetPlacement(daemon_set.removeprefix("DaemonSet/"), where, within_s)
    if spread is None and per_node_max is None and on is None:
        raise ValueError("placement needs a promise: spread, per_node_max or on")
    if any(number is not None and number < 1 for number in (spread, per_node_max)) or (settle_s or 0) < 0:
        raise ValueError("spread and per_node_max are 1 or more, settle_s is not negative")
    name = str(workload)
    return Placement(name if "/" in name else f"Deployment/{name}", where, spread, per_node_max, settle_s)


def _told(history: History, breach: Breach, spans: list[Span]) -> str:
    begin = int(spans[0][0])
    return f"{breach.text} for {length_s(spans):.1f} s, from {moment(history, begin)} on"
