"""Cut PostgreSQL's binary COPY of (bytea, bigint) into blocks of whole records."""

from typing import Final

from syncd.errors import SourceError
from syncd.flow.ports import Block

_HEADER_BYTES: Final = 19
_TRAILER: Final = b"\xff\xff"
_HEAD: Final = 6
_TAIL: Final = 12


class BlockCutter:
    """Collects chunks of a COPY stream and cuts them at record borders.

    ``records`` counts the records cut so far. Records of one size are cut by arithmetic; the
    first record of another size switches to walking, for good.
    """

    def __init__(self, block_bytes: int) -> None:
        self.records = 0
        self._block_bytes = block_bytes
        self._pending = bytearray()
        self._skip = _HEADER_BYTES
        self._width: int | None = None  # None before the first record, 0 when sizes differ
        self._first_head = b""

    def feed(self, data: bytes) -> Block | None:
        """Take a chunk; a block as soon as enough is there."""
        self._pending += data
        if self._skip:
            if len(self._pending) < self._skip:
                return None
            del self._pending[: self._skip]
            self._skip = 0
        if len(self._pending) < self._block_bytes:
            return None
        return self._cut(bytes(self._pending))

    def finish(self) -> Block | None:
        """The rest, once the stream has ended; None when there is none.

        Raises SourceError when it does not end behind a record.
        """
        if self._skip:
            return None
        data = bytes(self._pending).removesuffix(_TRAILER)
        block = self._cut(data, is_last=True)
        if (len(block.data) if block else 0) != len(data):
            raise SourceError(
                "a COPY ended in the middle of a record; nothing was concluded from this read"
            )
        return block

    def _cut(self, data: bytes, *, is_last: bool = False) -> Block | None:
        if len(data) < _HEAD:
            return None
        if self._width is None:
            self._width, self._first_head = _size(data, 0), data[:_HEAD]
        if self._width:
            whole = data[: len(data) // self._width * self._width]
            # What is left over is the beginning of the next record, but at the end there is none.
            is_even = not is_last or len(whole) == len(data)
            if is_even and _all_begin(whole, self._first_head, self._width):
                self.records += len(whole) // self._width
                return self._block(whole, self._width)
            self._width = 0
        end, records = _walk(data)
        self.records += records
        return self._block(data[:end], 0)

    def _block(self, data: bytes, width: int) -> Block | None:
        del self._pending[: len(data)]
        return Block(data, width) if data else None


def _size(data: bytes, at: int) -> int:
    return _HEAD + int.from_bytes(data[at + 2 : at + _HEAD], "big") + _TAIL


def _all_begin(data: bytes, head: bytes, width: int) -> bool:
    """Whether a record of that head begins at every ``width`` bytes: then all have that size.

    Looks at each byte column of the heads with one slice, so it costs six comparisons a block.
    """
    count = len(data) // width
    return all(data[at::width] == head[at : at + 1] * count for at in range(_HEAD))


def _walk(data: bytes) -> tuple[int, int]:
    """End of the last whole record, and how many there are."""
    at = records = 0
    while at + _HEAD <= len(data) and data[at : at + 2] != _TRAILER:
        size = _size(data, at)
        if at + size > len(data):
            break
        at += size
        records += 1
    return at, records
