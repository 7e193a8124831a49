"""Every record has exactly one outcome, the sums hold, and history and outbox say the same."""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from collections.abc import Sequence

import pytest

from syncd.config import Entity
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, entity_of, told

TEN = [
    "CREATE TABLE cases (id int PRIMARY KEY, status text, note text)",
    "INSERT INTO cases SELECT g, 'A', 'n' FROM generate_series(1, 10) g",
]
VISITS = Entity(
    from_="visits",
    key=("id",),
    into="public.visits",
    transform="tests.pipeline.transforms:visit",
)


async def ten(make_world: MakeWorld) -> World:
    """Ten records, loaded."""
    world = await make_world(TEN, {"cases": CASES})
    await world.night()
    return world


async def visits(make_world: MakeWorld, kinds: Sequence[str]) -> World:
    """Visits of these kinds, numbered from 1, before the first night."""
    return await make_world(
        [
            "CREATE TABLE visits (id int PRIMARY KEY, kind text)",
            *(f"INSERT INTO visits VALUES ({at}, '{kind}')" for at, kind in enumerate(kinds, 1)),
        ],
        {"visits": VISITS},
        ["CREATE TABLE visits (id int PRIMARY KEY, label varchar(40))"],
    )


async def test_a_quiet_night_reads_nothing_anew_and_writes_nothing(make_world: MakeWorld) -> None:
    """Equal digests are dropped: unchanged, no row of the target is touched."""
    world = await ten(make_world)
    writes = await world.updates_of("cases")
    assert told(await world.night()) == {"seen": 10, "unchanged": 10}
    assert await world.updates_of("cases") == writes


async def test_one_night_with_everything_adds_up(make_world: MakeWorld) -> None:
    """I8: inserted, updated, deleted, conflict, kept and unchanged side by side."""
    world = await ten(make_world)
    await world.legacy(
        "INSERT INTO cases VALUES (11, 'A', 'n'), (12, 'A', 'n')",
        "UPDATE cases SET status = 'B' WHERE id IN (1, 2)",
        "DELETE FROM cases WHERE id IN (3, 4)",
    )
    await world.staff(
        "UPDATE cases SET status = 'X' WHERE id = 2",
        "UPDATE cases SET note = 'typed' WHERE id IN (4, 5)",
        "DELETE FROM cases WHERE id = 6",
    )
    assert told(await world.night()) == {
        "seen": 12,
        "inserted": 2,
        "updated": 1,
        "deleted": 1,
        "conflict": 2,
        "unchanged": 6,
    }
    assert await world.rows("SELECT id, status, note FROM cases ORDER BY id") == [
        (1, "B", "n"),
        (2, "X", "n"),
        (4, "A", "typed"),
        (5, "A", "typed"),
        (7, "A", "n"),
        (8, "A", "n"),
        (9, "A", "n"),
        (10, "A", "n"),
        (11, "A", "n"),
        (12, "A", "n"),
    ]


async def test_a_record_keeps_its_history(make_world: MakeWorld) -> None:
    """Every change of outcome is one line; an unchanged night is none."""
    world = await ten(make_world)
    await world.legacy("UPDATE cases SET status = 'B' WHERE id = 1")
    await world.nights(2)
    await world.staff("UPDATE cases SET status = 'X' WHERE id = 1")
    await world.legacy("UPDATE cases SET status = 'C' WHERE id = 1")
    await world.nights(2)
    await world.legacy("DELETE FROM cases WHERE id = 1")
    await world.nights(2)
    assert [outcome for outcome, _ in await world.history("cases", "1")] == [
        "inserted",
        "updated",
        "conflict",
        "conflict",
    ]


async def test_a_conflict_is_reported_once_per_new_source_value(make_world: MakeWorld) -> None:
    """Five nights, two new source values: two reports of one open conflict."""
    world = await ten(make_world)
    await world.staff("UPDATE cases SET status = 'X' WHERE id = 1")
    reported = []
    for value in ("B", None, None, "C", None):
        if value:
            await world.legacy(f"UPDATE cases SET status = '{value}' WHERE id = 1")
        reported.append(told(await world.night()).get("conflict", 0))
    assert reported == [1, 0, 0, 1, 0]
    assert await world.rows("SELECT status, reported FROM syncd.syncd_conflict") == [("open", 2)]


