"""The merge rule as two tables; hold them beside the reference page, they are its lines.

``ROW_RULE`` says what becomes of a row and is carried out in ``merge.py``. ``COLUMN_RULE`` says
what becomes of a column of a row that both sides have and is carried out in ``merge_columns.py``.
Nothing is decided anywhere else.
"""

from enum import StrEnum
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from syncd.flow.model import OnConflict, State

Base: TypeAlias = Literal["=", "s"]


class Verdict(StrEnum):
    """The report of a line; in the order in which a reason names them."""

    CONFLICT = "conflict"
    OVERWRITTEN = "overwritten"
    FORCED = "forced"
    DRIFT = "drift"
    HEALED = "healed"
    CONVERGED = "converged"
    RETURNED = "returned"
    TARGET_OWNED = "target_owned"
    UPDATED = "updated"
    KEPT = "kept"
    UNCHANGED = "unchanged"


class Line(Struct, frozen=True):
    """What to do: a verdict, whether ``s`` is written, and both bases afterwards.

    "=" leaves a base as it is. "s" moves it to the source's value; for ``bt`` that is always
    taken from the target: the hash of ``t``, or of what the read-back returns after a write.
    """

    verdict: Verdict
    write: bool
    bt: Base
    bs: Base


Table: TypeAlias = dict[tuple[bool, bool, bool], Line]

_0, _1 = False, True

COLUMN_RULE: Final[Table] = {
    # tc  sc  s = t      report              write bt   bs
    (_0, _0, _1): Line(Verdict.UNCHANGED, _0, "=", "="),
    (_0, _1, _0): Line(Verdict.UPDATED, _1, "s", "s"),
    (_0, _1, _1): Line(Verdict.CONVERGED, _0, "s", "s"),
    (_0, _0, _0): Line(Verdict.HEALED, _1, "s", "s"),  # After a conflict staff took theirs back.
    (_1, _0, _0): Line(Verdict.TARGET_OWNED, _0, "=", "="),
    (_1, _0, _1): Line(Verdict.CONVERGED, _0, "s", "s"),
    (_1, _1, _1): Line(Verdict.CONVERGED, _0, "s", "s"),
    (_1, _1, _0): Line(Verdict.CONFLICT, _0, "=", "s"),
}

# Ownership `source`: what the target changed is drift, told and written over.
SOURCE_RULE: Final[Table] = COLUMN_RULE | {
    (_1, _0, _0): Line(Verdict.DRIFT, _1, "s", "s"),
    (_1, _1, _0): Line(Verdict.DRIFT, _1, "s", "s"),
}

# What replaces a line that keeps ``t``.
RETURNED: Final = Line(Verdict.RETURNED, _0, "=", "s")  # The source is back at the edit's base.
KEPT: Final = Line(Verdict.KEPT, _0, "=", "s")  # Ownership `initial`, and staff edited the row.
FORCED: Final = Line(Verdict.FORCED, _1, "s", "s")  # An operator decided for the source.
REFUSED: Final = Line(Verdict.CONFLICT, _0, "=", "s")  # He did, but ``t`` is not what he saw.

# What a conflict becomes; a quarantine stops the whole row.
ON_CONFLICT: Final[dict[OnConflict, Line | None]] = {
    OnConflict.TARGET_WINS: None,
    OnConflict.QUARANTINE: None,
    OnConflict.SOURCE_WINS: Line(Verdict.OVERWRITTEN, _1, "s", "s"),
}


class Step(StrEnum):
    """The actions of the row rule."""

    INSERT = "insert"
    RETURN = "return"  # insert as a new incarnation
    ADOPT = "adopt"  # staff made the row: equal columns become ours, the rest stays theirs
    COLUMNS = "columns"  # the column rule
    LOST = "lost"  # staff deleted the row: never recreated, a conflict if the source changed
    OBSERVE = "observe"  # it stays deleted: only source base and position advance
    DELETE = "delete"
    KEEP = "keep"  # gone at the source, but staff edited it
    BOTH_GONE = "both_gone"
    REST = "rest"  # only position and digest advance
    ASIDE = "aside"  # in quarantine


class RowLine(Struct, frozen=True):
    """One line of the row rule: the action and the state afterwards."""

    step: Step
    state: State


RowKey: TypeAlias = tuple[State, bool, bool, bool]

_ANY: Final = (_0, _1)

# Base state; source row present; target row present; ``t`` differs from ``bt`` in any column,
# which is looked at only where a delete depends on it.
_ROW_LINES: Final = (
    (State.NONE, (_1,), (_0,), _ANY, Step.INSERT, State.LIVE),
    (State.NONE, (_1,), (_1,), _ANY, Step.ADOPT, State.LIVE),
    (State.NONE, (_0,), _ANY, _ANY, Step.REST, State.SRC_DELETED),
    (State.LIVE, (_1,), (_1,), _ANY, Step.COLUMNS, State.LIVE),
    (State.LIVE, (_1,), (_0,), _ANY, Step.LOST, State.TGT_DELETED),
    (State.LIVE, (_0,), (_1,), (_0,), Step.DELETE, State.SRC_DELETED),
    (State.LIVE, (_0,), (_1,), (_1,), Step.KEEP, State.ORPHAN_KEPT),
    (State.LIVE, (_0,), (_0,), _ANY, Step.BOTH_GONE, State.TGT_DELETED),
    (State.SRC_DELETED, (_1,), (_0,), _ANY, Step.RETURN, State.LIVE),
    (State.SRC_DELETED, (_1,), (_1,), _ANY, Step.ADOPT, State.LIVE),
    (State.SRC_DELETED, (_0,), _ANY, _ANY, Step.REST, State.SRC_DELETED),
    (State.ORPHAN_KEPT, (_1,), (_1,), _ANY, Step.COLUMNS, State.LIVE),
    (State.ORPHAN_KEPT, (_1,), (_0,), _ANY, Step.OBSERVE, State.TGT_DELETED),
    (State.ORPHAN_KEPT, (_0,), _ANY, _ANY, Step.REST, State.ORPHAN_KEPT),
    (State.TGT_DELETED, _ANY, (_0,), _ANY, Step.OBSERVE, State.TGT_DELETED),
    (State.TGT_DELETED, (_1,), (_1,), _ANY, Step.ADOPT, State.LIVE),
    (State.TGT_DELETED, (_0,), (_1,), _ANY, Step.REST, State.TGT_DELETED),
    (State.QUARANTINED, _ANY, _ANY, _ANY, Step.ASIDE, State.QUARANTINED),
)

ROW_RULE: Final[dict[RowKey, RowLine]] = {
    (base, source, target, was_edited): RowLine(step, state)
    for base, sources, targets, edits, step, state in _ROW_LINES
    for source in sources
    for target in targets
    for was_edited in edits
}
