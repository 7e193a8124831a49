"""The one place that repeats anything, and it repeats one kind of error."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from syncd.errors import TransientError

T = TypeVar("T")


class Retry(Protocol):
    """Calls until it succeeds, fails for good, or the budget is spent."""

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Result of ``call``; raises its last TransientError when the budget is spent."""


def with_backoff(
    retries: int, budget_s: float, *, first_s: float = 0.1, most_s: float = 10.0
) -> Retry:
    """Full-jitter exponential back-off: at most ``retries`` repeats within ``budget_s``.

    The pause before repeat n is random between 0 and ``first_s * 2**n``, at most ``most_s``.
    """

    async def call_with_backoff(call: Callable[[], Awaitable[T]]) -> T:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(retries + 1) | stop_before_delay(budget_s),
            wait=wait_random_exponential(multiplier=first_s, max=most_s),
            sleep=anyio.sleep,
            reraise=True,
        )

        async def once() -> T:  # a coroutine function: nothing else is awaited by tenacity
            return await call()

        return await retrying(once)

    return call_with_backoff
