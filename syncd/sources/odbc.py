"""The source behind ODBC: SQL Server, most often the copy of a backup that is restored at night.

Every survey and every full read takes the rows once, whole, into an index of its own
(``odbc_rows``), and looks at the dump's identity again before anything of it is given away: a
dump that was exchanged meanwhile discards the read (case 40). Single rows are fetched by their
keys where nothing was read yet.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from unicodedata import normalize

import msgspec
from anyio import to_thread

from syncd.config import Collation, SqlServerSource
from syncd.errors import DriftError, InvariantError, SourceError
from syncd.flow.fingerprint import Hasher
from syncd.flow.keys import KeyIssue, decode_key
from syncd.flow.model import Issue, Plan, Read, Shape
from syncd.flow.ports import WHOLE, Emit, EmitReads, Snapshot, Span, Tell
from syncd.sources import odbc_sql as sql
from syncd.sources.odbc_connections import Session, Statement
from syncd.sources.odbc_database import Database, Piece, query_columns, table_columns
from syncd.sources.odbc_rows import Answer, RowIndex, RowReading, known, lines_of
from syncd.sources.odbc_values import writer_of
from syncd.sources.postgres_sql import Query
from syncd.sources.upstream import Dump

# Raised when digests or identities are made in another way.
_VERSION: Final = 1
_IDENTITY_BYTES: Final = 16
_FOUND_ROWS_MAX: Final = 100_000  # of one fetch: two hundred rows for each key


class OdbcReader:
    """The Source for ``SqlServerSource``: tables and queries of one database, by entity.

    ``collations`` are those of entities that say their own.
    """

    def __init__(
        self,
        config: SqlServerSource,
        tables: Mapping[str, str | Query],
        hasher: Hasher,
        *,
        batch_rows: int,
        collations: Mapping[str, Collation] | None = None,
        spool_dir: Path | None = None,
        poll_s: float | None = None,
    ) -> None:
        self.config = config
        self.tables = dict(tables)
        self.hasher = hasher
        self.batch_rows = batch_rows
        self.spool_dir = spool_dir
        self.database = Database(config, poll_s=poll_s)
        self._collations = collations or {}
        self._is_ready = False

    def collation(self, entity: str) -> Collation:
        """What is declared of the entity's key."""
        return self._collations.get(entity, self.config.collation)

    async def describe(self, entity: str) -> Shape:
        """Columns of the entity's table or query, once the database may be read."""
        if not self._is_ready:
            await self.database.watch.ready()
            self._is_ready = True
        async with self.database.connections.acquire() as session:
            return await self.columns(session, entity)

    async def columns(self, session: Session, entity: str) -> Shape:
        """``describe`` on a session. Raises DriftError when there is no table."""
        table, dialect = self.tables[entity], self.config.dialect
        try:
            if isinstance(table, Query):
                return await query_columns(session, table, dialect)
            return await table_columns(session, table, dialect)
        except DriftError as error:
            raise DriftError(f"entity {entity}: {error.message}", hint=error.hint) from None

    @asynccontextmanager
    async def open(self, plans: Sequence[Plan]) -> AsyncIterator[Snapshot]:
        """A look at the dump that stands there now; waited for as ``ready_timeout_s`` says."""
        del plans
        snapshot = _Snapshot(self, await self.database.watch.ready())
        try:
            yield snapshot
        finally:
            snapshot.close()

    async def close(self) -> None:
        """End every session; may be called twice."""
        await self.database.close()


class _Entity:
    """One plan in one snapshot: what its columns are there, and its index once it is made."""

    def __init__(self, plan: Plan, found: Shape, reading: RowReading) -> None:
        self.plan = plan
        self.found = found
        self.reading = reading
        self.index: RowIndex | None = None

    @property
    def names(self) -> list[str]:
        """The mapped columns."""
        return [column.name for column in self.plan.columns]

    @property
    def key_names(self) -> list[str]:
        """The columns of the key."""
        return [self.plan.columns[at].name for at in self.plan.key]

    def close(self) -> None:
        """Drop the index. May be called twice."""
        if self.index is not None:
            self.index.close()
            self.index = None


