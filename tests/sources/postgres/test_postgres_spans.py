"""Spans of a table: which are split, where, and that nothing falls between two of them."""

from itertools import pairwise
from typing import Any, Final

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.flow.keys import encode_key
from syncd.flow.model import Kind
from syncd.flow.ports import WHOLE, Block, Span
from syncd.sources.postgres_spans import SPLIT_ROWS_MIN, split
from tests.sources.postgres.world import MakeReader, plan_from, unexpected

MANY: Final = SPLIT_ROWS_MIN
INT8: Final = st.integers(-(2**63), 2**63 - 1)


def int_key(number: int) -> bytes:
    """The key of an integer."""
    return encode_key((Kind.INTEGER,), [b"%d" % number])


@pytest.mark.trust
@given(INT8, INT8, st.integers(1, 8), st.lists(INT8, max_size=20))
def test_every_key_is_in_exactly_one_span(
    one: int, other: int, number: int, keys: list[int]
) -> None:
    """Whatever the extent, and beyond it too; spans ascend and none is empty by itself."""
    extent = (int_key(min(one, other)), int_key(max(one, other)))
    spans = split(Kind.INTEGER, extent, number)
    assert 1 <= len(spans) <= number
    assert (spans[0].first, spans[-1].end) == (b"", b"")
    assert all(before.end == after.first for before, after in pairwise(spans))
    assert all(span.first < span.end for span in spans[:-1])
    for key in map(int_key, keys):
        homes = [s for s in spans if s.first <= key and (not s.end or key < s.end)]
        assert len(homes) == 1


def test_an_even_table_is_halved_in_the_middle() -> None:
    """A uuid goes by its sixteen bytes, an integer by its eight, also before others."""
    assert split(Kind.INTEGER, (int_key(1), int_key(1000)), 2)[1].first == int_key(501)
    low, high = bytes(16) + b"rest", b"\xff" * 16 + b"rest"
    assert split(Kind.UUID, (low, high), 2)[1].first == b"\x80" + bytes(15)


async def spans_of(
    admin: Any, make_reader: MakeReader, create: str, *, rows: int = MANY
) -> tuple[Any, list[bytes], list[list[bytes]]]:
    """The spans of a table, its keys in order, and the keys of each span, scanned side by side."""
    await admin.execute(f"CREATE TABLE t ({create})")
    await admin.execute("INSERT INTO t SELECT g, g * 7 FROM generate_series(-500, 499) g")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:

        async def keys_of(span: Span, into: list[bytes]) -> None:
            async def emit(block: Block) -> None:
                at = 0
                while at < len(block.data):
                    end = at + 18 + int.from_bytes(block.data[at + 2 : at + 6], "big")
                    into.append(block.data[at + 6 : end - 12])
                    at = end

            counted = await snapshot.scan(plan, emit, unexpected, span)
            assert counted == len(into)

        whole: list[bytes] = []
        await keys_of(WHOLE, whole)
        spans = await snapshot.spans(plan, (whole[0], whole[-1]), rows)
        parts: list[list[bytes]] = [[] for _ in spans]
        async with anyio.create_task_group() as tasks:
            for span, part in zip(spans, parts, strict=True):
                tasks.start_soon(keys_of, span, part)
    return spans, whole, parts


@pytest.mark.parametrize(
    "create",
    [
        "id bigint PRIMARY KEY, n integer",
        "id integer PRIMARY KEY, n integer",
        "id smallint PRIMARY KEY, n integer",
    ],
)
async def test_a_big_table_is_scanned_in_halves(
    admin: Any, make_reader: MakeReader, create: str
) -> None:
    """At the same time, in one snapshot, and every row once."""
    spans, whole, parts = await spans_of(admin, make_reader, create)
    assert len(spans) == 2
    assert [key for part in parts for key in part] == whole
    assert all(parts)


@pytest.mark.parametrize(
    ("create", "rows"),
    [
        ("id bigint PRIMARY KEY, n integer", MANY - 1),
        ("id bigint, n integer", MANY),  # a row without a key must be told, and is in no span
        ("id text PRIMARY KEY, n integer", MANY),
    ],
)
async def test_other_tables_are_scanned_whole(
    admin: Any, make_reader: MakeReader, create: str, rows: int
) -> None:
    """Small ones, and those whose key's index does not order as its bytes do."""
    spans, whole, parts = await spans_of(admin, make_reader, create, rows=rows)
    assert list(spans) == [WHOLE]
    assert parts == [whole]
