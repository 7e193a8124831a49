"""What waits for somebody, as the ledger says it, and what a real run counts on the way."""

from pathlib import Path
from typing import Any

from syncd.ledger.standings import Standings
from syncd.metrics import Metrics
from syncd.site import Site
from tests.observability import harbour


async def test_two_nights_are_counted_and_what_waits_is_found(tmp_path: Path, pg_dsn: str) -> None:
    """One conflict, six held deletes, a row without its parent and one that is not a number."""
    config = harbour.load(harbour.configure(tmp_path, pg_dsn))
    metrics = Metrics()
    meter = metrics.pipeline(config.pipeline, "files", config.entities)
    site = Site(config)
    try:
        await harbour.two_nights(tmp_path, pg_dsn, site, meter)
        standings = await Standings(site.connections, config.pipeline, config.ledger.schema).read()
    finally:
        await site.close()
    ports, berths = standings["ports"], standings["berths"]
    assert (ports.held_deletes, ports.open_conflicts, ports.parked) == (0, 1, 1)
    assert (berths.held_deletes, berths.open_conflicts, berths.parked) == (6, 0, 2)
    assert berths.parked_age_s is not None
    assert 0 <= berths.parked_age_s < 60

    def counted(name: str, entity: str, **labels: Any) -> float | None:
        labels |= {"pipeline": config.pipeline, "entity": entity}
        return metrics.registry.get_sample_value(f"syncd_{name}_total", labels)

    assert counted("rows_applied", "ports", op="insert") == 12
    assert counted("rows_applied", "berths", op="update") == 6
    assert counted("conflicts", "ports", resolution="target_wins") == 1
    assert counted("changes", "berths", op="delete") == 6
    assert counted("rows_rejected", "berths", severity="error", code="invalid") == 1
    assert counted("rows_skipped", "berths", reason="waiting") == 1
    assert counted("rows_read", "berths", source="files") == 12 + 8
