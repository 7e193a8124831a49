"""Who may write a column, the seed's timestamp rule beside ours, and groups."""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from typing import Final

import pytest

from syncd.config import Entity, Merge
from syncd.flow.model import Ownership
from tests.pipeline.conftest import MakeWorld
from tests.pipeline.world import World, told

LEGACY: Final = [
    "CREATE TABLE cases (id int PRIMARY KEY, status text, note text)",
    "INSERT INTO cases VALUES (1, 'A', 'n')",
]
BOTH: Final = "SELECT status, note FROM cases WHERE id = 1"


async def owned(make_world: MakeWorld, **ownership: Ownership) -> World:
    """Record 1 (A, n) in step, with these owners."""
    entity = Entity(from_="cases", key=("id",), into="public.cases", ownership=ownership)
    world = await make_world(LEGACY, {"cases": entity})
    await world.night()
    return world


async def test_a_column_of_the_source_is_written_over_at_its_next_look(
    make_world: MakeWorld,
) -> None:
    """Ownership ``source``: drift is written over when the row is looked at."""
    world = await owned(make_world, status=Ownership.SOURCE)
    await world.staff("UPDATE cases SET status = 'X'")
    await world.legacy("UPDATE cases SET note = 'm'")
    assert told(await world.night()) == {"seen": 1, "updated": 1}
    assert await world.rows(BOTH) == [("A", "m")]
    assert await world.open_conflicts() == []


async def test_a_column_of_the_target_is_written_once(make_world: MakeWorld) -> None:
    """Ownership ``target``: insert only, never an update, never a conflict."""
    world = await owned(make_world, note=Ownership.TARGET)
    await world.legacy("UPDATE cases SET note = 'm', status = 'B'")
    assert told(await world.night()) == {"seen": 1, "updated": 1}
    assert await world.rows(BOTH) == [("B", "n")]
    await world.staff("UPDATE cases SET note = 'typed'")
    await world.legacy("UPDATE cases SET note = 'o'")
    assert told(await world.night()) == {"seen": 1, "unchanged": 1}
    assert await world.open_conflicts() == []


