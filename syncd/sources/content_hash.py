"""The hash that names the bytes of a file: leaves side by side, then one root over their hashes.

Reading a file again only to learn that it is last night's is all of the work of a quiet night, and
one thread hashes about 1 GB/s. So the bytes are cut into leaves, which a few threads hash at the
same time; ``hashlib`` lets the others run meanwhile. This is the tree mode of BLAKE2 itself: its
parameters bind each leaf to its place and tell leaves from the root. The result depends on the
bytes alone, not on the number of threads nor on the pieces in which a stream came.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from hashlib import blake2b
from typing import Final, TypeAlias

CONTENT_HASH_BYTES: Final = 16
# Measured from 256 KiB to 4 MiB: the same speed, and this costs less memory than the largest.
LEAF_BYTES: Final = 1024 * 1024
# More threads only wait for memory, and a run should leave something to its neighbours.
THREADS_MAX: Final = 4
_INNER_BYTES: Final = 32
_LENGTH_BYTES: Final = 8
_AHEAD: Final = 2  # leaves for each thread, so that none waits for the one who takes the results

ReadInto: TypeAlias = Callable[[int, memoryview], int]


class ContentHash:
    """The hash of bytes that come one piece after the other."""

    def __init__(self) -> None:
        self._leaf = _leaf(0)
        self._room = LEAF_BYTES
        self._tree = _Tree()

    def update(self, data: bytes) -> None:
        """Take the next piece, of any length."""
        rest = memoryview(data)
        while rest:
            if not self._room:
                self._close_leaf()
            piece, rest = rest[: self._room], rest[self._room :]
            self._leaf.update(piece)
            self._room -= len(piece)

    def hexdigest(self) -> str:
        """The hash of all pieces; nothing may be added after it."""
        if self._room < LEAF_BYTES:
            self._close_leaf()
        return self._tree.hexdigest()

    def _close_leaf(self) -> None:
        self._tree.add(self._leaf.digest(), LEAF_BYTES - self._room)
        self._leaf, self._room = _leaf(self._tree.leaves), LEAF_BYTES


def hashing(read_into: ReadInto, size: int, *, threads: int) -> Generator[str, None, str]:
    """Hash ``size`` bytes in steps, each giving ''; returns what ``ContentHash`` would.

    ``read_into`` fills a buffer from an offset and returns how much was there; it is called by up
    to ``threads`` threads at once, and what it raises is raised here. All of them have ended when
    the steps are exhausted or closed.
    """
    tree, buffers = _Tree(), threading.local()

    def leaf(at: int) -> tuple[bytes, int]:
        if not hasattr(buffers, "one"):
            buffers.one = memoryview(bytearray(min(LEAF_BYTES, size)))
        there = min(LEAF_BYTES, size - at * LEAF_BYTES)
        found = read_into(at * LEAF_BYTES, buffers.one[:there])
        one = _leaf(at)
        one.update(buffers.one[:found])
        return one.digest(), found

    leaves = -(-size // LEAF_BYTES)
    with closing(_in_order(leaf, leaves, min(threads, leaves))) as hashed:
        for digest, found in hashed:
            tree.add(digest, found)
            yield ""
    return tree.hexdigest()


def threads_here() -> int:
    """How many threads may hash at once: as many as this process has cores, at most four."""
    if hasattr(os, "sched_getaffinity"):
        return min(THREADS_MAX, len(os.sched_getaffinity(0)))
    return min(THREADS_MAX, os.cpu_count() or 1)


class _Tree:
    """The root, which takes the hashes of leaves in their order."""

    def __init__(self) -> None:
        self.leaves = 0
        self._bytes = 0
        self._root = blake2b(
            digest_size=CONTENT_HASH_BYTES,
            fanout=0,
            depth=2,
            leaf_size=LEAF_BYTES,
            inner_size=_INNER_BYTES,
            node_depth=1,
            last_node=True,
        )

    def add(self, digest: bytes, size: int) -> None:
        self.leaves += 1
        self._bytes += size
        self._root.update(digest)

    def hexdigest(self) -> str:
        whole = self._root.copy()
        whole.update(self._bytes.to_bytes(_LENGTH_BYTES, "big"))
        return whole.hexdigest()


def _leaf(at: int) -> blake2b:
    return blake2b(
        digest_size=_INNER_BYTES,
        fanout=0,
        depth=2,
        leaf_size=LEAF_BYTES,
        inner_size=_INNER_BYTES,
        node_offset=at,
    )


def _in_order(
    leaf: Callable[[int], tuple[bytes, int]], leaves: int, threads: int
) -> Generator[tuple[bytes, int], None, None]:
    """What ``leaf`` returns for each place, in order, from so many threads."""
    if threads <= 1:
        yield from map(leaf, range(leaves))
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="syncd-hash")
    try:
        yield from _ahead(pool, leaf, leaves, threads * _AHEAD)
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(
    pool: ThreadPoolExecutor, leaf: Callable[[int], tuple[bytes, int]], leaves: int, ahead: int
) -> Iterator[tuple[bytes, int]]:
    under_way: deque[Future[tuple[bytes, int]]] = deque()
    for at in range(leaves):
        if len(under_way) == ahead:
            yield under_way.popleft().result()
        under_way.append(pool.submit(leaf, at))
    while under_way:
        yield under_way.popleft().result()
