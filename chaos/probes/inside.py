"""Asks DNS, HTTP and TCP inside the cluster: a pod of ours on the entry worker asks and hands back the answers.

It is reached through a NodePort that its own node serves, so that neither the API server nor a stack's node
stands between the question and the answer. One request carries many questions, which the pod asks side by side: a
question by itself costs more in processes and requests than in what it asks.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests

from chaos.errors import ClusterError
from chaos.history import Json
from chaos.probes import answers
from chaos.waiting import poll

NAME = "kindstorm-probe"
DNS_S = 1
HTTP_S = 2
TCP_S = 1
NAMES_EACH = 4
"""How many names one dig asks for, one after the other: it costs as much as all of them; unanswered, they add up."""
ASK_S = NAMES_EACH * DNS_S + 2.0
READY_S = 60
NOT_ASKED = "the probe pod does not answer"
_CLOCKS_APART_NS = 2_000_000


def manifest(image: str, node_port: int) -> list[dict[str, Any]]:
    """The probe's pod and its Service; it runs on the entry worker only. Names are asked for as they are written."""
    labels = {"kindstorm.dev/probe": "true"}
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["netexec", "--http-port=8080"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
    }
    spec = {
        "nodeSelector": {"kindstorm.dev/entry": "true"},
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 0,
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        "containers": [container],
    }
    port = {"port": 80, "targetPort": 8080, "nodePort": node_port}
    service = {"type": "NodePort", "selector": labels, "ports": [port], "externalTrafficPolicy": "Local"}
    metadata = {"name": NAME, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]


@dataclass(frozen=True)
class Reading:
    """One answer: when it was asked for and had, in monotonic ns, and what it was.

    ``asked`` is False where the question never got to what it was about, or nobody can tell: the probe's own silence.
    """

    send_ns: int
    receive_ns: int
    value: Json
    error: str | None = None
    asked: bool = True


class Inside:
    """Questions asked inside the cluster, one request at a time for each thread."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._local = threading.local()

    def ready(self) -> None:
        """Wait until the probe answers."""
        poll(
            lambda: self._shell("echo ready"),
            lambda out: "ready" in out,
            timeout_s=READY_S,
            what="the probe pod answers",
        )

    def dns(self, name: str) -> Reading:
        """Ask the cluster's DNS for a name's addresses: value {answers: [ip, ...], rcode}."""
        return self.ask("dns", [name])[name]

    def http(self, url: str) -> Reading:
        """Get a URL inside the cluster: value {status, body}; the body's first 256 characters."""
        return self.ask("http", [url])[url]

    def tcp(self, target: str) -> Reading:
        """Connect to host:port inside the cluster: value {outcome: connected | refused, took_ms}."""
        return self.ask("tcp", [target])[target]

    def ask(self, probe: str, targets: Sequence[str]) -> dict[str, Reading]:
        """Ask the same of each target, all side by side; returns each one's reading."""
        each = NAMES_EACH if probe == "dns" else 1
        groups = [list(targets[n : n + each]) for n in range(0, len(targets), each)]
        clock = Clock()
        try:
            output = self._shell(_script(probe, groups))
        except ClusterError as refused:
            now = time.monotonic_ns()
            return {target: Reading(clock.send_ns, now, None, str(refused), asked=False) for target in targets}
        clock.received()
        told = answers.split(output)
        readings = {}
        for number, group in enumerate(groups):
            begin_us, end_us, text = told.get(number, (None, None, ""))
            send_ns, receive_ns = clock.place(begin_us, end_us)
            for target in group:
                value, error = answers.understand(probe, target, text, begin_us, end_us)
                readings[target] = Reading(send_ns, receive_ns, value, error, asked=bool(told))
        return readings

    def _shell(self, command: str) -> str:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False
        try:
            answer = self._local.session.get(f"{self._address}/shell", params={"cmd": command}, timeout=ASK_S)
            if answer.status_code != requests.codes.ok:
                raise ClusterError(f"{NOT_ASKED}: status {answer.status_code}")
            return str(answer.json().get("output", ""))
        except (requests.RequestException, ValueError, AttributeError) as error:
            raise ClusterError(f"{NOT_ASKED}: {_root(error)}") from error


