"""Clusters: what counts as a deviation, which images their nodes have, and whose they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import seen

from chaos import cluster as clusters
from chaos.cluster import MARK, Cluster, ClusterSpec
from chaos.errors import ClusterError, ImageError, WaitTimeout
from chaos.history import Json
from chaos.kind import ENTRY, FAST_CLOCKS, NODE_PORTS, PROBE_PORT
from images import cache
from images import catalogue as catalogues

PORTS = {port: 40000 + number for number, port in enumerate((*NODE_PORTS, PROBE_PORT))}
LINE = catalogues.load().line()
BASELINE: dict[str, Json] = {
    "nodes": {"worker": {"ready": True, "unschedulable": False, "taints": []}},
    "namespaces": ["default", "kube-system"],
    "system_pods": {"kube-system/coredns-5d78c9869d-bcdfg": True},
    "volumes": [],
    "objects": ["StorageClass standard"],
    "escaped_packets": 4,
}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no docker at all."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))

    def no_docker(*args: str, **_: object) -> str:
        raise AssertionError(f"docker was called: {args}")

    monkeypatch.setattr(clusters, "docker", no_docker)


def made(kube: Any = None, **changed: Any) -> Cluster:
    """A cluster at its baseline."""
    cluster = Cluster("kindstorm-test", ClusterSpec(LINE), Path("kubeconfig"), PORTS, kube)
    cluster.baseline = copy.deepcopy(BASELINE) | changed
    return cluster


def now_is(monkeypatch: pytest.MonkeyPatch, **changed: Json) -> None:
    """Let the cluster be as its baseline but for this."""
    monkeypatch.setattr(Cluster, "read_baseline", lambda _: copy.deepcopy(BASELINE) | changed)


def test_a_cluster_at_its_baseline_has_no_deviations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same reading, in whatever order, with pods that a controller has replaced."""
    now_is(
        monkeypatch,
        namespaces=["kube-system", "default"],
        system_pods={"kube-system/coredns-5d78c9869d-zzzzz": True},
    )
    assert made().deviations() == []


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"nodes": {"worker": BASELINE["nodes"]["worker"] | {"ready": False}}}, "node worker: ready was True, now"),
        ({"nodes": {}}, "node worker is gone"),
        ({"system_pods": {}}, "system pod kube-system/coredns"),
        ({"namespaces": ["default", "kube-system", "ks-web"]}, "namespace ks-web was left behind"),
        ({"volumes": ["pv-1"]}, "volume pv-1 was left behind"),
        ({"objects": []}, "the cluster's StorageClass standard is gone"),
        ({"escaped_packets": 6}, "2 packets left the machine"),
    ],
)
def test_each_difference_is_a_deviation(monkeypatch: pytest.MonkeyPatch, changed: dict[str, Json], found: str) -> None:
    """One sentence that names it, as the checker of a history says it."""
    now_is(monkeypatch, **changed)
    (deviation,) = made().deviations()
    assert deviation.startswith(found)


