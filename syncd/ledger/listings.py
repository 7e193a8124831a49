"""Pages of what the ledger holds: runs, and records that are not in step. Reads only, bounded."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from syncd.flow.decode import DecodeError, decode
from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.pg.errors import translate
from syncd.reports import FindingView, ParkedGroup, RunEntityView, RunView

_RUN = """
run_id, status, attempts,
to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS started_at,
coalesce(to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '') AS finished_at,
coalesce(selected, '{}'::text[]) AS selected
"""
_RUNS = f"""
SELECT {_RUN} FROM syncd_run WHERE pipeline = $1 AND ($2 = 0 OR run_id < $2)
ORDER BY run_id DESC LIMIT $3
"""
_ONE_RUN = f"SELECT {_RUN} FROM syncd_run WHERE pipeline = $1 AND run_id = $2"
_RUN_ENTITIES = """
SELECT e.name, r.status, r.counts::text AS counts, r.seconds, r.notes, r.findings_total
FROM syncd_run_entity r JOIN syncd_entity e USING (entity_id)
WHERE r.run_id = $1 AND e.pipeline = $2 ORDER BY e.entity_id
"""
_RUN_FINDINGS = """
SELECT e.name, f.severity, f.code, f.field, f.place
FROM syncd_finding f JOIN syncd_entity e USING (entity_id)
WHERE f.run_id = $1 AND e.pipeline = $2 ORDER BY f.finding_id LIMIT $3
"""
_PARKED_OUTCOMES = "('skipped', 'invalid', 'unsupported', 'waiting', 'failed', 'conflict')"
_PARKED_GROUPS = f"""
SELECT e.name, f.outcome, coalesce(f.reason, '') AS reason, count(*) AS records,
       to_char(min(f.changed_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
FROM syncd_fingerprint f JOIN syncd_entity e USING (entity_id)
WHERE e.pipeline = $1 AND f.unsettled AND f.outcome IN {_PARKED_OUTCOMES}
GROUP BY e.entity_id, e.name, f.outcome, f.reason
ORDER BY e.entity_id, records DESC, f.outcome, reason LIMIT $2
"""
_PARKED_WHERE = f"""
entity_id = $1 AND unsettled AND outcome IN {_PARKED_OUTCOMES}
AND ($2 = '' OR outcome = $2) AND ($3 = '' OR reason = $3)
"""
_PARKED = f"""
SELECT key, outcome, coalesce(reason, '') AS reason, run_id,
       to_char(changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
FROM syncd_fingerprint WHERE {_PARKED_WHERE} AND key > $4 ORDER BY key LIMIT $5
"""
_REPLAY = f"""
UPDATE syncd_fingerprint SET digest = 0, fingerprint = '' WHERE {_PARKED_WHERE}
"""
_FORGET_IDENTITY = "UPDATE syncd_entity SET identity = '' WHERE entity_id = $1"

_read_counts = msgspec.json.Decoder(dict[str, int]).decode


class Listings:
    """Pages of one pipeline."""

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._sql = partial(in_schema, schema)

    async def runs(self, *, before: int, most: int) -> list[RunView]:
        """The newest runs first, those before run ``before``; 0 begins at the newest."""
        rows = await self._fetch(_RUNS, self._pipeline, before, most)
        return [_run(row) for row in rows]

    async def run(self, run_id: int, *, findings: int) -> RunView | None:
        """One run with its entities and its first findings; None where there is no such run."""
        rows = await self._fetch(_ONE_RUN, self._pipeline, run_id)
        if not rows:
            return None
        entities = await self._fetch(_RUN_ENTITIES, run_id, self._pipeline)
        found = await self._fetch(_RUN_FINDINGS, run_id, self._pipeline, findings)
        return msgspec.structs.replace(
            _run(rows[0]),
            entities=tuple(_run_entity(row) for row in entities),
            findings=tuple(FindingView(*row.values()) for row in found),
        )

    async def parked_groups(self, *, most: int) -> list[ParkedGroup]:
        """What is not in step, counted by entity, outcome and reason."""
        rows = await self._fetch(_PARKED_GROUPS, self._pipeline, most)
        return [ParkedGroup(*row.values()) for row in rows]

    async def parked(
        self, entity_id: int, outcome: str, reason: str, *, after: bytes, most: int
    ) -> list[Mapping[str, Any]]:
        """Records that are not in step, in the order of their keys; "" takes every outcome."""
        rows = await self._fetch(_PARKED, entity_id, outcome, reason, after, most)
        return [dict(row) for row in rows]

    async def replay(self, entity_id: int, outcome: str, reason: str) -> int:
        """Have the next run look at these again as if it had never seen them; how many."""
        with translate("marking records"):
            async with self._connections.acquire() as connection, connection.transaction():
                done = await connection.execute(self._sql(_REPLAY), entity_id, outcome, reason)
                await connection.execute(self._sql(_FORGET_IDENTITY), entity_id)
        return int(done.rsplit(" ", 1)[-1])

    async def _fetch(self, statement: str, *values: object) -> list[Any]:
        with translate("reading the ledger"):
            async with self._connections.acquire() as connection:
                return list(await connection.fetch(self._sql(statement), *values))


def _run(row: Any) -> RunView:
    return RunView(
        row["run_id"],
        row["status"],
        row["started_at"],
        row["finished_at"],
        row["attempts"],
        tuple(row["selected"]),
    )


def _run_entity(row: Any) -> RunEntityView:
    try:
        counts = decode(_read_counts, row["counts"])
    except DecodeError:  # damaged: the run is told without its counts
        counts = {}
    return RunEntityView(
        row["name"],
        row["status"],
        row["seconds"],
        counts,
        tuple(row["notes"]),
        row["findings_total"],
    )
