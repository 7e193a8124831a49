"""What the catalogue says of tables and queries."""

import asyncpg
import pytest

from syncd.errors import ConfigError
from syncd.flow.model import ColumnType, Kind
from syncd.pg.catalog import query_columns, table_columns
from syncd.pg.connect import Connection


async def test_a_table_is_told_column_by_column(connection: Connection) -> None:
    """Names, native and canonical types, NULL and what can be written, in the table's order."""
    await connection.execute(
        "CREATE TABLE public.t (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        ' "Odd Name" numeric(12,2) NOT NULL, gone text, twice numeric GENERATED ALWAYS AS'
        ' ("Odd Name" * 2) STORED, at timestamp(3) with time zone);'
        "ALTER TABLE public.t DROP COLUMN gone"
    )
    found = await table_columns(connection, "public.t")
    assert list(found) == ["id", "Odd Name", "twice", "at"]
    assert [column.native for column in found.values()] == [
        "integer",
        "numeric(12,2)",
        "numeric",
        "timestamp(3) with time zone",
    ]
    assert [column.writable for column in found.values()] == [False, True, False, True]
    assert [column.nullable for column in found.values()] == [False, False, True, True]
    assert found["Odd Name"].type == ColumnType(Kind.DECIMAL, scale=2)


async def test_a_domain_is_told_by_its_base_type(connection: Connection) -> None:
    """Domains over domains too; a query tells the type alone, without its length."""
    await connection.execute(
        "CREATE DOMAIN public.code AS varchar(7);"
        "CREATE DOMAIN public.ods_code AS public.code NOT NULL;"
        "CREATE TABLE public.t (a public.ods_code, b public.code)"
    )
    found = await table_columns(connection, "public.t")
    assert [column.native for column in found.values()] == ["character varying(7)"] * 2
    assert [column.nullable for column in found.values()] == [False, True]
    queried = await query_columns(connection, "(SELECT a FROM public.t) AS q")
    assert queried["a"].native == "character varying"


async def test_a_table_that_is_not_there_has_no_columns(connection: Connection) -> None:
    """Absence is no error here: a target's table may still have to be created."""
    assert await table_columns(connection, '"public"."gone"') == {}


async def test_a_query_is_described_without_being_run(connection: Connection) -> None:
    """A query that would fail on its first row is still described."""
    found = await query_columns(connection, "(SELECT 1/0 AS id, 'x'::text AS \"Name\") AS q")
    assert {name: column.native for name, column in found.items()} == {
        "id": "integer",
        "Name": "text",
    }
    assert not any(column.writable for column in found.values())


async def test_a_query_with_two_columns_of_one_name_is_refused(connection: Connection) -> None:
    """Which of them is meant cannot be said."""
    with pytest.raises(ConfigError, match="two columns"):
        await query_columns(connection, "(SELECT 1 AS a, 2 AS a) AS q")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 AS a) AS q; DROP TABLE public.t; SELECT * FROM (SELECT 1 AS a",
        "SELECT 1 AS a; DELETE FROM public.t",
        "DELETE FROM public.t RETURNING *",
        "WITH gone AS (DELETE FROM public.t RETURNING *) SELECT * FROM gone",
    ],
)
async def test_a_query_that_is_no_single_select_is_refused(
    connection: Connection, text: str
) -> None:
    """Text that leaves its brackets is more than one statement, and is not run (case 88)."""
    await connection.execute("CREATE TABLE public.t (a integer); INSERT INTO public.t VALUES (1)")
    with pytest.raises(asyncpg.PostgresError):
        await query_columns(connection, f"({text}\n) AS q")
    assert await connection.fetchval("SELECT count(*) FROM public.t") == 1
