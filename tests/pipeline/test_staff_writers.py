"""People and syncd write the same rows at the same time (cases 19 and 75).

Each member of staff keeps a note of every edit that was committed. After the nights each row is
held against these notes: an edit may be gone only where the same person, or another, typed over
it. The source changes every column of every row in between, so syncd always wants to write.
"""

# ruff: noqa: S311, S608 - dice are for tests; the statements are made of constants and of the test's own numbers.

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import asyncpg
import pytest
from msgspec import Struct
from msgspec.structs import replace

from syncd.config import Config, Limits
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, told

ROWS: Final = 200
STAFF: Final = 8
NIGHTS: Final = 10
COLUMNS: Final = ("a", "b", "c", "d")

Edits: TypeAlias = dict[tuple[int, str], str]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Notes(Struct):
    """What staff committed last, per row and column, and what went wrong for them."""

    last: Edits
    edits: int = 0
    errors: list[str] = []


def impatient(config: Config) -> Config:
    """Locks are waited for a tenth of a second, and not again."""
    limits = replace(config.limits, retries=1, retry_budget_s=5.0)
    return replace(config, target=replace(config.target, lock_timeout_s=0.1), limits=limits)


async def office(make_world: MakeWorld) -> World:
    """200 rows of four columns, loaded."""
    columns = ", ".join(f"{name} text" for name in COLUMNS)
    values = ", ".join(["'0'"] * len(COLUMNS))
    world = await make_world(
        [
            f"CREATE TABLE cases (id int PRIMARY KEY, {columns})",
            f"INSERT INTO cases SELECT g, {values} FROM generate_series(1, {ROWS}) g",
        ],
        {"cases": CASES},
        limits=Limits(batch_rows=40, writers=2, retries=10, retry_budget_s=60.0),
    )
    await world.night()
    return world


async def type_all_day(
    world: World, number: int, chosen: Callable[[random.Random], Sequence[int]], notes: Notes,
    closing: asyncio.Event,
) -> None:  # fmt: skip
    """One member of staff: a transaction edits a column of each chosen row, over and over.

    What was typed is noted before any other transaction can hold the row again.
    """
    dice = random.Random(number)
    connection = await asyncpg.connect(world.config.target.dsn.value)
    try:
        turn = 0
        while not closing.is_set():
            turn += 1
            typed: Edits = {}
            try:
                async with connection.transaction():
                    for row in chosen(dice):
                        column, text = dice.choice(COLUMNS), f"staff {number}.{turn}"
                        done = await connection.execute(
                            f"UPDATE cases SET {column} = $2 WHERE id = $1", row, text
                        )
                        assert done == "UPDATE 1"
                        typed[row, column] = text
                        await _journal(connection, row, column, text)
            except asyncpg.PostgresError as error:
                notes.errors.append(type(error).__name__)
                continue
            notes.last.update(typed)
            notes.edits += len(typed)
            await asyncio.sleep(dice.random() * 0.01)
    finally:
        await connection.close()


async def _journal(connection: Connection, row: int, column: str, text: str) -> None:
    """The order of edits is the order of their commits: the row lock is held until then."""
    await connection.execute(
        "INSERT INTO journal (row_id, col, text) VALUES ($1, $2, $3)", row, column, text
    )


async def work_through_nights(
    world: World, chosen: Callable[[random.Random], Sequence[int]]
) -> Notes:
    """Ten nights, the source changing before each, eight people typing all the while."""
    await world.staff("CREATE TABLE journal (n serial, row_id int, col text, text text)")
    notes, closing = Notes({}), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number in range(STAFF):
            tasks.create_task(type_all_day(world, number, chosen, notes, closing))
        try:
            for night in range(1, NIGHTS + 1):
                changed = ", ".join(f"{name} = 'night {night}'" for name in COLUMNS)
                await world.legacy(f"UPDATE cases SET {changed} WHERE id % 3 = {night % 3}")
                report = await world.night()
                assert all(e.status == "completed" for e in report.entities), report
        finally:
            closing.set()
    return notes


async def lost_edits(world: World) -> list[tuple[int, str]]:
    """Rows and columns whose last committed edit is not what the target shows."""
    last = await world.rows(
        "SELECT DISTINCT ON (row_id, col) row_id, col, text FROM journal "
        "ORDER BY row_id, col, n DESC"
    )
    shown = {
        (row[0], name): row[1 + at]
        for row in await world.rows(f"SELECT id, {', '.join(COLUMNS)} FROM cases")
        for at, name in enumerate(COLUMNS)
    }
    return [(row, column) for row, column, text in last if shown[row, column] != text]


def any_row(dice: random.Random) -> Sequence[int]:
    """One row, whichever."""
    return (dice.randint(1, ROWS),)


def last_row_first(dice: random.Random) -> Sequence[int]:
    """Three rows, against the order in which syncd locks them."""
    return sorted(dice.sample(range(1, ROWS + 1), 3), reverse=True)


@pytest.mark.trust
async def test_eight_people_and_ten_nights_lose_no_edit(
    make_world: MakeWorld, record_property: Callable[[str, object], None]
) -> None:
    """I2, case 75: 8 connections edit 200 rows during 10 nights: 0 edits lost, 0 errors."""
    world = await office(make_world)
    notes = await work_through_nights(world, any_row)
    record_property("edits", notes.edits)
    assert notes.errors == []
    assert notes.edits > 10 * STAFF
    assert await lost_edits(world) == []
    await world.night()
    columns = ", ".join(COLUMNS)
    edited = {(row, col) for row, col in await world.rows("SELECT row_id, col FROM journal")}
    legacy = await world.legacy_rows(f"SELECT id, {columns} FROM cases ORDER BY id")
    target = await world.rows(f"SELECT id, {columns} FROM cases ORDER BY id")
    for source_row, target_row in zip(legacy, target, strict=True):
        for at, name in enumerate(COLUMNS, 1):
            if (source_row[0], name) not in edited:
                assert target_row[at] == source_row[at], f"{source_row[0]}.{name}"


@pytest.mark.trust
async def test_no_deadlock_reaches_a_person(
    make_world: MakeWorld, record_property: Callable[[str, object], None]
) -> None:
    """Case 19: people lock rows against our order; syncd steps back, they never notice."""
    world = await office(make_world)
    notes = await work_through_nights(world, last_row_first)
    record_property("edits", notes.edits)
    assert notes.errors == []
    assert await lost_edits(world) == []


async def test_a_row_that_somebody_holds_for_hours_delays_only_itself(
    make_world: MakeWorld,
) -> None:
    """Case 19: a forgotten transaction holds one row; the 199 others are brought up to date."""
    world = await office(make_world)
    world.config = impatient(world.config)
    await world.legacy("UPDATE cases SET a = 'new'")
    forgotten = await asyncpg.connect(world.config.target.dsn.value)
    try:
        transaction = forgotten.transaction()
        await transaction.start()
        await forgotten.execute("UPDATE cases SET b = 'typed' WHERE id = 77")
        report = await world.night()
        await transaction.commit()
    finally:
        await forgotten.close()
    assert told(report) == {"seen": ROWS, "updated": ROWS - 1, "failed": 1}
    assert told(await world.night()) == {"seen": ROWS, "updated": 1, "unchanged": ROWS - 1}
    assert await world.rows("SELECT a, b FROM cases WHERE id = 77") == [("new", "typed")]
