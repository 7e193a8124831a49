"""Members of tar and zip archives as streams, in stored order, nothing ever extracted.

Names are those of ``archive_names``. This module is imported when there is an archive to read.
"""

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, TypeAlias

from syncd.errors import SourceError
from syncd.sources.archive_names import NAME_BYTES_SHOWN, checked_name
from syncd.sources.decompression import PIECE_BYTES, Chunks, bounded_ratio
from syncd.visible import visible

# A member is its name and its content; None where it is no regular file.
Member: TypeAlias = tuple[str, Chunks | None]

_MEMBERS_MAX: Final = 10_000
_HEADER_BYTES_MAX: Final = 1024 * 1024  # of one long name or one set of extended attributes
_DIRECTORY_BYTES_MAX: Final = 2 * 1024 * 1024  # of a zip: about 20,000 members
_ENCRYPTED: Final = 1
# A version of the format that nobody wrote yet, a name that is no text, a place before the file.
_NONSENSE: Final = (NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error)


def tar_members(chunks: Chunks, name: str) -> Iterator[Member]:
    """The members of an uncompressed tar stream; each content is valid until the next member.

    Raises SourceError for hostile names, and as ``tarfile`` does for a damaged archive.
    """
    with tarfile.open(
        fileobj=_ChunkFile(chunks), mode="r|", bufsize=PIECE_BYTES, tarinfo=_BoundedHeader
    ) as tar:
        for count, info in enumerate(tar):
            _limit_members(count, name)
            if info.isdir() and info.name == ".":
                continue
            member = checked_name(info.name, name)
            if info.isreg() and not info.issparse():
                content = tar.extractfile(info)
                assert content, "only what is no regular file has no content"
                yield member, _pieces(content)
            elif not info.isdir():
                yield member, None
    # What follows the last member is padding, but only the end proves the stream whole.
    for _ in chunks:
        pass


def zip_members(file: io.FileIO, name: str, max_ratio: int) -> Iterator[Member]:
    """The members of a zip file, like ``tar_members``; raises as ``zipfile`` does for damage."""
    with _sensible():
        opened = zipfile.ZipFile(_BoundedFile(file, name))
    with opened as archive:
        for count, info in enumerate(archive.infolist()):
            _limit_members(count, name)
            member = checked_name(info.filename.removesuffix("/"), name)
            if stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) and not info.is_dir():
                yield member, _unzipped(archive, info, name, max_ratio)
            elif not info.is_dir():
                yield member, None


def _unzipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, max_ratio: int) -> Chunks:
    # Other methods cannot be unfolded a bounded piece at a time.
    if info.flag_bits & _ENCRYPTED or info.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise SourceError(
            f"{name}: {visible(info.filename, NAME_BYTES_SHOWN)!r} is encrypted or compressed "
            "in a way that is not read here",
            hint="store it plainly or with the deflate method",
        )
    with _sensible():
        member = archive.open(info)
    with member as content:
        yield from bounded_ratio(_pieces(content), lambda: info.compress_size, name, max_ratio)


@contextmanager
def _sensible() -> Iterator[None]:
    """What ``zipfile`` says of a header that makes no sense, as of any other damage."""
    try:
        yield
    except _NONSENSE as error:
        raise zipfile.BadZipFile from error


def _pieces(content: IO[bytes]) -> Chunks:
    return iter(lambda: content.read(PIECE_BYTES), b"")


def _limit_members(count: int, name: str) -> None:
    if count >= _MEMBERS_MAX:
        raise SourceError(
            f"{name}: holds more than {_MEMBERS_MAX} members",
            hint="put the files of one dump, and only those, into the archive",
        )


class _BoundedHeader(tarfile.TarInfo):
    """A tar header; its extensions, which are read whole into memory, must be small."""

    _READ_WHOLE: Final = (
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    )

    @classmethod
    def frombuf(cls, buf: "bytes | bytearray", encoding: str, errors: str) -> "_BoundedHeader":
        info = super().frombuf(buf, encoding, errors)
        if info.type in cls._READ_WHOLE and info.size > _HEADER_BYTES_MAX:
            raise SourceError(
                f"the archive has a header of {info.size} bytes, at most {_HEADER_BYTES_MAX} are "
                "read",
                hint="have the archive made again with plain names",
            )
        return info


class _ChunkFile(io.RawIOBase):
    """Chunks as a file that is only read forward."""

    def __init__(self, chunks: Chunks) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Exactly ``size`` bytes, fewer at the end only."""
        parts, wanted = [], size
        while wanted > 0:
            if not self._rest:
                self._rest = memoryview(next(self._chunks, b""))
                if not self._rest:
                    break
            parts.append(self._rest[:wanted])
            self._rest = self._rest[wanted:]
            wanted -= len(parts[-1])
        return b"".join(parts)


class _BoundedFile:
    """A file of which no more than a zip directory's worth is read at once."""

    def __init__(self, file: io.FileIO, name: str) -> None:
        self._file = file
        self._name = name
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """As of the file. Raises SourceError for more than the limit."""
        wanted = size if size >= 0 else _DIRECTORY_BYTES_MAX + 1
        parts = []
        while wanted > 0 and (part := self._file.read(min(wanted, _DIRECTORY_BYTES_MAX + 1))):
            parts.append(part)
            wanted -= len(part)
            if sum(map(len, parts)) > _DIRECTORY_BYTES_MAX:
                raise SourceError(
                    f"{self._name}: the directory of the archive is larger than "
                    f"{_DIRECTORY_BYTES_MAX} bytes",
                    hint="put the files of one dump, and only those, into the archive",
                )
        return b"".join(parts)
