"""A secret that may change while syncd runs: read again for every connection, without a restart.

    what the place says now  -> refused? ->  what it says in this moment, and what it said before
                                             or is about to say  -> refused? ->  wait, and again

A place that cannot be read gives the last value that it gave. As long as that works, only the log
tells of it. Reading waits for a file or a network, so it is done in a thread.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from syncd.errors import SyncdError
from syncd.logs import Log

_log = Log("syncd.secrets")
# A burst of connections is one look.
_FRESH_S: Final = 1.0


class Place(Protocol):
    """Where a secret stands."""

    def now(self) -> str:
        """What it says. Raises SyncdError."""

    def beside(self) -> Iterable[str]:
        """What it said before, and is about to say, where the place knows. Raises SyncdError."""


class Anew:
    """One secret's place, and what is known of its values. Used from several threads."""

    def __init__(
        self, place: Place, first: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._place = place
        self._clock = clock
        self._lock = threading.Lock()
        self._read_s: float | None = None
        self._last = first
        self._worked: str | None = None
        self._told: Callable[[Sequence[str]], None] = lambda _: None

    def tell(self, told: Callable[[Sequence[str]], None]) -> None:
        """Have ``told`` hear of every value before anybody uses it."""
        self._told = told

    @property
    def ever_worked(self) -> bool:
        """Whether a login succeeded with any of its values."""
        return self._worked is not None

    def works(self, value: str) -> None:
        """A login succeeded with ``value``."""
        self._worked = value

    def values(self, *, refused: bool) -> tuple[str, ...]:
        """Values that may be right, the likeliest first.

        With ``refused``, all that the place knows in this moment.
        """
        with self._lock:
            found = [self._now(afresh=refused)]
            found += self._beside() if refused else []
            found += [self._worked] if self._worked is not None else []
            self._told(found)
        return tuple(dict.fromkeys(found))

    def _now(self, *, afresh: bool) -> str:
        at_s = self._clock()
        if afresh or self._read_s is None or at_s - self._read_s >= _FRESH_S:
            try:
                self._last, self._read_s = self._place.now(), at_s
            except SyncdError as error:
                _log.warning("secret_not_read", reason=error.message)
        return self._last

    def _beside(self) -> list[str]:
        try:
            return list(self._place.beside())
        except SyncdError as error:
            _log.warning("secret_not_read", reason=error.message)
            return []
