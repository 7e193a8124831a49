"""A pipeline's objects, built once from its configuration and handed to the jobs."""

import socket
import uuid
from collections.abc import Mapping
from os import getpid
from pathlib import Path
from secrets import token_bytes
from typing import Final

import anyio
import anyio.to_thread
from msgspec import Struct
from msgspec.structs import replace

from syncd.config import Config, FilesSource, PostgresSource, SqlServerSource, Staging
from syncd.errors import ConfigError, DriftError, PermanentError, SourceError
from syncd.flow.fingerprint import Hasher
from syncd.flow.model import Plan, Shape
from syncd.flow.order import waves
from syncd.flow.ports import Lease, Source
from syncd.flow.transform import Drafter
from syncd.ledger.audit import Audit
from syncd.ledger.claims import Claims, Pauses
from syncd.ledger.lineage import has_another_history
from syncd.ledger.listings import Listings
from syncd.ledger.migrations import pending
from syncd.ledger.postgres import PostgresLedger
from syncd.ledger.reviews import Reviews
from syncd.ledger.runs import Pinned, Runs, not_initialised
from syncd.pg.connect import Connection, Connections, open_connection
from syncd.pg.errors import translate
from syncd.planning import complete, deletes_of, load_transform, map_columns, parents_of
from syncd.retry import Retry, with_backoff
from syncd.sources.database_seen import database_seen
from syncd.sources.dump_seen import dump_seen
from syncd.sources.postgres import PostgresReader, Query
from syncd.sources.upstream import Dump, Upstream
from syncd.targets.aggregates import PostgresAggregates
from syncd.targets.by_entity import Tables, TablesByEntity
from syncd.targets.layout import layout_of
from syncd.targets.postgres import PostgresTables

_HASH_KEY: Final = "hash_key"
_HASH_KEY_BYTES: Final = 32
_IDLE_S_MIN: Final = 2.0
# Half a minute by default: much longer than a batch is ever computed between two statements. A
# takeover does not wait for it, it ends the sessions that stand in its way.
_IDLE_TTLS: Final = 8
_HASH_KEY_PROOF: Final = "hash_key_proof"


