"""How a run tells that it moves. The flow calls; whoever watches draws, or does not."""

from typing import Protocol


class Progress(Protocol):
    """Told of rows as they are done; must be cheap and never raise.

    ``start`` comes once for each entity, then any number of ``advance``, then ``finish``.
    """

    def start(self, entity: str, total_rows: int) -> None:
        """``entity`` begins; ``total_rows`` is an estimate, 0 when nobody knows."""

    def advance(self, entity: str, rows: int) -> None:
        """``rows`` more of ``entity`` are done."""

    def finish(self, entity: str) -> None:
        """``entity`` has ended, well or not."""


class Silent:
    """Nobody watches."""

    def start(self, entity: str, total_rows: int) -> None:
        """Nothing."""

    def advance(self, entity: str, rows: int) -> None:
        """Nothing."""

    def finish(self, entity: str) -> None:
        """Nothing."""
