"""The doubles of tests/memory under a simulation: every await of theirs is a step of the world's.

``Site`` is production's own, but for where its shores come from, so that planning, pinning, the
lease and the book of a run are all in the game.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from syncd.config import Config
from syncd.errors import LockedError, RowError, SourceError
from syncd.flow.fingerprint import Hasher
from syncd.flow.model import Decision, Plan, Read, Row
from syncd.flow.ports import WHOLE, Emit, EmitReads, Lease, Snapshot, Source, Span, Tell, Tx
from syncd.retry import with_backoff
from syncd.site import Site
from tests.memory.ledger import MemoryLedger, blocks, record
from tests.memory.runs import MemoryReviews, MemoryRuns
from tests.memory.source import MemorySource
from tests.memory.store import MemoryTx, Store
from tests.memory.target import MemoryTarget
from tests.sim.loop import PROCESS

Step = Callable[[str], Awaitable[None]]
HASH_KEY: Final = b"a key of sixteen bytes or more"


class SimStore(Store):
    """The database; ``step`` is called before each of its steps, ``stands`` with each commit."""

    def __init__(self, step: Step, stands: Callable[[MemoryTx], None]) -> None:
        super().__init__()
        self._step = step
        self._stands = stands

    async def point(self, step: str) -> None:
        """A step of the world's."""
        await self._step(step)

    def owner(self) -> object:
        """The process that asks."""
        return PROCESS.get()

    def commit(self, tx: MemoryTx) -> None:
        """Tell, then put in place."""
        self._stands(tx)
        super().commit(tx)

    def abort(self, why: Exception, *, whose: Callable[[MemoryTx], bool] = lambda _: True) -> None:
        """The server ends transactions: nothing of them stands."""
        for tx in [tx for tx in self.open if whose(tx)]:
            tx.void = why
            self.end(tx)


class SimTarget(MemoryTarget):
    """Notes, by process, the batches that it has refused."""

    def __init__(self, store: Store, *, stored: Callable[[Row], Row]) -> None:
        super().__init__(store, stored=stored)
        self.refused: dict[str, list[tuple[bytes, ...]]] = {}

    async def write(
        self, tx: Tx, plan: Plan, changes: Sequence[tuple[bytes, Row, Decision]]
    ) -> Mapping[bytes, Row]:
        """As ever."""
        try:
            return await super().write(tx, plan, changes)
        except RowError as error:
            process = PROCESS.get()
            if process is not None and not isinstance(error, LockedError):
                keys = plan.name.encode(), *(key for key, _, _ in changes)
                self.refused.setdefault(process.name, []).append(keys)
            raise


class SimSource(MemorySource):
    """One look at the source, as ``dump`` says that it is read."""

    def __init__(
        self,
        hasher: Hasher,
        step: Step,
        rows: dict[str, list[Row]],
        position: int,
        dump: str,
        *,
        batch_rows: int = 2,
    ) -> None:
        super().__init__(hasher, batch_rows=batch_rows)
        self.rows = rows
        self.position = position - 1
        self.block_rows = 1
        self.failed: list[str] = []
        self._step = step
        self._kind, _, number = dump.partition(":")
        self._number = int(number or 0)

    @asynccontextmanager
    async def open(self, plans: Sequence[Plan]) -> AsyncIterator[Snapshot]:
        """A snapshot whose every answer takes a step."""
        async with super().open(plans) as inner:
            yield _SimSnapshot(self, inner)

    async def scan(self, inner: Snapshot, plan: Plan, emit: Emit, tell: Tell, within: Span) -> int:
        """In blocks; cut off, or out of order, where the dump is. There is one span: all of it."""
        assert within == WHOLE
        reads: list[Read] = []

        async def collect(some: Sequence[Read]) -> None:
            reads.extend(some)

        await self._step("source.scan")
        rows = await inner.read(plan, collect, tell)
        if self._kind == "unordered" and len(reads) > 1:
            reads.append(reads.pop(0))
            self.failed.append(plan.name)
        whole = len(reads)
        if self._kind == "cut":
            reads = reads[: self._number]
        for block in blocks([record(r.key, r.digest) for r in reads], self.block_rows):
            await self._step("source.block")
            await emit(block)
        self._assert_whole(plan, whole)
        return rows

    async def read(self, inner: Snapshot, plan: Plan, emit: EmitReads, tell: Tell) -> int:
        """In batches; cut off where the dump is."""
        left = self._number if self._kind == "cut" else None
        whole = 0

        async def forward(some: Sequence[Read]) -> None:
            nonlocal left, whole
            whole += len(some)
            await self._step("source.batch")
            if left is not None:
                some = some[:left]
                left -= len(some)
            if some:
                await emit(some)

        rows = await inner.read(plan, forward, tell)
        self._assert_whole(plan, whole)
        return rows

    async def fetch(self, inner: Snapshot, plan: Plan, keys: Sequence[bytes]) -> list[Read]:
        """A step, then the rows."""
        await self._step("source.fetch")
        return await inner.fetch(plan, keys)

    def _assert_whole(self, plan: Plan, rows: int) -> None:
        if self._kind == "cut" and rows > self._number:
            self.failed.append(plan.name)
            raise SourceError("the dump ends here")


class _SimSnapshot:
    def __init__(self, source: SimSource, inner: Snapshot) -> None:
        self.position = inner.position
        self.lanes = inner.lanes
        self.identity = inner.identity
        self.digest_spec = inner.digest_spec
        self._source = source
        self._inner = inner

    async def spans(self, plan: Plan, extent: tuple[bytes, bytes], rows: int) -> Sequence[Span]:
        del plan, extent, rows
        return (WHOLE,)

    async def scan(self, plan: Plan, emit: Emit, tell: Tell, within: Span = WHOLE) -> int:
        return await self._source.scan(self._inner, plan, emit, tell, within)

    async def read(self, plan: Plan, emit: EmitReads, tell: Tell) -> int:
        return await self._source.read(self._inner, plan, emit, tell)

    async def fetch(self, plan: Plan, keys: Sequence[bytes]) -> list[Read]:
        return await self._source.fetch(self._inner, plan, keys)


class SimSite(Site):
    """A site of one instance, on shores that all instances share."""

    def __init__(
        self,
        config: Config,
        holder: str,
        target: MemoryTarget,
        ledger: MemoryLedger,
        runs: MemoryRuns,
        reviews: MemoryReviews,
        look: Callable[[Hasher, int], Source],
    ) -> None:
        self.config = config
        self.holder = holder
        self.target = target  # type: ignore[assignment]
        self.ledger = ledger  # type: ignore[assignment]
        self.runs = runs  # type: ignore[assignment]
        self.reviews = reviews  # type: ignore[assignment]
        self.retry = with_backoff(config.limits.retries, config.limits.retry_budget_s)
        self._look = look

    async def assert_ledger(self) -> None:
        """It is there."""

    async def has_another_history(self, lease: Lease) -> bool:
        """There is one server, and it loses nothing."""
        del lease
        return False

    def source(self, hasher: Hasher, *, sequence: int) -> Source:
        """The next look at the source."""
        return self._look(hasher, sequence)

    async def _hash_key(self) -> bytes:
        return HASH_KEY
