"""Ordered byte merge: which records need a look, and which are gone.

Both sides push blocks of (key, digest) records in the same byte order and the same bytes, so an
unchanged stretch of any length costs one memory comparison. Where they differ, both are cut at
the smaller last key and compared as sets. Nothing is kept of what is equal; memory is two blocks.
"""

from collections.abc import Awaitable, Callable
from itertools import pairwise
from struct import iter_unpack

import anyio
from anyio.abc import ObjectReceiveStream
from anyio.streams.memory import MemoryObjectSendStream
from msgspec import Struct

from syncd.errors import SourceError
from syncd.failpoints import failpoint
from syncd.flow.ports import Block, Emit

_HEAD = 6  # field count (2) and length of the key (4)
_TAIL = 12  # length of the digest (4) and the digest (8)


class Finding(Struct, frozen=True):
    """What one step of the merge found; keys ascending, over all findings of a survey too."""

    suspects: list[bytes]
    absentees: list[bytes]
    equal: int


Consume = Callable[[Finding], Awaitable[None]]
Scan = Callable[[Emit], Awaitable[int]]


class Totals(Struct):
    """Records pushed by each side and found equal."""

    source_rows: int = 0
    ledger_rows: int = 0
    equal: int = 0


async def survey(source: Scan, ledger: Scan, consume: Consume) -> Totals:
    """Merge both scans; call ``consume`` for each stretch that was compared.

    A record is equal when key and digest agree. An unknown digest is 0 at the source and -1 in the
    ledger, so that it never agrees. Absence is final only
    once this returns: a scan that fails raises out of here.
    Raises SourceError when the source is not in strictly ascending key order (case 45).
    """
    totals = Totals()
    source_send, source_receive = anyio.create_memory_object_stream[Block](0)
    ledger_send, ledger_receive = anyio.create_memory_object_stream[Block](0)

    async def feed(scan: Scan, send: MemoryObjectSendStream[Block], name: str) -> None:
        setattr(totals, name, await scan(send.send))
        await failpoint("survey.fed")
        send.close()  # only here: a scan that failed must not look like one that ended

    with source_send, ledger_send, source_receive, ledger_receive:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed, source, source_send, "source_rows")
            tasks.start_soon(feed, ledger, ledger_send, "ledger_rows")
            await _merge(_Side(source_receive), _Side(ledger_receive), consume, totals)
    return totals


class _Side:
    """One stream of records with what is left of its last block."""

    def __init__(self, stream: ObjectReceiveStream[Block]) -> None:
        self.stream = stream
        self.data = b""
        self.width = 0
        self.ended = False

    async def fill(self) -> bool:
        """Make sure that there is at least one record; False at the end of the stream."""
        while not self.data and not self.ended:
            try:
                block = await self.stream.receive()
            except anyio.EndOfStream:
                self.ended = True
            else:
                self.data, self.width = block.data, block.width
        return bool(self.data)

    def take(self, size: int) -> bytes:
        """Cut ``size`` bytes, a whole number of records, off the front."""
        head, self.data = self.data[:size], self.data[size:]
        return head


async def _merge(source: _Side, ledger: _Side, consume: Consume, totals: Totals) -> None:
    previous = b""
    while True:
        has_source, has_ledger = await source.fill(), await ledger.fill()
        if not has_source and not has_ledger:
            return
        if has_source and has_ledger:
            equal, last = _drop_equal(source, ledger)
            if equal:
                previous = last
                totals.equal += equal
                await consume(Finding([], [], equal))
                continue
            left, right = _cut(source, ledger)
        else:
            left = source.take(len(source.data))
            right = ledger.take(len(ledger.data))
        if source.width and source.width == ledger.width:
            finding, previous = _walk(left, right, source.width, previous)
        else:
            records = _records(left, source.width)
            previous = _last_of_ascending(records, previous)
            finding = _compare(records, _records(right, ledger.width))
        totals.equal += finding.equal
        await consume(finding)


def _drop_equal(source: _Side, ledger: _Side) -> tuple[int, bytes]:
    """Drop the records that both sides begin with, where that costs one comparison.

    Returns their number and the last key among them.
    """
    width = source.width
    if not width or width != ledger.width:
        return 0, b""
    size = min(len(source.data), len(ledger.data))
    if source.data[:size] != ledger.data[:size]:
        return 0, b""
    head = source.take(size)
    ledger.take(size)
    return size // width, head[size - width + _HEAD : -_TAIL]


