"""The report in a real browser: its script runs without an error and draws what was recorded."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import HistoryWriter, seal
from chaos.report import ExperimentResult, RunInfo, write_report

S = 1_000_000_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
READ_A_LANE = """<script>
  const figure = document.querySelector(".figure").figure;
  const plot = document.querySelector(".plot");
  const press = (key, shiftKey = false) => plot.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey }));
  const width = () => figure.view[1] - figure.view[0];
  const before = width();
  press("+");
  document.body.dataset.zoomed = String(width() < before);
  press("0");
  document.body.dataset.reset = String(width() === before);
  while (figure.rows[figure.row].label !== "web-1") press("ArrowDown");
</script></body>"""

pytestmark = pytest.mark.live


@pytest.fixture
def browser() -> str:
    """A Chromium on PATH."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser to look at the report with: install one of {', '.join(BROWSERS)}")


def test_the_report_draws_itself(tmp_path: Path, browser: str) -> None:
    """No error on the console; lanes, bands and a tooltip read by keyboard are in the page."""
    with HistoryWriter(tmp_path / "segment.jsonl", "harness", now=lambda: 9 * S) as writer:
        for name, begin in (("before", 0), ("fault", 3), ("after", 6)):
            writer.write("phase", time_ns=begin * S, name=name, edge="begin")
            writer.write("phase", time_ns=(begin + 3) * S, name=name, edge="end")
        for edge, at in (("inject", 3), ("effect", 4), ("healed", 5)):
            writer.write("fault", time_ns=at * S, fault="kill_pod", id="f", edge=edge, target={"name": "web-1"})
        for number in range(80):
            writer.write("op", time_ns=number * S // 10, type="invoke", process=0, op=number, f="get", value=None)
            fate = "fail" if 30 < number < 40 else "ok"
            writer.write(
                "op", time_ns=number * S // 10 + 9_000_000, type=fate, process=0, op=number, f="get", value=None
            )
        for uid, at in (("aaaa1111", 0), ("bbbb2222", 4)):
            state = {"phase": "Running", "ready": True, "node": "worker</script>"}
            writer.write("object", time_ns=at * S, verb="added", object="Pod", namespace="n", name="web-1", uid=uid,
                         state=state)  # fmt: skip
    history = seal([tmp_path / "segment.jsonl"], tmp_path / "history.jsonl")
    verdict = Verdict("recovery", Outcome.VALID, "back after 1 s", {"recovery_s": 1.0})
    one = ExperimentResult("a.py::t", "A promise.", "a-0", 1, tmp_path, None, (verdict,), history)
    report = tmp_path / "report.html"
    write_report(RunInfo("r", "2026-11-21T12:00:00Z", "pytest", "v1.36.1", "fast"), [one], report)
    page = report.read_text()
    allowed = page.replace("</body>", READ_A_LANE)
    report.write_text(allowed)
    run = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900", "--dump-dom", report.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert re.findall(r".*CONSOLE.*", run.stderr) == []
    dom = run.stdout
    assert len(re.findall(r'class="s-ready"', dom)) >= 2
    assert dom.count('class="new-uid"') == 2, "one in the legend, one where web-1 changed its UID"
    assert 'class="fault-band"' in dom
    assert 'class="fail-rug"' in dom
    assert "aaaa1111 on worker&lt;/script&gt;" in dom
    tip = re.search(r'<div class="tip"[^>]*>(.*?)</div></div>', dom, re.S)
    assert tip is not None
    assert "<b>web-1</b>" in tip[1]
    assert 'data-zoomed="true"' in dom
    assert 'data-reset="true"' in dom
