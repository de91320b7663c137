"""Runs made by hand, as real ones look: what the report's tests and a look at the report need."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chaos.checkers.verdict import Outcome, Verdict
from chaos.history import History, Json, Record
from chaos.report import ExperimentResult, RunInfo

S = 1_000_000_000
START_NS = 5_000 * S
WALL_NS = 1_790_000_000 * S


class Story:
    """Collects records at seconds from the start, and seals them."""

    def __init__(self, seed: int = 7) -> None:
        self.records: list[Record] = []
        self.random = random.Random(seed)  # noqa: S311 - a test's figures, no secret

    def at(self, seconds: float, kind: str, source: str = "harness", **data: Json) -> None:
        """One record."""
        self.records.append(Record(START_NS + round(seconds * S), source, kind, data))

    def phases(self, *edges: tuple[str, float, float]) -> None:
        """Phases as (name, begin, end)."""
        for name, begin, end in edges:
            self.at(begin, "phase", name=name, edge="begin")
            self.at(end, "phase", name=name, edge="end")

    def pod(self, seconds: float, name: str, uid: str, verb: str = "modified", **state: Json) -> None:
        """A pod changed; the state's defaults are those of a ready pod."""
        ready = {"phase": "Running", "ready": True, "ip": None, "node": None, "deleting": False, "labels": {}}
        self.at(
            seconds, "object", "watch", verb=verb, object="Pod", namespace="kindstorm-a1", name=name, uid=uid,
            state={"claims": [], "containers": [], "owner": {}, **ready, **state},
        )  # fmt: skip

    def endpoints(self, seconds: float, service: str, *ips: str) -> None:
        """The ready endpoints of a service."""
        ready = [{"ip": ip, "pod": "p", "pod_uid": "u", "ready": True} for ip in ips]
        self.at(
            seconds, "object", "watch", verb="modified", object="EndpointSlice", namespace="kindstorm-a1",
            name=f"{service}-x", uid="s", state={"service": service, "endpoints": ready},
        )  # fmt: skip

    def node(self, seconds: float, name: str, ready: bool = True, *taints: str, cordoned: bool = False) -> None:
        """What the watch told of a node."""
        state = {"ready": ready, "unschedulable": cordoned, "taints": list(taints)}
        self.at(seconds, "object", "api:Node", verb="modified", object="Node", namespace=None, name=name, uid=name,
                state=state)  # fmt: skip

    def engine(self, seconds: float, event: str, node: str) -> None:
        """What happened to a node's container."""
        self.at(seconds, "engine", "engine", event=event, node=node, wall_ns=WALL_NS + round(seconds * S), error_ns=0)

    def ran(self, seconds: float, event: str, pod: str, uid: str, node: str, status: int | None = None) -> None:
        """What a node's witness told of a container of a pod."""
        self.at(seconds, "runtime", f"node:{node}", event=event, namespace="kindstorm-a1", pod=pod, pod_uid=uid,
                container="app", container_id=f"c-{uid}", pid=123, exit_status=status, wall_ns=0,
                error_ns=300_000)  # fmt: skip

    def event(self, seconds: float, reason: str, pod: str, message: str, kind: str = "Normal", count: int = 1) -> None:
        """An event of Kubernetes'."""
        state = {"reason": reason, "message": message, "type": kind, "count": count, "at": None,
                 "about": {"kind": "Pod", "name": pod}}  # fmt: skip
        self.at(seconds, "object", "api:Event", verb="added", object="Event", namespace="kindstorm-a1",
                name=f"{pod}.{seconds}", uid=f"e{seconds}", state=state)  # fmt: skip

    def http(self, seconds: float, url: str, status: int | None, body: str = "") -> None:
        """An answer to a question inside the cluster; no status: none came."""
        value = None if status is None else {"status": status, "body": body}
        self.at(seconds, "probe", "probe", probe="http", target=url, send_ns=0, receive_ns=0, value=value,
                error="timed out" if value is None else None)  # fmt: skip

    def dns(self, seconds: float, name: str, *answers: str, rcode: str = "NOERROR", error: str | None = None) -> None:
        """One answer to one question."""
        value = None if error else {"answers": list(answers), "rcode": rcode}
        sent = START_NS + round(seconds * S)
        self.at(seconds + 0.002, "probe", "dns", probe="dns", target=name, send_ns=sent, receive_ns=sent + 2_000_000,
                value=value, error=error)  # fmt: skip

    def request(self, seconds: float, fate: str, latency_s: float, error: str | None = None) -> None:
        """One request that the schedule wanted at this moment."""
        number = len(self.records)
        intended = START_NS + round(seconds * S)
        self.at(seconds + 0.001, "op", "load-0", type="invoke", process=0, op=number, f="get", value=None,
                intended_ns=intended)  # fmt: skip
        self.at(seconds + latency_s, "op", "load-0", type=fate, process=0, op=number, f="get", value=None, error=error)

    def history(self) -> History:
        """All of it in time order, each source closed, the whole sealed."""
        self.records.sort(key=lambda record: record.time_ns)
        counts: dict[str, Counter[str]] = {}
        for record in self.records:
            counts.setdefault(record.source, Counter())[record.kind] += 1
        end = self.records[-1].time_ns if self.records else 0
        closings = [Record(end, source, "closing", {"records": dict(kinds)}) for source, kinds in counts.items()]
        records = [*self.records, *closings]
        mark = {"schema": 1, "records": len(records), "sources": sorted(counts)}
        return History([*records, Record(end, "harness", "seal", mark)])


