"""Cancel at every await of a batch on real PostgreSQL, as one that stops does (cases 10, 23)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import asyncpg
import pytest

from syncd.flow.apply import Applier
from syncd.flow.decide import Decider, Sight
from syncd.flow.model import Read
from syncd.flow.transform import Drafter
from syncd.flow.waiting import Parents
from syncd.jobs.runner import Runner
from syncd.meter import Unmetered
from tests.contracts.world import HASHER, Shelter, key_of, postgres_shelter, row_of
from tests.failpoints.awaits import Cancelling
from tests.pipeline.world import MakeDatabase

SUSPENSIONS_MAX: Final = 400
ROWS: Final = range(1, 5)
_TARGET: Final = "SELECT id, name FROM app.items ORDER BY id"
_ENTRIES: Final = """
SELECT count(*) FROM syncd.syncd_fingerprint WHERE state = 'live' AND source_base <> ''
"""
_OPEN: Final = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
AND state LIKE 'idle in transaction%'
"""
Work = Callable[[Applier, int], Awaitable[None]]


async def _apply(applier: Applier, turn: int) -> None:
    await applier.apply([_read(number, f"turn {turn}") for number in ROWS])


async def _refused(applier: Applier, turn: int) -> None:
    """One of them is refused, so that all are halved and it is parked."""
    names = {3: "refused"}
    await applier.apply([_read(n, names.get(n, f"turn {turn}")) for n in ROWS])


async def _remove(applier: Applier, turn: int) -> None:
    """Removed, and there again the next time."""
    keys = [key_of(number) for number in ROWS]
    await applier.remove(keys)
    await applier.apply([_read(number, f"turn {turn}") for number in ROWS])


def _read(number: int, name: str) -> Read:
    row = row_of(number, name=name)
    return Read(key_of(number), row, HASHER.digest(repr(row).encode()))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("work", [_apply, _refused, _remove])
async def test_a_cancellation_at_any_await_of_a_batch_leaks_and_loses_nothing(
    make_database: MakeDatabase, work: Work, record_property: Callable[[str, object], None]
) -> None:
    """Each row with its entry, no transaction left open, no connection missing; then it goes on."""
    dsn = make_database("main")
    async with postgres_shelter(dsn) as shelter:
        run_id = await shelter.run_id()
        looking = await asyncpg.connect(dsn)
        try:
            await looking.execute("ALTER TABLE app.items ADD CHECK (name <> 'refused')")
            await work(_applier(shelter, run_id), 0)
            cancelled = await _sweep(shelter, run_id, looking, work)
        finally:
            await looking.close()
    record_property("cancellations", cancelled)
    assert cancelled >= 10


async def _sweep(shelter: Shelter, run_id: int, looking: Any, work: Work) -> int:
    """Cancel at the 1st, 2nd, ... suspension until it comes to its end; how many there were."""
    for at in range(1, SUSPENSIONS_MAX):
        with anyio.CancelScope() as scope:
            coroutine: Any = work(_applier(shelter, run_id), at)
            await Cancelling(coroutine, at, scope.cancel)
        await _assert_whole(shelter, looking)
        if not scope.cancel_called:
            return at - 1
        await work(_applier(shelter, run_id), at + SUSPENSIONS_MAX)
        found = await looking.fetch(_TARGET)
        assert {row["name"] for row in found} <= {f"turn {at + SUSPENSIONS_MAX}", "turn 0"}
    raise AssertionError("it never came to its end")


async def _assert_whole(shelter: Shelter, looking: Any) -> None:
    assert shelter.site is not None
    pool = shelter.site.connections
    assert not pool._lent
    assert pool._free.value == pool._size_max
    assert await looking.fetchval(_OPEN) == 0
    rows = [row["id"] for row in await looking.fetch(_TARGET)]
    assert len(rows) == len(set(rows)) == await looking.fetchval(_ENTRIES)


def _applier(shelter: Shelter, run_id: int) -> Applier:
    assert shelter.site is not None
    plan, site = shelter.plan, shelter.site
    sight = Sight(run_id=run_id, source_epoch=1, position=20, digest_epoch=5)
    decider = Decider(
        plan,
        sight,
        HASHER,
        Drafter(plan, None),
        Parents(plan, {plan.name: plan}),
        site.ledger,
        site.target,
    )
    return Applier(decider, Runner(site, Unmetered())._shores(shelter.lease))
