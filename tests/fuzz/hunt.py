"""Runs mutated cases through a decoder until a number of cases, or a time, is reached.

A case has a generator of its own, seeded with the decoder's name, the seed and its number, so any
case can be repeated alone.
"""

# ruff: noqa: S311 - dice are for tests.

import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from msgspec import Struct

from tests.fuzz.decoder import CPU_S_MAX, GROWTH_MIB_MAX, Decoder, bounded_cpu, high_water_mib
from tests.fuzz.mutators import mutated

FAILURES_MAX: Final = 5  # of one decoder; more teach nothing
_BYTES_SHOWN: Final = 160


class Failure(Struct, frozen=True):
    """A case that did what must not be, and how to see it again."""

    decoder: str
    seed: int
    case: int
    error: str
    where: str
    begins: str
    size_bytes: int

    @property
    def repeat(self) -> str:
        """The command that runs this case alone."""
        return (
            f"python -m tests.fuzz --decoder {self.decoder} --seed {self.seed} "
            f"--first {self.case} --cases 1"
        )


class Hunted(Struct):
    """What became of the cases of a decoder."""

    decoder: str
    seed: int
    cases: int = 0
    seconds: float = 0.0
    outcomes: dict[str, int] = {}
    failures: list[Failure] = []
    growth_mib: float = 0.0

    @property
    def rate(self) -> float:
        """Cases a second."""
        return self.cases / self.seconds if self.seconds else 0.0


def input_of(decoder: Decoder, seed: int, case: int) -> tuple[bytes, Random]:
    """The input of a case, and the generator as it stands behind it."""
    random = Random(f"{decoder.name}/{seed}/{case}")
    return mutated(random.choice(decoder.seeds), decoder.seeds, random), random


def hunt(
    decoder: Decoder,
    seed: int,
    *,
    cases: int,
    seconds: float | None = None,
    first: int = 0,
    cpu_s: float = CPU_S_MAX,
    most: int = FAILURES_MAX,
) -> Hunted:
    """Run ``cases``, fewer where ``seconds`` are over or ``most`` failed before.

    A case that computes for ``cpu_s`` has failed.
    """
    found, outcomes = Hunted(decoder.name, seed), Counter[str]()
    mib_before, started_s = high_water_mib(), time.monotonic()
    for case in range(first, first + cases):
        outcome = _one(decoder, seed, case, found.failures, cpu_s)
        outcomes[outcome] += 1
        found.cases += 1
        found.seconds = time.monotonic() - started_s
        if len(found.failures) >= most or (seconds and found.seconds >= seconds):
            break
    found.outcomes = dict(sorted(outcomes.items()))
    found.growth_mib = round(high_water_mib() - mib_before, 1)
    if found.growth_mib > GROWTH_MIB_MAX:
        told = f"memory grew by {found.growth_mib} MiB"
        found.failures.append(Failure(decoder.name, seed, first, told, "", "", 0))
    return found


def _one(decoder: Decoder, seed: int, case: int, failures: list[Failure], cpu_s: float) -> str:
    data, random = input_of(decoder, seed, case)
    try:
        with bounded_cpu(cpu_s):
            return decoder.check(data, random)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what this looks for.
        failures.append(_failure(decoder, seed, case, data, error))
        return "failure"


def _failure(decoder: Decoder, seed: int, case: int, data: bytes, error: Exception) -> Failure:
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-4:]))
    told = f"{type(error).__name__}: {str(error)[:300]}"
    begins = ascii(data[:_BYTES_SHOWN])
    return Failure(decoder.name, seed, case, told, where, begins, len(data))


def told(failures: Sequence[Failure]) -> str:
    """Failures for people."""
    return "\n".join(
        f"{f.decoder}: {f.error}\n  at {f.where}\n  of {f.size_bytes} bytes: {f.begins}\n"
        f"  again: {f.repeat}"
        for f in failures
    )
