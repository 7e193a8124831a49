"""A small pipeline on which everything happens in one night, and what must hold after each fault.

Parents and children are those of ``tests/crash/series.py``, with its judgement. Beside them stand
cases, to which happens what makes a run wait, halve, park, hold and report: both sides change the
same field, the target refuses a row, a name is free only once its holder is deleted, a digest is
lost. What must stand at the target is kept here, by people who know nothing of syncd.
"""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import anyio
import asyncpg

from syncd import config_load
from syncd.app import App
from syncd.config import Config
from syncd.errors import SyncdError
from syncd.progress import Silent
from syncd.reports import RunReport
from tests.crash.series import Series, Size
from tests.failpoints import homes
from tests.pipeline.world import Rows, World

Connection: TypeAlias = "asyncpg.Connection[Any]"
SIZE: Final = Size(parents=30, children=120, a_day=12)
CASES: Final = 400
DELETES_HELD: Final = 5  # above the bound of the guard, which is 3
_SETTLED: Final = ("completed", "parked")
_ATTEMPTS_MAX: Final = 4
_CONFIG: Final = """
pipeline: crash
source: {{kind: postgres, dsn: "{legacy}"}}
target: {{kind: postgres, dsn: "{target}"}}
ledger: {{lease_ttl_s: 0.3}}
limits: {{batch_rows: 20, writers: 2, retries: 4, retry_budget_s: 10}}
deletes: {{hold_above: {{rows: 1000, percent: 90}}}}
entities:
  parents: {{from: parents, key: [id], into: public.parents}}
  children:
    from: children
    key: [id]
    into: public.children
    needs: {{parents: {{columns: [parent_id]}}}}
    event: child.changed
  cases:
    from: cases
    key: [id]
    into: public.cases
    deletes: {{hold_above: {{rows: 3, percent: 0.1}}}}
"""
_LEGACY_CASES: Final = """
CREATE TABLE cases (id int PRIMARY KEY, status text, name text);
INSERT INTO cases SELECT g, 'new', 'case ' || g FROM generate_series(1, {cases}) g;
"""
_TARGET_CASES: Final = """
CREATE TABLE cases (id int PRIMARY KEY, status text CHECK (status <> 'refused'), name text UNIQUE);
CREATE TABLE notes (case_id int REFERENCES cases);
"""
_EMPTY: Final = """
DROP SCHEMA IF EXISTS syncd CASCADE; TRUNCATE parents, children, cases, notes;
"""
_LOSE_DIGESTS: Final = """
UPDATE syncd.syncd_fingerprint f SET digest = 0, unsettled = true
WHERE (entity_id, key) IN (
    SELECT entity_id, key FROM syncd.syncd_fingerprint JOIN syncd.syncd_entity USING (entity_id)
    WHERE name = 'children' AND state = 'live' AND NOT open ORDER BY key LIMIT 3)
"""
_PRUNE_AGAIN: Final = "DELETE FROM syncd.syncd_setting WHERE name LIKE 'pruned/%'"
_HELD_BY_ANOTHER: Final = """
UPDATE syncd.syncd_lease SET holder = 'another', epoch = epoch + 1,
    expires_at = clock_timestamp() + interval '0.2 seconds'
"""


class Near(World):
    """A world that keeps its own connections to both sides open: it asks a lot between nights."""

    def __init__(self, config: Config, legacy: Connection, target: Connection) -> None:
        super().__init__(config)
        self._legacy, self._target = legacy, target

    @asynccontextmanager
    async def app(self) -> AsyncIterator[App]:
        """The application; no connection of it may be missing at the end, whatever happened."""
        async with super().app() as app:
            pool = app._site.connections
            try:
                yield app
            finally:
                assert not pool._lent, "a connection was not given back"
                assert pool._free.value == pool._size_max

    async def legacy(self, *statements: str) -> None:
        """In one transaction."""
        async with self._legacy.transaction():
            for statement in statements:
                await self._legacy.execute(statement)

    async def staff(self, *statements: str) -> None:
        """In one transaction."""
        async with self._target.transaction():
            for statement in statements:
                await self._target.execute(statement)

    async def rows(self, query: str, *values: object) -> Rows:
        """At the target."""
        return [tuple(row) for row in await self._target.fetch(query, *values)]

    async def legacy_rows(self, query: str) -> Rows:
        """At the source."""
        return [tuple(row) for row in await self._legacy.fetch(query)]


