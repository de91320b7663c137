"""The engine is found, started and stopped; what docker says becomes one sentence. No real engine is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chaos.errors import ClusterError, ImageError
from images import engine
from images.catalogue import Catalogue
from images.progress import Steps


def script(folder: Path, name: str, text: str) -> None:
    """Put a tool on the PATH."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


# ---- asking --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tools")
def test_without_docker_nothing_answers() -> None:
    """A machine without docker has no engine, and commands say what to do."""
    assert engine.answers() is False
    with pytest.raises(ClusterError, match=r"^docker is not on this machine's PATH; run `kindstorm setup`$"):
        engine.docker("version")


def test_an_engine_answers_by_its_server(tools: Path) -> None:
    """A client alone is no engine."""
    script(tools, "docker", 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    assert engine.answers() is False
    script(tools, "docker", "echo 26.1.5")
    assert engine.answers() is True


def test_a_failed_command_gives_dockers_last_line(tools: Path) -> None:
    """Of a long complaint the last line is what went wrong; a long command is cut."""
    script(tools, "docker", 'echo "Unable to find image" >&2; echo "docker: no such host." >&2; exit 125')
    with pytest.raises(ClusterError, match=r"^`docker run --rm x` failed: docker: no such host\.$"):
        engine.docker("run", "--rm", "x", "true")
    script(tools, "docker", "exit 1")
    with pytest.raises(ClusterError, match=r"failed: no output$"):
        engine.docker("info")


def test_a_command_gives_its_output_and_takes_input(tools: Path) -> None:
    """Output comes stripped; what is given reaches the command."""
    script(tools, "docker", 'read line; echo "  $1 $line  "')
    assert engine.docker("load", stdin=b"an image\n") == "load an image"


def test_a_command_that_hangs_is_ended(tools: Path) -> None:
    """An engine that is stuck does not hold the harness."""
    os.mkfifo(tools / "never")
    script(tools, "docker", f"read line < {tools}/never")
    with pytest.raises(ClusterError, match=r"`docker ps` did not end within 0 s"):
        engine.docker("ps", timeout_s=0.1)


def test_what_is_typed_at_the_terminal_is_not_for_docker(tools: Path) -> None:
    """Ctrl-C goes to the whole group in the foreground: a command that undoes a fault must not die of it."""
    script(tools, "docker", "read -r _ _ _ _ group _ < /proc/self/stat; echo $group")
    assert int(engine.docker("start", "node")) != os.getpgrp()


@pytest.mark.parametrize("words", ["Error: No such image: x", "Error response from daemon: no such image: x:1"])
def test_an_image_that_is_not_there_is_none(tools: Path, words: str) -> None:
    """Not there is an answer, in every engine's spelling of it."""
    script(tools, "docker", f'echo "[]"; echo "{words}" >&2; exit 1')
    assert engine.inspect_image("x") is None


def test_an_image_that_cannot_be_asked_for_is_an_error(tools: Path) -> None:
    """An engine that does not answer does not mean that the image is missing."""
    script(tools, "docker", 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    with pytest.raises(ClusterError, match="Cannot connect"):
        engine.inspect_image("x")
    script(tools, "docker", """echo '[{"Id": "sha256:1"}]'""")
    assert engine.inspect_image("x") == {"Id": "sha256:1"}


# ---- starting and stopping -----------------------------------------------------------------------------------------


def test_an_engine_needs_its_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine without docker is not installed: newer Debians package them apart."""
    found = {"dockerd", "docker"}
    monkeypatch.setattr("shutil.which", lambda name, **_: name if name in found else None)
    assert engine.installed()
    for name in ("dockerd", "docker"):
        found.remove(name)
        assert not engine.installed()
        found.add(name)


def test_ensure_leaves_an_engine_that_answers_alone(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started beside a running engine."""
    script(tools, "docker", "echo 26.1.5")
    monkeypatch.setattr(engine, "start", lambda: pytest.fail("started a second engine"))
    engine.ensure()


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("user", "installed", "sentence"),
    [
        (1000, True, "start it, or add yourself to the docker group, or run as root"),
        (0, False, "no Docker engine is installed; run `kindstorm setup`"),
    ],
)
def test_ensure_says_what_to_do(monkeypatch: pytest.MonkeyPatch, user: int, installed: bool, sentence: str) -> None:
    """Where it cannot start one itself, it says who can."""
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(engine, "installed", lambda: installed)
    monkeypatch.setattr(engine, "start", lambda: pytest.fail("started an engine"))
    with pytest.raises(ClusterError, match=sentence):
        engine.ensure()


def test_an_engine_that_dies_says_why(tools: Path, cache_root: Path) -> None:
    """The end of dockerd's log and its path are in the sentence."""
    script(tools, "dockerd", 'echo "level=info msg=starting"; echo "failed to start daemon: no iptables" >&2; exit 1')
    with pytest.raises(
        ClusterError, match="dockerd does not start: failed to start daemon: no iptables; see "
    ) as raised:
        engine.start()
    assert str(raised.value).endswith(f"{cache_root}/logs/dockerd.log")


def test_what_we_started_we_can_stop(tools: Path) -> None:
    """An engine of ours is known by its process, and stopped once; without one nothing is stopped."""
    os.mkfifo(tools / "never")
    script(tools, "dockerd", f": > {tools}/up; read line < {tools}/never")
    script(tools, "docker", f"test -e {tools}/up")
    assert engine.stop() is False
    engine.start()
    pid = engine.started_by_us()
    assert pid is not None
    assert os.getsid(pid) == pid
    assert engine.stop() is True
    assert engine.started_by_us() is None
    assert engine.stop() is False
    os.waitpid(pid, 0)


@pytest.mark.parametrize("text", ["", "garbage", str(os.getpid()), "999999999"])
def test_another_process_is_never_taken_for_ours(cache_root: Path, text: str) -> None:
    """A stale process id, now somebody else's or nobody's, is not stopped."""
    cache_root.mkdir()
    engine.pid_file().write_text(text)
    assert engine.started_by_us() is None
    assert engine.stop() is False


# ---- installing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n', 12),
        ("ID=debian\nVERSION_ID=13\n", 13),
        ('PRETTY_NAME="Debian GNU/Linux forky/sid"\nID=debian\n', None),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', None),
        ('ID=alpine\nVERSION_ID="3"\n', None),
        (None, None),
    ],
)
def test_only_debian_is_debian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, release: int | None
) -> None:
    """The release is read where it is a numbered Debian; installing needs 12 or later, and root."""
    file = tmp_path / "os-release"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(engine, "OS_RELEASE", file)
    assert engine.debian_release() == release
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert engine.can_install() is (release is not None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert engine.can_install() is False


def test_old_debians_get_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Debian 12 the newer engine's packages do not fit."""
    file = tmp_path / "os-release"
    file.write_text('ID=debian\nVERSION_ID="11"\n')
    monkeypatch.setattr(engine, "OS_RELEASE", file)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert engine.can_install() is False


def test_where_none_can_be_installed_a_sentence_helps(
    catalogue: Catalogue, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is run there."""
    monkeypatch.setattr(engine, "can_install", lambda: False)
    with pytest.raises(ImageError, match="install Docker 26 or later and start it"):
        engine.install(catalogue, steps)
    assert steps.log.read_text() == ""


APT = r"""
echo "$APT_CONFIG apt-get $*" >> {log}
case $1 in
  indextargets) echo "https://mirror.test/debian-security Debian main bookworm-security"
                echo "https://mirror.test/debian Debian main bookworm" ;;
  download) cat "${{APT_CONFIG%/*}}/sources/suite.sources" >> {log}; : > docker.io_26.deb; : > docker-cli_26.deb ;;
esac
"""


def test_the_engine_comes_from_a_suite_of_its_own(
    catalogue: Catalogue, steps: Steps, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other suite is seen by an apt with its own settings only, and its packages are installed from files."""
    log = tmp_path / "apt"
    script(tools, "apt-get", APT.format(log=log))
    (tools / "cat").symlink_to("/bin/cat")
    monkeypatch.setattr(engine, "can_install", lambda: True)
    monkeypatch.delenv("APT_CONFIG", raising=False)
    engine.install(catalogue, steps)
    text = log.read_text()
    assert "URIs: https://mirror.test/debian\nSuites: trixie\n" in text
    calls = [line.partition(" apt-get ") for line in text.splitlines() if " apt-get " in line]
    own = [(bool(config), arguments.split()[0]) for config, _, arguments in calls]
    assert own == [
        (False, "update"),
        (False, "install"),
        (False, "indextargets"),
        (True, "update"),
        (True, "download"),
        (False, "install"),
    ]
    assert calls[4][2] == "download docker.io docker-cli"
    assert [Path(word).name for word in calls[5][2].split()[-2:]] == ["docker-cli_26.deb", "docker.io_26.deb"]
    assert not Path(calls[4][0]).parent.exists()
