"""A database behind ODBC: its sessions, the watch on it, and what columns are there."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from syncd.config import SqlServerSource
from syncd.errors import ConfigError, DriftError, PermanentError
from syncd.flow.model import Found, Shape
from syncd.sources import odbc_sql as sql
from syncd.sources.odbc_connections import OdbcConnections, Session
from syncd.sources.odbc_driver import find_driver
from syncd.sources.odbc_dump import DumpWatch
from syncd.sources.odbc_strings import (
    Target,
    driver_of,
    family_of,
    secret_of,
    target_of,
    with_secret,
)
from syncd.sources.odbc_values import Writer, announced, type_of, writer_of
from syncd.sources.postgres_sql import Query

_COLUMNS_MAX: Final = 1024  # SQL Server's own limit for a table
_PIECE_BYTES: Final = 4 * 1024 * 1024
_STEP_ROWS: Final = 100  # of texts without a bound, looked at before the next are fetched
_LONG_CHARS: Final = 1000  # a column that may hold more is counted


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
            name = target_of(self.config, self._driver()).database
            if self.config.dialect == "tsql" and not name:
                raise ConfigError(
                    "source.odbc does not name the database", hint="add Database=NAME; to it"
                )
            self._outside = self._connections(master=True, size_max=1)
            more = {} if self._poll_s is None else {"poll_s": self._poll_s}
            self._watch = DumpWatch(self.config, name, self._outside, **more)
        return self._watch

    def _driver(self) -> str:
        named = driver_of(self.config)
        return find_driver(named, self.config.dialect) if named else ""

    def _connections(self, *, master: bool, size_max: int) -> OdbcConnections:
        config, driver = self.config, self._driver()
        outside = master and config.dialect == "tsql"

        def target_with(secret: str) -> Target:
            """The connection string, with the value that the secret has by now."""
            now = with_secret(config, secret) if secret else config
            return target_of(now, driver, master=outside)

        is_postgres = config.dialect == "postgres"
        return OdbcConnections(
            target_with,
            secret_of(config),
            wide=target_with("").family == "msodbcsql",
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


def writers_of(description: Sequence[Sequence[Any]], shape: Mapping[str, Found]) -> list[Writer]:
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
    # T-SQL takes no ORDER BY in there, and where it cannot tell there is only the query itself.
    text = sql.bare(query) if dialect == "tsql" else sql.nothing(query)
    async with session.statement(doing, text) as statement:
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


async def table_columns(session: Session, table: str, dialect: str) -> Shape:
    """The columns of a table or view, in their order. Raises DriftError when it is not there."""
    doing = "describing a table of the source"
    if dialect not in sql.COLUMNS:
        nothing = f"SELECT * FROM {sql.table_ident(table, dialect)} WHERE 1 = 0"  # noqa: S608
        async with session.statement(doing, nothing) as statement:
            return announced(statement.description)
    rows = await session.rows(doing, sql.COLUMNS[dialect], *sql.split_table(table, dialect))
    if not rows:
        raise DriftError(
            f"the source has no table {sql.table_ident(table, dialect)}",
            hint="check `from`, the schema and the rights of the user",
        )
    found = [(str(row[0]), sql.native_of(row[1:5]), str(row[5]) == "YES") for row in rows]
    return {
        name: Found(name, native, type_of(native, dialect), nullable=nullable)
        for name, native, nullable in found
    }


class Piece:
    """Fetches rows in pieces of bounded number and bounded bytes, for a thread."""

    def __init__(self, description: Sequence[Sequence[Any]], rows_max: int) -> None:
        self._rows_max = rows_max
        self._long = [
            at
            for at, (_, class_, _, size, *_) in enumerate(description)
            if class_ in (str, bytes, bytearray) and not 0 < size <= _LONG_CHARS
        ]

    def fetch(self, cursor: Any) -> list[Sequence[Any]]:
        """The next rows; none at the end."""
        rows: list[Sequence[Any]] = []
        size, step = 0, _STEP_ROWS if self._long else self._rows_max
        while len(rows) < self._rows_max and size < _PIECE_BYTES:
            some = cursor.fetchmany(min(step, self._rows_max - len(rows)))
            if not some:
                break
            rows += some
            size += sum(len(row[at]) for at in self._long for row in some if row[at])
        return rows
