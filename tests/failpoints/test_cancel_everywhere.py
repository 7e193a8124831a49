"""Cancel at every await of every way in which a batch is applied (I1, I2, I4, I6, I8; case 10)."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from msgspec import Struct
from msgspec.structs import replace

from syncd.errors import RowError, TransientError
from syncd.flow.apply import Applier, Shores
from syncd.flow.decide import Decider, Sight
from syncd.flow.entity_pass import EntityPass
from syncd.flow.model import Outcome, Read, Row, State
from syncd.flow.ports import Lease
from syncd.flow.transform import Drafter
from syncd.flow.waiting import Parents
from syncd.retry import with_backoff
from tests.contracts.world import HASHER, entry_of, key_of, plan_of, row_of
from tests.failpoints.awaits import Cancelling, Restless
from tests.memory.ledger import MemoryLedger
from tests.memory.source import MemorySource
from tests.memory.store import Store
from tests.memory.target import MemoryTarget

PLAN: Final = plan_of()
RUN_ID: Final = 9
SIGHT: Final = Sight(run_id=RUN_ID, source_epoch=1, position=11, digest_epoch=5)
LEASE: Final = Lease("items", "us", 1)
REFUSED: Final = b"refused"
CLINGING: Final = 6  # a row that the target does not let go
SUSPENSIONS_MAX: Final = 2000
_APPLIED: Final = (Outcome.INSERTED, Outcome.UPDATED, Outcome.DELETED, Outcome.LINKED)


class World:
    """Six items in step, one of which staff have edited; ledger and target suspend at each call."""

    def __init__(self, *, empty: bool = False, answers_lost: int = 0) -> None:
        self.store = Store()
        self.store.state.epoch = LEASE.epoch
        self.target = MemoryTarget(self.store, stored=_stored)
        self.target.refuse_delete = _refuse_delete
        self.ledger = MemoryLedger(self.store)
        self._answers_lost = answers_lost
        self.strangers: set[bytes] = set()  # rows that were there before syncd
        self.store.strike = self._strike
        state = self.store.state
        state.tables["items"] = {}
        state.entries[PLAN.entity_id] = {}
        if not empty:
            state.tables["items"] = {key_of(n): row_of(n) for n in range(1, 7)}
            state.entries[PLAN.entity_id] = {key_of(n): _known(n) for n in range(1, 7)}
            state.tables["items"][key_of(2)] = row_of(2, name="staff")

    def _strike(self, step: str) -> None:
        if step == "committed" and self._answers_lost:
            self._answers_lost -= 1
            raise TransientError("no answer", outcome_unknown=True)

    def applier(self, attempt: int) -> Applier:
        """What applies in that attempt."""
        self.store.state.attempt = attempt
        sides: tuple[Any, Any] = (Restless(self.ledger), Restless(self.target))
        parents = Parents(PLAN, {PLAN.name: PLAN})
        decider = Decider(PLAN, SIGHT, HASHER, Drafter(PLAN, None), parents, *sides)
        units = (f"{attempt}/{n}" for n in range(1000))
        retry = with_backoff(retries=5, budget_s=60, first_s=0)
        return Applier(decider, Shores(*sides, LEASE, retry, lambda: next(units)))

    def what_stands(self) -> tuple[Any, ...]:
        """Rows, entries, open conflicts and applied history.

        Of an entry all but what was said of it last: a second look says of a dispute that was
        told already that nothing is new.
        """
        state = self.store.state
        entries = {
            key: replace(entry, outcome=None, reason="", run_id=0)
            for key, entry in state.entries[PLAN.entity_id].items()
        }
        history = Counter((i.key, i.outcome) for _, _, i in state.imports if i.outcome in _APPLIED)
        return dict(state.tables["items"]), entries, set(state.conflicts), history

    def _units(self) -> Counter[Outcome]:
        """What the work units say that became of records, by outcome."""
        total = Counter[Outcome]()
        for _, unit in self.store.state.units.values():
            for part, sign in (
                (unit.present, 1), (unit.absent, 1),
                (unit.present_redone, -1), (unit.absent_redone, -1),
            ):  # fmt: skip
                for outcome in Outcome:
                    total[outcome] += sign * getattr(part, outcome.value)
        return +total

    def assert_nothing_half_done(self) -> None:
        """I6 and I2: a row and its memory agree, staff's edit stands, nothing is held open."""
        state = self.store.state
        rows, entries, *_ = self.what_stands()
        live = {key: e for key, e in entries.items() if e.state is State.LIVE and e.source_base}
        self.strangers -= live.keys()
        assert live.keys() == rows.keys() - self.strangers
        for key, entry in live.items():
            hashes = HASHER.columns(rows[key])
            differ = [at for at in range(3) if entry.target_base[at] != hashes[at]]
            assert not differ or (key, differ) == (key_of(2), [2]), "a row without its memory"
        assert rows.get(key_of(2), row_of(2, name="staff"))[2] in (b"staff", b"n")
        known = state.entries[PLAN.entity_id].values()
        of_this_run = Counter(e.outcome for e in known if e.run_id == RUN_ID)
        assert self._units() == of_this_run, "an outcome without its unit"
        assert not self.store.open
        assert not self.store.locks
        assert state.epoch == LEASE.epoch


def _known(number: int) -> Any:
    (fingerprint,) = HASHER.row_plan(PLAN.columns).of([b"".join(HASHER.columns(row_of(number)))])
    return entry_of(PLAN, number, fingerprint=fingerprint, run_id=RUN_ID - 1)


