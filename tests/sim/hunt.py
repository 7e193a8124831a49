"""Many schedules, one after the other: find what breaks, make it small, and see faults found."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tests.sim.planter import Canary, planted
from tests.sim.quick import draw_quick, judge_quick
from tests.sim.run import judge
from tests.sim.schedule import Act, At, Night, Schedule, draw, encode
from tests.sim.setup import Setup

CANARY_SCHEDULES_MAX: Final = 20_000
_NIGHTS: Final = 3
_BEFALLS: Final = 3
_TRIALS_MAX: Final = 400  # schedules that are played to make one small


class Driver(Struct, frozen=True):
    """A way to play: ``quick`` or ``full``. ``broken`` is '' or what a schedule breaks."""

    name: str
    draw: Callable[[int], Schedule]
    broken: Callable[[Schedule], str]


def _draw_full(seed: int) -> Schedule:
    return draw(seed, nights=_NIGHTS, befalls=_BEFALLS)


QUICK: Final = Driver("quick", draw_quick, judge_quick)
FULL: Final = Driver("full", _draw_full, lambda schedule: judge(schedule).broken)
DRIVERS: Final = {driver.name: driver for driver in (QUICK, FULL)}


class Broken(Struct, frozen=True):
    """A schedule that breaks something, made small. ``line`` is how it is kept."""

    driver: str
    seed: int
    told: str
    line: str


class Series(Struct, frozen=True):
    """Schedules of one driver, played; rates are per second of processor time."""

    driver: str
    first_seed: int
    schedules: int
    seconds: float
    rate: float
    broken: list[Broken]


class Found(Struct, frozen=True):
    """What became of a canary. ``schedules`` is 0 where it was missed."""

    name: str
    what: str
    driver: str
    schedules: int
    seconds: float
    told: str


def series(driver: Driver, first_seed: int, schedules: int, *, broken_max: int = 3) -> Series:
    """Play so many schedules; stops at the third that breaks something."""
    begun_s, broken, played = time.process_time(), [], 0
    with _seldom_swept():
        for seed in range(first_seed, first_seed + schedules):
            played += 1
            told = driver.broken(driver.draw(seed))
            if told:
                small = shrink(driver, driver.draw(seed), told)
                broken.append(Broken(driver.name, seed, told, f"{driver.name} {encode(small)}"))
                if len(broken) >= broken_max:
                    break
    seconds = time.process_time() - begun_s
    rate = round(played / seconds, 1) if seconds else 0.0
    return Series(driver.name, first_seed, played, round(seconds, 3), rate, broken)


def find(canary: Canary, first_seed: int, most: int = CANARY_SCHEDULES_MAX) -> Found:
    """Play with the fault in the code until a schedule breaks."""
    driver, begun_s = QUICK if canary.quick else FULL, time.process_time()
    for seed in range(first_seed, first_seed + most):
        schedule = driver.draw(seed)
        with planted(canary):
            told = driver.broken(schedule)
        # It counts only if the code as it is keeps the schedule: else anything would be found.
        if told and not driver.broken(schedule):
            played, seconds = seed - first_seed + 1, round(time.process_time() - begun_s, 3)
            return Found(canary.name, canary.what, driver.name, played, seconds, told[:160])
    seconds = round(time.process_time() - begun_s, 3)
    return Found(canary.name, canary.what, driver.name, 0, seconds, "")


@contextmanager
def _seldom_swept() -> Iterator[None]:
    """Schedules leave little that only a sweep finds, and what is imported need not be swept."""
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


# -- making it small -----------------------------------------------------------------------------


def shrink(driver: Driver, schedule: Schedule, told: str) -> Schedule:
    """The smallest schedule found that breaks the same invariant, by leaving things out."""
    kind = told.partition(":")[0]
    left = _TRIALS_MAX

    def breaks(smaller: Schedule) -> bool:
        nonlocal left
        left -= 1
        return left > 0 and driver.broken(smaller).partition(":")[0] == kind

    while left > 0:
        smaller = next((one for one in _smaller(schedule) if breaks(one)), None)
        if smaller is None:
            break
        schedule = smaller
    return schedule


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    """Schedules with less in them: halves and quarters of the acts, then single things."""
    acts = schedule.acts
    size = len(acts) // 2
    while size:
        for at in range(0, len(acts), size):
            yield replace(schedule, acts=acts[:at] + acts[at + size :])
        size //= 2
    for at, act in enumerate(acts):
        for less in _less(act):
            yield replace(schedule, acts=(*acts[:at], less, *acts[at + 1 :]))
    for name in Setup.__struct_fields__:
        plain = replace(schedule.setup, **{name: getattr(Setup(), name)})
        if plain != schedule.setup:
            yield replace(schedule, setup=plain)


def _less(act: Act) -> Iterator[Act]:
    if isinstance(act, Night):
        for at in range(len(act.befalls)):
            befalls: tuple[At, ...] = act.befalls[:at] + act.befalls[at + 1 :]
            yield replace(act, befalls=befalls)
        if act.dump:
            yield replace(act, dump="")
        if act.instances > 1:
            yield replace(act, instances=1)
