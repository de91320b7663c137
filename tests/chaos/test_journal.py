"""What must be undone is on disk before it is done, and nothing but undoing it takes it off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_fakes import NAMESPACE, FakeKube, Picture, scene, workload

from chaos import journal
from chaos.errors import HistoryError
from chaos.faults import scale
from chaos.journal import Entry
from images import cache

SPEC = {"kind": "Deployment", "name": "nginx", "namespace": NAMESPACE, "replicas": 2}


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    return tmp_path


def test_an_entry_is_on_disk_until_it_is_done() -> None:
    """It reads back as it was written, and done takes it off, however often."""
    entry = Entry("one", "scale", SPEC)
    journal.plan(entry)
    assert journal.pending() == [entry]
    assert list(journal.folder().iterdir()) == [entry.path]
    journal.done(entry)
    journal.done(entry)
    assert journal.pending() == []


def test_planning_twice_is_one_entry() -> None:
    """The same entry has one file."""
    entry = Entry("one", "scale", SPEC)
    journal.plan(entry)
    journal.plan(entry)
    assert journal.pending() == [entry]


def test_pending_is_by_cluster_and_oldest_first() -> None:
    """Another cluster's entries are another's to undo."""
    entries = [Entry(cluster, "scale", SPEC) for cluster in ("one", "two", "one")]
    for age, entry in enumerate(entries):
        journal.plan(entry)
        os.utime(entry.path, ns=(10**18 - age, 10**18 - age))
    assert journal.pending() == entries[::-1]
    assert journal.pending("one") == [entries[2], entries[0]]
    assert journal.pending("three") == []


def test_an_entry_is_there_before_the_fault_is_done() -> None:
    """The API is asked only once the undoing is on disk, with the number to go back to; healing takes it off."""
    kube = FakeKube()
    kube.wanted["Deployment", "nginx"] = 2
    found: list[list[Entry]] = []
    kube.before_change = lambda _: found.append(journal.pending("kindstorm-test"))
    fault = scale("nginx", 5).aim(scene(kube, Picture(workload("Deployment", "nginx", 2))))
    assert journal.pending() == []
    fault.inject()
    assert [(e.verb, e.arguments) for e in found[0]] == [("scale", SPEC)]
    fault.heal()
    assert len(found[1]) == 1
    assert journal.pending() == []


def test_an_entry_survives_the_death_of_its_process() -> None:
    """A process that is killed right after it planned leaves an entry that another can read."""
    program = (
        "import os, signal; from chaos import journal; from chaos.journal import Entry;"
        f"journal.plan(Entry('one', 'scale', {SPEC!r}, 'abc')); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -9
    assert journal.pending("one") == [Entry("one", "scale", SPEC, "abc")]


def test_half_an_entry_is_none() -> None:
    """What was not put in place whole was not done either."""
    (journal.folder() / "abc.partial").write_bytes(b'{"clu')
    assert journal.pending() == []


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b"{}", b'{"cluster": "a", "verb": "b", "more": 1}'])
def test_what_is_no_entry_is_named(text: bytes) -> None:
    """One sentence with the file and what to do."""
    path = journal.folder() / "broken.json"
    path.write_bytes(text)
    with pytest.raises(HistoryError, match="is no journal entry; look at it and remove it") as refused:
        journal.pending()
    assert str(refused.value).startswith(str(path))
