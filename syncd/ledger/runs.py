"""Runs, the lease and what is pinned per entity: the part of the ledger that frames the work."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from syncd.errors import ConfigError, FencedError, InvariantError
from syncd.failpoints import failpoint
from syncd.flow.decode import DecodeError, decode
from syncd.flow.model import Counts, Issue, Plan
from syncd.flow.ports import Lease, Unit
from syncd.ledger.fence import fenced
from syncd.ledger.postgres import to_unit
from syncd.ledger.schema_sql import in_schema
from syncd.ledger.takeover import take_over
from syncd.pg.connect import Connections
from syncd.pg.errors import translate

_ACQUIRE = """
INSERT INTO syncd_lease (pipeline, holder, epoch, expires_at)
VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (pipeline) DO UPDATE
SET holder = excluded.holder, epoch = syncd_lease.epoch + 1, expires_at = excluded.expires_at
WHERE syncd_lease.expires_at < clock_timestamp()
RETURNING epoch
"""
_KEEP = """
UPDATE syncd_lease SET expires_at = clock_timestamp() + make_interval(secs => $4)
WHERE pipeline = $1 AND epoch = $2 AND holder = $3
"""
_RELEASE = """
UPDATE syncd_lease SET expires_at = '-infinity'
WHERE pipeline = $1 AND epoch = $2 AND holder = $3
"""
_LEASE = """
SELECT holder, epoch, expires_at > clock_timestamp() AS held,
       extract(epoch FROM expires_at - clock_timestamp())::float AS left_s
FROM syncd_lease WHERE pipeline = $1
"""
_UNFINISHED = """
SELECT run_id, selected FROM syncd_run WHERE pipeline = $1 AND status = 'running'
ORDER BY run_id DESC
"""
_RESUME = """
UPDATE syncd_run SET attempts = attempts + 1, epoch = $2, holder = $3
WHERE run_id = $1 RETURNING attempts
"""
_ABANDON = """
UPDATE syncd_run SET status = 'stopped', finished_at = now() WHERE run_id = ANY($1::bigint[])
"""
_START = """
INSERT INTO syncd_run (pipeline, status, epoch, holder, selected)
VALUES ($1, 'running', $2, $3, $4) RETURNING run_id
"""
_FINISH = "UPDATE syncd_run SET status = $2, finished_at = now() WHERE run_id = $1"
_PREVIOUS = """
SELECT to_char(max(started_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM syncd_run
WHERE pipeline = $1 AND run_id < $2 AND status IN ('completed', 'parked', 'held')
"""
_STARTED = """
SELECT to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM syncd_run
WHERE run_id = $1
"""
_UNITS = """
SELECT unit_id, counts::text AS counts, redone::text AS redone FROM syncd_work_unit
WHERE run_id = $1 AND entity_id = $2 AND attempt < $3
"""
_DONE = """
INSERT INTO syncd_run_entity (run_id, entity_id, status, counts, seconds, notes, findings_total)
VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7)
ON CONFLICT (run_id, entity_id) DO UPDATE
SET status = excluded.status, counts = excluded.counts, seconds = excluded.seconds,
    notes = excluded.notes, findings_total = excluded.findings_total, finished_at = now()
"""
_FINDINGS = """
INSERT INTO syncd_finding (run_id, entity_id, severity, code, field, place)
SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[])
"""
_FORGET_FINDINGS = "DELETE FROM syncd_finding WHERE run_id = $1 AND entity_id = $2"
_ENTITY_DONE = """
UPDATE syncd_entity
SET last_status = $2, last_rows = $3, position = greatest(position, $4), source_epoch = $5,
    identity = $6, identity_rows = $7, drift = $8,
    last_success = CASE WHEN $2 = 'completed' THEN now() ELSE last_success END
WHERE entity_id = $1
"""
_ENTITY_FAILED = """
UPDATE syncd_entity SET last_status = $2, drift = $3 WHERE entity_id = $1
"""
_REWIND = """
UPDATE syncd_entity SET source_epoch = source_epoch + 1, position = 0, identity = ''
WHERE entity_id = $1
"""
_ENTITIES = """
SELECT entity_id, name, target, pinned::text AS pinned, source_epoch, position, identity,
       identity_rows, last_rows, drift,
       (SELECT coalesce(max(d.run_id), 0) FROM syncd_run_entity d JOIN syncd_run r USING (run_id)
        WHERE d.entity_id = e.entity_id AND d.status = 'completed'
              AND r.status NOT IN ('running', 'stopped')) AS completed_run
