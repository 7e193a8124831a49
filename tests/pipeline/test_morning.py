"""The morning report over runs on PostgreSQL: every number has its reason, and they add up."""

from collections import Counter

import pytest

from syncd.errors import ConfigError
from syncd.jobs.morning import EXPLAINED
from syncd.reports import MorningEntity, MorningReport
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.test_outcomes import visits
from tests.pipeline.world import World


async def morning(world: World, run_id: int | None = None) -> MorningReport:
    """``syncd report``."""
    async with world.app() as app:
        return await app.report(run_id)


def reasons(entity: MorningEntity) -> set[tuple[str, str, int]]:
    return {(one.outcome, one.reason, one.records) for one in entity.reasons}


def assert_adds_up(entity: MorningEntity) -> None:
    """The outcomes make ``seen``, and the reasons of an outcome make its count."""
    assert entity.counts.seen == entity.counts.total()
    told: Counter[str] = Counter()
    for reason in entity.reasons:
        told[reason.outcome] += reason.records
    expected = {o.value: getattr(entity.counts, o.value) for o in EXPLAINED}
    assert dict(told) == {name: rows for name, rows in expected.items() if rows}


async def test_each_record_that_did_not_flow_is_told_with_its_reason(
    make_world: MakeWorld,
) -> None:
    """Skipped by a transform, refused by it, and broken in it, beside those that flowed."""
    world = await visits(make_world, ["social", "test", "test", "bad", "boom", "social"])
    await world.night()

    report = await morning(world)

    [entity] = report.entities
    assert (report.status, entity.counts.inserted) == ("parked", 2)
    assert reasons(entity) == {
        ("skipped", "a test visit", 2),
        ("invalid", "no_prisoner:label", 1),
        ("invalid", "transform_failed:ZeroDivisionError", 1),
    }
    assert_adds_up(entity)
    assert report.needs_attention


async def test_the_second_morning_tells_the_same_of_what_is_still_parked(
    make_world: MakeWorld,
) -> None:
    """What is parked is looked at each night, and told each morning."""
    world = await visits(make_world, ["social", "test", "bad"])
    await world.nights(2)

    [entity] = (await morning(world)).entities

    assert (entity.counts.unchanged, entity.counts.skipped, entity.counts.invalid) == (1, 1, 1)
    assert_adds_up(entity)


async def test_an_absence_that_is_only_reported_is_told_as_that(make_world: MakeWorld) -> None:
    """It has no entry of its own in this run; the numbers add up all the same."""
    from syncd.config import Deletes  # noqa: PLC0415 - for this world alone.

    world = await make_world(
        [
            "CREATE TABLE cases (id int PRIMARY KEY, status text, note text)",
            "INSERT INTO cases SELECT g, 'A', 'n' FROM generate_series(1, 5) g",
        ],
        {"cases": CASES},
        deletes=Deletes(policy="report"),
    )
    await world.night()
    await world.legacy("DELETE FROM cases WHERE id < 3")
    await world.night()

    [entity] = (await morning(world)).entities

    assert entity.counts.skipped == 2
    assert_adds_up(entity)
    assert "2 records are gone at the source" in entity.notes


async def test_conflicts_and_held_deletes_are_told(make_world: MakeWorld) -> None:
    """Both wait for a person."""
    world = await make_world(
        [
            "CREATE TABLE cases (id int PRIMARY KEY, status text, note text)",
            "INSERT INTO cases SELECT g, 'A', 'n' FROM generate_series(1, 100) g",
        ],
        {"cases": CASES},
    )
    await world.night()
    await world.staff("UPDATE cases SET status = 'typed' WHERE id = 100")
    await world.legacy(
        "UPDATE cases SET status = 'B' WHERE id = 100", "DELETE FROM cases WHERE id <= 60"
    )
    await world.night()

    report = await morning(world)

    [entity] = report.entities
    assert report.status == "held"
    assert (entity.held_deletes, entity.open_conflicts, entity.counts.held) == (60, 1, 60)
    assert_adds_up(entity)


async def test_an_older_run_can_be_asked_for_and_one_that_is_not_there_is_said_so(
    make_world: MakeWorld,
) -> None:
    """Its counts stand for as long as runs are kept."""
    world = await visits(make_world, ["social"])
    first = await world.night()
    await world.night()

    assert (await morning(world, first.run_id)).entities[0].counts.inserted == 1
    with pytest.raises(ConfigError, match="has no run 999"):
        await morning(world, 999)


async def test_before_the_first_run_nothing_is_told(make_world: MakeWorld) -> None:
    """No error: there just was no night yet."""
    world = await visits(make_world, ["social"])

    assert (await morning(world)).status == "never"
