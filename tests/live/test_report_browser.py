"""The pages in a real browser: no error, no request, everything drawn, read by pointer and keys, in dark and light."""

from __future__ import annotations

import html
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.report import compare, runs_at, write_comparison, write_index, write_report, write_results

sys.path.append(str(Path(__file__).parents[1] / "chaos" / "report"))  # runs made by hand, shared with the unit tests

from synthetic_runs import Story, a_run, result, valid, whole_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
         "--enable-logging=stderr", "--no-pings", "--disable-extensions", "--window-size=1280,900")  # fmt: skip

BROWSERS_OWN = (b" http://clients2.google.com/time/", b"update.googleapis.com", b" accounts.google.com:443 ")
"""What Chromium asks for on its own account, whatever page it shows."""

READ = """
  const figure = document.querySelector("#e2 .figure").figure, plot = document.querySelector("#e2 .plot");
  told.waits = !figure.drawnAt;
  figure.wake();
  const press = (key, shiftKey = false) => plot.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey }));
  const kinds = ["s-ready", "s-answer", "s-stopped", "ok", "fail", "p50", "steps", "event-warning", "run",
    "fault-band"];
  const drawn = () => kinds
    .map((kind) => [kind, [...plot.querySelectorAll("g ." + kind)].map((e) => e.outerHTML).join("")]);
  const width = () => figure.view[1] - figure.view[0];
  const read = (label) => {
    figure.row = figure.rows.findIndex((row) => row.label === label);
    figure.cursor = 10;
    figure.drawCursor();
    return figure.tip.hidden ? null : figure.tip.innerText;
  };
  const first = drawn(), before = width();
  press("+");
  told.zoomed = width() < before;
  told.moved = drawn().filter(([kind, text], i) => text && text !== first[i][1]).map(([kind]) => kind);
  press("ArrowRight");
  told.panned = figure.view[0] > 0;
  press("0");
  told.reset = width() === before;
  press("ArrowDown");
  press("ArrowRight", true);
  told.by_keys = !figure.tip.hidden;
  told.reachable = plot.tabIndex === 0 && [...document.querySelectorAll("button")].every((b) => b.tabIndex === 0);
  for (const label of ["web-1", "kindstorm-3-worker3", "nginx", "Requests per second", "Warning events"]) {
    figure.row = 0;
    told[label] = read(label);
  }
  const line = figure.rows.find((row) => row.label === "web-2");
  const box = figure.svg.getBoundingClientRect();
  const over = { clientX: box.left + figure.x(20), clientY: box.top + line.y + 3, bubbles: true, pointerId: 1 };
  plot.dispatchEvent(new PointerEvent("pointermove", over));
  told.hovered = figure.tip.innerText;
  plot.dispatchEvent(new PointerEvent("pointerleave", over));
  told.left_alone = figure.tip.hidden;
"""

