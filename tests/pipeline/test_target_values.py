"""What the target makes of a value: triggers, rounding, refusals. Nothing is cut, nothing loops."""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from decimal import Decimal

import pytest

from syncd.config import Entity, Limits
from syncd.flow.model import Ownership
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import entity_of, told

LEGACY = [
    "CREATE TABLE cases (id int PRIMARY KEY, name text, amount numeric(12,4))",
    "INSERT INTO cases VALUES (1, 'anna', 1.2345), (2, 'bert', 2)",
]
UPPER = [
    "CREATE TABLE cases (id int PRIMARY KEY, name text, amount numeric)",
    (
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN NEW.name := upper(NEW.name); RETURN NEW; END$$"
    ),
    "CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON cases FOR EACH ROW EXECUTE FUNCTION shout()",
]


async def test_a_trigger_that_changes_the_value_stops_no_update(make_world: MakeWorld) -> None:
    """Case 66: the target upper-cases names; ownership stays with the source, year after year."""
    world = await make_world(LEGACY, {"cases": CASES}, UPPER)
    await world.night()
    for name in ("berta", "cora", "dora", "emil"):
        await world.legacy(f"UPDATE cases SET name = '{name}' WHERE id = 1")
        assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}
        assert await world.value("SELECT name FROM cases WHERE id = 1") == name.upper()
        assert told(await world.night()) == {"seen": 2, "unchanged": 2}
    assert await world.open_conflicts() == []


