"""Events straight to a queue of SQS, FIFO or not.

Consumers of a topic's events read what SNS makes of them: an object with the event as text in
``Message``. With ``notification`` an event that never saw a topic looks the same to them.
"""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from syncd.cloud.clients import open_client
from syncd.cloud.errors import translate
from syncd.config import SqsQueue
from syncd.publish import batches
from syncd.publish.ports import Message, Refusal

_REGION: Final = re.compile(r"//(?:sqs\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.amazonaws\.com")


class SqsPublisher:
    """A queue, by a client that somebody else opened and closes."""

    def __init__(self, to: SqsQueue, client: Any) -> None:
        self._to = to
        self._client = client

    async def check(self) -> None:
        """Raise ConfigError when there is no such queue, or it is not ours to look at."""
        with translate("looking at the queue"):
            await self._client.get_queue_attributes(
                QueueUrl=self._to.queue_url, AttributeNames=["QueueArn"]
            )

    async def send(self, messages: Sequence[Message]) -> list[Refusal | None]:
        """One answer for each message."""
        return await batches.sent(messages, self._send)

    async def _send(self, batch: list[tuple[int, Message]]) -> Any:
        entries = [
            {
                "Id": str(n),
                "MessageBody": notification(message) if self._to.notification else message.body,
                "MessageAttributes": batches.attributes(message),
                **batches.in_order(message, self._to.queue_url),
            }
            for n, (_, message) in enumerate(batch)
        ]
        with translate("sending events to the queue"):
            return await self._client.send_message_batch(
                QueueUrl=self._to.queue_url, Entries=entries
            )


def notification(message: Message) -> str:
    """The message as a topic would hand it to its queues."""
    attributes = {
        name: {"Type": said["DataType"], "Value": said["StringValue"]}
        for name, said in batches.attributes(message).items()
    }
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": message.event_id,
            "Message": message.body,
            "MessageAttributes": attributes,
        }
    )


@asynccontextmanager
async def opened(to: SqsQueue) -> AsyncIterator[SqsPublisher]:
    """The queue, for as long as the block lasts."""
    found = _REGION.search(to.queue_url)
    region = to.region or (found and (found[1] or found[2])) or None
    with translate("opening a client of SQS"):
        opening = open_client("sqs", region=region, endpoint_url=to.endpoint_url)
        async with opening as client:
            yield SqsPublisher(to, client)
