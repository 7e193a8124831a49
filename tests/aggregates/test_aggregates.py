"""Aggregates from end to end: one document, several tables, one transaction."""

# ruff: noqa: S608 - the statements are made of constants and of the tests' own values.

import pytest
from msgspec.structs import replace

from syncd.config import Deletes, Entity, HoldAbove, Limits
from syncd.errors import ConfigError
from syncd.flow.model import Outcome, Ownership
from syncd.targets.aggregate_rows import new_id
from tests.aggregates.conftest import MakeAggregates
from tests.aggregates.world import (
    DOCUMENT,
    ENTITIES,
    GROUP,
    LEGACY,
    REFERRAL,
    TARGET,
    group,
    membership,
    referral,
)
from tests.pipeline.world import MakeDatabase, World, entity_of, make_config, told

TABLES = (
    "referral",
    "referral_reporting_location",
    "referral_status_history",
    "programme_group",
    "programme_group_session_slot",
    "programme_group_membership",
    "data_import_record",
)
SLOTS = "SELECT day_of_week, start_time::text, room FROM programme_group_session_slot ORDER BY 1, 2"
DELETES = Deletes(hold_above=HoldAbove(rows=1000, percent=100))


def only(entity: Entity, **changes: object) -> dict[str, Entity]:
    """One entity alone, with other fields."""
    name = "referral" if entity is REFERRAL else "group"
    return {name: replace(entity, **changes)}


async def versions(world: World) -> list[int]:
    """How many row versions each table has seen."""
    return [await world.updates_of(table) for table in TABLES]


# -- writing -------------------------------------------------------------------------------------


async def test_a_new_aggregate_is_written_with_all_its_parts(
    make_aggregates: MakeAggregates,
) -> None:
    """Root, part with one row, list of rows, and the link, in the first night."""
    world = await make_aggregates(referral(1))
    report = await world.night()
    assert told(report, "referral") == {"seen": 1, Outcome.INSERTED: 1}
    (row,) = await world.rows(DOCUMENT, "r1")
    assert row == (
        *("X000001", "person 1", "open", "North", "Team 1"),
        ["Awaiting assessment by IM"],
    )


async def test_ids_are_those_of_the_source_id(make_aggregates: MakeAggregates) -> None:
    """A UUIDv5 of the type of the link and the source id; parts have theirs of the root's."""
    world = await make_aggregates(referral(1))
    await world.night()
    root = new_id("REFERRAL", "r1")
    assert await world.value("SELECT id::text FROM referral") == root
    location = await world.value("SELECT id::text FROM referral_reporting_location")
    assert location == new_id(root, "location")
    entry = await world.value("SELECT id::text FROM referral_status_history")
    assert entry == new_id(root, "history", "Awaiting assessment", "2026-03-01 00:00:00")


async def test_the_link_carries_both_times(make_aggregates: MakeAggregates) -> None:
    """That of the source as it says it, that of the target as the row was given it."""
    world = await make_aggregates(referral(1), referral(2, source_updated_at=None))
    await world.night()
    rows = await world.rows(
        "SELECT source_id, source_updated_at::text, target_updated_at = r.updated_at "
        "FROM data_import_record d JOIN referral r ON r.id = d.target_id ORDER BY 1"
    )
    assert rows == [("r1", "2026-03-02 03:04:05+00", True), ("r2", None, True)]


async def test_a_second_night_without_a_change_writes_nothing(
    make_aggregates: MakeAggregates,
) -> None:
    """Not a row version in any of the tables."""
    world = await make_aggregates(referral(1), group(1), membership(1, 1, 1))
    await world.night()
    before = await versions(world)
    report = await world.night()
    assert all(told(report, name) == {"seen": 1, "unchanged": 1} for name in ENTITIES)
    assert await versions(world) == before
    assert all(before)


async def test_a_new_time_of_change_alone_is_no_reason_to_write(
    make_aggregates: MakeAggregates,
) -> None:
    """The column that the link carries is never compared."""
    world = await make_aggregates(referral(1))
    await world.night()
    before = await versions(world)
    await world.legacy("UPDATE referral SET source_updated_at = now()")
    assert told(await world.night(), "referral") == {"seen": 1, Outcome.UNCHANGED: 1}
    assert await versions(world) == before


