"""``run`` and ``plan``: take the lease, prepare, pass, and say how it went."""

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import anyio

from syncd import logs
from syncd.errors import PermanentError, SyncdError
from syncd.failpoints import failpoint
from syncd.flow.apply import Shores
from syncd.flow.guard import Bounds
from syncd.flow.keys import display_key
from syncd.flow.model import Counts, Plan, Shape
from syncd.flow.pipeline import Ended, Entity, Ground, Pass, foremost
from syncd.flow.ports import Decisions, Lease, Noting, Snapshot, Source, Unit
from syncd.ledger.reviews import Decided
from syncd.ledger.runs import Closing, Pinned, Started
from syncd.logs import Log
from syncd.meter import Both, Health, Meter
from syncd.planning import deletes_of, drift, small_hash
from syncd.progress import Progress, Silent
from syncd.reports import EntityReport, RunReport, Sample
from syncd.site import Prepared, Site
from syncd.tenure import Tenure

_log = Log("syncd.run")
_TIDY_ROWS_MIN: Final = 50_000  # fewer are visited faster than the table is vacuumed
_DECIDED_MAX: Final = 10_000  # of one run; the others are carried out by the next one
Forced = Mapping[str, Mapping[bytes, Mapping[str, bytes]]]
Numbered = Callable[[int], None]  # told the id of the run, once it has one


def _unheard(run_id: int) -> None:
    """Nobody asked for the id of the run."""


