"""The rules of each kind: text in any accepted form to the one canonical text.

``schemas/types.md`` is the same as a table. Every parser takes bytes and begins with a line that
recognises canonical text, since nearly all values are canonical already; the careful way follows.
An empty value (blanks are trimmed) is None. A bad one raises BadValue.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from syncd.flow.decode import CHARSET, MALFORMED, DecodeError, decode

Parse: TypeAlias = Callable[[bytes], bytes | None]

INT8_MAX: Final = 2**63 - 1
DIGITS_MAX: Final = 1000  # PostgreSQL takes 131,072; nobody's ledger needs to.
EXPONENT_MAX: Final = 400  # A float's is 308; 1E+1000000000 would be 1 GB of zeros (case 62).
DEPTH_MAX: Final = 64

_TOO_WHOLE: Final = 10**DIGITS_MAX
_ZERO_DIGIT: Final = ord("0")
_DATE_CHARS: Final = 10
_INT8_DIGITS: Final = 19
_OFFSET_HOURS_MAX: Final = 15  # As PostgreSQL: offsets reach 15:59:59.

# Possessive wherever two repeats could share characters: what matches nothing costs no more.
_INTEGER: Final = re.compile(rb"([+-]?)(\d++)").fullmatch
_PLAIN: Final = re.compile(rb"-?(?:0|[1-9]\d*)(?:\.(\d+))?").fullmatch
_DECIMAL: Final = re.compile(rb"([+-]?)(?=\.?\d)(\d*+)\.?(\d*+)(?:[eE]([+-]?)(\d++))?").fullmatch
_NOT_FINITE: Final = re.compile(rb"(?i:[+-]?(?:s?nan\d*|inf|infinity))").fullmatch
_TRUTH: Final = {
    **dict.fromkeys((b"true", b"t", b"yes", b"y", b"on", b"1"), b"true"),
    **dict.fromkeys((b"false", b"f", b"no", b"n", b"off", b"0"), b"false"),
}
_CLOCK: Final = (
    rb"((?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?)"
    rb"(?: ?([Zz]|[+-]\d\d(?::?\d\d(?::?\d\d)?)?))?"
)
_TIME: Final = re.compile(_CLOCK).fullmatch
_MOMENT: Final = re.compile(rb"(\d{4}-\d\d-\d\d)(?:[Tt ]" + _CLOCK + rb")?").fullmatch
_OFFSET: Final = re.compile(rb"([+-])(\d\d):?(\d\d)?:?(\d\d)?").fullmatch
_FAR_MOMENT: Final = re.compile(rb"\d{5,}-.*|\d+-.* BC").fullmatch
# Canonical moments of days that every month has; the others take the careful way.
_STAMP: Final = (
    rb"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    rb" (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{0,5}[1-9])?"
)
_IS_STAMP: Final = re.compile(_STAMP).fullmatch
_IS_STAMP_UTC: Final = re.compile(_STAMP + rb"\+00").fullmatch
_IS_TIME: Final = re.compile(rb"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{0,5}[1-9])?").fullmatch
_IS_UUID: Final = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
).fullmatch
_UUID: Final = re.compile(
    rb"(\{)?([0-9a-f]{8})(-?)([0-9a-f]{4})\3([0-9a-f]{4})\3([0-9a-f]{4})\3([0-9a-f]{12})(?(1)\})"
).fullmatch
_IS_HEX: Final = re.compile(rb"\\x[0-9a-f]*+").fullmatch


class BadValue(ValueError):  # noqa: N818 - it is a finding about data, told as an Issue.
    """A value that its column's type does not accept; ``code`` says why, and never the value."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def text(value: bytes, *, strip: bool, empty_as_null: bool) -> bytes | None:
    """Text as it is but for what was asked; the characters are checked elsewhere."""
    if strip:
        value = value.strip()
    return None if empty_as_null and not value else value


def check_characters(value: bytes) -> None:
    """Raise BadValue unless ``value`` is UTF-8 without NUL (case 61)."""
    if b"\0" in value:
        raise BadValue("charset")
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise BadValue("charset") from error


