"""Interventions Manager and M&D on real PostgreSQL: the pipeline of ``config/interventions``.

The old system is a stand-in: the same tables, the same queries, another source kind. Each change
over there is another dump.
"""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from config.interventions.sample.tables import ddl
from syncd import config_load
from syncd.config import Config, LedgerConfig, Limits, PostgresSource, Secret
from tests.conftest import REPOSITORY
from tests.pipeline.world import LEASE_TTL_S, World

PIPELINE: Final = REPOSITORY / "config" / "interventions" / "pipeline.yaml"
SCHEMAS: Final = REPOSITORY / "schemas" / "interventions"
TEAM: Final = (
    "INSERT INTO dbo.Region VALUES ('R1', 'North'), ('R2', 'South')",
    "INSERT INTO dbo.Pdu VALUES ('P1', 'Unit 1', 'R1'), ('P2', 'Unit 2', 'R2')",
    "INSERT INTO dbo.ReportingTeam VALUES ('T1', 'Team 1', 'P1'), ('T2', 'Team 2', 'P2')",
)


def configured(legacy_dsn: str, target_dsn: str, **environ: str) -> Config:
    """The pipeline as it ships, with the stand-in as its source."""
    given = {"IM_ODBC": "Server=im;Database=im", "MD_DSN": target_dsn} | environ
    config = config_load.load(PIPELINE, given)
    return replace(
        config,
        source=PostgresSource(dsn=Secret(legacy_dsn)),
        ledger=LedgerConfig(lease_ttl_s=LEASE_TTL_S),
        limits=Limits(retries=3, retry_budget_s=20.0),
    )


def uuid_of(number: int) -> str:
    """The id of a record of a test."""
    return f"00000000-0000-4000-8000-{number:012}"


class Interventions(World):
    """Both systems; ``im`` works at the old one and leaves another dump."""

    _dumps = 0

    async def begin(self, *statements: str) -> None:
        """Make both systems; the old one with these rows beside two teams."""
        await self.staff(
            (SCHEMAS / "manage_and_deliver.sql").read_text("utf-8"),
            (SCHEMAS / "data_import_record.sql").read_text("utf-8"),
        )
        await self.im(*ddl(for_postgres=True), *TEAM, *statements)
        await self.init()

    async def im(self, *statements: str) -> None:
        """The old system goes on working, and in the night another dump is restored."""
        self._dumps += 1
        name = (await self.legacy_rows("SELECT current_database()"))[0][0]
        moment = f"2026-03-{1 + self._dumps // 24:02}T{self._dumps % 24:02}:45:00Z"
        await self.legacy(*statements, f"""COMMENT ON DATABASE "{name}" IS '{moment}'""")

    async def numbers(self, tmp_path: Path, *lines: tuple[int, str]) -> None:
        """``syncd lookup load``: numbers of referrals."""
        path = tmp_path / "numbers.csv"
        rows = "".join(f"{uuid_of(number)},{licreqno}\n" for number, licreqno in lines)
        path.write_text(f"source_referral_id,licreqno\n{rows}", "utf-8")
        async with self.app() as app:
            await app.load_lookup("iaps_licreqnos", path)

    async def referral(self, number: int) -> dict[str, Any]:
        """A referral of M&D by its record in IM, with place, status and cohort; {} for none."""
        found = await self.rows(_REFERRAL, uuid_of(number))
        return dict(zip(_FIELDS, found[0], strict=True)) if found else {}

    async def counts(self) -> dict[str, int]:
        """Rows of M&D's tables that are not empty."""
        found = {}
        for table in _TABLES:
            found[table] = int(await self.value(f"SELECT count(*) FROM {table}"))
        return {table: rows for table, rows in found.items() if rows}


def referral(number: int, **fields: object) -> str:
    """INSERT of a referral in IM; made in 2025, so that its number is in the lookup."""
    usual: dict[str, object] = {
        "ReferralID": uuid_of(number),
        "Reference": f"X{number:06}",
        "Forename": "Ada",
        "Surname": f"Abbott{number}",
        "SexCode": "F",
        "DateOfBirth": "1980-02-29",
        "CreateTs": "2025-06-02 10:30:00.003",
        "UpdateTs": "2025-06-03 09:00:00",
        "SourcedFromCode": "REQ",
        "SourcedFromID": f"{2500000000 + number}",
        "CohortCode": "GO",
        "StatusCode": "AA",
        "StatusTs": "2025-06-02 10:30:00.003",
        "TeamCode": "T1",
        "IsDeleted": 0,
    }
    return insert("Referral", usual | fields)


def recent(number: int, **fields: object) -> str:
    """A referral of after the boundary: its number is in IM."""
    return referral(number, **{"CreateTs": "2026-02-10 10:00:00", **fields})


def insert(table: str, fields: dict[str, object]) -> str:
    """INSERT of a row in IM."""
    values = ", ".join("NULL" if v is None else f"'{v}'" for v in fields.values())
    return f"INSERT INTO dbo.{table} ({', '.join(fields)}) VALUES ({values})"


def change(number: int, **fields: object) -> str:
    """UPDATE of a referral in IM."""
    told = ", ".join(f"{n} = " + ("NULL" if v is None else f"'{v}'") for n, v in fields.items())
    return f"UPDATE dbo.Referral SET {told} WHERE ReferralID = '{uuid_of(number)}'"


def gone(number: int) -> str:
    """DELETE of a referral in IM."""
    return f"DELETE FROM dbo.Referral WHERE ReferralID = '{uuid_of(number)}'"


GROUP: Final[dict[str, object]] = {
    "GroupID": uuid_of(100),
    "GroupCode": "BC1",
    "RegionCode": "R1",
    "CohortCode": "GO",
    "SexCode": "X",
    "IsLdc": 0,
    "PduCode": "P1",
    "LocationCode": "L1",
    "LocationName": "Office 1",
    "StartDate": "2026-03-01",
    "EarliestStartDate": "2026-02-20",
    "CreateTs": "2026-02-01 10:00:00",
    "CreatedBy": "user1",
    "IsDeleted": 0,
}
SLOT: Final[dict[str, object]] = {"GroupID": uuid_of(100), "StartTime": "18:30"}
_FIELDS: Final = (
    *("id", "person_name", "crn", "event_id", "event_number", "sourced_from", "sex"),
    *("date_of_birth", "created_at", "region_name", "reporting_team", "statuses", "cohorts"),
)
_REFERRAL: Final = """
SELECT r.id::text, r.person_name, r.crn, r.event_id, r.event_number, r.sourced_from, r.sex,
       r.date_of_birth::text, r.created_at::text, l.region_name, l.reporting_team,
       (SELECT array_agg(d.description_text || ' by ' || h.created_by ORDER BY h.created_at)
        FROM referral_status_history h
        JOIN referral_status_description d ON d.id = h.referral_status_description_id
        WHERE h.referral_id = r.id),
       (SELECT array_agg(c.cohort ORDER BY c.created_at)
        FROM referral_cohort_history c WHERE c.referral_id = r.id)
FROM referral r
JOIN data_import_record i ON i.target_id = r.id AND i.entity_type = 'REFERRAL'
LEFT JOIN referral_reporting_location l ON l.referral_id = r.id
WHERE i.source_id = $1
"""
_TABLES: Final = (
    *("referral", "referral_reporting_location", "referral_status_history"),
    *("referral_cohort_history", "programme_group", "programme_group_session_slot"),
    *("programme_group_membership", "session", "attendee", "session_attendance"),
    "data_import_record",
)
