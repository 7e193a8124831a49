"""What an ODBC driver hands over, as canonical text (``schemas/types.md``); nothing here waits.

A column's Python class decides how its values are written, and the type of the catalogue where the
class does not say enough: SQL Server's ``real`` comes as a double of which only seven digits are
meant, and ``datetimeoffset`` not at all unless it is converted from its bytes.

Whatever comes is written down, also what is not allowed (a text with NUL, a number that is none):
``flow/normalise.py`` reads the text again and says what is wrong with it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from struct import Struct as Layout
from types import MappingProxyType, NoneType
from typing import Any, Final, TypeAlias
from uuid import UUID

from msgspec import Struct

from syncd.flow import canonical
from syncd.flow.canonical import BadValue
from syncd.flow.model import ColumnType, Found, Kind
from syncd.pg import dialect as pg

Write: TypeAlias = Callable[[Any], bytes]

DATETIMEOFFSET: Final = -155  # SQL_SS_TIMESTAMPOFFSET, which pyodbc does not know
_OFFSET: Final = Layout("<6hI2h")  # year, month, day, hour, minute, second, nanoseconds, offset
_NS_PER_US: Final = 1000
_WHOLE_SECONDS: Final = len("2000-01-01 00:00:00")
_PLAIN_CHARS_MAX: Final = 40  # all that SQL Server has
_REAL: Final = Layout("<f")
_REAL_DIGITS: Final = (6, 7, 8, 9)  # the last always suffices

_NATIVE: Final = re.compile(r"([a-z0-9_ ]+?)(?:\((\d+|max)(?:, ?(\d+))?\))?").fullmatch
_TSQL_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), Kind.INTEGER),
        **dict.fromkeys(("decimal", "numeric", "money", "smallmoney"), Kind.DECIMAL),
        **dict.fromkeys(("float", "real"), Kind.FLOAT),
        "bit": Kind.BOOLEAN,
        "date": Kind.DATE,
        "time": Kind.TIME,
        **dict.fromkeys(("datetime", "datetime2", "smalldatetime"), Kind.TIMESTAMP),
        "datetimeoffset": Kind.TIMESTAMPTZ,
        "uniqueidentifier": Kind.UUID,
        # T-SQL's timestamp is a counter of changes, its old name for rowversion.
        **dict.fromkeys(("binary", "varbinary", "image", "rowversion", "timestamp"), Kind.BYTES),
    }
)
_MONEY_SCALE: Final = 4
# Where nothing but the class is known, the name of a type that SQL Server would have for it.
_CLASS_NAMES: Final[Mapping[type, str]] = MappingProxyType(
    {
        bool: "bit",
        int: "bigint",
        float: "float",
        str: "nvarchar",
        date: "date",
        time: "time",
        datetime: "datetime2",
        UUID: "uniqueidentifier",
        bytes: "varbinary",
        bytearray: "varbinary",
    }
)


def instant_of(raw: bytes) -> str:
    """A ``datetimeoffset`` as the driver's bytes: canonical text in UTC, cut to microseconds."""
    year, month, day, hour, minute, second, ns, offset_h, offset_min = _OFFSET.unpack(raw)
    zone = timezone(timedelta(hours=offset_h, minutes=offset_min))
    local = datetime(year, month, day, hour, minute, second, ns // _NS_PER_US, zone)
    try:
        utc = local.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:  # within hours of the first or the last moment that there is
        return local.isoformat(" ")
    return f"{canonical.stamp_text(utc).decode()}+00"


def _of_text(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair passes here; that it is no character is told later.
        return value.encode("utf-8", "surrogatepass")


def _of_number(value: Decimal) -> bytes:
    text = str(value)
    if "E" not in text and value.is_finite() and len(text) < _PLAIN_CHARS_MAX:
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return text.encode() if text != "-0" else b"0"
    try:
        return canonical.number_text(value)
    except BadValue:
        return str(value).encode()


def _of_float(value: float) -> bytes:
    return canonical.real_text(value)


def _of_real(value: float) -> bytes:
    """The shortest text that reads back as the same single."""
    for digits in _REAL_DIGITS:
        text = f"{value:.{digits}g}"
        if _single(float(text)) == _single(value):
            return canonical.real_text(float(text))
    return canonical.real_text(value)


def _single(value: float) -> bytes:
    try:
        return _REAL.pack(value)
    except OverflowError:
        return b""


def _of_truth(value: bool) -> bytes:  # noqa: FBT001 - one value of a column
    return b"true" if value else b"false"


def _of_bytes(value: bytes) -> bytes:
    return b"\\x" + value.hex().encode()


def _of_uuid(value: UUID) -> bytes:
    return str(value).encode()


def _of_moment(value: datetime) -> bytes:
    text = str(value)
    return (text.rstrip("0") if value.microsecond else text).encode()


def _of_day(value: date) -> bytes:
    return value.isoformat().encode()


_WRITERS: Final[Mapping[type, Write]] = MappingProxyType(
    {
        bool: _of_truth,
        int: b"%d".__mod__,
        float: _of_float,
        Decimal: _of_number,
        str: _of_text,
        bytes: _of_bytes,
        bytearray: _of_bytes,
        date: _of_day,
        time: canonical.clock_text,
        datetime: _of_moment,
        UUID: _of_uuid,
    }
)


def _of_any(value: object) -> bytes:
    """A value of a class that was not announced: SQLite decides that anew for each row."""
    write = _WRITERS.get(type(value))
    return write(value) if write else _of_text(str(value))


def _of_utc(value: datetime) -> bytes:
    """An instant that the driver gave without its offset, in a session whose zone is UTC."""
    return canonical.stamp_text(value) + b"+00"


class Writer(Struct, frozen=True):
    """How values of a column are written: those of the announced class, and any other."""

    announced: type
    write: Write

    def column(self, values: Sequence[Any]) -> Sequence[bytes | None]:
        """A column as canonical text; NULL is None."""
        classes = set(map(type, values))
        if classes == {self.announced}:
            return list(map(self.write, values))
        write = self.write if classes == {self.announced, NoneType} else _of_any
        return [None if value is None else write(value) for value in values]

    def texts(self, values: Sequence[Any], null: str) -> Sequence[str]:
        """The same as texts, with ``null`` in the place of each NULL."""
        classes = set(map(type, values))
        if classes == {str}:
            return values
        if classes == {str, NoneType}:
            return [null if value is None else value for value in values]
        if self.write is _of_moment and classes <= {datetime, NoneType}:
            texts = map(str, values)
            return [null if text == "None" else _moment_text(text) for text in texts]
        # Half of a surrogate pair comes back as it was, and is refused by whoever encodes it.
        column = self.column(values)
        return [null if v is None else v.decode("utf-8", "surrogatepass") for v in column]


def _moment_text(text: str) -> str:
    """Without the zeros at the end of a fraction of a second."""
    return text.rstrip("0") if len(text) > _WHOLE_SECONDS else text


def writer_of(announced: type, native: str) -> Writer:
    """How values of a column are written, by its class and the name of its type."""
    write = _WRITERS.get(announced, _of_any)
    if announced is float and native == "real":
        write = _of_real
    elif announced is datetime and native in ("timestamp with time zone", "datetimeoffset"):
        write = _of_utc
    return Writer(announced, write)


def columns_of(
    rows: Sequence[Sequence[Any]], writers: Sequence[Writer]
) -> list[Sequence[bytes | None]]:
    """Rows of the driver as columns of canonical text."""
    columns = zip(*rows, strict=True)
    return [writer.column(column) for writer, column in zip(writers, columns, strict=True)]


def type_of(native: str, dialect: str) -> ColumnType:
    """The canonical type of a catalogue's type; whatever is not known is text."""
    if dialect != "tsql":
        return pg.column_type(native)
    match = _NATIVE(native)
    name, _, scale = match.groups() if match else (native, None, None)
    kind = _TSQL_KINDS.get(name, Kind.TEXT)
    if name in ("money", "smallmoney"):
        return ColumnType(kind, scale=_MONEY_SCALE)
    return ColumnType(kind, scale=int(scale or 0)) if kind is Kind.DECIMAL else ColumnType(kind)


def announced(description: Sequence[Sequence[Any]]) -> dict[str, Found]:
    """The columns of an answer by what the driver says of them: less than a catalogue does."""
    return {str(column[0]): _found(column) for column in description}


def _found(column: Sequence[Any]) -> Found:
    name, class_, _, _, precision, scale, nullable = column
    if class_ is Decimal:
        native = f"decimal({precision},{scale})"
    else:
        native = _CLASS_NAMES.get(class_, "nvarchar")
    return Found(str(name), native, type_of(native, "tsql"), nullable=bool(nullable))
