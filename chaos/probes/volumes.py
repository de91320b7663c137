"""Writes to the volumes of a stack's pods and reads back, from their nodes: nothing of the stack's image is needed.

A shell on each node goes through ``/proc/<pid>/root`` of a container's first process, so through the very mounts that
the container has, as root. A reading proves that the volume, where and as it is mounted there, gave back what was
written the time before, took a write and synced it. It says nothing of the rights of the container's own user. What is
asked of a volume that hangs has no answer; a node that is paused or stopped, and a container that has ended, could not
be asked.
"""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.history import Json
from chaos.kube import Seen
from chaos.probes import answers
from chaos.probes.cadence import Lane
from chaos.probes.inside import Clock, Reading

PERIOD_S = 1.0
ASK_S = 3.0
OPEN_MAX = 256
"""How many questions a node may leave unanswered before it is asked no more: they must fit into a pipe (64 KiB)."""
NAME = ".kindstorm-probe"
ANNOTATION = "kindstorm.dev/storage-probe"
"""``off`` in a pod template's annotations: its volumes are left alone, for a program that bears no file of others."""

Document = dict[str, Any]

_TASKS = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
# Each line asks: number, until when by the wall clock in us, container id, what to write, file. Two lines answer: one
# at once, so that a volume that hangs is told from a node that does; one when it is done. What is come to too late, in
# a node that was paused, nobody waits for any more: it is not done. The number is overwritten in place, for a file that
# is cut short first would be empty in between. A symbolic link would lead to the node's own files, and is refused; so
# is a process that is not the container's, which may have its number when it has ended.
_SHELL = r"""
LC_ALL=C
dd='timeout -s KILL 10 dd'
ask() {
  n=$1; b=$EPOCHREALTIME
  said=$( {
    read -r pid < "$tasks/$2/init.pid"
    case $(< "/proc/$pid/cgroup") in *$2*) ;; *) echo "no task $2"; exit ;; esac
    file=/proc/$pid/root$4
    [ -e "$file" ] && found=$($dd if="$file" iflag=nofollow status=none)
    printf '%s' "$3" | $dd of="$file" conv=fsync,notrunc oflag=nofollow status=none && echo "wrote $found"
  } 2>&1 )
  e=$EPOCHREALTIME; said=${said//\\/\\\\}; said=${said//$'\n'/\\n}
  printf '%s %s %s %s\n' "$n" "$b" "$e" "${said:0:1000}"
}
while read -r n until id text file; do
  if ((${EPOCHREALTIME/./} > until)); then
    echo "late $n"
    continue
  fi
  echo "began $n"
  ask "$n" "$id" "$text" "$file" &
done
"""


@dataclass(frozen=True)
class Mount:
    """Where a container of a workload's pods has a claim mounted so that it can write."""

    kind: str
    workload: str
    container: str
    path: str


def mounts(documents: Sequence[Document]) -> list[Mount]:
    """The mounts of these documents' claims; none of those that are read only, or of pods that say ``off``."""
    found = []
    for document in documents:
        spec = document.get("spec") or {}
        template = spec.get("template") or {}
        pod = template.get("spec") or {}
        annotations = (template.get("metadata") or {}).get("annotations") or {}
        if document["kind"] not in ("Deployment", "StatefulSet", "DaemonSet") or annotations.get(ANNOTATION) == "off":
            continue
        claims = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates") or []}
        claims |= {v["name"] for v in pod.get("volumes") or [] if v.get("persistentVolumeClaim")}
        found += [
            Mount(document["kind"], document["metadata"]["name"], container["name"], mount["mountPath"])
            for container in pod.get("containers") or []
            for mount in container.get("volumeMounts") or []
            if mount["name"] in claims and not mount.get("readOnly")
        ]
    return found


class Volumes:
    """Asks the volumes of all pods that have been ready once; what a pod finds at its first start is not touched."""

    def __init__(self, mounts: Sequence[Mount], pods: Callable[[], Sequence[Seen]], start: Start | None = None) -> None:
        self._mounts = list(mounts)
        self._pods = pods
        self._start = start or _on_node
        self._nodes: dict[str, _Node] = {}
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._numbers = itertools.count(1)

    def ask(self) -> dict[str, Reading]:
        """One write and one read of each volume now, by ``pod:path``; a pod that has no node yet is not asked."""
        asked = [(f"{pod.name}:{mount.path}", self._begin(pod, task, mount)) for pod, task, mount in self._targets()]
        deadline = time.monotonic() + ASK_S
        return {target: question.reading(deadline) for target, question in asked}

    def lanes(self) -> list[Lane]:
        """The lane that asks them; none where there is nothing to ask."""
        return [Lane("storage", PERIOD_S, self.ask, ASK_S + 1)] if self._mounts else []

    def close(self) -> None:
        """Let go of the nodes."""
        with self._lock:
            nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            node.close()

    def _targets(self) -> Iterator[tuple[Seen, str, Mount]]:
        for pod in self._pods():
            if pod.state.get("ready"):
                self._known.add(pod.uid)
            running = {c["name"]: c.get("id") for c in pod.state.get("containers") or () if c["state"] == "running"}
            for mount in self._mounts:
                task = str(running.get(mount.container) or "").partition("//")[2]
                if task and pod.uid in self._known and pod.state.get("node") and _belongs(pod.state, mount):
                    yield pod, task, mount

    def _begin(self, pod: Seen, task: str, mount: Mount) -> _Question:
        number = next(self._numbers)
        question = _Question(pod.uid, number)
        name = str(pod.state["node"])
        with self._lock:
            node = self._nodes.get(name)
            if node is None or not node.alive:
                node = self._nodes[name] = _Node(self._start(name))
        until_us = time.time_ns() // 1000 + round(ASK_S * 1e6)
        node.ask(question, f"{number} {until_us} {task} {number:012d} {mount.path.rstrip('/')}/{NAME}-{pod.name}\n")
        return question


