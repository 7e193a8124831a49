"""A source, a target and a ledger in memory, whose transactions may be struck.

It is enough to run an entity for real: survey, fetch, decide, write, read back, record, commit.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec.structs import replace

from syncd.errors import RowError, TransientError
from syncd.flow.apply import Applier, Shores
from syncd.flow.entity_pass import EntityPass
from syncd.flow.model import MISSING, Counts, Decision, Entry, Plan, Read, Row, State, Write
from syncd.flow.ports import WHOLE, Block, Emit, EmitReads, Import, Lease, Locked, Span, Tell, Unit
from syncd.retry import with_backoff
from tests.flow.batch_world import PLAN, SIGHT, decider, key
from tests.flow.merge_world import HASHER

_LEASE: Final = Lease("nodes", "a test", 1)
REFUSED: Final = b"refused"  # a name that the target does not take
CLINGING: Final = b"clinging"  # the name of a row that the target does not let go


class KilledError(Exception):
    """The process ended there."""


def record(of: bytes, digest: int) -> bytes:
    """A record of a scan."""
    head = b"\0\2" + len(of).to_bytes(4, "big")
    return head + of + b"\0\0\0\x08" + digest.to_bytes(8, "big", signed=True)


def digest_of(row: Row) -> int:
    """A digest of a row; never 0 or -1."""
    return HASHER.digest(repr(row).encode())


class Source:
    """Rows by key; what is ``gone`` is there at the scan and not at the fetch any more."""

    position = SIGHT.position

    def __init__(self, rows: Mapping[str, Row], *, gone: Sequence[str] = ()) -> None:
        self.rows = {key(text): row for text, row in rows.items()}
        self.gone = {key(text) for text in gone}
        self.fetched: list[list[bytes]] = []

    async def scan(self, _plan: Plan, emit: Emit, _tell: Tell, within: Span = WHOLE) -> int:
        """All records in one block."""
        records = [
            record(of, digest_of(row))
            for of, row in sorted(self.rows.items())
            if within.first <= of and (not within.end or of < within.end)
        ]
        await emit(Block(b"".join(records), 0))
        return len(records)

    async def read(self, _plan: Plan, emit: EmitReads, _tell: Tell) -> int:
        """All rows, two at a time."""
        reads = self._reads(sorted(self.rows))
        for at in range(0, len(reads), 2):
            await emit(reads[at : at + 2])
        return len(reads)

    async def fetch(self, _plan: Plan, keys: Sequence[bytes]) -> list[Read]:
        """The rows of ``keys``."""
        self.fetched.append(list(keys))
        return self._reads([of for of in keys if of in self.rows and of not in self.gone])

    def _reads(self, keys: Sequence[bytes]) -> list[Read]:
        return [Read(of, self.rows[of], digest_of(self.rows[of])) for of in keys]


_BEFORE_COMMIT: Final[dict[str, Exception]] = {
    "refused": TransientError("busy"),
    "killed": KilledError(),
}
_AFTER_COMMIT: Final[dict[str, Exception]] = {
    "lost": TransientError("no answer", outcome_unknown=True),
    "killed late": KilledError(),
}


def _strike(fate: str, blows: Mapping[str, Exception]) -> None:
    if fate in blows:
        raise blows[fate]


class Store:
    """Ledger and target in one, as they commit together.

    Each transaction takes its fate from ``fates``: "ok", "refused" (a busy server, before the
    commit), "lost" (the commit stands, its answer does not come), "killed" or "killed late"
    (before or after the commit).
    """

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.entries: dict[bytes, Entry] = {}
        self.units: list[Unit] = []
        self.fates: Iterator[str] = iter(())

    @asynccontextmanager
    async def begin(self, _lease: Lease, **_: object) -> AsyncIterator[object]:
        """A transaction that meets its fate at the end."""
        saved = dict(self.rows), dict(self.entries), list(self.units)
        fate = next(self.fates, "ok")
        try:
            yield self
            _strike(fate, _BEFORE_COMMIT)
        except BaseException:
            self.rows, self.entries, self.units = saved
            raise
        _strike(fate, _AFTER_COMMIT)

    async def scan(self, emit: Emit, _within: Span) -> int:
        """Every entry present, as the real ledger tells its digests."""
        present = sorted(of for of, entry in self.entries.items() if entry.present)
        records = [record(of, self._told(self.entries[of])) for of in present]
        await emit(Block(b"".join(records), 0))
        return len(records)

    def _told(self, entry: Entry) -> int:
        is_known = entry.digest and not entry.open and entry.state is State.LIVE
        return entry.digest if is_known else -1

    async def find_unit(self, _run_id: int, _plan: Plan, unit_id: str) -> Unit | None:
        """A unit that was committed."""
        return next((unit for unit in self.units if unit.unit_id == unit_id), None)


class LedgerSide:
    """The store as a ledger."""

    def __init__(self, store: Store) -> None:
        self.begin, self.find_unit = store.begin, store.find_unit
        self._store = store

    async def lock(self, _tx: object, _plan: Plan, keys: Sequence[bytes]) -> Mapping[bytes, Entry]:
        """Entries of ``keys``."""
        return {of: self._store.entries[of] for of in keys if of in self._store.entries}

    async def record(
        self,
        _tx: object,
        _plan: Plan,
        entries: Sequence[Entry],
        _imports: Sequence[Import],
        *,
        new: bool,
    ) -> None:
        """Store entries."""
        assert not new
        self._store.entries |= {entry.key: entry for entry in entries}

    async def touch(
        self,
        _tx: object,
        _plan: Plan,
        keys: Sequence[bytes],
        digests: Sequence[int],
        *_: object,
    ) -> None:
        """Refresh digests."""
        for of, digest in zip(keys, digests, strict=True):
            self._store.entries[of] = replace(self._store.entries[of], digest=digest)

    async def unit(self, _tx: object, _run_id: int, _plan: Plan, unit: Unit) -> None:
        """Note a unit."""
        self._store.units.append(unit)

    async def live(self, *_: object) -> frozenset[bytes]:
        """Nobody is a parent here."""
        return frozenset()


class TargetSide:
    """The store as a target."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def lock(
        self, _tx: object, _plan: Plan, keys: Sequence[bytes], _drafts: object = None
    ) -> Locked:
        """Rows of ``keys``."""
        return Locked({of: self._store.rows[of] for of in keys if of in self._store.rows})

    async def write(
        self, _tx: object, _plan: Plan, changes: Sequence[tuple[bytes, Row, Decision]]
    ) -> Mapping[bytes, Row]:
        """Write all or raise for the first that is refused."""
        stored = {}
        for of, row, decision in changes:
            before = self._store.rows.get(of, (None,) * len(row))
            if decision.write is Write.DELETE:
                if before[1] == CLINGING:
                    raise RowError("refused", sqlstate="23503", constraint="fk")
                del self._store.rows[of]
                continue
            after = [row[at] if at in decision.written else old for at, old in enumerate(before)]
            if REFUSED in after:
                raise RowError("refused", sqlstate="22001", column="name")
            assert MISSING not in after
            stored[of] = self._store.rows[of] = tuple(after)
        return stored


