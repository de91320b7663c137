"""A manifest as its author wrote it: its documents, and on which line of the file each part of them stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chaos.errors import StackError

Document = dict[str, Any]
Key = str | int | tuple[str, str]
"""One step into a document: a field, an index, or (field, value) of the list's item that has it."""

_STEP = r'[A-Za-z_][\w-]*(?:\[(?:[^\]"]|"[^"]*")*\])*'
_PATH = re.compile(rf'(?:(?<=")|\.)?{_STEP}(?:\.{_STEP})*')
_PART = re.compile(r'([A-Za-z_][\w-]*)|\[((?:[^\]"]|"[^"]*")*)\]')
_SELECTOR = re.compile(r'(\w+)="?([^",]*)"?')


@dataclass(frozen=True)
class Manifest:
    """The file, and the parsed nodes of its documents, which know their lines.

    ``patched`` says that the documents were edited after they were read: then only the file can be named.
    """

    path: Path
    nodes: tuple[yaml.Node, ...]
    patched: bool = False

    def where(self, number: int, *keys: Key) -> str:
        """The file and the line of a part of a document; of the nearest part around it where it is not there."""
        if self.patched:
            return f"{self.path} (patched)"
        return f"{self.path}, line {_walk(self.nodes[number], keys)[0]}"

    def accused(self, number: int, message: str) -> str:
        """The file and the line that a message of the API server is about: of the first field that it names."""
        for keys in _paths(message):
            for known in (keys, keys[1:]):  # the second for "Go struct field DeploymentSpec.spec.replicas"
                if known and _walk(self.nodes[number], known)[1]:
                    return self.where(number, *known)
        return self.where(number)


def read(path: Path) -> tuple[list[Document], Manifest]:
    """Read a multi-document manifest; raises StackError naming the file, the line and what is wrong there."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise StackError(f"the manifest {path.absolute()} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StackError(f"the manifest {path} cannot be read: it is not UTF-8 text") from error
    try:
        parsed = list(_parse(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise StackError(f"{path}, line {line}: this is not YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise StackError(f"{path}, line {line}: this is not YAML: the character #x{error.character:04x}") from error
    except RecursionError:
        raise StackError(f"{path} is not YAML that can be read: it is nested too deep") from None
    if not parsed:
        raise StackError(f"{path} holds no document")
    manifest = Manifest(path, tuple(node for node, _ in parsed))
    documents = [document for _, document in parsed]
    check(documents, manifest)
    return documents, manifest


class _Loader(yaml.SafeLoader):
    """PyYAML's safe one; a value that its type does not know is told with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, OverflowError) as error:
            problem = f"{node.value!r} is no value of its type ({error})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


def _parse(text: str) -> Iterator[tuple[yaml.Node, Any]]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                break
            _refuse(node, (), set())
            document = loader.construct_document(node)
            if document is not None:
                yield node, document
    finally:
        loader.dispose()


