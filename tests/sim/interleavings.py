"""Every order of a few things at one record: two workers, two changes of the source, one of staff.

What the quick driver leaves to chance is gone through here to the end, with a fault at every moment
at which there can be one. A *plot* says what happens; each way to order it is played from the
beginning (nothing is copied or taken back, so the code that runs is production's, as it is), then
quiet nights come, and the checker judges all of it. Beside the record stands another one that
nothing happens to, since an entity that comes back empty deletes nothing.

Two steps of which neither can notice the other are not tried both ways round: what each touches is
said in ``_STEPS``, rather too much than too little, and an order that differs from one that was
played in such steps alone is left out (sleep sets, after Godefroid).
"""

from collections.abc import Coroutine, Hashable, Sequence
from itertools import product
from random import Random
from typing import Any, Final
from zlib import crc32

import msgspec
from msgspec import Struct

from syncd.errors import TransientError
from syncd.flow.guard import Bounds, Evidence, judge
from syncd.flow.model import Read
from tests.sim.checker import Checker
from tests.sim.history import Looked
from tests.sim.quick import NAME, KilledError, QuickStore, QuickWorld
from tests.sim.schedule import Act, Legacy, Night, Schedule, Staff
from tests.sim.setup import Setup

A, B, SOURCE, STAFF, FAULT = range(5)
WORKERS: Final = (A, B)
_BESIDE: Final = 2  # the record that nothing happens to
_STEPS_MAX: Final = 400  # of one order
# When an answer can be lost, and when the server cannot say that it failed.
_MOMENTS: Final = {"lost": "committed", "unsure": "commit"}
_NO_ERROR_AT: Final = ("look", "committed", "wait")

# What others can see of a step: what it reads, and what it changes. A worker is named by the step
# that it is about to take. Locks are apart from what they are on: a reader of the judge takes none.
_SOURCE, _LOOKS, _ENTRY, _ROW = "source", "looks", "entry", "row"
_ENTRY_LOCK, _ROW_LOCK = "entry lock", "row lock"


class _Seen(Struct, frozen=True):
    reads: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()

    def minds(self, other: "_Seen") -> bool:
        """Whether one of the two could notice the other."""
        mine, theirs = self.changes, other.changes
        return not (mine.isdisjoint(theirs | other.reads) and theirs.isdisjoint(mine | self.reads))


def _seen(*changes: str, reads: Sequence[str] = ()) -> _Seen:
    return _Seen(frozenset(reads), frozenset(changes))


_ANYTHING: Final = _seen(_SOURCE, _LOOKS, _ENTRY, _ROW, _ENTRY_LOCK, _ROW_LOCK)
_UNSEEN: Final = _seen()
_STEPS: Final = {
    "look": _seen(_LOOKS, reads=(_SOURCE, _ENTRY)),
    "begin": _UNSEEN,
    "ledger.lock": _seen(_ENTRY_LOCK, reads=(_ENTRY,)),
    "target.lock": _seen(_ROW_LOCK, reads=(_ROW,)),
    "ledger.touch": _UNSEEN,
    "target.write": _seen(_ROW_LOCK, reads=(_ROW,)),
    "ledger.record": _seen(_ENTRY_LOCK, reads=(_ENTRY,)),
    "ledger.unit": _UNSEEN,
    "ledger.find_unit": _UNSEEN,  # its own
    "commit": _seen(_ENTRY, _ROW, _ENTRY_LOCK, _ROW_LOCK),
    "committed": _seen(reads=(_ENTRY, _ROW)),  # the judge reads what stands when it is told
}
_BESIDE_WORKERS: Final = {
    SOURCE: _seen(_SOURCE),
    STAFF: _seen(_ROW, reads=(_ROW_LOCK, _LOOKS)),
    FAULT: _seen(_ENTRY_LOCK, _ROW_LOCK),
}
_LOCKED_BY: Final = {
    "ledger.lock": _ENTRY,
    "ledger.record": _ENTRY,
    "target.lock": _ROW,
    "target.write": _ROW,
}
_WRITES: Final = ("ledger.record", "target.write")


