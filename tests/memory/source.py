"""A source in memory: lists of rows by entity, a counter as its position."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from syncd.errors import SourceError
from syncd.flow.fingerprint import Hasher
from syncd.flow.keys import KeyIssue, encode_key
from syncd.flow.model import Found, Issue, Plan, Read, Row, Severity, Shape
from syncd.flow.ports import WHOLE, Block, Emit, EmitReads, Snapshot, Span, Tell
from tests.memory.ledger import record


class MemorySource:
    """``rows`` may be changed between looks. ``cut_after`` ends each scan early, as a lost dump."""

    def __init__(self, hasher: Hasher, *, batch_rows: int = 100) -> None:
        self.rows: dict[str, list[Row]] = {}
        self.shapes: dict[str, dict[str, Found]] = {}
        self.position = 0
        self.cut_after: int | None = None
        self.batch_rows = batch_rows
        self._hasher = hasher

    async def describe(self, entity: str) -> Shape:
        """Columns as they were given."""
        return self.shapes[entity]

    @asynccontextmanager
    async def open(self, plans: Sequence[Plan]) -> AsyncIterator[Snapshot]:
        """A copy of what is there now."""
        self.position += 1
        yield _MemorySnapshot(self, {plan.name: list(self.rows[plan.name]) for plan in plans})

    async def close(self) -> None:
        """Nothing to release."""

    def digest(self, row: Row) -> int:
        """Equal for equal rows; never 0 or -1."""
        return self._hasher.digest(repr(row).encode())


class _MemorySnapshot:
    def __init__(self, source: MemorySource, rows: Mapping[str, list[Row]]) -> None:
        self.position = source.position
        self.lanes = 2
        self._source = source
        self._rows = rows

    async def identity(self, plan: Plan) -> str:
        """Nothing is cheap."""
        del plan
        return ""

    async def digest_spec(self, plan: Plan) -> str:
        """The columns that are in the digest."""
        return f"memory {[column.name for column in plan.columns]}"

    async def spans(self, plan: Plan, extent: tuple[bytes, bytes], rows: int) -> Sequence[Span]:
        """Two halves at the last key that is remembered, if it is not the only one."""
        del plan, rows
        first, last = extent
        return (Span(end=last), Span(last)) if first != last else (WHOLE,)

    async def scan(self, plan: Plan, emit: Emit, tell: Tell, within: Span = WHOLE) -> int:
        """Every key with its digest; what has no key belongs to the first span."""
        rows = [row for row in self._rows[plan.name] if _is_within(plan, row, within)]
        for at, read in enumerate(self._reads(plan, tell, rows)):
            if at == self._source.cut_after:
                raise SourceError("the dump ends here")
            await emit(Block(record(read.key, read.digest), 0))
        return len(rows)

    async def read(self, plan: Plan, emit: EmitReads, tell: Tell) -> int:
        """Every row, in batches."""
        reads = self._reads(plan, tell, self._rows[plan.name])
        for at in range(0, len(reads), self._source.batch_rows):
            if self._source.cut_after is not None and at >= self._source.cut_after:
                raise SourceError("the dump ends here")
            await emit(reads[at : at + self._source.batch_rows])
        return len(self._rows[plan.name])

    async def fetch(self, plan: Plan, keys: Sequence[bytes]) -> list[Read]:
        """The rows that are there."""
        wanted = set(keys)
        found = self._reads(plan, lambda _: None, self._rows[plan.name])
        return [read for read in found if read.key in wanted]

    def _reads(self, plan: Plan, tell: Tell, rows: Sequence[Row]) -> list[Read]:
        """Each key once, in order; what has no key, and what repeats one, is told."""
        found: dict[bytes, Read] = {}
        for row in rows:
            try:
                key = encode_key(plan.key_types, [row[at] for at in plan.key])
            except KeyIssue as issue:
                tell(Issue(Severity.ERROR, issue.code))
                continue
            if key in found:
                twice = Issue(Severity.ERROR, "duplicate_key")
                tell(twice)
                found[key] = Read(key, found[key].row, 0, (twice,))
            else:
                found[key] = Read(key, row, self._source.digest(row))
        return [found[key] for key in sorted(found)]


def _is_within(plan: Plan, row: Row, within: Span) -> bool:
    try:
        key = encode_key(plan.key_types, [row[at] for at in plan.key])
    except KeyIssue:
        return not within.first
    return within.first <= key and (not within.end or key < within.end)
