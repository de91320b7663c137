"""Binning the load keeps what matters: every request, the extremes, and edges that fall on the injection."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import START_NS, S, Story

from chaos.report.traffic import FATES, MAX_BINS, Requests, bin_width_ns, bins_of, requests_of

MS = 1_000_000

requests = st.lists(
    st.tuples(st.integers(0, 3_600_000), st.sampled_from(range(len(FATES))), st.integers(0, 60_000)), max_size=300
)


def columns(rows: list[tuple[int, int, int]]) -> Requests:
    """Requests from (wanted at ms, fate, latency in ms)."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Requests(table[:, 0] * MS, table[:, 1], table[:, 2] * MS, {})


@given(requests, st.integers(-1_000_000, 5_000_000))
def test_binning_keeps_totals_and_extremes(rows: list[tuple[int, int, int]], zero_ms: int) -> None:
    """No request is lost or counted twice, and the longest latency is still there."""
    bins = bins_of(columns(rows), zero_ms * MS)
    if not rows:
        assert bins is None
        return
    assert bins is not None
    assert bins.counts.sum(axis=1).tolist() == [sum(fate == one for _, fate, _ in rows) for one in range(len(FATES))]
    answered = [latency * MS for _, fate, latency in rows if fate == 0]
    assert bins.max_ns.max() == max(answered, default=-1)
    assert len(bins.max_ns) <= MAX_BINS
    assert (zero_ms * MS - bins.start_ns) % bins.width_ns == 0


@given(requests)
def test_quantiles_are_latencies_that_were(rows: list[tuple[int, int, int]]) -> None:
    """Each bin's median and 99 % are nearest-rank values of its own answered requests, as counted one by one."""
    bins = bins_of(columns(rows), 0)
    for index in range(0 if bins is None else len(bins.p50_ns)):
        assert bins is not None
        begin = bins.start_ns + index * bins.width_ns
        mine = sorted(ms * MS for at, fate, ms in rows if fate == 0 and begin <= at * MS < begin + bins.width_ns)
        if mine:
            assert bins.p50_ns[index] == mine[-(-len(mine) // 2) - 1]
            assert bins.p99_ns[index] == mine[-(-99 * len(mine) // 100) - 1]
        else:
            assert bins.p50_ns[index] == bins.p99_ns[index] == bins.max_ns[index] == -1


@given(st.integers(1, 10**14), st.integers(1, 10**7))
def test_width_bounds_the_number_of_bins(extent_ns: int, count: int) -> None:
    """However long or dense the load, there are at most MAX_BINS bins."""
    assert extent_ns // bin_width_ns(extent_ns, count) + 2 <= MAX_BINS


def test_requests_stand_where_the_schedule_wanted_them() -> None:
    """Latency runs from the intended start, not from the moment the client got round to sending."""
    story = Story()
    intended = START_NS + 1 * S
    story.at(3, "op", "load", type="invoke", process=0, op=1, f="get", value=None, intended_ns=intended)
    story.at(4, "op", "load", type="ok", process=0, op=1, f="get", value=None, error=None)
    found = requests_of(story.history())
    assert found.wanted_ns.tolist() == [intended]
    assert found.latency_ns.tolist() == [3 * S]


def test_unanswered_requests_are_info() -> None:
    """An invocation left open is info and has no latency; an answer to nothing is no request."""
    story = Story()
    story.at(1, "op", "load", type="invoke", process=0, op=1, f="get", value=None)
    story.at(2, "op", "load", type="fail", process=0, op=2, f="get", value=None, error="refused")
    found = requests_of(story.history())
    assert [FATES[fate] for fate in found.fate] == ["info"]
    assert found.latency_ns.tolist() == [-1]
    assert found.errors == {}


def test_one_id_in_two_sources_is_two_requests() -> None:
    """Ids are unique within a source only."""
    story = Story()
    for source, fate in (("load-0", "ok"), ("load-1", "fail")):
        story.at(1, "op", source, type="invoke", process=0, op=1, f="get", value=None)
        story.at(2, "op", source, type=fate, process=0, op=1, f="get", value=None, error=None)
    assert [FATES[fate] for fate in requests_of(story.history()).fate] == ["ok", "fail"]


def test_bins_name_their_commonest_error() -> None:
    """Of several errors in a bin the one that came most often is told."""
    story = Story()
    for number, error in enumerate(("reset", "refused", "refused")):
        story.request(10 + number / 1000, "fail", 0.01, error)
    bins = bins_of(requests_of(story.history()), START_NS)
    assert bins is not None
    assert list(bins.errors.values()) == ["refused"]
