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
    Row,
    Shape,
    Value,
    Write,
)
from syncd.flow.ports import EmitReads, Tx
from tests.memory.store import Store, of


class MemoryTarget:
    """``stored`` says what the target makes of a row; it may raise RowError to refuse it."""

    def __init__(self, store: Store, *, stored: Callable[[Row], Row] = lambda row: row) -> None:
        self.stored = stored
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
        return not self._store.state.tables.get(plan.name)

    async def lock(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> Mapping[bytes, Row]:
        """The rows that are there."""
        self._store.strike("target.lock")
        table = of(tx).tables.setdefault(plan.name, {})
        return {key: table[key] for key in sorted(keys) if key in table}

    async def write(
        self, tx: Tx, plan: Plan, changes: Sequence[tuple[bytes, Row, Decision]]
    ) -> Mapping[bytes, Row]:
        """Carry out what was decided."""
        self._store.strike("target.write")
        table, written = of(tx).tables.setdefault(plan.name, {}), {}
        for key, row, decision in changes:
            if decision.write is Write.INSERT and key in table:
                raise RowError("the key is taken", sqlstate="23505", constraint="pkey")
            if decision.write is not Write.INSERT and key not in table:
                raise InvariantError("a row that was locked is not there")
            if decision.write is Write.DELETE:
                del table[key]
                continue
            before = table.get(key, (None,) * len(plan.drafted))
            after = [row[at] if at in decision.written else old for at, old in enumerate(before)]
            table[key] = written[key] = self.stored(tuple(after))
        return written

    async def load(self, tx: Tx, plan: Plan, rows: Sequence[Row]) -> bool:
        """Insert rows that are stored as they are sent."""
        self._store.strike("target.load")
        if any(self.stored(row) != row for row in rows):
            return False
        if any(column.ownership is Ownership.COMPUTED for column in plan.drafted):
            return False
        table = of(tx).tables.setdefault(plan.name, {})
        for row in rows:
            key = key_of(plan, row)
            if key in table:
                raise RowError("the key is taken", sqlstate="23505", constraint="pkey")
            table[key] = row
        return True

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
