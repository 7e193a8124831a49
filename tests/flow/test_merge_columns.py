"""The column rule, line by line; every expectation is written out by hand.

A, B and C are values of the source, X what staff typed, "" a column without a base.
"""

import pytest
from msgspec import Struct

from syncd.flow.merge import merge_row
from syncd.flow.merge_tables import COLUMN_RULE, SOURCE_RULE
from syncd.flow.model import (
    MISSING,
    ColumnConflict,
    Decision,
    Outcome,
    Ownership,
    State,
    Value,
    Write,
)
from tests.flow.merge_world import (
    HASHER,
    entry_of,
    hash_of,
    hashes_of,
    mark_at,
    merged,
    plan_of,
)

KEEP, WRITE = False, True


class Case(Struct, frozen=True):
    """A column before and after. ``base``, ``row``: (bs, bt) and (s, t)."""

    name: str
    base: tuple[Value | str, Value | str]
    row: tuple[Value, Value]
    write: bool
    after: tuple[Value | str, Value | str]
    outcome: Outcome
    reason: str = ""
    was_open: bool = False
    is_open: bool = False
    kind: str = ""  # of the conflict that is reported
    closed: bool = False


def check(case: Case, decision: Decision) -> None:
    """Every visible part of a decision about the single column ``status``."""
    bs, bt = case.after
    entry = decision.entry
    assert decision.written == ((0,) if case.write else ())
    assert decision.write is (Write.UPDATE if case.write else Write.NOTHING)
    assert (decision.outcome, decision.reason) == (case.outcome, case.reason)
    assert entry.source_base == hashes_of(bs)
    assert entry.target_base == hashes_of(bt)
    assert entry.open is case.is_open
    assert entry.state is State.LIVE
    assert [c.kind for c in decision.conflicts] == ([case.kind] if case.kind else [])
    assert decision.closed == (("status",) if case.closed else ())


