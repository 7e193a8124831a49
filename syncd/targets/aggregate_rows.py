"""Rows of the stage of an aggregate, with the ids of what is new; pure.

An id is a UUIDv5 of what it is for, so that the same record gets the same id whenever, and from
wherever, it is made: after a crash, in another environment, by a second attempt.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from syncd.flow.keys import decode_key
from syncd.flow.model import MISSING, Decision, Plan, Row, Value, Write
from syncd.targets.aggregate_sql import ITEM_ID, Document, ones
from syncd.targets.staging import Changes
from syncd.targets.table_sql import mask

NAMESPACE: Final = uuid.UUID("7c1c52a6-53a5-5c8e-9a54-8d1f6a0b9d11")
_SEPARATOR: Final = "\x1f"  # no text that people type holds it

Ids = Mapping[bytes, str]
Looked = Mapping[tuple[int, str], str]  # by number of the reference and source id


def new_id(*parts: str) -> str:
    """The id of what ``parts`` name, as text."""
    return str(uuid.uuid5(NAMESPACE, _SEPARATOR.join(parts)))


def root_id(type_: str, source: str, incarnation: int) -> str:
    """The id of a new root; one that comes back is another one."""
    again = (str(incarnation),) if incarnation > 1 else ()
    return new_id(type_, source, *again)


def source_id(plan: Plan, key: bytes) -> str:
    """The key as the link holds it."""
    (part,) = decode_key(plan.key_types, key)
    return part.decode()


def staged(
    document: Document, plan: Plan, changes: Changes, ids: Ids, looked: Looked
) -> list[list[bytes | None]]:
    """The stage's rows, as ``aggregate_sql.create_stage`` has them."""
    masks: dict[tuple[int, ...], bytes] = {}
    single = ones(document)
    rows = []
    for key, row, decision in changes:
        written = decision.written
        if written not in masks:
            masks[written] = mask(plan, written).encode()
        head: list[bytes | None] = [
            key.hex().encode(),
            decision.write.value.encode(),
            masks[written],
            ids[key].encode(),
            source_id(plan, key).encode(),
            _carried(document, row),
        ]
        of_parts = (new_id(ids[key], document.layout.parts[at].name).encode() for at in single)
        values = _values(document, row, decision, ids[key], looked)
        rows.append([*head, *of_parts, *values])
    return rows


def _carried(document: Document, row: Row) -> bytes | None:
    """What the link carries of the source's time of change."""
    if not row:
        return None
    return next((_told(row[at]) for at in document.at("updated")), None)


def _values(
    document: Document, row: Row, decision: Decision, root: str, looked: Looked
) -> Iterable[bytes | None]:
    """The document's columns that are staged; only those that are written hold anything."""
    chosen = frozenset() if decision.write is Write.DELETE else frozenset(decision.written)
    for at, place in enumerate(document.places):
        if place.kind in ("key", "updated"):
            continue
        value = _told(row[at]) if at in chosen else None
        if value is not None and place.kind == "refer":
            value = looked[place.at, value.decode()].encode()
        elif value is not None and place.kind == "list":
            part = document.layout.parts[place.at]
            value = with_ids(value, root, part.name, part.key)
        yield value


def with_ids(rows: bytes, root: str, part: str, key: Sequence[str]) -> bytes:
    """The list with an id beside the fields of each row."""
    items: list[dict[str, str | None]] = msgspec.json.decode(rows)
    for item in items:
        item[ITEM_ID] = new_id(root, part, *(_named(item[name]) for name in key))
    return msgspec.json.encode(items)


def _named(value: str | None) -> str:
    """A key's part in an id; NULL is not the empty text."""
    return "\x00" if value is None else value


def _told(value: Value) -> bytes | None:
    return None if value is MISSING else value
