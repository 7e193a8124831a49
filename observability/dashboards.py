"""The three dashboards: all pipelines, one entity, one run."""

from typing import Final

from observability.panels import Dashboard, Panel, Query, Variable

_OF: Final = 'pipeline=~"$pipeline"'
_EACH: Final = 'pipeline=~"$pipeline",entity=~"$entity"'

_PIPELINE: Final = Variable("pipeline", "label_values(syncd_write_inflight, pipeline)")
_ONE_PIPELINE: Final = Variable(
    "pipeline", "label_values(syncd_write_inflight, pipeline)", many=False
)
_ENTITY: Final = Variable(
    "entity", 'label_values(syncd_rows_unchanged_total{pipeline=~"$pipeline"}, entity)'
)
# A run's number is a value and never a label, so its values are counted to be listed.
_RUN: Final = Variable(
    "run",
    'query_result(count_values("run", syncd_run_id{pipeline=~"$pipeline"}))',
    regex='/run="([0-9]+)"/',
    many=False,
)

_YES_NO: Final = ((1, "yes", "green"), (0, "no", "red"))


def _stat(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    words: tuple[tuple[int, str, str], ...] = (),
) -> Panel:
    return Panel(title, description, unit, queries, "stat", width=6, height=4, words=words)


OVERVIEW: Final = Dashboard(
    "syncd-overview",
    "syncd: overview",
    "Is everything in step, who works, and what waits for somebody?",
    (_PIPELINE,),
    (
        _stat(
            "In step",
            "No means that an entity has not been in step for two intervals of its schedule.",
            "bool_yes_no",
            Query(f"max by (pipeline) (syncd_fresh{{{_OF}}})", "{{pipeline}}"),
            words=_YES_NO,
        ),
        _stat(
            "Since the last success",
            "Age of the entity that is furthest behind; paused ones do not count.",
            "s",
            Query(f"min by (pipeline) (syncd_freshness_age_seconds{{{_OF}}})", "{{pipeline}}"),
        ),
        _stat(
            "Leaders",
            "One instance leads each pipeline. None for minutes, or two, is a fault.",
            "none",
            Query(f"sum by (pipeline) (syncd_leader{{{_OF}}})", "{{pipeline}}"),
        ),
        _stat(
            "Next run",
            "How long until the schedule is due; negative while it waits for its turn.",
            "s",
            Query(
                f"max by (pipeline) (syncd_schedule_next_timestamp_seconds{{{_OF}}}) - time()",
                "{{pipeline}}",
            ),
        ),
        Panel(
            "Entities by health",
            "warn: rows are parked or deletes held. error: the entity could not be brought over.",
            "none",
            (
                Query(
                    "sum by (pipeline, status) "
                    f"(max by (pipeline, entity, status) (syncd_entity_health{{{_OF}}}))",
                    "{{pipeline}} {{status}}",
                ),
            ),
        ),
        Panel(
            "Lag",
            "Age of what the target shows (grows until somebody looks again), and of it the part "
            "that reading and writing took.",
            "s",
            (
                Query(
                    f"min by (pipeline) (syncd_replication_lag_seconds{{{_OF}}})",
                    "{{pipeline}} end to end",
                ),
                Query(
                    f"max by (pipeline) (syncd_apply_lag_seconds{{{_OF}}})", "{{pipeline}} apply"
                ),
            ),
        ),
        Panel(
            "Rows read",
            "Source rows looked at each second.",
            "rowsps",
            (
                Query(
                    f"sum by (pipeline) (rate(syncd_rows_read_total{{{_OF}}}[$__rate_interval]))",
                    "{{pipeline}}",
                ),
            ),
        ),
        Panel(
            "Rows written",
            "Committed each second, by operation; link took on what was there already.",
            "rowsps",
            (
                Query(
                    "sum by (pipeline, op) "
                    f"(rate(syncd_rows_applied_total{{{_OF}}}[$__rate_interval]))",
                    "{{pipeline}} {{op}}",
                ),
            ),
        ),
        Panel(
            "Waits for somebody",
            "Deletes to approve, conflicts to decide, records that are parked with a reason.",
            "none",
            (
                Query(f"sum by (pipeline) (syncd_deletes_held{{{_OF}}})", "{{pipeline}} deletes"),
                Query(
                    f"sum by (pipeline) (syncd_conflicts_open{{{_OF}}})", "{{pipeline}} conflicts"
                ),
                Query(f"sum by (pipeline) (syncd_dlq_depth{{{_OF}}})", "{{pipeline}} parked"),
            ),
        ),
        Panel(
            "Queues",
            "Claims that wait for their turn and events that are not sent.",
            "none",
            (
                Query(f"max by (pipeline) (syncd_claims_depth{{{_OF}}})", "{{pipeline}} claims"),
                Query(f"max by (pipeline) (syncd_outbox_depth{{{_OF}}})", "{{pipeline}} events"),
            ),
        ),
        Panel(
            "Oldest in the queues",
            "How long the oldest claim and the oldest event have waited.",
            "s",
            (
                Query(
                    f"max by (pipeline) (syncd_claims_oldest_age_seconds{{{_OF}}})",
                    "{{pipeline}} claims",
                ),
                Query(
                    f"max by (pipeline) (syncd_outbox_oldest_age_seconds{{{_OF}}})",
                    "{{pipeline}} events",
                ),
            ),
        ),
        Panel(
            "Runs by how they ended",
            "In the last day. parked: some rows could not be applied. held: deletes wait.",
            "none",
            (
                Query(
                    f"sum by (pipeline, status) (increase(syncd_runs_total{{{_OF}}}[1d]))",
                    "{{pipeline}} {{status}}",
                ),
            ),
        ),
        Panel(
            "Time of a run",
            "95 of 100 runs of the last day took no longer.",
            "s",
            (
                Query(
                    "histogram_quantile(0.95, sum by (pipeline, le) "
                    f"(rate(syncd_run_duration_seconds_bucket{{{_OF}}}[1d])))",
                    "{{pipeline}}",
                ),
            ),
        ),
        Panel(
            "Changes of the leader",
            "How often an instance took over in an hour. Often means a sick instance or database.",
            "none",
            (
                Query(
                    f"sum by (pipeline) (increase(syncd_leads_total{{{_OF}}}[1h]))", "{{pipeline}}"
                ),
            ),
        ),
        Panel(
            "Memory",
            "Of each process. It does not grow with the size of a table.",
            "bytes",
            (
                Query(
                    "process_resident_memory_bytes and on (instance) syncd_build_info",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Processor",
            "Cores in use by each process.",
            "none",
            (
                Query(
                    "rate(process_cpu_seconds_total[$__rate_interval]) "
                    "and on (instance) syncd_build_info",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Configuration and logs",
            "1 while a configuration was refused; log lines lost in an hour.",
            "none",
            (
                Query("max by (instance) (syncd_config_reload_failed)", "{{instance}} refused"),
                Query(
                    "sum by (instance) (increase(syncd_log_lines_dropped_total[1h]))",
                    "{{instance}} lines lost",
                ),
            ),
        ),
    ),
)

ENTITY: Final = Dashboard(
    "syncd-entity",
    "syncd: one entity",
    "How an entity is, what its rows became, and what of it waits for somebody.",
    (_PIPELINE, _ENTITY),
    (
        _stat(
            "Since the last success",
            "Age of the last time that the entity was brought up to date.",
            "s",
            Query(
                "time() - max by (pipeline, entity) "
                f"(syncd_last_success_timestamp_seconds{{{_EACH}}})",
                "{{entity}}",
            ),
        ),
        _stat(
            "Deletes held",
            "They wait for an approval: syncd deletes list.",
            "none",
            Query(f"max by (pipeline, entity) (syncd_deletes_held{{{_EACH}}})", "{{entity}}"),
        ),
        _stat(
            "Conflicts open",
            "Both sides changed the field: syncd conflicts list.",
            "none",
            Query(f"max by (pipeline, entity) (syncd_conflicts_open{{{_EACH}}})", "{{entity}}"),
        ),
        _stat(
            "Parked",
            "Records that could not be applied, each with its reason.",
            "none",
            Query(f"max by (pipeline, entity) (syncd_dlq_depth{{{_EACH}}})", "{{entity}}"),
        ),
        Panel(
            "Health",
            "1 for the present status of the entity.",
            "none",
            (
                Query(
                    f"max by (entity, status) (syncd_entity_health{{{_EACH}}})",
                    "{{entity}} {{status}}",
                ),
            ),
        ),
        Panel(
            "Progress",
            "Part of the entity that is done in the present run; 1 between runs.",
            "percentunit",
            (
                Query(
                    f"max by (pipeline, entity) (syncd_run_progress_ratio{{{_EACH}}})", "{{entity}}"
                ),
            ),
        ),
        Panel(
            "Rows read",
            "Source rows looked at each second.",
            "rowsps",
            (
                Query(
                    "sum by (pipeline, entity) "
                    f"(rate(syncd_rows_read_total{{{_EACH}}}[$__rate_interval]))",
                    "{{entity}}",
                ),
            ),
        ),
        Panel(
            "Changes found and rows written",
            "By operation, in the last day. Held deletes are found and not written.",
            "none",
            (
                Query(
                    f"sum by (entity, op) (increase(syncd_changes_total{{{_EACH}}}[1d]))",
                    "{{entity}} {{op}} found",
                ),
                Query(
                    f"sum by (entity, op) (increase(syncd_rows_applied_total{{{_EACH}}}[1d]))",
                    "{{entity}} {{op}} written",
                ),
            ),
        ),
        Panel(
            "Rows in step",
            "Found unchanged in the last day.",
            "none",
            (
                Query(
                    f"sum by (entity) (increase(syncd_rows_unchanged_total{{{_EACH}}}[1d]))",
                    "{{entity}}",
                ),
            ),
        ),
        Panel(
            "Rows left out",
            "By reason, in the last day. waiting: the parent is not there. held: see deletes.",
            "none",
            (
                Query(
                    f"sum by (entity, reason) (increase(syncd_rows_skipped_total{{{_EACH}}}[1d]))",
                    "{{entity}} {{reason}}",
                ),
            ),
        ),
        Panel(
            "Rows rejected",
            "By code, in the last day. Each record has its reason: syncd explain.",
            "none",
            (
                Query(
                    f"sum by (entity, code) (increase(syncd_rows_rejected_total{{{_EACH}}}[1d]))",
                    "{{entity}} {{code}}",
                ),
            ),
        ),
        Panel(
            "Conflicts reported",
            "By what became of the value meanwhile, in the last day.",
            "none",
            (
                Query(
                    f"sum by (entity, resolution) (increase(syncd_conflicts_total{{{_EACH}}}[1d]))",
                    "{{entity}} {{resolution}}",
                ),
            ),
        ),
        Panel(
            "Oldest parked record",
            "Since when the oldest of them could not be applied.",
            "s",
            (
                Query(
                    f"max by (pipeline, entity) (syncd_dlq_oldest_age_seconds{{{_EACH}}})",
                    "{{entity}}",
                ),
            ),
        ),
    ),
)


def _in_run(expr: str) -> str:
    """``expr`` while the chosen run was the one under way."""
    return f"{expr} and on (pipeline) (max by (pipeline) (syncd_run_id{{{_OF}}}) == $run)"


RUN: Final = Dashboard(
    "syncd-run",
    "syncd: one run",
    "How far a run is, how fast it goes, and where it waits. Choose a time that ends within it.",
    (_ONE_PIPELINE, _RUN),
    (
        Panel(
            "Progress",
            "Part done of each entity; 1 when it has ended.",
            "percentunit",
            (
                Query(
                    _in_run(f"max by (pipeline, entity) (syncd_run_progress_ratio{{{_OF}}})"),
                    "{{entity}}",
                ),
            ),
        ),
        Panel(
            "Time left",
            "Of the entity that is read now, at its rate so far; nothing between entities.",
            "s",
            (
                Query(
                    _in_run(f"max by (pipeline, entity) (syncd_run_eta_seconds{{{_OF}}})"),
                    "{{entity}}",
                ),
            ),
        ),
        Panel(
            "Rows read",
            "Source rows looked at each second, by entity.",
            "rowsps",
            (
                Query(
                    _in_run(
                        "sum by (pipeline, entity) "
                        f"(rate(syncd_rows_read_total{{{_OF}}}[$__rate_interval]))"
                    ),
                    "{{entity}}",
                ),
            ),
        ),
        Panel(
            "Rows written",
            "Committed each second, by entity and operation.",
            "rowsps",
            (
                Query(
                    _in_run(
                        "sum by (pipeline, entity, op) "
                        f"(rate(syncd_rows_applied_total{{{_OF}}}[$__rate_interval]))"
                    ),
                    "{{entity}} {{op}}",
                ),
            ),
        ),
        Panel(
            "Transactions in flight",
            "Being written now; up to limits.writers.",
            "none",
            (Query(_in_run(f"sum by (pipeline) (syncd_write_inflight{{{_OF}}})"), "{{pipeline}}"),),
        ),
        Panel(
            "Reader waits for writers",
            "1 while the source waits: the target is what limits the run.",
            "none",
            (
                Query(
                    _in_run(f"max by (pipeline) (syncd_backpressure_active{{{_OF}}})"),
                    "{{pipeline}}",
                ),
            ),
        ),
        Panel(
            "Time of a batch",
            "From before its lock until it has committed; half and 99 of 100 took no longer.",
            "s",
            tuple(
                Query(
                    _in_run(
                        f"histogram_quantile({part}, sum by (pipeline, le) (rate("
                        f"syncd_apply_duration_seconds_bucket{{{_OF}}}[$__rate_interval])))"
                    ),
                    f"{{{{pipeline}}}} p{part * 100:g}",
                )
                for part in (0.5, 0.99)
            ),
        ),
        Panel(
            "Rows rejected and left out",
            "So far in the range of time that is shown; they move when an entity has ended.",
            "none",
            (
                Query(
                    _in_run(
                        "sum by (pipeline, entity, code) "
                        f"(increase(syncd_rows_rejected_total{{{_OF}}}[$__range]))"
                    ),
                    "{{entity}} {{code}}",
                ),
                Query(
                    _in_run(
                        "sum by (pipeline, entity, reason) "
                        f"(increase(syncd_rows_skipped_total{{{_OF}}}[$__range]))"
                    ),
                    "{{entity}} {{reason}}",
                ),
            ),
        ),
    ),
)

DASHBOARDS: Final = {"overview": OVERVIEW, "entity": ENTITY, "run": RUN}
