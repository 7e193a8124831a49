"""Every named point, struck on real PostgreSQL: afterwards nothing is lost, doubled or overwritten.

In ``make test`` every other point once, the actions in turn; in ``make trust`` each with all five.
"""

import os
from pathlib import Path
from typing import Final

import pytest

from syncd.failpoints import POINTS
from tests.crash.zygote import Zygote
from tests.failpoints.scenarios import ACTIONS, ALL, SHARE, Cell
from tests.failpoints.sweep import Sweep
from tests.pipeline.world import MakeDatabase

THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
CELLS: Final = ALL if THOROUGH else SHARE
# Both workers of `make test` are to have some.
PARTS: Final = 10 if THOROUGH else 4
POINTS_MIN: Final = 60


@pytest.mark.trust
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
async def test_after_any_fault_anywhere_a_clean_night_makes_all_good(
    make_database: MakeDatabase, zygote: Zygote, tmp_path: Path, part: int
) -> None:
    """I1, I2, I4, I6, I8: what holds right after the fault, and after the next night."""
    cells = CELLS[part::PARTS]
    results = await Sweep(make_database, zygote, tmp_path, lambda _: None).run(cells)
    assert len(results) == len(cells)
    assert [result for result in results if result.wrong] == []


def test_the_sweep_strikes_every_point() -> None:
    """A cell that is not reached has failed, so what is struck here is reached."""
    assert len(SHARE) >= POINTS_MIN
    assert set(ALL) == {Cell(point, action) for point in POINTS for action in ACTIONS}
    assert {cell.action for cell in SHARE} == set(ACTIONS)
