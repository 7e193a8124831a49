"""Drivers that a test needs, else it is skipped with the reason."""

import pytest

from tests.odbc.world import LIBODBC, PSQLODBC


@pytest.fixture
def odbc_dsn(pg_dsn: str) -> str:
    """A database of the test's own, which can be reached through psqlODBC."""
    if not LIBODBC:
        pytest.skip("no driver manager: install libodbc2")
    if not PSQLODBC:
        pytest.skip("no psqlODBC: install odbc-postgresql")
    return pg_dsn
