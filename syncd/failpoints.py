"""Named points in the paths that write, where a test may make the worst happen.

A point does nothing, and costs one look at an empty dict, unless it is armed: by a test in this
process (``armed``), or by ``SYNCD_FAILPOINTS="name=action[:nth]"`` for a process of its own. Each
fires once, when it is passed for the n-th time. ``POINTS`` is the one list of all names; a test
proves that each stands in the code once, in the module that is named here, and that the sweep of
``tests/failpoints`` reaches it. No point stands in a loop over rows.

What an error there can be is part of a point: behind a COMMIT nobody can be told that a row was
refused, so ``raise`` means there what a lost answer means.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import anyio
from msgspec import Struct

from syncd.errors import ConfigError, PermanentError, RowError, SyncdError, TransientError

VARIABLE: Final = "SYNCD_FAILPOINTS"
HANG_S_MAX: Final = 60.0  # longer than any test waits for something that hangs
SLOW_S: Final = 0.4  # longer than the leases of the tests live
_HEARD_S_MAX: Final = 1.0  # until a cancellation has come; where it is shielded off, work goes on
_NTH_MAX: Final = 1_000_000


class Action(StrEnum):
    """What happens at an armed point. ``raise`` is the point's own kind of error."""

    RAISE = "raise"
    TRANSIENT = "raise-transient"
    UNKNOWN = "raise-unknown"
    ROW = "raise-row"
    PERMANENT = "raise-permanent"
    KILL = "kill"
    HANG = "hang"
    CANCEL = "cancel"
    SLOW = "slow"


class Point(Struct, frozen=True):
    """A place in ``module``. ``error`` is what may truly be raised there."""

    name: str
    module: str
    about: str
    error: Action = Action.TRANSIENT


_UNKNOWN: Final = Action.UNKNOWN
_ROW: Final = Action.ROW
_PERMANENT: Final = Action.PERMANENT


def _points(module: str, *points: tuple[str, str] | tuple[str, str, Action]) -> tuple[Point, ...]:
    return tuple(Point(name, module, *rest) for name, *rest in points)  # type: ignore[arg-type]


