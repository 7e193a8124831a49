"""The ledger lost, outdated or older than the code: it costs a read, never a row."""

from typing import Final

import pytest
from msgspec.structs import replace

from syncd.config import Config, Entity
from syncd.errors import ConfigError
from syncd.flow.model import Ownership
from tests.pipeline.conftest import CASES, MakeWorld
from tests.pipeline.world import World, entity_of, told

LEGACY: Final = [
    "CREATE TABLE cases (id int PRIMARY KEY, status text, note text)",
    "INSERT INTO cases SELECT g, 'A', 'n' FROM generate_series(1, 300) g",
]


async def loaded(make_world: MakeWorld) -> World:
    """300 records in step."""
    world = await make_world(LEGACY, {"cases": CASES})
    await world.night()
    return world


def with_entity(world: World, name: str, entity: Entity, *, pipeline: str = "cases") -> Config:
    """The world's configuration with another entity in the place of its own."""
    return replace(world.config, pipeline=pipeline, entities={name: entity})


async def lose_the_ledger(world: World) -> None:
    """What a restore of the target without the schema syncd leaves."""
    await world.staff("DROP SCHEMA syncd CASCADE")
    await world.init()


async def test_without_a_ledger_nothing_runs_before_init(make_world: MakeWorld) -> None:
    """Nothing is guessed: the run says what is missing."""
    world = await loaded(make_world)
    await world.staff("DROP SCHEMA syncd CASCADE")
    with pytest.raises(ConfigError, match="run syncd init"):
        await world.night()


async def test_a_lost_ledger_links_what_is_equal_and_deletes_nothing(
    make_world: MakeWorld,
) -> None:
    """I10: 60 rows are gone at the source and known to nobody: they stay; a loud note says so."""
    world = await loaded(make_world)
    await world.legacy("DELETE FROM cases WHERE id <= 60")
    await world.staff("UPDATE cases SET note = 'typed' WHERE id = 100")
    await lose_the_ledger(world)
    writes = await world.updates_of("cases")
    night = await world.night()
    assert told(night) == {"seen": 240, "linked": 239, "conflict": 1}
    assert await world.updates_of("cases") == writes
    assert await world.value("SELECT count(*) FROM cases") == 300
    assert any("baseline" in note for note in entity_of(night).notes)
    assert told(await world.night()) == {"seen": 240, "unchanged": 240}


async def test_after_a_lost_ledger_changes_flow_again(make_world: MakeWorld) -> None:
    """Linked rows are the source's as before: updated and deleted the next night."""
    world = await loaded(make_world)
    await lose_the_ledger(world)
    await world.night()
    await world.legacy(
        "UPDATE cases SET status = 'B' WHERE id = 1", "DELETE FROM cases WHERE id = 2"
    )
    assert told(await world.night()) == {"seen": 300, "updated": 1, "deleted": 1, "unchanged": 298}


async def test_after_a_lost_ledger_an_edit_is_kept(make_world: MakeWorld) -> None:
    """I2: what differs may be staff's, so it stays and is told once."""
    world = await loaded(make_world)
    await world.staff("UPDATE cases SET status = 'X' WHERE id = 1")
    await world.legacy("UPDATE cases SET status = 'B' WHERE id = 1")
    await lose_the_ledger(world)
    assert told(await world.night()) == {"seen": 300, "linked": 299, "conflict": 1}
    assert await world.value("SELECT status FROM cases WHERE id = 1") == "X"


async def test_a_new_digest_epoch_reads_everything_and_writes_nothing(
    make_world: MakeWorld,
) -> None:
    """The type changed from int to bigint: digests mean nothing any more, fingerprints do."""
    world = await loaded(make_world)
    writes = await world.updates_of("cases")
    await world.legacy("ALTER TABLE cases ALTER id TYPE bigint")
    assert told(await world.night()) == {"seen": 300, "unchanged": 300}
    assert await world.updates_of("cases") == writes
    epochs = "SELECT count(DISTINCT digest_epoch) FROM syncd.syncd_fingerprint"
    assert await world.value(epochs) == 1
    assert told(await world.night()) == {"seen": 300, "unchanged": 300}


