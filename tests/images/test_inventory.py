"""The list of images says of each where it came from, and claims nothing of what it has not seen."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from chaos.errors import ImageError
from images import build, engine, inventory, registry
from images.catalogue import Catalogue, Image, short_reference
from images.inventory import INSIDE, Row

ID = "sha256:" + "ab" * 32
DIGEST = "sha256:" + "cd" * 32
PROVISIONER = "docker.io/rancher/local-path-provisioner:v0.0.30"


class Engine:
    """What the engine pretends to have: a state for each image's name, None where it is out of date."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.states: dict[str, str | None] = {}

    def image_state(self, _: Catalogue, image: Image) -> str | None:
        """An image's origin."""
        return self.states.get(image.name)

    def inspect_image(self, reference: str) -> dict[str, Any] | None:
        """What docker says of an image."""
        for name, state in self.states.items():
            if short_reference(self.catalogue.image(name).runs_as(state)) == reference:
                digests = [f"{reference}@{DIGEST}"] if state == "pulled" else []
                return {"Id": ID, "RepoDigests": digests, "Size": 2_500_000}
        return None


@pytest.fixture
def pretended(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine without images."""
    made = Engine(catalogue)
    monkeypatch.setattr(build, "image_state", made.image_state)
    monkeypatch.setattr(engine, "inspect_image", made.inspect_image)
    return made


def listed(catalogue: Catalogue) -> dict[str, Row]:
    """The rows of the default line by first reference."""
    rows = inventory.rows(catalogue, [catalogue.line()])
    assert len({row.references for row in rows}) == len(rows)
    return {row.references[0]: row for row in rows}


def test_built_images_have_their_engines_id(pretended: Engine, catalogue: Catalogue) -> None:
    """Everything of the line is listed once, with its use, version, id and size."""
    pretended.states = {image.name: "built" for image in catalogue.images}
    rows = listed(catalogue)
    line = catalogue.line()
    assert set(rows) == {image.name for image in catalogue.build_order(catalogue.needed(line))}
    assert rows[line.node] == Row((line.node,), "nodes", "built", line.version, ID, 2_500_000)
    assert rows[catalogue.probe].used == "stacks and probes"
    assert rows[PROVISIONER].used == "every cluster"
    kubernetes = rows[f"registry.k8s.io/kube-apiserver:{line.version}"]
    assert (kubernetes.used, len(kubernetes.references)) == (INSIDE, 5)


def test_missing_and_stale_images_are_not_the_same(pretended: Engine, catalogue: Catalogue) -> None:
    """What the engine lacks has no id; what it has of an older recipe is out of date."""
    pretended.states = {"docker.io/library/nginx:1.22.1": None}
    rows = listed(catalogue)
    assert rows["docker.io/library/nginx:1.22.1"].origin == "out of date"
    missing = rows[catalogue.probe]
    assert (missing.origin, missing.digest, missing.size) == ("missing", None, None)
    assert rows["registry.k8s.io/pause:3.10.2"].origin == "missing"


def test_a_pulled_node_brings_its_own(pretended: Engine, catalogue: Catalogue) -> None:
    """Pulled images have their registry's digest; of what is inside a pulled node no version is claimed."""
    pretended.states = {image.name: "pulled" for image in catalogue.needed(catalogue.line())}
    rows = listed(catalogue)
    assert rows[catalogue.line().node].digest == DIGEST
    inside = {name: row for name, row in rows.items() if row.used == INSIDE}
    own = {name for name in catalogue.image(catalogue.line().node).contains if not catalogue.image(name).system}
    assert inside.keys() == own
    assert {(row.origin, row.version, row.digest) for row in inside.values()} == {("the pulled node's own", "", None)}
    assert (rows[PROVISIONER].used, rows[PROVISIONER].origin) == ("every cluster", "pulled")
    assert not [row for row in rows.values() if row.origin == "missing"]
    assert (rows["docker.io/library/mongo:7.0"].origin, rows["docker.io/library/mongo:7.0"].version) == (
        "pulled",
        "7.0",
    )
    assert "docker.io/kindstorm/ferretdb:v1.24.2" not in rows


def test_what_was_built_elsewhere_came_whole(pretended: Engine, catalogue: Catalogue) -> None:
    """A build that a registry gave needs no base here; what is inside the node is told with its version."""
    pretended.states = {image.name: image.origin for image in catalogue.needed(catalogue.line())}
    rows = listed(catalogue)
    assert not [row for row in rows.values() if row.origin == "missing"]
    inside = {row.references[0]: row for row in rows.values() if row.used == INSIDE}
    assert set(inside) == set(catalogue.image(catalogue.line().node).contains) - set(pretended.states)
    assert {(row.origin, row.digest) for row in inside.values()} == {("came with the node", None)}
    assert inside["registry.k8s.io/pause:3.10.2"].version == "3.10.2"
    pretended.states[catalogue.line().node] = "pulled"
    assert "docker.io/library/debian:bookworm-slim" not in listed(catalogue)


def test_the_registry_that_gave_an_image_is_named(
    pretended: Engine, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that a mirror gave is neither upstream's nor made here."""
    pretended.states = {catalogue.probe: "built"}
    monkeypatch.setattr(registry, "source", lambda name: "127.0.0.1:5000" if name == catalogue.probe else None)
    assert listed(catalogue)[catalogue.probe].origin == "pulled from 127.0.0.1:5000 (built)"


def test_names_are_what_runs_here(pretended: Engine, catalogue: Catalogue) -> None:
    """The list for `docker save` has upstream's image or the stand-in, as the engine names it, or is refused whole."""
    pretended.states = {image.name: image.origin for image in catalogue.needed(catalogue.line())}
    pretended.states["docker.io/kindstorm/ferretdb:v1.24.2"] = "pulled"
    names = inventory.names(catalogue, [catalogue.line()])
    assert len(names) == len(pretended.states)
    assert {"mongo:7.0", "kindstorm/mongo-express:1.1.0-rc-4", "kindest/node:v1.37.0"} <= set(names)
    del pretended.states[catalogue.probe]
    with pytest.raises(ImageError, match=f"not set up yet: {catalogue.probe}; run `kindstorm setup`"):
        inventory.names(catalogue, [catalogue.line()])


def test_a_base_of_what_is_built_is_listed(pretended: Engine, catalogue: Catalogue) -> None:
    """Beside a pulled node a built image still shows what it stands on."""
    pretended.states = {catalogue.line().node: "pulled", catalogue.probe: "built"}
    pretended.states["docker.io/library/debian:bookworm-slim"] = "built"
    row = listed(catalogue)["docker.io/library/debian:bookworm-slim"]
    assert (row.used, row.origin) == ("base of builds", "built")


def test_a_stand_in_says_what_for(pretended: Engine, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in is never listed as the real thing."""
    image = Image(("docker.io/library/nginx:1.22.1",), "nginx", stand_in="a larger nginx")
    monkeypatch.setattr(catalogue, "needed", lambda _: [image])
    pretended.states = {image.name: "stand-in"}
    assert [row.origin for row in inventory.rows(catalogue, [catalogue.line()])] == ["stand-in: a larger nginx"]


def test_the_table_has_short_names_digests_and_sizes() -> None:
    """One row per image, its names below each other."""
    screen = io.StringIO()
    rows = [Row(("docker.io/library/a:1", "r.io/b:1"), INSIDE, "pulled", "1", DIGEST, 2_500_000)]
    Console(file=screen, width=160).print(inventory.render(rows))
    lines = [line.split() for line in screen.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["image", "used", "origin", "version", "digest", "size"]
    assert lines[2:] == [["a", *INSIDE.split(), "pulled", "1", "cdcdcdcdcdcd", "2.5", "MB"], ["r.io/b"]]
