"""The open pages: what watches the daemon reads these, and so may anybody (case 98)."""

import os
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import Gauge

from syncd.config import Config, PostgresSource, PostgresTarget, Secret
from syncd.reports import Component
from syncd.vitals import PipelineFacts, Role
from tests.admin.conftest import ENTITIES
from tests.admin.served import Served, serving, settings

SECRET_HOST = "db7.internal.example"  # noqa: S105 - a name that no page may tell
NOWHERE = Config(
    pipeline="orders",
    source=PostgresSource(dsn=Secret(f"postgresql://u:p@{SECRET_HOST}/legacy")),
    target=PostgresTarget(dsn=Secret(f"postgresql://u:p@{SECRET_HOST}/target")),
    entities=ENTITIES,
)


@pytest.fixture
def lonely(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A listener whose database is nowhere."""
    del request
    with serving(settings(), NOWHERE) as found:
        yield found


def facts(served: Served) -> PipelineFacts:
    return served.vitals.pipelines["orders"]


def test_health_has_a_component_for_each_thing(lonely: Served) -> None:
    """Pipeline, freshness, queues, and what it depends on."""
    facts(lonely).downstream("target", Component("UP"))
    facts(lonely).take_role(Role.LEADER)
    answer = lonely.get("/health", None)
    assert (answer.status, answer.json["status"]) == (200, "UP")
    names = {"pipeline", "freshness", "claims", "outbox", "target"}
    assert {f"{name}:orders" for name in names} <= answer.json["components"].keys()


def test_a_pipeline_that_was_not_synced_in_time_is_not_healthy(lonely: Served) -> None:
    """It runs, and its last success is older than two intervals: 503."""
    entities = tuple(ENTITIES)
    facts(lonely).configured(entities, interval_s=60.0, stale_after_s=120.0)
    for name in entities:
        facts(lonely).look(name, "completed", 121.0, 0.0)
    answer = lonely.get("/health", None)
    assert (answer.status, answer.json["status"]) == (503, "DOWN")
    assert answer.json["components"]["freshness:orders"]["status"] == "DOWN"
    assert lonely.get("/health/liveness", None).status == 200


def test_a_pipeline_that_rests_on_purpose_is_not_ill(lonely: Served) -> None:
    """OUT_OF_SERVICE, and 200."""
    facts(lonely).take_role(Role.LEADER)
    facts(lonely).rests({""})
    answer = lonely.get("/health", None)
    assert (answer.status, answer.json["status"]) == (200, "OUT_OF_SERVICE")


def test_a_broken_pipeline_is_told_without_its_reason(lonely: Served) -> None:
    """Case 98: the reason may name a host; it is in the log, and behind a token."""
    facts(lonely).take_role(Role.BROKEN, f"cannot connect to {SECRET_HOST}")
    answer = lonely.get("/health", None)
    assert answer.status == 503
    assert SECRET_HOST.encode() not in answer.body
    assert SECRET_HOST in lonely.get("/api/pipelines").json["pipelines"][0]["reason"]


@pytest.mark.parametrize("path", ["/health/liveness", "/healthz"])
def test_liveness_says_whether_the_loop_goes_round(lonely: Served, path: str) -> None:
    """200, and 503 once it has not for half a minute; no database is asked."""
    assert lonely.get(path, None).status == 200
    lonely.vitals._beat_s -= 31
    assert lonely.get(path, None).status == 503


@pytest.mark.parametrize("path", ["/health/readiness", "/readyz"])
def test_readiness_is_true_on_a_standby_and_false_before_and_after(
    lonely: Served, path: str
) -> None:
    """A part that has not started, a standby, one that drains."""
    facts(lonely).take_role(Role.STANDBY)
    assert lonely.get(path, None).status == 200
    lonely.vitals.expect("relay")
    assert lonely.get(path, None).status == 503
    lonely.vitals.started("relay")
    assert lonely.get(path, None).status == 200
    lonely.vitals.draining = True
    assert lonely.get(path, None).status == 503


def test_metrics_are_those_of_the_registry(lonely: Served) -> None:
    """Text that Prometheus reads."""
    Gauge("syncd_leader", "1 while this holds the lease.", registry=lonely.registry).set(1)
    answer = lonely.get("/metrics", None)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"\nsyncd_leader 1.0\n" in answer.body


def test_ping_and_info(lonely: Served) -> None:
    """That it answers, and what it is."""
    assert lonely.get("/ping", None).body == b"pong"
    told = {"name": "syncd", "version": "1.2.3", "commit": "abc123"}
    assert lonely.get("/info", None).json == told


def test_no_page_tells_where_anything_is(lonely: Served) -> None:
    """Case 98: no host, no database, no query, no version of what it is made of."""
    for path in ("/health", "/health/liveness", "/health/readiness", "/info", "/ping", "/metrics"):
        answer = lonely.get(path, None)
        text = str(answer.headers) + answer.body.decode()
        for word in (SECRET_HOST, "legacy", "postgres", "SELECT", "aiohttp", "Python"):
            assert word not in text, (path, word)
        for word in (socket.gethostname(), f"/{os.getpid()}/"):
            assert word not in answer.body.decode(), (path, word)


def test_a_database_that_is_nowhere_is_told_without_its_name(lonely: Served) -> None:
    """The API answers 503 or 409 with a problem, and an id for the log."""
    answer = lonely.get("/api/pipelines/orders/runs")
    assert answer.status in (409, 503)
    assert SECRET_HOST.encode() not in answer.body
    assert answer.json["correlation_id"] == answer.headers["X-Correlation-Id"]
