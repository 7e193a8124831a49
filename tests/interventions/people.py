"""People and services at M&D, and the account that is kept of what they typed.

Staff edit referrals, groups, sessions and slots, add statuses, end memberships and delete sessions.
Hydration overwrites what nDelius knows better, and bumps ``updated_at``, as it does in the real
system. Whatever either of them wrote must be found again after each night (I2, I3).
"""

import random
import uuid
from typing import Any, Final

import asyncpg
from msgspec import Struct

_COLUMNS: Final = {
    "referral": ("setting", "intervention_name"),
    "programme_group": ("delivery_location_name", "earliest_possible_start_date"),
    "session": ("location_name",),
    "session_attendance": ("created_by",),
}
_DATES: Final = frozenset({"earliest_possible_start_date"})
_SETTINGS: Final = ("CUSTODY", "REMAND", "PRE_RELEASE")
_STATUSES: Final = "SELECT id FROM referral_status_description ORDER BY id"
_HYDRATED: Final = """
UPDATE referral SET person_name = 'Hydrated ' || crn, sex = 'Not known',
    date_of_birth = DATE '1970-01-01', sentence_end_date = DATE '2030-01-01', event_number = 3,
    updated_at = now()
WHERE id = ANY($1::uuid[])
"""
_PLACED: Final = """
UPDATE referral_reporting_location SET region_name = 'Hydrated region', pdu_name = 'Hydrated unit',
    reporting_team = 'Hydrated team', updated_at = now()
WHERE referral_id = ANY($1::uuid[])
"""
_ASSESSED: Final = """
INSERT INTO referral_cohort_history (referral_id, cohort, created_by)
SELECT id, 'SEXUAL_OFFENCE', 'SYSTEM' FROM unnest($1::uuid[]) AS u (id)
"""
_TO_HYDRATE: Final = """
SELECT l.target_id FROM data_import_record l JOIN referral r ON r.id = l.target_id
WHERE l.entity_type = 'REFERRAL' AND r.person_name NOT LIKE 'Hydrated %' ORDER BY l.target_id
"""
_HISTORY: Final = """
SELECT 'status', id, referral_status_description_id::text, created_by, created_at
FROM referral_status_history
UNION ALL SELECT 'cohort', id, cohort, created_by, created_at FROM referral_cohort_history
"""


class Edit(Struct, frozen=True):
    """Where somebody typed something."""

    table: str
    id: uuid.UUID
    column: str


class People:
    """Everybody at M&D, for a month of nights."""

    def __init__(self, dsn: str, seed: int) -> None:
        self._dsn = dsn
        self._chance = random.Random(f"people/{seed}")  # noqa: S311 - a test.
        self.edits: dict[Edit, Any] = {}
        self.deleted: set[tuple[str, uuid.UUID]] = set()
        self.history: set[tuple[Any, ...]] = set()
        self.slots: dict[uuid.UUID, set[tuple[Any, ...]]] = {}

    async def work(self) -> None:
        """A day of edits; all of it in a transaction of its own, as an application would."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await self._type(connection)
            await self._add_status(connection)
            await self._move_slots(connection)
            await self._delete_session(connection)
        finally:
            await connection.close()

    async def hydrate(self) -> None:
        """What the events start: some of the referrals that are not hydrated yet."""
        connection = await asyncpg.connect(self._dsn)
        try:
            waiting = [row[0] for row in await connection.fetch(_TO_HYDRATE)]
            some = waiting[: max(5, len(waiting) // 2)]
            for statement in (_HYDRATED, _PLACED, _ASSESSED):
                await connection.execute(statement, some)
            for row in await connection.fetch("SELECT * FROM referral WHERE id = ANY($1)", some):
                for column in ("person_name", "sex", "date_of_birth", "event_number"):
                    self.edits[Edit("referral", row["id"], column)] = row[column]
        finally:
            await connection.close()

    async def assert_kept(self) -> None:
        """Every edit stands, nothing that staff deleted is back, no history has lost a line."""
        connection = await asyncpg.connect(self._dsn)
        try:
            for edit, value in self.edits.items():
                found = await connection.fetchrow(
                    f"SELECT {edit.column} FROM {edit.table} WHERE id = $1",  # noqa: S608 - ours.
                    edit.id,
                )
                assert found is not None, f"I3: {edit} is gone"
                assert found[0] == value, f"I2: {edit} was overwritten"
            for table, key in self.deleted:
                query = f"SELECT EXISTS (SELECT 1 FROM {table} WHERE id = $1)"  # noqa: S608 - ours.
                assert not await connection.fetchval(query, key), f"I3: {table} {key} is back"
            history = {tuple(row) for row in await connection.fetch(_HISTORY)}
            assert self.history <= history, "a line of a history was changed or removed"
            self.history = history
            for group, slots in self.slots.items():
                assert await _slots(connection, group) == slots, f"I2: slots of {group}"
        finally:
            await connection.close()

    # -- what they do ------------------------------------------------------------------------

    async def _type(self, connection: Any) -> None:
        for table, columns in _COLUMNS.items():
            for key in await self._some(connection, table, 2):
                column = self._chance.choice(columns)
                value = await self._typed(connection, table, column)
                statement = f"UPDATE {table} SET {column} = $2 WHERE id = $1 RETURNING {column}"  # noqa: S608
                stored = await connection.fetchval(statement, key, value)
                self.edits[Edit(table, key, column)] = stored

    async def _typed(self, connection: Any, table: str, column: str) -> Any:
        if column == "setting":
            return self._chance.choice(_SETTINGS)
        if column in _DATES:
            return await connection.fetchval(
                "SELECT DATE '2027-01-01' + $1::integer", self._chance.randrange(300)
            )
        return f"typed {table} {self._chance.randrange(10**6)}"

    async def _add_status(self, connection: Any) -> None:
        statuses = [row[0] for row in await connection.fetch(_STATUSES)]
        for key in await self._some(connection, "referral", 2):
            await connection.execute(
                "INSERT INTO referral_status_history "
                "(referral_id, referral_status_description_id, created_by) VALUES ($1, $2, $3)",
                key,
                self._chance.choice(statuses),
                "a.person",
            )

    async def _move_slots(self, connection: Any) -> None:
        for group in await self._some(connection, "programme_group", 1):
            await connection.execute(
                "INSERT INTO programme_group_session_slot "
                "(programme_group_id, day_of_week, start_time) VALUES ($1, 'SATURDAY', '07:30')",
                group,
            )
            self.slots[group] = await _slots(connection, group)

    async def _delete_session(self, connection: Any) -> None:
        """One that nobody has attended; what others remember of it is forgotten with it."""
        key = await connection.fetchval(
            "SELECT id FROM session s WHERE NOT EXISTS "
            "(SELECT 1 FROM session_attendance a WHERE a.session_id = s.id) ORDER BY id LIMIT 1"
        )
        if key is not None:
            await connection.execute("DELETE FROM session WHERE id = $1", key)
            self.deleted.add(("session", key))
            self.edits = {e: v for e, v in self.edits.items() if e.id != key}

    async def _some(self, connection: Any, table: str, number: int) -> list[uuid.UUID]:
        keys = [row[0] for row in await connection.fetch(f"SELECT id FROM {table} ORDER BY id")]  # noqa: S608
        return self._chance.sample(keys, min(number, len(keys)))


async def _slots(connection: Any, group: uuid.UUID) -> set[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT id, day_of_week, start_time FROM programme_group_session_slot "
        "WHERE programme_group_id = $1",
        group,
    )
    return {tuple(row) for row in rows}
