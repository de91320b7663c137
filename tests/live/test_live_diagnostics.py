"""After a failure on a real cluster everything is there that a person asks for next, and no secret is in any of it."""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from chaos.cluster import Cluster
from chaos.stack import Stack
from kindstorm.checkers import availability
from kindstorm.faults import kill_pod
from kindstorm.plugin import SESSION
from kindstorm.profiles import HTTP_READS
from kindstorm.scenario import Asked
from kindstorm.session import Session
from kindstorm.steady import WORKLOADS_READY
from kindstorm.targets import one

pytestmark = pytest.mark.live

IMAGE = "nginx:1.22.1"
TELL = """
echo said-$HOSTNAME before
printf '%s\\n' "$SECRET" "$AS_JSON" "$LINES" "greeting: $GREETING" "$(printf %s "$SECRET" | base64 -w0)"
printf 'u:%s' "$SECRET" | base64 -w0
cat /var/run/secrets/kubernetes.io/serviceaccount/token; echo
echo said-$HOSTNAME after
"""
SERVE = """printf '%s\\n' "$SECRET" > /usr/share/nginx/html/index.html; exec nginx -g 'daemon off;'"""
CRASH = """printf '%s' "$SECRET" > /dev/termination-log; sleep 2; exit 3"""


def planted() -> dict[str, str]:
    """Values that nobody can know beforehand, one with all that is escaped somewhere."""
    return {
        "secret": f"{secrets.token_hex(6)}/+&<\"'%ü {secrets.token_hex(4)}",
        "lines": f"first-{secrets.token_hex(8)}\nsecond-{secrets.token_hex(8)}",
        "password": f"pw-{secrets.token_hex(8)}",
    }


def container(script: str, name: str, values: dict[str, str]) -> dict[str, Any]:
    """It has the secret from a Secret, and the same as literals."""
    keys = {"SECRET": "secret", "LINES": "lines", "AS_JSON": "json"}
    environment: list[dict[str, Any]] = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": "planted", "key": key}}}
        for variable, key in keys.items()
    ]
    environment += [{"name": "GREETING", "value": values["password"]}, {"name": "PLAIN", "value": values["secret"]}]
    probe = {"exec": {"command": ["sh", "-c", 'echo "$SECRET"; exit 1']}, "periodSeconds": 1}
    spec = {"name": name, "image": IMAGE, "command": ["sh", "-c", TELL + script], "env": environment}
    return spec | ({"readinessProbe": probe} if name == "crasher" else {})


def secretive(values: dict[str, str]) -> Stack:
    """It serves its secret, prints it in many ways, and crashes with it on its lips."""
    data = {"secret": values["secret"], "lines": values["lines"], "json": json.dumps({"said": values["secret"]})}
    labels = {"app": "teller"}
    teller = {"containers": [container(SERVE, "teller", values)]}
    crasher = {"restartPolicy": "OnFailure", "containers": [container(CRASH, "crasher", values)]}
    port = {"port": 80, "nodePort": 30080}
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "planted"}, "stringData": data},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "copies"},
            "data": {"url": f"http://u:{urllib.parse.quote(values['secret'])}@teller/", "lines": values["lines"]},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "crasher"},
            "spec": {"backoffLimit": 6, "template": {"spec": crasher}},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "teller"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": teller},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "teller"},
            "spec": {"type": "NodePort", "selector": labels, "ports": [port]},
        },
    ]
    return Stack("secretive", tuple(documents), 30080)


def forms(value: str) -> Iterator[str]:
    """The ways in which it was planted, and those in which the reports would write it."""
    for text in (value, *value.splitlines()):
        coded = base64.b64encode(text.encode()).decode()
        yield from (text, coded[: len(text.encode()) * 8 // 6], text.encode().hex(), html.escape(text))
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], urllib.parse.quote(text))
        yield from (json.dumps(json.dumps(text))[3:-3], urllib.parse.quote(text, safe=""))
        yield base64.b64encode(b"u:" + text.encode()).decode()[4:-4]


@dataclass
class Failed:
    """A run that failed, and what was said of it."""

    directory: Path
    values: dict[str, str]
    sentence: str
    killed: dict[str, Any]

    @property
    def experiment(self) -> Path:
        """Its directory."""
        return self.directory / "test_secretive"


