"""A snapshot as a whole: identity, digest epoch, fetching, isolation, cancellation, handles."""

import gzip
import os
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from syncd.config import FilesSource
from syncd.errors import DriftError, InvariantError, SourceError
from syncd.flow.model import Column, ColumnType, Issue, Kind, Plan, Read
from syncd.flow.ports import Block, Snapshot, Source
from syncd.sources import dump_entity, files, key_index, record_index, records, sorted_index
from syncd.sources.dump_files import Opener
from syncd.sources.dump_root import opening
from syncd.sources.files import Dump
from syncd.sources.sorted_index import RunSorter
from tests.sources.dump_world import (
    HASHER,
    dump_at,
    integer,
    look_at,
    nothing_to_tell,
    plan_of,
    records_of,
    scan,
    tar_of,
    zip_of,
)

PLAN: Final = plan_of(["id", "a"], ["id"], integer("id"))
TEXT: Final = b"id,a\n" + b"".join(b"%d,v%d\n" % (n * 7919 % 3001, n) for n in range(3000))


def folder_of(tmp_path: Path, **texts: bytes) -> Path:
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_bytes(text)
    return tmp_path


def dump_of(folder: Path, *entities: str, **more: Any) -> Dump:
    config = FilesSource(path=str(folder))
    wanted = {entity: f"{entity}.csv" for entity in entities}
    return Dump(config, wanted, HASHER, sequence=3, batch_rows=100, **more)


def renamed(plan: Plan, entity: str) -> Plan:
    return plan_of([c.name for c in plan.columns], ["id"], integer("id"), entity=entity)


async def identity_of(path: Path, name: str = "t.csv", plan: Plan = PLAN, **config: Any) -> str:
    async with dump_at(path, name, **config).open([plan]) as snapshot:
        return await snapshot.identity(plan)


async def spec_of(path: Path, plan: Plan = PLAN, **config: Any) -> str:
    async with dump_at(path, "t.csv", **config).open([plan]) as snapshot:
        return await snapshot.digest_spec(plan)


def is_source(source: Source) -> Source:
    return source


async def test_a_dump_is_a_source(tmp_path: Path) -> None:
    """mypy holds it to the ports; the position is the number of the dump; closing is harmless."""
    source = is_source(dump_of(folder_of(tmp_path, things=TEXT), "things"))
    async with source.open([PLAN]) as snapshot:
        assert isinstance(snapshot, files.DumpSnapshot)
        port: Snapshot = snapshot
        assert port.position == 3
    await source.close()
    await source.close()


