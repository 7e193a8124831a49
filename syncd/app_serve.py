"""The composition root of the daemon: settings become pipelines, parts and the tree of both."""

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from syncd import __version__, logs
from syncd.admin.pages import Info
from syncd.app_http import HttpPart
from syncd.config import Config, Schedule
from syncd.config_serve import Settings
from syncd.daemon.daemon import Daemon
from syncd.daemon.parts import Bench, Forever, Part
from syncd.daemon.pipeline import PipelineLoop
from syncd.flow.ports import Lease
from syncd.inbox.dumps import DumpInbox
from syncd.inbox.schedule import ScheduleInbox, interval_s
from syncd.jobs.relay import Relay
from syncd.jobs.runner import Runner
from syncd.ledger.agenda import Agenda
from syncd.ledger.claims import Claims
from syncd.ledger.pulse import Pulse
from syncd.ledger.standings import Standings
from syncd.metrics import Metrics
from syncd.metrics_listener import MetricsListener
from syncd.site import Site
from syncd.vitals import PipelineFacts, Vitals

_INTERVALS_STALE = 2  # a daemon that has not synced in two is not healthy


def build(settings: Settings, load: Callable[[], Settings]) -> Daemon:
    """The daemon of these settings; ``load`` reads them again."""
    vitals = Vitals(time.monotonic)
    metrics = Metrics(vitals=vitals, lines_dropped=logs.lines_dropped)
    pipelines = [_pipeline(config, settings, vitals, metrics) for config in settings.pipelines]
    parts: list[Part] = [*_scraped(settings, metrics)]  # and whatever lives as long as the process
    daemon = Daemon(settings, pipelines, parts, vitals, load)
    parts.append(_listener(daemon, pipelines, vitals, metrics))
    return daemon


def _listener(
    daemon: Daemon, pipelines: Sequence[PipelineLoop], vitals: Vitals, metrics: Metrics
) -> Part:
    loops = {loop.name: loop for loop in pipelines}
    return HttpPart(
        daemon.settings.service.http,
        vitals,
        metrics.registry,
        Info("syncd", __version__, os.environ.get("SYNCD_COMMIT", "")),
        lambda: daemon.settings.pipelines,
        lambda name: loops[f"pipeline:{name}"].wake(),
    )


def _scraped(settings: Settings, metrics: Metrics) -> Sequence[Part]:
    found = settings.service.metrics
    return () if found is None else (MetricsListener(metrics, found.host, found.port),)


def _pipeline(config: Config, settings: Settings, vitals: Vitals, metrics: Metrics) -> PipelineLoop:
    facts = vitals.pipeline(config.pipeline, config.entities)

    def open_bench(now: Config) -> Bench:
        return _bench(now, facts, metrics, loop)

    loop = PipelineLoop(config, settings.service, open_bench, facts)
    return loop


def _bench(config: Config, facts: PipelineFacts, metrics: Metrics, loop: PipelineLoop) -> Bench:
    """Everything of one pipeline under one configuration."""
    site = Site(config)
    name, schema = config.pipeline, config.ledger.schema
    kind = type(config.source).__struct_config__.tag
    meter = metrics.pipeline(name, str(kind), config.entities)
    runner, standings = Runner(site, meter), Standings(site.connections, name, schema)
    schedule = config.schedule or Schedule()
    every_s = _every_s(schedule)
    stale_after_s = schedule.stale_after_s
    if stale_after_s is None and every_s is not None:
        stale_after_s = _INTERVALS_STALE * every_s

    async def see_standings() -> None:
        meter.stands(await standings.read())

    def led(lease: Lease) -> Sequence[Forever]:
        """What runs only on the leader, under its lease."""
        agenda = Agenda(site.connections, name, schema, lease, site.retry)
        relay = [] if config.events is None else [partial(Relay(site, config.events).run, lease)]
        return [*_inboxes(schedule, site, agenda, facts, loop.wake), *relay]

    return Bench(
        entities=tuple(config.entities),
        interval_s=every_s,
        stale_after_s=stale_after_s,
        tenure=runner.tenure,
        claims=Claims(site.connections, name, schema),
        pulse=Pulse(site.connections, name, schema),
        work=runner,
        retry=site.retry,
        assert_ready=site.assert_ledger,
        see_source=site.see_source,
        see_standings=see_standings,
        led=led,
        close=site.close,
    )


def _inboxes(
    schedule: Schedule,
    site: Site,
    agenda: Agenda,
    facts: PipelineFacts,
    claimed: Callable[[], None],
) -> Sequence[Forever]:
    found: list[Forever] = []
    if schedule.cron is not None:
        inbox = ScheduleInbox(
            schedule.cron, schedule.timezone, agenda, _now,
            tell_next=facts.due, tell_overlap=facts.overlapped, claimed=claimed,
        )  # fmt: skip
        found.append(inbox.run)
    if schedule.watch_s is not None:
        dumps = DumpInbox(site.see_dump, schedule.watch_s, agenda.claim_dump, claimed)
        found.append(dumps.run)
    return found


def _every_s(schedule: Schedule) -> float | None:
    if schedule.cron is None:
        return None
    return interval_s(schedule.cron, schedule.timezone, after=_now())


def _now() -> datetime:
    return datetime.now(UTC)
