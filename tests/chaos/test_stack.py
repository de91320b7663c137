"""Manifests become stacks or one sentence; a stack is ready only when its controllers have caught up."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import Picture, pod, seen, workload
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.errors import StackError
from chaos.kube import ApiRefusal, Seen
from chaos.stack import LAST_WORDS_CHARS, STACKS, Stack

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def deployment(name: str = "nginx", **spec: Any) -> dict[str, Any]:
    """A Deployment's document."""
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def stateful_set(name: str = "web", **spec: Any) -> dict[str, Any]:
    """A StatefulSet's document."""
    return deployment(name, **spec) | {"kind": "StatefulSet"}


def service(name: str, *ports: dict[str, int]) -> dict[str, Any]:
    """A Service's document."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": list(ports)}}


def ready(stack: Stack, *objects: Seen) -> bool:
    """Whether the stack is ready in this picture."""
    recorder: Any = Picture(*objects)
    return stack.is_ready(recorder)


@pytest.mark.parametrize("path", sorted(STACKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_manifest_loads(path: Path) -> None:
    """Each has a workload, images and a way in, and its facts can be told."""
    stack = Stack.load(path)
    assert stack.name == path.stem
    assert stack.workloads()
    assert stack.images()
    assert stack.node_port
    assert stack.facts()["services"]


def test_patched_leaves_the_original_alone() -> None:
    """The twin has the edit and its own name; the original has neither."""
    stack = Stack("a", (deployment(replicas=2), service("s", {"port": 80})), 30080, {"x": "y"})
    before = copy.deepcopy(stack)

    def more(document: dict[str, Any]) -> None:
        document["spec"]["replicas"] = 5

    twin = stack.patched(more, name="twin")
    assert stack == before
    assert [d["spec"]["replicas"] for d in twin.documents] == [5, 5]
    assert (twin.name, twin.node_port, twin.stand_ins) == ("twin", 30080, {"x": "y"})
    assert stack.patched(more).name == "a"


def claims(*classes: str | None) -> tuple[dict[str, Any], ...]:
    """A claim of each StorageClass (None: it names none), and a StatefulSet with a claim of each."""
    specs: list[dict[str, Any]] = [{"storageClassName": name} if name is not None else {} for name in classes]
    bare = [{"kind": "PersistentVolumeClaim", "metadata": {"name": f"c-{n}"}, "spec": s} for n, s in enumerate(specs)]
    templates = [{"metadata": {"name": f"t-{n}"}, "spec": spec} for n, spec in enumerate(specs)]
    return (*bare, stateful_set(volumeClaimTemplates=templates), service("s"))


@pytest.mark.parametrize(("storage", "storage_class"), [("local", "standard"), ("shared", "shared")])
def test_stored_on_places_every_claim(storage: str, storage_class: str) -> None:
    """Bare claims and a StatefulSet's, whatever they asked for; facts say where; the original stays as it was."""
    stack = Stack("a", claims(None, "fast"))
    before = copy.deepcopy(stack)
    stored = stack.stored_on(storage)
    assert stack == before
    *bare, stateful, _ = stored.documents
    asked = [*bare, *stateful["spec"]["volumeClaimTemplates"]]
    assert [claim["spec"]["storageClassName"] for claim in asked] == [storage_class] * 4
    assert (stored.facts()["storage"], stored.name) == ([storage], "a")


@pytest.mark.parametrize(
    ("classes", "storage"),
    [
        ((), []),
        ((None,), ["local"]),
        (("standard", "shared"), ["local", "shared"]),
        (("fast", None), ["fast", "local"]),
        (("",), [""]),
    ],
)
def test_the_facts_say_what_claims_ask_for(classes: tuple[str | None, ...], storage: list[str]) -> None:
    """By our names where there is one; what asks for nothing gets the cluster's default, which is local."""
    assert Stack("a", claims(*classes)).facts()["storage"] == storage


def test_a_claim_without_a_spec_is_left_to_the_api() -> None:
    """What the API server will refuse must not crash before it is asked."""
    bare = {"kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": None}
    assert Stack("a", (bare,)).stored_on("shared").facts()["storage"] == ["shared"]


