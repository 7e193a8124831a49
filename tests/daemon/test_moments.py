"""Signals and shortages at any moment, by the dozen: nothing is lost, doubled or left behind."""

import random
import resource
import signal
import time
from collections.abc import Callable
from typing import Final

import pytest

from syncd.daemon.pipeline import rest_after
from tests.daemon.process import SHORT_TTL_S, Place, Served

SIGNALS: Final = 30
HEADROOM_BYTES: Final = 3 * 1024**2
UNLIMITED: Final = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def test_who_loses_the_lease_again_and_again_wants_it_at_most_once_a_minute() -> None:
    """Case 86: the rest grows with each loss, up to a minute."""
    rests = [rest_after(losses) for losses in range(1, 12)]
    assert rests == sorted(rests)
    assert rests[0] <= 2
    assert rests[-1] == 60


async def in_step(place: Place, rows: int, word: str) -> bool:
    """Whether both tables hold exactly the dump."""
    counts = "SELECT count(*), count(*) FILTER (WHERE name LIKE $1) FROM "
    found = [await place.rows(counts + table, word) for table in ("one_offices", "one_staff")]
    return found == [[(rows, rows)]] * 2


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_sigterm_at_any_moment(
    place: Place, record_property: Callable[[str, object], None]
) -> None:
    """Case 7: 0 each time, in good time, the lease free, and at the end all of the last dump."""
    chance = random.Random(7)  # noqa: S311 - the same moments each time
    place.ttl_s = 60
    place.write()
    for number in range(SIGNALS):
        place.deliver(3000, f"word{number} ")
        await place.ask()
        with Served(place) as daemon:
            daemon.wait("serving")
            time.sleep(chance.uniform(0, 1.2))  # noqa: ASYNC251 - any moment is meant
            daemon.signal(signal.SIGTERM)
            assert daemon.ended() == 0, daemon.said
        assert (
            await place.value("SELECT count(*) FROM $ledger.syncd_lease WHERE expires_at > now()")
            == 0
        )
    with Served(place) as daemon:
        daemon.wait("leadership_taken")
        await place.ask()
        daemon.wait("claim_ended", status="done")
        while await place.value(
            "SELECT count(*) FROM $ledger.syncd_claim WHERE finished_at IS NULL"
        ):
            time.sleep(0.1)  # noqa: ASYNC251 - claims that were left
    assert await in_step(place, 3000, f"word{SIGNALS - 1} %")
    record_property("signals", SIGNALS)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_daemon_that_runs_out_of_memory_goes_on_when_there_is_some(place: Place) -> None:
    """Case 9: it fails or is ended, nothing is half done, and the work is done afterwards."""
    place.live_for(SHORT_TTL_S)
    with Served(place) as daemon:
        daemon.wait("leadership_taken")
        used_bytes = daemon.virtual_bytes()
        resource.prlimit(daemon.pid, resource.RLIMIT_AS, (used_bytes + HEADROOM_BYTES, -1))
        place.deliver(20_000, "much ")
        await place.ask()
        daemon.wait_for_any("pipeline_broken", "claim_ended")
        resource.prlimit(daemon.pid, resource.RLIMIT_AS, UNLIMITED)
        await place.ask()
        daemon.wait("claim_ended", status="done")
    assert await in_step(place, 20_000, "much %")
