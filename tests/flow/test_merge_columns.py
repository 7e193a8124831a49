"""The column rule, line by line; every expectation is written out by hand.

A, B and C are values of the source, X what staff typed, "" a column without a base.
"""

import pytest
from msgspec import Struct

from syncd.flow.merge import merge_row
from syncd.flow.merge_columns import reason_of
from syncd.flow.merge_tables import COLUMN_RULE, SOURCE_RULE, Verdict
from syncd.flow.model import (
    MISSING,
    ColumnConflict,
    Decision,
    Entry,
    OnConflict,
    Outcome,
    Ownership,
    Plan,
    Row,
    State,
    Value,
    Write,
)
from tests.flow.merge_world import (
    HASHER,
    World,
    entry_of,
    hash_of,
    hashes_of,
    mark_at,
    plan_of,
)

KEEP, WRITE = False, True
NONE_SO_FAR: dict[str, bytes] = {}


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


def decided(
    plan: Plan,
    source_base: tuple[Value | str, ...],
    target_base: tuple[Value | str, ...],
    draft: Row,
    target: Row,
    *,
    is_open: bool = False,
    forced: dict[str, bytes] = NONE_SO_FAR,
) -> Decision:
    """The decision, carried out and confirmed, for a live row present on both sides."""
    world = World(plan, draft)
    world.target = target
    world.position = 1
    world.entry = entry_of(hashes_of(*source_base), hashes_of(*target_base), is_open=is_open)
    return world.night(forced=forced)


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
    check(case, decided(plan, (bs,), (bt,), (s,), (t,), is_open=case.was_open))


def test_the_column_rule_has_a_line_for_everything() -> None:
    """Both tables answer all eight combinations of tc, sc and s = t."""
    every = {
        (tc, sc, same) for tc in (False, True) for sc in (False, True) for same in (False, True)
    }
    assert set(COLUMN_RULE) == set(SOURCE_RULE) == every


def test_a_conflict_names_the_three_hashes() -> None:
    """A conflict holds the hash of the old base, of the source's and of the target's value."""
    decision = decided(plan_of("status"), (b"A",), (b"A",), (b"B",), (b"X",))
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


# Ownership initial


INITIAL = plan_of(
    *("computed", "first", "remarks", "status", "system"),
    ownership={
        "computed": Ownership.COMPUTED,
        "first": Ownership.INITIAL,
        "remarks": Ownership.TARGET,
        "system": Ownership.SOURCE,
    },
)
ALL_A = (b"", b"A", b"A", b"A", b"A")


@pytest.mark.parametrize(
    ("target", "written"),
    [
        (ALL_A, (1,)),
        ((b"Z", b"A", b"A", b"A", b"A"), (1,)),  # a computed column is nobody's edit
        ((b"", b"A", b"A", b"A", b"Z"), (1, 4)),  # drift of a source column neither
        ((b"", b"X", b"A", b"A", b"A"), ()),
        ((b"", b"A", b"X", b"A", b"A"), ()),
        ((b"", b"A", b"A", b"X", b"A"), ()),
    ],
)
def test_an_initial_column_is_written_until_staff_edit_the_row(
    target: Row, written: tuple[int, ...]
) -> None:
    """Any edit of a column that is neither computed nor the source's own ends it, silently."""
    base = ("", b"A", b"A", b"A", b"A")
    decision = decided(INITIAL, base, base, (b"C", b"B", b"A", b"A", b"A"), target)
    assert decision.written == written
    assert decision.conflicts == ()
    assert "first" not in decision.reason
    assert decision.entry.source_base[1] == hash_of(b"B")


def test_an_initial_column_is_adopted_where_both_agree() -> None:
    """Equal values are remembered as ours although the row was edited."""
    base = ("", b"A", b"A", b"A", b"A")
    draft, target = (b"", b"B", b"A", b"A", b"A"), (b"", b"B", b"A", b"X", b"A")
    decision = decided(INITIAL, base, base, draft, target)
    assert decision.entry.target_base[1] == hash_of(b"B")
    assert decision.reason == "converged:first; target_owned:status"


def test_a_new_target_column_that_is_null_is_no_edit() -> None:
    """A column mapped since the last look, NULL at the target, does not end an initial column."""
    base = ("", b"A", "", b"A", b"A")
    draft, target = (b"", b"B", b"N", b"A", b"A"), (b"", b"A", None, b"A", b"A")
    assert decided(INITIAL, base, base, draft, target).written == (1,)


# Groups


PAIR = plan_of("end", "other", "start", groups=(frozenset({0, 2}),))


