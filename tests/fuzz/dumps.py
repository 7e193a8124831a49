"""Dumps: CSV, NDJSON and JSON, plain, compressed and in archives, with one row or any byte damaged.

Three promises are held. The sums of ``DumpSnapshot`` add up, and what is read is canonical. A row
that was not damaged is read as before, unless another claims its key or a finding says that rows
are unread. What comes out of a damaged archive is what another reader of archives finds in it.
"""

import csv
import gzip
import io
import json
import lzma
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from typing import Final

import zstandard
from msgspec import Struct

from syncd.config import FilesSource
from syncd.errors import SyncdError
from syncd.flow.model import MISSING, ColumnType, Issue, Kind, Plan, Read
from syncd.flow.normalise import Dialect, Normaliser
from syncd.sources.dump_entity import DumpEntity, records_of
from syncd.sources.dump_files import DumpFile, Opener
from syncd.sources.dump_root import opening
from syncd.sources.json_records import _Objects
from tests.fuzz.decoder import Decoder
from tests.fuzz.mutators import mutated
from tests.fuzz.values import CODES, assert_canonical
from tests.sources.dump_world import COMPRESS, ENTITY, HASHER, plan_of, tar_of, zip_of

TYPES: Final = {
    "id": ColumnType(Kind.INTEGER),
    "amount": ColumnType(Kind.DECIMAL, scale=2),
    "flag": ColumnType(Kind.BOOLEAN),
    "seen": ColumnType(Kind.TIMESTAMPTZ),
    "doc": ColumnType(Kind.JSON),
}
NAMES: Final = ("id", "name", "amount", "flag", "seen", "doc")
PLAN: Final = plan_of(NAMES, ["id"], TYPES)
ROW_CODES: Final = CODES | {
    *("ragged_short", "ragged_long", "charset", "stray_quote", "stray_return", "record_too_long"),
    *("json_syntax", "json_kind", "cut_record", "no_final_newline", "column_absent"),
    *("duplicate_key", "duplicate_record", "unterminated_quote"),
    *("null_key", "missing_key", "key_range", "key_value", "key_charset"),
}
_BLOCK_BYTES: Final = 100
RECORD_BYTES_MAX: Final = 4096  # small, so that records beyond it are met


class Look(Struct):
    """What one look gave."""

    rows: int
    told: list[Issue]
    reads: list[Read]

    @property
    def by_key(self) -> dict[bytes, Read]:
        """The rows."""
        return {read.key: read for read in self.reads}


