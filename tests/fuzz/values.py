"""Values: every type's parser, the normaliser, JSON as a value, and keys.

What comes out is canonical: normalised again it is the same, and so is what becomes of it as a
Python object. A bad value is a finding with a known code beside untouched neighbours.
"""

import json
import re
from collections.abc import Set as AbstractSet
from decimal import Decimal
from functools import partial
from random import Random
from typing import Final

from syncd.flow import keys
from syncd.flow.canonical import BadValue
from syncd.flow.keys import KeyIssue, decode_key, encode_key
from syncd.flow.model import MISSING, ColumnType, Kind
from syncd.flow.normalise import Dialect, Normaliser, from_python, to_python
from tests.fuzz.decoder import Decoder, seeds

TYPES: Final[dict[str, tuple[ColumnType, tuple[bytes, ...]]]] = {
    "text": (ColumnType(), seeds("São Tomé", "", " a ", "e\u0301")),
    "text_strip": (ColumnType(strip=True, empty_as_null=True), seeds("  a b ", " ")),
    "text_nulls": (ColumnType(null_values=("N/A", "-")), seeds("N/A", "x")),
    "integer": (ColumnType(Kind.INTEGER), seeds("-42", "+7", "007", "9223372036854775807")),
    "integer_nulls": (ColumnType(Kind.INTEGER, null_values=("-1", "none")), seeds("-1", "none")),
    "decimal": (ColumnType(Kind.DECIMAL), seeds("1234.50", "-.5", "1.5e3", "1E-20")),
    "decimal_2": (ColumnType(Kind.DECIMAL, scale=2), seeds("1.005", "-2.345", "99.995", "1e-3")),
    "decimal_tens": (ColumnType(Kind.DECIMAL, scale=-2), seeds("149.9", "150", "-50")),
    "float": (ColumnType(Kind.FLOAT), seeds("0.1", "1e16", "-0.0", "5e-324", "1.5")),
    "boolean": (ColumnType(Kind.BOOLEAN), seeds("true", "No", "1", "off")),
    "date": (ColumnType(Kind.DATE), seeds("2026-03-29", "9999-12-31", "2026-03-29 00:00:00")),
    "time": (ColumnType(Kind.TIME), seeds("07:30", "23:59:59.9999999", "07:30:00.250")),
    "timestamp": (ColumnType(Kind.TIMESTAMP), seeds("2026-03-29T01:30:00.1234567", "2026-03-29")),
    "timestamptz": (
        ColumnType(Kind.TIMESTAMPTZ),
        seeds("2026-03-29 01:30:00+01:00", "2026-03-29T01:30Z", "0001-01-01 00:00:00+00"),
    ),
    "timestamptz_london": (
        ColumnType(Kind.TIMESTAMPTZ, zone="Europe/London"),
        seeds("2026-03-29 01:30:00", "2026-10-25 01:30:00", "1970-01-01 00:00:00"),
    ),
    "timestamptz_earlier": (
        ColumnType(Kind.TIMESTAMPTZ, zone="America/St_Johns", fold="earlier"),
        seeds("2026-11-01 01:30:00", "9999-12-31 23:59:59"),
    ),
    "uuid": (ColumnType(Kind.UUID), seeds("{F47AC10B-58CC-4372-A567-0E02B2C3D479}", "0" * 32)),
    "bytes": (ColumnType(Kind.BYTES), seeds("\\x00FF", "\\x")),
    "json": (
        ColumnType(Kind.JSON),
        seeds(
            '{"b": [1.50, null, "\\u00e9"], "a": {"z": 1e2, "y": -0}}', '"\\ud83d\\ude00"',
            "[" * 20 + "]" * 20, '{"a": 1, "a": 2}', "12345678901234567890123", "[]", "{}", "[1]",
        ),
    ),
}  # fmt: skip

CODES: Final = frozenset(
    {
        *("charset", "not_integer", "not_decimal", "not_float", "not_boolean", "not_date"),
        *("not_time", "not_timestamp", "not_uuid", "not_bytes", "not_json", "not_finite"),
        *("out_of_range", "exponent", "unexpected_offset", "too_deep"),
        *("ambiguous_local_time", "nonexistent_local_time"),
    }
)
WRITTEN_OUT_BYTES: Final = 500  # 1e400 is five bytes, and four hundred when it is written out
_DAY: Final = rb"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_CLOCK: Final = rb"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{0,5}[1-9])?"
# What schemas/types.md says that canonical text looks like, written down apart from the code.
SHAPES: Final = {
    Kind.TEXT: rb"[^\0]*",
    Kind.INTEGER: rb"0|-?[1-9]\d{0,18}",
    Kind.DECIMAL: rb"(?!-0$)-?(?:0|[1-9]\d*)(?:\.\d*[1-9])?",
    Kind.FLOAT: rb"(?!-0\.0$)-?\d+(?:\.\d+)?(?:e[+-]\d+)?",
    Kind.BOOLEAN: rb"true|false",
    Kind.DATE: _DAY,
    Kind.TIME: _CLOCK,
    Kind.TIMESTAMP: _DAY + b" " + _CLOCK,
    Kind.TIMESTAMPTZ: _DAY + b" " + _CLOCK + rb"\+00",
    Kind.UUID: rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    Kind.BYTES: rb"\\x[0-9a-f]*",
    Kind.JSON: rb"[^\0-\x1f]+",
}
LEVELS_MAX: Final = 64
NEIGHBOUR: Final = b"a neighbour that nobody touched"


def known(code: str, codes: AbstractSet[str]) -> str:
    """A finding, proved to have one of ``codes``."""
    assert code in codes, code
    return "finding"


