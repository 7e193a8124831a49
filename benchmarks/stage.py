"""Where everything is measured: one PostgreSQL of our own with the databases of both sides.

All contenders use the same server with the same settings. ``fsync`` and full-page writes are on,
as in production, so every commit is waited for. Autovacuum is off and VACUUM ANALYZE is run at
stated points instead: else it would begin in the middle of whichever measurement is unlucky.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from benchmarks import measure, table
from benchmarks.measure import Sample
from syncd import embedded

SOURCE: Final = "bench_source"
TARGET: Final = "bench_target"

_REPOSITORY: Final = Path(__file__).resolve().parent.parent
_SHARED_BUFFERS_BYTES_MAX: Final = 1024**3


class BenchError(Exception):
    """A step of the benchmark itself failed, so there is nothing to compare."""


class RunOfSyncd(Struct, frozen=True):
    """One run of the command line: how it went, and the counts of its one entity."""

    sample: Sample
    counts: Mapping[str, int]
    code: int


def server_settings() -> dict[str, str]:
    """What the server runs with; printed with the results."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    buffers_bytes = min(_SHARED_BUFFERS_BYTES_MAX, memory_bytes // 4)
    return {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "wal_level": "replica",
        "autovacuum": "off",
        "shared_buffers": f"{buffers_bytes // 1024**2}MB",
        "max_wal_size": "8GB",  # no checkpoint that is not asked for
        "checkpoint_timeout": "1h",
    }


