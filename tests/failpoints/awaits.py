"""Cancels a coroutine at its n-th suspension, for every n, over shores that suspend everywhere.

A suspension is where a cancellation can arrive. The doubles in memory answer at once, so they are
wrapped: each call waits before it is made and after it was answered, a transaction also before and
after its commit. What is thrown in is what asyncio throws; no scope can shield it off, which is
more than production allows.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any

from syncd.flow.ports import Lease, Tx


class _Pause:
    """One turn of the loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Cancelling:
    """Awaits ``work``; instead of its ``at``-th suspension it is cancelled. 0: never.

    With ``cancel``, that is called at the ``at``-th suspension instead, as a scope's owner would.
    ``suspensions`` is how many there were.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, None],
        at: int,
        cancel: Callable[[], None] | None = None,
    ) -> None:
        self.suspensions = 0
        self._work = work
        self._at = at
        self._cancel = cancel

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        waits = next(steps, self)
        while waits is not self:
            self.suspensions += 1
            if self.suspensions == self._at and self._cancel is not None:
                self._cancel()
            elif self.suspensions == self._at:
                waits = self._cancelled(steps, waits)
                continue
            try:
                answer = yield waits
            except BaseException as error:  # noqa: BLE001 - handed on to whom it is for
                waits = self._next(lambda error=error: steps.throw(error))
            else:
                waits = self._next(lambda answer=answer: steps.send(answer))

    def _cancelled(self, steps: Generator[Any, Any, None], waits: Any) -> Any:
        if isinstance(waits, asyncio.Future):
            waits.cancel()
        return self._next(lambda: steps.throw(asyncio.CancelledError()))

    def _next(self, step: Any) -> Any:
        try:
            return step()
        except StopIteration:
            return self


class Restless:
    """A shore whose every call suspends before it is made and after it was answered."""

    def __init__(self, shore: Any) -> None:
        self._shore = shore

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._shore, name)
        if not iscoroutinefunction(found):
            return found

        async def call(*values: Any, **named: Any) -> Any:
            await _Pause()
            answer = await found(*values, **named)
            await _Pause()
            return answer

        return call

    def begin(self, lease: Lease, *, patient: bool = True) -> AbstractAsyncContextManager[Tx]:
        """A transaction that suspends at its four corners."""
        return self._begun(lease, patient=patient)

    @asynccontextmanager
    async def _begun(self, lease: Lease, *, patient: bool) -> AsyncIterator[Tx]:
        await _Pause()
        async with self._shore.begin(lease, patient=patient) as tx:
            await _Pause()
            yield tx
            await _Pause()
        await _Pause()
