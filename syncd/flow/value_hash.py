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
from itertools import chain
from struct import iter_unpack, pack, unpack
from typing import Final, TypeAlias

from syncd.flow.model import MISSING, Value

HASH_BYTES: Final = 8

_BLOCK: Final = 16  # of AES
_MIDDLE: Final = 4 * _BLOCK
_CIPHER_KEY_BYTES: Final = 16
# Sizes that no text has, so NULL and absent differ from '' (case 57).
_NULL: Final = -1
_ABSENT: Final = -2

# Texts packed by one call: a format of 256 fields is compiled once, and is small.
_STEP: Final = 256
_AT_ONCE: Final = 1024  # more leave the processor's cache

_Encrypt: TypeAlias = Callable[[bytes | bytearray], bytes]


class ValueHash:
    """The hash under ``key``, of 16 to 64 bytes, which is not kept."""

    __slots__ = ("_keys", "_levels", "_long")

    def __init__(self, key: bytes) -> None:
        self._keys = blake2b(key=key, person=b"syncd cipher").digest()
        self._levels: Sequence[_Encrypt] = ()
        self._long = blake2b(key=key, digest_size=HASH_BYTES, person=b"syncd column")

    def of(self, values: Sequence[Value]) -> list[bytes]:
        """The hash of each of ``values``, in order; they may be a column as well as a row."""
        if len(values) > _AT_ONCE:
            parts = (values[at : at + _AT_ONCE] for at in range(0, len(values), _AT_ONCE))
            return [*chain.from_iterable(map(self.of, parts))]
        if not values:
            return []
        texts, sizes = _measured(values)
        found = set(sizes)
        least, most = min(found), max(found)
        if most < _BLOCK:
            return self._of_short(texts, sizes)
        if least >= _BLOCK and most < _MIDDLE:
            return self._of_middle(texts, sizes)
        return self._of_mixed(texts, sizes)

    def _of_mixed(self, texts: Sequence[bytes], sizes: Sequence[int]) -> list[bytes]:
        """Both ways for all, which costs less than to part them and to put them together."""
        short, middle = self._of_short(texts, sizes), self._of_middle(texts, sizes)
        ways = zip(sizes, short, middle, texts, strict=True)
        return [
            (one if size < _BLOCK else other) if size < _MIDDLE else self._of_long(text)
            for size, one, other, text in ways
        ]

    def _of_short(self, texts: Sequence[bytes], sizes: Sequence[int]) -> list[bytes]:
        return _tree(_padded(texts, sizes, _BLOCK), (self._levels or self._ciphers())[:1])

    def _of_middle(self, texts: Sequence[bytes], sizes: Sequence[int]) -> list[bytes]:
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


def _measured(values: Sequence[Value]) -> tuple[Sequence[bytes], list[int]]:
    """The texts, '' for what is none, and their sizes."""
    try:
        return values, list(map(len, values))  # type: ignore[arg-type,return-value]
    except TypeError:
        sizes = [len(value) if type(value) is bytes else _size_of(value) for value in values]
        texts = [b"" if size < 0 else value for size, value in zip(sizes, values, strict=True)]
        return texts, sizes  # type: ignore[return-value]  # a size below 0 is no text's


def _size_of(value: object) -> int:
    if value is None:
        return _NULL
    if value is MISSING:
        return _ABSENT
    raise TypeError(f"a row holds canonical values; found {type(value).__name__}")


def _padded(texts: Sequence[bytes], sizes: Sequence[int], width: int) -> bytearray:
    """The texts, each with zeros up to ``width`` and its size as the last byte."""
    data = bytearray()
    for at in range(0, len(texts), _STEP):
        part = texts[at : at + _STEP]
        data += pack(f"{width}s" * len(part), *part)
    try:
        data[width - 1 :: width] = bytes(sizes)
    except ValueError:  # NULL or absent, or long and not to be hashed this way
        data[width - 1 :: width] = bytes([size & 0xFF for size in sizes])
    return data


def _tree(data: bytes | bytearray, levels: Sequence[_Encrypt]) -> list[bytes]:
    """Encrypt and keep half of each block, level by level; 8 bytes are left of each text."""
    for encrypt in levels:
        data = memoryview(encrypt(data)).cast("Q")[::2].tobytes()
    hashes: list[bytes] = []
    for at in range(0, len(data), _STEP * HASH_BYTES):
        part = data[at : at + _STEP * HASH_BYTES]
        hashes += unpack(f"{HASH_BYTES}s" * (len(part) // HASH_BYTES), part)
    return hashes
