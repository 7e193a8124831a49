"""The row rule, line by line, and what every decision carries."""

import pytest

from syncd.flow.merge_tables import ROW_RULE, RowKey, RowLine, Step
from syncd.flow.model import (
    MISSING,
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
    KEY,
    World,
    entry_of,
    hash_of,
    hashes_of,
    plan_of,
)

TWO = plan_of("other", "status")
A = (b"A", b"A")
BASE = hashes_of(*A)
GONE, THERE, UNEDITED, EDITED = False, True, False, True


def decided(
    state: State,
    draft: Row | None,
    target: Row | None,
    *,
    plan: Plan = TWO,
    source_base: tuple[Value | str, ...] = A,
    target_base: tuple[Value | str, ...] = A,
    is_open: bool = False,
) -> Decision:
    """The decision for a record in ``state`` whose bases are A, carried out and confirmed."""
    world = World(plan, draft)
    world.is_exact = False
    world.target, world.position = target, 1
    if state is not State.NONE:
        world.entry = entry_of(
            hashes_of(*source_base), hashes_of(*target_base), state=state, is_open=is_open
        )
    return world.night()


# The table itself


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ((State.NONE, THERE, GONE, UNEDITED), RowLine(Step.INSERT, State.LIVE)),
        ((State.NONE, THERE, THERE, UNEDITED), RowLine(Step.ADOPT, State.LIVE)),
        ((State.NONE, GONE, GONE, UNEDITED), RowLine(Step.REST, State.SRC_DELETED)),
        ((State.NONE, GONE, THERE, UNEDITED), RowLine(Step.REST, State.SRC_DELETED)),
        ((State.LIVE, THERE, THERE, UNEDITED), RowLine(Step.COLUMNS, State.LIVE)),
        ((State.LIVE, THERE, GONE, UNEDITED), RowLine(Step.LOST, State.TGT_DELETED)),
        ((State.LIVE, GONE, THERE, UNEDITED), RowLine(Step.DELETE, State.SRC_DELETED)),
        ((State.LIVE, GONE, THERE, EDITED), RowLine(Step.KEEP, State.ORPHAN_KEPT)),
        ((State.LIVE, GONE, GONE, UNEDITED), RowLine(Step.BOTH_GONE, State.TGT_DELETED)),
        ((State.SRC_DELETED, THERE, GONE, UNEDITED), RowLine(Step.RETURN, State.LIVE)),
        ((State.SRC_DELETED, THERE, THERE, UNEDITED), RowLine(Step.ADOPT, State.LIVE)),
        ((State.SRC_DELETED, GONE, GONE, UNEDITED), RowLine(Step.REST, State.SRC_DELETED)),
        ((State.SRC_DELETED, GONE, THERE, UNEDITED), RowLine(Step.REST, State.SRC_DELETED)),
        ((State.ORPHAN_KEPT, THERE, THERE, UNEDITED), RowLine(Step.COLUMNS, State.LIVE)),
        ((State.ORPHAN_KEPT, THERE, GONE, UNEDITED), RowLine(Step.OBSERVE, State.TGT_DELETED)),
        ((State.ORPHAN_KEPT, GONE, GONE, UNEDITED), RowLine(Step.REST, State.ORPHAN_KEPT)),
        ((State.ORPHAN_KEPT, GONE, THERE, UNEDITED), RowLine(Step.REST, State.ORPHAN_KEPT)),
        ((State.TGT_DELETED, THERE, GONE, UNEDITED), RowLine(Step.OBSERVE, State.TGT_DELETED)),
        ((State.TGT_DELETED, GONE, GONE, UNEDITED), RowLine(Step.OBSERVE, State.TGT_DELETED)),
        ((State.TGT_DELETED, THERE, THERE, UNEDITED), RowLine(Step.ADOPT, State.LIVE)),
        ((State.TGT_DELETED, GONE, THERE, UNEDITED), RowLine(Step.REST, State.TGT_DELETED)),
        ((State.QUARANTINED, THERE, THERE, UNEDITED), RowLine(Step.ASIDE, State.QUARANTINED)),
        ((State.QUARANTINED, GONE, GONE, UNEDITED), RowLine(Step.ASIDE, State.QUARANTINED)),
    ],
    ids=str,
)
def test_a_line_of_the_row_rule(key: RowKey, line: RowLine) -> None:
    """The action and the next state of each line of the reference."""
    assert ROW_RULE[key] == line


def test_the_row_rule_has_a_line_for_everything() -> None:
    """Every state answers all combinations of source, target and edited."""
    both = (False, True)
    assert set(ROW_RULE) == {(s, a, b, c) for s in State for a in both for b in both for c in both}


