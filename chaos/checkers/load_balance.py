"""Requests are spread over the pods that are ready, and nobody else answers them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from chaos.checkers.evidence import (
    NS_PER_S,
    blind_spots,
    fault_doubts,
    load_window,
    lost_records,
    moment,
    no_window,
)
from chaos.checkers.ready_sets import FOR_EVER, Life, State, lives, members, serves, stretches
from chaos.checkers.shares import Answers, Share, outside, shares
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json
from chaos.operations import Ints, Mask

FINDINGS_MAX = 20


@dataclass(frozen=True)
class LoadBalance:
    """Who answers is who is ready, each as often as the others; see :func:`load_balance`."""

    settle_s_max: float
    false_alarm_max: float
    pods: str | None

    def __post_init__(self) -> None:
        if self.settle_s_max <= 0:
            raise ValueError(f"settle_s_max must be above 0, no rule changes at once: {self.settle_s_max}")
        if not 0 < self.false_alarm_max < 1:
            raise ValueError(f"false_alarm_max is a probability between 0 and 1, not {self.false_alarm_max}")

    @property
    def name(self) -> str:
        """The guarantee's name."""
        return "load_balance"

    def check(self, history: History) -> Verdict:
        """INVALID where a pod had no fair share or should not have answered, UNKNOWN where too little was answered."""
        window = load_window(history)
        unfit = no_window(history) if window is None else self._unfit(history)
        if window is None or unfit is not None:
            return Verdict(self.name, Outcome.UNKNOWN, str(unfit))
        case = _Case(self, history, window)
        findings = [*case.strangers(), *case.uneven()]
        blind = case.blind()
        evidence = case.evidence()
        said = tuple(findings[:FINDINGS_MAX])
        if findings and not blind:
            return Verdict(self.name, Outcome.INVALID, "; ".join(findings[:3]), evidence, said)
        doubts = blind + case.too_little() + fault_doubts(history)
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts[:5]), evidence, said)
        counts = ", ".join(f"{name} {count}" for name, count in sorted(case.answers.served().items()))
        summary = (
            f"{len(case.answers.rows)} answers were spread over the ready pods ({counts}) as evenly as chance spreads "
            f"them (false alarms at most {self.false_alarm_max:g}), and of {case.tested} that were given while another "
            "pod was not ready, or gone, none was by that one"
        )
        return Verdict(self.name, Outcome.VALID, summary, evidence)

    def _unfit(self, history: History) -> str | None:
        """Why who answered says nothing about the Service, or nobody can say whose answers these should be."""
        if (history.fact("workload") or {}).get("keep_alive"):
            return "the clients keep their connections, so that who answers was chosen when each of them was opened"
        workloads = (history.fact("stack") or {}).get("workloads") or []
        if self.pods is None and len(workloads) != 1:
            names = ", ".join(str(workload["name"]) for workload in workloads) or "none"
            return f"the stack has not one workload but {names}: say whose pods answer, as in pods='{names[:20]}-*'"
        return None

    def is_meant(self, history: History, pod: Life) -> bool:
        """Whether this pod is one of those that are to share the requests."""
        if self.pods is not None:
            return fnmatchcase(pod.name, self.pods)
        workload = history.fact("stack")["workloads"][0]
        owners = (step.state.get("owner") for step in pod.steps if step.state)
        owner: dict[str, Json] = next((each for each in owners if each), {})
        name = str(owner.get("name"))
        if owner.get("kind") == "ReplicaSet":
            return bool(workload["kind"] == "Deployment" and name.rpartition("-")[0] == workload["name"])
        return bool(owner.get("kind") == workload["kind"] and name == workload["name"])


def load_balance(settle_s_max: float = 5.0, false_alarm_max: float = 1e-6, pods: str | None = None) -> LoadBalance:
    """Requests over connections of their own are spread evenly over the ready pods, and nobody else answers any.

    Each stretch in which the same pods were ready is tested by itself: were every request as likely to go to each of
    them, how likely is it that one gets so few, or so many? That is a binomial tail for each pod, exact for any number
    of requests; all of a verdict's tests together share ``false_alarm_max`` evenly (Bonferroni's inequality). Requests
    that had no answer count as is best for the pod. A Service of kube-proxy's iptables and nftables modes draws so.

    Args:
        settle_s_max: seconds after a change until which the rules on the nodes may be as before: a pod that is not
            ready may answer so long, and one that is may get nothing.
        false_alarm_max: how likely a verdict may call even spreading uneven, above 0 and below 1.
        pods: the names of the pods that are to share the requests, with shell wildcards; None: those of the stack's
            only workload.
    """
    return LoadBalance(settle_s_max, false_alarm_max, pods)


def _ready_name(name: str, state: State) -> str | None:
    return name if serves(name, state) else None


def _going_name(name: str, state: State) -> str | None:
    return name if state.get("ready") and state.get("deleting") else None


