"""The hash of a file's bytes: of the bytes alone, all of them, in a bounded room."""

import os
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.errors import SourceError
from syncd.sources import content_hash
from syncd.sources.content_hash import ContentHash, ReadInto, hashing
from syncd.sources.dump_files import DumpFile
from tests.sources.dump_world import PAIRS, dump_of, tar_of

LEAF: Final = 64  # in place of the real size
EDGES: Final = (0, 1, LEAF - 1, LEAF, LEAF + 1, 2 * LEAF - 1, 2 * LEAF, 9 * LEAF, 9 * LEAF + 7)


@pytest.fixture
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many leaves of few bytes."""
    monkeypatch.setattr(content_hash, "LEAF_BYTES", LEAF)


def reader(data: bytes) -> ReadInto:
    def read_into(offset: int, buffer: memoryview) -> int:
        found = data[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        return len(found)

    return read_into


def finished(steps: Generator[str, None, str]) -> str:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return str(end.value)


def side_by_side(data: bytes, threads: int = 3) -> str:
    return finished(hashing(reader(data), len(data), threads=threads))


def streamed(data: bytes, piece_bytes: int = LEAF) -> str:
    digest = ContentHash()
    for at in range(0, len(data), piece_bytes):
        digest.update(data[at : at + piece_bytes])
    return digest.hexdigest()


@pytest.mark.usefixtures("small_leaves")
@pytest.mark.parametrize("size", EDGES)
def test_threads_and_pieces_make_no_difference(size: int) -> None:
    """One thread, several, or a stream cut anywhere: the same hash, at every edge of a leaf."""
    data = os.urandom(size)
    ways = [side_by_side(data, threads) for threads in (1, 2, 4)]
    ways += [streamed(data, piece_bytes) for piece_bytes in (1, 7, LEAF - 1, LEAF, LEAF + 1, 1000)]
    assert len(set(ways)) == 1


@pytest.mark.usefixtures("small_leaves")
def test_every_byte_counts() -> None:
    """One bit changed in any byte, a byte less or a zero more: another hash each."""
    data = bytes(range(256)) * 2
    found = {side_by_side(data), side_by_side(data[:-1]), side_by_side(data + b"\0")}
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        found.add(side_by_side(bytes(changed)))
    assert len(found) == len(data) + 3


@pytest.mark.usefixtures("small_leaves")
def test_the_place_of_a_leaf_counts() -> None:
    """Equal leaves in another order, and leaves that only repeat, are other content."""
    one, other = b"a" * LEAF, b"b" * LEAF
    contents = (one + other, other + one, one + one, one, one * 3)
    assert len({side_by_side(content) for content in contents}) == len(contents)


def test_the_hash_is_the_same_in_every_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stored; who changes it on purpose raises the version of identities as well."""
    assert streamed(b"") == side_by_side(b"") == "672d3e56261ba9ea6783a4c4e1824797"
    assert streamed(b"id,a\n1,x\n") == "938f5d5d5bda02a9fc059ab3fa89f6cd"
    monkeypatch.setattr(content_hash, "LEAF_BYTES", LEAF)
    assert side_by_side(bytes(range(200))) == "261876bceb69b7de2b8db91412ef3154"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=700), cuts=st.lists(st.integers(1, 200), min_size=1, max_size=20))
@pytest.mark.usefixtures("small_leaves")
def test_a_stream_in_any_pieces_has_the_hash_of_the_file(data: bytes, cuts: list[int]) -> None:
    """However a stream is cut."""
    digest, at = ContentHash(), 0
    for size in cuts:
        digest.update(data[at : at + size])
        at += size
    digest.update(data[at:])
    assert digest.hexdigest() == side_by_side(data)


@pytest.mark.usefixtures("small_leaves")
def test_few_leaves_are_read_ahead() -> None:
    """Until a result is taken no more than two leaves for each thread are read."""
    data, offsets = os.urandom(50 * LEAF), set[int]()

    def read_into(offset: int, buffer: memoryview) -> int:
        offsets.add(offset)
        assert len(buffer) <= LEAF
        return reader(data)(offset, buffer)

    steps = hashing(read_into, len(data), threads=2)
    next(steps)
    steps.close()
    assert 0 in offsets
    assert max(offsets) < 4 * LEAF


@pytest.mark.usefixtures("small_leaves")
def test_no_thread_outlives_the_steps() -> None:
    """Closed in the middle, or ended by an error of the file, all threads are gone."""

    def broken(offset: int, buffer: memoryview) -> int:
        if offset == 5 * LEAF:
            raise SourceError("t.csv: cannot be read")
        return len(buffer)

    before = threading.active_count()
    steps = hashing(broken, 40 * LEAF, threads=4)
    next(steps)
    assert threading.active_count() > before
    steps.close()
    assert threading.active_count() == before
    with pytest.raises(SourceError, match="cannot be read"):
        finished(hashing(broken, 40 * LEAF, threads=4))
    assert threading.active_count() == before


async def test_a_member_has_the_identity_of_the_same_file(tmp_path: Path) -> None:
    """A file of several leaves, hashed side by side, and the same as a stream from an archive."""
    text = b"id,a\n" + b"".join(b"%d,v%d\n" % (n, n) for n in range(200_000))
    assert len(text) > 2 * content_hash.LEAF_BYTES
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "things.csv").write_bytes(text)
    packed = tmp_path / "things.tar"
    packed.write_bytes(tar_of({"things.csv": text}))
    found = set()
    for path in (folder, packed):
        async with dump_of(path, "things").open([PAIRS]) as snapshot:
            found.add(await snapshot.identity(PAIRS))
    assert len(found) == 1


async def test_a_file_that_is_cut_while_it_is_hashed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may end anywhere, in the middle of a leaf too: no identity, and an error that says why."""
    path = tmp_path / "things.csv"
    path.write_bytes(b"id,a\n" + b"1,x\n" * content_hash.LEAF_BYTES)
    whole = DumpFile.read_into

    def cut(file: DumpFile, offset: int, buffer: memoryview) -> int:
        os.truncate(path, content_hash.LEAF_BYTES + 100)
        return whole(file, offset, buffer)

    async with dump_of(tmp_path, "things").open([PAIRS]) as snapshot:
        monkeypatch.setattr(DumpFile, "read_into", cut)
        with pytest.raises(SourceError, match="was written to while it was read"):
            await snapshot.identity(PAIRS)
