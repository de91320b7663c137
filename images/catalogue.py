"""The catalogue: every image and program, its version, its upstream name and its recipe, read from catalogue.toml."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from chaos.errors import ImageError

HERE = Path(__file__).parent
RECIPES = HERE / "recipes"
LABEL_RECIPE = "dev.kindstorm.recipe"
LABEL_ORIGIN = "dev.kindstorm.origin"


def short_reference(reference: str) -> str:
    """The reference as the engine prints it: docker.io/library/nginx:1 is nginx:1 there."""
    name = reference.removeprefix("docker.io/")
    bare = name.removeprefix("library/")
    return name if "/" in bare else bare


def full_reference(reference: str) -> str:
    """The reference with its registry spelled out, as the container runtime of a node names it."""
    name = reference.removeprefix("docker.io/")
    first, slash, _ = name.partition("/")
    if name == reference and slash and ("." in first or ":" in first or first == "localhost"):
        return reference
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


@dataclass(frozen=True)
class Program:
    """Executables built from one Go module (or one C file in it), pinned by the wrapper module's go.sum."""

    name: str
    folder: str
    module: str
    version: str
    packages: tuple[str, ...] = ()
    modfile: str = "go.mod"
    ldflags: str = ""
    tags: str = ""
    cgo: bool = False
    source: str | None = None
    cflags: str = ""

    @property
    def path(self) -> Path:
        """The wrapper module's folder."""
        return RECIPES / self.folder

    @cached_property
    def key(self) -> str:
        """A digest of all that decides what the build gives."""
        digest = hashlib.sha256(repr(self).encode())
        if self.source is None:
            names = [self.modfile, self.modfile.removesuffix(".mod") + ".sum"]
            names += sorted(str(p.relative_to(self.path)) for p in self.path.rglob("*.go"))
        else:
            names = ["go.mod", "go.sum"]
        for name in names:
            digest.update(name.encode() + b"\0" + (self.path / name).read_bytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Image:
    """One image: its references (the first is its name) and how it is built.

    A stand-in is another program, or the program in another version, than the upstream image ``stands_in_for``, and
    carries a name of its own: ``stand_in`` says in words what it is and for what. Stacks and probes run ``workload``
    images; a ``system`` image runs in every cluster beside Kubernetes' own. ``team`` is the catalogue file of a team
    whose image it is: it is built from a folder of theirs where it has a recipe, otherwise pulled.
    """

    references: tuple[str, ...]
    recipe: str
    base: str | None = None
    programs: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    args: dict[str, str] = field(default_factory=dict)
    workload: bool = False
    system: bool = False
    stand_in: str | None = None
    stands_in_for: str | None = None
    digest: str | None = None
    suite: str | None = None
    team: str | None = None

    @property
    def name(self) -> str:
        """The reference that manifests and the other images name it by."""
        return self.references[0]

    @property
    def version(self) -> str:
        """The tag of its name."""
        return self.name.rpartition(":")[2]

    @property
    def origin(self) -> str:
        """What a build of it is: the genuine thing (built), or a stand-in."""
        return "stand-in" if self.stand_in else "built"

    @property
    def upstream(self) -> tuple[str, ...]:
        """The references that a registry is asked for: its own, or the one it stands in for."""
        return (self.stands_in_for,) if self.stands_in_for else self.references

    def runs_as(self, state: str | None) -> str:
        """The reference that pods run, by the image's state in the engine: upstream's where that was pulled."""
        return self.held_as(state)[0]

    def held_as(self, state: str | None) -> tuple[str, ...]:
        """All its references in the engine, by its state there."""
        return self.upstream if state == "pulled" else self.references


@dataclass(frozen=True)
class Line:
    """One supported line of Kubernetes."""

    name: str
    version: str
    node: str
    config_api: str


class Catalogue:
    """All of catalogue.toml, checked for names that lead nowhere."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.default_line: str = data["kubernetes"]
        self.probe: str = data["probe"]
        self.engine: dict[str, Any] = data["engine"]
        self.toolchain: dict[str, Any] = data["toolchain"]
        self.lines = {name: Line(name, **entry) for name, entry in data["line"].items()}
        self.programs = {n: Program(n, **_tuples(e)) for n, e in data["program"].items()}
        self.images = [Image(**_tuples(entry)) for entry in data["image"]]
        self._by_reference = {r: image for image in self.images for r in (*image.references, *image.upstream)}
        self.team: Path | None = None
        for image in self.images:
            if (image.stand_in is None) != (image.stands_in_for is None):
                raise ImageError(f"the catalogue's image {image.name} must say what it is and what it stands in for")
            for reference in (*([image.base] if image.base else []), *image.contains):
                self.image(reference)
            for program in image.programs:
                if program not in self.programs:
                    raise ImageError(f"the catalogue's image {image.name} needs an unknown program {program}")

    def add(self, images: list[Image], path: Path) -> None:
        """Add a team's own images, which images.team has read from this file."""
        self.images += images
        self._by_reference |= {reference: image for image in images for reference in image.references}
        self.team = path

    def image(self, reference: str) -> Image:
        """The image that provides this reference, as itself or as its stand-in; raises ImageError where none does."""
        try:
            return self._by_reference[full_reference(reference)]
        except KeyError:
            raise ImageError(f"no image {reference} in the catalogue; add it there with its recipe") from None

    def has(self, reference: str) -> bool:
        """Whether the catalogue can provide this reference."""
        return full_reference(reference) in self._by_reference

    def resolve(self, reference: str, states: Mapping[str, str]) -> tuple[str, str | None]:
        """What runs for this reference, and where that is a stand-in the words for it.

        ``states`` are the images' states by name, as `images.setup.require` gives them; raises ImageError where the
        catalogue cannot provide the reference.
        """
        image = self.image(reference)
        if states.get(image.name) == "stand-in" and full_reference(reference) == image.stands_in_for:
            return image.name, image.stand_in
        return reference, None

    def line(self, name: str | None = None) -> Line:
        """A line of Kubernetes by its name, such as 1.37, or the default one."""
        wanted = (name or self.default_line).removeprefix("v")
        if wanted not in self.lines:
            known = ", ".join(sorted(self.lines))
            raise ImageError(f"Kubernetes {wanted} is not in the catalogue; choose one of {known}")
        return self.lines[wanted]

    def needed(self, line: Line) -> list[Image]:
        """The images that scenarios on this line use directly: the node, and what runs on it that is not its own."""
        return [self.image(line.node), *(image for image in self.images if image.workload or image.system)]

    def needed_by(self, lines: Iterable[Line]) -> list[Image]:
        """The images that scenarios on any of these lines use directly, each once."""
        return list({image.name: image for line in lines for image in self.needed(line)}.values())

    def build_order(self, images: list[Image]) -> list[Image]:
        """These images and all that their builds need, each after what it needs."""
        order: list[Image] = []

        def visit(image: Image) -> None:
            if image in order:
                return
            for reference in (*([image.base] if image.base else []), *image.contains):
                visit(self.image(reference))
            order.append(image)

        for image in images:
            visit(image)
        return order

    def key(self, image: Image) -> str:
        """A digest of all that decides what this image's build gives; a changed part gives a new key."""
        folder = RECIPES / image.recipe  # a team's recipe is an absolute path
        parts = (image.references, folder.name, image.base, image.args, image.stand_in, image.suite)
        digest = hashlib.sha256(repr(parts).encode())
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            if image.team or path.suffix not in (".go", ".mod", ".sum"):
                digest.update(str(path.relative_to(folder.parent)).encode() + b"\0" + path.read_bytes())
            if image.team and path.stat().st_mode & 0o111:
                digest.update(b"executable")
        for program in image.programs:
            digest.update(self.programs[program].key.encode())
        for reference in (*([image.base] if image.base else []), *image.contains):
            digest.update(self.key(self.image(reference)).encode())
        return digest.hexdigest()[:16]


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}


def load(path: Path = HERE / "catalogue.toml") -> Catalogue:
    """Read a catalogue; raises ImageError with the file's name where it is not one."""
    try:
        return Catalogue(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ImageError(f"{path} is not a catalogue of images: {error}") from error
