"""The decision about a record that is met again: in the same run, or after a soft delete."""

from typing import Final

import pytest
from msgspec.structs import replace

from syncd.flow.model import Outcome, State, Write
from tests.flow.batch_world import PLAN, SOFT_TREE, Ledger, Target, decide, known, only, read
from tests.flow.merge_world import HASHER

# -- in the same run ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_id", "before", "now"),
    [
        (9, Outcome.INSERTED, Outcome.INSERTED),
        (9, Outcome.LINKED, Outcome.LINKED),
        (9, Outcome.UPDATED, Outcome.UPDATED),
        (9, Outcome.CONFLICT, Outcome.UNCHANGED),
        (8, Outcome.INSERTED, Outcome.UNCHANGED),
    ],
)
async def test_what_a_run_has_done_is_not_unchanged_after_a_second_look_in_vain(
    run_id: int, before: Outcome, now: Outcome
) -> None:
    """The parent is still missing: the outcome stays, and nothing new is told of the row."""
    child = read("2", b"x", b"1")
    bases = (*HASHER.columns((b"2", b"x")), b"")
    entry = known(
        child,
        SOFT_TREE,
        open=True,
        disputed=frozenset(),
        source_base=bases,
        target_base=bases,
        run_id=run_id,
        outcome=before,
        reason="",
    )
    target = Target({"2": (b"2", b"x", None)})
    batch = await decide([child], SOFT_TREE, ledger=Ledger(entry), target=target)
    decision = only(batch).decision
    assert (decision.write, decision.conflicts) == (Write.NOTHING, ())
    assert decision.outcome is decision.entry.outcome is now
    assert decision.reason == decision.entry.reason == ""
    assert decision.entry.open
    assert now is Outcome.UNCHANGED or decision.closed == ()


# -- soft deletes ------------------------------------------------------------------------------

MARKED: Final = replace(PLAN, soft_delete="_deleted_at")


async def test_a_softly_deleted_row_that_returns_unchanged_is_written_to_be_unmarked() -> None:
    """All values agree, yet the target must forget the time of deletion."""
    one = read("1")
    entry = known(one, state=State.SRC_DELETED, present=False)
    ledger, target = Ledger(entry), Target({"1": one.row})
    decision = only(await decide([one], MARKED, ledger=ledger, target=target)).decision
    assert (decision.write, decision.written) == (Write.UPDATE, MARKED.target_key)
    assert decision.entry.state is State.LIVE
    assert (decision.outcome, decision.reason) == (Outcome.UPDATED, "returned")
    assert (decision.entry.outcome, decision.entry.reason) == (Outcome.UPDATED, "returned")


async def test_a_softly_deleted_row_that_returns_beside_an_edit_stays_a_conflict() -> None:
    """It is unmarked, and told as what needs somebody."""
    before, now = read("1", b"Ada"), read("1", b"Ida")
    entry = known(before, state=State.SRC_DELETED, present=False)
    ledger, target = Ledger(entry), Target({"1": (b"1", b"Eda", None)})
    decision = only(await decide([now], MARKED, ledger=ledger, target=target)).decision
    assert (decision.write, decision.written) == (Write.UPDATE, MARKED.target_key)
    assert decision.outcome is decision.entry.outcome is Outcome.CONFLICT


async def test_a_row_that_was_not_deleted_is_not_unmarked() -> None:
    """A look at a live row that changes nothing writes nothing."""
    one = read("1")
    entry = known(one, revision=PLAN.revision - 1)
    ledger, target = Ledger(entry), Target({"1": one.row})
    decision = only(await decide([one], MARKED, ledger=ledger, target=target)).decision
    assert decision.write is Write.NOTHING


async def test_a_returning_row_that_changed_is_written_as_usual() -> None:
    """What the merge writes unmarks the row as well."""
    before, now = read("1", b"Ada"), read("1", b"Ida")
    entry = known(before, state=State.SRC_DELETED, present=False)
    ledger, target = Ledger(entry), Target({"1": before.row})
    decision = only(await decide([now], MARKED, ledger=ledger, target=target)).decision
    assert (decision.write, decision.written) == (Write.UPDATE, (1,))
