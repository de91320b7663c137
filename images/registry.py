"""A registry that the user names: all images are pulled from it and none is built; and how to fill one.

docker.io/library/nginx:1.22.1 is <registry>/docker.io/library/nginx:1.22.1 there. The registry is trusted by name: an
image gets another digest in each registry that it is pushed to, so upstream's cannot be asked of a mirror. What was
built by a recipe carries that recipe's label wherever it comes from, and is never taken for upstream's.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from chaos.errors import ClusterError, ImageError
from images import build, cache, engine
from images.catalogue import LABEL_RECIPE, Catalogue, Image, Line, full_reference, short_reference
from images.progress import Steps

VARIABLE = "KINDSTORM_REGISTRY"
UNREACHABLE = re.compile(
    r"no such host|server misbehaving|name resolution|connection refused|no route to host|network is unreachable"
    r"|TLS handshake|timed? ?out|deadline exceeded|did not end within",
    re.I,
)
"""What an engine says of a registry that it cannot reach."""
_LACKING = re.compile(r"not found|manifest unknown|name unknown|not known to registry", re.I)
_HOST = r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:]+\])(?::\d+)?"
_ADDRESS = re.compile(rf"(?P<host>{_HOST})(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
CERTIFICATES = Path("/etc/docker/certs.d")
ANSWER_S = 10
TRANSFER_S = 1800


@dataclass(frozen=True)
class Registry:
    """Where images come from; ``address`` is its host, its port, and a path where ours are kept below one."""

    address: str

    @property
    def host(self) -> str:
        """The address without its path."""
        return self.address.partition("/")[0]

    @property
    def on_this_machine(self) -> bool:
        """Whether it is on a loopback address, where the engine asks for no TLS."""
        return re.fullmatch(r"(localhost|127\.[0-9.]+|\[::1\])(:\d+)?", self.host) is not None

    def reference(self, reference: str) -> str:
        """The name that this registry has an image by."""
        return f"{self.address}/{full_reference(reference)}"


def named(text: str | None) -> Registry | None:
    """The registry of this name, None where none was named; raises ImageError where the name is none of a registry."""
    if not text:
        return None
    address = text.rstrip("/")
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ImageError(f"{text} is no registry: write HOST, HOST:PORT or HOST:PORT/PATH, without https://")
    if found["host"] != "localhost" and not re.search(r"[.:]", found["host"]):
        raise ImageError(f"the engine would take {text} for a name on docker.io; write the registry as {text}:PORT")
    return Registry(address)


# ---- where an image came from ----------------------------------------------------------------------------------------


def _note(entry: dict[str, Any]) -> Path:
    return cache.folder("pulled") / str(entry["Id"]).removeprefix("sha256:")


def forget(references: tuple[str, ...]) -> None:
    """These images came from where their own names say."""
    for reference in references:
        entry = engine.inspect_image(short_reference(reference))
        if entry is not None:
            _note(entry).unlink(missing_ok=True)


def source(reference: str) -> str | None:
    """The named registry that gave the engine its image of this name; None where none did, or the cache is another."""
    entry = engine.inspect_image(short_reference(reference))
    if entry is None or not _note(entry).exists():
        return None
    return _note(entry).read_text()


def origin(image: Image, state: str) -> str:
    """Where an image came from, in words: its state, for a stand-in what it is, and the registry that gave it."""
    given = source(image.runs_as(state))
    if state == "stand-in":
        return f"stand-in: {image.stand_in}" + (f"; pulled from {given}" if given else "")
    if given is None:
        return state
    return f"pulled from {given}" + (f" ({state})" if state != "pulled" else "")


# ---- pulling ---------------------------------------------------------------------------------------------------------


def pull_all(catalogue: Catalogue, images: list[Image], registry: Registry, steps: Steps) -> None:
    """Pull these images; raises ImageError naming all that the registry does not give, or why it gives nothing."""
    refused = [(image, _pull(catalogue, image, registry, steps)) for image in images]
    lacking = [f"{_wanted(image)} ({reason})" for image, reason in refused if reason is not None]
    if lacking:
        given = f" --catalogue {catalogue.team}" if any(image.team for image, reason in refused if reason) else ""
        raise ImageError(
            f"{registry.address} does not give {', '.join(lacking)}; where a registry is named nothing is built: run "
            f"`kindstorm images push {registry.address}{given}` on a machine that has them, or name no registry"
        )


def _wanted(image: Image) -> str:
    return image.upstream[0] + (f" or its stand-in {image.name}" if image.stand_in else "")


def _pull(catalogue: Catalogue, image: Image, registry: Registry, steps: Steps) -> str | None:
    """Pull an image, or its stand-in where the registry does not give upstream's; None, or why neither is to be had."""
    reason = _pull_as(catalogue, image, image.upstream, registry, steps)
    if reason is None or image.stand_in is None:
        return reason
    steps.say(f"{registry.reference(image.upstream[0])} is not to be had ({reason}); its stand-in is asked for")
    return _pull_as(catalogue, image, image.references, registry, steps)


