"""The schedule over nights that have 23 and 25 hours, and clocks that jump (cases 47 and 56)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

import anyio
import pytest

from syncd.inbox.schedule import Due, ScheduleInbox, due, interval_s, times
from tests.patience import WAIT_S

LONDON: Final = "Europe/London"
# In 2026 the clocks of London go on at 01:00 UTC on 29 March, and back at 01:00 UTC on 25 October.
SPRING: Final = datetime(2026, 3, 28, 12, tzinfo=UTC)
AUTUMN: Final = datetime(2026, 10, 24, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)


def told(found: list[datetime]) -> list[str]:
    return [f"{at:%d %H:%M}" for at in found]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # 01:30 is in the hour that is left out: it comes right after it, and the day after as ever.
        ("30 1 * * *", LONDON, SPRING, ["29 01:00", "30 00:30"]),
        # 01:30 comes twice on the clock and once in the schedule.
        ("30 1 * * *", LONDON, AUTUMN, ["25 00:30", "26 01:30"]),
        ("0 2 * * *", LONDON, SPRING, ["29 01:00", "30 01:00"]),
        ("0 2 * * *", LONDON, AUTUMN, ["25 02:00", "26 02:00"]),
        # What comes each hour comes each hour that passes.
        ("0 * * * *", LONDON, AUTUMN + timedelta(hours=11), ["25 00:00", "25 01:00", "25 02:00"]),
        ("0 * * * *", LONDON, SPRING + timedelta(hours=11), ["29 00:00", "29 01:00", "29 02:00"]),
        ("0 4 * * *", "UTC", SPRING, ["29 04:00", "30 04:00"]),
        ("0 4 * * 1-5", LONDON, SPRING, ["30 03:00", "31 03:00"]),  # the 29th is a Sunday
    ],
)
def test_a_time_comes_once_in_every_night(
    cron: str, zone: str, after: datetime, expected: list[str]
) -> None:
    """In UTC, whatever the clock on the wall does that night."""
    assert told(list(islice(times(cron, zone, after=after), len(expected)))) == expected


@pytest.mark.parametrize("minutes", range(-90, 91, 15))
def test_a_time_never_comes_again_when_the_hour_does(minutes: int) -> None:
    """Wherever in the doubled hour a look is taken, the next time is later than the look."""
    after = datetime(2026, 10, 25, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    found = next(times("30 1 * * *", LONDON, after=after))
    first, second = (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    )
    assert found == (first if after < first else second)


@pytest.mark.parametrize(
    ("cron", "passed", "last"),
    [
        ("0 4 * * *", timedelta(hours=1), None),
        ("0 4 * * *", DAY, "29 03:00"),
        ("0 4 * * *", 5 * DAY, "02 03:00"),  # five were missed: the last one stands for all
        ("0 4 1 * *", 30 * DAY, "01 03:00"),  # long ago, and still due
        ("* * * * *", 300 * DAY, "22 12:00"),
        ("0 4 * * *", -DAY, None),  # a clock that was put back
    ],
)
def test_what_was_missed_is_due_once(cron: str, passed: timedelta, last: str | None) -> None:
    """Case 56: the latest time that has come, and nothing twice."""
    found = due(cron, LONDON, after=SPRING, now=SPRING + passed)
    assert (f"{found.last:%d %H:%M}" if found.last else None) == last
    assert found.next is not None
    assert found.next > SPRING + passed or passed < timedelta(0)


def test_a_day_that_does_not_come_again_is_not_waited_for() -> None:
    """Nothing is next where the zone's calendar has no such day; nothing fails either."""
    assert due("0 0 29 2 *", "UTC", after=SPRING, now=SPRING).next == datetime(
        2028, 2, 29, tzinfo=UTC
    )


def test_the_interval_is_the_longest_pause() -> None:
    """Over a weekend it is three days."""
    assert interval_s("0 4 * * 1-5", "UTC", after=SPRING) == 3 * 86400
    assert interval_s("*/15 * * * *", LONDON, after=AUTUMN) == 900


class Diary:
    """The ledger's part, in memory."""

    def __init__(self, noted: datetime | None = None) -> None:
        self.at = noted
        self.claimed: list[datetime] = []
        self.is_busy = False

    async def noted(self) -> datetime | None:
        """The latest one."""
        return self.at

    async def note(self, at: datetime) -> None:
        """Begin here."""
        self.at = at

    async def claim(self, at: datetime) -> str:
        """Each time once."""
        if self.at is not None and at <= self.at:
            return "known"
        self.at = at
        if self.is_busy:
            return "overlaps"
        self.claimed.append(at)
        return "claimed"


class Told:
    """What the inbox tells, and a clock that is put where the test wants it."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.next: list[float] = []
        self.overlaps = 0
        self.woken = 0

    def inbox(self, diary: Diary) -> ScheduleInbox:
        """An inbox for each full hour."""
        return ScheduleInbox(
            "0 * * * *", "UTC", diary, lambda: self.now,
            tell_next=self.next.append, tell_overlap=self._overlap, claimed=self._wake,
        )  # fmt: skip

    def _overlap(self) -> None:
        self.overlaps += 1

    def _wake(self) -> None:
        self.woken += 1


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(WAIT_S):
        while not condition():  # noqa: ASYNC110 - the inbox has no event for it
            await anyio.sleep(0.01)


async def looked(diary: Diary, told_: Told, *nows: datetime) -> None:
    """The inbox as it would be begun at each of these times, until it waits for the next one."""
    for now in nows:
        told_.now = now
        told_.next.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(told_.inbox(diary).run)
            await until(lambda: bool(told_.next) and told_.next[-1] > told_.now.timestamp())
            tasks.cancel_scope.cancel()


async def test_the_first_look_claims_nothing() -> None:
    """What would have been due before there was a daemon was not missed."""
    diary, told_ = Diary(), Told(SPRING)
    await looked(diary, told_, SPRING)
    assert diary.claimed == []
    assert diary.at == SPRING
    assert told_.next[-1] == (SPRING + timedelta(hours=1)).timestamp()


async def test_times_missed_while_nobody_led_are_made_up_for_once() -> None:
    """Six hours down are one claim, at the start."""
    diary, told_ = Diary(SPRING), Told(SPRING)
    await looked(diary, told_, SPRING + timedelta(hours=6, minutes=5))
    assert diary.claimed == [SPRING + timedelta(hours=6)]
    assert told_.woken == 1


async def test_a_clock_that_jumps_claims_nothing_twice() -> None:
    """A day on is one claim; a day back is none, nor is the same time when it comes again."""
    diary, told_ = Diary(SPRING), Told(SPRING)
    late = SPRING + DAY + timedelta(minutes=1)
    await looked(diary, told_, late, SPRING + timedelta(minutes=1), late)
    assert diary.claimed == [SPRING + DAY]


async def test_a_time_that_comes_while_the_run_before_goes_on_is_told_and_left_out() -> None:
    """Case 47: no second run is begun, and somebody hears of it."""
    diary, told_ = Diary(SPRING), Told(SPRING)
    diary.is_busy = True
    await looked(diary, told_, SPRING + timedelta(hours=1, minutes=1))
    assert (diary.claimed, told_.overlaps) == ([], 1)


def test_nothing_is_due_before_its_time() -> None:
    """The edge itself is due."""
    at = datetime(2026, 3, 29, 3, tzinfo=UTC)
    one_s = timedelta(seconds=1)
    assert due("0 4 * * *", LONDON, after=SPRING, now=at - one_s) == Due(None, at)
    assert due("0 4 * * *", LONDON, after=SPRING, now=at).last == at
