"""What columns a table or a query has, read from the catalogue.

Domains are told by their base type, since that is what their text and their hash come from.
"""

from collections.abc import Mapping

from syncd.errors import ConfigError
from syncd.flow.model import Found
from syncd.pg.connect import Connection
from syncd.pg.dialect import column_type, ident

_TABLE_COLUMNS = """
WITH RECURSIVE base AS (
    SELECT a.attnum, a.attname, a.attnotnull, a.atttypid AS type, a.atttypmod AS mod,
           a.attgenerated = '' AND a.attidentity <> 'a' AS writable
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attnum, b.attname, b.attnotnull OR t.typnotnull, t.typbasetype, t.typtypmod, b.writable
    FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype = 'd'
)
SELECT b.attname AS name, format_type(b.type, b.mod) AS native, NOT b.attnotnull AS nullable,
       b.writable
FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd'
ORDER BY b.attnum
"""
# The server describes a result by base types already, without their lengths.
_TYPES = """
SELECT format_type(given.oid, NULL) AS native
FROM unnest($1::oid[]) WITH ORDINALITY AS given (oid, at) ORDER BY given.at
"""


async def table_columns(connection: Connection, table: str) -> Mapping[str, Found]:
    """Columns of ``table`` (quoted, see ``table_ident``) in their order; empty if there is none."""
    rows = await connection.fetch(_TABLE_COLUMNS, table)
    return {
        row["name"]: Found(
            name=row["name"],
            native=row["native"],
            type=column_type(row["native"]),
            nullable=row["nullable"],
            writable=row["writable"],
        )
        for row in rows
    }


async def query_columns(connection: Connection, derived: str) -> Mapping[str, Found]:
    """Columns of a derived table, ``(SELECT ...) AS q``; nothing is run.

    The statement is prepared, and a prepared statement is a single one: text that closes the
    bracket and begins another statement is refused here.
    Raises ConfigError when two columns have the same name or one has none that can be used.
    """
    statement = await connection.prepare(f"SELECT * FROM {derived} LIMIT 0")  # noqa: S608
    attributes = statement.get_attributes()
    rows = await connection.fetch(_TYPES, [attribute.type.oid for attribute in attributes])
    found: dict[str, Found] = {}
    for attribute, row in zip(attributes, rows, strict=True):
        if attribute.name in found:
            raise ConfigError(
                f"the query has two columns named {ident(attribute.name)}",
                hint="name the columns that are wanted, with AS where needed",
            )
        native = row["native"]
        found[attribute.name] = Found(
            name=attribute.name, native=native, type=column_type(native), writable=False
        )
    return found
