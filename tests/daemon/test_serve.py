"""A daemon from its start to its end: claims, the configuration, signals."""

import signal
import sys
from pathlib import Path

import anyio
import asyncpg
import pytest

from syncd.cli.exit_codes import Exit
from tests.daemon.process import SHORT_TTL_S, Place, Served

FREE = "SELECT expires_at < clock_timestamp() FROM $ledger.syncd_lease"


async def test_what_is_asked_for_is_done_and_noted(place: Place) -> None:
    """A claim of anybody in the ledger; after SIGTERM the exit code is 0 and the lease is free.

    The code also says that it was in time: after its grace the kernel would have ended it.
    """
    with Served(place) as daemon:
        daemon.wait("leadership_taken")
        await place.ask()
        daemon.wait("claim_ended", status="done")
        assert await place.value("SELECT count(*) FROM one_offices") == 20
        assert await place.rows("SELECT status, run_id, requests FROM $ledger.syncd_claim") == [
            ("done", 1, 1)
        ]
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == Exit.DONE, daemon.said
    assert await place.value(FREE) is True


async def test_a_storm_of_hangups_is_one_run_and_one_that_waits(place: Place) -> None:
    """Case 8: 1,000 SIGHUPs while a run is held up, others at the start and at the end."""
    await place.rows("INSERT INTO one_offices (id, name) VALUES ('1', 'staff')")
    with Served(place) as daemon:
        daemon.heeds_no_hangup_yet()
        daemon.signal(signal.SIGHUP, times=100)
        daemon.wait("leadership_taken")
        daemon.signal(signal.SIGHUP)
        daemon.wait("claim_ended")
        before_kib = daemon.resident_kib()
        holder = await asyncpg.connect(place.dsn)
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("LOCK TABLE one_offices IN EXCLUSIVE MODE")
        daemon.signal(signal.SIGHUP)
        daemon.wait("run_started", number=2)
        daemon.signal(signal.SIGHUP, times=1000)
        daemon.wait("reloaded", number=3)
        claims = "SELECT status, count(*) FROM $ledger.syncd_claim GROUP BY 1 ORDER BY 1"
        assert await place.rows(claims) == [("done", 1), ("running", 1), ("waiting", 1)]
        assert daemon.resident_kib() < before_kib + 8 * 1024
        await transaction.rollback()
        await holder.close()
        daemon.wait("claim_ended", number=3)
        assert await place.rows(claims) == [("done", 3)]
        daemon.signal(signal.SIGHUP, times=100)
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGHUP, times=100)
        assert daemon.ended() == Exit.DONE, daemon.said
    assert await place.value("SELECT count(*) FROM $ledger.syncd_run") <= 4


async def test_a_wrong_configuration_keeps_the_old_one(place: Place) -> None:
    """It is told, the old one goes on working, and a right one is taken when it comes."""
    sound = place.config.read_text("utf-8")
    with Served(place) as daemon:
        daemon.wait("leadership_taken")
        place.config.write_text(sound.replace("key: [id]", "keys: [id]"), "utf-8")
        daemon.signal(signal.SIGHUP)
        assert "entities.offices.keys" in daemon.wait("reload_refused")["error"]
        assert daemon.get("/health")[1]["components"]["configuration"]["status"] == "DOWN"
        assert daemon.get("/health/liveness")[0] == daemon.get("/health/readiness")[0] == 200
        daemon.wait("claim_ended", status="done")
        place.write(more="  people: {from: staff.csv, key: [id], into: public.one_people}")
        await place.init()
        daemon.signal(signal.SIGHUP)
        daemon.wait("entity_ended", entity="people", status="completed")
        assert await place.value("SELECT count(*) FROM one_people") == 20


