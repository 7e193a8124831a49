"""A source behind staging tables: a dump is copied beside the target, and read from there.

Each night the queries of the configuration run at the old database, a few columns out of very
many, and their rows are copied into new tables next to the old ones. Only when all of them have
come whole, and the same dump still stands there, the new take the places of the old, in the same
transaction. So a copy that is cut off, or a dump that is swapped meanwhile, leaves the last one
standing and says nothing about what is absent (cases 15, 40 and 42). A table whose rows came as
they did last time stays, and an entity that reads only such tables has nothing to look for. The
others are read from the staging tables by the reader for PostgreSQL, digests and all.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from hashlib import blake2b
from typing import Final

import anyio
from msgspec import Struct

from syncd.config import Staging
from syncd.errors import DriftError, PermanentError, SourceError, SyncdError, TransientError
from syncd.flow.model import Plan, Read, Shape
from syncd.flow.pipeline import foremost
from syncd.flow.ports import WHOLE, Emit, EmitReads, Snapshot, Span, Tell
from syncd.pg.catalog import query_columns
from syncd.pg.connect import Connection, Connections, begin_settings
from syncd.pg.errors import translate
from syncd.pg.transaction import transaction
from syncd.sources.postgres import PostgresReader
from syncd.sources.postgres_sql import Query, derived
from syncd.sources.staging_schema import Filled, StagingSchema
from syncd.sources.upstream import Dump, Upstream

# Copying waits for the source; each copy has a limit of its own.
_UNHURRIED: Final = """
SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0
"""
_CONTENT_BYTES: Final = 16
_PIECES_AHEAD: Final = 2  # of a few megabytes each


class Look(Struct, frozen=True):
    """What the source says of itself: its dump, the columns of each query, or why there are none.

    ``contents`` names what each table is filled from; '' where nothing proves that it is the same.
    """

    dump: Dump
    shapes: Mapping[str, Shape]
    errors: Mapping[str, PermanentError]
    contents: Mapping[str, str]


class Staged(Struct, frozen=True):
    """What stands in the staging schema now.

    ``asked`` are the tables whose rows were read, ``copied`` those of them that are new.
    """

    dump: Dump
    filled: Mapping[str, Filled]
    asked: frozenset[str]
    copied: frozenset[str]
    lookups: Mapping[str, str]


class StagingSource:
    """The ``Source`` of a pipeline with staging tables.

    ``queries`` are the texts that fill the tables, by table; ``origins`` where the entities come
    from. ``connections`` lead to the target and may write.
    """

    def __init__(
        self,
        config: Staging,
        upstream: Upstream,
        reader: PostgresReader,
        connections: Connections,
        *,
        queries: Mapping[str, str],
        origins: Mapping[str, str | Query],
    ) -> None:
        self._config = config
        self._upstream = upstream
        self._reader = reader
        self._connections = connections
        self._queries = queries
        self._origins = origins
        self._schema = StagingSchema(config)
        self._look: Look | None = None
        self._staged: Staged | None = None

    async def describe(self, entity: str) -> Shape:
        """Columns of the entity's query as they will be over the dump that stands there now.

        Nothing is left behind. Raises the error of a table that the query reads and that cannot
        be filled.
        """
        look = await self._looked()
        used = self._used(entity)
        for name in used:
            if name in look.errors:
                raise look.errors[name]
        async with self._undone() as connection:
            await self._schema.make(connection)
            for name in used:
                shape = look.shapes[name]
                if not await self._schema.has_shape(connection, name, shape):
                    await self._schema.replace_empty(connection, name, shape)
            with translate(f"entity {entity}: describing its query on the staging tables"):
                return await query_columns(connection, derived(self._origins[entity]))

    @asynccontextmanager
    async def open(self, plans: Sequence[Plan]) -> AsyncIterator[Snapshot]:
        """Stage the dump unless it is staged already, then one snapshot of the staging tables.

        May be called once: the source is let go before anything is read.
        """
        staged = await self._stage(await self._looked())
        # A session there stands in the way of the next restore, and a snapshot holds on to rows.
        await self._upstream.close()
        self._staged = staged
        # Before the snapshot: what changes in between is seen as a change the next time.
        identities = {plan.name: await self._identity(plan, staged) for plan in plans}
        async with self._held(staged), self._reader.open(plans) as snapshot:
            yield _StagedSnapshot(snapshot, staged, identities)

    def notes(self, entity: str) -> tuple[str, ...]:
        """What a report says of the entity's tables; nothing before ``open``."""
        staged = self._staged
        if staged is None:
            return ()
        filled = {name: staged.filled[name] for name in self._used(entity) if name in staged.filled}
        if not filled:
            return ()
        told = ", ".join(f"{name} {table.rows} rows" for name, table in filled.items())
        if not staged.asked & filled.keys():
            told += " (the same dump as last time: not copied again)"
        elif not staged.copied & filled.keys():
            told += " (another dump with the same rows)"
        return (f"staged {told}",)

    async def close(self) -> None:
        """Release everything; may be called twice."""
        await self._upstream.close()
        await self._reader.close()

    # -- what the source says ----------------------------------------------------------------

    async def _looked(self) -> Look:
        if self._look is None:
            self._look = await self._ask()
        return self._look

    async def _ask(self) -> Look:
        dump = await self._upstream.ready()
        shapes: dict[str, Shape] = {}
        errors: dict[str, PermanentError] = {}
        for name, query in self._queries.items():
            try:
                shapes[name] = await self._upstream.columns(query)
            except PermanentError as error:
                errors[name] = DriftError(
                    f"staging table {name}: {error.message}",
                    hint=error.hint or "compare its query with the tables of the source",
                )
        contents = {name: self._content(dump, name, shape) for name, shape in shapes.items()}
        return Look(dump, shapes, errors, contents)

    def _content(self, dump: Dump, name: str, shape: Shape) -> str:
        if not dump.identity:
            return ""
        return _digest(dump.identity, self._queries[name], *self._form(name, shape))

    def _form(self, name: str, shape: Shape) -> list[str]:
        """The key and the columns of a staging table."""
        columns = [f"{column} {found.type.kind}" for column, found in shape.items()]
        return [*self._config.tables[name].key, "", *columns]

    def _used(self, entity: str) -> tuple[str, ...]:
        """The staging tables that an entity's query names."""
        origin = self._origins[entity]
        text = origin.text if isinstance(origin, Query) else origin
        names = [*self._config.tables]
        return tuple(name for name in names if self._names(name).search(text))

    def _names(self, table: str) -> re.Pattern[str]:
        return re.compile(rf'\b{re.escape(self._config.schema)}"?\s*\.\s*"?{re.escape(table)}\b')

    # -- copying -----------------------------------------------------------------------------

    async def _stage(self, look: Look) -> Staged:
        """One transaction: the tables whose content is another one are copied and swapped in."""
        schema = self._schema
        async with transaction(self._connections) as tx:
            connection = tx.connection
            await connection.execute(_UNHURRIED)
            await schema.make(connection)
            # Whoever stages at the same time comes after, and finds the work done.
            await connection.execute(f"LOCK TABLE {schema.book} IN SHARE ROW EXCLUSIVE MODE")
            filled = await schema.filled(connection)
            stale = [name for name in look.shapes if not _same(look, filled.get(name), name)]
            copied = await self._fill_all(connection, look, stale, filled)
            if stale:
                await self._assert_same_dump(look.dump)
            await schema.swap(connection, copied)
            for name in stale:
                await schema.note(connection, name, filled[name], position=look.dump.position)
            await schema.say_needed(connection)
            lookups = await schema.lookup_contents(connection)
        return Staged(look.dump, filled, frozenset(stale), frozenset(copied), lookups)

    async def _fill_all(
        self, connection: Connection, look: Look, names: Sequence[str], filled: dict[str, Filled]
    ) -> list[str]:
        """Note in ``filled`` what each table holds now; those that take the places of old ones.

        One after the other; while one is finished here, the source is at work on the next.
        """
        copied = []
        flows = [_Flow(self._upstream, self._queries[name]) for name in names]
        with ExitStack() as streams:
            for flow in flows:
                streams.callback(flow.close)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_pump, flows)
                    for name, flow in zip(names, flows, strict=True):
                        before = filled.get(name)
                        filled[name] = await self._fill(connection, look, name, flow)
                        if before is not None and before.digest == filled[name].digest:
                            await self._schema.drop_next(connection, name)
                        else:
                            await self._schema.finish_next(connection, name)
                            copied.append(name)
            except BaseExceptionGroup as group:
                raise (foremost(group) or group) from None
        return copied

    async def _fill(self, connection: Connection, look: Look, name: str, flow: "_Flow") -> Filled:
        """Copy what a query gives into a new table: all of its rows, that is proved."""
        shape = look.shapes[name]
        following = await self._schema.create_next(connection, name, shape)
        with translate(f"staging table {name}: copying", reading=True):
            tag = await connection.copy_to_table(
                following,
                schema_name=self._config.schema,
                columns=[*shape],
                source=flow.pieces(),
                timeout=self._config.timeout_s,
            )
        if tag != f"COPY {flow.rows}":
            raise SourceError(f"staging table {name}: not all rows came; nothing was staged")
        digest = _digest(flow.content.hexdigest(), *self._form(name, shape))
        return Filled(look.contents[name], flow.rows, digest)

    async def _assert_same_dump(self, before: Dump) -> None:
        after = await self._upstream.ready()
        if after != before:
            raise SourceError(
                "another dump was restored at the source while it was read; nothing was staged "
                "and nothing is deleted",
                hint="run it again once the restore is done, or move one of the two schedules",
            )

    # -- reading -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _held(self, staged: Staged) -> AsyncIterator[None]:
        """Keep the tables from being swapped while they are read.

        A snapshot that is older than a table finds it empty, and empty would mean absent.
        """
        tables = ", ".join(self._schema.table(name) for name in staged.filled)
        async with self._reader.connections.acquire() as connection:
            with translate("holding the staging tables"):
                inner = connection.transaction()
                await inner.start()
                await begin_settings(connection)
            try:
                with translate("holding the staging tables"):
                    if tables:
                        await connection.execute(f"LOCK TABLE {tables} IN ACCESS SHARE MODE")
                    now = await self._schema.filled(connection)
                if now != staged.filled:
                    raise TransientError("the staging tables were swapped by another run")
                yield
            finally:
                with anyio.CancelScope(shield=True), translate("letting the staging tables go"):
                    await inner.rollback()

    async def _identity(self, plan: Plan, staged: Staged) -> str:
        """Names the whole content that the entity's query reads; '' where nothing proves it."""
        contents = [staged.filled[name].digest for name in self._used(plan.name)]
        if not contents or not all(contents):
            return ""
        origin = self._origins[plan.name]
        outside = await self._outside(origin)
        if outside is None:
            return ""
        text = origin.text if isinstance(origin, Query) else origin
        lookups = [f"{name} {content}" for name, content in sorted(staged.lookups.items())]
        return _digest(text, *contents, "", *lookups, outside)

    async def _outside(self, origin: str | Query) -> str | None:
        """What an entity's query reads of the target itself; None where it cannot be told."""
        try:
            async with self._undone() as connection:
                return await self._schema.outside_content(connection, derived(origin))
        except PermanentError:  # a type that has no hash, or a table that may not be read
            return None

    @asynccontextmanager
    async def _undone(self) -> AsyncIterator[Connection]:
        """A transaction whose work is always taken back."""
        async with self._connections.acquire() as connection:
            with translate("looking at the staging tables"):
                inner = connection.transaction()
                await inner.start()
                try:
                    await begin_settings(connection)
                    yield connection
                finally:
                    with anyio.CancelScope(shield=True):
                        await inner.rollback()


