"""The plan: which column gets which rule, in which dialect; and what all dialects agree on."""

import math
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Context, Decimal
from enum import IntEnum
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import ConfigError
from syncd.flow import normalise
from syncd.flow.model import MISSING, ColumnType, Issue, Item, Kind, Severity, Value
from syncd.flow.normalise import (
    BadValue,
    Dialect,
    Normaliser,
    from_python,
    parse_type,
    to_python,
)

ID: Final = uuid.UUID("f47ac10b-58cc-4372-a567-0e02b2c3d479")
HOUR_EAST: Final = timezone(timedelta(hours=1))
NAN: Final = float("nan")
local: Final = datetime.fromisoformat


class Rank(IntEnum):
    """A number with a name, as a driver of a customer may return."""

    FIRST = 1


def read(type_: ColumnType | str, raw: object, dialect: Dialect = Dialect.PYTHON) -> Value | str:
    """The canonical value, or the code of the finding."""
    type_ = parse_type(type_) if isinstance(type_, str) else type_
    (value,), issues = Normaliser(["c"], [type_], dialect).row([raw])
    return issues[0].code if issues else value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("text", ColumnType(Kind.TEXT)),
        ("varchar(20)", ColumnType(Kind.TEXT)),
        ("character varying (20)", ColumnType(Kind.TEXT)),
        ("CHAR(3)", ColumnType(Kind.TEXT)),
        ("integer", ColumnType(Kind.INTEGER)),
        ("bigint", ColumnType(Kind.INTEGER)),
        ("smallint", ColumnType(Kind.INTEGER)),
        ("decimal", ColumnType(Kind.DECIMAL)),
        ("numeric(12)", ColumnType(Kind.DECIMAL, scale=0)),
        ("numeric(12,2)", ColumnType(Kind.DECIMAL, scale=2)),
        ("Decimal( 12 , 2 )", ColumnType(Kind.DECIMAL, scale=2)),
        ("numeric(3,-2)", ColumnType(Kind.DECIMAL, scale=-2)),
        ("double  precision", ColumnType(Kind.FLOAT)),
        ("real", ColumnType(Kind.FLOAT)),
        ("boolean", ColumnType(Kind.BOOLEAN)),
        ("date", ColumnType(Kind.DATE)),
        ("time(3) without time zone", ColumnType(Kind.TIME)),
        ("timestamp", ColumnType(Kind.TIMESTAMP)),
        ("timestamp(6) without time zone", ColumnType(Kind.TIMESTAMP)),
        ("timestamptz", ColumnType(Kind.TIMESTAMPTZ)),
        ("timestamp with time zone", ColumnType(Kind.TIMESTAMPTZ)),
        ("timestamp(3) with time zone", ColumnType(Kind.TIMESTAMPTZ)),
        ("uuid", ColumnType(Kind.UUID)),
        ("bytea", ColumnType(Kind.BYTES)),
        ("jsonb", ColumnType(Kind.JSON)),
    ],
)
def test_a_type_is_read_as_people_and_catalogues_write_it(name: str, expected: ColumnType) -> None:
    """Names, brackets, blanks and case of the configuration and of format_type()."""
    assert parse_type(name) == expected


@pytest.mark.parametrize(
    "name",
    ["", "varchr", "integer(4)", "text(1,2)", "time with time zone", "date with time zone", "a(b)"],
)
def test_an_unknown_type_is_answered_with_the_known_ones(name: str) -> None:
    """The message names what was found and lists what may be written."""
    with pytest.raises(ConfigError, match=r"use one of text, varchar, .*jsonb") as refused:
        parse_type(name)
    assert repr(name) in str(refused.value)


def test_a_scale_beyond_the_limit_is_refused() -> None:
    """A scale that no value could have is a mistake in the configuration."""
    with pytest.raises(ConfigError, match="expected a scale of -400 to 400, found 401"):
        parse_type("numeric(1000,401)")


