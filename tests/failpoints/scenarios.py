"""What must be going on for a point to be passed, and how a fault is struck there.

A scenario prepares the world, names the verb in which the fault strikes, and says what an operator
does afterwards. Most points are passed by any night on which everything happens.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from msgspec import Struct

from syncd import failpoints
from syncd.failpoints import POINTS
from tests.failpoints.world import Cells

Step = Callable[[Cells], Awaitable[None]]
Verb = tuple[str, ...]


class Scenario(Struct, frozen=True):
    """``verb`` does in this process what ``arguments`` do on the command line.

    ``also`` is armed beside the point itself, where a point is passed only after another fault.
    """

    name: str
    prepare: Step
    verb: Step
    arguments: Callable[[Cells], Awaitable[Verb]]
    finish: Step
    also: str = ""


async def _nothing(_: Cells) -> None:
    """There is nothing to do."""


def _words(*words: str) -> Callable[[Cells], Awaitable[Verb]]:
    async def of(_: Cells) -> Verb:
        return words

    return of


async def _a_night(cells: Cells) -> None:
    await cells.world.night()


async def _of_cases(cells: Cells) -> None:
    await cells.world.night("cases")


async def _before_everything(cells: Cells) -> None:
    """A day on which something heals that went wrong the day before."""
    if not cells.is_in_full_swing:
        await cells.everything()
        await cells.assert_healed()
    await cells.everything()


async def _unfinished(cells: Cells, *select: str) -> None:
    """A night was cancelled in its middle; its run waits to be taken up."""
    await cells.everything()
    with (
        anyio.CancelScope() as scope,
        failpoints.armed("writer.done=cancel", cancel=scope.cancel),
    ):
        await cells.world.night(*select)
    assert scope.cancelled_caught


async def _unfinished_other(cells: Cells) -> None:
    await _unfinished(cells, "cases")


async def _held_lease(cells: Cells) -> None:
    await cells.everything()
    await cells.another_holds_the_lease()


async def _no_ledger(cells: Cells) -> None:
    await cells.empty()


async def _empty_ledger(cells: Cells) -> None:
    await cells.empty()
    await cells.init()


async def _open_conflict(cells: Cells) -> None:
    await cells.everything()
    await cells.night()
    assert await cells.conflict_id()


async def _held_deletes(cells: Cells) -> None:
    await cells.everything()
    await cells.night()
    gone = await cells.too_many_leave()
    report = await cells.night()
    assert report is not None
    assert report.status == "held"
    for id_ in gone:
        del cells.cases[id_]


async def _take_source(cells: Cells) -> None:
    cells.decided = "source"
    await cells.resolve("source")


async def _take_target(cells: Cells) -> None:
    await cells.resolve("target")


async def _source_took(cells: Cells) -> None:
    """A fault may have come before the decision: it is made again."""
    await cells.resolve("source")
    _decided(cells, "source")


async def _target_kept(cells: Cells) -> None:
    await cells.resolve("target")
    _decided(cells, "staff")


def _decided(cells: Cells, status: str) -> None:
    cells.cases[cells.disputed] = (status, cells.cases[cells.disputed][1])
    cells.disputed = 0


async def _approved(cells: Cells) -> None:
    await cells.approve()


def _resolving(side: str) -> Callable[[Cells], Awaitable[Verb]]:
    async def of(cells: Cells) -> Verb:
        cells.decided = side
        return ("conflicts", "resolve", str(await cells.conflict_id()), "--take", side)

    return of


NIGHT: Final = Scenario("night", _before_everything, _a_night, _words("run"), _nothing)
RESUMED: Final = Scenario("resumed", _unfinished, _a_night, _words("run"), _nothing)
ABANDONED: Final = Scenario("abandoned", _unfinished_other, _a_night, _words("run"), _nothing)
WAITING: Final = Scenario("waiting", _held_lease, _a_night, _words("run"), _nothing)
INIT: Final = Scenario("init", _no_ledger, Cells.init, _words("init"), Cells.init)
LOAD: Final = Scenario("load", _empty_ledger, _a_night, _words("run"), _nothing)
SOURCE: Final = Scenario("source", _open_conflict, _take_source, _resolving("source"), _source_took)
TARGET: Final = Scenario("target", _open_conflict, _take_target, _resolving("target"), _target_kept)
APPROVE: Final = Scenario(
    "approve", _held_deletes, _approved, _words("deletes", "approve", "cases"), _approved
)
# A night that lives long enough for its lease to be renewed.
LONG: Final = Scenario(
    "long", _before_everything, _a_night, _words("run"), _nothing, "pass.begin=slow"
)
LOST: Final = Scenario(
    "lost", _before_everything, _a_night, _words("run"), _nothing, "tx.committed=raise-unknown:2"
)

_SPECIAL: Final = {
    WAITING: ("lease.wait",),
    LONG: ("lease.heartbeat", "lease.kept"),
    RESUMED: ("run.resume",),
    ABANDONED: ("run.abandon",),
    LOAD: (
        *("load.read", "load.begin", "load.copied", "load.recorded", "load.noted"),
        *("ledger.load", "target.load"),
    ),
    LOST: ("retry.look_up", "retry.found", "ledger.find_unit"),
    INIT: tuple(name for name in POINTS if name.startswith(("init.", "migrate."))),
    SOURCE: ("review.release", "review.resync", "review.resolved", "resolve.marked", "resolve.ran"),
    TARGET: ("review.resolve", "review.disowned"),
    APPROVE: ("review.approve", "approve.decided"),
}
SCENARIOS: Final = dict.fromkeys(POINTS, NIGHT) | {
    name: scenario for scenario, names in _SPECIAL.items() for name in names
}
# Where the first passing says little, a later one.
NTH: Final = {
    "apply.begin": 3,
    "apply.counted": 3,
    "apply.decided": 3,
    "apply.noted": 3,
    "apply.recorded": 2,
    "apply.stands": 3,
    "apply.written": 2,
    "decide.entries_locked": 3,
    "decide.rows_locked": 2,
    "ledger.fenced": 4,
    "ledger.unit": 3,
    "retry.attempt": 3,
    "target.copied": 2,
    "target.updated": 2,
    "close.counts": 2,
    "close.position": 2,
    "fetch.done": 3,
    "retention.step": 3,
    "tx.begun": 3,
    "tx.commit": 3,
    "tx.committed": 3,
    "writer.done": 3,
    "writer.take": 3,
}


class Cell(Struct, frozen=True, order=True):
    """One fault at one point."""

    point: str
    action: str

    def __str__(self) -> str:
        return f"{self.point}={self.action}"

    @property
    def armed(self) -> str:
        """As ``SYNCD_FAILPOINTS`` wants it."""
        also = SCENARIOS[self.point].also
        own = f"{self.point}={self.action}:{NTH.get(self.point, 1)}"
        return f"{also},{own}" if also else own


ACTIONS: Final = ("raise", "kill", "hang", "cancel", "slow")
ALL: Final = tuple(Cell(point, action) for point in POINTS for action in ACTIONS)
# Every other point once, the actions in turn.
SHARE: Final = tuple(Cell(point, ACTIONS[at % 5]) for at, point in enumerate([*POINTS][::2]))
