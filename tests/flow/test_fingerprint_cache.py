"""The table of known column hashes: bounded, and never another hash for being in it or not."""

import pytest

from syncd.flow import fingerprint
from syncd.flow.fingerprint import Hasher
from syncd.flow.model import MISSING, Value

KEY = b"a key of sixteen bytes or more"
SHORT: list[Value] = [b"%d words" % n for n in range(20)]


def hash_of(value: Value) -> bytes:
    """The hash of a value by a hasher that has seen no other."""
    return Hasher(KEY).column(value)


def test_a_value_has_the_same_hash_the_second_time() -> None:
    """Whether it was found or worked out, short or long, NULL or absent."""
    hasher = Hasher(KEY)
    values: tuple[Value, ...] = (*SHORT, b"x" * 10_000, None, MISSING, b"", b"17")
    assert hasher.columns(values) == hasher.columns(values) == tuple(map(hash_of, values))


def test_a_full_table_takes_no_more_and_changes_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has a bound; what does not fit is worked out each time (I14)."""
    hasher = Hasher(KEY)
    most = len(hasher._known) + 5
    monkeypatch.setattr(fingerprint, "_KNOWN_MAX", most)
    for _ in range(2):
        assert [hasher.column(value) for value in SHORT] == [hash_of(value) for value in SHORT]
        assert len(hasher._known) == most


def test_a_long_value_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is one of bytes, not only of values (I14)."""
    monkeypatch.setattr(fingerprint, "_KNOWN_BYTES_MAX", 4)
    hasher = Hasher(KEY)
    before = len(hasher._known)
    for value, kept in [(b"four", 1), (b"fives", 1), (b"4444", 2)]:
        assert hasher.column(value) == hash_of(value)
        assert len(hasher._known) == before + kept