class Runner:
    """Runs and plans of one site."""

    def __init__(self, site: Site, meter: Meter) -> None:
        self._site = site
        self._meter = meter
        config = site.config
        self.tenure = Tenure(
            site.runs, config.pipeline, site.holder, config.ledger.lease_ttl_s, meter
        )

    async def run(
        self,
        select: frozenset[str] | None,
        *,
        accept_rewind: bool,
        progress: Progress,
    ) -> RunReport:
        """One pass under a lease of its own.

        Raises FencedError when another instance holds the lease, or takes it meanwhile.
        """
        await self._site.retry(self._site.assert_ledger)
        await failpoint("run.begin")
        reports: list[RunReport] = []
        lease = await self.tenure.take()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.tenure.keep, lease)
                report = await self.run_under(
                    lease, select, accept_rewind=accept_rewind, progress=progress
                )
                reports.append(report)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise (foremost(group) or group) from None
        finally:
            await self.tenure.let_go(lease)
        return reports[0]

    async def plan(self, select: frozenset[str] | None, *, samples: int) -> RunReport:
        """What a run would do now; writes nothing."""
        prepared = await self._site.prepared()
        shores = self._shores(Lease(self._site.config.pipeline, "", 0))
        started = Started(0, 1, _now(), None)
        return await self._pass(
            prepared, started, shores, select, _Unwritten(self._site), Silent(), {},
            accept_rewind=False, samples=samples,
        )  # fmt: skip

    async def run_under(
        self,
        lease: Lease,
        select: frozenset[str] | None,
        *,
        accept_rewind: bool,
        progress: Progress,
        numbered: Numbered = _unheard,
    ) -> RunReport:
        """One pass under a lease that the caller holds and renews.

        Raises FencedError once another instance has taken over; nothing is written after that.
        """
        site = self._site
        prepared = await site.prepared(writes=True)
        await failpoint("run.prepared")
        started = await site.runs.start(lease, None if select is None else sorted(select))
        numbered(started.run_id)
        with logs.scope(run_id=started.run_id):
            self._meter.run_begun(started.run_id)
            _log.info("run_started", attempt=started.attempt)
            await failpoint("run.started")
            await self._see_history(lease)
            decided = await self._decided(prepared)
            report = await self._pass(
                prepared, started, self._shores(lease), select,
                _Written(site, started, lease), Both(progress, self._meter),
                _forced(decided, prepared), accept_rewind=accept_rewind, samples=None,
            )  # fmt: skip
            await failpoint("run.passed")
            await self._carried_out(lease, decided, prepared, report)
            await self._end(lease, started, report)
            self._meter.run_done(report.status, report.seconds)
            _log.info("run_ended", status=report.status, seconds=report.seconds)
        return report

    async def _see_history(self, lease: Lease) -> None:
        """Tell of a target that may have lost its last commits; this run finds what they were."""
        site = self._site
        if await site.retry(lambda: site.has_another_history(lease)):
            _log.warning("target_rewound")

    async def _decided(self, prepared: Prepared) -> Sequence[Decided]:
        """What operators decided for the source since the last run, or before one that ended."""
        ids = [plan.entity_id for plan in prepared.plans.values()]
        reviews = self._site.reviews
        return await self._site.retry(lambda: reviews.decided_for_source(ids, _DECIDED_MAX))

    async def _carried_out(
        self, lease: Lease, decided: Sequence[Decided], prepared: Prepared, report: RunReport
    ) -> None:
        """Note what became of decisions about entities that were passed to their end."""
        passed = {
            prepared.plans[e.name].entity_id for e in report.entities if e.status == "completed"
        }
        numbers = [d.conflict_id for d in decided if d.entity_id in passed]
        if numbers:
            await failpoint("resolve.ran")
            await self._site.retry(lambda: self._site.reviews.carried_out(lease, numbers))

    async def _end(self, lease: Lease, started: Started, report: RunReport) -> None:
        """Close the run, remove what is past its retention, tidy up after a big night."""
        runs = self._site.runs
        if sum(e.counts.inserted + e.counts.linked for e in report.entities) >= _TIDY_ROWS_MIN:
            await runs.tidy()
        await self._site.retry(lambda: runs.finish(lease, started.run_id, report.status))
        await failpoint("run.finished")
        await self.prune()
        await failpoint("run.pruned")

    async def prune(self) -> None:
        """Remove from the ledger what is past its retention, at most once a day."""
        runs, retention = self._site.runs, self._site.config.ledger.retention
        await self._site.retry(
            lambda: runs.prune(
                runs_days=retention.runs_days,
                imports_days=retention.imports_days,
                tombstones_days=retention.tombstones_days,
                outbox_days=retention.outbox_days,
                audit_days=retention.audit_days,
            )
        )

    # -- the pass ----------------------------------------------------------------------------

    def _shores(self, lease: Lease) -> Shores:
        site = self._site
        return Shores(site.ledger, site.target, lease, site.retry, _unit_id, self._meter)

    async def _pass(
        self,
        prepared: Prepared,
        started: Started,
        shores: Shores,
        select: frozenset[str] | None,
        book: "_Unwritten | _Written",
        progress: Progress,
        forced: Forced,
        *,
        accept_rewind: bool,
        samples: int | None,
    ) -> RunReport:
        site, limits, begun_s = self._site, self._site.config.limits, time.monotonic()
        hasher = await site.hasher()
        sequence = started.run_id or (await site.reviews.last_run())[0] + 1
        source = site.source(hasher, sequence=sequence)
        chosen = [n for wave in site.waves() for n in wave if select is None or n in select]
        errors: dict[str, SyncdError] = {n: e for n, e in prepared.errors.items() if n in chosen}
        try:
            notes = await self._checked(source, prepared, chosen, errors)
            plans = [prepared.plans[name] for name in chosen if name not in errors]
            ended: list[Ended] = []
            positions: dict[str, tuple[int, int, str]] = {}
            if plans:
                async with source.open(plans) as snapshot:
                    await failpoint("run.snapshot")
                    entities = {}
                    for plan in plans:
                        try:
                            entities[plan.name] = await self._entity(
                                plan, prepared.pinned[plan.name], snapshot, shores.lease,
                                forced.get(plan.name, {}), accept_rewind=accept_rewind,
                            )  # fmt: skip
                        except PermanentError as error:
                            errors[plan.name] = error
                    ground = Ground(
                        snapshot, shores, book, hasher, progress, time.monotonic,
                        started.run_id, started.attempt, limits.batch_rows, limits.writers,
                        limits.findings, started.previous_run, samples,
                    )  # fmt: skip
                    ended = await Pass(ground, site.waves(), entities, prepared.plans).run()
                    positions = {
                        name: (snapshot.position, e.source_epoch, e.identity)
                        for name, e in entities.items()
                    }
        finally:
            await source.close()
        reports = {e.plan.name: self._told(e, _notes(e, notes, source)) for e in ended}
        for name, refusal in errors.items():
            reports[name] = EntityReport(name, "refused", Counts(), 0.0, (str(refusal),))
        in_order = tuple(reports[name] for name in chosen if name in reports)
        for report in in_order:
            await book.close(prepared, report, positions.get(report.name), self._meter)
        return RunReport(
            run_id=started.run_id,
            pipeline=site.config.pipeline,
            status=status_of(in_order),
            started_at=started.started_at,
            seconds=round(time.monotonic() - begun_s, 3),
            entities=in_order,
            resumed=started.attempt > 1,
        )

    async def _checked(
        self,
        source: Source,
        prepared: Prepared,
        chosen: Sequence[str],
        errors: dict[str, SyncdError],
    ) -> dict[str, str]:
        """Hold every chosen entity's source against what was pinned; notes by entity."""
        notes = {}
        for name in chosen:
            if name in errors:
                continue
            try:
                found = await self._site.retry(_describing(source, name))
                entity = self._site.config.entities[name]
                notes[name] = drift(name, prepared.pinned[name].columns, entity, found)
                _assert_parents(prepared, prepared.plans[name])
            except SyncdError as error:
                errors[name] = error
        return notes

    async def _entity(
        self,
        plan: Plan,
        pinned: Pinned,
        snapshot: Snapshot,
        lease: Lease,
        forced: Mapping[bytes, Mapping[str, bytes]],
        *,
        accept_rewind: bool,
    ) -> Entity:
        """Everything the pass must know of one entity, with its place in the source's history."""
        site = self._site
        deletes = deletes_of(site.config, site.config.entities[plan.name])
        epoch = pinned.source_epoch
        if snapshot.position < pinned.position:
            if not accept_rewind:
                raise PermanentError(
                    f"entity {plan.name}: the source stands before what was applied already "
                    f"(position {snapshot.position}, applied {pinned.position})",
                    hint="was an older copy restored? if that is meant: syncd run --accept-rewind",
                )
            epoch += 1
            await site.runs.rewind(lease, pinned.entity_id)
        spec = await snapshot.digest_spec(plan)
        digest_epoch = small_hash(f"{spec}/{plan.shape}/{plan.revision}".encode())
        identity = await snapshot.identity(plan)
        full = f"{identity}/{digest_epoch}/{plan.revision}/{plan.shape}" if identity else ""
        return Entity(
            plan=plan,
            drafter=site.drafter(plan),
            bounds=Bounds(
                deletes.hold_above.rows, deletes.hold_above.percent, deletes.confirm_runs
            ),
            digest_epoch=digest_epoch,
            source_epoch=epoch,
            report_deletes=deletes.policy == "report",
            identity=full,
            settled_identity=pinned.identity,
            settled_rows=pinned.identity_rows,
            completed_run=pinned.completed_run,
            expected_rows=pinned.last_rows,
            forced=forced,
        )

    def _told(self, ended: Ended, before: Sequence[str]) -> EntityReport:
        """An entity's end as a report; the log gets the same without samples."""
        notes = [*before, *ended.notes]
        if ended.error is not None:
            notes.append(str(ended.error))
        status = "completed" if ended.error is None else "failed"
        kinds = ended.plan.key_types
        _log.info(
            "entity_ended",
            entity=ended.plan.name,
            status=status,
            seconds=round(ended.seconds, 3),
            **({} if ended.error else ended.counts.as_dict()),
        )
        return EntityReport(
            name=ended.plan.name,
            status=status,
            counts=ended.counts,
            seconds=round(ended.seconds, 3),
            notes=tuple(notes),
            findings=tuple(ended.findings),
            findings_total=ended.findings_total,
            samples=tuple(
                Sample(s.outcome.value, display_key(kinds, s.key), s.columns, s.reason)
                for s in ended.samples
            ),
            open_conflicts=ended.conflicts,
            source_rows=ended.source_rows,
        )


