"""Both sides changed the same field: what operators see, decide, and may rely on afterwards."""

import pytest

from syncd.config import Entity, Merge
from syncd.errors import PermanentError
from syncd.flow.model import OnConflict
from syncd.progress import Silent
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, told

LEGACY = [
    "CREATE TABLE cases (id int PRIMARY KEY, status text, note text)",
    "INSERT INTO cases VALUES (1, 'A', 'n'), (2, 'A', 'n')",
]
STATUS = "SELECT status FROM cases WHERE id = 1"


async def in_conflict(make_world: MakeWorld) -> World:
    """Status of record 1: A at the base, B at the source, X at the target."""
    world = await make_world(LEGACY, {"cases": CASES})
    await world.night()
    await world.staff("UPDATE cases SET status = 'X' WHERE id = 1")
    await world.legacy("UPDATE cases SET status = 'B' WHERE id = 1")
    await world.night()
    return world


async def conflict_of(world: World) -> int:
    """The number of the only open conflict."""
    found = await world.open_conflicts()
    assert len(found) == 1
    return found[0].conflict_id


async def status_of(world: World, number: int) -> str:
    """The status of a conflict."""
    async with world.app() as app:
        return (await app.conflict(number)).status


async def test_a_conflict_shows_both_values_as_they_are_now(make_world: MakeWorld) -> None:
    """``conflicts show`` reads both sides; the ledger keeps no value."""
    world = await in_conflict(make_world)
    async with world.app() as app:
        shown = await app.conflict(await conflict_of(world))
    assert (shown.key, shown.column, shown.source, shown.target) == (("1",), "status", "B", "X")


