"""Driver values to canonical values, by a plan compiled once per entity.

A canonical value is the one text that a value has, whoever read it: ``schemas/types.md`` is the
table of rules, ``canonical.py`` carries them out, and this file decides what has to be done to
which column. Three dialects come in. TEXT is the raw bytes of a file's field. CANONICAL is text
that PostgreSQL has rendered by the rules already. PYTHON is what JSON and ODBC hand over.

Columns with nothing to do are never touched: there is no call per value, and characters of TEXT
are checked a row at a time. A bad value becomes MISSING with a finding beside it; it never raises
out of ``Normaliser.row``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from syncd.errors import ConfigError
from syncd.flow import canonical
from syncd.flow.canonical import BadValue
from syncd.flow.decode import DecodeError, decode
from syncd.flow.model import MISSING, ColumnType, Issue, Kind, Row, Severity, Value
from syncd.flow.parsers import glance_of, parser_of, zone_of

__all__ = [
    "BadValue",
    "Dialect",
    "Normaliser",
    "from_object",
    "from_python",
    "parse_type",
    "to_object",
    "to_python",
]

Read: TypeAlias = Callable[[Any], bytes | None]


class Dialect(StrEnum):
    """How a source hands values over.

    TEXT: bytes as found in a file. CANONICAL: bytes rendered by PostgreSQL as
    ``schemas/types.md`` says. PYTHON: objects. All: None for NULL, MISSING for absent.
    """

    TEXT = "text"
    CANONICAL = "canonical"
    PYTHON = "python"


_NAMES: Final = {
    **dict.fromkeys(("text", "varchar", "character varying", "char", "character"), Kind.TEXT),
    **dict.fromkeys(("integer", "bigint", "smallint", "int", "int2", "int4", "int8"), Kind.INTEGER),
    **dict.fromkeys(("decimal", "numeric"), Kind.DECIMAL),
    **dict.fromkeys(("float", "double precision", "real", "float4", "float8"), Kind.FLOAT),
    **dict.fromkeys(("boolean", "bool"), Kind.BOOLEAN),
    "date": Kind.DATE,
    **dict.fromkeys(("time", "time without time zone"), Kind.TIME),
    **dict.fromkeys(("timestamp", "timestamp without time zone"), Kind.TIMESTAMP),
    **dict.fromkeys(("timestamptz", "timestamp with time zone"), Kind.TIMESTAMPTZ),
    "uuid": Kind.UUID,
    **dict.fromkeys(("bytea", "bytes"), Kind.BYTES),
    **dict.fromkeys(("json", "jsonb"), Kind.JSON),
}
# How many numbers in brackets a kind may have: numeric(p, s), varchar(n), timestamp(p).
_NUMBERS: Final = {
    Kind.DECIMAL: 2,
    Kind.TEXT: 1,
    Kind.TIME: 1,
    Kind.TIMESTAMP: 1,
    Kind.TIMESTAMPTZ: 1,
}
_TYPE: Final = re.compile(
    r"([a-z0-9]+(?: [a-z]+)*?) ?(?:\( ?(\d+) ?(?:, ?(-?\d+) ?)?\))?( with(?:out)? time zone)?"
).fullmatch


def parse_type(text: str) -> ColumnType:
    """The canonical type of a name as people and catalogues write it.

    ``numeric(p, s)`` keeps s decimals; ``numeric(p)`` none. Lengths and the precision of times are
    read and forgotten: the target refuses what is too long, nothing is ever cut off.
    Raises ConfigError that lists the names that are known.
    """
    match = _TYPE(" ".join(text.lower().split()))
    name, first, second, zone = match.groups("") if match else ("", "", "", "")
    kind = _NAMES.get(name + zone)
    numbers = bool(first) + bool(second)
    if kind is None or numbers > _NUMBERS.get(kind, 0):
        raise ConfigError(
            f"type {text!r} is not known",
            hint=f"use one of {', '.join(_NAMES)}; numeric may have (precision, scale)",
        )
    if kind is not Kind.DECIMAL or not first:
        return ColumnType(kind=kind)
    scale = int(second or 0)
    if abs(scale) > canonical.EXPONENT_MAX:
        raise ConfigError(
            f"type {text!r}: expected a scale of -{canonical.EXPONENT_MAX} to "
            f"{canonical.EXPONENT_MAX}, found {scale}",
            hint="leave the scale out to keep every decimal",
        )
    return ColumnType(kind=kind, scale=scale)


def _integer_of(value: object) -> bytes | None:
    match value:
        case bool():
            raise BadValue("not_integer")
        case int():
            return canonical.integer_text(value)
        case float() | Decimal():
            written = canonical.number_text(value)
            if b"." in written:
                raise BadValue("not_integer")
            return canonical.integer(written)
        case _:
            raise BadValue("not_integer")


def _decimal_of(value: object, scale: int | None) -> bytes | None:
    match value:
        case bool():
            raise BadValue("not_decimal")
        case int():
            return canonical.decimal(canonical.whole_text(value), scale)
        case float() | Decimal():
            return canonical.number_text(value, scale)
        case _:
            raise BadValue("not_decimal")


def _float_of(value: object) -> bytes | None:
    match value:
        case bool():
            raise BadValue("not_float")
        case int():
            return canonical.real(canonical.whole_text(value))
        case float() | Decimal():
            return canonical.real(str(value).encode())
        case _:
            raise BadValue("not_float")


def _boolean_of(value: object) -> bytes | None:
    if isinstance(value, int) and value in (0, 1):
        return b"true" if value else b"false"
    raise BadValue("not_boolean")


def _day_of(value: object) -> bytes | None:
    match value:
        case datetime(tzinfo=None):
            return canonical.day_text(value)
        case datetime():
            raise BadValue("unexpected_offset")
        case date():
            return value.isoformat().encode()
        case _:
            raise BadValue("not_date")


def _clock_of(value: object) -> bytes | None:
    match value:
        case time(tzinfo=None):
            return canonical.clock_text(value)
        case time():
            raise BadValue("unexpected_offset")
        case _:
            raise BadValue("not_time")


def _stamp_of(value: object) -> bytes | None:
    match value:
        case datetime(tzinfo=None):
            return canonical.stamp_text(value)
        case datetime():
            raise BadValue("unexpected_offset")
        case date():
            return canonical.stamp_text(datetime.combine(value, time.min))
        case _:
            raise BadValue("not_timestamp")


def _instant_of(value: object, zone: tzinfo = UTC, fold: str = "reject") -> bytes | None:
    match value:
        case datetime():
            naive = value.replace(tzinfo=None)
            return canonical.instant_text(naive, value.utcoffset(), zone, fold)
        case date():
            midnight = datetime.combine(value, time.min)
            return canonical.instant_text(midnight, None, zone, fold)
        case _:
            raise BadValue("not_timestamp")


def _uuid_of(value: object) -> bytes | None:
    if isinstance(value, UUID):
        return str(value).encode()
    raise BadValue("not_uuid")


def _bytes_of(value: object) -> bytes | None:
    if isinstance(value, bytes | bytearray | memoryview):
        return b"\\x" + value.hex().encode()
    raise BadValue("not_bytes")


def _json_of(value: object) -> bytes | None:
    """Bytes are JSON still to be parsed; everything else, str too, is parsed already."""
    if isinstance(value, bytes | bytearray | memoryview):
        return canonical.document(bytes(value))
    return canonical.document_text(value)


# In this order: a bool is an int, and a datetime is a date.
_BY_TYPE: Final[tuple[tuple[type, Read], ...]] = (
    (bool, _boolean_of),
    (int, canonical.whole_text),
    (float, _float_of),
    (Decimal, canonical.number_text),
    (datetime, lambda v: _stamp_of(v) if v.tzinfo is None else _instant_of(v)),
    (date, _day_of),
    (time, _clock_of),
    (UUID, _uuid_of),
    (bytes, _bytes_of),
    (bytearray, _bytes_of),
    (memoryview, _bytes_of),
)


def _text_of(value: object) -> bytes | None:
    """Anything in a column of text: as the value's own kind writes it."""
    for type_, convert in _BY_TYPE:
        if isinstance(value, type_):
            return convert(value)
    return canonical.document_text(value)


