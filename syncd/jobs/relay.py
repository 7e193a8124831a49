"""The relay: what the outbox holds goes out, at least once, in order for each record.

    take (the attempt is noted) -> say -> send -> note what became of each

An event is noted as sent only after its answer. Whoever dies in between leaves it unsent, and it is
sent again with the same id (case 83). What cannot be said or is refused rests with its reason, and
holds back its own record's later events, nobody else's; it is tried again by itself, since what it
lacks may come.

A relay works under the lease, and takes no more than it may send within a second, so one that lost
the lease unknowingly repeats at most that much.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
from msgspec import Struct

from syncd.config import Event, Events
from syncd.errors import ConfigError, PermanentError, SyncdError, TransientError
from syncd.flow.keys import KeyIssue, display_key
from syncd.flow.model import Plan
from syncd.flow.pipeline import foremost
from syncd.flow.ports import Lease
from syncd.ledger.outbox import Due, Outbox, Postponed
from syncd.logs import Log
from syncd.planning import event_of
from syncd.publish.details import Details, queries
from syncd.publish.envelope import Happening, HeldBack, envelope, message
from syncd.publish.opening import opened
from syncd.publish.pace import Pace
from syncd.publish.ports import Message, Publisher, Refusal
from syncd.reports import Check, RelayReport
from syncd.site import Prepared, Site
from syncd.tenure import Tenure

_log = Log("syncd.relay")
_BATCHES: Final = 4  # in flight; each is a call and a transaction
_REST_S_MIN: Final = 1.0
_REST_S_MAX: Final = 900.0  # what lacks a CRN is looked at four times an hour
_BROKEN_S: Final = 15.0  # until a place that cannot be written to is tried again
_NOTE_S: Final = 10.0


class Tally(Struct):
    """What one round came to. ``stopped`` is why the next one should not follow at once."""

    taken: int = 0
    sent: int = 0
    postponed: int = 0
    stopped: TransientError | None = None


def pause_s(attempts: int, *, transient: bool) -> float:
    """How long an event rests after so many attempts: doubled each time, at most a quarter hour."""
    if not transient:
        return _REST_S_MAX
    return min(_REST_S_MAX, _REST_S_MIN * 2.0 ** min(attempts - 1, 20))


class Relay:
    """Sends one site's events under a lease that the caller holds: for good, or all that is due."""

    def __init__(self, site: Site, events: Events) -> None:
        self._site = site
        self._events = events
        config = site.config
        found = {name: event_of(entity) for name, entity in config.entities.items()}
        self._kinds: Mapping[str, Event] = {n: e for n, e in found.items() if e is not None}
        self._details = Details(site.connections, {})
        self._outbox = Outbox(site.connections, config.pipeline, config.ledger.schema)
        self._pace = Pace(events.rate_per_s, anyio.current_time, anyio.sleep)
        self._prepared: Prepared | None = None

    # -- for good ----------------------------------------------------------------------------

    async def run(self, lease: Lease) -> None:
        """Send until cancelled; raises FencedError once another instance has taken over.

        What goes wrong with the place or the target is logged and tried again: nothing is lost by
        waiting, and the pipeline goes on without it.
        """
        while True:
            try:
                async with self.opened() as publisher:
                    await self._send(lease, publisher)
            except (TransientError, PermanentError, ConfigError) as error:
                _log.warning("relay_stopped", reason=error.message, seconds=_BROKEN_S)
                await anyio.sleep(_BROKEN_S)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Publisher]:
        """The place, for as long as the block lasts; the queries of details are read anew."""
        self._details = Details(self._site.connections, queries(self._kinds))
        async with opened(self._events, self._site.connections) as publisher:
            yield publisher

    async def _send(self, lease: Lease, publisher: Publisher) -> None:
        while True:
            tally = await self.round(lease, publisher)
            if tally.stopped is not None:
                raise tally.stopped
            if not tally.taken:
                await anyio.sleep(self._events.poll_s)

    # -- once --------------------------------------------------------------------------------

    async def once(self, tenure: Tenure) -> RelayReport:
        """Send all that is due under a lease of its own, then tell what is left.

        Raises FencedError when another instance holds the lease, TransientError and ConfigError
        when the place cannot be written to.
        """
        await self._site.retry(self._site.assert_ledger)
        reports: list[RelayReport] = []
        lease = await tenure.take()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tenure.keep, lease)
                reports.append(await self.drain(lease))
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise (foremost(group) or group) from None
        finally:
            await tenure.let_go(lease)
        return reports[0]

    async def drain(self, lease: Lease) -> RelayReport:
        """As ``once``, under a lease that the caller holds."""
        sent = postponed = 0
        async with self.opened() as publisher:
            while (tally := await self.round(lease, publisher)).taken:
                sent += tally.sent
                postponed += tally.postponed
                if tally.stopped is not None:
                    raise tally.stopped
        return RelayReport(
            pipeline=self._site.config.pipeline,
            sent=sent,
            postponed=postponed,
            left=await self._outbox.backlog(),
            reasons=tuple(await self._outbox.reasons()),
        )

    async def check(self) -> list[Check]:
        """Whether the place is there, and the queries can be asked. Sends nothing."""
        try:
            async with self.opened() as publisher:
                await publisher.check()
        except SyncdError as error:
            return [Check("error", "events", str(error))]
        checks = [Check("ok", "events", "there is somewhere to send them")]
        for name in self._kinds:
            try:
                await self._details.check(name, len(self._site.config.entities[name].key))
            except SyncdError as error:
                checks.append(Check("error", name, str(error)))
        return checks

    # -- a round -----------------------------------------------------------------------------

    async def round(self, lease: Lease, publisher: Publisher) -> Tally:
        """Take what is due, about a second's worth, and send it.

        Raises FencedError once another instance has taken over, ConfigError when the place cannot
        be written to.
        """
        batch, tally = self._events.batch, Tally()
        most = min(batch * _BATCHES, max(1, int(self._events.rate_per_s)))
        await self._pace.ready()
        due = await self._site.retry(lambda: self._outbox.take(lease, most))
        self._pace.spent(len(due))
        tally.taken = len(due)
        told, held = await self._said(due)
        await self._note(lease, tally, [], held)
        try:
            async with anyio.create_task_group() as tasks:
                for at in range(0, len(told), batch):
                    tasks.start_soon(self._deliver, lease, publisher, told[at : at + batch], tally)
        except BaseExceptionGroup as group:
            raise (foremost(group) or group) from None
        return tally

    async def _deliver(
        self,
        lease: Lease,
        publisher: Publisher,
        batch: Sequence[tuple[Due, Message]],
        tally: Tally,
    ) -> None:
        messages = [message for _, message in batch]
        try:
            answers = await self._site.retry(lambda: publisher.send(messages))
        except TransientError as error:
            tally.stopped = error
            answers = [Refusal(error.message, transient=True)] * len(batch)
        sent, postponed = [], []
        for (due, _), refusal in zip(batch, answers, strict=True):
            if refusal is None:
                sent.append(due.outbox_id)
            else:
                postponed.append(_rested(due, refusal))
        await self._note(lease, tally, sent, postponed)

    async def _note(
        self, lease: Lease, tally: Tally, sent: Sequence[int], postponed: Sequence[Postponed]
    ) -> None:
        """Note it even when cancelled: what was answered should not be asked again."""
        if not sent and not postponed:
            return
        with anyio.move_on_after(_NOTE_S, shield=True):
            await self._site.retry(lambda: self._outbox.note(lease, sent, postponed))
        tally.sent += len(sent)
        tally.postponed += len(postponed)
        for reason in dict.fromkeys(p.reason for p in postponed):
            _log.warning("event_not_sent", reason=reason)

    # -- what events say ---------------------------------------------------------------------

    async def _said(self, due: Sequence[Due]) -> tuple[list[tuple[Due, Message]], list[Postponed]]:
        """The messages of what can be said, and what rests because it cannot be."""
        told: list[tuple[Due, Message]] = []
        held: list[Postponed] = []
        for entity in dict.fromkeys(d.entity for d in due):
            of_entity = [d for d in due if d.entity == entity]
            try:
                for one, found in await self._of_entity(entity, of_entity):
                    if isinstance(found, HeldBack):
                        held.append(_rested(one, Refusal(found.reason, transient=False)))
                    else:
                        told.append((one, found))
            except PermanentError as error:
                self._prepared = None  # somebody may put it right
                held += [_rested(d, Refusal(error.message, transient=False)) for d in of_entity]
        return sorted(told, key=lambda pair: pair[0].outbox_id), held

    async def _of_entity(
        self, entity: str, due: Sequence[Due]
    ) -> list[tuple[Due, Message | HeldBack]]:
        plan = await self._plan(entity)
        happenings = [_happening(plan, one) for one in due]
        keys = [happening.key for happening in happenings]
        details = await self._site.retry(lambda: self._details.read(entity, keys))
        return [
            (one, self._message(happening, details.get(happening.key)))
            for one, happening in zip(due, happenings, strict=True)
        ]

    def _message(
        self, happening: Happening, details: Mapping[str, object] | HeldBack | None
    ) -> Message | HeldBack:
        if isinstance(details, HeldBack):
            return details
        # An entity whose event was taken out of the configuration still has what it told before.
        said = self._kinds.get(happening.entity) or Event(type=happening.type)
        found = envelope(happening, said, details)
        return found if isinstance(found, HeldBack) else message(happening, found)

    async def _plan(self, entity: str) -> Plan:
        if self._prepared is None or entity not in self._prepared.plans:
            self._prepared = await self._site.prepared()
        plan = self._prepared.plans.get(entity)
        if plan is not None:
            return plan
        error = self._prepared.errors.get(entity)
        raise error or PermanentError(f"entity {entity} is not in the configuration any more")


def _happening(plan: Plan, due: Due) -> Happening:
    try:
        key = display_key(plan.key_types, due.key)
    except KeyIssue as issue:
        raise PermanentError(f"entity {due.entity}: {issue}, as `key` says them now") from None
    return Happening(due.event_id, due.entity, key, due.type, due.outcome, due.created_at)


def _rested(due: Due, refusal: Refusal) -> Postponed:
    rest_s = pause_s(due.attempts, transient=refusal.transient)
    return Postponed(due.outbox_id, rest_s, refusal.reason)
