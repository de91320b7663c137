"""The cache holds whole things only, for one set-up at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chaos.errors import ImageError
from images import cache

HOLD = "from images import cache\nwith cache.lock('setup', 0, 'busy'):\n    print('held', flush=True)\n    input()\n"


def contents(folder: Path) -> list[str]:
    """The names in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def test_the_variable_says_where_the_cache_is(cache_root: Path) -> None:
    """KINDSTORM_CACHE is followed, and its folders are made."""
    assert cache.root() == cache_root
    assert cache.folder("programs") == cache_root / "programs"
    assert cache.folder("programs").is_dir()


def test_without_the_variable_it_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as none."""
    monkeypatch.setenv(cache.VARIABLE, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.root() == tmp_path / ".cache" / "kindstorm"


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the way is one sentence."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(ImageError, match="set KINDSTORM_CACHE to a writable folder"):
        cache.root()


def test_a_whole_thing_appears_at_once(tmp_path: Path) -> None:
    """Nothing stands at the destination until all of it does, and no partial folder stays."""
    destination = tmp_path / "programs" / "kind"
    with cache.whole(destination) as partial:
        (partial / "kind").write_text("binary")
        assert not destination.exists()
        assert partial.parent == destination.parent
    assert (destination / "kind").read_text() == "binary"
    assert contents(destination.parent) == ["kind"]


def test_a_whole_thing_replaces_the_one_before(tmp_path: Path) -> None:
    """Files of the one before do not stay."""
    destination = tmp_path / "kind"
    for name in ("old", "new"):
        with cache.whole(destination) as partial:
            (partial / name).touch()
    assert contents(destination) == ["new"]


@pytest.mark.parametrize("error", [ImageError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_keeps_what_was(tmp_path: Path, error: BaseException) -> None:
    """A failed or interrupted build is as if it had not been tried."""
    destination = tmp_path / "programs" / "kind"

    def fail() -> None:
        with cache.whole(destination) as partial:
            (partial / "half").touch()
            raise error

    with pytest.raises(type(error)):
        fail()
    assert contents(destination.parent) == []
    with cache.whole(destination) as partial:
        (partial / "good").touch()
    with pytest.raises(type(error)):
        fail()
    assert contents(destination.parent) == ["kind"]
    assert contents(destination) == ["good"]


def test_a_busy_lock_says_its_sentence() -> None:
    """While another process holds the lock its sentence is raised; afterwards it can be had."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ImageError, match=r"^somebody else is at it$"), cache.lock("setup", 0, "somebody else is at it"):
        pytest.fail("the lock was given twice")
    with cache.lock("another", 0, "never seen"):
        pass
    holder.communicate("\n")
    assert holder.returncode == 0
    with cache.lock("setup", 0, "somebody else is at it"):
        pass


def test_a_failure_under_the_lock_is_its_own() -> None:
    """The lock's sentence does not hide what went wrong while it was held."""
    with pytest.raises(ImageError, match="compiler"), cache.lock("setup", 0, "busy"):
        raise ImageError("the compiler failed")


def test_sweeping_takes_what_was_left_half_made(cache_root: Path) -> None:
    """Partial programs, a partial Go and build contexts go; whole programs, logs and strangers' files stay."""
    for name in (
        "programs/.kind-x1y2",
        "programs/kind-v1-key",
        "downloads/context-ab",
        ".go-ab12",
        "go",
        ".other-thing",
    ):
        (cache_root / name / "inner").mkdir(parents=True)
    (cache_root / "downloads" / "mine").touch()
    living = cache.partial(cache.folder("archives") / "abc.tar")
    for name in ("abc.tar", "abc.partial-99999999-ab12", living.name):
        (cache_root / "archives" / name).touch()
    cache.sweep()
    assert contents(cache_root / "archives") == [living.name, "abc.tar"]
    assert contents(cache_root / "programs") == ["kind-v1-key"]
    assert contents(cache_root / "downloads") == ["mine"]
    assert contents(cache_root) == [".other-thing", "archives", "downloads", "go", "programs"]


def test_what_a_killed_step_leaves_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that are used while something is made are the names that `sweep` looks for."""
    abandoned = cache.context()
    with monkeypatch.context() as killed:
        killed.setattr("shutil.rmtree", lambda *_, **__: None)
        for destination in (cache.folder("programs") / "kind-v1-key", cache.root() / "go"):
            with pytest.raises(KeyboardInterrupt), cache.whole(destination):
                raise KeyboardInterrupt
    assert len([*cache.folder("programs").iterdir(), *cache.folder("downloads").iterdir()]) == 2
    assert len(contents(cache.root())) == 3
    cache.sweep()
    assert not Path(abandoned.name).exists()
    assert contents(cache.root()) == ["archives", "downloads", "programs"]
    assert contents(cache.folder("programs")) == []


def test_a_full_disk_is_known_by_what_commands_say(cache_root: Path) -> None:
    """The folder is the one that the command names; in the cache the variable that moves it is named too."""
    assert cache.full_disk("exit status 1") is None
    said = cache.full_disk(f"copying /tmp/a.out: write {cache_root}/programs/.kind-1/kind: No space left on device")
    assert said is not None
    assert f"the disk of {cache_root} is full: make room in /" in said
    assert "set KINDSTORM_CACHE to a folder with room" in said
    other = cache.full_disk("write /proc/none: disk quota exceeded")
    assert other == "the disk of /proc is full: make room in /proc and try again"
    assert "is full" in str(cache.full_disk("ld: final link failed: No space left on device"))
