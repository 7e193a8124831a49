"""The seam of sending: messages in, one answer for each out."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Message(Struct, frozen=True):
    """One event, ready to be sent.

    ``record`` names the record that it speaks of, in at most 64 characters, without telling its
    key: messages of one record keep their order wherever the transport knows of order.
    """

    event_id: str
    type: str
    record: str
    body: str


class Refusal(Struct, frozen=True):
    """Why a message was not taken. ``transient``: the same may be taken later."""

    reason: str
    transient: bool


class Publisher(Protocol):
    """Where events go. Sending is repeated after a lost answer: consumers know the event's id."""

    async def check(self) -> None:
        """Raise ConfigError when the place is not there or not ours to write to."""

    async def send(self, messages: Sequence[Message]) -> list[Refusal | None]:
        """One answer for each message, in order: None where it was taken.

        At most ``batch`` messages, no two of one record. Raises TransientError when nothing is
        known of any of them.
        """
