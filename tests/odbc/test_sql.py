"""Every statement that SQL Server is sent: recorded, and whole for a parser of T-SQL."""

from collections.abc import Sequence

import pytest
import sqlglot
from sqlglot import expressions

from syncd.errors import ConfigError
from syncd.flow.model import ColumnType, Found, Kind
from syncd.sources import odbc_sql as sql
from syncd.sources.odbc_sql import KeyPart
from syncd.sources.postgres_sql import Query

QUERY = Query("SELECT a.ID, [Full Name] FROM dbo.Thing AS a -- all of them\n;")
INTEGER = KeyPart("ID", "int", Kind.INTEGER)
UNIQUE = KeyPart("Guid", "uniqueidentifier", Kind.UUID)
CODE = KeyPart("Code", "varchar(12)", Kind.TEXT, is_folded=True)
DAY = KeyPart("Day", "date", Kind.DATE)
NATIVES = {
    "Amount": "decimal(12,2)",
    "At": "datetime2(7)",
    "Body": "xml",
    "Cost": "money",
    "Day": "date",
    "Old": "image",
    "Rate": "float",
    "Raw": "varbinary(max)",
    "Ver": "timestamp",
}
FOUND = {name: Found(name, native, ColumnType()) for name, native in NATIVES.items()}

MADE = {
    "table": sql.whole("dbo.Referral", ["ReferralID", "odd]name"], "tsql"),
    "query": sql.whole(QUERY, [], "tsql"),
    "derived": sql.select(["q.[ID]"], QUERY, "tsql"),
    "one key": sql.by_keys("Referral", ["q.[ID]"], [INTEGER], 3, "tsql"),
    "keys of parts": sql.by_keys(QUERY, ["q.[ID]"], [UNIQUE, CODE, DAY], 2, "tsql"),
    "digest": sql.select(["q.[ID]", sql.digest(list(FOUND), FOUND, "tsql")], "dbo.Item", "tsql"),
}
CONSTANT = {
    "database": sql.DATABASE,
    "restored": sql.RESTORED,
    "columns": sql.COLUMNS["tsql"],
}

RECORDED = {
    "table": "SELECT [ReferralID], [odd]]name] FROM [dbo].[Referral]",
    "query": "SELECT a.ID, [Full Name] FROM dbo.Thing AS a -- all of them\n",
    "derived": (
        "SELECT q.[ID] FROM (SELECT a.ID, [Full Name] FROM dbo.Thing AS a -- all of them\n\n) AS q"
    ),
    "one key": (
        "SELECT q.[ID] FROM [dbo].[Referral] AS q "
        "WHERE q.[ID] IN (CAST(? AS int), CAST(? AS int), CAST(? AS int))"
    ),
    "keys of parts": (
        "SELECT q.[ID] FROM (SELECT a.ID, [Full Name] FROM dbo.Thing AS a -- all of them\n\n) AS q "
        "WHERE (q.[Guid] = CAST(? AS uniqueidentifier) AND q.[Code] = CAST(? AS varchar(12)) "
        "AND q.[Day] = CAST(? AS date)) OR (q.[Guid] = CAST(? AS uniqueidentifier) "
        "AND q.[Code] = CAST(? AS varchar(12)) AND q.[Day] = CAST(? AS date))"
    ),
}


def part(text: str, ref: str) -> str:
    """One column of a digest: led by its length, NULL without one."""
    return (
        f"CASE WHEN {ref} IS NULL THEN N'-' ELSE "
        f"CONVERT(nvarchar(20), DATALENGTH({text})) + N':' + {text} END"
    )


PARTS = (
    part("CONVERT(nvarchar(max), q.[Amount])", "q.[Amount]"),
    part("CONVERT(nvarchar(max), q.[At], 121)", "q.[At]"),
    part("CONVERT(nvarchar(max), q.[Body])", "q.[Body]"),
    part("CONVERT(nvarchar(max), q.[Cost], 2)", "q.[Cost]"),
    part("CONVERT(nvarchar(max), q.[Day], 121)", "q.[Day]"),
    part("CONVERT(nvarchar(max), CONVERT(varbinary(max), q.[Old]), 1)", "q.[Old]"),
    part("CONVERT(nvarchar(max), q.[Rate], 3)", "q.[Rate]"),
    part("CONVERT(nvarchar(max), q.[Raw], 1)", "q.[Raw]"),
    part("CONVERT(nvarchar(max), CONVERT(varbinary(8), q.[Ver]), 1)", "q.[Ver]"),
)


