"""How rows of IM become documents of M&D: each field, each reason, each doubt."""

from datetime import UTC, date, datetime, time
from typing import Any, Final

import pytest

from syncd.flow.model import MISSING
from syncd.flow.transform import Drafted, Skip
from syncd.systems.interventions import attendance, group, membership, reading, referral, session

CREATED: Final = datetime(2025, 6, 2, 10, 30)  # noqa: DTZ001 - IM has local times.
REFERRAL: Final[dict[str, Any]] = {
    "source_referral_id": "a1",
    "source_updated_at": datetime(2025, 6, 3, tzinfo=UTC),
    "crn": "X123456",
    "first_name": "Ada",
    "last_name": "Abbott",
    "created_at": date(2025, 6, 2),
    "sourced_from": "REQUIREMENT",
    "sourced_from_id": "2500000001",
    "sex": "F",
    "date_of_birth": date(1980, 2, 29),
    "status_code": "AA",
    "status_at": CREATED,
    "cohort_code": "GO",
    "region_name": "North",
    "pdu_name": "Unit 1",
    "reporting_team_name": "Team 1",
    "needs_licreqno": True,
    "licreqno": "31001",
    "licreqnos": 1,
}
GROUP: Final[dict[str, Any]] = {
    "source_group_id": "g1",
    "source_updated_at": None,
    "code": "BC1",
    "region_name": "North",
    "cohort_code": "SO",
    "sex": "X",
    "is_ldc": 1,
    "pdu_code": "P1",
    "pdu_name": "Unit 1",
    "location_code": "L1",
    "location_name": "Office 1",
    "started_at_date": date(2025, 7, 1),
    "earliest_start_date": date(2025, 6, 20),
    "created_at": CREATED,
    "created_by": "user1",
    "slots": [{"day": 2, "at": "18:30"}, {"day": 1, "at": "9:15"}, {"day": 1, "at": "09:15"}],
    "programme_template_id": "t1",
}
MEMBERSHIP: Final[dict[str, Any]] = {
    "source_allocation_id": "m1",
    "source_group_id": "g1",
    "source_referral_id": "a1",
    "created_at": CREATED,
    "created_by": "user1",
    "removed_at": None,
}
SESSION: Final[dict[str, Any]] = {
    "source_session_id": "s1",
    "source_group_id": "g1",
    "source_updated_at": None,
    "session_template_id": "t1",
    "is_catchup": 0,
    "is_placeholder": 1,
    "location_name": "",
    "starts_at": CREATED,
    "ends_at": CREATED.replace(hour=13),
    "created_at": CREATED,
    "created_by": "",
}
ATTENDANCE: Final[dict[str, Any]] = {
    "source_attendance_id": "t1",
    "source_session_id": "s1",
    "source_allocation_id": "m1",
    "source_referral_id": "a1",
    "outcome_code": "UAAB",
    "is_legitimate": 0,
    "recorded_at": CREATED,
    "recorded_by": "user1",
}


def drafted(record: dict[str, Any], **changes: Any) -> Drafted:
    """The referral's draft."""
    answer = referral.transform({**record, **changes})
    assert isinstance(answer, Drafted)
    return answer


def test_a_referral_is_drafted_as_the_import_writes_it() -> None:
    """Every field of the root and of its place."""
    values = dict(drafted(REFERRAL).values)
    assert values.pop("status_history") == [
        {
            "referral_status_description_id": "76b2f8d8-260c-4766-a716-de9325292609",
            "created_at": "2025-06-02T00:00:00",
            "start_date": "2025-06-02T00:00:00",
            "created_by": "INTERVENTIONS_MANAGER",
        }
    ]
    assert values.pop("cohort_history") == [
        {
            "cohort": "GENERAL_OFFENCE",
            "created_at": "2025-06-02T00:00:00",
            "created_by": "INTERVENTIONS_MANAGER",
        }
    ]
    assert values == {
        "source_referral_id": "a1",
        "source_updated_at": datetime(2025, 6, 3, tzinfo=UTC),
        "person_name": "Ada Abbott",
        "crn": "X123456",
        "created_at": datetime(2025, 6, 2),  # noqa: DTZ001 - M&D has local times.
        "intervention_type": "ACP",
        "intervention_name": "Building Choices",
        "setting": "COMMUNITY",
        "event_id": "31001",
        "event_number": 0,
        "sourced_from": "REQUIREMENT",
        "sex": "Female",
        "date_of_birth": date(1980, 2, 29),
        "region_name": "North",
        "pdu_name": "Unit 1",
        "reporting_team_name": "Team 1",
    }
    assert drafted(REFERRAL).issues == ()


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("missing_crn", {"crn": None}),
        ("missing_crn", {"crn": ""}),
        ("invalid_crn", {"crn": "123456X"}),
        ("missing_name", {"first_name": None, "last_name": " "}),
        ("missing_created_at", {"created_at": None}),
        ("unknown_sourced_from", {"sourced_from": None}),
        ("missing_reporting_location", {"region_name": None}),
        ("missing_reporting_location", {"pdu_name": ""}),
        ("missing_reporting_location", {"reporting_team_name": None}),
        ("missing_licreqno", {"licreqno": None, "licreqnos": 0}),
        ("ambiguous_licreqno", {"licreqnos": 2}),
        ("missing_sourced_from_id", {"needs_licreqno": False, "sourced_from_id": None}),
    ],
)
def test_a_referral_is_left_out_for_a_reason(reason: str, changes: dict[str, Any]) -> None:
    """The closed list of reasons."""
    assert referral.transform({**REFERRAL, **changes}) == Skip(reason)


