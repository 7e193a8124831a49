"""What PostgreSQL sends: binary COPY of keys, text COPY of rows, and the ledger's JSON columns.

A connection that is cut, or cut into other pieces, is the world's doing: there only an error of
ours may come, and the pieces make no difference. Bytes that are changed on the way are not, since
TLS and TCP prove them, and a server does not send what is no COPY; such a stream may also end in
one of the ``INTERNAL`` exceptions, which end the run before anything is concluded.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final, TypeAlias

import msgspec

from syncd.errors import InvariantError, SyncdError
from syncd.flow.keys import encode_key
from syncd.flow.model import ColumnType, Counts, Issue, Kind, Read, Severity
from syncd.flow.normalise import Dialect, Normaliser
from syncd.flow.ports import Block
from syncd.ledger.postgres import to_unit
from syncd.pg.copy_blocks import BlockCutter
from syncd.sources.postgres_records import RECORD_BYTES, KeyRecords, RowLines, RowPlan
from tests.fuzz.decoder import Decoder

# What a stream that no server sends ends in, besides errors of ours.
INTERNAL: Final = (ValueError, IndexError)
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_PIECE_BYTES_MAX: Final = 64

# Takes a stream in pieces; what became of it in a word, and what it gave.
Collect: TypeAlias = Callable[[Sequence[bytes]], tuple[str, object]]


def key_record(key: bytes | None, digest: int) -> bytes:
    """One record of (key, digest) as COPY sends it."""
    length = b"\xff\xff\xff\xff" if key is None else len(key).to_bytes(4, "big")
    tail = b"\0\0\0\x08" + digest.to_bytes(8, "big", signed=True)
    return b"\0\2" + length + (key or b"") + tail


def _integer_keys() -> list[bytes]:
    return [encode_key((Kind.INTEGER,), (b"%d" % n,)) for n in (-5, 0, 1, 7, 300, 2**40)]


def _text_keys() -> list[bytes]:
    return [encode_key((Kind.TEXT,), (t,)) for t in (b"", b"a", b"ab", b"\x7f", "é".encode())]


def _stream(keys: Sequence[bytes | None]) -> bytes:
    records = [key_record(key, 11 * at - 3) for at, key in enumerate(keys)]
    return _HEADER + b"".join(records) + _TRAILER


def pieces(data: bytes, random: Random) -> list[bytes]:
    """``data`` in pieces of any size."""
    found, at = list[bytes](), 0
    while at < len(data):
        size = random.randint(1, _PIECE_BYTES_MAX)
        found.append(data[at : at + size])
        at += size
    return found


def cut(sound: bytes, random: Random) -> bytes:
    """A stream that ends anywhere, or where it should."""
    return sound[: random.choice((random.randint(0, len(sound)), len(sound)))]


def check_cut(read: Collect, sound: Sequence[bytes], _data: bytes, random: Random) -> str:
    """A sound stream that may be cut: what it gives adds up, and pieces make no difference."""
    data = cut(random.choice(sound), random)
    whole = read([data])
    assert whole == read(pieces(data, random)), "pieces make a difference"
    if data in sound or not data:
        assert not data or whole[0] != "SourceError"
    elif whole[0] != "SourceError":
        # Only the ledger's cutter, which concludes nothing from absence, lets a border pass.
        assert isinstance(whole[1], bytes), "a stream without its end was taken for whole"
        assert whole[1] == data[len(_HEADER) :].removesuffix(_TRAILER)
    return whole[0]


def check_changed(read: Collect, data: bytes, random: Random) -> str:
    """A stream that no server sends: what it gives adds up, or it ends in an error."""
    try:
        return read(pieces(data, random))[0]
    except INTERNAL as error:
        return f"internal {type(error).__name__}"


def _keys_of(width: int, data: Sequence[bytes]) -> tuple[str, object]:
    told: list[Issue] = []
    cutter = KeyRecords(width, "id", told.append, block_bytes=40)
    blocks: list[Block] = []
    try:
        for piece in data:
            blocks += cutter.feed(piece)
        blocks += cutter.finish()
    except SyncdError as error:
        return type(error).__name__, None
    keys = [key for block in blocks for key, _ in _records(block)]
    assert keys == sorted(set(keys)), "keys that do not ascend are never handed on"
    assert all(issue.severity is Severity.ERROR for issue in told)
    assert cutter.rows == len(keys) + len(told)
    return "finding" if told else "value", keys


def _records(block: Block) -> list[tuple[bytes, int]]:
    found, at = [], 0
    while at < len(block.data):
        length = int.from_bytes(block.data[at + 2 : at + 6], "big")
        end = at + RECORD_BYTES + length
        assert end <= len(block.data), "a block is whole"
        record = block.data[at:end]
        found.append((record[6:-12], int.from_bytes(record[-8:], "big", signed=True)))
        at = end
    return found


def _blocks_of(data: Sequence[bytes]) -> tuple[str, object]:
    cutter, blocks = BlockCutter(40), list[Block | None]()
    try:
        blocks += [cutter.feed(piece) for piece in data]
        blocks.append(cutter.finish())
    except SyncdError as error:
        return type(error).__name__, None
    return "value", b"".join(block.data for block in blocks if block)


TYPES: Final = (
    ColumnType(Kind.DECIMAL, scale=2),
    ColumnType(Kind.TIMESTAMPTZ),
    ColumnType(Kind.INTEGER),
    ColumnType(),
    ColumnType(Kind.TIME),
)
_NAMES: Final = ("amount", "at", "id", "name", "time")
_ROWS: Final = RowPlan(Normaliser(_NAMES, TYPES, Dialect.CANONICAL), (2,), (Kind.INTEGER,), "id")
_LINES: Final = (
    b"1.5\t2026-03-29 00:30:00+00\t-3\tAda\t07:30:00\t17\n",
    b"\\N\t\\N\t1\ttwo\\nlines \\\\ \\t\t\\N\t-9\n",
    b"NaN\tinfinity\t2\t\xc3\xa9\t24:00:00\t\\N\n".replace(b"\\N", b"5"),
    b"-0.25\t0044-03-15 00:00:00+00 BC\t900\t\t23:59:59.5\t8\n",
)


def _rows_of(data: Sequence[bytes]) -> tuple[str, object]:
    told: list[Issue] = []
    lines, reads = RowLines(_ROWS, 2, told.append), list[Read]()
    try:
        for batch in [b for piece in data for b in lines.feed(piece)] + lines.finish():
            reads += batch
    except SyncdError as error:
        return type(error).__name__, None
    keys = [read.key for read in reads]
    assert keys == sorted(set(keys))
    assert lines.rows == len(reads) + len(told)
    said = [(read.key, read.row, read.digest, read.issues) for read in reads]
    return "finding" if told else "value", said


def check_unit(data: bytes, _random: Random) -> str:
    """A work unit's two JSON columns: counts, or nothing but an error."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        unit = to_unit(1, "items", "u", text, text)
    except InvariantError as error:
        return type(error).__name__
    for counts in (unit.present, unit.absent, unit.present_redone, unit.absent_redone):
        assert all(isinstance(rows, int) for rows in counts.as_dict().values())
    return "value"


def stream_decoders() -> list[Decoder]:
    """Both collectors of a source, the ledger's cutter, and work units."""
    integers, texts = _integer_keys(), _text_keys()
    width = len(integers[0]) + RECORD_BYTES
    counts = msgspec.json.encode({"present": Counts(seen=3, inserted=3), "absent": Counts()})
    lines = tuple(b"".join(_LINES[:count]) for count in range(1, len(_LINES) + 1))
    collected: dict[str, tuple[Collect, tuple[bytes, ...]]] = {
        "keys_even": (partial(_keys_of, width), (_stream(integers), _stream([None, *integers]))),
        "keys_uneven": (partial(_keys_of, 0), (_stream(texts), _stream([*texts, None]))),
        "blocks": (_blocks_of, (_stream(integers), _stream(texts))),
        "rows": (_rows_of, lines),  # a line is a border too: COPY itself says where it ends
    }
    decoders = [Decoder("ledger_unit", (counts, b'{"present": {}, "absent": {}}'), check_unit)]
    for name, (read, sound) in collected.items():
        decoders += [
            Decoder(f"cut_{name}", sound, partial(check_cut, read, sound)),
            Decoder(f"copy_{name}", sound, partial(check_changed, read)),
        ]
    return decoders