class Plot(Struct, frozen=True):
    """What happens, in no order yet but that of the two changes of the source.

    ``source`` are rows of the record, None where it is deleted. ``fault``: '' | kill (of one
    worker) | end (of both, as one process) | lost (the answer of a commit that stood) | unsure (of
    one that did not) | transient.
    """

    setup: Setup
    source: tuple[tuple[bytes | None, bytes | None] | None, ...]
    staff: Staff
    fault: str


class Broken(Struct, frozen=True):
    """An order that breaks something, and how it is played again."""

    told: str
    plot: Plot
    order: list[int]

    @property
    def line(self) -> str:
        """What ``--again`` plays."""
        return f"order {msgspec.json.encode(self).decode()}"


class Explored(Struct):
    """What became of plots: how many, how many orders of them, and those that broke."""

    plots: int = 0
    orders: int = 0
    steps: int = 0
    broken: list[Broken] = msgspec.field(default_factory=list)


class _Store(QuickStore):
    """Says which worker waits for a lock, so that it is not tried until something was let go."""

    def __init__(self, world: "PlotWorld") -> None:
        super().__init__(world._step, world._stands)
        self.has_others = True
        self._world = world

    def owner(self) -> object:
        """The worker whose turn it is."""
        return self._world.turn

    async def wait(self, most_s: float) -> float:
        """Until some transaction ends; no time passes."""
        del most_s
        self._world.wait()
        await self.point("wait")
        return 0.0

    def end(self, tx: Any) -> None:
        """And whoever waits may look again."""
        super().end(tx)
        self._world.waiting.clear()


