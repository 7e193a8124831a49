"""A referral's place in a group.

Reasons: ``missing_group``, ``missing_referral``, ``missing_created_at``.
"""

from collections.abc import Mapping

from syncd.flow.transform import Skip
from syncd.systems.interventions.reading import BY_IMPORT, moment, text


def transform(record: Mapping[str, object]) -> Mapping[str, object] | Skip:
    """The membership as M&D keeps it, or why it is left out; one that ended is marked."""
    if not text(record, "source_group_id"):
        return Skip("missing_group")
    if not text(record, "source_referral_id"):
        return Skip("missing_referral")
    created = moment(record, "created_at")
    if created is None:
        return Skip("missing_created_at")
    removed = moment(record, "removed_at")
    return {
        "source_allocation_id": record["source_allocation_id"],
        "programme_group_id": record["source_group_id"],
        "referral_id": record["source_referral_id"],
        "created_at": created,
        "created_by_username": text(record, "created_by") or BY_IMPORT,
        "deleted_at": removed,
        "deleted_by_username": BY_IMPORT if removed else None,
    }
