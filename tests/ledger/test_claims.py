"""Claims and pauses on a real ledger: what coalesces, what waits, and who may take."""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest

from syncd.config import Secret
from syncd.errors import FencedError
from syncd.flow.ports import Lease
from syncd.ledger.claims import Claim, Claims, Pauses
from syncd.ledger.migrations import migrate
from syncd.ledger.runs import Runs
from syncd.pg.connect import Connections, open_connection
from syncd.reports import Backlog, PauseView

SCHEMA: Final = "syncd"
A, B, AB = frozenset("a"), frozenset("b"), frozenset("ab")


class Ledger:
    """One pipeline's claims, with the lease of an instance."""

    def __init__(self, connections: Connections) -> None:
        self.claims = Claims(connections, "p", SCHEMA)
        self.pauses = Pauses(connections, "p", SCHEMA)
        self.runs = Runs(connections, "p", SCHEMA)

    async def lead(self) -> Lease:
        """A new leader: whoever led before has died."""
        held = await self.runs.holder()
        if held is not None:
            await self.runs.release(Lease("p", held["holder"], held["epoch"]))
        lease = await self.runs.acquire("test", 60)
        assert lease is not None
        return lease


@pytest.fixture
async def ledger(pg_dsn: str) -> AsyncIterator[Ledger]:
    connection = await asyncpg.connect(pg_dsn)
    await migrate(connection, SCHEMA)
    await connection.close()

    async def opened() -> "asyncpg.Connection[asyncpg.Record]":
        return await open_connection(
            Secret(value=pg_dsn), connect_timeout_s=5, statement_timeout_s=5, read_only=False,
            prepared_statements=False,
        )  # fmt: skip

    connections = Connections(opened, size_max=3)
    yield Ledger(connections)
    await connections.close()


async def test_asking_again_while_it_waits_is_answered_with_the_same_claim(ledger: Ledger) -> None:
    """Case 8: a thousand wishes are one claim that waits."""
    first = await ledger.claims.ask(None, "signal", "SIGHUP")
    again = [await ledger.claims.ask(None, "api", "ada") for _ in range(3)]
    assert not first.coalesced
    assert {(c.claim_id, c.coalesced, c.status) for c in again} == {
        (first.claim_id, True, "waiting")
    }
    assert [c.requests for c in await ledger.claims.listed(10)] == [4]


async def test_one_runs_and_one_waits_beside_it(ledger: Ledger) -> None:
    """What was asked for after the run began is not lost in it, and does not run beside it."""
    lease = await ledger.lead()
    running = await ledger.claims.ask(A, "api", "ada")
    assert await ledger.claims.take(lease) == Claim(running.claim_id, A, "api", resumed=False)
    waiting = await ledger.claims.ask(A, "api", "ada")
    assert waiting.claim_id != running.claim_id
    assert await ledger.claims.take(lease) is None
    await ledger.claims.finish(lease, running.claim_id, "done", 7, "")
    taken = await ledger.claims.take(lease)
    assert taken is not None
    assert taken.claim_id == waiting.claim_id


@pytest.mark.parametrize(
    ("running", "wanted", "may"),
    [(A, B, True), (A, AB, False), (None, A, False), (A, None, False), (AB, B, False)],
)
async def test_a_scope_that_overlaps_what_runs_waits(
    ledger: Ledger, running: frozenset[str] | None, wanted: frozenset[str] | None, *, may: bool
) -> None:
    """Two claims run side by side only where no entity is in both."""
    lease = await ledger.lead()
    await ledger.claims.ask(running, "api", "ada")
    assert await ledger.claims.take(lease) is not None
    await ledger.claims.ask(wanted, "api", "ada")
    assert (await ledger.claims.take(lease) is not None) is may


async def test_what_a_dead_instance_left_running_comes_first(ledger: Ledger) -> None:
    """The next leader takes it up, once, before what waits."""
    old = await ledger.lead()
    begun = await ledger.claims.ask(A, "schedule", "cron")
    await ledger.claims.take(old)
    await ledger.claims.ask(B, "api", "ada")
    new = await ledger.lead()
    assert await ledger.claims.take(new) == Claim(begun.claim_id, A, "schedule", resumed=True)
    second = await ledger.claims.take(new)
    assert second is not None
    assert second.scope == B


async def test_whoever_lost_the_lease_takes_and_ends_nothing(ledger: Ledger) -> None:
    """Case 85: the fence stands before claims, too."""
    old = await ledger.lead()
    claim = await ledger.claims.ask(None, "api", "ada")
    await ledger.claims.take(old)
    await ledger.lead()
    with pytest.raises(FencedError):
        await ledger.claims.take(old)
    with pytest.raises(FencedError):
        await ledger.claims.finish(old, claim.claim_id, "done", 1, "")
    found = await ledger.claims.one(claim.claim_id)
    assert found is not None
    assert found.status == "running"


async def test_a_paused_pipeline_takes_no_claim(ledger: Ledger) -> None:
    """Claims wait until it goes on; a paused entity holds up nothing here."""
    lease = await ledger.lead()
    await ledger.claims.ask(None, "api", "ada")
    await ledger.pauses.pause("", "moving house", "ada")
    assert await ledger.claims.take(lease) is None
    assert await ledger.pauses.resume("")
    await ledger.pauses.pause("a", "bad data", "ada")
    assert await ledger.claims.take(lease) is not None


async def test_a_pause_is_told_with_its_reason_until_it_ends(ledger: Ledger) -> None:
    """The last reason counts; letting go what does not rest says so."""
    await ledger.pauses.pause("a", "first", "ada")
    await ledger.pauses.pause("a", "second", "bob")
    [found] = await ledger.pauses.listed()
    assert found == PauseView("a", "second", "bob", found.paused_at)
    assert found.paused_at.endswith("Z")
    assert await ledger.pauses.resume("a")
    assert not await ledger.pauses.resume("a")


async def test_the_backlog_counts_what_waits_and_its_age(ledger: Ledger) -> None:
    """Nothing waits: 0 and 0."""
    assert await ledger.claims.waiting() == Backlog(0, 0.0)
    await ledger.claims.ask(A, "api", "ada")
    await ledger.claims.ask(B, "api", "ada")
    found = await ledger.claims.waiting()
    assert found.depth == 2
    assert 0 <= found.age_s < 60


async def test_an_ended_claim_tells_its_run_and_reason(ledger: Ledger) -> None:
    """What the API shows of it."""
    lease = await ledger.lead()
    asked = await ledger.claims.ask(AB, "cli", "ops")
    await ledger.claims.take(lease)
    await ledger.claims.finish(lease, asked.claim_id, "failed", 0, "the source is gone")
    found = await ledger.claims.one(asked.claim_id)
    assert found is not None
    assert (found.entities, found.status, found.run_id, found.reason) == (
        ("a", "b"), "failed", 0, "the source is gone",
    )  # fmt: skip
    assert found.finished_at >= found.started_at >= found.requested_at > ""
    assert await ledger.claims.one(asked.claim_id + 1000) is None
