"""The fifteen worked examples of the merge page, by their numbers, end to end on PostgreSQL."""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from syncd.config import Entity
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, told

if TYPE_CHECKING:
    from syncd.reports import RunReport

STATUS = "SELECT status FROM cases WHERE id = 1"


async def status(world: World) -> str | None:
    """What the target shows for the record."""
    found = await world.value(STATUS)
    assert found is None or isinstance(found, str)
    return found


def says(value: str) -> str:
    """A side types a status."""
    return f"UPDATE cases SET status = '{value}' WHERE id = 1"


async def test_example_1_a_new_source_row_is_inserted(cases: World) -> None:
    """Example 1: S=A inserted, T=A."""
    assert told(await cases.night()) == {"seen": 1, "inserted": 1}
    assert await status(cases) == "A"


async def test_example_2_a_source_change_is_written(cases: World) -> None:
    """Example 2: S A->B with T untouched writes B."""
    await cases.night()
    await cases.legacy(says("B"))
    assert told(await cases.night()) == {"seen": 1, "updated": 1}
    assert await status(cases) == "B"


async def test_example_3_a_staff_edit_stays_for_nights(cases: World) -> None:
    """Example 3: T A->X while S stays A: nights 2, 3 and 4 write nothing."""
    await cases.night()
    await cases.staff(says("X"))
    writes = await cases.updates_of("cases")
    assert [told(night) for night in await cases.nights(3)] == [{"seen": 1, "unchanged": 1}] * 3
    assert await status(cases) == "X"
    assert await cases.updates_of("cases") == writes


async def test_example_4_an_older_edit_is_not_overwritten(cases: World) -> None:
    """Example 4: staff edit on day 1, source change on day 3: X stays, one conflict."""
    await cases.night()
    await cases.staff(says("X"))
    await cases.night()
    await cases.legacy(says("B"))
    night = await cases.night()
    assert told(night) == {"seen": 1, "conflict": 1}
    assert night.status == "parked"
    assert await status(cases) == "X"
    assert [(c.column, c.kind, c.status) for c in await cases.open_conflicts()] == [
        ("status", "both_changed", "open")
    ]


async def test_example_5_a_clock_that_the_write_moves_freezes_nothing(
    make_world: MakeWorld,
) -> None:
    """Example 5: a trigger stamps every write of the target; updates keep flowing."""
    world = await make_world(
        [
            "CREATE TABLE cases (id int PRIMARY KEY, status text)",
            "INSERT INTO cases VALUES (1,'A')",
        ],
        {"cases": CASES},
        [
            "CREATE TABLE cases (id int PRIMARY KEY, status text, updated timestamptz)",
            (
                "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN NEW.updated := clock_timestamp(); RETURN NEW; END$$"
            ),
            (
                "CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON cases "
                "FOR EACH ROW EXECUTE FUNCTION stamp()"
            ),
        ],
    )
    await world.night()
    for value in ("B", "C", "D"):
        await world.legacy(says(value))
        assert told(await world.night()) == {"seen": 1, "updated": 1}
        assert await status(world) == value


async def test_example_6_a_form_saved_without_a_change_freezes_nothing(cases: World) -> None:
    """Example 6: staff save the same values again; the source's next change is written."""
    await cases.night()
    await cases.staff("UPDATE cases SET status = status, note = note, updated = now()")
    await cases.legacy(says("B"))
    assert told(await cases.night()) == {"seen": 1, "updated": 1}
    assert await status(cases) == "B"


async def test_example_7_two_columns_of_one_row_are_judged_apart(cases: World) -> None:
    """Example 7: staff change the note, the source the status: both stand."""
    await cases.night()
    await cases.staff("UPDATE cases SET note = 'typed'")
    await cases.legacy(says("B"))
    assert told(await cases.night()) == {"seen": 1, "updated": 1}
    assert await cases.rows("SELECT status, note FROM cases") == [("B", "typed")]
    assert await cases.open_conflicts() == []


async def test_example_8_both_type_the_same_and_the_source_owns_it_again(cases: World) -> None:
    """Example 8: both set B: no conflict, and the next source change is written."""
    await cases.night()
    await cases.staff(says("B"))
    await cases.legacy(says("B"))
    assert told(await cases.night()) == {"seen": 1, "unchanged": 1}
    assert await cases.open_conflicts() == []
    await cases.legacy(says("C"))
    await cases.night()
    assert await status(cases) == "C"


async def test_example_9_the_source_returns_to_the_base_of_the_edit(cases: World) -> None:
    """Example 9: S A->B->A while T=X: conflict at B, closed at A, X stays."""
    await cases.night()
    await cases.staff(says("X"))
    await cases.legacy(says("B"))
    await cases.night()
    await cases.legacy(says("A"))
    night = await cases.night()
    assert told(night) == {"seen": 1, "unchanged": 1}
    assert night.status == "completed"
    assert await status(cases) == "X"
    assert await cases.open_conflicts() == []


async def test_example_10_an_edit_taken_back_lets_the_source_through(cases: World) -> None:
    """Example 10: T A->X->A while S=B waits: the next sweep writes B, and the conflict ends."""
    await cases.night()
    await cases.staff(says("X"))
    await cases.legacy(says("B"))
    await cases.night()
    await cases.staff(says("A"))
    assert told(await cases.night()) == {"seen": 1, "updated": 1}
    assert await status(cases) == "B"
    assert await cases.open_conflicts() == []
    assert told(await cases.night()) == {"seen": 1, "unchanged": 1}


