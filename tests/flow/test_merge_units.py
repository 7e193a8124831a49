"""The column rule beyond single columns: row-wise ownership, groups, operators, policies."""

import pytest

from syncd.flow.merge_columns import reason_of
from syncd.flow.merge_tables import Verdict
from syncd.flow.model import (
    MISSING,
    Entry,
    OnConflict,
    Outcome,
    Ownership,
    Row,
    State,
    Value,
    Write,
)
from tests.flow.merge_world import (
    World,
    hash_of,
    hashes_of,
    merged,
    plan_of,
)

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
    decision = merged(INITIAL, base, base, (b"C", b"B", b"A", b"A", b"A"), target)
    assert decision.written == written
    assert decision.conflicts == ()
    assert "first" not in decision.reason
    assert decision.entry.source_base[1] == hash_of(b"B")


def test_an_initial_column_is_adopted_where_both_agree() -> None:
    """Equal values are remembered as ours although the row was edited."""
    base = ("", b"A", b"A", b"A", b"A")
    draft, target = (b"", b"B", b"A", b"A", b"A"), (b"", b"B", b"A", b"X", b"A")
    decision = merged(INITIAL, base, base, draft, target)
    assert decision.entry.target_base[1] == hash_of(b"B")
    assert decision.reason == "converged:first; target_owned:status"


def test_a_new_target_column_that_is_null_is_no_edit() -> None:
    """A column mapped since the last look, NULL at the target, does not end an initial column."""
    base = ("", b"A", "", b"A", b"A")
    draft, target = (b"", b"B", b"N", b"A", b"A"), (b"", b"A", None, b"A", b"A")
    assert merged(INITIAL, base, base, draft, target).written == (1,)


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
    decision = merged(PAIR, base, base, draft, target)
    assert decision.written == written
    assert decision.reason == reason
    assert tuple(c.column for c in decision.conflicts) == conflicts


def test_a_group_heals_as_one() -> None:
    """The member that staff took back brings the other member's pending value with it."""
    decision = merged(
        PAIR, (b"B", b"A", b"A"), (b"A", b"A", b"A"), (b"B", b"A", b"A"), (b"A",) * 3, is_open=True
    )
    assert (decision.written, decision.reason) == ((0,), "healed:end")
    assert {"end", "start"} <= set(decision.closed)
    assert not decision.entry.open


@pytest.mark.parametrize("start", [b"A", b"C"])
def test_a_group_that_is_settled_closes_all_its_members(start: bytes) -> None:
    """While another column stays pending, the settled group's conflicts still end together."""
    decision = merged(
        PAIR,
        (b"B", b"B", b"A"),
        (b"A", b"A", b"A"),
        (b"B", b"B", start),
        (b"A", b"X", b"A"),
        is_open=True,
    )
    assert (decision.closed, decision.entry.open) == (("end", "start"), True)


def test_a_pair_stays_open_while_one_member_is_edited() -> None:
    """Staff typed the pending member's value; it may be taken back together with the edit."""
    bases = (b"B", b"A", b"A"), (b"A", b"A", b"A")
    draft = (b"B", b"A", b"A")
    half = merged(PAIR, *bases, draft, (b"B", b"A", b"X"), is_open=True)
    back = merged(PAIR, *bases, draft, (b"A", b"A", b"A"), is_open=half.entry.open)
    assert (half.written, half.closed, half.entry.open) == ((), (), True)
    assert (back.written, back.reason) == ((0,), "healed:end")


def test_a_row_that_is_open_no_more_leaves_no_conflict_behind() -> None:
    """With the last pending column every column's conflict ends, whichever had one."""
    plan = plan_of("a", "b", "c", ownership={"c": Ownership.COMPUTED})
    row = (b"A", b"B", b"")
    decision = merged(plan, (b"A", b"B", ""), (b"A", b"A", ""), row, row, is_open=True)
    assert (decision.closed, decision.entry.open) == (("a", "b"), False)


def test_a_member_that_is_not_merged_follows_its_own_ownership() -> None:
    """A source-owned member of a group is written although the other member was edited."""
    plan = plan_of("end", "start", ownership={"end": Ownership.SOURCE}, groups=(frozenset({0, 1}),))
    decision = merged(plan, (b"A", b"A"), (b"A", b"A"), (b"B", b"A"), (b"A", b"X"))
    assert (decision.written, decision.reason) == ((0,), "target_owned:start")


@pytest.mark.parametrize(
    ("forced", "written", "told"),
    [
        ({}, (), ()),
        ({"end": b"X"}, (), ("end", "start")),
        ({"end": b"X", "start": b"Z"}, (), ("end", "start")),
        ({"end": b"X", "start": b"Y"}, (0, 2), ()),
    ],
)
def test_a_group_is_forced_only_as_a_whole(
    forced: dict[str, bytes], written: tuple[int, ...], told: tuple[str, ...]
) -> None:
    """An operator who saw one of two members has not decided for the pair; he is told again."""
    bases = (b"B", b"A", b"B"), (b"A", b"A", b"A")
    seen = {column: hash_of(value) for column, value in forced.items()}
    draft, target = (b"B", b"A", b"B"), (b"X", b"A", b"Y")
    decision = merged(PAIR, *bases, draft, target, is_open=True, forced=seen)
    assert decision.written == written
    assert tuple(c.column for c in decision.conflicts) == told


