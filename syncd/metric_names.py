"""Every metric that syncd tells: its name, kind, labels and meaning, and the closed label sets.

This list is the contract; ``docs/metrics.md``, the dashboards and the alerts are held against it.
Entities and pipelines come from the configuration, every other label from a set below, so the
number of series is known before the first row is read.
"""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from syncd.flow.model import OnConflict, Outcome
from syncd.meter import Health

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Labels: TypeAlias = tuple[str, ...]

LINK: Final = "link"  # nothing is written for it
OTHER: Final = "other"  # what is not in its set, or beyond the limit of series
OPERATIONS: Final = {
    Outcome.INSERTED: "insert",
    Outcome.UPDATED: "update",
    Outcome.DELETED: "delete",
    Outcome.LINKED: LINK,
}
SKIPS: Final = (Outcome.SKIPPED, Outcome.STALE, Outcome.WAITING, Outcome.HELD)
# The severity of an outcome that keeps a row out, or a part of it.
REJECTIONS: Final = {
    Outcome.INVALID: "error",
    Outcome.UNSUPPORTED: "error",
    Outcome.FAILED: "error",
    Outcome.CONFLICT: "warning",
}
RUN_STATUSES: Final = ("completed", "parked", "held", "failed", "stopped")
MISMATCHES: Final = ("missing", "extra", "different")
SOURCES: Final = ("files", "postgres", "sqlserver", "http")

APPLY_BUCKETS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RUN_BUCKETS_S: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)


