"""A stack: plain manifests, applied to a namespace of their own and waited for until every workload is ready."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from chaos import manifest as manifests
from chaos import storage as storages
from chaos.errors import HarnessError, StackError, WaitTimeout
from chaos.history import Json
from chaos.kube import ApiRefusal, Kube
from chaos.manifest import Document, Key, Manifest
from chaos.recorder import Recorder

STACKS = Path(__file__).parent.parent / "manifests" / "stacks"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
READY_S = 120
REMOVE_S = 120
LAST_WORDS_CHARS = 200
RUN_LABEL = "kindstorm.dev/run"


@dataclass(frozen=True)
class Stack:
    """The documents of one stack. ``node_port`` is where its clients come in; ``stand_ins`` what is not genuine."""

    name: str
    documents: tuple[Document, ...]
    node_port: int | None = None
    stand_ins: dict[str, str] = field(default_factory=dict)
    manifest: Manifest | None = field(default=None, compare=False, repr=False)

    @classmethod
    def load(cls, path: Path) -> Stack:
        """Read a multi-document manifest; raises StackError naming the file, the line and what is wrong."""
        documents, manifest = manifests.read(path)
        return cls(path.stem, tuple(documents), _first_node_port(documents), manifest=manifest)

    def patched(self, change: Callable[[Document], None], name: str | None = None) -> Stack:
        """A copy in which ``change`` has edited each document in place; broken twins of a stack are made so."""
        documents = yaml.safe_load(yaml.safe_dump(list(self.documents)))
        for document in documents:
            change(document)
        manifest = replace(self.manifest, patched=True) if self.manifest else None
        if manifest is not None:
            manifests.check(documents, manifest)
        return replace(self, name=name or self.name, documents=tuple(documents), manifest=manifest)

    def where(self, number: int, *keys: Key) -> str:
        """Where a part of a document stands: file and line; without a manifest the stack's name."""
        return self.manifest.where(number, *keys) if self.manifest else f"stack {self.name}"

    def _accused(self, number: int, message: str) -> str:
        return self.manifest.accused(number, message) if self.manifest else f"stack {self.name}"

    def stored_on(self, storage: str) -> Stack:
        """A copy whose claims ask for this storage, ``local`` or ``shared``; StackError where it claims none."""
        if storage not in storages.CLASSES:
            known = " or ".join(storages.CLASSES)
            raise StackError(f"there is no storage {storage!r} for stack {self.name}; choose {known}")
        if not self.storage():
            raise StackError(f"stack {self.name} claims no volume, so nothing of it can be stored on {storage} storage")

        def ask(document: Document) -> None:
            for claim in _claims(document):
                claim["spec"] = (claim.get("spec") or {}) | {"storageClassName": storages.CLASSES[storage]}

        return self.patched(ask)

    def storage(self) -> list[str]:
        """What its claims ask for: ``local``, ``shared``, or the name of another StorageClass."""
        names = {storage_class: name for name, storage_class in storages.CLASSES.items()}
        asked = {(claim.get("spec") or {}).get("storageClassName") for d in self.documents for claim in _claims(d)}
        return sorted({storages.DEFAULT if each is None else names.get(each, each) for each in asked})

    def plus(self, *documents: Document, name: str | None = None) -> Stack:
        """A copy with these documents besides its own, applied after them."""
        return replace(self, name=name or self.name, documents=(*self.documents, *documents))

    def images(self) -> list[str]:
        """Every image its pods name."""
        return sorted(self.image_places())

    def image_places(self) -> dict[str, str]:
        """Every image its pods name, with the first place where it stands."""
        places: dict[str, str] = {}
        for place, container in self._placed("image"):
            if "image" in container:
                places.setdefault(container["image"], place)
        return places

    def always_pulled(self) -> dict[str, str]:
        """The images that its pods would ask a registry for at every start, and the place that says so.

        Kubernetes' own default is Always for a tag that is `latest` or left out.
        """
        places: dict[str, str] = {}
        for place, container in self._placed("image"):
            tag = str(container.get("image")).rpartition("/")[2].partition(":")[2] or "latest"
            if container.get("imagePullPolicy", "Always" if tag == "latest" else None) == "Always":
                places.setdefault(str(container.get("image")), place)
        return places

    def _placed(self, field_name: str) -> Iterator[tuple[str, Document]]:
        """Its containers, each with the place of one of its fields."""
        for number, document in enumerate(self.documents):
            for keys, container in _containers(document):
                yield self.where(number, *keys, field_name), container

    def node_ports(self) -> dict[int, str]:
        """Its nodePorts, each with the place where it stands."""
        return {
            port["nodePort"]: self.where(number, "spec", "ports", index, "nodePort")
            for number, document in enumerate(self.documents)
            if document["kind"] == "Service"
            for index, port in enumerate((document.get("spec") or {}).get("ports") or [])
            if port.get("nodePort")
        }

    def workloads(self) -> list[dict[str, Json]]:
        """Its workloads: {kind, name, replicas}."""
        return [
            {"kind": d["kind"], "name": d["metadata"]["name"], "replicas": _replicas(d)}
            for d in self.documents
            if d["kind"] in WORKLOADS
        ]

    def identities(self) -> dict[str, str]:
        """Pod names that a StatefulSet promises, each with the headless Service that names it in DNS."""
        return {
            f"{d['metadata']['name']}-{ordinal}": d["spec"]["serviceName"]
            for d in self.documents
            if d["kind"] == "StatefulSet" and (d.get("spec") or {}).get("serviceName")
            for ordinal in range(_replicas(d) or 0)
        }

    def names(self) -> set[str]:
        """What is public of it: the names of its objects and the images."""
        return {d["metadata"]["name"] for d in self.documents} | set(self.images()) | {self.name}

    def facts(self) -> dict[str, Json]:
        """What a history keeps of it."""
        services = [d["metadata"]["name"] for d in self.documents if d["kind"] == "Service"]
        return {
            "name": self.name,
            "workloads": self.workloads(),
            "services": services,
            "disruption_budgets": [_budget(d) for d in self.documents if d["kind"] == "PodDisruptionBudget"],
            "node_port": self.node_port,
            "identities": sorted(self.identities()),
            "images": self.images(),
            "stand_ins": self.stand_ins,
            "storage": self.storage(),
        }

    def deploy(
        self,
        kube: Kube,
        namespace: str,
        recorder: Recorder,
        timeout_s: float = READY_S,
        clean: Callable[[str], str] = str,
    ) -> None:
        """Apply all documents in order and wait until every workload is ready; raises StackError saying why not.

        ``clean`` takes the secrets out of what containers said, before it is cut: half a secret is not known any more.
        """
        self._refuse(kube)
        for number, document in enumerate(self.documents):
            try:
                kube.apply(document, namespace)
            except ApiRefusal as refusal:
                raise StackError(f"{self._accused(number, str(refusal))}: {_plain(str(refusal))}") from refusal
        try:
            self.wait_ready(recorder, timeout_s)
        except StackError as error:
            raise StackError("; ".join([str(error), *_last_words(kube, namespace, recorder, clean)])) from error

    def _refuse(self, kube: Kube) -> None:
        """Name what would outlive the stack's namespace, or leave nothing to wait for, before anything is applied."""
        for number, document in enumerate(self.documents):
            try:
                namespaced = kube.is_namespaced(document["kind"], document["apiVersion"])
            except StackError as unknown:
                raise StackError(f"{self.where(number, 'kind')}: {unknown}") from unknown
            if not namespaced:
                what = f"{document['kind']} {document['metadata']['name']}"
                place = self.where(number, "kind")
                raise StackError(f"{place}: {what} belongs to no namespace and would be left behind; leave it out")
        if not any(d["kind"] in (*WORKLOADS, "Pod") for d in self.documents):
            raise StackError(f"stack {self.name} runs nothing: it has no {', '.join(WORKLOADS)} or Pod")

    def wait_ready(self, recorder: Recorder, timeout_s: float = READY_S) -> None:
        """Wait, on watches, until every workload has all its replicas ready."""
        try:
            recorder.wait(self.is_ready, timeout_s, f"stack {self.name} is ready")
        except WaitTimeout as error:
            raise StackError(f"{error}; {_complaints(recorder)}") from error

    def is_ready(self, recorder: Recorder) -> bool:
        """Whether every workload is observed, updated and has its wanted replicas ready, and no more."""
        for workload in self.workloads():
            seen = recorder.get(workload["kind"], workload["name"])
            if seen is None or seen.state["observed_generation"] != seen.state["generation"]:
                return False
            wanted = seen.state["replicas"]
            if seen.state["ready_replicas"] != wanted or seen.state["updated_replicas"] < wanted:
                return False
            pods = [p for p in recorder.objects("Pod") if belongs(p.state, workload)]
            if len(pods) != wanted or any(p.state["deleting"] or not p.state["ready"] for p in pods):
                return False
        bare = [recorder.get("Pod", d["metadata"]["name"]) for d in self.documents if d["kind"] == "Pod"]
        return all(pod is not None and pod.state["ready"] for pod in bare)


