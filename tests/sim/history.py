"""What was done, by whom, in the order in which it came to stand: all that the checker reads."""

from typing import TypeAlias

from msgspec import Struct

from syncd.flow.model import Entry, Outcome, Row
from syncd.flow.ports import Import, Unit
from tests.memory.store import MemoryTx


class Change(Struct, frozen=True):
    """One row of the target; None is no row."""

    table: str
    key: bytes
    before: Row | None
    after: Row | None


class Looked(Struct, frozen=True):
    """A process has opened a snapshot of the source.

    ``rows`` is what the snapshot holds, of every entity, in the order in which it is delivered.
    ``failed`` are the entities whose read did not end well: it may not speak of their absence.
    """

    who: str
    position: int
    rows: dict[str, list[Row]]
    failed: list[str]


class Committed(Struct, frozen=True):
    """A transaction of syncd's that stands.

    ``epoch`` is the one that it came with, ``current`` the ledger's at that moment, ``open`` the
    transactions of that process that were under way. ``recorded`` are the entries to which it
    gave an outcome; ``entries`` all that it changed, before and after.
    """

    who: str
    epoch: int
    current: int
    open: int
    changes: list[Change]
    marks: list[tuple[str, bytes, bool]]
    entries: list[tuple[int, bytes, Entry | None, Entry | None]]
    recorded: list[tuple[int, bytes]]
    imports: list[tuple[int, int, Import]]
    events: list[tuple[int, bytes, Outcome]]
    units: list[tuple[int, int, str, int, Unit]]  # run, entity, id, attempt
    unlocked: list[tuple[str | int, bytes]]  # what was there, and written without a lock
    refused: list[tuple[bytes, ...]] = []  # batches that the target refused to this process


class Staffed(Struct, frozen=True):
    """People changed a row."""

    change: Change


class Reviewed(Struct, frozen=True):
    """An operator decided about the deletes that an entity holds."""

    entity_id: int
    decision: str
    keys: tuple[bytes, ...]


class Told(Struct, frozen=True):
    """How one entity of a run ended, as the run says; ``holder`` took the lease last."""

    who: str
    run_id: int
    attempt: int
    entity: str
    status: str
    counts: dict[str, int]
    words: tuple[str, ...]
    findings: int
    holder: str = ""


class Stopped(Struct, frozen=True):
    """A run ended without a report, for the reason named."""

    who: str
    reason: str


Event: TypeAlias = Looked | Committed | Staffed | Reviewed | Told | Stopped


def committed(
    tx: MemoryTx, who: str, current: int, others: int, refused: list[tuple[bytes, ...]]
) -> Committed:
    """What a transaction is about to put in place."""
    changes, marks, entries = [], [], []
    units: list[tuple[int, int, str, int, Unit]] = []
    for (kind, name), layer in tx.layers.items():
        if kind == "table":
            news = sorted(layer.news(), key=_key)
            changes += [Change(str(name), *one) for one in news if one[1] != one[2]]
        elif kind == "mark":
            marks += [(str(name), key, bool(after)) for key, _, after in sorted(layer.news())]
        elif kind == "entry":
            entries += [(int(name), *one) for one in sorted(layer.news(), key=_key)]
        elif kind == "unit":
            units += [(*where, *noted) for where, noted in layer.changes.items()]
    assert tx.lease is not None
    return Committed(
        who, tx.lease.epoch, current, others, changes, marks, entries,
        list(tx.recorded), list(tx.imports), list(tx.events), units, list(tx.unlocked), refused,
    )  # fmt: skip


def _key(news: tuple[bytes, Entry | None, Entry | None]) -> bytes:
    return news[0]