class Metric(Struct, frozen=True):
    """One family. ``sets`` are the values that its own labels take, beside pipeline and entity.

    The label ``source`` is not among them: a pipeline has one.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    text: str
    sets: tuple[Labels, ...] = ((),)
    buckets_s: tuple[float, ...] = ()

    @property
    def series(self) -> int:
        """How many there are at most for each pipeline and entity in it."""
        # One for each bucket, one for +Inf, the sum and the count.
        return len(self.buckets_s) + 3 if self.buckets_s else len(self.sets)

    @property
    def per_entity(self) -> bool:
        """Whether each entity has series of its own."""
        return "entity" in self.labels

    @property
    def per_pipeline(self) -> bool:
        """Whether each pipeline has series of its own, and not each entity."""
        return "pipeline" in self.labels and not self.per_entity


def _entity(
    kind: Kind, name: str, text: str, *labels: str, sets: Iterable[Labels] = ((),)
) -> Metric:
    return Metric(name, kind, ("pipeline", "entity", *labels), text, tuple(sets))


def _pipeline(
    kind: Kind, name: str, text: str, *labels: str, sets: Iterable[Labels] = ((),)
) -> Metric:
    return Metric(name, kind, ("pipeline", *labels), text, tuple(sets))


def _each(values: Iterable[str]) -> tuple[Labels, ...]:
    return tuple((value,) for value in values)


def _histogram(name: str, text: str, buckets_s: tuple[float, ...]) -> Metric:
    return Metric(name, "histogram", ("pipeline",), text, buckets_s=buckets_s)


METRICS: Final = (
    _entity(
        "counter",
        "syncd_rows_read_total",
        "Source rows looked at, as they go by.",
        "source",
    ),
    _entity(
        "counter",
        "syncd_changes_total",
        "Changes found; those of op delete that are held are found again by each run.",
        "op",
        sets=_each(op for op in OPERATIONS.values() if op != LINK),
    ),
    _entity(
        "counter",
        "syncd_rows_applied_total",
        "Rows written and committed; op link took on a row that was there already, unchanged.",
        "op",
        sets=_each(OPERATIONS.values()),
    ),
    _entity(
        "counter",
        "syncd_rows_unchanged_total",
        "Rows found in step, counted when their entity has ended.",
    ),
    _entity(
        "counter",
        "syncd_rows_skipped_total",
        "Rows left out, by reason, counted when their entity has ended.",
        "reason",
        sets=_each(SKIPS),
    ),
    _entity(
        "counter",
        "syncd_rows_rejected_total",
        "Rows that could not be applied, or not wholly (severity warning), "
        "counted when their entity has ended.",
        "severity",
        "code",
        sets=((severity, outcome) for outcome, severity in REJECTIONS.items()),
    ),
    _entity(
        "counter",
        "syncd_conflicts_total",
        "Columns reported as conflicts, by what became of the value meanwhile.",
        "resolution",
        sets=_each(OnConflict),
    ),
    _entity("gauge", "syncd_conflicts_open", "Conflicts that wait for a decision."),
    _entity("gauge", "syncd_deletes_held", "Deletes that wait for approval."),
    _entity("gauge", "syncd_dlq_depth", "Records that are parked with a reason."),
    _entity("gauge", "syncd_dlq_oldest_age_seconds", "Since when the oldest of them is parked."),
    _entity(
        "gauge",
        "syncd_last_success_timestamp_seconds",
        "When the entity was last brought up to date, also if there was nothing to do.",
    ),
    _entity(
        "gauge",
        "syncd_run_progress_ratio",
        "Part done of the present run, from 0 to 1; absent where nobody knows the whole.",
    ),
    _entity(
        "gauge",
        "syncd_run_eta_seconds",
        "What is left of the entity's reading at its rate so far; only while it is read.",
    ),
    _entity(
        "gauge",
        "syncd_entity_health",
        "1 for the entity's present status, 0 for the others.",
        "status",
        sets=_each(Health),
    ),
    _entity(
        "gauge",
        "syncd_verify_mismatches",
        "Rows found different by the last comparison in full; only where this process made one.",
        "kind",
        sets=_each(MISMATCHES),
    ),
    _pipeline(
        "gauge",
        "syncd_replication_lag_seconds",
        "How old the source's state is that the target shows: since the oldest entity was read.",
        "source",
    ),
    _pipeline(
        "gauge",
        "syncd_apply_lag_seconds",
        "From the reading of the source to the end of the slowest entity, in its last run.",
        "source",
    ),
    _pipeline(
        "counter",
        "syncd_runs_total",
        "Runs that ended, by status.",
        "status",
        sets=_each((*RUN_STATUSES, OTHER)),
    ),
    _histogram("syncd_run_duration_seconds", "Time of a run.", RUN_BUCKETS_S),
    _histogram(
        "syncd_apply_duration_seconds",
        "Time of a batch, from before its lock until it has committed.",
        APPLY_BUCKETS_S,
    ),
    _pipeline("gauge", "syncd_write_inflight", "Transactions being written."),
    _pipeline(
        "gauge",
        "syncd_backpressure_active",
        "1 while a reader waits because all writers are busy.",
    ),
    _pipeline(
        "gauge",
        "syncd_run_id",
        "The number of the run that this process began last; other panels are cut by it.",
    ),
    _pipeline("gauge", "syncd_leader", "1 while this process holds the lease, else 0."),
    _pipeline(
        "counter",
        "syncd_leads_total",
        "How often this process became the leader.",
    ),
    _pipeline(
        "gauge",
        "syncd_broken",
        "1 while the pipeline cannot work, for the reason that the log and /api tell.",
    ),
    _pipeline("gauge", "syncd_paused", "1 while the whole pipeline is paused by somebody."),
    _pipeline(
        "gauge",
        "syncd_fresh",
        "1 while every entity was in step within two intervals of the schedule, else 0.",
    ),
    _pipeline(
        "gauge",
        "syncd_freshness_age_seconds",
        "Since the entity that is furthest behind was in step; paused ones do not count.",
    ),
    _pipeline(
        "gauge",
        "syncd_stale_after_seconds",
        "The age from which the pipeline is not fresh any more.",
    ),
    _pipeline(
        "gauge",
        "syncd_schedule_next_timestamp_seconds",
        "When the schedule is due next.",
    ),
    _pipeline(
        "counter",
        "syncd_schedule_overlaps_total",
        "Times that the schedule was due while the run before was under way.",
    ),
    _pipeline("gauge", "syncd_claims_depth", "Claims that wait; told by the leader."),
    _pipeline("gauge", "syncd_claims_oldest_age_seconds", "Since when the oldest of them waits."),
    _pipeline("gauge", "syncd_outbox_depth", "Events that are not sent; told by the leader."),
    _pipeline("gauge", "syncd_outbox_oldest_age_seconds", "Since when the oldest of them waits."),
    Metric(
        "syncd_config_reload_failures_total",
        "counter",
        (),
        "Configurations that were refused when they were to be read again.",
    ),
    Metric(
        "syncd_config_reload_failed",
        "gauge",
        (),
        "1 while the configuration in effect is not the one on disk, because that was refused.",
    ),
    Metric(
        "syncd_log_lines_dropped_total",
        "counter",
        (),
        "Log lines that were not written, because their reader did not keep up.",
    ),
    Metric("syncd_build_info", "gauge", ("version",), "Always 1; what runs here."),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}

SERIES_MAX: Final = 2000
ENTITY_SERIES: Final = sum(m.series for m in METRICS if m.per_entity)
# With its counters for entities that have none of their own.
PIPELINE_SERIES: Final = sum(m.series for m in METRICS if m.per_pipeline) + sum(
    m.series for m in METRICS if m.per_entity and m.kind == "counter"
)
PROCESS_SERIES: Final = 40  # the rest of the list, and what the library tells of the process
