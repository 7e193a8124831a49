"""A keyed hash of many short texts at once: 8 bytes of a pseudo-random function of each.

A text of up to 15 bytes is padded to one block of AES, and half of its ciphertext is the hash. One
of up to 63 bytes is padded to four blocks and hashed as a tree: the halves of two ciphertexts are
one block of the next level, whose key is another. Anything longer is BLAKE2b. The padding ends
with the size of the text, so no two texts are padded alike, and every class and level has a key of
its own, so all messages under one key have the same size.

BLAKE2b for all would be simpler. But it costs 270 ns a value, which was a third of a first load,
where AES takes a column of thousands in a few calls (`benchmarks/hashing.py`).
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from struct import iter_unpack, pack, unpack
from typing import Any, Final, TypeAlias

from syncd.flow.model import MISSING, Value

HASH_BYTES: Final = 8

_BLOCK: Final = 16  # of AES
_MIDDLE: Final = 4 * _BLOCK
_CIPHER_KEY_BYTES: Final = 16
# Texts packed by one call: a format of 256 fields is compiled once, and is small.
_STEP: Final = 256
_AT_ONCE: Final = 1024  # more leave the processor's cache

_Encrypt: TypeAlias = Callable[[bytes | bytearray], bytes]


class ValueHash:
    """The hash under ``key``, of 16 to 64 bytes, which is not kept."""

    __slots__ = ("_keys", "_levels", "_long", "_none")

    def __init__(self, key: bytes) -> None:
        self._keys = blake2b(key=key, person=b"syncd cipher").digest()
        self._levels: Sequence[_Encrypt] = ()
        self._long = blake2b(key=key, digest_size=HASH_BYTES, person=b"syncd column")
        # NULL and absent are no texts, so they differ from '' and from each other (case 57).
        self._none: dict[Any, bytes] = {
            value: blake2b(name, key=key, digest_size=HASH_BYTES, person=b"syncd none").digest()
            for value, name in ((None, b"null"), (MISSING, b"absent"))
        }

    def of(self, values: Sequence[Value]) -> list[bytes]:
        """The hash of each of ``values``, in order; they may be a column as well as a row."""
        return cut(self.joined(values))

    def joined(self, values: Sequence[Value]) -> bytes:
        """The same as one byte string."""
        if len(values) > _AT_ONCE:
            parts = (values[at : at + _AT_ONCE] for at in range(0, len(values), _AT_ONCE))
            return b"".join(map(self.joined, parts))
        try:
            sizes = [*map(len, values)]  # type: ignore[arg-type]  # NULL is a TypeError
        except TypeError:
            return self._of_some(values)
        return self._of_texts(values, sizes) if sizes else b""  # type: ignore[arg-type]

    def _of_some(self, values: Sequence[Value]) -> bytes:
        """Where NULL is among them, or absent, the others are hashed without it."""
        hashes = iter(self.of([value for value in values if type(value) is bytes]))
        none = self._none
        try:
            return b"".join([next(hashes) if type(v) is bytes else none[v] for v in values])
        except KeyError as error:
            found = type(error.args[0]).__name__
            raise TypeError(f"a row holds canonical values; found {found}") from None

    def _of_texts(self, texts: Sequence[bytes], sizes: Sequence[int]) -> bytes:
        found = set(sizes)
        least, most = min(found), max(found)
        if most < _BLOCK:
            return self._of_short(texts, sizes)
        if least >= _BLOCK and most < _MIDDLE:
            return self._of_middle(texts, sizes)
        if least >= _MIDDLE:
            return b"".join(map(self._of_long, texts))
        return self._of_mixed(texts, sizes)

    def _of_mixed(self, texts: Sequence[bytes], sizes: Sequence[int]) -> bytes:
        """Both ways for all, which costs less than to part them and to put them together."""
        short, middle = cut(self._of_short(texts, sizes)), cut(self._of_middle(texts, sizes))
        ways = zip(sizes, short, middle, texts, strict=True)
        return b"".join(
            [
                (one if size < _BLOCK else other) if size < _MIDDLE else self._of_long(text)
                for size, one, other, text in ways
            ]
        )

    def _of_short(self, texts: Sequence[bytes], sizes: Sequence[int]) -> bytes:
        return _tree(_padded(texts, sizes, _BLOCK), (self._levels or self._ciphers())[:1])

    def _of_middle(self, texts: Sequence[bytes], sizes: Sequence[int]) -> bytes:
        return _tree(_padded(texts, sizes, _MIDDLE), (self._levels or self._ciphers())[1:])

    def _of_long(self, text: bytes) -> bytes:
        state = self._long.copy()
        state.update(text)
        return state.digest()

    def _ciphers(self) -> Sequence[_Encrypt]:
        """The ciphers: of short texts, then of each level of the tree."""
        # Here, because a quiet night hashes nothing and need not wait for the import.
        from cryptography.hazmat.primitives.ciphers import (  # noqa: PLC0415 - see above
            Cipher,
            algorithms,
            modes,
        )

        # ECB is how a library offers the bare block cipher; nothing is ever decrypted.
        self._levels = [
            Cipher(algorithms.AES(bytes(key)), modes.ECB()).encryptor().update  # noqa: S305
            for (key,) in iter_unpack(f"{_CIPHER_KEY_BYTES}s", self._keys)
        ]
        return self._levels


def _padded(texts: Sequence[bytes], sizes: Sequence[int], width: int) -> bytearray:
    """The texts, each with zeros up to ``width`` and its size as the last byte."""
    data = bytearray()
    for at in range(0, len(texts), _STEP):
        part = texts[at : at + _STEP]
        data += pack(f"{width}s" * len(part), *part)
    try:
        data[width - 1 :: width] = bytes(sizes)
    except ValueError:  # a long one is among them, whose hash is another
        data[width - 1 :: width] = bytes([size & 0xFF for size in sizes])
    return data


def _tree(data: bytes | bytearray, levels: Sequence[_Encrypt]) -> bytes:
    """Encrypt and keep half of each block, level by level; 8 bytes are left of each text."""
    for encrypt in levels:
        data = memoryview(encrypt(data)).cast("Q")[::2].tobytes()
    return bytes(data)


def cut(joined: bytes, size: int = HASH_BYTES) -> list[bytes]:
    """Pieces of ``size`` bytes; ``joined`` is a whole number of them."""
    pieces: list[bytes] = []
    step = _STEP * size
    for at in range(0, len(joined), step):
        part = joined[at : at + step]
        pieces += unpack(f"{size}s" * (len(part) // size), part)
    return pieces
