"""What the absence of a record means: evidence, the guard, approval as a ceiling, the policies."""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

import anyio
import pytest

from syncd import failpoints
from syncd.config import Deletes, Entity, HoldAbove, Need
from syncd.errors import PermanentError
from syncd.progress import Silent
from syncd.reports import RunReport
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, entity_of, told

TIGHT = Deletes(hold_above=HoldAbove(rows=2, percent=10))


async def filled(make_world: MakeWorld, rows: int, deletes: Deletes | None = None) -> World:
    """An entity of that many records, loaded."""
    world = await make_world(
        [
            "CREATE TABLE cases (id int PRIMARY KEY, name text)",
            f"INSERT INTO cases SELECT g, 'n' || g FROM generate_series(1, {rows}) g",
        ],
        {"cases": CASES},
        deletes=deletes or Deletes(),
    )
    await world.night()
    return world


async def count(world: World) -> int:
    """Rows of the target."""
    found = await world.value("SELECT count(*) FROM cases")
    assert isinstance(found, int)
    return found


async def approve(world: World, plan: str | None = None) -> RunReport:
    """``syncd deletes approve cases``."""
    async with world.app() as app:
        report = await app.approve("cases", plan_hash=plan, progress=Silent())
    assert isinstance(report, RunReport)
    await world.assert_sums(report)
    return report


@pytest.mark.parametrize(
    ("rows", "gone", "held"),
    [(1000, 50, 0), (1000, 51, 51), (10_200, 51, 0), (10_200, 52, 52), (60, 50, 0), (60, 51, 51)],
)
async def test_deletes_are_held_beyond_both_bounds(
    make_world: MakeWorld, rows: int, gone: int, held: int
) -> None:
    """I10, case 39: more than 50 rows *and* more than 0.5 %; at the bound nothing is held."""
    world = await filled(make_world, rows)
    await world.legacy(f"DELETE FROM cases WHERE id <= {gone}")
    night = await world.night()
    assert entity_of(night).counts.held == held
    assert entity_of(night).counts.deleted == gone - held
    assert night.status == ("held" if held else "completed")
    assert await count(world) == rows - gone + held


async def test_while_deletes_are_held_everything_else_flows(make_world: MakeWorld) -> None:
    """Inserts and updates of the same entity are not stopped by held deletes."""
    world = await filled(make_world, 20, TIGHT)
    await world.legacy(
        "DELETE FROM cases WHERE id <= 5",
        "UPDATE cases SET name = 'new' WHERE id = 20",
        "INSERT INTO cases VALUES (21, 'n')",
    )
    assert told(await world.night()) == {
        "seen": 21,
        "inserted": 1,
        "updated": 1,
        "held": 5,
        "unchanged": 14,
    }


async def test_held_deletes_are_listed_with_their_reason(make_world: MakeWorld) -> None:
    """``deletes list`` names rows, bounds and the hash that an approval takes."""
    world = await filled(make_world, 20, TIGHT)
    await world.legacy("DELETE FROM cases WHERE id <= 5")
    await world.night()
    async with world.app() as app:
        (held,) = await app.held(None)
    assert (held.rows, held.entity_rows, held.keys[0]) == (5, 20, ("1",))
    assert "5 of 20 records are missing, more than 2 and more than 10 %" in held.reason


async def test_rows_that_come_back_are_held_no_more(make_world: MakeWorld) -> None:
    """A dump that was cut off and is whole again leaves nothing behind."""
    world = await filled(make_world, 20, TIGHT)
    await world.legacy("CREATE TABLE kept AS SELECT * FROM cases", "DELETE FROM cases WHERE id < 9")
    await world.night()
    await world.legacy("INSERT INTO cases SELECT * FROM kept WHERE id < 9")
    assert told(await world.night()) == {"seen": 20, "unchanged": 20}
    async with world.app() as app:
        assert await app.held(None) == []


async def test_an_empty_entity_never_deletes(make_world: MakeWorld) -> None:
    """Case 42: no row at all is no evidence, not even with an approval."""
    world = await filled(make_world, 3, Deletes(hold_above=HoldAbove(rows=1000, percent=100)))
    await world.legacy("TRUNCATE cases")
    assert told(await world.night()) == {"seen": 3, "held": 3}
    assert told(await approve(world)) == {"seen": 3, "held": 3}
    assert await count(world) == 3


