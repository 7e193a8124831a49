"""One COPY from the server to a consumer, at the consumer's pace.

The server's own statement_timeout would count the time that the consumer takes, and a first load
may take hours; so it is off for these statements, and silence is what is limited here.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Literal, TypeVar

import anyio

from syncd.pg.connect import Connection
from syncd.sources.postgres_records import Collector

# The driver's limit on a call counts the consumer's time too.
_NO_LIMIT_S: Final = 1e9

_T = TypeVar("_T")


class _Kept:
    """A ``with`` that keeps what is raised inside, for later, and calls ``then``."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._then = then

    def __enter__(self) -> None:
        """Nothing is raised yet."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if error is not None:
            self.error = error
            self._then()
        return True


class Stream(Generic[_T]):
    """One COPY on its way through a collector to a consumer."""

    def __init__(
        self, collector: Collector[_T], emit: Callable[[_T], Awaitable[None]], silence_s: float
    ) -> None:
        self._collector = collector
        self._emit = emit
        self._silence_s = silence_s
        self._scope = anyio.CancelScope()
        self._kept = _Kept(self._scope.cancel)
        self.tag = ""

    async def copy(
        self,
        connection: Connection,
        statement: str,
        arguments: Sequence[str],
        *,
        form: Literal["binary", "text"],
    ) -> None:
        """Run the COPY; ``tag`` is what the server said at its end, '' when it was given up.

        It is given up when nothing comes in time, and when the collector or the consumer raises;
        then that is raised here.
        """
        with self._scope as scope:
            scope.deadline = anyio.current_time() + self._silence_s
            self.tag = await connection.copy_from_query(
                statement, *arguments, output=self._take, format=form, timeout=_NO_LIMIT_S
            )
        if self._kept.error is not None:
            raise self._kept.error

    async def _take(self, piece: bytes) -> None:
        """Never raises into the driver.

        It would cancel the COPY at the server, and wait for ever for an answer when this piece
        happened to be the last. The scope cancels only what is really under way.
        """
        if self._kept.error is not None:
            return
        with self._kept:
            for item in self._collector.feed(piece):
                self._scope.deadline = math.inf
                await self._emit(item)
                self._scope.deadline = anyio.current_time() + self._silence_s
