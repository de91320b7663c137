"""How soon the report of a long run is ready in a browser, and how large it is.

    python bench/report.py    half an hour at 100 requests/s under six faults, made up; opened five times in Chromium

Ready is when the script has drawn all of it and the browser has laid it out, from the start of the navigation; then it
can be read and zoomed. The page has a limit of 5 MB as well.

The last line is one JSON object: name, value, unit, goal, peer, ok.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chaos.checkers.verdict import Outcome, Verdict
from chaos.report import write_report

sys.path.append(str(Path(__file__).parents[1] / "tests" / "chaos" / "report"))  # the history made up for its tests

from synthetic_runs import a_run, half_an_hour, result

GOAL_S = 2.0
MAX_MB = 5.0
ROUNDS = 5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TELL = """<script>
  document.body.dataset.height = document.body.getBoundingClientRect().height;
  document.body.dataset.ready = performance.now();
  document.body.dataset.drawn = document.querySelectorAll("svg.timeline *").length;
</script></body>"""
"""Asking for the height makes the browser lay everything out before the time is taken."""


def ready_s(browser: str, page: Path) -> tuple[float, int]:
    """Seconds from the start of the navigation until the page was laid out, and how many elements the figure has."""
    with tempfile.TemporaryDirectory(prefix="kindstorm-bench-") as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                 f"--user-data-dir={profile}", "--window-size=1280,900"]  # fmt: skip
        done = subprocess.run(
            [browser, *flags, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True
        )
    ready, drawn = (re.search(rf'data-{name}="([\d.]+)"', done.stdout) for name in ("ready", "drawn"))
    if ready is None or drawn is None:
        raise SystemExit("the page never told that it was ready")
    return float(ready[1]) / 1000, int(drawn[1])


def main() -> None:
    """Measure and print."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"no browser to open the report with: install one of {', '.join(BROWSERS)}")
    history = half_an_hour()
    with tempfile.TemporaryDirectory(prefix="kindstorm-bench-") as name:
        page = Path(name) / "report.html"
        begin = time.monotonic()
        write_report(a_run(), [result(history, [Verdict("availability", Outcome.VALID, "answered")])], page)
        written_s, size_mb = time.monotonic() - begin, page.stat().st_size / 1e6
        print(f"{len(history)} records; the report is {size_mb:.2f} MB and was written in {written_s:.1f} s")
        page.write_text(page.read_text().replace("</body>", TELL))
        rounds = [ready_s(browser, page) for _ in range(ROUNDS)]
    times = sorted(seconds for seconds, _ in rounds)
    print(f"ready after {', '.join(f'{seconds:.2f}' for seconds in times)} s; the figure has {rounds[0][1]} elements")
    value = statistics.median(times)
    outcome = {
        "name": "report_ready",
        "value": round(value, 2),
        "unit": "s",
        "goal": f"<= {GOAL_S:g}, with a page of <= {MAX_MB:g} MB",
        "peer": f"none: a limit; the page is {size_mb:.2f} MB",
        "ok": value <= GOAL_S and size_mb <= MAX_MB,
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
