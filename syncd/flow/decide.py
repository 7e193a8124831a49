"""What is to become of a batch of records: decided with both sides locked, written by nobody here.

``plan`` and ``run`` share this: a plan asks in a transaction that may only read.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from syncd.failpoints import failpoint
from syncd.flow.diff import Verdict, compare, is_stale
from syncd.flow.fingerprint import HASH_VERSION, Hasher
from syncd.flow.keys import decode_key
from syncd.flow.merge import Mark, merge_row
from syncd.flow.merge_columns import RowHashes
from syncd.flow.merge_plain import is_plain, merge_plain
from syncd.flow.model import (
    MISSING,
    Decision,
    Draft,
    Entry,
    Hashes,
    Issue,
    Kind,
    Outcome,
    Plan,
    Read,
    ReadColumns,
    Row,
    State,
    Value,
    Write,
)
from syncd.flow.ports import Ledger, Target, Tx
from syncd.flow.transform import Drafter
from syncd.flow.waiting import Parents

REASON_CHARACTERS = 500
_AT_ONCE = 1000  # rows whose hashes are at hand at the same time
DELETE_REFUSED = "delete refused: "
RETURNED = "returned"


class Sight(Struct, frozen=True):
    """Where and when the source was looked at; the same for a whole run.

    ``previous_run`` is the start of the last run in canonical text, for the seed's timestamp rule.
    """

    run_id: int
    source_epoch: int
    position: int
    digest_epoch: int
    previous_run: bytes | None = None


class Settled(Struct, frozen=True, gc=False):
    """One record with what was decided; ``row`` is the draft to write.

    ``absent`` says that the decision is about a record which the source lacks.
    """

    key: bytes
    row: Row
    decision: Decision
    absent: bool = False


class Batch(Struct):
    """What a transaction has decided so far; ``locked`` are the target's rows before it.

    ``warned`` counts findings of transforms that keep nothing out, by code and column.
    """

    before: Mapping[bytes, Entry]
    locked: Mapping[bytes, Row] = {}
    settled: list[Settled] = []
    touched: list[Read] = []
    stale: list[bytes] = []
    again: list[bytes] = []
    waiting: list[bytes] = []
    warned: dict[str, int] = {}

    def warn(self, issues: Sequence[Issue]) -> None:
        """Count what is worth a look and no obstacle."""
        for name in (_named(issue) for issue in issues if not issue.excludes):
            self.warned[name] = self.warned.get(name, 0) + 1


class Decider:
    """Decides for one entity in one run.

    ``forced`` holds, for records whose conflict an operator decided for the source, the hash of
    the target's value that he saw, per column.
    """

    def __init__(
        self,
        plan: Plan,
        sight: Sight,
        hasher: Hasher,
        drafter: Drafter,
        parents: Parents,
        ledger: Ledger,
        target: Target,
        forced: Mapping[bytes, Mapping[str, bytes]] | None = None,
    ) -> None:
        self.plan = plan
        self.sight = sight
        self.hasher = hasher
        self.drafter = drafter
        self.parents = parents
        self.fingerprint = hasher.row_plan(plan.columns)
        self._ledger = ledger
        self._target = target
        self.forced = forced or {}
        self._text_key = any(kind is Kind.TEXT for kind in plan.key_types)
        self._is_plain = is_plain(plan)

    async def decide(self, tx: Tx, reads: Sequence[Read]) -> Batch:
        """Judge every read; in a transaction that writes, both sides are locked first."""
        before = await self._ledger.lock(tx, self.plan, [read.key for read in reads])
        await failpoint("decide.entries_locked")
        batch = Batch(before)
        changed: list[_Changed] = []
        parts = (reads[at : at + _AT_ONCE] for at in range(0, len(reads), _AT_ONCE))
        prints = chain.from_iterable(self.fingerprint.of(self.joined(part)) for part in parts)
        for read, fingerprint in zip(reads, prints, strict=True):
            entry = before.get(read.key)
            if entry is not None and self._is_stale(entry):
                batch.stale.append(read.key)
                continue
            if any(issue.excludes for issue in read.issues):
                parked = self.parked(read.key, entry, Outcome.INVALID, _told(read.issues))
                batch.settled.append(parked)
                continue
            same = compare(self.plan, entry, fingerprint, *self._place()) is Verdict.SAME
            if same and read.key not in self.forced:
                batch.touched.append(read)
            else:
                changed.append(_Changed(read, entry, fingerprint))
        if changed:
            await self._merge(tx, batch, changed)
        return batch

    async def ready(self, reads: Sequence[Read]) -> list[Read]:
        """Those of ``reads`` that lack no parent as the ledger stands."""
        async with self._ledger.look() as tx:
            landed = await self.parents.landed(tx, self._ledger, reads)
        return [read for read in reads if not self.parents.missing(read, landed).hard]

    async def decide_removal(self, tx: Tx, keys: Sequence[bytes]) -> Batch:
        """Judge records that the source provably lacks."""
        batch = Batch(await self._ledger.lock(tx, self.plan, keys))
        targets = (await self._target.lock(tx, self.plan, keys)).rows
        batch.locked = targets
        await failpoint("decide.absent_locked")
        held = self._hashes_held(targets)
        for key in keys:
            entry = batch.before.get(key)
            decision = merge_row(
                self.plan,
                self.hasher,
                self._mark(key, 0, entry.fingerprint if entry else b""),
                entry=entry,
                draft=None,
                target=targets.get(key),
                hashes=RowHashes((), held.get(key, ())),
            )
            batch.settled.append(Settled(key, (), decision, absent=True))
        return batch

    def parked(
        self,
        key: bytes,
        entry: Entry | None,
        outcome: Outcome,
        reason: str,
        *,
        digest: int = 0,
        absent: bool = False,
    ) -> Settled:
        """The ledger as it was, with the outcome beside it, which stands if ``digest`` is known.

        A record that could not be deleted keeps counting as present: it is found missing again.
        """
        base = entry or Entry(key=key, hash_version=HASH_VERSION, shape=self.plan.shape)
        told = reason[:REASON_CHARACTERS]
        parked = replace(
            base,
            digest=digest,
            digest_epoch=self.sight.digest_epoch if digest else base.digest_epoch,
            outcome=outcome,
            reason=told,
            run_id=self.sight.run_id,
            present=True,
        )
        return Settled(key, (), Decision(Write.NOTHING, parked, outcome, told), absent=absent)

    def in_columns(self, reads: Sequence[Read]) -> ReadColumns | None:
        """The same reads in columns; None if any lacks a value or has an issue."""
        if isinstance(reads, ReadColumns):
            return reads
        if any(read.issues or MISSING in read.row for read in reads):
            return None
        return _columns_of(reads, [read.row for read in reads])

    def keyed_columns(self, reads: ReadColumns) -> ReadColumns:
        """``reads`` with ``keyed`` rows; itself where that changes no key."""
        keys = (value for at in self.plan.key for value in reads.columns[at])
        if not self._text_key or all(map(_is_ascii, keys)):
            return reads
        one_by_one = [*reads]
        return _columns_of(one_by_one, [self.keyed(read) for read in one_by_one])

    def joined(self, reads: Sequence[Read]) -> list[bytes]:
        """The joined hashes of the rows as they were read."""
        return self.hasher.joined([*zip(*[read.row for read in reads], strict=True)])

    def keyed(self, read: Read) -> Row:
        """The row with its text key as the ledger has it (NFC), so that both sides agree."""
        # The row is asked, not the key: a Kelvin sign becomes an ASCII letter.
        row = read.row
        if not self._text_key or all(_is_ascii(row[at]) for at in self.plan.key):
            return row
        values = list(row)
        parts = decode_key(self.plan.key_types, read.key)
        for at, part in zip(self.plan.key, parts, strict=True):
            values[at] = part
        return tuple(values)

    async def _merge(self, tx: Tx, batch: Batch, changed: Sequence["_Changed"]) -> None:
        """Draft, see to the parents, and merge with what the target holds."""
        drafts = [self.drafter.draft(self.keyed(change.read)) for change in changed]
        fit = [c.read for c, draft in zip(changed, drafts, strict=True) if _may_land(c, draft)]
        landed = await self.parents.landed(tx, self._ledger, [c.read for c in changed], fit)
        ready: list[tuple[_Changed, Row, bool]] = []
        for change, draft in zip(changed, drafts, strict=True):
            batch.warn(draft.issues)
            missing = self.parents.missing(change.read, landed)
            settled = self._unfit(change, draft, missing.hard)
            if settled is None:
                row = self.parents.without(draft.row, missing.soft)
                ready.append((change, row, bool(missing.soft)))
                continue
            batch.settled.append(settled)
            if settled.decision.outcome is Outcome.WAITING:
                batch.waiting.append(change.read.key)
        drafted = {change.read.key: row for change, row, _ in ready}
        locked = await self._target.lock(tx, self.plan, [*drafted], drafted)
        targets = batch.locked = locked.rows
        await failpoint("decide.rows_locked")
        if locked.unclear or locked.gone:
            batch.settled += self._unclear(ready, locked.unclear)
            ready = [
                (_remembered(change, locked.gone), row, incomplete)
                for change, row, incomplete in ready
                if change.read.key not in locked.unclear
            ]
        hashes = self._hashes([(change.read.key, row) for change, row, _ in ready], targets)
        for (change, row, incomplete), both in zip(ready, hashes, strict=True):
            decision = self._merged(change, row, targets.get(change.read.key), both)
            if change.read.key in locked.twins:
                decision = _linked(decision)
            if incomplete:
                decision = replace(decision, entry=replace(decision.entry, open=True))
                batch.again.append(change.read.key)
            batch.settled.append(Settled(change.read.key, row, decision))

    def _unclear(
        self, ready: Sequence[tuple["_Changed", Row, bool]], unclear: Mapping[bytes, str]
    ) -> list[Settled]:
        """Records parked because the target has more than one row that may be theirs."""
        return [
            self.parked(change.read.key, change.entry, Outcome.CONFLICT, reason)
            for change, _, _ in ready
            if (reason := unclear.get(change.read.key))
        ]

    def _hashes(
        self, drafts: Sequence[tuple[bytes, Row]], targets: Mapping[bytes, Row]
    ) -> Iterator[RowHashes]:
        """The hashes of drafts and of the target's rows, a stretch of the batch at a time.

        Thirty hashes a row are more than the row itself: those of a whole batch would double what
        it takes.
        """
        for at in range(0, len(drafts), _AT_ONCE):
            some = drafts[at : at + _AT_ONCE]
            held = self._hashes_held({key: targets[key] for key, _ in some if key in targets})
            drafted = self.hasher.rows([row for _, row in some])
            for (key, _), hashes in zip(some, drafted, strict=True):
                yield RowHashes(hashes, held.get(key, ()))

    def _hashes_held(self, targets: Mapping[bytes, Row]) -> dict[bytes, Hashes]:
        return dict(zip(targets, self.hasher.rows([*targets.values()]), strict=True))

    def _merged(
        self, change: "_Changed", row: Row, target: Row | None, hashes: RowHashes
    ) -> Decision:
        read, entry = change.read, change.entry
        mark = self._mark(read.key, read.digest, change.fingerprint)
        forced = self.forced.get(read.key, {})
        if self._is_plain and entry is not None and target is not None and not forced:
            short = merge_plain(self.plan, mark, entry, row, target, hashes)
            if short is not None:
                return short
        decision = merge_row(
            self.plan,
            self.hasher,
            mark,
            entry=entry,
            draft=row,
            target=target,
            hashes=hashes,
            forced=forced,
            previous_run=self.sight.previous_run,
        )
        return self._completed(change.entry, _restored(self.plan, change.entry, decision))

    def _completed(self, entry: Entry | None, decision: Decision) -> Decision:
        """A row that this run has inserted and now completes was, in this run, inserted.

        And what this run has done to a row it has done, also if a second look finds nothing to do.
        """
        if entry is None or entry.run_id != self.sight.run_id:
            return decision
        if decision.outcome is Outcome.UPDATED and entry.outcome is Outcome.INSERTED:
            inserted = replace(decision.entry, outcome=Outcome.INSERTED)
            return replace(decision, entry=inserted, outcome=Outcome.INSERTED)
        if decision.outcome is not Outcome.UNCHANGED or entry.outcome not in _DONE:
            return decision
        outcome, reason = entry.outcome, entry.reason
        # Nothing new is told, unless a conflict that the ledger knows has ended.
        closed = tuple(name for name in decision.closed if name in (entry.disputed or ()))
        same = replace(decision.entry, outcome=outcome, reason=reason)
        return replace(decision, entry=same, outcome=outcome, reason=reason, closed=closed)

    def _unfit(self, change: "_Changed", draft: Draft, waits_for: str) -> Settled | None:
        """The record parked, when it cannot be merged at all."""
        key, entry, digest = change.read.key, change.entry, change.read.digest
        if draft.skip:
            return self.parked(key, entry, Outcome.SKIPPED, draft.skip, digest=digest)
        if any(issue.excludes for issue in draft.issues):
            return self.parked(key, entry, Outcome.INVALID, _told(draft.issues))
        if waits_for:
            return self.parked(key, entry, Outcome.WAITING, waits_for, digest=digest)
        return None

    def _place(self) -> tuple[int, int]:
        return self.sight.source_epoch, self.sight.position

    def _is_stale(self, entry: Entry) -> bool:
        return is_stale(entry, *self._place())

    def _mark(self, key: bytes, digest: int, fingerprint: bytes) -> Mark:
        sight = self.sight
        return Mark(
            key=key,
            digest=digest,
            digest_epoch=sight.digest_epoch,
            fingerprint=fingerprint,
            hash_version=HASH_VERSION,
            source_epoch=sight.source_epoch,
            position=sight.position,
            run_id=sight.run_id,
        )


class _Changed(Struct, frozen=True, gc=False):
    """A read that says something new, beside its entry."""

    read: Read
    entry: Entry | None
    fingerprint: bytes


def _remembered(change: _Changed, gone: frozenset[bytes]) -> _Changed:
    """The change, with what the target remembers of a row where the ledger knows of none."""
    entry = change.entry
    if change.read.key not in gone or (entry is not None and entry.state is not State.NONE):
        return change
    known = replace(entry or Entry(key=change.read.key), state=State.TGT_DELETED)
    return replace(change, entry=known)


def _is_ascii(value: Value) -> bool:
    return isinstance(value, bytes) and value.isascii()


def _columns_of(reads: Sequence[Read], rows: Sequence[Row]) -> ReadColumns:
    """``reads`` with ``rows`` in the place of theirs; a line that says another row is dropped."""
    lines = [r.line if row is r.row else b"" for r, row in zip(reads, rows, strict=True)]
    keys, digests = [read.key for read in reads], [read.digest for read in reads]
    return ReadColumns(keys, digests, [*zip(*rows, strict=True)], lines)


def _may_land(change: _Changed, draft: Draft) -> bool:
    """Whether the record may be live once its batch commits: children of it may go along."""
    if draft.skip or any(issue.excludes for issue in draft.issues):
        return False
    return change.entry is None or change.entry.state not in _NEVER_WRITTEN


_DONE = frozenset({Outcome.INSERTED, Outcome.UPDATED, Outcome.LINKED})
_NEVER_WRITTEN = frozenset({State.TGT_DELETED, State.QUARANTINED})


def _told(issues: Sequence[Issue]) -> str:
    """Codes and fields of the issues that keep a row out."""
    return ", ".join(_named(issue) for issue in issues if issue.excludes)


def _named(issue: Issue) -> str:
    return f"{issue.code}:{issue.field}" if issue.field else issue.code


def _linked(decision: Decision) -> Decision:
    """A row that was matched by a rule of the configuration is linked, whatever differs in it.

    The rule says that both are the same, so nobody need decide about what differs: it stays as the
    target has it, and a later change of the source there is a conflict like any other.
    """
    if decision.outcome is not Outcome.CONFLICT or decision.entry.state is not State.LIVE:
        return decision
    if any(conflict.kind != "staff_created" for conflict in decision.conflicts):
        return decision
    kept = ",".join(conflict.column for conflict in decision.conflicts)
    reason = f"kept:{kept}"[:REASON_CHARACTERS]
    entry = replace(decision.entry, outcome=Outcome.LINKED, reason=reason, open=False)
    return replace(decision, entry=entry, outcome=Outcome.LINKED, reason=reason, conflicts=())


def _restored(plan: Plan, entry: Entry | None, decision: Decision) -> Decision:
    """A softly deleted row that came back is written even if all values agree, to be undeleted."""
    if not plan.soft_delete or entry is None or entry.state is not State.SRC_DELETED:
        return decision
    if decision.write is not Write.NOTHING:
        return decision
    restored = replace(decision, write=Write.UPDATE, written=tuple(plan.target_key))
    if decision.outcome is not Outcome.UNCHANGED:
        return restored
    told = replace(decision.entry, outcome=Outcome.UPDATED, reason=RETURNED)
    return replace(restored, entry=told, outcome=Outcome.UPDATED, reason=RETURNED)
