"""Keys as bytes whose order is the order of the parts, so that surveys merge plain memory.

A key is its parts one after the other: INTEGER as 8 bytes big-endian with the sign bit flipped,
UUID as its 16 bytes, TEXT and DATE as UTF-8 followed by one zero byte (which no text may hold, so
``a`` sorts before ``ab``). PostgreSQL builds the very same bytes where it is the source.

TEXT parts are brought to NFC: a letter typed as one code point or as two is one record (case 61).
Letter case, accents and trailing blanks are never folded: guessing at a collation merges records
that are not the same (cases 58 to 60).
"""

import re
import struct
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final, TypeAlias
from unicodedata import normalize

from syncd.flow.model import MISSING, Kind, Value

# By these names, because finding a member in its enumeration costs as much as encoding a key.
_INTEGER, _UUID, _TEXT, _DATE = (Kind.INTEGER, Kind.UUID, Kind.TEXT, Kind.DATE)
KEY_KINDS: Final = frozenset({_INTEGER, _UUID, _TEXT, _DATE})

_EncodePart: TypeAlias = Callable[[bytes], bytes]

_INT8: Final = struct.Struct(">Q")
_SIGN: Final = 1 << 63
_UUID_BYTES: Final = 16
_IS_DATE: Final = re.compile(rb"\d{4}-\d\d-\d\d").fullmatch


