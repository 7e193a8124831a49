"""Schedule and new dumps in a real daemon, and what the ledger notes of them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from syncd import config_load
from syncd.errors import FencedError
from syncd.flow.ports import Lease
from syncd.ledger.agenda import Agenda
from syncd.ledger.claims import Claims
from syncd.site import Site
from tests.daemon.process import SHORT_TTL_S, Place, Served

AT = datetime(2026, 3, 29, 3, tzinfo=UTC)
STATUSES = "SELECT status, origin FROM $ledger.syncd_claim ORDER BY claim_id"


@pytest.fixture
async def site(place: Place) -> AsyncIterator[Site]:
    opened = Site(config_load.load(place.config, {}))
    yield opened
    await opened.close()


async def led(site: Site) -> tuple[Lease, Agenda]:
    """The lease of a new leader, and its agenda."""
    held = await site.runs.holder()
    if held is not None:
        await site.runs.release(Lease("one", held["holder"], held["epoch"]))
    lease = await site.runs.acquire("test", 60)
    assert lease is not None
    return lease, Agenda(site.connections, "one", site.config.ledger.schema, lease, site.retry)


async def test_a_due_time_is_claimed_once_by_whoever_leads(site: Site, place: Place) -> None:
    """Also by an instance whose clock is late: what is noted is when it was due."""
    _, agenda = await led(site)
    assert await agenda.noted() is None
    await agenda.note(AT - timedelta(days=1))
    assert await agenda.claim(AT) == "claimed"
    _, other = await led(site)
    assert await other.noted() == AT
    assert await other.claim(AT) == "known"
    assert await other.claim(AT - timedelta(hours=1)) == "known"
    assert await place.rows(STATUSES) == [("waiting", "schedule")]
    with pytest.raises(FencedError):
        await agenda.claim(AT + timedelta(days=1))


async def test_a_night_that_comes_during_the_one_before_is_left_out(
    site: Site, place: Place
) -> None:
    """Case 47: it is noted as come, and not asked for."""
    lease, agenda = await led(site)
    claims = Claims(site.connections, "one", site.config.ledger.schema)
    assert await agenda.claim(AT) == "claimed"
    assert await claims.take(lease) is not None
    assert await agenda.claim(AT + timedelta(days=1)) == "overlaps"
    assert await agenda.claim(AT + timedelta(days=1)) == "known"
    assert await place.rows(STATUSES) == [("running", "schedule")]


async def test_a_new_dump_is_found_and_an_old_one_is_not_run_again(place: Place) -> None:
    """Once for each dump, also across a restart; a night without one claims nothing."""
    place.ttl_s = SHORT_TTL_S
    place.write(more="schedule: {watch_s: 0.2}")
    with Served(place) as daemon:
        daemon.wait("claim_ended", status="done")
        place.deliver(25, "second")
        daemon.wait("claim_ended", number=2, status="done")
    assert await place.value("SELECT count(*) FROM one_offices WHERE name LIKE 'second%'") == 25
    place.write(more="schedule: {watch_s: 0.2, stale_after_s: 60}")
    with Served(place) as daemon:
        daemon.wait("leadership_taken")
        await place.ask("offices")
        daemon.wait("claim_ended", status="done")
        assert daemon.found("dump_found") == []
    assert await place.rows(STATUSES) == [("done", "dump"), ("done", "dump"), ("done", "api")]


async def test_a_time_missed_while_nothing_ran_is_made_up_for_at_the_start(
    site: Site, place: Place
) -> None:
    """The ledger remembers what was claimed last; the daemon sees that a day has passed."""
    _, agenda = await led(site)
    await agenda.note(datetime.now(UTC) - timedelta(days=2))
    held = await site.runs.holder()
    assert held is not None
    await site.runs.release(Lease("one", held["holder"], held["epoch"]))
    place.write(more='schedule: {cron: "0 4 * * *", timezone: Europe/London}')
    with Served(place) as daemon:
        daemon.wait("schedule_due")
        daemon.wait("claim_ended", status="done")
    assert await place.rows(STATUSES) == [("done", "schedule")]
