"""The column rule: who may write a column, and what is remembered of it afterwards.

Three values are compared: ``s``, what the source says now; ``t``, what the target holds now; and
the memory of both as hashes. ``bs`` is the source's value last observed and advances with every
look; ``bt`` is the target's value as read back after our last write and advances only when we
write or when both sides agree. From these follow ``tc`` (the target changed: ``t`` is not
``bt``), ``sc`` (the source changed: ``s`` is not ``bs``) and ``same`` (``s`` equals ``t``), and
``COLUMN_RULE`` says what to do. It is the table of the reference, line for line.

A column group is judged as one: ``tc`` and ``sc`` if any member is, ``same`` if all are. Only
members with ownership ``merge`` take part; the others follow their own.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from syncd.flow.merge_tables import (
    COLUMN_RULE,
    FORCED,
    KEPT,
    ON_CONFLICT,
    REFUSED,
    RETURNED,
    SOURCE_RULE,
    Line,
    Verdict,
)
from syncd.flow.model import (
    MISSING,
    Column,
    ColumnConflict,
    Hashes,
    OnConflict,
    Ownership,
    Plan,
    Row,
    Value,
)

REASON_CHARACTERS: Final = 500

_UNTOLD: Final = (Verdict.UPDATED, Verdict.KEPT, Verdict.UNCHANGED)
_REPORTED: Final = (Verdict.CONFLICT, Verdict.OVERWRITTEN)
_KEEPS: Final = (Verdict.CONFLICT, Verdict.TARGET_OWNED)
_NEVER_COMPARED: Final = (Ownership.TARGET, Ownership.COMPUTED)


class RowHashes(Struct, frozen=True, gc=False):
    """``Hasher.columns`` of both rows of a record, () where there is none."""

    draft: Hashes
    target: Hashes


class Sides(Struct, frozen=True):
    """A row present on both sides, with what is remembered of it.

    ``adopting`` is true for a row of the target that was not ours until now: then nothing of it
    is, its NULLs included. ``is_open`` says that a conflict is pending (``Entry.open``).
    """

    plan: Plan
    draft: Row
    target: Row
    hashes: RowHashes
    source_base: Hashes
    target_base: Hashes
    forced: Mapping[str, bytes] = {}
    adopting: bool = False
    is_open: bool = False
    disputed: frozenset[str] | None = None  # columns with an open conflict; None: any may have one


class Merged(Struct, frozen=True):
    """What became of a row's columns; ``target_base`` of written ones awaits the read-back."""

    source_base: Hashes
    target_base: Hashes
    written: tuple[int, ...] = ()
    conflicts: tuple[ColumnConflict, ...] = ()
    closed: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()  # an older conflict goes on: the source's value waits there
    is_open: bool = False
    is_stopped: bool = False  # a conflict, and the policy is quarantine
    reason: str = ""


class _Look(Struct, frozen=True):
    """One column where something moved. ``hs`` is ``bs`` where the source is silent."""

    at: int
    column: Column
    silent: bool
    hs: bytes
    ht: bytes
    bs: bytes
    bt: bytes
    tc: bool
    same: bool


class _Unit(Struct, frozen=True):
    """Looks that are judged together; ``spoken`` are those of which the source says anything."""

    looks: list[_Look]
    spoken: list[_Look]
    differing: list[_Look]
    tc: bool
    sc: bool


class _Sheet:
    """The next bases, and what there is to tell, while the columns are gone through."""

    __slots__ = ("closed", "conflicts", "notes", "pending", "source_base", "target_base", "written")

    def __init__(self, sides: Sides) -> None:
        self.source_base = list(sides.source_base)
        self.target_base = list(sides.target_base)
        self.written: list[int] = []
        self.conflicts: list[ColumnConflict] = []
        self.closed: list[str] = []
        self.notes: dict[Verdict, list[str]] = {}
        self.pending: list[str] = []


def compared(plan: Plan) -> tuple[str, ...]:
    """Names of the columns that the source may write after the insert, in drafted order."""
    return tuple(c.into for c in plan.drafted if c.ownership not in _NEVER_COMPARED)


def observed(plan: Plan, base: Hashes, draft: Row, hashes: Hashes) -> Hashes:
    """``bs`` after a look at the source where the target's row plays no part."""
    return tuple(
        old if s is MISSING or c.ownership in _NEVER_COMPARED else new
        for c, old, s, new in zip(plan.drafted, base, draft, hashes, strict=True)
    )


def edited(plan: Plan, target: Row, hashes: Hashes, entry_bases: tuple[Hashes, Hashes]) -> Hashes:
    """Per column the hash of ``t`` where staff changed it, else b"".

    The target's own columns count: what people typed there is lost with the row just the same.
    A column of which neither side ever said anything is not edited while it is NULL.
    """
    return tuple(
        b"" if c.ownership is Ownership.COMPUTED or ht == bt or _blank(t, bs, bt) else ht
        for c, t, ht, bs, bt in zip(plan.drafted, target, hashes, *entry_bases, strict=True)
    )


