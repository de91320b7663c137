"""A stack names upstream's images; one that no registry gave is replaced by its stand-in, and the stack says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from images.catalogue import Catalogue

_LISTS = ("containers", "initContainers")


def put_in(
    catalogue: Catalogue, documents: Iterable[dict[str, Any]], states: Mapping[str, str]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Copies of a stack's documents that name stand-ins where those are what is here, and which were put in.

    ``states`` are the images' states by name, as `images.setup.require` gives them. The second value maps a reference
    as the stack wrote it to the words for its stand-in; it is empty, and the copies are equal to the documents, where
    every image is upstream's or a build of the same program. Images that the catalogue does not have are left alone.
    """
    copies = [deepcopy(document) for document in documents]
    replaced: dict[str, str] = {}
    for container in _containers(copies):
        reference = container.get("image")
        if isinstance(reference, str) and catalogue.has(reference):
            container["image"], words = catalogue.resolve(reference, states)
            if words is not None:
                replaced[reference] = words
    return copies, replaced


def _containers(node: object) -> Iterator[dict[str, Any]]:
    """Every container at any depth: in a pod, a workload's template, or a CronJob's template of a template."""
    if isinstance(node, list):
        for each in node:
            yield from _containers(each)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name in _LISTS and isinstance(value, list):
                yield from (each for each in value if isinstance(each, dict))
            else:
                yield from _containers(value)