def _frame(story: Story, scenario: str, stack: str) -> None:
    facts = {"scenario": scenario, "stack": stack, "namespace": "kindstorm-a1", "seed": 7, "load_s": 60}
    story.at(0, "fact", name="experiment", value=facts)
    cluster = {
        "name": "kindstorm-3",
        "kubernetes": "v1.36.1",
        "clocks": "fast",
        "nodes": 4,
        "settings": {"grace_s": 16},
    }
    story.at(0, "fact", name="cluster", value=cluster)
    story.at(95, "fact", name="completed", value=True)
    for second in range(0, 100, 5):
        story.at(second, "clock", wall_ns=WALL_NS + second * S)


def self_healing(requests_per_s: int = 50) -> History:
    """Two nginx pods under load for 60 s; one is killed 20 s into it and replaced by a pod of another name."""
    story = Story()
    _frame(story, "scenarios/test_self_healing.py::test_a_killed_pod_is_replaced", "nginx")
    story.phases(
        ("deploy", 0, 9), ("steady", 9, 12), ("before", 12, 32), ("fault", 32, 35.5), ("recover", 35.5, 44),
        ("after", 44, 72), ("verify", 72, 73), ("remove", 73, 80),
    )  # fmt: skip
    owner: dict[str, Json] = {"owner": {"kind": "ReplicaSet", "name": "nginx-deployment-7d4b9c", "uid": "rs"}}
    first, second, third = (f"nginx-deployment-7d4b9c-{tail}" for tail in ("kx2vq", "m8zrt", "w5h7p"))
    for name, uid, ip, node in ((first, "3fa81c20-aa", "10.244.1.7", "kindstorm-3-worker2"),
                                (second, "b07d55e1-bb", "10.244.2.4", "kindstorm-3-worker3")):  # fmt: skip
        story.pod(1.2, name, uid, "added", phase="Pending", ready=False, **owner)
        story.pod(3.0, name, uid, phase="Running", ready=False, ip=ip, node=node, **owner)
        story.pod(6.1, name, uid, ip=ip, node=node, **owner)
        story.pod(75, name, uid, ip=ip, node=node, deleting=True, **owner) if name == second else None
        story.pod(76, name, uid, "deleted") if name == second else None
    target = {"kind": "Pod", "name": first, "uid": "3fa81c20-aa"}
    for edge, when in (("inject", 32.0), ("injected", 32.08), ("effect", 32.31), ("heal", 35.4), ("healed", 35.5)):
        detail = {"observed": "the container exited with 137"} if edge == "effect" else {}
        story.at(when, "fault", fault="kill_pod", id="f1", edge=edge, target=target, detail=detail)
    story.pod(32.1, first, "3fa81c20-aa", deleting=True, ip="10.244.1.7", node="kindstorm-3-worker2", **owner)
    story.pod(34.0, first, "3fa81c20-aa", "deleted")
    story.pod(32.2, third, "c9d04b77-cc", "added", phase="Pending", ready=False, **owner)
    story.pod(33.1, third, "c9d04b77-cc", ready=False, ip="10.244.1.9", node="kindstorm-3-worker2", **owner)
    story.pod(35.3, third, "c9d04b77-cc", ip="10.244.1.9", node="kindstorm-3-worker2", **owner)
    story.endpoints(1, "nginx-service")
    story.endpoints(6.2, "nginx-service", "10.244.1.7", "10.244.2.4")
    story.endpoints(32.2, "nginx-service", "10.244.2.4")
    story.endpoints(35.4, "nginx-service", "10.244.1.9", "10.244.2.4")
    for index in range(60 * requests_per_s):
        when = 12 + index / requests_per_s
        latency = 0.002 + story.random.expovariate(1 / 0.003)
        if 32.05 < when < 32.6 and story.random.random() < 0.5:
            story.request(when, "fail", 0.004, "connection refused by 10.244.1.7")
        elif 32.05 < when < 33.5 and story.random.random() < 0.06:
            story.request(when, "info", 2.0, "timed out after 2 s")
        else:
            story.request(when, "ok", latency * (6 if 32 < when < 34 else 1))
    return story.history()


