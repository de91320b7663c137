"""A stand-in is put into a stack only where it is what is here, and never without being named."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.errors import ImageError
from images import build, engine, stand_ins
from images.catalogue import LABEL_ORIGIN, LABEL_RECIPE, Catalogue, Image, short_reference

MONGO = "docker.io/library/mongo:7.0"
STANDS_IN = "docker.io/kindstorm/ferretdb:v1.24.2"
WORDS = "FerretDB 1.24.2 (SQLite) for mongod"
STACK = Path(__file__).parents[2] / "manifests" / "stacks" / "mongo.yaml"


def pod(*images: str) -> dict[str, Any]:
    """A pod with a container for each image."""
    return {"kind": "Pod", "spec": {"containers": [{"name": "c", "image": image} for image in images]}}


@pytest.mark.parametrize("reference", ["mongo:7.0", "library/mongo:7.0", "docker.io/mongo:7.0", MONGO])
def test_every_spelling_of_upstreams_name_is_the_stand_in(catalogue: Catalogue, reference: str) -> None:
    """The stack may write the reference short or full; the words are kept under what it wrote."""
    assert catalogue.has(reference)
    assert catalogue.resolve(reference, {STANDS_IN: "stand-in"}) == (STANDS_IN, WORDS)
    documents, replaced = stand_ins.put_in(catalogue, [pod(reference)], {STANDS_IN: "stand-in"})
    assert documents == [pod(STANDS_IN)]
    assert replaced == {reference: WORDS}


@pytest.mark.parametrize("states", [{STANDS_IN: "pulled"}, {}, {"docker.io/library/nginx:1.22.1": "stand-in"}])
def test_where_upstream_is_here_nothing_is_changed(catalogue: Catalogue, states: dict[str, str]) -> None:
    """A pulled image runs as itself; the state of another image says nothing about this one."""
    documents, replaced = stand_ins.put_in(catalogue, [pod("mongo:7.0", "nginx:1.22.1")], states)
    assert documents == [pod("mongo:7.0", "nginx:1.22.1")]
    assert replaced == {}


def test_a_stand_in_by_its_own_name_is_no_replacement(catalogue: Catalogue) -> None:
    """Who names the stand-in knows what it is; another tag of upstream's is not silently the same."""
    assert catalogue.resolve(STANDS_IN, {STANDS_IN: "stand-in"}) == (STANDS_IN, None)
    assert stand_ins.put_in(catalogue, [pod("mongo:8.0")], {STANDS_IN: "stand-in"}) == ([pod("mongo:8.0")], {})
    with pytest.raises(ImageError, match=r"no image mongo:8\.0 in the catalogue"):
        catalogue.resolve("mongo:8.0", {})


def test_containers_are_found_at_any_depth(catalogue: Catalogue) -> None:
    """Init containers, templates and templates of templates are containers; a ConfigMap's text and names are not."""
    cron = {"spec": {"jobTemplate": {"spec": {"template": {"spec": {"initContainers": [{"image": MONGO}, None]}}}}}}
    kept = {"kind": "ConfigMap", "data": {"image": MONGO, "containers": f"- image: {MONGO}"}, "containers": "none"}
    documents, replaced = stand_ins.put_in(catalogue, [cron, kept], {STANDS_IN: "stand-in"})
    assert documents[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"][0] == {"image": STANDS_IN}
    assert documents[1] == kept
    assert replaced == {MONGO: WORDS}


def test_the_stacks_own_documents_stay_as_they_are(catalogue: Catalogue) -> None:
    """The shipped stack becomes one of stand-ins in two images and nothing else, and is not touched itself."""
    given = list(yaml.safe_load_all(STACK.read_text()))
    before = deepcopy(given)
    states = {image.name: "stand-in" for image in catalogue.images if image.stand_in}
    documents, replaced = stand_ins.put_in(catalogue, given, states)
    assert given == before
    assert sorted(replaced) == ["mongo-express:1.0.2", "mongo:7.0"]
    text = yaml.safe_dump(documents)
    for reference in replaced:
        assert yaml.safe_dump(before).count(f"image: {reference}\n") == 1
        text = text.replace(catalogue.image(reference).name, reference)
    assert text == yaml.safe_dump(before)


# ---- what the engine has, and what a registry is asked for -----------------------------------------------------------


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """The labels of what the engine has, by short reference; empty until a test puts something there."""
    labels: dict[str, dict[str, str]] = {}

    def inspect(reference: str) -> dict[str, Any] | None:
        return {"Config": {"Labels": labels[reference]}} if reference in labels else None

    monkeypatch.setattr(engine, "inspect_image", inspect)
    return labels


def test_upstreams_image_comes_before_a_stand_in(catalogue: Catalogue, there: dict[str, dict[str, str]]) -> None:
    """Missing, then the stand-in, then, once it was pulled, the original beside it."""
    image = catalogue.image(MONGO)
    assert build.image_state(catalogue, image) is None
    there[short_reference(STANDS_IN)] = {LABEL_RECIPE: catalogue.key(image), LABEL_ORIGIN: image.origin}
    state = build.image_state(catalogue, image)
    assert (state, image.runs_as(state)) == ("stand-in", STANDS_IN)
    there[short_reference(MONGO)] = {}
    state = build.image_state(catalogue, image)
    assert (state, image.runs_as(state)) == ("pulled", MONGO)


def test_a_stand_in_by_upstreams_name_is_not_the_original(
    catalogue: Catalogue, there: dict[str, dict[str, str]]
) -> None:
    """What carries a recipe's label is a build, whatever somebody tagged it; a stand-in's name alone says nothing."""
    image = catalogue.image(MONGO)
    label = {LABEL_RECIPE: catalogue.key(image), LABEL_ORIGIN: image.origin}
    there[short_reference(MONGO)] = label
    assert build.image_state(catalogue, image) is None
    there[short_reference(STANDS_IN)] = {}
    assert build.image_state(catalogue, image) is None
    there[short_reference(STANDS_IN)] = label
    assert build.image_state(catalogue, image) == "stand-in"


def test_a_registry_is_asked_for_the_original(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """No registry has the stand-in, so its name is not what is pulled."""
    asked: list[str] = []
    monkeypatch.setattr(engine, "docker", lambda *words, **_: asked.append(words[-1]))
    assert build.pull(catalogue.image(STANDS_IN)) is None
    assert asked == [MONGO]


def test_an_image_that_is_no_stand_in_is_its_own_upstream() -> None:
    """Whatever its state, an ordinary image runs under its name."""
    image = Image(("docker.io/library/a:1", "docker.io/kindstorm/a:1"), "a")
    assert image.upstream == image.references
    assert {image.runs_as(state) for state in ("pulled", "built", None)} == {"docker.io/library/a:1"}
