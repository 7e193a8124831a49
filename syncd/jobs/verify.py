"""``verify``: read both sides in full and tell every difference, also those made on purpose.

Nothing is remembered and no digest is trusted: each row of the source is drafted and each row of
the target is read, in key order, and the two are held against each other. The ledger only tells
which differences are staff's.
"""

from collections.abc import Mapping, Sequence

import anyio
from anyio.abc import ObjectReceiveStream
from msgspec import Struct

from syncd.flow.fingerprint import Hasher
from syncd.flow.keys import display_key
from syncd.flow.model import MISSING, Entry, Issue, Ownership, Plan, Read, Row, State
from syncd.flow.pipeline import foremost
from syncd.flow.ports import EmitReads, Snapshot
from syncd.flow.transform import Drafter
from syncd.meter import Meter
from syncd.planning import deletes_of
from syncd.reports import Mismatch, VerifyReport
from syncd.site import Site

_MISMATCHES_MAX = 1000
_EQUAL, _MISSING, _EXTRA, _DIFFERENT, _KEPT = "equal", "missing", "extra", "different", "kept"
_PARKED, _FOREIGN = "parked", "foreign"
KINDS = (_EQUAL, _MISSING, _EXTRA, _DIFFERENT, _KEPT, _PARKED, _FOREIGN)


class Pair(Struct, frozen=True):
    """A key with the draft of the source and the row of the target, either may be None."""

    key: bytes
    draft: Row | None
    target: Row | None


class Verifier:
    """Compares the two sides of one site."""

    def __init__(self, site: Site, meter: Meter) -> None:
        self._site = site
        self._meter = meter

    async def verify(self, select: frozenset[str] | None) -> VerifyReport:
        """Counts per entity and kind, and the first differences with their columns."""
        site = self._site
        prepared = await site.prepared()
        names = [n for n in site.config.entities if select is None or n in select]
        for name in names:
            if name in prepared.errors:
                raise prepared.errors[name]
        hasher = await site.hasher()
        source = site.source(hasher, sequence=0)
        counts: dict[str, dict[str, int]] = {}
        mismatches: list[Mismatch] = []
        try:
            plans = [prepared.plans[name] for name in names]
            async with source.open(plans) as snapshot:
                for plan in plans:
                    comparison = _Comparison(site, plan, hasher, site.drafter(plan))
                    await comparison.run(snapshot)
                    counts[plan.name] = comparison.counts
                    self._meter.verified(plan.name, comparison.counts)
                    room = _MISMATCHES_MAX - len(mismatches)
                    mismatches += comparison.mismatches[:room]
        finally:
            await source.close()
        return VerifyReport(counts, tuple(mismatches))