class _Case:
    """One history before the judge."""

    def __init__(self, checker: LoadBalance, history: History, window: tuple[int, int]) -> None:
        self.checker = checker
        self.history = history
        self.window = window
        self.settle_ns = round(checker.settle_s_max * NS_PER_S)
        self.answers = Answers.of(history.operations, window)
        everyone = lives(history, "Pod")
        pods = [life for life in everyone if checker.is_meant(history, life)]
        self.known = {life.name for life in everyone}
        self.meant = {life.name for life in pods}
        self.ready = members(pods, _ready_name, _ready_name)
        self.going = members(pods, _going_name, _going_name)
        found = [stretch for stretch in stretches(pods, _ready_name, *window) if stretch.members]
        self.shares = shares(found, self.answers, self.settle_ns)
        self.several = [share for share in self.shares if len(share.served) > 1 and share.asked]
        self.tested = self._tested()

    def limit(self, share: Share) -> float:
        """How unlikely one count must be to be a finding, so that all tests together keep to the false alarms."""
        return self.checker.false_alarm_max / (2 * len(share.served) * len(self.several))

    def uneven(self) -> Iterator[str]:
        """Pods that got less or more than chance gives."""
        for share in self.several:
            for name, mine in sorted(share.served.items()):
                few, many = share.likelihood(name)
                if min(few, many) > self.limit(share):
                    continue
                others = (
                    f"where {len(share.served)} pods were ready and each was due {share.asked / len(share.served):.0f}"
                )
                unknown = f", {share.unknown} more went to nobody knows whom," if share.unknown else ""
                yield (
                    f"{name} answered {mine} of {share.asked} requests{unknown} {others} (likelihood "
                    f"{min(few, many):.1e}), from {moment(self.history, share.start_ns)} to "
                    f"{moment(self.history, share.end_ns)}"
                )

    def strangers(self) -> Iterator[str]:
        """Answers of pods that were certainly not ready, and had not been for longer than the bound."""
        sent, had = self.answers.sent_ns, self.answers.had_ns
        for code, name in enumerate(self.answers.names):
            if name not in self.known:
                continue
            mine = np.flatnonzero(self.answers.who == code)
            spans = self.ready.possible.get(name, [])
            wrong = mine[outside(spans, sent[mine] - self.settle_ns, had[mine])]
            wrong = wrong[~self._last_resort(name, sent[wrong], had[wrong])]
            if not len(wrong):
                continue
            row = int(self.answers.rows[wrong[0]])
            until = max((span.end_ns for span in spans if span.end_ns < sent[wrong[0]]), default=None)
            since = "was not ready" if name in self.meant else "is none of the pods that are to share the requests"
            if until is not None:
                since = f"had not been ready for {(sent[wrong[0]] - until) / NS_PER_S:.1f} s"
            yield (
                f"{name} {since} and yet answered {self.answers.operations.name(row)} "
                f"{moment(self.history, int(sent[wrong[0]]))}, {len(wrong)} requests in all (bound "
                f"{self.checker.settle_s_max:g} s)"
            )

    def _last_resort(self, name: str, sent: Ints, had: Ints) -> Mask:
        """True where a pod on its way out may still have served while nobody was ready: then kube-proxy asks it.

        https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-to-terminating-endpoints
        """
        going = self.going.possible.get(name, [])
        nobody_ready: Mask = outside(self.ready.certain, sent - self.settle_ns, had)
        return nobody_ready & ~outside(going, sent - self.settle_ns, had)

    def _tested(self) -> int:
        """How many answers were given while a pod that had been ready had not been for longer than the bound."""
        times = []
        for spans in self.ready.possible.values():
            ordered = sorted(spans, key=lambda span: span.begin_ns)
            ends = [*(span.begin_ns for span in ordered[1:]), FOR_EVER]
            times += [(span.end_ns + self.settle_ns, end) for span, end in zip(ordered, ends, strict=True)
                      if span.end_ns < FOR_EVER]  # fmt: skip
        times.sort()
        begins = np.array([begin for begin, _ in times], np.int64)
        latest = np.concatenate([[-1], np.maximum.accumulate(np.array([end for _, end in times], np.int64))])
        beside = latest[np.searchsorted(begins, self.answers.sent_ns)] > self.answers.had_ns
        return int(np.count_nonzero(beside))

    def blind(self) -> list[str]:
        """Why neither who was ready nor who answered is wholly known."""
        operations = self.history.operations
        sources = {r.source for r in self.history.objects("Pod")}
        blind = lost_records(self.history, "object", sources) + lost_records(self.history, "op")
        blind += blind_spots(self.history, sources | set(operations.sources), *self.window, late=False)
        if operations.orphans:
            blind.append(f"{operations.orphans} operations ended without an invocation that was open")
        return blind

    def too_little(self) -> list[str]:
        """Which least evidence is missing."""
        if not len(self.answers.rows):
            return [f"none of {len(self.answers.asked_ns)} requests had an answer that names its pod (X-Served-By)"]
        unknown = sorted(set(self.answers.names) - self.known)
        missing = [f"answers name {', '.join(unknown[:3])}, which is no pod of the stack"] if unknown else []
        effects = [at for fault in self.history.faults() if (at := fault.at("effect")) is not None]
        after = [share for share in self.several if share.start_ns >= max(effects, default=0)]
        if not any(share.can_tell(self.limit(share)) for share in after):
            asked = max((share.asked for share in after), default=0)
            missing.append(
                f"only {asked} requests were sent after the fault while the same pods, two or more, were ready; a pod "
                "that got none of them would not have been noticed"
            )
        if not self.tested:
            bound = f"{self.checker.settle_s_max:g} s"
            missing.append(f"nothing was answered while a pod had not been ready for longer than the bound of {bound}")
        return missing

    def evidence(self) -> dict[str, Json]:
        """The figures."""
        return {
            "settle_s_max": self.checker.settle_s_max,
            "false_alarm_max": self.checker.false_alarm_max,
            "asked": len(self.answers.asked_ns),
            "answered_by_name": len(self.answers.rows),
            "served": dict(sorted(self.answers.served().items())),
            "stretches": [share.to_json(self.history) for share in self.shares],
            "answers_while_another_was_out": self.tested,
        }
