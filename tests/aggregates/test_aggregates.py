"""Aggregates from end to end: one document, several tables, one transaction."""

from syncd.flow.model import Outcome
from tests.aggregates.conftest import MakeAggregates
from tests.aggregates.world import DOCUMENT, group, membership, referral
from tests.pipeline.world import told


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


async def test_a_second_night_without_a_change_writes_nothing(
    make_aggregates: MakeAggregates,
) -> None:
    """Not a row version in any of the tables."""
    world = await make_aggregates(referral(1), group(1), membership(1, 1, 1))
    await world.night()
    tables = (
        "referral",
        "referral_reporting_location",
        "referral_status_history",
        "programme_group_session_slot",
        "programme_group_membership",
        "data_import_record",
    )
    before = [await world.updates_of(table) for table in tables]
    report = await world.night()
    assert all(
        told(report, e) == {"seen": 1, "unchanged": 1} for e in ("referral", "group", "membership")
    )
    assert [await world.updates_of(table) for table in tables] == before
    assert all(before)