async def test_an_edit_of_a_column_of_the_target_keeps_a_deleted_row(
    make_world: MakeWorld,
) -> None:
    """Ownership ``target``: what staff typed there would be lost with the row."""
    world = await owned(make_world, note=Ownership.TARGET)
    await world.legacy("INSERT INTO cases VALUES (2, 'A', 'n')")
    await world.staff("UPDATE cases SET note = 'typed' WHERE id = 1")
    await world.legacy("DELETE FROM cases WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "conflict": 1}
    assert await world.value("SELECT note FROM cases WHERE id = 1") == "typed"


async def test_an_initial_column_follows_until_staff_touch_the_row(make_world: MakeWorld) -> None:
    """Ownership ``initial``: written until the first edit of any column of the row."""
    world = await owned(make_world, note=Ownership.INITIAL)
    await world.legacy("UPDATE cases SET note = 'm'")
    await world.night()
    assert await world.rows(BOTH) == [("A", "m")]
    await world.staff("UPDATE cases SET status = 'X'")
    await world.legacy("UPDATE cases SET note = 'o'")
    assert told(await world.night()) == {"seen": 1, "unchanged": 1}
    assert await world.rows(BOTH) == [("X", "m")]


async def test_a_group_is_written_as_one_when_nobody_touched_it(make_world: MakeWorld) -> None:
    """Columns of a group that the source changes go together."""
    entity = Entity(from_="cases", key=("id",), into="public.cases", groups=(("status", "note"),))
    world = await make_world(LEGACY, {"cases": entity})
    await world.night()
    await world.legacy("UPDATE cases SET status = 'B', note = 'm'")
    await world.night()
    assert await world.rows(BOTH) == [("B", "m")]


async def test_a_group_in_conflict_heals_as_one(make_world: MakeWorld) -> None:
    """Staff take the one edit back: the whole group gets the source's values."""
    entity = Entity(from_="cases", key=("id",), into="public.cases", groups=(("status", "note"),))
    world = await make_world(LEGACY, {"cases": entity})
    await world.night()
    await world.staff("UPDATE cases SET status = 'X'")
    await world.legacy("UPDATE cases SET note = 'm'")
    assert told(await world.night()) == {"seen": 1, "conflict": 1}
    assert await world.rows(BOTH) == [("X", "n")]
    await world.staff("UPDATE cases SET status = 'A'")
    assert told(await world.night()) == {"seen": 1, "updated": 1}
    assert await world.rows(BOTH) == [("A", "m")]
    assert await world.open_conflicts() == []


# -- the seed's rule -----------------------------------------------------------------------------

STAMPED: Final = [
    "CREATE TABLE cases (id int PRIMARY KEY, status text, note text, changed timestamptz)",
    "INSERT INTO cases VALUES (1, 'A', 'n', now())",
]
STAMPED_TARGET: Final = (
    "CREATE TABLE cases (id int PRIMARY KEY, status text, note text, changed timestamptz)"
)


async def seeded(make_world: MakeWorld, policy: str) -> World:
    """The same world under either policy, loaded a day ago."""
    entity = Entity(
        from_="cases",
        key=("id",),
        into="public.cases",
        ownership={"changed": Ownership.TARGET},
        merge=Merge(policy=policy, source_updated="changed", target_updated="changed")  # type: ignore[arg-type]
        if policy == "timestamps"
        else Merge(),
    )
    world = await make_world(STAMPED, {"cases": entity}, [STAMPED_TARGET])
    await world.night()
    await world.staff("UPDATE cases SET changed = now() - interval '9 days'")
    await yesterday(world)
    return world


async def yesterday(world: World) -> None:
    """Every run so far was a day earlier."""
    await world.staff("UPDATE syncd.syncd_run SET started_at = started_at - interval '1 day'")


async def edit(world: World, value: str, *, days_ago: int = 0) -> None:
    """Staff type a status; the form stamps the row."""
    await world.staff(
        f"UPDATE cases SET status = '{value}', changed = now() - interval '{days_ago} days'"
    )


@pytest.mark.parametrize(
    ("policy", "shown"), [("timestamps", "B"), ("three_way", "X")], ids=["seed", "ours"]
)
async def test_an_edit_before_the_last_run_is_lost_by_the_seed(
    make_world: MakeWorld, policy: str, shown: str
) -> None:
    """Example 4: edited on day 1, imported on day 2, changed at the source on day 3."""
    world = await seeded(make_world, policy)
    await edit(world, "X", days_ago=3)
    await world.night()
    await yesterday(world)
    await world.legacy("UPDATE cases SET status = 'B', changed = now()")
    await world.night()
    assert await world.value("SELECT status FROM cases") == shown


@pytest.mark.parametrize(
    ("policy", "shown"), [("timestamps", "A"), ("three_way", "B")], ids=["seed", "ours"]
)
async def test_a_form_saved_unchanged_freezes_the_row_for_the_seed(
    make_world: MakeWorld, policy: str, shown: str
) -> None:
    """Example 6: the stamp moved, the values did not; the source's change never comes."""
    world = await seeded(make_world, policy)
    await world.staff("UPDATE cases SET changed = now() + interval '1 hour'")
    await world.legacy("UPDATE cases SET status = 'B', changed = now()")
    await world.night()
    assert await world.value("SELECT status FROM cases") == shown


@pytest.mark.parametrize(
    ("policy", "shown"),
    [("timestamps", ("A", "typed")), ("three_way", ("B", "typed"))],
    ids=["seed", "ours"],
)
async def test_a_change_of_another_column_is_lost_by_the_seed(
    make_world: MakeWorld, policy: str, shown: tuple[str, str]
) -> None:
    """Example 7: staff change the note, the source the status: the status is lost."""
    world = await seeded(make_world, policy)
    await world.staff("UPDATE cases SET note = 'typed', changed = now() + interval '1 hour'")
    await world.legacy("UPDATE cases SET status = 'B', changed = now()")
    await world.night()
    assert await world.rows(BOTH) == [shown]


@pytest.mark.parametrize("stamp", ["NULL", "now() - interval '9 days'"], ids=["null", "old"])
@pytest.mark.parametrize(
    ("policy", "shown"), [("timestamps", "A"), ("three_way", "B")], ids=["seed", "ours"]
)
async def test_a_change_without_a_fresh_stamp_is_lost_by_the_seed(
    make_world: MakeWorld, policy: str, shown: str, stamp: str
) -> None:
    """Example 11: a batch fix that did not touch the stamp, or a stamp that is NULL."""
    world = await seeded(make_world, policy)
    await world.legacy(f"UPDATE cases SET status = 'B', changed = {stamp}")
    await world.night()
    assert await world.value("SELECT status FROM cases") == shown


async def test_a_usual_change_is_written_by_the_seed_as_well(make_world: MakeWorld) -> None:
    """Where its clocks are right, the seed's rule does its work."""
    world = await seeded(make_world, "timestamps")
    await world.legacy("UPDATE cases SET status = 'B', changed = now()")
    assert told(await world.night()) == {"seen": 1, "updated": 1}
    assert await world.value("SELECT status FROM cases") == "B"
