"""Records whose rows are there already: linked where it is certain, left alone where it is not."""

# ruff: noqa: S608 - the statements are made of constants and of the tests' own values.

import asyncio

import pytest
from msgspec.structs import replace

from syncd.flow.model import Outcome, Ownership
from tests.aggregates.conftest import MakeAggregates
from tests.aggregates.test_racing_staff import KEY, locking, staff, until_somebody_waits
from tests.aggregates.world import REFERRAL, referral
from tests.pipeline.world import told

ONE = "00000000-0000-0000-0000-000000000001"
TWO = "00000000-0000-0000-0000-000000000002"
ONLY = {"referral": REFERRAL}


def row(id_: str, **fields: str) -> str:
    """INSERT of a row that the application made; as referral 1 where it says nothing."""
    known = {
        "id": id_,
        "crn": "X000001",
        "person_name": "person 1",
        "event_id": "1",
        "sourced_from": "REQUIREMENT",
        "created_at": "2026-03-01 00:00:00",
        **fields,
    }
    values = ", ".join(f"'{value}'" for value in known.values())
    return f"INSERT INTO referral ({', '.join(known)}) VALUES ({values});"


LINKED = "SELECT source_id, target_id::text FROM data_import_record ORDER BY 1"


async def test_a_twin_is_linked_and_nothing_of_it_overwritten(
    make_aggregates: MakeAggregates,
) -> None:
    """By the whole of the first rule; what differs stays as staff have it."""
    names = replace(REFERRAL, ownership={"person_name": Ownership.INITIAL})
    world = await make_aggregates(
        referral(1, region_name=None, reporting_team_name=None, history=None),
        staff=row(ONE, person_name="typed by staff"),
        entities={"referral": names},
    )
    assert told(await world.night(), "referral") == {"seen": 1, Outcome.LINKED: 1}
    assert await world.rows("SELECT id::text, person_name FROM referral") == [
        (ONE, "typed by staff")
    ]
    assert await world.rows(LINKED) == [("r1", ONE)]
    assert told(await world.night(), "referral") == {"seen": 1, Outcome.UNCHANGED: 1}


async def test_a_twin_is_found_by_the_day_of_its_creation(make_aggregates: MakeAggregates) -> None:
    """The second rule, where the first finds nothing."""
    world = await make_aggregates(
        referral(1), staff=row(ONE, event_id="9", created_at="2026-03-01 17:18:19"), entities=ONLY
    )
    report = await world.night()
    assert told(report, "referral") == {"seen": 1, Outcome.LINKED: 1}
    assert await world.rows(LINKED) == [("r1", ONE)]
    assert await world.value("SELECT event_id FROM referral") == "9"


async def test_what_differs_in_a_twin_is_told_and_is_a_conflict_only_when_it_changes(
    make_aggregates: MakeAggregates,
) -> None:
    """The rule says that both are the same: nobody need decide, until the source says more."""
    world = await make_aggregates(
        referral(1), staff=row(ONE, event_id="9", created_at="2026-03-01 17:18:19"), entities=ONLY
    )
    await world.night()
    [(outcome, reason)] = await world.history("referral", "r1")
    assert outcome == Outcome.LINKED
    assert "event_id" in reason.removeprefix("kept:").split(",")
    assert await world.open_conflicts() == []
    await world.legacy("UPDATE referral SET event_id = '10'")
    assert told(await world.night(), "referral") == {"seen": 1, Outcome.CONFLICT: 1}
    assert await world.value("SELECT event_id FROM referral") == "9"
    assert [conflict.column for conflict in await world.open_conflicts()] == ["event_id"]


async def test_several_candidates_park_the_record(make_aggregates: MakeAggregates) -> None:
    """It is not guessed, and a night later it is told no more; once it is clear it is linked."""
    world = await make_aggregates(
        referral(1),
        referral(2),
        staff=row(ONE, event_id="8") + row(TWO, event_id="9"),
        entities=ONLY,
    )
    assert told(await world.night(), "referral") == {"seen": 2, "conflict": 1, "inserted": 1}
    assert await world.history("referral", "r1") == [("conflict", "twin:ambiguous")]
    assert await world.value("SELECT count(*) FROM referral") == 3
    assert told(await world.night(), "referral") == {"seen": 2, "conflict": 1, "unchanged": 1}
    assert len(await world.history("referral", "r1")) == 1
    await world.staff(f"DELETE FROM referral WHERE id = '{TWO}'")
    await world.night()
    assert await world.rows(LINKED + " LIMIT 1") == [("r1", ONE)]


