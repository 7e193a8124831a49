"""Progress on standard error: bars on a terminal, a line every ten seconds elsewhere, or nothing.

Standard output is never touched: it belongs to the report.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from syncd import progress

LINE_EVERY_S: Final = 10.0


@contextmanager
def watched(
    stream: TextIO, *, quiet: bool, verbose: bool, colour: bool
) -> Iterator[progress.Progress]:
    """The progress that suits ``stream``; what it drew is gone or complete at the end."""
    if quiet or not (stream.isatty() or verbose):
        yield progress.Silent()
    elif stream.isatty():
        from syncd.cli import bars  # noqa: PLC0415 - a scheduler's run has no terminal

        with bars.shown(stream, colour=colour) as shown:
            yield shown
    else:
        yield Lines(stream, time.monotonic)


class Lines:
    """One plain line for each entity at most every ten seconds, and one at its end."""

    def __init__(self, stream: TextIO, now_s: Callable[[], float]) -> None:
        self._stream = stream
        self._now_s = now_s
        self._runs: dict[str, _Pace] = {}

    def start(self, entity: str, total_rows: int) -> None:
        """Begin to count."""
        self._runs[entity] = _Pace(total_rows, self._now_s())

    def advance(self, entity: str, rows: int) -> None:
        """Count, and tell when the last line is old enough."""
        now_s = self._now_s()
        pace = self._runs.setdefault(entity, _Pace(0, now_s))
        pace.rows += rows
        if now_s - pace.told_s >= LINE_EVERY_S:
            pace.told_s = now_s
            self._tell(entity, pace.line(now_s))

    def finish(self, entity: str) -> None:
        """Tell the sum."""
        now_s = self._now_s()
        pace = self._runs.pop(entity, _Pace(0, now_s))
        self._tell(entity, f"{pace.rows} rows in {now_s - pace.started_s:.1f} s")

    def _tell(self, entity: str, line: str) -> None:
        self._stream.write(f"{entity}: {line}\n")
        self._stream.flush()


class _Pace:
    """Rows of one entity so far."""

    def __init__(self, total_rows: int, now_s: float) -> None:
        self.total_rows = total_rows
        self.started_s = now_s
        self.told_s = now_s
        self.rows = 0

    def line(self, now_s: float) -> str:
        rate = self.rows / max(now_s - self.started_s, 1e-9)
        line = f"{self.rows} of {self.total_rows or '?'} rows, {rate:.0f} rows/s"
        left_rows = self.total_rows - self.rows
        return f"{line}, {left_rows / rate:.0f} s left" if rate > 0 and left_rows > 0 else line
