"""``python -m config.interventions.sample``: make the synthetic IM, or let nights pass in it.

tsql     files for a SQL Server: the tables, the rows, and one file for each night
load     the same into PostgreSQL, in its schema dbo, which is made anew
night    let one night pass in what ``load`` made
numbers  the CSV of licence and requirement numbers, for ``syncd lookup load``
"""

import argparse
import asyncio
import csv
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import asyncpg

from config.interventions.sample.legacy import Legacy, Places, Row
from config.interventions.sample.nights import Night, insert
from config.interventions.sample.tables import TABLES, ddl

_ROWS_AT_ONCE: Final = 500  # SQL Server takes 1,000 in one VALUES


def main() -> int:
    """The exit code."""
    asked = _asked()
    legacy = Legacy(asked.referrals, asked.seed, _places(asked))
    if asked.what == "tsql":
        _write(legacy, asked.out, asked.nights)
    elif asked.what == "numbers":
        _numbers(legacy, asked.out)
    elif asked.what == "load":
        asyncio.run(load(legacy, asked.dsn))
    else:
        for _ in range(asked.number - 1):  # they have been, and are only remembered
            for _ in Night(legacy, national=False).statements():
                pass
        asyncio.run(pass_night(legacy, asked.dsn))
    return 0


async def load(legacy: Legacy, dsn: str) -> None:
    """Make schema dbo anew in a PostgreSQL database, as a restored dump would stand there."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("DROP SCHEMA IF EXISTS dbo CASCADE")
            for statement in ddl(for_postgres=True):
                await connection.execute(statement)
            for name, table in TABLES.items():
                await connection.copy_records_to_table(
                    name.lower(),
                    schema_name="dbo",
                    columns=[column.name.lower() for column in table.columns],
                    records=[legacy.whole(name, row) for row in legacy.tables[name].values()],
                )
            await connection.execute(_finished(legacy, await connection.fetchval(_WHICH)))
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def pass_night(legacy: Legacy, dsn: str) -> None:
    """Let the next night pass, in memory and in the database: it is another dump afterwards."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            for statement in Night(legacy, national=False).statements():
                await connection.execute(statement)
            await connection.execute(_finished(legacy, await connection.fetchval(_WHICH)))
    finally:
        await connection.close()


_WHICH: Final = "SELECT quote_ident(current_database())"


def _finished(legacy: Legacy, database: str) -> str:
    """What says which dump stands there: the moment of its backup, as the database's comment."""
    return f"COMMENT ON DATABASE {database} IS '{legacy.finished_at.isoformat()}Z'"


def _write(legacy: Legacy, out: Path, nights: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    _save(out / "tables.sql", ddl(for_postgres=False))
    for name in TABLES:
        _save(out / f"rows_{name}.sql", _inserts(legacy, name))
    _numbers(legacy, out / "licreqnos.csv")
    for at in range(1, nights + 1):
        _save(out / f"night_{at:03}.sql", Night(legacy, national=True).statements())


def _inserts(legacy: Legacy, table: str) -> Iterator[str]:
    rows: Iterator[Row] = (legacy.whole(table, row) for row in legacy.tables[table].values())
    while some := [*islice(rows, _ROWS_AT_ONCE)]:
        yield insert(table, some, national=True)


def _save(path: Path, statements: Iterator[str] | list[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{statement};\n" for statement in statements)


def _numbers(legacy: Legacy, out: Path) -> None:
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("source_referral_id", "licreqno"))
        writer.writerows(legacy.numbers())


def _places(asked: argparse.Namespace) -> Places:
    """The real ones, where files are named: ``id,name`` and ``id,name,...,parent``."""
    regions = [(row["id"], row["region_name"]) for row in _read(asked.regions)]
    pdus = [(row["id"], row["pdu_name"], row["region_id"]) for row in _read(asked.pdus)]
    teams = [(row["id"], row["office_name"], row["pdu_id"]) for row in _read(asked.offices)]
    return Places(regions, pdus, teams)


def _read(path: Path | None) -> list[dict[str, str]]:
    if path is None:
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [*csv.DictReader(file)]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m config.interventions.sample",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="what", required=True)
    for name in ("tsql", "load", "night", "numbers"):
        verb = verbs.add_parser(name)
        verb.add_argument("--referrals", type=int, default=1000)
        verb.add_argument("--seed", type=int, default=1)
        for places in ("regions", "pdus", "offices"):
            verb.add_argument(f"--{places}", type=Path, help="a CSV file of real ones")
        if name in ("load", "night"):
            verb.add_argument("--dsn", required=True, help="of the PostgreSQL database")
        else:
            verb.add_argument("--out", type=Path, required=True)
        if name == "tsql":
            verb.add_argument("--nights", type=int, default=0)
        if name == "night":
            verb.add_argument("--number", type=int, default=1, help="which night after the load")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