@pytest.mark.parametrize(
    ("type_", "raw", "expected"),
    [
        ("text", "São", "São".encode()),
        ("text", "", b""),
        ("text", "a\0b", "charset"),
        ("text", "\ud800", "charset"),
        ("text", 5, b"5"),
        ("text", True, b"true"),
        ("text", 1.5, b"1.5"),
        ("text", NAN, "not_finite"),
        ("text", Decimal("1.50"), b"1.5"),
        ("text", date(2026, 3, 29), b"2026-03-29"),
        ("text", local("2026-03-29 01:30"), b"2026-03-29 01:30:00"),
        ("text", datetime(2026, 3, 29, 1, 30, tzinfo=HOUR_EAST), b"2026-03-29 00:30:00+00"),
        ("text", time(1, 30), b"01:30:00"),
        ("text", ID, str(ID).encode()),
        ("text", b"\x00", b"\\x00"),
        ("text", [1, "a"], b'[1,"a"]'),
        ("text", 1j, "not_json"),
        ("integer", 7, b"7"),
        ("integer", Rank.FIRST, b"1"),
        ("integer", "+7", b"7"),
        ("integer", " ", None),
        ("integer", 7.0, b"7"),
        ("integer", Decimal("7.00"), b"7"),
        ("integer", 7.5, "not_integer"),
        ("integer", NAN, "not_finite"),
        ("integer", True, "not_integer"),
        ("integer", b"7", "not_integer"),
        ("integer", 2**63, "out_of_range"),
        ("integer", 1e19, "out_of_range"),
        ("decimal", 7, b"7"),
        ("decimal", Decimal("-1.50"), b"-1.5"),
        ("decimal", Decimal("-0.0"), b"0"),
        ("decimal", 0.1, b"0.1"),
        ("decimal", Decimal("sNaN"), "not_finite"),
        ("decimal", math.inf, "not_finite"),
        ("decimal", False, "not_decimal"),
        ("decimal", date(2026, 3, 29), "not_decimal"),
        ("decimal", 10**1000, "out_of_range"),
        ("numeric(9,2)", Decimal("1.005"), b"1.01"),
        ("numeric(9,-1)", 15, b"20"),
        ("float", 0.1, b"0.1"),
        ("float", -0.0, b"0.0"),
        ("float", 3, b"3.0"),
        ("float", Decimal("0.1"), b"0.1"),
        ("float", 10**400, "out_of_range"),
        ("float", Decimal("1E-400"), "out_of_range"),
        ("float", math.inf, "not_finite"),
        ("float", True, "not_float"),
        ("float", ID, "not_float"),
        ("boolean", False, b"false"),
        ("boolean", 1, b"true"),
        ("boolean", "Y", b"true"),
        ("boolean", 2, "not_boolean"),
        ("boolean", 1.0, "not_boolean"),
        ("date", date(1, 1, 1), b"0001-01-01"),
        ("date", local("2026-03-29"), b"2026-03-29"),
        ("date", local("2026-03-29 01:00"), "not_date"),
        ("date", datetime(2026, 3, 29, tzinfo=UTC), "unexpected_offset"),
        ("date", 20260329, "not_date"),
        ("time", time(1, 30, 0, 250_000), b"01:30:00.25"),
        ("time", time(1, 30, tzinfo=UTC), "unexpected_offset"),
        ("time", timedelta(hours=1), "not_time"),
        ("timestamp", local("9999-12-31 23:59:59.999999"), b"9999-12-31 23:59:59.999999"),
        ("timestamp", date(2026, 3, 29), b"2026-03-29 00:00:00"),
        ("timestamp", datetime(2026, 3, 29, tzinfo=UTC), "unexpected_offset"),
        ("timestamp", 1774746000, "not_timestamp"),
        ("timestamptz", datetime(2026, 3, 29, 1, tzinfo=HOUR_EAST), b"2026-03-29 00:00:00+00"),
        ("timestamptz", local("2026-03-29 01:00"), b"2026-03-29 01:00:00+00"),
        ("timestamptz", date(2026, 3, 29), b"2026-03-29 00:00:00+00"),
        ("timestamptz", datetime(1, 1, 1, tzinfo=HOUR_EAST), "out_of_range"),
        ("timestamptz", 0, "not_timestamp"),
        ("uuid", ID, str(ID).encode()),
        ("uuid", f"{{{ID}}}".upper(), str(ID).encode()),
        ("uuid", ID.bytes, "not_uuid"),
        ("bytea", b"\x00\xff", b"\\x00ff"),
        ("bytea", bytearray(b"\x01"), b"\\x01"),
        ("bytea", memoryview(b"\x02"), b"\\x02"),
        ("bytea", "\\x00FF", b"\\x00ff"),
        ("bytea", 0, "not_bytes"),
        ("json", {"b": (1, 2.50, Decimal("1.0")), "a": None}, b'{"a":null,"b":[1,2.5,1]}'),
        ("json", "a", b'"a"'),
        ("json", "", b'""'),
        ("json", True, b"true"),
        ("json", -(10**30), b"-1000000000000000000000000000000"),
        ("json", b' {"a": 1.0}', b'{"a":1}'),
        ("json", bytearray(b"{"), "not_json"),
        ("json", {1: 2}, "not_json"),
        ("json", {"a": ID}, "not_json"),
        ("json", {"a": NAN}, "not_finite"),
        ("json", {"\0": 1}, "charset"),
        ("json", ["\udc00"], "charset"),
        ("json", [10**1000], "out_of_range"),
    ],
)
def test_objects_are_read_by_the_rules(type_: str, raw: object, expected: Value | str) -> None:
    """What JSON, ODBC and transforms hand over, one example a rule (cases 54, 61 to 64)."""
    assert read(type_, raw) == expected


