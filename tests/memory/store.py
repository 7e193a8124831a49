"""What target and ledger in memory stand on: plain dicts, and transactions that lie over them.

A transaction keeps what it writes to itself until it commits, and sees what others commit
meanwhile, as one of PostgreSQL does at READ COMMITTED. Rows and entries that it has locked or
written are its own until it ends: others wait for them, and give way when that takes too long.
"""

from collections.abc import (
    AsyncIterator,
    Callable,
    Container,
    Hashable,
    Iterable,
    Iterator,
    MutableMapping,
)
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

import anyio
from msgspec import Struct

from syncd.errors import FencedError, LockedError
from syncd.flow.model import Entry, Outcome, Row
from syncd.flow.ports import Import, Lease, Tx, Unit

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

IMPATIENT_S: Final = 0.2  # how long a transaction that is not patient waits for a lock
PATIENT_S: Final = 10.0
_GONE: Final[Any] = object()


class Held(Struct, frozen=True):
    """A delete that waits."""

    run_id: int
    missed_runs: int = 1
    decision: str = ""


class State(Struct):
    """Everything that is kept. Rows and entries are never changed in place, only replaced."""

    tables: dict[str, dict[bytes, Row]] = {}
    marked: dict[str, dict[bytes, bool]] = {}  # rows that are softly deleted
    entries: dict[int, dict[bytes, Entry]] = {}
    imports: list[tuple[int, int, Import]] = []  # run, entity
    conflicts: dict[tuple[int, bytes, str], int] = {}  # open ones, and how often they were told
    units: dict[tuple[int, int, str], tuple[int, Unit]] = {}  # with the attempt
    held: dict[int, dict[bytes, Held]] = {}
    events: list[tuple[int, bytes, Outcome]] = []
    epoch: int = 0
    attempt: int = 1
    attempts: dict[int, int] = {}  # by run, where a book of runs keeps them


