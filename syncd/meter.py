"""What a run says of itself to whoever counts; ``syncd.metrics`` makes numbers of it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from syncd.flow.model import Counts
from syncd.flow.watch import Unwatched, Watch
from syncd.progress import Progress, Silent


class Health(StrEnum):
    """How an entity is: WARN has rows that are parked or held, ERROR could not be brought over."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"
    PAUSED = "paused"


class Standing(Struct, frozen=True):
    """What of an entity waits for somebody, as the ledger knew it when it was looked at.

    ``parked_age_s`` is how long the oldest parked record had been so.
    """

    held_deletes: int = 0
    open_conflicts: int = 0
    parked: int = 0
    parked_age_s: float | None = None


class Meter(Watch, Progress, Protocol):
    """Where a run counts. What was written is told only after its commit."""

    def lead(self, *, is_leader: bool) -> None:
        """Whether this process holds the lease."""

    def entity_done(
        self, entity: str, counts: Counts, *, source_rows: int, lag_s: float, now_s: float
    ) -> None:
        """An entity ended well at ``now_s``, which is of the wall clock.

        Its source was read ``lag_s`` ago at most.
        """

    def health(self, entity: str, health: Health) -> None:
        """How an entity is now."""

    def run_begun(self, run_id: int) -> None:
        """A run is under way."""

    def run_done(self, status: str, seconds: float) -> None:
        """A run ended, with the status of its report."""

    def stands(self, standings: Mapping[str, Standing]) -> None:
        """What waits for somebody, by entity."""

    def verified(self, entity: str, mismatches: Mapping[str, int]) -> None:
        """Both sides of an entity were compared in full; rows by kind of difference."""


class Unmetered(Unwatched, Silent):
    """Nobody counts."""

    def lead(self, *, is_leader: bool) -> None:
        """Do nothing."""

    def entity_done(
        self, entity: str, counts: Counts, *, source_rows: int, lag_s: float, now_s: float
    ) -> None:
        """Do nothing."""

    def health(self, entity: str, health: Health) -> None:
        """Do nothing."""

    def run_begun(self, run_id: int) -> None:
        """Do nothing."""

    def run_done(self, status: str, seconds: float) -> None:
        """Do nothing."""

    def stands(self, standings: Mapping[str, Standing]) -> None:
        """Do nothing."""

    def verified(self, entity: str, mismatches: Mapping[str, int]) -> None:
        """Do nothing."""


class Both:
    """Tells two watchers of one progress."""

    def __init__(self, first: Progress, second: Progress) -> None:
        self._watchers = (first, second)

    def start(self, entity: str, total_rows: int) -> None:
        """``entity`` begins."""
        for watcher in self._watchers:
            watcher.start(entity, total_rows)

    def advance(self, entity: str, rows: int) -> None:
        """``rows`` more are done."""
        for watcher in self._watchers:
            watcher.advance(entity, rows)

    def finish(self, entity: str) -> None:
        """``entity`` has ended."""
        for watcher in self._watchers:
            watcher.finish(entity)
