"""Every duty of ``Source`` and ``Snapshot``, over the double, PostgreSQL, ODBC and files alike."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from syncd.flow.keys import encode_key
from syncd.flow.model import Issue, Kind, Read
from syncd.flow.ports import WHOLE, Block, Snapshot, Span
from syncd.pg.dialect import split_copy_line
from syncd.sources import postgres
from tests.contracts.world import (
    FilesSourceCase,
    MemorySourceCase,
    OdbcSourceCase,
    PostgresSourceCase,
    SourceCase,
    key_of,
    plan_of,
    row_of,
)
from tests.odbc.world import LIBODBC, PSQLODBC
from tests.pipeline.world import MakeDatabase

PLAN = plan_of()
SEVEN = [(number, f"n{number}", "1.5") for number in (3, -1, 10, 2, 1, 200, 7)]


@pytest.fixture(params=["memory", "postgres", "odbc", "files"])
async def case(
    request: pytest.FixtureRequest, make_database: MakeDatabase, tmp_path: Path
) -> AsyncIterator[SourceCase]:
    """One implementation."""
    made: SourceCase
    if request.param == "memory":
        made = MemorySourceCase()
    elif request.param == "files":
        made = FilesSourceCase(tmp_path)
    elif request.param == "odbc":
        if not (LIBODBC and PSQLODBC):
            pytest.skip("no psqlODBC: install libodbc2 and odbc-postgresql")
        made = OdbcSourceCase(make_database("source"))
    else:
        made = PostgresSourceCase(make_database("source"))
    yield made
    await made.source.close()


async def scanned(
    snapshot: Snapshot, within: Span = WHOLE
) -> tuple[list[tuple[bytes, int]], int, list[Issue]]:
    """Keys and digests, the number of rows, and what was told."""
    blocks: list[Block] = []
    told: list[Issue] = []

    async def emit(block: Block) -> None:
        blocks.append(block)

    rows = await snapshot.scan(PLAN, emit, told.append, within)
    return [record for block in blocks for record in records_of(block)], rows, told


def records_of(block: Block) -> list[tuple[bytes, int]]:
    """The records of a block, by the layout of its docstring."""
    found, at = [], 0
    while at < len(block.data):
        length = int.from_bytes(block.data[at + 2 : at + 6], "big")
        key = block.data[at + 6 : at + 6 + length]
        digest = block.data[at + 10 + length : at + 18 + length]
        assert len(digest) == 8, "a block ends inside a record"
        assert not block.width or block.width == length + 18
        found.append((key, int.from_bytes(digest, "big", signed=True)))
        at += length + 18
    return found


async def read_all(snapshot: Snapshot) -> tuple[list[list[Read]], int, list[Issue]]:
    """Pieces of a full read; a line that comes with a row says what the row holds."""
    batches: list[list[Read]] = []
    told: list[Issue] = []

    async def emit(reads: Sequence[Read]) -> None:
        assert all(not one.line or tuple(split_copy_line(one.line)) == one.row for one in reads)
        batches.append([replace(one, line=b"") for one in reads])

    rows = await snapshot.read(PLAN, emit, told.append)
    return batches, rows, told


async def test_describe_names_the_columns_found_now(case: SourceCase) -> None:
    """Columns by name, with their kinds."""
    await case.put(SEVEN)
    shape = await case.source.describe("items")
    kinds = {name: found.type.kind for name, found in shape.items()}
    # A dump has no types of its own: every column is text.
    typed = {"amount": Kind.DECIMAL, "id": Kind.INTEGER, "name": Kind.TEXT}
    untyped = dict.fromkeys(typed, Kind.TEXT)
    assert kinds == (untyped if isinstance(case, FilesSourceCase) else typed)


async def test_a_later_look_never_stands_before_an_earlier_one(case: SourceCase) -> None:
    """The position is a lower bound of what every read shows."""
    await case.put(SEVEN)
    async with case.source.open([PLAN]) as first:
        before = first.position
    await case.put(SEVEN[:3])
    async with case.source.open([PLAN]) as second:
        assert second.position >= before


async def test_an_identity_is_empty_or_that_of_the_content(case: SourceCase) -> None:
    """Two equal non-empty identities mean equal content."""
    await case.put(SEVEN)
    async with case.source.open([PLAN]) as snapshot:
        before = await snapshot.identity(PLAN)
    await case.put(SEVEN[:3])
    async with case.source.open([PLAN]) as snapshot:
        after = await snapshot.identity(PLAN)
    assert before != after or before == ""


async def test_digests_mean_the_same_as_long_as_their_spec_is_the_same(case: SourceCase) -> None:
    """The spec stays over two looks, and so do the digests."""
    await case.put(SEVEN)
    found = []
    for _ in range(2):
        async with case.source.open([PLAN]) as snapshot:
            found.append((await snapshot.digest_spec(PLAN), (await scanned(snapshot))[0]))
    assert found[0] == found[1]


async def test_a_scan_pushes_every_key_in_order(case: SourceCase) -> None:
    """Strictly ascending, whole records, no unknown digest, the number of rows."""
    await case.put(SEVEN)
    async with case.source.open([PLAN]) as snapshot:
        records, rows, told = await scanned(snapshot)
    assert [key for key, _ in records] == sorted(key_of(number) for number, _, _ in SEVEN)
    assert all(a < b for a, b in pairwise(key for key, _ in records))
    assert not {0, -1} & {digest for _, digest in records}
    assert (rows, told) == (7, [])


async def test_the_spans_of_a_scan_are_its_whole(
    case: SourceCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is in exactly one of them, those beyond what is remembered too."""
    monkeypatch.setattr(postgres, "SPLIT_ROWS_MIN", 1)
    await case.put(SEVEN)
    keys = [encode_key(PLAN.key_types, [b"%d" % number]) for number in (1, 10)]
    async with case.source.open([PLAN]) as snapshot:
        whole = await scanned(snapshot)
        spans = await snapshot.spans(PLAN, (keys[0], keys[1]), 7)
        parts = [await scanned(snapshot, span) for span in spans]
    assert [span.first for span in spans[1:]] == [span.end for span in spans[:-1]]
    assert (spans[0].first, spans[-1].end) == (b"", b"")
    assert [record for records, _, _ in parts for record in records] == whole[0]
    assert sum(rows for _, rows, _ in parts) == whole[1]


