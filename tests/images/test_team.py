"""A team's own images: its catalogue file is right or one sentence, and what nobody has is asked for once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos.errors import ClusterError, ImageError
from images import build, cache, catalogue, engine, registry, setup, team
from images.catalogue import LABEL_ORIGIN, LABEL_RECIPE

GOOD = """
[[image]]
references = ["shop/cart:1.4"]

[[image]]
references = ["registry.example:5000/shop/web:dev", "shop/web:dev"]
recipe = "web"
base = "debian:bookworm-slim"
args.VERSION = "3"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A team's catalogue with the folder that it builds from."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "Dockerfile").write_text("ARG BASE\nFROM $BASE\n")
    (tmp_path / "web" / "main.go").write_text("package main\n")
    path = tmp_path / "ours.toml"
    path.write_text(GOOD)
    return path


def test_a_good_file_adds_its_images(file: Path) -> None:
    """By their full names, beside ours, as what stacks may run; without one there are ours alone."""
    known = team.load(file)
    cart, web = known.images[-2:]
    assert cart.references == ("docker.io/shop/cart:1.4",)
    assert web.references == ("registry.example:5000/shop/web:dev", "docker.io/shop/web:dev")
    assert (cart.recipe, web.recipe) == ("", str(file.parent / "web"))
    assert known.image("shop/web:dev") is web
    assert known.needed(known.line())[-2:] == [cart, web]
    assert known.build_order([web])[0].name == "docker.io/library/debian:bookworm-slim"
    assert not team.load(None).has("shop/web:dev")


def test_every_file_of_the_folder_counts(file: Path) -> None:
    """A changed source of theirs makes the image out of date; our own images keep their keys."""
    known = team.load(file)
    web = known.image("shop/web:dev")
    before = known.key(web)
    (file.parent / "web" / "main.go").write_text("package main // changed\n")
    assert known.key(web) != before
    before = known.key(web)
    (file.parent / "web" / "main.go").chmod(0o755)
    assert known.key(web) != before
    nginx = known.image("nginx:1.22.1")
    assert known.key(nginx) == catalogue.load().key(nginx)