def test_all_differences_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only the first."""
    now_is(monkeypatch, nodes={}, namespaces=[], system_pods={}, volumes=["pv"], escaped_packets=5)
    assert len(made().deviations()) == 1 + 2 + 1 + 1 + 1


def test_settle_waits_for_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns nothing once the cluster is as it was, and what still differs when the time is over."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    readings = [BASELINE | {"volumes": ["pv"]}, BASELINE | {"volumes": ["pv"]}, BASELINE]
    monkeypatch.setattr(Cluster, "read_baseline", lambda _: readings.pop(0) if len(readings) > 1 else readings[0])
    assert made().settle(30) == []
    readings[:] = [BASELINE | {"volumes": ["pv"]}]
    assert made().settle(0.01) == ["volume pv was left behind"]


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
    """Nodes, namespaces, volumes and packets as they are; system pods under their own names."""
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
    parts |= {"PriorityClass": [seen("PriorityClass", "high")], "ClusterRole": [seen("ClusterRole", "admin")]}
    kube: Any = Api(**parts, Namespace=[seen("Namespace", "b"), seen("Namespace", "a")], Pod=pods)
    monkeypatch.setattr(clusters.seal, "escaped_packets", lambda _: 7)
    monkeypatch.setattr(Cluster, "node_image", "image")
    assert made(kube).read_baseline() == {
        "nodes": {"worker": {"ready": True}},
        "namespaces": ["a", "b"],
        "system_pods": {
            "kube-system/coredns-5f-abc": True,
            "kube-system/kindnet-xyz": True,
            "kube-system/etcd-control-plane": False,
        },
        "volumes": [],
        "objects": ["ClusterRole admin", "PriorityClass high"],
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


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, str], list[tuple[str, ...]]]:
    """An engine whose node containers are in these states, by name; a container can be copied from in any of them."""
    states = {"kindstorm-test-control-plane": "running", "kindstorm-test-worker": "running"}
    calls: list[tuple[str, ...]] = []
    after = {"pause": "paused", "unpause": "running", "stop": "exited", "start": "running"}

    def docker(*args: str, **_: object) -> str:
        if args[0] == "ps":
            common = {"Labels": "io.x-k8s.kind.cluster=kindstorm-test"}
            return "\n".join(json.dumps({"Names": name, "State": state} | common) for name, state in states.items())
        calls.append(args)
        if args[0] == "exec":
            assert states[args[1]] == "running"
            return "us"
        if args[0] == "cp":
            container, _, path = args[1].partition(":")
            assert path == f"/{MARK}"
            (Path(args[2]) / MARK).write_text("them" if container.endswith("worker3") else "us")
            return ""
        states[args[1]] = after[args[0]]
        return ""

    monkeypatch.setattr(clusters, "docker", docker)
    monkeypatch.setattr(clusters, "owner", lambda: "us")
    return states, calls


@pytest.mark.parametrize("state", ["paused", "exited"])
def test_a_node_that_runs_nothing_still_shows_its_mark(nodes: Any, state: str) -> None:
    """It cannot be asked, but its file can be read: the cluster is ours, and a foreign file is found all the same."""
    states, calls = nodes
    states["kindstorm-test-worker2"] = state
    kube: Any = Api({"data": OUR_MARK})
    made(kube).require_mark()
    assert [args[0] for args in calls] == ["exec", "exec", "cp"]
    states["kindstorm-test-worker3"] = state
    with pytest.raises(ClusterError, match="the node kindstorm-test-worker3 does not carry our mark"):
        made(kube).require_mark()


@pytest.mark.parametrize(("there", "back"), clusters.OUTAGES.items())
def test_a_node_is_switched_only_where_its_state_asks_for_it(nodes: Any, there: str, back: str) -> None:
    """Out and back again, each a second time without effect."""
    _, calls = nodes
    worker = "kindstorm-test-worker"
    done = [clusters.switch_node("kindstorm-test", worker, verb) for verb in (back, there, there, back, back)]
    assert done == [False, True, False, True, False]
    assert calls == [(there, worker), (back, worker)]


def test_a_strangers_container_is_never_switched(nodes: Any) -> None:
    """Neither one without our label nor one of another cluster of ours."""
    _, calls = nodes
    for cluster, name in (("kindstorm-test", "stranger"), ("another", "kindstorm-test-worker")):
        with pytest.raises(ClusterError, match=f"{name} does not carry our label for {cluster}; it is left alone"):
            clusters.switch_node(cluster, name, "pause")
    assert calls == []


class Kubelet:
    """An API that tells the next lease and readiness of a node at each question."""

    def __init__(self, *told: tuple[float, bool]) -> None:
        self.told = list(told)

    def raw(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """See Kube."""
        assert (kind, name, namespace) == ("Lease", "kindstorm-test-worker", "kube-node-lease")
        if not self.told:
            return None
        renewed = datetime.now(UTC) + timedelta(seconds=self.told[0][0])
        return {"spec": {"renewTime": renewed.isoformat().replace("+00:00", "Z")}}

    def get(self, kind: str, name: str) -> Any:
        """See Kube."""
        return seen(kind, name, ready=self.told.pop(0)[1]) if self.told else None


def test_a_node_is_back_once_it_gives_a_sign_of_life(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready from before is not enough, a lease without readiness neither; then its seal is looked at."""
    states, calls = nodes
    sealed: list[str] = []
    monkeypatch.setattr(clusters.seal, "require_node", sealed.append)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    states["kindstorm-test-worker"] = "paused"
    kube: Any = Kubelet((-5, True), (60, False), (60, True))
    clusters.resume_node(kube, "kindstorm-test", "kindstorm-test-worker", "unpause")
    assert kube.told == []
    assert calls == [("unpause", "kindstorm-test-worker")]
    assert sealed == ["kindstorm-test-worker"]