def _budget(document: Document) -> dict[str, Json]:
    """A PodDisruptionBudget as it is written."""
    spec = document.get("spec") or {}
    return {
        "name": document["metadata"]["name"],
        "selector": spec.get("selector"),
        "min_available": spec.get("minAvailable"),
        "max_unavailable": spec.get("maxUnavailable"),
    }


def _replicas(document: Document) -> int | None:
    """How many pods it wants; a DaemonSet's number is the cluster's to say."""
    if document["kind"] == "DaemonSet":
        return None
    wanted = (document.get("spec") or {}).get("replicas")
    return 1 if wanted is None else int(wanted)


def belongs(pod: dict[str, Json], workload: dict[str, Json]) -> bool:
    """Whether a pod, by its state, is one of a workload {kind, name}."""
    owner = pod.get("owner") or {}
    if owner.get("kind") == "ReplicaSet":
        return bool(workload["kind"] == "Deployment" and owner["name"].rpartition("-")[0] == workload["name"])
    return bool(owner.get("kind") == workload["kind"] and owner.get("name") == workload["name"])


def _plain(refusal: str) -> str:
    """The API server's refusal without the words it has for its own insides."""
    said = re.sub(r"\d+: failed to create typed patch object \(.*?\): ", "", refusal)
    return re.sub(r"\.(\S+): field not declared in schema", r'unknown field "\1"', said)


