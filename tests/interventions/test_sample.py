"""The synthetic Interventions Manager: the same everywhere, dirty on purpose, and valid T-SQL."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlglot

from config.interventions.sample.__main__ import load, pass_night
from config.interventions.sample.legacy import Legacy
from config.interventions.sample.nights import Night
from config.interventions.sample.tables import REFERRAL_COLUMNS, TABLES, ddl
from tests.conftest import REPOSITORY


async def rows(dsn: str, table: str) -> list[tuple[Any, ...]]:
    """All rows of a table of the stand-in, texts and times as Python has them."""
    connection = await asyncpg.connect(dsn)
    try:
        key = TABLES[table].key
        found = await connection.fetch(f"SELECT * FROM dbo.{table} ORDER BY {key}::text")  # noqa: S608
        return [tuple(row) for row in found]
    finally:
        await connection.close()


def expected(legacy: Legacy, table: str) -> list[tuple[str, ...]]:
    """The same from memory, as text."""
    found = [legacy.whole(table, row) for row in legacy.tables[table].values()]
    return sorted(tuple(map(str, row)) for row in found)


def test_the_same_seed_gives_the_same_rows() -> None:
    first, second, other = Legacy(50), Legacy(50), Legacy(50, seed=2)

    assert first.tables == second.tables
    assert first.tables != other.tables
    assert [*Night(first, national=False).statements()] == [
        *Night(second, national=False).statements()
    ]


def test_a_referral_has_as_many_columns_as_the_real_one() -> None:
    assert len(TABLES["Referral"].columns) == REFERRAL_COLUMNS == 120
    assert len({column.name.lower() for column in TABLES["Referral"].columns}) == REFERRAL_COLUMNS


def test_the_rows_are_dirty_in_every_way_that_is_known() -> None:
    """Each kind of dirt is there, and most rows are clean."""
    found = [*Legacy(3000).tables["Referral"].values()]
    dirt = Counter(
        kind
        for row in found
        for kind, is_there in (
            ("blanks", str(row[2]) != str(row[2]).strip()),
            ("sex", row[4] == "?"),
            ("birthday", str(row[5]).startswith("1900")),
            ("sourced", row[8] == "???"),
            ("team", row[13] is None),
            ("status", row[11] == "ZZ"),
            ("crn", row[1] == ""),
            ("deleted", row[16] == 1),
            ("never updated", row[7] is None),
        )
        if is_there
    )

    assert len(dirt) == 9
    assert dirt.total() - dirt["never updated"] < len(found) / 10


def test_numbers_are_missing_single_and_ambiguous() -> None:
    legacy = Legacy(2000)
    per_referral = Counter(Counter(key for key, _ in legacy.numbers()).values())

    assert per_referral[1] > 20 * per_referral[2] > 0
    assert sum(per_referral.values()) < len(legacy.tables["Referral"])


@pytest.mark.parametrize("statement", ddl(for_postgres=False), ids=lambda text: text.split()[2])
def test_the_tables_are_valid_tsql(statement: str) -> None:
    assert not isinstance(sqlglot.parse_one(statement, read="tsql"), sqlglot.exp.Command)


def test_the_files_for_a_sql_server_are_valid_and_short_enough(tmp_path: Path) -> None:
    """Each statement parses, has at most 1,000 rows, and ends its line."""
    command = [sys.executable, "-m", "config.interventions.sample", "tsql"]
    options = ["--referrals", "40", "--nights", "2", "--out", str(tmp_path)]
    subprocess.run([*command, *options], check=True, cwd=REPOSITORY)

    files = sorted(path.name for path in tmp_path.iterdir())
    nights = ("night_001.sql", "night_002.sql")
    made = ("tables.sql", "licreqnos.csv", *nights, *(f"rows_{name}.sql" for name in TABLES))
    assert files == sorted(made)
    for path in tmp_path.glob("*.sql"):
        for statement in path.read_text("utf-8").split(";\n")[:-1]:
            parsed = sqlglot.parse_one(statement, read="tsql")
            assert isinstance(
                parsed,
                sqlglot.exp.Create | sqlglot.exp.Insert | sqlglot.exp.Update | sqlglot.exp.Delete,
            )
            assert statement.count("\n(") <= 1000
    assert "N'" in (tmp_path / "rows_Referral.sql").read_text("utf-8")


async def test_the_stand_in_holds_what_memory_holds_after_nights(
    make_database: Callable[[str], str],
) -> None:
    """The statements of a night say to a database what the night did in memory."""
    dsn, legacy = make_database("im"), Legacy(120)
    await load(legacy, dsn)
    for _ in range(3):
        await pass_night(legacy, dsn)

    for table in TABLES:
        found = sorted(tuple(map(str, row)) for row in await rows(dsn, table))
        assert found == expected(legacy, table), table


async def test_each_night_is_another_dump(make_database: Callable[[str], str]) -> None:
    """The comment of the database says which one stands there."""
    dsn, legacy = make_database("im"), Legacy(10)
    await load(legacy, dsn)
    first = await comment(dsn)
    await pass_night(legacy, dsn)

    assert first < await comment(dsn)


async def comment(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        found = await connection.fetchval(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
            "WHERE datname = current_database()"
        )
        assert isinstance(found, str)
        return found
    finally:
        await connection.close()