def identity(survives: bool = False) -> History:
    """Three pods of a StatefulSet; web-1's node is lost and it comes back elsewhere, with stale and missing DNS."""
    story = Story(11)
    _frame(story, "scenarios/test_known_bad.py::test_data_without_a_volume_is_lost", "web")
    story.phases(
        ("deploy", 0, 18), ("steady", 18, 21), ("before", 21, 36), ("fault", 36, 62), ("recover", 62, 74),
        ("after", 74, 90), ("verify", 90, 92), ("remove", 92, 96),
    )  # fmt: skip
    owner: dict[str, Json] = {"owner": {"kind": "StatefulSet", "name": "web", "uid": "st"}}
    names = [f"web-{ordinal}.nginx.kindstorm-a1.svc.cluster.local" for ordinal in range(3)]
    for ordinal in range(3):
        place: dict[str, Json] = {"ip": f"10.244.{ordinal + 1}.5", "node": f"kindstorm-3-worker{ordinal + 2}", **owner}
        uid = f"{ordinal}a7e41b{ordinal}-11"
        story.pod(1 + 5 * ordinal, f"web-{ordinal}", uid, "added", phase="Pending", ready=False, **owner)
        story.pod(3 + 5 * ordinal, f"web-{ordinal}", uid, **{**place, "ready": False})
        story.pod(6 + 5 * ordinal, f"web-{ordinal}", uid, **place)
    gone: dict[str, Json] = {"ip": "10.244.2.5", "node": "kindstorm-3-worker3", **owner}
    back: dict[str, Json] = {
        "ip": "10.244.4.8" if not survives else "10.244.2.5",
        "node": "kindstorm-3-worker4",
        **owner,
    }
    story.pod(40, "web-1", "1a7e41b1-11", **{**gone, "ready": False})
    story.pod(46, "web-1", "1a7e41b1-11", deleting=True, **gone)
    story.pod(54, "web-1", "1a7e41b1-11", "deleted")
    story.pod(54.1, "web-1", "e66f0c92-22", "added", phase="Pending", ready=False, **owner)
    story.pod(56, "web-1", "e66f0c92-22", **{**back, "ready": False})
    story.pod(59.5, "web-1", "e66f0c92-22", **back)
    twice = [{"name": "nginx", "id": "c1", "restarts": 1, "state": "running"}]
    story.pod(24, "web-2", "2a7e41b2-11", ip="10.244.3.5", node="kindstorm-3-worker4",
              containers=[{"name": "nginx", "id": "c0", "restarts": 0}], **owner)  # fmt: skip
    story.pod(66, "web-2", "2a7e41b2-11", ip="10.244.3.5", node="kindstorm-3-worker4", containers=twice, **owner)
    for name, begin, edges in (
        ("stop_node", 36.0, (0.4, 4.2, 25.0, 26.0)),
        ("restart_container", 65.6, (0.1, 0.5, 1, 1.1)),
    ):
        target = (
            {"kind": "Node", "name": "kindstorm-3-worker3"} if name == "stop_node" else {"kind": "Pod", "name": "web-2"}
        )
        for edge, offset in zip(("inject", "injected", "effect", "heal", "healed"), (0.0, *edges), strict=True):
            story.at(begin + offset, "fault", fault=name, id=name, edge=edge, target=target, detail={})
    addresses = ("10.244.1.5", "10.244.2.5", "10.244.3.5")
    for number, seconds in ((7, 6.2), (8, 11.2), (9, 16.2), (10, 40.2), (11, 59.7)):
        ready = {7: addresses[:1], 8: addresses[:2], 9: addresses, 10: addresses[::2]}.get(number)
        story.endpoints(seconds, "nginx", *(ready or ("10.244.1.5", back["ip"], "10.244.3.5")))
    for tenth in range(210, 920, 2):
        when = tenth / 10
        for ordinal, name in enumerate(names):
            if ordinal == 1 and 41 < when < 60.2:
                story.dns(when, name, rcode="NXDOMAIN") if when < 58 else story.dns(when, name, error="timed out")
            else:
                story.dns(when, name, back["ip"] if ordinal == 1 and when > 60 else addresses[ordinal])
    story.at(50, "gap", "api:Pod", what="the watch was cut off", from_ns=START_NS + 47 * S, to_ns=START_NS + 50 * S)
    _outside(story)
    for index in range(69 * 20):
        when = 21 + index / 20
        down = 36.3 < when < 60 and index % 3 == 1
        if down:
            story.request(when, "info" if when < 40 else "fail", 3.0 if when < 40 else 0.2, "no route to host")
        else:
            story.request(when, "ok", 0.004 + story.random.expovariate(1 / 0.006))
    return story.history()