# What each action does


@pytest.mark.parametrize(
    ("state", "draft", "target", "write", "after", "outcome", "reason"),
    [
        (State.NONE, A, None, Write.INSERT, State.LIVE, Outcome.INSERTED, ""),
        (State.NONE, A, A, Write.NOTHING, State.LIVE, Outcome.LINKED, ""),
        (
            *(State.NONE, A, (b"A", b"X"), Write.NOTHING, State.LIVE),
            *(Outcome.CONFLICT, "conflict:status"),
        ),
        (State.NONE, None, None, Write.NOTHING, State.SRC_DELETED, Outcome.UNCHANGED, ""),
        (State.NONE, None, A, Write.NOTHING, State.SRC_DELETED, Outcome.UNCHANGED, ""),
        (State.LIVE, A, A, Write.NOTHING, State.LIVE, Outcome.UNCHANGED, ""),
        (State.LIVE, (b"B", b"A"), A, Write.UPDATE, State.LIVE, Outcome.UPDATED, ""),
        (
            *(State.LIVE, A, None, Write.NOTHING, State.TGT_DELETED),
            *(Outcome.SKIPPED, "target_deleted"),
        ),
        (
            *(State.LIVE, (b"B", b"A"), None, Write.NOTHING, State.TGT_DELETED),
            *(Outcome.CONFLICT, "target_deleted"),
        ),
        (State.LIVE, None, A, Write.DELETE, State.SRC_DELETED, Outcome.DELETED, ""),
        (
            *(State.LIVE, None, (b"A", b"X"), Write.NOTHING, State.ORPHAN_KEPT),
            *(Outcome.CONFLICT, "delete_vs_edit:status"),
        ),
        (
            *(State.LIVE, None, None, Write.NOTHING, State.TGT_DELETED),
            *(Outcome.UNCHANGED, "gone on both sides"),
        ),
        (State.SRC_DELETED, A, None, Write.INSERT, State.LIVE, Outcome.INSERTED, "returned"),
        (State.SRC_DELETED, A, A, Write.NOTHING, State.LIVE, Outcome.LINKED, ""),
        (
            *(State.SRC_DELETED, (b"A", b"B"), A, Write.NOTHING, State.LIVE),
            *(Outcome.CONFLICT, "conflict:status"),
        ),
        (State.SRC_DELETED, None, A, Write.NOTHING, State.SRC_DELETED, Outcome.UNCHANGED, ""),
        (State.ORPHAN_KEPT, (b"B", b"A"), A, Write.UPDATE, State.LIVE, Outcome.UPDATED, ""),
        (
            *(State.ORPHAN_KEPT, A, (b"A", b"X"), Write.NOTHING, State.LIVE),
            *(Outcome.UNCHANGED, "target_owned:status"),
        ),
        (
            *(State.ORPHAN_KEPT, A, None, Write.NOTHING, State.TGT_DELETED),
            *(Outcome.SKIPPED, "target_deleted"),
        ),
        (State.ORPHAN_KEPT, None, A, Write.NOTHING, State.ORPHAN_KEPT, Outcome.UNCHANGED, ""),
        (State.ORPHAN_KEPT, None, None, Write.NOTHING, State.ORPHAN_KEPT, Outcome.UNCHANGED, ""),
        (
            *(State.TGT_DELETED, (b"B", b"A"), None, Write.NOTHING, State.TGT_DELETED),
            *(Outcome.SKIPPED, "target_deleted"),
        ),
        (
            *(State.TGT_DELETED, None, None, Write.NOTHING, State.TGT_DELETED),
            *(Outcome.SKIPPED, "target_deleted"),
        ),
        (State.TGT_DELETED, A, A, Write.NOTHING, State.LIVE, Outcome.LINKED, ""),
        (State.TGT_DELETED, None, A, Write.NOTHING, State.TGT_DELETED, Outcome.UNCHANGED, ""),
        (
            *(State.QUARANTINED, (b"B", b"B"), A, Write.NOTHING, State.QUARANTINED),
            *(Outcome.SKIPPED, "quarantined"),
        ),
        (
            *(State.QUARANTINED, None, A, Write.NOTHING, State.QUARANTINED),
            *(Outcome.SKIPPED, "quarantined"),
        ),
    ],
)
def test_what_becomes_of_a_row(
    state: State,
    draft: Row | None,
    target: Row | None,
    write: Write,
    after: State,
    outcome: Outcome,
    reason: str,
) -> None:
    """Write, next state, outcome and reason of each situation; the entry says the same."""
    decision = decided(state, draft, target)
    entry = decision.entry
    assert decision.write is write
    assert (entry.state, entry.present) == (after, draft is not None)
    assert (decision.outcome, decision.reason) == (outcome, reason)
    assert (entry.outcome, entry.reason, entry.run_id) == (outcome, reason, 2)