async def test_equal_bytes_have_equal_identities(tmp_path: Path) -> None:
    """A copy is the same content; one changed byte, anywhere, is another (restored dumps too)."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.csv").write_bytes(TEXT)
    first = await identity_of(tmp_path / "one")
    assert first == await identity_of(tmp_path / "two")
    assert len(bytes.fromhex(first)) == 16
    for at in (0, len(TEXT) // 2, len(TEXT) - 2):
        changed = bytearray(TEXT)
        changed[at] ^= 1
        (tmp_path / "two" / "t.csv").write_bytes(changed)
        plan = PLAN if at else plan_of(["hd", "a"], ["hd"])
        assert await identity_of(tmp_path / "two", plan=plan) != first


async def test_the_identity_is_that_of_the_stored_bytes(tmp_path: Path) -> None:
    """Of a member it is that of the member: the archive around it does not matter."""
    packed = gzip.compress(TEXT, mtime=0)
    (tmp_path / "t.csv.gz").write_bytes(packed)
    (tmp_path / "a.tar").write_bytes(tar_of({"t.csv.gz": packed}))
    (tmp_path / "b.zip").write_bytes(zip_of({"x": b"y", "t.csv.gz": packed}))
    (tmp_path / "c.tar").write_bytes(tar_of({"t.csv.gz": gzip.compress(TEXT, 1, mtime=5)}))
    stored = await identity_of(tmp_path)
    assert stored == await identity_of(tmp_path / "a.tar") == await identity_of(tmp_path / "b.zip")
    assert stored != await identity_of(tmp_path / "c.tar")


async def test_the_identity_changes_with_the_way_of_reading(tmp_path: Path) -> None:
    """The same bytes under other settings are other content."""
    folder_of(tmp_path, t=b"id,a\n1,x\n")
    found = {
        await identity_of(tmp_path),
        await identity_of(tmp_path, quote="'"),
        await identity_of(tmp_path, encoding="cp1252"),
        await identity_of(tmp_path, plan=plan_of(["id", "a"], ["id"])),
    }
    assert len(found) == 4


async def test_the_digest_epoch_changes_with_all_that_digests_depend_on(tmp_path: Path) -> None:
    """Settings, header, mapping, types and key are all in the specification, and nothing else."""
    folder = folder_of(tmp_path, t=b"id,a\n1,x\n")
    base = await spec_of(folder)
    assert base == await spec_of(folder, max_ratio=7, max_file_bytes=10_000)
    assert '"source":"files"' in base
    strict = plan_of(["id", "a"], ["id"], {**integer("id"), "a": ColumnType(strip=True)})
    specs = {
        base,
        await spec_of(folder, quote="'"),
        await spec_of(folder, escape="\\"),
        await spec_of(folder, encoding="latin-1"),
        await spec_of(folder, plan_of(["id"], ["id"], integer("id"))),
        await spec_of(folder, plan_of(["id", "a"], ["id"])),
        await spec_of(folder, plan_of(["id", "a"], ["a"], integer("id"))),
        await spec_of(folder, strict),
    }
    folder_of(tmp_path, t=b"a,id\n1,2\n")
    specs.add(await spec_of(folder))
    folder_of(tmp_path, t=b"id;a\n1;x\n")
    specs.add(await spec_of(folder, delimiter=";"))
    assert len(specs) == 10


async def test_an_encoding_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    """Another spelling in the configuration costs no night of reading everything again."""
    folder = folder_of(tmp_path, t=b"id,a\n1,x\n")
    assert await spec_of(folder, encoding="UTF8") == await spec_of(folder, encoding="utf-8")


async def test_a_system_that_gives_fewer_bytes_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read may be short at any time, on network disks above all."""
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 1000), at))
    folder = folder_of(tmp_path, things=TEXT)
    async with dump_of(folder, "things").open([PLAN]) as snapshot:
        look = await scan(snapshot, PLAN)
        assert (look.rows, look.told) == (3000, [])


async def test_a_fetch_gives_what_is_there_in_key_order(tmp_path: Path) -> None:
    """Absent keys are left out; calls go forward, and may also go back or come first."""
    folder = folder_of(tmp_path, things=TEXT)
    async with dump_of(folder, "things").open([PLAN]) as snapshot:
        assert [r.key for r in await snapshot.fetch(PLAN, [key_of(5), key_of(10**9)])] == [
            key_of(5)
        ]
        look = await scan(snapshot, PLAN)
        some = look.keys[::7]
        assert [r.key for r in await snapshot.fetch(PLAN, some)] == some
        between = [key + b"\0" for key in some]
        assert await snapshot.fetch(PLAN, between) == []
        assert await snapshot.fetch(PLAN, [b"", *between]) == []
        assert await snapshot.fetch(PLAN, []) == []
        again = await snapshot.fetch(PLAN, look.keys[:3])
        assert [read.key for read in again] == look.keys[:3]


def key_of(number: int) -> bytes:
    return (number + 2**63).to_bytes(8, "big")


async def test_rows_may_be_fetched_while_keys_are_pushed(tmp_path: Path) -> None:
    """A survey fetches its suspects while the scan still goes on; several at once, too."""
    folder = folder_of(tmp_path, things=b"id,a\n" + b"".join(b"%d,x\n" % n for n in range(30_000)))
    fetched: list[Read] = []
    async with dump_of(folder, "things").open([PLAN]) as snapshot:

        async def emit(block: Block) -> None:
            keys = [key for key, _ in records_of(block)][:250]

            async def fetch() -> None:
                fetched.extend(await snapshot.fetch(PLAN, keys))

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(fetch)

        rows = await snapshot.scan(PLAN, emit, nothing_to_tell)
    assert rows == 30_000
    assert len(fetched) == 3 * 250 * 3
    assert all(
        read.row == (b"x", b"%d" % (int.from_bytes(read.key, "big") - 2**63)) for read in fetched
    )


