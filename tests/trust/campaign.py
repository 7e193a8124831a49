"""A campaign: one promise, tried again and again in rounds until its goal or its time is reached.

A round is a few processes side by side. What was reached is read from what they wrote down, never
from what they were asked for.
"""

from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct

TOLD_MAX: Final = 400  # of a failure, in the report


class Failure(Struct, frozen=True):
    """What broke, and the command that shows it again."""

    told: str
    repeat: str


class Ask(Struct, frozen=True):
    """One round: its number from 0, the seed of all, units asked for, and by earlier rounds."""

    seed: int
    number: int
    count: int
    before: int
    workers: int
    folder: Path

    @property
    def own_seed(self) -> int:
        """A seed that no other round has."""
        return self.seed + self.number


class Call(Struct, frozen=True):
    """One process: Python's arguments, what is added to its environment, and what it writes."""

    words: tuple[str, ...]
    report: Path | None = None
    environment: dict[str, str] = {}

    @property
    def repeat(self) -> str:
        """The same as a line for a shell, but for the report."""
        words = list(self.words)
        if self.report is not None and "--report" in words:
            at = words.index("--report")
            del words[at : at + 2]
        set_ = [f"{name}={value}" for name, value in sorted(self.environment.items())]
        return " ".join([*set_, "python", *(f"'{w}'" if " " in w else w for w in words)])


class Said(Struct, frozen=True):
    """How a process ended: its exit code, None where it was ended, and the end of its words."""

    code: int | None
    words: str


class Gained(Struct):
    """What a process has come to."""

    counts: dict[str, int] = {}
    failures: list[Failure] = []
    notes: list[str] = []

    def add(self, other: "Gained") -> None:
        """Add counts; failures and notes follow, each note once."""
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.failures += other.failures
        self.notes += [note for note in other.notes if note not in self.notes]


class Kind(Protocol):
    """A way to run a round."""

    def calls(self, ask: Ask) -> list[Call]:
        """The processes of a round, at most one for each worker."""

    def gained(self, call: Call, said: Said) -> Gained:
        """What one of them came to; a process that broke down is a failure."""


class Campaign(Struct, frozen=True):
    """``size`` is the units of a round, 0 where a round is a fixed set, tried as a whole.

    ``ci`` and ``night`` are the goals of the two columns, in ``unit``; ``wanted`` is said instead
    where the goal is "all of them". ``seconds_max`` bounds a round; ``share`` is of a night.
    """

    name: str
    what: str
    unit: str
    ci: int
    night: int
    kind: Kind
    size: int = 0
    wanted: str = ""
    seconds_max: float = 900.0
    share: int = 1


class Record(Struct):
    """What a campaign has come to so far. ``reached`` is the count of its unit."""

    what: str
    unit: str
    goal: int
    wanted: str = ""
    rounds: int = 0
    asked: int = 0
    reached: int = 0
    seconds: float = 0.0
    processor_s: float = 0.0
    rate: float = 0.0
    counts: dict[str, int] = {}
    failures: list[Failure] = []
    notes: list[str] = []
    is_over: bool = False

    def add(self, asked: int, gained: Gained, seconds: float, processor_s: float) -> None:
        """Add a round."""
        so_far = Gained(self.counts, self.failures, self.notes)
        so_far.add(gained)
        self.rounds += 1
        self.asked += asked
        self.reached = self.counts.get(self.unit, 0)
        self.seconds = round(self.seconds + seconds, 2)
        self.processor_s = round(self.processor_s + processor_s, 2)
        self.rate = round(self.reached / self.seconds, 2) if self.seconds else 0.0

    @property
    def is_short(self) -> bool:
        """Nothing broke, but the goal was not reached."""
        return not self.failures and self.reached < self.goal


def broken_down(call: Call, said: Said) -> Gained:
    """A process that did not end as it should, or left no report."""
    how = "did not end in time" if said.code is None else f"ended with {said.code}"
    last = " / ".join(said.words.strip().splitlines()[-3:])
    return Gained(failures=[Failure(f"{how}: {last}"[-TOLD_MAX:], call.repeat)])


def decoded(call: Call) -> dict[str, object] | None:
    """The JSON that a process wrote, None where it wrote none."""
    if call.report is None or not call.report.exists():
        return None
    try:
        return msgspec.json.decode(call.report.read_bytes(), type=dict[str, object])
    except msgspec.DecodeError:
        return None
