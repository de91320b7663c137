"""What is wrong with a manifest is told with its file and line, before and after the API server was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos import manifest as manifests
from chaos.errors import StackError
from chaos.stack import STACKS, Stack

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
HEAD = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n"


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("a:\n  - [", 2, "this is not YAML: expected the node content"),
        ("a: b: c", 1, "this is not YAML: mapping values are not allowed here"),
        ("a: b\n\tc: d", 2, "this is not YAML: found character"),
        ("a: b\nc: \x01", 2, "this is not YAML: the character #x0001"),
        ("a: b\nc: *nobody", 2, "this is not YAML: found undefined alias"),
        ("a: b\nc: !!int x", 2, "this is not YAML: 'x' is no value of its type"),
        ("a: b\nc: 2024-13-45", 2, "this is not YAML: '2024-13-45' is no value of its type"),
        ("a: b\nc: !python/object:os.system x", 2, "this is not YAML: could not determine a constructor"),
        ("a: b\n? [x]\n: c", 2, "this is not YAML: found unhashable key"),
        ("a: &x\n  b: *x", 1, "this is not YAML: an alias leads into itself"),
        ("a: b\nc: d\na: e", 3, "this is not YAML: the key a stands here a second time"),
        ("spec:\n  a: 1\n  a: 2", 3, "this is not YAML: the key a stands here a second time"),
        (f"{GOOD}---\napiVersion: v1\nmetadata: {{name: a}}", 5, "this document lacks kind"),
        ("kind: Pod\nmetadata: {name: a}", 1, "this document lacks apiVersion"),
        ("\n\napiVersion: v1\nkind: Pod", 3, "this document lacks metadata.name"),
        ("apiVersion: v1\nkind: Pod\nmetadata: name", 3, "metadata must be a mapping, not 'name'"),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n  name: 3", 4, "metadata.name must be text, not 3"),
        ("apiVersion: v1\nkind:\nmetadata:\n  name: a", 2, "kind is empty"),
        ("just words", 1, "this document is no mapping; it needs apiVersion, kind and metadata.name"),
        ("- a list", 1, "this document is no mapping"),
        (f"---\n---\n{GOOD}---\nkind: Pod", 7, "this document lacks apiVersion, metadata.name"),
        (f"{HEAD}spec: [a]", 5, "spec must be a mapping, not ['a']"),
        (f"{HEAD}spec:\n  template: a", 6, "spec.template must be a mapping, not 'a'"),
        (f"{HEAD}spec:\n  replicas: '2'", 6, "spec.replicas must be a whole number, not '2'"),
        (f"{HEAD}spec:\n  replicas: yes", 6, "spec.replicas must be a whole number, not True"),
        (f"{HEAD}spec:\n  replicas: -1", 6, "spec.replicas is -1; it cannot be below 0"),
        (f"{POD}  containers: {{name: a}}", 5, "spec.containers must be a list, not {'name': 'a'}"),
        (f"{POD}  containers:\n  - a", 6, "spec.containers[0] must be a mapping, not 'a'"),
        (f"{POD}  containers:\n  -", 6, "spec.containers[0] must be a mapping, not None"),
        (f"{POD}  containers:\n  - image: a\n  - name: c", 7, "the container c lacks its image"),
        (f"{POD}  initContainers:\n  - image: 3", 6, "spec.initContainers[0].image must be text, not 3"),
        (f"{SERVICE}  - 80", 6, "spec.ports[0] must be a mapping, not 80"),
        (f"{SERVICE}  - port: 80\n    nodePort: http", 7, "spec.ports[0].nodePort must be a whole number, not 'http'"),
    ],
)
def test_a_wrong_manifest_is_one_sentence(tmp_path: Path, text: str, line: int, complaint: str) -> None:
    """The file, the line and what is wrong there; never a traceback of the reader's."""
    path = tmp_path / "stack.yaml"
    path.write_text(text)
    with pytest.raises(StackError) as refused:
        manifests.read(path)
    said = str(refused.value)
    assert said.startswith(f"{path}, line {line}: {complaint}")
    assert "\n" not in said


