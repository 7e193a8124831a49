"""A small world on real PostgreSQL: a legacy database, a target, people at both, and nights.

Everything goes through ``syncd.app``, as from the command line. Each night opens the application
anew, and each is held against its own bookkeeping before the test sees it (I8).
"""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

from syncd.app import App, connect
from syncd.config import (
    Config,
    Deletes,
    Entity,
    HoldAbove,
    LedgerConfig,
    Limits,
    PostgresSource,
    PostgresTarget,
    Secret,
)
from syncd.flow.model import Counts, Outcome
from syncd.progress import Silent
from syncd.reports import ConflictView, EntityReport, RunReport

Rows: TypeAlias = list[tuple[Any, ...]]
MakeDatabase: TypeAlias = Callable[[str], str]

# A killed run's lease is waited for; nothing else here depends on time.
LEASE_TTL_S: Final = 0.3
_UNITS = "SELECT counts::text, redone::text FROM syncd.syncd_work_unit WHERE run_id = $1"
_STORED = """
SELECT e.name, r.counts::text FROM syncd.syncd_run_entity r
JOIN syncd.syncd_entity e USING (entity_id) WHERE r.run_id = $1
"""


class World:
    """One pipeline between two databases. ``config`` may be replaced between nights."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @asynccontextmanager
    async def app(self) -> AsyncIterator[App]:
        """The application, opened for this block."""
        async with connect(self.config) as app:
            yield app

    async def init(self, *accept_schema: str) -> tuple[str, ...]:
        """``syncd init``; what it says that it did."""
        async with self.app() as app:
            return (await app.init(accept_schema=accept_schema)).done

    async def night(self, *select: str, accept_rewind: bool = False) -> RunReport:
        """``syncd run``; its sums are checked against the ledger."""
        async with self.app() as app:
            report = await app.run(
                frozenset(select) or None, accept_rewind=accept_rewind, progress=Silent()
            )
        await self.assert_sums(report)
        return report

    async def nights(self, number: int) -> list[RunReport]:
        """That many nights in a row."""
        return [await self.night() for _ in range(number)]

    async def legacy(self, *statements: str) -> None:
        """The legacy system goes on working."""
        await _execute(_dsn(self.config.source), statements)

    async def staff(self, *statements: str) -> None:
        """People work at the target."""
        await _execute(_dsn(self.config.target), statements)

    async def rows(self, query: str, *values: object) -> Rows:
        """What a query finds at the target."""
        return await fetch(_dsn(self.config.target), query, *values)

    async def value(self, query: str, *values: object) -> Any:
        """The first value that a query finds at the target, None where it finds no row."""
        found = await self.rows(query, *values)
        return found[0][0] if found else None

    async def legacy_rows(self, query: str) -> Rows:
        """What a query finds at the legacy system."""
        return await fetch(_dsn(self.config.source), query)

    async def open_conflicts(self) -> list[ConflictView]:
        """``syncd conflicts list``."""
        async with self.app() as app:
            return await app.conflicts(None, status="open")

    async def history(self, entity: str, *key: str) -> list[tuple[str, str]]:
        """Outcome and reason of everything that happened to a record, oldest first."""
        async with self.app() as app:
            lines = (await app.explain(entity, key)).history
        return [(line.outcome, line.reason) for line in reversed(lines)]

    async def state(self, entity: str, *key: str) -> str:
        """The state of a record's entry."""
        async with self.app() as app:
            return (await app.explain(entity, key)).state

    async def updates_of(self, table: str) -> int:
        """How many row versions were ever written to a table of the target."""
        found = await self.value(
            "SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_all_tables WHERE relid = "
            f"(SELECT '{table}'::regclass FROM pg_stat_force_next_flush() LIMIT 1)"
        )
        assert isinstance(found, int)
        return found

    async def assert_in_step(self, query: str) -> None:
        """Both sides answer ``query`` alike."""
        assert await self.rows(query) == await self.legacy_rows(query)

    async def assert_sums(self, report: RunReport) -> None:
        """I8: ``seen`` is the sum of the outcomes, the ledger says the same, no part is negative.

        What was written, by the work units, is what the report says was written.
        """
        stored: dict[str, str] = dict(await self.rows(_STORED, report.run_id))
        applied = await self._units(report.run_id)
        for outcome in (Outcome.INSERTED, Outcome.UPDATED, Outcome.DELETED, Outcome.LINKED):
            told = sum(getattr(e.counts, outcome.value) for e in report.entities)
            if all(e.status == "completed" for e in report.entities):
                assert applied[outcome] == told, f"{outcome}: units {applied}, report {report}"
        for entity in report.entities:
            counts = entity.counts
            assert counts.seen == counts.total(), f"{entity.name}: {counts}"
            assert min(counts.as_dict().values()) >= 0, f"{entity.name}: {counts}"
            assert msgspec.json.decode(stored[entity.name], type=Counts) == counts

    async def _units(self, run_id: int) -> dict[Outcome, int]:
        total = dict.fromkeys(Outcome, 0)
        for counts, redone in await self.rows(_UNITS, run_id):
            for text, sign in ((counts, 1), (redone, -1)):
                for part in msgspec.json.decode(text, type=dict[str, Counts]).values():
                    for outcome in Outcome:
                        total[outcome] += sign * getattr(part, outcome.value)
        return total


def make_config(
    legacy_dsn: str,
    target_dsn: str,
    entities: Mapping[str, Entity],
    *,
    limits: Limits | None = None,
    deletes: Deletes | None = None,
    lease_ttl_s: float = LEASE_TTL_S,
    prepared_statements: bool = True,
) -> Config:
    """A pipeline with a lease that runs out quickly and a guard that lets small tests delete."""
    return Config(
        pipeline="cases",
        source=PostgresSource(dsn=Secret(legacy_dsn), prepared_statements=prepared_statements),
        target=PostgresTarget(dsn=Secret(target_dsn), prepared_statements=prepared_statements),
        entities=dict(entities),
        ledger=LedgerConfig(lease_ttl_s=lease_ttl_s),
        limits=limits or Limits(retries=3, retry_budget_s=20.0),
        deletes=deletes or Deletes(hold_above=HoldAbove(rows=50, percent=0.5)),
    )


def told(report: RunReport, entity: str | None = None) -> dict[str, int]:
    """The counts of an entity (the only one where none is named) that are not 0."""
    counts = entity_of(report, entity).counts.as_dict()
    return {name: rows for name, rows in counts.items() if rows}


def entity_of(report: RunReport, entity: str | None = None) -> EntityReport:
    """One entity of a report; the only one where none is named."""
    if entity is None:
        assert len(report.entities) == 1, "name one of several entities"
        return report.entities[0]
    return next(e for e in report.entities if e.name == entity)


async def fetch(dsn: str, query: str, *values: object) -> Rows:
    """The rows of a query as tuples."""
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()


async def _execute(dsn: str, statements: Sequence[str]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
    finally:
        await connection.close()


def _dsn(side: Any) -> str:
    dsn = side.dsn.value
    assert isinstance(dsn, str)
    return dsn