class Site:
    """One pipeline. Nothing is opened before it is used; ``close`` ends all of it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.holder = f"{socket.gethostname()}/{getpid()}/{uuid.uuid4().hex[:8]}"
        # One connection per writer, four for scans of the ledger, two to look and to note.
        self.connections = Connections(self.open_target, size_max=config.limits.writers + 6)
        self.target = self._target()
        self.ledger = PostgresLedger(self.connections, config.ledger.schema)
        self.runs = Runs(self.connections, config.pipeline, config.ledger.schema)
        ledger = (self.connections, config.pipeline, config.ledger.schema)
        self.reviews = Reviews(*ledger)
        self.listings = Listings(*ledger)
        self.claims = Claims(*ledger)
        self.pauses = Pauses(*ledger)
        self.audit = Audit(*ledger)
        limits = config.limits
        self.retry: Retry = with_backoff(limits.retries, limits.retry_budget_s)

    def _target(self) -> Tables:
        """The target's tables; what lies in several of them is kept by an adapter of its own."""
        entities = self.config.entities
        flat = PostgresTables(self.connections, {name: e.into for name, e in entities.items()})
        layouts = {
            name: layout_of(entities, name, deletes_of(self.config, entity))
            for name, entity in entities.items()
            if entity.aggregate is not None
        }
        if not layouts:
            return flat
        aggregates = PostgresAggregates(self.connections, layouts)
        return TablesByEntity(flat, aggregates, frozenset(layouts))

    async def open_target(self) -> Connection:
        """A connection to the target.

        Our statements name every table with its schema. The ``search_path`` is the role's own:
        triggers of the target must find the names of their application.
        """
        target = self.config.target
        return await open_connection(
            target.dsn,
            connect_timeout_s=target.connect_timeout_s,
            statement_timeout_s=target.statement_timeout_s,
            lock_timeout_s=target.lock_timeout_s,
            # A holder that was stopped inside a transaction would keep the lease's row locked.
            idle_timeout_s=max(_IDLE_S_MIN, _IDLE_TTLS * self.config.ledger.lease_ttl_s),
            read_only=False,
            prepared_statements=target.prepared_statements,
            search_path=None,
        )

    def source(self, hasher: Hasher, *, sequence: int) -> Source:
        """The source; ``sequence`` is the position of a dump, which has none of its own."""
        config, origins = self.config, self._origins()
        rows = config.limits.batch_rows
        if config.staging is not None:
            return self._staging(config.staging, origins)
        if isinstance(config.source, FilesSource):
            from syncd.sources.files import Dump  # noqa: PLC0415

            return Dump(
                config.source,
                {name: str(origin) for name, origin in origins.items()},
                hasher,
                sequence=sequence,
                batch_rows=rows,
                columns={n: tuple(e.columns) for n, e in config.entities.items() if e.columns},
            )
        if isinstance(config.source, SqlServerSource):
            from syncd.sources.odbc import OdbcReader  # noqa: PLC0415

            entities = config.entities.items()
            return OdbcReader(
                config.source,
                origins,
                hasher,
                batch_rows=rows,
                collations={n: e.collation for n, e in entities if e.collation is not None},
            )
        return PostgresReader(config.source, origins)

    async def see_source(self) -> None:
        """Raise SyncdError where the source cannot be reached; reads no data."""
        if isinstance(self.config.source, FilesSource):
            if not await anyio.Path(self.config.source.path).exists():
                raise SourceError("source.path: there is nothing at it")
            return
        if self._has_dumps():
            await self._dump_now()
            return
        source = self.source(await self.hasher(), sequence=0)
        try:
            await source.describe(next(iter(self.config.entities)))
        finally:
            await source.close()

    async def see_dump(self) -> str:
        """What tells one dump from the next, without reading it; "" where nothing does."""
        source = self.config.source
        if isinstance(source, FilesSource):
            return await anyio.to_thread.run_sync(dump_seen, source.path)
        if self._has_dumps():
            return (await self._dump_now()).identity
        assert isinstance(source, PostgresSource)
        return await database_seen(source)

    def _has_dumps(self) -> bool:
        """Whether the source itself tells which dump stands there."""
        return self.config.staging is not None or isinstance(self.config.source, SqlServerSource)

    async def _dump_now(self) -> Dump:
        """Which dump stands there; raises NotReadyError at once where none can be read now."""
        upstream = self._upstream(patient=False)
        try:
            return await upstream.ready()
        finally:
            await upstream.close()

    def _staging(self, staging: Staging, origins: Mapping[str, "str | Query"]) -> Source:
        """A source whose rows are copied beside the target first, and read there."""
        from syncd.sources.staging import StagingSource  # noqa: PLC0415

        target = self.config.target
        beside = PostgresSource(
            dsn=target.dsn,
            connect_timeout_s=target.connect_timeout_s,
            prepared_statements=target.prepared_statements,
        )
        return StagingSource(
            staging,
            self._upstream(),
            PostgresReader(beside, origins),
            self.connections,
            queries={
                name: _query(f"staging.tables.{name}", Path(table.from_)).text
                for name, table in staging.tables.items()
            },
            origins=origins,
        )

    def _upstream(self, *, patient: bool = True) -> Upstream:
        source = self.config.source
        if isinstance(source, SqlServerSource):
            from syncd.sources.odbc_upstream import OdbcUpstream  # noqa: PLC0415

            return OdbcUpstream(source if patient else replace(source, ready_timeout_s=0.0))
        from syncd.sources.postgres_upstream import PostgresUpstream  # noqa: PLC0415

        assert isinstance(source, PostgresSource), "the configuration's rules refuse files"
        return PostgresUpstream(source)

    def _origins(self) -> Mapping[str, "str | Query"]:
        """Where each entity comes from; a ``.sql`` file is read here."""
        return {
            name: _query(f"entities.{name}", Path(e.from_)) if e.from_.endswith(".sql") else e.from_
            for name, e in self.config.entities.items()
        }

    async def hasher(self) -> Hasher:
        """The keyed hashes; the key is the configured one, or the ledger's own."""
        hasher = Hasher(await self._hash_key())
        noted = await self.runs.setting(_HASH_KEY_PROOF)
        if noted is not None and noted != hasher.proof():
            raise ConfigError(
                "ledger.hash_key is not the one that made this ledger; under another key every "
                "edit and every change would look like both",
                hint="give the old key back, or drop the ledger's schema and begin a new baseline",
            )
        return hasher

    async def _hash_key(self) -> bytes:
        configured = self.config.ledger.hash_key
        if configured is not None:
            return configured.value.encode()
        key = await self.runs.setting(_HASH_KEY)
        if key is None:
            raise not_initialised(self.config.pipeline, ["its hash key"])
        return key

    async def make_hash_key(self) -> None:
        """Store a random key unless one is configured or stored, and how to know it again."""
        if self.config.ledger.hash_key is None:
            await self.runs.setting(_HASH_KEY, token_bytes(_HASH_KEY_BYTES))
        proof = Hasher(await self._hash_key()).proof()
        await self.runs.setting(_HASH_KEY_PROOF, proof)

    async def has_another_history(self, lease: Lease) -> bool:
        """Whether the target's server writes another history than the last time (``lineage``)."""
        return await has_another_history(self.connections, self.config.ledger.schema, lease)

    async def assert_ledger(self) -> None:
        """Raise ConfigError when the ledger is not there or not up to date."""
        with translate("looking at the ledger"):
            async with self.connections.acquire() as connection:
                missing = await pending(connection, self.config.ledger.schema)
        if missing:
            raise ConfigError(
                f"the ledger in schema {self.config.ledger.schema} lacks "
                f"{', '.join(m.name for m in missing)}",
                hint="run syncd init",
            )

    def waves(self) -> tuple[tuple[str, ...], ...]:
        """Entities in the order of their needs."""
        return waves({name: parents_of(e) for name, e in self.config.entities.items()})

    async def prepared(self, *, writes: bool = False) -> "Prepared":
        """A plan for every entity that has one; what stands against the others.

        A new list of columns is noted in the ledger only where ``writes`` allows it.
        Raises ConfigError before ``init``.
        """
        return await self.retry(lambda: self._prepared(writes=writes))

    async def _prepared(self, *, writes: bool) -> "Prepared":
        await self.assert_ledger()
        pinned = await self.runs.pinned()
        unknown = [name for name in self.config.entities if name not in pinned]
        if unknown:
            raise not_initialised(self.config.pipeline, unknown)
        prepared = Prepared(pinned)
        for name in self.config.entities:
            try:
                prepared.plans[name] = await self._plan(name, pinned[name], writes=writes)
            except PermanentError as error:
                prepared.errors[name] = error
        return prepared

    async def _plan(self, name: str, pinned: Pinned, *, writes: bool) -> Plan:
        entity = self.config.entities[name]
        if entity.into != pinned.target:
            raise DriftError(
                f"entity {name}: into was {pinned.target}, and is {entity.into}; the ledger "
                "knows nothing of that table, and nothing was done",
                hint=f"if that is meant, run syncd init --accept-schema {name}: a new baseline",
            )
        target: Shape = await self.target.describe(name)
        mapped = map_columns(self.config, name, pinned.columns, target)
        into = [column.into for column in mapped.drafted]
        shape = await self.runs.shape(pinned.entity_id, into, make=writes)
        plan = complete(self.config, name, mapped, entity_id=pinned.entity_id, shape=shape)
        await self.target.prepare(plan)
        await self.ledger.load_shapes(plan)
        return plan

    def drafter(self, plan: Plan) -> Drafter:
        """What makes drafts of the plan's rows."""
        return Drafter(plan, load_transform(plan.name, self.config.entities[plan.name]))

    async def close(self) -> None:
        """End every connection; may be called twice."""
        await self.connections.close()


class Prepared(Struct):
    """Plans by entity, and why the others have none."""

    pinned: dict[str, Pinned]
    plans: dict[str, Plan] = {}
    errors: dict[str, PermanentError] = {}


def _query(place: str, path: Path) -> Query:
    try:
        return Query(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{place}.from: the query {path.name} cannot be read ({type(error).__name__})"
        ) from error
