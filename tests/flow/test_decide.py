"""The decision about a batch: who is let through, who is parked and why, and what is locked."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from syncd.flow.decide import DELETE_REFUSED
from syncd.flow.fingerprint import HASH_VERSION
from syncd.flow.keys import encode_key
from syncd.flow.model import (
    MISSING,
    Column,
    ColumnType,
    Entry,
    Issue,
    Kind,
    Outcome,
    Read,
    Severity,
    State,
    Write,
)
from syncd.flow.transform import Drafted, Skip
from tests.flow.batch_world import (
    COLUMNS,
    PLAN,
    SOFT_TREE,
    TREE,
    TX,
    Ledger,
    Target,
    decide,
    decider,
    error,
    key,
    known,
    only,
    outcomes,
    read,
)
from tests.flow.merge_world import HASHER

# -- who is looked at --------------------------------------------------------------------------


async def test_a_new_record_is_inserted_with_all_that_is_known_of_it() -> None:
    """Its entry has the digest, the fingerprint, both epochs, the position and the run."""
    one = read("1")
    settled = only(await decide([one]))
    decision, entry = settled.decision, settled.decision.entry
    assert (settled.row, settled.absent) == (one.row, False)
    assert (decision.write, decision.outcome) == (Write.INSERT, Outcome.INSERTED)
    expected = known(one, position=100, run_id=9)
    assert replace(entry, target_base=expected.target_base) == expected


async def test_the_same_row_is_touched_and_the_target_is_not_asked() -> None:
    """The fingerprint proves it: nothing is drafted, locked at the target or settled."""
    target, one = Target(), read("1")
    batch = await decide([one], ledger=Ledger(known(one)), target=target)
    assert (batch.touched, batch.settled, batch.stale, batch.again) == ([one], [], [], [])
    assert target.locked == []


async def test_a_changed_row_is_updated_in_its_changed_column() -> None:
    """Three values are compared, and only what the source changed is written."""
    before, now = read("1", b"Ada"), read("1", b"Ida")
    target = Target({"1": before.row})
    decision = only(await decide([now], ledger=Ledger(known(before)), target=target)).decision
    assert (decision.write, decision.outcome, decision.written) == (
        Write.UPDATE,
        Outcome.UPDATED,
        (1,),
    )


async def test_a_batch_is_locked_at_once_and_the_target_only_for_what_may_be_written() -> None:
    """The ledger is asked for every key, the target for those that get as far as the merge."""
    same, new, bad = read("1"), read("2"), read("3", b"x", None, error("charset", "name"))
    skipped, also_new = read("4"), read("5")
    ledger, target = Ledger(known(same)), Target()

    def transform(record: Mapping[str, object]) -> Mapping[str, object] | Skip:
        return Skip("not ours") if record["id"] == "4" else record

    reads = [same, new, bad, skipped, also_new]
    batch = await decide(reads, ledger=ledger, target=target, transform=transform)
    assert ledger.locked == [[one.key for one in reads]]
    assert target.locked == [[new.key, also_new.key]]
    assert batch.before == {same.key: known(same)}
    assert set(outcomes(batch)) == {new.key, bad.key, skipped.key, also_new.key}


async def test_the_target_rows_before_the_write_are_kept_for_the_confirmation() -> None:
    """What a trigger changes beside our write is told from an edit by them (case 66)."""
    target = Target({"1": (b"1", b"Ada", None)})
    batch = await decide([read("1", b"Ida"), read("2")], target=target)
    assert batch.locked == target.rows


async def test_the_target_is_locked_with_what_is_to_be_written() -> None:
    """So that it may find a row which its own list does not name."""
    target, one = Target(), read("1", b"Ida")
    await decide([one], target=target)
    assert target.drafts == {one.key: one.row}


async def test_a_record_whose_row_is_not_clear_is_parked() -> None:
    """As a conflict with the target's reason; the others of the batch are merged."""
    target, one, other = Target(), read("1"), read("2")
    target.unclear = {one.key: "twin:ambiguous"}
    batch = await decide([one, other], target=target)
    found = {settled.key: settled.decision for settled in batch.settled}
    assert (found[one.key].outcome, found[one.key].reason) == (Outcome.CONFLICT, "twin:ambiguous")
    assert found[one.key].write is Write.NOTHING
    assert found[other.key].write is Write.INSERT