def _belongs(pod: Mapping[str, Json], mount: Mount) -> bool:
    owner = pod.get("owner") or {}
    name = str(owner.get("name"))
    if owner.get("kind") == "ReplicaSet":
        return mount.kind == "Deployment" and name.rpartition("-")[0] == mount.workload
    return owner.get("kind") == mount.kind and name == mount.workload


Start = Callable[[str], "subprocess.Popen[bytes]"]


def _on_node(node: str) -> subprocess.Popen[bytes]:
    """A shell of ours in a node, which ends when its input does."""
    command = ["docker", "exec", "--interactive", node, "bash", "-c", f"tasks={_TASKS}\n{_SHELL}"]
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    # Ctrl-C at a terminal is not for it, as in images.engine.docker.
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=none, process_group=0)


@dataclass
class _Question:
    """One volume asked once: what became of it is told by the node's reader."""

    pod_uid: str
    number: int
    clock: Clock = field(default_factory=Clock)
    began: bool = False
    told: tuple[int | None, int | None, str] | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def reading(self, deadline: float) -> Reading:
        """What there is by the deadline, a time of ``time.monotonic``."""
        self.over.wait(max(0.0, deadline - time.monotonic()))
        self.clock.received()
        if self.told is None:
            error = "timeout: the volume did not answer in time" if self.began else "the node could not be asked"
            return Reading(*self.clock.place(None, None), None, error, asked=self.began)
        begin_us, end_us, text = self.told
        send_ns, receive_ns = self.clock.place(begin_us, end_us)
        if not text.startswith("wrote ") or begin_us is None or end_us is None:
            return Reading(send_ns, receive_ns, None, text.replace("\n", "; ")[:200], asked="no task" not in text)
        before = text.removeprefix("wrote ").strip()
        value = {
            "pod_uid": self.pod_uid,
            "wrote": self.number,
            "found": int(before) if before.isdigit() else before or None,
            "took_ms": round((end_us - begin_us) / 1000, 3),
        }
        return Reading(send_ns, receive_ns, value)


class _Node:
    """One node's shell, and the questions that it has not answered."""

    def __init__(self, shell: subprocess.Popen[bytes]) -> None:
        self._shell = shell
        self._open: dict[int, _Question] = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="probe-volumes", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether the shell still runs."""
        return self._shell.poll() is None

    def ask(self, question: _Question, line: str) -> None:
        """Hand a question to the shell; where it is gone the question stays unasked."""
        assert self._shell.stdin is not None  # noqa: S101 - it was made with one
        with self._lock:
            if len(self._open) >= OPEN_MAX:
                question.over.set()
                return
            self._open[question.number] = question
            try:
                self._shell.stdin.write(line.encode())
                self._shell.stdin.flush()
            except OSError:
                question.over.set()

    def close(self) -> None:
        """End the shell; one that does not is killed here, and ends in its node with its input."""
        assert self._shell.stdin is not None  # noqa: S101 - as above
        try:
            self._shell.stdin.close()
            self._shell.wait(timeout=ASK_S)
        except (OSError, subprocess.TimeoutExpired):
            self._shell.kill()
            self._shell.wait()
        self._reader.join(timeout=ASK_S)

    def _read(self) -> None:
        assert self._shell.stdout is not None  # noqa: S101 - as above
        for line in self._shell.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            word, _, number = text.partition(" ")
            if word == "began" and number.isdigit():
                with self._lock:
                    question = self._open.get(int(number))
                if question is not None:
                    question.began = True
                continue
            if word == "late" and number.isdigit():
                with self._lock:
                    self._open.pop(int(number), None)
                continue
            for key, told in answers.split(f"{text}\nasked").items():
                with self._lock:
                    question = self._open.pop(key, None)
                if question is not None:
                    question.told = told
                    question.over.set()
        with self._lock:  # the shell is gone: what it had begun may be done or not
            left, self._open = list(self._open.values()), {}
        for question in left:
            question.over.set()