async def test_digests_that_mean_something_else_hide_no_change(make_world: MakeWorld) -> None:
    """A change that comes in the night of the new epoch is found in it."""
    world = await loaded(make_world)
    await world.legacy(
        "ALTER TABLE cases ALTER id TYPE bigint", "UPDATE cases SET status = 'B' WHERE id = 7"
    )
    assert told(await world.night()) == {"seen": 300, "updated": 1, "unchanged": 299}


async def test_a_change_of_ownership_is_applied_without_a_write(make_world: MakeWorld) -> None:
    """Case 51: another revision looks at every row again; equal rows are not written."""
    world = await loaded(make_world)
    writes = await world.updates_of("cases")
    owned = Entity(
        from_="cases", key=("id",), into="public.cases", ownership={"note": Ownership.TARGET}
    )
    world.config = with_entity(world, "cases", owned)
    assert told(await world.night()) == {"seen": 300, "unchanged": 300}
    assert await world.updates_of("cases") == writes
    await world.legacy("UPDATE cases SET note = 'm', status = 'B' WHERE id = 1")
    await world.night()
    assert await world.rows("SELECT status, note FROM cases WHERE id = 1") == [("B", "n")]


async def test_a_source_that_stands_before_what_was_applied_is_refused(
    make_world: MakeWorld,
) -> None:
    """Case 41: an older copy was restored: refused, nothing is deleted, until it is accepted."""
    world = await loaded(make_world)
    await world.staff("UPDATE syncd.syncd_entity SET position = position + (1::bigint << 60)")
    await world.legacy("UPDATE cases SET status = 'old' WHERE id = 1")
    night = await world.night()
    assert (entity_of(night).status, night.status) == ("refused", "failed")
    assert "the source stands before what was applied" in entity_of(night).notes[0]
    assert await world.value("SELECT status FROM cases WHERE id = 1") == "A"
    assert told(await world.night(accept_rewind=True)) == {
        "seen": 300,
        "updated": 1,
        "unchanged": 299,
    }
    assert told(await world.night()) == {"seen": 300, "unchanged": 300}


async def test_an_older_read_changes_nothing(make_world: MakeWorld) -> None:
    """Rule R, case 26: an entry that was seen at a later position is left alone: stale."""
    world = await loaded(make_world)
    await world.staff(
        "UPDATE syncd.syncd_fingerprint SET position = position + (1::bigint << 60), digest = 1 "
        r"WHERE key = '\x8000000000000007'"
    )
    await world.legacy("UPDATE cases SET status = 'B' WHERE id IN (7, 8)")
    assert told(await world.night()) == {"seen": 300, "updated": 1, "stale": 1, "unchanged": 298}
    assert await world.value("SELECT status FROM cases WHERE id = 7") == "A"


async def test_a_newer_ledger_is_refused_by_older_code(make_world: MakeWorld) -> None:
    """Case 87: a migration that this version does not know stops it before it writes."""
    world = await loaded(make_world)
    await world.staff("INSERT INTO syncd.syncd_migration (name) VALUES ('9999_pre_future')")
    with pytest.raises(ConfigError, match="9999_pre_future"):
        await world.night()


async def test_two_pipelines_share_a_ledger_without_meeting(make_world: MakeWorld) -> None:
    """Case 73: identity includes the pipeline; neither sees the other's entries as absent."""
    world = await make_world(LEGACY, {"cases": CASES})
    await world.night()
    await world.legacy(
        "CREATE TABLE more (id int PRIMARY KEY, status text)", "INSERT INTO more VALUES (1, 'A')"
    )
    more = Entity(from_="more", key=("id",), into="public.more")
    other = World(with_entity(world, "cases", more, pipeline="second"))
    await other.init()
    assert told(await other.night()) == {"seen": 1, "inserted": 1}
    assert told(await world.night()) == {"seen": 300, "unchanged": 300}
    assert told(await other.night()) == {"seen": 1, "unchanged": 1}
