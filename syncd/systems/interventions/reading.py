"""How fields of IM are read: what is cleaned, what is unknown, and what nobody can mean.

A record comes from the staging tables, so its values have the types of those; texts are trimmed
there already. What is not usable is None here; whether that keeps the record out is said by the
transform that asks.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Final, TypeAlias

from syncd.flow.model import Issue, Severity

Record: TypeAlias = Mapping[str, object]

BY_IMPORT: Final = "INTERVENTIONS_MANAGER"

# M&D's own ids of its status descriptions, by IM's codes.
STATUSES: Final = {
    "AA": "76b2f8d8-260c-4766-a716-de9325292609",  # Awaiting assessment
    "AL": "bb1e8c72-cf52-4297-94a4-3745c2a25178",  # Awaiting allocation
    "SN": "336b59cd-b467-4305-8547-6a645a8a3f91",  # Suitable but not ready
    "DF": "69cfa202-47b6-4ae6-8175-69291b6acaaa",  # Deferred
    "DP": "bc8c7024-045b-4a82-bb97-e6b8c0f198cb",  # Deprioritised
    "SC": "5540420d-7754-41aa-b985-3d1d11597cc9",  # Scheduled
    "OP": "70b1ae27-2322-4775-81e0-86fa5cc7d477",  # On programme
    "BR": "afc0b94c-b983-4a68-a109-0be29a7d3b2f",  # Breach (non-attendance)
    "RC": "aec91cd3-fba0-40a4-a5c6-7578b596af75",  # Recall
    "RT": "e9fb9e3a-147b-4f26-aa0c-d852db4b7fef",  # Return to court
    "PC": "c7afd853-b776-4bbd-8f8d-f868b755279a",  # Programme complete
    "WD": "1b476286-2fba-41b4-a1e5-35439ef63270",  # Withdrawn
}
FIRST_STATUS: Final = "AA"
COHORTS: Final = {"GO": "GENERAL_OFFENCE", "SO": "SEXUAL_OFFENCE"}
DEFAULT_COHORT: Final = "GENERAL_OFFENCE"

_CRN: Final = re.compile(r"[A-Z][0-9]{6}")
_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
# Nobody's birthday: IM writes it where it knows none.
_NO_BIRTHDAY: Final = date(1900, 1, 1)


def text(record: Record, name: str) -> str:
    """A text without blanks at its ends and with single ones inside; '' where there is none."""
    value = record[name]
    return " ".join(value.split()) if isinstance(value, str) else ""


def moment(record: Record, name: str) -> datetime | None:
    """A local time, or None."""
    value = record[name]
    return value if isinstance(value, datetime) else None


def day(record: Record, name: str) -> date | None:
    """A date, or None."""
    value = record[name]
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


def midnight(of: date) -> datetime:
    """The beginning of a day: IM's days stand at 00:00 in M&D."""
    return datetime.combine(of, time.min)


def is_crn(value: str) -> bool:
    """Whether a text has the form of a CRN: a letter and six digits."""
    return _CRN.fullmatch(value) is not None


def birthday(record: Record, *, before: date) -> date | None:
    """A date of birth that can be one: after 1900 and before the referral was made."""
    value = day(record, "date_of_birth")
    return value if value is not None and _NO_BIRTHDAY < value < before else None


def clock(value: object) -> time | None:
    """A time of day as ``9:30`` or ``09:30``, or None."""
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    return time(int(found[1]), int(found[2])) if found else None


def cohort(record: Record) -> str | None:
    """The cohort of a code, that of most where there is none; None for a code that is unknown."""
    code = text(record, "cohort_code")
    return COHORTS.get(code) if code else DEFAULT_COHORT


def second_after(at: datetime) -> datetime:
    """The next moment that tells an order: M&D takes the newest row of a history."""
    return at + timedelta(seconds=1)


def unknown(field: str) -> Issue:
    """A warning that a field's value is not known and was left out, or replaced by the usual."""
    return Issue(Severity.WARNING, f"unknown_{field}", field)
