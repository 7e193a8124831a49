"""What drivers hand over, recorded, as canonical text."""

import struct
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from syncd.flow.model import ColumnType, Kind
from syncd.sources.odbc_values import announced, columns_of, instant_of, type_of, writer_of

at = datetime.fromisoformat


def offset_bytes(moment: Sequence[int], offset_h: int, offset_min: int) -> bytes:
    """A datetimeoffset as both drivers lay it out."""
    return struct.pack("<6hI2h", *moment, offset_h, offset_min)


@pytest.mark.parametrize(
    ("moment", "offset", "text"),
    [
        ((2026, 3, 29, 1, 30, 0, 123_456_700), (1, 0), "2026-03-29 00:30:00.123456+00"),
        ((2026, 3, 29, 1, 30, 0, 999_999_999), (0, 0), "2026-03-29 01:30:00.999999+00"),
        ((2026, 1, 1, 0, 0, 0, 0), (5, 45), "2025-12-31 18:15:00+00"),
        ((2026, 12, 31, 20, 0, 0, 0), (-9, -30), "2027-01-01 05:30:00+00"),
        ((2026, 3, 29, 1, 30, 0, 500_000_000), (14, 0), "2026-03-28 11:30:00.5+00"),
        ((1, 1, 1, 0, 0, 0, 0), (1, 0), "0001-01-01 00:00:00+01:00"),
    ],
)
def test_a_datetimeoffset_is_its_instant(
    moment: Sequence[int], offset: tuple[int, int], text: str
) -> None:
    """In UTC, 100 ns cut off to microseconds; one beyond all time is refused later (case 52)."""
    assert instant_of(offset_bytes(moment, *offset)) == text


@pytest.mark.parametrize(
    ("value", "native", "text"),
    [
        (5, "int", b"5"),
        (True, "bit", b"true"),
        (False, "bit", b"false"),
        (Decimal("12.3400"), "money", b"12.34"),
        (Decimal("-0.000"), "decimal(9,3)", b"0"),
        (Decimal("1E+3"), "decimal(9,0)", b"1000"),
        (Decimal("NaN"), "numeric", b"NaN"),
        (0.1, "float", b"0.1"),
        (0.10000000149011612, "real", b"0.1"),
        (16777216.0, "real", b"16777216.0"),
        (3.4028234663852886e38, "real", b"3.4028235e+38"),
        (1e16, "float", b"1e+16"),
        (-0.0, "float", b"0.0"),
        (float("nan"), "float", b"nan"),
        (float("inf"), "real", b"inf"),
        ("São Tomé 🛫", "nvarchar(50)", "São Tomé 🛫".encode()),
        ("a\ud83d", "nvarchar(50)", b"a\xed\xa0\xbd"),
        ("", "varchar(5)", b""),
        # The three endings that a datetime, 1/300 of a second, can have.
        (
            at("2026-03-29 01:30:00.003000"),
            "datetime",
            b"2026-03-29 01:30:00.003",
        ),
        (
            at("2026-03-29 01:30:00.007000"),
            "datetime",
            b"2026-03-29 01:30:00.007",
        ),
        (at("2026-03-29 01:30:00"), "datetime", b"2026-03-29 01:30:00"),
        # A datetime2(7) comes without its last digit: the driver cuts it off.
        (
            at("2026-03-29 01:30:00.123456"),
            "datetime2(7)",
            b"2026-03-29 01:30:00.123456",
        ),
        (at("9999-12-31 23:59:59"), "datetime2(0)", b"9999-12-31 23:59:59"),
        (
            at("2026-03-29 01:30:00"),
            "timestamp with time zone",
            b"2026-03-29 01:30:00+00",
        ),
        (date(2026, 3, 29), "date", b"2026-03-29"),
        (time(7, 30, 0, 250000), "time(7)", b"07:30:00.25"),
        (
            UUID("F47AC10B-58CC-4372-A567-0E02B2C3D479"),
            "uniqueidentifier",
            b"f47ac10b-58cc-4372-a567-0e02b2c3d479",
        ),
        (bytearray(b"\x00\x00\x00\x00\x00\x00\x07\xd1"), "timestamp", b"\\x00000000000007d1"),
        (b"", "varbinary(max)", b"\\x"),
        ("<a b='1'/>", "xml", b"<a b='1'/>"),
    ],
)
def test_a_value_is_written_as_its_kind_says(value: Any, native: str, text: bytes) -> None:
    """By its class, and by its type's name where the class does not say enough."""
    class_: Any = type(value)
    assert writer_of(class_, native).column([value, None]) == [text, None]


def test_a_value_of_another_class_than_was_announced_is_written_as_what_it_is() -> None:
    """SQLite decides that anew for each row."""
    column = writer_of(int, "integer").column([5, "x", 1.5, b"\x01", None])
    assert column == [b"5", b"x", b"1.5", b"\\x01", None]


def test_null_is_none_in_every_column() -> None:
    """Rows become columns."""
    writers = [writer_of(int, "int"), writer_of(str, "varchar(5)")]
    assert columns_of([(1, None), (None, "x")], writers) == [[b"1", None], [None, b"x"]]


@pytest.mark.parametrize(
    ("native", "kind", "scale"),
    [
        ("tinyint", Kind.INTEGER, None),
        ("bigint", Kind.INTEGER, None),
        ("bit", Kind.BOOLEAN, None),
        ("decimal(12,2)", Kind.DECIMAL, 2),
        ("numeric(5)", Kind.DECIMAL, 0),
        ("money", Kind.DECIMAL, 4),
        ("smallmoney", Kind.DECIMAL, 4),
        ("real", Kind.FLOAT, None),
        ("float", Kind.FLOAT, None),
        ("date", Kind.DATE, None),
        ("time(7)", Kind.TIME, None),
        ("datetime", Kind.TIMESTAMP, None),
        ("datetime2(7)", Kind.TIMESTAMP, None),
        ("smalldatetime", Kind.TIMESTAMP, None),
        ("datetimeoffset(7)", Kind.TIMESTAMPTZ, None),
        ("uniqueidentifier", Kind.UUID, None),
        ("varbinary(max)", Kind.BYTES, None),
        ("timestamp", Kind.BYTES, None),
        ("rowversion", Kind.BYTES, None),
        ("nvarchar(max)", Kind.TEXT, None),
        ("xml", Kind.TEXT, None),
        ("sql_variant", Kind.TEXT, None),
        ("dbo.[My Type]", Kind.TEXT, None),
    ],
)
def test_a_type_of_sql_server_has_its_kind(native: str, kind: Kind, scale: int | None) -> None:
    """Its timestamp is no time."""
    assert type_of(native, "tsql") == ColumnType(kind, scale=scale)


def test_a_stand_ins_types_are_postgresqls() -> None:
    """There timestamp is one."""
    assert type_of("timestamp without time zone", "postgres").kind is Kind.TIMESTAMP


def test_an_answer_without_a_catalogue_is_described_by_classes() -> None:
    """Less is known, but the kinds are right."""
    description = [
        ("a", int, None, 19, 19, 0, False),
        ("b", Decimal, None, 12, 12, 2, True),
        ("c", datetime, None, 27, 27, 7, True),
        ("d", object, None, 0, 0, 0, True),
    ]
    found = announced(description)
    assert [(one.native, one.type.kind, one.nullable) for one in found.values()] == [
        ("bigint", Kind.INTEGER, False),
        ("decimal(12,2)", Kind.DECIMAL, True),
        ("datetime2", Kind.TIMESTAMP, True),
        ("nvarchar", Kind.TEXT, True),
    ]
