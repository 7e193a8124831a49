"""For any table, in any order, in any dialect: the rows that ``csv.reader`` sees, in key order."""

import csv
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import anyio
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from syncd.errors import SyncdError
from syncd.flow.model import MISSING
from syncd.sources import csv_records, json_records, record_index, records, sorted_index
from tests.sources.dump_world import (
    ENTITY,
    Look,
    digest_of,
    dump_at,
    integer,
    look_at,
    plan_of,
)

pytestmark = pytest.mark.trust

TEXT: Final = st.text(
    st.sampled_from("ab ,;\t|'\"\\\n\ré€x1")
    | st.characters(codec="utf-8", exclude_characters="\0"),
    max_size=8,
)
Quoting: TypeAlias = Literal[0, 1, 2]
QUOTING: Final[list[Quoting]] = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]
FIELD: Final = TEXT.filter(lambda text: "\r" not in text.replace("\r\n", ""))


def look(folder: str, text: bytes, names: Sequence[str], **config: Any) -> Look:
    """One look in a loop of its own, for Hypothesis does not wait."""
    path = Path(folder) / "t.csv"
    path.write_bytes(text)
    dump = dump_at(path.parent, "t.csv", **config)
    plan = plan_of(names, ["id"], integer("id"))
    return anyio.run(look_at, dump, plan)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in pieces so small that every record meets the end of one."""
    for module in (records, csv_records, json_records):
        monkeypatch.setattr(module, "READ_BYTES", 29)
    monkeypatch.setattr(sorted_index, "_MERGE_ENTRIES", 3)
    monkeypatch.setattr(record_index, "RunSorter", lambda folder: sorted_index.RunSorter(folder, 5))


@given(
    data=st.data(),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from(QUOTING),
    end=st.sampled_from(["\n", "\r\n"]),
    ends=st.booleans(),
)
def test_a_look_gives_the_rows_that_csv_reader_gives(
    data: st.DataObject, delimiter: str, quoting: Quoting, end: str, *, ends: bool
) -> None:
    """Keys ascend strictly and each row is what Python's own reader makes of the file."""
    names = ["id", "x", "y"][: data.draw(st.integers(1, 3))]
    at = data.draw(st.integers(0, len(names) - 1))
    ids = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=25))
    names.remove("id")
    names.insert(at, "id")
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(names)
    for number in ids:
        others = [data.draw(FIELD) for _ in names[1:]]
        writer.writerow([*others[:at], number, *others[at:]])
    text = stream.getvalue() if ends else stream.getvalue()[: -len(end)]
    assume(len(names) > 1 or ends)
    expected = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))[1:]
    with tempfile.TemporaryDirectory() as folder:
        found = look(folder, text.encode(), names, delimiter=delimiter)
    order = sorted(expected, key=lambda row: int(row[at]))
    columns = [names.index(name) for name in sorted(names)]
    assert found.values() == [tuple(row[c] for c in columns) for row in order]
    assert found.own == []
    assert set(found.codes) <= {"no_final_newline"}


@given(
    rows=st.lists(st.lists(FIELD, min_size=1, max_size=4), max_size=12),
    escape=st.sampled_from(["", "\\"]),
)
def test_ragged_rows_are_read_like_csv_reader_reads_them(
    rows: list[list[str]], escape: str
) -> None:
    """Any number of fields: those that have a name are given, those that are absent are MISSING."""
    stream = io.StringIO(newline="")
    dialect: dict[str, Any] = {"lineterminator": "\n", "quoting": csv.QUOTE_ALL}
    if escape:
        dialect |= {"escapechar": escape, "doublequote": False}
    writer = csv.writer(stream, **dialect)
    for number, row in enumerate(rows):
        writer.writerow([str(number), *row])
    with tempfile.TemporaryDirectory() as folder:
        found = look(
            folder, b"id,x,y\n" + stream.getvalue().encode(), ["id", "x", "y"], escape=escape
        )
    padded: list[list[Any]] = [[*row, MISSING, MISSING][:2] for row in rows]
    assert found.values() == [(str(number), *row) for number, row in enumerate(padded)]
    short = sum(len(row) < 2 for row in rows)
    long = sum(len(row) > 2 for row in rows)
    assert (found.codes.get("ragged_short", 0), found.codes.get("ragged_long", 0)) == (short, long)


