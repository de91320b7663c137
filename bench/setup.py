"""How long set-up takes, cold and warm, and what our cluster costs over `kind create cluster` alone.

    python bench/setup.py          warm set-up, then a cluster of ours beside kind's own with the same configuration
    python bench/setup.py --cold   before that a set-up from nothing: its own engine, caches and modules (20 min)

The last line is one JSON object: name, value, unit, goal, peer, ok.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from chaos import cluster as clusters
from chaos import kind, provision, seal
from chaos.cluster import ClusterSpec
from images import catalogue as catalogues
from images.engine import docker
from images.setup import kind_command

GOAL = 2.0
"""A marked, sealed cluster with its probe's image, ready to the last system pod, over kind's create without waiting."""
STEP = re.compile(r"^\[\d+/\d+\] (.*): ([\d.]+) s$", re.MULTILINE)


@contextlib.contextmanager
def empty_machine() -> Iterator[dict[str, str]]:
    """An engine with no image and caches with nothing in them, beside the machine's own; yields the environment."""
    with tempfile.TemporaryDirectory(prefix="kindstorm-cold-") as name:
        home = Path(name)
        socket = f"unix://{home}/docker.sock"
        flags = [
            "--data-root",
            f"{home}/data",
            "--exec-root",
            f"{home}/exec",
            "--pidfile",
            f"{home}/pid",
            "--host",
            socket,
        ]
        with (home / "dockerd.log").open("wb") as log:
            command = ["dockerd", *flags, "--bridge", "none", "--iptables=false"]
            engine = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        environment = {
            "DOCKER_HOST": socket,
            "KINDSTORM_CACHE": f"{home}/cache",
            "GOCACHE": f"{home}/go-build",
            "GOMODCACHE": f"{home}/go-mod",
            "GOFLAGS": "-modcacherw",
        }
        try:
            deadline = time.monotonic() + 60
            ask = ["docker", "--host", socket, "version"]
            while subprocess.run(ask, capture_output=True, check=False).returncode != 0:
                if time.monotonic() > deadline or engine.poll() is not None:
                    raise SystemExit((home / "dockerd.log").read_text()[-500:])
                time.sleep(0.5)
            yield environment
        finally:
            engine.terminate()
            engine.wait(60)


def set_up(environment: dict[str, str]) -> float:
    """Run the set-up, print its steps, return the seconds it took."""
    begin = time.monotonic()
    command = [sys.executable, "-c", "from kindstorm.cli import main; main()", "setup"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    took = time.monotonic() - begin
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    for what, seconds in STEP.findall(done.stdout):
        print(f"  {float(seconds):7.1f} s  {what}")
    print(f"  {took:7.1f} s  in all")
    return took


def kind_alone(command: Path, spec: ClusterSpec, image: str, folder: Path) -> float:
    """Seconds of `kind create cluster` with the same configuration and nothing else; the cluster is removed again."""
    configuration = folder / "kind.yaml"
    ports = kind.free_ports()
    configuration.write_text(yaml.safe_dump(kind.config(spec.line, spec.clocks, spec.shape, ports)))
    environment = {**os.environ, "KIND_EXPERIMENTAL_DOCKER_NETWORK": seal.NETWORK}
    options = ["--name", "kindstorm-bench", "--kubeconfig", str(folder / "kubeconfig"), "--quiet"]
    create = [str(command), "create", "cluster", *options, "--config", str(configuration), "--image", image]
    seal.make_network(clusters.owner())
    begin = time.monotonic()
    try:
        subprocess.run(create, env=environment, check=True)
        return time.monotonic() - begin
    finally:
        subprocess.run([str(command), "delete", "cluster", *options], env=environment, check=False)
        docker("network", "rm", seal.NETWORK)


def ours(command: Path, spec: ClusterSpec, folder: Path) -> tuple[float, str]:
    """Seconds until a cluster of ours is ready, marked and sealed, and the image of its nodes; it is removed again."""
    name, driver = provision.new_name(), provision.driver(command, folder / "kind.log")
    with clusters.leased(name):
        begin = time.monotonic()
        cluster = provision.create(driver, spec, name)
        took = time.monotonic() - begin
        provision.delete(driver, name)
        return took, cluster.node_image


def main() -> None:
    """Measure and print."""
    cold = None
    if "--cold" in sys.argv[1:]:
        print("cold set-up:")
        with empty_machine() as environment:
            cold = set_up(environment)
    print("warm set-up:")
    warm = set_up({})
    catalogue = catalogues.load()
    spec = ClusterSpec(catalogue.line(), probe_image=catalogue.probe)
    with tempfile.TemporaryDirectory() as name:
        command = kind_command(catalogue)
        value, image = ours(command, spec, Path(name))
        peer = kind_alone(command, spec, image, Path(name))
    print(f"a cluster of ours, ready and sealed: {value:.1f} s; kind create cluster alone: {peer:.1f} s")
    result = {
        "name": "cluster_creation_over_kind",
        "value": round(value / peer, 2),
        "unit": "ratio",
        "goal": f"<= {GOAL}",
        "peer": f"kind create cluster, same configuration: {peer:.1f} s",
        "ok": value / peer <= GOAL,
        "setup_cold_s": cold and round(cold, 1),
        "setup_warm_s": round(warm, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