async def test_what_a_trigger_made_of_a_column_is_no_edit_when_the_row_goes(
    make_world: MakeWorld,
) -> None:
    """Case 66: a row that differs only by what the trigger did is deleted, not kept."""
    world = await make_world(LEGACY, {"cases": CASES}, UPPER)
    await world.night()
    await world.legacy("DELETE FROM cases WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "deleted": 1, "unchanged": 1}


async def test_a_trigger_may_change_a_column_that_was_not_written(make_world: MakeWorld) -> None:
    """A counter that the target keeps in a mapped column is not taken for staff's."""
    world = await make_world(
        LEGACY,
        {"cases": CASES},
        [
            "CREATE TABLE cases (id int PRIMARY KEY, name text, amount numeric)",
            (
                "CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN NEW.amount := OLD.amount + 1; RETURN NEW; END$$"
            ),
            "CREATE TRIGGER tally BEFORE UPDATE ON cases FOR EACH ROW EXECUTE FUNCTION tally()",
        ],
    )
    await world.night()
    await world.legacy("UPDATE cases SET name = 'B' WHERE id = 1")
    await world.night()
    await world.legacy("UPDATE cases SET amount = 50 WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}
    assert await world.open_conflicts() == []


async def test_a_column_that_the_target_rounds_is_not_written_again(make_world: MakeWorld) -> None:
    """Case 66: numeric(12,4) into numeric(8,2): rounded once, in step ever after."""
    world = await make_world(
        LEGACY,
        {"cases": CASES},
        ["CREATE TABLE cases (id int PRIMARY KEY, name text, amount numeric(8,2))"],
    )
    await world.night()
    assert await world.value("SELECT amount FROM cases WHERE id = 1") == Decimal("1.23")
    writes = await world.updates_of("cases")
    await world.night()
    assert await world.updates_of("cases") == writes
    await world.legacy("UPDATE cases SET amount = 7.0001 WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}
    await world.staff("UPDATE cases SET amount = 9 WHERE id = 1")
    await world.legacy("UPDATE cases SET amount = 8 WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "conflict": 1, "unchanged": 1}


async def test_a_rounded_column_beside_an_open_conflict_is_not_written_each_night(
    make_world: MakeWorld,
) -> None:
    """Case 66: a row that is looked at in every sweep is still written only when it changes."""
    world = await make_world(LEGACY, {"cases": CASES}, [*UPPER])
    await world.night()
    await world.staff("UPDATE cases SET amount = 99 WHERE id = 1")
    await world.legacy("UPDATE cases SET amount = 5 WHERE id = 1")
    await world.night()
    for _ in range(2):
        assert told(await world.night()) == {"seen": 2, "unchanged": 2}


async def test_a_generated_column_is_left_to_the_target(make_world: MakeWorld) -> None:
    """Ownership ``computed``: never written, never compared, the rest flows."""
    world = await make_world(
        LEGACY,
        {
            "cases": Entity(
                from_="cases",
                key=("id",),
                into="public.cases",
                ownership={"amount": Ownership.COMPUTED},
            )
        },
        [
            (
                "CREATE TABLE cases (id int PRIMARY KEY, name text, "
                "amount int GENERATED ALWAYS AS (length(name)) STORED)"
            )
        ],
    )
    assert told(await world.night()) == {"seen": 2, "inserted": 2}
    await world.legacy("UPDATE cases SET name = 'Annabel', amount = 0 WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}
    assert await world.rows("SELECT name, amount FROM cases WHERE id = 1") == [("Annabel", 7)]


async def test_a_computed_column_that_could_be_written_is_not(make_world: MakeWorld) -> None:
    """Ownership ``computed`` holds in the fast first load as well."""
    world = await make_world(
        LEGACY,
        {
            "cases": Entity(
                from_="cases",
                key=("id",),
                into="public.cases",
                ownership={"amount": Ownership.COMPUTED},
            )
        },
        ["CREATE TABLE cases (id int PRIMARY KEY, name text, amount numeric DEFAULT 7)"],
    )
    await world.night()
    assert await world.rows("SELECT DISTINCT amount FROM cases") == [(7,)]


async def test_a_trigger_finds_the_tables_of_its_own_application(make_world: MakeWorld) -> None:
    """The target's triggers name their tables without a schema, and run under our connection."""
    world = await make_world(
        LEGACY,
        {"cases": CASES},
        [
            "CREATE TABLE cases (id int PRIMARY KEY, name text, amount numeric)",
            "CREATE TABLE audit (id int, at timestamptz DEFAULT now())",
            (
                "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN INSERT INTO audit (id) VALUES (NEW.id); RETURN NEW; END$$"
            ),
            "CREATE TRIGGER note AFTER INSERT ON cases FOR EACH ROW EXECUTE FUNCTION note()",
        ],
    )
    assert told(await world.night()) == {"seen": 2, "inserted": 2}
    assert await world.value("SELECT count(*) FROM audit") == 2


async def test_a_table_without_a_schema_is_the_one_in_public(make_world: MakeWorld) -> None:
    """``into: cases`` writes public.cases and makes nothing else."""
    world = await make_world(
        LEGACY,
        {"cases": Entity(from_="cases", key=("id",), into="cases")},
        ["CREATE TABLE public.cases (id int PRIMARY KEY, name text, amount numeric)"],
    )
    await world.night()
    assert await world.value("SELECT count(*) FROM public.cases") == 2


async def test_what_is_too_long_is_refused_and_never_cut(make_world: MakeWorld) -> None:
    """Case 50: failed with its SQLSTATE; the longest that fits is written whole."""
    world = await make_world(
        LEGACY,
        {"cases": CASES},
        ["CREATE TABLE cases (id int PRIMARY KEY, name varchar(5), amount numeric)"],
    )
    await world.legacy("UPDATE cases SET name = '12345' WHERE id = 1")
    await world.legacy("UPDATE cases SET name = '123456' WHERE id = 2")
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "failed": 1}
    assert await world.rows("SELECT id, name FROM cases") == [(1, "12345")]
    outcome, reason = (await world.history("cases", "2"))[0]
    assert (outcome, reason.split(":")[0]) == ("failed", "22001")
    await world.staff("ALTER TABLE cases ALTER name TYPE varchar(6)")
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "unchanged": 1}


@pytest.mark.parametrize(
    ("column", "value", "sqlstate"),
    [
        ("amount smallint", "amount = 99999", "22003"),
        ("amount numeric(4,2)", "amount = 100", "22003"),
        ("amount numeric NOT NULL", "amount = NULL", "23502"),
        ("amount numeric CHECK (amount < 10)", "amount = 11", "23514"),
    ],
)
async def test_a_value_that_the_target_refuses_parks_its_row(
    make_world: MakeWorld, column: str, value: str, sqlstate: str
) -> None:
    """Overflow, NOT NULL and CHECK: failed with the SQLSTATE, the other rows are written."""
    world = await make_world(
        LEGACY,
        {"cases": CASES},
        [f"CREATE TABLE cases (id int PRIMARY KEY, name text, {column})"],
    )
    await world.night()
    await world.legacy(f"UPDATE cases SET {value} WHERE id = 1")
    await world.legacy("UPDATE cases SET name = 'berta' WHERE id = 2")
    night = await world.night()
    assert told(night) == {"seen": 2, "updated": 1, "failed": 1}
    assert night.status == "parked"
    assert (await world.history("cases", "1"))[-1][1].startswith(sqlstate)
    assert await world.value("SELECT name FROM cases WHERE id = 2") == "berta"


@pytest.mark.parametrize("place", [1, 250, 500])
async def test_one_bad_row_does_not_stop_the_499_others(make_world: MakeWorld, place: int) -> None:
    """One batch of 500, one row that the target refuses: it fails alone (bisection)."""
    world = await make_world(
        [
            "CREATE TABLE cases (id int PRIMARY KEY, name text)",
            "INSERT INTO cases SELECT g, 'x' FROM generate_series(1, 500) g",
        ],
        {"cases": CASES},
        [f"CREATE TABLE cases (id int PRIMARY KEY CHECK (id <> {place}), name text)"],
        limits=Limits(batch_rows=500, writers=1),
    )
    assert told(await world.night()) == {"seen": 500, "inserted": 499, "failed": 1}
    assert await world.value("SELECT count(*) FROM cases") == 499
    await world.legacy("UPDATE cases SET name = 'y'")
    assert told(await world.night()) == {"seen": 500, "updated": 499, "failed": 1}


async def test_a_trigger_that_refuses_a_row_parks_that_row(make_world: MakeWorld) -> None:
    """A RAISE of the target's own rules is a refusal like any other."""
    world = await make_world(
        LEGACY,
        {"cases": CASES},
        [
            "CREATE TABLE cases (id int PRIMARY KEY, name text, amount numeric)",
            (
                "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN IF NEW.id = 2 THEN RAISE 'not 2'; END IF; RETURN NEW; END$$"
            ),
            "CREATE TRIGGER guard BEFORE INSERT ON cases FOR EACH ROW EXECUTE FUNCTION guard()",
        ],
    )
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "failed": 1}
    assert (await world.history("cases", "2"))[0][1].startswith("P0001")


async def test_a_trigger_that_swallows_a_row_is_noticed(make_world: MakeWorld) -> None:
    """A BEFORE trigger that returns NULL writes nothing; that is a failure, never "inserted"."""
    world = await make_world(
        LEGACY,
        {"cases": CASES},
        [
            "CREATE TABLE cases (id int PRIMARY KEY, name text, amount numeric)",
            (
                "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END$$"
            ),
            "CREATE TRIGGER swallow BEFORE INSERT ON cases FOR EACH ROW EXECUTE FUNCTION swallow()",
        ],
    )
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "failed": 1}
    assert entity_of(await world.night()).counts.failed == 1


async def test_a_trigger_that_swallows_an_update_parks_that_row(make_world: MakeWorld) -> None:
    """The same for an update: the row fails, the others of its batch are written."""
    world = await make_world(
        LEGACY,
        {"cases": CASES},
        [
            "CREATE TABLE cases (id int PRIMARY KEY, name text, amount numeric)",
            (
                "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END$$"
            ),
            "CREATE TRIGGER swallow BEFORE UPDATE ON cases FOR EACH ROW EXECUTE FUNCTION swallow()",
        ],
    )
    await world.night()
    await world.legacy("UPDATE cases SET name = 'new'")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "failed": 1}


