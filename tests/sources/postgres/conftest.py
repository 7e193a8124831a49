"""A reader of the test's own database, and a plain connection to make tables in it."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from syncd.config import PostgresSource, Secret
from syncd.sources.postgres import PostgresReader, Query
from tests.sources.postgres.world import MakeReader


@pytest.fixture
async def admin(pg_dsn: str) -> AsyncIterator[Any]:
    """A connection of the driver's, with its own settings."""
    connection = await asyncpg.connect(pg_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def make_reader(pg_dsn: str) -> AsyncIterator[MakeReader]:
    """Makes readers; all are closed when the test ends, twice, which must do no harm."""
    made: list[PostgresReader] = []

    def make(
        tables: dict[str, str | Query], *, piece_rows: int = 100, **more: Any
    ) -> PostgresReader:
        config = PostgresSource(dsn=Secret(pg_dsn), **more)
        made.append(PostgresReader(config, tables, piece_rows=piece_rows))
        return made[-1]

    yield make
    for reader in made:
        await reader.close()
        await reader.close()
