"""The journal's entries can be undone by anybody, more than once, and when there is nothing left to undo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import NAMESPACE, FakeKube

from chaos import journal
from chaos.errors import ClusterError, FaultError
from chaos.journal import Entry
from chaos.undo import undo
from images import cache


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))


def planned(verb: str = "scale") -> Entry:
    """An entry on disk."""
    arguments = {"kind": "Deployment", "name": "nginx", "namespace": NAMESPACE, "replicas": 2}
    entry = Entry("kindstorm-test", verb, arguments)
    journal.plan(entry)
    return entry


def test_scale_is_undone_twice() -> None:
    """The second time sets the same number; the entry is off the journal after the first."""
    kube: Any = FakeKube()
    kube.wanted["Deployment", "nginx"] = 5
    entry = planned()
    assert undo(kube, entry) == "Deployment nginx wants 2 replicas again"
    assert journal.pending() == []
    undo(kube, entry)
    assert kube.wanted["Deployment", "nginx"] == 2


def test_a_namespace_is_removed_twice() -> None:
    """The second time there is none."""

    class Namespaces:
        there = True

        def delete(self, kind: str, name: str) -> bool:
            assert (kind, name) == ("Namespace", "ks-web")
            self.there, was = False, self.there
            return was

    kube: Any = Namespaces()
    entry = Entry("kindstorm-test", "remove_namespace", {"name": "ks-web"})
    journal.plan(entry)
    assert undo(kube, entry) == "namespace ks-web is removed"
    assert journal.pending() == []
    assert undo(kube, entry) == "namespace ks-web is gone"


def test_what_is_gone_needs_no_undoing() -> None:
    """Nothing is asked of the API but whether it is there; the entry goes off."""
    kube: Any = FakeKube()
    assert undo(kube, planned()) == "Deployment nginx is gone"
    assert kube.calls == []
    assert journal.pending() == []


def test_an_unknown_verb_stays_on_the_journal() -> None:
    """It is named with its file, and kept for who knows it."""
    entry = planned("drain")
    kube: Any = FakeKube()
    with pytest.raises(FaultError, match="nobody knows how to undo 'drain'") as refused:
        undo(kube, entry)
    assert str(entry.path) in str(refused.value)
    assert journal.pending() == [entry]


def test_what_could_not_be_undone_stays_on_the_journal() -> None:
    """An API that does not answer leaves the entry for a later try."""
    kube: Any = FakeKube()
    kube.wanted["Deployment", "nginx"] = 5

    def away(_: str) -> None:
        raise ClusterError("the API server does not answer")

    kube.before_change = away
    entry = planned()
    with pytest.raises(ClusterError):
        undo(kube, entry)
    assert journal.pending() == [entry]


@pytest.mark.parametrize(("gone", "said"), [(False, "pods may go to node w1 again"), (True, "node w1 is gone")])
def test_uncordon_is_undone_twice(gone: bool, said: str) -> None:
    """Each time the node is opened, a node that is gone needs it no more; the entry goes off either way."""
    opened: list[str] = []

    class Nodes:
        def uncordon(self, name: str) -> bool:
            opened.append(name)
            return not gone

    kube: Any = Nodes()
    entry = Entry("kindstorm-test", "uncordon", {"node": "w1"})
    journal.plan(entry)
    for _ in range(2):
        assert undo(kube, entry) == said
        assert journal.pending() == []
    assert opened == ["w1", "w1"]


@pytest.mark.parametrize("verb", ["unpause", "start"])
def test_an_outage_is_undone_twice(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """Each time by the way that brings a node back, with what stands on the journal alone."""
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr("chaos.undo.resume_node", lambda *what: asked.append(what))
    kube: Any = FakeKube()
    entry = Entry("kindstorm-test", verb, {"cluster": "kindstorm-test", "node": "w1"})
    journal.plan(entry)
    for _ in range(2):
        assert undo(kube, entry) == "node w1 is ready again"
        assert journal.pending() == []
    assert asked == [(kube, "kindstorm-test", "w1", verb)] * 2