@pytest.fixture(scope="module")
def failed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Failed:
    """An experiment whose promise is broken, judged and reported by a session of its own on the same cluster."""
    outer = request.config.stash[SESSION]
    inner = Session(replace(outer.options, runs=tmp_path_factory.mktemp("runs")))
    inner._cluster, inner.states = outer.sound_cluster(), outer.states
    values = planted()
    workload = HTTP_READS.with_(expect_status=418, password=values["password"])
    wanted = Asked(secretive(values), workload, [kill_pod(one("teller"))], (WORKLOADS_READY,))
    run = inner.experiment("a.py::test_secretive", "It leaks.", wanted)
    with pytest.raises(AssertionError) as judged:
        run.judge(availability(error_ratio_max=0.1, gap_s_max=2.0))
    inner.tests.append(("a.py::test_secretive", "failed", 1.0, f"AssertionError: {values['secret']}\n{judged.value}"))
    inner._write_reports()
    return Failed(inner.directory, values, str(judged.value), run.history.faults()[0].target)


def test_no_secret_is_in_any_file(failed: Failed) -> None:
    """In no form of any planted value, nor a token of the cluster; and it was there to be found."""
    files = [path for path in failed.directory.rglob("*") if path.is_file()]
    assert len(files) > 20
    texts = {path: path.read_text("utf-8", "replace") for path in files}
    leaks = {
        f"{path.relative_to(failed.directory)}: {form}"
        for path, text in texts.items()
        for value in failed.values.values()
        for form in forms(value)
        if form in text
    }
    assert leaks == set()
    tokens = [path for path, text in texts.items() if re.search(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}", text)]
    assert tokens == []
    marked = {path.name for path, text in texts.items() if re.search(r"\(redacted-[0-9a-f]{6}\)", text)}
    expected = {"history.jsonl", "objects.yaml", "describe.txt", "events.txt", "junit.xml"}
    assert expected <= marked, "a test that finds nothing where nothing was is none"


def test_logs_of_the_deleted_pod_and_of_each_crash_are_kept(failed: Failed) -> None:
    """To their last words, each in a file of its own."""
    logs = failed.experiment / "logs"
    killed = logs / f"{failed.killed['name']}.{failed.killed['uid'][:8]}.teller.0.log"
    text = killed.read_text()
    assert f"said-{failed.killed['name']} before" in text
    assert f"said-{failed.killed['name']} after" in text
    assert text.count(" before") == 1, "no line twice"
    crashes = sorted(path.name.split(".")[-2] for path in logs.glob("crasher-*.crasher.*.log"))
    assert crashes[:2] == ["0", "1"]
    for path in logs.glob("crasher-*.crasher.[01].log"):
        assert path.read_text().count(" after") == 1
    assert len(list(logs.glob("teller-*.teller.0.log"))) == 2


def test_the_namespace_as_it_stood(failed: Failed) -> None:
    """Described, as YAML and with its events in order, before it was removed."""
    described = (failed.experiment / "describe.txt").read_text()
    assert re.search(r"Name: +crasher-", described)
    assert re.search(r"Exit Code: +3", described)
    assert re.search(r"Roles: +control-plane", described)
    objects = (failed.experiment / "objects.yaml").read_text()
    assert "kind: Secret" in objects
    assert "characters of base64)" in objects
    events = (failed.experiment / "events.txt").read_text().splitlines()
    assert [line.split()[0] for line in events] == sorted(line.split()[0] for line in events)
    assert any("Pod/crasher-" in line for line in events)


def test_what_the_nodes_know(failed: Failed) -> None:
    """Each node's journal, with the killed pod's name, and container; the failure's text leads there."""
    index = failed.experiment / "diagnostics" / "index.txt"
    assert f"diagnostics: {index}" in failed.sentence
    told = index.read_text()
    assert "not to be had" not in told
    nodes = list((index.parent / "nodes").iterdir())
    assert len(nodes) == 5
    assert all(json.loads((node / "inspect.json").read_text())[0]["Name"] == f"/{node.name}" for node in nodes)
    assert [n for n in nodes if failed.killed["name"] in (n / "journal.txt").read_text()]
    assert list((index.parent / "kind").rglob("serial.log"))
    assert "phase" in (index.parent / "harness.txt").read_text()
    report = (failed.directory / "report.html").read_text()
    assert 'href="test_secretive/diagnostics/index.txt"' in report


def test_every_kind_in_a_namespace_is_read(cluster: Cluster) -> None:
    """Also those that no stack of ours has."""
    names = {document["kind"] for document in cluster.kube.documents("kube-system")}
    assert {"Pod", "ConfigMap", "Deployment", "Lease"} <= names