_CONVERTERS: Final[dict[Kind, Read]] = {
    Kind.TEXT: _text_of,
    Kind.INTEGER: _integer_of,
    Kind.FLOAT: _float_of,
    Kind.BOOLEAN: _boolean_of,
    Kind.DATE: _day_of,
    Kind.TIME: _clock_of,
    Kind.TIMESTAMP: _stamp_of,
    Kind.UUID: _uuid_of,
    Kind.BYTES: _bytes_of,
}


def _converter(type_: ColumnType) -> Read:
    """What makes canonical text of an object that is no str."""
    match type_.kind:
        case Kind.DECIMAL:
            return partial(_decimal_of, scale=type_.scale)
        case Kind.TIMESTAMPTZ:
            return partial(_instant_of, zone=zone_of(type_.zone), fold=type_.fold)
        case kind:
            return _CONVERTERS[kind]


def _rows(type_: ColumnType) -> Read:
    """What makes the canonical list of rows of a part, of JSON text or of parsed JSON.

    Each field is the canonical text of its own type or null; a field that a row lacks is null.
    The rows are in the order of their keys, and then of all their fields, so that equal
    collections are equal text.
    """
    fields = {item.name: _reader(item.type, Dialect.PYTHON) for item in type_.items}
    first = [at for name in type_.order for at, known in enumerate(fields) if known == name]

    def one(row: object) -> tuple[bytes | None, ...]:
        # Asked for first because the abstract class is slow to answer.
        if type(row) is not dict and not isinstance(row, Mapping):
            raise BadValue("not_rows")
        if not fields.keys() >= row.keys():
            raise BadValue("unknown_field")
        values = [(read, row.get(name)) for name, read in fields.items()]
        return tuple([None if v is None or read is None else read(v) for read, v in values])

    def place(row: Sequence[bytes | None]) -> list[tuple[bool, bytes]]:
        values = [*(row[at] for at in first), *row]
        return [(value is not None, value or b"") for value in values]

    def read(value: object) -> bytes | None:
        if isinstance(value, bytes):
            value = _parsed(value)
        if not isinstance(value, list | tuple):
            raise BadValue("not_rows")
        rows = [one(row) for row in value]
        if len(rows) > 1:
            rows.sort(key=place)
        texts = [[None if field is None else field.decode() for field in row] for row in rows]
        named = [dict(zip(fields, row, strict=True)) for row in texts]
        return _encode_json(named) if named else None

    return read


