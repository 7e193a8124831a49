"""Schemas change under a running pipeline (cases 49 and 78): what stops, what goes on.

Drift stops the entity that it touches, and nothing else; its memory and its rows stay as they
were, and it catches up once the schema is what it was, or was accepted.
"""

from typing import Final

import pytest

from syncd.config import Entity, Need
from tests.pipeline.conftest import MakeWorld
from tests.pipeline.world import World, entity_of, told

LEGACY: Final = [
    (
        "CREATE TABLE cases (id int PRIMARY KEY, name varchar(20), amount numeric(10,2), "
        "at timestamp, spare text)"
    ),
    "INSERT INTO cases SELECT g, 'n' || g, g, '2024-01-01', 's' FROM generate_series(1, 5) g",
    "CREATE TABLE others (id int PRIMARY KEY, name text)",
    "INSERT INTO others SELECT g, 'n' FROM generate_series(1, 5) g",
]
TARGET: Final = [
    (
        "CREATE TABLE cases (id int PRIMARY KEY, name varchar(20), amount numeric(10,2), "
        "at timestamp, own text DEFAULT 'staff')"
    ),
    "CREATE TABLE others (id int PRIMARY KEY, name text)",
]
ENTITIES: Final = {
    "cases": Entity(
        from_="cases", key=("id",), into="public.cases", only=("id", "name", "amount", "at")
    ),
    "others": Entity(from_="others", key=("id",), into="public.others"),
}
CHANGES: Final = (
    "UPDATE others SET name = 'changed' WHERE id = 1",
    "DELETE FROM others WHERE id = 2",
)
# What is undone by what.
STOPS_AT_THE_SOURCE: Final = {
    "dropped": (
        "ALTER TABLE cases DROP COLUMN amount",
        "ALTER TABLE cases ADD COLUMN amount numeric(10,2); UPDATE cases SET amount = id",
    ),
    "renamed": (
        "ALTER TABLE cases RENAME COLUMN name TO label",
        "ALTER TABLE cases RENAME COLUMN label TO name",
    ),
    "number to text": (
        "ALTER TABLE cases ALTER amount TYPE text",
        "ALTER TABLE cases ALTER amount TYPE numeric(10,2) USING amount::numeric",
    ),
    "other scale": (
        "ALTER TABLE cases ALTER amount TYPE numeric(10,3)",
        "ALTER TABLE cases ALTER amount TYPE numeric(10,2)",
    ),
    "with time zone": (
        "ALTER TABLE cases ALTER at TYPE timestamptz",
        "ALTER TABLE cases ALTER at TYPE timestamp",
    ),
    "table renamed": ("ALTER TABLE cases RENAME TO kases", "ALTER TABLE kases RENAME TO cases"),
    "key to text": (
        "ALTER TABLE cases ALTER id TYPE text",
        "ALTER TABLE cases ALTER id TYPE int USING id::int",
    ),
}
GOES_ON_AT_THE_SOURCE: Final = {
    "column added": "ALTER TABLE cases ADD COLUMN extra text DEFAULT 'x'",
    "unmapped column dropped": "ALTER TABLE cases DROP COLUMN spare",
    "widened": "ALTER TABLE cases ALTER name TYPE varchar(200)",
    "varchar to text": "ALTER TABLE cases ALTER name TYPE text",
    "int to bigint": "ALTER TABLE cases ALTER id TYPE bigint",
    "not null": "ALTER TABLE cases ALTER name SET NOT NULL",
    "default": "ALTER TABLE cases ALTER name SET DEFAULT 'new'",
    "no primary key": "ALTER TABLE cases DROP CONSTRAINT cases_pkey",
    "columns in another order": "ALTER TABLE cases RENAME TO old; CREATE TABLE cases AS "
    "SELECT at, amount, name, id, spare FROM old",
}
STOPS_AT_THE_TARGET: Final = {
    "dropped": (
        "ALTER TABLE cases DROP COLUMN amount",
        "ALTER TABLE cases ADD COLUMN amount numeric(10,2); UPDATE cases SET amount = id",
    ),
    "renamed": (
        "ALTER TABLE cases RENAME COLUMN name TO label",
        "ALTER TABLE cases RENAME COLUMN label TO name",
    ),
    "table renamed": ("ALTER TABLE cases RENAME TO kases", "ALTER TABLE kases RENAME TO cases"),
    "generated": (
        (
            "ALTER TABLE cases DROP COLUMN name; "
            "ALTER TABLE cases ADD COLUMN name text GENERATED ALWAYS AS ('n' || id::text) STORED"
        ),
        "ALTER TABLE cases ALTER COLUMN name DROP EXPRESSION",
    ),
    "moved to another schema": (
        "CREATE SCHEMA attic; ALTER TABLE cases SET SCHEMA attic",
        "ALTER TABLE attic.cases SET SCHEMA public",
    ),
}
GOES_ON_AT_THE_TARGET: Final = {
    "column added": "ALTER TABLE cases ADD COLUMN extra text DEFAULT 'x'",
    "unmapped column dropped": "ALTER TABLE cases DROP COLUMN own",
    "widened": "ALTER TABLE cases ALTER name TYPE text",
    "int to bigint": "ALTER TABLE cases ALTER id TYPE bigint",
    "more decimals": "ALTER TABLE cases ALTER amount TYPE numeric(12,4)",
    "no primary key": "ALTER TABLE cases DROP CONSTRAINT cases_pkey",
    "index": "CREATE INDEX ON cases (name)",
}


