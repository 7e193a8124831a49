"""kill -9 in the middle of runs on real PostgreSQL (cases 1, 2, 3 and 5).

A night is started and killed at a random time, again and again, until it was let through; then
everything is held against the source, the ledger and the sums. Four series of 13 kills or more
make over 50 in `make test`; a round of `make trust` makes over 300.
"""

import os
from collections.abc import Callable
from typing import Final

import anyio.to_thread
import pytest

from tests.crash.series import Series, Size, crash_config
from tests.crash.zygote import Ask, Zygote
from tests.pipeline.world import MakeDatabase
from tests.trust.seed import ROUND

THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
SERIES: Final = 12 if THOROUGH else 4
SEEDS: Final = range(1 + (ROUND - 1) * SERIES, 1 + ROUND * SERIES)
KILLS_MIN: Final = 26 if THOROUGH else 13
NIGHTS_MIN: Final = 3
SIZE: Final = Size(parents=150, children=600, a_day=40)
BATCH_ROWS: Final = 40
# The first tenth of a run opens connections; a kill there proves little.
EARLIEST: Final = 0.1


@pytest.mark.trust
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_run_that_is_killed_anywhere_is_resumed_and_loses_nothing(
    make_database: MakeDatabase,
    zygote: Zygote,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Cases 1, 2, 3, 5: 0 lost, 0 doubled, no edit overwritten, the sums exact, epochs grow.

    With every fourth seed the legacy system goes on working between the attempts as well.
    """
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    databases = make_database("legacy"), make_database("target")
    config = crash_config(*databases, batch_rows=BATCH_ROWS)
    series = await Series.begin(config, seed, steady=seed % 4 != 0, size=SIZE)
    kills, nights, resumed, length_s = 0, 0, 0, 0.5
    while kills < KILLS_MIN or nights < NIGHTS_MIN:
        told = None
        for _ in range(series.dice.randint(3, 5)):
            delay_s = length_s * series.dice.uniform(EARLIEST, 1.0)
            told = await anyio.to_thread.run_sync(zygote.run, Ask(config, delay_s=delay_s))
            if await series.is_through():
                break
            assert told.signalled, f"it ended by itself with {told.code}"
            kills += 1
            await series.staff_type()
            if not series.steady:
                await series.a_day()
        else:
            told = await anyio.to_thread.run_sync(zygote.run, Ask(config))
            assert told.report is not None, told
            resumed += told.report.resumed
            assert await series.is_through()
        length_s = (length_s + told.seconds) / 2 if told.report else length_s
        await series.assert_whole(told.report)
        nights += 1
        await series.a_day()
        await series.staff_type()
    record_property("kills", kills)
    assert resumed, "no run was resumed: the kills came too early or too late"
