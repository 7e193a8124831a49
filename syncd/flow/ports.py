"""The seams. A shore implements one; the flow knows nothing else of the world.

Streams are *pushed*: a reader calls ``emit`` and waits until the consumer has taken the block, so
a slow target slows the source down and nothing is buffered. No task group or cancel scope ever
spans a yield that way.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from syncd.flow.model import (
    ColumnConflict,
    Counts,
    Decision,
    Entry,
    Issue,
    Outcome,
    Plan,
    Read,
    ReadColumns,
    Row,
    Shape,
)

DIGEST_BYTES = 8


class Block(Struct, frozen=True):
    """A run of (key, digest) records in strictly ascending byte order of the key.

    ``data`` holds records as PostgreSQL's binary COPY writes a row of (bytea, bigint):
    ``00 02 | length of key (4) | key | 00 00 00 08 | digest (8)``, all big-endian. Both sides of
    a survey speak it, so equal stretches are compared as plain memory. ``width`` is the size of
    one record when all have the same size, else 0. A block never ends inside a record.
    """

    data: bytes
    width: int


Emit: TypeAlias = Callable[[Block], Awaitable[None]]
EmitReads: TypeAlias = Callable[[Sequence[Read]], Awaitable[None]]
Tell: TypeAlias = Callable[[Issue], None]


class Span(Struct, frozen=True):
    """Keys from ``first`` on and before ``end``; b"" leaves a side open."""

    first: bytes = b""
    end: bytes = b""


WHOLE = Span()


class Snapshot(Protocol):
    """One consistent look at the source; valid inside ``Source.open``.

    ``position`` is a lower bound of what every read shows (LSN, dump sequence). ``lanes`` is how
    many entities may be scanned or read side by side, each with its fetches.
    """

    position: int
    lanes: int

    async def identity(self, plan: Plan) -> str:
        """Digest of the whole content where that is cheap (files), else ''.

        Two equal non-empty identities mean equal content.
        """

    async def digest_spec(self, plan: Plan) -> str:
        """Text that changes when stored digests lose their meaning (the digest epoch)."""

    async def spans(self, plan: Plan, extent: tuple[bytes, bytes], rows: int) -> Sequence[Span]:
        """What is best scanned side by side: ascending, and together all keys there can be.

        ``extent`` are the first and the last key that is remembered, ``rows`` about how many.
        """

    async def scan(self, plan: Plan, emit: Emit, tell: Tell, within: Span = WHOLE) -> int:
        """Push every (key, digest) in key order; return the number of source rows read.

        Rows without a usable key, and rows whose key occurs twice, are told as issues, count as
        read, and a key that occurs twice is pushed once with digest 0.
        Raises SourceError when the read is not complete; then absence proves nothing.
        """

    async def read(self, plan: Plan, emit: EmitReads, tell: Tell) -> int:
        """Push every row in key order, normalised, with its digest; count as scan.

        The pieces are of any size. Small ones are worked upon while the processor still has them.
        """

    async def fetch(self, plan: Plan, keys: Sequence[bytes]) -> list[Read]:
        """Rows of the given keys, in key order.

        A key that is not there any more is left out; a key that occurs twice comes back with an
        issue of severity ERROR.
        """


class Source(Protocol):
    """Only ever read."""

    async def describe(self, entity: str) -> Shape:
        """Columns found at the source now, by name."""

    def open(self, plans: Sequence[Plan]) -> AbstractAsyncContextManager[Snapshot]:
        """A consistent snapshot for all of ``plans``."""

    async def close(self) -> None:
        """Release everything; may be called twice."""


@runtime_checkable
class Noting(Protocol):
    """A source that has more to say of an entity than its rows."""

    def notes(self, entity: str) -> tuple[str, ...]:
        """Sentences for the entity's report, without values; complete once it is open."""


class Tx(Protocol):
    """An open transaction of target and ledger; opaque to the flow."""


class Cargo(Protocol):
    """Rows or entries, packed for ``load`` by the same adapter; opaque to the flow."""


