"""A session of a group.

Reasons: ``unknown_session`` (M&D's programme has none of these numbers), ``missing_times``,
``ends_before_it_starts``.
"""

from collections.abc import Mapping

from syncd.flow.model import MISSING
from syncd.flow.transform import Skip
from syncd.systems.interventions.reading import BY_IMPORT, moment, text


def transform(record: Mapping[str, object]) -> Mapping[str, object] | Skip:
    """The session as M&D keeps it, or why it is left out."""
    starts, ends = moment(record, "starts_at"), moment(record, "ends_at")
    if record["session_template_id"] is None:
        return Skip("unknown_session")
    if starts is None or ends is None:
        return Skip("missing_times")
    if ends <= starts:
        return Skip("ends_before_it_starts")
    return {
        "source_session_id": record["source_session_id"],
        "source_updated_at": record["source_updated_at"],
        "programme_group_id": record["source_group_id"],
        "module_session_template_id": record["session_template_id"],
        "is_catchup": record["is_catchup"] == 1,
        "is_placeholder": record["is_placeholder"] == 1,
        "location_name": text(record, "location_name") or None,
        "starts_at": starts,
        "ends_at": ends,
        "created_at": moment(record, "created_at") or MISSING,
        "created_by_username": text(record, "created_by") or BY_IMPORT,
    }
