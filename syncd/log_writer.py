"""The end of a log line's way: a bounded queue and one thread that writes.

Whoever tells an event never waits for whoever reads it (case 12). While the reader of the pipe is
stopped, lines are kept up to a bound of bytes; what does not fit is counted, and where it is
missing a line says how much. A line is written whole, with one call, or not at all.

The file descriptor is written directly: a thread that hangs in Python's own buffer would hold its
lock, and the interpreter could not end.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

QUEUE_BYTES_MAX: Final = 4 * 1024**2  # about 20,000 lines


class ByteStream(Protocol):
    """Where lines go."""

    def write(self, data: bytes, /) -> int:
        """Take all of ``data``."""

    def flush(self) -> None:
        """Hand it on."""


class Descriptor:
    """A file descriptor as a stream; waits as long as it takes, also where it is non-blocking."""

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, data: bytes, /) -> int:
        """Write all of it."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._number, left) :]
            except BlockingIOError:
                select.select([], [self._number], [])
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""


class LineWriter:
    """Takes lines at once and writes them in their order, in a thread of its own.

    ``missing`` is asked for the line that tells how many are missing. The thread begins with the
    first line.
    """

    def __init__(
        self,
        stream: ByteStream,
        missing: Callable[[int], bytes],
        bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:
        self.dropped = 0  # since the start
        self._stream = stream
        self._missing = missing
        self._bytes_max = bytes_max
        self._state = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._untold = 0
        self._writing = False
        self._stuck = False  # the last wait was in vain, and nothing was written since
        self._closing = False
        self._thread: threading.Thread | None = None

    def put(self, line: bytes) -> None:
        """Queue a line, or count it as dropped; never waits for the stream."""
        with self._state:
            if self._bytes + len(line) > self._bytes_max:
                self._drop()
                return
            self._tell_missing()
            self._queue(line)
            # A process that was forked has the object and not the thread.
            if self._thread is None or not self._thread.is_alive():
                self._closing = False
                self._thread = threading.Thread(target=self._work, name="logs", daemon=True)
                self._thread.start()
            self._state.notify_all()

    def flush(self, within_s: float) -> bool:
        """Wait until everything is written, at most ``within_s``; whether it is.

        Where an earlier wait was in vain and nothing moved since, this one is not tried.
        """
        ends_s = time.monotonic() + within_s
        with self._state:
            while self._lines or self._writing or self._untold:
                left_s = ends_s - time.monotonic()
                self._stuck = self._stuck or left_s <= 0
                if self._stuck or self._thread is None or not self._thread.is_alive():
                    return False
                self._state.wait(left_s)
        return True

    def close(self, within_s: float) -> None:
        """Write what is there, at most for ``within_s``, and end the thread."""
        self.flush(within_s)
        with self._state:
            self._closing = True
            self._state.notify_all()

    def _work(self) -> None:
        while (line := self._next()) is not None:
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more, no space left, or it is closed
                with self._state:
                    self._drop()
                    self._untold = 0  # there is nobody to tell it to

    def _next(self) -> bytes | None:
        """The next line, once there is one; None at the end."""
        with self._state:
            self._writing = self._stuck = False
            self._state.notify_all()
            while not self._lines:
                self._tell_missing()
                if self._closing and not self._lines:
                    return None
                if not self._lines:
                    self._state.wait()
            line = self._lines.popleft()
            self._bytes -= len(line)
            self._writing = True
            return line

    def _tell_missing(self) -> None:
        if self._untold:
            self._queue(self._missing(self._untold))
            self._untold = 0

    def _queue(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)

    def _drop(self) -> None:
        self.dropped += 1
        self._untold += 1
