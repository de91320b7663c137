"""The recovery table tells each stage with its source and its share of the budget, whatever a checker leaves out."""

import pytest

import kindstorm.checkers as offered
from chaos.history import Json
from chaos.report.promises import PROMISES, promise
from chaos.report.stages import duration, stage_table

FAULT: dict[str, Json] = {
    "fault": "kill_pod on Pod web-1",
    "stages_ms": {"gone": [0.0, 100.0], "ready": [1500.0, 2000.0], "client": [900.0, None]},
    "stages_from": {"ready": "api:Pod"},
    "whole_after_fault_ms": [2000.0, 2500.0],
    "whole_after_heal_ms": None,
    "client_ms": [900.0, None],
    "budget_s": {"since": "inject", "exit": 2, "start": 8.0, "total": 10.0},
    "budget_lacks": [],
    "used_percent": [20.0, 25.0],
}


def test_every_stage_has_its_interval_source_and_share() -> None:
    """Placed on the fault's own scale; the first success of clients is told once."""
    table = stage_table({"faults": [FAULT]})
    assert table is not None
    rows = {name: cells[0] for name, cells in table.rows}
    assert list(rows) == ["gone", "ready", "client", "whole again after the fault"]
    ready, client = rows["ready"], rows["client"]
    assert ready is not None
    assert (ready.text, ready.source, ready.share) == ("1.50 to 2.00 s", "api:Pod", "15 to 20 % of budget")
    assert (ready.left, ready.width) == (60.0, 20.0)
    assert client is not None
    assert (client.text, client.open, client.share) == ("never seen, not by 900 ms", True, "over 9 % of budget")
    assert table.budgets == ("10 s from the injection by the cluster's settings: exit 2 + start 8; used: 20 to 25 %",)


def test_what_is_not_told_is_left_out() -> None:
    """Of two faults with different stages each has its own; a fault without any has empty cells."""
    other = {"fault": "drain_node on Node n1", "stages_ms": {"evicted": [1.0, 2.0]}}
    table = stage_table({"faults": [FAULT, other, "odd"], "after_fault_s_max": 4.0})
    assert table is not None
    assert table.faults == ("kill_pod on Pod web-1", "drain_node on Node n1")
    rows = dict(table.rows)
    assert rows["ready"][1] is None
    assert rows["evicted"][0] is None
    assert rows["ready"][0] is not None
    assert rows["ready"][0].share == "38 to 50 % of budget", "the author's budget outweighs the derived one"


@pytest.mark.parametrize(
    "evidence", [{}, {"faults": 3}, {"faults": []}, {"faults": [{}]}, {"faults": [{"stages_ms": "none"}]},
                 {"faults": [{"stages_ms": {"ready": None}, "stages_from": 3, "budget_s": []}]}],
)  # fmt: skip
def test_no_stage_no_table(evidence: dict[str, Json]) -> None:
    """Whatever stands there instead."""
    assert stage_table(evidence) is None


def test_a_budget_that_could_not_be_derived_says_why() -> None:
    """What is lacking is named, and no share is claimed."""
    fault = {**FAULT, "budget_s": {"since": "heal", "total": None}, "budget_lacks": ["the pods' grace"],
             "used_percent": None}  # fmt: skip
    table = stage_table({"faults": [fault]})
    assert table is not None
    assert table.budgets == ("none could be derived: the pods' grace not known",)
    assert {cell.share for _, (cell,) in table.rows if cell} == {""}


def test_a_budget_that_runs_from_the_healing_is_no_share_of_stages() -> None:
    """Stages are told from the injection, so they are not set against another clock."""
    table = stage_table({"faults": [{**FAULT, "budget_s": {"since": "heal", "total": 10.0}}]})
    assert table is not None
    assert {cell.share for _, (cell,) in table.rows if cell} == {""}
    assert table.budgets[0].startswith("10 s from the healing")


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((0.0, 0.4), "0.0 to 0.4 ms"),
        ((999.0, 1001.0), "0.999 to 1.001 s"),
        ((5.0, 60.0), "5 to 60 ms"),
        ((1500.0, 1700.0), "1.50 to 1.70 s"),
        ((1500.0, None), "never seen, not by 1.50 s"),
    ],
)  # fmt: skip
def test_durations_have_one_unit(interval: tuple[float, float | None], text: str) -> None:
    """Both ends in seconds where the later one is a second or more, and a narrow interval is no point."""
    assert duration(*interval) == text


def test_promises_name_their_bounds() -> None:
    """With the unit, also of a checker that nobody has described."""
    assert promise("availability", {"error_ratio_max": 0.1, "gap_s_max": 2.0, "min_ok": 20, "late_s": 1}) == (
        PROMISES["availability"] + " Error ratio at most 0.1; gap at most 2 s."
    )
    assert promise("identity(web-*)", {"dns_s_max": None}) == PROMISES["identity"]
    assert promise("identity(web-*)", {"dns_s_max": 30}).endswith("others are untouched. DNS at most 30 s.")
    assert promise("brand_new", {"lag_ms_max": 5}) == "Lag at most 5 ms."


def test_every_checker_has_a_promise() -> None:
    """Those that a scenario may name, and quiescence, which is judged always."""
    named = {name for name in offered.__all__ if name.islower()} | {"quiescence"}
    assert named <= PROMISES.keys()
