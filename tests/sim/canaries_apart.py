"""Faults in what must happen together, or once, or only by the one who holds the lease.

Where production leaves a duty to the server (a lock, the fence, one transaction), the double that
stands for it is made wrong: that is what a statement without its clause would do.
"""

from typing import Any, Final

from msgspec.structs import replace

from syncd.errors import RowError, SyncdError
from syncd.flow.model import State
from tests.memory.store import MemoryTx, of
from tests.sim.planter import Canary, Planter

_LEDGER: Final = "tests.memory.ledger:MemoryLedger."
_TARGET: Final = "tests.memory.target:MemoryTarget."


def _memory_apart(planter: Planter) -> None:
    """Entries are committed at once, the rows they tell of later."""

    def around(record: Any) -> Any:
        async def apart(self: Any, tx: Any, *args: Any, **rest: Any) -> None:
            other = MemoryTx(self._store.state, of(tx).lease)
            other.owner = of(tx).owner
            other.locked = [*of(tx).locked]
            await record(self, other, *args, **rest)
            self._store.commit(other)

        return apart

    planter.wrap(f"{_LEDGER}record", around)


def _unit_apart(planter: Planter) -> None:
    """The unit stands before what it tells of: acknowledged before the commit."""

    def around(unit: Any) -> Any:
        async def early(self: Any, tx: Any, *args: Any) -> None:
            other = MemoryTx(self._store.state, of(tx).lease)
            other.owner = of(tx).owner
            await unit(self, other, *args)
            self._store.commit(other)

        return early

    planter.wrap(f"{_LEDGER}unit", around)


def _written_apart(planter: Planter) -> None:
    """Rows stand as soon as they are written; a cancel comes between them and their record."""

    def around(write: Any) -> Any:
        async def at_once(self: Any, tx: Any, *args: Any) -> Any:
            stored = await write(self, tx, *args)
            other = MemoryTx(self._store.state, of(tx).lease)
            other.owner = of(tx).owner
            other.layers = {k: v for k, v in of(tx).layers.items() if k[0] in ("table", "mark")}
            self._store.commit(other)
            return stored

        return at_once

    planter.wrap(f"{_TARGET}write", around)


def _tombstones_are_forgotten(planter: Planter) -> None:
    def around(record: Any) -> Any:
        async def forgetting(
            self: Any, tx: Any, plan: Any, entries: Any, *rest: Any, **kw: Any
        ) -> None:
            await record(self, tx, plan, entries, *rest, **kw)
            table = of(tx).entries(plan.entity_id)
            for entry in entries:
                if entry.state is State.SRC_DELETED:
                    del table[entry.key]

        return forgetting

    planter.wrap(f"{_LEDGER}record", around)


def _without_locks(what: str) -> Any:
    """``lock`` only looks."""

    def around(lock: Any) -> Any:
        async def looking(self: Any, tx: Any, *args: Any) -> Any:
            look = MemoryTx(self._store.state, None)
            look.layers = of(tx).layers
            return await lock(self, look, *args)

        return looking

    return lambda planter: planter.wrap(what, around)


def _counts_before_commit(planter: Planter) -> None:
    """The tally moves when the unit is written, not when it stands."""
    early: list[Any] = []

    def committing(commit: Any) -> Any:
        async def counting(self: Any, *args: Any) -> Any:
            tally = await commit(self, *args)
            self._add(tally)
            early.append(tally)
            return tally

        return counting

    def adding(add: Any) -> Any:
        def once(self: Any, tally: Any) -> None:
            if not any(tally is one for one in early):
                add(self, tally)

        return once

    planter.wrap("syncd.flow.apply:Applier._add", adding)
    planter.wrap("syncd.flow.apply:Applier._commit", committing)


def _counts_twice(planter: Planter) -> None:
    def around(add: Any) -> Any:
        def twice(self: Any, tally: Any) -> None:
            add(self, tally)
            add(self, tally)

        return twice

    planter.wrap("syncd.flow.apply:Applier._add", around)


