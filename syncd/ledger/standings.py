"""What waits for somebody, by entity: parked records, open conflicts, held deletes.

Looked at between runs too, since people decide meanwhile. It costs as much as there is that waits:
all of it is found through the indexes of what is unsettled, open or held.
"""

from collections.abc import Mapping
from functools import partial

from syncd.ledger.schema_sql import in_schema
from syncd.meter import Standing
from syncd.pg.connect import Connections
from syncd.pg.errors import translate

# Of this many parked records, the first ones by key, it is looked up since when they are parked.
AGED_MAX = 1000
# A record that is parked again for the same reason has no new line in the history, so the last
# line is from when it was parked first.
_STANDINGS = f"""
SELECT e.name,
       (SELECT count(*) FROM syncd_held_delete h
        WHERE h.entity_id = e.entity_id AND h.decision <> 'rejected') AS held,
       (SELECT count(*) FROM syncd_conflict c
        WHERE c.entity_id = e.entity_id AND c.status = 'open') AS conflicts,
       parked.entries, parked.age_s
FROM syncd_entity e CROSS JOIN LATERAL (
    SELECT count(*) AS entries,
           extract(epoch FROM clock_timestamp() - min(coalesce(since.at, p.changed_at)))::float
               AS age_s
    FROM (SELECT f.key, f.changed_at, row_number() OVER (ORDER BY f.key) AS place
          FROM syncd_fingerprint f
          WHERE f.entity_id = e.entity_id AND f.unsettled AND (f.state = 'quarantined' OR
                f.outcome IN ('invalid', 'unsupported', 'waiting', 'failed', 'conflict'))) p
    LEFT JOIN LATERAL (
        SELECT i.at FROM syncd_import_record i
        WHERE p.place <= {AGED_MAX} AND i.entity_id = e.entity_id AND i.key = p.key
        ORDER BY i.import_id DESC LIMIT 1) since ON true) parked
WHERE e.pipeline = $1
"""


class Standings:
    """What waits for somebody in one pipeline."""

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._sql = partial(in_schema, schema)

    async def read(self) -> Mapping[str, Standing]:
        """Every entity of the ledger."""
        with translate("looking at what waits for somebody"):
            async with self._connections.acquire() as connection:
                rows = await connection.fetch(self._sql(_STANDINGS), self._pipeline)
        return {
            row["name"]: Standing(row["held"], row["conflicts"], row["entries"], row["age_s"])
            for row in rows
        }