def test_a_number_that_python_would_not_print_is_refused() -> None:
    """More digits than Python converts are out of range like any that are too many (case 62)."""
    for name in ("integer", "decimal", "float", "text", "json"):
        assert read(name, 10**6000) == "out_of_range"


def test_a_document_without_end_is_refused() -> None:
    """A list that holds itself is too deep, not the end of the process (case 94)."""
    endless: list[object] = []
    endless.append(endless)
    assert read("json", endless) == "too_deep"


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("kind", list(Kind))
def test_null_and_missing_pass_every_rule(kind: Kind, dialect: Dialect) -> None:
    """NULL stays NULL and what was not said stays unsaid (case 57)."""
    normaliser = Normaliser(["a", "b"], [ColumnType(kind, null_values=("x",))] * 2, dialect)
    assert normaliser.row([None, MISSING]) == ((None, MISSING), ())
    assert to_python(ColumnType(kind), None) is None
    assert to_python(ColumnType(kind), MISSING) is MISSING
    assert from_python(ColumnType(kind), None) is None
    assert from_python(ColumnType(kind), MISSING) is MISSING


@pytest.mark.parametrize(
    ("type_", "raw", "expected"),
    [
        (ColumnType(), b"", b""),
        (ColumnType(empty_as_null=True), b"", None),
        (ColumnType(empty_as_null=True), b" ", b" "),
        (ColumnType(strip=True), b" a b\t", b"a b"),
        (ColumnType(strip=True), b"  ", b""),
        (ColumnType(strip=True, empty_as_null=True), b"  ", None),
        (ColumnType(null_values=("N/A",)), b"N/A", None),
        (ColumnType(null_values=("N/A",)), b" N/A", b" N/A"),
        (ColumnType(null_values=("N/A",), strip=True), b" N/A", None),
        (ColumnType(null_values=("N/A",)), b"n/a", b"n/a"),
        (ColumnType(Kind.INTEGER, null_values=("-1",)), b" -1 ", None),
        (ColumnType(Kind.INTEGER, null_values=("-1",)), b"-01", None),
        (ColumnType(Kind.INTEGER, null_values=("N/A",)), b"N/A", None),
        (ColumnType(Kind.INTEGER, null_values=("N/A",)), b" N/A ", None),
        (ColumnType(Kind.INTEGER, null_values=("N/A",)), b"NA", "not_integer"),
        (ColumnType(Kind.DATE, null_values=("1900-01-01",)), b"1900-01-01 00:00", None),
        (ColumnType(Kind.DATE, null_values=("9999-12-31",)), b"9999-12-30", b"9999-12-30"),
    ],
)
def test_what_means_null_is_declared(type_: ColumnType, raw: bytes, expected: Value | str) -> None:
    """Blanks, words and sentinels are NULL only where somebody said so (cases 55, 57)."""
    assert read(type_, raw, Dialect.TEXT) == expected
    if type_.kind is Kind.TEXT:
        assert read(type_, raw, Dialect.CANONICAL) == expected
    assert read(type_, raw.decode()) == expected


