"""Records and entries to changes: whether a read says anything new.

The digest only chose whom to look at. Here the fingerprint decides, and the position guard drops
what is older than what is already known (rule R of the merge page).
"""

from enum import Enum

from syncd.flow.fingerprint import HASH_VERSION
from syncd.flow.model import PARKED, Entry, Outcome, Plan, State

# A write that the target refused for a natural key is parked as a conflict.
_NOT_STANDING = PARKED | {Outcome.CONFLICT}


class Verdict(Enum):
    """What a read means beside its entry."""

    STALE = "stale"  # an older look than the one remembered
    SAME = "same"  # nothing to decide; the digest may be refreshed
    CHANGED = "changed"  # transform, merge, apply


def is_stale(entry: Entry, source_epoch: int, position: int) -> bool:
    """Whether a look from there is older than the one remembered; an equal one is not."""
    return (source_epoch, position) < (entry.source_epoch, entry.position)


def compare(
    plan: Plan, entry: Entry | None, fingerprint: bytes, source_epoch: int, position: int
) -> Verdict:
    """Judge one read against what the ledger remembers.

    Only a live row whose last outcome stands, under the same rules, can be SAME; an open conflict
    or a parked row is looked at again whatever its fingerprint says.
    """
    if entry is None:
        return Verdict.CHANGED
    if is_stale(entry, source_epoch, position):
        return Verdict.STALE
    same = (
        entry.state is State.LIVE
        and entry.present
        and not entry.open
        and entry.outcome not in _NOT_STANDING
        and entry.fingerprint == fingerprint
        and entry.hash_version == HASH_VERSION
        and entry.revision == plan.revision
        and entry.shape == plan.shape
    )
    return Verdict.SAME if same else Verdict.CHANGED
