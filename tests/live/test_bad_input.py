"""What a user can get wrong, really provoked: one sentence that leads to it, and nothing left behind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from chaos import stack as stacks
from chaos.cluster import Cluster
from chaos.errors import StackError
from chaos.history import Segments
from chaos.recorder import Recorder
from chaos.stack import STACKS, Stack
from images import build, engine, team
from images.engine import docker
from images.progress import Steps

pytestmark = pytest.mark.live

NGINX = list(yaml.safe_load_all((STACKS / "nginx.yaml").read_text()))


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    """The nginx container."""
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


CASES: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "an unknown field": (
        lambda d: d["spec"]["template"]["spec"].update(containres=[]),
        "containres:",
        'unknown field "spec.template.spec.containres"',
    ),
    "an unknown field in a list": (lambda d: container(d).update(imagee="x"), "imagee:", "unknown field"),
    "an unknown field at the top": (lambda d: d.update(specc=1), "specc:", 'unknown field "specc"'),
    "an unknown field of a port": (
        lambda d: container(d)["ports"][0].update(protocoll="TCP"),
        "protocoll:",
        "unknown field",
    ),
    "a container without a name": (lambda d: container(d).pop("name"), "image: nginx", "name: Required value"),
    "no containers": (
        lambda d: d["spec"]["template"]["spec"].update(containers=[]),
        "containers: []",
        "spec.template.spec.containers: Required value",
    ),
    "a port beyond all": (
        lambda d: container(d)["ports"][0].update(containerPort=99999),
        "containerPort: 99999",
        "must be between 1 and 65535",
    ),
    "a volume that is not there": (
        lambda d: container(d)["volumeMounts"][0].update(name="nope"),
        "name: nope",
        'Not found: "nope"',
    ),
    "a number for a text": (lambda d: d["metadata"]["labels"].update(n=3), "n: 3", "expected string"),
    "a name that is none": (lambda d: d["metadata"].update(name="Bad_Name"), "name: Bad_Name", "RFC 1123"),
    "an unknown kind": (lambda d: d.update(kind="Deploymnet"), "kind: Deploymnet", "has no kind Deploymnet in apps/v1"),
    "a kind of an old version": (
        lambda d: d.update(apiVersion="extensions/v1beta1"),
        "kind: Deployment",
        "has no kind Deployment in extensions/v1beta1",
    ),
    "what belongs to no namespace": (
        lambda d: (d.clear(), d.update(apiVersion="v1", kind="PersistentVolume", metadata={"name": "v"})),
        "kind: PersistentVolume",
        "would be left behind",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_manifest_that_the_cluster_refuses(cluster: Cluster, namespace: str, tmp_path: Path, case: str) -> None:
    """The sentence begins with the file and the line of what is wrong; of a patched stack with the file."""
    change, culprit, said = CASES[case]
    document = copy.deepcopy(NGINX[1])
    change(document)
    path = tmp_path / "shop.yaml"
    path.write_text(yaml.safe_dump_all([NGINX[0], document, NGINX[3]], sort_keys=False))
    lines = path.read_text().splitlines()
    (line,) = [number for number, text in enumerate(lines, start=1) if text.strip(" -").startswith(culprit)][:1]
    recorder: Any = None  # nothing is ever waited for
    with pytest.raises(StackError) as refused:
        Stack.load(path).deploy(cluster.kube, namespace, recorder)
    assert str(refused.value).startswith(f"{path}, line {line}: ")
    assert said in str(refused.value)
    assert "typed patch" not in str(refused.value)
    with pytest.raises(StackError) as patched:
        Stack.load(path).patched(lambda _: None).deploy(cluster.kube, namespace, recorder)
    assert str(patched.value).startswith(f"{path} (patched): ")


def test_a_crash_loop_is_told_with_its_last_words(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Which container of which pod, and what it said before it died."""

    def dies(document: dict[str, Any]) -> None:
        if document["kind"] == "Deployment":
            container(document)["command"] = ["sh", "-c", "echo no database at db:5432; exit 3"]

    stack = Stack.load(STACKS / "nginx.yaml").patched(dies)
    cluster.provide(stack.images(), cluster.workers())
    with Segments(tmp_path) as writers:
        recorder = Recorder(cluster.kube, namespace, writers).start()
        try:
            with pytest.raises(StackError, match=r"container nginx of nginx-deployment-\S+ is ") as failed:
                stack.deploy(cluster.kube, namespace, recorder, timeout_s=10)
        finally:
            recorder.stop()
    assert "and wrote last: no database at db:5432" in str(failed.value)


@pytest.fixture
def reference() -> Iterator[str]:
    """A name that no registry is asked for, and no image of it stays."""
    name = "kindstorm-test/shop:dev"
    yield name
    if engine.inspect_image(name):
        docker("rmi", "--force", name)


def runs(cluster: Cluster, namespace: str, tmp_path: Path, reference: str) -> None:
    """The nginx stack becomes ready with this image in place of its own."""

    def ask(document: dict[str, Any]) -> None:
        if document["kind"] == "Deployment":
            container(document)["image"] = reference

    stack = Stack.load(STACKS / "nginx.yaml").patched(ask)
    cluster.provide(stack.images(), cluster.workers())
    with Segments(tmp_path) as writers:
        recorder = Recorder(cluster.kube, namespace, writers).start()
        try:
            stack.deploy(cluster.kube, namespace, recorder, timeout_s=stacks.READY_S)
        finally:
            recorder.stop()


def test_an_image_that_only_the_engine_has_runs(
    cluster: Cluster, namespace: str, tmp_path: Path, reference: str
) -> None:
    """A team built it on this machine: it is local, and no registry is asked."""
    docker("tag", "nginx:1.22.1", reference)
    others = team.Others()
    assert others.obtain(reference) is None
    assert others.origins == {reference: "local"}
    runs(cluster, namespace, tmp_path, reference)


def test_an_image_of_a_teams_catalogue_is_built_and_runs(
    cluster: Cluster, namespace: str, tmp_path: Path, reference: str
) -> None:
    """From a folder beside its file, on an image of ours; built again only where it changed."""
    (tmp_path / "shop").mkdir()
    recipe = tmp_path / "shop" / "Dockerfile"
    recipe.write_text("ARG BASE\nFROM $BASE\nARG GREETING\nRUN echo $GREETING > /greeting\n")
    file = tmp_path / "ours.toml"
    file.write_text(
        f'[[image]]\nreferences = ["{reference}"]\nrecipe = "shop"\nbase = "nginx:1.22.1"\nargs.GREETING = "hello"\n'
    )
    known = team.load(file)
    image = known.image(reference)
    assert build.image_state(known, image) is None
    steps = Steps(Console(file=StringIO()), tmp_path / "build.log")
    try:
        build.build_image(known, image, steps)
    finally:
        steps.close()
    assert build.image_state(known, image) == "built"
    assert docker("run", "--rm", "--network", "none", reference, "cat", "/greeting") == "hello"
    runs(cluster, namespace, tmp_path, reference)
    recipe.write_text(recipe.read_text() + "RUN true\n")
    assert build.image_state(known, image) is None


def test_an_image_that_nobody_has_is_asked_for_once() -> None:
    """A reason in a bounded time; the second question goes to nobody."""
    others = team.Others()
    reason = others.obtain("kindstorm-test.invalid/nobody/has:1")
    assert reason
    assert others.obtain("kindstorm-test.invalid/nobody/has:1") == reason
    assert others.origins == {}
