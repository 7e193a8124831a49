"""Every duty of runs, lease and held deletes, over the doubles and PostgreSQL alike."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec import Struct

from syncd.errors import FencedError, LockedError
from syncd.flow.decide import DELETE_REFUSED
from syncd.flow.model import Counts, Outcome, Plan, State
from syncd.flow.ports import Lease, Unit
from syncd.ledger.reviews import Reviews
from syncd.ledger.runs import Closing, Runs
from tests.contracts.test_target_and_ledger import insert, remember
from tests.contracts.world import (
    Shelter,
    _expire,
    entry_of,
    key_of,
    memory_shelter,
    postgres_shelter,
    row_of,
)
from tests.memory.runs import MemoryReviews, MemoryRuns
from tests.pipeline.world import MakeDatabase

TTL_S = 3600.0


class Office(Struct):
    """The book of one implementation; ``us`` held the lease last. ``expire`` ends any lease."""

    shelter: Shelter
    plan: Plan
    runs: Runs | MemoryRuns
    reviews: Reviews | MemoryReviews
    us: Lease
    expire: Callable[[], Awaitable[None]]


@pytest.fixture(params=["memory", "postgres"])
async def office(
    request: pytest.FixtureRequest, make_database: MakeDatabase
) -> AsyncIterator[Office]:
    """One implementation."""
    if request.param == "postgres":
        dsn = make_database("book")
        async with postgres_shelter(dsn) as shelter:
            assert shelter.site is not None
            site = shelter.site
            yield Office(
                shelter, shelter.plan, site.runs, site.reviews, shelter.lease, lambda: _expire(dsn)
            )
        return
    async with memory_shelter() as shelter:
        assert shelter.memory is not None
        clock = [0.0]
        runs = MemoryRuns(shelter.memory, "items", lambda: clock[0])
        await runs.pin("items", "app.items", {"id": "integer", "name": "text"})

        async def expire() -> None:
            clock[0] += 2 * TTL_S

        us = await runs.acquire("us", TTL_S)
        assert us is not None
        yield Office(shelter, shelter.plan, runs, MemoryReviews(shelter.memory, runs), us, expire)


def closing(status: str, position: int) -> Closing:
    """The end of an entity."""
    return Closing(status, Counts(), 0.1, (), (), 0, position, source_rows=7, identity="abc")


async def test_a_held_lease_is_not_given(office: Office) -> None:
    """None while it is renewed, and the holder is named."""
    assert await office.runs.acquire("other", TTL_S) is None
    holder = await office.runs.holder()
    assert holder is not None
    assert (holder["holder"], holder["held"], holder["epoch"]) == ("us", True, office.us.epoch)


async def test_a_takeover_raises_the_epoch_and_fences_the_old_holder(office: Office) -> None:
    """I9: after it the old holder can neither renew nor begin."""
    await office.expire()
    other = await office.runs.acquire("other", TTL_S)
    assert other is not None
    assert other.epoch == office.us.epoch + 1
    with pytest.raises(FencedError):
        await office.runs.keep(office.us, TTL_S)
    with pytest.raises(FencedError):
        async with office.shelter.ledger.begin(office.us):
            raise AssertionError("it began")
    await office.runs.release(office.us)
    assert await office.runs.acquire("third", TTL_S) is None


async def test_a_lease_that_ran_out_is_kept_by_its_holder_while_nobody_took_it(
    office: Office,
) -> None:
    """A late renewal is a renewal."""
    await office.expire()
    await office.runs.keep(office.us, TTL_S)
    assert await office.runs.acquire("other", TTL_S) is None


async def test_a_released_lease_is_free(office: Office) -> None:
    """At once."""
    await office.runs.release(office.us)
    assert await office.runs.acquire("other", TTL_S) is not None


async def test_an_unfinished_run_is_taken_up(office: Office) -> None:
    """With the next attempt number, by whoever holds the lease and asks for the same."""
    first = await office.runs.start(office.us, None)
    again = await office.runs.start(office.us, None)
    assert (first.attempt, again.attempt) == (1, 2)
    assert first.run_id == again.run_id
    await office.runs.finish(office.us, again.run_id, "completed")
    new = await office.runs.start(office.us, None)
    assert (new.run_id > first.run_id, new.attempt) == (True, 1)
    assert new.previous_run is not None


async def test_an_unfinished_run_that_asked_for_something_else_is_closed(office: Office) -> None:
    """It is not taken up any more."""
    first = await office.runs.start(office.us, ["items"])
    other = await office.runs.start(office.us, None)
    assert other.run_id != first.run_id
    await office.runs.finish(office.us, other.run_id, "completed")
    third = await office.runs.start(office.us, ["items"])
    assert (third.run_id > other.run_id, third.attempt) == (True, 1)


async def test_units_of_earlier_attempts_are_told(office: Office) -> None:
    """Those of this one are not."""
    first = await office.runs.start(office.us, None)
    unit = Unit("u1", Counts(inserted=2), Counts(), Counts(), Counts())
    async with office.shelter.ledger.begin(office.us) as tx:
        await office.shelter.ledger.unit(tx, first.run_id, office.plan, unit)
    assert await office.runs.earlier_units(first, office.plan) == []
    again = await office.runs.start(office.us, None)
    earlier = await office.runs.earlier_units(again, office.plan)
    assert [one.present for one in earlier] == [unit.present]


async def test_a_place_moves_only_with_an_entity_that_ended_well(office: Office) -> None:
    """A failed one leaves position and identity as they were; a position never goes back."""
    run = await office.runs.start(office.us, None)
    places = []
    for status, position in (("completed", 10), ("failed", 20), ("completed", 5)):
        ended = closing(status, position)
        await office.runs.close_entity(office.us, run.run_id, office.plan.entity_id, ended)
        pinned = (await office.runs.pinned())["items"]
        places.append((pinned.position, pinned.identity, pinned.last_rows))
    assert places == [(10, "abc", 7)] * 3


async def test_a_rewind_begins_a_new_source_epoch(office: Office) -> None:
    """Positions start again from anywhere."""
    run = await office.runs.start(office.us, None)
    ended = closing("completed", 10)
    await office.runs.close_entity(office.us, run.run_id, office.plan.entity_id, ended)
    await office.runs.rewind(office.us, office.plan.entity_id)
    pinned = (await office.runs.pinned())["items"]
    assert (pinned.position, pinned.source_epoch, pinned.identity) == (0, 2, "")


async def test_a_setting_is_stored_once(office: Office) -> None:
    """The first default wins."""
    assert await office.runs.setting("colour") is None
    assert await office.runs.setting("colour", b"red") == b"red"
    assert await office.runs.setting("colour", b"blue") == b"red"


async def test_held_deletes_and_their_decisions(office: Office) -> None:
    """Exactly those named last are held; a decision stays while a key is held."""
    plan, reviews = office.plan, office.reviews
    await reviews.hold(office.us, plan, 1, [key_of(1), key_of(2)], "many")
    assert (await reviews.decisions(plan)).missed_runs == {key_of(1): 1, key_of(2): 1}
    assert await reviews.decide_held(plan.entity_id, "approved") == 2
    await reviews.hold(office.us, plan, 2, [key_of(2), key_of(3)], "many")
    decisions = await reviews.decisions(plan)
    assert decisions.missed_runs == {key_of(2): 2, key_of(3): 1}
    assert decisions.approved == frozenset({key_of(2)})
    await reviews.hold(office.us, plan, 3, [], "")
    assert (await reviews.decisions(plan)).missed_runs == {}


async def test_the_book_of_a_run_is_closed_to_who_lost_the_lease(office: Office) -> None:
    """I9: a paused instance that wakes up changes neither counts, place, holds nor status."""
    plan, runs, reviews = office.plan, office.runs, office.reviews
    run = await runs.start(office.us, None)
    await runs.close_entity(office.us, run.run_id, plan.entity_id, closing("completed", 10))
    await reviews.hold(office.us, plan, run.run_id, [key_of(1)], "many")
    await office.expire()
    other = await runs.acquire("other", TTL_S)
    assert other is not None
    again = await runs.start(other, None)
    late = closing("completed", 20)
    for refused in (
        lambda: runs.start(office.us, None),
        lambda: runs.start(office.us, ["items"]),
        lambda: runs.close_entity(office.us, run.run_id, plan.entity_id, late),
        lambda: runs.finish(office.us, run.run_id, "completed"),
        lambda: runs.rewind(office.us, plan.entity_id),
        lambda: reviews.hold(office.us, plan, run.run_id, [key_of(2)], "late"),
        lambda: reviews.hold(office.us, plan, run.run_id, [], ""),
    ):
        with pytest.raises(FencedError):
            await refused()
    pinned = (await runs.pinned())["items"]
    assert (pinned.position, pinned.source_epoch) == (10, 1)
    assert (await reviews.decisions(plan)).missed_runs == {key_of(1): 1}
    assert await reviews.last_run() == (run.run_id, "running")
    assert (again.run_id, again.attempt) == (run.run_id, 2)
    await runs.finish(other, run.run_id, "completed")
    assert await reviews.last_run() == (run.run_id, "completed")


async def test_a_record_that_is_there_again_is_missed_anew(office: Office) -> None:
    """Whatever is noted of it ends the count, with the commit and whatever becomes of the run."""
    shelter, plan = office.shelter, office.plan
    numbers = range(1, 6)
    shelter.lease = office.us
    await remember(shelter, *numbers)
    await office.reviews.hold(office.us, plan, 1, [key_of(n) for n in numbers], "many")
    refused = entry_of(plan, 3, reason=f"{DELETE_REFUSED}23503:fk", outcome=Outcome.FAILED)
    gone = entry_of(plan, 4, present=False, state=State.SRC_DELETED)
    async with shelter.ledger.begin(office.us) as tx:
        await shelter.ledger.lock(tx, plan, [key_of(n) for n in numbers])
        await shelter.ledger.touch(tx, plan, [key_of(1)], [7], 5, 1, 11)
        entries = [entry_of(plan, 2), refused, gone]
        await shelter.ledger.record(tx, plan, entries, [], new=False)
    missed = (await office.reviews.decisions(plan)).missed_runs
    assert missed == {key_of(3): 1, key_of(4): 1, key_of(5): 1}


# -- locks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["target", "ledger"])
async def test_what_another_transaction_has_locked_is_not_waited_for_long(
    office: Office, side: str
) -> None:
    """One that is not patient gives way with LockedError."""
    shelter = office.shelter
    shelter.lease = office.us
    await insert(shelter, 1)
    await remember(shelter, 1)
    shore = shelter.target if side == "target" else shelter.ledger
    async with shelter.ledger.begin(office.us) as holder:
        await shore.lock(holder, shelter.plan, [key_of(1)])

        async def disturb() -> None:
            async with shelter.ledger.begin(office.us, patient=False) as tx:
                await shore.lock(tx, shelter.plan, [key_of(1)])

        with pytest.raises(LockedError):
            await disturb()


async def test_a_transaction_sees_what_is_committed_meanwhile(office: Office) -> None:
    """At each step what then stands, so that a lock returns the row as it is when it is held."""
    shelter = office.shelter
    shelter.lease = office.us
    async with shelter.ledger.begin(office.us) as tx:
        assert (await shelter.target.lock(tx, shelter.plan, [key_of(1)])).rows == {}
        await insert(shelter, 1)
        await remember(shelter, 1)
        locked = await shelter.target.lock(tx, shelter.plan, [key_of(1)])
        assert locked.rows == {key_of(1): row_of(1)}
        entries = await shelter.ledger.lock(tx, shelter.plan, [key_of(1)])
    assert entries == {key_of(1): entry_of(shelter.plan, 1)}


async def test_nobody_sees_what_is_not_committed(office: Office) -> None:
    """Neither a look nor another transaction."""
    shelter = office.shelter
    shelter.lease = office.us
    async with shelter.ledger.begin(office.us) as tx:
        await shelter.ledger.record(tx, shelter.plan, [entry_of(shelter.plan, 1)], [], new=True)
        async with shelter.ledger.look() as look:
            assert await shelter.ledger.lock(look, shelter.plan, [key_of(1)]) == {}
        assert await shelter.ledger.extent(shelter.plan) is None
