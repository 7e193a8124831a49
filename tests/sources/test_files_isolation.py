"""What stays whole when something breaks: other entities, handles, memory, the event loop."""

import gzip
import os
import re
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from syncd.config import FilesSource
from syncd.errors import DriftError, InvariantError, SourceError
from syncd.flow.model import Issue
from syncd.flow.ports import Block
from syncd.sources import files, key_index, record_index, records, sorted_index
from syncd.sources.dump_files import Opener
from syncd.sources.dump_root import opening
from syncd.sources.files import Dump
from syncd.sources.sorted_index import RunSorter
from tests.sources.dump_world import (
    HASHER,
    PAIRS,
    dump_of,
    folder_of,
    nothing_to_tell,
    pairs_of,
    scan,
    tar_of,
    zip_of,
)

TEXT: Final = b"id,a\n" + b"".join(b"%d,v%d\n" % (n * 7919 % 3001, n) for n in range(3000))


async def test_one_broken_entity_leaves_the_others_alone(tmp_path: Path) -> None:
    """A missing file, drift and a bad file are errors of their own plans only (case 49)."""
    folder = folder_of(tmp_path, good=TEXT, drifted=b"id,b\n1,x\n", empty=b"")
    names = ["gone", "good", "drifted", "empty"]
    plans = [pairs_of(name) for name in names]
    async with dump_of(folder, *names).open(plans) as snapshot:
        for plan, error in zip(plans, (SourceError, None, DriftError, SourceError), strict=True):
            for _ in range(2):
                if error is None:
                    assert (await scan(snapshot, plan)).rows == 3000
                else:
                    with pytest.raises(error, match=plan.name):
                        await snapshot.identity(plan)


async def test_one_broken_member_leaves_the_others_alone(tmp_path: Path) -> None:
    """The same inside an archive, where all members come from one stream."""
    members = {"good.csv": TEXT, "bad.csv.gz": gzip.compress(TEXT)[:-9], "other.csv": TEXT}
    (tmp_path / "dump.tar").write_bytes(tar_of(members))
    names = ["bad", "good", "gone", "other"]
    plans = [pairs_of(name) for name in names]
    async with dump_of(tmp_path / "dump.tar", *names).open(plans) as snapshot:
        for plan in plans:
            if plan.name in ("good", "other"):
                assert (await scan(snapshot, plan)).rows == 3000
            else:
                with pytest.raises(SourceError, match=plan.name):
                    await snapshot.identity(plan)


async def test_entities_may_share_a_file(tmp_path: Path) -> None:
    """Two plans over one member of an archive are read from one copy."""
    (tmp_path / "dump.tar").write_bytes(tar_of({"t.csv": TEXT}))
    config = FilesSource(path=str(tmp_path / "dump.tar"))
    wanted = {"one": "t.csv", "two": "./t.csv"}
    dump = Dump(config, wanted, HASHER, sequence=1, batch_rows=50)
    plans = [pairs_of(name) for name in wanted]
    async with dump.open(plans) as snapshot:
        looks = [await scan(snapshot, plan) for plan in plans]
    assert looks[0].keys == looks[1].keys


async def look_again(snapshot: files.DumpSnapshot, moment: str, keys: list[bytes]) -> None:
    match moment:
        case "before scan":
            await scan(snapshot, PAIRS)
        case "before fetch":
            await snapshot.fetch(PAIRS, keys[:1])
        case _:
            await snapshot.identity(PAIRS)


@pytest.mark.parametrize("moment", ["before scan", "before fetch", "before identity"])
async def test_a_file_that_is_written_to_meanwhile_proves_nothing(
    tmp_path: Path, moment: str
) -> None:
    """A dump that grows or changes under the reader is refused at the next look (case 40)."""
    folder = folder_of(tmp_path, things=TEXT)
    async with dump_of(folder, "things").open([PAIRS]) as snapshot:
        keys = (await scan(snapshot, PAIRS)).keys if moment == "before fetch" else []
        with (folder / "things.csv").open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(b"5000,late\n")
        with pytest.raises(SourceError, match="was written to while it was read"):
            await look_again(snapshot, moment, keys)


async def test_a_packed_file_that_is_written_to_while_it_is_spooled_is_refused(
    tmp_path: Path,
) -> None:
    """Spooling looks again at its end."""
    path = tmp_path / "things.csv.gz"
    path.write_bytes(gzip.compress(os.urandom(3_000_000)))
    steps = opening(Opener(FilesSource(path=str(tmp_path))), {"things": "things.csv"})
    assert next(steps) is None
    with path.open("ab") as file:
        file.write(b"\0")
    found = [step for step in steps if step]
    assert "was written to" in str(found[0][1])


async def test_a_file_that_is_replaced_is_read_as_it_was(tmp_path: Path) -> None:
    """A rename over the file leaves the opened one whole: the snapshot is consistent."""
    folder = folder_of(tmp_path, things=TEXT, new=b"id,a\n1,other\n")
    async with dump_of(folder, "things").open([PAIRS]) as snapshot:
        (folder / "new.csv").rename(folder / "things.csv")
        assert (await scan(snapshot, PAIRS)).rows == 3000


def open_handles() -> set[str]:
    """What this process holds open, by path."""
    handles = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # The handle of this very listing.
            handles.add(str(link.readlink()))
    return {handle for handle in handles if re.match(r"/(?!dev/(?!shm/))", handle)}


