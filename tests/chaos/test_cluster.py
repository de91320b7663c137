"""Clusters: the configuration they are made from, what counts as a deviation, and whose they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_fakes import seen

from chaos import cluster as clusters
from chaos.cluster import ENTRY, FAST_CLOCKS, MARK, NODE_PORTS, PROBE_PORT, Cluster, ClusterSpec, kind_config
from chaos.errors import ClusterError
from chaos.history import Json
from images import cache
from images import catalogue as catalogues

PORTS = {port: 40000 + number for number, port in enumerate((*NODE_PORTS, PROBE_PORT))}
LINE = catalogues.load().line()
BASELINE: dict[str, Json] = {
    "nodes": {"worker": {"ready": True, "unschedulable": False, "taints": []}},
    "namespaces": ["default", "kube-system"],
    "system_pods": {"kube-system/coredns": True},
    "volumes": [],
    "escaped_packets": 4,
}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A cache of the test's own, an engine that says cgroups v2, and no docker at all."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    info = {"CgroupVersion": "2"}
    monkeypatch.setattr(clusters.engine, "info", lambda: info)

    def no_docker(*args: str, **_: object) -> str:
        raise AssertionError(f"docker was called: {args}")

    monkeypatch.setattr(clusters, "docker", no_docker)
    return info


def config(clocks: str = "fast", shape: str = "default") -> dict[str, Any]:
    """What kind is told for a cluster of this sort."""
    return kind_config(ClusterSpec(LINE, clocks, shape), PORTS)


def shapes(folder: Path, monkeypatch: pytest.MonkeyPatch, *labels: dict[str, str]) -> None:
    """Let there be only this shape: a control plane, and a worker with each of these labels."""
    nodes = [{"role": "control-plane"}, *({"role": "worker", "labels": each} for each in labels)]
    (folder / "odd.yaml").write_text(yaml.safe_dump({"kind": "Cluster", "nodes": nodes}))
    monkeypatch.setattr(clusters, "SHAPES", folder)


def made(kube: Any = None, **changed: Any) -> Cluster:
    """A cluster at its baseline."""
    cluster = Cluster("kindstorm-test", ClusterSpec(LINE), Path("kubeconfig"), PORTS, kube)
    cluster.baseline = copy.deepcopy(BASELINE) | changed
    return cluster


def test_fast_clocks_are_patched() -> None:
    """Every clock of the profile reaches its component as an argument, and the kubelet reports as often."""
    made_config = config("fast")
    (patch,) = made_config["kubeadmConfigPatchesJSON6902"]
    assert (patch["group"], patch["kind"]) == ("kubeadm.k8s.io", "ClusterConfiguration")
    assert patch["version"] == LINE.config_api
    found = {(op["path"].split("/")[1], op["value"]["name"]): op["value"]["value"] for op in json.loads(patch["patch"])}
    assert found == {(part, name): value for part, clocks in FAST_CLOCKS.items() for name, value in clocks.items()}
    assert yaml.safe_load(made_config["kubeadmConfigPatches"][0])["nodeStatusUpdateFrequency"] == "2s"


def test_stock_clocks_are_left_alone() -> None:
    """Nothing but the kind of the kubelet's configuration is said."""
    made_config = config("stock")
    assert "kubeadmConfigPatchesJSON6902" not in made_config
    assert yaml.safe_load(made_config["kubeadmConfigPatches"][0]) == {"kind": "KubeletConfiguration"}


def test_unknown_clocks_are_refused() -> None:
    """With the profiles there are."""
    with pytest.raises(ClusterError, match="no clock profile slow; choose fast or stock"):
        config("slow")


@pytest.mark.parametrize("clocks", ["fast", "stock"])
def test_old_cgroups_are_allowed_where_they_are(machine: dict[str, Any], clocks: str) -> None:
    """On cgroups v1, and only there, the kubelet is told not to refuse them."""
    assert "failCgroupV1" not in yaml.safe_load(config(clocks)["kubeadmConfigPatches"][0])
    machine["CgroupVersion"] = "1"
    assert yaml.safe_load(config(clocks)["kubeadmConfigPatches"][0])["failCgroupV1"] is False


def test_ports_lead_from_this_machine_to_the_entry_only() -> None:
    """All of them, on 127.0.0.1, to one node, which is the entry; no other node has any."""
    nodes = config()["nodes"]
    (entry,) = [node for node in nodes if "extraPortMappings" in node]
    assert entry["labels"] == {ENTRY: "true"}
    assert {m["listenAddress"] for m in entry["extraPortMappings"]} == {"127.0.0.1"}
    assert {m["containerPort"]: m["hostPort"] for m in entry["extraPortMappings"]} == PORTS


@pytest.mark.parametrize("shape", sorted(path.stem for path in clusters.SHAPES.glob("*.yaml")))
def test_every_shipped_shape_can_be_made(shape: str) -> None:
    """Its API is on 127.0.0.1, and its entry is a tainted worker."""
    made_config = config(shape=shape)
    assert made_config["networking"]["apiServerAddress"] == "127.0.0.1"
    (entry,) = [node for node in made_config["nodes"] if "extraPortMappings" in node]
    assert entry["role"] == "worker"
    assert "NoSchedule" in entry["kubeadmConfigPatches"][0]


