"""The schedule: when a pass is due by the clock of a time zone, and nothing is lost or doubled.

What was claimed last is noted in the ledger as the time when it was *due*. So whoever leads next,
whatever its clock says, claims each due time at most once; a clock that is put back claims nothing
again, one that jumps ahead claims once for all that it jumped over (case 56). Daylight saving is
treated as cron does: in a night that has an hour twice a fixed time comes once, one that falls into
the hour that is left out comes right after it.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Final, Protocol, TypeAlias
from zoneinfo import ZoneInfo

import anyio
from cronsim import CronSim
from msgspec import Struct

from syncd.logs import Log

_log = Log("syncd.schedule")
Now: TypeAlias = Callable[[], datetime]
# Short enough that a clock which was put on, or a laptop that woke up, is noticed at once.
_LOOK_S: Final = 1.0
_AHEAD: Final = 32  # intervals that are compared: a month of nights
_BEHIND: Final = timedelta(days=2)  # looked at first: a time of each minute has 2,880 there
_BEHIND_MAX: Final = timedelta(days=400)


class Due(Struct, frozen=True):
    """``last``: the latest time that has come and was not claimed; ``next``: the one after it."""

    last: datetime | None
    next: datetime | None


def due(cron: str, zone: str, *, after: datetime, now: datetime) -> Due:
    """What is due at ``now`` when all up to ``after`` has been claimed; times in UTC."""
    found = _due(cron, zone, max(after, now - _BEHIND), now)
    if found.last is None and after < now - _BEHIND:
        return _due(cron, zone, max(after, now - _BEHIND_MAX), now)
    return found


def _due(cron: str, zone: str, after: datetime, now: datetime) -> Due:
    last = None
    for at in times(cron, zone, after=after):
        if at > now:
            return Due(last, at)
        last = at
    return Due(last, None)


def times(cron: str, zone: str, *, after: datetime) -> Iterator[datetime]:
    """Every time later than ``after``, in order, in UTC."""
    # A look at the hours before settles what is doubtful in the night when an hour comes twice.
    begin = after.astimezone(UTC) - timedelta(hours=3)
    latest = after.astimezone(UTC)
    for local in CronSim(cron, begin.astimezone(ZoneInfo(zone) if zone != "UTC" else UTC)):
        at = local.astimezone(UTC)
        if at > latest:
            latest = at
            yield at


def interval_s(cron: str, zone: str, *, after: datetime) -> float | None:
    """The longest pause between the next times; None where there are not two."""
    ahead = list(islice(times(cron, zone, after=after), _AHEAD))
    pauses = [(b - a).total_seconds() for a, b in pairwise(ahead)]
    return max(pauses, default=None)


class Diary(Protocol):
    """What the ledger notes of the schedule, under the fence of whoever leads."""

    async def noted(self) -> datetime | None:
        """The latest time that was claimed; None before the first."""

    async def note(self, at: datetime) -> None:
        """Begin here: nothing before it is missed."""

    async def claim(self, at: datetime) -> str:
        """Claim what is due ``at``, once for all instances.

        ``claimed``, ``known`` when somebody had, or ``overlaps`` when the one before is under way.
        """


class ScheduleInbox:
    """Claims a pass whenever one is due. Runs on the leader only, until cancelled.

    ``tell_next`` hears the Unix time of the next one, ``tell_overlap`` that one was left out.
    """

    def __init__(
        self,
        cron: str,
        zone: str,
        diary: Diary,
        now: Now,
        *,
        tell_next: Callable[[float], None],
        tell_overlap: Callable[[], None],
        claimed: Callable[[], None],
    ) -> None:
        self._cron = cron
        self._zone = zone
        self._diary = diary
        self._now = now
        self._tell_next = tell_next
        self._tell_overlap = tell_overlap
        self._claimed = claimed

    async def run(self) -> None:
        """Look every second; what was missed while nobody led is claimed once, at the start."""
        after = await self._diary.noted()
        if after is None:
            after = self._now()
            await self._diary.note(after)
        while True:
            found = due(self._cron, self._zone, after=after, now=self._now())
            self._tell_next(found.next.timestamp() if found.next else 0.0)
            if found.last is not None:
                await self._claim(found.last)
                after = found.last
                continue
            await self._wait_for(found.next)

    async def _claim(self, at: datetime) -> None:
        outcome = await self._diary.claim(at)
        if outcome == "overlaps":
            self._tell_overlap()
            _log.warning(
                "schedule_overlaps",
                cron=self._cron,
                next_at=at,
                reason="the run before is still under way",
            )
        elif outcome == "claimed":
            _log.info("schedule_due", cron=self._cron, next_at=at)
            self._claimed()

    async def _wait_for(self, at: datetime | None) -> None:
        """Until the clock says ``at``; it may be put on or back meanwhile."""
        while at is None or self._now() < at:  # noqa: ASYNC110 - nobody tells of a clock
            await anyio.sleep(_LOOK_S)