ONE = '[[image]]\nreferences = ["a:1"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[image]", "ours.toml is not TOML: .*line 1"),
        ("", r"ours.toml must hold \[\[image\]\] tables and nothing else"),
        ("image = 3", r"ours.toml must hold \[\[image\]\] tables"),
        (f"kubernetes = '1.37'\n{ONE}", r"ours.toml must hold \[\[image\]\] tables"),
        (f"{ONE}[[image]]\nrecipe = 'web'", "ours.toml, image 2: it lacks references"),
        ("[[image]]\nreferences = []", "ours.toml, image 1: it lacks references"),
        ("[[image]]\nreferences = 'a:1'", "ours.toml, image 1: references must be a list of text, not 'a:1'"),
        ("[[image]]\nreferences = [1]", r"ours.toml, image 1: references must be a list of text, not \[1\]"),
        ("[[image]]\nreferences = ['a']", "ours.toml, image 1: 'a' is no name of an image with its tag"),
        ("[[image]]\nreferences = ['A b:1']", "ours.toml, image 1: 'A b:1' is no name"),
        ("[[image]]\nreferences = ['a@sha256:12']", "ours.toml, image 1: .* is no name of an image with its tag"),
        (f"{ONE}folder = 'x'", "image 1: there is no field folder; an image has references, recipe, base, args"),
        (f"{ONE}recipe = 'nothing'", "image 1: recipe names .*/nothing, where there is no Dockerfile"),
        (f"{ONE}base = 'nginx:1.22.1'", "image 1: base and args are for a build, and there is no recipe"),
        (f"{ONE}recipe = 'web'\nargs = ['x']", "image 1: args must be a table of text"),
        (f"{ONE}recipe = 'web'\nargs.X = 3", "image 1: args must be a table of text"),
        (f"{ONE}recipe = 'web'\nbase = 'b:1'", "image 1: base docker.io/library/b:1 is neither in this file nor one"),
        (f"{ONE}recipe = 'web'\nbase = 'mongo:7.0'", "image 1: base .*mongo:7.0 is neither in this file nor one"),
        (f"{ONE}recipe = 'web'\nbase = 'a:1'", "image 1: its base leads back to itself: .*a:1 on .*a:1"),
        (f"{ONE}{ONE}", "image 2: docker.io/library/a:1 is in this file already"),
        ("[[image]]\nreferences = ['nginx:1.22.1']", "image 1: .*nginx:1.22.1 is in kindstorm's own catalogue already"),
        ("[[image]]\nreferences = ['mongo:7.0']", "image 1: .*mongo:7.0 is in kindstorm's own catalogue already"),
    ],
)
def test_a_wrong_file_is_one_sentence(file: Path, text: str, said: str) -> None:
    """The file, the entry and what is wrong with it."""
    file.write_text(text)
    with pytest.raises(ImageError, match=said) as refused:
        team.load(file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    """With where it was looked for."""
    with pytest.raises(ImageError, match=f"the catalogue {tmp_path}/no.toml cannot be read: No such file"):
        team.load(tmp_path / "no.toml")


class Engine:
    """An engine with some images, and registries that give some or refuse with a reason."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.gives: set[str] = set()
        self.reason = "lookup registry-1.example: no such host"
        self.pulled: list[str] = []
        monkeypatch.setattr(engine, "inspect_image", self.images.get)
        monkeypatch.setattr(engine, "docker", self.docker)

    def docker(self, *args: str, timeout_s: float) -> str:
        """Pull, within a bound."""
        assert args[:2] == ("pull", "--quiet")
        assert timeout_s <= 1800
        self.pulled.append(args[2])
        if args[2] not in self.gives:
            raise ClusterError(f"`docker pull` failed: {self.reason}")
        self.images[args[2]] = {}
        return ""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """No image, and no registry that answers."""
    return Engine(monkeypatch)


def test_what_the_engine_has_is_local(machine: Engine) -> None:
    """Nobody is asked for it."""
    machine.images["shop/cart:dev"] = {}
    others = team.Others()
    assert others.obtain("docker.io/shop/cart:dev") is None
    assert others.origins == {"docker.io/shop/cart:dev": "local"}
    assert machine.pulled == []


def test_what_a_registry_gives_is_pulled(machine: Engine) -> None:
    """Once; afterwards the engine has it, and it stays pulled."""
    machine.gives.add("shop/cart:1")
    others = team.Others()
    assert [others.obtain("shop/cart:1") for _ in range(2)] == [None, None]
    assert others.origins == {"shop/cart:1": "pulled"}
    assert machine.pulled == ["shop/cart:1"]


def test_a_dark_registry_is_asked_once(machine: Engine) -> None:
    """Neither for the same image nor for another; another registry is."""
    others = team.Others()
    for reference in ("shop/cart:1", "shop/cart:1", "nginx:9", "other.example/x:1"):
        assert "no such host" in str(others.obtain(reference))
    assert machine.pulled == ["shop/cart:1", "other.example/x:1"]
    assert others.origins == {}


def test_a_registry_that_answers_is_asked_for_the_next_image(machine: Engine) -> None:
    """That it has not the one says nothing of the other."""
    machine.reason = "manifest for shop/cart:1 not found: manifest unknown"
    machine.gives.add("shop/web:1")
    others = team.Others()
    assert "not found" in str(others.obtain("shop/cart:1"))
    assert others.obtain("shop/web:1") is None
    assert "not found" in str(others.obtain("shop/cart:1"))
    assert machine.pulled == ["shop/cart:1", "shop/web:1"]


def test_states_of_a_teams_images(file: Path, machine: Engine) -> None:
    """Built with our key, pulled, or what they built themselves; a build of another key is out of date."""
    known = team.load(file)
    cart, web = known.image("shop/cart:1.4"), known.image("shop/web:dev")
    assert build.image_state(known, cart) is None
    machine.images["shop/cart:1.4"] = {"RepoDigests": ["shop/cart@sha256:1"]}
    assert build.image_state(known, cart) == "pulled"
    machine.images["shop/cart:1.4"] = {"RepoDigests": []}
    assert build.image_state(known, cart) == "local"
    labels = {LABEL_RECIPE: known.key(web), LABEL_ORIGIN: "built"}
    names = ("registry.example:5000/shop/web:dev", "shop/web:dev")
    machine.images |= {key: {"Config": {"Labels": labels}} for key in names}
    assert build.image_state(known, web) == "built"
    machine.images |= {key: {"Config": {"Labels": labels | {LABEL_RECIPE: "older"}}} for key in names}
    assert build.image_state(known, web) is None
    machine.images |= {key: {"Config": {"Labels": None}} for key in names}
    assert build.image_state(known, web) == "local"


def test_a_teams_image_that_came_anew_from_its_own_registry_says_so(file: Path, machine: Engine) -> None:
    """What was noted of an earlier pull, from a registry that was named then, does not outlive it."""
    known = team.load(file)
    cart = known.image("shop/cart:1.4")
    steps: Any = type("Steps", (), {"say": lambda *_: None})()
    machine.gives.add(cart.name)
    machine.images["shop/cart:1.4"] = {"Id": "sha256:1", "RepoDigests": ["shop/cart@sha256:1"]}
    note = cache.folder("pulled") / "1"
    note.write_text("mirror.site:5000")
    assert registry.origin(cart, "pulled") == "pulled from mirror.site:5000"
    assert setup._pulled(cart, set(), steps)
    assert registry.origin(cart, "pulled") == "pulled"


def test_set_up_never_pulls_what_a_team_builds(file: Path, machine: Engine) -> None:
    """Under its name a registry may have somebody else's; what is only to be pulled and cannot be is one sentence."""
    known = team.load(file)
    steps: Any = type("Steps", (), {"say": lambda *_: None})()
    assert not setup._pulled(known.image("shop/web:dev"), set(), steps)
    assert machine.pulled == []
    with pytest.raises(
        ImageError, match=r"ours\.toml names the image docker.io/shop/cart:1\.4, and it cannot be pulled"
    ):
        setup._pulled(known.image("shop/cart:1.4"), set(), steps)
