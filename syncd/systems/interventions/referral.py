"""A referral with its place and its histories: from IM's row to M&D's document.

The reasons why one is left out are closed: ``missing_crn``, ``invalid_crn``, ``missing_name``,
``missing_created_at``, ``unknown_sourced_from``, ``missing_reporting_location``,
``missing_licreqno``, ``ambiguous_licreqno`` and ``missing_sourced_from_id``. Warnings keep nothing
out: ``unknown_sex``, ``unknown_date_of_birth``, ``unknown_status_code``, ``unknown_cohort_code``.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

from syncd.flow.model import Issue
from syncd.flow.transform import Drafted, Skip
from syncd.systems.interventions.reading import (
    BY_IMPORT,
    DEFAULT_COHORT,
    FIRST_STATUS,
    STATUSES,
    Record,
    birthday,
    cohort,
    day,
    is_crn,
    midnight,
    moment,
    second_after,
    text,
    unknown,
)

_SEXES: Final = {"M": "Male", "F": "Female"}  # as nDelius describes them, which hydration writes
_PLACE: Final = ("region_name", "pdu_name", "reporting_team_name")
_UNKNOWN_EVENT: Final = 0  # hydration finds the number


def transform(record: Mapping[str, object]) -> Drafted | Skip:
    """The referral as M&D keeps it, or why it is left out."""
    created = day(record, "created_at")
    number = event_id(record)
    reason = missing(record) or (number.reason if isinstance(number, Skip) else "")
    if reason or created is None:
        return Skip(reason or "missing_created_at")
    values = {
        "source_referral_id": record["source_referral_id"],
        "source_updated_at": record["source_updated_at"],
        "person_name": name(record),
        "crn": text(record, "crn"),
        "created_at": midnight(created),
        "intervention_type": "ACP",
        "intervention_name": "Building Choices",
        "setting": "COMMUNITY",
        "event_id": number,
        "event_number": _UNKNOWN_EVENT,
        "sourced_from": record["sourced_from"],
        "sex": _SEXES.get(text(record, "sex")),
        "date_of_birth": birthday(record, before=created),
        **{part: text(record, part) for part in _PLACE},
        "status_history": statuses(record, midnight(created)),
        "cohort_history": [cohort_row(record, midnight(created))],
    }
    return Drafted(values, tuple(_warnings(record, created)))


def missing(record: Record) -> str:
    """What the record lacks that M&D must have, or ''."""
    crn = text(record, "crn")
    if not crn:
        return "missing_crn"
    if not is_crn(crn):
        return "invalid_crn"
    if not name(record):
        return "missing_name"
    if not record["sourced_from"]:
        return "unknown_sourced_from"
    if not all(text(record, part) for part in _PLACE):
        return "missing_reporting_location"
    return ""


def name(record: Record) -> str:
    """First name and last name, as far as they are known."""
    return f"{text(record, 'first_name')} {text(record, 'last_name')}".strip()


def event_id(record: Record) -> str | Skip:
    """The requirement or licence condition: out of the lookup where it must be, else IM's own."""
    if record["needs_licreqno"]:
        numbers = record["licreqnos"]
        if numbers == 1:
            return text(record, "licreqno")
        return Skip("ambiguous_licreqno" if numbers else "missing_licreqno")
    return text(record, "sourced_from_id") or Skip("missing_sourced_from_id")


def statuses(record: Record, created: datetime) -> list[dict[str, object]]:
    """The first status, and the present one where that is another or a later one.

    IM tells one status and when it was given; what was between is not known.
    """
    code = text(record, "status_code")
    given = moment(record, "status_at")
    at = given if given is not None and given > created else second_after(created)
    rows = [_status_row(FIRST_STATUS, created)]
    if code in STATUSES and (code != FIRST_STATUS or at.date() > created.date()):
        rows.append(_status_row(code, at))
    return rows


def _status_row(code: str, at: datetime) -> dict[str, object]:
    return {
        "referral_status_description_id": STATUSES[code],
        "created_at": at.isoformat(),
        "start_date": at.isoformat(),
        "created_by": BY_IMPORT,
    }


def cohort_row(record: Record, created: datetime) -> dict[str, object]:
    """The cohort; one that is not the usual stands after it, if both are ever told."""
    found = cohort(record) or DEFAULT_COHORT
    at = created if found == DEFAULT_COHORT else second_after(created)
    return {"cohort": found, "created_at": at.isoformat(), "created_by": BY_IMPORT}


def _warnings(record: Record, created: date) -> list[Issue]:
    code = text(record, "status_code")
    doubts = {
        "sex": text(record, "sex") not in _SEXES,
        "date_of_birth": birthday(record, before=created) is None,
        "status_code": bool(code) and code not in STATUSES,
        "cohort_code": cohort(record) is None,
    }
    return [unknown(field) for field, doubtful in doubts.items() if doubtful]