def _parsed(value: bytes) -> object:
    """Parsed JSON; nothing at all is an empty list."""
    try:
        return decode(_decode_json, value)
    except DecodeError:
        document = canonical.document(value)  # which says what is wrong with it
        return [] if document is None else _decode_json(document)


def _python(type_: ColumnType) -> Read:
    """What makes canonical text of any object."""
    if type_.kind is Kind.JSON:
        return _json_of
    parse, convert = parser_of(type_), _converter(type_)

    def read(value: object) -> bytes | None:
        if not isinstance(value, str):
            return convert(value)
        encoded = canonical.check_text(value)
        return encoded if parse is None else parse(encoded)

    return read


@lru_cache(maxsize=4096)
def _reader(type_: ColumnType, dialect: Dialect) -> Read | None:
    """What is done to every value of a column that is neither NULL nor absent; None: nothing."""
    if type_.items:
        read: Read | None = _rows(type_)
    elif dialect is Dialect.TEXT:
        read = parser_of(type_)
    else:
        read = glance_of(type_) if dialect is Dialect.CANONICAL else _python(type_)
    return _with_nulls(type_, dialect, read) if type_.null_values else read


def _with_nulls(type_: ColumnType, dialect: Dialect, read: Read | None) -> Read:
    """NULL where the source's text, or the canonical text, is one that was declared to mean it."""
    nulls = frozenset(word.encode() for word in type_.null_values)
    written: type[Any] = str if dialect is Dialect.PYTHON else bytes
    is_exact = type_.kind is Kind.TEXT and not type_.strip

    def or_null(value: Any) -> bytes | None:
        if isinstance(value, written):
            found: bytes = canonical.check_text(value) if isinstance(value, str) else value
            if (found if is_exact else found.strip()) in nulls:
                return None
        result: bytes | None = read(value) if read else value
        return None if result in nulls else result

    return or_null


def _joined(row: Sequence[Any]) -> bytes:
    """All values of a row or a column, to check at once: no character goes across a comma."""
    try:
        return b",".join(row)
    except TypeError:  # NULL or absent; rare, since a file has neither.
        return b",".join(filter(None, row))


