"""What COPY sends, cut into blocks of keys or batches of rows, each proved to ascend.

Two collectors with one shape: ``feed`` takes a piece of the stream, which may end anywhere, and
returns what is complete; ``finish`` returns the rest. The last record is always held back, since
the next may bear the same key. Nothing here waits.
"""

from collections.abc import Sequence
from itertools import islice, pairwise
from operator import lt
from struct import Struct as Packer
from struct import iter_unpack
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from syncd.errors import SourceError
from syncd.flow.keys import KeyIssue, encode_key, encode_keys
from syncd.flow.model import Issue, Kind, Read, ReadColumns, Row, Severity
from syncd.flow.normalise import BadValue, Normaliser
from syncd.flow.ports import Block, Tell
from syncd.pg.dialect import split_copy_line, split_copy_text

RECORD_BYTES: Final = 18  # of a record without its key
BLOCK_BYTES: Final = 256 * 1024
_HEADER_BYTES: Final = 19
_TRAILER: Final = b"\xff\xff"
_HEAD: Final = 6  # field count (2) and length of the key (4)
_TAIL: Final = 12  # length of the digest (4) and the digest (8)
_DIGEST: Final = 8
_UNKNOWN: Final = bytes(_DIGEST)
_COUNT_AND_LENGTH: Final = Packer(">hi")
_NULL: Final = b"\xff\xff\xff\xff"

_T = TypeVar("_T")


class Collector(Protocol[_T]):
    """Takes a stream in pieces of any size; ``rows`` counts the source's rows so far."""

    rows: int

    def feed(self, piece: bytes) -> "list[_T]":
        """What is complete now. Raises SourceError when keys do not ascend (case 45)."""

    def finish(self) -> "list[_T]":
        """What is left. Raises SourceError when the stream was cut off."""


def out_of_order(key_field: str) -> SourceError:
    """The error for keys that do not ascend bytewise."""
    return SourceError(
        f"the source does not deliver the key {key_field} in strictly ascending byte order; "
        "nothing was concluded from this read",
        hint="the database orders it in another way than by its bytes; report its encoding",
    )


def cut_off() -> SourceError:
    """The error for a stream without its end."""
    return SourceError("the source's answer was cut off; nothing was concluded from this read")


