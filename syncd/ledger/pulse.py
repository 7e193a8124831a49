"""How a pipeline stands, in one cheap look that any instance may take, without a lease."""

from functools import partial
from typing import Final

from msgspec import Struct

from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.pg.errors import translate
from syncd.reports import Backlog

OUTBOX_SEEN_MAX: Final = 100_000  # more need no exact number, and counting them would take seconds
_ENTITIES = """
SELECT name, last_status,
       extract(epoch FROM clock_timestamp() - last_success)::float8 AS age_s,
       extract(epoch FROM last_success)::float8 AS success_s
FROM syncd_entity WHERE pipeline = $1
"""
_QUEUES = f"""
WITH claims AS (
    SELECT count(*) AS depth, min(requested_at) AS since FROM syncd_claim
    WHERE pipeline = $1 AND status = 'waiting'
), outbox AS (
    SELECT count(*) AS depth, min(created_at) AS since FROM (
        SELECT created_at FROM syncd_outbox WHERE sent_at IS NULL
            AND entity_id = ANY(SELECT entity_id FROM syncd_entity WHERE pipeline = $1)
        ORDER BY outbox_id LIMIT {OUTBOX_SEEN_MAX}) unsent
)
SELECT claims.depth AS claims, outbox.depth AS outbox,
       coalesce(extract(epoch FROM clock_timestamp() - claims.since), 0)::float8 AS claims_s,
       coalesce(extract(epoch FROM clock_timestamp() - outbox.since), 0)::float8 AS outbox_s
FROM claims, outbox
"""
_PAUSED = "SELECT entity FROM syncd_pause WHERE pipeline = $1"


class EntityPulse(Struct, frozen=True):
    """An entity as the ledger knows it; the ages are None while it never was in step."""

    name: str
    last_status: str
    age_s: float | None
    success_s: float | None


class Beat(Struct, frozen=True):
    """One look. ``paused``: entities that rest; "" among them is the pipeline."""

    entities: tuple[EntityPulse, ...]
    claims: Backlog
    outbox: Backlog  # counted up to OUTBOX_SEEN_MAX
    paused: frozenset[str]


class Pulse:
    """Looks at one pipeline."""

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._sql = partial(in_schema, schema)

    async def beat(self) -> Beat:
        """How it stands now."""
        with translate("looking at the ledger"):
            async with self._connections.acquire() as connection:
                entities = await connection.fetch(self._sql(_ENTITIES), self._pipeline)
                queues = await connection.fetchrow(self._sql(_QUEUES), self._pipeline)
                paused = await connection.fetch(self._sql(_PAUSED), self._pipeline)
        assert queues is not None
        return Beat(
            tuple(EntityPulse(*row.values()) for row in entities),
            Backlog(queues["claims"], queues["claims_s"]),
            Backlog(queues["outbox"], queues["outbox_s"]),
            frozenset(row["entity"] for row in paused),
        )