def test_a_sentinel_is_null_as_an_object_too() -> None:
    """1900-01-01 is declared once and holds for text and for dates (case 55)."""
    type_ = ColumnType(Kind.DATE, null_values=("1900-01-01",))
    assert read(type_, date(1900, 1, 1)) is None
    assert read(type_, b"1900-01-01", Dialect.CANONICAL) is None
    assert read(ColumnType(Kind.BYTES, null_values=("\\x00",)), b"\x00") is None
    assert read(ColumnType(Kind.BYTES, null_values=("-",)), b"-") == b"\\x2d"


def test_a_bad_value_leaves_the_rest_of_the_row() -> None:
    """Each bad value is one finding with column and place; the others are normalised."""
    names = ["id", "name", "price", "note"]
    types = [parse_type(name) for name in ("integer", "text", "numeric(9,2)", "text")]
    raw = [b"seven", b"caf\xe9", b"1.50", b"ok"]
    row, issues = Normaliser(names, types, Dialect.TEXT).row(raw, "prices.csv:7")
    assert row == (MISSING, MISSING, b"1.5", b"ok")
    assert issues == (
        Issue(Severity.ERROR, "not_integer", "id", "prices.csv:7"),
        Issue(Severity.ERROR, "charset", "name", "prices.csv:7"),
    )


def test_a_finding_never_holds_the_value() -> None:
    """Neither the issue nor the exception repeats what may be personal."""
    with pytest.raises(BadValue) as refused:
        from_python(ColumnType(Kind.DATE), "1970-01-01x")
    assert "1970" not in repr(refused.value)
    _, issues = Normaliser(["born"], [ColumnType(Kind.DATE)], Dialect.TEXT).row([b"1970-01-01x"])
    assert "1970" not in repr(issues)


@pytest.mark.parametrize("bad", [b"\xc3", b"\0"])
@pytest.mark.parametrize("other", [None, MISSING, b"\xa9", b"\xc3\xa9", b""])
def test_characters_are_checked_value_by_value(bad: bytes, other: Value) -> None:
    """Half a character is bad even if the next column begins with its other half (case 61)."""
    row, issues = Normaliser(["a", "b"], [ColumnType()] * 2, Dialect.TEXT).row([bad, other])
    assert row[0] is MISSING
    assert issues[0] == Issue(Severity.ERROR, "charset", "a")
    assert row[1] == (MISSING if other == b"\xa9" else other)


@pytest.mark.parametrize("between", [None, MISSING])
def test_an_absent_value_does_not_join_its_neighbours(between: Value) -> None:
    """Two halves of a character are two findings, whatever was left out between (case 61)."""
    normaliser = Normaliser(["a", "b", "c"], [ColumnType()] * 3, Dialect.TEXT)
    row, issues = normaliser.row([b"\xc3", between, b"\xa9"])
    assert row == (MISSING, between, MISSING)
    assert [issue.field for issue in issues] == ["a", "c"]


def test_a_good_row_with_null_or_absent_values_is_checked_as_one() -> None:
    """Short lines take the fast way too."""
    normaliser = Normaliser(["a", "b", "c"], [ColumnType()] * 3, Dialect.TEXT)
    raw = ("é".encode(), None, MISSING)
    assert normaliser.row(raw) == (raw, ())


def test_columns_that_need_nothing_are_not_touched() -> None:
    """PostgreSQL's text, integers, booleans, UUIDs and bytes cost no call per value."""
    kinds = [Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN, Kind.UUID, Kind.BYTES]
    normaliser = Normaliser(
        [k.value for k in kinds], [ColumnType(k) for k in kinds], Dialect.CANONICAL
    )
    assert normaliser._steps == ()
    raw = (b"a", b"1", b"true", str(ID).encode(), b"\\x00")
    assert normaliser.row(raw)[0] == raw