def half_an_hour(requests_per_s: int = 100) -> History:
    """Thirty minutes of load under six faults: ten pods on five nodes, twelve names, a storm of events."""
    story = Story(30)
    _frame(story, "scenarios/test_soak.py::test_half_an_hour", "web")
    story.phases(("before", 0, 240), ("fault", 240, 1500), ("recover", 1500, 1560), ("after", 1560, 1800))
    nodes = [f"kindstorm-3-worker{number}" for number in range(1, 6)]
    for begin, node in zip(range(250, 1450, 200), nodes * 2, strict=False):
        for edge, after in (("inject", 0), ("injected", 0.2), ("effect", 3), ("heal", 60), ("healed", 62)):
            target = {"kind": "Node", "name": node}
            story.at(begin + after, "fault", fault="stop_node", id=f"f{begin}", edge=edge, target=target, detail={})
        story.engine(begin + 0.1, "die", node)
        story.engine(begin + 60, "start", node)
    for second in range(0, 1800, 2):
        for node in nodes:
            lost = second > 250 and node == nodes[(second - 250) // 200 % 5]
            story.node(second, node, not (lost and 6 < (second - 250) % 200 < 66))
        for ordinal in range(10):
            uid = f"{ordinal}{second // 200:03}aaaa-1"
            story.pod(second, f"web-{ordinal}", uid, ip=f"10.244.1.{ordinal}", node=nodes[ordinal % 5],
                      ready=second % 200 > 20, owner={"kind": "StatefulSet", "name": "web"})  # fmt: skip
            if second % 200 == 0:
                story.ran(second, "start", f"web-{ordinal}", uid, nodes[ordinal % 5])
                story.ran(second + 190, "exit", f"web-{ordinal}", uid, nodes[ordinal % 5], 143)
        story.endpoints(second, "web", *(f"10.244.1.{n}" for n in range(second // 7 % 11)))
        story.event(
            second, f"Reason{second % 7}", "web-0", "something happened again", ("Normal", "Warning")[second // 2 % 2]
        )
        for name in range(12):
            story.dns(second + name / 100, f"web-{name}.web.kindstorm-a1.svc", f"10.244.{second // 50}.{name}")
    for number in range(1800 * requests_per_s):
        when = number / requests_per_s
        down = (when - 250) % 200 < 12 and number % 3 == 0
        story.request(
            when, "fail" if down else "ok", 0.002 + story.random.expovariate(200), "refused" if down else None
        )
    story.request(1000.0, "ok", 29.5)
    return story.history()


def _outside(story: Story) -> None:
    """What nodes, the engine, Kubernetes' events and another probe tell of the lost node."""
    nodes = ["kindstorm-3-control-plane", *(f"kindstorm-3-worker{number}" for number in (2, 3, 4, 5))]
    for name in nodes:
        story.node(0.5, name)
    lost = nodes[2]
    story.engine(36.3, "kill", lost)
    story.engine(36.4, "die", lost)
    story.node(40.2, lost, False, "node.kubernetes.io/unreachable=:NoExecute")
    story.engine(61.2, "start", lost)
    story.node(62.5, lost, True, cordoned=True)
    story.node(64.0, lost)
    story.at(95, "object", "api:Node", verb="modified", object="Node", namespace=None, name=nodes[0], uid=nodes[0],
             state={"ready": True, "unschedulable": False, "taints": []})  # fmt: skip
    for ordinal in range(3):
        story.ran(0.2 if ordinal == 2 else 2.8 + 5 * ordinal, "seen" if ordinal == 2 else "start", f"web-{ordinal}",
                  f"{ordinal}a7e41b{ordinal}-11", nodes[ordinal + 1])  # fmt: skip
    story.ran(58.4, "exit", "web-1", "1a7e41b1-11", lost, 137)
    story.ran(55.8, "start", "web-1", "e66f0c92-22", nodes[4])
    for node in nodes[1:]:
        story.at(95, "clock", f"node:{node}", wall_ns=WALL_NS + 95 * S)
    story.event(2.2, "Scheduled", "web-0", "Successfully assigned web-0")
    story.event(40.3, "NodeNotReady", "web-1", "Node is not ready", "Warning")
    story.event(46.1, "TaintManagerEviction", "web-1", "Marking for deletion", "Normal")
    story.event(57.1, "Unhealthy", "web-1", "Readiness probe failed: connection refused", "Warning", 3)
    for second in range(21, 92):
        story.http(second, "http://web.kindstorm-a1/", 503 if 45 < second < 47 else None if 38 < second < 42 else 200)


def valid(checker: str = "availability", **evidence: Json) -> Verdict:
    """A verdict that is VALID."""
    return Verdict(checker, Outcome.VALID, f"the {checker} held throughout", evidence or {"operations": 3000})


def result(
    history: History | None = None,
    verdicts: Sequence[Verdict] = (),
    *,
    scenario: str = "scenarios/test_self_healing.py::test_a_killed_pod_is_replaced",
    title: str = "A killed pod is replaced, and its Service goes on answering.",
    experiment: str = "self-healing-0",
    expected: Outcome | None = None,
    error: str | None = None,
    named: tuple[str, ...] | None = None,
) -> ExperimentResult:
    """One result in a run's directory."""
    return ExperimentResult(
        scenario, title, experiment, 7, Path("runs/20261121-1") / experiment, expected, tuple(verdicts),
        history if history is not None else History(()), error, named,
    )  # fmt: skip


def a_run(tests: Sequence[tuple[str, str, float, str]] = ()) -> RunInfo:
    """One run with a stand-in among its images."""
    return RunInfo(
        run_id="20261121-121300",
        started_at="2026-11-21T12:13:00Z",
        command="pytest scenarios -m smoke",
        kubernetes="v1.36.1",
        clocks="fast",
        host={"name": "laptop", "cpus": 2, "memory_bytes": 8_000_000_000, "kernel": "6.1.0"},
        images=[
            {"name": "nginx:1.29", "origin": "pulled", "version": "1.29.3", "digest": "sha256:" + "ab" * 32},
            {
                "name": "mongo-express:1",
                "origin": "stand-in: an older one",
                "version": "0.1",
                "digest": "sha256:" + "cd" * 32,
            },
        ],
        notes=["kindstorm-2 was quarantined after a node stayed NotReady, and created anew"],
        tests=tests,
    )


def whole_run() -> tuple[RunInfo, list[ExperimentResult]]:
    """A run with every standing there is."""
    recovery = Verdict(
        "recovery", Outcome.VALID, "two of two ready endpoints 3.4 s after the kill, budget 60 s",
        {"after_fault_s_max": 60.0, "after_heal_s_max": None, "faults": [{
            "fault": "kill_pod nginx-deployment-7d4b9c-kx2vq", "uid_before": "3fa81c20-aa", "uid_after": "c9d04b77-cc",
            "ready_before": {"Deployment/nginx-deployment": 2, "Service/nginx-service": 2},
            "stages_ms": {"gone": [0.0, 100.2], "created": [100.2, 200.4], "endpoint": [0.0, None]},
            "whole_after_fault_ms": [3300.1, 3400.2], "whole_after_heal_ms": None, "client_ms": [580.0, 620.4]}]},
    )  # fmt: skip
    lost = Verdict(
        "durability", Outcome.INVALID, "312 acknowledged writes are gone; the first is key 41, acknowledged at +2.1 s",
        {"acknowledged": 1320, "read_back": 1008, "lost": 312, "by_phase": {"before": 12, "fault": 300}},
        tuple(f"write {n} of web-1 was acknowledged and is not there" for n in range(41, 81)),
    )  # fmt: skip
    unsure = Verdict("identity", Outcome.UNKNOWN, "the watch was cut off from +11 s to +14 s", {"observations": 1065})
    available = valid("availability", requests=3000, failed=14, longest_gap_ms=480.0, ratio_percent=99.53)
    known_bad = "scenarios/test_known_bad.py::test_data_without_a_volume_is_lost"
    results = [
        result(self_healing(), [available, recovery]),
        result(identity(), [lost, unsure], scenario="scenarios/test_stable_identity.py::test_identity[local]",
               title="A lost node costs no identity and no acknowledged write.", experiment="identity-0"),
        result(identity(), [lost, valid("identity", observations=1065)], expected=Outcome.INVALID, scenario=known_bad,
               title="Data without a volume does not survive: the loss must be seen.", experiment="known-bad-0"),
        result(identity(), [valid("durability")], expected=Outcome.INVALID, scenario=known_bad + "_twice",
               title="A second broken stack that nobody noticed.", experiment="known-bad-1"),
        result(scenario="scenarios/test_node_drain.py::test_drain", title="A drained node costs no downtime.",
               error="StackError: mysql-2 was not ready within 180 s; last seen Pending (Unschedulable)",
               experiment="drain-0"),
    ]  # fmt: skip
    outcomes = ("passed", "failed", "passed", "failed", "error")
    tests = [(r.scenario, outcome, 83.5, "") for r, outcome in zip(results, outcomes, strict=True)]
    tests.append(("scenarios/test_cluster_upgrade.py::test_upgrade", "skipped", 0.1, "no second node image"))
    return a_run(tests), results
