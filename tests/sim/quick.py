"""The quick driver: production's applier, decider, merge and guard, without survey and runner.

One entity of three records, worked on by coroutines that are driven by hand, so that no event loop
is paid for. Who is to look at what is decided here, by a comparison of digests in a few lines,
which stands for the survey; the lease, the runs and the book are left out. Everything between a
batch of reads and its commit is production's, and the checker is the same as for full runs.
It is meant for numbers: rare orders of edits, crashes, lost answers, late and doubled batches.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import lru_cache
from random import Random
from types import coroutine
from typing import Any, Final, TypeVar
from zlib import crc32

import msgspec
from msgspec import Struct

from syncd.errors import TransientError
from syncd.flow.apply import Applier, Shores
from syncd.flow.decide import Decider, Sight
from syncd.flow.entity_pass import EntityPass
from syncd.flow.fingerprint import Hasher
from syncd.flow.guard import Bounds, judge
from syncd.flow.model import Column, ColumnType, Kind, OnConflict, Ownership, Plan, Read, Row
from syncd.flow.ports import Lease
from syncd.flow.transform import Drafter
from syncd.flow.waiting import Parents
from tests.memory.ledger import MemoryLedger
from tests.memory.runs import MemoryReviews, MemoryRuns
from tests.memory.store import Held, MemoryTx, Store
from tests.memory.target import MemoryTarget
from tests.sim.accounts import hold
from tests.sim.checker import Checker
from tests.sim.history import Change, Event, Looked, Reviewed, Staffed, Told, committed
from tests.sim.schedule import At, Fault, Legacy, Night, Review, Schedule, Staff
from tests.sim.setup import POISON, VALUES, Rule, Setup, rules_of, stored_of

T = TypeVar("T")

NAME: Final = "parents"
NUMBERS: Final = (1, 2, 3)
_STEPS_MAX: Final = 24
_SWITCHES_MAX: Final = 5000
_STEPS_OF_A_NIGHT_MAX: Final = 5000
_LEASE: Final = Lease("quick", "one", 1)
_HASHER: Final = Hasher(b"a key of sixteen bytes or more")


class KilledError(BaseException):
    """The process ended there."""


class Traits(Struct, frozen=True):
    """What a setup comes to; made once for each."""

    plan: Plan
    rules: dict[str, Rule]
    drafter: Drafter
    parents: Parents
    keys: dict[int, bytes]


@coroutine
def _switch() -> Generator[None, None, None]:
    """Let the driver choose who goes on."""
    yield


async def _at_once(call: Callable[[], Awaitable[T]]) -> T:
    """A retry without a pause."""
    for _ in range(3):
        try:
            return await call()
        except TransientError:
            continue
    return await call()


class QuickStore(Store):
    """The database of the quick driver."""

    def __init__(self, step: Callable[[str], None], stands: Callable[[MemoryTx], None]) -> None:
        super().__init__()
        self.has_others = False
        self.strike = step
        self._stands = stands

    async def point(self, step: str) -> None:
        """A step, at which others may go first, where there are any."""
        self.strike(step)
        if self.has_others:
            await _switch()

    async def wait(self, most_s: float) -> float:
        """Somebody else goes on; a lock that is not free soon is given up."""
        await _switch()
        return most_s / 50

    def commit(self, tx: MemoryTx) -> None:
        """Tell, then put in place."""
        self._stands(tx)
        super().commit(tx)


class QuickWorld:
    """One schedule."""

    def __init__(self, schedule: Schedule) -> None:
        setup = schedule.setup
        self.schedule = schedule
        self.history: list[Event] = []
        self.quiet_from = 0
        self.traits = _traits(setup)
        self.store = QuickStore(self._step, self._stands)
        self.store.state.epoch = 1
        self.store.state.tables[NAME] = {}
        self.target = MemoryTarget(self.store, stored=stored_of(setup))
        self.ledger = MemoryLedger(self.store)
        self.reviews = MemoryReviews(self.store, MemoryRuns(self.store, "quick", float))
        self.legacy: dict[int, Row] = {}
        self.left: dict[bytes, Row] = {}
        self.steps = 0
        self._chance = Random(f"quick {schedule.chance}").random  # noqa: S311 - it must repeat
        self._befalls: dict[int, At] = {}
        self._older: list[Row] | None = None
        self._position = self._run = self._nights = self._units = 0
        self._attempt = 1

    def play(self) -> None:
        """The schedule, then quiet nights."""
        for act in self.schedule.acts:
            if isinstance(act, Night):
                self._night(act)
            else:
                self._happen(act)
        self.quiet_from = len(self.history)
        for _ in range(1 + self.schedule.setup.confirm_runs):
            self._night(Night())

    # -- days --------------------------------------------------------------------------------

    def _happen(self, act: Legacy | Staff | Review) -> None:
        if isinstance(act, Legacy):
            if act.row is None:
                self.legacy.pop(act.number, None)
            else:
                self.legacy[act.number] = act.row
        elif isinstance(act, Staff):
            self._work(act)
        else:
            held = self.store.state.held.get(1, {})
            self.history.append(Reviewed(1, act.decision, tuple(sorted(held))))
            for key, one in held.items():
                held[key] = Held(one.run_id, one.missed_runs, act.decision)

    def _work(self, act: Staff) -> None:
        """At once, or not at all where the row is locked."""
        key = self.traits.keys[act.number]
        table = self.store.state.tables[NAME]
        row = table.get(key)
        after: Row | None
        if (NAME, key) in self.store.locks or (row is None) != (act.what == "create"):
            return
        if act.what == "create":
            after = self.target.stored((act.value, b"~A", b"%d" % act.number))
        elif act.what == "delete":
            after = None
        else:
            assert row is not None
            value = self.left.get(key, row)[act.at] if act.what == "revert" else act.value
            typed = (*row[: act.at], value, *row[act.at + 1 :])
            after = self.target.stored(typed)
        if after == row:
            return
        if after is None:
            del table[key]
            self.store.state.marked.get(NAME, {}).pop(key, None)
        else:
            table[key] = after
        self.history.append(Staffed(Change(NAME, key, row, after)))

    # -- nights ------------------------------------------------------------------------------

    def _night(self, night: Night) -> None:
        self.steps, self._nights = 0, self._nights + 1
        self._befalls = {at.step: at for at in night.befalls}
        if self._attempt == 1:
            self._run += 1
        self.store.state.attempt = self._attempt
        try:
            self._pass(night)
            self._attempt = 1
        except (KilledError, TransientError):
            self._attempt += 1
        self._befalls = {}

    def _pass(self, night: Night) -> None:
        """What ``Pass`` does, for one entity."""
        self._position += 1
        truth, position = list(self.legacy.values()), self._position
        rows = truth
        if night.dump == "older" and self._older is not None:
            rows, position = self._older, position - 2
        self._older = truth
        who = f"{self._nights}"
        self.history.append(Looked(who, position, {NAME: rows}, []))
        reads = {
            key: Read(key, row, crc32(repr(row).encode()) or 1) for key, row in self._keyed(rows)
        }
        suspects, absent, remembered = self._survey(reads)
        had_held = bool(self.store.state.held.get(1))
        is_needed = bool(suspects or absent or had_held)
        if not is_needed:
            return
        applier = self._applier(position)
        half = self.schedule.setup.batch_rows
        batches = [suspects[at : at + half] for at in range(0, len(suspects), half)]
        # The second time they come late: two at once for a new key is what a run never does.
        for _ in range(2 if night.dump == "twice" else 1):
            self._drive([applier.apply([reads[key] for key in batch]) for batch in batches])
        held = self._remove(applier, absent, len(rows), remembered)
        again = sorted(set(applier.tally.again))
        for key in again:
            self._drive([applier.apply([reads[key]])])
        if night.dump != "twice":
            self._tell(who, applier, len(rows), len(reads) - len(suspects), suspects, absent, held)

    def _survey(self, reads: dict[bytes, Read]) -> tuple[list[bytes], list[bytes], int]:
        """Whom to look at, who is gone, and how many were known: in place of the survey."""
        entries = self.store.state.entries.get(1, {})
        suspects = [
            key
            for key, read in sorted(reads.items())
            if (e := entries.get(key)) is None or not e.present or e.open or e.digest != read.digest
        ]
        known = [key for key, entry in sorted(entries.items()) if entry.present]
        return suspects, [key for key in known if key not in reads], len(known)

    def _remove(self, applier: Applier, absent: list[bytes], rows: int, remembered: int) -> int:
        """Ask the guard, delete what it allows, hold the others; how many."""
        if not absent and not self.store.state.held.get(1):
            return 0
        setup, held = self.schedule.setup, self.store.state.held.get(1, {})
        evidence = EntityPass(self.traits.plan, None, batch_rows=1, writers=1, findings=1)  # type: ignore[arg-type]
        evidence.source_rows, evidence.remembered = rows, remembered
        judgement = judge(
            absent,
            evidence.evidence(),
            Bounds(setup.hold_rows, setup.hold_percent, setup.confirm_runs),
            approved={key for key, one in held.items() if one.decision == "approved"},
            rejected={key for key, one in held.items() if one.decision == "rejected"},
            missed_runs={key: one.missed_runs for key, one in held.items()},
        )
        allowed, size = judgement.allowed, setup.batch_rows
        for at in range(0, len(allowed), size):
            self._drive([applier.remove(allowed[at : at + size])])
        wait = [*judgement.held, *judgement.kept]
        self._drive(
            [self.reviews.hold(_LEASE, self.traits.plan, self._run, wait, judgement.reason)]
        )
        return len(wait)

    def _tell(
        self, who: str, applier: Applier, rows: int, equal: int,
        suspects: Sequence[bytes], absent: list[bytes], held: int,
    ) -> None:  # fmt: skip
        """The sums, by production's own hand."""
        read = EntityPass(self.traits.plan, None, batch_rows=1, writers=1, findings=1)  # type: ignore[arg-type]
        read.source_rows, read.equal, read.suspects, read.absent = (
            rows,
            equal,
            len(suspects),
            absent,
        )
        units = self.store.state.units
        earlier = [
            u for (run, _, _), (n, u) in units.items() if run == self._run and n < self._attempt
        ]
        counts = read.counts(applier.tally, earlier, attempt=self._attempt, held=held, reported=0)
        told = counts.as_dict()
        self.history.append(Told(who, self._run, self._attempt, NAME, "completed", told, (), 0))

    def _applier(self, position: int) -> Applier:
        traits = self.traits
        sight = Sight(self._run, 1, position, 1)
        shores = Shores(self.ledger, self.target, _LEASE, _at_once, self._unit_id)
        decider = Decider(
            traits.plan, sight, _HASHER, traits.drafter, traits.parents, self.ledger, self.target
        )
        return Applier(decider, shores)

    def _unit_id(self) -> str:
        self._units += 1
        return str(self._units)

    def _keyed(self, rows: Sequence[Row]) -> list[tuple[bytes, Row]]:
        key_of = self.traits.rules[NAME].key_of
        return [(key_of(row), row) for row in rows]

    # -- who goes on -------------------------------------------------------------------------

    def _drive(self, tasks: list[Coroutine[Any, Any, None]]) -> None:
        """Run coroutines to their ends, in any order; at the first error all are dropped."""
        chance, switches, store = self._chance, 0, self.store
        store.has_others = len(tasks) > 1
        try:
            while tasks:
                at = int(chance() * len(tasks)) if store.has_others else 0
                try:
                    tasks[at].send(None)
                except StopIteration:
                    del tasks[at]
                    store.has_others = len(tasks) > 1
                switches += 1
                hold("I15", switches < _SWITCHES_MAX, "it does not get on")
        finally:
            for task in tasks:
                task.close()

    def _step(self, what: str) -> None:
        self.steps += 1
        hold("I15", self.steps < _STEPS_OF_A_NIGHT_MAX, "it does not get on")
        at = self._befalls.get(self.steps)
        if at is not None:
            self._befall(at.act, what)

    def _befall(self, act: Fault | Staff | Legacy, what: str) -> None:
        if not isinstance(act, Fault):
            self._happen(act)
            return
        wanted = {"lost": "committed", "unsure": "commit"}.get(act.what)
        if (wanted and what != wanted) or (what == "committed" and act.what == "transient"):
            self._befalls.setdefault(self.steps + 1, At(0, act))
        elif act.what == "kill":
            raise KilledError
        else:
            raise TransientError("lost", outcome_unknown=bool(wanted))

    def _stands(self, tx: MemoryTx) -> None:
        told = committed(tx, f"{self._nights}", 1, 1, [])
        self.history.append(told)
        for change in told.changes:
            if change.after is not None:
                self.left[change.key] = change.after