async def test_the_edges_of_values_arrive_unchanged(make_world: MakeWorld) -> None:
    """Cases 55, 57, 61, 62: NULL and '', blanks, control characters, signs, infinities of time."""
    table = (
        "CREATE TABLE edges (id int PRIMARY KEY, t text, n numeric, f float8, d date, "
        "at timestamptz, raw bytea, j jsonb, u uuid, b boolean)"
    )
    world = await make_world(
        [
            table,
            r"""INSERT INTO edges VALUES
            (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
            (2, '', 0, -0.0, '0001-01-01', '0001-01-01Z', '', '{}', gen_random_uuid(), false),
            (3, E' a\tb\nc\\N ', -1.50, 1e-300, '9999-12-31', '9999-12-31 23:59:59.999999Z',
             '\x00ff5c', '{"b": [1, null], "a": "\u00e9"}', gen_random_uuid(), true),
            (4, 'ﬁ é ' || 'e' || chr(769), 1e30, 0.1, '2024-02-29', '2024-10-27 01:30+01',
             '\x0a', '"x"', gen_random_uuid(), NULL)""",
        ],
        {"edges": Entity(from_="edges", key=("id",), into="public.edges")},
        [table],
    )
    assert told(await world.night()) == {"seen": 4, "inserted": 4}
    everything = "SELECT *, f::text, convert_to(t, 'UTF8') FROM edges ORDER BY id"
    await world.assert_in_step(everything)
    async with world.app() as app:
        await app.resync(None, keys=())
    assert told(await world.night()) == {"seen": 4, "unchanged": 4}
    await world.legacy("UPDATE edges SET t = NULL WHERE id = 2", "UPDATE edges SET t='' WHERE id=1")
    assert told(await world.night()) == {"seen": 4, "updated": 2, "unchanged": 2}
    await world.assert_in_step(everything)