def test_storage_that_cannot_be_is_one_sentence() -> None:
    """A storage nobody knows, and a stack that would store nothing on any."""
    with pytest.raises(StackError, match=r"^there is no storage 'nfs' for stack a; choose local or shared$"):
        Stack("a", claims(None)).stored_on("nfs")
    with pytest.raises(StackError, match=r"^stack a claims no volume, so nothing of it can be stored on shared"):
        Stack("a", (deployment(),)).stored_on("shared")


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=3))
def test_patching_nothing_changes_nothing(specs: list[dict[str, Any]]) -> None:
    """Whatever a manifest holds survives the copy, strings that look like something else included."""
    stack = Stack("a", tuple(deployment(f"d-{n}", **{"template": spec}) for n, spec in enumerate(specs)))
    assert stack.patched(lambda _: None).documents == stack.documents


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(NAMES, st.tuples(st.integers(0, 5), st.none() | NAMES), max_size=4))
def test_identities_are_the_ordinals_of_each_stateful_set(sets: dict[str, tuple[int, str | None]]) -> None:
    """One name for each replica of each set that has a governing Service, and no others."""
    documents = [stateful_set(name, replicas=count, serviceName=svc) for name, (count, svc) in sets.items()]
    identities = Stack("a", (*documents, deployment("d", replicas=9))).identities()
    wanted = {f"{name}-{n}": svc for name, (count, svc) in sets.items() if svc for n in range(count)}
    assert identities == wanted


def test_a_stateful_set_without_a_spec_has_no_identities() -> None:
    """What the API server will refuse must not crash before it is asked."""
    bare = stateful_set()
    del bare["spec"]
    assert Stack("a", (bare,)).facts()["identities"] == []


def test_images_are_those_of_all_containers() -> None:
    """Init containers and bare pods count, an image is named once, and what has no pods names none."""

    def template(*images: str, init: str = "") -> dict[str, Any]:
        first = {"initContainers": [{"name": "i", "image": init}]} if init else {}
        return {"containers": [{"name": "c", "image": image} for image in images], **first}

    bare = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": template("b:1")}
    documents = (deployment(template={"spec": template("a:1", "b:1", init="i:1")}), bare, service("s"))
    assert Stack("a", documents).images() == ["a:1", "b:1", "i:1"]


def test_workloads_and_the_way_in(tmp_path: Path) -> None:
    """Replicas default to one; the first NodePort of any Service is the way in, no NodePort is none."""
    stack = Stack("a", (deployment("d", replicas=2), stateful_set("s"), service("x")))
    assert stack.workloads() == [
        {"kind": "Deployment", "name": "d", "replicas": 2},
        {"kind": "StatefulSet", "name": "s", "replicas": 1},
    ]
    path = tmp_path / "ports.yaml"
    path.write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1}]}}\n---\n"
        "{apiVersion: v1, kind: Service, metadata: {name: b}, spec: {ports: [{port: 1}, {port: 2, nodePort: 30081}]}}\n"
    )
    assert Stack.load(path).node_port == 30081
    path.write_text(GOOD)
    assert Stack.load(path).node_port is None


WEB = Stack("web", (stateful_set(replicas=2),))
TWO = (pod("web-0"), pod("web-1"))


