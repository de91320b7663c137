"""The nodes' witnesses on a real cluster: they tell who ran when, whatever happens to the node or its runtime."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from chaos import cluster as clusters
from chaos import witness
from chaos.cluster import Cluster
from chaos.history import History, Record, seal
from chaos.nemesis import Scene
from chaos.recorder import Recorder
from images.engine import docker
from kindstorm.checkers import INVALID, at_most_one, recovery
from kindstorm.faults import kill_pod, pause_node, stop_node
from kindstorm.profiles import DOCUMENT_WRITES, HTTP_READS
from kindstorm.targets import node_of, one, ordinal

pytestmark = pytest.mark.live

WRITES = DOCUMENT_WRITES.with_(port=30082, username="username", password="password")  # noqa: S106 - the documented one


def witnessed(cluster: Cluster, folder: Path, act: Callable[[], object]) -> History:
    """What the witnesses and the engine tell of the time in which something is done."""
    folder.mkdir()
    witnesses = witness.Witnesses(cluster.containers(), folder)
    witnesses.start()
    act()
    witnesses.stop()
    history = seal(sorted(folder.glob("*.jsonl")), folder / "history")
    assert history.cut_off() == []
    return history


def of_stack(scene: Scene, history: History) -> list[Record]:
    """What was told of the test's own pods."""
    return [record for record in history.of("runtime") if record["namespace"] == scene.namespace]


def container_of(recorder: Recorder, name: str) -> dict[str, Any] | None:
    """A pod's only container, once it is ready."""
    pod = recorder.get("Pod", name)
    return dict(pod.state["containers"][0]) if pod is not None and pod.state["ready"] else None


def test_starts_and_exits_are_told_as_the_api_tells_them(scene: Scene, cluster: Cluster, tmp_path: Path) -> None:
    """Of a killed pod and the next one: node, names, container and times, the exit before the API's own deletion."""
    old = kill_pod(one("nginx")).aim(scene)
    before = {pod.uid for pod in scene.kube.list("Pod", scene.namespace)}
    first = container_of(scene.recorder, old.target["name"])
    assert first is not None
    stood: dict[str, Any] = {}

    def replaced(recorder: Recorder) -> bool:
        found = [pod for pod in recorder.objects("Pod") if pod.uid not in before and pod.state["ready"]]
        stood.update({"pod": found[0]} if found else {})
        return bool(found)

    def kill() -> None:
        old.inject()
        old.effect()
        scene.recorder.wait(replaced, 60, "another nginx pod is ready")

    history = witnessed(cluster, tmp_path / "told", kill)
    told = of_stack(scene, history)
    assert history.of("gap") == []
    new = stood["pod"]
    (gone,) = [record for record in told if record["event"] == "exit"]
    (start,) = [record for record in told if record["event"] == "start"]
    assert {"seen", "exit"} == {r["event"] for r in told if r["pod_uid"] == old.target["uid"]}
    assert (gone["pod"], f"containerd://{gone['container_id']}") == (old.target["name"], first["id"])
    assert (gone.source, gone["container"]) == (witness.source_of(old.target["node"]), first["name"])
    (second,) = new.state["containers"]
    assert (start["pod"], start["pod_uid"], start.source) == (new.name, new.uid, witness.source_of(new.state["node"]))
    assert f"containerd://{start['container_id']}" == second["id"]
    # The API tells whole seconds. The process was made before the runtime said that it had started.
    started_s = datetime.fromisoformat(second["started_at"]).timestamp()
    assert started_s - 0.1 <= start["wall_ns"] / 1e9 <= started_s + 1.5
    assert start.time_ns - 5 * 10**9 < start["created_ns"] <= start.time_ns + start["error_ns"]
    assert max(start["error_ns"], gone["error_ns"]) < 10**8


@pytest.mark.full
def test_a_runtime_that_is_restarted_leaves_a_gap_that_is_bounded(
    scene: Scene, cluster: Cluster, tmp_path: Path
) -> None:
    """Its containers run on, and are known to: nothing is told of them but the gap, and how often it was looked."""
    target = kill_pod(one("nginx")).aim(scene).target
    node = str(target["node"])
    history = witnessed(cluster, tmp_path / "told", lambda: docker("exec", node, "systemctl", "restart", "containerd"))
    (gap,) = history.of("gap")
    assert gap.source == witness.source_of(node)
    assert 0 < gap["looked_every_ns"] <= 1_500_000_000
    assert gap["to_ns"] - gap["from_ns"] < 20 * 10**9
    assert {record["event"] for record in of_stack(scene, history)} == {"seen"}
    running = docker("exec", node, "sh", "-c", "pgrep -fc '^/bin/bash /usr/local/sbin/kindstorm-witness'")
    assert running == "1", "there is exactly one, and it is the same"
    later = witnessed(cluster, tmp_path / "later", lambda: kill(scene, target))
    (gone,) = [r for r in of_stack(scene, later) if r["event"] == "exit"]
    assert gone["pod_uid"] == target["uid"], "it hears the events again"


