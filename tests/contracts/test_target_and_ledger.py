"""Every duty of ``Target``, ``Ledger`` and ``RunBook``, over the doubles and PostgreSQL alike."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Final

import pytest
from msgspec.structs import replace

from syncd.errors import FencedError, RowError, SyncdError
from syncd.flow.model import (
    ColumnConflict,
    Counts,
    Kind,
    Outcome,
    Read,
    ReadColumns,
    Row,
    State,
    Write,
)
from syncd.flow.ports import WHOLE, Block, Fresh, Import, Span, Unit
from tests.contracts.test_source import records_of
from tests.contracts.world import (
    HASHER,
    Shelter,
    aggregate_shelter,
    decided,
    entry_of,
    key_of,
    memory_shelter,
    postgres_shelter,
    row_of,
)
from tests.pipeline.world import MakeDatabase

EPOCH = 5  # the digest epoch of ``entry_of``


class RolledBackError(Exception):
    """Ends a transaction."""


@pytest.fixture(params=["memory", "postgres"])
async def shelter(
    request: pytest.FixtureRequest, make_database: MakeDatabase
) -> AsyncIterator[Shelter]:
    """One implementation of all three ports."""
    if request.param == "memory":
        opened = memory_shelter()
    elif request.param == "postgres":
        opened = postgres_shelter(make_database("target"))
    else:
        opened = aggregate_shelter(make_database("target"))
    async with opened as made:
        yield made


# What a target owes, wherever its rows lie; the ledger beside it is the same.
of_targets: Final = pytest.mark.parametrize(
    "shelter", ["memory", "postgres", "aggregate"], indirect=True
)


async def insert(shelter: Shelter, *numbers: int) -> None:
    """Rows at the target."""
    plan = shelter.plan
    async with shelter.ledger.begin(shelter.lease) as tx:
        changes = [(key_of(n), row_of(n), decided(Write.INSERT, plan, n)) for n in numbers]
        await shelter.target.write(tx, plan, changes)


async def remember(shelter: Shelter, *numbers: int, **fields: object) -> None:
    """Entries in the ledger."""
    entries = [entry_of(shelter.plan, number, **fields) for number in numbers]
    async with shelter.ledger.begin(shelter.lease) as tx:
        await shelter.ledger.record(tx, shelter.plan, entries, [], new=False)


async def rows_of(shelter: Shelter) -> list[Read]:
    """All of the target, as ``scan`` pushes it."""
    found: list[Read] = []

    async def emit(reads: Sequence[Read]) -> None:
        found.extend(reads)

    assert await shelter.target.scan(shelter.plan, emit) == len(found)
    return found


async def digests_of(
    shelter: Shelter, epoch: int = EPOCH, within: Span = WHOLE
) -> list[tuple[bytes, int]]:
    """What ``scan`` pushes of the ledger."""
    blocks: list[Block] = []

    async def emit(block: Block) -> None:
        blocks.append(block)

    pushed = await shelter.ledger.scan(shelter.plan, epoch, emit, within)
    records = [record for block in blocks for record in records_of(block)]
    assert pushed == len(records)
    return records


def reads_of(rows: Sequence[Row]) -> ReadColumns:
    """Rows as they would be read, in columns."""
    keys = [key_of(int(row[1])) for row in rows if isinstance(row[1], bytes)]
    return ReadColumns(keys, [1] * len(rows), [*zip(*rows, strict=True)], [b""] * len(rows))


# -- the target ----------------------------------------------------------------------------------


@of_targets
async def test_the_target_describes_its_columns(shelter: Shelter) -> None:
    """Columns of the table now, by name."""
    shape = await shelter.target.describe("items")
    assert {name: found.type.kind for name, found in shape.items()} == {
        "amount": Kind.DECIMAL,
        "id": shelter.key_kind,
        "name": Kind.TEXT,
    }


@of_targets
async def test_a_table_is_created_once(shelter: Shelter) -> None:
    """False where it stands already."""
    assert not await shelter.target.create(shelter.plan, ["id", "name", "amount"])


@of_targets
async def test_a_table_that_has_all_columns_is_not_widened(shelter: Shelter) -> None:
    """Names of those added: none."""
    assert await shelter.target.widen(shelter.plan) == ()


@of_targets
async def test_a_table_is_empty_until_a_row_is_committed(shelter: Shelter) -> None:
    """Whether it holds no row at all."""
    assert await shelter.target.is_empty(shelter.plan)
    await insert(shelter, 1)
    assert not await shelter.target.is_empty(shelter.plan)


@of_targets
async def test_lock_returns_the_rows_that_are_there(shelter: Shelter) -> None:
    """In canonical text; keys without a row are left out."""
    await insert(shelter, 1, 2)
    async with shelter.ledger.begin(shelter.lease) as tx:
        found = await shelter.target.lock(tx, shelter.plan, [key_of(n) for n in (1, 2, 3)])
    assert dict(found.rows) == {key_of(1): row_of(1), key_of(2): row_of(2)}


@of_targets
async def test_write_returns_what_is_stored_and_leaves_deleted_rows_out(shelter: Shelter) -> None:
    """Inserts, updates of the written columns alone, and deletes, in one call."""
    plan = shelter.plan
    await insert(shelter, 1, 2)
    async with shelter.ledger.begin(shelter.lease) as tx:
        await shelter.target.lock(tx, plan, [key_of(1), key_of(2)])
        stored = await shelter.target.write(
            tx,
            plan,
            [
                (key_of(1), row_of(1, "new", "9"), decided(Write.UPDATE, plan, 1, [2])),
                (key_of(2), (), decided(Write.DELETE, plan, 2)),
                (key_of(3), row_of(3, None), decided(Write.INSERT, plan, 3)),
            ],
        )
    assert dict(stored) == {key_of(1): row_of(1, "new", "1"), key_of(3): row_of(3, None)}
    assert [read.row for read in await rows_of(shelter)] == [row_of(1, "new", "1"), row_of(3, None)]


@of_targets
async def test_a_refused_row_voids_the_transaction(shelter: Shelter) -> None:
    """RowError; what the transaction had done before is gone as well."""
    plan = shelter.plan
    await insert(shelter, 2)

    async def write_both() -> None:
        async with shelter.ledger.begin(shelter.lease) as tx:
            for number in (1, 2):
                change = (key_of(number), row_of(number), decided(Write.INSERT, plan, number))
                await shelter.target.write(tx, plan, [change])

    with pytest.raises(RowError) as caught:
        await write_both()
    assert caught.value.sqlstate == "23505"
    assert [read.key for read in await rows_of(shelter)] == [key_of(2)]


@pytest.mark.parametrize("write", [Write.UPDATE, Write.DELETE])
@of_targets
async def test_a_write_that_finds_no_row_is_never_silent(shelter: Shelter, write: Write) -> None:
    """``lock`` held it, so it cannot be gone; what was done is rolled back."""
    plan = shelter.plan
    with pytest.raises(SyncdError):
        async with shelter.ledger.begin(shelter.lease) as tx:
            await shelter.target.write(tx, plan, [(key_of(1), row_of(1), decided(write, plan, 1))])
    assert await rows_of(shelter) == []


@of_targets
async def test_load_inserts_what_is_stored_as_it_is_sent(shelter: Shelter) -> None:
    """The fastest way, and the same rows."""
    rows = [row_of(1), row_of(2, None, None)]
    cargo = shelter.target.pack(shelter.plan, reads_of(rows))
    if not shelter.loads:
        assert cargo is None
        return
    assert cargo is not None
    async with shelter.ledger.begin(shelter.lease) as tx:
        assert await shelter.target.load(tx, shelter.plan, [cargo])
    assert [read.row for read in await rows_of(shelter)] == [row_of(1), row_of(2, None, None)]


async def test_load_raises_what_write_raises(shelter: Shelter) -> None:
    """A key that is taken is a RowError, and nothing is kept."""
    await insert(shelter, 2)
    packed = [shelter.target.pack(shelter.plan, reads_of([row_of(at)])) for at in (1, 2)]
    with pytest.raises(RowError):
        async with shelter.ledger.begin(shelter.lease) as tx:
            await shelter.target.load(tx, shelter.plan, [one for one in packed if one is not None])
    assert len(await rows_of(shelter)) == 1


@of_targets
async def test_the_target_is_scanned_in_key_order(shelter: Shelter) -> None:
    """Byte order of the key, negative numbers first."""
    await insert(shelter, 10, -1, 2)
    assert [read.key for read in await rows_of(shelter)] == [key_of(n) for n in (-1, 2, 10)]


# -- transactions and the fence ------------------------------------------------------------------


@of_targets
async def test_target_and_ledger_commit_together_or_not_at_all(shelter: Shelter) -> None:
    """I6: a transaction that ends with an error leaves neither row nor entry."""
    plan = shelter.plan

    async def write_and_fail() -> None:
        async with shelter.ledger.begin(shelter.lease) as tx:
            change = (key_of(1), row_of(1), decided(Write.INSERT, plan, 1))
            await shelter.target.write(tx, plan, [change])
            await shelter.ledger.record(tx, plan, [entry_of(plan, 1)], [], new=True)
            raise RolledBackError

    with pytest.raises(RolledBackError):
        await write_and_fail()
    assert await rows_of(shelter) == []
    assert await shelter.ledger.extent(plan) is None


async def test_a_lease_that_was_taken_over_begins_nothing(shelter: Shelter) -> None:
    """I9: FencedError before the first statement."""
    with pytest.raises(FencedError):
        async with shelter.ledger.begin(shelter.stale):
            raise AssertionError("it began")


async def test_a_look_sees_what_was_committed(shelter: Shelter) -> None:
    """A read-only transaction in which nothing is locked."""
    await insert(shelter, 1)
    await remember(shelter, 1)
    async with shelter.ledger.look() as tx:
        locked = await shelter.target.lock(tx, shelter.plan, [key_of(1)])
        assert list(locked.rows) == [key_of(1)]
        assert list(await shelter.ledger.lock(tx, shelter.plan, [key_of(1)])) == [key_of(1)]


# -- the ledger ----------------------------------------------------------------------------------


async def test_a_ledger_has_no_extent_until_something_is_remembered(shelter: Shelter) -> None:
    """Then it is from the first to the last key, whatever the state of their entries."""
    assert await shelter.ledger.extent(shelter.plan) is None
    await remember(shelter, 1)
    assert await shelter.ledger.extent(shelter.plan) == (key_of(1), key_of(1))
    await remember(shelter, -7, present=False, state=State.SRC_DELETED)
    await remember(shelter, 30, 20)
    assert await shelter.ledger.extent(shelter.plan) == (key_of(-7), key_of(30))


@pytest.mark.parametrize(
    ("fields", "settled"),
    [
        ({}, True),
        ({"open": True}, False),
        ({"digest": 0}, False),
        ({"outcome": Outcome.FAILED}, False),
        ({"outcome": Outcome.WAITING, "state": State.NONE}, True),
        ({"outcome": Outcome.SKIPPED, "state": State.NONE}, True),
        ({"outcome": Outcome.WAITING, "state": State.NONE, "digest": 0}, False),
        ({"outcome": Outcome.SKIPPED, "open": True}, False),
        ({"state": State.SRC_DELETED, "present": False, "digest": 0}, True),
    ],
)
async def test_a_ledger_is_settled_when_no_entry_asks_for_a_look(
    shelter: Shelter, fields: dict[str, object], *, settled: bool
) -> None:
    """Open, parked and unknown digests ask; a tombstone and what stands aside do not."""
    await remember(shelter, 1)
    await remember(shelter, 2, **fields)
    assert await shelter.ledger.is_settled(shelter.plan) is settled


async def test_what_stands_aside_is_counted_apart_from_this_run(shelter: Shelter) -> None:
    """Present, of known digest and not open; without the absent, and what this run decided."""
    aside: dict[str, object] = {"outcome": Outcome.WAITING, "state": State.NONE}
    await remember(shelter, 1, 2, 3, **aside)
    await remember(shelter, 4, outcome=Outcome.SKIPPED)
    await remember(shelter, 5, **aside, run_id=2)
    await remember(shelter, 6, outcome=Outcome.FAILED)
    await remember(shelter, 7, **(aside | {"digest": 0}))
    await remember(shelter, 8, **aside, open=True)
    await remember(shelter, 9, **aside, present=False)
    await remember(shelter, 10)
    absent = [key_of(3), key_of(10)]
    counts = await shelter.ledger.standing(shelter.plan, 2, absent)
    assert counts == Counts(waiting=2, skipped=1)
    assert await shelter.ledger.standing(shelter.plan, 3, []) == Counts(waiting=4, skipped=1)


@pytest.mark.parametrize(
    ("counts", "came"),
    [
        (Counts(inserted=1), True),
        (Counts(waiting=7, linked=1), True),
        (Counts(unchanged=1), True),
        (Counts(seen=9, waiting=3, skipped=2, invalid=1, failed=1, unsupported=2), False),
    ],
)
async def test_who_waits_is_released_once_a_parent_may_have_come(
    shelter: Shelter, counts: Counts, *, came: bool
) -> None:
    """In a run after the last that went to its end, whoever is set aside once more (case 71)."""
    plan, run_id = shelter.plan, await shelter.run_id()
    ledger, parents, waiting = shelter.ledger, [plan.entity_id], [key_of(-3), key_of(1)]
    await remember(shelter, 1, -3, outcome=Outcome.WAITING, state=State.NONE)
    await remember(shelter, 2, outcome=Outcome.SKIPPED)
    await remember(shelter, 3)
    assert await ledger.released(plan, parents, run_id) == []
    # Where no run is known to have gone to its end, anything may have come.
    assert await ledger.released(plan, parents, 0) == waiting
    async with ledger.begin(shelter.lease) as tx:
        await ledger.unit(tx, run_id, plan, Unit("u1", counts, Counts(), Counts(), Counts()))
    before = run_id - 1 or -1
    assert await ledger.released(plan, parents, before) == (waiting if came else [])
    assert await ledger.released(plan, [plan.entity_id + 1], before) == []
    assert await ledger.released(plan, parents, run_id) == []


async def test_who_stands_aside_is_asked_again_by_whichever_run_is_next(shelter: Shelter) -> None:
    """Only these lose their digest, and they wait still."""
    await remember(shelter, 1, 2, outcome=Outcome.WAITING, state=State.NONE)
    await remember(shelter, 3, outcome=Outcome.SKIPPED)
    await remember(shelter, 4)
    keys = [key_of(9), key_of(4), key_of(1)]
    async with shelter.ledger.begin(shelter.lease) as tx:
        await shelter.ledger.ask_again(tx, shelter.plan, keys)
    digests = [digest for _, digest in await digests_of(shelter)]
    assert digests == [-1, 1002, 1003, 1004]
    assert not await shelter.ledger.is_settled(shelter.plan)
    assert await shelter.ledger.released(shelter.plan, [shelter.plan.entity_id], 0) == [key_of(2)]


async def test_what_is_recorded_comes_back_as_it_was(shelter: Shelter) -> None:
    """Every field of an entry; keys without an entry are left out."""
    plan = shelter.plan
    entries = [
        entry_of(plan, 1),
        entry_of(plan, 2, target_base=(b"", *HASHER.columns(row_of(2))[1:]), reason="why"),
        entry_of(plan, 3, state=State.TGT_DELETED, incarnation=4, position=99, source_epoch=3),
        entry_of(plan, 4, state=State.NONE, source_base=(), target_base=(), fingerprint=b""),
    ]
    async with shelter.ledger.begin(shelter.lease) as tx:
        await shelter.ledger.record(tx, plan, entries, [], new=True)
    keys = [key_of(n) for n in range(1, 6)]
    async with shelter.ledger.begin(shelter.lease) as tx:
        found = await shelter.ledger.lock(tx, plan, keys)
    assert [found[entry.key] for entry in entries] == entries
    assert key_of(5) not in found


async def test_an_entry_is_replaced_whole(shelter: Shelter) -> None:
    """The second record of a key wins, in every field."""
    await remember(shelter, 1)
    await remember(shelter, 1, state=State.SRC_DELETED, present=False, outcome=Outcome.DELETED)
    async with shelter.ledger.look() as tx:
        entry = (await shelter.ledger.lock(tx, shelter.plan, [key_of(1)]))[key_of(1)]
    assert (entry.state, entry.present, entry.outcome) == (
        State.SRC_DELETED,
        False,
        Outcome.DELETED,
    )


async def test_a_first_load_stores_what_a_record_would(shelter: Shelter) -> None:
    """``load`` with shared fields gives the very same entries."""
    plan = shelter.plan
    blank = entry_of(plan, 0, digest=0, fingerprint=b"", source_base=(), target_base=())
    common = replace(blank, key=b"")
    expected = [entry_of(plan, number) for number in (1, 2)]
    fresh = Fresh(
        [e.key for e in expected],
        [e.digest for e in expected],
        [e.fingerprint for e in expected],
        [b"".join(e.source_base) for e in expected],
    )
    cargo = shelter.ledger.pack(plan, common, fresh)
    async with shelter.ledger.begin(shelter.lease) as tx:
        await shelter.ledger.load(tx, [cargo])
    async with shelter.ledger.look() as tx:
        found = await shelter.ledger.lock(tx, plan, [e.key for e in expected])
    assert [found[e.key] for e in expected] == expected


async def test_the_ledger_is_scanned_in_key_order(shelter: Shelter) -> None:
    """(key, digest) of every entry present at the source."""
    await remember(shelter, 10, -1, 2)
    await remember(shelter, 3, present=False, state=State.SRC_DELETED)
    assert await digests_of(shelter) == [
        (key_of(-1), 999),
        (key_of(2), 1002),
        (key_of(10), 1010),
    ]


@pytest.mark.parametrize("ends", [(), (2,), (-1, 2), (2, 3), (-50, 50)])
async def test_spans_of_the_ledger_are_its_whole(shelter: Shelter, ends: tuple[int, ...]) -> None:
    """Each entry is in exactly one span, on its edge too."""
    await remember(shelter, 10, -1, 2, 3)
    cuts = [b"", *map(key_of, ends), b""]
    pushed = []
    for first, end in pairwise(cuts):
        pushed += await digests_of(shelter, within=Span(first, end))
    assert pushed == await digests_of(shelter)


async def test_a_digest_that_proves_nothing_is_minus_one(shelter: Shelter) -> None:
    """Unknown, of another epoch, or the entry is open."""
    await remember(shelter, 1)
    await remember(shelter, 2, digest=0)
    await remember(shelter, 3, open=True)
    assert await digests_of(shelter) == [(key_of(1), 1001), (key_of(2), -1), (key_of(3), -1)]
    assert {digest for _, digest in await digests_of(shelter, EPOCH + 1)} == {-1}


async def test_touch_moves_digest_and_position_alone(shelter: Shelter) -> None:
    """The fingerprint proved the row unchanged."""
    plan = shelter.plan
    await remember(shelter, 1, 2)
    async with shelter.ledger.begin(shelter.lease) as tx:
        await shelter.ledger.touch(tx, plan, [key_of(1)], [77], 6, 1, 20)
    async with shelter.ledger.look() as tx:
        found = await shelter.ledger.lock(tx, plan, [key_of(1), key_of(2)])
    moved = replace(entry_of(plan, 1), digest=77, digest_epoch=6, source_epoch=1, position=20)
    assert found == {key_of(1): moved, key_of(2): entry_of(plan, 2)}


async def test_live_names_the_parents_that_have_landed(shelter: Shelter) -> None:
    """State live, and nothing else."""
    await remember(shelter, 1, 2)
    await remember(shelter, 3, state=State.TGT_DELETED)
    async with shelter.ledger.look() as tx:
        keys = [key_of(n) for n in (1, 3, 4)]
        assert await shelter.ledger.live(tx, shelter.plan, keys) == frozenset({key_of(1)})


async def test_an_open_entry_knows_which_columns_are_in_dispute(shelter: Shelter) -> None:
    """Those of its open conflicts, until they are closed; None for an entry that is not open."""
    plan = shelter.plan
    conflict = ColumnConflict("name", b"b" * 8, b"s" * 8, b"t" * 8)
    told = Import(key_of(1), Outcome.CONFLICT, "", (), (conflict,), ())
    entry = entry_of(plan, 1, open=True)
    disputed = []
    for line in (told, replace(told, conflicts=(), closed=("name",))):
        async with shelter.ledger.begin(shelter.lease) as tx:
            await shelter.ledger.record(tx, plan, [entry], [line], new=False)
        async with shelter.ledger.look() as tx:
            found = await shelter.ledger.lock(tx, plan, [key_of(1)])
        disputed.append(found[key_of(1)].disputed)
    assert disputed == [frozenset({"name"}), frozenset()]


async def test_a_work_unit_is_found_once_it_is_committed(shelter: Shelter) -> None:
    """The answer after a commit of unknown outcome; a rolled-back one is not found."""
    plan, run_id = shelter.plan, await shelter.run_id()
    unit = Unit("u1", Counts(inserted=2), Counts(deleted=1), Counts(failed=1), Counts())
    assert await shelter.ledger.find_unit(run_id, plan, "u1") is None

    async def note_and_fail() -> None:
        async with shelter.ledger.begin(shelter.lease) as tx:
            await shelter.ledger.unit(tx, run_id, plan, unit)
            raise RolledBackError

    with pytest.raises(RolledBackError):
        await note_and_fail()
    assert await shelter.ledger.find_unit(run_id, plan, "u1") is None
    async with shelter.ledger.begin(shelter.lease) as tx:
        await shelter.ledger.unit(tx, run_id, plan, unit)
    assert await shelter.ledger.find_unit(run_id, plan, "u1") == unit


# -- the book of a run ---------------------------------------------------------------------------


async def test_the_book_knows_the_units_of_earlier_attempts(shelter: Shelter) -> None:
    """Of this run, and committed before this attempt."""
    plan, run_id = shelter.plan, await shelter.run_id()
    unit = Unit("u1", Counts(inserted=2), Counts(), Counts(), Counts())
    async with shelter.ledger.begin(shelter.lease) as tx:
        await shelter.ledger.unit(tx, run_id, plan, unit)
    await shelter.next_attempt()
    book = await shelter.book(run_id)
    assert [earlier.present for earlier in await book.earlier_units(plan)] == [unit.present]
    assert await (await shelter.book(run_id + 1)).earlier_units(plan) == []


async def test_the_book_holds_exactly_what_it_is_told(shelter: Shelter) -> None:
    """Those held before and not named are let go; each run that misses a key counts once."""
    plan = shelter.plan
    first, second = await shelter.book(1), await shelter.book(2)
    await first.hold(plan, [key_of(1), key_of(2)], "too many")
    await first.hold(plan, [key_of(1), key_of(2)], "too many")
    assert (await first.decisions(plan)).missed_runs == {key_of(1): 1, key_of(2): 1}
    await second.hold(plan, [key_of(2), key_of(3)], "too many")
    decisions = await second.decisions(plan)
    assert decisions.missed_runs == {key_of(2): 2, key_of(3): 1}
    assert decisions.approved == decisions.rejected == frozenset()
    with pytest.raises(FencedError):
        await (await shelter.book(3, shelter.stale)).hold(plan, [], "")
    assert (await second.decisions(plan)).missed_runs == decisions.missed_runs
