"""Bytes in memory as the source of a COPY, in pieces that the connection can push back on.

The driver reads a file-like source in threads, half a megabyte at a time, and keeps it alive in a
cycle until the garbage collector comes round; plain bytes it takes for a path.
"""

from typing import Final

PIECE_BYTES: Final = 256 * 1024


class CopyPieces:
    """An asynchronous iterator over ``data`` that never waits."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def __aiter__(self) -> "CopyPieces":
        return self

    async def __anext__(self) -> memoryview:
        piece = self._data[self._at : self._at + PIECE_BYTES]
        if not piece:
            raise StopAsyncIteration
        self._at += len(piece)
        return piece
