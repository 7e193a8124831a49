"""One record in a world of its own: a source row, a target row, an entry, and nights.

It does what the pipeline does for a record, without databases: survey, merge, write, read back.
"""

from collections.abc import Callable, Mapping
from zlib import crc32

from msgspec.structs import replace

from syncd.flow.fingerprint import Hasher
from syncd.flow.merge import Mark, confirm, merge_row
from syncd.flow.model import (
    MISSING,
    Column,
    ColumnType,
    Decision,
    Entry,
    Hashes,
    OnConflict,
    Ownership,
    Plan,
    Row,
    State,
    Value,
    Write,
)

HASHER = Hasher(b"a key of sixteen bytes or more")
KEY = b"17"


def hash_of(value: Value | str) -> bytes:
    """The column hash; '' stands for no base."""
    return b"" if isinstance(value, str) else HASHER.column(value)


def hashes_of(*values: Value | str) -> Hashes:
    """One base; '' stands for a column without one."""
    return tuple(hash_of(value) for value in values)


def plan_of(
    *names: str,
    ownership: Mapping[str, Ownership] | None = None,
    groups: tuple[frozenset[int], ...] = (),
    on_conflict: OnConflict = OnConflict.TARGET_WINS,
    timestamps: tuple[int, int] | None = None,
    soft_delete: str = "",
) -> Plan:
    """An entity without transform; columns are owned by ``merge`` where nothing is said."""
    owners = ownership or {}
    columns = tuple(
        Column(name, name, ColumnType(), owners.get(name, Ownership.MERGE)) for name in names
    )
    return Plan(
        "referrals",
        entity_id=1,
        columns=columns,
        key=(0,),
        drafted=columns,
        target_key=(0,),
        shape=3,
        revision=4,
        groups=groups,
        on_conflict=on_conflict,
        timestamps=timestamps,
        soft_delete=soft_delete,
    )


def mark_at(position: int, *, source_epoch: int = 0, digest: int = 5) -> Mark:
    """What a read at ``position`` knows."""
    return Mark(
        key=KEY,
        digest=digest,
        digest_epoch=6,
        fingerprint=b"f" * 16,
        hash_version=1,
        source_epoch=source_epoch,
        position=position,
        run_id=position,
    )


def entry_of(
    source_base: Hashes,
    target_base: Hashes,
    *,
    state: State = State.LIVE,
    is_open: bool = False,
    incarnation: int = 1,
) -> Entry:
    """What the ledger remembers, as of position 1."""
    return Entry(
        key=KEY,
        position=1,
        shape=3,
        state=state,
        open=is_open,
        incarnation=incarnation,
        source_base=source_base,
        target_base=target_base,
    )


def as_sent(row: Row) -> Row:
    """A target that stores what it is sent."""
    return row


class World:
    """``source`` and ``target`` may be edited freely between nights; None means no row.

    ``disputed`` are the columns whose conflict is open, as the ledger keeps them; a world that is
    not ``is_exact`` does not tell the merge which they are, only that there are some.
    """

    def __init__(
        self, plan: Plan, source: Row | None, *, store: Callable[[Row], Row] = as_sent
    ) -> None:
        self.plan = plan
        self.source = source
        self.target: Row | None = None
        self.entry: Entry | None = None
        self.store = store
        self.is_exact = True
        self.disputed: set[str] = set()
        self.position = 0

    def night(
        self, *, forced: Mapping[str, bytes] | None = None, previous_run: bytes | None = None
    ) -> Decision:
        """Look at the record whether or not it changed, and bring it up to date."""
        self.position += 1
        return self._look(mark_at(self.position, digest=_digest(self.source)), forced, previous_run)

    def survey(self) -> Decision | None:
        """Look at the record only if digests differ, as a nightly run does."""
        if not self._is_suspect():
            self.position += 1
            return None
        return self.night()

    def status(self) -> Value:
        """The first column at the target."""
        assert self.target is not None
        return self.target[0]

    def decide(
        self,
        mark: Mark,
        forced: Mapping[str, bytes] | None = None,
        previous_run: bytes | None = None,
    ) -> Decision:
        """What would be done, doing nothing."""
        entry = self.entry
        if self.is_exact and entry is not None and entry.open:
            entry = replace(entry, disputed=frozenset(self.disputed))
        return merge_row(
            self.plan,
            HASHER,
            mark,
            entry=entry,
            draft=self.source,
            target=self.target,
            forced=forced,
            previous_run=previous_run,
        )

    def carry_out(self, decision: Decision) -> None:
        """Write, read back and record, as one step."""
        self.entry = decision.entry
        self.disputed -= set(decision.closed)
        self.disputed |= {c.column for c in decision.conflicts if c.kind != "overwritten"}
        if decision.write is Write.DELETE:
            self.target = self.target if self.plan.soft_delete else None
        elif decision.write is not Write.NOTHING:
            assert self.source is not None
            locked = self.target
            self.target = self.store(written(decision, self.source, locked))
            self.entry = confirm(self.plan, HASHER, decision, self.source, self.target, locked)

    def edit(self, at: int, value: Value) -> None:
        """Staff type ``value`` into a column of the target."""
        assert self.target is not None
        self.target = (*self.target[:at], value, *self.target[at + 1 :])

    def _look(
        self, mark: Mark, forced: Mapping[str, bytes] | None, previous_run: bytes | None
    ) -> Decision:
        decision = self.decide(mark, forced, previous_run)
        self.carry_out(decision)
        assert self.entry is not None
        return replace(decision, entry=self.entry)

    def _is_suspect(self) -> bool:
        entry = self.entry
        if self.source is None:
            return entry is not None and entry.present
        return (
            entry is None or not entry.present or entry.open or entry.digest != _digest(self.source)
        )


def merged(
    plan: Plan,
    source_base: tuple[Value | str, ...],
    target_base: tuple[Value | str, ...],
    draft: Row,
    target: Row,
    *,
    is_open: bool = False,
    disputed: set[str] | None = None,
    forced: Mapping[str, bytes] | None = None,
) -> Decision:
    """The decision, carried out and confirmed, for a live row present on both sides."""
    world = World(plan, draft)
    world.is_exact = disputed is not None
    world.disputed = disputed or set()
    world.target = target
    world.position = 1
    world.entry = entry_of(hashes_of(*source_base), hashes_of(*target_base), is_open=is_open)
    return world.night(forced=forced)


def written(decision: Decision, draft: Row, before: Row | None) -> Row:
    """The row after the write; a new row holds NULL where nothing was written."""
    row: list[Value] = list(before or (None,) * len(draft))
    for at in decision.written:
        assert draft[at] is not MISSING
        row[at] = draft[at]
    return tuple(row)


def _digest(row: Row | None) -> int:
    return crc32(repr(row).encode())
