"""What is asked of a stack all along: every stable name and every service, by DNS, HTTP and TCP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from chaos.probes.cadence import Lane
from chaos.probes.inside import Inside

DNS_PERIOD_S = 0.25
HTTP_PERIOD_S = 1.0
TCP_PERIOD_S = 0.5
"""Chosen by what asking costs. A StatefulSet of 5 with two Services is 7 names, 5 URLs and 7 ports. On 2 cores that ran
ten other things, the probe's pod took 0.32 of a core for them with HTTP every 0.5 s as well, and was never behind; a
request for each question, one after the other every 0.5 s as it was before, asked less and took more."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Questions:
    """The targets of each probe: names, URLs, and host:port."""

    names: tuple[str, ...]
    urls: tuple[str, ...]
    ports: tuple[str, ...]

    def lanes(self, inside: Inside) -> list[Lane]:
        """The lanes that ask them; of what there is nothing to ask, none."""
        lanes = (
            ("dns", DNS_PERIOD_S, self.names),
            ("http", HTTP_PERIOD_S, self.urls),
            ("tcp", TCP_PERIOD_S, self.ports),
        )
        return [
            Lane(probe, period_s, partial(inside.ask, probe, targets)) for probe, period_s, targets in lanes if targets
        ]


def of_stack(documents: Sequence[Document], identities: dict[str, str], namespace: str) -> Questions:
    """What to ask of these documents; ``identities`` gives each stable name the headless Service it lies in.

    A Service of type ExternalName is a name of somewhere else, and what it stands for is not asked. A headless
    Service remaps no port: its pods are asked on the port they listen on.
    """
    services = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Service" and not _is_external(d)}
    hosts = {name: f"{name}.{namespace}.svc.cluster.local" for name in services}
    stable = {f"{pod}.{service}.{namespace}.svc.cluster.local": service for pod, service in identities.items()}
    ports = [
        f"{host}:{port}"
        for host, service in [*stable.items(), *((host, name) for name, host in hosts.items())]
        for port in _tcp_ports(services.get(service), documents)
    ]
    urls = tuple(f"http://{name}/identity" for name in stable)
    return Questions(_once([*stable, *hosts.values()]), urls, _once(ports))


def _once(targets: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(targets))


def _is_external(service: Document) -> bool:
    return bool((service.get("spec") or {}).get("type") == "ExternalName")


def _tcp_ports(service: Document | None, documents: Sequence[Document]) -> Iterator[int]:
    """The ports a client of the Service connects to; of one that is not there, none are known."""
    spec = {} if service is None else service.get("spec") or {}
    for port in spec.get("ports") or []:
        if port.get("protocol", "TCP") != "TCP":
            continue
        if spec.get("clusterIP") != "None":
            yield int(port["port"])
            continue
        target = port.get("targetPort", port["port"])
        yield from [target] if isinstance(target, int) else _named(str(target), documents)


def _named(name: str, documents: Sequence[Document]) -> list[int]:
    """The port of this name in the pods' containers; the first where several have one."""
    for document in documents:
        spec = document.get("spec") or {}
        pod = spec if document["kind"] == "Pod" else (spec.get("template") or {}).get("spec") or {}
        for container in pod.get("containers") or []:
            for port in container.get("ports") or []:
                if port.get("name") == name:
                    return [int(port["containerPort"])]
    return []