def test_a_node_that_is_still_stopping_is_started_once_it_has(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stopping was broken off by Ctrl-C, say: at first there is nothing to start, and a lease from before."""
    states, calls = nodes
    worker = "kindstorm-test-worker"
    monkeypatch.setattr(clusters.seal, "require_node", lambda _: None)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: states.update({worker: "exited"}) if not calls else None)
    kube: Any = Kubelet((-5, True), (-5, True), (60, True))
    clusters.resume_node(kube, "kindstorm-test", worker, "start")
    assert kube.told == []
    assert calls == [("start", worker)]


def test_a_node_that_gives_no_sign_of_life_is_not_back(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded wait that says what it waited for."""
    assert nodes
    monkeypatch.setattr(clusters, "RESUME_S", 0)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    kube: Any = Kubelet()
    with pytest.raises(WaitTimeout, match="the node kindstorm-test-worker renews its lease and is ready: not within"):
        clusters.resume_node(kube, "kindstorm-test", "kindstorm-test-worker", "start")


def test_the_owner_is_made_once() -> None:
    """The same for each cache for ever."""
    assert clusters.owner() == clusters.owner()
    assert len(clusters.owner()) == 32


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """What was imported: nodes and references, of each call that had a node."""
    given: list[tuple[list[str], list[str]]] = []
    monkeypatch.setattr(clusters.node, "import_everywhere", lambda *what: given.append(what) if what[0] else None)
    return given


def engine_has(monkeypatch: pytest.MonkeyPatch, **ids: str) -> None:
    """Let the engine have these images, by name without its version, with these ids."""
    known = {f"{name}:1": {"Id": found} for name, found in ids.items()}
    monkeypatch.setattr(clusters.engine, "inspect_image", known.get)


def test_images_are_imported_where_they_lack(monkeypatch: pytest.MonkeyPatch, imported: Any) -> None:
    """Each image goes to each node once; a node that has it is left alone."""
    engine_has(monkeypatch, nginx="a", redis="b")
    cluster = made()
    cluster.provide(["docker.io/library/nginx:1"], ["w1"])
    cluster.provide(["docker.io/library/nginx:1", "redis:1"], ["w1", "w2"])
    cluster.provide(["docker.io/library/nginx:1"], ["w1", "w2"])
    assert imported == [(["w1"], ["nginx:1"]), (["w2"], ["nginx:1"]), (["w1", "w2"], ["redis:1"])]


def test_an_image_that_was_made_anew_is_imported_again(monkeypatch: pytest.MonkeyPatch, imported: Any) -> None:
    """The same name with another id is another image."""
    cluster = made()
    for found in ("a", "b", "b"):
        engine_has(monkeypatch, nginx=found)
        cluster.provide(["nginx:1"], ["w1"])
    assert imported == [(["w1"], ["nginx:1"])] * 2


def test_an_image_the_engine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch, imported: Any) -> None:
    """Before anything is imported: a node could only have an old one."""
    engine_has(monkeypatch)
    with pytest.raises(ImageError, match="the engine has no image nginx:1; run `kindstorm setup`"):
        made().provide(["nginx:1"], ["w1"])
    assert imported == []


def test_a_failed_import_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is said to have an image only once it does."""
    engine_has(monkeypatch, nginx="a")
    asked: list[list[str]] = []

    def fail(nodes: list[str], _: list[str]) -> None:
        asked.append(nodes)
        raise ImageError("no room")

    monkeypatch.setattr(clusters.node, "import_everywhere", fail)
    cluster = made()
    for _ in range(2):
        with pytest.raises(ImageError, match="no room"):
            cluster.provide(["nginx:1"], ["w1"])
    assert asked == [["w1"], ["w1"]]


def test_a_spec_counts_its_node_image_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another clock, another image or another build of the same image is another cluster; the same is the same."""
    engine_has(monkeypatch, mine="a")
    spec = ClusterSpec(LINE, node_image="mine:1")
    assert (spec.base_image, spec.digest) == ("mine:1", ClusterSpec(LINE, node_image="mine:1").digest)
    others = {ClusterSpec(LINE).digest, ClusterSpec(LINE, "stock", node_image="mine:1").digest}
    engine_has(monkeypatch, mine="b")
    assert len({*others, spec.digest}) == 3
    rebuilt = spec.digest
    engine_has(monkeypatch, mine="a")
    assert spec.digest not in {*others, rebuilt}


def test_the_lines_node_image_is_the_base() -> None:
    """Where no other was asked for, as the engine names it."""
    assert ClusterSpec(LINE).base_image == clusters.short_reference(LINE.node)


@pytest.mark.parametrize(("clocks", "settings"), [("fast", FAST_CLOCKS), ("stock", {})])
def test_the_facts_are_what_the_server_says(clocks: str, settings: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is asked for, not taken from the catalogue."""

    class Server:
        def server_version(self) -> str:
            return "v1.99.9"

    monkeypatch.setattr("chaos.settings.timings_s", lambda kube: {"dns_ttl": 7} if kube is server else {})
    kube: Any = (server := Server())
    cluster = made(kube)
    cluster.spec = ClusterSpec(LINE, clocks)
    facts = cluster.facts()
    assert (facts["kubernetes"], facts["line"], facts["nodes"]) == ("v1.99.9", LINE.name, ["worker"])
    assert (facts["clocks"], facts["settings"], facts["timings_s"]) == (clocks, settings, {"dns_ttl": 7})


def test_a_lease_is_held_by_one() -> None:
    """Who comes second is told, and gets it when the first has let go."""
    with clusters.leased("c") as first:
        assert first
        with clusters.leased("c") as second:
            assert not second
    with clusters.leased("c") as third:
        assert third


@pytest.mark.parametrize("there", [True, False])
def test_the_lease_of_a_cluster_that_is_gone_goes_too(there: bool) -> None:
    """Nobody asks for that name again; a living cluster's lease stays."""
    path = cache.folder("clusters") / "c.lease"
    if there:
        clusters.folder("c").mkdir(parents=True)
    with clusters.leased("c"):
        assert path.exists()
        with clusters.leased("c") as second:
            assert not second
        assert path.exists()
    assert path.exists() is there