def test_a_number_of_im_is_taken_where_the_lookup_need_not_have_one() -> None:
    """Referrals of after the boundary have their number in IM."""
    values = drafted(REFERRAL, needs_licreqno=False, licreqnos=0).values
    assert values["event_id"] == "2500000001"


@pytest.mark.parametrize(
    ("first", "last", "whole"),
    [("Ada", "Abbott", "Ada Abbott"), (" Ada  Eve ", None, "Ada Eve"), ("", "Li", "Li")],
)
def test_names_are_trimmed(first: str, last: str | None, whole: str) -> None:
    """First and last, with single blanks."""
    assert drafted(REFERRAL, first_name=first, last_name=last).values["person_name"] == whole


@pytest.mark.parametrize(
    ("field", "value", "code", "column", "kept"),
    [
        ("sex", "?", "unknown_sex", "sex", None),
        ("date_of_birth", date(1900, 1, 1), "unknown_date_of_birth", "date_of_birth", None),
        ("date_of_birth", date(2025, 6, 2), "unknown_date_of_birth", "date_of_birth", None),
        ("date_of_birth", None, "unknown_date_of_birth", "date_of_birth", None),
        ("status_code", "ZZ", "unknown_status_code", "crn", "X123456"),
        ("cohort_code", "ZZ", "unknown_cohort_code", "crn", "X123456"),
    ],
)
def test_a_doubtful_field_is_a_warning(
    field: str, value: object, code: str, column: str, kept: object
) -> None:
    """The referral flows; the field is empty, or is the usual one."""
    answer = drafted(REFERRAL, **{field: value})
    assert [issue.code for issue in answer.issues] == [code]
    assert answer.values[column] == kept


STAND: Final = datetime(2025, 6, 9, 9)  # noqa: DTZ001 - as above.


@pytest.mark.parametrize(
    ("code", "given", "second"),
    [
        ("AA", CREATED, None),
        ("AA", None, None),
        ("", STAND, None),
        ("ZZ", STAND, None),
        ("AA", STAND, ("AA", "2025-06-09T09:00:00")),
        ("OP", STAND, ("OP", "2025-06-09T09:00:00")),
        ("OP", None, ("OP", "2025-06-02T00:00:01")),
        ("WD", datetime(2020, 1, 1), ("WD", "2025-06-02T00:00:01")),  # noqa: DTZ001 - as above.
    ],
)
def test_the_present_status_comes_after_the_first(
    code: str, given: datetime | None, second: tuple[str, str] | None
) -> None:
    """Awaiting assessment at first; then what IM says now, never before it."""
    rows: Any = drafted(REFERRAL, status_code=code, status_at=given).values["status_history"]
    assert rows[0]["referral_status_description_id"] == reading.STATUSES["AA"]
    told = [(row["referral_status_description_id"], row["created_at"]) for row in rows[1:]]
    assert told == ([(reading.STATUSES[second[0]], second[1])] if second else [])


@pytest.mark.parametrize(
    ("code", "cohort", "at"),
    [
        ("", "GENERAL_OFFENCE", "2025-06-02T00:00:00"),
        ("ZZ", "GENERAL_OFFENCE", "2025-06-02T00:00:00"),
        ("SO", "SEXUAL_OFFENCE", "2025-06-02T00:00:01"),
    ],
)
def test_the_cohort_is_the_usual_one_unless_im_says_otherwise(
    code: str, cohort: str, at: str
) -> None:
    """GENERAL_OFFENCE is the default."""
    rows: Any = drafted(REFERRAL, cohort_code=code).values["cohort_history"]
    assert [(row["cohort"], row["created_at"]) for row in rows] == [(cohort, at)]


def test_a_group_is_drafted_with_its_weekly_times() -> None:
    """Each time once, in order, with the names of M&D."""
    answer = group.transform(GROUP)
    assert isinstance(answer, Drafted)
    assert answer.issues == ()
    assert answer.values["slots"] == [
        {"day_of_week": "MONDAY", "start_time": "09:15:00"},
        {"day_of_week": "TUESDAY", "start_time": "18:30:00"},
    ]
    assert (answer.values["sex"], answer.values["cohort"]) == ("MIXED", "SEXUAL_OFFENCE")
    assert answer.values["earliest_possible_start_date"] == date(2025, 6, 20)
    assert answer.values["is_ldc"] is True