# Which columns are in conflict


ROUNDED = (b"a", b"B"), (b"A", b"A")  # the target made A of a; B waits behind an edit


@pytest.mark.parametrize(
    ("disputed", "written"), [(None, (0, 1)), ({"b"}, (1,)), ({"a", "b"}, (0, 1)), ({"a"}, (0,))]
)
def test_only_a_column_in_conflict_is_healed(
    disputed: set[str] | None, written: tuple[int, ...]
) -> None:
    """What the target stores in its own form is not written again for another's sake (case 66)."""
    row = (b"a", b"B"), (b"A", b"A")
    decision = merged(plan_of("a", "b"), *ROUNDED, *row, is_open=True, disputed=disputed)
    assert decision.written == written


@pytest.mark.parametrize(
    ("disputed", "is_open"), [(None, True), ({"b"}, True), (set(), False), ({"a"}, False)]
)
def test_only_a_column_in_conflict_keeps_a_row_open(
    disputed: set[str] | None, *, is_open: bool
) -> None:
    """Column b is resolved for the target: once a is settled nobody need look again."""
    bases, row = ((b"B", b"B"), (b"A", "")), ((b"B", b"B"), (b"B", b"X"))
    decision = merged(plan_of("a", "b"), *bases, *row, is_open=True, disputed=disputed)
    assert decision.entry.open is is_open


@pytest.mark.parametrize(("disputed", "written"), [({"end"}, (2,)), ({"other"}, ())])
def test_a_group_is_in_conflict_with_any_member(
    disputed: set[str], written: tuple[int, ...]
) -> None:
    """The pair is healed when either member's conflict is open."""
    decision = merged(
        PAIR,
        (b"A", b"A", b"B"),
        (b"A", b"A", b"A"),
        (b"A", b"A", b"B"),
        (b"A", b"A", b"A"),
        is_open=True,
        disputed=disputed,
    )
    assert decision.written == written


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
    decision = merged(
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
    decision = merged(
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
    decision = merged(plan, base, base, (b"B", b"B"), (b"A", b"X"))
    entry = decision.entry
    assert (decision.write, decision.outcome) == (Write.NOTHING, Outcome.CONFLICT)
    assert decision.reason == "conflict:status"
    assert [c.column for c in decision.conflicts] == ["status"]
    assert (entry.state, entry.open) == (State.QUARANTINED, True)
    assert entry.source_base == entry.target_base == hashes_of(*base)


def test_quarantine_lets_a_row_without_conflict_through() -> None:
    """The policy is about conflicts, not about edits."""
    plan = plan_of("other", "status", on_conflict=OnConflict.QUARANTINE)
    decision = merged(plan, (b"A", b"A"), (b"A", b"A"), (b"B", b"A"), (b"A", b"X"))
    assert (decision.written, decision.entry.state) == ((0,), State.LIVE)


def test_source_wins_overwrites_and_tells() -> None:
    """The edit is written over, recorded for the audit, and nothing stays open."""
    plan = plan_of("status", on_conflict=OnConflict.SOURCE_WINS)
    decision = merged(plan, (b"A",), (b"A",), (b"B",), (b"X",), is_open=True)
    assert decision.written == (0,)
    assert (decision.outcome, decision.reason) == (Outcome.CONFLICT, "overwritten:status")
    assert [c.kind for c in decision.conflicts] == ["overwritten"]
    assert (decision.entry.open, decision.closed) == (False, ("status",))
    assert decision.entry.target_base == hashes_of(b"B")


def test_source_wins_leaves_an_edit_of_which_the_source_says_nothing_new() -> None:
    """Only a conflict is overwritten, not every edit."""
    plan = plan_of("status", on_conflict=OnConflict.SOURCE_WINS)
    assert merged(plan, (b"A",), (b"A",), (b"A",), (b"X",)).written == ()


# Rows


def test_every_column_is_judged_by_itself() -> None:
    """One row may update, heal, keep and conflict; the reason names all but the plain updates."""
    plan = plan_of("a", "b", "c", "d", "e", "f", ownership={"f": Ownership.SOURCE})
    decision = merged(
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
    decision = merged(plan, (b"B", b"B"), (b"A", b"A"), (b"B", b"B"), (b"A", b"X"), is_open=True)
    assert (decision.closed, decision.entry.open) == (("a",), True)


def test_a_plain_update_closes_nothing() -> None:
    """In an open row only columns that may have had a conflict are closed."""
    plan = plan_of("a", "b")
    decision = merged(plan, (b"A", b"B"), (b"A", b"A"), (b"B", b"B"), (b"A", b"X"), is_open=True)
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
