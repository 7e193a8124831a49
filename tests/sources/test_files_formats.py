"""Every format, in every compression, in every container, in every place where a key may stand."""

import codecs
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from syncd.errors import ConfigError, DriftError, SourceError
from syncd.flow.model import MISSING, ColumnType, Kind
from syncd.sources import decompression
from syncd.sources.decompression import Counted, decompressed
from tests.sources.dump_world import (
    COMPRESS,
    ENTITY,
    Look,
    digest_of,
    dump_at,
    integer,
    json_lines,
    look_at,
    look_at_text,
    plan_of,
    tar_of,
    zip_of,
)

ROWS: Final = [
    {"id": "10", "name": "Ann", "note": 'said "no", left'},
    {"id": "9", "name": "Bo", "note": "two\nlines"},
    {"id": "-3", "name": "Ćiril", "note": ""},
]
EXPECTED: Final = [
    ("-3", "Ćiril", ""),
    ("9", "Bo", "two\nlines"),
    ("10", "Ann", 'said "no", left'),
]
CSV: Final = b'id,name,note\n10,Ann,"said ""no"", left"\n9,Bo,"two\nlines"\n-3,\xc4\x86iril,\n'
CONTENT: Final = {
    "csv": CSV,
    "ndjson": json_lines(ROWS),
    "json": json.dumps(ROWS, ensure_ascii=False, indent=1).encode(),
}
COMPRESSIONS: Final = ("", ".gz", ".xz", ".zst")
CONTAINERS: Final[dict[str, Callable[[bytes, str], bytes]]] = {
    "": lambda content, _: content,
    ".tar": lambda content, name: tar_of({"notes.txt": b"x", f"./in/{name}": content}),
    ".zip": lambda content, name: zip_of({"notes.txt": b"x", f"in/{name}": content}),
}


async def look_everywhere(dump_path: Path, file: str, **config: Any) -> Look:
    dump = dump_at(dump_path, file, **config)
    shape = await dump.describe(ENTITY)
    assert set(shape) == {"id", "name", "note"}
    assert all(found.type == ColumnType() for found in shape.values())
    return await look_at(dump, plan_of(shape, ["id"], integer("id")))