def merge_columns(sides: Sides) -> Merged:
    """The column rule for every column of a row, groups as units."""
    hashes = sides.hashes.draft
    bases = zip(sides.source_base, sides.target_base, strict=True)
    rows = zip(sides.draft, sides.target, hashes, bases, strict=True)
    moved = [at for at, (s, t, hs, (bs, bt)) in enumerate(rows) if not (hs == bs == bt and s == t)]
    looks = [look for at in moved if (look := _look(sides, hashes[at], at))]
    sheet = _Sheet(sides)
    for unit in _units(sides.plan, looks):
        if unit.spoken:
            line = _line(sides, unit, looks)
            _settle(sheet, unit, line)
            _tell(sides, sheet, unit, line)
        else:
            sheet.pending += _pending(sides, unit, is_kept=False)
    return _merged(sides, sheet)


def _look(sides: Sides, hs: bytes, at: int) -> _Look | None:
    """The comparison of one column; None where nothing is ever compared."""
    column = sides.plan.drafted[at]
    if column.ownership in _NEVER_COMPARED:
        return None
    s, t = sides.draft[at], sides.target[at]
    bs, bt = sides.source_base[at], sides.target_base[at]
    same = s == t
    ht = hs if same else sides.hashes.target[at]
    silent = s is MISSING
    if silent:
        hs = bs
    tc = ht != bt and (sides.adopting or not _blank(t, bs, bt))
    return _Look(at, column, silent, hs, ht, bs, bt, tc, same)


def _blank(t: Value, bs: bytes, bt: bytes) -> bool:
    """Whether nothing is remembered of a column and the target holds nothing there."""
    return not bt and not bs and t is None


def _units(plan: Plan, looks: Sequence[_Look]) -> list[_Unit]:
    """What is judged together, in drafted order of the first member."""
    if not plan.groups:
        return [_unit([look]) for look in looks]
    homes: dict[int | frozenset[int], list[_Look]] = {}
    for look in looks:
        homes.setdefault(_home(plan, look), []).append(look)
    return [_unit(members) for members in homes.values()]


def _unit(looks: list[_Look]) -> _Unit:
    # Most are one column, and most of a busy night's time would go into the general form.
    if len(looks) == 1 and not looks[0].silent:
        only = looks[0]
        return _Unit(looks, looks, [] if only.same else looks, only.tc, only.hs != only.bs)
    spoken = [m for m in looks if not m.silent]
    differing = [m for m in spoken if not m.same]
    tc, sc = any(m.tc for m in looks), any(m.hs != m.bs for m in spoken)
    return _Unit(looks, spoken, differing, tc, sc)


def _home(plan: Plan, look: _Look) -> int | frozenset[int]:
    if look.column.ownership is Ownership.MERGE:
        return next((group for group in plan.groups if look.at in group), look.at)
    return look.at


def _line(sides: Sides, unit: _Unit, looks: Sequence[_Look]) -> Line:
    """The line of the table that applies, or what replaces it."""
    tc, sc = unit.tc, unit.sc
    # Where nothing changed on either side and no conflict is pending, ``t`` is how the target
    # stores ``s`` (case 66); writing it again would change nothing, for ever.
    same = not unit.differing or not (tc or sc or _is_disputed(sides, unit))
    ownership = unit.looks[0].column.ownership
    if ownership is Ownership.SOURCE:
        return SOURCE_RULE[tc, sc, same]
    if ownership is Ownership.INITIAL and not same and _row_edited(sides, looks):
        return KEPT
    line = COLUMN_RULE[tc, sc, same]
    return line if line.write or same else _instead(sides, unit, line)


def _is_disputed(sides: Sides, unit: _Unit) -> bool:
    """Whether a conflict of the unit is open, so that staff may have taken theirs back.

    Hashes alone cannot tell that from a target which rounds; the ledger's list of conflicts can.
    """
    if not sides.is_open or sides.disputed is None:
        return sides.is_open
    names = sides.plan.drafted
    home = _home(sides.plan, unit.looks[0])
    members = home if isinstance(home, frozenset) else {home}
    return any(names[at].into in sides.disputed for at in members)


def _instead(sides: Sides, unit: _Unit, line: Line) -> Line:
    """What replaces a line that keeps ``t`` where it differs; the line itself if nothing does."""
    if any(m.column.into in sides.forced for m in unit.differing):
        seen = all(sides.forced.get(m.column.into) == m.ht for m in unit.differing)
        return FORCED if seen else REFUSED
    if line.verdict is Verdict.CONFLICT:
        if all(m.hs == m.bt for m in unit.spoken):
            return RETURNED
        return ON_CONFLICT[sides.plan.on_conflict] or line
    return line


