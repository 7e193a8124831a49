"""The rules of each kind, one example each: ``schemas/types.md`` as a table that runs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from syncd.flow.model import MISSING, ColumnType, Kind, Value
from syncd.flow.normalise import Dialect, Normaliser, parse_type

LONDON: Final = "Europe/London"
ID: Final = b"f47ac10b-58cc-4372-a567-0e02b2c3d479"


def read(type_: ColumnType | str, raw: object, dialect: Dialect = Dialect.TEXT) -> Value | str:
    """The canonical value, or the code of the finding."""
    type_ = parse_type(type_) if isinstance(type_, str) else type_
    (value,), issues = Normaliser(["c"], [type_], dialect).row([raw], "f.csv:2")
    if not issues:
        return value
    assert value is MISSING
    assert [issue.field for issue in issues] == ["c"]
    return issues[0].code


@pytest.mark.parametrize(
    ("type_", "raw", "expected"),
    [
        ("text", b"", b""),
        ("text", b"  a b ", b"  a b "),
        ("text", "Zoe\u0308".encode(), "Zoe\u0308".encode()),
        ("text", b"a\0b", "charset"),
        ("text", b"caf\xe9", "charset"),
        ("text", b"\xed\xa0\x80", "charset"),
        ("char(10)", b" ab        ", b" ab        "),
        ("integer", b"7", b"7"),
        ("integer", b" +7 ", b"7"),
        ("integer", b"007", b"7"),
        ("integer", b"-0", b"0"),
        ("integer", b"0", b"0"),
        ("integer", b"000", b"0"),
        ("integer", b"-42", b"-42"),
        ("integer", b"9223372036854775807", b"9223372036854775807"),
        ("integer", b"-9223372036854775808", b"-9223372036854775808"),
        ("integer", b"9223372036854775808", "out_of_range"),
        ("integer", b"-9223372036854775809", "out_of_range"),
        ("integer", b"1" * 6000, "out_of_range"),
        ("integer", b"0" * 6000 + b"5", b"5"),
        ("integer", b"", None),
        ("integer", b" ", None),
        ("integer", b"3.0", "not_integer"),
        ("integer", b"1_000", "not_integer"),
        ("integer", "\u0663".encode(), "not_integer"),
        ("integer", b"5\n5", "not_integer"),
        ("decimal", b"1234.5", b"1234.5"),
        ("decimal", b"1234.50", b"1234.5"),
        ("decimal", b"100.00", b"100"),
        ("decimal", b"100", b"100"),
        ("decimal", b"-0", b"0"),
        ("decimal", b"-0.00", b"0"),
        ("decimal", b" -0.50", b"-0.5"),
        ("decimal", b"+.5", b"0.5"),
        ("decimal", b"5.", b"5"),
        ("decimal", b"-.000125", b"-0.000125"),
        ("decimal", b"1.5e3", b"1500"),
        ("decimal", b"125E-5", b"0.00125"),
        ("decimal", b"0e999999999999", b"0"),
        ("decimal", b"", None),
        ("decimal", b".", "not_decimal"),
        ("decimal", b"1,5", "not_decimal"),
        ("decimal", b"1e", "not_decimal"),
        ("decimal", b"NaN", "not_finite"),
        ("decimal", b"-Infinity", "not_finite"),
        ("decimal", b"1E400", b"1" + b"0" * 400),
        ("decimal", b"1E401", "exponent"),
        ("decimal", b"1E-400", b"0." + b"0" * 399 + b"1"),
        ("decimal", b"0." + b"0" * 400 + b"1", "exponent"),
        ("decimal", b"1E1000000000", "exponent"),
        ("decimal", b"1E-99999999999", "exponent"),
        ("decimal", b"1" * 1000, b"1" * 1000),
        ("decimal", b"1" * 1001, "out_of_range"),
        ("decimal", b"1" * 700 + b"E301", "out_of_range"),
        ("numeric(12,2)", b"1.005", b"1.01"),
        ("numeric(12,2)", b"-1.005", b"-1.01"),
        ("numeric(12,2)", b"1.0049", b"1"),
        ("numeric(12,2)", b"-0.004", b"0"),
        ("numeric(12,2)", b"7.25", b"7.25"),
        ("numeric(12,2)", b"7", b"7"),
        ("numeric(12)", b"9.5", b"10"),
        ("numeric(5,-2)", b"1250", b"1300"),
        ("numeric(5,-2)", b"49", b"0"),
        ("float", b"0.1", b"0.1"),
        ("float", b" 1e3 ", b"1000.0"),
        ("float", b"-0.0", b"0.0"),
        ("float", b"1E16", b"1e+16"),
        ("float", b"0.30000000000000004", b"0.30000000000000004"),
        ("float", b"0e-500", b"0.0"),
        ("float", b"5e-324", b"5e-324"),
        ("float", b"1e-400", "out_of_range"),
        ("float", b"-1e400", "out_of_range"),
        ("float", b"nan", "not_finite"),
        ("float", b"-Infinity", "not_finite"),
        ("float", b"1_0", "not_float"),
        ("float", b"0x10", "not_float"),
        ("float", b" ", None),
        ("boolean", b"true", b"true"),
        ("boolean", b"T", b"true"),
        ("boolean", b"Yes", b"true"),
        ("boolean", b" on ", b"true"),
        ("boolean", b"1", b"true"),
        ("boolean", b"N", b"false"),
        ("boolean", b"OFF", b"false"),
        ("boolean", b"0", b"false"),
        ("boolean", b"", None),
        ("boolean", b"2", "not_boolean"),
        ("boolean", b"-1", "not_boolean"),
    ],
)
def test_text_of_a_file_is_read_by_the_rules(type_: str, raw: bytes, expected: Value | str) -> None:
    """Every rule for text, numbers and truth has an example (cases 55, 57, 61, 62, 63)."""
    assert read(type_, raw) == expected


@pytest.mark.parametrize(
    ("type_", "raw", "expected"),
    [
        ("date", b"2024-02-29", b"2024-02-29"),
        ("date", b"9999-12-31", b"9999-12-31"),
        ("date", b"0001-01-01", b"0001-01-01"),
        ("date", b" 2026-03-29 ", b"2026-03-29"),
        ("date", b"2026-03-29T00:00:00.000", b"2026-03-29"),
        ("date", b"", None),
        ("date", b"2026-03-29 00:00:01", "not_date"),
        ("date", b"2026-03-29 00:00+00", "unexpected_offset"),
        ("date", b"2023-02-29", "not_date"),
        ("date", b"2023-02-29 00:00", "not_date"),
        ("date", b"0000-01-01", "not_date"),
        ("date", b"2020-W01-1", "not_date"),
        ("date", b"20200101", "not_date"),
        ("date", b"29/03/2026", "not_date"),
        ("date", b"infinity", "not_finite"),
        ("date", b"-infinity", "not_finite"),
        ("date", b"10000-01-01", "out_of_range"),
        ("date", b"0044-03-15 BC", "out_of_range"),
        ("time", b"07:30:00", b"07:30:00"),
        ("time", b"07:30", b"07:30:00"),
        ("time", b"07:30:00.250", b"07:30:00.25"),
        ("time", b"07:30:00.123456999", b"07:30:00.123456"),
        ("time", b"00:00:00.0000001", b"00:00:00"),
        ("time", b"23:59:59.999999", b"23:59:59.999999"),
        ("time", b" ", None),
        ("time", b"24:00:00", "not_time"),
        ("time", b"12:60:00", "not_time"),
        ("time", b"23:59:60", "not_time"),
        ("time", b"7:30", "not_time"),
        ("time", b"07:30:00Z", "unexpected_offset"),
        ("time", b"07:30:00+01:00", "unexpected_offset"),
        ("timestamp", b"2026-03-29 01:30:00", b"2026-03-29 01:30:00"),
        ("timestamp", b"2026-03-29T01:30:00", b"2026-03-29 01:30:00"),
        ("timestamp", b"2026-03-29 01:30", b"2026-03-29 01:30:00"),
        ("timestamp", b"2026-03-29", b"2026-03-29 00:00:00"),
        ("timestamp", b"2026-03-31 01:30:00.1234567", b"2026-03-31 01:30:00.123456"),
        ("timestamp", b"2026-12-31 23:59:59.9999999", b"2026-12-31 23:59:59.999999"),
        ("timestamp", b"2026-03-29 01:30:00.000", b"2026-03-29 01:30:00"),
        ("timestamp", b"2026-03-29 01:30:00.5", b"2026-03-29 01:30:00.5"),
        ("timestamp", b"0001-01-01 00:00:00", b"0001-01-01 00:00:00"),
        ("timestamp", b"9999-12-31 23:59:59.999999", b"9999-12-31 23:59:59.999999"),
        ("timestamp", b"", None),
        ("timestamp", b"2026-03-29 01:30:00Z", "unexpected_offset"),
        ("timestamp", b"2026-03-29 01:30:00+00", "unexpected_offset"),
        ("timestamp", b"2026-02-30 00:00:00", "not_timestamp"),
        ("timestamp", b"2026-13-01 00:00:00", "not_timestamp"),
        ("timestamp", b"0000-01-01 00:00:00", "not_timestamp"),
        ("timestamp", b"2026-03-29 24:00:00", "not_timestamp"),
        ("timestamp", b"2026-03-29 01:30:00.1234567890", "not_timestamp"),
        ("timestamp", b"Mar 29 2026 1:30AM", "not_timestamp"),
        ("timestamp", b"infinity", "not_finite"),
        ("timestamp", b"12026-03-29 00:00:00", "out_of_range"),
        ("timestamp", b"0044-03-15 00:00:00 BC", "out_of_range"),
        ("timestamptz", b"2026-03-29 01:30:00+00", b"2026-03-29 01:30:00+00"),
        ("timestamptz", b"2026-03-31T01:30:00Z", b"2026-03-31 01:30:00+00"),
        ("timestamptz", b"2026-03-31t01:30:00z", b"2026-03-31 01:30:00+00"),
        ("timestamptz", b"2026-03-31 01:30:00 +05:30", b"2026-03-30 20:00:00+00"),
        ("timestamptz", b"2026-03-31 01:30:00-0330", b"2026-03-31 05:00:00+00"),
        ("timestamptz", b"1890-01-01 00:00:00-00:01:15", b"1890-01-01 00:01:15+00"),
        ("timestamptz", b"2026-03-31 01:30:00.1234567+01", b"2026-03-31 00:30:00.123456+00"),
        ("timestamptz", b"2026-03-31 01:30", b"2026-03-31 01:30:00+00"),
        ("timestamptz", b"2026-03-31", b"2026-03-31 00:00:00+00"),
        ("timestamptz", b" ", None),
        ("timestamptz", b"2026-03-31 01:30:00+16:00", "not_timestamp"),
        ("timestamptz", b"2026-03-31 01:30:00+01:60", "not_timestamp"),
        ("timestamptz", b"0001-01-01 00:00:00+01", "out_of_range"),
        ("timestamptz", b"9999-12-31 23:59:59-01", "out_of_range"),
        ("timestamptz", b"infinity", "not_finite"),
        ("timestamptz", b"yesterday", "not_timestamp"),
    ],
)
def test_moments_of_a_file_are_read_by_the_rules(
    type_: str, raw: bytes, expected: Value | str
) -> None:
    """Dates and times: truncation, offsets, the ends of the calendar (cases 52, 54, 55)."""
    assert read(type_, raw) == expected


@pytest.mark.parametrize(
    ("type_", "raw", "expected"),
    [
        ("uuid", ID, ID),
        ("uuid", b" " + ID.upper() + b" ", ID),
        ("uuid", b"{" + ID + b"}", ID),
        ("uuid", ID.replace(b"-", b""), ID),
        ("uuid", b"", None),
        ("uuid", b"{" + ID, "not_uuid"),
        ("uuid", ID[:-1], "not_uuid"),
        ("uuid", ID.replace(b"-", b"", 1), "not_uuid"),
        ("bytea", b"\\x00ff", b"\\x00ff"),
        ("bytea", b"\\x", b"\\x"),
        ("bytea", b" \\X00FF", b"\\x00ff"),
        ("bytea", b" ", None),
        ("bytea", b"\\x0", "not_bytes"),
        ("bytea", b"00ff", "not_bytes"),
        ("json", b' {"b": 1, "a": [true, null]} ', b'{"a":[true,null],"b":1}'),
        (
            "json",
            b'{"\xf0\x90\x80\x80":1,"\xef\xbf\xbf":2}',
            '{"\uffff":2,"\U00010000":1}'.encode(),
        ),
        ("json", b"[1.0, 1.00, 1, 1e0, -0, -0.0]", b"[1,1,1,1,0,0]"),
        (
            "json",
            b"[0.0000001, 1E5, 18446744073709551616]",
            b"[0.0000001,100000,18446744073709551616]",
        ),
        ("json", b'"\\u00e9\\/\\u0007\\n\\u2028"', '"é/\\u0007\\n\u2028"'.encode()),
        ("json", b'{"a":1,"a":2}', b'{"a":2}'),
        ("json", b"null", b"null"),
        ("json", b"", None),
        ("json", b"[" * 64 + b"]" * 64, b"[" * 64 + b"]" * 64),
        ("json", b"[" * 65 + b"]" * 65, "too_deep"),
        ("json", b'{"a":' * 65 + b"1" + b"}" * 65, "too_deep"),
        ("json", b"[" * 5000, "too_deep"),
        ("json", b"[" + b"[]," * 99 + b"[]]", b"[" + b"[]," * 99 + b"[]]"),
        ("json", b'"\\u0000"', "charset"),
        ("json", b'{"\\u0000":1}', "charset"),
        ("json", b'"\\\\u0000"', b'"\\\\u0000"'),
        ("json", b'"\\ud800"', "charset"),
        ("json", b'"\\udc00"', "charset"),
        ("json", b'"caf\xe9"', "charset"),
        ("json", b"[1e401]", "exponent"),
        ("json", b"[1e999999999]", "exponent"),
        ("json", b"[" + b"1" * 1001 + b"]", "out_of_range"),
        ("json", b"1" * 1000, b"1" * 1000),
        ("json", b"1" * 9000, "not_json"),
        ("json", b"{a:1}", "not_json"),
        ("json", b"NaN", "not_json"),
        ("json", b"1 2", "not_json"),
        ("json", b"[1", "not_json"),
    ],
)
def test_structures_of_a_file_are_read_by_the_rules(
    type_: str, raw: bytes, expected: Value | str
) -> None:
    """UUIDs, bytes and JSON, whatever a decoder may throw (cases 61, 64, 94)."""
    assert read(type_, raw) == expected


@pytest.mark.parametrize(
    ("type_", "raw", "expected"),
    [
        ("text", b"NaN", b"NaN"),
        ("integer", b"-9223372036854775808", b"-9223372036854775808"),
        ("boolean", b"true", b"true"),
        ("uuid", ID, ID),
        ("bytea", b"\\x00ff", b"\\x00ff"),
        ("numeric", b"-12.5", b"-12.5"),
        ("numeric", b"NaN", "not_finite"),
        ("numeric", b"-Infinity", "not_finite"),
        ("numeric", b"1" * 1001, "out_of_range"),
        ("numeric", b"1" + b"0" * 400, b"1" + b"0" * 400),
        ("numeric(9,2)", b"12.25", b"12.25"),
        ("numeric(9,2)", b"12.255", b"12.26"),
        ("numeric(9,0)", b"12.5", b"13"),
        ("numeric(9,-1)", b"15", b"20"),
        ("numeric(9,2)", b"NaN", "not_finite"),
        ("double precision", b"0.1", b"0.1"),
        ("double precision", b"1e+20", b"1e+20"),
        ("double precision", b"100", b"100.0"),
        ("double precision", b"-0", b"0.0"),
        ("double precision", b"Infinity", "not_finite"),
        ("double precision", b"NaN", "not_finite"),
        ("date", b"9999-12-31", b"9999-12-31"),
        ("date", b"infinity", "not_finite"),
        ("date", b"-infinity", "not_finite"),
        ("date", b"10000-01-01", "out_of_range"),
        ("date", b"0044-03-15 BC", "out_of_range"),
        ("time", b"23:59:59.5", b"23:59:59.5"),
        ("time", b"24:00:00", "not_time"),
        ("timestamp", b"2026-03-29 01:30:00.5", b"2026-03-29 01:30:00.5"),
        ("timestamp", b"infinity", "not_finite"),
        ("timestamp", b"294276-01-01 00:00:00", "out_of_range"),
        ("timestamp", b"0044-03-15 00:00:00 BC", "out_of_range"),
        ("timestamptz", b"2026-03-29 01:30:00.5+00", b"2026-03-29 01:30:00.5+00"),
        ("timestamptz", b"2026-03-31 01:30:00+01", b"2026-03-31 00:30:00+00"),
        ("timestamptz", b"-infinity", "not_finite"),
        ("timestamptz", b"294276-01-01 00:00:00+00", "out_of_range"),
        ("timestamptz", b"0044-03-15 00:00:00+00 BC", "out_of_range"),
        ("jsonb", b'{"a": 1.50}', b'{"a":1.5}'),
    ],
)
def test_what_postgresql_renders_is_taken_or_refused(
    type_: str, raw: bytes, expected: Value | str
) -> None:
    """The server's text is right but for what has no canonical text (case 55, fact 10)."""
    assert read(type_, raw, Dialect.CANONICAL) == expected


