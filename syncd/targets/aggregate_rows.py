"""Rows of the stage of an aggregate, with the ids of what is new; pure.

An id is a UUIDv5 of what it is for, so that the same record gets the same id whenever, and from
wherever, it is made: after a crash, in another environment, by a second attempt.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha1
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
    """The id of what ``parts`` name, as text: ``uuid.uuid5``, in a third of its time."""
    name = _SEPARATOR.join(parts).encode()
    digest = sha1(NAMESPACE.bytes + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def root_id(type_: str, source: str, incarnation: int) -> str:
    """The id of a new root; one that comes back is another one."""
    again = (str(incarnation),) if incarnation > 1 else ()
    return new_id(type_, source, *again)


def source_ids(plan: Plan, keys: Iterable[bytes]) -> dict[bytes, str]:
    """The keys as the link holds them."""
    kinds = plan.key_types
    return {key: decode_key(kinds, key)[0].decode() for key in keys}


def staged(
    document: Document,
    plan: Plan,
    changes: Changes,
    sources: Mapping[bytes, str],
    ids: Ids,
    looked: Looked,
) -> list[list[bytes | None]]:
    """The stage's rows, as ``aggregate_sql.create_stage`` has them."""
    masks: dict[tuple[int, ...], bytes] = {}
    single = ones(document)
    carried = next(iter(document.at("updated")), None)
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
            sources[key].encode(),
            _told(row[carried]) if row and carried is not None else None,
        ]
        of_parts = (new_id(ids[key], document.layout.parts[at].name).encode() for at in single)
        values = _values(document, row, decision, ids[key], looked)
        rows.append([*head, *of_parts, *values])
    return rows


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
