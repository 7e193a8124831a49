"""Whether a database is another copy than before: a night's restore makes a new one."""

from typing import Final

from syncd.config import PostgresSource
from syncd.pg.connect import close_connection, open_connection
from syncd.pg.errors import translate

# A database that is dropped and restored has a new number; one in which people work keeps it.
_SEEN: Final = """
SELECT oid::text || '/' || coalesce(
    CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
         THEN (SELECT system_identifier FROM pg_control_system())::text END, '')
FROM pg_database WHERE datname = current_database()
"""


async def database_seen(source: PostgresSource) -> str:
    """The number of the database and of its cluster; raises what connecting raises."""
    connection = await open_connection(
        source.dsn,
        connect_timeout_s=source.connect_timeout_s,
        statement_timeout_s=source.connect_timeout_s,
        read_only=True,
        prepared_statements=source.prepared_statements,
    )
    try:
        with translate("looking whether the source is another copy"):
            return str(await connection.fetchval(_SEEN))
    finally:
        await close_connection(connection)
