"""Hashes of values: the same one by one and by the column, and no two alike."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.flow.model import MISSING, Value
from syncd.flow.value_hash import HASH_BYTES, ValueHash

KEY: Final = b"a key of sixteen bytes or more"
HASH: Final = ValueHash(KEY)
# Around the end of a block, of four blocks, and of what one byte can say.
SIZES: Final = (0, 1, 14, 15, 16, 17, 62, 63, 64, 65, 254, 255, 256, 300)

values: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.just(MISSING),
    st.binary(max_size=20),
    st.sampled_from(SIZES).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
)


@pytest.mark.trust
@given(st.lists(values, max_size=40))
def test_a_column_is_hashed_as_its_values_are(column: list[Value]) -> None:
    """Whatever else stands beside a value, its hash is the same."""
    one_by_one = [ValueHash(KEY).of([value])[0] for value in column]
    assert HASH.of(column) == HASH.of(tuple(column)) == one_by_one
    assert all(len(value_hash) == HASH_BYTES for value_hash in one_by_one)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 255, 256, 257, 1023, 1024, 1025, 3000])
def test_a_long_column_is_cut_without_a_seam(size: int, count: int) -> None:
    """A column of any length; each value differs from the others, and so does each hash."""
    column = [b"%d" % number + b"x" * size for number in range(count)]
    hashes = HASH.of(column)
    assert len(set(hashes)) == count
    assert hashes[-1:] == HASH.of(column[-1:])


def test_texts_that_are_padded_alike_differ() -> None:
    """Zeros at the end count, and so does every size (case 57)."""
    zeros: list[Value] = [bytes(size) for size in range(300)]
    told: list[Value] = [None, MISSING, b"\xff", b"\xfe", bytes(15) + b"\xff", bytes(15) + b"\xfe"]
    assert len(set(HASH.of([*zeros, *told]))) == len(zeros) + len(told)


def test_each_bit_counts() -> None:
    """A value that differs in one bit, anywhere, has another hash."""
    for size in SIZES[1:]:
        text = b"k" * size
        others = [
            text[:at] + bytes([text[at] ^ 1 << bit]) + text[at + 1 :]
            for at in range(size)
            for bit in range(8)
        ]
        assert len({*HASH.of(others), *HASH.of([text])}) == len(others) + 1


def test_nothing_has_no_hash() -> None:
    """A row without columns."""
    assert HASH.of([]) == []


def test_what_is_no_value_is_refused() -> None:
    """A thing that was never normalised is our bug; its type is told and not it."""
    with pytest.raises(TypeError, match="found int"):
        HASH.of([b"1", 17])  # type: ignore[list-item]
