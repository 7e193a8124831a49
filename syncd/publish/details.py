"""What an event says of a record beside its key: a query's answer at the time of sending.

The query gets the keys in canonical text, one array for each part of the key, and answers one row
for each: ``key`` (text, or an array of texts where the key has several parts) and whatever else.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from syncd.config import Event
from syncd.errors import ConfigError, PermanentError
from syncd.pg.connect import Connections
from syncd.pg.transaction import transaction
from syncd.publish.envelope import KEY, HeldBack

Key: TypeAlias = tuple[str, ...]
Row: TypeAlias = Mapping[str, Any]


def queries(events: Mapping[str, Event]) -> dict[str, str]:
    """The text of each entity's query. Raises ConfigError when one cannot be read."""
    return {name: _text(name, Path(e.details)) for name, e in events.items() if e.details}


class Details:
    """The queries, asked at the target in transactions that read only."""

    def __init__(self, connections: Connections, queries: Mapping[str, str]) -> None:
        self._connections = connections
        self._queries = queries

    async def read(self, entity: str, keys: Sequence[Key]) -> dict[Key, Row | HeldBack]:
        """A row for each key that has one; a key with several is held back.

        Empty for an entity without a query. Raises PermanentError when the query cannot be asked
        or answers no ``key``.
        """
        sql = self._queries.get(entity)
        if sql is None or not keys:
            return {}
        parts = [list(part) for part in zip(*keys, strict=True)]
        async with transaction(self._connections, writes=False) as tx:
            rows = await tx.connection.fetch(sql, *parts)
        found: dict[Key, Row | HeldBack] = {}
        for row in rows:
            key = _key(entity, row)
            twice = HeldBack("the query of its details has several rows for the record")
            found[key] = twice if key in found else dict(row)
        return found

    async def check(self, entity: str, parts: int) -> None:
        """Raise ConfigError or PermanentError when the query cannot be asked, or answers no key."""
        sql = self._queries.get(entity)
        if sql is None:
            return
        async with transaction(self._connections, writes=False) as tx:
            asked = await tx.connection.prepare(sql)
            taken, answered = len(asked.get_parameters()), asked.get_attributes()
        _assert_key(entity, [attribute.name for attribute in answered])
        if taken != parts:
            raise ConfigError(
                f"entities.{entity}.event.details: expected {parts} parameters, one for each part "
                f"of the key, found {taken}"
            )


def _key(entity: str, row: Mapping[str, Any]) -> Key:
    key = row.get(KEY)
    if isinstance(key, list | tuple):
        return tuple(str(part) for part in key)
    _assert_key(entity, list(row.keys()))
    return (str(key),)


def _assert_key(entity: str, columns: Sequence[str]) -> None:
    if KEY not in columns:
        raise PermanentError(
            f"entities.{entity}.event.details: expected a column key in the answer of the query, "
            f"found {', '.join(columns)}",
            hint="name the column of the source's key: SELECT ... AS key",
        )


def _text(name: str, path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"entities.{name}.event.details: the query {path.name} cannot be read "
            f"({type(error).__name__})"
        ) from error
