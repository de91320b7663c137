"""How true our recovery figures are: pod kills, each stage beside an observer that has nothing of ours.

    python bench/recovery.py                  200 kills of the one pod of a StatefulSet, about an hour
    python bench/recovery.py --kills 20       fewer of them
    python bench/recovery.py --peers FOLDER   use (or make) the peers' virtual environment there

The truth: for the old container's exit and the new one's start `ctr events` on every node; for the endpoint a poll of
the API, and for the first success a prober of the entry, each every 5 ms in a process of its own. Our interval must
hold it every time. The same kills are timed by chaostoolkit-kubernetes (statefulset_fully_available) and by krkn's pod
monitor (krkn-lib), from PyPI in an environment of their own, as far as they install; a tool that does not is replaced
by its polling interval, and named so. The last line is one JSON object: name, value, unit, goal, peer, ok.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from chaos import cluster as clusters
from chaos import experiment, provision
from chaos.checkers import recovery
from chaos.cluster import Cluster, ClusterSpec
from chaos.experiment import Plan
from chaos.faults import kill_pod
from chaos.faults.kill_pod import KilledPod
from chaos.history import History
from chaos.kube import Kube
from chaos.nemesis import Scene
from chaos.stack import STACKS, Stack
from chaos.targets import ordinal
from images import catalogue as catalogues
from images.setup import kind_command
from load.driver import LocustLoad
from load.profiles import HTTP_READS
from load.verifier import DocumentVerifier

GOAL_MS = 50.0
EVERY_S = 0.005
SETTLED_S = 120
CLIENTS = replace(HTTP_READS, name="bench-reads", users=60, rate_per_s=60.0)
"""Often enough that the time between two requests is well under the goal."""
STAGES = ("exited", "started", "endpoint", "client")
NAME, PORT, SERVICE = "web-0", 30081, "web-external"
POLLED = {"chaostoolkit-kubernetes": 2.0, "krkn": 1.0}
"""Seconds between two looks, for a peer that could not be installed: the default pause of chaostoolkit's own retries of
a steady state, and that of krkn's wait for pods."""
Truth = tuple[float, float]
"""Not before, and not after, in monotonic ns."""


# ---- what observes, each in a process of its own


def probe(url: str) -> None:
    """Ask the entry every 5 ms, whatever became of earlier questions; print send, receive and whether it answered."""
    import asyncio

    host, _, port = url.removeprefix("http://").partition(":")

    async def ask() -> None:
        send = time.monotonic_ns()
        good, writer = False, None
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                good = b" 200 " in await reader.readline()
        print(f"[{send}, {time.monotonic_ns()}, {int(good)}]", flush=True)
        if writer is not None:
            writer.close()

    async def run() -> None:
        asked = set()
        due = time.monotonic()
        while True:
            task = asyncio.ensure_future(ask())
            asked.add(task)
            task.add_done_callback(asked.discard)
            due = max(due + EVERY_S, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    asyncio.run(run())


def poll(kubeconfig: str, namespace: str) -> None:
    """Read the Service's slices every 5 ms; print send, receive and the UIDs of its ready endpoints."""
    kube = Kube(Path(kubeconfig))
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    path += f"?labelSelector=kubernetes.io/service-name%3D{SERVICE}"
    while True:
        send = time.monotonic_ns()
        items = kube._read(path, 5)["items"]
        receive = time.monotonic_ns()
        endpoints = [e for item in items for e in item.get("endpoints") or [] if e["conditions"].get("ready")]
        uids = sorted(e["targetRef"]["uid"] for e in endpoints)
        print(json.dumps([send, receive, uids]), flush=True)
        time.sleep(max(0.0, EVERY_S - (time.monotonic_ns() - send) / 1e9))


@contextlib.contextmanager
def observed(command: list[str], output: Path) -> Iterator[None]:
    """Run an observer with its output in a file, for the body."""
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=_within(output.parent))
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _within(folder: Path) -> dict[str, str]:
    """Our environment, with temporary files (a client writes the cluster's key to one) where they go at the end."""
    return {**os.environ, "TMPDIR": str(folder)}


# ---- the kills


@dataclass(frozen=True)
class KillAndSettle:
    """kill_pod, which heals only once the pod is back, its Service leads to it, and it is answered."""

    url: str
    peers: Peers
    hold_s: float = 0.0
    name: str = "kill_pod"

    def aim(self, scene: Scene) -> Settling:
        """See Fault."""
        return Settling(kill_pod(ordinal("web", 0)).aim(scene), self)


