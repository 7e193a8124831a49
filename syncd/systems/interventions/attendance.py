"""Who is expected at a session, and who came.

Reasons: ``missing_referral``, ``unknown_outcome``.
"""

from collections.abc import Mapping
from typing import Final

from syncd.flow.model import MISSING
from syncd.flow.transform import Skip
from syncd.systems.interventions.reading import BY_IMPORT, moment, text

_OUTCOMES: Final = frozenset({"ATTC", "AFTC", "UAAB"})


def attendee(record: Mapping[str, object]) -> Mapping[str, object] | Skip:
    """Who is expected, or why not."""
    if not text(record, "source_referral_id"):
        return Skip("missing_referral")
    return {
        "source_attendance_id": record["source_attendance_id"],
        "session_id": record["source_session_id"],
        "referral_id": record["source_referral_id"],
    }


def attendance(record: Mapping[str, object]) -> Mapping[str, object] | Skip:
    """Who came, or why it is left out."""
    outcome = text(record, "outcome_code")
    if outcome not in _OUTCOMES:
        return Skip("unknown_outcome")
    recorded = moment(record, "recorded_at")
    legitimate = record["is_legitimate"]
    return {
        "source_attendance_id": record["source_attendance_id"],
        "session_id": record["source_session_id"],
        "group_membership_id": record["source_allocation_id"],
        "outcome_type_code": outcome,
        "legitimate_absence": None if legitimate is None else legitimate == 1,
        "recorded_at": recorded,
        "created_by": text(record, "recorded_by") or BY_IMPORT,
        "created_at": recorded or MISSING,
    }