class _Snapshot:
    """One dump. What ``scan`` and ``read`` tell adds up as it does for files.

    With R rows returned, K keys pushed, E findings told with severity ERROR and D findings told as
    ``duplicate_record``, R = K + E + D.
    """

    def __init__(self, reader: OdbcReader, dump: Dump) -> None:
        self.position = dump.position
        self.lanes = 1
        self._reader = reader
        self._dump = dump
        self._entities: dict[str, _Entity] = {}

    async def identity(self, plan: Plan) -> str:
        """The dump's identity with what is asked of it; '' where the content may be any."""
        if not self._dump.identity:
            return ""
        parts = [f"{_VERSION}", self._dump.identity, repr(self._reader.tables[plan.name])]
        whole = "\n".join([*parts, await self.digest_spec(plan)]).encode()
        return blake2b(whole, digest_size=_IDENTITY_BYTES).hexdigest()

    async def digest_spec(self, plan: Plan) -> str:
        """Everything that a digest depends on beside the row, as JSON."""
        entity, config = await self._entity(plan), self._reader.config
        spec = {
            "source": "odbc",
            "version": _VERSION,
            "dialect": config.dialect,
            "digest": self._digest_sql(entity) or "client",
            "columns": [(c.name, entity.found[c.name].native, c.type) for c in plan.columns],
            "key": plan.key,
            "collation": self._reader.collation(plan.name),
        }
        return msgspec.json.encode(spec, order="deterministic").decode()

    async def spans(self, plan: Plan, extent: tuple[bytes, bytes], rows: int) -> Sequence[Span]:
        """Rows come in the server's order, so there is nothing to cut."""
        del plan, extent, rows
        return (WHOLE,)

    async def scan(self, plan: Plan, emit: Emit, tell: Tell, within: Span = WHOLE) -> int:
        """Read the rows, or only keys and digests where the server makes these; push the keys."""
        assert within == WHOLE
        pushdown = self._reader.config.digests == "pushdown"
        index = await self._indexed(await self._entity(plan), tell, with_rows=not pushdown)
        blocks = index.blocks()
        while block := await to_thread.run_sync(next, blocks, None):
            await emit(block)
        return index.rows

    async def read(self, plan: Plan, emit: EmitReads, tell: Tell) -> int:
        """Read the rows and push them in key order."""
        index = await self._indexed(await self._entity(plan), tell, with_rows=True)
        batches = index.batches(self._reader.batch_rows)
        while reads := await to_thread.run_sync(next, batches, None):
            await emit(reads)
        return index.rows

    async def fetch(self, plan: Plan, keys: Sequence[bytes]) -> list[Read]:
        """Rows of ``keys``: of the read that was made, else from the server."""
        entity, reads = await self._entity(plan), list[Read]()
        if entity.index is not None and entity.index.with_rows:
            rows = self._reader.batch_rows
            for start in range(0, len(keys), rows):
                some = sorted(keys)[start : start + rows]
                reads += await to_thread.run_sync(entity.index.find, some)
            return reads
        for start in range(0, len(keys), sql.KEYS_MAX):
            reads += await self._fetched(entity, sorted(keys)[start : start + sql.KEYS_MAX])
        await self._assert_same_dump(plan)
        return reads

    def close(self) -> None:
        """Drop all indexes. May be called twice."""
        for entity in self._entities.values():
            entity.close()

    # -- reading everything --------------------------------------------------------------------

    async def _indexed(self, entity: _Entity, tell: Tell, *, with_rows: bool) -> RowIndex:
        """The index of one whole read; what was found on the way is told each time."""
        index = entity.index
        if index is None or (with_rows and not index.with_rows):
            entity.close()
            index = await self._read_all(entity, with_rows=with_rows)
            entity.index = index
        for issue, times in index.told.items():
            for _ in range(times):
                tell(issue)
        return index

    async def _read_all(self, entity: _Entity, *, with_rows: bool) -> RowIndex:
        doing = f"entity {entity.plan.name}: reading the source"
        async with (
            self._reader.database.connections.acquire() as session,
            session.statement(doing, self._statement(entity, with_rows=with_rows)) as statement,
        ):
            answer = self._answer(entity, statement, with_rows=with_rows)
            index = RowIndex(entity.reading, answer, self._reader.spool_dir, with_rows=with_rows)
            with ExitStack() as given_up:
                given_up.callback(index.close)
                await _take_all(index, statement, self._reader.config.fetch_rows)
                await self._assert_same_dump(entity.plan)
                given_up.pop_all()
        return index

    def _statement(self, entity: _Entity, *, with_rows: bool) -> str:
        table, dialect = self._reader.tables[entity.plan.name], self._reader.config.dialect
        digest = self._digest_sql(entity)
        if not digest:
            return sql.whole(table, entity.names, dialect)
        names = entity.names if with_rows else entity.key_names
        return sql.select([*self._refs(names), digest], table, dialect)

    def _refs(self, names: Sequence[str]) -> list[str]:
        return [f"q.{sql.ident(name, self._reader.config.dialect)}" for name in names]

    def _digest_sql(self, entity: _Entity) -> str:
        """The expression of the digest; '' where digests are made here."""
        config = self._reader.config
        if config.digests == "client":
            return ""
        return sql.digest(entity.names, entity.found, config.dialect)

    def _answer(self, entity: _Entity, statement: Statement, *, with_rows: bool) -> Answer:
        """Where the wanted columns stand in what the server gives."""
        names = [str(column[0]) for column in statement.description]
        wanted = entity.names if with_rows else entity.key_names
        _assert_there(entity.plan, wanted, names)
        picks = tuple(names.index(name) for name in wanted)
        writers = tuple(
            writer_of(statement.description[at][1], entity.found[names[at]].native) for at in picks
        )
        return Answer(picks, writers, len(names) - 1 if self._digest_sql(entity) else None)

    async def _assert_same_dump(self, plan: Plan) -> None:
        """Raise SourceError when another dump stands there by now (case 40)."""
        if await self._reader.database.watch.now() != self._dump:
            raise SourceError(
                f"entity {plan.name}: another dump was restored while this one was read; what "
                "was read is discarded and nothing is deleted",
                hint="run again; let the restore be over before the run begins",
            )

    # -- single rows ---------------------------------------------------------------------------

    async def _fetched(self, entity: _Entity, keys: Sequence[bytes]) -> list[Read]:
        table, dialect = self._reader.tables[entity.plan.name], self._reader.config.dialect
        texts = _spellings(entity.plan, keys)
        digest = self._digest_sql(entity)
        columns = [*self._refs(entity.names), *([digest] if digest else [])]
        statement = sql.by_keys(table, columns, self._key_parts(entity), len(texts), dialect)
        values = [part for text in texts for part in text]
        doing = f"entity {entity.plan.name}: fetching rows"
        async with (
            self._reader.database.connections.acquire() as session,
            session.statement(doing, statement, *values) as answered,
        ):
            answer = self._answer(entity, answered, with_rows=True)
            rows = await answered.call(lambda cursor: cursor.fetchmany(_FOUND_ROWS_MAX + 1))
        if len(rows) > _FOUND_ROWS_MAX:
            raise SourceError(
                f"{doing}: more than {_FOUND_ROWS_MAX} rows have one of {len(keys)} keys",
                hint="check the entity's 'key': it does not tell its rows apart",
            )
        return _found(entity.reading, answer, rows, frozenset(keys))

    def _key_parts(self, entity: _Entity) -> list[sql.KeyPart]:
        plan, folded = entity.plan, entity.reading.folded
        columns = [(at, plan.columns[at]) for at in plan.key]
        return [
            sql.KeyPart(c.name, entity.found[c.name].native, c.type.kind, at in folded)
            for at, c in columns
        ]

    async def _entity(self, plan: Plan) -> _Entity:
        """The plan's entity, on the columns that the source has now."""
        entity = self._entities.get(plan.name)
        if entity is not None and entity.plan == plan:
            return entity
        async with self._reader.database.connections.acquire() as session:
            found = await self._reader.columns(session, plan.name)
        _assert_there(plan, [column.name for column in plan.columns], list(found))
        if entity is not None:
            entity.close()
        collation = self._reader.collation(plan.name)
        reading = RowReading(plan, found, self._reader.hasher, collation)
        self._entities[plan.name] = _Entity(plan, found, reading)
        return self._entities[plan.name]


