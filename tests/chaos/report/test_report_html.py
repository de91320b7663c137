"""report.html needs nothing but itself, believes no name, and stays small."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import Story, a_run, half_an_hour, identity, result, self_healing, valid, whole_run

from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History
from chaos.report import write_report
from chaos.report.html import script_json
from chaos.report.timeline import MAX_LANES, timeline
from chaos.report.traffic import MAX_BINS

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&amp;'


def page(path: Path, *results: Any) -> str:
    """The report of a run with these results."""
    write_report(a_run(), results, path / "report.html")
    return (path / "report.html").read_text()


def figures(html: str) -> list[dict[str, Any]]:
    """What the figures are drawn from."""
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html, re.S)]


def test_nothing_is_fetched(tmp_path: Path) -> None:
    """No element, style or script names anything outside the file, and the browser is told to refuse it."""
    run, results = whole_run()
    write_report(run, results, tmp_path / "report.html")
    whole = (tmp_path / "report.html").read_text()
    html = re.sub(r'<script type="application/json">.*?</script>', "", whole, flags=re.S)
    tags = re.findall(r"<[a-z][^>]*>", html)
    assert [tag for tag in tags if re.search(r"\s(src|srcset|action|data|poster|background)\s*=", tag)] == []
    assert {link[:2] for link in re.findall(r'\bhref="([^"]*)"', html)} == {"#e"}
    assert (
        re.findall(r"https?://|@import|<link|<iframe|\bimport\b|fetch\(|XMLHttpRequest|WebSocket|sendBeacon", html)
        == []
    )
    assert {target[0] for target in re.findall(r"url\(([^)]*)\)", html)} <= {"#", "$"}
    assert "default-src 'none'" in html


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """A pod, a finding or a title that is HTML is shown, not run."""
    story = Story()
    story.pod(1, HOSTILE, HOSTILE, "added")
    story.at(2, "fault", fault=HOSTILE, id="f", edge="inject", target={"name": HOSTILE}, detail={"x": HOSTILE})
    verdict = Verdict(HOSTILE, Outcome.INVALID, HOSTILE, {HOSTILE: HOSTILE, "t": {HOSTILE: HOSTILE}}, (HOSTILE,))
    one = result(story.history(), [verdict], title=HOSTILE, scenario=HOSTILE, error=HOSTILE)
    html = page(tmp_path, one)
    assert "<script>alert" not in html
    assert "<img" not in html
    (figure,) = figures(html)
    assert figure["pods"][0]["label"] == HOSTILE
    assert "&lt;/script&gt;" in html


@given(st.text())
def test_embedded_json_cannot_end_its_element(text: str) -> None:
    """Whatever a name holds, it comes back as it was, and no markup is left in it."""
    safe = str(script_json({"name": text}))
    assert not set(safe) & set("<>&")
    assert json.loads(safe) == {"name": text}


def test_verdicts_come_first_and_expected_ones_are_told_apart(tmp_path: Path) -> None:
    """The table precedes every section; a known-bad INVALID is marked as expected, a real one is not."""
    run, results = whole_run()
    write_report(run, results, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert html.index('class="verdicts"') < html.index('class="experiment"')
    rows = re.findall(r"<tr>(.*?)</tr>", html.split('class="verdicts"')[1].split("</table>")[0], re.S)[1:]
    assert [re.findall(r'href="#e(.)"', row)[0] for row in rows] == ["2", "4", "5", "1", "3"], "what failed comes first"
    assert ["as expected" in row and "not as expected" not in row for row in rows] == [False, False, False, False, True]
    assert 'class="badge invalid"' in rows[0]
    assert ["312 acknowledged writes are gone" in row for row in rows] == [True, False, False, False, False]
    assert 'class="badge expected"' in rows[4]
    assert 'class="badge not-as-expected"' in rows[1]
    assert "INVALID" in re.sub("<[^>]*>", "", rows[4])
    for index in range(len(results)):
        assert f'href="#e{index + 1}"' in html
        assert f'id="e{index + 1}"' in html


def test_an_error_without_a_history_has_its_section(tmp_path: Path) -> None:
    """What failed before anything was recorded is told, with the commands, and without a figure."""
    html = page(tmp_path, result(error="StackError: mysql-2 was not ready within 180 s"))
    assert "StackError: mysql-2 was not ready within 180 s" in html
    assert "There is no history to draw." in html
    assert "--kindstorm-seed 7" in html
    assert "--kindstorm-rejudge" in html
    assert figures(html) == []


def test_vacuous_histories_are_drawn(tmp_path: Path) -> None:
    """A history of one note, and one of phases only, give a figure that says that nothing was recorded."""
    note, phases = Story(), Story()
    note.at(1, "note", text="only this")
    phases.phases(("before", 1, 2), ("fault", 2, 3))
    found = figures(page(tmp_path, result(note.history()), result(phases.history())))
    assert [one["load"] for one in found] == [None, None]
    assert found[0]["extent"][0] < found[0]["extent"][1]
    assert [phase["name"] for phase in found[1]["phases"]] == ["before", "fault"]
    assert found[1]["zero"] == "the start of the load"


def test_no_results_at_all_render(tmp_path: Path) -> None:
    """A run in which nothing ran says so."""
    assert "no experiment was run" in page(tmp_path)


def test_a_cut_off_history_says_so(tmp_path: Path) -> None:
    """Who looks at the figure learns that a source was cut off."""
    whole = self_healing(5)
    records = [r for r in whole.records if not (r.kind == "closing" and r.source == "load-0")]
    assert "load-0 has no closing record" in page(tmp_path, result(History(records), [valid()]))


def test_zero_is_the_injection_and_the_wall_clock_fits() -> None:
    """Second 0 is the first fault's injection; its wall clock comes from the nearest clock record."""
    figure = timeline(self_healing(5))
    (span,) = figure["faults"][0]["spans"]
    assert span["from"] == 0
    assert [(mark["edge"], mark["at"]) for mark in span["marks"]] == [
        ("inject", 0), ("injected", 0.08), ("effect", 0.31), ("heal", 3.4), ("healed", 3.5),
    ]  # fmt: skip
    assert figure["wall_ms"] == (1_790_000_000 + 32) * 1000
    assert figure["view"][0] < -20 < 40 < figure["view"][1]
    assert figure["endpoints"][0]["steps"][-2:] == [[0.2, 1, "p"], [3.4, 2, "p, p"]]


