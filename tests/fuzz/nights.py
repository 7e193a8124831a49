"""A night after a dump was cut off: what the survey finds and the guard lets pass.

The first night reads the whole dump and remembers every key with its digest, as the ledger does.
The second surveys the cut one through the real source, fetches what differs, and asks the guard
with bounds that hold nothing back, so that only what the source knows protects the rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from syncd.config import FilesSource
from syncd.errors import SyncdError
from syncd.flow.entity_pass import EntityPass
from syncd.flow.guard import Bounds, Judgement, judge
from syncd.flow.model import Plan, Read
from syncd.flow.pipeline import foremost
from syncd.flow.ports import WHOLE, Block, Emit, Span
from syncd.sources.files import Dump
from tests.fuzz.streams import key_record
from tests.sources.dump_world import ENTITY, HASHER, plan_of

LENIENT: Final = Bounds(10**9, 100.0)
BATCH_ROWS: Final = 500


class Kept(Struct, frozen=True):
    """A dump that is whole: where it is, how it is read, and what it says."""

    file: str
    config: Mapping[str, object]
    columns: tuple[str, ...]
    plan: Plan
    rows: Mapping[bytes, Read]


class Morning(Struct):
    """What was concluded: rows by the survey, absences, and what the guard says of them."""

    reads: list[Read]
    absent: list[bytes]
    judgement: Judgement | None
    error: SyncdError | None


def dump_of(folder: Path, file: str, config: Mapping[str, object], columns: Sequence[str]) -> Dump:
    """The source of one entity; of an archive, ``file`` names the member behind a colon."""
    archive, _, member = file.rpartition(":")
    root = str(folder / archive) if archive else str(folder)
    return Dump(
        FilesSource(path=root, **config),  # type: ignore[arg-type]
        {ENTITY: member},
        HASHER,
        sequence=1,
        batch_rows=BATCH_ROWS,
        columns={ENTITY: tuple(columns)} if columns else None,
    )


async def first_night(
    folder: Path,
    file: str,
    config: Mapping[str, object],
    key: Sequence[str],
    columns: Sequence[str] = (),
) -> Kept:
    """Read the whole dump."""
    dump = dump_of(folder, file, config, columns)
    plan = plan_of(await dump.describe(ENTITY), key)
    reads: list[Read] = []

    async def emit(batch: Sequence[Read]) -> None:
        reads.extend(batch)

    async with dump.open([plan]) as snapshot:
        await snapshot.read(plan, emit, lambda _: None)
    return Kept(file, config, tuple(columns), plan, {read.key: read for read in reads})


async def second_night(kept: Kept, folder: Path) -> Morning:
    """Survey what is in ``folder`` now against what was remembered."""
    morning = Morning([], [], None, None)

    async def scan_ledger(emit: Emit, _within: Span) -> int:
        records = [key_record(key, kept.rows[key].digest) for key in sorted(kept.rows)]
        for at in range(0, len(records), BATCH_ROWS):
            await emit(Block(b"".join(records[at : at + BATCH_ROWS]), 0))
        return len(kept.rows)

    async def apply(reads: Iterable[Read]) -> None:
        morning.reads.extend(reads)

    try:
        async with dump_of(folder, kept.file, kept.config, kept.columns).open(
            [kept.plan]
        ) as snapshot:
            entity = EntityPass(kept.plan, snapshot, batch_rows=BATCH_ROWS, writers=1, findings=10)
            await entity.bring([WHOLE], scan_ledger, apply, lambda _: None)
        morning.absent = entity.absent
        morning.judgement = judge(entity.absent, entity.evidence(), LENIENT)
    except SyncdError as error:
        morning.error = error
    except BaseExceptionGroup as group:
        morning.error = foremost(group)
        if morning.error is None:
            raise
    return morning


class Tally(Struct):
    """What became of many cuts."""

    cuts: int = 0
    refused: int = 0  # an error, and nothing concluded
    held: int = 0  # absences found, all held
    quiet: int = 0  # nothing missing: only what follows the last record was cut
    at_line_end: int = 0  # no trace of a cut: a shorter dump looks the same
    cut_values: int = 0  # the last record lacks the end of its last value
    cut_keys: int = 0  # the same, and that value is its key

    def add(self, other: "Tally") -> None:
        """Add every number."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def judged(kept: Kept, morning: Morning, stored: bytes) -> Tally:
    """Hold a morning against what the whole dump said; ``stored`` is what was left of it."""
    tally = Tally(cuts=1)
    for read in morning.reads:
        _assert_true(kept, read, stored, tally)
    if morning.error is not None or morning.judgement is None:
        tally.refused = 1
        return tally
    has_trace = not stored.endswith(b"\n") or ":" in kept.file
    if not morning.absent:
        tally.quiet = 1
    elif has_trace:
        assert not morning.judgement.allowed, "a row was deleted because a dump was cut off"
        tally.held = 1
    else:
        tally.at_line_end = 1
    return tally


def _assert_true(kept: Kept, read: Read, stored: bytes, tally: Tally) -> None:
    """A row that is used says what the whole dump said, but for the value that was cut."""
    if any(issue.excludes for issue in read.issues):
        return
    known = kept.rows.get(read.key)
    last = stored.rpartition(b"\n")[2]
    if known is None:
        assert last, "a record that never was"
        assert any(key.startswith(read.key.rstrip(b"\0")) for key in kept.rows)
        tally.cut_keys += 1
    elif known.row != read.row:
        changed = [(a, b) for a, b in zip(known.row, read.row, strict=True) if a != b]
        assert last, "a row changed and it is not the last"
        ((before, after),) = changed
        assert isinstance(before, bytes)
        assert isinstance(after, bytes)
        assert before.startswith(after), "a value that is no beginning of the true one"
        # A cut between two quotes that stand for one makes a closed field of an open one.
        end = last.replace(b'""', b'"').rstrip(b'"')
        tail = after.rpartition(b"\n")[2].rstrip(b'"')
        assert end.endswith(tail), "a value changed and it is not the last"
        tally.cut_values += 1
