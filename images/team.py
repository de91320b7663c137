"""Images of a team's own: those of the catalogue file it gives, and those that only its engine or a registry has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from chaos.errors import ClusterError, ImageError
from images import catalogue as catalogues
from images import engine
from images.catalogue import Catalogue, Image, full_reference, short_reference

PULL_S = 300
KEYS: dict[str, type[Any]] = {"references": list, "recipe": str, "base": str, "args": dict}
_WORDS = {"references": "a list of text", "recipe": "text", "base": "text", "args": "a table of text"}
_REFERENCE = re.compile(r"[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9._-]*")
_ANSWERED = re.compile(r"not found|manifest unknown|does not exist|denied|unauthorized|forbidden", re.I)


def load(path: Path | None) -> Catalogue:
    """Our catalogue, with a team's file where there is one; raises ImageError naming the file and the entry."""
    catalogue = catalogues.load()
    if path is not None:
        catalogue.add(read(path, catalogue), path)
    return catalogue


def read(path: Path, ours: Catalogue) -> list[Image]:
    """The images of a team's file: ``[[image]]`` tables of references, to be pulled or built from a ``recipe``.

    ``recipe`` is a folder beside the file with a Dockerfile in it. ``base``, an image of the file or one of ours, is
    there before the build and given to it as the build argument BASE, ``args`` as others.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ImageError(f"the catalogue {path.absolute()} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"the catalogue {path} is not TOML: {error}") from error
    entries = data.get("image")
    if set(data) != {"image"} or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ImageError(f"the catalogue {path} must hold [[image]] tables and nothing else")
    images: list[Image] = []
    for number, entry in enumerate(entries, start=1):
        place = f"{path}, image {number}"
        image = _image(path, entry, place)
        for reference in image.references:
            if ours.has(reference) or any(reference in other.references for other in images):
                whose = "kindstorm's own catalogue" if ours.has(reference) else "this file"
                raise ImageError(f"{place}: {reference} is in {whose} already; give yours a name of its own")
        images.append(image)
    _check_bases(path, images, ours)
    return images


def _image(path: Path, entry: dict[str, Any], place: str) -> Image:
    unknown = [name for name in entry if name not in KEYS]
    if unknown:
        raise ImageError(f"{place}: there is no field {', '.join(unknown)}; an image has {', '.join(KEYS)}")
    for name, value in entry.items():
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        if not isinstance(value, KEYS[name]) or not all(isinstance(part, str) for part in parts):
            raise ImageError(f"{place}: {name} must be {_WORDS[name]}, not {value!r}")
    references = entry.get("references")
    if not references:
        raise ImageError(f"{place}: it lacks references, the names that stacks use, such as shop/cart:1.4")
    for reference in references:
        if not _REFERENCE.fullmatch(reference):
            raise ImageError(f"{place}: {reference!r} is no name of an image with its tag, such as shop/cart:1.4")
    recipe = ""
    if "recipe" in entry:
        folder = (path.parent / entry["recipe"]).absolute()
        if not (folder / "Dockerfile").is_file():
            raise ImageError(f"{place}: recipe names {folder}, where there is no Dockerfile")
        recipe = str(folder)
    elif "base" in entry or "args" in entry:
        raise ImageError(f"{place}: base and args are for a build, and there is no recipe to build from")
    base = full_reference(entry["base"]) if "base" in entry else None
    names = tuple(full_reference(reference) for reference in references)
    return Image(names, recipe, base, args=entry.get("args", {}), workload=True, team=str(path))


def _check_bases(path: Path, images: list[Image], ours: Catalogue) -> None:
    own = {reference: image for image in images for reference in image.references}
    for number, image in enumerate(images, start=1):
        place = f"{path}, image {number}"
        if image.base is not None and image.base not in own:
            if not ours.has(image.base) or ours.image(image.base).stands_in_for == image.base:
                raise ImageError(f"{place}: base {image.base} is neither in this file nor one that kindstorm builds")
            continue
        chain, at = [image.name], image.base
        while at in own:
            if own[at].name in chain:
                raise ImageError(f"{place}: its base leads back to itself: {' on '.join([*chain, own[at].name])}")
            chain.append(own[at].name)
            at = own[at].base


class Others:
    """Images that no catalogue has. What a registry did not give, or a registry that is dark, is not asked again."""

    def __init__(self) -> None:
        self.origins: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._dark: dict[str, str] = {}

    def obtain(self, reference: str) -> str | None:
        """Have the engine have it (``origins`` says from where); returns None, or why its registry did not give it."""
        registry = full_reference(reference).partition("/")[0]
        if engine.inspect_image(short_reference(reference)) is not None:
            self.origins.setdefault(reference, "local")
            return None
        reason = self._refused.get(reference) or self._dark.get(registry)
        if reason is not None:
            return reason
        try:
            engine.docker("pull", "--quiet", reference, timeout_s=PULL_S)
        except ClusterError as error:
            reason = self._refused[reference] = str(error)
            if not _ANSWERED.search(reason):
                self._dark[registry] = reason
            return reason
        self.origins[reference] = "pulled"
        return None
