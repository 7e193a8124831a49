"""What a scrape of ``/metrics`` takes while the daemon brings a million rows over.

The daemon is a real process with its metrics on a port of their own. Scrapes follow each other four
times a second, far more often than Prometheus asks, from before the first load until the end of a
night in which one row in ten has changed. The yardstick is the same scrape of the idle daemon.
"""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Final

from benchmarks import table
from benchmarks.measure import SECONDS_MAX, Sample
from benchmarks.results import Case, Limit
from benchmarks.stage import SOURCE, TARGET, BenchError, Stage

P99_S_MAX: Final = 0.05
_EVERY_S: Final = 0.25
_IDLE_SCRAPES: Final = 100
_REPOSITORY: Final = Path(__file__).resolve().parent.parent


def scraped(stage: Stage, rows: int) -> list[Case]:
    """Scrapes during a first load and during a night, together."""
    stage.make_database(TARGET, table.CREATE)
    config = stage.pipeline()
    stage.init(config)
    with _daemon(stage, config) as (process, port):
        idle = [_scrape(port)[0] for _ in range(_IDLE_SCRAPES)]
        busy = _until_run(process, port, runs=1)
        stage.sql(SOURCE, "UPDATE item SET quantity = coalesce(quantity, 0) + 1 WHERE id % 10 = 0")
        busy += _until_run(process, port, runs=2)
        memory_bytes = _number(_scrape(port)[1], "process_resident_memory_bytes")
    return [_case(rows, idle, busy, memory_bytes)]


def _case(rows: int, idle: list[float], busy: list[float], memory_bytes: float) -> Case:
    p99_s = quantiles(busy, n=100)[98]
    case = Case(
        "scrape",
        "p99 of a scrape beside a run",
        rows,
        "p99 of the same scrape while idle",
        [Sample(quantiles(idle, n=100)[98], 0, 0, int(memory_bytes))],
        [Sample(p99_s, 0, 0, int(memory_bytes))],
        facts={
            "scrapes": len(busy),
            "p50_ms": round(quantiles(busy, n=100)[49] * 1000, 1),
            "p99_ms": round(p99_s * 1000, 1),
            "most_ms": round(max(busy) * 1000, 1),
        },
    )
    case.limits.append(Limit("p99 of a scrape beside a run, s", p99_s, most=P99_S_MAX))
    return case


@contextmanager
def _daemon(stage: Stage, config: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    service = stage.work_dir / "service.yaml"
    service.write_text(f"metrics: {{port: {port}}}\nhttp: {{port: 0}}\n")
    line = [sys.executable, "-m", "syncd", "serve", str(config), "--service", str(service)]
    with subprocess.Popen(line, cwd=_REPOSITORY) as process:  # noqa: S603 - our own program
        try:
            _until_leader(process, port)
            yield process, port
        finally:
            process.terminate()
            process.wait(60)


def _until_leader(process: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(600):
        try:
            if _number(_scrape(port)[1], "syncd_leader{"):
                return
        except OSError:
            if process.poll() is not None:
                raise BenchError(f"the daemon ended with {process.returncode}") from None
        time.sleep(0.1)
    raise BenchError("the daemon does not lead after a minute")


def _until_run(process: "subprocess.Popen[bytes]", port: int, *, runs: int) -> list[float]:
    """Ask for a run and scrape until it has ended; seconds of each scrape."""
    process.send_signal(signal.SIGHUP)
    took_s = []
    ends_s = time.monotonic() + SECONDS_MAX
    while time.monotonic() < ends_s:
        seconds, text = _scrape(port)
        took_s.append(seconds)
        if _number(text, 'syncd_runs_total{pipeline="bench",status="completed"}') >= runs:
            return took_s
        time.sleep(_EVERY_S)
    raise BenchError("the run did not end")


def _scrape(port: int) -> tuple[float, str]:
    begun_s = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return time.perf_counter() - begun_s, text


def _number(text: str, name: str) -> float:
    """The value of the first series whose line begins so; 0 where there is none."""
    for line in text.splitlines():
        if line.startswith(name):
            return float(line.rsplit(" ", 1)[1])
    return 0.0