async def test_a_table_that_was_swapped_for_an_empty_one_never_deletes(
    make_world: MakeWorld,
) -> None:
    """Cases 40 and 42: a rebuild caught in the middle."""
    world = await filled(make_world, 3)
    await world.legacy("ALTER TABLE cases RENAME TO old", "CREATE TABLE cases (LIKE old)")
    assert told(await world.night()) == {"seen": 3, "held": 3}
    assert await count(world) == 3


async def test_an_approval_lets_exactly_the_held_rows_go(make_world: MakeWorld) -> None:
    """``deletes approve`` runs at once and deletes what was held."""
    world = await filled(make_world, 20, TIGHT)
    await world.legacy("DELETE FROM cases WHERE id <= 5")
    await world.night()
    report = await approve(world)
    assert told(report) == {"seen": 20, "deleted": 5, "unchanged": 15}
    assert report.status == "completed"
    assert await count(world) == 15


async def test_an_approval_is_a_ceiling(make_world: MakeWorld) -> None:
    """More rows vanish after the list was shown: those are judged by themselves, and held."""
    world = await filled(make_world, 20, TIGHT)
    await world.legacy("DELETE FROM cases WHERE id <= 5")
    await world.night()
    await world.legacy("DELETE FROM cases WHERE id BETWEEN 6 AND 10")
    report = await approve(world)
    assert told(report) == {"seen": 20, "deleted": 5, "held": 5, "unchanged": 10}
    assert await world.rows("SELECT min(id), count(*) FROM cases") == [(6, 15)]


async def test_an_approval_does_not_delete_what_came_back(make_world: MakeWorld) -> None:
    """The diff is made anew: an approved row that is there again stays."""
    world = await filled(make_world, 20, TIGHT)
    await world.legacy("DELETE FROM cases WHERE id <= 5")
    await world.night()
    await world.legacy("INSERT INTO cases VALUES (3, 'n3')")
    assert told(await approve(world)) == {"seen": 20, "deleted": 4, "unchanged": 16}
    assert await world.value("SELECT name FROM cases WHERE id = 3") == "n3"


async def test_an_approval_of_another_plan_is_refused(make_world: MakeWorld) -> None:
    """The hash names what the operator saw; when it is another set nothing is decided."""
    world = await filled(make_world, 20, TIGHT)
    await world.legacy("DELETE FROM cases WHERE id <= 5")
    await world.night()
    async with world.app() as app:
        seen = (await app.held(None))[0].plan
    await world.legacy("DELETE FROM cases WHERE id = 6")
    await world.night()
    with pytest.raises(PermanentError, match="nothing was decided"):
        await approve(world, seen)
    assert await count(world) == 20


async def test_an_approved_row_that_staff_edited_is_kept(make_world: MakeWorld) -> None:
    """I2: an approval is about absence; the merge still protects what staff typed."""
    world = await filled(make_world, 20, TIGHT)
    await world.legacy("DELETE FROM cases WHERE id <= 5")
    await world.night()
    await world.staff("UPDATE cases SET name = 'typed' WHERE id = 2")
    assert told(await approve(world)) == {"seen": 20, "deleted": 4, "conflict": 1, "unchanged": 15}
    assert await world.value("SELECT name FROM cases WHERE id = 2") == "typed"


async def test_rejected_deletes_stay_and_do_not_grow_the_next_count(
    make_world: MakeWorld,
) -> None:
    """``deletes reject``: the rows stay, nobody is asked again, two further absences may go."""
    world = await filled(make_world, 20, TIGHT)
    await world.legacy("DELETE FROM cases WHERE id <= 5")
    await world.night()
    async with world.app() as app:
        assert await app.reject("cases", plan_hash=None) == 5
    await world.legacy("DELETE FROM cases WHERE id IN (6, 7)")
    night = await world.night()
    assert told(night) == {"seen": 20, "deleted": 2, "skipped": 5, "unchanged": 13}
    assert night.status == "completed"
    assert await world.rows("SELECT min(id), count(*) FROM cases") == [(1, 18)]
    assert told(await world.night()) == {"seen": 18, "skipped": 5, "unchanged": 13}


