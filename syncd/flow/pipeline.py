"""One pass over all entities. Read this first.

    survey -> fetch -> normalise -> fingerprint -> diff -> transform -> order
           -> apply(lock, merge, write, read back, record) -> outbox

Upserts go in waves, parents first; then deletes in the opposite order, so that children go before
their parents; then whatever waited for a parent, or for a name that a delete has freed, is looked
at once more. What is absent is only ever deleted after the read was complete and the guard agreed.

An entity that fails stops alone: the others go on, and nothing it had committed is undone.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import anyio
from msgspec import Struct

from syncd.errors import (
    FencedError,
    InvariantError,
    PermanentError,
    SourceError,
    SyncdError,
    TransientError,
)
from syncd.failpoints import failpoint
from syncd.flow.apply import Applier, Shores
from syncd.flow.decide import Decider, Sight
from syncd.flow.dry import DryApplier, Planned
from syncd.flow.entity_pass import EntityPass
from syncd.flow.fingerprint import Hasher
from syncd.flow.guard import Bounds, judge
from syncd.flow.model import Counts, Issue, Plan, Read
from syncd.flow.ports import RunBook, Snapshot
from syncd.flow.transform import Drafter
from syncd.flow.waiting import Parents
from syncd.progress import Progress

_REBASELINED = (
    "WARNING: new baseline: the ledger knows nothing of this entity, yet the target holds rows; "
    "what is equal is linked, what differs stays as it is, and nothing is deleted"
)
# Entities that are brought side by side: one waits for its source while another is decided about.
_ENTITIES_AT_ONCE = 2
# Passes over what waits; a tree deeper than this is finished by the next run.
_LOOKS_MAX = 32
_WARNINGS_MAX = 20  # kinds of them in a note


class Entity(Struct, frozen=True):
    """An entity, ready to run. ``report_deletes``: absences are told and nothing else.

    ``digest_epoch`` names what stored digests depend on: the source, its columns, and the plan's
    shape and revision. ``settled_identity`` is the identity of the content that was applied last
    without a remainder, or ''; ``settled_rows`` the number of its rows. ``completed_run`` is the
    last run before this one that went to the end of the entity, 0 where none is known.
    """

    plan: Plan
    drafter: Drafter
    bounds: Bounds
    digest_epoch: int
    source_epoch: int
    report_deletes: bool = False
    identity: str = ""
    settled_identity: str = ""
    settled_rows: int = 0
    completed_run: int = 0
    expected_rows: int = 0
    forced: Mapping[bytes, Mapping[str, bytes]] = {}


class Ground(Struct, frozen=True):
    """What a pass stands on. ``clock_s`` is monotonic."""

    snapshot: Snapshot
    shores: Shores
    book: RunBook
    hasher: Hasher
    progress: Progress
    clock_s: Callable[[], float]
    run_id: int
    attempt: int
    batch_rows: int
    writers: int
    findings: int
    previous_run: bytes | None = None
    dry_samples: int | None = None  # a number makes it a plan: nothing is written


class Ended(Struct):
    """How one entity ended. ``error`` is set when it stopped."""

    plan: Plan
    counts: Counts
    seconds: float = 0.0
    notes: list[str] = []
    findings: list[Issue] = []
    findings_total: int = 0
    conflicts: int = 0
    source_rows: int = 0
    samples: list[Planned] = []
    error: SyncdError | None = None


class _Running:
    """An entity between its upserts and its sums."""

    def __init__(
        self,
        entity: Entity,
        ground: Ground,
        plans: Mapping[str, Plan],
        planned: dict[str, set[bytes]],
        turns: anyio.Semaphore,
    ) -> None:
        plan, shores = entity.plan, ground.shores
        sight = Sight(
            run_id=ground.run_id,
            source_epoch=entity.source_epoch,
            position=ground.snapshot.position,
            digest_epoch=entity.digest_epoch,
            previous_run=ground.previous_run,
        )
        parents = Parents(plan, plans, planned)
        decider = Decider(
            plan,
            sight,
            ground.hasher,
            entity.drafter,
            parents,
            shores.ledger,
            shores.target,
            entity.forced,
        )
        self.entity = entity
        self.parents = parents
        self.applier: Applier | DryApplier = (
            Applier(decider, shores)
            if ground.dry_samples is None
            else DryApplier(decider, shores, ground.dry_samples, planned)
        )
        self.read = EntityPass(
            plan,
            ground.snapshot,
            batch_rows=ground.batch_rows,
            writers=ground.writers,
            turns=turns,
            findings=ground.findings,
            watch=shores.watch,
        )
        self.ended = Ended(plan, Counts())
        self.parents_before = 0  # what had come of its parents when it was brought
        self.held = 0
        self.reported = 0
        self.skipped_whole = False


class Pass:
    """One pass over ``entities``; ``run`` may be called once.

    ``plans`` are those of all entities of the pipeline: a parent need not be part of the pass.
    """

    def __init__(
        self,
        ground: Ground,
        waves: Sequence[Sequence[str]],
        entities: Mapping[str, Entity],
        plans: Mapping[str, Plan],
    ) -> None:
        self._ground = ground
        parents = {p.entity for e in entities.values() for p in e.plan.parents if p.columns}
        planned: dict[str, set[bytes]] = {name: set() for name in parents}
        turns = anyio.Semaphore(ground.writers)  # shared: as many transactions as configured
        self._waves = [
            [
                _Running(entities[name], ground, plans, planned, turns)
                for name in wave
                if name in entities
            ]
            for wave in waves
        ]

    async def run(self) -> list[Ended]:
        """Bring every entity up to date; one answer for each, in wave order.

        Raises FencedError at once; every other error ends the entity that it struck.
        """
        await failpoint("pass.begin")
        for wave in self._waves:
            await self._bring_all(wave)
        for running in reversed(self._in_order()):
            await self._guarded(running, self._remove)
        for running in self._in_order():
            await self._guarded(running, self._look_again)
        for running in self._in_order():
            await self._guarded(running, self._add_up)
            self._ground.progress.finish(running.entity.plan.name)
        return [running.ended for running in self._in_order()]

    async def _bring_all(self, wave: Sequence[_Running]) -> None:
        """Bring entities of which none is another's parent, as many at once as the source can."""
        at_once = anyio.Semaphore(min(_ENTITIES_AT_ONCE, self._ground.snapshot.lanes))

        async def bring(running: _Running) -> None:
            async with at_once:
                await self._guarded(running, self._bring)

        try:
            async with anyio.create_task_group() as tasks:
                for running in wave:
                    tasks.start_soon(bring, running)
        except BaseExceptionGroup as group:
            raise (foremost(group) or group) from None

    def _in_order(self) -> list[_Running]:
        return [running for wave in self._waves for running in wave]

    async def _guarded(
        self, running: _Running, step: Callable[[_Running], Awaitable[None]]
    ) -> None:
        """Take a step of an entity that still runs; keep its error, let others go on."""
        if running.ended.error is not None:
            return
        started_s = self._ground.clock_s()
        try:
            await step(running)
        except BaseExceptionGroup as group:
            error = foremost(group)
            if error is None or isinstance(error, FencedError):
                raise (error or group) from None
            running.ended.error = error
        except FencedError:
            raise
        except SyncdError as error:
            running.ended.error = error
        finally:
            running.ended.seconds += self._ground.clock_s() - started_s

    async def _bring(self, running: _Running) -> None:
        entity, read = running.entity, running.read
        plan, ledger = entity.plan, self._ground.shores.ledger
        progress = self._ground.progress
        progress.start(plan.name, entity.expected_rows)
        await failpoint("entity.bring")
        running.parents_before = self._of_parents(running)

        def advance(rows: int) -> None:
            progress.advance(plan.name, rows)

        released = await self._released(running)
        if not released and await self._is_same_content(entity):
            running.skipped_whole = True
            read.source_rows = read.equal = entity.settled_rows
            running.ended.notes.append("the same content as last time: nothing was read")
            advance(entity.settled_rows)
        elif (extent := await self._ground.shores.retry(lambda: ledger.extent(plan))) is None:
            applier = running.applier
            empty = await self._ground.shores.target.is_empty(plan)
            if not empty:
                running.ended.notes.append(_REBASELINED)
            pack = applier.pack if empty else _pack_nothing
            await read.load(pack, applier.load, applier.apply, advance)
        else:
            await read.bring(
                await self._ground.snapshot.spans(plan, extent, entity.expected_rows),
                lambda emit, span: ledger.scan(plan, entity.digest_epoch, emit, span),
                running.applier.apply,
                advance,
                released,
            )
            await self._look_late(running)

    async def _is_same_content(self, entity: Entity) -> bool:
        """Whether the source holds, byte for byte, what was applied without a remainder."""
        if not entity.identity or entity.identity != entity.settled_identity or entity.forced:
            return False
        return await self._ground.shores.ledger.is_settled(entity.plan)

    async def _remove(self, running: _Running) -> None:
        """Let the guard judge the absentees and carry out what it allows."""
        read, entity = running.read, running.entity
        if running.skipped_whole:
            return
        if entity.report_deletes:
            running.reported = len(read.absent)
            if read.absent:
                running.ended.notes.append(f"{len(read.absent)} records are gone at the source")
            return
        book = self._ground.book
        await failpoint("entity.remove")
        decisions = await book.decisions(entity.plan)
        judgement = judge(
            read.absent,
            read.evidence(),
            entity.bounds,
            approved=decisions.approved,
            rejected=decisions.rejected,
            missed_runs=decisions.missed_runs,
        )
        running.held = len(judgement.held)
        running.reported = len(judgement.kept)
        if judgement.kept:
            running.ended.notes.append(f"{len(judgement.kept)} deletes were rejected and stay")
        if judgement.held:
            running.ended.notes.append(f"deletes held: {judgement.reason}")
        await self._remove_all(running, judgement.allowed)
        await failpoint("entity.removed")
        # Only now: an approval that a crash left half carried out still stands.
        await book.hold(entity.plan, [*judgement.held, *judgement.kept], judgement.reason)

    async def _remove_all(self, running: _Running, keys: Sequence[bytes]) -> None:
        """Delete ``keys``, again and again while that makes room: a parent after its children."""
        tally = running.applier.tally
        await self._remove_keys(running, keys)
        for _ in range(_LOOKS_MAX):
            again, tally.again_absent = sorted(set(tally.again_absent)), []
            if again:
                await self._remove_keys(running, again)
            if not again or len(set(tally.again_absent)) >= len(again):
                return

    async def _remove_keys(self, running: _Running, keys: Sequence[bytes]) -> None:
        rows = self._ground.batch_rows
        for at in range(0, len(keys), rows):
            await running.applier.remove(keys[at : at + rows])

    async def _look_again(self, running: _Running) -> None:
        """Give what waited another chance, as long as that gets anything done.

        A parent that did not come since is not waited for once more in the same run.
        """
        tally = running.applier.tally
        if self._of_parents(running) == running.parents_before:
            tally.waiting = []
        else:
            read = running.read
            read.asked = {*await self._released(running)}.difference(tally.waiting)
            read.unmet = {*read.asked}
            await self._look_late(running)
        for _ in range(_LOOKS_MAX):
            keys = sorted({*tally.again, *tally.waiting})
            tally.again, tally.waiting = [], []
            if not keys:
                return
            await failpoint("entity.look_again")
            await running.read.look_again(keys, running.applier.apply)
            if len({*tally.again, *tally.waiting}) >= len(keys):
                return

    async def _look_late(self, running: _Running) -> None:
        """Look at who waited and was released; who is not there to be seen is asked again."""
        read, applier = running.read, running.applier
        await read.look_late(applier.ready, applier.apply)
        if read.unmet:
            await applier.ask_again(sorted(read.unmet))
            read.unmet = set()

    async def _released(self, running: _Running) -> list[bytes]:
        """Records that stand aside for want of a parent, once one may have come."""
        entity = running.entity
        plan, ledger, shores = entity.plan, self._ground.shores.ledger, self._ground.shores
        parents = [edge.plan.entity_id for edge in running.parents.edges]
        if not parents:
            return []
        since = entity.completed_run
        return await shores.retry(lambda: ledger.released(plan, parents, since))

    def _of_parents(self, running: _Running) -> int:
        """How many records of an entity's parents may have landed in this pass so far."""
        named = {edge.parent.entity for edge in running.parents.edges}
        parents = [one.applier.tally for one in self._in_order() if one.entity.plan.name in named]
        return sum(tally.present.landed() for tally in parents)

    async def _add_up(self, running: _Running) -> None:
        read, ended, plan = running.read, running.ended, running.entity.plan
        shores, run = self._ground.shores, self._ground.run_id
        await failpoint("entity.add_up")
        ended.findings, ended.findings_total = read.told.kept, read.told.total
        ended.source_rows = read.source_rows
        ended.conflicts = running.applier.tally.conflicts
        ended.notes += _warnings(running.applier.tally.warned)
        if isinstance(running.applier, DryApplier):
            ended.samples = running.applier.samples
        ended.counts = read.counts(
            running.applier.tally,
            await self._ground.book.earlier_units(plan),
            attempt=self._ground.attempt,
            held=running.held,
            reported=running.reported,
            standing=await shores.retry(
                lambda: shores.ledger.standing(plan, run, running.read.absent)
            ),
        )


