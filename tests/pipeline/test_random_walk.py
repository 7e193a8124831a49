"""The state machine's world on real PostgreSQL: fewer walks, the same oracle (I1, I2, I3, I10)."""

# ruff: noqa: S311, S608 - dice are for tests; the statements are made of their throws.

import os
import random
from typing import Final

import pytest

from syncd.config import Deletes, HoldAbove, Limits
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.oracle import Cells, Oracle
from tests.pipeline.world import World, told

THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
WALKS: Final = 16 if THOROUGH else 4
NIGHTS: Final = 25 if THOROUGH else 8
IDS: Final = 12
EVERYTHING: Final = "SELECT id, a, b FROM cases ORDER BY id"


class Walk:
    """Random work at both sides; each night is judged from outside."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.oracle = Oracle()

    async def target(self) -> dict[int, Cells]:
        """The target's rows."""
        return {row[0]: row[1:] for row in await self.world.rows(EVERYTHING)}

    async def source(self) -> dict[int, Cells]:
        """The source's rows."""
        return {row[0]: row[1:] for row in await self.world.legacy_rows(EVERYTHING)}

    async def legacy_works(self) -> None:
        """Inserts, changes (perhaps back) and deletes; ids come back."""
        for _ in range(self.dice.randrange(6)):
            key, a, b = self.throw("ABC")
            await self.world.legacy(
                f"DELETE FROM cases WHERE id = {key}"
                if self.dice.random() < 0.2
                else f"INSERT INTO cases VALUES ({key}, {a}, {b}) "
                f"ON CONFLICT (id) DO UPDATE SET a = {a}, b = {b}"
            )

    async def staff_work(self) -> None:
        """Edits (perhaps taken back, perhaps the source's value), deletes and rows of their own."""
        for _ in range(self.dice.randrange(5)):
            key, value, other = self.throw("AXY")
            what, there = self.dice.random(), key in await self.target()
            if not there and what < 0.3:
                await self.world.staff(f"INSERT INTO cases VALUES ({key}, {value}, {other})")
                self.oracle.staff_created(key)
            elif there and what < 0.15:
                await self.world.staff(f"DELETE FROM cases WHERE id = {key}")
                self.oracle.staff_deleted(key)
            elif there:
                column = self.dice.choice("ab")
                await self.world.staff(f"UPDATE cases SET {column} = {value} WHERE id = {key}")

    async def night(self) -> dict[str, int]:
        """A night, held against what was there before it."""
        source, before = await self.source(), await self.target()
        report = await self.world.night()
        assert report.entities[0].status == "completed", report
        self.oracle.wrote(source, before, await self.target(), complete=bool(source))
        return told(report)

    def throw(self, letters: str) -> tuple[int, str, str]:
        """An id and two values, NULL and '' among them."""
        choices = ["NULL", "''", *(f"'{letter}'" for letter in letters)]
        return self.dice.randint(1, IDS), self.dice.choice(choices), self.dice.choice(choices)


@pytest.mark.trust
@pytest.mark.parametrize("seed", range(WALKS))
async def test_whatever_both_sides_do_the_rule_holds(make_world: MakeWorld, seed: int) -> None:
    """Random work, eight nights: no edit overwritten, nothing recreated, in step at the end."""
    world = await make_world(
        ["CREATE TABLE cases (id int PRIMARY KEY, a text, b text)"],
        {"cases": CASES},
        limits=Limits(batch_rows=3, writers=2, retries=2),
        deletes=Deletes(hold_above=HoldAbove(rows=1000, percent=100)),
    )
    walk = Walk(world, seed)
    for _ in range(NIGHTS):
        await walk.legacy_works()
        await walk.staff_work()
        await walk.night()
    await world.legacy("INSERT INTO cases VALUES (99, 'A', 'A')")  # an empty source deletes nothing
    await walk.night()
    writes = await world.updates_of("cases")
    assert "updated" not in await walk.night()
    assert await world.updates_of("cases") == writes
    kept = {
        key
        for key in await walk.target()
        if await world.state("cases", str(key)) in ("orphan_kept", "tgt_deleted")
    }
    walk.oracle.assert_in_step(await walk.source(), await walk.target(), waiting=set(), kept=kept)
