"""One pipeline of the daemon: it leads or stands by, and works on claims one at a time.

Whoever holds the lease works; the others look every now and then whether it has run out, by the
database's clock. A lease that was taken over ends the work at once: what was begun is rolled back
or refused by the fence, and its claim is taken up by the new leader. A pipeline that fails (its
ledger is missing, its source gone, a rule of ours broken) rests for a while that grows, with its
reason, and the others in the process never notice.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

import anyio
import anyio.to_thread

from syncd import logs
from syncd.config import Config
from syncd.config_serve import Service
from syncd.daemon.parts import Bench, Started
from syncd.errors import ConfigError, FencedError, InvariantError, PermanentError, SyncdError
from syncd.flow.pipeline import foremost
from syncd.flow.ports import Lease
from syncd.ledger.claims import Claim, Ending, Origin
from syncd.logs import Log
from syncd.reports import Component, RunReport
from syncd.thrift import give_back
from syncd.vitals import PipelineFacts, Role

_log = Log("syncd.daemon")
OpenBench: TypeAlias = Callable[[Config], Bench]
_LOOK_S: Final = 5.0  # how old what /health tells may be
_LAST_LOOK_S: Final = 0.1  # standbys that wait for the same end do not hurry each other
_FURTHER_EVERY: Final = 12  # looks; a connection and a count a minute are nothing
_FIRST_BACKOFF_S: Final = 1.0
_REASON_CHARS_MAX: Final = 500
_PRUNE_S: Final = 3600.0  # it is done once a day, whoever asks
_STEADY_S: Final = 300.0  # a leader that lasted so long did not flap
_FLAP_S_MAX: Final = 60.0  # at most one change of the leader a minute (case 86)
_FINAL: Final = (ConfigError, PermanentError, InvariantError)  # repeating at once cannot help


class PipelineLoop:
    """A ``Part``."""

    def __init__(
        self, config: Config, service: Service, open_bench: OpenBench, facts: PipelineFacts
    ) -> None:
        self.name = f"pipeline:{config.pipeline}"
        self._config = config
        self._open = open_bench
        self._facts = facts
        self._service = service
        self._replaced = anyio.Event()
        self._nudged = anyio.Event()
        self._wake = anyio.Event()
        self._wished = anyio.Event()
        self._wishes: dict[Origin, str] = {}
        self._failures = 0
        self._losses = 0

    # -- what others may tell it -------------------------------------------------------------

    def wish(self, origin: Origin, by: str) -> None:
        """Ask for a pass over everything; many wishes of one origin are one."""
        self._wishes[origin] = by
        self._wished.set()

    def wake(self) -> None:
        """There is a claim: look now rather than in a second."""
        self._wake.set()

    def replace(self, config: Config, service: Service) -> None:
        """Work by another configuration, from the end of the run that is under way.

        One that rests because something was wrong tries again now.
        """
        self._service = service
        self._nudged.set()
        if config != self._config:
            self._config = config
            self._replaced.set()
            self._wake.set()

    # -- its life ----------------------------------------------------------------------------

    async def run(self, started: Started) -> None:
        """Live under one configuration after another, and begin again after what goes wrong."""
        with logs.scope(pipeline=self._config.pipeline):
            while True:
                self._replaced, self._nudged = anyio.Event(), anyio.Event()
                try:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._life, started)
                except ExceptionGroup as group:  # the daemon's edge: the other pipelines go on
                    self._tell_broken(group)
                    started()
                    await self._rest()

    async def _life(self, started: Started) -> None:
        bench = self._open(self._config)
        self._facts.configured(
            bench.entities, interval_s=bench.interval_s, stale_after_s=bench.stale_after_s
        )
        try:
            await bench.assert_ready()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._look, bench)
                tasks.start_soon(self._file_wishes, bench)
                await self._lead_or_stand_by(bench, started)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await bench.close()

    def _tell_broken(self, group: ExceptionGroup[Exception]) -> None:
        self._failures += 1
        error = foremost(group) or group
        # Only our own words are fit to be shown; those of others may quote a row.
        reason = str(error) if isinstance(error, SyncdError) else type(_first(group)).__name__
        self._facts.take_role(Role.BROKEN, reason[:_REASON_CHARS_MAX])
        self._facts.run_ends("failed")
        _log.error("pipeline_broken", exc_info=_first(group), reason=reason, attempt=self._failures)

    async def _rest(self) -> None:
        """Until its time has come, or the configuration is read again."""
        most_s = self._service.backoff_s_max
        rest_s = min(_FIRST_BACKOFF_S * 2.0 ** min(self._failures - 1, 20), most_s)
        with anyio.move_on_after(_jittered(rest_s)):
            await self._nudged.wait()

    # -- leading -----------------------------------------------------------------------------

    async def _lead_or_stand_by(self, bench: Bench, started: Started) -> None:
        """Until there is another configuration."""
        while not self._replaced.is_set():
            lease = await bench.tenure.try_take()
            started()
            if lease is not None:
                await self._lead(bench, lease)
                continue
            self._facts.take_role(Role.STANDBY)
            # No later than it can run out: of what a kill costs, the lease is all but the whole.
            look_s = min(self._service.poll_s, bench.tenure.ttl_s / 3, await bench.tenure.left_s())
            with anyio.move_on_after(_jittered(look_s) if look_s > _LAST_LOOK_S else _LAST_LOOK_S):
                await self._replaced.wait()

    async def _lead(self, bench: Bench, lease: Lease) -> None:
        """Until the lease is lost, or there is another configuration."""
        self._facts.take_role(Role.LEADER)
        _log.info("leadership_taken", epoch=lease.epoch)
        begun_s = anyio.current_time()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bench.tenure.keep, lease)
                tasks.start_soon(self._prune, bench)
                for part in bench.led(lease):
                    tasks.start_soon(part)
                await self._work(bench, lease)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = foremost(group)
            if not isinstance(error, FencedError):
                raise
            await self._step_back(error, lasted_s=anyio.current_time() - begun_s)
        finally:
            await bench.tenure.let_go(lease)
            if self._facts.view().role is Role.LEADER:
                self._facts.take_role(Role.STANDBY)

    async def _step_back(self, error: FencedError, *, lasted_s: float) -> None:
        """Another instance leads: leave it some time, more after each loss (case 86)."""
        self._facts.take_role(Role.STANDBY)
        self._facts.run_ends("fenced")
        self._losses = 1 if lasted_s > _STEADY_S else self._losses + 1
        _log.warning("leadership_lost", reason=str(error))
        with anyio.move_on_after(_jittered(rest_after(self._losses))):
            await self._replaced.wait()

    async def _prune(self, bench: Bench) -> None:
        while True:
            await bench.work.prune()
            await anyio.sleep(_PRUNE_S)

    # -- claims ------------------------------------------------------------------------------

    async def _work(self, bench: Bench, lease: Lease) -> None:
        """Claims, one at a time, until there is another configuration."""
        while not self._replaced.is_set():
            self._wake = anyio.Event()
            claim = await bench.claims.take(lease)
            if claim is not None:
                await self._carry_out(bench, lease, claim)
                self._failures = 0
                continue
            with anyio.move_on_after(self._service.poll_s):
                await self._wake.wait()

    async def _carry_out(self, bench: Bench, lease: Lease, claim: Claim) -> None:
        """Run a claim and note what became of it.

        Nothing is noted where a repetition may help: the claim stays with this lease, and whoever
        leads next, this instance among them, takes it up.
        """

        async def finish(status: Ending, run_id: int, reason: str) -> None:
            told = reason[:_REASON_CHARS_MAX]
            await bench.retry(
                lambda: bench.claims.finish(lease, claim.claim_id, status, run_id, told)
            )
            _log.info("claim_ended", status=status, reason=told)

        with logs.scope(claim_id=claim.claim_id):
            _log.info("claim_taken", plan=claim.origin, attempt=2 if claim.resumed else 1)
            try:
                report = await self._passed(bench, lease, claim)
            except _FINAL as error:
                # In a ledger that a newer version has taken over, that one takes up the claim.
                await bench.assert_ready()
                await finish("failed", 0, str(error))
                raise
            if report is None:
                await finish("cancelled", 0, "all that it asked for rests or is not configured")
                return
            failed = report.status == "failed"
            await finish("failed" if failed else "done", report.run_id, _reason(report))
            self._facts.run_ends(report.status)
            await anyio.to_thread.run_sync(give_back)
            await self._see(bench)
            with suppress(SyncdError):  # told by ``_see``
                await bench.see_standings()

    async def _passed(self, bench: Bench, lease: Lease, claim: Claim) -> RunReport | None:
        """The run; None where no entity is left to run."""
        paused = (await bench.pulse.beat()).paused
        wanted = frozenset(bench.entities) if claim.scope is None else claim.scope
        select = wanted & frozenset(bench.entities) - paused
        if not select:
            return None
        self._facts.run_begins(claim.origin)
        return await bench.work.run_under(
            lease,
            # A whole run is one that leaves nothing out; an unfinished one is taken up as such.
            None if claim.scope is None and select == wanted else select,
            accept_rewind=False,
            progress=self._facts,
            numbered=self._facts.run_is,
        )

    # -- looking and wishing -----------------------------------------------------------------

    async def _look(self, bench: Bench) -> None:
        looks = 0
        while True:
            await self._see(bench)
            if looks % _FURTHER_EVERY == 0:
                await self._see_further(bench)
            looks += 1
            await anyio.sleep(_LOOK_S)

    async def _see(self, bench: Bench) -> None:
        """What the ledger says, for /health; a database that is away ends nothing here."""
        try:
            beat = await bench.pulse.beat()
        except SyncdError:
            self._facts.downstream("target", Component("DOWN"))
            return
        self._facts.downstream("target", Component("UP"))
        self._facts.rests(beat.paused)
        self._facts.waits(claims=beat.claims, outbox=beat.outbox)
        for entity in beat.entities:
            self._facts.look(entity.name, entity.last_status, entity.age_s, entity.success_s)

    async def _see_further(self, bench: Bench) -> None:
        """What costs a little more: whether the source is there, and what waits for somebody."""
        try:
            await bench.see_source()
        except SyncdError:
            self._facts.downstream("source", Component("DOWN"))
        else:
            self._facts.downstream("source", Component("UP"))
        with suppress(SyncdError):  # told by ``_see``
            await bench.see_standings()

    async def _file_wishes(self, bench: Bench) -> None:
        """Wishes of this process become claims; kept until the ledger has them."""
        while True:
            if not self._wishes:
                await self._wished.wait()
            self._wished = anyio.Event()
            for origin, by in list(self._wishes.items()):
                await bench.retry(partial(bench.claims.ask, None, origin, by))
                if self._wishes.get(origin) == by:
                    del self._wishes[origin]
            self.wake()


def rest_after(losses: int) -> float:
    """Seconds before the lease is wanted again, after it was lost so often in a short time."""
    return float(min(2.0 ** min(losses, 10), _FLAP_S_MAX))


def _jittered(seconds: float) -> float:
    """Two instances that wait for the same do not come at the same time."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret


def _reason(report: RunReport) -> str:
    """Why a run did not simply end well."""
    notes = [
        f"{e.name}: {note}" for e in report.entities if e.status != "completed" for note in e.notes
    ]
    return "; ".join(notes) or report.status


def _first(error: BaseException) -> BaseException:
    """The first error inside groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
