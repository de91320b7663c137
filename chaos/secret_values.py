"""Which values of Kubernetes objects are secret, and the ways in which such a value is met in texts."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import yaml

MIN_CHARS = 8
"""A shorter text is met everywhere, whatever it stands for."""
MOST_PARTS = 100
"""How many lines or strings of one value count by themselves; every one costs a search through every text."""

TELLING = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|(?:api|access|private|secret|signing)[-_.]?key)"
TELLING_NAME = re.compile(rf"{TELLING}$", re.IGNORECASE)
_ASSIGNED = re.compile(r"""\s*(?:export\s+)?["']?[\w.-]+["']?\s*[:=]\s*["']?(.*?)["']?,?\s*""")


def secrets_in(documents: Iterable[dict[str, Any]]) -> Iterator[str | bytes]:
    """The secret values of Kubernetes objects: Secrets' data, and environment literals whose name tells."""
    for document in documents:
        if document.get("kind") == "Secret":
            yield from map(_from_base64, (document.get("data") or {}).values())
            yield from map(str, (document.get("stringData") or {}).values())
        yield from _literals(document)


def _from_base64(text: Any) -> str | bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        return str(text)


def _literals(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _literals(item)
    elif isinstance(node, dict):
        if isinstance(node.get("value"), str) and TELLING_NAME.search(str(node.get("name", ""))):
            yield node["value"]
        for item in node.values():
            yield from _literals(item)


def parts(text: str) -> set[str]:
    """A value as a whole, its lines, the strings of a JSON value, and what is assigned in any of these."""
    found = {text, text.strip()}
    try:
        found |= set(islice(_leaves(json.loads(text)), MOST_PARTS))
    except (ValueError, RecursionError):
        lines = (line.strip() for line in text.splitlines())
        found |= set(islice((line for line in lines if not line.startswith("-----")), MOST_PARTS))
    for part in list(found):
        match = _ASSIGNED.fullmatch(part)
        if match:
            found.add(match[1])
    return {part for part in found if part and not _SURROGATE.search(part)}


_SURROGATE = re.compile("[\ud800-\udfff]")


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)


def decoded(value: bytes) -> str | None:
    """A value as text, None where it is none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _json_utf8(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _json_of_go(text: str) -> str:
    return _json_utf8(text).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _lower_hex(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), urllib.parse.quote(text, safe=""))


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _html_by_number(text: str) -> str:
    return html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


_JSONS: tuple[Callable[[str], str], ...] = (_json, _json_utf8, _json_of_go)
_ESCAPES: tuple[Callable[[str], str], ...] = (
    *_JSONS,
    _quoted,
    _lower_hex,
    urllib.parse.quote,
    urllib.parse.quote_plus,
    html.escape,
    _html_by_number,
    lambda text: yaml.safe_dump(text, width=len(text) * 12, default_style='"')[1:-2],
    lambda text: yaml.safe_dump(text, width=len(text) * 12, default_style='"', allow_unicode=True)[1:-2],
    lambda text: repr(text)[1:-1],
    lambda text: repr(text.encode())[2:-1],
    lambda text: text.replace("'", "''"),
    lambda text: text.replace("'", "'\\''"),
)


def forms(text: str) -> set[str]:
    """The ways in which a value is met in logs and documents, itself among them."""
    escaped = {text} | {escape(text) for escape in _ESCAPES}
    return escaped | {escape(form) for escape in _JSONS for form in escaped} | in_bytes(text.encode())


def in_bytes(value: bytes) -> set[str]:
    """A value in hex and base64: whole, amid other bytes at each of three offsets, and wrapped at 64 or 76."""
    found = {value.hex(), value.hex().upper(), base64.b64encode(value).decode()}
    wrapped = (value[n : n + size] for size in (48, 57) for n in range(0, len(value), size))
    pieces = [value, *islice(wrapped, MOST_PARTS)]
    for number, piece in enumerate(pieces):
        for shift in range(3 if number == 0 else 1):
            coded = base64.b64encode(bytes(shift) + piece).decode()
            found.add(coded[(0, 2, 3)[shift] : (shift + len(piece)) * 8 // 6])
    found |= {form.translate(_URL_SAFE) for form in found}
    return {form for form in found if len(form) >= MIN_CHARS}


_URL_SAFE = str.maketrans("+/", "-_")


def weak_forms(text: str) -> set[str]:
    """A weak value in base64 is no everyday word any more, where it is long enough."""
    whole = base64.b64encode(text.encode()).decode()
    return {whole} if len(whole) >= MIN_CHARS else set()
