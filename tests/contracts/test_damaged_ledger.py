"""A row of the ledger that cannot be read any more is named, and what it holds is not shown."""

import asyncpg
import pytest

from syncd.errors import InvariantError
from syncd.flow.model import Counts
from syncd.flow.ports import Unit
from syncd.ledger.postgres import to_unit
from tests.contracts.world import postgres_shelter
from tests.pipeline.world import MakeDatabase

SOUND = '{"present": {"seen": 1}, "absent": {}}'


@pytest.mark.parametrize(
    "damaged",
    ["", "{}", '{"present": {}}', '{"present": 7, "absent": {}}', "[" * 100_000, "\udc80", "{"],
    ids=["nothing", "empty", "half", "number", "deep", "surrogate", "cut"],
)
@pytest.mark.parametrize("is_redone", [False, True])
def test_a_damaged_work_unit_is_named(damaged: str, *, is_redone: bool) -> None:
    """Table, run, unit and entity are said, whichever of the two columns it is."""
    texts = (SOUND, damaged) if is_redone else (damaged, SOUND)
    with pytest.raises(InvariantError) as caught:
        to_unit(17, "people", "u1", *texts)
    told = str(caught.value)
    assert all(word in told for word in ("people", "'u1'", "run 17", "syncd_work_unit"))
    assert "backup" in told


def test_a_sound_work_unit_is_read() -> None:
    """What is not said is 0."""
    none = Counts()
    assert to_unit(1, "people", "u", SOUND, SOUND) == Unit(
        "u", Counts(seen=1), none, Counts(seen=1), none
    )


async def test_damage_in_the_database_stops_with_the_row_that_has_it(
    make_database: MakeDatabase,
) -> None:
    """What was pinned, and a unit of an earlier attempt."""
    dsn = make_database("damaged")
    async with postgres_shelter(dsn) as shelter:
        assert shelter.site is not None
        runs, plan = shelter.site.runs, shelter.plan
        first = await runs.start(shelter.lease, None)
        unit = Unit("u1", Counts(), Counts(), Counts(), Counts())
        async with shelter.ledger.begin(shelter.lease) as tx:
            await shelter.ledger.unit(tx, first.run_id, plan, unit)
        again = await runs.start(shelter.lease, None)
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("UPDATE syncd.syncd_work_unit SET counts = '[]'")
            await connection.execute("UPDATE syncd.syncd_entity SET pinned = '[]'")
        finally:
            await connection.close()
        with pytest.raises(InvariantError, match=r"'u1' of run \d+ in syncd_work_unit"):
            await runs.earlier_units(again, plan)
        with pytest.raises(InvariantError, match="'u1' of run"):
            await shelter.ledger.find_unit(first.run_id, plan, "u1")
        with pytest.raises(InvariantError, match=r"items: the column pinned .* in syncd_entity"):
            await runs.pinned()
