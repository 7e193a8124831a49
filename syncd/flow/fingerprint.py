"""Keyed hashes of canonical values: what the ledger remembers instead of the data.

All are keyed, because an unkeyed hash of a birth date or a postcode can be looked up in a table.
Each use has a key or a personalisation of its own, so no hash of one use is ever a hash of another.
They depend on the key, the names, the kinds and the canonical values, and on nothing else: not on
driver, column order, locale, time zone or PYTHONHASHSEED (I12, case 65).

A change to any byte that is hashed must raise ``HASH_VERSION``; the golden vectors in the tests
notice when it was forgotten.
"""

from collections.abc import Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import Final

from msgspec import msgpack

from syncd.errors import ConfigError
from syncd.flow.model import Column, Hashes, Row, Value
from syncd.flow.value_hash import HASH_BYTES, ValueHash, cut

HASH_VERSION: Final = 2

FINGERPRINT_BYTES: Final = 16

_KEY_BYTES_MIN: Final = 16
_KEY_BYTES_MAX: Final = 64  # What BLAKE2b takes.


class Fingerprint:
    """The compiled fingerprint of one entity; made by ``Hasher.row_plan``."""

    __slots__ = ("_copy", "_order")

    def __init__(self, base: blake2b, columns: Sequence[Column]) -> None:
        order = sorted(range(len(columns)), key=lambda i: columns[i].name)
        named = [(columns[i].name, columns[i].type.kind) for i in order]
        base.update(msgpack.encode((HASH_VERSION, named)))
        self._copy = base.copy
        # itemgetter of one index returns the bare item, so a sorted plan (all of ours are) skips
        # it, and a single column is always sorted.
        self._order = None if order == list(range(len(columns))) else itemgetter(*order)

    def of(self, hashes: Sequence[bytes]) -> list[bytes]:
        """16 bytes for each row's joined hashes, in the order of the compiled columns."""
        prints = []
        for joined in hashes if self._order is None else map(self._ordered, hashes):
            state = self._copy()
            state.update(joined)
            prints.append(state.digest())
        return prints

    def _ordered(self, joined: bytes) -> bytes:
        assert self._order is not None
        return b"".join(self._order(cut(joined)))


class Hasher:
    """The hashes of one pipeline under one secret key of 16 to 64 bytes.

    The key is not kept and never shown. Raises ConfigError for a key of another length.
    """

    __slots__ = ("_line", "_row", "_values")

    def __init__(self, key: bytes) -> None:
        if not _KEY_BYTES_MIN <= len(key) <= _KEY_BYTES_MAX:
            raise ConfigError(
                f"ledger.hash_key: expected {_KEY_BYTES_MIN} to {_KEY_BYTES_MAX} bytes, "
                f"found {len(key)}",
                hint="leave it out to have one made on init, or give a longer secret",
            )
        self._values = ValueHash(key)
        self._line = blake2b(key=key, digest_size=HASH_BYTES, person=b"syncd line")
        self._row = blake2b(key=key, digest_size=FINGERPRINT_BYTES, person=b"syncd row")

    def __repr__(self) -> str:
        return "Hasher(key=***)"

    def column(self, value: Value) -> bytes:
        """8 bytes; NULL, MISSING, '' and every other value differ."""
        return self._values.of((value,))[0]

    def columns(self, row: Row) -> Hashes:
        """``column`` of each value, in order."""
        return tuple(self._values.of(row))

    def rows(self, rows: Sequence[Row]) -> list[Hashes]:
        """``columns`` of each row, all of one width; a column at a time is six times as fast."""
        return list(zip(*map(self._values.of, zip(*rows, strict=True)), strict=True))

    def joined(self, columns: Sequence[Sequence[Value]]) -> list[bytes]:
        """The joined hashes of each row, from the rows' columns: the quickest way of all."""
        width = len(columns)
        rows = memoryview(bytearray(HASH_BYTES * width * len(columns[0]))).cast("Q")
        for at, column in enumerate(columns):
            rows[at::width] = memoryview(self._values.joined(column)).cast("Q")
        return cut(rows.tobytes(), HASH_BYTES * width)

    def digest(self, data: bytes) -> int:
        """A signed 64-bit number of raw bytes; never 0 or -1, which mean unknown."""
        state = self._line.copy()
        state.update(data)
        return _known(int.from_bytes(state.digest(), "big", signed=True))

    def proof(self) -> bytes:
        """What only this key under this ``HASH_VERSION`` gives; it tells nothing of the key."""
        return self.row_plan(()).of([b""])[0]

    def row_plan(self, columns: Sequence[Column]) -> Fingerprint:
        """The fingerprint of rows of ``columns``, whatever their order."""
        return Fingerprint(self._row.copy(), columns)


def _known(number: int) -> int:
    return 1 if number in (0, -1) else number
