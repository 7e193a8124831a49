"""Work that was asked for, and what rests: the part of the ledger that all instances share.

Whoever hears a wish (a schedule, a signal, the API) notes a claim here; whoever leads takes it. For
each scope at most one claim waits and one runs, which two unique indexes hold true: asking a
thousand times is answered with the claim that waits already (case 8).
"""

from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from syncd.flow.ports import Lease
from syncd.ledger.fence import fenced
from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.pg.errors import translate
from syncd.reports import Backlog, ClaimView, PauseView

Origin: TypeAlias = Literal["schedule", "dump", "signal", "api", "cli"]
Ending: TypeAlias = Literal["done", "failed", "cancelled"]
Scope: TypeAlias = frozenset[str] | None  # names of entities, None for all

ASK = """
INSERT INTO syncd_claim AS c (pipeline, scope, origin, requested_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (pipeline, scope) WHERE status = 'waiting' DO UPDATE SET requests = c.requests + 1
RETURNING claim_id, requests, status
"""
# One at a time: the lease's row is locked FOR KEY SHARE only, so two takers of one holder are kept
# apart by the index of what runs. First what an instance before us left, then in the order asked.
_ORPHAN = """
UPDATE syncd_claim SET epoch = $2 WHERE claim_id = (
    SELECT claim_id FROM syncd_claim
    WHERE pipeline = $1 AND status = 'running' AND epoch < $2
          AND NOT EXISTS (SELECT 1 FROM syncd_pause WHERE pipeline = $1 AND entity = '')
    ORDER BY claim_id LIMIT 1 FOR UPDATE)
RETURNING claim_id, scope, origin, run_id
"""
_TAKE = """
UPDATE syncd_claim SET status = 'running', epoch = $2, started_at = now() WHERE claim_id = (
    SELECT w.claim_id FROM syncd_claim w
    WHERE w.pipeline = $1 AND w.status = 'waiting'
          AND NOT EXISTS (SELECT 1 FROM syncd_pause WHERE pipeline = $1 AND entity = '')
          AND NOT EXISTS (
              SELECT 1 FROM syncd_claim r
              WHERE r.pipeline = $1 AND r.status = 'running'
                    AND (r.scope = '' OR w.scope = '' OR
                         string_to_array(r.scope, ',') && string_to_array(w.scope, ',')))
    ORDER BY w.claim_id LIMIT 1 FOR UPDATE)
RETURNING claim_id, scope, origin, run_id
"""
_FINISH = """
UPDATE syncd_claim SET status = $2, run_id = $3, reason = $4, finished_at = now()
WHERE claim_id = $1 AND status = 'running'
"""
_COLUMNS = """
claim_id, scope, origin, requested_by, requests, status, coalesce(run_id, 0) AS run_id, reason,
requested_at, started_at, finished_at
"""
_LISTED = f"""
SELECT {_COLUMNS} FROM syncd_claim WHERE pipeline = $1 ORDER BY claim_id DESC LIMIT $2
"""
_ONE = f"SELECT {_COLUMNS} FROM syncd_claim WHERE pipeline = $1 AND claim_id = $2"
_WAITING = """
SELECT count(*) AS depth,
       coalesce(extract(epoch FROM clock_timestamp() - min(requested_at)), 0)::float8 AS age_s
FROM syncd_claim WHERE pipeline = $1 AND status = 'waiting'
"""
_PAUSE = """
INSERT INTO syncd_pause (pipeline, entity, reason, paused_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (pipeline, entity) DO UPDATE
SET reason = excluded.reason, paused_by = excluded.paused_by
"""
_GO_ON = "DELETE FROM syncd_pause WHERE pipeline = $1 AND entity = $2"
_PAUSED = """
SELECT entity, reason, paused_by,
       to_char(paused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS paused_at
FROM syncd_pause WHERE pipeline = $1 ORDER BY entity
"""


class Claimed(Struct, frozen=True):
    """The answer to whoever asks. ``coalesced``: somebody had asked before, and it waits still."""

    claim_id: int
    coalesced: bool
    status: str


