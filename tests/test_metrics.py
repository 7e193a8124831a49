"""What a run counts: a meter that Prometheus can read, with a bounded number of series."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from syncd.flow.model import Column, ColumnType, Counts, OnConflict, Outcome, Plan
from syncd.meter import Both, Health, Meter, Standing, Unmetered
from syncd.metric_names import (
    BY_NAME,
    ENTITY_SERIES,
    METRICS,
    OPERATIONS,
    PIPELINE_SERIES,
    PROCESS_SERIES,
    REJECTIONS,
    SERIES_MAX,
    SKIPS,
)
from syncd.metrics import Metrics, PipelineMeter
from syncd.reports import Backlog
from syncd.vitals import PipelineFacts, Role, Vitals

PLAN = Plan("countries", 1, (Column("id", "id", ColumnType()),), (0,), (), (0,))
EVERYTHING = Counts(**dict.fromkeys(Counts.__struct_fields__, 1))


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class World:
    """Metrics of one process with one pipeline, on a clock of the test's own."""

    def __init__(self, *entities: str) -> None:
        self.clock = Clock()
        self.metrics = Metrics(monotonic_s=self.clock)
        self.meter = self.metrics.pipeline("nightly", "files", entities or ("countries",))

    def value(self, name: str, **labels: str) -> float | None:
        metric = BY_NAME[name.removesuffix("_count")]
        known = {"pipeline": "nightly", "entity": "countries", **labels}
        return self.metrics.registry.get_sample_value(
            name, {n: v for n, v in known.items() if n in metric.labels}
        )

    def done(self, counts: Counts, **told: Any) -> None:
        known: dict[str, Any] = {"source_rows": 0, "lag_s": 0.0, "now_s": 0.0, **told}
        self.meter.entity_done("countries", counts, **known)


class Daemon(World):
    """The same in a daemon, which leads."""

    def __init__(self, *entities: str) -> None:
        super().__init__(*entities)
        self.vitals = Vitals(self.clock)
        self.facts = self.vitals.pipeline("nightly", entities or ("countries",))
        self.facts.take_role(Role.LEADER)
        self.metrics = Metrics(vitals=self.vitals, monotonic_s=self.clock, lines_dropped=lambda: 0)
        self.meter = self.metrics.pipeline("nightly", "files", entities or ("countries",))


def tell_all_facts(facts: PipelineFacts, entities: Iterable[str]) -> None:
    """All that a daemon may know of a pipeline."""
    facts.take_role(Role.LEADER)
    facts.next_due_s, facts.interval_s, facts.stale_after_s = 2.0, 10.0, 20.0
    facts.waits(claims=Backlog(1, 2.0), outbox=Backlog(3, 4.0))
    for name in entities:
        facts.look(name, "completed", 1.0, 1700.0)


def series(metrics: Metrics) -> int:
    """How many lines a scrape has."""
    return sum(not line.startswith(b"#") for line in metrics.text().splitlines())


def tell_everything(meter: Meter, entity: str) -> None:
    """Every label that there is, once."""
    plan = Plan(entity, 1, PLAN.columns, (0,), (), (0,))
    meter.lead(is_leader=True)
    meter.run_begun(7)
    meter.start(entity, 10)
    meter.advance(entity, 5)
    with meter.writing(), meter.waiting():
        pass
    for resolution in OnConflict:
        told = Plan(entity, 1, PLAN.columns, (0,), (), (0,), on_conflict=resolution)
        meter.committed(told, EVERYTHING, 1)
    meter.committed(plan, EVERYTHING, 0)
    meter.entity_done(entity, EVERYTHING, source_rows=7, lag_s=1.0, now_s=2.0)
    meter.health(entity, Health.ERROR)
    meter.verified(entity, {"missing": 1, "extra": 0, "different": 2, "equal": 5})
    for status in ("completed", "parked", "held", "failed", "stopped", "unheard of"):
        meter.run_done(status, 1.0)


@pytest.mark.parametrize("meter", [Metrics().pipeline("p", "files", ["countries"]), Unmetered()])
def test_both_are_meters(meter: Meter) -> None:
    tell_everything(meter, "countries")
    meter.stands({"countries": Standing(1, 2, 3, 4.0)})
    meter.finish("countries")


def test_what_is_written_is_counted_with_its_commit() -> None:
    world = World()
    world.meter.committed(PLAN, Counts(inserted=1, updated=2, deleted=3, linked=4), 5)
    counted = [
        world.value("syncd_rows_applied_total", op=op)
        for op in ("insert", "update", "delete", "link")
    ]
    assert counted == [1, 2, 3, 4]
    assert world.value("syncd_changes_total", op="update") == 2
    assert world.value("syncd_conflicts_total", resolution="target_wins") == 5


