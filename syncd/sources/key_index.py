"""The keys of a file in order, on disk, with what is needed to read their records.

Two streams are written: survey records, exactly as ``syncd.flow.ports.Block`` wants them, and the
locations of their rows. A survey is then plain reading, and a key is found by the first key of its
block. In memory there is one line per block, 256 KiB of records.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby, islice, pairwise
from operator import eq
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
    """A block in the two files."""

    first_key: bytes
    at: int
    size: int
    first_record: int
    records: int


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
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def append(self, entries: Sequence[bytes]) -> None:
        """Take sorted entries, one for each key, that follow those taken before."""
        if not entries:
            return
        self._locations.append(b"".join([e[-TAIL.size : -_DIGEST_BYTES] for e in entries]))
        width = self._key_bytes
        if width:
            head = _HEAD.pack(2, width)
            records = [
                head + entry[:width] + _DIGEST_HEAD + entry[-_DIGEST_BYTES:] for entry in entries
            ]
        else:
            records = [_record(entry) for entry in entries]
        self._pending += records
        self._pending_bytes += sum(map(len, records))
        if self._pending_bytes >= BLOCK_BYTES:
            self._write_block()

    def finish(self) -> None:
        """Everything was appended."""
        if self._pending:
            self._write_block()

    def blocks(self) -> Iterator[Block]:
        """The survey records, a block at a time."""
        width = _HEAD.size + self._key_bytes + _DIGEST.size if self._key_bytes else 0
        for stored in self._stored:
            yield Block(self._records.read_at(stored.at, stored.size), width)

    def located(self) -> Iterator[list[Located]]:
        """Every key in order, a block at a time."""
        for stored in self._stored:
            keys, data = self._keys(stored)
            yield [
                self._located(key, end, data, where)
                for (key, end), where in zip(keys, self._where(stored), strict=True)
            ]

    def find(self, keys: Sequence[bytes]) -> list[Located]:
        """Those of ``keys`` (ascending) that are there, in the same order."""
        found: list[Located] = []
        firsts = [stored.first_key for stored in self._stored]
        numbers = (bisect_right(firsts, key) - 1 for key in keys)
        by_block = groupby(zip(numbers, keys, strict=True), lambda pair: pair[0])
        for number, pairs in by_block:
            if number >= 0:
                found += self._find_in(self._stored[number], [key for _, key in pairs])
        return found

    def close(self) -> None:
        """Give the room back. May be called twice."""
        self._records.close()
        self._locations.close()

    def _write_block(self) -> None:
        first, data = self._pending[0], b"".join(self._pending)
        self._stored.append(
            _Stored(
                first_key=first[_HEAD.size : -_DIGEST.size],
                at=self._records.size,
                size=len(data),
                first_record=self.keys,
                records=len(self._pending),
            )
        )
        self._records.append(data)
        self.keys += len(self._pending)
        self._pending, self._pending_bytes = [], 0

    def _find_in(self, stored: _Stored, wanted: Sequence[bytes]) -> list[Located]:
        keys, data = self._keys(stored)
        where, found = self._where(stored), list[Located]()
        for key in wanted:
            at = bisect_left(keys, key, key=lambda pair: pair[0])
            if at < len(keys) and keys[at][0] == key:
                found.append(self._located(key, keys[at][1], data, where[at]))
        return found

    def _keys(self, stored: _Stored) -> tuple[list[tuple[bytes, int]], bytes]:
        """Each key of a block with where its record ends, and the records."""
        data = self._records.read_at(stored.at, stored.size)
        ends = [0]
        while ends[-1] < len(data):
            _, size = _HEAD.unpack_from(data, ends[-1])
            ends.append(ends[-1] + _HEAD.size + size + _DIGEST.size)
        return [(data[a + _HEAD.size : b - _DIGEST.size], b) for a, b in pairwise(ends)], data

    def _where(self, stored: _Stored) -> list[tuple[int, ...]]:
        at, size = stored.first_record * _LOCATION.size, stored.records * _LOCATION.size
        return list(_LOCATION.iter_unpack(self._locations.read_at(at, size)))

    def _located(self, key: bytes, end: int, data: bytes, where: tuple[int, ...]) -> Located:
        offset, size, line = where
        _, digest = _DIGEST.unpack_from(data, end - _DIGEST.size)
        return Located(
            key=key,
            digest=digest,
            offset=offset,
            size=size & SIZE_MASK,
            line=line,
            is_flawed=bool(size & FLAWED),
            is_twice=bool(size & TWICE),
        )


def _record(entry: bytes) -> bytes:
    key = entry[: -TAIL.size]
    return _HEAD.pack(2, len(key)) + key + _DIGEST_HEAD + entry[-_DIGEST_BYTES:]