def _last_words(kube: Kube, namespace: str, recorder: Recorder, clean: Callable[[str], str]) -> Iterator[str]:
    """What each container that does not run as it should wrote last."""
    for pod in recorder.objects("Pod"):
        for container in [] if pod.state["ready"] else pod.state["containers"]:
            name, state = container["name"], container.get("reason") or container["state"]
            told = f"container {name} of {pod.name} is {state}, restarted {container.get('restarts', 0)} times"
            try:
                said = clean(kube.logs(pod.name, namespace, name)).strip().splitlines()[-1:]
            except HarnessError:  # it never started
                said = []
            yield f"{told}, and wrote last: {said[0][:LAST_WORDS_CHARS]}" if said else f"{told}, and wrote nothing"


def _complaints(recorder: Recorder) -> str:
    warnings = [e.state for e in recorder.objects("Event") if e.state["type"] == "Warning"]
    said = [f"{w['about']['kind']} {w['about']['name']}: {w['message']}" for w in warnings[-3:]]
    return "; ".join(said) or "the cluster gave no warning"


def _containers(document: Document) -> Iterator[tuple[tuple[Key, ...], Document]]:
    """Its pods' containers, each with where it stands in the document."""
    keys: tuple[Key, ...] = ("spec",) if document["kind"] == "Pod" else ("spec", "template", "spec")
    spec = document.get("spec") or {}
    template = spec if document["kind"] == "Pod" else (spec.get("template") or {}).get("spec") or {}
    for field_name in ("initContainers", "containers"):
        for index, container in enumerate(template.get(field_name) or []):
            yield (*keys, field_name, index), container


def _claims(document: Document) -> Iterator[Document]:
    """The claims it makes: itself, or those of a StatefulSet's pods."""
    if document["kind"] == "PersistentVolumeClaim":
        yield document
    yield from (document.get("spec") or {}).get("volumeClaimTemplates") or []


def _first_node_port(documents: list[Document]) -> int | None:
    ports = (p for d in documents if d["kind"] == "Service" for p in (d.get("spec") or {}).get("ports") or [])
    return next((p["nodePort"] for p in ports if p.get("nodePort")), None)
