"""Blocks of a COPY: however the stream is cut by the network, whole records come out in order."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncd.errors import SourceError
from syncd.flow.ports import Block
from syncd.pg.connect import Connection
from syncd.pg.copy_blocks import BlockCutter

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
OVERHEAD_BYTES: Final = 18

Record: TypeAlias = tuple[bytes, int]

digests = st.integers(-(2**63), 2**63 - 1)
# Bytes that look like a trailer, a head or the border between two records.
tricky_bytes = st.binary(max_size=6) | st.sampled_from(
    [b"", b"\xff\xff", b"\0\2", b"\0\2\0\0\0\3", b"\xff" * 7, bytes(18)]
)
fixed_records = st.integers(0, 9).flatmap(
    lambda size: st.lists(st.tuples(st.binary(min_size=size, max_size=size), digests), max_size=30)
)
any_records = st.lists(st.tuples(tricky_bytes, digests), max_size=30)
# Fixed to begin with, and then not any more.
switching_records = st.tuples(fixed_records, any_records).map(lambda parts: [*parts[0], *parts[1]])
records_of_all_kinds = st.one_of(fixed_records, any_records, switching_records)


def encoded(record: Record) -> bytes:
    """A record as binary COPY writes it."""
    key, digest = record
    head = b"\0\2" + len(key).to_bytes(4, "big")
    return head + key + b"\0\0\0\x08" + digest.to_bytes(8, "big", signed=True)


def stream_of(records: Sequence[Record]) -> bytes:
    """The whole stream."""
    return HEADER + b"".join(map(encoded, records)) + TRAILER


def decoded(block: Block) -> list[Record]:
    """The records of a block, which must hold whole ones only."""
    records, at, data = [], 0, block.data
    while at < len(data):
        assert data[at : at + 2] == b"\0\2"
        end = at + 6 + int.from_bytes(data[at + 2 : at + 6], "big")
        assert data[end : end + 4] == b"\0\0\0\x08"
        records.append((data[at + 6 : end], int.from_bytes(data[end + 4 : end + 12], "big")))
        at = end + 12
    assert at == len(data)
    return [(key, n - (n >> 63 << 64)) for key, n in records]


def cut(chunks: Sequence[bytes], block_bytes: int) -> tuple[list[Block], BlockCutter]:
    """The blocks of a stream that came in ``chunks``."""
    cutter = BlockCutter(block_bytes)
    found = [block for chunk in chunks if (block := cutter.feed(chunk)) is not None]
    rest = cutter.finish()
    return ([*found, rest] if rest is not None else found), cutter


def chunks_of(stream: bytes, borders: Sequence[int]) -> list[bytes]:
    """The stream, cut at these places (modulo its length)."""
    places = sorted({0, len(stream), *(border % (len(stream) + 1) for border in borders)})
    return [stream[a:b] for a, b in pairwise(places)]


@pytest.mark.trust
@given(records_of_all_kinds, st.lists(st.integers(0, 2000), max_size=40), st.integers(1, 200))
@example([], [19, 20], 1)
@example([(b"abc", -1)], list(range(60)), 1)  # its digest ends like a trailer
@example([(b"", 0), (b"\xff\xff", -1)], list(range(60)), 20)
async def test_however_it_is_cut_the_same_records_come_out(
    records: list[Record], borders: list[int], block_bytes: int
) -> None:
    """Each once, in order, in whole records, with a width only where all have that one."""
    blocks, cutter = cut(chunks_of(stream_of(records), borders), block_bytes)
    assert [record for block in blocks for record in decoded(block)] == records
    assert cutter.records == len(records)
    for block in blocks:
        assert block.data
        sizes = {OVERHEAD_BYTES + len(key) for key, _ in decoded(block)}
        assert block.width in {0, *sizes}
        assert block.width == 0 or len(sizes) == 1


@pytest.mark.trust
@given(fixed_records, st.lists(st.integers(0, 2000), max_size=40), st.integers(1, 200))
async def test_records_of_one_size_keep_their_width(
    records: list[Record], borders: list[int], block_bytes: int
) -> None:
    """However the stream is cut, no block has to be walked."""
    blocks, _ = cut(chunks_of(stream_of(records), borders), block_bytes)
    assert {block.width for block in blocks} <= {OVERHEAD_BYTES + len(key) for key, _ in records}


def test_the_first_record_of_another_size_ends_the_width_for_good() -> None:
    """Blocks before it keep theirs; from then on records are walked, equal ones too."""
    three, four = (b"abc", 1), (b"abcd", 2)
    chunks = [HEADER + encoded(three) * 2, encoded(three) + encoded(four), encoded(four) * 2]
    blocks, cutter = cut([*chunks, TRAILER], 1)
    assert [block.width for block in blocks] == [21, 0, 0]
    assert cutter.records == 6


def test_equal_sizes_do_not_hide_another_layout() -> None:
    """Two records that together are as long as two of the first are still two of their own."""
    records = [(b"abcd", 1), (b"abc", 2), (b"abcde", 3)]
    blocks, cutter = cut([stream_of(records)], 1)
    assert [decoded(block) for block in blocks] == [records]
    assert [block.width for block in blocks] == [0]
    assert cutter.records == 3


@pytest.mark.parametrize("trailer", [[TRAILER], [b"\xff", b"\xff"], [b"\xff", b"", b"\xff"]])
@pytest.mark.parametrize("records", [[], [(b"abc", -1)], [(b"abc", -1), (b"\xff", -1)]])
def test_the_trailer_is_never_part_of_a_block(records: list[Record], trailer: list[bytes]) -> None:
    """Whole or in two, alone or behind a digest that ends like it."""
    head = [HEADER, *map(encoded, records)]
    blocks, cutter = cut([*head, *trailer], 1)
    assert [record for block in blocks for record in decoded(block)] == records
    assert cutter.records == len(records)


@pytest.mark.parametrize("last", [b"", b"a", b"ab", b"abcd", b"abcdefg" * 9])
@pytest.mark.parametrize("rows", range(6))
def test_the_last_record_is_not_lost_for_being_of_another_size(rows: int, last: bytes) -> None:
    """A record that is not pushed would be taken for deleted (case 39)."""
    records = [*[(b"abc", n) for n in range(rows)], (last, 7)]
    for block_bytes in (1, 50, 1000):
        blocks, cutter = cut([HEADER, *map(encoded, records), TRAILER], block_bytes)
        assert [record for block in blocks for record in decoded(block)] == records
        assert cutter.records == rows + 1


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("lost_bytes", [1, 5, 13, 20])
def test_a_stream_that_ends_within_a_record_is_no_complete_read(rows: int, lost_bytes: int) -> None:
    """It proves no absence of what it would have told (case 39)."""
    records = [(b"abc", n) for n in range(rows + 1)]
    stream = HEADER + b"".join(map(encoded, records))
    for trailer in (b"", TRAILER):
        with pytest.raises(SourceError, match="middle of a record"):
            cut([stream[:-lost_bytes], trailer], 50)


def test_nothing_is_no_block() -> None:
    """A stream without records has none, and one that never began neither."""
    assert cut([stream_of([])], 100)[0] == []
    assert cut([], 100)[0] == []
    assert cut([HEADER[:7]], 100)[0] == []


@pytest.mark.parametrize(
    ("rows", "blocks"), [(4, [4]), (5, [5]), (6, [5, 1]), (10, [5, 5]), (11, [5, 5, 1])]
)
def test_a_block_goes_out_as_soon_as_there_is_enough(rows: int, blocks: list[int]) -> None:
    """At the size asked for and not before it (I14)."""
    records = [(b"%02d" % n, n) for n in range(rows)]
    found, _ = cut([HEADER, *map(encoded, records), TRAILER], 100)
    assert [len(decoded(block)) for block in found] == blocks


async def test_what_postgresql_sends_is_cut_into_its_rows(connection: Connection) -> None:
    """The real stream, in chunks of the driver's: fixed widths until the first longer key."""
    cutter, found = BlockCutter(4096), list[Block]()

    async def receive(data: bytes) -> None:
        block = cutter.feed(data)
        if block is not None:
            found.append(block)

    await connection.copy_from_query(
        "SELECT substr(sha256(n::text::bytea), 1, 1 + n / 90000), -n::bigint "
        "FROM generate_series(1, 100000) AS n ORDER BY n",
        output=receive,
        format="binary",
    )
    rest = cutter.finish()
    found += [rest] if rest is not None else []
    records = [record for block in found for record in decoded(block)]
    assert [digest for _, digest in records] == [-n for n in range(1, 100_001)]
    assert [len(key) for key, _ in records] == [1 + n // 90_000 for n in range(1, 100_001)]
    assert cutter.records == 100_000
    assert found[0].width == OVERHEAD_BYTES + 1
    assert found[-1].width == 0
