"""What the probe pod printed, understood: which question each line belongs to, and what was answered."""

from __future__ import annotations

import ipaddress
import re

from chaos.history import Json

_LINE = re.compile(r"(\d+) (\d+)[.,](\d{6}) (\d+)[.,](\d{6}) (.*)")
_ESCAPED = re.compile(r"\\(.)")
_STATUS = re.compile(r"status: (\w+)")
_REFUSED = "Connection refused"
_BODY_CHARS = 256

Told = dict[int, tuple[int | None, int | None, str]]


def split(output: str) -> Told:
    """What each question was answered, by number: when it began and ended by the pod's wall clock in us, and the text.

    Empty unless the pod came to the end of its script: then nobody knows what it asked.
    """
    if "asked" not in output.splitlines():
        return {}
    told: Told = {-1: (None, None, "")}
    for line in output.splitlines():
        found = _LINE.fullmatch(line)
        if found:
            begin, end = int(found[2] + found[3]), int(found[4] + found[5])
            told[int(found[1])] = (begin, end, _ESCAPED.sub(_unescaped, found[6]))
    return told


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


def understand(probe: str, target: str, text: str, begin_us: int | None, end_us: int | None) -> tuple[Json, str | None]:
    """(value, error) of one target's reading; one of both is None (shapes: record kind ``probe``, chaos.history)."""
    if probe == "dns":
        return _dns(target, text)
    if probe == "http":
        return _http(text)
    took_ms = None if begin_us is None or end_us is None else round((end_us - begin_us) / 1000, 3)
    return _tcp(text, took_ms)


def _dns(name: str, text: str) -> tuple[Json, str | None]:
    """The part of dig's output that is about this name; one that was not answered has none."""
    for block in text.split(";; Got answer:")[1:]:
        status = _STATUS.search(block)
        asked = re.search(r"^;(\S+)\s+IN\s+A\s*$", block, re.MULTILINE)
        if status is None or asked is None or asked[1].rstrip(".").lower() != name.rstrip(".").lower():
            continue
        words = [line.split() for line in block.splitlines() if line and not line.startswith(";")]
        found = sorted(w[4] for w in words if len(w) >= 5 and w[3] == "A" and _is_address(w[4]))
        return {"answers": found, "rcode": status[1]}, None
    return None, "the cluster's DNS did not answer"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _http(text: str) -> tuple[Json, str | None]:
    body, _, status = text.rpartition("\n")
    if not status.isdigit() or status == "000":
        return None, "no HTTP answer"
    return {"status": int(status), "body": _beginning(body)}, None


def _beginning(body: str) -> str:
    """As much as is kept, in whole words: half a secret is one that nobody would know for one."""
    kept = body[:_BODY_CHARS]
    if len(body) == len(kept) or body[_BODY_CHARS].isspace():
        return kept
    return re.sub(r"\s*\S*\Z", "", kept)


def _tcp(text: str, took_ms: float | None) -> tuple[Json, str | None]:
    if text == "connected":
        return {"outcome": "connected", "took_ms": took_ms}, None
    if _REFUSED in text:
        return {"outcome": "refused", "took_ms": took_ms}, None
    if not text:
        return None, "timeout: no connection in time"
    return None, f"no connection: {text.splitlines()[0].rpartition(': ')[2][:80]}"