def check_text(type_: ColumnType, data: bytes, _random: Random) -> str:
    """As a field of a file, between two neighbours."""
    found = Normaliser(["a", "b", "c"], [ColumnType(), type_, ColumnType()], Dialect.TEXT)
    row, issues = found.row((NEIGHBOUR, data, NEIGHBOUR), "f:1")
    assert row[0] == row[2] == NEIGHBOUR, "a bad value changes nothing beside it"
    value = row[1]
    if issues:
        (issue,) = issues
        assert value is MISSING
        assert issue.code in CODES, issue.code
        assert (issue.field, issue.place) == ("b", "f:1")
        return "finding"
    assert value is not MISSING
    if value is not None:
        assert_canonical(type_, value, len(data))
    return "value"


def assert_canonical(type_: ColumnType, value: bytes, given_bytes: int) -> None:
    """``value`` means itself in every dialect, and is no larger than its input explains."""
    assert isinstance(value, bytes)
    assert b"\0" not in value
    value.decode()
    assert re.fullmatch(SHAPES[type_.kind], value, re.DOTALL), "not as types.md says"
    if type_.kind is Kind.JSON:
        assert _levels(json.loads(value)) <= LEVELS_MAX
        assert len(value) <= (6 + WRITTEN_OUT_BYTES) * (given_bytes + 1)
    else:
        assert len(value) <= given_bytes + WRITTEN_OUT_BYTES
    again, issues = Normaliser(["a"], [type_], Dialect.TEXT).row([value])
    assert not issues, "what is canonical is accepted"
    assert again == (value,), "normalising again changes nothing"
    rendered, issues = Normaliser(["a"], [type_], Dialect.CANONICAL).row([value])
    assert (rendered, issues) == ((value,), ())
    # The text ``null`` is a document; parsed, it is the NULL that has no text (types.md).
    if (type_.kind, value) != (Kind.JSON, b"null"):
        assert from_python(type_, to_python(type_, value)) == value, "the object means the same"


def _levels(tree: object) -> int:
    """How deep the lists and objects of a document stand in each other."""
    levels, layer = 0, [tree]
    while layer:
        inner = [list(n.values()) if isinstance(n, dict) else n for n in layer]
        nested = [items for items in inner if isinstance(items, list)]
        levels += bool(nested)
        layer = [item for items in nested for item in items]
    return levels


def _decimal(written: str) -> object:
    """The number as exactly as may be."""
    try:
        return Decimal(written)
    except ArithmeticError:
        return float(written)


def _parsed(text: str) -> object:
    """What a reader of JSON hands over, NaN and numbers of any size among it; else the text."""
    try:
        return json.loads(text, parse_float=_decimal)
    except (ValueError, RecursionError):
        return text


def check_python(type_: ColumnType, data: bytes, random: Random) -> str:
    """As a member of JSON: a str, or parsed where it can be; lone surrogates among them."""
    text = data.decode("utf-8", random.choice(("surrogateescape", "replace")))
    try:
        value = from_python(type_, _parsed(text) if random.random() < 0.5 else text)
    except BadValue as bad:
        return known(bad.code, CODES)
    if value is not None:
        assert isinstance(value, bytes)
        assert_canonical(type_, value, len(text.encode()))
    return "value"


KEY_KINDS: Final = (
    (Kind.INTEGER,),
    (Kind.TEXT,),
    (Kind.UUID,),
    (Kind.DATE,),
    (Kind.TEXT, Kind.INTEGER, Kind.DATE),
    (Kind.DATE, Kind.TEXT, Kind.UUID, Kind.TEXT),
)
_PARTS: Final = {
    Kind.INTEGER: b"-42",
    Kind.TEXT: "Zoë".encode(),
    Kind.UUID: b"f47ac10b-58cc-4372-a567-0e02b2c3d479",
    Kind.DATE: b"2026-03-29",
}
KEYS: Final = tuple(encode_key(kinds, [_PARTS[kind] for kind in kinds]) for kinds in KEY_KINDS)


def check_key(data: bytes, random: Random) -> str:
    """Bytes that say that they are a key."""
    kinds = random.choice(KEY_KINDS)
    try:
        parts = decode_key(kinds, data)
    except KeyIssue as issue:
        return known(issue.code, {"key_malformed"})
    assert encode_key(kinds, parts) == data, "a key has one reading"
    for kind, part in zip(kinds, parts, strict=True):
        assert_canonical(ColumnType(kind), part, len(data))
    assert keys.display_key(kinds, data) == tuple(part.decode() for part in parts)
    return "value"


def check_key_part(data: bytes, random: Random) -> str:
    """A value that says that it is canonical, as a part of a key."""
    kind = random.choice(tuple(_PARTS))
    try:
        key = encode_key((kind,), (data,))
    except KeyIssue as issue:
        return known(issue.code, {"key_value", "key_range", "key_charset"})
    (part,) = decode_key((kind,), key)
    assert encode_key((kind,), (part,)) == key
    row, issues = Normaliser(["a"], [ColumnType(kind)], Dialect.TEXT).row([part])
    assert (row, issues) == ((part,), ()), "no key but of canonical values"
    return "value"


def value_decoders() -> list[Decoder]:
    """One of each type as a field and as an object, and the keys."""
    return [
        *(Decoder(f"field_{n}", s, partial(check_text, t)) for n, (t, s) in TYPES.items()),
        *(Decoder(f"object_{n}", s, partial(check_python, t)) for n, (t, s) in TYPES.items()),
        Decoder("key", KEYS, check_key),
        Decoder("key_part", tuple(_PARTS.values()), check_key_part),
    ]
