"""Dumps made for tests, looked at through the ports, with every promise of a snapshot checked."""

import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import zstandard
from msgspec import Struct

from syncd.config import FilesSource
from syncd.flow.fingerprint import Hasher
from syncd.flow.keys import decode_key
from syncd.flow.model import Column, ColumnType, Issue, Kind, Plan, Read
from syncd.flow.ports import Block
from syncd.sources.files import Dump, DumpSnapshot

ENTITY: Final = "things"
HASHER: Final = Hasher(b"0123456789abcdef")
COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


class Look(Struct):
    """What one look at a dump gave."""

    rows: int
    keys: list[bytes]
    digests: list[int]
    widths: set[int]
    told: list[Issue]
    reads: list[Read]
    identity: str = ""
    spec: str = ""

    @property
    def codes(self) -> dict[str, int]:
        """How often each code was told."""
        return dict(Counter(issue.code for issue in self.told))

    @property
    def places(self) -> list[tuple[str, str]]:
        """Each finding that was told: its code and its place."""
        return [(issue.code, issue.place) for issue in self.told]

    @property
    def own(self) -> list[tuple[str, str, str]]:
        """Each finding that came with a row: its code, field and place."""
        return [(i.code, i.field, i.place) for read in self.reads for i in read.issues]

    def values(self) -> list[tuple[Any, ...]]:
        """The rows as read, bytes as text."""
        return [
            tuple(v.decode() if isinstance(v, bytes) else v for v in read.row)
            for read in self.reads
        ]


def plan_of(
    names: Iterable[str],
    key: Sequence[str],
    types: Mapping[str, ColumnType] | None = None,
    *,
    entity: str = ENTITY,
) -> Plan:
    """A plan that maps ``names`` one to one; text where no type is given."""
    columns = tuple(Column(n, n, (types or {}).get(n, ColumnType())) for n in sorted(names))
    places = [column.name for column in columns]
    return Plan(entity, 1, columns, tuple(places.index(k) for k in key), columns, (0,))


def integer(*names: str) -> dict[str, ColumnType]:
    """Types for integer columns."""
    return {name: ColumnType(kind=Kind.INTEGER) for name in names}


def digest_of(line: str) -> int:
    """The digest of a record."""
    return HASHER.digest(line.encode())


def dump_at(
    path: Path, file: str, columns: Sequence[str] = (), batch_rows: int = 7, **config: Any
) -> Dump:
    """A source of one entity."""
    return Dump(
        FilesSource(path=str(path), **config),
        {ENTITY: file},
        HASHER,
        sequence=17,
        batch_rows=batch_rows,
        columns={ENTITY: columns} if columns else None,
    )


async def scan(snapshot: DumpSnapshot, plan: Plan) -> Look:
    """Everything that ``scan`` pushes and tells; blocks are held to their contract."""
    blocks: list[Block] = []
    look = Look(0, [], [], set(), [], [])

    async def emit(block: Block) -> None:
        blocks.append(block)

    look.rows = await snapshot.scan(plan, emit, look.told.append)
    for block in blocks:
        records = list(records_of(block))
        assert records, "a block is never empty"
        assert not block.width or block.width * len(records) == len(block.data)
        look.widths.add(block.width)
        look.keys += [key for key, _ in records]
        look.digests += [digest for _, digest in records]
    return look


def records_of(block: Block) -> Iterable[tuple[bytes, int]]:
    """Key and digest of each record of a block."""
    at = 0
    while at < len(block.data):
        assert block.data[at : at + 2] == b"\x00\x02"
        end = at + 6 + int.from_bytes(block.data[at + 2 : at + 6], "big")
        assert block.data[end : end + 4] == b"\x00\x00\x00\x08"
        yield block.data[at + 6 : end], int.from_bytes(block.data[end + 4 : end + 12], signed=True)
        at = end + 12


async def look_at(dump: Dump, plan: Plan) -> Look:
    """Scan, read and fetch everything, and check that they agree and add up."""
    async with dump.open([plan]) as snapshot:
        look = await scan(snapshot, plan)
        told: list[Issue] = []

        async def emit(reads: Sequence[Read]) -> None:
            look.reads += reads

        assert await snapshot.read(plan, emit, told.append) == look.rows
        assert told == look.told, "scan and read tell the same"
        fetched = await snapshot.fetch(plan, look.keys)
        look.identity = await snapshot.identity(plan)
        look.spec = await snapshot.digest_spec(plan)
    assert [read.key for read in look.reads] == look.keys
    assert [read.digest for read in look.reads] == look.digests
    assert fetched == look.reads, "fetch gives what read gives"
    check_sums(look)
    for read in look.reads:
        decode_key(plan.key_types, read.key)
        assert len(read.row) == len(plan.columns)
    return look


def check_sums(look: Look) -> None:
    """The promise of ``DumpSnapshot``: ascending keys, and rows that add up."""
    assert look.keys == sorted(set(look.keys))
    errors = sum(issue.excludes for issue in look.told)
    repeated = sum(issue.code == "duplicate_record" for issue in look.told)
    assert look.rows == len(look.keys) + errors + repeated
    assert all(issue.place for issue in look.told)


async def look_at_text(
    folder: Path, text: str | bytes, key: Sequence[str] = ("id",), **config: Any
) -> Look:
    """``look_at`` a file of that text, all of its columns mapped; ``id`` is an integer."""
    name = f"things.{config.get('format', 'csv')}"
    data = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(data)
    dump = dump_at(folder, name, **config)
    return await look_at(dump, plan_of(await dump.describe(ENTITY), key, integer("id")))


def tar_of(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """An uncompressed tar; a TarInfo is stored as it is."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zip_of(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def json_lines(rows: Iterable[Mapping[str, object]]) -> bytes:
    """One object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def nothing_to_tell(issue: Issue) -> None:
    """For looks in which every finding is a mistake."""
    raise AssertionError(issue)


PAIRS: Final = plan_of(["id", "a"], ["id"], integer("id"))


def folder_of(folder: Path, **texts: bytes) -> Path:
    """``folder``, with a CSV file of each name."""
    for name, text in texts.items():
        (folder / f"{name}.csv").write_bytes(text)
    return folder


def dump_of(path: Path, *entities: str) -> Dump:
    """A source of several entities, each the CSV file of its name."""
    files = {entity: f"{entity}.csv" for entity in entities}
    return Dump(FilesSource(path=str(path)), files, HASHER, sequence=3, batch_rows=100)


def pairs_of(entity: str) -> Plan:
    """The plan ``PAIRS`` under another name."""
    return plan_of(["id", "a"], ["id"], integer("id"), entity=entity)