@pytest.mark.parametrize("text", ["", "# nothing\n---\n"])
def test_an_empty_manifest_is_one_sentence(tmp_path: Path, text: str) -> None:
    """There is no line to name, but the file."""
    path = tmp_path / "stack.yaml"
    path.write_text(text)
    with pytest.raises(StackError, match=r"stack\.yaml holds no document$"):
        manifests.read(path)


def test_an_unreadable_manifest_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, a directory and what is no text are named; a relative path with where it was looked for."""
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\xd8")
    for path in (tmp_path / "missing.yaml", tmp_path, binary):
        with pytest.raises(StackError, match="cannot be read: ") as refused:
            manifests.read(path)
        assert str(path) in str(refused.value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StackError, match=f"the manifest {tmp_path}/team/shop.yaml cannot be read: No such file"):
        Stack.load(Path("team/shop.yaml"))


def test_nesting_without_end_is_one_sentence(tmp_path: Path) -> None:
    """What would exhaust the parser is refused."""
    path = tmp_path / "stack.yaml"
    path.write_text("a: " + "[" * 2000)
    with pytest.raises(StackError, match="nested too deep"):
        manifests.read(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_whatever_is_in_the_file_it_is_a_stack_or_one_sentence(tmp_path: Path, data: st.DataObject) -> None:
    """A manifest with a piece cut out, doubled or replaced: everything can be asked of it, or it is refused."""
    text = (STACKS / data.draw(st.sampled_from(["nginx.yaml", "web.yaml", "mongo.yaml"]))).read_text()
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 40)))
    piece = data.draw(
        st.sampled_from(["", "null", "[]", "{}", "3", "x", "- a", ": ", "\n", "&a ", "*a", "'", "<<: {}"])
    )
    path = tmp_path / "stack.yaml"
    path.write_text(text[:begin] + piece + text[end:])
    said = ""
    try:
        assert Stack.load(path).facts()["name"] == "stack"
    except StackError as refused:
        said = str(refused)
    assert said == "" or str(path) in said


SHOP = f"""{GOOD}---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels:
    n: 3
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: side
        image: a:1
      - name: nginx
        image: nginx:1
        imagee: x
        ports:
        - containerPort: 80
        - containerPort: 8080
          protocoll: TCP
"""


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("(/web; apps/v1, Kind=Deployment): .metadata.labels.n: expected string, got &value", 10),
        ('.spec.template.spec.containers[name="nginx"].imagee: field not declared in schema', 20),
        ('unknown field "spec.template.spec.containers[1].imagee"', 20),
        ('Deployment.apps "web" is invalid: spec.template.spec.containers[0].name: Required value', 16),
        ('Deployment.apps "web" is invalid: spec.template.spec.containers[1].command: Required value', 18),
        ('Deployment.apps "web" is invalid: [spec.selector: Required value, spec.template.metadata: Invalid', 11),
        ('.ports[containerPort=8080,protocol="TCP"].protocoll: field not declared in schema', 5),
        ('.spec.template.spec.containers[name="nginx"].ports[containerPort=8080,protocol="TCP"].protocoll: x', 24),
        ("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32", 12),
        (".specc: field not declared in schema", 5),
        ("the namespace of the provided object does not match the namespace sent on the request", 5),
        ("spec.template.spec.containers[7].image: Required value", 15),
    ],
)
def test_a_refusal_leads_to_its_line(tmp_path: Path, message: str, line: int) -> None:
    """By the first field that it names: its own line, or that of what it is missing from."""
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP)
    _, manifest = manifests.read(path)
    assert manifest.accused(1, message) == f"{path}, line {line}"


def test_merged_and_aliased_parts_have_the_line_they_stand_on(tmp_path: Path) -> None:
    """What a merge key brings in stands where it was written; an entry of one's own goes before it."""
    path = tmp_path / "shop.yaml"
    path.write_text(f"{HEAD}x: &defaults\n  a: 1\n  b: 2\ny:\n  <<: *defaults\n  b: 3\n")
    documents, manifest = manifests.read(path)
    assert documents[0]["y"] == {"a": 1, "b": 3}
    assert [manifest.where(0, "y", key) for key in "ab"] == [f"{path}, line 6", f"{path}, line 10"]