FROM syncd_entity e WHERE pipeline = $1
"""
_PIN = """
INSERT INTO syncd_entity (pipeline, name, target, pinned) VALUES ($1, $2, $3, $4::json)
ON CONFLICT (pipeline, name) DO UPDATE
SET pinned = excluded.pinned, target = excluded.target, drift = '', identity = ''
RETURNING entity_id
"""
_FORGET = "DELETE FROM syncd_fingerprint WHERE entity_id = $1"
_SHAPE = """
WITH made AS (
    INSERT INTO syncd_shape (entity_id, columns) VALUES ($1, $2)
    ON CONFLICT (entity_id, columns) DO NOTHING RETURNING shape
)
SELECT shape FROM made
UNION ALL SELECT shape FROM syncd_shape WHERE entity_id = $1 AND columns = $2
LIMIT 1
"""
# After a first load no page is known to be visible to all, and a survey would visit each row.
_TIDY = "VACUUM (ANALYZE) syncd_fingerprint"
_KNOWN_SHAPE = "SELECT shape FROM syncd_shape WHERE entity_id = $1 AND columns = $2"
_SETTING = "SELECT value FROM syncd_setting WHERE name = $1"
_SET = """
INSERT INTO syncd_setting (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING value
"""
_PRUNE_RUNS = """
DELETE FROM syncd_run
WHERE pipeline = $1 AND status <> 'running' AND finished_at < now() - make_interval(days => $2)
"""
_PRUNE_IMPORTS = """
DELETE FROM syncd_import_record WHERE at < now() - make_interval(days => $2)
AND entity_id = ANY(SELECT entity_id FROM syncd_entity WHERE pipeline = $1)
"""
_PRUNE_CONFLICTS = """
DELETE FROM syncd_conflict WHERE status <> 'open' AND ended_at < now() - make_interval(days => $2)
AND entity_id = ANY(SELECT entity_id FROM syncd_entity WHERE pipeline = $1)
"""
_PRUNE_TOMBSTONES = """
DELETE FROM syncd_fingerprint
WHERE state = 'src_deleted' AND changed_at < now() - make_interval(days => $2)
AND entity_id = ANY(SELECT entity_id FROM syncd_entity WHERE pipeline = $1)
"""
_PRUNE_OUTBOX = """
DELETE FROM syncd_outbox WHERE sent_at < now() - make_interval(days => $2)
AND entity_id = ANY(SELECT entity_id FROM syncd_entity WHERE pipeline = $1)
"""
_PRUNE_CLAIMS = """
DELETE FROM syncd_claim WHERE pipeline = $1 AND finished_at < now() - make_interval(days => $2)
"""
_PRUNE_AUDIT = """
DELETE FROM syncd_audit WHERE pipeline = $1 AND at < now() - make_interval(days => $2)
"""
# Tombstones are found by reading all entries, so once a day is enough.
_PRUNED_TODAY = """
INSERT INTO syncd_setting (name, value) VALUES ('pruned/' || $1, now()::date::text::bytea)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
WHERE syncd_setting.value <> excluded.value RETURNING true
"""


class Pinned(Struct, frozen=True):
    """An entity as agreed on ``init``, and how far it has come."""

    entity_id: int
    name: str
    target: str
    columns: Mapping[str, str]  # source column -> canonical type, in text
    source_epoch: int
    position: int
    identity: str
    identity_rows: int
    last_rows: int
    drift: str
    completed_run: int = 0  # the last that went to its end, but for one that is still under way


class Started(Struct, frozen=True):
    """A run under way. ``attempt`` is above 1 when an unfinished one was taken up again."""

    run_id: int
    attempt: int
    started_at: str
    previous_run: bytes | None


class Closing(Struct, frozen=True):
    """How one entity of a run ended."""

    status: str
    counts: Counts
    seconds: float
    notes: Sequence[str]
    findings: Sequence[Issue]
    findings_total: int
    position: int = 0
    source_epoch: int = 1
    source_rows: int = 0
    identity: str = ""
    drift: str = ""


_read_columns = msgspec.json.Decoder(dict[str, str]).decode


class Runs:
    """Runs of one pipeline.

    What takes a lease is written under its fence, and raises FencedError once another instance
    has taken over.
    """

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._schema = schema
        self._sql = partial(in_schema, schema)

    async def acquire(self, holder: str, ttl_s: float) -> Lease | None:
        """Take the lease if it is free or has run out; None when somebody holds it.

        Looks first without a lock: whoever waits for the row would keep the holder, which writes,
        from renewing it. Raises as ``take_over``.
        """
        held = await self.holder()
        if held is not None and held["held"]:
            return None
        await failpoint("lease.takeover")
        values = (self._pipeline, holder, ttl_s)
        epoch = await take_over(self._connections, self._sql(_ACQUIRE), *values)
        return None if epoch is None else Lease(self._pipeline, holder, epoch)

    async def keep(self, lease: Lease, ttl_s: float) -> None:
        """Put off the lease's end; raises FencedError when it is not ours any more."""
        values = (lease.pipeline, lease.epoch, lease.holder, ttl_s)
        done = await self._execute("keeping the lease", self._sql(_KEEP), *values)
        if done != "UPDATE 1":
            raise FencedError(
                f"pipeline {lease.pipeline}: the lease of epoch {lease.epoch} was taken over",
                hint="this instance stops; nothing of it is half done",
            )

    async def release(self, lease: Lease) -> None:
        """Let the lease go at once; without effect when it is not ours any more."""
        values = (lease.pipeline, lease.epoch, lease.holder)
        await self._execute("releasing the lease", self._sql(_RELEASE), *values)

    async def holder(self) -> Mapping[str, Any] | None:
        """Who holds the lease (holder, epoch, held, left_s); None before the first run."""
        rows = await self._fetch("looking at the lease", self._sql(_LEASE), self._pipeline)
        return dict(rows[0]) if rows else None

    async def start(self, lease: Lease, selected: Sequence[str] | None) -> Started:
        """Begin a run, or take up the unfinished one that asked for the same.

        Holding the lease proves that nobody else works on an unfinished run. Others, which asked
        for something else, are closed as stopped: what they committed stands.
        """
        async with fenced(self._connections, self._schema, lease, "starting a run") as connection:
            run_id, attempt = await self._begin(
                connection, lease, None if selected is None else sorted(selected)
            )
        await failpoint("run.begun")
        previous = await self._value(
            "looking at runs", self._sql(_PREVIOUS), self._pipeline, run_id
        )
        started_at = await self._value("looking at runs", self._sql(_STARTED), run_id)
        trimmed = None if previous is None else f"{previous.rstrip('0').rstrip('.')}+00".encode()
        return Started(run_id, attempt, started_at, trimmed)

    async def _begin(
        self, connection: Any, lease: Lease, chosen: Sequence[str] | None
    ) -> tuple[int, int]:
        """The run's id and its attempt, once unfinished runs are taken up or closed."""
        run_id = None
        for row in await connection.fetch(self._sql(_UNFINISHED), self._pipeline):
            if run_id is None and row["selected"] == chosen:
                run_id = row["run_id"]
            else:
                await failpoint("run.abandon")
                await connection.execute(self._sql(_ABANDON), [row["run_id"]])
        if run_id is not None:
            await failpoint("run.resume")
            resumed = (self._sql(_RESUME), run_id, lease.epoch, lease.holder)
            return run_id, await connection.fetchval(*resumed)
        begun = (self._sql(_START), self._pipeline, lease.epoch, lease.holder, chosen)
        return await connection.fetchval(*begun), 1

    async def finish(self, lease: Lease, run_id: int, status: str) -> None:
        """Close the run; it will not be resumed."""
        async with fenced(self._connections, self._schema, lease, "finishing a run") as connection:
            await connection.execute(self._sql(_FINISH), run_id, status)

    async def earlier_units(self, started: Started, plan: Plan) -> list[Unit]:
        """Work units that earlier attempts of this run committed."""
        rows = await self._fetch(
            "reading work units", self._sql(_UNITS), started.run_id, plan.entity_id, started.attempt
        )
        return [
            to_unit(started.run_id, plan.name, row["unit_id"], row["counts"], row["redone"])
            for row in rows
        ]

    async def close_entity(
        self, lease: Lease, run_id: int, entity_id: int, closing: Closing
    ) -> None:
        """Note how an entity ended."""
        findings = closing.findings
        async with fenced(
            self._connections, self._schema, lease, "closing an entity"
        ) as connection:
            await connection.execute(
                self._sql(_DONE), run_id, entity_id, closing.status,
                msgspec.json.encode(closing.counts).decode(), closing.seconds,
                list(closing.notes), closing.findings_total,
            )  # fmt: skip
            await failpoint("close.counts")
            await connection.execute(self._sql(_FORGET_FINDINGS), run_id, entity_id)
            if findings:
                await connection.execute(
                    self._sql(_FINDINGS), run_id, entity_id,
                    [i.severity.value for i in findings], [i.code for i in findings],
                    [i.field for i in findings], [i.place for i in findings],
                )  # fmt: skip
            if closing.status == "completed":
                await connection.execute(
                    self._sql(_ENTITY_DONE), entity_id, closing.status, closing.source_rows,
                    closing.position, closing.source_epoch, closing.identity,
                    closing.source_rows, closing.drift,
                )  # fmt: skip
            else:
                await connection.execute(
                    self._sql(_ENTITY_FAILED), entity_id, closing.status, closing.drift
                )
            await failpoint("close.position")

    async def pinned(self) -> dict[str, Pinned]:
        """What was pinned, by entity; raises ConfigError before ``init``."""
        rows = await self._fetch("reading the ledger", self._sql(_ENTITIES), self._pipeline)
        return {
            row["name"]: Pinned(
                row["entity_id"],
                row["name"],
                row["target"],
                _columns_of(row["name"], row["pinned"]),
                row["source_epoch"],
                row["position"],
                row["identity"],
                row["identity_rows"],
                row["last_rows"],
                row["drift"],
                row["completed_run"],
            )
            for row in rows
        }

    async def pin(self, entity: str, target: str, columns: Mapping[str, str]) -> int:
        """Agree on the entity's table, columns and types; its id."""
        encoded = msgspec.json.encode(columns).decode()
        values = (self._pipeline, entity, target, encoded)
        return int(await self._value("pinning a schema", self._sql(_PIN), *values))

    async def forget(self, entity_id: int) -> None:
        """Forget every record of an entity: the next run begins a new baseline."""
        await self._execute("forgetting an entity", self._sql(_FORGET), entity_id)

    async def shape(self, entity_id: int, columns: Sequence[str], *, make: bool) -> int:
        """The id of a list of drafted columns; where it is new it is made, or else 0."""
        statement = self._sql(_SHAPE if make else _KNOWN_SHAPE)
        shape = await self._value("noting a shape", statement, entity_id, list(columns))
        return int(shape or 0)

    async def rewind(self, lease: Lease, entity_id: int) -> None:
        """Begin a new source epoch: positions start again from anywhere."""
        async with fenced(
            self._connections, self._schema, lease, "accepting a rewind"
        ) as connection:
            await connection.execute(self._sql(_REWIND), entity_id)

    async def setting(self, name: str, default: bytes | None = None) -> bytes | None:
        """A setting of the ledger; stored as ``default`` when it was not there."""
        value = await self._value("reading a setting", self._sql(_SETTING), name)
        if value is None and default is not None:
            value = await self._value("storing a setting", self._sql(_SET), name, default)
        assert value is None or isinstance(value, bytes)
        return value

    async def prune(
        self,
        *,
        runs_days: int,
        imports_days: int,
        tombstones_days: int,
        outbox_days: int,
        audit_days: int,
    ) -> None:
        """Remove what is past its retention, at most once a day."""
        due = (
            (self._sql(_PRUNE_RUNS), runs_days),
            (self._sql(_PRUNE_IMPORTS), imports_days),
            (self._sql(_PRUNE_CONFLICTS), imports_days),
            (self._sql(_PRUNE_TOMBSTONES), tombstones_days),
            (self._sql(_PRUNE_OUTBOX), outbox_days),
            (self._sql(_PRUNE_CLAIMS), runs_days),
            (self._sql(_PRUNE_AUDIT), audit_days),
        )
        await failpoint("retention.due")
        if not await self._value("pruning the ledger", self._sql(_PRUNED_TODAY), self._pipeline):
            return
        for statement, days in due:
            await failpoint("retention.step")
            await self._execute("pruning the ledger", statement, self._pipeline, days)

    async def tidy(self) -> None:
        """Prepare the entries for the next survey; autovacuum would, some time later."""
        await self._execute("vacuuming the ledger", self._sql(_TIDY))

    async def _fetch(self, doing: str, statement: str, *values: object) -> list[Any]:
        with translate(doing):
            async with self._connections.acquire() as connection:
                return list(await connection.fetch(statement, *values))

    async def _value(self, doing: str, statement: str, *values: object) -> Any:
        with translate(doing):
            async with self._connections.acquire() as connection:
                return await connection.fetchval(statement, *values)

    async def _execute(self, doing: str, statement: str, *values: object) -> str:
        with translate(doing):
            async with self._connections.acquire() as connection:
                return await connection.execute(statement, *values)


def _columns_of(entity: str, pinned: str) -> dict[str, str]:
    """What was pinned of an entity; raises InvariantError where the ledger's text is damaged."""
    try:
        return decode(_read_columns, pinned)
    except DecodeError as error:
        raise InvariantError(
            f"entity {entity}: the column pinned of its row in syncd_entity cannot be read "
            f"({error.code}), expected an object of texts",
            hint="restore that row from a backup of the ledger",
        ) from error


def not_initialised(pipeline: str, names: Sequence[str]) -> ConfigError:
    """What to say when the ledger does not know an entity yet."""
    return ConfigError(
        f"pipeline {pipeline}: the ledger does not know {', '.join(names)}",
        hint="run syncd init first",
    )