def half_hours(first: datetime, last: datetime) -> Iterator[datetime]:
    while first < last:
        yield first
        first += timedelta(minutes=30)


@pytest.mark.parametrize(("first", "last"), [(2026, 2026), (1968, 1968), (1971, 1971)])
def test_every_local_half_hour_has_none_one_or_two_instants(first: int, last: int) -> None:
    """Against a table made from UTC, also when permanent summer time began and ended (case 53)."""
    zone = ZoneInfo(LONDON)
    start, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
    instants: dict[str, list[str]] = {
        local.strftime("%Y-%m-%d %H:%M:%S"): []
        for local in half_hours(start + timedelta(days=1), end - timedelta(days=1))
    }
    for utc in half_hours(start, end):
        local = utc.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
        if local in instants:
            instants[local].append(utc.strftime("%Y-%m-%d %H:%M:%S+00"))
    readers = [
        Normaliser(["at"], [ColumnType(Kind.TIMESTAMPTZ, zone=LONDON, fold=fold)], Dialect.TEXT)
        for fold in ("reject", "earlier", "later")
    ]
    odd = set()
    for local, expected in instants.items():
        (rejected,), issues = readers[0].row([local.encode()])
        chosen = [reader.row([local.encode()])[0][0] for reader in readers[1:]]
        if len(expected) == 1:
            assert (rejected, *chosen) == (expected[0].encode(),) * 3, local
            continue
        odd.add(local)
        assert [i.code for i in issues] == [
            "ambiguous_local_time" if expected else "nonexistent_local_time"
        ]
        if expected:
            assert chosen == [instant.encode() for instant in sorted(expected)]
    if first == 2026:
        assert odd == {f"2026-{day} 01:{m}:00" for day in ("03-29", "10-25") for m in ("00", "30")}
    assert len(odd) == {2026: 4, 1968: 2, 1971: 2}[first]


@pytest.mark.parametrize(
    ("fold", "gap", "overlap"),
    [
        ("earlier", b"2026-03-29 00:30:00+00", b"2026-10-25 00:30:00+00"),
        ("later", b"2026-03-29 01:30:00+00", b"2026-10-25 01:30:00+00"),
    ],
)
def test_fold_chooses_between_two_instants(fold: str, gap: bytes, overlap: bytes) -> None:
    """The hour that never is has two readings as well as the one that occurs twice (case 53)."""
    type_ = ColumnType(Kind.TIMESTAMPTZ, zone=LONDON, fold=fold)
    assert read(type_, b"2026-03-29 01:30:00") == gap
    assert read(type_, b"2026-10-25 01:30:00") == overlap
    assert read(type_, datetime.fromisoformat("2026-10-25 01:30"), Dialect.PYTHON) == overlap


def test_an_expensive_number_costs_nothing() -> None:
    """1E+1000000000 is refused before a single zero of it is written (case 62)."""
    assert read("decimal", Decimal("1E+1000000000"), Dialect.PYTHON) == "exponent"
    assert read("text", Decimal("1E-1000000000"), Dialect.PYTHON) == "exponent"
