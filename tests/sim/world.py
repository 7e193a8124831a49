"""A simulation of production: instances of ``Runner`` on shores in memory, over virtual days.

The world plays a schedule: it works at both sides by day, starts instances by night, and lets
befall them what the schedule says, at the steps that it names. Everything that comes to stand is
kept in ``history``; every step goes into a hash, so that two runs of one seed can be compared.
"""

import random
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from contextvars import Context
from hashlib import blake2b
from random import Random
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio._backends import _asyncio as anyio_loop

from syncd.errors import LockedError, SyncdError, TransientError
from syncd.flow.fingerprint import Hasher
from syncd.flow.keys import encode_key
from syncd.flow.model import Kind, Row
from syncd.flow.ports import Lease, Source
from syncd.jobs.runner import Runner
from syncd.metrics import Metrics
from syncd.planning import describe_found
from syncd.progress import Silent
from tests.memory.ledger import MemoryLedger
from tests.memory.runs import MemoryReviews, MemoryRuns
from tests.memory.store import MemoryTx
from tests.sim.history import Change, Event, Looked, Reviewed, Staffed, Stopped, Told, committed
from tests.sim.loop import PROCESS, Process, SimLoop, enter
from tests.sim.planter import Planter
from tests.sim.schedule import At, Fault, Legacy, Night, Review, Schedule, Staff
from tests.sim.setup import CLINGING, COLUMNS, IDS, config_of, shape_of, stored_of
from tests.sim.shores import SimSite, SimSource, SimStore, SimTarget

DAY_S: Final = 86_400.0
_LATENCIES_S: Final = (0.0,) * 12 + (0.05, 0.5, 3.0)


class GoneError(Exception):
    """The process is dead: nothing of what it still does counts."""


