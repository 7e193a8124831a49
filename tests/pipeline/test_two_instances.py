"""Two instances of one pipeline: the lease lets one work, the epoch stops the other (I9)."""

import asyncio
from typing import Final, TypeAlias

import asyncpg
import pytest
from msgspec.structs import replace

from syncd.cli import exit_codes
from syncd.config import Entity, Limits
from syncd.errors import FencedError
from syncd.reports import RunReport
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, told

LEGACY: Final = [
    "CREATE TABLE cases (id int PRIMARY KEY, name text)",
    "INSERT INTO cases SELECT g, 'n' FROM generate_series(1, 60) g",
]
SMALL: Final = Limits(batch_rows=5, writers=1)
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Night: TypeAlias = "asyncio.Future[RunReport]"
TAKE_OVER: Final = (
    "UPDATE syncd.syncd_lease SET holder = 'another', epoch = epoch + 1, "
    "expires_at = clock_timestamp() + interval '1 hour'"
)


async def held_at(world: World, row: int) -> tuple[Connection, Night]:
    """A run that has written the rows before ``row`` and waits for it, and who holds it."""
    holder = await asyncpg.connect(world.config.target.dsn.value)
    await holder.execute("BEGIN")
    await holder.execute("SELECT 1 FROM cases WHERE id = $1 FOR UPDATE", row)
    night = asyncio.ensure_future(world.night())
    while not await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        assert not night.done(), night
        await asyncio.sleep(0.01)
    return holder, night


async def changed(make_world: MakeWorld) -> World:
    """60 records in step, all of them changed at the source."""
    world = await make_world(LEGACY, {"cases": CASES}, limits=SMALL)
    await world.night()
    await world.legacy("UPDATE cases SET name = 'new'")
    return world


async def test_a_second_run_waits_and_is_then_fenced(make_world: MakeWorld) -> None:
    """Case 85: while the first renews its lease the second gets nothing, exit code 6."""
    world = await changed(make_world)
    holder, night = await held_at(world, 33)
    try:
        with pytest.raises(FencedError, match="the lease is held by") as caught:
            await world.night()
    finally:
        await holder.close()
    assert exit_codes.of_errors([caught.value]) == 6
    assert told(await night) == {"seen": 60, "updated": 60}


async def test_a_run_after_another_finds_the_lease_free(make_world: MakeWorld) -> None:
    """The lease is let go at the end, whatever its time to live."""
    world = await make_world(LEGACY, {"cases": CASES}, lease_ttl_s=3600.0)
    async with asyncio.timeout(20):
        await world.nights(2)


async def test_a_zombie_writes_no_row_after_the_takeover(make_world: MakeWorld) -> None:
    """I9, case 85: the lease was taken over while it stood still: 0 rows, and it says so."""
    world = await changed(make_world)
    holder, night = await held_at(world, 33)
    done = "SELECT count(*) FROM cases WHERE name = 'new'"
    try:
        before = await world.value(done)
        takeover = asyncio.ensure_future(world.staff(TAKE_OVER))
        # It waits for the transaction that has checked the old epoch already.
        await asyncio.sleep(0.1)
        assert not takeover.done()
        await holder.execute("ROLLBACK")
        await takeover
        with pytest.raises(FencedError):
            await night
    finally:
        await holder.close()
    # The transaction that was under way before the takeover may commit; none after it.
    assert await world.value(done) <= before + SMALL.batch_rows
    entries = "SELECT count(*) FROM syncd.syncd_fingerprint WHERE outcome = 'updated'"
    assert await world.value(done) == await world.value(entries)


async def test_after_a_takeover_the_run_is_resumed_with_exact_sums(make_world: MakeWorld) -> None:
    """I8, case 85: what the fenced attempt committed is counted once, by the one that resumes."""
    world = await changed(make_world)
    holder, night = await held_at(world, 33)
    try:
        takeover = asyncio.ensure_future(world.staff(TAKE_OVER))
        await asyncio.sleep(0.1)
        await holder.execute("ROLLBACK")
        await takeover
        with pytest.raises(FencedError):
            await night
    finally:
        await holder.close()
    await world.staff("UPDATE syncd.syncd_lease SET expires_at = '-infinity'")
    report = await world.night()
    assert report.resumed
    assert told(report) == {"seen": 60, "updated": 60}
    await world.assert_in_step("SELECT id, name FROM cases ORDER BY id")


async def test_two_pipelines_run_side_by_side(make_world: MakeWorld) -> None:
    """The lease is the pipeline's: another pipeline in the same ledger does not wait."""
    world = await changed(make_world)
    await world.legacy("CREATE TABLE more (id int PRIMARY KEY)", "INSERT INTO more VALUES (1)")
    more = {"more": Entity(from_="more", key=("id",), into="public.more")}
    other = World(replace(world.config, pipeline="second", entities=more))
    await other.init()
    holder, night = await held_at(world, 33)
    try:
        assert told(await other.night()) == {"seen": 1, "inserted": 1}
    finally:
        await holder.close()
    assert told(await night) == {"seen": 60, "updated": 60}
