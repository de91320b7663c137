"""Clusters are made whole or not at all, and only what is ours, and held by nobody, is removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos import cluster as clusters
from chaos import journal, kind, provision, seal, storage
from chaos.cluster import MARK, Cluster, ClusterSpec
from chaos.errors import ClusterError
from chaos.journal import Entry
from chaos.kind import PortTaken
from images import cache
from images import catalogue as catalogues

LINE = catalogues.load().line()
SPEC = ClusterSpec(LINE, probe_image="probe:1", node_image="base:1")
BASELINE = {
    "nodes": {"worker": {"ready": True}},
    "system_pods": {
        "kube-system/coredns-a": True,
        "kube-system/coredns-b": True,
        "kindstorm-storage/shared-storage-a": True,
    },
}


class World:
    """An engine with containers, and a kind that makes and removes them; notes what is done, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.containers: dict[str, dict[str, str]] = {}
        self.strangers: dict[str, str] = {}
        self.fail_at = ""
        self.taken = 0
        self.mark: dict[str, Any] | None = {"data": {"owner": "us"}}
        self.labels = {seal.OWNER_LABEL: "us"}
        self.baselines: list[dict[str, Any]] = [BASELINE]
        for module in (provision, clusters):
            monkeypatch.setattr(module, "owner", lambda: "us")
            monkeypatch.setattr(module, "docker", self.docker)
        for name in ("make_network", "require_network", "seal_host", "unseal_host", "seal_node"):
            monkeypatch.setattr(seal, name, lambda *_, name=name: self.step(name))
        monkeypatch.setattr(provision.witness, "install", lambda node: self.step(f"witness {node}"))
        monkeypatch.setattr(seal, "seal_dns", lambda _: self.step("seal_dns") or "the Corefile")
        monkeypatch.setattr(provision, "Kube", lambda _: self)
        monkeypatch.setattr(provision.clusters, "connect", lambda _: self)
        monkeypatch.setattr(kind.engine, "info", lambda: {"CgroupVersion": "2"})
        monkeypatch.setattr(clusters.engine, "inspect_image", self.inspect_image)
        monkeypatch.setattr(clusters.node, "import_everywhere", lambda nodes, _: self.step(f"import {nodes}"))
        monkeypatch.setattr(Cluster, "entry", lambda _: "entry")
        monkeypatch.setattr(Cluster, "control_planes", lambda _: ["control-plane"])
        monkeypatch.setattr(Cluster, "read_baseline", lambda _: self.baselines.pop(0))
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)

    def step(self, name: str) -> None:
        """Note it, or fail at it."""
        self.log.append(name)
        if self.fail_at and name.startswith(self.fail_at):
            raise ClusterError(f"{name} failed")

    def inspect_image(self, name: str) -> dict[str, Any]:
        """See images.engine."""
        return {"Id": name, "Config": {"Labels": self.labels}}

    def docker(self, *args: str, **_: object) -> str:
        """See images.engine."""
        if args[0] == "images":
            return "kindstorm/node:abc\nkindstorm/node:def"
        if args[0] == "exec":
            return "us"
        assert args[0] == "ps"
        label = next(word for word in args if word.startswith("label="))
        if label == f"label={seal.OWNER_LABEL}=us":
            return "\n".join(json.dumps(entry) for entry in self.containers.values())
        name = label.removeprefix(f"label={clusters.CLUSTER_LABEL}=")
        ours = [c for c, entry in self.containers.items() if f"={name}," in entry["Labels"]]
        return "\n".join([*ours, *(c for c, of in self.strangers.items() if of == name)])

    def add(self, cluster: str, state: str = "running", config: str = "", *, known: bool = True) -> None:
        """Let there be a node of a cluster of ours."""
        labels = f"{clusters.CLUSTER_LABEL}={cluster},{clusters.CONFIG_LABEL}={config}"
        self.containers[f"{cluster}-worker"] = {"Names": f"{cluster}-worker", "State": state, "Labels": labels}
        if known:
            clusters.folder(cluster).mkdir(parents=True, exist_ok=True)
            (clusters.folder(cluster) / "cluster.json").write_text("{}")

    # ---- kind

    def create(self, name: str, image: str, configuration: Path, kubeconfig: Path) -> None:
        """See Kind."""
        assert image == f"kindstorm/node:{SPEC.digest}"
        mounts = [mount for node in yaml.safe_load(configuration.read_text())["nodes"] for mount in node["extraMounts"]]
        assert {mount["hostPath"] for mount in mounts} == {str(clusters.folder(name) / "shared")}
        assert (clusters.folder(name) / "shared").is_dir()
        assert kubeconfig == clusters.folder(name) / "kubeconfig"
        self.add(name, known=False)
        self.step("create")
        if self.taken:
            self.taken -= 1
            raise PortTaken("a port was taken")

    def delete(self, name: str, _kubeconfig: Path) -> None:
        """See Kind."""
        self.step(f"delete {name}")
        del self.containers[f"{name}-worker"]

    # ---- the API

    def apply(self, document: dict[str, Any], namespace: str) -> None:
        """See Kube."""
        if namespace == storage.NAMESPACE:
            assert document in storage.documents()
            self.step(f"storage {document['kind']}")
        else:
            wanted = (MARK, {"owner": "us"}, "kube-system")
            assert (document["metadata"]["name"], document["data"], namespace) == wanted
            self.step("mark")

    def raw(self, *_: str) -> dict[str, Any] | None:
        """See Kube."""
        return self.mark


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine without a container, and a cache of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return World(monkeypatch)


