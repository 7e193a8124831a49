"""What all campaigns have come to, in a file that is written after every round."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from benchmarks import machine
from tests.trust.campaign import Record

CI: Final = "ci"
NIGHT: Final = "night"


class ResumeError(Exception):
    """The report is of something else, so it cannot be gone on with."""


class Report(Struct):
    """``column`` is ci or night. ``seconds`` is the time of all rounds together."""

    column: str
    seed: int
    workers: int
    commit: str
    machine: dict[str, str | int | float]
    started_at: str
    ended_at: str = ""
    seconds: float = 0.0
    campaigns: dict[str, Record] = {}

    @classmethod
    def begin(cls, column: str, seed: int, workers: int) -> "Report":
        """An empty one, of this commit and machine."""
        described = machine.describe("")
        del described["postgresql"]
        return cls(column, seed, workers, machine.commit(), described, now())

    @classmethod
    def resume(cls, path: Path, column: str, seed: int, workers: int) -> "Report":
        """The one in the file, if it is of the same commit, column and seed.

        Without the file it is an empty one. Raises ResumeError where it is another's.
        """
        new = cls.begin(column, seed, workers)
        if not path.exists():
            return new
        found = read(path)
        theirs, ours = ((r.commit, r.column, r.seed) for r in (found, new))
        if theirs != ours:
            raise ResumeError(
                f"{path}: expected commit, column and seed {ours}, found {theirs}; "
                "begin anew without --resume, or write another --report"
            )
        found.workers = workers
        return found

    def write(self, path: Path) -> None:
        """All at once: a report that was cut off is no report."""
        self.ended_at = now()
        self.seconds = round(sum(one.seconds for one in self.campaigns.values()), 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.new")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        beside.replace(path)


def read(path: Path) -> Report:
    """The report in a file."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def now() -> str:
    """The time, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
