"""A dump in CSV to PostgreSQL: the same file again, the same rows in another order, a new file.

The floor of the quiet night is what cannot be left out if a file is to be proved the same without
trusting its name, size or time: somebody must read every byte once (``wc -l``) and hash every byte
once with a hash that nobody can forge (BLAKE2b of Python's own hashlib, 1 MiB at a time). Each is
a process of its own, and their times are added up.
"""

import sys
from pathlib import Path
from typing import Final

from benchmarks import table
from benchmarks.measure import Sample
from benchmarks.results import Case
from benchmarks.stage import SOURCE, Stage, expect
from benchmarks.tables_cases import TURNS, Tables, live_night

_TARGET: Final = "bench_files"
_FLOOR_TITLE: Final = "wc -l, then BLAKE2b"
_HASH: Final = """
import sys
from hashlib import blake2b
state = blake2b()
with open(sys.argv[1], "rb", buffering=0) as file:
    while block := file.read(1048576):
        state.update(block)
print(state.hexdigest())
"""
_TYPES: Final = (
    "{id: bigint, customer_id: integer, status: smallint, quantity: integer, "
    "price: 'numeric(12,2)', weight: double precision, is_active: boolean, started_on: date, "
    "updated_at: timestamptz, reference: uuid}"
)


class Files:
    """The cases of one CSV file."""

    def __init__(self, stage: Stage, tables: Tables, rows: int) -> None:
        self._stage = stage
        self._tables = tables
        self._rows = rows
        self._folder = stage.work_dir / "dump"
        self._file = self._folder / "item.csv"

    def cases(self) -> list[Case]:
        """First load, the same file three times, another order, another night."""
        stage = self._stage
        self._folder.mkdir(exist_ok=True)
        stage.make_database(_TARGET, table.CREATE)
        config = stage.configure(
            "bench_files",
            f'{{kind: files, path: "{self._folder}", format: csv}}',
            f"{{from: item.csv, key: [id], into: public.item, columns: {_TYPES}}}",
            _TARGET,
        )
        live = self._dump("id")
        stage.init(config)
        cases = [self._case("files_initial", "files: first load", config, inserted=live)]
        stage.settle(_TARGET)
        quiet = self._case("files_no_change", "files: same file", config, TURNS, unchanged=live)
        quiet.bound_ratio(1.5)
        cases.append(quiet)
        self._dump("md5(id::text)")
        other = "files: same rows in another order"
        cases.append(self._case("files_reordered", other, config, unchanged=live))
        changed = self._night()
        title = "files: 1 % updated, 0.1 % inserted, 0.1 % deleted"
        cases.append(self._case("files_night", title, config, **changed))
        for case in cases:
            case.bound_memory()
        return cases

    def _dump(self, order: str) -> int:
        """Write the source's rows to the file, in that order; how many they are."""
        statement = f"COPY (SELECT * FROM item ORDER BY {order}) TO STDOUT (FORMAT csv, HEADER)"  # noqa: S608
        to = ("-d", self._stage.dsn(SOURCE), "-o", self._file, "-c", statement)
        self._stage.measured([self._stage.psql, "-X", "-q", *to])
        return self._stage.number(SOURCE, "SELECT count(*) FROM item")

    def _night(self) -> dict[str, int]:
        """A night at the source, dumped; what changed."""
        changed = live_night(self._stage, self._tables.next_night(), self._rows)
        self._dump("id")
        return changed

    def _case(self, name: str, title: str, config: Path, turns: int = 1, **counts: int) -> Case:
        base, job = list[Sample](), list[Sample]()
        parts: dict[str, list[Sample]] = {"wc -l": [], "BLAKE2b": []}
        for _ in range(turns):
            floor = self._floor()
            for part, sample in zip(parts.values(), floor, strict=True):
                part.append(sample)
            base.append(_sum(*floor))
            ran = self._stage.syncd(config)
            expect(ran, **counts)
            job.append(ran.sample)
        case = Case(name, title, self._rows, _FLOOR_TITLE, base, job, parts=parts)
        case.facts = {"file_bytes": self._file.stat().st_size}
        return case

    def _floor(self) -> tuple[Sample, Sample]:
        measured, python = self._stage.measured, sys.executable
        counted = measured(["wc", "-l", self._file]).sample
        hashed = measured([python, "-I", "-S", "-c", _HASH, self._file]).sample
        return counted, hashed


def _sum(one: Sample, other: Sample) -> Sample:
    """One program after the other."""
    return Sample(
        wall_s=one.wall_s + other.wall_s,
        client_cpu_s=one.client_cpu_s + other.client_cpu_s,
        server_cpu_s=0.0,
        rss_bytes=max(one.rss_bytes, other.rss_bytes),
    )
