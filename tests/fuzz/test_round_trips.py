"""A value is the same value on every way: from a file, through PostgreSQL, and as an object.

source text -> canonical -> COPY into a table of the native type -> read as a source and as a target
read -> the same canonical text, the same hash -> the object of it -> the same again. And the server
reading the source's own spelling comes to the same canonical text as we do.
"""

# ruff: noqa: S311, S608 - dice are for tests; the statements are made of native types and of constants.

import io
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Any, Final

import asyncpg
import pytest

from syncd.flow.model import ColumnType, Row, Value
from syncd.flow.normalise import Dialect, Normaliser, from_python, to_python
from syncd.pg import dialect
from tests.fuzz.spellings import PAIRS, Pair
from tests.sources.dump_world import HASHER
from tests.trust.seed import ROUND

SHARE: Final = 300
MANY: Final = 100_000
BATCH: Final = 20_000
SEED: Final = 52
# As every connection of syncd is set, for what it reads.
_SETTINGS: Final = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET extra_float_digits = 1"


@pytest.fixture
async def connection(pg_dsn: str) -> AsyncIterator[Any]:
    """A connection to a database of this test's own."""
    found = await asyncpg.connect(pg_dsn)
    await found.execute(_SETTINGS)
    yield found
    await found.close()


def test_there_are_at_least_22_types() -> None:
    """Every canonical kind, most of them natively in more than one way."""
    assert len({pair.native for pair in PAIRS}) == len(PAIRS) >= 22
    assert len({pair.type.kind for pair in PAIRS}) == 12


async def test_a_value_is_itself_on_every_way(connection: Any) -> None:
    """A share of each type; all in one database, since making one costs more than the values."""
    for at, pair in enumerate(PAIRS):
        await assert_itself(connection, pair, SHARE, Random(SEED + at))


@pytest.mark.trust
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.native)
async def test_very_many_values_are_themselves_on_every_way(
    connection: Any, pair: Pair, record_property: Callable[[str, object], None]
) -> None:
    """A hundred thousand of each type."""
    for batch in range(MANY // BATCH):
        seed = f"{SEED + ROUND - 1}/{pair.native}/{batch}"
        await assert_itself(connection, pair, BATCH, Random(seed))
    record_property("values", MANY)


async def assert_itself(connection: Any, pair: Pair, count: int, random: Random) -> None:
    texts = [pair.spell(random) for _ in range(count)]
    values = normalised(pair.type, texts)
    await connection.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (id int, v {pair.native})")
    await copied(connection, values)
    assert_same(pair, texts, values, await read_back(connection, pair))
    for value in values:
        assert from_python(pair.type, to_python(pair.type, value)) == value, pair.native
    # The server reads the source's own text; a blank is NULL to us, and no number to it.
    await connection.execute("TRUNCATE t")
    await connection.execute(
        f"INSERT INTO t SELECT id, v::{pair.native} FROM unnest($1::int[], $2::text[]) u (id, v)",
        range(count), texts,
    )  # fmt: skip
    assert_same(pair, texts, values, await read_back(connection, pair))


def normalised(type_: ColumnType, texts: Sequence[str]) -> list[Value]:
    """As a field of a file; every one of these texts is sound."""
    read, found = Normaliser(["v"], [type_], Dialect.TEXT).row, list[Value]()
    for text in texts:
        row, issues = read([text.encode()])
        assert not issues, f"{text!r}: {issues}"
        found.append(row[0])
    return found


async def copied(connection: Any, values: Sequence[Value]) -> None:
    """Canonical text into the table, as the target writes it."""
    rows = [[b"%d" % at, value] for at, value in enumerate(values)]
    data = dialect.copy_rows(rows)  # type: ignore[arg-type]
    await connection.copy_to_table("t", source=io.BytesIO(data), format="text")


async def read_back(connection: Any, pair: Pair) -> list[Row]:
    """The canonical rows, as a source in PostgreSQL renders, sends and reads them."""
    data = bytearray()

    async def take(piece: bytes) -> None:
        data.extend(piece)

    expression = dialect.canonical_sql("v", pair.native)
    await connection.copy_from_query(
        f"SELECT {expression} FROM t ORDER BY id", output=take, format="text"
    )
    read, rows = Normaliser(["v"], [pair.type], Dialect.CANONICAL).row, list[Row]()
    for line in bytes(data).split(b"\n")[:-1]:
        row, issues = read(dialect.split_copy_line(line))
        assert not issues, issues
        rows.append(row)
    return rows


def assert_same(
    pair: Pair, texts: Sequence[str], values: Sequence[Value], rows: Sequence[Row]
) -> None:
    assert len(rows) == len(values)
    for text, value, row in zip(texts, values, rows, strict=True):
        if row != (value,):
            pytest.fail(f"{pair.native}: {text!r} is {value!r} here and {row[0]!r} there")
        assert HASHER.columns(row) == HASHER.columns((value,))
