"""A connection of our own kind to a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from syncd.config import Secret
from syncd.pg.connect import Connection, close_connection, open_connection


@pytest.fixture
async def connection(pg_dsn: str) -> AsyncIterator[Connection]:
    """An open connection that may write."""
    opened = await open_connection(
        Secret(pg_dsn),
        connect_timeout_s=5,
        statement_timeout_s=30,
        read_only=False,
        prepared_statements=True,
    )
    yield opened
    await close_connection(opened)
