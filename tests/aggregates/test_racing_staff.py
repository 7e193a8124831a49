"""Staff at work on roots and children while syncd writes the same aggregates (cases 19, 75, 76)."""

# ruff: noqa: S311, S608 - dice are for tests; the statements are made of the tests' own values.

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import pytest

from syncd.config import Limits
from syncd.flow.keys import encode_key
from syncd.flow.model import Kind
from syncd.flow.ports import Tx
from syncd.pg.transaction import transaction
from syncd.site import Site
from tests.aggregates.conftest import MakeAggregates
from tests.aggregates.world import GROUP, REFERRAL, group, referral
from tests.patience import WAIT_S
from tests.pipeline.world import World, told

SLOT: Final = "programme_group_session_slot"
STAFF: Final = 8
NIGHTS: Final = 4
ROWS: Final = 40
WAITING: Final = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
INSERT_SLOT: Final = (
    "INSERT INTO programme_group_session_slot "
    "SELECT gen_random_uuid(), {root}, $1, '12:00', NULL, now()"
)
KEY: Final = encode_key([Kind.TEXT], [b"r1"])
INSERT_CHILD: Final = (
    "INSERT INTO referral_status_history SELECT gen_random_uuid(), id, 'Scheduled', now(), 'anna' "
    "FROM referral"
)


@asynccontextmanager
async def staff(world: World) -> AsyncIterator[Any]:
    """A connection of somebody at the target."""
    connection = await asyncpg.connect(world.config.target.dsn.value)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def locking(world: World) -> AsyncIterator[tuple[Site, Tx]]:
    """The target's adapter in an open transaction."""
    site = Site(world.config)
    try:
        await site.prepared()
        async with transaction(site.connections) as tx:
            yield site, tx
    finally:
        await site.close()


async def test_a_locked_root_holds_off_a_new_child(make_aggregates: MakeAggregates) -> None:
    """Case 76: a foreign key's share lock waits, so nobody adds a child between look and write."""
    world = await make_aggregates(referral(1), entities={"referral": REFERRAL})
    await world.night()
    async with staff(world) as anna, locking(world) as (site, tx):
        plan = (await site.prepared()).plans["referral"]
        assert len((await site.target.lock(tx, plan, [KEY])).rows) == 1
        await anna.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.exceptions.LockNotAvailableError):
            await anna.execute(INSERT_CHILD)
        with pytest.raises(asyncpg.exceptions.LockNotAvailableError):
            await anna.execute("UPDATE referral_reporting_location SET reporting_team = 'x'")


async def test_a_child_that_was_being_added_is_seen(make_aggregates: MakeAggregates) -> None:
    """Case 75: the lock waits for it, and the look comes after the lock."""
    world = await make_aggregates(referral(1), entities={"referral": REFERRAL})
    await world.night()
    async with staff(world) as anna, locking(world) as (site, tx):
        plan = (await site.prepared()).plans["referral"]
        adding = anna.transaction()
        await adding.start()
        await anna.execute(INSERT_CHILD)
        async with asyncio.TaskGroup() as tasks:
            locked = tasks.create_task(site.target.lock(tx, plan, [KEY]))
            await until_somebody_waits(world)
            assert not locked.done()
            await adding.commit()
        at = [column.into for column in plan.drafted].index("history")
        assert b"anna" in bytes(locked.result().rows[KEY][at] or b"")


async def until_somebody_waits(world: World) -> None:
    """Returns once a lock is waited for."""
    async with staff(world) as look:
        async with asyncio.timeout(WAIT_S):
            while not await look.fetchval(WAITING):  # noqa: ASYNC110 - it is the server's state
                await asyncio.sleep(0.01)


async def work(world: World, number: int, closing: asyncio.Event, errors: list[str]) -> int:
    """One member of staff: edits roots, edits their slots, adds entries and takes slots away."""
    dice, turn = random.Random(number), 0
    async with staff(world) as own:
        while not closing.is_set():
            turn += 1
            code, text = f"G{dice.randint(1, ROWS)}", f"staff {number}.{turn}"
            root = f"(SELECT id FROM programme_group WHERE code = '{code}')"
            statement = dice.choice(
                [
                    f"UPDATE programme_group SET region_name = $1 WHERE code = '{code}'",
                    f"UPDATE {SLOT} SET room = $1 WHERE programme_group_id = {root}",
                    INSERT_SLOT.format(root=root),
                ]
            )
            try:
                async with own.transaction():
                    await own.execute(statement, text)
                    kind = statement.split()[1] + statement.split()[2]
                    await own.execute(
                        "INSERT INTO journal (code, kind, text) VALUES ($1, $2, $3)",
                        *(code, kind, text),
                    )
            except asyncpg.PostgresError as error:
                errors.append(type(error).__name__)
            await asyncio.sleep(dice.random() * 0.02)
    return turn


async def test_eight_people_on_roots_and_children_lose_no_edit(
    make_aggregates: MakeAggregates,
) -> None:
    """I2: the source wants to write every root and every list each night; all edits stand."""
    world = await make_aggregates(
        *[group(n) for n in range(1, ROWS + 1)],
        staff="CREATE TABLE journal (n serial, code text, kind text, text text)",
        entities={"group": GROUP},
        limits=Limits(batch_rows=10, writers=2, retries=10, retry_budget_s=60.0),
    )
    await world.night()
    closing, errors = asyncio.Event(), list[str]()
    async with asyncio.TaskGroup() as tasks:
        people = [tasks.create_task(work(world, n, closing, errors)) for n in range(STAFF)]
        for night in range(1, NIGHTS + 1):
            slots = f'[{{"day_of_week": "N{night}", "start_time": "09:00"}}]'
            await world.legacy(
                f"UPDATE programme_group SET region_name = 'night {night}', slots = '{slots}'"
            )
            report = await world.night()
            assert all(e.status == "completed" for e in report.entities), report
        closing.set()
    assert errors == []
    assert sum(person.result() for person in people) > STAFF * NIGHTS
    lost = await world.rows(_LOST)
    assert lost == []
    untouched = await world.value(
        "SELECT count(*) FROM programme_group g WHERE region_name <> 'night 4' AND NOT EXISTS "
        "(SELECT FROM journal j WHERE j.code = g.code AND kind = 'programme_groupSET')"
    )
    assert untouched == 0
    assert "failed" not in told(report)


# The last edit of a root, and every slot that was added, as nobody but staff may have left them.
_LOST: Final = """
SELECT j.code, j.text FROM journal j JOIN programme_group g ON g.code = j.code
WHERE (j.kind = 'programme_groupSET' AND g.region_name <> j.text
       AND NOT EXISTS (SELECT FROM journal k WHERE k.code = j.code AND k.kind = j.kind
                       AND k.n > j.n))
   OR (j.kind = 'INTOprogramme_group_session_slot'
       AND NOT EXISTS (SELECT FROM programme_group_session_slot s
                       WHERE s.programme_group_id = g.id AND s.day_of_week = j.text))
"""