def look(data: bytes, file: str, config: Mapping[str, object], member: str = "") -> Look:
    """Read a dump as a survey and a fetch do. Raises SyncdError."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        (Path(folder) / file).write_bytes(data)
        root = str(Path(folder) / file) if member else folder
        chosen = {"max_record_bytes": RECORD_BYTES_MAX, **config}
        source = FilesSource(path=root, **chosen)  # type: ignore[arg-type]
        opener = Opener(source, Path(folder))
        opened = dict(one for one in opening(opener, {ENTITY: member or file}) if one)
        found = opened[ENTITY]
        if isinstance(found, SyncdError):
            raise found
        stack.callback(found.close)
        return _looked(source, found, stack)


def _looked(source: FilesSource, file: DumpFile, stack: ExitStack) -> Look:
    records_of(source, file, ())  # as ``describe`` does
    entity = DumpEntity(source, file, (), PLAN, HASHER)
    stack.callback(entity.close)
    told = list(chain.from_iterable(entity.indexing(None)))
    reads = list(chain.from_iterable(entity.batches(7)))
    assert entity.fetch([read.key for read in reads]) == reads
    assert list(entity.identifying())[-1]
    assert_sound(PLAN, entity.rows, told, reads)
    return Look(entity.rows, told, reads)


def assert_sound(plan: Plan, rows: int, told: Sequence[Issue], reads: Sequence[Read]) -> None:
    """The sums add up, keys ascend, findings are known, and values are canonical."""
    keys = [read.key for read in reads]
    assert keys == sorted(set(keys))
    errors = sum(issue.excludes for issue in told)
    repeated = sum(issue.code == "duplicate_record" for issue in told)
    assert rows == len(reads) + errors + repeated
    for issue in chain(told, *(read.issues for read in reads)):
        assert issue.code in ROW_CODES, issue.code
        assert issue.place
    for read in reads:
        excluded = any(issue.excludes for issue in read.issues)
        for column, value in zip(plan.columns, read.row, strict=True):
            if value is MISSING or value is None:
                continue
            assert isinstance(value, bytes)
            assert_canonical(column.type, value, RECORD_BYTES_MAX)
        assert excluded or MISSING not in read.row or _may_lack(told, read)


def _may_lack(told: Sequence[Issue], read: Read) -> bool:
    """Whether the source is known to have said nothing of a column."""
    codes = {issue.code for issue in told} | {issue.code for issue in read.issues}
    return bool(codes & {"ragged_short", "column_absent"}) or not read.issues


# -- rows ------------------------------------------------------------------------------------


def table(rows: int) -> list[dict[str, object]]:
    """Sound rows, in no order of their keys."""
    return [
        {
            "id": (at * 7) % 100 - 20,
            "name": ("Ada", 'say "hi"', "a, b", "São Tomé", "two\nlines", "")[at % 6],
            "amount": f"{at * 3.25:.2f}",
            "flag": at % 2 == 0,
            "seen": f"2026-03-{at % 28 + 1:02} 07:30:00+01",
            "doc": '{"a": [1, 2.50, null]}' if at % 3 else "null",
        }
        for at in range(rows)
    ]


def csv_lines(rows: Iterable[Mapping[str, object]], **dialect: object) -> list[bytes]:
    """The header and each row, with line ends."""
    lines = []
    for values in chain([NAMES], ([row[name] for name in NAMES] for row in rows)):
        stream = io.StringIO(newline="")
        csv.writer(stream, lineterminator="\n", **dialect).writerow(values)  # type: ignore[arg-type]
        lines.append(stream.getvalue().encode())
    return lines


def json_lines(rows: Iterable[Mapping[str, object]]) -> list[bytes]:
    """Each row as an object on its line."""
    return [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]


def as_csv(lines: Sequence[bytes]) -> bytes:
    """Lines as they are."""
    return b"".join(lines)


def as_array(lines: Sequence[bytes]) -> bytes:
    """Objects with commas between, in brackets."""
    return b"[" + b",\n".join(line.rstrip(b"\n") for line in lines) + b"]\n"


class Layout(Struct, frozen=True):
    """A format: how rows become text. ``fixed`` lines at the beginning are not rows."""

    name: str
    file: str
    config: Mapping[str, object]
    lines: tuple[bytes, ...]
    join: Callable[[Sequence[bytes]], bytes]
    fixed: int = 0


def layouts() -> list[Layout]:
    """Every format, CSV in three dialects."""
    rows = table(12)
    objects = json_lines({**row, "doc": json.loads(str(row["doc"]))} for row in rows)
    semicolon: dict[str, object] = {"delimiter": ";", "escape": "\\"}
    escaped = csv_lines(rows, delimiter=";", escapechar="\\", doublequote=False)
    everything = csv_lines(rows, quoting=csv.QUOTE_ALL)
    return [
        Layout("csv", "t.csv", {}, tuple(csv_lines(rows)), as_csv, 1),
        Layout("csv_quoted", "t.csv", {}, tuple(everything), as_csv, 1),
        Layout("csv_escaped", "t.csv", semicolon, tuple(escaped), as_csv, 1),
        Layout("ndjson", "t.ndjson", {"format": "ndjson"}, tuple(objects), as_csv),
        Layout("json", "t.json", {"format": "json"}, tuple(objects), as_array),
    ]


def check_anywhere(layout: Layout, data: bytes, _random: Random) -> str:
    """Any damage anywhere: rows that add up, or an error of ours."""
    try:
        found = look(data, layout.file, layout.config)
    except SyncdError as error:
        return type(error).__name__
    return "finding" if found.told or any(read.issues for read in found.reads) else "value"


def check_one_row(layout: Layout, sound: Mapping[bytes, Read], data: bytes, random: Random) -> str:
    """Damage to one row; the others must be read as before."""
    at = random.randrange(layout.fixed, len(layout.lines))
    lines = list(layout.lines)
    lines[at] = mutated(lines[at].removesuffix(b"\n"), [data], random) + b"\n"
    text = layout.join(lines)
    alone = layout.join([*layout.lines[: layout.fixed], layout.lines[at]])
    (own,) = look(alone, layout.file, layout.config).reads
    try:
        found = look(text, layout.file, layout.config)
    except SyncdError as error:
        return type(error).__name__
    return assert_untouched(sound, own.key, found, text)


def assert_untouched(
    sound: Mapping[bytes, Read], own: bytes, found: Look, text: bytes = b""
) -> str:
    """Every row of ``sound`` but ``own`` is as it was, was claimed twice, or may be unread."""
    rows = found.by_key
    unread = any(i.excludes and i.code not in ("duplicate_key", "null_key") for i in found.told)
    for key, read in sound.items():
        if key == own:
            continue
        if key not in rows:
            # Quotes that open in one row may close in another: then it is text by the grammar.
            assert unread or b'"' in text, "a row vanished, and nothing says so"
        elif not any(issue.code == "duplicate_key" for issue in rows[key].issues):
            # An escaped line end joins a row to the next: other bytes, and so another digest.
            is_joined = b"\\\n" in text
            same = rows[key].row == read.row and (is_joined or rows[key].digest == read.digest)
            assert same or _is_repeated(found), "a row changed because of another"
    return "finding" if found.told else "value"


def _is_repeated(found: Look) -> bool:
    return any(issue.code == "duplicate_record" for issue in found.told)


# -- stored bytes ----------------------------------------------------------------------------


def _unzip(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("t.csv")


def _untar(data: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        member = archive.extractfile("t.csv")
        assert member
        return member.read()


def _unzstd(data: bytes) -> bytes:
    with zstandard.open(io.BytesIO(data), "rb", dctx=None) as stream:
        return stream.read()  # type: ignore[no-any-return]


def _zstd(data: bytes) -> bytes:
    """One frame of many blocks, so that a cut leaves some of them whole."""
    packer = zstandard.ZstdCompressor().compressobj()
    parts = []
    for at in range(0, len(data), _BLOCK_BYTES):
        parts.append(packer.compress(data[at : at + _BLOCK_BYTES]))
        parts.append(packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    return b"".join([*parts, packer.flush()])


def _tar(data: bytes) -> bytes:
    return tar_of({"other.csv": b"x\n", "t.csv": data})


def _zip(data: bytes) -> bytes:
    return zip_of({"other.csv": b"x\n", "t.csv": data})


class Store(Struct, frozen=True):
    """A way of storing a dump, and another reader of the same."""

    suffix: str
    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]
    is_archive: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """The file, and its member where it is an archive."""
        return ("dump" + self.suffix, "t.csv") if self.is_archive else ("t.csv" + self.suffix, "")


STORES: Final = (
    Store(".gz", COMPRESS[".gz"], gzip.decompress),
    Store(".xz", COMPRESS[".xz"], lzma.decompress),
    Store(".zst", _zstd, _unzstd),
    Store(".tar", _tar, _untar, is_archive=True),
    Store(".zip", _zip, _unzip, is_archive=True),
    Store(
        ".tar.gz",
        lambda data: gzip.compress(tar_of({"t.csv": data})),
        lambda data: _untar(gzip.decompress(data)),
        is_archive=True,
    ),
)


_OBJECTS: Final = _Objects("utf-8")
_MEMBERS: Final = _OBJECTS.picker(NAMES)
_NORMALISER: Final = Normaliser(NAMES, [TYPES.get(n, ColumnType()) for n in NAMES], Dialect.PYTHON)


def check_record(data: bytes, _random: Random) -> str:
    """The bytes of one JSON record: a flaw of the table, or members that are values or findings."""
    flaw = _OBJECTS.flaw(data)
    if flaw is not None:
        assert flaw.code in ("charset", "json_syntax", "json_kind"), flaw.code
        return flaw.code
    row, issues = _NORMALISER.row(_MEMBERS(data))
    assert all(issue.code in CODES for issue in issues)
    for name, value in zip(NAMES, row, strict=True):
        if isinstance(value, bytes):
            assert_canonical(TYPES.get(name, ColumnType()), value, len(data))
    return "finding" if issues else "value"


def check_stored(
    store: Store,
    sound: Mapping[bytes, Read],
    stored: bytes,
    data: bytes,
    random: Random,
) -> str:
    """Damage to stored bytes: an error of ours, or what the other reader finds too."""
    file, member = store.names
    assert_cut_is_told(sound, stored, random, store.names)
    try:
        found = look(data, file, {}, member)
    except SyncdError as error:
        return type(error).__name__
    if found.by_key == sound:
        return "value"
    plain = store.unpack(data)
    again = look(plain, "t.csv", {}).reads
    assert [*map(_said, again)] == [*map(_said, found.reads)], "two readers of archives disagree"
    return "finding"


def assert_cut_is_told(
    sound: Mapping[bytes, Read], stored: bytes, random: Random, names: tuple[str, str]
) -> None:
    """A stored dump that ends too early is an error, unless nothing but padding is gone."""
    try:
        found = look(stored[: random.randrange(1, len(stored))], names[0], {}, names[1])
    except SyncdError:
        return
    assert found.by_key == sound, "a dump that was cut off was taken for another whole one"


def _said(read: Read) -> tuple[object, ...]:
    """A row without its place, which names the archive."""
    return read.key, read.row, read.digest, [(issue.code, issue.field) for issue in read.issues]


def dump_decoders() -> list[Decoder]:
    """Each format damaged anywhere and in one row, and each way of storing one."""
    decoders = []
    for layout in layouts():
        text = layout.join(layout.lines)
        sound = look(text, layout.file, layout.config).by_key
        assert len(sound) == len(layout.lines) - layout.fixed
        anywhere = partial(check_anywhere, layout)
        decoders += [
            Decoder(f"dump_{layout.name}", (text,), anywhere, weight=20),
            Decoder(
                f"row_{layout.name}", layout.lines, partial(check_one_row, layout, sound), weight=40
            ),
        ]
    records = next(layout for layout in layouts() if layout.name == "ndjson").lines
    decoders.append(Decoder("record_json", records, check_record))
    first = layouts()[0]
    plain = first.join(first.lines)
    for store in STORES:
        stored = store.pack(plain), store.pack(plain[: len(plain) // 2])
        file, member = store.names
        found = look(stored[0], file, {}, member).by_key
        check = partial(check_stored, store, found, stored[0])
        decoders.append(
            Decoder(f"stored{store.suffix.replace('.', '_')}", stored, check, weight=20)
        )
    return decoders