def _half_is_dropped(planter: Planter) -> None:
    def around(halving: Any) -> Any:
        async def dropping(self: Any, items: Any, once: Any, refused: Any) -> None:
            if len(items) < 2:
                await halving(self, items, once, refused)
                return
            try:
                await self._repeating(lambda unit_id: once(items, unit_id))
            except RowError:
                await halving(self, items[: len(items) // 2], once, refused)

        return dropping

    planter.wrap("syncd.flow.apply:Applier._halving", around)


def _approvals_stay(planter: Planter) -> None:
    """Held deletes are added to, and none is let go."""

    def around(hold: Any) -> Any:
        async def holding(
            self: Any, lease: Any, plan: Any, run_id: int, keys: Any, reason: str
        ) -> None:
            before = dict(self._store.state.held.get(plan.entity_id, {}))
            await hold(self, lease, plan, run_id, keys, reason)
            held = self._store.state.held[plan.entity_id]
            self._store.state.held[plan.entity_id] = {**before, **held}

        return holding

    planter.wrap("tests.memory.runs:MemoryReviews.hold", around)
    planter.set("tests.memory.ledger:_let_go", lambda *_: None)


async def _nothing_found(*_: object) -> None:
    return None


async def _no_units(*_: object) -> list[Any]:
    return []


def _one_unit_id(planter: Planter) -> None:
    planter.wrap("tests.sim.world:_Ids.uuid4", lambda _: _same_id)


def _same_id(ids: Any) -> Any:
    ids.hex = "1"
    return ids


def _no_event(planter: Planter) -> None:
    def around(making: Any) -> Any:
        return lambda self, *args: replace(making(self, *args), event="")

    planter.wrap("syncd.flow.apply:Applier._import", around)


APART: Final = (
    Canary("memory_apart", "the ledger commits apart from the target", _memory_apart),
    Canary("acknowledged_early", "the unit stands before what it tells of", _unit_apart),
    Canary("written_apart", "rows stand before their record", _written_apart),
    Canary("no_tombstone", "the entry is forgotten with its row", _tombstones_are_forgotten),
    Canary("unfenced_write", "a batch does not look whether the lease is still its own",
           lambda p: p.set("tests.memory.store:Store.assert_fence", lambda *_: None)),
    Canary("unfenced_book", "a run's book is written whoever holds the lease",
           lambda p: p.set("tests.memory.runs:MemoryRuns.assert_fence", lambda *_: None)),
    Canary("row_not_locked", "the target's rows are compared and not locked",
           _without_locks(f"{_TARGET}lock")),
    Canary("entry_not_locked", "the entries are read and not locked",
           _without_locks(f"{_LEDGER}lock")),
    Canary("counts_before_commit", "counters move before the commit", _counts_before_commit),
    Canary("counts_twice", "a batch is counted twice", _counts_twice),
    Canary("half_is_dropped", "the second half of a refused batch is never tried",
           _half_is_dropped),
    Canary("no_lookup", "after a lost answer the batch is repeated without a look",
           lambda p: p.set(f"{_LEDGER}find_unit", _nothing_found)),
    Canary("retries_anything", "a permanent error is tried again",
           lambda p: p.set("syncd.retry:TransientError", SyncdError)),
    Canary("unit_id_reused", "two batches have the same unit", _one_unit_id),
    Canary("approvals_stay", "an approval outlives what it was given for", _approvals_stay,
           quick=True),
    Canary("earlier_attempts_forgotten", "a resumed run does not count what was done before",
           lambda p: p.set("tests.memory.runs:MemoryRuns.earlier_units", _no_units)),
    Canary("no_event", "an applied change has no event", _no_event),
    Canary("digest_of_open_counts", "an open entry is skipped where its digest is the same",
           lambda p: p.set("tests.memory.ledger:_is_known",
                           lambda e, epoch: e.digest_epoch == epoch and e.digest != 0)),
)  # fmt: skip
