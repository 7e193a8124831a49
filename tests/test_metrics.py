"""What a run counts: a meter that Prometheus can read."""

import pytest

from syncd.flow.model import Counts
from syncd.meter import Meter, Unmetered
from syncd.metrics import Metrics


@pytest.mark.parametrize("meter", [Metrics("files"), Unmetered()])
def test_both_are_meters(meter: Meter) -> None:
    """A run may tell either of them all that it tells."""
    meter.lead(is_leader=True)
    meter.entity_done("countries", Counts(seen=1, inserted=1), conflicts=0, now_s=1.0)
    meter.health("countries", "failed")


def test_an_entity_is_counted_by_outcome() -> None:
    """Rows read, written, unchanged, left out and rejected, and when it was."""
    metrics = Metrics("files")
    counts = Counts(seen=10, inserted=1, updated=2, unchanged=3, held=4)
    metrics.entity_done("countries", counts, conflicts=5, now_s=1700.0)
    metrics.lead(is_leader=True)
    entity = {"entity": "countries"}
    found = {
        name: metrics.registry.get_sample_value(name, {**entity, **labels})
        for name, labels in (
            ("syncd_rows_read_total", {"source": "files"}),
            ("syncd_rows_applied_total", {"op": "update"}),
            ("syncd_rows_unchanged_total", {}),
            ("syncd_deletes_held", {}),
            ("syncd_conflicts_total", {"resolution": "recorded"}),
            ("syncd_last_success_timestamp_seconds", {}),
        )
    }
    assert list(found.values()) == [10, 2, 3, 4, 5, 1700]
    assert metrics.registry.get_sample_value("syncd_leader") == 1


def test_health_is_one_status_at_a_time() -> None:
    """The present status is 1 and the other 0."""
    metrics = Metrics("files")
    for status in ("ok", "failed"):
        metrics.health("countries", status)
    values = [
        metrics.registry.get_sample_value(
            "syncd_entity_health", {"entity": "countries", "status": status}
        )
        for status in ("ok", "failed")
    ]
    assert values == [0, 1]