@given(
    text=st.text(st.sampled_from('1234,;"\n\r\\xé '), max_size=60) | st.text(max_size=40),
    config=st.fixed_dictionaries(
        {
            "quote": st.sampled_from(['"', ""]),
            "escape": st.sampled_from(["", "\\"]),
            "encoding": st.sampled_from(["utf-8", "cp1252", "utf-16-le"]),
            "max_record_bytes": st.sampled_from([1024, 4096]),
        }
    ),
)
def test_any_text_at_all_gives_rows_that_add_up_or_an_error_of_ours(
    text: str, config: Mapping[str, Any]
) -> None:
    """No file crashes a look (case 94); ``look_at`` checks every sum on the way."""
    data = text.encode("utf-8", "surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = look(folder, b"id,x\n" + data, ["id", "x"], **config)
        except SyncdError:
            return
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    assert found.rows <= len(lines)


@given(text=st.text(st.sampled_from('1234,;"\n\\x '), max_size=40))
def test_what_both_read_is_read_alike(text: str) -> None:
    """Where quoting is sound, arbitrary text means to us what it means to ``csv.reader``."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = look(folder, f"id,x\n{text}".encode(), ["id", "x"])
        except SyncdError:
            return
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    assert found.rows == len(rows)
    by_key = {read.key: read for read in found.reads}
    for row in rows:
        number = int(row[0]) if row[0].strip().isdigit() else None
        read = by_key.get((number + 2**63).to_bytes(8, "big")) if number is not None else None
        if read and not read.issues and read.digest:
            value = row[1].encode() if len(row) > 1 else MISSING
            assert read.row[1] == value or digest_of(",".join(row)) != read.digest


MEMBER: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(
    values=st.lists(MEMBER, min_size=1, max_size=12),
    indent=st.sampled_from([None, 0, 1]),
    is_ascii=st.booleans(),
)
def test_json_arrays_and_lines_give_the_same_rows(
    values: list[Any], indent: int | None, *, is_ascii: bool
) -> None:
    """Layout, escapes and nesting make no difference to what a record says."""
    rows = [{"id": number, "v": value, "z": 1} for number, value in enumerate(values)][::-1]
    array = json.dumps(rows, indent=indent, ensure_ascii=is_ascii)
    lines = "".join(json.dumps(row, ensure_ascii=is_ascii) + "\n" for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        of_array = look(folder, array.encode(), ["id", "v"], format="json")
        of_lines = look(folder, lines.encode(), ["id", "v"], format="ndjson")
    assert of_array.values() == of_lines.values()
    for row, value in zip(of_array.values(), values, strict=True):
        if isinstance(value, str):
            assert row[1] == value
        elif value is None:
            assert row[1] is None
        elif not isinstance(value, bool | int):
            assert json.loads(row[1]) == value


@given(data=st.binary(max_size=200), format_=st.sampled_from(["json", "ndjson", "csv"]))
def test_any_bytes_at_all_are_rows_or_an_error_of_ours(data: bytes, format_: str) -> None:
    """The same for every format, and for bytes that are no text."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            look(folder, data, ["id"], format=format_)
        except SyncdError:
            return


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    cut=st.integers(0, 2000),
    quoted=st.booleans(),
)
def test_a_cut_file_never_shows_a_row_that_was_not_there(
    lengths: list[int], cut: int, *, quoted: bool
) -> None:
    """Cut anywhere, each row but the last is as it was, and the cut itself is told (case 39)."""
    mark = '"' if quoted else ""
    lines = [f"{n + 100},{mark}{'x' * length}{mark}" for n, length in enumerate(lengths)]
    whole = "id,v\n" + "".join(f"{line}\n" for line in lines)
    text = whole[: min(cut, len(whole))]
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = look(folder, text.encode(), ["id", "v"])
        except SyncdError:
            return
    assert ("no_final_newline" in found.codes) == (not text.endswith("\n"))
    complete = text.count("\n") - 1
    assert found.rows in (complete, complete + 1)
    assert set(map(digest_of, lines[: max(0, complete)])) <= set(found.digests)
    last = text.rpartition("\n")[2]
    if complete >= 0 and last and "," not in last:
        assert found.codes["cut_record"] == 1, "half a key is nobody's key"


def test_the_folder_of_temporary_files_stays_empty(tmp_path: Path) -> None:
    """A look leaves nothing behind."""
    found = look(os.fspath(tmp_path), b"id,x\n1,a\n", ["id", "x"])
    assert found.rows == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    assert ENTITY