_ALL: Final = (
    *_points(
        "syncd.jobs.runner",
        ("run.begin", "before the lease is asked for"),
        ("run.prepared", "the plans are made, no run is begun"),
        ("run.started", "the run is noted, nothing is read"),
        ("run.snapshot", "the source is open, no entity is begun", _PERMANENT),
        ("resolve.ran", "the run has written the source's values, nobody has noted why"),
        ("run.passed", "all entities have ended and are closed, the run is not"),
        ("run.finished", "the run is closed, nothing is pruned"),
        ("run.pruned", "after the retention"),
        ("book.units", "before the units of earlier attempts are read"),
        ("book.decisions", "before the decisions about deletes are read"),
        ("book.hold", "before deletes are held"),
        ("book.close", "before an entity is closed"),
        ("book.closed", "after an entity was closed"),
    ),
    *_points(
        "syncd.tenure",
        ("lease.wait", "somebody holds the lease; before the next look at it"),
        ("lease.taken", "the lease is ours, and nobody has sworn to give it back yet"),
        ("lease.heartbeat", "before the lease is renewed"),
        ("lease.kept", "after the lease was renewed"),
        ("lease.release", "before the lease is let go"),
        ("lease.released", "after the lease was let go"),
    ),
    *_points(
        "syncd.ledger.runs",
        ("lease.takeover", "the lease is free or has run out, and is about to be taken"),
        ("run.abandon", "before an unfinished run that asked for something else is closed"),
        ("run.resume", "before an unfinished run is taken up"),
        ("run.begun", "a run is begun or taken up, its caller does not know"),
        ("close.counts", "in the transaction that closes an entity: its counts are noted"),
        ("close.position", "in it: its position is noted, or its failure"),
        ("retention.due", "before it is known whether anything is to be pruned today"),
        ("retention.step", "between two statements of the retention"),
    ),
    *_points(
        "syncd.flow.pipeline",
        ("pass.begin", "before the first entity", _PERMANENT),
        ("entity.bring", "before an entity is brought up to date", _PERMANENT),
        ("entity.remove", "before the guard judges the absent records"),
        ("entity.removed", "the allowed deletes are done, the others are not held yet"),
        ("entity.look_again", "before what waited is looked at once more"),
        ("entity.add_up", "before the sums of an entity", _PERMANENT),
    ),
    *_points(
        "syncd.flow.entity_pass",
        ("load.read", "a batch of a first read, before a writer has it"),
        ("survey.step", "a stretch was compared, nothing of it is fetched"),
        ("survey.done", "the survey is over, the last suspects are not fetched", _PERMANENT),
        ("fetch.begin", "before the rows of suspects are asked for"),
        ("fetch.done", "the rows are here, no writer has them"),
        ("look.fetched", "the rows of a second look are here"),
        ("writer.take", "a writer has a batch, no transaction is open"),
        ("writer.done", "a writer is done with a batch"),
    ),
    *_points(
        "syncd.flow.survey",
        ("survey.fed", "one side is read to its end, the other may not know", _PERMANENT),
    ),
    *_points(
        "syncd.flow.apply",
        ("retry.attempt", "before a transaction is tried, or tried again"),
        ("apply.begin", "a batch's transaction is open, nothing is locked"),
        ("apply.decided", "what is to become of a batch is known, nothing is written"),
        ("apply.touched", "rows that are unchanged are marked so, the others not written"),
        ("apply.written", "the target is written, the ledger knows nothing", _ROW),
        ("apply.recorded", "entries and history are written, the work unit is not"),
        ("apply.noted", "the work unit is written, nothing is committed"),
        ("remove.begin", "the transaction that deletes is open, nothing is locked"),
        ("load.begin", "the transaction of a first load is open"),
        ("load.copied", "rows are loaded, their entries are not", _ROW),
        ("load.recorded", "rows and entries are loaded, the work unit is not written"),
        ("load.noted", "the work unit of a load is written, nothing is committed"),
        ("retry.look_up", "an answer was lost; before the look whether the unit stands"),
        ("retry.found", "an answer was lost, and the unit does stand"),
        ("apply.stands", "a unit is known to stand, and not counted"),
        ("apply.counted", "a unit stands and is counted"),
        ("halving.split", "a row was refused, before the halves are tried"),
        ("park.refused", "before a record that the target refused is parked"),
        ("park.delete_refused", "before a record whose deletion was refused is parked"),
        ("park.locked", "the entry that is to be parked is locked"),
    ),
    *_points(
        "syncd.flow.decide",
        ("decide.entries_locked", "the entries of a batch are locked, the rows are not"),
        ("decide.rows_locked", "both sides of a batch are locked, nothing is merged"),
        ("decide.absent_locked", "both sides of what is absent are locked"),
    ),
    *_points(
        "syncd.ledger.postgres",
        ("ledger.fenced", "the epoch was right, and stays so until the transaction ends"),
        ("ledger.scan", "before the ledger's side of a survey is read"),
        ("ledger.load", "before the entries of a first load are copied"),
        ("ledger.stage", "the stage of entries is there, and empty"),
        ("ledger.copied", "the entries are staged"),
        ("ledger.upserted", "the entries are in place, the history is not"),
        ("ledger.told", "the history is written, conflicts and events are not"),
        ("ledger.conflicts_closed", "conflicts that healed are closed"),
        ("ledger.conflicts_opened", "conflicts are noted"),
        ("ledger.outbox", "before the events are written"),
        ("ledger.touch", "before unchanged entries are refreshed"),
        ("ledger.unit", "before the work unit is written"),
        ("ledger.find_unit", "in the look for a unit whose commit had no answer"),
    ),
    *_points(
        "syncd.targets.postgres",
        ("target.stage", "the stage of changes is there, and empty", _ROW),
        ("target.copied", "the changes are staged", _ROW),
        ("target.deleted", "rows are deleted, others not yet updated", _ROW),
        ("target.updated", "rows are updated, others not yet inserted", _ROW),
        ("target.inserted", "rows are inserted, nothing is read back", _ROW),
        ("target.read_back", "what was written has been read back", _ROW),
        ("target.written", "the stage is gone, the caller knows nothing", _ROW),
        ("target.load", "before rows are copied straight into the table", _ROW),
    ),
    *_points(
        "syncd.targets.aggregates",
        ("aggregate.roots_locked", "the roots are locked, their parts are not", _ROW),
        ("aggregate.parts_locked", "roots and parts are locked, nothing is read", _ROW),
        ("aggregate.matched", "a row that was found is linked, nothing is decided", _ROW),
        ("aggregate.stage", "the stage of documents is there, and empty", _ROW),
        ("aggregate.copied", "the documents are staged", _ROW),
        ("aggregate.parts_deleted", "parts are deleted, their roots are not", _ROW),
        ("aggregate.deleted", "roots are deleted, others not yet updated", _ROW),
        ("aggregate.updated", "roots are updated, others not yet inserted", _ROW),
        ("aggregate.inserted", "roots are inserted without their parts", _ROW),
        ("aggregate.ones_written", "parts with one row are written, others are not", _ROW),
        ("aggregate.lists_written", "all parts are written, nothing is linked", _ROW),
        ("aggregate.linked", "all is linked, nothing is read back", _ROW),
        ("aggregate.read_back", "what was written of all tables has been read back", _ROW),
        ("aggregate.written", "the stage of documents is gone, the caller knows nothing", _ROW),
    ),
    *_points(
        "syncd.pg.transaction",
        ("tx.begun", "a transaction has begun, and nothing else"),
        ("tx.commit", "before COMMIT"),
        ("tx.committed", "after COMMIT, before anybody knows", _UNKNOWN),
        ("tx.roll_back", "before ROLLBACK"),
    ),
    *_points(
        "syncd.ledger.reviews",
        ("review.hold", "in the transaction that holds deletes: before its first statement"),
        ("review.held", "in it: the new ones are held, the others not let go"),
        ("review.approve", "before a decision about deletes is noted"),
        ("review.resolve", "in the transaction that resolves a conflict: it is closed"),
        ("review.disowned", "in it: the column is the target's"),
        ("review.release", "in the transaction that decides for the source: before its first"),
        ("review.resync", "in the transaction that marks records: they are marked"),
        ("review.resolved", "in the transaction that notes resolutions for the source"),
    ),
    *_points(
        "syncd.jobs.review",
        ("approve.decided", "the deletes are approved, the run is not begun"),
        ("resolve.marked", "the conflicts are decided, the run is not begun"),
    ),
    *_points(
        "syncd.jobs.setup",
        ("init.migrated", "the ledger is made, nothing is pinned"),
        ("init.pinned", "an entity is pinned, its table may not be there"),
        ("init.created", "an entity's table is there"),
    ),
    *_points(
        "syncd.ledger.migrations",
        ("migrate.schema", "the schema is there, and no table"),
        ("migrate.locked", "the migrations are locked, none is applied"),
        ("migrate.applied", "a migration is applied and not noted"),
        ("migrate.noted", "a migration is noted and not committed"),
    ),
)
POINTS: Final[Mapping[str, Point]] = {point.name: point for point in _ALL}


