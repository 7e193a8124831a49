"""The four acceptance figures of the import, and all entities of a whole sample."""

from pathlib import Path
from typing import Final

from tests.interventions.world import Interventions, recent, referral, uuid_of
from tests.pipeline.world import entity_of, told

A: Final = "referral"


async def test_two_complete_referrals_are_created(
    interventions: Interventions, tmp_path: Path
) -> None:
    """Each with its place, its first status, its cohort and its line in the import log."""
    await interventions.begin(referral(1), referral(2))
    await interventions.numbers(tmp_path, (1, "31001"), (2, "31002"))
    night = await interventions.night()
    assert told(night, A) == {"seen": 2, "inserted": 2}
    found = await interventions.referral(1)
    del found["id"]
    assert found == {
        "person_name": "Ada Abbott1",
        "crn": "X000001",
        "event_id": "31001",
        "event_number": 0,
        "sourced_from": "REQUIREMENT",
        "sex": "Female",
        "date_of_birth": "1980-02-29",
        "created_at": "2025-06-02 00:00:00",
        "region_name": "North",
        "reporting_team": "Team 1",
        "statuses": ["Awaiting assessment by INTERVENTIONS_MANAGER"],
        "cohorts": ["GENERAL_OFFENCE"],
    }
    assert await interventions.counts() == {
        "referral": 2,
        "referral_reporting_location": 2,
        "referral_status_history": 2,
        "referral_cohort_history": 2,
        "data_import_record": 2,
    }
    assert "staged referral 2 rows, reporting_location 2 rows" in entity_of(night, A).notes


async def test_a_referral_without_a_place_is_skipped(
    interventions: Interventions, tmp_path: Path
) -> None:
    """Created 0, skipped 1."""
    await interventions.begin(referral(1, TeamCode=None))
    await interventions.numbers(tmp_path, (1, "31001"))
    assert told(await interventions.night(), A) == {"seen": 1, "skipped": 1}
    assert await interventions.history(A, uuid_of(1)) == [("skipped", "missing_reporting_location")]


async def test_a_referral_without_a_number_is_skipped(interventions: Interventions) -> None:
    """Created 0, skipped 1."""
    await interventions.begin(referral(1))
    assert told(await interventions.night(), A) == {"seen": 1, "skipped": 1}
    assert await interventions.history(A, uuid_of(1)) == [("skipped", "missing_licreqno")]


async def test_a_second_run_creates_what_is_new(
    interventions: Interventions, tmp_path: Path
) -> None:
    """Two, then three: one is created, and nothing twice."""
    await interventions.begin(referral(1))
    await interventions.numbers(tmp_path, (1, "31001"), (2, "31002"))
    assert told(await interventions.night(), A) == {"seen": 1, "inserted": 1}
    await interventions.im(referral(2))
    assert told(await interventions.night(), A) == {"seen": 2, "inserted": 1, "unchanged": 1}
    assert (await interventions.counts())["referral"] == 2


async def test_three_runs_leave_four_referrals_with_four_records(
    interventions: Interventions,
) -> None:
    """One, one more, two more."""
    await interventions.begin(recent(1))
    await interventions.night()
    await interventions.im(recent(2))
    await interventions.night()
    await interventions.im(recent(3), recent(4))
    await interventions.night()
    counts = await interventions.counts()
    assert (counts["referral"], counts["data_import_record"]) == (4, 4)
