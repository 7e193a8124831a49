"""The ledger in PostgreSQL: entries, written in the transaction that writes the target.

Runs and the lease are in ``runs.py``, conflicts, held deletes and history in ``reviews.py``.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from syncd.errors import InvariantError
from syncd.failpoints import failpoint
from syncd.flow.decide import DELETE_REFUSED
from syncd.flow.decode import DecodeError, decode
from syncd.flow.model import NOT_LANDED, ColumnConflict, Counts, Entry, Outcome, Plan
from syncd.flow.ports import (
    WHOLE,
    Block,
    Cargo,
    Emit,
    Fresh,
    Import,
    Lease,
    Span,
    Tx,
    Unit,
)
from syncd.ledger import entry_rows
from syncd.ledger.fence import FENCE, taken_over
from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.pg.copy_blocks import BlockCutter
from syncd.pg.copy_pieces import CopyPieces
from syncd.pg.errors import translate
from syncd.pg.transaction import PgTx, transaction

_SCAN = """
SELECT key, CASE WHEN digest_epoch = $2 AND digest <> 0 AND NOT open THEN digest ELSE -1 END
FROM syncd_fingerprint WHERE entity_id = $1 AND present AND key >= $3 ORDER BY key
"""
_SCAN_BEFORE = _SCAN.replace("ORDER BY", "AND key < $4 ORDER BY")
_EXTENT = """
(SELECT key FROM syncd_fingerprint WHERE entity_id = $1 ORDER BY key LIMIT 1)
UNION ALL
(SELECT key FROM syncd_fingerprint WHERE entity_id = $1 ORDER BY key DESC LIMIT 1)
"""
_LOCK = f"""
SELECT {", ".join(entry_rows.COLUMNS)} FROM syncd_fingerprint
WHERE entity_id = $1 AND key = ANY($2::bytea[]) ORDER BY key
"""
_LOCK_FOR_UPDATE = f"{_LOCK} FOR UPDATE"
_DISPUTED = """
SELECT key, column_name FROM syncd_conflict
WHERE entity_id = $1 AND key = ANY($2::bytea[]) AND status = 'open'
"""
_STAGE = """
CREATE TEMP TABLE syncd_stage_entry (LIKE syncd_fingerprint INCLUDING DEFAULTS) ON COMMIT DROP
"""
_KEPT_ON_UPDATE = ("key", "entity_id", "first_run_id")
# A record that is there again is not missing in a row any more, even if its run is cut off later.
_IS_BACK = """
WITH back AS (DELETE FROM syncd_held_delete WHERE entity_id = $1 AND key = ANY($2::bytea[]))
"""
_UPSERT = f"""
{_IS_BACK}
INSERT INTO syncd_fingerprint SELECT * FROM pg_temp.syncd_stage_entry
ON CONFLICT (entity_id, key) DO UPDATE SET changed_at = excluded.changed_at,
{", ".join(f"{c} = excluded.{c}" for c in entry_rows.COLUMNS if c not in _KEPT_ON_UPDATE)}
WHERE (syncd_fingerprint.source_epoch, syncd_fingerprint.position)
      <= (excluded.source_epoch, excluded.position)
"""
_DROP_STAGE = "DROP TABLE pg_temp.syncd_stage_entry"
_TOUCH = f"""
{_IS_BACK}
UPDATE syncd_fingerprint f
SET digest = u.digest, digest_epoch = $4, source_epoch = $5, position = $6, unsettled = false
FROM unnest($2::bytea[], $3::bigint[]) AS u (key, digest)
WHERE f.entity_id = $1 AND f.key = u.key AND (f.source_epoch, f.position) <= ($5, $6)
"""
_LIVE = """
SELECT key FROM syncd_fingerprint
WHERE entity_id = $1 AND key = ANY($2::bytea[]) AND state = 'live'
"""
_IMPORT = """
INSERT INTO syncd_import_record (entity_id, key, run_id, outcome, reason, columns, conflicts)
SELECT $1, u.key, $2, u.outcome, u.reason,
       string_to_array(u.columns, chr(31)), string_to_array(u.conflicts, chr(31))
FROM unnest($3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[])
     AS u (key, outcome, reason, columns, conflicts)