async def test_a_change_writes_the_table_that_it_is_about(make_aggregates: MakeAggregates) -> None:
    """The part alone; the root is only touched, and the link has its new time."""
    world = await make_aggregates(referral(1))
    await world.night()
    before = await versions(world)
    await world.legacy("UPDATE referral SET reporting_team_name = 'Team 2'")
    assert told(await world.night(), "referral") == {"seen": 1, Outcome.UPDATED: 1}
    assert (await world.rows(DOCUMENT, "r1"))[0][4] == "Team 2"
    after = await versions(world)
    moved = [name for name, a, b in zip(TABLES, before, after, strict=True) if a != b]
    assert moved == ["referral", "referral_reporting_location", "data_import_record"]
    assert await world.value(
        "SELECT target_updated_at = r.updated_at FROM data_import_record d, referral r"
    )


async def test_a_part_with_one_row_is_made_when_there_is_something_to_hold(
    make_aggregates: MakeAggregates,
) -> None:
    """No row for nothing but NULL; a column of which the source is silent takes its default."""
    world = await make_aggregates(referral(1, region_name=None, reporting_team_name=None))
    await world.night()
    assert await world.value("SELECT count(*) FROM referral_reporting_location") == 0
    await world.legacy("UPDATE referral SET reporting_team_name = 'Team 3'")
    assert told(await world.night(), "referral") == {"seen": 1, Outcome.UPDATED: 1}
    rows = await world.rows("SELECT region_name, reporting_team FROM referral_reporting_location")
    assert rows == [("UNKNOWN", "Team 3")]


async def test_only_the_rows_of_a_list_that_differ_are_written(
    make_aggregates: MakeAggregates,
) -> None:
    """By the key: what is gone is deleted, what is new inserted, what is equal left alone."""
    slots = (
        '[{"day_of_week": "MONDAY", "start_time": "09:30", "room": "1"}, '
        '{"day_of_week": "FRIDAY", "start_time": "10:00", "room": "2"}, '
        '{"day_of_week": "SUNDAY", "start_time": "11:00", "room": "3"}]'
    )
    world = await make_aggregates(group(1, slots))
    await world.night()
    ids: dict[str, object] = dict(
        await world.rows("SELECT day_of_week, id FROM programme_group_session_slot")
    )
    before = await world.updates_of("programme_group_session_slot")
    changed = slots.replace('"room": "2"', '"room": "9"').replace("SUNDAY", "TUESDAY")
    await world.legacy(f"UPDATE programme_group SET slots = '{changed}'")
    assert told(await world.night(), "group") == {"seen": 1, Outcome.UPDATED: 1}
    assert await world.rows(SLOTS) == [
        ("FRIDAY", "10:00:00", "9"),
        ("MONDAY", "09:30:00", "1"),
        ("TUESDAY", "11:00:00", "3"),
    ]
    assert await world.updates_of("programme_group_session_slot") == before + 3
    now: dict[str, object] = dict(
        await world.rows("SELECT day_of_week, id FROM programme_group_session_slot")
    )
    assert now["MONDAY"] == ids["MONDAY"]
    assert now["FRIDAY"] == ids["FRIDAY"]


async def test_a_list_in_another_order_or_spelling_is_the_same(
    make_aggregates: MakeAggregates,
) -> None:
    """Rows are known by their keys, and fields by their types."""
    slots = (
        '[{"day_of_week": "A", "start_time": "09:30"}, {"day_of_week": "B", "start_time": "1:00"}]'
    )
    slots = slots.replace('"1:00"', '"01:00"')
    world = await make_aggregates(group(1, slots))
    await world.night()
    other = (
        '[{"start_time": "01:00:00.0", "day_of_week": "B", "room": null}, '
        '{"day_of_week": "A", "start_time": "09:30:00"}]'
    )
    await world.legacy(f"UPDATE programme_group SET slots = '{other}'")
    assert told(await world.night(), "group") == {"seen": 1, Outcome.UNCHANGED: 1}


