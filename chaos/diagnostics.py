"""What a person asks for next: the namespace as it stood, and after a failure what nodes, engine and harness know.

Nothing here fails a run. What could not be had is a sentence in the index, or a note in the history.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from chaos.cluster import Cluster, scratch
from chaos.errors import ClusterError, HarnessError
from chaos.history import History, Json
from chaos.kind import Kind
from chaos.logs import shortened
from chaos.recorder import Recorder
from chaos.redact import Redactor
from images.engine import docker

FOLDER = "diagnostics"
DOCUMENTS_S = 10.0
DESCRIBE_S = 15
JOURNAL_S = 15
BUDGET_S = 60.0
INTERRUPTED_S = 10.0
MOST_CHARS = 1 << 25
"""How much of kind's export is kept in all; each file of it is shortened before."""

DESCRIBED = (
    "pod", "service", "deployment.apps", "statefulset.apps", "daemonset.apps", "replicaset.apps", "job.batch",
    "endpointslice.discovery.k8s.io", "persistentvolumeclaim", "configmap",
)  # fmt: skip
"""What is described where the API did not say what there is."""

KUBECTL = "timeout {seconds} kubectl --kubeconfig=/etc/kubernetes/admin.conf describe {what} 2>&1 || true"
JOURNAL = (
    "timeout {seconds} journalctl --no-pager --output=short-iso-precise --since=@{since:.0f} "
    "--unit=kubelet --unit=containerd 2>&1 | tail -c 16000000"
)
TWICE = ("kubelet.log", "containerd.log", "inspect.json", "containers")
"""Files and folders of kind's export that hold what is in others."""


# ---- before the stack is removed, always


def snapshot(cluster: Cluster, namespace: str, recorder: Recorder, directory: Path, redactor: Redactor) -> list[str]:
    """Write objects.yaml, describe.txt and events.txt; returns a sentence for each that could not be had."""
    missing = []
    described = list(DESCRIBED)
    try:
        write_events(recorder, directory / "events.txt", redactor)
        documents = [d for d in cluster.kube.documents(namespace, DOCUMENTS_S) if d["kind"] != "Event"]
        write_documents(documents, directory / "objects.yaml", redactor)
        described = sorted({_resource(d) for d in documents})
    except (HarnessError, OSError) as error:
        missing.append(f"objects.yaml: {error}")
    try:
        text = _describe(cluster, f"--namespace={namespace} {','.join(described)}") + _describe(cluster, "nodes")
        (directory / "describe.txt").write_text(redactor.text(shortened(text)))
    except (HarnessError, OSError) as error:
        missing.append(f"describe.txt: {error}")
    return [redactor.text(sentence) for sentence in missing]


def _resource(document: dict[str, Any]) -> str:
    group = document["apiVersion"].rpartition("/")[0]
    return str(document["kind"].lower() + (f".{group}" if group else ""))


def _describe(cluster: Cluster, what: str) -> str:
    """By the control plane's own kubectl: this machine need not have one."""
    node = next((name for name in cluster.containers() if "control-plane" in name), None)
    if node is None:
        raise ClusterError(f"the cluster {cluster.name} has no control plane")
    command = KUBECTL.format(seconds=DESCRIBE_S, what=what)
    return docker("exec", node, "sh", "-c", command, timeout_s=DESCRIBE_S + 2) + "\n\n"


def write_documents(documents: Iterable[dict[str, Any]], path: Path, redactor: Redactor) -> None:
    """Objects as YAML. Of a Secret nothing of its data is written, whatever it is: only the names and sizes."""
    shown = [redactor.value(_shown(document)) for document in documents]
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump_all(shown, Dumper=dumper, sort_keys=False, width=1 << 30, allow_unicode=True)
    path.write_text(redactor.text(text))


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in document["metadata"].items() if k != "managedFields"}
    if document["kind"] != "Secret":
        return document | {"metadata": metadata}
    data = {key: f"({len(str(value))} characters of base64)" for key, value in (document.get("data") or {}).items()}
    kept = {key: document.get(key) for key in ("apiVersion", "kind", "type")}
    return kept | {"metadata": {k: v for k, v in metadata.items() if k != "annotations"}, "data": data}


def write_events(recorder: Recorder, path: Path, redactor: Redactor) -> None:
    """The namespace's events in the order of their times, as the watch has them: that needs no API server."""
    lines = []
    for e in sorted((event.state for event in recorder.objects("Event")), key=lambda state: str(state["at"])):
        about = f"{e['about']['kind']}/{e['about']['name']}"
        message = " ".join(redactor.text(str(e["message"])).split())
        lines.append(f"{e['at']} {e['type']} {about} {e['reason']} (x{e['count']}): {message}\n")
    path.write_text(redactor.text("".join(lines)))


# ---- after a failure


