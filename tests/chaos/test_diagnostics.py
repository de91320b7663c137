"""What is collected around a failure: bounded, without secrets, and never a failure of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cluster_fakes import Picture, seen

from chaos import diagnostics
from chaos.diagnostics import Case, collect, snapshot, write_documents
from chaos.errors import ClusterError, FaultError
from chaos.history import History, Record
from chaos.redact import Redactor
from images import cache

SECRET = "hush-4-long"  # noqa: S105 - nobody's
REDACTOR = Redactor()
REDACTOR.learn([SECRET])


class FakeCluster:
    """A cluster of two nodes that answers as it is told."""

    name = "kindstorm-one"

    def __init__(self) -> None:
        self.kube = self
        self.nodes = ["one-worker", "one-control-plane"]
        self.objects: list[dict[str, Any]] | Exception = []

    def containers(self) -> list[str]:
        """See Cluster."""
        return self.nodes

    def documents(self, namespace: str, timeout_s: float) -> list[dict[str, Any]]:
        """See Kube."""
        assert (namespace, timeout_s <= 10) == ("ns", True)
        if isinstance(self.objects, Exception):
            raise self.objects
        return self.objects


class FakeKind:
    """A kind that exports these files, or fails."""

    def __init__(self, files: dict[str, bytes] | None = None, error: Exception | None = None) -> None:
        self.files = files or {}
        self.error = error
        self.folder = Path()

    def export_logs(self, name: str, folder: Path, timeout_s: float) -> None:
        """See Kind."""
        assert (name, 0 < timeout_s <= diagnostics.BUDGET_S) == ("kindstorm-one", True)
        self.folder = folder
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def cache_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own: what kind exports lies in it at first."""
    root = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(cache.VARIABLE, str(root))
    return root


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the engine was asked; it answers with what leaks."""
    calls: list[tuple[str, ...]] = []

    def docker(*command: str, timeout_s: float) -> str:
        assert timeout_s <= 20
        calls.append(command)
        return f"{' '.join(command[:2])} says {SECRET}"

    monkeypatch.setattr(diagnostics, "docker", docker)
    return calls


def case(directory: Path, cluster: Any, kind: Any, error: BaseException | None = None) -> Case:
    """A failed experiment with a little history."""
    records = [
        Record(0, "harness", "clock", {"wall_ns": 1_700_000_000_000_000_000}),
        Record(1_500_000_000, "harness", "phase", {"name": "deploy", "edge": "begin"}),
        Record(2_000_000_000, "load", "op", {"type": "ok", "op": 1}),
        Record(2_500_000_000, "api", "gap", {"what": "watch Pod"}),
    ]
    return Case(cluster, lambda: kind, History(records), 1.0, directory, REDACTOR, error)


def told(directory: Path) -> str:
    """The index."""
    return (directory / "diagnostics" / "index.txt").read_text()


def test_everything_is_collected_and_indexed(tmp_path: Path, cache_root: Path, asked: list[tuple[str, ...]]) -> None:
    """Both nodes, kind's export without what is there already or no text, and our own log; no secret in any of it."""
    files = {"one-worker/serial.log": f"boot {SECRET}\n".encode(), "one-worker/kubelet.log": b"twice"}
    files |= {"one-worker/journal/x.journal": b"\x00" + SECRET.encode(), "one-worker/a.xz": b"\xfd7zXZ\xff"}
    files |= {"one-worker/containers/a.log": b"twice"}
    (tmp_path / "describe.txt").write_text("it is there")
    kind = FakeKind(files)
    index = collect(case(tmp_path, FakeCluster(), kind, FaultError(f"no {SECRET}")))
    assert index == tmp_path / "diagnostics" / "index.txt"
    made = {str(p.relative_to(index.parent)): p.read_text() for p in index.parent.rglob("*") if p.is_file()}
    assert sorted(made) == [
        "harness.txt",
        "index.txt",
        "kind/one-worker/serial.log",
        "nodes/one-control-plane/inspect.json",
        "nodes/one-control-plane/journal.txt",
        "nodes/one-worker/inspect.json",
        "nodes/one-worker/journal.txt",
    ]
    listed = [line.split()[0] for line in told(tmp_path).splitlines()]
    assert listed[:-1] == ["harness.txt", "kind", *sorted(name for name in made if name.startswith("nodes/"))]
    assert "../describe.txt" in told(tmp_path)
    assert "../events.txt" not in told(tmp_path)
    assert [name for name, text in made.items() if SECRET in text] == []
    assert made["kind/one-worker/serial.log"].startswith("boot (redacted-")
    assert "2023-11-14T22:13:21.500+00:00 phase name=deploy edge=begin" in made["harness.txt"]
    assert "gap what=watch Pod" in made["harness.txt"]
    assert "op " not in made["harness.txt"]
    assert "FaultError: no (redacted-" in made["harness.txt"]
    assert len(asked) == 4
    assert not kind.folder.exists(), "what was not cleaned is gone"
    assert tmp_path not in kind.folder.parents
    assert cache_root / "clusters" / "kindstorm-one" in kind.folder.parents, "what a killed harness leaves goes too"


def test_what_cannot_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an engine and a kind there is still the harness's own log, and the reasons."""

    def docker(*_: str, timeout_s: float) -> str:
        raise ClusterError(f"no engine within {timeout_s:.0f} s for {SECRET}")

    monkeypatch.setattr(diagnostics, "docker", docker)
    collect(case(tmp_path, FakeCluster(), FakeKind({"version.txt": b"1"}, ClusterError("no kind"))))
    assert told(tmp_path).count("not to be had: no engine") == 4
    assert "not whole: no kind" in told(tmp_path)
    assert SECRET not in told(tmp_path)
    assert (tmp_path / "diagnostics" / "kind" / "version.txt").exists(), "what there was of it is kept"


