"""From the configuration to the place that events go to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncd.config import Events, SnsTopic, SqsQueue
from syncd.pg.connect import Connections
from syncd.publish.notify import NotifyPublisher
from syncd.publish.ports import Publisher


@asynccontextmanager
async def opened(events: Events, connections: Connections) -> AsyncIterator[Publisher]:
    """The place, for as long as the block lasts; notifications use ``connections``.

    Raises ConfigError where AWS cannot be called at all.
    """
    to = events.to
    if isinstance(to, SnsTopic):
        from syncd.publish import sns  # noqa: PLC0415 - it brings the AWS library

        async with sns.opened(to) as topic:
            yield topic
    elif isinstance(to, SqsQueue):
        from syncd.publish import sqs  # noqa: PLC0415 - as above

        async with sqs.opened(to) as queue:
            yield queue
    else:
        yield NotifyPublisher(to.channel, connections)
