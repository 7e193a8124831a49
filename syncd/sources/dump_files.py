"""One entity's file, made readable by offset.

A plain file in an encoding that shows ASCII is read where it stands. Everything else (compressed,
in an archive, UTF-16) is spooled once, as UTF-8, and is read like a plain file from there.

Opening may take minutes, so it is a generator that pauses after each piece of work; the caller
runs it in a worker thread, piece by piece, and may stop at any of them.
"""

import codecs
import io
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from syncd.config import FilesSource
from syncd.errors import SourceError
from syncd.sources.content_hash import ContentHash
from syncd.sources.decompression import (
    PIECE_BYTES,
    Chunks,
    Counted,
    bounded_ratio,
    capped,
    compression,
    decompressed,
    hashed,
    is_utf8,
    shows_ascii,
    transcoded,
)
from syncd.sources.spool import Spool, read_at, read_into, translated


class DumpFile:
    """Text that is read by offset from any thread.

    ``start`` is where it begins (after a byte order mark), ``size`` where it ends, ``encoding``
    what its bytes are. ``content_hash`` is the hash of the file as stored where all of it was
    seen on the way here, else empty. ``is_cut`` says that only its beginning was spooled.
    """

    def __init__(
        self,
        name: str,
        file: io.FileIO,
        *,
        encoding: str,
        content_hash: str = "",
        is_cut: bool = False,
    ) -> None:
        self.name = name
        self.encoding = encoding
        self.content_hash = content_hash
        self.is_cut = is_cut
        self._file = file
        self._state = _state(file)
        self.size = self._state[0]
        has_mark = is_utf8(encoding) and self.read_at(0, 3) == codecs.BOM_UTF8
        self.start = len(codecs.BOM_UTF8) if has_mark else 0

    def read_at(self, offset: int, size: int) -> bytes:
        """``size`` bytes, fewer only where the file ends."""
        with translated(self.name):
            return read_at(self._file, offset, size)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer``; how many bytes were there, fewer only where the file ends."""
        with translated(self.name):
            return read_into(self._file, offset, buffer)

    def check_unchanged(self) -> None:
        """Raise SourceError when the file was written to since it was opened."""
        _check_unchanged(self.name, self._file, self._state)

    def close(self) -> None:
        """Release the handle; a spooled copy is gone with it. May be called twice."""
        self._file.close()


class Opener(Struct, frozen=True):
    """How files are opened: the configuration, where to spool, and how much of it.

    ``head_bytes`` stops spooling after about that much text; None spools all.
    """

    config: FilesSource
    spool_dir: Path | None = None
    head_bytes: int | None = None


def _damage() -> tuple[type[Exception], ...]:
    """What decoders raise. Looked up only when something was raised: plain files need none."""
    import lzma  # noqa: PLC0415
    import tarfile  # noqa: PLC0415
    import zipfile  # noqa: PLC0415
    import zlib  # noqa: PLC0415

    import zstandard  # noqa: PLC0415

    decoders = (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError)
    return (*decoders, tarfile.TarError, zipfile.BadZipFile)


@contextmanager
def undamaged(name: str) -> Iterator[None]:
    """What a decoder says about a damaged file, and the system about any, as ours."""
    try:
        with translated(name):
            yield
    except _damage() as error:
        raise SourceError(
            f"{name}: is damaged or cut off ({type(error).__name__})",
            hint="have the dump made again",
        ) from error


def ready(opener: Opener, file: io.FileIO, name: str) -> Generator[None, None, DumpFile]:
    """The text of a stored file; takes ``file`` over. Raises SourceError as its parts do."""
    config, suffix = opener.config, compression(name)
    with ExitStack() as unless_kept:
        unless_kept.callback(file.close)
        state = _state(file)
        check_size(name, state[0], config.max_file_bytes)
        if not suffix and shows_ascii(config.encoding):
            kept = DumpFile(name, file, encoding=config.encoding)
            unless_kept.pop_all()
            return kept
        spooled = yield from spool(opener, pieces(file), name, suffix)
        unless_kept.callback(spooled.close)
        _check_unchanged(name, file, state)
        unless_kept.pop_all()
        file.close()
        return spooled


def spool(
    opener: Opener, stored: Chunks, name: str, suffix: str
) -> Generator[None, None, DumpFile]:
    """The text of a stream of stored bytes that is compressed as ``suffix`` says."""
    config, digest = opener.config, ContentHash()
    counted = Counted(hashed(stored, digest))
    plain = decompressed(counted, suffix, name)
    if suffix:
        plain = bounded_ratio(plain, lambda: counted.bytes, name, config.max_ratio)
    text = transcoded(capped(plain, name, config.max_file_bytes), config.encoding, name)
    with ExitStack() as unless_kept, undamaged(name):
        copy, is_cut = Spool(opener.spool_dir), False
        unless_kept.callback(copy.close)
        for piece in text:
            copy.append(piece)
            is_cut = opener.head_bytes is not None and copy.size >= opener.head_bytes
            if is_cut:
                break
            yield
        content_hash = "" if is_cut else digest.hexdigest()
        kept = DumpFile(name, copy.file, encoding="utf-8", content_hash=content_hash, is_cut=is_cut)
        unless_kept.pop_all()
        return kept


def pieces(file: io.FileIO) -> Chunks:
    """The content of ``file`` from its beginning."""
    return iter(lambda: file.read(PIECE_BYTES) or b"", b"")


def check_size(name: str, size: int, max_bytes: int) -> None:
    """Raise SourceError when a file is larger than the configuration allows."""
    if size > max_bytes:
        raise SourceError(
            f"{name}: is {size} bytes long, at most {max_bytes} are read",
            hint="check where the file comes from, or raise source.max_file_bytes",
        )


def _state(file: io.FileIO) -> tuple[int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ino


def _check_unchanged(name: str, file: io.FileIO, state: tuple[int, int, int]) -> None:
    if _state(file) != state:
        raise SourceError(
            f"{name}: was written to while it was read",
            hint="write dumps under another name and rename them when they are whole",
        )
