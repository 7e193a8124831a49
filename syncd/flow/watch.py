"""What batches tell of themselves while they move; whoever counts listens, or nobody does.

Nothing here waits, and nothing that is told changes what is done.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from syncd.flow.model import Counts, Plan


class Watch(Protocol):
    """Told of batches as they go by; must be cheap and never raise."""

    def writing(self) -> AbstractContextManager[None]:
        """Around one transaction, from before its first statement until it has committed."""

    def waiting(self) -> AbstractContextManager[None]:
        """Around a reader's wait for a writer that is free."""

    def committed(self, plan: Plan, done: Counts, conflicts: int) -> None:
        """A transaction stands: its outcomes, and how many columns it reported as conflicts.

        A record that is written twice in one run, for instance before and after its parent, is told
        once, with the first of its outcomes.
        """


class Unwatched:
    """Nobody listens."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nothing."""
        yield

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Nothing."""
        yield

    def committed(self, plan: Plan, done: Counts, conflicts: int) -> None:
        """Nothing."""
