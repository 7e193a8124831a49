"""PostgreSQL itself dies in the middle of runs and comes back (case 13).

The target has a server of its own, which is killed (SIGKILL of all its processes) or told to stop
at once (SIGQUIT), and started again. The run repeats what it can; what it cannot is taken up by
the next attempt, or done by the next run where an entity had to give up.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Final

import anyio
import asyncpg
import pytest

from syncd import embedded
from syncd.config import Config
from tests.crash.series import Series, crash_config
from tests.crash.zygote import Ask, Told, Zygote
from tests.pipeline.world import MakeDatabase
from tests.trust.seed import ROUND

THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
CRASHES: Final = 20 if THOROUGH else 3  # of each kind
ATTEMPTS_MAX: Final = 5  # to finish a night once the server stays up
# Outlives a restart of the server, so that the run lives on; runs out in it, so that it ends.
LEASES_TTL_S: Final = {"lives": 30.0, "ends": 0.3}


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Process]:
    """A server that may be killed without harm to other tests."""
    preferred = os.environ.get("SYNCD_TEST_PG") or None
    server = embedded.prepare(tmp_path_factory.mktemp("mortal"), preferred=preferred)
    try:
        with embedded.start(server) as process:
            yield process
    finally:
        embedded.discard(server)


@pytest.mark.trust
@pytest.mark.parametrize(
    ("how", "run"), [(signal.SIGKILL, "lives"), (signal.SIGQUIT, "ends")], ids=["kill", "quit"]
)
async def test_a_target_that_dies_in_a_run_loses_and_doubles_nothing(
    make_database: MakeDatabase,
    mortal: embedded.Process,
    zygote: Zygote,
    how: signal.Signals,
    run: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Case 13: after each crash the night is finished, and every row, entry and sum is right."""
    target = await _database_on(mortal, f"target_{how.name.lower()}")
    ttl_s = LEASES_TTL_S[run]
    config = crash_config(make_database("legacy"), target, batch_rows=50, lease_ttl_s=ttl_s)
    seed = how + 100 * (ROUND - 1)
    series, crashes, length_s = await Series.begin(config, seed), 0, 1.0
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    while crashes < CRASHES:
        delay_s = length_s * series.dice.uniform(0.15, 0.9)
        told, struck = await _struck_night(zygote, config, mortal, how, delay_s)
        crashes += struck
        for _ in range(ATTEMPTS_MAX):
            if told.report is not None and told.report.status == "completed":
                break
            told = await anyio.to_thread.run_sync(zygote.run, Ask(config))
        assert await series.is_through()
        await series.assert_whole(told.report, runs_max=ATTEMPTS_MAX)
        length_s = length_s if struck else told.seconds
        await series.a_day()
        await series.staff_type()
    record_property("crashes", crashes)


async def _struck_night(
    zygote: Zygote, config: Config, server: embedded.Process, how: signal.Signals, delay_s: float
) -> tuple[Told, bool]:
    """A night whose target dies after ``delay_s``; how it ended, and whether it was still on."""
    night = asyncio.create_task(anyio.to_thread.run_sync(zygote.run, Ask(config)))
    await asyncio.sleep(delay_s)
    struck = not night.done()
    await anyio.to_thread.run_sync(_die, server, how)
    return await night, struck


def _die(process: embedded.Process, how: signal.Signals) -> None:
    """End the server as asked and start it again; returns when it takes connections."""
    if how is signal.SIGQUIT:
        pid = process.pid
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
    else:
        process.crash()
    process.restart()


async def _database_on(process: embedded.Process, name: str) -> str:
    """A new database on the mortal server; it goes with it."""
    connection = await asyncpg.connect(process.server.dsn())
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    return process.server.dsn(name)
