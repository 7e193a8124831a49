"""PostgreSQL as an ``Upstream``: a stand-in for a restored dump, copied from COPY to COPY.

Which dump stands there is what the comment of the database says: a moment, as ISO writes it.
Between two calls of ``ready`` everything is read in one snapshot, so that tables fit together.
"""

from typing import Any, Final

import anyio

from syncd.config import PostgresSource
from syncd.errors import SourceError
from syncd.flow.model import Shape
from syncd.pg.catalog import query_columns
from syncd.pg.connect import Connection, begin_settings, close_connection
from syncd.pg.dialect import canonical_sql, ident
from syncd.pg.errors import translate
from syncd.sources.odbc_dump import stand_in
from syncd.sources.postgres_open import opener
from syncd.sources.postgres_sql import Query, derived
from syncd.sources.upstream import Dump, EmitText

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_DUMP: Final = """
SELECT coalesce(shobj_description(oid, 'pg_database'), '')
FROM pg_database
WHERE datname = current_database()
"""
_DOING: Final = "reading a query of the source"


class PostgresUpstream:
    """The ``Upstream`` of ``PostgresSource``."""

    def __init__(self, config: PostgresSource) -> None:
        self._open_one = opener(config)
        self._connection: Connection | None = None
        self._lock = anyio.Lock()

    async def ready(self) -> Dump:
        """Look anew: what was seen before ends; which dump it is now."""
        async with self._lock:
            connection = await self._connected()
            with translate("asking which dump stands at the source"):
                if connection.is_in_transaction():
                    await connection.execute("ROLLBACK")
                await connection.execute(_BEGIN)
                await begin_settings(connection)
                return stand_in(str(await connection.fetchval(_DUMP)), live=False)

    async def columns(self, query: str) -> Shape:
        """The columns of ``query``, in its order."""
        async with self._lock:
            return await self._columns(await self._looking(), query)

    async def stream(self, query: str, emit: EmitText) -> int:
        """Push the rows of ``query`` as COPY text; return their number."""
        async with self._lock:
            connection = await self._looking()
            found = await self._columns(connection, query)
            columns = ", ".join(
                canonical_sql(f"q.{ident(name)}", column.native) for name, column in found.items()
            )
            text = f"SELECT {columns} FROM {derived(Query(query))}"  # noqa: S608 - quoted names
            # asyncpg awaits what ``output`` gives back; its stubs know of no such thing.
            output: Any = emit
            with translate(_DOING, reading=True):
                tag = await connection.copy_from_query(text, output=output)
            return _rows_of(tag)

    async def close(self) -> None:
        """End the session; may be called twice."""
        if self._connection is not None:
            await close_connection(self._connection)

    async def _columns(self, connection: Connection, query: str) -> Shape:
        """Behind a savepoint: one query that fails leaves the snapshot to the others."""
        with translate("describing a query of the source", reading=True):
            await connection.execute("SAVEPOINT syncd_query")
            try:
                return await query_columns(connection, derived(Query(query)))
            finally:
                await connection.execute("ROLLBACK TO SAVEPOINT syncd_query")

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._open_one()
        return self._connection

    async def _looking(self) -> Connection:
        """The session in its snapshot. Raises SourceError when it was lost meanwhile."""
        connection = self._connection
        if connection is None or connection.is_closed() or not connection.is_in_transaction():
            raise SourceError("the source was lost while it was read; nothing was staged")
        return connection


def _rows_of(tag: str) -> int:
    word, _, rows = tag.partition(" ")
    if word != "COPY" or not rows.isdecimal():
        raise SourceError("the end of a query of the source did not come; nothing was staged")
    return int(rows)