def test_a_transaction_that_fails_is_no_batch() -> None:
    world = World()
    with pytest.raises(ValueError, match="refused"), world.meter.writing():
        raise ValueError("refused")
    assert world.value("syncd_apply_duration_seconds_count") == 0
    assert world.value("syncd_write_inflight") == 0


def test_transactions_are_told_while_they_are_written() -> None:
    world = World()
    with world.meter.writing(), world.meter.writing():
        assert world.value("syncd_write_inflight") == 2
    assert world.value("syncd_write_inflight") == 0
    assert world.value("syncd_apply_duration_seconds_count") == 2


def test_a_reader_that_waits_is_told() -> None:
    world = World()
    with world.meter.waiting():
        assert world.value("syncd_backpressure_active") == 1
    assert world.value("syncd_backpressure_active") == 0


def test_the_rest_of_an_entity_is_counted_at_its_end() -> None:
    world = World()
    world.done(Counts(seen=10, inserted=1, unchanged=3, held=4, invalid=5, waiting=6, conflict=7))
    assert world.value("syncd_rows_applied_total", op="insert") == 0
    assert world.value("syncd_rows_unchanged_total") == 3
    assert world.value("syncd_changes_total", op="delete") == 4
    assert world.value("syncd_rows_skipped_total", reason="waiting") == 6
    assert world.value("syncd_rows_rejected_total", severity="error", code="invalid") == 5
    assert world.value("syncd_rows_rejected_total", severity="warning", code="conflict") == 7


def test_every_outcome_has_its_counter() -> None:
    told = {*OPERATIONS, *SKIPS, *REJECTIONS, Outcome.UNCHANGED}
    assert told == set(Outcome)


def test_rows_read_are_those_of_the_source_also_where_nobody_advanced() -> None:
    world = World()
    world.meter.start("countries", 10)
    world.meter.advance("countries", 7)
    world.done(Counts(), source_rows=9)
    assert world.value("syncd_rows_read_total", source="files") == 9


def test_progress_and_what_is_left_follow_the_rows() -> None:
    world = World()
    assert world.value("syncd_run_progress_ratio") is None
    world.meter.start("countries", 100)
    world.clock.now_s += 10
    world.meter.advance("countries", 20)
    assert world.value("syncd_run_progress_ratio") == 0.2
    assert world.value("syncd_run_eta_seconds") == 40
    world.meter.finish("countries")
    assert world.value("syncd_run_progress_ratio") == 1
    assert world.value("syncd_run_eta_seconds") is None


def test_nobody_guesses_how_far_a_table_of_unknown_size_is() -> None:
    world = World()
    world.meter.start("countries", 0)
    world.meter.advance("countries", 20)
    assert world.value("syncd_run_progress_ratio") is None
    assert world.value("syncd_run_eta_seconds") is None


def test_the_lag_is_that_of_the_entity_read_longest_ago() -> None:
    world = World("countries", "regions")
    world.done(Counts(), lag_s=100.0, now_s=950.0)
    assert world.value("syncd_replication_lag_seconds", source="files") is None
    world.meter.entity_done("regions", Counts(), source_rows=0, lag_s=5.0, now_s=995.0)
    world.clock.now_s += 10.0
    assert world.value("syncd_replication_lag_seconds", source="files") == 110
    assert world.value("syncd_apply_lag_seconds", source="files") == 5
    assert world.value("syncd_last_success_timestamp_seconds") == 950


def test_what_is_parked_grows_older_while_nothing_happens() -> None:
    world = World()
    world.meter.stands({"countries": Standing(1, 2, 3, 600.0)})
    found = [
        world.value(f"syncd_{name}")
        for name in ("deletes_held", "conflicts_open", "dlq_depth", "dlq_oldest_age_seconds")
    ]
    assert found == [1, 2, 3, 600]
    world.clock.now_s += 60
    assert world.value("syncd_dlq_oldest_age_seconds") == 660


def test_what_is_not_known_is_left_out() -> None:
    world = World()
    for name in ("syncd_dlq_depth", "syncd_leader", "syncd_last_success_timestamp_seconds"):
        assert world.value(name) is None
    world.meter.stands({"countries": Standing()})
    assert world.value("syncd_dlq_depth") == 0
    assert world.value("syncd_dlq_oldest_age_seconds") is None
    world.meter.stands({})
    assert world.value("syncd_dlq_depth") is None


