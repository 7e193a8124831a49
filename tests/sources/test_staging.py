"""Staging tables, end to end: a dump is copied beside the target whole, or the last one stays."""

import asyncio
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import pytest

from syncd.config import Entity, Lookup, Needed, StagedTable, Staging
from syncd.errors import DriftError, SourceError, SyncdError, TransientError
from tests.pipeline.world import MakeDatabase, World, entity_of, make_config, told

CASES: Final = "SELECT id, status FROM cases"
READ: Final = "SELECT c.id, c.status FROM staging.cases c"
NOTES: Final = "SELECT id, text FROM notes"
WAITERS: Final = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
SESSIONS: Final = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'syncd'"
)
DUMP_1: Final = "2026-03-01 05:45:00"
DUMP_2: Final = "2026-03-02 05:45:00"


class StagedWorld(World):
    """A world with staging tables; a new dump is a new comment at the legacy database."""

    folder: Path

    async def dump(self, moment: str, *statements: str) -> None:
        """Another dump is restored."""
        await self.legacy(*statements, f"COMMENT ON DATABASE {await self._name()} IS '{moment}'")

    async def _name(self) -> str:
        return f'"{(await self.legacy_rows("SELECT current_database()"))[0][0]}"'

    def query(self, name: str, text: str) -> str:
        """A query's file."""
        path = self.folder / f"{name}.sql"
        path.write_text(text, "utf-8")
        return str(path)

    def stage(self, **more: object) -> None:
        """Change the staging of the configuration."""
        assert self.config.staging is not None
        staging = msgspec.structs.replace(self.config.staging, **more)
        self.config = msgspec.structs.replace(self.config, staging=staging)


@pytest.fixture
async def world(make_database: MakeDatabase, tmp_path: Path) -> StagedWorld:
    """Two records in the first dump, staged by no night yet."""
    made = StagedWorld(make_config(make_database("legacy"), make_database("target"), {}))
    made.folder = tmp_path
    made.config = msgspec.structs.replace(
        made.config,
        entities={
            "cases": Entity(from_=made.query("cases", READ), key=("id",), into="public.cases")
        },
        staging=Staging(
            tables={"cases": StagedTable(from_=made.query("stage_cases", CASES), key=("id",))}
        ),
    )
    await made.dump(
        DUMP_1,
        "CREATE TABLE cases (id int PRIMARY KEY, status text, other text)",
        "INSERT INTO cases VALUES (1, 'A', 'x'), (2, E'tab\\tback\\\\slash', NULL)",
    )
    await made.init()
    return made


async def test_a_dump_goes_through_its_staging_table_to_the_target(world: StagedWorld) -> None:
    """The rows arrive, and the report tells how many were staged of which table."""
    night = await world.night()
    assert told(night) == {"seen": 2, "inserted": 2}
    assert await world.rows("SELECT id, status FROM cases ORDER BY id") == [
        (1, "A"),
        (2, "tab\tback\\slash"),
    ]
    assert entity_of(night).notes == ("staged cases 2 rows",)


async def test_the_same_dump_is_neither_copied_nor_read_again(world: StagedWorld) -> None:
    """Nothing is staged, nothing is written, and the report says why (case 40)."""
    await world.night()
    before = await world.rows("SELECT * FROM staging.staged_table")
    writes = await world.updates_of("cases")
    night = await world.night()
    assert told(night) == {"seen": 2, "unchanged": 2}
    assert "not copied again" in entity_of(night).notes[0]
    assert any("same content" in note for note in entity_of(night).notes)
    assert await world.rows("SELECT * FROM staging.staged_table") == before
    assert await world.updates_of("cases") == writes


async def test_another_dump_is_copied_and_only_what_differs_flows(world: StagedWorld) -> None:
    """A row is new, one is changed, one is gone; the last staging table is no more."""
    await world.night()
    await world.dump(
        DUMP_2,
        "UPDATE cases SET status = 'B', other = 'ignored' WHERE id = 1",
        "INSERT INTO cases VALUES (3, 'C', 'x')",
    )
    assert told(await world.night()) == {"seen": 3, "inserted": 1, "updated": 1, "unchanged": 1}
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'staging'::regnamespace ORDER BY 1"
    assert [name for (name,) in await world.rows(tables)] == [
        "cases",
        "cases_key",
        "lookup_needed",
        "lookup_needed_pkey",
        "staged_table",
        "staged_table_pkey",
    ]


