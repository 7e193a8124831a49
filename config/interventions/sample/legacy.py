"""The legacy system in memory: its rows, and what people there do from night to night.

Everything follows from the seed and the number of the night. The rows are as dirty as the team
found them: blanks around names and codes, lower case, unknown codes, missing teams, times of
update that are empty, or older than the change; and 1900-01-01 where nobody knew a birthday.
"""

import random
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from config.interventions.sample.tables import TABLES

Value: TypeAlias = str | int | datetime | None
Row: TypeAlias = list[Value]

_NAMESPACE: Final = uuid.UUID("6d1c1bb0-0c84-5d5b-9a0f-1f9b5f0a1e01")
_BEGAN: Final = datetime(2023, 1, 2)  # noqa: DTZ001 - the legacy system has local times only.
_DAYS: Final = 1400
_NO_BIRTHDAY: Final = datetime(1900, 1, 1)  # noqa: DTZ001 - as above.
# SQL Server's datetime has 1/300 s: these milliseconds it keeps as they are.
_MILLISECONDS: Final = (0, 3, 7)
LOOKUP_BEFORE: Final = datetime(2026, 2, 1)  # noqa: DTZ001 - as above.

FORENAMES: Final = (
    *("Ada", "Bjørn", "Chloë", "Dafydd", "Eilidh", "Farah", "Gwen", "Hamish", "Iolo", "Jürgen"),
    *("Kofi", "Li", "Márta", "Niamh", "Oisín", "Priya", "Quentin", "Rhys", "Siân", "Tomasz"),
)
SURNAMES: Final = (
    *("Abbott", "Brontë", "Czarnecki", "D'Souza", "Evans", "Fitzgerald", "Gruffydd", "Hughes"),
    *("Iqbal", "Jones-Lee", "Kaur", "Lewis", "McAllister", "Núñez", "O'Neill", "Price", "Quinn"),
)
STATUSES: Final = ("AA", "AL", "SN", "DF", "DP", "SC", "OP", "BR", "RC", "RT", "PC", "WD")
_MODULE_SESSIONS: Final = {1: 2, 2: 4, 3: 5, 4: 5, 5: 5, 6: 4, 7: 2}