def judge_quick(schedule: Schedule) -> str:
    """What the schedule breaks, or ''."""
    world = QuickWorld(schedule)
    try:
        world.play()
        checker = Checker(schedule.setup, world.traits.rules)
        for event in world.history:
            checker.see(event)
        checker.at_end(world.store.state, world.history, world.quiet_from)
    except AssertionError as error:
        return str(error) or "an assertion failed"
    except Exception as error:  # noqa: BLE001 - whatever it is, the schedule has found it
        return f"{type(error).__name__}: {error}"
    return ""


def draw_quick(seed: int) -> Schedule:
    """A schedule for the quick driver."""
    chance = Random(seed)  # noqa: S311 - it must repeat
    throw = chance.random
    setup = _SETUPS[int(throw() * len(_SETUPS))]
    is_guarded = setup.hold_rows < _UNGUARDED
    first = NUMBERS if is_guarded else NUMBERS[:1]
    acts: list[Legacy | Staff | Review | Night] = [
        Legacy(NAME, number, (b"~A", b"~A", b"%d" % number)) for number in first
    ]
    # An approval has a story of several nights, with little in each.
    nights, work = (4, 2) if is_guarded else (2, 4)
    for _ in range(nights + int(throw() * 3)):
        acts += [_day(throw, is_guarded=is_guarded) for _ in range(1 + int(throw() * work))]
        acts.append(_night(throw))
    return Schedule(f"{seed}", setup, tuple(acts))


