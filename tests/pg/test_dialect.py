"""Text in, text out: identifiers, types and COPY lines. What the server makes of it is proven in
``test_dialect_on_server.py``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import ConfigError
from syncd.flow.model import ColumnType, Kind
from syncd.pg import dialect

CANNOT_BE = ["", "a\0b", "é" * 32, "x" * 64, "\ud800"]
KINDS = {
    "smallint": ColumnType(Kind.INTEGER),
    "integer": ColumnType(Kind.INTEGER),
    "bigint": ColumnType(Kind.INTEGER),
    "oid": ColumnType(Kind.INTEGER),
    "numeric": ColumnType(Kind.DECIMAL),
    "numeric(12,2)": ColumnType(Kind.DECIMAL, scale=2),
    "numeric(9,0)": ColumnType(Kind.DECIMAL, scale=0),
    "numeric(5,-2)": ColumnType(Kind.DECIMAL, scale=0),
    "money": ColumnType(Kind.DECIMAL, scale=2),
    "real": ColumnType(Kind.FLOAT),
    "double precision": ColumnType(Kind.FLOAT),
    "boolean": ColumnType(Kind.BOOLEAN),
    "date": ColumnType(Kind.DATE),
    "time without time zone": ColumnType(Kind.TIME),
    "time(3) without time zone": ColumnType(Kind.TIME),
    "time with time zone": ColumnType(Kind.TEXT),
    "timestamp without time zone": ColumnType(Kind.TIMESTAMP),
    "timestamp(3) without time zone": ColumnType(Kind.TIMESTAMP),
    "timestamp with time zone": ColumnType(Kind.TIMESTAMPTZ),
    "timestamp(0) with time zone": ColumnType(Kind.TIMESTAMPTZ),
    "uuid": ColumnType(Kind.UUID),
    "bytea": ColumnType(Kind.BYTES),
    "json": ColumnType(Kind.JSON),
    "jsonb": ColumnType(Kind.JSON),
    "text": ColumnType(Kind.TEXT),
    "character varying(10)": ColumnType(Kind.TEXT),
    "character(5)": ColumnType(Kind.TEXT),
    "public.citext": ColumnType(Kind.TEXT),
    "interval": ColumnType(Kind.TEXT),
    "integer[]": ColumnType(Kind.TEXT),
    "numeric(12,2)[]": ColumnType(Kind.TEXT),
    "public.status": ColumnType(Kind.TEXT),
    '"Odd (name)"': ColumnType(Kind.TEXT),
    "public.date": ColumnType(Kind.TEXT),
}
NAMES_NO_TYPE = [
    "int; DROP TABLE t",
    "text--",
    "text/*",
    "text'",
    'text"',
    "int)",
    "",
    "a\0b",
    "()",
]
COPY_TEXT = {
    b"": [b""],
    b"a\tb": [b"a", b"b"],
    b"\\N\t\t\\\\N": [None, b"", b"\\N"],
    b"\\N\t\\N": [None, None],
    rb"a\tb\nc\\d\re\bf\fg\vh": [b"a\tb\nc\\d\re\bf\fg\vh"],
    rb"\\t" + b"\t" + rb"\\\t": [b"\\t", b"\\\t"],
    rb"\\x00ff": [b"\\x00ff"],
}


@pytest.mark.parametrize("name", CANNOT_BE, ids=ascii)
def test_a_name_that_the_server_would_cut_or_refuse_is_refused(name: str) -> None:
    """A name of no or too many bytes would mean another object (case 88)."""
    with pytest.raises(ConfigError, match="1 to 63 bytes"):
        dialect.ident(name)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_an_identifier_has_no_quote_that_ends_it(name: str) -> None:
    """Within the outer quotes every quote is doubled, whatever the name holds (case 88)."""
    try:
        quoted = dialect.ident(name)
    except ConfigError:
        assert len(name.encode()) > dialect.IDENTIFIER_BYTES_MAX
    else:
        assert quoted[0] == quoted[-1] == '"'
        assert quoted[1:-1].replace('""', "") == name.replace('"', "")


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("runways", '"runways"'),
        ("public.runways", '"public"."runways"'),
        ('public."a.b"', '"public"."a.b"'),
        ('"say ""hi"""', '"say ""hi"""'),
        ("Select", '"Select"'),
    ],
)
def test_a_table_is_quoted_part_by_part(name: str, quoted: str) -> None:
    """Quoting is stable: what it returns reads as the same table again."""
    assert dialect.table_ident(name) == quoted
    assert dialect.table_ident(quoted) == quoted


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a.b.c", '"a', 'a"b', '""'])
def test_what_is_no_table_is_refused(name: str) -> None:
    """A name of three parts or none is an error of the configuration."""
    with pytest.raises(ConfigError):
        dialect.table_ident(name)


