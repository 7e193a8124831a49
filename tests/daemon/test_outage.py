"""A daemon whose database goes away and comes back."""

import signal
from asyncio import to_thread

import pytest

from tests.crash.proxy import Fault, FaultyProxy, Moment
from tests.daemon.process import SHORT_TTL_S, Place, Served


class Outage:
    """Cuts every connection while it lasts."""

    def __init__(self) -> None:
        self.is_on = False

    def __call__(self, moment: Moment) -> Fault | None:
        """What goes wrong now."""
        del moment
        return Fault.CUT if self.is_on else None


@pytest.mark.parametrize("at", ["idle", "running"])
async def test_what_is_asked_for_while_the_database_is_away_is_done_when_it_is_back(
    place: Place, at: str
) -> None:
    """SIGHUP is heard, the process lives, and what was under way is taken up (cases 20 and 23)."""
    outage = Outage()
    place.ttl_s = SHORT_TTL_S
    # Slow at the point, so that the connection is cut in the middle of a transaction.
    planted = {"SYNCD_FAILPOINTS": "apply.written=slow"} if at == "running" else {}
    await place.rows("INSERT INTO one_offices (id, name) VALUES ('99', 'staff')")
    async with FaultyProxy.serve(place.dsn, outage) as proxy:
        place.write(dsn=proxy.dsn)
        text = place.config.read_text("utf-8").replace("rows: 200", "rows: 200, retries: 1")
        place.config.write_text(text, "utf-8")
        with Served(place, environ=planted) as daemon:
            await to_thread(daemon.wait, "leadership_taken")
            if at == "running":
                await place.ask()
                await to_thread(daemon.wait, "failpoint_fired")
            outage.is_on = True
            await to_thread(daemon.wait, "pipeline_broken")
            daemon.signal(signal.SIGHUP)
            await to_thread(daemon.wait, "reloaded")
            await to_thread(daemon.wait, "pipeline_broken", 2)
            outage.is_on = False
            await to_thread(daemon.wait, "claim_ended", 1, status="done")
            daemon.signal(signal.SIGTERM)
            assert await to_thread(daemon.ended) == 0
    unfinished = "SELECT count(*) FROM $ledger.syncd_claim WHERE status = 'running'"
    assert await place.value(unfinished) == 0
    assert await place.value("SELECT count(*) FROM one_offices") == 21
