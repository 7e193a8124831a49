"""The ledger in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from msgspec.structs import replace

from syncd.flow.decide import DELETE_REFUSED
from syncd.flow.model import PARKED, STANDING, Counts, Entry, Outcome, Plan, State
from syncd.flow.ports import WHOLE, Block, Cargo, Emit, Fresh, Import, Lease, Span, Tx, Unit
from syncd.flow.value_hash import cut
from tests.memory.store import MemoryTx, Store, of


class MemoryLedger:
    """Entries, history, conflicts and work units of one pipeline."""

    def __init__(self, store: Store, *, block_rows: int = 1) -> None:
        self.block_rows = block_rows
        self._store = store

    async def extent(self, plan: Plan) -> tuple[bytes, bytes] | None:
        """The first and the last key."""
        await self._store.point("ledger.extent")
        entries = self._store.state.entries.get(plan.entity_id)
        return (min(entries), max(entries)) if entries else None

    async def is_settled(self, plan: Plan) -> bool:
        """Whether no entry is open, parked or of unknown digest, but for those that stand aside."""
        await self._store.point("ledger.is_settled")
        entries = self._store.state.entries.get(plan.entity_id, {}).values()
        return not any(
            e.open or e.outcome in PARKED or (e.present and not e.digest)
            for e in entries
            if not is_aside(e)
        )

    async def standing(self, plan: Plan, run_id: int, absent: Sequence[bytes]) -> Counts:
        """Records that stand aside since before this run."""
        await self._store.point("ledger.standing")
        counts = Counts()
        for key, entry in self._store.state.entries.get(plan.entity_id, {}).items():
            if is_aside(entry) and entry.run_id != run_id and key not in absent:
                assert entry.outcome is not None
                counts.add(entry.outcome)
        return counts

    async def released(self, plan: Plan, parents: Sequence[int], since: int) -> list[bytes]:
        """Those that wait, if a parent may have come."""
        await self._store.point("ledger.released")
        state = self._store.state
        came = any(
            entity in parents and run > since and unit.present.landed() > 0
            for (run, entity, _), (_, unit) in state.units.items()
        )
        if since and not came:
            return []
        return _waiting(state.entries.get(plan.entity_id, {}))

    async def ask_again(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> None:
        """Digests of 0 for those that stand aside."""
        await self._store.point("ledger.ask_again")
        table = of(tx).entries(plan.entity_id)
        asked = [key for key in sorted(keys) if key in table and is_aside(table[key])]
        await self._store.lock(of(tx), [(plan.entity_id, key) for key in asked])
        for key in asked:
            table[key] = replace(table[key], digest=0)

    def look(self) -> AbstractAsyncContextManager[Tx]:
        """A look."""
        return self._store.look()

    def begin(self, lease: Lease, *, patient: bool = True) -> AbstractAsyncContextManager[Tx]:
        """A fenced transaction."""
        return self._store.begin(lease, patient=patient)

    async def load_shapes(self, plan: Plan) -> None:
        """There is one shape."""

    async def scan(self, plan: Plan, digest_epoch: int, emit: Emit, within: Span = WHOLE) -> int:
        """Every entry present at the source, ``block_rows`` records a block."""
        await self._store.point("ledger.scan")
        entries = self._store.state.entries.get(plan.entity_id, {})
        present = [
            entry
            for key, entry in sorted(entries.items())
            if entry.present and within.first <= key and (not within.end or key < within.end)
        ]
        records = [record(e.key, e.digest if _is_known(e, digest_epoch) else -1) for e in present]
        for block in blocks(records, self.block_rows):
            await self._store.point("ledger.block")
            await emit(block)
        return len(present)

    async def lock(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> Mapping[bytes, Entry]:
        """The entries that are there, locked in key order; open ones with disputed columns."""
        await self._store.point("ledger.lock")
        own = of(tx)
        entries, conflicts = own.entries(plan.entity_id), own.conflicts()
        there = [key for key in sorted(keys) if key in entries]
        await self._store.lock(own, [(plan.entity_id, key) for key in there])
        return {key: _disputed(conflicts, plan, entries[key]) for key in there}

    def pack(self, plan: Plan, common: Entry, fresh: Fresh) -> list[tuple[int, Entry]]:
        """New entries with their entity, alike but for what ``fresh`` holds."""
        columns = (fresh.keys, fresh.digests, fresh.fingerprints, fresh.hashes)
        packed = []
        for key, digest, fingerprint, hashes in zip(*columns, strict=True):
            base = tuple(cut(hashes))
            entry = replace(
                common, key=key, digest=digest, fingerprint=fingerprint,
                source_base=base, target_base=base,
            )  # fmt: skip
            packed.append((plan.entity_id, entry))
        return packed

    async def load(self, tx: Tx, cargo: Sequence[Cargo]) -> None:
        """Packed entries, none of which exists."""
        await self._store.point("ledger.load")
        packed = [one for part in cargo if isinstance(part, list) for one in part]
        await self._store.lock(of(tx), [(entity, entry.key) for entity, entry in packed])
        for entity, entry in packed:
            entries = of(tx).entries(entity)
            assert entry.key not in entries
            of(tx).recorded.append((entity, entry.key))
            entries[entry.key] = entry

    async def record(
        self, tx: Tx, plan: Plan, entries: Sequence[Entry], imports: Sequence[Import], *, new: bool
    ) -> None:
        """Entries, history, conflicts and events."""
        await self._store.point("ledger.record")
        own = of(tx)
        table, open_ones = own.entries(plan.entity_id), own.conflicts()
        await self._store.own(own, plan.entity_id, [entry.key for entry in entries], table)
        _let_go(own, plan, [e.key for e in entries if e.present and not _is_refused(e)])
        for entry in entries:
            assert not (new and entry.key in table)
            table[entry.key] = replace(entry, disputed=None)
            own.recorded.append((plan.entity_id, entry.key))
        for told in imports:
            if told.outcome is not Outcome.UNCHANGED or told.closed:
                own.imports.append((entries[0].run_id, plan.entity_id, told))
            for column in told.closed:
                open_ones.pop((plan.entity_id, told.key, column), None)
            for conflict in told.conflicts:
                where = plan.entity_id, told.key, conflict.column
                if conflict.kind != "overwritten":
                    open_ones[where] = open_ones.get(where, 0) + 1
            if told.event:
                own.events.append((plan.entity_id, told.key, told.outcome))

    async def touch(
        self, tx: Tx, plan: Plan, keys: Sequence[bytes], digests: Sequence[int],
        digest_epoch: int, source_epoch: int, position: int,
    ) -> None:  # fmt: skip
        """New digests and position for entries whose row is unchanged."""
        await self._store.point("ledger.touch")
        table = of(tx).entries(plan.entity_id)
        _let_go(of(tx), plan, keys)
        for key, digest in zip(keys, digests, strict=True):
            table[key] = replace(
                table[key], digest=digest, digest_epoch=digest_epoch, source_epoch=source_epoch,
                position=position,
            )  # fmt: skip

    async def live(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> frozenset[bytes]:
        """Those that have landed."""
        await self._store.point("ledger.live")
        entries = of(tx).entries(plan.entity_id)
        return frozenset(k for k in keys if k in entries and entries[k].state is State.LIVE)

    async def unit(self, tx: Tx, run_id: int, plan: Plan, unit: Unit) -> None:
        """Note a work unit of this attempt."""
        await self._store.point("ledger.unit")
        own = of(tx)
        own.units()[run_id, plan.entity_id, unit.unit_id] = (own.attempt_of(run_id), unit)

    async def find_unit(self, run_id: int, plan: Plan, unit_id: str) -> Unit | None:
        """The unit, if its transaction did commit."""
        await self._store.point("ledger.find_unit")
        found = self._store.state.units.get((run_id, plan.entity_id, unit_id))
        return found[1] if found else None


def record(key: bytes, digest: int) -> bytes:
    """One record of a scan."""
    head = b"\0\2" + len(key).to_bytes(4, "big") + key
    return head + b"\0\0\0\x08" + digest.to_bytes(8, "big", signed=True)


def blocks(records: Sequence[bytes], rows: int) -> Iterator[Block]:
    """Records in blocks, with their width where all have the same."""
    for at in range(0, len(records), rows):
        some = records[at : at + rows]
        widths = {len(one) for one in some}
        width = widths.pop() if len(widths) == 1 and rows > 1 else 0
        yield Block(b"".join(some), width)


def _let_go(tx: MemoryTx, plan: Plan, keys: Sequence[bytes]) -> None:
    """Records that are there again wait for no delete."""
    held = tx.held(plan.entity_id)
    for key in keys:
        held.pop(key, None)


def _is_refused(entry: Entry) -> bool:
    return entry.reason.startswith(DELETE_REFUSED)


def is_aside(entry: Entry) -> bool:
    """Whether the entry's outcome stands until something it depends on changes."""
    known = bool(entry.digest) and entry.present and not entry.open
    return known and entry.outcome in STANDING


def _waiting(entries: Mapping[bytes, Entry]) -> list[bytes]:
    aside = [key for key, entry in sorted(entries.items()) if is_aside(entry)]
    return [key for key in aside if entries[key].outcome is Outcome.WAITING]


def _is_known(entry: Entry, digest_epoch: int) -> bool:
    return entry.digest_epoch == digest_epoch and entry.digest != 0 and not entry.open


def _disputed(conflicts: Mapping[tuple[int, bytes, str], int], plan: Plan, entry: Entry) -> Entry:
    if not entry.open:
        return entry
    where = plan.entity_id, entry.key
    names = {column for *place, column in conflicts if tuple(place) == where}
    return replace(entry, disputed=frozenset(names))
