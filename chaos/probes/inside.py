"""Asks DNS and HTTP inside the cluster: a pod of ours on the entry worker runs dig and curl and hands back the answer.

It is reached through a NodePort that its own node serves, so that neither the API server nor a stack's node
stands between the question and the answer.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import requests

from chaos.errors import ClusterError, WaitTimeout
from chaos.history import HistoryWriter, Json
from chaos.waiting import poll

NAME = "kindstorm-probe"
ASK_S = 3.0
CADENCE_S = 0.5
READY_S = 60
_STATUS = re.compile(r"status: (\w+)")


def manifest(image: str, node_port: int) -> list[dict[str, Any]]:
    """The probe's pod and its Service; it runs on the entry worker only."""
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
    """One answer: when it was asked for and had, in monotonic ns, and what it was."""

    send_ns: int
    receive_ns: int
    value: Json
    error: str | None = None


class Inside:
    """Questions asked inside the cluster, one at a time for each thread."""

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
        command = f"dig +noall +comments +answer +time=1 +tries=1 {shlex.quote(name)} A"
        return self._reading(command, _dns_value)

    def http(self, url: str) -> Reading:
        """Get a URL inside the cluster: value {status, body}; the body's first 256 characters."""
        command = f"curl --silent --max-time 2 --write-out '\\n%{{http_code}}' {shlex.quote(url)}"
        return self._reading(command, _http_value)

    def _reading(self, command: str, understand: Any) -> Reading:
        send_ns = time.monotonic_ns()
        try:
            value, error = understand(self._shell(command))
        except ClusterError as refused:
            value, error = None, str(refused)
        return Reading(send_ns, time.monotonic_ns(), value, error)

    def _shell(self, command: str) -> str:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False
        try:
            answer = self._local.session.get(f"{self._address}/shell", params={"cmd": command}, timeout=ASK_S)
            answer.raise_for_status()
            return str(answer.json().get("output", ""))
        except (requests.RequestException, ValueError) as error:
            raise ClusterError(f"the probe pod does not answer: {error}") from error


def _dns_value(output: str) -> tuple[Json, str | None]:
    status = _STATUS.search(output)
    if status is None:
        return None, "the cluster's DNS did not answer"
    words = [line.split() for line in output.splitlines() if line and not line.startswith(";")]
    answers = sorted(w[4] for w in words if len(w) >= 5 and w[3] == "A" and _is_address(w[4]))
    return {"answers": answers, "rcode": status[1]}, None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _http_value(output: str) -> tuple[Json, str | None]:
    body, _, status = output.rpartition("\n")
    if not status.isdigit() or status == "000":
        return None, "no HTTP answer"
    return {"status": int(status), "body": body[:256]}, None


class Cadence:
    """Asks a fixed set of questions over and over on a thread of its own, and records every reading."""

    def __init__(self, inside: Inside, writer: HistoryWriter, names: Iterable[str], urls: Iterable[str]) -> None:
        self._inside = inside
        self._writer = writer
        self._questions = [("dns", name) for name in names] + [("http", url) for url in urls]
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)

    def start(self) -> None:
        """Begin asking."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the round under way and end."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=len(self._questions) * ASK_S + 5)
            if self._thread.is_alive():
                raise WaitTimeout("the probes did not end their last round")
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            self._rounds()
        except BaseException as error:  # noqa: BLE001 - raised by stop()
            self._failed = error

    def _rounds(self) -> None:
        while not self._stop.is_set():
            begin = time.monotonic()
            for probe, target in self._questions:
                self.ask(probe, target)
            self._writer.clock()
            self._writer.flush()
            self._stop.wait(max(0.0, CADENCE_S - (time.monotonic() - begin)))

    def ask(self, probe: str, target: str) -> Reading:
        """Ask one question now and record the reading."""
        reading = self._inside.dns(target) if probe == "dns" else self._inside.http(target)
        self._writer.write(
            "probe",
            time_ns=reading.receive_ns,
            probe=probe,
            target=target,
            send_ns=reading.send_ns,
            receive_ns=reading.receive_ns,
            value=reading.value,
            error=reading.error,
        )
        return reading