@pytest.mark.parametrize("parked", [False, True])
async def test_a_row_that_the_target_remembers_and_has_not_was_deleted_by_staff(
    *, parked: bool
) -> None:
    """Also where the ledger knows nothing of it, or only that it never landed."""
    target, one = Target(), read("1")
    target.gone = frozenset({one.key})
    ledger = Ledger(*([Entry(one.key)] if parked else []))
    decision = only(await decide([one], ledger=ledger, target=target)).decision
    assert (decision.outcome, decision.write) == (Outcome.SKIPPED, Write.NOTHING)
    assert decision.entry.state is State.TGT_DELETED


async def test_what_the_ledger_knows_goes_before_what_the_target_remembers() -> None:
    """A record that syncd deleted itself comes back as a new incarnation."""
    target, one = Target(), read("1")
    target.gone = frozenset({one.key})
    entry = replace(
        known(read("1", b"old")), state=State.SRC_DELETED, source_base=(), target_base=()
    )
    decision = only(await decide([one], ledger=Ledger(entry), target=target)).decision
    assert (decision.write, decision.entry.incarnation) == (Write.INSERT, 2)


# -- the position guard ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source_epoch", "position"), [(2, 101), (3, 0)], ids=["position", "epoch"]
)
async def test_a_stale_look_changes_nothing_even_if_it_is_invalid(
    source_epoch: int, position: int
) -> None:
    """An older look is dropped before anything of it is believed (case 26)."""
    valid, invalid = read("1", b"old"), read("2", b"old", None, error("charset", "name"))
    seen = [known(read(t), source_epoch=source_epoch, position=position) for t in ("1", "2")]
    ledger, target = Ledger(*seen), Target()
    batch = await decide([valid, invalid], ledger=ledger, target=target)
    assert batch.stale == [valid.key, invalid.key]
    assert (batch.settled, batch.touched, target.locked) == ([], [], [])


async def test_a_look_from_the_same_place_is_not_stale() -> None:
    """An equal position is evaluated again, for open conflicts (case 26)."""
    one = read("1")
    batch = await decide([one], ledger=Ledger(known(one, position=100)))
    assert batch.touched == [one]


# -- what is parked ----------------------------------------------------------------------------


async def test_an_invalid_record_is_parked_with_its_codes_and_fields() -> None:
    """Only what excludes is told, in the order of the findings, and no value (case 94)."""
    issues = (
        error("not_date", "born"),
        Issue(Severity.WARNING, "odd", "name"),
        Issue(Severity.FATAL, "ragged"),
    )
    batch = await decide([read("1", b"x", None, *issues)])
    assert outcomes(batch) == {key("1"): (Outcome.INVALID, "not_date:born, ragged")}


async def test_a_warning_does_not_park() -> None:
    """The record is written and the finding is told elsewhere."""
    batch = await decide([read("1", b"x", None, Issue(Severity.WARNING, "odd", "name"))])
    assert only(batch).decision.write is Write.INSERT


async def test_parking_leaves_the_entry_as_it_was_but_for_the_outcome() -> None:
    """State, bases, fingerprint and position stay; the digest is unknown, so it is found again."""
    entry = known(read("1"), incarnation=3, open=True)
    bad = read("1", b"x", None, error("charset", "name"))
    settled = only(await decide([bad], ledger=Ledger(entry)))
    assert settled.decision.write is Write.NOTHING
    assert settled.row == ()
    assert settled.decision.entry == replace(
        entry, digest=0, outcome=Outcome.INVALID, reason="charset:name", run_id=9
    )


async def test_parking_an_unknown_record_notes_that_it_was_seen() -> None:
    """It has a state of none and no bases: it was never written."""
    bad = read("1", b"x", None, error("charset", "name"))
    assert only(await decide([bad])).decision.entry == Entry(
        key=key("1"),
        hash_version=HASH_VERSION,
        shape=PLAN.shape,
        outcome=Outcome.INVALID,
        reason="charset:name",
        run_id=9,
    )