class _Comparison:
    """One entity, both sides read side by side."""

    def __init__(self, site: Site, plan: Plan, hasher: Hasher, drafter: Drafter) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self.mismatches: list[Mismatch] = []
        self._site = site
        self._plan = plan
        self._hasher = hasher
        self._drafter = drafter
        deletes = deletes_of(site.config, site.config.entities[plan.name])
        self._deletes_nothing = deletes.policy == "report"

    async def run(self, snapshot: Snapshot) -> None:
        """Read both sides and compare."""
        source_send, source_receive = anyio.create_memory_object_stream[Sequence[Read]](0)
        target_send, target_receive = anyio.create_memory_object_stream[Sequence[Read]](0)

        async def read_source() -> None:
            async with source_send:
                await snapshot.read(self._plan, _emitter(source_send.send), _ignore)

        async def read_target() -> None:
            async with target_send:
                await self._site.target.scan(self._plan, _emitter(target_send.send))

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read_source)
                tasks.start_soon(read_target)
                async with source_receive, target_receive:
                    await self._merge(_Side(source_receive), _Side(target_receive))
        except BaseExceptionGroup as group:
            raise (foremost(group) or group) from None

    async def _merge(self, source: "_Side", target: "_Side") -> None:
        pairs: list[Pair] = []
        while True:
            read, held = await source.head(), await target.head()
            if read is None and held is None:
                break
            if held is None or (read is not None and read.key < held.key):
                assert read is not None
                pairs.append(Pair(read.key, self._draft(read), None))
                source.pop()
            elif read is None or held.key < read.key:
                pairs.append(Pair(held.key, None, held.row))
                target.pop()
            else:
                pairs.append(Pair(read.key, self._draft(read), held.row))
                source.pop()
                target.pop()
            if len(pairs) >= self._site.config.limits.batch_rows:
                await self._judge(pairs)
                pairs = []
        await self._judge(pairs)

    def _draft(self, read: Read) -> Row | None:
        """The draft; () when the record is not fit to be written."""
        if any(issue.excludes for issue in read.issues):
            return ()
        draft = self._drafter.draft(read.row)
        unfit = draft.skip or any(issue.excludes for issue in draft.issues)
        return () if unfit else draft.row

    async def _judge(self, pairs: Sequence[Pair]) -> None:
        differing = [pair for pair in pairs if not self._same(pair)]
        self.counts[_EQUAL] += len(pairs) - len(differing)
        if not differing:
            return
        async with self._site.ledger.look() as tx:
            entries = await self._site.ledger.lock(tx, self._plan, [p.key for p in differing])
        for pair in differing:
            kind, columns = self._kind(pair, entries)
            self.counts[kind] += 1
            if kind != _EQUAL and len(self.mismatches) < _MISMATCHES_MAX:
                key = display_key(self._plan.key_types, pair.key)
                self.mismatches.append(Mismatch(self._plan.name, kind, key, columns))

    def _same(self, pair: Pair) -> bool:
        return pair.draft is not None and pair.target is not None and pair.draft == pair.target

    def _kind(self, pair: Pair, entries: Mapping[bytes, Entry]) -> tuple[str, tuple[str, ...]]:
        """What a pair that is not plainly equal is, and in which columns."""
        entry = entries.get(pair.key)
        state = State.NONE if entry is None else entry.state
        if pair.draft == ():
            return _PARKED, ()
        if pair.target is None:
            return (_KEPT if state is State.TGT_DELETED else _MISSING), ()
        if pair.draft is None:
            if state is State.NONE:
                return _FOREIGN, ()
            meant = state is not State.LIVE or self._deletes_nothing
            return (_KEPT if meant else _EXTRA), ()
        return self._columns(pair.draft, pair.target, entry)

    def _columns(self, draft: Row, target: Row, entry: Entry | None) -> tuple[str, tuple[str, ...]]:
        """Which columns differ, and whether all of them on purpose or by the target's storing."""
        wrong: list[str] = []
        kept: list[str] = []
        bases = entry.target_base if entry else ()
        for at, (column, s, t) in enumerate(zip(self._plan.drafted, draft, target, strict=True)):
            if s is MISSING or s == t or column.ownership is Ownership.COMPUTED:
                continue
            stored = bool(bases) and bases[at] == self._hasher.column(t)
            same_source = (
                bool(bases)
                and entry is not None
                and (entry.source_base[at] == self._hasher.column(s))
            )
            if stored and same_source and entry is not None and not entry.open:
                continue  # what the target makes of this very value
            owned = column.ownership in (Ownership.TARGET, Ownership.INITIAL)
            edited = bool(bases) and not stored
            (kept if owned or edited else wrong).append(column.into)
        if wrong:
            return _DIFFERENT, tuple(wrong)
        return (_KEPT, tuple(kept)) if kept else (_EQUAL, ())


class _Side:
    """A stream of batches as a stream of rows."""

    def __init__(self, stream: ObjectReceiveStream[Sequence[Read]]) -> None:
        self._stream = stream
        self._batch: Sequence[Read] = ()
        self._at = 0
        self._ended = False

    async def head(self) -> Read | None:
        """The next row, left where it is; None at the end."""
        while self._at >= len(self._batch) and not self._ended:
            try:
                self._batch, self._at = [*await self._stream.receive()], 0
            except anyio.EndOfStream:
                self._ended = True
        return None if self._at >= len(self._batch) else self._batch[self._at]

    def pop(self) -> None:
        """Go on to the row after the head."""
        self._at += 1


def _emitter(send: EmitReads) -> EmitReads:
    return send


def _ignore(_: Issue) -> None:
    """Findings are the business of a run."""
