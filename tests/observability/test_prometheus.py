"""Every panel and every rule, asked of a real Prometheus that scrapes a pipeline which has run."""

import re
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

import pytest
import yaml
from anyio import to_thread

from observability import alerts
from syncd.ledger.standings import Standings
from syncd.metrics import CONTENT_TYPE, Metrics
from syncd.reports import Backlog
from syncd.site import Site
from syncd.vitals import Role, Vitals
from tests.observability import harbour
from tests.observability.prometheus import RULES, Prometheus, watching
from tests.observability.test_dashboards import PANELS

# Only while an entity is read, which in these few rows is over before it can be scraped.
PASSING: Final = ("syncd_run_eta_seconds",)


def served(metrics: Metrics) -> ThreadingHTTPServer:
    """The metrics on a port of loopback."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = metrics.text()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words: object) -> None:
            """Nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Page)


def plain(expr: str, run_id: str) -> str:
    """A panel's expression with the choices at the top made."""
    for name, value in {
        "$__rate_interval": "1m", "$__range": "1h", "$pipeline": harbour.PIPELINE,
        "$entity": ".*", "$run": run_id,
    }.items():  # fmt: skip
        expr = expr.replace(name, value)
    return expr


@pytest.fixture
async def scraped(tmp_path: Path, pg_dsn: str) -> AsyncIterator[Prometheus]:
    """A Prometheus that has seen both nights of a pipeline."""
    config = harbour.load(harbour.configure(tmp_path, pg_dsn))
    vitals = Vitals(lambda: 0.0)
    facts = vitals.pipeline(config.pipeline, config.entities)
    metrics = Metrics(vitals=vitals, lines_dropped=lambda: 0)
    meter = metrics.pipeline(config.pipeline, "files", config.entities)
    server, site = served(metrics), Site(config)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with watching(f"127.0.0.1:{server.server_port}", tmp_path) as prometheus:
            await harbour.two_nights(tmp_path, pg_dsn, site, meter)
            meter.stands(
                await Standings(site.connections, config.pipeline, config.ledger.schema).read()
            )
            facts.take_role(Role.LEADER)
            facts.next_due_s, facts.stale_after_s = 1.0, 20.0
            facts.waits(claims=Backlog(1, 2.0), outbox=Backlog(3, 4.0))
            for name in config.entities:
                facts.look(name, "completed", 1.0, 1700.0)
            await to_thread.run_sync(
                lambda: prometheus.until(
                    lambda: bool(prometheus.value_of("count_over_time(syncd_fresh[1m]) > 4")),
                    "it has scraped the end of the second night",
                )
            )
            yield prometheus
    finally:
        await site.close()
        server.shutdown()
        server.server_close()


def check_panels(prometheus: Prometheus) -> None:
    """Each panel has numbers, and none of them is of another pipeline."""
    [run] = prometheus.value_of("max by (pipeline) (syncd_run_id)")
    empty = []
    for board, panel in PANELS:
        for target in panel["targets"]:
            found = prometheus.value_of(plain(target["expr"], run["value"][1]))
            if not found and not any(name in target["expr"] for name in PASSING):
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


async def test_every_panel_and_rule_has_numbers_in_a_real_prometheus(scraped: Prometheus) -> None:
    await to_thread.run_sync(check_panels, scraped)
    await to_thread.run_sync(check_rules, scraped)
