"""A programme group with its weekly times.

Reasons: ``missing_code``, ``missing_region``, ``missing_pdu``, ``missing_delivery_location``,
``missing_created_at``, ``missing_start_date``, ``unknown_sex``, ``unknown_cohort``. A weekly time
that cannot be one is left out with the warning ``unknown_slots``.
"""

from collections.abc import Mapping
from datetime import date
from typing import Final

from syncd.flow.transform import Drafted, Skip
from syncd.systems.interventions.reading import (
    BY_IMPORT,
    Record,
    clock,
    cohort,
    day,
    moment,
    text,
    unknown,
)

_SEXES: Final = {"M": "MALE", "F": "FEMALE", "X": "MIXED"}
_DAYS: Final = (*("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"),)
_NEEDED: Final = {
    "code": "missing_code",
    "region_name": "missing_region",
    "pdu_code": "missing_pdu",
    "pdu_name": "missing_pdu",
    "location_code": "missing_delivery_location",
    "location_name": "missing_delivery_location",
}


def transform(record: Mapping[str, object]) -> Drafted | Skip:
    """The group as M&D keeps it, or why it is left out."""
    reason = missing(record)
    if reason:
        return Skip(reason)
    slots, doubtful = weekly(record["slots"])
    values = {
        "source_group_id": record["source_group_id"],
        "source_updated_at": record["source_updated_at"],
        "code": text(record, "code"),
        "region_name": text(record, "region_name"),
        "cohort": cohort(record),
        "sex": _SEXES[text(record, "sex")],
        "is_ldc": record["is_ldc"] == 1,
        "created_at": record["created_at"],
        "created_by_username": text(record, "created_by") or BY_IMPORT,
        "started_at_date": day(record, "started_at_date"),
        "earliest_possible_start_date": earliest(record),
        "probation_delivery_unit_name": text(record, "pdu_name"),
        "probation_delivery_unit_code": text(record, "pdu_code"),
        "delivery_location_name": text(record, "location_name"),
        "delivery_location_code": text(record, "location_code"),
        "accredited_programme_template_id": record["programme_template_id"],
        "slots": slots,
    }
    return Drafted(values, (unknown("slots"),) if doubtful else ())


def missing(record: Record) -> str:
    """What the record lacks that M&D must have, or ''."""
    for field, reason in _NEEDED.items():
        if not text(record, field):
            return reason
    if moment(record, "created_at") is None:
        return "missing_created_at"
    if earliest(record) is None:
        return "missing_start_date"
    if text(record, "sex") not in _SEXES:
        return "unknown_sex"
    return "" if cohort(record) else "unknown_cohort"


def earliest(record: Record) -> date | None:
    """The earliest day on which it may start; the day on which it did where that is not told."""
    return day(record, "earliest_start_date") or day(record, "started_at_date")


def weekly(slots: object) -> tuple[list[dict[str, str]], bool]:
    """The weekly times, each once and in order; whether any had to be left out."""
    found: set[tuple[int, str]] = set()
    doubtful = False
    for slot in slots if isinstance(slots, list) else []:
        number, at = slot["day"], clock(slot["at"])
        if isinstance(number, int) and 1 <= number <= len(_DAYS) and at is not None:
            found.add((number, at.isoformat()))
        else:
            doubtful = True
    rows = [{"day_of_week": _DAYS[n - 1], "start_time": at} for n, at in sorted(found)]
    return rows, doubtful
