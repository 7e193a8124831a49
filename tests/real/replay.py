"""Real dumps, night after night, through the command line, held against their exact truth.

A series is one archive of consecutive versions. Each version is a night: ``syncd run`` in this
process, with a configuration file as a user writes it. What the ledger says was inserted, updated
and deleted is compared, key by key, with what an independent script found.
"""

import asyncio
import csv
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
import yaml
import zstandard
from msgspec import Struct
from typer.testing import CliRunner

from syncd.cli import main
from syncd.flow.keys import display_key
from syncd.flow.model import Kind

Keys = dict[str, set[str]]
Table = list[dict[str, str | None]]
_CHANGES: Final = """
SELECT i.outcome, i.key FROM syncd.syncd_import_record i
JOIN syncd.syncd_entity e USING (entity_id)
WHERE e.name = $1 AND i.run_id > $2 AND i.outcome IN ('inserted', 'updated', 'deleted')
"""
_LAST_RUN: Final = "SELECT coalesce(max(run_id), 0) FROM syncd.syncd_run"


class Series(Struct, frozen=True):
    """One archive: where each entity's file is, and what its key is."""

    name: str
    files: Mapping[str, str]  # entity -> path of the file, with {n} for the version
    keys: Mapping[str, str]
    kinds: Mapping[str, Kind]
    columns: tuple[str, ...] = ()  # names, where the files have no header


OURAIRPORTS: Final = Series(
    "ourairports",
    {
        name.replace("-", "_"): f"calm_2026/version_{{n:04d}}/{name}.csv"
        for name in ("countries", "regions", "navaids", "airport-frequencies", "runways")
    },
    dict.fromkeys(("countries", "regions", "navaids", "airport_frequencies", "runways"), "id"),
    dict.fromkeys(
        ("countries", "regions", "navaids", "airport_frequencies", "runways"), Kind.INTEGER
    ),
)
KEV: Final = Series("kev", {"kev": "kev/version_{n:04d}.csv"}, {"kev": "cveID"}, {"kev": Kind.TEXT})
SP500: Final = Series(
    "sp500", {"sp500": "sp500/version_{n:04d}.csv"}, {"sp500": "Symbol"}, {"sp500": Kind.TEXT}
)


def epraccur(truth: Mapping[str, Any]) -> Series:
    """The series without a header; its column names are in the truth."""
    return Series(
        "epraccur",
        {"practices": "version_{n:04d}.csv"},
        {"practices": "organisation_code"},
        {"practices": Kind.TEXT},
        tuple(truth["columns"]),
    )


def read_truth(shared: Path, name: str) -> dict[str, Any]:
    """The truth file of a series."""
    truth: dict[str, Any] = json.loads((shared / "data/dumps" / f"{name}.truth.json").read_text())
    return truth


def unpack(shared: Path, series: Series, into: Path) -> None:
    """Unpack the archive of a series."""
    for archive in (shared / "data/dumps").glob(f"{series.name}.tar.*"):
        if archive.suffix == ".zst":
            with (
                zstandard.open(archive, "rb") as plain,
                tarfile.open(fileobj=plain, mode="r|") as tar,
            ):
                tar.extractall(into, filter="data")
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(into, filter="data")


