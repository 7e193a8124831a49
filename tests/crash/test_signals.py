"""SIGTERM in the middle of ``syncd run`` (case 7)."""

import os
import signal
from pathlib import Path
from typing import Final

import anyio.to_thread
import pytest
import yaml

from syncd.config import Config, PostgresSource
from tests.crash.series import Series
from tests.crash.zygote import Ask, Zygote
from tests.pipeline.world import MakeDatabase

THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
SIGNALS: Final = 60 if THOROUGH else 8
# Only sessions of the runs; those of the tests have another name.
_OPEN: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'syncd' AND xact_start IS NOT NULL
"""
_HELD: Final = "SELECT count(*) FROM syncd.syncd_lease WHERE expires_at > clock_timestamp()"
_GRACE_S: Final = 5.0


def written(folder: Path, config: Config) -> Path:
    """The configuration as a file, with a lease that would delay the next run for an hour."""
    assert isinstance(config.source, PostgresSource)
    path = folder / "pipeline.yaml"
    plain = {
        "pipeline": config.pipeline,
        "source": {"kind": "postgres", "dsn": config.source.dsn.value},
        "target": {"kind": "postgres", "dsn": config.target.dsn.value},
        "ledger": {"lease_ttl_s": 3600},
        "limits": {"batch_rows": 100, "writers": 2},
        "deletes": {"hold_above": {"rows": 1000, "percent": 50}},
        "entities": {
            "teams": {"from": "teams", "key": ["id"], "into": "public.teams"},
            "people": {
                "from": "people",
                "key": ["id"],
                "into": "public.people",
                "needs": {"teams": {"columns": ["team"]}},
                "event": "person.changed",
            },
        },
    }
    path.write_text(yaml.safe_dump(plain), "utf-8")
    return path


@pytest.mark.trust
@pytest.mark.timeout(600)
async def test_a_run_that_is_asked_to_stop_leaves_nothing_open_and_is_resumed(
    make_database: MakeDatabase, zygote: Zygote, tmp_path: Path
) -> None:
    """Case 7: exit 143, no transaction left open, the lease let go, the next run goes on."""
    series = await Series.begin(make_database("legacy"), make_database("target"), seed=7)
    arguments = ("-c", str(written(tmp_path, series.world.config)), "-q", "run")
    expected, stopped, resumed = series.first_night(), 0, 0
    while stopped < SIGNALS:
        ask = Ask(
            arguments=arguments,
            delay_s=series.dice.uniform(0.05, 0.6),
            signal_number=signal.SIGTERM,
        )
        told = await anyio.to_thread.run_sync(zygote.run, ask)
        if told.code == 0:
            report = await series.world.night()
            await series.assert_whole(report, expected)
            expected = await series.a_day()
            continue
        if told.code == -signal.SIGTERM:
            continue  # It came before the run had begun to heed it.
        assert told.code == 128 + signal.SIGTERM
        assert told.seconds < ask.delay_s + _GRACE_S  # type: ignore[operator]
        assert await series.world.value(_OPEN) == 0
        assert await series.world.value(_HELD) == 0
        stopped += 1
    report = await series.world.night()
    resumed += report.resumed
    await series.assert_whole(report, expected)
    assert resumed
