"""When the containers of each pod ran, as the nodes themselves told it."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.history import History, Json, Record

MAX_ROWS = 4
"""How many runs at the same time a lane has rows for; those beyond share the last."""

MAX_RUNS = 400
"""How many runs one lane may have; later ones are left out."""


@dataclass(slots=True)
class ContainerRun:
    """One run of one container, in ns. ``begun``: it was seen to start; ``ended``: to exit."""

    from_ns: int
    to_ns: int
    node: str
    container: str
    pod_uid: str
    begun: bool
    ended: bool
    exit_status: Json
    error_ns: int
    row: int = 0


def container_runs(history: History, namespace: str | None) -> dict[str, list[ContainerRun]]:
    """Runs by the name of their pod, in the order they began; runs at the same time have rows of their own.

    A run that was never seen to exit lasts until its node's witness said its last word.
    """
    open_runs: dict[tuple[str, Json], ContainerRun] = {}
    by_pod: dict[str, list[ContainerRun]] = {}
    for record in history.of("runtime"):
        if namespace not in (None, record.get("namespace")):
            continue
        key = (record.source, record.get("container_id"))
        if record["event"] == "exit":
            _end(record, open_runs.pop(key, None), by_pod)
        elif key not in open_runs:
            open_runs[key] = _begin(record, history.last_heard[record.source])
            by_pod.setdefault(str(record["pod"]), []).append(open_runs[key])
    return {pod: _in_rows(runs) for pod, runs in by_pod.items()}


def _begin(record: Record, until_ns: int) -> ContainerRun:
    return ContainerRun(
        record.time_ns,
        until_ns,
        record.source.removeprefix("node:"),
        str(record.get("container") or "container"),
        str(record.get("pod_uid")),
        begun=record["event"] == "start",
        ended=False,
        exit_status=None,
        error_ns=int(record.get("error_ns") or 0),
    )


def _end(record: Record, run: ContainerRun | None, by_pod: dict[str, list[ContainerRun]]) -> None:
    """Close a run; an exit of which no beginning was told is a run of no length, so that it is not hidden."""
    if run is None:
        run = _begin(record, record.time_ns)
        by_pod.setdefault(str(record["pod"]), []).append(run)
    run.to_ns, run.ended, run.exit_status = record.time_ns, True, record.get("exit_status")
    run.error_ns = max(run.error_ns, int(record.get("error_ns") or 0))


def _in_rows(runs: list[ContainerRun]) -> list[ContainerRun]:
    runs.sort(key=lambda run: run.from_ns)
    ends: list[int] = []
    for run in runs:
        row = next((place for place, end in enumerate(ends) if end <= run.from_ns), len(ends))
        ends[row : row + 1] = [run.to_ns]
        run.row = min(row, MAX_ROWS - 1)
    return runs[:MAX_RUNS]
