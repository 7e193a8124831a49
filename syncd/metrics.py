"""Numbers for Prometheus, by the names of ``syncd.metric_names``.

Counters move only after the commit that they tell of. Gauges are computed when they are asked
for, from what was told last, so an age goes on growing while nothing happens. What is not known
is left out, never told as 0. They may be asked for in another thread.

Labels are closed sets. An entity has series of its own as long as all together stay below
``SERIES_MAX``; others share the label ``other``, counters only (case 97).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from syncd import __version__
from syncd.flow.model import Counts, Plan
from syncd.meter import Health, Standing
from syncd.metric_names import (
    BY_NAME,
    ENTITY_SERIES,
    LINK,
    METRICS,
    MISMATCHES,
    OPERATIONS,
    OTHER,
    PIPELINE_SERIES,
    PROCESS_SERIES,
    REJECTIONS,
    RUN_STATUSES,
    SERIES_MAX,
    SKIPS,
    SOURCES,
    Metric,
)
from syncd.vital_samples import Sample, health_of, of_pipeline, success_of
from syncd.vitals import EntityVital, PipelineVital, Role, Vitals

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = tuple[str, ...]
Family: TypeAlias = GaugeMetricFamily | CounterMetricFamily
# Of these the daemon's own facts are the total; they are told as they stand.
_GIVEN: Final = ("syncd_leads_total", "syncd_schedule_overlaps_total")
_PARKED: Final = ("conflict", "failed", "invalid", "unsupported", "waiting", "held")


class Entity(Struct):
    """What was told last of one entity; None is not known.

    ``begun_s``, ``read_s`` and ``stood_s`` are monotonic, so no step of the wall clock is an age.
    """

    total_rows: int = 0
    done_rows: int = 0
    begun_s: float | None = None
    ended: bool = False
    health: Health | None = None
    success_at_s: float | None = None
    read_s: float | None = None
    standing: Standing | None = None
    stood_s: float = 0.0
    mismatches: Mapping[str, int] | None = None


class Metrics(Collector):
    """One registry for one process, which may be a daemon that has ``vitals``."""

    def __init__(
        self,
        *,
        vitals: Vitals | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        lines_dropped: Callable[[], int] | None = None,
    ) -> None:
        # It would tell a series beside each other one, and nobody reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._vitals = vitals
        self.monotonic_s = monotonic_s
        self._lines_dropped = lines_dropped
        self._left = SERIES_MAX - PROCESS_SERIES - PIPELINE_SERIES  # one goes to all others
        self._meters: dict[str, PipelineMeter] = {}
        self._counters = {
            m.name: Counter(m.name.removesuffix("_total"), m.text, m.labels, registry=self.registry)
            for m in METRICS
            if m.kind == "counter" and m.labels and m.name not in _GIVEN
        }
        self._histograms = {
            m.name: Histogram(m.name, m.text, m.labels, buckets=m.buckets_s, registry=self.registry)
            for m in METRICS
            if m.kind == "histogram"
        }
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def pipeline(self, name: str, source: str, entities: Iterable[str]) -> "PipelineMeter":
        """The meter of a pipeline; again with the same name after its configuration changed."""
        meter = self._meters.get(name)
        if meter is None:
            granted = self._take(PIPELINE_SERIES)
            meter = PipelineMeter(self, name if granted else OTHER)
            self._meters[name] = meter
        self._grant(meter, source, entities)
        return meter

    def forget(self, name: str) -> None:
        """The pipeline is not configured any more: its series end."""
        meter = self._meters.pop(name, None)
        if meter is not None and meter.name != OTHER:
            self._end({"pipeline": meter.name})
            self._left += PIPELINE_SERIES + ENTITY_SERIES * len(meter.entities)

    def count(self, name: str, labels: Labels, amount: float) -> None:
        """Add to a counter of the list."""
        self._counters[name].labels(*labels).inc(amount)

    def observe(self, name: str, pipeline: str, seconds: float) -> None:
        """Add to a histogram of the list."""
        self._histograms[name].labels(pipeline).observe(seconds)

    def text(self) -> bytes:
        """All series, as ``CONTENT_TYPE`` says."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Family]:
        """All that no counter or histogram of the library keeps, computed now."""
        families = {m.name: _family(m) for m in METRICS if m.kind == "gauge" or m.name in _GIVEN}
        families["syncd_build_info"].add_metric([__version__], 1)
        views = {} if self._vitals is None else self._vitals.views()
        for pipeline, meter in list(self._meters.items()):
            for name, labels, value in meter.samples(views.get(pipeline)):
                families[name].add_metric([meter.name, *labels], value)
        for name, value in self._of_process():
            families.setdefault(name, _family(BY_NAME[name])).add_metric([], value)
        yield from families.values()

    def _of_process(self) -> Iterator[tuple[str, float]]:
        if self._lines_dropped is not None:
            yield "syncd_log_lines_dropped_total", self._lines_dropped()
        if self._vitals is not None:
            yield "syncd_config_reload_failures_total", self._vitals.reload_failures
            yield "syncd_config_reload_failed", float(bool(self._vitals.reload_failed))

    def describe(self) -> Iterator[Family]:
        """The names alone, for the registry's check of names that are taken."""
        kept = {*self._counters, *self._histograms}
        return (_family(m) for m in METRICS if m.name not in kept)

    def _grant(self, meter: "PipelineMeter", source: str, entities: Iterable[str]) -> None:
        """Give series to entities while there are any; those of entities that left are freed."""
        wanted = dict.fromkeys(entities)
        for gone in [name for name in meter.entities if name not in wanted]:
            del meter.entities[gone]
            self._end({"pipeline": meter.name, "entity": gone})
            self._left += ENTITY_SERIES
        known = source if source in SOURCES else OTHER
        if known != meter.source:
            self._end({"pipeline": meter.name, "source": meter.source})
            meter.source = known
        for name in wanted:
            if meter.name != OTHER and name not in meter.entities and self._take(ENTITY_SERIES):
                meter.entities[name] = Entity()
                self._begin((meter.name, name), meter.source)
        self._begin((meter.name,), meter.source)

    def _begin(self, of: Labels, source: str) -> None:
        """Start every counter at 0: the increase to the first number is else never seen."""
        kept = {**self._counters, **self._histograms}
        for metric in METRICS:
            if metric.name in kept and metric.per_entity == (len(of) > 1):
                own = ((source,),) if "source" in metric.labels else metric.sets
                for labels in own:
                    kept[metric.name].labels(*of, *labels)

    def _take(self, series: int) -> bool:
        if self._left < series:
            return False
        self._left -= series
        return True

    def _end(self, labels: dict[str, str]) -> None:
        families = [*self._counters.values(), *self._histograms.values()]
        for metric in families:
            if labels.keys() <= set(metric._labelnames):  # noqa: SLF001 - it offers no other way
                metric.remove_by_labels(labels)