async def test_a_plan_tells_what_the_run_then_does_and_writes_nothing(
    make_world: MakeWorld,
) -> None:
    """``plan`` and ``run`` agree, and between them neither side has changed."""
    world = await ten(make_world)
    await world.legacy(
        "UPDATE cases SET status = 'B' WHERE id = 1", "INSERT INTO cases VALUES (11, 'A', 'n')"
    )
    before = await world.rows("SELECT * FROM cases ORDER BY id")
    remembered = await world.rows("SELECT * FROM syncd.syncd_fingerprint ORDER BY key")
    async with world.app() as app:
        planned = await app.plan(None, samples=5)
    assert await world.rows("SELECT * FROM cases ORDER BY id") == before
    assert await world.rows("SELECT * FROM syncd.syncd_fingerprint ORDER BY key") == remembered
    samples = {(s.outcome, s.key, s.columns) for s in entity_of(planned).samples}
    assert ("updated", ("1",), ("status",)) in samples
    assert told(planned) == told(await world.night())


async def test_resync_looks_at_every_record_and_writes_none(make_world: MakeWorld) -> None:
    """After ``resync`` each row is fetched and merged again; nothing differs."""
    world = await ten(make_world)
    await world.staff("UPDATE cases SET note = 'typed' WHERE id = 5")
    writes = await world.updates_of("cases")
    async with world.app() as app:
        assert await app.resync(None, keys=()) == 10
    assert told(await world.night()) == {"seen": 10, "unchanged": 10}
    assert await world.updates_of("cases") == writes


async def test_resync_of_one_record_looks_at_that_one(make_world: MakeWorld) -> None:
    """``resync ENTITY --key`` marks one entry."""
    world = await ten(make_world)
    async with world.app() as app:
        assert await app.resync(frozenset({"cases"}), keys=[["7"]]) == 1
    assert told(await world.night()) == {"seen": 10, "unchanged": 10}


async def test_only_the_selected_entity_is_run(make_world: MakeWorld) -> None:
    """``run --select`` leaves the others where they are, and finds their changes later."""
    other = Entity(from_="other", key=("id",), into="public.other")
    world = await make_world(
        [*TEN, "CREATE TABLE other (id int PRIMARY KEY)", "INSERT INTO other VALUES (1)"],
        {"cases": CASES, "other": other},
    )
    night = await world.night("other")
    assert [entity.name for entity in night.entities] == ["other"]
    assert await world.value("SELECT count(*) FROM cases") == 0
    assert told(await world.night(), "cases") == {"seen": 10, "inserted": 10}


async def test_rows_without_a_usable_key_are_invalid_and_told(make_world: MakeWorld) -> None:
    """A NULL key is no record; it is counted, told, and stops nothing."""
    world = await make_world(
        ["CREATE TABLE cases (id int, status text)", "INSERT INTO cases VALUES (NULL,'A'),(2,'A')"],
        {"cases": CASES},
    )
    night = await world.night()
    assert told(night) == {"seen": 2, "inserted": 1, "invalid": 1}
    assert [f.code for f in entity_of(night).findings] == ["null_key"]
    assert told(await world.night()) == {"seen": 2, "unchanged": 1, "invalid": 1}


async def test_a_key_that_occurs_twice_is_written_by_neither(make_world: MakeWorld) -> None:
    """Two rows of one key: both are invalid, what stood stays, and one of them cures it."""
    world = await make_world(
        ["CREATE TABLE cases (id int, status text)", "INSERT INTO cases VALUES (1,'A'),(2,'A')"],
        {"cases": CASES},
    )
    await world.night()
    await world.legacy("INSERT INTO cases VALUES (2, 'B')")
    night = await world.night()
    assert told(night) == {"seen": 3, "unchanged": 1, "invalid": 2}
    assert await world.rows("SELECT * FROM cases ORDER BY id") == [(1, "A"), (2, "A")]
    await world.legacy("DELETE FROM cases WHERE id = 2 AND status = 'A'")
    assert told(await world.night()) == {"seen": 2, "unchanged": 1, "updated": 1}


