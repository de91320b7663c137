"""A StatefulSet's pod keeps its name, its DNS name and its volume, whatever happens to its incarnations."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

from chaos.checkers.evidence import (
    NS_PER_MS,
    NS_PER_S,
    blind_spots,
    fault_doubts,
    fault_text,
    lost_records,
    moment,
    stack_end,
)
from chaos.checkers.incarnations import WATCHED, Incarnation, Life, Volume, lives_of, volumes_of
from chaos.checkers.rebinding import claim_findings, foreign_markers, shared, volume_findings
from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import FaultWindow, History, Json, Record


@dataclass(frozen=True)
class Identity:
    """The pods whose names match ``pattern`` keep their identity; see :func:`identity`."""

    pattern: str
    dns_s_max: float
    volumes: bool

    def __post_init__(self) -> None:
        if not self.pattern or self.dns_s_max <= 0:
            raise ValueError(f"identity needs a pattern and a positive dns_s_max: {self.pattern!r}, {self.dns_s_max}")

    @property
    def name(self) -> str:
        """The guarantee's name and whose it is."""
        return f"identity({self.pattern})"

    def check(self, history: History) -> Verdict:
        """INVALID where an identity changed hands, UNKNOWN where too little was seen of one."""
        lives = lives_of(history, self.pattern)
        expected = {str(pod) for pod in (history.fact("stack") or {}).get("identities", [])}
        doubts = [f"{pod} was never seen" for pod in sorted(expected - lives.keys()) if fnmatchcase(pod, self.pattern)]
        if not lives:
            doubts.append(f"no pod of a StatefulSet matches {self.pattern}")
        sources = {record.source for record in history.of("object") if record["object"] in WATCHED}
        end = stack_end(history)
        blind = lost_records(history, "object")
        blind += blind_spots(history, sources, history.begin_ns, end) if history.records else []
        faults, volumes = history.faults(), volumes_of(history)
        findings: list[str] = []
        guests = []
        for life in lives.values():
            touching = [fault for fault in faults if life.touched_by(fault)]
            case = _Case(self, history, life, touching, volumes, findings, doubts, bool(blind))
            case.judge()
            if life.name not in expected and case.is_guest():
                guests.append(life.name)
            else:
                case.least_evidence()
        if self.volumes:
            findings += shared(lives.values()) + foreign_markers(lives)
        doubts += blind + fault_doubts(history)
        evidence: dict[str, Json] = {
            "dns_s_max": self.dns_s_max,
            "volumes": self.volumes,
            "persistent_volumes": len(volumes),
            "guests": guests,
            "pods": {name: life.to_json() for name, life in sorted(lives.items())},
        }
        if findings:
            return Verdict(self.name, Outcome.INVALID, "; ".join(findings[:3]), evidence, tuple(findings))
        if doubts:
            return Verdict(self.name, Outcome.UNKNOWN, "; ".join(doubts), evidence)
        replaced = sum(len(life.incarnations) - 1 for life in lives.values())
        kept = "their names, DNS names and volumes" if self.volumes else "their names and DNS names"
        stayed = sorted(lives.keys() - set(guests))
        summary = f"{len(stayed)} pods ({', '.join(stayed)}) kept {kept} over {replaced} replacements"
        came = f"; {', '.join(sorted(guests))} came with a fault, and took nothing of theirs" if guests else ""
        return Verdict(self.name, Outcome.VALID, summary + came, evidence)


def identity(pattern: str, dns_s_max: float = 30, volumes: bool = True) -> Identity:
    """StatefulSet pods keep their identity over the whole run, from the deployment to the removal.

    At no time a name has two UIDs; a replaced pod answers under its DNS name within the bound; claims, their UIDs, the
    volumes they are bound to and what those hold never change, and no server names another pod than the one that was
    asked. Each hit of a fault explains one replacement, of the incarnation that it hit (and a new revision, where the
    fault is on the StatefulSet, one more): any other one is a finding. Of pods that a fault on the StatefulSet added
    nothing need have been seen before it.

    Args:
        pattern: which pods, by name, with shell wildcards: ``web-*``.
        dns_s_max: how long after it became ready the DNS name may still give another answer, in seconds.
        volumes: whether each pod is expected to have claims and to serve its marker, the text that the first
            incarnation left in the volume.
    """
    return Identity(pattern, dns_s_max, volumes)


