"""Records that need each other: order, waiting, trees, circles, keys that change and return."""

# ruff: noqa: S311, S608 - dice are for tests; the statements are made of constants and of the test's own numbers.

import random
from typing import Final

import pytest

from syncd.config import Deletes, Entity, HoldAbove, Limits, Need
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, told

SMALL: Final = Limits(batch_rows=5, writers=2)
FAMILY: Final = {
    # The child first: the order is that of the needs, not of the file.
    "children": Entity(
        from_="children",
        key=("id",),
        into="public.children",
        needs={"parents": Need(columns=("parent",))},
    ),
    "parents": Entity(from_="parents", key=("id",), into="public.parents"),
}
FAMILY_LEGACY: Final = [
    "CREATE TABLE parents (id int PRIMARY KEY, name text)",
    "CREATE TABLE children (id int PRIMARY KEY, parent int, name text)",
]
FAMILY_TARGET: Final = [
    "CREATE TABLE parents (id int PRIMARY KEY, name varchar(3))",
    "CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents, name text)",
]
TREE: Final = {
    "units": Entity(
        from_="units",
        key=("id",),
        into="public.units",
        needs={"units": Need(columns=("parent",))},
    )
}
TREE_TABLE: Final = (
    "CREATE TABLE units (id int PRIMARY KEY, parent int REFERENCES units, name text)"
)


async def family(make_world: MakeWorld) -> World:
    """Parents and children with a foreign key at the target, nothing loaded."""
    return await make_world(FAMILY_LEGACY, FAMILY, FAMILY_TARGET, limits=SMALL)


async def test_parents_come_before_children(make_world: MakeWorld) -> None:
    """Upserts go parents first, deletes children first; no foreign key ever objects."""
    world = await family(make_world)
    await world.legacy(
        "INSERT INTO parents SELECT g, 'n' FROM generate_series(1, 30) g",
        "INSERT INTO children SELECT g, 1 + g % 30, 'n' FROM generate_series(1, 60) g",
    )
    night = await world.night()
    assert told(night, "parents") == {"seen": 30, "inserted": 30}
    assert told(night, "children") == {"seen": 60, "inserted": 60}
    await world.legacy("DELETE FROM children WHERE parent = 7", "DELETE FROM parents WHERE id = 7")
    night = await world.night()
    assert told(night, "parents") == {"seen": 30, "deleted": 1, "unchanged": 29}
    assert told(night, "children") == {"seen": 60, "deleted": 2, "unchanged": 58}


async def test_children_wait_and_are_released_when_their_parents_land(
    make_world: MakeWorld,
) -> None:
    """Case 71: children first, in any order; 0 wait once the parents are there."""
    world = await family(make_world)
    order = list(range(1, 41))
    random.Random(71).shuffle(order)
    await world.legacy(*(f"INSERT INTO children VALUES ({at}, {1 + at % 20}, 'n')" for at in order))
    night = await world.night()
    assert told(night, "children") == {"seen": 40, "waiting": 40}
    assert night.status == "parked"
    assert await world.history("children", "1") == [("waiting", "parent:parents")]
    await world.legacy("INSERT INTO parents SELECT g, 'n' FROM generate_series(1, 10) g")
    assert told(await world.night(), "children") == {"seen": 40, "inserted": 20, "waiting": 20}
    await world.legacy("INSERT INTO parents SELECT g, 'n' FROM generate_series(11, 20) g")
    night = await world.night()
    assert told(night, "children") == {"seen": 40, "inserted": 20, "unchanged": 20}
    assert night.status == "completed"
    await world.assert_in_step("SELECT id, parent FROM children ORDER BY id")


async def test_children_of_an_invalid_parent_wait(make_world: MakeWorld) -> None:
    """Case 71: the parent is refused by the target: it is failed, its children wait for it."""
    world = await family(make_world)
    await world.legacy(
        "INSERT INTO parents VALUES (1, 'too long'), (2, 'n')",
        "INSERT INTO children VALUES (1, 1, 'n'), (2, 2, 'n')",
    )
    night = await world.night()
    assert told(night, "parents") == {"seen": 2, "inserted": 1, "failed": 1}
    assert told(night, "children") == {"seen": 2, "inserted": 1, "waiting": 1}
    await world.legacy("UPDATE parents SET name = 'ok' WHERE id = 1")
    night = await world.night()
    assert told(night, "children") == {"seen": 2, "inserted": 1, "unchanged": 1}


