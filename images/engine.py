"""The container engine: find one that answers, start one that is installed, install one where that can be done."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from chaos.errors import ClusterError, ImageError
from images import cache
from images.catalogue import Catalogue
from images.progress import Steps, engine_root

START_S = 60
OS_RELEASE = Path("/etc/os-release")


class EngineSlow(ClusterError):
    """The engine has not answered yet; it may still."""


def docker(*args: str, stdin: bytes | None = None, timeout_s: float = 120) -> str:
    """Run one docker command and return its output, stripped; raises ClusterError with docker's last line.

    In a process group of its own: Ctrl-C at a terminal is for this process, which may be undoing a fault just then.
    """
    command = ["docker", *args]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout_s, check=False, process_group=0
        )
    except FileNotFoundError:
        raise ClusterError("docker is not on this machine's PATH; run `kindstorm setup`") from None
    except OSError as error:
        raise ClusterError(f"docker cannot be run: {error.strerror}; look after the file that PATH leads to") from None
    except subprocess.TimeoutExpired:
        raise EngineSlow(f"`docker {' '.join(args[:3])}` did not end within {timeout_s:.0f} s") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        full = cache.full_disk(lines[-1])
        if full and args[0] != "save":  # saving writes into a folder of ours, all else into the engine's
            full = cache.full_disk(lines[-1], engine_root())
        raise ClusterError(f"`docker {' '.join(args[:3])}` failed: {lines[-1]}{f'; {full}' if full else ''}")
    return done.stdout.decode(errors="replace").strip()


def answers() -> bool:
    """Whether an engine answers now."""
    try:
        docker("version", "--format", "{{.Server.Version}}", timeout_s=20)
    except ClusterError:
        return False
    return True


def gone() -> bool:
    """Whether there is no engine any more. One that takes its time is there."""
    try:
        docker("version", "--format", "{{.Server.Version}}", timeout_s=20)
    except EngineSlow:
        return False
    except ClusterError:
        return True
    return False


def installed() -> bool:
    """Whether both the engine and its command line are on this machine; newer Debians package them apart."""
    return all(shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") for name in ("dockerd", "docker"))


def info() -> dict[str, Any]:
    """What the engine says of itself (docker info)."""
    return dict(json.loads(docker("info", "--format", "{{json .}}")))


def inspect_image(reference: str) -> dict[str, Any] | None:
    """What the engine knows of an image, or None where it has none of that name."""
    try:
        found = json.loads(docker("image", "inspect", reference))
    except ClusterError as error:
        if "no such image" in str(error).lower():
            return None
        raise
    return dict(found[0])


def pid_file() -> Path:
    """Where the process id of an engine that we started stands."""
    return cache.root() / "dockerd.pid"


def started_by_us() -> int | None:
    """The process id of the running engine where we started it."""
    try:
        pid = int(pid_file().read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if name == "dockerd" else None


def start() -> None:
    """Start the installed dockerd in a session of its own, its output in a file, and wait until it answers."""
    log = cache.folder("logs") / "dockerd.log"
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"  # docker-proxy stands there
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PATH": path},
        )
    pid_file().write_text(str(process.pid))
    deadline = time.monotonic() + START_S
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            tail = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise ClusterError(f"dockerd does not start: {tail[0]}; see {log}")
        time.sleep(0.2)


def stop() -> bool:
    """Stop the engine where we started it; False where there is none of ours."""
    pid = started_by_us()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + START_S
    while Path(f"/proc/{pid}/comm").exists() and time.monotonic() < deadline:
        if _is_zombie(pid):
            break
        time.sleep(0.1)
    pid_file().unlink(missing_ok=True)
    return True


def _is_zombie(pid: int) -> bool:
    try:
        return re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE) is not None
    except OSError:
        return True


def elsewhere() -> str | None:
    """Where DOCKER_HOST says that the engine is: one that somebody else starts; None where it says nothing."""
    return os.environ.get("DOCKER_HOST") or None


def require_ours() -> None:
    """Raise ClusterError where no engine that we started here would ever be asked."""
    if elsewhere() is not None:
        raise ClusterError(
            f"no Docker engine answers at DOCKER_HOST={elsewhere()}; start that one, or unset DOCKER_HOST"
        )


def ensure() -> None:
    """Make sure an engine answers, starting an installed one; raises ClusterError saying what to do otherwise."""
    if answers():
        return
    require_ours()
    if os.geteuid() != 0:
        raise ClusterError("no Docker engine answers; start it, or add yourself to the docker group, or run as root")
    if not installed():
        raise ClusterError("no Docker engine is installed; run `kindstorm setup`")
    start()


def debian_release() -> int | None:
    """The major number of the Debian this is (12, 13, ...), None on anything else."""
    try:
        text = OS_RELEASE.read_text()
    except OSError:
        return None
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    return (
        int(fields["VERSION_ID"]) if fields.get("ID") == "debian" and fields.get("VERSION_ID", "").isdigit() else None
    )


def can_install() -> bool:
    """Whether set-up can install an engine here: as root on Debian 12 or later."""
    return os.geteuid() == 0 and (debian_release() or 0) >= 12


def install(catalogue: Catalogue, steps: Steps) -> None:
    """Install the catalogue's engine from its Debian suite. The machine's own apt sources stay as they are."""
    if not can_install():
        raise ImageError(
            "no Docker engine answers and none can be installed here: install Docker 26 or later and start it"
        )
    engine = catalogue.engine
    steps.run(["apt-get", "update"])
    steps.run(["apt-get", "install", "-y", "--no-install-recommends", *engine["depends"]], env=QUIET)
    with tempfile.TemporaryDirectory(prefix="kindstorm-apt-") as name:
        state = Path(name)
        state.chmod(0o755)
        for folder in ("sources", "lists/partial", "cache/archives/partial"):
            (state / folder).mkdir(parents=True)
        (state / "sources" / "suite.sources").write_text(
            f"Types: deb\nURIs: {_debian_mirror()}\nSuites: {engine['suite']}\nComponents: main\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        )
        config = state / "apt.conf"
        config.write_text(
            f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{state}/sources";\n'
            f'Dir::State::lists "{state}/lists";\nDir::Cache "{state}/cache";\nAPT::Sandbox::User "root";\n'
        )
        env = {"APT_CONFIG": str(config)}
        steps.run(["apt-get", "update"], env=env)
        steps.run(["apt-get", "download", *engine["packages"]], env=env, cwd=state)
        packages = [str(path) for path in sorted(state.glob("*.deb"))]
        steps.run(["apt-get", "install", "-y", "--no-install-recommends", *packages], env=QUIET)


def _debian_mirror() -> str:
    """The address this machine takes its own Debian packages from; the other suite stands beside them."""
    wanted = "$(REPO_URI) $(ORIGIN) $(COMPONENT) $(RELEASE)"
    out = subprocess.run(["apt-get", "indextargets", "--format", wanted], capture_output=True, text=True, check=False)
    for line in out.stdout.splitlines():
        address, _, rest = line.partition(" ")
        if rest.startswith("Debian main") and not rest.endswith(("-security", "-updates", "-backports")):
            return address
    raise ImageError(
        "apt has no Debian source for `main` on this machine; add one, or install Docker 26 or later yourself"
    )


QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
"""What keeps apt from asking questions."""