def test_each_column_may_have_its_own_dialect() -> None:
    """Text that is declared as integer is read as text, beside columns rendered canonically."""
    types = [ColumnType(Kind.INTEGER), ColumnType(Kind.INTEGER)]
    normaliser = Normaliser(["a", "b"], types, [Dialect.CANONICAL, Dialect.TEXT])
    assert normaliser.row([b"1", b" 007 "]) == ((b"1", b"7"), ())
    assert normaliser.row([b"1", b"x"])[1][0].field == "b"


@pytest.mark.parametrize("zone", ["Europe/Londno", "../etc/passwd", "", "/etc/localtime"])
def test_an_unknown_zone_is_found_when_the_plan_is_made(zone: str) -> None:
    """A spelling mistake stops the start, not the first row of the night."""
    with pytest.raises(ConfigError, match="is not known on this machine; use a name of the IANA"):
        Normaliser(["at"], [ColumnType(Kind.TIMESTAMPTZ, zone=zone)], Dialect.TEXT)


def test_the_names_for_others_are_all_there() -> None:
    """The list of names that other modules may import is exact."""
    assert all(hasattr(normalise, name) for name in normalise.__all__)


moments = st.datetimes()
finite = st.floats(allow_nan=False, allow_infinity=False)
decimals: st.SearchStrategy[Decimal] = st.decimals(
    allow_nan=False, allow_infinity=False, places=None
).filter(
    lambda number: abs(number.normalize().as_tuple().exponent) <= 400  # type: ignore[arg-type]
)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SLOTS: Final = ColumnType(
    Kind.JSON,
    items=(
        Item("at", ColumnType(Kind.TIME)),
        Item("day", ColumnType()),
        Item("seats", ColumnType(Kind.INTEGER)),
    ),
    order=("day", "at"),
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ([{"at": time(9), "day": "b"}], b'[{"at":"09:00:00","day":"b","seats":null}]'),
        (
            b'[{"day": "b", "at": "09:00"}]',
            b'[{"at":"09:00:00","day":"b","seats":null}]',
        ),
        (
            [{"day": "b", "seats": 1}, {"day": "a", "seats": 2.0}, {"day": "a", "at": "08:00"}],
            (
                b'[{"at":null,"day":"a","seats":"2"},{"at":"08:00:00","day":"a","seats":null},'
                b'{"at":null,"day":"b","seats":"1"}]'
            ),
        ),
        ([], None),
        (b"[]", None),
        (b" ", None),
        ("text", "not_rows"),
        ({"day": "a"}, "not_rows"),
        (["a"], "not_rows"),
        ([{"size": 1}], "unknown_field"),
        ([{"seats": "many"}], "not_integer"),
        (b"{", "not_json"),
    ],
)
def test_a_list_of_rows_is_ordered_and_each_field_has_its_own_type(
    raw: object, expected: bytes | str | None
) -> None:
    """Equal collections are equal text, whoever gave them and in whatever order."""
    assert read(SLOTS, raw) == expected
    if isinstance(raw, bytes):
        assert read(SLOTS, raw, Dialect.TEXT) == read(SLOTS, raw, Dialect.CANONICAL) == expected


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | decimals,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
OBJECTS: Final[dict[Kind, st.SearchStrategy[object]]] = {
    Kind.TEXT: texts,
    Kind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    Kind.DECIMAL: decimals,
    Kind.FLOAT: finite,
    Kind.BOOLEAN: st.booleans(),
    Kind.DATE: st.dates(),
    Kind.TIME: st.times(),
    Kind.TIMESTAMP: moments,
    Kind.TIMESTAMPTZ: moments.map(lambda moment: moment.replace(tzinfo=UTC)),
    Kind.UUID: st.uuids(),
    Kind.BYTES: st.binary(),
    Kind.JSON: json_trees.filter(lambda tree: tree is not None),
}
typed_objects = st.sampled_from(list(Kind)).flatmap(
    lambda kind: st.tuples(st.just(ColumnType(kind)), OBJECTS[kind])
)