def _day(throw: Callable[[], float], *, is_guarded: bool = False) -> Legacy | Staff | Review:
    number, what = NUMBERS[int(throw() * (2 + is_guarded))], throw()
    if what < 0.33:
        rare = throw() < 0.03
        a = POISON if rare else _value(throw)
        return Legacy(NAME, number, (a, _value(throw), b"%d" % number))
    if what < (0.65 if is_guarded else 0.45):
        return Legacy(NAME, number, None)
    if what < (0.75 if is_guarded else 0.99):
        doing = _DOING[int(throw() * len(_DOING))]
        return Staff(doing, NAME, number, int(throw() * 2), _TYPED[int(throw() * 4)])
    return Review(NAME, "approved" if throw() < 0.7 else "rejected")


def _value(throw: Callable[[], float]) -> bytes | None:
    """The first ones more often, so that both sides say the same now and then."""
    return VALUES[int(throw() * throw() * 4)]


def _night(throw: Callable[[], float]) -> Night:
    befalls, dump = [], ""
    while throw() < 0.4:
        step = 1 + int(throw() * _STEPS_MAX)
        if throw() < 0.5:
            befalls.append(At(step, Fault(_FAULTS[int(throw() * len(_FAULTS))])))
        else:
            day = _day(throw)
            if not isinstance(day, Review):
                befalls.append(At(step, day))
    if throw() < 0.15:
        dump = "older" if throw() < 0.6 else "twice"
    return Night(tuple(befalls), dump)