def by_name(table: dict[str, object]) -> pytest.MarkDecorator:
    """One test for each statement, under its name."""
    return pytest.mark.parametrize("ddl", table.values(), ids=table.keys())


async def loaded(make_world: MakeWorld) -> World:
    """Both entities in step, and then work at the legacy system."""
    world = await make_world(LEGACY, ENTITIES, TARGET)
    await world.night()
    await world.legacy(*CHANGES)
    return world


async def memory_of(world: World, entity: str) -> object:
    """Everything that the ledger remembers of an entity's records."""
    return await world.rows(
        "SELECT f.* FROM syncd.syncd_fingerprint f JOIN syncd.syncd_entity e USING (entity_id) "
        "WHERE e.name = $1 ORDER BY key",
        entity,
    )


async def assert_only_cases_stops(world: World) -> None:
    """The entity is refused with its memory untouched; the other one does its work."""
    memory = await memory_of(world, "cases")
    night = await world.night()
    stopped = entity_of(night, "cases")
    assert stopped.status == "refused", stopped
    assert stopped.notes
    assert stopped.counts.seen == 0
    assert night.status == "failed"
    assert await memory_of(world, "cases") == memory
    assert told(night, "others") == {"seen": 5, "updated": 1, "deleted": 1, "unchanged": 3}


@by_name(dict(STOPS_AT_THE_SOURCE))
async def test_drift_at_the_source_stops_that_entity(
    make_world: MakeWorld, ddl: tuple[str, str]
) -> None:
    """Case 49: refused, fingerprints untouched, nothing deleted; undone, it catches up."""
    world = await loaded(make_world)
    before = await world.rows("SELECT * FROM cases ORDER BY id")
    await world.legacy(ddl[0])
    await assert_only_cases_stops(world)
    assert await world.rows("SELECT * FROM cases ORDER BY id") == before
    await world.legacy(ddl[1], "UPDATE cases SET name = 'late' WHERE id = 3")
    assert told(await world.night(), "cases") == {"seen": 5, "updated": 1, "unchanged": 4}


@by_name(dict(GOES_ON_AT_THE_SOURCE))
async def test_a_harmless_change_at_the_source_stops_nothing(
    make_world: MakeWorld, ddl: str
) -> None:
    """Case 49: not a row is written because of it, and changes go on to arrive."""
    world = await loaded(make_world)
    await world.legacy(ddl)
    writes = await world.updates_of("cases")
    assert told(await world.night(), "cases") == {"seen": 5, "unchanged": 5}
    assert await world.updates_of("cases") == writes
    await world.legacy("UPDATE cases SET name = 'late' WHERE id = 3")
    assert told(await world.night(), "cases") == {"seen": 5, "updated": 1, "unchanged": 4}


@by_name(dict(STOPS_AT_THE_TARGET))
async def test_drift_at_the_target_stops_that_entity(
    make_world: MakeWorld, ddl: tuple[str, str]
) -> None:
    """Case 78: a column or table that is gone or cannot be written pauses its entity only."""
    world = await loaded(make_world)
    await world.staff(ddl[0])
    await assert_only_cases_stops(world)
    await world.staff(ddl[1])
    await world.legacy("UPDATE cases SET name = 'late' WHERE id = 3")
    assert told(await world.night(), "cases") == {"seen": 5, "updated": 1, "unchanged": 4}