def _describing(source: Source, name: str) -> Callable[[], Awaitable[Shape]]:
    return lambda: source.describe(name)


def _notes(ended: Ended, drifts: Mapping[str, str], source: Source) -> list[str]:
    """What was to be said of an entity before it was begun."""
    name = ended.plan.name
    said = source.notes(name) if isinstance(source, Noting) else ()
    return [note for note in (drifts.get(name, ""), *said) if note]


def _assert_parents(prepared: Prepared, plan: Plan) -> None:
    """Raise PermanentError when a parent whose key must be looked up has no plan."""
    for parent in plan.parents:
        if parent.columns and parent.entity not in prepared.plans:
            raise PermanentError(
                f"entity {plan.name} needs {parent.entity}, which cannot be prepared"
            )


def _forced(decided: Sequence[Decided], prepared: Prepared) -> Forced:
    """Per entity, record and column: the target's value that was decided about, by its hash."""
    names = {plan.entity_id: name for name, plan in prepared.plans.items()}
    forced: dict[str, dict[bytes, dict[str, bytes]]] = {}
    for one in decided:
        by_key = forced.setdefault(names[one.entity_id], {})
        by_key.setdefault(one.key, {})[one.column] = one.target_hash
    return forced


def status_of(reports: Sequence[EntityReport]) -> str:
    """The status of a run from those of its entities, the gravest first."""
    if any(report.status != "completed" for report in reports):
        return "failed"
    if any(report.counts.held for report in reports):
        return "held"
    parked = ("invalid", "failed", "waiting", "conflict", "unsupported")
    if any(getattr(report.counts, name) for report in reports for name in parked):
        return "parked"
    return "completed"