@pytest.mark.parametrize("named", ["whole", "without suffix"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("format_", CONTENT)
async def test_every_format_reads_the_same_from_everywhere(
    tmp_path: Path, format_: str, container: str, compression: str, named: str
) -> None:
    """The same rows come from CSV, NDJSON and JSON, however packed, and the names may be short."""
    stored = f"things.{format_}{compression}"
    content = COMPRESS[compression](CONTENT[format_])
    path = tmp_path / (f"dump{container}" if container else stored)
    path.write_bytes(CONTAINERS[container](content, stored))
    short = f"things.{format_}" if named == "without suffix" else stored
    look = await look_everywhere(
        path if container else tmp_path, f"in/{short}" if container else short, format=format_
    )
    assert look.values() == EXPECTED
    assert look.told == []


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst"])
async def test_a_tar_may_be_compressed_as_a_whole(tmp_path: Path, suffix: str) -> None:
    """An archive is recognised by its suffix, whichever way it is compressed."""
    compression = {".tgz": ".gz", ".txz": ".xz"}.get(suffix, suffix.removeprefix(".tar"))
    path = tmp_path / f"DUMP{suffix.upper()}"
    path.write_bytes(COMPRESS[compression](tar_of({"things.csv": CSV})))
    look = await look_everywhere(path, "things.csv")
    assert look.values() == EXPECTED


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_the_path_may_be_the_one_file_itself(tmp_path: Path, compression: str) -> None:
    """A path that is a single file serves the entity that names it."""
    path = tmp_path / f"things.csv{compression}"
    path.write_bytes(COMPRESS[compression](CSV))
    assert (await look_everywhere(path, "things.csv")).values() == EXPECTED


@pytest.mark.parametrize("compression", [".gz", ".xz", ".zst"])
async def test_streams_written_one_after_the_other_are_one_file(
    tmp_path: Path, compression: str
) -> None:
    """A compressed file may consist of several streams, as parallel compressors write it."""
    pack = COMPRESS[compression]
    (tmp_path / f"things.csv{compression}").write_bytes(
        b"".join(pack(c) for c in (CSV, b"1,a,b\n"))
    )
    assert (await look_everywhere(tmp_path, "things.csv")).rows == 4


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_comes_out_whole_however_it_is_cut(
    suffix: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces in and pieces out have any size, and what is left inside a decoder is asked for."""
    monkeypatch.setattr(decompression, "PIECE_BYTES", 64)
    content = bytes(5000) + random.Random(1).randbytes(3000) + b"x" * 5000  # noqa: S311
    stored = COMPRESS[suffix](content) * 2
    chunks = Counted(stored[at : at + size] for at in range(0, len(stored), size))
    assert b"".join(decompressed(chunks, suffix, "t")) == content * 2
    assert chunks.bytes == len(stored)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_zeros_may_pad_the_end_of_a_stream(suffix: str) -> None:
    """Tapes and some tools fill the last block."""
    stored = COMPRESS[suffix](b"content")
    for chunks in ([stored + bytes(512)], [stored, bytes(512)], [stored, bytes(4), bytes(8)]):
        assert b"".join(decompressed(Counted(iter(chunks)), suffix, "t")) == b"content"


async def test_large_streams_unfold_piece_by_piece(tmp_path: Path) -> None:
    """A stream that is longer than any piece of it comes out whole."""
    body = b"".join(b"%d,%d,%s\n" % (n, n * 7919 % 1000, b"x" * (n % 50)) for n in range(10_000))
    looks = []
    for compression in COMPRESSIONS:
        (tmp_path / f"things.csv{compression}").write_bytes(
            COMPRESS[compression](b"id,name,note\n" + body)
        )
        looks.append(await look_everywhere(tmp_path, f"things.csv{compression}", batch_rows=5000))
    assert looks[0].rows == 10_000
    assert all(look.reads == looks[0].reads for look in looks)


ENCODED: Final = "id,name,note\n1,Ćiril Þór €,x\n2,Zoë,\n"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", ENCODED),
        ("utf-8-sig", ENCODED),
        ("UTF8", "\ufeff" + ENCODED),
        ("utf-16", ENCODED),
        ("utf-16-le", "\ufeff" + ENCODED),
        ("utf-16-be", ENCODED),
        ("utf-32", ENCODED),
        ("latin-1", ENCODED.replace("Ć", "Ç").replace("€", "¤")),
        ("cp1252", ENCODED.replace("Ć", "Ç")),
        ("iso8859-2", ENCODED.replace("Þ", "Ď").replace("€", "")),
        ("shift_jis", "id,name,note\n1,表示ソ,能\n2,ab,\n"),
        ("gb18030", "id,name,note\n1,表示,能\n2,ab,\n"),
        ("euc_jp", "id,name,note\n1,表示ソ,能\n2,ab,\n"),
    ],
)
@pytest.mark.parametrize("format_", ["csv", "ndjson"])
async def test_text_is_read_in_its_encoding(
    tmp_path: Path, encoding: str, text: str, format_: str
) -> None:
    """Values come as UTF-8 from every encoding, with or without a byte order mark."""
    lines = [line.split(",") for line in text.removeprefix("\ufeff").splitlines()]
    if format_ == "ndjson":
        mark = "\ufeff" if text.startswith("\ufeff") else ""
        text = mark + json_lines([dict(zip(lines[0], x, strict=True)) for x in lines[1:]]).decode()
    look = await look_at_text(tmp_path, text.encode(encoding), encoding=encoding, format=format_)
    assert look.values() == [tuple(line) for line in lines[1:]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoted", [True, False])
async def test_lines_end_with_or_without_a_return(
    tmp_path: Path, end: str, *, quoted: bool
) -> None:
    """LF and CRLF give the same rows and the same digests."""
    lines = ["id,a", "2,x", '1,"y"' if quoted else "1,y", ""]
    look = await look_at_text(tmp_path, end.join(lines))
    assert look.values() == [("y", "1"), ("x", "2")]
    assert look.digests == [digest_of(lines[2]), digest_of(lines[1])]


async def test_line_ends_may_be_mixed(tmp_path: Path) -> None:
    """A file that was edited on two systems reads as if it had one kind of line end."""
    look = await look_at_text(tmp_path, 'id,a\r\n1,x\n2,y\r\n3,"z"\n4,"w"\r\n')
    assert look.values() == [("x", "1"), ("y", "2"), ("z", "3"), ("w", "4")]


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"delimiter": "\t"}, "7\ta,b\t"),
        ({"delimiter": ";", "quote": "'"}, "7;'a,b';"),
        ({"delimiter": "|", "quote": ""}, "7|a,b|"),
        ({"delimiter": "^"}, "7^a,b^"),
        ({"delimiter": "]"}, '7]"a,b"]""'),
        ({"escape": "\\"}, "7,a\\,b,"),
        ({"escape": "\\", "quote": ""}, "7,a\\,b,"),
        ({"escape": '"'}, '7,"a,b",""'),
    ],
)
async def test_the_dialect_is_the_configured_one(
    tmp_path: Path, config: dict[str, str], line: str
) -> None:
    """Delimiter, quote and escape are what the configuration says."""
    header = config.get("delimiter", ",").join(["id", "m", "z"])
    look = await look_at_text(tmp_path, f"{header}\n{line}\n", **config)
    assert look.values() == [("7", "a,b", "")]
    assert look.told == []


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r'"a\"b"', 'a"b'),
        (r'"a""b"', 'a"b'),
        (r'"a\\"', "a\\"),
        (r'"a\\""b"', 'a\\"b'),
        ('"a\\\nb"', "a\nb"),
        ("a\\\nb", "a\nb"),
        ("a\\\r\nb", "a\r\nb"),
        ('"a\\\r\nb"', "a\r\nb"),
        ('"\\\r\n"', "\r\n"),
        (r"a\\b", "a\\b"),
        (r"a\"b", 'a"b'),
        (r"\N", r"\N"),
        (r"\NN", "NN"),
    ],
)
async def test_escapes_are_undone(tmp_path: Path, written: str, value: str) -> None:
    r"""An escaped character is itself; the bare field \N alone stays, for ``null_values``."""
    look = await look_at_text(tmp_path, f"id,v\n7,{written}\n", escape="\\")
    assert look.values() == [("7", value)]


async def test_without_a_quote_character_quotes_are_text(tmp_path: Path) -> None:
    """With ``quote: ''`` a quote is a character like any other."""
    look = await look_at_text(tmp_path, 'id,a\n1,5" pipe\n2,"x"\n', quote="")
    assert look.values() == [('5" pipe', "1"), ('"x"', "2")]


@pytest.mark.parametrize("key", [["a"], ["c"], ["b", "a"], ["a", "b", "c"]])
@pytest.mark.parametrize("quoted", [True, False])
async def test_the_key_may_stand_anywhere(tmp_path: Path, key: list[str], *, quoted: bool) -> None:
    """Keys of one or more columns are found wherever they stand, quoted or not."""
    mark = '"' if quoted else ""
    rows = [("z", "y", "x"), ("n", "m", "o"), ("b", "c", "a")]
    text = "a,b,c\n" + "".join(",".join(f"{mark}{v}{mark}" for v in row) + "\n" for row in rows)
    look = await look_at_text(tmp_path, text, key)
    places = ["abc".index(name) for name in key]
    expected = sorted(rows, key=lambda row: [row[at] for at in places])
    assert look.values() == expected
    parts = [b"".join(row[at].encode() + b"\0" for at in places) for row in expected]
    assert look.keys == parts


async def test_keys_of_one_length_give_blocks_of_one_width(tmp_path: Path) -> None:
    """``Block.width`` is set exactly when all keys have one length."""
    fixed = await look_at_text(tmp_path, "id,a\n1,x\n-200,y\n")
    mixed = await look_at_text(tmp_path, "a,b\nx,1\nyy,2\n", ["a"])
    same = await look_at_text(tmp_path, "a,b\nx,1\ny,2\n", ["a"])
    assert (fixed.widths, mixed.widths, same.widths) == ({26}, {0}, {20})


async def test_headerless_files_take_their_names_from_the_configuration(tmp_path: Path) -> None:
    """Without a header the columns are those given, in file order."""
    (tmp_path / "t.csv").write_bytes(b"2,b\n1,a\n")
    dump = dump_at(tmp_path, "t.csv", columns=["id", "v"], header=False)
    assert list(await dump.describe(ENTITY)) == ["id", "v"]
    look = await look_at(dump, plan_of(["id", "v"], ["id"], integer("id")))
    assert look.values() == [("1", "a"), ("2", "b")]


async def test_a_headerless_file_without_names_says_how_to_give_them(tmp_path: Path) -> None:
    """The error names the file and the setting."""
    (tmp_path / "t.csv").write_bytes(b"2,b\n")
    with pytest.raises(ConfigError, match=r"t\.csv.*'columns', in the order of the file"):
        await dump_at(tmp_path, "t.csv", header=False).describe(ENTITY)


async def test_unmapped_columns_are_left_alone(tmp_path: Path) -> None:
    """A plan may map some of the columns; the digest is of the whole record all the same."""
    (tmp_path / "t.csv").write_bytes(b"x,id,y\nq,1,w\n")
    dump = dump_at(tmp_path, "t.csv")
    look = await look_at(dump, plan_of(["y", "id"], ["id"], integer("id")))
    assert look.values() == [("1", "w")]
    assert look.digests == [digest_of("q,1,w")]


@pytest.mark.parametrize(
    ("columns", "key", "missing"),
    [(["id", "b"], ["id"], "b"), (["a", "ID"], ["ID"], "ID"), (["id", "c", "d"], ["id"], "c, d")],
)
async def test_a_mapped_column_that_the_header_lacks_is_drift(
    tmp_path: Path, columns: list[str], key: list[str], missing: str
) -> None:
    """DriftError names the entity, what was expected and what was found (case 49)."""
    (tmp_path / "t.csv").write_bytes(b"id,a\n1,x\n")
    dump = dump_at(tmp_path, "t.csv")
    plan = plan_of(columns, key)
    async with dump.open([plan]) as snapshot:
        with pytest.raises(DriftError, match=f"entity things.*no column {missing};.*found id, a"):
            await snapshot.identity(plan)


async def test_json_values_keep_their_kinds(tmp_path: Path) -> None:
    """Numbers, booleans, nested values and null arrive as the plan's types want them."""
    text = (
        '{"id": 7, "d": 1.50, "b": true, "t": 12.30, "n": {"b": [1, 2.0], "a": null}, '
        '"j": "x", "z": null}\n'
        '{"id": "8", "d": "2.5", "b": "f", "t": "é", "n": [], "j": 1}\n'
    )
    (tmp_path / "t.ndjson").write_text(text, encoding="utf-8")
    dump = dump_at(tmp_path, "t.ndjson", format="ndjson")
    kinds = {"id": Kind.INTEGER, "d": Kind.DECIMAL, "b": Kind.BOOLEAN, "j": Kind.JSON}
    types = {name: ColumnType(kind=kind) for name, kind in kinds.items()}
    look = await look_at(dump, plan_of(["id", *"bdjntz"], ["id"], types))
    assert look.values() == [
        ("true", "1.5", "7", '"x"', '{"a":null,"b":[1,2]}', "12.3", None),
        ("false", "2.5", "8", "1", "[]", "é", MISSING),
    ]


async def test_json_columns_are_those_of_the_first_thousand_records(tmp_path: Path) -> None:
    """Members are gathered in the order in which they first appear."""
    rows = [{"id": n} | ({"late": n} if n == 999 else {}) for n in range(1000)] + [{"unseen": 1}]
    (tmp_path / "t.ndjson").write_bytes(json_lines(rows))
    dump = dump_at(tmp_path, "t.ndjson", format="ndjson")
    assert list(await dump.describe(ENTITY)) == ["id", "late"]


@pytest.mark.parametrize("format_", ["json", "ndjson"])
async def test_the_columns_of_large_packed_records_are_seen(tmp_path: Path, format_: str) -> None:
    """Describing looks at the beginning only, wherever that ends inside a record."""
    rows = [{"id": n, "v": random.Random(n).randbytes(4000).hex()} for n in range(700)]  # noqa: S311
    text = json_lines(rows) if format_ == "ndjson" else json.dumps(rows).encode()
    (tmp_path / f"t.{format_}.gz").write_bytes(COMPRESS[".gz"](text))
    shape = await dump_at(tmp_path, f"t.{format_}", format=format_).describe(ENTITY)
    assert list(shape) == ["id", "v"]


async def test_a_member_that_no_record_has_is_told_once(tmp_path: Path) -> None:
    """A mapped column that JSON never mentions is a warning; its values are MISSING."""
    (tmp_path / "t.ndjson").write_bytes(json_lines([{"id": 1}, {"id": 2}]))
    dump = dump_at(tmp_path, "t.ndjson", format="ndjson")
    look = await look_at(dump, plan_of(["id", "gone"], ["id"], integer("id")))
    assert look.places == [("column_absent", "t.ndjson")]
    assert look.values() == [(MISSING, "1"), (MISSING, "2")]


async def test_a_key_member_that_no_record_has_is_drift(tmp_path: Path) -> None:
    """JSON without its key is another schema."""
    (tmp_path / "t.ndjson").write_bytes(json_lines([{"ID": 1}]))
    dump = dump_at(tmp_path, "t.ndjson", format="ndjson")
    plan = plan_of(["id"], ["id"], integer("id"))
    async with dump.open([plan]) as snapshot:
        with pytest.raises(DriftError, match="no column id; expected id; found ID"):
            await snapshot.digest_spec(plan)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        " [ ] \n",
        '[{"id":1}]',
        '\ufeff[\n {"id": 1, "x": {"y": [{"z": "}]"}]}},{"id":2,"q":"\\"]"}\n]\n\n',
    ],
)
async def test_arrays_are_read_whatever_their_layout(tmp_path: Path, text: str) -> None:
    """Brackets inside strings and nested values do not end an object."""
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    dump = dump_at(tmp_path, "t.json", format="json")
    look = await look_at(dump, plan_of(["id"], ["id"], integer("id")))
    assert look.values() == [(str(one["id"]),) for one in json.loads(text.strip("\ufeff"))]


@pytest.mark.parametrize(
    "text",
    [
        '{"id":1}\n{"id":2}',
        "id,a\n1,2\n",
        "null",
        "[1]",
        '[{"id":1},]',
        '[{"id":1}',
        '[{"id":1} {"id":2}]',
        '[{"id":1}] x',
        '[{"id":1}][]',
        '[{"id":"1]',
        "[,]",
        "[" + '{"a":' * 70 + "1" + "}" * 70 + "]",
    ],
)
async def test_what_is_no_array_of_objects_is_refused(tmp_path: Path, text: str) -> None:
    """A file that is cut off, or is something else, proves nothing (case 39)."""
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    dump = dump_at(tmp_path, "t.json", format="json")
    plan = plan_of(["id"], ["id"], integer("id"))
    with pytest.raises(SourceError, match=r"t\.json:\d+"):
        await look_at(dump, plan)


@pytest.mark.parametrize("encoding", ["base64", "no-such-encoding", "rot13", "hex"])
async def test_an_encoding_that_is_no_text_is_a_configuration_error(
    tmp_path: Path, encoding: str
) -> None:
    """Names that Python knows for other purposes are refused as well."""
    with pytest.raises(ConfigError, match=r"source\.encoding"):
        await look_at_text(tmp_path, "id\n1\n", encoding=encoding)


@pytest.mark.parametrize(
    "config",
    [
        {"delimiter": "§"},
        {"delimiter": "\n"},
        {"quote": "\r"},
        {"escape": "\0"},
        {"delimiter": '"'},
        {"delimiter": "\\", "escape": "\\"},
    ],
)
async def test_impossible_dialects_are_configuration_errors(
    tmp_path: Path, config: dict[str, str]
) -> None:
    """The characters must be ASCII, end no line, and differ."""
    with pytest.raises(ConfigError, match="source"):
        await look_at_text(tmp_path, "id\n1\n", **config)


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
async def test_a_lone_surrogate_spoils_its_own_record_only(tmp_path: Path, mark: bytes) -> None:
    """UTF-16 that is no text is found in the record that holds it (case 61)."""
    order = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
    text = "id,a\n1,\ud800x\n2,y\n".encode(order, "surrogatepass")
    look = await look_at_text(tmp_path, mark + text, encoding="utf-16")
    assert look.own == [("charset", "a", "things.csv:2")]
    assert look.reads[1].issues == ()


async def test_half_a_character_at_the_end_is_a_cut_file(tmp_path: Path) -> None:
    """UTF-16 with an odd number of bytes was cut off."""
    with pytest.raises(SourceError, match="cut off inside a character"):
        await look_at_text(tmp_path, "id,a\n1,x\n".encode("utf-16")[:-1], encoding="utf-16")