class Cells(Series):
    """A world on which one fault after another is tried; the nights go on from cell to cell."""

    def __init__(self, world: World, seed: int, path: Path) -> None:
        super().__init__(world, seed, size=SIZE)
        self.path = path
        self.cases = {id_: ("new", f"case {id_}") for id_ in range(1, CASES + 1)}
        self.homes = homes.Homes(world)
        self.disputed = 0
        self.decided = ""  # for what an operator has decided the dispute
        self._next_case = 1
        self._heals: list[tuple[int, str]] = []  # what the source is to say next
        self._kept: list[int] = []  # gone at the source, and not let go by the target

    @classmethod
    @asynccontextmanager
    async def open(cls, legacy: str, target: str, folder: Path, seed: int) -> AsyncIterator[Self]:
        """Two filled databases, initialised and loaded; the configuration in a file."""
        path = folder / "syncd.yaml"
        path.write_text(_CONFIG.format(legacy=legacy, target=target) + homes.CONFIG, "utf-8")
        config = config_load.load(path, {})
        sides = [await asyncpg.connect(legacy), await asyncpg.connect(target)]
        try:
            cells = cls(Near(config, *sides), seed, path)
            await cells.fill(target=_TARGET_CASES + homes.TARGET)
            await cells.world.legacy(_LEGACY_CASES.format(cases=CASES), homes.LEGACY)
            await cells.world.init()
            await cells.assert_healed()
            yield cells
        finally:
            for side in sides:
                await side.close()

    # -- what people do ----------------------------------------------------------------------

    def take(self, number: int = 1) -> list[int]:
        """Cases to which nothing has happened yet."""
        taken = list(range(self._next_case, self._next_case + number))
        self._next_case += number
        assert self._next_case < CASES
        return taken

    @property
    def is_worn(self) -> bool:
        """Whether a new world should be begun: few untouched cases are left."""
        return self._next_case > CASES - 50

    @property
    def is_in_full_swing(self) -> bool:
        """Whether yesterday left something that heals today."""
        return bool(self._heals)

    async def everything(self) -> None:
        """A day on which all happens that one night can meet."""
        await self.a_day()
        await self.homes.a_day()
        await self.staff_type()
        say = []
        for id_, status in self._heals:
            say.append(f"UPDATE cases SET status = '{status}' WHERE id = {id_}")
            self.cases[id_] = (status, self.cases[id_][1])
        await self.world.legacy(*say)
        disputed, refused, leaver, heir, kept, *updated = self.take(8)
        for id_ in self._kept:
            del self.cases[id_]
        self._kept = [kept]
        await self.world.staff(
            "DELETE FROM notes",
            f"INSERT INTO notes VALUES ({kept})",
            f"UPDATE cases SET status = 'staff' WHERE id = {disputed}",
            _LOSE_DIGESTS,
            _PRUNE_AGAIN,
        )
        await self.world.legacy(
            f"UPDATE cases SET status = 'source' WHERE id = {disputed}",
            f"UPDATE cases SET status = 'refused' WHERE id = {refused}",
            # A note of staff's stands against the deletion of one of them until tomorrow.
            f"DELETE FROM cases WHERE id = ANY(ARRAY{[leaver, kept]})",
            # The name is not free before the leaver is deleted, which comes after all updates.
            f"UPDATE cases SET name = 'case {leaver}' WHERE id = {heir}",
            f"UPDATE cases SET status = 'seen' WHERE id = ANY(ARRAY{updated})",
        )
        self.cases[disputed] = ("staff", self.cases[disputed][1])
        self.cases[heir] = ("new", f"case {leaver}")
        del self.cases[leaver]
        for id_ in updated:
            self.cases[id_] = ("seen", self.cases[id_][1])
        self.disputed, self.decided = disputed, ""
        self._heals = [(refused, "corrected"), (disputed, "staff")]

    async def too_many_leave(self) -> list[int]:
        """So many cases go at once that the guard will hold them; they are still expected."""
        gone = self.take(DELETES_HELD)
        await self.world.legacy(f"DELETE FROM cases WHERE id = ANY(ARRAY{gone})")
        return gone

    async def empty(self) -> None:
        """Neither the ledger nor any row of the target is there; the source is as it is."""
        await self.world.legacy("UPDATE cases SET status = 'seen' WHERE status = 'refused'")
        await self.world.staff(_EMPTY)
        await self.homes.emptied()
        rows = await self.world.legacy_rows("SELECT id, status, name FROM cases")
        self.cases = {id_: (status, name) for id_, status, name in rows}
        self._heals, self._kept, self.disputed = [], [], 0
        # Nothing is remembered of earlier nights, by syncd or here.
        self._known = {name: {} for name in self._known}
        self._typed, self._judged_run, self._attempt = {}, 0, (0, 0, 0)

    async def another_holds_the_lease(self) -> None:
        """Somebody else has taken the lease and will not renew it."""
        await self.world.staff(_HELD_BY_ANOTHER)

    # -- what must hold ----------------------------------------------------------------------

    async def assert_nothing_half_done(self) -> None:
        """Right after a fault, before anybody repairs anything: I2 and I6.

        Each row has its entry and each entry its row; no row is there twice; what staff typed is
        there.
        """
        if await self.world.value("SELECT to_regclass('syncd.syncd_fingerprint')") is None:
            return
        for name in ("parents", "children", "cases"):
            query = f"SELECT id FROM public.{name} ORDER BY id"
            rows = [id_ for (id_,) in await self.world.rows(query)]
            assert len(set(rows)) == len(rows), f"{name}: a row is there twice"
            # An entry that was parked before it ever landed is live and has no base.
            live = await self._keys(name, "= 'live' AND source_base <> ''")
            assert live == rows, f"{name}: rows and entries differ: {set(live) ^ set(rows)}"
        await self.homes.assert_whole()
        for id_, text in self._typed.items():
            query = "SELECT note FROM public.children WHERE id = $1"
            assert await self.world.value(query, id_) == text, "an edit was overwritten"
        if self.disputed:
            query = "SELECT status FROM public.cases WHERE id = $1"
            may_be = {"staff", self.decided or "staff"}
            assert await self.world.value(query, self.disputed) in may_be, "overwritten"

    async def assert_healed(self, report: RunReport | None = None) -> None:
        """Nights without a fault until one is through, then everything: the four zeros, the sums.

        ``report`` is that of the night with the fault, if it lived to tell.
        """
        for _ in range(_ATTEMPTS_MAX):
            report = await self.night()
            if report is not None and report.status in _SETTLED:
                break
        await self.assert_whole(report, runs_max=1 + _ATTEMPTS_MAX, ended=_SETTLED)
        found = await self.world.rows("SELECT id, status, name FROM public.cases")
        target = {id_: (status, name) for id_, status, name in found}
        assert target == self.cases, f"cases: {_first(target, self.cases)}"
        await self.homes.assert_healed()
        await self.assert_nothing_half_done()

    async def night(self, *select: str) -> RunReport | None:
        """A night; its report, or None where it could not even end."""
        try:
            with anyio.fail_after(30):
                return await self.world.night(*select)
        except SyncdError:
            return None

    async def conflict_id(self) -> int:
        """The open conflict about the disputed case; 0 where there is none."""
        shown = [c for c in await self.world.open_conflicts() if c.key == (str(self.disputed),)]
        return shown[0].conflict_id if shown else 0

    async def init(self) -> None:
        """``syncd init``."""
        async with self.world.app() as app:
            await app.init()

    async def resolve(self, take: str) -> None:
        """``syncd conflicts resolve`` of the disputed case, where it is still open."""
        number = await self.conflict_id()
        if number:
            async with self.world.app() as app:
                await app.resolve([number], take=take, progress=Silent())  # type: ignore[arg-type]

    async def approve(self) -> None:
        """``syncd deletes approve cases``, where any are still held."""
        async with self.world.app() as app:
            if await app.held(frozenset({"cases"})):
                await app.approve("cases", plan_hash=None, progress=Silent())


def _first(found: dict[int, tuple[str, str]], expected: dict[int, tuple[str, str]]) -> str:
    wrong = sorted(i for i in found.keys() | expected.keys() if found.get(i) != expected.get(i))
    return f"{wrong[0]} is {found.get(wrong[0])}, expected {expected.get(wrong[0])}"
