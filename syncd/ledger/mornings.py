"""What is read for the morning: a run, its entities, and the reasons of what did not flow."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct

from syncd.errors import InvariantError
from syncd.flow.decode import DecodeError, decode
from syncd.flow.model import Counts
from syncd.ledger.postgres import ASIDE
from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.pg.errors import translate

_RUN = """
SELECT run_id, status,
       to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS started_at,
       extract(epoch FROM coalesce(finished_at, now()) - started_at)::float8 AS seconds
FROM syncd_run WHERE pipeline = $1 AND ($2::bigint IS NULL OR run_id = $2)
ORDER BY run_id DESC LIMIT 1
"""
_ENTITIES = """
SELECT e.entity_id, e.name, d.status, d.counts::text AS counts, d.seconds, d.notes,
       (SELECT count(*) FROM syncd_conflict c
        WHERE c.entity_id = e.entity_id AND c.status = 'open') AS open_conflicts,
       (SELECT count(*) FROM syncd_held_delete h WHERE h.entity_id = e.entity_id) AS held
FROM syncd_run_entity d JOIN syncd_entity e USING (entity_id)
WHERE d.run_id = $1 ORDER BY e.entity_id
"""
# An entry keeps the reason of the last run that gave it one, so that only the newest run has all.
# What stands aside since an earlier run is told with the reason of then.
_REASONS = f"""
SELECT entity_id, outcome, coalesce(reason, '') AS reason, count(*) AS records
FROM syncd_fingerprint
WHERE entity_id = ANY($2::integer[]) AND outcome = ANY($3::text[])
      AND (run_id = $1 OR (run_id < $1 AND {ASIDE}))
GROUP BY 1, 2, 3 ORDER BY 1, 2, 4 DESC, 3
"""
_FINDINGS = """
SELECT entity_id, severity AS outcome, count(*) AS records,
       CASE WHEN field = '' THEN code ELSE code || ':' || field END AS reason
FROM syncd_finding WHERE run_id = $1 GROUP BY 1, 2, 4 ORDER BY 1, 3 DESC, 4
"""
_read_counts: Final = msgspec.json.Decoder(Counts).decode

Row = Mapping[str, Any]


class Morning(Struct, frozen=True):
    """A run as stored; ``reasons`` and ``findings`` are rows by entity."""

    run: Row
    entities: list[Row]
    reasons: dict[int, list[Row]]
    findings: dict[int, list[Row]]


class Mornings:
    """Reads runs of one pipeline."""

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._sql = partial(in_schema, schema)

    async def read(self, run_id: int | None, outcomes: Sequence[str]) -> Morning | None:
        """The run, or the newest where none is named; None where there is no such run.

        ``outcomes`` are those of which the reasons are wanted.
        """
        with translate("reading the ledger"):
            async with self._connections.acquire() as connection:
                run = await connection.fetchrow(self._sql(_RUN), self._pipeline, run_id)
                if run is None:
                    return None
                found = run["run_id"]
                entities = await connection.fetch(self._sql(_ENTITIES), found)
                ids = [entity["entity_id"] for entity in entities]
                reasons = await connection.fetch(self._sql(_REASONS), found, ids, list(outcomes))
                findings = await connection.fetch(self._sql(_FINDINGS), found)
        return Morning(run, list(entities), _by_entity(reasons), _by_entity(findings))


def counts_of(entity: Row) -> Counts:
    """The stored counts; raises InvariantError where the row of the ledger is damaged."""
    try:
        return decode(_read_counts, entity["counts"])
    except DecodeError as error:
        raise InvariantError(
            f"entity {entity['name']}: its counts in syncd_run_entity cannot be read "
            f"({error.code}), expected numbers by outcome",
            hint="restore that row from a backup of the ledger",
        ) from error


def _by_entity(rows: Sequence[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row["entity_id"], []).append(row)
    return found