class KeyIssue(ValueError):  # noqa: N818 - it is a finding about data, told as an Issue.
    """A key that cannot be used; ``code`` is what an Issue about it says.

    null_key, missing_key: a part is NULL or absent. key_range: an integer beyond int8. key_value:
    a part is not canonical text of its kind. key_charset: a text part is not UTF-8 or holds NUL.
    key_kind: this kind cannot be part of a key. key_parts: the number of parts is wrong.
    key_malformed: bytes that no key encodes to.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _integer(part: bytes) -> bytes:
    try:
        number = int(part)
        packed = _INT8.pack(number + _SIGN)
    except struct.error as error:
        raise KeyIssue("key_range", "an integer key is beyond 64 bits") from error
    except ValueError as error:
        raise KeyIssue("key_value", "an integer key is not an integer") from error
    if b"%d" % number != part:
        raise KeyIssue("key_value", "an integer key is not canonical; normalise it first")
    return packed


def _uuid(part: bytes) -> bytes:
    try:
        packed = bytes.fromhex(part.decode("ascii").replace("-", ""))
    except ValueError as error:
        raise KeyIssue("key_value", "a UUID key is not a UUID") from error
    if len(packed) != _UUID_BYTES or _uuid_text(packed) != part:
        raise KeyIssue("key_value", "a UUID key is not canonical; normalise it first")
    return packed


def _uuid_text(packed: bytes) -> bytes:
    digits = packed.hex().encode()
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _text(part: bytes) -> bytes:
    if b"\0" in part:
        raise KeyIssue("key_charset", "a text key holds a NUL character")
    if part.isascii():
        return part + b"\0"
    try:
        return normalize("NFC", part.decode()).encode() + b"\0"
    except UnicodeDecodeError as error:
        raise KeyIssue("key_charset", "a text key is not UTF-8") from error


def _date(part: bytes) -> bytes:
    if not _IS_DATE(part):
        raise KeyIssue("key_value", "a date key is not canonical; normalise it first")
    try:
        date.fromisoformat(part.decode("ascii"))
    except ValueError as error:
        raise KeyIssue("key_value", "a date key is no day of the calendar") from error
    return part + b"\0"


def _absent(part: Value) -> KeyIssue:
    if part is MISSING:
        return KeyIssue("missing_key", "a part of the key is absent from the record")
    return KeyIssue("null_key", "a part of the key is NULL")


def _read_integer(key: bytes, at: int) -> tuple[bytes, int]:
    end = at + _INT8.size
    if end > len(key):
        raise _malformed(key)
    return b"%d" % (int.from_bytes(key[at:end], "big") - _SIGN), end


def _read_uuid(key: bytes, at: int) -> tuple[bytes, int]:
    end = at + _UUID_BYTES
    if end > len(key):
        raise _malformed(key)
    return _uuid_text(key[at:end]), end


def _read_text(key: bytes, at: int, encode: _EncodePart) -> tuple[bytes, int]:
    end = key.find(b"\0", at) + 1
    part = key[at : end - 1]
    try:
        if end and encode(part) == key[at:end]:
            return part, end
    except KeyIssue as issue:
        raise _malformed(key) from issue
    raise _malformed(key)


def _malformed(key: bytes) -> KeyIssue:
    return KeyIssue("key_malformed", f"{len(key)} bytes are not a key of these kinds")


def _unfit(kinds: Sequence[Kind]) -> KeyIssue:
    known = ", ".join(sorted(kind.value for kind in KEY_KINDS))
    found = ", ".join(kind.value for kind in kinds if kind not in KEY_KINDS) or "no part"
    return KeyIssue("key_kind", f"a key is made of {known}; found {found}")


def encode_key(kinds: Sequence[Kind], parts: Sequence[Value]) -> bytes:
    """The key of ``parts`` (canonical values in key order); bytewise order is tuple order.

    Raises KeyIssue.
    """
    if len(kinds) == 1 and kinds[0] is _INTEGER and isinstance(parts[0], bytes):
        return _integer(parts[0])  # the most usual key of all
    if len(kinds) != len(parts):
        raise KeyIssue("key_parts", f"the key has {len(kinds)} parts; found {len(parts)}")
    key = b""
    for kind, part in zip(kinds, parts, strict=True):
        if not isinstance(part, bytes):
            raise _absent(part)
        if kind is _INTEGER:
            key += _integer(part)
        elif kind is _TEXT:
            key += _text(part)
        elif kind is _UUID:
            key += _uuid(part)
        elif kind is _DATE:
            key += _date(part)
        else:
            raise _unfit(kinds)
    if not key:
        raise _unfit(kinds)
    return key


def encode_keys(kinds: Sequence[Kind], parts: Sequence[Sequence[Value]]) -> list[bytes]:
    """``encode_key`` for many records, given a column for each part of the key.

    Raises KeyIssue when any of them cannot be used; ``encode_key`` tells which.
    """
    if tuple(kinds) != (_INTEGER,):
        return [encode_key(kinds, record) for record in zip(*parts, strict=True)]
    try:
        numbers = [*map(int, parts[0])]  # type: ignore[arg-type]  # NULL is a TypeError
        keys = [*map(_INT8.pack, map(_SIGN.__add__, numbers))]
    except (TypeError, ValueError, struct.error) as error:
        raise KeyIssue("key_value", "a column of integer keys holds something else") from error
    if [*map(b"%d".__mod__, numbers)] != [*parts[0]]:
        raise KeyIssue("key_value", "an integer key is not canonical; normalise it first")
    return keys


def decode_key(kinds: Sequence[Kind], key: bytes) -> tuple[bytes, ...]:
    """The canonical texts of a key: the exact inverse of ``encode_key``, but that text is NFC.

    Raises KeyIssue: key_malformed for bytes that ``encode_key`` never returns.
    """
    parts: list[bytes] = []
    at = 0
    for kind in kinds:
        if kind is _INTEGER:
            part, at = _read_integer(key, at)
        elif kind is _TEXT:
            part, at = _read_text(key, at, _text)
        elif kind is _UUID:
            part, at = _read_uuid(key, at)
        elif kind is _DATE:
            part, at = _read_text(key, at, _date)
        else:
            raise _unfit(kinds)
        parts.append(part)
    if at != len(key):
        raise _malformed(key)
    if not parts:
        raise _unfit(kinds)
    return tuple(parts)


def display_key(kinds: Sequence[Kind], key: bytes) -> tuple[str, ...]:
    """The parts of a key as people write them, in key order. Raises KeyIssue like ``decode_key``.

    Keys are identities and may be personal data: for the operator's eyes, never for a metric.
    """
    return tuple(part.decode() for part in decode_key(kinds, key))
