"""The nouns, in the order in which data meets them.

A **value** is canonical text in UTF-8 (``bytes``), ``None`` for NULL, or ``MISSING`` when the
source said nothing about the column at all (a short line, an absent JSON member). Canonical text
is what makes a row from CSV, PostgreSQL, ODBC or JSON the same row; the rules per type stand in
``schemas/types.md`` and are carried out by ``normalise.py``.

What is made once per row holds no cycle and is left to reference counting (``gc=False``): walking
over it costs a tenth of a big night.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import repeat
from typing import Final, TypeAlias, overload

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import astuple

MISSING: Final = UNSET
Value: TypeAlias = bytes | UnsetType | None
Row: TypeAlias = tuple[Value, ...]


class Kind(StrEnum):
    """The canonical types; one row of ``schemas/types.md`` each."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    UUID = "uuid"
    BYTES = "bytes"
    JSON = "json"


class ColumnType(Struct, frozen=True):
    """A canonical type with its declared rules.

    ``scale`` is the number of decimals kept (DECIMAL only, None keeps all). ``zone`` is the IANA
    zone of local times (TIMESTAMPTZ read from text without an offset). ``fold`` says what a local
    time that occurs twice or never means. ``empty_as_null`` reads '' as NULL (always so for every
    kind but TEXT). ``null_values`` are further source texts, before conversion, that mean NULL.
    ``items`` (JSON only) are the fields, sorted by name, of a list of rows: the rows of a part of
    an aggregate. They are put in order by the fields named in ``order``; no rows at all are NULL.
    """

    kind: Kind = Kind.TEXT
    scale: int | None = None
    zone: str = "UTC"
    fold: str = "reject"  # reject | earlier | later
    empty_as_null: bool = False
    strip: bool = False
    null_values: tuple[str, ...] = ()
    items: tuple["Item", ...] = ()
    order: tuple[str, ...] = ()


class Item(Struct, frozen=True):
    """A field of the rows that a JSON column holds."""

    name: str
    type: ColumnType


class Ownership(StrEnum):
    """Who may write a column of the target (reference: the merge rule)."""

    SOURCE = "source"
    TARGET = "target"
    MERGE = "merge"
    INITIAL = "initial"
    COMPUTED = "computed"


class OnConflict(StrEnum):
    """What a column conflict does; SOURCE_WINS needs an explicit consent in the configuration."""

    TARGET_WINS = "target_wins"
    QUARANTINE = "quarantine"
    SOURCE_WINS = "source_wins"


class Column(Struct, frozen=True):
    """One mapped column: ``name`` at the source, ``into`` at the target."""

    name: str
    into: str
    type: ColumnType
    ownership: Ownership = Ownership.MERGE


class Parent(Struct, frozen=True):
    """One edge of ``needs``: ``columns`` of the child hold the key of ``entity``.

    Without ``columns`` the edge only orders the waves. ``nullable`` lets a cycle be cut there: the
    row is first written with those columns NULL and completed when the parent has landed.
    """

    entity: str
    columns: tuple[str, ...] = ()
    nullable: bool = False


class Plan(Struct, frozen=True):
    """An entity, compiled: all that the flow must know of it.

    ``columns`` are the source's mapped columns, sorted by name; rows follow this order.
    ``drafted`` are the target's columns, sorted by ``into``; drafts, bases and rows read from the
    target follow that order. Without a transform they are the same columns. ``key`` holds indices
    into ``columns``; ``target_key`` indices into ``drafted``. ``groups`` are index sets of
    ``drafted`` that merge as one unit. ``shape`` identifies the list of drafted columns in the
    ledger. ``revision`` changes with transform, lookups, ownership and mapping.
    """

    name: str
    entity_id: int
    columns: tuple[Column, ...]
    key: tuple[int, ...]
    drafted: tuple[Column, ...]
    target_key: tuple[int, ...]
    shape: int = 0
    revision: int = 0
    groups: tuple[frozenset[int], ...] = ()
    on_conflict: OnConflict = OnConflict.TARGET_WINS
    parents: tuple[Parent, ...] = ()
    event: str = ""  # type of the domain event of each applied change, "" for none
    silent_on: frozenset["Outcome"] = frozenset()  # applied changes that tell no event
    soft_delete: str = ""  # target column that takes the time of deletion, "" deletes the row
    timestamps: tuple[int, int] | None = None  # (source column, drafted column) of the seed's rule

    @property
    def key_types(self) -> tuple[Kind, ...]:
        """Kinds of the key's parts, in key order."""
        return tuple(self.columns[i].type.kind for i in self.key)