async def test_an_empty_list_and_no_list_are_the_same(make_aggregates: MakeAggregates) -> None:
    """All rows go, and nothing is left to do the night after."""
    world = await make_aggregates(group(1), group(2, "[]"))
    await world.night()
    await world.legacy("UPDATE programme_group SET slots = NULL")
    assert told(await world.night(), "group") == {
        "seen": 2,
        Outcome.UPDATED: 1,
        Outcome.UNCHANGED: 1,
    }
    assert await world.rows(SLOTS) == []
    assert told(await world.night(), "group") == {"seen": 2, Outcome.UNCHANGED: 2}


async def test_a_list_that_cannot_be_read_makes_its_record_invalid(
    make_aggregates: MakeAggregates,
) -> None:
    """And no other."""
    world = await make_aggregates(group(1, '[{"day": "MONDAY"}]'), group(2))
    assert told(await world.night(), "group") == {"seen": 2, "inserted": 1, "invalid": 1}


async def test_a_history_only_grows(make_aggregates: MakeAggregates) -> None:
    """Rows are added whose id is not there; what the source drops or rewrites stays."""
    world = await make_aggregates(referral(1))
    await world.night()
    await world.legacy(
        'UPDATE referral SET history = \'[{"status": "Scheduled", "created_by": "IM"}]\''
    )
    await world.night()
    assert (await world.rows(DOCUMENT, "r1"))[0][5] == [
        "Awaiting assessment by IM",
        "Scheduled by IM",
    ]


# -- what staff do -------------------------------------------------------------------------------


async def test_a_list_that_staff_changed_is_theirs(make_aggregates: MakeAggregates) -> None:
    """As a whole: what the source says later is a conflict, and nothing of it is written."""
    world = await make_aggregates(group(1))
    await world.night()
    await world.staff("UPDATE programme_group_session_slot SET room = 'staff'")
    await world.legacy("UPDATE programme_group SET slots = '[]', code = 'new'")
    assert told(await world.night(), "group") == {"seen": 1, Outcome.CONFLICT: 1}
    assert await world.rows(SLOTS) == [("MONDAY", "09:30:00", "staff")]
    assert [c.column for c in await world.open_conflicts()] == ["slots"]
    assert await world.value("SELECT code FROM programme_group") == "new"


async def frozen(make_aggregates: MakeAggregates, author: str) -> tuple[str, list[str]]:
    """The name after ``author`` made an entry in the history and the source changed the name."""
    owned = only(REFERRAL, ownership={"person_name": Ownership.INITIAL})
    world = await make_aggregates(referral(1), entities=owned)
    await world.night()
    await world.staff(
        "INSERT INTO referral_status_history SELECT gen_random_uuid(), id, 'Scheduled', now(), "
        f"'{author}' FROM referral",
        "UPDATE referral SET updated_at = now()",
    )
    await world.legacy("UPDATE referral SET person_name = 'changed'")
    await world.night()
    (row,) = await world.rows(DOCUMENT, "r1")
    return row[1], row[5]


async def test_what_staff_do_to_a_child_counts_as_an_edit(make_aggregates: MakeAggregates) -> None:
    """With ``initial`` the root's columns are written until then."""
    name, history = await frozen(make_aggregates, "anna")
    assert name == "person 1"
    assert "Scheduled by anna" in history


async def test_what_an_ignored_author_does_to_a_child_is_no_edit(
    make_aggregates: MakeAggregates,
) -> None:
    """Hydration writes a history too, and touches the row."""
    name, history = await frozen(make_aggregates, "SYSTEM")
    assert name == "changed"
    assert "Scheduled by SYSTEM" in history


async def test_a_record_whose_row_staff_deleted_is_not_made_again(
    make_aggregates: MakeAggregates,
) -> None:
    """Root and parts are gone, the link still names the row."""
    world = await make_aggregates(referral(1))
    await world.night()
    await world.staff(
        "DELETE FROM referral_reporting_location",
        "DELETE FROM referral_status_history",
        "DELETE FROM referral",
    )
    await world.legacy("UPDATE referral SET person_name = 'changed'")
    assert told(await world.night(), "referral") == {"seen": 1, Outcome.CONFLICT: 1}
    assert await world.state("referral", "r1") == "tgt_deleted"
    assert await world.value("SELECT count(*) FROM referral") == 0