@pytest.mark.parametrize("name", sorted({**MADE, **CONSTANT}))
def test_a_parser_of_t_sql_takes_the_whole_statement(name: str) -> None:
    """One SELECT, understood to its end; nothing was kept as mere text."""
    statements = sqlglot.parse((MADE | CONSTANT)[name], dialect="tsql")
    assert [type(one) for one in statements] == [expressions.Select]
    assert statements[0] is not None
    assert not list(statements[0].find_all(expressions.Command))


def test_a_parser_of_t_sql_takes_the_call_that_describes_a_query() -> None:
    """One EXECUTE; its argument is bound."""
    (call,) = sqlglot.parse(sql.QUERY_COLUMNS, dialect="tsql")
    assert call is not None
    assert sql.QUERY_COLUMNS == "EXEC sys.sp_describe_first_result_set @tsql = ?"


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_statement_is_as_recorded(name: str) -> None:
    """What a server was sent must not change unnoticed."""
    assert MADE[name] == RECORDED[name]


def test_the_digest_is_as_recorded() -> None:
    """Every column in text that no setting of the session changes."""
    expected = f"CAST(SUBSTRING(HASHBYTES('SHA2_256', {' + '.join(PARTS)}), 1, 8) AS bigint)"
    assert sql.digest(list(FOUND), FOUND, "tsql") == expected


def test_values_are_bound_and_never_written() -> None:
    """As many marks as there are parts of keys (case 88)."""
    assert [MADE["one key"].count("?"), MADE["keys of parts"].count("?")] == [3, 6]


@pytest.mark.parametrize("name", ["", "a" * 129, "a\nb", "a\0b"])
def test_a_name_that_sql_server_cannot_hold_is_refused(name: str) -> None:
    """Before it becomes part of a statement."""
    with pytest.raises(ConfigError):
        sql.ident(name, "tsql")


def test_a_type_that_is_no_name_is_not_written() -> None:
    """A user's own type may be called anything."""
    odd = KeyPart("ID", "int) OR (1=1", Kind.INTEGER)
    assert sql.by_keys("t", ["q.[ID]"], [odd], 1, "tsql").endswith("CAST(? AS nvarchar(4000)))")


def test_a_stand_in_is_told_what_the_collation_would_do() -> None:
    """PostgreSQL compares as it is told, SQL Server by itself."""
    made = sql.by_keys("t", ['q."Code"'], [CODE], 1, "postgres")
    assert made.endswith('WHERE upper(rtrim(q."Code")) IN (CAST(? AS text))')


def test_sqlite_has_no_digest() -> None:
    """The configuration refuses it before."""
    with pytest.raises(ConfigError):
        sql.digest(["Day"], FOUND, "sqlite")


@pytest.mark.parametrize(
    ("row", "native"),
    [
        (("varchar", 12, None, None), "varchar(12)"),
        (("nvarchar", -1, None, None), "nvarchar(max)"),
        (("decimal", None, 12, 2), "decimal(12,2)"),
        (("int", None, 10, 0), "int"),
        (("datetime2", None, None, None), "datetime2"),
        (("xml", -1, None, None), "xml"),
        (("money", None, 19, 4), "money"),
    ],
)
def test_a_type_of_the_catalogue_is_one_name(row: Sequence[object], native: str) -> None:
    """As T-SQL writes it."""
    assert sql.native_of(row) == native


@pytest.mark.parametrize(
    ("written", "dialect", "parts"),
    [
        ("Referral", "tsql", ("dbo", "Referral")),
        ("ndelius.Referral", "tsql", ("ndelius", "Referral")),
        ("[dbo].[My Table]", "tsql", ("dbo", "My Table")),
        ("dbo.[a.b]]c]", "tsql", ("dbo", "a.b]c")),
        ('dbo."a.b"', "tsql", ("dbo", "a.b")),
        ("things", "postgres", ("public", "things")),
        ("things", "sqlite", ("", "things")),
    ],
)
def test_a_table_is_named_as_its_people_write_it(
    written: str, dialect: str, parts: tuple[str, str]
) -> None:
    """In brackets or in quotes; the usual schema where none is said."""
    assert sql.split_table(written, dialect) == parts
