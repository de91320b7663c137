"""The columns of operations: each end joined to its invocation, and what fits nowhere counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import HistoryError
from chaos.history import History, Json, Record
from chaos.operations import FATES, INFO, OPEN

VALUES = (
    st.none() | st.integers(-5, 5) | st.text(max_size=2) | st.dictionaries(st.sampled_from("kv"), st.integers(0, 2))
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["invoke", *FATES]),
        st.sampled_from(["load", "verify"]),
        st.one_of(st.integers(0, 6), st.sampled_from("ab")),
        st.sampled_from(["get", "insert"]),
        VALUES,
        st.integers(0, 3),
    ),
    max_size=40,
)


def records(steps: list[tuple[str, str, Json, str, Json, int]]) -> list[Record]:
    """One record a step, a moment apart."""
    told = []
    for at, (step, source, op, f, value, process) in enumerate(steps):
        data = {"type": step, "process": process, "op": op, "f": f, "value": value}
        more = {"intended_ns": at - 1} if step == "invoke" else {"error": None if step == "ok" else f"no {at}"}
        told.append(Record(at, source, "op", data | more))
    return told


@given(STEPS)
def test_operations_are_joined_as_by_hand(steps: list[tuple[str, str, Json, str, Json, int]]) -> None:
    """Against a slow search: for each end the last invocation of its source and id, if that one is still open."""
    told = records(steps)
    ends: dict[int, Record] = {}
    orphans, seen = 0, []
    for at, record in enumerate(told):
        key = (record.source, record["op"])
        mine = [n for n in range(at) if told[n]["type"] == "invoke" and (told[n].source, told[n]["op"]) == key]
        if record["type"] == "invoke":
            orphans += key in seen
            seen.append(key)
        elif mine and mine[-1] not in ends:
            ends[mine[-1]] = record
        else:
            orphans += 1
    ops = History(told).operations
    rows = [at for at, record in enumerate(told) if record["type"] == "invoke"]
    assert len(ops) == len(rows)
    assert ops.orphans == orphans
    for row, at in enumerate(rows):
        begun, end = told[at], ends.get(at)
        assert (ops.invoke_ns[row], ops.intended_ns[row], ops.values[row]) == (at, at - 1, begun["value"])
        assert (ops.sources[ops.source[row]], ops.ids[row]) == (begun.source, begun["op"])
        assert (ops.processes[ops.process[row]], ops.fs[ops.f[row]]) == (begun["process"], begun["f"])
        assert ops.end_ns[row] == (OPEN if end is None else end.time_ns)
        assert ops.fate[row] == (INFO if end is None else FATES.index(end["type"]))
        assert ops.results[row] == (None if end is None else end["value"])
        assert ops.errors.get(row) == (None if end is None else end["error"])
    assert ops.rows("insert").tolist() == [n for n, at in enumerate(rows) if told[at]["f"] == "insert"]
    assert ops.rows("delete").tolist() == []


@given(STEPS)
def test_the_records_can_be_had_again(steps: list[tuple[str, str, Json, str, Json, int]]) -> None:
    """What the columns hold is all of it, but for what fits no operation."""
    told = records(steps)
    history = History(told)
    again = history.of("op")
    if not history.operations.orphans:
        assert again == told
    assert [record.time_ns for record in again] == sorted(record.time_ns for record in again)


def test_equal_results_are_one_object() -> None:
    """A million answers that say the same do not cost a million dictionaries."""
    told = [
        Record(at, "load", "op", {"type": step, "op": at // 2, "f": "get", "value": json.loads('{"status": 200}')})
        for at, step in enumerate(["invoke", "ok"] * 3)
    ]
    results = History(told).operations.results
    assert [result is results[0] for result in results] == [True] * 3


@pytest.mark.parametrize(
    "data",
    [
        {"op": 1},
        {"type": "invoke"},
        {"type": "invoke", "op": []},
        {"type": "invoke", "op": 1, "intended_ns": "soon"},
        {"type": "invoke", "op": 1, "intended_ns": 2**63},
        {"type": "invoke", "op": 1, "process": []},
        {"type": "won", "op": 0},
    ],
)
def test_what_is_no_operation_is_refused(data: dict[str, Json]) -> None:
    """Not guessed at, and no error of Python's own."""
    begun = Record(0, "load", "op", {"type": "invoke", "op": 0})
    with pytest.raises(HistoryError, match="this is no operation"):
        History([begun, Record(1, "load", "op", data)])


def test_operations_are_named_for_people() -> None:
    """The name and the error of a row are what a verdict says of it."""
    begun = {"type": "invoke", "op": 7, "process": "user-1", "f": "GET /"}
    told = [Record(0, "load", "op", begun), Record(1, "load", "op", begun | {"op": 8})]
    told.append(Record(2, "load", "op", {"type": "fail", "op": 8, "error": "refused"}))
    ops = History(told).operations
    assert ops.name(0) == "GET / (operation 7 of load, process user-1)"
    assert [ops.error(row) for row in range(2)] == ["still open at the end", "fail: refused"]
