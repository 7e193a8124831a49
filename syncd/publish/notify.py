"""Events as notifications of the target's PostgreSQL, for consumers that listen there.

A notification reaches those who listen when it is committed, and nobody else: whoever was away
reads its channel's events no more. It has no attributes, so the event's id stands beside the event.
"""

import json
from collections.abc import Sequence
from typing import Final

from syncd.pg.connect import Connections, begin_settings
from syncd.pg.errors import translate
from syncd.publish.ports import Message, Refusal

_NOTIFY: Final = "SELECT pg_notify($1, body) FROM unnest($2::text[]) WITH ORDINALITY AS b (body, n)"
_HEARD: Final = "SELECT 1"
_BYTES_MAX: Final = 7999  # of PostgreSQL


class NotifyPublisher:
    """A channel of the target."""

    def __init__(self, channel: str, connections: Connections) -> None:
        self._channel = channel
        self._connections = connections

    async def check(self) -> None:
        """Raise ConfigError when the target cannot be reached as configured."""
        with translate("looking at the target"):
            async with self._connections.acquire() as connection:
                await connection.fetchval(_HEARD)

    async def send(self, messages: Sequence[Message]) -> list[Refusal | None]:
        """One answer for each message; those that fit go out together."""
        bodies = [payload(message) for message in messages]
        found = [_too_large(body) for body in bodies]
        fit = [body for body, refusal in zip(bodies, found, strict=True) if refusal is None]
        with translate("notifying of events"):
            async with self._connections.acquire() as connection, connection.transaction():
                await begin_settings(connection)
                await connection.execute(_NOTIFY, self._channel, fit)
        return found


def payload(message: Message) -> str:
    """What listeners receive: the event's id, and the event."""
    return f'{{"eventId":{json.dumps(message.event_id)},"event":{message.body}}}'


def _too_large(body: str) -> Refusal | None:
    size = len(body.encode())
    if size <= _BYTES_MAX:
        return None
    reason = f"the event has {size} bytes, PostgreSQL notifies at most {_BYTES_MAX}"
    return Refusal(reason, transient=False)
