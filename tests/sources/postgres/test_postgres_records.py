"""What COPY sends is cut at the right places, proved to ascend, and accounted for."""

import struct
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from syncd.errors import SourceError
from syncd.flow.model import ColumnType, Issue, Kind, Read, Severity
from syncd.flow.normalise import Dialect, Normaliser
from syncd.flow.ports import Block
from syncd.pg.dialect import copy_row, split_copy_line
from syncd.sources.postgres_records import RECORD_BYTES, KeyRecords, RowLines, RowPlan
from tests.sources.postgres.world import unexpected

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL_KEY = Issue(Severity.ERROR, "null_key", field="id")
DUPLICATE_KEY = Issue(Severity.ERROR, "duplicate_key", field="id")

Records = list[tuple[bytes | None, int]]


def record(key: bytes | None, digest: int) -> bytes:
    """As PostgreSQL writes a row of (bytea, bigint)."""
    length = -1 if key is None else len(key)
    return struct.pack(">hi", 2, length) + (key or b"") + struct.pack(">iq", 8, digest)


def cut(
    stream: bytes, pieces: Sequence[int], width: int, block_bytes: int
) -> tuple[list[Block], list[Issue], int]:
    """Feed ``stream`` in pieces of the given sizes, then to its end."""
    told: list[Issue] = []
    records = KeyRecords(width, "id", told.append, block_bytes=block_bytes)
    blocks, at = [], 0
    for size in pieces:
        blocks += records.feed(stream[at : at + size])
        at += size
    blocks += records.feed(stream[at:])
    return blocks + records.finish(), told, records.rows


def expected(records: Records) -> tuple[bytes, int, int]:
    """The records that go on, the NULL keys and the repetitions among ``records``."""
    kept, repeated = b"", 0
    usable = [(key, digest) for key, digest in records if key is not None]
    for key, group in groupby(usable, key=lambda record: record[0]):
        digests = [digest for _, digest in group]
        repeated += len(digests) - 1
        kept += record(key, digests[0] if len(digests) == 1 else 0)
    return kept, len(records) - len(usable), repeated


fixed_keys = st.integers(0, 40).map(lambda n: n.to_bytes(8, "big"))
varying_keys = st.binary(min_size=1, max_size=3).map(lambda text: text.replace(b"\0", b"") + b"\0")
digests = st.integers(1, 2**63 - 1)


def ascending(keys: st.SearchStrategy[bytes]) -> st.SearchStrategy[Records]:
    """Records in order, with repetitions, and NULL keys anywhere."""
    return st.lists(st.tuples(keys, digests), max_size=60).flatmap(
        lambda found: st.lists(st.integers(0, len(found)), max_size=3).map(
            lambda places: with_nulls(sorted(found), places)
        )
    )


def with_nulls(found: list[tuple[bytes, int]], places: list[int]) -> Records:
    records: Records = list(found)
    for place in sorted(places, reverse=True):
        records.insert(place, (None, 5))
    return records


@given(ascending(fixed_keys), st.lists(st.integers(0, 70)), st.integers(1, 300))
def test_records_of_one_size_go_on_as_they_are(
    records: Records, pieces: list[int], block_bytes: int
) -> None:
    """However the stream is cut: same bytes, whole records, every row counted or told."""
    stream = HEADER + b"".join(record(*one) for one in records) + TRAILER
    blocks, told, rows = cut(stream, pieces, RECORD_BYTES + 8, block_bytes)
    kept, nulls, repeated = expected(records)
    assert b"".join(block.data for block in blocks) == kept
    assert all(block.width == 26 and len(block.data) % 26 == 0 for block in blocks)
    assert (told.count(NULL_KEY), told.count(DUPLICATE_KEY)) == (nulls, repeated)
    assert rows == len(records) == len(kept) // 26 + len(told)


@given(ascending(varying_keys), st.lists(st.integers(0, 70)), st.integers(1, 300))
def test_records_of_any_size_go_on_as_they_are(
    records: Records, pieces: list[int], block_bytes: int
) -> None:
    """The same for keys of any length, whose records are walked one by one."""
    stream = HEADER + b"".join(record(*one) for one in records) + TRAILER
    blocks, told, rows = cut(stream, pieces, 0, block_bytes)
    kept, nulls, repeated = expected(records)
    assert b"".join(block.data for block in blocks) == kept
    assert all(block.width == 0 and ends_whole(block.data) for block in blocks)
    assert (told.count(NULL_KEY), told.count(DUPLICATE_KEY)) == (nulls, repeated)
    assert rows == len(records)


