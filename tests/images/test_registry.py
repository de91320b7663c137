"""A registry that the user names: what is asked of it, what is taken from it, and what is said of that afterwards."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from chaos.errors import ClusterError, ImageError
from images import catalogue as catalogues
from images import engine, registry
from images.catalogue import LABEL_ORIGIN, LABEL_RECIPE, Catalogue, Image, full_reference, short_reference
from images.progress import Steps
from images.registry import Registry, named

HERE = Registry("mirror.site:5000/kind")
NOT_FOUND = "`docker pull` failed: manifest for x not found: manifest unknown: manifest unknown"
DENIED = "`docker pull` failed: denied: requested access to the resource is denied"
MONGO, FERRET = "docker.io/library/mongo:7.0", "docker.io/kindstorm/ferretdb:v1.24.2"
NGINX = "docker.io/library/nginx:1.22.1"


class Docker:
    """An engine and one registry, pretended: images by name with their entries, and every command that was run."""

    def __init__(self) -> None:
        self.here: dict[str, dict[str, Any]] = {}
        self.there: dict[str, dict[str, Any] | str] = {}
        self.ran: list[str] = []

    def __call__(self, *words: str, **_: object) -> str:
        """A docker command."""
        self.ran.append(" ".join(words))
        if words[0] == "pull":
            found = self.there.get(words[-1], NOT_FOUND)
            if isinstance(found, str):
                raise ClusterError(found)
            self.here[words[-1]] = found
        elif words[0] == "tag":
            self.here[words[2]] = self.here[words[1]]
        elif words[0] == "push":
            self.there[words[-1]] = self.here[words[-1]]
        elif words[0] == "rmi":
            for name in words[1:]:
                del self.here[name]
        return ""

    def inspect(self, reference: str) -> dict[str, Any] | None:
        """What the engine knows of an image."""
        return self.here.get(reference)

    def asked(self) -> list[str]:
        """What was pulled or tried, in order."""
        return [command.rpartition(" ")[2] for command in self.ran if command.startswith("pull ")]

    def give(self, reference: str, recipe: str | None = None, **more: object) -> dict[str, Any]:
        """Let the registry have an image."""
        labels = {LABEL_RECIPE: recipe, LABEL_ORIGIN: "built"} if recipe else None
        entry = {"Id": f"sha256:{len(self.there)}", "Config": {"Labels": labels}, **more}
        self.there[HERE.reference(reference)] = entry
        return entry


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Docker:
    """An engine and a registry with nothing in them."""
    made = Docker()
    monkeypatch.setattr(engine, "docker", made)
    monkeypatch.setattr(engine, "inspect_image", made.inspect)
    monkeypatch.setattr(Steps, "run", lambda _, command, **__: made(*command[1:]))
    return made


def pull(catalogue: Catalogue, steps: Steps, *references: str) -> None:
    """Pull these from the registry."""
    registry.pull_all(catalogue, [catalogue.image(reference) for reference in references], HERE, steps)


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["127.0.0.1:5000", "localhost", "localhost:1/a/b-c", "mirror.site/kind/", "[::1]:5000"]
)
def test_a_registry_may_have_a_port_and_a_path(text: str) -> None:
    """Its name goes before the whole name that the image has elsewhere; a slash at the end is not needed."""
    there = named(text)
    assert there is not None
    assert there.reference("nginx:1") == f"{text.rstrip('/')}/docker.io/library/nginx:1"
    assert there.reference("registry.k8s.io/a/b:2") == f"{text.rstrip('/')}/registry.k8s.io/a/b:2"


@pytest.mark.parametrize("text", ["", None])
def test_no_name_is_no_registry(text: str | None) -> None:
    """An empty variable in the environment names none."""
    assert named(text) is None


@pytest.mark.parametrize(
    "text", ["https://mirror.site", "a b.c", "mirror.site/Kind", "mirror.site:port", "/kind", "a.b//c"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """The sentence shows how one is written."""
    with pytest.raises(ImageError, match=r"is no registry: write HOST, HOST:PORT or HOST:PORT/PATH, without https://$"):
        named(text)


def test_a_name_that_the_engine_takes_for_another_is_refused() -> None:
    """`mirror` would be docker.io/mirror to the engine: other people's images."""
    with pytest.raises(
        ImageError, match=r"would take mirror for a name on docker\.io; write the registry as mirror:PORT"
    ):
        named("mirror")


@given(st.text("abz019.:/-_", min_size=1, max_size=20), st.sampled_from([NGINX, MONGO, "registry.k8s.io/pause:3"]))
def test_the_engine_reads_a_name_as_it_was_meant(text: str, reference: str) -> None:
    """Whatever is accepted as a registry, the engine asks that host and no other for the image."""
    try:
        there = named(text)
    except ImageError:
        return
    assert there is not None
    name = there.reference(reference)
    assert full_reference(name) == name
    assert name.partition("/")[0] == there.host
    assert name.endswith(f"/{reference}")


