"""How a document lies in the target's tables: read from the configuration, nothing of it waits.

The row that flows is the whole aggregate. Its columns are those of the root, those of parts with
one row, and one column of JSON per part with many. Here is said which is which; the statements
are made of it in ``aggregate_sql.py``.
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from syncd.config import ColumnConfig, Deletes, Entity, Part
from syncd.errors import ConfigError
from syncd.targets.staging import qualified

_DATE: Final = re.compile(r"date\((.+)\)")
LINK_COLUMNS: Final = (
    *("id", "entity_type", "source_id", "source_updated_at"),
    *("target_id", "target_updated_at", "imported_at"),
)


class Term(Struct, frozen=True):
    """One column of a twins rule; ``day`` compares only its date."""

    column: str
    day: bool


class Reference(Struct, frozen=True):
    """A column of the root that holds the id of another entity's row, and that entity's link."""

    column: str
    entity: str
    table: str
    type: str


class PartLayout(Struct, frozen=True):
    """A part; ``columns`` are pairs of the table's name and the document's (rows one)."""

    name: str
    table: str
    on: str
    rows: str
    id: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    fields: tuple[str, ...]
    ignore: tuple[tuple[str, tuple[str, ...]], ...]
    touch: tuple[str, ...]

    @property
    def named(self) -> tuple[str, ...]:
        """All columns of the table that are spoken of."""
        own = [column for column, _ in self.columns]
        ignored = [column for column, _ in self.ignore]
        return (self.id, self.on, *own, *self.fields, *ignored, *self.touch)


class Layout(Struct, frozen=True):
    """An aggregate; tables are quoted names. ``key`` is the document's column of the source id."""

    entity: str
    key: str
    root: str
    id: str
    link: str
    type: str
    updated: str  # the document's column that the link carries, or ''
    soft: str  # the root's column of soft deletes, or ''
    touch: tuple[str, ...]
    twins: tuple[tuple[Term, ...], ...]
    refers: tuple[Reference, ...]
    parts: tuple[PartLayout, ...]

    @property
    def apart(self) -> frozenset[str]:
        """Columns of the root that are no columns of the document."""
        return frozenset((self.id, *self.touch, *([self.soft] if self.soft else [])))


def layout_of(entities: Mapping[str, Entity], name: str, deletes: Deletes) -> Layout:
    """The layout of an entity with an aggregate; ``deletes`` is the rule that holds for it."""
    entity = entities[name]
    aggregate = entity.aggregate
    assert aggregate is not None
    return Layout(
        entity=name,
        key=_key(entity),
        root=qualified(entity.into),
        id=aggregate.id,
        link=qualified(aggregate.link.table),
        type=aggregate.link.type,
        updated=aggregate.link.updated or "",
        soft=deletes.column if deletes.policy == "soft" else "",
        touch=aggregate.touch,
        twins=tuple(tuple(_term(term) for term in rule) for rule in aggregate.twins),
        refers=tuple(_reference(entities, c, to) for c, to in aggregate.refers.items()),
        parts=tuple(_part(part_name, part) for part_name, part in aggregate.parts.items()),
    )


def _key(entity: Entity) -> str:
    given = entity.columns.get(entity.key[0])
    return (given.into if isinstance(given, ColumnConfig) else None) or entity.key[0]


def _term(text: str) -> Term:
    found = _DATE.fullmatch(text)
    return Term(found[1], day=True) if found else Term(text, day=False)


def _reference(entities: Mapping[str, Entity], column: str, to: str) -> Reference:
    aggregate = entities[to].aggregate if to in entities else None
    if aggregate is None:
        raise ConfigError(f"refers.{column}: expected an entity with an aggregate, found {to!r}")
    return Reference(column, to, qualified(aggregate.link.table), aggregate.link.type)


def _part(name: str, part: Part) -> PartLayout:
    return PartLayout(
        name=name,
        table=qualified(part.into),
        on=part.on,
        rows=part.rows,
        id=part.id,
        columns=tuple(part.columns.items()),
        key=part.key,
        fields=part.fields,
        ignore=tuple(part.ignore.items()),
        touch=part.touch,
    )
