"""The command line: one sentence and exit code 1 for what goes wrong, never a traceback."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos import cluster as clusters
from chaos import journal, provision
from chaos.errors import ClusterError
from chaos.journal import Entry
from images import cache, doctor, engine, inventory, registry, setup
from images.catalogue import Line
from images.doctor import Finding
from images.inventory import Row
from images.registry import Registry
from kindstorm import cli

RUN = [sys.executable, "-c", "from kindstorm.cli import main; main()"]
COMMANDS = pytest.mark.parametrize("command", [["setup"], ["doctor"], ["images", "list"]], ids=" ".join)


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache, and tables and sentences are not folded."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "400")


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """Run the entry point with these arguments and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["kindstorm", *args])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@COMMANDS
def test_an_unknown_kubernetes_is_one_sentence(command: list[str], tmp_path: Path) -> None:
    """The known lines are named, on stderr, and nothing else is shown or made."""
    done = subprocess.run([*RUN, *command, "--kubernetes", "1.2"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "kindstorm: Kubernetes 1.2 is not in the catalogue; choose one of 1.36, 1.37\n"
    assert not (tmp_path / "cache").exists()


@COMMANDS
def test_every_command_takes_lines(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a line the default one is meant; --kubernetes may be given more than once."""
    seen: list[list[str]] = []

    def note(_: object, lines: list[Line], *__: object) -> list[Row]:
        seen.append([line.name for line in lines])
        return []

    monkeypatch.setattr(setup, "set_up", note)
    monkeypatch.setattr(doctor, "examine", note)
    monkeypatch.setattr(inventory, "rows", note)
    monkeypatch.setattr(engine, "answers", lambda: True)
    assert run(monkeypatch, *command) == 0
    assert run(monkeypatch, *command, "--kubernetes", "1.36", "--kubernetes", "v1.37") == 0
    assert seen == [["1.37"], ["1.36", "1.37"]]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["setup", "doctor", "images push"])
@pytest.mark.parametrize("by", ["word", "environment"])
def test_a_registry_is_named_by_a_word_or_the_environment(
    command: str, by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both ways reach what pulls, looks or pushes; the line asked for goes with it."""
    seen: list[object] = []
    monkeypatch.setattr(setup, "set_up", lambda *words: seen.append((words[1][0].name, words[3])))
    monkeypatch.setattr(doctor, "examine", lambda *words: seen.append((words[1][0].name, words[2])) or [PROVIDED])
    monkeypatch.setattr(registry, "push_all", lambda *words: seen.append((words[1][0].name, words[2])))
    monkeypatch.setattr(engine, "answers", lambda: True)
    option = ["127.0.0.1:5000/"] if "push" in command else ["--registry", "127.0.0.1:5000/"]
    if by == "environment":
        monkeypatch.setenv(registry.VARIABLE, option.pop())
    assert run(monkeypatch, *command.split(), "--kubernetes", "1.36", *(option if by == "word" else [])) == 0
    assert seen == [("1.36", Registry("127.0.0.1:5000"))]
    said = capsys.readouterr().out
    if command == "images push":
        assert said == "elsewhere: kindstorm setup --kubernetes 1.36 --registry 127.0.0.1:5000\n"
    if command == "doctor":
        assert "`kindstorm setup --kubernetes 1.36 --registry 127.0.0.1:5000/`" in said


def test_a_teams_images_are_pushed_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With their catalogue, which the command for the other machines names as well."""
    path = tmp_path / "ours.toml"
    path.write_text('[[image]]\nreferences = ["shop/cart:1.4"]\n')
    seen: list[bool] = []
    monkeypatch.setattr(registry, "push_all", lambda *words: seen.append(words[0].has("shop/cart:1.4")))
    monkeypatch.setattr(engine, "answers", lambda: True)
    assert run(monkeypatch, "images", "push", "127.0.0.1:5000", "--catalogue", str(path)) == 0
    assert seen == [True]
    said = capsys.readouterr().out.replace("\n", " ").split()
    assert said == f"elsewhere: kindstorm setup --catalogue {path} --registry 127.0.0.1:5000".split()


def test_what_is_no_registry_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that the engine would read otherwise is used for nothing; an empty one is none to push to."""
    monkeypatch.setattr(setup, "set_up", lambda *_: pytest.fail("set up"))
    monkeypatch.setattr(registry, "push_all", lambda *_: pytest.fail("pushed"))
    assert run(monkeypatch, "setup", "--registry", "mirror") == 1
    assert "docker.io" in capsys.readouterr().err
    assert run(monkeypatch, "images", "push", "") == 1
    assert capsys.readouterr().err.startswith("kindstorm: no registry was named; write HOST")


def test_a_kind_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The set-up gets the kind that was brought; without a registry none is named."""
    seen: list[object] = []
    monkeypatch.setattr(setup, "set_up", lambda *words: seen.append(words[3:]))
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    assert run(monkeypatch, "setup", "--kind-bin", "/a/kind") == 0
    assert seen == [(None, Path("/a/kind"))]


def test_names_are_for_another_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One name a line and nothing else, so that `docker save` can take them."""
    monkeypatch.setattr(engine, "answers", lambda: True)
    monkeypatch.setattr(inventory, "names", lambda *_: ["nginx:1.22.1", "kindest/node:v1.37.0"])
    assert run(monkeypatch, "images", "list", "--names") == 0
    assert capsys.readouterr().out == "nginx:1.22.1\nkindest/node:v1.37.0\n"


def examine_as(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """Let the doctor find this."""
    monkeypatch.setattr(doctor, "examine", lambda *_: list(findings))


FINE = Finding("memory", "8 GiB", ok=True)
PROVIDED = Finding("kind", "missing", False, "setup compiles it")
BLOCKING = Finding("ports", "none", False, "bring lo up", True)


def test_the_doctor_is_content(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where all is there the table is all there is to say."""
    examine_as(monkeypatch, FINE)
    assert run(monkeypatch, "doctor") == 0
    shown = capsys.readouterr()
    assert "8 GiB" in shown.out
    assert "setup" not in shown.out
    assert shown.err == ""


def test_the_doctor_leaves_the_rest_to_setup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What set-up provides is no failure; the command that does it is named with the lines asked for."""
    examine_as(monkeypatch, FINE, PROVIDED)
    assert run(monkeypatch, "doctor", "--kubernetes", "1.36") == 0
    shown = capsys.readouterr()
    assert "`kindstorm setup --kubernetes 1.36`" in shown.out
    assert shown.err == ""


def test_the_doctor_fails_where_a_person_must_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table is shown all the same; the sentence on stderr says what to do."""
    examine_as(monkeypatch, FINE, PROVIDED, BLOCKING)
    assert run(monkeypatch, "doctor") == 1
    shown = capsys.readouterr()
    assert "8 GiB" in shown.out
    assert shown.err == "kindstorm: clusters cannot run here yet; ports: bring lo up\n"


def test_without_an_engine_no_image_is_claimed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Listing images does not start an engine and does not call all of them missing."""
    monkeypatch.setattr(engine, "answers", lambda: False)
    monkeypatch.setattr(engine, "start", lambda: pytest.fail("started an engine"))
    assert run(monkeypatch, "images", "list") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("kindstorm: no Docker engine answers")


def test_the_images_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe gets long names whole."""
    name = f"registry.k8s.io/{'x' * 80}:1"
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(engine, "answers", lambda: True)
    monkeypatch.setattr(inventory, "rows", lambda *_: [Row((name,), "nodes", "built", "1", "sha256:ab", 5)])
    assert run(monkeypatch, "images", "list") == 0
    assert f"{name.removesuffix(':1')} " in capsys.readouterr().out


def test_an_error_of_the_harness_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What set-up raises is the sentence, brackets and all."""

    def fail(*_: object) -> None:
        raise ClusterError("dockerd does not start: [x]")

    monkeypatch.setattr(setup, "set_up", fail)
    assert run(monkeypatch, "setup") == 1
    assert capsys.readouterr().err == "kindstorm: dockerd does not start: [x]\n"


def test_a_refusal_of_the_machine_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder, what is wrong with it and what to do, with exit code 1."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/some")

    monkeypatch.setattr(setup, "set_up", fail)
    assert run(monkeypatch, "setup") == 1
    said = capsys.readouterr().err
    assert said == "kindstorm: /var/lib/some: no space left on device; make room there and try again\n"


@pytest.mark.parametrize("error", [KeyError("x"), FileNotFoundError(2, "No such file", "ours")])
def test_a_defect_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, error: Exception
) -> None:
    """In a file that the sentence names; on the terminal where no file can be written."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(setup, "set_up", fail)
    assert run(monkeypatch, "setup") == cli.DEFECT
    said = capsys.readouterr().err
    (kept,) = (tmp_path / "cache" / "logs").glob("defect-*.log")
    assert said.startswith(f"kindstorm: this is a defect of kindstorm ({type(error).__name__}: ")
    assert said.endswith(f"please report it with its traceback, {kept}\n")
    assert "in fail" in kept.read_text()
    monkeypatch.setenv(cache.VARIABLE, "/proc/none")
    assert run(monkeypatch, "setup") == cli.DEFECT
    said = capsys.readouterr().err
    assert "in fail" in said
    assert said.endswith("its traceback stands above\n")


def test_an_interrupt_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C has the exit code that shells give it, and no traceback."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "set_up", interrupt)
    assert run(monkeypatch, "setup") == cli.INTERRUPTED
    assert capsys.readouterr().err.startswith("kindstorm: interrupted; ")


def test_help_names_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--help is an answer, not an error."""
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("setup", "doctor", "images"))


class Journal:
    """Clusters of ours that live, what was undone in them, and what is still to be undone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.living = ["living"]
        self.marked = True
        self.undone: list[str] = []
        self.answers = True
        for name in ("living", "gone"):
            journal.plan(Entry(name, "scale", {}))
        monkeypatch.setattr(engine, "answers", lambda: self.answers)
        monkeypatch.setattr(clusters, "node_containers", self.node_containers)
        monkeypatch.setattr(clusters, "require_mark", self.require_mark)
        monkeypatch.setattr(clusters, "connect", lambda _: None)
        monkeypatch.setattr(cli.undo, "undo", self.undo)

    def node_containers(self) -> dict[str, dict[str, str]]:
        """See chaos.cluster."""
        assert self.answers, "a silent engine was asked"
        return {f"{name}-worker": {"cluster": name} for name in self.living}

    def require_mark(self, _kube: object, name: str) -> None:
        """See chaos.cluster."""
        if not self.marked:
            raise ClusterError(f"the cluster {name} does not carry our mark")

    def undo(self, _kube: object, entry: Entry) -> str:
        """See chaos.undo."""
        self.undone.append(entry.cluster)
        journal.done(entry)
        return "undone"

    def pending(self) -> set[str]:
        """The clusters that something is still to be undone in."""
        return {entry.cluster for entry in journal.pending()}


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Journal:
    """One entry of a living cluster and one of a cluster that is gone."""
    return Journal(monkeypatch)


def test_what_is_left_is_undone(
    left: Journal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a living cluster; what was in one that is gone is gone with it; a second time there is nothing."""
    assert run(monkeypatch, "undo") == 0
    assert left.undone == ["living"]
    assert left.pending() == set()
    shown = capsys.readouterr().out
    assert "living: undone" in shown
    assert "gone is gone, and scale with it" in shown
    assert run(monkeypatch, "undo") == 0
    assert capsys.readouterr().out == "nothing to undo\n"


def test_without_an_engine_nothing_is_forgotten(
    left: Journal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its clusters may live again with it: one sentence, and every entry stays."""
    left.answers = False
    assert run(monkeypatch, "undo") == 1
    assert capsys.readouterr().err.startswith("kindstorm: no engine answers, so nothing can be undone yet")
    assert left.pending() == {"living", "gone"}


def test_without_an_engine_and_entries_there_is_nothing_to_undo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No engine is needed for that."""
    monkeypatch.setattr(engine, "answers", lambda: False)
    assert run(monkeypatch, "undo") == 0
    assert capsys.readouterr().out == "nothing to undo\n"


def test_a_cluster_without_our_mark_has_nothing_undone(
    left: Journal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused, and the entry stays."""
    left.marked = False
    assert run(monkeypatch, "undo") == 1
    assert capsys.readouterr().err == "kindstorm: the cluster living does not carry our mark\n"
    assert left.undone == []
    assert "living" in left.pending()


def test_a_cluster_that_a_session_holds_has_nothing_undone(
    left: Journal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fault may be under way."""
    with clusters.leased("living"):
        assert run(monkeypatch, "undo") == 1
    assert "a session holds living" in capsys.readouterr().err
    assert left.undone == []
    assert "living" in left.pending()


def test_one_cluster_holds_up_no_other(
    left: Journal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A running session always has something on the journal: what is left in other clusters is undone all the same."""
    left.living += ["busy", "older"]
    for name in ("busy", "older"):
        journal.plan(Entry(name, "scale", {}))
    with clusters.leased("busy"):
        assert run(monkeypatch, "undo") == 1
    assert capsys.readouterr().err.count("a session holds busy") == 1
    assert sorted(left.undone) == ["living", "older"]
    assert left.pending() == {"busy"}


def test_what_clusters_are_held_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By a session, to be looked at, or not at all; removing means those to be looked at as well."""
    names = ("leased", "seen", "free")
    nodes = {name: {"cluster": name, "state": "running", "config": ""} for name in names}
    monkeypatch.setattr(engine, "answers", lambda: True)
    monkeypatch.setattr(clusters, "node_containers", lambda *_: nodes)
    clusters.folder("seen").mkdir(parents=True)
    cluster: Any = SimpleNamespace(name="seen")
    provision.hold(cluster, "ks-nginx")
    with clusters.leased("leased"):
        assert run(monkeypatch, "clusters") == 0
    shown = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if "running" in line}
    assert "by a session" in shown["leased"]
    assert "for looking at ks-nginx" in shown["seen"]
    assert re.search(r"running\s+\S\s+no\s", shown["free"])
    swept: list[dict[str, bool]] = []
    monkeypatch.setattr(setup, "kind_command", lambda _: Path("/our/kind"))
    monkeypatch.setattr(provision, "sweep", lambda _, **how: swept.append(how) or [])
    assert run(monkeypatch, "clusters", "--remove") == 0
    assert swept == [{"keep": False, "looked_at": True}]
