"""A month of nights: IM changes, staff edit, hydration overwrites, and runs crash in between.

The whole configuration that ships is run, on the stand-in for the dump. After every night the sums
add up, every edit stands, nobody's delete is undone, each record has one row, and no history has
lost a line; at the end both sides are in step but for what staff own (I1 to I6, I8, I15).
"""

import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from msgspec.structs import replace

from config.interventions.sample.__main__ import load, pass_night
from config.interventions.sample.legacy import Legacy
from syncd import config_load, failpoints
from syncd.app import connect
from syncd.config import Config, PostgresSource, Secret
from syncd.errors import SyncdError
from syncd.progress import Silent
from syncd.reports import MorningReport, RunReport
from tests.conftest import REPOSITORY
from tests.crash.zygote import Ask, Zygote
from tests.interventions.people import People

PIPELINE: Final = REPOSITORY / "config" / "interventions" / "pipeline.yaml"
SCHEMAS: Final = REPOSITORY / "schemas" / "interventions"
NIGHTS: Final = 30
REFERRALS: Final = 50
# Where a night breaks off: before, between and after the writes of an aggregate, and at a commit.
BREAKS: Final = (
    "aggregate.copied",
    "aggregate.linked",
    "aggregate.read_back",
    "apply.written",
    "apply.recorded",
    "tx.commit",
    "tx.committed",
    "entity.add_up",
    "book.close",
)
_DOUBLED: Final = """
SELECT count(*) FROM (
    SELECT 1 FROM data_import_record GROUP BY entity_type, target_id HAVING count(*) > 1
    UNION ALL
    SELECT 1 FROM data_import_record GROUP BY entity_type, source_id HAVING count(*) > 1) AS twice
"""
# Half an aggregate: a referral of ours without a place or a status, or a row without a link.
_HALVES: Final = """
SELECT count(*) FROM referral r
WHERE NOT EXISTS (SELECT 1 FROM referral_reporting_location l WHERE l.referral_id = r.id)
   OR NOT EXISTS (SELECT 1 FROM referral_status_history h WHERE h.referral_id = r.id)
   OR NOT EXISTS (SELECT 1 FROM data_import_record d
                  WHERE d.entity_type = 'REFERRAL' AND d.target_id = r.id)
"""


class Month:
    """The two systems, the people, and the nights between."""

    def __init__(self, im_dsn: str, md_dsn: str, seed: int) -> None:
        self.im_dsn, self.md_dsn = im_dsn, md_dsn
        self.legacy = Legacy(REFERRALS, seed)
        self.people = People(md_dsn, seed)
        self.chance = random.Random(f"nights/{seed}")  # noqa: S311 - a test.
        environ = {"IM_ODBC": "Server=none", "MD_DSN": md_dsn, "SYNCD_LEDGER__LEASE_TTL_S": "0.3"}
        found = config_load.load(PIPELINE, environ)
        self.config: Config = replace(found, source=PostgresSource(dsn=Secret(im_dsn)))

    async def begin(self, numbers: Path) -> None:
        """Both databases, the ledger, and the lookup."""
        await load(self.legacy, self.im_dsn)
        connection = await asyncpg.connect(self.md_dsn)
        try:
            for name in ("manage_and_deliver.sql", "data_import_record.sql"):
                await connection.execute((SCHEMAS / name).read_text("utf-8"))
        finally:
            await connection.close()
        self._write(numbers)
        async with connect(self.config) as app:
            await app.init()
            await app.load_lookup("iaps_licreqnos", numbers)

    def _write(self, numbers: Path) -> None:
        lines = [f"{key},{number}\n" for key, number in self.legacy.numbers()]
        numbers.write_text("source_referral_id,licreqno\n" + "".join(lines), "utf-8")

    async def night(self, failpoint: str = "") -> RunReport | None:
        """One run; None where it broke off."""
        with failpoints.armed(failpoint) if failpoint else nullcontext():
            async with connect(self.config) as app:
                try:
                    return await app.run(None, accept_rewind=False, progress=Silent())
                except SyncdError:
                    return None

    async def morning(self) -> MorningReport:
        """``syncd report``."""
        async with connect(self.config) as app:
            return await app.report(None)

    async def assert_sound(self) -> None:
        """What must hold after every night, and after one that broke off."""
        await self.people.assert_kept()
        assert await self._value(_DOUBLED) == 0, "I4: a row or a record is linked twice"
        assert await self._value(_HALVES) == 0, "I6: half an aggregate"

    async def assert_in_step(self) -> None:
        """Both sides read in full: nothing is missing, extra or different but what staff own."""
        async with connect(self.config) as app:
            report = await app.verify(None)
        wrong = {
            (m.entity, m.kind, m.key, m.columns)
            for m in report.mismatches
            if m.kind in ("extra", "different")
        }
        assert wrong == set()

    async def _value(self, query: str) -> Any:
        connection = await asyncpg.connect(self.md_dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()


def assert_adds_up(report: RunReport) -> None:
    """I8, for each entity."""
    for entity in report.entities:
        assert entity.status == "completed", entity.notes
        assert entity.counts.seen == entity.counts.total(), entity
        assert entity.counts.failed == 0, entity


async def play(month: Month, zygote: Zygote, nights: int) -> None:
    """Nights with days between; every third run breaks off or is killed, and is begun again."""
    for night in range(nights):
        if night % 3 == 1:
            point = f"{month.chance.choice(BREAKS)}=raise:{month.chance.randrange(1, 4)}"
            await month.night(point)
            await month.assert_sound()
        if night % 6 == 5:
            zygote.run(Ask(config=month.config, delay_s=month.chance.uniform(0.0, 0.6)))
            await month.assert_sound()
        report = await month.night()
        assert report is not None
        assert_adds_up(report)
        await month.assert_sound()
        await month.people.work()
        await month.people.hydrate()
        if month.chance.random() < 0.9:  # now and then the same dump stands there again
            await pass_night(month.legacy, month.im_dsn)


@pytest.fixture
def month(make_database: Callable[[str], str]) -> Month:
    return Month(make_database("im"), make_database("md"), seed=1)


@pytest.mark.timeout(600)
async def test_thirty_nights_lose_double_and_overwrite_nothing(
    month: Month, tmp_path: Path
) -> None:
    await month.begin(tmp_path / "numbers.csv")
    with Zygote() as zygote:
        await play(month, zygote, NIGHTS)

    last = await month.night()
    again = await month.night()

    assert last is not None
    assert again is not None
    for entity in again.entities:
        counts = entity.counts
        assert counts.inserted + counts.updated + counts.deleted + counts.linked == 0, entity
    await month.assert_sound()
    await month.assert_in_step()
    report = await month.morning()
    for told in report.entities:
        explained = sum(reason.records for reason in told.reasons)
        named = ("skipped", "conflict", "invalid", "unsupported", "waiting", "failed")
        assert explained == sum(getattr(told.counts, name) for name in named)


async def test_the_account_of_the_people_can_fail(month: Month, tmp_path: Path) -> None:
    """Planted: an edit is overwritten, and a line of a history changed; both are found."""
    await month.begin(tmp_path / "numbers.csv")
    await month.night()
    await month.people.work()
    await month.people.assert_kept()
    connection = await asyncpg.connect(month.md_dsn)
    try:
        await connection.execute("UPDATE referral_status_history SET created_by = 'nobody'")
        with pytest.raises(AssertionError, match="history"):
            await month.people.assert_kept()
        await connection.execute("UPDATE referral SET setting = NULL, intervention_name = 'lost'")
        with pytest.raises(AssertionError, match="I2"):
            await month.people.assert_kept()
    finally:
        await connection.close()