async def test_reads_come_in_batches_of_the_configured_size(tmp_path: Path) -> None:
    """No batch is larger than ``batch_rows``, and none is empty."""
    folder, sizes = folder_of(tmp_path, things=TEXT), list[int]()

    async def emit(reads: list[Read]) -> None:
        sizes.append(len(reads))

    async with dump_of(folder, "things").open([PLAN]) as snapshot:
        assert await snapshot.read(PLAN, emit, nothing_to_tell) == 3000
    assert sizes == [100] * 30


async def test_one_broken_entity_leaves_the_others_alone(tmp_path: Path) -> None:
    """A missing file, drift and a bad file are errors of their own plans only (case 49)."""
    folder = folder_of(tmp_path, good=TEXT, drifted=b"id,b\n1,x\n", empty=b"")
    names = ["gone", "good", "drifted", "empty"]
    plans = [renamed(PLAN, name) for name in names]
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
    plans = [renamed(PLAN, name) for name in names]
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
    plans = [renamed(PLAN, name) for name in wanted]
    async with dump.open(plans) as snapshot:
        looks = [await scan(snapshot, plan) for plan in plans]
    assert looks[0].keys == looks[1].keys


async def test_another_plan_of_the_same_entity_is_read_anew(tmp_path: Path) -> None:
    """What was indexed for one mapping is not used for another."""
    folder = folder_of(tmp_path, things=b"id,a\n1,x\n2,y\n")
    other = plan_of(["id", "a"], ["a"])
    async with dump_of(folder, "things").open([PLAN]) as snapshot:
        assert (await scan(snapshot, PLAN)).keys == [key_of(1), key_of(2)]
        assert (await scan(snapshot, other)).keys == [b"x\0", b"y\0"]
        assert (await scan(snapshot, PLAN)).keys == [key_of(1), key_of(2)]


async def look_again(snapshot: files.DumpSnapshot, moment: str, keys: list[bytes]) -> None:
    match moment:
        case "before scan":
            await scan(snapshot, PLAN)
        case "before fetch":
            await snapshot.fetch(PLAN, keys[:1])
        case _:
            await snapshot.identity(PLAN)


@pytest.mark.parametrize("moment", ["before scan", "before fetch", "before identity"])
async def test_a_file_that_is_written_to_meanwhile_proves_nothing(
    tmp_path: Path, moment: str
) -> None:
    """A dump that grows or changes under the reader is refused at the next look (case 40)."""
    folder = folder_of(tmp_path, things=TEXT)
    async with dump_of(folder, "things").open([PLAN]) as snapshot:
        keys = (await scan(snapshot, PLAN)).keys if moment == "before fetch" else []
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
    async with dump_of(folder, "things").open([PLAN]) as snapshot:
        (folder / "new.csv").rename(folder / "things.csv")
        assert (await scan(snapshot, PLAN)).rows == 3000


def open_handles() -> set[str]:
    """What this process holds open, by path."""
    handles = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # The handle of this very listing.
            handles.add(str(link.readlink()))
    return {handle for handle in handles if handle.startswith("/") and "/dev/" not in handle}


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
        async with dump.open([PLAN]) as snapshot:
            await scan(snapshot, PLAN)
            assert any(str(spools) in handle for handle in open_handles())
            if end == "cancelled":
                scope.cancel()
            if end == "error in the block":
                raise InvariantError("planned")
            await snapshot.identity(PLAN)

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
        async with dump_of(tmp_path, "things").open([PLAN]) as snapshot:
            await scan(snapshot, PLAN)
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
        dump_of(folder, "things").open([PLAN]) as snapshot,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(live)
        assert (await scan(snapshot, PLAN)).rows == 200_000
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
        async with dump_of(tmp_path, "things").open([PLAN]) as snapshot:
            tracemalloc.start()
            assert await snapshot.scan(PLAN, drop, nothing_to_tell) == rows
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]


