"""What a hash of a value costs, by the column and one by one: ``python -m benchmarks.hashing``.

The reason why ``syncd.flow.value_hash`` is not simply BLAKE2b: both in one process, over the same
columns, the best of several turns.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, TypeAlias

from syncd.flow.value_hash import HASH_BYTES, ValueHash

ROWS: Final = 5000
TURNS: Final = 9

_KEY: Final = b"a key of thirty-two bytes or so."
_SHAPES: Final[dict[str, Callable[[int], bytes | None]]] = {
    "number of up to 7 digits": lambda n: b"%d" % (n * 7919 % 10_000_000),
    "flag": lambda n: b"true" if n % 4 else b"false",
    "number, one in ten NULL": lambda n: b"%d" % n if n % 10 else None,
    "moment, 29 bytes": lambda n: b"2015-01-01 00:00:%02d.%06d+00" % (n % 60, n),
    "text, 20 to 60 bytes": lambda n: b"Item %d, series" % n + b"x" * (n % 41),
    "text of 15 to 40, a third NULL": lambda n: (
        b"seen %d; " % n + b"y" * (n % 30) if n % 3 else None
    ),
    "text of 200 bytes": lambda n: b"%d" % n + b"z" * 200,
}


Column: TypeAlias = Sequence[bytes | None]


def best_s(hashed: Callable[[Column], object], column: Column) -> float:
    """Seconds of the quickest of several turns."""
    turns = []
    for _ in range(TURNS):
        begun_s = time.perf_counter()
        hashed(column)
        turns.append(time.perf_counter() - begun_s)
    return min(turns)


def blake2b_of(column: Column) -> list[bytes]:
    """Keyed BLAKE2b of each value, with a state that is copied: the quickest way there is."""
    copy = blake2b(key=_KEY, digest_size=HASH_BYTES).copy
    hashes = []
    for value in column:
        state = copy()
        state.update(b"" if value is None else value)
        hashes.append(state.digest())
    return hashes


def main() -> None:
    """Print nanoseconds a value and the ratio, for each shape of column."""
    ours = ValueHash(_KEY)
    print(f"{'column of 5,000 values':34} {'BLAKE2b':>9} {'by column':>10} {'ratio':>6}")
    for name, shape in _SHAPES.items():
        column = [shape(number) for number in range(ROWS)]
        one_by_one_s, together_s = best_s(blake2b_of, column), best_s(ours.of, column)
        ns = [seconds / ROWS * 1e9 for seconds in (one_by_one_s, together_s)]
        print(f"{name:34} {ns[0]:6.0f} ns {ns[1]:7.0f} ns {together_s / one_by_one_s:6.2f}")


if __name__ == "__main__":
    main()
