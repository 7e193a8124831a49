"""How often one subject may change something: a window that slides, kept for a bounded crowd."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 60.0
SUBJECTS_MAX: Final = 1000


class Rate:
    """At most ``most`` in any ``WINDOW_S`` for each subject. ``clock`` is monotonic seconds."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def at_most(self, most: int) -> "Rate":
        """Another limit for the same crowd: the turns that were taken still count."""
        found = Rate(most, self._clock)
        found._times = self._times
        return found

    def take(self, subject: str) -> float:
        """0 and the turn is taken; else the seconds until there is one again."""
        now_s = self._clock()
        times = self._times.setdefault(subject, deque())
        self._times.move_to_end(subject)
        if len(self._times) > SUBJECTS_MAX:  # whoever was quiet for longest is forgotten
            self._times.popitem(last=False)
        while times and now_s - times[0] >= WINDOW_S:
            times.popleft()
        if len(times) >= self._most:
            return WINDOW_S - (now_s - times[0])
        times.append(now_s)
        return 0.0