def test_a_table_is_split_into_schema_and_name() -> None:
    """The driver's COPY wants both parts without quotes."""
    assert dialect.split_table('"public"."a.b"') == ("public", "a.b")
    assert dialect.split_table("runways") == (None, "runways")


@pytest.mark.parametrize(("native", "expected"), KINDS.items())
def test_a_native_type_has_a_canonical_one(native: str, expected: ColumnType) -> None:
    """Every type has one; those that are not known are text."""
    assert dialect.column_type(native) == expected


@pytest.mark.parametrize(
    "native",
    ["numeric", "numeric(12,2)", "bytea", "jsonb", "boolean", "timestamp with time zone", "real"],
)
def test_a_type_that_cannot_be_a_key_is_refused_with_those_that_can(native: str) -> None:
    """The message names the column, its type and what would do."""
    with pytest.raises(ConfigError) as caught:
        dialect.key_sql("q.x", native)
    assert native in str(caught.value)
    assert "uuid" in str(caught.value)


@pytest.mark.parametrize(
    ("native", "kind"),
    [
        ("text", Kind.INTEGER),
        ("integer", Kind.UUID),
        ("numeric(9,2)", Kind.INTEGER),
        ("numeric", Kind.INTEGER),
        ("text", Kind.DATE),
        ("timestamp without time zone", Kind.DATE),
        ("integer[]", Kind.TEXT),
        ("jsonb", Kind.TEXT),
    ],
)
def test_a_key_declared_as_what_it_is_not_is_refused(native: str, kind: Kind) -> None:
    """Text read as an integer could fail on any row of a scan, so it is refused before."""
    with pytest.raises(ConfigError, match="cannot be a key"):
        dialect.key_sql("q.x", native, kind)


@pytest.mark.parametrize("native", NAMES_NO_TYPE, ids=ascii)
def test_a_cast_to_what_is_no_type_is_refused(native: str) -> None:
    """The name of a type is the only text in a cast that comes from outside (case 88)."""
    with pytest.raises(ConfigError, match="not the name of a type"):
        dialect.cast_sql("$1", native)


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        ("integer", "($1)::integer"),
        ("character varying(3)", "($1)::character varying"),
        ("character(3)", "($1)::bpchar"),
        ("character(3)[]", "($1)::bpchar[]"),
        ("bit(3)", "($1)::varbit"),
        ("numeric(12,2)", "($1)::numeric"),
        ("timestamp(3) with time zone", "($1)::timestamp with time zone"),
        ("money", "($1)::numeric::money"),
        ("integer[]", "($1)::integer[]"),
        ('public."Odd type"', '($1)::public."Odd type"'),
        ("public.geometry(Point,4326)", "($1)::public.geometry"),
    ],
)
def test_a_cast_never_has_a_length(native: str, expected: str) -> None:
    """With a length it would cut off silently; the assignment after it refuses (case 50)."""
    assert dialect.cast_sql("$1", native) == expected


@pytest.mark.parametrize(("line", "fields"), COPY_TEXT.items())
def test_a_copy_line_is_split_into_its_fields(line: bytes, fields: list[bytes | None]) -> None:
    """NULL, empty and a literal backslash-N are three different things (case 57)."""
    assert dialect.split_copy_line(line) == fields


@given(st.lists(st.none() | st.binary() | st.sampled_from([b"\\N", b"\\", b"\\\\N", b"\t\n"])))
def test_a_copy_row_is_split_into_what_it_was_made_of(values: list[bytes | None]) -> None:
    """Writing and splitting are inverse for every value, newlines and backslashes too."""
    row = dialect.copy_row(values)
    assert row.endswith(b"\n")
    assert row.count(b"\n") == 1
    assert dialect.split_copy_line(row[:-1]) == (values or [b""])


def test_the_digest_is_of_all_columns_in_their_order() -> None:
    """Swapped columns make another row, so both stand in the expression in order."""
    sql = dialect.digest_sql(["q.a", "q.b"], ["integer", "public.citext"])
    assert 'ROW(q.a, q.b::text COLLATE "C")' in sql