@dataclass(frozen=True)
class Settling:
    """See Disturbance."""

    killed: KilledPod
    fault: KillAndSettle

    @property
    def target(self) -> dict[str, Any]:
        """See Disturbance."""
        return self.killed.target

    def inject(self) -> dict[str, Any]:
        """See Disturbance. krkn begins to look before it kills, chaostoolkit asks its probe after the action."""
        space, peers = self.killed.scene.namespace, self.fault.peers
        peers.begin("krkn", space)
        done = self.killed.inject()
        peers.begin("chaostoolkit-kubernetes", space)
        return done

    def effect(self) -> dict[str, Any]:
        """See Disturbance."""
        return self.killed.effect()

    def heal(self) -> dict[str, Any]:
        """Wait until clients are answered again."""
        import requests

        recorder, old = self.killed.scene.recorder, self.killed.pod.uid

        def served(now: Any) -> bool:
            pod = now.get("Pod", NAME)
            shown = {e["pod_uid"] for s in now.objects("EndpointSlice") for e in s.state["endpoints"] if e["ready"]}
            return pod is not None and pod.uid != old and pod.state["ready"] and pod.uid in shown

        recorder.wait(served, SETTLED_S, f"{NAME} is back")
        deadline, good = time.monotonic() + SETTLED_S, 0
        while good < 10 and time.monotonic() < deadline:
            try:
                good = good + 1 if requests.get(self.fault.url, timeout=1).ok else 0
            except requests.RequestException:
                good = 0
        self.fault.peers.end()
        return {}


PEER = """
import json, logging, sys, time
logging.disable(logging.CRITICAL)
tool, kubeconfig = sys.argv[1:]
import os
os.environ["KUBECONFIG"] = kubeconfig
from kubernetes import client, config
config.load_kube_config(kubeconfig)
if tool == "krkn":
    from functools import partial
    from krkn_lib.k8s.pod_monitor import pod_monitor
    core = client.CoreV1Api()
else:
    from chaosk8s.statefulset.probes import statefulset_fully_available
print("ready", flush=True)
for line in sys.stdin:
    namespace = line.strip()
    took = None
    try:
        if tool == "krkn":
            future = pod_monitor.select_and_monitor_by_namespace_pattern_and_label(
                namespace_pattern=namespace, label_selector="app=web", v1_client=core, max_timeout=60)
            print("begun", flush=True)
            found = future.result().get_pods_status()
            took = found.recovered[0].total_recovery_time if found.recovered else None
        else:
            print("begun", flush=True)
            begin = time.monotonic()
            statefulset_fully_available("web", ns=namespace, timeout=60)
            took = time.monotonic() - begin
    except Exception as error:
        print(json.dumps({"error": repr(error)[:200]}), flush=True)
        continue
    print(json.dumps({"took": took}), flush=True)
"""


