"""Strikes one fault, heals, and judges: one cell of the sweep.

What can be caught is struck in this process; a kill and a hang in a process of their own, through
the command line, so that the real ``SYNCD_FAILPOINTS`` and the real SIGTERM are what is tested.
"""

import signal
from typing import Final

import anyio
import anyio.to_thread

from syncd import failpoints
from syncd.cli.exit_codes import Exit
from syncd.errors import SyncdError
from tests.crash.zygote import Ask, Zygote
from tests.failpoints.scenarios import SCENARIOS, Cell, Scenario
from tests.failpoints.world import Cells

_SECONDS_MAX: Final = 45.0
_TERMINATED: Final = 128 + signal.SIGTERM
# Letting go of the lease is waited for as long as the lease lives; then the run has ended well.
_GIVEN_UP: Final = ("lease.release", "lease.released")


class UnreachedError(AssertionError):
    """The point was never passed: the cell proves nothing."""


async def struck(cells: Cells, zygote: Zygote, cell: Cell) -> None:
    """One cell, from the day before to the night after it.

    Raises UnreachedError where the fault never came, AssertionError where something was lost,
    doubled, overwritten or raised from the dead, or where the sums do not add up.
    """
    scenario = SCENARIOS[cell.point]
    await scenario.prepare(cells)
    with anyio.fail_after(_SECONDS_MAX):
        if cell.action in ("kill", "hang"):
            await _in_its_own_process(cells, zygote, scenario, cell)
        else:
            await _in_this_process(cells, scenario, cell)
        await cells.assert_nothing_half_done()
        await scenario.finish(cells)
        await cells.assert_healed()


async def _in_its_own_process(cells: Cells, zygote: Zygote, scenario: Scenario, cell: Cell) -> None:
    """Killed at the point, or told to stop once it hangs there."""
    words = ("--config", str(cells.path), "--log-format", "json", *await scenario.arguments(cells))
    ask = Ask(arguments=words, failpoints=cell.armed, signal_number=signal.SIGTERM)
    told = await anyio.to_thread.run_sync(zygote.run, ask)
    if f'"{cell.point}=' not in told.said.partition("failpoint_fired")[2]:
        raise UnreachedError(f"{cell}: exit code {told.code}: {told.said}")
    expected = {-signal.SIGKILL} if cell.action == "kill" else {_TERMINATED}
    if cell.action == "hang" and cell.point in _GIVEN_UP:
        expected |= {Exit.DONE, Exit.PARKED}
    assert told.code in expected, f"{cell}: exit code {told.code}: {told.said}"


async def _in_this_process(cells: Cells, scenario: Scenario, cell: Cell) -> None:
    """Raised, cancelled or slowed down; while it is slow, staff go on typing."""
    fired: list[str] = []
    async with anyio.create_task_group() as staff:

        def told(armed: failpoints.Armed) -> None:
            fired.append(armed.point.name)
            if cell.action == "slow" and armed.point.name == cell.point:
                staff.start_soon(cells.staff_type)

        with (
            anyio.CancelScope() as scope,
            failpoints.armed(cell.armed, told=told, cancel=scope.cancel),
        ):
            try:
                await scenario.verb(cells)
            except SyncdError:
                assert cell.action == "raise", f"{cell}: nothing was to fail"
    if cell.point not in fired:
        raise UnreachedError(str(cell))
