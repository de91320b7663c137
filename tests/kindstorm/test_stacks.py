"""The stacks by name are the documented ones; any other manifest goes by its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.errors import StackError
from chaos.stack import STACKS
from images import catalogue as catalogues
from kindstorm.stacks import Stacks


def test_nginx_is_the_documented_deployment() -> None:
    """S2: two replicas, a Service from 80 to 8080, and a way in that is mapped."""
    stack = Stacks().nginx()
    assert stack.workloads() == [{"kind": "Deployment", "name": "nginx-deployment", "replicas": 2}]
    assert stack.node_port == 30080
    service = next(d for d in stack.documents if d["metadata"]["name"] == "nginx-service")
    assert service["spec"]["ports"] == [{"port": 80, "targetPort": 8080}]


def test_web_promises_identities() -> None:
    """Three names, each under the headless Service, each with a volume."""
    stack = Stacks().web()
    assert stack.identities() == {"web-0": "web", "web-1": "web", "web-2": "web"}
    (claims,) = [d["spec"]["volumeClaimTemplates"] for d in stack.documents if d["kind"] == "StatefulSet"]
    assert [claim["metadata"]["name"] for claim in claims] == ["data"]


@pytest.mark.parametrize("name", ["web", "mongo"])
def test_stacks_with_volumes_are_stored_where_they_are_told(name: str) -> None:
    """On local storage unless the scenario says otherwise."""
    make = getattr(Stacks(), name)
    assert [make(*given).storage() for given in ((), ("local",), ("shared",))] == [["local"], ["local"], ["shared"]]
    with pytest.raises(StackError, match="no storage 'remote'"):
        make("remote")


def test_every_shipped_stack_runs_what_the_catalogue_has() -> None:
    """Nodes never pull: an image that the catalogue cannot give would be waited for in vain."""
    catalogue = catalogues.load()
    for path in STACKS.glob("*.yaml"):
        for image in Stacks().load(path).images():
            assert catalogue.image(image).workload, f"{path}: {image}"


def test_any_manifest_by_its_path(tmp_path: Path) -> None:
    """As text or as a path; a missing one is one sentence."""
    path = tmp_path / "mine.yaml"
    path.write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")
    assert Stacks().load(str(path)).name == Stacks().load(path).name == "mine"
    with pytest.raises(StackError, match="cannot be read"):
        Stacks().load(tmp_path / "missing.yaml")
