"""Migrations of the ledger: numbered SQL files in two halves, pre and post.

``pre`` halves are safe while the older version still runs; ``post`` halves are applied once it
has gone. Each is applied once, in a transaction of its own, under a lock on the migration table.
"""

from typing import Any

from msgspec import Struct

from syncd.errors import ConfigError
from syncd.failpoints import failpoint
from syncd.ledger.schema_sql import in_schema
from syncd.pg.dialect import ident
from syncd.schemas_path import schema_names, schema_text

_TABLE = """
CREATE TABLE IF NOT EXISTS syncd_migration (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_LOCK = "LOCK TABLE syncd_migration IN EXCLUSIVE MODE"
_APPLIED = "SELECT name FROM syncd_migration"
_NOTE = "INSERT INTO syncd_migration (name) VALUES ($1)"
_EXISTS = "SELECT to_regclass(format('%I.syncd_migration', $1::text)) IS NOT NULL"


class Migration(Struct, frozen=True):
    """One file: ``name`` is its number, half and words."""

    name: str
    sql: str


def known() -> list[Migration]:
    """All migrations that this version ships, in order of application."""
    return [
        Migration(path.removeprefix("ledger/").removesuffix(".sql"), schema_text(path))
        for path in schema_names("ledger", ".sql")
    ]


async def pending(connection: Any, schema: str) -> list[Migration]:
    """Migrations that ``schema`` lacks.

    Raises ConfigError when the schema was made by a newer version than this one.
    """
    if not await connection.fetchval(_EXISTS, schema):
        return known()
    applied = {row["name"] for row in await connection.fetch(in_schema(schema, _APPLIED))}
    unknown = applied - {migration.name for migration in known()}
    if unknown:
        raise ConfigError(
            f"the ledger in schema {schema} has migrations that this version does not know: "
            f"{', '.join(sorted(unknown))}",
            hint="run a version of syncd at least as new as the one that made it",
        )
    return [migration for migration in known() if migration.name not in applied]


async def migrate(connection: Any, schema: str) -> list[str]:
    """Bring ``schema`` up to date; names of the migrations applied. May be repeated."""
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(schema)}")
    await failpoint("migrate.schema")
    await connection.execute(in_schema(schema, _TABLE))
    applied = []
    async with connection.transaction():
        await connection.execute(in_schema(schema, _LOCK))
        await failpoint("migrate.locked")
        for migration in await pending(connection, schema):
            await connection.execute(in_schema(schema, migration.sql))
            await failpoint("migrate.applied")
            await connection.execute(in_schema(schema, _NOTE), migration.name)
            applied.append(migration.name)
            await failpoint("migrate.noted")
    return applied
