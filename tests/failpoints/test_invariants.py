"""Rules that production checks while it runs: each is broken on purpose, and caught.

A violation stops the entity that it struck, says so, rolls the batch back, and leaves the others
running (I2, I4, I5, I8, I9).
"""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from collections.abc import Sequence
from typing import Any, Final

import pytest
from msgspec.structs import replace

from syncd.config import Entity, Limits
from syncd.errors import SyncdError
from syncd.flow import apply, decide
from syncd.flow.merge import merge_row
from syncd.flow.model import Decision, Outcome, Plan, Write
from syncd.flow.ports import Locked, Tx
from syncd.ledger import postgres as ledger
from syncd.progress import Silent
from syncd.targets.postgres import PostgresTables
from tests.pipeline.world import MakeDatabase, World, entity_of, make_config, told

ROWS: Final = 30
LEGACY: Final = [
    "CREATE TABLE cases (id int PRIMARY KEY, name text, note text)",
    f"INSERT INTO cases SELECT g, 'n', 'n' FROM generate_series(1, {ROWS}) g",
    "CREATE TABLE others (id int PRIMARY KEY, name text)",
    f"INSERT INTO others SELECT g, 'n' FROM generate_series(1, {ROWS}) g",
]
EDITED: Final = "SELECT name FROM cases WHERE id = 3"
WRITTEN: Final = "SELECT count(*) FROM cases WHERE note = 'new'"
OTHERS_WRITTEN: Final = "SELECT count(*) FROM others WHERE name = 'new'"
SMALL: Final = Limits(batch_rows=10, writers=1, retries=3, retry_budget_s=20.0)
_ENTITIES: Final = {
    name: Entity(from_=name, key=("id",), into=f"public.{name}") for name in ("cases", "others")
}


@pytest.fixture
async def world(make_database: MakeDatabase) -> World:
    """Two entities in step; all records of both have changed at the source since."""
    made = World(
        make_config(make_database("legacy"), make_database("target"), _ENTITIES, limits=SMALL)
    )
    await made.legacy(*LEGACY)
    await made.staff("CREATE TABLE cases (id int, name text, note text)")  # its key is not unique
    await made.init()
    await made.night()
    await made.legacy("UPDATE cases SET note = 'new'", "UPDATE others SET name = 'new'")
    return made


async def stopped(world: World) -> str:
    """What is said of the entity that was stopped; the other one has gone on."""
    report = await world.night()
    assert entity_of(report, "cases").status == "failed"
    assert told(report, "others") == {"seen": ROWS, "updated": ROWS}
    return "; ".join(entity_of(report, "cases").notes)


async def heals(world: World) -> None:
    """Without the fault the next night does what was left."""
    report = await world.night()
    assert report.status == "completed"
    assert await world.value(WRITTEN) == ROWS