class Locked(Struct, frozen=True):
    """What a target holds of the records that were asked for, under lock.

    ``gone`` are records that had a row, as the target itself remembers, and staff deleted it.
    ``unclear`` are those of which it cannot be told which row is theirs, with the reason.
    ``twins`` are those whose row was nobody's until now, and is theirs by a rule of the
    configuration.
    """

    rows: Mapping[bytes, Row]
    gone: frozenset[bytes] = frozenset()
    unclear: Mapping[bytes, str] = {}
    twins: frozenset[bytes] = frozenset()


class Target(Protocol):
    """Written idempotently, inside a transaction that the ledger opened."""

    async def describe(self, entity: str) -> Shape:
        """Columns of the target's table now; empty when there is no table."""

    async def create(self, plan: Plan, order: Sequence[str]) -> bool:
        """Create the table of a mirror entity if it is absent; True when it was created.

        ``order`` names the source's columns in the order that the table is to have.
        """

    async def widen(self, plan: Plan) -> tuple[str, ...]:
        """Add drafted columns that the table lacks; names of those added."""

    async def is_empty(self, plan: Plan) -> bool:
        """Whether the table holds no row at all."""

    async def lock(
        self,
        tx: Tx,
        plan: Plan,
        keys: Sequence[bytes],
        drafts: Mapping[bytes, Row] | None = None,
    ) -> Locked:
        """Lock the rows of ``keys`` in key order and return them in canonical text.

        Keys without a row are left out. ``drafts`` are what is to be written: by it a target that
        keeps its own list of which row is whose may find the row of a record that is not in it.
        """

    async def write(
        self, tx: Tx, plan: Plan, changes: Sequence[tuple[bytes, Row, Decision]]
    ) -> Mapping[bytes, Row]:
        """Carry out inserts, updates and deletes; return every written row as now stored.

        Deleted keys are left out of the answer. Raises RowError when the target refuses; then
        the transaction is void. An update or delete that finds no row raises InvariantError:
        ``lock`` held it.
        """

    def pack(self, plan: Plan, reads: ReadColumns) -> "Cargo | None":
        """Make rows that have never been written ready for ``load``; columns as ``drafted``.

        Only where the stored value provably equals what is sent (no trigger, no narrower type);
        None where that cannot be proved.
        """

    async def load(self, tx: Tx, plan: Plan, cargo: Sequence["Cargo"]) -> bool:
        """Insert packed rows, the fastest way.

        Returns False, having written nothing, where the proof does not hold any more.
        Raises RowError like ``write``.
        """

    async def scan(self, plan: Plan, emit: EmitReads) -> int:
        """Push all rows in key order (drafted columns), for ``verify``; returns their number."""

    async def close(self) -> None:
        """Release everything; may be called twice."""


class Lease(Struct, frozen=True):
    """The right to write: ``epoch`` goes into every transaction."""

    pipeline: str
    holder: str
    epoch: int


class Unit(Struct, frozen=True):
    """A committed work unit: what one transaction did, for resuming and for the sums.

    ``present`` counts outcomes of records that the source has, ``absent`` of those it lacks.
    ``*_redone`` are the outcomes, given earlier in the same run, that this unit replaced.
    """

    unit_id: str
    present: Counts
    absent: Counts
    present_redone: Counts
    absent_redone: Counts


class Import(Struct, frozen=True, gc=False):
    """One line of a record's history. ``event`` is the domain event to put in the outbox or ''."""

    key: bytes
    outcome: Outcome
    reason: str
    columns: tuple[str, ...]
    conflicts: tuple[ColumnConflict, ...]
    closed: tuple[str, ...]
    event: str = ""


class Fresh(Struct, frozen=True):
    """What differs between the entries of newly inserted rows, in columns of one length.

    ``hashes`` are the column hashes of each row, joined: both of its bases.
    """

    keys: Sequence[bytes]
    digests: Sequence[int]
    fingerprints: Sequence[bytes]
    hashes: Sequence[bytes]