class PlotWorld(QuickWorld):
    """One order of one plot."""

    def __init__(self, plot: Plot) -> None:
        rows = [Legacy(NAME, number, _row((b"~A", b"~A"), number)) for number in (1, _BESIDE)]
        super().__init__(Schedule("1", plot.setup, (*rows, Night())))
        self.plot = plot
        self.waiting: set[int] = set()
        self._pending: dict[int, str] = {}
        self.turn: int | None = None
        self._left: dict[int, Coroutine[Any, Any, None]] = {}
        self._changes = list(plot.source)
        self._is_staff_due = True
        self._fault = plot.fault
        key = self.traits.keys[1]
        self._locks: dict[str, Hashable] = {_ENTRY: (1, key), _ROW: (NAME, key)}

    def begin(self) -> None:
        """The first night; the workers are there, and have not looked yet."""
        for act in self.schedule.acts:
            self._do(act)
        store = _Store(self)
        store.state, store.locks = self.store.state, self.store.locks
        self.store = self.target._store = self.ledger._store = store
        for at in WORKERS:
            self._pending[at] = "look"
            self._left[at] = self._worker(at)

    def enabled(self) -> list[int]:
        """Who may go on."""
        able = [at for at in self._left if at not in self.waiting and not self._is_kept_out(at)]
        if self._changes:
            able.append(SOURCE)
        if self._is_staff_due and not self._is_locked():
            able.append(STAFF)
        if self._fault and self._may_fail():
            able.append(FAULT)
        return able

    def seen(self, at: int) -> _Seen:
        """What others can see of the next step of one of them."""
        if at in WORKERS:
            pending = self._pending[at]
            lock = self._locks.get(_LOCKED_BY.get(pending, ""))
            # Under its own lock a transaction writes where nobody sees it.
            if pending in _WRITES and self._holder(lock) == at:
                return _UNSEEN
            return _STEPS.get(pending, _ANYTHING)
        return _BESIDE_WORKERS[at]

    def may_swap(self, one: int, other: int) -> bool:
        """Whether neither of their next steps can notice the other."""
        if FAULT in (one, other) and min(one, other) in WORKERS:
            return False
        return not self.seen(one).minds(self.seen(other))

    def step(self, at: int) -> None:
        """One of them goes on."""
        if at in WORKERS:
            self._go_on(at)
        elif at == SOURCE:
            self._happen(Legacy(NAME, 1, _row(self._changes.pop(0), 1)))
        elif at == STAFF:
            self._is_staff_due = False
            self._happen(self.plot.staff)
        else:
            fault, self._fault = self._fault, ""
            self._fail(fault)

    def end(self) -> None:
        """Quiet nights."""
        plain = QuickStore(self._step, self._stands)
        plain.state, plain.locks = self.store.state, self.store.locks
        self.store = self.target._store = self.ledger._store = plain
        self.turn, self._run, self._nights = None, 3, 3
        self.quiet_from = len(self.history)
        for _ in range(1 + self.schedule.setup.confirm_runs):
            self._night(Night())

    def wait(self) -> None:
        """The worker whose turn it is waits for a lock."""
        assert self.turn is not None
        self.waiting.add(self.turn)

    def drop(self) -> None:
        """Close what is left, where an order is not played to its end."""
        for task in self._left.values():
            task.close()

    # -- workers -----------------------------------------------------------------------------

    async def _worker(self, at: int) -> None:
        """What a pass does, for the records that differ."""
        self._position += 1
        position, rows, who = self._position, list(self.legacy.values()), f"{2 + at}"
        self.history.append(Looked(who, position, {NAME: rows}, []))
        reads = {k: Read(k, row, crc32(repr(row).encode()) or 1) for k, row in self._keyed(rows)}
        suspects, absent, remembered = self._survey(reads)
        self._run, held = 2 + at, 0
        applier = self._applier(position)
        if suspects:
            await applier.apply([reads[key] for key in suspects])
        elif absent:
            setup = self.schedule.setup
            bounds = Bounds(setup.hold_rows, setup.hold_percent, setup.confirm_runs)
            judged = judge(absent, Evidence(len(rows), remembered), bounds)
            assert not judged.held
            await applier.remove(judged.allowed)
            held = len(judged.kept)
        if suspects or absent:
            self._run = 2 + at
            equal = len(reads) - len(suspects)
            self._tell(who, applier, len(rows), equal, suspects, absent, held)

    def _go_on(self, at: int) -> None:
        self.turn, self._nights = at, 2 + at
        try:
            self._left[at].send(None)
        except StopIteration:
            del self._left[at]
        except (KilledError, TransientError):
            del self._left[at]

    def _may_fail(self) -> bool:
        if A not in self._left:
            return False
        at, wanted = self._pending[A], _MOMENTS.get(self._fault)
        return at == wanted if wanted else self._fault != "transient" or at not in _NO_ERROR_AT

    def _fail(self, fault: str) -> None:
        if fault in ("kill", "end"):
            for at in WORKERS if fault == "end" else (A,):
                task = self._left.pop(at, None)
                if task is not None:
                    task.close()
                self.waiting.discard(at)
            return
        self.turn, self._nights = A, 2 + A
        try:
            error = TransientError("lost", outcome_unknown=fault in _MOMENTS)
            self._left[A].throw(error)
        except (StopIteration, TransientError):
            del self._left[A]

    # -- what is told of it --------------------------------------------------------------------

    def _do(self, act: Act) -> None:
        if isinstance(act, Night):
            self._night(act)
        else:
            self._happen(act)

    def _step(self, what: str) -> None:
        super()._step(what)
        if self.turn is not None:
            self._pending[self.turn] = what

    def _is_locked(self) -> bool:
        return self._locks[_ROW] in self.store.locks

    def _is_kept_out(self, at: int) -> bool:
        """Whether it would only come to wait for another's lock."""
        if self._pending[at] not in ("ledger.lock", "target.lock"):
            return False
        return self._holder(self._locks[_LOCKED_BY[self._pending[at]]]) not in (None, at)

    def _holder(self, lock: Hashable) -> object:
        tx = self.store.locks.get(lock)
        return None if tx is None else tx.owner


# -- all orders ------------------------------------------------------------------------------------


class _Fork(Struct):
    """A moment of the order that is played: who could go on, who is left out, who did."""

    enabled: list[int]
    asleep: set[int]
    chosen: int


def explore(plots: Sequence[Plot], *, broken_max: int = 3) -> Explored:
    """Play every order of every plot; stops at the third that breaks something."""
    explored = Explored()
    for plot in plots:
        explored.plots += 1
        forks: list[_Fork] = []
        while True:
            world = _played(plot, forks)
            explored.steps += len(forks)
            if world is not None:
                explored.orders += 1
                told = _judged(world)
                if told:
                    order = [fork.chosen for fork in forks]
                    explored.broken.append(Broken(told, plot, order))
                    if len(explored.broken) >= broken_max:
                        return explored
            if not _turned(forks):
                break
    return explored


