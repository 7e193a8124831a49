"""Play a schedule and judge it."""

from msgspec import Struct

from tests.sim.accounts import hold, is_value
from tests.sim.checker import Checker
from tests.sim.history import Committed, Told
from tests.sim.schedule import Schedule
from tests.sim.setup import IDS, rules_of
from tests.sim.world import World

QUIET_NIGHTS = 3


class Verdict(Struct, frozen=True):
    """What a schedule came to. ``broken`` is '' where all held, else what did not."""

    broken: str
    trace: str
    nights: int
    steps: int
    hours: float


def judge(schedule: Schedule) -> Verdict:
    """Play it, and look at everything that came to stand, before and after the quiet nights."""
    world = World(schedule)
    broken = ""
    try:
        world.play(QUIET_NIGHTS)
        check(world)
    except AssertionError as error:
        broken = str(error) or "an assertion failed"
    except Exception as error:  # noqa: BLE001 - whatever it is, the schedule has found it
        broken = f"{type(error).__name__}: {error}"
    hours = world.loop.time() / 3600
    return Verdict(broken, world.trace, world.nights, world.loop.callbacks, hours)


def check(world: World) -> None:
    """Hold what the world has kept against the invariants."""
    setup = world.schedule.setup
    checker = Checker(setup, rules_of(setup))
    for event in world.history:
        checker.see(event)
    checker.at_end(world.store.state, world.history, world.quiet_from)
    for words in world.words:
        hold("I13", not is_value(words), f"a value was told: {words}")
    hold("I15", not world.loop.errors, f"{world.loop.errors}")
    for event in world.history:
        if isinstance(event, Told) and event.status == "completed":
            _metrics(world, event)


def _metrics(world: World, told: Told) -> None:
    """I7: what a process has counted is what its run says.

    A counter never goes back: what a second look has replaced in the run stays counted.
    """
    registry, pipeline = world.metrics[told.who].registry, world.config.pipeline
    for word, operation in (("inserted", "insert"), ("updated", "update"), ("deleted", "delete")):
        labels = {"pipeline": pipeline, "entity": told.entity, "op": operation}
        counted = registry.get_sample_value("syncd_rows_applied_total", labels) or 0
        said = told.counts[word]
        # A run that was taken up again tells also what an earlier process wrote and counted.
        least = said if told.attempt == 1 else 0
        most = said + _replaced(world, told, word)
        hold("I7", least <= counted <= most, f"{labels}: {counted}, the run says {told.counts}")


def _replaced(world: World, told: Told, word: str) -> int:
    """How many outcomes of this name the process has replaced by others, in this run."""
    where = told.run_id, IDS[told.entity]
    units = [
        unit
        for event in world.history
        if isinstance(event, Committed) and event.who == told.who
        for run_id, entity_id, _, _, unit in event.units
        if (run_id, entity_id) == where
    ]
    return sum(getattr(u.present_redone, word) + getattr(u.absent_redone, word) for u in units)