async def test_a_link_without_a_row_says_that_staff_deleted_it(
    make_aggregates: MakeAggregates,
) -> None:
    """Also where the ledger never knew the record: another importer's work, or a lost ledger."""
    world = await make_aggregates(
        referral(1),
        staff="INSERT INTO data_import_record VALUES (gen_random_uuid(), 'REFERRAL', 'r1', NULL, "
        "gen_random_uuid(), now(), now())",
    )
    assert told(await world.night(), "referral") == {"seen": 1, Outcome.SKIPPED: 1}
    assert await world.state("referral", "r1") == "tgt_deleted"
    assert await world.history("referral", "r1") == [("skipped", "target_deleted")]
    assert await world.value("SELECT count(*) FROM referral") == 0


# -- deletes -------------------------------------------------------------------------------------


async def test_a_deleted_record_takes_its_untouched_document_along(
    make_aggregates: MakeAggregates,
) -> None:
    """Parts first, then the root; the link stays. A return is another row, and linked anew."""
    world = await make_aggregates(referral(1), referral(9), deletes=DELETES)
    await world.night()
    first = await world.value("SELECT target_id FROM data_import_record WHERE source_id = 'r1'")
    await world.legacy("DELETE FROM referral WHERE source_referral_id = 'r1'")
    assert told(await world.night(), "referral") == {"seen": 2, "unchanged": 1, "deleted": 1}
    for table in TABLES[:3]:
        assert await world.value(f"SELECT count(*) FROM {table}") == 1
    assert (
        await world.value("SELECT target_id FROM data_import_record WHERE source_id = 'r1'")
        == first
    )
    await world.legacy(referral(1))
    assert told(await world.night(), "referral") == {"seen": 2, "unchanged": 1, "inserted": 1}
    again = new_id("REFERRAL", "r1", "2")
    assert await world.rows(
        "SELECT target_id::text FROM data_import_record WHERE source_id = 'r1'"
    ) == [(again,)]
    assert len(await world.rows(DOCUMENT, "r1")) == 1


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE referral SET status = 'closed' WHERE crn = 'X000001'",
        (
            "UPDATE referral_reporting_location l SET reporting_team = 'staff' FROM referral r "
            "WHERE r.id = l.referral_id AND crn = 'X000001'"
        ),
        (
            "INSERT INTO referral_status_history "
            "SELECT gen_random_uuid(), id, 's', now(), 'anna' FROM referral WHERE crn = 'X000001'"
        ),
    ],
)
async def test_a_document_that_staff_edited_is_kept(
    make_aggregates: MakeAggregates, edit: str
) -> None:
    """In any of its tables."""
    entities = {
        "referral": replace(
            REFERRAL, transform="tests.aggregates.transforms:whole", columns={"history": "json"}
        )
    }
    world = await make_aggregates(referral(1), referral(9), deletes=DELETES, entities=entities)
    await world.night()
    await world.staff(edit)
    await world.legacy("DELETE FROM referral WHERE source_referral_id = 'r1'")
    assert told(await world.night(), "referral") == {"seen": 2, "unchanged": 1, "conflict": 1}
    assert await world.state("referral", "r1") == "orphan_kept"
    assert len(await world.rows(DOCUMENT, "r1")) == 1


async def test_a_soft_delete_marks_the_root_alone(make_aggregates: MakeAggregates) -> None:
    """Its parts stay; a record that comes back loses the mark and keeps its id."""
    soft = Deletes(policy="soft", column="deleted_at", hold_above=DELETES.hold_above)
    world = await make_aggregates(
        group(1),
        group(9, "[]"),
        entities=only(GROUP, deletes=soft),
        staff="ALTER TABLE programme_group ADD deleted_at timestamp",
    )
    await world.night()
    row = "SELECT id, deleted_at IS NULL FROM programme_group WHERE code = 'G1'"
    ((id_, _),) = await world.rows(row)
    await world.legacy("DELETE FROM programme_group WHERE source_group_id = 1")
    await world.night()
    assert await world.rows(row) == [(id_, False)]
    assert len(await world.rows(SLOTS)) == 1
    await world.legacy(group(1))
    await world.night()
    assert await world.rows(row) == [(id_, True)]


