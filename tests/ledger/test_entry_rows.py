"""Entries as rows: what is packed by hand is what PostgreSQL stores, and comes back the same."""

from collections.abc import AsyncIterator, Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from syncd.flow.model import PARKED, Entry, Hashes, Outcome, State
from syncd.flow.ports import Fresh
from syncd.flow.value_hash import HASH_BYTES
from syncd.ledger.entry_rows import (
    COLUMNS,
    COPY_HEADER,
    COPY_TRAILER,
    NO_BASE,
    join_base,
    pack_entries,
    pack_fresh,
    split_base,
    to_entry,
)
from syncd.ledger.migrations import migrate

ENTITY: Final = 7
INT2_MAX, INT4_MAX, INT8_MAX = 2**15 - 1, 2**31 - 1, 2**63 - 1

hashes = st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES).filter(lambda h: h != NO_BASE)
bases = st.lists(st.one_of(st.just(b""), hashes), max_size=5).map(tuple)
int8s = st.integers(-INT8_MAX - 1, INT8_MAX)
int4s = st.integers(0, INT4_MAX)
reasons = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
entries = st.builds(
    Entry,
    key=st.binary(min_size=1, max_size=20),
    digest=st.one_of(st.just(0), int8s),
    digest_epoch=int4s,
    fingerprint=st.binary(max_size=16),
    hash_version=st.integers(0, INT2_MAX),
    revision=int4s,
    shape=int4s,
    source_epoch=int4s,
    position=int8s,
    state=st.sampled_from(State),
    present=st.booleans(),
    open=st.booleans(),
    incarnation=int4s,
    source_base=bases,
    target_base=bases,
    outcome=st.one_of(st.none(), st.sampled_from(Outcome)),
    reason=reasons,
    run_id=int8s,
)
# Half of them with equal bases, as nearly all real ones have.
any_entries = st.lists(
    st.one_of(entries, entries.map(lambda e: replace(e, target_base=e.source_base))),
    unique_by=lambda entry: entry.key,
    max_size=12,
)
# One table serves all examples: each empties it first.
on_one_table = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
async def ledger(pg_dsn: str) -> AsyncIterator[Any]:
    """A connection to a database with the ledger's tables."""
    connection = await asyncpg.connect(pg_dsn)
    await migrate(connection, "syncd")
    yield connection
    await connection.close()


async def stored(connection: Any, rows: bytes) -> dict[bytes, Mapping[str, Any]]:
    """The records that PostgreSQL has, by key, once it was given ``rows``."""
    await connection.execute("TRUNCATE syncd.syncd_fingerprint")
    await connection.copy_to_table(
        "syncd_fingerprint",
        schema_name="syncd",
        source=BytesIO(COPY_HEADER + rows + COPY_TRAILER),
        columns=COLUMNS,
        format="binary",
    )
    found = await connection.fetch("SELECT * FROM syncd.syncd_fingerprint")
    return {row["key"]: dict(row) for row in found}


@pytest.mark.trust
@on_one_table
@given(any_entries)
async def test_entries_come_back_as_they_went(ledger: Any, written: list[Entry]) -> None:
    """Every field, empty bases and columns without a base included."""
    records = await stored(ledger, pack_entries(ENTITY, written))
    back = [to_entry(records[entry.key], entry.shape, {}) for entry in written]
    assert back == written
    assert len(records) == len(written)


@pytest.mark.trust
@on_one_table
@given(any_entries)
async def test_what_asks_for_a_look_is_marked(ledger: Any, written: list[Entry]) -> None:
    """Open, at the source with an unknown digest, or parked; and each row has its entity."""
    records = await stored(ledger, pack_entries(ENTITY, written))
    for entry in written:
        row = records[entry.key]
        is_unknown = entry.present and entry.digest == 0
        assert row["unsettled"] is (entry.open or is_unknown or entry.outcome in PARKED)
        assert (row["entity_id"], row["first_run_id"]) == (ENTITY, entry.run_id)


@pytest.mark.parametrize(
    ("entry", "unsettled"),
    [
        (Entry(b"1", digest=5), False),
        (Entry(b"1", digest=5, open=True), True),
        (Entry(b"1", digest=0), True),
        (Entry(b"1", digest=0, present=False), False),  # a tombstone needs no look
        (Entry(b"1", digest=5, outcome=Outcome.CONFLICT), False),
        (Entry(b"1", digest=5, outcome=Outcome.WAITING), True),
        (Entry(b"1", digest=5, outcome=Outcome.SKIPPED, present=False), True),
    ],
)
async def test_the_mark_of_a_look_is_as_the_table_says(
    ledger: Any,
    entry: Entry,
    unsettled: bool,  # noqa: FBT001
) -> None:
    """The few that a sweep must find without reading all."""
    records = await stored(ledger, pack_entries(ENTITY, [entry]))
    assert records[b"1"]["unsettled"] is unsettled


async def test_equal_bases_are_stored_once(ledger: Any) -> None:
    """The second is NULL, which halves what the ledger holds of nearly every record."""
    base: Hashes = (b"a" * 8, b"", b"b" * 8)
    same = Entry(b"1", source_base=base, target_base=base)
    other = Entry(b"2", source_base=base, target_base=())
    records = await stored(ledger, pack_entries(ENTITY, [same, other]))
    assert records[b"1"]["source_base"] == b"a" * 8 + NO_BASE + b"b" * 8
    assert records[b"1"]["target_base"] is None
    assert records[b"2"]["target_base"] == b""


