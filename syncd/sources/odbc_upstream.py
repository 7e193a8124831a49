"""A database behind ODBC as an ``Upstream``: queries run there, COPY text comes back."""

from collections.abc import Sequence
from typing import Any, Final

from syncd.config import SqlServerSource
from syncd.errors import SourceError
from syncd.flow.model import Shape
from syncd.pg.dialect import copy_rows
from syncd.sources import odbc_sql as sql
from syncd.sources.odbc_database import Database, Piece, query_columns, writers_of
from syncd.sources.odbc_values import Writer, columns_of
from syncd.sources.postgres_sql import Query
from syncd.sources.upstream import Dump, EmitText

_NULL: Final = "\\N"  # in COPY text


class OdbcUpstream:
    """The ``Upstream`` of ``SqlServerSource``."""

    def __init__(self, config: SqlServerSource, *, poll_s: float | None = None) -> None:
        self._database = Database(config, poll_s=poll_s)
        self._config = config

    async def ready(self) -> Dump:
        """Wait until the database may be read; which dump it is."""
        return await self._database.watch.ready()

    async def columns(self, query: str) -> Shape:
        """The columns of ``query``, in its order."""
        async with self._database.connections.acquire() as session:
            return await query_columns(session, Query(query), self._config.dialect)

    async def stream(self, query: str, emit: EmitText) -> int:
        """Push the rows of ``query`` as lines of COPY text; return their number."""
        count, doing = 0, "reading a query of the source"
        # Elsewhere the classes of the answer say enough, and asking would run the query twice.
        shape = await self.columns(query) if self._config.dialect == "tsql" else {}
        async with (
            self._database.connections.acquire() as session,
            session.statement(doing, sql.bare(Query(query))) as statement,
        ):
            writers = writers_of(statement.description, shape)
            piece = Piece(statement.description, self._config.fetch_rows)

            def lines(cursor: Any) -> tuple[int, bytes]:
                rows = piece.fetch(cursor)
                return len(rows), _lines(rows, writers) if rows else b""

            while True:
                fetched, text = await statement.call(lines)
                if not fetched:
                    return count
                count += fetched
                await emit(text)

    async def close(self) -> None:
        """End every session; may be called twice."""
        await self._database.close()


def _lines(rows: Sequence[Sequence[Any]], writers: Sequence[Writer]) -> bytes:
    """Lines of COPY text. Raises SourceError for what PostgreSQL cannot hold."""
    text = _plain_lines(rows, writers)
    if text is None:
        columns = columns_of(rows, writers)
        return _storable(copy_rows(list(zip(*columns, strict=True))))
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _unstorable("half of a surrogate pair") from None


def _plain_lines(rows: Sequence[Sequence[Any]], writers: Sequence[Writer]) -> str | None:
    """The lines, encoded once and not value by value; None where a value must be escaped."""
    columns, nulls = [], 0
    for writer, values in zip(writers, zip(*rows, strict=True), strict=True):
        columns.append(writer.texts(values, _NULL))
        nulls += values.count(None)
    text = "\n".join(map("\t".join, zip(*columns, strict=True))) + "\n"
    is_plain = (
        text.count("\t") == len(rows) * (len(columns) - 1)
        and text.count("\n") == len(rows)
        and text.count("\\") == nulls
        and "\r" not in text
        and "\0" not in text
    )
    return text if is_plain else None


def _storable(text: bytes) -> bytes:
    """Refuse what PostgreSQL cannot hold, before it refuses the whole stream without a reason."""
    try:
        text.decode()
    except UnicodeDecodeError:
        raise _unstorable("half of a surrogate pair") from None
    if b"\0" in text:
        raise _unstorable("a NUL character")
    return text


def _unstorable(what: str) -> SourceError:
    return SourceError(
        f"a text at the source holds {what}, which PostgreSQL cannot store; nothing was staged",
        hint="replace it in the query, for example with REPLACE(column, NCHAR(0), N'')",
    )
