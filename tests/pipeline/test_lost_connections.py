"""A connection that is lost before a run has begun is opened anew, as it is in the run itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import pytest

from tests.patience import WAIT_S
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, told

# Ends whoever waits for the table that the test has locked.
END_WAITING: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE NOT granted AND relation = $1::text::regclass AND datname = current_database()
"""


@asynccontextmanager
async def lost_at(world: World, table: str) -> AsyncIterator[None]:
    """Who asks for ``table`` first loses the connection, whoever asks again is answered."""
    connection = await asyncpg.connect(world.config.target.dsn.value)

    async def end_one() -> None:
        async with asyncio.timeout(WAIT_S):
            while not await connection.fetchval(END_WAITING, table):  # noqa: ASYNC110 - a server
                await asyncio.sleep(0.01)
        await transaction.rollback()

    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(end_one())
            yield
    finally:
        await connection.close()


@pytest.mark.parametrize("table", ["syncd_migration", "syncd_entity", "syncd_shape"])
async def test_a_connection_lost_while_a_run_is_prepared_is_opened_anew(
    make_world: MakeWorld, table: str
) -> None:
    """While the ledger is looked at, the pinned schema read, the list of columns noted."""
    world = await make_world(
        ["CREATE TABLE cases AS SELECT 1 AS id, 'n' AS name"], {"cases": CASES}
    )
    async with lost_at(world, f"syncd.{table}"):
        assert told(await world.night()) == {"seen": 1, "inserted": 1}


async def test_a_connection_lost_while_the_desk_looks_at_the_ledger_is_opened_anew(
    make_world: MakeWorld,
) -> None:
    """What only looks asks in the same way."""
    world = await make_world(["CREATE TABLE cases AS SELECT 1 AS id"], {"cases": CASES})
    async with lost_at(world, "syncd.syncd_migration"), world.app() as app:
        assert (await app.status()).last_run == 0
