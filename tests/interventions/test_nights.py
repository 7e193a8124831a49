"""The worked rows of the filter rule, end to end: what a night does to a referral, and why.

S: IM changed it. T: somebody in M&D changed what the import owns. H: hydration changed what is its
own. Each case is a night after the one that imported the referral.
"""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from syncd.config import Deletes, HoldAbove, Needed
from tests.interventions.world import (
    GROUP,
    SLOT,
    Interventions,
    change,
    gone,
    insert,
    recent,
    referral,
    uuid_of,
)
from tests.pipeline.world import entity_of, told

A: Final = "referral"
HYDRATION: Final = (
    """
    UPDATE referral SET person_name = 'HYDRATED NAME', sex = 'Not known', event_number = 3,
        date_of_birth = '1981-01-01', sentence_end_date = '2030-01-01',
        updated_at = now() + '1 hour'
    """,
    "UPDATE referral_reporting_location SET reporting_team = 'Hydrated team', updated_at = now()",
    """
    INSERT INTO referral_cohort_history (referral_id, cohort, created_by)
    SELECT id, 'SEXUAL_OFFENCE', 'SYSTEM' FROM referral
    """,
)
AWAITING: Final = "76b2f8d8-260c-4766-a716-de9325292609"
HYDRATED: Final = ("person_name", "sex", "event_number", "date_of_birth", "reporting_team")


async def imported(world: Interventions, *more: str) -> None:
    """One referral stands in M&D after a night."""
    await world.begin(recent(1), *more)
    await world.night()


def kept(row: dict[str, Any], *names: str) -> dict[str, Any]:
    """Some fields of a referral."""
    return {name: row[name] for name in names}


async def test_a_new_one_without_a_twin_is_inserted(interventions: Interventions) -> None:
    """Row 1: INSERT, and staff see it."""
    await imported(interventions)
    assert await interventions.history(A, uuid_of(1)) == [("inserted", "")]
    seen = "SELECT crn, status FROM referral_caselist_item_view"
    assert await interventions.rows(seen) == [("X000001", "Awaiting assessment")]


@pytest.mark.parametrize(
    ("event", "created", "told_of"),
    [
        pytest.param("2500000001", "2020-01-01", set(), id="by crn, event and source"),
        pytest.param("9", "2026-02-10 15:00", {"event_id"}, id="by crn and day"),
    ],
)
async def test_a_new_one_with_a_twin_is_linked(
    interventions: Interventions, event: str, created: str, told_of: set[str]
) -> None:
    """Row 2: LINK; the import log names M&D's own row, and nothing of it is overwritten.

    What hydration owns may differ; what IM says otherwise of the rest is told.
    """
    await interventions.begin(recent(1))
    await interventions.staff(
        "INSERT INTO referral (id, crn, person_name, event_id, sourced_from, created_at) VALUES "
        f"('{uuid_of(99)}', 'X000001', 'By event', '{event}', 'REQUIREMENT', '{created}')",
        "INSERT INTO referral_reporting_location (referral_id) SELECT id FROM referral",
        f"INSERT INTO referral_status_history (referral_id, referral_status_description_id, "
        f"created_by) SELECT id, '{AWAITING}', 'SYSTEM' FROM referral",
    )
    await interventions.night()
    row = await interventions.referral(1)
    assert kept(row, "id", "person_name", "event_id", "created_at", "statuses") == {
        "id": uuid_of(99),
        "person_name": "By event",
        "event_id": event,
        "created_at": f"{created}:00" if ":" in created else f"{created} 00:00:00",
        "statuses": ["Awaiting assessment by SYSTEM"],
    }
    assert (await interventions.counts())["referral"] == 1
    [(outcome, reason)] = await interventions.history(A, uuid_of(1))
    assert outcome == "linked"
    assert set(reason.removeprefix("kept:").split(",")) == told_of | {"status_history"}
    assert await interventions.open_conflicts() == []


