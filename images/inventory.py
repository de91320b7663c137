"""What images there are: where each came from, which version it is, and where it is used."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.box import SIMPLE
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from images import build, engine, registry
from images.catalogue import Catalogue, Image, Line, short_reference

INSIDE = "inside the node image"


@dataclass(frozen=True)
class Row:
    """One image under all its references. ``size`` in bytes; ``digest`` and ``size`` None where the engine has none."""

    references: tuple[str, ...]
    used: str
    origin: str
    version: str
    digest: str | None = None
    size: int | None = None


def rows(catalogue: Catalogue, lines: list[Line]) -> list[Row]:
    """Every image that these lines need, and what their builds contain; raises ClusterError without an engine."""
    needed = catalogue.needed_by(lines)
    states = {image.name: build.image_state(catalogue, image) for image in needed}
    found = [_row(image, _use(image, lines), states[image.name]) for image in needed]
    pulled = [image for image in needed if states[image.name] == "pulled"]
    own = [image for image in needed if image not in pulled]
    lacking = catalogue.build_order([image for image in own if states[image.name] is None])
    inside = [catalogue.image(name) for image in own for name in image.contains]
    parts = [image for image in catalogue.build_order(own) if image not in own]
    for image in parts:
        row = _row(image, INSIDE if image in inside else "base of builds", build.image_state(catalogue, image))
        if row.origin != "missing" or image in lacking:
            found.append(row)
        elif image in inside:
            # What was built elsewhere came whole, and its recipe's key says what is in it.
            found.append(replace(row, origin="came with the node"))
    for image in [catalogue.image(name) for holder in pulled for name in holder.contains]:
        if image not in parts and image not in needed:
            parts.append(image)
            # The engine never sees these apart, and which versions they are is upstream's choice.
            found.append(Row(image.references, INSIDE, "the pulled node's own", ""))
    return found


def _use(image: Image, lines: list[Line]) -> str:
    if image.system:
        return "every cluster"
    return "nodes" if image.name in {line.node for line in lines} else "stacks and probes"


def names(catalogue: Catalogue, lines: list[Line]) -> list[str]:
    """What runs here of what these lines need, as the engine names it; raises ImageError where one is missing."""
    return [
        short_reference(reference)
        for image, state in build.ready(catalogue, lines)
        for reference in image.held_as(state)
    ]


def _row(image: Image, used: str, state: str | None) -> Row:
    entry = engine.inspect_image(short_reference(image.runs_as(state)))
    if entry is None:
        return Row(image.references, used, "missing", image.version)
    origin = registry.origin(image, state) if state else "out of date"
    digests = [str(each).partition("@")[2] for each in entry.get("RepoDigests") or []]
    digest = digests[0] if state == "pulled" and digests else str(entry["Id"])
    references = image.upstream if state == "pulled" else image.references
    return Row(references, used, origin, image.runs_as(state).rpartition(":")[2], digest, int(entry["Size"]))


def render(found: list[Row]) -> Table:
    """The rows as a table; digests are cut to what tells them apart."""
    table = Table(box=SIMPLE)
    for name in ("image", "used", "origin", "version", "digest"):
        table.add_column(name, overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for row in found:
        names = "\n".join(short_reference(reference).rpartition(":")[0] for reference in row.references)
        digest = (row.digest or "").removeprefix("sha256:")[:12]
        size = "" if row.size is None else decimal(row.size)
        cells = [escape(cell) for cell in (names, row.used, row.origin, row.version, digest, size)]
        table.add_row(*cells, style="yellow" if row.origin in ("missing", "out of date") else "")
    return table