async def test_taking_the_source_writes_its_value(make_world: MakeWorld) -> None:
    """``resolve --take source``: B is written, the conflict is over, later changes flow."""
    world = await in_conflict(make_world)
    number = await conflict_of(world)
    async with world.app() as app:
        await app.resolve([number], take="source", progress=Silent())
    assert await world.value(STATUS) == "B"
    assert await status_of(world, number) == "resolved_source"
    await world.legacy("UPDATE cases SET status = 'C' WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}


async def test_taking_the_source_is_refused_when_the_target_changed_again(
    make_world: MakeWorld,
) -> None:
    """I2: the operator saw X; staff have typed Y since: Y stays and the conflict stays open."""
    world = await in_conflict(make_world)
    number = await conflict_of(world)
    await world.staff("UPDATE cases SET status = 'Y' WHERE id = 1")
    async with world.app() as app:
        with pytest.raises(PermanentError, match="not overwritten"):
            await app.resolve([number], take="source", progress=Silent())
    assert await world.value(STATUS) == "Y"
    assert await status_of(world, number) == "open"


async def test_taking_the_source_takes_the_value_that_it_has_now(make_world: MakeWorld) -> None:
    """The source went on to C since the conflict was told: C is written."""
    world = await in_conflict(make_world)
    await world.legacy("UPDATE cases SET status = 'C' WHERE id = 1")
    async with world.app() as app:
        await app.resolve([await conflict_of(world)], take="source", progress=Silent())
    assert await world.value(STATUS) == "C"


async def test_taking_the_target_keeps_its_value_and_ends_the_conflict(
    make_world: MakeWorld,
) -> None:
    """``--take target``: X stays, quiet nights stay quiet, the run is not parked any more."""
    world = await in_conflict(make_world)
    number = await conflict_of(world)
    async with world.app() as app:
        await app.resolve([number], take="target", progress=Silent())
    for night in await world.nights(2):
        assert told(night) == {"seen": 2, "unchanged": 2}
        assert night.status == "completed"
    assert await world.value(STATUS) == "X"
    assert await status_of(world, number) == "resolved_target"


async def test_after_taking_the_target_a_new_source_value_is_a_new_conflict(
    make_world: MakeWorld,
) -> None:
    """The decision was about B; C is another question, and X is still staff's."""
    world = await in_conflict(make_world)
    async with world.app() as app:
        await app.resolve([await conflict_of(world)], take="target", progress=Silent())
    await world.legacy("UPDATE cases SET status = 'C' WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "conflict": 1, "unchanged": 1}
    assert await world.value(STATUS) == "X"


async def test_after_taking_the_target_other_columns_of_the_row_still_flow(
    make_world: MakeWorld,
) -> None:
    """Only the column in question is staff's."""
    world = await in_conflict(make_world)
    async with world.app() as app:
        await app.resolve([await conflict_of(world)], take="target", progress=Silent())
    await world.legacy("UPDATE cases SET note = 'm' WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}
    assert await world.rows("SELECT status, note FROM cases WHERE id = 1") == [("X", "m")]


async def test_taking_the_target_survives_a_column_that_came_meanwhile(
    make_world: MakeWorld,
) -> None:
    """The entry was stored with other columns than the plan has now; the right one is staff's."""
    world = await in_conflict(make_world)
    await world.legacy("ALTER TABLE cases ADD COLUMN actor text DEFAULT 'z'")
    await world.init("cases")
    async with world.app() as app:
        await app.resolve([await conflict_of(world)], take="target", progress=Silent())
    await world.legacy("UPDATE cases SET note = 'm' WHERE id = 1")
    await world.night()
    assert await world.rows("SELECT actor, note, status FROM cases WHERE id = 1") == [
        ("z", "m", "X")
    ]
    assert await world.open_conflicts() == []


async def test_a_conflict_can_be_decided_once(make_world: MakeWorld) -> None:
    """A second decision is refused and says why."""
    world = await in_conflict(make_world)
    number = await conflict_of(world)
    async with world.app() as app:
        await app.resolve([number], take="target", progress=Silent())
        with pytest.raises(PermanentError, match="resolved_target already"):
            await app.resolve([number], take="source", progress=Silent())
    assert await world.value(STATUS) == "X"


@pytest.mark.parametrize(
    ("at_the_target", "at_the_source"),
    [
        ("DELETE FROM cases WHERE id = 1", "UPDATE cases SET status = 'B' WHERE id = 1"),
        ("UPDATE cases SET status = 'X' WHERE id = 1", "DELETE FROM cases WHERE id = 1"),
    ],
    ids=["target_deleted", "delete_vs_edit"],
)
async def test_a_conflict_about_a_whole_row_is_never_decided_for_the_source(
    make_world: MakeWorld, at_the_target: str, at_the_source: str
) -> None:
    """I3: neither is what staff deleted recreated, nor what they edited deleted."""
    world = await make_world(LEGACY, {"cases": CASES})
    await world.night()
    await world.staff(at_the_target)
    await world.legacy(at_the_source)
    await world.night()
    before = await world.rows("SELECT * FROM cases ORDER BY id")
    async with world.app() as app:
        with pytest.raises(PermanentError, match="whole row"):
            await app.resolve([await conflict_of(world)], take="source", progress=Silent())
        await app.resolve([await conflict_of(world)], take="target", progress=Silent())
    assert [night.status for night in await world.nights(2)] == ["completed", "completed"]
    assert await world.rows("SELECT * FROM cases ORDER BY id") == before
    assert await world.open_conflicts() == []


async def test_two_conflicts_of_one_row_are_decided_apart(make_world: MakeWorld) -> None:
    """One for the source, one for the target: each gets what was said."""
    world = await make_world(LEGACY, {"cases": CASES})
    await world.night()
    await world.staff("UPDATE cases SET status = 'X', note = 'x' WHERE id = 1")
    await world.legacy("UPDATE cases SET status = 'B', note = 'b' WHERE id = 1")
    await world.night()
    numbers = {c.column: c.conflict_id for c in await world.open_conflicts()}
    async with world.app() as app:
        await app.resolve([numbers["status"]], take="target", progress=Silent())
        await app.resolve([numbers["note"]], take="source", progress=Silent())
    assert await world.rows("SELECT status, note FROM cases WHERE id = 1") == [("X", "b")]
    assert await world.open_conflicts() == []
    assert told(await world.night()) == {"seen": 2, "unchanged": 2}


async def test_a_quarantined_record_stands_still_until_somebody_decides(
    make_world: MakeWorld,
) -> None:
    """``on_conflict: quarantine`` stops the whole row, its other columns included."""
    quarantine = Merge(on_conflict=OnConflict.QUARANTINE)
    world = await make_world(
        LEGACY, {"cases": Entity(from_="cases", key=("id",), into="public.cases", merge=quarantine)}
    )
    await world.night()
    await world.staff("UPDATE cases SET status = 'X' WHERE id = 1")
    await world.legacy("UPDATE cases SET status = 'B', note = 'm' WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "conflict": 1, "unchanged": 1}
    await world.legacy("UPDATE cases SET note = 'o' WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "skipped": 1, "unchanged": 1}
    assert await world.rows("SELECT status, note FROM cases WHERE id = 1") == [("X", "n")]
    assert await world.state("cases", "1") == "quarantined"


async def test_source_wins_writes_over_the_edit_and_says_so(make_world: MakeWorld) -> None:
    """With consent only: the edit is overwritten, and the ledger holds the proof."""
    wins = Merge(on_conflict=OnConflict.SOURCE_WINS, i_accept_overwrite=True)
    world = await make_world(
        LEGACY, {"cases": Entity(from_="cases", key=("id",), into="public.cases", merge=wins)}
    )
    await world.night()
    await world.staff("UPDATE cases SET status = 'X' WHERE id = 1")
    await world.night()
    assert await world.value(STATUS) == "X"
    await world.legacy("UPDATE cases SET status = 'B' WHERE id = 1")
    await world.night()
    assert await world.value(STATUS) == "B"
    assert await world.rows("SELECT kind, status FROM syncd.syncd_conflict") == [
        ("overwritten", "resolved_source")
    ]


async def test_staff_made_the_record_first_and_it_is_adopted(make_world: MakeWorld) -> None:
    """Case 77: the same primary key: equal columns become ours, the others stay staff's."""
    world = await make_world(LEGACY, {"cases": CASES})
    await world.staff("INSERT INTO cases (id, status, note) VALUES (1, 'A', 'typed')")
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "conflict": 1}
    assert [(c.column, c.kind) for c in await world.open_conflicts()] == [("note", "staff_created")]
    await world.legacy("UPDATE cases SET status = 'B' WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}
    assert await world.rows("SELECT status, note FROM cases WHERE id = 1") == [("B", "typed")]


async def test_staff_made_the_same_record_first_and_it_is_linked(make_world: MakeWorld) -> None:
    """Case 77: equal in all columns: linked, no conflict, one object (I4)."""
    world = await make_world(LEGACY, {"cases": CASES})
    await world.staff("INSERT INTO cases (id, status, note) VALUES (1, 'A', 'n')")
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "linked": 1}
    assert await world.value("SELECT count(*) FROM cases WHERE id = 1") == 1
    assert await world.open_conflicts() == []


async def test_staff_have_the_natural_key_and_nothing_is_doubled(make_world: MakeWorld) -> None:
    """Case 77: another primary key, the same unique number: a conflict, tried each night."""
    world = await make_world(
        [
            "CREATE TABLE people (id int PRIMARY KEY, number text)",
            "INSERT INTO people VALUES (1, 'N1'), (2, 'N2')",
        ],
        {"people": Entity(from_="people", key=("id",), into="public.people")},
        ["CREATE TABLE people (id int PRIMARY KEY, number text UNIQUE)"],
    )
    await world.staff("INSERT INTO people VALUES (900, 'N2')")
    for expected in ({"inserted": 1}, {"unchanged": 1}):
        assert told(await world.night()) == {"seen": 2, "conflict": 1, **expected}
    assert await world.rows("SELECT id, number FROM people ORDER BY id") == [
        (1, "N1"),
        (900, "N2"),
    ]
    assert await world.history("people", "2") == [("conflict", "unique:people_number_key")]
    await world.staff("DELETE FROM people WHERE id = 900")
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "unchanged": 1}


NUMBERED = [
    "CREATE TABLE people (id int PRIMARY KEY, number text)",
    "INSERT INTO people VALUES (1, 'N1'), (2, 'N2'), (3, 'N3')",
]
UNIQUE_NUMBER = ["CREATE TABLE people (id int PRIMARY KEY, number text UNIQUE)"]


async def numbered(make_world: MakeWorld) -> World:
    """Three people with a number each that is unique at the target, loaded."""
    people = Entity(from_="people", key=("id",), into="public.people")
    world = await make_world(NUMBERED, {"people": people}, UNIQUE_NUMBER)
    await world.night()
    return world


async def test_a_unique_number_that_moves_on_is_free_in_the_same_night(
    make_world: MakeWorld,
) -> None:
    """Each takes the number of the next, the last a new one: the second look finds them free."""
    world = await numbered(make_world)
    await world.legacy(
        "UPDATE people SET number = 'N4' WHERE id = 3",
        "UPDATE people SET number = 'N3' WHERE id = 2",
        "UPDATE people SET number = 'N2' WHERE id = 1",
    )
    assert told(await world.night()) == {"seen": 3, "updated": 3}
    await world.assert_in_step("SELECT id, number FROM people ORDER BY id")


async def test_two_people_who_exchange_a_unique_number_are_told_as_a_conflict(
    make_world: MakeWorld,
) -> None:
    """A known limit: neither can be first, so both are parked, named, and nothing is lost."""
    world = await numbered(make_world)
    await world.legacy("UPDATE people SET number = 'N' || 3 - id WHERE id < 3")
    assert told(await world.night()) == {"seen": 3, "conflict": 2, "unchanged": 1}
    assert (await world.history("people", "1"))[-1] == ("conflict", "unique:people_number_key")
    await world.staff("UPDATE people SET number = NULL WHERE id = 1")
    await world.night()
    assert await world.value("SELECT number FROM people WHERE id = 2") == "N1"
