"""``python -m tests.failpoints --report FILE [--seed N] [POINT ...]``: the sweep; 1 on a fault.

The report is written after each cell: seed, commit, counts, rates, and each cell. A sweep that was
cut off goes on where the report of the same commit and seed ends.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct

from syncd import embedded, logs, secrets
from syncd.failpoints import POINTS
from tests.conftest import REPOSITORY
from tests.crash.zygote import Zygote
from tests.failpoints.scenarios import ALL, Cell
from tests.failpoints.sweep import Result, Sweep


class Report(Struct):
    """What a sweep has come to. ``seconds`` is the time it took, over all its parts."""

    commit: str
    seed: int
    points: int
    cells: int = 0
    failed: int = 0
    unreached: int = 0
    kills: int = 0
    seconds: float = 0.0
    cells_per_minute: float = 0.0
    results: list[Result] = []

    def add(self, result: Result, seconds: float) -> None:
        """Take the next cell, which took that long with all round it."""
        self.results.append(result)
        self.cells += 1
        self.failed += bool(result.wrong)
        self.unreached += not result.reached
        self.kills += result.action == "kill" and not result.wrong
        self.seconds = round(self.seconds + seconds, 3)
        self.cells_per_minute = round(self.cells * 60 / self.seconds, 1)


def main(words: list[str]) -> int:
    """Sweep what is left of the named points, all where none is named."""
    asked = _parser().parse_args(words)
    unknown = sorted(set(asked.points) - POINTS.keys())
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}\n")
        return 2
    report = _begun(asked.report, asked.seed)
    done = {(result.point, result.action) for result in report.results}
    left = [
        cell
        for cell in ALL
        if (cell.point, cell.action) not in done
        and (not asked.points or cell.point in asked.points)
    ]
    logs.configure("json", "error", secrets.redactor([], {}))
    with tempfile.TemporaryDirectory() as root, Zygote() as zygote:
        settings = {"max_connections": "200"}
        with embedded.serve(Path(root), settings=settings) as server:
            asyncio.run(_sweep(server, zygote, report, asked.report, left))
    sys.stdout.write(
        f"{report.cells} cells, {report.failed} failed, {report.unreached} never reached, "
        f"{report.cells_per_minute} a minute\n"
    )
    return 1 if report.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.failpoints")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("points", nargs="*")
    return parser


def _begun(path: Path, seed: int) -> Report:
    """The report to go on with; a new one where there is none of this commit and seed."""
    if path.exists():
        report = msgspec.json.decode(path.read_bytes(), type=Report)
        if (report.commit, report.seed) == (_commit(), seed):
            return report
    return Report(_commit(), seed, len(POINTS))


def _commit() -> str:
    """The commit, with a mark where the tree differs from it."""
    words = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    said = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


async def _sweep(
    server: embedded.Server, zygote: Zygote, report: Report, path: Path, left: list[Cell]
) -> None:
    last_s = time.monotonic()

    def told(result: Result) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        report.add(result, now_s - last_s)
        last_s = now_s
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
        sys.stdout.write(f"{result.point}={result.action} {result.wrong or 'ok'}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep(_Databases(server).make, zygote, Path(folder), told, seed=report.seed)
        await sweep.run(left)


class _Databases:
    """Makes databases that go with the server."""

    def __init__(self, server: embedded.Server) -> None:
        self._server = server
        self._made = 0

    async def make(self, suffix: str) -> str:
        """A suffix in, a DSN out."""
        self._made += 1
        name = f"sweep_{self._made}_{suffix}"
        connection = await asyncpg.connect(self._server.dsn())
        try:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        finally:
            await connection.close()
        return self._server.dsn(name)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