# ---- pulling ---------------------------------------------------------------------------------------------------------


def test_all_is_asked_of_the_registry_and_named_as_manifests_name_it(
    docker: Docker, catalogue: Catalogue, steps: Steps, screen: io.StringIO
) -> None:
    """Nothing is asked of anybody else, also not by digest; each image gets the name that is looked for here."""
    needed = catalogue.needed(catalogue.line())
    for image in needed:
        docker.give(image.upstream[0])
    registry.pull_all(catalogue, needed, HERE, steps)
    assert docker.asked() == [f"mirror.site:5000/kind/{image.upstream[0]}" for image in needed]
    for image in needed:
        assert docker.here[short_reference(image.upstream[0])] is docker.there[HERE.reference(image.upstream[0])]
        assert registry.origin(image, "pulled") == "pulled from mirror.site:5000/kind"
    assert screen.getvalue().count("pulled mirror.site:5000/kind/") == len(needed)


@pytest.mark.parametrize("same", [True, False])
def test_a_mirrors_digest_is_not_demanded_but_said(
    docker: Docker, catalogue: Catalogue, steps: Steps, screen: io.StringIO, same: bool
) -> None:
    """Whoever trusts a mirror by its name is told where it gives something else than upstream's digest."""
    node = catalogue.image(catalogue.line().node)
    digest = node.digest if same else "sha256:other"
    docker.give(node.name, RepoDigests=[f"mirror.site:5000/kind/docker.io/kindest/node@{digest}"])
    pull(catalogue, steps, node.name)
    assert ("(its digest is not upstream's; trusted by its name)" in screen.getvalue()) is not same


def test_a_build_of_ours_is_no_upstream_image(
    docker: Docker, catalogue: Catalogue, steps: Steps, screen: io.StringIO
) -> None:
    """What a recipe built stays built, whoever delivers it."""
    image = catalogue.image(NGINX)
    docker.give(NGINX, catalogue.key(image))
    pull(catalogue, steps, NGINX)
    assert registry.origin(image, "built") == "pulled from mirror.site:5000/kind (built)"
    assert f"pulled {HERE.reference(NGINX)} (built): " in screen.getvalue()


def test_upstreams_image_comes_before_a_stand_in(docker: Docker, catalogue: Catalogue, steps: Steps) -> None:
    """A registry that has both is not even asked for the stand-in."""
    docker.give(MONGO)
    docker.give(FERRET, catalogue.key(catalogue.image(MONGO)))
    pull(catalogue, steps, MONGO)
    assert docker.asked() == [HERE.reference(MONGO)]
    assert registry.origin(catalogue.image(MONGO), "pulled") == "pulled from mirror.site:5000/kind"


@pytest.mark.parametrize("upstreams", [NOT_FOUND, DENIED, "a build by upstream's name"])
def test_a_stand_in_keeps_its_name(
    docker: Docker, catalogue: Catalogue, steps: Steps, screen: io.StringIO, upstreams: str
) -> None:
    """Where the registry gives no image of upstream's, also where it has a build by that name, the stand-in is said."""
    image = catalogue.image(MONGO)
    docker.give(FERRET, catalogue.key(image))
    if upstreams.startswith("a build"):
        docker.give(MONGO, catalogue.key(image))
    else:
        docker.there[HERE.reference(MONGO)] = upstreams
    pull(catalogue, steps, MONGO)
    assert sorted(docker.here) == [short_reference(FERRET), HERE.reference(FERRET)]
    words = f"stand-in: {image.stand_in}; pulled from mirror.site:5000/kind"
    assert registry.origin(image, "stand-in") == words
    assert f"{HERE.reference(MONGO)} is not to be had (" in screen.getvalue()
    assert f"pulled {HERE.reference(FERRET)} (stand-in: {image.stand_in}): " in screen.getvalue()


@pytest.mark.parametrize("recipe", ["old", None])
def test_a_stand_in_must_be_the_recipes(docker: Docker, catalogue: Catalogue, steps: Steps, recipe: str | None) -> None:
    """What has a stand-in's name and not its recipe's label may be anything."""
    docker.give(FERRET, recipe)
    with pytest.raises(ImageError, match="another version of kindstorm"):
        pull(catalogue, steps, MONGO)
    assert docker.here == {}


def test_a_build_of_another_version_is_not_taken(docker: Docker, catalogue: Catalogue, steps: Steps) -> None:
    """The engine is as it was, and the sentence says what to do."""
    docker.give(NGINX, "old")
    wanted = rf"{NGINX} \(made by another version of kindstorm; push it again from a machine with this one\)"
    with pytest.raises(ImageError, match=wanted):
        pull(catalogue, steps, NGINX)
    assert docker.here == {}


