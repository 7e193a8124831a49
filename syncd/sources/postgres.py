"""The source in PostgreSQL: digests are computed there, rows come as canonical text.

A snapshot is a read-only repeatable-read transaction. Single rows are fetched on its own
connection; scans and full reads run on a second one that imports the snapshot, so that both go on
at the same time and see the same data. A fetch stands behind a savepoint, and a stream that was
given up is followed by a new connection: one entity's failure leaves the snapshot to the next.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, Literal, TypeVar
from unicodedata import normalize

import anyio
import asyncpg

from syncd.config import PostgresSource
from syncd.errors import (
    ConfigError,
    DriftError,
    InvariantError,
    TransientError,
)
from syncd.flow.keys import KeyIssue, decode_key
from syncd.flow.model import Kind, Plan, Read, Shape
from syncd.flow.ports import WHOLE, Emit, EmitReads, Snapshot, Span, Tell
from syncd.pg.catalog import query_columns, table_columns
from syncd.pg.connect import Connection, Connections, begin_settings, close_connection
from syncd.pg.dialect import table_ident
from syncd.pg.errors import translate
from syncd.sources.postgres_open import opener
from syncd.sources.postgres_records import (
    Collector,
    KeyRecords,
    RowLines,
    RowPlan,
    cut_off,
    key_of,
    twice,
)
from syncd.sources.postgres_spans import SPLIT_ROWS_MIN, scan_of, split
from syncd.sources.postgres_sql import Query, Statements, compile_statements, derived
from syncd.sources.postgres_stream import Stream

__all__ = ["PostgresReader", "Query"]

_PIECE_ROWS: Final = 1000  # what a core has in its cache, with all that is made of it
_OPEN_MAX: Final = 3  # snapshots at the same time: a nightly pass, and two claims of events
_ROLLBACK_S_MAX: Final = 5.0
_VERSION_MIN: Final = 14  # hash_record_extended came with it

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_LOOK: Final = "SELECT 1"  # the first query of a transaction is what takes its snapshot
_NO_TIMEOUT: Final = "SET LOCAL statement_timeout = 0"  # see Stream
_POSITION: Final = """
SELECT coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                     ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn, 0)::bigint
"""
_MAY_READ_SYSTEM: Final = "SELECT has_function_privilege('pg_control_system()', 'execute')"
_SYSTEM: Final = "SELECT system_identifier::text FROM pg_control_system()"
_LOST: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_SNAPSHOT_ID: Final = re.compile(r"[0-9A-F-]+").fullmatch
# Letters of ASCII that other code points become in NFC: the Kelvin sign, the Greek question mark
# and varia. A key without them and all ASCII is stored as it is.
_FOLDED_TO_ASCII: Final = frozenset("K;`")

_T = TypeVar("_T")


class PostgresReader:
    """Tables and queries of one database, by entity. ``piece_rows`` are read at a time."""

    def __init__(
        self,
        config: PostgresSource,
        tables: Mapping[str, str | Query],
        *,
        piece_rows: int = _PIECE_ROWS,
    ) -> None:
        self._tables = dict(tables)
        self.piece_rows = piece_rows
        self.silence_s_max = config.statement_timeout_s
        self.connections = Connections(
            opener(config), size_max=connections_max(config.scan_connections)
        )
        self.scans = config.scan_connections
        self._opens = anyio.Semaphore(_OPEN_MAX)
        self.shares_snapshots = True

    async def describe(self, entity: str) -> Shape:
        """Columns of the entity's table or query. Raises DriftError when there is no table."""
        async with self.connections.acquire() as connection:
            await _begin(connection)
            try:
                return await _columns(connection, entity, self._tables[entity])
            finally:
                await _end(connection)

    @asynccontextmanager
    async def open(self, plans: Sequence[Plan]) -> AsyncIterator[Snapshot]:
        """One snapshot for all plans; it ends with the ``async with``.

        Raises TransientError when the server cannot be reached, ConfigError when it is too old.
        """
        tables = {plan.name: self._tables[plan.name] for plan in plans}
        async with self._opens, AsyncExitStack() as stack:
            snapshot = _Snapshot(self, tables, stack)
            await snapshot.begin()
            yield snapshot

    async def close(self) -> None:
        """Close all connections; may be called twice."""
        await self.connections.close()


