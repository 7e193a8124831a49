"""The external sort and the index on disk, by themselves."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.sources import key_index, sorted_index
from syncd.sources.key_index import KeyIndex, Repeated, first_of_each
from syncd.sources.sorted_index import FLAWED, TAIL, TWICE, RunSorter
from tests.sources.dump_world import records_of

KEYS: Final = st.binary(max_size=6).map(lambda key: key.replace(b"\0", b"") + b"\0")


def entry(key: bytes, offset: int = 0, size: int = 5, line: int = 1, digest: int = 7) -> bytes:
    return key + TAIL.pack(offset, size, line, digest)


def merged(entries: list[bytes], run_entries: int, at_once: int) -> list[list[bytes]]:
    sorter = RunSorter(None, run_entries)
    try:
        for start in range(0, len(entries), at_once):
            sorter.add(entries[start : start + at_once])
        return list(sorter.merged())
    finally:
        sorter.close()


@given(
    keys=st.lists(KEYS, max_size=200),
    run_entries=st.integers(1, 50),
    at_once=st.integers(1, 60),
    held=st.integers(1, 7),
)
def test_a_merge_gives_everything_in_order(
    keys: list[bytes], run_entries: int, at_once: int, held: int
) -> None:
    """Whatever the size of runs and pieces, the merge is one sorted list of all entries."""
    entries = [entry(key, offset) for offset, key in enumerate(keys)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_index, "_MERGE_ENTRIES", held)
        batches = merged(entries, run_entries, at_once)
    assert list(itertools.chain.from_iterable(batches)) == sorted(entries)
    assert all(batches)


def test_a_merge_holds_a_bounded_part_of_each_run() -> None:
    """No batch is longer than what is held of all runs together."""
    entries = [entry(n.to_bytes(8, "big"), n) for n in range(50_000)]
    random.Random(5).shuffle(entries)  # noqa: S311 - an order, not a secret.
    batches = merged(entries, 10_000, 1000)
    assert max(map(len, batches)) <= 5 * sorted_index._MERGE_ENTRIES
    assert sum(map(len, batches)) == 50_000


def test_runs_of_a_file_in_key_order_follow_each_other() -> None:
    """They do not overlap, so each batch is a piece of one run as it was written."""
    entries = [entry(n.to_bytes(8, "big"), n) for n in range(5000)]
    batches = merged(entries, 1000, 1000)
    assert [len(batch) for batch in batches] == [1000] * 5


def test_long_keys_make_shorter_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is bounded in bytes as well as in entries (I14)."""
    monkeypatch.setattr(sorted_index, "_RUN_BYTES", 10_000)
    entries = [entry(b"%08d" % n + b"k" * 1000) for n in range(40)]
    assert len(merged(entries, 1000, 5)) == 4


@pytest.mark.parametrize(
    ("keys", "key_bytes"), [([b"aa", b"bb"], 2), ([b"aa", b"b"], 0), ([], 0), ([b"", b"a"], 0)]
)
def test_the_length_of_keys_is_known_when_they_agree(keys: list[bytes], key_bytes: int) -> None:
    """It decides whether blocks have a width."""
    sorter = RunSorter(None)
    sorter.add([entry(key) for key in keys])
    assert sorter.key_bytes == key_bytes
    sorter.close()


def batches_of(entries: list[bytes], size: int) -> Iterator[list[bytes]]:
    return iter([entries[at : at + size] for at in range(0, len(entries), size)])


@given(groups=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4)), size=st.integers(1, 9))
def test_of_each_key_the_first_is_kept(groups: list[list[int]], size: int) -> None:
    """A group whose digests agree keeps its digest; one whose digests differ is marked."""
    entries, expected, repeated, line = [], [], [], 0
    for number, digests in enumerate(groups):
        key = number.to_bytes(2, "big")
        is_same = len(set(digests)) == 1
        for at, digest in enumerate(digests):
            line += 1
            entries.append(entry(key, line, 5, line, digest))
            if at == 0:
                mark = 0 if is_same else TWICE
                expected.append(entry(key, line, 5 | mark, line, digest if is_same else 0))
            else:
                repeated.append(Repeated(line, is_same))
    found = list(first_of_each(batches_of(entries, size)))
    assert [one for firsts, _ in found for one in firsts] == expected
    assert [one for _, others in found for one in others] == repeated


def test_equal_digests_of_other_sizes_are_not_the_same_record() -> None:
    """A digest is 64 bits; the length is looked at too."""
    *_, found = first_of_each(iter([[entry(b"k", 0, 5), entry(b"k", 9, 6)]]))
    assert found == ([entry(b"k", 0, 5 | TWICE, digest=0)], [Repeated(1, is_same=False)])


@given(
    keys=st.sets(KEYS, max_size=120),
    width=st.sampled_from([0, 8]),
    block_bytes=st.integers(30, 800),
    step=st.integers(1, 30),
    absent=st.lists(KEYS, max_size=20),
)
def test_an_index_gives_back_what_was_stored(
    keys: set[bytes], width: int, block_bytes: int, step: int, absent: list[bytes]
) -> None:
    """Blocks hold every key and digest in order; every key is found, and no other one."""
    if width:
        keys = {key.rjust(8, b"x") for key in keys}
    ordered = sorted(keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "BLOCK_BYTES", block_bytes)
        index = KeyIndex(None, width)
        entries = [
            entry(key, n * 10, n | (FLAWED if n % 3 else 0), n + 1, n - 50)
            for n, key in enumerate(ordered)
        ]
        for start in range(0, len(entries), step):
            index.append(entries[start : start + step])
        index.append([])
        index.finish()
    blocks = list(index.blocks())
    assert [r for block in blocks for r in records_of(block)] == [
        (key, n - 50) for n, key in enumerate(ordered)
    ]
    assert index.keys == len(keys)
    located = [one for block in index.located() for one in block]
    assert [(o.key, o.digest, o.offset, o.size, o.line, o.is_flawed) for o in located] == [
        (key, n - 50, n * 10, n, n + 1, bool(n % 3)) for n, key in enumerate(ordered)
    ]
    wanted = sorted({*keys, *absent})
    assert index.find(wanted) == [one for one in located if one.key in wanted]
    index.close()
    index.close()


def test_nothing_is_left_in_the_spool_folder(tmp_path: Path) -> None:
    """Spools have no name, so not even a killed process leaves one behind."""
    sorter, index = RunSorter(tmp_path), KeyIndex(tmp_path, 1)
    sorter.add([entry(b"k")])
    list(sorter.merged())
    index.append([entry(b"k")])
    index.finish()
    assert list(tmp_path.iterdir()) == []
    sorter.close()
    index.close()