class Severity(StrEnum):
    """How bad a finding is; FATAL and ERROR keep the row out."""

    FATAL = "fatal"
    ERROR = "error"
    WARNING = "warning"
    INFORMATION = "information"


class Issue(Struct, frozen=True, gc=False):
    """A finding about data. ``place`` is "file:line" or empty. Never holds a value."""

    severity: Severity
    code: str
    field: str = ""
    place: str = ""

    @property
    def excludes(self) -> bool:
        """Whether the row may not be written because of it."""
        return self.severity in (Severity.FATAL, Severity.ERROR)


class Read(Struct, frozen=True, gc=False):
    """A row as read and normalised; ``digest`` 0 means unknown.

    ``issues`` of severity ERROR or FATAL make the row invalid; it is still present at the source.
    ``line`` is the row as a line of COPY text without its newline, b"" where that is not at hand.
    """

    key: bytes
    row: Row
    digest: int = 0
    issues: tuple[Issue, ...] = ()
    line: bytes = b""


class ReadColumns(Sequence[Read]):
    """Reads without an issue, kept in columns; each becomes a Read when it is asked for.

    ``columns`` are those of the rows: a million rows as objects cost more than reading them.
    """

    __slots__ = ("columns", "digests", "keys", "lines")

    def __init__(
        self,
        keys: Sequence[bytes],
        digests: Sequence[int],
        columns: Sequence[Sequence[Value]],
        lines: Sequence[bytes],
    ) -> None:
        self.keys = keys
        self.digests = digests
        self.columns = columns
        self.lines = lines

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: int) -> Read: ...

    @overload
    def __getitem__(self, at: slice) -> "ReadColumns": ...

    def __getitem__(self, at: int | slice) -> "Read | ReadColumns":
        if isinstance(at, int):
            row = tuple([column[at] for column in self.columns])
            return Read(self.keys[at], row, self.digests[at], (), self.lines[at])
        columns = [column[at] for column in self.columns]
        return ReadColumns(self.keys[at], self.digests[at], columns, self.lines[at])

    def __iter__(self) -> Iterator[Read]:
        rows = zip(*self.columns, strict=True)
        return map(Read, self.keys, rows, self.digests, repeat(()), self.lines)


class State(StrEnum):
    """Where a record stands. Set by ``merge.py`` alone, stored by the ledger as its word.

    NONE: seen, but never written (it failed, waits or is invalid). LIVE: in step. SRC_DELETED: a
    tombstone. ORPHAN_KEPT: gone at the source, kept because staff had edited it. TGT_DELETED:
    staff deleted it; never recreated. QUARANTINED: set aside until an operator decides.
    """

    NONE = "none"
    LIVE = "live"
    SRC_DELETED = "src_deleted"
    ORPHAN_KEPT = "orphan_kept"
    TGT_DELETED = "tgt_deleted"
    QUARANTINED = "quarantined"


class Outcome(StrEnum):
    """What became of one record in one run; every record seen has exactly one."""

    INSERTED = "inserted"
    UPDATED = "updated"
    DELETED = "deleted"
    UNCHANGED = "unchanged"
    LINKED = "linked"
    STALE = "stale"
    SKIPPED = "skipped"
    CONFLICT = "conflict"
    INVALID = "invalid"
    UNSUPPORTED = "unsupported"
    HELD = "held"
    WAITING = "waiting"
    FAILED = "failed"


# Outcomes that leave a record out of step.
PARKED: Final = frozenset(
    {
        Outcome.SKIPPED,
        Outcome.INVALID,
        Outcome.UNSUPPORTED,
        Outcome.WAITING,
        Outcome.FAILED,
    }
)

# Those of them that stand where the digest is known: until the record or the rules change, and for
# one that waits until a parent has come. The others are looked at again in every sweep.
STANDING: Final = frozenset({Outcome.SKIPPED, Outcome.WAITING})
# What is recorded of a record that has not become live by it.
NOT_LANDED: Final = PARKED | {Outcome.DELETED, Outcome.HELD}