def _refuse(node: yaml.Node, around: tuple[int, ...], seen: set[int]) -> None:
    """Raise where a key stands twice, the first of which would be passed over, or an alias leads into itself."""
    if id(node) in around:
        raise yaml.composer.ComposerError(None, None, "an alias leads into itself", node.start_mark)
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in keys:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value} stands here a second time", key.start_mark
                    )
                keys.add(key.value)
            _refuse(value, (*around, id(node)), seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse(value, (*around, id(node)), seen)


def _walk(node: yaml.Node, keys: tuple[Key, ...]) -> tuple[int, int]:
    """The line of the part at these keys, or of the nearest around it, and how many of the keys are there."""
    line = node.start_mark.line + 1
    for depth, key in enumerate(keys):
        if isinstance(node, yaml.MappingNode):
            # What a merge key brought in stands first: a mapping's own entry is the last one.
            found = [(name, value) for name, value in node.value if name.value == str(key)][-1:]
        elif isinstance(node, yaml.SequenceNode):
            chosen = [node.value[key]] if isinstance(key, int) and key < len(node.value) else []
            if isinstance(key, tuple):
                chosen = [item for item in node.value if _has(item, *key)][:1]
            found = [(item, item) for item in chosen]
        else:
            found = []
        if not found:
            return line, depth
        name, node = found[0]
        line = name.start_mark.line + 1
    return line, len(keys)


def _has(item: yaml.Node, field: str, value: str) -> bool:
    return isinstance(item, yaml.MappingNode) and any(k.value == field and v.value == value for k, v in item.value)


def _paths(message: str) -> Iterator[tuple[Key, ...]]:
    """What looks like the path of a field in a message: dotted, or in quotes."""
    for found in _PATH.finditer(message):
        text = found[0]
        quoted = found.start() > 0 and message[found.start() - 1] == '"'
        if not (quoted or "." in text or "[" in text):
            continue
        keys: list[Key] = []
        for name, bracket in _PART.findall(text):
            selector = _SELECTOR.fullmatch(bracket.partition(",")[0])
            if name:
                keys.append(name)
            elif bracket.isdigit():
                keys.append(int(bracket))
            else:
                keys.append((selector[1], selector[2]) if selector else bracket.strip('"'))
        yield tuple(keys)


# ---- the shape that a stack relies on; all else is the API server's to judge


def check(documents: list[Document], manifest: Manifest) -> None:
    """Raise StackError with the place of the first part that lacks something, or is not what its kind has there."""
    for number, document in enumerate(documents):
        try:
            _check_document(document)
        except _Wrong as wrong:
            raise StackError(f"{manifest.where(number, *wrong.keys)}: {wrong}") from None


class _Wrong(Exception):
    def __init__(self, keys: tuple[Key, ...], said: str) -> None:
        super().__init__(said)
        self.keys = keys


def _check_document(document: Any) -> None:
    if not isinstance(document, dict):
        raise _Wrong((), "this document is no mapping; it needs apiVersion, kind and metadata.name")
    metadata = _expect(document, dict, "metadata")
    lacking = [name for name in ("apiVersion", "kind") if name not in document]
    lacking += [] if "name" in metadata else ["metadata.name"]
    if lacking:
        raise _Wrong((), f"this document lacks {', '.join(lacking)}")
    for keys in (("apiVersion",), ("kind",), ("metadata", "name")):
        if not _expect(document, str, *keys):
            raise _Wrong(keys, f"{'.'.join(keys)} is empty")
    _expect(document, dict, "spec")
    if document["kind"] == "Pod":
        _check_pod(document, ("spec",))
    elif document["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"):
        _check_workload(document)
    elif document["kind"] == "Service":
        for number in range(len(_expect(document, list, "spec", "ports"))):
            _expect(document, dict, "spec", "ports", number)
            _expect(document, int, "spec", "ports", number, "nodePort")


def _check_workload(document: Document) -> None:
    _expect(document, dict, "spec", "template")
    _check_pod(document, ("spec", "template", "spec"))
    replicas = _expect(document, int, "spec", "replicas")
    if replicas < 0:
        raise _Wrong(("spec", "replicas"), f"spec.replicas is {replicas}; it cannot be below 0")
    _expect(document, str, "spec", "serviceName")
    for number in range(len(_expect(document, list, "spec", "volumeClaimTemplates"))):
        _expect(document, dict, "spec", "volumeClaimTemplates", number)
        _expect(document, dict, "spec", "volumeClaimTemplates", number, "spec")


def _check_pod(document: Document, keys: tuple[Key, ...]) -> None:
    _expect(document, dict, *keys)
    for field in ("initContainers", "containers"):
        for number in range(len(_expect(document, list, *keys, field))):
            container = _expect(document, dict, *keys, field, number)
            if not _expect(document, str, *keys, field, number, "image"):
                name = container.get("name", number)
                raise _Wrong((*keys, field, number), f"the container {name} lacks its image")


_WORDS = {dict: "a mapping", list: "a list", str: "text", int: "a whole number"}


def _expect(document: Document, kind: type, *keys: Key) -> Any:
    """What stands there, empty where nothing does; raises where it is of another kind."""
    value: Any = document
    for key in keys:
        missing = value is None or (isinstance(value, dict) and key not in value)
        value = None if missing else value[key]
    if value is None and not isinstance(keys[-1], int):
        return kind()
    if not isinstance(value, kind) or isinstance(value, bool):
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
        raise _Wrong(keys, f"{path} must be {_WORDS[kind]}, not {repr(value)[:60]}")
    return value