@pytest.mark.parametrize("updated", ["NULL", "'1999-01-01Z'"])
async def test_example_11_a_change_with_an_old_or_no_time_is_seen(
    cases: World, updated: str
) -> None:
    """Example 11, case 46: S.updated NULL or older than the last run: the value is written."""
    await cases.night()
    await cases.legacy(f"UPDATE cases SET status = 'B', updated = {updated}")
    assert told(await cases.night()) == {"seen": 1, "updated": 1}
    assert await status(cases) == "B"


async def test_example_12_a_deleted_source_row_that_staff_edited_is_kept(cases: World) -> None:
    """Example 12: S deleted, T=X: kept as orphan, with a conflict, night after night."""
    await cases.legacy("INSERT INTO cases VALUES (2, 'A', 'n')")
    await cases.night()
    await cases.staff(says("X"))
    await cases.legacy("DELETE FROM cases WHERE id = 1")
    assert told(await cases.night()) == {"seen": 2, "unchanged": 1, "conflict": 1}
    await cases.nights(2)
    assert await status(cases) == "X"
    assert await cases.state("cases", "1") == "orphan_kept"
    assert [(c.column, c.kind) for c in await cases.open_conflicts()] == [
        ("status", "delete_vs_edit")
    ]


async def test_example_12_a_deleted_source_row_that_nobody_edited_is_deleted(
    cases: World,
) -> None:
    """Example 12, second half: S deleted, T=bt: deleted after the proof."""
    await cases.legacy("INSERT INTO cases VALUES (2, 'A', 'n')")
    await cases.night()
    await cases.legacy("DELETE FROM cases WHERE id = 1")
    assert told(await cases.night()) == {"seen": 2, "unchanged": 1, "deleted": 1}
    assert await status(cases) is None
    assert await cases.state("cases", "1") == "src_deleted"


async def test_example_13_a_row_that_staff_deleted_is_one_conflict_and_stays_away(
    cases: World,
) -> None:
    """Example 13, case 76: T deleted, S changes nightly: one conflict, never recreated."""
    await cases.night()
    await cases.staff("DELETE FROM cases WHERE id = 1")
    conflicts = []
    for value in "BCDEF":
        await cases.legacy(says(value))
        conflicts.append(told(await cases.night()).get("conflict", 0))
        assert await status(cases) is None
    assert conflicts == [1, 0, 0, 0, 0]
    assert await cases.state("cases", "1") == "tgt_deleted"
    assert len(await cases.open_conflicts()) == 1


async def test_example_14_staff_commit_while_the_load_waits_for_their_row(cases: World) -> None:
    """Example 14, case 75: X is committed between the decision to look and the write: X stays."""
    await cases.night()
    await cases.legacy(says("B"))
    staff = await asyncpg.connect(cases.config.target.dsn.value)
    try:
        typing = staff.transaction()
        await typing.start()
        await staff.execute(says("X"))
        night = asyncio.ensure_future(cases.night())
        await _until_somebody_waits(staff)
        await typing.commit()
        report: RunReport = await night
    finally:
        await staff.close()
    assert told(report) == {"seen": 1, "conflict": 1}
    assert await status(cases) == "X"


async def test_example_14_staff_roll_back_while_the_load_waits_for_their_row(
    cases: World,
) -> None:
    """Example 14, the other way: an edit that was never committed stops nothing."""
    await cases.night()
    await cases.legacy(says("B"))
    staff = await asyncpg.connect(cases.config.target.dsn.value)
    try:
        typing = staff.transaction()
        await typing.start()
        await staff.execute(says("X"))
        night = asyncio.ensure_future(cases.night())
        await _until_somebody_waits(staff)
        await typing.rollback()
        report: RunReport = await night
    finally:
        await staff.close()
    assert told(report) == {"seen": 1, "updated": 1}
    assert await status(cases) == "B"


async def test_example_15_columns_that_belong_together_are_kept_together(
    make_world: MakeWorld,
) -> None:
    """Example 15: staff move the start, the source the end: the group stays as staff left it."""
    world = await make_world(
        [
            "CREATE TABLE stays (id int PRIMARY KEY, first date, last date, note text)",
            "INSERT INTO stays VALUES (1, '2024-01-10', '2024-01-20', 'n')",
        ],
        {
            "stays": Entity(
                from_="stays", key=("id",), into="public.stays", groups=(("first", "last"),)
            )
        },
        [
            (
                "CREATE TABLE stays (id int PRIMARY KEY, first date, last date, note text, "
                "CHECK (first <= last))"
            )
        ],
    )
    await world.night()
    await world.staff("UPDATE stays SET first = '2024-01-18'")
    await world.legacy("UPDATE stays SET last = '2024-01-15', note = 'm'")
    assert told(await world.night()) == {"seen": 1, "conflict": 1}
    assert await world.rows("SELECT first::text, last::text, note FROM stays") == [
        ("2024-01-18", "2024-01-20", "m")
    ]


async def _until_somebody_waits(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Return once another session waits for a lock of this one."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    for _ in range(500):
        if await connection.fetchval(waiting):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody came to wait for the row")
