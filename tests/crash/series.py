"""Nights that are interrupted, what goes on between them, and what must hold once one is through.

The source is read before and after, in Python, so what a night had to do is known without syncd.
Staff type into rows whose id is a multiple of 7, which the source neither deletes nor changes in
that column. The children's table has no unique key at the target: a row that was written twice is
there twice.
"""

import random
from collections import Counter
from collections.abc import Collection
from typing import Any, Final

import msgspec
from msgspec import Struct

from syncd.config import (
    Config,
    Deletes,
    Entity,
    HoldAbove,
    LedgerConfig,
    Limits,
    Need,
    PostgresSource,
    PostgresTarget,
    Secret,
)
from syncd.flow.keys import decode_key
from syncd.flow.model import Counts, Kind, Outcome
from syncd.reports import RunReport
from tests.pipeline.world import Rows, World

BATCH_ROWS: Final = 100
LEASE_TTL_S: Final = 0.2
_TABLES: Final = {
    "parents": "SELECT id, name, note FROM public.parents ORDER BY id",
    "children": "SELECT id, parent_id, name, amount, note FROM public.children ORDER BY id",
}
_LEGACY: Final = """
CREATE TABLE parents (id int PRIMARY KEY, name text, note text);
CREATE TABLE children (id int PRIMARY KEY, parent_id int, name text, amount numeric(10,2),
                       note text);
INSERT INTO parents SELECT g, 'parent ' || g, 'n' FROM generate_series(1, {parents}) g;
INSERT INTO children SELECT g, 1 + g % {parents}, 'child ' || g, g, 'n'
FROM generate_series(1, {children}) g;
"""
_TARGET: Final = """
CREATE TABLE parents (id int PRIMARY KEY, name text, note text);
CREATE TABLE children (id int, parent_id int REFERENCES parents, name text, amount numeric(10,2),
                       note text);
CREATE INDEX ON children (id);
CREATE INDEX ON children (parent_id);
"""
# One day; {new} to {newest} are the ids that are new, {back} a list of ids that were deleted.
_DAY: Final = """
INSERT INTO parents SELECT g, 'late ' || g, 'n' FROM generate_series({new}, {new} + 4) g;
INSERT INTO children SELECT g, {new} + g % 5, 'late', g, 'n'
FROM generate_series({new}, {newest}) g;
INSERT INTO children SELECT id, {new}, 'came back', {new}, 'n' FROM unnest({back}::int[]) id
ON CONFLICT DO NOTHING;
UPDATE children SET amount = amount + 1 WHERE id % 4 = {fourth};
UPDATE children SET note = 'l{new}' WHERE id % 9 = 1 AND NOT (id % 7 = 0);
UPDATE parents SET name = name || '.' WHERE id % 10 = {tenth};
UPDATE children SET parent_id = {new} WHERE parent_id = {leaver};
DELETE FROM parents WHERE id = {leaver};
"""
_GONE: Final = "DELETE FROM children WHERE id % 40 = {part} AND NOT (id % 7 = 0) RETURNING id"
_TYPE: Final = """
UPDATE public.children SET note = $1 WHERE id % 7 = 0 AND id % 20 = $2 RETURNING id
"""
_APPLIED: Final = (Outcome.INSERTED, Outcome.UPDATED, Outcome.DELETED)
_RUNS: Final = """
SELECT run_id, status, attempts, epoch FROM syncd.syncd_run WHERE run_id > $1 ORDER BY run_id
"""
_COUNTS: Final = """
SELECT e.name, r.status, r.counts::text FROM syncd.syncd_run_entity r
JOIN syncd.syncd_entity e USING (entity_id) WHERE r.run_id = $1
"""
_UNITS: Final = """
SELECT e.name, u.counts::text, u.redone::text FROM syncd.syncd_work_unit u
JOIN syncd.syncd_entity e USING (entity_id) WHERE u.run_id = ANY($1)
"""
# An open conflict is told again by each attempt; everything else happens once.
_DOUBLES: Final = """
SELECT entity_id, key, run_id, outcome, count(*) FROM syncd.{table}
WHERE outcome <> 'conflict' GROUP BY 1, 2, 3, 4 HAVING count(*) > 1
"""
_EVENTS: Final = (
    "SELECT outcome, count(*) FROM syncd.syncd_outbox WHERE run_id = ANY($1) GROUP BY 1"
)
_KEYS: Final = """
SELECT key FROM syncd.syncd_fingerprint JOIN syncd.syncd_entity USING (entity_id)
WHERE name = $1 AND state {which}
"""
Sides = dict[str, dict[Any, tuple[Any, ...]]]  # by table and id