class Claim(Struct, frozen=True):
    """Work that was taken. ``resumed``: another instance had begun it, and has died."""

    claim_id: int
    scope: Scope
    origin: str
    resumed: bool


class Claims:
    """Claims of one pipeline. Each method may be repeated; ``ask`` then counts once more."""

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._schema = schema
        self._sql = partial(in_schema, schema)

    async def ask(self, scope: Scope, origin: Origin, by: str) -> Claimed:
        """Have the scope looked at once more; needs no lease, whoever leads will hear of it.

        What runs already was asked for before: it may have read what changed since, or not, so one
        more may wait beside it.
        """
        row = await self._row("asking for work", ASK, _text(scope), origin, by)
        return Claimed(row["claim_id"], row["requests"] > 1, row["status"])

    async def take(self, lease: Lease) -> Claim | None:
        """The next claim, running from now on; None when there is none that may run.

        One that an earlier holder of the lease left running comes first. None while the pipeline is
        paused. Raises FencedError once another instance has taken over.
        """
        async with fenced(self._connections, self._schema, lease, "taking a claim") as connection:
            for statement, resumed in ((_ORPHAN, True), (_TAKE, False)):
                row = await connection.fetchrow(self._sql(statement), self._pipeline, lease.epoch)
                if row is not None:
                    return Claim(row["claim_id"], _scope(row["scope"]), row["origin"], resumed)
        return None

    async def finish(
        self, lease: Lease, claim_id: int, status: Ending, run_id: int, reason: str
    ) -> None:
        """Note what became of a claim; ``run_id`` 0 where no run began."""
        async with fenced(self._connections, self._schema, lease, "ending a claim") as connection:
            await connection.execute(self._sql(_FINISH), claim_id, status, run_id or None, reason)

    async def listed(self, limit: int) -> list[ClaimView]:
        """The newest claims, the last one first."""
        return [_view(row) for row in await self._rows("listing claims", _LISTED, limit)]

    async def one(self, claim_id: int) -> ClaimView | None:
        """One claim, or None."""
        rows = await self._rows("looking at a claim", _ONE, claim_id)
        return _view(rows[0]) if rows else None

    async def waiting(self) -> Backlog:
        """How many claims wait, and since when."""
        row = await self._row("looking at claims", _WAITING)
        return Backlog(row["depth"], row["age_s"])

    async def _rows(self, doing: str, statement: str, *values: object) -> list[Any]:
        with translate(doing):
            async with self._connections.acquire() as connection:
                return list(await connection.fetch(self._sql(statement), self._pipeline, *values))

    async def _row(self, doing: str, statement: str, *values: object) -> Any:
        return (await self._rows(doing, statement, *values))[0]


class Pauses:
    """What rests in one pipeline; entity ``""`` is the pipeline itself."""

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._sql = partial(in_schema, schema)

    async def pause(self, entity: str, reason: str, by: str) -> None:
        """Let it rest from the next run on; what runs now ends as it would have."""
        await self._execute("pausing", _PAUSE, entity, reason, by)

    async def resume(self, entity: str) -> bool:
        """Let it go on; false when it did not rest."""
        return await self._execute("resuming", _GO_ON, entity) == "DELETE 1"

    async def listed(self) -> list[PauseView]:
        """All that rests."""
        with translate("listing pauses"):
            async with self._connections.acquire() as connection:
                rows = await connection.fetch(self._sql(_PAUSED), self._pipeline)
        return [PauseView(*row.values()) for row in rows]

    async def _execute(self, doing: str, statement: str, *values: object) -> str:
        with translate(doing):
            async with self._connections.acquire() as connection:
                return await connection.execute(self._sql(statement), self._pipeline, *values)


def _text(scope: Scope) -> str:
    return "" if scope is None else ",".join(sorted(scope))


def _scope(text: str) -> Scope:
    return frozenset(text.split(",")) if text else None


def _view(row: Any) -> ClaimView:
    told = {name: _told(value) for name, value in row.items() if name != "scope"}
    return ClaimView(entities=tuple(sorted(_scope(row["scope"]) or ())), **told)


def _told(value: Any) -> Any:
    """A time as text, "" where there is none; all else as it is."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return "" if value is None else value
