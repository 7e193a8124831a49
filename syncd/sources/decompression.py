"""Streams of stored bytes to streams of UTF-8 text, a bounded piece at a time.

Every step is a generator of ``bytes`` over another one, so nothing is ever held whole and a bomb
is found while it unfolds: output is asked for in pieces, never "all that this input gives".
"""

import codecs
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from syncd.errors import ConfigError, SourceError
from syncd.sources.content_hash import ContentHash

if TYPE_CHECKING:
    import lzma

Chunks: TypeAlias = Iterator[bytes]

PIECE_BYTES: Final = 256 * 1024

# Ratios of short inputs mean nothing: a kilobyte of one letter shrinks a hundredfold.
RATIO_FREE_BYTES: Final = 1024 * 1024
# One zstandard block of 4 bytes may unfold to 128 KiB and its decoder cannot be told to stop, so
# it is fed 512 bytes at a time: 16 MiB at the very most before the ratio is looked at again.
_ZSTD_FEED_BYTES: Final = 512
_ZSTD_WINDOW_BYTES_MAX: Final = 128 * 1024 * 1024  # the format's own default limit
# A dictionary of 128 MiB, as above; `xz -9` has 64. Only what is used of it is ever touched.
_XZ_MEMORY_BYTES_MAX: Final = 130 * 1024 * 1024

SUFFIXES: Final = (".gz", ".xz", ".zst")


def compression(name: str) -> str:
    """The suffix of ``name`` that says how it is compressed; empty for none."""
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")


