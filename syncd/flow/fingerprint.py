"""Keyed hashes of canonical values: what the ledger remembers instead of the data.

All are BLAKE2b, keyed, because an unkeyed hash of a birth date or a postcode can be looked up in
a table. Each use has its own personalisation, so no hash of one use is ever a hash of another.
They depend on the key, the names, the kinds and the canonical values, and on nothing else: not on
driver, column order, locale, time zone or PYTHONHASHSEED (I12, case 65).

A change to any byte that is hashed must raise ``HASH_VERSION``; the golden vectors in the tests
notice when it was forgotten.
"""

from collections.abc import Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import Final

from msgspec import UnsetType
from msgspec.msgpack import Encoder, Ext

from syncd.errors import ConfigError
from syncd.flow.model import MISSING, Column, Row, Value

HASH_VERSION: Final = 1

COLUMN_BYTES: Final = 8
FINGERPRINT_BYTES: Final = 16

_KEY_BYTES_MIN: Final = 16
_KEY_BYTES_MAX: Final = 64  # What BLAKE2b takes.

# One leading byte says what follows, so NULL, absent and '' differ (case 57).
_NULL: Final = b"\x00"
_ABSENT: Final = b"\x01"
_VALUE: Final = b"\x02"

# Most columns of real tables are flags, small counts, codes and blanks. Finding one in a table
# costs 40 ns where hashing costs 360 ns. The table learns the first short values that it meets,
# which the frequent ones are among; it holds 2 MB at most and never leaves the process.
_KNOWN_MAX: Final = 16_384
_KNOWN_BYTES_MAX: Final = 24
_FREQUENT: Final = (b"", b"true", b"false", *(b"%d" % number for number in range(256)))


def _tell(value: object) -> Ext:
    if isinstance(value, UnsetType):
        return Ext(1, b"")
    raise TypeError(f"a row holds canonical values; found {type(value).__name__}")


_encode: Final = Encoder(enc_hook=_tell).encode


class Fingerprint:
    """The compiled fingerprint of one entity; made by ``Hasher.row_plan``."""

    __slots__ = ("_copy", "_order")

    def __init__(self, base: blake2b, columns: Sequence[Column]) -> None:
        order = sorted(range(len(columns)), key=lambda i: columns[i].name)
        base.update(_encode([HASH_VERSION, *([c.name, c.type.kind] for c in _in(order, columns))]))
        self._copy = base.copy
        # itemgetter of one index returns the bare item, so a sorted plan (all of ours are) skips
        # it, and a single column is always sorted.
        self._order = None if order == list(range(len(columns))) else itemgetter(*order)

    def of(self, row: Row) -> bytes:
        """16 bytes; ``row`` is in the order of the columns that were compiled."""
        state = self._copy()
        state.update(_encode(row if self._order is None else self._order(row)))
        return state.digest()


def _in(order: Sequence[int], columns: Sequence[Column]) -> list[Column]:
    return [columns[i] for i in order]


class Hasher:
    """The hashes of one pipeline under one secret key of 16 to 64 bytes.

    The key is not kept and never shown. Raises ConfigError for a key of another length.
    """

    __slots__ = ("_column", "_known", "_line", "_row")

    def __init__(self, key: bytes) -> None:
        if not _KEY_BYTES_MIN <= len(key) <= _KEY_BYTES_MAX:
            raise ConfigError(
                f"ledger.hash_key: expected {_KEY_BYTES_MIN} to {_KEY_BYTES_MAX} bytes, "
                f"found {len(key)}",
                hint="leave it out to have one made on init, or give a longer secret",
            )
        column = blake2b(key=key, digest_size=COLUMN_BYTES, person=b"syncd column")
        self._line = blake2b(key=key, digest_size=COLUMN_BYTES, person=b"syncd line")
        self._row = blake2b(key=key, digest_size=FINGERPRINT_BYTES, person=b"syncd row")
        known: dict[Value, bytes] = {
            None: _digest(column, _NULL),
            MISSING: _digest(column, _ABSENT),
        }
        column.update(_VALUE)
        self._column = column
        self._known = known | {value: _digest(column, value) for value in _FREQUENT}

    def __repr__(self) -> str:
        return "Hasher(key=***)"

    def column(self, value: Value) -> bytes:
        """8 bytes; NULL, MISSING, '' and every other value differ."""
        return self.columns((value,))[0]

    def columns(self, row: Row) -> tuple[bytes, ...]:
        """``column`` of each value, in order."""
        known, copy = self._known.get, self._column.copy
        hashes: list[bytes] = []
        for value in row:
            found = known(value)
            if found is None:
                state = copy()
                state.update(value)  # type: ignore[arg-type]  # None and MISSING are known.
                found = state.digest()
                if len(self._known) < _KNOWN_MAX and len(value) <= _KNOWN_BYTES_MAX:  # type: ignore[arg-type]
                    self._known[value] = found
            hashes.append(found)
        return tuple(hashes)

    def digest(self, data: bytes) -> int:
        """A signed 64-bit number of raw bytes; never 0 or -1, which mean unknown."""
        state = self._line.copy()
        state.update(data)
        return _known(int.from_bytes(state.digest(), "big", signed=True))

    def row_plan(self, columns: Sequence[Column]) -> Fingerprint:
        """The fingerprint of rows of ``columns``, whatever their order."""
        return Fingerprint(self._row.copy(), columns)


def _known(number: int) -> int:
    return 1 if number in (0, -1) else number


def _digest(base: blake2b, data: bytes) -> bytes:
    state = base.copy()
    state.update(data)
    return state.digest()