def ends_whole(data: bytes) -> bool:
    at = 0
    while at < len(data):
        at += RECORD_BYTES + int.from_bytes(data[at + 2 : at + 6], "big")
    return at == len(data)


@pytest.mark.parametrize("width", [RECORD_BYTES + 8, 0])
@pytest.mark.parametrize("block_bytes", [1, 60, 10_000])
def test_a_key_below_the_one_before_ends_the_read(width: int, block_bytes: int) -> None:
    """Whether the two meet in one block or across two, nothing is concluded (case 45)."""
    keys = [n.to_bytes(8, "big") for n in (1, 2, 3, 9, 8, 10)]
    stream = HEADER + b"".join(record(key, 7) for key in keys) + TRAILER
    with pytest.raises(SourceError, match="ascending"):
        cut(stream, [26] * 6, width, block_bytes)


@pytest.mark.parametrize("width", [RECORD_BYTES + 8, 0])
@pytest.mark.parametrize("missing", [1, 2, 3, 20, 27, 28, 29])
def test_a_stream_without_its_end_is_cut_off(width: int, missing: int) -> None:
    """Only the trailer says that all was sent; without it absence means nothing (case 15)."""
    keys = [n.to_bytes(8, "big") for n in (1, 2, 3)]
    stream = HEADER + b"".join(record(key, 7) for key in keys) + TRAILER
    with pytest.raises(SourceError, match="cut off"):
        cut(stream[:-missing], [], width, 10)


def test_an_empty_table_has_no_blocks() -> None:
    """Header and trailer alone are a complete read of nothing."""
    assert cut(HEADER + TRAILER, [3, 10, 1], RECORD_BYTES + 8, 10) == ([], [], 0)


def test_a_block_is_large() -> None:
    """Blocks of 256 KiB keep what a block costs below what its records cost."""
    stream = HEADER + b"".join(record(n.to_bytes(8, "big"), 7) for n in range(60_000)) + TRAILER
    records = KeyRecords(RECORD_BYTES + 8, "id", unexpected)
    blocks = [block for at in range(0, len(stream), 9000) for block in fed(records, stream, at)]
    sizes = [len(block.data) for block in blocks]
    assert len(sizes) == 5
    assert min(sizes) >= 256 * 1024 - 26


def fed(records: KeyRecords, stream: bytes, at: int) -> list[Block]:
    return records.feed(stream[at : at + 9000])


PLAN = RowPlan(
    normaliser=Normaliser(
        ["born", "id", "name"],
        [ColumnType(Kind.DATE), ColumnType(Kind.INTEGER), ColumnType(Kind.TEXT)],
        Dialect.CANONICAL,
    ),
    key=(1,),
    key_types=(Kind.INTEGER,),
    key_field="id",
)


def line(number: int | None, *, born: bytes | None = None, digest: int = 7) -> bytes:
    key = None if number is None else b"%d" % number
    return copy_row([born, key, b"na\tme", b"%d" % digest])


def collect(
    stream: bytes, piece_rows: int, tell: Callable[[Issue], None], piece_bytes: int = 11
) -> tuple[list[Sequence[Read]], int]:
    lines = RowLines(PLAN, piece_rows, tell)
    batches: list[Sequence[Read]] = []
    for at in range(0, len(stream), piece_bytes):
        batches += lines.feed(stream[at : at + piece_bytes])
    return batches + lines.finish(), lines.rows


@pytest.mark.parametrize("piece_bytes", [1, 11, 60, 1000])
@pytest.mark.parametrize("piece_rows", [1, 2, 3, 7, 10, 100])
def test_rows_come_in_pieces(piece_rows: int, piece_bytes: int) -> None:
    """None is larger than wanted, or empty, and no row is lost between them."""
    stream = b"".join(line(n) for n in range(10))
    batches, rows = collect(stream, piece_rows, unexpected, piece_bytes)
    assert all(1 <= len(batch) <= piece_rows for batch in batches)
    reads = [read for batch in batches for read in batch]
    assert [read.row[1] for read in reads] == [b"%d" % n for n in range(10)]
    assert reads[3] == Read(bytes([128, 0, 0, 0, 0, 0, 0, 3]), (None, b"3", b"na\tme"), 7)
    assert rows == 10


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_a_row_whose_key_occurs_again_is_not_to_be_used(batch_rows: int) -> None:
    """Neither of them is known to be the right one; each further row is told."""
    told: list[Issue] = []
    stream = line(1) + line(2) + line(2) + line(2) + line(3)
    batches, rows = collect(stream, batch_rows, told.append)
    reads = [read for batch in batches for read in batch]
    assert [read.issues for read in reads] == [(), (DUPLICATE_KEY,), ()]
    assert [read.digest for read in reads] == [7, 0, 7]
    assert told == [DUPLICATE_KEY] * 2
    assert rows == len(reads) + len(told)