class Layer(MutableMapping[K, V], Generic[K, V]):
    """A dict with what one transaction has changed of it; ``changes`` may hold deletions."""

    __slots__ = ("base", "changes")

    def __init__(self, base: dict[K, V]) -> None:
        self.base = base
        self.changes: dict[K, Any] = {}

    def __getitem__(self, key: K) -> V:
        value = self.changes.get(key, _GONE)
        if value is not _GONE:
            return value  # type: ignore[no-any-return]
        if key in self.changes:
            raise KeyError(key)
        return self.base[key]

    def get(self, key: K, default: Any = None) -> Any:
        """As ever, without an exception for each key that there is not."""
        value = self.changes.get(key, self)
        if value is self:
            return self.base.get(key, default)
        return default if value is _GONE else value

    def __contains__(self, key: object) -> bool:
        if key in self.changes:
            return self.changes[key] is not _GONE
        return key in self.base

    def __setitem__(self, key: K, value: V) -> None:
        self.changes[key] = value

    def __delitem__(self, key: K) -> None:
        self.changes[key] = _GONE

    def __iter__(self) -> Iterator[K]:
        return iter([key for key in {**self.base, **self.changes} if key in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def news(self) -> Iterator[tuple[K, V | None, V | None]]:
        """Key, value before and value after of what was changed, None where there is none."""
        for key, value in self.changes.items():
            yield key, self.base.get(key), None if value is _GONE else value

    def put_in_place(self) -> None:
        """Make the changes the base's own."""
        for key, value in self.changes.items():
            if value is _GONE:
                self.base.pop(key, None)
            else:
                self.base[key] = value


class MemoryTx:
    """An open transaction: what it has changed, and what it has locked."""

    def __init__(self, state: State, lease: Lease | None, *, patient: bool = True) -> None:
        self.lease = lease
        self.owner: object = None
        self.patient = patient
        self.locked: list[Hashable] = []
        self.imports: list[tuple[int, int, Import]] = []
        self.events: list[tuple[int, bytes, Outcome]] = []
        self.recorded: list[tuple[int, bytes]] = []  # entries with an outcome of this transaction
        self.unlocked: list[tuple[str | int, bytes]] = []  # written, and not locked before
        self.void: Exception | None = None  # why the server has ended it
        self.layers: dict[tuple[str, str | int], Layer[Any, Any]] = {}
        self._state = state

    @property
    def writes(self) -> bool:
        """False for a look."""
        return self.lease is not None

    def table(self, name: str) -> Layer[bytes, Row]:
        """The rows of a table."""
        return self._layer("table", name, self._state.tables)

    def marks(self, name: str) -> Layer[bytes, bool]:
        """Which rows of a table are softly deleted."""
        return self._layer("mark", name, self._state.marked)

    def entries(self, entity_id: int) -> Layer[bytes, Entry]:
        """The entries of an entity."""
        return self._layer("entry", entity_id, self._state.entries)

    def conflicts(self) -> Layer[tuple[int, bytes, str], int]:
        """The open conflicts."""
        return self._layer("conflict", "", {"": self._state.conflicts})

    def held(self, entity_id: int) -> Layer[bytes, Held]:
        """The deletes of an entity that wait."""
        return self._layer("held", entity_id, self._state.held)

    def units(self) -> Layer[tuple[int, int, str], tuple[int, Unit]]:
        """The work units."""
        return self._layer("unit", "", {"": self._state.units})

    def attempt_of(self, run_id: int) -> int:
        """The attempt that a run is in."""
        return self._state.attempts.get(run_id, self._state.attempt)

    def _layer(
        self, kind: str, name: str | int, home: dict[Any, dict[Any, Any]]
    ) -> Layer[Any, Any]:
        found = self.layers.get((kind, name))
        if found is None:
            base = home.setdefault(name, {})
            found = self.layers[kind, name] = Layer(base)
        return found


class Store:
    """The database.

    ``strike`` is called at each step of a transaction with the step's name and may raise: that is
    how a test kills, delays or cuts off.
    """

    def __init__(self) -> None:
        self.state = State()
        self.strike: Callable[[str], None] = lambda _step: None
        self.locks: dict[Hashable, MemoryTx] = {}
        self.open: dict[MemoryTx, None] = {}
        self._released: anyio.Event | None = None

    async def point(self, step: str) -> None:
        """A step of the server's: something may happen here."""
        self.strike(step)

    def owner(self) -> object:
        """Whose transactions those are that begin now."""
        return None

    @asynccontextmanager
    async def begin(self, lease: Lease, *, patient: bool = True) -> AsyncIterator[Tx]:
        """A transaction under ``lease``; what it did is there when the block has ended."""
        await self.point("begin")
        self.assert_fence(lease)
        tx = MemoryTx(self.state, lease, patient=patient)
        tx.owner = self.owner()
        self.open[tx] = None
        try:
            yield tx
            await self.point("commit")
            self._assert_alive(tx)
            self.commit(tx)
        finally:
            self.end(tx)
        await self.point("committed")

    @asynccontextmanager
    async def look(self) -> AsyncIterator[Tx]:
        """A transaction whose changes go nowhere."""
        yield MemoryTx(self.state, None)

    def assert_fence(self, lease: Lease) -> None:
        """Raise FencedError where the lease is not the newest."""
        if lease.epoch != self.state.epoch:
            raise FencedError(f"the lease is not at epoch {lease.epoch} any more")

    async def lock(self, tx: MemoryTx, wanted: Iterable[Hashable]) -> None:
        """Make these the transaction's own, in the order given; a look locks nothing.

        Raises LockedError when somebody holds one for too long.
        """
        self._assert_alive(tx)
        if tx.writes:
            for what in wanted:
                await self._lock(tx, what)

    async def own(
        self, tx: MemoryTx, kind: str | int, keys: Iterable[bytes], there: Container[bytes]
    ) -> None:
        """Take the locks that a write takes; note what was there and is locked only now."""
        for key in keys:
            if key in there and self.locks.get((kind, key)) is not tx:
                tx.unlocked.append((kind, key))
            await self.lock(tx, [(kind, key)])

    def commit(self, tx: MemoryTx) -> None:
        """Put what the transaction did in place."""
        for layer in tx.layers.values():
            layer.put_in_place()
        self.state.imports += tx.imports
        self.state.events += tx.events

    def end(self, tx: MemoryTx) -> None:
        """Let go of what the transaction holds, once it stands or is rolled back."""
        self.open.pop(tx, None)
        for what in tx.locked:
            if self.locks.get(what) is tx:
                del self.locks[what]
        tx.locked.clear()
        if self._released is not None:
            self._released.set()
            self._released = None

    async def wait(self, most_s: float) -> float:
        """Wait until some transaction ends, at most so long; how long that took."""
        if self._released is None:
            self._released = anyio.Event()
        begun_s = anyio.current_time()
        with anyio.move_on_after(most_s):
            await self._released.wait()
        return anyio.current_time() - begun_s

    async def _lock(self, tx: MemoryTx, what: Hashable) -> None:
        holder = self.locks.get(what)
        left_s = PATIENT_S if tx.patient else IMPATIENT_S
        while holder is not None and holder is not tx:
            if left_s <= 0:
                raise LockedError("a row is held", sqlstate="55P03", constraint="locked")
            left_s -= await self.wait(left_s) or 1e-9
            self._assert_alive(tx)
            holder = self.locks.get(what)
        if holder is None:
            self.locks[what] = tx
            tx.locked.append(what)

    @staticmethod
    def _assert_alive(tx: MemoryTx) -> None:
        if tx.void is not None:
            raise tx.void


def of(tx: Tx) -> MemoryTx:
    """The transaction, as the doubles know it."""
    assert isinstance(tx, MemoryTx)
    return tx