def connections_max(scans: int) -> int:
    """Connections of a reader whose snapshots scan ``scans`` spans side by side."""
    return (1 + scans) * _OPEN_MAX + 1  # one to fetch for each snapshot, and one to describe


class _Lane:
    """A connection for one stream at a time, opened when it is first needed."""

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.connection: Connection | None = None
        self.lock = anyio.Lock()


class _Snapshot:
    """One consistent look: ``_main`` fetches, lanes stream side by side once they are needed."""

    def __init__(
        self, reader: PostgresReader, tables: Mapping[str, str | Query], stack: AsyncExitStack
    ) -> None:
        self.position = 0
        self.lanes = 1
        self._reader = reader
        self._tables = tables
        self._stack = stack
        self._statements: dict[str, Statements] = {}
        self._snapshot_id = ""
        self._fetch_lock = anyio.Lock()
        self._lanes = [_Lane() for _ in range(reader.scans)]

    async def begin(self) -> None:
        """Take the position, then the snapshot."""
        self._main, self.position = await self._opened(self._stack)
        for lane in self._lanes:
            self._stack.push_async_callback(lane.stack.aclose)
        if self._reader.shares_snapshots:
            with translate("sharing a snapshot of the source"):
                self._snapshot_id = await _exported(self._main)
        if self._snapshot_id:
            self.lanes = len(self._lanes)
        if not self._snapshot_id:
            # Two looks of their own: nothing may be concluded beyond the earlier one.
            with translate("beginning to read the source"):
                await self._main.execute(_LOOK)
            await self._imported(self._lanes[0])

    async def identity(self, plan: Plan) -> str:
        """Nothing is cheap that proves a whole table unchanged."""
        del plan
        return ""

    async def digest_spec(self, plan: Plan) -> str:
        """The server's version, cluster and encoding, the columns with types, the expression."""
        statements = await self._compiled(plan)
        columns = zip((column.name for column in plan.columns), statements.natives, strict=True)
        async with self._fetch_lock:
            with translate(f"entity {plan.name}: asking the source what it is"):
                encoding = await self._main.fetchval("SHOW server_encoding")
                known = await self._main.fetchval(_MAY_READ_SYSTEM)
                system = await self._main.fetchval(_SYSTEM) if known else "unknown"
        parts = [
            f"postgres {self._main.get_server_version().major} {system} {encoding}",
            *(f"{name} {native}" for name, native in columns),
            statements.digest,
        ]
        return "\n".join(parts)

    async def spans(self, plan: Plan, extent: tuple[bytes, bytes], rows: int) -> Sequence[Span]:
        """A big table in as many spans as there are lanes, where an index serves each."""
        statements = await self._compiled(plan)
        # Lanes that cannot share a snapshot would each see a moment of their own.
        if rows < SPLIT_ROWS_MIN or not statements.scan_from or not self._snapshot_id:
            return (WHOLE,)
        return split(plan.key_types[0], extent, len(self._lanes))

    async def scan(self, plan: Plan, emit: Emit, tell: Tell, within: Span = WHOLE) -> int:
        """Push every (key, digest) in key order; the number of rows read."""
        statements = await self._compiled(plan)
        records = KeyRecords(statements.width, statements.rows.key_field, tell)
        query = scan_of(statements, plan.key_types[0], within)
        return await self._stream(plan, query, records, emit, "binary")

    async def read(self, plan: Plan, emit: EmitReads, tell: Tell) -> int:
        """Push every row in key order; the number of rows read."""
        statements = await self._compiled(plan)
        lines = RowLines(statements.rows, self._reader.piece_rows, tell)
        return await self._stream(plan, (statements.read, []), lines, emit, "text")

    async def fetch(self, plan: Plan, keys: Sequence[bytes]) -> list[Read]:
        """Rows of ``keys`` that are there, in key order.

        Raises InvariantError for bytes that are no key of the plan.
        """
        if not keys:
            return []
        statements, kinds = await self._compiled(plan), plan.key_types
        keys = list(dict.fromkeys(keys))  # a key asked for twice must not be found twice
        texts = _decoded(plan, keys)
        found = _Found(statements.rows, keys)
        async with self._fetch_lock, _step(self._main, f"entity {plan.name}: fetching rows"):
            arrays = _arrays([*texts, *_decomposed(kinds, texts)])
            found.add(await self._main.fetch(statements.fetch, *arrays))
            lacking = [
                text
                for key, text in zip(keys, texts, strict=True)
                if key not in found.reads and _may_be_folded(kinds, text)
            ]
            if lacking:
                found.add(await self._main.fetch(statements.fetch_folded, *_arrays(lacking)))
        return [found.reads[key] for key in sorted(found.reads)]

    async def _opened(self, stack: AsyncExitStack) -> tuple[Connection, int]:
        """A connection in a transaction of its own and the position before it."""
        connection = await stack.enter_async_context(self._reader.connections.acquire())
        with translate("beginning to read the source"):
            version = connection.get_server_version().major
            if version < _VERSION_MIN:
                raise ConfigError(
                    f"the source is PostgreSQL {version}, expected {_VERSION_MIN} or newer"
                )
            position = await connection.fetchval(_POSITION)
        await _begin(connection)
        stack.push_async_callback(_end, connection)
        return connection, position

    async def _compiled(self, plan: Plan) -> Statements:
        """The statements of ``plan``, on the columns that this snapshot has."""
        if plan.name not in self._statements:
            table = self._tables[plan.name]
            async with self._fetch_lock, _step(self._main, f"entity {plan.name}: looking"):
                columns = await _columns(self._main, plan.name, table)
            self._statements[plan.name] = compile_statements(plan, table, columns)
        return self._statements[plan.name]

    async def _stream(
        self,
        plan: Plan,
        query: tuple[str, Sequence[str]],
        collector: Collector[_T],
        emit: Callable[[_T], Awaitable[None]],
        form: Literal["binary", "text"],
    ) -> int:
        """COPY through the collector to the consumer; the number of rows, proved complete.

        The server must say something within ``statement_timeout_s``; the consumer may take as
        long as it likes.
        """
        doing = f"entity {plan.name}: reading the source"
        stream = Stream(collector, emit, self._reader.silence_s_max)
        lane = next((lane for lane in self._lanes if not lane.lock.locked()), self._lanes[0])
        async with lane.lock:
            connection = await self._imported(lane)
            try:
                with translate(doing, reading=True):
                    await stream.copy(connection, *query, form=form)
            finally:
                if not stream.tag:
                    # The driver may have lost its place in the stream: never used again.
                    await close_connection(connection)
                    await lane.stack.aclose()
        if not stream.tag:
            raise TransientError(
                f"{doing}: nothing came for {self._reader.silence_s_max:g} s",
                hint="raise statement_timeout_s, or add an index on the key",
            )
        for item in collector.finish():
            await emit(item)
        if stream.tag != f"COPY {collector.rows}":
            raise cut_off()
        return collector.rows

    async def _imported(self, lane: _Lane) -> Connection:
        """The lane's connection, on the same snapshot as the main one."""
        if lane.connection is not None and not lane.connection.is_closed():
            return lane.connection
        connection, position = await self._opened(lane.stack)
        with translate("beginning to read the source"):
            if self._snapshot_id:
                await self._share(connection)
            else:
                self.position = min(self.position, position)
            await connection.execute(f"{_NO_TIMEOUT}; {_LOOK}")
        lane.connection = connection
        return connection

    async def _share(self, connection: Connection) -> None:
        try:
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{self._snapshot_id}'")
        except asyncpg.PostgresError:
            if connection.is_closed():
                raise
            self._reader.shares_snapshots = False
            raise TransientError(
                "the source's second connection cannot see the snapshot of the first",
                hint="does a proxy lead to several servers? it is tried without sharing",
            ) from None


