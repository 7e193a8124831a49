"""Through ODBC: a staged query, a first load and a quiet night, beside the driver's bare fetch.

The yardstick is the loop that anybody writes with pyodbc: execute, ``fetchmany`` until nothing
comes, look at nothing. It runs against the same server through the same driver (psqlODBC), so what
is beyond it is the price of canonical text, of the index and of the rest of syncd.

    python -m benchmarks.odbc_case bare|stream DSN
"""

import asyncio
import sys
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from benchmarks.results import Case
from benchmarks.stage import SOURCE, Stage, expect
from benchmarks.tables_cases import TURNS
from syncd.config import Secret, SqlServerSource
from syncd.sources.odbc_driver import find_driver, library
from syncd.sources.odbc_strings import compose, target_of
from syncd.sources.odbc_upstream import OdbcUpstream

FETCH_ROWS: Final = 1000
_TARGET: Final = "bench_target_odbc"
_QUERY: Final = "SELECT * FROM item"
_BARE_TITLE: Final = "pyodbc, execute and fetchmany"


def connection_string(dsn: str) -> str:
    """The ODBC connection string of a PostgreSQL URL."""
    url = urlsplit(dsn)
    named = (
        ("Server", url.hostname or ""),
        ("Port", str(url.port or 5432)),
        ("Database", unquote(url.path[1:])),
        ("UID", unquote(url.username or "")),
        ("PWD", unquote(url.password or "")),
    )
    return compose([(key, value) for key, value in named if value])


def source_of(dsn: str) -> SqlServerSource:
    """The source that reads the database of ``dsn`` through psqlODBC."""
    return SqlServerSource(odbc=Secret(connection_string(dsn)), dialect="postgres")


def has_driver() -> bool:
    """Whether psqlODBC is installed here."""
    return any(Path("/usr/lib").glob("*/odbc/psqlodbcw.so"))


def through_odbc(stage: Stage, rows: int) -> list[Case]:
    """Three cases, each in turns with the bare fetch; none where there is no driver."""
    if not has_driver():
        return []
    command = [sys.executable, "-m", "benchmarks.odbc_case"]

    def bare() -> list[str]:
        return [*command, "bare", stage.dsn(SOURCE)]

    base, job = [], []
    for _ in range(TURNS):
        base.append(stage.measured(bare()).sample)
        job.append(stage.measured([*command, "stream", stage.dsn(SOURCE)]).sample)
    stream = Case("odbc_stream", "a query as COPY text, through ODBC", rows, _BARE_TITLE, base, job)
    stream.bound_memory()
    return [stream, *_nights(stage, rows, bare())]


def _nights(stage: Stage, rows: int, bare: list[str]) -> list[Case]:
    stage.make_database(_TARGET)
    odbc = connection_string(stage.dsn(SOURCE))
    source = f'{{kind: sqlserver, dialect: postgres, odbc: "{odbc}"}}'
    entity = "{from: public.item, key: [id], into: public.item}"
    config = stage.configure("bench_odbc", source, entity, _TARGET)
    stage.init(config)
    base = [stage.measured(bare).sample]
    ran = stage.syncd(config)
    expect(ran, inserted=rows)
    load = Case("odbc_initial", "first load, through ODBC", rows, _BARE_TITLE, base, [ran.sample])
    stage.settle(_TARGET)
    base, job = [], []
    for _ in range(TURNS):
        base.append(stage.measured(bare).sample)
        ran = stage.syncd(config)
        expect(ran, unchanged=rows)
        job.append(ran.sample)
    quiet = Case("odbc_no_change", "no change, through ODBC", rows, _BARE_TITLE, base, job)
    for case in (load, quiet):
        case.bound_memory()
    stage.drop_database(_TARGET)
    return [load, quiet]


def _bare(dsn: str) -> int:
    """Rows that the loop that anybody writes has fetched."""
    target = target_of(source_of(dsn), find_driver("auto", "postgres"))
    connection, count = library().pyodbc.connect(target.text), 0
    cursor = connection.cursor()
    cursor.execute(_QUERY)
    while rows := cursor.fetchmany(FETCH_ROWS):
        count += len(rows)
    connection.close()
    return count


async def _stream(dsn: str) -> int:
    """Rows that were streamed into nothing."""

    async def emit(text: bytes) -> None:
        del text

    upstream = OdbcUpstream(source_of(dsn))
    try:
        return await upstream.stream(_QUERY, emit)
    finally:
        await upstream.close()


if __name__ == "__main__":
    how, where = sys.argv[1:]
    print(_bare(where) if how == "bare" else asyncio.run(_stream(where)))
