"""A batch, applied: lock, merge, write, read back, record, in one transaction.

The target's rows, their entries, their history, their events and the note of the work unit commit
together or not at all. When the target refuses a row the batch is halved until the bad one stands
alone; it is parked with its reason and the others commit. When the connection dies the batch is
tried again, after a look in the ledger whether it had committed after all.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct

from syncd.errors import LockedError, RowError, TransientError
from syncd.failpoints import failpoint
from syncd.flow.decide import DELETE_REFUSED, Batch, Decider
from syncd.flow.fingerprint import HASH_VERSION
from syncd.flow.merge import confirm
from syncd.flow.model import (
    Counts,
    Decision,
    Entry,
    Outcome,
    Read,
    Row,
    State,
    Write,
)
from syncd.flow.ports import Cargo, Fresh, Import, Lease, Ledger, Target, Tx, Unit
from syncd.flow.proof import assert_ours
from syncd.flow.watch import Unwatched, Watch

T = TypeVar("T")

_UNIQUE_VIOLATION = "23505"
_FOREIGN_KEY_VIOLATION = "23503"
APPLIED = frozenset({Outcome.INSERTED, Outcome.UPDATED, Outcome.DELETED, Outcome.LINKED})


class Retry(Protocol):
    """``syncd.retry``, seen from here."""

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Result of ``call``, repeated while it raises TransientError."""


class Shores(Struct, frozen=True):
    """What a batch is applied with."""

    ledger: Ledger
    target: Target
    lease: Lease
    retry: Retry
    new_unit_id: Callable[[], str]
    watch: Watch = Unwatched()


class Tally(Struct):
    """What the batches of one entity did in this attempt; moves only after a commit.

    ``touched`` are rows that the fingerprint proved unchanged, ``lost`` rows that were gone
    between two looks. ``again`` are keys worth a second look before the run ends, ``waiting`` those
    that are worth one if a parent has come, and ``again_absent`` those whose deletion another row
    still stands against.
    """

    present: Counts = msgspec.field(default_factory=Counts)
    absent: Counts = msgspec.field(default_factory=Counts)
    present_redone: Counts = msgspec.field(default_factory=Counts)
    absent_redone: Counts = msgspec.field(default_factory=Counts)
    first: Counts = msgspec.field(default_factory=Counts)
    touched: int = 0
    stale: int = 0
    conflicts: int = 0
    again: list[bytes] = []
    waiting: list[bytes] = []
    again_absent: list[bytes] = []
    warned: dict[str, int] = {}

    def warn(self, warned: Mapping[str, int]) -> None:
        """Add up findings that keep nothing out."""
        for name, records in warned.items():
            self.warned[name] = self.warned.get(name, 0) + records

    def add(self, unit: Unit) -> None:
        """Count a committed unit."""
        self.present.merge(unit.present)
        self.absent.merge(unit.absent)
        self.present_redone.merge(unit.present_redone)
        self.absent_redone.merge(unit.absent_redone)


class Packed(Struct, frozen=True):
    """Records made ready for ``Applier.load``, with their keys."""

    keys: Sequence[bytes]
    rows: Cargo
    entries: Cargo


