"""A connection is cut while a COMMIT is under way (case 14): it stood, or it did not; nobody says.

Every other cut loses the server's answer after it has committed, the rest lose the COMMIT.
"""

from collections.abc import Callable
from typing import Final

import pytest
from msgspec.structs import replace

from syncd.config import PostgresTarget, Secret
from syncd.errors import SyncdError
from syncd.reports import RunReport
from tests.crash.proxy import Fault, FaultyProxy, Moment, When
from tests.crash.series import Series, crash_config
from tests.pipeline.world import MakeDatabase, World
from tests.trust.seed import ROUND

CUTS_MIN: Final = 20
CUT_SHARE: Final = 0.1  # of all COMMITs
ATTEMPTS_MAX: Final = 8


@pytest.mark.trust
async def test_a_commit_whose_answer_is_lost_is_looked_up_and_never_done_twice(
    make_database: MakeDatabase, record_property: Callable[[str, object], None]
) -> None:
    """Case 14: 20 cuts at random COMMITs: nothing doubled, nothing lost, the sums exact."""
    legacy, target = make_database("legacy"), make_database("target")
    series = await Series.begin(crash_config(legacy, target), seed=14 + 100 * (ROUND - 1))
    losses: list[Fault] = []

    def choose(moment: Moment) -> Fault | None:
        if moment.when is not When.COMMIT or series.dice.random() > CUT_SHARE:
            return None
        losses.append(Fault.LOST_COMMIT if len(losses) % 2 else Fault.LOST_ANSWER)
        return losses[-1]

    nights = attempts = 0
    async with FaultyProxy.serve(target, choose) as proxy:
        through = PostgresTarget(dsn=Secret(proxy.dsn))
        cut = World(replace(series.world.config, target=through))
        while len(proxy.struck) < CUTS_MIN:
            report, tried = await _night(cut, series)
            nights, attempts = nights + 1, attempts + tried
            await series.assert_whole(report, runs_max=ATTEMPTS_MAX)
            await series.a_day()
            await series.staff_type()
    record_property("strikes", len(proxy.struck))
    assert {Fault.LOST_ANSWER, Fault.LOST_COMMIT} == set(proxy.struck)
    survived = len(proxy.struck) - (attempts - nights)
    assert survived >= CUTS_MIN // 2, "too many cuts ended an attempt: was anything looked up?"


async def _night(cut: World, series: Series) -> tuple[RunReport, int]:
    """A completed night, and how many attempts it took.

    A batch repeats a lost COMMIT by itself; the books of a run are taken up by the next attempt.
    """
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            report = await cut.night()
        except SyncdError:
            await series.is_through()
            continue
        assert await series.is_through()
        if report.status == "completed":
            return report, attempt
    raise AssertionError(f"not completed in {ATTEMPTS_MAX} attempts")