@pytest.mark.parametrize(
    "slot", [{"day": 8, "at": "09:00"}, {"day": None, "at": "09:00"}, {"day": 1, "at": "25:00"}]
)
def test_a_weekly_time_that_cannot_be_is_left_out(slot: dict[str, Any]) -> None:
    """With a warning; the others stay."""
    answer = group.transform({**GROUP, "slots": [slot, {"day": 7, "at": "09:00"}]})
    assert isinstance(answer, Drafted)
    assert [issue.code for issue in answer.issues] == ["unknown_slots"]
    assert answer.values["slots"] == [{"day_of_week": "SUNDAY", "start_time": "09:00:00"}]


def test_a_group_without_slots_has_none() -> None:
    """Nothing is invented."""
    assert group.weekly(None) == ([], False)


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("missing_code", {"code": ""}),
        ("missing_region", {"region_name": None}),
        ("missing_pdu", {"pdu_code": None}),
        ("missing_pdu", {"pdu_name": None}),
        ("missing_delivery_location", {"location_code": None}),
        ("missing_delivery_location", {"location_name": ""}),
        ("missing_created_at", {"created_at": None}),
        ("missing_start_date", {"earliest_start_date": None, "started_at_date": None}),
        ("unknown_sex", {"sex": "?"}),
        ("unknown_cohort", {"cohort_code": "ZZ"}),
    ],
)
def test_a_group_is_left_out_for_a_reason(reason: str, changes: dict[str, Any]) -> None:
    """The closed list of reasons."""
    assert group.transform({**GROUP, **changes}) == Skip(reason)


def test_a_group_may_start_when_it_started() -> None:
    """Where no earliest day is told."""
    answer = group.transform({**GROUP, "earliest_start_date": None, "created_by": None})
    assert isinstance(answer, Drafted)
    assert answer.values["earliest_possible_start_date"] == date(2025, 7, 1)
    assert answer.values["created_by_username"] == "INTERVENTIONS_MANAGER"


def test_a_membership_that_ended_is_marked() -> None:
    """By the import, at the time that IM says."""
    lasting: Any = membership.transform(MEMBERSHIP)
    assert (lasting["deleted_at"], lasting["deleted_by_username"]) == (None, None)
    ended: Any = membership.transform({**MEMBERSHIP, "removed_at": STAND, "created_by": ""})
    assert (ended["deleted_at"], ended["deleted_by_username"]) == (STAND, "INTERVENTIONS_MANAGER")
    assert ended["created_by_username"] == "INTERVENTIONS_MANAGER"


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("missing_group", {"source_group_id": None}),
        ("missing_referral", {"source_referral_id": None}),
        ("missing_created_at", {"created_at": None}),
    ],
)
def test_a_membership_is_left_out_for_a_reason(reason: str, changes: dict[str, Any]) -> None:
    """The closed list of reasons."""
    assert membership.transform({**MEMBERSHIP, **changes}) == Skip(reason)


def test_a_session_is_drafted() -> None:
    """Bits are truth values, empty places are none."""
    values: Any = session.transform(SESSION)
    assert (values["is_catchup"], values["is_placeholder"]) == (False, True)
    assert (values["location_name"], values["created_at"]) == (None, CREATED)
    unknown: Any = session.transform({**SESSION, "created_at": None, "location_name": "Room 1"})
    assert (unknown["created_at"], unknown["location_name"]) == (MISSING, "Room 1")


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("unknown_session", {"session_template_id": None}),
        ("missing_times", {"starts_at": None}),
        ("missing_times", {"ends_at": None}),
        ("ends_before_it_starts", {"ends_at": CREATED}),
    ],
)
def test_a_session_is_left_out_for_a_reason(reason: str, changes: dict[str, Any]) -> None:
    """The closed list of reasons."""
    assert session.transform({**SESSION, **changes}) == Skip(reason)


def test_an_attendee_is_drafted_or_left_out() -> None:
    """A line without a referral is of nobody."""
    assert attendance.attendee(ATTENDANCE) == {
        "source_attendance_id": "t1",
        "session_id": "s1",
        "referral_id": "a1",
    }
    nobody = {**ATTENDANCE, "source_referral_id": None}
    assert attendance.attendee(nobody) == Skip("missing_referral")


@pytest.mark.parametrize(("stored", "told"), [(1, True), (0, False), (None, None)])
def test_an_attendance_is_drafted(stored: int | None, told: object) -> None:
    """With the code that M&D knows."""
    values: Any = attendance.attendance({**ATTENDANCE, "is_legitimate": stored})
    assert (values["outcome_type_code"], values["legitimate_absence"]) == ("UAAB", told)
    assert values["created_at"] == CREATED


def test_an_attendance_of_an_unknown_outcome_is_left_out() -> None:
    """And one that was never recorded has no time."""
    assert attendance.attendance({**ATTENDANCE, "outcome_code": "X"}) == Skip("unknown_outcome")
    values: Any = attendance.attendance({**ATTENDANCE, "recorded_at": None})
    assert values["created_at"] is MISSING


@pytest.mark.parametrize(
    ("value", "at"),
    [("9:05", time(9, 5)), ("23:59", time(23, 59)), ("24:00", None), ("6pm", None), (None, None)],
)
def test_a_time_of_day_is_read(value: object, at: time | None) -> None:
    """Hours and minutes, nothing else."""
    assert reading.clock(value) == at
