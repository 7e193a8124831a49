"""What a run counts, by the names of the conventions page.

Counters move only after the commit that they tell of. Labels are closed sets: entities come from
the configuration, everything else from enums, so the number of series is bounded by both. Serving
them is the daemon's business.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from syncd.flow.model import Counts, Outcome

APPLY_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_OPERATIONS = {
    Outcome.INSERTED: "insert",
    Outcome.UPDATED: "update",
    Outcome.DELETED: "delete",
}
_SKIPS = (Outcome.SKIPPED, Outcome.STALE, Outcome.WAITING, Outcome.HELD)
_REJECTIONS = (Outcome.INVALID, Outcome.UNSUPPORTED, Outcome.FAILED)


class Metrics:
    """One registry for one process; ``entities`` are the only values of that label."""

    def __init__(self, source: str, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._source = source
        self._read = self._counter("syncd_rows_read", "Source rows looked at.", "entity", "source")
        self._changes = self._counter("syncd_changes", "Changes found.", "entity", "op")
        self._unchanged = self._counter("syncd_rows_unchanged", "Rows found in step.", "entity")
        self._applied = self._counter("syncd_rows_applied", "Rows written.", "entity", "op")
        self._skipped = self._counter("syncd_rows_skipped", "Rows left out.", "entity", "reason")
        self._rejected = self._counter(
            "syncd_rows_rejected", "Rows that could not be applied.", "entity", "severity", "code"
        )
        self._conflicts = self._counter(
            "syncd_conflicts", "Column conflicts reported.", "entity", "resolution"
        )
        self._held = self._gauge("syncd_deletes_held", "Deletes that wait for approval.", "entity")
        self._success = self._gauge(
            "syncd_last_success_timestamp_seconds", "When the entity was last in step.", "entity"
        )
        self._progress = self._gauge("syncd_run_progress_ratio", "Part done of a run.", "entity")
        self._health = self._gauge(
            "syncd_entity_health", "1 for the entity's present status.", "entity", "status"
        )
        self.inflight = Gauge(
            "syncd_write_inflight", "Transactions being written.", registry=self.registry
        )
        self.leader = Gauge("syncd_leader", "1 while this holds the lease.", registry=self.registry)
        self.run_duration = Histogram(
            "syncd_run_duration_seconds", "Time of a pass.", registry=self.registry
        )
        self.apply_duration = Histogram(
            "syncd_apply_duration_seconds",
            "Time of a batch, from the lock to the commit.",
            buckets=APPLY_BUCKETS_S,
            registry=self.registry,
        )

    def lead(self, *, is_leader: bool) -> None:
        """Say whether this process holds the lease."""
        self.leader.set(is_leader)

    def entity_done(self, entity: str, counts: Counts, *, conflicts: int, now_s: float) -> None:
        """Count an entity that ended well; ``now_s`` is the wall clock."""
        self._read.labels(entity, self._source).inc(counts.seen)
        self._unchanged.labels(entity).inc(counts.unchanged)
        for outcome, operation in _OPERATIONS.items():
            rows = getattr(counts, outcome.value)
            self._changes.labels(entity, operation).inc(rows)
            self._applied.labels(entity, operation).inc(rows)
        for outcome in _SKIPS:
            self._skipped.labels(entity, outcome.value).inc(getattr(counts, outcome.value))
        for outcome in _REJECTIONS:
            rows = getattr(counts, outcome.value)
            self._rejected.labels(entity, "error", outcome.value).inc(rows)
        self._conflicts.labels(entity, "recorded").inc(conflicts)
        self._held.labels(entity).set(counts.held)
        self._success.labels(entity).set(now_s)
        self._progress.labels(entity).set(1)
        self.health(entity, "ok")

    def health(self, entity: str, status: str) -> None:
        """Say how the entity is: ok or failed."""
        for known in ("ok", "failed"):
            self._health.labels(entity, known).set(known == status)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)
