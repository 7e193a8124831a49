"""Any order of work at both sides, nights, crashes and cut dumps, over the production flow.

``Pass`` and ``Applier`` run as they are, on a source, a target and a ledger in memory. The oracle
judges each commit, not only the end: a nightly run repairs much that should never have happened.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from syncd.errors import SourceError, TransientError
from syncd.flow.apply import Shores
from syncd.flow.fingerprint import Hasher
from syncd.flow.guard import Bounds
from syncd.flow.keys import encode_key
from syncd.flow.model import Column, ColumnType, Kind, Outcome, Parent, Plan, Row, State
from syncd.flow.pipeline import Ended, Entity, Ground, Pass
from syncd.flow.ports import Lease
from syncd.flow.transform import Drafter
from syncd.progress import Silent
from tests.memory.book import MemoryBook
from tests.memory.ledger import MemoryLedger
from tests.memory.source import MemorySource
from tests.memory.store import Store
from tests.memory.target import MemoryTarget
from tests.pipeline.oracle import Cells, Oracle

T = TypeVar("T")

_INTEGER: Final = ColumnType(Kind.INTEGER)
_KIND: Final = {"id": _INTEGER, "parent": _INTEGER}
KEYS: Final = {"parents": (1, 2), "children": (1, 2, 3)}
COLUMNS: Final = {"parents": ("a", "b", "id"), "children": ("a", "id", "parent")}
WAVES: Final = (("parents",), ("children",))
ATTEMPTS_MAX: Final = 4
_KEPT: Final = (State.ORPHAN_KEPT, State.TGT_DELETED)

values = st.sampled_from([b"A", b"B", b"", None])
typed = st.sampled_from([b"X", b"A", b"B", None])
steps = st.integers(1, 30)
tables = st.sampled_from(sorted(KEYS))
numbers = st.integers(0, 2)


class KilledError(Exception):
    """The process ended there."""


def plan_of(name: str, entity_id: int, parents: tuple[Parent, ...] = ()) -> Plan:
    """An entity whose columns are the same on both sides."""
    columns = tuple(Column(c, c, _KIND.get(c, ColumnType())) for c in COLUMNS[name])
    at = COLUMNS[name].index("id")
    return Plan(
        name, entity_id, columns, (at,), columns, (at,), shape=1, revision=1, parents=parents
    )


PLANS: Final = {
    "parents": plan_of("parents", 1),
    "children": plan_of("children", 2, (Parent("parents", ("parent",)),)),
}


def key_of(number: int) -> bytes:
    """The key of a record."""
    return encode_key([Kind.INTEGER], [b"%d" % number])


def key_at(name: str, number: int) -> int:
    """One of the few records that everybody works on."""
    return KEYS[name][number % len(KEYS[name])]


async def at_once(call: Callable[[], Awaitable[T]]) -> T:
    """A retry that does not sleep."""
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await call()
        except TransientError:
            continue
    return await call()


class Nights(RuleBasedStateMachine):
    """Two entities, a child that needs its parent, and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.hasher = Hasher(b"a key of sixteen bytes or more")
        self.source = MemorySource(self.hasher, batch_rows=2)
        self.legacy: dict[str, dict[int, Row]] = {name: {} for name in KEYS}
        self.store = Store()
        self.store.state.tables = {name: {} for name in KEYS}
        self.target, self.ledger = MemoryTarget(self.store), MemoryLedger(self.store)
        self.oracles = {name: Oracle() for name in KEYS}
        self.run_id, self.is_running = 0, False
        self.positions: dict[tuple[int, bytes], int] = {}
        self.known = self.targets()
        self.in_sight: dict[str, dict[int, Cells]] = {}
        self.runner = asyncio.Runner()

    # -- the legacy system -------------------------------------------------------------------

    @rule(name=tables, number=numbers, one=values, other=values)
    def legacy_saves(self, name: str, number: int, one: bytes | None, other: bytes | None) -> None:
        """A record is inserted, comes back under its old id, or is changed, perhaps back."""
        key = key_at(name, number)
        own = {"id": b"%d" % key, "a": one, "b": other, "parent": b"%d" % (1 + len(other or b""))}
        self.legacy[name][key] = tuple(own[column] for column in COLUMNS[name])

    @rule(name=tables, number=numbers)
    def legacy_deletes(self, name: str, number: int) -> None:
        """A record goes, whether anything needs it or not."""
        self.legacy[name].pop(key_at(name, number), None)

    # -- staff -------------------------------------------------------------------------------

    @rule(name=tables, number=numbers, value=typed)
    def staff_types(self, name: str, number: int, value: bytes | None) -> None:
        """A value of their own, or by chance the source's; or they take theirs back."""
        table, key = self.table(name), key_of(key_at(name, number))
        if key in table:
            table[key] = (value, *table[key][1:])
            self.known = self.targets()

    @rule(name=tables, number=numbers)
    def staff_take_theirs_back(self, name: str, number: int) -> None:
        """The value that was there before they typed (example 10)."""
        key = key_at(name, number)
        table, left = self.table(name), self.oracles[name].left.get(key, {})
        if key_of(key) in table and 0 in left:
            value = left[0]
            assert value is None or isinstance(value, bytes)
            table[key_of(key)] = (value, *table[key_of(key)][1:])
            self.known = self.targets()

    @rule(name=tables, number=numbers)
    def staff_deletes(self, name: str, number: int) -> None:
        """A row goes, and must stay away."""
        key = key_at(name, number)
        if self.table(name).pop(key_of(key), None) is not None:
            self.oracles[name].staff_deleted(key)
            self.known = self.targets()

    @rule(name=tables, number=numbers, value=values)
    def staff_create(self, name: str, number: int, value: bytes | None) -> None:
        """They make a row that the source has, will have, or never has."""
        table, key = self.table(name), key_at(name, number)
        if key_of(key) not in table:
            own = {"id": b"%d" % key, "a": value, "b": b"A", "parent": b"1"}
            table[key_of(key)] = tuple(own[column] for column in COLUMNS[name])
            self.oracles[name].staff_created(key)
            self.known = self.targets()

    @rule(name=tables, number=numbers, value=values, own=typed)
    def both_change_a_record(
        self, name: str, number: int, value: bytes | None, own: bytes | None
    ) -> None:
        """The heart of the matter: one record, both sides, and a night."""
        self.legacy_saves(name, number, value, b"A")
        self.staff_types(name, number, own)
        self.night()

    # -- nights ------------------------------------------------------------------------------

    @rule()
    def night(self) -> None:
        """A night like any other."""
        self.assert_ended(self.run_pass())

    @rule(step=steps)
    def night_that_is_killed(self, step: int) -> None:
        """The process ends at some step of some transaction, also right after its commit."""
        self.at_step(step, KilledError())
        try:
            self.assert_ended(self.run_pass())
        except (KilledError, BaseExceptionGroup):
            self.is_running = True

    @rule(step=steps)
    def night_that_loses_an_answer(self, step: int) -> None:
        """A commit stands, and its answer does not arrive (case 14)."""
        error = TransientError("lost while committing", outcome_unknown=True)
        self.at_step(step, error, only="committed")
        self.assert_ended(self.run_pass())

    @rule(rows=st.integers(0, 3))
    def night_of_a_cut_dump(self, rows: int) -> None:
        """The read ends early: what came is applied, nothing is absent (case 39)."""
        self.source.cut_after = rows
        try:
            ended = self.run_pass()
        finally:
            self.source.cut_after = None
        for one in ended:
            assert one.error is None or isinstance(one.error, SourceError), one.error
        # Its run is closed as failed; the next begins anew.
        self.is_running = False

    @precondition(lambda self: any(self.legacy.values()))
    @rule(step=steps, name=tables, number=numbers, value=values)
    def night_while_staff_type(
        self, step: int, name: str, number: int, value: bytes | None
    ) -> None:
        """Staff commit between two transactions of the night (example 14)."""
        left = count(step, -1)

        def strike(what: str) -> None:
            self.committed(what)
            if what == "begin" and next(left) == 0:
                self.staff_types(name, number, value)

        self.store.strike = strike
        self.assert_ended(self.run_pass(strikes=True))

    # -- what must hold ----------------------------------------------------------------------

    @invariant()
    def the_ledger_tells_the_truth(self) -> None:
        """I4, I5: positions never go back; what is live and was not touched since is there."""
        for entity_id, entries in self.store.state.entries.items():
            for key, entry in entries.items():
                assert entry.position >= self.positions.get((entity_id, key), 0)
                self.positions[entity_id, key] = entry.position

    def teardown(self) -> None:
        """A quiet end."""
        try:
            self.assert_in_step()
        finally:
            self.runner.close()

    def assert_in_step(self) -> None:
        """I1: after a quiet night, and one more for what waited, both sides agree."""
        for _ in range(2):
            ended = self.run_pass()
            self.assert_ended(ended)
        targets, sources = self.targets(), self.sources()
        for name, oracle in self.oracles.items():
            entries = self.store.state.entries.get(PLANS[name].entity_id, {})
            kept = {
                key
                for key in targets[name]
                # An empty source never deletes.
                if not sources[name]
                or (key_of(key) in entries and entries[key_of(key)].state in _KEPT)
            }
            waiting = self.waiting() if name == "children" else set()
            source = {k: v for k, v in sources[name].items() if k not in waiting}
            oracle.assert_in_step(source, targets[name], waiting=waiting, kept=kept | waiting)
        assert all(one.counts.updated == 0 for one in self.run_pass()), "a quiet night wrote"

    # -- how ---------------------------------------------------------------------------------

    def run_pass(self, *, strikes: bool = False) -> list[Ended]:
        """A night, or the next attempt of one that was killed."""
        if not self.is_running:
            self.run_id += 1
            self.store.state.attempt = 1
        else:
            self.store.state.attempt += 1
        self.store.state.epoch += 1
        self.source.rows = {name: list(rows.values()) for name, rows in self.legacy.items()}
        self.in_sight = self.sources()
        if not strikes and self.store.strike.__name__ != "struck":
            self.store.strike = self.committed
        try:
            return self.runner.run(self._pass())
        finally:
            self.store.strike = self.committed

    async def _pass(self) -> list[Ended]:
        lease = Lease("machine", "a test", self.store.state.epoch)
        shores = Shores(self.ledger, self.target, lease, at_once, lambda: uuid.uuid4().hex)
        async with self.source.open(list(PLANS.values())) as snapshot:
            ground = Ground(
                snapshot, shores, MemoryBook(self.store, self.run_id, lease), self.hasher, Silent(),
                time.monotonic, self.run_id, self.store.state.attempt,
                batch_rows=2, writers=2, findings=10,
            )  # fmt: skip
            entities = {
                name: Entity(plan, Drafter(plan), Bounds(1000, 100.0), 1, 1)
                for name, plan in PLANS.items()
            }
            return await Pass(ground, WAVES, entities, PLANS).run()

    def at_step(self, step: int, error: Exception, *, only: str = "") -> None:
        """Raise ``error`` at the n-th step of the next pass, once."""
        left = count(step - 1, -1)

        def struck(what: str) -> None:
            self.committed(what)
            if only and what != only:
                return
            number = next(left)
            # Who is dead takes no further step.
            if number == 0 or (number < 0 and isinstance(error, KilledError)):
                raise error

        self.store.strike = struck

    def committed(self, what: str) -> None:
        """Have the oracles judge what a commit changed."""
        if what != "committed":
            return
        now = self.targets()
        for name, oracle in self.oracles.items():
            source, cut = self.in_sight[name], self.source.cut_after
            complete = cut is None or cut >= len(source)
            unlooked = frozenset(now[name].keys() - self.looked_at(name))
            oracle.wrote(source, self.known[name], now[name], complete=complete, unlooked=unlooked)
        self.assert_parents_landed(now["children"].keys() - self.known["children"].keys())
        self.known = now

    def looked_at(self, name: str) -> set[int]:
        """Records that this pass has looked at; one that is parked is as far as it was before."""
        entries = self.store.state.entries.get(PLANS[name].entity_id, {})
        at = self.source.position
        there = {key_of(key): key for key in KEYS[name]}
        return {there[key] for key, entry in entries.items() if entry.position == at}

    def assert_parents_landed(self, children: set[int]) -> None:
        """No child is written before its parent (case 71)."""
        assert not children & self.waiting(), "written without its parent"

    def assert_ended(self, ended: list[Ended]) -> None:
        """I8: no entity failed, and what the units say was done is what the counts say."""
        self.is_running = False
        for one in ended:
            assert one.error is None, one.error
            assert one.counts.seen == one.counts.total()
            assert min(one.counts.as_dict().values()) >= 0, one.counts
            for outcome in (Outcome.INSERTED, Outcome.UPDATED, Outcome.DELETED):
                told = getattr(one.counts, outcome.value)
                assert told == self.in_units(one.plan, outcome), f"{one.plan.name}: {one.counts}"

    def waiting(self) -> set[int]:
        """Children whose parent has not landed: they stay as they are."""
        at = COLUMNS["children"].index("parent")
        live = {
            key
            for key, entry in self.store.state.entries.get(1, {}).items()
            if entry.state is State.LIVE
        }
        return {
            number
            for number, row in self.in_sight["children"].items()
            if key_of(_number(row, at)) not in live
        }

    def in_units(self, plan: Plan, outcome: Outcome) -> int:
        """How often the units of this run gave an outcome, those that were redone left out."""
        total = 0
        for (run_id, entity_id, _), (_, unit) in self.store.state.units.items():
            if (run_id, entity_id) == (self.run_id, plan.entity_id):
                given, redone = (
                    (unit.present, unit.absent),
                    (unit.present_redone, unit.absent_redone),
                )
                total += sum(getattr(counts, outcome.value) for counts in given)
                total -= sum(getattr(counts, outcome.value) for counts in redone)
        return total

    def table(self, name: str) -> dict[bytes, Row]:
        """The target's table."""
        return self.store.state.tables[name]

    def targets(self) -> dict[str, dict[int, Cells]]:
        """The target as the oracle sees it."""
        at = {name: COLUMNS[name].index("id") for name in KEYS}
        return {
            name: {_number(row, at[name]): row for row in table.values()}
            for name, table in self.store.state.tables.items()
        }

    def sources(self) -> dict[str, dict[int, Cells]]:
        """The source as the oracle sees it."""
        return {name: dict(rows) for name, rows in self.legacy.items()}


def _number(row: Cells, at: int) -> int:
    value = row[at]
    assert isinstance(value, bytes)
    return int(value)


@pytest.mark.parametrize("step", range(1, 31))
def test_a_row_that_was_never_looked_at_was_never_ours(step: int) -> None:
    """Staff made a child just as the source has it, and delete it before the first look at it.

    Killed between the parent's commit and the child's: agreement by chance is no agreement, and
    the row rule inserts a record of which nothing is known (none, present, absent).
    """
    machine = Nights()
    machine.legacy_saves("parents", 0, b"A", None)
    machine.legacy_saves("children", 0, b"A", None)
    machine.staff_create("children", 0, b"A")
    machine.night_that_is_killed(step)
    machine.staff_deletes("children", 0)
    machine.night()
    machine.teardown()


_THOROUGH: Final = settings().max_examples > 500
Nights.TestCase.settings = settings(
    max_examples=1500 if _THOROUGH else 60, stateful_step_count=30, deadline=None
)
TestNights = pytest.mark.trust(Nights.TestCase)