# Insert


OWNED = plan_of(
    *("computed", "initial", "merge", "source", "target"),
    ownership={name: Ownership(name) for name in ("computed", "initial", "source", "target")},
)


def test_an_insert_writes_all_but_computed_columns() -> None:
    """Target-owned and initial columns are filled once; a computed one has no bases."""
    decision = decided(State.NONE, (b"1", b"2", b"3", b"4", b"5"), None, plan=OWNED)
    assert decision.written == (1, 2, 3, 4)
    assert decision.entry.source_base == hashes_of("", b"2", b"3", b"4", b"5")
    assert decision.entry.target_base == hashes_of("", b"2", b"3", b"4", b"5")


def test_an_insert_leaves_a_missing_column_to_its_default() -> None:
    """The base of the target is what it holds then, so that staff's later edit is seen."""
    world = World(TWO, (MISSING, b"A"), store=lambda row: (b"default", row[1]))
    decision = world.night()
    assert decision.written == (1,)
    assert decision.entry.source_base == hashes_of("", b"A")
    assert decision.entry.target_base == hashes_of(b"default", b"A")


def test_a_returned_record_is_a_new_incarnation() -> None:
    """A key that comes back after its tombstone never continues the old record (case 68)."""
    world = World(TWO, A)
    world.entry = entry_of((), (), state=State.SRC_DELETED, incarnation=2)
    world.position = 1
    assert world.night().entry.incarnation == 3


@pytest.mark.parametrize("state", [State.SRC_DELETED, State.TGT_DELETED])
def test_an_adopted_row_keeps_the_incarnation(state: State) -> None:
    """Only an insert begins a new incarnation."""
    assert decided(state, A, A).entry.incarnation == 1


# Adopt


@pytest.mark.parametrize("state", [State.NONE, State.SRC_DELETED, State.TGT_DELETED])
def test_adopting_takes_equal_columns_and_nothing_else(state: State) -> None:
    """Other columns are staff's, a NULL too; whatever was remembered before is forgotten."""
    plan = plan_of("a", "b", "c")
    base = (b"X", None, b"C")
    decision = decided(
        state, (b"A", b"B", b"C"), (b"X", None, b"C"), plan=plan, source_base=base, target_base=base
    )
    assert decision.write is Write.NOTHING
    assert [(c.column, c.kind) for c in decision.conflicts] == [
        ("a", "staff_created"),
        ("b", "staff_created"),
    ]
    assert decision.entry.source_base == hashes_of(b"A", b"B", b"C")
    assert decision.entry.target_base == hashes_of("", "", b"C")
    assert decision.entry.open


def test_adopting_never_writes_a_missing_column() -> None:
    """Of a column on which the source is silent nothing is remembered."""
    decision = decided(State.NONE, (MISSING, b"A"), (b"X", b"A"))
    assert decision.outcome is Outcome.LINKED
    assert decision.entry.source_base == hashes_of("", b"A")
    assert decision.entry.target_base == hashes_of("", b"A")


def test_adopting_writes_source_owned_columns_only() -> None:
    """A staff-made row counts as edited: target and initial columns are theirs, silently."""
    decision = decided(State.NONE, (b"1", b"2", b"3", b"4", b"5"), (b"X",) * 5, plan=OWNED)
    assert decision.written == (3,)
    assert (decision.outcome, decision.reason) == (Outcome.CONFLICT, "conflict:merge; drift:source")
    assert decision.entry.target_base == hashes_of("", "", "", b"4", "")


def test_adopting_with_only_drift_is_an_update() -> None:
    """Nothing is in conflict where only a source-owned column differs."""
    plan = plan_of("other", "status", ownership={"status": Ownership.SOURCE})
    decision = decided(State.NONE, A, (b"A", b"X"), plan=plan)
    assert (decision.outcome, decision.written) == (Outcome.UPDATED, (1,))


def test_adopting_under_quarantine_sets_the_row_aside() -> None:
    """A row that staff made differently waits for an operator, with nothing remembered."""
    plan = plan_of("other", "status", on_conflict=OnConflict.QUARANTINE)
    entry = decided(State.NONE, A, (b"A", b"X"), plan=plan).entry
    assert (entry.state, entry.open) == (State.QUARANTINED, True)
    assert (entry.source_base, entry.target_base) == ((), ())


