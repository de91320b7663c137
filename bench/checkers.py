"""How long judging takes as histories grow, beside what only loading the same history takes, and how much memory.

    python bench/checkers.py                  10 000 to 1 million operations, judged by all checkers
    python bench/checkers.py --most 10000000  ten times as many (about 6 GB of disk, 4 GB of memory, ten minutes)

Each size is judged in a process of its own, so that its memory is its own. Seconds are the processor's, which is all
that it waits for: what else a machine does shall not count. The last line is one JSON object: name, value, unit,
goal, peer, ok.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from chaos import checkers
from chaos.history import SCHEMA, History, Json, Record

GOAL_S = 3.0
"""All checkers on a million operations."""
GOAL_GIB = 1.0
LINEAR = 1.6
"""By how much the time for each operation may grow from one size to one ten times as large."""
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
JUDGED = 1_000_000
PODS = 5
PAGE = 10_000
KEYS = 24
S = 1_000_000_000


def lines(operations: int) -> Iterator[Record]:
    """A sound run with so many operations at 500 a second: inserts, versioned keys and plain requests."""
    load_ns = max(40 * S, operations * S // 500)
    begin = 10 * S
    phases = {
        "deploy": (0, 5 * S),
        "steady": (5 * S, begin),
        "before": (begin, begin + load_ns // 4),
        "fault": (begin + load_ns // 4, begin + load_ns // 2),
        "recover": (begin + load_ns // 2, begin + load_ns * 3 // 4),
        "after": (begin + load_ns * 3 // 4, begin + load_ns),
        "verify": (begin + load_ns, begin + load_ns + S),
        "remove": (begin + load_ns + S, begin + load_ns + 2 * S),
    }
    names = [f"web-{number}" for number in range(PODS)]
    workload = {"kind": "StatefulSet", "name": "web", "replicas": PODS}
    baseline = {"nodes": {"worker": {"ready": True, "unschedulable": False, "taints": []}}, "namespaces": ["default"],
                "system_pods": {}, "volumes": [], "escaped_packets": 0}  # fmt: skip
    facts = {
        "experiment": {"namespace": "run"}, "baseline": baseline, "baseline_after": baseline, "completed": True,
        "stack": {"name": "web", "workloads": [workload], "services": ["web"], "identities": names},
    }  # fmt: skip
    told: list[Record] = [Record(0, "harness", "fact", {"name": n, "value": v}) for n, v in facts.items()]
    for name, (first, last) in phases.items():
        told += [
            Record(at, "harness", "phase", {"name": name, "edge": edge})
            for at, edge in ((first, "begin"), (last, "end"))
        ]
    inject = phases["fault"][0] + S
    target = {"kind": "Pod", "name": "web-1", "uid": "web-1-a", "namespace": "run"}
    for after, edge in enumerate(("inject", "injected", "effect", "heal", "healed")):
        detail = {"uid_before": "web-1-a"} if edge == "effect" else {}
        told.append(Record(inject + after * S // 10, "harness", "fault", {
            "fault": "kill_pod", "id": "kill", "edge": edge, "target": target, "detail": detail}))  # fmt: skip
    told += _objects(names, inject, begin + load_ns)
    told += _probes(names, inject, 5 * S, begin + load_ns)
    counted: dict[str, dict[str, int]] = {}
    ahead = iter(sorted(told, key=lambda record: record.time_ns))
    rest = next(ahead, None)
    last = 0
    for record in _operations(operations, begin, load_ns):
        while rest is not None and rest.time_ns <= record.time_ns:
            yield _count(rest, counted)
            rest = next(ahead, None)
        yield _count(record, counted)
        last = record.time_ns
    while rest is not None:
        yield _count(rest, counted)
        last = max(last, rest.time_ns)
        rest = next(ahead, None)
    for source, kinds in list(counted.items()):
        yield Record(last, source, "closing", {"records": dict(kinds)})


def _count(record: Record, counted: dict[str, dict[str, int]]) -> Record:
    kinds = counted.setdefault(record.source, {})
    kinds[record.kind] = kinds.get(record.kind, 0) + 1
    return record


def _objects(names: list[str], inject: int, end: int) -> Iterator[Record]:
    def pod(at: int, name: str, uid: str, verb: str = "modified", **state: Json) -> Record:
        whole = {
            "phase": "Running", "ready": True, "ip": f"ip-{uid}", "node": "worker", "claims": [f"data-{name}"],
            "owner": {"kind": "StatefulSet", "name": "web", "uid": "web-uid"}, "deleting": False,
            "containers": [{"name": "app", "state": "running"}],
        } | state  # fmt: skip
        return Record(at, "api:Pod", "object", {
            "verb": verb, "object": "Pod", "namespace": "run", "name": name, "uid": uid, "state": whole})  # fmt: skip

    def endpoints(at: int, uids: list[str]) -> Record:
        listed = [{"ip": f"ip-{uid}", "pod": uid[:-2], "pod_uid": uid, "ready": True} for uid in uids]
        return Record(at, "api:EndpointSlice", "object", {
            "verb": "modified", "object": "EndpointSlice", "namespace": "run", "name": "web-x", "uid": "slice",
            "state": {"service": "web", "endpoints": listed}})  # fmt: skip

    for number, name in enumerate(names):
        yield pod(S + number * S // 2, name, f"{name}-a", "added", ready=False)
        yield pod(S + number * S // 2 + S // 4, name, f"{name}-a")
    yield endpoints(4 * S, [f"{name}-a" for name in names])
    yield pod(inject + S // 20, "web-1", "web-1-a", ready=False, deleting=True)
    yield endpoints(inject + S // 10, [f"{name}-a" for name in names if name != "web-1"])
    yield pod(inject + S // 5, "web-1", "web-1-a", "deleted", ready=False, deleting=True)
    yield pod(inject + S * 3 // 10, "web-1", "web-1-b", "added", ready=False, node=None, ip=None)
    yield pod(inject + 2 * S, "web-1", "web-1-b")
    yield endpoints(inject + 2 * S + S // 10, [f"{name}-{'b' if name == 'web-1' else 'a'}" for name in names])
    for at in range(5 * S, end, S):
        for source in ("api:Pod", "api:EndpointSlice"):
            yield Record(at, source, "clock", {"wall_ns": at})


def _probes(names: list[str], inject: int, begin: int, end: int) -> Iterator[Record]:
    for at in range(begin, end, S // 2):
        for name in names:
            replaced = name == "web-1" and at > inject + 2 * S
            answers = (
                [] if name == "web-1" and inject < at <= inject + 2 * S else [f"ip-{name}-{'b' if replaced else 'a'}"]
            )
            yield Record(at, "probe", "probe", {
                "probe": "dns", "target": f"{name}.web.run.svc.cluster.local",
                "send_ns": at - 1_000_000, "receive_ns": at,
                "value": {"answers": answers, "rcode": "NOERROR"}, "error": None})  # fmt: skip


def _operations(operations: int, begin: int, load_ns: int) -> Iterator[Record]:
    took = 1_500_000
    step = load_ns // operations
    versions = [0] * KEYS
    written = []
    for number in range(operations):
        at = begin + number * step
        f: str
        asked: Json
        told: Json
        process = f"user-{number % KEYS}"
        if number % 3 == 0:
            f, asked = "insert", f"5f0c{number:08x}"
            told = asked
            written.append(asked)
        elif number % 3 == 1:
            key = number // 3 % KEYS
            process = f"user-{key}"
            if number // 3 // KEYS % 2 == 0:
                versions[key] += 1
                f, asked = "write", {"key": key, "version": versions[key]}
                told = asked
            else:
                f, asked, told = "read", {"key": key}, {"key": key, "version": versions[key]}
        else:
            f, asked, told = "GET /", None, {"status": 200, "pod": f"web-{number % PODS}", "bytes": 6}
        common = {"process": process, "op": number, "f": f}
        yield Record(at, "load", "op", {"type": "invoke", **common, "value": asked, "intended_ns": at})
        yield Record(
            min(at + took, at + step - 1), "load", "op", {"type": "ok", **common, "value": told, "error": None}
        )
    at = begin + load_ns + 1000
    pages = range(0, max(1, len(written)), PAGE)
    for page, start in enumerate(pages):
        common = {"process": "verifier", "op": page, "f": "read_all"}
        yield Record(at, "verify", "op", {"type": "invoke", **common, "value": {"page": page}, "intended_ns": at})
        ids = {"page": page, "ids": written[start : start + PAGE], "last": page == len(pages) - 1}
        yield Record(at + 1000, "verify", "op", {"type": "ok", **common, "value": ids, "error": None})
        at += 2000


def write(path: Path, operations: int) -> None:
    """The run as a sealed file, as the harness would have left it."""
    count, sources, last, digest = 0, set(), 0, hashlib.sha256()
    with path.open("wb") as file:
        for record in lines(operations):
            line = record.to_json()
            digest.update(line)
            file.write(line)
            count, last = count + 1, record.time_ns
            sources.add(record.source)
        mark = {"schema": SCHEMA, "records": count, "sources": sorted(sources)}
        bare = Record(last, "harness", "seal", mark)
        digest.update(bare.to_json())
        file.write(Record(last, "harness", "seal", mark | {"sha256": digest.hexdigest()}).to_json())


def all_checkers() -> list[checkers.Checker]:
    """Every checker there is, with budgets that the run keeps."""
    return [
        checkers.at_most_one("web-*"),
        checkers.availability(error_ratio_max=0.01, gap_s_max=1.0),
        checkers.consistency(lag_s_max=0),
        checkers.disruption_budget(),
        checkers.dns(settle_s_max=10),
        checkers.durability(),
        checkers.identity("web-*"),
        checkers.load_balance(),
        checkers.ordering("web"),
        checkers.placement("StatefulSet/web", per_node_max=PODS),
        checkers.quiescence(),
        checkers.recovery(after_fault_s_max=30),
        checkers.rescheduling("web-1", moves=False),
    ]


def judge(path: Path) -> dict[str, Json]:
    """Load and judge one file: seconds of processor time, peak memory, and what each checker said and took."""
    began = time.process_time()
    history = History.load(path)
    loaded_s = time.process_time() - began
    took: dict[str, Json] = {}
    for checker in all_checkers():
        began = time.process_time()
        verdict = checkers.judge(history, [checker])[0]
        took[verdict.checker] = {"s": round(time.process_time() - began, 3), "outcome": str(verdict.outcome)}
        if verdict.outcome is checkers.Outcome.INVALID or "traceback" in verdict.evidence:
            raise SystemExit(f"{verdict.checker} says {verdict.outcome} of a sound run: {verdict.summary}")
    judged_s = sum(each["s"] for each in took.values())
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"load_s": loaded_s, "judge_s": judged_s, "peak_gib": peak_gib, "checkers": took}


def main() -> None:
    """Write, load and judge each size; say how it grows."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--most", type=int, default=JUDGED, help="the largest number of operations")
    options.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.judge:
        print(json.dumps(judge(given.judge)))
        return
    found: dict[int, dict[str, Json]] = {}
    with tempfile.TemporaryDirectory(prefix="kindstorm-bench-") as folder:
        for size in (size for size in SIZES if size <= given.most):
            path = Path(folder) / "history.jsonl"
            write(path, size)
            command = [sys.executable, __file__, "--judge", str(path)]
            done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                raise SystemExit(f"the run of {size} operations was not judged (status {done.returncode})")
            found[size] = json.loads(done.stdout.splitlines()[-1])
            row = found[size]
            slow = sorted(row["checkers"].items(), key=lambda item: -item[1]["s"])[:3]
            slowest = ", ".join(f"{name} {one['s']:.2f} s" for name, one in slow)
            print(
                f"{size:>9} operations: loaded in {row['load_s']:.2f} s, judged in {row['judge_s']:.2f} s, "
                f"{row['peak_gib']:.2f} GiB; slowest: {slowest}", flush=True,
            )  # fmt: skip
    largest = max(found)
    growth = {
        size: (found[size]["judge_s"] / size) / (found[size // 10]["judge_s"] / (size // 10))
        for size in found
        if size // 10 in found
    }
    million = found.get(JUDGED, found[largest])
    fits = million["judge_s"] <= GOAL_S and million["peak_gib"] <= GOAL_GIB
    result = {
        "name": "judging a million operations by all checkers",
        "value": round(million["judge_s"], 2),
        "unit": "s",
        "goal": GOAL_S,
        "peer": {"only loading it, s": round(million["load_s"], 2), "peak, GiB": round(million["peak_gib"], 2),
                 "growth of the time per operation, by size": {str(k): round(v, 2) for k, v in growth.items()}},
        "ok": fits and all(value <= LINEAR for value in growth.values()),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