class Replay:
    """One pipeline that follows a series."""

    def __init__(self, series: Series, folder: Path, target_dsn: str, source_dsn: str = "") -> None:
        self.series = series
        self._folder = folder
        self._target_dsn = target_dsn
        self._source_dsn = source_dsn
        self._config = folder / "pipeline.yaml"
        self._runs_seen = 0

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """``syncd ARGUMENTS``; its exit code and the JSON it printed, if any."""
        command = ["-c", str(self._config), "--output", "json", *arguments]
        result = CliRunner().invoke(main.app, command)
        text = result.stdout.strip()
        return result.exit_code, json.loads(text) if text.startswith("{") else {}

    def dump(self, version: int) -> None:
        """A new night's dump has come."""
        if self._source_dsn:
            asyncio.run(self._load(version))
        self._config.write_text(yaml.safe_dump(self._settings(version), sort_keys=False))

    def changes(self) -> dict[str, Keys]:
        """Keys by entity and outcome, of the runs since the last time this was asked."""
        return asyncio.run(self._changes())

    def stored(self, entity: str) -> Table:
        """The target's rows as text."""
        return asyncio.run(self._stored(entity))

    def dumped(self, entity: str, version: int) -> Table:
        """The rows of a dump, by the csv module alone."""
        path = self._folder / self.series.files[entity].format(n=version)
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        names = self.series.columns or lines.pop(0)
        return [dict(_paired(names, line)) for line in lines if line]

    def _settings(self, version: int) -> dict[str, Any]:
        entities: dict[str, Any] = {}
        for entity, path in self.series.files.items():
            key = self.series.keys[entity]
            columns = dict.fromkeys(self.series.columns, "text")
            if self.series.kinds[entity] is Kind.INTEGER:
                columns[key] = "integer"
            entities[entity] = {
                "from": entity if self._source_dsn else path.format(n=version),
                "key": [key],
                "into": f"public.{entity}",
                "columns": {} if self._source_dsn else columns,
            }
        source: dict[str, Any] = {"kind": "postgres", "dsn": self._source_dsn}
        if not self._source_dsn:
            source = {"kind": "files", "path": str(self._folder), "format": "csv"}
            source["header"] = not self.series.columns
        return {
            "pipeline": self.series.name,
            "source": source,
            "target": {"kind": "postgres", "dsn": self._target_dsn},
            "entities": entities,
        }

    async def _load(self, version: int) -> None:
        """Put a version into the legacy database, as a restored dump would be."""
        connection = await asyncpg.connect(self._source_dsn)
        try:
            async with connection.transaction():
                for entity in self.series.files:
                    await self._load_table(connection, entity, version)
        finally:
            await connection.close()

    async def _load_table(self, connection: Any, entity: str, version: int) -> None:
        rows = self.dumped(entity, version)
        names = list(rows[0])
        key = self.series.keys[entity]
        numeric = self.series.kinds[entity] is Kind.INTEGER
        columns = ", ".join(
            f'"{name}" {"bigint" if numeric and name == key else "text"}' for name in names
        )
        await connection.execute(f'DROP TABLE IF EXISTS "{entity}"')
        await connection.execute(f'CREATE TABLE "{entity}" ({columns}, PRIMARY KEY ("{key}"))')
        records = [
            tuple(int(row[n] or 0) if numeric and n == key else row[n] for n in names)
            for row in rows
        ]
        await connection.copy_records_to_table(entity, records=records, columns=names)

    async def _changes(self) -> dict[str, Keys]:
        connection = await asyncpg.connect(self._target_dsn)
        found: dict[str, Keys] = {}
        try:
            for entity in self.series.files:
                found[entity] = {"inserted": set(), "updated": set(), "deleted": set()}
                for row in await connection.fetch(_CHANGES, entity, self._runs_seen):
                    (key,) = display_key([self.series.kinds[entity]], row["key"])
                    found[entity][row["outcome"]].add(key)
            self._runs_seen = await connection.fetchval(_LAST_RUN)
        finally:
            await connection.close()
        return found

    async def _stored(self, entity: str) -> Table:
        connection = await asyncpg.connect(self._target_dsn)
        try:
            rows = await connection.fetch(f'SELECT * FROM public."{entity}"')  # noqa: S608 - a name of ours
        finally:
            await connection.close()
        return [
            {name: None if value is None else str(value) for name, value in row.items()}
            for row in rows
        ]


def _paired(names: Sequence[str], line: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Values by name; a short line has none for its last columns, a long one too many."""
    for at, name in enumerate(names):
        yield name, line[at] if at < len(line) else None