@pytest.mark.parametrize("entries", [0, 2])
def test_a_shape_needs_exactly_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    """None, or more than one, is refused with the file."""
    shapes(tmp_path, monkeypatch, *([{ENTRY: "true"}] * entries), {"other": "true"})
    with pytest.raises(ClusterError, match=r"odd\.yaml must have exactly one node labelled kindstorm\.dev/entry"):
        config(shape="odd")


def test_a_shape_with_one_entry_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with one is made."""
    shapes(tmp_path, monkeypatch, {ENTRY: "true"}, {"other": "true"})
    assert len(config(shape="odd")["nodes"]) == 3


def test_a_cluster_at_its_baseline_has_no_deviations() -> None:
    """The same reading, in whatever order."""
    now = copy.deepcopy(BASELINE)
    now["namespaces"].reverse()
    assert made().deviations(now) == []


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (
            {"nodes": {"worker": BASELINE["nodes"]["worker"] | {"ready": False}}},
            "node worker: {'ready': False, 'unschedulable': False, 'taints': []}, was {'ready': True,",
        ),
        ({"nodes": {}}, "node worker: None, was {'ready': True,"),
        ({"nodes": BASELINE["nodes"] | {"new": {"ready": True}}}, "node new: {'ready': True}, was None"),
        ({"system_pods": {"kube-system/coredns": False}}, "system pod kube-system/coredns: False, was True"),
        ({"system_pods": {}}, "system pod kube-system/coredns: None, was True"),
        ({"namespaces": ["default", "kube-system", "ks-web"]}, "namespace ks-web: left over"),
        ({"namespaces": ["default"]}, "namespace kube-system: gone"),
        ({"volumes": ["pv-1"]}, "volume pv-1: left over"),
        ({"escaped_packets": 6}, "2 packets left the machine"),
    ],
)
def test_each_difference_is_a_deviation(changed: dict[str, Json], found: str) -> None:
    """One sentence that names it."""
    (deviation,) = made().deviations(copy.deepcopy(BASELINE) | changed)
    assert deviation.startswith(found)


def test_all_differences_are_told() -> None:
    """Not only the first."""
    now = {"nodes": {}, "namespaces": [], "system_pods": {}, "volumes": ["pv"], "escaped_packets": 5}
    assert len(made().deviations(now)) == 1 + 1 + 2 + 1 + 1


def test_settle_waits_for_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns nothing once the cluster is as it was, and what still differs when the time is over."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    readings = [BASELINE | {"volumes": ["pv"]}, BASELINE | {"volumes": ["pv"]}, BASELINE]
    monkeypatch.setattr(Cluster, "read_baseline", lambda _: readings.pop(0) if len(readings) > 1 else readings[0])
    assert made().settle(30) == []
    readings[:] = [BASELINE | {"volumes": ["pv"]}]
    assert made().settle(0.01) == ["volume pv: left over"]


class Api:
    """Objects by kind, and the mark's ConfigMap."""

    def __init__(self, mark: dict[str, Any] | None = None, **objects: list[Any]) -> None:
        self.mark = mark
        self.objects = objects

    def raw(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """See Kube."""
        assert (kind, name, namespace) == ("ConfigMap", MARK, "kube-system")
        return self.mark

    def list(self, kind: str, namespace: str | None = None, labels: str | None = None) -> list[Any]:
        """See Kube."""
        found = self.objects.get(kind, [])
        if labels is not None:
            key, _, value = labels.partition("=")
            found = [o for o in found if o.labels.get(key) == value]
        return [o for o in found if namespace in (None, o.namespace)]


def test_the_baseline_is_read_from_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes, namespaces, volumes and packets as they are; system pods under what survives their replacement."""
    space = "kube-system"

    def system(name: str, ready: bool = True, **state: Json) -> Any:
        pod = seen("Pod", name, ready=ready, **state)
        return type(pod)("Pod", space, name, pod.uid, "1", {}, pod.state)

    pods = [
        system("coredns-5f-abc", owner={"kind": "ReplicaSet", "name": "coredns-5f"}),
        system("kindnet-xyz", owner={"kind": "DaemonSet", "name": "kindnet"}, node="worker"),
        system("etcd-control-plane", ready=False, owner={"kind": "Node", "name": "control-plane"}),
    ]
    parts: dict[str, Any] = {"Node": [seen("Node", "worker", ready=True)], "PersistentVolume": []}
    kube: Any = Api(**parts, Namespace=[seen("Namespace", "b"), seen("Namespace", "a")], Pod=pods)
    monkeypatch.setattr(clusters.seal, "escaped_packets", lambda _: 7)
    monkeypatch.setattr(Cluster, "node_image", "image")
    assert made(kube).read_baseline() == {
        "nodes": {"worker": {"ready": True}},
        "namespaces": ["a", "b"],
        "system_pods": {
            "kube-system/coredns-5f": True,
            "kube-system/kindnet@worker": True,
            "kube-system/etcd-control-plane": False,
        },
        "volumes": [],
        "escaped_packets": 7,
    }


def test_addresses_are_on_this_machine() -> None:
    """A NodePort that is mapped has one; another is refused with those that are."""
    assert made().address(30080) == f"http://127.0.0.1:{PORTS[30080]}"
    with pytest.raises(ClusterError, match="NodePort 31000 is not mapped; use one of 30000, 30010,"):
        made().address(31000)


@pytest.mark.parametrize("entries", [0, 2])
def test_a_cluster_has_one_entry(entries: int) -> None:
    """None, or more than one, is an error."""
    nodes = [seen("Node", f"worker{n}", labels={ENTRY: "true"}) for n in range(entries)]
    kube: Any = Api(Node=nodes)
    with pytest.raises(ClusterError, match=f"has {entries} entry workers"):
        made(kube).entry()


OUR_MARK = {"owner": "us"}
OURS = [("kindstorm-test-worker", "kindstorm-test"), ("kindstorm-test-control-plane", "kindstorm-test")]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, ...]]]:
    """Sets an engine whose containers carry our label, and what the mark's file holds in each of them."""

    def build(containers: list[tuple[str, str]], files: dict[str, str]) -> list[tuple[str, ...]]:
        calls: list[tuple[str, ...]] = []

        def docker(*args: str, **_: object) -> str:
            calls.append(args)
            if args[0] == "ps":
                assert "label=dev.kindstorm.owner=us" in args
                return "\n".join(
                    json.dumps({"Names": name, "State": "running", "Labels": f"a=b,io.x-k8s.kind.cluster={cluster}"})
                    for name, cluster in containers
                )
            assert args[0] == "exec"
            assert args[2:] == ("cat", f"/{MARK}")
            return files.get(args[1], "us")

        monkeypatch.setattr(clusters, "docker", docker)
        monkeypatch.setattr(clusters, "owner", lambda: "us")
        return calls

    return build


def test_a_cluster_of_ours_is_known_by_all_three_marks(engine: Any) -> None:
    """ConfigMap, label and file: every container of it is looked into, and none of another cluster."""
    calls = engine([*OURS, ("stranger", "another")], {})
    kube: Any = Api({"data": OUR_MARK})
    made(kube).require_mark()
    assert [args[1] for args in calls if args[0] == "exec"] == sorted(name for name, _ in OURS)


@pytest.mark.parametrize(
    "mark", [None, {}, {"data": {}}, {"data": {"owner": "them"}}, {"data": {"owner": ""}}], ids=str
)
def test_without_the_clusters_mark_it_is_not_ours(engine: Any, mark: dict[str, Any] | None) -> None:
    """No ConfigMap, an empty one, a foreign one: refused before any node is looked into."""
    calls = engine(OURS, {})
    kube: Any = Api(mark)
    with pytest.raises(ClusterError, match="the cluster kindstorm-test does not carry our mark"):
        made(kube).require_mark()
    assert calls == []


@pytest.mark.parametrize("containers", [[], [("stranger", "another")]], ids=["none", "another's"])
def test_without_the_label_it_is_not_ours(engine: Any, containers: list[tuple[str, str]]) -> None:
    """A ConfigMap can be copied: without a container that carries our label it is refused."""
    engine(containers, {})
    kube: Any = Api({"data": OUR_MARK})
    with pytest.raises(ClusterError, match="no node of kindstorm-test carries our label"):
        made(kube).require_mark()


@pytest.mark.parametrize("text", ["", "them"])
def test_without_the_file_it_is_not_ours(engine: Any, text: str) -> None:
    """One node without the file, or with a foreign one, is enough."""
    engine(OURS, {"kindstorm-test-worker": text})
    kube: Any = Api({"data": OUR_MARK})
    with pytest.raises(ClusterError, match="the node kindstorm-test-worker does not carry our mark"):
        made(kube).require_mark()


def test_the_owner_is_made_once() -> None:
    """The same for each cache for ever."""
    assert clusters.owner() == clusters.owner()
    assert len(clusters.owner()) == 32


def test_images_are_imported_where_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image goes to each node once; a node that has it is left alone."""
    given: list[tuple[list[str], list[str]]] = []
    monkeypatch.setattr(clusters.node, "import_everywhere", lambda nodes, refs: given.append((nodes, refs)))
    cluster = made()
    cluster.provide(["docker.io/library/nginx:1"], ["w1"])
    cluster.provide(["docker.io/library/nginx:1"], ["w1", "w2"])
    cluster.provide(["docker.io/library/nginx:1"], ["w1", "w2"])
    assert [nodes for nodes, _ in given if nodes] == [["w1"], ["w2"]]
    assert {reference for _, refs in given for reference in refs} == {"nginx:1"}


def test_a_lease_is_held_by_one() -> None:
    """Who comes second is told, and gets it when the first has let go."""
    with clusters.leased("c") as first:
        assert first
        with clusters.leased("c") as second:
            assert not second
    with clusters.leased("c") as third:
        assert third
