"""The worked rows of the filter rule (reference/interventions.md 3.6), all on one small system.

Each is a record of its own. L is the last import, S what the source changed, T what staff changed
in columns of the import, H what hydration changed in its own.
"""

# ruff: noqa: S608 - the statements are made of the tests' own values.

from typing import Final

import pytest
from msgspec.structs import replace

from syncd.config import Deletes
from syncd.flow.model import Ownership
from tests.aggregates.conftest import MakeAggregates
from tests.aggregates.world import REFERRAL, referral
from tests.pipeline.world import World

HYDRATION: Final = ("person_name", "region_name", "reporting_team_name")
OWNED: Final = replace(
    REFERRAL,
    ownership=dict.fromkeys(HYDRATION, Ownership.TARGET),
    deletes=Deletes(policy="report"),
)
NEW, TWIN, QUIET, TOUCHED, CHANGED, HYDRATED, BOTH, GONE, DELETED, UNDATED = range(1, 11)
STAFF: Final = "UPDATE referral SET sourced_from = 'staff' WHERE crn = 'X{:06}'"
SOURCE: Final = "UPDATE referral SET sourced_from = 'LICENCE' WHERE source_referral_id = 'r{}'"
HYDRATE: Final = (
    "UPDATE referral SET person_name = 'hydrated', updated_at = now() WHERE crn = 'X{:06}'"
)


async def after_a_day(make_aggregates: MakeAggregates) -> World:
    """A loaded world, a day on which everything happened, and the night after it."""
    world = await make_aggregates(
        *[referral(n) for n in range(TOUCHED - 1, DELETED + 1)],
        referral(UNDATED, source_updated_at=None),
        staff="INSERT INTO referral (id, crn, event_id, sourced_from, created_at) VALUES "
        "(gen_random_uuid(), 'X000002', '2', 'REQUIREMENT', '2026-03-01')",
        entities={"referral": OWNED},
    )
    await world.night()
    await world.legacy(
        referral(NEW),
        referral(TWIN, person_name=None, region_name=None, reporting_team_name=None, history=None),
        *[SOURCE.format(n) for n in (CHANGED, HYDRATED, BOTH, UNDATED)],
        f"DELETE FROM referral WHERE source_referral_id = 'r{GONE}'",
    )
    await world.staff(
        STAFF.format(TOUCHED),
        STAFF.format(BOTH),
        HYDRATE.format(HYDRATED),
        HYDRATE.format(QUIET),
        "DELETE FROM referral_reporting_location l USING referral r "
        "WHERE r.id = l.referral_id AND crn = 'X000009'",
        "DELETE FROM referral_status_history h USING referral r "
        "WHERE r.id = h.referral_id AND crn = 'X000009'",
        "DELETE FROM referral WHERE crn = 'X000009'",
    )
    await world.night()
    return world


async def outcomes(world: World) -> dict[int, str]:
    """The last outcome of each record."""
    rows = await world.rows(
        "SELECT convert_from(substring(key FROM 1 FOR length(key) - 1), 'UTF8'), outcome "
        "FROM syncd.syncd_fingerprint"
    )
    return {int(key[1:]): outcome for key, outcome in rows}


async def sourced_from(world: World, number: int) -> tuple[str, str]:
    """Where the target says that a referral comes from, and the person's name."""
    rows = await world.rows(
        "SELECT sourced_from, person_name FROM referral WHERE crn = $1", f"X{number:06}"
    )
    return rows[0]


async def test_the_worked_rows_of_the_filter_rule(make_aggregates: MakeAggregates) -> None:
    """One outcome per row, and nothing of anybody else's is overwritten."""
    world = await after_a_day(make_aggregates)
    assert await outcomes(world) == {
        NEW: "inserted",
        TWIN: "linked",
        QUIET: "inserted",
        TOUCHED: "inserted",
        CHANGED: "updated",
        HYDRATED: "updated",
        BOTH: "conflict",
        GONE: "inserted",
        DELETED: "inserted",
        UNDATED: "updated",
    }
    assert await sourced_from(world, TOUCHED) == ("staff", "person 4")
    assert await sourced_from(world, BOTH) == ("staff", "person 7")
    assert await sourced_from(world, HYDRATED) == ("LICENCE", "hydrated")
    assert await sourced_from(world, CHANGED) == ("LICENCE", "person 5")
    assert await sourced_from(world, UNDATED) == ("LICENCE", "person 10")
    # A conflict is told once for each change, and what the source says next is told again.
    await world.night()
    assert len(await world.history("referral", f"r{BOTH}")) == 2
    # Gone from the source: only told. Back with the same content: nothing to do.
    assert await sourced_from(world, GONE) == ("REQUIREMENT", "person 8")
    await world.legacy(referral(GONE), SOURCE.format(DELETED))
    await world.night()
    assert (await world.history("referral", f"r{GONE}"))[1:] == []
    # Staff deleted it: a change of the source is told, and the row is not made again.
    assert (await world.history("referral", f"r{DELETED}"))[-1] == ("conflict", "target_deleted")
    assert await world.value("SELECT count(*) FROM referral WHERE crn = 'X000009'") == 0


@pytest.mark.parametrize("nights", [3])
async def test_hydration_every_day_freezes_nothing(
    make_aggregates: MakeAggregates, nights: int
) -> None:
    """It overwrites its own columns and bumps updated_at; the next night still updates the rest."""
    world = await make_aggregates(referral(1), entities={"referral": OWNED})
    await world.night()
    for night in range(nights):
        await world.staff(HYDRATE.format(1))
        await world.legacy(f"UPDATE referral SET event_id = '{night}'")
        await world.night()
        assert await world.value("SELECT event_id FROM referral") == str(night)
        assert await world.value("SELECT person_name FROM referral") == "hydrated"
