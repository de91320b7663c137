"""The figures by which runs are compared: right, in intervals, and absent where nothing was seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import Story, self_healing, valid

from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History
from chaos.report.figures import Figure, figures_of, interval, recovery_stages, wilson


def of_load(story: Story) -> dict[str, Figure]:
    """The figures of a load alone, by name."""
    return {figure.name: figure for figure in figures_of(story.history(), [])}


def test_a_load_has_its_error_ratio_gap_and_latencies() -> None:
    """Nine of ten answered at 10/s, one of which nobody knows, and two seconds without an answer."""
    story = Story()
    for number in range(100):
        story.request(
            number / 10 + (2 if number >= 50 else 0), ("info", "fail")[number % 2] if number < 4 else "ok", 0.02
        )
    found = of_load(story)
    assert found["error ratio"].measured == (0.02, 0.04)
    assert found["error ratio"].plausible[0] < 0.02 < 0.04 < (found["error ratio"].plausible[1] or 0)
    assert found["longest gap"].measured == pytest.approx((1.9, 2.1))
    assert found["latency, median"].measured == pytest.approx((20.0, 20.0))
    assert found["latency, 99 %"].measured == pytest.approx((20.0, 20.0))


def test_an_outage_until_the_end_is_a_gap() -> None:
    """Requests that were due after the last answer count."""
    story = Story()
    for number in range(100):
        story.request(number / 10, "ok" if number < 40 else "fail", 0.02)
    assert of_load(story)["longest gap"].measured[1] == pytest.approx(6.0, abs=0.1)


def test_only_the_judged_load_counts() -> None:
    """A verifying read that fails afterwards, and a gap before it, are none of the load's."""
    story = Story()
    story.phases(("before", 0, 1), ("fault", 1, 2), ("recover", 2, 3), ("after", 3, 4))
    for number in range(40):
        story.request(number / 10, "ok", 0.02)
    story.request(9, "info", 0.5)
    found = of_load(story)
    assert found["error ratio"].measured == (0, 0)
    assert (found["longest gap"].measured[1] or 0) < 0.2


def test_nothing_asked_or_answered_gives_no_figure() -> None:
    """No request, no figure; no answer, no latency."""
    assert figures_of(History(()), [valid()]) == []
    story = Story()
    story.request(1, "fail", 0.1, "refused")
    assert set(of_load(story)) == {"error ratio"}


def test_quantiles_lie_in_their_plausible_interval() -> None:
    """A real load's median and 99 % lie within what its own ranks allow."""
    for figure in figures_of(self_healing(), []):
        assert figure.plausible[0] <= figure.measured[0] <= (figure.measured[1] or 0) <= (figure.plausible[1] or 0)


@given(st.integers(1, 10_000), st.data())
def test_a_share_lies_in_its_interval(total: int, data: st.DataObject) -> None:
    """Whatever was counted, the interval holds it, stays within 0 and 1, and is never a point."""
    count = data.draw(st.integers(0, total))
    low, high = wilson(count, total)
    assert 0 <= low <= count / total + 1e-12
    assert count / total - 1e-12 <= high <= 1
    assert high > low


def test_wilson_is_the_published_one() -> None:
    """10 of 100: 5.5 % to 17.4 %."""
    assert wilson(10, 100) == pytest.approx((0.0552, 0.1744), abs=1e-3)


def test_recovery_gives_a_figure_for_each_stage() -> None:
    """By fault and stage, the fault without what Kubernetes drew for its name; what is no interval is left out."""
    fault = {"fault": "kill_pod on Pod nginx-deployment-7d4b9c6b5f-kx2vq", "uid_before": "x",
             "stages_ms": {"ready": [1.5, 2], "endpoint": [3.0, None], "odd": "never"}, "client_ms": "no interruption",
             "whole_after_fault_ms": [5.0, 6.0]}  # fmt: skip
    found = figures_of(History(()), [Verdict("recovery", Outcome.VALID, "", {"faults": [fault, "odd"]})])
    assert [(one.name, one.measured) for one in found] == [
        ("kill_pod on Pod nginx-deployment, number 1: ready", (1.5, 2.0)),
        ("kill_pod on Pod nginx-deployment, number 1: endpoint", (3.0, None)),
        ("kill_pod on Pod nginx-deployment, number 1: whole again after the fault", (5.0, 6.0)),
    ]
    assert recovery_stages({}) == {}


@pytest.mark.parametrize("value", [None, 3, "x", [1], [1, 2, 3], [None, 1], [True, 2], ["1", 2], [1, "2"], {}])
def test_what_is_no_interval(value: object) -> None:
    """Is none."""
    assert interval(value) is None