async def test_no_reason_is_null_and_no_outcome_is_blank(ledger: Any) -> None:
    """As the table's comments say."""
    records = await stored(ledger, pack_entries(ENTITY, [Entry(b"1")]))
    assert (records[b"1"]["reason"], records[b"1"]["outcome"]) == (None, "")


def fresh_rows(key_bytes: int, columns: int) -> st.SearchStrategy[list[Entry]]:
    """Entries as a first load makes them; keys of exactly so many bytes, or of up to 20 for 0."""
    return st.lists(
        st.builds(
            Entry,
            key=st.binary(min_size=key_bytes or 1, max_size=key_bytes or 20),
            digest=int8s,
            fingerprint=st.binary(min_size=16, max_size=16),
            source_base=st.lists(hashes, min_size=columns, max_size=columns).map(tuple),
        ),
        unique_by=lambda entry: entry.key,
        max_size=12,
    )


@pytest.mark.trust
@on_one_table
@given(entries, st.sampled_from([0, 8]).flatmap(lambda size: fresh_rows(size, 3)))
async def test_fresh_rows_are_entries_that_share_the_rest(
    ledger: Any, common: Entry, fresh: list[Entry]
) -> None:
    """A first load stores what storing each entry would have stored, keys of one size or not."""
    common = replace(common, digest=1, open=False, outcome=Outcome.INSERTED)
    same = [
        replace(
            common,
            key=row.key,
            digest=row.digest or 1,
            fingerprint=row.fingerprint,
            source_base=row.source_base,
            target_base=row.source_base,
        )
        for row in fresh
    ]
    columns = Fresh(
        [entry.key for entry in same],
        [entry.digest for entry in same],
        [entry.fingerprint for entry in same],
        [b"".join(entry.source_base) for entry in same],
    )
    quick = await stored(ledger, pack_fresh(ENTITY, common, columns))
    one_by_one = await stored(ledger, pack_entries(ENTITY, same))
    assert [to_entry(quick[entry.key], entry.shape, {}) for entry in same] == same
    for row in [*quick.values(), *one_by_one.values()]:
        row.pop("changed_at")  # type: ignore[attr-defined]
    assert quick == one_by_one


# -- bases -------------------------------------------------------------------------------------


@given(bases)
def test_a_base_is_split_as_it_was_joined(base: Hashes) -> None:
    """A column without a base takes eight zero bytes and gets its hole back."""
    joined = join_base(base)
    assert len(joined) == HASH_BYTES * len(base)
    assert split_base(joined) == base


def record_of(entry: Entry) -> dict[str, Any]:
    """What the ledger has of an entry, as a mapping."""
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return {
        **fields,
        "source_base": join_base(entry.source_base),
        "target_base": None
        if entry.source_base == entry.target_base
        else join_base(entry.target_base),
    }


NAMES: Final = "abcdef"


@pytest.mark.trust
@given(
    st.permutations(NAMES),
    st.permutations(NAMES),
    st.integers(0, 6),
    st.integers(0, 6),
    st.booleans(),
)
def test_bases_of_an_older_shape_follow_their_columns(
    old_names: Sequence[str],
    new_names: Sequence[str],
    old_width: int,
    new_width: int,
    is_edited: bool,  # noqa: FBT001
) -> None:
    """Columns moved keep their hashes, new ones have none, dropped ones are forgotten."""
    old, new = old_names[:old_width], new_names[:new_width]
    source = {name: name.encode() * 8 for name in old}
    target = {name: name.upper().encode() * 8 if is_edited else source[name] for name in old}
    entry = Entry(
        b"1", shape=3, source_base=tuple(source.values()), target_base=tuple(target.values())
    )
    remap = [old.index(name) if name in old else None for name in new]
    read = to_entry(record_of(entry), 4, {3: remap})
    if not old:
        assert (read.source_base, read.target_base) == ((), ())
        return
    assert read.source_base == tuple(source.get(name, b"") for name in new)
    assert read.target_base == tuple(target.get(name, b"") for name in new)
    assert replace(read, source_base=(), target_base=()) == replace(
        entry, source_base=(), target_base=()
    )


def test_a_hole_stays_a_hole_in_another_shape() -> None:
    """Nothing was remembered of that column before, nor is now."""
    entry = Entry(b"1", shape=3, source_base=(b"a" * 8, b""), target_base=(b"", b"b" * 8))
    read = to_entry(record_of(entry), 4, {3: [1, None, 0]})
    assert read.source_base == (b"", b"", b"a" * 8)
    assert read.target_base == (b"b" * 8, b"", b"")


def test_what_was_never_written_has_no_base_in_any_shape() -> None:
    """Empty bases stay empty: they say more than holes do, and need no list of columns."""
    read = to_entry(record_of(Entry(b"1", shape=3)), 4, {})
    assert (read.source_base, read.target_base) == ((), ())
    source_only = Entry(b"1", shape=3, source_base=(b"a" * 8,))
    read = to_entry(record_of(source_only), 4, {3: [0, None]})
    assert (read.source_base, read.target_base) == ((b"a" * 8, b""), ())


def test_the_same_shape_is_never_mapped() -> None:
    """Not even where a mapping is at hand."""
    entry = Entry(b"1", shape=3, source_base=(b"a" * 8,), target_base=(b"a" * 8,))
    assert to_entry(record_of(entry), 3, {3: [None]}) == entry
