"""The target in memory: tables are dicts by key, a row is a tuple in drafted order."""

from collections.abc import Callable, Mapping, Sequence

from syncd.errors import InvariantError, RowError
from syncd.flow.keys import encode_key
from syncd.flow.model import (
    MISSING,
    ColumnType,
    Decision,
    Found,
    Ownership,
    Plan,
    Read,
    ReadColumns,
    Row,
    Shape,
    Value,
    Write,
)
from syncd.flow.ports import Cargo, EmitReads, Locked, Tx
from tests.memory.store import Store, of


class MemoryTarget:
    """``stored`` says what the target makes of a row; it may raise RowError to refuse it.

    ``refuse_delete`` may raise RowError for the key of a row that is to be deleted.
    """

    def __init__(self, store: Store, *, stored: Callable[[Row], Row] = lambda row: row) -> None:
        self.stored = stored
        self.refuse_delete: Callable[[bytes], None] = lambda _key: None
        self._store = store
        self._shapes: dict[str, dict[str, Found]] = {}

    async def describe(self, entity: str) -> Shape:
        """Columns of the table; none where there is no table."""
        return self._shapes.get(entity, {})

    async def create(self, plan: Plan, order: Sequence[str]) -> bool:
        """Make the table unless it is there."""
        if plan.name in self._shapes:
            return False
        into = {column.name: column for column in plan.drafted}
        chosen = [into[name] for name in order]
        self._shapes[plan.name] = {c.into: _found(c.into, c.type) for c in chosen}
        self._store.state.tables[plan.name] = {}
        return True

    async def widen(self, plan: Plan) -> tuple[str, ...]:
        """Add the columns that are not there."""
        shape = self._shapes[plan.name]
        lacking = [c for c in plan.drafted if c.into not in shape]
        shape |= {c.into: _found(c.into, c.type) for c in lacking}
        return tuple(c.into for c in lacking)

    async def is_empty(self, plan: Plan) -> bool:
        """Whether the table holds nothing."""
        await self._store.point("target.is_empty")
        return not self._store.state.tables.get(plan.name)

    async def prepare(self, plan: Plan) -> None:
        """Nothing is introspected."""

    async def lock(
        self,
        tx: Tx,
        plan: Plan,
        keys: Sequence[bytes],
        drafts: Mapping[bytes, Row] | None = None,
    ) -> Locked:
        """The rows that are there, locked in key order."""
        del drafts
        await self._store.point("target.lock")
        own, ordered = of(tx), sorted(keys)
        table = own.table(plan.name)
        await self._store.lock(own, [(plan.name, key) for key in ordered if key in table])
        return Locked({key: table[key] for key in ordered if key in table})

    async def write(
        self, tx: Tx, plan: Plan, changes: Sequence[tuple[bytes, Row, Decision]]
    ) -> Mapping[bytes, Row]:
        """Carry out what was decided."""
        await self._store.point("target.write")
        own, written = of(tx), {}
        table, marks = own.table(plan.name), own.marks(plan.name)
        await self._store.own(own, plan.name, [key for key, _, _ in changes], table)
        for key, row, decision in changes:
            if decision.write is Write.INSERT and key in table:
                raise RowError("the key is taken", sqlstate="23505", constraint="pkey")
            if decision.write is not Write.INSERT and key not in table:
                raise InvariantError("a row that was locked is not there")
            if decision.write is Write.DELETE:
                self.refuse_delete(key)
                if plan.soft_delete:
                    marks[key] = True
                else:
                    del table[key]
                continue
            before = table.get(key, (None,) * len(plan.drafted))
            after = [row[at] if at in decision.written else old for at, old in enumerate(before)]
            table[key] = written[key] = self.stored(tuple(after))
            if key in marks:
                del marks[key]
        return written

    def pack(self, plan: Plan, reads: ReadColumns) -> list[Row] | None:
        """The rows, if they are stored as they are sent."""
        rows = [read.row for read in reads]
        if any(self._changed(row) for row in rows):
            return None
        if any(column.ownership is Ownership.COMPUTED for column in plan.drafted):
            return None
        return rows

    async def load(self, tx: Tx, plan: Plan, cargo: Sequence[Cargo]) -> bool:
        """Insert packed rows."""
        await self._store.point("target.load")
        rows = [row for part in cargo if isinstance(part, list) for row in part]
        own = of(tx)
        table = own.table(plan.name)
        for row in rows:
            key = key_of(plan, row)
            await self._store.lock(own, [(plan.name, key)])
            if key in table:
                raise RowError("the key is taken", sqlstate="23505", constraint="pkey")
            table[key] = self.stored(row)
        return True

    def _changed(self, row: Row) -> bool:
        """Whether the target makes something else of a row; one that it refuses it leaves."""
        try:
            return self.stored(row) != row
        except RowError:
            return False

    async def scan(self, plan: Plan, emit: EmitReads) -> int:
        """All rows in key order."""
        table = self._store.state.tables.get(plan.name, {})
        if table:
            await emit([Read(key, table[key]) for key in sorted(table)])
        return len(table)

    async def close(self) -> None:
        """Nothing to release."""


def key_of(plan: Plan, row: Row) -> bytes:
    """The ledger's key of a drafted row."""
    parts: list[Value] = [row[at] for at in plan.target_key]
    assert MISSING not in parts
    return encode_key(plan.key_types, parts)


def _found(name: str, type_: ColumnType) -> Found:
    return Found(name, type_.kind.value, type_)