class Counted:
    """An iterator over chunks that knows how many bytes went through it."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self.bytes = 0

    def __iter__(self) -> Chunks:
        for chunk in self._chunks:
            self.bytes += len(chunk)
            yield chunk


def decompressed(stored: Counted, suffix: str, name: str) -> Chunks:
    """The content of a stream compressed as ``suffix`` says; the stream itself for ''.

    Raises SourceError when the stream is cut off, and the decoder's own exception where it is
    damaged.
    """
    unfold = {".gz": _gunzip, ".xz": _unxz, ".zst": _unzstd}
    return unfold[suffix](stored, name) if suffix else iter(stored)


def bounded_ratio(
    chunks: Chunks,
    stored: Callable[[], int],
    name: str,
    max_ratio: int,
    free_bytes: int = RATIO_FREE_BYTES,
) -> Chunks:
    """``chunks`` as long as they are at most ``max_ratio`` times the bytes that were ``stored``.

    The first ``free_bytes`` are always given. None of the chunks is empty.
    """
    given = 0
    for chunk in filter(None, chunks):
        given += len(chunk)
        if given > free_bytes and given > max_ratio * stored():
            raise SourceError(
                f"{name}: unfolds to more than {max_ratio} times its size; reading was stopped",
                hint="check where the file comes from, or raise source.max_ratio",
            )
        yield chunk


def capped(chunks: Chunks, name: str, max_bytes: int) -> Chunks:
    """``chunks`` up to ``max_bytes`` in all. Raises SourceError beyond."""
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > max_bytes:
            raise SourceError(
                f"{name}: holds more than source.max_file_bytes ({max_bytes}); reading was stopped",
                hint="check where the file comes from, or raise source.max_file_bytes",
            )
        yield chunk


def hashed(chunks: Chunks, digest: ContentHash) -> Chunks:
    """``chunks``, all of which go into ``digest`` on the way."""
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def transcoded(chunks: Chunks, encoding: str, name: str) -> Chunks:
    """Text of ``encoding`` as UTF-8; '' or UTF-8 passes untouched.

    Characters that do not decode become bytes that are not UTF-8 either, so that the record that
    holds them is found wanting and the others are read. Raises SourceError where even that is
    impossible (half a UTF-16 unit at the end).
    """
    if is_utf8(encoding):
        yield from chunks
        return
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass" if wide else "surrogateescape")
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeError as error:
        raise SourceError(
            f"{name}: is not text in {encoding}, or was cut off inside a character",
            hint="check source.encoding",
        ) from error


@lru_cache(maxsize=64)
def is_utf8(encoding: str) -> bool:
    """Whether that is a name of UTF-8 (or of ASCII, which it contains). Raises ConfigError."""
    try:
        # Of what Python knows by a name, not all is an encoding of text, and it says so here.
        b"\0\0\0\0".decode(encoding, "replace")
        codec = codecs.lookup(encoding)
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"source.encoding: {encoding!r} is not an encoding of text that is known here",
            hint="use a name such as utf-8, cp1252, latin-1 or utf-16",
        ) from error
    return codec.name in ("utf-8", "utf-8-sig", "ascii")


@lru_cache(maxsize=64)
def shows_ascii(encoding: str) -> bool:
    """Whether each ASCII byte always means its ASCII character, whatever stands before it.

    Then delimiters and line ends can be looked for in the bytes as stored. True for UTF-8 and the
    one-byte code pages; false for UTF-16 and for Shift-JIS and its kin, whose second bytes may
    look like ASCII. Raises ConfigError.
    """
    if is_utf8(encoding):
        return True
    letters = bytes(range(0x80))
    try:
        return letters.decode(encoding) == letters.decode("ascii") and all(
            bytes((high, low)).decode(encoding, "replace")[1:] == chr(low)
            for high in range(0x80, 0x100)
            for low in range(0x80)
        )
    except UnicodeError:
        return False


def _cut_off(name: str) -> SourceError:
    return SourceError(
        f"{name}: the compressed data ends too early", hint="have the dump made again"
    )


def _gunzip(chunks: Counted, name: str) -> Chunks:
    inflater, ended = zlib.decompressobj(wbits=31), False
    for chunk in chunks:
        data = chunk.lstrip(b"\0") if ended else chunk  # Zeros may pad the end.
        while data:
            if ended:
                inflater, ended = zlib.decompressobj(wbits=31), False
            piece = inflater.decompress(data, PIECE_BYTES)
            if piece:
                yield piece
            ended = inflater.eof
            data = inflater.unused_data.lstrip(b"\0") if ended else inflater.unconsumed_tail
            if not data and not ended and len(piece) == PIECE_BYTES:
                yield from _inflate_rest(inflater)
                ended = inflater.eof
                data = inflater.unused_data.lstrip(b"\0")
    if not ended:
        raise _cut_off(name)


def _inflate_rest(inflater: "zlib._Decompress") -> Chunks:
    """What the inflater still holds though all of its input is taken."""
    while piece := inflater.decompress(b"", PIECE_BYTES):
        yield piece


def _unxz(chunks: Counted, name: str) -> Chunks:
    inflater, started = _xz_stream(), False
    for chunk in chunks:
        data = chunk if started else chunk.lstrip(b"\0")
        while data or (started and not inflater.needs_input):
            started = True
            yield inflater.decompress(data, PIECE_BYTES)
            data = b""
            if inflater.eof:
                data = inflater.unused_data.lstrip(b"\0")  # Zeros may pad the end.
                inflater, started = _xz_stream(), False
    if started:
        raise _cut_off(name)


def _xz_stream() -> "lzma.LZMADecompressor":
    import lzma  # noqa: PLC0415 - only where such a file is met

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES_MAX)


def _unzstd(chunks: Counted, name: str) -> Chunks:
    import zstandard  # noqa: PLC0415 - only where such a file is met

    # `stream_reader` would be shorter, but it takes a cut-off stream for a whole one.
    decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
    frame, started = decoder.decompressobj(), False
    for chunk in chunks:
        for at in range(0, len(chunk), _ZSTD_FEED_BYTES):
            data = chunk[at : at + _ZSTD_FEED_BYTES]
            while data:
                started = True
                yield frame.decompress(data)
                data = b""
                if frame.eof:
                    data = frame.unused_data
                    frame, started = decoder.decompressobj(), False
    if started:
        raise _cut_off(name)