async def test_soft_deletes_mark_and_a_return_unmarks(make_world: MakeWorld) -> None:
    """Policy ``soft``: the row stays with its time, and comes back without it."""
    world = await filled(make_world, 20, Deletes(policy="soft", column="gone_at"))
    await world.legacy("DELETE FROM cases WHERE id = 1")
    assert told(await world.night()) == {"seen": 20, "deleted": 1, "unchanged": 19}
    marked = "SELECT id FROM cases WHERE gone_at IS NOT NULL"
    assert await world.rows(marked) == [(1,)]
    assert told(await world.night()) == {"seen": 19, "unchanged": 19}
    await world.legacy("INSERT INTO cases VALUES (1, 'again')")
    await world.night()
    assert await world.rows(marked) == []
    assert await world.value("SELECT name FROM cases WHERE id = 1") == "again"
    assert await count(world) == 20


async def test_a_soft_deleted_row_that_returns_as_it_was_is_an_update(
    make_world: MakeWorld,
) -> None:
    """It is written to lose its mark: counted, and a line of its history says why."""
    world = await filled(make_world, 20, Deletes(policy="soft", column="gone_at"))
    name = await world.value("SELECT name FROM cases WHERE id = 1")
    await world.legacy("DELETE FROM cases WHERE id = 1")
    await world.night()
    await world.legacy(f"INSERT INTO cases VALUES (1, '{name}')")
    assert told(await world.night()) == {"seen": 20, "updated": 1, "unchanged": 19}
    assert await world.rows("SELECT id FROM cases WHERE gone_at IS NOT NULL") == []
    history = "SELECT outcome, reason FROM syncd.syncd_import_record ORDER BY import_id"
    assert await world.rows(history) == [("deleted", ""), ("updated", "returned")]
    assert told(await world.night()) == {"seen": 20, "unchanged": 20}


async def test_soft_deletes_obey_the_guard(make_world: MakeWorld) -> None:
    """A soft delete is a delete: beyond the bounds it is held."""
    soft = Deletes(policy="soft", column="gone_at", hold_above=HoldAbove(rows=2, percent=10))
    world = await filled(make_world, 20, soft)
    await world.legacy("DELETE FROM cases WHERE id <= 5")
    assert told(await world.night()) == {"seen": 20, "held": 5, "unchanged": 15}
    assert await world.value("SELECT count(gone_at) FROM cases") == 0


async def test_reported_deletes_are_told_and_nothing_else(make_world: MakeWorld) -> None:
    """Policy ``report``: skipped each night, told in the notes, the row stays."""
    world = await filled(make_world, 20, Deletes(policy="report"))
    await world.legacy("DELETE FROM cases WHERE id = 1")
    for night in await world.nights(2):
        assert told(night) == {"seen": 20, "skipped": 1, "unchanged": 19}
        assert entity_of(night).notes == ("1 records are gone at the source",)
    assert await count(world) == 20
    async with world.app() as app:
        verified = await app.verify(None)
    found = verified.counts["cases"]
    assert {kind: n for kind, n in found.items() if n} == {"equal": 19, "kept": 1}


async def test_confirm_runs_2_deletes_on_the_second_night(make_world: MakeWorld) -> None:
    """Case 39: absent from two consecutive complete reads."""
    world = await filled(make_world, 20, Deletes(confirm_runs=2))
    await world.legacy("DELETE FROM cases WHERE id = 1")
    first, second, third = await world.nights(3)
    assert told(first) == {"seen": 20, "held": 1, "unchanged": 19}
    assert told(second) == {"seen": 20, "deleted": 1, "unchanged": 19}
    assert told(third) == {"seen": 19, "unchanged": 19}


async def test_confirm_runs_counts_consecutive_nights_only(make_world: MakeWorld) -> None:
    """A record that was back in between begins anew."""
    world = await filled(make_world, 20, Deletes(confirm_runs=2))
    await world.legacy("DELETE FROM cases WHERE id = 1")
    await world.night()
    await world.legacy("INSERT INTO cases VALUES (1, 'n1')")
    await world.night()
    await world.legacy("DELETE FROM cases WHERE id = 1")
    assert told(await world.night()) == {"seen": 20, "held": 1, "unchanged": 19}
    assert await count(world) == 20


async def cut_off(world: World) -> None:
    """A night that ends when it has read everything, and before it judges what is missing."""
    with (
        anyio.CancelScope() as scope,
        failpoints.armed("entity.remove=cancel", cancel=scope.cancel),
    ):
        await world.night()
    assert scope.cancelled_caught