class Normaliser:
    """The compiled plan of one entity. Raises ConfigError for a zone that is not known.

    ``dialect`` is that of all columns, or one per column: PostgreSQL renders a column CANONICAL
    only where its native type is of the declared kind, and hands over TEXT where it is not.
    """

    def __init__(
        self,
        names: Sequence[str],
        types: Sequence[ColumnType],
        dialect: Dialect | Sequence[Dialect],
    ) -> None:
        dialects = [dialect] * len(names) if isinstance(dialect, Dialect) else list(dialect)
        readers = [_reader(type_, of) for type_, of in zip(types, dialects, strict=True)]
        is_raw = [
            type_.kind is Kind.TEXT and of is Dialect.TEXT
            for type_, of in zip(types, dialects, strict=True)
        ]
        self._columns = tuple(zip(names, readers, is_raw, strict=True))
        self._steps = tuple((at, read) for at, read in enumerate(readers) if read is not None)
        self._has_raw_text = any(is_raw)

    def row(self, raw: Sequence[object], place: str = "") -> tuple[Row, tuple[Issue, ...]]:
        """The canonical row and what was wrong with it; ``raw`` has one value per name.

        ``place`` ("file:line") goes into every finding.
        """
        row: list[Any] = list(raw)
        try:
            if self._has_raw_text:
                canonical.check_characters(_joined(row))
            for at, read in self._steps:
                value = row[at]
                if value is not None and value is not MISSING:
                    row[at] = read(value)
        except BadValue:
            return self._carefully(raw, place)
        return tuple(row), ()

    def columns(self, raw: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """``row`` for many rows at once, given and returned as columns.

        A column in which nothing is changed comes back as it is. Raises BadValue when any value
        of any row is bad; then ``row`` says which, and of what row.
        """
        columns = [*raw]
        if self._has_raw_text:
            for (_, _, is_raw_text), column in zip(self._columns, columns, strict=True):
                if is_raw_text:
                    canonical.check_characters(_joined(column))
        for at, read in self._steps:
            columns[at] = [
                value if value is None or value is MISSING else read(value) for value in columns[at]
            ]
        return columns

    def _carefully(self, raw: Sequence[Any], place: str) -> tuple[Row, tuple[Issue, ...]]:
        """As ``row``, one value at a time, since one of them is bad."""
        row: list[Value] = []
        issues: list[Issue] = []
        for (name, read, is_raw_text), value in zip(self._columns, raw, strict=True):
            result = value
            if value is not None and value is not MISSING:
                try:
                    if is_raw_text:
                        canonical.check_characters(value)
                    result = value if read is None else read(value)
                except BadValue as bad:
                    result = MISSING
                    issues.append(Issue(Severity.ERROR, bad.code, field=name, place=place))
            row.append(result)
        return tuple(row), tuple(issues)


_decode_json: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_encode_json: Final = msgspec.json.Encoder().encode
_OBJECTS: Final[dict[Kind, Callable[[bytes], object]]] = {
    Kind.TEXT: bytes.decode,
    Kind.INTEGER: int,
    Kind.DECIMAL: lambda v: Decimal(v.decode()),
    Kind.FLOAT: float,
    Kind.BOOLEAN: b"true".__eq__,
    Kind.DATE: lambda v: date.fromisoformat(v.decode()),
    Kind.TIME: lambda v: time.fromisoformat(v.decode()),
    Kind.TIMESTAMP: lambda v: datetime.fromisoformat(v.decode()),
    Kind.TIMESTAMPTZ: lambda v: datetime.fromisoformat(v.decode()),
    Kind.UUID: lambda v: UUID(v.decode()),
    Kind.BYTES: lambda v: bytes.fromhex(v[2:].decode()),
    Kind.JSON: _decode_json,
}


def to_python(type: ColumnType, value: Value) -> object:  # noqa: A002 - the word for it.
    """The object of a canonical value: NULL is None and MISSING stays MISSING.

    str, int, Decimal, float, bool, date, time, datetime (naive, or aware in UTC), UUID, bytes;
    parsed JSON, in which every number with a point is a Decimal.
    """
    if value is None or value is MISSING:
        return value
    return to_object(type)(value)


def to_object(type: ColumnType) -> Callable[[bytes], object]:  # noqa: A002 - the word for it.
    """``to_python`` for values of one type that are neither NULL nor MISSING."""
    return _OBJECTS[type.kind]


def from_python(type: ColumnType, value: object) -> Value:  # noqa: A002 - the word for it.
    """The canonical value of an object, by the rules of Dialect.PYTHON. Raises BadValue."""
    if value is None or value is MISSING:
        return value
    return from_object(type)(value)


def from_object(type: ColumnType) -> Read:  # noqa: A002 - the word for it.
    """``from_python`` for objects of one type that are neither None nor MISSING."""
    read = _reader(type, Dialect.PYTHON)
    assert read is not None  # an object is never canonical text already
    return read
