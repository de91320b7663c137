"""How long the cluster's DNS may go on giving an answer that is no longer right, by its configuration."""

from __future__ import annotations

import re

_ZONE = "cluster.local"
_DEFAULT_TTL_S = 5
_DEFAULT_SUCCESS_S = 3600
_DEFAULT_DENIAL_S = 1800


def cached_s(corefile: str) -> int:
    """The longest that an answer about the cluster's own names may come from CoreDNS's cache, in seconds.

    An answer is kept for its TTL, which is ``ttl`` of the plugin kubernetes (5 s unless it says otherwise), and no
    longer than ``cache`` allows: 3600 s, answers of no such name 1800 s, or the number behind ``cache``; not at all
    where ``disable`` names the zone (https://coredns.io/plugins/cache/, https://coredns.io/plugins/kubernetes/).
    """
    server = _server_of_zone(corefile)
    if server is None:
        return 0
    kubernetes = _plugin(server, "kubernetes")
    ttl = re.search(r"^\s*ttl\s+(\d+)", kubernetes or "", re.MULTILINE)
    ttl_s = int(ttl[1]) if ttl else _DEFAULT_TTL_S
    cache = _plugin(server, "cache")
    if cache is None:
        return 0
    head, *rest = cache.splitlines()
    number = re.search(r"^\s*cache\s+(\d+)", head)
    limits = {"success": _DEFAULT_SUCCESS_S, "denial": _DEFAULT_DENIAL_S}
    if number:
        limits = dict.fromkeys(limits, int(number[1]))
    zones = [word for word in head.split("{")[0].split()[1:] if not word.isdigit()]
    if zones and not any(_covers(zone) for zone in zones):
        return 0
    for line in rest:
        words = line.split()
        if words[:1] == ["disable"] and words[1:2] and words[1] in limits:
            if not words[2:] or any(_covers(zone) for zone in words[2:]):
                limits[words[1]] = 0
        elif words[:1] and words[0] in limits and len(words) > 2:
            limits[words[0]] = int(words[2])
    return max(min(limit, ttl_s) for limit in limits.values())


def _covers(zone: str) -> bool:
    name = zone.strip(".")
    return not name or name == _ZONE or _ZONE.endswith(f".{name}")


def _server_of_zone(corefile: str) -> str | None:
    """The server block that answers for the cluster's zone: the one that has the plugin kubernetes."""
    return next((block for block in _blocks(corefile) if re.search(r"^\s*kubernetes\b", block, re.MULTILINE)), None)


def _blocks(corefile: str) -> list[str]:
    """The top-level blocks in braces, braces matched."""
    blocks, depth, start = [], 0, 0
    for place, sign in enumerate(corefile):
        if sign == "{":
            depth += 1
            start = place + 1 if depth == 1 else start
        elif sign == "}":
            depth -= 1
            if depth == 0:
                blocks.append(corefile[start:place])
    return blocks


def _plugin(server: str, name: str) -> str | None:
    """A plugin's line, with the block behind it where it has one."""
    found = re.search(rf"^[ \t]*{name}\b[^\n{{]*(\{{[^}}]*\}})?", server, re.MULTILINE)
    return found[0] if found else None