async def test_a_night_that_is_cut_off_does_not_confirm_an_absence(make_world: MakeWorld) -> None:
    """It is no complete read: what it did not find is missed for the first time by the next."""
    world = await filled(make_world, 20, Deletes(confirm_runs=2))
    await world.legacy("DELETE FROM cases WHERE id = 1")
    await cut_off(world)
    nights = await world.nights(2)
    assert [entity_of(night).counts.deleted for night in nights] == [0, 1]


async def test_a_night_that_is_cut_off_does_not_refute_an_absence(make_world: MakeWorld) -> None:
    """Nor refute it, where it saw the record as it was: only complete reads are counted."""
    world = await filled(make_world, 20, Deletes(confirm_runs=2))
    await world.legacy("DELETE FROM cases WHERE id = 1")
    assert entity_of(await world.night()).counts.held == 1
    await world.legacy("INSERT INTO cases VALUES (1, 'n1')")
    await cut_off(world)
    await world.legacy("DELETE FROM cases WHERE id = 1")
    assert entity_of(await world.night()).counts.deleted == 1


async def test_failed_and_waiting_records_count_as_present(make_world: MakeWorld) -> None:
    """I10: a record that is parked has not vanished, however often the survey looks."""
    world = await make_world(
        [
            "CREATE TABLE parents (id int PRIMARY KEY)",
            "CREATE TABLE cases (id int PRIMARY KEY, name text, parent int)",
            "INSERT INTO parents VALUES (1)",
            "INSERT INTO cases SELECT g, 'n', 1 FROM generate_series(1, 6) g",
        ],
        {
            "parents": Entity(from_="parents", key=("id",), into="public.parents"),
            "cases": Entity(
                from_="cases",
                key=("id",),
                into="public.cases",
                needs={"parents": Need(columns=("parent",))},
            ),
        },
        ["CREATE TABLE cases (id int PRIMARY KEY, name varchar(3), parent int)"],
    )
    await world.night()
    await world.legacy(
        "UPDATE cases SET name = 'too long' WHERE id IN (1, 2)",
        "UPDATE cases SET parent = 99 WHERE id IN (3, 4)",
    )
    for _ in range(2):
        night = await world.night()
        assert told(night, "cases") == {"seen": 6, "failed": 2, "waiting": 2, "unchanged": 2}
    assert await count(world) == 6


async def test_a_record_that_failed_and_then_vanishes_is_a_tombstone(
    make_world: MakeWorld,
) -> None:
    """Never written, gone at the source: nothing to delete, and no error."""
    world = await make_world(
        ["CREATE TABLE cases (id int PRIMARY KEY, name text)", "INSERT INTO cases VALUES (1,'n')"],
        {"cases": CASES},
        ["CREATE TABLE cases (id int PRIMARY KEY, name varchar(3))"],
    )
    await world.legacy("INSERT INTO cases VALUES (2, 'too long')")
    assert told(await world.night()) == {"seen": 2, "inserted": 1, "failed": 1}
    await world.legacy("DELETE FROM cases WHERE id = 2")
    assert told(await world.night()) == {"seen": 2, "unchanged": 2}
    assert told(await world.night()) == {"seen": 1, "unchanged": 1}
    assert await world.state("cases", "2") == "src_deleted"


async def test_a_delete_that_the_target_refuses_is_parked_and_tried_again(
    make_world: MakeWorld,
) -> None:
    """Staff's own table points at the row: it stays, is told, and goes when nothing points."""
    world = await filled(make_world, 3)
    await world.staff(
        "CREATE TABLE letters (case_id int REFERENCES cases)", "INSERT INTO letters VALUES (1)"
    )
    await world.legacy("DELETE FROM cases WHERE id IN (1, 2)")
    night = await world.night()
    assert told(night) == {"seen": 3, "deleted": 1, "waiting": 1, "unchanged": 1}
    assert night.status == "parked"
    assert told(await world.night()) == {"seen": 2, "waiting": 1, "unchanged": 1}
    await world.staff("DELETE FROM letters")
    assert told(await world.night()) == {"seen": 2, "deleted": 1, "unchanged": 1}


