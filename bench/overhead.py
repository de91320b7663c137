"""How much longer a scenario takes than what it consists of: the cluster's own work, and the load it asked for.

    python bench/overhead.py     runs three scenarios on one cluster and measures the last two (four minutes)

What it consists of is read from the stored history: from the first object applied to the last pod ready, the seconds of
load before and after, from the injection until the last pod and endpoint came back, the verifying read, and the
removal of the namespace. All else of the test's duration is the harness: its probe, its processes, its evidence, its
verdicts. The last line is one JSON object: name, value, unit, goal, peer, ok.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from chaos.history import History

GOAL = 1.10
ROOT = Path(__file__).resolve().parent.parent
FIRST = "scenarios/test_self_healing.py"
MEASURED = ("scenarios/test_stable_identity.py", "scenarios/test_data_persistence.py")
S = 1_000_000_000


def parts_s(history: History) -> dict[str, float]:
    """What the scenario consisted of, in seconds."""
    phases = {name: history.phase(name) or (0, 0) for name in ("deploy", "fault", "recover", "remove")}
    load_s = history.fact("experiment")["load_s"]

    def changed(kind: str, begin: int, end: int) -> int:
        times = [
            record.time_ns
            for record in history.objects(kind)
            if begin <= record.time_ns < end and not str(record["name"]).startswith("kindstorm-probe")
        ]
        return max(times, default=begin)

    ready = max(changed("Pod", *phases["deploy"]), changed("EndpointSlice", *phases["deploy"]))
    injected = min((at for fault in history.faults() if (at := fault.at("inject"))), default=phases["fault"][0])
    back = max(changed(kind, injected, phases["recover"][1]) for kind in ("Pod", "EndpointSlice"))
    healed = max((at for fault in history.faults() if (at := fault.at("healed"))), default=injected)
    verify = history.operations.rows("read_all")
    ops = history.operations
    read_ns = int(ops.end_ns[verify].max() - ops.invoke_ns[verify].min()) if len(verify) else 0
    return {
        "deploy": (ready - phases["deploy"][0]) / S,
        "load": load_s["before"] + load_s["after"],
        "fault": (max(back, healed) - injected) / S,
        "verify": read_ns / S,
        "remove": (phases["remove"][1] - phases["remove"][0]) / S,
    }


def main() -> None:
    """Run, read, compare."""
    wall, own = 0.0, 0.0
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="kindstorm-bench-") as name:
        command = [
            sys.executable, "-m", "pytest", "-q", "--kindstorm-runs", name, "-m", "smoke and not full",
            FIRST, *MEASURED,
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode:
            raise SystemExit(f"the scenarios ended with status {done.returncode}; a red run measures nothing")
        results = json.loads(next(Path(name).glob("*/results.json")).read_text())
        durations = {test["node_id"]: test["duration_s"] for test in results["tests"]}
        for experiment in results["experiments"]:
            scenario = experiment["scenario"]
            if scenario.partition("::")[0] not in MEASURED:
                continue
            parts = parts_s(History.load(Path(experiment["directory"]) / "history.jsonl"))
            wall, own = wall + durations[scenario], own + sum(parts.values())
            rows[scenario.partition("::")[2]] = {part: round(seconds, 1) for part, seconds in parts.items()} | {
                "all of it": round(durations[scenario], 1)
            }
    for scenario, row in rows.items():
        print(f"{scenario}: " + ", ".join(f"{part} {seconds} s" for part, seconds in row.items()))
    if not rows:
        raise SystemExit("no scenario was measured")
    result = {
        "name": "a scenario's wall time over its own steps",
        "value": round(wall / own, 3),
        "unit": "ratio",
        "goal": GOAL,
        "peer": {"wall, s": round(wall, 1), "own steps, s": round(own, 1)},
        "ok": wall / own <= GOAL,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
