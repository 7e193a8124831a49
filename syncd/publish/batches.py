"""Batches of SNS and SQS: what goes in, and what became of each entry (case 22).

A batch is taken or refused entry by entry, under an answer that says 200. An entry that is in
neither list of the answer was not heard of: it is sent again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from syncd.cloud.errors import clean, is_busy
from syncd.publish.ports import Message, Refusal

BATCH_BYTES_MAX: Final = 256 * 1024  # of SNS for one message and for one batch; SQS takes more
ENTRIES_MAX: Final = 10  # of both
_ENTRY_BYTES: Final = 512  # more than ids and attributes of an entry ever take


def parts(messages: Sequence[Message]) -> list[list[tuple[int, Message]]]:
    """The messages with their places, in batches that are taken as a whole.

    Those that are too large for any batch are left out; ``too_large`` says so of them.
    """
    batches: list[list[tuple[int, Message]]] = []
    room = 0
    for at, message in enumerate(messages):
        size = _bytes(message)
        if size > BATCH_BYTES_MAX:
            continue
        if not batches or size > room or len(batches[-1]) == ENTRIES_MAX:
            batches.append([])
            room = BATCH_BYTES_MAX
        batches[-1].append((at, message))
        room -= size
    return batches


def too_large(message: Message) -> Refusal | None:
    """Why a message fits no batch, or None."""
    size = _bytes(message)
    if size <= BATCH_BYTES_MAX:
        return None
    return Refusal(
        f"the event has {size} bytes, expected at most {BATCH_BYTES_MAX}", transient=False
    )


def attributes(message: Message) -> dict[str, dict[str, str]]:
    """What consumers filter by, and the id by which they know an event again."""
    said = {"eventType": message.type, "eventId": message.event_id}
    return {name: {"DataType": "String", "StringValue": text} for name, text in said.items()}


def in_order(message: Message, place: str) -> dict[str, str]:
    """What a FIFO topic or queue wants to know besides; nothing for any other."""
    if not place.endswith(".fifo"):
        return {}
    return {"MessageGroupId": message.record, "MessageDeduplicationId": message.event_id}


def answers(
    answer: Mapping[str, Any], batch: Sequence[tuple[int, Message]]
) -> list[Refusal | None]:
    """What became of each entry of a batch whose ids are its places in it."""
    taken = {entry["Id"] for entry in answer.get("Successful", ())}
    refused = {entry["Id"]: entry for entry in answer.get("Failed", ())}
    return [_answer(str(n), taken, refused) for n in range(len(batch))]


def _answer(id_: str, taken: set[str], refused: Mapping[str, Any]) -> Refusal | None:
    entry = refused.get(id_)
    if entry is not None:
        code = clean(entry.get("Code", "no code"))
        transient = is_busy(code) or not entry.get("SenderFault", True)
        return Refusal(f"AWS refused the event: {code}", transient=transient)
    return None if id_ in taken else Refusal("AWS did not answer for the event", transient=True)


def _bytes(message: Message) -> int:
    return len(message.body.encode()) + len(message.type.encode()) + _ENTRY_BYTES


async def sent(
    messages: Sequence[Message],
    send: Callable[[list[tuple[int, Message]]], Any],
) -> list[Refusal | None]:
    """Send in as few batches as it takes; one answer for each message, in order."""
    found = [too_large(message) for message in messages]
    for batch in parts(messages):
        told = answers(await send(batch), batch)
        for (at, _), answer in zip(batch, told, strict=True):
            found[at] = answer
    return found
