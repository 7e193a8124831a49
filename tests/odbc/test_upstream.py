"""Queries through psqlODBC as COPY text: canonical, bounded, complete."""

from collections.abc import AsyncIterator, Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import DriftError, SourceError
from syncd.flow.model import Kind
from syncd.pg.dialect import copy_rows, split_copy_line
from syncd.sources.odbc_connections import _prepared_wide
from syncd.sources.odbc_driver import library
from syncd.sources.odbc_upstream import OdbcUpstream, _lines, _storable
from syncd.sources.odbc_values import Writer, columns_of, writer_of
from tests.odbc.world import LIBODBC, SQLITE, config_of, run

MakeUpstream = Callable[..., OdbcUpstream]
VALUES = r"""
SELECT 1::smallint AS a, 2::bigint AS b, 1.50::numeric(12,2) AS c, 0.1::real AS d, true AS e,
       E'x\ty\\z\n'::text AS f, '2026-03-29 01:30:00.25'::timestamp AS g, '2026-03-29'::date AS h,
       '07:30:00'::time AS i, 'F47AC10B-58CC-4372-A567-0E02B2C3D479'::uuid AS j,
       '\x00ff'::bytea AS k, NULL::text AS l, 1e16::float8 AS m
"""


@pytest.fixture
async def make_upstream(odbc_server: str) -> AsyncIterator[MakeUpstream]:
    """Makes upstreams of the test's database; all are closed at the end, twice."""
    made: list[OdbcUpstream] = []

    def make(**fields: Any) -> OdbcUpstream:
        made.append(OdbcUpstream(config_of(fields.pop("dsn", odbc_server), **fields)))
        return made[-1]

    yield make
    for upstream in made:
        await upstream.close()
        await upstream.close()


async def pieces_of(upstream: OdbcUpstream, query: str) -> tuple[int, list[bytes]]:
    """The number of rows, and every piece that was pushed."""
    pieces: list[bytes] = []

    async def emit(text: bytes) -> None:
        pieces.append(text)

    return await upstream.stream(query, emit), pieces


async def test_values_come_as_canonical_copy_text(make_upstream: MakeUpstream) -> None:
    """One row of every kind."""
    rows, pieces = await pieces_of(make_upstream(), VALUES)
    assert rows == 1
    assert split_copy_line(b"".join(pieces).removesuffix(b"\n")) == [
        *(b"1", b"2", b"1.5", b"0.1", b"true", b"x\ty\\z\n", b"2026-03-29 01:30:00.25"),
        *(b"2026-03-29", b"07:30:00", b"f47ac10b-58cc-4372-a567-0e02b2c3d479", b"\\x00ff"),
        *(None, b"1e+16"),
    ]


async def test_columns_are_named_in_the_order_of_the_query(make_upstream: MakeUpstream) -> None:
    """With their kinds, and nothing is read."""
    found = await make_upstream().columns("SELECT 1 AS b, 'x'::text AS a, now()::date AS c;")
    assert [(name, one.type.kind) for name, one in found.items()] == [
        *(("b", Kind.INTEGER), ("a", Kind.TEXT), ("c", Kind.DATE)),
    ]


@pytest.mark.parametrize("query", ["SELECT 1 AS a, 2 AS a", 'SELECT 1 AS "?column?", 2 AS b, 3 b'])
async def test_two_columns_of_one_name_are_refused(make_upstream: MakeUpstream, query: str) -> None:
    """Nobody could say which is meant."""
    with pytest.raises(DriftError, match="two columns"):
        await make_upstream().columns(query)


async def test_rows_come_in_pieces_of_whole_lines(make_upstream: MakeUpstream) -> None:
    """As many rows as ``fetch_rows`` says, the rest last."""
    query = "SELECT n, 'name ' || n AS name FROM generate_series(1, 250) AS n"
    rows, pieces = await pieces_of(make_upstream(fetch_rows=100), query)
    assert (rows, [piece.count(b"\n") for piece in pieces]) == (250, [100, 100, 50])
    assert all(piece.endswith(b"\n") for piece in pieces)


async def test_a_long_text_comes_whole(make_upstream: MakeUpstream) -> None:
    """Far beyond what the driver says is its size."""
    _, pieces = await pieces_of(make_upstream(), "SELECT repeat('äb', 100000) AS a")
    assert b"".join(pieces).decode() == "äb" * 100_000 + "\n"