def test_a_stack_is_ready() -> None:
    """Observed, updated, all ready, exactly so many pods; other people's pods do not count."""
    stranger = pod("other-0", owner="StatefulSet/other", deleting=True)
    bare = seen("Pod", "kindstorm-probe", owner=None, deleting=False)
    assert ready(WEB, workload("StatefulSet", "web", 2), *TWO, stranger, bare)


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        ((), "nothing is there"),
        (TWO, "no workload"),
        ((workload("StatefulSet", "web", 2, observed_generation=None), *TWO), "never observed"),
        ((workload("StatefulSet", "web", 2, generation=2), *TWO), "old generation"),
        ((workload("StatefulSet", "web", 2, ready_replicas=1), *TWO), "too few ready"),
        ((workload("StatefulSet", "web", 2, ready_replicas=3), *TWO), "too many ready"),
        ((workload("StatefulSet", "web", 2, updated_replicas=1), *TWO), "too few updated"),
        ((workload("StatefulSet", "web", 2), TWO[0]), "too few pods"),
        ((workload("StatefulSet", "web", 2), *TWO, pod("web-2")), "too many pods"),
        ((workload("StatefulSet", "web", 2), TWO[0], pod("web-1", deleting=True)), "a pod goes"),
        ((workload("StatefulSet", "web", 2), TWO[0], pod("web-1", ready=False)), "a pod is not ready"),
        ((workload("Deployment", "web", 2), *TWO), "another kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stack_is_not_ready(objects: tuple[Seen, ...], why: str) -> None:
    """One thing short of ready is not ready."""
    assert not ready(WEB, *objects), why


def test_all_workloads_must_be_ready() -> None:
    """One of two is not enough."""
    both = Stack("a", (stateful_set(replicas=2), deployment("d", replicas=1)))
    sound = (workload("StatefulSet", "web", 2), *TWO)
    assert not ready(both, *sound)
    assert ready(both, *sound, workload("Deployment", "d", 1), pod("d-5f-x", owner="ReplicaSet/d-5f"))


def test_a_deployment_owns_through_its_replica_sets() -> None:
    """Deployment nginx owns the pods of nginx-5f, not of nginx-old-5f; an old ReplicaSet's pod is one too many."""
    stack = Stack("a", (deployment("nginx", replicas=1),))
    seen_one = (workload("Deployment", "nginx", 1), pod("nginx-5f-x", owner="ReplicaSet/nginx-5f"))
    assert ready(stack, *seen_one, pod("nginx-old-5f-x", owner="ReplicaSet/nginx-old-5f"))
    assert not ready(stack, *seen_one, pod("nginx-4e-y", owner="ReplicaSet/nginx-4e"))


FIVE_LINES = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n"


def test_what_the_api_refuses_is_told_with_its_line(tmp_path: Path) -> None:
    """Of the manifest as it was written; a patched stack has the file alone, and says so."""
    path = tmp_path / "stack.yaml"
    path.write_text(GOOD + "---\n" + FIVE_LINES + "  replicaz: 2\n")
    said = "apply Deployment web: 500: failed to create typed patch object (/web; apps/v1, Kind=Deployment): " \
        ".spec.replicaz: field not declared in schema"  # fmt: skip
    api: Any = Api("web", said)
    recorder: Any = Picture()
    stack = Stack.load(path)
    with pytest.raises(StackError) as failed:
        stack.deploy(api, "run-1", recorder)
    assert str(failed.value) == f'{path}, line 10: apply Deployment web: unknown field "spec.replicaz"'
    with pytest.raises(StackError, match=r"stack\.yaml \(patched\): apply Deployment web: unknown field"):
        stack.patched(lambda _: None).deploy(api, "run-1", recorder)


def test_a_patch_that_breaks_the_shape_is_told() -> None:
    """A change may leave something that a stack cannot be asked about; the sentence says that it was patched."""

    def spoil(document: dict[str, Any]) -> None:
        document["spec"] = "nothing"

    with pytest.raises(StackError, match=r"nginx\.yaml \(patched\): spec must be a mapping, not 'nothing'"):
        Stack.load(STACKS / "nginx.yaml").patched(spoil)


def test_an_unknown_kind_is_told_with_its_line(tmp_path: Path) -> None:
    """The line of its kind."""
    path = tmp_path / "stack.yaml"
    path.write_text(GOOD + "---\n" + FIVE_LINES.replace("Deployment", "Unheard"))
    api: Any = Api()
    recorder: Any = Picture()
    with pytest.raises(StackError, match=r"stack\.yaml, line 6: this cluster has no kind Unheard in apps/v1"):
        Stack.load(path).deploy(api, "run-1", recorder)
    assert api.applied == []


class Api:
    """Takes documents, or refuses those of one name; knows which kinds live in no namespace."""

    def __init__(self, refused: str = "", said: str = "") -> None:
        self.refused = refused
        self.said = said or f"apply Service {refused}: 400: unknown field"
        self.applied: list[str] = []

    def is_namespaced(self, kind: str, api_version: str) -> bool:
        """See Kube."""
        if kind == "Unheard":
            raise StackError(f"this cluster has no kind {kind} in {api_version}")
        return kind not in ("PersistentVolume", "Namespace")

    def apply(self, document: dict[str, Any], namespace: str) -> None:
        """See Kube."""
        assert namespace == "run-1"
        if document["metadata"]["name"] == self.refused:
            raise ApiRefusal(self.said, 400)
        self.applied.append(document["metadata"]["name"])


def test_deploy_applies_in_order_and_waits() -> None:
    """All documents in the manifest's order, and back only once the picture is a ready stack."""
    stack = Stack("web", (service("s"), stateful_set(replicas=2)))
    picture = Picture(steps=[lambda p: p.all.append(workload("StatefulSet", "web", 2)), lambda p: p.all.extend(TWO)])
    api: Any = Api()
    recorder: Any = picture
    stack.deploy(api, "run-1", recorder)
    assert api.applied == ["s", "web"]
    assert picture.steps == []


def test_what_the_api_refuses_is_a_stack_error() -> None:
    """The stack, the object and the API's reason; nothing after it is applied."""
    stack = Stack("web", (service("s"), stateful_set()))
    api: Any = Api("s")
    recorder: Any = Picture()
    with pytest.raises(StackError, match=r"^stack web: apply Service s: 400: unknown field$"):
        stack.deploy(api, "run-1", recorder)
    assert api.applied == []


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (service("s") | {"kind": "PersistentVolume"}, "stack web: PersistentVolume s belongs to no namespace and"),
        (service("s") | {"kind": "Namespace"}, "stack web: Namespace s belongs to no namespace and"),
        (service("s") | {"kind": "Unheard"}, "this cluster has no kind Unheard in v1"),
    ],
)
def test_what_would_be_left_behind_is_refused(document: dict[str, Any], complaint: str) -> None:
    """Wherever it stands in the manifest, nothing is applied before."""
    stack = Stack("web", (stateful_set(replicas=2), document))
    api: Any = Api()
    recorder: Any = Picture(workload("StatefulSet", "web", 2), *TWO)
    with pytest.raises(StackError, match=complaint):
        stack.deploy(api, "run-1", recorder)
    assert api.applied == []