class _Flow:
    """From a source that pushes to a copy that pulls; few pieces are in flight."""

    def __init__(self, upstream: Upstream, query: str) -> None:
        self.rows = 0
        self.content = blake2b(digest_size=_CONTENT_BYTES)
        self._upstream = upstream
        self._query = query
        self._send, self._receive = anyio.create_memory_object_stream[bytes](_PIECES_AHEAD)
        self._error: SyncdError | None = None

    def close(self) -> None:
        """Let go of what was not taken; may be called twice."""
        self._send.close()
        self._receive.close()

    async def pump(self) -> bool:
        """Read the query to its end; an error is handed to the copy, which then gives up: False."""
        async with self._send:
            try:
                self.rows = await self._upstream.stream(self._query, self._send.send)
            except SyncdError as error:
                self._error = error
        return self._error is None

    async def pieces(self) -> AsyncIterator[bytes]:
        """What came, in order. Raises the error of the source."""
        async with self._receive:
            async for piece in self._receive:
                self.content.update(piece)
                yield piece
        if self._error is not None:
            raise self._error


async def _pump(flows: Sequence[_Flow]) -> None:
    for flow in flows:
        if not await flow.pump():
            return


class _StagedSnapshot:
    """A snapshot of the staging tables that stands where the dump stands."""

    def __init__(self, snapshot: Snapshot, staged: Staged, identities: Mapping[str, str]) -> None:
        self.position = staged.dump.position or snapshot.position
        self.lanes = snapshot.lanes
        self._snapshot = snapshot
        self._identities = identities

    async def identity(self, plan: Plan) -> str:
        """The dump, the queries and the lookups that the entity is made of."""
        return self._identities[plan.name]

    async def digest_spec(self, plan: Plan) -> str:
        """As the reader's."""
        return await self._snapshot.digest_spec(plan)

    async def spans(self, plan: Plan, extent: tuple[bytes, bytes], rows: int) -> Sequence[Span]:
        """As the reader's."""
        return await self._snapshot.spans(plan, extent, rows)

    async def scan(self, plan: Plan, emit: Emit, tell: Tell, within: Span = WHOLE) -> int:
        """As the reader's."""
        return await self._snapshot.scan(plan, emit, tell, within)

    async def read(self, plan: Plan, emit: EmitReads, tell: Tell) -> int:
        """As the reader's."""
        return await self._snapshot.read(plan, emit, tell)

    async def fetch(self, plan: Plan, keys: Sequence[bytes]) -> list[Read]:
        """As the reader's."""
        return await self._snapshot.fetch(plan, keys)


def _same(look: Look, filled: Filled | None, name: str) -> bool:
    return filled is not None and bool(filled.content) and filled.content == look.contents[name]


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=_CONTENT_BYTES).hexdigest()