def test_all_that_is_lacking_is_one_sentence(docker: Docker, catalogue: Catalogue, steps: Steps) -> None:
    """Every missing image is named at once, and so is the command that pushes them; the others are pulled."""
    docker.give(NGINX)
    with pytest.raises(ImageError) as raised:
        pull(catalogue, steps, catalogue.line().node, MONGO, NGINX)
    assert str(raised.value) == (
        f"mirror.site:5000/kind does not give {catalogue.line().node} (not there), {MONGO} or its stand-in {FERRET} "
        "(not there); where a registry is named nothing is built: run `kindstorm images push mirror.site:5000/kind` on "
        "a machine that has them, or name no registry"
    )
    assert short_reference(NGINX) in docker.here


@pytest.mark.parametrize("reference", [NGINX, MONGO])
def test_a_registry_that_does_not_answer_is_asked_once(
    docker: Docker, catalogue: Catalogue, steps: Steps, reference: str
) -> None:
    """No image is called missing, and no stand-in is taken, because of a registry that is down."""
    docker.there[HERE.reference(reference)] = "`docker pull` failed: dial tcp: connect: connection refused"
    with pytest.raises(
        ImageError, match=r"^mirror\.site:5000/kind does not answer \(.*refused\); start it, or name no"
    ):
        pull(catalogue, steps, reference, catalogue.probe)
    assert docker.asked() == [HERE.reference(reference)]


def test_a_refusal_is_not_a_missing_image(docker: Docker, catalogue: Catalogue, steps: Steps) -> None:
    """A login that is lacking is told in the engine's own words, at once."""
    docker.there[HERE.reference(NGINX)] = DENIED
    with pytest.raises(
        ImageError, match=rf"^{HERE.reference(NGINX)} cannot be pulled: .*access to the resource is denied$"
    ):
        pull(catalogue, steps, NGINX)


# ---- what is said afterwards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "words"), [("pulled", "pulled"), ("built", "built"), ("stand-in", "stand-in: other")]
)
def test_what_no_named_registry_gave_has_its_state_only(docker: Docker, state: str, words: str) -> None:
    """Nothing is claimed of where an image came from that nobody noted."""
    image = Image(("x.io/a:1",), "a", stand_in="other", stands_in_for="x.io/b:1")
    assert registry.origin(image, state) == words
    docker.here["x.io/a:1"] = docker.here["x.io/b:1"] = {"Id": "sha256:1"}
    assert registry.origin(image, state) == words


def test_an_image_that_came_anew_from_its_own_registry_says_so(
    docker: Docker, catalogue: Catalogue, steps: Steps
) -> None:
    """What was noted of an earlier pull does not outlive a later one from upstream."""
    docker.give(NGINX)
    pull(catalogue, steps, NGINX)
    registry.forget((NGINX, "x.io/not-here:1"))
    assert registry.origin(catalogue.image(NGINX), "pulled") == "pulled"


def test_a_teams_image_on_one_of_ours_is_not_taken_for_ours(
    docker: Docker, catalogue: Catalogue, steps: Steps, screen: io.StringIO, tmp_path: Path
) -> None:
    """Building on an image hands its label down; what a team pulls has no recipe that it could be held against."""
    catalogue.add([Image(("docker.io/shop/cart:1.4",), "", workload=True, team="ours.toml")], tmp_path / "ours.toml")
    docker.give("docker.io/shop/cart:1.4", catalogue.key(catalogue.image(NGINX)))
    pull(catalogue, steps, "shop/cart:1.4")
    assert "shop/cart:1.4" in docker.here
    assert "(built)" not in screen.getvalue()


def test_a_teams_image_that_is_lacking_is_pushed_with_its_catalogue(
    docker: Docker, catalogue: Catalogue, steps: Steps, tmp_path: Path
) -> None:
    """The command that is told pushes what is lacking; without the catalogue it would not know it."""
    assert not docker.there
    path = tmp_path / "ours.toml"
    catalogue.add([Image(("docker.io/shop/cart:1.4",), "", workload=True, team=str(path))], path)
    with pytest.raises(ImageError, match=rf"images push {HERE.address} --catalogue {path}`"):
        pull(catalogue, steps, "shop/cart:1.4")
    with pytest.raises(ImageError, match=rf"images push {HERE.address}`"):
        pull(catalogue, steps, NGINX)


