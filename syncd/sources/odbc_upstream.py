"""A database behind ODBC as an ``Upstream``: queries run there, COPY text comes back."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from syncd.config import SqlServerSource
from syncd.errors import DriftError, PermanentError, SourceError
from syncd.flow.model import Found, Shape
from syncd.pg.dialect import copy_rows
from syncd.sources import odbc_sql as sql
from syncd.sources.odbc_connections import OdbcConnections, Session
from syncd.sources.odbc_driver import find_driver
from syncd.sources.odbc_dump import DumpWatch
from syncd.sources.odbc_strings import driver_of, family_of, target_of
from syncd.sources.odbc_values import Write, announced, columns_of, type_of, writer_of
from syncd.sources.postgres_sql import Query
from syncd.sources.upstream import Dump, EmitText

_COLUMNS_MAX: Final = 1024  # SQL Server's own limit for a table


class Database:
    """One database: sessions in it, and a watch on it from outside. Opened when first used."""

    def __init__(self, config: SqlServerSource, *, poll_s: float | None = None) -> None:
        self.config = config
        self._poll_s = poll_s
        self._inside: OdbcConnections | None = None
        self._outside: OdbcConnections | None = None
        self._watch: DumpWatch | None = None

    @property
    def connections(self) -> OdbcConnections:
        """Sessions in the database. Raises ConfigError when a driver is lacking."""
        if self._inside is None:
            self._inside = self._connections(master=False, size_max=self.config.connections)
        return self._inside

    @property
    def watch(self) -> DumpWatch:
        """What knows which dump stands there. Raises ConfigError when a driver is lacking."""
        if self._watch is None:
            self._outside = self._connections(master=True, size_max=1)
            name = target_of(self.config, self._driver()).database
            more = {} if self._poll_s is None else {"poll_s": self._poll_s}
            self._watch = DumpWatch(self.config, name, self._outside, **more)
        return self._watch

    def _driver(self) -> str:
        named = driver_of(self.config)
        return find_driver(named, self.config.dialect) if named else ""

    def _connections(self, *, master: bool, size_max: int) -> OdbcConnections:
        config, driver = self.config, self._driver()
        target = target_of(config, driver, master=master and config.dialect == "tsql")
        is_postgres = config.dialect == "postgres"
        return OdbcConnections(
            target,
            size_max=size_max,
            connect_timeout_s=config.connect_timeout_s,
            silence_s_max=config.query_timeout_s,
            # psqlODBC makes the server keep the whole answer unless it stands in a transaction.
            autocommit=family_of(driver) != "psqlodbc",
            first=(sql.UTC_SESSION,) if is_postgres else (),
        )

    async def close(self) -> None:
        """End every session; may be called twice."""
        for connections in (self._inside, self._outside):
            if connections is not None:
                await connections.close()


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
        shape = await self.columns(query)
        async with (
            self._database.connections.acquire() as session,
            session.statement(doing, sql.bare(Query(query))) as statement,
        ):
            writers = writers_of(statement.description, shape)

            def lines(cursor: Any) -> tuple[int, bytes]:
                rows = cursor.fetchmany(self._config.fetch_rows)
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


def _lines(rows: Sequence[Sequence[Any]], writers: Sequence[Write]) -> bytes:
    text = copy_rows(list(zip(*columns_of(rows, writers), strict=True)))
    _assert_storable(text)
    return text


def _assert_storable(text: bytes) -> None:
    """Refuse what PostgreSQL cannot hold, before it refuses the whole stream without a reason."""
    try:
        text.decode()
    except UnicodeDecodeError:
        raise _unstorable("half of a surrogate pair") from None
    if b"\0" in text:
        raise _unstorable("a NUL character")


def _unstorable(what: str) -> SourceError:
    return SourceError(
        f"a text at the source holds {what}, which PostgreSQL cannot store; nothing was staged",
        hint="replace it in the query, for example with REPLACE(column, NCHAR(0), N'')",
    )


def writers_of(description: Sequence[Sequence[Any]], shape: Mapping[str, Found]) -> list[Write]:
    """How each column of an answer is written; ``shape`` says what the driver does not."""
    return [
        writer_of(column[1], shape[column[0]].native if column[0] in shape else "")
        for column in description
    ]


async def query_columns(session: Session, query: Query, dialect: str) -> Shape:
    """The columns of a query: by the catalogue's types where the server tells them.

    Raises DriftError for columns without a name, or with the name of another.
    """
    doing = "describing a query of the source"
    known: Shape = {}
    if dialect == "tsql":
        known = await _described(session, query, doing)
    if known:
        return known
    async with session.statement(doing, sql.bare(query)) as statement:
        _assert_names([column[0] for column in statement.description])
        return announced(statement.description)


async def _described(session: Session, query: Query, doing: str) -> Shape:
    """What SQL Server says of a query without running it; empty where it cannot tell."""
    try:
        async with session.statement(doing, sql.QUERY_COLUMNS, sql.bare(query)) as statement:
            at = {str(column[0]): n for n, column in enumerate(statement.description)}
            rows = await statement.call(lambda cursor: cursor.fetchall())
    except PermanentError:
        return {}
    shown = [row for row in rows if not row[at["is_hidden"]]]
    _assert_names([row[at["name"]] for row in shown])
    found = [
        (str(row[at["name"]]), str(row[at["system_type_name"]]), bool(row[at["is_nullable"]]))
        for row in shown
    ]
    return {
        name: Found(name, native, type_of(native, "tsql"), nullable=nullable)
        for name, native, nullable in found
    }


def _assert_names(names: Sequence[object]) -> None:
    unnamed = [str(at + 1) for at, name in enumerate(names) if not name]
    if unnamed:
        raise DriftError(
            f"column {', '.join(unnamed)} of the query has no name", hint="give it one with AS"
        )
    if len(set(names)) < len(names) or len(names) > _COLUMNS_MAX:
        raise DriftError("two columns of the query have one name", hint="give each its own with AS")
