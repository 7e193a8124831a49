"""What people look at and decide: held deletes, conflicts, the history of a record, the status."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from syncd.failpoints import failpoint
from syncd.flow.model import Plan
from syncd.flow.ports import Decisions, Lease
from syncd.ledger.fence import fenced
from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.pg.errors import translate

_DECISIONS = "SELECT key, decision, missed_runs FROM syncd_held_delete WHERE entity_id = $1"
_HOLD = """
INSERT INTO syncd_held_delete AS h (entity_id, key, run_id, reason)
SELECT $1, u.key, $2, $4 FROM unnest($3::bytea[]) AS u (key)
ON CONFLICT (entity_id, key) DO UPDATE
SET missed_runs = h.missed_runs + CASE WHEN h.run_id = excluded.run_id THEN 0 ELSE 1 END,
    run_id = excluded.run_id, reason = excluded.reason
"""
_LET_GO = "DELETE FROM syncd_held_delete WHERE entity_id = $1 AND run_id <> $2"
_HELD = """
SELECT key, reason, decision,
       to_char(min(since) OVER () AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
FROM syncd_held_delete WHERE entity_id = $1 ORDER BY key
"""
_DECIDE_HELD = """
UPDATE syncd_held_delete SET decision = $2, decided_at = now()
WHERE entity_id = $1 AND ($3::bytea[] IS NULL OR key = ANY($3))
"""
_REMEMBERED = "SELECT count(*) FROM syncd_fingerprint WHERE entity_id = $1 AND present"
_CONFLICTS = """
SELECT conflict_id, entity_id, key, column_name, kind, status, run_id, source_hash, target_hash,
       to_char(opened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS opened_at
FROM syncd_conflict
WHERE entity_id = ANY($1::integer[]) AND ($2 = 'all' OR status = $2)
      AND ($3::bigint IS NULL OR conflict_id = $3) AND conflict_id > $5
ORDER BY conflict_id LIMIT $4
"""
_RESOLVE = """
UPDATE syncd_conflict SET status = $2, ended_at = now()
WHERE conflict_id = $1 AND status = 'open'
"""
# The decision waits in the ledger for whichever run comes next to carry it out.
_DECIDE_FOR_SOURCE = """
UPDATE syncd_conflict SET decision = 'source' WHERE conflict_id = $1 AND status = 'open'
"""
_DECIDED_FOR_SOURCE = """
SELECT conflict_id, entity_id, key, column_name, target_hash FROM syncd_conflict
WHERE entity_id = ANY($1::integer[]) AND decision = 'source' ORDER BY conflict_id LIMIT $2
"""
# A run that has looked at them has closed those that it wrote. The others stay open and undecided:
# the target holds another value than the one that was decided about.
_CARRIED_OUT = """
UPDATE syncd_conflict
SET decision = '',
    status = CASE WHEN status = 'closed' THEN 'resolved_source' ELSE status END
WHERE conflict_id = ANY($1::bigint[]) AND decision = 'source'
"""
# The target's value is accepted: nothing of ours stands there any more, so the column is theirs
# until the source's value changes again or both agree.
_DISOWN = """
UPDATE syncd_fingerprint
SET target_base = CASE WHEN coalesce(target_base, source_base) = '' THEN ''::bytea ELSE
        overlay(coalesce(target_base, source_base) PLACING '\\x0000000000000000'::bytea
                FROM $3 FOR 8) END,
    source_base = CASE WHEN source_base = '' THEN source_base ELSE
        overlay(source_base PLACING $5::bytea FROM $3 FOR 8) END,
    open = $4, unsettled = $4
WHERE entity_id = $1 AND key = $2
"""
# Out of quarantine: the next run looks at the record again, under the column rule.
_RELEASE = """
UPDATE syncd_fingerprint
SET state = 'live', digest = 0, unsettled = true, fingerprint = ''
WHERE entity_id = $1 AND key = $2 AND state = 'quarantined'
"""
_OTHERS_OPEN = """
SELECT EXISTS (SELECT 1 FROM syncd_conflict WHERE entity_id = $1 AND key = $2
               AND status = 'open' AND conflict_id <> $3)
"""
_HISTORY = """
SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at, run_id, outcome,
       reason, columns, conflicts
FROM syncd_import_record WHERE entity_id = $1 AND key = $2 ORDER BY import_id DESC LIMIT $3
"""
_ENTRY = "SELECT run_id, first_run_id FROM syncd_fingerprint WHERE entity_id = $1 AND key = $2"
_STATUS = """
SELECT e.entity_id, e.name, e.last_status, e.drift,
       coalesce(to_char(e.last_success AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                '') AS last_success,
       (SELECT count(*) FROM syncd_fingerprint f
        WHERE f.entity_id = e.entity_id AND f.state = 'live') AS records,
       (SELECT count(*) FROM syncd_conflict c
        WHERE c.entity_id = e.entity_id AND c.status = 'open') AS open_conflicts,
       (SELECT count(*) FROM syncd_held_delete h WHERE h.entity_id = e.entity_id) AS held
FROM syncd_entity e WHERE e.pipeline = $1 ORDER BY e.entity_id
"""
_PARKED = """
SELECT entity_id, outcome, count(*) AS entries FROM syncd_fingerprint
WHERE unsettled AND entity_id = ANY($1::integer[]) AND outcome IN
      ('skipped', 'invalid', 'unsupported', 'waiting', 'failed', 'conflict')
GROUP BY entity_id, outcome
"""
_LAST_RUN = """
SELECT run_id, status FROM syncd_run WHERE pipeline = $1 ORDER BY run_id DESC LIMIT 1
"""
_RESYNC_ALL = """
UPDATE syncd_fingerprint SET digest = 0, unsettled = true, fingerprint = ''
WHERE entity_id = $1 AND present
"""
_RESYNC_KEYS = """
UPDATE syncd_fingerprint SET digest = 0, unsettled = true, fingerprint = ''
WHERE entity_id = $1 AND present AND key = ANY($2::bytea[])
"""
_FORGET_IDENTITY = "UPDATE syncd_entity SET identity = '' WHERE entity_id = $1"


class ConflictRow(Struct, frozen=True):
    """A conflict as stored."""

    conflict_id: int
    entity_id: int
    key: bytes
    column: str
    kind: str
    status: str
    run_id: int
    source_hash: bytes
    target_hash: bytes
    opened_at: str


class Decided(Struct, frozen=True):
    """An open conflict that an operator decided for the source.

    The source's value is written only while the target holds what has ``target_hash``.
    """

    conflict_id: int
    entity_id: int
    key: bytes
    column: str
    target_hash: bytes


class Reviews:
    """Looks and decisions of one pipeline."""

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._schema = schema
        self._sql = partial(in_schema, schema)

    async def decisions(self, plan: Plan) -> Decisions:
        """What operators decided about the entity's held deletes."""
        rows = await self._fetch(self._sql(_DECISIONS), plan.entity_id)
        return Decisions(
            approved=frozenset(r["key"] for r in rows if r["decision"] == "approved"),
            rejected=frozenset(r["key"] for r in rows if r["decision"] == "rejected"),
            missed_runs={r["key"]: r["missed_runs"] for r in rows},
        )

    async def hold(
        self, lease: Lease, plan: Plan, run_id: int, keys: Sequence[bytes], reason: str
    ) -> None:
        """Hold exactly ``keys`` from now on; FencedError once another instance has taken over."""
        async with fenced(self._connections, self._schema, lease, "holding deletes") as connection:
            await failpoint("review.hold")
            if keys:  # or else the driver would look up a type, every quiet night
                await connection.execute(
                    self._sql(_HOLD), plan.entity_id, run_id, list(keys), reason
                )
            await failpoint("review.held")
            await connection.execute(self._sql(_LET_GO), plan.entity_id, run_id)

    async def held(self, entity_id: int) -> list[Mapping[str, Any]]:
        """Held deletes with reason, decision and the time of the first."""
        return [dict(row) for row in await self._fetch(self._sql(_HELD), entity_id)]

    async def decide_held(
        self, entity_id: int, decision: str, keys: Sequence[bytes] | None = None
    ) -> int:
        """Approve or reject what the entity holds now, of ``keys`` where they are given; how many.

        What began to be held since somebody looked is not decided by naming the keys they saw.
        """
        chosen = None if keys is None else list(keys)
        with translate("deciding about deletes"):
            async with self._connections.acquire() as connection:
                await failpoint("review.approve")
                done = await connection.execute(
                    self._sql(_DECIDE_HELD), entity_id, decision, chosen
                )
        return int(done.rsplit(" ", 1)[-1])

    async def remembered(self, entity_id: int) -> int:
        """Records that the source had when last looked at."""
        rows = await self._fetch(self._sql(_REMEMBERED), entity_id)
        return int(rows[0][0])

    async def conflicts(
        self,
        entity_ids: Sequence[int],
        status: str,
        *,
        conflict_id: int | None,
        most: int,
        after: int = 0,
    ) -> list[ConflictRow]:
        """Conflicts, oldest first, at most ``most``, those after conflict ``after``."""
        rows = await self._fetch(
            self._sql(_CONFLICTS), list(entity_ids), status, conflict_id, most, after
        )
        return [
            ConflictRow(
                r["conflict_id"], r["entity_id"], r["key"], r["column_name"], r["kind"],
                r["status"], r["run_id"], r["source_hash"], r["target_hash"], r["opened_at"],
            )
            for r in rows
        ]  # fmt: skip

    async def resolve_for_target(self, conflict: ConflictRow, column_at: int | None) -> bool:
        """Close a conflict in the target's favour; False when it was not open any more.

        ``column_at`` is the place of its column among the drafted ones; None when the conflict is
        about a whole row, which then just stays as it is.
        """
        with translate("resolving a conflict"):
            async with self._connections.acquire() as connection, connection.transaction():
                done = await connection.execute(
                    self._sql(_RESOLVE), conflict.conflict_id, "resolved_target"
                )
                if done != "UPDATE 1":
                    return False
                await failpoint("review.resolve")
                others = await connection.fetchval(
                    self._sql(_OTHERS_OPEN), conflict.entity_id, conflict.key, conflict.conflict_id
                )
                if column_at is not None:
                    await connection.execute(
                        self._sql(_DISOWN),
                        conflict.entity_id,
                        conflict.key,
                        1 + 8 * column_at,
                        others,
                        conflict.source_hash,
                    )
                await failpoint("review.disowned")
                await connection.execute(self._sql(_RELEASE), conflict.entity_id, conflict.key)
        return True

    async def decide_for_source(self, conflict: ConflictRow) -> bool:
        """Have the next run write the source's value; False when it was not open any more.

        The record is taken out of quarantine, and looked at again.
        """
        with translate("deciding a conflict"):
            async with self._connections.acquire() as connection, connection.transaction():
                await failpoint("review.release")
                number, entity_id, key = conflict.conflict_id, conflict.entity_id, conflict.key
                if await connection.execute(self._sql(_DECIDE_FOR_SOURCE), number) != "UPDATE 1":
                    return False
                await connection.execute(self._sql(_RELEASE), entity_id, key)
                await self._look_again(connection, entity_id, [key])
        return True

    async def decided_for_source(self, entity_ids: Sequence[int], most: int) -> list[Decided]:
        """Conflicts that were decided for the source, and not carried out; at most ``most``."""
        rows = await self._fetch(self._sql(_DECIDED_FOR_SOURCE), list(entity_ids), most)
        return [Decided(*row.values()) for row in rows]

    async def carried_out(self, lease: Lease, conflict_ids: Sequence[int]) -> None:
        """A run has looked at them: what it wrote is resolved, the rest is undecided again."""
        async with fenced(
            self._connections, self._schema, lease, "resolving conflicts"
        ) as connection:
            await failpoint("review.resolved")
            await connection.execute(self._sql(_CARRIED_OUT), list(conflict_ids))

    async def history(self, entity_id: int, key: bytes, most: int) -> list[Mapping[str, Any]]:
        """What happened to a record, newest first."""
        return [dict(row) for row in await self._fetch(self._sql(_HISTORY), entity_id, key, most)]

    async def runs_of(self, entity_id: int, key: bytes) -> tuple[int, int]:
        """The runs that gave the last outcome and that first recorded it; zeros when unknown."""
        rows = await self._fetch(self._sql(_ENTRY), entity_id, key)
        return (rows[0]["run_id"], rows[0]["first_run_id"]) if rows else (0, 0)

    async def status(self) -> tuple[list[Mapping[str, Any]], Mapping[int, Mapping[str, int]]]:
        """Entities with their numbers, and what is parked in each."""
        entities: list[Mapping[str, Any]] = [
            dict(row) for row in await self._fetch(self._sql(_STATUS), self._pipeline)
        ]
        parked: dict[int, dict[str, int]] = {}
        for row in await self._fetch(self._sql(_PARKED), [e["entity_id"] for e in entities]):
            parked.setdefault(row["entity_id"], {})[row["outcome"]] = row["entries"]
        return entities, parked

    async def last_run(self) -> tuple[int, str]:
        """Id and status of the newest run; (0, '') before the first."""
        rows = await self._fetch(self._sql(_LAST_RUN), self._pipeline)
        return (rows[0]["run_id"], rows[0]["status"]) if rows else (0, "")

    async def resync(self, entity_id: int, keys: Sequence[bytes] | None) -> int:
        """Have the next run look at these records, or all, again; how many were marked."""
        with translate("marking records"):
            async with self._connections.acquire() as connection, connection.transaction():
                return await self._look_again(connection, entity_id, keys)

    async def _look_again(
        self, connection: Any, entity_id: int, keys: Sequence[bytes] | None
    ) -> int:
        if keys is None:
            done = await connection.execute(self._sql(_RESYNC_ALL), entity_id)
        else:
            done = await connection.execute(self._sql(_RESYNC_KEYS), entity_id, list(keys))
        await failpoint("review.resync")
        await connection.execute(self._sql(_FORGET_IDENTITY), entity_id)
        return int(done.rsplit(" ", 1)[-1])

    async def _fetch(self, statement: str, *values: object) -> list[Any]:
        with translate("reading the ledger"):
            async with self._connections.acquire() as connection:
                return list(await connection.fetch(statement, *values))
