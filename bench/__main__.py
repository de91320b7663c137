"""Run all measurements, one after another, and write what they say into docs/benchmarks.md: ``python bench [NAME...]``.

Each script of this folder prints one JSON object as its last line: name, value, unit, goal, peer, ok. A script that
fails leaves its old row and makes this one fail; a figure that misses its goal is written down as it is.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

HERE = Path(__file__).parent
TABLE = HERE.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

What is measured, beside a peer or a limit in the same run. `make bench` runs all of it and writes this table;
`python bench NAME` runs one. The scripts are in [bench/](../bench), each says at its top what it does.

| script | what | figure | goal | | beside it | measured |
|---|---|---|---|---|---|---|
"""
_ROW = re.compile(r"^\| `(\w+)` \|.*$", re.MULTILINE)


def run(script: Path) -> dict[str, Any] | None:
    """The script's result, its output passed on as it comes; None where it failed or its last line is no result."""
    print(f"== {script.name}", flush=True)
    last = ""
    command = [sys.executable, "-u", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line if line.strip() else last
    try:
        result = orjson.loads(last)
    except orjson.JSONDecodeError:
        result = None
    whole = isinstance(result, dict) and {"name", "value", "unit", "goal", "peer", "ok"} <= result.keys()
    if process.returncode or not whole:
        print(f"{script.name} ended with status {process.returncode} and no result", file=sys.stderr)
        return None
    return dict(result)


def row(script: str, result: dict[str, Any]) -> str:
    """The table's row of one result."""
    peer = result["peer"]
    beside = "; ".join(f"{name}: {value}" for name, value in peer.items()) if isinstance(peer, dict) else str(peer)
    machine = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} processors, {platform.machine()}"
    met = "met" if result["ok"] else "**missed**"
    cells = [f"`{script}`", result["name"], f"{result['value']} {result['unit']}", result["goal"], met, beside, machine]
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def written(rows: dict[str, str]) -> str:
    """The document: the rows in the scripts' order, and whatever stands below the table."""
    old = TABLE.read_text() if TABLE.exists() else HEAD
    kept = {match[1]: match[0] for match in _ROW.finditer(old)} | rows
    below = _ROW.sub("", old.partition("|---|---|---|---|---|---|---|\n")[2]).lstrip("\n")
    scripts = [script.stem for script in scripts_here()]
    table = "".join(f"{kept[name]}\n" for name in scripts if name in kept)
    return HEAD + table + (f"\n{below}" if below else "")


def scripts_here() -> list[Path]:
    """Every measurement, by name."""
    return sorted(path for path in HERE.glob("*.py") if path != Path(__file__))


def main() -> None:
    """Run the named ones, or all, and rewrite the table."""
    wanted = sys.argv[1:]
    known = {script.stem: script for script in scripts_here()}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"there is no measurement {', '.join(unknown)}; choose of {', '.join(known)}")
    rows, failed = {}, []
    for name in wanted or known:
        result = run(known[name])
        if result is None:
            failed.append(name)
            continue
        rows[name] = row(name, result)
        TABLE.write_text(written(rows))
    if failed:
        raise SystemExit(f"no result of {', '.join(failed)}")


if __name__ == "__main__":
    main()
