"""The staging schema of a target: what stands in it, and how a table of it is made anew.

Everything here runs on a connection that the caller holds, in the caller's transaction: either all
tables of a dump are swapped in, or none. Table by table it is noted from which content each was
filled, so that the same dump is not copied twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

from syncd.config import Lookup, Staging
from syncd.errors import TransientError
from syncd.flow.model import Kind, Shape
from syncd.pg.catalog import table_columns
from syncd.pg.connect import Connection
from syncd.pg.dialect import ident

# Native types of staged columns, spelt as ``format_type()`` prints them.
_TYPES: Final = {
    Kind.TEXT: "text",
    Kind.INTEGER: "bigint",
    Kind.DECIMAL: "numeric",
    Kind.FLOAT: "double precision",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIME: "time without time zone",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.TIMESTAMPTZ: "timestamp with time zone",
    Kind.UUID: "uuid",
    Kind.BYTES: "bytea",
    Kind.JSON: "jsonb",
}
_BOOK: Final = "staged_table"
_NEEDED: Final = "lookup_needed"
_HAS_SCHEMA: Final = "SELECT to_regnamespace($1) IS NOT NULL"
_HAS_TABLE: Final = "SELECT to_regclass($1) IS NOT NULL"
_MAKE_BOOK: Final = """
CREATE TABLE {} (
    name text PRIMARY KEY, content text NOT NULL, position bigint NOT NULL,
    rows bigint NOT NULL, staged_at timestamptz NOT NULL DEFAULT now(),
    digest text NOT NULL DEFAULT ''
)
"""
# A book that was made before there were digests.
_ADD_DIGEST: Final = "ALTER TABLE {} ADD COLUMN digest text NOT NULL DEFAULT ''"
_HAS_DIGEST: Final = """
SELECT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'digest')
"""
_MAKE_NEEDED: Final = """
CREATE TABLE {} (name text PRIMARY KEY, needed_from date, needed_before date)
"""
_NOTE: Final = """
INSERT INTO {} (name, content, position, rows, digest) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name) DO UPDATE SET content = excluded.content, position = excluded.position,
    rows = excluded.rows, digest = excluded.digest, staged_at = now()
"""
_SAY_NEEDED: Final = """
INSERT INTO {} AS n (name, needed_from, needed_before) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE
SET needed_from = excluded.needed_from, needed_before = excluded.needed_before
WHERE (n.needed_from, n.needed_before)
    IS DISTINCT FROM (excluded.needed_from, excluded.needed_before)
