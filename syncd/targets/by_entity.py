"""Flat tables and aggregates behind one port: each entity goes to the adapter that knows it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from syncd.flow.model import Plan, ReadColumns, Row, Shape
from syncd.flow.ports import Cargo, EmitReads, Locked, Target, Tx
from syncd.targets.staging import Changes


class Tables(Target, Protocol):
    """A target with what ``init`` and ``validate`` ask of it beside."""

    async def prepare(self, plan: Plan) -> None:
        """Introspect what the plan needs; raises DriftError where it is not there."""

    async def add_soft_delete(self, plan: Plan) -> bool:
        """Add the column of soft deletes; False when it stood already, or is not ours to add."""

    async def lacking(self, entity: str) -> tuple[str, ...]:
        """What must be there and is not, where syncd does not make it."""

    async def row_id(self, tx: Tx, plan: Plan, key: bytes) -> str:
        """The id that the target's own link gives a record; '' where there is none."""


class TablesByEntity:
    """``aggregates`` for the entities named in ``own``, ``flat`` for all others."""

    def __init__(self, flat: Tables, aggregates: Tables, own: frozenset[str]) -> None:
        self._flat = flat
        self._aggregates = aggregates
        self._own = own

    def _of(self, entity: str) -> Tables:
        return self._aggregates if entity in self._own else self._flat

    async def describe(self, entity: str) -> Shape:
        """Columns of the entity's table or document."""
        return await self._of(entity).describe(entity)

    async def lacking(self, entity: str) -> tuple[str, ...]:
        """What the target must have and has not."""
        return await self._of(entity).lacking(entity)

    async def row_id(self, tx: Tx, plan: Plan, key: bytes) -> str:
        """The id of a record's row."""
        return await self._of(plan.name).row_id(tx, plan, key)

    async def prepare(self, plan: Plan) -> None:
        """Introspect what the plan needs."""
        await self._of(plan.name).prepare(plan)

    async def create(self, plan: Plan, order: Sequence[str]) -> bool:
        """Create the table of a mirror."""
        return await self._of(plan.name).create(plan, order)

    async def widen(self, plan: Plan) -> tuple[str, ...]:
        """Add columns to the table of a mirror."""
        return await self._of(plan.name).widen(plan)

    async def add_soft_delete(self, plan: Plan) -> bool:
        """Add the column of soft deletes."""
        return await self._of(plan.name).add_soft_delete(plan)

    async def is_empty(self, plan: Plan) -> bool:
        """Whether the table holds nothing."""
        return await self._of(plan.name).is_empty(plan)

    async def lock(
        self,
        tx: Tx,
        plan: Plan,
        keys: Sequence[bytes],
        drafts: Mapping[bytes, Row] | None = None,
    ) -> Locked:
        """Lock and read."""
        return await self._of(plan.name).lock(tx, plan, keys, drafts)

    async def write(self, tx: Tx, plan: Plan, changes: Changes) -> Mapping[bytes, Row]:
        """Carry out what was decided."""
        return await self._of(plan.name).write(tx, plan, changes)

    def pack(self, plan: Plan, reads: ReadColumns) -> Cargo | None:
        """Make rows ready for ``load``."""
        return self._of(plan.name).pack(plan, reads)

    async def load(self, tx: Tx, plan: Plan, cargo: Sequence[Cargo]) -> bool:
        """Insert packed rows."""
        return await self._of(plan.name).load(tx, plan, cargo)

    async def scan(self, plan: Plan, emit: EmitReads) -> int:
        """Push all rows in key order."""
        return await self._of(plan.name).scan(plan, emit)

    async def close(self) -> None:
        """Release everything."""
        await self._flat.close()
        await self._aggregates.close()