class Peers:
    """The tools of others, each in a process of the throwaway environment; what each said of each kill."""

    def __init__(self, python: Path, kubeconfig: Path, installed: list[str], folder: Path) -> None:
        self.said: dict[str, list[float | None]] = {tool: [] for tool in installed}
        self._running = {
            tool: subprocess.Popen(
                [python, "-c", PEER, tool, str(kubeconfig)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=_within(folder),
            )
            for tool in installed
        }
        for tool, process in self._running.items():
            self._line(tool, process)

    def _line(self, tool: str, process: subprocess.Popen[str]) -> str:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise SystemExit(f"{tool} ended: {process.wait(10)}")
        return line

    def begin(self, tool: str, namespace: str) -> None:
        """Let it begin to look, if it is there."""
        process = self._running.get(tool)
        if process is not None and process.stdin is not None:
            process.stdin.write(namespace + "\n")
            process.stdin.flush()
            self._line(tool, process)

    def end(self) -> None:
        """What each says of this kill."""
        for tool, process in self._running.items():
            told = json.loads(self._line(tool, process))
            self.said[tool].append(told.get("took"))

    def stop(self) -> None:
        """End them."""
        for process in self._running.values():
            process.kill()
            process.wait()


def install(folder: Path) -> tuple[Path, list[str]]:
    """An environment with the peers from PyPI, and which of them can be imported there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # krkn-lib pins versions that do not build on a current Python; its pod monitor needs these few, of any version.
        needs = ["base64io", "cryptography", "jinja2", "kubeconfig", "oras", "tzlocal"]
        for wanted in (["chaostoolkit-kubernetes"], ["--no-deps", "krkn-lib"], needs):
            subprocess.run([*pip, *wanted], check=False, timeout=600)
    modules = {
        "chaostoolkit-kubernetes": "chaosk8s.statefulset.probes",
        "krkn": "krkn_lib.k8s.pod_monitor.pod_monitor",
    }
    return python, [
        tool
        for tool, module in modules.items()
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
    ]


# ---- what was true


EVENT = re.compile(r"^(\S+ \S+) \+0000 UTC \S+ /tasks/(start|exit) (\{.*\})$")


def runtime_events(folder: Path, offset_ns: int) -> dict[tuple[str, str], int]:
    """When containerd started and ended each container's own process, in monotonic ns, by event and container."""
    found: dict[tuple[str, str], int] = {}
    for path in folder.glob("events-*.log"):
        for line in path.read_text(errors="replace").splitlines():
            match = EVENT.match(line)
            if match:
                body = json.loads(match[3])
                whole, _, fraction = match[1].partition(".")
                at = int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9
                own = body.get("id", body["container_id"]) == body["container_id"]
                at += int(fraction[:9].ljust(9, "0") or 0)
                if match[2] == "exit":  # the event's own time is when it was told
                    at = _exited_ns(body["exited_at"])
                if own:
                    found.setdefault((match[2], body["container_id"]), at - offset_ns)
    return found


def _exited_ns(told: Any) -> int:
    """The wall time of an exit, which ctr prints in the words of protobuf or in those of its JSON."""
    if isinstance(told, dict):
        return int(told.get("seconds", 0)) * 10**9 + int(told.get("nanos", 0))
    whole, _, fraction = str(told).rstrip("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)


def lines(path: Path) -> list[list[Any]]:
    """What an observer printed; its last line may be torn."""
    found = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


class Truths:
    """What the observers saw, asked for one kill."""

    def __init__(self, folder: Path, history: History, offset_ns: int) -> None:
        self._events = runtime_events(folder, offset_ns)
        self._polls = lines(folder / "poll.log")
        self._probes = sorted(lines(folder / "probe.log"), key=lambda reading: reading[1])
        self._ids: dict[str, str] = {}
        for record in history.objects("Pod"):
            for container in record["state"].get("containers") or []:
                if container["id"]:
                    self._ids[str(record["uid"])] = container["id"].partition("://")[2]

    def of(self, stage: str, old: str, new: str, begin: int, end: int) -> Truth | None:
        """When it truly was; None where the observer saw nothing."""
        if stage in ("exited", "started"):
            event, uid = ("exit", old) if stage == "exited" else ("start", new)
            at = self._events.get((event, self._ids.get(uid, "")))
            return None if at is None else (at, at)
        if stage == "endpoint":
            first = max(1, bisect_right(self._polls, begin, key=lambda poll: poll[1]))
            for before, after in zip(self._polls[first - 1 :], self._polls[first:], strict=False):
                if new in after[2]:
                    return float(before[0]), float(after[1])
            return None
        asked = [p for p in self._probes if begin <= p[0] and p[1] < end]
        since = max((p[0] for p in asked if not p[2]), default=None)
        if since is None:
            return None
        first_ok = next((p[1] for p in asked if p[2] and p[0] > since), None)
        return None if first_ok is None else (float(since), float(first_ok))


# ---- the measurement


@contextlib.contextmanager
def leased_cluster() -> Iterator[Cluster]:
    """A kept cluster that nobody holds, or one of our own that is removed again."""
    catalogue = catalogues.load()
    spec = ClusterSpec(catalogue.line(), probe_image=catalogue.probe)
    for name in provision.reusable(spec):
        with clusters.leased(name) as free:
            if free:
                yield provision.attach(spec, name)
                return
    with tempfile.TemporaryDirectory() as folder:
        driver, name = provision.driver(kind_command(catalogue), Path(folder) / "kind.log"), provision.new_name()
        with clusters.leased(name):
            try:
                yield provision.create(driver, spec, name)
            finally:
                provision.delete(driver, name)


def one_pod(document: dict[str, Any]) -> None:
    """A single pod: while it is away nobody answers, so that every kill is an outage."""
    if document["kind"] == "StatefulSet":
        document["spec"]["replicas"] = 1
        probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
        document["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe


def run(cluster: Cluster, kills: int, folder: Path, peers: Peers) -> History:
    """Kill the pod so often, with all observers beside it."""
    url, me = cluster.address(PORT), [sys.executable, __file__]
    plan = Plan(
        scenario="bench/recovery.py",
        stack=Stack.load(STACKS / "web.yaml").patched(one_pod),
        workload=replace(CLIENTS, max_requests=1_000_000, max_s=7200.0),
        faults=[KillAndSettle(url, peers) for _ in range(kills)],
        seed=1,
        directory=folder / "run",
        probe_image=cluster.spec.probe_image,
    )
    with contextlib.ExitStack() as observers:
        for node in cluster.workers():
            events = ["docker", "exec", node, "ctr", "--namespace", "k8s.io", "events"]
            observers.enter_context(observed(events, folder / f"events-{node}.log"))
        observers.enter_context(observed([*me, "--probe", url], folder / "probe.log"))
        begun: list[str] = []

        def say(phase: str) -> None:
            print(f"  {phase}", flush=True)
            if phase == "before" and not begun:  # the namespace is there now
                begun.append(phase)
                spaces = [n.name for n in cluster.kube.list("Namespace") if n.name.startswith("ks-web-")]
                watching = [*me, "--poll", str(cluster.kubeconfig), max(spaces, key=lambda n: n[-6:])]
                observers.enter_context(observed(watching, folder / "poll.log"))

        return experiment.run(plan, cluster, LocustLoad, DocumentVerifier, say)


def judged(history: History, truths: Truths) -> tuple[dict[str, list[float]], dict[str, int], list[float], list[str]]:
    """Widths and numbers of held truths by stage, the true length of each outage in s, and what was not held."""
    faults = history.faults()
    told = recovery(after_fault_s_max=600).check(history).evidence["faults"]
    widths: dict[str, list[float]] = {stage: [] for stage in STAGES}
    held = dict.fromkeys(STAGES, 0)
    outages, wrong = [], []
    ends = [fault.at("inject") or 0 for fault in faults[1:]] + [history.end_ns]
    for number, (fault, row, end) in enumerate(zip(faults, told, ends, strict=True)):
        begin = fault.at("inject") or 0
        for stage in STAGES:
            interval = row["stages_ms"].get(stage)
            truth = truths.of(stage, row["uid_before"], row["uid_after"], begin, end)
            if interval is None or interval[1] is None or truth is None:
                wrong.append(f"kill {number}: {stage} is {interval}, truly {truth}")
                continue
            lower, upper = (begin + part * 1e6 for part in interval)
            widths[stage].append(interval[1] - interval[0])
            if lower <= truth[1] and truth[0] <= upper:
                held[stage] += 1
            else:
                off = [round((part - begin) / 1e6, 2) for part in truth]
                wrong.append(f"kill {number}: {stage} {interval} ms, truly {off}, says {row['stages_from'][stage]}")
            if stage == "client":
                outages.append((truth[1] - begin) / 1e9)
    return widths, held, outages, wrong


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--peers", type=Path)
    arguments.add_argument("--probe", help=argparse.SUPPRESS)
    arguments.add_argument("--poll", nargs=2, help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.probe:
        probe(asked.probe)
    elif asked.poll:
        poll(*asked.poll)
    else:
        measure(asked.kills, asked.peers)


def measure(kills: int, peers_folder: Path | None) -> None:
    """Kill, and compare."""
    with tempfile.TemporaryDirectory(prefix="kindstorm-bench-") as name, leased_cluster() as cluster:
        folder = Path(name)
        (folder / "run").mkdir()
        python, installed = install(peers_folder or folder / "peers")
        peers = Peers(python, cluster.kubeconfig, installed, folder)
        try:
            history = run(cluster, kills, folder, peers)
        finally:
            peers.stop()
        offset_ns = time.time_ns() - time.monotonic_ns()
        report(history, Truths(folder, history, offset_ns), peers, kills)


def report(history: History, truths: Truths, peers: Peers, kills: int) -> None:
    """Print what was found; the last line is for machines."""
    widths, held, outages, wrong = judged(history, truths)
    for line in wrong[:20]:
        print(f"  not held: {line}")
    worst = 0.0
    for stage in STAGES:
        ordered = sorted(widths[stage]) or [float("inf")]
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        worst = max(worst, p99)
        print(
            f"  {stage:9} {held[stage]} of {kills} held; width p50 {statistics.median(ordered):.1f}, p99 {p99:.1f} ms"
        )
    told = []
    for tool, period_s in POLLED.items():
        said = [s for s in peers.said.get(tool, []) if s is not None]
        if said and outages:
            off = [abs(s - true) for s, true in zip(peers.said[tool], outages, strict=False) if s is not None]
            told.append(
                f"{tool}, run for real: off by {statistics.median(off):.2f} s (median), {max(off):.2f} s at most"
            )
        else:
            told.append(f"{tool}, not run: its polling interval of {period_s:g} s")
    result = {
        "name": "recovery_interval_p99_width",
        "value": None if math.isinf(worst) else round(worst, 1),
        "unit": "ms",
        "goal": f"<= {GOAL_MS:g}, and every truth held",
        "peer": "; ".join(told),
        "ok": worst <= GOAL_MS and all(count == kills for count in held.values()),
        "kills": kills,
        "held": held,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