async def test_a_child_of_a_parent_that_staff_deleted_waits(make_world: MakeWorld) -> None:
    """Case 76: the parent is not recreated for the sake of a child."""
    world = await family(make_world)
    await world.legacy("INSERT INTO parents VALUES (1, 'n'), (2, 'n')")
    await world.night()
    await world.staff("DELETE FROM parents WHERE id = 1")
    await world.legacy(
        "UPDATE parents SET name = 'm' WHERE id = 1", "INSERT INTO children VALUES (1, 1, 'n')"
    )
    night = await world.night()
    assert told(night, "parents") == {"seen": 2, "conflict": 1, "unchanged": 1}
    assert told(night, "children") == {"seen": 1, "waiting": 1}
    assert await world.rows("SELECT id FROM parents") == [(2,)]


async def test_a_child_of_a_parent_that_staff_deleted_unnoticed_waits(
    make_world: MakeWorld,
) -> None:
    """The ledger still calls the parent live; the foreign key knows better, nothing fails."""
    world = await family(make_world)
    await world.legacy("INSERT INTO parents VALUES (1, 'n'), (2, 'n')")
    await world.night()
    await world.staff("DELETE FROM parents WHERE id = 1")
    await world.legacy("INSERT INTO children VALUES (1, 1, 'n'), (2, 2, 'n')")
    night = await world.night()
    assert told(night, "children") == {"seen": 2, "inserted": 1, "waiting": 1}


async def test_a_child_without_a_parent_is_free(make_world: MakeWorld) -> None:
    """A NULL reference waits for nobody."""
    world = await family(make_world)
    await world.legacy("INSERT INTO children VALUES (1, NULL, 'n')")
    assert told(await world.night(), "children") == {"seen": 1, "inserted": 1}


async def test_a_tree_is_loaded_and_taken_down_in_one_night_each(make_world: MakeWorld) -> None:
    """A self-reference 12 levels deep, ids against the order of the levels, small batches."""
    world = await make_world(
        ["CREATE TABLE units (id int PRIMARY KEY, parent int, name text)"],
        TREE,
        [TREE_TABLE],
        limits=SMALL,
        deletes=Deletes(hold_above=HoldAbove(rows=1000, percent=100)),
    )
    # A chain of 12 levels with two leaves at each; the deepest has the smallest id.
    await world.legacy(
        "INSERT INTO units SELECT g, nullif(g + 1, 13), 'level' FROM generate_series(1, 12) g",
        "INSERT INTO units SELECT 100 + g, 1 + g % 12, 'leaf' FROM generate_series(0, 23) g",
        "INSERT INTO units VALUES (999, NULL, 'alone')",
    )
    assert told(await world.night()) == {"seen": 37, "inserted": 37}
    await world.assert_in_step("SELECT id, parent, name FROM units ORDER BY id")
    assert told(await world.night()) == {"seen": 37, "unchanged": 37}
    await world.legacy("DELETE FROM units WHERE id <> 999")
    assert told(await world.night()) == {"seen": 37, "deleted": 36, "unchanged": 1}
    assert await world.rows("SELECT id FROM units") == [(999,)]


async def test_a_branch_moves_below_another(make_world: MakeWorld) -> None:
    """A new parent that comes in the same night, with a larger id than its new child."""
    world = await make_world(
        [
            "CREATE TABLE units (id int PRIMARY KEY, parent int, name text)",
            "INSERT INTO units SELECT g, nullif(g - 1, 0), 'n' FROM generate_series(1, 20) g",
        ],
        TREE,
        [TREE_TABLE],
        limits=SMALL,
    )
    await world.night()
    await world.legacy(
        "INSERT INTO units VALUES (500, 20, 'new')", "UPDATE units SET parent = 500 WHERE id = 3"
    )
    assert told(await world.night()) == {"seen": 21, "inserted": 1, "updated": 1, "unchanged": 19}
    await world.assert_in_step("SELECT id, parent FROM units ORDER BY id")


def couple(*, nullable_head: bool = True) -> dict[str, Entity]:
    """Teams have a head among the people, people belong to a team."""
    return {
        "teams": Entity(
            from_="teams",
            key=("id",),
            into="public.teams",
            needs={"people": Need(columns=("head",), nullable=nullable_head)},
        ),
        "people": Entity(
            from_="people",
            key=("id",),
            into="public.people",
            needs={"teams": Need(columns=("team",))},
        ),
    }


