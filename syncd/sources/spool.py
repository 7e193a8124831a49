"""Temporary files without a name: they are gone when they are closed, whatever happens."""

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncd.errors import SourceError, TransientError

# What passes by itself or when somebody makes room.
_PASSING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN),
}


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Errors of the system about the file ``name`` as ours."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _PASSING:
            raise TransientError(f"{name}: {reason}") from error
        raise SourceError(
            f"{name}: cannot be opened or read: {reason}", hint="check its kind and permissions"
        ) from error


def read_at(file: io.FileIO, offset: int, size: int) -> bytes:
    """``size`` bytes from ``offset``, fewer only where the file ends."""
    data = os.pread(file.fileno(), size, offset)
    while len(data) < size and (
        more := os.pread(file.fileno(), size - len(data), offset + len(data))
    ):
        data += more
    return data


def read_into(file: io.FileIO, offset: int, buffer: memoryview) -> int:
    """Fill ``buffer`` from ``offset``; how many bytes came, fewer only where the file ends."""
    filled = 0
    while filled < len(buffer) and (
        more := os.preadv(file.fileno(), [buffer[filled:]], offset + filled)
    ):
        filled += more
    return filled


class Spool:
    """A temporary file that is only appended to, and read by offset.

    ``size`` is in bytes. Raises TransientError when there is no room.
    """

    def __init__(self, folder: Path | None) -> None:
        self.size = 0
        with translated("the spool folder"):
            # Unbuffered: pieces are large, and reads by offset must see them at once.
            self.file: io.FileIO = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def append(self, data: bytes | bytearray) -> None:
        """Write ``data`` at the end."""
        rest = memoryview(data)
        with translated("the spool folder"):
            while rest:
                rest = rest[self.file.write(rest) or 0 :]
        self.size += len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``, fewer only where the file ends."""
        with translated("the spool folder"):
            return read_at(self.file, offset, size)

    def close(self) -> None:
        """Give the room back. May be called twice."""
        self.file.close()