class World:
    """One simulation. ``history`` and ``store`` are what the checker looks at."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.config = config_of(schedule.setup)
        self.loop = SimLoop(schedule.chance)
        self.history: list[Event] = []
        self.words: list[str] = []  # of the log, and of what was raised
        self.legacy: dict[str, dict[int, Row]] = {name: {} for name in COLUMNS}
        self.store = SimStore(self._step, self._stands)
        self.target = SimTarget(self.store, stored=stored_of(schedule.setup))
        self.target.refuse_delete = self._refuse_delete
        self.runs = MemoryRuns(self.store, self.config.pipeline, self.loop.time)
        self.reviews = MemoryReviews(self.store, self.runs)
        self.metrics: dict[str, Metrics] = {}
        self.nights = 0
        self.quiet_from = 0
        self.left: dict[tuple[str, bytes], Row] = {}  # what syncd last left in a row
        self._chance = Random(f"world {schedule.chance}")  # noqa: S311 - it must repeat
        self._trace = blake2b(digest_size=16)
        self._steps = 0
        self._befalls: dict[int, list[At]] = {}
        self._processes: list[Process] = []
        self._roots: dict[Process, anyio.CancelScope] = {}
        self._workers: list[Awaitable[None]] = []
        self._dump = ""
        self._position = 0
        self._older: dict[str, list[Row]] | None = None

    @property
    def trace(self) -> str:
        """The hash of every step so far."""
        return self._trace.hexdigest()

    def play(self, quiet_nights: int) -> None:
        """The schedule, then so many nights on which nothing befalls anybody."""
        with steady(self):
            self.loop.run(self._play(quiet_nights))
        for event in self.history:
            self._trace.update(repr(event).encode())

    # -- the schedule ------------------------------------------------------------------------

    async def _play(self, quiet_nights: int) -> None:
        await self._begin()
        for act in self.schedule.acts:
            if isinstance(act, Night):
                await self._night(act)
            else:
                await self._happen(act)
        self.quiet_from = len(self.history)
        for _ in range(quiet_nights):
            await self._night(Night())

    async def _begin(self) -> None:
        """What ``init`` does: agree on the columns and make the tables."""
        for name, entity in self.config.entities.items():
            self.target._shapes[name] = dict(shape_of(name))
            self.store.state.tables[name] = {}
            columns = describe_found(name, entity, shape_of(name))
            assert await self.runs.pin(name, entity.into, columns) == IDS[name]

    async def _happen(self, act: Legacy | Staff | Review) -> None:
        if isinstance(act, Legacy):
            self._save(act)
        elif isinstance(act, Staff):
            await self._work(act)
        else:
            entity_id = IDS[act.table]
            held = self.store.state.held.get(entity_id, {})
            self.history.append(Reviewed(entity_id, act.decision, tuple(sorted(held))))
            await self.reviews.decide_held(entity_id, act.decision)

    def _save(self, act: Legacy) -> None:
        if act.row is None:
            self.legacy[act.table].pop(act.number, None)
        else:
            self.legacy[act.table][act.number] = act.row

    async def _night(self, night: Night) -> None:
        """Start the instances and wait for the end of each; what is paused goes on in time."""
        await anyio.sleep(DAY_S)
        self.nights += 1
        self._steps, self._dump = 0, night.dump
        self._befalls = {}
        for at in night.befalls:
            self._befalls.setdefault(at.step, []).append(at)
        async with anyio.create_task_group() as tasks:
            for number in range(night.instances):
                tasks.start_soon(self._instance, Process(f"{self.nights}.{number}"))
                await anyio.sleep(self._chance.choice((0.0, 1.0, 20.0)))
        self._befalls = {}
        while self._workers:
            await self._workers.pop()

    async def _instance(self, process: Process) -> None:
        """The life of one process."""
        enter(process)
        self._processes.append(process)
        site = SimSite(
            self.config, process.name, self.target,
            MemoryLedger(self.store, block_rows=self.schedule.setup.block_rows),
            self.runs, self.reviews, lambda hasher, _: self._look(process, hasher),
        )  # fmt: skip
        metrics = self.metrics[process.name] = Metrics()
        meter = metrics.pipeline(self.config.pipeline, "postgres", self.config.entities)
        reason = "cancelled"
        with anyio.CancelScope() as root:
            self._roots[process] = root
            try:
                report = await Runner(site, meter).run(None, accept_rewind=False, progress=Silent())
            except SyncdError as error:
                reason = type(error).__name__
                self.words.append(str(error))
            except (GoneError, BaseExceptionGroup) as error:
                if not process.is_dead:
                    raise
                reason = type(error).__name__
            else:
                reason = ""
        del self._roots[process]
        if process.is_dead:
            reason = "killed"
        if reason:
            self.history.append(Stopped(process.name, reason))
            return
        attempt = self.runs.runs[report.run_id].attempts
        for one in report.entities:
            told = Told(
                process.name, report.run_id, attempt, one.name, one.status,
                one.counts.as_dict(), one.notes, len(one.findings),
                self._closed_under(report.run_id, IDS[one.name], process.name),
            )  # fmt: skip
            self.history.append(told)
            self.words += one.notes

    def _closed_under(self, run_id: int, entity_id: int, who: str) -> str:
        """Who had the lease when an entity or its run was closed: anybody else, or ``who``."""
        runs = self.runs
        holders = {runs.closed_under[run_id, entity_id], runs.finished_under[run_id]}
        return min(holders - {who}, default=who)

    def _look(self, process: Process, hasher: Hasher) -> Source:
        """A look at the source, as tonight's dump shows it."""
        self._position += 1
        kind, _, number = self._dump.partition(":")
        rows = {name: [row for _, row in sorted(t.items())] for name, t in self.legacy.items()}
        position, truth = self._position, rows
        if kind == "older" and self._older is not None:
            rows, position = self._older, self._position - 2
        elif kind == "short":
            rows = {n: some[: max(0, len(some) - int(number))] for n, some in rows.items()}
        elif kind == "twice":
            rows = {n: [*some, *some[:1]] for n, some in rows.items()}
        elif kind == "keyless":
            rows = {n: [*map(_keyless, some[:1], [n]), *some[1:]] for n, some in rows.items()}
        self._older = truth
        setup = self.schedule.setup
        source = SimSource(
            hasher, self._step, rows, position, self._dump, batch_rows=setup.batch_rows
        )
        self.history.append(Looked(process.name, position, rows, source.failed))
        source.shapes = {name: dict(shape_of(name)) for name in COLUMNS}
        source.block_rows = setup.block_rows
        return source

    # -- staff -------------------------------------------------------------------------------

    async def _work(self, act: Staff) -> None:
        """Lock the row, as a form that is being saved does, change it, and let it go."""
        lease = Lease("staff", "", 0)
        tx = MemoryTx(self.store.state, lease)
        key = key_of(act.number)
        try:
            await self.store.lock(tx, [(act.table, key)])
            if act.hold_s:
                await anyio.sleep(act.hold_s)
            change = self._typed(act, key)
            if change is not None and change.before != change.after:
                table = self.store.state.tables[act.table]
                if change.after is None:
                    del table[key]
                    self.store.state.marked.get(act.table, {}).pop(key, None)
                else:
                    table[key] = change.after
                self.history.append(Staffed(change))
        except LockedError:
            self.note("staff gave up")
        finally:
            self.store.end(tx)

    def _typed(self, act: Staff, key: bytes) -> Change | None:
        """What the act makes of the row as it is now; None where it can do nothing."""
        row = self.store.state.tables[act.table].get(key)
        if act.what == "create" and row is None:
            own = {"a": act.value, "b": b"~A", "id": b"%d" % act.number, "parent": b"1"}
            made = tuple(own[column] for column in COLUMNS[act.table])
            return Change(act.table, key, None, self.target.stored(made))
        if row is None:
            return None
        if act.what == "delete":
            return Change(act.table, key, row, None)
        value = act.value
        if act.what == "revert":
            value = self.left.get((act.table, key), row)[act.at]  # type: ignore[assignment]
        typed = (*row[: act.at], value, *row[act.at + 1 :])
        return Change(act.table, key, row, self.target.stored(typed))

    def _refuse_delete(self, key: bytes) -> None:
        for table in self.store.state.tables.values():
            if CLINGING in table.get(key, ()):
                self.target.stored((b"~poison",))

    # -- steps -------------------------------------------------------------------------------

    async def _step(self, what: str) -> None:
        """One await of a double: something may befall the process, and others may go first."""
        process = PROCESS.get()
        if process is None:
            return
        if process.is_dead:
            raise GoneError
        self._steps += 1
        self.note(what)
        for at in self._befalls.pop(self._steps, ()):
            await self._befall(process, at.act, what)
        await anyio.sleep(self._chance.choice(_LATENCIES_S))
        if process.is_dead:
            raise GoneError

    async def _befall(self, process: Process, act: Fault | Staff | Legacy, what: str) -> None:
        self.note(f"befalls {act}")
        if isinstance(act, Legacy):
            self._save(act)
        elif isinstance(act, Staff):
            # Their own task in their own context: they outlive the process.
            task = self.loop.create_task(self._work(act), context=Context())
            self._workers.append(task)
        elif act.what == "delay":
            await anyio.sleep(act.seconds)
        elif act.what == "pause":
            self.loop.pause(process)
            self.loop.call_later(act.seconds, self.loop.resume, process, context=Context())
            await anyio.lowlevel.checkpoint()
        else:
            self._strike(process, act.what, what)

    def _strike(self, process: Process, fault: str, what: str) -> None:
        wanted = {"lost": "committed", "unsure": "commit"}.get(fault)
        if (wanted and what != wanted) or (what == "committed" and fault == "transient"):
            self._befalls.setdefault(self._steps + 1, []).append(At(0, Fault(fault)))
        elif fault == "kill":
            process.is_dead = True
            self.store.abort(GoneError(), whose=lambda tx: tx.owner is process)
            self._roots[process].cancel()
            raise GoneError
        elif fault == "cancel":
            self._roots[process].cancel()
        else:
            lost = TransientError("the connection was lost", outcome_unknown=bool(wanted))
            if fault == "restart":
                self.store.abort(TransientError("the server stopped", outcome_unknown=True))
                lost.outcome_unknown = what in ("commit", "committed")
            raise lost

    def _stands(self, tx: MemoryTx) -> None:
        process = PROCESS.get()
        assert process is not None
        beside = sum(one.owner is process for one in self.store.open)
        refused = self.target.refused.pop(process.name, [])
        told = committed(tx, process.name, self.store.state.epoch, beside, refused)
        self.history.append(told)
        for change in told.changes:
            if change.after is not None:
                self.left[change.table, change.key] = change.after

    def note(self, what: str) -> None:
        """One line of the trace."""
        self._trace.update(f"{self.loop.time():.6f} {PROCESS.get()} {what}\n".encode())