def integer(value: bytes) -> bytes | None:
    """An integer that fits 64 bits."""
    if value.isdigit() and value[0] != _ZERO_DIGIT and len(value) < _INT8_DIGITS:
        return value
    trimmed = value.strip()
    if not trimmed:
        return None
    match = _INTEGER(trimmed)
    if match is None:
        raise BadValue("not_integer")
    sign, digits = match[1], match[2].lstrip(b"0") or b"0"
    if len(digits) > _INT8_DIGITS:
        raise BadValue("out_of_range")
    return integer_text(-int(digits) if sign == b"-" else int(digits))


def integer_text(number: int) -> bytes:
    """Canonical text of a number that must fit 64 bits."""
    if -INT8_MAX - 1 <= number <= INT8_MAX:
        return b"%d" % number
    raise BadValue("out_of_range")


def decimal(value: bytes, scale: int | None = None) -> bytes | None:
    """A number in plain notation, rounded half away from zero to ``scale`` decimals."""
    match = _PLAIN(value)
    if match is not None and len(value) <= EXPONENT_MAX:
        point = match.start(1)
        kept = value if point < 0 else value.rstrip(b"0").rstrip(b".")
        if scale is None or (scale >= 0 and (point < 0 or len(kept) - point <= scale)):
            return kept if kept != b"-0" else b"0"
    trimmed = value.strip()
    if not trimmed:
        return None
    match = _DECIMAL(trimmed)
    if match is None:
        raise BadValue("not_finite" if _NOT_FINITE(trimmed) else "not_decimal")
    sign, whole, fraction, exponent_sign, exponent = match.groups(b"")
    exponent = exponent.lstrip(b"0")
    if len(exponent) > len(b"999999999") and (whole + fraction).strip(b"0"):
        raise BadValue("exponent")
    power = int(exponent[:9] or 0)
    power = -power if exponent_sign == b"-" else power
    return _plain(sign == b"-", whole + fraction, power - len(fraction), scale)


