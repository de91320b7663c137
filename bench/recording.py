"""What recording costs a load: Locust's throughput with our recorder, beside the same Locust file without it.

    python bench/recording.py                 six runs of ten seconds, with and without in turn
    python bench/recording.py --rounds 5      more of them

Clients ask a small server on this machine as fast as it answers; the server counts. Every recorded run must hold as
many operations as the server has seen, or the figure is worth nothing. The last line is one JSON object: name, value,
unit, goal, peer, ok.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from chaos.history import seal
from load.driver import environment
from load.profiles import Workload

GOAL = 0.9
RUN_S = 10
WORKLOAD = Workload(
    name="as-fast-as-it-gets", user="http", users=20, rate_per_s=1.0, timeout_s=20.0, max_requests=1_000_000,
    max_s=RUN_S, keep_alive=True,
)  # fmt: skip
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Served-By: bench\r\n\r\nok"


class Counted(asyncio.Protocol):
    """Answers every request, and counts them in the line it prints at the end."""

    total = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See Protocol."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """One answer for each end of a request's headers."""
        for _ in range(data.count(b"\r\n\r\n")):
            Counted.total += 1
            self._transport.write(ANSWER)  # type: ignore[attr-defined]


async def serve() -> None:
    """Print the port, answer until SIGTERM, print the count."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(Counted, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    print(Counted.total, flush=True)


def run(folder: Path, records: bool) -> tuple[int, float]:
    """One run: (requests that the server has seen, processor seconds of Locust); ends all where a record is lost."""
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None  # noqa: S101 - a pipe was asked for
    port = int(server.stdout.readline())
    segment = folder / "load.jsonl"
    command = [
        sys.executable, "-m", "locust", "--headless", "--only-summary", "--exit-code-on-error", "0",
        "--locustfile", str(Path(__file__).parent / "recording" / "locustfile.py"), "--users", str(WORKLOAD.users),
        "--spawn-rate", str(WORKLOAD.users), "--run-time", f"{RUN_S}s", "--stop-timeout", "5",
        "--host", f"http://127.0.0.1:{port}",
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = environment(WORKLOAD, segment) | {"KINDSTORM_BENCH_RECORDS": "yes" if records else "no"}
    done = subprocess.run(command, env=told, check=False, capture_output=True, text=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    server.terminate()
    seen = int(server.stdout.readline())
    server.wait()
    if done.returncode or not seen:
        raise SystemExit(f"Locust ended with status {done.returncode} after {seen} requests:\n{done.stderr[-2000:]}")
    if records:
        history = seal([segment], folder / "history.jsonl")
        if history.cut_off() or len(history.operations) != seen or history.operations.orphans:
            raise SystemExit(f"{seen} requests were seen, {len(history.operations)} recorded: {history.cut_off()}")
        (folder / "history.jsonl").unlink()
    segment.unlink()
    return seen, (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def main() -> None:
    """Alternate, so that what else the machine does meets both; compare the sums."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        asyncio.run(serve())
        return
    totals = {True: [0, 0.0], False: [0, 0.0]}
    with tempfile.TemporaryDirectory(prefix="kindstorm-bench-") as name:
        for number in range(given.rounds):
            for records in (number % 2 == 0, number % 2 == 1):
                seen, cpu_s = run(Path(name), records)
                totals[records][0] += seen
                totals[records][1] += cpu_s
                print(
                    f"{'with' if records else 'without'} the recorder: {seen / RUN_S:.0f} requests a second", flush=True
                )
    rates = {records: total / (RUN_S * given.rounds) for records, (total, _) in totals.items()}
    cost_us = {records: 1e6 * cpu_s / total for records, (total, cpu_s) in totals.items()}
    result = {
        "name": "throughput with the recorder over without",
        "value": round(rates[True] / rates[False], 3),
        "unit": "ratio",
        "goal": GOAL,
        "peer": {
            "with, requests/s": round(rates[True]),
            "without, requests/s": round(rates[False]),
            "with, processor us/request": round(cost_us[True]),
            "without, processor us/request": round(cost_us[False]),
            "records lost": 0,
        },
        "ok": rates[True] / rates[False] >= GOAL,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