def kill(scene: Scene, target: dict[str, Any]) -> None:
    """Delete a pod and wait until it is gone."""
    scene.kube.delete("Pod", target["name"], scene.namespace, uid=target["uid"])
    scene.recorder.wait(lambda r: r.get("Pod", target["name"]) is None, 60, "the pod is gone")


@pytest.mark.full
def test_a_witness_that_is_killed_is_there_again(scene: Scene, cluster: Cluster, tmp_path: Path) -> None:
    """Systemd starts another one; what ran on is seen to, and the gap is told."""
    target = kill_pod(one("nginx")).aim(scene).target
    script = "systemctl kill --signal=KILL kindstorm-witness; sleep 2; pgrep -fc '^/bin/bash /usr/local/sbin/kindstorm'"
    counts: list[str] = []
    history = witnessed(
        cluster, tmp_path / "told", lambda: counts.append(docker("exec", str(target["node"]), "sh", "-c", script))
    )
    assert counts == ["1"]
    whats = [gap["what"] for gap in history.of("gap")]
    assert whats == ["the witness did not run", "the runtime's events were not heard"]
    told = [record for record in of_stack(scene, history) if record["pod_uid"] == target["uid"]]
    assert [record["event"] for record in told] == ["seen", "seen"]


@pytest.mark.full
@pytest.mark.parametrize("fault", [pause_node, stop_node])
def test_a_node_that_is_out_can_be_read(scene: Scene, cluster: Cluster, tmp_path: Path, fault: Any) -> None:
    """What its witness wrote until then is there; the engine tells when; what is not told is a gap up to the end."""
    lost = fault(node_of(one("nginx"))).aim(scene)
    node = lost.target["name"]
    try:
        history = witnessed(cluster, tmp_path / "out", lost.inject)
    finally:
        lost.heal()
    (switched,) = [r for r in history.of("engine") if r["event"] in ("pause", "die")]
    assert switched["node"] == node
    (last,) = [gap for gap in history.of("gap") if "witness has stopped" in gap["what"]]
    assert last.source == witness.source_of(node)
    assert last["from_ns"] - 10**9 <= switched.time_ns + switched["error_ns"]
    assert any(record.source == last.source for record in of_stack(scene, history))
    assert clusters.node_containers(cluster.name)[node]["state"] == "running"


# ---- whole experiments


@pytest.mark.full
def test_a_pod_on_a_frozen_node_still_runs(experiment: Any, stacks: Any) -> None:
    """A database on storage that outlives its node starts elsewhere while the old one is frozen: two on one volume."""
    fault = pause_node(node_of(one("mongodb")), hold_s=30)
    run = experiment(stack=stacks.mongo(storage="shared"), workload=WRITES, faults=[fault])
    verdicts = run.judge_each(
        invalid={
            at_most_one(workload="mongodb-depl"): "was paused, and what is frozen still runs",
            at_most_one(claim="mongodb-data"): "was paused, and what is frozen still runs",
        }
    )
    assert "mongodb-depl ran twice at once for" in verdicts[0].summary


@pytest.mark.full
def test_a_pod_on_a_stopped_node_does_not_run(experiment: Any, stacks: Any) -> None:
    """The same with a node that is shut down, and later started again: one after the other."""
    fault = stop_node(node_of(one("mongodb")), hold_s=30)
    run = experiment(stack=stacks.mongo(storage="shared"), workload=WRITES, faults=[fault])
    run.judge(at_most_one(workload="mongodb-depl"), at_most_one(claim="mongodb-data"))


@pytest.mark.full
def test_a_deployments_killed_pod_and_the_next_run_side_by_side(experiment: Any, stacks: Any) -> None:
    """Recreate is about updates: mongodb's next pod starts while the killed one still has the volume."""

    def slow(document: dict[str, Any]) -> None:
        if document["metadata"]["name"] == "mongodb-depl":
            spec = document["spec"]["template"]["spec"]
            spec["containers"][0]["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "5"]}}}

    run = experiment(stack=stacks.mongo().patched(slow), workload=WRITES, faults=[kill_pod(one("mongodb"))])
    run.judge(at_most_one(workload="mongodb-depl"), expect=INVALID)


def slow_to_die(stacks: Any) -> Any:
    """The web stack with pods that are deaf to the word to end, and take up all the grace they are given."""

    def slow(document: dict[str, Any]) -> None:
        if document["kind"] == "StatefulSet":
            spec = document["spec"]["template"]["spec"]
            spec["terminationGracePeriodSeconds"] = 12
            container = spec["containers"][0]
            container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "8"]}}}
            script = container["command"][2].replace("exec nginx", "trap '' TERM QUIT; nginx")
            container["command"][2] = f"{script}\nexit 0\n"

    return stacks.web().patched(slow)


@pytest.mark.full
def test_a_pod_that_takes_all_its_grace_is_waited_for(experiment: Any, stacks: Any) -> None:
    """A StatefulSet's next web-1 starts once the killed one has been killed for good, twelve seconds later."""
    run = experiment(stack=slow_to_die(stacks), workload=HTTP_READS, faults=[kill_pod(ordinal("web", 1))])
    run.judge(at_most_one("web-*"), recovery(after_fault_s_max=60))
