"""The daemon: how soon it is ready, what it takes while it idles, how soon another one goes on.

``python -m benchmarks.daemon_case [--kills N] [--idle-s S] [--out FILE]``. A leader is killed
(SIGKILL) in the middle of its work while a standby waits; measured is the time from the kill until
the standby has committed something. It cannot be shorter than what is left of the lease, so the
lease's time to live stands beside it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from benchmarks import machine
from benchmarks.results import MIB, Limit
from benchmarks.stage import BenchError, Stage, server_settings
from syncd import embedded
from syncd.config import LedgerConfig

STARTS: Final = 10
LEASE_TTL_S: Final = LedgerConfig().lease_ttl_s  # as it is by default
_WAIT_S: Final = 60.0
_DATABASE: Final = "bench_daemon"
_CONFIG: Final = """
pipeline: bench
source: {{kind: files, path: "{dump}", format: csv}}
target: {{kind: postgres, dsn: "{dsn}"}}
ledger: {{lease_ttl_s: {ttl_s}}}
entities:
  item: {{from: item.csv, key: [id], into: public.item}}
"""
_ASK: Final = """
INSERT INTO syncd.syncd_claim (pipeline, scope, origin, requested_by)
VALUES ('bench', '', 'api', 'bench')
"""
_COMMITS: Final = "SELECT count(*) FROM syncd.syncd_work_unit"
_READY: Final = "ready"


class Daemon:
    """A process, and its events as lines."""

    def __init__(self, config: Path, **environ: str) -> None:
        command = [sys.executable, "-m", "syncd", "serve", str(config)]
        self.begun_s = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own arguments
            [*command, "--log-format", "json", "--log-level", "info"],
            env=os.environ | {"SYNCD_HTTP__PORT": "0"} | environ,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )

    def wait(self, event: str) -> float:
        """Seconds since its start when the event came."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith(b"{") and json.loads(line)["event"] == event:
                return time.monotonic() - self.begun_s
        raise BenchError(f"the daemon ended before {event}")

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal it and wait."""
        self.process.send_signal(number)
        self.process.wait(_WAIT_S)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def resident_bytes(self) -> int:
        """Memory that it holds now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """Seconds of a processor that it has used."""
        fields = (
            Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Place:
    """A dump that grows and a pipeline that reads it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._dump = stage.work_dir / "daemon_dump"
        self.config = stage.work_dir / "daemon.yaml"
        self._dump.mkdir()
        stage.make_database(_DATABASE)
        dsn = stage.dsn(_DATABASE)
        text = _CONFIG.format(dump=self._dump, dsn=dsn, ttl_s=LEASE_TTL_S)
        self.config.write_text(text, "utf-8")
        self.deliver(0)
        command = [sys.executable, "-m", "syncd", "init", "-c", str(self.config)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603

    def deliver(self, word: int) -> None:
        """A dump in which every row is another one than before."""
        rows = "".join(f"{number},{word}\n" for number in range(2000))
        (self._dump / "item.csv").write_text(f"id,word\n{rows}", "utf-8")

    def ask(self) -> None:
        """A claim."""
        self._stage.sql(_DATABASE, _ASK)

    def commits(self) -> int:
        """Work units that were ever committed."""
        return self._stage.number(_DATABASE, _COMMITS)


def starts(place: Place) -> list[float]:
    """Seconds to ready."""
    found = []
    for _ in range(STARTS):
        daemon = Daemon(place.config)
        found.append(daemon.wait(_READY))
        daemon.end(signal.SIGTERM)
    return found


def idle(place: Place, seconds: float) -> tuple[float, float]:
    """MiB of memory, and per cent of a processor, after a run."""
    daemon = Daemon(place.config)
    daemon.wait("leadership_taken")
    place.ask()
    daemon.wait("claim_ended")
    time.sleep(5)
    before_s, begun_s = daemon.cpu_s(), time.monotonic()
    time.sleep(seconds)
    percent = 100 * (daemon.cpu_s() - before_s) / (time.monotonic() - begun_s)
    rss_mib = daemon.resident_bytes() / MIB
    daemon.end(signal.SIGTERM)
    return rss_mib, percent


def recoveries(place: Place, kills: int) -> list[float]:
    """Seconds from the kill of a leader at work to the first commit of the standby."""
    found = []
    for kill in range(kills):
        place.deliver(kill + 1)
        leader = Daemon(place.config, SYNCD_FAILPOINTS="apply.written=hang")
        leader.wait("leadership_taken")
        standby = Daemon(place.config)
        standby.wait(_READY)
        place.ask()
        leader.wait("failpoint_fired")
        before = place.commits()
        leader.end()
        killed_s = time.monotonic()
        while place.commits() == before:
            if time.monotonic() - killed_s > _WAIT_S:
                raise BenchError("nobody took over")
            time.sleep(0.02)
        found.append(time.monotonic() - killed_s)
        standby.wait("claim_ended")
        standby.end(signal.SIGTERM)
    return found


def measured(stage: Stage, kills: int, idle_s: float) -> tuple[dict[str, Any], list[Limit]]:
    """All figures, and what is bounded of them."""
    place = Place(stage)
    ready_s = starts(place)
    rss_mib, percent = idle(place, idle_s)
    recovery_s = sorted(recoveries(place, kills))
    # Of fewer than a hundred, the ninety-ninth per cent is the slowest.
    p99_s = recovery_s[min(len(recovery_s) - 1, int(len(recovery_s) * 0.99))]
    figures = {
        "starts": len(ready_s), "ready_s_median": median(ready_s), "ready_s_max": max(ready_s),
        "idle_s": idle_s, "idle_rss_mib": rss_mib, "idle_cpu_percent": percent,
        "kills": len(recovery_s), "lease_ttl_s": LEASE_TTL_S,
        "recovery_s_median": median(recovery_s), "recovery_s_p99": p99_s,
    }  # fmt: skip
    return figures, [
        Limit("daemon: slowest start to ready in s", max(ready_s), most=3),
        Limit("daemon: idle memory in MiB", rss_mib, most=80),
        Limit("daemon: idle processor in per cent", percent, most=1),
        Limit(f"daemon: kill to first commit in s, p99, lease {LEASE_TTL_S:g} s", p99_s, most=5),
    ]


def main() -> int:
    """1 when a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.daemon_case")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--idle-s", type=float, default=60)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as folder:
        work_dir = Path(folder)
        work_dir.chmod(0o711)  # the server may run as another user
        server = embedded.prepare(work_dir / "pg")
        try:
            with embedded.start(server, settings=server_settings()) as process:
                stage = Stage(process, work_dir)
                figures, limits = measured(stage, asked.kills, asked.idle_s)
        finally:
            embedded.discard(server)
    told = {
        "commit": machine.commit(),
        "started_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": machine.describe(server.version),
        "figures": {name: round(value, 3) for name, value in figures.items()},
        "limits": [limit.line() for limit in limits],
    }
    if asked.out is not None:
        asked.out.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    for limit in limits:
        print(limit.line())
    return 0 if all(limit.holds for limit in limits) else 1


if __name__ == "__main__":
    sys.exit(main())
