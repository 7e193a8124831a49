"""What the expressions of the dialect really print, hash and order, asked of a server."""

# ruff: noqa: S608 - the statements are made of what is tested, and of constants.

from typing import Any, Final

import asyncpg
import pytest

from syncd.errors import RowError
from syncd.flow.keys import encode_key
from syncd.flow.model import ColumnType, Kind, Value
from syncd.flow.normalise import Dialect, Normaliser, from_python
from syncd.pg import dialect
from syncd.pg.connect import Connection
from syncd.pg.errors import translate

# Tricky values of every native type, as literals.
VALUES: Final[dict[str, list[str]]] = {
    "smallint": ["0", "-32768", "32767"],
    "integer": ["-1", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric": ["1.00", "1", "0.000", "-0.10", "1e20", "123456789012345678901234567890.5", "-0"],
    "numeric(12,2)": ["1", "1.005", "-0.00", "9999999999.99"],
    "numeric(5,0)": ["12", "-12.5"],
    "double precision": ["-0.0", "0", "0.1", "1e300", "5e-324", "123456789", "1e15", "1e16"],
    "boolean": ["true", "false"],
    "date": ["9999-12-31", "0001-01-01", "2024-02-29"],
    "time without time zone": ["00:00:00", "23:59:59.999999", "12:00:00.5"],
    "timestamp without time zone": [
        "9999-12-31 23:59:59.999999",
        "0001-01-01 00:00:00",
        "2024-03-31 01:30:00.1234567",
        "2024-01-01 10:00:00.120",
    ],
    "timestamp(3) without time zone": ["2024-01-01 10:00:00.1239"],
    "timestamp with time zone": [
        "2026-10-25 01:30:00+01",
        "2026-10-25 01:30:00+00",
        "1969-12-31 23:59:59.000001-05:30",
        "0001-01-01 00:00:00+00",
        "9999-12-31 23:59:59.999999+00",
    ],
    "uuid": ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{00000000000000000000000000000000}"],
    "bytea": ["", "\\x00ff", "\\xDEADbeef"],
    "text": ["", " ", " a ", "null", "NULL", "\\N", "a\tb\nc\\d\r", "é", "e\u0301", "字😀"],
    "character varying(10)": ["", "abc  ", "\u00a0"],
    "json": ['{"b": 1, "a": [1.50, null]}', '{"a":"\\u00e9"}', '"x"', "null", "1.0"],
    "jsonb": ['{"b": 1, "a": [1.50, null]}', '{"a": {"d": 1e2, "c": -0.0}}', '""', "[]"],
}
# Values that no canonical type holds.
REFUSED: Final[list[tuple[str, str]]] = [
    ("date", "infinity"),
    ("date", "-infinity"),
    ("date", "0044-03-15 BC"),
    ("date", "10000-01-01"),
    ("timestamp without time zone", "infinity"),
    ("timestamp without time zone", "0044-03-15 00:00 BC"),
    ("timestamp without time zone", "10000-01-01 00:00"),
    ("timestamp with time zone", "-infinity"),
    ("timestamp with time zone", "9999-12-31 23:59:59.999999-01"),
    ("time without time zone", "24:00:00"),
    ("numeric", "NaN"),
    ("double precision", "NaN"),
    ("double precision", "-Infinity"),
]
# Two values that PostgreSQL's own record hash holds for one (reference: performance, blind spots).
BLIND_SPOTS: Final[list[tuple[str, str, str]]] = [
    ("public.citext", "ABC", "abc"),
    ("numeric", "1.0", "1.00"),
    ("double precision", "0", "-0"),
    ("real", "0", "-0"),
    ("interval", "1 day", "24 hours"),
    ("jsonb", '{"a": 1.0}', '{"a": 1.00}'),
    ("character(5)", "a", "a   "),
    ("numeric[]", "{1.0}", "{1.00}"),
    ("interval[]", "{1 day}", "{24 hours}"),
    ("numrange", "[1.0,2)", "[1.00,2)"),
]
NO_HASH: Final[list[tuple[str, str, str]]] = [
    ("json", '{"a": 1}', '{"a": 2}'),
    ("xml", "<a/>", "<b/>"),
    ("point", "(1,2)", "(1,3)"),
    ("bit(3)", "101", "100"),
    ("bit varying", "101", "10"),
    ("tsvector", "a b", "a c"),
    ("money", "1.00", "1.01"),
    ("public.pair", "(1,a)", "(1,b)"),
    ("public.mood", "sad", "ok"),
]


@pytest.fixture(autouse=True)
async def types(connection: Connection) -> None:
    """Types that a database adds by itself."""
    await connection.execute(
        "CREATE EXTENSION citext SCHEMA public;"
        "CREATE TYPE public.mood AS ENUM ('sad', 'ok');"
        "CREATE TYPE public.pair AS (a integer, b text)"
    )


async def canonical(connection: Connection, native: str, literal: str) -> bytes:
    """The text that ``canonical_sql`` prints for a literal."""
    printed = dialect.canonical_sql("q.x", native)
    statement = f"SELECT {printed} FROM (SELECT ($1::text)::{native} AS x) AS q"
    text: str = await connection.fetchval(statement, literal)
    return text.encode()


async def digest(connection: Connection, native: str, literal: str | None) -> int:
    hashed = dialect.digest_sql(["q.x"], [native])
    statement = f"SELECT {hashed} FROM (SELECT ($1::text)::{native} AS x) AS q"
    value: int = await connection.fetchval(statement, literal)
    return value


def normalised(type_: ColumnType, text: bytes) -> Value:
    row, issues = Normaliser(["x"], [type_], Dialect.CANONICAL).row([text])
    assert issues == ()
    return row[0]


def of_the_driver(type_: ColumnType, value: Any) -> Value:
    """The canonical value of what asyncpg decodes; JSON is still text there."""
    return from_python(type_, value.encode() if type_.kind is Kind.JSON else value)


@pytest.mark.parametrize("native", VALUES)
async def test_text_of_the_server_and_objects_of_the_driver_agree(
    connection: Connection, native: str
) -> None:
    """Both ways to a canonical value end at the same bytes, so no source makes a change."""
    type_ = dialect.column_type(native)
    for literal in VALUES[native]:
        value = await connection.fetchval(f"SELECT ($1::text)::{native}", literal)
        text = await canonical(connection, native, literal)
        assert normalised(type_, text) == of_the_driver(type_, value), literal


@pytest.mark.parametrize(("native", "literal"), REFUSED)
async def test_what_has_no_canonical_text_is_recognised(
    connection: Connection, native: str, literal: str
) -> None:
    """Infinity never passes for 9999-12-31, as it does in the driver (case 55)."""
    text = await canonical(connection, native, literal)
    type_ = dialect.column_type(native)
    _, issues = Normaliser(["x"], [type_], Dialect.CANONICAL).row([text])
    assert len(issues) == 1


@pytest.mark.parametrize(
    ("native", "literal", "expected"),
    [
        ("character(5)", "ab", b"ab"),
        ("character(5)", " ab", b" ab"),
        ("public.citext", "AbC", b"AbC"),
        ("interval", "1 day 2:00", b"P1DT2H"),
        ("integer[]", "{1,NULL,3}", b"{1,NULL,3}"),
        ("public.mood", "sad", b"sad"),
        ("money", "1234.5", b"1234.5"),
        ("real", "0.1", b"0.1"),
        ("inet", "10.0.0.1", b"10.0.0.1/32"),
        ("time with time zone", "10:00+01", b"10:00:00+01"),
        ('"char"', "x", b"x"),
        ("bytea", "a\\000", b"\\x6100"),
    ],
)
async def test_the_other_types_print_as_text(
    connection: Connection, native: str, literal: str, expected: bytes
) -> None:
    """Blanks of char(n) are gone (case 58), letters of citext stay (case 59)."""
    assert await canonical(connection, native, literal) == expected


async def test_the_zone_of_the_server_changes_nothing(connection: Connection) -> None:
    """The session speaks UTC whatever the role is set to (case 53)."""
    await connection.execute("ALTER ROLE CURRENT_USER SET TimeZone = 'Europe/London'")
    text = await canonical(connection, "timestamp with time zone", "2024-07-01 12:00+01")
    await connection.execute("ALTER ROLE CURRENT_USER RESET TimeZone")
    assert text == b"2024-07-01 11:00:00+00"


@pytest.mark.parametrize(("native", "first", "second"), BLIND_SPOTS)
async def test_a_blind_spot_of_the_record_hash_is_harmless(
    connection: Connection, native: str, first: str, second: str
) -> None:
    """Values that the server's hash holds for one are one in canonical text or hashed as text."""
    blind = f"SELECT hash_record_extended(ROW(($1::text)::{native}), 0)"
    assert await connection.fetchval(blind, first) == await connection.fetchval(blind, second)
    type_ = dialect.column_type(native)
    same_value = normalised(type_, await canonical(connection, native, first)) == normalised(
        type_, await canonical(connection, native, second)
    )
    same_digest = await digest(connection, native, first) == await digest(
        connection, native, second
    )
    assert same_value or not same_digest


async def test_a_collation_that_folds_letters_does_not_hide_a_change(
    connection: Connection,
) -> None:
    """A non-deterministic collation hashes words that it calls equal to one number (case 59)."""
    try:
        await connection.execute(
            "CREATE COLLATION public.folding (provider = icu, deterministic = false, "
            "locale = 'und-u-ks-level2')"
        )
    except asyncpg.PostgresError:
        pytest.skip("this server was built without ICU")
    await connection.execute(
        "CREATE TABLE public.t (n integer, x text COLLATE public.folding);"
        "INSERT INTO public.t VALUES (1, 'abc'), (2, 'ABC')"
    )
    natively = "SELECT count(DISTINCT hash_record_extended(ROW(x), 0)) FROM public.t"
    assert await connection.fetchval(natively) == 1
    ours = f"SELECT count(DISTINCT {dialect.digest_sql(['x'], ['text'])}) FROM public.t"
    assert await connection.fetchval(ours) == 2


@pytest.mark.parametrize(("native", "first", "second"), NO_HASH)
async def test_a_type_without_a_hash_has_a_digest(
    connection: Connection, native: str, first: str, second: str
) -> None:
    """Any column can be part of a row, and a change in it is seen."""
    if native == "xml" and not await has_xml(connection):
        pytest.skip("this server was built without libxml")
    assert await digest(connection, native, first) != await digest(connection, native, second)


async def has_xml(connection: Connection) -> bool:
    try:
        await connection.execute("SELECT '<a/>'::xml")
    except asyncpg.FeatureNotSupportedError:
        return False
    return True


async def test_a_renamed_label_of_an_enum_is_a_change(connection: Connection) -> None:
    """The server hashes the number of a label, which a rename keeps; its text is hashed."""
    before = await digest(connection, "public.mood", "sad")
    await connection.execute("ALTER TYPE public.mood RENAME VALUE 'sad' TO 'blue'")
    assert await digest(connection, "public.mood", "blue") != before


async def test_null_is_not_empty_and_columns_do_not_swap(connection: Connection) -> None:
    """The digest keeps NULL, '' and the order of columns apart (cases 57 and 65)."""
    hashed = dialect.digest_sql(["q.a", "q.b"], ["text", "text"])
    statement = f"SELECT {hashed} FROM (SELECT $1::text AS a, $2::text AS b) AS q"
    pairs = [(None, ""), ("", None), ("", ""), (None, None), ("a", "b"), ("b", "a"), ("ab", "")]
    digests = [await connection.fetchval(statement, *pair) for pair in pairs]
    assert len(set(digests)) == len(pairs)
    assert None not in digests


@pytest.mark.parametrize("forbidden", [0, -1, None])
async def test_a_digest_is_never_what_means_unknown(
    connection: Connection, forbidden: int | None
) -> None:
    """0 and -1 mean unknown at source and ledger, and NULL would break a record's width."""
    hashed = dialect.digest_sql(["q.x"], ["integer"])
    planted = hashed.replace("hash_record_extended(ROW(q.x), 0)", "$1::bigint")
    assert planted != hashed
    assert await connection.fetchval(f"SELECT {planted}", forbidden) == 1
    assert await connection.fetchval(f"SELECT {planted}", 7) == 7


@pytest.mark.parametrize(
    ("native", "literal", "kind"),
    [
        ("smallint", "-5", Kind.INTEGER),
        ("bigint", "-9223372036854775808", Kind.INTEGER),
        ("oid", "4294967295", Kind.INTEGER),
        ("numeric(18,0)", "42", Kind.INTEGER),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", Kind.UUID),
        ("date", "2024-02-29", Kind.DATE),
        ("text", "", Kind.TEXT),
        ("text", "e\u0301\u212b\u212a", Kind.TEXT),
        ("character(5)", "ab", Kind.TEXT),
        ("character varying(9)", "Y-11-3-4", Kind.TEXT),
        ("public.citext", "AbC", Kind.TEXT),
        ("name", "n", Kind.TEXT),
        ("integer", "-42", Kind.TEXT),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", Kind.TEXT),
        ("date", "2024-02-29", Kind.TEXT),
    ],
)
async def test_the_server_makes_the_very_bytes_of_a_key(
    connection: Connection, native: str, literal: str, kind: Kind
) -> None:
    """``key_sql`` is ``encode_key`` of the canonical text, so both sides of a survey agree."""
    statement = (
        f"SELECT {dialect.key_sql('q.x', native, kind)} "
        f"FROM (SELECT ($1::text)::{native} AS x) AS q"
    )
    expected = encode_key((kind,), (await canonical(connection, native, literal),))
    assert await connection.fetchval(statement, literal) == expected


@pytest.mark.parametrize("literal", ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01"])
async def test_a_date_without_canonical_text_is_no_key(
    connection: Connection, literal: str
) -> None:
    """Such a key is told like NULL instead of breaking the order of all others (case 55)."""
    statement = f"SELECT {dialect.key_sql('q.x', 'date')} FROM (SELECT $1::text::date AS x) AS q"
    assert await connection.fetchval(statement, literal) is None


@pytest.mark.parametrize(
    ("native", "given"),
    [
        ("character varying(3)", "abcd"),
        ("character(3)", "abcd"),
        ("bit(3)", "10101"),
        ("numeric(4,2)", "123.45"),
        ("smallint", "40000"),
    ],
)
async def test_what_does_not_fit_is_refused_on_the_way_in(
    connection: Connection, native: str, given: str
) -> None:
    """Nothing is ever cut off to make it fit (case 50)."""
    await connection.execute(f"CREATE TABLE public.t (x {native})")
    cast = dialect.cast_sql("$1::text", native)
    with pytest.raises(RowError), translate("writing"):
        await connection.execute(f"INSERT INTO public.t SELECT {cast}", given)


@pytest.mark.parametrize("native", [*VALUES, "character(5)", "public.citext", "money", "interval"])
async def test_canonical_text_goes_back_in_as_the_same_value(
    connection: Connection, native: str
) -> None:
    """What is written is what was read: ``cast_sql`` undoes ``canonical_sql``."""
    await connection.execute(f"CREATE TABLE public.t (x {native})")
    for literal in VALUES.get(native, ["1"]):
        text = (await canonical(connection, native, literal)).decode()
        await connection.execute(
            f"INSERT INTO public.t SELECT {dialect.cast_sql('$1::text', native)}", text
        )
        stored = await connection.fetchval(
            f"DELETE FROM public.t RETURNING {dialect.canonical_sql('x', native)}"
        )
        assert stored == text


async def test_copy_rows_arrive_as_they_were(connection: Connection) -> None:
    """The server reads our COPY text as we do, control characters and backslashes too."""
    values = ["", "\\N", "\\", "a\tb", "\r\n", "\b\f\v", "\\.", "é😀", "\\x41"]
    await connection.execute("CREATE TABLE public.t (n integer, x text)")
    rows = [dialect.copy_row([b"%d" % n, v.encode()]) for n, v in enumerate(values)]
    rows.append(dialect.copy_row([b"99", None]))

    async def source() -> Any:
        yield b"".join(rows)

    await connection.copy_to_table("t", schema_name="public", source=source(), format="text")
    stored = await connection.fetch("SELECT x FROM public.t ORDER BY n")
    assert [row["x"] for row in stored] == [*values, None]
