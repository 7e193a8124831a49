"""Recording rules and alerts, each alert with the series that it must and must not fire for.

An alert is worth waking or writing to somebody for; each has its entry in ``docs/runbook.md``.
``critical``: data is not brought over, look now. ``warning``: look today. ``info``: when there is
time; something waits for a decision.
"""

from typing import Any, Final

from msgspec import Struct

RUNBOOK: Final = "docs/runbook.md#"  # put the address of your copy of the repository before it

# What another expression needs twice, or what is dear to compute for a long range of time.
RECORDING: Final = {
    "pipeline_entity:syncd_rows_read:rate5m": (
        "sum by (pipeline, entity) (rate(syncd_rows_read_total[5m]))"
    ),
    "pipeline_op:syncd_rows_applied:rate5m": (
        "sum by (pipeline, op) (rate(syncd_rows_applied_total[5m]))"
    ),
    "pipeline_entity:syncd_rows_rejected:increase1d": (
        'sum by (pipeline, entity) (increase(syncd_rows_rejected_total{severity="error"}[1d]))'
    ),
    "pipeline_entity:syncd_rows_read:increase1d": (
        "sum by (pipeline, entity) (increase(syncd_rows_read_total[1d]))"
    ),
    "pipeline:syncd_apply_duration_seconds:p99_5m": (
        "histogram_quantile(0.99, sum by (pipeline, le) "
        "(rate(syncd_apply_duration_seconds_bucket[5m])))"
    ),
    "pipeline:syncd_leaders:sum": "sum by (pipeline) (syncd_leader)",
}

Labels = dict[str, str]
_P: Final = {"pipeline": "p"}
_PE: Final = {"pipeline": "p", "entity": "e"}
_I: Final = {"instance": "i"}
_IN_P: Final = '{pipeline="p"}'
_IN_PE: Final = '{pipeline="p",entity="e"}'


class Alert(Struct, frozen=True):
    """An alert and its proof: it fires ``at`` for ``bad`` with ``labels``, never for ``sound``.

    ``early`` is a time before which it must be silent for ``bad`` too. Series are in the notation
    of promtool, one value a minute.
    """

    name: str
    expr: str
    wait: str
    severity: str
    summary: str
    labels: Labels
    bad: dict[str, str]
    sound: dict[str, str]
    at: str
    early: str = "1m"