@dataclass
class _Case:
    """One name before the judge: collects what was found and what stays in doubt."""

    checker: Identity
    history: History
    life: Life
    faults: list[FaultWindow]
    volumes: dict[str, Volume]
    findings: list[str]
    doubts: list[str]
    blind: bool

    def judge(self) -> None:
        """Judge the UIDs, the DNS name and, where volumes are expected, the claims and markers."""
        self._uids()
        sends = [int(reading["send_ns"]) for reading in self.life.dns]
        for number in range(len(self.life.incarnations)):
            self._dns(number, sends)
        if self.checker.volumes:
            for found, doubted in (
                claim_findings(self.life),
                volume_findings(self.life, self.volumes, self._when),
            ):
                self.findings += found
                self.doubts += doubted
            self._markers()

    def _when(self, time_ns: int) -> str:
        return moment(self.history, time_ns)

    def _uids(self) -> None:
        life = self.life
        for at, one, other in life.overlaps:
            text = f"{life.name} had two UIDs at once, {one} and {other}, {self._when(at)}"
            (self.doubts if self.blind else self.findings).append(text)
        unspent = list(self.faults)
        for old, new in pairwise(life.incarnations):
            fault = next((f for f in unspent if life.explains(f, old, new)), None)
            if fault is not None:
                unspent.remove(fault)
            elif not self._is_update(old, new):
                before = any(fault.records[0].time_ns <= new.first_ns for fault in self.faults)
                how = (
                    "was replaced once more, and by no fault,"
                    if before
                    else "was no target of a fault, yet it was replaced"
                )
                self.findings.append(f"{life.name} {how} {self._when(new.first_ns)} ({old.uid} by {new.uid})")
        for fault in self.faults:
            inject = fault.at("inject")
            if fault.name in ("kill_pod", "kill_all_pods") and fault.took_effect and inject is not None:
                self._replaced(fault, inject)

    def _is_update(self, old: Incarnation, new: Incarnation) -> bool:
        """Whether the StatefulSet got another revision, by a fault that is aimed at it."""
        aimed = any(f.target.get("kind") == "StatefulSet" and f.records[0].time_ns <= new.first_ns for f in self.faults)
        return aimed and old.revision != new.revision

    def is_guest(self) -> bool:
        """Whether the pod is one that a fault on its StatefulSet added: there was nothing of it before."""
        begins = [f.records[0].time_ns for f in self.faults if f.target.get("kind") == "StatefulSet"]
        return bool(begins) and self.life.incarnations[0].first_ns >= min(begins)

    def _replaced(self, fault: FaultWindow, inject: int) -> None:
        """A killed pod must come back under a new UID."""
        if self.life.incarnations[-1].first_ns > inject:
            return
        last = self.life.incarnations[-1]
        if last.deleted_ns is not None and last.deleted_ns >= inject and not self.blind:
            self.findings.append(f"{self.life.name} was not replaced after {fault_text(fault)} ({last.uid})")
        else:
            self.doubts.append(f"neither the end of {last.uid} nor a new UID was seen after {fault_text(fault)}")

    def _dns(self, number: int, sends: list[int]) -> None:
        """While an incarnation is ready, its name must come to mean its IP within the bound, and stay so."""
        bound_ns = round(self.checker.dns_s_max * NS_PER_S)
        incarnation = self.life.incarnations[number]
        for place, (since, until, ip) in enumerate(incarnation.ready):
            end = len(sends) if until is None else bisect_left(sends, until)
            asked = self.life.dns[bisect_left(sends, since) : end]
            stretch = [reading for reading in asked if until is None or reading["receive_ns"] < until]
            wrong = [reading for reading in stretch if set(reading["value"]["answers"]) != {ip}]
            if wrong and wrong[-1]["send_ns"] > since + bound_ns:
                late = (wrong[-1]["send_ns"] - since) / NS_PER_S
                self.findings.append(
                    f"the DNS name of {self.life.name} still gave {_answer(wrong[-1])} instead of {ip} {late:.1f} s "
                    f"after {incarnation.uid} became ready (bound {self.checker.dns_s_max:g} s)"
                )
                continue
            right = next((r for r in stretch if not wrong or r["send_ns"] > wrong[-1]["send_ns"]), None)
            lower = wrong[-1]["send_ns"] - since if wrong else 0
            upper = None if right is None else right["receive_ns"] - since
            if number and place == 0 and upper is not None:
                self.life.dns_delays_ms.append([lower / NS_PER_MS, upper / NS_PER_MS])
            asked_too_late = number > 0 and (upper is None or upper > bound_ns)
            if (asked_too_late or (wrong and upper is None)) and (until is None or until - since > bound_ns):
                self.doubts.append(
                    f"no answer shows that the DNS name of {self.life.name} followed {incarnation.uid} "
                    f"within {self.checker.dns_s_max:g} s"
                )

    def _markers(self) -> None:
        for readings in self.life.markers.values():
            texts = [(record, text) for record, text in readings if text is not None]
            if not texts:
                continue
            first = texts[0][1]
            changed = next(((r, t) for r, t in readings if t != first and r["send_ns"] > texts[0][0]["send_ns"]), None)
            if changed is not None:
                self.findings.append(
                    f"the volume of {self.life.name} held {first[:80]!r} at first and {str(changed[1])[:80]!r} "
                    f"{self._when(changed[0]['receive_ns'])}"
                )

    def least_evidence(self) -> None:
        """A pod that was hit or replaced must have been seen, resolved and read before as well as after."""
        life = self.life
        hit = [at for fault in self.faults if (at := fault.at("inject")) is not None]
        if not hit:
            return
        begin, last = min(hit), life.incarnations[-1]
        after = max(last.first_ns, max(hit))
        read = [record for readings in life.markers.values() for record, text in readings if text]
        wanted = {"DNS name was answered": life.dns}
        if self.checker.volumes:
            wanted["marker was read"] = read
        if life.incarnations[0].first_ns > begin:
            self.doubts.append(f"{life.name} was not seen before the fault")
        for what, readings in wanted.items():
            if not any(reading["receive_ns"] <= begin for reading in readings):
                self.doubts.append(f"no time before the fault is known at which the {what} ({life.name})")
            if not any(reading["send_ns"] >= after for reading in readings):
                self.doubts.append(f"no time after the fault is known at which the {what} ({life.name})")


def _answer(reading: Record) -> str:
    return ", ".join(reading["value"]["answers"]) or str(reading["value"].get("rcode"))