async def test_an_edit_is_not_replaced_whatever_was_decided(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2: planted, a merge that writes every column whatever stands there."""
    await world.staff("UPDATE cases SET name = 'typed' WHERE id = 3")

    def greedy(plan: Plan, *values: Any, **named: Any) -> Decision:
        decision = merge_row(plan, *values, **named)
        if plan.name != "cases" or decision.write is not Write.UPDATE:
            return decision
        return replace(decision, written=tuple(range(len(plan.drafted))))

    with monkeypatch.context() as planted:
        planted.setattr(decide, "merge_row", greedy)
        assert "is not the one that syncd left there" in await stopped(world)
    assert await world.value(EDITED) == "typed"
    await heals(world)
    assert await world.value(EDITED) == "typed"


async def test_a_row_that_staff_edited_is_not_deleted_whatever_was_decided(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2: planted, a merge that deletes what is gone at the source, edited or not."""
    await world.staff("UPDATE cases SET name = 'typed' WHERE id = 3")
    await world.legacy("DELETE FROM cases WHERE id = 3")

    def ruthless(plan: Plan, *values: Any, **named: Any) -> Decision:
        decision = merge_row(plan, *values, **named)
        if named["draft"] is not None:
            return decision
        return replace(decision, write=Write.DELETE, outcome=Outcome.DELETED)

    with monkeypatch.context() as planted:
        planted.setattr(decide, "merge_row", ruthless)
        assert "is not the one that syncd left there" in await stopped(world)
    assert await world.value(EDITED) == "typed"


async def test_a_row_that_was_not_locked_is_not_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2: planted, a batch that forgets what it has locked."""
    decided = decide.Decider.decide

    async def forgetful(decider: decide.Decider, tx: Tx, reads: Any) -> decide.Batch:
        batch = await decided(decider, tx, reads)
        if decider.plan.name == "cases":
            batch.locked = {}
        return batch

    with monkeypatch.context() as planted:
        planted.setattr(decide.Decider, "decide", forgetful)
        assert "was not locked" in await stopped(world)
    assert await world.value(WRITTEN) == 0
    await heals(world)


async def test_a_key_is_not_written_a_second_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4: planted, a lock that does not see a row that staff have made in the meantime."""
    await world.legacy("INSERT INTO cases VALUES (31, 'n', 'new')")
    await world.staff("INSERT INTO cases VALUES (31, 'staff', NULL)")
    lock = PostgresTables.lock

    async def blind(
        tables: PostgresTables, tx: Tx, plan: Plan, keys: Sequence[bytes], _: object = None
    ) -> Locked:
        found = await lock(tables, tx, plan, keys)
        return Locked({key: row for key, row in found.rows.items() if row[0] != b"31"})

    with monkeypatch.context() as planted:
        planted.setattr(PostgresTables, "lock", blind)
        assert "in the target twice" in await stopped(world)
    assert await world.value("SELECT count(*) FROM cases WHERE id = 31") == 1


@pytest.mark.parametrize("digest", ["0", "digest"])
async def test_an_entry_never_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    """I5: planted, a look that does not notice that it is older than what is known."""
    await world.staff(
        f"UPDATE syncd.syncd_fingerprint SET position = 9000000000000000000, digest = {digest} "
        "WHERE entity_id = (SELECT entity_id FROM syncd.syncd_entity WHERE name = 'cases')"
    )
    if digest == "0":  # the source's rows are the same: they are only touched
        await world.legacy("UPDATE cases SET note = 'n'")

    def careless(plan: Plan, hasher: Any, mark: Any, **named: Any) -> Decision:
        entry = named["entry"]
        named["entry"] = None if entry is None else replace(entry, position=0)
        return merge_row(plan, hasher, mark, **named)

    with monkeypatch.context() as planted:
        planted.setattr(decide, "merge_row", careless)
        planted.setattr(decide, "is_stale", lambda *_: False)
        planted.setattr("syncd.flow.diff.is_stale", lambda *_: False)
        assert "earlier position" in await stopped(world)
    assert await world.value(WRITTEN) == 0


async def test_sums_that_do_not_add_up_stop_the_entity(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: planted, a batch that is counted twice."""
    add = apply.Applier._add

    def twice(applier: apply.Applier, tally: apply.Tally) -> None:
        add(applier, tally)
        if applier.plan.name == "cases":
            add(applier, tally)

    with monkeypatch.context() as planted:
        planted.setattr(apply.Applier, "_add", twice)
        async with world.app() as app:
            report = await app.run(None, accept_rewind=False, progress=Silent())
    assert entity_of(report, "cases").status == "failed"
    assert "do not add up" in "; ".join(entity_of(report, "cases").notes)
    assert told(report, "others") == {"seen": ROWS, "updated": ROWS}


async def test_a_write_without_the_fence_is_stopped_by_its_epoch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9: planted, no look at the lease; another instance has taken the run up meanwhile."""
    begin = ledger.PostgresLedger.begin
    batches: list[int] = []

    def unfenced(of: ledger.PostgresLedger, lease: Any, *, patient: bool = True) -> Any:
        batches.append(1)
        if len(batches) == 2:
            return _Overtaken(begin(of, lease, patient=patient), world)
        return begin(of, lease, patient=patient)

    with monkeypatch.context() as planted:
        planted.setattr(
            ledger, "FENCE", "SELECT 1 WHERE ($1::text, $2::bigint, $3::text) IS NOT NULL"
        )
        planted.setattr(ledger.PostgresLedger, "begin", unfenced)
        with pytest.raises((SyncdError, AssertionError)):
            await stopped(world)
    # One batch stands, of whichever entity came first.
    written = await world.rows(f"{WRITTEN} UNION ALL {OTHERS_WRITTEN}")
    assert sum(rows for (rows,) in written) == SMALL.batch_rows


class _Overtaken:
    """A transaction before which another instance has taken the lease and the run."""

    def __init__(self, inner: Any, world: World) -> None:
        self._inner = inner
        self._world = world

    async def __aenter__(self) -> Any:
        await self._world.staff(
            "UPDATE syncd.syncd_lease SET epoch = epoch + 1, holder = 'another'",
            "UPDATE syncd.syncd_run SET epoch = epoch + 1 WHERE status = 'running'",
        )
        return await self._inner.__aenter__()

    async def __aexit__(self, *error: object) -> Any:
        return await self._inner.__aexit__(*error)


async def test_nothing_is_stopped_where_nothing_is_broken(world: World) -> None:
    """Without a fault the same night passes, an edit and all."""
    await world.staff("UPDATE cases SET name = 'typed' WHERE id = 3")
    report = await world.night()
    assert report.status == "completed"
    assert told(report, "cases") == {"seen": ROWS, "updated": ROWS}
