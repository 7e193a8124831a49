"""A steady pace: consumers that do slow work for each event are not flooded."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]
Sleep: TypeAlias = Callable[[float], Awaitable[object]]


class Pace:
    """Lets ``rate_per_s`` pass, seen over any second or more."""

    def __init__(self, rate_per_s: float, clock: Clock, sleep: Sleep) -> None:
        self._rate_per_s = rate_per_s
        self._clock = clock
        self._sleep = sleep
        self._free_s: float | None = None  # from here on there is room

    async def ready(self) -> None:
        """Return when the time of what was spent before is over."""
        pause_s = 0.0 if self._free_s is None else self._free_s - self._clock()
        if pause_s > 0:
            await self._sleep(pause_s)

    def spent(self, events: int) -> None:
        """So many go out now."""
        self._free_s = self._clock() + events / self._rate_per_s
