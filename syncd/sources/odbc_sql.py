"""The statements that are sent over ODBC, per dialect. Nothing here waits.

What is put into their text is a quoted identifier, the name of a type that the catalogue gave, or
the operator's own query; values are bound, as text, and cast over there. A bound time would lose
its fraction in one driver or another, text never does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from syncd.errors import ConfigError
from syncd.flow.model import Found, Kind
from syncd.pg import dialect as pg
from syncd.sources.postgres_sql import Query

IDENTIFIER_CHARS_MAX: Final = 128  # SQL Server's; PostgreSQL's own rule is asked where it is that
KEYS_MAX: Final = 500  # of one statement; SQL Server takes 2100 parameters

# -- what stands there: asked of the server's own database ---------------------------------------

DATABASE: Final = """
SELECT state_desc, user_access_desc, is_in_standby, CONVERT(varchar(33), create_date, 126)
FROM sys.databases
WHERE name = ?
"""
RESTORED: Final = """
SELECT TOP (1)
    CONVERT(varchar(33), r.restore_date, 126),
    CONVERT(varchar(36), s.backup_set_uuid),
    CONVERT(varchar(26), s.last_lsn),
    CONVERT(varchar(33), s.backup_finish_date, 126)
FROM msdb.dbo.restorehistory AS r
JOIN msdb.dbo.backupset AS s ON s.backup_set_id = r.backup_set_id
WHERE r.destination_database_name = ? AND r.restore_type IN ('D', 'I', 'L')
ORDER BY r.restore_history_id DESC
"""
# A stand-in says when its dump was made as the comment of its database: a time, as text.
STAND_IN: Final = """
SELECT coalesce(shobj_description(oid, 'pg_database'), '')
FROM pg_database
WHERE datname = current_database()
"""

# -- columns -------------------------------------------------------------------------------------

_COLUMNS: Final = """
SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE,
       IS_NULLABLE
FROM INFORMATION_SCHEMA.COLUMNS
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?
ORDER BY ORDINAL_POSITION
"""
COLUMNS: Final = {"tsql": _COLUMNS, "postgres": _COLUMNS.lower()}
QUERY_COLUMNS: Final = "EXEC sys.sp_describe_first_result_set @tsql = ?"
UTC_SESSION: Final = "SET TIME ZONE 'UTC'"

_NATIVE: Final = re.compile(r"[a-z][a-z0-9_ ]*(?:\((?:\d+(?:, ?\d+)?|max)\))?").fullmatch
_LENGTHS: Final = frozenset(
    {"char", "varchar", "nchar", "nvarchar", "binary", "varbinary", "character varying"}
)
_BRACKETED: Final = re.compile(r"\[((?:[^\]]|\]\])+)\]")
_SCHEMAS: Final = {"tsql": "dbo", "postgres": "public"}


def ident(name: str, dialect: str) -> str:
    """``name`` as one quoted identifier. Raises ConfigError for what cannot be one."""
    if dialect != "tsql":
        return pg.ident(name)
    if not 0 < len(name) <= IDENTIFIER_CHARS_MAX or not name.isprintable():
        raise ConfigError(
            f"the identifier {name[:IDENTIFIER_CHARS_MAX]!a} cannot be used",
            hint=f"a name has 1 to {IDENTIFIER_CHARS_MAX} printable characters",
        )
    return f"[{name.replace(']', ']]')}]"


def split_table(qualified: str, dialect: str) -> tuple[str, str]:
    """Schema and name of ``schema.table``, with the dialect's usual schema where none is said."""
    if dialect == "tsql":
        # As its people write it: [dbo].[My Table].
        qualified = _BRACKETED.sub(_requoted, qualified)
    schema, name = pg.split_table(qualified)
    return schema or _SCHEMAS.get(dialect, ""), name


def _requoted(found: "re.Match[str]") -> str:
    name = found[1].replace("]]", "]").replace('"', '""')
    return f'"{name}"'


def table_ident(qualified: str, dialect: str) -> str:
    """``schema.table`` with each part quoted."""
    parts = [part for part in split_table(qualified, dialect) if part]
    return ".".join(ident(part, dialect) for part in parts)


def native_of(row: Sequence[object]) -> str:
    """A catalogue's row (type, length, precision, scale) as one name: ``decimal(12,2)``."""
    name, length, precision, scale = str(row[0]), row[1], row[2], row[3]
    if name in _LENGTHS and isinstance(length, int):
        return f"{name}({'max' if length < 0 else length})"
    if name in ("decimal", "numeric") and precision is not None:
        return f"{name}({precision},{scale})"
    return name


