"""The target in PostgreSQL: set-based, idempotent, read back after every write.

A batch is staged with COPY and applied with one statement per kind of write. ``lock`` has held
the rows before, in the same transaction, so what the merge compared is what is overwritten. What
the target made of it (rounding, triggers) is read back and becomes the base (case 66).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from syncd.errors import DriftError
from syncd.failpoints import failpoint
from syncd.flow.keys import decode_key
from syncd.flow.model import (
    MISSING,
    Decision,
    Found,
    Ownership,
    Plan,
    Read,
    ReadColumns,
    Row,
    Shape,
    Write,
)
from syncd.flow.normalise import Dialect, Normaliser
from syncd.flow.ports import Cargo, EmitReads, Locked, Tx
from syncd.pg import dialect
from syncd.pg.catalog import table_columns
from syncd.pg.connect import Connections
from syncd.pg.copy_pieces import CopyPieces
from syncd.pg.errors import translate
from syncd.pg.transaction import transaction
from syncd.targets import table_sql
from syncd.targets.staging import (
    assert_single,
    assert_stored,
    bare_type,
    canonical_row,
    counted,
    expect,
    opened,
    qualified,
)

# What could make the target store something else than what is sent: triggers, rules, and the
# column types. Compared in each transaction that relies on it.
_SHAPE_SQL = """
SELECT (SELECT count(*) FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS triggers,
       (SELECT count(*) FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid) AS rules,
       (SELECT string_agg(a.attname || ':' || a.atttypid || ':' || a.atttypmod, ','
                          ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)
"""
_SCAN_ROWS: Final = 5000


class Table(Struct, frozen=True):
    """The target's table of one plan, introspected once per run."""

    name: str  # quoted, with its schema
    found: tuple[Found, ...]  # per drafted column
    bare: tuple[str, ...]  # native types without modifiers, for staging
    token: str
    exact: bool  # what is stored provably equals what is sent
    reader: Normaliser


class PostgresTables:
    """The tables of a pipeline's target."""

    def __init__(self, connections: Connections, tables: Mapping[str, str]) -> None:
        self._connections = connections
        self._names = {entity: qualified(name) for entity, name in tables.items()}
        self._tables: dict[str, Table] = {}

    async def describe(self, entity: str) -> Shape:
        """Columns of the entity's table; empty when there is none."""
        with translate(f"describing the target of {entity}"):
            async with self._connections.acquire() as connection:
                return await table_columns(connection, self._names[entity])

    async def prepare(self, plan: Plan) -> None:
        """Introspect the table once, before the plan is used.

        Raises DriftError when the table or a drafted column is not there or cannot be written
        (case 78).
        """
        name = self._names[plan.name]
        with translate(f"describing the target of {plan.name}"):
            async with self._connections.acquire() as connection:
                rows = await table_columns(connection, name)
                token = await connection.fetchrow(_SHAPE_SQL, name)
        if not rows:
            raise DriftError(
                f"entity {plan.name}: the target has no table {name}",
                hint="create it, or run syncd init for a mirror",
            )
        lacking = [c.into for c in plan.drafted if c.into not in rows]
        if lacking:
            raise DriftError(
                f"entity {plan.name}: {name} has no column {', '.join(lacking)}; "
                f"found {', '.join(rows)}",
                hint="migrate the target, or map the column elsewhere",
            )
        written = [c.into for c in plan.drafted if c.ownership is not Ownership.COMPUTED]
        frozen = [into for into in written if not rows[into].writable]
        if frozen:
            raise DriftError(
                f"entity {plan.name}: {name} generates {', '.join(frozen)} itself",
                hint="give these columns the ownership computed",
            )
        self._tables[plan.name] = _table(plan, name, rows, token)

    async def create(self, plan: Plan, order: Sequence[str]) -> bool:
        """Create the table of a mirror, columns in ``order``; False when it stood already."""
        if await self.describe(plan.name):
            return False
        statement = table_sql.create_table(self._names[plan.name], plan, order)
        with translate(f"creating the target of {plan.name}"):
            async with self._connections.acquire() as connection:
                await connection.execute(statement)
        return True

    async def widen(self, plan: Plan) -> tuple[str, ...]:
        """Add drafted columns that the table lacks."""
        found = await self.describe(plan.name)
        lacking = tuple(column for column in plan.drafted if column.into not in found)
        with translate(f"widening the target of {plan.name}"):
            async with self._connections.acquire() as connection:
                for column in lacking:
                    await connection.execute(table_sql.add_column(self._names[plan.name], column))
        return tuple(column.into for column in lacking)

    async def add_soft_delete(self, plan: Plan) -> bool:
        """Add the column that takes the time of a soft delete; False when it stood already."""
        if plan.soft_delete in await self.describe(plan.name):
            return False
        statement = table_sql.add_timestamp(self._names[plan.name], plan.soft_delete)
        with translate(f"widening the target of {plan.name}"):
            async with self._connections.acquire() as connection:
                await connection.execute(statement)
        return True

    async def lacking(self, entity: str) -> tuple[str, ...]:
        """Nothing: what a mirror needs is made by ``create``, and the rest told by ``prepare``."""
        del entity
        return ()

    async def row_id(self, tx: Tx, plan: Plan, key: bytes) -> str:
        """'': a row of a mirror has no other id than its key."""
        del tx, plan, key
        return ""

    async def is_empty(self, plan: Plan) -> bool:
        """Whether the table holds no row."""
        with translate(f"looking at the target of {plan.name}"):
            async with self._connections.acquire() as connection:
                return not await connection.fetchval(table_sql.any_row(self._table(plan)))

    async def lock(
        self,
        tx: Tx,
        plan: Plan,
        keys: Sequence[bytes],
        drafts: Mapping[bytes, Row] | None = None,
    ) -> Locked:
        """Rows of ``keys`` in canonical text, locked in key order when the transaction writes."""
        del drafts  # the key alone says which row is whose
        connection, writes = opened(tx)
        table = self._table(plan)
        parts = _key_arrays(plan, keys)
        statement = table_sql.select_by_key(table, plan, lock=writes)
        rows = await connection.fetch(statement, keys, *parts)
        return Locked({row[0]: canonical_row(table.reader, row[1:]) for row in rows})

    async def write(
        self, tx: Tx, plan: Plan, changes: Sequence[tuple[bytes, Row, Decision]]
    ) -> Mapping[bytes, Row]:
        """Stage and carry out; every written row as the target holds it afterwards."""
        connection, _ = opened(tx)
        table = self._table(plan)
        await connection.execute(table_sql.create_stage(table, plan))
        await failpoint("target.stage")
        await connection.copy_to_table(
            table_sql.STAGE, source=CopyPieces([_staged(plan, changes)]), format="text"
        )
        await failpoint("target.copied")
        wanted = counted(changes)
        if wanted[Write.DELETE]:
            done = await connection.execute(table_sql.delete(table, plan))
            expect(plan, "delete", wanted[Write.DELETE], done)
            await failpoint("target.deleted")
        updates = [d for _, _, d in changes if d.write is Write.UPDATE]
        if updates:
            done = await connection.execute(table_sql.update(table, plan, updates))
            expect(plan, "update", wanted[Write.UPDATE], done)
            await failpoint("target.updated")
        inserts = [d for _, _, d in changes if d.write is Write.INSERT]
        if inserts:
            for statement in table_sql.inserts(table, plan, inserts):
                await connection.execute(statement)
            await failpoint("target.inserted")
        stored: Mapping[bytes, Row] = {}
        if updates or inserts:
            rows = await connection.fetch(table_sql.read_back(table, plan))
            await failpoint("target.read_back")
            stored = {row[0]: canonical_row(table.reader, row[1:]) for row in rows}
            assert_single(plan, len(rows) - len(stored))
            assert_stored(plan, changes, stored)
        await connection.execute(table_sql.DROP_STAGE)
        await failpoint("target.written")
        return stored

    def pack(self, plan: Plan, reads: ReadColumns) -> bytes | None:
        """COPY text, where COPY provably stores what is sent."""
        return _copied(reads) if self._table(plan).exact else None

    async def load(self, tx: Tx, plan: Plan, cargo: Sequence[Cargo]) -> bool:
        """COPY straight into the table, if it is still as it was."""
        connection, _ = opened(tx)
        table = self._table(plan)
        token = _token(await connection.fetchrow(_SHAPE_SQL, table.name))
        if token != table.token:
            return False
        await failpoint("target.load")
        schema, name = dialect.split_table(self._names[plan.name])
        await connection.copy_to_table(
            name,
            schema_name=schema,
            source=CopyPieces(_bytes_of(cargo)),
            columns=[column.into for column in plan.drafted],
            format="text",
        )
        return True

    async def scan(self, plan: Plan, emit: EmitReads) -> int:
        """Push all rows in key order."""
        table = self._table(plan)
        total = 0
        async with transaction(self._connections, writes=False) as tx:
            cursor = await tx.connection.cursor(table_sql.select_all(table, plan))
            while rows := await cursor.fetch(_SCAN_ROWS):
                total += len(rows)
                await emit([_read(table, row) for row in rows])
        return total

    async def close(self) -> None:
        """Nothing of its own to release: the connections are shared."""

    def _table(self, plan: Plan) -> Table:
        return self._tables[plan.name]


def _table(plan: Plan, name: str, columns: Shape, token: Any) -> Table:
    found = tuple(columns[column.into] for column in plan.drafted)
    return Table(
        name=name,
        found=found,
        bare=tuple(bare_type(f.native) for f in found),
        token=_token(token),
        exact=token["triggers"] == 0
        and token["rules"] == 0
        and all(c.ownership is not Ownership.COMPUTED for c in plan.drafted)
        and all(table_sql.is_exact(c.type, f) for c, f in zip(plan.drafted, found, strict=True)),
        reader=Normaliser([f.name for f in found], [f.type for f in found], Dialect.CANONICAL),
    )


def _token(row: Any) -> str:
    return "" if row is None else f"{row['triggers']}/{row['rules']}/{row['columns']}"


def _bytes_of(cargo: Sequence[Cargo]) -> list[bytes]:
    """What ``pack`` made."""
    return [part for part in cargo if isinstance(part, bytes)]


def _copied(reads: ReadColumns) -> bytes:
    """COPY text of the rows: the source's own line where there is one."""
    if all(reads.lines):
        return b"\n".join(reads.lines) + b"\n"
    return b"".join(
        [read.line + b"\n" if read.line else dialect.copy_row(_told(read.row)) for read in reads]
    )


def _told(row: Row) -> Sequence[bytes | None]:
    """A row in which every column has something to say."""
    assert MISSING not in row
    return row  # type: ignore[return-value]


def _key_arrays(plan: Plan, keys: Sequence[bytes]) -> list[list[str]]:
    """One array of canonical texts per part of the key."""
    kinds = plan.key_types
    parts = [decode_key(kinds, key) for key in keys]
    return [[part[at].decode() for part in parts] for at in range(len(kinds))]


def _read(table: Table, row: Any) -> Read:
    return Read(key=row[0], row=canonical_row(table.reader, row[1:]))


def _staged(plan: Plan, changes: Sequence[tuple[bytes, Row, Decision]]) -> bytes:
    """COPY text of the stage: key, kind of write, mask of written columns, drafted columns."""
    kinds = plan.key_types
    width = len(plan.drafted)
    masks: dict[tuple[int, ...], bytes] = {}
    rows = []
    for key, row, decision in changes:
        if decision.write is Write.DELETE:
            values: list[bytes | None] = [None] * width
        else:
            values = _written(row, decision.written, width)
        for at, part in zip(plan.target_key, decode_key(kinds, key), strict=True):
            values[at] = part
        written = decision.written
        if written not in masks:
            masks[written] = table_sql.mask(plan, written).encode()
        rows.append([key.hex().encode(), decision.write.value.encode(), masks[written], *values])
    return dialect.copy_rows(rows)


def _written(row: Row, written: Sequence[int], width: int) -> list[bytes | None]:
    """The row with only those values that are written: no other is even converted."""
    chosen = range(width) if len(written) == width else frozenset(written)
    return [
        value if at in chosen and value is not MISSING else None for at, value in enumerate(row)
    ]
