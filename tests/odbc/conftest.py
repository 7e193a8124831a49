"""Drivers that a test needs, else it is skipped with the reason."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from syncd.sources.odbc_database import Database
from tests.conftest import AnyServer
from tests.odbc.world import LIBODBC, PSQLODBC, config_of

MakeDatabase = Callable[..., Database]


@pytest.fixture
def odbc_server(pg_server: AnyServer) -> str:
    """The DSN of a database that psqlODBC reaches, and in which nothing may be made."""
    if not LIBODBC:
        pytest.skip("no driver manager: install libodbc2")
    if not PSQLODBC:
        pytest.skip("no psqlODBC: install odbc-postgresql")
    return pg_server.dsn()


@pytest.fixture
def odbc_dsn(odbc_server: str, pg_dsn: str) -> str:
    """The same with a database of the test's own."""
    del odbc_server
    return pg_dsn


@pytest.fixture
async def make_source(odbc_server: str) -> AsyncIterator[MakeDatabase]:
    """Makes sources over psqlODBC; all are closed at the end, twice, which must do no harm."""
    made: list[Database] = []

    def make(**fields: Any) -> Database:
        made.append(Database(config_of(odbc_server, **fields)))
        return made[-1]

    yield make
    for database in made:
        await database.close()
        await database.close()