# ---- filling ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(docker: Docker, catalogue: Catalogue) -> Docker:
    """An engine that has all of the default line: upstream's mongo, and builds of the rest."""
    for number, image in enumerate(catalogue.needed(catalogue.line())):
        labels = {LABEL_RECIPE: catalogue.key(image), LABEL_ORIGIN: image.origin}
        docker.here[short_reference(image.name)] = {"Id": f"sha256:b{number}", "Config": {"Labels": labels}}
    docker.here[short_reference(MONGO)] = {"Id": "sha256:m", "Config": {"Labels": None}}
    return docker


def push(catalogue: Catalogue, screen: io.StringIO) -> None:
    """Push the default line."""
    registry.push_all(catalogue, [catalogue.line()], HERE, Console(file=screen, width=400))


def test_what_is_pushed_is_what_set_up_asks_for(
    filled: Docker, catalogue: Catalogue, screen: io.StringIO, steps: Steps
) -> None:
    """One machine's images, under the registry's names and not left so here, are all that another one needs."""
    before = dict(filled.here)
    push(catalogue, screen)
    assert filled.here == before
    assert sorted(filled.there) == sorted(
        HERE.reference(MONGO if image.name == FERRET else image.name) for image in catalogue.needed(catalogue.line())
    )
    lines = screen.getvalue().splitlines()
    assert f"[1/{len(lines)}] push {HERE.reference(catalogue.line().node)} (built): " in lines[0]
    assert any(f"push {HERE.reference(MONGO)} (pulled): " in line for line in lines)
    filled.here = {}
    registry.pull_all(catalogue, catalogue.needed(catalogue.line()), HERE, steps)


def test_nothing_is_pushed_where_something_is_missing(
    filled: Docker, catalogue: Catalogue, screen: io.StringIO
) -> None:
    """A registry is not filled by half."""
    del filled.here[short_reference(NGINX)]
    with pytest.raises(ImageError, match=rf"^not set up yet: {NGINX}; run `kindstorm setup`$"):
        push(catalogue, screen)
    assert filled.there == {}


def test_a_name_that_was_here_before_stays(filled: Docker, catalogue: Catalogue, screen: io.StringIO) -> None:
    """A machine that pulled from this registry keeps its names."""
    filled.here[HERE.reference(NGINX)] = filled.here[short_reference(NGINX)]
    push(catalogue, screen)
    assert HERE.reference(NGINX) in filled.here


def test_a_push_that_fails_leaves_no_name(
    filled: Docker, catalogue: Catalogue, screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error goes on, and the engine is as it was."""

    def fail(*_: object, **__: object) -> None:
        raise ImageError("no space left")

    before = dict(filled.here)
    monkeypatch.setattr(Steps, "run", fail)
    with pytest.raises(ImageError, match="no space left"):
        push(catalogue, screen)
    assert filled.here == before


# ---- asking ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """Something on this machine that answers /v2/ with the status of the test's parameter, and all else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param if self.path == "/v2/" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Registry(f"127.0.0.1:{server.server_port}/some/path")
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answering", "found"),
    [
        (200, (True, "answers without TLS")),
        (401, (True, "answers without TLS")),
        (404, (False, "answers /v2/ with 404, so it is no registry")),
    ],
    indirect=["answering"],
)
def test_a_registry_answers_by_its_protocol(
    answering: Registry, found: tuple[bool, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that asks for a login answers, a web server does not; no proxy stands between this machine and itself."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert registry.ask(answering) == found


def test_a_certificate_is_looked_for_where_the_engine_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authority of the site's own is taken from the engine's folder; where none is there the sentence names it."""
    seen: list[object] = []

    def get(_: object, url: str, *, verify: object, **__: object) -> None:
        seen.append((url, verify))
        raise requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")

    monkeypatch.setattr(registry, "CERTIFICATES", tmp_path)
    monkeypatch.setattr(requests.Session, "get", get)
    own = tmp_path / HERE.host / "ca.crt"
    assert registry.ask(HERE) == (False, f"its certificate is not trusted here: put its authority's into {own}")
    own.parent.mkdir()
    own.touch()
    registry.ask(HERE)
    assert seen == [("https://mirror.site:5000/v2/", True), ("https://mirror.site:5000/v2/", str(own))]


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is not there is asked both ways."""
    asked: list[str] = []

    def get(_: object, url: str, **__: object) -> None:
        asked.append(url)
        raise requests.exceptions.ConnectTimeout

    monkeypatch.setattr(requests.Session, "get", get)
    assert registry.ask(HERE) == (False, "does not answer")
    assert asked == ["https://mirror.site:5000/v2/", "http://mirror.site:5000/v2/"]


def test_the_shipped_stand_ins_are_the_ones_meant_here() -> None:
    """The names in this file are the catalogue's."""
    image = catalogues.load().image(MONGO)
    assert (image.name, image.stands_in_for) == (FERRET, MONGO)
