"""What a decision remembers: the mark, the guard of positions, and the read-back."""

import pytest
from msgspec.structs import replace

from syncd.errors import InvariantError
from syncd.flow.merge import confirm, merge_row
from syncd.flow.model import (
    Entry,
    Outcome,
    Ownership,
    State,
    Value,
    Write,
)
from tests.flow.merge_world import (
    HASHER,
    KEY,
    World,
    entry_of,
    hashes_of,
    mark_at,
    plan_of,
)

TWO = plan_of("other", "status")
A = (b"A", b"A")
BASE = hashes_of(*A)


def test_every_decision_carries_what_the_read_knows() -> None:
    """Digest, fingerprint, versions and position of the mark, shape and revision of the plan."""
    decision = merge_row(TWO, HASHER, mark_at(9, source_epoch=2), entry=None, draft=A, target=None)
    assert replace(decision.entry, target_base=BASE) == Entry(
        key=KEY,
        digest=5,
        digest_epoch=6,
        fingerprint=b"f" * 16,
        hash_version=1,
        revision=4,
        shape=3,
        source_epoch=2,
        position=9,
        state=State.LIVE,
        source_base=BASE,
        target_base=BASE,
        outcome=Outcome.INSERTED,
        run_id=9,
    )


@pytest.mark.parametrize(
    ("source_epoch", "position", "is_stale"),
    [(3, 6, True), (3, 7, False), (3, 8, False), (2, 8, True), (4, 1, False)],
)
def test_a_read_older_than_the_entry_changes_nothing(
    source_epoch: int, position: int, *, is_stale: bool
) -> None:
    """Strictly below is stale; an equal position is looked at again (case 26)."""
    entry = replace(entry_of(BASE, BASE), source_epoch=3, position=7)
    mark = mark_at(position, source_epoch=source_epoch)
    decision = merge_row(TWO, HASHER, mark, entry=entry, draft=(b"B", b"B"), target=A)
    assert (decision.outcome is Outcome.STALE) is is_stale
    assert (decision.entry is entry) is is_stale
    assert (decision.write is Write.NOTHING) is is_stale


def test_a_stale_read_cannot_delete() -> None:
    """The absence seen by an old read is no evidence."""
    entry = replace(entry_of(BASE, BASE), position=7)
    decision = merge_row(TWO, HASHER, mark_at(6), entry=entry, draft=None, target=A)
    assert (decision.write, decision.outcome) == (Write.NOTHING, Outcome.STALE)


def test_bases_of_another_width_stop_the_entity() -> None:
    """An entry that was not brought to the plan's shape is our mistake and writes nothing."""
    entry = entry_of(hashes_of(b"A"), hashes_of(b"A"))
    with pytest.raises(InvariantError, match="1 and 1 column hashes, expected 2"):
        merge_row(TWO, HASHER, mark_at(2), entry=entry, draft=A, target=A)


# A row that is only marked as deleted


SOFT = plan_of("other", "status", soft_delete="deleted_at")


def test_a_row_that_is_only_marked_as_deleted_stays_known() -> None:
    """When the record returns the row goes on: ours is written, what staff typed since is not."""
    world = World(SOFT, A)
    world.night()
    world.source = None
    assert world.night().outcome is Outcome.DELETED
    world.edit(0, b"X")
    world.source = (b"A", b"B")
    decision = world.night()
    assert (decision.outcome, decision.written) == (Outcome.UPDATED, (1,))
    assert (decision.entry.state, decision.entry.incarnation) == (State.LIVE, 1)
    assert world.target == (b"X", b"B")


def test_a_value_that_waited_when_the_row_was_marked_is_written_on_return() -> None:
    """Staff took their edit back on the day the record went: B was never written, and now is."""
    world = World(SOFT, A)
    world.night()
    world.edit(1, b"X")
    world.source = (b"A", b"B")
    world.night()
    world.edit(1, b"A")
    world.source = None
    assert world.night().closed == ("other", "status")
    world.source = (b"A", b"B")
    assert world.night().written == (1,)


def test_a_marked_row_is_known_although_a_column_has_no_base() -> None:
    """A computed column is never remembered; the others are what the row is known by."""
    owners = {"computed": Ownership.COMPUTED}
    world = World(plan_of("computed", "status", ownership=owners, soft_delete="gone_at"), A)
    world.night()
    world.source = None
    world.night()
    world.source = (b"A", b"B")
    assert world.night().written == (1,)


# The read-back


def test_confirm_takes_what_the_target_returned() -> None:
    """A trigger that stores upper case leaves the column ours (case 66)."""
    world = World(plan_of("status"), (b"a",), store=lambda row: (_upper(row[0]),))
    world.night()
    world.source = (b"b",)
    decision = world.night()
    assert decision.entry.target_base == hashes_of(b"B")
    assert decision.entry.source_base == hashes_of(b"b")
    assert world.night().write is Write.NOTHING
    world.source = (b"c",)
    assert world.night().outcome is Outcome.UPDATED


def test_confirm_counts_a_side_effect_of_our_write_as_ours() -> None:
    """What a trigger changed beside our columns is no edit of staff, unless staff's was there."""
    plan = plan_of("a", "b", "c")
    entry = entry_of(hashes_of(b"A", b"A", b"A"), hashes_of(b"A", b"A", b"A"))
    draft, locked, stored = (b"B", b"A", b"A"), (b"A", b"A", b"X"), (b"B", b"T", b"U")
    decision = merge_row(plan, HASHER, mark_at(2), entry=entry, draft=draft, target=locked)
    confirmed = confirm(plan, HASHER, decision, draft, stored, locked)
    assert confirmed.target_base == hashes_of(b"B", b"T", b"A")
    assert confirm(plan, HASHER, decision, draft, stored).target_base == hashes_of(b"B", b"A", b"A")


def _upper(value: Value) -> Value:
    return value.upper() if isinstance(value, bytes) else value