def test_adopting_obeys_what_an_operator_decided() -> None:
    """A forced column of a staff-made row is written where it still holds what he saw."""
    world = World(TWO, A)
    world.target = (b"X", b"Y")
    decision = world.night(forced={"other": hash_of(b"X"), "status": hash_of(b"Z")})
    assert decision.written == (0,)
    assert decision.reason == "conflict:status; forced:other"


# The target's row is gone


def test_a_deleted_row_tells_what_the_source_changed_since() -> None:
    """One conflict per changed column, without a hash of the target; the source base advances."""
    decision = decided(State.LIVE, (b"B", b"A"), None)
    (conflict,) = decision.conflicts
    assert (conflict.column, conflict.kind) == ("other", "target_deleted")
    assert (conflict.base, conflict.source) == (hash_of(b"A"), hash_of(b"B"))
    assert conflict.target == b""
    assert decision.entry.source_base == hashes_of(b"B", b"A")
    assert decision.entry.target_base == BASE
    assert decision.entry.open


def test_a_deleted_row_is_no_conflict_over_columns_that_are_not_ours() -> None:
    """A change in a target-owned, computed or missing column is nothing staff need to hear of."""
    base = ("", b"A", b"A", b"A", b"A")
    draft = (b"B", MISSING, b"A", b"A", b"B")
    decision = decided(State.LIVE, draft, None, plan=OWNED, source_base=base, target_base=base)
    assert (decision.outcome, decision.conflicts) == (Outcome.SKIPPED, ())
    assert decision.entry.source_base == hashes_of(*base)


@pytest.mark.parametrize("is_open", [False, True])
def test_a_deleted_row_keeps_its_conflict_as_it_is(*, is_open: bool) -> None:
    """Later looks advance the source base, report nothing and leave ``open`` to the operator."""
    decision = decided(State.TGT_DELETED, (b"B", b"A"), None, is_open=is_open)
    assert decision.entry.source_base == hashes_of(b"B", b"A")
    assert decision.entry.target_base == BASE
    assert (decision.conflicts, decision.closed) == ((), ())
    assert decision.entry.open is is_open


def test_a_deleted_row_without_bases_can_be_looked_at_again() -> None:
    """A live row that was never compared and vanished on both sides stays readable."""
    world = World(TWO, None)
    world.entry, world.position = Entry(key=KEY, state=State.LIVE), 1
    assert world.night().entry.state is State.TGT_DELETED
    world.source = A
    assert world.night().entry.source_base == BASE
    assert world.night().outcome is Outcome.SKIPPED


# The source's record is gone


def test_a_delete_leaves_a_tombstone_without_bases() -> None:
    """Position and incarnation stay, hashes of the old values go."""
    entry = decided(State.LIVE, None, A).entry
    assert (entry.source_base, entry.target_base, entry.position) == ((), (), 2)


SOFT = plan_of("other", "status", soft_delete="deleted_at")


@pytest.mark.parametrize("state", [State.NONE, State.TGT_DELETED])
def test_a_row_that_staff_made_is_not_taken_for_a_marked_one(state: State) -> None:
    """Only our own mark leaves the memory of a row valid; what staff made anew is theirs."""
    decision = decided(state, (b"A", b"B"), A, plan=SOFT)
    assert (decision.write, decision.outcome) == (Write.NOTHING, Outcome.CONFLICT)


def test_a_tombstone_of_a_record_that_was_never_written_knows_no_row() -> None:
    """A marked row has a memory; without one the row is staff's."""
    decision = decided(
        State.SRC_DELETED, A, (b"A", b"X"), plan=SOFT, source_base=("", ""), target_base=("", "")
    )
    assert decision.conflicts[0].kind == "staff_created"


def test_a_kept_row_names_every_edited_column() -> None:
    """Each edited column is a conflict with the hash of what staff typed; the bases stay."""
    decision = decided(State.LIVE, None, (b"X", None))
    assert [(c.column, c.base, c.source, c.target) for c in decision.conflicts] == [
        ("other", hash_of(b"A"), b"", hash_of(b"X")),
        ("status", hash_of(b"A"), b"", hash_of(None)),
    ]
    assert {c.kind for c in decision.conflicts} == {"delete_vs_edit"}
    assert (decision.entry.source_base, decision.entry.target_base) == (BASE, BASE)
    assert decision.entry.open


