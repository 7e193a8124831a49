"""Real drivers on real servers: what is there, and how a test reaches it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg

from syncd.config import Secret, SqlServerSource
from syncd.sources import odbc_driver


def _driver(file: str) -> str:
    return next((str(path) for path in Path("/usr/lib").glob(f"*/{file}")), "")


LIBODBC: Final = _driver("libodbc.so.2")
PSQLODBC: Final = _driver("odbc/psqlodbcw.so")
SQLITE: Final = _driver("odbc/libsqlite3odbc.so")
FREETDS: Final = _driver("odbc/libtdsodbc.so")
MSODBC: Final = odbc_driver._of_wheel()


def connection_string(dsn: str, **more: str) -> str:
    """The ODBC connection string of a PostgreSQL URL."""
    url = urlsplit(dsn)
    parts = {
        "Driver": PSQLODBC,
        "Server": url.hostname or "",
        "Port": str(url.port or 5432),
        "Database": unquote(url.path[1:]),
        "UID": unquote(url.username or ""),
        "PWD": unquote(url.password or ""),
    }
    return "".join(f"{key}={value};" for key, value in (parts | more).items() if value)


def config_of(dsn: str, **fields: Any) -> SqlServerSource:
    """A source that reads the database of ``dsn`` through psqlODBC."""
    known: dict[str, Any] = {"dialect": "postgres", "connect_timeout_s": 5.0}
    return SqlServerSource(odbc=Secret(connection_string(dsn)), **(known | fields))


async def run(dsn: str, *statements: str) -> None:
    """What an administrator does there."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def asked(dsn: str, query: str) -> Sequence[Any]:
    """All rows of a query."""
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()