# -- refused, referred to, found -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("person_name", "23514:referral_person_name_check"),
        ("reporting_team_name", "23514:referral_reporting_location_reporting_team_check"),
    ],
)
async def test_a_refused_part_parks_its_aggregate_alone(
    make_aggregates: MakeAggregates, field: str, reason: str
) -> None:
    """The reason names the constraint; nothing of it is written, and all others are."""
    referrals = [referral(n, **({field: "refused"} if n == 3 else {})) for n in range(1, 8)]
    world = await make_aggregates(*referrals)
    assert told(await world.night(), "referral") == {"seen": 7, "inserted": 6, "failed": 1}
    assert await world.history("referral", "r3") == [("failed", reason)]
    for table in ("referral", "referral_reporting_location", "data_import_record"):
        assert await world.value(f"SELECT count(*) FROM {table}") == 6


async def test_a_reference_is_the_id_that_the_parents_link_holds(
    make_aggregates: MakeAggregates,
) -> None:
    """The document holds the parent's source id, and a child waits for its parent."""
    world = await make_aggregates(referral(1), group(1), membership(1, 1, 1), membership(2, 2, 1))
    report = await world.night()
    assert told(report, "membership") == {"seen": 2, "inserted": 1, "waiting": 1}
    rows = await world.rows(
        "SELECT referral_id::text, programme_group_id::text FROM programme_group_membership"
    )
    assert rows == [(new_id("REFERRAL", "r1"), new_id("GROUP", "1"))]
    await world.legacy(referral(2), group(2), "UPDATE membership SET programme_group = 2")
    report = await world.night()
    assert told(report, "membership") == {"seen": 2, "inserted": 1, "updated": 1}
    groups = await world.rows(
        "SELECT DISTINCT programme_group_id::text FROM programme_group_membership"
    )
    assert groups == [(new_id("GROUP", "2"),)]


async def test_a_reference_that_staff_moved_is_theirs(make_aggregates: MakeAggregates) -> None:
    """To a row that no record is linked to as well."""
    world = await make_aggregates(referral(1), group(1), group(2), membership(1, 1, 1))
    await world.night()
    await world.staff(
        "INSERT INTO programme_group VALUES "
        "('00000000-0000-0000-0000-000000000001', 'own', 'South', now())",
        "UPDATE programme_group_membership SET programme_group_id = "
        "'00000000-0000-0000-0000-000000000001'",
    )
    await world.legacy("UPDATE membership SET programme_group = 2")
    assert told(await world.night(), "membership") == {"seen": 1, Outcome.CONFLICT: 1}
    async with world.app() as app:
        view = await app.explain("membership", ("m1",))
    shown = {column.column: column.target for column in view.columns}
    assert shown["programme_group_id"] == "00000000-0000-0000-0000-000000000001"
    assert shown["referral_id"] == "r1"


async def test_a_parent_whose_link_is_lost_is_waited_for(make_aggregates: MakeAggregates) -> None:
    """Never a NULL in its place."""
    world = await make_aggregates(referral(1), group(1))
    await world.night()
    await world.staff("DELETE FROM data_import_record WHERE entity_type = 'GROUP'")
    await world.legacy(membership(1, 1, 1))
    assert told(await world.night(), "membership") == {"seen": 1, Outcome.WAITING: 1}
    assert await world.history("membership", "m1") == [("waiting", "parent:programme_group_id")]


# -- the verbs -----------------------------------------------------------------------------------


