"""Events to a topic of SNS, FIFO or not; subscribers filter by the attribute ``eventType``."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from syncd.cloud.clients import open_client
from syncd.cloud.errors import translate
from syncd.config import SnsTopic
from syncd.publish import batches
from syncd.publish.ports import Message, Refusal


class SnsPublisher:
    """A topic, by a client that somebody else opened and closes."""

    def __init__(self, topic_arn: str, client: Any) -> None:
        self._topic_arn = topic_arn
        self._client = client

    async def check(self) -> None:
        """Raise ConfigError when there is no such topic, or it is not ours to look at."""
        with translate("looking at the topic"):
            await self._client.get_topic_attributes(TopicArn=self._topic_arn)

    async def send(self, messages: Sequence[Message]) -> list[Refusal | None]:
        """One answer for each message."""
        return await batches.sent(messages, self._send)

    async def _send(self, batch: list[tuple[int, Message]]) -> Any:
        entries = [
            {
                "Id": str(n),
                "Message": message.body,
                "MessageAttributes": batches.attributes(message),
                **batches.in_order(message, self._topic_arn),
            }
            for n, (_, message) in enumerate(batch)
        ]
        with translate("sending events to the topic"):
            return await self._client.publish_batch(
                TopicArn=self._topic_arn, PublishBatchRequestEntries=entries
            )


@asynccontextmanager
async def opened(to: SnsTopic) -> AsyncIterator[SnsPublisher]:
    """The topic, for as long as the block lasts."""
    region = to.region or to.topic_arn.split(":")[3]
    with translate("opening a client of SNS"):
        opening = open_client("sns", region=region, endpoint_url=to.endpoint_url)
        async with opening as client:
            yield SnsPublisher(to.topic_arn, client)