CONTRAST = """
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => rgb.slice(0, 3).map((c) => linear(c / 255))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const rgb = numbers(getComputedStyle(e).backgroundColor);
      if (rgb.length < 4 || rgb[3] > 0) return rgb;
    }
    return [255, 255, 255];
  };
  document.querySelectorAll(".figure").forEach((root) => root.figure.wake());
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  told.ground = getComputedStyle(document.body).backgroundColor;
  told.wide = document.documentElement.scrollWidth - innerWidth;
  told.pale = [...document.querySelectorAll("main *")]
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .filter((e) => e.checkVisibility()).map((e) => {
      const svg = e instanceof SVGElement;
      if (svg && /on-ready|on-answer|on-hatch/.test(e.getAttribute("class"))) return null;
      const ink = light(numbers(svg ? getComputedStyle(e).fill : getComputedStyle(e).color)), back = light(ground(e));
      const ratio = (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
      return ratio < 4.5 ? `${e.tagName}.${e.getAttribute("class")} ${ratio.toFixed(2)}` : null;
    }).filter(Boolean);
"""

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def browser() -> str:
    """A Chromium on PATH."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser to look at the report with: install one of {', '.join(BROWSERS)}")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of runs with its index, the report of one, and a comparison."""
    folder = tmp_path_factory.mktemp("runs")
    run, results = whole_run()
    for name in ("one", "two"):
        (folder / name).mkdir()
        write_results(run, results, folder / name / "results.json")
    write_report(run, results, folder / "one" / "report.html")
    write_index(folder)
    write_comparison(compare(("one", "two"), runs_at(folder / "one"), runs_at(folder)), folder / "compare.html")
    return folder


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """Where the browser is told to send whatever it asks for, and what arrived there."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    request = connection.recv(200)
                if not any(host in request.split(b"\r\n")[0] for host in BROWSERS_OWN):
                    asked.append(request)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def visit(browser: str, page: Path, script: str, folder: Path, *flags: str) -> tuple[dict[str, Any], list[str]]:
    """What a script in the page told, and what the browser had to complain of."""
    copy = page.with_name(f"visited-{folder.name}.html")
    keep = "document.body.dataset.told = JSON.stringify(told);"
    tail = f"<script>(() => {{ const told = {{}}; {script}; {keep} }})()</script></body>"
    copy.write_text(page.read_text().replace("</body>", tail))
    run = subprocess.run(
        [browser, *QUIET, f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", copy.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'data-told="([^"]*)"', run.stdout)
    told = json.loads(html.unescape(found[1])) if found else {}
    return told, re.findall(r".*CONSOLE.*", run.stderr)


def test_the_report_is_read_by_pointer_and_keys(browser: str, pages: Path, tmp_path: Path) -> None:
    """All of it is drawn, a zoom moves all of it, and every kind of row tells what was true under the cursor."""
    told, complaints = visit(browser, pages / "one" / "report.html", READ, tmp_path)
    assert complaints == []
    assert told["moved"] == [
        "s-ready", "s-answer", "s-stopped", "ok", "fail", "p50", "steps", "event-warning", "run", "fault-band",
    ]  # fmt: skip
    assert [told[name] for name in ("zoomed", "panned", "reset", "by_keys", "reachable", "left_alone")] == [True] * 6
    assert told["waits"], "a figure that is far below is not drawn before it is looked for"
    assert "state: terminating" in told["web-1"]
    assert "ran on the node: app on worker3" in told["web-1"]
    assert "exit 137, ±0.3 ms" in told["web-1"]
    assert "state: stopped" in told["kindstorm-3-worker3"]
    assert "kubernetes: not-ready" in told["kindstorm-3-worker3"]
    assert "ready endpoints: 2" in told["nginx"]
    assert "failed: 3 (6.0 /s)" in told["Requests per second"]
    assert told["hovered"].startswith("web-2\n+20 s")


@pytest.mark.full
@pytest.mark.parametrize(
    ("scheme", "ground"), [("0", "rgb(20, 24, 26)"), ("1", "rgb(251, 251, 249)")], ids=["dark", "light"]
)
def test_everything_can_be_read_in_dark_and_light(
    browser: str, pages: Path, tmp_path: Path, scheme: str, ground: str
) -> None:
    """All text has the contrast of 4.5 that WCAG 2.2 asks for (1.4.3, level AA), and nothing is wider than the page."""
    told, complaints = visit(
        browser, pages / "one" / "report.html", CONTRAST, tmp_path, f"--blink-settings=preferredColorScheme={scheme}"
    )
    assert complaints == []
    assert told["ground"] == ground
    assert told["pale"] == []
    assert told["wide"] <= 0


@pytest.mark.parametrize(
    "name",
    ["one/report.html", *(pytest.param(name, marks=pytest.mark.full) for name in ("index.html", "compare.html"))],
)
def test_no_page_asks_for_anything(
    browser: str, pages: Path, tmp_path: Path, name: str, proxy: tuple[str, list[bytes]]
) -> None:
    """Nothing reaches the proxy that the browser is given, and its text can be read."""
    told, complaints = visit(browser, pages / name, CONTRAST, tmp_path, f"--proxy-server={proxy[0]}")
    assert complaints == []
    assert proxy[1] == []
    assert told["pale"] == []
    assert told["wide"] <= 0


@pytest.mark.full
def test_a_request_would_be_noticed(browser: str, tmp_path: Path, proxy: tuple[str, list[bytes]]) -> None:
    """A page that does ask for something is seen to."""
    page = tmp_path / "page.html"
    page.write_text('<body><img src="http://elsewhere.invalid/picture.png"></body>')
    visit(browser, page, "", tmp_path, f"--proxy-server={proxy[0]}")
    assert any(b"elsewhere.invalid/picture.png" in request for request in proxy[1])


def test_hostile_names_are_drawn_as_text(browser: str, tmp_path: Path) -> None:
    """A node whose name ends the script is a label in the figure and in its reading line."""
    story = Story()
    name = "</script><img src=x onerror=alert(1)>"
    story.pod(1, "web-1", "aaaa1111", node=name)
    story.pod(9, "web-1", "aaaa1111", node=name)
    write_report(a_run(), [result(story.history(), [valid()])], tmp_path / "report.html")
    script = """
      const figure = document.querySelector(".figure").figure;
      figure.row = figure.rows.findIndex((row) => row.label === "web-1");
      figure.cursor = 3;
      figure.drawCursor();
      told.read = figure.tip.innerText;
      told.drawn = document.querySelector("svg.timeline").textContent;
      told.images = document.images.length;
    """
    told, complaints = visit(browser, tmp_path / "report.html", script, tmp_path)
    assert complaints == []
    assert f"node: {name}" in told["read"]
    assert f"aaaa1111 on {name}" in told["drawn"]
    assert told["images"] == 0
