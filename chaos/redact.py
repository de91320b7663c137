"""Takes secrets out of what is written into a run's directory.

Two things are taken out, and a marker such as ``(redacted-3fa9c1)`` is put in their place. The same secret has the same
marker within a session, two different ones have different markers, and none can be computed back: the marker is keyed
with a random number of the session.

* *Values that were told of* (``learn``): the data of Secrets, literals of environment variables with a telling name,
  the workload's password, the keys of the cluster's kubeconfig. Also their single lines, the strings of a JSON value
  and what stands behind ``name=`` or ``name:`` in them (of a long value the first hundred); and each of these in base64
  (at any offset; wrapped where it begins a line), hex, URL, JSON (twice over), HTML, YAML, shell and Python escapes.
* *What has the shape of a credential*: private keys, JSON web tokens, bearer and authorization headers, passwords in
  URLs, kubeadm's tokens.

A value that is short, of fewer than four different characters, an everyday word (``password``) or part of a name that
is public would shred every text. It is *weak*: it is taken out only behind a telling name (``password=a``), in base64
and in URLs. What this cannot catch: a weak value elsewhere; a value that is hashed, encrypted, compressed, reversed,
in another case, or broken over lines by something else than base64; numbers in JSON of ours; the first lines about a
secret that nobody had told of yet are put right only at the end of the experiment.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

from chaos.secret_values import MIN_CHARS, TELLING, decoded, forms, in_bytes, parts, weak_forms

MIN_DIFFERENT = 4
HOLD_CHARS = 1 << 14
"""How much a stream keeps back: a credential that nobody told of is found where it is no longer than this."""

MARKER = re.compile(r"\(redacted-[0-9a-f]{6}\)")
_MEMO = 4096

EVERYDAY = frozenset(
    (
        "administrator", "changeme", "completed", "container", "database", "default", "deployment", "development",
        "disabled", "enabled", "experiment", "injected", "insecure", "kindstorm", "kubernetes", "localhost",
        "namespace", "no_effect", "password", "production", "read_all", "redacted", "replicaset", "running", "secret",
        "service", "statefulset", "succeeded", "terminated", "undefined", "username", "waiting",
    )
)  # fmt: skip
"""Placeholders, and words of Kubernetes and of a history."""

FIELDS = frozenset(
    (
        "completions", "conditions", "created_at", "current_revision", "disruption_budgets", "escaped_packets",
        "exit_code", "failures", "generation", "identities", "init_containers", "initial_delay_s", "intended_ns",
        "max_surge", "max_unavailable", "min_available", "min_ready_s", "namespaces", "node_port",
        "observed_generation", "partition", "pod_index", "pod_management_policy", "readiness", "ready_replicas",
        "receive_ns", "renewed_at", "restarts", "resumed", "revision", "scenario", "selector", "service_name",
        "services", "settings", "stand_ins", "started_at", "storage_class", "strategy", "successes", "system_pods",
        "terminating", "timings_s", "tolerations_s", "transitions", "unreachable", "unschedulable", "update_revision",
        "update_strategy", "updated_replicas", "workloads",
    )
)  # fmt: skip
"""Names of fields in a history (chaos.history), without which it could not be judged again."""


_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN[A-Z0-9 ]{0,40} PRIVATE KEY-----(?:(?!-----END)[\s\S]){0,8192}(?:-----END[A-Z0-9 ]{0,40}-----)?",
        r"eyJ[\w-]{6,}\.eyJ[\w-]{6,}(?:\.[\w-]+)?",
        r"(?:[Bb]earer|BEARER)\s+([\w.~+/=-]{16,})",
        r"(?:[Aa]uthorization|AUTHORIZATION)[\"']?\s*[:=]\s*\[?[\"']?(?:\w+\s+)?([^\s\"']{8,})",
        r"://[^\s:/@\"']*:([^\s/@\"']+)@",
        r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b",
        r"client-key-data[\"']?:\s*[\"']?([A-Za-z0-9+/=]+)",
        r"--(?:token|certificate-key)[ =]+(\S+)",
    )
)

Span = tuple[int, int, str]


class Redactor:
    """What is known to be secret, and how it is taken out. Safe to use from several threads."""

    def __init__(self, salt: bytes | None = None) -> None:
        self._salt = salt if salt is not None else secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._values: set[bytes] = set()
        self._public: set[str] = set(FIELDS)
        self._needles: tuple[tuple[str, str], ...] = ()
        self._weak: re.Pattern[str] | None = None
        self._memo: dict[str, str] = {}
        self.longest = 0
        """Characters of the longest form of any value."""

    @property
    def known(self) -> int:
        """How many values were told of; it only grows."""
        return len(self._values)

    def learn(self, values: Iterable[str | bytes]) -> None:
        """Take these values out from now on."""
        with self._lock:
            new = {v.encode() if isinstance(v, str) else v for v in values} - self._values - {b""}
            if new:
                self._values |= new
                self._prepare()

    def spare(self, names: Iterable[str]) -> None:
        """These names are public: a value that is part of one is weak."""
        with self._lock:
            if not self._public.issuperset(names := set(names)):
                self._public |= names
                self._prepare()

    def _prepare(self) -> None:
        needles: dict[str, str] = {}
        weak = set()
        for value in self._values:
            text = decoded(value)
            if text is not None and self._is_weak(text.strip()):
                weak.add(text.strip())
                needles |= {form: self._label(text) for each in (text, text.strip()) for form in weak_forms(each)}
            elif text is None and len(value) >= MIN_CHARS:
                needles |= {form: self._label(form) for form in in_bytes(value)}
            for part in parts(text) if text is not None else ():
                if not self._is_weak(part):
                    needles |= {form: self._label(part) for form in forms(part)}
        self.longest = max(map(len, needles), default=0)
        self._needles = tuple(needles.items())
        self._memo = {}
        choice = "|".join(map(re.escape, sorted(weak - {""}, key=len, reverse=True)))
        self._weak = re.compile(rf"(?i:{TELLING})\\?[\"']?\s*[:=]\s*\\?[\"']?({choice})(?!\w)") if choice else None

    def _is_weak(self, text: str) -> bool:
        if len(text) < MIN_CHARS or len(set(text)) < MIN_DIFFERENT or text.lower() in EVERYDAY:
            return True
        return text in "(redacted-" or any(text in name for name in self._public)

    def _label(self, text: str) -> str:
        return hashlib.blake2s(text.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=3).hexdigest()

    def text(self, text: str) -> str:
        """The text without its secrets; doing it again changes nothing."""
        known = self._memo.get(text)
        if known is not None:
            return known
        result = text
        while (cleaner := self._once(result)) != result:
            result = cleaner
        if len(text) < 256:
            if len(self._memo) >= _MEMO:
                self._memo = {}
            self._memo[text] = result
        return result

    def value(self, value: Any) -> Any:
        """A JSON value with every string in it, keys too, without its secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

    def stream(self) -> Stream:
        """For text that comes in pieces, wherever they are cut."""
        return Stream(self)

    def _once(self, text: str) -> str:
        out, end = [], 0
        for begin, stop, label in self.spans(text):
            out += [text[end:begin], f"(redacted-{label})"]
            end = stop
        return "".join([*out, text[end:]]) if out else text

    def spans(self, text: str) -> list[Span]:
        """What is to be replaced, in order, no two of them touching the same character."""
        found = sorted((*span, label) for _, span, label in self._found(text))
        if not found:
            return []
        marks = [(*m.span(), m[0][-7:-1]) for m in MARKER.finditer(text)]
        begins = [mark[0] for mark in marks]
        merged: list[tuple[int, int, set[str]]] = []
        for begin, stop, label in found:
            labels = {label}
            first = max(0, bisect_right(begins, begin) - 1)
            touched = [mark for mark in marks[first : bisect_right(begins, stop)] if mark[0] < stop and begin < mark[1]]
            if any(mark[0] <= begin and stop <= mark[1] for mark in touched):
                continue  # within a marker: it was taken out before
            for mark in touched:
                begin, stop, labels = min(begin, mark[0]), max(stop, mark[1]), labels | {mark[2]}
            if merged and begin < merged[-1][1]:
                last = merged.pop()
                begin, stop, labels = min(begin, last[0]), max(stop, last[1]), labels | last[2]
            merged.append((begin, stop, labels))
        return [(b, s, next(iter(ls)) if len(ls) == 1 else self._label("".join(sorted(ls)))) for b, s, ls in merged]

    def border(self, text: str, most: int) -> int:
        """The last place up to ``most`` to cut a text at: within no secret, nor between it and what tells of it."""
        found = [whole for whole, _, _ in self._found(text)]
        while across := [begin for begin, stop in found if begin < most < stop]:
            most = min(across)
        return most

    def _found(self, text: str) -> Iterator[tuple[tuple[int, int], tuple[int, int], str]]:
        """Where what shows a secret begins and ends, where the secret itself does, and its label."""
        for needle, label in self._needles:
            at = text.find(needle)
            while at >= 0:
                yield (at, at + len(needle)), (at, at + len(needle)), label
                at = text.find(needle, at + 1)
        for pattern in (*_PATTERNS, *([self._weak] if self._weak else [])):
            for match in pattern.finditer(text):
                begin, stop = match.span(pattern.groups)
                yield match.span(), (begin, stop), self._label(text[begin:stop])


class Stream:
    """Text in pieces; what might be the beginning of a secret is kept back until more has come."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, text: str) -> str:
        """Take a piece and return what is certain by now."""
        self._held += text
        keep = max(self._redactor.longest, HOLD_CHARS)
        if len(self._held) < 2 * keep:
            return ""
        cut = self._redactor.border(self._held, len(self._held) - keep)
        certain, self._held = self._held[:cut], self._held[cut:]
        return self._redactor.text(certain)

    def end(self) -> str:
        """What was kept back."""
        rest, self._held = self._held, ""
        return self._redactor.text(rest)