async def test_a_row_that_two_records_claim_is_given_to_neither(
    make_aggregates: MakeAggregates,
) -> None:
    """I4: the mapping is unique in both directions."""
    world = await make_aggregates(
        referral(1), referral(2, crn="X000001"), staff=row(ONE, event_id="9"), entities=ONLY
    )
    assert told(await world.night(), "referral") == {"seen": 2, Outcome.CONFLICT: 2}
    assert await world.rows(LINKED) == []


async def test_a_row_that_is_linked_is_nobody_elses_twin(make_aggregates: MakeAggregates) -> None:
    """A record that says the same is refused by the target's own key, and parked."""
    world = await make_aggregates(referral(1), entities=ONLY)
    await world.night()
    await world.legacy(referral(2, crn="X000001", event_id="1"))
    assert told(await world.night(), "referral") == {"seen": 2, "unchanged": 1, "conflict": 1}
    assert await world.history("referral", "r2") == [
        ("conflict", "unique:referral_crn_event_id_sourced_from_key")
    ]


async def test_a_row_that_another_writer_takes_meanwhile_is_lost(
    make_aggregates: MakeAggregates,
) -> None:
    """I4: it was found before the other's link could be seen, and is seen under the lock."""
    world = await make_aggregates(referral(1), staff=row(ONE), entities=ONLY)
    async with staff(world) as other, locking(world) as (site, tx):
        plan = (await site.prepared()).plans["referral"]
        draft = tuple(_DRAFT.get(column.into) for column in plan.drafted)
        taking = other.transaction()
        await taking.start()
        await other.execute("SELECT FROM referral FOR UPDATE")
        await other.execute(
            "INSERT INTO data_import_record SELECT gen_random_uuid(), 'REFERRAL', 'another', "
            "NULL, id, now(), now() FROM referral"
        )
        async with asyncio.TaskGroup() as tasks:
            locked = tasks.create_task(site.target.lock(tx, plan, [KEY], {KEY: draft}))
            await until_somebody_waits(world)
            await taking.commit()
        assert locked.result().unclear == {KEY: "twin:ambiguous"}
        assert locked.result().rows == {}
    assert await world.rows(LINKED) == [("another", ONE)]


_DRAFT = {"crn": b"X000001", "event_id": b"1", "sourced_from": b"REQUIREMENT"}


async def test_null_finds_no_twin(make_aggregates: MakeAggregates) -> None:
    """What is not known is not the same."""
    world = await make_aggregates(
        referral(1, event_id=None, created_at="2026-04-01"), staff=row(ONE), entities=ONLY
    )
    assert told(await world.night(), "referral") == {"seen": 1, Outcome.INSERTED: 1}


async def test_a_plan_finds_twins_and_writes_nothing(make_aggregates: MakeAggregates) -> None:
    """It tells what the night then does."""
    world = await make_aggregates(
        referral(1, region_name=None, reporting_team_name=None, history=None),
        referral(2),
        referral(3),
        staff=row(ONE)
        + row(TWO, crn="X000002", event_id="8").replace("(id", "(id", 1)
        + row(TWO.replace("2", "3"), crn="X000002", event_id="9"),
        entities=ONLY,
    )
    async with world.app() as app:
        planned = await app.plan(None, samples=0)
    expected = {"seen": 3, "linked": 1, "conflict": 1, "inserted": 1}
    assert told(planned, "referral") == expected
    assert await world.rows(LINKED) == []
    assert told(await world.night(), "referral") == expected


@pytest.mark.parametrize("answer", ["linked"])
async def test_a_link_is_rolled_back_with_its_batch(
    make_aggregates: MakeAggregates, answer: str
) -> None:
    """I6: a bad row of the same batch voids the transaction; the halves are linked again."""
    world = await make_aggregates(
        referral(1, region_name=None, reporting_team_name=None, history=None),
        referral(2, person_name="refused"),
        staff=row(ONE),
        entities=ONLY,
    )
    assert told(await world.night(), "referral") == {"seen": 2, answer: 1, "failed": 1}
    assert await world.rows(LINKED) == [("r1", ONE)]