@pytest.mark.parametrize(
    ("counts", "health"), [(Counts(inserted=1), "ok"), (Counts(held=1), "warn")]
)
def test_health_is_one_status_at_a_time(counts: Counts, health: str) -> None:
    world = World()
    world.meter.health("countries", Health.ERROR)
    world.done(counts)
    values = {h.value: world.value("syncd_entity_health", status=h.value) for h in Health}
    assert values == {h.value: float(h.value == health) for h in Health}


def test_lines_that_were_dropped_are_told() -> None:
    metrics = Metrics(lines_dropped=lambda: 3)
    assert metrics.registry.get_sample_value("syncd_log_lines_dropped_total") == 3
    assert Metrics().registry.get_sample_value("syncd_log_lines_dropped_total") is None


def test_two_watchers_see_the_same_progress() -> None:
    one, two = World(), World()
    both = Both(one.meter, two.meter)
    both.start("countries", 4)
    both.advance("countries", 2)
    assert [w.value("syncd_run_progress_ratio") for w in (one, two)] == [0.5, 0.5]
    both.finish("countries")
    assert [w.value("syncd_run_progress_ratio") for w in (one, two)] == [1, 1]


# -- what only a daemon knows ------------------------------------------------------------------


def test_a_daemon_tells_its_role_its_queues_and_its_freshness() -> None:
    world = Daemon()
    tell_all_facts(world.facts, ["countries"])
    world.clock.now_s += 5
    names = (
        *("leader", "leads_total", "broken", "paused", "claims_depth", "claims_oldest_age_seconds"),
        *("outbox_depth", "outbox_oldest_age_seconds", "freshness_age_seconds", "fresh"),
        *("stale_after_seconds", "schedule_next_timestamp_seconds", "schedule_overlaps_total"),
    )
    found = [world.value(f"syncd_{name}") for name in names]
    assert found == [1, 1, 0, 0, 1, 7, 3, 9, 6, 1, 20, 2, 0]


def test_a_standby_tells_nothing_of_what_others_decide() -> None:
    world = Daemon()
    world.meter.stands({"countries": Standing(1, 2, 3, 4.0)})
    assert world.value("syncd_deletes_held") == 1
    world.facts.take_role(Role.STANDBY)
    assert world.value("syncd_leader") == 0
    for name in ("deletes_held", "dlq_depth", "claims_depth", "outbox_depth", "fresh"):
        assert world.value(f"syncd_{name}") is None, name


@pytest.mark.parametrize(
    ("status", "paused", "told", "health"),
    [
        ("", False, None, None),
        ("completed", False, None, "ok"),
        ("refused", False, None, "error"),
        ("refused", False, Health.WARN, "warn"),
        ("completed", True, Health.ERROR, "paused"),
    ],
)
def test_the_health_of_an_entity_is_what_is_known_best(
    status: str,
    paused: bool,  # noqa: FBT001 - a column of the table
    told: Health | None,
    health: str | None,
) -> None:
    world = Daemon()
    world.facts.look("countries", status, None, None)
    world.facts.rests(["countries"] if paused else [])
    if told is not None:
        world.meter.health("countries", told)
    ones = [h.value for h in Health if world.value("syncd_entity_health", status=h.value)]
    assert ones == ([health] if health else [])


def test_a_success_that_the_ledger_knows_is_told_before_the_first_run() -> None:
    world = Daemon()
    world.facts.look("countries", "completed", 5.0, 1700.0)
    assert world.value("syncd_last_success_timestamp_seconds") == 1700
    world.done(Counts(), now_s=1800.0)
    assert world.value("syncd_last_success_timestamp_seconds") == 1800


def test_a_configuration_that_was_refused_is_told() -> None:
    world = Daemon()
    world.vitals.reloaded("line 3: no such field")
    assert world.value("syncd_config_reload_failed") == 1
    world.vitals.reloaded()
    assert world.value("syncd_config_reload_failed") == 0
    assert world.value("syncd_config_reload_failures_total") == 1


# -- the number of series (case 97) ------------------------------------------------------------


def test_many_keys_make_no_series() -> None:
    """Whatever is told under a name that nobody configured is ``other`` (case 97)."""
    world = World()
    tell_everything(world.meter, "unheard of")
    before = series(world.metrics)
    keys = 50 * SERIES_MAX
    for key in range(keys):
        world.meter.advance(f"key {key}", 1)
    assert series(world.metrics) == before
    assert world.value("syncd_rows_read_total", entity="other", source="files") == keys + 5


