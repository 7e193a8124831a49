"""The outbox: events that committed with their records, until they are known to be sent.

An event is taken only when no earlier one of its record is unsent. So the order of a record's
events needs nothing else: what failed holds back those behind it, and those of no other record. All
times are the database's. Whoever takes and notes does so under the lease (case 83).
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

from msgspec import Struct

from syncd.flow.ports import Lease
from syncd.ledger.fence import fenced
from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.pg.errors import translate
from syncd.reports import Backlog, EventReason

# The attempt is noted before the event is sent: one that takes its sender down is seen to do so.
_TAKE = """
UPDATE syncd_outbox o SET attempts = o.attempts + 1
FROM (
    SELECT d.outbox_id, e.name FROM syncd_outbox d JOIN syncd_entity e USING (entity_id)
    WHERE e.pipeline = $1 AND d.sent_at IS NULL
          AND (d.retry_at IS NULL OR d.retry_at <= clock_timestamp())
          AND NOT EXISTS (
              SELECT 1 FROM syncd_outbox b
              WHERE b.entity_id = d.entity_id AND b.key = d.key
                    AND b.outbox_id < d.outbox_id AND b.sent_at IS NULL)
    ORDER BY d.outbox_id LIMIT $2
) AS due
WHERE o.outbox_id = due.outbox_id
RETURNING o.outbox_id, o.event_id::text AS event_id, due.name AS entity, o.key, o.type, o.outcome,
          o.created_at, o.attempts
"""
_SENT = """
UPDATE syncd_outbox SET sent_at = clock_timestamp(), retry_at = NULL, reason = ''
WHERE outbox_id = ANY($1::bigint[]) AND sent_at IS NULL
"""
_POSTPONE = """
UPDATE syncd_outbox o
SET retry_at = clock_timestamp() + make_interval(secs => u.pause_s), reason = u.reason
FROM unnest($1::bigint[], $2::float8[], $3::text[]) AS u (outbox_id, pause_s, reason)
WHERE o.outbox_id = u.outbox_id AND o.sent_at IS NULL
"""
_BACKLOG = """
SELECT count(*) AS depth,
       coalesce(extract(epoch FROM clock_timestamp() - min(o.created_at)), 0)::float8 AS age_s
FROM syncd_outbox o JOIN syncd_entity e USING (entity_id)
WHERE e.pipeline = $1 AND o.sent_at IS NULL
"""
_REASONS = """
SELECT e.name AS entity, o.reason, count(*) AS events
FROM syncd_outbox o JOIN syncd_entity e USING (entity_id)
WHERE e.pipeline = $1 AND o.sent_at IS NULL AND o.reason <> ''
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT $2
"""
REASON_CHARS_MAX: Final = 500
REASONS_MAX: Final = 50


class Due(Struct, frozen=True):
    """An event that may be sent now. ``attempts`` counts this one."""

    outbox_id: int
    event_id: str
    entity: str
    key: bytes
    type: str
    outcome: str
    created_at: datetime
    attempts: int


class Postponed(Struct, frozen=True):
    """An event that was not sent, why, and how long it rests."""

    outbox_id: int
    pause_s: float
    reason: str


class Outbox:
    """Events of one pipeline."""

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._schema = schema
        self._sql = partial(in_schema, schema)

    async def take(self, lease: Lease, limit: int) -> list[Due]:
        """Events that may be sent now, in the order in which they arose, at most one of a record.

        What is taken and never noted is taken again. Raises FencedError once another instance has
        taken over.
        """
        async with fenced(self._connections, self._schema, lease, "taking events") as connection:
            rows = await connection.fetch(self._sql(_TAKE), self._pipeline, limit)
        found = [Due(**row) for row in rows]
        return sorted(found, key=lambda due: due.outbox_id)

    async def note(self, lease: Lease, sent: Sequence[int], postponed: Sequence[Postponed]) -> None:
        """Note what became of events that were taken; may be repeated. Raises FencedError."""
        async with fenced(self._connections, self._schema, lease, "noting events") as connection:
            if sent:
                await connection.execute(self._sql(_SENT), sent)
            if postponed:
                await connection.execute(
                    self._sql(_POSTPONE),
                    [p.outbox_id for p in postponed],
                    [p.pause_s for p in postponed],
                    [p.reason[:REASON_CHARS_MAX] for p in postponed],
                )

    async def backlog(self) -> Backlog:
        """How many events are not sent, and since when the oldest waits."""
        with translate("looking at the outbox"):
            async with self._connections.acquire() as connection:
                row = await connection.fetchrow(self._sql(_BACKLOG), self._pipeline)
        assert row is not None
        return Backlog(row["depth"], row["age_s"])

    async def reasons(self) -> list[EventReason]:
        """Why events are not sent, the commonest reason first."""
        with translate("looking at the outbox"):
            async with self._connections.acquire() as connection:
                rows = await connection.fetch(self._sql(_REASONS), self._pipeline, REASONS_MAX)
        return [EventReason(**row) for row in rows]