def _cut(source: _Side, ledger: _Side) -> tuple[bytes, bytes]:
    """Cut both sides after the smaller of their last keys.

    The side that ends there is taken whole, so every cut gets on even if keys do not ascend.
    """
    source_ends = _ends(source.data, source.width)
    ledger_ends = _ends(ledger.data, ledger.width)
    source_last = _last_key(source.data, source_ends)
    ledger_last = _last_key(ledger.data, ledger_ends)
    source_size, ledger_size = len(source.data), len(ledger.data)
    if source_last < ledger_last:
        ledger_size = _boundary(ledger.data, ledger_ends, source_last)
    elif ledger_last < source_last:
        source_size = _boundary(source.data, source_ends, ledger_last)
    return source.take(source_size), ledger.take(ledger_size)


def _ends(data: bytes, width: int) -> "range | list[int]":
    """Where each record ends."""
    if width:
        return range(width, len(data) + 1, width)
    ends, at = [], 0
    while at < len(data):
        at += _HEAD + int.from_bytes(data[at + 2 : at + _HEAD], "big") + _TAIL
        ends.append(at)
    return ends


def _last_key(data: bytes, ends: "range | list[int]") -> bytes:
    start = ends[-2] if len(ends) > 1 else 0
    return data[start + _HEAD : ends[-1] - _TAIL]


def _boundary(data: bytes, ends: "range | list[int]", last: bytes) -> int:
    """End of the last record whose key is not above ``last``: a binary search."""
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        start = ends[middle - 1] if middle else 0
        if data[start + _HEAD : ends[middle] - _TAIL] <= last:
            low = middle + 1
        else:
            high = middle
    return ends[low - 1] if low else 0


def _records(data: bytes, width: int) -> list[bytes]:
    if width:
        return [record for (record,) in iter_unpack(f"{width}s", data)]
    starts = [0, *_ends(data, 0)]
    return [data[start:end] for start, end in pairwise(starts)]


def _walk(left: bytes, right: bytes, width: int, previous: bytes) -> tuple[Finding, bytes]:
    """``_compare`` for records of one width, which skips over what is equal; and the last key.

    At 1 % of changes that costs an eighth of looking at each record. Only the keys of records that
    differ are looked at: an equal stretch ascends because the ledger's does.
    """
    suspects: list[bytes] = []
    absentees: list[bytes] = []
    at = to = 0
    stride = width
    while at < len(left) and to < len(right):
        size = min(stride, len(left) - at, len(right) - to)
        if left[at : at + size] == right[to : to + size]:
            at, to, stride = at + size, to + size, 2 * stride
            continue
        same = _same(left[at : at + size], right[to : to + size], width)
        at, to, stride = at + same, to + same, max(width, 2 * same)
        key, known = left[at + _HEAD : at + width - _TAIL], right[to + _HEAD : to + width - _TAIL]
        if key > known:
            absentees.append(known)
        else:
            suspects.append(_above(key, left, at, width, previous))
            at += width
        if key >= known:
            to += width
    for start in range(at, len(left), width):
        key = left[start + _HEAD : start + width - _TAIL]
        suspects.append(_above(key, left, start, width, previous))
    absentees += [
        right[start + _HEAD : start + width - _TAIL] for start in range(to, len(right), width)
    ]
    last = left[len(left) - width + _HEAD : len(left) - _TAIL] if left else previous
    return Finding(suspects, absentees, len(left) // width - len(suspects)), last


def _same(one: bytes, other: bytes, width: int) -> int:
    """Size of the whole records that both begin with; they differ in one of them."""
    low, high = 0, len(one) // width
    while high - low > 1:
        middle = (low + high) // 2
        if one[low * width : middle * width] == other[low * width : middle * width]:
            low = middle
        else:
            high = middle
    return low * width


def _above(key: bytes, data: bytes, at: int, width: int, previous: bytes) -> bytes:
    """``key``, of the record at ``at``, proved to be above the one before it."""
    if key <= (data[at - width + _HEAD : at - _TAIL] if at else previous):
        raise _disordered()
    return key


def _compare(source: list[bytes], ledger: list[bytes]) -> Finding:
    """Compare two stretches of records that cover the same range of keys."""
    source_set, ledger_set = set(source), set(ledger)
    suspects = sorted(record[_HEAD:-_TAIL] for record in source_set - ledger_set)
    known = set(suspects)
    gone = (record[_HEAD:-_TAIL] for record in ledger_set - source_set)
    absentees = sorted(key for key in gone if key not in known)
    return Finding(suspects, absentees, len(source) - len(suspects))


def _last_of_ascending(records: list[bytes], previous: bytes) -> bytes:
    """Last key of ``records``, proved to ascend strictly and to begin above ``previous``."""
    if not records:
        return previous
    keys = [record[_HEAD:-_TAIL] for record in records]
    if keys[0] <= previous or any(a >= b for a, b in pairwise(keys)):
        raise _disordered()
    return keys[-1]


def _disordered() -> SourceError:
    return SourceError(
        "the source does not deliver its keys in strictly ascending byte order; "
        "nothing was concluded from this read",
        hint="check that the key is unique and that no collation orders it",
    )