def test_names_are_new() -> None:
    """No two are the same."""
    assert len({provision.new_name() for _ in range(9)}) == 9


def test_a_cluster_is_made_sealed_and_marked(world: Any) -> None:
    """The host is sealed before there is a node; the network is looked at again after; its storage comes last.

    By then the control plane has the images that the storage needs.
    """
    made = provision.create(world, SPEC, "a")
    assert world.log[:4] == ["make_network", "seal_host", "create", "require_network"]
    images = ["import ['control-plane']"] * len(storage.images())
    prepared = sorted([*images, "import ['entry']", "seal_dns", "seal_node", "witness a-worker"])
    assert sorted(world.log[4 : 4 + len(prepared)]) == prepared
    assert world.log[4 + len(prepared) :] == ["mark", *(f"storage {d['kind']}" for d in storage.documents())]
    assert (made.corefile, made.baseline) == ("the Corefile", BASELINE)
    assert made.kubeconfig == clusters.folder("a") / "kubeconfig"


def test_a_port_that_is_taken_costs_a_try(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was half made is removed, and other ports are tried; the cluster has those that held."""
    given = [{30000: 1}, {30000: 2}, {30000: 3}]
    monkeypatch.setattr(kind, "free_ports", lambda: given.pop(0))
    world.taken = 1
    assert provision.create(world, SPEC, "a").ports == {30000: 2}
    assert world.log[2:5] == ["create", "delete a", "create"]


def test_ports_that_are_always_taken_are_one_sentence(world: Any) -> None:
    """The tries are bounded, and nothing is left of them."""
    world.taken = 99
    with pytest.raises(ClusterError, match="3 times another program took one of its ports"):
        provision.create(world, SPEC, "a")
    assert world.log.count("create") == 3
    assert world.containers == {}
    assert not clusters.folder("a").exists()


@pytest.mark.parametrize(
    "unfit",
    [
        {"nodes": {"worker": {"ready": False}}},
        {"system_pods": BASELINE["system_pods"] | {"kube-system/coredns-b": False}},
        {"system_pods": {name: True for name in BASELINE["system_pods"] if name != "kube-system/coredns-b"}},
        {"system_pods": BASELINE["system_pods"] | {"kube-system/coredns-c": True}},
        {"system_pods": {name: True for name in BASELINE["system_pods"] if "storage" not in name}},
    ],
    ids=["node", "pod", "one DNS pod", "three DNS pods", "no provisioner"],
)
def test_a_baseline_is_read_once_all_is_ready(world: Any, unfit: dict[str, Any]) -> None:
    """All nodes and system pods, and no DNS pod that is about to go."""
    world.baselines = [BASELINE | unfit, BASELINE]
    assert provision.create(world, SPEC, "a").baseline == BASELINE
    assert world.baselines == []


@pytest.mark.parametrize(
    "step", ["make_network", "seal_host", "create", "require_network", "seal_node", "witness", "mark", "storage Role"]
)
def test_a_cluster_that_fails_leaves_nothing(world: Any, step: str) -> None:
    """Wherever it fails: no container, nothing known of it, the host's seal removed, and the reason goes up."""
    world.fail_at = step
    with pytest.raises(ClusterError, match=f"^{step}.* failed$"):
        provision.create(world, SPEC, "a")
    assert world.containers == {}
    assert not clusters.folder("a").exists()
    assert world.log[-1] == "unseal_host"


def test_what_cannot_be_removed_is_noted(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first error goes up, the second stands in its notes."""
    world.fail_at = "mark"

    def stuck(*_: object) -> None:
        raise ClusterError("kind is stuck")

    monkeypatch.setattr(world, "delete", stuck)
    with pytest.raises(ClusterError, match="mark failed") as failed:
        provision.create(world, SPEC, "a")
    assert failed.value.__notes__ == ["what was made of it could not be removed: kind is stuck"]


@pytest.mark.parametrize("whose", ["ours", "stranger"])
def test_a_name_that_is_taken_is_refused(world: Any, whose: str) -> None:
    """The cluster that has it is neither used nor removed."""
    if whose == "ours":
        world.add("a")
    else:
        world.strangers = {"a-worker": "a"}
    with pytest.raises(ClusterError, match="there is a cluster a already"):
        provision.create(world, SPEC, "a")
    assert world.log == []


@pytest.mark.parametrize("name", ["{outside}", "../../outside", "..", ".", "", "a/../../../outside", "A", "-a"])
def test_a_name_that_leads_elsewhere_is_refused(world: Any, tmp_path: Path, name: str) -> None:
    """What fails is removed with its folder, and that must be one of ours: nothing is made, removed or leased."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("")
    (tmp_path / "cache" / "clusters").mkdir(parents=True)
    name = name.format(outside=outside)
    with pytest.raises(ClusterError, match="is no name for a cluster; take letters a-z"):
        provision.create(world, SPEC, name)
    with pytest.raises(ClusterError, match="is no name for a cluster"), clusters.leased(name):
        pass
    assert world.log == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cache", "clusters", "outside", "precious"]


def test_a_cluster_is_taken_up_as_it_was_kept(world: Any) -> None:
    """Ports, Corefile, baseline and images are those of before; the host is sealed again."""
    made = provision.create(world, SPEC, "a")
    made.loaded = {"w": {"nginx:1": "id"}}
    provision.remember(made)
    world.log.clear()
    taken = provision.attach(SPEC, "a")
    for part in ("name", "ports", "corefile", "baseline", "loaded", "kubeconfig"):
        assert getattr(taken, part) == getattr(made, part), part
    assert world.log == ["seal_host"]


def test_a_cluster_that_lost_its_mark_is_not_taken_up(world: Any) -> None:
    """Nothing is done on the host for it either."""
    provision.create(world, SPEC, "a")
    world.mark = None
    world.log.clear()
    with pytest.raises(ClusterError, match="the cluster a does not carry our mark"):
        provision.attach(SPEC, "a")
    assert world.log == []


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("text", [None, "half a {"])
def test_a_cluster_nothing_is_known_of_is_not_taken_up(text: str | None) -> None:
    """One sentence that says how to be rid of it."""
    if text is not None:
        clusters.folder("a").mkdir(parents=True)
        (clusters.folder("a") / "cluster.json").write_text(text)
    with pytest.raises(ClusterError, match="nothing is known of the cluster a; `kindstorm clusters --remove`"):
        provision.attach(SPEC, "a")


@pytest.mark.usefixtures("world")
def test_a_kubeconfig_names_our_cluster(tmp_path: Path) -> None:
    """By its current context, without what kind puts before it."""
    path = tmp_path / "kubeconfig"
    path.write_text("current-context: kind-kindstorm-1")
    assert provision.name_in(path) == "kindstorm-1"


@pytest.mark.parametrize("mark", [None, {"data": {"owner": "them"}}, {}], ids=str)
def test_a_kubeconfig_of_a_stranger_is_refused(world: Any, tmp_path: Path, mark: dict[str, Any] | None) -> None:
    """With what to do instead."""
    world.mark = mark
    with pytest.raises(ClusterError, match=r"does not carry our mark; .*leave --kubeconfig out"):
        provision.name_in(tmp_path / "kubeconfig")


def test_the_last_cluster_takes_the_seal_with_it(world: Any) -> None:
    """The network and the host's rules stay as long as one of ours is there."""
    world.add("a")
    world.add("b")
    provision.delete(world, "a")
    assert world.log == ["delete a"]
    assert not clusters.folder("a").exists()
    provision.delete(world, "b")
    assert world.log == ["delete a", "delete b", "unseal_host"]


def test_a_cluster_with_a_strangers_node_is_left_alone(world: Any) -> None:
    """Not a container, not a file is touched."""
    world.add("a")
    world.strangers = {"a-other": "a"}
    with pytest.raises(ClusterError, match=r"the cluster a has nodes without our mark \(a-other\); it is left alone"):
        provision.delete(world, "a")
    assert world.log == []
    assert clusters.folder("a").exists()


def test_a_sweep_removes_what_nobody_holds(world: Any) -> None:
    """What a session holds stays, and so does the seal."""
    for name in ("free", "held"):
        world.add(name)
    with clusters.leased("held"):
        assert provision.sweep(world, keep=False) == ["free"]
    assert world.log == ["delete free"]


def test_a_sweep_that_keeps_removes_the_dead(world: Any) -> None:
    """A node that stopped, or a cluster of which nothing is known, cannot be taken up again."""
    world.add("living")
    world.add("stopped", "exited")
    world.add("unknown", known=False)
    assert sorted(provision.sweep(world, keep=True)) == ["stopped", "unknown"]
    assert list(world.containers) == ["living-worker"]


@pytest.mark.parametrize("keep", [True, False])
def test_a_sweep_removes_the_folder_of_a_cluster_without_nodes(world: Any, keep: bool) -> None:
    """Whoever was killed before there was a node left files; who is about to make nodes holds the lease."""
    for name in ("gone", "coming"):
        (clusters.folder(name) / "shared").mkdir(parents=True)
    with clusters.leased("coming"):
        assert provision.sweep(world, keep=keep) == ["gone"]
        assert not clusters.folder("gone").exists()
        assert clusters.folder("coming").exists()
    assert world.log == ["unseal_host"]


def test_files_that_stay_are_told_and_the_seal_goes(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster is gone all the same."""
    world.add("a")
    monkeypatch.setattr(storage, "remove", lambda _: world.step("remove"))
    world.fail_at = "remove"
    with pytest.raises(ClusterError, match="remove failed"):
        provision.delete(world, "a")
    assert world.log == ["delete a", "remove", "unseal_host"]


@pytest.mark.parametrize(
    ("verb", "node", "kept"),
    [("unpause", "hit-worker", True), ("start", "hit-worker", True), ("unpause", "hit-other", False),
     ("uncordon", "hit-worker", False)],
)  # fmt: skip
def test_a_cluster_that_the_journal_can_mend_is_not_dead(world: Any, verb: str, node: str, kept: bool) -> None:
    """A node that a fault took out comes back by undoing; without an entry for this very node the cluster is dead."""
    world.add("hit", "paused")
    journal.plan(Entry("hit", verb, {"cluster": "hit", "node": node}))
    assert provision.is_whole("hit") is kept
    assert provision.sweep(world, keep=True) == ([] if kept else ["hit"])
    world.containers.clear()
    assert not provision.is_whole("hit")


@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_cluster_held_to_be_looked_at_stays(world: Any, state: str) -> None:
    """No session sweeps it away, kept or not, dead or living, and none takes it up, until it is named as well."""
    for name in ("looked-at", "kept"):
        world.add(name, state, SPEC.digest)
    cluster = Cluster("looked-at", SPEC, clusters.folder("looked-at") / "kubeconfig", {}, world)
    provision.hold(cluster, "ks-nginx")
    assert (provision.held("looked-at"), provision.held("kept")) == ("ks-nginx", None)
    assert provision.reusable(SPEC) == (["kept"] if state == "running" else [])
    assert provision.sweep(world, keep=False) == ["kept"]
    assert provision.sweep(world, keep=True) == []
    assert provision.sweep(world, keep=True, looked_at=True) == ["looked-at"]
    assert provision.held("looked-at") is None


def test_a_sweep_leaves_folders_of_other_names(world: Any) -> None:
    """No cluster of ours is called so."""
    other = cache.folder("clusters") / "My notes"
    other.mkdir()
    assert provision.sweep(world, keep=False) == []
    assert other.exists()


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_a_cluster_whose_hold_was_half_written_stays(world: Any, text: str) -> None:
    """A full disk, say: no session sweeps it away, and none stumbles over it."""
    world.add("looked-at")
    (clusters.folder("looked-at") / provision.HELD).write_text(text)
    assert provision.sweep(world, keep=False) == []
    assert provision.sweep(world, keep=False, looked_at=True) == ["looked-at"]


def test_a_sweep_without_a_cluster_unseals(world: Any) -> None:
    """What a killed session left of the network goes, too."""
    assert provision.sweep(world, keep=False) == []
    assert world.log == ["unseal_host"]


def test_a_kept_cluster_is_known_by_its_configuration(world: Any) -> None:
    """Running, and of exactly this digest."""
    world.add("other", config="else")
    world.add("stopped", "exited", SPEC.digest)
    assert provision.reusable(SPEC) == []
    world.add("fit", config=SPEC.digest)
    assert provision.reusable(SPEC) == ["fit"]


@pytest.mark.parametrize(("code", "said"), [(0, ""), (1, "no space left")])
def test_a_node_image_is_marked_once(world: Any, monkeypatch: pytest.MonkeyPatch, code: int, said: str) -> None:
    """Built on the base with our labels where there is none of ours; the engine's refusal is one sentence."""
    built: list[str] = []

    def run(command: list[str], *, input: bytes, **_: object) -> Any:
        assert command[:2] == ["docker", "build"]
        built.append(input.decode())
        return provision.subprocess.CompletedProcess(command, code, b"", said.encode())

    monkeypatch.setattr(provision.subprocess, "run", run)
    assert provision._marked_image(SPEC) == f"kindstorm/node:{SPEC.digest}"
    assert built == []
    world.labels = {seal.OWNER_LABEL: "them"}
    if code:
        with pytest.raises(ClusterError, match="the node image cannot be marked: no space left"):
            provision._marked_image(SPEC)
    else:
        provision._marked_image(SPEC)
    assert built == [f"FROM base:1\nLABEL {seal.OWNER_LABEL}=us {clusters.CONFIG_LABEL}={SPEC.digest}\n"]