class _Clock:
    """``time``, as the code under simulation sees it."""

    def __init__(self, world: World) -> None:
        self.monotonic = world.loop.time


class _Ids:
    """``uuid``: numbers in the order in which they were asked for."""

    def __init__(self) -> None:
        self._last = 0
        self.hex = ""

    def uuid4(self) -> "_Ids":
        """The next one."""
        self._last += 1
        self.hex = f"{self._last:032x}"
        return self


class _Log:
    """The log of a run: its words are kept for the checker."""

    def __init__(self, world: World) -> None:
        self._words = world.words

    def info(self, event: str, **told: Any) -> None:
        """A line."""
        self._words.append(f"{event} {sorted(told.items())}")

    warning = info


class _InOrder(dict[Any, None]):
    """A set that is gone through in the order in which it was filled.

    anyio cancels the tasks of a scope in the order of a set, which is that of their addresses.
    """

    def add(self, one: object) -> None:
        """Put it at the end, if it is not there."""
        self.setdefault(one)

    def remove(self, one: object) -> None:
        """Take it out; it must be there."""
        del self[one]

    def discard(self, one: object) -> None:
        """Take it out, if it is there."""
        self.pop(one, None)

    def __iter__(self) -> Iterator[Any]:
        """As it was when this began."""
        return iter(list(self.keys()))


@contextmanager
def steady(world: World) -> Iterator[None]:
    """Give the runner and tenacity the world's clock, ids and chance for a while."""
    planter, before, clock = Planter(), random.getstate(), _Clock(world)
    random.seed(f"jitter {world.schedule.chance}")
    try:
        planter.set("syncd.jobs.runner:time", clock)
        planter.set("syncd.jobs.runner:uuid", _Ids())
        planter.set("syncd.jobs.runner:_log", _Log(world))
        planter.set("tenacity:time", clock)
        vars(anyio_loop)["set"] = _InOrder  # before the builtin one
        yield
    finally:
        vars(anyio_loop).pop("set", None)
        planter.uproot()
        random.setstate(before)


def key_of(number: int) -> bytes:
    """The key of a record."""
    return encode_key([Kind.INTEGER], [b"%d" % number])


def _keyless(row: Row, table: str) -> Row:
    """The row with a key that cannot be read, so that it may be any."""
    at = COLUMNS[table].index("id")
    return (*row[:at], b"?", *row[at + 1 :])
