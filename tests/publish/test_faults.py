"""Nothing is lost and no order is broken, whatever the cloud or the kernel does to the relay."""

import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.abc
import msgspec
import pytest
from aiohttp import web

from syncd.errors import TransientError
from tests.cloud import CREDENTIALS, Cloud
from tests.conftest import REPOSITORY
from tests.publish import fault_proxy
from tests.publish.fault_proxy import Asked, Proxy
from tests.publish.world import Inbox, Received, Referrals, queue, referrals

MakeDatabase: TypeAlias = Callable[[str], str]
REFS = [f"r{n}" for n in range(12)]


@pytest.fixture
async def proxy(cloud: Cloud) -> AsyncIterator[Proxy]:
    async with Proxy(cloud).running() as running:
        yield running


@pytest.fixture
async def inbox(cloud: Cloud) -> Inbox:
    return await queue(cloud)


@pytest.fixture
async def world(make_database: MakeDatabase, proxy: Proxy, inbox: Inbox) -> Referrals:
    """Twelve referrals, changed once each, so two events of each."""
    made = await referrals(make_database)
    made.at(msgspec.structs.replace(inbox.place, endpoint_url=proxy.url))
    await made.add(*REFS)
    await made.change()
    return made


async def all_of(world: Referrals) -> dict[str, list[str]]:
    """The ids of the events of each record, in the order in which they arose."""
    rows = await world.rows(
        "SELECT convert_from(rtrim(key, '\\x00'), 'UTF8'), event_id::text "
        "FROM syncd.syncd_outbox ORDER BY outbox_id"
    )
    found = defaultdict(list)
    for ref, event_id in rows:
        found[ref].append(event_id)
    return dict(found)


def first_heard(received: Sequence[Received]) -> dict[str, list[str]]:
    """The ids of each record as a consumer that knows ids hears them: repetitions left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for event in received:
        if event.event_id not in found[event.key]:
            found[event.key].append(event.event_id)
    return dict(found)


async def test_a_throttled_call_is_repeated_after_a_pause(
    world: Referrals, proxy: Proxy, inbox: Inbox
) -> None:
    proxy.fault = fault_proxy.throttled
    assert (await world.relay()).sent == 24
    received = await inbox.received()
    assert len(received) == 24
    assert first_heard(received) == await all_of(world)
    assert len(proxy.calls) == 4 + 3  # two batches a round, and the three that were too many


async def test_an_entry_that_failed_alone_is_sent_again_and_keeps_its_record_in_order(
    world: Referrals, proxy: Proxy, inbox: Inbox
) -> None:
    """Case 22: under an answer that says 200, some entries were not taken."""
    proxy.fault = fault_proxy.partly
    await world.relay()
    assert set((await world.reasons()).values()) == {
        "AWS refused the event: InternalError", "AWS did not answer for the event",
    }  # fmt: skip
    await world.let_retry()
    await world.relay()
    assert await world.unsent() == 0
    assert first_heard(await inbox.received()) == await all_of(world)


async def test_a_lost_answer_repeats_events_under_their_ids(
    world: Referrals, proxy: Proxy, inbox: Inbox
) -> None:
    proxy.fault = fault_proxy.lost
    await world.relay()
    received = await inbox.received()
    assert len(received) > 24
    assert first_heard(received) == await all_of(world)


async def test_a_cloud_that_is_down_loses_nothing(
    world: Referrals, proxy: Proxy, inbox: Inbox
) -> None:
    proxy.fault = fault_proxy.broken
    with pytest.raises(TransientError, match="ServiceUnavailable"):
        await world.relay()
    assert await world.unsent() == 24
    proxy.fault = fault_proxy.none
    await world.let_retry()
    assert (await world.relay()).sent == 24
    assert first_heard(await inbox.received()) == await all_of(world)


async def test_a_record_has_one_event_in_flight_at_most(
    world: Referrals, proxy: Proxy, inbox: Inbox
) -> None:
    """Entries of one batch may fail one by one: two of one record there could change places."""
    seen: list[list[str]] = []

    async def noting(asked: Asked) -> web.StreamResponse:
        bodies = [json.loads(e["MessageBody"]) for e in json.loads(asked.body)["Entries"]]
        keys = [json.loads(b["Message"])["additionalInformation"]["key"][0] for b in bodies]
        seen.append(keys)
        return await asked.pass_on()

    proxy.fault = noting
    await world.relay()
    assert [len(set(keys)) for keys in seen] == [len(keys) for keys in seen]
    assert len(await inbox.received()) == 24


class Killer:
    """Ends a relay of its own, by kill -9, after a call was carried out and before its answer."""

    def __init__(self, world: Referrals, folder: Path) -> None:
        self._file = folder / "pipeline.yaml"
        self._file.write_text(msgspec.json.encode(_plain(world)).decode())
        self._running: anyio.abc.Process | None = None
        self.kills = 0

    async def fault(self, asked: Asked) -> web.StreamResponse:
        """The call is carried out; nobody hears of it."""
        answer = await asked.pass_on()
        running, self._running = self._running, None
        if running is not None and self.kills < 3:
            self.kills += 1
            os.kill(running.pid, signal.SIGKILL)
        return answer

    async def relay(self) -> int:
        """``syncd relay --once``; its exit code."""
        command = [sys.executable, "-m", "syncd", "-c", str(self._file), "relay", "--once"]
        environ = {**os.environ, **CREDENTIALS}
        async with await anyio.open_process(
            command, cwd=REPOSITORY, env=environ, stdout=None, stderr=None
        ) as running:
            self._running = running
            return await running.wait()


def _plain(world: Referrals) -> dict[str, Any]:
    config = world.config
    plain: dict[str, Any] = msgspec.to_builtins(config)
    for side, dsn in (("source", config.source.dsn), ("target", config.target.dsn)):  # type: ignore[union-attr]
        plain[side]["dsn"] = dsn.value
    return plain


@pytest.mark.trust
async def test_a_killed_relay_repeats_what_it_sent_and_breaks_no_order(
    world: Referrals, proxy: Proxy, inbox: Inbox, tmp_path: Path
) -> None:
    """Case 83: killed between the call and the note, three times; the next one takes over."""
    killer = Killer(world, tmp_path)
    proxy.fault = killer.fault
    codes = [await killer.relay() for _ in range(4)]
    assert codes == [-signal.SIGKILL] * 3 + [0]
    received = await inbox.received()
    assert first_heard(received) == await all_of(world)
    assert len({event.event_id for event in received}) == 24
    assert await world.unsent() == 0


async def test_two_relays_side_by_side_send_each_event_once(world: Referrals, inbox: Inbox) -> None:
    """One waits for the lease of the other."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.relay)
        tasks.start_soon(world.relay)
    received = await inbox.received()
    assert len(received) == 24
    assert first_heard(received) == await all_of(world)
