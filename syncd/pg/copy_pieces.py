"""Bytes in memory as the source of a COPY, in pieces that the connection can push back on.

The driver reads a file-like source in threads, half a megabyte at a time, and keeps it alive in a
cycle until the garbage collector comes round; plain bytes it takes for a path.
"""

from collections.abc import Iterator, Sequence
from typing import Final

PIECE_BYTES: Final = 256 * 1024


class CopyPieces:
    """An asynchronous iterator over ``parts``, one after the other, that never waits."""

    __slots__ = ("_pieces",)

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._pieces = _pieces(parts)

    def __aiter__(self) -> "CopyPieces":
        return self

    async def __anext__(self) -> memoryview:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


def _pieces(parts: Sequence[bytes]) -> Iterator[memoryview]:
    for part in parts:
        view = memoryview(part)
        for at in range(0, len(view), PIECE_BYTES):
            yield view[at : at + PIECE_BYTES]