class Applier:
    """Applies batches of one entity. Several batches may be applied side by side."""

    def __init__(self, decider: Decider, shores: Shores) -> None:
        self.plan = decider.plan
        self.tally = Tally()
        self._decider = decider
        self._sight = decider.sight
        self._shores = shores
        self._unanswered: dict[str, Tally] = {}  # by unit, until its commit is known to stand

    async def apply(self, reads: Sequence[Read]) -> None:
        """Bring the records of ``reads`` up to date."""
        await self._halving(reads, self._apply_once, self._refused)

    def pack(self, reads: Sequence[Read]) -> Packed | None:
        """Make ``reads`` ready for ``load``; None where they do not fit it.

        For an entity of which neither ledger nor target knew anything at the start.
        """
        decider = self._decider
        if self.plan.event or decider.parents.edges or not decider.drafter.is_identity:
            return None
        held = decider.in_columns(reads)
        if held is None:
            return None
        keyed = decider.keyed_columns(held)
        cargo = self._shores.target.pack(self.plan, keyed)
        if cargo is None:
            return None
        hashes = decider.hasher.joined(keyed.columns)
        # The fingerprint is of what the source said, before the key was brought to its one form.
        said = hashes if keyed is held else decider.hasher.joined(held.columns)
        fresh = Fresh(keyed.keys, keyed.digests, decider.fingerprint.of(said), hashes)
        entries = self._shores.ledger.pack(self.plan, self._inserted(), fresh)
        return Packed(keyed.keys, cargo, entries)

    async def load(self, packed: Sequence[Packed]) -> bool:
        """Insert packed records, the fastest way.

        False, having done nothing, when one is bad or somebody was faster: ``apply`` looks at
        each.
        """
        try:
            return await self._repeating(lambda unit: self._load_once(packed, unit))
        except RowError:
            return False

    async def ready(self, reads: Sequence[Read]) -> list[Read]:
        """Those of ``reads`` that lack no parent."""
        return await self._shores.retry(lambda: self._decider.ready(reads))

    async def ask_again(self, keys: Sequence[bytes]) -> None:
        """Let these records be looked at, in whichever run they are met again."""
        shores = self._shores

        async def ask() -> None:
            async with shores.ledger.begin(shores.lease) as tx:
                await shores.ledger.ask_again(tx, self.plan, keys)

        await shores.retry(ask)

    async def remove(self, keys: Sequence[bytes]) -> None:
        """Carry out the proved absence of ``keys`` at the source."""
        await self._halving(keys, self._remove_once, self._delete_refused)

    async def _apply_once(self, reads: Sequence[Read], unit_id: str) -> Tally:
        shores, patient = self._shores, len(reads) == 1
        async with shores.ledger.begin(shores.lease, patient=patient) as tx:
            await failpoint("apply.begin")
            batch = await self._decider.decide(tx, reads)
            await failpoint("apply.decided")
            sight = self._sight
            if batch.touched:
                await self._shores.ledger.touch(
                    tx, self.plan,
                    [read.key for read in batch.touched],
                    [read.digest for read in batch.touched],
                    sight.digest_epoch, sight.source_epoch, sight.position,
                )  # fmt: skip
                await failpoint("apply.touched")
            return await self._commit(tx, batch, unit_id)

    async def _remove_once(self, keys: Sequence[bytes], unit_id: str) -> Tally:
        shores, patient = self._shores, len(keys) == 1
        async with shores.ledger.begin(shores.lease, patient=patient) as tx:
            await failpoint("remove.begin")
            return await self._commit(tx, await self._decider.decide_removal(tx, keys), unit_id)

    async def _commit(self, tx: Tx, batch: Batch, unit_id: str) -> Tally:
        """Write what was decided and record it; the caller's block commits."""
        plan, shores = self.plan, self._shores
        writes = [s for s in batch.settled if s.decision.write is not Write.NOTHING]
        stored: Mapping[bytes, Row] = {}
        if writes:
            assert_ours(plan, self._decider.hasher, batch, self._decider.forced)
            stored = await shores.target.write(
                tx, plan, [(s.key, s.row, s.decision) for s in writes]
            )
            await failpoint("apply.written")
        entries, imports = [], []
        for settled in batch.settled:
            decision, entry = settled.decision, settled.decision.entry
            if settled.key in stored:
                entry = confirm(
                    plan,
                    self._decider.hasher,
                    decision,
                    settled.row,
                    stored[settled.key],
                    batch.locked.get(settled.key),
                )
            entries.append(entry)
            if _is_news(batch.before.get(settled.key), decision):
                imports.append(self._import(settled.key, decision))
        unit = self._unit(unit_id, batch)
        if entries:
            await shores.ledger.record(tx, plan, entries, imports, new=False)
            await failpoint("apply.recorded")
            await shores.ledger.unit(tx, self._sight.run_id, plan, unit)
            await failpoint("apply.noted")
        tally = Tally(
            first=self._first(batch),
            touched=len(batch.touched),
            stale=len(batch.stale),
            conflicts=sum(len(s.decision.conflicts) for s in batch.settled),
            again=list(batch.again),
            waiting=list(batch.waiting),
            warned=batch.warned,
        )
        tally.add(unit)
        self._unanswered[unit_id] = tally
        return tally

    async def _load_once(self, packed: Sequence[Packed], unit_id: str) -> Tally | None:
        plan, shores = self.plan, self._shores
        async with shores.ledger.begin(shores.lease) as tx:
            await failpoint("load.begin")
            if not await shores.target.load(tx, plan, [pack.rows for pack in packed]):
                return None
            await failpoint("load.copied")
            await shores.ledger.load(tx, [pack.entries for pack in packed])
            await failpoint("load.recorded")
            inserted = Counts(inserted=sum(len(pack.keys) for pack in packed))
            unit = Unit(unit_id, inserted, Counts(), Counts(), Counts())
            await shores.ledger.unit(tx, self._sight.run_id, plan, unit)
            await failpoint("load.noted")
            tally = Tally(first=inserted)
            tally.add(unit)
            self._unanswered[unit_id] = tally
        return tally

    async def _repeating(self, once: Callable[[str], Awaitable[Tally | None]]) -> bool:
        """Run a transaction until it stands; count it once. False when it declined."""
        unit_id = self._shores.new_unit_id()
        unknown = False

        async def attempt() -> Tally | None:
            nonlocal unknown
            if unknown:
                await failpoint("retry.look_up")
                unit = await self._shores.ledger.find_unit(self._sight.run_id, self.plan, unit_id)
                if unit is not None:
                    await failpoint("retry.found")
                    return self._unanswered[unit_id]
            await failpoint("retry.attempt")
            try:
                with self._shores.watch.writing():
                    return await once(unit_id)
            except TransientError as error:
                unknown = unknown or error.outcome_unknown
                raise

        try:
            tally = await self._shores.retry(attempt)
            await failpoint("apply.stands")
        finally:
            self._unanswered.pop(unit_id, None)
        if tally is None:
            return False
        self._add(tally)
        self._shores.watch.committed(self.plan, tally.first, tally.conflicts)
        await failpoint("apply.counted")
        return True

    async def _halving(
        self,
        items: Sequence[T],
        once: Callable[[Sequence[T], str], Awaitable[Tally]],
        refused: Callable[[T, RowError], Awaitable[None]],
    ) -> None:
        """Apply ``items`` in one transaction; on a refused row, in halves down to the row."""
        if not items:
            return
        try:
            await self._repeating(lambda unit_id: once(items, unit_id))
        except RowError as error:
            if len(items) == 1:
                await refused(items[0], error)
                return
            middle = len(items) // 2
            await failpoint("halving.split")
            await self._halving(items[:middle], once, refused)
            await self._halving(items[middle:], once, refused)

    async def _refused(self, read: Read, error: RowError) -> None:
        """Park a record that the target refused.

        One that lacks its parent, whose name another record holds, or that somebody has locked
        is tried again before the run ends.
        """
        outcome, reason = _refusal(error)
        later = _passes_later(error)
        await failpoint("park.refused")
        await self._repeating(
            lambda unit: self._park_once(read.key, outcome, reason, unit, later=later)
        )

    async def _delete_refused(self, key: bytes, error: RowError) -> None:
        """Park a record whose deletion the target refused."""
        outcome, reason = _refusal(error)
        told, later = DELETE_REFUSED + reason, _passes_later(error)
        await failpoint("park.delete_refused")
        await self._repeating(
            lambda unit: self._park_once(key, outcome, told, unit, later=later, absent=True)
        )

    async def _park_once(
        self,
        key: bytes,
        outcome: Outcome,
        reason: str,
        unit_id: str,
        *,
        later: bool,
        absent: bool = False,
    ) -> Tally:
        async with self._shores.ledger.begin(self._shores.lease) as tx:
            before = await self._shores.ledger.lock(tx, self.plan, [key])
            await failpoint("park.locked")
            parked = self._decider.parked(key, before.get(key), outcome, reason, absent=absent)
            tally = await self._commit(tx, Batch(before, settled=[parked]), unit_id)
            if later:
                (tally.again_absent if absent else tally.again).append(key)
            return tally

    def _add(self, tally: Tally) -> None:
        total = self.tally
        total.present.merge(tally.present)
        total.absent.merge(tally.absent)
        total.present_redone.merge(tally.present_redone)
        total.absent_redone.merge(tally.absent_redone)
        total.touched += tally.touched
        total.stale += tally.stale
        total.conflicts += tally.conflicts
        total.again.extend(tally.again)
        total.waiting.extend(tally.waiting)
        total.again_absent.extend(tally.again_absent)
        total.warn(tally.warned)

    def _inserted(self) -> Entry:
        """What all entries of a first load share."""
        sight = self._sight
        return Entry(
            key=b"",
            digest_epoch=sight.digest_epoch,
            hash_version=HASH_VERSION,
            revision=self.plan.revision,
            shape=self.plan.shape,
            source_epoch=sight.source_epoch,
            position=sight.position,
            state=State.LIVE,
            outcome=Outcome.INSERTED,
            run_id=sight.run_id,
        )

    def _import(self, key: bytes, decision: Decision) -> Import:
        return Import(
            key=key,
            outcome=decision.outcome,
            reason=decision.reason,
            columns=tuple(self.plan.drafted[at].into for at in decision.written),
            conflicts=decision.conflicts,
            closed=decision.closed,
            event=self.plan.event if decision.outcome in APPLIED - self.plan.silent_on else "",
        )

    def _unit(self, unit_id: str, batch: Batch) -> Unit:
        """Sums of the batch, with what earlier units of this run said of the same records."""
        unit = Unit(unit_id, Counts(), Counts(), Counts(), Counts())
        for settled in batch.settled:
            outcomes = unit.absent if settled.absent else unit.present
            outcomes.add(settled.decision.outcome)
            before = batch.before.get(settled.key)
            if before is not None and before.run_id == self._sight.run_id and before.outcome:
                redone = unit.absent_redone if _was_absent(before) else unit.present_redone
                redone.add(before.outcome)
        return unit

    def _first(self, batch: Batch) -> Counts:
        """Outcomes of the batch's records, but for those that this run has written already."""
        found = Counts()
        for settled in batch.settled:
            before = batch.before.get(settled.key)
            is_this_run = before is not None and before.run_id == self._sight.run_id
            if not is_this_run or before is None or before.outcome not in APPLIED:
                found.add(settled.decision.outcome)
        return found


