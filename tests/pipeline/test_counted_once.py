"""What ``/metrics`` says of a run is what the run did, also when a part of it was done again."""

from contextlib import suppress

from syncd.config import Entity
from syncd.errors import SyncdError
from syncd.failpoints import armed
from syncd.jobs.runner import Runner
from syncd.metrics import Metrics
from syncd.progress import Silent
from syncd.site import Site
from tests.pipeline.conftest import MakeWorld

ROWS = 40
LEGACY = (
    "CREATE TABLE thing (id int PRIMARY KEY, n int)",
    "INSERT INTO thing SELECT g, 0 FROM generate_series(1, 40) g",
)
OPERATIONS = ("insert", "update", "delete", "link")


async def test_a_row_that_is_written_again_by_the_same_run_is_counted_once(
    make_world: MakeWorld,
) -> None:
    """Inserted by an attempt that was cut off; updated, or deleted, by the next one."""
    world = await make_world(
        LEGACY, {"things": Entity(from_="thing", key=("id",), into="public.thing")}
    )
    metrics = Metrics()
    site = Site(world.config)
    runner = Runner(site, metrics.pipeline("cases", "postgres", ["things"]))
    try:
        with armed("book.close=raise-permanent"), suppress(SyncdError):
            await runner.run(None, accept_rewind=False, progress=Silent())
        await world.legacy(
            "UPDATE thing SET n = 1 WHERE id <= 30", "DELETE FROM thing WHERE id > 37"
        )
        report = await runner.run(None, accept_rewind=False, progress=Silent())
    finally:
        await site.close()
    assert report.resumed
    assert report.entities[0].counts.deleted == 3
    assert await world.value("SELECT count(*) FROM thing WHERE n = 1") == 30
    await world.assert_sums(report)
    told = {
        op: metrics.registry.get_sample_value(
            "syncd_rows_applied_total", {"pipeline": "cases", "entity": "things", "op": op}
        )
        for op in OPERATIONS
    }
    assert told == {"insert": ROWS, "update": 0, "delete": 0, "link": 0}
