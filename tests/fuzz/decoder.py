"""What a fuzzed decoder is, and the bounds within which every case must end."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from types import FrameType
from typing import Final

from msgspec import Struct

CPU_S_MAX: Final = 20.0  # of one case; the slowest honest one takes a hundredth of it
GROWTH_MIB_MAX: Final = 512  # of this process, over a whole hunt


class Decoder(Struct, frozen=True):
    """One way in.

    ``seeds`` are sound inputs. ``check`` takes a mutated one and answers in a word what became of
    it (``value``, ``finding``, the class of an error of ours); it raises whatever must not happen.
    ``weight`` is how many cases of others one case costs.
    """

    name: str
    seeds: tuple[bytes, ...]
    check: Callable[[bytes, Random], str]
    weight: int = 1


class HangError(Exception):
    """A case took longer than anything honest does."""


@contextmanager
def bounded_cpu(seconds: float) -> Iterator[None]:
    """Raise HangError where the block computes for longer; the main thread only."""

    def strike(_number: int, _frame: FrameType | None) -> None:
        raise HangError(f"more than {seconds} s of computing")

    before = signal.signal(signal.SIGVTALRM, strike)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def high_water_mib() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seeds(*texts: str | bytes) -> tuple[bytes, ...]:
    """Sound inputs as bytes."""
    return tuple(text.encode() if isinstance(text, str) else text for text in texts)
