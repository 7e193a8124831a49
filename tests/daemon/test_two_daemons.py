"""Two daemons on one pipeline: one leads, one stands by, and nobody writes beside the other."""

import os
import signal

from tests.daemon.process import SHORT_TTL_S, Place, Served

PLANTED = {"SYNCD_FAILPOINTS": "writer.take=slow"}


async def test_a_paused_leader_is_replaced_and_writes_nothing_when_it_wakes_up(
    place: Place,
) -> None:
    """Cases 85 and 86: stopped in the middle of a run; its claim is finished by the other one."""
    place.live_for(SHORT_TTL_S)
    await place.rows("INSERT INTO one_offices (id, name) VALUES ('99', 'staff')")
    with Served(place, environ=PLANTED) as first:
        first.wait("leadership_taken")
        with Served(place) as second:
            second.wait("serving")
            await place.ask()
            first.wait("failpoint_fired")
            os.kill(first.pid, signal.SIGSTOP)
            second.wait("leadership_taken")
            second.wait("claim_taken", attempt=2)
            second.wait("claim_ended", status="done")
            before = await place.everything()
            os.kill(first.pid, signal.SIGCONT)
            first.wait("leadership_lost")
            assert await place.everything() == before
            assert second.found("leadership_lost") == []
            second.signal(signal.SIGTERM)
            assert second.ended() == 0
        first.wait("leadership_taken", number=2)
    assert await place.value("SELECT count(*) FROM one_offices") == 21


async def test_what_a_killed_leader_had_begun_is_finished_by_the_standby(place: Place) -> None:
    """kill -9 in the middle of a run: one claim, one run, two attempts."""
    place.live_for(SHORT_TTL_S)
    await place.rows("INSERT INTO one_offices (id, name) VALUES ('99', 'staff')")
    with Served(place, environ={"SYNCD_FAILPOINTS": "apply.written=kill"}) as first:
        first.wait("leadership_taken")
        with Served(place) as second:
            second.wait("serving")
            await place.ask()
            assert first.ended() == -signal.SIGKILL
            second.wait("claim_ended", status="done")
    assert await place.rows("SELECT attempts, status FROM $ledger.syncd_run") == [(2, "completed")]
    assert await place.value("SELECT count(*) FROM one_offices") == 21


async def test_behind_a_proxy_that_deals_out_transactions(place: Place) -> None:
    """No session is relied on: settings are local, statements are not prepared (case 18)."""
    place.write(prepared=False)
    with Served(place) as daemon:
        await place.ask()
        daemon.wait("claim_ended", status="done")
        daemon.signal(signal.SIGHUP)
        daemon.wait("claim_ended", number=2, status="done")