Hashes: TypeAlias = tuple[bytes, ...]  # one 8-byte column hash per drafted column, b"" = no base


class Entry(Struct, frozen=True, gc=False):
    """What the ledger remembers of one record.

    ``source_base`` (bs) is what was last observed at the source, ``target_base`` (bt) what the
    target held after our last write; both per drafted column, () when nothing was ever written.
    ``present`` says whether the source had the record when last looked at. ``open`` asks for a
    look in every sweep; ``disputed`` are then the columns whose conflict is open, None where the
    ledger was not asked. ``run_id`` is the run that gave ``outcome``.
    """

    key: bytes
    digest: int = 0
    digest_epoch: int = 0
    fingerprint: bytes = b""
    hash_version: int = 0
    revision: int = 0
    shape: int = 0
    source_epoch: int = 0
    position: int = 0
    state: State = State.NONE
    present: bool = True
    open: bool = False
    incarnation: int = 1
    source_base: Hashes = ()
    target_base: Hashes = ()
    outcome: Outcome | None = None
    reason: str = ""
    run_id: int = 0
    disputed: frozenset[str] | None = None


class Draft(Struct, frozen=True, gc=False):
    """The target-shaped document of a change, in ``Plan.drafted`` order.

    ``skip`` is the reason a transform gave for leaving the record out, or empty.
    """

    row: Row
    issues: tuple[Issue, ...] = ()
    skip: str = ""


class ColumnConflict(Struct, frozen=True, gc=False):
    """Both sides changed ``column``; hashes only, never values."""

    column: str
    base: bytes
    source: bytes
    target: bytes
    kind: str = "both_changed"  # both_changed | staff_created | delete_vs_edit | target_deleted


class Write(StrEnum):
    """What is done to the target's row."""

    NOTHING = "nothing"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


class Decision(Struct, frozen=True, gc=False):
    """What the merge decided for one record: a write, the next entry, and what to tell.

    ``written`` are indices of drafted columns that get the source's value (INSERT, UPDATE).
    ``entry.target_base`` is final only after the read-back (``merge.confirm``).
    """

    write: Write
    entry: Entry
    outcome: Outcome
    reason: str = ""
    written: tuple[int, ...] = ()
    conflicts: tuple[ColumnConflict, ...] = ()
    closed: tuple[str, ...] = ()  # columns whose open conflict ended


class Counts(Struct):
    """Rows of one entity in one run: ``seen`` and one number per outcome."""

    seen: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    linked: int = 0
    stale: int = 0
    skipped: int = 0
    conflict: int = 0
    invalid: int = 0
    unsupported: int = 0
    held: int = 0
    waiting: int = 0
    failed: int = 0

    def add(self, outcome: Outcome, rows: int = 1) -> None:
        """Count ``rows`` (may be negative) under ``outcome``; ``seen`` is counted apart."""
        setattr(self, outcome.value, getattr(self, outcome.value) + rows)

    def merge(self, other: "Counts") -> None:
        """Add every number of ``other``, ``seen`` included."""
        if other == _NO_ROWS:  # most are, and this is far quicker than to add up fourteen zeros
            return
        for name, rows in zip(self.__struct_fields__, astuple(other), strict=True):
            if rows:
                setattr(self, name, getattr(self, name) + rows)

    def landed(self) -> int:
        """How many of them may have become live, where they were not."""
        aside = [int(getattr(self, outcome.value)) for outcome in NOT_LANDED]
        return self.total() - sum(aside)

    def total(self) -> int:
        """Sum of the outcomes, without ``seen``."""
        numbers: tuple[int, ...] = astuple(self)
        return sum(numbers) - self.seen

    def as_dict(self) -> dict[str, int]:
        """Numbers by name, ``seen`` first: the contract of ``run --output json``."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]


_NO_ROWS: Final = Counts()


class Found(Struct, frozen=True):
    """A column as a source or target describes it. ``native`` is the system's own type name."""

    name: str
    native: str
    type: ColumnType
    nullable: bool = True
    writable: bool = True  # False for generated columns


Shape: TypeAlias = Mapping[str, Found]