async def test_nothing_changed_is_no_work(interventions: Interventions) -> None:
    """Row 3, S no and T no: NOOP, also when another dump holds the same."""
    await imported(interventions)
    writes = await interventions.updates_of("referral")
    await interventions.im()
    assert told(await interventions.night(), A) == {"seen": 1, "unchanged": 1}
    assert await interventions.updates_of("referral") == writes


async def test_an_edit_in_md_stays(interventions: Interventions) -> None:
    """Row 4, S no and T yes: NOOP."""
    await imported(interventions)
    await interventions.staff("UPDATE referral SET event_id = 'staff', updated_at = now()")
    await interventions.im()
    assert told(await interventions.night(), A) == {"seen": 1, "unchanged": 1}
    assert (await interventions.referral(1))["event_id"] == "staff"


async def test_a_change_in_im_arrives(interventions: Interventions) -> None:
    """Row 5, S yes, T no and H no: UPDATE of all that IM changed."""
    await imported(interventions)
    await interventions.im(change(1, Surname="Brown", TeamCode="T2", SourcedFromID="77"))
    assert told(await interventions.night(), A) == {"seen": 1, "updated": 1}
    row = await interventions.referral(1)
    assert kept(row, "person_name", "reporting_team", "region_name", "event_id") == {
        "person_name": "Ada Brown",
        "reporting_team": "Team 2",
        "region_name": "South",
        "event_id": "77",
    }


async def test_hydration_freezes_nothing(interventions: Interventions) -> None:
    """Row 6, S yes, T no and H yes: what the import owns arrives, what hydration wrote stays.

    The rule of the first design would have left the referral alone for ever.
    """
    await imported(interventions)
    await interventions.staff(*HYDRATION)
    before = await interventions.referral(1)
    for night in range(3):
        await interventions.im(change(1, SourcedFromID=f"8{night}", Surname=f"Brown{night}"))
        assert told(await interventions.night(), A)["updated"] == 1
        after = await interventions.referral(1)
        assert after["event_id"] == f"8{night}"
        assert kept(after, *HYDRATED) == kept(before, *HYDRATED)
        await interventions.staff("UPDATE referral SET updated_at = now() + '1 day'")
    assert await interventions.open_conflicts() == []


async def test_a_change_on_both_sides_is_told_once(interventions: Interventions) -> None:
    """Row 7, S yes and T yes: M&D's value stays; a conflict for each change, not for each night."""
    await imported(interventions)
    await interventions.staff("UPDATE referral SET event_id = 'staff'")
    await interventions.im(change(1, SourcedFromID="77"))
    assert told(await interventions.night(), A) == {"seen": 1, "conflict": 1}
    await interventions.im()
    await interventions.night()
    assert (await interventions.referral(1))["event_id"] == "staff"
    assert [c.column for c in await interventions.open_conflicts()] == ["event_id"]


async def test_what_vanished_is_told_and_never_deleted(interventions: Interventions) -> None:
    """Row 8: marked as deleted, or gone without a word; both are reported only."""
    await imported(interventions, recent(2), recent(3))
    await interventions.im(gone(1), change(2, IsDeleted=1))
    night = await interventions.night()
    assert "2 records are gone at the source" in entity_of(night, A).notes
    assert (await interventions.counts())["referral"] == 3


async def test_what_vanished_and_came_back_is_as_it_was(interventions: Interventions) -> None:
    """Row 8, continued: revived with the same content it is no work."""
    await imported(interventions, recent(2))
    await interventions.im(change(1, IsDeleted=1))
    await interventions.night()
    await interventions.im(change(1, IsDeleted=0))
    assert told(await interventions.night(), A) == {"seen": 2, "unchanged": 2}


