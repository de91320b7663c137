"""The only module that speaks to the Kubernetes API. What it hands out is frozen and small.

Watches are read from the HTTP stream directly, so that they can be ended from another thread at once and be
resumed where they broke off.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import urllib3
import yaml
from kubernetes import client, config  # noqa: TID251 - this is the one place
from kubernetes.client.exceptions import ApiException  # noqa: TID251
from kubernetes.dynamic import DynamicClient  # noqa: TID251
from kubernetes.dynamic.exceptions import ResourceNotFoundError  # noqa: TID251

from chaos.errors import ClusterError, StackError
from chaos.history import Json
from chaos.state import state_of

FIELD_MANAGER = "kindstorm"
REQUEST_S = 30
WATCH_S = 10
"""How long one connection of a watch lasts: a server that died in silence is noticed soon after."""
RETRY_S = 0.2

NOWHERE = "kindstorm-nowhere"
"""A namespace that nobody makes."""
REVISION_S = 2

API_VERSIONS = {
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "DaemonSet": "apps/v1",
    "Deployment": "apps/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "IngressClass": "networking.k8s.io/v1",
    "Job": "batch/v1",
    "Lease": "coordination.k8s.io/v1",
    "MutatingWebhookConfiguration": "admissionregistration.k8s.io/v1",
    "PriorityClass": "scheduling.k8s.io/v1",
    "ReplicaSet": "apps/v1",
    "RuntimeClass": "node.k8s.io/v1",
    "StatefulSet": "apps/v1",
    "StorageClass": "storage.k8s.io/v1",
    "ValidatingAdmissionPolicy": "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration": "admissionregistration.k8s.io/v1",
}
"""Where kinds that the harness itself asks for live; all others are in v1."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One Kubernetes object as it was at one moment; ``state`` is what a history keeps of it."""

    kind: str
    namespace: str | None
    name: str
    uid: str
    version: str
    labels: dict[str, str]
    state: dict[str, Json]

    @classmethod
    def of(cls, raw: dict[str, Any], kind: str) -> Seen:
        """From the API's own JSON."""
        meta = raw["metadata"]
        labels = dict(meta.get("labels") or {})
        namespace = meta.get("namespace")
        version = meta["resourceVersion"]
        return cls(kind, namespace, meta["name"], meta["uid"], version, labels, state_of(kind, raw))


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a watch: seen (listed) | added | modified | deleted | synced | resumed | gap, at a monotonic ns.

    ``version`` is that of the change (0: nobody told), of a gap the last one that was told before it.
    """

    verb: str
    time_ns: int
    seen: Seen | None = None
    version: int = 0
    from_ns: int = 0


class Kube:
    """A connection to one cluster. Threads that watch use it too: each request has a connection of its own.

    In ``home`` the client keeps its key and certificates while the process lives, and what kinds there are; without one
    it does so in the machine's temporary folder, where a process that is killed leaves them.
    """

    def __init__(self, kubeconfig: Path, home: Path | None = None) -> None:
        settings: Any = client.Configuration()
        kept = None if home is None else str(home)
        try:
            kubeconfig.open("rb").close()
            config.load_kube_config(str(kubeconfig), client_configuration=settings, temp_file_path=kept)
        except OSError as error:
            raise ClusterError(f"the kubeconfig {kubeconfig} cannot be read: {error.strerror or error}") from error
        except (config.ConfigException, yaml.YAMLError, TypeError, ValueError, AttributeError, KeyError) as error:
            said = " ".join(str(error).split())
            raise ClusterError(f"{kubeconfig} is not a kubeconfig with a current context: {said}") from error
        settings.retries = False
        self._client: Any = client.ApiClient(settings)
        _bound(self._client.rest_client)
        self._lock = threading.Lock()
        self._scratch = tempfile.TemporaryDirectory(prefix="kindstorm-api-", dir=home)
        self._dynamic: Any = None

    def _resource(self, kind: str, api_version: str | None = None) -> Any:
        with self._lock:
            try:
                if self._dynamic is None:
                    self._dynamic = DynamicClient(self._client, cache_file=f"{self._scratch.name}/kinds.json")
                return self._dynamic.resources.get(api_version=api_version or API_VERSIONS.get(kind, "v1"), kind=kind)
            except ResourceNotFoundError:
                raise StackError(f"this cluster has no kind {kind} in {api_version or 'v1'}") from None
            except (ApiException, urllib3.exceptions.HTTPError, ValueError) as error:  # ValueError: it is none
                raise ClusterError(f"the API server does not answer: {_reason(error)}") from error

    def _ask(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ApiException as error:
            budget = _budget(error)
            if budget is not None:
                raise BudgetRefusal(budget, error.status or 0) from error
            raise ApiRefusal(f"{what}: {_reason(error)}", error.status or 0) from error
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"{what}: the API server does not answer: {_reason(error)}") from error

    def _done_to_one(self, what: str, call: Callable[[], Any]) -> bool:
        """Ask it; False where the object is gone, or has another UID than the one that was meant."""
        try:
            self._ask(what, call)
        except ApiRefusal as refusal:
            if refusal.status in (404, 409):
                return False
            raise
        return True

    def list(self, kind: str, namespace: str | None = None, labels: str | None = None) -> list[Seen]:
        """All objects of a kind, in one namespace or everywhere."""
        resource = self._resource(kind)
        found = self._ask(
            f"list {kind}", lambda: resource.get(namespace=namespace, label_selector=labels, _request_timeout=REQUEST_S)
        )
        return [Seen.of(item, kind) for item in found.to_dict()["items"]]

    def raw(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """One object as the API has it, or None where there is none."""
        resource = self._resource(kind)
        try:
            found = self._ask(
                f"get {kind} {name}", lambda: resource.get(name=name, namespace=namespace, _request_timeout=REQUEST_S)
            )
        except ApiRefusal as refusal:
            if refusal.status == 404:
                return None
            raise
        return dict(found.to_dict())

    def get(self, kind: str, name: str, namespace: str | None = None) -> Seen | None:
        """One object, or None where there is none."""
        raw = self.raw(kind, name, namespace)
        return None if raw is None else Seen.of(raw, kind)

    def is_namespaced(self, kind: str, api_version: str) -> bool:
        """Whether objects of this kind live in a namespace; raises StackError where the cluster has no such kind."""
        return bool(self._resource(kind, api_version).namespaced)

    def apply(self, document: dict[str, Any], namespace: str | None = None) -> Seen:
        """Apply one document server-side; unknown fields are refused, not dropped. Raises ApiRefusal."""
        kind, name = document["kind"], document["metadata"]["name"]
        resource = self._resource(kind, document["apiVersion"])
        done = self._ask(
            f"apply {kind} {name}",
            lambda: resource.server_side_apply(
                body=document,
                name=name,
                namespace=namespace if resource.namespaced else None,
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
                query_params=[("fieldValidation", "Strict")],
                _request_timeout=REQUEST_S,
            ),
        )
        return Seen.of(done.to_dict(), kind)

    def patch(self, kind: str, name: str, body: dict[str, Any], namespace: str | None = None) -> Seen:
        """Merge-patch one object."""
        resource = self._resource(kind)
        done = self._ask(
            f"patch {kind} {name}",
            lambda: resource.patch(
                body=body,
                name=name,
                namespace=namespace,
                content_type="application/merge-patch+json",
                _request_timeout=REQUEST_S,
            ),
        )
        return Seen.of(done.to_dict(), kind)

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        force: bool = False,
    ) -> bool:
        """Delete one object, only while it has this UID; False where there is none to delete.

        Gracefully, unless ``force``: then it is gone from the API at once, whatever still runs of it.
        """
        resource = self._resource(kind)
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if force:
            options["gracePeriodSeconds"] = 0
        return self._done_to_one(
            f"delete {kind} {name}",
            lambda: resource.delete(name=name, namespace=namespace, body=options, _request_timeout=REQUEST_S),
        )

    def evict(self, name: str, namespace: str, *, uid: str) -> bool:
        """Evict the pod of this UID; False where there is none. Raises BudgetRefusal where a budget forbids it now."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        eviction = self._resource("Pod").subresources["eviction"]
        return self._done_to_one(
            f"evict {namespace}/{name}",
            lambda: eviction.create(body=body, name=name, namespace=namespace, _request_timeout=REQUEST_S),
        )

    def cordon(self, node: str) -> None:
        """Let nothing more be scheduled onto a node."""
        self.patch("Node", node, {"spec": {"unschedulable": True}})

    def uncordon(self, node: str) -> bool:
        """Let pods be scheduled onto a node again; False where there is no such node."""
        try:
            self.patch("Node", node, {"spec": {"unschedulable": None}})
        except ApiRefusal as refusal:
            if refusal.status == 404:
                return False
            raise
        return True

    def scale(self, kind: str, name: str, namespace: str, replicas: int) -> None:
        """Set the wanted number of replicas."""
        self.patch(kind, name, {"spec": {"replicas": replicas}}, namespace)

    def replicas(self, kind: str, name: str, namespace: str) -> int | None:
        """The wanted number of replicas, None where there is no such object."""
        raw = self.raw(kind, name, namespace)
        return None if raw is None else int(raw["spec"].get("replicas", 1))

    def server_version(self) -> str:
        """What the API server says it is, such as v1.37.0."""
        url = self._client.configuration.host + "/version"
        http = self._client.rest_client.pool_manager
        answer = self._ask("get /version", lambda: http.request("GET", url, timeout=REQUEST_S, retries=False))
        return str(orjson.loads(answer.data)["gitVersion"])

    def revision(self) -> int:
        """The store's revision at a moment between this call and its answer; raises ClusterError.

        A list without a resourceVersion is answered for the moment of the question, and its own resourceVersion is
        the revision of the store that it was read at. Of kinds that the API server keeps in a cache it waits until the
        cache has caught up, which for a quiet kind takes up to 100 ms (``progressRequestPeriod``). Events are the one
        kind it keeps none of (``specialDefaultResourcePrefixes`` and ``DefaultWatchCacheSizes`` in
        k8s.io/kubernetes/pkg/kubeapiserver/default_storage_factory_builder.go), so theirs is read straight from etcd,
        linearizable, and carries the header's revision (``GetList`` in k8s.io/apiserver/pkg/storage/etcd3/store.go).
        Both are so in 1.36 and in 1.37. All kinds share one etcd and so one count.
        """
        body = self._read(f"/api/v1/namespaces/{NOWHERE}/events?limit=1", REVISION_S)
        return int(body["metadata"]["resourceVersion"])

    def log(self, pod: str, namespace: str, container: str, timeout_s: float, **options: str) -> LogStream:
        """What a container has written, with times; raises ClusterError where that is not to be had.

        ``options`` are the API's own (follow, previous, sinceTime). ``timeout_s`` bounds each wait for more.
        """
        query = urllib.parse.urlencode({"container": container, "timestamps": "true", **options})
        url = f"{self._client.configuration.host}/api/v1/namespaces/{namespace}/pods/{pod}/log?{query}"
        timeout = urllib3.Timeout(connect=min(timeout_s, REQUEST_S), read=timeout_s)
        try:
            answer = self._client.rest_client.pool_manager.request(
                "GET", url, preload_content=False, timeout=timeout, retries=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"log of {pod}: the API server does not answer: {_reason(error)}") from error
        if answer.status != 200:
            answer.close()
            raise ApiRefusal(f"log of {pod}/{container}: status {answer.status}", answer.status)
        return LogStream(answer)

    def logs(self, pod: str, namespace: str, container: str, *, limit_bytes: int = 1 << 22) -> str:
        """What a container of a pod has written so far, at most ``limit_bytes`` of it, without times."""
        options = {"timestamps": "false", "limitBytes": str(limit_bytes)}
        return b"".join(self.log(pod, namespace, container, REQUEST_S, **options)).decode(errors="replace")

    def secrets(self, namespace: str, timeout_s: float = 5) -> Iterator[dict[str, Any]]:
        """The Secrets of a namespace as the API has them; raises ClusterError."""
        return self._listed("/api/v1", "secrets", "Secret", namespace, timeout_s)

    def documents(self, namespace: str, timeout_s: float = 10) -> Iterator[dict[str, Any]]:
        """Every object of a namespace as the API has it, of all kinds that can be listed, Secrets too.

        Raises ClusterError where the API server has not told all of it within the time.
        """
        deadline = time.monotonic() + timeout_s
        groups = self._read("/apis", timeout_s)["groups"]
        for path in ("/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)):
            for kind in self._read(path, deadline - time.monotonic())["resources"]:
                if kind["namespaced"] and "list" in kind["verbs"] and "/" not in kind["name"]:
                    left_s = deadline - time.monotonic()
                    yield from self._listed(path, kind["name"], kind["kind"], namespace, left_s)

    def _listed(self, path: str, name: str, kind: str, namespace: str, timeout_s: float) -> Iterator[dict[str, Any]]:
        version = path.removeprefix("/apis/").removeprefix("/api/")
        for item in self._read(f"{path}/namespaces/{namespace}/{name}", timeout_s)["items"]:
            yield {"apiVersion": version, "kind": kind} | item

    def _read(self, path: str, timeout_s: float) -> Any:
        """One plain GET, bounded, which the client of kinds is not when it looks for kinds."""
        if timeout_s <= 0:
            raise ClusterError(f"get {path}: no time was left")
        url = self._client.configuration.host + path
        try:
            answer = self._client.rest_client.pool_manager.request("GET", url, timeout=timeout_s, retries=False)
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(f"get {path}: the API server does not answer: {_reason(error)}") from error
        if answer.status != 200:
            raise ApiRefusal(f"get {path}: status {answer.status}", answer.status)
        return orjson.loads(answer.data)

    def watch(self, kind: str, namespace: str | None = None) -> Watch:
        """A watch on all objects of a kind; iterate over it in a thread of its own, close it from any other."""
        resource = self._resource(kind)
        host = self._client.configuration.host
        return Watch(kind, host + resource.path(namespace=namespace), self._client.rest_client.pool_manager)


def _bound(rest: Any) -> None:
    """Let no request wait for ever: asking which kinds there are has no time limit of its own."""
    request = rest.request

    def bounded(*args: Any, _request_timeout: Any = None, **options: Any) -> Any:
        return request(*args, _request_timeout=_request_timeout or REQUEST_S, **options)

    rest.request = bounded


class LogStream:
    """The bytes of a log as they come; ends where the server ends it, the connection breaks, or it is closed."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._closed = False
        self.ended = False
        """Whether it was the server that ended it: then it is whole."""

    def __iter__(self) -> Iterator[bytes]:
        """Yields what has come; why it ended is for the caller to find out."""
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError, ValueError):
            for part in self._answer.stream(1 << 16, decode_content=True):
                if self._closed:  # as in Watch: what comes now is undeciphered
                    break
                yield part
            self.ended = not self._closed
        self._answer.close()

    def close(self) -> None:
        """End it at once, from any thread."""
        self._closed = True
        with contextlib.suppress(ValueError, OSError, RuntimeError):  # as Watch.close
            self._answer.shutdown()


class ApiRefusal(ClusterError):
    """The API server answered and refused; ``status`` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BudgetRefusal(ApiRefusal):
    """An eviction that a PodDisruptionBudget does not allow now; the message is what the server says of the budget."""


def _budget(error: ApiException) -> str | None:
    """What a PodDisruptionBudget has against an eviction; None where it is not a budget that refuses."""
    try:
        causes = orjson.loads(error.body or b"")["details"]["causes"]
        return next((str(c["message"]) for c in causes if c.get("reason") == "DisruptionBudget"), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, ApiException):
        try:
            return f"{error.status}: {orjson.loads(error.body or b'')['message']}"
        except (ValueError, KeyError, TypeError):
            return f"{error.status} {error.reason}"
    return f"{type(error).__name__}: {error}"


class Watch:
    """A list, then every change after it, in their order and each once.

    A connection that breaks is taken up behind the last version that was told. That misses nothing; what happened
    meanwhile is only told late, which ``resumed`` says. A server that no longer knows that version (410 Gone: a new API
    server, or a long break) makes it list anew, and what came and went in between was missed: a ``gap``.
    """

    def __init__(self, kind: str, url: str, http: Any) -> None:
        self.kind = kind
        self._url = url
        self._http = http
        self._closed = threading.Event()
        self._stream: Any = None
        self._version = ""
        self._known: dict[str, Seen] = {}
        self.told_ns = 0
        """When it last told a version, in monotonic ns; 0 before it ever did. Up to that version it told everything."""
        self.told = 0
        """That version."""
        self._alive_ns = 0

    def close(self) -> None:
        """End the watch at once; the iteration stops."""
        self._closed.set()
        stream = self._stream
        if stream is not None:
            with contextlib.suppress(ValueError, OSError, RuntimeError):  # it may end by itself at this very moment
                stream.shutdown()

    def __iter__(self) -> Iterator[Change]:
        """Yields ``seen`` for what is there, ``synced``, then each change as it arrives.

        ``resumed`` and ``gap`` begin with ``from_ns`` and end with their own time. A watch that is closed while it is
        broken ends with a gap.
        """
        broken = False
        while not self._closed.is_set():
            try:
                if not self._version:
                    yield from self._relist()
                for change in self._follow():
                    if broken:
                        yield Change("resumed", time.monotonic_ns(), from_ns=self._alive_ns)
                        broken = False
                    if change is not None:
                        yield change
            except (urllib3.exceptions.HTTPError, OSError, _Refused):
                broken = (broken or not self._closed.is_set()) and self.told_ns > 0
                self._closed.wait(RETRY_S)
        if broken:
            yield self._gap(time.monotonic_ns())

    def _gap(self, now: int) -> Change:
        return Change("gap", now, version=self.told, from_ns=self.told_ns)

    def _relist(self) -> Iterator[Change]:
        answer = self._http.request("GET", self._url, timeout=REQUEST_S, retries=False)
        if answer.status != 200:
            raise _Refused
        body = orjson.loads(answer.data)
        now = self._alive_ns = time.monotonic_ns()
        current = {item["metadata"]["uid"]: Seen.of(item, self.kind) for item in body["items"]}
        known, self._known = self._known, current
        if self.told_ns:
            yield self._gap(now)
        self._tell(body["metadata"]["resourceVersion"], now)
        for uid, seen in current.items():
            if uid not in known or known[uid].version != seen.version:
                yield Change("seen", now, seen, int(seen.version))
        for uid, seen in known.items():
            if uid not in current:
                yield Change("deleted", now, seen)
        yield Change("synced", now)

    def _tell(self, version: str, now: int) -> None:
        self._version, self.told, self.told_ns = version, int(version), now

    def _follow(self) -> Iterator[Change | None]:
        """The changes of one connection; None once it is open. Returns when the server ends it as asked."""
        query = f"?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}&resourceVersion={self._version}"
        timeout = urllib3.Timeout(connect=REQUEST_S, read=WATCH_S + 5)
        stream = self._http.request("GET", self._url + query, preload_content=False, timeout=timeout, retries=False)
        self._stream = stream
        try:
            self._require(stream.status)
            yield None
            self._alive_ns = time.monotonic_ns()
            if self._closed.is_set():  # closed before there was a stream to end
                return
            rest = b""
            for part in stream.stream(1 << 16, decode_content=True):
                if self._closed.is_set():  # a TLS socket that was shut down gives what it gets undeciphered
                    return
                now = self._alive_ns = time.monotonic_ns()
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    change = self._change(orjson.loads(line), now)
                    if change is not None:
                        yield change
            self._alive_ns = time.monotonic_ns()
        finally:
            stream.close()

    def _require(self, status: int) -> None:
        """Raise unless the server goes on. Only 410 says that it cannot; any other refusal may pass."""
        if status == 410:
            self._version = ""
        if status != 200:
            raise _Refused

    def _change(self, event: dict[str, Any], now: int) -> Change | None:
        raw = event["object"]
        if event["type"] == "ERROR":
            self._require(raw.get("code", 500))
        version = raw["metadata"]["resourceVersion"]
        self._tell(version, now)
        if event["type"] == "BOOKMARK":
            return None
        seen = Seen.of(raw, self.kind)
        if event["type"] == "DELETED":
            self._known.pop(seen.uid, None)
        else:
            self._known[seen.uid] = seen
        return Change(event["type"].lower(), now, seen, int(version))


class _Refused(Exception):
    """The server does not go on with this watch now."""
