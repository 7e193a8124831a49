"""SIGTERM to a real ``python -m syncd run`` in the middle of a pass (case 7)."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import REPOSITORY
from tests.crash.series import Series, crash_config
from tests.pipeline.world import MakeDatabase, World
from tests.trust.seed import ROUND

THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
# How many units stand when the signal comes; a run has some 50.
UNITS: Final = range(50) if THOROUGH else (0, 3, 20)
# Longer than the test: a run that had to wait for the lease to run out would not end in time.
LEASE_TTL_S: Final = 300.0
STOP_S_MAX: Final = 10.0
_SLOWLY: Final = """
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END';
CREATE TRIGGER slowly AFTER INSERT OR UPDATE ON children EXECUTE FUNCTION slowly();
"""
_CONFIG: Final = """
pipeline: crash
source: {{kind: postgres, dsn: "{legacy}"}}
target: {{kind: postgres, dsn: "{target}"}}
ledger: {{lease_ttl_s: {ttl_s}}}
limits: {{batch_rows: 50, writers: 2}}
deletes: {{hold_above: {{rows: 1000, percent: 50}}}}
entities:
  parents: {{from: parents, key: [id], into: public.parents}}
  children:
    from: children
    key: [id]
    into: public.children
    needs: {{parents: {{columns: [parent_id]}}}}
    event: child.changed
"""
_UNITS: Final = "SELECT count(*) FROM syncd.syncd_work_unit"
# Ours, in the target or at the source, other than the one that asks.
_SESSIONS: Final = """
SELECT state, query FROM pg_stat_activity
WHERE application_name = 'syncd' AND datname = ANY($1) AND pid <> pg_backend_pid()
"""


@pytest.mark.trust
@pytest.mark.parametrize("units", UNITS)
async def test_sigterm_ends_a_run_cleanly_and_the_next_one_takes_it_up(
    make_database: MakeDatabase,
    tmp_path: Path,
    units: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Case 7: exit 143, nothing of ours is left open, the lease is free at once, the sums exact."""
    legacy, target = make_database("legacy"), make_database("target")
    config = crash_config(legacy, target, batch_rows=50, lease_ttl_s=LEASE_TTL_S)
    series = await Series.begin(config, seed=units + 100 * (ROUND - 1), target=_SLOWLY)
    path = tmp_path / "syncd.yaml"
    path.write_text(_CONFIG.format(legacy=legacy, target=target, ttl_s=LEASE_TTL_S))
    code, seconds, said = await _terminated(series.world, path, units)
    assert code == 128 + signal.SIGTERM, said
    assert seconds < STOP_S_MAX
    names = [dsn.rpartition("/")[2] for dsn in (legacy, target)]
    assert await series.world.rows(_SESSIONS, names) == []
    free = "SELECT expires_at < clock_timestamp() FROM syncd.syncd_lease"
    assert await series.world.value(free) is True
    assert not await series.is_through()
    await series.staff_type()
    report = await series.world.night()
    assert report.resumed
    assert await series.is_through()
    await series.assert_whole(report)
    record_property("signals", 1)


async def _terminated(world: World, config: Path, units: int) -> tuple[int, float, str]:
    """A run, terminated once it has committed ``units``: exit code, seconds it took, its words."""
    process = subprocess.Popen(  # noqa: ASYNC220 - a moment
        [sys.executable, "-m", "syncd", "run", "--config", str(config)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        await _reached(world, process, units)
        process.send_signal(signal.SIGTERM)
        sent_s = time.monotonic()
        said, _ = await asyncio.to_thread(process.communicate, timeout=STOP_S_MAX * 2)
        return process.returncode, time.monotonic() - sent_s, said
    finally:
        process.kill()
        process.communicate()


async def _reached(world: World, process: "subprocess.Popen[str]", units: int) -> None:
    """Return when the run is under way and has committed that many units."""
    begun = "SELECT count(*) FROM syncd.syncd_run"
    async with asyncio.timeout(30):
        while not await world.value(begun) or await world.value(_UNITS) < units:
            assert process.poll() is None, "it ended before it was told to"
            await asyncio.sleep(0.01)
