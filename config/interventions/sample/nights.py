"""What changes in a night, as statements that SQL Server and PostgreSQL both take.

A hundredth of the referrals is edited, and the time of update says so only most of the time; some
come, some are marked as deleted, a few vanish; groups move their slots, members come and go.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from config.interventions.sample.legacy import STATUSES, SURNAMES, Legacy, Row, Value
from config.interventions.sample.tables import TABLES

_PLACES: Final = {
    name: {column.name: at for at, column in enumerate(table.columns)}
    for name, table in TABLES.items()
}


class Night:
    """One night of a ``Legacy``; ``statements`` may be read once and change it on the way.

    ``national`` writes texts as SQL Server wants them where they are not ASCII.
    """

    def __init__(self, legacy: Legacy, *, national: bool) -> None:
        legacy.night += 1
        self._legacy = legacy
        self._national = national
        self._chance = random.Random(f"{legacy.seed}/night/{legacy.night}")  # noqa: S311 - a sample

    def statements(self) -> Iterator[str]:
        """All changes, in order."""
        referrals = len(self._legacy.tables["Referral"])
        for key in self._some("Referral", referrals // 100):
            yield self._edited(key)
        for key in self._some("Referral", referrals // 2000):
            yield self._set("Referral", key, IsDeleted=1)
        for key in self._some("Referral", referrals // 5000, least=0):
            yield self._gone("Referral", key)
        yield from self._new(
            "Referral", lambda: self._legacy.refer(self._chance), referrals // 1000
        )
        yield from self._groups()

    def _groups(self) -> Iterator[str]:
        legacy, chance = self._legacy, self._chance
        groups = len(legacy.tables["ProgrammeGroup"])
        if not groups:
            return
        for key in self._some("GroupSlot", groups // 200):
            yield self._set("GroupSlot", key, StartTime=f"{chance.randrange(9, 18):02}:05")
        for key in self._some("Session", groups // 200):
            starts = legacy.tables["Session"][key][_PLACES["Session"]["StartTs"]]
            assert isinstance(starts, datetime)
            moved = starts + timedelta(days=7)
            yield self._set("Session", key, StartTs=moved, EndTs=moved + timedelta(minutes=150))
        for key in self._some("GroupAllocation", groups // 200):
            yield self._set("GroupAllocation", key, RemovedTs=legacy.finished_at)
        before = {name: len(rows) for name, rows in legacy.tables.items()}
        for _ in range(max(1, groups // 500)):
            legacy.gather(chance)
        for name in ("ProgrammeGroup", "GroupSlot", "GroupAllocation", "Session", "Attendance"):
            for row in [*legacy.tables[name].values()][before[name] :]:
                yield insert(name, [legacy.whole(name, row)], national=self._national)

    def _edited(self, key: str) -> str:
        chance = self._chance
        kinds: Sequence[dict[str, Value]] = (
            {"StatusCode": chance.choice(STATUSES), "StatusTs": self._legacy.finished_at},
            {"TeamCode": chance.choice(self._legacy.places.teams)[0]},
            {"Surname": chance.choice(SURNAMES)},
            {"SourcedFromID": f"{2600000000 + chance.randrange(10**8)}"},
        )
        changes = dict(chance.choice(kinds))
        if chance.random() < 0.7:
            changes |= {"UpdateTs": self._legacy.finished_at, "UpdatedBy": "user7"}
        return self._set("Referral", key, **changes)

    def _some(self, table: str, number: int, *, least: int = 1) -> list[str]:
        keys = [*self._legacy.tables[table]]
        return self._chance.sample(keys, min(len(keys), max(least, number)))

    def _set(self, table: str, key: str, **values: Value) -> str:
        row = self._legacy.tables[table][key]
        for name, value in values.items():
            row[_PLACES[table][name]] = value
        told = ", ".join(f"{name} = {self._literal(value)}" for name, value in values.items())
        return f"UPDATE dbo.{table} SET {told} WHERE {TABLES[table].key} = '{key}'"  # noqa: S608

    def _gone(self, table: str, key: str) -> str:
        del self._legacy.tables[table][key]
        return f"DELETE FROM dbo.{table} WHERE {TABLES[table].key} = '{key}'"  # noqa: S608

    def _new(self, table: str, make: Callable[[], str], number: int) -> Iterator[str]:
        for _ in range(max(1, number)):
            row = self._legacy.tables[table][make()]
            yield insert(table, [self._legacy.whole(table, row)], national=self._national)

    def _literal(self, value: Value) -> str:
        return literal(value, national=self._national)


def insert(table: str, rows: Sequence[Row], *, national: bool) -> str:
    """One INSERT; SQL Server takes at most 1,000 rows in it."""
    columns = ", ".join(column.name for column in TABLES[table].columns)
    lines = ",\n".join(
        f"({', '.join(literal(value, national=national) for value in row)})" for row in rows
    )
    return f"INSERT INTO dbo.{table} ({columns}) VALUES\n{lines}"


def literal(value: Value, *, national: bool) -> str:
    """A value as SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        return f"'{value.isoformat(timespec='milliseconds')}'"
    text = value.replace("'", "''")
    return f"N'{text}'" if national and not text.isascii() else f"'{text}'"