class Places:
    """Regions, delivery units and teams by code; invented unless others are given."""

    def __init__(
        self,
        regions: Sequence[tuple[str, str]] = (),
        pdus: Sequence[tuple[str, str, str]] = (),
        teams: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        self.regions = list(regions) or [(f"R{at:02}", f"Region {at}") for at in range(1, 9)]
        codes = [code for code, _ in self.regions]
        self.pdus = list(pdus) or [
            (f"P{at:03}", f"Delivery unit {at}", codes[at % len(codes)]) for at in range(1, 41)
        ]
        units = [code for code, _, _ in self.pdus]
        self.teams = list(teams) or [
            (f"T{at:04}", f"Team {at}", units[at % len(units)]) for at in range(1, 121)
        ]


class Legacy:
    """The system with ``referrals`` referrals and a fifth as many groups, before the first night.

    ``tables`` holds, by table and key, the columns with a meaning; ``filler`` gives the others.
    """

    def __init__(self, referrals: int, seed: int = 1, places: Places | None = None) -> None:
        self.seed = seed
        self.places = places or Places()
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in TABLES}
        self.night = 0
        self._made = dict.fromkeys(TABLES, 0)
        for name, rows in (
            ("Region", self.places.regions),
            ("Pdu", self.places.pdus),
            ("ReportingTeam", self.places.teams),
        ):
            self.tables[name] = {str(row[0]): [*row] for row in rows}
        chance = random.Random(f"{seed}/begin")  # noqa: S311 - it is a sample.
        for _ in range(referrals):
            self.refer(chance)
        for _ in range(referrals // 5):
            self.gather(chance)

    @property
    def finished_at(self) -> datetime:
        """When the dump of this night was finished."""
        return _BEGAN + timedelta(days=_DAYS + self.night, hours=5)

    # -- what happens there ------------------------------------------------------------------

    def refer(self, chance: random.Random) -> str:
        """A new referral; its id."""
        number = self._next("Referral")
        key = self._id("Referral", number)
        forename, surname = chance.choice(FORENAMES), chance.choice(SURNAMES)
        created = self._moment(chance)
        sourced = "REQ" if chance.random() < 0.8 else "LIC"
        row: Row = [
            key,
            f"X{100000 + number:06}",
            forename,
            surname,
            chance.choice(("M", "M", "M", "F")),
            datetime(1950 + number % 55, 1 + number % 12, 1 + number % 28),  # noqa: DTZ001
            created,
            None if chance.random() < 0.1 else created + timedelta(days=chance.randrange(30)),
            sourced,
            f"{2500000000 + number}",
            "SO" if chance.random() < 0.1 else "GO",
            chance.choice(STATUSES) if chance.random() < 0.3 else "AA",
            created,
            chance.choice(self.places.teams)[0],
            "BC",
            "COM",
            0,
            f"user{chance.randrange(50)}",
            None,
            f"A{number % 10000:04}BC",
            None,
        ]
        self.tables["Referral"][key] = self._soiled(chance, row)
        return key

    def gather(self, chance: random.Random) -> str:
        """A new group with slots, members, sessions and attendance; its id."""
        number = self._next("ProgrammeGroup")
        key = self._id("ProgrammeGroup", number)
        pdu, _, region = chance.choice(self.places.pdus)
        created = self._moment(chance)
        self.tables["ProgrammeGroup"][key] = [
            key, f"BC{number:06}", region, "SO" if chance.random() < 0.1 else "GO",
            chance.choice(("M", "F", "X")), int(chance.random() < 0.2), pdu, f"L{number % 300:03}",
            f"Office {number % 300}", created + timedelta(days=30), created + timedelta(days=20),
            created, f"user{chance.randrange(50)}", None, 0,
        ]  # fmt: skip
        for day in sorted(chance.sample(range(1, 6), chance.choice((1, 2, 2, 3)))):
            self.slot(chance, key, day)
        members = [self.allocate(chance, key) for _ in range(chance.choice((2, 3, 3, 4)))]
        session = self.hold(chance, key)
        for member in filter(None, members):
            self.attend(chance, session, member)
        return key

    def slot(self, chance: random.Random, group: str, day: int) -> None:
        """A weekly time of a group."""
        key = self._id("GroupSlot", self._next("GroupSlot"))
        at = f"{chance.randrange(9, 18):02}:{chance.choice((0, 15, 30, 45)):02}"
        self.tables["GroupSlot"][key] = [key, group, day, at]

    def allocate(self, chance: random.Random, group: str) -> str | None:
        """A referral that has no group yet joins one; None when there is none left."""
        free = self._next("GroupAllocation")
        referral = self._id("Referral", free)
        if referral not in self.tables["Referral"]:
            return None
        key = self._id("GroupAllocation", free)
        at = self._moment(chance)
        self.tables["GroupAllocation"][key] = [
            key, group, referral, at, f"user{chance.randrange(50)}", None,
        ]  # fmt: skip
        return key

    def hold(self, chance: random.Random, group: str) -> str:
        """A session of a group; its id."""
        key = self._id("Session", self._next("Session"))
        starts, module = self._moment(chance), chance.randrange(2, 7)
        self.tables["Session"][key] = [
            key, group, module, chance.randrange(1, _MODULE_SESSIONS[module] + 1), starts,
            starts + timedelta(minutes=150), "Room 1", 0, 0, starts - timedelta(days=7),
            f"user{chance.randrange(50)}", None,
        ]  # fmt: skip
        return key

    def attend(self, chance: random.Random, session: str, allocation: str) -> None:
        """Whether a member came."""
        key = self._id("Attendance", self._next("Attendance"))
        outcome = chance.choice(("ATTC", "ATTC", "AFTC", "UAAB"))
        legitimate = int(chance.random() < 0.3) if outcome == "UAAB" else None
        self.tables["Attendance"][key] = [
            key, session, allocation, outcome, legitimate, self._moment(chance),
            f"user{chance.randrange(50)}",
        ]  # fmt: skip

    # -- what the import gets beside the dump --------------------------------------------------

    def numbers(self) -> Iterator[tuple[str, str]]:
        """Licence and requirement numbers by referral: none, one, or several for one."""
        for key, row in self.tables["Referral"].items():
            created = row[6]
            assert isinstance(created, datetime)
            if created >= LOOKUP_BEFORE:
                continue
            kind = random.Random(f"{self.seed}/numbers/{key}").random()  # noqa: S311 - a sample.
            for at in range(0 if kind < 0.03 else 2 if kind < 0.06 else 1):
                yield key, f"{3100000000 + int(key[:6], 16)}{at}"

    def whole(self, table: str, row: Row) -> Row:
        """The row with all its columns."""
        missing = TABLES[table].columns[len(row) :]
        if not missing:
            return row
        number = int(str(row[0])[:8], 16)
        return [*row, *(_filler(column.type, number + at) for at, column in enumerate(missing))]

    # -- the rest ----------------------------------------------------------------------------

    def _next(self, table: str) -> int:
        self._made[table] += 1
        return self._made[table]

    def _id(self, table: str, number: int) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"{self.seed}/{table}/{number}"))

    def _moment(self, chance: random.Random) -> datetime:
        milliseconds = chance.randrange(100) * 10 + chance.choice(_MILLISECONDS)
        return _BEGAN + timedelta(
            days=chance.randrange(_DAYS),
            seconds=chance.randrange(8 * 3600, 18 * 3600),
            milliseconds=milliseconds,
        )

    @staticmethod
    def _soiled(chance: random.Random, row: Row) -> Row:
        """The row as somebody may have typed it."""
        kind = chance.random()
        if kind < 0.02:
            row[1], row[2], row[3] = f" {str(row[1]).lower()} ", f" {row[2]}  ", f"{row[3]} "
        elif kind < 0.03:
            row[4] = f" {str(row[4]).lower()} "
        elif kind < 0.035:
            row[4] = "?"
        elif kind < 0.04:
            row[5] = _NO_BIRTHDAY
        elif kind < 0.05:
            row[8] = "???"
        elif kind < 0.065:
            row[13] = None
        elif kind < 0.07:
            row[11] = "ZZ"
        elif kind < 0.073:
            row[1] = ""
        elif kind < 0.083:
            row[16] = 1
        return row


def _filler(kind: str, number: int) -> Value:
    """A value of a column that nobody needs."""
    if number % 3 == 0:
        return None
    if kind == "bit":
        return number % 2
    if kind == "int":
        return number % 1000
    if kind == "datetime":
        return _BEGAN + timedelta(days=number % _DAYS)
    if kind.startswith("decimal"):
        return f"{number % 100000 / 100:.2f}"
    return f"c{number % 97}"