async def test_another_dump_with_the_same_rows_changes_nothing(world: StagedWorld) -> None:
    """Its rows are read, the table stays, and its entity has nothing to look for."""
    await world.night()
    oid = "SELECT 'staging.cases'::regclass::oid"
    before = await world.rows(oid)
    await world.dump(DUMP_2, "UPDATE cases SET other = 'not asked for' WHERE id = 2")
    night = await world.night()
    assert told(night) == {"seen": 2, "unchanged": 2}
    assert entity_of(night).notes == (
        "staged cases 2 rows (another dump with the same rows)",
        "the same content as last time: nothing was read",
    )
    assert await world.rows(oid) == before
    assert "not copied again" in entity_of(await world.night()).notes[0]
    await world.dump("2026-03-03 05:45:00", "UPDATE cases SET status = 'B' WHERE id = 1")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}


async def test_what_a_query_reads_beside_the_staging_tables_counts_as_content(
    world: StagedWorld,
) -> None:
    """A table of the target's own that changes brings its rows back, with the same dump."""
    await world.staff("CREATE TABLE names (status text, name text)")
    await world.staff("INSERT INTO names VALUES ('A', 'first')")
    text = (
        "SELECT c.id, coalesce(n.name, c.status) AS status FROM staging.cases c "
        "LEFT JOIN public.names n ON n.status = c.status"
    )
    world.query("cases", text)
    await world.night()
    same = "the same content as last time: nothing was read"
    assert same in entity_of(await world.night()).notes
    await world.staff("UPDATE names SET name = 'second'")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}
    assert same in entity_of(await world.night()).notes
    # What cannot be hashed proves nothing: the entity is read each time.
    await world.staff("ALTER TABLE names ADD COLUMN more json")
    for _ in range(2):
        night = await world.night()
        assert told(night) == {"seen": 2, "unchanged": 2}
        assert same not in entity_of(night).notes


async def test_a_book_without_digests_gets_them(world: StagedWorld) -> None:
    """As an earlier version made it: the next dump is copied once more."""
    await world.night()
    await world.staff("ALTER TABLE staging.staged_table DROP COLUMN digest")
    await world.dump(DUMP_2)
    assert told(await world.night()) == {"seen": 2, "unchanged": 2}
    await world.dump("2026-03-03 05:45:00")
    assert "same rows" in entity_of(await world.night()).notes[0]


async def test_another_query_stages_the_same_dump_anew(world: StagedWorld) -> None:
    """The text of a query is part of what a table was filled from."""
    await world.night()
    world.query("stage_cases", "SELECT id, lower(status) AS status FROM cases")
    night = await world.night()
    assert told(night) == {"seen": 2, "updated": 1, "unchanged": 1}
    assert entity_of(night).notes == ("staged cases 2 rows",)


async def test_a_dump_that_goes_back_is_refused(world: StagedWorld) -> None:
    """An older copy was restored: nothing flows without consent (case 41)."""
    await world.dump(DUMP_2)
    await world.night()
    await world.dump(DUMP_1, "DELETE FROM cases WHERE id = 1")
    night = await world.night()
    assert entity_of(night).status == "refused"
    assert "--accept-rewind" in entity_of(night).notes[0]
    assert await world.value("SELECT count(*) FROM cases") == 2
    assert told(await world.night(accept_rewind=True))["seen"] >= 1


async def test_a_copy_that_breaks_off_leaves_the_last_dump_standing(world: StagedWorld) -> None:
    """The source fails in the middle of the second night; nothing is deleted (cases 15, 42)."""
    await world.night()
    before = await world.rows("SELECT * FROM staging.staged_table")
    world.query("stage_cases", "SELECT id, (6 / (2 - id))::text AS status FROM cases")
    await world.dump(DUMP_2, "DELETE FROM cases WHERE id = 1", "INSERT INTO cases VALUES (3, 'C')")
    with pytest.raises(SourceError, match="reading a query of the source"):
        await world.night()
    assert await world.rows("SELECT * FROM staging.staged_table") == before
    assert await world.rows("SELECT id FROM staging.cases ORDER BY 1") == [(1,), (2,)]
    assert await world.value("SELECT count(*) FROM cases") == 2


async def test_a_dump_that_is_swapped_while_it_is_read_is_given_up(world: StagedWorld) -> None:
    """Between the first row and the last another dump was restored (case 40)."""
    await world.night()
    waiting = "SELECT id, status FROM cases, pg_advisory_xact_lock_shared(7)"
    world.query("stage_cases", waiting)
    gate = await asyncpg.connect(world.config.source.dsn.value)  # type: ignore[union-attr]
    try:
        await gate.execute("SELECT pg_advisory_lock(7)")
        night = asyncio.ensure_future(world.night())
        while not await gate.fetchval(WAITERS):
            pass
        await world.dump(DUMP_2, "DELETE FROM cases")
        await gate.execute("SELECT pg_advisory_unlock(7)")
        with pytest.raises(SourceError, match="another dump was restored"):
            await night
    finally:
        await gate.close()
    assert await world.value("SELECT count(*) FROM staging.cases") == 2
    assert await world.value("SELECT count(*) FROM cases") == 2


