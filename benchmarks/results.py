"""What a run found: the structs of the results file, and the verdict about each limit."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from benchmarks.measure import Sample, median_cpu_s, median_wall_s

MEMORY_BYTES_MAX = 128 * 1024**2


class Limit(Struct, frozen=True):
    """A figure that the issue bounds. ``found`` is at most ``most``, or at least ``least``."""

    what: str
    found: float
    most: float | None = None
    least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is kept."""
        if self.most is not None and self.found > self.most:
            return False
        return self.least is None or self.found >= self.least

    def line(self) -> str:
        """One sentence about it."""
        bound = f"at most {self.most:g}" if self.most is not None else f"at least {self.least:g}"
        if self.holds:
            return f"kept    {self.what}: {self.found:.2f}, {bound}"
        edge = self.most if self.most is not None else self.least
        assert edge is not None
        by = abs(self.found / edge - 1) * 100 if edge else 100.0
        return f"MISSED  {self.what}: {self.found:.2f}, {bound} (by {by:.0f} %)"


class Case(Struct):
    """One job beside its yardstick. ``base`` and ``job`` were measured in turns."""

    name: str
    title: str
    rows: int
    base_title: str
    base: list[Sample]
    job: list[Sample]
    facts: dict[str, float | int | str] = {}
    limits: list[Limit] = []
    notes: list[str] = []

    @property
    def ratio(self) -> float:
        """Median wall time of the job over that of the yardstick."""
        return median_wall_s(self.job) / median_wall_s(self.base)

    @property
    def cpu_ratio(self) -> float:
        """The same of CPU seconds, client and server together."""
        return median_cpu_s(self.job) / max(median_cpu_s(self.base), 1e-9)

    @property
    def rss_bytes(self) -> int:
        """The highest peak of the job."""
        return max(sample.rss_bytes for sample in self.job)

    def bound_ratio(self, most: float) -> None:
        """The issue bounds the ratio."""
        self.limits.append(Limit(f"{self.title}: ratio", self.ratio, most=most))

    def bound_memory(self) -> None:
        """The issue bounds the peak of memory."""
        mebibytes = self.rss_bytes / 1024**2
        most = MEMORY_BYTES_MAX / 1024**2
        self.limits.append(Limit(f"{self.title}: peak memory in MiB", mebibytes, most=most))


class Results(Struct):
    """A whole run, as it is written to the file."""

    commit: str
    started_at: str
    machine: Mapping[str, str | int | float]
    settings: Mapping[str, str]
    rows: int
    row_bytes: Mapping[str, float]
    cases: list[Case] = []
    sees: list[dict[str, str]] = []
    skipped: list[str] = []

    def limits(self) -> Sequence[Limit]:
        """All limits of all cases."""
        return [limit for case in self.cases for limit in case.limits]

    def as_json(self) -> bytes:
        """The file: everything that was measured, with the ratios spelled out."""
        plain = msgspec.to_builtins(self)
        for case, written in zip(self.cases, plain["cases"], strict=True):
            written["ratio"] = round(case.ratio, 3)
            written["cpu_ratio"] = round(case.cpu_ratio, 3)
            written["rss_mib"] = round(case.rss_bytes / 1024**2, 1)
            for limit, told in zip(case.limits, written["limits"], strict=True):
                told["holds"] = limit.holds
        return msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"