@by_name(dict(GOES_ON_AT_THE_TARGET))
async def test_a_harmless_change_at_the_target_stops_nothing(
    make_world: MakeWorld, ddl: str
) -> None:
    """Case 78: migrations that leave the mapped columns alone are not noticed."""
    world = await loaded(make_world)
    await world.staff(ddl)
    assert told(await world.night(), "cases") == {"seen": 5, "unchanged": 5}
    await world.legacy("UPDATE cases SET name = 'late' WHERE id = 3")
    assert told(await world.night(), "cases") == {"seen": 5, "updated": 1, "unchanged": 4}
    assert await world.value("SELECT name FROM cases WHERE id = 3") == "late"


async def test_a_new_column_at_the_source_is_told_until_it_is_accepted(
    make_world: MakeWorld,
) -> None:
    """Case 49: told, not guessed; ``init --accept-schema`` takes it and fills it in one night."""
    world = await make_world(LEGACY, {"others": ENTITIES["others"]}, TARGET)
    await world.night()
    await world.legacy("ALTER TABLE others ADD COLUMN town text DEFAULT 'York'")
    night = await world.night()
    assert told(night) == {"seen": 5, "unchanged": 5}
    assert "new columns at the source are not mapped: town" in entity_of(night).notes[0]
    await world.init("others")
    assert told(await world.night()) == {"seen": 5, "updated": 5}
    assert await world.rows("SELECT DISTINCT town FROM others") == [("York",)]


async def test_a_column_that_was_accepted_as_gone_keeps_its_values(make_world: MakeWorld) -> None:
    """Case 49: after ``--accept-schema`` the target's column stays, others flow."""
    world = await make_world(LEGACY, {"others": ENTITIES["others"]}, TARGET)
    await world.night()
    await world.legacy("ALTER TABLE others RENAME COLUMN name TO label")
    assert entity_of(await world.night()).status == "refused"
    await world.init("others")
    await world.night()
    assert await world.rows("SELECT DISTINCT name, label FROM others") == [("n", "n")]
    await world.legacy("UPDATE others SET label = 'm' WHERE id = 1")
    assert told(await world.night()) == {"seen": 5, "updated": 1, "unchanged": 4}
    assert await world.rows("SELECT name, label FROM others WHERE id = 1") == [("n", "m")]


async def test_a_narrower_target_refuses_only_what_does_not_fit(make_world: MakeWorld) -> None:
    """Cases 50 and 78: the target's column shrank: rows that fit are written, others fail."""
    world = await loaded(make_world)
    await world.staff("ALTER TABLE cases ALTER name TYPE varchar(3)")
    await world.legacy(
        "UPDATE cases SET name = 'abc' WHERE id = 1", "UPDATE cases SET name = 'abcd' WHERE id = 2"
    )
    assert told(await world.night(), "cases") == {
        "seen": 5,
        "updated": 1,
        "failed": 1,
        "unchanged": 3,
    }
    assert await world.rows("SELECT name FROM cases WHERE id < 3 ORDER BY id") == [
        ("abc",),
        ("n2",),
    ]


async def test_a_parent_that_stops_stops_the_children_that_look_it_up(
    make_world: MakeWorld,
) -> None:
    """A child whose parents cannot be read is refused too; a bystander is not."""
    world = await make_world(
        [
            "CREATE TABLE parents (id int PRIMARY KEY, name text)",
            "CREATE TABLE children (id int PRIMARY KEY, parent int)",
            "CREATE TABLE others (id int PRIMARY KEY, name text)",
            "INSERT INTO parents VALUES (1, 'n')",
            "INSERT INTO children VALUES (1, 1)",
            "INSERT INTO others VALUES (1, 'n')",
        ],
        {
            "parents": Entity(from_="parents", key=("id",), into="public.parents"),
            "children": Entity(
                from_="children",
                key=("id",),
                into="public.children",
                needs={"parents": Need(columns=("parent",))},
            ),
            "others": ENTITIES["others"],
        },
    )
    await world.night()
    await world.staff("ALTER TABLE parents DROP COLUMN name")
    night = await world.night()
    statuses = {entity.name: entity.status for entity in night.entities}
    assert statuses == {"parents": "refused", "children": "refused", "others": "completed"}
