"""Referrals that are imported, and the events that this puts in the outbox."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from msgspec import Struct

from syncd.config import Config, Entity, Event, Events, SnsTopic, SqsQueue
from syncd.flow.ports import Lease
from syncd.jobs.relay import Relay
from syncd.reports import RelayReport
from syncd.site import Site
from tests.cloud import Cloud
from tests.pipeline.world import World, make_config

TYPE: Final = "interventions.community-referral.imported"
LEGACY: Final = "CREATE TABLE referral (ref text PRIMARY KEY, crn text, n int NOT NULL)"
DETAILS: Final = """
SELECT ref AS key, 'id-' || ref AS "REFERRAL_ID", crn FROM referral WHERE ref = ANY($1::text[])
"""
QUICK: Final = Events(
    to=SnsTopic(topic_arn="arn:aws:sns:eu-west-2:000000000000:t"), rate_per_s=10_000.0, poll_s=0.02
)


class Received(Struct, frozen=True):
    """An event as a consumer finds it."""

    event_id: str
    type: str
    event: dict[str, Any]
    group: str = ""  # of a FIFO queue, as the next one
    deduplication: str = ""

    @property
    def key(self) -> str:
        """The key of its record, where it has no details."""
        return str(self.event["additionalInformation"]["key"][0])


class Referrals(World):
    """A world whose one entity tells events."""

    async def add(self, *refs: str, crn: str = "X1") -> None:
        """New referrals at the source, imported in a night."""
        values = ", ".join(f"('{ref}', '{crn}', 0)" for ref in refs)
        await self.legacy(f"INSERT INTO referral VALUES {values}")  # noqa: S608 - our own words
        await self.night()

    async def change(self) -> None:
        """Every referral changes, and a night imports it."""
        await self.legacy("UPDATE referral SET n = n + 1")
        await self.night()

    async def relay(self, *, ttl_s: float = 30.0) -> RelayReport:
        """Send all that is due."""
        async with self.leading(ttl_s=ttl_s) as (relay, lease):
            return await relay.drain(lease)

    @asynccontextmanager
    async def leading(self, *, ttl_s: float = 30.0) -> AsyncIterator[tuple[Relay, Lease]]:
        """A relay, and a lease that nobody renews."""
        site = Site(self.config)
        try:
            assert self.config.events is not None
            lease = await site.runs.acquire(site.holder, ttl_s)
            while lease is None:  # the last holder's runs out by itself
                await anyio.sleep(0.02)
                lease = await site.runs.acquire(site.holder, ttl_s)
            try:
                yield Relay(site, self.config.events), lease
            finally:
                await site.runs.release(lease)
        finally:
            await site.close()

    async def unsent(self) -> int:
        """Events that are not noted as sent."""
        found = await self.value("SELECT count(*) FROM syncd.syncd_outbox WHERE sent_at IS NULL")
        assert isinstance(found, int)
        return found

    async def reasons(self) -> dict[str, str]:
        """Why the events of each record, by its text, are not sent."""
        rows = await self.rows(
            "SELECT convert_from(rtrim(key, '\\x00'), 'UTF8'), reason FROM syncd.syncd_outbox "
            "WHERE sent_at IS NULL AND reason <> ''"
        )
        return dict(rows)

    async def let_retry(self) -> None:
        """As if everything that rests had rested long enough."""
        await self.staff("UPDATE syncd.syncd_outbox SET retry_at = NULL")

    def at(self, to: Any) -> None:
        """Send to another place from now on."""
        assert self.config.events is not None
        events = msgspec.structs.replace(self.config.events, to=to)
        self.config = msgspec.structs.replace(self.config, events=events)


async def referrals(
    make_database: Callable[[str], str], event: str | Event = TYPE, events: Events = QUICK
) -> Referrals:
    """An initialised world without a referral."""
    config: Config = make_config(
        make_database("legacy"),
        make_database("target"),
        {"referrals": Entity(from_="referral", key=("ref",), into="public.referral", event=event)},
    )
    world = Referrals(msgspec.structs.replace(config, events=events))
    await world.legacy(LEGACY)
    await world.init()
    return world


def detailed(folder: Path, **more: Any) -> Event:
    """An event with a query of its details."""
    path = folder / "details.sql"
    path.write_text(DETAILS)
    return Event(type=TYPE, details=str(path), **more)


class Inbox:
    """A queue, and what arrived in it."""

    def __init__(self, cloud: Cloud, url: str) -> None:
        self._cloud = cloud
        self.url = url

    @property
    def place(self) -> SqsQueue:
        """The queue as a place for events."""
        return SqsQueue(queue_url=self.url, endpoint_url=self._cloud.url)

    async def received(self) -> list[Received]:
        """All that has arrived since the last look, in the order of arrival."""
        found: list[Received] = []
        async with self._cloud.client("sqs") as sqs:
            while messages := await self._some(sqs):
                for message in messages:
                    body, system = msgspec.json.decode(message["Body"]), message["Attributes"]
                    said = {name: a["Value"] for name, a in body["MessageAttributes"].items()}
                    event = msgspec.json.decode(body["Message"])
                    ordered = (
                        system.get("MessageGroupId", ""),
                        system.get("MessageDeduplicationId", ""),
                    )
                    found.append(Received(said["eventId"], said["eventType"], event, *ordered))
        return found

    async def _some(self, sqs: Any) -> list[Any]:
        answer = await sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["All"]
        )
        messages: list[Any] = answer.get("Messages", [])
        if messages:
            entries = [
                {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
                for n, message in enumerate(messages)
            ]
            await sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)
        return messages


async def queue(cloud: Cloud, name: str = "q") -> Inbox:
    """An empty queue."""
    async with cloud.client("sqs") as sqs:
        made = await sqs.create_queue(QueueName=name, Attributes=_fifo(name, "FifoQueue"))
        return Inbox(cloud, made["QueueUrl"])


def _fifo(name: str, attribute: str) -> dict[str, str]:
    return {attribute: "true"} if name.endswith(".fifo") else {}


async def topic(cloud: Cloud, suffix: str = "") -> tuple[SnsTopic, Inbox]:
    """A topic, and a queue that gets all of it; both FIFO with ``suffix`` .fifo."""
    inbox, name = await queue(cloud, f"q{suffix}"), f"t{suffix}"
    async with cloud.client("sns") as sns, cloud.client("sqs") as sqs:
        arn = (await sns.create_topic(Name=name, Attributes=_fifo(name, "FifoTopic")))["TopicArn"]
        named = await sqs.get_queue_attributes(QueueUrl=inbox.url, AttributeNames=["QueueArn"])
        await sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=named["Attributes"]["QueueArn"])
    return SnsTopic(topic_arn=arn, endpoint_url=cloud.url), inbox