def whole(table: str | Query, names: Sequence[str], dialect: str) -> str:
    """All rows: of a query as it is, of a table the columns ``names``."""
    if isinstance(table, Query):
        return bare(table)
    columns = ", ".join(ident(name, dialect) for name in names)
    return f"SELECT {columns} FROM {table_ident(table, dialect)}"


def bare(query: Query) -> str:
    """The query's text without a semicolon at its end."""
    return query.text.strip().rstrip(";")


def nothing(query: Query) -> str:
    """No rows of a query, so that its columns can be seen without running it."""
    return f"SELECT * FROM {derived(query, '')} WHERE 1 = 0"


def derived(table: str | Query, dialect: str) -> str:
    """What follows FROM, with the alias ``q``."""
    if isinstance(table, Query):
        # The bracket stands on its own line because the text may end in a comment.
        return f"({bare(table)}\n) AS q"
    return f"{table_ident(table, dialect)} AS q"


def select(columns: Sequence[str], table: str | Query, dialect: str) -> str:
    """All rows of a table or query; ``columns`` are expressions over the alias ``q``."""
    return f"SELECT {', '.join(columns)} FROM {derived(table, dialect)}"


class KeyPart(Struct, frozen=True):
    """One column of a key: its name and native type at the source, its declared kind."""

    name: str
    native: str
    kind: Kind
    is_folded: bool = False  # letter case and trailing blanks, as declared


def by_keys(
    table: str | Query,
    columns: Sequence[str],
    key: Sequence[KeyPart],
    number: int,
    dialect: str,
) -> str:
    """The rows of ``number`` keys, whose parts are bound key by key.

    ``columns`` are expressions over the alias ``q``.
    """
    sides = [(_left(part, dialect), _bound(part, dialect)) for part in key]
    if len(key) == 1:
        left, bound = sides[0]
        where = f"{left} IN ({', '.join([bound] * number)})"
    else:
        one = " AND ".join(f"{left} = {bound}" for left, bound in sides)
        where = " OR ".join([f"({one})"] * number)
    return f"{select(columns, table, dialect)} WHERE {where}"


def _left(part: KeyPart, dialect: str) -> str:
    ref = f"q.{ident(part.name, dialect)}"
    # SQL Server compares by the collation that was declared; the others must be told.
    return f"upper(rtrim({ref}))" if part.is_folded and dialect != "tsql" else ref


def _bound(part: KeyPart, dialect: str) -> str:
    if dialect == "sqlite":
        return "?"
    if part.is_folded and dialect != "tsql":
        return "CAST(? AS text)"
    native = part.native if _NATIVE(part.native) else "nvarchar(4000)"
    return f"CAST(? AS {native})"


# -- digests -------------------------------------------------------------------------------------

# Text of the value that does not depend on the session, by the name of its type.
_STYLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("float", "real"), "CONVERT(nvarchar(max), {}, 3)"),  # 17 digits: lossless
    **dict.fromkeys(("money", "smallmoney"), "CONVERT(nvarchar(max), {}, 2)"),  # four decimals
    **dict.fromkeys(("datetime", "datetime2", "smalldatetime"), "CONVERT(nvarchar(max), {}, 121)"),
    **dict.fromkeys(("date", "time", "datetimeoffset"), "CONVERT(nvarchar(max), {}, 121)"),
    **dict.fromkeys(("binary", "varbinary", "rowversion"), "CONVERT(nvarchar(max), {}, 1)"),
    "timestamp": "CONVERT(nvarchar(max), CONVERT(varbinary(8), {}), 1)",
    "image": "CONVERT(nvarchar(max), CONVERT(varbinary(max), {}), 1)",
}
_STYLE: Final = "CONVERT(nvarchar(max), {})"


def digest(names: Sequence[str], found: Mapping[str, Found], dialect: str) -> str:
    """SQL of type bigint: a hash of the row over the alias ``q``; it may be 0 or -1.

    Each value is led by its length, and NULL has none, so no two rows run into one another.
    Raises ConfigError for a dialect without one.
    """
    refs = [f"q.{ident(name, dialect)}" for name in names]
    natives = [found[name].native for name in names]
    if dialect == "postgres":
        return pg.digest_sql(refs, natives)
    if dialect != "tsql":
        raise ConfigError("source.digests: pushdown is for SQL Server", hint="use digests: client")
    parts = [_part(ref, native) for ref, native in zip(refs, natives, strict=True)]
    joined = " + ".join(parts)
    return f"CAST(SUBSTRING(HASHBYTES('SHA2_256', {joined}), 1, 8) AS bigint)"


def _part(ref: str, native: str) -> str:
    text = _STYLES.get(native.partition("(")[0], _STYLE).format(ref)
    led = f"CONVERT(nvarchar(20), DATALENGTH({text})) + N':' + {text}"
    return f"CASE WHEN {ref} IS NULL THEN N'-' ELSE {led} END"