class Size(Struct, frozen=True):
    """Rows at the beginning, and children that each day brings."""

    parents: int = 600
    children: int = 2400
    a_day: int = 80


class Series:
    """A world, what people do to it between attempts, and the judgement after each night.

    ``steady`` says that the source rests while a night is under way: then every sum is known.
    """

    def __init__(
        self, world: World, seed: int, *, steady: bool = True, size: Size | None = None
    ) -> None:
        self.world = world
        self.dice = random.Random(seed)  # noqa: S311 - chance, to be repeated
        self.steady = steady
        self.size = size or Size()
        self._next_id = self.size.children + 1
        self._known: Sides = {name: {} for name in _TABLES}
        self._typed: dict[int, str] = {}
        self._graves: list[int] = []
        self._judged_run = 0
        self._attempt = (0, 0, 0)  # run, attempts and epoch when last looked at

    @classmethod
    async def begin(
        cls,
        config: Config,
        seed: int,
        *,
        steady: bool = True,
        target: str = "",
        size: Size | None = None,
    ) -> "Series":
        """Fill the legacy database and ``init``; nothing is loaded yet."""
        series = cls(World(config), seed, steady=steady, size=size)
        await series.fill(target=target)
        await series.world.init()
        return series

    async def fill(self, *, target: str = "") -> None:
        """The tables of both sides, and what the legacy system knows at the beginning."""
        size = self.size
        await self.world.legacy(_LEGACY.format(parents=size.parents, children=size.children))
        await self.world.staff(_TARGET + target)

    # -- what people do ----------------------------------------------------------------------

    async def a_day(self) -> None:
        """The legacy system works: updates, inserts, deletes, moves and ids that come back."""
        dice, new = self.dice, self._next_id
        self._next_id += self.size.a_day
        back = sorted({dice.choice(self._graves) for _ in range(20)} if self._graves else ())
        gone = await self.world.legacy_rows(_GONE.format(part=dice.randrange(40)))
        self._graves.extend(row[0] for row in gone)
        await self.world.legacy(
            _DAY.format(
                new=new,
                newest=self._next_id - 1,
                back=f"ARRAY{back}",
                fourth=dice.randrange(4),
                tenth=dice.randrange(10),
                leaver=dice.randrange(1, self.size.parents),
            )
        )

    async def staff_type(self) -> None:
        """People change some rows that are at the target by now."""
        text = f"typed {self.dice.randrange(10**6)}"
        found = await self.world.rows(_TYPE, text, self.dice.randrange(20))
        self._typed.update({row[0]: text for row in found})

    # -- what must hold ----------------------------------------------------------------------

    async def is_through(self) -> bool:
        """Whether a run newer than the last judged one has ended; heeds the lease's epoch too.

        Each attempt that came to its run has taken the lease anew, with a higher epoch.
        """
        runs = await self.world.rows(_RUNS, self._judged_run)
        epoch = await self.world.value("SELECT epoch FROM syncd.syncd_lease") or 0
        assert epoch >= self._attempt[2]
        if not runs:
            return False
        run_id, status, attempts, run_epoch = runs[-1]
        if (run_id, attempts) != self._attempt[:2]:
            assert run_epoch > self._attempt[2], "an attempt with an old epoch"
            self._attempt = (run_id, attempts, run_epoch)
        return bool(status != "running")

    async def assert_whole(
        self,
        report: RunReport | None,
        *,
        runs_max: int = 1,
        ended: Collection[str] = ("completed",),
    ) -> None:
        """0 lost, 0 doubled, nothing of staff's overwritten, all sums exact (I1, I2, I4, I6, I8).

        ``report`` is that of the last run, if it lived to tell. ``runs_max`` is above 1 where a
        night may fail and be run again; ``ended`` are the states that a whole night may end in.
        """
        runs = await self.world.rows(_RUNS, self._judged_run)
        assert 1 <= len(runs) <= runs_max, runs
        run_id, status, attempts, _ = runs[-1]
        assert status in ended, report or runs
        running = "SELECT count(*) FROM syncd.syncd_run WHERE status = 'running'"
        assert await self.world.value(running) == 0
        if report is not None:
            assert (report.run_id, report.status) == (run_id, status)
            assert report.resumed == (attempts > 1)
        source = await self._side(self.world.legacy_rows)
        await self._assert_target(source)
        await self._assert_entries(source)
        await self._assert_sums(run_id, report, source)
        if self.steady:
            await self._assert_done([run[0] for run in runs], source)
            for table in ("syncd_import_record", "syncd_outbox"):
                assert await self.world.rows(_DOUBLES.format(table=table)) == []
        self._judged_run, self._known = run_id, source

    async def _side(self, ask: Any) -> Sides:
        found: Sides = {}
        for name, query in _TABLES.items():
            rows: Rows = await ask(query)
            found[name] = {row[0]: row for row in rows}
            assert len(found[name]) == len(rows), f"{name}: a row is there twice"
        return found

    async def _assert_target(self, source: Sides) -> None:
        """The target is the source, but for what staff typed."""
        expected = {name: dict(rows) for name, rows in source.items()}
        for child_id, text in self._typed.items():
            expected["children"][child_id] = (*expected["children"][child_id][:-1], text)
        target = await self._side(self.world.rows)
        for name, rows in expected.items():
            wrong = {id_ for id_ in rows if target[name].get(id_) != rows[id_]}
            assert not wrong, f"{name}: lost, old or overwritten: {sorted(wrong)[:5]}"
            assert target[name].keys() == rows.keys(), f"{name}: more than the source has"

    async def _assert_entries(self, source: Sides) -> None:
        """One live entry for each row, and a row for each; none for what is gone."""
        for name, rows in source.items():
            live = await self._keys(name, "= 'live'")
            assert live == sorted(rows), f"{name}: entries and rows differ"
            assert not set(await self._keys(name, "<> 'live'")) & rows.keys()

    async def _keys(self, name: str, which: str) -> list[int]:
        found = await self.world.rows(_KEYS.format(which=which), name)
        return sorted(int(decode_key([Kind.INTEGER], key)[0]) for (key,) in found)

    async def _assert_sums(self, run_id: int, report: RunReport | None, source: Sides) -> None:
        """I8: ``seen`` is the sum of the outcomes, and what was applied the sum of the units."""
        units = await self._units([run_id])
        told = {e.name: e.counts for e in report.entities} if report else {}
        for name, status, text in await self.world.rows(_COUNTS, run_id):
            counts = msgspec.json.decode(text, type=Counts)
            assert status == "completed"
            assert told.get(name, counts) == counts, "the ledger and the report differ"
            assert counts.seen == counts.total(), f"{name}: {counts}"
            assert min(counts.as_dict().values()) >= 0, f"{name}: {counts}"
            for outcome in (*_APPLIED, Outcome.LINKED):
                assert units[name, outcome] == getattr(counts, outcome.value), f"{name}: {outcome}"
            if self.steady and name in source:
                assert counts.seen == len(source[name]) + counts.deleted, f"{name}: {counts}"

    async def _assert_done(self, run_ids: list[int], source: Sides) -> None:
        """What the night's runs did is what was to be done, no more and no less."""
        units = await self._units(run_ids)
        for name, now in source.items():
            before = self._known[name]
            both = now.keys() & before.keys()
            assert {outcome: units[name, outcome] for outcome in _APPLIED} == {
                Outcome.INSERTED: len(now.keys() - before.keys()),
                Outcome.UPDATED: sum(now[id_] != before[id_] for id_ in both),
                Outcome.DELETED: len(before.keys() - now.keys()),
            }, name
        events: dict[str, int] = dict(await self.world.rows(_EVENTS, run_ids))
        assert events == {o.value: units["children", o] for o in _APPLIED if units["children", o]}

    async def _units(self, run_ids: list[int]) -> Counter[tuple[str, Outcome]]:
        total = Counter[tuple[str, Outcome]]()
        for name, counts, redone in await self.world.rows(_UNITS, run_ids):
            for text, sign in ((counts, 1), (redone, -1)):
                for part in msgspec.json.decode(text, type=dict[str, Counts]).values():
                    for outcome in Outcome:
                        total[name, outcome] += sign * getattr(part, outcome.value)
        return total


def crash_config(
    legacy_dsn: str,
    target_dsn: str,
    *,
    batch_rows: int = BATCH_ROWS,
    lease_ttl_s: float = LEASE_TTL_S,
) -> Config:
    """Two entities, small batches, a lease that runs out at once; children announce themselves."""
    return Config(
        pipeline="crash",
        source=PostgresSource(dsn=Secret(legacy_dsn)),
        target=PostgresTarget(dsn=Secret(target_dsn)),
        entities={
            "parents": Entity(from_="parents", key=("id",), into="public.parents"),
            "children": Entity(
                from_="children",
                key=("id",),
                into="public.children",
                needs={"parents": Need(columns=("parent_id",))},
                event="child.changed",
            ),
        },
        ledger=LedgerConfig(lease_ttl_s=lease_ttl_s),
        limits=Limits(batch_rows=batch_rows, writers=2, retries=8, retry_budget_s=20.0),
        deletes=Deletes(hold_above=HoldAbove(rows=1000, percent=50)),
    )