def again(plot: Plot, order: Sequence[int]) -> str:
    """What an order breaks, or ''.

    Code that was mended may take other steps: who is through is left out, who is not goes on.
    """
    world = PlotWorld(plot)
    world.begin()
    for at in order:
        if at in world.enabled():
            world.step(at)
    while able := [at for at in world.enabled() if at in WORKERS]:
        world.step(able[0])
    return _judged(world)


def _played(plot: Plot, forks: list[_Fork]) -> PlotWorld | None:
    """The order that ``forks`` begins, played to its end, each choice noted there.

    None where all that is left was played in an order that comes to the same.
    """
    world = PlotWorld(plot)
    world.begin()
    asleep = set[int]()
    for at in range(_STEPS_MAX):
        if at == len(forks):
            enabled = world.enabled()
            if not enabled:
                return world
            chosen = next((one for one in enabled if one not in asleep), None)
            if chosen is None:
                world.drop()
                return None
            forks.append(_Fork(enabled, asleep, chosen))
        fork = forks[at]
        asleep = {one for one in fork.asleep if world.may_swap(one, fork.chosen)}
        world.step(fork.chosen)
    world.drop()
    raise AssertionError(f"{plot}: an order does not end")


def _turned(forks: list[_Fork]) -> bool:
    """Whether there is another order; ``forks`` then begins it."""
    while forks:
        fork = forks[-1]
        fork.asleep.add(fork.chosen)
        left = [one for one in fork.enabled if one not in fork.asleep]
        if left:
            fork.chosen = left[0]
            return True
        forks.pop()
    return False


def _judged(world: PlotWorld) -> str:
    """What the world breaks, in the quiet nights too; or ''."""
    try:
        world.end()
        checker = Checker(world.schedule.setup, world.traits.rules)
        for event in world.history:
            checker.see(event)
        checker.at_end(world.store.state, world.history, world.quiet_from)
    except AssertionError as error:
        return str(error) or "an assertion failed"
    except Exception as error:  # noqa: BLE001 - whatever it is, the order has found it
        return f"{type(error).__name__}: {error}"
    return ""


# -- plots -----------------------------------------------------------------------------------------

_SETUPS: Final[tuple[dict[str, object], ...]] = (
    {},
    {"is_grouped": True},
    {"deletes": "soft"},
    {"owned": {"a": "source"}},
    {"owned": {"a": "initial"}},
    {"on_conflict": "quarantine"},
)
# Two changes of the source: on and on, back again, gone, and gone and back.
_CHANGES: Final = (
    ((b"~B", b"~A"), (b"~B", b"~C")),
    ((b"~B", b"~A"), (b"~A", b"~A")),
    ((b"~B", b"~A"), None),
    (None, (b"~A", b"~A")),
    (None, (b"~B", b"~A")),
)
_STAFF: Final = (
    Staff("type", NAME, 1, 0, b"~X"),
    Staff("type", NAME, 1, 0, b"~B"),
    Staff("type", NAME, 1, 1, b"~X"),
    Staff("delete", NAME, 1),
)
FAULTS: Final = ("kill", "end", "lost", "unsure", "transient")


def plots() -> list[Plot]:
    """All of them: first a worker that is killed in the plainest setup, then the others mixed."""
    parts = product(_SETUPS, FAULTS, _CHANGES, _STAFF)
    every = [Plot(_setup(traits), source, staff, fault) for traits, fault, source, staff in parts]
    plain = len(_CHANGES) * len(_STAFF)
    rest = every[plain:]
    Random(1).shuffle(rest)  # noqa: S311 - the same each time
    return every[:plain] + rest


def _setup(traits: dict[str, object]) -> Setup:
    plain: dict[str, object] = {"hold_rows": 9, "needs": "none", "batch_rows": 1}
    return msgspec.convert(plain | traits, Setup)


def _row(
    values: tuple[bytes | None, bytes | None] | None, number: int
) -> tuple[bytes | None, ...] | None:
    return None if values is None else (*values, b"%d" % number)