def test_a_row_without_a_key_is_told_and_left_out() -> None:
    """It is counted as read all the same."""
    told: list[Issue] = []
    batches, rows = collect(line(1) + line(None), 10, told.append)
    assert ([len(batch) for batch in batches], rows, told) == ([1], 2, [NULL_KEY])


def test_a_bad_value_stays_with_its_row() -> None:
    """The row is there, so its key counts as present; the finding makes it invalid."""
    batches, _ = collect(line(1, born=b"infinity"), 10, unexpected)
    (read,) = batches[0]
    assert [issue.field for issue in read.issues] == ["born"]


def test_rows_below_the_one_before_end_the_read() -> None:
    """A full read checks the order as a scan does (case 45)."""
    with pytest.raises(SourceError, match="ascending"):
        collect(line(2) + line(1), 10, unexpected)


def test_half_a_line_is_cut_off() -> None:
    """The server ends every row with a newline."""
    with pytest.raises(SourceError, match="cut off"):
        collect((line(1) + line(2))[:-3], 10, unexpected)


def plain(number: int, *, weight: bytes | None = b"1.5", digest: int = 7) -> bytes:
    """A line in which nothing is unusual, unless the weight is."""
    return copy_row([b"%d" % number, b"name %d" % number, weight, b"%d" % digest])


PLAIN: Final = RowPlan(
    normaliser=Normaliser(
        ["id", "name", "weight"],
        [ColumnType(Kind.INTEGER), ColumnType(Kind.TEXT), ColumnType(Kind.FLOAT)],
        Dialect.CANONICAL,
    ),
    key=(0,),
    key_types=(Kind.INTEGER,),
    key_field="id",
)


def both_ways(stream: bytes) -> tuple[list[Read], list[Read]]:
    """Reads by the column, in one piece, and line by line; what was told is the same."""
    told: tuple[list[Issue], list[Issue]] = ([], [])
    quick, careful = (RowLines(PLAIN, 100, say.append) for say in told)
    fast = [read for piece in [*quick.feed(stream), *quick.finish()] for read in piece]
    setattr(careful, "_columns", lambda _text, _lines: None)  # noqa: B010 - for this one alone
    slow = [read for piece in [*careful.feed(stream), *careful.finish()] for read in piece]
    assert told[0] == told[1]
    return fast, slow


@pytest.mark.parametrize(
    "lines",
    [
        [plain(1), plain(2), plain(3)],
        [plain(1, weight=None), plain(2)],
        [plain(1, weight=b"5"), plain(2)],
        [plain(1, weight=b"1e+20"), plain(2)],
        [plain(1, weight=b"NaN"), plain(2)],
        [plain(1), plain(2), plain(2), plain(3)],
        [plain(1), copy_row([b"2", b"a\ttab", b"2.5", b"9"]), plain(3)],
        [plain(1), copy_row([None, b"no key", b"2.5", b"9"]), plain(3)],
        [plain(1), copy_row([b"2", b"no digest", b"2.5", None]), plain(3)],
    ],
)
def test_a_column_at_a_time_is_read_as_line_by_line(lines: list[bytes]) -> None:
    """The quick way gives the same reads; where it gives a line, the line says what the row is."""
    fast, slow = both_ways(b"".join(lines))
    assert [replace(read, line=b"") for read in fast] == slow
    assert all(not read.line or tuple(split_copy_line(read.line)) == read.row for read in fast)


def test_a_line_whose_value_was_changed_is_not_passed_on() -> None:
    """What the server printed in another way than ours goes through our hands."""
    fast, _ = both_ways(plain(1) + plain(2, weight=b"5"))
    assert [read.line for read in fast] == [plain(1).rpartition(b"\t")[0], b""]
    assert fast[1].row[2] == b"5.0"


def test_a_key_that_occurs_again_in_the_next_piece_is_found() -> None:
    """The rows before are held until it is known that their last key does not occur again."""
    told: list[Issue] = []
    lines = RowLines(PLAIN, 100, told.append)
    pieces = [
        plain(1) + plain(2),
        plain(2) + plain(3),
        copy_row([None, b"x", None, b"1"]),
        plain(3),
    ]
    reads = [read for piece in pieces for some in lines.feed(piece) for read in some]
    reads += [read for some in lines.finish() for read in some]
    assert [(read.key[-1], bool(read.issues)) for read in reads] == [
        (1, False), (2, True), (3, True),
    ]  # fmt: skip
    assert [issue.code for issue in told] == ["duplicate_key", "null_key", "duplicate_key"]
