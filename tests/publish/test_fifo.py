"""Queues and topics whose name ends in .fifo keep the order of each record, and no repetition."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TypeAlias

import msgspec
import pytest

from syncd.config import SnsTopic, SqsQueue
from syncd.errors import TransientError
from tests.cloud import Cloud
from tests.publish import fault_proxy
from tests.publish.fault_proxy import Proxy
from tests.publish.world import Inbox, Received, Referrals, queue, referrals, topic

MakeDatabase: TypeAlias = Callable[[str], str]
REFS = [f"r{n}" for n in range(7)]


@pytest.fixture
async def proxy(cloud: Cloud) -> AsyncIterator[Proxy]:
    async with Proxy(cloud).running() as running:
        yield running


@pytest.fixture(params=["queue", "topic"])
async def place(cloud: Cloud, request: pytest.FixtureRequest) -> tuple[SqsQueue | SnsTopic, Inbox]:
    """Where events go, and where they arrive."""
    if request.param == "topic":
        return await topic(cloud, ".fifo")
    inbox = await queue(cloud, "q.fifo")
    return inbox.place, inbox


async def changed_twice(world: Referrals) -> dict[str, list[str]]:
    """Three events of each record: their ids in the order in which they arose."""
    await world.add(*REFS)
    await world.change()
    await world.change()
    found = defaultdict(list)
    for ref, event_id in await world.rows(
        "SELECT convert_from(rtrim(key, '\\x00'), 'UTF8'), event_id::text "
        "FROM syncd.syncd_outbox ORDER BY outbox_id"
    ):
        found[ref].append(event_id)
    return dict(found)


def by_record(received: list[Received]) -> dict[str, list[str]]:
    """The ids of each record in the order in which they arrived."""
    found = defaultdict(list)
    for one in received:
        found[one.key].append(one.event_id)
    return dict(found)


async def test_each_record_is_a_group_and_each_event_known_by_its_id(
    make_database: MakeDatabase, place: tuple[SqsQueue | SnsTopic, Inbox]
) -> None:
    to, inbox = place
    world = await referrals(make_database)
    world.at(to)
    arose = await changed_twice(world)
    assert (await world.relay()).sent == 3 * len(REFS)
    received = await inbox.received()
    assert by_record(received) == arose
    assert [one.deduplication for one in received] == [one.event_id for one in received]
    groups = {one.key: one.group for one in received}
    assert [one.group for one in received] == [groups[one.key] for one in received]
    assert len(set(groups.values())) == len(REFS)


async def test_what_is_sent_again_after_a_lost_answer_arrives_once(
    make_database: MakeDatabase, place: tuple[SqsQueue | SnsTopic, Inbox], proxy: Proxy
) -> None:
    to, inbox = place
    world = await referrals(make_database)
    world.at(msgspec.structs.replace(to, endpoint_url=proxy.url))
    proxy.fault = fault_proxy.lost
    arose = await changed_twice(world)
    while await world.unsent():
        with suppress(TransientError):
            await world.relay()
        await world.let_retry()
    assert len(proxy.calls) > 3
    assert by_record(await inbox.received()) == arose
