"""What a checker asks of a history before it believes it: a load, faults that took effect, sources that saw it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np

from chaos.history import FaultWindow, History
from chaos.operations import Ints

LOAD_PHASES = ("before", "fault", "recover", "after")
"""The phases that make up the load's window, in order; each begins where the one before it ends."""

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def load_window(history: History) -> tuple[int, int] | None:
    """(begin, end) of the judged load in monotonic ns; None unless the history has all of its phases, whole."""
    spans = [span for span in (history.phase(name) for name in LOAD_PHASES) if span is not None]
    return (spans[0][0], spans[-1][1]) if len(spans) == len(LOAD_PHASES) else None


def no_window(history: History) -> str:
    """Why there is no window to judge: which of the load's phases are missing."""
    missing = [name for name in LOAD_PHASES if history.phase(name) is None]
    return f"the history lacks these of the load's phases: {', '.join(missing)}"


def stack_end(history: History) -> int:
    """When the stack began to be removed, or else the history's end, in monotonic ns. Later changes are no finding."""
    removal = next((r.time_ns for r in history.of("phase") if (r["name"], r["edge"]) == ("remove", "begin")), None)
    if removal is not None:
        return removal
    return history.end_ns + 1 if len(history) else 0


def stack_namespace(history: History) -> str | None:
    """The namespace the stack ran in; None where no fact says so."""
    namespace = (history.fact("experiment") or {}).get("namespace")
    return None if namespace is None else str(namespace)


def fault_text(fault: FaultWindow) -> str:
    """The fault and its target in words, such as ``kill_pod on Pod web-1``."""
    target = fault.target
    words = [fault.name, "on" if target else "", str(target.get("kind", "")), str(target.get("name", ""))]
    return " ".join(word for word in words if word)


def moment(history: History, time_ns: int) -> str:
    """A time as a person would give it: relative to the last injection before it, or to the first one after it."""
    faults = [(at, fault) for fault in history.faults() if (at := fault.at("inject")) is not None]
    if not faults:
        before = history.phase("before")
        if before is None:
            return f"{time_ns / NS_PER_S:.2f} s by the monotonic clock"
        side = "before" if time_ns < before[0] else "after"
        return f"{abs(time_ns - before[0]) / NS_PER_S:.2f} s {side} the load's begin"
    at, fault = next(((a, f) for a, f in reversed(faults) if a <= time_ns), faults[0])
    side = "before" if time_ns < at else "after"
    return f"{abs(time_ns - at) / NS_PER_S:.2f} s {side} the injection of {fault_text(fault)}"


def fault_doubt(fault: FaultWindow, window: tuple[int, int] | None) -> str | None:
    """Why nothing can be concluded from this fault; None where it took effect within the load's window."""
    what = fault_text(fault)
    inject, effect, heal = fault.at("inject"), fault.at("effect"), fault.at("heal")
    if inject is None:
        why = fault.detail("failed").get("error")
        return f"{what} was never injected: {why}" if why else f"{what} has no record of its injection"
    if effect is None:
        seen = fault.detail("no_effect")
        return f"{what} was not seen to take effect" + (f": {seen}" if seen else "")
    if effect < inject or (heal is not None and effect > heal):
        return f"the effect of {what} was not seen between its injection and its healing"
    if fault.at("failed") is not None:
        return f"{what} failed: {fault.detail('failed')}"
    if window is None or inject < window[0] or fault.records[-1].time_ns > window[1]:
        return f"{what} does not lie within the load's window"
    return None


def fault_doubts(history: History) -> list[str]:
    """Why the history says nothing about behaviour under a fault, a sentence each; empty where it does."""
    faults, window = history.faults(), load_window(history)
    if not faults:
        return ["no fault was injected"]
    return [doubt for doubt in (fault_doubt(fault, window) for fault in faults) if doubt]


def blind_spots(
    history: History, sources: Collection[str], begin_ns: int, end_ns: int, *, late: bool = True
) -> list[str]:
    """Where these sources may have missed something between two times, or told it late, a sentence each.

    A watch that was taken up again missed nothing, but the times of its records there are not those of what they tell.
    Who places them by the store's revision instead (:mod:`chaos.checkers.publication`) asks without what is ``late``.
    """
    found = []
    for gap in (*history.of("gap"), *(history.of("resumed") if late else ())):
        until = gap.get("to_ns")
        if gap.source in sources and gap["from_ns"] <= end_ns and (until is None or until >= begin_ns):
            lasted = "for the rest of the run" if until is None else f"for {(until - gap['from_ns']) / NS_PER_S:.2f} s"
            did = "may have missed something" if gap.kind == "gap" else "told late what happened"
            found.append(f"{gap.source} {did} from {moment(history, gap['from_ns'])} on, {lasted}")
    return found


def lost_records(history: History, kind: str, sources: Collection[str] | None = None) -> list[str]:
    """Which sources (of these) wrote records of a kind and do not account for all of them in a closing record."""
    written = Counter({source: counts[kind] for source, counts in history.counts.items() if counts[kind]})
    closed = {record.source: int(record["records"].get(kind, 0)) for record in history.of("closing")}
    return [
        f"{source} did not close its records" if source not in closed else f"{kind} records of {source} are missing"
        for source in sorted(written.keys() | {s for s, count in closed.items() if count})
        if closed.get(source) != written[source] and (sources is None or source in sources)
    ]


def longest_gap(answers_ns: Ints, begin: int, end: int) -> tuple[int, int]:
    """(length, start) of the longest stretch of [begin, end] without an answer, in ns."""
    inside = np.sort(answers_ns[answers_ns <= end])
    marks = np.concatenate([[begin], inside, [end]])
    longest = int(np.argmax(np.diff(marks)))
    return int(marks[longest + 1] - marks[longest]), int(marks[longest])
