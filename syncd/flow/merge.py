"""The row rule: what becomes of a record, given both sides and the memory of it.

Read ``merge_tables.py`` first: everything here only looks up a line of its row rule and carries
it out. It is pure: the caller holds entry and target row under lock, writes what the decision
says, and confirms it with what the target then returned, all in one transaction (case 75).

A new conflict of a column replaces the one that is open; ``closed`` ends open ones before that,
and may name columns that have none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from syncd.errors import InvariantError
from syncd.flow.fingerprint import Hasher
from syncd.flow.merge_columns import (
    REASON_CHARACTERS,
    Merged,
    RowHashes,
    Sides,
    compared,
    edited,
    merge_columns,
    observed,
)
from syncd.flow.merge_tables import ROW_RULE, RowLine, Step
from syncd.flow.merge_timestamps import merge_by_timestamps
from syncd.flow.model import (
    MISSING,
    ColumnConflict,
    Decision,
    Entry,
    Hashes,
    Outcome,
    Ownership,
    Plan,
    Row,
    State,
    Write,
)

TARGET_DELETED: Final = "target_deleted"


class Mark(Struct, frozen=True):
    """What the read knows of a record, to be stored in its entry."""

    key: bytes
    digest: int
    digest_epoch: int
    fingerprint: bytes
    hash_version: int
    source_epoch: int
    position: int
    run_id: int


class _Case(Struct, frozen=True):
    """One record, all that is known of it.

    ``draft`` and ``target`` are () where there is no row. The bases are the entry's, filled up
    to the plan's width. ``edits`` holds the hashes of what staff edited in a row to be deleted.
    """

    plan: Plan
    entry: Entry
    draft: Row
    target: Row
    hashes: RowHashes
    source_base: Hashes
    target_base: Hashes
    edits: Hashes


class _Result(Struct, frozen=True):
    """What a step came to; the mark and the row rule know the rest of the next entry."""

    merged: Merged
    outcome: Outcome
    reason: str = ""
    write: Write = Write.NOTHING
    state: State | None = None  # where it is not the line's


def merge_row(
    plan: Plan,
    hasher: Hasher,
    mark: Mark,
    *,
    entry: Entry | None,
    draft: Row | None,
    target: Row | None,
    hashes: RowHashes | None = None,
    forced: Mapping[str, bytes] | None = None,
    previous_run: bytes | None = None,
) -> Decision:
    """Decide for one record; the caller holds ``entry`` and ``target`` under lock.

    ``draft`` None means that the source provably lacks the record; ``target`` None that the
    target has no row; ``hashes`` are those of both where a batch was hashed at once. ``entry``'s
    bases follow ``plan.drafted``. ``forced`` maps a column of the
    target to the hash of the value that an operator saw when he decided for the source: where it
    still stands the source's value is written, else the conflict is reported again.
    ``previous_run`` is the time of the last run for ``plan.timestamps``, None on the first run.
    """
    if entry is None:
        entry = Entry(key=mark.key)
    elif (mark.source_epoch, mark.position) < (entry.source_epoch, entry.position):
        return Decision(Write.NOTHING, entry, Outcome.STALE, "older than what was seen before")
    if hashes is None:
        hashes = RowHashes(hasher.columns(draft or ()), hasher.columns(target or ()))
    case = _case(plan, entry, draft, target, hashes)
    line = ROW_RULE[entry.state, draft is not None, target is not None, any(case.edits)]
    if line.step is Step.COLUMNS:
        result = _columns(case, forced or {}, previous_run)
    elif line.step is Step.ADOPT:
        result = _adopt(case, forced or {})
    else:
        result = _STEPS[line.step](case)
    return _decision(case, mark, line, result, present=draft is not None)


def confirm(
    plan: Plan,
    hasher: Hasher,
    decision: Decision,
    draft: Row,
    stored: Row,
    locked: Row | None = None,
) -> Entry:
    """The final entry of a written row: ``target_base`` is what the target returned (case 66).

    ``locked`` is the row as it was before the write; with it, what a trigger of the target
    changed in columns that we did not write counts as ours, not as an edit.
    """
    entry = decision.entry
    bases = list(entry.target_base)
    own = _own_columns(plan) if decision.write is Write.INSERT else decision.written
    for at in own:
        is_as_sent = stored[at] == draft[at]
        bases[at] = entry.source_base[at] if is_as_sent else hasher.column(stored[at])
    if locked is not None:
        for at, (before, after) in enumerate(zip(locked, stored, strict=True)):
            if before != after and at not in own and hasher.column(before) == bases[at]:
                bases[at] = hasher.column(after)
    return replace(entry, target_base=tuple(bases))


def _case(
    plan: Plan, entry: Entry, draft: Row | None, target: Row | None, hashes: RowHashes
) -> _Case:
    bases = entry.source_base, entry.target_base
    if bases == ((), ()):
        bases = ((b"",) * len(plan.drafted),) * 2
    elif not len(bases[0]) == len(bases[1]) == len(plan.drafted):
        raise InvariantError(
            f"entity {plan.name}: an entry has {len(bases[0])} and {len(bases[1])} column hashes, "
            f"expected {len(plan.drafted)}",
            hint="it was read with another shape; nothing was written",
        )
    edits: Hashes = ()
    if draft is None and target is not None and entry.state is State.LIVE:
        edits = edited(plan, target, hashes.target, bases)
    return _Case(plan, entry, draft or (), target or (), hashes, *bases, edits)


def _decision(
    case: _Case, mark: Mark, line: RowLine, result: _Result, *, present: bool
) -> Decision:
    """The decision with its complete next entry."""
    merged, reason = result.merged, result.reason[:REASON_CHARACTERS]
    incarnation = case.entry.incarnation + (line.step is Step.RETURN)
    entry = Entry(
        key=mark.key,
        digest=mark.digest,
        digest_epoch=mark.digest_epoch,
        fingerprint=mark.fingerprint,
        hash_version=mark.hash_version,
        revision=case.plan.revision,
        shape=case.plan.shape,
        source_epoch=mark.source_epoch,
        position=mark.position,
        state=result.state or line.state,
        present=present,
        open=merged.is_open,
        incarnation=incarnation,
        source_base=merged.source_base,
        target_base=merged.target_base,
        outcome=result.outcome,
        reason=reason,
        run_id=mark.run_id,
    )
    return Decision(
        result.write,
        entry,
        result.outcome,
        reason,
        merged.written,
        merged.conflicts,
        merged.closed,
    )


def _own_columns(plan: Plan) -> list[int]:
    """Columns that an insert makes ours: all but the computed ones."""
    return [at for at, c in enumerate(plan.drafted) if c.ownership is not Ownership.COMPUTED]


def _ended(case: _Case, still: Sequence[str] = ()) -> tuple[str, ...]:
    """Columns of an open row that have no conflict any more: all but ``still``.

    Which of them had one the ledger knows; a row that is open no more leaves none behind.
    """
    if not case.entry.open:
        return ()
    return tuple(name for name in compared(case.plan) if name not in still)


def _standing(conflicts: Sequence[ColumnConflict]) -> list[str]:
    """Columns whose conflict stays: one that was overwritten is only told."""
    return [conflict.column for conflict in conflicts if conflict.kind != "overwritten"]


def _insert(case: _Case) -> _Result:
    """Write every column of which the source speaks; the others take their default."""
    draft, blank = case.draft, (b"",) * len(case.draft)
    written = tuple(at for at in _own_columns(case.plan) if draft[at] is not MISSING)
    hashes, base = case.hashes.draft, list(blank)
    for at in written:
        base[at] = hashes[at]
    merged = Merged(tuple(base), blank, written, closed=_ended(case))
    return _Result(merged, Outcome.INSERTED, write=Write.INSERT)


def _return(case: _Case) -> _Result:
    return replace(_insert(case), reason="returned")


def _adopt(case: _Case, forced: Mapping[str, bytes]) -> _Result:
    """A row of the target that is not ours: what is equal becomes ours, nothing else."""
    was_marked = case.plan.soft_delete and case.entry.state is State.SRC_DELETED
    if was_marked and any(case.target_base):
        return _columns(case, forced, None)  # it was only marked as gone, and is known well
    blank = (b"",) * len(case.draft)
    merged = merge_columns(
        Sides(case.plan, case.draft, case.target, case.hashes, blank, blank, forced, adopting=True)
    )
    return _row_result(merged, Outcome.LINKED, _ended(case, _standing(merged.conflicts)))


def _columns(case: _Case, forced: Mapping[str, bytes], previous_run: bytes | None) -> _Result:
    entry = case.entry
    sides = Sides(
        case.plan,
        case.draft,
        case.target,
        case.hashes,
        case.source_base,
        case.target_base,
        forced,
        is_open=entry.open,
        disputed=entry.disputed,
    )
    if case.plan.timestamps is not None:
        merged = merge_by_timestamps(sides, case.plan.timestamps, previous_run)
        otherwise = Outcome.SKIPPED if merged.pending else Outcome.UNCHANGED
        return _row_result(merged, otherwise, _ended(case))
    merged = merge_columns(sides)
    ended = merged.closed
    if entry.state is State.ORPHAN_KEPT or not merged.is_open:
        ended = _ended(case, (*_standing(merged.conflicts), *merged.pending))
    return _row_result(merged, Outcome.UNCHANGED, ended)


def _row_result(merged: Merged, otherwise: Outcome, ended: tuple[str, ...]) -> _Result:
    """The outcome of the column rule for the row."""
    if merged.is_stopped:
        return _Result(merged, Outcome.CONFLICT, merged.reason, state=State.QUARANTINED)
    outcome = otherwise
    if merged.conflicts:
        outcome = Outcome.CONFLICT
    elif merged.written:
        outcome = Outcome.UPDATED
    write = Write.UPDATE if merged.written else Write.NOTHING
    return _Result(replace(merged, closed=ended), outcome, merged.reason, write)


def _lost(case: _Case) -> _Result:
    """Staff deleted the row: a conflict where the source has changed since, told once."""
    plan, old = case.plan, case.source_base
    new = observed(plan, old, case.draft, case.hashes.draft)
    conflicts = tuple(
        ColumnConflict(column.into, bs, hs, b"", TARGET_DELETED)
        for column, bs, hs in zip(plan.drafted, old, new, strict=True)
        if hs != bs
    )
    merged = Merged(
        new,
        case.target_base,
        conflicts=conflicts,
        closed=_ended(case, _standing(conflicts)),
        is_open=bool(conflicts),
    )
    outcome = Outcome.CONFLICT if conflicts else Outcome.SKIPPED
    return _Result(merged, outcome, TARGET_DELETED)


def _observe(case: _Case) -> _Result:
    """The row stays deleted; a conflict about it stays open until an operator looks."""
    base = case.source_base
    if case.draft:
        base = observed(case.plan, base, case.draft, case.hashes.draft)
    was_deleted = case.entry.state is State.TGT_DELETED
    merged = Merged(
        base,
        case.target_base,
        closed=() if was_deleted else _ended(case),
        is_open=was_deleted and case.entry.open,
    )
    return _Result(merged, Outcome.SKIPPED, TARGET_DELETED)


def _delete(case: _Case) -> _Result:
    """Nothing of staff's is lost; the tombstone needs no bases, a return starts anew.

    A row that is only marked as deleted stays, and so does the memory of what it holds; whatever
    the source says on its return is news where it is something else.
    """
    base = case.target_base if case.plan.soft_delete else ()
    return _Result(Merged(base, base, closed=_ended(case)), Outcome.DELETED, write=Write.DELETE)


def _keep(case: _Case) -> _Result:
    """Keep what staff edited; each edited column is a conflict."""
    columns = zip(case.plan.drafted, case.source_base, case.target_base, case.edits, strict=True)
    conflicts: list[ColumnConflict] = []
    waiting: list[str] = []  # Where an older conflict stands: it goes on if the record returns.
    for column, bs, bt, ht in columns:
        if ht:
            conflicts.append(ColumnConflict(column.into, bs, b"", ht, "delete_vs_edit"))
        elif bs != bt:
            waiting.append(column.into)
    names = _standing(conflicts)
    merged = Merged(
        case.source_base,
        case.target_base,
        conflicts=tuple(conflicts),
        closed=_ended(case, (*names, *waiting)),
        is_open=True,
    )
    return _Result(merged, Outcome.CONFLICT, f"delete_vs_edit:{','.join(names)}")


def _both_gone(case: _Case) -> _Result:
    merged = Merged(case.entry.source_base, case.entry.target_base, closed=_ended(case))
    return _Result(merged, Outcome.UNCHANGED, "gone on both sides")


def _rest(case: _Case) -> _Result:
    return _Result(_as_it_was(case), Outcome.UNCHANGED)


def _aside(case: _Case) -> _Result:
    return _Result(_as_it_was(case), Outcome.SKIPPED, "quarantined")


def _as_it_was(case: _Case) -> Merged:
    entry = case.entry
    return Merged(entry.source_base, entry.target_base, is_open=entry.open)


_STEPS: Final[dict[Step, Callable[[_Case], _Result]]] = {
    Step.INSERT: _insert,
    Step.RETURN: _return,
    Step.LOST: _lost,
    Step.OBSERVE: _observe,
    Step.DELETE: _delete,
    Step.KEEP: _keep,
    Step.BOTH_GONE: _both_gone,
    Step.REST: _rest,
    Step.ASIDE: _aside,
}
