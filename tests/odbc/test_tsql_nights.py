"""Whole nights in ``dialect: tsql``, on a stand-in that has SQL Server's catalogue.

Every statement goes out as T-SQL and is put into PostgreSQL's words by a parser of it, on its way
to the driver; ``sys.databases`` and the history of restores are tables of the stand-in. So the way
that a real SQL Server would be read is walked from end to end, but for the server itself.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlglot

from syncd.app import connect
from syncd.config import Config, Entity, PostgresTarget, Secret, SqlServerSource
from syncd.errors import ConfigError
from syncd.flow.keys import encode_key
from syncd.flow.model import Column, ColumnType, Kind, Plan
from syncd.progress import Silent
from syncd.reports import EntityReport
from syncd.sources import odbc_strings
from syncd.sources.odbc import OdbcReader
from syncd.sources.odbc_connections import Session, Statement
from tests.contracts.world import HASHER
from tests.odbc.world import asked, connection_string, run

CATALOGUE = """
CREATE SCHEMA sys; CREATE SCHEMA msdb; CREATE SCHEMA dbo;
CREATE TABLE sys.databases (name text, state_desc text, user_access_desc text,
    is_in_standby boolean, create_date timestamp);
INSERT INTO sys.databases VALUES ('IM', 'ONLINE', 'MULTI_USER', false, '2026-09-01 03:00:00');
CREATE TABLE msdb.restorehistory (restore_history_id int GENERATED ALWAYS AS IDENTITY,
    restore_date timestamp, destination_database_name text, restore_type text, backup_set_id int);
CREATE TABLE msdb.backupset (backup_set_id int GENERATED ALWAYS AS IDENTITY,
    backup_set_uuid uuid DEFAULT gen_random_uuid(), last_lsn numeric(25), backup_finish_date
    timestamp);
CREATE TABLE dbo."Referral" ("ReferralID" int, "Reference" varchar(10), "UpdateTs" timestamp);
INSERT INTO dbo."Referral"
    SELECT n, 'X' || n, '2026-01-01'::timestamp + n * interval '1 hour'
    FROM generate_series(1, 100) AS n;
"""
RESTORED = """
INSERT INTO msdb.backupset (last_lsn, backup_finish_date) VALUES (38000000012300001, '{0}');
INSERT INTO msdb.restorehistory (restore_date, destination_database_name, restore_type,
    backup_set_id) SELECT now(), 'IM', 'D', max(backup_set_id) FROM msdb.backupset;