@pytest.mark.parametrize(
    ("draft", "target", "written", "reason", "conflicts"),
    [
        ((b"B", b"A", b"A"), (b"A", b"A", b"A"), (0,), "", ()),
        ((b"B", b"A", b"B"), (b"A", b"A", b"A"), (0, 2), "", ()),
        ((b"A", b"A", b"A"), (b"A", b"A", b"X"), (), "target_owned:start", ()),
        ((b"B", b"A", b"A"), (b"A", b"A", b"X"), (), "conflict:end,start", ("end", "start")),
        ((b"B", b"B", b"A"), (b"A", b"A", b"X"), (1,), "conflict:end,start", ("end", "start")),
        ((b"B", b"A", b"C"), (b"X", b"A", b"C"), (), "conflict:end", ("end",)),
        ((b"B", b"A", b"C"), (b"B", b"A", b"C"), (), "converged:end,start", ()),
        ((b"B", b"A", MISSING), (b"A", b"A", b"X"), (), "conflict:end", ("end",)),
        ((MISSING, b"A", MISSING), (b"X", b"A", b"X"), (), "", ()),
    ],
)
def test_a_group_is_judged_as_one(
    draft: Row, target: Row, written: tuple[int, ...], reason: str, conflicts: tuple[str, ...]
) -> None:
    """One edited member holds all back; every member that differs is written or told."""
    base = (b"A", b"A", b"A")
    decision = decided(PAIR, base, base, draft, target)
    assert decision.written == written
    assert decision.reason == reason
    assert tuple(c.column for c in decision.conflicts) == conflicts


def test_a_group_heals_as_one() -> None:
    """The member that staff took back brings the other member's pending value with it."""
    decision = decided(
        PAIR, (b"B", b"A", b"A"), (b"A", b"A", b"A"), (b"B", b"A", b"A"), (b"A",) * 3, is_open=True
    )
    assert (decision.written, decision.reason) == ((0,), "healed:end")
    assert {"end", "start"} <= set(decision.closed)
    assert not decision.entry.open


def test_a_group_that_is_settled_closes_all_its_members() -> None:
    """While another column stays pending, the settled group's conflicts still end together."""
    decision = decided(
        PAIR,
        (b"B", b"B", b"A"),
        (b"A", b"A", b"A"),
        (b"B", b"B", b"A"),
        (b"A", b"X", b"A"),
        is_open=True,
    )
    assert (decision.closed, decision.entry.open) == (("end", "start"), True)


def test_a_row_that_is_open_no_more_leaves_no_conflict_behind() -> None:
    """Staff typed the pending member of a pair; the edit of the other one is theirs in peace."""
    decision = decided(
        PAIR,
        (b"B", b"A", b"A"),
        (b"A", b"A", b"A"),
        (b"B", b"A", b"A"),
        (b"B", b"A", b"X"),
        is_open=True,
    )
    assert (decision.written, decision.entry.open) == ((), False)
    assert {"end", "start"} <= set(decision.closed)


def test_a_member_that_is_not_merged_follows_its_own_ownership() -> None:
    """A source-owned member of a group is written although the other member was edited."""
    plan = plan_of("end", "start", ownership={"end": Ownership.SOURCE}, groups=(frozenset({0, 1}),))
    decision = decided(plan, (b"A", b"A"), (b"A", b"A"), (b"B", b"A"), (b"A", b"X"))
    assert (decision.written, decision.reason) == ((0,), "target_owned:start")


def test_a_group_is_forced_only_as_a_whole() -> None:
    """An operator who saw one of two members has not decided for the pair."""
    base, draft, target = (b"A", b"A", b"A"), (b"B", b"A", b"B"), (b"X", b"A", b"Y")
    one = decided(PAIR, base, base, draft, target, forced={"end": hash_of(b"X")})
    both = {"end": hash_of(b"X"), "start": hash_of(b"Y")}
    assert one.written == ()
    assert decided(PAIR, base, base, draft, target, forced=both).written == (0, 2)


# What an operator decided


@pytest.mark.parametrize(
    ("draft", "target", "written", "outcome", "reason", "closed"),
    [
        (b"B", b"X", (0,), Outcome.UPDATED, "forced:status", ("status",)),
        (b"C", b"X", (0,), Outcome.UPDATED, "forced:status", ("status",)),
        (b"A", b"X", (0,), Outcome.UPDATED, "forced:status", ("status",)),
        (b"B", b"Y", (), Outcome.CONFLICT, "conflict:status", ()),
        (b"B", b"A", (0,), Outcome.UPDATED, "healed:status", ("status",)),
        (b"B", b"B", (), Outcome.UNCHANGED, "converged:status", ("status",)),
        (MISSING, b"X", (), Outcome.UNCHANGED, "", ()),
    ],
)
def test_forced_writes_only_over_what_the_operator_saw(
    draft: Value,
    target: Value,
    written: tuple[int, ...],
    outcome: Outcome,
    reason: str,
    closed: tuple[str, ...],
) -> None:
    """Where X still stands the source's value is written; where not, the conflict is told again."""
    decision = decided(
        plan_of("status"),
        *((b"B",), (b"A",), (draft,), (target,)),
        is_open=True,
        forced={"status": hash_of(b"X")},
    )
    assert decision.written == written
    assert (decision.outcome, decision.reason, decision.closed) == (outcome, reason, closed)