async def drop(_: Block) -> None:
    pass


async def test_a_scan_may_be_repeated(tmp_path: Path) -> None:
    """Each scan reads anew and tells anew."""
    folder = folder_of(tmp_path, things=b"id,a\n1\n1,x\n2,y\n")
    async with dump_of(folder, "things").open([PLAN]) as snapshot:
        first, second = await scan(snapshot, PLAN), await scan(snapshot, PLAN)
    assert (first.keys, first.digests, first.told) == (second.keys, second.digests, second.told)


async def test_what_a_consumer_raises_comes_out_of_the_scan(tmp_path: Path) -> None:
    """Nothing is swallowed on the way."""

    async def emit(_: Block) -> None:
        raise InvariantError("planned")

    async with dump_of(folder_of(tmp_path, things=TEXT), "things").open([PLAN]) as snapshot:
        with pytest.raises(InvariantError, match="planned"):
            await snapshot.scan(PLAN, emit, nothing_to_tell)


async def test_findings_before_a_failure_are_told(tmp_path: Path) -> None:
    """An operator sees everything that was found until the file could not be read on."""
    told: list[Issue] = []
    folder = folder_of(tmp_path, things=b'id,a\n1\n2,x,y\n3,"cut')
    async with dump_of(folder, "things").open([PLAN]) as snapshot:
        with pytest.raises(SourceError):
            await snapshot.scan(PLAN, lambda _: pytest.fail("pushed"), told.append)
    assert [issue.code for issue in told] == ["ragged_short", "ragged_long", "unterminated_quote"]


async def test_rows_are_not_given_before_they_are_indexed(tmp_path: Path) -> None:
    """Asking for rows out of turn is a mistake of ours, and says so."""
    folder = folder_of(tmp_path, things=TEXT)
    steps = opening(Opener(FilesSource(path=str(folder))), {"things": "things.csv"})
    found = dict(step for step in steps if step)["things"]
    assert not isinstance(found, Exception)
    config = FilesSource(path=str(folder))
    entity = dump_entity.DumpEntity(config, found, (), PLAN, HASHER)
    with pytest.raises(InvariantError, match="before it was indexed"):
        entity.fetch([])
    found.close()


async def test_every_value_of_a_wide_table_arrives_in_plan_order(tmp_path: Path) -> None:
    """Columns are sorted by name in the plan and stand in any order in the file."""
    names = [f"c{n:02}" for n in range(40)]
    header = ["id", *names[::-1]]
    rows = [[str(n), *(f"{name}-{n}" for name in names[::-1])] for n in range(500)]
    text = "\n".join(",".join(row) for row in [header, *rows]) + "\n"
    (tmp_path / "t.csv").write_text(text)
    look = await look_at(dump_at(tmp_path, "t.csv"), plan_of(header, ["id"], integer("id")))
    assert look.values() == [(*(f"{name}-{n}" for name in names), str(n)) for n in range(500)]


async def test_keys_of_every_kind_come_in_their_order(tmp_path: Path) -> None:
    """Bytewise order is the order of numbers, dates, identifiers and text (case 45)."""
    cases = {
        Kind.INTEGER: ["-9223372036854775808", "-2", "-1", "0", "3", "20", "9223372036854775807"],
        Kind.DATE: ["0001-01-01", "1999-12-31", "2000-01-01"],
        Kind.UUID: ["00000000-0000-0000-0000-000000000001", "f0000000-0000-0000-0000-000000000000"],
        Kind.TEXT: ["", " ", "A", "Y-11-3-4", "Y1-01-1-1", "a", "aa", "b", "é"],
    }
    for kind, ordered in cases.items():
        (tmp_path / "t.csv").write_text("k,v\n" + "".join(f'"{k}",x\n' for k in ordered[::-1]))
        columns = (Column("k", "k", ColumnType(kind=kind)), Column("v", "v", ColumnType()))
        look = await look_at(
            dump_at(tmp_path, "t.csv"), Plan("things", 1, columns, (0,), columns, (0,))
        )
        assert [row[0] for row in look.values()] == ordered