COUPLE_LEGACY: Final = [
    "CREATE TABLE teams (id int PRIMARY KEY, head int, name text)",
    "CREATE TABLE people (id int PRIMARY KEY, team int NOT NULL, name text)",
]
COUPLE_TARGET: Final = [
    "CREATE TABLE teams (id int PRIMARY KEY, head int, name text)",
    "CREATE TABLE people (id int PRIMARY KEY, team int NOT NULL REFERENCES teams, name text)",
    "ALTER TABLE teams ADD FOREIGN KEY (head) REFERENCES people",
]


async def test_a_circle_of_two_entities_is_closed_in_one_night(make_world: MakeWorld) -> None:
    """Case 70: teams come first without their head, and get it when the people are there."""
    world = await make_world(COUPLE_LEGACY, couple(), COUPLE_TARGET, limits=SMALL)
    await world.legacy(
        "INSERT INTO teams SELECT g, 100 + g, 'n' FROM generate_series(1, 12) g",
        "INSERT INTO people SELECT 100 + g, 1 + g % 12, 'n' FROM generate_series(1, 24) g",
    )
    night = await world.night()
    assert told(night, "people") == {"seen": 24, "inserted": 24}
    assert told(night, "teams") == {"seen": 12, "inserted": 12}
    await world.assert_in_step("SELECT id, head FROM teams ORDER BY id")
    assert await world.open_conflicts() == []
    night = await world.night()
    assert told(night, "teams") == {"seen": 12, "unchanged": 12}
    assert night.status == "completed"


async def test_a_head_that_never_comes_leaves_the_team_open(make_world: MakeWorld) -> None:
    """Case 70: the team is there without a head, is looked at each night, and completed later."""
    world = await make_world(COUPLE_LEGACY, couple(), COUPLE_TARGET, limits=SMALL)
    await world.legacy("INSERT INTO teams VALUES (1, 101, 'n')")
    await world.nights(2)
    assert await world.rows("SELECT id, head FROM teams") == [(1, None)]
    await world.legacy("INSERT INTO people VALUES (101, 1, 'n')")
    await world.nights(2)
    assert await world.rows("SELECT id, head FROM teams") == [(1, 101)]


async def test_a_head_that_staff_typed_meanwhile_is_kept(make_world: MakeWorld) -> None:
    """I2 holds for the column that was left out for now as for any other."""
    world = await make_world(COUPLE_LEGACY, couple(), COUPLE_TARGET, limits=SMALL)
    await world.legacy(
        "INSERT INTO teams VALUES (1, 101, 'n')", "INSERT INTO people VALUES (102, 1, 'n')"
    )
    await world.night()
    await world.staff("UPDATE teams SET head = 102")
    await world.legacy("INSERT INTO people VALUES (101, 1, 'n')")
    await world.nights(2)
    assert await world.rows("SELECT head FROM teams") == [(102,)]


async def test_a_circle_is_not_taken_down_by_itself(make_world: MakeWorld) -> None:
    """Case 70, a known limit: both ends vanish, each delete waits for the other, and says so."""
    world = await make_world(
        COUPLE_LEGACY,
        couple(),
        COUPLE_TARGET,
        limits=SMALL,
        deletes=Deletes(hold_above=HoldAbove(rows=1000, percent=100)),
    )
    await world.legacy(
        "INSERT INTO teams VALUES (1, 101, 'n'), (2, 102, 'n')",
        "INSERT INTO people VALUES (101, 1, 'n'), (102, 2, 'n')",
    )
    await world.night()
    await world.legacy("DELETE FROM teams WHERE id = 1", "DELETE FROM people WHERE id = 101")
    night = await world.night()
    assert night.status == "parked"
    assert told(night, "teams") == {"seen": 2, "waiting": 1, "unchanged": 1}
    outcome, reason = (await world.history("teams", "1"))[-1]
    assert (outcome, reason.split(":")[0]) == ("waiting", "delete refused")
    await world.staff("UPDATE teams SET head = NULL WHERE id = 1")
    await world.nights(2)
    assert await world.rows("SELECT id FROM people") == [(102,)]


async def test_a_key_that_changes_at_the_source_is_a_delete_and_an_insert(
    make_world: MakeWorld,
) -> None:
    """Case 67: the new record is written although the old one still held the unique number."""
    world = await make_world(
        [
            "CREATE TABLE people (id int PRIMARY KEY, number text)",
            "INSERT INTO people VALUES (1, 'N1'), (2, 'N2')",
        ],
        {"people": Entity(from_="people", key=("id",), into="public.people")},
        ["CREATE TABLE people (id int PRIMARY KEY, number text UNIQUE)"],
    )
    await world.night()
    await world.legacy("UPDATE people SET id = 10 WHERE id = 1")
    assert told(await world.night()) == {"seen": 3, "inserted": 1, "deleted": 1, "unchanged": 1}
    assert await world.rows("SELECT id, number FROM people ORDER BY id") == [(2, "N2"), (10, "N1")]


