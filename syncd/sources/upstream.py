"""What a staging source asks of the system that it copies from: the seam between the two.

A nightly dump is restored over there, and a few queries run on it; what they give is copied into
staging tables here. Whoever can say which dump stands there now, what a query's columns are and
what its rows are is an upstream.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from msgspec import Struct

from syncd.flow.model import Shape

EmitText: TypeAlias = Callable[[bytes], Awaitable[None]]


class Dump(Struct, frozen=True):
    """Which copy of the old database stands there.

    Two equal non-empty identities mean the same content; '' says that nothing proves it.
    ``position`` grows from dump to dump: microseconds since 1970 of when the backup was finished.
    """

    identity: str
    position: int


class Upstream(Protocol):
    """Only ever read."""

    async def ready(self) -> Dump:
        """Wait, with bounded patience, until the database can be read; which dump it is.

        Asked before and after a read: what was read between two different answers proves nothing.
        Raises TransientError when it does not become ready in time.
        """

    async def columns(self, query: str) -> Shape:
        """The columns that ``query`` gives, in its order. Nothing is read."""

    async def stream(self, query: str, emit: EmitText) -> int:
        """Push the rows of ``query`` as lines of COPY text; return their number.

        Values are canonical, in the order of ``columns``. A piece has bounded size and whole
        lines; the next is read when ``emit`` has taken the last. Raises SourceError when the read
        is not complete.
        """

    async def close(self) -> None:
        """Release everything; may be called twice."""
