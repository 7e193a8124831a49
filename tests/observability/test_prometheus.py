"""Every panel and every rule, asked of a real Prometheus that scrapes a real daemon."""

import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import yaml
from anyio import to_thread
from msgspec import Struct

from observability import alerts
from syncd.app import connect
from tests.daemon.process import Served
from tests.observability import harbour
from tests.observability.prometheus import RULES, Prometheus, free_port, watching
from tests.observability.test_dashboards import PANELS
from tests.patience import WAIT_S

# Told only while an entity is under way, so it is asked for as of then.
PASSING: Final = "syncd_run_eta_seconds"
NIGHTLY: Final = 'schedule: {cron: "0 4 * * *", timezone: Europe/London}'


class Harbour(Struct):
    """What ``Served`` needs of a place."""

    config: Path


class Watched(Struct):
    """A daemon, and the Prometheus that has seen both nights."""

    prometheus: Prometheus
    daemon: Served
    target: str
    under_way_s: float


def plain(expr: str, run_id: str) -> str:
    """A panel's expression with the choices at the top made."""
    for name, value in {
        "$__rate_interval": "1m", "$__range": "1h", "$pipeline": harbour.PIPELINE,
        "$entity": ".*", "$run": run_id,
    }.items():  # fmt: skip
        expr = expr.replace(name, value)
    return expr


@pytest.fixture
async def watched(tmp_path: Path, pg_dsn: str) -> AsyncIterator[Watched]:
    """Both nights, asked for by SIGHUP; Prometheus has scraped what they left."""
    path = harbour.configure(tmp_path, pg_dsn, NIGHTLY)
    harbour.first_dump(tmp_path)
    async with connect(harbour.load(path)) as app:
        await app.init()
    port = free_port()
    (tmp_path / "service.yaml").write_text(
        f"metrics: {{port: {port}}}\nhttp: {{port: 0}}\n", "utf-8"
    )
    target = f"127.0.0.1:{port}"
    with Served(Harbour(path), arguments=("--service", str(tmp_path / "service.yaml"))) as daemon:  # type: ignore[arg-type]
        await to_thread.run_sync(lambda: daemon.wait("leadership_taken"))
        with watching(target, tmp_path) as prometheus:
            ran = 'sum(syncd_runs_total{status="completed"}) >= 1'
            daemon.signal(signal.SIGHUP)
            await to_thread.run_sync(
                lambda: prometheus.until(lambda: bool(prometheus.value_of(ran)), "a first night")
            )
            harbour.second_dump(tmp_path)
            await harbour.staff_edit(pg_dsn)
            async with harbour.held(pg_dsn):
                daemon.signal(signal.SIGHUP)
                await to_thread.run_sync(
                    lambda: prometheus.until(lambda: bool(prometheus.value_of(PASSING)), "a run")
                )
                under_way_s = time.time()
            left = "sum(syncd_deletes_held) == 6 and sum(count_over_time(syncd_dlq_depth[1m])) > 9"
            await to_thread.run_sync(
                lambda: prometheus.until(lambda: bool(prometheus.value_of(left)), "a second one")
            )
            yield Watched(prometheus, daemon, target, under_way_s)


def check_panels(prometheus: Prometheus, under_way_s: float) -> None:
    """Each panel has numbers, named as its legend says."""
    [run] = prometheus.value_of("max by (pipeline) (syncd_run_id)")
    empty = []
    for board, panel in PANELS:
        for target in panel["targets"]:
            at_s = under_way_s if PASSING in target["expr"] else time.time()
            found = prometheus.value_of(plain(target["expr"], run["value"][1]), at_s)
            if not found:
                empty.append(f"{board}/{panel['title']}: {target['expr']}")
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for series in found:
                assert labels <= set(series["metric"]), panel["title"]
    assert empty == []


def check_rules(prometheus: Prometheus) -> None:
    """Each rule was evaluated without an error; what was recorded is there."""
    groups = yaml.safe_load((RULES / "recording.yaml").read_text("utf-8"))["groups"]
    recorded = [rule["record"] for group in groups for rule in group["rules"]]
    prometheus.until(
        lambda: all(prometheus.value_of(name) for name in recorded), "all rules are recorded"
    )
    told = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in told} == {"ok"}
    assert len(told) == len(recorded) + len(alerts.ALERTS)


def check_what_waits(prometheus: Prometheus) -> None:
    """An alert is on its way for what the second night left."""
    pending = "ALERTS{alertname='SyncdDeletesHeld'}"
    prometheus.until(lambda: bool(prometheus.value_of(pending)), "the alert is evaluated")
    waiting = prometheus.value_of(pending)
    assert [series["metric"]["entity"] for series in waiting] == ["berths"]
    assert prometheus.value_of("sum(syncd_conflicts_open)")[0]["value"][1] == "1"
    assert prometheus.value_of("sum(syncd_leader)")[0]["value"][1] == "1"


def check_the_page(target: str) -> None:
    """Numbers and nothing else are served there, and no version of anything (case 98)."""
    with urllib.request.urlopen(f"http://{target}/metrics", timeout=WAIT_S) as answer:
        assert answer.headers["Server"] == "syncd"
        assert target.encode() not in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{target}/health", timeout=WAIT_S)


async def test_every_panel_and_rule_has_numbers_of_a_real_daemon(watched: Watched) -> None:
    await to_thread.run_sync(check_panels, watched.prometheus, watched.under_way_s)
    await to_thread.run_sync(check_rules, watched.prometheus)
    await to_thread.run_sync(check_what_waits, watched.prometheus)
    await to_thread.run_sync(check_the_page, watched.target)
    watched.daemon.signal(signal.SIGTERM)
    assert await to_thread.run_sync(watched.daemon.ended) == 0
