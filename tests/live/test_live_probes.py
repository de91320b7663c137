"""What the probes are told by a real cluster: by its DNS, its ports and its volumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.cluster import Cluster
from chaos.history import Segments
from chaos.kind import PROBE_PORT
from chaos.probes import inside as probes
from chaos.probes import questions
from chaos.probes.inside import Inside
from chaos.probes.volumes import Volumes, mounts
from chaos.recorder import Recorder
from chaos.stack import STACKS, Stack

pytestmark = [pytest.mark.live, pytest.mark.full]


def test_what_probes_read_of_a_stack(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Names mean their pods, ports connect or refuse, and a volume gives its next pod what the last one's had."""
    stack = Stack.load(STACKS / "web.yaml")
    cluster.provide(stack.images(), cluster.workers())
    for document in probes.manifest(cluster.spec.probe_image, PROBE_PORT):
        cluster.kube.apply(document, namespace)
    with Segments(tmp_path) as writers:
        recorder = Recorder(cluster.kube, namespace, writers).start()
        volumes = Volumes(mounts(stack.documents), lambda: recorder.objects("Pod"))
        try:
            stack.deploy(cluster.kube, namespace, recorder)
            inside = Inside(cluster.address(PROBE_PORT))
            inside.ready()
            names_and_ports(recorder, inside, questions.of_stack(stack.documents, stack.identities(), namespace))
            volume_follows_its_pod(cluster, recorder, volumes, namespace)
        finally:
            volumes.close()
            recorder.stop()


def names_and_ports(recorder: Recorder, inside: Inside, asked: questions.Questions) -> None:
    """Every name and port of the stack is asked in one request each."""
    ips = {pod.name: pod.state["ip"] for pod in recorder.objects("Pod") if pod.name.startswith("web-")}
    services = {service.name: service.state["cluster_ip"] for service in recorder.objects("Service")}
    for name, reading in inside.ask("dns", asked.names).items():
        owner = name.partition(".")[0]
        meant = sorted(ips.values()) if owner == "web" else [ips.get(owner) or services[owner]]
        assert reading.asked
        assert reading.value == {"answers": sorted(meant), "rcode": "NOERROR"}, name
    connected = inside.ask("tcp", asked.ports)
    assert len(connected) == 5
    assert {reading.value["outcome"] for reading in connected.values()} == {"connected"}
    refused = inside.tcp(asked.ports[0].replace(":80", ":81"))
    assert refused.value["outcome"] == "refused"


def volume_follows_its_pod(cluster: Cluster, recorder: Recorder, volumes: Volumes, namespace: str) -> None:
    """Three volumes take a write and give it back, also once web-1 was replaced."""
    first, second = volumes.ask(), volumes.ask()
    assert sorted(first) == ["web-0:/data", "web-1:/data", "web-2:/data"]
    for target, reading in second.items():
        assert reading.value is not None, reading.error
        assert reading.value["found"] == first[target].value["wrote"]
    before = recorder.get("Pod", "web-1")
    assert before is not None
    cluster.kube.delete("Pod", "web-1", namespace, uid=before.uid)

    def replaced(seen: Recorder) -> str | None:
        pod = seen.get("Pod", "web-1")
        return pod.uid if pod is not None and pod.uid != before.uid and pod.state["ready"] else None

    uid = recorder.wait(replaced, 60, "web-1 is replaced")
    value = volumes.ask()["web-1:/data"].value
    assert (value["pod_uid"], value["found"]) == (uid, second["web-1:/data"].value["wrote"])
