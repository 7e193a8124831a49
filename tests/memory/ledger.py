"""The ledger in memory."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from msgspec.structs import replace

from syncd.flow.model import PARKED, Entry, Outcome, Plan, State
from syncd.flow.ports import Block, Emit, Fresh, Import, Lease, Tx, Unit
from tests.memory.store import Store, of

_HASH_BYTES: Final = 8


class MemoryLedger:
    """Entries, history, conflicts and work units of one pipeline."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def is_empty(self, plan: Plan) -> bool:
        """Whether there is no entry."""
        return not self._store.state.entries.get(plan.entity_id)

    async def is_settled(self, plan: Plan) -> bool:
        """Whether no entry is open, parked or of unknown digest."""
        entries = self._store.state.entries.get(plan.entity_id, {}).values()
        return not any(
            e.open or e.outcome in PARKED or (e.present and not e.digest) for e in entries
        )

    def look(self) -> AbstractAsyncContextManager[Tx]:
        """A look."""
        return self._store.look()

    def begin(self, lease: Lease, *, patient: bool = True) -> AbstractAsyncContextManager[Tx]:
        """A fenced transaction; nobody ever waits here."""
        del patient
        return self._store.begin(lease)

    async def scan(self, plan: Plan, digest_epoch: int, emit: Emit) -> int:
        """Every entry present at the source, one record a block."""
        entries = self._store.state.entries.get(plan.entity_id, {})
        present = sorted(key for key, entry in entries.items() if entry.present)
        for key in present:
            entry = entries[key]
            known = entry.digest_epoch == digest_epoch and entry.digest and not entry.open
            await emit(Block(record(key, entry.digest if known else -1), 0))
        return len(present)

    async def lock(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> Mapping[bytes, Entry]:
        """The entries that are there; open ones with their disputed columns."""
        self._store.strike("ledger.lock")
        state = of(tx)
        entries = state.entries.get(plan.entity_id, {})
        return {
            key: _disputed(state.conflicts, plan, entries[key]) for key in keys if key in entries
        }

    async def load(self, tx: Tx, plan: Plan, common: Entry, fresh: Sequence[Fresh]) -> None:
        """New entries, alike but for what ``fresh`` holds."""
        self._store.strike("ledger.load")
        entries = of(tx).entries.setdefault(plan.entity_id, {})
        for one in fresh:
            assert one.key not in entries
            base = tuple(
                one.hashes[at : at + _HASH_BYTES] for at in range(0, len(one.hashes), _HASH_BYTES)
            )
            entries[one.key] = replace(
                common, key=one.key, digest=one.digest, fingerprint=one.fingerprint,
                source_base=base, target_base=base,
            )  # fmt: skip

    async def record(
        self, tx: Tx, plan: Plan, entries: Sequence[Entry], imports: Sequence[Import], *, new: bool
    ) -> None:
        """Entries, history, conflicts and events."""
        self._store.strike("ledger.record")
        state = of(tx)
        table = state.entries.setdefault(plan.entity_id, {})
        for entry in entries:
            assert not (new and entry.key in table)
            table[entry.key] = replace(entry, disputed=None)
        for told in imports:
            if told.outcome is not Outcome.UNCHANGED or told.closed:
                state.imports.append((entries[0].run_id, plan.entity_id, told))
            for column in told.closed:
                state.conflicts.pop((plan.entity_id, told.key, column), None)
            for conflict in told.conflicts:
                where = plan.entity_id, told.key, conflict.column
                if conflict.kind != "overwritten":
                    state.conflicts[where] = state.conflicts.get(where, 0) + 1
            if told.event:
                state.events.append((plan.entity_id, told.key, told.outcome))

    async def touch(
        self, tx: Tx, plan: Plan, keys: Sequence[bytes], digests: Sequence[int],
        digest_epoch: int, source_epoch: int, position: int,
    ) -> None:  # fmt: skip
        """New digests and position for entries whose row is unchanged."""
        table = of(tx).entries[plan.entity_id]
        for key, digest in zip(keys, digests, strict=True):
            table[key] = replace(
                table[key], digest=digest, digest_epoch=digest_epoch, source_epoch=source_epoch,
                position=position,
            )  # fmt: skip

    async def live(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> frozenset[bytes]:
        """Those that have landed."""
        entries = of(tx).entries.get(plan.entity_id, {})
        return frozenset(k for k in keys if k in entries and entries[k].state is State.LIVE)

    async def unit(self, tx: Tx, run_id: int, plan: Plan, unit: Unit) -> None:
        """Note a work unit of this attempt."""
        self._store.strike("ledger.unit")
        state = of(tx)
        state.units[run_id, plan.entity_id, unit.unit_id] = (state.attempt, unit)

    async def find_unit(self, run_id: int, plan: Plan, unit_id: str) -> Unit | None:
        """The unit, if its transaction did commit."""
        found = self._store.state.units.get((run_id, plan.entity_id, unit_id))
        return found[1] if found else None


def record(key: bytes, digest: int) -> bytes:
    """One record of a scan."""
    head = b"\0\2" + len(key).to_bytes(4, "big") + key
    return head + b"\0\0\0\x08" + digest.to_bytes(8, "big", signed=True)


def _disputed(conflicts: Mapping[tuple[int, bytes, str], int], plan: Plan, entry: Entry) -> Entry:
    if not entry.open:
        return entry
    where = plan.entity_id, entry.key
    names = {column for *place, column in conflicts if tuple(place) == where}
    return replace(entry, disputed=frozenset(names))
