"""What target and ledger in memory stand on: plain dicts, and transactions that copy on begin."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from msgspec import Struct

from syncd.errors import FencedError
from syncd.flow.model import Entry, Outcome, Row
from syncd.flow.ports import Import, Lease, Tx, Unit


class Held(Struct, frozen=True):
    """A delete that waits."""

    run_id: int
    missed_runs: int = 1
    decision: str = ""


class State(Struct):
    """Everything that is kept. Rows and entries are never changed in place, only replaced."""

    tables: dict[str, dict[bytes, Row]] = {}
    entries: dict[int, dict[bytes, Entry]] = {}
    imports: list[tuple[int, int, Import]] = []  # run, entity
    conflicts: dict[tuple[int, bytes, str], int] = {}  # open ones, and how often they were told
    units: dict[tuple[int, int, str], tuple[int, Unit]] = {}  # with the attempt
    held: dict[int, dict[bytes, Held]] = {}
    events: list[tuple[int, bytes, Outcome]] = []
    epoch: int = 0
    attempt: int = 1

    def copied(self) -> "State":
        """A copy that may be changed without the original."""
        return State(
            {name: dict(table) for name, table in self.tables.items()},
            {entity: dict(entries) for entity, entries in self.entries.items()},
            list(self.imports), dict(self.conflicts), dict(self.units),
            {entity: dict(held) for entity, held in self.held.items()},
            list(self.events), self.epoch, self.attempt,
        )  # fmt: skip


class MemoryTx:
    """An open transaction: its own copy of everything."""

    def __init__(self, state: State, *, writes: bool) -> None:
        self.state = state
        self.writes = writes


class Store:
    """The database. One transaction writes at a time, so a copy can be put in place whole.

    ``strike`` is called at each step of a transaction with the step's name and may raise: that is
    how a test kills, delays or cuts off.
    """

    def __init__(self) -> None:
        self.state = State()
        self.strike: Callable[[str], None] = lambda _step: None
        self._writing = anyio.Lock()

    @asynccontextmanager
    async def begin(self, lease: Lease) -> AsyncIterator[Tx]:
        """A transaction under ``lease``; what it did is there when the block has ended."""
        async with self._writing:
            self.strike("begin")
            if lease.epoch != self.state.epoch:
                raise FencedError(f"the lease is not at epoch {lease.epoch} any more")
            tx = MemoryTx(self.state.copied(), writes=True)
            yield tx
            self.strike("commit")
            self.state = tx.state
        self.strike("committed")

    @asynccontextmanager
    async def look(self) -> AsyncIterator[Tx]:
        """A transaction whose changes go nowhere."""
        yield MemoryTx(self.state.copied(), writes=False)


def of(tx: Tx) -> State:
    """What the transaction sees."""
    assert isinstance(tx, MemoryTx)
    return tx.state
