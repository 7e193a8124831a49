"""What an event says: the envelope of domain events, made of the outbox and of a query's row.

    type    -> eventType           details' crn, noms  -> personReference
    commit  -> occurredAt          its other columns   -> additionalInformation
    detail_url, its {COLUMN} filled in -> detailUrl

Pure. What cannot be said as configured (no row, no CRN) is a ``HeldBack`` with its reason, which
never holds a value.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from syncd.config import Event
from syncd.publish.ports import Message

IDENTIFIERS: Final[Mapping[str, Literal["CRN", "NOMS"]]] = {"crn": "CRN", "noms": "NOMS"}
PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
KEY: Final = "key"
_DELETED: Final = "deleted"
_RECORD_BYTES: Final = 16


class Happening(Struct, frozen=True):
    """A change of a record that the outbox tells of; ``key`` in canonical texts."""

    event_id: str
    entity: str
    key: tuple[str, ...]
    type: str
    outcome: str
    occurred_at: datetime


class HeldBack(Struct, frozen=True):
    """Why an event cannot be said as things stand."""

    reason: str


class Identifier(Struct, frozen=True):
    """How a person is known."""

    type: Literal["CRN", "NOMS"]
    value: str


class PersonReference(Struct, frozen=True):
    """Whom an event is about."""

    identifiers: tuple[Identifier, ...]


class Envelope(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A domain event. What is not known is left out, never null."""

    event_type: str
    version: int
    occurred_at: str  # ISO 8601 with its zone
    additional_information: dict[str, Any]
    detail_url: str = ""
    description: str = ""
    person_reference: PersonReference | None = None


def envelope(
    happening: Happening, said: Event, details: Mapping[str, Any] | None
) -> Envelope | HeldBack:
    """The event of ``happening``; ``details`` is the row of its query, None where there is none."""
    if said.details and details is None and happening.outcome != _DELETED:
        return HeldBack("the query of its details has no row for the record")
    row = {name: value for name, value in (details or {}).items() if name != KEY}
    if row.get("crn", "") is None:
        return HeldBack("its details have no CRN")
    url = _url(happening, said, row)
    if isinstance(url, HeldBack):
        return url
    known = _known(row)
    more = {name: _plain(value) for name, value in row.items() if name not in IDENTIFIERS}
    return Envelope(
        event_type=happening.type,
        version=said.version,
        occurred_at=happening.occurred_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        additional_information=more if details is not None else _entity_and_key(happening),
        detail_url=url,
        description=said.description or "",
        person_reference=PersonReference(known) if known else None,
    )


def message(happening: Happening, envelope: Envelope) -> Message:
    """The event, ready to be sent."""
    record = json.dumps([happening.entity, *happening.key]).encode()
    return Message(
        event_id=happening.event_id,
        type=happening.type,
        record=hashlib.blake2b(record, digest_size=_RECORD_BYTES).hexdigest(),
        body=msgspec.json.encode(envelope).decode(),
    )


def schema() -> str:
    """The JSON Schema of the envelope (``schemas/events/domain-event.schema.json``)."""
    found = msgspec.json.schema(Envelope)
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "event", **found}
    return json.dumps(whole, indent=2) + "\n"


def _entity_and_key(happening: Happening) -> dict[str, Any]:
    return {"entity": happening.entity, "key": list(happening.key)}


def _known(row: Mapping[str, Any]) -> tuple[Identifier, ...]:
    return tuple(
        Identifier(kind, str(row[column]))
        for column, kind in IDENTIFIERS.items()
        if row.get(column) is not None
    )


def _url(happening: Happening, said: Event, row: Mapping[str, Any]) -> str | HeldBack:
    """The address with its places filled in; "" where none is configured or the row is gone."""
    values = {**row, "entity": happening.entity, KEY: "/".join(happening.key)}
    template = said.detail_url or ""
    for name in PLACE.findall(template):
        if values.get(name) is None:
            if happening.outcome == _DELETED:
                return ""
            return HeldBack(f"its details have no {name}, which detail_url needs")
    return PLACE.sub(lambda place: quote(str(_plain(values[place[1]])), safe=""), template)


def _plain(value: Any) -> Any:
    """A value of the driver as JSON knows it; numbers that JSON would round stay texts."""
    return msgspec.to_builtins(value, str_keys=True)