"""
_CONFLICT = """
INSERT INTO syncd_conflict
    (entity_id, key, column_name, kind, base_hash, source_hash, target_hash, run_id,
     status, ended_at)
SELECT $1, u.key, u.column_name, u.kind, u.base, u.source, u.target, $2,
       CASE WHEN u.kind = 'overwritten' THEN 'resolved_source' ELSE 'open' END,
       CASE WHEN u.kind = 'overwritten' THEN now() END
FROM unnest($3::bytea[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::bytea[])
     AS u (key, column_name, kind, base, source, target)
ON CONFLICT (entity_id, key, column_name) WHERE status = 'open' DO UPDATE
SET source_hash = excluded.source_hash, target_hash = excluded.target_hash,
    kind = excluded.kind, reported = syncd_conflict.reported + 1, run_id = excluded.run_id
"""
_CLOSE = """
UPDATE syncd_conflict c SET status = 'closed', ended_at = now()
FROM unnest($2::bytea[], $3::text[]) AS u (key, column_name)
WHERE c.entity_id = $1 AND c.key = u.key AND c.column_name = u.column_name AND c.status = 'open'
"""
_OUTBOX = """
INSERT INTO syncd_outbox (entity_id, key, type, outcome, run_id)
SELECT $1, u.key, u.type, u.outcome, $2
FROM unnest($3::bytea[], $4::text[], $5::text[]) AS u (key, type, outcome)
"""
_UNIT = """
INSERT INTO syncd_work_unit (run_id, entity_id, unit_id, attempt, counts, redone)
SELECT $1, $2, $3, attempts, $4::jsonb, $5::jsonb FROM syncd_run
WHERE run_id = $1 AND epoch = $6
"""
_FIND_UNIT = """
SELECT counts::text AS counts, redone::text AS redone FROM syncd_work_unit
WHERE run_id = $1 AND entity_id = $2 AND unit_id = $3
"""
_SHAPES = "SELECT shape, columns FROM syncd_shape WHERE entity_id = $1"
# Entries that stand aside: found through the index of what is unsettled.
ASIDE = "unsettled AND present AND NOT open AND digest <> 0 AND outcome IN ('skipped', 'waiting')"
_UNSETTLED = f"""
SELECT EXISTS (
    SELECT 1 FROM syncd_fingerprint WHERE entity_id = $1 AND unsettled AND NOT ({ASIDE})
)
"""
_STANDING = f"""
SELECT outcome, count(*) AS records,
       count(*) FILTER (WHERE key = ANY($3::bytea[])) AS absent
FROM syncd_fingerprint WHERE entity_id = $1 AND {ASIDE} AND run_id <> $2 GROUP BY outcome
"""
# A batch whose records were all set aside, or deleted, has made no parent.
_RELEASED = f"""
SELECT key FROM syncd_fingerprint
WHERE entity_id = $1 AND {ASIDE} AND outcome = 'waiting' AND ($3 = 0 OR EXISTS (
    SELECT 1 FROM syncd_work_unit u
    WHERE u.entity_id = ANY($2::integer[]) AND u.run_id > $3 AND EXISTS (
        SELECT 1 FROM jsonb_each_text(u.counts -> 'present') AS c (name, records)
        WHERE c.records <> '0' AND c.name <> ALL($4::text[])
    )
))
ORDER BY key
"""
_NOT_LANDED: Final = ["seen", *sorted(outcome.value for outcome in NOT_LANDED)]
_ASK_AGAIN = f"""
UPDATE syncd_fingerprint SET digest = 0
WHERE entity_id = $1 AND {ASIDE} AND key = ANY($2::bytea[])
"""
BLOCK_BYTES: Final = 256 * 1024
_WENT_BACK: Final = "an entry would go back to an earlier position of the source"  # I5
_NOT_OURS: Final = "the run has an epoch that is not the one of this transaction"  # I9
_NAMES: Final = "\x1f"  # between names of columns, which may hold a comma


class PostgresLedger:
    """The ledger of one pipeline. Knows the shapes of its entities once ``shapes`` has run."""

    def __init__(self, connections: Connections, schema: str) -> None:
        self._connections = connections
        self._schema = schema
        self._sql = partial(in_schema, schema)
        self._remaps: dict[int, dict[int, Sequence[int | None]]] = {}

    def begin(self, lease: Lease, *, patient: bool = True) -> AbstractAsyncContextManager[Tx]:
        """A transaction fenced by the lease's epoch (see ``ports.Ledger.begin``)."""
        return self._fenced(lease, patient=patient)

    @asynccontextmanager
    async def _fenced(self, lease: Lease, *, patient: bool) -> AsyncIterator[PgTx]:
        async with transaction(self._connections, patient=patient) as tx:
            fence = (self._sql(FENCE), lease.pipeline, lease.epoch, lease.holder)
            if await tx.connection.fetchval(*fence) is None:
                raise taken_over(lease)
            tx.epoch = lease.epoch
            await failpoint("ledger.fenced")
            yield tx

    def look(self) -> AbstractAsyncContextManager[Tx]:
        """A read-only transaction in which nothing is locked, for ``plan`` and ``explain``."""
        return transaction(self._connections, writes=False)

    async def load_shapes(self, plan: Plan) -> None:
        """Learn how bases of older column lists map to the plan's."""
        with translate("reading the shapes of the ledger"):
            async with self._connections.acquire() as connection:
                rows = await connection.fetch(self._sql(_SHAPES), plan.entity_id)
        names = [column.into for column in plan.drafted]
        self._remaps[plan.entity_id] = {row["shape"]: _remap(row["columns"], names) for row in rows}

    async def extent(self, plan: Plan) -> tuple[bytes, bytes] | None:
        """The first and the last key of all entries; None when nothing is remembered."""
        with translate("looking for entries"):
            async with self._connections.acquire() as connection:
                keys = await connection.fetch(self._sql(_EXTENT), plan.entity_id)
        return (keys[0]["key"], keys[-1]["key"]) if keys else None

    async def is_settled(self, plan: Plan) -> bool:
        """Whether no entry asks for a look in the next sweep, but for those that stand aside."""
        with translate("looking for unsettled entries"):
            async with self._connections.acquire() as connection:
                return not await connection.fetchval(self._sql(_UNSETTLED), plan.entity_id)

    async def standing(self, plan: Plan, run_id: int, absent: Sequence[bytes]) -> Counts:
        """Records that stand aside since before this run, without the absent, by outcome."""
        counts = Counts()
        with translate("looking for entries that stand aside"):
            async with self._connections.acquire() as connection:
                statement = self._sql(_STANDING)
                rows = await connection.fetch(statement, plan.entity_id, run_id, absent)
        for row in rows:
            counts.add(Outcome(row["outcome"]), row["records"] - row["absent"])
        return counts

    async def released(self, plan: Plan, parents: Sequence[int], since: int) -> list[bytes]:
        """Keys that stand aside as waiting, if a parent may have come (``ports.Ledger``)."""
        with translate("looking for records whose parent has come"):
            async with self._connections.acquire() as connection:
                rows = await connection.fetch(
                    self._sql(_RELEASED), plan.entity_id, parents, since, _NOT_LANDED
                )
        return [row["key"] for row in rows]

    async def ask_again(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> None:
        """Forget the digests of those that stand aside."""
        connection, _ = _of(tx)
        await connection.execute(self._sql(_ASK_AGAIN), plan.entity_id, keys)

    async def scan(self, plan: Plan, digest_epoch: int, emit: Emit, within: Span = WHOLE) -> int:
        """Push (key, digest) of every entry that the source had when last looked at."""
        cutter = BlockCutter(BLOCK_BYTES)

        async def receive(data: bytes) -> None:
            block = cutter.feed(data)
            if block is not None:
                await emit(block)

        with translate("reading the ledger"):
            async with self._connections.acquire() as connection:
                await failpoint("ledger.scan")
                statement, ends = (_SCAN_BEFORE, [within.end]) if within.end else (_SCAN, [])
                await connection.copy_from_query(
                    self._sql(statement), plan.entity_id, digest_epoch, within.first, *ends,
                    output=receive, format="binary",
                )  # fmt: skip
        last: Block | None = cutter.finish()
        if last is not None:
            await emit(last)
        return cutter.records

    async def lock(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> Mapping[bytes, Entry]:
        """Entries of ``keys``, locked in key order when the transaction writes."""
        connection, writes = _of(tx)
        statement = self._sql(_LOCK_FOR_UPDATE) if writes else self._sql(_LOCK)
        rows = await connection.fetch(statement, plan.entity_id, keys)
        remaps = self._remaps.get(plan.entity_id, {})
        found = {row["key"]: entry_rows.to_entry(row, plan.shape, remaps) for row in rows}
        disputed: dict[bytes, set[str]] = {key: set() for key, e in found.items() if e.open}
        if disputed:
            for row in await connection.fetch(self._sql(_DISPUTED), plan.entity_id, list(disputed)):
                disputed[row["key"]].add(row["column_name"])
        for key, names in disputed.items():
            found[key] = replace(found[key], disputed=frozenset(names))
        return found

    def pack(self, plan: Plan, common: Entry, fresh: Fresh) -> bytes:
        """Rows of new entries for a binary COPY."""
        return entry_rows.pack_fresh(plan.entity_id, common, fresh)

    async def load(self, tx: Tx, cargo: Sequence[Cargo]) -> None:
        """Store new entries straight into the table."""
        connection, _ = _of(tx)
        rows = [part for part in cargo if isinstance(part, bytes)]
        await failpoint("ledger.load")
        await _copy(connection, "syncd_fingerprint", rows, schema=self._schema)

    async def record(
        self, tx: Tx, plan: Plan, entries: Sequence[Entry], imports: Sequence[Import], *, new: bool
    ) -> None:
        """Store entries, history lines, conflicts and outbox rows."""
        connection, _ = _of(tx)
        rows = entry_rows.pack_entries(plan.entity_id, entries)
        if new:
            await _copy(connection, "syncd_fingerprint", [rows], schema=self._schema)
        elif entries:
            await connection.execute(self._sql(_STAGE))
            await failpoint("ledger.stage")
            await _copy(connection, "syncd_stage_entry", [rows])
            await failpoint("ledger.copied")
            done = await connection.execute(self._sql(_UPSERT), plan.entity_id, _back(entries))
            _expect(plan, len(entries), done, _WENT_BACK)
            await failpoint("ledger.upserted")
            await connection.execute(_DROP_STAGE)
        if imports:
            await self._record_imports(connection, plan, entries[0].run_id, imports)

    async def touch(
        self,
        tx: Tx,
        plan: Plan,
        keys: Sequence[bytes],
        digests: Sequence[int],
        digest_epoch: int,
        source_epoch: int,
        position: int,
    ) -> None:
        """Refresh digest and position of rows that the fingerprint proved unchanged."""
        await failpoint("ledger.touch")
        connection, _ = _of(tx)
        done = await connection.execute(
            self._sql(_TOUCH), plan.entity_id, keys, digests, digest_epoch, source_epoch, position
        )
        _expect(plan, len(keys), done, _WENT_BACK)

    async def live(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> frozenset[bytes]:
        """Which of ``keys`` are live: parents that have landed."""
        connection, _ = _of(tx)
        rows = await connection.fetch(self._sql(_LIVE), plan.entity_id, keys)
        return frozenset(row["key"] for row in rows)

    async def unit(self, tx: Tx, run_id: int, plan: Plan, unit: Unit) -> None:
        """Note a work unit in the same transaction."""
        await failpoint("ledger.unit")
        assert isinstance(tx, PgTx)
        counts = _as_json(unit.present, unit.absent)
        redone = _as_json(unit.present_redone, unit.absent_redone)
        done = await tx.connection.execute(
            self._sql(_UNIT), run_id, plan.entity_id, unit.unit_id, counts, redone, tx.epoch
        )
        _expect(plan, 1, done, _NOT_OURS)

    async def find_unit(self, run_id: int, plan: Plan, unit_id: str) -> Unit | None:
        """The work unit, if its transaction did commit."""
        with translate("looking for a work unit"):
            async with self._connections.acquire() as connection:
                await failpoint("ledger.find_unit")
                row = await connection.fetchrow(
                    self._sql(_FIND_UNIT), run_id, plan.entity_id, unit_id
                )
        if row is None:
            return None
        return to_unit(run_id, plan.name, unit_id, row["counts"], row["redone"])

    async def _record_imports(
        self, connection: Any, plan: Plan, run_id: int, imports: Sequence[Import]
    ) -> None:
        told = [i for i in imports if i.outcome is not Outcome.UNCHANGED or i.closed]
        await connection.execute(
            self._sql(_IMPORT), plan.entity_id, run_id,
            [i.key for i in told], [i.outcome.value for i in told], [i.reason for i in told],
            [_NAMES.join(i.columns) for i in told],
            [_NAMES.join(c.column for c in i.conflicts) for i in told],
        )  # fmt: skip
        await failpoint("ledger.told")
        closed = [(i.key, column) for i in imports for column in i.closed]
        if closed:
            keys, columns = [key for key, _ in closed], [column for _, column in closed]
            await connection.execute(self._sql(_CLOSE), plan.entity_id, keys, columns)
            await failpoint("ledger.conflicts_closed")
        conflicts = [(i.key, conflict) for i in imports for conflict in i.conflicts]
        if conflicts:
            await self._record_conflicts(connection, plan, run_id, conflicts)
            await failpoint("ledger.conflicts_opened")
        events = [i for i in imports if i.event]
        if events:
            await failpoint("ledger.outbox")
            await connection.execute(
                self._sql(_OUTBOX), plan.entity_id, run_id,
                [i.key for i in events], [i.event for i in events],
                [i.outcome.value for i in events],
            )  # fmt: skip

    async def _record_conflicts(
        self,
        connection: Any,
        plan: Plan,
        run_id: int,
        conflicts: Sequence[tuple[bytes, ColumnConflict]],
    ) -> None:
        await connection.execute(
            self._sql(_CONFLICT), plan.entity_id, run_id,
            [key for key, _ in conflicts], [c.column for _, c in conflicts],
            [c.kind for _, c in conflicts], [c.base for _, c in conflicts],
            [c.source for _, c in conflicts], [c.target for _, c in conflicts],
        )  # fmt: skip


def _expect(plan: Plan, rows: int, tag: str, broken: str) -> None:
    """Raise InvariantError when a statement did not touch as many rows as it must."""
    if int(tag.rsplit(" ", 1)[-1]) != rows:
        raise InvariantError(
            f"entity {plan.name}: {broken}; the batch was rolled back",
            hint="nothing of it was written; please report this with the run's id",
        )


class _Sides(Struct, frozen=True):
    """One JSON column of a work unit."""

    present: Counts
    absent: Counts


_read_sides = msgspec.json.Decoder(_Sides).decode


def to_unit(run_id: int, entity: str, unit_id: str, counts: str, redone: str) -> Unit:
    """A work unit from its two JSON columns; raises InvariantError where one is damaged."""
    try:
        done, again = decode(_read_sides, counts), decode(_read_sides, redone)
    except DecodeError as error:
        raise InvariantError(
            f"entity {entity}: the row {unit_id!r} of run {run_id} in syncd_work_unit cannot "
            f"be read ({error.code}), expected counts of present and absent records",
            hint="restore that row from a backup of the ledger, or set the status of that run in "
            "syncd_run to stopped: the next one surveys everything again",
        ) from error
    return Unit(unit_id, done.present, done.absent, again.present, again.absent)


def _back(entries: Sequence[Entry]) -> list[bytes]:
    """Keys of records that the source has; one whose delete was refused is missing still."""
    return [e.key for e in entries if e.present and not e.reason.startswith(DELETE_REFUSED)]


def _as_json(present: Counts, absent: Counts) -> str:
    return msgspec.json.encode({"present": present, "absent": absent}).decode()


def _of(tx: Tx) -> tuple[Any, bool]:
    assert isinstance(tx, PgTx)
    return tx.connection, tx.writes


def _remap(old: Sequence[str], new: Sequence[str]) -> Sequence[int | None]:
    positions = {name: at for at, name in enumerate(old)}
    return tuple(positions.get(name) for name in new)


async def _copy(
    connection: Any, table: str, rows: Sequence[bytes], *, schema: str | None = None
) -> None:
    source = CopyPieces([entry_rows.COPY_HEADER, *rows, entry_rows.COPY_TRAILER])
    await connection.copy_to_table(
        table, schema_name=schema, source=source, columns=entry_rows.COLUMNS, format="binary"
    )