@pytest.mark.parametrize(
    ("target", "is_kept"),
    [
        ((b"A", b"A", b"A", b"A", b"A"), False),
        ((b"X", b"A", b"A", b"A", b"A"), False),  # computed
        ((b"A", b"X", b"A", b"A", b"A"), True),  # initial
        ((b"A", b"A", b"X", b"A", b"A"), True),  # merge
        ((b"A", b"A", b"A", b"X", b"A"), True),  # source
        ((b"A", b"A", b"A", b"A", b"X"), True),  # target
    ],
)
def test_which_edits_keep_a_row(target: Row, *, is_kept: bool) -> None:
    """A delete looks at all columns but computed ones: remarks of staff go with no row."""
    base = ("", b"A", b"A", b"A", b"A")
    decision = decided(State.LIVE, None, target, plan=OWNED, source_base=base, target_base=base)
    assert (decision.entry.state is State.ORPHAN_KEPT) is is_kept


@pytest.mark.parametrize(
    ("bases", "target", "is_kept"),
    [
        (("", ""), None, False),  # nobody ever said anything
        (("", ""), b"X", True),
        ((b"A", ""), None, True),  # staff's NULL, in conflict with A
        (("", b"D"), b"D", False),  # the default that our insert left
        (("", b"D"), b"X", True),
    ],
)
def test_a_delete_knows_columns_of_which_the_source_said_nothing(
    bases: tuple[Value | str, Value | str], target: Value, *, is_kept: bool
) -> None:
    """What staff typed keeps the row, and so does their NULL; what nobody touched does not."""
    decision = decided(
        State.LIVE,
        None,
        (target, b"A"),
        source_base=(bases[0], b"A"),
        target_base=(bases[1], b"A"),
    )
    assert (decision.entry.state is State.ORPHAN_KEPT) is is_kept


def test_a_kept_row_does_not_end_an_older_conflict() -> None:
    """Where staff took an edit back the source's value waits, in case the record returns."""
    plan = plan_of("a", "b", "c")
    decision = decided(
        State.LIVE,
        None,
        (b"A", b"X", b"A"),
        plan=plan,
        source_base=(b"B", b"A", b"A"),
        target_base=(b"A", b"A", b"A"),
        is_open=True,
    )
    assert [c.column for c in decision.conflicts] == ["b"]
    assert (decision.closed, decision.entry.open) == (("c",), True)


def test_a_kept_row_whose_record_returns_goes_on_from_its_bases() -> None:
    """What staff edited is still theirs, the rest follows the source, the conflict ends."""
    decision = decided(State.ORPHAN_KEPT, (b"B", b"A"), (b"A", b"X"), is_open=True)
    assert decision.written == (0,)
    assert decision.closed == ("other", "status")
    assert (decision.entry.state, decision.entry.open) == (State.LIVE, False)


def test_a_kept_row_that_returns_changed_is_a_new_conflict() -> None:
    """The conflict about the delete is replaced, not closed, where both changed."""
    decision = decided(State.ORPHAN_KEPT, (b"A", b"B"), (b"A", b"X"), is_open=True)
    assert [(c.column, c.kind) for c in decision.conflicts] == [("status", "both_changed")]
    assert (decision.closed, decision.entry.open) == (("other",), True)


# Conflicts end with the row's state


@pytest.mark.parametrize(
    ("state", "draft", "target", "closed"),
    [
        (State.LIVE, None, A, ("other", "status")),
        (State.LIVE, None, None, ("other", "status")),
        (State.LIVE, A, None, ("other", "status")),
        (State.LIVE, (b"B", b"A"), None, ("status",)),
        (State.LIVE, None, (b"X", b"A"), ("status",)),
        (State.SRC_DELETED, A, None, ("other", "status")),
        (State.ORPHAN_KEPT, A, None, ("other", "status")),
        (State.TGT_DELETED, A, A, ("other", "status")),
        (State.TGT_DELETED, A, (b"X", b"A"), ("status",)),
        (State.ORPHAN_KEPT, None, A, ()),
        (State.QUARANTINED, A, A, ()),
    ],
)
def test_a_conflict_ends_with_what_it_was_about(
    state: State, draft: Row | None, target: Row | None, closed: tuple[str, ...]
) -> None:
    """Columns not reported anew are closed when the row's state changes, and only then."""
    decision = decided(state, draft, target, is_open=True)
    assert decision.closed == closed
    assert decision.entry.open is (closed != ("other", "status"))


@pytest.mark.parametrize("is_open", [False, True])
def test_a_quarantined_row_remembers_all_but_the_new_position(*, is_open: bool) -> None:
    """Bases and ``open`` stay for the operator; digest and position advance."""
    decision = decided(State.QUARANTINED, (b"B", b"B"), (b"X", b"X"), is_open=is_open)
    entry = decision.entry
    assert (entry.source_base, entry.target_base, entry.open) == (BASE, BASE, is_open)
    assert (entry.position, entry.digest_epoch) == (2, 6)