class Armed(Struct):
    """A point that waits for its ``nth`` passing."""

    point: Point
    action: Action
    nth: int
    passed: int = 0

    def __str__(self) -> str:
        return f"{self.point.name}={self.action.value}:{self.nth}"


class _Trap(Struct):
    """What is armed in this process, and whom to tell."""

    armed: dict[str, Armed]
    told: Callable[[Armed], None]
    cancel: Callable[[], None]


# The one global of syncd: a point must be reached without anybody handing it down.
_traps: list[_Trap] = []


async def failpoint(name: str) -> None:
    """Nothing, unless ``name`` is armed; then what it is armed with.

    Where nothing is armed it never waits, so it is no place for a cancellation to arrive.
    """
    if _traps:
        await _passed(_traps[-1], name)


async def _passed(trap: _Trap, name: str) -> None:
    armed = trap.armed.get(name)
    if armed is None:
        return
    armed.passed += 1
    if armed.passed != armed.nth:
        return
    trap.told(armed)
    await _strike(armed, trap)


async def _strike(armed: Armed, trap: _Trap) -> None:
    match armed.action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.HANG:
            await anyio.sleep(HANG_S_MAX)
            raise TransientError(f"failpoint {armed.point.name}: nobody ended it")
        case Action.SLOW:
            await anyio.sleep(SLOW_S)
        case Action.CANCEL:
            trap.cancel()
            await anyio.sleep(_HEARD_S_MAX)
        case _:
            raise _error(armed)


def _error(armed: Armed) -> SyncdError:
    action = armed.point.error if armed.action is Action.RAISE else armed.action
    words = f"failpoint {armed.point.name}: {action.value}"
    if action is Action.ROW:
        return RowError(words, sqlstate="SYN02", constraint="failpoint")
    if action is Action.PERMANENT:
        return PermanentError(words)
    return TransientError(words, outcome_unknown=action is Action.UNKNOWN)


def parse(text: str) -> list[Armed]:
    """What ``name=action[:nth]``, separated by commas, arms.

    Raises ConfigError for a name, an action or a number that there is not.
    """
    return [_parsed(part.strip()) for part in text.split(",") if part.strip()]


def _parsed(part: str) -> Armed:
    name, _, rest = part.partition("=")
    action, _, nth = rest.partition(":")
    if name not in POINTS:
        raise ConfigError(f"{VARIABLE}: there is no point {name!r}", hint=_LISTED)
    if action not in set(Action):
        raise ConfigError(
            f"{VARIABLE}: {name}: there is no action {action!r}; expected one of "
            f"{', '.join(Action)}"
        )
    if nth and not (nth.isascii() and nth.isdigit() and 0 < int(nth) <= _NTH_MAX):
        raise ConfigError(f"{VARIABLE}: {name}: expected a number from 1, found {nth!r}")
    return Armed(POINTS[name], Action(action), int(nth or 1))


_LISTED: Final = "the names stand in syncd/failpoints.py"


def _terminate() -> None:
    """The way in which a run is cancelled in production."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def armed(
    text: str,
    *,
    told: Callable[[Armed], None] = lambda _: None,
    cancel: Callable[[], None] = _terminate,
) -> Iterator[list[Armed]]:
    """Arm points for this block, for every task of the process.

    ``told`` is called when one fires, just before; ``cancel`` is what ``cancel`` does. An inner
    block hides an outer one. Raises ConfigError like ``parse``.
    """
    found = parse(text)
    trap = _Trap({one.point.name: one for one in found}, told, cancel)
    if found:
        _traps.append(trap)
    try:
        yield found
    finally:
        if found:
            _traps.pop()