def _unit_id() -> str:
    return uuid.uuid4().hex


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Unwritten:
    """The book of a plan: reads what was decided, notes nothing."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def earlier_units(self, plan: Plan) -> list[Unit]:  # noqa: ARG002 - the port's
        """A plan has no earlier attempts."""
        return []

    async def decisions(self, plan: Plan) -> Decisions:
        """What operators decided."""
        return await self._site.reviews.decisions(plan)

    async def hold(self, plan: Plan, keys: Sequence[bytes], reason: str) -> None:
        """Nothing is held by a plan."""

    async def close(
        self,
        prepared: Prepared,
        report: EntityReport,
        position: tuple[int, int, str] | None,
        meter: Meter,
    ) -> None:
        """Nothing is noted by a plan."""


class _Written:
    """The book of a run; each entry says what is, so it may be repeated.

    All that is written in it raises FencedError once another instance has taken over.
    """

    def __init__(self, site: Site, started: Started, lease: Lease) -> None:
        self._site = site
        self._lease = lease
        self._retry = site.retry
        self._started = started
        # The source is opened later, so what it shows is not older than this.
        self._begun_s = time.monotonic()

    async def earlier_units(self, plan: Plan) -> list[Unit]:
        """Units of earlier attempts."""
        await failpoint("book.units")
        return await self._retry(lambda: self._site.runs.earlier_units(self._started, plan))

    async def decisions(self, plan: Plan) -> Decisions:
        """What operators decided."""
        await failpoint("book.decisions")
        return await self._retry(lambda: self._site.reviews.decisions(plan))

    async def hold(self, plan: Plan, keys: Sequence[bytes], reason: str) -> None:
        """Hold exactly these."""
        await failpoint("book.hold")
        lease, run_id = self._lease, self._started.run_id
        await self._retry(lambda: self._site.reviews.hold(lease, plan, run_id, keys, reason))

    async def close(
        self,
        prepared: Prepared,
        report: EntityReport,
        position: tuple[int, int, str] | None,
        meter: Meter,
    ) -> None:
        """Note how an entity ended; the meter moves with it."""
        at, epoch, identity = position or (0, 1, "")
        clean = report.status == "completed" and not report.counts.held
        closing = Closing(
            status=report.status,
            counts=report.counts,
            seconds=report.seconds,
            notes=report.notes,
            findings=report.findings,
            findings_total=report.findings_total,
            position=at,
            source_epoch=epoch,
            source_rows=report.source_rows,
            identity=identity if clean and not report.counts.invalid else "",
            drift="; ".join(report.notes) if report.status == "refused" else "",
        )
        pinned = prepared.pinned[report.name]
        lease, run_id, entity_id = self._lease, self._started.run_id, pinned.entity_id
        await failpoint("book.close")
        await self._retry(lambda: self._site.runs.close_entity(lease, run_id, entity_id, closing))
        await failpoint("book.closed")
        if report.status == "completed":
            meter.entity_done(
                report.name,
                report.counts,
                source_rows=report.source_rows,
                lag_s=time.monotonic() - self._begun_s,
                now_s=datetime.now(UTC).timestamp(),
            )
        else:
            meter.health(report.name, Health.ERROR)
