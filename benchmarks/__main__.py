"""Measure, print, write the results, and say which limits are missed: ``make bench``."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from benchmarks import machine, peers, tell
from benchmarks.aggregate_case import aggregates
from benchmarks.files_cases import Files
from benchmarks.interventions_case import Interventions
from benchmarks.odbc_case import through_odbc
from benchmarks.results import Case, Results
from benchmarks.scale_case import scaled
from benchmarks.scrape_case import scraped
from benchmarks.stage import BenchError, Stage, server_settings
from benchmarks.tables_cases import Tables
from syncd import embedded

ROWS: Final = 1_000_000
ROWS_QUICK: Final = 100_000
SCALE: Final = 5
AGGREGATE_SHARE: Final = 10  # an aggregate is four rows, and an importer has 100,000 of them

_REPOSITORY: Final = Path(__file__).resolve().parent.parent
_RESULTS: Final = Path(__file__).resolve().parent / "results"

Steps: TypeAlias = dict[str, Callable[[], list[Case]]]


class Asked(msgspec.Struct, frozen=True):
    """What the command line says."""

    rows: int
    only: tuple[str, ...]
    out: Path | None
    peers_dir: Path
    scale: bool
    no_gate: bool


def main(words: Sequence[str] | None = None) -> int:
    """The exit code: 1 when a limit is missed, or when a step failed."""
    asked = _asked(words)
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as folder:
        work_dir = Path(folder)
        work_dir.chmod(0o711)  # the server may run as another user
        server = embedded.prepare(work_dir / "pg")
        try:
            with embedded.start(server, settings=server_settings()) as process:
                results, failed = _measured(Stage(process, work_dir), asked)
        finally:
            embedded.discard(server)
    _write(results, asked)
    for limit in results.limits():
        print(limit.line())
    missed = [limit for limit in results.limits() if not limit.holds]
    if missed and not results.gated:
        print(f"{len(missed)} limits missed; not gated")
    return 1 if failed or (missed and results.gated) else 0


def _measured(stage: Stage, asked: Asked) -> tuple[Results, bool]:
    """All that was asked for, and whether a step failed; what was found before it is kept."""
    results = Results(
        commit=machine.commit(),
        started_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        rows=asked.rows,
        gated=not asked.no_gate and asked.rows >= ROWS,
        machine=machine.describe(stage.server.version),
        settings=server_settings(),
    )
    failed = False
    try:
        print(f"making {asked.rows:,} rows", flush=True)
        stage.make_source(asked.rows)
        results.row_bytes = stage.row_bytes()
        for name, step in _steps(stage, asked, results).items():
            if not asked.only or name in asked.only:
                print(f"-- {name}", flush=True)
                for case in step():
                    results.cases.append(case)
                    print(tell.line(case), flush=True)
    except BenchError as error:
        print(f"stopped: {error}", file=sys.stderr)
        failed = True
    results.machine = {**results.machine, "load_after": round(os.getloadavg()[0], 2)}
    return results, failed


def _steps(stage: Stage, asked: Asked, results: Results) -> Steps:
    tables = Tables(stage, asked.rows)
    files = Files(stage, tables, asked.rows)

    def night() -> list[Case]:
        cases = tables.night()
        results.sees += tables.sees
        return cases

    def peer(name: str) -> Callable[[], list[Case]]:
        return lambda: peers.measured(name, stage, tables, asked.rows, asked.peers_dir, results)

    steps: Steps = {
        "initial": tables.initial,
        "no_change": tables.no_change,
        "night": night,
        "epoch": tables.epoch,
        "everything": tables.everything,
        **{name: peer(name) for name in peers.NAMES},
        "files": files.cases,
        "aggregates": lambda: aggregates(stage, asked.rows // AGGREGATE_SHARE),
        "interventions": Interventions(stage, asked.rows // AGGREGATE_SHARE).cases,
        "odbc": lambda: through_odbc(stage, asked.rows),
        "scrape": lambda: scraped(stage, asked.rows),
    }
    if asked.scale:
        steps["scale"] = lambda: scaled(stage, asked.rows * SCALE, results.find("no_change"))
    return steps


def _write(results: Results, asked: Asked) -> None:
    stamp = results.started_at.replace(":", "").replace("-", "")
    out = asked.out or _RESULTS / f"{stamp}-{results.commit}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(results.as_json())
    page = tell.page(results)
    out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(f"\n{page}\nwritten: {out.name} and {out.with_suffix('.md').name}")


def _asked(words: Sequence[str] | None) -> Asked:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--quick", action="store_true", help=f"{ROWS_QUICK:,} rows, not gated")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="one case; may be repeated",
        choices=[
            "initial",
            "no_change",
            "night",
            "epoch",
            *peers.NAMES,
            "everything",
            "files",
            "aggregates",
            "interventions",
            "odbc",
            "scrape",
            "scale",
        ],
    )
    parser.add_argument("--out", type=Path, help="the JSON file; a Markdown page goes beside it")
    parser.add_argument("--peers-dir", type=Path, default=_REPOSITORY / ".bench-peers")
    parser.add_argument("--scale", action="store_true", help=f"also {SCALE} times as many rows")
    parser.add_argument("--no-gate", action="store_true", help="a missed limit is only told")
    found = parser.parse_args(words)
    return Asked(
        rows=ROWS_QUICK if found.quick else found.rows,
        only=tuple(found.only),
        out=found.out,
        peers_dir=found.peers_dir.resolve(),
        scale=found.scale or "scale" in found.only,
        no_gate=found.no_gate,
    )


if __name__ == "__main__":
    sys.exit(main())
