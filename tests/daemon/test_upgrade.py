"""Two versions at once: the newer one has prepared the ledger while the older one still works.

The newer version is this code with one more migration, in a folder of its own.
"""

import shutil
import signal
import sys
from pathlib import Path

import anyio
import pytest

from tests.conftest import REPOSITORY
from tests.daemon.process import Place, Served

MIGRATION = "0999_pre_next"
# What a first half may do: an older version neither reads nor writes it.
SQL = """
ALTER TABLE syncd_fingerprint ADD COLUMN next_word text NOT NULL DEFAULT '';
CREATE TABLE syncd_next (id int PRIMARY KEY);
"""
SLOW = {"SYNCD_FAILPOINTS": "apply.written=slow"}


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The folder of the newer version."""
    folder = tmp_path / "newer"
    for name in ("syncd", "schemas"):
        shutil.copytree(REPOSITORY / name, folder / name)
    (folder / "schemas" / "ledger" / f"{MIGRATION}.sql").write_text(SQL, "utf-8")
    return folder


async def prepare(place: Place, newer: Path) -> None:
    """``syncd init`` of the newer version."""
    command = [sys.executable, "-m", "syncd", "init", "-c", str(place.config)]
    done = await anyio.run_process(command, cwd=newer)
    assert MIGRATION.encode() in done.stdout


async def not_by_copy(place: Place) -> None:
    """Have a row stand there, so that offices are merged rather than loaded."""
    await place.rows("INSERT INTO one_offices (id, name) VALUES ('99', 'staff')")


async def names(place: Place) -> set[str]:
    """All names at the target, each of which must be there once."""
    found = await place.rows(
        "SELECT name FROM one_offices WHERE id <> '99' UNION ALL SELECT name FROM one_staff"
    )
    assert len(found) == len(set(found)) == 40
    return {name.split()[0] for (name,) in found}


async def test_the_older_version_ends_its_run_and_the_newer_one_goes_on(
    place: Place, newer: Path
) -> None:
    """Case 87, upwards: the run in flight ends, the next claim waits for who knows the ledger."""
    await not_by_copy(place)
    with Served(place, environ=SLOW) as older:
        older.wait("leadership_taken")
        await place.ask()
        older.wait("failpoint_fired")
        await prepare(place, newer)
        older.wait("claim_ended", status="done")
        place.deliver(20, "second")
        with Served(place, code=newer) as next_one:
            next_one.wait("serving")
            await place.ask()
            assert MIGRATION in older.wait("pipeline_broken")["reason"]
            next_one.wait("leadership_taken")
            next_one.wait("claim_ended", status="done")
            assert older.found("claim_ended", status="failed") == []
    assert await names(place) == {"second"}
    assert await place.rows("SELECT status, count(*) FROM $ledger.syncd_claim GROUP BY 1") == [
        ("done", 2)
    ]


async def test_the_older_version_leaves_a_newer_ledger_alone(place: Place, newer: Path) -> None:
    """Case 87, downwards: it writes nothing; what was in flight is ended by the newer one."""
    await not_by_copy(place)
    await prepare(place, newer)
    with Served(place, code=newer, environ={"SYNCD_FAILPOINTS": "apply.written=kill"}) as first:
        first.wait("leadership_taken")
        await place.ask()
        assert first.ended() == -signal.SIGKILL
    before = await place.everything()
    with Served(place) as older:
        assert MIGRATION in older.wait("pipeline_broken")["reason"]
        older.signal(signal.SIGTERM)
        assert older.ended() == 0
        assert older.found("leadership_taken") == []
    assert await place.everything() == before
    with Served(place, code=newer) as second:
        second.wait("claim_taken", attempt=2)
        second.wait("claim_ended", status="done")
    assert await names(place) == {"first"}