async def test_a_query_that_is_wrong_says_so_without_its_text(make_upstream: MakeUpstream) -> None:
    """The SQLSTATE, and what to do."""
    with pytest.raises(Exception, match="42703") as raised:
        await pieces_of(make_upstream(), "SELECT secret_name FROM pg_class")
    assert "secret_name" not in str(raised.value)


async def test_a_value_that_cannot_be_read_is_no_complete_read(
    make_upstream: MakeUpstream,
) -> None:
    """The stream ends with a SourceError, whatever came before."""
    with pytest.raises(SourceError, match="22012"):
        await pieces_of(
            make_upstream(fetch_rows=10), "SELECT 1 / (90 - n) AS a FROM generate_series(1, 99) n"
        )


async def test_the_dump_of_a_stand_in_is_its_comment(
    make_upstream: MakeUpstream, odbc_dsn: str
) -> None:
    """The time of the dump is identity and position."""
    database = odbc_dsn.rpartition("/")[2]
    await run(odbc_dsn, f"COMMENT ON DATABASE \"{database}\" IS '2026-09-01 02:00:00'")
    dump = await make_upstream(dsn=odbc_dsn).ready()
    assert (dump.identity, dump.position) == ("2026-09-01 02:00:00", 1_788_228_000_000_000)


async def test_a_consumer_that_gives_up_ends_the_answer(make_upstream: MakeUpstream) -> None:
    """The rest is not read, and the session is not used again."""
    upstream = make_upstream(fetch_rows=10)

    async def emit(text: bytes) -> None:
        del text
        raise SourceError("full")

    with pytest.raises(SourceError, match="full"):
        await upstream.stream("SELECT n FROM generate_series(1, 100000) AS n", emit)
    assert upstream._database.connections.size == 0


@pytest.mark.skipif(not (LIBODBC and SQLITE), reason="no SQLite ODBC: install libsqliteodbc")
async def test_varchar_can_be_read_as_wide_text() -> None:
    """As from Microsoft's driver, which would use the encoding of the process."""
    connection = await library().aioodbc.connect(
        dsn=f"Driver={SQLITE};Database=:memory:", after_created=_prepared_wide
    )
    try:
        cursor = await connection.cursor()
        await cursor.execute("CREATE TABLE t (a varchar(20))")
        await cursor.execute("INSERT INTO t VALUES ('Straße')")
        await cursor.execute("SELECT a FROM t")
        row = await cursor.fetchone()
        await cursor.close()
    finally:
        await connection.close()
    assert tuple(row) == ("Straße",)


# -- lines -------------------------------------------------------------------------------------

_KINDS = {
    str: st.text() | st.sampled_from(["\\N", "a\tb", "a\\b", "\r\n", "None", "x\x00y", "\ud800"]),
    datetime: st.datetimes(),
    date: st.dates(),
    int: st.integers(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    bytes: st.binary(),
    bool: st.booleans(),
}


@st.composite
def _pieces(draw: st.DrawFn) -> tuple[list[tuple[Any, ...]], list[Writer]]:
    """Rows with a writer for each column; some values are not of the class that was announced."""
    classes = draw(st.lists(st.sampled_from([*_KINDS]), min_size=1, max_size=4))
    columns = [st.none() | _KINDS[class_] for class_ in classes]
    odd = st.tuples(*(column | st.integers() for column in columns))
    row = st.tuples(*columns) if draw(st.booleans()) else odd
    rows = draw(st.lists(row, min_size=1, max_size=4))
    return rows, [writer_of(class_, "") for class_ in classes]


def _answer(lines: Callable[[], bytes]) -> bytes | str:
    try:
        return lines()
    except SourceError as error:
        return error.message


@given(_pieces())
def test_lines_that_are_encoded_at_once_are_those_encoded_value_by_value(
    piece: tuple[list[tuple[Any, ...]], list[Writer]],
) -> None:
    """NULL is no text, whatever the text; what cannot be stored is refused either way."""
    rows, writers = piece

    def by_value() -> bytes:
        return _storable(copy_rows(list(zip(*columns_of(rows, writers), strict=True))))

    assert _answer(lambda: _lines(rows, writers)) == _answer(by_value)