def _settle(sheet: _Sheet, unit: _Unit, line: Line) -> None:
    """Carry the line out on the next bases and the list of columns to write."""
    for m in unit.spoken:
        if line.bs == "s":
            sheet.source_base[m.at] = m.hs
        if line.write and not m.same:
            sheet.written.append(m.at)
        elif line.bt == "s":
            sheet.target_base[m.at] = m.ht


def _row_edited(sides: Sides, looks: Sequence[_Look]) -> bool:
    """Whether staff changed any column that is neither computed nor the source's own."""
    if any(m.tc and not m.same and m.column.ownership is not Ownership.SOURCE for m in looks):
        return True
    bases = zip(sides.source_base, sides.target_base, strict=True)
    rows = zip(sides.draft, sides.target, sides.hashes.target, strict=True)
    columns = zip(sides.plan.drafted, rows, bases, strict=True)
    return any(
        ht != bt and (sides.adopting or not _blank(t, bs, bt))
        for c, (s, t, ht), (bs, bt) in columns
        if c.ownership is Ownership.TARGET and s != t
    )


def _tell(sides: Sides, sheet: _Sheet, unit: _Unit, line: Line) -> None:
    """Note the report of a unit: its names, its conflicts, those that wait and those that ended."""
    verdict = line.verdict
    pending = _pending(sides, unit, is_kept=verdict in _KEEPS)
    sheet.pending += pending
    if sides.is_open and verdict not in _KEEPS and verdict is not Verdict.KEPT:
        ended = _closed(sides.plan, unit, verdict)
        sheet.closed += [name for name in ended if name not in pending]
    if verdict in _UNTOLD:
        return
    names = [m.column.into for m in unit.differing or unit.spoken]
    sheet.notes.setdefault(verdict, []).extend(names)
    if verdict in _REPORTED:
        sheet.conflicts += [_conflict(m, verdict) for m in unit.differing]


def _pending(sides: Sides, unit: _Unit, *, is_kept: bool) -> list[str]:
    """Columns of an open conflict where the source's value waits behind what the target holds.

    In a unit that is kept, members that agree wait too: they may be taken back with the others.
    A silent source leaves its last value waiting, whatever becomes of the unit.
    """
    if not _is_disputed(sides, unit):
        return []
    return [m.column.into for m in unit.looks if m.hs and m.hs != m.bt and (is_kept or m.silent)]


def _conflict(look: _Look, verdict: Verdict) -> ColumnConflict:
    kind = "both_changed" if look.bs or look.bt else "staff_created"
    if verdict is Verdict.OVERWRITTEN:
        kind = "overwritten"
    return ColumnConflict(look.column.into, look.bs, look.hs, look.ht, kind)


def _closed(plan: Plan, unit: _Unit, verdict: Verdict) -> list[str]:
    """Columns of a settled unit that may have had an open conflict.

    A conflict leaves ``bs`` ahead of ``bt``, or an edit; a group's members had theirs together.
    """
    if verdict is not Verdict.FORCED and not any(m.tc or m.bs != m.bt for m in unit.looks):
        return []
    home = _home(plan, unit.looks[0])
    members = sorted(home) if isinstance(home, frozenset) else [home]
    return [plan.drafted[at].into for at in members]


def _merged(sides: Sides, sheet: _Sheet) -> Merged:
    conflicts = tuple(sheet.conflicts)
    blocked = Verdict.CONFLICT in sheet.notes
    if blocked and sides.plan.on_conflict is OnConflict.QUARANTINE:
        reason = reason_of({Verdict.CONFLICT: sheet.notes[Verdict.CONFLICT]})
        source_base, target_base = (
            ((), ()) if sides.adopting else (sides.source_base, sides.target_base)
        )
        return Merged(
            source_base, target_base, (), conflicts, is_open=True, is_stopped=True, reason=reason
        )
    if sides.adopting:
        sheet.notes.pop(Verdict.CONVERGED, None)  # Equal is what an adopted column should be.
    return Merged(
        tuple(sheet.source_base),
        tuple(sheet.target_base),
        tuple(sorted(sheet.written)),
        conflicts,
        tuple(sheet.closed),
        tuple(sheet.pending),
        is_open=blocked or (sides.is_open and bool(sheet.pending)),
        reason=reason_of(sheet.notes) if sheet.notes else "",
    )


def reason_of(notes: Mapping[Verdict, Sequence[str]]) -> str:
    """Text like "healed:a,b; drift:c", in the order of ``Verdict``, at most 500 characters."""
    text = "; ".join(f"{v}:{','.join(notes[v])}" for v in Verdict if v in notes)
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 3] + "..."