@pytest.mark.trust
@given(typed_objects)
def test_every_dialect_gives_the_same_bytes(pair: tuple[ColumnType, object]) -> None:
    """Canonical text is a fixed point: read again in any dialect it is itself."""
    type_, value = pair
    canonical = from_python(type_, value)
    assert isinstance(canonical, bytes)
    assert read(type_, value) == canonical
    assert read(type_, canonical, Dialect.TEXT) == canonical
    assert read(type_, canonical, Dialect.CANONICAL) == canonical
    if type_.kind is not Kind.JSON:
        assert read(type_, canonical.decode()) == canonical


@pytest.mark.trust
@given(typed_objects)
def test_objects_come_back_equal(pair: tuple[ColumnType, object]) -> None:
    """An object that is made canonical and read back is the same value."""
    type_, value = pair
    canonical = from_python(type_, value)
    assert to_python(type_, canonical) == value
    assert from_python(type_, to_python(type_, canonical)) == canonical


@pytest.mark.trust
@given(decimals, st.integers(0, 6))
def test_decimals_agree_with_the_decimal_module(number: Decimal, zeros: int) -> None:
    """Equal numbers have one text, and it is the number."""
    canonical = from_python(ColumnType(Kind.DECIMAL), number)
    assert isinstance(canonical, bytes)
    exact = Context(prec=1000).normalize(number)
    assert canonical == (f"{exact:f}" if number else "0").encode()
    padded = canonical + (b"0" if b"." in canonical else b".0") * bool(zeros) + b"0" * zeros
    assert read("decimal", padded, Dialect.TEXT) == canonical


@pytest.mark.trust
@given(st.decimals(-(10**9), 10**9, places=6), st.integers(-3, 6))
def test_rounding_is_half_away_from_zero(number: Decimal, scale: int) -> None:
    """As PostgreSQL's numeric(p,s) rounds."""
    rounded = number.quantize(Decimal(1).scaleb(-scale), rounding="ROUND_HALF_UP")
    expected = f"{rounded.normalize():f}" if rounded else "0"
    assert read(ColumnType(Kind.DECIMAL, scale=scale), number) == expected.encode()


@pytest.mark.trust
@given(moments, st.integers(0, 999))
def test_fractions_are_cut_off_never_rounded(moment: datetime, nanoseconds: int) -> None:
    """What a file says beyond the microsecond changes nothing (case 52)."""
    raw = f"{moment:%H:%M:%S.%f}{nanoseconds:03}"
    text = f"{moment.date().isoformat()}T{raw}"
    assert read("timestamp", text.encode(), Dialect.TEXT) == from_python(
        ColumnType(Kind.TIMESTAMP), moment
    )


@pytest.mark.trust
@given(moments, st.sampled_from(["Europe/London", "Asia/Kathmandu", "America/St_Johns"]))
def test_an_instant_is_the_same_from_any_zone(moment: datetime, zone: str) -> None:
    """An aware datetime of any zone is the instant that it is, or out of range."""
    aware = moment.replace(tzinfo=ZoneInfo(zone))
    try:
        expected: Value | str = from_python(ColumnType(Kind.TIMESTAMPTZ), aware.astimezone(UTC))
    except OverflowError:
        expected = "out_of_range"
    assert read("timestamptz", aware) == expected


@pytest.mark.trust
@given(st.sampled_from(list(Kind)), st.sampled_from(list(Dialect)), st.binary(max_size=30))
def test_no_bytes_raise_out_of_a_row(kind: Kind, dialect: Dialect, raw: bytes) -> None:
    """A bad value is MISSING with a finding, and a good one reads back as itself (case 94)."""
    if dialect is Dialect.CANONICAL:
        return
    type_ = ColumnType(kind)
    (value,), issues = Normaliser(["c"], [type_], dialect).row([raw])
    assert (value is MISSING) == bool(issues)
    if isinstance(value, bytes):
        assert read(type_, value, Dialect.TEXT) == value