async def test_a_record_that_is_parked_counts_as_present() -> None:
    """Even one that was gone: what failed or waits is never taken for deleted."""
    entry = known(read("1"), state=State.SRC_DELETED, present=False)
    bad = read("1", b"x", None, error("charset", "name"))
    assert only(await decide([bad], ledger=Ledger(entry))).decision.entry.present


async def test_a_delete_that_was_refused_is_parked_as_absent_and_found_again() -> None:
    """The outcome is about an absence, and the entry counts as present so that it is missed."""
    made = decider(PLAN, Ledger(), Target())
    reason = DELETE_REFUSED + "parent:fk"
    settled = made.parked(key("1"), known(read("1")), Outcome.WAITING, reason, absent=True)
    assert settled.absent
    assert settled.decision.entry.present
    assert settled.decision.entry.reason == "delete refused: parent:fk"


async def test_a_long_reason_is_cut() -> None:
    """500 characters say enough, and a column of reasons stays bounded (I14)."""
    batch = await decide([read("1")], transform=lambda _: Skip("é" * 501))
    decision = only(batch).decision
    assert decision.reason == decision.entry.reason == "é" * 500


async def test_what_a_transform_leaves_out_is_skipped_with_its_reason() -> None:
    """A skip is an outcome like any other."""
    batch = await decide([read("1")], transform=lambda _: Skip("closed"))
    assert outcomes(batch) == {key("1"): (Outcome.SKIPPED, "closed")}


async def test_what_a_transform_gets_wrong_is_invalid() -> None:
    """One bad record does not stop its batch."""

    def transform(record: Mapping[str, object]) -> Mapping[str, object]:
        return {**record, "name": 1 / len(str(record["name"]))}

    batch = await decide([read("1", b""), read("2", b"Ada")], transform=transform)
    assert outcomes(batch) == {
        key("1"): (Outcome.INVALID, "transform_failed:ZeroDivisionError"),
        key("2"): (Outcome.INSERTED, ""),
    }


async def test_a_skip_goes_before_a_bad_draft_and_that_before_waiting() -> None:
    """The reason told is the one that would remain if the others were mended."""

    def transform(record: Mapping[str, object]) -> Drafted | Skip:
        if record["id"] == "1":
            return Skip("closed")
        issues = (error("no_consent"),) if record["id"] == "2" else ()
        return Drafted(record, issues)

    reads = [read(text, b"x", b"gone") for text in ("1", "2", "3")]
    batch = await decide(reads, TREE, transform=transform)
    assert outcomes(batch) == {
        key("1"): (Outcome.SKIPPED, "closed"),
        key("2"): (Outcome.INVALID, "no_consent"),
        key("3"): (Outcome.WAITING, "parent:nodes"),
    }
    assert batch.waiting == [key("3")]


# -- parents -----------------------------------------------------------------------------------


async def test_a_whole_tree_comes_in_one_batch_in_any_order() -> None:
    """Children met before their parents are inserted with them (case 71)."""
    reads = [read("3", b"x", b"2"), read("1"), read("2", b"x", b"1")]
    batch = await decide(reads, TREE)
    assert {outcome for outcome, _ in outcomes(batch).values()} == {Outcome.INSERTED}
    assert batch.again == []


async def test_an_unchanged_parent_beside_its_new_child_is_live() -> None:
    """The ledger knows it, though it is not among what changed."""
    parent, child = read("1"), read("2", b"x", b"1")
    batch = await decide([parent, child], TREE, ledger=Ledger(known(parent, TREE)))
    assert batch.touched == [parent]
    assert outcomes(batch) == {child.key: (Outcome.INSERTED, "")}


@pytest.mark.parametrize("state", [State.TGT_DELETED, State.QUARANTINED])
async def test_a_child_waits_beside_a_parent_that_stays_away(state: State) -> None:
    """A parent that staff deleted, or that is set aside, is not written with the batch."""
    parent, child = read("1", b"new"), read("2", b"x", b"1")
    entry = known(read("1", b"old"), TREE, state=state)
    batch = await decide([parent, child], TREE, ledger=Ledger(entry))
    assert outcomes(batch)[child.key] == (Outcome.WAITING, "parent:nodes")
    assert batch.waiting == [child.key]