class Ledger(Protocol):
    """The memory. Lives where the target is, so that both commit together."""

    async def is_settled(self, plan: Plan) -> bool:
        """Whether no entry asks for a look in the next sweep, but for those that stand aside."""

    async def standing(self, plan: Plan, run_id: int, absent: Sequence[bytes]) -> Counts:
        """Records that stand aside (``model.STANDING``) since before this run, by outcome.

        Without those among ``absent``.
        """

    async def released(self, plan: Plan, parents: Sequence[int], since: int) -> list[bytes]:
        """Keys, ascending, that stand aside as waiting, if a parent came.

        That is, if a run after ``since`` has noted that records of one of the entities ``parents``
        may have become live, or if no such run is known (0).
        """

    async def ask_again(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> None:
        """Forget the digests of these: they are looked at by whichever run meets them next."""

    def look(self) -> AbstractAsyncContextManager[Tx]:
        """A read-only transaction in which nothing is locked."""

    def begin(self, lease: Lease, *, patient: bool = True) -> AbstractAsyncContextManager[Tx]:
        """A transaction that starts by checking the lease's epoch.

        One that is not ``patient`` gives way (LockedError) rather than wait long for a lock.

        Raises FencedError when it is not ours any more, TransientError with
        ``outcome_unknown`` when the connection died while committing.
        """

    async def extent(self, plan: Plan) -> tuple[bytes, bytes] | None:
        """The first and the last key of all entries; None when nothing is remembered."""

    async def scan(self, plan: Plan, digest_epoch: int, emit: Emit, within: Span = WHOLE) -> int:
        """Push (key, digest) of every entry present at the source, in key order.

        The digest is -1 where it is unknown, of another epoch, or the entry is open:
        no source ever pushes that, so such a record is always looked at.
        """

    async def lock(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> Mapping[bytes, Entry]:
        """Lock entries in key order; keys without an entry are left out."""

    def pack(self, plan: Plan, common: Entry, fresh: Fresh) -> "Cargo":
        """Make entries ready for ``load`` that share all but what ``Fresh`` holds."""

    async def load(self, tx: Tx, cargo: Sequence["Cargo"]) -> None:
        """Store packed entries, none of which exists yet."""

    async def record(
        self, tx: Tx, plan: Plan, entries: Sequence[Entry], imports: Sequence[Import], *, new: bool
    ) -> None:
        """Store entries (``new``: none of them exists) and history lines."""

    async def touch(
        self,
        tx: Tx,
        plan: Plan,
        keys: Sequence[bytes],
        digests: Sequence[int],
        digest_epoch: int,
        source_epoch: int,
        position: int,
    ) -> None:
        """Refresh digest and position: the fingerprint proved these rows unchanged."""

    async def live(self, tx: Tx, plan: Plan, keys: Sequence[bytes]) -> frozenset[bytes]:
        """Which of ``keys`` are in state live: the parents that have landed."""

    async def unit(self, tx: Tx, run_id: int, plan: Plan, unit: Unit) -> None:
        """Note a work unit in the transaction that does the work."""

    async def find_unit(self, run_id: int, plan: Plan, unit_id: str) -> Unit | None:
        """The work unit if it was committed: the answer after a commit of unknown outcome."""


class Decisions(Struct, frozen=True):
    """What operators decided about held deletes, and how often each key was missed before."""

    approved: frozenset[bytes] = frozenset()
    rejected: frozenset[bytes] = frozenset()
    missed_runs: dict[bytes, int] = {}


class RunBook(Protocol):
    """What a run notes about itself, outside the transactions that move rows."""

    async def earlier_units(self, plan: Plan) -> list[Unit]:
        """Work units that earlier attempts of this run committed."""

    async def decisions(self, plan: Plan) -> Decisions:
        """What is known of the deletes that are held."""

    async def hold(self, plan: Plan, keys: Sequence[bytes], reason: str) -> None:
        """Hold exactly these deletes from now on; those held before and not named are let go."""
