"""A pipeline of one entity, people, from a source to a target that are only described."""

from typing import Any, Final, Literal

from syncd.config import Config, Entity, FilesSource, PostgresSource, PostgresTarget, Secret
from syncd.flow.model import ColumnType, Found, Kind, Plan, Shape
from syncd.planning import complete, map_columns

DSN: Final = Secret("postgres://unused")
MONEY: Final = ColumnType(Kind.DECIMAL, scale=2)


def shape(**kinds: Kind | ColumnType) -> Shape:
    """Columns as a system describes them, in this order."""
    return {
        name: Found(name, "native", kind if isinstance(kind, ColumnType) else ColumnType(kind))
        for name, kind in kinds.items()
    }


def entity_of(**fields: Any) -> Entity:
    """An entity with the key ``id``; ``fields`` say what else is configured."""
    return Entity(**{"from_": "people", "key": ("id",), "into": "public.people", **fields})


def config_of(
    entity: Entity, kind: Literal["files", "postgres"] = "postgres", **fields: Any
) -> Config:
    """A pipeline with that one entity."""
    source = FilesSource(path="dump") if kind == "files" else PostgresSource(dsn=DSN)
    return Config(
        pipeline="p",
        source=source,
        target=PostgresTarget(dsn=DSN),
        entities={"people": entity},
        **fields,
    )


PEOPLE: Final = shape(name=Kind.TEXT, id=Kind.INTEGER, born=Kind.DATE, debt=MONEY)
PINNED: Final = {"name": "text", "id": "integer", "born": "date", "debt": "decimal(2)"}


def planned(entity: Entity | None = None, **fields: Any) -> Plan:
    """The plan of people, mirrored."""
    config = config_of(entity or entity_of(**fields))
    made = map_columns(config, "people", PINNED, {})
    return complete(config, "people", made, entity_id=7, shape=3)