_UNGUARDED: Final = 9  # deletes that are held above: more than there are records
_DOING: Final = ("type", "type", "type", "revert", "revert", "delete", "create")
_TYPED: Final = (b"~A", b"~B", b"~X", None)
_FAULTS: Final = ("kill", "kill", "lost", "unsure", "transient")
_TRAITS: Final[tuple[dict[str, object], ...]] = (
    {},
    {},
    {"is_grouped": True},
    {"is_grouped": True},
    {"owned": {"a": "source"}},
    {"owned": {"b": "target"}},
    {"owned": {"a": "initial"}},
    {"owned": {"b": "initial"}},
    {"is_lowered": True},
    {"on_conflict": "quarantine"},
    {"deletes": "soft"},
    {"deletes": "soft"},
    {"confirm_runs": 2},
    {"event": "saved"},
    {"hold_rows": 0, "hold_percent": 0.0},
    {"hold_rows": 1, "hold_percent": 0.0},
)
_SETUPS: Final = tuple(
    msgspec.convert({"hold_rows": _UNGUARDED, "needs": "none", "batch_rows": size} | traits, Setup)
    for size, traits in zip((1, 2) * len(_TRAITS), _TRAITS, strict=False)
)


def _traits(setup: Setup) -> Traits:
    return _made(msgspec.json.encode(setup))


@lru_cache(maxsize=64)
def _made(encoded: bytes) -> Traits:
    """What a setup comes to; there are few, and each is used thousands of times."""
    setup = msgspec.json.decode(encoded, type=Setup)
    rule = rules_of(setup)[NAME]
    kinds = {"id": ColumnType(Kind.INTEGER)}
    columns = tuple(
        Column(name, name, kinds.get(name, ColumnType()), Ownership(owner))
        for name, owner in zip(rule.columns, rule.owners, strict=True)
    )
    at = rule.key_at
    plan = Plan(
        NAME, 1, columns, (at,), columns, (at,), shape=1, revision=1,
        groups=(frozenset(rule.group),) if rule.group else (),
        on_conflict=OnConflict(setup.on_conflict),
        event=setup.event,
        soft_delete="gone_at" if setup.deletes == "soft" else "",
    )  # fmt: skip
    keys = {number: rule.key_from(b"%d" % number) for number in NUMBERS}
    return Traits(plan, {NAME: rule}, Drafter(plan), Parents(plan, {}), keys)
