"""The figures of one experiment that runs are compared by, each an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chaos.checkers.evidence import load_window
from chaos.checkers.verdict import Verdict
from chaos.history import History, Json, without_generated_suffix
from chaos.operations import INFO, OK
from chaos.report.noise import Interval
from chaos.report.traffic import Requests, requests_of

_Z = 1.96
"""The normal quantile of a two-sided 95 % interval."""

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one run; of all of them less is better.

    ``measured`` holds what is certain: the value lies in it. ``plausible`` also allows for the few requests there
    were: where another run of the same might well lie, as far as one run can say. Requests of one run are
    not independent, so that is the least it must allow for.
    """

    name: str
    unit: str
    measured: Interval
    plausible: Interval

    def to_json(self) -> dict[str, Json]:
        """As results.json holds it; an interval's end may be null: it was never seen."""
        return {"name": self.name, "unit": self.unit, "measured": self.measured, "plausible": self.plausible}


def figures_of(history: History, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Error ratio, longest gap and latencies of the load, and every recovery's stages, as far as there are any."""
    return [*_of_load(_within_load(history)), *_of_recovery(verdicts)]


def _within_load(history: History) -> Requests:
    """The requests that the judged load sent, without those of the verifying read; all where no phase says which."""
    requests, window = requests_of(history), load_window(history)
    if window is None:
        return requests
    sent_ns = history.operations.invoke_ns
    inside = (window[0] <= sent_ns) & (sent_ns < window[1])
    return Requests(requests.wanted_ns[inside], requests.fate[inside], requests.latency_ns[inside], {})


def _of_load(requests: Requests) -> Iterator[Figure]:
    total = len(requests.fate)
    if not total:
        return
    failed = int((requests.fate != OK).sum())
    certain = failed - int((requests.fate == INFO).sum())
    measured = (certain / total, failed / total)
    yield Figure("error ratio", "", measured, (wilson(certain, total)[0], wilson(failed, total)[1]))
    answered = (requests.fate == OK) & (requests.latency_ns >= 0)
    if not answered.any():
        return
    latency_ns = np.sort(requests.latency_ns[answered])
    gap = _longest_gap(np.sort((requests.wanted_ns + requests.latency_ns)[answered]), requests.wanted_ns)
    yield Figure("longest gap", "s", gap, gap)
    for quantile, name in ((0.5, "latency, median"), (0.99, "latency, 99 %")):
        rank = math.ceil(quantile * len(latency_ns)) - 1
        value = float(latency_ns[rank]) / _NS_PER_MS
        yield Figure(name, "ms", (value, value), _around(latency_ns, quantile))


def _longest_gap(answers_ns: npt.NDArray[np.int64], wanted_ns: npt.NDArray[np.int64]) -> Interval:
    """The longest time without an answer while requests were due, in s.

    Nobody asked between two requests, so an outage may have been shorter by what usually lies between two answers, at
    either end.
    """
    edges = np.concatenate(([wanted_ns.min()], answers_ns, [max(int(wanted_ns.max()), int(answers_ns[-1]))]))
    gaps = np.diff(edges)
    longest, usual = int(gaps.max()), float(np.median(gaps))
    return max(0.0, longest - 2 * usual) / _NS_PER_S, longest / _NS_PER_S


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, "Probable inference", JASA 22, 1927), which also holds near 0."""
    share = count / total
    middle = share + _Z**2 / (2 * total)
    half = _Z * math.sqrt(share * (1 - share) / total + (_Z / (2 * total)) ** 2)
    scale = 1 + _Z**2 / total
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def _around(ordered_ns: npt.NDArray[np.int64], quantile: float) -> Interval:
    """The 95 % interval of a quantile, in ms, from the ranks around it, whatever the distribution.

    The number of values below a quantile is binomial (W. J. Conover, "Practical Nonparametric Statistics", 3.2).
    """
    total = len(ordered_ns)
    half = _Z * math.sqrt(total * quantile * (1 - quantile))
    low = max(0, math.floor(quantile * total - half) - 1)
    high = min(total - 1, math.ceil(quantile * total + half) - 1)
    return float(ordered_ns[low]) / _NS_PER_MS, float(ordered_ns[high]) / _NS_PER_MS


def _of_recovery(verdicts: Sequence[Verdict]) -> Iterator[Figure]:
    faults = [fault for v in verdicts if v.checker.startswith("recovery") for fault in v.evidence.get("faults") or ()]
    for number, fault in enumerate((one for one in faults if isinstance(one, Mapping)), start=1):
        words = [without_generated_suffix(word) for word in str(fault.get("fault", "fault")).split()]
        label = " ".join(words) + (f", number {number}" if len(faults) > 1 else "")
        for name, stage in recovery_stages(fault).items():
            yield Figure(f"{label}: {name}", "ms", stage, stage)


WHOLE = {
    "whole_after_fault_ms": "whole again after the fault",
    "whole_after_heal_ms": "whole again after the healing",
    "client_ms": "client",
}
"""What a recovery tells besides its stages, in the words of the report."""


def recovery_stages(fault: Mapping[str, Json]) -> dict[str, Interval]:
    """Each stage of one fault's recovery, and when all was whole again, in ms; what is no interval is left out."""
    stages = fault.get("stages_ms")
    told = dict(stages) if isinstance(stages, Mapping) else {}
    told |= {words: fault.get(key) for key, words in WHOLE.items() if words not in told}
    return {str(name): found for name, value in told.items() if (found := interval(value)) is not None}


def interval(value: Json) -> Interval | None:
    """A pair of numbers, the second may be open; None for anything else."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    numbers = [None if part is None or isinstance(part, bool) or not isinstance(part, (int, float)) else float(part)
               for part in value]  # fmt: skip
    lower, upper = numbers
    if lower is None or (upper is None and value[1] is not None):
        return None
    return lower, upper
