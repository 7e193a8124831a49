"""External sort of index entries: any number of them in memory that does not grow.

An **entry** is one record: ``key | offset (8) | size with marks (4) | line (4) | digest (8)``, all
big-endian. No key is the beginning of another (``syncd.flow.keys``), so entries sort as they are:
by key, then by offset. They are sorted in runs that fit in memory, written to a temporary file,
and merged from there. A file in key order costs no sorting at all: its runs follow each other.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from syncd.sources.spool import Spool

TAIL: Final = Layout(">QIIq")

# Marks in the two highest bits of a size, which is below 2**30.
FLAWED: Final = 1 << 31  # the record is not sound
TWICE: Final = 1 << 30  # the key has other records, with other content
SIZE_MASK: Final = TWICE - 1

RUN_ENTRIES: Final = 131_072  # 10 MB of entries with a key of 8 bytes
_RUN_BYTES: Final = 16 * 1024 * 1024  # for long keys
# A merge holds this many entries of each run: 60 MB for a hundred million records.
_MERGE_ENTRIES: Final = 1024


class _Piece(Struct, frozen=True):
    """Entries that stand together in the spool; ``width`` is 0 when their sizes differ."""

    at: int
    count: int
    size: int
    width: int


class RunSorter:
    """Sorts entries that come in any order, in bounded memory.

    ``key_bytes`` is the length of all keys, 0 when they differ.
    """

    def __init__(self, spool_dir: Path | None, run_entries: int = RUN_ENTRIES) -> None:
        self._spool = Spool(spool_dir)
        self._run_entries = run_entries
        self._entries: list[bytes] = []
        self._bytes = 0
        self._runs: list[list[_Piece]] = []
        self._widths: set[int] = set()

    @property
    def key_bytes(self) -> int:
        """Final once everything is added."""
        return min(self._widths) - TAIL.size if len(self._widths) == 1 else 0

    def add(self, entries: list[bytes]) -> None:
        """Take entries; may write a run to the spool."""
        self._entries += entries
        self._bytes += sum(map(len, entries))
        if len(self._widths) <= 1:  # With two it is known that they differ.
            self._widths.update(map(len, entries))
        if len(self._entries) >= self._run_entries or self._bytes >= _RUN_BYTES:
            self._write_run()

    def merged(self) -> Iterator[list[bytes]]:
        """All entries in order, in lists of bounded length."""
        if self._entries:
            self._write_run()
        runs = [_Run(self._spool, pieces) for pieces in self._runs]
        while runs := [run for run in runs if run.fill()]:
            bound = min(run.entries[-1] for run in runs)
            parts = [part for run in runs if (part := run.take(bound))]
            merged = parts[0] if len(parts) == 1 else [entry for part in parts for entry in part]
            if len(parts) > 1:
                merged.sort()
            yield merged

    def close(self) -> None:
        """Give the room back."""
        self._spool.close()

    def _write_run(self) -> None:
        self._entries.sort()
        entries, pieces = self._entries, list[_Piece]()
        for start in range(0, len(entries), _MERGE_ENTRIES):
            part = entries[start : start + _MERGE_ENTRIES]
            sizes, data = list(map(len, part)), b"".join(part)
            width = sizes[0] if len(part) * sizes[0] == len(data) == max(sizes) * len(part) else 0
            pieces.append(_Piece(self._spool.size, len(part), len(data), width))
            self._spool.append(data if width else data + array("I", sizes).tobytes())
        self._runs.append(pieces)
        self._entries, self._bytes = [], 0


class _Run:
    """One sorted run while it is merged; ``entries`` are the next of it."""

    def __init__(self, spool: Spool, pieces: Sequence[_Piece]) -> None:
        self._spool = spool
        self._pieces = iter(pieces)
        self.entries: list[bytes] = []

    def fill(self) -> bool:
        """Make sure that there is at least one entry; False at the end of the run."""
        if not self.entries and (piece := next(self._pieces, None)):
            self.entries = _read_piece(self._spool, piece)
        return bool(self.entries)

    def take(self, bound: bytes) -> list[bytes]:
        """Cut off the entries up to ``bound``."""
        cut = bisect_right(self.entries, bound)
        taken, self.entries = self.entries[:cut], self.entries[cut:]
        return taken


def _read_piece(spool: Spool, piece: _Piece) -> list[bytes]:
    if piece.width:
        data, width = spool.read_at(piece.at, piece.size), piece.width
        return [data[at : at + width] for at in range(0, piece.size, width)]
    sizes = array("I")
    data = spool.read_at(piece.at, piece.size + piece.count * sizes.itemsize)
    sizes.frombytes(data[piece.size :])
    return [data[a:b] for a, b in pairwise(accumulate(sizes, initial=0))]