def test_the_series_of_the_largest_process_stay_within_the_limit() -> None:
    """Far more pipelines and entities than fit, with every label that there is (case 97)."""
    vitals = Vitals(Clock())
    metrics = Metrics(vitals=vitals, lines_dropped=lambda: 0)
    names = [f"entity_{n}" for n in range(1000)]
    for p in range(40):
        own = names if p == 3 else names[:2]
        tell_all_facts(vitals.pipeline(f"pipeline_{p}", own), own)
        meter = metrics.pipeline(f"pipeline_{p}", "postgres", own)
        for name in names[:60]:
            tell_everything(meter, name)
        meter.stands(dict.fromkeys(names, Standing(1, 2, 3, 4.0)))
    assert SERIES_MAX - ENTITY_SERIES - PIPELINE_SERIES < series(metrics) <= SERIES_MAX


def test_the_costs_that_are_reckoned_with_are_those_of_a_scrape() -> None:
    """One more entity costs what the list says, and so does a pipeline."""

    def told(entities: int) -> int:
        world = Daemon(*(f"e{n}" for n in range(entities)))
        tell_all_facts(world.facts, (f"e{n}" for n in range(entities)))
        for n in range(entities):
            tell_everything(world.meter, f"e{n}")
            world.meter.start(f"e{n}", 10)
            world.meter.advance(f"e{n}", 1)
        world.meter.stands({f"e{n}": Standing(1, 1, 1, 1.0) for n in range(entities)})
        return series(world.metrics)

    assert told(3) - told(2) == ENTITY_SERIES
    assert told(1) - ENTITY_SERIES <= PIPELINE_SERIES + PROCESS_SERIES


def test_an_entity_that_left_the_configuration_ends_its_series() -> None:
    world = World("countries", "regions")
    tell_everything(world.meter, "countries")
    again = world.metrics.pipeline("nightly", "files", ["regions"])
    assert again is world.meter
    assert b'entity="countries"' not in world.metrics.text()


def test_a_pipeline_that_left_gives_its_series_back() -> None:
    metrics = Metrics()
    for n in range(100):
        meter = metrics.pipeline(f"p{n}", "files", ["countries"])
        tell_everything(meter, "countries")
        assert meter.name == f"p{n}"
        metrics.forget(f"p{n}")
    assert b'pipeline="p' not in metrics.text()
    metrics.forget("never there")


def test_a_source_of_another_kind_ends_the_series_of_the_one_before() -> None:
    world = World()
    world.meter.advance("countries", 1)
    world.metrics.pipeline("nightly", "postgres", ["countries"])
    assert b'source="files"' not in world.metrics.text()


def test_every_counter_of_an_entity_begins_at_0() -> None:
    """Else the increase from nothing to the first number is never seen."""
    world = World()
    assert world.value("syncd_rows_rejected_total", severity="error", code="failed") == 0
    assert world.value("syncd_rows_read_total", source="files") == 0
    assert world.value("syncd_runs_total", status="failed") == 0


def test_a_source_of_an_unknown_kind_is_other() -> None:
    metrics = Metrics()
    metrics.pipeline("p", "carrier pigeon", ["countries"]).advance("countries", 1)
    assert b'source="other"' in metrics.text()


# -- the list ----------------------------------------------------------------------------------


def test_a_scrape_holds_the_families_of_the_list_and_no_other() -> None:
    world = Daemon()
    tell_all_facts(world.facts, ["countries"])
    tell_everything(world.meter, "countries")
    world.meter.start("countries", 10)
    world.meter.advance("countries", 1)
    world.meter.stands({"countries": Standing(1, 1, 1, 1.0)})
    found = {}
    for family in text_string_to_metric_families(world.metrics.text().decode()):
        if family.name.startswith("syncd_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {n for s in family.samples for n in s.labels if n != "le"}
            found[name] = (family.type, labels)
    listed = {m.name: (m.kind, set(m.labels)) for m in METRICS}
    assert found == listed


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_says_its_unit(metric: Any) -> None:
    assert re.fullmatch(r"syncd_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.text.endswith(".")
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")


def test_a_meter_of_a_pipeline_beyond_the_limit_only_counts() -> None:
    metrics = Metrics()
    meters = [metrics.pipeline(f"p{n}", "files", ["countries"]) for n in range(100)]
    last: PipelineMeter = meters[-1]
    assert last.name == "other"
    last.committed(PLAN, Counts(inserted=2), 0)
    labels = {"pipeline": "other", "entity": "other", "op": "insert"}
    assert metrics.registry.get_sample_value("syncd_rows_applied_total", labels) == 2
    assert list(last.samples()) == []
