"""The keys of a file in order, on disk, with what is needed to read their records.

Two streams are written: survey records, exactly as ``syncd.flow.ports.Block`` wants them, and the
locations of their rows. A survey is then plain reading, and a key is found by the first key of its
block. In memory there is one line per block, 256 KiB of records.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, islice
from operator import eq, itemgetter
from pathlib import Path
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from syncd.errors import SourceError
from syncd.flow.ports import Block
from syncd.sources.sorted_index import FLAWED, SIZE_MASK, TAIL, TWICE
from syncd.sources.spool import Spool

BLOCK_BYTES: Final = 256 * 1024
# A column of which so many records share one value is no key; they are held in memory meanwhile.
SAME_KEY_MAX: Final = 65_536

_HEAD: Final = Layout(">HI")  # number of fields, length of the key
_DIGEST: Final = Layout(">Iq")  # length of the digest, digest
_DIGEST_HEAD: Final = b"\x00\x00\x00\x08"
_DIGEST_BYTES: Final = 8
_LOCATION: Final = Layout(">QII")


class Located(Struct, frozen=True):
    """A key, its digest, and where its record stands.

    ``is_flawed``: the record is not sound. ``is_twice``: other records have the key, with other
    content.
    """

    key: bytes
    digest: int
    offset: int
    size: int
    line: int
    is_flawed: bool
    is_twice: bool


class Repeated(Struct, frozen=True):
    """A record whose key stood in the file before; ``is_same`` when all of them are equal."""

    line: int
    is_same: bool


class _Stored(Struct, frozen=True):
    """A block in the two files: its records, and its locations with what finds the records."""

    first_key: bytes
    records: int
    at: int
    size: int
    locations_at: int


def first_of_each(
    batches: Iterator[list[bytes]],
) -> Iterator[tuple[list[bytes], list[Repeated]]]:
    """From sorted entries, one for each key; and those that repeat a key.

    Raises SourceError when more than ``SAME_KEY_MAX`` records share a key.
    """
    held: list[bytes] = []  # All entries of the last key: more of them may follow.
    for batch in batches:
        entries = held + batch
        keys = [entry[: -TAIL.size] for entry in entries]
        if any(map(eq, keys, islice(keys, 1, None))):
            *groups, held = (list(group) for _, group in groupby(entries, _key))
            if len(held) > SAME_KEY_MAX:
                raise SourceError(
                    f"more than {SAME_KEY_MAX} records share one key",
                    hint="check the entity's 'key'; blanks mean NULL with empty_as_null: true",
                )
            yield _settle(groups)
        else:
            held = [entries.pop()]
            yield entries, []
    if held:
        yield _settle([held])


def _key(entry: bytes) -> bytes:
    return entry[: -TAIL.size]


def _settle(groups: list[list[bytes]]) -> tuple[list[bytes], list[Repeated]]:
    firsts: list[bytes] = []
    repeated: list[Repeated] = []
    for first, *others in groups:
        if others:
            offset, size, line, digest = TAIL.unpack_from(first, len(first) - TAIL.size)
            tails = [TAIL.unpack_from(other, len(other) - TAIL.size) for other in others]
            is_same = digest != 0 and all((t[1], t[3]) == (size, digest) for t in tails)
            repeated += [Repeated(tail[2], is_same) for tail in tails]
            if not is_same:
                first = _key(first) + TAIL.pack(offset, size | TWICE, line, 0)  # noqa: PLW2901
        firsts.append(first)
    return firsts, repeated


class KeyIndex:
    """Written once in key order, then read. ``key_bytes`` is the length of all keys, or 0."""

    def __init__(self, spool_dir: Path | None, key_bytes: int) -> None:
        self.keys = 0
        self._key_bytes = key_bytes
        self._records = Spool(spool_dir)
        self._locations = Spool(spool_dir)
        self._stored: list[_Stored] = []
        self._pending = bytearray()
        self._pending_locations = bytearray()
        self._pending_records = 0
        self._pending_sizes = array("I")  # Stays empty where all keys have one length.
        self._first_key = b""

    def append(self, entries: Sequence[bytes]) -> None:
        """Take sorted entries, one for each key, that follow those taken before."""
        if not entries:
            return
        if not self._pending_records:
            self._first_key = _key(entries[0])
        if self._key_bytes:
            records, locations = _columns(entries, self._key_bytes)
        else:
            parts = [_record(entry) for entry in entries]
            self._pending_sizes.extend(map(len, parts))
            records = bytearray().join(parts)
            locations = bytearray().join([e[-TAIL.size : -_DIGEST_BYTES] for e in entries])
        self._pending += records
        self._pending_locations += locations
        self._pending_records += len(entries)
        if len(self._pending) >= BLOCK_BYTES:
            self._write_block()

    def finish(self) -> None:
        """Everything was appended."""
        if self._pending_records:
            self._write_block()

    def blocks(self) -> Iterator[Block]:
        """The survey records, a block at a time."""
        width = _HEAD.size + self._key_bytes + _DIGEST.size if self._key_bytes else 0
        for stored in self._stored:
            yield Block(self._records.read_at(stored.at, stored.size), width)

    def located(self) -> Iterator[list[Located]]:
        """Every key in order, a block at a time."""
        for stored in self._stored:
            block = self._load(stored)
            yield [block.located(at) for at in range(stored.records)]

    def find(self, keys: Sequence[bytes]) -> list[Located]:
        """Those of ``keys`` (ascending) that are there, in the same order."""
        found: list[Located] = []
        firsts = [stored.first_key for stored in self._stored]
        numbers = (bisect_right(firsts, key) - 1 for key in keys)
        for number, pairs in groupby(zip(numbers, keys, strict=True), itemgetter(0)):
            if number >= 0:
                block = self._load(self._stored[number])
                found += filter(None, (block.find(key) for _, key in pairs))
        return found

    def close(self) -> None:
        """Give the room back. May be called twice."""
        self._records.close()
        self._locations.close()

    def _write_block(self) -> None:
        self._stored.append(
            _Stored(
                first_key=self._first_key,
                records=self._pending_records,
                at=self._records.size,
                size=len(self._pending),
                locations_at=self._locations.size,
            )
        )
        self._records.append(self._pending)
        self._locations.append(self._pending_locations)
        if not self._key_bytes:
            bounds = array("I", accumulate(self._pending_sizes, initial=0))
            self._locations.append(bounds.tobytes())
        self.keys += self._pending_records
        self._pending, self._pending_locations = bytearray(), bytearray()
        self._pending_records, self._pending_sizes = 0, array("I")

    def _load(self, stored: _Stored) -> "_Block":
        data = self._records.read_at(stored.at, stored.size)
        size = stored.records * _LOCATION.size
        if self._key_bytes:
            width = _HEAD.size + self._key_bytes + _DIGEST.size
            bounds: Sequence[int] = range(0, stored.size + 1, width)
            locations = self._locations.read_at(stored.locations_at, size)
        else:
            bounds = array("I")
            more = (stored.records + 1) * bounds.itemsize
            locations = self._locations.read_at(stored.locations_at, size + more)
            bounds.frombytes(locations[size:])
        return _Block(data, bounds, locations)


class _Block:
    """A block in memory; record n stands from ``bounds[n]`` to ``bounds[n + 1]``."""

    def __init__(self, data: bytes, bounds: Sequence[int], locations: bytes) -> None:
        self._data = data
        self._bounds = bounds
        self._locations = locations

    def key(self, at: int) -> bytes:
        """The key of a record."""
        return self._data[self._bounds[at] + _HEAD.size : self._bounds[at + 1] - _DIGEST.size]

    def find(self, key: bytes) -> Located | None:
        """The record with that key."""
        records = range(len(self._bounds) - 1)
        at = bisect_left(records, key, key=self.key)
        return self.located(at) if at in records and self.key(at) == key else None

    def located(self, at: int) -> Located:
        """A record by its number."""
        _, digest = _DIGEST.unpack_from(self._data, self._bounds[at + 1] - _DIGEST.size)
        offset, size, line = _LOCATION.unpack_from(self._locations, at * _LOCATION.size)
        return Located(
            key=self.key(at),
            digest=digest,
            offset=offset,
            size=size & SIZE_MASK,
            line=line,
            is_flawed=bool(size & FLAWED),
            is_twice=bool(size & TWICE),
        )


def _columns(entries: Sequence[bytes], key_bytes: int) -> tuple[bytearray, bytearray]:
    """Survey records and locations of entries of one size.

    Every byte of an entry is copied for all entries at once, by one slice with a stride: a tenth
    of the time of putting the records together one by one.
    """
    data, width = b"".join(entries), key_bytes + TAIL.size
    empty = _HEAD.pack(2, key_bytes) + bytes(key_bytes) + _DIGEST_HEAD + bytes(_DIGEST_BYTES)
    records = bytearray(empty * len(entries))
    key_at, digest_at = _HEAD.size, len(empty) - _DIGEST_BYTES
    for at in range(key_bytes):
        records[key_at + at :: len(empty)] = data[at::width]
    for at in range(_DIGEST_BYTES):
        records[digest_at + at :: len(empty)] = data[width - _DIGEST_BYTES + at :: width]
    locations = bytearray(_LOCATION.size * len(entries))
    for at in range(_LOCATION.size):
        locations[at :: _LOCATION.size] = data[key_bytes + at :: width]
    return records, locations


def _record(entry: bytes) -> bytes:
    key = _key(entry)
    return _HEAD.pack(2, len(key)) + key + _DIGEST_HEAD + entry[-_DIGEST_BYTES:]
