"""How long a recovery may take by the cluster's own settings, and not by a number that somebody guessed.

Each part is what one step may take at worst by a setting that the history holds: the fact ``cluster``.timings_s (the
controllers' and kubelets' live settings), and the pods' own termination grace, tolerations and readiness probes. Where
Kubernetes has no setting the figure is its own service level objective or the period of its own loop, named here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from chaos.checkers.recovery_stages import KILLS
from chaos.checkers.stack_watch import StackWatch
from chaos.history import FaultWindow, History, Json

START_S = 5.0
"""From a pod's creation to its containers reported as started, image and volume being there, in 99 of 100 cases:
Kubernetes' objective for pod startup latency (kubernetes/community, sig-scalability/slos/pod_startup_latency.md)."""
LOOP_S = 1.0
"""What one controller or kubelet takes to notice and to tell: the kubelet looks at its containers once a second
(PLEG's relist period), and controllers act on their watches at once."""


@dataclass(frozen=True)
class Budget:
    """What a recovery may take: its parts in seconds, from which edge of the fault, or what is lacking to tell."""

    edge: str
    parts_s: dict[str, float] = field(default_factory=dict)
    lacking: tuple[str, ...] = ()

    @property
    def total_s(self) -> float | None:
        """All parts, one after the other; None where one is lacking."""
        return None if self.lacking or not self.parts_s else round(sum(self.parts_s.values()), 3)

    def to_json(self) -> dict[str, Json]:
        """What the evidence shows of it."""
        return {"since": self.edge, **self.parts_s, "total": self.total_s}


def derive(history: History, watch: StackWatch, fault: FaultWindow, met: list[str], end_ns: int) -> Budget:
    """The budget for the stack to be whole again after a fault; ``met`` are the UIDs of the pods that it met.

    After a kill it runs from the injection. After a fault that holds the stack down until it is healed (a node that is
    out or closed, a workload that is scaled) it runs from the healing; a rolling update has nothing to heal and runs
    from the injection.
    """
    killed = fault.name in KILLS
    edge = "inject" if killed or fault.name == "rolling_update" else "heal"
    uids = met or _pods_of(watch, fault, end_ns)
    states = [state for uid in uids if (state := _last_state(watch, uid, end_ns))]
    if not states:
        return Budget(edge, lacking=("no pod that it met was seen",))
    lacking = ["the pods' grace and readiness settings"] if any("readiness" not in s for s in states) else []
    timings = (history.fact("cluster") or {}).get("timings_s") or {}
    parts: dict[str, float] = {}
    if fault.target.get("kind") == "Node":
        names = ("node_status_update", "node_monitor_period")
        lacking += [f"the cluster's {name}" for name in names if name not in timings]
        parts["node"] = sum(float(timings.get(name, 0)) for name in names) + LOOP_S
    if lacking:
        return Budget(edge, lacking=tuple(lacking))
    at_once, waits = _in_turn(history, watch, fault, uids, end_ns)
    forced = str(fault.detail("injected").get("grace", "")).startswith("none")
    if waits and not forced:
        parts["exit"] = max(float(state.get("grace_s") or 0) for state in states) * at_once + LOOP_S
    parts["start"] = START_S * at_once
    parts["ready"] = (max(map(_ready_s, states)) + LOOP_S) * at_once
    parts["endpoint"] = LOOP_S
    return Budget(edge, parts)


def _pods_of(watch: StackWatch, fault: FaultWindow, end_ns: int) -> list[str]:
    """All pods of the workload that a fault is about."""
    workload = f"{fault.target.get('kind')}/{fault.target.get('name')}"
    return [uid for uid, of in watch.workload_of.items() if of == workload and _last_state(watch, uid, end_ns)]


def _in_turn(history: History, watch: StackWatch, fault: FaultWindow, uids: list[str], end_ns: int) -> tuple[int, bool]:
    """How many pods come back one after the other at most, and whether a new one waits for the old one's end.

    A StatefulSet replaces a pod only once it is gone; unless its pods are managed in parallel, one after the other.
    A ReplicaSet replaces all of them at once while they end; a rolling update of either goes in steps.
    """
    workloads = {watch.workload_of[uid] for uid in uids if uid in watch.workload_of}
    stateful = {workload for workload in workloads if workload.startswith("StatefulSet/")}
    parallel = {
        f"StatefulSet/{record['name']}"
        for record in history.objects("StatefulSet")
        if record.time_ns < end_ns and (record.get("state") or {}).get("pod_management_policy") == "Parallel"
    }
    if fault.name == "rolling_update":
        return int(fault.detail("injected").get("pods_before") or len(uids)), True
    if fault.name == "scale":
        detail = fault.detail("injected")
        count = abs(int(detail.get("replicas_before") or 0) - int(detail.get("replicas_after") or 0))
    else:
        count = max((sum(watch.workload_of.get(uid) == one for uid in uids) for one in stateful - parallel), default=1)
    return (max(1, count) if stateful - parallel else 1), bool(stateful) or fault.name == "scale"


def _last_state(watch: StackWatch, uid: str, end_ns: int) -> dict[str, Json]:
    changes = [change for change in watch.pods.get(uid, []) if change.upper_ns < end_ns]
    return (changes[-1].record.get("state") or {}) if changes else {}


def _ready_s(state: dict[str, Json]) -> float:
    """How long a pod that runs may take to be called ready: its slowest container's probe, to its last answer."""
    probes = [
        probe["initial_delay_s"] + probe["period_s"] * probe["successes"] + probe["timeout_s"]
        for probe in state.get("readiness") or []
    ]
    return float(max(probes, default=0))