class Stage:
    """The server, the programs, and the folder for files that are thrown away."""

    def __init__(self, process: embedded.Process, work_dir: Path) -> None:
        self.server = process.server
        self.postmaster = process.pid
        self.work_dir = work_dir
        self.psql = self.server.bin_dir / "psql"

    def dsn(self, database: str) -> str:
        """The URL of a database."""
        return self.server.dsn(database)

    def sql(self, database: str, *statements: str) -> list[str]:
        """Run statements, each by itself; what they print, one line for each row or tag."""
        command: list[str | Path] = [
            self.psql,
            "-X",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.dsn(database),
        ]
        for statement in statements:
            command += ["-c", statement]
        ran = measure.run(command, postmaster=None)
        if ran.code != 0:
            raise BenchError(f"psql ended with {ran.code}: {ran.err}")
        return ran.out.splitlines()

    def number(self, database: str, query: str) -> int:
        """The one number of a query."""
        return int(self.sql(database, query)[0])

    def make_database(self, name: str, *statements: str) -> None:
        """An empty database in the place of the old one, and ``statements`` in it."""
        self.sql(
            "postgres",
            f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
            f"CREATE DATABASE {name} TEMPLATE template0",
        )
        if statements:
            self.sql(name, *statements)

    def has_database(self, name: str) -> bool:
        """Whether it is there."""
        query = f"SELECT count(*) FROM pg_database WHERE datname = '{name}'"  # noqa: S608 - ours
        return self.number("postgres", query) > 0

    def drop_database(self, name: str) -> None:
        """Gone, if it was there."""
        self.sql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def make_source(self, rows: int, name: str = SOURCE) -> None:
        """The source with its table, vacuumed and read once."""
        self.make_database(name, table.CREATE, table.fill(1, rows))
        self.settle(name)

    def settle(self, *databases: str) -> None:
        """What autovacuum and the checkpointer would do some time: now, and not while measured."""
        for name in databases:
            self.sql(name, "VACUUM (ANALYZE)")
        self.sql("postgres", "CHECKPOINT")

    def row_bytes(self, database: str = SOURCE) -> dict[str, float]:
        """Bytes of an average row in the heap, and of one in a thousand as COPY text."""
        heap = "SELECT round(pg_relation_size('item')::numeric / count(*), 1) FROM item"
        sample = "COPY (SELECT * FROM item WHERE id % 1000 = 1) TO STDOUT"
        lines = self.sql(database, sample)
        text = sum(len(line) + 1 for line in lines) / max(len(lines), 1)
        return {"heap": float(self.sql(database, heap)[0]), "copy_text": round(text, 1)}

    def written(self, database: str) -> dict[str, int]:
        """Rows that were ever inserted, updated and deleted in the table ``item``."""
        query = (
            "SELECT n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables "
            "WHERE relname = 'item' AND schemaname = 'public'"
        )
        numbers = self.sql(database, query)[0].split("|")
        return dict(zip(("inserted", "updated", "deleted"), map(int, numbers), strict=True))

    # -- contenders --------------------------------------------------------------------------

    def copy_out(self, database: str = SOURCE) -> Sample:
        """The yardstick: ``psql -c 'COPY item TO STDOUT'`` into nothing."""
        to = ("-d", self.dsn(database), "-c", "COPY item TO STDOUT")
        return self.measured([self.psql, "-X", "-q", *to], keep_output=False).sample

    def copy_pipe(self, database: str) -> Sample:
        """``psql COPY | psql COPY`` from the source into an empty table with its primary key."""
        script = (
            'set -e -o pipefail; "$0" -X -q -d "$1" -c "COPY item TO STDOUT"'
            ' | "$0" -X -q -d "$2" -c "COPY item FROM STDIN"'
        )
        databases = (self.dsn(SOURCE), self.dsn(database))
        return self.measured(["bash", "-c", script, self.psql, *databases]).sample

    def bare_upsert(self, database: str) -> Sample:
        """The bare loop of ``benchmarks.bare_upsert`` from the source into a database."""
        command = [sys.executable, "-m", "benchmarks.bare_upsert"]
        return self.measured([*command, self.dsn(SOURCE), self.dsn(database)]).sample

    def configure(self, name: str, source: str, entity: str, target: str = TARGET) -> Path:
        """A pipeline's file with the given YAML of source and entity; its path."""
        path = self.work_dir / f"{name}.yaml"
        path.write_text(
            f"pipeline: {name}\n"
            f"source: {source}\n"
            f'target: {{kind: postgres, dsn: "{self.dsn(target)}"}}\n'
            f"entities:\n  item: {entity}\n"
        )
        return path

    def pipeline(self, source: str = SOURCE, target: str = TARGET) -> Path:
        """The pipeline from one database's table to the other's."""
        return self.configure(
            "bench",
            f'{{kind: postgres, dsn: "{self.dsn(source)}"}}',
            "{from: public.item, key: [id], into: public.item}",
            target,
        )

    def init(self, config: Path) -> None:
        """``syncd init``."""
        self.measured([*_SYNCD, "init", "-c", config])

    def syncd(self, config: Path) -> RunOfSyncd:
        """``syncd run``, the way a scheduler starts it."""
        ran = self.measured([*_SYNCD, "run", "-c", config, "--output", "json"], codes=(0, 4, 5))
        report: dict[str, Any] = json.loads(ran.out)
        counts = {name: n for name, n in report["entities"]["item"].items() if n}
        return RunOfSyncd(replace(ran.sample, reported_s=report["seconds"]), counts, ran.code)

    def measured(
        self,
        command: Sequence[str | Path],
        *,
        codes: Sequence[int] = (0,),
        keep_output: bool = True,
        environ: Mapping[str, str] | None = None,
        seconds_max: float = measure.SECONDS_MAX,
    ) -> measure.Ran:
        """A program, measured; BenchError when it ends with another code than ``codes``.

        Python's compiled code is kept between runs, as an installation keeps it; where bytecode
        is not to be written beside our files, each start would compile them anew.
        """
        ran = measure.run(
            command,
            postmaster=self.postmaster,
            keep_output=keep_output,
            environ={
                "PYTHONDONTWRITEBYTECODE": "",
                "PYTHONPYCACHEPREFIX": str(self.work_dir / "bytecode"),
                **(environ or {}),
            },
            cwd=_REPOSITORY,  # so that `python -m benchmarks.bare_upsert` is found
            seconds_max=seconds_max,
        )
        if ran.code not in codes:
            words = " ".join(Path(str(word)).name for word in command[:4])
            raise BenchError(f"{words} ended with {ran.code}: {ran.err.strip()[-500:]}")
        return ran


_SYNCD: Final = (sys.executable, "-m", "syncd")


def expect(ran: RunOfSyncd, **counts: int) -> None:
    """Raise BenchError when a run did something else than what was prepared for it."""
    for name, rows in counts.items():
        found = ran.counts.get(name, 0)
        if found != rows:
            raise BenchError(f"expected {rows} {name}, found {found}: {dict(ran.counts)}")