async def test_a_lost_column_stops_the_entities_of_its_table_and_no_other(
    world: StagedWorld,
) -> None:
    """The entity that reads the table is refused, the other goes on (case 49)."""
    await world.legacy(
        "CREATE TABLE notes (id int, text text)", "INSERT INTO notes VALUES (1, 'n')"
    )
    notes = Entity(
        from_=world.query("notes", "SELECT * FROM staging.notes"), key=("id",), into="public.notes"
    )
    world.config = msgspec.structs.replace(
        world.config, entities={**world.config.entities, "notes": notes}
    )
    assert world.config.staging is not None
    world.stage(
        tables={
            **world.config.staging.tables,
            "notes": StagedTable(from_=world.query("stage_notes", NOTES)),
        }
    )
    await world.init()
    await world.night()
    await world.dump(
        DUMP_2, "ALTER TABLE notes DROP COLUMN text", "INSERT INTO cases VALUES (3, 'C')"
    )
    night = await world.night()
    assert entity_of(night, "notes").status == "refused"
    assert "staging table notes" in entity_of(night, "notes").notes[0]
    assert told(night, "cases") == {"seen": 3, "inserted": 1, "unchanged": 2}


async def test_a_reader_of_the_tables_puts_the_swap_off(world: StagedWorld) -> None:
    """Somebody looks at the staging tables: the night is given up, not the look."""
    await world.night()
    await world.dump(DUMP_2, "UPDATE cases SET status = 'B' WHERE id = 1")
    target = msgspec.structs.replace(world.config.target, lock_timeout_s=0.1)
    world.config = msgspec.structs.replace(world.config, target=target)
    reader = await asyncpg.connect(target.dsn.value)
    try:
        async with reader.transaction():
            await reader.execute("LOCK TABLE staging.cases IN ACCESS SHARE MODE")
            with pytest.raises(TransientError, match="being read by somebody"):
                await world.night()
    finally:
        await reader.close()
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}


async def test_a_plan_while_a_run_reads_cannot_empty_its_tables(world: StagedWorld) -> None:
    """A run holds the tables that it reads, and the source no more; a swap has to wait."""
    async with world.app() as app:
        source = app._site.source(await app._site.hasher(), sequence=1)
        prepared = await app._site.prepared()
        plan = prepared.plans["cases"]
        async with source.open([plan]) as snapshot:
            assert await world.legacy_rows(SESSIONS) == [(0,)]
            await world.dump(DUMP_2, "DELETE FROM cases WHERE id = 1")
            target = msgspec.structs.replace(world.config.target, lock_timeout_s=0.1)
            world.config = msgspec.structs.replace(world.config, target=target)
            async with world.app() as other:
                with pytest.raises(SyncdError, match="being read by somebody"):
                    await other.plan(None, samples=0)
            found: list[int] = []

            async def emit(reads: object) -> None:
                found.append(len(reads))  # type: ignore[arg-type]

            assert await snapshot.read(plan, emit, found.append) == 2  # type: ignore[arg-type]
        await source.close()
    assert sum(found) == 2


async def test_validate_leaves_nothing_behind(world: StagedWorld) -> None:
    """Columns are known from the source's queries before any dump was staged."""
    async with world.app() as app:
        checks = await app.validate()
    assert [check for check in checks if check.level == "error"] == []
    assert await world.value("SELECT to_regnamespace('staging')") is None


async def test_a_lookup_that_changes_brings_its_rows_back(world: StagedWorld) -> None:
    """The lookup and its boundaries are part of what an unchanged dump is compared by."""
    query = (
        "SELECT c.id, coalesce(n.answer, 'none') AS status, w.needed_before IS NOT NULL AS bound "
        "FROM staging.cases c LEFT JOIN staging.answers n ON n.id_text = c.id::text "
        "JOIN staging.lookup_needed w ON w.name = 'answers'"
    )
    world.query("cases", query)
    world.stage(lookups={"answers": Lookup(columns=("id_text", "answer"))})
    await world.init("cases")
    assert told(await world.night()) == {"seen": 2, "inserted": 2}
    await world.staff("INSERT INTO staging.answers (id_text, answer) VALUES ('2', 'found')")
    assert told(await world.night()) == {"seen": 2, "updated": 1, "unchanged": 1}
    assert await world.value("SELECT status FROM cases WHERE id = 2") == "found"
    world.stage(
        lookups={
            "answers": Lookup(columns=("id_text", "answer"), needed=Needed(before="2026-02-01"))
        }
    )
    assert told(await world.night()) == {"seen": 2, "updated": 2}


async def test_a_query_that_cannot_be_asked_is_told_by_the_table(world: StagedWorld) -> None:
    """`syncd init` names the staging table whose query is wrong."""
    world.query("stage_cases", "SELECT id, statsu FROM cases")
    with pytest.raises(DriftError, match="staging table cases"):
        await world.init("cases")