class KeyRecords:
    """Binary COPY of (key, digest) as blocks of the same bytes.

    ``width`` is the size of a record when all have the same, else 0. A record whose key is NULL
    is told and left out; a key that occurs again is told each time and has the digest 0.
    """

    def __init__(
        self, width: int, key_field: str, tell: Tell, *, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self.rows = 0
        self._width = width
        self._key_field = key_field
        self._tell = tell
        self._block_bytes = block_bytes
        self._pending = bytearray()
        self._skip = _HEADER_BYTES
        self._held = b""
        self._last = b""
        self._head = _COUNT_AND_LENGTH.pack(2, width - RECORD_BYTES)
        self._key_format = f"{_HEAD}x{max(width - RECORD_BYTES, 0)}s{_TAIL}x"

    def feed(self, piece: bytes) -> list[Block]:
        """At most one block, as soon as there is enough for it."""
        self._pending += piece
        if len(self._pending) < self._block_bytes + self._skip:
            return []
        return self._cut()

    def finish(self) -> list[Block]:
        """The last block; the stream must have ended with its trailer."""
        # Again, since what is shorter than a record may be one whose key is NULL.
        blocks = self._cut() + self._cut()
        if bytes(self._pending) != _TRAILER:
            raise cut_off()
        if self._held:
            blocks.append(Block(self._held, self._width))
            self._held = b""
        return blocks

    def _cut(self) -> list[Block]:
        if len(self._pending) < self._skip:
            return []
        data = bytes(self._pending[self._skip :])
        self._skip = 0
        whole = self._alike(data) if self._width else None
        if whole is None:
            ends = _ends(data)
            whole = data[: ends[-1]] if ends else b""
            block = self._taken(whole, ends)
        else:
            self.rows += len(whole) // self._width
            block = self._held + whole[: -self._width]
            self._held = whole[-self._width :]
        self._pending = bytearray(data[len(whole) :])
        return [Block(block, self._width)] if block else []

    def _alike(self, data: bytes) -> bytes | None:
        """The whole records of ``data``, when they need no second look; else None.

        Their heads are compared a column of bytes at a time, so a block costs six comparisons
        and its keys one pass.
        """
        width, head = self._width, self._head
        count = len(data) // width
        whole = data[: count * width]
        if not count or any(whole[at::width] != head[at : at + 1] * count for at in range(_HEAD)):
            return None
        keys = [key for (key,) in iter_unpack(self._key_format, whole)]
        if keys[0] <= self._last or not all(map(lt, keys, islice(keys, 1, None))):
            return None
        self._last = keys[-1]
        return whole

    def _taken(self, data: bytes, ends: list[int]) -> bytes:
        """The records of ``data`` after the held one, looked at one by one; the last is held."""
        self.rows += len(ends)
        kept = [self._held] if self._held else []
        for start, end in pairwise([0, *ends]):
            record = data[start:end]
            if record[2:_HEAD] == _NULL:
                self._tell(Issue(Severity.ERROR, "null_key", field=self._key_field))
                continue
            key = record[_HEAD:-_TAIL]
            if key > self._last:
                kept.append(record)
                self._last = key
            elif key == self._last:
                self._tell(Issue(Severity.ERROR, "duplicate_key", field=self._key_field))
                kept[-1] = kept[-1][:-_DIGEST] + _UNKNOWN
            else:
                raise out_of_order(self._key_field)
        self._held = kept.pop() if kept else b""
        return b"".join(kept)


def _ends(data: bytes) -> list[int]:
    """Where each whole record ends; the trailer is none."""
    ends = []
    at, limit, unpack = 0, len(data) - RECORD_BYTES, _COUNT_AND_LENGTH.unpack_from
    while at <= limit:
        count, length = unpack(data, at)
        if count < 0:
            break
        at += RECORD_BYTES + max(length, 0)
        ends.append(at)
    if ends and ends[-1] > len(data):
        ends.pop()
    return ends


class RowPlan(Struct, frozen=True):
    """How a line of ``Statements.read`` becomes a Read."""

    normaliser: Normaliser
    key: tuple[int, ...]
    key_types: tuple[Kind, ...]
    key_field: str


def key_of(plan: RowPlan, row: Row) -> bytes:
    """The key of a canonical row. Raises KeyIssue."""
    return encode_key(plan.key_types, [row[at] for at in plan.key])


def twice(read: Read, key_field: str) -> Read:
    """``read`` as the one record of a key that occurs more than once: never to be used."""
    issue = Issue(Severity.ERROR, "duplicate_key", field=key_field)
    issues = read.issues if issue in read.issues else (*read.issues, issue)
    return Read(read.key, read.row, 0, issues)


def _forget_changed(said: list[bytes], before: Sequence[object], after: Sequence[object]) -> None:
    """Drop the lines whose value was changed: they do not say any more what the row holds."""
    for at, (one, other) in enumerate(zip(before, after, strict=True)):
        if one is not other:
            said[at] = b""


class RowLines:
    """Text COPY of the canonical columns with the digest last, as pieces of normalised rows."""

    def __init__(self, plan: RowPlan, piece_rows: int, tell: Tell) -> None:
        self.rows = 0
        self._plan = plan
        self._piece_rows = piece_rows
        self._tell = tell
        self._rest = b""
        self._last = b""
        self._held: Sequence[Read] = []  # may still turn out to hold a key that occurs again

    def feed(self, piece: bytes) -> list[Sequence[Read]]:
        """What is complete; the last rows wait until the key that follows is known."""
        text = self._rest + piece
        end = text.rfind(b"\n")
        self._rest = text[end + 1 :]
        return self._take(text[:end]) if end >= 0 else []

    def finish(self) -> list[Sequence[Read]]:
        """The rest; the stream must have ended with a whole line."""
        if self._rest:
            raise cut_off()
        return self._hold([])

    def _take(self, text: bytes) -> list[Sequence[Read]]:
        lines = text.split(b"\n")
        self.rows += len(lines)
        columns = self._columns(text, lines)
        reads = self._one_by_one(lines) if columns is None else columns
        return self._hold(reads) if reads else []

    def _hold(self, reads: Sequence[Read]) -> list[Sequence[Read]]:
        """Hold these in the place of those before them, which are returned in pieces."""
        ready, self._held, size = self._held, reads, self._piece_rows
        return [ready[at : at + size] for at in range(0, len(ready), size)]

    def _columns(self, text: bytes, lines: Sequence[bytes]) -> ReadColumns | None:
        """All lines, a column at a time; None, having done nothing, if any is unusual."""
        try:
            *raw, digests = split_copy_text(text, len(lines))
            columns = self._plan.normaliser.columns(raw)
            keys = encode_keys(self._plan.key_types, [columns[at] for at in self._plan.key])
            numbers = [*map(int, digests)]  # type: ignore[arg-type]  # NULL is a TypeError
        except (BadValue, KeyIssue, TypeError, ValueError):
            return None
        if keys[0] <= self._last or not all(map(lt, keys, islice(keys, 1, None))):
            return None
        self._last = keys[-1]
        said = [line.rpartition(b"\t")[0] for line in lines]
        for before, after in zip(raw, columns, strict=True):
            if before is not after:
                _forget_changed(said, before, after)
        return ReadColumns(keys, numbers, columns, said)

    def _one_by_one(self, lines: Sequence[bytes]) -> list[Read]:
        normalise, kinds = self._plan.normaliser.row, self._plan.key_types
        key_at, last = self._plan.key, self._last
        reads: list[Read] = []
        for line in lines:
            fields = split_copy_line(line)
            digest = int(fields.pop() or 0)
            row, issues = normalise(fields)
            try:
                key = encode_key(kinds, [row[at] for at in key_at])
            except KeyIssue as bad:
                self._tell(Issue(Severity.ERROR, bad.code, field=self._plan.key_field))
                continue
            if key > last:
                reads.append(Read(key, row, digest, issues))
                last = key
            elif key == last:
                self._repeat(reads)
            else:
                raise out_of_order(self._plan.key_field)
        self._last = last
        return reads

    def _repeat(self, reads: list[Read]) -> None:
        """The last key occurs again: among ``reads``, or in what is held."""
        self._tell(Issue(Severity.ERROR, "duplicate_key", field=self._plan.key_field))
        if not reads:
            held = self._held = [*self._held]
            reads = held
        reads[-1] = twice(reads[-1], self._plan.key_field)
