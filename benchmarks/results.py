"""What a run found: the structs of the results file, and the verdict about each limit."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from benchmarks.measure import Sample, median_cpu_s, median_wall_s

MIB: Final = 1024**2
MEMORY_MIB_MAX: Final = 128


class Limit(Struct, frozen=True):
    """A figure that the issue bounds. ``found`` is at most ``most``, or at least ``least``."""

    what: str
    found: float
    most: float | None = None
    least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is kept."""
        if self.most is not None:
            return self.found <= self.most
        return self.least is None or self.found >= self.least

    def line(self) -> str:
        """One sentence about it, with by how much it is missed."""
        word, edge = ("at least", self.least) if self.most is None else ("at most", self.most)
        told = f"{self.what}: {self.found:.4g}, {word} {edge:g}"
        if self.holds:
            return f"kept    {told}"
        return f"MISSED  {told}" + (f" (by {abs(self.found / edge - 1):.0%})" if edge else "")


class Case(Struct):
    """One job beside its yardstick. ``base`` and ``job`` were measured in turns.

    ``parts`` is of a yardstick of several programs, whose times were added up: what each took.
    """

    name: str
    title: str
    rows: int
    base_title: str
    base: list[Sample]
    job: list[Sample]
    facts: dict[str, float | int] = {}
    limits: list[Limit] = []
    parts: dict[str, list[Sample]] = {}

    @property
    def ratio(self) -> float:
        """Median wall time of the job over that of the yardstick."""
        return median_wall_s(self.job) / median_wall_s(self.base)

    @property
    def cpu_ratio(self) -> float:
        """The same of CPU seconds, client and server together; steadier beside other load."""
        return median_cpu_s(self.job) / max(median_cpu_s(self.base), 0.01)

    @property
    def rss_mib(self) -> float:
        """The highest peak of the job."""
        return max(sample.rss_bytes for sample in self.job) / MIB

    def bound_ratio(self, most: float) -> None:
        """The issue bounds the ratio."""
        self.limits.append(Limit(f"{self.title}: ratio", self.ratio, most=most))

    def bound_memory(self) -> None:
        """The issue bounds the peak of memory."""
        what = f"{self.title}: peak memory in MiB"
        self.limits.append(Limit(what, self.rss_mib, most=MEMORY_MIB_MAX))


class Sees(Struct, frozen=True):
    """What of one night reached a contender's target, and what it left of the work of staff.

    ``changed`` is what happened at the source.
    """

    name: str
    changed: Mapping[str, int]
    inserted: int
    updated: int
    deleted: int
    edits: int
    edits_kept: int


class Results(Struct):
    """A whole run, as it is written to the file."""

    commit: str
    started_at: str
    rows: int
    gated: bool
    machine: Mapping[str, str | int | float]
    settings: Mapping[str, str]
    row_bytes: Mapping[str, float] = {}
    cases: list[Case] = []
    sees: list[Sees] = []
    skipped: list[str] = []

    def limits(self) -> Sequence[Limit]:
        """All limits of all cases."""
        return [limit for case in self.cases for limit in case.limits]

    def find(self, name: str) -> Case | None:
        """The case of that name, if it was measured."""
        return next((case for case in self.cases if case.name == name), None)

    def as_json(self) -> bytes:
        """The file: everything that was measured, with the ratios spelled out."""
        plain: Any = msgspec.to_builtins(self)
        for case, written in zip(self.cases, plain["cases"], strict=True):
            written["ratio"] = round(case.ratio, 3)
            written["cpu_ratio"] = round(case.cpu_ratio, 3)
            written["rss_mib"] = round(case.rss_mib, 1)
            for limit, told in zip(case.limits, written["limits"], strict=True):
                told["holds"] = limit.holds
        return msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"