async def test_children_follow_a_parent_whose_key_changed(make_world: MakeWorld) -> None:
    """Case 67: the children are re-parented in the same night."""
    world = await family(make_world)
    await world.legacy(
        "INSERT INTO parents VALUES (1, 'n'), (2, 'n')",
        "INSERT INTO children SELECT g, 1, 'n' FROM generate_series(1, 12) g",
    )
    await world.night()
    await world.legacy("UPDATE parents SET id = 10 WHERE id = 1", "UPDATE children SET parent = 10")
    night = await world.night()
    assert told(night, "parents") == {"seen": 3, "inserted": 1, "deleted": 1, "unchanged": 1}
    assert told(night, "children") == {"seen": 12, "updated": 12}
    await world.assert_in_step("SELECT id, parent FROM children ORDER BY id")


async def test_a_key_that_is_used_again_is_a_new_incarnation(make_world: MakeWorld) -> None:
    """Case 68: deleted, then somebody else with the same id: nothing of the old base is used."""
    world = await make_world(
        ["CREATE TABLE cases (id int PRIMARY KEY, name text, note text)"], {"cases": CASES}
    )
    await world.legacy("INSERT INTO cases VALUES (1, 'anna', 'n'), (2, 'bert', 'n')")
    await world.night()
    await world.legacy("DELETE FROM cases WHERE id = 1")
    await world.night()
    await world.legacy("INSERT INTO cases VALUES (1, 'cora', 'm')")
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "unchanged": 1}
    async with world.app() as app:
        assert (await app.explain("cases", ["1"])).incarnation == 2
    assert await world.rows("SELECT name, note FROM cases WHERE id = 1") == [("cora", "m")]


@pytest.mark.parametrize("kind", ["text", "uuid", "date", "bigint", "varchar(40)"])
async def test_keys_of_every_kind_are_merged_in_one_order(make_world: MakeWorld, kind: str) -> None:
    """Case 45: both sides deliver keys in the same byte order, whatever their type."""
    values = {
        "text": ["''", "'a'", "'ab'", "'B'", "'é'", "'z'", "'Y-11-3-4'", "'Y1-01-1-1'", "' '"],
        "uuid": [f"'{n:032x}'" for n in (0, 1, 2**127, 2**128 - 1)],
        "date": ["'0001-01-01'", "'1999-12-31'", "'2024-02-29'", "'9999-12-31'"],
        "bigint": ["-9223372036854775808", "-1", "0", "1", "9223372036854775807"],
        "varchar(40)": ["'x'", "'X'", "'ß'", "'ss'", "'10'", "'9'"],
    }[kind]
    world = await make_world(
        [
            f"CREATE TABLE cases (id {kind} PRIMARY KEY, name text)",
            *(f"INSERT INTO cases VALUES ({value}, 'n')" for value in values),
        ],
        {"cases": CASES},
        limits=Limits(batch_rows=2, writers=1),
    )
    number = len(values)
    assert told(await world.night()) == {"seen": number, "inserted": number}
    assert told(await world.night()) == {"seen": number, "unchanged": number}
    await world.legacy("UPDATE cases SET name = 'm'")
    assert told(await world.night()) == {"seen": number, "updated": number}
    await world.assert_in_step('SELECT id, name FROM cases ORDER BY id::text COLLATE "C"')


async def test_a_key_of_two_parts(make_world: MakeWorld) -> None:
    """The parts of a composite key never run into each other (case 65)."""
    world = await make_world(
        [
            "CREATE TABLE cases (a text, b text, name text, PRIMARY KEY (a, b))",
            "INSERT INTO cases VALUES ('a', 'bc', '1'), ('ab', 'c', '2'), ('', 'abc', '3')",
        ],
        {"cases": Entity(from_="cases", key=("a", "b"), into="public.cases")},
    )
    assert told(await world.night()) == {"seen": 3, "inserted": 3}
    await world.legacy("UPDATE cases SET name = 'x' WHERE a = 'ab'")
    assert told(await world.night()) == {"seen": 3, "updated": 1, "unchanged": 2}
    await world.assert_in_step("SELECT a, b, name FROM cases ORDER BY name")