async def test_a_delete_that_was_refused_is_no_delete_when_the_record_returns(
    make_world: MakeWorld,
) -> None:
    """The parked delete is forgotten as soon as the source has the record again."""
    world = await filled(make_world, 3)
    await world.staff(
        "CREATE TABLE letters (case_id int REFERENCES cases)", "INSERT INTO letters VALUES (1)"
    )
    await world.legacy("DELETE FROM cases WHERE id = 1")
    await world.night()
    await world.legacy("INSERT INTO cases VALUES (1, 'n1')")
    assert told(await world.night()) == {"seen": 3, "unchanged": 3}
    assert (await world.night()).status == "completed"


async def test_both_sides_deleted_the_row(make_world: MakeWorld) -> None:
    """Staff's delete stands: if the source brings the record back it stays away (I3)."""
    world = await filled(make_world, 3)
    await world.staff("DELETE FROM cases WHERE id = 1")
    await world.legacy("DELETE FROM cases WHERE id = 1")
    assert told(await world.night()) == {"seen": 3, "unchanged": 3}
    await world.legacy("INSERT INTO cases VALUES (1, 'n1')")
    assert told(await world.night()) == {"seen": 3, "skipped": 1, "unchanged": 2}
    assert await count(world) == 2


async def test_an_orphan_that_returns_is_merged_with_what_staff_typed(
    make_world: MakeWorld,
) -> None:
    """orphan_kept, then the source has it again: the column rule against the kept base."""
    world = await filled(make_world, 3)
    await world.staff("UPDATE cases SET name = 'typed' WHERE id = 1")
    await world.legacy("DELETE FROM cases WHERE id = 1")
    await world.night()
    await world.legacy("INSERT INTO cases VALUES (1, 'n1')")
    assert told(await world.night()) == {"seen": 3, "unchanged": 3}
    assert await world.value("SELECT name FROM cases WHERE id = 1") == "typed"
    assert await world.state("cases", "1") == "live"
    assert await world.open_conflicts() == []


async def test_an_orphan_that_staff_delete_stays_deleted(make_world: MakeWorld) -> None:
    """I3: orphan_kept, deleted by staff, back at the source: not recreated."""
    world = await filled(make_world, 3)
    await world.staff("UPDATE cases SET name = 'typed' WHERE id = 1")
    await world.legacy("DELETE FROM cases WHERE id = 1")
    await world.night()
    await world.staff("DELETE FROM cases WHERE id = 1")
    await world.legacy("INSERT INTO cases VALUES (1, 'n1')")
    assert told(await world.night()) == {"seen": 3, "skipped": 1, "unchanged": 2}
    assert await count(world) == 2


async def test_a_row_that_staff_delete_and_make_again_is_adopted(make_world: MakeWorld) -> None:
    """tgt_deleted, then there again: live, and equal columns are the source's."""
    world = await filled(make_world, 3)
    await world.staff("DELETE FROM cases WHERE id = 1")
    await world.legacy("UPDATE cases SET name = 'm' WHERE id = 1")
    await world.night()
    await world.staff("INSERT INTO cases (id, name) VALUES (1, 'm')")
    await world.night()
    assert await world.state("cases", "1") == "live"
    await world.legacy("UPDATE cases SET name = 'o' WHERE id = 1")
    await world.night()
    assert await world.value("SELECT name FROM cases WHERE id = 1") == "o"


async def test_tombstones_outlive_the_retention_of_messages_and_then_go(
    make_world: MakeWorld,
) -> None:
    """I5, case 33: kept for 28 days, pruned by the first run of a day after that."""
    world = await filled(make_world, 3)
    await world.legacy("DELETE FROM cases WHERE id = 1")
    await world.night()
    age = "UPDATE syncd.syncd_fingerprint SET changed_at = now() - interval '{} days'"
    next_day = "DELETE FROM syncd.syncd_setting WHERE name = 'pruned/cases'"
    tombstones = "SELECT count(*) FROM syncd.syncd_fingerprint WHERE state = 'src_deleted'"
    await world.staff(age.format(27), next_day)
    await world.night()
    assert await world.value(tombstones) == 1
    await world.staff(age.format(29), next_day)
    await world.night()
    assert await world.value(tombstones) == 0
    assert await world.value("SELECT count(*) FROM syncd.syncd_fingerprint") == 2
