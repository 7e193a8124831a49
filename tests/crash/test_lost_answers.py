"""A connection is cut while a COMMIT is under way (case 14): it stood, or it did not; nobody says.

Every other cut loses the server's answer after it has committed, the rest lose the COMMIT.
"""

from typing import Final

import pytest
from msgspec.structs import replace

from syncd.config import PostgresTarget, Secret
from syncd.errors import SyncdError
from syncd.reports import RunReport
from tests.crash.proxy import CommitProxy, Lost
from tests.crash.series import Series, crash_config
from tests.pipeline.world import MakeDatabase, World

CUTS_MIN: Final = 20
ATTEMPTS_MAX: Final = 8


@pytest.mark.trust
async def test_a_commit_whose_answer_is_lost_is_looked_up_and_never_done_twice(
    make_database: MakeDatabase,
) -> None:
    """Case 14: 20 cuts at random COMMITs: nothing doubled, nothing lost, the sums exact."""
    legacy, target = make_database("legacy"), make_database("target")
    series = await Series.begin(crash_config(legacy, target), seed=14)
    losses: list[Lost] = []

    def choose(_: int) -> Lost | None:
        if series.dice.random() > 0.2:
            return None
        losses.append("answer" if len(losses) % 2 == 0 else "commit")
        return losses[-1]

    survived = 0
    async with CommitProxy.serve(target, choose) as proxy:
        cut_config = replace(
            series.world.config, target=PostgresTarget(dsn=Secret(proxy.dsn))
        )
        while len(proxy.lost) < CUTS_MIN:
            before = len(proxy.lost)
            report = await _night(World(cut_config), series)
            survived += bool(len(proxy.lost) - before) and not report.resumed
            await series.assert_whole(report)
            await series.a_day()
            await series.staff_type()
    assert {"answer", "commit"} == set(proxy.lost)
    assert survived, "every cut ended its run: no answer was looked up"


async def _night(cut: World, series: Series) -> RunReport:
    """A night, taken up again where a cut hit a COMMIT that nobody repeats (the books at the end)."""
    for _ in range(ATTEMPTS_MAX):
        try:
            report = await cut.night()
        except SyncdError:
            await series.is_through()
            continue
        assert await series.is_through()
        return report
    raise AssertionError(f"not completed in {ATTEMPTS_MAX} attempts")