def _warnings(warned: Mapping[str, int]) -> list[str]:
    """One note about what was written all the same, the most frequent first."""
    told = sorted(warned.items(), key=lambda pair: (-pair[1], pair[0]))[:_WARNINGS_MAX]
    return [f"warnings: {', '.join(f'{name} {records}' for name, records in told)}"] if told else []


def _pack_nothing(reads: Sequence[Read]) -> None:
    """Where the target holds rows, each is looked at."""
    del reads


# What the other end of a stream meets when a task beside it has failed.
_CONSEQUENCES = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
_GRAVITY = (FencedError, InvariantError, SourceError, PermanentError, TransientError, SyncdError)


def foremost(group: BaseExceptionGroup[BaseException]) -> SyncdError | None:
    """The gravest error of ours in a group; None when the group holds anything else.

    Cancellation beside an error of ours is its consequence, and is not looked at.
    """
    leaves = [e for e in _leaves(group) if not isinstance(e, _CONSEQUENCES)]
    ours = [error for error in leaves if isinstance(error, SyncdError)]
    return min(ours, key=_gravity, default=None) if len(ours) == len(leaves) else None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _gravity(error: SyncdError) -> int:
    """Place in the order of gravity, the gravest 0."""
    return [isinstance(error, kind) for kind in _GRAVITY].index(True)