async def test_a_broken_pipeline_rests_beside_a_sound_one(
    place: Place, tmp_path: Path, pg_dsn: str
) -> None:
    """It says why, the other one works; when it is mended SIGHUP wakes it at once."""
    broken = Place(tmp_path, pg_dsn, name="two")
    service = tmp_path / "service.yaml"
    service.write_text("backoff_s_max: 300", "utf-8")
    with Served(broken, place, arguments=("--service", str(service))) as daemon:
        told = daemon.wait("pipeline_broken", pipeline="two")
        assert "syncd init" in told["reason"]
        daemon.wait("pipeline_broken", number=2, pipeline="two")
        daemon.wait("leadership_taken", pipeline="one")
        await place.ask()
        daemon.wait("claim_ended", pipeline="one", status="done")
        await broken.init()
        daemon.signal(signal.SIGHUP)
        daemon.wait("claim_ended", pipeline="two", status="done")
        assert await broken.value("SELECT count(*) FROM two_offices") == 20


@pytest.mark.parametrize("point", ["writer.take", "apply.written"])
async def test_what_sigterm_cut_off_is_taken_up_by_the_next_one(place: Place, point: str) -> None:
    """Case 7: 0 in good time, nothing half done; claim and run go on where they were."""
    with Served(place, environ={"SYNCD_FAILPOINTS": f"{point}=hang"}) as daemon:
        await place.rows("INSERT INTO one_offices (id, name) VALUES ('99', 'staff')")
        await place.ask()
        daemon.wait("failpoint_fired")
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == Exit.DONE, daemon.said
    assert await place.value(FREE) is True
    assert await place.value("SELECT status FROM $ledger.syncd_claim") == "running"
    with Served(place) as daemon:
        daemon.wait("claim_taken", attempt=2)
        daemon.wait("claim_ended", status="done")
    assert await place.rows("SELECT run_id, attempts FROM $ledger.syncd_run") == [(1, 2)]
    assert await place.value("SELECT count(*) FROM one_offices") == 21


async def test_a_second_sigterm_ends_it_at_once(place: Place) -> None:
    """It hangs while it lets the lease go; the next instance takes it when it has run out."""
    place.live_for(SHORT_TTL_S)
    with Served(place, environ={"SYNCD_FAILPOINTS": "lease.release=hang"}) as daemon:
        daemon.wait("leadership_taken")
        daemon.signal(signal.SIGTERM)
        daemon.wait("failpoint_fired")
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == -signal.SIGTERM
    with Served(place) as daemon:
        daemon.wait("leadership_taken")


async def test_what_does_not_stop_in_its_grace_is_ended(place: Place, tmp_path: Path) -> None:
    """The kernel does it, however busy the process may be."""
    service = tmp_path / "service.yaml"
    service.write_text("grace_s: 0.5", "utf-8")
    hanging = {"SYNCD_FAILPOINTS": "lease.release=hang", "SYNCD_SERVICE": str(service)}
    with Served(place, environ=hanging) as daemon:
        daemon.wait("leadership_taken")
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == -signal.SIGALRM


async def test_what_rests_is_left_out_and_nothing_is_lost(place: Place) -> None:
    """A paused entity is not run; a paused pipeline takes no claim, and nobody else its place."""
    place.live_for(SHORT_TTL_S)
    pause = "INSERT INTO $ledger.syncd_pause VALUES ('one', $1, 'test', 'test')"
    await place.rows(pause, "staff")
    with Served(place) as daemon:
        daemon.wait("leadership_taken")
        await place.ask()
        daemon.wait("claim_ended", status="done")
        assert daemon.found("entity_ended", entity="staff") == []
        await place.ask("staff")
        daemon.wait("claim_ended", status="cancelled")
        await place.rows(pause, "")
        await place.ask()
        daemon.signal(signal.SIGHUP)
        daemon.wait("reloaded")
        assert await place.value(
            "SELECT count(*) FROM $ledger.syncd_claim WHERE status = 'waiting'"
        )
        run = ("-m", "syncd", "run", "-c", str(place.config))
        beside = await anyio.run_process([sys.executable, *run], check=False)
        assert beside.returncode == Exit.FENCED, beside.stderr
        await place.rows("DELETE FROM $ledger.syncd_pause")
        daemon.wait("entity_ended", entity="staff", status="completed")
