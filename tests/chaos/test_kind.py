"""kind: the configuration it is given, and what of this machine reaches it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos import kind
from chaos.errors import ClusterError
from chaos.kind import ENTRY, FAST_CLOCKS, NODE_PORTS, PROBE_PORT, Kind
from images import catalogue as catalogues

PORTS = {port: 40000 + number for number, port in enumerate((*NODE_PORTS, PROBE_PORT))}
LINE = catalogues.load().line()


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An engine that says cgroups v2."""
    info = {"CgroupVersion": "2"}
    monkeypatch.setattr(kind.engine, "info", lambda: info)
    return info


def config(clocks: str = "fast", shape: str = "default") -> dict[str, Any]:
    """What kind is told for a cluster of this sort."""
    return kind.config(LINE, clocks, shape, PORTS, [{"hostPath": "/shared", "containerPath": "/in"}])


def shapes(folder: Path, monkeypatch: pytest.MonkeyPatch, *labels: dict[str, str]) -> None:
    """Let there be only this shape: a control plane, and a worker with each of these labels."""
    nodes = [{"role": "control-plane"}, *({"role": "worker", "labels": each} for each in labels)]
    (folder / "odd.yaml").write_text(yaml.safe_dump({"kind": "Cluster", "nodes": nodes}))
    monkeypatch.setattr(kind, "SHAPES", folder)


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


def test_every_node_has_the_mounts() -> None:
    """What is outside the nodes is in all of them, control planes and the entry included."""
    nodes = config()["nodes"]
    assert len(nodes) == 5
    assert [node["extraMounts"] for node in nodes] == [[{"hostPath": "/shared", "containerPath": "/in"}]] * 5


@pytest.mark.parametrize("shape", sorted(path.stem for path in kind.SHAPES.glob("*.yaml")))
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


def test_ports_are_free_and_differ() -> None:
    """One for each NodePort; all can be bound at once."""
    ports = kind.free_ports()
    assert list(ports) == [*NODE_PORTS, PROBE_PORT]
    assert len(set(ports.values())) == len(ports)
    bound = [socket.create_server(("127.0.0.1", port)) for port in ports.values()]
    for server in bound:
        server.close()


SCRIPT = """#!/bin/sh
echo "$*" >> {calls}
env > {environment}
case "$1 $2" in
"get clusters") exit 0 ;;
"create cluster") echo "ERROR: an earlier one"; echo "ERROR: failed to {failure}" >&2; exit {code} ;;
esac
echo "ERROR: failed to {failure}"
exit {code}
"""
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "kind-a",
    "contexts": [{"name": "kind-a", "context": {"cluster": "a", "user": "a"}}],
    "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "a", "user": {}}],
}


class Command:
    """A kind that notes how it was called and ends as it is told."""

    def __init__(self, folder: Path, code: int) -> None:
        self.calls_path, self.environment_path = folder / "calls", folder / "environment"
        paths = {"calls": self.calls_path, "environment": self.environment_path}
        path = folder / "kind"
        path.write_text(SCRIPT.format(**paths, failure="do it", code=code))
        path.chmod(0o755)
        (folder / "home").mkdir()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
        self.kind = Kind(path, folder / "kind.log", folder / "home")

    def calls(self) -> list[str]:
        """How it was called."""
        return self.calls_path.read_text().splitlines()

    def environment(self) -> dict[str, str]:
        """What it found in its environment at last."""
        return dict(line.split("=", 1) for line in self.environment_path.read_text().splitlines() if "=" in line)