def test_without_a_cluster(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    """Nobody is asked."""
    collect(case(tmp_path, None, None))
    assert asked == []
    assert "harness.txt" in told(tmp_path)


def test_no_time_for_kind(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    """Who interrupts gets what is quickly had."""
    collect(case(tmp_path, FakeCluster(), FakeKind(error=AssertionError("it must not be asked"))), budget_s=0.5)
    assert "not to be had: no time was left" in told(tmp_path)
    assert len(asked) == 4


def test_too_much_is_left_out_and_named(
    tmp_path: Path, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export is bounded in all."""
    monkeypatch.setattr(diagnostics, "MOST_CHARS", 10)
    collect(case(tmp_path, FakeCluster(), FakeKind({"a.log": b"12345678", "b.log": b"12345678"})))
    assert [p.name for p in (tmp_path / "diagnostics" / "kind").iterdir()] == ["a.log"]
    assert "left out, because it was too much or took too long: b.log" in told(tmp_path)
    assert len(asked) == 4


EVENT = {"type": "Warning", "about": {"kind": "Pod", "name": "web-0"}, "reason": "BackOff", "count": 3}


def test_what_there_is_no_time_for_is_left_out_and_named(
    tmp_path: Path, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text may be so much, and the secrets so many, that the budget ends between two files."""
    made, now = case(tmp_path, FakeCluster(), FakeKind({"a.log": b"slow", "b.log": b"12345678"})), [0.0]
    clean = made.redactor.text

    def text(given: str) -> str:
        now[0] += 61 if given == "slow" else 0
        return clean(given)

    made.redactor.text = text  # type: ignore[method-assign]
    monkeypatch.setattr(diagnostics, "time", SimpleNamespace(monotonic=lambda: now[0]))
    collect(made, budget_s=60)
    assert asked
    assert [p.name for p in (tmp_path / "diagnostics" / "kind").iterdir()] == ["a.log"]
    assert "took too long: b.log" in told(tmp_path)


def test_the_namespace_as_it_stands(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    """Objects, a description of just the kinds there are and of the nodes, and the events in order."""
    cluster: Any = FakeCluster()
    cluster.objects = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0"}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}},
        {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}},
    ]
    events = [seen("Event", n, **EVENT, at=f"T{n}", message=f"{n} {SECRET}\n\n") for n in ("2", "3", "1")]
    recorder: Any = Picture(*events)
    assert snapshot(cluster, "ns", recorder, tmp_path, REDACTOR) == []
    commands = [command[-1] for command in asked]
    assert [command[1] for command in asked] == ["one-control-plane"] * 2
    assert "describe --namespace=ns pod,statefulset.apps 2>&1" in commands[0]
    assert "describe nodes" in commands[1]
    assert "says (redacted-" in (tmp_path / "describe.txt").read_text()
    assert "kind: StatefulSet" in (tmp_path / "objects.yaml").read_text()
    assert "kind: Event" not in (tmp_path / "objects.yaml").read_text()
    lines = (tmp_path / "events.txt").read_text().splitlines()
    assert [line.split(" (redacted-")[0] for line in lines] == [
        f"T{n} Warning Pod/web-0 BackOff (x3): {n}" for n in "123"
    ]


def test_without_the_api_server_there_are_events_and_the_usual_kinds(
    tmp_path: Path, asked: list[tuple[str, ...]]
) -> None:
    """The watch remembers the events, and kubectl is tried with the kinds that every stack has."""
    cluster: Any = FakeCluster()
    cluster.objects = ClusterError(f"gone with {SECRET}")
    recorder: Any = Picture(seen("Event", "1", **EVENT, at="T1", message="m"))
    (missing,) = snapshot(cluster, "ns", recorder, tmp_path, REDACTOR)
    assert missing.startswith("objects.yaml: gone with (redacted-")
    assert (tmp_path / "events.txt").read_text().startswith("T1 ")
    assert "pod,service,deployment.apps" in asked[0][-1]


def test_a_cluster_without_a_control_plane(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    """Nobody can describe it, which is said."""
    cluster: Any = FakeCluster()
    cluster.nodes = ["one-worker"]
    recorder: Any = Picture()
    (missing,) = snapshot(cluster, "ns", recorder, tmp_path, REDACTOR)
    assert missing == "describe.txt: the cluster kindstorm-one has no control plane"
    assert asked == []


@pytest.mark.parametrize("value", ["YQ==", "dHJ1ZQ==", "aHVzaC00LWxvbmc="])
def test_of_a_secret_nothing_is_written_but_names_and_sizes(tmp_path: Path, value: str) -> None:
    """However short its value is, and wherever a copy of it lies in the object itself."""
    copy = {"kubectl.kubernetes.io/last-applied-configuration": f'{{"data":{{"k":"{value}"}}}}'}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": "s", "annotations": copy},
        "data": {"key-name": value},
    }
    write_documents([secret], tmp_path / "o.yaml", Redactor())
    text = (tmp_path / "o.yaml").read_text()
    assert value not in text
    assert f"key-name: ({len(value)} characters of base64)" in text
    assert "name: s" in text


def test_the_shell_commands_are_sound() -> None:
    """What is handed to a node's shell parses, and ends well whatever the program says."""
    for command in (
        diagnostics.KUBECTL.format(seconds=1, what="nodes"),
        diagnostics.JOURNAL.format(seconds=1, since=1.0),
    ):
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0
        assert subprocess.run(["sh", "-c", command], check=False, capture_output=True).returncode == 0