def _family(metric: Metric) -> Family:
    kind = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
    return kind(metric.name.removesuffix("_total"), metric.text, labels=metric.labels)


class PipelineMeter:
    """The ``Meter`` of one pipeline."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.name = name
        self.source = OTHER
        self.entities: dict[str, Entity] = {}
        self._metrics = metrics
        self._is_leader: bool | None = None
        self._writing = 0
        self._waiting = 0
        self._apply_lag_s: float | None = None
        self._run_id: int | None = None

    # -- what batches tell -------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around one transaction."""
        begun_s = self._metrics.monotonic_s()
        self._writing += 1
        try:
            yield
            self._metrics.observe(
                "syncd_apply_duration_seconds", self.name, self._metrics.monotonic_s() - begun_s
            )
        finally:
            self._writing -= 1

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a reader's wait."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def committed(self, plan: Plan, done: Counts, conflicts: int) -> None:
        """A transaction stands."""
        for outcome, operation in OPERATIONS.items():
            rows = getattr(done, outcome.value)
            if rows:
                self._count("syncd_rows_applied_total", plan.name, rows, operation)
                if operation != LINK:
                    self._count("syncd_changes_total", plan.name, rows, operation)
        if conflicts:
            self._count("syncd_conflicts_total", plan.name, conflicts, plan.on_conflict.value)

    # -- how far it is -----------------------------------------------------------------------

    def start(self, entity: str, total_rows: int) -> None:
        """``entity`` begins."""
        known = self.entities.get(entity)
        if known is not None:
            known.total_rows, known.done_rows, known.ended = total_rows, 0, False
            known.begun_s = self._metrics.monotonic_s()

    def advance(self, entity: str, rows: int) -> None:
        """``rows`` more are done."""
        known = self.entities.get(entity)
        if known is not None:
            known.done_rows += rows
        self._count("syncd_rows_read_total", entity, rows, self.source)

    def finish(self, entity: str) -> None:
        """``entity`` has ended."""
        known = self.entities.get(entity)
        if known is not None:
            known.ended = True

    # -- how it ended ------------------------------------------------------------------------

    def lead(self, *, is_leader: bool) -> None:
        """Whether this process holds the lease."""
        self._is_leader = is_leader

    def entity_done(
        self, entity: str, counts: Counts, *, source_rows: int, lag_s: float, now_s: float
    ) -> None:
        """An entity ended well: all that no batch told of is counted now."""
        self._count("syncd_rows_unchanged_total", entity, counts.unchanged)
        self._count("syncd_changes_total", entity, counts.held, "delete")
        for outcome in SKIPS:
            rows = getattr(counts, outcome.value)
            self._count("syncd_rows_skipped_total", entity, rows, outcome.value)
        for outcome, severity in REJECTIONS.items():
            rows = getattr(counts, outcome.value)
            self._count("syncd_rows_rejected_total", entity, rows, severity, outcome.value)
        known = self.entities.get(entity)
        if known is not None:
            # Rows without a usable key were read too, and nobody advanced over them.
            unread = max(0, source_rows - known.done_rows)
            self._count("syncd_rows_read_total", entity, unread, self.source)
            known.done_rows += unread
            known.success_at_s = now_s
            known.read_s = self._metrics.monotonic_s() - lag_s
        self._apply_lag_s = lag_s
        parked = any(getattr(counts, name) for name in _PARKED)
        self.health(entity, Health.WARN if parked else Health.OK)

    def health(self, entity: str, health: Health) -> None:
        """How an entity is now."""
        known = self.entities.get(entity)
        if known is not None:
            known.health = health

    def run_begun(self, run_id: int) -> None:
        """A run is under way."""
        self._run_id = run_id

    def run_done(self, status: str, seconds: float) -> None:
        """A run ended."""
        self._metrics.count(
            "syncd_runs_total", (self.name, status if status in RUN_STATUSES else OTHER), 1
        )
        self._metrics.observe("syncd_run_duration_seconds", self.name, seconds)

    def stands(self, standings: Mapping[str, Standing]) -> None:
        """What waits for somebody; of an entity that is not named nothing is known."""
        for name, known in self.entities.items():
            known.standing = standings.get(name)
            known.stood_s = self._metrics.monotonic_s()

    def verified(self, entity: str, mismatches: Mapping[str, int]) -> None:
        """Both sides were compared in full."""
        known = self.entities.get(entity)
        if known is not None:
            known.mismatches = mismatches

    # -- what is told of it ------------------------------------------------------------------

    def samples(self, view: PipelineVital | None = None) -> Iterator[Sample]:
        """Its gauges as they stand now; none for pipelines beyond the limit.

        ``view`` is what the daemon knows of the pipeline.
        """
        if self.name == OTHER:
            return
        if view is not None:
            yield from of_pipeline(view)
        elif self._is_leader is not None:
            yield "syncd_leader", (), float(self._is_leader)
        if self._run_id is not None:
            yield "syncd_run_id", (), self._run_id
        yield "syncd_write_inflight", (), self._writing
        yield "syncd_backpressure_active", (), float(self._waiting > 0)
        yield from self._lags()
        vitals = {} if view is None else {vital.name: vital for vital in view.entities}
        leads = view is None or view.role is Role.LEADER
        for name, entity in list(self.entities.items()):
            for metric, labels, value in self._of_entity(entity, vitals.get(name), leads=leads):
                yield metric, (name, *labels), value

    def _lags(self) -> Iterator[Sample]:
        """Of the whole pipeline, so not before every entity has been read once."""
        read = [entity.read_s for entity in list(self.entities.values())]
        known = [at_s for at_s in read if at_s is not None]
        if known and len(known) == len(read):
            lag_s = self._metrics.monotonic_s() - min(known)
            yield "syncd_replication_lag_seconds", (self.source,), lag_s
        if self._apply_lag_s is not None:
            yield "syncd_apply_lag_seconds", (self.source,), self._apply_lag_s

    def _of_entity(
        self, entity: Entity, vital: EntityVital | None, *, leads: bool
    ) -> Iterator[Sample]:
        yield from self._progress(entity)
        success_at_s = success_of(vital, entity.success_at_s)
        if success_at_s is not None:
            yield "syncd_last_success_timestamp_seconds", (), success_at_s
        now = health_of(vital, entity.health)
        if now is not None:
            for health in Health:
                yield "syncd_entity_health", (health.value,), float(health is now)
        if entity.mismatches is not None:
            for kind in MISMATCHES:
                yield "syncd_verify_mismatches", (kind,), entity.mismatches.get(kind, 0)
        if entity.standing is not None and leads:  # others decide elsewhere, and it grows stale
            yield from self._standing(entity.standing, self._metrics.monotonic_s() - entity.stood_s)

    def _progress(self, entity: Entity) -> Iterator[Sample]:
        if entity.begun_s is None:
            return
        if entity.ended:
            yield "syncd_run_progress_ratio", (), 1.0
        elif entity.total_rows:
            yield "syncd_run_progress_ratio", (), min(1.0, entity.done_rows / entity.total_rows)
            left_rows = max(0, entity.total_rows - entity.done_rows)
            if entity.done_rows:
                spent_s = self._metrics.monotonic_s() - entity.begun_s
                yield "syncd_run_eta_seconds", (), spent_s * left_rows / entity.done_rows

    @staticmethod
    def _standing(standing: Standing, since_s: float) -> Iterator[Sample]:
        yield "syncd_deletes_held", (), standing.held_deletes
        yield "syncd_conflicts_open", (), standing.open_conflicts
        yield "syncd_dlq_depth", (), standing.parked
        if standing.parked_age_s is not None:
            yield "syncd_dlq_oldest_age_seconds", (), standing.parked_age_s + since_s

    def _count(self, name: str, entity: str, amount: float, *labels: str) -> None:
        if amount:
            known = entity if entity in self.entities else OTHER
            self._metrics.count(name, (self.name, known, *labels), amount)
