"""What is parked: by reason, by record, and looked at once more after a repair."""

from tests.pipeline.conftest import MakeWorld
from tests.pipeline.test_outcomes import visits
from tests.pipeline.world import told


async def test_what_is_parked_is_listed_shown_and_replayed(make_world: MakeWorld) -> None:
    world = await visits(make_world, ["usual", "bad", "bad", "boom"])
    await world.night()
    async with world.app() as app:
        groups = {(g.outcome, g.reason): g.records for g in await app.parked_groups(None)}
        shown = await app.parked("visits", "invalid", "no_prisoner:label")
        other = await app.parked_groups(frozenset({"others"}))
        marked = await app.replay(None, "invalid", "no_prisoner:label")

    assert groups == {
        ("invalid", "no_prisoner:label"): 2,
        ("invalid", "transform_failed:ZeroDivisionError"): 1,
    }
    assert [view.key for view in shown] == [("2",), ("3",)]
    assert other == []
    assert marked == 2
    await world.legacy("UPDATE visits SET kind = 'usual' WHERE id = 2")
    assert told(await world.night()) == {"seen": 4, "inserted": 1, "unchanged": 1, "invalid": 2}
