"""Seed 000's timestamp filter, in place of the column rule; for comparison, and unsafe.

It judges the whole row by two clocks: the source's time must be later than the last run and the
target's time earlier. So it writes over an edit that staff made before the last run (example 4),
and never again updates a row that a run, or a form saved without a change, has touched since
(examples 5 and 6). It stands here so that both policies can be run side by side.
"""

from syncd.flow.merge_columns import Merged, Sides, observed
from syncd.flow.model import MISSING, Ownership, Value

_FILTERED = "timestamps"


def merge_by_timestamps(
    sides: Sides, timestamps: tuple[int, int], previous_run: bytes | None
) -> Merged:
    """All columns that differ, or none.

    ``timestamps`` are the source's and the target's column of ``Plan.timestamps``; the source's
    time is the drafted column of that name. ``previous_run`` is canonical text, None on the first
    run. A time that is NULL, missing or not drafted compares as unknown, and nothing is written:
    what SQL makes of the seed's sentence, literally.
    """
    plan, rows = sides.plan, list(zip(sides.plan.drafted, sides.draft, sides.target, strict=True))
    name = plan.columns[timestamps[0]].name
    source_time = next((s for c, s, _ in rows if c.name == name), None)
    target_time = sides.target[timestamps[1]]
    differing = tuple(
        at
        for at, (c, s, t) in enumerate(rows)
        if c.ownership in (Ownership.SOURCE, Ownership.MERGE) and s is not MISSING and s != t
    )
    chosen = _later(source_time, previous_run) and _later(previous_run, target_time)
    base = observed(plan, sides.source_base, sides.draft, sides.hashes.draft)
    return Merged(
        base,
        sides.target_base,
        written=differing if chosen else (),
        pending=() if chosen else tuple(plan.drafted[at].into for at in differing),
        reason=_FILTERED,
    )


def _later(this: Value, that: Value) -> bool:
    """Whether both are known and ``this`` is later; canonical text sorts as time does."""
    return isinstance(this, bytes) and isinstance(that, bytes) and this > that