"""


def in_other_words(statement: str) -> str:
    """T-SQL as PostgreSQL says it; one statement, or the parser refuses."""
    # Three names in a row mean another database here.
    (said,) = sqlglot.transpile(
        statement.replace("msdb.dbo.", "msdb."), read="tsql", write="postgres"
    )
    return said.replace("%s", "?").replace("DDTHH24", 'DD"T"HH24')


@pytest.fixture
def translated(odbc_dsn: str, monkeypatch: pytest.MonkeyPatch) -> SqlServerSource:
    """A source in T-SQL whose statements are understood by the stand-in."""
    plain = Session.statement

    @asynccontextmanager
    async def statement(
        self: Session, doing: str, text: str, *values: str
    ) -> AsyncIterator[Statement]:
        async with plain(self, doing, in_other_words(text), *values) as found:
            yield found

    database = odbc_dsn.rpartition("/")[2]
    monkeypatch.setattr(Session, "statement", statement)
    monkeypatch.setattr(odbc_strings, "_MASTER", database)
    # The name that is asked for is SQL Server's; the sessions lead to the stand-in.
    plain_target = odbc_strings.target_of

    def target(config: SqlServerSource, driver: str, **more: Any) -> odbc_strings.Target:
        found = plain_target(config, driver, **more)
        text = found.text.replace("Database=IM;", f"Database={database};")
        return odbc_strings.Target(text, found.family, "IM")

    monkeypatch.setattr("syncd.sources.odbc_database.target_of", target)
    return SqlServerSource(
        odbc=Secret(connection_string(odbc_dsn, Database="IM")), ready_timeout_s=0.0
    )


async def night(config: Config, *, accept_rewind: bool = False) -> EntityReport:
    """``syncd run``."""
    async with connect(config) as app:
        report = await app.run(None, accept_rewind=accept_rewind, progress=Silent())
    return report.entities[0]


async def test_nights_of_restored_backups(
    translated: SqlServerSource, odbc_dsn: str, make_database: Callable[[str], str]
) -> None:
    """Read, not read again, not while it is restored, read on, and not backwards."""
    target_dsn = make_database("target")
    await run(odbc_dsn, CATALOGUE, RESTORED.format("2026-09-01 01:00:00"))
    config = Config(
        pipeline="im",
        source=translated,
        target=PostgresTarget(dsn=Secret(target_dsn)),
        entities={
            "referrals": Entity(
                from_="[dbo].[Referral]",
                key=("ReferralID",),
                into="public.referral",
                # The stand-in's catalogue has PostgreSQL's names of types.
                columns={"ReferralID": "integer"},
            )
        },
    )
    async with connect(config) as app:
        await app.init()
    assert (await night(config)).counts.inserted == 100
    assert "nothing was read" in (await night(config)).notes[0]

    await run(odbc_dsn, "UPDATE sys.databases SET state_desc = 'RESTORING'")
    refused = await night(config)
    assert (refused.status, refused.counts.total()) == ("refused", 0)
    assert "the database IM is restoring" in refused.notes[0]

    change = 'UPDATE dbo."Referral" SET "Reference" = \'Y\' WHERE "ReferralID" = 7'
    online = "UPDATE sys.databases SET state_desc = 'ONLINE'"
    await run(odbc_dsn, online, RESTORED.format("2026-09-02 01:00:00"), change)
    counts = (await night(config)).counts
    assert (counts.updated, counts.unchanged) == (1, 99)

    await run(odbc_dsn, RESTORED.format("2026-09-01 01:00:00"))
    assert "--accept-rewind" in (await night(config)).notes[0]
    copy = await asked(target_dsn, 'SELECT "Reference" FROM referral WHERE "ReferralID" = 7')
    assert [row["Reference"] for row in copy] == ["Y"]


async def test_rows_are_fetched_by_their_keys_in_t_sql(
    translated: SqlServerSource, odbc_dsn: str
) -> None:
    """Bound as text and cast to the column's own type."""
    await run(odbc_dsn, CATALOGUE, RESTORED.format("2026-09-01 01:00:00"))
    columns = (
        Column("ReferralID", "id", ColumnType(Kind.INTEGER)),
        Column("UpdateTs", "at", ColumnType(Kind.TIMESTAMP)),
    )
    plan = Plan("referrals", 1, columns, (0,), columns, (0,))
    reader = OdbcReader(translated, {"referrals": "Referral"}, HASHER, batch_rows=10)
    try:
        async with reader.open([plan]) as snapshot:
            keys = [encode_key([Kind.INTEGER], [b"%d" % n]) for n in (7, 101, 5)]
            reads = await snapshot.fetch(plan, keys)
    finally:
        await reader.close()
    assert [read.row for read in reads] == [
        (b"5", b"2026-01-01 05:00:00"),
        (b"7", b"2026-01-01 07:00:00"),
    ]


async def test_a_string_without_a_database_is_told(odbc_server: str) -> None:
    """Nobody would know what to wait for."""
    odbc = connection_string(odbc_server).replace("Database=", "Other=")
    reader = OdbcReader(SqlServerSource(odbc=Secret(odbc)), {}, HASHER, batch_rows=10)
    with pytest.raises(ConfigError, match="does not name the database"):
        await reader.describe("referrals")
    await reader.close()