async def test_a_digest_follows_the_row(case: SourceCase) -> None:
    """Another value, NULL and '' give other digests; the same row gives the same."""
    rows = [(1, "a", "1"), (2, "", "1"), (3, None, "1"), (4, "a", "1")]
    await case.put(rows)
    async with case.source.open([PLAN]) as snapshot:
        before = dict((await scanned(snapshot))[0])
    await case.put([(1, "a", "1"), (2, None, "1"), (3, "", "1"), (4, "b", "1")])
    async with case.source.open([PLAN]) as snapshot:
        after = dict((await scanned(snapshot))[0])
    assert [before[key_of(n)] == after[key_of(n)] for n in (1, 2, 3, 4)] == [
        True,
        False,
        False,
        False,
    ]


async def test_rows_without_a_key_are_told_and_counted(case: SourceCase) -> None:
    """A NULL key is an issue that excludes; the others are pushed."""
    await case.put([(1, "a", "1"), (None, "b", "1")])
    async with case.source.open([PLAN]) as snapshot:
        records, rows, told = await scanned(snapshot)
        batches, read_rows, read_told = await read_all(snapshot)
    assert [key for key, _ in records] == [key_of(1)]
    assert [read.key for batch in batches for read in batch] == [key_of(1)]
    assert rows == read_rows == 2
    assert [issue.excludes for issue in (*told, *read_told)] == [True, True]


async def test_a_key_that_occurs_twice_is_pushed_once_and_unknown(case: SourceCase) -> None:
    """Digest 0 in the scan, an issue beside it; fetched with an issue that excludes."""
    await case.put([(1, "a", "1"), (2, "a", "1"), (2, "b", "1")])
    async with case.source.open([PLAN]) as snapshot:
        records, rows, told = await scanned(snapshot)
        fetched = await snapshot.fetch(PLAN, [key_of(2)])
    assert [(key, digest == 0) for key, digest in records] == [
        (key_of(1), False),
        (key_of(2), True),
    ]
    assert (rows, len(told)) == (3, 1)
    assert [read.key for read in fetched] == [key_of(2)]
    assert any(issue.excludes for issue in fetched[0].issues)


async def test_a_full_read_pushes_every_row_with_the_digest_of_the_scan(case: SourceCase) -> None:
    """In key order, in batches, normalised; count as scan."""
    await case.put(SEVEN)
    async with case.source.open([PLAN]) as snapshot:
        records, _, _ = await scanned(snapshot)
        batches, rows, told = await read_all(snapshot)
    reads = [read for batch in batches for read in batch]
    assert [(read.key, read.digest) for read in reads] == records
    assert [read.row for read in reads][:2] == [row_of(-1, "n-1", "1.5"), row_of(1, "n1", "1.5")]
    assert len(batches) > 1
    assert (rows, told) == (7, [])


async def test_fetch_brings_what_is_there_in_key_order(case: SourceCase) -> None:
    """A key that is not there any more is left out; digests are those of the scan."""
    await case.put(SEVEN)
    async with case.source.open([PLAN]) as snapshot:
        digests = dict((await scanned(snapshot))[0])
        reads = await snapshot.fetch(PLAN, sorted(key_of(n) for n in (2, 5, 10)))
    assert [(r.key, r.row, r.digest) for r in reads] == [
        (key_of(2), row_of(2, "n2", "1.5"), digests[key_of(2)]),
        (key_of(10), row_of(10, "n10", "1.5"), digests[key_of(10)]),
    ]


async def test_a_snapshot_does_not_see_what_happens_after_it(case: SourceCase) -> None:
    """One consistent look: scan, read and fetch agree although the source goes on."""
    await case.put(SEVEN)
    async with case.source.open([PLAN]) as snapshot:
        before, _, _ = await scanned(snapshot)
        if isinstance(case, PostgresSourceCase):
            await case.insert(999)
        elif isinstance(case, FilesSourceCase):
            case.append(999)
        else:
            await case.put([*SEVEN, (999, "late", "1")])
        assert (await scanned(snapshot))[0] == before
        assert await snapshot.fetch(PLAN, [key_of(999)]) == []
    async with case.source.open([PLAN]) as snapshot:
        assert len((await scanned(snapshot))[0]) == 8


async def test_an_empty_source_is_read_to_its_end(case: SourceCase) -> None:
    """No record, no row, no issue, and no error."""
    await case.put([])
    async with case.source.open([PLAN]) as snapshot:
        assert await scanned(snapshot) == ([], 0, [])
        assert await read_all(snapshot) == ([], 0, [])


async def test_close_may_be_called_twice(case: SourceCase) -> None:
    """Release everything; the second time there is nothing."""
    await case.source.close()
    await case.source.close()