class _Found:
    """Fetched rows by key; only of keys that were asked for."""

    def __init__(self, plan: RowPlan, keys: Sequence[bytes]) -> None:
        self.reads: dict[bytes, Read] = {}
        self._plan = plan
        self._wanted = frozenset(keys)

    def add(self, records: Sequence[Any]) -> None:
        """Take what a query found; a key that was there already occurs twice."""
        normalise = self._plan.normaliser.row
        for record in records:
            row, issues = normalise(record[1:])
            try:
                key = key_of(self._plan, row)
            except KeyIssue:
                continue  # it is none of those that were asked for
            if key in self.reads:
                self.reads[key] = twice(self.reads[key], self._plan.key_field)
            elif key in self._wanted:
                self.reads[key] = Read(key, row, record[0], issues)


def _decoded(plan: Plan, keys: Sequence[bytes]) -> list[tuple[str, ...]]:
    kinds = plan.key_types
    try:
        return [tuple(part.decode() for part in decode_key(kinds, key)) for key in keys]
    except (KeyIssue, UnicodeDecodeError):
        raise InvariantError(
            f"entity {plan.name}: a key that was asked for is not one of this entity",
            hint="was the key changed in the configuration? run `syncd verify`",
        ) from None


def _arrays(texts: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """One array per part of the key."""
    return [list(part) for part in zip(*texts, strict=True)]


def _decomposed(kinds: Sequence[Kind], texts: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The other usual spelling (NFD) of those keys that have one."""
    if Kind.TEXT not in kinds:
        return []
    beyond = [text for text in texts if not all(part.isascii() for part in text)]
    spelt = [tuple(normalize("NFD", part) for part in text) for text in beyond]
    return [other for other, text in zip(spelt, beyond, strict=True) if other != text]


def _may_be_folded(kinds: Sequence[Kind], text: tuple[str, ...]) -> bool:
    """Whether a key that was not found may be stored in a spelling that is not NFC."""
    return any(
        kind is Kind.TEXT and not (part.isascii() and _FOLDED_TO_ASCII.isdisjoint(part))
        for kind, part in zip(kinds, text, strict=True)
    )


async def _begin(connection: Connection) -> None:
    with translate("beginning to read the source"):
        await connection.execute(_BEGIN)
        await begin_settings(connection)


async def _end(connection: Connection) -> None:
    """Roll back, also when cancelled; a connection that cannot be is closed by its pool."""
    await _roll_back(connection, "ROLLBACK")


async def _roll_back(connection: Connection, statement: str) -> None:
    if connection.is_closed():
        return
    with anyio.move_on_after(_ROLLBACK_S_MAX, shield=True) as scope:
        with suppress(*_LOST):
            await connection.execute(statement)
    if scope.cancelled_caught:
        connection.terminate()


@asynccontextmanager
async def _step(connection: Connection, doing: str) -> AsyncIterator[None]:
    """A savepoint around one read; errors of the driver come out as ours.

    What would be a row's error at a target is the source's here: it cannot be read whole.
    """
    with translate(doing, reading=True):
        await connection.execute("SAVEPOINT syncd_step")
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                await _roll_back(connection, "ROLLBACK TO SAVEPOINT syncd_step")
        await connection.execute("RELEASE SAVEPOINT syncd_step")


async def _exported(connection: Connection) -> str:
    """The name under which another connection may import the snapshot; '' where none may."""
    try:
        name = str(await connection.fetchval("SELECT pg_export_snapshot()"))
    except asyncpg.PostgresError:
        await connection.execute("ROLLBACK")
        await _begin(connection)
        return ""
    return name if _SNAPSHOT_ID(name) else ""


async def _columns(connection: Connection, entity: str, table: str | Query) -> Shape:
    with translate(f"entity {entity}: describing the source"):
        if isinstance(table, Query):
            return await query_columns(connection, derived(table))
        columns = await table_columns(connection, table_ident(table))
    if not columns:
        raise DriftError(
            f"entity {entity}: the source has no table {table_ident(table)}",
            hint="check `from`, the schema and the privileges of the role",
        )
    return columns