ALERTS: Final = (
    Alert(
        "SyncdDown",
        "absent(syncd_build_info)",
        "5m",
        "critical",
        "No instance of syncd is scraped",
        {},
        {"up": "0x20"},
        {'syncd_build_info{version="1"}': "1x20"},
        "10m",
        "4m",
    ),
    Alert(
        "SyncdNotInStep",
        "max by (pipeline) (syncd_fresh) == 0",
        "5m",
        "critical",
        "{{ $labels.pipeline }} has not been in step for two intervals",
        _P,
        {f"syncd_fresh{_IN_P}": "0x20"},
        # A standby that knows it and one that does not yet are no alarm.
        {f"syncd_fresh{_IN_P}": "1x20", 'syncd_fresh{pipeline="p",instance="j"}': "0x20"},
        "10m",
        "4m",
    ),
    Alert(
        "SyncdNoLeader",
        "sum by (pipeline) (syncd_leader) == 0",
        "5m",
        "critical",
        "Nobody leads {{ $labels.pipeline }}",
        _P,
        {f"syncd_leader{_IN_P}": "0x20"},
        {f"syncd_leader{_IN_P}": "0x20", 'syncd_leader{pipeline="p",instance="j"}': "1x20"},
        "10m",
        "4m",
    ),
    Alert(
        "SyncdTwoLeaders",
        "sum by (pipeline) (syncd_leader) > 1",
        "5m",
        "warning",
        "Two instances say that they lead {{ $labels.pipeline }}",
        _P,
        {f"syncd_leader{_IN_P}": "1x20", 'syncd_leader{pipeline="p",instance="j"}': "1x20"},
        {f"syncd_leader{_IN_P}": "1x20", 'syncd_leader{pipeline="p",instance="j"}': "0x20"},
        "10m",
        "4m",
    ),
    Alert(
        "SyncdLeaderFlaps",
        "sum by (pipeline) (increase(syncd_leads_total[30m])) > 4",
        "0m",
        "warning",
        "The leader of {{ $labels.pipeline }} changes again and again",
        _P,
        {f"syncd_leads_total{_IN_P}": "0+1x40"},
        {f"syncd_leads_total{_IN_P}": "0x20 1x20"},
        "40m",
    ),
    Alert(
        "SyncdPipelineBroken",
        "max by (pipeline) (syncd_broken) == 1",
        "5m",
        "critical",
        "{{ $labels.pipeline }} cannot work",
        _P,
        {f"syncd_broken{_IN_P}": "1x20"},
        {f"syncd_broken{_IN_P}": "0 1 1 0x20"},
        "10m",
        "4m",
    ),
    Alert(
        "SyncdRunFailed",
        'sum by (pipeline) (increase(syncd_runs_total{status="failed"}[1h])) > 0',
        "0m",
        "warning",
        "A run of {{ $labels.pipeline }} failed",
        _P,
        {'syncd_runs_total{pipeline="p",status="failed"}': "0x10 1x20"},
        {
            'syncd_runs_total{pipeline="p",status="failed"}': "3x30",
            'syncd_runs_total{pipeline="p",status="completed"}': "0x10 1x20",
        },
        "20m",
        "9m",
    ),
    Alert(
        "SyncdRunStalls",
        "max by (pipeline, entity) (syncd_run_progress_ratio) < 1 "
        "and on (pipeline) sum by (pipeline) (increase(syncd_rows_read_total[15m])) == 0 "
        "and on (pipeline) sum by (pipeline) (increase(syncd_rows_applied_total[15m])) == 0",
        "15m",
        "warning",
        "The run of {{ $labels.pipeline }} stands still in {{ $labels.entity }}",
        _PE,
        {
            f"syncd_run_progress_ratio{_IN_PE}": "0.5x60",
            f"syncd_rows_read_total{_IN_PE}": "7x60",
            f"syncd_rows_applied_total{_IN_PE}": "7x60",
        },
        {
            f"syncd_run_progress_ratio{_IN_PE}": "0.5x60",
            f"syncd_rows_read_total{_IN_PE}": "7x60",
            f"syncd_rows_applied_total{_IN_PE}": "7+1x60",
        },
        "40m",
        "10m",
    ),
    Alert(
        "SyncdEntityFails",
        'max by (pipeline, entity) (syncd_entity_health{status="error"}) == 1',
        "10m",
        "warning",
        "{{ $labels.entity }} of {{ $labels.pipeline }} could not be brought over",
        _PE,
        {'syncd_entity_health{pipeline="p",entity="e",status="error"}': "1x30"},
        {
            'syncd_entity_health{pipeline="p",entity="e",status="error"}': "0x30",
            'syncd_entity_health{pipeline="p",entity="e",status="warn"}': "1x30",
        },
        "20m",
        "9m",
    ),
    Alert(
        "SyncdRowsRejected",
        "pipeline_entity:syncd_rows_rejected:increase1d "
        "> 0.01 * (pipeline_entity:syncd_rows_read:increase1d > 0)",
        "15m",
        "warning",
        "More than 1 % of {{ $labels.entity }} of {{ $labels.pipeline }} is rejected",
        _PE,
        {
            'syncd_rows_rejected_total{pipeline="p",entity="e",severity="error"}': "0+1x60",
            f"syncd_rows_read_total{_IN_PE}": "0+50x60",
        },
        {
            'syncd_rows_rejected_total{pipeline="p",entity="e",severity="error"}': "0+1x60",
            f"syncd_rows_read_total{_IN_PE}": "0+200x60",
        },
        "40m",
        "10m",
    ),
    Alert(
        "SyncdParkedGrowsOld",
        "max by (pipeline, entity) (syncd_dlq_oldest_age_seconds) > 172800",
        "15m",
        "warning",
        "Records of {{ $labels.entity }} of {{ $labels.pipeline }} are parked for two days",
        _PE,
        {f"syncd_dlq_oldest_age_seconds{_IN_PE}": "172790+60x60"},
        {f"syncd_dlq_oldest_age_seconds{_IN_PE}": "10000+60x60"},
        "40m",
        "10m",
    ),
    Alert(
        "SyncdDeletesHeld",
        "max by (pipeline, entity) (syncd_deletes_held) > 0",
        "15m",
        "warning",
        "Deletes of {{ $labels.entity }} of {{ $labels.pipeline }} wait for approval",
        _PE,
        {f"syncd_deletes_held{_IN_PE}": "60x30"},
        {f"syncd_deletes_held{_IN_PE}": "60x5 0x25"},
        "20m",
        "14m",
    ),
    Alert(
        "SyncdConflictsWait",
        "max by (pipeline, entity) (syncd_conflicts_open) > 0",
        "1d",
        "info",
        "Conflicts of {{ $labels.entity }} of {{ $labels.pipeline }} wait for more than a day",
        _PE,
        {f"syncd_conflicts_open{_IN_PE}": "2x1600"},
        {f"syncd_conflicts_open{_IN_PE}": "2x1000 0x20 2x600"},
        "1500m",
        "1400m",
    ),
    Alert(
        "SyncdEventsNotSent",
        "max by (pipeline) (syncd_outbox_oldest_age_seconds) > 900",
        "5m",
        "critical",
        "Events of {{ $labels.pipeline }} are not sent",
        _P,
        {f"syncd_outbox_oldest_age_seconds{_IN_P}": "0+60x40"},
        {f"syncd_outbox_oldest_age_seconds{_IN_P}": "0 60 120 0x40"},
        "30m",
        "19m",
    ),
    Alert(
        "SyncdClaimsWait",
        "max by (pipeline) (syncd_claims_oldest_age_seconds) > 7200 "
        "unless on (pipeline) max by (pipeline) (syncd_paused) == 1",
        "15m",
        "warning",
        "What was asked of {{ $labels.pipeline }} waits for two hours",
        _P,
        {f"syncd_claims_oldest_age_seconds{_IN_P}": "0+60x200", f"syncd_paused{_IN_P}": "0x200"},
        {f"syncd_claims_oldest_age_seconds{_IN_P}": "0+60x200", f"syncd_paused{_IN_P}": "1x200"},
        "150m",
        "130m",
    ),
    Alert(
        "SyncdRunsOverlap",
        "sum by (pipeline) (increase(syncd_schedule_overlaps_total[1d])) > 0",
        "0m",
        "warning",
        "A run of {{ $labels.pipeline }} takes longer than its interval",
        _P,
        {f"syncd_schedule_overlaps_total{_IN_P}": "0x10 1x20"},
        {f"syncd_schedule_overlaps_total{_IN_P}": "1x30"},
        "20m",
        "9m",
    ),
    Alert(
        "SyncdSlowBatches",
        "pipeline:syncd_apply_duration_seconds:p99_5m > 10",
        "15m",
        "warning",
        "Batches of {{ $labels.pipeline }} take more than 10 s",
        _P,
        {
            'syncd_apply_duration_seconds_bucket{pipeline="p",le="10.0"}': "0x60",
            'syncd_apply_duration_seconds_bucket{pipeline="p",le="30.0"}': "0+9x60",
            'syncd_apply_duration_seconds_bucket{pipeline="p",le="+Inf"}': "0+9x60",
        },
        {
            'syncd_apply_duration_seconds_bucket{pipeline="p",le="10.0"}': "0+9x60",
            'syncd_apply_duration_seconds_bucket{pipeline="p",le="30.0"}': "0+9x60",
            'syncd_apply_duration_seconds_bucket{pipeline="p",le="+Inf"}': "0+9x60",
        },
        "40m",
        "10m",
    ),
    Alert(
        "SyncdPausedLong",
        "max by (pipeline) (syncd_paused) == 1",
        "1d",
        "info",
        "{{ $labels.pipeline }} is paused for more than a day",
        _P,
        {f"syncd_paused{_IN_P}": "1x1600"},
        {f"syncd_paused{_IN_P}": "1x1000 0x20 1x600"},
        "1500m",
        "1400m",
    ),
    Alert(
        "SyncdConfigurationRefused",
        "max by (instance) (syncd_config_reload_failed) == 1",
        "5m",
        "warning",
        "{{ $labels.instance }} works with an older configuration, the new one was refused",
        _I,
        {'syncd_config_reload_failed{instance="i"}': "1x20"},
        {'syncd_config_reload_failed{instance="i"}': "0x20"},
        "10m",
        "4m",
    ),
    Alert(
        "SyncdLogLinesLost",
        "sum by (instance) (increase(syncd_log_lines_dropped_total[15m])) > 0",
        "0m",
        "warning",
        "Log lines of {{ $labels.instance }} are lost",
        _I,
        {'syncd_log_lines_dropped_total{instance="i"}': "0x10 5x20"},
        {'syncd_log_lines_dropped_total{instance="i"}': "5x30"},
        "20m",
        "9m",
    ),
    Alert(
        "SyncdMemoryHigh",
        "max by (instance) (process_resident_memory_bytes and on (instance) syncd_build_info) "
        "> 268435456",
        "15m",
        "warning",
        "{{ $labels.instance }} takes more than 256 MiB",
        _I,
        {
            'process_resident_memory_bytes{instance="i"}': "300000000x40",
            'syncd_build_info{instance="i"}': "1x40",
        },
        {
            'process_resident_memory_bytes{instance="i"}': "100000000x40",
            'process_resident_memory_bytes{instance="other"}': "300000000x40",
            'syncd_build_info{instance="i"}': "1x40",
        },
        "30m",
        "14m",
    ),
)