def _root(error: BaseException) -> str:
    """The innermost cause: what requests says itself repeats the whole script, for each target of each round."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"


_QUESTIONS = {
    "dns": f"dig +noall +comments +question +answer +time={DNS_S} +tries=1 $*",
    "http": f"curl --silent --max-time {HTTP_S} --write-out '\\n%{{http_code}}' -- \"$1\"",
    "tcp": "{ exec 3<>/dev/tcp/${1%:*}/${1##*:}; } && echo connected",
}
_BOUND_S = {"dns": NAMES_EACH * DNS_S + 1, "http": HTTP_S + 1, "tcp": TCP_S}

# Each question in a process of its own; each answer is one line, written at once: number, when the question began and
# ended by the wall clock, and the begin and end of what was said, its line ends as \n. What has no answer in time is
# killed, with all that it started (set -m: each has a process group of its own), and says nothing.
_ASK = r"""
set -m
LC_ALL=C
ask() {{
  n=$1; shift; b=$EPOCHREALTIME
  said=$( {{ {question}; }} 2>&1 )
  e=$EPOCHREALTIME; said=${{said//\\/\\\\}}; said=${{said//$'\n'/\\n}}
  [ ${{#said}} -gt 3500 ] && said=${{said:0:3000}}${{said: -400}}
  printf '%s %s %s %s\n' "$n" "$b" "$e" "$said"
}}
{calls}
{{ sleep {bound_s}; kill -9 -- ${{pids// / -}}; }} >/dev/null 2>&1 &
killer=$!
wait $pids 2>/dev/null
kill -- -$killer 2>/dev/null
echo asked
"""


def _script(probe: str, groups: Sequence[Sequence[str]]) -> str:
    """The command that asks for all groups of targets side by side and prints what :func:`answers.split` reads."""
    calls = []
    for number, group in enumerate(groups):
        words = " ".join(shlex.quote(f"{target} A" if probe == "dns" else target) for target in group)
        calls.append(f'ask {number} {words} & pids="$pids $!"')
    script = _ASK.format(question=_QUESTIONS[probe], calls="\n".join(calls), bound_s=_BOUND_S[probe])
    return f"exec bash -c {shlex.quote(script)}"


class Clock:
    """Places what the pod's wall clock said on this process's monotonic clock: on one machine both are the same two.

    Between two times at which both clocks are read here their difference has stayed within what was read; where they
    were set apart meanwhile, or the pod's is another clock, the request's own times are all that is known.
    """

    def __init__(self) -> None:
        self.send_ns, self._least, self._most = self._read()
        self.receive_ns = self.send_ns

    def received(self) -> None:
        """The answer is here."""
        self.receive_ns, least, most = self._read()
        self._least, self._most = min(self._least, least), max(self._most, most)

    def place(self, begin_us: int | None, end_us: int | None) -> tuple[int, int]:
        """(send, receive) in monotonic ns of what the pod did between two times of its wall clock, in us."""
        whole = (self.send_ns, self.receive_ns)
        if begin_us is None or end_us is None or self._most - self._least > _CLOCKS_APART_NS:
            return whole
        begin, end = begin_us * 1000 - self._most, (end_us + 1) * 1000 - self._least
        inside = whole[0] - _CLOCKS_APART_NS <= begin <= end <= whole[1] + _CLOCKS_APART_NS
        return (max(whole[0], begin), min(whole[1], end)) if inside else whole

    @staticmethod
    def _read() -> tuple[int, int, int]:
        """This moment, and between which two figures the wall clock minus the monotonic one lies, in ns."""
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        return before, wall - after, wall - before