async def test_a_transform_decides_about_each_record(make_world: MakeWorld) -> None:
    """Skip, an issue that excludes, one that does not, an exception: one outcome each."""
    world = await visits(make_world, ["usual", "test", "bad", "odd", "boom", "unknown", "rekeyed"])
    expected = {"seen": 7, "inserted": 2, "skipped": 1, "invalid": 4}
    async with world.app() as app:
        plan = await app.plan(None, samples=0)
    night = await world.night()
    assert told(night) == told(plan) == expected
    for report in (plan, night):
        assert "warnings: long_ago:label 1" in entity_of(report).notes
    assert await world.rows("SELECT id, label FROM visits ORDER BY id") == [
        (1, "visit 1: usual"),
        (4, "visit 4: odd"),
    ]
    reasons = [(await world.history("visits", str(at)))[0][1] for at in (2, 3, 5, 6, 7)]
    assert reasons == [
        "a test visit",
        "no_prisoner:label",
        "transform_failed:ZeroDivisionError",
        "unknown_column:no_such_column",
        "key_changed_by_transform",
    ]


async def test_a_refused_record_is_tried_each_night_and_told_once(make_world: MakeWorld) -> None:
    """The nightly run is the retry; the same refusal again makes no history."""
    world = await visits(make_world, ["usual", "boom"])
    nights = await world.nights(3)
    assert [told(night).get("invalid") for night in nights] == [1, 1, 1]
    assert len(await world.history("visits", "2")) == 1
    await world.legacy("UPDATE visits SET kind = 'usual' WHERE id = 2")
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "unchanged": 1}


async def test_a_record_that_becomes_bad_stays_as_it_was(make_world: MakeWorld) -> None:
    """An invalid change of a live record writes nothing and counts the record as present."""
    world = await visits(make_world, ["usual", "usual"])
    await world.night()
    await world.legacy("UPDATE visits SET kind = 'bad' WHERE id = 2")
    assert told(await world.night()) == {"seen": 2, "unchanged": 1, "invalid": 1}
    assert await world.value("SELECT label FROM visits WHERE id = 2") == "visit 2: usual"
    await world.legacy("UPDATE visits SET kind = 'usual' WHERE id = 2")
    assert told(await world.night()) == {"seen": 2, "unchanged": 2}


async def test_an_event_stands_in_the_outbox_for_each_applied_change(
    make_world: MakeWorld,
) -> None:
    """I6, case 83: inserted, updated and deleted give an event each; a conflict gives none."""
    event = Entity(from_="cases", key=("id",), into="public.cases", event="case.changed")
    world = await make_world(TEN, {"cases": event})
    first = await world.night()
    await world.staff("UPDATE cases SET status = 'X' WHERE id = 2")
    await world.legacy(
        "UPDATE cases SET status = 'B' WHERE id IN (1, 2)", "DELETE FROM cases WHERE id = 3"
    )
    second = await world.night()
    third = await world.night()
    found = await world.rows(
        "SELECT run_id, outcome, count(*), bool_and(type = 'case.changed') "
        "FROM syncd.syncd_outbox GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert found == [
        (first.run_id, "inserted", 10, True),
        (second.run_id, "deleted", 1, True),
        (second.run_id, "updated", 1, True),
    ]
    assert told(third) == {"seen": 9, "unchanged": 9}


async def test_a_refused_row_leaves_neither_event_nor_history_of_a_write(
    make_world: MakeWorld,
) -> None:
    """I6: the outbox row of a write that was rolled back is not there either."""
    event = Entity(from_="cases", key=("id",), into="public.cases", event="case.changed")
    world = await make_world(
        TEN,
        {"cases": event},
        ["CREATE TABLE cases (id int PRIMARY KEY CHECK (id <> 7), status text, note text)"],
    )
    assert told(await world.night()) == {"seen": 10, "inserted": 9, "failed": 1}
    assert await world.value("SELECT count(*) FROM syncd.syncd_outbox") == 9
    assert await world.history("cases", "7") == [("failed", "23514:cases_id_check")]


@pytest.mark.parametrize("prepared", [True, False])
async def test_a_pooling_proxy_is_served_without_prepared_statements(
    make_world: MakeWorld, *, prepared: bool
) -> None:
    """Case 18: ``prepared_statements: false`` does the same work, settings and all."""
    world = await make_world(
        [
            "CREATE TABLE cases (id int PRIMARY KEY, at timestamptz, amount numeric, raw bytea)",
            r"INSERT INTO cases VALUES (1, '2024-06-01 12:00+02', 1.50, '\x00ff')",
        ],
        {"cases": CASES},
        prepared_statements=prepared,
    )
    assert told(await world.night()) == {"seen": 1, "inserted": 1}
    await world.legacy("UPDATE cases SET amount = 2")
    assert told(await world.night()) == {"seen": 1, "updated": 1}
    await world.assert_in_step("SELECT id, at, amount, raw FROM cases")
