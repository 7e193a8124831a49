"""What of an aggregate's tables is there, and what its document's columns are."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from syncd.flow.model import ColumnType, Found, Item, Kind, Shape
from syncd.pg.catalog import table_columns
from syncd.targets.aggregate_sql import Place
from syncd.targets.layout import LINK_COLUMNS, Layout, PartLayout

_TIMES: Final = ("source_updated_at", "target_updated_at", "imported_at")
_MOMENT: Final = "timestamp with time zone"
# Whether an index that is not partial makes exactly these columns unique.
_UNIQUE = """
SELECT EXISTS (
    SELECT 1 FROM pg_catalog.pg_index i
    WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indpred IS NULL
      AND i.indexprs IS NULL
      AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text)
           FROM pg_catalog.pg_attribute a
           WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey[0:i.indnkeyatts - 1]))
          = (SELECT array_agg(name ORDER BY name) FROM unnest($2::text[]) name))
"""


class Tables(Struct, frozen=True):
    """Columns of all tables of an aggregate; empty where there is no such table."""

    root: Shape
    link: Shape
    parts: tuple[Shape, ...]
    others: tuple[Shape, ...]  # the links of the entities that are referred to
    doubtful: tuple[str, ...] = ()  # what is not unique and must be


async def introspect(connection: Any, layout: Layout) -> Tables:
    """Look into the catalogue."""
    parts = [await table_columns(connection, part.table) for part in layout.parts]
    others = [await table_columns(connection, other.table) for other in layout.refers]
    wanted = [(layout.link, ["entity_type", "source_id"])]
    wanted += [(part.table, [part.on]) for part in layout.parts if part.rows == "one"]
    doubtful = [
        f"{table} has no unique index on {', '.join(columns)}"
        for table, columns in wanted
        if not await connection.fetchval(_UNIQUE, table, columns)
    ]
    root = await table_columns(connection, layout.root)
    link = await table_columns(connection, layout.link)
    return Tables(root, link, tuple(parts), tuple(others), tuple(doubtful))


def lacking(layout: Layout, tables: Tables) -> tuple[str, ...]:
    """Sentences about what is not there, or is not as it must be."""
    found = [*_lacking(layout, tables)]
    return tuple(dict.fromkeys(found)) or tables.doubtful


def _lacking(layout: Layout, tables: Tables) -> Iterator[str]:
    root_names = [layout.id, *layout.touch, *([layout.soft] if layout.soft else [])]
    root_names += [other.column for other in layout.refers]
    root_names += [term.column for rule in layout.twins for term in rule]
    yield from _table(layout.root, tables.root, root_names)
    yield from _uuid(layout.root, tables.root, layout.id)
    yield from _table(layout.link, tables.link, LINK_COLUMNS)
    yield from _uuid(layout.link, tables.link, "target_id")
    for name in _TIMES:
        native = tables.link[name].native if name in tables.link else _MOMENT
        if not native.startswith("timestamp"):
            yield f"{layout.link} has {name} of type {native}, expected {_MOMENT}"
    for other, shape in zip(layout.refers, tables.others, strict=True):
        yield from _table(other.table, shape, LINK_COLUMNS)
        yield from _uuid(layout.root, tables.root, other.column)
    for part, shape in zip(layout.parts, tables.parts, strict=True):
        yield from _table(part.table, shape, part.named)
        yield from _uuid(part.table, shape, part.id)
        yield from _uuid(part.table, shape, part.on)


def _table(name: str, shape: Shape, columns: "tuple[str, ...] | list[str]") -> Iterator[str]:
    if not shape:
        yield f"the target has no table {name}"
        return
    missing = [column for column in dict.fromkeys(columns) if column not in shape]
    if missing:
        yield f"{name} has no column {', '.join(missing)} (found {', '.join(shape)})"


def _uuid(name: str, shape: Shape, column: str) -> Iterator[str]:
    if column in shape and shape[column].native != "uuid":
        yield f"{name} has {column} of type {shape[column].native}, expected uuid"


def placed(layout: Layout, tables: Tables) -> Mapping[str, Place]:
    """The document's columns as far as their tables are there, by name."""
    places = {layout.key: Place("key", Found(layout.key, "text", ColumnType(), nullable=False))}
    refers = {other.column: at for at, other in enumerate(layout.refers)}
    for name, found in tables.root.items():
        if name in refers:
            told = Found(name, "text", ColumnType(), found.nullable)
            places[name] = Place("refer", told, name, found.native, refers[name])
        elif name not in layout.apart:
            places[name] = Place("root", found, name, found.native)
    for at, (part, shape) in enumerate(zip(layout.parts, tables.parts, strict=True)):
        places |= {place.found.name: place for place in _of_part(part, shape, at)}
    if layout.updated:
        moment = Found(layout.updated, _MOMENT, ColumnType(Kind.TIMESTAMPTZ))
        places[layout.updated] = Place("updated", moment, "source_updated_at", _MOMENT)
    return places


def _of_part(part: PartLayout, shape: Shape, at: int) -> Iterator[Place]:
    if part.rows == "one":
        for column, into in part.columns:
            if column in shape:
                found = shape[column]
                told = Found(into, found.native, found.type, writable=found.writable)
                yield Place("one", told, column, found.native, at)
    elif all(name in shape for name in part.fields):
        items = tuple(Item(name, shape[name].type) for name in sorted(part.fields))
        type_ = ColumnType(Kind.JSON, items=items, order=part.key)
        yield Place("list", Found(part.name, "jsonb", type_), part.name, "jsonb", at)