def _plain(negative: bool, digits: bytes, exponent: int, scale: int | None) -> bytes:  # noqa: FBT001
    """Digits times a power of ten, written out once that is known to be short."""
    digits = digits.lstrip(b"0")
    kept = digits.rstrip(b"0")
    if not kept:
        return b"0"
    exponent += len(digits) - len(kept)
    if abs(exponent) > EXPONENT_MAX:
        raise BadValue("exponent")
    if max(len(kept), -exponent) + max(exponent, 0) > DIGITS_MAX:
        raise BadValue("out_of_range")
    if scale is not None and -exponent > scale:
        unit = 10 ** (-exponent - scale)
        return _plain(negative, b"%d" % ((int(kept) + unit // 2) // unit), -scale, None)
    sign = b"-" if negative else b""
    if exponent >= 0:
        return sign + kept + b"0" * exponent
    kept = kept.rjust(1 - exponent, b"0")
    return sign + kept[:exponent] + b"." + kept[exponent:]


def real(value: bytes) -> bytes | None:
    """A double, as the shortest text that reads back the same."""
    try:
        number = float(value)
    except ValueError as error:
        if not value.strip():
            return None
        raise BadValue("not_float") from error
    if b"_" in value:  # Python's own digit groups; nobody else's.
        raise BadValue("not_float")
    if number == 0.0 and value.lower().partition(b"e")[0].strip(b"+-0. \t\r\n\v\f"):
        raise BadValue("out_of_range")  # Too small to be told from 0 (case 62).
    if number - number != 0.0:
        raise BadValue("not_finite" if _NOT_FINITE(value.strip()) else "out_of_range")
    return real_text(number)


def real_text(number: float) -> bytes:
    """Canonical text of a finite double."""
    return repr(number or 0.0).encode()  # -0.0 is 0.0.


def boolean(value: bytes) -> bytes | None:
    """Truth, in the words that files use."""
    known = _TRUTH.get(value)
    if known is not None:
        return known
    trimmed = value.strip()
    if not trimmed:
        return None
    known = _TRUTH.get(trimmed.lower())
    if known is None:
        raise BadValue("not_boolean")
    return known


def day(value: bytes) -> bytes | None:
    """A date; a time behind it must be midnight, for dropping any other loses something."""
    if len(value) == _DATE_CHARS and value[4:5] == b"-" == value[7:8]:
        try:
            date.fromisoformat(value.decode())
        except ValueError as error:
            raise BadValue("not_date") from error
        return value
    trimmed = value.strip()
    if not trimmed:
        return None
    moment, offset = _moment(trimmed, "not_date")
    if offset is not None:
        raise BadValue("unexpected_offset")
    return day_text(moment)


def day_text(moment: datetime) -> bytes:
    """Canonical date of a moment that must be midnight."""
    if moment.time() != time.min:
        raise BadValue("not_date")
    return moment.date().isoformat().encode()


def clock(value: bytes) -> bytes | None:
    """A time of day, truncated to microseconds."""
    if _IS_TIME(value):
        return value
    trimmed = value.strip()
    if not trimmed:
        return None
    match = _TIME(trimmed)
    if match is None:
        raise BadValue("not_time")
    written, offset = match.groups()
    if offset is not None:
        raise BadValue("unexpected_offset")
    return clock_text(time.fromisoformat(written.decode()))


def clock_text(moment: time) -> bytes:
    """Canonical text of a time without an offset."""
    written = moment.isoformat()
    return (written.rstrip("0") if moment.microsecond else written).encode()


def stamp(value: bytes) -> bytes | None:
    """A local moment, truncated to microseconds; an offset is refused, not dropped."""
    if _IS_STAMP(value):
        return value
    trimmed = value.strip()
    if not trimmed:
        return None
    moment, offset = _moment(trimmed, "not_timestamp")
    if offset is not None:
        raise BadValue("unexpected_offset")
    return stamp_text(moment)


def stamp_text(moment: datetime) -> bytes:
    """Canonical text of a naive moment."""
    written = moment.isoformat(" ")
    return (written.rstrip("0") if moment.microsecond else written).encode()


def _moment(value: bytes, code: str) -> tuple[datetime, timedelta | None]:
    """The naive moment and the offset from UTC that was written behind it."""
    match = _MOMENT(value)
    if match is None:
        if _NOT_FINITE(value):
            raise BadValue("not_finite")
        raise BadValue("out_of_range" if _FAR_MOMENT(value) else code)
    written, behind, offset = match.groups(b"")
    try:
        # More than six decimals are cut off there, never rounded.
        moment = datetime.fromisoformat(f"{written.decode()} {behind.decode() or '00:00'}")
        return moment, _offset(offset) if offset else None
    except ValueError as error:
        raise BadValue(code) from error


@lru_cache(maxsize=256)
def _offset(value: bytes) -> timedelta:
    """An offset as written; raises ValueError when it is none."""
    match = _OFFSET(value)
    if match is None:  # Z
        return timedelta(0)
    sign, hours, minutes, seconds = match.groups(b"")
    written = time(int(hours), int(minutes or 0), int(seconds or 0))
    if written.hour > _OFFSET_HOURS_MAX:
        raise ValueError("offset")
    offset = timedelta(hours=written.hour, minutes=written.minute, seconds=written.second)
    return -offset if sign == b"-" else offset


def instant(value: bytes, zone: tzinfo = UTC, fold: str = "reject") -> bytes | None:
    """A moment in UTC; text without an offset is local time in ``zone``."""
    if _IS_STAMP_UTC(value):
        return value
    trimmed = value.strip()
    if not trimmed:
        return None
    moment, offset = _moment(trimmed, "not_timestamp")
    return instant_text(moment, offset, zone, fold)


def instant_text(moment: datetime, offset: timedelta | None, zone: tzinfo, fold: str) -> bytes:
    """Canonical text of a naive moment at ``offset``, or in ``zone`` where that is None."""
    try:
        utc = _local_to_utc(moment, zone, fold) if offset is None else moment - offset
    except OverflowError as error:
        raise BadValue("out_of_range") from error
    return stamp_text(utc) + b"+00"


def _local_to_utc(local: datetime, zone: tzinfo, fold: str) -> datetime:
    """What ``fold`` says of a local time that occurs twice or never (case 53).

    Both have two offsets, hence two instants; ``earlier`` and ``later`` choose between these.
    """
    before = zone.utcoffset(local.replace(tzinfo=zone, fold=0)) or timedelta(0)
    after = zone.utcoffset(local.replace(tzinfo=zone, fold=1)) or timedelta(0)
    if before == after:
        return local - before
    if fold == "reject":
        raise BadValue("ambiguous_local_time" if before > after else "nonexistent_local_time")
    return local - (max(before, after) if fold == "earlier" else min(before, after))


def identifier(value: bytes) -> bytes | None:
    """A UUID."""
    if _IS_UUID(value):
        return value
    trimmed = value.strip()
    if not trimmed:
        return None
    match = _UUID(trimmed.lower())
    if match is None:
        raise BadValue("not_uuid")
    return b"-".join(match.group(2, 4, 5, 6, 7))


def octets(value: bytes) -> bytes | None:
    r"""Bytes as ``\x`` and hexadecimal digits."""
    if _is_octets(value):
        return value
    trimmed = value.strip().lower()
    if not trimmed:
        return None
    if not _is_octets(trimmed):
        raise BadValue("not_bytes")
    return trimmed


def _is_octets(value: bytes) -> bool:
    # A repeated pair would cost 60 bytes of memory for each; a repeated character costs none.
    return len(value) % 2 == 0 and _IS_HEX(value) is not None


def document(value: bytes) -> bytes | None:
    """JSON, compact, members sorted, equal numbers written equally; the last of a name wins."""
    trimmed = value.strip()
    if not trimmed:
        return None
    try:
        tree = decode(_decode, trimmed)
    except DecodeError as error:
        raise _json_issue(trimmed, error) from error
    openings = trimmed.count(b"[") + trimmed.count(b"{")
    if openings > DEPTH_MAX or len(trimmed) > DIGITS_MAX or b"\\u0000" in trimmed:
        return document_text(tree)
    return _encode(tree)


def document_text(tree: object) -> bytes:
    """Canonical JSON of parsed JSON: dict, list, tuple, str, bool, None and numbers."""
    return _encode(_checked(tree, 0))


def _number(written: str) -> msgspec.Raw:
    return msgspec.Raw(decimal(written.encode()) or b"")


_decode: Final = msgspec.json.Decoder(float_hook=_number).decode
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]").search


def _json_issue(value: bytes, error: DecodeError) -> BadValue:
    said = error.__cause__
    if said is not None and isinstance(said.__cause__, BadValue):
        return said.__cause__
    if error.code != MALFORMED:
        return BadValue(error.code)
    surrogate = isinstance(said, msgspec.MsgspecError) and _SURROGATE(value)
    return BadValue(CHARSET if surrogate else "not_json")


def _checked(node: object, depth: int) -> object:
    """``node`` with its numbers canonical; raises BadValue for what JSON or PostgreSQL refuses."""
    match node:
        case None | bool() | msgspec.Raw():
            return node
        case str():
            check_text(node)
            return node
        case int():
            return msgspec.Raw(whole_text(node))
        case float() | Decimal():
            return msgspec.Raw(number_text(node))
        case dict():
            deeper = _deeper(depth)
            return {_member(name): _checked(item, deeper) for name, item in node.items()}
        case list() | tuple():
            deeper = _deeper(depth)
            return [_checked(item, deeper) for item in node]
        case _:
            raise BadValue("not_json")


def _deeper(depth: int) -> int:
    if depth == DEPTH_MAX:
        raise BadValue("too_deep")
    return depth + 1


def _member(name: object) -> str:
    if not isinstance(name, str):
        raise BadValue("not_json")
    check_text(name)
    return name


def check_text(value: str) -> bytes:
    """UTF-8 of ``value``; raise BadValue for NUL and lone surrogates."""
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise BadValue("charset") from error
    if b"\0" in encoded:
        raise BadValue("charset")
    return encoded


def whole_text(number: int) -> bytes:
    """Canonical text of an integer of any size that a decimal may have."""
    if abs(number) >= _TOO_WHOLE:
        raise BadValue("out_of_range")
    return b"%d" % number


def number_text(number: Decimal | float, scale: int | None = None) -> bytes:
    """Canonical text of a number as a decimal; a float counts as its shortest text."""
    return decimal(str(number).encode(), scale) or b""