async def test_init_makes_nothing_and_says_what_is_missing(make_database: MakeDatabase) -> None:
    """The tables belong to the target's application; validate says the same."""
    world = World(make_config(make_database("legacy"), make_database("target"), only(REFERRAL)))
    await world.legacy(LEGACY)
    await world.staff(
        TARGET,
        "ALTER TABLE referral_reporting_location DROP reporting_team",
        "DROP TABLE referral_status_history",
        "ALTER TABLE data_import_record ALTER target_id TYPE text",
    )
    with pytest.raises(ConfigError) as caught:
        await world.init()
    said = caught.value.message
    assert '"public"."referral_reporting_location" has no column reporting_team (found id' in said
    assert 'the target has no table "public"."referral_status_history"' in said
    assert '"public"."data_import_record" has target_id of type text, expected uuid' in said
    async with world.app() as app:
        checks = await app.validate()
    told_apart = said.removeprefix("entity referral: ").split("; ")
    assert [
        c.message for c in checks if c.subject == "referral" and c.level == "error"
    ] == told_apart
    assert await world.value("SELECT to_regclass('referral_status_history')") is None


async def test_a_part_with_one_row_must_be_unique(make_database: MakeDatabase) -> None:
    """Else a document would be read twice."""
    world = World(make_config(make_database("legacy"), make_database("target"), only(REFERRAL)))
    await world.legacy(LEGACY)
    await world.staff(
        TARGET,
        "ALTER TABLE referral_reporting_location "
        "DROP CONSTRAINT referral_reporting_location_referral_id_key",
    )
    with pytest.raises(ConfigError, match="has no unique index on referral_id"):
        await world.init()


async def test_a_table_that_goes_later_stops_its_entity_alone(
    make_aggregates: MakeAggregates,
) -> None:
    """Drift of the target: the others go on."""
    world = await make_aggregates(referral(1), group(1))
    await world.staff("ALTER TABLE referral_status_history RENAME status TO state")
    report = await world.night()
    assert entity_of(report, "referral").status == "refused"
    assert "has no column status" in entity_of(report, "referral").notes[0]
    assert told(report, "group") == {"seen": 1, Outcome.INSERTED: 1}


async def test_explain_shows_the_row_and_the_columns_of_its_parts(
    make_aggregates: MakeAggregates,
) -> None:
    """With the id that the target knows the record by."""
    world = await make_aggregates(referral(1))
    await world.night()
    async with world.app() as app:
        view = await app.explain("referral", ("r1",))
    assert view.target_id == new_id("REFERRAL", "r1")
    shown = {column.column: column for column in view.columns}
    assert shown["reporting_team_name"].target == "Team 1"
    assert shown["history"].target == (
        '[{"created_by":"IM","start_date":"2026-03-01 00:00:00","status":"Awaiting assessment"}]'
    )
    assert {column.verdict for column in view.columns} == {"in step"}


async def test_verify_compares_documents(make_aggregates: MakeAggregates) -> None:
    """In all tables; what staff made for themselves is not looked at."""
    world = await make_aggregates(referral(1), referral(2), referral(3), group(1))
    await world.night()
    await world.staff(
        "UPDATE referral_reporting_location SET reporting_team = 'x' WHERE referral_id = "
        f"'{new_id('REFERRAL', 'r1')}'",
        "INSERT INTO referral VALUES (gen_random_uuid(), 'own')",
    )
    await world.legacy("UPDATE referral SET crn = 'Y' WHERE source_referral_id = 'r2'")
    async with world.app() as app:
        report = await app.verify(None)
    counts = {kind: rows for kind, rows in report.counts["referral"].items() if rows}
    assert counts == {"equal": 1, "kept": 1, "different": 1}
    assert report.counts["group"]["equal"] == 1
    columns = {m.key: m.columns for m in report.mismatches}
    assert columns == {("r1",): ("reporting_team_name",), ("r2",): ("crn",)}


async def test_many_batches_are_written_by_several_writers(
    make_aggregates: MakeAggregates,
) -> None:
    """Each aggregate once, whichever writer took it."""
    limits = Limits(batch_rows=7, writers=3, retries=3, retry_budget_s=20.0)
    world = await make_aggregates(*[referral(n) for n in range(60)], limits=limits)
    assert told(await world.night(), "referral") == {"seen": 60, Outcome.INSERTED: 60}
    assert told(await world.night(), "referral") == {"seen": 60, Outcome.UNCHANGED: 60}
    for table in TABLES[:3]:
        assert await world.value(f"SELECT count(*) FROM {table}") == 60