def test_a_cluster_is_made_by_our_kind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With our image, configuration and kubeconfig; what it says goes to the log, its folder to its home."""
    command = Command(tmp_path, 0)
    command.kind.create("a", "image:1", tmp_path / "kind.yaml", command.kubeconfig)
    (made,) = [call for call in command.calls() if call.startswith("create")]
    for word in ("--name=a", "--image=image:1", f"--config {tmp_path}/kind.yaml", f"--kubeconfig={command.kubeconfig}"):
        assert word in made
    assert "ERROR: failed to do it" in command.kind.log.read_text()
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "home" / ".pytest-kind" / "a").is_dir()
    assert not Path(".pytest-kind").exists()


def test_a_cluster_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """The last error that kind told, and where all of it stands."""
    command = Command(tmp_path, 1)
    with pytest.raises(ClusterError) as refused:
        command.kind.create("a", "image:1", tmp_path / "kind.yaml", command.kubeconfig)
    assert str(refused.value) == (
        f"kind could not make the cluster a: ERROR: failed to do it; all it said: {command.kind.log}"
    )


def test_a_cluster_that_cannot_be_removed_is_one_sentence(tmp_path: Path) -> None:
    """The same for its removal."""
    command = Command(tmp_path, 1)
    with pytest.raises(ClusterError, match="kind could not remove the cluster a: ERROR: failed to do it"):
        command.kind.delete("a", command.kubeconfig)
    assert "--name=a" in command.calls()[-1]
    assert command.calls()[-1].startswith("delete cluster")


def test_a_kind_that_cannot_be_run_is_one_sentence(tmp_path: Path) -> None:
    """A file that is no program."""
    command = Command(tmp_path, 0)
    command.kind.command.chmod(0o644)
    with pytest.raises(ClusterError, match=r"kind could not make the cluster a: .*Permission denied"):
        command.kind.create("a", "image:1", tmp_path / "kind.yaml", command.kubeconfig)


@pytest.mark.parametrize("code", [0, 1])
def test_kind_gets_our_network_and_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Nodes need no way out; afterwards this process has its own environment again, also after a failure."""
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("KIND_EXPERIMENTAL_DOCKER_NETWORK", "mine")
    before = dict(os.environ)
    command = Command(tmp_path, code)
    try:
        command.kind.delete("a", command.kubeconfig)
    except ClusterError:
        assert code == 1
    seen = command.environment()
    assert seen["KIND_EXPERIMENTAL_DOCKER_NETWORK"] == "kindstorm"
    assert seen["KIND_EXPERIMENTAL_PROVIDER"] == "docker"
    assert not {name for name in seen if name.upper().endswith("_PROXY")}
    assert dict(os.environ) == before


def test_no_secret_reaches_the_log(tmp_path: Path) -> None:
    """What kind says passes through the redaction before it is in the run's directory."""
    command = Command(tmp_path, 0)
    cleaned = Kind(command.kind.command, command.kind.log, command.kind.home, lambda text: text.replace("do it", "(-)"))
    cleaned.delete("a", command.kubeconfig)
    cleaned.delete("a", command.kubeconfig)
    assert "do it" not in cleaned.log.read_text()
    assert cleaned.log.read_text().count("ERROR: failed to (-)") == 2


def test_logs_are_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By kind's own command, without a proxy; nothing of it is in the log."""
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    command = Command(tmp_path, 0)
    command.kind.export_logs("a", tmp_path / "out", 30)
    assert command.calls()[-1] == f"export logs --name=a {tmp_path}/out"
    assert "https_proxy" not in command.environment()
    assert not command.kind.log.exists()


def test_an_export_that_fails_is_one_sentence(tmp_path: Path) -> None:
    """With what kind said last; also where it does not end in time, or is no program."""
    command = Command(tmp_path, 1)
    with pytest.raises(ClusterError, match="`kind export logs` failed: no output"):
        command.kind.export_logs("a", tmp_path / "out", 30)
    command.kind.command.write_text("#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(ClusterError, match="`kind export logs` did not end within 0 s"):
        command.kind.export_logs("a", tmp_path / "out", 0.2)
    command.kind.command.chmod(0o644)
    with pytest.raises(ClusterError, match="`kind export logs` cannot be run"):
        command.kind.export_logs("a", tmp_path / "out", 30)