async def test_what_staff_touched_is_kept_where_deletes_are_applied(
    interventions: Interventions,
) -> None:
    """Row 8, with policy apply: an untouched referral goes whole, a touched one stays (case 76)."""
    await imported(interventions, recent(2), recent(3))
    interventions.config = replace(
        interventions.config, deletes=Deletes(hold_above=HoldAbove(rows=50, percent=0.5))
    )
    await interventions.staff(
        "INSERT INTO referral_status_history (referral_id, referral_status_description_id, "
        f"created_by) SELECT id, '{AWAITING}', 'a person' FROM referral WHERE crn = 'X000001'"
    )
    await interventions.im(gone(1), gone(2))
    night = await interventions.night()
    assert told(night, A) == {"seen": 3, "deleted": 1, "conflict": 1, "unchanged": 1}
    left = "SELECT crn FROM referral ORDER BY crn"
    assert await interventions.rows(left) == [("X000001",), ("X000003",)]
    assert (await interventions.counts())["referral_reporting_location"] == 2


async def test_what_staff_deleted_is_not_made_again(interventions: Interventions) -> None:
    """Row 9: the row is gone in M&D, so it stays gone, whatever IM says."""
    await imported(interventions)
    await interventions.staff(
        *(
            f"DELETE FROM referral_{part}"
            for part in ("reporting_location", "status_history", "cohort_history")
        ),
        "DELETE FROM referral",
    )
    await interventions.im(change(1, SourcedFromID="77"))
    await interventions.night()
    assert await interventions.state(A, uuid_of(1)) == "tgt_deleted"
    assert "referral" not in await interventions.counts()


async def test_a_time_of_update_that_says_nothing_decides_nothing(
    interventions: Interventions,
) -> None:
    """Row 10: UpdateTs is NULL, or older than the change; the content decides."""
    await imported(interventions)
    await interventions.im(change(1, SourcedFromID="77", UpdateTs=None))
    assert told(await interventions.night(), A) == {"seen": 1, "updated": 1}
    await interventions.im(change(1, SourcedFromID="78", UpdateTs="2001-01-01"))
    assert told(await interventions.night(), A) == {"seen": 1, "updated": 1}
    stamp = "SELECT source_updated_at::text FROM data_import_record"
    assert str(await interventions.value(stamp)).startswith("2001-01-01 00:00:00")
    await interventions.im(change(1, UpdateTs="2001-01-02"))
    assert told(await interventions.night(), A) == {"seen": 1, "unchanged": 1}


async def test_the_lookup_and_its_boundary_decide_which_number_is_taken(
    interventions: Interventions, tmp_path: Path
) -> None:
    """Row 11: none, one, several; then the file changes, then the boundary, in the same dump."""
    await interventions.begin(referral(1), referral(2), referral(3), recent(4))
    await interventions.numbers(tmp_path, (2, "31002"), (3, "31003"), (3, "31999"))
    assert told(await interventions.night(), A) == {"seen": 4, "inserted": 2, "skipped": 2}
    assert await interventions.history(A, uuid_of(1)) == [("skipped", "missing_licreqno")]
    assert await interventions.history(A, uuid_of(3)) == [("skipped", "ambiguous_licreqno")]
    await interventions.numbers(tmp_path, (1, "31001"), (2, "32002"), (3, "31003"))
    assert told(await interventions.night(), A) == {
        "seen": 4, "inserted": 2, "updated": 1, "unchanged": 1,
    }  # fmt: skip
    assert (await interventions.referral(2))["event_id"] == "32002"
    staging = interventions.config.staging
    assert staging is not None
    lookup = replace(staging.lookups["iaps_licreqnos"], needed=Needed(before="2025-01-01"))
    interventions.config = replace(
        interventions.config, staging=replace(staging, lookups={"iaps_licreqnos": lookup})
    )
    assert told(await interventions.night(), A) == {"seen": 4, "updated": 3, "unchanged": 1}
    assert (await interventions.referral(2))["event_id"] == "2500000002"