class Attempt:
    """One attempt at a run over ``source``: the pass, its applier and its sums."""

    def __init__(self, source: Source, store: Store, *, run_id: int, number: int) -> None:
        sides: tuple[Any, Any] = (LedgerSide(store), TargetSide(store))
        made = decider(PLAN, *sides)
        made.sight = replace(SIGHT, run_id=run_id)
        units = (f"{run_id}/{number}/{n}" for n in range(1000))
        retry = with_backoff(retries=50, budget_s=60, first_s=0)
        shores = Shores(sides[0], sides[1], _LEASE, retry, lambda: next(units))
        self.applier = Applier(made, shores)
        self.read = EntityPass(PLAN, source, batch_rows=3, writers=2, findings=10)  # type: ignore[arg-type]
        self.number = number
        self.store = store
        self.earlier = [unit for unit in store.units if unit.unit_id.startswith(f"{run_id}/")]

    async def run(self) -> Counts:
        """Bring, remove, look again, and add up."""
        read, applier = self.read, self.applier
        await read.bring([WHOLE], self.store.scan, applier.apply, lambda _: None)
        for at in range(0, len(read.absent), 3):
            await applier.remove(read.absent[at : at + 3])
        tally = applier.tally
        again, tally.again, tally.waiting = [*tally.again, *tally.waiting], [], []
        await read.look_again(again, applier.apply)
        return self.counts()

    def counts(self, *, held: int = 0, reported: int = 0) -> Counts:
        """The sums of the run so far."""
        return self.read.counts(
            self.applier.tally, self.earlier, attempt=self.number, held=held, reported=reported
        )
