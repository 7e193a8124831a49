"""Two instances of one pipeline: the lease lets one work, the epoch stops the other (I9)."""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from syncd.cli import exit_codes
from syncd.config import Entity, Limits
from syncd.errors import FencedError
from syncd.flow.model import Decision, Plan, Row
from syncd.flow.ports import Tx
from syncd.targets.postgres import PostgresTables
from tests.patience import WAIT_S
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, told

if TYPE_CHECKING:
    from syncd.reports import RunReport

ROWS: Final = 60
LEGACY: Final = [
    "CREATE TABLE cases (id int PRIMARY KEY, name text)",
    f"INSERT INTO cases SELECT g, 'n' FROM generate_series(1, {ROWS}) g",
]
SMALL: Final = Limits(batch_rows=5, writers=1)
DONE: Final = "SELECT count(*) FROM cases WHERE name = 'new'"
TAKE_OVER: Final = (
    "UPDATE syncd.syncd_lease SET holder = 'another', epoch = epoch + 1, "
    "expires_at = clock_timestamp() + interval '1 hour'"
)
LET_GO: Final = "UPDATE syncd.syncd_lease SET expires_at = '-infinity'"


class Pause:
    """Holds one write of the target, in its open transaction, until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, before_write: int) -> None:
        self.reached = asyncio.Event()
        self.over = asyncio.Event()
        self._left = before_write
        self._write = PostgresTables.write
        pause = self

        async def write(
            tables: PostgresTables,
            tx: Tx,
            plan: Plan,
            changes: Sequence[tuple[bytes, Row, Decision]],
        ) -> Mapping[bytes, Row]:
            await pause.wait()
            return await pause._write(tables, tx, plan, changes)

        monkeypatch.setattr(PostgresTables, "write", write)

    async def wait(self) -> None:
        """Count a write; stand still at the chosen one."""
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            await self.over.wait()


@asynccontextmanager
async def paused_night(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Pause, "asyncio.Task[RunReport]"]]:
    """A night that stands still in its fourth write, 15 rows having been committed."""
    pause = Pause(monkeypatch, before_write=4)
    night = asyncio.create_task(world.night())
    try:
        async with asyncio.timeout(WAIT_S):
            await pause.reached.wait()
        yield pause, night
    finally:
        pause.over.set()
        await asyncio.gather(night, return_exceptions=True)


async def changed(make_world: MakeWorld, *, lease_ttl_s: float = 0.3) -> World:
    """60 records in step, all of them changed at the source."""
    world = await make_world(LEGACY, {"cases": CASES}, limits=SMALL, lease_ttl_s=lease_ttl_s)
    await world.night()
    await world.legacy("UPDATE cases SET name = 'new'")
    return world


async def fence(world: World, pause: Pause, night: "asyncio.Task[RunReport]") -> int:
    """Another takes the lease while the night stands still; the night goes on and is stopped.

    Returns how many rows the night had written when the lease was taken.
    """
    takeover = asyncio.create_task(world.staff(TAKE_OVER))
    # It waits for the transaction that has checked the old epoch already.
    await asyncio.sleep(0.1)
    assert not takeover.done()
    pause.over.set()
    await takeover
    written = await world.value(DONE)
    with pytest.raises(FencedError):
        await night
    assert isinstance(written, int)
    return written


async def test_a_second_run_waits_and_is_then_fenced(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 85: while the first renews its lease the second gets nothing, exit code 6, soon."""
    world = await changed(make_world)
    async with paused_night(world, monkeypatch) as (pause, night):
        with pytest.raises(FencedError, match="the lease is held by") as caught:
            async with asyncio.timeout(WAIT_S):
                await world.night()
        assert exit_codes.of_errors([caught.value]) == 6
        pause.over.set()
        assert told(await night) == {"seen": ROWS, "updated": ROWS}


async def test_a_run_after_another_finds_the_lease_free(make_world: MakeWorld) -> None:
    """The lease is let go at the end, whatever its time to live."""
    world = await make_world(LEGACY, {"cases": CASES}, lease_ttl_s=3600.0)
    async with asyncio.timeout(WAIT_S):
        await world.nights(2)


async def test_a_run_that_fails_lets_the_lease_go(make_world: MakeWorld) -> None:
    """Whatever ends a run, the next one does not have to wait for the lease."""
    world = await make_world(LEGACY, {"cases": CASES}, lease_ttl_s=3600.0)
    await world.legacy("ALTER TABLE cases RENAME TO kases")
    async with asyncio.timeout(WAIT_S):
        assert [night.status for night in await world.nights(2)] == ["failed", "failed"]


async def test_a_lease_that_was_not_renewed_is_taken_over(make_world: MakeWorld) -> None:
    """An instance that died holding it delays the next by its time to live, not more."""
    world = await changed(make_world, lease_ttl_s=1.0)
    await world.staff(
        "UPDATE syncd.syncd_lease SET holder = 'dead', epoch = epoch + 1, "
        "expires_at = clock_timestamp() + interval '1 second'"
    )
    async with asyncio.timeout(WAIT_S):
        assert told(await world.night()) == {"seen": ROWS, "updated": ROWS}


async def test_a_zombie_writes_no_row_after_the_takeover(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9, case 85: what was under way when the lease was taken over may end; nothing after it."""
    world = await changed(make_world)
    async with paused_night(world, monkeypatch) as (pause, night):
        written = await fence(world, pause, night)
    assert await world.value(DONE) == written < ROWS
    updated = "SELECT count(*) FROM syncd.syncd_fingerprint WHERE outcome = 'updated'"
    assert await world.value(updated) == written


async def test_after_a_takeover_the_run_is_resumed_with_exact_sums(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8, case 85: what the fenced attempt committed is counted once, by the one that resumes."""
    world = await changed(make_world)
    async with paused_night(world, monkeypatch) as (pause, night):
        await fence(world, pause, night)
    await world.staff(LET_GO)
    report = await world.night()
    assert report.resumed
    assert told(report) == {"seen": ROWS, "updated": ROWS}
    await world.assert_in_step("SELECT id, name FROM cases ORDER BY id")


async def test_a_fenced_run_does_not_take_the_lease_of_the_other_away(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 85: letting go is a matter of the epoch; the new holder keeps its lease."""
    world = await changed(make_world)
    async with paused_night(world, monkeypatch) as (pause, night):
        await fence(world, pause, night)
    held = "SELECT holder, expires_at > clock_timestamp() FROM syncd.syncd_lease"
    assert await world.rows(held) == [("another", True)]


async def test_two_pipelines_run_side_by_side(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is the pipeline's: another pipeline in the same ledger does not wait."""
    world = await changed(make_world)
    await world.legacy("CREATE TABLE more (id int PRIMARY KEY)", "INSERT INTO more VALUES (1)")
    more = {"more": Entity(from_="more", key=("id",), into="public.more")}
    other = World(replace(world.config, pipeline="second", entities=more))
    await other.init()
    async with paused_night(world, monkeypatch) as (pause, night):
        assert told(await other.night()) == {"seen": 1, "inserted": 1}
        pause.over.set()
        assert told(await night) == {"seen": ROWS, "updated": ROWS}