async def test_a_taken_natural_key_is_a_conflict_and_others_go_on(
    interventions: Interventions,
) -> None:
    """Row 12: IM holds one person's requirement twice; one of them lands, the other is told."""
    await interventions.begin(recent(1), recent(2, Reference="X000001", SourcedFromID="2500000001"))
    night = await interventions.night()
    assert told(night, A) == {"seen": 2, "inserted": 1, "conflict": 1}
    reasons = [(await interventions.history(A, uuid_of(number)))[-1] for number in (1, 2)]
    assert sorted(reasons) == [
        ("conflict", "unique:uk_referral_crn_event_sourced"),
        ("inserted", ""),
    ]
    assert (await interventions.counts())["referral"] == 1


async def test_a_status_of_im_is_appended_and_staff_keep_the_last_word(
    interventions: Interventions,
) -> None:
    """Histories are appended to, never rewritten; an edit on a child counts."""
    await imported(interventions)
    await interventions.im(change(1, StatusCode="AL", StatusTs="2026-02-20 09:00:00"))
    assert told(await interventions.night(), A) == {"seen": 1, "updated": 1}
    first = ["Awaiting assessment by INTERVENTIONS_MANAGER"]
    second = ["Awaiting allocation by INTERVENTIONS_MANAGER"]
    assert (await interventions.referral(1))["statuses"] == first + second
    scheduled = "5540420d-7754-41aa-b985-3d1d11597cc9"
    await interventions.staff(
        "INSERT INTO referral_status_history (referral_id, referral_status_description_id, "
        f"created_by) SELECT id, '{scheduled}', 'a person' FROM referral"
    )
    await interventions.im(change(1, StatusCode="WD", StatusTs="2026-02-25 09:00:00"))
    assert told(await interventions.night(), A) == {"seen": 1, "conflict": 1}
    assert (await interventions.referral(1))["statuses"] == [
        *first, *second, "Scheduled by a person",
    ]  # fmt: skip


async def test_a_group_comes_before_its_members_and_moves_its_slots(
    interventions: Interventions,
) -> None:
    """Parents first; slots are one collection; a member without a parent waits, and comes later."""
    await interventions.begin(
        recent(1),
        recent(2, TeamCode=None),
        insert("ProgrammeGroup", GROUP),
        insert("GroupSlot", {**SLOT, "SlotID": uuid_of(201), "DayNumber": 1}),
        insert("GroupSlot", {**SLOT, "SlotID": uuid_of(202), "DayNumber": 3}),
        insert("GroupAllocation", {**MEMBER, "AllocationID": uuid_of(301)}),
        insert(
            "GroupAllocation",
            {**MEMBER, "AllocationID": uuid_of(302), "ReferralID": uuid_of(2)},
        ),
    )
    night = await interventions.night()
    assert told(night, "group") == {"seen": 1, "inserted": 1}
    assert told(night, "membership") == {"seen": 2, "inserted": 1, "waiting": 1}
    await interventions.im(
        change(2, TeamCode="T2"),
        f"UPDATE dbo.GroupSlot SET StartTime = '20:00' WHERE SlotID = '{uuid_of(202)}'",
        f"UPDATE dbo.GroupAllocation SET RemovedTs = '2026-03-01' "
        f"WHERE AllocationID = '{uuid_of(301)}'",
    )
    night = await interventions.night()
    assert told(night, "group") == {"seen": 1, "updated": 1}
    assert told(night, "membership") == {"seen": 2, "inserted": 1, "updated": 1}
    slots = "SELECT day_of_week, start_time::text FROM programme_group_session_slot ORDER BY 1"
    assert await interventions.rows(slots) == [("MONDAY", "18:30:00"), ("WEDNESDAY", "20:00:00")]
    active = "SELECT count(*) FROM programme_group_membership WHERE deleted_at IS NULL"
    assert await interventions.value(active) == 1


MEMBER: Final[dict[str, object]] = {
    "GroupID": uuid_of(100),
    "ReferralID": uuid_of(1),
    "AllocatedTs": "2026-02-15 10:00:00",
    "AllocatedBy": "user1",
}