async def _take_all(index: RowIndex, statement: Statement, fetch_rows: int) -> None:
    """Every row into the index, a piece at a time, and then in order."""
    piece = Piece(statement.description, fetch_rows)

    def take(cursor: Any) -> int:
        rows = piece.fetch(cursor)
        if rows:
            index.take(rows)
        return len(rows)

    while await statement.call(take):
        pass
    steps = index.merging()
    while await to_thread.run_sync(next, steps, index) is None:
        pass


def _assert_there(plan: Plan, wanted: Sequence[str], found: Sequence[str]) -> None:
    lacking = [name for name in wanted if name not in found]
    if lacking:
        raise DriftError(
            f"entity {plan.name}: the source has no column {', '.join(lacking)}",
            hint="it was dropped or renamed; map it anew or leave it out of the columns",
        )


def _spellings(plan: Plan, keys: Sequence[bytes]) -> list[tuple[str, ...]]:
    """The texts of keys, in both usual spellings of letters that have two (case 61)."""
    try:
        texts = [tuple(part.decode() for part in decode_key(plan.key_types, key)) for key in keys]
    except (KeyIssue, UnicodeDecodeError):
        raise InvariantError(
            f"entity {plan.name}: a key that was asked for is not one of this entity",
            hint="was the key changed in the configuration? run `syncd verify`",
        ) from None
    apart = [tuple(normalize("NFD", part) for part in text) for text in texts]
    return list(dict.fromkeys([*texts, *apart]))


def _found(
    reading: RowReading, answer: Answer, rows: Sequence[Sequence[Any]], wanted: frozenset[bytes]
) -> list[Read]:
    """Fetched rows in key order; only of keys that were asked for, each once."""
    if not rows:
        return []
    columns = answer.columns(rows)
    digests = (
        reading.digests(columns)
        if answer.digest_at is None
        else [known(row[answer.digest_at]) for row in rows]
    )
    for at in reading.folded:
        columns[at] = reading.fold(columns[at])
    reads: dict[bytes, Read] = {}
    for at, line in enumerate(lines_of(columns)):
        parts = [columns[part][at] for part in reading.plan.key]
        try:
            key = reading.key(parts)
        except KeyIssue:
            continue  # it is none of those that were asked for
        if key in reads:
            reads[key] = reading.read(key, 0, line, [reading.duplicate()])
        elif key in wanted:
            issues: list[Issue] = []
            if any(reading.is_beyond(columns[part][at]) for part in reading.folded):
                issues, digests[at] = [reading.beyond()], 0
            reads[key] = reading.read(key, digests[at], line, issues)
    return [reads[key] for key in sorted(reads)]