def recording_groups() -> list[dict[str, Any]]:
    """The recording rules as Prometheus reads them."""
    rules = [{"record": name, "expr": expr} for name, expr in RECORDING.items()]
    return [{"name": "syncd-recording", "rules": rules}]


def alert_groups() -> list[dict[str, Any]]:
    """The alerts as Prometheus reads them."""
    return [{"name": "syncd-alerts", "rules": [_rule(alert) for alert in ALERTS]}]


def tests() -> dict[str, Any]:
    """The unit tests of promtool: each alert fires when it must, and does not otherwise."""
    return {
        "rule_files": ["recording.yaml", "alerts.yaml"],
        "evaluation_interval": "5m",
        "tests": [test for alert in ALERTS for test in (_fires(alert), _is_silent(alert))],
    }


def runbook_url(alert: Alert) -> str:
    """Its heading in the runbook."""
    return f"{RUNBOOK}{alert.name.lower()}"


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook_url": runbook_url(alert)},
    }


def _fires(alert: Alert) -> dict[str, Any]:
    summary = alert.summary
    for name, value in alert.labels.items():
        summary = summary.replace(f"{{{{ $labels.{name} }}}}", value)
    expected = {
        "exp_labels": {"severity": alert.severity, **alert.labels},
        "exp_annotations": {"summary": summary, "runbook_url": runbook_url(alert)},
    }
    return {
        "name": f"{alert.name} fires, and not too early",
        "interval": "1m",
        "input_series": _series(alert.bad),
        "alert_rule_test": [
            {"eval_time": alert.early, "alertname": alert.name, "exp_alerts": []},
            {"eval_time": alert.at, "alertname": alert.name, "exp_alerts": [expected]},
        ],
    }


def _is_silent(alert: Alert) -> dict[str, Any]:
    return {
        "name": f"{alert.name} does not fire",
        "interval": "1m",
        "input_series": _series(alert.sound),
        "alert_rule_test": [{"eval_time": alert.at, "alertname": alert.name, "exp_alerts": []}],
    }


def _series(series: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in series.items()]
