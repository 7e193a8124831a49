"""A snapshot as a whole: identity, digest epoch, fetching, isolation, cancellation, handles."""

import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from syncd.config import FilesSource
from syncd.errors import InvariantError
from syncd.flow.model import Column, ColumnType, Kind, Plan, Read
from syncd.flow.ports import Block, Snapshot, Source
from syncd.sources import dump_entity, files
from syncd.sources.dump_files import Opener
from syncd.sources.dump_root import opening
from tests.sources.dump_world import (
    HASHER,
    PAIRS,
    dump_at,
    dump_of,
    folder_of,
    integer,
    look_at,
    nothing_to_tell,
    plan_of,
    records_of,
    scan,
    tar_of,
    zip_of,
)

TEXT: Final = b"id,a\n" + b"".join(b"%d,v%d\n" % (n * 7919 % 3001, n) for n in range(3000))


async def identity_of(path: Path, name: str = "t.csv", plan: Plan = PAIRS, **config: Any) -> str:
    async with dump_at(path, name, **config).open([plan]) as snapshot:
        return await snapshot.identity(plan)


async def spec_of(path: Path, plan: Plan = PAIRS, **config: Any) -> str:
    async with dump_at(path, "t.csv", **config).open([plan]) as snapshot:
        return await snapshot.digest_spec(plan)


def is_source(source: Source) -> Source:
    return source


async def test_a_dump_is_a_source(tmp_path: Path) -> None:
    """mypy holds it to the ports; the position is the number of the dump; closing is harmless."""
    source = is_source(dump_of(folder_of(tmp_path, things=TEXT), "things"))
    async with source.open([PAIRS]) as snapshot:
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
        plan = PAIRS if at else plan_of(["hd", "a"], ["hd"])
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
    async with dump_of(folder, "things").open([PAIRS]) as snapshot:
        look = await scan(snapshot, PAIRS)
        assert (look.rows, look.told) == (3000, [])


async def test_a_fetch_gives_what_is_there_in_key_order(tmp_path: Path) -> None:
    """Absent keys are left out; calls go forward, and may also go back or come first."""
    folder = folder_of(tmp_path, things=TEXT)
    async with dump_of(folder, "things").open([PAIRS]) as snapshot:
        assert [r.key for r in await snapshot.fetch(PAIRS, [key_of(5), key_of(10**9)])] == [
            key_of(5)
        ]
        look = await scan(snapshot, PAIRS)
        some = look.keys[::7]
        assert [r.key for r in await snapshot.fetch(PAIRS, some)] == some
        between = [key + b"\0" for key in some]
        assert await snapshot.fetch(PAIRS, between) == []
        assert await snapshot.fetch(PAIRS, [b"", *between]) == []
        assert await snapshot.fetch(PAIRS, []) == []
        again = await snapshot.fetch(PAIRS, look.keys[:3])
        assert [read.key for read in again] == look.keys[:3]


def key_of(number: int) -> bytes:
    return (number + 2**63).to_bytes(8, "big")


async def test_rows_may_be_fetched_while_keys_are_pushed(tmp_path: Path) -> None:
    """A survey fetches its suspects while the scan still goes on; several at once, too."""
    folder = folder_of(tmp_path, things=b"id,a\n" + b"".join(b"%d,x\n" % n for n in range(30_000)))
    fetched: list[Read] = []
    async with dump_of(folder, "things").open([PAIRS]) as snapshot:

        async def emit(block: Block) -> None:
            keys = [key for key, _ in records_of(block)][:250]

            async def fetch() -> None:
                fetched.extend(await snapshot.fetch(PAIRS, keys))

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(fetch)

        rows = await snapshot.scan(PAIRS, emit, nothing_to_tell)
    assert rows == 30_000
    assert len(fetched) == 3 * 250 * 3
    assert all(
        read.row == (b"x", b"%d" % (int.from_bytes(read.key, "big") - 2**63)) for read in fetched
    )


async def test_reads_come_in_batches_of_the_configured_size(tmp_path: Path) -> None:
    """No batch is larger than ``batch_rows``, and none is empty."""
    folder, sizes = folder_of(tmp_path, things=TEXT), list[int]()

    async def emit(reads: Sequence[Read]) -> None:
        sizes.append(len(reads))

    async with dump_of(folder, "things").open([PAIRS]) as snapshot:
        assert await snapshot.read(PAIRS, emit, nothing_to_tell) == 3000
    assert sizes == [100] * 30


async def test_another_plan_of_the_same_entity_is_read_anew(tmp_path: Path) -> None:
    """What was indexed for one mapping is not used for another."""
    folder = folder_of(tmp_path, things=b"id,a\n1,x\n2,y\n")
    other = plan_of(["id", "a"], ["a"])
    async with dump_of(folder, "things").open([PAIRS]) as snapshot:
        assert (await scan(snapshot, PAIRS)).keys == [key_of(1), key_of(2)]
        assert (await scan(snapshot, other)).keys == [b"x\0", b"y\0"]
        assert (await scan(snapshot, PAIRS)).keys == [key_of(1), key_of(2)]


async def test_a_scan_may_be_repeated(tmp_path: Path) -> None:
    """Each scan reads anew and tells anew."""
    folder = folder_of(tmp_path, things=b"id,a\n1\n1,x\n2,y\n")
    async with dump_of(folder, "things").open([PAIRS]) as snapshot:
        first, second = await scan(snapshot, PAIRS), await scan(snapshot, PAIRS)
    assert (first.keys, first.digests, first.told) == (second.keys, second.digests, second.told)


async def test_rows_are_not_given_before_they_are_indexed(tmp_path: Path) -> None:
    """Asking for rows out of turn is a mistake of ours, and says so."""
    folder = folder_of(tmp_path, things=TEXT)
    steps = opening(Opener(FilesSource(path=str(folder))), {"things": "things.csv"})
    found = dict(step for step in steps if step)["things"]
    assert not isinstance(found, Exception)
    config = FilesSource(path=str(folder))
    entity = dump_entity.DumpEntity(config, found, (), PAIRS, HASHER)
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
