"""The rule for most rows of a busy night, at a stroke.

Where the target holds, column for column, what syncd left there, nobody has edited anything and no
conflict can arise. Then both tables of ``merge_tables`` come to one sentence: write the columns in
which the source has changed, and remember what it said. This says the same as ``merge.merge_row``
wherever it says anything (a property test holds the two together), in a fifth of its time.
"""

from typing import Final

from syncd.flow.merge import Mark
from syncd.flow.merge_columns import RowHashes
from syncd.flow.model import (
    MISSING,
    Decision,
    Entry,
    Outcome,
    Ownership,
    Plan,
    Row,
    State,
    Write,
)

_WRITABLE: Final = frozenset({Ownership.MERGE, Ownership.SOURCE, Ownership.INITIAL})


def is_plain(plan: Plan) -> bool:
    """Whether rows of the plan can be decided here: every column follows the column rule alone."""
    owners = {column.ownership for column in plan.drafted}
    return owners <= _WRITABLE and not plan.groups and plan.timestamps is None


def merge_plain(
    plan: Plan, mark: Mark, entry: Entry, draft: Row, target: Row, hashes: RowHashes
) -> Decision | None:
    """The update of a row that nobody has edited; None where anything is unusual about it.

    For a plan that ``is_plain``, and a record about which no operator has decided.
    """
    base = entry.source_base
    if (
        hashes.target != entry.target_base
        or entry.state is not State.LIVE
        or entry.open
        or entry.run_id == mark.run_id
        or (mark.source_epoch, mark.position) < (entry.source_epoch, entry.position)
        or MISSING in draft
    ):
        return None
    sides = enumerate(zip(hashes.draft, base, strict=True))
    written = tuple([at for at, (hs, bs) in sides if hs != bs])
    if not written or any(draft[at] == target[at] for at in written):
        return None
    following = Entry(
        key=mark.key,
        digest=mark.digest,
        digest_epoch=mark.digest_epoch,
        fingerprint=mark.fingerprint,
        hash_version=mark.hash_version,
        revision=plan.revision,
        shape=plan.shape,
        source_epoch=mark.source_epoch,
        position=mark.position,
        state=State.LIVE,
        incarnation=entry.incarnation,
        source_base=hashes.draft,
        target_base=entry.target_base,
        outcome=Outcome.UPDATED,
        run_id=mark.run_id,
    )
    return Decision(Write.UPDATE, following, Outcome.UPDATED, written=written)