def test_a_stack_that_runs_nothing_is_refused() -> None:
    """There would be nothing to wait for, so it would be ready at once."""
    api: Any = Api()
    recorder: Any = Picture()
    with pytest.raises(StackError, match="stack s runs nothing: it has no Deployment, StatefulSet, DaemonSet or Pod"):
        Stack("s", (service("s"),)).deploy(api, "run-1", recorder)
    assert api.applied == []


BARE = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}


def test_a_bare_pod_is_waited_for() -> None:
    """A stack may be a pod alone; it is ready when that pod is."""
    not_ready, now_ready = pod("p", owner="/", ready=False), pod("p", owner="/")
    picture = Picture(
        steps=[lambda p: p.all.append(not_ready), lambda p: p.all.remove(not_ready), lambda p: p.all.append(now_ready)]
    )
    api: Any = Api()
    recorder: Any = picture
    Stack("s", (BARE,)).deploy(api, "run-1", recorder)
    assert api.applied == ["p"]
    assert picture.steps == []


def test_a_bare_pod_beside_a_workload_must_be_ready_too() -> None:
    """A ready workload does not speak for it."""
    stack = Stack("web", (stateful_set(replicas=2), BARE))
    sound = (workload("StatefulSet", "web", 2), *TWO)
    assert not ready(stack, *sound)
    assert not ready(stack, *sound, pod("p", owner="/", ready=False))
    assert ready(stack, *sound, pod("p", owner="/"))


