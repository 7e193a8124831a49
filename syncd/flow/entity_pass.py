"""One entity in one run, from the survey to the sums.

``bring`` finds and applies what is new or changed and remembers who is absent; ``remove`` carries
out the absences that the guard lets through; ``counts`` adds it all up and proves the sum.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from msgspec import Struct

from syncd.errors import InvariantError, SourceError
from syncd.failpoints import failpoint
from syncd.flow.apply import Packed, Tally
from syncd.flow.guard import Evidence
from syncd.flow.model import Counts, Issue, Outcome, Plan, Read
from syncd.flow.ports import Block, Emit, Snapshot, Span, Unit
from syncd.flow.survey import Finding, survey
from syncd.flow.watch import Unwatched, Watch

# Told once per row that has no key of its own to be counted under.
_ROW_CODES_SKIPPED = frozenset({"duplicate_record"})
# Each costs about 65 bytes while the run lasts, and a line in the ledger where it is held.
ABSENT_MAX = 500_000
# Packed rows take a fifth of the memory of others, and each commit is waited for.
LOAD_BATCHES = 2
# A key that occurs twice is known, and a row without any key was never a record of ours.
_KEY_IS_KNOWN = frozenset({"duplicate_key", "null_key"})
_CUT_CODE = "no_final_newline"

T = TypeVar("T")

Apply = Callable[[Sequence[Read]], Awaitable[None]]
Pack = Callable[[Sequence[Read]], Packed | None]
Load = Callable[[Sequence[Packed]], Awaitable[bool]]
LedgerScan = Callable[[Emit, Span], Awaitable[int]]
Advance = Callable[[int], None]
Ready = Callable[[Sequence[Read]], Awaitable[list[Read]]]


class _Lot(Struct):
    """What one transaction of a first load takes."""

    packed: list[Packed] = []
    reads: list[Read] = []
    rows: int = 0

    def take(self, pack: Pack, reads: Sequence[Read]) -> None:
        """Add a piece, packed if it can be."""
        self.rows += len(reads)
        packed = pack(reads)
        if packed is None:
            self.reads += reads
        else:
            self.packed.append(packed)


class Told(Struct):
    """Findings of the read: the first ``most`` are kept, all are counted."""

    most: int
    kept: list[Issue] = []
    total: int = 0
    invalid: int = 0
    skipped: int = 0
    unread: int = 0  # rows whose key is not known
    cut: str = ""

    def tell(self, issue: Issue) -> None:
        """Take a finding."""
        self.total += 1
        if len(self.kept) < self.most:
            self.kept.append(issue)
        if issue.code == _CUT_CODE:
            self.cut = f"the last line of the dump has no end ({issue.place}): it may be cut off"
        elif issue.code in _ROW_CODES_SKIPPED:
            self.skipped += 1
        elif issue.excludes:
            self.invalid += 1
            self.unread += issue.code not in _KEY_IS_KNOWN


class EntityPass:
    """Counts and streams of one entity; every number here is of this attempt."""

    def __init__(
        self,
        plan: Plan,
        snapshot: Snapshot,
        *,
        batch_rows: int,
        writers: int,
        findings: int,
        turns: anyio.Semaphore | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.plan = plan
        self.told = Told(findings)
        self.absent: list[bytes] = []
        self.source_rows = 0
        self.equal = 0
        self.suspects = 0
        self.gone = 0
        self.remembered = 0
        self.asked: set[bytes] = set()  # to be looked at though they are equal
        self.unmet: set[bytes] = set()  # of those that were released, not looked at yet
        self._snapshot = snapshot
        self._batch_rows = batch_rows
        self._writers = writers
        self._turns = turns or anyio.Semaphore(writers)
        self._watch = watch or Unwatched()

    async def load(self, pack: Pack, load: Load, apply: Apply, advance: Advance) -> None:
        """Read everything in key order, since nothing is remembered yet.

        What ``pack`` takes is loaded, and the rest applied. Rows are packed piece by piece as they
        come, while the processor still has them at hand, and only the packed ones are kept.
        """

        async def produce(send: ObjectSendStream[_Lot]) -> None:
            lot, rows_max = _Lot(), LOAD_BATCHES * self._batch_rows

            async def hand_over() -> None:
                nonlocal lot
                full, lot = lot, _Lot()
                await failpoint("load.read")
                with self._watch.waiting():
                    await send.send(full)

            async def emit(reads: Sequence[Read]) -> None:
                self.suspects += len(reads)
                for at in range(0, len(reads), self._batch_rows):
                    some = reads[at : at + self._batch_rows]
                    # What cannot be packed takes five times the memory, and is applied in batches.
                    most = self._batch_rows if lot.reads else rows_max
                    if lot.rows + len(some) > most:
                        await hand_over()
                    lot.take(pack, some)
                advance(len(reads))

            self.source_rows = await self._snapshot.read(self.plan, emit, self.told.tell)
            if lot.rows:
                await hand_over()

        async def store(lot: _Lot) -> None:
            reads = lot.reads
            if lot.packed and not await load(lot.packed):
                reads += await self._read_again([key for one in lot.packed for key in one.keys])
            reads.sort(key=_key)
            for at in range(0, len(reads), self._batch_rows):
                await apply(reads[at : at + self._batch_rows])

        await self._spread(produce, store)

    async def bring(
        self,
        spans: Sequence[Span],
        scan_ledger: LedgerScan,
        apply: Apply,
        advance: Advance,
        released: Sequence[bytes] = (),
    ) -> None:
        """Survey, fetch the suspects and apply them; collect the absentees.

        The spans are surveyed side by side, each on connections of its own. ``released`` are keys
        that are to be looked at even if they are found equal: ``asked`` and ``unmet`` afterwards.
        """
        self.asked, self.unmet = set(released), set(released)

        async def store(reads: Sequence[Read]) -> None:
            await apply(reads)
            self.unmet.difference_update([read.key for read in reads])

        async def produce(send: ObjectSendStream[list[Read]]) -> None:
            waiting: list[bytes] = []
            turn = anyio.Lock()  # one finding at a time, whichever survey it comes from

            async def flush(least: int) -> None:
                while len(waiting) >= least and waiting:
                    keys = waiting[: self._batch_rows]
                    del waiting[: self._batch_rows]
                    await self._fetch(keys, send)

            async def consume(finding: Finding) -> None:
                async with turn:
                    self._miss(finding.absentees)
                    waiting.extend(finding.suspects)
                    if self.asked:
                        self.asked.difference_update(finding.absentees, finding.suspects)
                    advance(finding.equal + len(finding.suspects))
                    await failpoint("survey.step")
                    await flush(self._batch_rows)

            async def survey_span(span: Span) -> None:
                totals = await survey(
                    lambda emit: self._scan_source(emit, span),
                    lambda emit: scan_ledger(emit, span),
                    consume,
                )
                self.source_rows += totals.source_rows
                self.equal += totals.equal
                self.remembered += totals.ledger_rows

            async with anyio.create_task_group() as tasks:
                for span in spans:
                    tasks.start_soon(survey_span, span)
            self.absent.sort()
            await failpoint("survey.done")
            await flush(1)

        await self._spread(produce, store if released else apply)

    async def look_again(self, keys: Sequence[bytes], apply: Apply) -> None:
        """Fetch and apply these once more; they were counted before."""
        ordered = sorted(keys)
        for at in range(0, len(ordered), self._batch_rows):
            reads = await self._snapshot.fetch(self.plan, ordered[at : at + self._batch_rows])
            if reads:
                await failpoint("look.fetched")
                await apply(reads)

    async def look_late(self, ready: Ready, apply: Apply) -> None:
        """Fetch those ``asked`` for, and apply those that are ready, though they were equal."""
        keys = sorted(self.asked)
        self.asked = set()
        for at in range(0, len(keys), self._batch_rows):
            reads = await self._snapshot.fetch(self.plan, keys[at : at + self._batch_rows])
            self.unmet.difference_update([read.key for read in reads])
            some = await ready(reads)
            self.equal -= len(some)
            self.suspects += len(some)
            if some:
                await apply(some)

    def evidence(self) -> Evidence:
        """What this complete read says about absences."""
        told = self.told
        return Evidence(self.source_rows - told.invalid, self.remembered, told.cut, told.unread)

    def counts(
        self,
        tally: Tally,
        earlier: Sequence[Unit],
        *,
        attempt: int,
        held: int,
        reported: int,
        standing: Counts | None = None,
    ) -> Counts:
        """Every outcome of the run, over all its attempts, and ``seen``.

        ``standing`` are those found equal whose outcome is an earlier one that stands.
        Raises InvariantError when ``seen`` is not their sum (I8).
        """
        present, absent = Counts(), Counts()
        for unit in [*earlier, _as_unit(tally)]:
            _add(present, unit.present, unit.present_redone)
            _add(absent, unit.absent, unit.absent_redone)
        evaluated = self.suspects - tally.touched - tally.stale
        removed = len(self.absent) - held - reported
        # Given by an earlier attempt, and not again by this one.
        carried = present.total() - evaluated
        carried_absent = absent.total() - removed
        # Of those, some have left the source meanwhile: they were seen then, and as absent now.
        left = max(0, carried - self.equal - tally.touched)
        total = Counts()
        total.merge(present)
        total.merge(absent)
        total.unchanged += self.equal + tally.touched - (carried - left)
        if standing is not None and standing.total() <= total.unchanged:
            total.unchanged -= standing.total()
            total.merge(standing)
        total.stale += tally.stale + self.gone
        total.invalid += self.told.invalid
        total.skipped += self.told.skipped + reported
        total.held += held
        total.seen = self.source_rows + left + absent.total() + held + reported
        if attempt == 1 and (carried or carried_absent):
            raise self._wrong(f"{carried + carried_absent} outcomes more than records")
        if carried < 0 or carried_absent < 0 or total.seen != total.total():
            raise self._wrong(f"{total.seen} records, {total.total()} outcomes")
        return total

    def _wrong(self, found: str) -> InvariantError:
        return InvariantError(
            f"entity {self.plan.name}: the records seen and their outcomes do not add up: {found}",
            hint="what was committed stands; please report this with the run's id",
        )

    def _miss(self, keys: Sequence[bytes]) -> None:
        """Remember absentees, up to a bound beyond which a read is no evidence of anything."""
        self.absent.extend(keys)
        if len(self.absent) > ABSENT_MAX:
            raise SourceError(
                f"entity {self.plan.name}: more than {ABSENT_MAX} records are missing at the "
                "source; that is no deletion but a broken dump, and nothing is deleted",
                hint="look at the dump; if it is right, empty the target by hand",
            )

    async def _scan_source(self, emit: Emit, span: Span) -> int:
        async def forward(block: Block) -> None:
            await emit(block)

        return await self._snapshot.scan(self.plan, forward, self.told.tell, span)

    async def _fetch(self, keys: list[bytes], send: ObjectSendStream[list[Read]]) -> None:
        await failpoint("fetch.begin")
        reads = await self._snapshot.fetch(self.plan, keys)
        self.suspects += len(reads)
        self.gone += len(keys) - len(reads)
        if reads:
            await failpoint("fetch.done")
            with self._watch.waiting():
                await send.send(reads)

    async def _read_again(self, keys: Sequence[bytes]) -> list[Read]:
        """What could not be loaded; a source without a snapshot may have lost some meanwhile."""
        reads = await self._snapshot.fetch(self.plan, keys)
        self.suspects -= len(keys) - len(reads)
        self.gone += len(keys) - len(reads)
        return reads

    async def _spread(
        self,
        produce: Callable[[ObjectSendStream[T]], Awaitable[None]],
        write: Callable[[T], Awaitable[None]],
    ) -> None:
        """Run ``produce`` beside the writers; one batch is read while others are written."""
        send, receive = anyio.create_memory_object_stream[T](0)
        async with anyio.create_task_group() as tasks:
            for _ in range(self._writers):
                tasks.start_soon(_write, receive.clone(), write, self._turns)
            receive.close()
            async with send:
                await produce(send)


async def _write(
    receive: ObjectReceiveStream[T], write: Callable[[T], Awaitable[None]], turns: anyio.Semaphore
) -> None:
    async with receive:
        async for batch in receive:
            await failpoint("writer.take")
            async with turns:
                await write(batch)
            await failpoint("writer.done")


def _key(read: Read) -> bytes:
    return read.key


def _as_unit(tally: Tally) -> Unit:
    return Unit("", tally.present, tally.absent, tally.present_redone, tally.absent_redone)


def _add(total: Counts, plus: Counts, minus: Counts) -> None:
    total.merge(plus)
    if minus.total():
        for outcome in Outcome:
            total.add(outcome, -getattr(minus, outcome.value))