MERGE = (
    Case("nothing changed", (b"A", b"A"), (b"A", b"A"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
    Case("source changed", (b"A", b"A"), (b"B", b"A"), WRITE, (b"B", b"B"), Outcome.UPDATED),
    Case(
        "staff took their edit back while a conflict was open",
        *((b"B", b"A"), (b"B", b"A"), WRITE, (b"B", b"B"), Outcome.UPDATED, "healed:status"),
        was_open=True,
        closed=True,
    ),
    Case(
        "staff edited",
        *((b"A", b"A"), (b"A", b"X"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
        "target_owned:status",
    ),
    Case(
        "the conflict goes on",
        *((b"B", b"A"), (b"B", b"X"), KEEP, (b"B", b"A"), Outcome.UNCHANGED),
        "target_owned:status",
        was_open=True,
        is_open=True,
    ),
    Case(
        "staff gave in",
        *((b"B", b"A"), (b"B", b"B"), KEEP, (b"B", b"B"), Outcome.UNCHANGED),
        "converged:status",
        was_open=True,
        closed=True,
    ),
    Case(
        "both set the same value",
        *((b"A", b"A"), (b"B", b"B"), KEEP, (b"B", b"B"), Outcome.UNCHANGED),
        "converged:status",
    ),
    Case(
        "both changed",
        *((b"A", b"A"), (b"B", b"X"), KEEP, (b"B", b"A"), Outcome.CONFLICT, "conflict:status"),
        is_open=True,
        kind="both_changed",
    ),
    Case(
        "the source changed again",
        *((b"B", b"A"), (b"C", b"X"), KEEP, (b"C", b"A"), Outcome.CONFLICT, "conflict:status"),
        was_open=True,
        is_open=True,
        kind="both_changed",
    ),
    Case(
        "the source came to what the target had made of its old value",
        *((b"a", b"A"), (b"A", b"A"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
        "converged:status",
    ),
    Case(
        "the source returned to the base of the edit",
        *((b"B", b"A"), (b"A", b"X"), KEEP, (b"A", b"A"), Outcome.UNCHANGED, "returned:status"),
        was_open=True,
        closed=True,
    ),
    Case(
        "staff set NULL",
        *((b"A", b"A"), (b"A", None), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
        "target_owned:status",
    ),
    Case("the source set NULL", (b"A", b"A"), (None, b"A"), WRITE, (None, None), Outcome.UPDATED),
    Case(
        "NULL and '' are two values (case 57)",
        *((None, None), (b"", None), WRITE, (b"", b""), Outcome.UPDATED),
    ),
    Case(
        "the target stores what it likes, nothing changed (case 66)",
        *((b"a", b"A"), (b"a", b"A"), KEEP, (b"a", b"A"), Outcome.UNCHANGED),
    ),
)

WITHOUT_BASE = (
    Case(
        "equal", ("", ""), (b"A", b"A"), KEEP, (b"A", b"A"), Outcome.UNCHANGED, "converged:status"
    ),
    Case("the target is NULL", ("", ""), (b"A", None), WRITE, (b"A", b"A"), Outcome.UPDATED),
    Case(
        "the target holds something",
        *(("", ""), (b"A", b"X"), KEEP, (b"A", ""), Outcome.CONFLICT, "conflict:status"),
        is_open=True,
        kind="staff_created",
    ),
    Case(
        "resolved for the target, source as it was",
        *((b"B", ""), (b"B", b"X"), KEEP, (b"B", ""), Outcome.UNCHANGED, "target_owned:status"),
    ),
    Case(
        "resolved for the target, staff's NULL stays",
        *((b"B", ""), (b"B", None), KEEP, (b"B", ""), Outcome.UNCHANGED, "target_owned:status"),
    ),
    Case(
        "resolved for the target, then the source changed",
        *((b"B", ""), (b"C", b"X"), KEEP, (b"C", ""), Outcome.CONFLICT, "conflict:status"),
        is_open=True,
        kind="both_changed",
    ),
    Case(
        "resolved for the target, then staff typed the source's value",
        *((b"B", ""), (b"B", b"B"), KEEP, (b"B", b"B"), Outcome.UNCHANGED, "converged:status"),
    ),
)

MISSING_CASES = (
    Case(
        "the source is silent",
        *((b"A", b"A"), (MISSING, b"A"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
    ),
    Case(
        "the source is silent and staff edited",
        *((b"A", b"A"), (MISSING, b"X"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
    ),
    Case(
        "the source falls silent during a conflict",
        *((b"B", b"A"), (MISSING, b"X"), KEEP, (b"B", b"A"), Outcome.UNCHANGED),
        was_open=True,
        is_open=True,
    ),
    Case(
        "the source falls silent and staff take their edit back",
        *((b"B", b"A"), (MISSING, b"A"), KEEP, (b"B", b"A"), Outcome.UNCHANGED),
        was_open=True,
        is_open=True,
    ),
    Case(
        "the source falls silent and staff give in",
        *((b"B", b"A"), (MISSING, b"B"), KEEP, (b"B", b"A"), Outcome.UNCHANGED),
        was_open=True,
        is_open=True,
    ),
    Case(
        "the source never said anything, the target has its default",
        *(("", b"D"), (MISSING, b"D"), KEEP, ("", b"D"), Outcome.UNCHANGED),
        was_open=True,
        closed=True,
    ),
    Case(
        "the source speaks for the first time",
        *(("", b"D"), (b"A", b"D"), WRITE, (b"A", b"A"), Outcome.UPDATED),
    ),
    Case(
        "the source speaks for the first time, but staff were earlier",
        *(("", b"D"), (b"A", b"X"), KEEP, (b"A", b"D"), Outcome.CONFLICT, "conflict:status"),
        is_open=True,
        kind="both_changed",
    ),
)

SOURCE_OWNED = (
    Case("nothing changed", (b"A", b"A"), (b"A", b"A"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
    Case("source changed", (b"A", b"A"), (b"B", b"A"), WRITE, (b"B", b"B"), Outcome.UPDATED),
    Case(
        "drift",
        *((b"A", b"A"), (b"A", b"X"), WRITE, (b"A", b"A"), Outcome.UPDATED, "drift:status"),
    ),
    Case(
        "drift and a change",
        *((b"A", b"A"), (b"B", b"X"), WRITE, (b"B", b"B"), Outcome.UPDATED, "drift:status"),
    ),
    Case(
        "without a base",
        *(("", ""), (b"A", b"X"), WRITE, (b"A", b"A"), Outcome.UPDATED, "drift:status"),
    ),
    Case(
        "the target stores what it likes (case 66)",
        *((b"a", b"A"), (b"a", b"A"), KEEP, (b"a", b"A"), Outcome.UNCHANGED),
    ),
    Case("silent", (b"A", b"A"), (MISSING, b"X"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
    Case(
        "equal again",
        *((b"A", b"A"), (b"B", b"B"), KEEP, (b"B", b"B"), Outcome.UNCHANGED),
        "converged:status",
    ),
)

NEVER_WRITTEN = (
    Case("nothing changed", (b"A", b"A"), (b"A", b"A"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
    Case("source changed", (b"A", b"A"), (b"B", b"A"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
    Case("target changed", (b"A", b"A"), (b"A", b"X"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
    Case("both changed", (b"A", b"A"), (b"B", b"X"), KEEP, (b"A", b"A"), Outcome.UNCHANGED),
    Case("without a base", ("", ""), (b"B", b"X"), KEEP, ("", ""), Outcome.UNCHANGED),
)

BY_OWNERSHIP = [
    *((Ownership.MERGE, case) for case in (*MERGE, *WITHOUT_BASE, *MISSING_CASES)),
    *((Ownership.SOURCE, case) for case in SOURCE_OWNED),
    *((Ownership.TARGET, case) for case in NEVER_WRITTEN),
    *((Ownership.COMPUTED, case) for case in NEVER_WRITTEN),
]


@pytest.mark.parametrize(
    ("ownership", "case"), BY_OWNERSHIP, ids=[f"{o}-{c.name}" for o, c in BY_OWNERSHIP]
)
def test_a_line_of_the_column_rule(ownership: Ownership, case: Case) -> None:
    """A column is written, kept, remembered and reported as its line says."""
    plan = plan_of("status", ownership={"status": ownership})
    (bs, bt), (s, t) = case.base, case.row
    check(case, merged(plan, (bs,), (bt,), (s,), (t,), is_open=case.was_open))


def test_the_column_rule_has_a_line_for_everything() -> None:
    """Both tables answer all eight combinations of tc, sc and s = t."""
    every = {
        (tc, sc, same) for tc in (False, True) for sc in (False, True) for same in (False, True)
    }
    assert set(COLUMN_RULE) == set(SOURCE_RULE) == every


def test_a_conflict_names_the_three_hashes() -> None:
    """A conflict holds the hash of the old base, of the source's and of the target's value."""
    decision = merged(plan_of("status"), (b"A",), (b"A",), (b"B",), (b"X",))
    assert decision.conflicts == (
        ColumnConflict("status", hash_of(b"A"), hash_of(b"B"), hash_of(b"X"), "both_changed"),
    )


def test_written_columns_stay_on_the_old_base_until_they_are_confirmed() -> None:
    """A decision that is never carried out leaves a base that protects the target's value."""
    decision = merge_row(
        plan_of("status"),
        HASHER,
        mark_at(2),
        entry=entry_of(hashes_of(b"A"), hashes_of(b"A")),
        draft=(b"B",),
        target=(b"A",),
    )
    assert decision.entry.target_base == hashes_of(b"A")
