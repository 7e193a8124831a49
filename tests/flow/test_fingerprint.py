"""Hashes: pure, keyed, unambiguous, and pinned to golden vectors."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import ConfigError
from syncd.flow import fingerprint
from syncd.flow.fingerprint import HASH_VERSION, Hasher
from syncd.flow.model import MISSING, Column, ColumnType, Kind, Row, Value

REPOSITORY: Final = Path(__file__).resolve().parents[2]
HASHER: Final = Hasher(bytes(range(32)))

values: st.SearchStrategy[Value] = st.one_of(
    st.none(), st.just(MISSING), st.binary(max_size=6), st.integers(0, 300).map(lambda n: b"%d" % n)
)


def column(name: str, kind: Kind = Kind.TEXT) -> Column:
    return Column(name=name, into=name, type=ColumnType(kind=kind))


NAMED: Final = [column("id", Kind.INTEGER), column("name"), column("town")]


def fingerprints_of(columns: list[Column], hasher: Hasher = HASHER) -> Callable[[Row], bytes]:
    """The fingerprint of single rows of ``columns``."""
    plan = hasher.row_plan(columns)
    return lambda row: plan.of([b"".join(hasher.columns(row))])[0]


def test_the_fingerprint_of_version_2_is_this() -> None:
    """Golden vectors: whoever changes what is hashed must raise HASH_VERSION."""
    assert HASH_VERSION == 2
    of = fingerprints_of(NAMED)
    assert of((b"1", "São Tomé".encode(), None)).hex() == "6483ab2ad22c9393e2050d3c6ced1da9"
    assert of((b"1", b"", MISSING)).hex() == "09734f49f55d721982be88598eb4c428"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "82bb0dac0fc8c3b5"),
        (MISSING, "b265f41c69d0d392"),
        (b"", "d51a9d2445ffafd5"),
        (b"true", "3fd53ca1008d9bd4"),
        (b"255", "b9e9f12c95d261a0"),
        (b"256", "54b85eab6b482762"),
        ("São Tomé".encode(), "e8d078d15de83424"),
        (b"x" * 15, "cf0aba379687e7f3"),
        (b"x" * 16, "9ce8be408c60863f"),
        (b"x" * 63, "27c8068ac9c8786d"),
        (b"x" * 64, "9fae058102b74d64"),
    ],
)
def test_the_column_hash_of_version_2_is_this(value: Value, expected: str) -> None:
    """Golden vectors: the bases in every ledger are made of these."""
    assert HASHER.column(value).hex() == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", 5815383124707916453),
        (b"1,S\xc3\xa3o Tom\xc3\xa9,\r\n", 1298901011425847244),
        (b"\xff\x00", 4248744165662708715),
    ],
)
def test_the_digest_of_a_line_is_this(line: bytes, expected: int) -> None:
    """Golden vectors: any bytes have a digest, valid text or not."""
    assert HASHER.digest(line) == expected


def test_null_empty_and_missing_differ() -> None:
    """NULL, '', absent and a blank are four things, in a column and in a row (case 57)."""
    four: list[Value] = [None, b"", MISSING, b" "]
    assert len({HASHER.column(value) for value in four}) == 4
    of = fingerprints_of([column("a"), column("b")])
    assert len({of((one, other)) for one in four for other in four}) == 16


def test_no_two_rows_look_alike() -> None:
    """Length prefixes keep ('a|b','c') apart from ('a','b|c'), and all their kin (case 65)."""
    words: list[Value] = [None, MISSING]
    for length in range(4):
        words += [bytes(word) for word in itertools.product(b"a|\0", repeat=length)]
    of = fingerprints_of([column("a"), column("b")])
    assert of((b"a|b", b"c")) != of((b"a", b"b|c"))
    assert len({of(row) for row in itertools.product(words, repeat=2)}) == len(words) ** 2
    assert len({HASHER.column(word) for word in words}) == len(words)


@pytest.mark.trust
@given(st.permutations(range(3)), st.tuples(values, values, values))
def test_column_order_does_not_matter(order: list[int], row: tuple[Value, Value, Value]) -> None:
    """A fingerprint goes by names, so a source may reorder its columns (I12)."""
    moved = fingerprints_of([NAMED[at] for at in order])
    assert moved(tuple(row[at] for at in order)) == fingerprints_of(NAMED)(row)


def test_names_and_kinds_matter() -> None:
    """The same bytes under another name or of another kind are another row."""
    row = (b"1", b"x")
    plans = [
        [column("a"), column("b")],
        [column("a"), column("c")],
        [column("a", Kind.INTEGER), column("b")],
    ]
    assert len({fingerprints_of(plan)(row) for plan in plans}) == len(plans)


@pytest.mark.trust
@given(st.lists(values, max_size=5))
def test_columns_are_hashed_one_by_one(row: list[Value]) -> None:
    """The hashes of a row are those of its values, in order, whether found in a table or not."""
    assert HASHER.columns(tuple(row)) == tuple(HASHER.column(value) for value in row)


@pytest.mark.trust
@given(values, values)
def test_equal_hashes_mean_equal_values(one: Value, other: Value) -> None:
    """Eight bytes separate what is different and join what is equal."""
    assert (HASHER.column(one) == HASHER.column(other)) == (one == other)


def test_another_key_gives_other_hashes() -> None:
    """Whoever lacks the key cannot look up a birth date by its hash."""
    other = Hasher(bytes(32))
    assert other.column(b"1970-01-01") != HASHER.column(b"1970-01-01")
    assert other.column(None) != HASHER.column(None)
    assert other.digest(b"x") != HASHER.digest(b"x")
    assert fingerprints_of(NAMED, other)((None,) * 3) != fingerprints_of(NAMED)((None,) * 3)
    assert other.proof() != HASHER.proof()


@pytest.mark.parametrize(("number", "expected"), [(0, 1), (-1, 1), (1, 1), (-2, -2), (7, 7)])
def test_a_digest_never_says_unknown(number: int, expected: int) -> None:
    """0 and -1 mean unknown in a survey, so a row that hashes to them gets another number."""
    assert fingerprint._known(number) == expected


@pytest.mark.parametrize("size", [0, 15, 65])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    """The message tells the lengths and not the key."""
    with pytest.raises(ConfigError, match=f"16 to 64 bytes, found {size}") as refused:
        Hasher(b"k" * size)
    assert "kkk" not in str(refused.value)


@pytest.mark.parametrize("size", [16, 64])
def test_the_key_is_nowhere_to_be_seen(size: int) -> None:
    """Neither repr nor any attribute shows the key."""
    hasher = Hasher(b"k" * size)
    assert repr(hasher) == "Hasher(key=***)"
    assert not any(b"kkk" in repr(getattr(hasher, name)).encode() for name in hasher.__slots__)


def test_a_row_of_other_things_is_refused() -> None:
    """A value that was never normalised is our bug, and is not hashed."""
    with pytest.raises(TypeError, match="found complex"):
        HASHER.columns((1j, None, None))  # type: ignore[arg-type]


PROGRAM: Final = """
from syncd.flow.fingerprint import Hasher
from syncd.flow.model import MISSING, Column, ColumnType
hasher = Hasher(bytes(range(32)))
columns = [Column(name=n, into=n, type=ColumnType()) for n in ("b", "a", "ä", "Z")]
row = (b"1", None, MISSING, "São Tomé".encode())
hashes = hasher.columns(row)
print(hasher.row_plan(columns).of([b"".join(hashes)])[0].hex(), [h.hex() for h in hashes],
      hasher.digest(b"1,2"))
"""


def test_hashes_do_not_depend_on_the_process() -> None:
    """PYTHONHASHSEED 0 to 9, locale and time zone leave every hash as it is (case 65, I12)."""
    answers = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=REPOSITORY,
            env=os.environ
            | {
                "PYTHONHASHSEED": str(seed),
                "LC_ALL": ("C", "C.UTF-8")[seed % 2],
                "TZ": ("UTC", "Asia/Kathmandu", "America/St_Johns")[seed % 3],
            },
            check=True,
            capture_output=True,
        ).stdout
        for seed in range(10)
    }
    assert len(answers) == 1
    assert answers != {b""}
