"""Whole nights from a stand-in behind ODBC: dumps that follow each other, and those that do not."""

from collections.abc import Callable

import pytest

from syncd.app import connect
from syncd.config import Config, Entity, PostgresTarget, Secret, SqlServerSource
from syncd.progress import Silent
from syncd.reports import EntityReport
from syncd.sources import odbc_driver
from tests.odbc.world import asked, config_of, run

THINGS = "CREATE TABLE things AS SELECT n AS id, 'n' || n AS name FROM generate_series(1, 200) AS n"


class Nights:
    """A stand-in with dumps, and a target that is kept in step with it."""

    def __init__(self, source_dsn: str, target_dsn: str) -> None:
        self.source_dsn = source_dsn
        self.target_dsn = target_dsn
        self.config = Config(
            pipeline="things",
            source=config_of(source_dsn),
            target=PostgresTarget(dsn=Secret(target_dsn)),
            entities={"things": Entity(from_="things", key=("id",), into="public.copy")},
        )

    async def dump(self, moment: str, *statements: str) -> None:
        """The next dump is restored."""
        name = self.source_dsn.rpartition("/")[2]
        await run(self.source_dsn, *statements, f"COMMENT ON DATABASE \"{name}\" IS '{moment}'")

    async def init(self) -> None:
        """``syncd init``."""
        async with connect(self.config) as app:
            await app.init()

    async def night(self, *, accept_rewind: bool = False) -> EntityReport:
        """``syncd run``."""
        async with connect(self.config) as app:
            report = await app.run(None, accept_rewind=accept_rewind, progress=Silent())
        return report.entities[0]


@pytest.fixture
async def nights(odbc_dsn: str, make_database: Callable[[str], str]) -> Nights:
    """After the first night."""
    world = Nights(odbc_dsn, make_database("target"))
    await world.dump("2026-09-01 02:00:00", THINGS)
    await world.init()
    first = await world.night()
    assert (first.status, first.counts.inserted) == ("completed", 200)
    return world


async def test_the_same_dump_again_is_no_work(nights: Nights) -> None:
    """And it says so."""
    again = await nights.night()
    assert (again.status, again.counts.unchanged, again.counts.total()) == ("completed", 200, 200)
    assert again.notes == ("the same content as last time: nothing was read",)


async def test_the_next_dump_brings_what_changed(nights: Nights) -> None:
    """Inserts, updates and deletes; a session in the source outlives no night."""
    await nights.dump(
        "2026-09-02 02:00:00",
        "UPDATE things SET name = 'other' WHERE id = 5",
        "DELETE FROM things WHERE id = 6",
        "INSERT INTO things VALUES (201, 'new')",
    )
    counts = (await nights.night()).counts
    assert (counts.inserted, counts.updated, counts.deleted, counts.unchanged) == (1, 1, 1, 198)
    copy = await asked(nights.target_dsn, "SELECT name FROM copy WHERE id IN (5, 6, 201)")
    assert sorted(row["name"] for row in copy) == ["new", "other"]
    left = await asked(
        nights.source_dsn,
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()",
    )
    assert left == []


async def test_an_older_dump_is_refused_until_it_is_accepted(nights: Nights) -> None:
    """Case 41: nothing is done, and what to say is told."""
    older = "UPDATE things SET name = 'older' WHERE id = 5"
    await nights.dump("2026-08-31 02:00:00", older)
    refused = await nights.night()
    assert refused.status == "refused"
    assert "--accept-rewind" in refused.notes[0]
    accepted = await nights.night(accept_rewind=True)
    assert (accepted.status, accepted.counts.updated) == ("completed", 1)


async def test_an_empty_table_deletes_nothing(nights: Nights) -> None:
    """Case 42."""
    await nights.dump("2026-09-02 02:00:00", "TRUNCATE things")
    await nights.night()
    assert len(await asked(nights.target_dsn, "SELECT 1 FROM copy")) == 200


async def test_validate_says_that_the_driver_manager_is_missing(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what to install."""

    def lacking() -> odbc_driver.Library:
        raise odbc_driver._lacking(ImportError("libodbc.so.2: cannot open shared object file"))

    monkeypatch.setattr(odbc_driver, "library", lacking)
    config = Config(
        pipeline="things",
        source=SqlServerSource(server="old", database="IM", driver="freetds"),
        target=PostgresTarget(dsn=Secret(pg_dsn)),
        entities={"things": Entity(from_="things", key=("id",), into="public.copy")},
    )
    async with connect(config) as app:
        checks = await app.validate()
    (error,) = [check.message for check in checks if check.level == "error"]
    assert "install libodbc2" in error