def test_zero_is_the_first_of_several_injections() -> None:
    """Later faults stand after it."""
    faults = timeline(identity())["faults"]
    assert [(fault["label"], fault["spans"][0]["from"]) for fault in faults] == [
        ("stop_node kindstorm-3-worker3", 0),
        ("restart_container web-2", 29.6),
    ]


def test_a_fault_that_was_never_healed_is_open() -> None:
    """Its band goes on to the end."""
    story = Story()
    story.at(1, "fault", fault="stop_node", id="f", edge="inject", target={"kind": "Node"}, detail=None)
    story.at(9, "note", text="end")
    (span,) = timeline(story.history())["faults"][0]["spans"]
    assert (span["open"], span["to"]) == (True, 8.0)


def test_lanes_beyond_the_limit_are_counted() -> None:
    """What is not drawn is said."""
    story = Story()
    for number in range(MAX_LANES + 5):
        story.pod(number / 10, f"p{number}", str(number), "added")
    figure = timeline(story.history())
    assert (len(figure["pods"]), figure["omitted"]) == (MAX_LANES, {"pods": 5})


MAX_BYTES = 5_000_000
"""A report of thirty minutes can be sent by mail: what the project promises of its size."""


def test_half_an_hour_stays_small_and_loses_no_extreme(tmp_path: Path) -> None:
    """A hundred requests a second under six faults: small, every request counted, the slowest one there."""
    history = half_an_hour()
    html = page(tmp_path, result(history, [valid()]))
    assert len(html.encode()) < MAX_BYTES / 5
    (figure,) = figures(html)
    load = figure["load"]
    assert sum(sum(load[fate]) for fate in ("ok", "fail", "info")) == 180_001
    assert max(ms for ms in load["max"] if ms is not None) == 29_500
    assert len(load["ok"]) <= MAX_BINS
    assert [len(figure[part]) for part in ("faults", "nodes", "pods", "dns")] == [5, 5, 10, 12]
    assert {step[1] for step in figure["endpoints"][0]["steps"]} == set(range(11))
    assert {"ready", "stopped"} <= {segment["state"] for segment in figure["nodes"][0]["segments"]}


def test_what_never_rests_stays_small(tmp_path: Path) -> None:
    """Pods that flap and answers that move ten times a second are thinned; errors are all counted."""
    story = Story()
    for number in range(6_000):
        story.request(number * 0.3, ("ok", "fail", "info")[number % 3], 0.1, f"refused {number} " + "x" * 200)
    for number in range(18_000):
        story.pod(number / 10, f"web-{number % 3}", f"uid-{number // 30}", ready=bool(number // 3 % 2))
        story.endpoints(number / 10, "web", *"1234"[: number % 4])
        story.dns(number / 10, "web-0", f"10.0.0.{number % 250}")
    html = page(tmp_path, result(story.history(), [valid()]))
    assert len(html) < 1_500_000
    (figure,) = figures(html)
    assert sum(map(sum, (figure["load"][fate] for fate in ("ok", "fail", "info")))) == 6_000


def test_images_name_the_stand_ins(tmp_path: Path) -> None:
    """A stand-in is never mistaken for the original software."""
    assert "Stand-ins, not the original software: mongo-express:1." in page(tmp_path, result(identity(), [valid()]))


def test_files_that_are_there_are_linked(tmp_path: Path) -> None:
    """As seen from the report, whatever the names; what is not there is not linked."""
    directory = tmp_path / "an experiment"
    (directory / "diagnostics").mkdir(parents=True)
    (directory / "diagnostics" / "index.txt").touch()
    html = page(tmp_path, replace(result(), directory=directory))
    assert re.findall(r'<a href="([^#"]+)"', html) == ["an%20experiment/diagnostics/index.txt"]