"""
# The sum of the rows' hashes does not depend on their order.
_CONTENT: Final = """
SELECT count(*)::text || ':' || coalesce(sum(hash_record_extended(ROW({}), 0)::numeric), 0)::text
FROM {}
"""
_EXPLAIN: Final = "EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT * FROM {}"
_SIZE: Final = "SELECT pg_relation_size(to_regclass($1))"
_OUTSIDE_BYTES_MAX: Final = 16 * 1024 * 1024  # of a table that is hashed in well under 0.1 s


class Filled(Struct, frozen=True):
    """From which ``content`` a table was filled ('' if nothing proves what it is), and its rows.

    ``digest`` is of its columns and of all its rows in the order in which they came.
    """

    content: str
    rows: int
    digest: str


class StagingSchema:
    """The tables of one staging schema."""

    def __init__(self, config: Staging) -> None:
        self._schema = config.schema
        self._tables = config.tables
        self._lookups = config.lookups
        self.book = self.table(_BOOK)

    def table(self, name: str) -> str:
        """The quoted name of a table of the schema."""
        return f"{ident(self._schema)}.{ident(name)}"

    async def make(self, connection: Connection) -> None:
        """Create what is not there: the schema, the book, and an empty table for each lookup."""
        if not await connection.fetchval(_HAS_SCHEMA, ident(self._schema)):
            await connection.execute(f"CREATE SCHEMA {ident(self._schema)}")
        for name, statement in ((_BOOK, _MAKE_BOOK), (_NEEDED, _MAKE_NEEDED)):
            if not await self._has(connection, name):
                await connection.execute(statement.format(self.table(name)))
        if not await connection.fetchval(_HAS_DIGEST, self.book):
            await connection.execute(_ADD_DIGEST.format(self.book))
        for name, lookup in self._lookups.items():
            if not await self._has(connection, name):
                await connection.execute(self._lookup_table(name, lookup))

    async def _has(self, connection: Connection, name: str) -> bool:
        return bool(await connection.fetchval(_HAS_TABLE, self.table(name)))

    def _lookup_table(self, name: str, lookup: Lookup) -> str:
        columns = [f"{ident(column)} text NOT NULL" for column in lookup.columns]
        wanted = ", ".join(["id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", *columns])
        key = ident(lookup.columns[0])
        table = self.table(name)
        return f"CREATE TABLE {table} ({wanted}); CREATE INDEX ON {table} ({key})"

    async def filled(self, connection: Connection) -> dict[str, Filled]:
        """What the tables that stand there were filled from, by name."""
        query = f"SELECT name, content, rows, digest FROM {self.book}"  # noqa: S608 - quoted
        rows = await connection.fetch(query)
        return {
            row["name"]: Filled(row["content"], row["rows"], row["digest"])
            for row in rows
            if await self._has(connection, row["name"])
        }

    async def has_shape(self, connection: Connection, name: str, shape: Shape) -> bool:
        """Whether the table stands there with the columns that it would be given now."""
        found = await table_columns(connection, self.table(name))
        return {n: f.native for n, f in found.items()} == {
            n: _TYPES[f.type.kind] for n, f in shape.items()
        }

    async def replace_empty(self, connection: Connection, name: str, shape: Shape) -> None:
        """Put an empty table in the place of what stands there."""
        await connection.execute(f"DROP TABLE IF EXISTS {self.table(name)}")
        await connection.execute(self._create(name, shape))

    def _create(self, name: str, shape: Shape) -> str:
        columns = ", ".join(f"{ident(n)} {_TYPES[f.type.kind]}" for n, f in shape.items())
        return f"CREATE TABLE {self.table(name)} ({columns})"

    async def create_next(self, connection: Connection, name: str, shape: Shape) -> str:
        """Create the table that is to take the place of ``name``; its bare name."""
        await connection.execute(self._create(_next(name), shape))
        return _next(name)

    async def finish_next(self, connection: Connection, name: str) -> None:
        """Index the filled table and let the planner know it."""
        key = self._tables[name].key
        following = self.table(_next(name))
        if key:
            columns = ", ".join(map(ident, key))
            index = ident(f"{_next(name)}_key")
            await connection.execute(f"CREATE INDEX {index} ON {following} ({columns})")
        await connection.execute(f"ANALYZE {following}")

    async def drop_next(self, connection: Connection, name: str) -> None:
        """Drop the filled table: what stands there is the same."""
        await connection.execute(f"DROP TABLE {self.table(_next(name))}")

    async def swap(self, connection: Connection, names: Sequence[str]) -> None:
        """Put the new tables in the places of the old ones.

        Raises TransientError when somebody reads one of them and does not end in time.
        """
        try:
            for name in names:
                await connection.execute(self._swap(name))
        except asyncpg.exceptions.LockNotAvailableError:
            raise TransientError(
                f"the staging tables in {self._schema} are being read by somebody, so that they "
                "cannot be swapped; those of the last dump stay",
                hint="let their query end, or raise target.lock_timeout_s",
            ) from None

    def _swap(self, name: str) -> str:
        statements = [
            f"DROP TABLE IF EXISTS {self.table(name)}",
            f"ALTER TABLE {self.table(_next(name))} RENAME TO {ident(name)}",
        ]
        if self._tables[name].key:
            index = self.table(f"{_next(name)}_key")
            statements.append(f"ALTER INDEX {index} RENAME TO {ident(f'{name}_key')}")
        return "; ".join(statements)

    async def note(
        self, connection: Connection, name: str, filled: Filled, *, position: int
    ) -> None:
        """Note from what a table was filled."""
        values = (name, filled.content, position, filled.rows, filled.digest)
        await connection.execute(_NOTE.format(self.book), *values)

    async def refill_lookup(
        self, connection: Connection, name: str, rows: Sequence[Sequence[str]]
    ) -> int:
        """Put ``rows`` in the place of what a lookup holds; how many those were."""
        # Not TRUNCATE: whoever reads the lookup now sees the old rows, not none.
        tag = await connection.execute(f"DELETE FROM {self.table(name)}")  # noqa: S608
        await connection.copy_records_to_table(
            name,
            schema_name=self._schema,
            columns=list(self._lookups[name].columns),
            records=[tuple(row) for row in rows],
        )
        return int(tag.rpartition(" ")[2])

    async def say_needed(self, connection: Connection) -> None:
        """Bring the boundaries of the lookups to where the queries of the entities find them."""
        for name, lookup in self._lookups.items():
            needed = (_date(lookup.needed.from_), _date(lookup.needed.before))
            await connection.execute(_SAY_NEEDED.format(self.table(_NEEDED)), name, *needed)

    async def lookup_contents(self, connection: Connection) -> Mapping[str, str]:
        """What each lookup holds, as one short text, with its boundaries."""
        contents = {}
        for name, lookup in self._lookups.items():
            columns = ", ".join(map(ident, lookup.columns))
            found = await connection.fetchval(_CONTENT.format(columns, self.table(name)))
            contents[name] = f"{found} {lookup.needed.from_} {lookup.needed.before}"
        return contents

    async def outside_content(self, connection: Connection, query: str) -> str | None:
        """What a query reads beside the schema, as one short text; None where that is not cheap.

        ``query`` is what follows FROM. Raises the driver's error where the server cannot tell: the
        transaction must be one that is taken back.
        """
        explained = await connection.fetchval(_EXPLAIN.format(query))
        places = sorted(set(_relations(msgspec.json.decode(explained))))
        contents = []
        for schema, name in places:
            if schema == self._schema:
                continue
            table = f"{ident(schema)}.{ident(name)}"
            if await connection.fetchval(_SIZE, table) > _OUTSIDE_BYTES_MAX:
                return None
            content = await connection.fetchval(_CONTENT.format("t.*", f"{table} t"))
            contents.append(f"{table} {content}")
        return "; ".join(contents)


def _relations(plan: Any) -> Iterator[tuple[str, str]]:
    """Schema and name of each table in a plan of the server."""
    if isinstance(plan, list):
        for part in plan:
            yield from _relations(part)
    elif isinstance(plan, dict):
        if "Relation Name" in plan:
            yield plan["Schema"], plan["Relation Name"]
        for part in plan.values():
            yield from _relations(part)


def _next(name: str) -> str:
    return f"{name}_next"


def _date(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
