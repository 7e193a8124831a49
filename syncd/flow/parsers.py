"""What is done to the text of a column: the parsers of ``canonical.py``, chosen by type."""

from collections.abc import Callable
from datetime import UTC, tzinfo
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from syncd.errors import ConfigError
from syncd.flow import canonical
from syncd.flow.model import ColumnType, Kind


def zone_of(name: str) -> tzinfo:
    """The zone of that IANA name; UTC needs no database of zones. Raises ConfigError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise ConfigError(
            f"zone {name!r} is not known on this machine",
            hint="use a name of the IANA database, such as Europe/London",
        ) from error


_PARSERS: Final[dict[Kind, canonical.Parse]] = {
    Kind.INTEGER: canonical.integer,
    Kind.FLOAT: canonical.real,
    Kind.BOOLEAN: canonical.boolean,
    Kind.DATE: canonical.day,
    Kind.TIME: canonical.clock,
    Kind.TIMESTAMP: canonical.stamp,
    Kind.UUID: canonical.identifier,
    Kind.BYTES: canonical.octets,
    Kind.JSON: canonical.document,
}


def parser_of(type_: ColumnType) -> canonical.Parse | None:
    """What is done to the text of a value; None where it stays as it is."""
    match type_.kind:
        case Kind.TEXT:
            if not (type_.strip or type_.empty_as_null):
                return None
            return partial(canonical.text, strip=type_.strip, empty_as_null=type_.empty_as_null)
        case Kind.DECIMAL if type_.scale is None:
            return canonical.decimal
        case Kind.DECIMAL:
            return partial(canonical.decimal, scale=type_.scale)
        case Kind.TIMESTAMPTZ:
            return partial(canonical.instant, zone=zone_of(type_.zone), fold=type_.fold)
        case kind:
            return _PARSERS[kind]


def glance_of(type_: ColumnType) -> canonical.Parse | None:
    """As ``parser_of``, for text that the server made canonical already.

    A glance finds what it renders and we refuse (NaN, infinity, years before 1 and after 9999,
    24:00:00) and what is longer than declared, and sends that the careful way.
    """
    if type_.kind in _SURE:
        return None
    parse, glance = parser_of(type_), _GLANCES.get(type_.kind)
    if parse is None or glance is None:
        return parse
    return glance(parse, type_)


_SURE: Final = frozenset({Kind.INTEGER, Kind.BOOLEAN, Kind.UUID, Kind.BYTES})
_NINE: Final = ord("9")
_SHORT: Final = canonical.EXPONENT_MAX
_DATE_CHARS: Final = 10
# A point and fifteen digits: no other text of so few is the same double, so whoever prints it with
# as few digits as it takes prints these.
_SURE_FLOAT_CHARS: Final = 16


def _glance_decimal(parse: canonical.Parse, type_: ColumnType) -> canonical.Parse:
    scale = type_.scale
    if scale is None:
        return lambda v: v if v[-1] <= _NINE and len(v) <= _SHORT else parse(v)
    if scale < 0:
        return parse
    whole = slice(-1 - scale)  # A point in there has too many decimals behind it.
    return lambda v: v if v[-1] <= _NINE and b"." not in v[whole] and len(v) <= _SHORT else parse(v)


_GLANCES: Final[dict[Kind, Callable[[canonical.Parse, ColumnType], canonical.Parse]]] = {
    Kind.DECIMAL: _glance_decimal,
    Kind.FLOAT: lambda parse, _: (
        lambda v: v if b"." in v and len(v) <= _SURE_FLOAT_CHARS and b"e" not in v else parse(v)
    ),
    Kind.DATE: lambda parse, _: lambda v: v if len(v) == _DATE_CHARS else parse(v),
    Kind.TIME: lambda parse, _: lambda v: v if v < b"24" else parse(v),
    Kind.TIMESTAMP: lambda parse, _: lambda v: v if v[4:5] == b"-" and v[-1] <= _NINE else parse(v),
    Kind.TIMESTAMPTZ: lambda parse, _: (
        lambda v: v if v[4:5] == b"-" and v[-3:] == b"+00" else parse(v)
    ),
}