@pytest.mark.parametrize("fault", ["skipped", "invalid draft", "invalid read"])
async def test_a_child_waits_beside_a_parent_that_is_not_written(fault: str) -> None:
    """So do its own children; others of the batch do not (case 71)."""

    def transform(record: Mapping[str, object]) -> Mapping[str, object] | Drafted | Skip:
        if record["name"] == "skipped":
            return Skip("closed")
        issues = (error("no_consent"),) if record["name"] == "invalid draft" else ()
        return Drafted(record, issues)

    issues = (error("charset", "name"),) if fault == "invalid read" else ()
    reads = [
        read("3", b"x", b"2"),
        read("2", b"x", b"1"),
        read("1", fault.encode(), None, *issues),
        read("4"),
    ]
    batch = await decide(reads, TREE, transform=transform)
    told = {text: outcomes(batch)[key(text)][0] for text in "1234"}
    parked = Outcome.SKIPPED if fault == "skipped" else Outcome.INVALID
    assert told == {
        "1": parked,
        "2": Outcome.WAITING,
        "3": Outcome.WAITING,
        "4": Outcome.INSERTED,
    }
    assert batch.waiting == [key("3"), key("2")]


async def test_a_nullable_reference_is_written_later() -> None:
    """The row is inserted without it, stays open, and is looked at again (case 70)."""
    batch = await decide([read("2", b"x", b"1")], SOFT_TREE)
    settled = only(batch)
    assert settled.row == (b"2", b"x", MISSING)
    assert settled.decision.outcome is Outcome.INSERTED
    assert settled.decision.written == (0, 1)
    assert settled.decision.entry.open
    assert batch.again == [key("2")]


async def test_a_completed_reference_is_written_and_the_record_closed() -> None:
    """Once the parent is live the second look updates just that column (case 70)."""
    child = read("2", b"x", b"1")
    bases = (*HASHER.columns((b"2", b"x")), b"")
    entry = known(child, SOFT_TREE, open=True, source_base=bases, target_base=bases)
    ledger = Ledger(entry, known(read("1"), SOFT_TREE))
    target = Target({"2": (b"2", b"x", None)})
    batch = await decide([child], SOFT_TREE, ledger=ledger, target=target)
    decision = only(batch).decision
    assert (decision.outcome, decision.written) == (Outcome.UPDATED, (2,))
    assert not decision.entry.open
    assert batch.again == []


@pytest.mark.parametrize(
    ("run_id", "before", "now"),
    [
        (9, Outcome.INSERTED, Outcome.INSERTED),  # this run's own, now whole
        (8, Outcome.INSERTED, Outcome.UPDATED),
        (9, Outcome.UPDATED, Outcome.UPDATED),
    ],
)
async def test_a_row_is_not_called_updated_by_the_run_that_inserted_it(
    run_id: int, before: Outcome, now: Outcome
) -> None:
    """It was inserted without its parent and completed in the same run: inserted, once."""
    child = read("2", b"x", b"1")
    bases = (*HASHER.columns((b"2", b"x")), b"")
    entry = known(
        child,
        SOFT_TREE,
        open=True,
        source_base=bases,
        target_base=bases,
        run_id=run_id,
        outcome=before,
    )
    ledger = Ledger(entry, known(read("1"), SOFT_TREE))
    target = Target({"2": (b"2", b"x", None)})
    decision = only(await decide([child], SOFT_TREE, ledger=ledger, target=target)).decision
    assert (decision.write, decision.written) == (Write.UPDATE, (2,))
    assert decision.outcome is decision.entry.outcome is now


# -- what an operator decided ------------------------------------------------------------------