@pytest.mark.parametrize("end", ["well", "error in the block", "bad file", "cancelled"])
@pytest.mark.parametrize("stored", ["t.csv", "t.csv.gz", "t.tar", "t.zip"])
async def test_every_handle_is_closed_however_it_ends(
    tmp_path: Path, stored: str, end: str
) -> None:
    """Files, spools and indexes are gone after ``open``, also on error and on cancellation."""
    text = TEXT + (b'1,"cut' if end == "bad file" else b"")
    packed = {
        "t.csv": text,
        "t.csv.gz": gzip.compress(text),
        "t.tar": tar_of({"t.csv": text}),
        "t.zip": zip_of({"t.csv": text}),
    }[stored]
    (tmp_path / stored).write_bytes(packed)
    path = tmp_path if "csv" in stored else tmp_path / stored
    spools = tmp_path / "spools"
    spools.mkdir()
    dump = Dump(
        FilesSource(path=str(path)),
        {"things": "t.csv"},
        HASHER,
        sequence=1,
        batch_rows=10,
        spool_dir=spools,
    )
    before = open_handles()

    async def use() -> None:
        async with dump.open([PAIRS]) as snapshot:
            await scan(snapshot, PAIRS)
            assert any(str(spools) in handle for handle in open_handles())
            if end == "cancelled":
                scope.cancel()
            if end == "error in the block":
                raise InvariantError("planned")
            await snapshot.identity(PAIRS)

    with anyio.CancelScope() as scope:
        if end == "error in the block":
            with pytest.raises(InvariantError):
                await use()
        elif end == "bad file":
            with pytest.raises(SourceError, match="never closed"):
                await use()
        else:
            await use()
    assert open_handles() == before
    assert list(spools.iterdir()) == []


async def test_describing_closes_its_file(tmp_path: Path) -> None:
    """Looking at the columns leaves nothing open either, though it reads only the beginning."""
    rows = b"".join(b"%d,%s\n" % (n, os.urandom(20).hex().encode()) for n in range(120_000))
    (tmp_path / "dump.tar").write_bytes(tar_of({"things.csv": b"id,a\n" + rows, "z": b""}))
    before = open_handles()
    shape = await dump_of(tmp_path / "dump.tar", "things").describe("things")
    assert list(shape) == ["id", "a"]
    assert open_handles() == before


@pytest.mark.parametrize("steps", range(1, 12))
async def test_a_cancellation_is_heard_at_every_step(
    tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work pauses often enough to be stopped, and what was under way is closed (I14)."""
    (tmp_path / "things.csv.gz").write_bytes(gzip.compress(TEXT * 300))
    monkeypatch.setattr(files, "_TURN_S", 0.0)
    before, taken = open_handles(), 0
    turn = files._turn

    def counted(work: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == steps:
            anyio.from_thread.run_sync(scope.cancel)
        return turn(work)

    monkeypatch.setattr(files, "_turn", counted)
    with anyio.CancelScope() as scope:
        async with dump_of(tmp_path, "things").open([PAIRS]) as snapshot:
            await scan(snapshot, PAIRS)
    assert scope.cancelled_caught
    assert taken == steps
    assert open_handles() == before


async def test_the_event_loop_lives_while_a_file_is_indexed(tmp_path: Path) -> None:
    """Others get their turn many times during one scan."""
    folder = folder_of(tmp_path, things=b"id,a\n" + b"".join(b"%d,x\n" % n for n in range(200_000)))
    turns = 0

    async def live() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with (
        dump_of(folder, "things").open([PAIRS]) as snapshot,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(live)
        assert (await scan(snapshot, PAIRS)).rows == 200_000
        tasks.cancel_scope.cancel()
    assert turns > 100


async def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the rows, in any order, take the same memory (I14)."""
    monkeypatch.setattr(record_index, "RunSorter", lambda spool: RunSorter(spool, 2000))
    monkeypatch.setattr(sorted_index, "_MERGE_ENTRIES", 32)
    monkeypatch.setattr(records, "READ_BYTES", 64 * 1024)
    monkeypatch.setattr(key_index, "BLOCK_BYTES", 16 * 1024)
    peaks = []
    for rows in (10_000, 40_000):
        lines = (b"%d,%s\n" % (n * 7919 % 1_000_003, b"x" * (n % 60)) for n in range(rows))
        folder_of(tmp_path, things=b"id,a\n" + b"".join(lines))
        async with dump_of(tmp_path, "things").open([PAIRS]) as snapshot:
            tracemalloc.start()
            assert await snapshot.scan(PAIRS, drop, nothing_to_tell) == rows
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]


async def drop(_: Block) -> None:
    pass


async def test_what_a_consumer_raises_comes_out_of_the_scan(tmp_path: Path) -> None:
    """Nothing is swallowed on the way."""

    async def emit(_: Block) -> None:
        raise InvariantError("planned")

    async with dump_of(folder_of(tmp_path, things=TEXT), "things").open([PAIRS]) as snapshot:
        with pytest.raises(InvariantError, match="planned"):
            await snapshot.scan(PAIRS, emit, nothing_to_tell)


async def test_findings_before_a_failure_are_told(tmp_path: Path) -> None:
    """An operator sees everything that was found until the file could not be read on."""
    told = list[Issue]()
    folder = folder_of(tmp_path, things=b'id,a\n1\n2,x,y\n3,"cut')
    async with dump_of(folder, "things").open([PAIRS]) as snapshot:
        with pytest.raises(SourceError):
            await snapshot.scan(PAIRS, lambda _: pytest.fail("pushed"), told.append)
    assert [issue.code for issue in told] == ["ragged_short", "ragged_long", "unterminated_quote"]
