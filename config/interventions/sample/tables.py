"""The tables of the synthetic IM, with their types in T-SQL and in PostgreSQL.

A bit is a smallint in PostgreSQL, so that ``= 1`` means the same in both. ``dbo.Referral`` has 120
columns, of which the import needs about fifteen, as in the real one.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

REFERRAL_COLUMNS: Final = 120

# T-SQL type to PostgreSQL type.
_TYPES: Final = {
    "uniqueidentifier": "uuid",
    "datetime": "timestamp",
    "bit": "smallint",
    "int": "integer",
    "decimal(9,2)": "numeric(9,2)",
}


class Column(NamedTuple):
    """One column; ``type`` is that of T-SQL."""

    name: str
    type: str

    @property
    def in_postgres(self) -> str:
        """The type that holds the same values in PostgreSQL."""
        if self.type.startswith("nvarchar"):
            return "text" if "max" in self.type else self.type.replace("nvarchar", "varchar")
        return _TYPES[self.type]


class Table(NamedTuple):
    """A table of schema dbo; the first column is its key. ``named`` are those with a meaning."""

    name: str
    columns: Sequence[Column]
    named: int

    @property
    def key(self) -> str:
        """The primary key's column."""
        return self.columns[0].name


def _table(name: str, *columns: str) -> Table:
    found = [Column(*column.split(" ", 1)) for column in columns]
    return Table(name, found, len(found))


_REFERRAL: Final = (
    "ReferralID uniqueidentifier",
    "Reference nvarchar(20)",  # the CRN
    "Forename nvarchar(100)",
    "Surname nvarchar(100)",
    "SexCode nvarchar(4)",
    "DateOfBirth datetime",
    "CreateTs datetime",
    "UpdateTs datetime",
    "SourcedFromCode nvarchar(10)",
    "SourcedFromID nvarchar(50)",
    "CohortCode nvarchar(10)",
    "StatusCode nvarchar(10)",
    "StatusTs datetime",
    "TeamCode nvarchar(10)",
    "ProgrammeCode nvarchar(10)",
    "SettingCode nvarchar(10)",
    "IsDeleted bit",
    "CreatedBy nvarchar(50)",
    "UpdatedBy nvarchar(50)",
    "NomsNumber nvarchar(10)",
    "Notes nvarchar(max)",
)
_FILLERS: Final = (
    ("AssessmentScore", "int"),
    ("ReviewDate", "datetime"),
    ("FeeAmount", "decimal(9,2)"),
    ("Flag", "bit"),
    ("RiskCode", "nvarchar(10)"),
    ("Comment", "nvarchar(200)"),
)


def _referral() -> Table:
    columns = [Column(*column.split(" ", 1)) for column in _REFERRAL]
    for at in range(REFERRAL_COLUMNS - len(columns)):
        word, kind = _FILLERS[at % len(_FILLERS)]
        columns.append(Column(f"{word}{at // len(_FILLERS) + 1:02}", kind))
    return Table("Referral", columns, len(_REFERRAL))


TABLES: Final = {
    table.name: table
    for table in (
        _table("Region", "RegionCode nvarchar(10)", "RegionName nvarchar(100)"),
        _table("Pdu", "PduCode nvarchar(10)", "PduName nvarchar(100)", "RegionCode nvarchar(10)"),
        _table(
            "ReportingTeam", "TeamCode nvarchar(10)", "TeamName nvarchar(100)",
            "PduCode nvarchar(10)",
        ),
        _referral(),
        _table(
            "ProgrammeGroup", "GroupID uniqueidentifier", "GroupCode nvarchar(20)",
            "RegionCode nvarchar(10)", "CohortCode nvarchar(10)", "SexCode nvarchar(4)",
            "IsLdc bit", "PduCode nvarchar(10)", "LocationCode nvarchar(20)",
            "LocationName nvarchar(100)", "StartDate datetime", "EarliestStartDate datetime",
            "CreateTs datetime", "CreatedBy nvarchar(50)", "UpdateTs datetime", "IsDeleted bit",
        ),
        _table(
            "GroupSlot", "SlotID uniqueidentifier", "GroupID uniqueidentifier", "DayNumber int",
            "StartTime nvarchar(5)",
        ),
        _table(
            "GroupAllocation", "AllocationID uniqueidentifier", "GroupID uniqueidentifier",
            "ReferralID uniqueidentifier", "AllocatedTs datetime", "AllocatedBy nvarchar(50)",
            "RemovedTs datetime",
        ),
        _table(
            "Session", "SessionID uniqueidentifier", "GroupID uniqueidentifier", "ModuleCode int",
            "SessionNumber int", "StartTs datetime", "EndTs datetime",
            "LocationName nvarchar(100)", "IsCatchup bit", "IsPlaceholder bit",
            "CreateTs datetime", "CreatedBy nvarchar(50)", "UpdateTs datetime",
        ),
        _table(
            "Attendance", "AttendanceID uniqueidentifier", "SessionID uniqueidentifier",
            "AllocationID uniqueidentifier", "OutcomeCode nvarchar(5)", "IsLegitimate bit",
            "RecordedTs datetime", "RecordedBy nvarchar(50)",
        ),
    )
}  # fmt: skip


def ddl(*, for_postgres: bool) -> list[str]:
    """CREATE statements in an order that may be run; nothing has a foreign key, as in a dump."""
    found = ["CREATE SCHEMA dbo"] if for_postgres else []
    for table in TABLES.values():
        kinds = [column.in_postgres if for_postgres else column.type for column in table.columns]
        lines = [f"    {c.name} {kind}" for c, kind in zip(table.columns, kinds, strict=True)]
        lines[0] += " NOT NULL PRIMARY KEY"
        lines[1:] = [f"{line} NULL" for line in lines[1:]]
        columns = ",\n".join(lines)
        found.append(f"CREATE TABLE dbo.{table.name} (\n{columns}\n)")
    return found