def _stored(row: Row) -> Row:
    if REFUSED in row:
        raise RowError("refused", sqlstate="22001", column="name")
    return row


def _refuse_delete(key: bytes) -> None:
    if key == key_of(CLINGING):
        raise RowError("refused", sqlstate="23503", constraint="fk")


def _reads(*rows: Row) -> list[Read]:
    return [
        Read(key_of(int(row[1] or b"0")), row, HASHER.digest(repr(row).encode())) for row in rows
    ]


Work = Callable[[World, Applier], Awaitable[None]]


class Way(Struct, frozen=True):
    """One way in which a batch is applied, and the world that it starts from."""

    work: Work
    world: Callable[[], World] = World


def _empty() -> World:
    return World(empty=True)


def _taken() -> World:
    """Nothing is remembered, and a row that the first load brings is there already."""
    world = World(empty=True)
    world.store.state.tables["items"][key_of(2)] = row_of(2)
    world.strangers = {key_of(2)}
    return world


def _answer_lost() -> World:
    return World(answers_lost=1)


async def _apply(_: World, applier: Applier) -> None:
    """New, changed, edited by staff, changed by both, and the same under another digest."""
    rows = row_of(1, name="b"), row_of(2, amount="2"), row_of(3), row_of(7), row_of(8)
    await applier.apply(_reads(*rows))


async def _dispute(_: World, applier: Applier) -> None:
    await applier.apply(_reads(row_of(1), row_of(2, name="source")))


async def _load(world: World, applier: Applier) -> None:
    await _first(world, applier, row_of(1), row_of(3), row_of(4))


async def _load_taken(world: World, applier: Applier) -> None:
    await _first(world, applier, row_of(1), row_of(2), row_of(3))


async def _first(world: World, applier: Applier, *rows: Row) -> None:
    """As the pipeline does: a load only where nothing is remembered."""
    reads, known = _reads(*rows), world.store.state.entries[PLAN.entity_id]
    packed = None if known else applier.pack(reads)
    if packed is None or not await applier.load([packed]):
        await applier.apply(reads)


async def _remove(world: World, applier: Applier) -> None:
    await _absent(world, applier, 1, 3, 4)


async def _remove_refused(world: World, applier: Applier) -> None:
    await _absent(world, applier, 3, CLINGING)


async def _absent(world: World, applier: Applier, *numbers: int) -> None:
    """As the survey does: absent is only what was present when last looked at."""
    known = world.store.state.entries[PLAN.entity_id]
    await applier.remove([key for key in map(key_of, numbers) if known[key].present])


async def _halve(_: World, applier: Applier) -> None:
    await applier.apply(_reads(row_of(1, name="b"), row_of(3, name="refused"), row_of(9)))


async def _touch(_: World, applier: Applier) -> None:
    await applier.apply(_reads(row_of(1), row_of(3), row_of(4)))


async def _look_again(_: World, applier: Applier) -> None:
    source: Any = MemorySource(HASHER)
    source.rows["items"] = [row_of(1, name="b"), row_of(9)]
    async with source.open([PLAN]) as snapshot:
        read = EntityPass(PLAN, Restless(snapshot), batch_rows=1, writers=1, findings=9)
        await read.look_again([key_of(1), key_of(9)], applier.apply)


WAYS: Final = {
    "apply": Way(_apply),
    "conflict": Way(_dispute),
    "load": Way(_load, _empty),
    "load of what is there": Way(_load_taken, _taken),
    "remove": Way(_remove),
    "remove refused": Way(_remove_refused),
    "halve and park": Way(_halve),
    "touch": Way(_touch),
    "look again": Way(_look_again),
    "look up a lost answer": Way(_apply, _answer_lost),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
async def test_a_cancellation_at_any_await_leaves_nothing_half_done(
    way: Way, record_property: Callable[[str, object], None]
) -> None:
    """Case 10: after each, all or nothing stands; the next attempt brings what was missing."""
    whole = way.world()
    await way.work(whole, whole.applier(1))
    expected = whole.what_stands()
    cancelled = 0
    for at in range(1, SUSPENSIONS_MAX):
        world = way.world()
        work = Cancelling(_coroutine(way.work(world, world.applier(1))), at)
        try:
            await work
        except asyncio.CancelledError:
            cancelled += 1
        else:
            assert work.suspensions < at, "a cancellation was swallowed"
            break
        world.assert_nothing_half_done()
        await way.work(world, world.applier(2))
        world.assert_nothing_half_done()
        assert world.what_stands() == expected, f"cancelled at the {at}th suspension"
    else:
        raise AssertionError("it never came to its end")
    record_property("cancellations", cancelled)
    assert cancelled >= 8


def _coroutine(work: Awaitable[None]) -> Any:
    return work


async def test_a_write_outside_the_transaction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep can fail: planted, a target that writes without a transaction."""
    world = World()
    write = MemoryTarget.write

    async def at_once(target: MemoryTarget, tx: Any, plan: Any, changes: Any) -> Any:
        stored = await write(target, tx, plan, changes)
        world.store.state.tables["items"] |= stored
        return stored

    monkeypatch.setattr(MemoryTarget, "write", at_once)
    found = 0
    for at in range(1, 100):
        world = World()
        try:
            await Cancelling(_coroutine(_apply(world, world.applier(1))), at)
        except asyncio.CancelledError:
            try:
                world.assert_nothing_half_done()
            except AssertionError:
                found += 1
    assert found