def _was_absent(entry: Entry) -> bool:
    """Whether the entry's outcome was about a record that the source lacked."""
    return not entry.present or entry.reason.startswith(DELETE_REFUSED)


def _refusal(error: RowError) -> tuple[Outcome, str]:
    """What a refused row is: a conflict over a natural key, an orphan, or a failure."""
    name = error.constraint or error.column or "the target"
    if error.sqlstate == _UNIQUE_VIOLATION:
        return Outcome.CONFLICT, f"unique:{name}"
    if error.sqlstate == _FOREIGN_KEY_VIOLATION:
        return Outcome.WAITING, f"parent:{name}"
    return Outcome.FAILED, f"{error.sqlstate}:{name}"


def _passes_later(error: RowError) -> bool:
    """Whether the same write may succeed within this run: something else may move first."""
    passing = (_UNIQUE_VIOLATION, _FOREIGN_KEY_VIOLATION)
    return isinstance(error, LockedError) or error.sqlstate in passing


def _is_news(before: Entry | None, decision: Decision) -> bool:
    """Whether the history needs a line: not for the same parking again."""
    if decision.conflicts or decision.closed or decision.write is not Write.NOTHING:
        return True
    if before is None:
        return True
    return (before.outcome, before.reason) != (decision.outcome, decision.reason)
