"""What a run says of itself to whoever counts; ``syncd.metrics`` makes numbers of it."""

from typing import Protocol

from syncd.flow.model import Counts


class Meter(Protocol):
    """Where a run counts. It is told only after the commit that it tells of."""

    def lead(self, *, is_leader: bool) -> None:
        """Whether this process holds the lease."""

    def entity_done(self, entity: str, counts: Counts, *, conflicts: int, now_s: float) -> None:
        """An entity ended well; ``now_s`` is the wall clock."""

    def health(self, entity: str, status: str) -> None:
        """How an entity is: ok or failed."""


class Unmetered:
    """Nobody counts."""

    def lead(self, *, is_leader: bool) -> None:
        """Do nothing."""

    def entity_done(self, entity: str, counts: Counts, *, conflicts: int, now_s: float) -> None:
        """Do nothing."""

    def health(self, entity: str, status: str) -> None:
        """Do nothing."""