async def test_a_forced_record_is_merged_though_it_did_not_change() -> None:
    """The operator chose the source's value over the one that he saw at the target."""
    one = read("1", b"theirs")
    entry = known(one, target_base=HASHER.columns((b"1", b"ours", None)))
    target = Target({"1": (b"1", b"edited", None)})
    seen = {one.key: {"name": HASHER.column(b"edited")}}
    made = decider(PLAN, Ledger(entry), target, forced=seen)
    decision = only(await made.decide(TX, [one])).decision
    assert (decision.write, decision.written) == (Write.UPDATE, (1,))
    assert decision.reason == "forced:name"


async def test_others_are_not_forced_with_it() -> None:
    """A record that nobody decided about stays touched."""
    one = read("1")
    made = decider(PLAN, Ledger(known(one)), Target(), forced={key("2"): {"name": b"x" * 8}})
    assert (await made.decide(TX, [one])).touched == [one]


# -- absences ----------------------------------------------------------------------------------


async def test_an_absent_record_that_nobody_edited_is_deleted() -> None:
    """Its tombstone keeps the fingerprint, and the digest is unknown."""
    one = read("1")
    ledger, target = Ledger(known(one)), Target({"1": one.row})
    batch = await decider(PLAN, ledger, target).decide_removal(TX, [one.key])
    settled = only(batch)
    entry = settled.decision.entry
    assert settled.absent
    assert (settled.decision.write, settled.decision.outcome) == (Write.DELETE, Outcome.DELETED)
    assert (entry.state, entry.present, entry.digest) == (State.SRC_DELETED, False, 0)
    assert (entry.fingerprint, entry.position) == (known(one).fingerprint, 100)
    assert ledger.locked == target.locked == [[one.key]]


async def test_an_absent_record_that_staff_edited_is_kept() -> None:
    """What staff typed outlives the source's record."""
    one = read("1")
    made = decider(PLAN, Ledger(known(one)), Target({"1": (b"1", b"edited", None)}))
    settled = only(await made.decide_removal(TX, [one.key]))
    assert settled.absent
    assert settled.decision.write is Write.NOTHING
    assert settled.decision.entry.state is State.ORPHAN_KEPT


async def test_an_absence_seen_from_before_is_stale() -> None:
    """A read older than the entry says nothing about it, not even by its silence (case 26)."""
    one = read("1")
    entry = known(one, position=101)
    made = decider(PLAN, Ledger(entry), Target({"1": one.row}))
    decision = only(await made.decide_removal(TX, [one.key])).decision
    assert (decision.write, decision.outcome, decision.entry) == (
        Write.NOTHING,
        Outcome.STALE,
        entry,
    )


async def test_each_absence_is_judged_in_the_order_given() -> None:
    """One answer for each key, also for one that the ledger has forgotten."""
    first, second = read("1"), read("2")
    ledger = Ledger(known(first), known(second))
    target = Target({"1": first.row})
    keys = [key("2"), key("3"), key("1")]
    batch = await decider(PLAN, ledger, target).decide_removal(TX, keys)
    assert [s.key for s in batch.settled] == keys
    assert [s.decision.entry.state for s in batch.settled] == [
        State.TGT_DELETED,
        State.SRC_DELETED,
        State.SRC_DELETED,
    ]


# -- text keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "keyed"),
    [("e\u0301", "é"), ("\u212a", "K"), ("K", "K"), ("é", "é")],
    ids=["two code points", "Kelvin", "ASCII", "one code point"],
)
async def test_a_text_key_is_written_as_the_ledger_has_it(written: str, keyed: str) -> None:
    """Both sides get the NFC form, whichever the source used; other columns not (case 61)."""
    name = "e\u0301".encode()
    one = Read(key(written), (written.encode(), name, None), 7)
    settled = only(await decide([one]))
    assert settled.key == key(keyed)
    assert settled.row == (keyed.encode(), name, None)


async def test_a_key_without_text_leaves_the_row_alone() -> None:
    """Nothing is decoded for integers."""
    columns = (Column("id", "id", ColumnType(Kind.INTEGER)), *COLUMNS[1:])
    plan = replace(PLAN, columns=columns, drafted=columns)
    one = Read(encode_key((Kind.INTEGER,), (b"17",)), (b"17", b"Ada", None), 7)
    assert decider(plan, Ledger(), Target()).keyed(one) is one.row