def _pull_as(
    catalogue: Catalogue, image: Image, references: tuple[str, ...], registry: Registry, steps: Steps
) -> str | None:
    """Pull an image by these names and give them to it here; None, or why it is not to be had."""
    begin = time.monotonic()
    theirs = [registry.reference(reference) for reference in references]
    for name in theirs:
        try:
            engine.docker("pull", "--quiet", name, timeout_s=TRANSFER_S)
        except ClusterError as error:
            if UNREACHABLE.search(str(error)):
                raise ImageError(
                    f"{registry.address} does not answer ({error}); start it, or name no registry"
                ) from None
            if _LACKING.search(str(error)):
                return "not there"
            if image.stand_in:
                return str(error)
            raise ImageError(f"{name} cannot be pulled: {error}") from None
    entries = [engine.inspect_image(name) or {} for name in theirs]
    reason = _wrong(catalogue, image, references, entries)
    if reason is not None:
        engine.docker("rmi", *theirs)
        return reason
    for name, reference, entry in zip(theirs, references, entries, strict=True):
        engine.docker("tag", name, short_reference(reference))
        _note(entry).write_text(registry.address)
    what = _what(image, entries[0])
    steps.say(f"pulled {theirs[0]}{what and f' ({what})'}: {time.monotonic() - begin:.1f} s")
    return None


def _recipe(image: Image, entry: dict[str, Any]) -> str | None:
    """The recipe that it was built by. What a team built on an image of ours has that one's label, and says nothing."""
    if image.team and not image.recipe:
        return None
    labels = entry.get("Config", {}).get("Labels") or {}
    return labels.get(LABEL_RECIPE)


def _wrong(
    catalogue: Catalogue, image: Image, references: tuple[str, ...], entries: list[dict[str, Any]]
) -> str | None:
    """Why what was pulled cannot be used: only what has no recipe's label is upstream's, and a recipe must be ours."""
    recipes = {_recipe(image, entry) for entry in entries}
    if image.stand_in and references == image.upstream:
        return None if recipes == {None} else "a build under upstream's name"
    if recipes == {catalogue.key(image)} or (recipes == {None} and not image.stand_in):
        return None
    return "made by another version of kindstorm; push it again from a machine with this one"


def _what(image: Image, entry: dict[str, Any]) -> str:
    """What a pulled image is, where its name does not say it."""
    if _recipe(image, entry) is not None:
        return f"stand-in: {image.stand_in}" if image.stand_in else "built"
    if image.digest and not any(str(each).endswith(image.digest) for each in entry.get("RepoDigests") or []):
        return "its digest is not upstream's; trusted by its name"
    return ""


# ---- filling ---------------------------------------------------------------------------------------------------------


def push_all(catalogue: Catalogue, lines: list[Line], registry: Registry, console: Console) -> None:
    """Push all that these lines need; raises ImageError before the first where the engine lacks one."""
    found = build.ready(catalogue, lines)
    log = cache.folder("logs") / f"push-{time.strftime('%Y%m%dT%H%M%S')}.log"
    steps = Steps(console, log, total=len(found))
    try:
        for image, state in found:
            names = image.held_as(state)
            with steps.step(f"push {registry.reference(names[0])} ({origin(image, state)})"):
                for name in names:
                    _push(name, registry, steps)
    finally:
        steps.close()


def _push(name: str, registry: Registry, steps: Steps) -> None:
    theirs = registry.reference(name)
    there = engine.inspect_image(theirs) is not None
    engine.docker("tag", short_reference(name), theirs)
    try:
        steps.run(["docker", "push", theirs], timeout_s=TRANSFER_S)
    finally:
        if not there:
            engine.docker("rmi", theirs)


# ---- asking ----------------------------------------------------------------------------------------------------------


def ask(registry: Registry) -> tuple[bool, str]:
    """Whether this registry answers as registries do, as far as one request tells, and in what way or why not."""
    session = requests.Session()
    # As the engine does it: what is on this machine is asked past any proxy.
    session.trust_env = not registry.on_this_machine
    own = CERTIFICATES / registry.host / "ca.crt"
    words = ""
    for scheme, found in (("https", "answers"), ("http", "answers without TLS")):
        try:
            answer = session.get(
                f"{scheme}://{registry.host}/v2/", timeout=ANSWER_S, verify=str(own) if own.exists() else True
            )
        except requests.exceptions.RequestException as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                return False, f"its certificate is not trusted here: put its authority's into {own}"
            words = "does not answer"
        else:
            if answer.status_code in (200, 401):
                return True, found
            words = f"answers /v2/ with {answer.status_code}, so it is no registry"
    return False, words