def test_forced_leaves_other_columns_alone() -> None:
    """A decision for one column says nothing of another conflict in the row."""
    plan = plan_of("other", "status")
    decision = decided(
        plan,
        *((b"B", b"B"), (b"A", b"A"), (b"B", b"B"), (b"X", b"X")),
        is_open=True,
        forced={"status": hash_of(b"X")},
    )
    assert decision.written == (1,)
    assert decision.reason == "forced:status; target_owned:other"
    assert (decision.entry.open, decision.closed) == (True, ("status",))


# Policies


def test_quarantine_writes_nothing_of_the_row() -> None:
    """One conflict sets the whole row aside, with the bases as they were."""
    plan = plan_of("other", "status", on_conflict=OnConflict.QUARANTINE)
    base = (b"A", b"A")
    decision = decided(plan, base, base, (b"B", b"B"), (b"A", b"X"))
    entry = decision.entry
    assert (decision.write, decision.outcome) == (Write.NOTHING, Outcome.CONFLICT)
    assert decision.reason == "conflict:status"
    assert [c.column for c in decision.conflicts] == ["status"]
    assert (entry.state, entry.open) == (State.QUARANTINED, True)
    assert entry.source_base == entry.target_base == hashes_of(*base)


def test_quarantine_lets_a_row_without_conflict_through() -> None:
    """The policy is about conflicts, not about edits."""
    plan = plan_of("other", "status", on_conflict=OnConflict.QUARANTINE)
    decision = decided(plan, (b"A", b"A"), (b"A", b"A"), (b"B", b"A"), (b"A", b"X"))
    assert (decision.written, decision.entry.state) == ((0,), State.LIVE)


def test_source_wins_overwrites_and_tells() -> None:
    """The edit is written over, recorded for the audit, and nothing stays open."""
    plan = plan_of("status", on_conflict=OnConflict.SOURCE_WINS)
    decision = decided(plan, (b"A",), (b"A",), (b"B",), (b"X",), is_open=True)
    assert decision.written == (0,)
    assert (decision.outcome, decision.reason) == (Outcome.CONFLICT, "overwritten:status")
    assert [c.kind for c in decision.conflicts] == ["overwritten"]
    assert (decision.entry.open, decision.closed) == (False, ("status",))
    assert decision.entry.target_base == hashes_of(b"B")


def test_source_wins_leaves_an_edit_of_which_the_source_says_nothing_new() -> None:
    """Only a conflict is overwritten, not every edit."""
    plan = plan_of("status", on_conflict=OnConflict.SOURCE_WINS)
    assert decided(plan, (b"A",), (b"A",), (b"A",), (b"X",)).written == ()


# Rows


def test_every_column_is_judged_by_itself() -> None:
    """One row may update, heal, keep and conflict; the reason names all but the plain updates."""
    plan = plan_of("a", "b", "c", "d", "e", "f", ownership={"f": Ownership.SOURCE})
    decision = decided(
        plan,
        (b"A", b"B", b"A", b"A", b"A", b"A"),
        (b"A", b"A", b"A", b"A", b"A", b"A"),
        (b"B", b"B", b"A", b"B", b"B", b"A"),
        (b"A", b"A", b"X", b"X", b"B", b"X"),
        is_open=True,
    )
    assert decision.written == (0, 1, 5)
    assert decision.reason == "conflict:d; drift:f; healed:b; converged:e; target_owned:c"
    assert decision.closed == ("b", "e", "f")
    assert decision.entry.target_base == hashes_of(b"B", b"B", b"A", b"A", b"B", b"A")
    assert decision.entry.source_base == hashes_of(b"B", b"B", b"A", b"B", b"B", b"A")


def test_a_row_stays_open_while_one_column_is_pending() -> None:
    """One conflict that ends does not end the other."""
    plan = plan_of("a", "b")
    decision = decided(plan, (b"B", b"B"), (b"A", b"A"), (b"B", b"B"), (b"A", b"X"), is_open=True)
    assert (decision.closed, decision.entry.open) == (("a",), True)


def test_a_plain_update_closes_nothing() -> None:
    """In an open row only columns that may have had a conflict are closed."""
    plan = plan_of("a", "b")
    decision = decided(plan, (b"A", b"B"), (b"A", b"A"), (b"B", b"B"), (b"A", b"X"), is_open=True)
    assert (decision.written, decision.closed) == ((0,), ())


@pytest.mark.parametrize(("characters", "length"), [(499, 499), (500, 500), (501, 500)])
def test_a_reason_is_bounded(characters: int, length: int) -> None:
    """A reason has at most 500 characters; dots say that it was cut."""
    reason = reason_of({Verdict.DRIFT: ["c" * (characters - len("drift:"))]})
    assert len(reason) == length
    assert reason.endswith("...") is (characters > length)


def test_an_entry_without_bases_is_a_row_without_bases() -> None:
    """A live entry whose bases are () is merged like one whose every column has none."""
    world = World(plan_of("a", "b"), (b"A", b"B"))
    world.target, world.position = (None, b"X"), 1
    world.entry = Entry(key=b"17", state=State.LIVE)
    decision = world.night()
    assert (decision.written, decision.reason) == ((0,), "conflict:b")
    assert decision.entry.target_base == (hash_of(b"A"), b"")
