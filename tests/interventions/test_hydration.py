"""Hydration, end to end: imported, told by a topic, heard from a queue, and updated all the same.

A small service in the place of the real one hears the events from SQS as SNS hands them on. It
overwrites what nDelius knows better and bumps ``updated_at``, which would freeze every referral
under a rule that asks that time; the next night still updates what IM has changed.
"""

import json
import time
from typing import Any

import asyncpg
from msgspec.structs import replace

from syncd.config import Events, SnsTopic
from syncd.reports import RelayReport
from tests.cloud import REGION, Cloud
from tests.interventions.world import Interventions, change, recent
from tests.pipeline.world import told

TYPE = "interventions.community-referral.imported"


class Hydration:
    """The service: a queue that is subscribed to the topic, and M&D's database."""

    def __init__(self, cloud: Cloud, dsn: str) -> None:
        self.cloud = cloud
        self.dsn = dsn
        self.topic_arn = self.queue_url = ""
        self.heard: list[dict[str, Any]] = []

    async def begin(self) -> None:
        """The topic, and a queue that takes events of one type only."""
        async with self.cloud.client("sns") as sns, self.cloud.client("sqs") as sqs:
            self.topic_arn = (await sns.create_topic(Name="domain-events"))["TopicArn"]
            self.queue_url = (await sqs.create_queue(QueueName="hydration"))["QueueUrl"]
            asked = await sqs.get_queue_attributes(
                QueueUrl=self.queue_url, AttributeNames=["QueueArn"]
            )
            await sns.subscribe(
                TopicArn=self.topic_arn,
                Protocol="sqs",
                Endpoint=asked["Attributes"]["QueueArn"],
                Attributes={"FilterPolicy": json.dumps({"eventType": [TYPE]})},
            )

    async def hear(self) -> int:
        """Take all messages, hydrate, and only then let go of them; how many there were."""
        taken = 0
        async with self.cloud.client("sqs") as sqs:
            while True:
                answer = await sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10)
                messages = answer.get("Messages", [])
                if not messages:
                    return taken
                for message in messages:
                    event = json.loads(json.loads(message["Body"])["Message"])
                    self.heard.append(event)
                    await self._hydrate(event)
                    await sqs.delete_message(
                        QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"]
                    )
                    taken += 1

    async def _hydrate(self, event: dict[str, Any]) -> None:
        [crn] = [i["value"] for i in event["personReference"]["identifiers"] if i["type"] == "CRN"]
        connection = await asyncpg.connect(self.dsn)
        try:
            done = await connection.execute(
                "UPDATE referral SET person_name = 'Hydrated ' || $2, sex = 'Female', "
                "sentence_end_date = '2030-01-01', event_number = 1, "
                "updated_at = now() + interval '1 hour' WHERE id = $1::uuid AND crn = $2",
                event["additionalInformation"]["REFERRAL_ID"],
                crn,
            )
        finally:
            await connection.close()
        assert done == "UPDATE 1", "the event names no referral of M&D"


def telling(world: Interventions, hydration: Hydration, *, rate_per_s: float) -> Interventions:
    """The same world, with the topic as the place of its events."""
    topic = SnsTopic(topic_arn=hydration.topic_arn, region=REGION, endpoint_url=hydration.cloud.url)
    events = Events(to=topic, rate_per_s=rate_per_s)
    return Interventions(replace(world.config, events=events))


async def relay(world: Interventions) -> RelayReport:
    """``syncd relay --once``."""
    async with world.app() as app:
        return await app.relay()


async def test_hydration_is_started_once_and_freezes_nothing(
    interventions: Interventions, cloud: Cloud
) -> None:
    """Four nights: imported, hydrated, changed in IM, and quiet."""
    hydration = Hydration(cloud, interventions.config.target.dsn.value)
    await hydration.begin()
    world = telling(interventions, hydration, rate_per_s=1000)
    await world.begin(*(recent(number) for number in range(1, 13)))
    await world.night()

    assert (await relay(world)).sent == 12
    assert await hydration.hear() == 12
    event = hydration.heard[0]
    assert event["eventType"] == TYPE
    assert event["detailUrl"].endswith(f"/referral/{event['additionalInformation']['REFERRAL_ID']}")
    assert {e["additionalInformation"]["REFERRAL_ID"] for e in hydration.heard} == {
        str(row[0]) for row in await world.rows("SELECT id FROM referral")
    }

    await world.im(change(3, SourcedFromID="2999999999"), change(4, Surname="Renamed"))
    night = await world.night()

    assert told(night, "referral") == {"seen": 12, "unchanged": 11, "updated": 1}
    changed, renamed = await world.referral(3), await world.referral(4)
    assert changed["event_id"] == "2999999999"
    assert changed["person_name"] == "Hydrated X000003"
    assert renamed["person_name"] == "Hydrated X000004"
    assert (await relay(world)).sent == 0, "an update must not start another hydration"


async def test_events_come_no_faster_than_hydration_can_take_them(
    interventions: Interventions, cloud: Cloud
) -> None:
    """A first load of 30 referrals at 20 a second takes more than a second to be told."""
    hydration = Hydration(cloud, interventions.config.target.dsn.value)
    await hydration.begin()
    world = telling(interventions, hydration, rate_per_s=20)
    await world.begin(*(recent(number) for number in range(1, 31)))
    await world.night()

    begun_s = time.monotonic()
    report = await relay(world)

    assert report.sent == 30
    assert time.monotonic() - begun_s > 1.0
    assert await hydration.hear() == 30
