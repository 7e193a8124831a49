"""A daemon from its start to its end: claims, the configuration, signals."""

import signal
import time

from tests.daemon.process import Place, Served


async def test_a_claim_is_taken_run_and_noted(place: Place) -> None:
    """What anybody asks for in the ledger is done within a second or so, and its end noted."""
    with Served(place) as daemon:
        daemon.wait("leadership_taken")
        await place.ask()
        daemon.wait("claim_ended", status="done")
        assert await place.value("SELECT count(*) FROM one_offices") == 20
        [claim] = await place.rows("SELECT status, run_id, requests FROM $ledger.syncd_claim")
        assert claim == ("done", 1, 1)
        daemon.signal(signal.SIGTERM)
        sent_s = time.monotonic()
        assert daemon.ended() == 0, daemon.said
        assert time.monotonic() - sent_s < 5
    free = "SELECT expires_at < clock_timestamp() FROM $ledger.syncd_lease"
    assert await place.value(free) is True