@dataclass
class Case:
    """A failed experiment: what is known of it, and where what is found about it goes."""

    cluster: Cluster | None
    kind: Callable[[], Kind]
    history: History
    since_s: float
    directory: Path
    redactor: Redactor
    error: BaseException | None = None
    index: list[tuple[str, str]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where it all goes."""
        return self.directory / FOLDER

    def write(self, name: str, text: str, what: str) -> None:
        """Write one file, shortened and without secrets, and say in the index what it is."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.redactor.text(shortened(text)), encoding="utf-8", errors="replace")
        self.index.append((name, what))

    def attempt(self, name: str, what: str, read: Callable[[], str]) -> None:
        """Write what is read, or say in the index why it could not be."""
        try:
            self.write(name, read(), what)
        except (HarnessError, OSError) as error:
            self.index.append((name, f"not to be had: {self.redactor.text(str(error))}"))


def collect(case: Case, budget_s: float = BUDGET_S) -> Path:
    """Fill the experiment's folder of diagnostics within about ``budget_s``; returns the path of its index."""
    deadline = time.monotonic() + budget_s
    case.folder.mkdir(parents=True, exist_ok=True)
    case.write("harness.txt", harness_log(case.history, case.error), "what the harness did, when, and how it failed")
    if case.cluster is not None:
        _nodes(case, case.cluster, min(JOURNAL_S, budget_s / 2))
        _export(case, case.cluster, deadline - time.monotonic())
    path = case.folder / "index.txt"
    width = max(len(name) for name, _ in case.index)
    lines = [f"{name:{width}}  {what}" for name, what in [*sorted(case.index), *_beside(case.directory)]]
    path.write_text("\n".join(lines) + "\n")
    return path


def _beside(directory: Path) -> list[tuple[str, str]]:
    """The files of the experiment itself that are there."""
    told = {
        "describe.txt": "kubectl describe of the namespace and the nodes before the stack was removed",
        "objects.yaml": "the namespace's objects at that moment; of Secrets only the names",
        "events.txt": "the namespace's events in order",
        "logs": "each container's log, by pod, UID, container and restart; the clients' output",
        "history.jsonl": "everything that was recorded",
    }
    return [(f"../{name}", what) for name, what in told.items() if (directory / name).exists()]


def _nodes(case: Case, cluster: Cluster, timeout_s: float) -> None:
    """Each node's journal since the experiment began, and its container as the engine sees it."""
    journal = JOURNAL.format(seconds=int(timeout_s), since=case.since_s)
    try:
        nodes = cluster.containers()
    except HarnessError as error:
        case.index.append(("nodes", f"not to be had: {case.redactor.text(str(error))}"))
        return

    def of_one(node: str) -> None:
        case.attempt(
            f"nodes/{node}/journal.txt",
            "kubelet and containerd since the experiment began",
            lambda: docker("exec", node, "sh", "-c", journal, timeout_s=timeout_s + 2),
        )
        inspected = "the container as the engine sees it (docker inspect)"
        case.attempt(f"nodes/{node}/inspect.json", inspected, lambda: docker("inspect", node, timeout_s=10))

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(of_one, nodes))


def _export(case: Case, cluster: Cluster, timeout_s: float) -> None:
    """What `kind export logs` gives, passed through the redaction; it is written outside the run's directory first."""
    if timeout_s < 1:
        case.index.append(("kind", "not to be had: no time was left"))
        return
    deadline = time.monotonic() + timeout_s
    with scratch(cluster.name) as name:
        raw = Path(name)
        try:
            case.kind().export_logs(cluster.name, raw, timeout_s * 3 / 4)
        except HarnessError as error:
            case.index.append(("kind", f"not whole: {case.redactor.text(str(error))}"))
        room, left_out = MOST_CHARS, []
        # This has the last quarter: looking for many secrets in much text may take longer than kind does.
        for path in sorted(p for p in raw.rglob("*") if p.is_file() and not p.is_symlink()):
            text = shortened(_text_of(path))
            if not text or not {*path.relative_to(raw).parts}.isdisjoint(TWICE):
                continue
            room -= len(text)
            if room < 0 or time.monotonic() > deadline:
                left_out.append(str(path.relative_to(raw)))
                continue
            kept = case.folder / "kind" / path.relative_to(raw)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(case.redactor.text(text))
        case.index.append(("kind", "what `kind export logs` gives: each node's system, and every pod's log"))
        if left_out:
            case.index.append(("kind", f"left out, because it was too much or took too long: {', '.join(left_out)}"))


def _text_of(path: Path) -> str:
    """Nothing of a file that is not text: of a binary journal or an archive nobody can tell what is in it."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in text else text


def harness_log(history: History, error: BaseException | None) -> str:
    """Phases, faults, notes and gaps with their wall times, and the error's trace."""
    pairs = history.clock_pairs("harness")
    lines = []
    for record in history.records:
        if record.kind == "gap" or (record.source == "harness" and record.kind in ("phase", "fault", "note")):
            wall = _wall(record.time_ns, pairs)
            lines.append(f"{wall} {record.kind} {' '.join(f'{key}={_word(v)}' for key, v in record.data.items())}")
    trace = "".join(traceback.format_exception(error)) if error is not None else ""
    return "\n".join([*lines, "", trace])


def _word(value: Json) -> str:
    return str(value) if value else "-"


def _wall(time_ns: int, pairs: list[tuple[int, int]]) -> str:
    if not pairs:
        return f"{time_ns / 1e9:.3f}"
    monotonic, wall = min(pairs, key=lambda pair: abs(pair[0] - time_ns))
    return datetime.fromtimestamp((wall + time_ns - monotonic) / 1e9, UTC).isoformat(timespec="milliseconds")