def test_a_daemon_sets_replicas_are_the_clusters_to_say() -> None:
    """None in the facts; ready means as many as the cluster wants of it."""
    stack = Stack("d", (deployment("d", replicas=9) | {"kind": "DaemonSet"},))
    assert stack.workloads() == [{"kind": "DaemonSet", "name": "d", "replicas": None}]
    pods = [pod(f"d-{n}", owner="DaemonSet/d") for n in range(2)]
    assert ready(stack, workload("DaemonSet", "d", 2), *pods)
    assert not ready(stack, workload("DaemonSet", "d", 2), pods[0])


def test_a_stack_that_does_not_become_ready_has_its_last_words_told() -> None:
    """Of each container that does not run: which, why, and the last line that it wrote, where it wrote one."""
    containers = [
        {"name": "db", "state": "waiting", "reason": "CrashLoopBackOff", "restarts": 3},
        {"name": "side", "state": "waiting", "reason": "ImagePullBackOff", "restarts": 0},
    ]

    class Speaking(Api):
        def logs(self, pod_name: str, namespace: str, container: str) -> str:
            assert (pod_name, namespace) == ("web-0", "run-1")
            if container == "side":
                raise ApiRefusal("waiting to start", 400)
            return "starting\nno space left\n"

    api: Any = Speaking()
    recorder: Any = Picture(pod("web-0", ready=False, containers=containers), pod("web-1"))
    with pytest.raises(StackError, match="stack web is ready: not within 9 s") as failed:
        WEB.deploy(api, "run-1", recorder, 9)
    assert str(failed.value).endswith(
        "; container db of web-0 is CrashLoopBackOff, restarted 3 times, and wrote last: no space left; "
        "container side of web-0 is ImagePullBackOff, restarted 0 times, and wrote nothing"
    )


def test_last_words_are_cleaned_before_they_are_cut() -> None:
    """A secret that stands across the end of what is told is whole when it is looked for."""
    secret, before = "hunter2-and-more", "x" * (LAST_WORDS_CHARS - 7)

    class Speaking(Api):
        def logs(self, pod_name: str, namespace: str, container: str) -> str:  # noqa: ARG002
            return before + secret

    api: Any = Speaking()
    recorder: Any = Picture(pod("web-0", ready=False, containers=[{"name": "db", "state": "waiting", "reason": "B"}]))
    with pytest.raises(StackError) as failed:
        WEB.deploy(api, "run-1", recorder, 9, lambda text: text.replace(secret, "(-)"))
    assert str(failed.value).endswith(f"{before}(-)")


def test_a_stack_that_does_not_become_ready_says_why() -> None:
    """The wait's own message, then the last three warnings; a cluster that gave none is said so too."""
    events = [
        seen("Event", f"e{n}", type="Warning", message=f"no room {n}", about={"kind": "Pod", "name": "web-0"})
        for n in range(4)
    ]
    normal = seen("Event", "n", type="Normal", message="fine", about={"kind": "Pod", "name": "web-0"})
    recorder: Any = Picture(normal, *events)
    with pytest.raises(StackError, match="stack web is ready: not within 9 s") as failed:
        WEB.wait_ready(recorder, 9)
    assert str(failed.value).endswith("; ".join(f"Pod web-0: no room {n}" for n in (1, 2, 3)))
    assert "fine" not in str(failed.value)
    silent: Any = Picture(normal)
    with pytest.raises(StackError, match="the cluster gave no warning"):
        WEB.wait_ready(silent, 9)


def test_a_stack_with_more_documents_keeps_its_own() -> None:
    """The copy has them after its own and the original does not; a budget is told in the facts as it is written."""
    stack = Stack.load(STACKS / "nginx.yaml")
    spec = {"selector": {"matchLabels": {"app": "nginx"}}, "maxUnavailable": "25%"}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec}
    more = stack.plus(budget, name="nginx-budget")
    assert more.documents == (*stack.documents, budget)
    assert (more.name, stack.plus(budget).name, more.node_port) == ("nginx-budget", "nginx", stack.node_port)
    told = {"name": "b", "selector": spec["selector"], "min_available": None, "max_unavailable": "25%"}
    assert more.facts()["disruption_budgets"] == [told]
    assert stack.facts()["disruption_budgets"] == []
